//! The simulator on the algorithms of the catalog, and on small processes of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::algorithm::{
    Body, Channels, Expected, FailureModel, KindNumber, OperationId, OutsideFormula, Phase, Point,
    Process, ProtocolError, Setup, Step, Synchrony, TimerId, Topology, catalog, two_phase_commit,
};

const PACKET: KindNumber = KindNumber(1);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Process 0 sends the others numbered packets, one each millisecond, and passes a point before
/// each. A receiver persists and notes what it gets. All of them note their starts.
#[derive(Debug, Clone, Hash)]
struct Counter {
    id: ProcessId,
    n: u32,
    rounds: u32,
    sent: u32,
    got: BTreeSet<u32>,
}

const TICK: TimerId = TimerId(1);

impl Process for Counter {
    fn start(&mut self, step: &mut Step<'_>) {
        step.note("started", OperationId::NONE, json!({}));
        // To oneself: the first packets go out of a step of their own.
        step.send(self.id, PACKET, OperationId::NONE, Body::empty());
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.from == self.id {
            if self.id.0 == 0 {
                step.set_timer(TICK, ms(1));
            }
            return Ok(());
        }
        let number: u32 = message.read()?;
        if !self.got.insert(number) {
            return Err(ProtocolError::Violation {
                from: message.from,
                what: format!("packet {number} came twice"),
            });
        }
        step.persist(vec![number as u8]);
        step.note("got", message.operation, json!({ "number": number }));
        if message.operation != OperationId::NONE {
            step.report(Phase::Ok, message.operation, json!({}));
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        self.sent += 1;
        let last = self.sent == self.rounds;
        for to in (1..self.n).map(ProcessId) {
            step.point("before-packet");
            let operation = if last && to.0 == 1 {
                OperationId(1)
            } else {
                OperationId::NONE
            };
            step.send(to, PACKET, operation, Body::encode(&self.sent));
        }
        if !last {
            step.set_timer(TICK, ms(1));
        }
    }

    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        step.note("recovered", OperationId::NONE, json!({ "bytes": bytes }));
    }
}

static COUNTER: Algorithm = Algorithm {
    name: "ring",
    about: "",
    citation: "",
    topology: Topology::Star,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[],
    formula: "",
    per_operation: |_, _| Expected::exactly(1),
    operations: |_, _, _| 1,
    expected: |_| Vec::new(),
    outside_formula: OutsideFormula::NOTHING,
    identities: &[],
    properties: &[],
    points: &[Point {
        name: "before-packet",
        role: "sender",
        about: "",
    }],
    process: |setup: &Setup<'_>| {
        Ok(Box::new(Counter {
            id: setup.id,
            n: setup.n,
            rounds: setup.rounds,
            sent: 0,
            got: BTreeSet::new(),
        }))
    },
};

fn numbers(run: &Run) -> Vec<u32> {
    let got = run
        .events
        .iter()
        .filter(|event| event.note() == Some("got"));
    got.map(|event| event.field("number").unwrap()).collect()
}

fn crash(node: u32, at: Moment, back: Option<Duration>, storage: Storage) -> Fault {
    Fault::Crash {
        node: ProcessId(node),
        at,
        back,
        storage,
    }
}

#[test]
fn a_scenario_repeats_its_run_in_everything() {
    for algorithm in catalog::all() {
        let mut scenario = Scenario::new(algorithm.least.max(4), 2, 11);
        scenario.network.loss_per_mille = 50;
        scenario.network.duplicate_per_mille = 50;
        scenario.limit = Duration::from_secs(20);
        let scenario = scenario.fault(crash(1, Moment::Time(ms(3)), Some(ms(5)), Storage::Kept));
        let run = || {
            let run = run(algorithm, &scenario).unwrap();
            format!("{run:?}")
        };
        assert_eq!(run(), run(), "{}", algorithm.name);
    }
}

#[test]
fn seeds_bring_different_orders_where_channels_are_unordered_and_one_where_they_are_fifo() {
    let orders = |order| {
        let order_of = |seed| {
            let mut scenario = Scenario::new(2, 6, seed);
            scenario.network.order = order;
            numbers(&run(&COUNTER, &scenario).unwrap())
        };
        (0..50).map(order_of).collect::<BTreeSet<_>>()
    };
    assert_eq!(orders(Order::Fifo), [vec![1, 2, 3, 4, 5, 6]].into());
    assert!(orders(Order::Any).len() > 20);
    assert_eq!(orders(Order::Declared), orders(Order::Any));
}

#[test]
fn every_message_is_handled_lost_or_refused() {
    for seed in 0..100 {
        let mut scenario = Scenario::new(4, 20, seed);
        scenario.network.loss_per_mille = 100;
        scenario.network.duplicate_per_mille = 100;
        let scenario = scenario
            .fault(crash(2, Moment::Time(ms(4)), Some(ms(9)), Storage::Lost))
            .fault(Fault::Partition {
                side: vec![ProcessId(3)],
                from: ms(10),
                until: ms(14),
            });
        let run = run(&COUNTER, &scenario).unwrap();
        let total = run.total();
        assert_eq!(total.attempted, 3 * 20);
        assert_eq!(
            total.attempted + total.duplicated,
            total.handled + total.lost + total.refused,
            "{total:?}, seed {seed}"
        );
        assert_eq!(run.messages_log.len() as u64, total.attempted);
        assert!(
            total.lost > 0 && total.refused > 0,
            "{total:?}, seed {seed}"
        );
    }
}

#[test]
fn a_crash_at_a_point_falls_before_all_later_actions_of_its_step() {
    let at = Moment::Point("before-packet".to_owned());
    let scenario = Scenario::new(4, 3, 1).fault(crash(0, at, None, Storage::Kept));
    let crashed = run(&COUNTER, &scenario).unwrap();
    assert_eq!(crashed.total().attempted, 0);
    assert_eq!(crashed.crashed, [ProcessId(0)]);
    assert_eq!(crashed.died, [ProcessId(0)]);
    assert_eq!(crashed.ended, End::Quiet);

    let unknown = Moment::Point("nowhere".to_owned());
    let scenario = Scenario::new(4, 3, 1).fault(crash(0, unknown, None, Storage::Kept));
    assert!(matches!(
        run(&COUNTER, &scenario),
        Err(SetupError::NoSuchPoint { .. })
    ));
}

#[test]
fn a_process_that_is_down_from_the_beginning_never_begins_and_refuses() {
    let scenario = Scenario::new(3, 5, 1).fault(crash(2, Moment::Time(ms(0)), None, Storage::Kept));
    let run = run(&COUNTER, &scenario).unwrap();
    let started = run
        .events
        .iter()
        .filter(|event| event.note() == Some("started"));
    assert_eq!(started.count(), 2);
    let total = run.total();
    assert_eq!((total.attempted, total.refused, total.handled), (10, 5, 5));
}

#[test]
fn a_process_recovers_with_what_it_persisted_or_without() {
    for (storage, bytes) in [(Storage::Kept, vec![3]), (Storage::Lost, vec![])] {
        let mut scenario = Scenario::new(2, 3, 5);
        scenario.network.order = Order::Fifo;
        let scenario = scenario.fault(crash(1, Moment::Time(ms(100)), Some(ms(1)), storage));
        // The run would be over long before: a second process's timer keeps it going.
        let slow = Scenario {
            rounds: 200,
            ..scenario
        };
        let run = run(&COUNTER, &slow).unwrap();
        let recovered: Vec<_> = run
            .events
            .iter()
            .filter(|event| event.note() == Some("recovered"))
            .map(|event| (event.time, event.field::<Vec<u8>>("bytes").unwrap()))
            .collect();
        assert_eq!(recovered.len(), 1);
        assert_eq!(recovered[0].0.as_nanos(), 101_000_000);
        let persisted = &recovered[0].1;
        assert_eq!(persisted.is_empty(), bytes.is_empty());
        assert!(run.crashed.is_empty());
        assert_eq!(run.died, [ProcessId(1)]);
        let total = run.total();
        assert!(total.refused > 0 && total.lost > 0);
    }
}

#[test]
fn timers_of_the_dead_do_not_fire() {
    let scenario =
        Scenario::new(2, 50, 5).fault(crash(0, Moment::Time(ms(20)), Some(ms(5)), Storage::Kept));
    let run = run(&COUNTER, &scenario).unwrap();
    let last_sent = run.messages_log.last().unwrap().time;
    assert!(last_sent < ms(20), "{last_sent:?}");
    // The restart is waited for even where nothing else is to happen.
    assert!(
        run.events
            .iter()
            .any(|event| event.note() == Some("recovered"))
    );
}

#[test]
fn a_partition_cuts_both_ways_and_heals() {
    let scenario = Scenario::new(3, 40, 9).fault(Fault::Partition {
        side: vec![ProcessId(0), ProcessId(1)],
        from: ms(10),
        until: ms(30),
    });
    let run = run(&COUNTER, &scenario).unwrap();
    let got = |id: u32| {
        let of = run
            .events
            .iter()
            .filter(|event| event.note() == Some("got"));
        of.filter(|event| event.node.0 == id).count() as u64
    };
    assert_eq!(got(1), 40);
    assert_eq!(got(2), 40 - run.total().lost);
    assert!((20..=32).contains(&run.total().lost), "{:?}", run.total());
    assert!(!run.failure_free() && run.died.is_empty());
}

#[test]
fn a_run_ends_quiesced_when_its_operations_have_ended() {
    // The operation ends at process 1 while packets to the others may be on their way.
    let run = run(&COUNTER, &Scenario::new(5, 3, 2)).unwrap();
    assert_eq!(run.ended, End::Quiet);
    assert_eq!(run.completed(), 1);
    assert_eq!(run.total().handled, 12);
}

#[test]
fn a_run_is_cut_at_its_limit() {
    let mut scenario = Scenario::new(2, 1000, 2);
    scenario.limit = ms(100);
    let run = run(&COUNTER, &scenario).unwrap();
    assert_eq!((run.ended, run.time), (End::Limit, ms(100)));
    assert!(run.properties().unwrap_err().contains("termination"));
    assert!(run.safety().is_ok());
}

#[test]
fn a_message_that_has_no_place_breaks_safety_and_the_seed_is_told() {
    let mut scenario = Scenario::new(4, 20, 77);
    scenario.network.duplicate_per_mille = 200;
    let run = run(&COUNTER, &scenario).unwrap();
    let why = run.safety().unwrap_err();
    assert!(
        why.contains("came twice") && why.contains("seed: 77"),
        "{why}"
    );
}

#[test]
fn a_commit_without_failures_costs_what_the_formula_says() {
    let run = run(&two_phase_commit::ALGORITHM, &Scenario::new(4, 1, 3)).unwrap();
    assert_eq!(run.total().attempted, 12);
    assert_eq!(run.ended, End::Quiet);
    run.assert_formula();
    run.assert_per_operation();
    run.properties().unwrap();
}
