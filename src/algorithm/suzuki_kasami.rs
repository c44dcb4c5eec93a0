//! Suzuki & Kasami's mutual exclusion (*A Distributed Mutual Exclusion Algorithm*, ACM TOCS 3(4),
//! 1985). One token is the right to enter. Who has it enters without a message; who has not asks all
//! others, and whoever has the token sends it on when it has left the critical section. The token
//! carries the number of the last request of each process that was served (the paper's LN) and the
//! queue of those that wait (Q); each process knows the highest number that each has asked with (RN),
//! so that a request which comes late, after the token that served it, is known as outdated. Process 0
//! has the token at the beginning. Channels need no order.
//!
//! How many entries find the token in hand, timing decides: each tells it in its note `entered`.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::mutex::{self, Contender, CriticalSection, Entry, Rules};
use super::{
    Algorithm, Body, Case, Channels, Expectation, Expected, FailureModel, Identity, KindNumber,
    Message, OperationId, OutsideFormula, Process, ProcessId, ProtocolError, Relation, Setup,
    SetupError, Step, Synchrony, Topology,
};

const REQUEST: KindNumber = KindNumber(1);
const TOKEN: KindNumber = KindNumber(2);

/// Who has the token at the beginning.
const FIRST: ProcessId = ProcessId(0);

const CITATION: &str = "Suzuki & Kasami, TOCS 3(4), 1985: at most N messages an entry, N-1 requests \
                        and the token, and none where the token is in hand";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "suzuki-kasami",
    about: "who has the token enters; who has not asks all others for it",
    citation: "Suzuki & Kasami, A Distributed Mutual Exclusion Algorithm, TOCS 3(4), 1985",
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
    formula: "N, or 0 with the token in hand",
    per_operation: |n, _| Expected::between(0, n.into()),
    operations: mutex::entries,
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &["request", "token"],
        losses: &[],
    },
    identities: &[Identity {
        text: "token <= request",
        terms: &[(1, "token"), (-1, "request")],
        relation: Relation::AtMostZero,
    }],
    properties: &[mutex::MUTUAL_EXCLUSION, mutex::NO_STARVATION],
    points: mutex::POINTS,
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let id = setup.id;
    let rules = Member {
        id,
        n: setup.n,
        requested: BTreeMap::new(),
        token: (id == FIRST).then(Token::default),
    };
    Contender::process(setup, rules)
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let others = u64::from(case.n.saturating_sub(1));
    let entries = Entry::all(case);
    let had_token = |entry: &Entry<'_>| {
        let told = entry.entered.and_then(|event| event.field("token_in_hand"));
        told == Some(true)
    };
    let cost = |each: u64| -> Expected {
        let without = entries.iter().filter(|entry| !had_token(entry));
        without.map(|entry| entry.takes(each)).sum()
    };
    let row = |kind, count, formula| Expectation {
        kind,
        count,
        formula,
        citation: CITATION,
    };
    vec![
        row("request", cost(others), "N-1, or 0 with the token in hand"),
        row("token", cost(1), "1, or 0 with the token in hand"),
    ]
}

/// The number of a process's entry, from 1. It is the body of a request. Entries with the token in hand
/// are numbered like others, which the paper does not need: so the number is that of the operation.
type RequestNumber = u32;

/// The right to enter, and the body of its message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Token {
    /// LN: the number of each process's request that was served last; 0 where none was.
    served: BTreeMap<ProcessId, RequestNumber>,
    /// Q: who waits.
    queue: VecDeque<ProcessId>,
}

impl Token {
    fn served(&self, id: ProcessId) -> RequestNumber {
        self.served.get(&id).copied().unwrap_or(0)
    }
}

#[derive(Debug, Clone, Hash)]
struct Member {
    id: ProcessId,
    n: u32,
    /// RN: the highest number that each process has asked with; 0 where it has not.
    requested: BTreeMap<ProcessId, RequestNumber>,
    token: Option<Token>,
}

impl Member {
    fn others(&self) -> impl Iterator<Item = ProcessId> + use<> {
        let me = self.id;
        (0..self.n).map(ProcessId).filter(move |id| *id != me)
    }

    /// What the paper does when a request comes.
    fn requested(
        &mut self,
        message: &Message,
        section: &CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let number: RequestNumber = message.read()?;
        let known = self.requested.entry(message.from).or_default();
        *known = number.max(*known);
        if !section.is_outside() {
            return Ok(());
        }
        if let Some(token) = self.token.take() {
            if self.wants(message.from, &token) {
                self.send_token(message.from, &token, step);
            } else {
                self.token = Some(token);
            }
        }
        Ok(())
    }

    /// The token belongs to the entry that it makes possible. The request need not have come here: an
    /// earlier holder of the token has put its process into the queue.
    fn send_token(&self, to: ProcessId, token: &Token, step: &mut Step<'_>) {
        let entry = OperationId::new(to, token.served(to) + 1, self.n);
        step.send(to, TOKEN, entry, Body::encode(token));
    }

    fn number(&self, id: ProcessId) -> RequestNumber {
        self.requested.get(&id).copied().unwrap_or(0)
    }

    /// Whether the last request of this process that is known here has not been served.
    fn wants(&self, id: ProcessId, token: &Token) -> bool {
        self.number(id) == token.served(id) + 1
    }
}

impl Rules for Member {
    /// The paper's requesting process, until the critical section.
    fn request(&mut self, entry: OperationId, section: &mut CriticalSection, step: &mut Step<'_>) {
        let number = entry.round(self.n);
        self.requested.insert(self.id, number);
        if self.token.is_some() {
            return section.enter(json!({ "token_in_hand": true }), step);
        }
        for other in self.others() {
            step.send(other, REQUEST, entry, Body::encode(&number));
        }
    }

    /// The same, after the critical section.
    fn leave(&mut self, _entry: OperationId, step: &mut Step<'_>) {
        let Some(mut token) = self.token.take() else {
            return;
        };
        token.served.insert(self.id, self.number(self.id));
        for other in self.others() {
            if self.wants(other, &token) && !token.queue.contains(&other) {
                token.queue.push_back(other);
            }
        }
        match token.queue.pop_front() {
            Some(next) => self.send_token(next, &token, step),
            None => self.token = Some(token),
        }
    }

    fn receive(
        &mut self,
        message: &Message,
        section: &mut CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        match message.kind {
            REQUEST => self.requested(message, section, step)?,
            TOKEN if self.token.is_none() && section.waiting().is_some() => {
                self.token = Some(message.read()?);
                section.enter(json!({ "token_in_hand": false }), step);
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::mutex::tests::simulate;
    use super::*;

    fn entries_with_the_token(run: &crate::simulation::Run) -> u64 {
        let in_hand = |event: &&super::super::Event| event.field("token_in_hand") == Some(true);
        run.case().notes(mutex::ENTERED).filter(in_hand).count() as u64
    }

    #[test]
    fn an_entry_takes_n_messages_or_none_with_the_token_in_hand() {
        for n in 2..=10 {
            for (rounds, seed) in [(1, 1), (3, 2), (3, 3)] {
                let run = simulate(&ALGORITHM, (n, rounds, seed), &[]);
                let without = u64::from(n * rounds) - entries_with_the_token(&run);
                assert_eq!(
                    run.attempted("request"),
                    without * u64::from(n - 1),
                    "N={n}"
                );
                assert_eq!(run.attempted("token"), without, "N={n}");
            }
        }
    }

    #[test]
    fn the_token_costs_nothing_where_it_is_and_is_fetched_once() {
        for n in 2..=10 {
            let run = simulate(&ALGORITHM, (n, 4, 1), &[("contenders", "0")]);
            assert_eq!(run.total().attempted, 0);
            let run = simulate(&ALGORITHM, (n, 4, 1), &[("contenders", "1")]);
            assert_eq!(run.total().attempted, u64::from(n));
            assert_eq!(entries_with_the_token(&run), 3);
        }
    }

    #[test]
    fn a_request_that_comes_after_the_token_that_served_it_is_outdated() {
        let options = Default::default();
        let setup = Setup {
            id: ProcessId(0),
            n: 3,
            rounds: 1,
            options: &options,
        };
        let mut section = CriticalSection::new(&setup).unwrap();
        let mut holder = Member {
            id: setup.id,
            n: setup.n,
            requested: BTreeMap::new(),
            token: Some(Token {
                served: [(ProcessId(1), 2)].into(),
                queue: VecDeque::new(),
            }),
        };
        for (number, sends) in [(1, 0), (2, 0), (3, 1)] {
            let message = Message {
                from: ProcessId(1),
                kind: REQUEST,
                operation: OperationId::new(ProcessId(1), number, 3),
                body: Body::encode(&number),
            };
            let mut choose = |_| 0;
            let mut step = Step::new(&mut choose);
            let taken = holder.receive(&message, &mut section, &mut step);
            taken.expect("its place");
            assert_eq!(step.into_actions().len(), sends, "request {number}");
        }
        assert_eq!(holder.token, None);
    }
}
