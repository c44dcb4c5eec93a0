use proptest::prelude::*;

use super::*;
use crate::audit::{Account, Audit, Row, reconcile_matched};
use crate::ledger::{Event, FrameBytes, Record};
use crate::message::Label;
use crate::tally::ProtocolTally;
use crate::units::{FramingBytes, MessageBytes};
use CompletenessState::{Consistent, Incomplete, Proven};

/// ring, and of it the token.
const PROTOCOL: u16 = 2;
const TOKEN: u16 = 1;
const PORT: u16 = 7100;

/// What happened in a run, as its accounts tell it.
struct World {
    records: Vec<Record>,
    log: MessageLog,
    circumstances: Circumstances,
    clock: i64,
}

impl World {
    fn new() -> Self {
        Self {
            records: Vec::new(),
            log: MessageLog::default(),
            circumstances: Circumstances {
                completeness: Proven,
                listeners: (0..4).map(|id| (address(id), id)).collect(),
                deaths: BTreeMap::new(),
                killed: BTreeSet::new(),
                holds_back: true,
                suppresses: true,
                broken_off: false,
            },
            clock: 1_000_000_000_000,
        }
    }

    /// Later than everything before, by more than clocks differ.
    fn now(&mut self) -> Timestamp {
        self.clock += 10 * TOLERANCE;
        Timestamp::from_nanos(self.clock)
    }

    fn record(&mut self, event: Event, (sender, receiver, sequence): Name) {
        let time = self.now();
        let (node, peer) = match event {
            Event::Arrived | Event::Handled => (receiver, sender),
            _ => (sender, receiver),
        };
        self.records.push(Record {
            event,
            time,
            node,
            peer,
            incarnation: 1,
            run: 9,
            protocol: "ring".to_owned(),
            kind: "token".to_owned(),
            operation: 1,
            sequence,
            lamport: sequence,
            bytes: FrameBytes::new(60),
            reason: None,
        });
    }

    /// A connection of its own, closed in the end.
    fn connection(&mut self, listener: u32) -> u64 {
        let time = self.now();
        let serial = self.log.connections.len() as u64 + 1;
        self.log.connections.push(ConnectionSeen {
            serial,
            initiator: address(1000 + serial as u32),
            listener: address(listener),
            opened: time,
            last_seen: time,
            refused: false,
            reset: [None; 2],
            closed: true,
        });
        serial
    }

    fn frame(&mut self, (sender, receiver, sequence): Name, connection: u64) {
        let time = self.now();
        self.log.messages.push(MessageSeen {
            label: Label {
                protocol: PROTOCOL,
                kind: TOKEN,
                sender,
                receiver,
                incarnation: 1,
                run: 9,
                operation: 1,
                sequence,
                timestamp: sequence,
            },
            body: MessageBytes::new(4),
            framing: FramingBytes::new(56),
            time,
            connection,
            way: Way::ToListener,
            end: 60 * sequence,
            acknowledged: true,
            whole: true,
        });
    }

    /// A message that went as it should, over a connection of its own. Returns the connection.
    fn delivered(&mut self, name: Name) -> u64 {
        self.record(Event::Attempted, name);
        let connection = self.connection(name.1);
        self.frame(name, connection);
        self.record(Event::Sent, name);
        self.record(Event::Arrived, name);
        self.record(Event::Handled, name);
        connection
    }

    /// A refused message, and the connection that was.
    fn refused(&mut self, name: Name) {
        self.record(Event::Attempted, name);
        let serial = self.connection(name.1);
        self.log.connections[serial as usize - 1].refused = true;
        self.record(Event::Refused, name);
    }

    fn reset(&mut self, serial: u64, way: Way) {
        let time = self.now();
        self.log.connections[serial as usize - 1].reset[way as usize] = Some(time);
    }

    fn forget(&mut self, event: Event, (sender, receiver, sequence): Name) {
        let ends = match event {
            Event::Arrived | Event::Handled => (receiver, sender),
            _ => (sender, receiver),
        };
        let before = self.records.len();
        self.records.retain(|record| {
            record.event != event
                || (record.node, record.peer) != ends
                || record.sequence != sequence
        });
        assert_eq!(self.records.len() + 1, before, "there was none");
    }

    fn matching(&self) -> Matching {
        let mut book = Book::default();
        self.records.iter().for_each(|record| book.enter(record));
        match_messages(&book, &self.log, &self.circumstances).unwrap()
    }

    /// All findings with their numbers.
    fn findings(&self) -> Vec<(Finding, u64)> {
        let mut findings: Vec<_> = self
            .matching()
            .audit
            .findings
            .iter()
            .map(|found| (found.finding, found.messages.get()))
            .collect();
        findings.sort();
        findings
    }

    /// The whole audit, with accounts and tallies that are sums of the same records and frames.
    fn audit(&self) -> Audit {
        let mut totals = crate::ledger::Totals::default();
        self.records.iter().for_each(|record| totals.count(record));
        let accounts: Vec<Account> = totals
            .kinds
            .iter()
            .map(|((protocol, kind), counts)| Account {
                outside_formula: None,
                protocol: protocol.clone(),
                kind: kind.clone(),
                expected: None,
                formula: None,
                attempted: counts.attempted,
                suppressed: counts.suppressed,
                refused: counts.refused,
                sent: counts.sent,
                unknown: counts.unsettled(),
                received: counts.arrived,
                handled: counts.handled,
            })
            .collect();
        let mut tally = ProtocolTally {
            name: "ring".to_owned(),
            framing: "wirewatt".to_owned(),
            ..ProtocolTally::default()
        };
        for frame in self.log.messages.iter().filter(|frame| frame.whole) {
            let kind = protocols::kind_name(frame.label.protocol, frame.label.kind).into_owned();
            tally.messages += 1;
            *tally.messages_by_kind.entry(kind.clone()).or_default() += 1;
            *tally.acknowledged_by_kind.entry(kind).or_default() += u64::from(frame.acknowledged);
        }
        let completeness = self.circumstances.completeness;
        reconcile_matched(&accounts, &[tally], completeness, &self.matching())
    }
}

/// Sender, receiver, sequence number.
type Name = (u32, u32, u64);

fn address(process: u32) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT + process as u16))
}

fn numbers(row: &Row) -> [u64; 4] {
    [row.sent, row.wire, row.received, row.handled].map(Messages::get)
}

#[test]
fn messages_of_another_run_at_the_same_time_are_none_of_this_one() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.delivered((1, 2, 1));
    let own = world.matching();
    // The same names, on another run's ports, with timestamps of its own.
    let elsewhere = world.connection(5);
    assert!(!world.circumstances.listeners.contains_key(&address(5)));
    world.frame((0, 1, 1), elsewhere);
    world.frame((1, 2, 1), elsewhere);
    assert_eq!(world.matching().audit, own.audit);
    assert_eq!(own.audit.matched, Messages::new(2));
    assert!(own.audit.findings.is_empty());
}

#[test]
fn messages_that_all_accounts_know_match() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.delivered((1, 0, 1));
    world.delivered((0, 1, 2));
    let audit = world.audit();
    assert_eq!(audit.verdict, Verdict::Exact);
    let messages = audit.messages.unwrap();
    assert_eq!(messages.matched, Messages::new(3));
    assert_eq!((messages.findings.len(), messages.unmatched.len()), (0, 0));
}

/// By numbers alone this was exact: two sent, two on the wire, two received.
#[test]
fn a_lost_message_and_a_doubled_one_of_the_same_kind_do_not_cancel() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    // The second never came, and the first came again.
    world.record(Event::Attempted, (0, 1, 2));
    world.record(Event::Sent, (0, 1, 2));
    let again = world.connection(1);
    world.frame((0, 1, 1), again);
    world.record(Event::Arrived, (0, 1, 1));
    world.record(Event::Handled, (0, 1, 1));
    let audit = world.audit();
    assert_eq!(numbers(&audit.rows[0]), [2, 2, 2, 2]);
    assert_eq!(audit.verdict, Verdict::Mismatch);
    assert_eq!(
        world.findings(),
        [
            (Finding::NotOnWire, 1),
            (Finding::OnWireTwice, 1),
            (Finding::ReceivedTwice, 1),
            (Finding::HandledTwice, 1),
        ]
    );
    let unmatched = &audit.messages.unwrap().unmatched;
    let named: Vec<_> = unmatched.iter().map(|one| one.id.sequence).collect();
    assert_eq!(named, [1, 2]);
    assert_eq!(
        unmatched[1].to_string(),
        "token 0 to 1, number 2: sent and not on the wire, on a capture that is proven complete"
    );
}

/// One message was lost on its way from 0 to 1, another doubled on its way from 2 to 3.
#[test]
fn a_loss_between_one_pair_and_a_double_between_another_do_not_cancel() {
    let mut world = World::new();
    world.record(Event::Attempted, (0, 1, 1));
    world.record(Event::Sent, (0, 1, 1));
    let connection = world.delivered((2, 3, 1));
    world.frame((2, 3, 1), connection);
    assert_eq!(
        world.findings(),
        [(Finding::NotOnWire, 1), (Finding::OnWireTwice, 1)]
    );
}

/// By numbers alone this was exact: one token and one vote of each account.
#[test]
fn two_messages_with_their_kinds_swapped_are_a_mismatch() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.delivered((0, 2, 1));
    // On the wire the second is of another kind, and in its receiver's ledger too.
    for record in &mut world.records {
        let receiving = matches!(record.event, Event::Arrived | Event::Handled);
        let of_first = record.peer == 1 || record.node == 1;
        if receiving != of_first {
            record.kind = "rung".to_owned();
        }
    }
    let counts = |kind: &str, event: Event| {
        let of_kind = world.records.iter().filter(|record| record.kind == kind);
        of_kind.filter(|record| record.event == event).count()
    };
    for kind in ["token", "rung"] {
        assert_eq!(
            (counts(kind, Event::Sent), counts(kind, Event::Arrived)),
            (1, 1)
        );
    }
    assert_eq!(world.findings(), [(Finding::HeaderDiffers, 2)]);
    assert_eq!(
        world.matching().audit.unmatched[0].why,
        "of which the accounts say different things; kind rung by its sender, token on the wire"
    );
}

#[test]
fn headers_that_differ_in_any_field_are_a_mismatch() {
    type Tamper = fn(&mut MessageSeen);
    let tamper: [(&str, Tamper); 5] = [
        ("operation 1 by its sender, 7 on the wire", |frame| {
            frame.label.operation = 7
        }),
        ("timestamp 1 by its sender, 7 on the wire", |frame| {
            frame.label.timestamp = 7
        }),
        ("length 60 by its sender, 63 on the wire", |frame| {
            frame.body = MessageBytes::new(7)
        }),
        (
            "protocol ring by its sender, two-phase-commit on the wire",
            |frame| {
                frame.label.protocol = 3;
            },
        ),
        (
            "kind token by its sender, protocol-2-kind-77 on the wire",
            |frame| frame.label.kind = 77,
        ),
    ];
    for (words, tamper) in tamper {
        let mut world = World::new();
        world.delivered((0, 1, 1));
        tamper(&mut world.log.messages[0]);
        assert_eq!(world.findings(), [(Finding::HeaderDiffers, 1)], "{words}");
        let unmatched = world.matching().audit.unmatched;
        assert!(unmatched[0].why.ends_with(words), "{}", unmatched[0].why);
        assert_eq!(world.audit().verdict, Verdict::Mismatch);
    }
}

#[test]
fn a_message_of_another_sender_or_channel_is_not_the_one_that_is_missing() {
    for change in [
        (|label: &mut Label| label.sender = 2) as fn(&mut Label),
        |label| label.receiver = 2,
        |label| label.incarnation = 2,
        |label| label.sequence = 5,
    ] {
        let mut world = World::new();
        world.delivered((0, 1, 1));
        change(&mut world.log.messages[0].label);
        assert_eq!(
            world.audit().verdict,
            Verdict::Mismatch,
            "{:?}",
            world.findings()
        );
    }
}

/// By the protocol's number of refused connections alone this was explained.
#[test]
fn a_refusal_is_explained_by_a_connection_to_its_own_receiver_alone() {
    let mut world = World::new();
    world.refused((0, 1, 1));
    assert_eq!(world.findings(), [(Finding::Refused, 1)]);
    assert_eq!(world.audit().verdict, Verdict::Explained);
    world.log.connections[0].listener = address(2);
    assert_eq!(world.findings(), [(Finding::RefusedUnseen, 1)]);
    let audit = world.audit();
    assert_eq!(audit.verdict, Verdict::Mismatch);
    assert_eq!(
        audit.remarks,
        ["ring: 1 refused connections on the wire belong to no attempt of the ledger"]
    );
}

#[test]
fn a_refusal_is_explained_by_a_connection_of_its_own_time_alone() {
    let mut world = World::new();
    world.refused((0, 1, 1));
    world.record(Event::Attempted, (0, 1, 2));
    world.record(Event::Refused, (0, 1, 2));
    assert_eq!(
        world.findings(),
        [(Finding::Refused, 1), (Finding::RefusedUnseen, 1)]
    );
    // A connection that was refused later is not the second's either.
    let late = world.connection(1);
    world.log.connections[late as usize - 1].refused = true;
    assert_eq!(
        world.findings(),
        [(Finding::Refused, 1), (Finding::RefusedUnseen, 1)]
    );
}

#[test]
fn one_refused_connection_explains_one_message() {
    let mut world = World::new();
    // Two at the same time, from two senders.
    world.record(Event::Attempted, (0, 1, 1));
    world.record(Event::Attempted, (2, 1, 1));
    let only = world.connection(1);
    world.log.connections[only as usize - 1].refused = true;
    world.record(Event::Refused, (0, 1, 1));
    world.record(Event::Refused, (2, 1, 1));
    assert_eq!(
        world.findings(),
        [(Finding::Refused, 1), (Finding::RefusedUnseen, 1)]
    );
    let second = world.log.connections[0].clone();
    world.log.connections.push(ConnectionSeen {
        serial: 2,
        ..second
    });
    assert_eq!(world.findings(), [(Finding::Refused, 2)]);
}

/// The kernel had accepted the connection when the process died: the dialler sees a reset.
#[test]
fn a_refusal_is_explained_by_a_connection_without_a_message_that_was_reset() {
    let mut world = World::new();
    world.record(Event::Attempted, (0, 1, 1));
    let connection = world.connection(1);
    world.reset(connection, Way::FromListener);
    world.record(Event::Refused, (0, 1, 1));
    assert_eq!(world.findings(), [(Finding::ResetUnsent, 1)]);
    assert_eq!(world.audit().remarks, Vec::<String>::new());
    // Not by one that carried another message.
    world.delivered((2, 1, 1));
    world.log.messages[0].connection = connection;
    assert_eq!(world.findings(), [(Finding::RefusedUnseen, 1)]);
}

#[test]
fn what_its_own_sender_withheld_explains_itself() {
    let mut world = World::new();
    world.record(Event::Attempted, (0, 1, 1));
    world.record(Event::Suppressed, (0, 1, 1));
    world.record(Event::Attempted, (0, 1, 2));
    world.record(Event::Refused, (0, 1, 2));
    world.records[3].reason = Some(ledger::CLOSING.to_owned());
    assert_eq!(
        world.findings(),
        [(Finding::Suppressed, 1), (Finding::SenderClosed, 1)]
    );
    assert_eq!(world.audit().verdict, Verdict::Explained);
    // Unless it is on the wire.
    let connection = world.connection(1);
    world.frame((0, 1, 1), connection);
    world.frame((0, 1, 2), connection);
    world
        .log
        .messages
        .iter_mut()
        .for_each(|frame| frame.acknowledged = false);
    assert_eq!(
        world.findings(),
        [(Finding::InFlight, 2), (Finding::WithheldYetSeen, 2)]
    );
    assert_eq!(world.audit().verdict, Verdict::Mismatch);
}

/// By numbers alone this was a mismatch.
#[test]
fn a_message_that_a_killed_process_left_unread_is_explained_by_its_death() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Arrived, (0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    assert_eq!(world.findings(), [(Finding::NotReceived, 1)]);
    assert_eq!(world.audit().verdict, Verdict::Mismatch);
    world.circumstances.killed.insert(1);
    assert_eq!(world.findings(), [(Finding::KilledUnread, 1)]);
    assert_eq!(world.audit().verdict, Verdict::Explained);
    // The death of another explains nothing.
    world.circumstances.killed = [2].into();
    assert_eq!(world.findings(), [(Finding::NotReceived, 1)]);
}

#[test]
fn a_process_that_sends_under_a_later_incarnation_was_killed_before() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Arrived, (0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    world.delivered((1, 0, 1));
    for record in world
        .records
        .iter_mut()
        .filter(|record| record.node == 1 || record.peer == 1)
    {
        if record.lamport == 1 && (record.node, record.event) != (0, Event::Attempted) {
            let of_later = matches!(
                (record.node, record.event),
                (1, Event::Attempted | Event::Sent) | (0, Event::Arrived | Event::Handled)
            );
            record.incarnation += u32::from(of_later);
        }
    }
    world.log.messages[1].label.incarnation = 2;
    assert_eq!(world.findings(), [(Finding::KilledUnread, 1)]);
}

#[test]
fn a_message_that_was_unread_when_its_connection_was_reset_is_explained() {
    for way in [Way::ToListener, Way::FromListener] {
        let mut world = World::new();
        let connection = world.delivered((0, 1, 1));
        world.forget(Event::Arrived, (0, 1, 1));
        world.forget(Event::Handled, (0, 1, 1));
        world.reset(connection, way);
        assert_eq!(world.findings(), [(Finding::ResetUnread, 1)]);
        // A reset before the message came does not explain it, nor does one of another connection.
        let reset = &mut world.log.connections[0].reset;
        *reset = [None; 2];
        let other = world.connection(1);
        world.reset(other, way);
        assert_eq!(world.findings(), [(Finding::NotReceived, 1)]);
    }
}

#[test]
fn what_was_never_acknowledged_is_in_flight_on_a_proven_capture_alone() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Arrived, (0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    world.log.messages[0].acknowledged = false;
    assert_eq!(world.findings(), [(Finding::InFlight, 1)]);
    world.circumstances.completeness = Consistent;
    assert_eq!(world.findings(), [(Finding::MaybeLostByCapture, 1)]);
    assert_eq!(world.audit().verdict, Verdict::Inconclusive);
}

#[test]
fn a_capture_that_is_not_proven_explains_no_absence_and_excuses_no_double() {
    for completeness in [Consistent, Incomplete] {
        let mut world = World::new();
        world.circumstances.completeness = completeness;
        world.delivered((0, 1, 1));
        world.log.messages.clear();
        assert_eq!(world.findings(), [(Finding::MaybeLostByCapture, 1)]);
        assert_eq!(world.audit().verdict, Verdict::Inconclusive);

        let mut world = World::new();
        world.circumstances.completeness = completeness;
        let connection = world.delivered((0, 1, 1));
        world.frame((0, 1, 1), connection);
        assert_eq!(world.audit().verdict, Verdict::Mismatch);
    }
    // Equal, on a capture that is known to have lost something.
    let mut world = World::new();
    world.circumstances.completeness = Incomplete;
    world.delivered((0, 1, 1));
    world.record(Event::Attempted, (0, 1, 2));
    world.record(Event::Suppressed, (0, 1, 2));
    assert_eq!(world.audit().verdict, Verdict::Inconclusive);
}

#[test]
fn what_tcp_transmitted_again_counts_once_and_is_told() {
    let mut world = World::new();
    let connection = world.delivered((0, 1, 1));
    world.delivered((0, 1, 2));
    let repetition = |way, from, to| crate::analysis::Repetition {
        connection,
        way,
        bytes: (from, to),
    };
    // Of the other stream, and of bytes behind the message.
    world.log.repetitions = vec![
        repetition(Way::FromListener, 0, 60),
        repetition(Way::ToListener, 60, 90),
    ];
    assert_eq!(world.matching().audit.retransmitted, Messages::ZERO);
    world
        .log
        .repetitions
        .push(repetition(Way::ToListener, 40, 50));
    world
        .log
        .repetitions
        .push(repetition(Way::ToListener, 59, 61));
    let messages = world.matching().audit;
    assert_eq!(
        (messages.matched.get(), messages.retransmitted.get()),
        (2, 1)
    );
    assert_eq!(world.audit().verdict, Verdict::Exact);
}

#[test]
fn an_attempt_without_an_outcome_is_decided_by_the_wire() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Sent, (0, 1, 1));
    world.record(Event::Attempted, (0, 1, 2));
    assert_eq!(world.findings(), [(Finding::NoOutcome, 2)]);
    world.circumstances.killed.insert(0);
    assert_eq!(
        world.findings(),
        [(Finding::SenderKilled, 1), (Finding::OutcomeUnrecorded, 1)]
    );
    world.circumstances.completeness = Consistent;
    assert_eq!(
        world.findings(),
        [
            (Finding::OutcomeUnrecorded, 1),
            (Finding::MaybeLostByCapture, 1)
        ]
    );
}

#[test]
fn a_message_that_had_not_left_when_its_connection_was_reset_is_explained_by_that_reset() {
    for event in [Some(Event::Sent), None] {
        let mut world = World::new();
        let connection = world.delivered((0, 1, 1));
        world.record(Event::Attempted, (0, 1, 2));
        if let Some(event) = event {
            world.record(event, (0, 1, 2));
        }
        world.reset(connection, Way::FromListener);
        assert_eq!(world.findings(), [(Finding::ResetUnsent, 1)], "{event:?}");
        world.circumstances.completeness = Consistent;
        assert_eq!(world.findings(), [(Finding::MaybeLostByCapture, 1)]);
    }
    // A reset from before it was sent is no reason.
    let mut world = World::new();
    let connection = world.delivered((0, 1, 1));
    world.reset(connection, Way::FromListener);
    world.record(Event::Attempted, (0, 1, 2));
    world.record(Event::Sent, (0, 1, 2));
    assert_eq!(world.findings(), [(Finding::NotOnWire, 1)]);
}

#[test]
fn a_part_of_a_message_on_the_wire_is_a_message_cut_off() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Arrived, (0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    world.log.messages[0].whole = false;
    world.reset(1, Way::FromListener);
    assert_eq!(world.findings(), [(Finding::CutOff, 1)]);
    assert_eq!(world.audit().verdict, Verdict::Explained);
}

#[test]
fn what_waited_in_its_senders_kernel_when_a_run_was_broken_off_is_explained() {
    let mut world = World::new();
    let connection = world.delivered((0, 1, 1));
    world.record(Event::Attempted, (0, 1, 2));
    world.record(Event::Sent, (0, 1, 2));
    world.circumstances.broken_off = true;
    assert_eq!(world.findings(), [(Finding::NotOnWire, 1)]);
    world.log.connections[connection as usize - 1].closed = false;
    assert_eq!(world.findings(), [(Finding::InSender, 1)]);
    world.circumstances.broken_off = false;
    assert_eq!(world.findings(), [(Finding::NotOnWire, 1)]);
}

/// That a process had ever died excused whatever a later incarnation of it lost.
#[test]
fn a_death_excuses_nothing_on_a_connection_that_was_opened_after_it() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    let died = world.now();
    world.circumstances.deaths.insert((1, 1), died);
    world.delivered((0, 1, 2));
    world.forget(Event::Arrived, (0, 1, 2));
    world.forget(Event::Handled, (0, 1, 2));
    assert_eq!(world.findings(), [(Finding::NotReceived, 1)]);
    // It was on its way when the process died.
    let later = world.now();
    world.circumstances.deaths.insert((1, 1), later);
    assert_eq!(world.findings(), [(Finding::KilledUnread, 1)]);
    // A second incarnation died too, but it had not even begun when the first one had gone.
    world.circumstances.deaths.insert((1, 1), died);
    world.circumstances.deaths.insert((1, 2), later);
    assert_eq!(world.findings(), [(Finding::KilledUnread, 1)]);
}

#[test]
fn a_death_excuses_nothing_that_came_before_a_message_that_was_read() {
    let mut world = World::new();
    let connection = world.delivered((0, 1, 1));
    world.record(Event::Attempted, (0, 1, 2));
    world.frame((0, 1, 2), connection);
    world.record(Event::Sent, (0, 1, 2));
    world.record(Event::Arrived, (0, 1, 2));
    world.record(Event::Handled, (0, 1, 2));
    world.circumstances.killed.insert(1);
    world.forget(Event::Arrived, (0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    assert_eq!(world.findings(), [(Finding::NotReceived, 1)]);
    // Nor does a reset.
    world.circumstances.killed.clear();
    world.reset(connection, Way::FromListener);
    assert_eq!(world.findings(), [(Finding::NotReceived, 1)]);
}

#[test]
fn a_death_excuses_no_message_that_came_after_it_or_was_passed_over() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    let died = world.now();
    world.circumstances.deaths.insert((1, 1), died);
    world.delivered((0, 1, 2));
    world.forget(Event::Handled, (0, 1, 2));
    assert_eq!(world.findings(), [(Finding::NotHandled, 1)]);
    let later = world.now();
    world.circumstances.deaths.insert((1, 1), later);
    assert_eq!(world.findings(), [(Finding::KilledUnhandled, 1)]);
    // One behind it was handled by the same incarnation.
    world.delivered((0, 1, 3));
    let last = world.now();
    world.circumstances.deaths.insert((1, 1), last);
    assert_eq!(world.findings(), [(Finding::NotHandled, 1)]);
    // By the next one it was not passed over.
    world.circumstances.deaths.insert((1, 1), later);
    assert_eq!(world.findings(), [(Finding::KilledUnhandled, 1)]);
}

#[test]
fn a_death_excuses_no_attempt_of_a_later_incarnation_or_to_one() {
    let mut world = World::new();
    let died = world.now();
    world.record(Event::Attempted, (0, 1, 1));
    assert_eq!(world.findings(), [(Finding::NoOutcome, 1)]);
    for process in [0, 1] {
        world.circumstances.deaths = [((process, 1), died)].into();
        assert_eq!(world.findings(), [(Finding::NoOutcome, 1)], "{process}");
    }
    let later = world.now();
    world.circumstances.deaths = [((0, 1), later)].into();
    assert_eq!(world.findings(), [(Finding::SenderKilled, 1)]);
    // The second incarnation lived, and says as little.
    world.circumstances.deaths = [((0, 1), died)].into();
    world.records[0].incarnation = 2;
    assert_eq!(world.findings(), [(Finding::NoOutcome, 1)]);
    world.circumstances.deaths = [((1, 1), later)].into();
    assert_eq!(world.findings(), [(Finding::ReceiverGone, 1)]);
}

#[test]
fn a_death_excuses_nothing_on_a_connection_that_was_over_long_before() {
    let mut world = World::new();
    let connection = world.delivered((0, 1, 1));
    world.forget(Event::Arrived, (0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    let opened = world.log.connections[0].last_seen;
    let later = |nanos| Timestamp::from_nanos(opened.as_nanos() + nanos);
    world
        .circumstances
        .deaths
        .insert((1, 1), later(NOTICED_WITHIN));
    assert_eq!(world.findings(), [(Finding::KilledUnread, 1)]);
    world
        .circumstances
        .deaths
        .insert((1, 1), later(NOTICED_WITHIN + 1));
    assert_eq!(world.findings(), [(Finding::NotReceived, 1)]);
    world.log.connections[connection as usize - 1].closed = false;
    assert_eq!(world.findings(), [(Finding::KilledUnread, 1)]);
}

#[test]
fn a_death_excuses_no_message_behind_which_its_process_went_on() {
    // It handled what came later, of another channel: only where messages are held back may it.
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    world.delivered((2, 1, 1));
    world.circumstances.killed.insert(1);
    assert_eq!(world.findings(), [(Finding::KilledUnhandled, 1)]);
    world.circumstances.holds_back = false;
    assert_eq!(world.findings(), [(Finding::NotHandled, 1)]);
    // It sent the next one of the channel.
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Sent, (0, 1, 1));
    world.record(Event::Attempted, (0, 1, 2));
    world.circumstances.killed.insert(0);
    assert_eq!(
        world.findings(),
        [(Finding::SenderKilled, 1), (Finding::OutcomeUnrecorded, 1)]
    );
    world.delivered((0, 1, 3));
    assert_eq!(world.findings(), [(Finding::NoOutcome, 2)]);
}

#[test]
fn a_part_of_a_message_needs_a_reason() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.forget(Event::Arrived, (0, 1, 1));
    world.forget(Event::Handled, (0, 1, 1));
    world.log.messages[0].whole = false;
    assert_eq!(world.findings(), [(Finding::NotOnWire, 1)]);
    let later = world.now();
    world.circumstances.deaths.insert((0, 1), later);
    assert_eq!(world.findings(), [(Finding::CutOff, 1)]);
}

#[test]
fn a_reset_excuses_nothing_that_came_before_a_message_on_the_same_connection() {
    for event in [Some(Event::Sent), None] {
        let mut world = World::new();
        world.record(Event::Attempted, (0, 1, 1));
        if let Some(event) = event {
            world.record(event, (0, 1, 1));
        }
        let connection = world.delivered((0, 1, 2));
        world.reset(connection, Way::FromListener);
        let lost = match event {
            Some(_) => Finding::NotOnWire,
            None => Finding::NoOutcome,
        };
        assert_eq!(world.findings(), [(lost, 1)]);
    }
}

#[test]
fn who_was_closing_its_connections_sent_nothing_afterwards() {
    let mut world = World::new();
    world.record(Event::Attempted, (0, 1, 1));
    world.record(Event::Refused, (0, 1, 1));
    world.records[1].reason = Some(ledger::CLOSING.to_owned());
    assert_eq!(world.findings(), [(Finding::SenderClosed, 1)]);
    world.delivered((0, 2, 1));
    assert_eq!(world.findings(), [(Finding::RefusedUnseen, 1)]);
}

#[test]
fn no_message_withholds_itself_in_a_run_without_drops() {
    let mut world = World::new();
    world.record(Event::Attempted, (0, 1, 1));
    world.record(Event::Suppressed, (0, 1, 1));
    assert_eq!(world.findings(), [(Finding::Suppressed, 1)]);
    world.circumstances.suppresses = false;
    assert_eq!(world.findings(), [(Finding::SuppressedUnasked, 1)]);
    assert_eq!(world.audit().verdict, Verdict::Mismatch);
}

#[test]
fn nothing_waits_where_channels_hold_nothing_back_or_the_gap_was_passed() {
    let mut world = World::new();
    world.record(Event::Attempted, (0, 1, 1));
    world.record(Event::Suppressed, (0, 1, 1));
    world.delivered((0, 1, 2));
    world.forget(Event::Handled, (0, 1, 2));
    let waiting = [(Finding::Suppressed, 1), (Finding::Waiting, 1)];
    assert_eq!(world.findings(), waiting);
    let unhandled = [(Finding::Suppressed, 1), (Finding::NotHandled, 1)];
    world.circumstances.holds_back = false;
    assert_eq!(world.findings(), unhandled);
    world.circumstances.holds_back = true;
    world.delivered((0, 1, 3));
    assert_eq!(world.findings(), unhandled);
}

/// The tally counted it, and the matching left it aside: six on the wire, five received, exact.
#[test]
fn a_message_on_a_connection_that_is_none_of_the_run_s_is_a_mismatch() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    assert_eq!(world.audit().verdict, Verdict::Exact);
    let elsewhere = world.connection(5);
    world.frame((0, 1, 2), elsewhere);
    let audit = world.audit();
    assert_eq!(audit.verdict, Verdict::Mismatch);
    assert_eq!(
        audit.rows[0].explanation,
        "2 on the wire, 1 of them between the run's processes"
    );
}

#[test]
fn what_was_received_and_not_handled_needs_a_reason() {
    let mut world = World::new();
    world.delivered((0, 1, 2));
    world.forget(Event::Handled, (0, 1, 2));
    assert_eq!(world.findings(), [(Finding::NotHandled, 1)]);
    // An earlier one of the channel never came: what waits for its turn is explained.
    world.record(Event::Attempted, (0, 1, 1));
    world.record(Event::Suppressed, (0, 1, 1));
    assert_eq!(
        world.findings(),
        [(Finding::Suppressed, 1), (Finding::Waiting, 1)]
    );
    world.circumstances.killed.insert(1);
    assert_eq!(
        world.findings(),
        [(Finding::Suppressed, 1), (Finding::KilledUnhandled, 1)]
    );
}

#[test]
fn a_message_that_one_account_alone_knows_is_a_mismatch() {
    // On the wire alone.
    let mut world = World::new();
    let connection = world.connection(1);
    world.frame((0, 1, 1), connection);
    world.log.messages[0].acknowledged = false;
    assert_eq!(
        world.findings(),
        [(Finding::InFlight, 1), (Finding::Unattempted, 1)]
    );
    assert_eq!(world.audit().verdict, Verdict::Mismatch);
    // In its receiver's ledger alone.
    let mut world = World::new();
    world.record(Event::Arrived, (0, 1, 1));
    world.record(Event::Handled, (0, 1, 1));
    assert_eq!(
        world.findings(),
        [(Finding::ReceivedFromNowhere, 1), (Finding::Unattempted, 1)]
    );
    // In its sender's ledger twice.
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.record(Event::Sent, (0, 1, 1));
    assert_eq!(world.findings(), [(Finding::LedgerContradicts, 1)]);
}

#[test]
fn too_many_messages_are_not_matched_at_all() {
    let mut world = World::new();
    world.delivered((0, 1, 1));
    world.log.left_out = 1;
    let book = Book::default();
    assert!(match_messages(&book, &world.log, &world.circumstances).is_none());
}

#[test]
fn a_report_names_a_hundred_messages_the_worst_first() {
    let mut world = World::new();
    for sequence in 1..=150 {
        world.refused((0, 1, sequence));
    }
    world.record(Event::Attempted, (0, 1, 151));
    world.record(Event::Sent, (0, 1, 151));
    let messages = world.matching().audit;
    assert_eq!(messages.unmatched.len(), 100);
    assert_eq!(messages.unmatched[0].id.sequence, 151);
    assert_eq!(messages.unmatched[1].id.sequence, 1);
    assert_eq!(messages.findings[1].messages, Messages::new(150));
}

proptest! {
    /// An honest run matches; whatever single record or frame is taken away or doubled is found.
    #[test]
    fn one_record_or_frame_too_few_or_too_many_is_found(
        messages in 1_u64..20,
        victim in 0_usize..200,
        frame: bool,
        double: bool,
    ) {
        let mut world = World::new();
        for sequence in 1..=messages {
            world.delivered((0, 1, sequence));
        }
        prop_assert_eq!(world.audit().verdict, Verdict::Exact);
        if frame {
            let at = victim % world.log.messages.len();
            let copy = world.log.messages.remove(at);
            if double {
                world.log.messages.extend([copy.clone(), copy]);
            }
        } else {
            let at = victim % world.records.len();
            let copy = world.records.remove(at);
            if double {
                world.records.extend([copy.clone(), copy]);
            }
        }
        prop_assert_eq!(world.audit().verdict, Verdict::Mismatch);
        prop_assert_eq!(world.matching().audit.matched.get(), messages - 1);
    }
}

#[test]
fn the_page_on_reports_explains_every_finding_with_its_verdict() {
    let page = include_str!("../../../docs/report.md");
    let schema = include_str!("../../../docs/report.schema.json");
    for finding in Finding::ALL {
        let name = serde_json::to_string(&finding).unwrap();
        assert!(schema.contains(&name), "{name} in the schema");
        let name = format!("`{}`", name.trim_matches('"'));
        let verdict = format!("| {} |", finding.verdict());
        let told = |line: &&str| line.starts_with('|') && line.contains(&name);
        let line = page.lines().find(told).unwrap_or_else(|| panic!("{name}"));
        assert!(line.ends_with(&verdict), "{line}");
    }
}
