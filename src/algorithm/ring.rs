//! Ring: a token goes around, each process handing it to the next (the token ring of Tanenbaum &
//! van Steen, *Distributed Systems*, section on mutual exclusion). Process 0 makes the token and
//! begins the next circulation when it is back.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Algorithm, Body, Case, Channels, Expectation, Expected, FailureModel, KindNumber, Message,
    OperationId, Phase, Process, ProcessId, ProtocolError, Setup, Step, Synchrony, Topology,
};

const TOKEN: KindNumber = KindNumber(1);

const CITATION: &str = "Tanenbaum & van Steen, Distributed Systems: the token visits each process \
                        once a circulation";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "ring",
    about: "a token circulates: each process hands it to the next",
    citation: "Tanenbaum & van Steen, Distributed Systems (token ring)",
    topology: Topology::Ring,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "process 0 starts each circulation, the next one when the token is back",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[],
    formula: "N",
    per_operation: |n, _| Expected::exactly(n.into()),
    operations: |_, rounds, _| rounds.into(),
    expected,
    identities: &[],
    properties: &[],
    points: &[],
    process: |setup| Ok(Box::new(Station::new(setup))),
};

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let count = case.each(case.n.into());
    vec![Expectation {
        kind: "token",
        count,
        formula: "N",
        citation: CITATION,
    }]
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    /// The circulation, from 1.
    round: u32,
    /// How often it was handed on in this circulation.
    hops: u32,
}

#[derive(Debug, Clone, Hash)]
struct Station {
    id: ProcessId,
    n: u32,
    rounds: u32,
    quiescing: bool,
}

impl Station {
    fn new(setup: &Setup<'_>) -> Self {
        Self {
            id: setup.id,
            n: setup.n,
            rounds: setup.rounds,
            quiescing: false,
        }
    }

    fn circulate(&self, round: u32, step: &mut Step<'_>) {
        let operation = OperationId::new(self.id, round, self.n);
        step.report(Phase::Invoke, operation, json!({ "round": round }));
        self.hand_on(Token { round, hops: 0 }, operation, step);
    }

    fn hand_on(&self, token: Token, operation: OperationId, step: &mut Step<'_>) {
        let next = ProcessId((self.id.0 + 1) % self.n);
        let token = Token {
            hops: token.hops + 1,
            ..token
        };
        step.send(next, TOKEN, operation, Body::encode(&token));
    }
}

impl Process for Station {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id.0 == 0 {
            self.circulate(1, step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.kind != TOKEN {
            return Err(message.unexpected());
        }
        let token: Token = message.read()?;
        let due = if self.id.0 == 0 { self.n } else { self.id.0 };
        if token.hops != due {
            let what = format!("the token came after {} hops, not {due}", token.hops);
            return Err(ProtocolError::Violation {
                from: message.from,
                what,
            });
        }
        if self.id.0 != 0 {
            self.hand_on(token, message.operation, step);
            return Ok(());
        }
        step.report(
            Phase::Ok,
            message.operation,
            json!({ "round": token.round }),
        );
        if token.round < self.rounds && !self.quiescing {
            self.circulate(token.round + 1, step);
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
    use crate::algorithm::testing::World;
    use crate::units::Messages;

    #[test]
    fn a_circulation_takes_n_messages_in_the_order_of_ids() {
        for n in 2..=10 {
            for rounds in [1, 3] {
                let world = World::run(&ALGORITHM, n, rounds, &[], 7);
                assert_eq!(world.sent("token"), u64::from(n * rounds));
                world.assert_formula();
                let receivers: Vec<u32> = world.messages.iter().map(|m| m.to.0).collect();
                let around: Vec<u32> = (0..n * rounds).map(|hop| (hop + 1) % n).collect();
                assert_eq!(receivers, around);
            }
        }
    }

    #[test]
    fn an_unfinished_circulation_is_an_interval() {
        let world = World::run(&ALGORITHM, 4, 2, &[], 1);
        let cut = &world.events[..3];
        let options = Default::default();
        let case = Case {
            n: 4,
            rounds: 2,
            options: &options,
            events: cut,
            died: &[],
        };
        let row = &expected(&case)[0];
        assert_eq!(
            (row.count.low(), row.count.high()),
            (Messages::new(4), Messages::new(8))
        );
    }

    #[test]
    fn a_token_out_of_order_is_a_violation() {
        let options = Default::default();
        let setup = Setup {
            id: ProcessId(2),
            n: 4,
            rounds: 1,
            options: &options,
        };
        let mut station = Station::new(&setup);
        let message = Message {
            from: ProcessId(0),
            kind: TOKEN,
            operation: OperationId(1),
            body: Body::encode(&Token { round: 1, hops: 1 }),
        };
        let mut choose = |_| 0;
        let mut step = Step::new(&mut choose);
        assert!(matches!(
            station.receive(&message, &mut step),
            Err(ProtocolError::Violation { .. })
        ));
        assert!(step.into_actions().is_empty());
    }
}
