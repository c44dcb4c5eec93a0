//! The messages of a capture one by one, where they are asked for: what an audit matches with the
//! accounts. Only frames that name themselves are kept, and no more than [`MOST_MESSAGES`] of a
//! protocol, so that memory stays flat.

use std::net::SocketAddr;

use crate::message::{Label, Way};
use crate::units::{FramingBytes, MessageBytes, Timestamp};

/// More messages, connections or repetitions of a protocol are counted and not kept: some 130 MB
/// of messages.
pub const MOST_MESSAGES: usize = 1 << 20;

/// The messages of a capture, and the connections that carried them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageLog {
    /// Messages, in the order in which each protocol's were completed.
    pub messages: Vec<MessageSeen>,
    /// Connections on the ports of their protocols, in the order in which they were done with.
    pub connections: Vec<ConnectionSeen>,
    /// Stream bytes that were seen again.
    pub repetitions: Vec<Repetition>,
    /// Messages, connections and repetitions that were seen and not kept.
    pub left_out: u64,
}

/// A message of our own nodes on the wire. What TCP transmitted twice is one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSeen {
    /// Its header.
    pub label: Label,
    /// Its body by the header's length.
    pub body: MessageBytes,
    /// Its header's length.
    pub framing: FramingBytes,
    /// When it was complete, or given up.
    pub time: Timestamp,
    /// The [`ConnectionSeen::serial`] of what it came over.
    pub connection: u64,
    /// Which of the connection's streams.
    pub way: Way,
    /// Stream offset behind its last byte.
    pub end: u64,
    /// Whether the receiver's TCP has acknowledged its last byte.
    pub acknowledged: bool,
    /// Whether all of its bytes passed.
    pub whole: bool,
}

impl MessageSeen {
    /// Length of the whole frame, in bytes.
    pub fn length(&self) -> u64 {
        self.body.get() + self.framing.get()
    }
}

/// A connection on the ports of a protocol of ours, or a UDP flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSeen {
    /// Tells it from every other of the capture.
    pub serial: u64,
    /// Who dialled.
    pub initiator: SocketAddr,
    /// Who listened.
    pub listener: SocketAddr,
    /// Its first packet.
    pub opened: Timestamp,
    /// Its last packet.
    pub last_seen: Timestamp,
    /// SYN was answered by RST.
    pub refused: bool,
    /// When the sender of each [`Way`] has reset it.
    pub reset: [Option<Timestamp>; 2],
    /// Whether it was reset, or closed by FIN both ways, all of it acknowledged.
    pub closed: bool,
}

/// Stream bytes that a packet showed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repetition {
    /// The [`ConnectionSeen::serial`].
    pub connection: u64,
    /// Which of the connection's streams.
    pub way: Way,
    /// Stream offsets of the segment that holds them, the end not included.
    pub bytes: (u64, u64),
}

impl MessageLog {
    /// Adds another protocol's.
    pub(super) fn append(&mut self, mut other: Self) {
        self.messages.append(&mut other.messages);
        self.connections.append(&mut other.connections);
        self.repetitions.append(&mut other.repetitions);
        self.left_out += other.left_out;
    }

    /// Keeps a message, and tells its place where there was room.
    pub(super) fn message(&mut self, message: MessageSeen) -> Option<usize> {
        let place = self.messages.len();
        keep(&mut self.messages, message, &mut self.left_out).then_some(place)
    }

    pub(super) fn connection(&mut self, connection: ConnectionSeen) {
        keep(&mut self.connections, connection, &mut self.left_out);
    }

    pub(super) fn repetition(&mut self, repetition: Repetition) {
        keep(&mut self.repetitions, repetition, &mut self.left_out);
    }
}

fn keep<T>(kept: &mut Vec<T>, one: T, left_out: &mut u64) -> bool {
    let room = kept.len() < MOST_MESSAGES;
    if room {
        kept.push(one);
    } else {
        *left_out += 1;
    }
    room
}
