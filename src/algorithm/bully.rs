//! Bully: the live process with the highest id takes the lead. Whoever finds the coordinator dead
//! asks all higher processes (ELECTION). One that lives answers (OK) and asks in its turn; who hears
//! no OK within a timeout has nobody above it, and tells all below (COORDINATOR). Who heard an OK
//! and then no COORDINATOR begins a new election.
//!
//! The case counted is the usual one: process N−1 was the coordinator, is dead and never listened
//! ([`Algorithm::absent`]); process 0 detects it. Each election has a number and a process joins it
//! once, however many ask it to. Then process i sends N−1−i ELECTIONs, together N(N−1)/2, each of
//! them but the N−1 to the dead process gets its OK, and the new coordinator N−2 sends N−2
//! COORDINATORs: N²−N−1 attempted. The N−1 to the dead process find a closed port and never become
//! messages: N(N−2) on the wire.
//!
//! A process does not learn that a connection was refused; it waits. The model is synchronous: where
//! an answer takes longer than the timeouts, two processes may lead for a while, and more elections
//! may be held. The formula takes from the processes' own notes who joined which election and who
//! led, so it holds then too; the usual case is what they say while timeouts hold.
//!
//! The form is that of Coulouris, Dollimore, Kindberg & Blair, *Distributed Systems*; the messages of
//! Garcia-Molina's paper (1982), which gave the algorithm its name, are others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Event, Execution, Expectation, Expected, FailureModel,
    Identity, KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Point,
    Process, ProcessId, Property, PropertyKind, ProtocolError, Relation, Setup, SetupError, Step,
    Synchrony, TimerId, Topology,
};

const ELECTION: KindNumber = KindNumber(1);
const OK: KindNumber = KindNumber(2);
const COORDINATOR: KindNumber = KindNumber(3);

const ANSWER: TimerId = TimerId(1);

const CITATION: &str = "after Coulouris, Dollimore, Kindberg & Blair, Distributed Systems, 5th \
                        edition, 15.3; Garcia-Molina, IEEE Trans. Computers C-31(1), 1982";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "bully",
    about: "the highest process that lives becomes coordinator after the highest of all has died",
    citation: CITATION,
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::Synchronous,
    failures: FailureModel::CrashStop,
    workload: "process N-1 is dead from the beginning; the initiator detects it, and again when an \
               election has ended",
    least: 2,
    processes: |n| n,
    absent: |n, options| match Alive::of(options) {
        Alive::All => Vec::new(),
        Alive::AllButTheHighest => vec![ProcessId(n - 1)],
    },
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: INITIATOR,
            about: "who detects the death: an id, or highest (the highest that lives: the best case)",
            default: "0",
        },
        OptionSpec {
            name: ALIVE,
            about: "all: process N-1 lives and wins; others: it is dead from the beginning",
            default: "others",
        },
        OptionSpec {
            name: OK_TIMEOUT,
            about: "how long a process waits for an OK before it leads",
            default: "1s",
        },
        OptionSpec {
            name: COORDINATOR_TIMEOUT,
            about: "how long it waits for the coordinator after an OK before it begins again",
            default: "3s",
        },
    ],
    formula: "N^2-N-1, of which N-1 are refused",
    per_operation: |n, options| {
        let (highest, initiator) = roles(n, options);
        let joining = || (initiator.0..=highest.0).map(u64::from);
        let elections: u64 = joining().map(|i| u64::from(n) - 1 - i).sum();
        let oks: u64 = joining().map(|i| u64::from(highest.0) - i).sum();
        Expected::exactly(elections + oks + u64::from(highest.0))
    },
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &[],
        losses: &["ok"],
    },
    identities: &[Identity {
        text: "ok <= election",
        terms: &[(1, "ok"), (-1, "election")],
        relation: Relation::AtMostZero,
    }],
    properties: &[
        Property {
            name: "one coordinator",
            kind: PropertyKind::Safety,
            about: "in one election at most one live process leads, all that learn of one learn of \
                    it alone, and none that joined above it lives",
            premise: ALWAYS,
            check: at_most_one_leads_and_nobody_above_it_lives,
        },
        Property {
            name: "everybody learns",
            kind: PropertyKind::Liveness,
            about: "every live process learns the coordinator of the last election that ended or led \
                    in it, and a live initiator's elections all end",
            premise: somebody_left_waits,
            check: everybody_learns,
        },
    ],
    points: &[
        Point {
            name: "elected",
            role: "leader",
            about: "a process has found itself to be the highest and has told nobody",
        },
        Point {
            name: "announced",
            role: "leader",
            about: "it has told all lower processes",
        },
    ],
    process,
};

const INITIATOR: &str = "initiator";
const ALIVE: &str = "alive";
const OK_TIMEOUT: &str = "ok-timeout";
const COORDINATOR_TIMEOUT: &str = "coordinator-timeout";

/// Who is there at the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alive {
    All,
    AllButTheHighest,
}

impl Alive {
    fn read(options: &Options) -> Result<Self, SetupError> {
        match options.get(ALIVE) {
            None | Some("others") => Ok(Self::AllButTheHighest),
            Some("all") => Ok(Self::All),
            Some(value) => Err(SetupError::BadOption {
                option: ALIVE,
                value: value.to_owned(),
                expected: "all or others",
            }),
        }
    }

    /// Of options that were read before.
    fn of(options: &Options) -> Self {
        Self::read(options).unwrap_or(Self::AllButTheHighest)
    }

    fn highest(self, n: u32) -> ProcessId {
        match self {
            Self::All => ProcessId(n - 1),
            Self::AllButTheHighest => ProcessId(n - 2),
        }
    }
}

fn initiator(n: u32, options: &Options) -> Result<ProcessId, SetupError> {
    let highest = Alive::read(options)?.highest(n);
    let Some(value) = options.get(INITIATOR) else {
        return Ok(ProcessId(0));
    };
    if value == "highest" {
        return Ok(highest);
    }
    let id = value.parse().ok().map(ProcessId);
    id.filter(|&id| id <= highest).ok_or(SetupError::BadOption {
        option: INITIATOR,
        value: value.to_owned(),
        expected: "the id of a process that lives, or highest",
    })
}

/// The highest process that lives, and the initiator.
fn roles(n: u32, options: &Options) -> (ProcessId, ProcessId) {
    let initiator = initiator(n, options).unwrap_or_default();
    (Alive::of(options).highest(n), initiator)
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let n = u64::from(case.n);
    let absent = (ALGORITHM.absent)(case.n, case.options);
    let died = |id: ProcessId| case.died.contains(&id);
    // A process that died may have done so between two of its messages.
    let from = |event: &Event, count: u64| {
        let low = if died(event.node) { 0 } else { count };
        Expected::between(low, count)
    };
    let above = |event: &Event| n - 1 - u64::from(event.node.0);
    let elections = case.notes("joined").map(|event| from(event, above(event)));
    let oks = case.notes("joined").map(|event| {
        let there = |id: &ProcessId| !absent.contains(id);
        let higher = (event.node.0 + 1..case.n).map(ProcessId).filter(there);
        let (mut least, mut most) = (0, 0);
        for id in higher {
            most += 1;
            least += u64::from(!died(id));
        }
        Expected::between(from(event, least).low().get(), most)
    });
    let coordinators = case.notes("leader");
    let coordinators = coordinators.map(|event| from(event, event.node.0.into()));
    let row = |kind, count, formula| Expectation {
        kind,
        count,
        formula,
        citation: CITATION,
    };
    vec![
        row(
            "election",
            elections.sum(),
            "N-1-i by each process i that joins: N(N-1)/2 where process 0 detects",
        ),
        row(
            "ok",
            oks.sum(),
            "one for each election that reaches a live process: (N-1)(N-2)/2",
        ),
        row(
            "coordinator",
            coordinators.sum(),
            "i by the new coordinator i: N-2",
        ),
    ]
}

fn at_most_one_leads_and_nobody_above_it_lives(execution: &Execution<'_>) -> Result<(), String> {
    let election = |event: &Event| event.field::<u32>("election").unwrap_or_default();
    let mut leaders: BTreeMap<u32, ProcessId> = BTreeMap::new();
    let led = execution.notes("leader").map(|event| (event, event.node));
    let learned = execution
        .notes("elected")
        .map(|event| (event, event.field("leader").unwrap_or_default()));
    // One that led and has died since is followed by another in the same election.
    let lives = |(_, leader): &(&Event, ProcessId)| !execution.is_crashed(*leader);
    for (event, leader) in led.chain(learned).filter(lives) {
        let number = election(event);
        let known = *leaders.entry(number).or_insert(leader);
        if known != leader {
            return Err(format!(
                "election {number} has two coordinators: {known} and {leader}"
            ));
        }
    }
    for event in execution.notes("joined") {
        let number = election(event);
        let above = leaders
            .get(&number)
            .filter(|&&leader| leader < event.node && !execution.is_crashed(event.node));
        if let Some(leader) = above {
            return Err(format!(
                "process {leader} leads election {number}, in which the live process {} took part",
                event.node
            ));
        }
    }
    Ok(())
}

/// Where the initiator is dead, whoever lives may never have heard of an election.
fn somebody_left_waits(execution: &Execution<'_>) -> Result<(), &'static str> {
    let (_, initiator) = roles(execution.n, execution.options);
    let mut joined = execution.notes("joined");
    let waits =
        !execution.is_crashed(initiator) || joined.any(|event| !execution.is_crashed(event.node));
    waits
        .then_some(())
        .ok_or("the initiator is dead and no live process has joined an election")
}

fn everybody_learns(execution: &Execution<'_>) -> Result<(), String> {
    let election = |event: &Event| event.field::<u32>("election").unwrap_or_default();
    // What each process has joined last, and of which election it knows the coordinator.
    let mut joined: BTreeMap<ProcessId, u32> = BTreeMap::new();
    let mut known: BTreeMap<ProcessId, u32> = BTreeMap::new();
    for event in execution.notes("joined") {
        let last = joined.entry(event.node).or_default();
        *last = election(event).max(*last);
    }
    for event in execution.notes("leader").chain(execution.notes("elected")) {
        let last = known.entry(event.node).or_default();
        *last = election(event).max(*last);
    }
    let waits = |(id, number): &(&ProcessId, &u32)| {
        !execution.is_crashed(**id) && known.get(id).is_none_or(|known| known < number)
    };
    if let Some((id, number)) = joined.iter().find(waits) {
        return Err(format!(
            "process {id} joined election {number} and never learned of a coordinator"
        ));
    }
    let (_, initiator) = roles(execution.n, execution.options);
    if execution.is_crashed(initiator) {
        return Ok(());
    }
    let ends = execution.events.iter().filter(|e| e.outcome.phase.ends());
    let ended = ends
        .map(|event| event.outcome.operation)
        .collect::<BTreeSet<_>>()
        .len();
    match ended as u32 {
        ended if ended == execution.rounds => Ok(()),
        ended => Err(format!("{ended} of {} elections ended", execution.rounds)),
    }
}

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let options = setup.options;
    let initiator = initiator(setup.n, options)?;
    Ok(Box::new(Candidate {
        id: setup.id,
        n: setup.n,
        rounds: if setup.id == initiator {
            setup.rounds
        } else {
            0
        },
        ok_timeout: options.duration(OK_TIMEOUT, Duration::from_secs(1))?,
        coordinator_timeout: options.duration(COORDINATOR_TIMEOUT, Duration::from_secs(3))?,
        round: 0,
        open: false,
        joined: BTreeSet::new(),
        election: 0,
        operation: OperationId::NONE,
        awaits: Awaits::Nothing,
        quiescing: false,
    }))
}

#[derive(Debug, Clone, Hash)]
struct Candidate {
    id: ProcessId,
    n: u32,
    /// How often it detects that the coordinator is dead.
    rounds: u32,
    ok_timeout: Duration,
    coordinator_timeout: Duration,
    /// Its last detection, from 1.
    round: u32,
    /// Whether the election that began with it goes on.
    open: bool,
    /// Every election that it has joined: each once, however late somebody asks it to.
    joined: BTreeSet<u32>,
    /// The highest election that it has joined or knows the coordinator of.
    election: u32,
    /// What that one belongs to.
    operation: OperationId,
    awaits: Awaits,
    quiescing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Awaits {
    Nothing,
    Ok,
    Coordinator,
}

impl Candidate {
    fn detect_again(&mut self, step: &mut Step<'_>) {
        if self.round == self.rounds || self.quiescing {
            return;
        }
        self.round += 1;
        self.open = true;
        let operation = OperationId::new(self.id, self.round, self.n);
        step.report(Phase::Invoke, operation, json!({ "detected_by": self.id }));
        self.join(self.election + 1, operation, step);
    }

    fn join(&mut self, election: u32, operation: OperationId, step: &mut Step<'_>) {
        if !self.joined.insert(election) {
            return;
        }
        step.note("joined", operation, json!({ "election": election }));
        for higher in (self.id.0 + 1..self.n).map(ProcessId) {
            step.send(higher, ELECTION, operation, Body::encode(&election));
        }
        // Where its coordinator is known already, or a later one goes on, that was all.
        let newest = election > self.election;
        if newest {
            self.election = election;
            self.operation = operation;
        }
        if self.id.0 + 1 == self.n {
            self.lead(election, operation, step);
        } else if newest {
            self.awaits = Awaits::Ok;
            step.set_timer(ANSWER, self.ok_timeout);
        }
    }

    fn lead(&mut self, election: u32, operation: OperationId, step: &mut Step<'_>) {
        self.awaits = Awaits::Nothing;
        step.note("leader", operation, json!({ "election": election }));
        step.point("elected");
        for lower in (0..self.id.0).map(ProcessId) {
            step.send(lower, COORDINATOR, operation, Body::encode(&election));
        }
        step.point("announced");
        self.end(self.id, step);
    }

    fn follow(
        &mut self,
        leader: ProcessId,
        election: u32,
        operation: OperationId,
        step: &mut Step<'_>,
    ) {
        step.note(
            "elected",
            operation,
            json!({ "election": election, "leader": leader }),
        );
        // One that is older than what this process takes part in decides nothing here.
        if election >= self.election {
            self.election = election;
            self.operation = operation;
            self.awaits = Awaits::Nothing;
            step.cancel_timer(ANSWER);
            self.end(leader, step);
        }
    }

    /// Where this process began the election, it has ended.
    fn end(&mut self, leader: ProcessId, step: &mut Step<'_>) {
        if self.open {
            self.open = false;
            let operation = OperationId::new(self.id, self.round, self.n);
            step.report(Phase::Ok, operation, json!({ "leader": leader }));
            self.detect_again(step);
        }
    }
}

impl Process for Candidate {
    fn start(&mut self, step: &mut Step<'_>) {
        self.detect_again(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let (from, operation) = (message.from, message.operation);
        let election: u32 = message.read()?;
        // Elections go up, answers and coordinators down.
        if (message.kind == ELECTION) != (from < self.id) {
            let what = format!(
                "a message of kind {} to process {}",
                message.kind.0, self.id
            );
            return Err(ProtocolError::Violation { from, what });
        }
        match message.kind {
            ELECTION => {
                step.send(from, OK, operation, Body::encode(&election));
                self.join(election, operation, step);
            }
            OK if self.awaits == Awaits::Ok && election == self.election => {
                self.awaits = Awaits::Coordinator;
                step.set_timer(ANSWER, self.coordinator_timeout);
            }
            // Of an election that is over, or another one's answer came first.
            OK => {}
            COORDINATOR => self.follow(from, election, operation, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        match self.awaits {
            Awaits::Ok => self.lead(self.election, self.operation, step),
            Awaits::Coordinator => self.join(self.election + 1, self.operation, step),
            Awaits::Nothing => {}
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
    use crate::units::Messages;

    fn run(n: u32, rounds: u32, seed: u64, options: &[(&str, &str)]) -> Run {
        let mut scenario = Scenario::new(n, rounds, seed);
        for (name, value) in options {
            scenario = scenario.option(name, value);
        }
        let run = simulation::run(&ALGORITHM, &scenario).unwrap();
        run.assert_formula();
        run.properties().unwrap();
        let each = (ALGORITHM.per_operation)(n, &run.scenario.options);
        let total = Messages::new(run.total().attempted);
        assert_eq!(each * u64::from(rounds), Expected::Exactly(total));
        run
    }

    #[test]
    fn the_lowest_detects_and_n_less_one_attempts_are_refused() {
        for n in 2..=9 {
            for seed in 0..100 {
                let run = run(n, 1, seed, &[]);
                let n = u64::from(n);
                assert_eq!(run.attempted("election"), n * (n - 1) / 2);
                assert_eq!(run.attempted("ok"), (n - 1) * (n - 2) / 2);
                assert_eq!(run.attempted("coordinator"), n - 2);
                let total = run.total();
                assert_eq!(total.attempted, n * n - n - 1);
                assert_eq!(total.refused, n - 1);
                assert_eq!(total.handled, n * (n - 2));
            }
        }
    }

    #[test]
    fn all_alive_takes_n_squared_less_one() {
        for n in 2..=9 {
            for seed in 0..100 {
                let run = run(n, 1, seed, &[("alive", "all")]);
                assert_eq!(run.total().attempted, u64::from(n * n - 1));
                assert_eq!(run.total().refused, 0);
            }
        }
    }

    #[test]
    fn the_best_case_takes_n_less_one_with_the_probe() {
        for n in 2..=9 {
            let run = run(n, 1, 7, &[("initiator", "highest")]);
            assert_eq!(run.total().attempted, u64::from(n - 1));
            assert_eq!(run.attempted("election"), 1);
            assert_eq!(run.total().refused, 1);
        }
    }

    #[test]
    fn any_initiator_and_any_number_of_rounds_elect_the_highest() {
        for initiator in 0..5 {
            for seed in 0..60 {
                let run = run(6, 3, seed, &[("initiator", &initiator.to_string())]);
                let leaders = run.case().notes("leader").count();
                assert_eq!(leaders, 3);
                assert!(run.case().notes("leader").all(|e| e.node.0 == 4));
            }
        }
    }

    fn with_a_dying_leader(point: &str, rounds: u32, seed: u64) -> Run {
        let crash = Fault::Crash {
            node: ProcessId(4),
            at: Moment::Point(point.to_owned()),
            back: None,
            storage: Storage::Kept,
        };
        let scenario = Scenario::new(6, rounds, seed).fault(crash);
        let run = simulation::run(&ALGORITHM, &scenario).unwrap();
        run.assert_formula();
        run.properties().unwrap();
        run
    }

    #[test]
    fn a_leader_that_dies_before_it_tells_is_followed_by_the_next() {
        for seed in 0..1000 {
            let run = with_a_dying_leader("elected", 1, seed);
            let leaders: Vec<u32> = run.case().notes("leader").map(|e| e.node.0).collect();
            assert_eq!(leaders, [4, 3], "seed {seed}");
        }
    }

    #[test]
    fn a_leader_that_dies_after_it_told_is_replaced_when_its_death_is_detected() {
        for seed in 0..200 {
            let run = with_a_dying_leader("announced", 2, seed);
            let leaders: Vec<u32> = run.case().notes("leader").map(|e| e.node.0).collect();
            assert_eq!(leaders, [4, 3], "seed {seed}");
        }
    }

    /// The model is synchronous: this is what becomes of it where messages are slower than timeouts.
    #[test]
    fn answers_slower_than_the_timeout_make_two_coordinators() {
        let two = (0..50).any(|seed| {
            let scenario = Scenario::new(6, 1, seed).option("ok-timeout", "1ms");
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            run.assert_formula();
            let error = run.safety().err();
            error.is_some_and(|error| error.contains("two coordinators"))
        });
        assert!(two);
    }

    #[test]
    fn an_initiator_that_is_dead_is_refused() {
        for (initiator, alive) in [("4", "others"), ("5", "all"), ("x", "all")] {
            let options = Options(
                [("initiator", initiator), ("alive", alive)]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into(),
            );
            let checked = ALGORITHM.check(5, 1, &options);
            assert!(matches!(checked, Err(SetupError::BadOption { .. })));
        }
    }
}
