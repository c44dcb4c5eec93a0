//! Holds three accounts of every message against each other: the formula, the nodes' own
//! counters, the wire.
//!
//! In: [`Account`]s (what formula and ledger say of one message kind), the wire's tallies and the
//! state of the capture's completeness; for runs of our own nodes also the [`Book`] of their ledger
//! and the capture's messages, which are matched one to one. Out: an [`Audit`]: one [`Row`] a kind with a verdict and
//! its explanation. A difference is explained only by evidence that the wire or the ledger's own
//! declaration gives; a capture's losses never explain one. Nothing here counts.

mod book;
mod identity;
mod matching;
mod reconcile;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use book::{Book, MessageId};
pub use identity::{Identity, IdentityRow, Relation};
pub use matching::{
    Circumstances, Finding, FindingCount, Matching, MessageAudit, Unmatched, match_messages,
};
pub use reconcile::{reconcile, reconcile_matched};

use crate::units::Messages;

/// What formula and ledger say of one message kind of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The protocol's name in the port plan.
    pub protocol: String,
    /// The message kind's name.
    pub kind: String,
    /// Attempted messages by the formula; nothing where no formula is known. The formula counts
    /// attempts: what an injected drop or a refused connection kept from the wire is in it.
    pub expected: Option<Expected>,
    /// That formula, with where it is from.
    pub formula: Option<Formula>,
    /// What happened, in words, for which the formula has no case: then it is not held against the
    /// others, and says nothing.
    pub outside_formula: Option<String>,
    /// Messages that nodes set out to send.
    pub attempted: Messages,
    /// Of those, withheld by an injected drop.
    pub suppressed: Messages,
    /// Of those, refused: nothing listened.
    pub refused: Messages,
    /// Of those, taken by the kernel, every byte.
    pub sent: Messages,
    /// Of those, left without an outcome by the kill of their sender; where messages are matched one
    /// by one, all without an outcome. The wire decides.
    pub unknown: Messages,
    /// Messages that receivers decoded (the ledger's `arrived`).
    pub received: Messages,
    /// Messages that receivers' state machines took.
    pub handled: Messages,
}

/// A formula for one message kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formula {
    /// The formula, for one operation.
    pub formula: String,
    /// Where it is from.
    pub citation: String,
}

/// What a formula predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Expected {
    /// Exactly so many messages.
    Number(Messages),
    /// So many as timing decides, both ends included.
    Interval {
        /// The fewest.
        low: Messages,
        /// The most.
        high: Messages,
    },
}

impl Expected {
    /// Whether this many messages are as predicted.
    pub fn contains(self, messages: Messages) -> bool {
        match self {
            Self::Number(number) => messages == number,
            Self::Interval { low, high } => low <= messages && messages <= high,
        }
    }

    /// The prediction for two disjoint sets of messages together.
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Number(one), Self::Number(two)) => Self::Number(one + two),
            _ => {
                let ((low, high), (other_low, other_high)) = (self.ends(), other.ends());
                Self::Interval {
                    low: low + other_low,
                    high: high + other_high,
                }
            }
        }
    }

    /// The narrowest prediction that admits what either admits.
    pub fn or(self, other: Self) -> Self {
        let ((low, high), (other_low, other_high)) = (self.ends(), other.ends());
        match (low.min(other_low), high.max(other_high)) {
            (low, high) if low == high => Self::Number(low),
            (low, high) => Self::Interval { low, high },
        }
    }

    /// The fewest messages and the most.
    pub fn ends(self) -> (Messages, Messages) {
        match self {
            Self::Number(number) => (number, number),
            Self::Interval { low, high } => (low, high),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Interval { low, high } => write!(f, "{low}..{high}"),
        }
    }
}

/// How the accounts agree. The order is from best to worst; the whole is as its worst row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All accounts are equal.
    Exact,
    /// The formula is an interval; the other accounts are equal and inside it.
    Within,
    /// Every difference has evidence.
    Explained,
    /// The wire is not known to be complete, or its framing only approximates: it cannot tell.
    Inconclusive,
    /// The accounts contradict each other.
    Mismatch,
}

impl Verdict {
    /// The command's exit code, as diff(1) has them: 0 agrees, 1 disagrees, 2 could not tell.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exact | Self::Within | Self::Explained => 0,
            Self::Mismatch => 1,
            Self::Inconclusive => 2,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exact => "exact",
            Self::Within => "within",
            Self::Explained => "explained",
            Self::Inconclusive => "inconclusive",
            Self::Mismatch => "mismatch",
        })
    }
}

/// All accounts of one message kind, and how they agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The protocol's name.
    pub protocol: String,
    /// The message kind's name.
    pub kind: String,
    /// Attempted messages by the formula; null where no formula is known.
    pub expected: Option<Expected>,
    /// Messages that nodes set out to send.
    pub attempted: Messages,
    /// Of those, withheld by an injected drop.
    pub suppressed: Messages,
    /// Of those, refused by a closed port.
    pub refused: Messages,
    /// Of those, taken by the kernel.
    pub sent: Messages,
    /// Of those, left without an outcome: by the kill of their sender or a reset.
    #[serde(default)]
    pub unknown: Messages,
    /// Messages whose last byte the receiver's TCP acknowledged. Not delivery: a column of its own.
    pub acknowledged: Messages,
    /// Messages that receivers decoded.
    pub received: Messages,
    /// Messages that receivers' state machines took.
    pub handled: Messages,
    /// Complete messages in the capture.
    pub wire: Messages,
    /// How these agree.
    pub verdict: Verdict,
    /// Why, in words. Empty where the row is exact, unless its formula was not held against it.
    pub explanation: String,
    /// The formula behind `expected`.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<Formula>,
}

/// The accounts of a whole run or capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The worst verdict of rows and identities; inconclusive where there is no row.
    pub verdict: Verdict,
    /// One row a message kind.
    pub rows: Vec<Row>,
    /// How messages match one to one; absent where only their numbers were held against each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<MessageAudit>,
    /// What has to hold between the numbers of several kinds; empty where nothing has to, and in
    /// runs in which somebody failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityRow>,
    /// What was seen and bears on no single row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl Audit {
    /// The rows of one protocol.
    pub fn rows_of<'a>(&'a self, protocol: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.protocol == protocol)
    }

    /// The same audit, and no better a verdict than this one, with the reason.
    pub fn no_better_than(mut self, verdict: Verdict, reason: String) -> Self {
        self.verdict = self.verdict.max(verdict);
        self.remarks.push(reason);
        self
    }

    /// The verdict on one protocol, or nothing where no account names it.
    pub fn verdict_of(&self, protocol: &str) -> Option<Verdict> {
        self.rows_of(protocol).map(|row| row.verdict).max()
    }
}
