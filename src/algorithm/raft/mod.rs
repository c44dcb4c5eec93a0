//! Raft: servers elect a leader, and the leader replicates a log of commands that every server
//! applies to its own copy of a key-value store (Ongaro & Ousterhout, *In Search of an
//! Understandable Consensus Algorithm*, USENIX ATC 2014; "Figure 2" and "§" below are that paper's).
//!
//! Time is divided into *terms*. A follower that hears from no leader for its election timeout
//! becomes a candidate in the next term and asks all others for their votes; a server gives one vote
//! a term, to a candidate whose log is at least as up to date as its own, so the majority that
//! elects a leader has one member that knows every committed entry. The leader appends each command
//! to its log and sends it to all others; an entry of its own term that a majority holds is
//! *committed*, and it and all before it are applied in order. Followers learn of that with the next
//! message: they apply a round later. Heartbeats keep followers from becoming candidates.
//!
//! Not here: changes of membership (§6), log compaction (§7), and commands that a client repeats and
//! the store recognises (§8): a repeated command is a new operation.
//!
//! What a server tells:
//!
//! * Operations are the commands of clients that live at the leader, `pipeline` of them at once. A
//!   command is a write, a read, or a compare-and-set of one key, and a read goes through the log
//!   like the others. Each is told as `{"process", "op", "key", "value"}`: `process` is the client,
//!   which has one operation open at a time; `op` is `write`, `read` or `cas`; `value` is what is
//!   written, what was read (null before the end, and where the key has none), or the pair
//!   `[expected, new]`. Values are numbers and every written value is a new one within its term. A
//!   cas that found another value ends with `fail`. This is the form of a linearizability checker
//!   of registers.
//! * Commands are numbered from 1 to the number of rounds. An entry tells which numbers had ended
//!   when it was appended, and a new leader goes on after those of the last entry in its log: it
//!   proposes again what its predecessor may not have ended, as another operation of another
//!   client. What a leader had not committed when it lost its leadership ends with `info`, for
//!   nobody can say whether it will be; a leader that dies leaves such operations open. So a run
//!   with several leaders may end a few operations more than it was to have.
//! * The notes `became-candidate`, `voted`, `became-leader`, `heartbeat-round`, `append-round`,
//!   `append-retry` and `append-refused` are the parameters of the formula; `appended`, `committed`
//!   and `applied` are what the safety properties of Figure 3 are checked on. A digest stands for
//!   a log's entries up to an index.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Algorithm, Channels, Expected, FailureModel, Identity, KindNumber, OptionSpec, OutsideFormula,
    Point, Process, Relation, Setup, SetupError, Synchrony, TimerId, Topology,
};

mod formula;
mod log;
mod properties;
mod server;
mod store;
#[cfg(test)]
mod tests;

use log::Entry;
use server::Server;

const REQUEST_VOTE: KindNumber = KindNumber(1);
const VOTE_GRANTED: KindNumber = KindNumber(2);
const VOTE_DENIED: KindNumber = KindNumber(3);
const HEARTBEAT: KindNumber = KindNumber(4);
const HEARTBEAT_REPLY: KindNumber = KindNumber(5);
const APPEND_ENTRIES: KindNumber = KindNumber(6);
const APPEND_ACCEPTED: KindNumber = KindNumber(7);
const APPEND_REJECTED: KindNumber = KindNumber(8);

/// A follower or candidate has heard from no leader for its election timeout.
const ELECTION: TimerId = TimerId(1);
/// A leader's next heartbeats are due.
const HEARTBEATS: TimerId = TimerId(2);

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "raft",
    about: "servers elect a leader, which replicates a log of commands to all of them",
    citation: "Ongaro & Ousterhout, In Search of an Understandable Consensus Algorithm, USENIX ATC 2014",
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::TimeoutsForProgress,
    failures: FailureModel::CrashRecovery,
    workload: "the leader proposes commands of its own clients on a key-value store, several at once",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: "election-timeout",
            about: "the least election timeout; each is drawn between it and its double",
            default: "400ms, or 10ms a server where that is more",
        },
        OptionSpec {
            name: "election-spread",
            about: "how many different election timeouts there are to draw from",
            default: "32, or 4 a server where that is more",
        },
        OptionSpec {
            name: "heartbeat",
            about: "how long a leader waits between two rounds of heartbeats",
            default: "100ms",
        },
        OptionSpec {
            name: "pipeline",
            about: "how many commands the leader has open at once",
            default: "4",
        },
    ],
    formula: "2(N-1) a command; 2(N-1) a candidacy, 2(N-1) a round of heartbeats",
    per_operation: |n, _| Expected::exactly(2 * u64::from(n - 1)),
    operations: |_, rounds, _| rounds.into(),
    expected: formula::expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &[],
        losses: &["vote-denied", "heartbeat-reply", "append-accepted"],
    },
    identities: &[
        Identity {
            text: "vote-granted + vote-denied = request-vote",
            terms: &[
                (1, "vote-granted"),
                (1, "vote-denied"),
                (-1, "request-vote"),
            ],
            relation: Relation::Zero,
        },
        Identity {
            text: "heartbeat-reply = heartbeat",
            terms: &[(1, "heartbeat-reply"), (-1, "heartbeat")],
            relation: Relation::Zero,
        },
        Identity {
            text: "append-accepted + append-rejected = append-entries",
            terms: &[
                (1, "append-accepted"),
                (1, "append-rejected"),
                (-1, "append-entries"),
            ],
            relation: Relation::Zero,
        },
    ],
    properties: properties::ALL,
    points: &[
        Point {
            name: "after-candidacy",
            role: "candidate",
            about: "its vote for itself is on stable storage, and nobody has been asked",
        },
        Point {
            name: "after-vote",
            role: "voter",
            about: "the vote is on stable storage, and the candidate has not been told",
        },
        Point {
            name: "after-election",
            role: "leader",
            about: "a majority has elected it, and it has sent nothing as leader",
        },
        Point {
            name: "after-append",
            role: "leader",
            about: "a command is in its own log and in no other",
        },
        Point {
            name: "after-commit",
            role: "leader",
            about: "a command is committed and its client told, and no follower knows",
        },
        Point {
            name: "after-accept",
            role: "follower",
            about: "entries are on stable storage, and the leader has not been told",
        },
    ],
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let settings = Settings::read(setup)?;
    Ok(Box::new(Server::new(
        setup.id,
        setup.n,
        setup.rounds,
        settings,
    )))
}

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Settings {
    election_timeout: Duration,
    election_spread: u32,
    heartbeat: Duration,
    pipeline: u32,
}

impl Settings {
    fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let Setup { n, options, .. } = *setup;
        // Among many servers the first to time out must have been heard before the second does.
        let election_timeout = Duration::from_millis(10 * u64::from(n.max(40)));
        let refuse = |option: &'static str, expected| {
            Err(SetupError::BadOption {
                option,
                value: options.get(option).unwrap_or_default().to_owned(),
                expected,
            })
        };
        let settings = Self {
            election_timeout: options.duration("election-timeout", election_timeout)?,
            election_spread: options.number("election-spread", 4 * n.max(8))?,
            heartbeat: options.duration("heartbeat", Duration::from_millis(100))?,
            pipeline: options.number("pipeline", 4)?,
        };
        if settings.election_spread == 0 {
            return refuse("election-spread", "1 or more");
        }
        if settings.pipeline == 0 {
            return refuse("pipeline", "1 or more");
        }
        if settings.heartbeat.is_zero() {
            return refuse("heartbeat", "a time above 0");
        }
        // Timing requirement of §5.6: broadcast time << election timeout.
        if settings.election_timeout <= settings.heartbeat {
            return refuse("election-timeout", "a time above that between heartbeats");
        }
        Ok(settings)
    }
}

/// RequestVote RPC, arguments (Figure 2). The candidate is the message's sender.
#[derive(Debug, Serialize, Deserialize)]
struct RequestVote {
    term: u64,
    last_index: u64,
    last_term: u64,
}

/// What answers a vote request or a heartbeat: the answering server's term.
#[derive(Debug, Serialize, Deserialize)]
struct Term {
    term: u64,
}

/// A heartbeat: unlike Figure 2's AppendEntries without entries, it does not compare logs, so it may
/// only speak of entries that its receiver has said to hold (so does etcd's raft: `bcastHeartbeat`
/// sends the lesser of what is committed and what the follower matches).
#[derive(Debug, Serialize, Deserialize)]
struct Heartbeat {
    term: u64,
    commit: u64,
}

/// AppendEntries RPC, arguments (Figure 2). The leader is the message's sender.
#[derive(Debug, Serialize, Deserialize)]
struct AppendEntries {
    term: u64,
    prev_index: u64,
    prev_term: u64,
    entries: Vec<Entry>,
    commit: u64,
}

/// AppendEntries RPC, result true (Figure 2).
#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    term: u64,
    /// The follower's log agrees with the leader's up to here.
    match_index: u64,
}

/// AppendEntries RPC, result false (Figure 2).
#[derive(Debug, Serialize, Deserialize)]
struct Rejected {
    term: u64,
    /// What the leader had sent: tells which of its messages this answers.
    prev_index: u64,
    /// Where the leader may go back to at once (end of §5.3).
    next_index: u64,
}
