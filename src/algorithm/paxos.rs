//! Paxos: processes agree on one value although any minority of them may be down and messages may
//! be late (Lamport, *Paxos Made Simple*, 2001). Each instance decides one value; instances follow
//! one another.
//!
//! A proposer numbers its attempt with a *ballot* that nobody else uses. Phase 1: it asks the
//! acceptors to promise that they will accept nothing with a lower ballot, and each that promises
//! tells what it has accepted last. Phase 2: with promises from a majority it asks them to accept
//! the value of the highest ballot that it has heard of, its own value only if there is none. A
//! value that a majority has accepted in one ballot is chosen. Any two majorities have a process in
//! common, so every later ballot hears of it and proposes it again: whatever happens, no two values
//! are chosen. That rests on memory: an acceptor writes promises and acceptances to stable storage
//! before it answers, and one that forgets them makes a majority that remembers nothing.
//!
//! Proposers that outbid each other could go on for ever, so one whose ballot is rejected waits for
//! a random time that grows. Every process has all three roles: acceptor, learner, and the first
//! few are proposers. All acceptors are asked, not only a majority, and messages to oneself are not
//! counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    Identity, KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Point,
    Process, ProcessId, Property, PropertyKind, ProtocolError, Relation, Setup, SetupError, Step,
    Synchrony, TimerId, Topology,
};

const PREPARE: KindNumber = KindNumber(1);
const PROMISE: KindNumber = KindNumber(2);
const ACCEPT: KindNumber = KindNumber(3);
const ACCEPTED: KindNumber = KindNumber(4);
const LEARN: KindNumber = KindNumber(5);
const REJECT: KindNumber = KindNumber(6);

/// Whose operations the instances are; a proposer always.
const CLIENT: ProcessId = ProcessId(0);

const NEXT_BALLOT: TimerId = TimerId(1);

const CITATION: &str = "Lamport, Paxos Made Simple, 2001";
const REJECT_CITATION: &str = "Paxos Made Simple, 2.5: tell a proposer that its ballot is too low";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "paxos",
    about: "a majority agrees on one value an instance, whoever of the others is down",
    citation: "Lamport, Paxos Made Simple, ACM SIGACT News 32(4), 2001",
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::TimeoutsForProgress,
    failures: FailureModel::CrashRecovery,
    workload: "process 0 proposes in one instance after the other, and so do other proposers, when \
               they have learned the instance before",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: "learn",
            about: "how a decision gets around: proposer (accepted goes to the proposer, who sends \
                    learn), none (nobody else learns), or broadcast (accepted goes to everybody)",
            default: "proposer",
        },
        OptionSpec {
            name: "proposers",
            about: "how many processes propose in each instance, at once",
            default: "1",
        },
        OptionSpec {
            name: "timeout",
            about: "how long a proposer waits for a majority before its next ballot",
            default: "1s",
        },
    ],
    formula: "5(N-1) without contention",
    per_operation: |n, options| {
        let others = u64::from(n - 1);
        Expected::exactly(match Learn::read(options) {
            Ok(Learn::None) => 4 * others,
            // prepare, promise, accept, and accepted from all N to everybody else.
            Ok(Learn::Broadcast) => others * (u64::from(n) + 3),
            _ => 5 * others,
        })
    },
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &[],
        losses: &["promise", "accepted"],
    },
    identities: &[
        Identity {
            text: "promise <= prepare",
            terms: &[(1, "promise"), (-1, "prepare")],
            relation: Relation::AtMostZero,
        },
        Identity {
            text: "promise + reject <= prepare + accept",
            terms: &[
                (1, "promise"),
                (1, "reject"),
                (-1, "prepare"),
                (-1, "accept"),
            ],
            relation: Relation::AtMostZero,
        },
    ],
    properties: &[
        Property {
            name: "agreement",
            kind: PropertyKind::Safety,
            about: "no two processes decide differently in an instance, nor one process twice",
            premise: ALWAYS,
            check: agreement,
        },
        Property {
            name: "validity",
            kind: PropertyKind::Safety,
            about: "what is decided was proposed",
            premise: ALWAYS,
            check: validity,
        },
        Property {
            name: "termination",
            kind: PropertyKind::Liveness,
            about: "while process 0 and a majority live, every instance is decided",
            premise: client_and_majority_live,
            check: termination,
        },
    ],
    points: &[
        Point {
            name: "after-ballot",
            role: "proposer",
            about: "its new ballot is written and nobody has been asked",
        },
        Point {
            name: "after-promises",
            role: "proposer",
            about: "a majority has promised and nobody has been asked to accept",
        },
        Point {
            name: "after-first-accept",
            role: "proposer",
            about: "one acceptor has been asked to accept",
        },
        Point {
            name: "after-chosen",
            role: "proposer",
            about: "its value is chosen and nobody else knows",
        },
        Point {
            name: "after-promise",
            role: "acceptor",
            about: "its promise is written and not sent",
        },
        Point {
            name: "after-accept",
            role: "acceptor",
            about: "it has written what it accepts and told nobody",
        },
    ],
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    Ok(Box::new(Peer {
        id: setup.id,
        n: setup.n,
        rounds: setup.rounds,
        proposers: proposers(setup.options, setup.n)?,
        learn: Learn::read(setup.options)?,
        timeout: setup.options.duration("timeout", Duration::from_secs(1))?,
        durable: Durable::default(),
        attempt: Attempt::Idle,
        failed: 0,
        accepted: BTreeMap::new(),
        decided: BTreeMap::new(),
        quiescing: false,
    }))
}

fn proposers(options: &Options, n: u32) -> Result<u32, SetupError> {
    let proposers = options.number("proposers", 1)?;
    if (1..=n).contains(&proposers) {
        return Ok(proposers);
    }
    Err(SetupError::BadOption {
        option: "proposers",
        value: proposers.to_string(),
        expected: "a number from 1 to N",
    })
}

/// Who hears that a value was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Learn {
    /// The proposer, who tells the learners.
    Proposer,
    /// The proposer alone.
    None,
    /// Every learner.
    Broadcast,
}

impl Learn {
    fn read(options: &Options) -> Result<Self, SetupError> {
        match options.get("learn") {
            None | Some("proposer") => Ok(Self::Proposer),
            Some("none") => Ok(Self::None),
            Some("broadcast") => Ok(Self::Broadcast),
            Some(value) => Err(SetupError::BadOption {
                option: "learn",
                value: value.to_owned(),
                expected: "proposer, none or broadcast",
            }),
        }
    }
}

fn agreement(execution: &Execution<'_>) -> Result<(), String> {
    let mut first: BTreeMap<OperationId, (ProcessId, u64)> = BTreeMap::new();
    for event in execution.notes("decided") {
        let operation = event.outcome.operation;
        let value = event.field("value").ok_or("a decision without its value")?;
        let &mut (process, before) = first.entry(operation).or_insert((event.node, value));
        if before != value {
            return Err(format!(
                "operation {}: process {process} decided {before} and process {} {value}",
                operation.0, event.node
            ));
        }
    }
    Ok(())
}

fn validity(execution: &Execution<'_>) -> Result<(), String> {
    let value = |event: &super::Event| (event.outcome.operation, event.field::<u64>("value"));
    let proposed: BTreeSet<_> = execution.notes("proposed").map(value).collect();
    let mut decided = execution.notes("decided").map(value);
    match decided.find(|decided| !proposed.contains(decided)) {
        Some((operation, value)) => Err(format!(
            "operation {}: {value:?} was decided and never proposed",
            operation.0
        )),
        None => Ok(()),
    }
}

fn client_and_majority_live(execution: &Execution<'_>) -> Result<(), &'static str> {
    if execution.is_crashed(CLIENT) {
        Err("process 0 is dead")
    } else if !execution.has_majority() {
        Err("no majority lives")
    } else {
        Ok(())
    }
}

fn termination(execution: &Execution<'_>) -> Result<(), String> {
    let decided: BTreeSet<_> = execution
        .notes("decided")
        .filter(|event| event.node == CLIENT)
        .map(|event| event.outcome.operation)
        .collect();
    let mut all = execution.operations_of(CLIENT);
    match all.find(|operation| !decided.contains(operation)) {
        Some(operation) => Err(format!("operation {} is open", operation.0)),
        None => Ok(()),
    }
}

/// What proposers noted of an instance.
#[derive(Debug, Default)]
struct Noted {
    ballots: u64,
    /// Ballots that came to phase 2.
    second_phases: u64,
    /// Ballots that their proposer knew to be chosen.
    chosen: u64,
    ended: bool,
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let (n, others) = (u64::from(case.n), u64::from(case.n.saturating_sub(1)));
    let learn = Learn::read(case.options).unwrap_or(Learn::Proposer);
    // Each time that a proposer was down it may have left its last requests half sent.
    let restarted = case.notes("recovered").map(|event| event.node);
    let cut_short = restarted.chain(case.died.iter().copied()).count() as u64;
    let mut instances: BTreeMap<OperationId, Noted> = BTreeMap::new();
    for event in case.events {
        let noted = instances.entry(event.outcome.operation).or_default();
        match event.note() {
            Some("ballot") => noted.ballots += 1,
            Some("accepting") => noted.second_phases += 1,
            Some("chosen") => noted.chosen += 1,
            _ => noted.ended |= event.outcome.phase.ends(),
        }
    }
    let sum = |of: fn(&Noted) -> u64| instances.values().map(of).sum::<u64>();
    let requests = |rounds: u64| {
        let least = rounds.saturating_sub(cut_short) * others;
        Expected::between(least, rounds * others)
    };
    let prepare = requests(sum(|noted| noted.ballots));
    let accept = requests(sum(|noted| noted.second_phases));
    let learned = match learn {
        Learn::Proposer => requests(sum(|noted| noted.chosen)),
        _ => Expected::exactly(0),
    };
    // An acceptance is told to the proposer by the others, or by all to everybody else.
    let each_accepts = match learn {
        Learn::Broadcast => n * others,
        _ => others,
    };
    let mut replies = [Expected::exactly(0); 3];
    let [promise, accepted, reject] = &mut replies;
    let add = |row: &mut Expected, low: u64, high: u64| *row = *row + Expected::between(low, high);
    for noted in instances.values() {
        let (ballots, seconds, chosen) = (noted.ballots, noted.second_phases, noted.chosen);
        // One ballot that nobody outbid, and nobody down: everybody answers.
        let alone = ballots == 1 && seconds == 1 && noted.ended && cut_short == 0;
        if alone {
            add(promise, others, others);
            add(accepted, each_accepts, each_accepts);
        } else {
            // A ballot came to phase 2 with promises from a majority, its own process's among
            // them at most, and was chosen with acceptances from one.
            let majority = n / 2;
            let (promises, acceptances) = (seconds * majority, chosen * majority);
            let requests = (ballots + seconds) * others;
            add(promise, promises, ballots * others);
            add(accepted, acceptances, seconds * each_accepts);
            add(reject, 0, requests - promises - acceptances);
        }
    }
    let [promise, accepted, reject] = replies;
    let row = Expectation::new;
    vec![
        row("prepare", prepare, "N-1 a ballot", CITATION),
        row(
            "promise",
            promise,
            "N-1 for a ballot that nobody outbids",
            CITATION,
        ),
        row(
            "accept",
            accept,
            "N-1 a ballot with promises of a majority",
            CITATION,
        ),
        row(
            "accepted",
            accepted,
            match learn {
                Learn::Broadcast => "N(N-1) for a ballot that nobody outbids",
                _ => "N-1 for a ballot that nobody outbids",
            },
            CITATION,
        ),
        row(
            "learn",
            learned,
            match learn {
                Learn::Proposer => "N-1 from each proposer whose value is chosen",
                _ => "0",
            },
            CITATION,
        ),
        row(
            "reject",
            reject,
            "0 without contention; one for each request of a ballot that was outbid",
            REJECT_CITATION,
        ),
    ]
}

/// A proposer's attempt. Nobody else uses its number: the proposer's id is part of it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
struct Ballot {
    /// From 1; 0 is below every ballot.
    counter: u32,
    proposer: ProcessId,
}

/// A value: unique to its proposer and instance.
type Value = u64;

#[derive(Debug, Clone, Copy, Default, Hash, Serialize, Deserialize)]
struct Acceptor {
    /// It accepts nothing below this.
    promised: Ballot,
    /// What it accepted last, and in which ballot.
    accepted: Option<(Ballot, Value)>,
}

/// What a process must remember across a crash.
#[derive(Debug, Clone, Default, Hash, Serialize, Deserialize)]
struct Durable {
    /// As an acceptor, by instance.
    acceptors: BTreeMap<u32, Acceptor>,
    /// As a proposer: the counter of the highest ballot that it used or heard of.
    counter: u32,
    /// As a proposer: how many instances are behind it.
    finished: u32,
    /// As a proposer: the instance that it has begun last.
    begun: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Attempt {
    Idle,
    Preparing {
        ballot: Ballot,
        promises: BTreeSet<ProcessId>,
        /// The highest ballot's among those that promises told of.
        accepted: Option<(Ballot, Value)>,
    },
    Accepting {
        ballot: Ballot,
    },
    /// It was outbid and waits.
    BackingOff,
}

#[derive(Debug, Serialize, Deserialize)]
struct Promise {
    ballot: Ballot,
    accepted: Option<(Ballot, Value)>,
}

/// The body of accept and accepted.
#[derive(Debug, Serialize, Deserialize)]
struct Proposal {
    ballot: Ballot,
    value: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reject {
    ballot: Ballot,
    /// What was promised to another.
    promised: Ballot,
}

#[derive(Debug, Clone, Hash)]
struct Peer {
    id: ProcessId,
    n: u32,
    rounds: u32,
    proposers: u32,
    learn: Learn,
    timeout: Duration,
    durable: Durable,
    attempt: Attempt,
    /// Ballots of this instance that came to nothing.
    failed: u32,
    /// As a learner: who has accepted what, by instance and ballot.
    accepted: BTreeMap<(u32, Ballot), BTreeSet<ProcessId>>,
    decided: BTreeMap<u32, Value>,
    quiescing: bool,
}

impl Peer {
    fn operation(&self, instance: u32) -> OperationId {
        OperationId::new(CLIENT, instance, self.n)
    }

    fn is_majority(&self, processes: &BTreeSet<ProcessId>) -> bool {
        processes.len() > self.n as usize / 2
    }

    fn others(&self) -> impl Iterator<Item = ProcessId> + use<> {
        let me = self.id;
        (0..self.n).map(ProcessId).filter(move |id| *id != me)
    }

    /// To all acceptors or learners, oneself last.
    fn send_all(&self, kind: KindNumber, instance: u32, body: &Body, step: &mut Step<'_>) {
        for to in self.others().chain([self.id]) {
            step.send(to, kind, self.operation(instance), body.clone());
        }
    }

    fn remember(&self, step: &mut Step<'_>) {
        step.persist(Body::encode(&self.durable).as_bytes().to_vec());
    }

    // The proposer's part.

    fn is_proposer(&self) -> bool {
        self.id.0 < self.proposers
    }

    /// The instance that this proposer is in.
    fn instance(&self) -> u32 {
        self.durable.finished + 1
    }

    /// What this process proposes.
    fn own_value(&self, instance: u32) -> Value {
        OperationId::new(self.id, instance, self.n).0
    }

    fn begin(&mut self, step: &mut Step<'_>) {
        let instance = self.instance();
        if instance > self.rounds || self.quiescing {
            return;
        }
        let operation = self.operation(instance);
        if self.id == CLIENT {
            step.report(Phase::Invoke, operation, json!({ "instance": instance }));
        }
        if let Some(&value) = self.decided.get(&instance) {
            // Others were faster.
            return self.finish(value, step);
        }
        let value = self.own_value(instance);
        step.note("proposed", operation, json!({ "value": value }));
        self.failed = 0;
        self.durable.begun = instance;
        self.next_ballot(step);
    }

    /// Phase 1 (a). The counter is written first: no ballot is used twice.
    fn next_ballot(&mut self, step: &mut Step<'_>) {
        self.durable.counter += 1;
        let ballot = Ballot {
            counter: self.durable.counter,
            proposer: self.id,
        };
        let instance = self.instance();
        self.attempt = Attempt::Preparing {
            ballot,
            promises: BTreeSet::new(),
            accepted: None,
        };
        self.remember(step);
        step.point("after-ballot");
        step.note(
            "ballot",
            self.operation(instance),
            json!({ "counter": ballot.counter }),
        );
        self.send_all(PREPARE, instance, &Body::encode(&ballot), step);
        step.set_timer(NEXT_BALLOT, self.timeout);
    }

    /// Phase 2 (a), when a majority has promised.
    fn promised(&mut self, from: ProcessId, instance: u32, promise: &Promise, step: &mut Step<'_>) {
        let current = self.instance();
        let Attempt::Preparing {
            ballot,
            promises,
            accepted,
        } = &mut self.attempt
        else {
            return;
        };
        if instance != current || promise.ballot != *ballot {
            return;
        }
        let ballot = *ballot;
        promises.insert(from);
        *accepted = (*accepted).max(promise.accepted);
        let (promises, accepted) = (promises.clone(), *accepted);
        if !self.is_majority(&promises) {
            return;
        }
        let value = accepted.map_or(self.own_value(instance), |(_, value)| value);
        self.attempt = Attempt::Accepting { ballot };
        step.point("after-promises");
        let operation = self.operation(instance);
        let note = json!({ "counter": ballot.counter, "value": value });
        step.note("accepting", operation, note);
        let body = Body::encode(&Proposal { ballot, value });
        for (nth, to) in self.others().chain([self.id]).enumerate() {
            step.send(to, ACCEPT, operation, body.clone());
            if nth == 0 {
                step.point("after-first-accept");
            }
        }
    }

    /// Another has a higher ballot: waits for a random time, which doubles from ballot to ballot.
    fn rejected(&mut self, instance: u32, reject: &Reject, step: &mut Step<'_>) {
        self.durable.counter = self.durable.counter.max(reject.promised.counter);
        let outbid = match &self.attempt {
            Attempt::Preparing { ballot, .. } | Attempt::Accepting { ballot } => {
                *ballot == reject.ballot
            }
            Attempt::Idle | Attempt::BackingOff => false,
        };
        if !outbid || instance != self.instance() {
            return;
        }
        self.attempt = Attempt::BackingOff;
        self.failed += 1;
        let slots = 4 << self.failed.min(6);
        let pause = 1 + step.choose(slots);
        step.set_timer(NEXT_BALLOT, Duration::from_millis(pause.into()));
    }

    fn finish(&mut self, value: Value, step: &mut Step<'_>) {
        let instance = self.instance();
        self.attempt = Attempt::Idle;
        step.cancel_timer(NEXT_BALLOT);
        self.durable.finished = instance;
        self.remember(step);
        if self.id == CLIENT {
            let operation = self.operation(instance);
            step.report(Phase::Ok, operation, json!({ "value": value }));
        }
        self.begin(step);
    }

    // The acceptor's part.

    /// Phase 1 (b).
    fn asked_to_promise(
        &mut self,
        from: ProcessId,
        instance: u32,
        ballot: Ballot,
        step: &mut Step<'_>,
    ) {
        let acceptor = self.durable.acceptors.entry(instance).or_default();
        if ballot < acceptor.promised {
            let promised = acceptor.promised;
            return self.reject(from, instance, Reject { ballot, promised }, step);
        }
        acceptor.promised = ballot;
        let accepted = acceptor.accepted;
        self.remember(step);
        step.point("after-promise");
        let body = Body::encode(&Promise { ballot, accepted });
        step.send(from, PROMISE, self.operation(instance), body);
    }

    /// Phase 2 (b).
    fn asked_to_accept(
        &mut self,
        from: ProcessId,
        instance: u32,
        proposal: &Proposal,
        step: &mut Step<'_>,
    ) {
        let &Proposal { ballot, value } = proposal;
        let acceptor = self.durable.acceptors.entry(instance).or_default();
        if ballot < acceptor.promised {
            let promised = acceptor.promised;
            return self.reject(from, instance, Reject { ballot, promised }, step);
        }
        acceptor.promised = ballot;
        acceptor.accepted = Some((ballot, value));
        self.remember(step);
        step.point("after-accept");
        let body = Body::encode(proposal);
        match self.learn {
            Learn::Broadcast => self.send_all(ACCEPTED, instance, &body, step),
            _ => step.send(from, ACCEPTED, self.operation(instance), body),
        }
    }

    fn reject(&self, to: ProcessId, instance: u32, reject: Reject, step: &mut Step<'_>) {
        step.send(to, REJECT, self.operation(instance), Body::encode(&reject));
    }

    // The learner's part.

    fn heard_accepted(
        &mut self,
        from: ProcessId,
        instance: u32,
        proposal: &Proposal,
        step: &mut Step<'_>,
    ) {
        if self.decided.contains_key(&instance) {
            return;
        }
        let &Proposal { ballot, value } = proposal;
        let acceptors = self.accepted.entry((instance, ballot)).or_default();
        acceptors.insert(from);
        let acceptors = acceptors.clone();
        if !self.is_majority(&acceptors) {
            return;
        }
        if self.learn == Learn::Proposer {
            step.point("after-chosen");
            let operation = self.operation(instance);
            step.note("chosen", operation, json!({ "value": value }));
            for to in self.others() {
                step.send(to, LEARN, operation, Body::encode(&value));
            }
        }
        self.learned(instance, value, step);
    }

    fn learned(&mut self, instance: u32, value: Value, step: &mut Step<'_>) {
        if let Some(before) = self.decided.insert(instance, value)
            && before == value
        {
            return;
        }
        self.accepted.retain(|(of, _), _| *of != instance);
        let decided = json!({ "value": value });
        step.note("decided", self.operation(instance), decided);
        if self.is_proposer() && instance == self.instance() && self.durable.begun == instance {
            self.finish(value, step);
        }
    }
}

impl Process for Peer {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.is_proposer() {
            self.begin(step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let (from, instance) = (message.from, message.operation.round(self.n));
        match message.kind {
            PREPARE => self.asked_to_promise(from, instance, message.read()?, step),
            PROMISE => self.promised(from, instance, &message.read()?, step),
            ACCEPT => self.asked_to_accept(from, instance, &message.read()?, step),
            ACCEPTED => self.heard_accepted(from, instance, &message.read()?, step),
            LEARN => self.learned(instance, message.read()?, step),
            REJECT => self.rejected(instance, &message.read()?, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        if self.attempt != Attempt::Idle {
            self.failed += 1;
            self.next_ballot(step);
        }
    }

    /// Goes on with the instance that it was in, with a ballot that it has never used.
    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        self.durable = Body::from_bytes(bytes.to_vec())
            .decode()
            .unwrap_or_default();
        let instance = self.instance();
        step.note("recovered", OperationId::NONE, json!({}));
        if !self.is_proposer() {
            return;
        }
        if self.durable.begun == instance {
            self.next_ballot(step);
        } else {
            self.begin(step);
        }
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, Fault, Moment, Run, Scenario, Storage};

    fn simulate(scenario: &Scenario) -> Run {
        simulation::run(&ALGORITHM, scenario).expect("a good scenario")
    }

    fn crash(node: u32, at: Duration, back: Option<Duration>, storage: Storage) -> Fault {
        Fault::Crash {
            node: ProcessId(node),
            at: Moment::Time(at),
            back,
            storage,
        }
    }

    #[test]
    fn an_instance_takes_five_messages_another_process() {
        for n in 2..=10 {
            for (rounds, seed) in [(1, 1), (1, 2), (3, 3)] {
                let run = simulate(&Scenario::new(n, rounds, seed));
                let each = u64::from((n - 1) * rounds);
                for (kind, count) in [
                    ("prepare", each),
                    ("promise", each),
                    ("accept", each),
                    ("accepted", each),
                    ("learn", each),
                    ("reject", 0),
                ] {
                    assert_eq!(run.attempted(kind), count, "{kind}, N={n}");
                }
                run.assert_formula();
                run.assert_per_operation();
                run.properties().unwrap();
            }
        }
    }

    #[test]
    fn without_learn_it_takes_four() {
        for n in 2..=10 {
            let run = simulate(&Scenario::new(n, 2, 1).option("learn", "none"));
            assert_eq!(run.total().attempted, 2 * 4 * u64::from(n - 1));
            run.assert_formula();
            run.assert_per_operation();
            run.properties().unwrap();
        }
    }

    /// 3(N−1) for prepare, promise and accept; each of the N acceptors then tells N−1 learners.
    #[test]
    fn accepted_to_all_learners_takes_n_plus_three_messages_another_process() {
        for n in 2..=10 {
            for seed in 0..20 {
                let run = simulate(&Scenario::new(n, 1, seed).option("learn", "broadcast"));
                let (n, others) = (u64::from(n), u64::from(n - 1));
                assert_eq!(run.attempted("accepted"), n * others);
                assert_eq!(run.total().attempted, others * (n + 3));
                run.assert_formula();
                run.assert_per_operation();
                run.properties().unwrap();
                assert_eq!(run.execution().notes("decided").count() as u64, n);
            }
        }
    }

    #[test]
    fn proposers_that_outbid_each_other_agree() {
        let mut rejects = 0;
        for seed in 0..2000 {
            let n = 3 + (seed % 3) as u32;
            let proposers = 2 + seed % 2;
            let learn = ["proposer", "none", "broadcast"][(seed / 3 % 3) as usize];
            let scenario = Scenario::new(n, 2, seed)
                .option("proposers", &proposers.to_string())
                .option("learn", learn);
            let run = simulate(&scenario);
            run.properties().unwrap();
            run.assert_formula();
            rejects += run.attempted("reject");
        }
        assert!(rejects > 1000, "{rejects}: there was contention");
    }

    #[test]
    fn a_dead_minority_changes_nothing() {
        for seed in 0..200 {
            let scenario = Scenario::new(5, 2, seed)
                .fault(crash(3, Duration::ZERO, None, Storage::Kept))
                .fault(crash(4, Duration::from_millis(8), None, Storage::Kept));
            let run = simulate(&scenario);
            run.properties().unwrap();
            run.assert_formula();
        }
    }

    #[test]
    fn whoever_restarts_with_its_storage_agrees() {
        for seed in 0..2000 {
            let n = 3 + (seed % 3) as u32;
            let time = |salt: u64| Duration::from_micros(1 + seed * salt % 60_000);
            let node = |salt: u64| (seed / salt % u64::from(n)) as u32;
            let scenario = Scenario::new(n, 2, seed)
                .option("proposers", &(1 + seed % 3).to_string())
                .fault(crash(node(1), time(7919), Some(time(31)), Storage::Kept))
                .fault(crash(node(5), time(104_729), Some(time(17)), Storage::Kept));
            let run = simulate(&scenario);
            run.properties().unwrap();
            run.assert_formula();
        }
    }

    #[test]
    fn a_partition_delays_and_breaks_nothing() {
        for seed in 0..500 {
            let cut = Fault::Partition {
                side: vec![ProcessId(0), ProcessId(3)],
                from: Duration::from_millis(seed % 40),
                until: Duration::from_secs(3),
            };
            let scenario = Scenario::new(5, 2, seed)
                .option("proposers", "2")
                .fault(cut);
            let run = simulate(&scenario);
            run.properties().unwrap();
            assert_eq!(run.completed(), 2);
        }
    }

    /// A value is chosen by a majority, one of it forgets, and a majority with that one chooses
    /// another value.
    #[test]
    fn an_acceptor_without_its_storage_breaks_agreement() {
        let broken = (0..5000).find_map(|seed| {
            let at = Duration::from_millis(5 + seed % 40);
            let back = Some(Duration::from_millis(1));
            let scenario = Scenario::new(3, 1, seed).option("proposers", "2");
            let forgets = scenario.clone().fault(crash(2, at, back, Storage::Lost));
            let why = simulate(&forgets).safety().err()?;
            // With its storage the same crash breaks nothing.
            let remembers = scenario.fault(crash(2, at, back, Storage::Kept));
            simulate(&remembers).safety().unwrap();
            Some(why)
        });
        let why = broken.expect("a seed among 5000");
        assert!(why.contains("agreement does not hold"), "{why}");
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for (option, value) in [("learn", "all"), ("proposers", "0"), ("proposers", "4")] {
            let run = simulation::run(&ALGORITHM, &Scenario::new(3, 1, 0).option(option, value));
            assert!(matches!(run, Err(SetupError::BadOption { .. })), "{value}");
        }
    }
}
