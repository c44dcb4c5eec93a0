//! What an algorithm promises, checked on what its processes reported.

use super::{Event, OperationId, Options, Phase, ProcessId};

/// Whether a promise can be broken by what happened, or only by what did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyKind {
    /// Nothing bad happens: holds at every moment, whatever fails within the failure model.
    Safety,
    /// Something good happens: holds at the end of an execution in which every live process was
    /// given its steps and every message between live processes came.
    Liveness,
}

/// A property of an algorithm.
pub struct Property {
    /// Its name in the field, such as agreement.
    pub name: &'static str,
    /// Safety or liveness.
    pub kind: PropertyKind,
    /// What it says, in a line.
    pub about: &'static str,
    /// What it takes for granted beside what its kind does, or what of that is missing: then it says
    /// nothing about this execution, and that it "holds" would mislead.
    pub premise: fn(&Execution<'_>) -> Result<(), &'static str>,
    /// Why an execution breaks it. Asked where the premise is met.
    pub check: fn(&Execution<'_>) -> Result<(), String>,
}

/// The premise of a property that speaks of every execution.
pub const ALWAYS: fn(&Execution<'_>) -> Result<(), &'static str> = |_| Ok(());

/// What an execution shows of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It holds.
    Holds,
    /// It does not, and why.
    Broken(String),
    /// Its premise is not met, and what is missing.
    NotJudged(&'static str),
}

impl Property {
    /// Whether this execution has the property. A liveness property is to be asked at its end only.
    pub fn judge(&self, execution: &Execution<'_>) -> Judgement {
        if let Err(missing) = (self.premise)(execution) {
            return Judgement::NotJudged(missing);
        }
        match (self.check)(execution) {
            Ok(()) => Judgement::Holds,
            Err(why) => Judgement::Broken(why),
        }
    }
}

/// An execution as its processes tell it.
#[derive(Debug, Clone, Copy)]
pub struct Execution<'a> {
    /// N of the formula.
    pub n: u32,
    /// How often each initiator was to repeat its operation.
    pub rounds: u32,
    /// The algorithm's options.
    pub options: &'a Options,
    /// Outcome events in the order in which they happened.
    pub events: &'a [Event],
    /// Processes that are down at the end.
    pub crashed: &'a [ProcessId],
}

impl<'a> Execution<'a> {
    /// What processes noted under this name, in order.
    pub fn notes(&self, name: &'a str) -> impl Iterator<Item = &'a Event> + use<'a> {
        let named = move |event: &&Event| event.note() == Some(name);
        self.events.iter().filter(named)
    }

    /// Whether this process is down at the end.
    pub fn is_crashed(&self, id: ProcessId) -> bool {
        self.crashed.contains(&id)
    }

    /// Whether more than half of the N processes live at the end.
    pub fn has_majority(&self) -> bool {
        self.n as usize - self.crashed.len() > self.n as usize / 2
    }

    /// The operations of one who begins one in each round.
    pub fn operations_of(&self, initiator: ProcessId) -> impl Iterator<Item = OperationId> + use<> {
        let n = self.n;
        (1..=self.rounds).map(move |round| OperationId::new(initiator, round, n))
    }

    /// How many operations ended, as whatever `counts` admits.
    pub fn ended(&self, counts: fn(Phase) -> bool) -> u64 {
        let phases = self.events.iter().map(|event| event.outcome.phase);
        phases.filter(|phase| counts(*phase)).count() as u64
    }
}
