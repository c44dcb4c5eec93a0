//! Three-phase commit: between the votes and the commit the coordinator tells everybody that all
//! have voted yes, so that nobody commits while another is still in doubt (Skeen, *Nonblocking
//! Commit Protocols*, SIGMOD 1981).
//!
//! A participant that has voted yes is *uncertain*; one that has been told pre-commit is
//! *committable*. No process commits before all live ones are committable, so whoever is left when
//! the coordinator dies can decide from their own states: that is the termination protocol. The
//! lowest live participant takes over by timeout, asks everybody's state, and decides by the rules
//! TR1 to TR4 (Bernstein, Hadzilacos & Goodman, *Concurrency Control and Recovery in Database
//! Systems*, 1987, section 7.5): abort if somebody aborted; commit if somebody committed; abort if
//! all are uncertain; otherwise pre-commit whoever is uncertain, and commit. It goes on with the
//! transactions that follow, without those that it has found dead.
//!
//! Nobody is blocked, at a price: a process that does not answer in time is taken for dead. In a
//! partition that is wrong: the side that is uncertain aborts while the side that is committable
//! commits. Processes that crash stay down.
//!
//! An abort goes to whoever voted yes or not at all, and is not acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::commitment::{self, Decision, Votes, VotesNo, note_decision, note_vote};
use super::{
    Algorithm, Body, Case, Channels, Event, Expectation, Expected, FailureModel, Identity,
    KindNumber, Message, OperationId, OptionSpec, OutsideFormula, Phase, Point, Process, ProcessId,
    ProtocolError, Relation, Setup, SetupError, Step, Synchrony, TimerId, Topology,
};

const CAN_COMMIT: KindNumber = KindNumber(1);
const VOTE_YES: KindNumber = KindNumber(2);
const VOTE_NO: KindNumber = KindNumber(3);
const PRE_COMMIT: KindNumber = KindNumber(4);
const ACK: KindNumber = KindNumber(5);
const DO_COMMIT: KindNumber = KindNumber(6);
const HAVE_COMMITTED: KindNumber = KindNumber(7);
const ABORT: KindNumber = KindNumber(8);
const STATE_REQUEST: KindNumber = KindNumber(9);
const STATE_REPORT: KindNumber = KindNumber(10);

/// Who coordinates while nobody has failed; every transaction's id is made with it.
const FIRST: ProcessId = ProcessId(0);

/// A coordinator's wait for votes, acknowledgements or reports.
const REPLIES: TimerId = TimerId(1);
/// A participant's wait for its coordinator.
const PATIENCE: TimerId = TimerId(2);

const CITATION: &str =
    "Skeen, Nonblocking Commit Protocols, SIGMOD 1981; N=4 gives 18 of all kinds together";
const TERMINATION: &str = "termination protocol: Bernstein, Hadzilacos & Goodman 1987, 7.5";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "three-phase-commit",
    about: "between votes and commit all are told that it is coming, so that nobody need wait for \
            a dead coordinator",
    citation: "Skeen, Nonblocking Commit Protocols, SIGMOD 1981",
    topology: Topology::FullMesh,
    channels: Channels::Fifo,
    synchrony: Synchrony::Synchronous,
    failures: FailureModel::CrashStop,
    workload: "process 0 coordinates one transaction after the other; when it dies, the lowest live \
               process goes on",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: true,
    options: &[
        commitment::VOTE_NO,
        OptionSpec {
            name: "timeout",
            about: "how long a coordinator waits for replies; a participant waits three times as \
                    long for its coordinator, and once more for each live process before it",
            default: "1s",
        },
    ],
    formula: "6(N-1)",
    per_operation: |n, _| Expected::exactly(6 * u64::from(n - 1)),
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &[],
        losses: &["have-committed"],
    },
    identities: &[
        Identity {
            text: "vote-yes + vote-no <= can-commit",
            terms: &[(1, "vote-yes"), (1, "vote-no"), (-1, "can-commit")],
            relation: Relation::AtMostZero,
        },
        Identity {
            text: "ack = pre-commit",
            terms: &[(1, "ack"), (-1, "pre-commit")],
            relation: Relation::Zero,
        },
        Identity {
            text: "have-committed = do-commit",
            terms: &[(1, "have-committed"), (-1, "do-commit")],
            relation: Relation::Zero,
        },
        Identity {
            text: "state-report <= state-request",
            terms: &[(1, "state-report"), (-1, "state-request")],
            relation: Relation::AtMostZero,
        },
    ],
    properties: &[
        commitment::AGREEMENT,
        commitment::VALIDITY,
        commitment::NON_BLOCKING,
    ],
    points: &[
        Point {
            name: "after-votes",
            role: "coordinator",
            about: "all votes are in, or its timeout is over; nobody has been told",
        },
        Point {
            name: "after-first-precommit",
            role: "coordinator",
            about: "one participant is committable, the others are uncertain",
        },
        Point {
            name: "after-precommit",
            role: "coordinator",
            about: "pre-commit has gone to everybody",
        },
        Point {
            name: "after-acks",
            role: "coordinator",
            about: "all are committable and nobody has been told to commit",
        },
        Point {
            name: "after-first-decision",
            role: "coordinator",
            about: "one participant has been told the decision",
        },
        Point {
            name: "after-vote",
            role: "participant",
            about: "it has voted yes",
        },
        Point {
            name: "after-ack",
            role: "participant",
            about: "it is committable and has said so",
        },
        Point {
            name: "after-reports",
            role: "successor",
            about: "it has taken over, knows the states, and has told nobody",
        },
    ],
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    Ok(Box::new(Site {
        id: setup.id,
        n: setup.n,
        rounds: setup.rounds,
        timeout: setup.options.duration("timeout", Duration::from_secs(1))?,
        votes_no: VotesNo::read(setup.options, setup.n)?,
        transaction: 0,
        state: State::Initial,
        coordinator: FIRST,
        suspected: BTreeSet::new(),
        role: Role::Participant,
        back_from_crash: false,
        quiescing: false,
    }))
}

/// What the coordinator that ends a transaction tells about it.
#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    decision: Decision,
    /// How many it asked to vote or, a successor, for their states.
    participants: u64,
    /// Participants that voted no.
    no: BTreeSet<ProcessId>,
    /// Processes that it has not heard in time.
    silent: BTreeSet<ProcessId>,
    /// Pre-commits that it sent.
    prepared: u64,
    /// Those that were not acknowledged in time.
    unacknowledged: u64,
    /// How many it told the decision.
    told: u64,
    /// Where the termination protocol has decided: how many reported their states.
    terminated: Option<u64>,
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let mut rows = [Expected::exactly(0); 10];
    let [
        can,
        yes,
        no,
        pre,
        ack,
        commit,
        committed,
        abort,
        request,
        report,
    ] = &mut rows;
    let add = |row: &mut Expected, low: u64, high: u64| *row = *row + Expected::between(low, high);
    let of = |event: &Event| (event.outcome.operation, event.node);
    let ended = |event: &Event| -> Option<((OperationId, ProcessId), Ended)> {
        if !event.outcome.phase.ends() {
            return None;
        }
        let ended = Ended::deserialize(&*event.outcome.value).ok()?;
        Some((of(event), ended))
    };
    let ends: BTreeMap<_, Ended> = case.events.iter().filter_map(ended).collect();
    let died = case.died.len() as u64;
    // What a coordinator sends when it knows the votes, or the states.
    let mut second_half = |end: &Ended| {
        let (prepared, told) = (end.prepared, end.told);
        add(pre, prepared, prepared);
        add(ack, prepared.saturating_sub(end.unacknowledged), prepared);
        match end.decision {
            Decision::Commit => {
                add(commit, told, told);
                add(committed, told.saturating_sub(died), told);
            }
            Decision::Abort => add(abort, told, told),
        }
    };
    // Coordinators that ended nothing may have died anywhere.
    let mut asked_in_vain = 0;
    for event in case.events {
        if event.outcome.phase != Phase::Invoke {
            continue;
        }
        let asked: Vec<ProcessId> = event.field("participants").unwrap_or_default();
        let asked = asked.len() as u64;
        let Some(end) = ends.get(&of(event)).filter(|end| end.terminated.is_none()) else {
            for row in [&mut *can, &mut *yes, &mut *no] {
                add(row, 0, asked);
            }
            asked_in_vain += asked;
            continue;
        };
        let (voted_no, silent) = (end.no.len() as u64, end.silent.len() as u64);
        let voted_yes = asked.saturating_sub(voted_no + silent);
        add(can, asked, asked);
        add(yes, voted_yes, voted_yes + silent);
        add(no, voted_no, voted_no + silent);
        second_half(end);
    }
    // A process that has followed a lower one may have to take over again, and ends it once.
    let mut takeovers: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for event in case.notes("took-over") {
        let asked = event.field("asked").unwrap_or(0);
        takeovers.entry(of(event)).or_default().push(asked);
    }
    for (taken_over, asked) in takeovers {
        let all: u64 = asked.iter().sum();
        match ends.get(&taken_over) {
            Some(end) => {
                add(request, all, all);
                add(report, end.terminated.unwrap_or(0), all);
                second_half(end);
                asked_in_vain += all - asked.iter().min().copied().unwrap_or(0);
            }
            None => {
                add(request, 0, all);
                add(report, 0, all);
                asked_in_vain += all;
            }
        }
    }
    for row in [pre, ack, commit, committed, abort] {
        add(row, 0, asked_in_vain);
    }
    let [
        can,
        yes,
        no,
        pre,
        ack,
        commit,
        committed,
        abort,
        request,
        report,
    ] = rows;
    let row = Expectation::new;
    vec![
        row("can-commit", can, "N-1", CITATION),
        row("vote-yes", yes, "N-1, less the votes no", CITATION),
        row(
            "vote-no",
            no,
            "one for each participant that votes no",
            CITATION,
        ),
        row("pre-commit", pre, "N-1 on commit", CITATION),
        row("ack", ack, "one for each pre-commit received", CITATION),
        row("do-commit", commit, "N-1 on commit", CITATION),
        row(
            "have-committed",
            committed,
            "one for each do-commit received (Skeen has none)",
            CITATION,
        ),
        row("abort", abort, "on abort N-1, less the votes no", CITATION),
        row(
            "state-request",
            request,
            "one for each process not known dead, when a coordinator is",
            TERMINATION,
        ),
        row(
            "state-report",
            report,
            "one for each state-request received",
            TERMINATION,
        ),
    ]
}

/// How far a process is in the transaction that it heard of last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It has not voted.
    Initial,
    /// It has voted yes.
    Uncertain,
    /// It knows that all have voted yes.
    Committable,
    Committed,
    Aborted,
}

impl State {
    fn is_decided(self) -> bool {
        matches!(self, Self::Committed | Self::Aborted)
    }
}

#[derive(Debug, Clone, Hash)]
enum Role {
    Participant,
    /// It collects votes.
    Voting(Votes),
    /// It has sent pre-commit and collects acknowledgements.
    Preparing {
        unacknowledged: BTreeSet<ProcessId>,
        /// Who will be told to commit.
        told: BTreeSet<ProcessId>,
        /// How many pre-commits went out.
        prepared: u64,
        /// Where this is the termination protocol: how many reported their states.
        terminating: Option<u64>,
    },
    /// It has sent do-commit.
    Committing {
        unacknowledged: BTreeSet<ProcessId>,
    },
    /// It has taken over and collects states.
    Terminating {
        asked: BTreeSet<ProcessId>,
        reports: BTreeMap<ProcessId, State>,
    },
}

#[derive(Debug, Clone, Hash)]
struct Site {
    id: ProcessId,
    n: u32,
    rounds: u32,
    timeout: Duration,
    votes_no: VotesNo,
    /// The transaction that it heard of last, from 1.
    transaction: u32,
    /// Its own state in that transaction.
    state: State,
    coordinator: ProcessId,
    /// Processes that it takes for dead.
    suspected: BTreeSet<ProcessId>,
    role: Role,
    /// It has crashed and come back, which the failure model does not know: it stays silent.
    back_from_crash: bool,
    quiescing: bool,
}

impl Site {
    fn operation(&self) -> OperationId {
        OperationId::new(FIRST, self.transaction, self.n)
    }

    fn unsuspected(&self) -> BTreeSet<ProcessId> {
        let others = (0..self.n).map(ProcessId);
        others
            .filter(|id| *id != self.id && !self.suspected.contains(id))
            .collect()
    }

    fn send_all(&self, to: &BTreeSet<ProcessId>, kind: KindNumber, step: &mut Step<'_>) {
        for &process in to {
            step.send(process, kind, self.operation(), Body::empty());
        }
    }

    /// The same, with a point after the first.
    fn send_all_past(
        &self,
        to: &BTreeSet<ProcessId>,
        kind: KindNumber,
        point: &'static str,
        step: &mut Step<'_>,
    ) {
        for (nth, &process) in to.iter().enumerate() {
            step.send(process, kind, self.operation(), Body::empty());
            if nth == 0 {
                step.point(point);
            }
        }
    }

    // The coordinator's part.

    fn begin(&mut self, step: &mut Step<'_>) {
        self.transaction += 1;
        self.coordinator = self.id;
        self.state = State::Uncertain;
        let participants = self.unsuspected();
        step.report(
            Phase::Invoke,
            self.operation(),
            json!({ "transaction": self.transaction, "participants": participants }),
        );
        self.role = Role::Voting(Votes::default());
        self.send_all(&participants, CAN_COMMIT, step);
        step.set_timer(REPLIES, self.timeout);
        self.count_votes(false, step);
    }

    fn count_votes(&mut self, timed_out: bool, step: &mut Step<'_>) {
        let Role::Voting(votes) = &self.role else {
            return;
        };
        let participants = self.unsuspected();
        let (no, silent) = (&votes.no, votes.silent(participants.iter().copied()));
        if !silent.is_empty() && !timed_out {
            return;
        }
        step.cancel_timer(REPLIES);
        step.point("after-votes");
        if no.is_empty() && silent.is_empty() {
            self.state = State::Committable;
            self.role = Role::Preparing {
                unacknowledged: participants.clone(),
                told: participants.clone(),
                prepared: participants.len() as u64,
                terminating: None,
            };
            self.send_all_past(&participants, PRE_COMMIT, "after-first-precommit", step);
            step.point("after-precommit");
            step.set_timer(REPLIES, self.timeout);
            self.count_acknowledgements(false, step);
        } else {
            let told: BTreeSet<_> = participants.difference(no).copied().collect();
            let ended = Ended {
                decision: Decision::Abort,
                participants: participants.len() as u64,
                no: no.clone(),
                silent: silent.clone(),
                prepared: 0,
                unacknowledged: 0,
                told: told.len() as u64,
                terminated: None,
            };
            self.suspected.extend(silent);
            self.conclude(&ended, &told, step);
        }
    }

    fn count_acknowledgements(&mut self, timed_out: bool, step: &mut Step<'_>) {
        let Role::Preparing {
            unacknowledged,
            told,
            prepared,
            terminating,
        } = &self.role
        else {
            return;
        };
        if !unacknowledged.is_empty() && !timed_out {
            return;
        }
        step.cancel_timer(REPLIES);
        let (silent, told, terminated) = (unacknowledged.clone(), told.clone(), *terminating);
        let ended = Ended {
            decision: Decision::Commit,
            participants: told.len() as u64,
            no: BTreeSet::new(),
            // All have voted.
            silent: BTreeSet::new(),
            prepared: *prepared,
            unacknowledged: silent.len() as u64,
            told: told.len() as u64,
            terminated,
        };
        // Who has not acknowledged has died, and would commit if it came back.
        self.suspected.extend(silent);
        if terminated.is_none() {
            step.point("after-acks");
        }
        self.conclude(&ended, &told, step);
    }

    /// Decides, tells it, and reports the end last: a successor reports it where the coordinator
    /// has died before everybody was told.
    fn conclude(&mut self, ended: &Ended, told: &BTreeSet<ProcessId>, step: &mut Step<'_>) {
        let (kind, state) = match ended.decision {
            Decision::Commit => (DO_COMMIT, State::Committed),
            Decision::Abort => (ABORT, State::Aborted),
        };
        if !self.state.is_decided() {
            self.state = state;
            note_decision(ended.decision, self.operation(), step);
        }
        self.send_all_past(told, kind, "after-first-decision", step);
        step.report(ended.decision.phase(), self.operation(), json!(ended));
        match ended.decision {
            Decision::Commit => {
                self.role = Role::Committing {
                    unacknowledged: told.difference(&self.suspected).copied().collect(),
                };
                step.set_timer(REPLIES, self.timeout);
                self.count_committed(false, step);
            }
            Decision::Abort => self.go_on(step),
        }
    }

    fn count_committed(&mut self, timed_out: bool, step: &mut Step<'_>) {
        let Role::Committing { unacknowledged } = &self.role else {
            return;
        };
        if unacknowledged.is_empty() || timed_out {
            self.suspected.extend(unacknowledged.clone());
            step.cancel_timer(REPLIES);
            self.go_on(step);
        }
    }

    fn go_on(&mut self, step: &mut Step<'_>) {
        self.role = Role::Participant;
        if self.transaction < self.rounds && !self.quiescing {
            self.begin(step);
        }
    }

    // The termination protocol.

    /// How long this process waits for its coordinator: the lower ids are to take over first.
    fn wait_for_coordinator(&self, step: &mut Step<'_>) {
        let before = (0..self.id.0).map(ProcessId);
        let before = before
            .filter(|id| *id != self.coordinator && !self.suspected.contains(id))
            .count() as u32;
        step.set_timer(PATIENCE, self.timeout * (3 + before));
    }

    fn take_over(&mut self, step: &mut Step<'_>) {
        self.suspected.insert(self.coordinator);
        self.coordinator = self.id;
        let asked = self.unsuspected();
        step.note(
            "took-over",
            self.operation(),
            json!({ "asked": asked.len(), "suspected": self.suspected }),
        );
        let body = Body::encode(&self.suspected);
        for &process in &asked {
            step.send(process, STATE_REQUEST, self.operation(), body.clone());
        }
        self.role = Role::Terminating {
            asked,
            reports: BTreeMap::new(),
        };
        step.set_timer(REPLIES, self.timeout);
        self.count_reports(false, step);
    }

    fn count_reports(&mut self, timed_out: bool, step: &mut Step<'_>) {
        let Role::Terminating { asked, reports } = &self.role else {
            return;
        };
        if reports.len() < asked.len() && !timed_out {
            return;
        }
        step.cancel_timer(REPLIES);
        step.point("after-reports");
        let silent = asked.iter().filter(|id| !reports.contains_key(id));
        let silent: Vec<_> = silent.copied().collect();
        let participants = asked.len() as u64;
        let reports = reports.clone();
        self.suspected.extend(silent);
        let somebody_is = |state| self.state == state || reports.values().any(|s| *s == state);
        let those_not = |state| -> BTreeSet<ProcessId> {
            let others = reports.iter().filter(|(_, s)| **s != state);
            others.map(|(id, _)| *id).collect()
        };
        let decision = if somebody_is(State::Aborted) || somebody_is(State::Initial) {
            Decision::Abort // TR1
        } else if somebody_is(State::Committed) {
            Decision::Commit // TR2
        } else if somebody_is(State::Committable) {
            let uncertain = reports.iter().filter(|(_, s)| **s == State::Uncertain);
            let uncertain: BTreeSet<_> = uncertain.map(|(id, _)| *id).collect();
            self.state = State::Committable;
            self.send_all(&uncertain, PRE_COMMIT, step); // TR4
            self.role = Role::Preparing {
                prepared: uncertain.len() as u64,
                unacknowledged: uncertain,
                terminating: Some(reports.len() as u64),
                told: reports.into_keys().collect(),
            };
            step.set_timer(REPLIES, self.timeout);
            return self.count_acknowledgements(false, step);
        } else {
            Decision::Abort // TR3
        };
        let told = those_not(match decision {
            Decision::Commit => State::Committed,
            Decision::Abort => State::Aborted,
        });
        let ended = Ended {
            decision,
            participants,
            no: BTreeSet::new(),
            silent: self.suspected.clone(),
            prepared: 0,
            unacknowledged: 0,
            told: told.len() as u64,
            terminated: Some(reports.len() as u64),
        };
        self.conclude(&ended, &told, step);
    }

    fn report_state(
        &mut self,
        message: &Message,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let transaction = message.operation.round(self.n);
        if transaction < self.transaction {
            // Over long ago: the sender has been taken for dead.
            return Ok(());
        }
        if transaction > self.transaction {
            // It has never heard of it, and will not vote on it now.
            self.transaction = transaction;
            self.state = State::Initial;
        }
        self.suspected
            .extend(message.read::<BTreeSet<ProcessId>>()?);
        self.suspected.remove(&message.from);
        // Of two that have taken over at the same time, the lower goes on.
        if !matches!(self.role, Role::Terminating { .. }) || message.from < self.id {
            self.follow(message.from, step);
            if !self.state.is_decided() {
                self.wait_for_coordinator(step);
            }
        }
        let body = Body::encode(&self.state);
        step.send(message.from, STATE_REPORT, message.operation, body);
        Ok(())
    }

    // The participant's part.

    fn follow(&mut self, coordinator: ProcessId, step: &mut Step<'_>) {
        self.coordinator = coordinator;
        self.role = Role::Participant;
        step.cancel_timer(REPLIES);
    }

    fn asked_to_vote(&mut self, message: &Message, step: &mut Step<'_>) {
        let transaction = message.operation.round(self.n);
        if transaction <= self.transaction {
            return;
        }
        self.transaction = transaction;
        self.follow(message.from, step);
        let says_yes = !self.votes_no.contains(self.id, transaction);
        note_vote(says_yes, message.operation, step);
        if says_yes {
            self.state = State::Uncertain;
            step.send(message.from, VOTE_YES, message.operation, Body::empty());
            self.wait_for_coordinator(step);
            step.point("after-vote");
        } else {
            self.state = State::Aborted;
            note_decision(Decision::Abort, message.operation, step);
            step.send(message.from, VOTE_NO, message.operation, Body::empty());
        }
    }

    fn told_to_prepare(&mut self, message: &Message, step: &mut Step<'_>) {
        if self.is_current(message) && !self.state.is_decided() {
            self.state = State::Committable;
            self.wait_for_coordinator(step);
        }
        step.send(message.from, ACK, message.operation, Body::empty());
        step.point("after-ack");
    }

    fn told(&mut self, decision: Decision, message: &Message, step: &mut Step<'_>) {
        let transaction = message.operation.round(self.n);
        if transaction > self.transaction {
            self.transaction = transaction;
            self.state = State::Initial;
        }
        if self.is_current(message) && !self.state.is_decided() {
            self.state = match decision {
                Decision::Commit => State::Committed,
                Decision::Abort => State::Aborted,
            };
            self.follow(message.from, step);
            step.cancel_timer(PATIENCE);
            note_decision(decision, message.operation, step);
        }
        if decision == Decision::Commit {
            let operation = message.operation;
            step.send(message.from, HAVE_COMMITTED, operation, Body::empty());
        }
    }

    fn is_current(&self, message: &Message) -> bool {
        message.operation.round(self.n) == self.transaction
    }

    /// Whether a reply belongs to what this process waits for.
    fn take_reply(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let from = message.from;
        match (message.kind, &mut self.role) {
            (VOTE_YES, Role::Voting(votes)) => {
                votes.yes.insert(from);
                self.count_votes(false, step);
            }
            (VOTE_NO, Role::Voting(votes)) => {
                votes.no.insert(from);
                self.count_votes(false, step);
            }
            (ACK, Role::Preparing { unacknowledged, .. }) => {
                unacknowledged.remove(&from);
                self.count_acknowledgements(false, step);
            }
            (HAVE_COMMITTED, Role::Committing { unacknowledged }) => {
                unacknowledged.remove(&from);
                self.count_committed(false, step);
            }
            (STATE_REPORT, Role::Terminating { reports, .. }) => {
                reports.insert(from, message.read()?);
                self.count_reports(false, step);
            }
            _ => {} // too late: the timeout has decided, or somebody else has taken over
        }
        Ok(())
    }
}

impl Process for Site {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id == FIRST {
            self.begin(step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if self.back_from_crash {
            return Ok(());
        }
        match message.kind {
            CAN_COMMIT => self.asked_to_vote(message, step),
            PRE_COMMIT => self.told_to_prepare(message, step),
            DO_COMMIT => self.told(Decision::Commit, message, step),
            ABORT => self.told(Decision::Abort, message, step),
            STATE_REQUEST => return self.report_state(message, step),
            VOTE_YES | VOTE_NO | ACK | HAVE_COMMITTED | STATE_REPORT => {
                if self.is_current(message) {
                    return self.take_reply(message, step);
                }
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, step: &mut Step<'_>) {
        match id {
            REPLIES => match self.role {
                Role::Participant => {}
                Role::Voting(_) => self.count_votes(true, step),
                Role::Preparing { .. } => self.count_acknowledgements(true, step),
                Role::Committing { .. } => self.count_committed(true, step),
                Role::Terminating { .. } => self.count_reports(true, step),
            },
            PATIENCE if matches!(self.role, Role::Participant) && !self.state.is_decided() => {
                self.take_over(step);
            }
            _ => {}
        }
    }

    fn recover(&mut self, _bytes: &[u8], _step: &mut Step<'_>) {
        self.back_from_crash = true;
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, End, Fault, Moment, Run, Scenario, Storage};

    fn simulate(scenario: &Scenario) -> Run {
        simulation::run(&ALGORITHM, scenario).expect("a good scenario")
    }

    fn death(node: u32, at: Moment) -> Fault {
        Fault::Crash {
            node: ProcessId(node),
            at,
            back: None,
            storage: Storage::Kept,
        }
    }

    fn at_point(node: u32, point: &str) -> Fault {
        death(node, Moment::Point(point.to_owned()))
    }

    fn decisions(run: &Run) -> BTreeMap<u32, Decision> {
        let decided = run.events.iter().filter(|e| e.note() == Some("decided"));
        decided
            .map(|event| (event.node.0, event.field("decision").unwrap()))
            .collect()
    }

    #[test]
    fn a_commit_takes_six_messages_a_participant() {
        for n in 2..=10 {
            for (rounds, seed) in [(1, 1), (1, 2), (3, 3)] {
                let run = simulate(&Scenario::new(n, rounds, seed));
                let each = u64::from((n - 1) * rounds);
                for (kind, count) in [
                    ("can-commit", each),
                    ("vote-yes", each),
                    ("vote-no", 0),
                    ("pre-commit", each),
                    ("ack", each),
                    ("do-commit", each),
                    ("have-committed", each),
                    ("abort", 0),
                    ("state-request", 0),
                    ("state-report", 0),
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
    fn four_processes_commit_with_eighteen_messages() {
        let run = simulate(&Scenario::new(4, 1, 0));
        assert_eq!(run.total().attempted, 18);
    }

    #[test]
    fn a_vote_no_aborts_and_spares_its_voter_the_decision() {
        for n in 3..=8 {
            for seed in 0..20 {
                let run = simulate(&Scenario::new(n, 1, seed).option("vote-no", "1,2"));
                let others = u64::from(n - 3);
                assert_eq!(run.attempted("vote-yes"), others);
                assert_eq!(run.attempted("vote-no"), 2);
                assert_eq!(run.attempted("abort"), others);
                let asked = u64::from(n - 1);
                assert_eq!(run.total().attempted, asked + 2 + 2 * others);
                run.assert_formula();
                run.properties().unwrap();
                assert_eq!(decisions(&run).len(), n as usize);
            }
        }
    }

    /// What two-phase commit cannot: whoever is left decides.
    #[test]
    fn nobody_is_blocked_when_the_coordinator_dies_at_any_point() {
        for (point, decision) in [
            ("after-votes", Decision::Abort),
            ("after-first-precommit", Decision::Commit),
            ("after-precommit", Decision::Commit),
            ("after-acks", Decision::Commit),
            ("after-first-decision", Decision::Commit),
        ] {
            for n in 3..=6 {
                for seed in 0..50 {
                    let run = simulate(&Scenario::new(n, 1, seed).fault(at_point(0, point)));
                    run.properties().unwrap();
                    assert_eq!(run.ended, End::Quiet);
                    for id in 1..n {
                        let decided = decisions(&run).get(&id).copied();
                        assert_eq!(decided, Some(decision), "{point}, N={n}, seed {seed}");
                    }
                    run.assert_formula();
                }
            }
        }
    }

    /// N−2 asked, N−2 answer, N−2 told: the last two phases of the transaction cost no more.
    #[test]
    fn the_termination_protocol_costs_three_messages_a_survivor_to_abort() {
        for n in 3..=8 {
            let run = simulate(&Scenario::new(n, 1, 5).fault(at_point(0, "after-votes")));
            let survivors = u64::from(n - 2);
            assert_eq!(run.attempted("state-request"), survivors);
            assert_eq!(run.attempted("state-report"), survivors);
            assert_eq!(run.attempted("abort"), survivors);
            let voting = 2 * u64::from(n - 1);
            assert_eq!(run.total().attempted, voting + 3 * survivors);
        }
    }

    #[test]
    fn a_successor_may_die_as_well() {
        for (first, decision) in [
            ("after-votes", Decision::Abort),
            ("after-precommit", Decision::Commit),
        ] {
            for second in ["after-reports", "after-first-decision"] {
                for seed in 0..100 {
                    let scenario = Scenario::new(5, 1, seed)
                        .fault(at_point(0, first))
                        .fault(at_point(1, second));
                    let run = simulate(&scenario);
                    run.properties().unwrap();
                    run.assert_formula();
                    for id in 2..5 {
                        assert_eq!(decisions(&run).get(&id), Some(&decision), "seed {seed}");
                    }
                }
            }
        }
    }

    /// Also where messages take longer than timeouts: then one takes over, follows a lower one that has
    /// done so too, and takes over again when that has died.
    #[test]
    fn whoever_takes_over_from_whomever_the_formula_admits_it() {
        let (mut taken_over, mut again) = (0, 0);
        for seed in 0..3000 {
            let n = 4 + (seed % 3) as u32;
            let later = |salt: u64| Duration::from_millis(2_900 + seed * salt % 4_000);
            let points = [
                "after-votes",
                "after-first-precommit",
                "after-acks",
                "after-first-decision",
            ];
            let mut scenario = Scenario::new(n, 2, seed)
                .fault(at_point(0, points[seed as usize % 4]))
                .fault(death(1, Moment::Time(later(7919))));
            if seed % 2 == 0 {
                scenario.network.delay = Duration::from_millis(1)..=Duration::from_millis(1500);
            }
            let run = simulate(&scenario);
            let case = run.case();
            let takers: Vec<_> = case
                .notes("took-over")
                .map(|event| (event.node, event.outcome.operation))
                .collect();
            let different: BTreeSet<_> = takers.iter().collect();
            taken_over += takers.len();
            again += takers.len() - different.len();
            for row in expected(&case) {
                let attempted = run.attempted(row.kind);
                let admitted = row.count.admits(crate::units::Messages::new(attempted));
                assert!(admitted, "{row:?}: {attempted}, seed {seed}");
            }
        }
        assert!(
            taken_over > 3000 && again > 10,
            "{taken_over}, {again} again"
        );
    }

    #[test]
    fn the_survivors_go_on_with_the_next_transactions() {
        for seed in 0..50 {
            let scenario = Scenario::new(4, 3, seed).fault(at_point(0, "after-precommit"));
            let run = simulate(&scenario);
            run.properties().unwrap();
            run.assert_formula();
            assert_eq!(run.completed(), 3);
        }
    }

    #[test]
    fn whoever_dies_whenever_the_others_agree() {
        for seed in 0..3000 {
            let n = 3 + (seed % 4) as u32;
            let time = |salt: u64| Duration::from_micros(1 + seed * salt % 70_000);
            let node = |salt: u64| (seed / salt % u64::from(n)) as u32;
            let votes = if seed % 5 == 0 { "1@1" } else { "1@9" };
            let scenario = Scenario::new(n, 2, seed)
                .option("vote-no", votes)
                .fault(death(node(1), Moment::Time(time(7919))))
                .fault(death(node(7), Moment::Time(time(104_729))));
            let run = simulate(&scenario);
            run.properties().unwrap();
            // Transactions that nobody is left to end are open.
            for row in expected(&run.case()) {
                let attempted = run.attempted(row.kind);
                let admitted = row.count.admits(crate::units::Messages::new(attempted));
                assert!(admitted, "{row:?}: {attempted}, seed {seed}");
            }
        }
    }

    /// The limit of three-phase commit: a side that was cut off before its pre-commits is
    /// uncertain and aborts, the other is committable and commits.
    #[test]
    fn a_partition_between_the_pre_commits_breaks_agreement() {
        let broken = (0..200).find_map(|seed| {
            let cut = Fault::Partition {
                side: vec![ProcessId(2), ProcessId(3)],
                from: Duration::from_millis(5 + seed % 30),
                until: Duration::from_secs(100),
            };
            let run = simulate(&Scenario::new(4, 1, seed).fault(cut));
            let why = run.safety().err()?;
            Some((decisions(&run), why))
        });
        let (decisions, why) = broken.expect("a seed among 200");
        assert!(why.contains("agreement does not hold"), "{why}");
        assert_eq!(decisions[&0], decisions[&1]);
        assert_eq!(decisions[&2], decisions[&3]);
        assert_ne!(decisions[&0], decisions[&2]);
    }
}
