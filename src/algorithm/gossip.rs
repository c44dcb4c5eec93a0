//! Gossip: a rumour spreads as an epidemic does. In each round a process calls one other, chosen at
//! random, and what follows depends on the mode. *Push*: who knows the rumour calls and tells it.
//! *Pull*: who does not know it calls and asks, and is answered with the rumour or without it.
//! *Push-pull*: everybody calls, and both ends tell what they know. Pushing is quick while few know
//! the rumour, pulling when most do, and together they need the fewest rounds. No process knows who
//! has been reached, and none has to: a call that fails is made good by others.
//!
//! **When it stops:** after R rounds (option `calls`), whether or not all have been reached; by
//! default R is so large that somebody is missed about once in e⁸ (3,000) rumours. For push that is
//! ⌈log₂N⌉ + ⌈ln N⌉ + 8 (Frieze & Grimmett 1985: log₂N + ln N + o(ln N) rounds reach everybody), for
//! pull ⌈log₂N⌉ + ⌈log₂log₂N⌉ + 8, for push-pull ⌈log₃N⌉ + ⌈ln ln N⌉ + 6 (Karp et al.).
//!
//! **What it costs** is then exact. Push: one message by each process that knows the rumour, in each
//! round: Σ (R − t) over all that learned it in round t. Pull: two for each round in which a process
//! did not know it. Push-pull: 2NR, calls in which nobody had anything to tell included. In which
//! round a process learned the rumour it notes itself.
//!
//! There is no common clock here: a push carries the number of its round, and its receiver goes on
//! from there; one who asks counts its own calls, and makes the next one a while after it was
//! answered. So delays and slow processes change who learns the rumour when, and not the formula.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    Identity, KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase,
    Process, ProcessId, Property, PropertyKind, ProtocolError, Relation, Setup, SetupError, Step,
    Synchrony, TimerId, Topology,
};

const PUSH: KindNumber = KindNumber(1);
const PULL: KindNumber = KindNumber(2);
const ANSWER: KindNumber = KindNumber(3);
const EXCHANGE: KindNumber = KindNumber(4);
const REPLY: KindNumber = KindNumber(5);

const INITIATOR: ProcessId = ProcessId(0);

const CITATION: &str = "Karp, Schindelhauer, Shenker & Vöcking, Randomized Rumor Spreading, FOCS \
                        2000: one call a player and round, stopped after R rounds";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "gossip",
    about: "a rumour spreads by calls to processes chosen at random, for R rounds",
    citation: "Demers et al., PODC 1987; Karp, Schindelhauer, Shenker & Vöcking, FOCS 2000",
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::CrashStop,
    workload: "process 0 has a rumour, and the next one when it has made R rounds with it",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: true,
    options: &[
        OptionSpec {
            name: MODE,
            about: "push, pull or push-pull",
            default: "push",
        },
        OptionSpec {
            name: CALLS,
            about: "R: in how many rounds a rumour is spread",
            default: "by mode and N, about log2 N + ln N + 8",
        },
        OptionSpec {
            name: INTERVAL,
            about: "how long a process waits between two rounds",
            default: "10ms",
        },
        OptionSpec {
            name: PATIENCE,
            about: "how long it waits for an answer",
            default: "2s",
        },
    ],
    formula: "push: all that know it, each of R rounds; push-pull: 2NR",
    per_operation,
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula::NOTHING,
    identities: &[
        Identity {
            text: "answer = pull",
            terms: &[(1, "answer"), (-1, "pull")],
            relation: Relation::Zero,
        },
        Identity {
            text: "reply = exchange",
            terms: &[(1, "reply"), (-1, "exchange")],
            relation: Relation::Zero,
        },
    ],
    properties: &[
        Property {
            name: "integrity",
            kind: PropertyKind::Safety,
            about: "a process learns a rumour at most once, and only one that process 0 began",
            premise: ALWAYS,
            check: learned_once_and_only_what_was_begun,
        },
        Property {
            name: "everyone reached",
            kind: PropertyKind::Liveness,
            about: "every live process learns every rumour, where process 0 lives: with the default \
                    R all but about once in 3,000 rumours",
            premise: initiator_lives,
            check: everyone_is_reached,
        },
    ],
    points: &[],
    process,
};

const MODE: &str = "mode";
const CALLS: &str = "calls";
const INTERVAL: &str = "interval";
const PATIENCE: &str = "patience";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mode {
    Push,
    Pull,
    PushPull,
}

impl Mode {
    fn read(options: &Options) -> Result<Self, SetupError> {
        match options.get(MODE) {
            None | Some("push") => Ok(Self::Push),
            Some("pull") => Ok(Self::Pull),
            Some("push-pull") => Ok(Self::PushPull),
            Some(value) => Err(SetupError::BadOption {
                option: MODE,
                value: value.to_owned(),
                expected: "push, pull or push-pull",
            }),
        }
    }
}

/// The mode and R.
fn plan(n: u32, options: &Options) -> Result<(Mode, u32), SetupError> {
    let mode = Mode::read(options)?;
    let calls = options.number(CALLS, default_calls(mode, n))?;
    if calls == 0 {
        return Err(SetupError::BadOption {
            option: CALLS,
            value: "0".to_owned(),
            expected: "at least 1",
        });
    }
    Ok((mode, calls))
}

/// The same, of options that were read before.
fn plan_of(n: u32, options: &Options) -> (Mode, u32) {
    plan(n, options).unwrap_or((Mode::Push, default_calls(Mode::Push, n)))
}

fn default_calls(mode: Mode, n: u32) -> u32 {
    let n = f64::from(n.max(2));
    // Of a logarithm of something not above 1, nought.
    let whole = |rounds: f64| rounds.max(0.0).ceil() as u32;
    match mode {
        Mode::Push => whole(n.log2()) + whole(n.ln()) + 8,
        Mode::Pull => whole(n.log2()) + whole(n.log2().log2()) + 8,
        Mode::PushPull => whole(n.log(3.0)) + whole(n.ln().ln()) + 6,
    }
}

fn per_operation(n: u32, options: &Options) -> Expected {
    let (mode, calls) = plan_of(n, options);
    let (n, calls) = (u64::from(n), u64::from(calls));
    match mode {
        // At least the initiator calls in every round, and at most twice as many know the rumour
        // after a round as before it.
        Mode::Push => {
            let knowing = |round: u64| n.min(1_u64.checked_shl(round as u32).unwrap_or(n));
            Expected::between(calls, (0..calls).map(knowing).sum())
        }
        Mode::Pull => Expected::between(2 * (n - 1), 2 * (n - 1) * calls),
        Mode::PushPull => Expected::exactly(2 * n * calls),
    }
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let (mode, calls) = plan_of(case.n, case.options);
    let calls = u64::from(calls);
    // Who asks or exchanges begins with each rumour by itself.
    let in_all = calls * u64::from(case.rounds);
    // One that died may have stopped anywhere, and all may where the run was broken off.
    let ended = case.open() == 0 && case.complete() == u64::from(case.rounds);
    let by = |process: ProcessId, count: u64| {
        let whole = ended && !case.died.contains(&process);
        Expected::between(if whole { count } else { 0 }, count)
    };
    let nothing = Expected::exactly(0);
    let (mut push, mut pull, mut exchange) = (nothing, nothing, nothing);
    match mode {
        Mode::Push => {
            let left = case
                .notes(LEARNED)
                .map(|event| (event, rounds_left(event, calls)));
            push = left.map(|(event, left)| by(event.node, left)).sum();
        }
        Mode::Pull => {
            // Everybody asks in every round, but for the rounds after it has learned the rumour.
            let mut asked = vec![in_all; case.n as usize];
            for event in case.notes(LEARNED) {
                if let Some(asked) = asked.get_mut(event.node.index()) {
                    *asked = asked.saturating_sub(rounds_left(event, calls));
                }
            }
            let asked = (0..).map(ProcessId).zip(asked);
            pull = asked.map(|(process, asked)| by(process, asked)).sum();
        }
        Mode::PushPull => {
            let processes = (0..case.n).map(ProcessId);
            exchange = processes.map(|process| by(process, in_all)).sum();
        }
    }
    // Who has died answers nobody.
    let answered = |calls: Expected| match case.died.is_empty() {
        true => calls,
        false => Expected::between(0, calls.high().get()),
    };
    let row = |kind, count, formula| Expectation {
        kind,
        count,
        formula,
        citation: CITATION,
    };
    vec![
        row(
            "push",
            push,
            "R-t by each process that learned it in round t",
        ),
        row(
            "pull",
            pull,
            "t by each process that learned it in round t, R by others",
        ),
        row("answer", answered(pull), "one a pull"),
        row("exchange", exchange, "NR"),
        row("reply", answered(exchange), "NR"),
    ]
}

/// In how many of the rounds after this note its process knows the rumour.
fn rounds_left(event: &super::Event, calls: u64) -> u64 {
    let round: u64 = event.field("round").unwrap_or_default();
    calls.saturating_sub(round)
}

/// A process has learned a rumour, in its field `round`.
const LEARNED: &str = "learned";

fn begun(execution: &Execution<'_>) -> BTreeSet<OperationId> {
    let begun = |event: &&super::Event| event.outcome.phase == Phase::Invoke;
    let events = execution.events.iter().filter(begun);
    events.map(|event| event.outcome.operation).collect()
}

fn learned_once_and_only_what_was_begun(execution: &Execution<'_>) -> Result<(), String> {
    let begun = begun(execution);
    let mut learned = BTreeSet::new();
    for event in execution.notes(LEARNED) {
        let (process, rumour) = (event.node, event.outcome.operation);
        if !learned.insert((rumour, process)) {
            return Err(format!(
                "process {process} learned rumour {} twice",
                rumour.0
            ));
        }
        if !begun.contains(&rumour) {
            return Err(format!(
                "process {process} learned rumour {}, which nobody began",
                rumour.0
            ));
        }
    }
    Ok(())
}

fn initiator_lives(execution: &Execution<'_>) -> Result<(), &'static str> {
    let lives = !execution.is_crashed(INITIATOR);
    lives.then_some(()).ok_or("process 0 is dead")
}

fn everyone_is_reached(execution: &Execution<'_>) -> Result<(), String> {
    let crashed: BTreeSet<ProcessId> = execution.crashed.iter().copied().collect();
    let learned: BTreeSet<(OperationId, ProcessId)> = execution
        .notes(LEARNED)
        .map(|event| (event.outcome.operation, event.node))
        .collect();
    for rumour in execution.operations_of(INITIATOR) {
        let mut live = (0..execution.n)
            .map(ProcessId)
            .filter(|id| !crashed.contains(id));
        if let Some(missed) = live.find(|&id| !learned.contains(&(rumour, id))) {
            return Err(format!(
                "rumour {} never reached process {missed}",
                rumour.0
            ));
        }
    }
    Ok(())
}

/// A call, and what is answered to it: the round of the caller, from 1, and whether the rumour is
/// told. Which rumour it is, the operation says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Call(u32, bool);

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let (mode, calls) = plan(setup.n, setup.options)?;
    let options = setup.options;
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    Ok(Box::new(Player {
        id: setup.id,
        n: setup.n,
        rumours: setup.rounds,
        mode,
        calls,
        interval: micros(options.duration(INTERVAL, Duration::from_millis(10))?),
        patience: micros(options.duration(PATIENCE, Duration::from_secs(2))?),
        first: Spread::unheard(1),
        later: Vec::new(),
        quiescing: false,
    }))
}

/// Small, since there may be a million: times are in microseconds, and what is known of a rumour
/// is made when it is first heard of.
#[derive(Debug, Clone, Hash)]
struct Player {
    id: ProcessId,
    n: u32,
    rumours: u32,
    mode: Mode,
    /// R.
    calls: u32,
    interval: u32,
    patience: u32,
    /// The first rumour: in place, since most runs have no other and a look elsewhere is a cache miss.
    first: Spread,
    /// Later rumours heard of, in the order in which that was.
    later: Vec<Spread>,
    quiescing: bool,
}

/// One rumour at one process.
#[derive(Debug, Clone, Hash)]
struct Spread {
    /// Which, from 1.
    rumour: u32,
    /// Rounds that have been made.
    round: u32,
    knows: bool,
    /// A call has not been answered.
    waits: bool,
}

impl Spread {
    fn unheard(rumour: u32) -> Self {
        Self {
            rumour,
            round: 0,
            knows: false,
            waits: false,
        }
    }
}

impl Player {
    fn operation(&self, rumour: u32) -> OperationId {
        OperationId::new(INITIATOR, rumour, self.n)
    }

    /// What this process has of the rumour: nothing, at first.
    fn spread(&mut self, rumour: u32) -> &mut Spread {
        if rumour == 1 {
            return &mut self.first;
        }
        let known = self.later.iter().position(|known| known.rumour == rumour);
        let index = known.unwrap_or_else(|| {
            self.later.push(Spread::unheard(rumour));
            self.later.len() - 1
        });
        &mut self.later[index]
    }

    fn begin(&mut self, rumour: u32, step: &mut Step<'_>) {
        if self.id == INITIATOR {
            let operation = self.operation(rumour);
            step.report(Phase::Invoke, operation, json!({ "rumour": rumour }));
            self.learn(rumour, step);
        }
        self.next_round(rumour, step);
    }

    /// The rumour is told to this process.
    fn learn(&mut self, rumour: u32, step: &mut Step<'_>) {
        let spread = self.spread(rumour);
        if !spread.knows {
            spread.knows = true;
            let round = spread.round;
            step.note(LEARNED, self.operation(rumour), json!({ "round": round }));
        }
    }

    /// Waits for the next round, if there is one.
    fn next_round(&mut self, rumour: u32, step: &mut Step<'_>) {
        let (calls, interval) = (self.calls, micros(self.interval));
        let (round, knows) = (self.spread(rumour).round, self.spread(rumour).knows);
        let asks_no_more = self.mode == Mode::Pull && knows && rumour == self.rumours;
        if round < calls && (!asks_no_more || self.id == INITIATOR) {
            return step.set_timer(TimerId(rumour), interval);
        }
        if self.id == INITIATOR {
            step.report(
                Phase::Ok,
                self.operation(rumour),
                json!({ "rumour": rumour }),
            );
        }
        let spontaneous = self.id == INITIATOR || self.mode != Mode::Push;
        if spontaneous && rumour < self.rumours && !self.quiescing {
            self.begin(rumour + 1, step);
        }
    }

    fn call(&mut self, rumour: u32, step: &mut Step<'_>) {
        let mode = self.mode;
        let spread = self.spread(rumour);
        spread.round += 1;
        let (round, knows) = (spread.round, spread.knows);
        let kind = match mode {
            Mode::Push => PUSH,
            Mode::Pull if knows => return self.next_round(rumour, step),
            Mode::Pull => PULL,
            Mode::PushPull => EXCHANGE,
        };
        spread.waits = mode != Mode::Push;
        let chosen = step.choose(self.n - 1);
        let other = ProcessId(chosen + u32::from(chosen >= self.id.0));
        let told = knows && mode != Mode::Pull;
        self.say(other, kind, rumour, Call(round, told), step);
        if mode == Mode::Push {
            self.next_round(rumour, step);
        } else {
            step.set_timer(TimerId(rumour), micros(self.patience));
        }
    }

    fn say(&self, to: ProcessId, kind: KindNumber, rumour: u32, call: Call, step: &mut Step<'_>) {
        step.send(to, kind, self.operation(rumour), Body::encode(&call));
    }

    fn knows(&self, rumour: u32) -> bool {
        let mut known = std::iter::once(&self.first).chain(&self.later);
        known.any(|known| known.rumour == rumour && known.knows)
    }

    fn pushed(&mut self, rumour: u32, round: u32, step: &mut Step<'_>) {
        self.spread(rumour).round = round;
        self.learn(rumour, step);
        self.next_round(rumour, step);
    }

    fn called(
        &mut self,
        message: &Message,
        rumour: u32,
        answer: KindNumber,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError> {
        let Call(round, told) = message.read()?;
        let knows = self.knows(rumour);
        self.say(message.from, answer, rumour, Call(round, knows), step);
        if told {
            self.learn(rumour, step);
        }
        Ok(())
    }

    fn answered(&mut self, rumour: u32, Call(round, told): Call, step: &mut Step<'_>) {
        if told {
            self.learn(rumour, step);
        }
        let spread = self.spread(rumour);
        // The answer to a call that was given up changes no round.
        if spread.waits && spread.round == round {
            spread.waits = false;
            step.cancel_timer(TimerId(rumour));
            self.next_round(rumour, step);
        }
    }
}

fn micros(time: u32) -> Duration {
    Duration::from_micros(time.into())
}

impl Process for Player {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id == INITIATOR || self.mode != Mode::Push {
            self.begin(1, step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        let rumour = message.operation.round(self.n);
        match message.kind {
            PUSH if !self.knows(rumour) => {
                let Call(round, _) = message.read()?;
                self.pushed(rumour, round, step);
            }
            // Told again: nothing in it is new.
            PUSH => {}
            PULL => self.called(message, rumour, ANSWER, step)?,
            EXCHANGE => self.called(message, rumour, REPLY, step)?,
            ANSWER | REPLY => self.answered(rumour, message.read()?, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, step: &mut Step<'_>) {
        let spread = self.spread(id.0);
        if std::mem::take(&mut spread.waits) {
            // Nobody answered: the round is over.
            return self.next_round(id.0, step);
        }
        self.call(id.0, step);
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, Fault, Moment, Run, Scenario, Storage};

    fn run(mode: &str, n: u32, rounds: u32, seed: u64) -> Run {
        let scenario = Scenario::new(n, rounds, seed).option("mode", mode);
        let run = simulation::run(&ALGORITHM, &scenario).unwrap();
        run.assert_formula();
        run.assert_per_operation();
        run.safety().unwrap();
        run
    }

    #[test]
    fn push_costs_a_message_for_each_that_knows_before_each_round() {
        for n in 2..=20 {
            for seed in 0..60 {
                let run = run("push", n, 1, seed);
                run.properties().unwrap();
                let calls = default_calls(Mode::Push, n);
                let case = run.case();
                let knowing = |round: u32| {
                    let before = |e: &&super::super::Event| e.field::<u32>("round") < Some(round);
                    case.notes(LEARNED).filter(before).count() as u64
                };
                let sum: u64 = (1..=calls).map(knowing).sum();
                assert_eq!(run.attempted("push"), sum, "N={n} seed={seed}");
                assert_eq!(run.total().attempted, sum);
            }
        }
    }

    #[test]
    fn among_two_a_push_of_r_rounds_takes_2r_less_one() {
        for seed in 0..20 {
            let scenario = Scenario::new(2, 1, seed)
                .option("calls", "6")
                .option("interval", "30ms");
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            assert_eq!(run.attempted("push"), 11);
        }
    }

    #[test]
    fn push_pull_takes_2nr_with_empty_calls() {
        for n in 2..=20 {
            for seed in 0..30 {
                let run = run("push-pull", n, 1, seed);
                run.properties().unwrap();
                let calls = default_calls(Mode::PushPull, n);
                assert_eq!(run.attempted("exchange"), u64::from(n * calls));
                assert_eq!(run.attempted("reply"), u64::from(n * calls));
                assert_eq!(run.total().attempted, u64::from(2 * n * calls));
            }
        }
    }

    #[test]
    fn pull_costs_two_messages_for_each_that_does_not_know_in_each_round() {
        for n in 2..=20 {
            for seed in 0..30 {
                let run = run("pull", n, 1, seed);
                run.properties().unwrap();
                let rounds = run.case();
                let rounds = rounds.notes(LEARNED);
                let asked: u64 = rounds.map(|e| e.field::<u64>("round").unwrap()).sum();
                assert_eq!(run.attempted("pull"), asked, "N={n} seed={seed}");
                assert_eq!(run.attempted("answer"), asked);
            }
        }
    }

    #[test]
    fn rumours_follow_one_another_in_every_mode() {
        for mode in ["push", "pull", "push-pull"] {
            for seed in 0..100 {
                let run = run(mode, 7, 3, seed);
                run.properties().unwrap();
                assert_eq!(run.case().notes(LEARNED).count(), 21);
            }
        }
    }

    #[test]
    fn too_few_rounds_miss_somebody_and_cost_what_the_formula_says() {
        let missed = (0..100).filter(|&seed| {
            let scenario = Scenario::new(16, 1, seed).option("calls", "2");
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            run.assert_formula();
            run.properties().is_err()
        });
        // Two rounds reach at most 3 others.
        assert_eq!(missed.count(), 100);
    }

    #[test]
    fn the_default_rounds_reach_all_of_a_thousand() {
        for (mode, messages) in [("push", None), ("push-pull", Some(2 * 1000 * 15))] {
            let run = run(mode, 1000, 1, 5);
            run.properties().unwrap();
            assert_eq!(run.case().notes(LEARNED).count(), 1000);
            if let Some(messages) = messages {
                assert_eq!(run.total().attempted, messages);
            }
        }
    }

    #[test]
    fn a_rumour_spreads_around_processes_that_crash() {
        let mut reached = 0;
        for seed in 0..300 {
            let mode = ["push", "pull", "push-pull"][seed as usize % 3];
            let crash = Fault::Crash {
                node: ProcessId(1 + (seed % 9) as u32),
                at: Moment::Time(Duration::from_millis(seed % 60)),
                back: None,
                storage: Storage::Kept,
            };
            let scenario = Scenario::new(10, 1, seed)
                .option("mode", mode)
                .option("patience", "100ms")
                .fault(crash);
            let run = simulation::run(&ALGORITHM, &scenario).unwrap();
            run.safety().unwrap();
            run.assert_formula();
            reached += u32::from(run.properties().is_ok());
        }
        assert_eq!(reached, 300);
    }
}
