//! What algorithms for mutual exclusion share: the workload, what is told about it, and what is
//! promised.
//!
//! A [`Contender`] is a process of such an algorithm: it goes through its entries and asks the
//! algorithm's [`Rules`] what to send when it wants the critical section, when it has left, and when a
//! message comes. It reports the events of each entry: `invoke` at the request, the note `entered` when
//! the process is in, `ok` when it has left. An entry takes time (`hold`), so that two processes in the
//! critical section at once would be seen. It never sends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use serde_json::json;

use super::{
    ALWAYS, Case, Event, Execution, Expected, Message, OperationId, OptionSpec, Options, Phase,
    Point, Process, ProcessId, Property, PropertyKind, ProtocolError, Setup, SetupError, Step,
    TimerId,
};

/// The note of a process that has entered its critical section.
pub const ENTERED: &str = "entered";

/// The workload in words.
pub const WORKLOAD: &str =
    "each contender enters the critical section `rounds` times, one entry after the other";

/// The workload's options.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "contenders",
        about: "who enters the critical section: all, or ids separated by commas",
        default: "all",
    },
    OptionSpec {
        name: "hold",
        about: "how long a process stays in the critical section",
        default: "1ms",
    },
    OptionSpec {
        name: "think",
        about: "how long a process waits between leaving and its next request",
        default: "0ms",
    },
    OptionSpec {
        name: "stagger",
        about: "how much later than the contender before it each makes its first request: long \
                enough, and nobody contends",
        default: "0ms",
    },
];

/// Where a fault can be injected.
pub const POINTS: &[Point] = &[Point {
    name: ENTERED,
    role: "holder",
    about: "a process has entered the critical section",
}];

/// The end of a stay in the critical section.
const HOLD: TimerId = TimerId(1);
/// The next request.
const NEXT: TimerId = TimerId(2);

/// What an algorithm for mutual exclusion adds to the workload. `section` tells whether the process
/// waits or is inside, and lets it in.
pub trait Rules: Debug + Clone + Hash + 'static {
    /// The process begins.
    fn start(&mut self, _step: &mut Step<'_>) {}

    /// The process wants the critical section.
    fn request(&mut self, entry: OperationId, section: &mut CriticalSection, step: &mut Step<'_>);

    /// The process has left the critical section: others may go in.
    fn leave(&mut self, entry: OperationId, step: &mut Step<'_>);

    /// A message has come.
    fn receive(
        &mut self,
        message: &Message,
        section: &mut CriticalSection,
        step: &mut Step<'_>,
    ) -> Result<(), ProtocolError>;
}

/// A process that enters the critical section by these rules.
#[derive(Debug, Clone, Hash)]
pub struct Contender<R> {
    section: CriticalSection,
    rules: R,
}

impl<R: Rules> Contender<R> {
    /// The process of this setup.
    pub fn process(setup: &Setup<'_>, rules: R) -> Result<Box<dyn Process>, SetupError> {
        let section = CriticalSection::new(setup)?;
        Ok(Box::new(Self { section, rules }))
    }

    fn request(&mut self, step: &mut Step<'_>) {
        if let Some(entry) = self.section.next(step) {
            self.rules.request(entry, &mut self.section, step);
        }
    }
}

impl<R: Rules> Process for Contender<R> {
    fn start(&mut self, step: &mut Step<'_>) {
        self.rules.start(step);
        match self.section.first_after() {
            Some(delay) => step.set_timer(NEXT, delay),
            None => self.request(step),
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        self.rules.receive(message, &mut self.section, step)
    }

    fn timer(&mut self, id: TimerId, step: &mut Step<'_>) {
        match (id, self.section.place) {
            (NEXT, Place::Outside) => self.request(step),
            (HOLD, Place::Inside) => {
                let entry = self.section.leave(step);
                self.rules.leave(entry, step);
            }
            _ => {}
        }
    }

    fn quiesce(&mut self) {
        self.section.quiescing = true;
    }
}

/// One process's entries of the critical section, and whether it is in.
#[derive(Debug, Clone, Hash)]
pub struct CriticalSection {
    id: ProcessId,
    n: u32,
    /// How many entries the process is to make.
    entries: u32,
    /// The entry that was begun last, from 1.
    entry: u32,
    place: Place,
    delay: Duration,
    hold: Duration,
    think: Duration,
    quiescing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Outside,
    Waiting,
    Inside,
}

impl CriticalSection {
    /// The entries of process `setup.id`.
    pub fn new(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let (id, n, options) = (setup.id, setup.n, setup.options);
        let contenders = contenders(n, options)?;
        let before = contenders.range(..id).count() as u32;
        Ok(Self {
            id,
            n,
            entries: if contenders.contains(&id) {
                setup.rounds
            } else {
                0
            },
            entry: 0,
            place: Place::Outside,
            delay: options
                .duration("stagger", Duration::ZERO)?
                .saturating_mul(before),
            hold: options.duration("hold", Duration::from_millis(1))?,
            think: options.duration("think", Duration::ZERO)?,
            quiescing: false,
        })
    }

    /// How long after the beginning the first request is made, unless it is at once.
    fn first_after(&self) -> Option<Duration> {
        Some(self.delay).filter(|delay| self.entries > 0 && !delay.is_zero())
    }

    /// The entry that waits for its turn, if one does.
    pub fn waiting(&self) -> Option<OperationId> {
        (self.place == Place::Waiting).then(|| self.operation())
    }

    /// Whether the process neither waits nor is in the critical section.
    pub fn is_outside(&self) -> bool {
        self.place == Place::Outside
    }

    /// The process that waits enters. `told` is an object with what the algorithm tells about it.
    pub fn enter(&mut self, told: serde_json::Value, step: &mut Step<'_>) {
        debug_assert_eq!(self.place, Place::Waiting);
        self.place = Place::Inside;
        step.note(ENTERED, self.operation(), told);
        step.point(ENTERED);
        step.set_timer(HOLD, self.hold);
    }

    fn operation(&self) -> OperationId {
        OperationId::new(self.id, self.entry, self.n)
    }

    /// Begins the next entry, if there is one.
    fn next(&mut self, step: &mut Step<'_>) -> Option<OperationId> {
        if self.entry == self.entries || self.quiescing {
            return None;
        }
        self.entry += 1;
        self.place = Place::Waiting;
        let operation = self.operation();
        step.report(Phase::Invoke, operation, json!({ "entry": self.entry }));
        Some(operation)
    }

    fn leave(&mut self, step: &mut Step<'_>) -> OperationId {
        let operation = self.operation();
        self.place = Place::Outside;
        step.report(Phase::Ok, operation, json!({ "entry": self.entry }));
        if self.entry < self.entries && !self.quiescing {
            step.set_timer(NEXT, self.think);
        }
        operation
    }
}

/// Who enters the critical section.
pub fn contenders(n: u32, options: &Options) -> Result<BTreeSet<ProcessId>, SetupError> {
    let everybody = || (0..n).map(ProcessId).collect();
    let Some(value) = options.get("contenders").filter(|value| *value != "all") else {
        return Ok(everybody());
    };
    let one = |text: &str| text.trim().parse().ok().filter(|id| *id < n).map(ProcessId);
    let listed: Option<BTreeSet<_>> = value.split(',').map(one).collect();
    listed.ok_or_else(|| SetupError::BadOption {
        option: "contenders",
        value: value.to_owned(),
        expected: "all, or ids from 0 to N-1 separated by commas",
    })
}

/// How many entries a run has.
pub fn entries(n: u32, rounds: u32, options: &Options) -> u64 {
    // Options that cannot be read are refused before anybody asks this.
    let contenders = contenders(n, options).unwrap_or_default();
    contenders.len() as u64 * u64::from(rounds)
}

/// What was told about one entry.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The process that asked for it.
    pub by: ProcessId,
    /// The note [`ENTERED`], where the process entered.
    pub entered: Option<&'a Event>,
    /// Whether it has left again.
    pub left: bool,
}

impl Entry<'_> {
    /// The entries that a case is about.
    pub fn all<'a>(case: &Case<'a>) -> Vec<Entry<'a>> {
        let mut entries: BTreeMap<OperationId, Entry<'a>> = BTreeMap::new();
        for event in case.events {
            // Others may note something about an entry, even before its invocation is read.
            let of_another = event.outcome.phase == Phase::Note && event.note() != Some(ENTERED);
            if event.outcome.operation == OperationId::NONE || of_another {
                continue;
            }
            let entry = entries.entry(event.outcome.operation).or_insert(Entry {
                by: event.node,
                entered: None,
                left: false,
            });
            entry.left |= event.outcome.phase.ends();
            if event.note() == Some(ENTERED) {
                entry.entered = Some(event);
            }
        }
        entries.into_values().collect()
    }

    /// `each` messages for an entry that was left again, at most so many for another.
    pub fn takes(&self, each: u64) -> Expected {
        Expected::between(if self.left { each } else { 0 }, each)
    }
}

/// Safety: no two processes are in the critical section at once.
pub const MUTUAL_EXCLUSION: Property = Property {
    name: "mutual exclusion",
    kind: PropertyKind::Safety,
    about: "no two processes are in the critical section at the same time",
    premise: ALWAYS,
    check: mutual_exclusion,
};

/// Liveness: whoever asks for the critical section enters it.
pub const NO_STARVATION: Property = Property {
    name: "no starvation",
    kind: PropertyKind::Liveness,
    about: "every process that asks for the critical section enters it, and leaves",
    premise: all_live,
    check: no_starvation,
};

/// Safety: the critical section is entered in the order of the requests' timestamps, processes' ids
/// breaking ties. The note [`ENTERED`] has the field `timestamp`.
pub const TIMESTAMP_ORDER: Property = Property {
    name: "timestamp order",
    kind: PropertyKind::Safety,
    about: "entries come in the order of their requests' timestamps and, where these are equal, of ids",
    premise: ALWAYS,
    check: timestamp_order,
};

fn mutual_exclusion(execution: &Execution<'_>) -> Result<(), String> {
    let mut inside: Option<&Event> = None;
    for event in execution.events {
        let Event { node, outcome, .. } = event;
        if event.note() == Some(ENTERED) {
            if let Some(other) = inside {
                return Err(format!(
                    "process {node} entered while process {} was in",
                    other.node
                ));
            }
            inside = Some(event);
        } else if outcome.phase == Phase::Ok {
            match inside.take() {
                Some(entered) if entered.outcome.operation == outcome.operation => {}
                _ => return Err(format!("process {node} left without having been in")),
            }
        }
    }
    Ok(())
}

/// None of these algorithms lives with a process that dies.
fn all_live(execution: &Execution<'_>) -> Result<(), &'static str> {
    let none_dead = execution.crashed.is_empty();
    none_dead.then_some(()).ok_or("a process is dead")
}

fn no_starvation(execution: &Execution<'_>) -> Result<(), String> {
    let case = Case {
        n: execution.n,
        rounds: execution.rounds,
        options: execution.options,
        events: execution.events,
        died: &[],
    };
    let all = Entry::all(&case);
    match all.iter().find(|entry| !entry.left) {
        None => {
            let wanted = entries(case.n, case.rounds, case.options);
            match all.len() as u64 {
                begun if begun == wanted => Ok(()),
                begun => Err(format!("{begun} of {wanted} entries were asked for")),
            }
        }
        Some(Entry {
            by, entered: None, ..
        }) => Err(format!("process {by} asked and never entered")),
        Some(Entry { by, .. }) => Err(format!("process {by} entered and never left")),
    }
}

fn timestamp_order(execution: &Execution<'_>) -> Result<(), String> {
    let mut last: Option<(u64, ProcessId)> = None;
    for event in execution.notes(ENTERED) {
        let Some(timestamp) = event.field("timestamp") else {
            return Err(format!(
                "process {} entered without a timestamp",
                event.node
            ));
        };
        let this = (timestamp, event.node);
        if let Some(before) = last.filter(|before| *before > this) {
            return Err(format!(
                "request {}.{} entered after request {}.{}",
                this.0, this.1, before.0, before.1
            ));
        }
        last = Some(this);
    }
    Ok(())
}

/// How algorithms for mutual exclusion are tested.
#[cfg(test)]
pub mod tests {
    use super::super::{
        Algorithm, Channels, central_mutex, lamport_mutex, maekawa, ricart_agrawala, suzuki_kasami,
    };
    use super::{ENTERED, Entry, MUTUAL_EXCLUSION};
    use crate::algorithm::{Case, Execution, Options, ProcessId, Setup};
    use crate::simulation::{self, Fault, Moment, Order, Run, Scenario, Storage};

    static ALL: [&Algorithm; 5] = [
        &central_mutex::ALGORITHM,
        &lamport_mutex::ALGORITHM,
        &ricart_agrawala::ALGORITHM,
        &maekawa::ALGORITHM,
        &suzuki_kasami::ALGORITHM,
    ];

    /// So long after one another, contenders do not contend: the longest delay is 10 ms.
    pub const APART: (&str, &str) = ("stagger", "100ms");

    /// Simulates a run in which all goes as it should: properties, formula and identities hold.
    pub fn simulate(
        algorithm: &'static Algorithm,
        (n, rounds, seed): (u32, u32, u64),
        options: &[(&str, &str)],
    ) -> Run {
        let scenario = Scenario::new(n, rounds, seed);
        let scenario = options
            .iter()
            .fold(scenario, |it, (name, value)| it.option(name, value));
        let run = simulation::run(algorithm, &scenario).expect("a good setup");
        run.properties().unwrap_or_else(|why| panic!("{why}"));
        run.assert_formula();
        run.assert_per_operation();
        run
    }

    #[test]
    fn on_thousands_of_schedules_nobody_meets_another_and_nobody_starves() {
        for algorithm in ALL {
            for seed in 0..600 {
                let n = 2 + (seed % 5) as u32;
                let workload: [&[_]; 4] = [
                    &[],
                    &[("hold", "20ms")],
                    &[("think", "15ms"), ("hold", "3ms")],
                    &[("stagger", "4ms"), ("contenders", "0,1")],
                ];
                simulate(algorithm, (n, 3, seed), workload[seed as usize % 4]);
            }
        }
    }

    #[test]
    fn where_messages_overtake_each_other_algorithms_that_need_no_order_keep_their_promises() {
        for algorithm in ALL {
            let broken = |seed| {
                let mut scenario = Scenario::new(4, 3, seed);
                scenario.network.order = Order::Any;
                simulation::run(algorithm, &scenario)
                    .unwrap()
                    .properties()
                    .is_err()
            };
            let broken = (0..500).filter(|seed| broken(*seed)).count();
            let needs_order = algorithm.channels == Channels::Fifo;
            assert_eq!(broken > 0, needs_order, "{}: {broken}", algorithm.name);
        }
    }

    /// Quorums of five differ in size, and arbiters note contention about the entries of others.
    #[test]
    fn the_formula_does_not_hang_on_the_order_in_which_events_are_read() {
        for algorithm in ALL {
            for seed in 0..20 {
                let run = simulate(algorithm, (5, 2, seed), &[]);
                let mut backwards = run.events.clone();
                backwards.reverse();
                // What arbiters note about an entry, before its own process has told of it.
                let mut others_first = run.events.clone();
                others_first.sort_by_key(|event| event.note().is_none_or(|note| note == ENTERED));
                for events in [backwards, others_first] {
                    let case = Case {
                        events: &events,
                        ..run.case()
                    };
                    let told = (algorithm.expected)(&case);
                    assert_eq!(told, (algorithm.expected)(&run.case()), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn contenders_are_all_or_those_named() {
        for algorithm in ALL {
            let run = simulate(algorithm, (4, 2, 1), &[("contenders", "1, 3")]);
            let case = run.case();
            let entries = Entry::all(&case);
            assert_eq!(entries.len(), 4);
            assert!(
                entries
                    .iter()
                    .all(|entry| [1, 3].contains(&entry.by.0) && entry.left)
            );
        }
        for bad in ["4", "", "1,", "none", "-1"] {
            let options = Options([("contenders".to_owned(), bad.to_owned())].into());
            for algorithm in ALL {
                assert!(algorithm.check(4, 1, &options).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn an_entry_lasts_as_long_as_it_is_to_and_thinking_delays_the_next() {
        let options = [("hold", "7ms"), ("think", "30ms"), ("contenders", "2")];
        for algorithm in ALL {
            let run = simulate(algorithm, (3, 2, 5), &options);
            let times: Vec<i64> = run
                .events
                .iter()
                .filter(|event| event.node.0 == 2)
                .filter(|event| event.note().is_none_or(|note| note == ENTERED))
                .map(|event| event.time.as_nanos() / 1_000_000)
                .collect();
            let [_, entered, left, next, ..] = times[..] else {
                panic!("{times:?}");
            };
            assert_eq!(left - entered, 7, "{}", algorithm.name);
            assert_eq!(next - left, 30, "{}", algorithm.name);
        }
    }

    #[test]
    fn two_in_the_critical_section_at_once_are_seen() {
        let run = simulate(&central_mutex::ALGORITHM, (3, 1, 1), &[]);
        let mut events = run.events.clone();
        let second = events
            .iter()
            .rposition(|event| event.note() == Some(ENTERED))
            .unwrap();
        // The last to enter does so before the one before it has left.
        let early = events.remove(second);
        let at = events
            .iter()
            .rposition(|event| event.note() == Some(ENTERED))
            .unwrap();
        events.insert(at + 1, early);
        let execution = Execution {
            events: &events,
            ..run.execution()
        };
        assert!((MUTUAL_EXCLUSION.check)(&execution).is_err());
        assert!((MUTUAL_EXCLUSION.check)(&run.execution()).is_ok());
    }

    #[test]
    fn an_entry_that_never_came_is_seen() {
        let run = simulate(&central_mutex::ALGORITHM, (3, 1, 1), &[]);
        let execution = Execution {
            events: &run.events[..run.events.len() - 1],
            ..run.execution()
        };
        assert!((super::NO_STARVATION.check)(&execution).is_err());
    }

    /// A known limit of all five: a process that dies in the critical section never leaves it.
    #[test]
    fn nobody_enters_any_more_when_one_dies_in_the_critical_section() {
        for algorithm in ALL {
            for seed in 0..50 {
                let scenario = Scenario::new(4, 3, seed).fault(Fault::Crash {
                    node: ProcessId(1),
                    at: Moment::Point(ENTERED.to_owned()),
                    back: None,
                    storage: Storage::Kept,
                });
                let run = simulation::run(algorithm, &scenario).unwrap();
                run.safety().unwrap_or_else(|why| panic!("{why}"));
                let case = run.case();
                let last = case.notes(ENTERED).last().map(|event| event.node);
                assert_eq!(last, Some(ProcessId(1)), "{}, seed {seed}", algorithm.name);
                assert!(run.completed() < 9, "{}, seed {seed}", algorithm.name);
            }
        }
    }

    #[test]
    fn after_quiesce_nobody_asks_again() {
        for algorithm in ALL {
            let options = Options::default();
            let setup = Setup {
                id: ProcessId(0),
                n: 2,
                rounds: 2,
                options: &options,
            };
            let mut process = algorithm.build(&setup).unwrap();
            process.quiesce();
            let mut choose = |_| 0;
            let mut step = super::Step::new(&mut choose);
            process.start(&mut step);
            let actions = step.into_actions();
            let sends = |action: &_| matches!(action, super::super::Action::Send { .. });
            assert!(
                !actions.iter().any(sends),
                "{}: {actions:?}",
                algorithm.name
            );
        }
    }
}
