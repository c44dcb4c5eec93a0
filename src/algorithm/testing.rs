//! A small world for unit tests: all processes in memory, messages delivered in an order that a
//! seed decides, until nothing is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;

/// A message that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its receiver.
    pub to: ProcessId,
    /// What it is.
    pub message: Message,
}

/// What came of a run in memory.
pub struct World {
    algorithm: &'static Algorithm,
    n: u32,
    rounds: u32,
    options: Options,
    processes: Vec<Box<dyn Process>>,
    crashed: BTreeSet<ProcessId>,
    in_flight: Vec<Sent>,
    timers: BTreeMap<(ProcessId, TimerId), Duration>,
    random: u64,
    /// Every message, in the order of sending.
    pub messages: Vec<Sent>,
    /// Every outcome event, in order.
    pub events: Vec<Event>,
    /// What each process persisted, in order.
    pub persisted: BTreeMap<ProcessId, Vec<Vec<u8>>>,
}

impl World {
    /// Runs an algorithm to its end.
    pub fn run(
        algorithm: &'static Algorithm,
        n: u32,
        rounds: u32,
        options: &[(&str, &str)],
        seed: u64,
    ) -> Self {
        Self::run_with_crashed(algorithm, n, rounds, options, seed, &[])
    }

    /// Runs an algorithm to its end while these processes are down from the beginning.
    pub fn run_with_crashed(
        algorithm: &'static Algorithm,
        n: u32,
        rounds: u32,
        options: &[(&str, &str)],
        seed: u64,
        crashed: &[u32],
    ) -> Self {
        let options = Options(
            options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        );
        let build = |id| {
            let setup = Setup {
                id: ProcessId(id),
                n,
                rounds,
                options: &options,
            };
            algorithm.build(&setup).expect("a good setup")
        };
        let mut world = Self {
            algorithm,
            n,
            rounds,
            processes: (0..n).map(build).collect(),
            options: options.clone(),
            crashed: (algorithm.absent)(n, &options)
                .into_iter()
                .chain(crashed.iter().copied().map(ProcessId))
                .collect(),
            in_flight: Vec::new(),
            timers: BTreeMap::new(),
            random: seed.wrapping_mul(2).wrapping_add(1),
            messages: Vec::new(),
            events: Vec::new(),
            persisted: BTreeMap::new(),
        };
        for id in (0..n).map(ProcessId) {
            world.step(id, |process, step| process.start(step));
        }
        world.drain();
        world
    }

    fn drain(&mut self) {
        loop {
            if !self.in_flight.is_empty() {
                let next = self.below(self.in_flight.len());
                let Sent { to, message } = self.in_flight.swap_remove(next);
                self.step(to, |process, step| {
                    process
                        .receive(&message, step)
                        .expect("a message that has its place");
                });
            } else if let Some((&(id, timer), _)) =
                self.timers.iter().min_by_key(|(_, after)| **after)
            {
                self.timers.remove(&(id, timer));
                self.step(id, |process, step| process.timer(timer, step));
            } else {
                return;
            }
        }
    }

    fn step(&mut self, id: ProcessId, run: impl FnOnce(&mut dyn Process, &mut Step<'_>)) {
        if self.crashed.contains(&id) {
            return;
        }
        let mut choose = |_| 0;
        let mut step = Step::new(&mut choose);
        run(self.processes[id.index()].as_mut(), &mut step);
        for action in step.into_actions() {
            match action {
                Action::Send {
                    to,
                    kind,
                    operation,
                    body,
                } => {
                    let sent = Sent {
                        to,
                        message: Message {
                            from: id,
                            kind,
                            operation,
                            body,
                        },
                    };
                    if to != id {
                        self.messages.push(sent.clone());
                    }
                    self.in_flight.push(sent);
                }
                Action::SetTimer { id: timer, after } => {
                    self.timers.insert((id, timer), after);
                }
                Action::CancelTimer(timer) => {
                    self.timers.remove(&(id, timer));
                }
                Action::Persist(bytes) => self.persisted.entry(id).or_default().push(bytes),
                Action::Report(outcome) => self.events.push(Event {
                    node: id,
                    time: Timestamp::from_nanos(self.events.len() as i64),
                    outcome,
                }),
                Action::Point(_) => {}
            }
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        // Xorshift (Marsaglia 2003): any order will do, as long as a seed repeats it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit as u64) as usize
    }

    /// How many messages of this kind were sent.
    pub fn sent(&self, kind: &str) -> u64 {
        let protocol = self.algorithm.protocol();
        let named = |sent: &&Sent| {
            protocol
                .kind(sent.message.kind.0)
                .expect("a kind of the table")
                .name
                == kind
        };
        self.messages.iter().filter(named).count() as u64
    }

    /// Asserts that every operation ended and that the formula admits what was sent, kind by kind.
    pub fn assert_formula(&self) {
        let case = Case {
            n: self.n,
            rounds: self.rounds,
            options: &self.options,
            events: &self.events,
            died: &[],
        };
        assert_eq!(
            case.complete(),
            (self.algorithm.operations)(self.n, self.rounds, &self.options)
        );
        assert_eq!(case.open(), 0);
        for row in (self.algorithm.expected)(&case) {
            let sent = self.sent(row.kind);
            assert!(
                row.count.admits(crate::units::Messages::new(sent)),
                "{row:?}: {sent} sent"
            );
        }
        let failure_free = case.completed().all(|outcome| outcome.phase == Phase::Ok);
        if failure_free {
            let total = (self.algorithm.per_operation)(self.n, &self.options) * case.complete();
            assert_eq!(total, Expected::exactly(self.messages.len() as u64));
        }
    }
}
