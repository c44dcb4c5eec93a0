//! Random walk: a search without an index. Somebody looks for a process that holds a thing, and sends
//! out k walkers; each goes from process to process along edges chosen at random until it finds the
//! thing or has made T hops (its time to live). One that finds it makes its host answer the searcher
//! directly. Where flooding asks everybody, k walkers ask at most kT, and more slowly.
//!
//! At most kT forwards and k answers: there are no check-backs, in which walkers ask the searcher
//! whether to go on, so those that are still under way when the first one finds the thing go on to
//! their own ends. A walker that has made T hops says nothing; the searcher gives up after a while.
//! What a walker cost its last host tells: how many hops it had made.
//!
//! After Lv, Cao, Cohen, Li & Shenker, *Search and Replication in Unstructured Peer-to-Peer
//! Networks*, ICS 2002, without its check-backs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::graph::Graph;
use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Process,
    ProcessId, Property, PropertyKind, ProtocolError, SetupError, Step, Synchrony, TimerId,
    Topology,
};

const WALK: KindNumber = KindNumber(1);
const FOUND: KindNumber = KindNumber(2);

const SEARCHER: ProcessId = ProcessId(0);

const PATIENCE_TIMER: TimerId = TimerId(1);

const CITATION: &str = "Lv, Cao, Cohen, Li & Shenker, ICS 2002: k walkers of at most T hops, without \
                        check-backs";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "random-walk",
    about: "walkers look for a process that holds something, along edges chosen at random",
    citation: "Lv, Cao, Cohen, Li & Shenker, Search and Replication in Unstructured P2P Networks, \
               ICS 2002",
    topology: Topology::Graph(|id, n, options| graph(options).neighbours(id, n)),
    channels: Channels::Unordered,
    synchrony: Synchrony::TimeoutsForProgress,
    failures: FailureModel::CrashStop,
    workload: "process 0 searches, and again when it was answered or has given up",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: Graph::OPTION,
            about: "the graph: mesh, tree, ring, grid or chords (a ring with chords)",
            default: "chords",
        },
        OptionSpec {
            name: WALKERS,
            about: "k: how many walkers a search sends out",
            default: "N/8, but 4 to 64",
        },
        OptionSpec {
            name: TTL,
            about: "T: how many hops a walker makes at most",
            default: "10N/k + 16",
        },
        OptionSpec {
            name: TARGET,
            about: "the process that holds what is looked for, not 0",
            default: "N/2",
        },
        OptionSpec {
            name: PATIENCE,
            about: "how long the searcher waits for an answer",
            default: "1s and 20ms a hop of T",
        },
    ],
    formula: "at most kT forwards and k answers",
    per_operation: |n, options| {
        let search = Search::of(n, options);
        let (walkers, ttl) = (u64::from(search.walkers), u64::from(search.ttl));
        Expected::between(walkers, walkers * ttl + walkers)
    },
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula::NOTHING,
    identities: &[],
    properties: &[
        Property {
            name: "integrity",
            kind: PropertyKind::Safety,
            about: "a walker ends at most once and after at most T hops, and a search succeeds only \
                    where a walker found the target",
            premise: ALWAYS,
            check: walkers_end_once_in_time_and_answers_are_true,
        },
        Property {
            name: "termination",
            kind: PropertyKind::Liveness,
            about: "every walker ends where nobody crashes, and a live searcher's searches end",
            premise: searcher_lives,
            check: walkers_and_searches_end,
        },
    ],
    points: &[],
    process: |setup| {
        Ok(Box::new(Host {
            id: setup.id,
            n: setup.n,
            rounds: setup.rounds,
            search: Search::read(setup.n, setup.options)?,
            round: 0,
            open: false,
            quiescing: false,
        }))
    },
};

const WALKERS: &str = "walkers";
const TTL: &str = "ttl";
const TARGET: &str = "target";
const PATIENCE: &str = "patience";

/// The graph of options that were read before.
fn graph(options: &Options) -> Graph {
    Graph::read(options, Graph::Chords).unwrap_or(Graph::Chords)
}

/// What a search is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Search {
    graph: Graph,
    /// k.
    walkers: u32,
    /// T.
    ttl: u32,
    target: ProcessId,
    patience: Duration,
}

impl Search {
    fn read(n: u32, options: &Options) -> Result<Self, SetupError> {
        let graph = Graph::read(options, Graph::Chords)?;
        let at_least_one = |option, default| match options.number(option, default)? {
            0 => Err(SetupError::BadOption {
                option,
                value: "0".to_owned(),
                expected: "at least 1",
            }),
            number => Ok(number),
        };
        let walkers = at_least_one(WALKERS, (n / 8).clamp(4, 64))?;
        let enough = 10 * u64::from(n) / u64::from(walkers) + 16;
        let ttl = at_least_one(TTL, u32::try_from(enough).unwrap_or(u32::MAX))?;
        let target = options.number(TARGET, n / 2)?;
        if target == SEARCHER.0 || target >= n {
            return Err(SetupError::BadOption {
                option: TARGET,
                value: target.to_string(),
                expected: "the id of a process other than 0",
            });
        }
        let patience = Duration::from_secs(1) + Duration::from_millis(20) * ttl;
        Ok(Self {
            graph,
            walkers,
            ttl,
            target: ProcessId(target),
            patience: options.duration(PATIENCE, patience)?,
        })
    }

    /// Of options that were read before.
    fn of(n: u32, options: &Options) -> Self {
        Self::read(n, options).unwrap_or_else(|_| {
            Self::read(n, &Options::default()).expect("what holds by default for this N")
        })
    }
}

/// Where a walker ended.
#[derive(Debug, Serialize, Deserialize)]
struct End {
    walker: u32,
    hops: u32,
    found: bool,
}

const ENDED: &str = "walker-ended";

fn ends<'a>(events: impl Iterator<Item = &'a super::Event>) -> impl Iterator<Item = End> {
    events.filter_map(|event| End::deserialize(&*event.outcome.value).ok())
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let search = Search::of(case.n, case.options);
    let (walkers, ttl) = (u64::from(search.walkers), u64::from(search.ttl));
    let begun = case.complete() + case.open();
    let (mut hops, mut ended, mut found) = (0, 0, 0);
    for end in ends(case.notes(ENDED)) {
        hops += u64::from(end.hops);
        ended += 1;
        found += u64::from(end.found);
    }
    // Walkers that nobody saw end have made any number of hops, and may have found it.
    let lost = (walkers * begun).saturating_sub(ended);
    let answers = if case.died.is_empty() { found } else { 0 };
    vec![
        Expectation {
            kind: "walk",
            count: Expected::between(hops, hops + lost * ttl),
            formula: "the hops of all walkers, at most kT",
            citation: CITATION,
        },
        Expectation {
            kind: "found",
            count: Expected::between(answers, found + lost),
            formula: "one a walker that found it, at most k",
            citation: CITATION,
        },
    ]
}

fn walkers_end_once_in_time_and_answers_are_true(execution: &Execution<'_>) -> Result<(), String> {
    let search = Search::of(execution.n, execution.options);
    let mut ended = BTreeSet::new();
    let mut found = BTreeSet::new();
    for event in execution.events {
        let operation = event.outcome.operation;
        if event.note() == Some(ENDED) {
            let Ok(end) = End::deserialize(&*event.outcome.value) else {
                return Err(format!("no end of a walker: {}", event.outcome.value));
            };
            if !ended.insert((operation, end.walker)) {
                return Err(format!("walker {} ended twice", end.walker));
            }
            if end.hops > search.ttl {
                return Err(format!(
                    "walker {} made {} hops of {}",
                    end.walker, end.hops, search.ttl
                ));
            }
            if end.found {
                if event.node != search.target {
                    return Err(format!("walker {} found at {}", end.walker, event.node));
                }
                found.insert(operation);
            }
        }
        if event.outcome.phase == Phase::Ok && !found.contains(&operation) {
            return Err(format!(
                "search {} succeeded and no walker had found the target",
                operation.0
            ));
        }
    }
    Ok(())
}

fn searcher_lives(execution: &Execution<'_>) -> Result<(), &'static str> {
    let lives = !execution.is_crashed(SEARCHER);
    lives.then_some(()).ok_or("the searcher is dead")
}

fn walkers_and_searches_end(execution: &Execution<'_>) -> Result<(), String> {
    let search = Search::of(execution.n, execution.options);
    let ended = execution.events.iter().filter(|e| e.outcome.phase.ends());
    let ended = ended.count();
    if ended != execution.rounds as usize {
        return Err(format!("{ended} of {} searches ended", execution.rounds));
    }
    let walkers = ended as u64 * u64::from(search.walkers);
    let at_end = ends(execution.notes(ENDED)).count() as u64;
    if execution.crashed.is_empty() && at_end != walkers {
        return Err(format!("{at_end} of {walkers} walkers ended"));
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Walk {
    /// Which of the search's walkers, from 0.
    walker: u32,
    /// Hops that it has made, this one included.
    hops: u32,
}

#[derive(Debug, Clone, Hash)]
struct Host {
    id: ProcessId,
    n: u32,
    rounds: u32,
    search: Search,
    /// The search that was begun last, from 1.
    round: u32,
    /// Whether it goes on.
    open: bool,
    quiescing: bool,
}

impl Host {
    fn operation(&self) -> OperationId {
        OperationId::new(SEARCHER, self.round.max(1), self.n)
    }

    fn search_again(&mut self, step: &mut Step<'_>) {
        if self.round == self.rounds || self.quiescing {
            return;
        }
        self.round += 1;
        self.open = true;
        let operation = self.operation();
        step.report(
            Phase::Invoke,
            operation,
            json!({ "target": self.search.target }),
        );
        for walker in 0..self.search.walkers {
            self.forward(Walk { walker, hops: 0 }, operation, step);
        }
        step.set_timer(PATIENCE_TIMER, self.search.patience);
    }

    fn forward(&self, walk: Walk, operation: OperationId, step: &mut Step<'_>) {
        let graph = self.search.graph;
        let next = graph.neighbour(self.id, self.n, |count| step.choose(count));
        let walk = Walk {
            hops: walk.hops + 1,
            ..walk
        };
        step.send(next, WALK, operation, Body::encode(&walk));
    }

    fn host(&self, walk: Walk, operation: OperationId, step: &mut Step<'_>) {
        let Walk { walker, hops } = walk;
        let found = self.id == self.search.target;
        if found || hops >= self.search.ttl {
            let end = End {
                walker,
                hops,
                found,
            };
            step.note(ENDED, operation, json!(end));
            if found {
                step.send(SEARCHER, FOUND, operation, Body::encode(&walk));
            }
            return;
        }
        self.forward(walk, operation, step);
    }

    fn end(&mut self, phase: Phase, value: serde_json::Value, step: &mut Step<'_>) {
        self.open = false;
        step.cancel_timer(PATIENCE_TIMER);
        step.report(phase, self.operation(), value);
        self.search_again(step);
    }
}

impl Process for Host {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id == SEARCHER {
            self.search_again(step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            WALK => self.host(message.read()?, message.operation, step),
            FOUND if self.id == SEARCHER => {
                let Walk { walker, hops } = message.read()?;
                // Another walker may have been first, or patience at its end.
                if self.open && message.operation == self.operation() {
                    let holder = message.from;
                    let answer = json!({ "holder": holder, "walker": walker, "hops": hops });
                    self.end(Phase::Ok, answer, step);
                }
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        if self.open {
            self.end(Phase::Fail, json!({ "holder": null }), step);
        }
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, Fault, Moment, Run, Scenario, Storage};

    fn run(n: u32, rounds: u32, seed: u64, options: &[(&str, &str)]) -> Run {
        let mut scenario = Scenario::new(n, rounds, seed);
        for (name, value) in options {
            scenario = scenario.option(name, value);
        }
        let run = simulation::run(&ALGORITHM, &scenario).unwrap();
        run.assert_formula();
        run.properties().unwrap();
        run
    }

    #[test]
    fn k_walkers_make_at_most_kt_hops_and_k_answers() {
        for n in [2, 3, 5, 8, 30] {
            for seed in 0..200 {
                let run = run(n, 2, seed, &[("walkers", "3"), ("ttl", "12")]);
                let (walk, found) = (run.attempted("walk"), run.attempted("found"));
                assert!((6..=2 * 3 * 12).contains(&walk), "{walk}");
                assert!(found <= 6);
                let rows = expected(&run.case());
                // Every walker said where it ended: nothing is left open.
                assert_eq!(rows[0].count, Expected::exactly(walk));
                assert_eq!(rows[1].count, Expected::exactly(found));
            }
        }
    }

    #[test]
    fn the_only_way_of_two_processes_takes_a_hop_and_an_answer_each() {
        for seed in 0..20 {
            let run = run(2, 1, seed, &[("walkers", "5")]);
            assert_eq!(run.attempted("walk"), 5);
            assert_eq!(run.attempted("found"), 5);
        }
    }

    #[test]
    fn walkers_that_do_not_live_long_enough_fail_and_cost_kt() {
        // On a ring of 20 the target is 10 hops away.
        let options = [("topology", "ring"), ("ttl", "9"), ("walkers", "4")];
        for seed in 0..50 {
            let run = run(20, 1, seed, &options);
            assert_eq!(run.attempted("walk"), 36);
            assert_eq!(run.attempted("found"), 0);
            let failed = |e: &&super::super::Event| e.outcome.phase == Phase::Fail;
            assert_eq!(run.events.iter().filter(failed).count(), 1);
        }
    }

    #[test]
    fn by_default_nearly_every_search_succeeds() {
        let succeeded = |n: u32| {
            let runs = (0..200).map(|seed| run(n, 1, seed, &[]));
            let succeeded = runs.filter(|run| {
                let found = run.events.iter().any(|e| e.outcome.phase == Phase::Ok);
                if found {
                    run.assert_per_operation();
                }
                found
            });
            succeeded.count()
        };
        assert_eq!(succeeded(5), 200);
        let of_a_hundred = succeeded(100);
        assert!(of_a_hundred >= 180, "{of_a_hundred} of 200");
    }

    #[test]
    fn a_crash_takes_walkers_with_it_and_leaves_the_formula_an_interval() {
        for seed in 0..1000 {
            let crash = Fault::Crash {
                node: ProcessId(1 + (seed % 7) as u32),
                at: Moment::Time(Duration::from_millis(seed % 40)),
                back: None,
                storage: Storage::Kept,
            };
            let scenario = Scenario::new(8, 2, seed).fault(crash);
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            run.assert_formula();
            run.properties().unwrap();
        }
    }

    #[test]
    fn a_target_that_is_the_searcher_or_nobody_is_refused() {
        for (option, value) in [
            ("target", "0"),
            ("target", "4"),
            ("ttl", "0"),
            ("walkers", "0"),
        ] {
            let options = Options([(option.to_owned(), value.to_owned())].into());
            let checked = ALGORITHM.check(4, 1, &options);
            assert!(
                matches!(checked, Err(SetupError::BadOption { .. })),
                "{option}"
            );
        }
    }
}
