//! Lamport's mutual exclusion (*Time, Clocks, and the Ordering of Events in a Distributed System*,
//! CACM 21(7), 1978), which he gives as an example of what his clocks are for. Every process keeps a
//! copy of the queue of requests, ordered by timestamp. Whoever wants the critical section tells all
//! others, each of which answers; it enters when its own request is the first of its queue and
//! something later than the request has come from everybody: whatever they send from now on is later
//! still. That holds only where a message does not overtake another on the same channel, so channels
//! are FIFO. The five rules of the paper's section "Ordering the Events Totally" are named where they
//! are obeyed.
//!
//! Every answer is sent: the refinement that leaves out one which a later message of the same process
//! makes needless is not in the paper's count of 3(N−1).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::mutex::{self, Contender, CriticalSection, Entry, Rules};
use super::{
    Algorithm, Body, Case, Channels, Expectation, Expected, FailureModel, Identity, KindNumber,
    Message, OperationId, OutsideFormula, Process, ProcessId, ProtocolError, Relation, Setup,
    SetupError, Step, Synchrony, Topology,
};

const REQUEST: KindNumber = KindNumber(1);
const REPLY: KindNumber = KindNumber(2);
const RELEASE: KindNumber = KindNumber(3);

const CITATION: &str = "Lamport, CACM 21(7), 1978, rules 1 to 3: N-1 each of request, \
                        acknowledgement and release for each entry";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "lamport-mutex",
    about: "every process keeps the queue of all requests, ordered by logical clocks",
    citation: "Lamport, Time, Clocks, and the Ordering of Events, CACM 21(7), 1978",
    topology: Topology::FullMesh,
    channels: Channels::Fifo,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: mutex::WORKLOAD,
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: mutex::OPTIONS,
    formula: "3(N-1)",
    per_operation: |n, _| Expected::exactly(3 * u64::from(n - 1)),
    operations: mutex::entries,
    expected,
    outside_formula: OutsideFormula {
        deaths: &["release"],
        returns: &["request", "reply", "release"],
        losses: &["reply"],
    },
    identities: &[
        Identity {
            text: "request = reply",
            terms: &[(1, "request"), (-1, "reply")],
            relation: Relation::Zero,
        },
        Identity {
            text: "request = release",
            terms: &[(1, "request"), (-1, "release")],
            relation: Relation::Zero,
        },
    ],
    properties: &[
        mutex::MUTUAL_EXCLUSION,
        mutex::NO_STARVATION,
        mutex::TIMESTAMP_ORDER,
    ],
    points: mutex::POINTS,
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let (id, n) = (setup.id, setup.n);
    let rules = Member {
        id,
        clock: 0,
        queue: BTreeSet::new(),
        latest: (0..n)
            .map(ProcessId)
            .filter(|other| *other != id)
            .map(|other| (other, 0))
            .collect(),
    };
    Contender::process(setup, rules)
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let others = u64::from(case.n.saturating_sub(1));
    let entries = Entry::all(case);
    let count: Expected = entries.iter().map(|entry| entry.takes(others)).sum();
    let row = |kind| Expectation {
        kind,
        count,
        formula: "N-1",
        citation: CITATION,
    };
    vec![row("request"), row("reply"), row("release")]
}

/// A logical clock's reading. It is the body of every message.
type Timestamp = u64;

#[derive(Debug, Clone, Hash)]
struct Member {
    id: ProcessId,
    clock: Timestamp,
    /// Requests in the paper's total order: by timestamp, then by process.
    queue: BTreeSet<(Timestamp, ProcessId)>,
    /// The latest timestamp that has come from each other process.
    latest: BTreeMap<ProcessId, Timestamp>,
}

impl Member {
    /// Rule IR1: the clock ticks between any two events.
    fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        self.clock
    }

    fn tell_others(
        &self,
        kind: KindNumber,
        timestamp: Timestamp,
        entry: OperationId,
        step: &mut Step<'_>,
    ) {
        for &other in self.latest.keys() {
            step.send(other, kind, entry, Body::encode(&timestamp));
        }
    }

    fn forget(&mut self, id: ProcessId) {
        self.queue.retain(|(_, requester)| *requester != id);
    }

    /// Rule 5: enter when the own request is the first of all (i), and something later than it has
    /// come from every other process (ii).
    fn enter_if_first(&mut self, section: &mut CriticalSection, step: &mut Step<'_>) {
        let Some(&(timestamp, first)) = self.queue.first() else {
            return;
        };
        let heard = self.latest.values().all(|latest| *latest > timestamp);
        if first == self.id && heard && section.waiting().is_some() {
            section.enter(json!({ "timestamp": timestamp }), step);
        }
    }
}

impl Rules for Member {
    // Rule 1.
    fn request(&mut self, entry: OperationId, _section: &mut CriticalSection, step: &mut Step<'_>) {
        let timestamp = self.tick();
        self.queue.insert((timestamp, self.id));
        self.tell_others(REQUEST, timestamp, entry, step);
    }

    // Rule 3.
    fn leave(&mut self, entry: OperationId, step: &mut Step<'_>) {
        let timestamp = self.tick();
        self.forget(self.id);
        self.tell_others(RELEASE, timestamp, entry, step);
    }

    fn receive(
        &mut self,
        message: &Message,
        section: &mut CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let timestamp: Timestamp = message.read()?;
        if !matches!(message.kind, REQUEST | REPLY | RELEASE) {
            return Err(message.unexpected());
        }
        // Rule IR2: later than both the own clock and the message.
        self.clock = self.clock.max(timestamp);
        self.tick();
        self.latest.insert(message.from, timestamp);
        match message.kind {
            // Rule 2.
            REQUEST => {
                self.queue.insert((timestamp, message.from));
                let answer = Body::encode(&self.tick());
                step.send(message.from, REPLY, message.operation, answer);
            }
            // Rule 4.
            RELEASE => self.forget(message.from),
            _ => {}
        }
        self.enter_if_first(section, step);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::mutex::tests::{APART, simulate};
    use super::*;

    use crate::simulation::{self, Order, Scenario};

    #[test]
    fn an_entry_takes_three_messages_a_process_beside_it() {
        for n in 2..=10 {
            for (rounds, options) in [(1, &[][..]), (3, &[]), (2, &[APART])] {
                let run = simulate(&ALGORITHM, (n, rounds, 3), options);
                let each = u64::from(n * rounds * (n - 1));
                for kind in ["request", "reply", "release"] {
                    assert_eq!(run.attempted(kind), each, "{kind}, N={n}");
                }
            }
        }
    }

    /// A reply of another process overtakes its request that came before: the one that waits does
    /// not know of the earlier request, and both enter.
    #[test]
    fn without_fifo_channels_two_are_in_the_critical_section_at_once() {
        let meet = |seed| {
            let mut scenario = Scenario::new(3, 3, seed);
            scenario.network.order = Order::Any;
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            run.safety()
                .is_err_and(|why| why.contains("mutual exclusion does not hold"))
        };
        assert!((0..1000).any(meet));
    }
}
