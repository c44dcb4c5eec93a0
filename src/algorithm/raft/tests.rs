use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::algorithm::{Event, Execution, OperationId, Options, Outcome, Phase, ProcessId};
use crate::simulation::{Fault, Moment, Order, Run, Scenario, Storage, run};

fn simulate(scenario: &Scenario) -> Run {
    run(&ALGORITHM, scenario).expect("a good scenario")
}

fn notes(run: &Run, name: &str) -> u64 {
    run.case().notes(name).count() as u64
}

#[test]
fn one_term_costs_its_election_its_heartbeats_and_a_round_a_command() {
    for n in 2..=9 {
        for rounds in [1, 2, 5, 20] {
            // Delays so short that no second round of heartbeats is due, and two servers with the
            // same timeout in some seeds.
            let quiet = |seed: &u64| {
                let mut scenario = Scenario::new(n, rounds, *seed);
                scenario.network.delay = Duration::from_micros(10)..=Duration::from_micros(100);
                let run = simulate(&scenario);
                run.assert_formula();
                run
            };
            let mut runs = (0..).map(|seed| quiet(&seed));
            let run = runs
                .find(|run| notes(run, "became-candidate") == 1)
                .unwrap();
            let (n, rounds) = (u64::from(n), u64::from(rounds));
            assert_eq!(run.attempted("request-vote"), n - 1);
            assert_eq!(run.attempted("vote-granted"), n - 1);
            assert_eq!(run.attempted("vote-denied"), 0);
            assert_eq!(notes(&run, "heartbeat-round"), 1);
            assert_eq!(run.attempted("heartbeat"), n - 1);
            assert_eq!(run.attempted("heartbeat-reply"), n - 1);
            assert_eq!(run.attempted("append-entries"), rounds * (n - 1));
            assert_eq!(run.attempted("append-accepted"), rounds * (n - 1));
            assert_eq!(run.attempted("append-rejected"), 0);
            assert_eq!(run.properties(), Ok(()));
        }
    }
}

#[test]
fn any_number_of_candidacies_and_retries_is_as_the_formula_says() {
    let (mut candidacies, mut denied, mut retries) = (0, 0, 0);
    for seed in 0..600 {
        // Timeouts that the network's delays break all the time, and messages in any order.
        let n = 2 + seed as u32 % 6;
        let mut scenario = Scenario::new(n, 8, seed)
            .option("election-timeout", "25ms")
            .option("election-spread", "8")
            .option("heartbeat", "5ms");
        scenario.log = false;
        let run = simulate(&scenario);
        assert_eq!(run.properties(), Ok(()));
        let rows = (ALGORITHM.expected)(&run.case());
        for row in rows {
            assert_eq!(
                row.count,
                Expected::exactly(run.attempted(row.kind)),
                "{}",
                row.kind
            );
        }
        for identity in ALGORITHM.identities {
            assert!(
                identity.holds(|kind| run.attempted(kind)),
                "{}",
                identity.text
            );
        }
        candidacies += notes(&run, "became-candidate");
        denied += run.attempted("vote-denied");
        retries += notes(&run, "append-retry");
    }
    let total = format!("{candidacies} {denied} {retries}");
    assert!(
        candidacies > 1000 && denied > 2000 && retries > 2000,
        "{total}"
    );
}

/// A scenario with crashes, restarts, a partition, loss, duplicates and any order, all from its seed.
fn rough(seed: u64, storage: Storage) -> Scenario {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = move |limit: u64| {
        // Xorshift (Marsaglia 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let n = 3 + below(3) as u32;
    let mut scenario = Scenario::new(n, 10, seed)
        .option("election-timeout", "60ms")
        .option("heartbeat", "20ms")
        .option("pipeline", ["1", "2", "5"][below(3) as usize]);
    scenario.log = false;
    scenario.network.order = Order::Any;
    scenario.network.loss_per_mille = [0, 20, 150][below(3) as usize];
    scenario.network.duplicate_per_mille = [0, 50][below(2) as usize];
    let points = ALGORITHM.points;
    for _ in 0..1 + below(4) {
        let at = match below(2) {
            0 => Moment::Time(Duration::from_millis(below(500))),
            _ => Moment::Point(points[below(points.len() as u64) as usize].name.to_owned()),
        };
        scenario = scenario.fault(Fault::Crash {
            node: ProcessId(below(n.into()) as u32),
            at,
            back: Some(Duration::from_millis(1 + below(300))),
            storage,
        });
    }
    if below(2) == 0 {
        let from = Duration::from_millis(below(400));
        let side = 1 + below(u64::from(n) - 1) as u32;
        scenario = scenario.fault(Fault::Partition {
            side: (0..side).map(ProcessId).collect(),
            from,
            until: from + Duration::from_millis(below(500)),
        });
    }
    scenario
}

#[test]
fn crashes_restarts_partitions_and_loss_break_no_property() {
    let (mut leaders, mut deaths, mut in_doubt, mut rejected) = (0, 0, 0, 0);
    for seed in 0..2000 {
        let run = simulate(&rough(seed, Storage::Kept));
        // Every fault passes and every server is back, so all commands end too.
        assert_eq!(run.properties(), Ok(()));
        leaders += notes(&run, "became-leader");
        deaths += run.died.len();
        rejected += run.attempted("append-rejected");
        in_doubt += run
            .events
            .iter()
            .filter(|e| e.outcome.phase == Phase::Info)
            .count();
    }
    assert!(
        leaders > 2300 && deaths > 2000 && in_doubt > 60 && rejected > 60,
        "{leaders} {deaths} {in_doubt} {rejected}"
    );
}

#[test]
fn each_operation_begins_and_ends_once_and_each_client_has_one_at_a_time() {
    for seed in 0..500 {
        let run = simulate(&rough(seed, Storage::Kept));
        let mut open = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for event in &run.events {
            let operation = event.outcome.operation;
            let client = event.field::<u64>("process");
            match event.outcome.phase {
                Phase::Note => {}
                Phase::Invoke => {
                    assert!(seen.insert(operation), "{operation:?} twice, seed {seed}");
                    assert_eq!(open.insert(client, operation), None, "seed {seed}");
                }
                _ => assert_eq!(open.remove(&client), Some(operation), "seed {seed}"),
            }
        }
        // What is left open was a dead leader's, or its messages were lost at the end.
        assert!(open.is_empty() || !run.failure_free(), "seed {seed}");
    }
}

#[test]
fn the_formula_admits_what_servers_that_die_and_come_back_send() {
    let (mut deaths, mut exact) = (0, 0);
    for seed in 0..1000 {
        let mut scenario = rough(seed, Storage::Kept);
        scenario.network.loss_per_mille = 0;
        scenario.network.duplicate_per_mille = 0;
        let crashes = |fault: &Fault| matches!(fault, Fault::Crash { .. });
        scenario.faults.retain(crashes);
        let run = simulate(&scenario);
        deaths += run.died.len();
        for row in (ALGORITHM.expected)(&run.case()) {
            let attempted = crate::units::Messages::new(run.attempted(row.kind));
            assert!(
                row.count.admits(attempted),
                "{row:?}: {attempted}, seed {seed}"
            );
            exact += u64::from(row.count == Expected::exactly(attempted.get()));
        }
    }
    assert!(deaths > 1000 && exact > 1000, "{deaths} {exact}");
}

/// An execution of which these are all the notes.
fn broken_by(property: &str, notes: &[(u32, serde_json::Value)]) -> bool {
    let event = |(node, value): &(u32, serde_json::Value)| Event {
        node: ProcessId(*node),
        time: crate::units::Timestamp::from_nanos(0),
        outcome: Outcome {
            phase: Phase::Note,
            operation: OperationId::NONE,
            value: value.clone().into(),
        },
    };
    let events: Vec<_> = notes.iter().map(event).collect();
    let execution = Execution {
        n: 3,
        rounds: 1,
        options: &Options::default(),
        events: &events,
        crashed: &[],
    };
    let named = ALGORITHM.properties.iter().find(|p| p.name == property);
    (named.expect("a property").check)(&execution).is_err()
}

#[test]
fn each_property_finds_what_breaks_it() {
    let leader = |term: u64, last: u64, terms: &[(u64, u64)]| json!({ "note": "became-leader", "term": term, "last_index": last, "terms": terms });
    let note = |note: &str, term: u64, index: u64, digest: u64| json!({ "note": note, "term": term, "index": index, "digest": digest });
    let safety = "election safety";
    assert!(broken_by(
        safety,
        &[(0, leader(1, 0, &[])), (1, leader(1, 0, &[]))]
    ));
    assert!(!broken_by(
        safety,
        &[(0, leader(1, 0, &[])), (1, leader(2, 0, &[]))]
    ));
    let matching = "log matching";
    let round = note("append-round", 1, 2, 7);
    assert!(broken_by(
        matching,
        &[(0, round.clone()), (1, note("appended", 1, 2, 8))]
    ));
    assert!(!broken_by(
        matching,
        &[(0, round.clone()), (1, note("appended", 2, 2, 8))]
    ));
    let completeness = "leader completeness";
    let committed = (0, note("committed", 1, 2, 0));
    assert!(broken_by(
        completeness,
        &[committed.clone(), (1, leader(2, 1, &[(1, 1)]))]
    ));
    assert!(broken_by(
        completeness,
        &[committed.clone(), (1, leader(4, 2, &[(1, 1), (2, 3)]))]
    ));
    assert!(!broken_by(
        completeness,
        &[committed, (1, leader(2, 2, &[(1, 1)]))]
    ));
    let machine = "state machine safety";
    assert!(broken_by(
        machine,
        &[(0, note("applied", 1, 1, 5)), (2, note("applied", 1, 1, 6))]
    ));
    assert!(!broken_by(
        machine,
        &[(0, note("applied", 1, 1, 5)), (2, note("applied", 1, 2, 6))]
    ));
    assert!(broken_by("progress", &[]));
}

#[test]
fn without_stable_storage_a_server_votes_twice_in_a_term() {
    let broken = (0..3000).find_map(|seed| {
        let mut scenario = rough(seed, Storage::Lost);
        scenario.limit = Duration::from_secs(3);
        let why = simulate(&scenario).safety().err()?;
        why.contains("election safety").then_some(why)
    });
    assert!(broken.is_some_and(|why| why.contains("were elected in term")));
}

#[test]
fn a_leader_that_dies_at_any_of_its_points_is_replaced() {
    for n in 3..=5 {
        for point in ["after-election", "after-append", "after-commit"] {
            for seed in 0..20 {
                // Whoever becomes leader first dies there.
                let mut scenario = Scenario::new(n, 6, seed);
                let first = simulate(&scenario)
                    .case()
                    .notes("became-leader")
                    .next()
                    .map(|event| event.node)
                    .unwrap();
                scenario = scenario.fault(Fault::Crash {
                    node: first,
                    at: Moment::Point(point.to_owned()),
                    back: None,
                    storage: Storage::Kept,
                });
                let run = simulate(&scenario);
                assert_eq!(run.died, [first], "{point}, seed {seed}");
                assert_eq!(run.properties(), Ok(()));
                assert!(notes(&run, "became-leader") >= 2);
                for row in (ALGORITHM.expected)(&run.case()) {
                    let attempted = crate::units::Messages::new(run.attempted(row.kind));
                    assert!(
                        row.count.admits(attempted),
                        "{row:?} {attempted} seed {seed}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_minority_commits_nothing() {
    for n in 3..=6 {
        let mut scenario = Scenario::new(n, 3, 7);
        scenario.limit = Duration::from_secs(20);
        for id in 0..n.div_ceil(2) {
            scenario = scenario.fault(Fault::Crash {
                node: ProcessId(id),
                at: Moment::Time(Duration::ZERO),
                back: None,
                storage: Storage::Kept,
            });
        }
        let run = simulate(&scenario);
        assert_eq!((run.completed(), notes(&run, "became-leader")), (0, 0));
        assert_eq!(run.safety(), Ok(()));
    }
}

#[test]
fn options_that_break_the_timing_requirement_are_refused() {
    for (option, value) in [
        ("election-timeout", "100ms"),
        ("heartbeat", "0ms"),
        ("pipeline", "0"),
        ("election-spread", "0"),
    ] {
        let options = Options([(option.to_owned(), value.to_owned())].into());
        assert!(ALGORITHM.check(3, 1, &options).is_err(), "{option}");
    }
}

#[test]
fn hundreds_of_servers_elect_a_leader_too() {
    let mut scenario = Scenario::new(300, 2, 3);
    scenario.log = false;
    let run = simulate(&scenario);
    assert_eq!(run.properties(), Ok(()));
    run.assert_formula();
    assert!(notes(&run, "became-candidate") < 10);
}
