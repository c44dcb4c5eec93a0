//! Centralized: members join at a server, process 0, which answers each with the list of members.
//! One exchange a member, as in the programs that this project began with (`centralized.py`
//! counts 2 messages a member).

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    KindNumber, Message, OperationId, OutsideFormula, Phase, Process, ProcessId, Property,
    PropertyKind, ProtocolError, Setup, Step, Synchrony, Topology,
};

const JOIN: KindNumber = KindNumber(1);
const LIST: KindNumber = KindNumber(2);

const SERVER: ProcessId = ProcessId(0);

const CITATION: &str = "one exchange a member: 2(N-1) for all (centralized.py: msgCounter 2)";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "centralized",
    about: "members join at a server and get the list of members back",
    citation: "centralized.py of the original Energy Efficiency in Distributed system algorithms",
    topology: Topology::Star,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "every member joins at once; its next join follows the answer to the one before",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[],
    formula: "2",
    per_operation: |_, _| Expected::exactly(2),
    operations: |n, rounds, _| u64::from(n - 1) * u64::from(rounds),
    expected,
    outside_formula: OutsideFormula::NOTHING,
    identities: &[],
    properties: &[
        Property {
            name: "admission",
            kind: PropertyKind::Safety,
            about: "a member's list names the member itself and nobody who had not asked to join",
            premise: ALWAYS,
            check: lists_name_who_joined,
        },
        Property {
            name: "termination",
            kind: PropertyKind::Liveness,
            about: "every join is answered",
            premise: ALWAYS,
            check: every_join_ends,
        },
    ],
    points: &[],
    process,
};

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let row = |kind| Expectation {
        kind,
        count: case.each(1),
        formula: "1",
        citation: CITATION,
    };
    vec![row("join"), row("list")]
}

fn lists_name_who_joined(execution: &Execution<'_>) -> Result<(), String> {
    let mut asked = BTreeSet::new();
    for event in execution.events {
        let member = event.node;
        if event.outcome.phase == Phase::Invoke {
            asked.insert(member);
        }
        if event.outcome.phase != Phase::Ok {
            continue;
        }
        let list: Option<BTreeSet<ProcessId>> = event.field("members");
        let list = list.ok_or_else(|| format!("process {member} got no list"))?;
        if !list.contains(&member) {
            return Err(format!("the list of process {member} lacks it"));
        }
        if let Some(stranger) = list.difference(&asked).next() {
            return Err(format!(
                "the list of process {member} names {stranger}, which had not asked to join"
            ));
        }
    }
    Ok(())
}

fn every_join_ends(execution: &Execution<'_>) -> Result<(), String> {
    let wanted = (ALGORITHM.operations)(execution.n, execution.rounds, execution.options);
    let phases = execution.events.iter().map(|event| event.outcome.phase);
    match phases.filter(|phase| *phase == Phase::Ok).count() as u64 {
        ended if ended == wanted => Ok(()),
        ended => Err(format!("{ended} of {wanted} joins were answered")),
    }
}

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, super::SetupError> {
    Ok(if setup.id == SERVER {
        Box::new(Server {
            members: BTreeSet::new(),
        })
    } else {
        Box::new(Member {
            id: setup.id,
            n: setup.n,
            rounds: setup.rounds,
            round: 0,
            quiescing: false,
        })
    })
}

#[derive(Debug, Clone, Hash)]
struct Server {
    members: BTreeSet<ProcessId>,
}

impl Process for Server {
    fn start(&mut self, _step: &mut Step<'_>) {}

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.kind != JOIN {
            return Err(message.unexpected());
        }
        self.members.insert(message.from);
        step.send(
            message.from,
            LIST,
            message.operation,
            Body::encode(&self.members),
        );
        Ok(())
    }
}

#[derive(Debug, Clone, Hash)]
struct Member {
    id: ProcessId,
    n: u32,
    rounds: u32,
    /// The join that was begun last, from 1.
    round: u32,
    quiescing: bool,
}

impl Member {
    fn join(&mut self, step: &mut Step<'_>) {
        self.round += 1;
        let operation = OperationId::new(self.id, self.round, self.n);
        step.report(Phase::Invoke, operation, json!({ "member": self.id }));
        step.send(SERVER, JOIN, operation, Body::encode(&self.id));
    }
}

impl Process for Member {
    fn start(&mut self, step: &mut Step<'_>) {
        self.join(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.kind != LIST {
            return Err(message.unexpected());
        }
        let members: BTreeSet<ProcessId> = message.read()?;
        if !members.contains(&self.id) {
            let what = "the list lacks the member that it answers".to_owned();
            return Err(ProtocolError::Violation {
                from: message.from,
                what,
            });
        }
        step.report(Phase::Ok, message.operation, json!({ "members": members }));
        if self.round < self.rounds && !self.quiescing {
            self.join(step);
        }
        Ok(())
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Event;
    use crate::simulation::{self, Scenario};

    #[test]
    fn each_member_costs_a_join_and_a_list() {
        for n in 2..=10 {
            for (rounds, seed) in [(1, 1), (1, 2), (3, 3)] {
                let run = simulation::run(&ALGORITHM, &Scenario::new(n, rounds, seed)).unwrap();
                assert_eq!(run.attempted("join"), u64::from((n - 1) * rounds));
                assert_eq!(run.attempted("list"), u64::from((n - 1) * rounds));
                run.assert_formula();
                run.assert_per_operation();
                run.properties().unwrap();
            }
        }
    }

    #[test]
    fn a_list_with_a_stranger_or_without_its_member_and_a_join_without_answer_are_seen() {
        let run = simulation::run(&ALGORITHM, &Scenario::new(4, 1, 1)).unwrap();
        let broken = |members: &[u32]| {
            let mut events = run.events.clone();
            let first = |event: &&mut Event| event.outcome.phase == Phase::Ok;
            let end = events.iter_mut().find(first).expect("an answer");
            end.outcome.value = json!({ "members": members }).into();
            let execution = Execution {
                events: &events,
                ..run.execution()
            };
            (end_of(&run), lists_name_who_joined(&execution))
        };
        let (member, own) = broken(&[]);
        assert_eq!(own, Err(format!("the list of process {member} lacks it")));
        let (_, stranger) = broken(&[0, 1, 2, 3]);
        assert!(stranger.is_err_and(|why| why.contains("names 0")));
        let unanswered = Execution {
            events: &run.events[..run.events.len() - 1],
            ..run.execution()
        };
        let open = Err("2 of 3 joins were answered".to_owned());
        assert_eq!(every_join_ends(&unanswered), open);
    }

    /// Who was answered first.
    fn end_of(run: &simulation::Run) -> ProcessId {
        let mut ends = run.events.iter().filter(|e| e.outcome.phase == Phase::Ok);
        ends.next().expect("an answer").node
    }

    #[test]
    fn the_last_list_names_every_member() {
        for seed in 0..20 {
            let run = simulation::run(&ALGORITHM, &Scenario::new(6, 1, seed)).unwrap();
            let longest = run
                .events
                .iter()
                .map(|event| &event.outcome)
                .filter(|outcome| outcome.phase == Phase::Ok)
                .map(|outcome| outcome.value["members"].as_array().unwrap().len())
                .max();
            assert_eq!(longest, Some(5));
        }
    }
}
