//! What a fleet tells: why it could not be started, how its run ended, and what went wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Injected;
use crate::algorithm::{Event, ProcessId, SetupError};
use crate::node::control::{ChannelCounts, NodeError, NodeFault, NodeNotice, NoticeKind};
use crate::units::{Messages, Timestamp};

/// Why a fleet cannot be started. No node is left when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The algorithm, N, rounds or options make no sense.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There are not that many ports.
    #[error("{n} nodes from port {base_port} on need ports above 65535")]
    NoSuchPorts {
        /// The first port.
        base_port: u16,
        /// The number of nodes.
        n: u32,
    },
    /// A node's program cannot be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// Another socket listens where a node should.
    #[error("node {node} cannot listen: {address} is in use{}; choose another --base-port", by(.holder.as_ref()))]
    PortInUse {
        /// The node.
        node: ProcessId,
        /// The address.
        address: SocketAddr,
        /// Who listens there, where that can be found.
        holder: Option<PortHolder>,
    },
    /// A node refused to be set up for another reason.
    #[error("node {node} cannot be set up: {error}")]
    Node {
        /// The node.
        node: ProcessId,
        /// Why.
        error: NodeError,
    },
    /// A node died before it listened.
    #[error("node {node} died before it listened: {status}{}", said(.stderr))]
    Died {
        /// The node.
        node: ProcessId,
        /// How it ended.
        status: String,
        /// The last lines of its standard error.
        stderr: Vec<String>,
    },
    /// Nodes that did not answer within the start limit.
    #[error("no answer from node(s) {} within {limit:?}", list(.nodes))]
    NeverAnswered {
        /// The nodes.
        nodes: Vec<ProcessId>,
        /// The limit.
        limit: Duration,
    },
    /// The history cannot be written.
    #[error("cannot write {path}: {source}")]
    History {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A path that a node cannot be told: control lines are UTF-8.
    #[error("{0} is not UTF-8; nodes cannot be told of it")]
    Path(PathBuf),
    /// The caller cancelled.
    #[error("interrupted before the start")]
    Interrupted,
}

fn by(holder: Option<&PortHolder>) -> String {
    holder.map_or_else(String::new, |holder| format!(" by {holder}"))
}

fn said(stderr: &[String]) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; it said: {}", stderr.join(" / "))
    }
}

pub(super) fn list(nodes: &[ProcessId]) -> String {
    nodes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub command: String,
}

impl std::fmt::Display for PortHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

impl PortHolder {
    /// Who listens on this TCP port, from Linux's `/proc`, as far as its permissions show.
    pub fn find(port: u16) -> Option<Self> {
        let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .find_map(|table| {
                let table = std::fs::read_to_string(table).ok()?;
                table.lines().skip(1).find_map(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
                    // State 0A is LISTEN (include/net/tcp_states.h).
                    let listens = u16::from_str_radix(local_port, 16) == Ok(port)
                        && fields.get(3) == Some(&"0A");
                    listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
                })
            })?;
        let socket = format!("socket:[{inode}]");
        std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .find_map(|process| {
                let pid: u32 = process.file_name().to_str()?.parse().ok()?;
                let holds = std::fs::read_dir(process.path().join("fd"))
                    .ok()?
                    .flatten()
                    .any(|fd| {
                        std::fs::read_link(fd.path())
                            .is_ok_and(|to| to.as_os_str() == socket.as_str())
                    });
                let name =
                    || std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                holds.then(|| Self {
                    pid,
                    command: name().trim().to_owned(),
                })
            })
    }
}

/// How the algorithm's part of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every operation ended.
    Complete,
    /// The time limit came first.
    TimeLimit,
    /// A node died and the algorithm does not live with that.
    Broken,
    /// After an injected fault nothing can happen any more: no message is on its way, no timer runs,
    /// no fault is to come.
    Stalled,
    /// The caller cancelled.
    Interrupted,
}

/// Messages from one live process to another that have not come to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outstanding {
    /// The sender.
    pub from: ProcessId,
    /// The receiver.
    pub to: ProcessId,
    /// attempted − refused − suppressed − handled.
    pub messages: Messages,
}

/// Something that went wrong during a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetFault {
    /// A node's process ended before it was told to.
    #[error("node {node} died: {status}{}", said(.stderr))]
    Died {
        /// The node.
        node: ProcessId,
        /// How it ended.
        status: String,
        /// The last lines of its standard error.
        stderr: Vec<String>,
    },
    /// A node did not answer and was killed.
    #[error("node {node} never answered {to} within {limit:?}, and was killed")]
    NeverAnswered {
        /// The node.
        node: ProcessId,
        /// The command.
        to: &'static str,
        /// How long it had for that.
        limit: Duration,
    },
    /// A node reported a fault.
    #[error("node {node} reports {:?}: {}", .fault.what, .fault.detail)]
    Reported {
        /// The node.
        node: ProcessId,
        /// The fault.
        fault: NodeFault,
    },
    /// A node that an injected fault had killed could not be started again.
    #[error("node {node} could not be started again: {detail}")]
    NoRestart {
        /// The node.
        node: ProcessId,
        /// Why.
        detail: String,
    },
    /// A node said that it cannot go on.
    #[error("node {node} cannot go on: {error}")]
    Error {
        /// The node.
        node: ProcessId,
        /// Why.
        error: NodeError,
    },
    /// A node wrote something that is no line of the control protocol.
    #[error("node {node} does not speak the control protocol: {detail}")]
    Gibberish {
        /// The node.
        node: ProcessId,
        /// What it wrote.
        detail: String,
    },
    /// The history could not be written. Told once: what follows is missing from the file.
    #[error("cannot write {path}: {detail}")]
    History {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
}

/// Somebody who is none of the run's came to a node. It changes no account of the nodes and makes
/// no run unclean, but its packets are on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetNotice {
    /// The node.
    pub node: ProcessId,
    /// What it told.
    pub notice: NodeNotice,
}

impl std::fmt::Display for FleetNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NodeNotice {
            what: NoticeKind::Foreign,
            address,
            detail,
        } = &self.notice;
        let node = self.node;
        write!(
            f,
            "a connection from {address} to node {node} that was none of the run's: {detail}"
        )
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct FleetOutcome {
    /// How the algorithm's part ended.
    pub ending: Ending,
    /// Outcome events, notes included, in the order in which they reached the controller.
    pub events: Vec<Event>,
    /// How many operations the run was to have.
    pub operations: u64,
    /// Each node's last known counters.
    pub counters: BTreeMap<ProcessId, Vec<ChannelCounts>>,
    /// Whether two polls in a row were identical with nothing outstanding, or nothing had started.
    pub quiescent: bool,
    /// What was outstanding between live processes at the last poll.
    pub outstanding: Vec<Outstanding>,
    /// What went wrong.
    pub faults: Vec<FleetFault>,
    /// What came to the nodes and was none of the run's.
    pub notices: Vec<FleetNotice>,
    /// What injected faults did, in the order in which they did it.
    pub injected: Vec<Injected>,
    /// Processes that ended before they were told to, each as often as it did, in that order.
    pub deaths: Vec<Death>,
    /// How long it took from the start until the nodes were told to begin nothing more.
    pub time: Duration,
    /// The last lines of each node's standard error, where it wrote any.
    pub stderr: BTreeMap<ProcessId, Vec<String>>,
}

impl FleetOutcome {
    /// Operations that ended, whatever came of them.
    pub fn completed(&self) -> u64 {
        self.events
            .iter()
            .filter(|event| event.outcome.phase.ends())
            .count() as u64
    }

    /// Whether all went as it should: every operation ended, all became quiet, nothing went wrong.
    pub fn is_clean(&self) -> bool {
        self.ending == Ending::Complete && self.quiescent && self.faults.is_empty()
    }
}

/// The end of one incarnation of a process, that it was not told to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// The process.
    pub node: ProcessId,
    /// Which of its starts, from 1.
    pub incarnation: u32,
    /// When it was gone at the latest, by the clock of ledgers and captures. No later incarnation
    /// had begun by then.
    pub by: Timestamp,
}
