//! Ricart & Agrawala's mutual exclusion (*An Optimal Algorithm for Mutual Exclusion in Computer
//! Networks*, CACM 24(1), 1981). Whoever wants the critical section asks all others with a sequence
//! number, and enters when all have replied. A process replies at once, unless it is in the critical
//! section, or wants it itself with a lower number (the lower id where numbers are equal): then it
//! defers the reply until it has left. A reply thus is Lamport's acknowledgement and release in one,
//! and channels need no order. The paper's names stand where its variables are.

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

const CITATION: &str = "Ricart & Agrawala, CACM 24(1), 1981: 2(N-1) messages, N-1 requests and N-1 \
                        replies, for each entry";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "ricart-agrawala",
    about: "a process enters when all others have replied; who is before it defers the reply",
    citation: "Ricart & Agrawala, An Optimal Algorithm for Mutual Exclusion, CACM 24(1), 1981",
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: mutex::WORKLOAD,
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: mutex::OPTIONS,
    formula: "2(N-1)",
    per_operation: |n, _| Expected::exactly(2 * u64::from(n - 1)),
    operations: mutex::entries,
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &["request", "reply"],
        losses: &[],
    },
    identities: &[Identity {
        text: "request = reply",
        terms: &[(1, "request"), (-1, "reply")],
        relation: Relation::Zero,
    }],
    properties: &[
        mutex::MUTUAL_EXCLUSION,
        mutex::NO_STARVATION,
        mutex::TIMESTAMP_ORDER,
    ],
    points: mutex::POINTS,
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let rules = Member {
        id: setup.id,
        n: setup.n,
        number: 0,
        highest: 0,
        awaited: BTreeSet::new(),
        deferred: BTreeMap::new(),
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
    vec![row("request"), row("reply")]
}

/// The body of a request. A reply has none.
type SequenceNumber = u64;

#[derive(Debug, Clone, Hash)]
struct Member {
    id: ProcessId,
    n: u32,
    /// Our_Sequence_Number: that of the own request.
    number: SequenceNumber,
    /// Highest_Sequence_Number: the highest in any request that has come.
    highest: SequenceNumber,
    /// Outstanding_Reply_Count, as the processes that the replies are to come from.
    awaited: BTreeSet<ProcessId>,
    /// Reply_Deferred: whose request waits until this process has left, and which.
    deferred: BTreeMap<ProcessId, OperationId>,
}

impl Member {
    /// Defer_it: this process is in the critical section, or wants it and comes first.
    fn comes_before(
        &self,
        number: SequenceNumber,
        other: ProcessId,
        section: &CriticalSection,
    ) -> bool {
        !section.is_outside() && (self.number, self.id) < (number, other)
    }

    fn requested(
        &mut self,
        message: &Message,
        section: &CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let number: SequenceNumber = message.read()?;
        self.highest = self.highest.max(number);
        if self.comes_before(number, message.from, section) {
            self.deferred.insert(message.from, message.operation);
        } else {
            step.send(message.from, REPLY, message.operation, Body::empty());
        }
        Ok(())
    }

    fn replied(
        &mut self,
        message: &Message,
        section: &mut CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let waiting = section.waiting() == Some(message.operation);
        if !waiting || !self.awaited.remove(&message.from) {
            return Err(ProtocolError::Violation {
                from: message.from,
                what: "a reply to no request".to_owned(),
            });
        }
        if self.awaited.is_empty() {
            section.enter(json!({ "timestamp": self.number }), step);
        }
        Ok(())
    }
}

impl Rules for Member {
    fn request(&mut self, entry: OperationId, _section: &mut CriticalSection, step: &mut Step<'_>) {
        self.number = self.highest + 1;
        let me = self.id;
        self.awaited = (0..self.n).map(ProcessId).filter(|id| *id != me).collect();
        for &other in &self.awaited {
            step.send(other, REQUEST, entry, Body::encode(&self.number));
        }
    }

    fn leave(&mut self, _entry: OperationId, step: &mut Step<'_>) {
        for (other, entry) in std::mem::take(&mut self.deferred) {
            step.send(other, REPLY, entry, Body::empty());
        }
    }

    fn receive(
        &mut self,
        message: &Message,
        section: &mut CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        match message.kind {
            REQUEST => self.requested(message, section, step),
            REPLY => self.replied(message, section, step),
            _ => Err(message.unexpected()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::mutex::tests::{APART, simulate};
    use super::*;

    #[test]
    fn an_entry_takes_two_messages_a_process_beside_it() {
        for n in 2..=10 {
            for (rounds, options) in [(1, &[][..]), (3, &[]), (2, &[APART])] {
                let run = simulate(&ALGORITHM, (n, rounds, 3), options);
                let each = u64::from(n * rounds * (n - 1));
                for kind in ["request", "reply"] {
                    assert_eq!(run.attempted(kind), each, "{kind}, N={n}");
                }
            }
        }
    }

    #[test]
    fn of_equal_numbers_the_lower_id_comes_first_and_who_comes_first_defers_its_reply() {
        let options = Default::default();
        let setup = Setup {
            id: ProcessId(1),
            n: 3,
            rounds: 1,
            options: &options,
        };
        let replies = |from: u32, number: SequenceNumber| {
            let mut choose = |_| 0;
            let mut process = ALGORITHM.build(&setup).unwrap();
            process.start(&mut Step::new(&mut choose)); // asks with number 1
            let message = Message {
                from: ProcessId(from),
                kind: REQUEST,
                operation: OperationId::new(ProcessId(from), 1, 3),
                body: Body::encode(&number),
            };
            let mut step = Step::new(&mut choose);
            process.receive(&message, &mut step).expect("its place");
            !step.into_actions().is_empty()
        };
        assert!(replies(0, 1));
        assert!(!replies(2, 1));
        assert!(!replies(0, 2));
    }
}
