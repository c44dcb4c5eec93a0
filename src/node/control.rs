//! The control protocol between a node and its controller, after `docs/control-protocol.md`:
//! JSON lines with a version, over the node's standard input and output and never over the
//! measured network.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::algorithm::{Options, Outcome, ProcessId};
use crate::ledger::Counts;
use crate::units::Timestamp;

/// The version that every line carries.
pub const VERSION: u32 = 1;

/// How nodes use connections. Costs differ several-fold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// One connection a pair of neighbours, dialled by the lower id before the start.
    #[default]
    Persistent,
    /// Connect, send one message, close.
    PerMessage,
    /// A request and its direct reply on one connection.
    PerExchange,
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Persistent => "persistent",
            Self::PerMessage => "per-message",
            Self::PerExchange => "per-exchange",
        })
    }
}

/// What the controller says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Command {
    /// Who the node is. It listens and answers `listening`, or `error` and exits.
    Configure(Configuration),
    /// Every node listens: dial the neighbours with a higher id. Answered by `connected`.
    Connect,
    /// Every node is connected: begin.
    Start {
        /// Connections that other nodes dialled to this one, by the dialler's address.
        #[serde(default)]
        links: Vec<Link>,
    },
    /// Tell the counters. Answered by `counters` with the same number.
    Counters {
        /// Number of the poll.
        poll: u64,
    },
    /// No new operation, no spontaneous action; replies go on.
    Quiesce,
    /// Go on from the point that the node has announced.
    GoOn,
    /// From now on, suppress every message to these processes; none: to nobody any more.
    Separate {
        /// The processes on the other side.
        from: Vec<ProcessId>,
    },
    /// Half-close, read to the end, answer `finished`, exit with status 0.
    Finish {
        /// Processes that died or do not answer: their connections are not waited for.
        #[serde(default)]
        without: Vec<ProcessId>,
    },
}

/// Who a node is and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// The algorithm's name, as in `data/protocols.toml`.
    pub protocol: String,
    /// The process's id.
    pub id: ProcessId,
    /// The number of processes.
    pub n: u32,
    /// Where each process listens, by id; the node's own address too.
    pub peers: Vec<SocketAddr>,
    /// The run, as in frame headers.
    pub run: u64,
    /// 1 at the first start, one more at each restart.
    pub incarnation: u32,
    /// The file that the node appends its ledger to.
    pub ledger: PathBuf,
    /// The file that holds what the process persists; none: it persists into the void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PathBuf>,
    /// How connections are used.
    pub connections: Connections,
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// Bytes of payload beside every body.
    #[serde(default)]
    pub payload: usize,
    /// The algorithm's own options.
    #[serde(default)]
    pub options: Options,
    /// Faults that the node injects into itself.
    #[serde(default, skip_serializing_if = "Injections::is_none")]
    pub faults: Injections,
}

/// Faults that a node injects into itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injections {
    /// Points of the algorithm to announce and to wait at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<String>,
    /// How long each message is held back before it is sent, in nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay: u64,
    /// Which messages are dropped: those that any of these rules drops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<DropRule>,
    /// Decides which messages a rule drops.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
}

impl Injections {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.points.is_empty() && self.delay == 0 && self.drop.is_empty()
    }
}

/// Which messages to drop before they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRule {
    /// The share of them, in millionths.
    pub millionths: u32,
    /// Of this kind only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// No more than so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A connection between neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The process at the other end.
    pub peer: ProcessId,
    /// The dialling end's address.
    pub address: SocketAddr,
}

/// What a node says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Reply {
    /// The node listens.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// The node has dialled the neighbours that it dials.
    Connected {
        /// The connections that it has made. A neighbour that refused is missing.
        links: Vec<Link>,
    },
    /// An outcome event of the algorithm.
    History {
        /// When, by the node's clock.
        time: Timestamp,
        /// The event.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// The counters at this moment.
    Counters {
        /// Number of the poll that this answers.
        poll: u64,
        /// How many timers are set.
        #[serde(default)]
        timers: u32,
        /// One entry for each process that messages went to or came from.
        channels: Vec<ChannelCounts>,
    },
    /// A point that was to be announced is reached. The node waits to be killed or told to go on.
    Point {
        /// The point.
        name: String,
    },
    /// Every connection is closed, the ledger is complete, the node exits.
    Finished {
        /// The last counters.
        channels: Vec<ChannelCounts>,
    },
    /// Something is wrong and the node goes on.
    Fault(NodeFault),
    /// Something came that is none of the run's. The node's accounts are not touched by it.
    Notice(NodeNotice),
    /// The node cannot go on and exits with status 2.
    Error(NodeError),
}

/// A node's counters of the channels to and from one other process: `attempted`, `suppressed`,
/// `refused` and `sent` of messages to it, `arrived` and `handled` of messages from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCounts {
    /// The other process.
    pub peer: ProcessId,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Something that is wrong and does not stop the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFault {
    /// What kind of thing.
    pub what: FaultKind,
    /// The process at the other end, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<ProcessId>,
    /// In words.
    pub detail: String,
}

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A connection was reset, or a write to it failed.
    Reset,
    /// A connection ended within a frame.
    Cut,
    /// A process of the run sent what is no frame of this run for this process.
    Foreign,
    /// The state machine had no place for a message.
    Protocol,
    /// The ledger or the persisted state could not be written.
    Storage,
    /// A connection that the controller announced did not come.
    Missing,
    /// A message of a FIFO channel never came, and others that came after it were not handled.
    Gap,
}

/// Something that is none of the run's and that the wire shows nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeNotice {
    /// What kind of thing.
    pub what: NoticeKind,
    /// The other end's address.
    pub address: SocketAddr,
    /// In words.
    pub detail: String,
}

/// Kinds of notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A connection to the node over which no frame of this run for this process came.
    Foreign,
}

/// Why a node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum NodeError {
    /// Another socket listens on the node's address.
    #[error("{address} is in use")]
    PortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The node cannot listen for another reason.
    #[error("cannot listen on {address}: {detail}")]
    CannotListen {
        /// The address.
        address: SocketAddr,
        /// Why.
        detail: String,
    },
    /// The configuration makes no sense.
    #[error("{detail}")]
    Configuration {
        /// Why.
        detail: String,
    },
    /// A line of the control protocol that cannot be read or has no place.
    #[error("{detail}")]
    Control {
        /// What was wrong.
        detail: String,
    },
}

/// A line of the control protocol: a message and the protocol's version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line<T> {
    /// The version.
    pub v: u32,
    /// The message.
    #[serde(flatten)]
    pub message: T,
}

/// A line that is no message of this version.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not a message.
    #[error("'{line}' is no line of the control protocol: {source}")]
    Syntax {
        /// The line, cut to a readable length.
        line: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Another version.
    #[error("control protocol version {0}; this is version {VERSION}")]
    Version(u32),
}

/// Writes a message as a line, newline included.
pub fn to_line<T: Serialize>(message: T) -> String {
    let mut line = serde_json::to_string(&Line {
        v: VERSION,
        message,
    })
    .expect("control messages are plain data");
    line.push('\n');
    line
}

/// Reads a line.
pub fn from_line<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, LineError> {
    let syntax = |source| LineError::Syntax {
        line: line.chars().take(200).collect(),
        source,
    };
    #[derive(Deserialize)]
    struct OnlyVersion {
        v: u32,
    }
    // The version first: a later one may have messages that cannot be read here.
    let OnlyVersion { v } = serde_json::from_str(line).map_err(syntax)?;
    if v != VERSION {
        return Err(LineError::Version(v));
    }
    serde_json::from_str::<Line<T>>(line)
        .map(|line| line.message)
        .map_err(syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of the fenced `json` blocks in the specification, by who says them.
    fn documented(who: &str) -> Vec<&'static str> {
        let text = include_str!("../../docs/control-protocol.md");
        let fence = format!("```json {who}\n");
        text.split(fence.as_str())
            .skip(1)
            .flat_map(|rest| rest.split("```").next().unwrap().lines())
            .collect()
    }

    fn assert_documented<T>(who: &str, count: usize)
    where
        T: Serialize + serde::de::DeserializeOwned,
    {
        let lines = documented(who);
        assert_eq!(lines.len(), count, "{who}");
        for line in lines {
            let message: T = from_line(line).unwrap_or_else(|error| panic!("{error}"));
            let written: serde_json::Value = serde_json::from_str(&to_line(message)).unwrap();
            assert_eq!(
                written,
                serde_json::from_str::<serde_json::Value>(line).unwrap()
            );
        }
    }

    #[test]
    fn every_example_in_the_specification_is_a_message() {
        assert_documented::<Command>("controller", 9);
        assert_documented::<Reply>("node", 10);
    }

    #[test]
    fn another_version_and_nonsense_are_refused() {
        let newer = r#"{"v":2,"type":"dance"}"#;
        assert!(matches!(
            from_line::<Command>(newer),
            Err(LineError::Version(2))
        ));
        assert!(matches!(
            from_line::<Command>("hello"),
            Err(LineError::Syntax { .. })
        ));
        let unknown = r#"{"v":1,"type":"dance"}"#;
        assert!(matches!(
            from_line::<Command>(unknown),
            Err(LineError::Syntax { .. })
        ));
    }
}
