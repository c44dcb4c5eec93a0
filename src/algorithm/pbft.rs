//! Practical Byzantine fault tolerance: replicas execute requests in one order although up to f of
//! them do anything at all (Castro & Liskov, *Practical Byzantine Fault Tolerance*, OSDI 1999;
//! "section" below is that paper's).
//!
//! The primary gives each request a sequence number and sends it to all (*pre-prepare*). Backups
//! that accept it tell all others (*prepare*): who knows of a quorum that accepted the same request
//! is *prepared*, and no other request can be prepared under that number. Who is prepared tells all
//! others (*commit*): who knows of a quorum that is prepared executes, for then enough correct
//! replicas know it to carry it into any later view.
//!
//! The paper has N = 3f+1 and quorums of 2f+1. For other N a quorum has ⌈(N+f+1)/2⌉ members, of
//! which any two have f+1 in common, so one that is correct: 2f+1 = 3 of N = 5 have only one in
//! common, which may be the faulty one. Option `quorum` takes another size, to show what then breaks;
//! option `faulty=equivocate` makes processes 0 … f−1 faulty: the primary sends one request to half
//! of the backups and another to the rest under one number, and the other faulty ones agree with
//! either half.
//!
//! Here are the normal-case operation (section 4.2) in view 0 and nothing else. There is no view
//! change: a primary that dies or lies stops progress, never agreement. There are no clients, no
//! replies, no checkpoints, and no signatures: a message comes from whom the channel says.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Event, Execution, Expectation, Expected, FailureModel,
    KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Point, Process,
    ProcessId, Property, PropertyKind, ProtocolError, Setup, SetupError, Step, Synchrony, Topology,
};

const PRE_PREPARE: KindNumber = KindNumber(1);
const PREPARE: KindNumber = KindNumber(2);
const COMMIT: KindNumber = KindNumber(3);

/// The primary of view 0 (section 4: p = v mod N).
const PRIMARY: ProcessId = ProcessId(0);
const VIEW: u64 = 0;

const CITATION: &str = "Castro & Liskov, OSDI 1999, section 4.2: the primary multicasts a \
                        pre-prepare, each backup a prepare, each replica a commit";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "pbft",
    about: "replicas agree on an order of requests although some of them may do anything",
    citation: "Castro & Liskov, Practical Byzantine Fault Tolerance, OSDI 1999",
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::TimeoutsForProgress,
    failures: FailureModel::Byzantine,
    workload: "process 0, the primary, has the next request when it has executed the one before",
    least: 4,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: "pipeline",
            about: "how many requests the primary has open at once",
            default: "1",
        },
        OptionSpec {
            name: "faulty",
            about: "equivocate: processes 0 to f-1 are faulty and try to have two requests executed \
                    under one number",
            default: "nobody",
        },
        OptionSpec {
            name: "quorum",
            about: "how many replicas are a quorum",
            default: "(N+f+1)/2, rounded up",
        },
    ],
    formula: "2N(N-1)",
    per_operation: |n, _| Expected::exactly(2 * u64::from(n) * u64::from(n - 1)),
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &[],
        losses: &["prepare", "commit"],
    },
    identities: &[],
    properties: &[
        Property {
            name: "agreement",
            kind: PropertyKind::Safety,
            about: "no two correct replicas execute different requests under one sequence number",
            premise: ALWAYS,
            check: agreement,
        },
        Property {
            name: "order",
            kind: PropertyKind::Safety,
            about: "a correct replica executes sequence numbers from 1 on, each once, in order",
            premise: ALWAYS,
            check: order,
        },
        Property {
            name: "validity",
            kind: PropertyKind::Safety,
            about: "what a correct replica executes, the primary has proposed",
            premise: ALWAYS,
            check: validity,
        },
        Property {
            name: "progress",
            kind: PropertyKind::Liveness,
            about: "with a correct primary and at most f dead, every live replica executes all",
            premise: within_the_failure_model,
            check: progress,
        },
    ],
    points: &[
        Point {
            name: "after-request",
            role: "primary",
            about: "it has numbered a request and sent it to nobody",
        },
        Point {
            name: "after-pre-prepare",
            role: "backup",
            about: "it has accepted a request and told nobody",
        },
        Point {
            name: "after-prepared",
            role: "replica",
            about: "it is prepared and has told nobody",
        },
    ],
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let settings = Settings::read(setup)?;
    Ok(if settings.is_faulty(setup.id) {
        Box::new(Equivocator {
            id: setup.id,
            rounds: setup.rounds,
            settings,
        })
    } else {
        Box::new(Replica {
            id: setup.id,
            rounds: setup.rounds,
            settings,
            proposed: 0,
            executed: 0,
            slots: BTreeMap::new(),
            silent: false,
            quiescing: false,
        })
    })
}

/// How many of `n` replicas may be faulty: the greatest f with 3f+1 <= N (section 3).
pub const fn most_faulty(n: u32) -> u32 {
    (n - 1) / 3
}

/// The least size of a quorum: any two of 2q − N members in common have a correct one among them when
/// 2q − N > f, so q >= (N+f+1)/2. The N−f correct replicas are always enough for one.
pub const fn quorum(n: u32) -> u32 {
    (n + most_faulty(n) + 1).div_ceil(2)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Settings {
    n: u32,
    pipeline: u32,
    quorum: u32,
    equivocate: bool,
}

impl Settings {
    fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let Setup { n, options, .. } = *setup;
        let settings = Self {
            n,
            pipeline: options.number("pipeline", 1)?,
            quorum: options.number("quorum", quorum(n))?,
            equivocate: equivocates(options)?,
        };
        let refuse = |option: &'static str, expected| {
            Err(SetupError::BadOption {
                option,
                value: options.get(option).unwrap_or_default().to_owned(),
                expected,
            })
        };
        if settings.pipeline == 0 {
            return refuse("pipeline", "1 or more");
        }
        if !(1..=n).contains(&settings.quorum) {
            return refuse("quorum", "a number from 1 to N");
        }
        Ok(settings)
    }

    fn is_faulty(&self, id: ProcessId) -> bool {
        self.equivocate && id.0 < most_faulty(self.n)
    }

    fn others(&self, id: ProcessId) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.n).map(ProcessId).filter(move |&other| other != id)
    }

    /// Which of two requests the equivocators tell this replica of: correct ones are cut in half.
    fn side(&self, id: ProcessId) -> u32 {
        let faulty = most_faulty(self.n);
        u32::from(id.0 >= faulty + (self.n - faulty).div_ceil(2))
    }
}

fn equivocates(options: &Options) -> Result<bool, SetupError> {
    match options.get("faulty") {
        None => Ok(false),
        Some("equivocate") => Ok(true),
        Some(other) => Err(SetupError::BadOption {
            option: "faulty",
            value: other.to_owned(),
            expected: "equivocate",
        }),
    }
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let n = u64::from(case.n);
    let peers = n.saturating_sub(1);
    let dead: BTreeSet<_> = case.died.iter().collect();
    let dead = dead.len() as u64;
    // Whoever lives takes part in what the primary has executed, unless too many are dead for
    // those that live to become prepared, or somebody lies.
    let honest = !equivocates(case.options).unwrap_or(false);
    let sure = honest
        && !case.died.contains(&PRIMARY)
        && (case.options.get("quorum").is_none() || dead == 0)
        && dead <= u64::from(most_faulty(case.n.max(1)));
    let each = |low: u64, high: u64| {
        let low = if sure { low } else { 0 };
        Expected::between(low, high) * case.complete() + Expected::between(0, high) * case.open()
    };
    let row = |kind, count, formula| Expectation {
        kind,
        count,
        formula,
        citation: CITATION,
    };
    vec![
        row("pre-prepare", each(peers, peers), "N-1"),
        row(
            "prepare",
            each(peers.saturating_sub(dead) * peers, peers * peers),
            "(N-1)^2",
        ),
        row(
            "commit",
            each(n.saturating_sub(dead) * peers, n * peers),
            "N(N-1)",
        ),
    ]
}

/// What correct replicas told that they executed: the sequence number and the request's digest.
fn executed<'a>(
    execution: &Execution<'a>,
) -> impl Iterator<Item = (ProcessId, u64, u64)> + use<'a> {
    let faulty = match equivocates(execution.options) {
        Ok(true) => most_faulty(execution.n),
        _ => 0,
    };
    let notes = execution.notes("executed");
    notes
        .filter(move |event| event.node.0 >= faulty)
        .map(|event| {
            let number = |field| Event::field(event, field).unwrap_or_default();
            (event.node, number("sequence"), number("digest"))
        })
}

fn agreement(execution: &Execution<'_>) -> Result<(), String> {
    let mut first = BTreeMap::new();
    for (replica, sequence, digest) in executed(execution) {
        let (other, theirs) = *first.entry(sequence).or_insert((replica, digest));
        if theirs != digest {
            return Err(format!(
                "{other} and {replica} executed different requests under number {sequence}"
            ));
        }
    }
    Ok(())
}

fn order(execution: &Execution<'_>) -> Result<(), String> {
    let mut last: BTreeMap<ProcessId, u64> = BTreeMap::new();
    for (replica, sequence, _) in executed(execution) {
        let last = last.entry(replica).or_default();
        *last += 1;
        if sequence != *last {
            return Err(format!(
                "{replica} executed {sequence} where {last} was due"
            ));
        }
    }
    Ok(())
}

fn validity(execution: &Execution<'_>) -> Result<(), String> {
    let proposed: BTreeSet<(u64, u64)> = execution
        .notes("proposed")
        .filter_map(|event| Some((event.field("sequence")?, event.field("digest")?)))
        .collect();
    for (replica, sequence, digest) in executed(execution) {
        if !proposed.contains(&(sequence, digest)) {
            return Err(format!(
                "{replica} executed a request under {sequence} that was never proposed"
            ));
        }
    }
    Ok(())
}

/// There is no view change: without a correct primary nothing is promised.
fn within_the_failure_model(execution: &Execution<'_>) -> Result<(), &'static str> {
    if equivocates(execution.options).unwrap_or(false) {
        Err("the primary equivocates")
    } else if execution.is_crashed(PRIMARY) {
        Err("the primary is dead")
    } else if execution.crashed.len() as u32 > most_faulty(execution.n) {
        Err("more than f replicas are dead")
    } else {
        Ok(())
    }
}

fn progress(execution: &Execution<'_>) -> Result<(), String> {
    for id in (0..execution.n).map(ProcessId) {
        let own = executed(execution).filter(|(replica, ..)| *replica == id);
        let (own, rounds) = (own.count(), execution.rounds as usize);
        if own < rounds && !execution.is_crashed(id) {
            return Err(format!("{id} executed {own} of {rounds} requests"));
        }
    }
    Ok(())
}

/// What is to be executed. A correct primary has variant 0 of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Request {
    number: u64,
    variant: u32,
}

impl Request {
    /// Stands for the request, as the paper's collision-resistant hash does; below 2^53, which every
    /// JSON reader keeps.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish() & ((1 << 53) - 1)
    }

    fn pre_prepare(self) -> Body {
        Body::encode(&PrePrepare {
            view: VIEW,
            sequence: self.number,
            digest: self.digest(),
            request: self,
        })
    }

    fn vote(self) -> Body {
        Body::encode(&Vote {
            view: VIEW,
            sequence: self.number,
            digest: self.digest(),
        })
    }

    /// The id of the operation: a request is numbered as it is.
    fn operation(self) -> OperationId {
        OperationId(self.number)
    }

    fn note_proposal(self, step: &mut Step<'_>) {
        step.note(
            "proposed",
            self.operation(),
            json!({ "sequence": self.number, "digest": self.digest() }),
        );
    }
}

/// ⟨PRE-PREPARE, v, n, d⟩ and the request m (section 4.2).
#[derive(Debug, Serialize, Deserialize)]
struct PrePrepare {
    view: u64,
    sequence: u64,
    digest: u64,
    request: Request,
}

/// ⟨PREPARE, v, n, d, i⟩ or ⟨COMMIT, v, n, D(m), i⟩ (section 4.2); i is the sender.
#[derive(Debug, Serialize, Deserialize)]
struct Vote {
    view: u64,
    sequence: u64,
    digest: u64,
}

/// What a replica knows of one sequence number: its part of the paper's message log.
#[derive(Debug, Clone, Default, Hash)]
struct Slot {
    accepted: Option<Request>,
    /// By digest: who sent a matching prepare, or stands for the request by its pre-prepare.
    prepares: BTreeMap<u64, BTreeSet<ProcessId>>,
    /// By digest: who sent a matching commit.
    commits: BTreeMap<u64, BTreeSet<ProcessId>>,
    prepared: bool,
}

fn votes(votes: &BTreeMap<u64, BTreeSet<ProcessId>>, digest: u64) -> usize {
    votes.get(&digest).map_or(0, BTreeSet::len)
}

/// A correct replica.
#[derive(Debug, Clone, Hash)]
struct Replica {
    id: ProcessId,
    rounds: u32,
    settings: Settings,
    /// How many requests it has numbered, as primary.
    proposed: u64,
    /// The last sequence number that it executed.
    executed: u64,
    slots: BTreeMap<u64, Slot>,
    /// It was down and knows nothing of what it had said.
    silent: bool,
    quiescing: bool,
}

impl Replica {
    fn multicast(&self, kind: KindNumber, request: Request, body: &Body, step: &mut Step<'_>) {
        for other in self.settings.others(self.id) {
            step.send(other, kind, request.operation(), body.clone());
        }
    }

    /// The primary numbers requests as long as it may have more of them open.
    fn propose(&mut self, step: &mut Step<'_>) {
        while self.id == PRIMARY
            && !self.quiescing
            && self.proposed < u64::from(self.rounds)
            && self.proposed - self.executed < u64::from(self.settings.pipeline)
        {
            self.proposed += 1;
            let request = Request {
                number: self.proposed,
                variant: 0,
            };
            step.report(
                Phase::Invoke,
                request.operation(),
                json!({ "sequence": request.number }),
            );
            request.note_proposal(step);
            step.point("after-request");
            self.accept(request);
            self.multicast(PRE_PREPARE, request, &request.pre_prepare(), step);
        }
    }

    /// From now on the request stands in this replica's log under its number; the pre-prepare is the
    /// primary's own word for it.
    fn accept(&mut self, request: Request) {
        let slot = self.slots.entry(request.number).or_default();
        slot.accepted = Some(request);
        let prepares = slot.prepares.entry(request.digest()).or_default();
        prepares.extend([PRIMARY, self.id]);
    }

    /// "A backup accepts a pre-prepare message provided: … it is in view v; it has not accepted a
    /// pre-prepare message for view v and sequence number n containing a different digest" (section
    /// 4.2). There are no water marks, since there are no checkpoints.
    fn hear_pre_prepare(
        &mut self,
        message: &Message,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let PrePrepare {
            view,
            sequence,
            digest,
            request,
        } = message.read()?;
        let fits = view == VIEW && digest == request.digest() && sequence == request.number;
        if message.from != PRIMARY || !fits {
            return violation(message, "its pre-prepare does not fit view 0, or itself");
        }
        match self.slots.get(&sequence).and_then(|slot| slot.accepted) {
            Some(accepted) if accepted == request => return Ok(()),
            Some(_) => return violation(message, "it gave one number to two requests"),
            None => {}
        }
        self.accept(request);
        step.point("after-pre-prepare");
        self.multicast(PREPARE, request, &request.vote(), step);
        self.advance(sequence, step);
        Ok(())
    }

    fn hear_vote(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let Vote {
            view,
            sequence,
            digest,
        } = message.read()?;
        if view != VIEW {
            return violation(message, "there is no view but 0");
        }
        let slot = self.slots.entry(sequence).or_default();
        let votes = if message.kind == COMMIT {
            &mut slot.commits
        } else if message.from == PRIMARY {
            // Its pre-prepare is its prepare: it may not count twice.
            return violation(message, "a primary sends no prepare");
        } else {
            &mut slot.prepares
        };
        votes.entry(digest).or_default().insert(message.from);
        self.advance(sequence, step);
        Ok(())
    }

    /// What follows when one more message about this number is known.
    fn advance(&mut self, sequence: u64, step: &mut Step<'_>) {
        let quorum = self.settings.quorum as usize;
        let slot = self.slots.entry(sequence).or_default();
        let Some(request) = slot.accepted else {
            return;
        };
        // prepared(m, v, n, i): the pre-prepare and prepares of other backups, a quorum in all (the
        // paper's 2f prepares beside the pre-prepare, where N = 3f+1).
        if !slot.prepared && votes(&slot.prepares, request.digest()) >= quorum {
            slot.prepared = true;
            let commits = slot.commits.entry(request.digest()).or_default();
            commits.insert(self.id);
            step.point("after-prepared");
            self.multicast(COMMIT, request, &request.vote(), step);
        }
        self.execute(step);
    }

    /// "Each replica i executes the operation requested by m after committed-local(m, v, n, i) is
    /// true and i's state reflects the sequential execution of all requests with lower sequence
    /// numbers" (section 4.2): prepared, and commits of a quorum, its own among them.
    fn execute(&mut self, step: &mut Step<'_>) {
        let before = self.executed;
        while let Some(slot) = self.slots.get(&(self.executed + 1)) {
            let Some(request) = slot.accepted else {
                break;
            };
            let (digest, quorum) = (request.digest(), self.settings.quorum as usize);
            if !slot.prepared || votes(&slot.commits, digest) < quorum {
                break;
            }
            self.executed += 1;
            let sequence = self.executed;
            let told = json!({ "sequence": sequence, "digest": digest });
            step.note("executed", request.operation(), told);
            if self.id == PRIMARY {
                step.report(
                    Phase::Ok,
                    request.operation(),
                    json!({ "sequence": sequence }),
                );
            }
        }
        if self.executed > before {
            self.propose(step);
        }
    }
}

fn violation(message: &Message, what: &str) -> Result<(), ProtocolError> {
    Err(ProtocolError::Violation {
        from: message.from,
        what: what.to_owned(),
    })
}

impl Process for Replica {
    fn start(&mut self, step: &mut Step<'_>) {
        self.propose(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            _ if self.silent => Ok(()),
            PRE_PREPARE => self.hear_pre_prepare(message, step),
            PREPARE | COMMIT => self.hear_vote(message, step),
            _ => Err(message.unexpected()),
        }
    }

    /// Nothing is on stable storage: one that was down stays silent, as one of the f faulty. It would
    /// otherwise vote a second time under numbers that it has forgotten.
    fn recover(&mut self, _bytes: &[u8], _step: &mut Step<'_>) {
        self.silent = true;
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

/// A faulty replica: it tells each half of the correct ones of another request, and votes with both.
#[derive(Debug, Clone, Hash)]
struct Equivocator {
    id: ProcessId,
    rounds: u32,
    settings: Settings,
}

impl Equivocator {
    fn vote_with_both(&self, number: u64, kinds: &[KindNumber], step: &mut Step<'_>) {
        for other in self.settings.others(self.id) {
            if self.settings.is_faulty(other) {
                continue;
            }
            let variant = self.settings.side(other);
            let request = Request { number, variant };
            for &kind in kinds {
                step.send(other, kind, request.operation(), request.vote());
            }
        }
    }
}

impl Process for Equivocator {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id != PRIMARY {
            return;
        }
        for number in (1..=self.rounds).map(u64::from) {
            let variants = [0, 1].map(|variant| Request { number, variant });
            let operation = variants[0].operation();
            step.report(Phase::Invoke, operation, json!({ "sequence": number }));
            for request in variants {
                request.note_proposal(step);
            }
            for other in self.settings.others(self.id) {
                let request = variants[self.settings.side(other) as usize];
                step.send(other, PRE_PREPARE, operation, request.pre_prepare());
            }
            self.vote_with_both(number, &[COMMIT], step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.kind == PRE_PREPARE {
            let PrePrepare { sequence, .. } = message.read()?;
            self.vote_with_both(sequence, &[PREPARE, COMMIT], step);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulation::{Fault, Moment, Run, Scenario, Storage, run};

    fn simulate(scenario: &Scenario) -> Run {
        run(&ALGORITHM, scenario).expect("a good scenario")
    }

    fn crash(node: u32, at: Moment) -> Fault {
        Fault::Crash {
            node: ProcessId(node),
            at,
            back: None,
            storage: Storage::Kept,
        }
    }

    #[test]
    fn a_request_takes_2n_times_n_minus_1_messages() {
        for n in 4..=10 {
            for (rounds, pipeline) in [(1, "1"), (3, "1"), (6, "3")] {
                let scenario = Scenario::new(n, rounds, n.into()).option("pipeline", pipeline);
                let run = simulate(&scenario);
                let (n, rounds) = (u64::from(n), u64::from(rounds));
                assert_eq!(run.attempted("pre-prepare"), rounds * (n - 1));
                assert_eq!(run.attempted("prepare"), rounds * (n - 1) * (n - 1));
                assert_eq!(run.attempted("commit"), rounds * n * (n - 1));
                assert_eq!(run.total().attempted, rounds * 2 * n * (n - 1));
                run.assert_formula();
                run.assert_per_operation();
            }
        }
    }

    #[test]
    fn replicas_execute_the_same_requests_in_one_order() {
        for seed in 0..2000 {
            let n = 4 + seed as u32 % 5;
            let pipeline = (1 + seed % 4).to_string();
            let mut scenario = Scenario::new(n, 6, seed).option("pipeline", &pipeline);
            scenario.log = false;
            let run = simulate(&scenario);
            assert_eq!(run.properties(), Ok(()));
            run.assert_formula();
        }
    }

    #[test]
    fn any_two_quorums_have_a_correct_replica_in_common_and_the_correct_make_one() {
        for n in 4..=100 {
            let (f, q) = (most_faulty(n), quorum(n));
            assert!(2 * q - n > f, "N={n}");
            assert!(q <= n - f, "N={n}");
            // One less, and they need not have.
            assert!(2 * (q - 1) <= n + f, "N={n}");
        }
        assert_eq!([4, 5, 6, 7, 10].map(quorum), [3, 4, 4, 5, 7]);
    }

    #[test]
    fn quorums_of_2f_plus_1_of_five_may_meet_in_the_faulty_one_alone() {
        let f = most_faulty(5);
        assert_eq!((f, 2 * f + 1), (1, 3));
        let (one, other) = (BTreeSet::from([0, 1, 2]), BTreeSet::from([0, 3, 4]));
        let common: Vec<_> = one.intersection(&other).collect();
        assert_eq!(common, [&0]);
        assert_eq!(quorum(5), 4);
    }

    #[test]
    fn a_primary_that_equivocates_breaks_no_agreement() {
        let mut executed = 0;
        for seed in 0..2000 {
            let mut scenario =
                Scenario::new(4 + seed as u32 % 7, 3, seed).option("faulty", "equivocate");
            scenario.log = false;
            let run = simulate(&scenario);
            assert_eq!(run.safety(), Ok(()));
            executed += run.case().notes("executed").count();
            for row in (ALGORITHM.expected)(&run.case()) {
                let attempted = crate::units::Messages::new(run.attempted(row.kind));
                assert!(
                    row.count.admits(attempted),
                    "{row:?} {attempted} seed {seed}"
                );
            }
        }
        // At N = 4 one half and the primary are a quorum: its request is executed, the other never.
        assert!(executed > 1000, "{executed}");
    }

    #[test]
    fn with_quorums_of_2f_plus_1_a_primary_that_equivocates_breaks_agreement() {
        for (n, unsafe_quorum) in [(5, "3"), (8, "5")] {
            let scenario = Scenario::new(n, 1, 1)
                .option("faulty", "equivocate")
                .option("quorum", unsafe_quorum);
            let broken = simulate(&scenario).safety();
            assert!(broken.is_err_and(|why| why.contains("agreement")), "N={n}");
        }
        // N = 3f+1: there it is the right size.
        let scenario = Scenario::new(7, 1, 1)
            .option("faulty", "equivocate")
            .option("quorum", "5");
        assert_eq!(simulate(&scenario).safety(), Ok(()));
    }

    #[test]
    fn f_dead_backups_stop_nothing_and_one_more_does() {
        for n in 4..=8 {
            let f = most_faulty(n);
            for dead in [f, f + 1] {
                let mut scenario = Scenario::new(n, 3, 5);
                for id in n - dead..n {
                    let at = Moment::Time(Duration::ZERO);
                    scenario = scenario.fault(crash(id, at));
                }
                let run = simulate(&scenario);
                assert_eq!(run.safety(), Ok(()));
                let quorum_lives = n - dead >= quorum(n);
                assert_eq!(run.completed(), if quorum_lives { 3 } else { 0 }, "N={n}");
                assert!(quorum_lives || dead > f);
                if dead <= f {
                    assert_eq!(run.properties(), Ok(()));
                    run.assert_formula();
                }
            }
        }
    }

    #[test]
    fn backups_that_die_at_any_moment_and_come_back_break_nothing() {
        let mut deaths = 0;
        for seed in 0..1000_u64 {
            let n = 4 + seed as u32 % 5;
            let mut scenario = Scenario::new(n, 4, seed).option("pipeline", "2");
            scenario.log = false;
            for i in 0..most_faulty(n) {
                scenario = scenario.fault(Fault::Crash {
                    node: ProcessId(n - 1 - i),
                    at: match (seed / 5 + u64::from(i)) % 4 {
                        0 => Moment::Point("after-pre-prepare".to_owned()),
                        1 => Moment::Point("after-prepared".to_owned()),
                        _ => Moment::Time(Duration::from_millis(seed % 40)),
                    },
                    back: (seed % 2 == 0).then_some(Duration::from_millis(seed % 17)),
                    storage: Storage::Lost,
                });
            }
            let run = simulate(&scenario);
            deaths += run.died.len();
            assert_eq!(run.safety(), Ok(()));
            // Whoever was down is silent, and one of the f that may be.
            assert_eq!(run.completed(), 4, "seed {seed}");
            run.assert_formula();
        }
        assert!(deaths > 900, "{deaths}");
    }

    #[test]
    fn a_primary_that_dies_blocks_for_there_is_no_view_change() {
        for n in 4..=7 {
            let at = Moment::Point("after-request".to_owned());
            let run = simulate(&Scenario::new(n, 3, 1).fault(crash(0, at)));
            assert_eq!(run.safety(), Ok(()));
            assert_eq!((run.completed(), run.total().attempted), (0, 0));
        }
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for (option, value) in [
            ("quorum", "0"),
            ("quorum", "5"),
            ("pipeline", "0"),
            ("faulty", "sometimes"),
        ] {
            let options = Options([(option.to_owned(), value.to_owned())].into());
            assert!(ALGORITHM.check(4, 1, &options).is_err(), "{option}");
        }
        assert!(ALGORITHM.check(3, 1, &Options::default()).is_err());
    }
}
