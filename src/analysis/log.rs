//! The messages of a capture one by one, where they are asked for: what an audit matches with the
//! accounts. Only frames that name themselves are kept, and no more than [`MOST_MESSAGES`] of a
//! protocol, so that memory stays flat. And its connections one by one, each with its counts.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::connection::{Connection, Counts};
use crate::flow::{ProtocolIndex, TransportKind};
use crate::message::{Label, Way};
use crate::tally::Distribution;
use crate::units::{
    FramingBytes, GapBytes, IpBytes, MessageBytes, Messages, Packets, PayloadBytes,
    RetransmittedBytes, Timestamp, WireBytes,
};

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

/// The connections and UDP flows of a capture, each with what it carried: of a protocol they add up to
/// its tally.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionLog {
    /// In the order of their first packets, [`MOST_MESSAGES`] at most: those that ended first.
    pub connections: Vec<ConnectionCounted>,
    /// Connections that were counted and not kept.
    pub left_out: u64,
    /// The plan's protocols by [`ConnectionCounted::protocol`].
    pub protocols: Vec<String>,
    /// Counts that were taken from connections that have not ended, by [`ConnectionSeen::serial`].
    taken: FxHashMap<u64, Box<[Counts; 2]>>,
}

/// A connection or UDP flow, and what it carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCounted {
    /// Its ends, its times, and how it ended.
    pub seen: ConnectionSeen,
    /// TCP or UDP.
    pub transport: TransportKind,
    /// Whose ports the listening end has.
    pub protocol: Option<ProtocolIndex>,
    /// Whether it is not of that protocol though its ports are.
    pub foreign: bool,
    /// Whether the capture begins in its midst: its SYN was not seen.
    pub mid_stream: bool,
    /// What went each [`Way`].
    pub ways: [WayCounted; 2],
}

/// What went one way of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WayCounted {
    /// Packets, those without payload too.
    pub packets: Packets,
    /// Complete messages.
    pub messages: Messages,
    /// Messages of which bytes are missing.
    pub incomplete_messages: Messages,
    /// Unique transport payload.
    pub payload: PayloadBytes,
    /// Payload bytes seen again.
    pub retransmitted: RetransmittedBytes,
    /// Stream bytes that no packet showed; outside `payload`.
    pub gap_bytes: GapBytes,
    /// IP packets.
    pub ip: IpBytes,
    /// Frames.
    pub wire: WireBytes,
}

impl ConnectionLog {
    /// A log of these connections, whose plan has these protocols.
    pub fn new(connections: Vec<ConnectionCounted>, protocols: Vec<String>) -> Self {
        Self {
            connections,
            protocols,
            ..Self::default()
        }
    }

    /// The name of a connection's protocol; none where its ports are no protocol's.
    pub fn protocol_of(&self, connection: &ConnectionCounted) -> Option<&str> {
        let ProtocolIndex(index) = connection.protocol?;
        self.protocols.get(usize::from(index)).map(String::as_str)
    }

    /// Enters counts that were taken from a connection.
    pub(super) fn take(&mut self, serial: u64, counts: &[Counts; 2]) {
        let sums = self.taken.entry(serial).or_default();
        for (sum, counts) in sums.iter_mut().zip(counts) {
            sum.merge(counts);
        }
    }

    /// Keeps a connection that has ended and whose counts were all taken.
    pub(super) fn ended(&mut self, connection: &Connection, foreign: bool) {
        let counts = self.taken.remove(&connection.serial).unwrap_or_default();
        let counted = ConnectionCounted {
            seen: connection.as_seen(),
            transport: connection.key.transport(),
            protocol: connection.protocol,
            foreign,
            mid_stream: connection.mid_stream,
            ways: counts.each_ref().map(WayCounted::of),
        };
        keep(&mut self.connections, counted, &mut self.left_out);
    }

    /// No more connections will come.
    pub(super) fn finish(&mut self, protocols: Vec<String>) {
        self.protocols = protocols;
        let serial = |counted: &ConnectionCounted| counted.seen.serial;
        self.connections.sort_unstable_by_key(serial);
    }
}

impl WayCounted {
    fn of(counts: &Counts) -> Self {
        let bytes = counts.layers();
        Self {
            packets: counts.all_packets(),
            messages: counts.messages,
            incomplete_messages: counts.incomplete_messages,
            payload: bytes.payload,
            retransmitted: bytes.retransmitted,
            gap_bytes: bytes.gap_bytes,
            ip: bytes.ip,
            wire: bytes.wire,
        }
    }
}

impl MessageLog {
    /// How long replies took: from the last message before it to the next of the same operation that goes from its
    /// receiver to its sender, is of another kind, and has a later Lamport timestamp. What has not was
    /// sent before the other was received, and who tell each other the same, as in a broadcast, do not
    /// answer. A message that is a reply itself waits for none.
    pub(super) fn replies(&self) -> Distribution {
        let mut replies = Distribution::default();
        let mut asked = FxHashMap::default();
        for message in self.messages.iter().filter(|message| message.whole) {
            let label = &message.label;
            if label.operation == 0 {
                continue;
            }
            let between =
                |from: u32, to: u32| (label.protocol, label.run, label.operation, from, to);
            let back = between(label.receiver, label.sender);
            let answered = asked.get(&back).copied().filter(|request: &&MessageSeen| {
                request.label.kind != label.kind && request.label.timestamp < label.timestamp
            });
            match answered {
                Some(request) => {
                    asked.remove(&back);
                    let after: i64 = message.time.as_nanos();
                    let after = after.saturating_sub(request.time.as_nanos());
                    replies.add(after.max(0) as u64);
                }
                None => {
                    asked.insert(between(label.sender, label.receiver), message);
                }
            }
        }
        replies
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(operation: u64, sender: u32, receiver: u32, at: i64) -> MessageSeen {
        MessageSeen {
            label: Label {
                protocol: 1,
                // Process 0 asks, the others answer.
                kind: if sender == 0 { 1 } else { 2 },
                sender,
                receiver,
                incarnation: 1,
                run: 7,
                operation,
                sequence: 1,
                timestamp: at as u64,
            },
            body: MessageBytes::new(1),
            framing: FramingBytes::new(1),
            time: Timestamp::from_nanos(at),
            connection: 1,
            way: Way::ToListener,
            end: 2,
            acknowledged: true,
            whole: true,
        }
    }

    #[test]
    fn a_reply_goes_back_within_the_operation_and_waits_for_none_itself() {
        let messages = vec![
            message(1, 0, 1, 0),
            message(1, 0, 2, 1),
            // Of another operation, and no reply to the first.
            message(2, 1, 0, 2),
            message(1, 1, 0, 5),
            // The next round: no reply to the reply, and asks again.
            message(1, 0, 1, 8),
            message(1, 2, 0, 12),
            message(1, 1, 0, 15),
            // Of no operation.
            message(0, 1, 2, 20),
            message(0, 2, 1, 21),
        ];
        let mut log = MessageLog {
            messages,
            ..MessageLog::default()
        };
        let took = |log: &MessageLog| log.replies().buckets.into_iter().collect::<Vec<_>>();
        assert_eq!(took(&log), [(5, 1), (7, 1), (11, 1)]);
        // What did not pass whole was not received. Of two that ask, the later is answered.
        log.messages[3].whole = false;
        assert_eq!(took(&log), [(7, 1), (11, 1)]);
    }

    /// Two processes that broadcast to each other: a prepare of pbft counted as the reply to another.
    #[test]
    fn what_was_sent_before_the_other_came_and_what_says_the_same_is_no_reply() {
        let mut log = MessageLog {
            messages: vec![message(1, 0, 1, 10), message(1, 1, 0, 12)],
            ..MessageLog::default()
        };
        assert_eq!(log.replies().count, 1);
        log.messages[1].label.kind = 1;
        assert_eq!(log.replies().count, 0);
        log.messages[1].label.kind = 2;
        log.messages[1].label.timestamp = 10;
        assert_eq!(log.replies().count, 0);
        // It asks itself, and is answered by what has seen it.
        log.messages.push(message(1, 0, 1, 15));
        assert_eq!(
            log.replies().buckets.into_iter().collect::<Vec<_>>(),
            [(3, 1)]
        );
    }
}
