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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Account, reconcile};
    use crate::tally::ProtocolTally;
    use crate::units::Messages;
    use CompletenessState::{Consistent, Proven};

    /// Requests and replies: as many attempted as sent, and so many of them on the wire.
    fn audit(attempted: [u64; 2], wire: [u64; 2], completeness: CompletenessState) -> Audit {
        let kinds = ["request", "reply"];
        let mut tally = ProtocolTally {
            name: "mutex".to_owned(),
            framing: "wirewatt".to_owned(),
            ..ProtocolTally::default()
        };
        let accounts: Vec<Account> = kinds
            .iter()
            .zip(attempted.map(Messages::new))
            .map(|(kind, messages)| Account {
                protocol: "mutex".to_owned(),
                kind: (*kind).to_owned(),
                expected: None,
                outside_formula: None,
                formula: None,
                attempted: messages,
                suppressed: Messages::ZERO,
                refused: Messages::ZERO,
                sent: messages,
                unknown: Messages::ZERO,
                received: messages,
                handled: messages,
            })
            .collect();
        for (kind, messages) in kinds.iter().zip(wire.map(Messages::new)) {
            tally.messages += messages;
            tally.messages_by_kind.insert((*kind).to_owned(), messages);
        }
        let identity = |text: &str, relation| Identity {
            text: text.to_owned(),
            terms: vec![(1, "reply".to_owned()), (-1, "request".to_owned())],
            relation,
        };
        let identities = [
            identity("reply = request", Relation::Zero),
            identity("reply <= request", Relation::AtMostZero),
        ];
        reconcile(&accounts, &[tally], completeness).with_identities(
            "mutex",
            &identities,
            completeness,
        )
    }

    fn verdicts(audit: &Audit) -> Vec<(bool, bool, Verdict)> {
        let rows = audit.identities.iter();
        rows.map(|row| (row.attempted, row.wire, row.verdict))
            .collect()
    }

    #[test]
    fn an_identity_that_holds_everywhere_changes_nothing() {
        let audit = audit([3, 3], [3, 3], Proven);
        assert_eq!(audit.verdict, Verdict::Exact);
        assert_eq!(verdicts(&audit), [(true, true, Verdict::Exact); 2]);
    }

    /// All accounts of each kind are equal, and a request had no reply.
    #[test]
    fn an_identity_that_is_broken_is_a_mismatch_though_every_row_is_exact() {
        for completeness in [Proven, Consistent] {
            let audit = audit([3, 2], [3, 2], completeness);
            assert!(audit.rows.iter().all(|row| row.verdict == Verdict::Exact));
            assert_eq!(audit.verdict, Verdict::Mismatch);
            assert_eq!(
                verdicts(&audit),
                [
                    (false, false, Verdict::Mismatch),
                    (true, true, Verdict::Exact)
                ]
            );
        }
    }

    #[test]
    fn an_identity_that_is_broken_on_the_wire_alone_needs_a_proven_capture() {
        let on_proven = audit([3, 3], [3, 4], Proven);
        assert_eq!(verdicts(&on_proven), [(true, false, Verdict::Mismatch); 2]);
        assert!(!on_proven.identities[0].holds);
        let on_saved = audit([3, 3], [3, 4], Consistent);
        assert_eq!(
            verdicts(&on_saved),
            [(true, false, Verdict::Inconclusive); 2]
        );
    }
}
