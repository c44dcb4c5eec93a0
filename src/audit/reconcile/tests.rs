use proptest::prelude::*;

use super::*;
use crate::units::Connections;
use CompletenessState::{Consistent, Incomplete, Proven, Unknown};

/// One row's accounts and what the wire shows, by name.
#[derive(Debug, Clone, Copy)]
struct Case {
    expected: Option<Expected>,
    attempted: u64,
    suppressed: u64,
    refused: u64,
    sent: u64,
    unknown: u64,
    received: u64,
    handled: u64,
    wire: u64,
    acknowledged: u64,
    refused_connections: u64,
    incomplete_messages: u64,
    approximate: bool,
    completeness: CompletenessState,
}

/// All accounts say `n`, on a capture that is proven complete.
fn all(n: u64) -> Case {
    Case {
        expected: Some(number(n)),
        attempted: n,
        suppressed: 0,
        refused: 0,
        sent: n,
        unknown: 0,
        received: n,
        handled: n,
        wire: n,
        acknowledged: n,
        refused_connections: 0,
        incomplete_messages: 0,
        approximate: false,
        completeness: Proven,
    }
}

fn number(n: u64) -> Expected {
    Expected::Number(Messages::new(n))
}

fn interval(low: u64, high: u64) -> Expected {
    Expected::Interval {
        low: Messages::new(low),
        high: Messages::new(high),
    }
}

impl Case {
    fn account(&self, kind: &str) -> Account {
        Account {
            outside_formula: None,
            formula: None,
            protocol: "bully".to_owned(),
            kind: kind.to_owned(),
            expected: self.expected,
            attempted: Messages::new(self.attempted),
            suppressed: Messages::new(self.suppressed),
            refused: Messages::new(self.refused),
            sent: Messages::new(self.sent),
            unknown: Messages::new(self.unknown),
            received: Messages::new(self.received),
            handled: Messages::new(self.handled),
        }
    }

    fn tally(&self, kind: &str) -> ProtocolTally {
        ProtocolTally {
            name: "bully".to_owned(),
            framing: if self.approximate { "turn" } else { "wirewatt" }.to_owned(),
            approximate: self.approximate,
            refused_connections: Connections::new(self.refused_connections),
            messages: Messages::new(self.wire),
            incomplete_messages: Messages::new(self.incomplete_messages),
            messages_by_kind: [(kind.to_owned(), Messages::new(self.wire))].into(),
            acknowledged_by_kind: [(kind.to_owned(), Messages::new(self.acknowledged))].into(),
            ..ProtocolTally::default()
        }
    }

    fn audit(&self) -> Audit {
        reconcile(
            &[self.account("election")],
            &[self.tally("election")],
            self.completeness,
        )
    }

    fn verdict(&self) -> Verdict {
        self.audit().verdict
    }
}

#[test]
fn the_table_of_rules() {
    let refused = Case {
        attempted: 4,
        refused: 1,
        refused_connections: 1,
        ..all(3)
    };
    let dropped = Case {
        attempted: 5,
        suppressed: 2,
        ..all(3)
    };
    let killed = Case {
        attempted: 4,
        unknown: 1,
        ..all(3)
    };
    let cut = Case {
        sent: 3,
        attempted: 3,
        incomplete_messages: 1,
        ..all(2)
    };
    let unacknowledged = Case {
        received: 2,
        handled: 2,
        acknowledged: 2,
        ..all(3)
    };
    let table = [
        ("all equal", all(3), Verdict::Exact),
        ("nothing anywhere", all(0), Verdict::Exact),
        (
            "no formula",
            Case {
                expected: None,
                ..all(3)
            },
            Verdict::Exact,
        ),
        (
            "equal, saved",
            Case {
                completeness: Consistent,
                ..all(3)
            },
            Verdict::Exact,
        ),
        (
            "equal, lossy",
            Case {
                completeness: Incomplete,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "equal, unknown",
            Case {
                completeness: Unknown,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "acks not seen",
            Case {
                acknowledged: 0,
                ..all(3)
            },
            Verdict::Exact,
        ),
        (
            "interval",
            Case {
                expected: Some(interval(2, 9)),
                ..all(3)
            },
            Verdict::Within,
        ),
        (
            "interval's low end",
            Case {
                expected: Some(interval(3, 9)),
                ..all(3)
            },
            Verdict::Within,
        ),
        (
            "interval's high end",
            Case {
                expected: Some(interval(0, 3)),
                ..all(3)
            },
            Verdict::Within,
        ),
        (
            "below the interval",
            Case {
                expected: Some(interval(4, 9)),
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "above the interval",
            Case {
                expected: Some(interval(0, 2)),
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "within, lossy",
            Case {
                expected: Some(interval(2, 9)),
                completeness: Incomplete,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "formula is off",
            Case {
                expected: Some(number(4)),
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "formula is off, lossy",
            Case {
                expected: Some(number(4)),
                completeness: Incomplete,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        // refused
        (
            "refused, and seen",
            Case {
                expected: Some(number(4)),
                ..refused
            },
            Verdict::Explained,
        ),
        (
            "refused, and the formula counts the wire",
            refused,
            Verdict::Mismatch,
        ),
        (
            "refused, and not seen",
            Case {
                expected: Some(number(4)),
                refused_connections: 0,
                ..refused
            },
            Verdict::Mismatch,
        ),
        (
            "refused, not seen, saved",
            Case {
                expected: Some(number(4)),
                refused_connections: 0,
                completeness: Consistent,
                ..refused
            },
            Verdict::Inconclusive,
        ),
        (
            "more connections refused",
            Case {
                expected: Some(number(4)),
                refused_connections: 9,
                ..refused
            },
            Verdict::Explained,
        ),
        // suppressed
        (
            "injected drops",
            Case {
                expected: Some(number(5)),
                ..dropped
            },
            Verdict::Explained,
        ),
        (
            "a suppressed message on the wire",
            Case {
                expected: Some(number(5)),
                wire: 4,
                ..dropped
            },
            Verdict::Mismatch,
        ),
        // killed senders
        (
            "killed, did not leave",
            Case {
                expected: Some(number(4)),
                ..killed
            },
            Verdict::Explained,
        ),
        (
            "killed, left",
            Case {
                expected: Some(number(4)),
                wire: 4,
                acknowledged: 4,
                received: 4,
                handled: 4,
                ..killed
            },
            Verdict::Explained,
        ),
        (
            "killed, saved, did not leave?",
            Case {
                expected: Some(number(4)),
                completeness: Consistent,
                ..killed
            },
            Verdict::Inconclusive,
        ),
        (
            "killed, saved, left",
            Case {
                expected: Some(number(4)),
                completeness: Consistent,
                wire: 4,
                received: 4,
                handled: 4,
                ..killed
            },
            Verdict::Explained,
        ),
        (
            "no outcome, no kill",
            Case {
                expected: Some(number(4)),
                unknown: 0,
                ..killed
            },
            Verdict::Mismatch,
        ),
        // fewer on the wire
        (
            "fewer, proven",
            Case {
                wire: 2,
                acknowledged: 2,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "fewer, saved",
            Case {
                wire: 2,
                completeness: Consistent,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "fewer, lossy",
            Case {
                wire: 2,
                completeness: Incomplete,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "fewer, unknown",
            Case {
                wire: 2,
                completeness: Unknown,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "cut off, proven",
            Case {
                expected: Some(number(3)),
                ..cut
            },
            Verdict::Explained,
        ),
        (
            "cut off, lossy",
            Case {
                expected: Some(number(3)),
                completeness: Incomplete,
                ..cut
            },
            Verdict::Inconclusive,
        ),
        // more on the wire
        (
            "more, proven",
            Case { wire: 4, ..all(3) },
            Verdict::Mismatch,
        ),
        (
            "more, saved",
            Case {
                wire: 4,
                completeness: Consistent,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "more, lossy",
            Case {
                wire: 4,
                completeness: Incomplete,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "more, unknown",
            Case {
                wire: 4,
                completeness: Unknown,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        // receivers
        (
            "received less, not acknowledged",
            unacknowledged,
            Verdict::Explained,
        ),
        (
            "received less, acknowledged",
            Case {
                acknowledged: 3,
                ..unacknowledged
            },
            Verdict::Mismatch,
        ),
        (
            "received less, not acknowledged, saved",
            Case {
                completeness: Consistent,
                ..unacknowledged
            },
            Verdict::Inconclusive,
        ),
        (
            "received less, acknowledged, lossy",
            Case {
                acknowledged: 3,
                completeness: Incomplete,
                ..unacknowledged
            },
            Verdict::Mismatch,
        ),
        (
            "received more, proven",
            Case {
                received: 4,
                handled: 4,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "received more, lossy",
            Case {
                received: 4,
                handled: 4,
                completeness: Incomplete,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "handled less",
            Case {
                handled: 2,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "handled more",
            Case {
                handled: 4,
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        // approximate framings
        (
            "approximate, equal",
            Case {
                approximate: true,
                ..all(3)
            },
            Verdict::Explained,
        ),
        (
            "approximate, equal, lossy",
            Case {
                approximate: true,
                completeness: Incomplete,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "approximate, fewer",
            Case {
                approximate: true,
                wire: 2,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "approximate, more",
            Case {
                approximate: true,
                wire: 4,
                ..all(3)
            },
            Verdict::Inconclusive,
        ),
        (
            "approximate, formula is off",
            Case {
                approximate: true,
                expected: Some(number(4)),
                ..all(3)
            },
            Verdict::Mismatch,
        ),
        (
            "approximate, within",
            Case {
                approximate: true,
                expected: Some(interval(2, 9)),
                ..all(3)
            },
            Verdict::Explained,
        ),
    ];
    for (name, case, verdict) in table {
        let audit = case.audit();
        assert_eq!(audit.verdict, verdict, "{name}: {audit:#?}");
        let explained = !audit.rows[0].explanation.is_empty();
        assert_eq!(explained, verdict != Verdict::Exact, "{name}: {audit:#?}");
    }
}

#[test]
fn exit_codes_follow_diff() {
    let codes = [
        (Verdict::Exact, 0),
        (Verdict::Within, 0),
        (Verdict::Explained, 0),
        (Verdict::Mismatch, 1),
        (Verdict::Inconclusive, 2),
    ];
    for (verdict, code) in codes {
        assert_eq!(verdict.exit_code(), code);
    }
}

#[test]
fn the_whole_is_as_its_worst_row() {
    let good = all(3);
    let bad = Case {
        wire: 2,
        acknowledged: 2,
        ..all(3)
    };
    let mut tally = good.tally("election");
    tally
        .messages_by_kind
        .insert("ok".to_owned(), Messages::new(bad.wire));
    tally.messages = Messages::new(5);
    let accounts = [good.account("election"), bad.account("ok")];
    let audit = reconcile(&accounts, &[tally], Proven);
    assert_eq!(audit.rows[0].verdict, Verdict::Exact);
    assert_eq!(audit.rows[1].verdict, Verdict::Mismatch);
    assert_eq!(audit.verdict, Verdict::Mismatch);
    assert_eq!(audit.verdict_of("bully"), Some(Verdict::Mismatch));
    assert_eq!(audit.verdict_of("ring"), None);
}

#[test]
fn a_kind_that_no_account_knows_is_a_row_and_a_mismatch() {
    for completeness in [Proven, Consistent, Incomplete, Unknown] {
        let mut tally = all(3).tally("election");
        tally
            .messages_by_kind
            .insert("coordinator".to_owned(), Messages::new(1));
        tally.messages = Messages::new(5);
        let audit = reconcile(&[all(3).account("election")], &[tally], completeness);
        let kinds: Vec<_> = audit
            .rows
            .iter()
            .map(|row| (&*row.kind, row.wire.get()))
            .collect();
        assert_eq!(
            kinds,
            [("election", 3), ("coordinator", 1), ("(no kind)", 1)]
        );
        assert_eq!(audit.rows[1].verdict, Verdict::Mismatch);
        assert_eq!(audit.verdict, Verdict::Mismatch);
    }
}

#[test]
fn an_account_without_a_tally_has_nothing_on_the_wire() {
    let audit = reconcile(&[all(3).account("election")], &[], Proven);
    assert_eq!(
        (audit.rows[0].wire.get(), audit.verdict),
        (0, Verdict::Mismatch)
    );
    let audit = reconcile(&[all(0).account("election")], &[], Proven);
    assert_eq!(audit.verdict, Verdict::Exact);
}

#[test]
fn no_accounts_is_no_agreement() {
    let audit = reconcile(&[], &[all(3).tally("election")], Proven);
    assert_eq!(
        (audit.rows.len(), audit.verdict),
        (0, Verdict::Inconclusive)
    );
}

#[test]
fn refused_connections_are_used_up_by_the_rows() {
    let refused = Case {
        attempted: 4,
        refused: 1,
        expected: Some(number(4)),
        ..all(3)
    };
    let accounts = [refused.account("election"), refused.account("ok")];
    for (connections, verdict) in [(2, Verdict::Explained), (1, Verdict::Mismatch)] {
        let mut tally = refused.tally("election");
        tally
            .messages_by_kind
            .insert("ok".to_owned(), Messages::new(3));
        tally.messages = Messages::new(6);
        tally.refused_connections = Connections::new(connections);
        let audit = reconcile(&accounts, &[tally], Proven);
        assert_eq!(audit.rows[0].verdict, Verdict::Explained);
        assert_eq!(audit.rows[1].verdict, verdict);
    }
}

#[test]
fn a_framing_without_kinds_is_held_against_all_kinds_together() {
    let mut tally = all(6).tally("");
    tally.messages_by_kind.clear();
    let accounts = [
        Case {
            expected: Some(interval(1, 3)),
            ..all(2)
        }
        .account("election"),
        all(4).account("ok"),
    ];
    let audit = reconcile(&accounts, &[tally], Proven);
    assert_eq!(audit.rows.len(), 1);
    assert_eq!(audit.rows[0].expected, Some(interval(5, 7)));
    assert_eq!(audit.rows[0].attempted.get(), 6);
}

#[test]
fn foreign_streams_and_stray_refusals_are_remarked_and_counted_nowhere() {
    let mut foreign = all(7).tally("election");
    foreign.foreign = true;
    foreign.connections = Connections::new(2);
    foreign.refused_connections = Connections::new(1);
    let tallies = [all(3).tally("election"), foreign];
    let audit = reconcile(&[all(3).account("election")], &tallies, Proven);
    assert_eq!(audit.verdict, Verdict::Exact);
    assert_eq!(audit.remarks.len(), 2);
}

#[test]
fn expected_is_written_as_a_number_or_its_two_ends() {
    let write = |expected| serde_json::to_string(&expected).unwrap();
    assert_eq!(write(number(12)), "12");
    assert_eq!(write(interval(1, 3)), r#"{"low":1,"high":3}"#);
    for expected in [number(12), interval(1, 3)] {
        let read: Expected = serde_json::from_str(&write(expected)).unwrap();
        assert_eq!(read, expected);
    }
}

proptest! {
    /// Whatever true story a ledger tells, one account that is off by one breaks it. (TCP has
    /// acknowledged all that is on the wire.)
    #[test]
    fn one_account_off_by_one_is_found(
        wire in 0_u64..50,
        suppressed in 0_u64..4,
        refused in 0_u64..4,
        left in 0_u64..3,
        stayed in 0_u64..3,
        field in 0_usize..9,
        up: bool,
        saved: bool,
    ) {
        let sent = wire;
        let wire = sent + left;
        let unknown = left + stayed;
        let attempted = sent + suppressed + refused + unknown;
        let honest = Case {
            expected: Some(number(attempted)),
            attempted,
            suppressed,
            refused,
            unknown,
            sent,
            refused_connections: refused,
            completeness: if saved { Consistent } else { Proven },
            ..all(wire)
        };
        let undecided = saved && stayed > 0;
        let agrees = honest.verdict().exit_code() == 0;
        prop_assert_eq!(agrees, !undecided, "{:#?}", honest.audit());

        let mut tampered = honest;
        let changed = [
            &mut tampered.attempted,
            &mut tampered.suppressed,
            &mut tampered.refused,
            &mut tampered.sent,
            &mut tampered.unknown,
            &mut tampered.received,
            &mut tampered.handled,
            &mut tampered.wire,
        ];
        match changed.into_iter().nth(field) {
            Some(count) if up => *count += 1,
            Some(count) if *count > 0 => *count -= 1,
            Some(_) => return Ok(()),
            None => tampered.expected = Some(number(attempted + 1)),
        }
        tampered.acknowledged = tampered.wire;
        prop_assert_ne!(tampered.verdict().exit_code(), 0, "{:#?}", tampered.audit());
        if !saved {
            prop_assert_eq!(tampered.verdict(), Verdict::Mismatch, "{:#?}", tampered.audit());
        }
    }
}
