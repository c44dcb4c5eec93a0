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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceLosses {
    /// Packets that the capture mechanism dropped; null where nothing counted them.
    pub packets_dropped: Option<Packets>,
    /// Packets that the kernel dropped before the capture could see them; null where nothing counted
    /// them.
    pub softnet_dropped: Option<Packets>,
    /// Whether opening and closing markers were both seen; nothing where none were sent.
    pub markers_seen: Option<bool>,
    /// Whether the source ended in the middle of something: a cut file, an interrupted run.
    pub cut_short: bool,
    /// Parts of a divided capture that are not among what was analysed or merged.
    pub missing_parts: u64,
}

/// The report's statement on completeness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// The verdict.
    pub state: CompletenessState,
    /// Packets that the capture showed.
    pub packets_seen: Packets,
    /// What the source knows of its own losses.
    #[serde(flatten)]
    pub losses: SourceLosses,
    /// What the streams prove.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// Why the state is what it is, in words.
    pub reasons: Vec<String>,
}

impl Completeness {
    /// Judges a capture by its streams and by its source.
    pub fn judge(packets_seen: Packets, evidence: &Evidence, losses: &SourceLosses) -> Self {
        let mut reasons = Vec::new();
        let drops = [
            (losses.packets_dropped, "the capture dropped"),
            (
                losses.softnet_dropped,
                "before the capture could see them, the kernel dropped",
            ),
        ];
        for (count, who) in drops {
            if let Some(count) = count.filter(|count| *count > Packets::ZERO) {
                reasons.push(format!("{who} {}", counted(count.get(), "packet")));
            }
        }
        if evidence.gap_bytes > GapBytes::ZERO {
            reasons.push(format!(
                "sequence numbers prove {} in {} that no packet showed",
                counted(evidence.gap_bytes.get(), "byte"),
                counted(evidence.gaps, "gap")
            ));
        } else if evidence.gaps > 0 {
            let streams = counted(evidence.gaps, "stream");
            reasons.push(format!(
                "the beginning or the end of {streams} was acknowledged, and no packet showed it"
            ));
        }
        if evidence.late_bytes > 0 {
            reasons.push(format!(
                "{} came so late that their messages were given up",
                counted(evidence.late_bytes, "byte")
            ));
        }
        if evidence.cut_unframed_bytes > 0 {
            reasons.push(format!(
                "the snap length cut {} in which messages may begin",
                counted(evidence.cut_unframed_bytes, "stream byte")
            ));
        }
        if evidence.unfinished_fragments > 0 {
            reasons.push(format!(
                "of {} some fragments were seen and others were not",
                counted(evidence.unfinished_fragments, "IP packet")
            ));
        }
        if evidence.forgotten_fragments > 0 {
            reasons.push(format!(
                "the fragments of {} were given up, too many were waiting for others",
                counted(evidence.forgotten_fragments, "IP packet")
            ));
        }
        if losses.markers_seen == Some(false) {
            reasons.push("not every marker datagram was seen in the capture".to_owned());
        }
        if losses.cut_short {
            reasons
                .push("the capture ends in the middle of a record or was interrupted".to_owned());
        }
        if losses.missing_parts > 0 {
            let parts = counted(losses.missing_parts, "part");
            reasons.push(format!("{parts} of a divided capture: missing"));
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
        reasons.extend(remarks(evidence));
        Self {
            state,
            packets_seen,
            losses: *losses,
            evidence: *evidence,
            reasons,
        }
    }
}

/// What else a reader should know of how the streams were seen. It is no loss.
fn remarks(evidence: &Evidence) -> Vec<String> {
    [
        (
            evidence.mid_stream_connections,
            "connection",
            "began before the capture",
        ),
        (
            evidence.forgotten_connections,
            "open and silent connection",
            "made room for others; what they sent later counts as picked up in mid-stream",
        ),
        (
            evidence.conflicting_bytes,
            "byte",
            "came a second time with another value; the first counts",
        ),
        (
            evidence.doubtful_connections,
            "connection",
            "picked up in mid-stream may be the rest of one that had ended and made room for others",
        ),
        (
            evidence.doubtful_bytes,
            "byte",
            "counted as sent again and may be new: their stream had more holes than are remembered",
        ),
        (
            evidence.segments_without_room,
            "segment",
            "came out of order and found no room; what precedes them was given up",
        ),
        (
            evidence.unasked_left_out,
            "gap",
            "may be before the capture's beginning: there were too many to tell",
        ),
        (
            evidence.markers_left_out,
            "marker datagram",
            "counted and not remembered: there were too many",
        ),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, what, why)| format!("{} {why}", counted(count, what)))
    .collect()
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(evidence: Evidence, losses: SourceLosses) -> Completeness {
        Completeness::judge(Packets::new(10), &evidence, &losses)
    }

    fn proven() -> SourceLosses {
        SourceLosses {
            packets_dropped: Some(Packets::ZERO),
            softnet_dropped: Some(Packets::ZERO),
            markers_seen: Some(true),
            ..SourceLosses::default()
        }
    }

    #[test]
    fn every_kind_of_evidence_decides_the_state() {
        use CompletenessState::{Consistent, Incomplete, Proven, Unknown};
        let gap = Evidence {
            gaps: 1,
            gap_bytes: GapBytes::new(1),
            ..Evidence::default()
        };
        let some = Some(Packets::new(1));
        for (evidence, losses, state) in [
            (Evidence::default(), proven(), Proven),
            (gap, proven(), Incomplete),
            (
                Evidence::default(),
                SourceLosses {
                    packets_dropped: some,
                    ..proven()
                },
                Incomplete,
            ),
            (
                Evidence::default(),
                SourceLosses {
                    softnet_dropped: some,
                    ..proven()
                },
                Incomplete,
            ),
            (
                Evidence::default(),
                SourceLosses {
                    cut_short: true,
                    ..proven()
                },
                Incomplete,
            ),
            (
                Evidence::default(),
                SourceLosses {
                    markers_seen: Some(false),
                    ..proven()
                },
                Incomplete,
            ),
            (
                Evidence::default(),
                SourceLosses {
                    packets_dropped: None,
                    ..proven()
                },
                Consistent,
            ),
            (
                Evidence {
                    late_bytes: 1,
                    ..Evidence::default()
                },
                proven(),
                Incomplete,
            ),
            (
                Evidence {
                    cut_unframed_bytes: 1,
                    ..Evidence::default()
                },
                proven(),
                Incomplete,
            ),
            (
                Evidence {
                    unfinished_fragments: 1,
                    ..Evidence::default()
                },
                proven(),
                Incomplete,
            ),
            (
                Evidence {
                    forgotten_fragments: 1,
                    ..Evidence::default()
                },
                proven(),
                Incomplete,
            ),
            (Evidence::default(), SourceLosses::default(), Consistent),
        ] {
            assert_eq!(
                judged(evidence, losses).state,
                state,
                "{evidence:?} {losses:?}"
            );
        }
        let empty = Completeness::judge(
            Packets::ZERO,
            &Evidence::default(),
            &SourceLosses::default(),
        );
        assert_eq!(empty.state, Unknown);
    }

    #[test]
    fn a_connection_from_before_the_capture_is_a_remark_and_no_loss() {
        let evidence = Evidence {
            mid_stream_connections: 2,
            ..Evidence::default()
        };
        let completeness = judged(evidence, proven());
        assert_eq!(completeness.state, CompletenessState::Proven);
        assert_eq!(
            completeness.reasons[1],
            "2 connections began before the capture"
        );
    }
}
