//! The way of a packet: decoded, found its connection, counted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::accumulator::{Accumulator, add_totals};
use super::connection::{Connection, Counts, LINGERS, Standing, Turnaround};
use super::log::{ConnectionLog, MessageLog, MessageSeen, Repetition};
use super::merge::in_order;
use super::observation::{Fate, Observation, Observer};
use super::processor::for_newer_processors;
use super::train::{Train, TrainTally};
use super::{Analysis, Beginning, Evidence, MarkerSeen, ProtocolPlan};
use crate::capture::{CapturedPacket, Merged, Visit};
use crate::flow::{
    Arrival, Assembly, Broken, Carrier, ConnectionKey, ConnectionTable, Direction, Ends, Fragments,
    HalfStream, HoldingSpace, ProtocolIndex, RecentFlows, TransportKind,
};
use crate::message::{Framer, Framing, FramingChoice, Marker, Segment as SegmentFraming, Way};
use crate::packet::{
    self, Addresses, Datagram, Fragment, IcmpError, Lengths, Packet, QuotedTransport, Reason,
    Segment, TcpFlags, Transport,
};
use crate::tally::{Bucket, PacketClass, PacketCounts, ProtocolTally, Unclassified, Undecoded};
use crate::units::{
    IpBytes, Messages, Mtu, Packets, PayloadBytes, Timestamp, UnframedBytes, WireBytes,
};

/// More markers are counted and not remembered.
const MOST_MARKERS: usize = 1 << 16;

/// How much an [`Analyzer`] keeps at once, so that memory stays flat while captures grow. What is
/// beyond a limit is marked in the result's [`Evidence`], and never counted wrongly.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are followed. Past that, one that has been silent is forgotten.
    pub connections: usize,
    /// Connections that have counts of their own, at least 1. Past that, those of a silent one are
    /// added to its protocol's; no result depends on it.
    pub at_work: usize,
    /// Ended connections that are kept a while longer, for what comes late.
    pub ended: usize,
    /// Bytes of out-of-order data that are held for all connections.
    pub held: usize,
    /// Bytes that IP fragments take while they wait for others. Past that, those that have waited
    /// longest are given up.
    pub fragments: usize,
}

impl Limits {
    /// A million connections in less than 400 MB.
    pub const USUAL: Self = Self {
        connections: 1 << 20,
        at_work: 1 << 15,
        ended: 1 << 10,
        held: 16 << 20,
        fragments: Fragments::<Carrier>::ROOM,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Counts packets into an [`Analysis`].
pub struct Analyzer {
    plan: Arc<ProtocolPlan>,
    limits: Limits,
    /// Each connection's place, by the hash of its key.
    table: ConnectionTable,
    recent: RecentFlows,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    /// Places of connections that have counts of their own.
    at_work: Vec<u32>,
    /// Where the search for one of those that is silent goes on.
    work_hand: usize,
    /// Ended connections, the longest ended first.
    ended: VecDeque<(ConnectionKey, u64)>,
    /// Connections opened so far.
    opened: u64,
    /// Where the search for silent connections goes on.
    hand: usize,
    space: HoldingSpace,
    /// Two a protocol: its own and foreign streams.
    rows: Vec<Accumulator>,
    /// TCP and UDP outside all ports, as folded; and other IP protocols.
    unclassified: Counts,
    /// Packets in `unclassified` by their IP protocol's number.
    unclassified_protocols: BTreeMap<u8, Packets>,
    fragments: Fragments,
    undecoded: Counts,
    not_ip: u64,
    reasons: BTreeMap<Reason, u64>,
    packets: u64,
    first_packet: Timestamp,
    last_packet: Timestamp,
    /// What packets are projected onto. Here, where each packet finds it.
    mtu: Mtu,
    evidence: Evidence,
    beginning: Beginning,
    /// Until when something may come of ended connections that made room for others.
    ended_linger: Timestamp,
    markers: Vec<MarkerSeen>,
    /// Connections one by one, where they are asked for.
    connection_log: Option<Box<ConnectionLog>>,
    /// Where packets are observed.
    observer: Option<Box<Observer>>,
    /// Takes no segment on the shortest way.
    #[cfg(test)]
    pub(super) thorough: bool,
}

/// A protocol's counts while a capture goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveTotals {
    /// The protocol, or `unclassified` or `undecoded`.
    pub name: String,
    /// Packets.
    pub packets: Packets,
    /// Complete messages.
    pub messages: Messages,
    /// IP bytes.
    pub ip: IpBytes,
    /// Unique payload.
    pub payload: PayloadBytes,
}

for_newer_processors! {
    /// Has `analyzer` count the next packets of `capture`. `false` when there are no more.
    pub fn count_chunk(capture: &mut Merged, analyzer: &mut Analyzer) -> bool {
        capture.show_chunk(Counting(analyzer))
    }
}

struct Counting<'a>(&'a mut Analyzer);

impl Visit for Counting<'_> {
    #[inline(always)]
    fn visit(&mut self, packet: CapturedPacket<'_>) {
        self.0.packet(&packet);
    }
}

impl Analyzer {
    /// An analyzer that has seen nothing.
    pub fn new(plan: Arc<ProtocolPlan>) -> Self {
        Self::with_limits(plan, Limits::default())
    }

    /// The same with other limits than the usual ones.
    pub fn with_limits(plan: Arc<ProtocolPlan>, limits: Limits) -> Self {
        let rows = plan
            .protocols()
            .iter()
            .flat_map(|_| [Accumulator::default(), Accumulator::default()]);
        Self {
            rows: rows.collect(),
            plan,
            limits,
            table: ConnectionTable::default(),
            recent: RecentFlows::default(),
            connections: Vec::new(),
            free: Vec::new(),
            at_work: Vec::new(),
            work_hand: 0,
            ended: VecDeque::new(),
            opened: 0,
            hand: 0,
            space: HoldingSpace::new(limits.held),
            unclassified: Counts::default(),
            unclassified_protocols: BTreeMap::new(),
            fragments: Fragments::new(limits.fragments),
            undecoded: Counts::default(),
            not_ip: 0,
            reasons: BTreeMap::new(),
            packets: 0,
            first_packet: Timestamp::from_nanos(i64::MAX),
            last_packet: Timestamp::from_nanos(i64::MIN),
            mtu: Mtu::default(),
            evidence: Evidence::default(),
            beginning: Beginning::default(),
            ended_linger: Timestamp::from_nanos(i64::MIN),
            markers: Vec::new(),
            connection_log: None,
            observer: None,
            #[cfg(test)]
            thorough: false,
        }
    }

    /// The same, keeping the messages of our own nodes one by one, up to
    /// [`MOST_MESSAGES`](super::MOST_MESSAGES) of a protocol.
    pub fn keeping_messages(mut self) -> Self {
        let rows = self.rows.iter_mut().step_by(2);
        for (row, protocol) in rows.zip(self.plan.protocols()) {
            if matches!(protocol.framing, FramingChoice::WireWatt { .. }) {
                row.log = Some(MessageLog::default());
            }
        }
        self
    }

    /// The same, projecting packets onto Ethernet of this MTU instead of the usual one.
    pub fn projecting_onto(mut self, mtu: Mtu) -> Self {
        debug_assert_eq!(self.packets, 0, "what was counted is on another MTU");
        self.mtu = mtu;
        self
    }

    /// The same, keeping the connections one by one, up to [`MOST_MESSAGES`](super::MOST_MESSAGES). One
    /// that is open and idle takes some 600 bytes more then.
    pub fn keeping_connections(mut self) -> Self {
        self.connection_log = Some(Box::default());
        self
    }

    /// Counts one packet as [`Analyzer::packet`] does, and tells what became of it.
    pub fn observe(&mut self, packet: &CapturedPacket<'_>) -> Observation {
        if self.observer.is_none() {
            self.observer = Some(Box::default());
        }
        for row in &mut self.rows {
            row.notes.get_or_insert_default().clear();
        }
        let unclassified = self.unclassified.all_packets();
        let reasons = self.reasons.clone();
        self.see(packet);
        self.thorough_packet(packet);
        let Some(observer) = &mut self.observer else {
            return Observation::default();
        };
        let mut observation = std::mem::take(&mut observer.observation);
        if let Some(protocol) = observer.protocol.take() {
            observation.protocol = Some(self.plan.get(protocol).name.clone());
        }
        if observation.fate == Fate::Nothing {
            let grown = |(reason, n): &(&Reason, &u64)| reasons.get(reason) != Some(n);
            if let Some((reason, _)) = self.reasons.iter().find(grown) {
                observation.fate = Fate::Undecoded(*reason);
            } else if self.unclassified.all_packets() > unclassified {
                observation.fate = Fate::Unclassified;
            }
        }
        observation
    }

    #[inline(always)]
    fn see(&mut self, packet: &CapturedPacket<'_>) {
        self.packets += 1;
        self.first_packet = self.first_packet.min(packet.timestamp);
        self.last_packet = self.last_packet.max(packet.timestamp);
    }

    /// Counts one packet.
    #[inline(always)]
    pub fn packet(&mut self, packet: &CapturedPacket<'_>) {
        self.see(packet);
        if !self.count_flowing(packet) {
            self.thorough_packet(packet);
        }
    }

    /// Counts all packets of a train, or none if one of them would not be counted on the shortest way. What
    /// is in the [tally](Analyzer::tally) of trains is not entered here.
    pub(super) fn train(&mut self, train: &Train) -> bool {
        #[cfg(test)]
        if self.thorough {
            return false;
        }
        let found = self.recent.find(train.ends).or_else(|| {
            let (source, destination) = train.ends.addresses();
            let addresses = Addresses::V4 {
                source,
                destination,
            };
            let (from, to) = train.ends.ports();
            let (key, direction) = ConnectionKey::new(&addresses, from, to, TransportKind::Tcp);
            let slot = self.find(&key)?;
            self.recent.remember(train.ends, slot, direction);
            Some((slot, direction))
        });
        let Some((slot, direction)) = found else {
            return false;
        };
        if self.is_idle(slot) {
            self.employ(slot);
        }
        let Some(connection) = self.connections[slot as usize].as_mut() else {
            return false;
        };
        if connection.way(direction) != train.way {
            return false;
        }
        let Some(after) = connection.flows_on_with(train) else {
            return false;
        };
        if let Some(row) = row_of(connection) {
            self.rows[row].answer(after);
        }
        self.packets += train.packets();
        self.first_packet = self.first_packet.min(train.first);
        self.last_packet = self.last_packet.max(train.last);
        true
    }

    /// Enters what trains of a protocol's connections have added up to.
    pub(super) fn tally(&mut self, ProtocolIndex(protocol): ProtocolIndex, tally: &TrainTally) {
        self.rows[2 * usize::from(protocol)].trains(tally);
    }

    pub(super) fn plan(&self) -> &Arc<ProtocolPlan> {
        &self.plan
    }

    pub(super) fn mtu(&self) -> Mtu {
        self.mtu
    }

    #[inline(never)]
    fn thorough_packet(&mut self, packet: &CapturedPacket<'_>) {
        match packet::decode_usual(packet.link_type, packet.data, packet.original_length) {
            Some((lengths, addresses, segment)) => {
                self.segment(packet.timestamp, &lengths, &addresses, &segment, &[]);
            }
            None => self.unusual_packet(packet),
        }
    }

    /// Counts a packet of any other form.
    #[inline(never)]
    fn unusual_packet(&mut self, packet: &CapturedPacket<'_>) {
        if (packet.data.len() as u64) < u64::from(packet.original_length) {
            self.evidence.truncated_packets += 1;
        }
        let decoded = packet::decode(packet.link_type, packet.data, packet.original_length);
        self.decoded_packet(packet.timestamp, &decoded, &[]);
    }

    /// Counts a decoded packet; `carriers` are the captured packets that it came in where these are
    /// fragments.
    fn decoded_packet(
        &mut self,
        time: Timestamp,
        decoded: &Result<Packet<'_>, packet::Undecoded>,
        carriers: &[Carrier],
    ) {
        let (lengths, addresses, transport) = match decoded {
            Ok(packet) => (&packet.lengths, &packet.addresses, &packet.transport),
            Err(undecoded) => {
                let lengths = undecoded.lengths;
                self.not_ip += u64::from(lengths.not_ip);
                let itself = [Carrier { time, lengths }];
                self.count_undecoded(undecoded.reason, or_itself(carriers, &itself));
                return;
            }
        };
        let itself = [Carrier {
            time,
            lengths: *lengths,
        }];
        match transport {
            Transport::Tcp(segment) => self.segment(time, lengths, addresses, segment, carriers),
            Transport::Udp(datagram) => self.datagram(time, lengths, addresses, datagram, carriers),
            Transport::Fragment(fragment) => self.fragment(*addresses, fragment, itself[0]),
            Transport::IcmpError(error) => self.icmp_error(error, or_itself(carriers, &itself)),
            Transport::Other { protocol } => {
                self.count_other(*protocol, or_itself(carriers, &itself));
            }
        }
    }

    /// Counts packets that could not be decoded.
    fn count_undecoded(&mut self, reason: Reason, packets: &[Carrier]) {
        if !packets.is_empty() {
            *self.reasons.entry(reason).or_default() += packets.len() as u64;
        }
        for packet in packets {
            let lengths = &packet.lengths;
            self.undecoded.packet(self.mtu, PacketClass::Other, lengths);
        }
    }

    /// Counts packets of another IP protocol than TCP and UDP.
    fn count_other(&mut self, protocol: u8, packets: &[Carrier]) {
        *self.unclassified_protocols.entry(protocol).or_default() += packets.len() as u64;
        for Carrier { lengths, .. } in packets {
            self.unclassified
                .packet(self.mtu, PacketClass::Other, lengths);
            self.unclassified.bytes.payload += u64::from(lengths.payload);
            self.unclassified.bytes.unframed += u64::from(lengths.payload);
        }
    }

    /// Keeps a fragment until its packet is whole, and counts that then. What it carries may be a
    /// fragment again, of a packet in a tunnel.
    #[cold]
    fn fragment(&mut self, addresses: Addresses, fragment: &Fragment<'_>, packet: Carrier) {
        let time = packet.time;
        let mut assembly = self.take_fragment(addresses, fragment, time, [packet]);
        loop {
            let mut whole = match assembly {
                Assembly::Waits => {
                    if let Some(observer) = &mut self.observer {
                        observer.observation.fate = Fate::Fragment;
                    }
                    return;
                }
                Assembly::Broken(broken) => return self.broken_fragments(broken),
                Assembly::Whole(whole) => whole,
            };
            self.evidence.conflicting_bytes += whole.conflicting;
            let captured = std::mem::take(&mut whole.captured);
            let decoded = packet::decode_reassembled(
                whole.addresses,
                whole.protocol,
                &captured,
                whole.length,
            );
            whole.spread(match &decoded {
                Ok(packet) => &packet.lengths,
                Err(undecoded) => &undecoded.lengths,
            });
            match decoded {
                Ok(Packet {
                    addresses,
                    transport: Transport::Fragment(fragment),
                    ..
                }) => {
                    assembly = self.take_fragment(addresses, &fragment, time, whole.carriers);
                }
                _ => return self.decoded_packet(time, &decoded, &whole.carriers),
            }
        }
    }

    fn take_fragment(
        &mut self,
        addresses: Addresses,
        fragment: &Fragment<'_>,
        time: Timestamp,
        carriers: impl IntoIterator<Item = Carrier>,
    ) -> Assembly {
        while let Some(broken) = self.fragments.give_up(addresses, fragment, time) {
            self.broken_fragments(broken);
        }
        self.fragments.take(addresses, fragment, time, carriers)
    }

    /// Counts packets whose fragments will never be whole.
    fn broken_fragments(&mut self, broken: Broken) {
        match broken.reason {
            Reason::FragmentAlone => self.evidence.unfinished_fragments += 1,
            Reason::FragmentGivenUp => self.evidence.forgotten_fragments += 1,
            _ => {}
        }
        self.count_undecoded(broken.reason, &broken.carriers);
    }

    /// Counts an ICMP error with the connection that it is about, where that is open and on a protocol's
    /// ports: how long a closed one is kept depends on others. It comes from the end that the quoted
    /// packet went to, or from a router on the way there.
    #[cold]
    fn icmp_error(&mut self, error: &IcmpError, packets: &[Carrier]) {
        let kind = match error.transport {
            QuotedTransport::Tcp => TransportKind::Tcp,
            QuotedTransport::Udp => TransportKind::Udp,
        };
        let (source, destination) = (error.source_port, error.destination_port);
        let (key, direction) = ConnectionKey::new(&error.addresses, source, destination, kind);
        let is_its = |slot: &u32| {
            let connection = self.connections[*slot as usize].as_ref();
            connection.is_some_and(|connection| connection.protocol.is_some() && !connection.closed)
        };
        let Some(slot) = self.find(&key).filter(is_its) else {
            return self.count_other(error.protocol, packets);
        };
        if self.is_idle(slot) {
            self.employ(slot);
        }
        let Some(connection) = self.connections[slot as usize].as_mut() else {
            return;
        };
        let way = connection.way(direction.opposite());
        let counts = &mut connection.work.get_or_insert_default().counts[way as usize];
        for packet in packets {
            let outside = Lengths {
                payload: 0,
                surplus: packet.lengths.surplus + packet.lengths.payload,
                ..packet.lengths
            };
            counts.packet(self.mtu, PacketClass::Other, &outside);
        }
        if let Some(observer) = &mut self.observer {
            observer.observation.fate = Fate::IcmpError;
            observer.protocol = connection.protocol;
        }
        let row = row_of(connection);
        let errors = match &mut connection.early {
            Some(early) => Some(&mut early.icmp_errors),
            None => row.map(|row| &mut self.rows[row].icmp_errors),
        };
        if let Some(errors) = errors {
            *errors.entry(error.kind).or_default() += 1;
        }
        tick_each(connection, &mut self.rows, packets, 0);
    }

    /// All packets so far.
    pub fn packets(&self) -> Packets {
        Packets::new(self.packets)
    }

    /// Marker datagrams so far, in capture order.
    pub fn markers(&self) -> &[MarkerSeen] {
        &self.markers
    }

    /// Counts so far, of each protocol that was seen or asked for, then of the rest.
    pub fn live_totals(&self) -> Vec<LiveTotals> {
        let mut rows: Vec<_> = self.rows.iter().map(Accumulator::totals).collect();
        let empty: (Packets, Messages, IpBytes, PayloadBytes) = Default::default();
        let mut unclassified = add_totals(empty, &self.unclassified);
        for connection in self.connections.iter().flatten() {
            let sum = match row_of(connection) {
                Some(row) => &mut rows[row],
                None => &mut unclassified,
            };
            let early = connection
                .early
                .iter()
                .flat_map(|early| early.counts.clone());
            let at_work = connection.work.iter().flat_map(|work| work.settled());
            for counts in early.chain(at_work) {
                *sum = add_totals(*sum, &counts);
            }
        }
        let live = |name: &str, sum: (Packets, Messages, IpBytes, PayloadBytes)| LiveTotals {
            name: name.to_owned(),
            packets: sum.0,
            messages: sum.1,
            ip: sum.2,
            payload: sum.3,
        };
        let mut totals = Vec::new();
        for (protocol, rows) in self.plan.protocols().iter().zip(rows.chunks(2)) {
            if protocol.by_user || rows[0] != empty {
                totals.push(live(&protocol.name, rows[0]));
            }
            if rows[1] != empty {
                totals.push(live(&format!("{} (foreign)", protocol.name), rows[1]));
            }
        }
        totals.push(live("unclassified", unclassified));
        let mut undecoded = add_totals(empty, &self.undecoded);
        for waiting in self.fragments.carriers() {
            undecoded.0 += 1;
            undecoded.2 += u64::from(waiting.lengths.ip());
        }
        if undecoded != empty {
            totals.push(live("undecoded", undecoded));
        }
        totals
    }

    /// Ends every connection and gives the result.
    pub fn finish(mut self) -> Analysis {
        while let Some(broken) = self.fragments.end() {
            self.broken_fragments(broken);
        }
        for slot in 0..self.connections.len() {
            self.fold(slot as u32);
        }
        let plan = Arc::clone(&self.plan);
        let mut protocols = Vec::new();
        let mut messages: Option<MessageLog> = None;
        let mut rows = self.rows.into_iter();
        for (place, protocol) in plan.protocols().iter().enumerate() {
            for foreign in [false, true] {
                let Some(mut row) = rows.next() else { break };
                let log = row.log.take();
                let reply = log.as_ref().map(MessageLog::replies);
                if let Some(log) = log {
                    messages.get_or_insert_default().append(log);
                }
                if row.is_empty() && (foreign || !protocol.by_user) {
                    continue;
                }
                let framing = if foreign {
                    FramingChoice::Turn
                } else {
                    protocol.framing
                };
                self.evidence.gap_bytes += row.gap_bytes();
                protocols.push(ProtocolTally {
                    name: protocol.name.clone(),
                    place: place as u32,
                    ports: protocol.ports.to_string(),
                    framing: framing.name().to_owned(),
                    approximate: framing.is_approximate(),
                    foreign,
                    ..row.into_tally(self.mtu, protocol.operation.clone().filter(|_| !foreign))
                });
                if let (Some(reply), Some(tally)) = (reply, protocols.last_mut()) {
                    tally.latency.reply = reply;
                }
            }
        }
        self.evidence.gap_bytes += self.unclassified.gap_bytes();
        let mut undecoded = self.undecoded.layers();
        undecoded.wire += self.not_ip;
        let seen = self.packets > 0;
        let first_packet = seen.then_some(self.first_packet);
        self.evidence.segments_without_room = self.space.turned_away();
        self.beginning.settle(first_packet, &mut self.evidence);
        in_order(&mut self.markers);
        let connections = self.connection_log.map(|mut log| {
            let names = plan.protocols().iter();
            log.finish(names.map(|protocol| protocol.name.clone()).collect());
            *log
        });
        Analysis {
            plan: Some(plan.fingerprint()),
            first_packet,
            last_packet: seen.then_some(self.last_packet),
            packets: Packets::new(self.packets),
            protocols,
            unclassified: Unclassified {
                packets: PacketCounts::from_classes(self.unclassified.packets),
                bytes: self.unclassified.layers(),
                by_name: self
                    .unclassified_protocols
                    .iter()
                    .map(|(protocol, packets)| {
                        (packet::protocol_name(*protocol).into_owned(), *packets)
                    })
                    .collect(),
            },
            undecoded: Undecoded {
                packets: PacketCounts::from_classes(self.undecoded.packets),
                bytes: undecoded,
                not_ip: WireBytes::new(self.not_ip),
                reasons: self
                    .reasons
                    .iter()
                    .map(|(reason, packets)| (reason.to_string(), Packets::new(*packets)))
                    .collect(),
            },
            evidence: self.evidence,
            beginning: self.beginning,
            markers: self.markers,
            messages,
            connections,
        }
    }

    #[inline(always)]
    fn segment(
        &mut self,
        time: Timestamp,
        lengths: &Lengths,
        addresses: &Addresses,
        segment: &Segment<'_>,
        carriers: &[Carrier],
    ) {
        let (source, destination) = (segment.source_port, segment.destination_port);
        let ends = Ends::new(addresses, source, destination);
        let syn = segment.flags.any(TcpFlags::SYN);
        let recent = ends
            .filter(|_| !syn)
            .and_then(|ends| self.recent.find(ends));
        let (slot, direction) = match recent {
            Some(found) => {
                debug_assert!({
                    let (key, direction) =
                        ConnectionKey::new(addresses, source, destination, TransportKind::Tcp);
                    (self.find(&key), direction) == (Some(found.0), found.1)
                });
                found
            }
            None => {
                let (key, direction) =
                    ConnectionKey::new(addresses, source, destination, TransportKind::Tcp);
                let slot = match self.find(&key) {
                    Some(slot) if !syn => slot,
                    known => self.begin(known, key, direction, segment, time),
                };
                if let Some(ends) = ends {
                    self.recent.remember(ends, slot, direction);
                }
                (slot, direction)
            }
        };
        let slot = match &self.connections[slot as usize] {
            Some(connection) if connection.is_over(time) => {
                self.begin_anew(slot, addresses, segment, time)
            }
            _ => slot,
        };
        self.enter(slot, direction, time, lengths, segment, carriers);
    }

    /// Counts a segment on the shortest way, if there is nothing about it to think of.
    /// [`Analyzer::segment`] would do the same with it, which a test holds; on a capture of small
    /// packets this way makes the whole analysis a quarter faster.
    #[inline(always)]
    fn count_flowing(&mut self, packet: &CapturedPacket<'_>) -> bool {
        #[cfg(test)]
        if self.thorough {
            return false;
        }
        let Some((lengths, addresses, segment)) =
            packet::decode_usual(packet.link_type, packet.data, packet.original_length)
        else {
            return false;
        };
        let time = packet.timestamp;
        if !segment.flags.is_plain_acknowledgment() {
            return false;
        }
        let ends = Ends::new(&addresses, segment.source_port, segment.destination_port);
        let Some((slot, direction)) = ends.and_then(|ends| self.recent.find(ends)) else {
            return false;
        };
        let Some(connection) = self.connections[slot as usize].as_mut() else {
            return false;
        };
        let way = connection.way(direction);
        let Some(messages) = connection.flows_on(way, &lengths, &segment, packet.data, self.mtu)
        else {
            return false;
        };
        connection.in_use = true;
        connection.last_seen = time;
        let after = match lengths.payload {
            0 => Turnaround::default(),
            _ => connection.turn(way, time),
        };
        if let Some(row) = row_of(connection) {
            let row = &mut self.rows[row];
            row.answer(after);
            row.tick(time, 1, messages.get(), lengths.ip());
        }
        true
    }

    /// The place of a segment that is its connection's first, or says with SYN that it is its
    /// stream's.
    #[inline(never)]
    fn begin(
        &mut self,
        known: Option<u32>,
        key: ConnectionKey,
        direction: Direction,
        segment: &Segment<'_>,
        time: Timestamp,
    ) -> u32 {
        let flags = segment.flags;
        let slot = match known {
            Some(slot) => slot,
            None => self.open(key, direction, flags, time),
        };
        if flags.any(TcpFlags::SYN) {
            self.synchronize(slot, key, direction, flags, segment.sequence, time)
        } else {
            slot
        }
    }

    /// The place of the connection that a segment begins which comes too long after the end of
    /// another between the same ports.
    #[cold]
    fn begin_anew(
        &mut self,
        ended: u32,
        addresses: &Addresses,
        segment: &Segment<'_>,
        time: Timestamp,
    ) -> u32 {
        let (source, destination) = (segment.source_port, segment.destination_port);
        let (key, direction) =
            ConnectionKey::new(addresses, source, destination, TransportKind::Tcp);
        self.fold(ended);
        let slot = self.begin(None, key, direction, segment, time);
        if let Some(ends) = Ends::new(addresses, source, destination) {
            self.recent.remember(ends, slot, direction);
        }
        slot
    }

    /// Enters a segment into its connection and into its protocol's row. `carriers` are the packets that
    /// it came in where these are fragments; each has the class of the whole.
    #[inline(always)]
    fn enter(
        &mut self,
        slot: u32,
        direction: Direction,
        time: Timestamp,
        lengths: &Lengths,
        segment: &Segment<'_>,
        carriers: &[Carrier],
    ) {
        let flags = segment.flags;
        if self.is_idle(slot) {
            self.employ(slot);
        }
        let Self {
            connections,
            rows,
            space,
            observer,
            mtu,
            ..
        } = self;
        let Some(connection) = connections[slot as usize].as_mut() else {
            return;
        };
        connection.in_use = true;
        connection.last_seen = time;
        let way = connection.way(direction);
        if let Some(observer) = observer {
            observer.arrives(connection);
        }
        let mut row = row_of(connection).map(|row| &mut rows[row]);
        let length = lengths.payload;
        let special = flags.any(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST);
        let was_closed = connection.closed;
        let data_sequence = segment
            .sequence
            .wrapping_add(u32::from(flags.any(TcpFlags::SYN)));

        let (mut arrival, mut messages) = (Arrival::default(), 0);
        if length == 0 {
            if !special {
                connection.streams[way as usize].empty_segment(segment.sequence);
            }
        } else if connection.is_reset(way) || flags.any(TcpFlags::RST) {
            arrival.outside = length;
        } else {
            (arrival, messages) = connection.receive(
                way,
                data_sequence,
                segment.payload,
                length,
                space,
                row.as_deref_mut(),
            );
        }
        if flags.any(TcpFlags::ACK) && !flags.any(TcpFlags::RST) {
            let acknowledgment = segment.acknowledgment;
            messages += connection.acknowledge(way, acknowledgment, space, row.as_deref_mut());
        }
        if special {
            if flags.any(TcpFlags::FIN) {
                connection.fin(way, data_sequence.wrapping_add(length));
            }
            if flags.any(TcpFlags::RST)
                && connection.streams[way as usize].can_reset_at(segment.sequence)
            {
                connection.reset(way);
            }
        }
        if connection.has_fin {
            for way in [Way::ToListener, Way::FromListener] {
                messages += connection.end_at_fin(way, row.as_deref_mut());
            }
        }

        let class = if flags.any(TcpFlags::SYN) {
            PacketClass::Handshake
        } else if special {
            PacketClass::Teardown
        } else if arrival.repeated > 0 {
            PacketClass::Retransmission
        } else if arrival.new > 0 {
            PacketClass::Data
        } else if length == 0 && flags.any(TcpFlags::ACK) {
            PacketClass::PureAck
        } else {
            PacketClass::Other
        };
        let counts = &mut connection.work.get_or_insert_default().counts[way as usize];
        if carriers.is_empty() {
            counts.packet(*mtu, class, lengths);
        } else {
            counts.carriers(*mtu, class, carriers);
        }
        counts.bytes.payload += u64::from(arrival.new);
        if arrival.new > 0 {
            answer(connection, way, time, row.as_deref_mut());
        }
        let counts = &mut connection.work.get_or_insert_default().counts[way as usize];
        if arrival.new < length {
            counts.bytes.retransmitted += u64::from(arrival.repeated);
            counts.bytes.outside_stream += u64::from(arrival.outside);
            if arrival.repeated > 0
                && let Some(row) = &mut row
            {
                let start = connection.streams[way as usize].offset_of(data_sequence);
                row.log_repetition(Repetition {
                    connection: connection.serial,
                    way,
                    bytes: (start, start + u64::from(length)),
                });
            }
        }
        if !carriers.is_empty() {
            tick_each(connection, rows, carriers, messages);
        } else if connection.early.is_some() {
            tick_early(connection, rows, time, messages, lengths.ip());
        } else if let Some(row) = row {
            row.tick(time, 1, messages, lengths.ip());
        }
        connection.closed |= connection.has_fin && connection.is_finished();
        if let Some(observer) = observer {
            observer.arrived(connection, way, notes_of(connection, rows));
        }
        if connection.closed && !was_closed {
            let ended = (connection.key, connection.serial);
            self.retire(ended);
        }
    }

    #[inline(always)]
    fn find(&self, key: &ConnectionKey) -> Option<u32> {
        self.table.find(key.hash(), |slot| {
            let connection = self.connections.get(slot as usize);
            matches!(connection, Some(Some(connection)) if connection.key == *key)
        })
    }

    /// SYN: begins a stream, or is repeated, or begins the next connection between the same ports.
    #[cold]
    fn synchronize(
        &mut self,
        slot: u32,
        key: ConnectionKey,
        direction: Direction,
        flags: TcpFlags,
        sequence: u32,
        time: Timestamp,
    ) -> u32 {
        let begins = |connection: &Connection| {
            let way = connection.way(direction);
            !connection.closed && connection.streams[way as usize].can_begin_with(sequence)
        };
        let slot = match &self.connections[slot as usize] {
            Some(connection) if begins(connection) => slot,
            _ => {
                self.fold(slot);
                self.open(key, direction, flags, time)
            }
        };
        if let Some(connection) = self.connections[slot as usize].as_mut() {
            let way = connection.way(direction);
            connection.streams[way as usize].syn(sequence);
        }
        slot
    }

    /// A connection's first packet.
    #[cold]
    fn open(
        &mut self,
        key: ConnectionKey,
        direction: Direction,
        flags: TcpFlags,
        time: Timestamp,
    ) -> u32 {
        let ports = self.plan.ports();
        let source = key.source(direction).port();
        let destination = key.source(direction.opposite()).port();
        let kind = key.transport();
        let syn = kind == TransportKind::Tcp && flags.any(TcpFlags::SYN);
        let destination_listens = if syn {
            !flags.any(TcpFlags::ACK)
        } else {
            ports.second_listens(kind, source, destination)
        };
        let way = if destination_listens {
            Way::ToListener
        } else {
            Way::FromListener
        };
        let up_way = if direction == Direction::Up {
            way
        } else {
            way.opposite()
        };
        let listening = if destination_listens {
            destination
        } else {
            source
        };
        let protocol = ports.protocol(kind, listening);
        let framer = match protocol {
            None => Framer::Unframed,
            Some(protocol) => {
                let choice = self.plan.get(protocol).framing;
                choice.framer(kind == TransportKind::Udp || syn)
            }
        };
        let mut connection = Connection::new(key, protocol, up_way, framer, time);
        connection.mid_stream = kind == TransportKind::Tcp && !syn;
        connection.began_with_answer = syn && !destination_listens;
        let doubtful = connection.mid_stream && time < self.ended_linger;
        self.evidence.doubtful_connections += u64::from(doubtful);
        self.opened += 1;
        connection.serial = self.opened;
        self.evidence.mid_stream_connections += u64::from(connection.mid_stream);

        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.connections.len() < self.limits.connections => {
                self.connections.push(None);
                (self.connections.len() - 1) as u32
            }
            None => self.forget_a_silent_one(),
        };
        self.connections[slot as usize] = Some(connection);
        self.table.insert(key.hash(), slot);
        slot
    }

    /// Frees the place of a connection that has been silent for a whole round of the search.
    fn forget_a_silent_one(&mut self) -> u32 {
        loop {
            let slot = self.hand as u32;
            self.hand = (self.hand + 1) % self.connections.len();
            match self.connections[slot as usize].as_mut() {
                Some(connection) if connection.in_use => connection.in_use = false,
                connection => {
                    let open = connection.is_some_and(|connection| !connection.closed);
                    self.evidence.forgotten_connections += u64::from(open);
                    self.make_room(slot);
                    // `fold` has put it among the free ones.
                    return self.free.pop().unwrap_or(slot);
                }
            }
        }
    }

    /// Keeps an ended connection a while, and folds the one that ended longest ago.
    #[cold]
    fn retire(&mut self, ended: (ConnectionKey, u64)) {
        self.ended.push_back(ended);
        if self.ended.len() > self.limits.ended
            && let Some((oldest, serial)) = self.ended.pop_front()
            && let Some(slot) = self.find(&oldest)
            && self.connections[slot as usize]
                .as_ref()
                .is_some_and(|connection| connection.serial == serial)
        {
            self.make_room(slot);
        }
    }

    /// Ends a connection for the sake of others, and remembers until when that may matter.
    fn make_room(&mut self, slot: u32) {
        if let Some(connection) = &self.connections[slot as usize]
            && connection.closed
        {
            let until = connection.last_seen.as_nanos().saturating_add(LINGERS);
            self.ended_linger = self.ended_linger.max(Timestamp::from_nanos(until));
        }
        self.fold(slot);
    }

    /// Ends a connection and adds it to its row.
    fn fold(&mut self, slot: u32) {
        let Some(mut connection) = self.connections[slot as usize].take() else {
            return;
        };
        self.table.remove(connection.key.hash(), slot);
        if let Some(ends) = connection.key.ends() {
            self.recent.forget(ends);
            self.recent.forget(ends.opposite());
        }
        self.free.push(slot);
        self.unlist(slot, &connection);
        let row = row_of(&connection);
        let messages = connection.end(&mut self.space, row.map(|row| &mut self.rows[row]));
        let streams = connection.streams.iter();
        self.evidence.gaps += streams.map(HalfStream::gaps).sum::<u64>();
        let streams = connection.streams.iter();
        self.evidence.conflicting_bytes += streams.map(HalfStream::conflicting).sum::<u64>();
        let streams = connection.streams.iter();
        self.evidence.doubtful_bytes += streams.map(HalfStream::doubtful).sum::<u64>();
        for way in connection.unseen_beginnings() {
            if connection.began_with_answer && way == Way::ToListener {
                let (opened, first) = (connection.opened(), self.first_packet);
                self.beginning.unasked(opened, first, &mut self.evidence);
            } else {
                self.evidence.gaps += 1;
            }
        }
        decide(&mut connection);
        let row = row_of(&connection);
        if let Some(row) = row {
            self.rows[row].take_early(&mut connection);
        }
        self.take_counts(&mut connection);
        if let Some(row) = row {
            let row = &mut self.rows[row];
            if messages > 0 {
                row.tick(connection.last_seen, 0, messages, 0);
            }
            row.fold(&connection);
        }
        if let Some(log) = &mut self.connection_log {
            log.ended(&connection, connection.standing == Standing::Foreign);
        }
    }

    /// Whether a connection has no counts of its own.
    #[inline]
    fn is_idle(&self, slot: u32) -> bool {
        let connection = self.connections[slot as usize].as_ref();
        connection.is_some_and(|connection| connection.work.is_none())
    }

    /// Gives a connection counts of its own.
    #[cold]
    fn employ(&mut self, slot: u32) {
        while self.at_work.len() >= self.limits.at_work.max(1) {
            self.work_hand = (self.work_hand + 1) % self.at_work.len();
            let silent = self.at_work[self.work_hand];
            match self.connections[silent as usize].take() {
                Some(mut connection) => {
                    if !std::mem::take(&mut connection.in_use) {
                        self.unlist(silent, &connection);
                        self.take_counts(&mut connection);
                    }
                    self.connections[silent as usize] = Some(connection);
                }
                // `fold` strikes them from the list.
                None => debug_assert!(false, "a connection at work that is not there"),
            }
        }
        if let Some(connection) = &mut self.connections[slot as usize] {
            connection.work.get_or_insert_default().place = self.at_work.len() as u32;
            self.at_work.push(slot);
        }
    }

    /// Strikes a connection from the list of those at work.
    fn unlist(&mut self, slot: u32, connection: &Connection) {
        let Some(work) = &connection.work else { return };
        if self.at_work.get(work.place as usize) != Some(&slot) {
            return;
        }
        self.at_work.swap_remove(work.place as usize);
        if let Some(moved) = self.at_work.get(work.place as usize)
            && let Some(moved) = &mut self.connections[*moved as usize]
            && let Some(others) = &mut moved.work
        {
            others.place = work.place;
        }
    }

    /// Adds a connection's counts to those of its row, or to what is kept of it until that is known.
    fn take_counts(&mut self, connection: &mut Connection) {
        let Some(counts) = connection.take_counts() else {
            return;
        };
        if let Some(log) = &mut self.connection_log {
            log.take(connection.serial, &counts);
        }
        for counts in &counts {
            self.evidence.late_bytes += counts.late_of_gap;
            self.evidence.cut_unframed_bytes += counts.cut_unframed;
        }
        let merge = |into: &mut [Counts; 2]| {
            for (mine, theirs) in into.iter_mut().zip(&counts) {
                mine.merge(theirs);
            }
        };
        if let Some(early) = &mut connection.early {
            merge(&mut early.counts);
        } else if let Some(row) = row_of(connection) {
            self.rows[row].add(connection, &counts);
        } else {
            let protocol = match connection.key.transport() {
                TransportKind::Tcp => packet::TCP,
                TransportKind::Udp => packet::UDP,
            };
            for counts in &counts {
                self.unclassified.merge(counts);
                *self.unclassified_protocols.entry(protocol).or_default() += counts.all_packets();
            }
        }
    }

    /// Whether a datagram is of ours, where its flow is on ports of ours.
    fn standing_of_datagram(&self, slot: u32, payload: &[u8]) -> Option<Standing> {
        let framer = &self.connections[slot as usize].as_ref()?.framer;
        let Framer::WireWatt(framing) = framer else {
            return None;
        };
        let standing = match framing.is_of_ours(payload) {
            true => Standing::Ours,
            false => Standing::Foreign,
        };
        (!payload.is_empty()).then_some(standing)
    }

    fn datagram(
        &mut self,
        time: Timestamp,
        lengths: &Lengths,
        addresses: &Addresses,
        datagram: &Datagram<'_>,
        carriers: &[Carrier],
    ) {
        let (key, direction) = ConnectionKey::new(
            addresses,
            datagram.source_port,
            datagram.destination_port,
            TransportKind::Udp,
        );
        let mut slot = match self.find(&key) {
            Some(slot) => slot,
            None => self.open(key, direction, TcpFlags::new(0), time),
        };
        if let Some(standing) = self.standing_of_datagram(slot, datagram.payload) {
            // Each datagram is ours or not for itself: with the other kind, another flow begins.
            let of_other_kind = |connection: &Connection| {
                connection.standing != Standing::Undecided && connection.standing != standing
            };
            if self.connections[slot as usize]
                .as_ref()
                .is_some_and(of_other_kind)
            {
                self.fold(slot);
                slot = self.open(key, direction, TcpFlags::new(0), time);
            }
            if let Some(connection) = self.connections[slot as usize].as_mut() {
                connection.standing = standing;
            }
        }
        if self.is_idle(slot) {
            self.employ(slot);
        }
        let Self {
            connections,
            rows,
            plan,
            observer,
            markers,
            beginning,
            evidence,
            mtu,
            ..
        } = self;
        let Some(connection) = connections[slot as usize].as_mut() else {
            return;
        };
        connection.in_use = true;
        connection.last_seen = time;
        let way = connection.way(direction);
        if let Some(observer) = observer {
            observer.arrives(connection);
        }
        if connection.protocol == Some(plan.marker())
            && let Some(marker) = Marker::decode(datagram.payload)
        {
            beginning.marker(time);
            if markers.len() < MOST_MARKERS {
                markers.push(MarkerSeen {
                    timestamp: time,
                    marker,
                });
            } else {
                evidence.markers_left_out += 1;
            }
        }

        let length = u64::from(lengths.payload);
        let class = if length > 0 {
            PacketClass::Data
        } else {
            PacketClass::Other
        };
        let counts = &mut connection.work.get_or_insert_default().counts[way as usize];
        let itself = [Carrier {
            time,
            lengths: *lengths,
        }];
        let carriers = or_itself(carriers, &itself);
        counts.carriers(*mtu, class, carriers);
        counts.bytes.payload += length;
        let mut messages = 0;
        if length > 0 {
            messages = frame_datagram(connection, way, datagram.payload, length, rows);
        }
        if length > 0 {
            let row = row_of(connection).map(|row| &mut rows[row]);
            answer(connection, way, time, row);
        }
        tick_each(connection, rows, carriers, messages);
        if let Some(observer) = observer {
            observer.arrived(connection, way, notes_of(connection, rows));
        }
    }
}

/// The packets that carried something: fragments, where it came in such, or it itself.
fn or_itself<'a>(carriers: &'a [Carrier], itself: &'a [Carrier; 1]) -> &'a [Carrier] {
    match carriers {
        [] => itself,
        _ => carriers,
    }
}

/// The messages that the packet at hand has brought to a connection's row, where they are noted.
fn notes_of<'a>(
    connection: &Connection,
    rows: &'a mut [Accumulator],
) -> Option<&'a mut Vec<MessageSeen>> {
    rows.get_mut(row_of(connection)?)?.notes.as_mut()
}

/// A datagram is a stream of its own: frames where its flow is of ours, otherwise one message.
/// Returns how many messages it held.
fn frame_datagram(
    connection: &mut Connection,
    way: Way,
    payload: &[u8],
    length: u64,
    rows: &mut [Accumulator],
) -> u64 {
    if connection.protocol.is_none() {
        let work = connection.work.get_or_insert_default();
        work.counts[way as usize].bytes.unframed += UnframedBytes::new(length);
        return 0;
    }
    let frames = match &connection.framer {
        Framer::WireWatt(framing) if connection.standing == Standing::Ours => {
            Some(framing.afresh())
        }
        _ => None,
    };
    let row = row_of(connection);
    let (_, mut tap) = connection.split(way, row.map(|row| &mut rows[row]));
    match frames {
        Some(mut frames) => {
            frames.bytes(way, payload, &mut tap.book);
            let cut = length - payload.len() as u64;
            if cut > 0 {
                frames.cut(way, cut, &mut tap.book);
            }
            frames.end(way, true, &mut tap.book);
        }
        None => SegmentFraming.arrived(way, length, &mut tap.book),
    }
    tap.book.messages
}

/// The row that a connection counts into, foreign ones in the second of their protocol's two.
#[inline]
fn row_of(connection: &Connection) -> Option<usize> {
    let ProtocolIndex(index) = connection.protocol?;
    Some(2 * usize::from(index) + usize::from(connection.standing == Standing::Foreign))
}

/// Enters that new payload went this way of a connection, into what it counts in.
fn answer(connection: &mut Connection, way: Way, time: Timestamp, row: Option<&mut Accumulator>) {
    let after = connection.turn(way, time);
    match (&mut connection.early, row) {
        (Some(early), _) if after.is_answer => early.turnarounds.add(after.after),
        (Some(_), _) => {}
        (None, Some(row)) => row.answer(after),
        (None, None) => {}
    }
}

/// Settles whether a connection is ours, as soon as its framing knows.
#[inline]
fn decide(connection: &mut Connection) {
    if connection.standing == Standing::Undecided {
        if connection.framer.is_foreign() {
            connection.standing = Standing::Foreign;
        } else if !connection.framer.is_undecided() {
            connection.standing = Standing::Ours;
        }
    }
}

/// Enters packets of a connection, each at its time, into the time series that it counts in, and the
/// messages that the last of them completed.
fn tick_each(
    connection: &mut Connection,
    rows: &mut [Accumulator],
    packets: &[Carrier],
    messages: u64,
) {
    for (index, packet) in packets.iter().enumerate() {
        let is_last = index + 1 == packets.len();
        let messages = if is_last { messages } else { 0 };
        let ip = packet.lengths.ip();
        if connection.early.is_some() {
            tick_early(connection, rows, packet.time, messages, ip);
        } else if let Some(row) = row_of(connection) {
            rows[row].tick(packet.time, 1, messages, ip);
        }
    }
}

/// Enters a packet and the messages that it completed into the time series of a connection of which
/// it was not known whose row it belongs to, and settles that where it is known now.
#[cold]
fn tick_early(
    connection: &mut Connection,
    rows: &mut [Accumulator],
    time: Timestamp,
    messages: u64,
    ip: u32,
) {
    decide(connection);
    if let Some(early) = &mut connection.early {
        let bucket = Bucket {
            messages: Messages::new(messages),
            packets: Packets::new(1),
            ip: IpBytes::new(u64::from(ip)),
        };
        early.series.add(early.series.start_of(time), &bucket);
    }
    if connection.standing != Standing::Undecided
        && let Some(row) = row_of(connection)
    {
        rows[row].take_early(connection);
    }
}
