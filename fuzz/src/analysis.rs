//! Any packets through the whole analysis: every identity holds, whatever limits keep its memory
//! small.

use std::num::NonZeroU16;
use std::sync::{Arc, LazyLock};

use arbitrary::{Arbitrary, Unstructured};
use wirewatt::analysis::{self, Analysis, Analyzer, ChunkSource, Limits, ProtocolPlan};
use wirewatt::capture::CapturedPacket;
use wirewatt::units::{LinkType, Timestamp};

use super::framings::{frame, values};
use super::packet_decode::LINK_TYPES;
use super::packets::{End, Headers};

/// A capture.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    pub packets: Vec<Shown>,
}

#[derive(Debug, Clone, Arbitrary)]
pub struct Shown {
    /// Milliseconds since the packet before.
    pub after: i16,
    /// The last bytes that the snap length cut.
    pub cut: Option<u8>,
    pub what: What,
}

#[derive(Debug, Clone, Arbitrary)]
pub enum What {
    Tcp {
        connection: u8,
        from_listener: bool,
        flags: u8,
        /// From a number that both ends begin with.
        sequence: Number,
        acknowledgment: Number,
        payload: Payload,
    },
    Udp {
        connection: u8,
        from_listener: bool,
        payload: Payload,
    },
    Raw {
        link_type: u8,
        data: Vec<u8>,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Number {
    Near(u8),
    Further(u16),
    Any(u32),
}

#[derive(Debug, Clone, Arbitrary)]
pub enum Payload {
    None,
    Bytes(Vec<u8>),
    Lines(u8),
    Frames(Vec<u8>),
    Values(Vec<u8>),
}

/// One framing of each kind, each on a port of its own; 7100 is the ring's.
static PLAN: LazyLock<Arc<ProtocolPlan>> = LazyLock::new(|| {
    let texts = [
        "lines=5000:line",
        "prefixed=5001:length-prefixed/1/big/body",
        "turns=5002:turn",
        "segments=5003:segment",
        "redis=5004:resp",
    ];
    let definitions: Vec<_> = texts
        .iter()
        .map(|text| text.parse().expect("written by hand"))
        .collect();
    Arc::new(ProtocolPlan::new(&definitions).expect("no port twice"))
});

/// The plan of every analysis here.
pub fn plan() -> Arc<ProtocolPlan> {
    Arc::clone(&PLAN)
}

/// The listening ports: one of each framing, one of no protocol, and that of marker datagrams.
pub const LISTENERS: [u16; 8] = [7100, 5000, 5001, 5002, 5003, 80, 8790, 5004];

/// Runs one case from a fuzzer's bytes.
pub fn run(data: &[u8]) {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) {
        check(&case);
    }
}

/// Analyses a capture within several limits, and panics where the results disagree.
pub fn check(case: &Case) {
    let whole = analysis(case, Limits::default());
    let few_at_work = Limits {
        at_work: 1,
        ..Limits::default()
    };
    same(
        &whole,
        &analysis(case, few_at_work),
        "counts of their own changed a result",
    );
    threads_change_nothing(&whole, &packets_of(case));
    let tiny = Limits {
        connections: 2,
        at_work: 1,
        ended: 0,
        held: 200,
        fragments: 500,
    };
    let within = analysis(case, tiny);
    // Of fragments that were given up, nobody knows what is header and what is payload.
    let alike = whole.evidence.forgotten_fragments == within.evidence.forgotten_fragments;
    let totals = |analysis: &Analysis| {
        let rows = analysis.protocols.iter();
        let rows = rows.map(|row| (row.packets.total, row.bytes));
        let rows = rows.chain([
            (
                analysis.unclassified.packets.total,
                analysis.unclassified.bytes,
            ),
            (analysis.undecoded.packets.total, analysis.undecoded.bytes),
        ]);
        rows.fold((0, 0, 0, 0), |sum, (packets, bytes)| {
            let stream =
                bytes.payload.get() + bytes.retransmitted.get() + bytes.outside_stream.get();
            (
                sum.0 + packets.get(),
                sum.1 + bytes.ip.get(),
                sum.2 + bytes.wire.get(),
                sum.3 + if alike { stream } else { 0 },
            )
        })
    };
    assert_eq!(totals(&whole), totals(&within));
    // Where a limit was felt, the evidence says so.
    if whole.evidence == within.evidence {
        same(&whole, &within, "a limit changed a result and left no mark");
    }
}

/// Panics with the lines in which two results differ, but for the order of what is kept.
fn same(one: &Analysis, other: &Analysis, problem: &str) {
    let without_log = |analysis: &Analysis| Analysis {
        messages: None,
        ..analysis.clone()
    };
    let (one, other) = (without_log(one), without_log(other));
    if one != other {
        let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
        let lines = one.lines().zip(other.lines());
        let different: Vec<_> = lines.filter(|(one, other)| one != other).take(20).collect();
        panic!("{problem}: {different:#?}");
    }
}

/// A captured packet, and how long it was.
pub struct Captured {
    pub time: Timestamp,
    pub link_type: LinkType,
    pub original_length: u32,
    pub data: Vec<u8>,
}

impl Captured {
    /// As it is shown to an analyzer.
    pub fn packet(&self) -> CapturedPacket<'_> {
        CapturedPacket {
            timestamp: self.time,
            link_type: self.link_type,
            original_length: self.original_length,
            data: &self.data,
        }
    }
}

/// Panics where two threads find anything else than the whole is.
pub fn threads_change_nothing(whole: &Analysis, packets: &[Captured]) {
    for packets_a_chunk in [7, usize::MAX] {
        let chunks = InChunks(packets.chunks(packets_a_chunk));
        let threads = NonZeroU16::MIN.saturating_add(1);
        let found = analysis::analyze(chunks, threads, || Analyzer::new(plan()));
        // Each thread has room of its own for fragments, and cannot know the others' connections.
        if !whole.evidence.is_limited() && !found.evidence.is_limited() {
            same(whole, &found, "two threads changed a result");
        }
    }
}

struct InChunks<'a>(std::slice::Chunks<'a, Captured>);

impl ChunkSource for InChunks<'_> {
    fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        mut place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool {
        let Some(packets) = self.0.next() else {
            return false;
        };
        chunk.clear();
        for packet in packets {
            place(&packet.packet(), chunk.len());
            chunk.extend_from_slice(&packet.data);
        }
        true
    }
}

fn packets_of(case: &Case) -> Vec<Captured> {
    let mut time = 1_700_000_000_000_000_000_i64;
    let captured = case.packets.iter().map(|shown| {
        time += i64::from(shown.after) * 1_000_000;
        let (link_type, mut data) = packet(&shown.what);
        let original_length = data.len() as u32;
        data.truncate(data.len().saturating_sub(shown.cut.unwrap_or(0).into()));
        Captured {
            time: Timestamp::from_nanos(time),
            link_type,
            original_length,
            data,
        }
    });
    captured.collect()
}

/// The analysis of a capture, whose identities hold.
pub fn analysis(case: &Case, limits: Limits) -> Analysis {
    let mut analyzer = Analyzer::with_limits(plan(), limits).keeping_messages();
    for (number, captured) in packets_of(case).iter().enumerate() {
        analyzer.packet(&captured.packet());
        assert_eq!(analyzer.packets().get(), number as u64 + 1);
    }
    let live: u64 = analyzer
        .live_totals()
        .iter()
        .map(|row| row.packets.get())
        .sum();
    let analysis = analyzer.finish();
    assert_eq!(live, analysis.packets.get());
    assert_eq!(analysis.broken_identities(), Vec::<String>::new());
    analysis
}

/// A packet's link type and bytes.
fn packet(what: &What) -> (LinkType, Vec<u8>) {
    let headers = |connection: u8, from_listener: bool| Headers {
        from: if from_listener {
            End::Listener
        } else {
            End::Client
        },
        ports: [
            40_000 + u16::from(connection >> 4),
            LISTENERS[usize::from(connection & 15) % LISTENERS.len()],
        ],
        ipv6: connection & 8 != 0,
    };
    let first = u32::MAX - 100;
    let number = |number: Number| match number {
        Number::Near(n) => first.wrapping_add(n.into()),
        Number::Further(n) => first.wrapping_add(n.into()),
        Number::Any(n) => n,
    };
    let ethernet = LinkType(1);
    match what {
        What::Tcp {
            connection,
            from_listener,
            flags,
            sequence,
            acknowledgment,
            payload,
        } => {
            let (sequence, acknowledgment) = (number(*sequence), number(*acknowledgment));
            let headers = headers(*connection, *from_listener);
            (
                ethernet,
                headers.tcp(sequence, acknowledgment, *flags, &bytes(payload)),
            )
        }
        What::Udp {
            connection,
            from_listener,
            payload,
        } => (
            ethernet,
            headers(*connection, *from_listener).udp(&bytes(payload)),
        ),
        What::Raw { link_type, data } => {
            let link_type = LINK_TYPES[usize::from(*link_type) % LINK_TYPES.len()];
            (LinkType(link_type), data.clone())
        }
    }
}

fn bytes(payload: &Payload) -> Vec<u8> {
    match payload {
        Payload::None => Vec::new(),
        Payload::Bytes(bytes) => bytes[..bytes.len().min(60_000)].to_vec(),
        Payload::Lines(n) => b"PING\r\n".repeat(usize::from(*n)),
        Payload::Values(which) => values(&which[..which.len().min(1000)]),
        Payload::Frames(bodies) => bodies
            .iter()
            .take(16)
            .flat_map(|body| frame(*body, 9))
            .collect(),
    }
}
