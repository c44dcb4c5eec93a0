//! The engine: packets in, an [`Analysis`] out. One path for live and saved captures.
//!
//! In: captured packets and a [`ProtocolPlan`]. Out: tallies of every protocol, of what belongs to
//! none and of what could not be decoded, with the evidence that streams give of the capture's
//! completeness. Memory stays flat while captures grow: connections that have ended are folded
//! into their protocol's tally. Nothing here knows where packets come from.

mod accumulator;
mod completeness;
mod connection;
mod deal;
mod engine;
mod log;
mod merge;
mod observation;
mod parallel;
mod plan;
mod processor;
mod shard;
mod train;

pub use completeness::{Completeness, CompletenessState, SourceLosses};
pub use deal::ChunkSource;
pub use engine::{Analyzer, Limits, LiveTotals, count_chunk};
pub use log::{
    ConnectionCounted, ConnectionLog, ConnectionSeen, MOST_MESSAGES, MessageLog, MessageSeen,
    Repetition, WayCounted,
};
pub use merge::Beginning;
pub(crate) use merge::{earliest, merge_rows};
pub use observation::{Fate, Observation};
pub use parallel::analyze;
pub use plan::{
    PlanError, PlanFingerprint, PlannedProtocol, ProtocolDefinition, ProtocolPlan,
    parse_protocols_file, read_protocols_file,
};
pub use shard::{KeptPacket, Sharder};

use serde::{Deserialize, Serialize};

use crate::message::Marker;
use crate::tally::{Bucket, ProtocolTally, Unclassified, Undecoded};
use crate::units::{GapBytes, Messages, Packets, Timestamp};

/// What a capture held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Analysis {
    /// What packets were sorted by.
    pub plan: Option<PlanFingerprint>,
    /// The earliest packet's time.
    pub first_packet: Option<Timestamp>,
    /// The latest packet's time.
    pub last_packet: Option<Timestamp>,
    /// All packets, decoded or not.
    pub packets: Packets,
    /// One tally for each protocol that was seen or was asked for, in the plan's order.
    pub protocols: Vec<ProtocolTally>,
    /// Packets outside every protocol's ports.
    pub unclassified: Unclassified,
    /// Packets that could not be decoded.
    pub undecoded: Undecoded,
    /// What the streams say of the capture's completeness.
    pub evidence: Evidence,
    /// What its beginning leaves open.
    pub beginning: Beginning,
    /// Marker datagrams, in the order of their times.
    pub markers: Vec<MarkerSeen>,
    /// Messages one by one, where they were [asked for](Analyzer::keeping_messages).
    pub messages: Option<MessageLog>,
    /// Connections one by one, where they were [asked for](Analyzer::keeping_connections).
    pub connections: Option<ConnectionLog>,
}

impl Analysis {
    /// The identities of docs/report.md that do not hold, each in words: none, whatever the capture.
    pub fn broken_identities(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut hold = |holds: bool, whose: &str, what: &str| {
            if !holds {
                broken.push(format!("{whose}: {what}"));
            }
        };
        let (unclassified, undecoded) = (&self.unclassified, &self.undecoded);
        let mut packets = unclassified.packets.total + undecoded.packets.total;
        let mut gap_bytes = unclassified.bytes.gap_bytes;
        for row in &self.protocols {
            let name = row.name.as_str();
            for what in row.bytes.broken_identities(Default::default()) {
                hold(false, name, &what);
            }
            packets += row.packets.total;
            gap_bytes += row.bytes.gap_bytes;
            let classes = &row.bytes_by_class;
            let by_class = classes.handshake
                + classes.teardown
                + classes.retransmission
                + classes.data
                + classes.pure_ack
                + classes.other;
            hold(by_class == row.bytes.ip, name, "bytes by class");
            let (to, from) = (&row.to_listener, &row.from_listener);
            hold(
                to.packets + from.packets == row.packets.total,
                name,
                "packets by way",
            );
            hold(
                to.messages + from.messages == row.messages,
                name,
                "messages by way",
            );
            hold(
                to.payload + from.payload == row.bytes.payload,
                name,
                "payload by way",
            );
            let mut all = Bucket::default();
            row.series
                .buckets
                .values()
                .for_each(|bucket| all.merge(bucket));
            let whole = Bucket {
                messages: row.messages,
                packets: row.packets.total,
                ip: row.bytes.ip,
            };
            hold(all == whole, name, "counts by time");
            let by_kind: Messages = row.messages_by_kind.values().copied().sum();
            let acknowledged: Messages = row.acknowledged_by_kind.values().copied().sum();
            let in_order = acknowledged <= by_kind && by_kind <= row.messages;
            hold(in_order, name, "acknowledged <= by kind <= messages");
        }
        for what in unclassified.bytes.broken_identities(Default::default()) {
            hold(false, "unclassified", &what);
        }
        for what in undecoded.bytes.broken_identities(undecoded.not_ip) {
            hold(false, "undecoded", &what);
        }
        let named: Packets = unclassified.by_name.values().copied().sum();
        hold(
            named == unclassified.packets.total,
            "unclassified",
            "packets by name",
        );
        let reasons: Packets = undecoded.reasons.values().copied().sum();
        hold(
            reasons == undecoded.packets.total,
            "undecoded",
            "packets by reason",
        );
        hold(packets == self.packets, "all", "packets");
        hold(gap_bytes == self.evidence.gap_bytes, "all", "gap bytes");
        let from_gaps = gap_bytes == GapBytes::ZERO || self.evidence.gaps > 0;
        hold(from_gaps, "all", "bytes are missing from no gap");
        broken
    }
}

/// What streams prove about packets that the capture did not show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Holes in streams that later sequence or acknowledgement numbers prove.
    pub gaps: u64,
    /// Bytes in those holes.
    pub gap_bytes: GapBytes,
    /// Packets that the snap length cut.
    pub truncated_packets: Packets,
    /// Connections whose beginning the capture did not show.
    pub mid_stream_connections: u64,
    /// Bytes that came after their gap had been declared: messages may be missing that the capture
    /// did show.
    pub late_bytes: u64,
    /// Stream bytes that the snap length cut where a message might have begun.
    pub cut_unframed_bytes: u64,
    /// Overlapping bytes of streams or of IP fragments whose second copy differed from the first.
    pub conflicting_bytes: u64,
    /// IP packets of which some fragments were seen and others were not.
    pub unfinished_fragments: u64,
    /// IP packets whose fragments were forgotten to keep memory flat.
    pub forgotten_fragments: u64,
    /// Connections that were still open and were forgotten to keep memory flat.
    pub forgotten_connections: u64,
    /// Connections picked up in mid-stream that may be the rest of an ended one which had been
    /// forgotten to keep memory flat.
    pub doubtful_connections: u64,
    /// Bytes that came late into streams with more holes than are remembered: they count as sent again,
    /// and may be new.
    pub doubtful_bytes: u64,
    /// Segments that came before what precedes them, and there was no room to hold them: what
    /// precedes them was given up.
    pub segments_without_room: u64,
    /// SYN-ACKs without their SYN that were taken for gaps because there were so many.
    pub unasked_left_out: u64,
    /// Markers that were counted and not remembered.
    pub markers_left_out: u64,
}

/// A marker datagram that the capture showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerSeen {
    /// When.
    pub timestamp: Timestamp,
    /// What it said.
    pub marker: Marker,
}

#[cfg(test)]
mod tests;
