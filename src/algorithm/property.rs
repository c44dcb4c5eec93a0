//! What an algorithm promises, checked on what its processes reported.

use super::{Event, Options, ProcessId};

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
    /// Why an execution breaks it.
    pub check: fn(&Execution<'_>) -> Result<(), String>,
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
}
