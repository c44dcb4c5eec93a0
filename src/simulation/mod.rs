//! All processes of an algorithm in memory, on virtual time, deterministic from a seed.
//!
//! In: an algorithm and a [`Scenario`]: N, rounds, options, seed, network, faults. Out: a [`Run`]:
//! what processes reported, how many messages of each kind were attempted, handled, lost and
//! refused, and whether the algorithm's properties and formula hold of it. The state machines are
//! those that nodes run, and are treated as nodes treat them: actions are carried out in order, a
//! crash falls between two of them, messages to oneself come through a local queue and are counted
//! nowhere. It never reads a clock or opens a socket: the same scenario gives the same run on every
//! machine.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::algorithm::{Algorithm, Message, Options, ProcessId, SetupError};

pub mod check;
mod outcome;
mod queue;
mod random;
pub mod wire;
mod world;

#[cfg(test)]
mod tests;

pub use outcome::{Counts, End, Run};
pub use wire::{WireCost, WireOptions};

/// What to simulate: the algorithm aside, everything that decides what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// N of the formula: how many processes there are, clients aside.
    pub n: u32,
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// The algorithm's own options.
    pub options: Options,
    /// What every random number comes from: delays, losses, and the processes' own choices.
    pub seed: u64,
    /// How messages travel.
    pub network: Network,
    /// What fails.
    pub faults: Vec<Fault>,
    /// The run is cut here, in virtual time.
    pub limit: Duration,
    /// Whether [`Run::messages_log`] keeps every message.
    pub log: bool,
    /// How nodes would send, where the cost on the wire is to be predicted.
    pub wire: Option<WireOptions>,
}

impl Scenario {
    /// A fair network that loses nothing: delays from 0.1 to 10 ms, order as the algorithm
    /// declares. Nothing fails. Cut after ten minutes of virtual time. Messages are logged.
    pub fn new(n: u32, rounds: u32, seed: u64) -> Self {
        Self {
            n,
            rounds,
            options: Options::default(),
            seed,
            network: Network::default(),
            faults: Vec::new(),
            limit: Duration::from_secs(600),
            log: true,
            wire: None,
        }
    }

    /// The same with an option of the algorithm's.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The command that simulates it.
    pub fn command(&self, algorithm: &Algorithm) -> String {
        let mut words = vec![format!(
            "wirewatt simulate {} -n {}",
            algorithm.name, self.n
        )];
        let mut add = |name: &str, value: String, default: &str| {
            if value != default {
                words.push(format!("--{name} {value}"));
            }
        };
        let network = &self.network;
        let (least, most) = (network.delay.start(), network.delay.end());
        add("rounds", self.rounds.to_string(), "1");
        add("seed", self.seed.to_string(), "");
        for (name, value) in &self.options.0 {
            add("option", format!("{name}={value}"), "");
        }
        add(
            "delay",
            format!("{}..{}", millis(least), millis(most)),
            "0.1ms..10ms",
        );
        add("loss", network.loss_per_mille.to_string(), "0");
        add("duplicate", network.duplicate_per_mille.to_string(), "0");
        add("order", network.order.to_string(), "declared");
        for fault in &self.faults {
            add("fault", fault.to_string(), "");
        }
        add("limit", format!("{}s", self.limit.as_secs_f64()), "86400s");
        if let Some(wire) = &self.wire {
            add("connections", wire.connections.to_string(), "persistent");
            add("payload", wire.payload.to_string(), "0");
            add("mtu", wire.mtu.to_string(), "1500");
        }
        words.join(" ")
    }

    /// The same with one more fault.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }
}

/// How messages travel from one process to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Each message takes a time from this range, all of them equally likely. Processes start at
    /// times from nought to the longest delay; what reaches one before that waits.
    pub delay: RangeInclusive<Duration>,
    /// How many of a thousand messages are lost. No algorithm's declaration admits any.
    pub loss_per_mille: u32,
    /// How many of a thousand messages come twice. No algorithm's declaration admits any.
    pub duplicate_per_mille: u32,
    /// In which order messages on one channel come.
    pub order: Order,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(100)..=Duration::from_millis(10),
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            order: Order::Declared,
        }
    }
}

/// In which order messages from one process to another come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// As the algorithm declares it needs.
    #[default]
    Declared,
    /// As they were sent.
    Fifo,
    /// As their delays happen to be.
    Any,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Declared => "declared",
            Self::Fifo => "fifo",
            Self::Any => "any",
        })
    }
}

/// Something that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A process stops between two of its actions, and comes back if `back` says so. What it had
    /// sent still comes. What is on its way to it is lost, and while it is down messages to it are
    /// refused, as by a closed port.
    Crash {
        /// Which process.
        node: ProcessId,
        /// When.
        at: Moment,
        /// How long after the crash it begins again, if ever.
        back: Option<Duration>,
        /// Whether what it had persisted is still there then.
        storage: Storage,
    },
    /// Messages between this side and all others are lost: those sent or due in that time.
    Partition {
        /// One side.
        side: Vec<ProcessId>,
        /// The beginning.
        from: Duration,
        /// The end.
        until: Duration,
    },
}

/// As `--fault` is given it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash {
                node,
                at,
                back,
                storage,
            } => {
                match at {
                    Moment::Time(time) => write!(f, "kill={node}@{}", millis(time))?,
                    Moment::Point(point) => write!(f, "kill={node}@{point}")?,
                }
                if let Some(back) = back {
                    write!(f, ",restart={}", millis(back))?;
                    if *storage == Storage::Lost {
                        f.write_str(",storage=lost")?;
                    }
                }
                Ok(())
            }
            Self::Partition { side, from, until } => {
                let ids: Vec<_> = side.iter().map(ProcessId::to_string).collect();
                let time = until.saturating_sub(*from);
                write!(
                    f,
                    "split={}@{},for={}",
                    ids.join("+"),
                    millis(from),
                    millis(&time)
                )
            }
        }
    }
}

fn millis(time: &Duration) -> String {
    format!("{}ms", time.as_nanos() as f64 / 1e6)
}

/// When a crash falls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// At this time. A process that crashes at 0 has never begun.
    Time(Duration),
    /// When the process passes this point for the first time, before any later action of that step.
    Point(String),
}

/// What a crash does to what was persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// It is still there when the process is back.
    Kept,
    /// It is gone. No algorithm's declaration admits this.
    Lost,
}

/// A message that was sent to another process, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// When, since the beginning.
    pub time: Duration,
    /// Its receiver.
    pub to: ProcessId,
    /// What it is.
    pub message: Message,
}

/// What another thread sees of a simulation or a search while it goes on, and how it stops it.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Set to stop it.
    pub stop: Arc<AtomicBool>,
    /// Events of the simulation, or states of the search, so far.
    pub steps: Arc<AtomicU64>,
    /// Operations of the simulation that have ended so far.
    pub operations: Arc<AtomicU64>,
}

impl Watch {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Simulates one run.
///
/// It ends when nothing is on its way and no timer is set; or, when all operations of the workload
/// have ended and every crashed process that is to come back has, all processes are told to quiesce,
/// from when on timers do not fire, and it ends when nothing is on its way; or at the scenario's
/// limit.
///
/// # Errors
///
/// [`SetupError`] where the algorithm cannot be built so, or a fault names a process or a point that
/// there is not.
pub fn run(algorithm: &'static Algorithm, scenario: &Scenario) -> Result<Run, SetupError> {
    let run = run_watched(algorithm, scenario, &Watch::default())?;
    Ok(run.expect("nobody stops it"))
}

/// The same, watched by another thread. Nothing comes of a run that is stopped.
///
/// # Errors
///
/// As [`run`].
pub fn run_watched(
    algorithm: &'static Algorithm,
    scenario: &Scenario,
    watch: &Watch,
) -> Result<Option<Run>, SetupError> {
    Ok(world::World::new(algorithm, scenario)?.run(watch))
}

/// Counts by the name of their message kind.
pub type CountsByKind = BTreeMap<&'static str, Counts>;
