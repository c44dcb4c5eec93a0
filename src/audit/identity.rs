//! What has to hold between the numbers of several message kinds, whatever timing decided.
//!
//! Checked twice: on what nodes set out to send, and on what the wire shows. It is for runs that
//! came to their end and in which nobody failed.

use serde::{Deserialize, Serialize};

use super::{Audit, Row, Verdict};
use crate::analysis::CompletenessState;

/// A linear relation between the numbers of messages of several kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// In words, such as `grant - yield = request`.
    pub text: String,
    /// Factors and kinds: the sum of factor times messages is the left side.
    pub terms: Vec<(i64, String)>,
    /// What the left side is to zero.
    pub relation: Relation,
}

/// How a sum relates to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is zero.
    Zero,
    /// It is zero or less.
    AtMostZero,
}

/// An identity, and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRow {
    /// The protocol's name.
    pub protocol: String,
    /// In words.
    pub text: String,
    /// Whether it holds on both accounts.
    pub holds: bool,
    /// Whether it holds between the messages that nodes set out to send.
    pub attempted: bool,
    /// Whether it holds between the messages on the wire.
    pub wire: bool,
    /// `exact` where it holds.
    pub verdict: Verdict,
}

impl Identity {
    fn holds(&self, messages: impl Fn(&str) -> u64) -> bool {
        let terms = self.terms.iter();
        let sum: i128 = terms
            .map(|(factor, kind)| i128::from(*factor) * i128::from(messages(kind)))
            .sum();
        match self.relation {
            Relation::Zero => sum == 0,
            Relation::AtMostZero => sum <= 0,
        }
    }

    fn row(&self, protocol: &str, rows: &[&Row], completeness: CompletenessState) -> IdentityRow {
        let number = |of: fn(&Row) -> u64| {
            move |kind: &str| {
                let rows = rows.iter().filter(|row| row.kind == kind);
                rows.map(|row| of(row)).sum()
            }
        };
        let attempted = self.holds(number(|row| row.attempted.get()));
        let wire = self.holds(number(|row| row.wire.get()));
        let verdict = match (attempted, wire, completeness) {
            (true, true, _) => Verdict::Exact,
            (true, false, state) if state != CompletenessState::Proven => Verdict::Inconclusive,
            _ => Verdict::Mismatch,
        };
        IdentityRow {
            protocol: protocol.to_owned(),
            text: self.text.clone(),
            holds: attempted && wire,
            attempted,
            wire,
            verdict,
        }
    }
}

impl Audit {
    /// The same with identities of one protocol, which the verdict then covers.
    pub fn with_identities(
        mut self,
        protocol: &str,
        identities: &[Identity],
        completeness: CompletenessState,
    ) -> Self {
        let rows: Vec<&Row> = self.rows_of(protocol).collect();
        let checked: Vec<IdentityRow> = identities
            .iter()
            .map(|identity| identity.row(protocol, &rows, completeness))
            .collect();
        let worst = checked.iter().map(|row| row.verdict).max();
        self.verdict = worst.map_or(self.verdict, |worst| self.verdict.max(worst));
        self.identities.extend(checked);
        self
    }
}
