//! Every execution of the small algorithms, within the bounds that each test names: all orders of
//! deliveries that the channels admit, all branches of choices, timers at any moment (unless it
//! says synchronous), and crashes before, after and between any two actions of a step.
//!
//! Each prints how many states it reached (`cargo test --test model_checking -- --nocapture`).

use wirewatt::algorithm::{
    Algorithm, Execution, ProcessId, Property, PropertyKind, catalog, commitment,
};
use wirewatt::simulation::Storage;
use wirewatt::simulation::check::{Counterexample, Did, Explored, Model, Time, per_process};

fn algorithm(name: &str) -> &'static Algorithm {
    catalog::by_name(name).expect("an algorithm of the catalog")
}

fn explore(what: &str, model: &Model) -> Explored {
    let clock = std::time::Instant::now();
    let explored = model.explore().expect("a good setup");
    let name = model.algorithm.name;
    println!(
        "{name}, N={}, {what}: {explored} {:?}",
        model.n,
        clock.elapsed()
    );
    explored
}

/// Explores to the end and finds every property to hold.
fn holds(what: &str, model: &Model) -> Explored {
    let explored = explore(what, model);
    if let Some(counterexample) = &explored.counterexample {
        panic!("{what}: {counterexample}");
    }
    assert!(!explored.cut_short, "{what}: not all of it was explored");
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
    // Decisions and votes count, not who was first.
    model.history = per_process;
    model
}

/// N=3: any one process crashes, and comes back or does not, whoever votes what. N=4: the
/// coordinator does, and nobody or one votes no.
#[test]
fn two_phase_commit_agrees_when_one_crashes_and_comes_back() {
    for (n, who, votes) in [(3, None, 4), (4, Some(vec![ProcessId(0)]), 2)] {
        for no in votes_no(n).take(votes) {
            let mut model = commitment("two-phase-commit", n);
            if !no.is_empty() {
                model = model.option("vote-no", &no);
            }
            model.bounds.crashes = 1;
            model.bounds.restarts = 1;
            model.bounds.may_crash = who.clone();
            holds(&format!("votes no: {no}"), &model);
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
    let counterexample = fails("storage lost", &model);
    assert_eq!(counterexample.property, "agreement");
}

/// Nobody who lives and voted yes waits for ever, whoever crashes: what two-phase commit cannot
/// promise (condition AC5 of Bernstein, Hadzilacos & Goodman without its proviso).
static NON_BLOCKING: [Property; 1] = [Property {
    name: "non-blocking",
    kind: PropertyKind::Liveness,
    about: "everybody who lives and voted yes decides",
    check: |execution: &Execution<'_>| match commitment::undecided(execution) {
        Some((process, _)) => Err(format!("process {process} waits for ever")),
        None => Ok(()),
    },
}];

/// N=3 in a synchronous world, the coordinator crashes for ever: a known limit.
#[test]
fn two_phase_commit_blocks_when_its_coordinator_dies_after_the_votes() {
    let mut model = commitment("two-phase-commit", 3);
    model.time = Time::Synchronous;
    model.bounds.crashes = 1;
    model.bounds.may_crash = Some(vec![ProcessId(0)]);
    model.bounds.at_points = true;
    model.also = &NON_BLOCKING;
    model.only = Some(vec!["non-blocking"]);
    let counterexample = fails("the coordinator dies", &model);
    let mut crashes = counterexample.trace.iter().filter(|h| h.crashed);
    let dies = crashes.next().expect("a crash");
    assert_eq!(dies.did.last(), Some(&Did::Point("after-votes")));
    // Every other property holds even so, wherever it dies.
    model.bounds.at_points = false;
    model.only = None;
    model.also = &[];
    holds("the coordinator dies", &model);
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
            holds(&format!("votes no: {no}, {} crash", n - 1), &model);
        }
    }
}

/// N=3, nobody crashes, the network splits in two for ever: a known limit.
#[test]
fn three_phase_commit_does_not_survive_a_partition() {
    let mut model = commitment("three-phase-commit", 3);
    model.time = Time::Synchronous;
    model.bounds.splits = 1;
    let counterexample = fails("a partition", &model);
    assert_eq!(counterexample.property, "agreement");
}

/// N=3, nobody crashes, timers fire whenever: a known limit, since it needs a synchronous world.
#[test]
fn three_phase_commit_does_not_survive_slow_messages() {
    let model = commitment("three-phase-commit", 3);
    let counterexample = fails("asynchronous", &model);
    assert_eq!(counterexample.property, "agreement");
}
