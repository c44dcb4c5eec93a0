//! Two-phase commit: a coordinator, process 0, asks every participant for its vote and tells them
//! the decision, which they acknowledge (Gray, *Notes on Data Base Operating Systems*, 1978).
//!
//! The abort path, stated since texts differ: the coordinator waits for all votes or its timeout;
//! an abort goes to every participant that voted yes or did not vote, and each that gets it
//! acknowledges; one that voted no has aborted on its own and gets nothing more (after Mohan,
//! Lindsay & Obermarck, TODS 11(4), 1986). A decision is not repeated when acknowledgements fail
//! to come: after the same timeout the coordinator goes on to the next transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Algorithm, Body, Case, Channels, Expectation, Expected, FailureModel, KindNumber, Message,
    OperationId, OptionSpec, Options, Outcome, Phase, Process, ProcessId, ProtocolError, Setup,
    SetupError, Step, Synchrony, TimerId, Topology,
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

const CITATION: &str = "Gray, Notes on Data Base Operating Systems, 1978; N=4 gives 12";
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
        OptionSpec {
            name: "vote-no",
            about: "participants that vote no: ids, or id@transaction, separated by commas",
            default: "nobody",
        },
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
    identities: &[],
    properties: &[],
    points: &[],
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
            quiescing: false,
        })
    } else {
        Box::new(Participant {
            id: setup.id,
            n: setup.n,
            votes_no,
            record: None,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Decision {
    Commit,
    Abort,
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let participants = u64::from(case.n.saturating_sub(1));
    // A transaction whose end nobody told may have come to any point of either path.
    let open = Expected::between(0, participants) * case.open();
    let mut rows = [open; 6];
    let [request, yes, no, commit, abort, ack] = &mut rows;
    let add = |row: &mut Expected, low: u64, high: u64| *row = *row + Expected::between(low, high);
    // One that has died may have done so before its acknowledgement.
    let died = case.died.iter().filter(|id| id.0 != 0).count() as u64;
    for outcome in case.completed() {
        let Some(decided) = decided(outcome) else {
            continue;
        };
        let (voted_no, silent) = (decided.no.len() as u64, decided.silent.len() as u64);
        let voted_yes = participants.saturating_sub(voted_no + silent);
        // One that was silent may have sent its vote too late, or may be dead.
        add(request, participants, participants);
        add(yes, voted_yes, voted_yes + silent);
        add(no, voted_no, voted_no + silent);
        match decided.decision {
            Decision::Commit => {
                add(commit, participants, participants);
                add(ack, participants.saturating_sub(died), participants);
            }
            Decision::Abort => {
                add(abort, voted_yes + silent, voted_yes + silent);
                add(ack, voted_yes.saturating_sub(died), voted_yes + silent);
            }
        }
    }
    let [request, yes, no, commit, abort, ack] = rows;
    let row = |kind, count, formula, citation| Expectation {
        kind,
        count,
        formula,
        citation,
    };
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
    serde_json::from_value(outcome.value.clone()).ok()
}

#[derive(Debug, Clone, Hash)]
struct Coordinator {
    n: u32,
    rounds: u32,
    timeout: Duration,
    /// The transaction that was begun last, from 1.
    transaction: u32,
    phase: CoordinatorPhase,
    quiescing: bool,
}

#[derive(Debug, Clone, Hash)]
enum CoordinatorPhase {
    Idle,
    Voting {
        yes: BTreeSet<ProcessId>,
        no: BTreeSet<ProcessId>,
    },
    Deciding {
        unacknowledged: BTreeSet<ProcessId>,
    },
}

/// What the coordinator must remember across a crash.
#[derive(Debug, Serialize, Deserialize)]
struct CoordinatorRecord {
    transaction: u32,
    /// None while votes are collected.
    decision: Option<Decision>,
    /// Who is told the decision.
    told: BTreeSet<ProcessId>,
}

impl Coordinator {
    fn participants(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (1..self.n).map(ProcessId)
    }

    fn operation(&self) -> OperationId {
        OperationId::new(COORDINATOR, self.transaction, self.n)
    }

    fn begin(&mut self, step: &mut Step<'_>) {
        self.transaction += 1;
        self.phase = CoordinatorPhase::Voting {
            yes: BTreeSet::new(),
            no: BTreeSet::new(),
        };
        let operation = self.operation();
        step.report(
            Phase::Invoke,
            operation,
            json!({ "transaction": self.transaction }),
        );
        self.remember(None, BTreeSet::new(), step);
        for participant in self.participants() {
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
        let CoordinatorPhase::Voting { yes, no } = &mut self.phase else {
            return;
        };
        if says_yes {
            yes.insert(from)
        } else {
            no.insert(from)
        };
        if yes.len() + no.len() == self.n as usize - 1 {
            self.decide(step);
        }
    }

    fn decide(&mut self, step: &mut Step<'_>) {
        let CoordinatorPhase::Voting { yes, no } = &self.phase else {
            return;
        };
        let silent: BTreeSet<_> = self
            .participants()
            .filter(|id| !yes.contains(id) && !no.contains(id))
            .collect();
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
        };
        step.cancel_timer(VOTES);
        self.remember(Some(decision), told.clone(), step);
        self.report(&outcome, step);
        self.tell(decision, told, step);
    }

    fn report(&self, outcome: &Decided, step: &mut Step<'_>) {
        let phase = match outcome.decision {
            Decision::Commit => Phase::Ok,
            Decision::Abort => Phase::Fail,
        };
        step.report(phase, self.operation(), json!(outcome));
    }

    fn tell(&mut self, decision: Decision, told: BTreeSet<ProcessId>, step: &mut Step<'_>) {
        let kind = match decision {
            Decision::Commit => COMMIT,
            Decision::Abort => ABORT,
        };
        for &participant in &told {
            step.send(
                participant,
                kind,
                self.operation(),
                Body::encode(&self.transaction),
            );
        }
        if told.is_empty() {
            return self.end(step);
        }
        self.phase = CoordinatorPhase::Deciding {
            unacknowledged: told,
        };
        step.set_timer(ACKS, self.timeout);
    }

    fn acknowledged(&mut self, from: ProcessId, step: &mut Step<'_>) {
        let CoordinatorPhase::Deciding { unacknowledged } = &mut self.phase else {
            return;
        };
        unacknowledged.remove(&from);
        if unacknowledged.is_empty() {
            step.cancel_timer(ACKS);
            self.end(step);
        }
    }

    fn end(&mut self, step: &mut Step<'_>) {
        self.phase = CoordinatorPhase::Idle;
        if self.transaction < self.rounds && !self.quiescing {
            self.begin(step);
        }
    }

    fn remember(&self, decision: Option<Decision>, told: BTreeSet<ProcessId>, step: &mut Step<'_>) {
        let record = CoordinatorRecord {
            transaction: self.transaction,
            decision,
            told,
        };
        step.persist(Body::encode(&record).as_bytes().to_vec());
    }
}

impl Process for Coordinator {
    fn start(&mut self, step: &mut Step<'_>) {
        self.begin(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let current = message.operation == self.operation();
        match message.kind {
            VOTE_YES | VOTE_NO | ACK if !current => {} // too late: the timeout has decided
            VOTE_YES => self.vote(message.from, true, step),
            VOTE_NO => self.vote(message.from, false, step),
            ACK => self.acknowledged(message.from, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, step: &mut Step<'_>) {
        match (id, &self.phase) {
            (VOTES, CoordinatorPhase::Voting { .. }) => self.decide(step),
            (ACKS, CoordinatorPhase::Deciding { .. }) => self.end(step),
            _ => {}
        }
    }

    /// A decision that was written is told again; a transaction without one is aborted.
    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        let record: Result<CoordinatorRecord, _> = Body::from_bytes(bytes.to_vec()).decode();
        let Ok(record) = record else {
            return self.start(step);
        };
        self.transaction = record.transaction;
        match record.decision {
            Some(decision) => self.tell(decision, record.told, step),
            None => {
                let everybody: BTreeSet<_> = self.participants().collect();
                self.remember(Some(Decision::Abort), everybody.clone(), step);
                let outcome = Decided {
                    decision: Decision::Abort,
                    no: BTreeSet::new(),
                    silent: everybody.clone(),
                };
                self.report(&outcome, step);
                self.tell(Decision::Abort, everybody, step);
            }
        }
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[derive(Debug, Clone, Hash)]
struct Participant {
    id: ProcessId,
    n: u32,
    votes_no: VotesNo,
    record: Option<ParticipantRecord>,
}

/// What a participant must remember across a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct ParticipantRecord {
    operation: OperationId,
    state: ParticipantState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum ParticipantState {
    Prepared,
    Committed,
    Aborted,
}

impl Participant {
    fn remember(&mut self, message: &Message, state: ParticipantState, step: &mut Step<'_>) {
        let record = ParticipantRecord {
            operation: message.operation,
            state,
        };
        self.record = Some(record);
        step.persist(Body::encode(&record).as_bytes().to_vec());
    }
}

impl Process for Participant {
    fn start(&mut self, _step: &mut Step<'_>) {}

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let (reply, state) = match message.kind {
            // The abort of a transaction may overtake its vote request: there is no more to say.
            VOTE_REQUEST
                if self
                    .record
                    .is_some_and(|r| r.operation >= message.operation) =>
            {
                return Ok(());
            }
            VOTE_REQUEST
                if self
                    .votes_no
                    .contains(self.id, message.operation.round(self.n)) =>
            {
                (VOTE_NO, ParticipantState::Aborted)
            }
            VOTE_REQUEST => (VOTE_YES, ParticipantState::Prepared),
            COMMIT => (ACK, ParticipantState::Committed),
            ABORT => (ACK, ParticipantState::Aborted),
            _ => return Err(message.unexpected()),
        };
        // A decision on an older transaction is acknowledged and changes nothing here.
        if self
            .record
            .is_none_or(|record| record.operation <= message.operation)
        {
            self.remember(message, state, step);
        }
        step.send(message.from, reply, message.operation, Body::empty());
        Ok(())
    }

    /// A participant that had voted yes waits for the decision: it may not decide alone.
    fn recover(&mut self, bytes: &[u8], _step: &mut Step<'_>) {
        self.record = Body::from_bytes(bytes.to_vec()).decode().ok();
    }
}

/// Who votes no, in which transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct VotesNo(Vec<(ProcessId, Option<u32>)>);

impl VotesNo {
    fn read(options: &Options, n: u32) -> Result<Self, SetupError> {
        let Some(value) = options.get("vote-no") else {
            return Ok(Self::default());
        };
        let rule = |text: &str| {
            let (id, transaction) = match text.split_once('@') {
                Some((id, transaction)) => (id, Some(transaction.parse().ok()?)),
                None => (text, None),
            };
            let id: u32 = id.parse().ok()?;
            (1..n).contains(&id).then_some((ProcessId(id), transaction))
        };
        let rules: Option<Vec<_>> = value.split(',').map(|text| rule(text.trim())).collect();
        rules.map(Self).ok_or_else(|| SetupError::BadOption {
            option: "vote-no",
            value: value.to_owned(),
            expected: "participants' ids from 1 to N-1, each as ID or ID@TRANSACTION",
        })
    }

    fn contains(&self, id: ProcessId, transaction: u32) -> bool {
        self.0
            .iter()
            .any(|&(who, when)| who == id && when.is_none_or(|when| when == transaction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::testing::World;

    fn last_states(world: &World) -> Vec<ParticipantState> {
        let participants = world.persisted.iter().filter(|(id, _)| **id != COORDINATOR);
        participants
            .map(|(_, records)| {
                let bytes = records.last().expect("a record").clone();
                Body::from_bytes(bytes)
                    .decode::<ParticipantRecord>()
                    .unwrap()
                    .state
            })
            .collect()
    }

    #[test]
    fn a_commit_takes_four_messages_a_participant() {
        for n in 2..=10 {
            for (rounds, seed) in [(1, 1), (1, 2), (3, 3)] {
                let world = World::run(&ALGORITHM, n, rounds, &[], seed);
                let each = u64::from((n - 1) * rounds);
                for (kind, count) in [
                    ("vote-request", each),
                    ("vote-yes", each),
                    ("vote-no", 0),
                    ("commit", each),
                    ("abort", 0),
                    ("ack", each),
                ] {
                    assert_eq!(world.sent(kind), count, "{kind}, N={n}");
                }
                world.assert_formula();
                assert!(
                    last_states(&world)
                        .iter()
                        .all(|s| *s == ParticipantState::Committed)
                );
            }
        }
    }

    #[test]
    fn a_vote_no_aborts_and_spares_its_voter_the_decision() {
        for n in 3..=10 {
            for seed in 0..10 {
                let world = World::run(&ALGORITHM, n, 1, &[("vote-no", "1,2")], seed);
                let others = u64::from(n - 3);
                assert_eq!(world.sent("vote-request"), u64::from(n - 1));
                assert_eq!(world.sent("vote-yes"), others);
                assert_eq!(world.sent("vote-no"), 2);
                assert_eq!(world.sent("commit"), 0);
                assert_eq!(world.sent("abort"), others);
                assert_eq!(world.sent("ack"), others);
                world.assert_formula();
                assert!(
                    last_states(&world)
                        .iter()
                        .all(|s| *s == ParticipantState::Aborted)
                );
            }
        }
    }

    #[test]
    fn a_vote_no_may_be_for_one_transaction() {
        let world = World::run(&ALGORITHM, 4, 3, &[("vote-no", "3@2")], 5);
        let ends: Vec<_> = world
            .events
            .iter()
            .map(|event| &event.outcome)
            .filter(|outcome| outcome.phase != Phase::Invoke)
            .map(|outcome| outcome.phase)
            .collect();
        assert_eq!(ends, [Phase::Ok, Phase::Fail, Phase::Ok]);
        assert_eq!(world.messages.len(), 12 + 10 + 12);
        world.assert_formula();
    }

    #[test]
    fn a_silent_participant_aborts_after_the_timeout() {
        for n in 2..=6 {
            let world = World::run_with_crashed(&ALGORITHM, n, 2, &[], 3, &[1]);
            assert_eq!(world.sent("abort"), 2 * u64::from(n - 1));
            assert_eq!(world.sent("ack"), 2 * u64::from(n - 2));
            assert!(
                world
                    .events
                    .iter()
                    .map(|event| &event.outcome)
                    .all(|outcome| outcome.phase != Phase::Ok)
            );
            world.assert_formula();
        }
    }

    #[test]
    fn a_recovered_coordinator_repeats_its_decision_or_aborts() {
        let options = Options::default();
        let setup = Setup {
            id: COORDINATOR,
            n: 3,
            rounds: 1,
            options: &options,
        };
        let everybody: BTreeSet<_> = [ProcessId(1), ProcessId(2)].into();
        for (decision, told, kind) in [
            (Some(Decision::Commit), everybody, COMMIT),
            (None, BTreeSet::new(), ABORT),
        ] {
            let record = CoordinatorRecord {
                transaction: 1,
                decision,
                told,
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

    #[test]
    fn votes_no_are_read_or_refused() {
        let read = |value: &str| {
            VotesNo::read(
                &Options([("vote-no".to_owned(), value.to_owned())].into()),
                4,
            )
        };
        assert!(
            read("1,3@2").is_ok_and(|rules| rules.contains(ProcessId(3), 2)
                && !rules.contains(ProcessId(3), 1)
                && rules.contains(ProcessId(1), 9))
        );
        for bad in ["0", "4", "x", "1@", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
