//! Whether a capture showed everything that passed, and how that is known.

use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::units::{GapBytes, Packets};

/// How far a capture is known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompletenessState {
    /// Markers seen on both sides, no drops by any counter, no unexplained gap.
    Proven,
    /// Nothing speaks against it: the best that a saved capture can be.
    Consistent,
    /// Packets are known to be missing.
    Incomplete,
    /// Too little is known to say.
    Unknown,
}

/// What the capture's source knows of its own losses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceLosses {
    /// Packets that the capture mechanism dropped, where it counts them.
    pub packets_dropped: Option<Packets>,
    /// Packets that the kernel dropped before the capture could see them, where it counts them.
    pub softnet_dropped: Option<Packets>,
    /// Whether opening and closing markers were both seen; nothing where none were sent.
    pub markers_seen: Option<bool>,
    /// Whether the source ended in the middle of something: a cut file, an interrupted run.
    pub cut_short: bool,
}

/// The report's statement on completeness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// The verdict.
    pub state: CompletenessState,
    /// Packets that the capture showed.
    pub packets_seen: Packets,
    /// Packets that the capture mechanism dropped; null where nothing counted them.
    pub packets_dropped: Option<Packets>,
    /// Packets that the kernel dropped before the capture; null where nothing counted them.
    pub softnet_dropped: Option<Packets>,
    /// Holes in streams.
    pub gaps: u64,
    /// Bytes in those holes.
    pub gap_bytes: GapBytes,
    /// Packets that the snap length cut. Their original lengths are counted.
    pub truncated_packets: Packets,
    /// Why the state is what it is, in words.
    pub reasons: Vec<String>,
}

impl Completeness {
    /// Judges a capture by its streams and by its source.
    pub fn judge(packets_seen: Packets, evidence: &Evidence, losses: &SourceLosses) -> Self {
        let mut reasons = Vec::new();
        let lost = |count: Option<Packets>| count.is_some_and(|count| count > Packets::ZERO);
        if let Some(dropped) = losses
            .packets_dropped
            .filter(|_| lost(losses.packets_dropped))
        {
            reasons.push(format!("the capture dropped {dropped} packets"));
        }
        if let Some(dropped) = losses
            .softnet_dropped
            .filter(|_| lost(losses.softnet_dropped))
        {
            reasons.push(format!(
                "the kernel dropped {dropped} packets before the capture could see them"
            ));
        }
        if evidence.gaps > 0 {
            reasons.push(format!(
                "sequence numbers prove {} bytes in {} gaps that no packet showed",
                evidence.gap_bytes, evidence.gaps
            ));
        }
        if losses.markers_seen == Some(false) {
            reasons.push("not every marker datagram was seen in the capture".to_owned());
        }
        if losses.cut_short {
            reasons
                .push("the capture ends in the middle of a record or was interrupted".to_owned());
        }
        let state = if !reasons.is_empty() {
            CompletenessState::Incomplete
        } else if losses.markers_seen == Some(true)
            && losses.packets_dropped.is_some()
            && losses.softnet_dropped.is_some()
        {
            reasons.push(
                "opening and closing markers were seen, no counter shows a drop, no stream has a gap"
                    .to_owned(),
            );
            CompletenessState::Proven
        } else if packets_seen == Packets::ZERO {
            reasons.push("the capture holds no packet".to_owned());
            CompletenessState::Unknown
        } else {
            reasons.push("nothing speaks against it, and no marker proves it".to_owned());
            CompletenessState::Consistent
        };
        Self {
            state,
            packets_seen,
            packets_dropped: losses.packets_dropped,
            softnet_dropped: losses.softnet_dropped,
            gaps: evidence.gaps,
            gap_bytes: evidence.gap_bytes,
            truncated_packets: evidence.truncated_packets,
            reasons,
        }
    }
}
