//! Mutual exclusion by a coordinator, process 0. Whoever wants the critical section asks the
//! coordinator, waits for its grant, and tells it when it has left; the coordinator grants one
//! request at a time, in the order in which they came (the centralized algorithm of Tanenbaum & van
//! Steen, *Distributed Systems*, section on mutual exclusion). Three messages an entry, whoever else
//! wants to enter; the price is that all depend on one process.
//!
//! The coordinator may enter too. Then it asks itself, by messages that are never on the network: an
//! entry of its own costs nothing.

use std::collections::VecDeque;

use serde_json::json;

use super::mutex::{self, Contender, CriticalSection, Entry, Rules};
use super::{
    Algorithm, Body, Case, Channels, Expectation, Expected, FailureModel, Identity, KindNumber,
    Message, OperationId, Options, OutsideFormula, Process, ProcessId, ProtocolError, Relation,
    Setup, SetupError, Step, Synchrony, Topology,
};

const REQUEST: KindNumber = KindNumber(1);
const GRANT: KindNumber = KindNumber(2);
const RELEASE: KindNumber = KindNumber(3);

const COORDINATOR: ProcessId = ProcessId(0);

const CITATION: &str = "Tanenbaum & van Steen, Distributed Systems (centralized algorithm): request, \
                        grant and release for each entry";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "central-mutex",
    about: "a coordinator grants the critical section to one process after the other",
    citation: "Tanenbaum & van Steen, Distributed Systems (mutual exclusion, centralized algorithm)",
    topology: Topology::Star,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: mutex::WORKLOAD,
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: mutex::OPTIONS,
    formula: "3, and 0 for the coordinator's own",
    per_operation,
    operations: mutex::entries,
    expected,
    outside_formula: OutsideFormula {
        deaths: &["release"],
        returns: &["request", "grant", "release"],
        losses: &[],
    },
    identities: &[
        Identity {
            text: "request = grant",
            terms: &[(1, "request"), (-1, "grant")],
            relation: Relation::Zero,
        },
        Identity {
            text: "request = release",
            terms: &[(1, "request"), (-1, "release")],
            relation: Relation::Zero,
        },
    ],
    properties: &[mutex::MUTUAL_EXCLUSION, mutex::NO_STARVATION],
    points: mutex::POINTS,
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let rules = Member {
        queue: VecDeque::new(),
    };
    Contender::process(setup, rules)
}

fn per_operation(n: u32, options: &Options) -> Expected {
    let contenders = mutex::contenders(n, options).unwrap_or_default();
    let cost = |id: &ProcessId| if *id == COORDINATOR { 0 } else { 3 };
    let low = contenders.iter().map(cost).min().unwrap_or_default();
    let high = contenders.iter().map(cost).max().unwrap_or_default();
    Expected::between(low, high)
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let entries = Entry::all(case);
    let by_others = entries.iter().filter(|entry| entry.by != COORDINATOR);
    let count: Expected = by_others.map(|entry| entry.takes(1)).sum();
    let row = |kind| Expectation {
        kind,
        count,
        formula: "1 an entry, 0 for the coordinator's own",
        citation: CITATION,
    };
    vec![row("request"), row("grant"), row("release")]
}

#[derive(Debug, Clone, Hash)]
struct Member {
    /// At the coordinator: who has been granted the critical section, then who waits for it.
    queue: VecDeque<(ProcessId, OperationId)>,
}

impl Member {
    fn grant_first(&self, step: &mut Step<'_>) {
        if let Some(&(to, entry)) = self.queue.front() {
            step.send(to, GRANT, entry, Body::empty());
        }
    }
}

impl Rules for Member {
    fn request(&mut self, entry: OperationId, _section: &mut CriticalSection, step: &mut Step<'_>) {
        step.send(COORDINATOR, REQUEST, entry, Body::empty());
    }

    fn leave(&mut self, entry: OperationId, step: &mut Step<'_>) {
        step.send(COORDINATOR, RELEASE, entry, Body::empty());
    }

    fn receive(
        &mut self,
        message: &Message,
        section: &mut CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let entry = (message.from, message.operation);
        match message.kind {
            REQUEST => {
                self.queue.push_back(entry);
                if self.queue.len() == 1 {
                    self.grant_first(step);
                }
            }
            RELEASE if self.queue.front() == Some(&entry) => {
                self.queue.pop_front();
                self.grant_first(step);
            }
            GRANT if section.waiting() == Some(message.operation) => {
                section.enter(json!({}), step);
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::mutex::tests::{APART, simulate};
    use super::*;
    use crate::algorithm::Action;

    #[test]
    fn an_entry_takes_three_messages_and_one_of_the_coordinator_none() {
        for n in 2..=10 {
            for (rounds, seed) in [(1, 1), (3, 2)] {
                let run = simulate(&ALGORITHM, (n, rounds, seed), &[]);
                for kind in ["request", "grant", "release"] {
                    assert_eq!(
                        run.attempted(kind),
                        u64::from((n - 1) * rounds),
                        "{kind}, N={n}"
                    );
                }
            }
        }
        let run = simulate(&ALGORITHM, (4, 5, 1), &[("contenders", "0")]);
        assert_eq!(run.total().attempted, 0);
        let run = simulate(&ALGORITHM, (4, 5, 1), &[("contenders", "3"), APART]);
        assert_eq!(run.total().attempted, 3 * 5);
    }

    #[test]
    fn the_coordinator_serves_in_the_order_of_requests() {
        let options = Options::default();
        let setup = Setup {
            id: COORDINATOR,
            n: 3,
            rounds: 1,
            options: &options,
        };
        let mut coordinator = ALGORITHM.build(&setup).unwrap();
        let mut granted = Vec::new();
        for (from, kind) in [(2, REQUEST), (1, REQUEST), (2, RELEASE), (1, RELEASE)] {
            let from = ProcessId(from);
            let message = Message {
                from,
                kind,
                operation: OperationId::new(from, 1, 3),
                body: Body::empty(),
            };
            let mut choose = |_| 0;
            let mut step = Step::new(&mut choose);
            coordinator.receive(&message, &mut step).expect("its place");
            granted.push(match step.into_actions()[..] {
                [
                    Action::Send {
                        to, kind: GRANT, ..
                    },
                ] => Some(to.0),
                _ => None,
            });
        }
        assert_eq!(granted, [Some(2), None, Some(1), None]);
    }
}
