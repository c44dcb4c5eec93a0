//! Distributed algorithms as state machines without I/O, and the catalog that declares them.
//!
//! In: a start, a message, a timer or a recovery, one at a time. Out: an ordered list of
//! [`Action`]s. A process knows no socket, clock, thread or random source, so the same code runs
//! on TCP between operating-system processes, in the simulation, and under a model checker.
//! Actions are carried out in order and a crash may fall between any two of them.
//!
//! A new algorithm is one file here, one line in [`catalog`], and its kinds in
//! `data/protocols.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

pub mod body;
pub mod bully;
pub mod catalog;
pub mod central_mutex;
pub mod centralized;
pub mod chain_replication;
pub mod chandy_lamport;
pub mod chang_roberts;
pub mod commitment;
pub mod distributed;
pub mod expected;
pub mod flooding;
pub mod gossip;
pub mod graph;
pub mod lamport_clock;
pub mod lamport_mutex;
pub mod maekawa;
pub mod mutex;
pub mod paxos;
pub mod pbft;
pub mod property;
pub mod raft;
pub mod random_walk;
pub mod ricart_agrawala;
pub mod ring;
pub mod suzuki_kasami;
pub mod three_phase_commit;
pub mod told;
pub mod two_phase_commit;

pub use body::Body;
pub use catalog::{
    Algorithm, Channels, FailureModel, Identity, OptionSpec, OutsideFormula, Point, Relation,
    Synchrony, Topology,
};
pub use expected::{Case, Expectation, Expected};
pub use property::{ALWAYS, Execution, Judgement, Property, PropertyKind};
pub use told::Told;

/// A process of an algorithm: 0 … N−1. Coordinator, server or primary is 0.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

impl ProcessId {
    /// This id as an index into a list of all processes.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number of a message kind within its protocol, as in the frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KindNumber(pub u16);

/// The id of an operation, unique within a run; [`OperationId::NONE`] belongs to none.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OperationId(pub u64);

impl OperationId {
    /// What a message carries that belongs to no operation.
    pub const NONE: Self = Self(0);

    /// The id of operation number `round` (from 1) of this initiator among `n` processes.
    pub fn new(initiator: ProcessId, round: u32, n: u32) -> Self {
        debug_assert!(round >= 1 && initiator.0 < n);
        Self(u64::from(round - 1) * u64::from(n) + u64::from(initiator.0) + 1)
    }

    /// The round (from 1) in which [`OperationId::new`] made this id.
    pub fn round(self, n: u32) -> u32 {
        u32::try_from(self.0.saturating_sub(1) / u64::from(n)).unwrap_or(u32::MAX - 1) + 1
    }
}

/// A timer of a process. Setting one that runs sets it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u32);

/// A message as its receiver is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sending process.
    pub from: ProcessId,
    /// The message kind.
    pub kind: KindNumber,
    /// The operation that it belongs to.
    pub operation: OperationId,
    /// Its body.
    pub body: Body,
}

/// The four events in the life of an operation, as linearizability checkers name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It begins.
    Invoke,
    /// It took effect.
    Ok,
    /// It certainly took no effect.
    Fail,
    /// It ended and nobody can say whether it took effect.
    Info,
    /// Something else worth telling, within an operation or outside of any: a process has become
    /// leader, has entered its critical section, has been reached. Its value is an object whose
    /// `note` names what it is.
    Note,
}

impl Phase {
    /// Whether an operation ends with this event.
    pub fn ends(self) -> bool {
        matches!(self, Self::Ok | Self::Fail | Self::Info)
    }
}

/// An outcome event: what a process tells the outside world about an operation. Parameters of a
/// formula and properties come from here and never from counted messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which event in the operation's life.
    #[serde(rename = "event")]
    pub phase: Phase,
    /// The operation.
    pub operation: OperationId,
    /// What the algorithm tells about it.
    #[serde(default)]
    pub value: Told,
}

/// An outcome event, who told it, and when. One line of a run's `history.jsonl` or, where it is a
/// [`Phase::Note`], of its `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The process that reported it.
    pub node: ProcessId,
    /// When: by that node's clock in a run, since the beginning in a simulation.
    pub time: Timestamp,
    /// The event.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Event {
    /// The name of what a [`Phase::Note`] tells.
    pub fn note(&self) -> Option<&str> {
        match self.outcome.phase {
            Phase::Note => self.outcome.value.get("note")?.as_str(),
            _ => None,
        }
    }

    /// A field of the event's value.
    pub fn field<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.outcome.value.get(name)?).ok()
    }
}

/// What a process wants done, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send a message. To oneself it goes through a local queue and appears in no account.
    Send {
        /// The receiver.
        to: ProcessId,
        /// The message kind.
        kind: KindNumber,
        /// The operation that it belongs to.
        operation: OperationId,
        /// Its body.
        body: Body,
    },
    /// Wake the process with this timer after that long.
    SetTimer {
        /// Which timer.
        id: TimerId,
        /// How long from now.
        after: Duration,
    },
    /// Forget a timer.
    CancelTimer(TimerId),
    /// Replace the stable state. Complete before any later action of the step.
    Persist(Vec<u8>),
    /// Report an outcome event.
    Report(Outcome),
    /// A named point of the algorithm has been reached. Nothing happens here, unless a fault is to
    /// be injected at this point: then it falls before all later actions of the step.
    Point(&'static str),
}

/// One step of a process: the actions that it answers with, and the choices that it is given.
pub struct Step<'a> {
    actions: Vec<Action>,
    choose: &'a mut dyn FnMut(u32) -> u32,
}

impl<'a> Step<'a> {
    /// A step whose choices come from `choose(k)`, a number below `k`: a random source at run
    /// time, every branch in turn under a model checker.
    pub fn new(choose: &'a mut dyn FnMut(u32) -> u32) -> Self {
        Self::reusing(Vec::new(), choose)
    }

    /// The same, in the room of an earlier step's actions, which are dropped.
    pub fn reusing(mut actions: Vec<Action>, choose: &'a mut dyn FnMut(u32) -> u32) -> Self {
        actions.clear();
        Self { actions, choose }
    }

    /// Sends a message.
    pub fn send(&mut self, to: ProcessId, kind: KindNumber, operation: OperationId, body: Body) {
        self.actions.push(Action::Send {
            to,
            kind,
            operation,
            body,
        });
    }

    /// Sets a timer.
    pub fn set_timer(&mut self, id: TimerId, after: Duration) {
        self.actions.push(Action::SetTimer { id, after });
    }

    /// Cancels a timer.
    pub fn cancel_timer(&mut self, id: TimerId) {
        self.actions.push(Action::CancelTimer(id));
    }

    /// Replaces the stable state, that a later [`Process::recover`] is given.
    pub fn persist(&mut self, bytes: Vec<u8>) {
        self.actions.push(Action::Persist(bytes));
    }

    /// A random or nondeterministic choice: a number below `k`, which is at least 1.
    pub fn choose(&mut self, k: u32) -> u32 {
        let chosen = (self.choose)(k);
        debug_assert!(chosen < k, "chose {chosen} of {k}");
        chosen
    }

    /// Reports an outcome event.
    pub fn report(&mut self, phase: Phase, operation: OperationId, value: serde_json::Value) {
        self.actions.push(Action::Report(Outcome {
            phase,
            operation,
            value: value.into(),
        }));
    }

    /// Reports a [`Phase::Note`]. `value` is an object; its field `note` becomes `name`.
    pub fn note(
        &mut self,
        name: &'static str,
        operation: OperationId,
        mut value: serde_json::Value,
    ) {
        debug_assert!(value.is_object(), "{value}");
        value["note"] = name.into();
        self.report(Phase::Note, operation, value);
    }

    /// Passes a point that the algorithm declares in [`Algorithm::points`].
    pub fn point(&mut self, name: &'static str) {
        self.actions.push(Action::Point(name));
    }

    /// The step's actions, in order.
    pub fn into_actions(self) -> Vec<Action> {
        self.actions
    }
}

/// A message that the algorithm has no place for. The process has ignored it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A kind that this process never receives.
    #[error("process {from} sent a message of kind {kind}, which has no place here", kind = kind.0)]
    UnexpectedKind {
        /// The sender.
        from: ProcessId,
        /// The kind.
        kind: KindNumber,
    },
    /// A body that does not hold what its kind says.
    #[error("process {from} sent a body that cannot be read: {source}")]
    Body {
        /// The sender.
        from: ProcessId,
        /// What is wrong with it.
        source: body::BodyError,
    },
    /// A message that contradicts what the algorithm guarantees.
    #[error("process {from} broke the algorithm's rules: {what}")]
    Violation {
        /// The sender.
        from: ProcessId,
        /// Which rule.
        what: String,
    },
}

impl Message {
    /// The error for a kind that its receiver does not know.
    pub fn unexpected(&self) -> ProtocolError {
        ProtocolError::UnexpectedKind {
            from: self.from,
            kind: self.kind,
        }
    }

    /// The body as a `T`.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, ProtocolError> {
        self.body.decode().map_err(|source| ProtocolError::Body {
            from: self.from,
            source,
        })
    }
}

/// What a model checker and a simulation need of a process: to be copied, and to be told from
/// others. Every process that is [`Clone`] and [`Hash`] has it, so derive both, and keep no state in
/// collections without an order of their own.
pub trait State {
    /// A copy.
    fn boxed_clone(&self) -> Box<dyn Process>;
    /// Feeds the whole state to a hash.
    fn hash_state(&self, hasher: &mut dyn Hasher);
}

impl<T: Process + Clone + Hash + 'static> State for T {
    fn boxed_clone(&self) -> Box<dyn Process> {
        Box::new(self.clone())
    }

    fn hash_state(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }
}

impl Clone for Box<dyn Process> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}

/// One process of an algorithm.
pub trait Process: State + fmt::Debug {
    /// The process begins for the first time.
    fn start(&mut self, step: &mut Step<'_>);

    /// A message has come.
    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError>;

    /// A timer has run out.
    fn timer(&mut self, _id: TimerId, _step: &mut Step<'_>) {}

    /// The process begins again after a crash, with the bytes that it persisted last, or none.
    /// Called in place of [`Process::start`].
    fn recover(&mut self, _bytes: &[u8], step: &mut Step<'_>) {
        self.start(step);
    }

    /// From now on: no new operation, no spontaneous action. Replies go on.
    fn quiesce(&mut self) {}
}

/// What a process is built from.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Its own id.
    pub id: ProcessId,
    /// N of the formula: how many processes there are, clients aside
    /// (see [`Algorithm::processes`]).
    pub n: u32,
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// The algorithm's own options.
    pub options: &'a Options,
}

/// Why a process cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// No such algorithm.
    #[error("no algorithm is called '{name}'; there are: {}", .known.join(", "))]
    UnknownAlgorithm {
        /// The name.
        name: String,
        /// The names that exist.
        known: Vec<&'static str>,
    },
    /// Too few processes.
    #[error("{algorithm} needs at least {least} processes, not {n}: use -n {least} or more")]
    TooFew {
        /// The algorithm.
        algorithm: &'static str,
        /// The least N.
        least: u32,
        /// The N asked for.
        n: u32,
    },
    /// An id that is none of 0 … N−1.
    #[error("there is no process {id} among {n}: ids run from 0 to N-1")]
    NoSuchProcess {
        /// The id.
        id: ProcessId,
        /// The number of processes.
        n: u32,
    },
    /// A point that the algorithm does not pass.
    #[error("{algorithm} has no point '{point}'; it has: {}", .known.join(", "))]
    NoSuchPoint {
        /// The algorithm.
        algorithm: &'static str,
        /// The point.
        point: String,
        /// The points that it has.
        known: Vec<&'static str>,
    },
    /// No operation at all.
    #[error("0 rounds do nothing: at least 1 is needed")]
    NoRounds,
    /// An option that the algorithm does not have.
    #[error("{algorithm} has no option '{option}'; `wirewatt list algorithms` names what it has")]
    UnknownOption {
        /// The algorithm.
        algorithm: &'static str,
        /// The option.
        option: String,
    },
    /// An option's value that cannot be read.
    #[error("option {option} is '{value}'; expected {expected}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
}

/// Options of an algorithm's workload by name. What each means is declared in its catalog entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Options(pub BTreeMap<String, String>);

impl Options {
    /// The value of this option, where it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number, or the default where it was not given.
    pub fn number(&self, option: &'static str, default: u32) -> Result<u32, SetupError> {
        let Some(value) = self.get(option) else {
            return Ok(default);
        };
        value.parse().map_err(|_| SetupError::BadOption {
            option,
            value: value.to_owned(),
            expected: "a number",
        })
    }

    /// A length of time such as `500ms` or `2s`, or the default where it was not given.
    pub fn duration(
        &self,
        option: &'static str,
        default: Duration,
    ) -> Result<Duration, SetupError> {
        let Some(value) = self.get(option) else {
            return Ok(default);
        };
        let parsed = match value.strip_suffix("ms") {
            Some(number) => number.parse().ok().map(Duration::from_millis),
            None => value
                .strip_suffix('s')
                .and_then(|n| n.parse().ok())
                .map(Duration::from_secs),
        };
        parsed.ok_or_else(|| SetupError::BadOption {
            option,
            value: value.to_owned(),
            expected: "a time such as 500ms or 2s",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_are_unique_and_tell_their_round() {
        let n = 5;
        let mut ids: Vec<_> = (1..=4)
            .flat_map(|round| (0..n).map(move |id| (round, ProcessId(id))))
            .map(|(round, id)| {
                let operation = OperationId::new(id, round, n);
                assert_eq!(operation.round(n), round);
                operation
            })
            .collect();
        assert!(!ids.contains(&OperationId::NONE));
        ids.dedup();
        assert_eq!(ids.len(), 20);
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        let options = Options(BTreeMap::from([
            ("a".into(), "500ms".into()),
            ("b".into(), "2s".into()),
            ("c".into(), "7".into()),
        ]));
        let default = Duration::from_secs(9);
        assert_eq!(
            options.duration("a", default),
            Ok(Duration::from_millis(500))
        );
        assert_eq!(options.duration("b", default), Ok(Duration::from_secs(2)));
        assert_eq!(options.duration("d", default), Ok(default));
        assert!(options.duration("c", default).is_err());
    }
}
