//! A ledger message by message: what its sender and its receiver recorded of each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::analysis::MOST_MESSAGES;
use crate::ledger::{Event, Record};
use crate::units::Timestamp;

/// What names a message for ever, within its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// The sending process.
    pub sender: u32,
    /// Which start of the sender.
    pub incarnation: u32,
    /// The receiving process.
    pub receiver: u32,
    /// Its place on the channel from sender to receiver.
    pub sequence: u64,
}

/// What one account says of a message beside its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub protocol: String,
    pub kind: String,
    pub operation: u64,
    pub lamport: u64,
    /// Length of the whole frame, in bytes.
    pub length: u64,
}

/// A run's ledger, message by message: those of the first [`MOST_MESSAGES`].
#[derive(Debug, Clone, Default)]
pub struct Book {
    pub(super) messages: BTreeMap<MessageId, Entry>,
    /// Records of messages for which there was no room.
    pub(super) left_out: u64,
}

/// The records of one message.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub attempted: u32,
    pub suppressed: u32,
    pub refused: u32,
    pub sent: u32,
    pub arrived: u32,
    pub handled: u32,
    /// Why it was refused.
    pub reason: Option<String>,
    pub attempted_at: Option<Timestamp>,
    /// When it was received first.
    pub arrived_at: Option<Timestamp>,
    /// When it was refused or sent.
    pub settled_at: Option<Timestamp>,
    pub by_sender: Option<Header>,
    pub by_receiver: Option<Header>,
    /// Two records of the same side say different things of it.
    pub contradicts_itself: bool,
}

impl Book {
    /// Who was sent to, or received.
    pub fn receivers(&self) -> impl Iterator<Item = u32> {
        self.messages.keys().map(|id| id.receiver)
    }

    /// Enters one record. All of them have to be of one run.
    pub fn enter(&mut self, record: &Record) {
        let sending = match record.event {
            Event::Attempted | Event::Suppressed | Event::Refused | Event::Sent => true,
            Event::Arrived | Event::Handled => false,
        };
        let (sender, receiver) = match sending {
            true => (record.node, record.peer),
            false => (record.peer, record.node),
        };
        let id = MessageId {
            sender,
            incarnation: record.incarnation,
            receiver,
            sequence: record.sequence,
        };
        if self.messages.len() >= MOST_MESSAGES && !self.messages.contains_key(&id) {
            self.left_out += 1;
            return;
        }
        self.messages.entry(id).or_default().enter(record, sending);
    }
}

impl Entry {
    fn enter(&mut self, record: &Record, sending: bool) {
        *match record.event {
            Event::Attempted => &mut self.attempted,
            Event::Suppressed => &mut self.suppressed,
            Event::Refused => &mut self.refused,
            Event::Sent => &mut self.sent,
            Event::Arrived => &mut self.arrived,
            Event::Handled => &mut self.handled,
        } += 1;
        match record.event {
            Event::Attempted => self.attempted_at = Some(record.time),
            Event::Arrived => self.arrived_at = self.arrived_at.or(Some(record.time)),
            Event::Refused | Event::Sent => self.settled_at = Some(record.time),
            _ => {}
        }
        if record.reason.is_some() {
            self.reason.clone_from(&record.reason);
        }
        let header = Header {
            protocol: record.protocol.clone(),
            kind: record.kind.clone(),
            operation: record.operation,
            lamport: record.lamport,
            length: record.bytes.get(),
        };
        let side = match sending {
            true => &mut self.by_sender,
            false => &mut self.by_receiver,
        };
        match side {
            Some(known) => self.contradicts_itself |= *known != header,
            None => *side = Some(header),
        }
    }
}
