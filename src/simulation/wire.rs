//! What a run's messages would cost on the wire: the packets that Linux and our nodes would
//! exchange for them on loopback.
//!
//! In: who sent how long a message to whom, and when it came, on virtual time. Out: a
//! [`WireCost`]: packets by class and IP bytes. The model, with what it leaves out, is
//! `docs/simulation.md`; a test holds it against captures of real runs.
//!
//! Handshakes, segments and teardown follow from how nodes use connections. Pure ACKs are the
//! part that timing decides, so each end of a persistent connection follows what Linux does
//! (`net/ipv4/tcp_input.c`, `tcp_output.c`): an ACK at once while the end is not *interactive*; once
//! it has answered data within its ACK timeout it is (there, `pingpong`), and from then on ACKs
//! travel with its own data, unless a second segment comes or 40 ms pass before that.

use std::hash::BuildHasher;

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::algorithm::{Algorithm, Options, ProcessId, Topology};
use crate::node::codec::HEADER_LEN;
use crate::node::control::Connections;
use crate::units::{
    Connections as ConnectionCount, FramingBytes, IpBytes, MessageBytes, Messages, Mtu, Packets,
    PayloadBytes,
};

/// IPv4 header (RFC 791) without options.
pub const IP_HEADER: u64 = 20;
/// TCP header with the timestamps option (RFC 7323), padded to 32 bytes.
pub const TCP_HEADER: u64 = 32;
/// TCP header of SYN and SYN-ACK: MSS, SACK permitted, timestamps, window scale.
pub const SYN_HEADER: u64 = 40;
/// TCP header of a RST that answers a SYN: no options.
pub const RST_HEADER: u64 = 20;
/// Most payload in a segment on loopback: MTU 65,536 less 20 bytes of IP, 20 of TCP and 12 of
/// timestamps, and IP's own limit of 65,535 bytes a packet.
pub const LOOPBACK_MSS: u64 = 65_483;

/// Nanoseconds in a tick of the model's clock, a tenth of a millisecond; the kernel's own are from
/// one to ten milliseconds.
const TICK: u64 = 100_000;
/// Ticks in a millisecond.
const MS: u32 = 10;
/// `TCP_ATO_MIN`, `TCP_DELACK_MIN`: 40 ms.
const ACK_TIMEOUT: u32 = 40 * MS;
/// `TCP_RTO_MIN`, 200 ms: after a longer gap between segments an end acknowledges at once again.
const LONG_GAP: u32 = 200 * MS;
/// `TCP_MAX_QUICKACKS`.
const QUICK_ACKS: u8 = 16;

/// How nodes would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireOptions {
    /// How connections are used.
    pub connections: Connections,
    /// Payload beside every body, in bytes.
    pub payload: usize,
    /// What the packets are projected onto. On loopback, they are what they are.
    pub mtu: Mtu,
}

/// What a run's messages would cost on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WireCost {
    /// Messages that reach the wire: those that are neither refused nor lost before they are sent.
    pub messages: Messages,
    /// Connections, the refused ones included.
    pub connections: ConnectionCount,
    /// Connection attempts that a closed port refuses.
    pub refused_connections: ConnectionCount,
    /// SYN and SYN-ACK.
    pub handshake: Packets,
    /// Segments with payload.
    pub data: Packets,
    /// Segments with an ACK alone, those that end a handshake or a teardown among them.
    pub pure_ack: Packets,
    /// FIN and RST.
    pub teardown: Packets,
    /// Pure ACKs of a FIN that the kernel's clock decides: none of them is in `pure_ack`. An end that
    /// has never received data acknowledges a FIN at the clock's next tick, where its own FIN has not
    /// gone by then.
    pub undecided: Packets,
    /// Message bodies.
    pub message_bytes: MessageBytes,
    /// Message headers.
    pub framing_bytes: FramingBytes,
    /// IP packets in all.
    pub ip: IpBytes,
    /// RSTs, which are the only packets without TCP options.
    pub resets: Packets,
    /// Data segments by their payload: how many of each length, ascending.
    pub segments: Vec<(PayloadBytes, Packets)>,
}

impl WireCost {
    /// All packets.
    pub fn packets(&self) -> Packets {
        self.handshake + self.data + self.pure_ack + self.teardown
    }

    /// Payload in all: bodies and headers of messages.
    pub fn payload(&self) -> PayloadBytes {
        PayloadBytes::new(self.message_bytes.get() + self.framing_bytes.get())
    }
}

/// The model while messages are sent.
#[derive(Debug)]
pub struct Wire {
    options: WireOptions,
    topology: Topology,
    n: u32,
    algorithm_options: Options,
    absent: Vec<ProcessId>,
    cost: WireCost,
    segments: FxHashMap<u64, u64>,
    /// Persistent only: the ends that have received data, by their process and the other one.
    ends: Ends,
    /// Persistent only: the pairs that have exchanged messages, where that is not seen at once from
    /// whom their processes dial before the start.
    dialled: FxHashSet<(u32, u32)>,
    /// Persistent only: the connections that have carried data in both directions.
    mutual: u64,
    /// Ends that have not received data, of connections that have carried no data in their
    /// direction.
    undecided: u64,
}

/// How a message finds its connection where connections are used per exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It opens one.
    Request,
    /// It goes back over the one that its receiver opened, as the first to do so.
    FirstReply,
    /// The same, after another one.
    Reply,
}

/// One end of a persistent connection: what it knows of what it has received. Small, since a
/// simulation may have tens of millions.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    /// When the last segment came, in ticks.
    received: u32,
    /// `icsk_ack.ato`, in ticks; 0 before the first segment.
    timeout: u16,
    /// `icsk_ack.quick`: how many more segments it acknowledges at once while it is not interactive.
    quick: u8,
    /// What its ACKs do.
    mode: Mode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    /// They go at once.
    #[default]
    AtOnce,
    /// They wait for its own data (`icsk_ack.pingpong`), and it owes none.
    Interactive,
    /// The same, and a segment waits for its ACK.
    Owes,
}

/// Ends by their process and the other one. In parts, so that one that grows copies a part alone.
#[derive(Debug)]
struct Ends([FxHashMap<(u32, u32), End>; 64]);

impl Default for Ends {
    fn default() -> Self {
        Self(std::array::from_fn(|_| FxHashMap::default()))
    }
}

impl Ends {
    fn part(&mut self, process: ProcessId, other: ProcessId) -> &mut FxHashMap<(u32, u32), End> {
        // Not the bits by which a part places its own.
        let part = FxBuildHasher.hash_one((process.0, other.0)) >> 20;
        &mut self.0[part as usize % 64]
    }

    fn get(&mut self, process: ProcessId, other: ProcessId) -> Option<&mut End> {
        self.part(process, other).get_mut(&(process.0, other.0))
    }

    fn values(&mut self) -> impl Iterator<Item = &mut End> {
        self.0.iter_mut().flat_map(FxHashMap::values_mut)
    }
}

impl End {
    /// Whether the ACK that this end owes has gone out by `now` because nothing else went.
    fn delayed_ack(&mut self, now: u32) -> u64 {
        if self.mode != Mode::Owes || now < self.received.saturating_add(ACK_TIMEOUT) {
            return 0;
        }
        // `tcp_delack_timer_handler`: leaves the interactive mode.
        self.mode = Mode::AtOnce;
        self.timeout = ACK_TIMEOUT as u16;
        1
    }

    /// Takes a segment that the process then reads at once, and gives the pure ACKs that this
    /// causes.
    fn receive(&mut self, now: u32) -> u64 {
        let late = self.delayed_ack(now);
        // `tcp_event_data_recv`.
        let timeout = u32::from(self.timeout);
        let gap = now.saturating_sub(self.received);
        let timeout = match () {
            () if timeout == 0 => {
                self.quick = QUICK_ACKS;
                ACK_TIMEOUT
            }
            () if gap <= ACK_TIMEOUT / 2 => timeout / 2 + ACK_TIMEOUT / 2,
            () if gap < timeout => (timeout / 2 + gap).min(LONG_GAP),
            () if gap > LONG_GAP => {
                self.quick = QUICK_ACKS;
                timeout
            }
            () => timeout,
        };
        self.timeout = timeout as u16;
        self.received = now;
        match self.mode {
            // At once, as long as there are quick ones (`__tcp_ack_snd_check`); otherwise when the
            // process has read the segment (`tcp_cleanup_rbuf`).
            Mode::AtOnce => {
                self.quick = self.quick.saturating_sub(1);
                late + 1
            }
            Mode::Interactive => {
                self.mode = Mode::Owes;
                late
            }
            // The second one that is owed goes out when the process has read (`ICSK_ACK_PUSHED2`).
            Mode::Owes => {
                self.mode = Mode::Interactive;
                late + 1
            }
        }
    }

    /// Sends data: what it owes goes with it. Gives the pure ACKs that went before.
    fn send(&mut self, now: u32) -> u64 {
        let late = self.delayed_ack(now);
        // `tcp_event_data_sent`: data soon after data is an answer.
        let answers = now.saturating_sub(self.received) < self.timeout.into();
        match self.mode {
            Mode::AtOnce if answers => self.mode = Mode::Interactive,
            Mode::Owes => {
                self.mode = Mode::Interactive;
                self.quick = self.quick.saturating_sub(1);
            }
            Mode::AtOnce | Mode::Interactive => {}
        }
        late
    }
}

impl Wire {
    /// Nothing sent yet, among `n` processes, clients aside.
    pub fn new(algorithm: &Algorithm, n: u32, options: &Options, wire: WireOptions) -> Self {
        let absent = (algorithm.absent)(n, options);
        let mut this = Self {
            options: wire,
            topology: algorithm.topology,
            n,
            algorithm_options: options.clone(),
            absent,
            cost: WireCost::default(),
            segments: FxHashMap::default(),
            ends: Ends::default(),
            dialled: FxHashSet::default(),
            mutual: 0,
            undecided: 0,
        };
        if wire.connections == Connections::Persistent {
            let links = this.initial_links((algorithm.processes)(n));
            this.connect(links);
        }
        this
    }

    /// How many connections nodes dial before the start: one for each pair of neighbours.
    fn initial_links(&self, processes: u32) -> u64 {
        let present = |id: &ProcessId| !self.absent.contains(id);
        if let Topology::FullMesh = self.topology {
            let count = u64::from(self.n) - self.absent.len() as u64;
            return count * count.saturating_sub(1) / 2;
        }
        let higher = |id: ProcessId| {
            let peers = self
                .topology
                .neighbours(id, self.n, &self.algorithm_options);
            peers
                .into_iter()
                .filter(|peer| *peer > id && present(peer))
                .count() as u64
        };
        (0..processes)
            .map(ProcessId)
            .filter(|id| present(id))
            .map(higher)
            .sum()
    }

    /// Whether nodes dial this pair's connection before the start.
    fn is_initial(&self, low: ProcessId, high: ProcessId) -> bool {
        if self.absent.contains(&low) || self.absent.contains(&high) {
            return false;
        }
        match self.topology {
            Topology::FullMesh => high.0 < self.n,
            Topology::Star => low.0 == 0 && high.0 < self.n,
            Topology::Ring => {
                high.0 < self.n && (high.0 - low.0 == 1 || (low.0 == 0 && high.0 == self.n - 1))
            }
            Topology::Graph(neighbours) => {
                neighbours(low, self.n, &self.algorithm_options).contains(&high)
            }
        }
    }

    fn packets(&mut self, count: u64, class: fn(&mut WireCost) -> &mut Packets, tcp_header: u64) {
        *class(&mut self.cost) += count;
        self.cost.ip += count * (IP_HEADER + tcp_header);
    }

    fn acks(&mut self, count: u64) {
        self.packets(count, |cost| &mut cost.pure_ack, TCP_HEADER);
    }

    /// Connections with their beginning and their end: SYN, SYN-ACK, ACK, and FIN, FIN, ACK.
    fn connect(&mut self, count: u64) {
        self.cost.connections += count;
        self.packets(2 * count, |cost| &mut cost.handshake, SYN_HEADER);
        self.packets(2 * count, |cost| &mut cost.teardown, TCP_HEADER);
        self.acks(2 * count);
    }

    /// A message that its receiver's port refuses: one attempt.
    pub fn refused(&mut self) {
        self.cost.connections += 1;
        self.cost.refused_connections += 1;
        self.packets(1, |cost| &mut cost.handshake, SYN_HEADER);
        self.packets(1, |cost| &mut cost.teardown, RST_HEADER);
        self.cost.resets += 1;
    }

    /// A message with a body of so many bytes goes out.
    pub fn sent(&mut self, now: u64, from: ProcessId, to: ProcessId, body: usize, way: Way) {
        let body = padded(body as u64, self.options.payload as u64);
        let length = HEADER_LEN as u64 + body;
        self.cost.messages += 1;
        self.cost.message_bytes += body;
        self.cost.framing_bytes += HEADER_LEN as u64;
        let mut left = length;
        while left > 0 {
            let segment = left.min(LOOPBACK_MSS);
            *self.segments.entry(segment).or_default() += 1;
            self.packets(1, |cost| &mut cost.data, TCP_HEADER);
            self.cost.ip += segment;
            left -= segment;
        }
        match self.options.connections {
            Connections::Persistent => {
                self.dial(from, to);
                // An end that has received nothing owes nothing.
                let end = self.ends.get(from, to);
                let late = end.map_or(0, |end| end.send(ticks(now)));
                self.acks(late);
            }
            Connections::PerMessage => self.connect(1),
            Connections::PerExchange => match way {
                Way::Request => {
                    self.connect(1);
                    self.undecided += 1;
                }
                // Its receiver has received data now.
                Way::FirstReply => self.undecided = self.undecided.saturating_sub(1),
                Way::Reply => {}
            },
        }
    }

    /// A message that had gone out has come.
    pub fn came(&mut self, now: u64, from: ProcessId, to: ProcessId) {
        let acks = match self.options.connections {
            Connections::Persistent => {
                let ends = self.ends.part(to, from);
                let before = ends.len();
                let acks = ends.entry((to.0, from.0)).or_default().receive(ticks(now));
                if ends.len() > before && self.ends.get(from, to).is_some() {
                    self.mutual += 1;
                }
                acks
            }
            // Each end of a short connection receives before it is interactive.
            Connections::PerExchange | Connections::PerMessage => 1,
        };
        self.acks(acks);
    }

    /// Makes the pair's connection where there is none yet.
    fn dial(&mut self, first: ProcessId, second: ProcessId) {
        let (low, high) = (first.min(second), first.max(second));
        let pair = (low.0, high.0);
        // To ask a graph costs more than to remember what it said.
        let new = match self.topology {
            Topology::Graph(_) => self.dialled.insert(pair) && !self.is_initial(low, high),
            _ => !self.is_initial(low, high) && self.dialled.insert(pair),
        };
        if new {
            self.connect(1);
        }
    }

    /// The cost of it all, connections closed at `now`.
    pub fn finish(mut self, now: u64) -> WireCost {
        let late = self.ends.values().map(|end| end.delayed_ack(ticks(now)));
        let late = late.sum();
        self.acks(late);
        if self.options.connections == Connections::Persistent {
            self.undecided =
                self.cost.connections.get() - self.cost.refused_connections.get() - self.mutual;
        }
        self.cost.undecided = Packets::new(self.undecided);
        let count = |(length, count)| (PayloadBytes::new(length), Packets::new(count));
        self.cost.segments = self.segments.into_iter().map(count).collect();
        self.cost.segments.sort_unstable();
        self.cost
    }
}

fn ticks(nanos: u64) -> u32 {
    u32::try_from(nanos / TICK).unwrap_or(u32::MAX)
}

/// The length of a body with a payload beside it, as [`crate::algorithm::Body::pad`] makes it: an
/// array's head, the body or null, and a byte string with its head.
fn padded(body: u64, payload: u64) -> u64 {
    let head = match payload {
        0 => return body,
        1..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    };
    1 + body.max(1) + head + payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Body, ring};

    #[test]
    fn a_padded_body_is_as_long_as_its_bytes() {
        for payload in [0, 1, 23, 24, 255, 256, 65_535, 65_536, 100_000] {
            for body in [
                Body::empty(),
                Body::encode(&7),
                Body::encode(&"a longer one"),
            ] {
                let length = padded(body.as_bytes().len() as u64, payload as u64);
                assert_eq!(length, body.pad(payload).as_bytes().len() as u64);
            }
        }
    }

    fn wire(connections: Connections, n: u32) -> Wire {
        let options = WireOptions {
            connections,
            payload: 0,
            mtu: Mtu::default(),
        };
        Wire::new(&ring::ALGORITHM, n, &Options::default(), options)
    }

    const A: ProcessId = ProcessId(0);
    const B: ProcessId = ProcessId(1);

    const MS: u64 = 1_000_000;

    /// Messages of 14 bytes at these milliseconds, each come at once; the pure ACKs they cause.
    fn acks(messages: &[(u64, ProcessId)], end: u64) -> u64 {
        let mut wire = wire(Connections::Persistent, 2);
        for &(at, from) in messages {
            let to = if from == A { B } else { A };
            wire.sent(at * MS, from, to, 14, Way::Request);
            wire.came(at * MS, from, to);
        }
        // The last ACKs of one handshake and one teardown.
        wire.finish(end * MS).pure_ack.get() - 2
    }

    #[test]
    fn who_only_receives_acknowledges_every_segment() {
        let one_way: Vec<_> = (1..=40).map(|at| (at, A)).collect();
        assert_eq!(acks(&one_way, 41), 40);
    }

    #[test]
    fn who_answers_acknowledges_with_the_answer() {
        // The first segment in each direction comes before its receiver has answered anything.
        let exchange: Vec<_> = (1..=40)
            .map(|at| (at, if at % 2 == 1 { A } else { B }))
            .collect();
        assert_eq!(acks(&exchange, 41), 2);
    }

    #[test]
    fn an_answer_that_takes_longer_than_the_timeout_comes_after_the_ack() {
        let slow = [(1, A), (2, B), (3, A), (100, B)];
        assert_eq!(
            acks(&slow, 101),
            3,
            "two first ones, and the delayed one; FIN carries the last"
        );
        let open = [(1, A), (2, B), (3, A)];
        assert_eq!(acks(&open, 20), 2, "FIN carries the ACK");
        assert_eq!(acks(&open, 60), 3, "the timeout was before FIN");
    }

    #[test]
    fn the_second_of_two_segments_is_acknowledged_for_both() {
        let two = [(1, A), (2, B), (3, A), (4, A), (5, A), (6, B)];
        assert_eq!(
            acks(&two, 7),
            3,
            "two first ones, and one for 3 and 4; 5 goes with 6"
        );
    }

    #[test]
    fn short_connections_cost_eight_packets_and_replies_two() {
        let mut one = wire(Connections::PerMessage, 4);
        one.sent(0, A, B, 14, Way::Request);
        one.came(0, A, B);
        let cost = one.finish(0);
        assert_eq!(cost.packets().get(), 8);
        assert_eq!(cost.ip.get(), 2 * 60 + 5 * 52 + 52 + 70);

        let mut exchange = wire(Connections::PerExchange, 4);
        exchange.sent(0, A, B, 14, Way::Request);
        exchange.came(0, A, B);
        exchange.sent(0, B, A, 14, Way::FirstReply);
        exchange.came(0, B, A);
        let cost = exchange.finish(0);
        assert_eq!(cost.packets().get(), 10);
        assert_eq!(cost.connections.get(), 1);
        assert_eq!(cost.undecided.get(), 0);
    }

    #[test]
    fn the_clock_decides_whether_an_end_that_received_nothing_acknowledges_a_fin_alone() {
        let mut unanswered = wire(Connections::PerExchange, 4);
        unanswered.sent(0, A, B, 14, Way::Request);
        unanswered.came(0, A, B);
        assert_eq!(unanswered.finish(0).undecided.get(), 1);

        // Of four links one is used both ways, one only one way, and two not at all.
        let mut links = wire(Connections::Persistent, 4);
        for (from, to) in [(A, B), (B, A), (B, ProcessId(2))] {
            links.sent(0, from, to, 14, Way::Request);
            links.came(0, from, to);
        }
        assert_eq!(links.finish(0).undecided.get(), 3);
    }

    #[test]
    fn links_are_counted_as_they_are_dialled() {
        for n in 2..7 {
            let links = |algorithm: &Algorithm| {
                let wire = Wire::new(
                    algorithm,
                    n,
                    &Options::default(),
                    WireOptions {
                        connections: Connections::Persistent,
                        payload: 0,
                        mtu: Mtu::default(),
                    },
                );
                wire.cost.connections.get()
            };
            assert_eq!(links(&ring::ALGORITHM), if n == 2 { 1 } else { n.into() });
            assert_eq!(
                links(&crate::algorithm::two_phase_commit::ALGORITHM),
                u64::from(n) - 1
            );
        }
    }

    #[test]
    fn a_refused_connection_is_a_syn_and_a_reset() {
        let mut wire = wire(Connections::PerMessage, 4);
        wire.refused();
        let cost = wire.finish(0);
        assert_eq!((cost.packets().get(), cost.ip.get()), (2, 60 + 40));
    }

    #[test]
    fn long_messages_are_cut_to_segments() {
        let mut wire = wire(Connections::PerMessage, 4);
        wire.sent(0, A, B, 100_000, Way::Request);
        let cost = wire.finish(0);
        let lengths: Vec<_> = cost
            .segments
            .iter()
            .map(|(l, c)| (l.get(), c.get()))
            .collect();
        assert_eq!(lengths, [(100_056 - 65_483, 1), (65_483, 1)]);
    }
}
