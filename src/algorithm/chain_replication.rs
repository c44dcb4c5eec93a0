//! Chain replication: the replicas of a store stand in a chain. Updates enter at the head and go
//! down it, each replica applying them in the order in which they come; queries go to the tail, which
//! answers both (van Renesse & Schneider, *Chain Replication for Supporting High Throughput and
//! Availability*, OSDI 2004).
//!
//! What the tail has applied every replica has, so the tail's answers are those of a single server:
//! that makes the store linearizable although the tail alone answers. Each replica keeps what it has
//! handed on in its list *Sent* until an acknowledgement, begun by the tail, has come back up the
//! chain (section 3.2 of the paper): that list is what a predecessor would send again if its
//! successor failed. Channels are FIFO, as the paper assumes.
//!
//! The paper's master, which takes failed replicas out of the chain, is not here: a replica that
//! dies stops every request that needs it.
//!
//! Replicas have the ids 0 (head) to N−1 (tail). Process N hosts the clients, `pipeline` of them,
//! each with one request open at a time. Requests are told as `{"process", "op", "key", "value"}`:
//! `process` is the client, `op` is `write` or `read`, `value` the number written (a new one each
//! time) or read (null before the end, and where the key has none): the form of a linearizability
//! checker of registers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Event, Execution, Expectation, Expected, FailureModel,
    Identity, KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Point,
    Process, ProcessId, Property, PropertyKind, ProtocolError, Relation, Setup, SetupError, Step,
    Synchrony, Topology,
};

const UPDATE: KindNumber = KindNumber(1);
const FORWARD: KindNumber = KindNumber(2);
const UPDATE_REPLY: KindNumber = KindNumber(3);
const ACKNOWLEDGEMENT: KindNumber = KindNumber(4);
const QUERY: KindNumber = KindNumber(5);
const QUERY_REPLY: KindNumber = KindNumber(6);

const HEAD: ProcessId = ProcessId(0);

const CITATION: &str = "van Renesse & Schneider, OSDI 2004, section 3: an update goes from the client \
                        to the head, down the chain, and from the tail to the client (N+1)";
const SENT_CITATION: &str = "van Renesse & Schneider, OSDI 2004, section 3.2: acknowledgements go \
                             from the tail up the chain (N-1; 2N in all)";
const QUERY_CITATION: &str =
    "van Renesse & Schneider, OSDI 2004, section 3: the tail answers a query alone (2)";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "chain-replication",
    about: "updates go down a chain of replicas, and its tail answers all requests",
    citation: "van Renesse & Schneider, Chain Replication for Supporting High Throughput and \
               Availability, OSDI 2004",
    topology: Topology::Graph(neighbours),
    channels: Channels::Fifo,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "process N hosts the clients, each with its next request when the last is answered",
    least: 2,
    processes: |n| n + 1,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: "mix",
            about: "which requests there are: mixed (update and query in turn), updates, or queries",
            default: "mixed",
        },
        OptionSpec {
            name: "pipeline",
            about: "how many clients there are, each with one request open at a time",
            default: "4",
        },
    ],
    formula: "2N an update, 2 a query",
    per_operation,
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &[],
        losses: &["acknowledgement"],
    },
    identities: &[
        Identity {
            text: "update-reply = update",
            terms: &[(1, "update-reply"), (-1, "update")],
            relation: Relation::Zero,
        },
        Identity {
            text: "acknowledgement = forward",
            terms: &[(1, "acknowledgement"), (-1, "forward")],
            relation: Relation::Zero,
        },
        Identity {
            text: "query-reply = query",
            terms: &[(1, "query-reply"), (-1, "query")],
            relation: Relation::Zero,
        },
    ],
    properties: &[
        Property {
            name: "update propagation",
            kind: PropertyKind::Safety,
            about: "what a replica has applied, its predecessor has applied before, in the same order",
            premise: ALWAYS,
            check: update_propagation,
        },
        Property {
            name: "read from the tail",
            kind: PropertyKind::Safety,
            about: "a query answers with what the tail had applied between its beginning and its end",
            premise: ALWAYS,
            check: reads_from_tail,
        },
        Property {
            name: "termination",
            kind: PropertyKind::Liveness,
            about: "every request is answered",
            premise: ALWAYS,
            check: termination,
        },
    ],
    points: &[
        Point {
            name: "after-update",
            role: "head",
            about: "the head has applied an update and handed it to nobody",
        },
        Point {
            name: "after-forward",
            role: "tail",
            about: "the tail has applied an update and told nobody",
        },
    ],
    process,
};

fn per_operation(n: u32, options: &Options) -> Expected {
    let update = 2 * u64::from(n);
    match Mix::read(options) {
        Ok(Mix::Updates) => Expected::exactly(update),
        Ok(Mix::Queries) => Expected::exactly(2),
        _ => Expected::between(2, update),
    }
}

/// A replica with the next and the one before, and the head and the tail with the clients.
fn neighbours(id: ProcessId, n: u32, _: &Options) -> Vec<ProcessId> {
    let client = n;
    let ids = match id.0 {
        id if id == client => vec![0, n - 1],
        0 => vec![1, client],
        id if id == n - 1 => vec![id - 1, client],
        id => vec![id - 1, id + 1],
    };
    ids.into_iter().map(ProcessId).collect()
}

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let mix = Mix::read(setup.options)?;
    let pipeline = setup.options.number("pipeline", 4)?;
    if pipeline == 0 {
        return Err(SetupError::BadOption {
            option: "pipeline",
            value: "0".to_owned(),
            expected: "1 or more",
        });
    }
    Ok(if setup.id.0 == setup.n {
        Box::new(Clients {
            n: setup.n,
            rounds: setup.rounds,
            mix,
            pipeline,
            asked: 0,
            open: BTreeMap::new(),
            quiescing: false,
        })
    } else {
        Box::new(Replica {
            id: setup.id,
            n: setup.n,
            applied: 0,
            store: BTreeMap::new(),
            sent: BTreeSet::new(),
        })
    })
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let downward = u64::from(case.n.saturating_sub(1));
    let of = |op: &str, phase: fn(Phase) -> bool| {
        let counted = case.events.iter().filter(|event| {
            phase(event.outcome.phase) && event.field::<String>("op").as_deref() == Some(op)
        });
        counted.count() as u64
    };
    let requests = |op| {
        let ended = of(op, Phase::ends);
        let begun = of(op, |phase| phase == Phase::Invoke);
        (ended, begun.max(ended))
    };
    let (updated, updates) = requests("write");
    let (queried, queries) = requests("read");
    // A replica that has died after the tail answered has acknowledged nothing to its predecessor.
    let acknowledged = if case.died.is_empty() { updated } else { 0 };
    let row = |kind, low: u64, high: u64, each, formula, citation| Expectation {
        kind,
        count: Expected::between(low, high) * each,
        formula,
        citation,
    };
    vec![
        row("update", updated, updates, 1, "1 an update", CITATION),
        row(
            "forward",
            updated,
            updates,
            downward,
            "N-1 an update",
            CITATION,
        ),
        row("update-reply", updated, updates, 1, "1 an update", CITATION),
        row(
            "acknowledgement",
            acknowledged,
            updates,
            downward,
            "N-1 an update",
            SENT_CITATION,
        ),
        row("query", queried, queries, 1, "1 a query", QUERY_CITATION),
        row(
            "query-reply",
            queried,
            queries,
            1,
            "1 a query",
            QUERY_CITATION,
        ),
    ]
}

/// Update propagation invariant, section 3.2: `Hist_j ⪯ Hist_i` for replicas i ≤ j, at every moment.
fn update_propagation(execution: &Execution<'_>) -> Result<(), String> {
    let mut histories: BTreeMap<ProcessId, Vec<(&Event, String)>> = BTreeMap::new();
    for event in execution.notes("applied") {
        let value = &event.outcome.value;
        let update = format!("{} = {}", value["key"], value["value"]);
        histories
            .entry(event.node)
            .or_default()
            .push((event, update));
    }
    for (replica, history) in &histories {
        let Some(before) = replica.0.checked_sub(1).map(ProcessId) else {
            continue;
        };
        for (sequence, (event, update)) in (1..).zip(history) {
            let upstream = histories
                .get(&before)
                .and_then(|above| above.get(sequence - 1));
            let same = upstream
                .is_some_and(|(earlier, above)| above == update && earlier.time <= event.time);
            if !same {
                return Err(format!(
                    "replica {replica} applied {update} as its update {sequence}, and {before} had \
                     applied {:?} by then",
                    upstream.map(|(_, above)| above)
                ));
            }
        }
    }
    Ok(())
}

/// What a query answered is what some prefix of the tail's history leaves, and that prefix has all
/// that was applied when the query began and nothing of what was applied after it ended.
fn reads_from_tail(execution: &Execution<'_>) -> Result<(), String> {
    let tail = ProcessId(execution.n.saturating_sub(1));
    let history: Vec<&Event> = execution
        .notes("applied")
        .filter(|event| event.node == tail)
        .collect();
    let mut begun = BTreeMap::new();
    for event in execution.events {
        let reads = event.field::<String>("op").as_deref() == Some("read");
        match event.outcome.phase {
            Phase::Invoke if reads => {
                begun.insert(event.outcome.operation, event.time);
            }
            Phase::Ok if reads => {
                let Some(begin) = begun.get(&event.outcome.operation) else {
                    return Err(format!("{:?} ended and never began", event.outcome));
                };
                let (key, value) = (&event.outcome.value["key"], &event.outcome.value["value"]);
                let of_key = history.iter().filter(|e| e.outcome.value["key"] == *key);
                let mut current = &serde_json::Value::Null;
                let mut possible = Vec::new();
                for applied in of_key.take_while(|applied| applied.time <= event.time) {
                    if applied.time >= *begin {
                        possible.push(current);
                    }
                    current = &applied.outcome.value["value"];
                }
                possible.push(current);
                if !possible.contains(&value) {
                    return Err(format!(
                        "a query of {key} read {value}, not one of {possible:?}"
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn termination(execution: &Execution<'_>) -> Result<(), String> {
    let phases = execution.events.iter().map(|event| event.outcome.phase);
    let ended = phases.filter(|phase| phase.ends()).count();
    if ended < execution.rounds as usize {
        let rounds = execution.rounds;
        return Err(format!("{ended} of {rounds} requests were answered"));
    }
    Ok(())
}

/// Which requests there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mix {
    Mixed,
    Updates,
    Queries,
}

impl Mix {
    fn read(options: &Options) -> Result<Self, SetupError> {
        match options.get("mix") {
            None | Some("mixed") => Ok(Self::Mixed),
            Some("updates") => Ok(Self::Updates),
            Some("queries") => Ok(Self::Queries),
            Some(other) => Err(SetupError::BadOption {
                option: "mix",
                value: other.to_owned(),
                expected: "mixed, updates or queries",
            }),
        }
    }

    fn updates(self, number: u32) -> bool {
        match self {
            Self::Mixed => number % 2 == 1,
            Self::Updates => true,
            Self::Queries => false,
        }
    }
}

/// An update, also as it is forwarded: then with its place in the history.
#[derive(Debug, Serialize, Deserialize)]
struct Update {
    #[serde(default)]
    sequence: u64,
    key: String,
    value: u64,
}

/// All clients: they differ in nothing but the request that each waits for.
#[derive(Debug, Clone, Hash)]
struct Clients {
    n: u32,
    rounds: u32,
    mix: Mix,
    pipeline: u32,
    /// How many requests have begun.
    asked: u32,
    /// Who waits for which request, and the key and value (if it is an update) of that.
    open: BTreeMap<OperationId, Request>,
    quiescing: bool,
}

#[derive(Debug, Clone, Hash)]
struct Request {
    client: u32,
    key: &'static str,
    update: Option<u64>,
}

impl Request {
    fn told(&self, value: Option<u64>) -> serde_json::Value {
        let op = if self.update.is_some() {
            "write"
        } else {
            "read"
        };
        json!({ "process": self.client, "op": op, "key": self.key, "value": value })
    }
}

impl Clients {
    fn ask(&mut self, client: u32, step: &mut Step<'_>) {
        if self.asked == self.rounds || self.quiescing {
            return;
        }
        self.asked += 1;
        let number = self.asked;
        // Its ids are of N + 1 processes, of which it is the last.
        let operation = OperationId::new(ProcessId(self.n), number, self.n + 1);
        let request = Request {
            client,
            key: ["x", "y"][(number as usize - 1) / 2 % 2],
            update: self.mix.updates(number).then_some(number.into()),
        };
        step.report(Phase::Invoke, operation, request.told(request.update));
        let key = request.key.to_owned();
        match request.update {
            Some(value) => {
                let update = Update {
                    sequence: 0,
                    key,
                    value,
                };
                step.send(HEAD, UPDATE, operation, Body::encode(&update));
            }
            None => {
                let tail = ProcessId(self.n - 1);
                step.send(tail, QUERY, operation, Body::encode(&key));
            }
        }
        self.open.insert(operation, request);
    }
}

impl Process for Clients {
    fn start(&mut self, step: &mut Step<'_>) {
        for client in 0..self.pipeline {
            self.ask(client, step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if !matches!(message.kind, UPDATE_REPLY | QUERY_REPLY) {
            return Err(message.unexpected());
        }
        let answer: Option<u64> = message.read()?;
        let Some(request) = self.open.remove(&message.operation) else {
            return Err(ProtocolError::Violation {
                from: message.from,
                what: "an answer to what nobody asked".to_owned(),
            });
        };
        step.report(Phase::Ok, message.operation, request.told(answer));
        self.ask(request.client, step);
        Ok(())
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[derive(Debug, Clone, Hash)]
struct Replica {
    id: ProcessId,
    n: u32,
    /// How many updates it has applied: the length of its history.
    applied: u64,
    store: BTreeMap<String, u64>,
    /// Updates handed on that the tail is not known to have applied (the paper's *Sent*).
    sent: BTreeSet<u64>,
}

impl Replica {
    fn is_tail(&self) -> bool {
        self.id.0 == self.n - 1
    }

    fn apply(&mut self, update: Update, operation: OperationId, step: &mut Step<'_>) {
        self.applied += 1;
        let update = Update {
            sequence: self.applied,
            ..update
        };
        self.store.insert(update.key.clone(), update.value);
        step.note(
            "applied",
            operation,
            json!({ "sequence": update.sequence, "key": update.key, "value": update.value }),
        );
        if self.is_tail() {
            step.point("after-forward");
            let client = ProcessId(self.n);
            step.send(
                client,
                UPDATE_REPLY,
                operation,
                Body::encode(&Some(update.value)),
            );
            self.acknowledge(update.sequence, operation, step);
        } else {
            if self.id == HEAD {
                step.point("after-update");
            }
            self.sent.insert(update.sequence);
            let next = ProcessId(self.id.0 + 1);
            step.send(next, FORWARD, operation, Body::encode(&update));
        }
    }

    fn acknowledge(&self, sequence: u64, operation: OperationId, step: &mut Step<'_>) {
        if let Some(before) = self.id.0.checked_sub(1) {
            let body = Body::encode(&sequence);
            step.send(ProcessId(before), ACKNOWLEDGEMENT, operation, body);
        }
    }
}

impl Process for Replica {
    fn start(&mut self, _step: &mut Step<'_>) {}

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let violation = |what| {
            Err(ProtocolError::Violation {
                from: message.from,
                what,
            })
        };
        match message.kind {
            UPDATE if self.id == HEAD => self.apply(message.read()?, message.operation, step),
            FORWARD if self.id != HEAD => {
                let update: Update = message.read()?;
                let (sequence, due) = (update.sequence, self.applied + 1);
                if sequence != due {
                    return violation(format!("update {sequence} came where {due} was due"));
                }
                self.apply(update, message.operation, step);
            }
            ACKNOWLEDGEMENT if !self.is_tail() => {
                let sequence: u64 = message.read()?;
                if !self.sent.remove(&sequence) {
                    return violation(format!(
                        "update {sequence} was not waiting to be acknowledged"
                    ));
                }
                self.acknowledge(sequence, message.operation, step);
            }
            QUERY if self.is_tail() => {
                let key: String = message.read()?;
                let value = self.store.get(&key);
                step.send(
                    message.from,
                    QUERY_REPLY,
                    message.operation,
                    Body::encode(&value),
                );
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulation::{Fault, Moment, Order, Run, Scenario, Storage, run};

    fn simulate(scenario: &Scenario) -> Run {
        run(&ALGORITHM, scenario).expect("a good scenario")
    }

    #[test]
    fn an_update_takes_2n_messages_and_a_query_2() {
        for n in 2..=10 {
            for (mix, updates, queries) in [("updates", 6, 0), ("queries", 0, 6), ("mixed", 3, 3)] {
                let run = simulate(&Scenario::new(n, 6, n.into()).option("mix", mix));
                let n = u64::from(n);
                for (kind, count) in [
                    ("update", updates),
                    ("forward", (n - 1) * updates),
                    ("update-reply", updates),
                    ("acknowledgement", (n - 1) * updates),
                    ("query", queries),
                    ("query-reply", queries),
                ] {
                    assert_eq!(run.attempted(kind), count, "{kind}, N={n}, {mix}");
                }
                assert_eq!(run.total().attempted, 2 * n * updates + 2 * queries);
                run.assert_formula();
                run.assert_per_operation();
            }
        }
    }

    #[test]
    fn requests_at_once_keep_the_order_of_the_chain() {
        let mut stale = 0;
        for seed in 0..3000 {
            let mut scenario = Scenario::new(2 + seed as u32 % 6, 20, seed);
            scenario
                .options
                .0
                .insert("pipeline".to_owned(), (1 + seed % 7).to_string());
            scenario.log = false;
            let run = simulate(&scenario);
            assert_eq!(run.properties(), Ok(()));
            run.assert_formula();
            let reads = run.events.iter().filter(|event| {
                event.outcome.phase == Phase::Ok
                    && event.outcome.value["op"] == "read"
                    && event.outcome.value["value"].is_null()
            });
            stale += reads.count();
        }
        // Queries overtook updates that had begun before them: the schedules did overlap.
        assert!(stale > 1000, "{stale}");
    }

    #[test]
    fn without_fifo_channels_the_chain_breaks() {
        let broken = (0..50).any(|seed| {
            let mut scenario = Scenario::new(4, 20, seed).option("mix", "updates");
            scenario.network.order = Order::Any;
            simulate(&scenario).safety().is_err()
        });
        assert!(broken);
    }

    #[test]
    fn a_dead_replica_stops_updates_for_there_is_no_master() {
        for dead in 0..4 {
            let scenario = Scenario::new(4, 8, 1).fault(Fault::Crash {
                node: ProcessId(dead),
                at: Moment::Time(Duration::ZERO),
                back: None,
                storage: Storage::Kept,
            });
            let run = simulate(&scenario);
            assert_eq!(run.safety(), Ok(()));
            assert!(
                run.properties()
                    .is_err_and(|why| why.contains("termination"))
            );
            let written = run.events.iter().any(|event| {
                event.outcome.phase == Phase::Ok && event.outcome.value["op"] == "write"
            });
            assert!(!written, "replica {dead}");
        }
    }

    #[test]
    fn a_history_out_of_order_is_found() {
        let run = simulate(&Scenario::new(3, 4, 2).option("mix", "updates"));
        let mut events = run.events.clone();
        let mut of_tail: Vec<_> = (0..events.len())
            .filter(|&i| events[i].note() == Some("applied") && events[i].node.0 == 2)
            .collect();
        let (first, second) = (of_tail.remove(0), of_tail.remove(0));
        let outcome = events[first].outcome.clone();
        events[first].outcome = events[second].outcome.clone();
        events[second].outcome = outcome;
        let execution = Execution {
            events: &events,
            ..run.execution()
        };
        assert!(update_propagation(&execution).is_err());
    }

    #[test]
    fn a_stale_read_is_found() {
        let scenario = Scenario::new(3, 2, 2).option("pipeline", "1");
        let run = simulate(&scenario);
        assert_eq!(run.properties(), Ok(()));
        let mut events = run.events.clone();
        let read = events
            .iter_mut()
            .find(|event| event.outcome.phase == Phase::Ok && event.outcome.value["op"] == "read");
        read.unwrap().outcome.value["value"] = serde_json::Value::Null;
        let execution = Execution {
            events: &events,
            ..run.execution()
        };
        assert!(reads_from_tail(&execution).is_err());
    }

    #[test]
    fn the_chain_and_its_clients_are_each_others_neighbours() {
        let none = Options::default();
        for n in 2..=6 {
            for a in (0..=n).map(ProcessId) {
                for b in ALGORITHM.topology.neighbours(a, n, &none) {
                    assert!(ALGORITHM.topology.neighbours(b, n, &none).contains(&a));
                }
            }
        }
    }
}
