//! Two-phase commit: a coordinator, process 0, asks every participant for its vote and tells them
//! the decision, which they acknowledge (Gray, *Notes on Data Base Operating Systems*, 1978).
//!
//! Either all of a distributed transaction takes effect or none of it. In the first phase every
//! participant prepares: one that votes yes has written down what it needs to commit, and has
//! given up the right to abort. In the second the coordinator writes the decision, commit if all
//! votes are yes, and tells it. Between its vote and the decision a participant is in doubt, and
//! may do nothing but wait: when the coordinator dies after the votes, two-phase commit *blocks*,
//! until the coordinator is back with its stable storage. A coordinator that comes back without
//! its memory may decide a second time and otherwise.
//!
//! The abort path, stated since texts differ: the coordinator waits for all votes or its timeout;
//! an abort goes to every participant that voted yes or did not vote, and each that gets it
//! acknowledges; one that voted no has aborted on its own and gets nothing more (after Mohan,
//! Lindsay & Obermarck, TODS 11(4), 1986). A decision is not repeated when acknowledgements fail
//! to come: after the same timeout the coordinator goes on to the next transaction. It is told
//! again after a restart: a coordinator that comes back tells it to whoever has not acknowledged,
//! and a participant that comes back in doubt repeats its vote and is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::commitment::{self, Decision, Votes, VotesNo, note_decision, note_vote};
use super::{
    Algorithm, Body, Case, Channels, Event, Execution, Expectation, Expected, FailureModel,
    Identity, KindNumber, Message, OperationId, OptionSpec, Outcome, OutsideFormula, Phase, Point,
    Process, ProcessId, Property, PropertyKind, ProtocolError, Relation, Setup, SetupError, Step,
    Synchrony, TimerId, Topology,
};

const VOTE_REQUEST: KindNumber = KindNumber(1);
const VOTE_YES: KindNumber = KindNumber(2);
const VOTE_NO: KindNumber = KindNumber(3);
const COMMIT: KindNumber = KindNumber(4);
const ABORT: KindNumber = KindNumber(5);
const ACK: KindNumber = KindNumber(6);

const COORDINATOR: ProcessId = ProcessId(0);

const VOTES: TimerId = TimerId(1);
const ACKS: TimerId = TimerId(2);

const CITATION: &str =
    "Gray, Notes on Data Base Operating Systems, 1978; N=4 gives 12 of all kinds together";
const ABORT_CITATION: &str =
    "abort to those that voted yes or not at all: Mohan, Lindsay & Obermarck, TODS 11(4), 1986";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "two-phase-commit",
    about: "a coordinator collects votes and tells all participants one decision",
    citation: "Gray, Notes on Data Base Operating Systems, 1978",
    topology: Topology::Star,
    channels: Channels::Unordered,
    synchrony: Synchrony::TimeoutsForProgress,
    failures: FailureModel::CrashRecovery,
    workload: "process 0 coordinates one transaction after the other",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        commitment::VOTE_NO,
        OptionSpec {
            name: "vote-timeout",
            about: "how long the coordinator waits for votes, and for acknowledgements",
            default: "2s",
        },
    ],
    formula: "4(N-1)",
    per_operation: |n, _| Expected::exactly(4 * u64::from(n - 1)),
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &[],
        losses: &["ack"],
    },
    identities: &[
        Identity {
            text: "ack <= commit + abort",
            terms: &[(1, "ack"), (-1, "commit"), (-1, "abort")],
            relation: Relation::AtMostZero,
        },
        Identity {
            text: "vote-yes + vote-no <= vote-request",
            terms: &[(1, "vote-yes"), (1, "vote-no"), (-1, "vote-request")],
            relation: Relation::AtMostZero,
        },
    ],
    properties: &[
        commitment::AGREEMENT,
        commitment::VALIDITY,
        Property {
            name: "termination",
            kind: PropertyKind::Liveness,
            about: "while the coordinator lives, or is back, every transaction ends and everybody \
                    who voted yes decides",
            premise: coordinator_lives,
            check: termination,
        },
    ],
    points: &[
        Point {
            name: "after-votes",
            role: "coordinator",
            about: "all votes are in, or its timeout is over; the decision is not written",
        },
        Point {
            name: "after-decision",
            role: "coordinator",
            about: "the decision is written and nobody has been told",
        },
        Point {
            name: "after-first-decision",
            role: "coordinator",
            about: "one participant has been told the decision",
        },
        Point {
            name: "prepared",
            role: "participant",
            about: "its yes is written and not sent",
        },
        Point {
            name: "after-vote",
            role: "participant",
            about: "it has voted yes",
        },
    ],
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let timeout = setup
        .options
        .duration("vote-timeout", Duration::from_secs(2))?;
    let votes_no = VotesNo::read(setup.options, setup.n)?;
    Ok(if setup.id == COORDINATOR {
        Box::new(Coordinator {
            n: setup.n,
            rounds: setup.rounds,
            timeout,
            transaction: 0,
            phase: CoordinatorPhase::Idle,
            unfinished: BTreeMap::new(),
            quiescing: false,
        })
    } else {
        Box::new(Participant {
            id: setup.id,
            n: setup.n,
            votes_no,
            record: ParticipantRecord::default(),
        })
    })
}

/// What the coordinator tells about a transaction when it has decided.
#[derive(Debug, Serialize, Deserialize)]
struct Decided {
    decision: Decision,
    /// Participants that voted no.
    no: BTreeSet<ProcessId>,
    /// Participants that did not vote in time.
    silent: BTreeSet<ProcessId>,
    /// Whether the coordinator has been down meanwhile, and forgot the votes.
    #[serde(default)]
    recovered: bool,
}

/// While the coordinator is down participants may be blocked: that is two-phase commit's limit.
fn coordinator_lives(execution: &Execution<'_>) -> Result<(), &'static str> {
    let lives = !execution.is_crashed(COORDINATOR);
    lives.then_some(()).ok_or("the coordinator is dead")
}

fn termination(execution: &Execution<'_>) -> Result<(), String> {
    if let Some((process, operation)) = commitment::undecided(execution) {
        let operation = operation.0;
        return Err(format!(
            "process {process} is in doubt about operation {operation}"
        ));
    }
    // The report that a transaction has ended is lost in a crash between the record of the decision
    // and that report: it would come twice if it were repeated after every restart.
    let is_end = |event: &&Event| {
        event.outcome.phase.ends() || event.node == COORDINATOR && event.note() == Some("decided")
    };
    let ends = execution.events.iter().filter(is_end);
    let ended: BTreeSet<_> = ends.map(|event| event.outcome.operation).collect();
    let mut all = execution.operations_of(COORDINATOR);
    match all.find(|operation| !ended.contains(operation)) {
        Some(operation) => Err(format!("operation {} has not ended", operation.0)),
        None => Ok(()),
    }
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let participants = u64::from(case.n.saturating_sub(1));
    // A transaction whose end nobody told may have come to any point of either path.
    let open = Expected::between(0, participants) * case.open();
    let mut rows = [open; 6];
    let [request, yes, no, commit, abort, ack] = &mut rows;
    let add = |row: &mut Expected, low: u64, high: u64| *row = *row + Expected::between(low, high);
    // One that has been down may have been so when its acknowledgement was due.
    let mut down: BTreeSet<ProcessId> = case.died.iter().copied().collect();
    down.extend(case.notes("recovered").map(|event| event.node));
    let coordinator_down = down.remove(&COORDINATOR);
    let down = down.len() as u64;
    // A coordinator may go down with a decision made and not told to everybody: the last one, or
    // one that it tells again when it is back.
    let repeated = case.notes("repeated").map(|event| event.outcome.operation);
    let last = case.completed().map(|outcome| outcome.operation).max();
    let cut_short: BTreeSet<_> = repeated.chain(last).collect();
    for outcome in case.completed() {
        let Some(decided) = decided(outcome) else {
            continue;
        };
        let (voted_no, silent) = (decided.no.len() as u64, decided.silent.len() as u64);
        let voted_yes = participants.saturating_sub(voted_no + silent);
        // One that was silent may have sent its vote too late, or may be dead; one that restarts
        // does not know whom it had asked.
        let asked = if decided.recovered { 0 } else { participants };
        add(request, asked, participants);
        add(yes, voted_yes, voted_yes + silent);
        add(no, voted_no, voted_no + silent);
        let (row, told, acks) = match decided.decision {
            Decision::Commit => (&mut *commit, participants, participants),
            Decision::Abort => (&mut *abort, voted_yes + silent, voted_yes),
        };
        let in_doubt = coordinator_down && cut_short.contains(&outcome.operation);
        let (least_told, least_acks) = if in_doubt {
            (0, 0)
        } else {
            (told, acks.saturating_sub(down))
        };
        add(row, least_told, told);
        add(ack, least_acks, told);
    }
    for _ in case.notes("asked") {
        add(yes, 0, 1);
    }
    for event in case.notes("repeated") {
        let told = event.field("told").unwrap_or(participants);
        match event.field("decision") {
            Some(Decision::Commit) => add(commit, 0, told),
            Some(Decision::Abort) => add(abort, 0, told),
            None => {}
        }
        add(ack, 0, told);
    }
    let [request, yes, no, commit, abort, ack] = rows;
    let row = Expectation::new;
    vec![
        row("vote-request", request, "N-1", CITATION),
        row("vote-yes", yes, "N-1, less the votes no", CITATION),
        row(
            "vote-no",
            no,
            "one for each participant that votes no",
            CITATION,
        ),
        row("commit", commit, "N-1 on commit", CITATION),
        row(
            "abort",
            abort,
            "on abort N-1, less the votes no",
            ABORT_CITATION,
        ),
        row("ack", ack, "one for each decision received", CITATION),
    ]
}

fn decided(outcome: &Outcome) -> Option<Decided> {
    Decided::deserialize(&*outcome.value).ok()
}

#[derive(Debug, Clone, Hash)]
struct Coordinator {
    n: u32,
    rounds: u32,
    timeout: Duration,
    /// The transaction that was begun last, from 1.
    transaction: u32,
    phase: CoordinatorPhase,
    /// Decisions by transaction, until everybody who was told has acknowledged.
    unfinished: BTreeMap<u32, Unfinished>,
    quiescing: bool,
}

#[derive(Debug, Clone, Hash)]
enum CoordinatorPhase {
    Idle,
    Voting(Votes),
    Deciding,
}

/// A decision that not everybody has acknowledged.
#[derive(Debug, Clone, Hash, Serialize, Deserialize)]
struct Unfinished {
    decision: Decision,
    unacknowledged: BTreeSet<ProcessId>,
}

/// What the coordinator must remember across a crash. A transaction that was begun and is not
/// among the decisions had none, or everybody has acknowledged it.
#[derive(Debug, Serialize, Deserialize)]
struct CoordinatorRecord {
    transaction: u32,
    /// Whether the votes of that transaction are still being collected.
    voting: bool,
    unfinished: BTreeMap<u32, Unfinished>,
}

impl Coordinator {
    fn participants(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (1..self.n).map(ProcessId)
    }

    fn operation_of(&self, transaction: u32) -> OperationId {
        OperationId::new(COORDINATOR, transaction, self.n)
    }

    fn operation(&self) -> OperationId {
        self.operation_of(self.transaction)
    }

    fn begin(&mut self, step: &mut Step<'_>) {
        self.transaction += 1;
        self.phase = CoordinatorPhase::Voting(Votes::default());
        let operation = self.operation();
        let participants: Vec<_> = self.participants().collect();
        step.report(
            Phase::Invoke,
            operation,
            json!({ "transaction": self.transaction, "participants": participants }),
        );
        self.remember(step);
        for participant in participants {
            step.send(
                participant,
                VOTE_REQUEST,
                operation,
                Body::encode(&self.transaction),
            );
        }
        step.set_timer(VOTES, self.timeout);
    }

    fn vote(&mut self, from: ProcessId, says_yes: bool, step: &mut Step<'_>) {
        let participants = self.participants();
        let CoordinatorPhase::Voting(votes) = &mut self.phase else {
            return;
        };
        match says_yes {
            true => votes.yes.insert(from),
            false => votes.no.insert(from),
        };
        if votes.silent(participants).is_empty() {
            self.decide(step);
        }
    }

    fn decide(&mut self, step: &mut Step<'_>) {
        let CoordinatorPhase::Voting(votes) = &self.phase else {
            return;
        };
        let (no, silent) = (&votes.no, votes.silent(self.participants()));
        let decision = if no.is_empty() && silent.is_empty() {
            Decision::Commit
        } else {
            Decision::Abort
        };
        let told: BTreeSet<_> = self.participants().filter(|id| !no.contains(id)).collect();
        let outcome = Decided {
            decision,
            no: no.clone(),
            silent,
            recovered: false,
        };
        step.cancel_timer(VOTES);
        step.point("after-votes");
        self.settle(&outcome, told, step);
    }

    /// Makes a decision of its own: it is written before anybody hears of it.
    fn settle(&mut self, outcome: &Decided, told: BTreeSet<ProcessId>, step: &mut Step<'_>) {
        let (decision, operation) = (outcome.decision, self.operation());
        let unfinished = Unfinished {
            decision,
            unacknowledged: told,
        };
        self.unfinished.insert(self.transaction, unfinished);
        self.phase = CoordinatorPhase::Deciding;
        self.remember(step);
        note_decision(decision, operation, step);
        step.report(decision.phase(), operation, json!(outcome));
        step.point("after-decision");
        self.tell(self.transaction, step);
        self.await_acknowledgements(step);
    }

    /// Tells a decision to those who have not acknowledged it.
    fn tell(&self, transaction: u32, step: &mut Step<'_>) {
        let Some(unfinished) = self.unfinished.get(&transaction) else {
            return;
        };
        for (nth, &participant) in unfinished.unacknowledged.iter().enumerate() {
            self.tell_one(participant, transaction, unfinished.decision, step);
            if nth == 0 {
                step.point("after-first-decision");
            }
        }
    }

    fn tell_one(&self, to: ProcessId, transaction: u32, decision: Decision, step: &mut Step<'_>) {
        let kind = match decision {
            Decision::Commit => COMMIT,
            Decision::Abort => ABORT,
        };
        let operation = self.operation_of(transaction);
        step.send(to, kind, operation, Body::encode(&transaction));
    }

    fn await_acknowledgements(&mut self, step: &mut Step<'_>) {
        let waits = self.unfinished.get(&self.transaction);
        if waits.is_none_or(|waits| waits.unacknowledged.is_empty()) {
            self.unfinished.remove(&self.transaction);
            return self.end(step);
        }
        step.set_timer(ACKS, self.timeout);
    }

    fn acknowledged(&mut self, from: ProcessId, transaction: u32, step: &mut Step<'_>) {
        let Some(unfinished) = self.unfinished.get_mut(&transaction) else {
            return;
        };
        unfinished.unacknowledged.remove(&from);
        if !unfinished.unacknowledged.is_empty() {
            return;
        }
        self.unfinished.remove(&transaction);
        if transaction == self.transaction && matches!(self.phase, CoordinatorPhase::Deciding) {
            step.cancel_timer(ACKS);
            self.end(step);
        }
    }

    /// A participant that is in doubt after a restart repeats its vote: it is told what was
    /// decided.
    fn answer_doubt(&self, from: ProcessId, transaction: u32, step: &mut Step<'_>) {
        if let Some(unfinished) = self.unfinished.get(&transaction)
            && unfinished.unacknowledged.contains(&from)
        {
            let operation = self.operation_of(transaction);
            step.note("repeated", operation, repeated(unfinished.decision, 1));
            self.tell_one(from, transaction, unfinished.decision, step);
        }
    }

    fn end(&mut self, step: &mut Step<'_>) {
        self.phase = CoordinatorPhase::Idle;
        if self.transaction < self.rounds && !self.quiescing {
            self.begin(step);
        }
    }

    fn remember(&self, step: &mut Step<'_>) {
        let record = CoordinatorRecord {
            transaction: self.transaction,
            voting: matches!(self.phase, CoordinatorPhase::Voting(_)),
            unfinished: self.unfinished.clone(),
        };
        step.persist(Body::encode(&record).as_bytes().to_vec());
    }
}

fn repeated(decision: Decision, told: usize) -> serde_json::Value {
    json!({ "decision": decision, "told": told })
}

impl Process for Coordinator {
    fn start(&mut self, step: &mut Step<'_>) {
        self.begin(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let transaction = message.operation.round(self.n);
        let voting =
            transaction == self.transaction && matches!(self.phase, CoordinatorPhase::Voting(_));
        match message.kind {
            VOTE_YES | VOTE_NO if voting => {
                self.vote(message.from, message.kind == VOTE_YES, step);
            }
            VOTE_YES if message.read::<Doubt>().is_ok() => {
                self.answer_doubt(message.from, transaction, step);
            }
            VOTE_YES | VOTE_NO => {} // too late: the timeout has decided
            ACK => self.acknowledged(message.from, transaction, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, step: &mut Step<'_>) {
        match (id, &self.phase) {
            (VOTES, CoordinatorPhase::Voting(_)) => self.decide(step),
            (ACKS, CoordinatorPhase::Deciding) => self.end(step),
            _ => {}
        }
    }

    /// Decisions that were written are told again; a transaction without one is aborted.
    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        let record: Result<CoordinatorRecord, _> = Body::from_bytes(bytes.to_vec()).decode();
        let Ok(record) = record else {
            return self.start(step);
        };
        self.transaction = record.transaction;
        self.unfinished = record.unfinished;
        step.note("recovered", self.operation(), json!({}));
        for (&transaction, unfinished) in &self.unfinished {
            let (decision, told) = (unfinished.decision, unfinished.unacknowledged.len());
            let operation = self.operation_of(transaction);
            note_decision(decision, operation, step);
            step.note("repeated", operation, repeated(decision, told));
            self.tell(transaction, step);
        }
        if record.voting {
            let everybody: BTreeSet<_> = self.participants().collect();
            let outcome = Decided {
                decision: Decision::Abort,
                no: BTreeSet::new(),
                silent: everybody.clone(),
                recovered: true,
            };
            self.settle(&outcome, everybody, step);
        } else {
            self.phase = CoordinatorPhase::Deciding;
            self.await_acknowledgements(step);
        }
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

/// The body of a vote that is repeated after a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Doubt {
    in_doubt: bool,
}

#[derive(Debug, Clone, Hash)]
struct Participant {
    id: ProcessId,
    n: u32,
    votes_no: VotesNo,
    record: ParticipantRecord,
}

/// What a participant must remember across a crash.
#[derive(Debug, Clone, Default, Hash, Serialize, Deserialize)]
struct ParticipantRecord {
    /// The latest operation that it has heard of.
    latest: OperationId,
    /// Those that it has voted yes on and does not know the decision on: it is prepared. All
    /// others up to the latest are over for it.
    prepared: BTreeSet<OperationId>,
    /// What it has written last about how one ended.
    decided: Option<(OperationId, Decision)>,
}

impl Participant {
    fn remember(&self, step: &mut Step<'_>) {
        step.persist(Body::encode(&self.record).as_bytes().to_vec());
    }

    fn asked_to_vote(&mut self, message: &Message, step: &mut Step<'_>) {
        let operation = message.operation;
        // The abort of a transaction may overtake its vote request: there is no more to say.
        if operation <= self.record.latest {
            return;
        }
        self.record.latest = operation;
        if self.votes_no.contains(self.id, operation.round(self.n)) {
            // Its own abort needs no record: it is as if it had never heard of the transaction.
            self.record.decided = Some((operation, Decision::Abort));
            self.remember(step);
            note_vote(false, operation, step);
            note_decision(Decision::Abort, operation, step);
            step.send(message.from, VOTE_NO, operation, Body::empty());
        } else {
            self.record.prepared.insert(operation);
            self.remember(step);
            note_vote(true, operation, step);
            step.point("prepared");
            step.send(message.from, VOTE_YES, operation, Body::empty());
            step.point("after-vote");
        }
    }

    fn told(&mut self, decision: Decision, message: &Message, step: &mut Step<'_>) {
        let operation = message.operation;
        // A decision that comes again is acknowledged and changes nothing here.
        let is_new = operation > self.record.latest;
        if self.record.prepared.remove(&operation) || is_new {
            self.record.latest = self.record.latest.max(operation);
            self.record.decided = Some((operation, decision));
            self.remember(step);
            note_decision(decision, operation, step);
        }
        step.send(message.from, ACK, operation, Body::empty());
    }
}

impl Process for Participant {
    fn start(&mut self, _step: &mut Step<'_>) {}

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            VOTE_REQUEST => self.asked_to_vote(message, step),
            COMMIT => self.told(Decision::Commit, message, step),
            ABORT => self.told(Decision::Abort, message, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    /// A participant that had voted yes may not decide alone: it repeats its vote, which the
    /// coordinator answers with the decision. Where the coordinator is down, it tells everybody
    /// when it is back.
    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        self.record = Body::from_bytes(bytes.to_vec())
            .decode()
            .unwrap_or_default();
        step.note("recovered", self.record.latest, json!({}));
        // The crash may have come between a record and its note.
        if let Some((operation, decision)) = self.record.decided {
            note_decision(decision, operation, step);
        }
        for &operation in &self.record.prepared {
            note_vote(true, operation, step);
            step.note("asked", operation, json!({}));
            let doubt = Doubt { in_doubt: true };
            step.send(COORDINATOR, VOTE_YES, operation, Body::encode(&doubt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Judgement;
    use crate::simulation::{self, End, Fault, Moment, Run, Scenario, Storage};

    fn simulate(scenario: &Scenario) -> Run {
        simulation::run(&ALGORITHM, scenario).expect("a good scenario")
    }

    /// What every process decided, in order.
    fn decisions(run: &Run) -> Vec<(u32, Decision)> {
        let decided = run.events.iter().filter(|e| e.note() == Some("decided"));
        decided
            .map(|event| (event.node.0, event.field("decision").unwrap()))
            .collect()
    }

    fn crash_at(node: u32, point: &str, back: Option<u64>, storage: Storage) -> Fault {
        Fault::Crash {
            node: ProcessId(node),
            at: Moment::Point(point.to_owned()),
            back: back.map(Duration::from_millis),
            storage,
        }
    }

    #[test]
    fn a_commit_takes_four_messages_a_participant() {
        for n in 2..=10 {
            for (rounds, seed) in [(1, 1), (1, 2), (3, 3)] {
                let run = simulate(&Scenario::new(n, rounds, seed));
                let each = u64::from((n - 1) * rounds);
                for (kind, count) in [
                    ("vote-request", each),
                    ("vote-yes", each),
                    ("vote-no", 0),
                    ("commit", each),
                    ("abort", 0),
                    ("ack", each),
                ] {
                    assert_eq!(run.attempted(kind), count, "{kind}, N={n}");
                }
                run.assert_formula();
                run.assert_per_operation();
                run.properties().unwrap();
                let decisions = decisions(&run);
                assert_eq!(decisions.len(), (n * rounds) as usize);
                assert!(decisions.iter().all(|(_, what)| *what == Decision::Commit));
            }
        }
    }

    #[test]
    fn four_processes_commit_with_twelve_messages() {
        let run = simulate(&Scenario::new(4, 1, 0));
        assert_eq!(run.total().attempted, 12);
    }

    #[test]
    fn a_vote_no_aborts_and_spares_its_voter_the_decision() {
        for n in 3..=10 {
            for seed in 0..10 {
                let run = simulate(&Scenario::new(n, 1, seed).option("vote-no", "1,2"));
                let others = u64::from(n - 3);
                assert_eq!(run.attempted("vote-request"), u64::from(n - 1));
                assert_eq!(run.attempted("vote-yes"), others);
                assert_eq!(run.attempted("vote-no"), 2);
                assert_eq!(run.attempted("commit"), 0);
                assert_eq!(run.attempted("abort"), others);
                assert_eq!(run.attempted("ack"), others);
                run.assert_formula();
                run.properties().unwrap();
                let decisions = decisions(&run);
                assert_eq!(decisions.len(), n as usize);
                assert!(decisions.iter().all(|(_, what)| *what == Decision::Abort));
            }
        }
    }

    #[test]
    fn a_vote_no_may_be_for_one_transaction() {
        let run = simulate(&Scenario::new(4, 3, 5).option("vote-no", "3@2"));
        let phases = run.events.iter().map(|event| event.outcome.phase);
        let ends: Vec<_> = phases.filter(|phase| phase.ends()).collect();
        assert_eq!(ends, [Phase::Ok, Phase::Fail, Phase::Ok]);
        assert_eq!(run.total().attempted, 12 + 10 + 12);
        run.assert_formula();
    }

    #[test]
    fn a_silent_participant_aborts_after_the_timeout() {
        for n in 2..=6 {
            let dead = Fault::Crash {
                node: ProcessId(1),
                at: Moment::Time(Duration::ZERO),
                back: None,
                storage: Storage::Kept,
            };
            let run = simulate(&Scenario::new(n, 2, 3).fault(dead));
            assert_eq!(run.attempted("abort"), 2 * u64::from(n - 1));
            assert_eq!(run.attempted("ack"), 2 * u64::from(n - 2));
            assert!(decisions(&run).iter().all(|(_, d)| *d == Decision::Abort));
            run.assert_formula();
            run.properties().unwrap();
        }
    }

    /// The limit of two-phase commit: in doubt, nobody may decide alone.
    #[test]
    fn participants_block_for_ever_when_the_coordinator_dies_after_the_votes() {
        for n in 2..=6 {
            for point in ["after-votes", "after-decision"] {
                for seed in 0..50 {
                    let death = crash_at(0, point, None, Storage::Kept);
                    let run = simulate(&Scenario::new(n, 1, seed).fault(death));
                    assert_eq!(run.ended, End::Quiet);
                    assert_eq!(run.attempted("vote-yes"), u64::from(n - 1));
                    assert!(decisions(&run).iter().all(|(node, _)| *node == 0));
                    let execution = run.execution();
                    let blocked = commitment::NON_BLOCKING.judge(&execution);
                    let is_broken = matches!(blocked, Judgement::Broken(_));
                    assert!(is_broken, "{point}, seed {seed}: {blocked:?}");
                    let mut promised = ALGORITHM.properties.iter();
                    let termination = promised.find(|p| p.name == "termination").unwrap();
                    let dead = Judgement::NotJudged("the coordinator is dead");
                    assert_eq!(termination.judge(&execution), dead);
                    run.safety().unwrap();
                }
            }
        }
    }

    #[test]
    fn a_coordinator_that_comes_back_with_its_storage_frees_everybody() {
        for (point, decision) in [
            ("after-votes", Decision::Abort),
            ("after-decision", Decision::Commit),
            ("after-first-decision", Decision::Commit),
        ] {
            for seed in 0..300 {
                let crash = crash_at(0, point, Some(500), Storage::Kept);
                let run = simulate(&Scenario::new(4, 2, seed).fault(crash));
                run.properties().unwrap();
                run.assert_formula();
                let first = OperationId(1);
                let of_first = |event: &&Event| {
                    event.note() == Some("decided") && event.outcome.operation == first
                };
                let deciders: BTreeSet<_> =
                    run.events.iter().filter(of_first).map(|e| e.node).collect();
                assert_eq!(deciders.len(), 4, "{point}, seed {seed}");
                assert!(decisions(&run).contains(&(3, decision)));
            }
        }
    }

    #[test]
    fn a_participant_that_comes_back_in_doubt_asks_and_is_told() {
        for (point, decision) in [
            // Its vote was not sent: it repeats what it had written.
            ("prepared", Decision::Commit),
            ("after-vote", Decision::Commit),
        ] {
            for seed in 0..300 {
                let crash = crash_at(2, point, Some(100), Storage::Kept);
                let run = simulate(&Scenario::new(4, 2, seed).fault(crash));
                run.properties().unwrap();
                run.assert_formula();
                let told = |(node, what): &(u32, Decision)| *node == 2 && *what == decision;
                assert_eq!(decisions(&run).iter().filter(|d| told(d)).count(), 2);
                assert_eq!(run.execution().notes("asked").count(), 1);
            }
        }
    }

    #[test]
    fn whoever_restarts_with_its_storage_keeps_what_was_promised() {
        for seed in 0..2000 {
            let crash = |node, at, back| Fault::Crash {
                node: ProcessId(node),
                at: Moment::Time(Duration::from_micros(at)),
                back: Some(Duration::from_micros(back)),
                storage: Storage::Kept,
            };
            // Any two of four processes, at any time of the three transactions.
            let one = crash((seed % 4) as u32, 1 + seed * 7919 % 90_000, 20_000);
            let other = crash(
                (seed / 4 % 4) as u32,
                1 + seed * 104_729 % 90_000,
                3_000_000,
            );
            let votes = if seed % 3 == 0 { "2@2" } else { "3@9" };
            let scenario = Scenario::new(4, 3, seed).option("vote-no", votes);
            let run = simulate(&scenario.fault(one).fault(other));
            run.properties().unwrap();
            run.assert_formula();
        }
    }

    /// One that was told commit before the crash, others who hear abort after it: the coordinator
    /// has forgotten, asks for votes that nobody gives twice, and decides again.
    #[test]
    fn a_coordinator_without_its_storage_decides_twice_and_otherwise() {
        let crash = crash_at(0, "after-first-decision", Some(10), Storage::Lost);
        let run = simulate(&Scenario::new(4, 2, 1).fault(crash));
        let why = run.safety().unwrap_err();
        assert!(why.contains("agreement does not hold"), "{why}");
        let decisions = decisions(&run);
        assert!(decisions.contains(&(1, Decision::Commit)), "{decisions:?}");
        assert!(decisions.contains(&(3, Decision::Abort)), "{decisions:?}");
    }

    #[test]
    fn a_recovered_coordinator_repeats_its_decision_or_aborts() {
        let options = Default::default();
        let setup = Setup {
            id: COORDINATOR,
            n: 3,
            rounds: 1,
            options: &options,
        };
        let everybody: BTreeSet<_> = [ProcessId(1), ProcessId(2)].into();
        let committed = Unfinished {
            decision: Decision::Commit,
            unacknowledged: everybody,
        };
        for (voting, unfinished, kind) in [
            (false, BTreeMap::from([(1, committed)]), COMMIT),
            (true, BTreeMap::new(), ABORT),
        ] {
            let record = CoordinatorRecord {
                transaction: 1,
                voting,
                unfinished,
            };
            let mut coordinator = ALGORITHM.build(&setup).unwrap();
            let mut choose = |_| 0;
            let mut step = Step::new(&mut choose);
            coordinator.recover(Body::encode(&record).as_bytes(), &mut step);
            let told = step
                .into_actions()
                .into_iter()
                .filter(|a| matches!(a, super::super::Action::Send { kind: k, .. } if *k == kind));
            assert_eq!(told.count(), 2);
        }
    }
}
