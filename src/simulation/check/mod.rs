//! Explicit-state model checking: every execution of an algorithm that some bounds admit.
//!
//! In: a [`Model`], that is an algorithm, its size and options, and [`Bounds`] on what may fail.
//! Out: an [`Explored`]: how many states there are, and the shortest execution that breaks a
//! property, if one does. Explored are all interleavings of deliveries (first in, first out where
//! that is declared), of timers, of the branches of every [`Step::choose`](crate::algorithm::Step),
//! of crashes before, after and between any two actions of a step, of restarts, losses,
//! duplicates and splits of the network. The search is breadth first.
//!
//! A state is what every process knows, stores and waits for, what is on its way, and what of the
//! events so far the properties need. Two states are taken for one where 128 bits of their hash
//! agree. A process's step is a function of its state and its input, so each is run once, however
//! many global states it is taken in.
//!
//! Never: an argument that something happens eventually in executions without an end (starvation
//! freedom). Liveness is checked where nothing can happen any more.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashSet;

use super::{Order, Storage, Watch};
use crate::algorithm::{Algorithm, Event, Options, ProcessId, Property, SetupError};

mod space;
#[cfg(test)]
mod tests;

use space::{Global, Space};
pub use space::{Move, What};

/// What is explored.
#[derive(Clone)]
pub struct Model {
    /// The algorithm.
    pub algorithm: &'static Algorithm,
    /// N of the formula.
    pub n: u32,
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// The algorithm's options.
    pub options: Options,
    /// What may fail, and how often.
    pub bounds: Bounds,
    /// How time passes.
    pub time: Time,
    /// In which order the messages of a channel come.
    pub order: Order,
    /// What a crash does to what was persisted.
    pub storage: Storage,
    /// Kinds of messages that never come, as though they were slow: what they would lead to is not
    /// explored. Liveness is not judged then.
    pub withheld: Vec<&'static str>,
    /// Whether a message may come to a process after it has been down meanwhile. Else what is on
    /// its way to a process that crashes is lost, and what is sent to it while it is down is
    /// refused, as on TCP connections.
    pub late: bool,
    /// The names of the properties that are checked; none: all that the algorithm declares.
    pub only: Option<Vec<&'static str>>,
    /// Properties to check beside those that the algorithm declares.
    pub also: &'static [Property],
    /// What of the events so far tells one state from another. It is given the events after each
    /// new one and puts them into a normal form that serves every property that is checked:
    /// [`in_order`] loses nothing.
    pub history: fn(Vec<Event>) -> Vec<Event>,
}

/// How often each thing may go wrong in one execution, and how far the search goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Crashes.
    pub crashes: u32,
    /// Who may crash; none: everybody.
    pub may_crash: Option<Vec<ProcessId>>,
    /// Whether crashes fall at the points that the algorithm names and nowhere else.
    pub at_points: bool,
    /// Crashed processes that come back.
    pub restarts: u32,
    /// Messages that are lost.
    pub losses: u32,
    /// Messages that come twice.
    pub duplicates: u32,
    /// Splits of the processes into two sides. What is sent from one side to the other from then
    /// on is lost; what was on its way comes.
    pub splits: u32,
    /// Timers that fire. An execution that would need more is not followed further, and
    /// [`Explored::cut_short`] says so.
    pub timeouts: u32,
    /// States; a search that would need more gives up.
    pub states: usize,
}

impl Default for Bounds {
    /// Nothing fails, timers fire as often as they are set.
    fn default() -> Self {
        Self {
            crashes: 0,
            may_crash: None,
            at_points: false,
            restarts: 0,
            losses: 0,
            duplicates: 0,
            splits: 0,
            timeouts: u32::MAX,
            states: 5_000_000,
        }
    }
}

/// How time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// A timer that is set may fire at any moment: nothing is known of delays.
    Asynchronous,
    /// Messages take no time, in whatever order they come; the clock moves on to the next timer
    /// only when no message to a live process is on its way. Every timeout is right.
    Synchronous,
}

/// Keeps the events in the order in which they happened.
pub fn in_order(events: Vec<Event>) -> Vec<Event> {
    events
}

/// Forgets which events of different processes came first.
pub fn per_process(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| event.node);
    events
}

impl Model {
    /// This algorithm in one round without failures, asynchronous, with the channels and the
    /// properties that it declares.
    pub fn new(algorithm: &'static Algorithm, n: u32) -> Self {
        Self {
            algorithm,
            n,
            rounds: 1,
            options: Options::default(),
            bounds: Bounds::default(),
            time: Time::Asynchronous,
            order: Order::Declared,
            storage: Storage::Kept,
            withheld: Vec::new(),
            late: false,
            only: None,
            also: &[],
            history: in_order,
        }
    }

    /// The same model with this option.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Explores it until a property is broken or nothing is left.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the algorithm cannot be built so.
    pub fn explore(&self) -> Result<Explored, SetupError> {
        self.explore_watched(&Watch::default())
    }

    /// The same, watched by another thread. A search that is stopped gives up.
    ///
    /// # Errors
    ///
    /// As [`Model::explore`].
    pub fn explore_watched(&self, watch: &Watch) -> Result<Explored, SetupError> {
        let mut space = Space::new(self)?;
        let mut search = Search::default();
        let start = space.initial();
        search.visit(None, start, &mut space);
        let mut explored = Explored::default();
        let mut next = Vec::new();
        while let Some((index, state)) = search.frontier.pop_front() {
            if let Some(broken) = space.verdict(&state) {
                explored.counterexample = Some(space.counterexample(search.path(index), broken));
                break;
            }
            watch
                .steps
                .store(search.nodes.len() as u64, Ordering::Relaxed);
            if search.nodes.len() > self.bounds.states || watch.is_stopped() {
                explored.gave_up = true;
                break;
            }
            space.successors(&state, &mut next);
            explored.moves += next.len() as u64;
            for (how, state) in next.drain(..) {
                search.visit(Some((index, how)), state, &mut space);
            }
        }
        explored.states = search.nodes.len();
        explored.ends = space.ends;
        explored.cut_short = space.cut_short;
        Ok(explored)
    }
}

/// What a search has seen, and how it came there.
#[derive(Default)]
struct Search {
    seen: FxHashSet<u128>,
    /// How each state was reached first: by which move from which state.
    nodes: Vec<Option<(u32, Move)>>,
    frontier: VecDeque<(u32, Global)>,
}

impl Search {
    fn visit(&mut self, from: Option<(u32, Move)>, state: Global, space: &mut Space<'_>) {
        if self.seen.insert(space.fingerprint(&state)) {
            let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 states");
            self.nodes.push(from);
            self.frontier.push_back((index, state));
        }
    }

    /// The moves that lead to a state.
    fn path(&self, mut index: u32) -> Vec<Move> {
        let mut moves = Vec::new();
        while let Some((from, how)) = self.nodes[index as usize] {
            moves.push(how);
            index = from;
        }
        moves.reverse();
        moves
    }
}

/// What came of a search.
#[derive(Debug, Clone, Default)]
pub struct Explored {
    /// States that were reached.
    pub states: usize,
    /// Moves from one to the next.
    pub moves: u64,
    /// States in which nothing can happen any more, failures aside.
    pub ends: u64,
    /// Whether the bound on timers kept it from following every execution to its end.
    pub cut_short: bool,
    /// Whether it gave up: at the bound on states, or because it was stopped.
    pub gave_up: bool,
    /// The shortest execution that breaks a property.
    pub counterexample: Option<Counterexample>,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} moves, {} ends",
            self.states, self.moves, self.ends
        )?;
        if self.cut_short {
            write!(f, ", timers bounded")?;
        }
        if self.gave_up {
            write!(f, ", gave up")?;
        }
        match &self.counterexample {
            Some(counterexample) => write!(f, "\n{counterexample}"),
            None => Ok(()),
        }
    }
}

/// An execution that breaks a property.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// The property's name.
    pub property: String,
    /// Why it does not hold.
    pub why: String,
    /// What happened, in order.
    pub trace: Vec<Happened>,
}

/// A move of a counterexample and what the process did in it.
#[derive(Debug, Clone)]
pub struct Happened {
    /// The move.
    pub what: What,
    /// The kind of the message that was delivered, refused, lost or doubled.
    pub kind: Option<String>,
    /// What the process did, in order, up to its crash.
    pub did: Vec<Did>,
    /// Whether the process crashed after these actions.
    pub crashed: bool,
}

/// What a process did in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// Sent a message of this kind.
    Send(ProcessId, String),
    /// Persisted something.
    Persist,
    /// Reported this event.
    Report(String),
    /// Passed this point.
    Point(&'static str),
    /// Set a timer.
    SetTimer(u32),
    /// Cancelled a timer.
    CancelTimer(u32),
}

impl Happened {
    /// The process that acted in it.
    pub fn who(&self) -> Option<ProcessId> {
        match self.what {
            What::Start(id) | What::Timer(id, _) | What::Crash(id) | What::Restart(id) => Some(id),
            What::Deliver { to, .. } => Some(to),
            _ => None,
        }
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.property, self.why)?;
        for (number, happened) in self.trace.iter().enumerate() {
            writeln!(f, "{:3}. {happened}", number + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_deref().unwrap_or("message");
        match self.what {
            What::Start(id) => write!(f, "{id} starts")?,
            What::Deliver { from, to } => write!(f, "{to} receives {kind} from {from}")?,
            What::Refuse { from, to } => write!(f, "{to} is down: {kind} from {from} is refused")?,
            What::Timer(id, timer) => write!(f, "{id}: timer {} fires", timer.0)?,
            What::Crash(id) => write!(f, "{id} crashes")?,
            What::Restart(id) => write!(f, "{id} restarts")?,
            What::Lose { from, to } => write!(f, "{kind} from {from} to {to} is lost")?,
            What::Double { from, to } => write!(f, "{kind} from {from} to {to} is doubled")?,
            What::Split(side) => {
                let ids: Vec<_> = (0..32).filter(|id| side & (1 << id) != 0).collect();
                write!(f, "{ids:?} are split from the others")?;
            }
        }
        for did in &self.did {
            match did {
                Did::Send(to, kind) => write!(f, "; sends {kind} to {to}")?,
                Did::Persist => write!(f, "; persists")?,
                Did::Report(event) => write!(f, "; reports {event}")?,
                Did::Point(name) => write!(f, "; passes {name}")?,
                Did::SetTimer(id) => write!(f, "; sets timer {id}")?,
                Did::CancelTimer(id) => write!(f, "; cancels timer {id}")?,
            }
        }
        if self.crashed {
            write!(f, "; crashes")?;
        }
        Ok(())
    }
}
