//! Adding the analyses of parts of a capture: of its connections sorted into parts, each connection
//! whole in one of them.
//!
//! What a part cannot judge because it depends on what the others saw is kept open in its
//! [`Beginning`] until all are together; so it does not matter into how many parts a capture was cut,
//! nor in which order they are added.

use serde::{Deserialize, Serialize};

use super::{Analysis, Evidence, MarkerSeen};
use crate::tally::ProtocolTally;
use crate::units::Timestamp;

/// A SYN without an answer is repeated after a second (RFC 6298, section 2): a SYN-ACK later than
/// that into the capture answers a SYN from within it.
const INITIAL_TIMEOUT: i64 = 1_000_000_000;

/// More SYN-ACKs without their SYN are taken for gaps at once.
const MOST_UNASKED: usize = 1 << 16;

/// What the beginning of a capture leaves open about connections that began with a SYN-ACK: whether
/// its SYN passed before the capture began, or is missing from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The earliest marker datagram. What follows a marker of the loopback, where SYN-ACK comes as
    /// soon as SYN is sent, answers what was sent behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_marker: Option<Timestamp>,
    /// Times of SYN-ACKs whose SYN may have passed before the capture, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unasked: Vec<Timestamp>,
}

impl Beginning {
    /// Whether nothing is left open.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn marker(&mut self, time: Timestamp) {
        let first = self.first_marker.get_or_insert(time);
        *first = (*first).min(time);
    }

    /// Whether a SYN-ACK of this time may answer a SYN from before the capture's first packet. Once it
    /// may not, it never may: the beginning and the first marker only become earlier.
    fn may_be_before(&self, time: Timestamp, first_packet: Timestamp) -> bool {
        let since = time.as_nanos().saturating_sub(first_packet.as_nanos());
        since < INITIAL_TIMEOUT && self.first_marker.is_none_or(|marker| time <= marker)
    }

    /// Enters a SYN-ACK whose SYN no packet showed.
    pub(super) fn unasked(
        &mut self,
        time: Timestamp,
        first_packet: Timestamp,
        evidence: &mut Evidence,
    ) {
        if !self.may_be_before(time, first_packet) {
            evidence.gaps += 1;
        } else if self.unasked.len() < MOST_UNASKED {
            self.unasked.push(time);
        } else {
            evidence.gaps += 1;
            evidence.unasked_left_out += 1;
        }
    }

    /// Counts those as gaps of which it is known by now that they are.
    pub(super) fn settle(&mut self, first_packet: Option<Timestamp>, evidence: &mut Evidence) {
        let mut unasked = std::mem::take(&mut self.unasked);
        let before = unasked.len();
        unasked.retain(|time| {
            first_packet.is_none_or(|first_packet| self.may_be_before(*time, first_packet))
        });
        evidence.gaps += (before - unasked.len()) as u64;
        unasked.sort_unstable();
        self.unasked = unasked;
    }

    /// Adds another part's. `first_packet` is the earliest of both.
    pub fn merge(
        &mut self,
        other: &Self,
        first_packet: Option<Timestamp>,
        evidence: &mut Evidence,
    ) {
        if let Some(marker) = other.first_marker {
            self.marker(marker);
        }
        self.unasked.extend(&other.unasked);
        self.settle(first_packet, evidence);
        while self.unasked.len() > MOST_UNASKED {
            self.unasked.pop();
            evidence.gaps += 1;
            evidence.unasked_left_out += 1;
        }
    }
}

impl Evidence {
    /// Whether a limit was hit, so that the same packets in other parts may give another result.
    pub fn is_limited(&self) -> bool {
        let limited = [
            self.forgotten_connections,
            self.doubtful_connections,
            self.segments_without_room,
            self.unasked_left_out,
            self.markers_left_out,
            self.forgotten_fragments,
        ];
        limited.iter().any(|count| *count > 0)
    }

    /// Adds another part's.
    pub fn merge(&mut self, other: &Self) {
        // So that nothing which is added to the evidence is forgotten here.
        let Self {
            gaps,
            gap_bytes,
            truncated_packets,
            mid_stream_connections,
            late_bytes,
            cut_unframed_bytes,
            conflicting_bytes,
            unfinished_fragments,
            forgotten_fragments,
            forgotten_connections,
            doubtful_connections,
            doubtful_bytes,
            segments_without_room,
            unasked_left_out,
            markers_left_out,
        } = *other;
        self.gaps += gaps;
        self.gap_bytes += gap_bytes;
        self.truncated_packets += truncated_packets;
        self.mid_stream_connections += mid_stream_connections;
        self.late_bytes += late_bytes;
        self.cut_unframed_bytes += cut_unframed_bytes;
        self.conflicting_bytes += conflicting_bytes;
        self.unfinished_fragments += unfinished_fragments;
        self.forgotten_fragments += forgotten_fragments;
        self.forgotten_connections += forgotten_connections;
        self.doubtful_connections += doubtful_connections;
        self.doubtful_bytes += doubtful_bytes;
        self.segments_without_room += segments_without_room;
        self.unasked_left_out += unasked_left_out;
        self.markers_left_out += markers_left_out;
    }
}

impl Analysis {
    /// Adds the analysis, by the same plan, of another part of the same capture: of other
    /// connections, each whole. The result is that of the whole capture; where a [limit](super::Limits)
    /// was hit in analysing the whole, its [`Evidence`] says so and it may differ.
    ///
    /// Messages and connections one by one are not added: whichever part has them loses them.
    pub fn merge(&mut self, other: Self) {
        let Self {
            plan,
            first_packet,
            last_packet,
            packets,
            protocols,
            unclassified,
            undecoded,
            evidence,
            beginning,
            mut markers,
            messages: _,
            connections: _,
        } = other;
        self.plan = self.plan.or(plan);
        self.first_packet = earliest(self.first_packet, first_packet);
        self.last_packet = self.last_packet.max(last_packet);
        self.packets += packets;
        merge_rows(
            &mut self.protocols,
            protocols,
            ProtocolTally::merge,
            |row| row,
        );
        self.unclassified.merge(&unclassified);
        self.undecoded.merge(&undecoded);
        self.evidence.merge(&evidence);
        self.beginning
            .merge(&beginning, self.first_packet, &mut self.evidence);
        self.markers.append(&mut markers);
        in_order(&mut self.markers);
        self.messages = None;
        self.connections = None;
    }
}

/// The earlier of two times, where there are two.
pub(crate) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// Adds the rows of another part, in the plan's order, a foreign row behind its protocol's own.
pub(crate) fn merge_rows<T>(
    mine: &mut Vec<T>,
    other: Vec<T>,
    merge: impl Fn(&mut T, &T),
    tally: impl Fn(&T) -> &ProtocolTally,
) {
    let place = |row: &T| (tally(row).place, tally(row).foreign);
    for row in other {
        match mine.binary_search_by_key(&place(&row), place) {
            Ok(at) => merge(&mut mine[at], &row),
            Err(at) => mine.insert(at, row),
        }
    }
}

/// Puts markers in the order of their times, and those of one time in an order of their own.
pub(super) fn in_order(markers: &mut [MarkerSeen]) {
    markers.sort_by(|one, other| {
        let key = |seen: &MarkerSeen| (seen.timestamp, seen.marker.cpu, seen.marker.nonce);
        key(one).cmp(&key(other)).then_with(|| {
            let key = |seen: &'_ MarkerSeen| seen.marker.purpose as u8;
            (key(one), &one.marker.name).cmp(&(key(other), &other.marker.name))
        })
    });
}
