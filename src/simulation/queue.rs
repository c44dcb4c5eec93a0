//! What is to happen, by time: a calendar queue (Brown, CACM 31(10), 1988) of fixed width.
//!
//! Delays are bounded, so nearly everything that is planned falls within a short time from now: into
//! one of the buckets of a wheel, whose events are put in order when their turn comes. What lies
//! beyond, or in the bucket that is just being emptied, waits in a heap beside it. Events come out by
//! time, and those of the same time in the order of planning, whichever way they took.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The process that this fault crashed begins again.
    Restart(u32),
}

/// Something that is to happen, when, and its number in the order of planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Nanoseconds since the beginning.
    pub time: u64,
    /// Unique, ascending.
    pub number: u64,
    /// What.
    pub due: Due,
}

/// [`Planned`] in 24 bytes, in the order in which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Packed {
    time: u64,
    /// The number, and which of [`Due`] in the last bits.
    number: u64,
    what: (u32, u32),
}

const TAG_BITS: u32 = 3;

impl Packed {
    fn new(time: u64, number: u64, due: Due) -> Self {
        let (tag, what) = match due {
            Due::Start(id) => (0, (id, 0)),
            Due::Message(slot) => (1, (slot, 0)),
            Due::Timer { process, id } => (2, (process, id)),
            Due::Fault(index) => (3, (index, 0)),
            Due::Restart(index) => (4, (index, 0)),
        };
        Self {
            time,
            number: number << TAG_BITS | tag,
            what,
        }
    }

    fn planned(self) -> Planned {
        let (first, id) = self.what;
        let due = match self.number & ((1 << TAG_BITS) - 1) {
            0 => Due::Start(first),
            1 => Due::Message(first),
            2 => Due::Timer { process: first, id },
            3 => Due::Fault(first),
            _ => Due::Restart(first),
        };
        Planned {
            time: self.time,
            number: self.number >> TAG_BITS,
            due,
        }
    }
}

/// Buckets of the wheel.
const BUCKETS: usize = 4096;

/// A queue of what is to happen.
#[derive(Debug)]
pub struct Queue {
    /// A bucket is 2 to this power of nanoseconds wide.
    shift: u32,
    wheel: Vec<Vec<Packed>>,
    /// A bit for each bucket that is not empty.
    occupied: [u64; BUCKETS / 64],
    /// The bucket that is being emptied, counted from time 0. Those of the wheel follow it.
    current: u64,
    /// What is left of it, the next event last.
    due: Vec<Packed>,
    /// Whether nothing has come out of it yet.
    fresh: bool,
    /// What came into it later, and what was beyond the wheel when it was planned.
    others: BinaryHeap<Reverse<Packed>>,
    planned: u64,
}

impl Queue {
    /// An empty queue for events that are mostly planned up to `usual` nanoseconds ahead.
    pub fn new(usual: u64) -> Self {
        let width = (usual.saturating_mul(4) / BUCKETS as u64).clamp(64, 1 << 40);
        Self {
            shift: width.ilog2(),
            wheel: vec![Vec::new(); BUCKETS],
            occupied: [0; BUCKETS / 64],
            current: 0,
            due: Vec::new(),
            fresh: false,
            others: BinaryHeap::new(),
            planned: 0,
        }
    }

    /// Plans something, and gives its number. Nothing is planned before what came out last.
    pub fn plan(&mut self, time: u64, due: Due) -> u64 {
        self.planned += 1;
        let packed = Packed::new(time, self.planned, due);
        let bucket = time >> self.shift;
        if bucket > self.current && bucket - self.current < BUCKETS as u64 {
            let at = bucket as usize % BUCKETS;
            self.wheel[at].push(packed);
            self.occupied[at / 64] |= 1 << (at % 64);
        } else {
            self.others.push(Reverse(packed));
        }
        self.planned
    }

    /// What comes next.
    pub fn next(&mut self) -> Option<Planned> {
        if self.due.is_empty() {
            self.turn();
        }
        let from_heap = match (self.due.last(), self.others.peek()) {
            (Some(due), Some(Reverse(other))) => other < due,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let next = if from_heap {
            let next = self.others.pop().map(|Reverse(next)| next);
            // With nothing in between the wheel may go on to there.
            if let (Some(next), true) = (next, self.due.is_empty()) {
                self.current = self.current.max(next.time >> self.shift);
            }
            next
        } else {
            self.due.pop()
        };
        next.map(Packed::planned)
    }

    /// What is about to come out, in no order: all of the next bucket when it has just been opened,
    /// and nothing otherwise.
    pub fn opened(&mut self) -> impl Iterator<Item = Due> {
        let opened = match std::mem::take(&mut self.fresh) {
            true => self.due.as_slice(),
            false => &[],
        };
        opened.iter().map(|packed| packed.planned().due)
    }

    /// Takes the next bucket that is not empty, unless something comes before it.
    fn turn(&mut self) {
        let Some(bucket) = self.next_occupied() else {
            return;
        };
        let other = self.others.peek();
        if other.is_some_and(|Reverse(other)| other.time >> self.shift < bucket) {
            return;
        }
        self.current = bucket;
        let at = bucket as usize % BUCKETS;
        self.occupied[at / 64] &= !(1 << (at % 64));
        std::mem::swap(&mut self.due, &mut self.wheel[at]);
        self.due.sort_unstable_by(|a, b| b.cmp(a));
        self.fresh = true;
    }

    /// The first bucket after the current one that is not empty.
    fn next_occupied(&self) -> Option<u64> {
        let first = (self.current + 1) as usize % BUCKETS;
        let words = self.occupied.len();
        // The word of the first bucket is looked at twice: its later bits first, the others last.
        for turn in 0..=words {
            let word = (first / 64 + turn) % words;
            let mut bits = self.occupied[word];
            let later = u64::MAX << (first % 64);
            match turn {
                0 => bits &= later,
                _ if turn == words => bits &= !later,
                _ => {}
            }
            if bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (at + BUCKETS - first) % BUCKETS;
                return Some(self.current + 1 + ahead as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Operation {
        Plan(u64),
        Next,
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let ahead = prop_oneof![
            4 => 0..200_u64,
            4 => 0..20_000_000_u64,
            1 => 0..60_000_000_000_u64,
            1 => Just(0),
        ];
        let operation = prop_oneof![ahead.prop_map(Operation::Plan), Just(Operation::Next)];
        prop::collection::vec(operation, 0..400)
    }

    proptest! {
        /// Against a list that is searched for its least entry.
        #[test]
        fn events_come_by_time_and_then_in_the_order_of_planning(
            operations in operations(),
            usual in prop_oneof![Just(0_u64), Just(10_000_000), 1..1_000_000_000_u64],
        ) {
            let mut queue = Queue::new(usual);
            let mut model: Vec<(u64, u64)> = Vec::new();
            let mut now = 0;
            let ends = std::iter::repeat_n(Operation::Next, operations.len());
            for operation in operations.into_iter().chain(ends) {
                match operation {
                    Operation::Plan(ahead) => {
                        let due = Due::Timer { process: ahead as u32, id: 7 };
                        let number = queue.plan(now + ahead, due);
                        model.push((now + ahead, number));
                    }
                    Operation::Next => {
                        let next = queue.next();
                        let least = model.iter().copied().min();
                        model.retain(|entry| Some(*entry) != least);
                        prop_assert_eq!(next.map(|next| (next.time, next.number)), least);
                        now = least.map_or(now, |(time, _)| time);
                    }
                }
            }
            prop_assert!(model.is_empty());
        }
    }

    #[test]
    fn what_is_planned_comes_out_as_it_was() {
        let all = [
            Due::Start(1),
            Due::Message(u32::MAX),
            Due::Timer {
                process: 2,
                id: u32::MAX,
            },
            Due::Fault(3),
            Due::Restart(4),
        ];
        let mut queue = Queue::new(1000);
        for due in all {
            queue.plan(5, due);
        }
        assert_eq!(all.map(|_| queue.next().unwrap().due), all);
        assert_eq!(queue.next(), None);
    }
}
