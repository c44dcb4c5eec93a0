//! Ring: a token goes around, each process handing it to the next (the token ring of Tanenbaum &
//! van Steen, *Distributed Systems*, section on mutual exclusion). Process 0 makes the token and
//! begins the next circulation when it is back.
//!
//! A token that is lost ends everything, unless process 0 makes a new one after a while (option
//! `regenerate`). The new token is of a later generation, so that an old one that was only late is
//! taken out by whoever has seen the new one, at the latest by process 0. Until then there are two:
//! the time has to be longer than a circulation takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    KindNumber, Message, OperationId, OptionSpec, OutsideFormula, Phase, Point, Process, ProcessId,
    Property, PropertyKind, ProtocolError, Setup, SetupError, Step, Synchrony, TimerId, Topology,
};

const TOKEN: KindNumber = KindNumber(1);

/// Who makes tokens and begins circulations.
const MAKER: ProcessId = ProcessId(0);

/// Runs out when the token is given up for lost.
const LOST: TimerId = TimerId(1);

/// The note that a token was given up for lost and another one made.
const REGENERATED: &str = "regenerated";

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
    options: &[OptionSpec {
        name: "regenerate",
        about: "after this time without the token, process 0 makes a new one",
        default: "never",
    }],
    formula: "N",
    per_operation: |n, _| Expected::exactly(n.into()),
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula::NOTHING,
    identities: &[],
    properties: &[
        Property {
            name: "one circulation at a time",
            kind: PropertyKind::Safety,
            about: "a circulation begins when the one before has ended, and ends once",
            premise: ALWAYS,
            check: one_at_a_time,
        },
        Property {
            name: "the token returns",
            kind: PropertyKind::Liveness,
            about: "every circulation ends",
            premise: ALWAYS,
            check: token_returns,
        },
    ],
    points: &[Point {
        name: "has-token",
        role: "holder",
        about: "it has the token and has not handed it on",
    }],
    process: |setup| Ok(Box::new(Station::new(setup)?)),
};

fn one_at_a_time(execution: &Execution<'_>) -> Result<(), String> {
    let mut open = None;
    for outcome in execution.events.iter().map(|event| &event.outcome) {
        let operation = outcome.operation.0;
        match (outcome.phase, open) {
            (Phase::Note, _) => {}
            (Phase::Invoke, None) => open = Some(operation),
            (Phase::Invoke, Some(before)) => {
                return Err(format!("{operation} began before {before} had ended"));
            }
            (_, Some(begun)) if begun == operation => open = None,
            _ => return Err(format!("{operation} ended and had not begun")),
        }
    }
    Ok(())
}

fn token_returns(execution: &Execution<'_>) -> Result<(), String> {
    let rounds = execution.rounds;
    match u64::from(rounds).saturating_sub(execution.ended(Phase::ends)) {
        0 => Ok(()),
        open => Err(format!("{open} of {rounds} circulations did not end")),
    }
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let n = u64::from(case.n);
    // Each token that was lost, or was late and taken out, had gone some way, unless it came back to
    // process 0 and died with it: then the new one has nothing left to go.
    let least = u64::from(case.died.is_empty());
    let lost = Expected::between(least, n) * case.notes(REGENERATED).count() as u64;
    let count = case.each(n) + lost;
    vec![Expectation {
        kind: "token",
        count,
        formula: "N, and up to N for each token that was lost",
        citation: CITATION,
    }]
}

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    /// The circulation, from 1.
    round: u32,
    /// How often it was handed on in this circulation.
    hops: u32,
    /// How many tokens of this circulation were given up for lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    generation: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What process 0 must remember across a crash, where lost tokens are made anew.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    round: u32,
    generation: u32,
    ended: bool,
}

#[derive(Debug, Clone, Hash)]
struct Station {
    id: ProcessId,
    n: u32,
    rounds: u32,
    /// After how long without the token process 0 makes a new one.
    patience: Option<Duration>,
    /// The latest token that was seen: its circulation and generation.
    latest: (u32, u32),
    quiescing: bool,
}

impl Station {
    fn new(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let given = setup.options.get("regenerate").is_some();
        let patience = setup.options.duration("regenerate", Duration::ZERO)?;
        Ok(Self {
            id: setup.id,
            n: setup.n,
            rounds: setup.rounds,
            patience: given.then_some(patience),
            latest: (0, 0),
            quiescing: false,
        })
    }

    fn operation(&self, round: u32) -> OperationId {
        OperationId::new(MAKER, round, self.n)
    }

    fn circulate(&mut self, round: u32, step: &mut Step<'_>) {
        let operation = self.operation(round);
        self.latest = (round, 0);
        self.remember(false, step);
        step.report(Phase::Invoke, operation, json!({ "round": round }));
        self.make_token(step);
    }

    /// Sends a token of the latest circulation and generation on its way.
    fn make_token(&self, step: &mut Step<'_>) {
        let (round, generation) = self.latest;
        let token = Token {
            round,
            hops: 0,
            generation,
        };
        self.hand_on(token, self.operation(round), step);
        if let Some(patience) = self.patience {
            step.set_timer(LOST, patience);
        }
    }

    fn regenerate(&mut self, step: &mut Step<'_>) {
        self.latest.1 += 1;
        self.remember(false, step);
        let (round, generation) = self.latest;
        let value = json!({ "round": round, "generation": generation });
        step.note(REGENERATED, self.operation(round), value);
        self.make_token(step);
    }

    fn remember(&self, ended: bool, step: &mut Step<'_>) {
        if self.patience.is_some() {
            let (round, generation) = self.latest;
            let record = Record {
                round,
                generation,
                ended,
            };
            step.persist(Body::encode(&record).as_bytes().to_vec());
        }
    }

    fn hand_on(&self, token: Token, operation: OperationId, step: &mut Step<'_>) {
        let next = ProcessId((self.id.0 + 1) % self.n);
        let token = Token {
            hops: token.hops + 1,
            ..token
        };
        step.point("has-token");
        step.send(next, TOKEN, operation, Body::encode(&token));
    }
}

impl Process for Station {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id == MAKER {
            self.circulate(1, step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.kind != TOKEN {
            return Err(message.unexpected());
        }
        let token: Token = message.read()?;
        let due = if self.id == MAKER { self.n } else { self.id.0 };
        if token.hops != due {
            let what = format!("the token came after {} hops, not {due}", token.hops);
            return Err(ProtocolError::Violation {
                from: message.from,
                what,
            });
        }
        let this = (token.round, token.generation);
        if self.id != MAKER {
            // Late: another one has been made since.
            if this >= self.latest {
                self.latest = this;
                self.hand_on(token, message.operation, step);
            }
            return Ok(());
        }
        if this != self.latest {
            return Ok(());
        }
        step.cancel_timer(LOST);
        self.remember(true, step);
        step.report(
            Phase::Ok,
            message.operation,
            json!({ "round": token.round }),
        );
        // Taken: whoever comes with the same one again is late.
        self.latest.1 = u32::MAX;
        if token.round < self.rounds && !self.quiescing {
            self.circulate(token.round + 1, step);
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        self.regenerate(step);
    }

    /// Process 0 cannot know what has become of the token, and makes a new one. The others know
    /// nothing that they would need.
    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        if self.id != MAKER {
            return;
        }
        match Body::from_bytes(bytes.to_vec()).decode() {
            Ok(Record {
                round, ended: true, ..
            }) if round < self.rounds => self.circulate(round + 1, step),
            Ok(Record { ended: true, .. }) => {}
            Ok(Record {
                round, generation, ..
            }) => {
                self.latest = (round, generation);
                self.regenerate(step);
            }
            Err(_) => self.circulate(1, step),
        }
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Action, Options};
    use crate::simulation::{self, Scenario};
    use crate::units::Messages;

    #[test]
    fn a_circulation_takes_n_messages_in_the_order_of_ids() {
        for n in 2..=10 {
            for rounds in [1, 3] {
                let run = simulation::run(&ALGORITHM, &Scenario::new(n, rounds, 7)).unwrap();
                assert_eq!(run.attempted("token"), u64::from(n * rounds));
                run.assert_formula();
                run.assert_per_operation();
                let receivers: Vec<u32> = run.messages_log.iter().map(|m| m.to.0).collect();
                let around: Vec<u32> = (0..n * rounds).map(|hop| (hop + 1) % n).collect();
                assert_eq!(receivers, around);
            }
        }
    }

    #[test]
    fn an_unfinished_circulation_is_an_interval() {
        let run = simulation::run(&ALGORITHM, &Scenario::new(4, 2, 1)).unwrap();
        let cut = &run.events[..3];
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
        let mut station = Station::new(&setup).unwrap();
        let message = Message {
            from: ProcessId(0),
            kind: TOKEN,
            operation: OperationId(1),
            body: Body::encode(&Token {
                round: 1,
                hops: 1,
                generation: 0,
            }),
        };
        let mut choose = |_| 0;
        let mut step = Step::new(&mut choose);
        assert!(matches!(
            station.receive(&message, &mut step),
            Err(ProtocolError::Violation { .. })
        ));
        assert!(step.into_actions().is_empty());
    }

    fn station(id: u32, regenerate: Option<&str>) -> Station {
        let regenerate = regenerate.map(|time| ("regenerate".to_owned(), time.to_owned()));
        let options = Options(regenerate.into_iter().collect());
        let setup = Setup {
            id: ProcessId(id),
            n: 3,
            rounds: 1,
            options: &options,
        };
        Station::new(&setup).unwrap()
    }

    fn actions(step: impl FnOnce(&mut Step<'_>)) -> Vec<Action> {
        let mut choose = |_| 0;
        let mut given = Step::new(&mut choose);
        step(&mut given);
        given.into_actions()
    }

    fn token_from(actions: &[Action], from: u32) -> Option<Message> {
        actions.iter().find_map(|action| match action {
            Action::Send {
                kind,
                operation,
                body,
                ..
            } => Some(Message {
                from: ProcessId(from),
                kind: *kind,
                operation: *operation,
                body: body.clone(),
            }),
            _ => None,
        })
    }

    #[test]
    fn a_lost_token_is_made_anew_and_a_late_one_taken_out() {
        let (mut maker, mut first) = (station(0, Some("1s")), station(1, Some("1s")));
        let late = token_from(&actions(|step| maker.start(step)), 0).unwrap();
        let again = token_from(&actions(|step| maker.timer(LOST, step)), 0).unwrap();
        let handed_on = actions(|step| first.receive(&again, step).unwrap());
        assert!(token_from(&handed_on, 1).is_some());
        let taken_out = actions(|step| first.receive(&late, step).unwrap());
        assert_eq!(token_from(&taken_out, 1), None);
        // And process 0 takes only the latest, and that once.
        let mut second = station(2, Some("1s"));
        let back = token_from(&handed_on, 1).unwrap();
        let back = token_from(&actions(|step| second.receive(&back, step).unwrap()), 2).unwrap();
        let ends = |actions: Vec<Action>| {
            let ends = |a: &&Action| matches!(a, Action::Report(o) if o.phase.ends());
            actions.iter().filter(ends).count()
        };
        assert_eq!(ends(actions(|step| maker.receive(&back, step).unwrap())), 1);
        assert_eq!(ends(actions(|step| maker.receive(&back, step).unwrap())), 0);
    }

    #[test]
    fn without_the_option_no_timer_is_set_and_a_body_is_as_it_ever_was() {
        let begun = actions(|step| station(0, None).start(step));
        assert!(
            !begun
                .iter()
                .any(|a| matches!(a, Action::SetTimer { .. } | Action::Persist(_)))
        );
        let token = token_from(&begun, 0).unwrap();
        // {"round": 1, "hops": 1} in CBOR.
        assert_eq!(token.body.as_bytes(), b"\xa2eround\x01dhops\x01");
    }

    #[test]
    fn process_0_makes_a_new_token_after_its_own_crash() {
        let mut maker = station(0, Some("1s"));
        let begun = actions(|step| maker.start(step));
        let persisted = begun.iter().find_map(|action| match action {
            Action::Persist(bytes) => Some(bytes.clone()),
            _ => None,
        });
        let mut back = station(0, Some("1s"));
        let recovered = actions(|step| back.recover(&persisted.unwrap(), step));
        let token: Token = token_from(&recovered, 0).unwrap().read().unwrap();
        assert_eq!((token.round, token.generation, token.hops), (1, 1, 1));
    }

    #[test]
    fn tokens_that_were_lost_are_in_the_formula() {
        for seed in 0..20 {
            let mut scenario = Scenario::new(4, 3, seed).option("regenerate", "1s");
            scenario.network.loss_per_mille = 100;
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            let ended = run.events.iter().filter(|e| e.outcome.phase.ends()).count();
            assert_eq!(ended, 3, "seed {seed}");
            run.safety()
                .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            run.assert_formula();
        }
    }
}
