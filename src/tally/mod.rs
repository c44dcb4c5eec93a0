//! Counts of what a capture held: by protocol, message kind, node pair, packet class, layer, time.
//!
//! In: what the analysis engine attributes to a protocol. Out: [`ProtocolTally`] and its parts,
//! which serialize under the names of the report. Everything counted is an integer, so tallies of
//! parts merge exactly into the tally of the whole. Nothing here knows a packet or a stream.

mod distribution;
mod intervals;
mod layers;
mod pairs;
mod projection;
mod series;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use distribution::Distribution;
pub use intervals::{Intervals, Operations};
pub use layers::{BytesByClass, LayerBytes, PacketClass, PacketCounts};
pub use pairs::{End, FirstPairs, MOST_PAIRS, OTHERS, Pair, PairTally};
pub use projection::{Excess, Projection};
pub use series::{Bucket, Series};

use crate::units::{Connections, Messages, Packets, PayloadBytes, WireBytes};

/// Everything counted for one protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolTally {
    /// The protocol's name in the port plan.
    pub name: String,
    /// Its place in the port plan.
    #[serde(default)]
    pub place: u32,
    /// Its listening ports as the plan writes them, for example `8190-8289` or `6379,16379`.
    pub ports: String,
    /// The name of the framing that found the messages.
    pub framing: String,
    /// Whether the framing only approximates messages (`segment`, `turn`).
    pub approximate: bool,
    /// Whether these streams were on a built-in range without being ours.
    #[serde(default)]
    pub foreign: bool,
    /// Connections seen, the refused ones included.
    pub connections: Connections,
    /// Connection attempts that the listener's end answered with RST.
    #[serde(default)]
    pub refused_connections: Connections,
    /// Complete messages.
    pub messages: Messages,
    /// Messages of which some bytes were seen and others were not.
    pub incomplete_messages: Messages,
    /// Complete messages by the name of their kind, where the framing knows kinds.
    pub messages_by_kind: BTreeMap<String, Messages>,
    /// Complete messages by kind whose last byte the receiver's TCP acknowledged.
    #[serde(default)]
    pub acknowledged_by_kind: BTreeMap<String, Messages>,
    /// Packets by class.
    pub packets: PacketCounts,
    /// IP bytes by packet class. Their sum is `bytes.ip`.
    pub bytes_by_class: BytesByClass,
    /// Bytes by layer.
    pub bytes: LayerBytes,
    /// What went towards the listening end.
    pub to_listener: DirectionTally,
    /// What came from the listening end.
    pub from_listener: DirectionTally,
    /// Complete messages by sender and receiver.
    #[serde(with = "pairs::as_list")]
    pub pairs: BTreeMap<Pair, PairTally>,
    /// Counts by time.
    pub series: Series,
    /// Operations that the messages belonged to, where the framing names them.
    pub operations: Operations,
    /// How long answers took.
    #[serde(default)]
    pub latency: Latency,
    /// The same exchange as Ethernet frames.
    pub projection: Projection,
    /// ICMP errors about packets of these connections, by what they say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub icmp_errors: BTreeMap<String, Packets>,
}

impl ProtocolTally {
    /// Adds the counts of the same protocol from another part of the traffic. Parts may share
    /// operations and pairs, but no connection.
    pub fn merge(&mut self, other: &Self) {
        // So that nothing which is added to the tally is forgotten here.
        let Self {
            name: _,
            place: _,
            ports: _,
            framing: _,
            approximate: _,
            foreign: _,
            connections,
            refused_connections,
            messages,
            incomplete_messages,
            messages_by_kind,
            acknowledged_by_kind,
            packets,
            bytes_by_class,
            bytes,
            to_listener,
            from_listener,
            pairs,
            series,
            operations,
            latency,
            projection,
            icmp_errors,
        } = other;
        self.connections += *connections;
        self.refused_connections += *refused_connections;
        self.messages += *messages;
        self.incomplete_messages += *incomplete_messages;
        merge_kinds(&mut self.messages_by_kind, messages_by_kind);
        merge_kinds(&mut self.acknowledged_by_kind, acknowledged_by_kind);
        self.packets.merge(packets);
        self.bytes_by_class.merge(bytes_by_class);
        self.bytes.merge(bytes);
        self.to_listener.merge(to_listener);
        self.from_listener.merge(from_listener);
        pairs::merge(&mut self.pairs, pairs);
        self.series.merge(series);
        self.operations.merge(operations);
        self.latency.merge(latency);
        self.projection.merge(projection);
        merge_packets(&mut self.icmp_errors, icmp_errors);
    }
}

/// How long answers took, by the times of packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Of each turn of a connection: from the last packet with new payload towards the listener to the
    /// first with new payload back. Whatever the framing; of requests that are sent before the
    /// answer to an earlier one, only the last counts.
    #[serde(skip_serializing_if = "Distribution::is_empty")]
    pub turnaround: Distribution,
    /// Of each message of our own nodes that another answers: from the packet that completed it to the
    /// one that completed the next message of the same operation from its receiver to its sender that is
    /// of another kind and has a later Lamport timestamp, whatever connections carried them. Only
    /// where messages were kept one by one.
    #[serde(skip_serializing_if = "Distribution::is_empty")]
    pub reply: Distribution,
}

impl Latency {
    /// What is told of it, and what one of these is called: replies between our own nodes where messages
    /// were kept, else the turns of connections.
    pub fn answers(&self) -> (&Distribution, &'static str) {
        match self.reply.is_empty() {
            true => (&self.turnaround, "answer"),
            false => (&self.reply, "reply"),
        }
    }

    /// Adds another part's.
    pub fn merge(&mut self, other: &Self) {
        let Self { turnaround, reply } = other;
        self.turnaround.merge(turnaround);
        self.reply.merge(reply);
    }
}

fn merge_kinds(mine: &mut BTreeMap<String, Messages>, other: &BTreeMap<String, Messages>) {
    for (kind, messages) in other {
        *mine.entry(kind.clone()).or_default() += *messages;
    }
}

fn merge_packets(mine: &mut BTreeMap<String, Packets>, other: &BTreeMap<String, Packets>) {
    for (name, packets) in other {
        *mine.entry(name.clone()).or_default() += *packets;
    }
}

/// What went one way between listeners and their peers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionTally {
    /// Complete messages.
    pub messages: Messages,
    /// Packets of every class.
    pub packets: Packets,
    /// Unique transport payload.
    pub payload: PayloadBytes,
}

impl DirectionTally {
    /// Adds another part's counts.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.packets += other.packets;
        self.payload += other.payload;
    }
}

/// Packets that were decoded and belong to no protocol's ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unclassified {
    /// Packets by class.
    pub packets: PacketCounts,
    /// Bytes by layer; payload stands under `unframed`.
    pub bytes: LayerBytes,
    /// Packets by the name of what the IP packet carries, TCP and UDP among them.
    #[serde(default)]
    pub by_name: BTreeMap<String, Packets>,
}

/// Packets that could not be decoded to a transport header. They stay in the totals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecoded {
    /// Packets; all of class `other`.
    pub packets: PacketCounts,
    /// Bytes by layer as far as the decoder came. What follows the last header that was understood
    /// stands under `outside_stream`; frames that are not IP count under `wire` only.
    pub bytes: LayerBytes,
    /// The part of `bytes.wire` that is frames which are not IP:
    /// `wire = link_header + ip + link_trailer + not_ip`.
    pub not_ip: WireBytes,
    /// Packets by the reason why they were not decoded.
    pub reasons: BTreeMap<String, Packets>,
}

impl Unclassified {
    /// Adds another part's packets.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            packets,
            bytes,
            by_name,
        } = other;
        self.packets.merge(packets);
        self.bytes.merge(bytes);
        merge_packets(&mut self.by_name, by_name);
    }
}

impl Undecoded {
    /// Adds another part's packets.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            packets,
            bytes,
            not_ip,
            reasons,
        } = other;
        self.packets.merge(packets);
        self.bytes.merge(bytes);
        self.not_ip += *not_ip;
        merge_packets(&mut self.reasons, reasons);
    }
}
