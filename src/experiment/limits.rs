//! Whether the machine can run so many nodes: asked before anything is started, since a run that
//! dies of it half-way says less.

use std::fs;

use crate::algorithm::{Algorithm, Options, ProcessId};
use crate::analysis::Limits;
use crate::capture::raise_descriptor_limit;
use crate::node::control::Connections;

/// Descriptors that the controller has open for each node: three pipes and the process itself.
const DESCRIPTORS_A_NODE: u64 = 4;
/// Descriptors beside those: the capture, the ledger, the runtime.
const OTHER_DESCRIPTORS: u64 = 64;
/// Threads of a node: one that works and one that reads commands.
const THREADS_A_NODE: u64 = 2;
/// What a node's process takes that it does not share with the others, in bytes: measured 1.6 MiB at
/// N = 100, rounded up.
const MEMORY_A_NODE: u64 = 2 << 20;
/// What a connection takes in both kernels' ends and in both nodes, in bytes, rounded up.
const MEMORY_A_CONNECTION: u64 = 64 << 10;
/// What the controller takes, in bytes: its capture's ring above all.
const MEMORY: u64 = 300 << 20;
/// Connections open at once that the analysis keeps apart.
const MOST_CONNECTIONS: u64 = Limits::USUAL.connections as u64;

/// What a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Processes.
    pub nodes: u64,
    /// Connections open at once.
    pub connections: u64,
    /// Descriptors of the process that has most of them.
    pub descriptors: u64,
    /// Bytes of memory.
    pub memory: u64,
}

/// What the machine gives. None: it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// Descriptors a process (RLIMIT_NOFILE).
    pub descriptors: Option<u64>,
    /// Further threads and processes.
    pub threads: Option<u64>,
    /// Bytes of memory that are available.
    pub memory: Option<u64>,
}

/// Why a run would not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Too many descriptors.
    #[error(
        "{nodes} nodes need {needed} descriptors in one process, and {limit} are allowed \
         (RLIMIT_NOFILE): raise it with `ulimit -Hn {needed}`, or use a smaller -n"
    )]
    Descriptors {
        /// Nodes.
        nodes: u64,
        /// Descriptors that are needed.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// Too many threads.
    #[error(
        "{nodes} nodes need {needed} threads, and the machine has room for {limit} more \
         (/proc/sys/kernel/pid_max, threads-max): use a smaller -n"
    )]
    Threads {
        /// Nodes.
        nodes: u64,
        /// Threads that are needed.
        needed: u64,
        /// How many more there may be.
        limit: u64,
    },
    /// Too little memory.
    #[error(
        "{nodes} nodes with {connections} connections need about {needed} MiB of memory, and \
         {limit} MiB are available: use a smaller -n, or `wirewatt simulate`"
    )]
    Memory {
        /// Nodes.
        nodes: u64,
        /// Connections.
        connections: u64,
        /// MiB that are needed.
        needed: u64,
        /// MiB that are available.
        limit: u64,
    },
    /// Too many connections for the analysis.
    #[error(
        "{nodes} nodes hold {connections} connections at once, and the analysis keeps {limit} apart: \
         use --connections per-message, a smaller -n, or `wirewatt simulate`"
    )]
    Connections {
        /// Nodes.
        nodes: u64,
        /// Connections.
        connections: u64,
        /// The limit.
        limit: u64,
    },
}

impl Needs {
    /// What a run of this algorithm needs.
    pub fn of(algorithm: &Algorithm, n: u32, options: &Options, connections: Connections) -> Self {
        let processes = (algorithm.processes)(n);
        let degrees = (0..processes).map(|id| {
            let neighbours = algorithm.topology.neighbours(ProcessId(id), n, options);
            neighbours.len() as u64
        });
        // Without connections that persist, those of one moment are few and no formula tells them.
        let degrees: Vec<u64> = match connections {
            Connections::Persistent => degrees.collect(),
            _ => Vec::new(),
        };
        let nodes = u64::from(processes);
        let connections = degrees.iter().sum::<u64>() / 2;
        let controller = nodes * DESCRIPTORS_A_NODE;
        let node = degrees.iter().max().copied().unwrap_or(0);
        Self {
            nodes,
            connections,
            descriptors: controller.max(node) + OTHER_DESCRIPTORS,
            memory: MEMORY + nodes * MEMORY_A_NODE + connections * MEMORY_A_CONNECTION,
        }
    }

    /// Whether the machine gives that.
    ///
    /// # Errors
    ///
    /// [`LimitError`] names the first limit that is passed.
    pub fn check(&self, machine: &Machine) -> Result<(), LimitError> {
        let Self {
            nodes, connections, ..
        } = *self;
        let beyond = |limit: Option<u64>, needed: u64| limit.filter(|limit| needed > *limit);
        if connections > MOST_CONNECTIONS {
            return Err(LimitError::Connections {
                nodes,
                connections,
                limit: MOST_CONNECTIONS,
            });
        }
        let needed = self.descriptors;
        if let Some(limit) = beyond(machine.descriptors, needed) {
            return Err(LimitError::Descriptors {
                nodes,
                needed,
                limit,
            });
        }
        let needed = nodes * THREADS_A_NODE;
        if let Some(limit) = beyond(machine.threads, needed) {
            return Err(LimitError::Threads {
                nodes,
                needed,
                limit,
            });
        }
        if let Some(limit) = beyond(machine.memory, self.memory) {
            return Err(LimitError::Memory {
                nodes,
                connections,
                needed: self.memory >> 20,
                limit: limit >> 20,
            });
        }
        Ok(())
    }
}

impl Machine {
    /// This machine, as Linux describes it. Raises this process's limit of descriptors as far as it
    /// may: nodes inherit it.
    pub fn this() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let most = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
        let most = most.iter().filter_map(|path| number(path)).min();
        Self {
            descriptors: raise_descriptor_limit(),
            threads: most.map(|most| most.saturating_sub(threads())),
            memory: available(),
        }
    }
}

/// How many threads there are: the second number in `/proc/loadavg`'s fourth field.
fn threads() -> u64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let total = || {
        text.split_whitespace()
            .nth(3)?
            .split_once('/')?
            .1
            .parse()
            .ok()
    };
    total().unwrap_or(0)
}

/// Memory that can be had without swapping, in bytes.
fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::catalog;

    fn needs(algorithm: &str, n: u32, connections: Connections) -> Needs {
        let algorithm = catalog::by_name(algorithm).unwrap();
        Needs::of(algorithm, n, &Options::default(), connections)
    }

    #[test]
    fn a_hundred_nodes_fit_a_small_machine() {
        let small = Machine {
            descriptors: Some(1024),
            threads: Some(32_000),
            memory: Some(1 << 30),
        };
        for algorithm in ["ring", "centralized", "two-phase-commit"] {
            assert_eq!(
                needs(algorithm, 100, Connections::Persistent).check(&small),
                Ok(())
            );
        }
        assert_eq!(needs("ring", 100, Connections::Persistent).connections, 100);
        assert_eq!(
            needs("two-phase-commit", 100, Connections::Persistent).connections,
            99
        );
    }

    #[test]
    fn beyond_a_limit_the_error_names_it() {
        let roomy = Machine::default();
        let check =
            |needs: Needs, machine: Machine| needs.check(&machine).map_err(|e| e.to_string());
        let ring = needs("ring", 500, Connections::Persistent);
        for (machine, expected) in [
            (
                Machine {
                    descriptors: Some(1024),
                    ..roomy
                },
                "ulimit -Hn 2064",
            ),
            (
                Machine {
                    threads: Some(999),
                    ..roomy
                },
                "need 1000 threads",
            ),
            (
                Machine {
                    memory: Some(1 << 30),
                    ..roomy
                },
                "about 1331 MiB of memory, and 1024 MiB",
            ),
        ] {
            let problem = check(ring, machine).expect_err(expected);
            assert!(problem.contains(expected), "{problem}");
        }
        assert_eq!(check(ring, roomy), Ok(()));
        let star = needs("two-phase-commit", 1_048_578, Connections::Persistent);
        let problem = check(star, roomy).expect_err("too many connections");
        assert!(problem.contains("1048577 connections at once"), "{problem}");
        let one_by_one = needs("two-phase-commit", 1_048_578, Connections::PerMessage);
        assert_eq!(check(one_by_one, roomy), Ok(()));
    }
}
