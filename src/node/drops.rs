//! Injected drops: which messages a node suppresses in place of sending them.
//!
//! Whether a rule drops a message is decided by the seed and the message's own identity, so that the
//! same messages of two runs are dropped whatever their timing was.

use super::codec::Frame;
use super::control::{DropRule, Injections};
use crate::protocols::Protocol;

/// The rules of one node, and how often each has dropped.
pub struct Drops {
    rules: Vec<Rule>,
    seed: u64,
}

struct Rule {
    rule: DropRule,
    /// The number of the rule's kind.
    kind: Option<u16>,
    dropped: u64,
}

impl Drops {
    /// The rules among these faults.
    pub fn new(protocol: &Protocol, faults: &Injections) -> Self {
        let number = |name: &String| {
            let kind = protocol.kinds.iter().find(|kind| kind.name == *name);
            // A kind that there is not is none's: the rule drops nothing.
            kind.map_or(u16::MAX, |kind| kind.number)
        };
        let rule = |rule: &DropRule| Rule {
            kind: rule.kind.as_ref().map(number),
            rule: rule.clone(),
            dropped: 0,
        };
        Self {
            rules: faults.drop.iter().map(rule).collect(),
            seed: faults.seed,
        }
    }

    /// Whether this message is dropped.
    pub fn drops(&mut self, frame: &Frame) -> bool {
        let seed = self.seed;
        self.rules.iter_mut().enumerate().any(|(i, rule)| {
            let applies = rule.kind.is_none_or(|kind| kind == frame.kind)
                && rule.rule.most.is_none_or(|most| rule.dropped < most);
            let drawn = draw(seed.wrapping_add(i as u64), frame) % 1_000_000;
            let drops = applies && drawn < u64::from(rule.rule.millionths);
            rule.dropped += u64::from(drops);
            drops
        })
    }
}

/// A number that depends on the seed and on which message it is, and on nothing else.
fn draw(seed: u64, frame: &Frame) -> u64 {
    let identity = [
        u64::from(frame.sender) << 32 | u64::from(frame.receiver),
        u64::from(frame.incarnation),
        frame.sequence,
    ];
    identity
        .into_iter()
        .fold(mixed(seed), |state, word| mixed(state ^ word))
}

/// SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::catalog;

    fn dropped(rule: DropRule, seed: u64, kind: u16) -> Vec<u64> {
        let faults = Injections {
            drop: vec![rule],
            seed,
            ..Injections::default()
        };
        let protocol = catalog::by_name("two-phase-commit").unwrap().protocol();
        let mut drops = Drops::new(protocol, &faults);
        let frame = |sequence| Frame {
            protocol: protocol.number,
            kind,
            sender: 0,
            receiver: 1,
            incarnation: 1,
            run: sequence * 17,
            operation: 1,
            sequence,
            timestamp: sequence,
            body: Vec::new(),
        };
        (1..=10_000).filter(|&i| drops.drops(&frame(i))).collect()
    }

    fn rule(millionths: u32) -> DropRule {
        DropRule {
            millionths,
            kind: None,
            most: None,
        }
    }

    #[test]
    fn a_share_is_dropped_the_same_for_the_same_seed() {
        let one = dropped(rule(100_000), 1, 1);
        assert!((900..1100).contains(&one.len()), "{}", one.len());
        assert_eq!(one, dropped(rule(100_000), 1, 1));
        assert_ne!(one, dropped(rule(100_000), 2, 1));
        assert_eq!(dropped(rule(1_000_000), 3, 1).len(), 10_000);
    }

    #[test]
    fn a_rule_may_be_for_one_kind_and_for_the_first_few() {
        let kind = Some("vote-yes".to_owned());
        let rule = DropRule {
            kind,
            most: Some(3),
            ..rule(1_000_000)
        };
        assert_eq!(dropped(rule.clone(), 1, 2), [1, 2, 3]);
        assert!(dropped(rule, 1, 1).is_empty());
    }
}
