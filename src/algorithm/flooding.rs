//! Flooding: a message reaches every process of any connected graph, without a route. The initiator
//! sends it to all its neighbours; who gets it for the first time takes it and sends it on to all
//! neighbours but the one that it came from; who gets it again throws it away. Each edge carries it
//! once or twice: the initiator sends it deg(0) times and every other process deg − 1 times,
//! together 2E − (N−1), whatever the order in which messages come. On a tree that is N−1, the least
//! there can be; on a full mesh (N−1)², most of it in vain.
//!
//! The broadcast is over for the initiator as soon as it has sent: nobody tells it when all have been
//! reached. It also works while processes crash, among those that the rest of the graph still joins.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::graph::Graph;
use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Process,
    ProcessId, Property, PropertyKind, ProtocolError, Setup, Step, Synchrony, Topology,
};

const FLOOD: KindNumber = KindNumber(1);

const INITIATOR: ProcessId = ProcessId(0);

const CITATION: &str = "Attiya & Welch, Distributed Computing: flooding sends over each edge at \
                        most twice, not back over the edge of the first arrival";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "flooding",
    about: "a message goes to all: each process hands it on once, never back to where it came from",
    citation: "Attiya & Welch, Distributed Computing, 2nd edition, 2004 (flooding)",
    topology: Topology::Graph(|id, n, options| graph(options).neighbours(id, n)),
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::CrashStop,
    workload: "process 0 begins all its floods at once",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[OptionSpec {
        name: Graph::OPTION,
        about: "the graph of E edges: mesh, tree, ring, grid or chords (a ring with chords)",
        default: "mesh",
    }],
    formula: "2E-N+1: in a full mesh (N-1)^2, in a tree N-1",
    per_operation: |n, options| Expected::exactly(messages(graph(options), n)),
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula::NOTHING,
    identities: &[],
    properties: &[
        Property {
            name: "integrity",
            kind: PropertyKind::Safety,
            about: "a process takes a flood at most once, and only one that process 0 began",
            premise: ALWAYS,
            check: taken_once_and_only_what_was_begun,
        },
        Property {
            name: "everyone reached",
            kind: PropertyKind::Liveness,
            about: "process 0 begins every flood, and where a live process took it, its live \
                    neighbours do",
            premise: somebody_left_hands_on,
            check: everyone_is_reached,
        },
    ],
    points: &[],
    process: |setup| {
        Graph::read(setup.options, Graph::Mesh)?;
        Ok(Box::new(Flooder::new(setup)))
    },
};

/// The graph of options that were read before.
fn graph(options: &Options) -> Graph {
    Graph::read(options, Graph::Mesh).unwrap_or(Graph::Mesh)
}

/// 2E − N + 1.
fn messages(graph: Graph, n: u32) -> u64 {
    2 * graph.edges(n) + 1 - u64::from(n)
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let graph = graph(case.options);
    let each = messages(graph, case.n);
    let count = if case.died.is_empty() {
        case.each(each)
    } else {
        among_survivors(case, graph) + Expected::between(0, each) * case.open()
    };
    vec![Expectation {
        kind: "flood",
        count,
        formula: "2E-N+1",
        citation: CITATION,
    }]
}

/// Where processes died, those that took a flood and live have handed it on.
fn among_survivors(case: &Case<'_>, graph: Graph) -> Expected {
    let sends = |id: ProcessId| {
        let degree = graph.neighbours(id, case.n).len() as u64;
        degree - u64::from(id != INITIATOR)
    };
    let survivors = case
        .notes("reached")
        .filter(|event| !case.died.contains(&event.node));
    let low: u64 = survivors.map(|event| sends(event.node)).sum();
    let high = messages(graph, case.n) * case.complete();
    Expected::between(low.min(high), high)
}

/// The floods that each process took, as often as it did.
fn taken(execution: &Execution<'_>) -> BTreeMap<(OperationId, ProcessId), u32> {
    let mut taken = BTreeMap::new();
    for event in execution.notes("reached") {
        *taken
            .entry((event.outcome.operation, event.node))
            .or_default() += 1;
    }
    taken
}

fn begun(execution: &Execution<'_>) -> BTreeSet<OperationId> {
    let begun = |event: &&super::Event| event.outcome.phase == Phase::Invoke;
    let events = execution.events.iter().filter(begun);
    events.map(|event| event.outcome.operation).collect()
}

fn taken_once_and_only_what_was_begun(execution: &Execution<'_>) -> Result<(), String> {
    let begun = begun(execution);
    for ((operation, process), times) in taken(execution) {
        if times > 1 {
            return Err(format!(
                "process {process} took flood {} {times} times",
                operation.0
            ));
        }
        if !begun.contains(&operation) {
            return Err(format!(
                "process {process} took flood {}, which nobody began",
                operation.0
            ));
        }
    }
    Ok(())
}

fn somebody_left_hands_on(execution: &Execution<'_>) -> Result<(), &'static str> {
    let mut reached = execution.notes("reached");
    let hands_on =
        !execution.is_crashed(INITIATOR) || reached.any(|event| !execution.is_crashed(event.node));
    hands_on
        .then_some(())
        .ok_or("process 0 is dead and no live process was reached")
}

fn everyone_is_reached(execution: &Execution<'_>) -> Result<(), String> {
    let graph = graph(execution.options);
    let taken = taken(execution);
    let lives = |id: &ProcessId| !execution.is_crashed(*id);
    let missed = |operation: OperationId, process: ProcessId| {
        Err(format!(
            "flood {} never reached process {process}",
            operation.0
        ))
    };
    for operation in execution.operations_of(INITIATOR) {
        if lives(&INITIATOR) && !taken.contains_key(&(operation, INITIATOR)) {
            return missed(operation, INITIATOR);
        }
    }
    for &(operation, process) in taken.keys().filter(|(_, process)| lives(process)) {
        let neighbours = graph.neighbours(process, execution.n).into_iter();
        for neighbour in neighbours.filter(lives) {
            if !taken.contains_key(&(operation, neighbour)) {
                return missed(operation, neighbour);
            }
        }
    }
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
struct Flood {
    /// Edges that it has come over.
    hops: u32,
}

#[derive(Debug, Clone, Hash)]
struct Flooder {
    id: ProcessId,
    n: u32,
    rounds: u32,
    graph: Graph,
    /// Floods that it has taken.
    taken: BTreeSet<OperationId>,
}

impl Flooder {
    fn new(setup: &Setup<'_>) -> Self {
        Self {
            id: setup.id,
            n: setup.n,
            rounds: setup.rounds,
            graph: graph(setup.options),
            taken: BTreeSet::new(),
        }
    }

    fn take(
        &mut self,
        flood: &Flood,
        operation: OperationId,
        from: Option<ProcessId>,
        step: &mut Step<'_>,
    ) {
        if !self.taken.insert(operation) {
            return;
        }
        step.note(
            "reached",
            operation,
            json!({ "hops": flood.hops, "from": from }),
        );
        let onward = Flood {
            hops: flood.hops + 1,
        };
        for neighbour in self.graph.neighbours(self.id, self.n) {
            if Some(neighbour) != from {
                step.send(neighbour, FLOOD, operation, Body::encode(&onward));
            }
        }
    }
}

impl Process for Flooder {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id != INITIATOR {
            return;
        }
        for round in 1..=self.rounds {
            let operation = OperationId::new(self.id, round, self.n);
            step.report(Phase::Invoke, operation, json!({ "flood": round }));
            self.take(&Flood { hops: 0 }, operation, None, step);
            step.report(Phase::Ok, operation, json!({ "flood": round }));
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.kind != FLOOD {
            return Err(message.unexpected());
        }
        let flood: Flood = message.read()?;
        self.take(&flood, message.operation, Some(message.from), step);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulation::{self, Fault, Moment, Run, Scenario, Storage};

    fn run(graph: &str, n: u32, rounds: u32, seed: u64) -> Run {
        let scenario = Scenario::new(n, rounds, seed).option("topology", graph);
        let run = simulation::run(&ALGORITHM, &scenario).unwrap();
        run.assert_formula();
        run.assert_per_operation();
        run.properties().unwrap();
        run
    }

    #[test]
    fn a_full_mesh_takes_n_less_one_squared_in_any_order() {
        for n in 2..=9 {
            for seed in 0..100 {
                let sent = run("mesh", n, 1, seed).attempted("flood");
                assert_eq!(sent, u64::from((n - 1) * (n - 1)), "N={n} seed={seed}");
            }
        }
    }

    #[test]
    fn a_tree_takes_n_less_one_and_a_ring_n_plus_one() {
        for n in 3..=12 {
            for seed in 0..50 {
                assert_eq!(run("tree", n, 1, seed).attempted("flood"), u64::from(n - 1));
                assert_eq!(run("ring", n, 1, seed).attempted("flood"), u64::from(n + 1));
            }
        }
    }

    #[test]
    fn any_graph_takes_2e_less_n_plus_one_a_flood() {
        for graph in ["grid", "chords", "mesh"] {
            for n in [2, 5, 7, 16] {
                for seed in 0..50 {
                    let sent = run(graph, n, 3, seed).attempted("flood");
                    let edges = Graph::read(
                        &Options([("topology".to_owned(), graph.to_owned())].into()),
                        Graph::Mesh,
                    )
                    .unwrap()
                    .edges(n);
                    assert_eq!(sent, 3 * (2 * edges + 1 - u64::from(n)), "{graph} N={n}");
                }
            }
        }
    }

    #[test]
    fn a_crash_on_the_way_leaves_the_live_neighbours_of_the_reached_reached() {
        for seed in 0..1000 {
            let crash = Fault::Crash {
                node: ProcessId((seed % 8) as u32),
                at: Moment::Time(Duration::from_millis(seed % 15)),
                back: None,
                storage: Storage::Kept,
            };
            let graph = ["mesh", "chords", "tree"][seed as usize % 3];
            let scenario = Scenario::new(8, 1, seed)
                .option("topology", graph)
                .fault(crash);
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            run.properties().unwrap();
            let row = &expected(&run.case())[0];
            let sent = crate::units::Messages::new(run.attempted("flood"));
            assert!(row.count.admits(sent), "{row:?}: {sent} sent, seed {seed}");
        }
    }

    #[test]
    fn a_process_that_is_passed_over_breaks_liveness_and_one_reached_twice_safety() {
        let run = run("mesh", 4, 1, 1);
        let last = run.events.last().unwrap().clone();
        let mut missed = simulation::run(&ALGORITHM, &run.scenario).unwrap();
        missed.events.pop();
        let error = missed.properties().unwrap_err();
        assert!(error.contains("never reached process"), "{error}");
        let mut twice = simulation::run(&ALGORITHM, &run.scenario).unwrap();
        twice.events.push(last);
        let error = twice.safety().unwrap_err();
        assert!(error.contains("2 times"), "{error}");
    }
}
