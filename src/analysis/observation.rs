//! What the engine made of single packets, where that is asked for: what an annotated copy of a
//! capture says of each.

use std::fmt;

use super::connection::{Connection, Counts, Standing};
use super::log::MessageSeen;
use crate::flow::ProtocolIndex;
use crate::message::Way;
use crate::packet::Reason;
use crate::protocols;
use crate::tally::PacketClass;

/// Messages of one packet that are told one by one.
const MOST_TOLD: usize = 20;

/// What became of one packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The protocol whose ports it is on.
    pub protocol: Option<String>,
    /// Under what it counts.
    pub fate: Fate,
    /// Its class, where it is of a connection.
    pub class: Option<&'static str>,
    /// Messages with a header of ours that were complete with it, or given up.
    pub labelled: Vec<MessageSeen>,
    /// Messages that were complete with it, labelled ones among them.
    pub messages: u64,
    /// Messages that were given up with it.
    pub incomplete: u64,
    /// Payload bytes seen for the first time.
    pub new: u64,
    /// Payload bytes seen before.
    pub repeated: u64,
    /// Payload bytes at no position of the stream.
    pub outside: u64,
    /// Stream bytes, of either way, that were found to be in no packet.
    pub gap: u64,
    /// Bytes that came after they had been taken for a gap.
    pub late: u64,
    /// Stream bytes in which no message could be found.
    pub unframed: u64,
    /// The connection ended with it without having begun.
    pub refused: bool,
}

/// Under what a packet counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// A protocol.
    Protocol,
    /// A protocol's ports, with contents that are not of it.
    Foreign,
    /// Decoded, and on no protocol's ports.
    Unclassified,
    /// Not decoded.
    Undecoded(Reason),
    /// A fragment: what it counts under, the last one of its packet tells.
    Fragment,
    /// A protocol, as an ICMP error about one of its packets.
    IcmpError,
    /// It is not known.
    #[default]
    Nothing,
}

/// Observes one packet at a time.
#[derive(Debug, Default)]
pub(super) struct Observer {
    /// The connection's counts before the packet.
    before: Option<[Counts; 2]>,
    refused_before: bool,
    /// Which protocol's it is.
    pub protocol: Option<ProtocolIndex>,
    pub observation: Observation,
}

impl Observer {
    /// A packet is about to be entered into its connection.
    pub fn arrives(&mut self, connection: &Connection) {
        let counts = connection.work.as_ref().map(|work| work.settled());
        self.before = Some(counts.unwrap_or_default());
        self.refused_before = connection.refused;
    }

    /// It has been entered, and these messages with it.
    pub fn arrived(
        &mut self,
        connection: &Connection,
        way: Way,
        notes: Option<&mut Vec<MessageSeen>>,
    ) {
        let (Some(before), Some(work)) = (self.before.take(), &connection.work) else {
            return;
        };
        let after = work.settled();
        let sum = |of: fn(&Counts) -> u64| {
            let both = after.iter().zip(&before);
            both.map(|(after, before)| of(after).saturating_sub(of(before)))
                .sum::<u64>()
        };
        let (mine, was) = (&after[way as usize], &before[way as usize]);
        let grown = |(class, _): &&(PacketClass, &str)| {
            mine.packets[*class as usize] > was.packets[*class as usize]
        };
        self.protocol = connection.protocol;
        self.observation = Observation {
            protocol: None,
            fate: match (connection.protocol, connection.standing) {
                (None, _) => Fate::Unclassified,
                (_, Standing::Foreign) => Fate::Foreign,
                _ => Fate::Protocol,
            },
            class: CLASSES.iter().find(grown).map(|(_, name)| *name),
            labelled: notes.map(std::mem::take).unwrap_or_default(),
            messages: sum(|counts| counts.messages.get()),
            incomplete: sum(|counts| counts.incomplete_messages.get()),
            new: sum(|counts| counts.bytes.payload.get()),
            repeated: sum(|counts| counts.bytes.retransmitted.get()),
            outside: sum(|counts| counts.bytes.outside_stream.get()),
            gap: sum(|counts| counts.gap_declared),
            late: sum(|counts| counts.late_of_gap),
            unframed: sum(|counts| counts.bytes.unframed.get()),
            refused: connection.refused && !self.refused_before,
        };
        let serial = connection.serial;
        self.observation
            .labelled
            .retain(|message| message.connection == serial);
    }
}

const CLASSES: [(PacketClass, &str); PacketClass::COUNT] = [
    (PacketClass::Handshake, "handshake"),
    (PacketClass::Teardown, "teardown"),
    (PacketClass::Retransmission, "retransmission"),
    (PacketClass::Data, "data"),
    (PacketClass::PureAck, "pure ACK"),
    (PacketClass::Other, "other"),
];

/// One message, as `vote-yes 2 -> 0, operation 1, sequence 1 (57 B)`.
fn write_message(f: &mut fmt::Formatter<'_>, message: &MessageSeen) -> fmt::Result {
    let label = &message.label;
    let kind = protocols::kind_name(label.protocol, label.kind);
    write!(f, "{kind} {} -> {}", label.sender, label.receiver)?;
    if label.operation != 0 {
        write!(f, ", operation {}", label.operation)?;
    }
    write!(f, ", sequence {} ({} B)", label.sequence, message.length())?;
    if !message.whole {
        f.write_str(", incomplete")?;
    }
    Ok(())
}

impl fmt::Display for Observation {
    /// One line, its parts separated by semicolons: the row of the report that it counts in, its class,
    /// its messages, and what is unusual about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.as_deref().unwrap_or("?");
        match &self.fate {
            Fate::Protocol => f.write_str(protocol)?,
            Fate::Foreign => write!(f, "{protocol} (foreign)")?,
            Fate::Unclassified => f.write_str("unclassified")?,
            Fate::Undecoded(reason) => write!(f, "undecoded: {reason}")?,
            Fate::Fragment => f.write_str("fragment: the last of its packet tells the rest")?,
            Fate::IcmpError => write!(f, "{protocol}; ICMP error about one of its packets")?,
            Fate::Nothing => f.write_str("not told")?,
        }
        if let Some(class) = self.class {
            write!(f, "; {class}")?;
        }
        if self.refused {
            f.write_str("; refuses the connection")?;
        }
        for message in self.labelled.iter().take(MOST_TOLD) {
            f.write_str("; ")?;
            write_message(f, message)?;
        }
        let told = self.labelled.len().min(MOST_TOLD) as u64;
        let all = self.messages + self.incomplete;
        match (all.saturating_sub(told), told) {
            (0, _) => {}
            (_, 0) => {
                for (n, what) in [(self.messages, "complete"), (self.incomplete, "incomplete")] {
                    match n {
                        0 => {}
                        1 => write!(f, "; 1 message {what}")?,
                        n => write!(f, "; {n} messages {what}")?,
                    }
                }
            }
            (rest, _) => write!(f, "; and {rest} more messages")?,
        }
        let goes_on = match all {
            0 => self.new.saturating_sub(self.unframed),
            _ => 0,
        };
        for (bytes, what) in [
            (goes_on, "new, of a message that goes on"),
            (self.repeated, "seen before"),
            (self.outside, "outside of the stream"),
            (self.unframed, "unframed"),
            (self.gap, "missing: no packet showed them"),
            (self.late, "late: they had been given up as missing"),
        ] {
            if bytes > 0 {
                write!(f, "; {bytes} B {what}")?;
            }
        }
        Ok(())
    }
}
