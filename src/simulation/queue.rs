//! What is to happen, by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A process begins.
    Start(u32),
    /// The message in this slot reaches its receiver.
    Message(u32),
    /// A timer of a process runs out, unless it has been set anew or cancelled.
    Timer {
        /// The process.
        process: u32,
        /// The timer.
        id: u32,
    },
    /// The fault with this index falls.
    Fault(u32),
    /// A process begins again.
    Restart(u32),
}

/// Something that is to happen, when, and its number in the order of planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planned {
    /// Nanoseconds since the beginning.
    pub time: u64,
    /// Unique, ascending: what is planned for the same time happens in the order of planning.
    pub number: u64,
    /// What.
    pub due: Due,
}

/// A queue of what is to happen.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Planned>>,
    planned: u64,
}

impl Queue {
    /// Plans something, and gives its number.
    pub fn plan(&mut self, time: u64, due: Due) -> u64 {
        self.planned += 1;
        let number = self.planned;
        self.heap.push(Reverse(Planned { time, number, due }));
        number
    }

    /// What comes next.
    pub fn next(&mut self) -> Option<Planned> {
        self.heap.pop().map(|Reverse(planned)| planned)
    }
}
