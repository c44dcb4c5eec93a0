//! Every execution of the small algorithms, within the bounds that each test names: all orders of
//! deliveries that the channels admit, all branches of choices, timers at any moment (unless it
//! says synchronous), and crashes before, after and between any two actions of a step.
//!
//! Each prints how many states it reached (`cargo test --test model_checking -- --nocapture`), and
//! the table of `docs/correctness.md` has the number.

use std::collections::BTreeSet;

use wirewatt::algorithm::{Algorithm, Event, ProcessId, Property, catalog, commitment};
use wirewatt::simulation::check::{Counterexample, Did, Explored, Model, Time, per_process};
use wirewatt::simulation::{Order, Storage};

fn algorithm(name: &str) -> &'static Algorithm {
    catalog::by_name(name).expect("an algorithm of the catalog")
}

/// Explores, and finds the result as the table of `docs/correctness.md` has it.
fn explore(what: &str, model: &Model) -> Explored {
    let clock = std::time::Instant::now();
    let explored = model.explore().expect("a good setup");
    let time = clock.elapsed();
    let found = match &explored.counterexample {
        None => "holds".to_owned(),
        Some(counterexample) => format!("breaks {}", counterexample.property),
    };
    let (name, states) = (model.algorithm.name, explored.states);
    let row = format!("| {name} | {} | {what} | {found} | {states} |", model.n);
    println!("{row}\n{name}: {explored}, {time:.1?}");
    let page = include_str!("../docs/correctness.md");
    assert!(page.contains(&row), "docs/correctness.md lacks\n{row}");
    explored
}

/// Explores to the end and finds every property to hold.
fn holds(what: &str, model: &Model) -> Explored {
    let explored = explore(what, model);
    if let Some(counterexample) = &explored.counterexample {
        panic!("{what}: {counterexample}");
    }
    let bounded = model.bounds.timeouts != u32::MAX;
    assert!(
        !explored.gave_up && (bounded || !explored.cut_short),
        "{what}: {explored}"
    );
    explored
}

/// Finds the shortest execution that breaks a property.
fn fails(what: &str, model: &Model) -> Counterexample {
    let found = explore(what, model).counterexample;
    found.unwrap_or_else(|| panic!("{what}: nothing breaks"))
}

/// Every set of participants that vote no, as the option is written.
fn votes_no(n: u32) -> impl Iterator<Item = String> {
    (0..1_u32 << (n - 1)).map(move |votes| {
        let no: Vec<_> = (1..n)
            .filter(|id| votes >> (id - 1) & 1 == 1)
            .map(|id| id.to_string())
            .collect();
        no.join(",")
    })
}

fn commitment(name: &str, n: u32) -> Model {
    let mut model = Model::new(algorithm(name), n);
    model.history = commitment::votes_and_decisions;
    model
}

/// N=3: any one process crashes, and comes back or does not, whoever votes what. N=4: the
/// coordinator does, and nobody votes no.
#[test]
fn two_phase_commit_agrees_when_one_crashes_and_comes_back() {
    for (n, who, votes) in [(3, None, 4), (4, Some(vec![ProcessId(0)]), 1)] {
        for no in votes_no(n).take(votes) {
            let mut model = commitment("two-phase-commit", n);
            if !no.is_empty() {
                model = model.option("vote-no", &no);
            }
            model.bounds.crashes = 1;
            model.bounds.restarts = 1;
            model.bounds.may_crash = who.clone();
            let who = if who.is_some() {
                "the coordinator"
            } else {
                "one"
            };
            let no = if no.is_empty() { "nobody" } else { &no };
            holds(
                &format!("{who} crashes and comes back; votes no: {no}"),
                &model,
            );
        }
    }
}

/// N=3, any one process crashes and comes back without what it had written.
#[test]
fn two_phase_commit_without_stable_storage_decides_twice() {
    let mut model = commitment("two-phase-commit", 3);
    model.bounds.crashes = 1;
    model.bounds.restarts = 1;
    model.storage = Storage::Lost;
    model.only = Some(vec!["agreement"]);
    let counterexample = fails("one crashes, comes back without its storage", &model);
    assert_eq!(counterexample.property, "agreement");
}

/// N=3 in a synchronous world, the coordinator crashes for ever: a known limit.
#[test]
fn two_phase_commit_blocks_when_its_coordinator_dies_after_the_votes() {
    let mut model = commitment("two-phase-commit", 3);
    model.time = Time::Synchronous;
    model.bounds.crashes = 1;
    model.bounds.may_crash = Some(vec![ProcessId(0)]);
    model.bounds.at_points = true;
    static NON_BLOCKING: [Property; 1] = [commitment::NON_BLOCKING];
    model.also = &NON_BLOCKING;
    model.only = Some(vec!["non-blocking"]);
    let counterexample = fails("synchronous; the coordinator dies at a point", &model);
    let mut crashes = counterexample.trace.iter().filter(|h| h.crashed);
    let dies = crashes.next().expect("a crash");
    assert_eq!(dies.did.last(), Some(&Did::Point("after-votes")));
    // Every other property holds even so, wherever it dies.
    model.bounds.at_points = false;
    model.only = None;
    model.also = &[];
    holds("synchronous; the coordinator dies anywhere", &model);
}

/// N=3 and 4 in a synchronous world, up to N-1 processes crash for ever, wherever in a step, and
/// nobody or one votes no.
#[test]
fn three_phase_commit_agrees_and_never_blocks_where_timeouts_are_right() {
    for n in [3, 4] {
        for no in votes_no(n).take(2) {
            let mut model = commitment("three-phase-commit", n);
            if !no.is_empty() {
                model = model.option("vote-no", &no);
            }
            model.time = Time::Synchronous;
            model.bounds.crashes = n - 1;
            let no = if no.is_empty() { "nobody" } else { &no };
            holds(
                &format!("synchronous; up to {} crash; votes no: {no}", n - 1),
                &model,
            );
        }
    }
}

/// N=3, nobody crashes, the network splits in two for ever: a known limit.
#[test]
fn three_phase_commit_does_not_survive_a_partition() {
    let mut model = commitment("three-phase-commit", 3);
    model.time = Time::Synchronous;
    model.bounds.splits = 1;
    let counterexample = fails("synchronous; the network splits", &model);
    assert_eq!(counterexample.property, "agreement");
}

/// N=3, nobody crashes, timers fire whenever: a known limit, since it needs a synchronous world.
#[test]
fn three_phase_commit_does_not_survive_slow_messages() {
    let model = commitment("three-phase-commit", 3);
    let counterexample = fails("timers fire at any moment", &model);
    assert_eq!(counterexample.property, "agreement");
}

/// What tells states of mutual exclusion from one another: of entries that are over, only that they
/// were. The order of entries is lost with it.
fn open_entries(events: Vec<Event>) -> Vec<Event> {
    let over: BTreeSet<_> = events
        .iter()
        .filter(|event| event.outcome.phase.ends())
        .map(|event| event.outcome.operation)
        .collect();
    let is_over = |event: &Event| over.contains(&event.outcome.operation);
    let (mut closed, open): (Vec<_>, Vec<_>) = events.into_iter().partition(is_over);
    closed.sort_by_key(|event| event.outcome.operation);
    closed.extend(open);
    closed
}

const MUTEXES: [&str; 5] = [
    "central-mutex",
    "ricart-agrawala",
    "suzuki-kasami",
    "maekawa",
    "lamport-mutex",
];

/// N=3, nobody crashes: all enter once and each asks at any moment (with lamport-mutex two of the
/// three do); all enter twice, one time after the other (not with lamport-mutex: 1.3 million states
/// where only two contend).
#[test]
fn no_two_of_three_processes_meet_and_none_is_left_waiting() {
    for name in MUTEXES {
        let mut model = Model::new(algorithm(name), 3);
        model.history = open_entries;
        model.only = Some(vec!["mutual exclusion", "no starvation"]);
        let staggered = model.clone().option("stagger", "1ms");
        if name == "lamport-mutex" {
            let two = staggered.option("contenders", "0,1");
            holds("two ask once at any moment", &two);
            holds("all ask once", &model);
        } else {
            holds("all ask once at any moment", &staggered);
            model.rounds = 2;
            holds("all ask twice", &model);
        }
    }
}

/// N=4, nobody crashes: all enter once; with maekawa three do.
#[test]
fn no_two_of_four_processes_meet_and_none_is_left_waiting() {
    for name in [
        "central-mutex",
        "ricart-agrawala",
        "suzuki-kasami",
        "maekawa",
    ] {
        let mut model = Model::new(algorithm(name), 4);
        model.history = open_entries;
        model.only = Some(vec!["mutual exclusion", "no starvation"]);
        if name == "maekawa" {
            holds("three ask once", &model.option("contenders", "0,1,2"));
        } else {
            holds("all ask once", &model);
        }
    }
}

/// N=3: all three enter once; and two of them, each asking at any moment.
#[test]
fn entries_come_in_the_order_of_their_timestamps() {
    for name in ["ricart-agrawala", "lamport-mutex"] {
        let model = Model::new(algorithm(name), 3);
        holds("all ask once; timestamp order too", &model);
        let two = model.option("contenders", "0,1").option("stagger", "1ms");
        holds("two ask once at any moment; timestamp order too", &two);
    }
}

/// N=3, two contend, messages overtake each other on a channel: why it needs FIFO channels.
#[test]
fn lamport_mutex_without_fifo_channels_lets_two_in() {
    let mut model = Model::new(algorithm("lamport-mutex"), 3).option("contenders", "1,2");
    model.order = Order::Any;
    model.only = Some(vec!["mutual exclusion"]);
    let counterexample = fails("two ask once; channels without order", &model);
    assert_eq!(counterexample.property, "mutual exclusion");
    // With the order it needs, the same model holds.
    model.order = Order::Declared;
    holds("two ask once", &model);
}

/// N=3 and 4 in a synchronous world; the highest process absent from the beginning and up to N-2
/// others crash for ever, wherever in a step; with N=3 also all there, and one crashes.
#[test]
fn bully_elects_one_coordinator_whom_all_learn_where_timeouts_are_right() {
    for n in [3, 4] {
        for (alive, crashes) in [("others", n - 2), ("all", 1)] {
            if (n, alive) == (4, "all") {
                continue;
            }
            let mut model = Model::new(algorithm("bully"), n).option("alive", alive);
            model.time = Time::Synchronous;
            model.bounds.crashes = crashes;
            let what = format!("synchronous; at first {alive} live; up to {crashes} crash");
            holds(&what, &model);
        }
    }
}

/// N=4, nobody crashes, timers fire whenever: a known limit, since it needs a synchronous world.
#[test]
fn bully_has_two_coordinators_where_messages_are_slow() {
    let mut model = Model::new(algorithm("bully"), 4);
    model.bounds.timeouts = 3;
    let counterexample = fails("timers fire at any moment", &model);
    assert_eq!(counterexample.property, "one coordinator");
}

/// What tells states of an election from one another: who voted for whom and who led in which term.
fn elections(mut events: Vec<Event>) -> Vec<Event> {
    events.retain(|event| event.note() == Some("became-leader"));
    events.sort_by_key(|event| (event.node, event.field::<u64>("term")));
    events
}

fn raft_election() -> Model {
    // The times that timeouts are drawn from do not matter where timers fire at any moment.
    let mut model = Model::new(algorithm("raft"), 3).option("election-spread", "1");
    model.history = elections;
    model.only = Some(vec!["election safety"]);
    model.withheld = vec!["heartbeat", "append-entries"];
    model
}

/// N=3, the election alone: what a leader sends never comes. Up to three timers fire, at any
/// moment; or two do and one process crashes anywhere in a step and comes back.
#[test]
fn raft_elects_one_leader_a_term() {
    let mut model = raft_election();
    model.bounds.timeouts = 3;
    holds("election; 3 timers fire", &model);
    model.bounds.timeouts = 2;
    model.bounds.crashes = 1;
    model.bounds.restarts = 1;
    model.late = true;
    holds(
        "election; 2 timers fire, one crashes and comes back",
        &model,
    );
}

/// N=3, the election alone, one process crashes and comes back without what it had written.
#[test]
fn raft_without_stable_storage_elects_two_leaders_in_a_term() {
    let mut model = raft_election();
    model.bounds.timeouts = 2;
    model.bounds.crashes = 1;
    model.bounds.restarts = 1;
    model.storage = Storage::Lost;
    let what = "election; 2 timers fire, one crashes, comes back without its storage";
    let counterexample = fails(what, &model);
    assert_eq!(counterexample.property, "election safety");
}

/// What tells states of consensus from one another: who proposed and who decided what.
fn decisions(mut events: Vec<Event>) -> Vec<Event> {
    events.retain(|event| matches!(event.note(), Some("proposed" | "decided")));
    events.sort_by_key(|event| (event.node, event.note() == Some("decided")));
    events.dedup_by(|a, b| (a.node, &a.outcome) == (b.node, &b.outcome));
    events
}

fn paxos(learn: &str) -> Model {
    let mut model = Model::new(algorithm("paxos"), 3);
    model = model.option("proposers", "2").option("learn", learn);
    model.history = decisions;
    model.only = Some(vec!["agreement", "validity"]);
    // Two ballots, one of each proposer: no timer begins a third.
    model.bounds.timeouts = 0;
    model
}

/// N=3, two proposers with one ballot each: all messages; without learn and reject, one acceptor
/// crashes anywhere in a step and comes back, or one proposer for ever.
#[test]
fn paxos_chooses_one_value() {
    holds("two ballots", &paxos("proposer"));
    let mut model = paxos("none");
    model.withheld = vec!["reject"];
    model.bounds.crashes = 1;
    model.bounds.restarts = 1;
    model.bounds.may_crash = Some(vec![ProcessId(1)]);
    model.bounds.restarts = 0;
    holds("two ballots; a proposer crashes for ever", &model);
    model.bounds.restarts = 1;
    model.bounds.may_crash = Some(vec![ProcessId(2)]);
    model.late = true;
    holds("two ballots; an acceptor crashes and comes back", &model);
}

/// N=3, two proposers with one ballot each; the third process, an acceptor, crashes and comes back
/// without what it had written: it forgets its promise.
#[test]
fn paxos_without_stable_storage_chooses_two_values() {
    let mut model = paxos("none");
    model.bounds.crashes = 1;
    model.bounds.restarts = 1;
    model.bounds.may_crash = Some(vec![ProcessId(2)]);
    model.storage = Storage::Lost;
    let what = "two ballots; an acceptor crashes, comes back without its storage";
    let counterexample = fails(what, &model);
    assert_eq!(counterexample.property, "agreement");
}

/// N=3, one command, every kind but heartbeats, all safety properties: one timer fires, and one
/// process crashes anywhere in a step and comes back.
#[test]
fn raft_replicates_one_log() {
    let mut model = Model::new(algorithm("raft"), 3).option("election-spread", "1");
    model.history = per_process;
    model.withheld = vec!["heartbeat"];
    model.bounds.timeouts = 1;
    model.bounds.crashes = 1;
    model.bounds.restarts = 1;
    holds(
        "one command; 1 timer fires, one crashes and comes back",
        &model,
    );
}

/// The larger ones, for a quiet machine: `cargo test --release --test model_checking -- --ignored`.
#[test]
#[ignore = "a minute or more without optimization"]
fn larger_models_hold() {
    let mut model = paxos("none");
    model.withheld = vec!["reject"];
    model.bounds.crashes = 1;
    model.bounds.restarts = 1;
    model.bounds.may_crash = Some(vec![ProcessId(0)]);
    holds("three ballots; a proposer crashes and comes back", &model);
    let mut model = Model::new(algorithm("bully"), 4).option("alive", "all");
    model.time = Time::Synchronous;
    model.bounds.crashes = 1;
    holds("synchronous; at first all live; up to 1 crash", &model);
    let mut model = Model::new(algorithm("lamport-mutex"), 3).option("stagger", "1ms");
    model.history = open_entries;
    model.only = Some(vec!["mutual exclusion", "no starvation"]);
    holds("all ask once at any moment", &model);
    let mut model = Model::new(algorithm("maekawa"), 4);
    model.history = open_entries;
    holds("all ask once", &model);
}
