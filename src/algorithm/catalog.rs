//! The catalog: what every algorithm declares about itself, and how its processes are built.

use std::fmt;

use super::{
    Case, Expectation, Expected, Options, Process, ProcessId, Property, PropertyKind, Setup,
    SetupError,
};
use crate::protocols::{self, Protocol};

/// Every algorithm that can be run.
static CATALOG: &[&Algorithm] = &[
    &super::centralized::ALGORITHM,
    &super::distributed::ALGORITHM,
    &super::flooding::ALGORITHM,
    &super::gossip::ALGORITHM,
    &super::random_walk::ALGORITHM,
    &super::ring::ALGORITHM,
    &super::chang_roberts::ALGORITHM,
    &super::bully::ALGORITHM,
    &super::two_phase_commit::ALGORITHM,
    &super::three_phase_commit::ALGORITHM,
    &super::paxos::ALGORITHM,
    &super::lamport_clock::ALGORITHM,
    &super::chandy_lamport::ALGORITHM,
    &super::central_mutex::ALGORITHM,
    &super::lamport_mutex::ALGORITHM,
    &super::ricart_agrawala::ALGORITHM,
    &super::maekawa::ALGORITHM,
    &super::suzuki_kasami::ALGORITHM,
    &super::raft::ALGORITHM,
    &super::chain_replication::ALGORITHM,
    &super::pbft::ALGORITHM,
];

/// Every algorithm that can be run.
pub fn all() -> impl Iterator<Item = &'static Algorithm> {
    CATALOG.iter().copied()
}

/// The algorithm of this name.
pub fn by_name(name: &str) -> Result<&'static Algorithm, SetupError> {
    all()
        .find(|algorithm| algorithm.name == name)
        .ok_or_else(|| SetupError::UnknownAlgorithm {
            name: name.to_owned(),
            known: all().map(|algorithm| algorithm.name).collect(),
        })
}

/// Which pairs of processes exchange messages.
#[derive(Debug, Clone, Copy)]
pub enum Topology {
    /// Process 0 with every other.
    Star,
    /// Each process with the next and the one before.
    Ring,
    /// Each process with every other.
    FullMesh,
    /// As this function of the process, N and the options says, clients included. Mutual: who is a
    /// neighbour has one.
    Graph(fn(ProcessId, u32, &Options) -> Vec<ProcessId>),
}

impl Topology {
    /// The processes that `id` exchanges messages with among `n`, ascending.
    pub fn neighbours(self, id: ProcessId, n: u32, options: &Options) -> Vec<ProcessId> {
        let mut ids: Vec<u32> = match self {
            Self::Star if id.0 == 0 => (1..n).collect(),
            Self::Star => vec![0],
            Self::Ring => vec![(id.0 + n - 1) % n, (id.0 + 1) % n],
            Self::FullMesh => (0..n).collect(),
            Self::Graph(of) => of(id, n, options).into_iter().map(|id| id.0).collect(),
        };
        ids.retain(|&other| other != id.0);
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(ProcessId).collect()
    }
}

/// What the algorithm assumes of the order of messages from one process to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// They come in the order in which they were sent; the runtime releases them so.
    Fifo,
    /// They come in any order.
    Unordered,
}

/// What the algorithm assumes of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchrony {
    /// Nothing.
    Asynchronous,
    /// Safety needs nothing; progress after a failure needs timeouts that mostly hold.
    TimeoutsForProgress,
    /// Correctness needs bounds on delay and speed.
    Synchronous,
}

/// Which failures the algorithm lives with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureModel {
    /// None: a process that dies ends the run.
    None,
    /// Processes that stop for ever.
    CrashStop,
    /// Processes that stop and come back with what they persisted.
    CrashRecovery,
    /// Processes that do anything.
    Byzantine,
}

impl FailureModel {
    /// What the model assumes and an execution did not keep to, in which a process died or came
    /// back: then a property of this kind promises nothing about it. A process that stays down does
    /// nothing bad, and one that comes back may have forgotten what it did.
    pub fn broken_assumption(
        self,
        kind: PropertyKind,
        died: bool,
        came_back: bool,
    ) -> Option<&'static str> {
        match self {
            Self::None if came_back || died && kind == PropertyKind::Liveness => {
                Some("the algorithm assumes that no process fails")
            }
            Self::CrashStop if came_back => {
                Some("the algorithm assumes that a process that failed never comes back")
            }
            Self::None | Self::CrashStop | Self::CrashRecovery | Self::Byzantine => None,
        }
    }
}

/// Kinds of messages whose formula has no case for a failure: it is not held against runs in which
/// there was one. Of all others the formula holds, whoever dies and whatever is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutsideFormula {
    /// Where a process died.
    pub deaths: &'static [&'static str],
    /// Where a process that had died came back.
    pub returns: &'static [&'static str],
    /// Where messages were lost, or suppressed by an injected fault.
    pub losses: &'static [&'static str],
}

impl OutsideFormula {
    /// No kind: the formula has a case for every failure.
    pub const NOTHING: Self = Self {
        deaths: &[],
        returns: &[],
        losses: &[],
    };
}

/// An option of an algorithm's workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// What it does and how its value is written.
    pub about: &'static str,
    /// What holds where it is not given.
    pub default: &'static str,
}

/// A point of an algorithm at which a fault can be injected: `role@name` in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Its name, as the process passes it.
    pub name: &'static str,
    /// Who passes it, such as coordinator or leader.
    pub role: &'static str,
    /// When that is.
    pub about: &'static str,
}

/// What must hold between the numbers of messages of several kinds, whatever timing decided, in an
/// execution that came to its end and in which nobody failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// In words, such as `grant - yield = request`.
    pub text: &'static str,
    /// Factors and kinds: the sum of factor times messages is the left side.
    pub terms: &'static [(i64, &'static str)],
    /// What the left side is to zero.
    pub relation: Relation,
}

/// How a sum relates to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is zero.
    Zero,
    /// It is zero or less.
    AtMostZero,
}

impl Identity {
    /// Whether it holds where `messages` gives the number of each kind.
    pub fn holds(&self, messages: impl Fn(&str) -> u64) -> bool {
        let sum: i128 = self
            .terms
            .iter()
            .map(|(factor, kind)| i128::from(*factor) * i128::from(messages(kind)))
            .sum();
        match self.relation {
            Relation::Zero => sum == 0,
            Relation::AtMostZero => sum <= 0,
        }
    }
}

/// What an algorithm declares about itself.
pub struct Algorithm {
    /// Its name, as in `data/protocols.toml`.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Where it is from.
    pub citation: &'static str,
    /// Who talks to whom.
    pub topology: Topology,
    /// What it assumes of the order of messages.
    pub channels: Channels,
    /// What it assumes of time.
    pub synchrony: Synchrony,
    /// Which failures it lives with.
    pub failures: FailureModel,
    /// Who starts operations, and how, in words.
    pub workload: &'static str,
    /// The least N.
    pub least: u32,
    /// How many processes there are where the formula's number is N: N itself, and clients, where
    /// the formula names them. Clients have the ids from N on.
    pub processes: fn(n: u32) -> u32,
    /// Processes among 0 … N−1 that are down from the beginning, where the case that the algorithm
    /// is about has such: they are never started, and whoever sends to one is refused.
    pub absent: fn(n: u32, options: &Options) -> Vec<ProcessId>,
    /// Whether its processes act on their own for a while after the last operation has ended, and
    /// then come to rest by themselves. A run waits for that before it tells them to quiesce: until
    /// nothing is on its way and no timer is set.
    pub comes_to_rest: bool,
    /// Its own options.
    pub options: &'static [OptionSpec],
    /// Messages of one operation without failures, in words.
    pub formula: &'static str,
    /// Messages of one operation without failures among `n` processes.
    pub per_operation: fn(n: u32, options: &Options) -> Expected,
    /// How many operations a run of `n` processes and so many rounds has.
    pub operations: fn(n: u32, rounds: u32, options: &Options) -> u64,
    /// The formula's account of a case: one row for each message kind.
    pub expected: fn(&Case<'_>) -> Vec<Expectation>,
    /// Kinds for which that account has no case where something failed.
    pub outside_formula: OutsideFormula,
    /// What holds between the numbers of its kinds.
    pub identities: &'static [Identity],
    /// What it promises.
    pub properties: &'static [Property],
    /// Where faults can be injected.
    pub points: &'static [Point],
    /// Builds a process. [`Algorithm::build`] checks the setup first.
    pub process: fn(&Setup<'_>) -> Result<Box<dyn Process>, SetupError>,
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Algorithm").field(&self.name).finish()
    }
}

impl Algorithm {
    /// The protocol that it speaks: number, ports, kinds, name of the operation.
    pub fn protocol(&self) -> &'static Protocol {
        protocols::by_name(self.name).expect("every algorithm is in the table; a test checks it")
    }

    /// Builds the process `setup.id`.
    pub fn build(&self, setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
        self.check(setup.n, setup.rounds, setup.options)?;
        let n = (self.processes)(setup.n);
        if setup.id.0 >= n {
            return Err(SetupError::NoSuchProcess { id: setup.id, n });
        }
        (self.process)(setup)
    }

    /// Whether a run with these numbers and options makes sense: cheap enough to ask before
    /// anything is started.
    pub fn check(&self, n: u32, rounds: u32, options: &Options) -> Result<(), SetupError> {
        if n < self.least {
            return Err(SetupError::TooFew {
                algorithm: self.name,
                least: self.least,
                n,
            });
        }
        if rounds == 0 {
            return Err(SetupError::NoRounds);
        }
        for option in options.0.keys() {
            if !self.options.iter().any(|known| known.name == option) {
                return Err(SetupError::UnknownOption {
                    algorithm: self.name,
                    option: option.clone(),
                });
            }
        }
        let id = ProcessId(0);
        (self.process)(&Setup {
            id,
            n,
            rounds,
            options,
        })
        .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Execution, Judgement};
    use crate::simulation::{self, Scenario};

    #[test]
    fn every_algorithm_stands_in_the_table_with_its_kinds() {
        for algorithm in all() {
            let protocol = algorithm.protocol();
            assert!(protocol.operation.is_some(), "{}", algorithm.name);
            let case = Case {
                n: 4,
                rounds: 1,
                options: &Options::default(),
                events: &[],
                died: &[],
            };
            let rows: Vec<_> = (algorithm.expected)(&case)
                .iter()
                .map(|row| row.kind.to_owned())
                .collect();
            let known = |kind: &str| protocol.kinds.iter().any(|known| known.name == kind);
            for identity in algorithm.identities {
                let unknown = identity.terms.iter().find(|(_, kind)| !known(kind));
                assert_eq!(unknown, None, "{}: {}", algorithm.name, identity.text);
            }
            let kinds: Vec<_> = protocol
                .kinds
                .iter()
                .map(|kind| kind.name.clone())
                .collect();
            assert_eq!(
                rows, kinds,
                "{}: one row a kind, in the table's order",
                algorithm.name
            );
        }
    }

    #[test]
    fn every_algorithm_promises_something_safe_and_something_live() {
        for algorithm in all() {
            for kind in [PropertyKind::Safety, PropertyKind::Liveness] {
                let mut properties = algorithm.properties.iter();
                let promised = properties.any(|property| property.kind == kind);
                assert!(promised, "{}: {kind:?}", algorithm.name);
            }
        }
    }

    /// Something good has to happen for it: that nothing did, or that nobody is left to whom it could,
    /// is no reason to call it held.
    #[test]
    fn no_liveness_property_holds_of_an_execution_in_which_nothing_happened() {
        let n = 5;
        let everybody: Vec<_> = (0..n).map(ProcessId).collect();
        for algorithm in all() {
            for crashed in [&everybody[..0], &everybody[..1], &everybody[..]] {
                let execution = Execution {
                    n,
                    rounds: 1,
                    options: &Options::default(),
                    events: &[],
                    crashed,
                };
                let live = algorithm.properties.iter();
                for property in live.filter(|it| it.kind == PropertyKind::Liveness) {
                    let judged = property.judge(&execution);
                    let (name, promise) = (algorithm.name, property.name);
                    assert_ne!(
                        judged,
                        Judgement::Holds,
                        "{name}: {promise}, {crashed:?} dead"
                    );
                }
            }
        }
    }

    #[test]
    fn every_property_is_judged_and_holds_where_nothing_fails() {
        for algorithm in all() {
            for n in [algorithm.least, 5] {
                let scenario = Scenario::new(n, 2, 1);
                let run = simulation::run(algorithm, &scenario).expect("a good setup");
                for property in algorithm.properties {
                    let judged = property.judge(&run.execution());
                    let (name, promise) = (algorithm.name, property.name);
                    assert_eq!(judged, Judgement::Holds, "{name}: {promise}, N={n}");
                }
            }
        }
    }

    #[test]
    fn neighbours_are_mutual() {
        let none = Options::default();
        for topology in [Topology::Star, Topology::Ring, Topology::FullMesh] {
            for n in 1..=7 {
                for a in (0..n).map(ProcessId) {
                    for b in topology.neighbours(a, n, &none) {
                        assert_ne!(a, b);
                        assert!(
                            topology.neighbours(b, n, &none).contains(&a),
                            "{topology:?} {n}"
                        );
                    }
                }
            }
        }
        let ids = |list: Vec<ProcessId>| list.into_iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(
            ids(Topology::Ring.neighbours(ProcessId(0), 4, &none)),
            [1, 3]
        );
        assert_eq!(ids(Topology::Ring.neighbours(ProcessId(0), 2, &none)), [1]);
        assert_eq!(ids(Topology::Star.neighbours(ProcessId(2), 4, &none)), [0]);
    }

    #[test]
    fn a_setup_that_makes_no_sense_is_refused() {
        let ring = by_name("ring").unwrap();
        let options = Options::default();
        assert!(matches!(
            ring.check(1, 1, &options),
            Err(SetupError::TooFew { .. })
        ));
        assert!(matches!(
            ring.check(4, 0, &options),
            Err(SetupError::NoRounds)
        ));
        let unknown = Options([("speed".to_owned(), "9".to_owned())].into());
        assert!(matches!(
            ring.check(4, 1, &unknown),
            Err(SetupError::UnknownOption { .. })
        ));
        assert!(matches!(
            by_name("rung"),
            Err(SetupError::UnknownAlgorithm { .. })
        ));
    }
}
