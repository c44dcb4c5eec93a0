//! Counts of one row of the report while the analysis runs.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::connection::{Connection, Counts, Turnaround};
use super::log::{MessageLog, MessageSeen, Repetition};
use super::train::TrainTally;
use crate::message::{Label, Way};
use crate::packet::IcmpErrorKind;
use crate::protocols;
use crate::tally::{
    Bucket, BytesByClass, DirectionTally, Distribution, End, FirstPairs, Latency, Operations,
    PacketCounts, PairTally, Projection, ProtocolTally, Series,
};
use crate::units::{
    Connections, GapBytes, IpBytes, Messages, Mtu, Packets, PayloadBytes, Timestamp, WireBytes,
};

/// What the connections of one protocol have added up to, foreign ones apart.
#[derive(Debug, Default)]
pub(super) struct Accumulator {
    connections: Connections,
    refused: Connections,
    counts: [Counts; 2],
    kinds: FxHashMap<(u16, u16), Messages>,
    acknowledged: FxHashMap<(u16, u16), Messages>,
    processes: FirstPairs<u32>,
    hosts: FirstPairs<End>,
    operations: Operations,
    series: Series,
    bucket_start: i64,
    bucket: Bucket,
    /// How long answers took: [`Latency::turnaround`].
    turnarounds: Turnarounds,
    /// ICMP errors about packets of these connections.
    pub icmp_errors: BTreeMap<IcmpErrorKind, Packets>,
    /// Messages one by one, where they are asked for.
    pub log: Option<MessageLog>,
    /// Messages of the packet at hand, where packets are observed.
    pub notes: Option<Vec<MessageSeen>>,
}

/// Every bucket of a [`Distribution`].
#[derive(Debug, Clone)]
pub(super) struct Turnarounds(Box<[u64; Distribution::BUCKETS]>);

impl Default for Turnarounds {
    fn default() -> Self {
        Self(Box::new([0; Distribution::BUCKETS]))
    }
}

impl Turnarounds {
    /// Enters how long an answer took, if the packet at hand is one.
    #[inline(always)]
    pub fn add(&mut self, turnaround: Turnaround) {
        let bucket = Distribution::bucket_of(turnaround.after);
        self.0[bucket] += u64::from(turnaround.is_answer);
    }

    /// Takes out what has been added of others.
    pub fn take_out(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(&*other.0) {
            *mine -= others;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(&*other.0) {
            *mine += others;
        }
    }

    pub fn clear(&mut self) {
        self.0.fill(0);
    }
}

impl Accumulator {
    /// See [`Turnarounds::add`].
    #[inline(always)]
    pub fn answer(&mut self, turnaround: Turnaround) {
        self.turnarounds.add(turnaround);
    }

    /// Enters what trains have brought.
    pub fn trains(&mut self, tally: &TrainTally) {
        for (start, bucket) in &tally.ticks {
            self.turn_to_bucket(Timestamp::from_nanos(*start));
            self.bucket.merge(bucket);
        }
        self.turnarounds.merge(&tally.turnarounds);
    }

    /// Enters a message with a header of ours, `length` bytes in all.
    pub fn labelled(&mut self, label: &Label, length: u64) {
        *self.kinds.entry((label.protocol, label.kind)).or_default() += 1;
        if label.operation != 0 {
            self.operations.insert(label.run, label.operation);
        }
        let tally = PairTally {
            messages: Messages::new(1),
            payload: PayloadBytes::new(length),
        };
        self.processes.add((label.sender, label.receiver), &tally);
    }

    /// Keeps a message in the log, where there is one, and tells its place.
    #[inline]
    pub fn log(&mut self, message: impl FnOnce() -> MessageSeen) -> Option<usize> {
        if self.log.is_none() && self.notes.is_none() {
            return None;
        }
        let message = message();
        if let Some(notes) = &mut self.notes {
            notes.push(message.clone());
        }
        self.log.as_mut()?.message(message)
    }

    /// Keeps in the log, where there is one, that stream bytes were seen again.
    #[cold]
    pub fn log_repetition(&mut self, repetition: Repetition) {
        if let Some(log) = &mut self.log {
            log.repetition(repetition);
        }
    }

    /// Enters that a message of this kind was acknowledged: the one at this place of the log.
    pub fn acknowledged(&mut self, kind: (u16, u16), place: Option<usize>) {
        *self.acknowledged.entry(kind).or_default() += 1;
        if let (Some(log), Some(place)) = (&mut self.log, place) {
            log.messages[place].acknowledged = true;
        }
    }

    /// Enters a packet, and the messages that it completed, into the time series.
    #[inline]
    pub fn tick(&mut self, time: Timestamp, packets: u64, messages: u64, ip: u32) {
        self.turn_to_bucket(time);
        self.bucket.packets += packets;
        self.bucket.messages += messages;
        self.bucket.ip += u64::from(ip);
    }

    #[inline(always)]
    fn turn_to_bucket(&mut self, time: Timestamp) {
        let start = self.series.start_of(time);
        if start != self.bucket_start {
            self.flush_bucket();
            self.bucket_start = start;
        }
    }

    fn flush_bucket(&mut self) {
        if self.bucket != Bucket::default() {
            self.series
                .add(self.bucket_start, &std::mem::take(&mut self.bucket));
        }
    }

    /// Takes over a connection's time series, once it is known whose row it belongs to.
    pub fn take_early(&mut self, connection: &mut Connection) {
        if let Some(early) = connection.early.take() {
            self.flush_bucket();
            self.series.merge(&early.series);
            for (start, times) in &early.turnarounds.buckets {
                self.turnarounds.0[Distribution::bucket_of(*start)] += times;
            }
            for (kind, packets) in &early.icmp_errors {
                *self.icmp_errors.entry(*kind).or_default() += *packets;
            }
            self.add(connection, &early.counts);
        }
    }

    /// Adds a part of a connection's counts.
    pub fn add(&mut self, connection: &Connection, counts: &[Counts; 2]) {
        for (mine, theirs) in self.counts.iter_mut().zip(counts) {
            mine.merge(theirs);
        }
        if !self.processes.is_empty() {
            return;
        }
        let client = End::Client(connection.initiator().ip());
        let listener = End::Listener(connection.listener());
        for (way, pair) in [
            (Way::ToListener, (client, listener)),
            (Way::FromListener, (listener, client)),
        ] {
            let counts = &counts[way as usize];
            // A message may end, by a turn of direction, with a packet that brings none.
            if (counts.messages, counts.bytes.payload) == Default::default() {
                continue;
            }
            let tally = PairTally {
                messages: counts.messages,
                payload: counts.bytes.payload,
            };
            self.hosts.add(pair, &tally);
        }
    }

    /// Enters that a connection has ended whose counts were all added.
    pub fn fold(&mut self, connection: &Connection) {
        self.connections += 1;
        if connection.refused {
            self.refused += 1;
        }
        if let Some(log) = &mut self.log {
            log.connection(connection.as_seen());
        }
    }

    /// Whether nothing was ever counted here.
    pub fn is_empty(&self) -> bool {
        self.connections == Connections::ZERO
    }

    /// Bytes that no packet showed.
    pub fn gap_bytes(&self) -> GapBytes {
        self.counts.iter().map(Counts::gap_bytes).sum()
    }

    /// Packets, messages, IP bytes and payload so far.
    pub fn totals(&self) -> (Packets, Messages, IpBytes, PayloadBytes) {
        self.counts.iter().fold(Default::default(), add_totals)
    }

    /// The report's row, of packets that were counted on this MTU.
    pub fn into_tally(mut self, mtu: Mtu, operation: Option<String>) -> ProtocolTally {
        self.flush_bucket();
        let [to_listener, from_listener] = &self.counts;
        let direction = |counts: &Counts| DirectionTally {
            messages: counts.messages,
            packets: counts.all_packets(),
            payload: counts.bytes.payload,
        };
        let (to, from) = (direction(to_listener), direction(from_listener));
        let mut counts = to_listener.clone();
        counts.merge(from_listener);
        // Once frames have named processes, the addresses of their connections say nothing more.
        let pairs = if self.processes.is_empty() {
            self.hosts.into_pairs(|end| end)
        } else {
            self.processes.into_pairs(End::Process)
        };
        self.operations.settle();
        let mut turnaround = Distribution::default();
        for (bucket, times) in self.turnarounds.0.iter().enumerate() {
            turnaround.add_to_bucket(bucket, *times);
        }
        self.operations.kind = operation;
        ProtocolTally {
            connections: self.connections,
            refused_connections: self.refused,
            messages: counts.messages,
            incomplete_messages: counts.incomplete_messages,
            messages_by_kind: named(&self.kinds),
            acknowledged_by_kind: named(&self.acknowledged),
            packets: PacketCounts::from_classes(counts.packets),
            bytes_by_class: BytesByClass::from_classes(counts.ip_by_class),
            bytes: counts.layers(),
            to_listener: to,
            from_listener: from,
            pairs,
            series: self.series,
            operations: self.operations,
            latency: Latency {
                turnaround,
                reply: Distribution::default(),
            },
            projection: counts.projection(mtu),
            icmp_errors: self
                .icmp_errors
                .iter()
                .map(|(kind, packets)| (kind.to_string(), *packets))
                .collect(),
            ..ProtocolTally::default()
        }
    }
}

/// Adds one way's counts to packets, messages, IP bytes and payload.
pub(super) fn add_totals(
    sum: (Packets, Messages, IpBytes, PayloadBytes),
    counts: &Counts,
) -> (Packets, Messages, IpBytes, PayloadBytes) {
    (
        sum.0 + counts.all_packets(),
        sum.1 + counts.messages,
        sum.2 + counts.ip(),
        sum.3 + counts.bytes.payload,
    )
}

impl Counts {
    /// Adds another connection's counts of the same way, or the other way's.
    pub fn merge(&mut self, other: &Self) {
        for class in 0..self.packets.len() {
            self.packets[class] += other.packets[class];
            self.ip_by_class[class] += other.ip_by_class[class];
        }
        self.bytes.merge(&other.bytes);
        self.messages += other.messages;
        self.incomplete_messages += other.incomplete_messages;
        self.excess.merge(&other.excess);
        self.gap_declared += other.gap_declared;
        self.late_of_gap += other.late_of_gap;
        self.cut_unframed += other.cut_unframed;
    }

    /// The same packets as Ethernet frames of the MTU that they were counted on.
    fn projection(&self, mtu: Mtu) -> Projection {
        Projection::of(mtu, self.all_packets(), self.ip(), self.excess)
    }

    /// All layers, with the two that follow from the others.
    pub fn layers(&self) -> crate::tally::LayerBytes {
        let ip = self.ip();
        let bytes = &self.bytes;
        let wire = bytes.link_header.get() + ip.get() + bytes.link_trailer.get();
        crate::tally::LayerBytes {
            ip,
            wire: WireBytes::new(wire),
            gap_bytes: self.gap_bytes(),
            ..*bytes
        }
    }
}

/// Counts by the names of their kinds.
fn named(kinds: &FxHashMap<(u16, u16), Messages>) -> BTreeMap<String, Messages> {
    let mut named = BTreeMap::new();
    for (&(protocol, kind), messages) in kinds {
        let name = protocols::kind_name(protocol, kind).into_owned();
        *named.entry(name).or_default() += *messages;
    }
    named
}
