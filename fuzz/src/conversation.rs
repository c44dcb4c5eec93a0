//! Two hosts that speak TCP, and a capture that misses, cuts and reorders their packets: what the
//! whole analysis counts, against what was said.
//!
//! Left out, because no observer could know better: a capture that does not show the handshake
//! (`reassembly` has it, for one stream), reordering across the end of a connection whose ports the
//! next one uses (TIME-WAIT keeps them apart), and a new connection with the same initial number as
//! the one before.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use wirewatt::analysis::{Analyzer, Limits};
use wirewatt::units::{LinkType, Timestamp};

use super::analysis::{Captured, plan, threads_change_nothing};
use super::framings::frame;
use super::packets::{ACK, End, FIN, Headers, RST, SYN, headers};

/// Connections between the same two ports, one after the other.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    pub framing: Framing,
    pub ipv6: bool,
    /// Bytes of out-of-order data that may be held.
    pub held: u16,
    pub connections: Vec<Connection>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Framing {
    WireWatt,
    Line,
    LengthPrefixed,
    Segment,
    Resp,
}

#[derive(Debug, Clone, Arbitrary)]
pub struct Connection {
    pub initial: [u32; 2],
    pub handshake: Handshake,
    pub steps: Vec<Step>,
    /// How it ends: by reset, or as the steps leave it.
    pub reset: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Handshake {
    Usual,
    /// SYN is sent twice.
    Repeated,
    /// SYN brings data (RFC 7413).
    FastOpen(u8),
    /// Both ends send SYN before either has the other's (RFC 9293, 3.5).
    Simultaneous,
    /// SYN is answered by RST.
    Refused,
}

/// A packet, and what the capture makes of it.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub struct Step {
    pub from_listener: bool,
    pub what: What,
    /// The latest bytes that it does not acknowledge yet.
    pub unacknowledged: u8,
    pub capture: Shown,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum What {
    Data(u8),
    /// Bytes that were sent before, from so far back.
    Again(u8, u8),
    /// Nothing but an acknowledgment.
    Empty,
    /// An empty segment one below the next number, or the last byte again.
    KeepAlive(bool),
    /// FIN, with data.
    Fin(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Shown {
    Whole,
    /// Without the last bytes.
    Cut(u8),
    /// So many packets later.
    Later(u8),
    Missed,
}

/// So many steps make no more holes than are remembered.
const MOST_STEPS: usize = 60;
const MOST_CONNECTIONS: usize = 4;
const LONGEST: usize = (MOST_STEPS + 1) * 256;

/// What each host says, and where its messages end.
struct Speech {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Speech {
    fn of(message: impl Fn(u8) -> Vec<u8>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for n in (0..=120_u8).cycle() {
            bytes.extend(message(n.wrapping_mul(37) % 121));
            ends.push(bytes.len());
            if bytes.len() > LONGEST {
                break;
            }
        }
        Self { bytes, ends }
    }

    /// Messages that lie whole in the first `n` bytes.
    fn messages(&self, n: usize) -> u64 {
        self.ends.iter().take_while(|end| **end <= n).count() as u64
    }
}

static FRAMES: LazyLock<Speech> = LazyLock::new(|| Speech::of(|n| frame(n, 9)));
static LINES: LazyLock<Speech> = LazyLock::new(|| {
    Speech::of(|n| {
        let end: &[u8] = if n % 3 == 0 { b"\r\n" } else { b"\n" };
        [&vec![b'a'; usize::from(n / 4)], end].concat()
    })
});
static PREFIXED: LazyLock<Speech> =
    LazyLock::new(|| Speech::of(|n| std::iter::repeat_n(n, 1 + usize::from(n)).collect()));
static COMMANDS: LazyLock<Speech> = LazyLock::new(|| {
    Speech::of(|n| {
        let key = "k".repeat(usize::from(n));
        format!("*2\r\n$3\r\nGET\r\n${n}\r\n{key}\r\n").into_bytes()
    })
});

impl Framing {
    fn port(self) -> u16 {
        match self {
            Self::WireWatt => 7100,
            Self::Line => 5000,
            Self::LengthPrefixed => 5001,
            Self::Segment => 5003,
            Self::Resp => 5004,
        }
    }

    fn speech(self) -> &'static Speech {
        match self {
            Self::WireWatt => &FRAMES,
            Self::Line | Self::Segment => &LINES,
            Self::LengthPrefixed => &PREFIXED,
            Self::Resp => &COMMANDS,
        }
    }
}

/// What the captured packets show of one stream.
#[derive(Debug, Default)]
struct Stream {
    seen: BTreeSet<usize>,
    fin: Option<usize>,
    acknowledged: usize,
}

impl Stream {
    /// Up to where its bytes are proven.
    fn proven(&self) -> usize {
        let end = self.seen.last().map_or(0, |last| last + 1);
        match self.fin {
            Some(fin) => fin,
            None if self.acknowledged > end => self.acknowledged - 1,
            None => end,
        }
    }
}

/// What the report must say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    connections: u64,
    refused: u64,
    packets: u64,
    handshake: u64,
    teardown: u64,
    ip: u64,
    payload: u64,
    not_new: u64,
    gap_bytes: u64,
    truncated: u64,
}

/// A packet on its way.
struct Sent {
    from: End,
    flags: u8,
    /// Position of its first byte.
    at: usize,
    length: usize,
    /// Position that it acknowledges, that of FIN included.
    acknowledges: usize,
    shown: Shown,
}

/// Runs one case from a fuzzer's bytes.
pub fn run(data: &[u8]) {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) {
        check(&case);
    }
}

/// The packets of a connection after its handshake, in the order in which the capture shows them.
fn packets(connection: &Connection, sent_with_syn: usize) -> Vec<Sent> {
    let mut next = [sent_with_syn, 0];
    let mut fin = [false; 2];
    let mut order = Vec::new();
    for (i, step) in connection.steps.iter().take(MOST_STEPS).enumerate() {
        let from = if step.from_listener {
            End::Listener
        } else {
            End::Client
        };
        let (me, peer) = (from as usize, from.peer() as usize);
        let new = |n: u8| if fin[me] { 0 } else { usize::from(n) };
        let (at, length, flag) = match step.what {
            What::Data(n) => (next[me], new(n), 0),
            What::Again(back, n) => {
                let at = next[me].saturating_sub(usize::from(back));
                (at, usize::from(n).min(next[me] - at), 0)
            }
            What::Empty => (next[me], 0, 0),
            What::KeepAlive(byte) if next[me] > 0 => (next[me] - 1, usize::from(byte), 0),
            What::KeepAlive(_) => (next[me], 0, 0),
            What::Fin(n) => (next[me], new(n), FIN),
        };
        next[me] = next[me].max(at + length);
        fin[me] |= flag == FIN;
        let all = next[peer] + usize::from(fin[peer]);
        let later = match step.capture {
            Shown::Later(n) => usize::from(n % 16),
            _ => 0,
        };
        order.push((
            i + later,
            Sent {
                from,
                flags: ACK | flag,
                at,
                length,
                acknowledges: all.saturating_sub(step.unacknowledged.into()),
                shown: step.capture,
            },
        ));
    }
    order.sort_by_key(|(place, _)| *place);
    let mut packets: Vec<_> = order.into_iter().map(|(_, packet)| packet).collect();
    if let Some(by_listener) = connection.reset {
        let from = if by_listener {
            End::Listener
        } else {
            End::Client
        };
        packets.push(Sent {
            from,
            flags: RST,
            at: next[from as usize] + usize::from(fin[from as usize]),
            length: 0,
            acknowledges: 0,
            shown: Shown::Whole,
        });
    }
    packets
}

/// A handshake; its last packet may be any.
fn handshake(kind: Handshake) -> Vec<Sent> {
    let packet = |from, flags, length| Sent {
        from,
        flags,
        at: 0,
        length,
        acknowledges: 0,
        shown: Shown::Whole,
    };
    let (client, listener) = (End::Client, End::Listener);
    let syn = || packet(client, SYN, 0);
    let answer = || packet(listener, SYN | ACK, 0);
    match kind {
        Handshake::Usual => vec![syn(), answer()],
        Handshake::Repeated => vec![syn(), syn(), answer(), answer()],
        Handshake::FastOpen(n) => vec![packet(client, SYN, n.into()), answer()],
        Handshake::Simultaneous => {
            vec![
                syn(),
                packet(listener, SYN, 0),
                packet(client, SYN | ACK, 0),
                answer(),
            ]
        }
        Handshake::Refused => vec![syn(), packet(listener, RST | ACK, 0)],
    }
}

/// Plays one case, and panics where the analysis counts something else.
pub fn check(case: &Case) {
    let speech = case.framing.speech();
    let held = Limits {
        held: case.held.into(),
        ..Limits::default()
    };
    let mut analyzers = [Analyzer::new(plan()), Analyzer::with_limits(plan(), held)];
    let mut expected = Expected::default();
    let (mut complete, mut messages, mut time) = (true, 0, 1_700_000_000_000_000_000_i64);
    let mut last_numbers = false;
    let mut shown = Vec::new();
    let mut before = None;
    for connection in case.connections.iter().take(MOST_CONNECTIONS) {
        let mut initial = connection.initial;
        if before == Some(initial[0]) {
            initial[0] = initial[0].wrapping_add(1 << 28);
        }
        before = Some(initial[0]);
        let mut sent = handshake(connection.handshake);
        let with_syn = match connection.handshake {
            Handshake::FastOpen(n) => n.into(),
            _ => 0,
        };
        if connection.handshake == Handshake::Refused {
            expected.refused += 1;
        } else {
            sent.extend(packets(connection, with_syn));
        }
        expected.connections += 1;
        let mut streams = [Stream::default(), Stream::default()];
        for packet in sent.iter().filter(|packet| packet.shown != Shown::Missed) {
            let (me, peer) = (packet.from as usize, packet.from.peer() as usize);
            let syn = packet.flags & SYN != 0;
            let sequence = initial[me]
                .wrapping_add(u32::from(!syn))
                .wrapping_add(packet.at as u32);
            let acknowledgment = initial[peer]
                .wrapping_add(1)
                .wrapping_add(packet.acknowledges as u32);
            let frame = Headers {
                from: packet.from,
                ports: [40_000, case.framing.port()],
                ipv6: case.ipv6,
            }
            .tcp(
                sequence,
                acknowledgment,
                packet.flags,
                &speech.bytes[packet.at..packet.at + packet.length],
            );
            let captured = match packet.shown {
                Shown::Cut(n) => {
                    frame.len() - packet.length + packet.length.saturating_sub(n.into())
                }
                _ => frame.len(),
            };
            time += 1_000_000;
            shown.push(Captured {
                time: Timestamp::from_nanos(time),
                link_type: LinkType(1),
                original_length: frame.len() as u32,
                data: frame[..captured].to_vec(),
            });
            for analyzer in &mut analyzers {
                analyzer.packet(&shown[shown.len() - 1].packet());
            }
            complete &= captured == frame.len();
            let stream = &mut streams[me];
            let positions = packet.at..packet.at + packet.length;
            let new = positions.filter(|at| stream.seen.insert(*at)).count();
            if packet.flags & FIN != 0 {
                stream.fin = Some(packet.at + packet.length);
            }
            if packet.flags & (ACK | RST) == ACK {
                let acknowledged = &mut streams[peer].acknowledged;
                *acknowledged = (*acknowledged).max(packet.acknowledges);
            }
            expected.packets += 1;
            expected.handshake += u64::from(syn);
            expected.teardown += u64::from(!syn && packet.flags & (FIN | RST) != 0);
            expected.ip += (headers(case.ipv6) - 14 + packet.length) as u64;
            expected.payload += new as u64;
            expected.not_new += (packet.length - new) as u64;
            expected.truncated += u64::from(captured < frame.len());
        }
        for stream in &streams {
            let proven = stream.proven();
            let missing = proven - stream.seen.len();
            expected.gap_bytes += missing as u64;
            complete &= missing == 0;
            last_numbers |= stream.fin.is_none() && stream.acknowledged > proven;
            messages += speech.messages(proven);
        }
    }
    for (index, analyzer) in analyzers.into_iter().enumerate() {
        let analysis = analyzer.finish();
        if index == 0 {
            threads_change_nothing(&analysis, &shown);
        }
        assert_eq!(analysis.broken_identities(), Vec::<String>::new());
        // Where nothing of the protocol's was seen, its row is empty.
        let rows = analysis
            .protocols
            .iter()
            .filter(|row| row.packets.total.get() > 0);
        let mut counted = Expected::default();
        let (mut found, mut found_incomplete, mut foreign) = (0, 0, false);
        for row in rows {
            counted.connections += row.connections.get();
            counted.refused += row.refused_connections.get();
            counted.packets += row.packets.total.get();
            counted.handshake += row.packets.handshake.get();
            counted.teardown += row.packets.teardown.get();
            counted.ip += row.bytes.ip.get();
            counted.payload += row.bytes.payload.get();
            counted.not_new += row.bytes.retransmitted.get() + row.bytes.outside_stream.get();
            counted.gap_bytes += row.bytes.gap_bytes.get();
            foreign |= row.foreign;
            found += row.messages.get();
            found_incomplete += row.incomplete_messages.get();
        }
        counted.truncated = analysis.evidence.truncated_packets.get();
        assert_eq!(counted, expected);
        let evidence = &analysis.evidence;
        assert_eq!(evidence.conflicting_bytes, 0);
        assert_eq!(evidence.mid_stream_connections, 0);
        assert_eq!(evidence.forgotten_connections, 0);
        assert_eq!(evidence.gaps > 0, expected.gap_bytes > 0 || last_numbers);
        if case.framing != Framing::Segment && !foreign {
            assert!(found <= messages, "{found} messages of {messages}");
            if complete && evidence.late_bytes == 0 {
                assert_eq!(found, messages);
                assert!(found_incomplete <= 2 * expected.connections);
            }
        }
    }
}
