//! Distributed (hello): a process that comes to know a group without any server. The newcomer says
//! hello to everybody, and everybody replies: two messages for each member that it meets, where a
//! server would need two in all. When all have come to know all in this way, each of N processes has
//! been the newcomer once.
//!
//! After `distributed.py` of the programs that this project began with. There every hello went to
//! one port and a process greeted itself as well ("2N"); here it greets the N−1 others.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    Identity, KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase,
    Process, ProcessId, Property, PropertyKind, ProtocolError, Relation, Setup, SetupError, Step,
    Synchrony, Topology,
};

const HELLO: KindNumber = KindNumber(1);
const REPLY: KindNumber = KindNumber(2);

const CITATION: &str =
    "distributed.py of the original: a hello to each other process and its reply";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "distributed",
    about: "a newcomer greets every other process, and each replies",
    citation: "distributed.py of the original Energy Efficiency in Distributed system algorithms",
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "process N-1 is the newcomer, or all are at once; a process greets again when all \
               have replied",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[OptionSpec {
        name: GREET,
        about: "who greets everybody: newcomer (process N-1) or all",
        default: "newcomer",
    }],
    formula: "2(N-1)",
    per_operation: |n, _| Expected::exactly(2 * u64::from(n - 1)),
    operations: |n, rounds, options| {
        let greeters = (0..n).filter(|id| Greeters::of(options).includes(*id, n));
        greeters.count() as u64 * u64::from(rounds)
    },
    expected,
    outside_formula: OutsideFormula::NOTHING,
    identities: &[Identity {
        text: "reply = hello",
        terms: &[(1, "reply"), (-1, "hello")],
        relation: Relation::Zero,
    }],
    properties: &[
        Property {
            name: "acquaintance",
            kind: PropertyKind::Safety,
            about: "when a greeting has ended, every other process has met who greeted",
            premise: ALWAYS,
            check: everybody_has_met_the_greeter,
        },
        Property {
            name: "termination",
            kind: PropertyKind::Liveness,
            about: "every greeting ends",
            premise: ALWAYS,
            check: every_greeting_ends,
        },
    ],
    points: &[],
    process,
};

const GREET: &str = "greet";

/// Who greets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeters {
    Newcomer,
    All,
}

impl Greeters {
    fn read(options: &Options) -> Result<Self, SetupError> {
        match options.get(GREET) {
            None | Some("newcomer") => Ok(Self::Newcomer),
            Some("all") => Ok(Self::All),
            Some(value) => Err(SetupError::BadOption {
                option: GREET,
                value: value.to_owned(),
                expected: "newcomer or all",
            }),
        }
    }

    /// Of options that were read before.
    fn of(options: &Options) -> Self {
        Self::read(options).unwrap_or(Self::Newcomer)
    }

    fn includes(self, id: u32, n: u32) -> bool {
        self == Self::All || id + 1 == n
    }
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let row = |kind| Expectation {
        kind,
        count: case.each(u64::from(case.n.saturating_sub(1))),
        formula: "N-1",
        citation: CITATION,
    };
    vec![row("hello"), row("reply")]
}

fn everybody_has_met_the_greeter(execution: &Execution<'_>) -> Result<(), String> {
    let mut met = BTreeSet::new();
    for event in execution.events {
        let operation = event.outcome.operation;
        if event.note() == Some("met") {
            met.insert((operation, event.node));
        }
        if event.outcome.phase == Phase::Ok {
            let others = (0..execution.n).map(ProcessId);
            let mut others = others.filter(|&id| id != event.node);
            if let Some(stranger) = others.find(|&id| !met.contains(&(operation, id))) {
                return Err(format!(
                    "process {} ended its greeting and process {stranger} had not met it",
                    event.node
                ));
            }
        }
    }
    Ok(())
}

fn every_greeting_ends(execution: &Execution<'_>) -> Result<(), String> {
    let wanted = (ALGORITHM.operations)(execution.n, execution.rounds, execution.options);
    let ended = |phase: Phase| phase == Phase::Ok;
    let phases = execution.events.iter().map(|event| event.outcome.phase);
    match phases.filter(|&phase| ended(phase)).count() as u64 {
        ended if ended == wanted => Ok(()),
        ended => Err(format!("{ended} of {wanted} greetings ended")),
    }
}

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let greets = Greeters::read(setup.options)?.includes(setup.id.0, setup.n);
    Ok(Box::new(Peer {
        id: setup.id,
        n: setup.n,
        rounds: if greets { setup.rounds } else { 0 },
        round: 0,
        awaited: BTreeSet::new(),
        quiescing: false,
    }))
}

#[derive(Debug, Clone, Hash)]
struct Peer {
    id: ProcessId,
    n: u32,
    /// How often it greets.
    rounds: u32,
    /// The greeting that was begun last, from 1.
    round: u32,
    /// Who has not replied to it.
    awaited: BTreeSet<ProcessId>,
    quiescing: bool,
}

impl Peer {
    fn operation(&self) -> OperationId {
        OperationId::new(self.id, self.round, self.n)
    }

    fn greet_again(&mut self, step: &mut Step<'_>) {
        if self.round == self.rounds || self.quiescing {
            return;
        }
        self.round += 1;
        let operation = self.operation();
        step.report(Phase::Invoke, operation, json!({ "greeter": self.id }));
        let others = (0..self.n).map(ProcessId).filter(|&other| other != self.id);
        self.awaited = others.collect();
        for &other in &self.awaited {
            step.send(other, HELLO, operation, Body::encode(&self.id));
        }
    }
}

impl Process for Peer {
    fn start(&mut self, step: &mut Step<'_>) {
        self.greet_again(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let (from, operation) = (message.from, message.operation);
        match message.kind {
            HELLO => {
                step.note("met", operation, json!({ "greeter": from }));
                step.send(from, REPLY, operation, Body::encode(&self.id));
            }
            REPLY if operation == self.operation_if_any() => {
                if self.awaited.remove(&from) && self.awaited.is_empty() {
                    step.report(Phase::Ok, operation, json!({ "met": self.n - 1 }));
                    self.greet_again(step);
                }
            }
            REPLY => {
                let what = "a reply to no greeting that is going on".to_owned();
                return Err(ProtocolError::Violation { from, what });
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

impl Peer {
    fn operation_if_any(&self) -> OperationId {
        match self.round {
            0 => OperationId::NONE,
            _ => self.operation(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, Scenario};

    #[test]
    fn a_newcomer_costs_two_messages_a_member() {
        for n in 2..=12 {
            for seed in 0..20 {
                let run = simulation::run(&ALGORITHM, &Scenario::new(n, 2, seed)).unwrap();
                assert_eq!(run.attempted("hello"), 2 * u64::from(n - 1));
                assert_eq!(run.attempted("reply"), 2 * u64::from(n - 1));
                run.assert_formula();
                run.assert_per_operation();
                run.properties().unwrap();
            }
        }
    }

    #[test]
    fn all_to_all_takes_2n_times_n_less_one() {
        for n in 2..=8 {
            for seed in 0..200 {
                let scenario = Scenario::new(n, 1, seed).option("greet", "all");
                let run = simulation::run(&ALGORITHM, &scenario).unwrap();
                assert_eq!(run.total().attempted, u64::from(2 * n * (n - 1)));
                run.assert_formula();
                run.properties().unwrap();
            }
        }
    }

    #[test]
    fn a_greeting_that_ends_unheard_breaks_acquaintance() {
        let scenario = Scenario::new(4, 1, 1);
        let mut run = simulation::run(&ALGORITHM, &scenario).unwrap();
        run.events
            .retain(|event| event.note().is_none() || event.node.0 != 2);
        let error = run.safety().unwrap_err();
        assert!(error.contains("process 2 had not met it"), "{error}");
    }

    #[test]
    fn an_unknown_greeter_is_refused() {
        let options = Options([("greet".to_owned(), "some".to_owned())].into());
        assert!(matches!(
            ALGORITHM.check(4, 1, &options),
            Err(SetupError::BadOption { .. })
        ));
    }
}
