//! A node's own account of messages: every event goes to the ledger first, then into the
//! counters that the controller polls.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::codec::Frame;
use super::control::ChannelCounts;
use crate::algorithm::ProcessId;
use crate::ledger::{self, Counts, Event, FrameBytes, LedgerError, Record, Writer};
use crate::protocols::Protocol;

/// The ledger and the counters of one node.
pub struct Accounts {
    me: ProcessId,
    protocol: &'static Protocol,
    books: RefCell<Books>,
    listener: RefCell<Option<Listener>>,
}

/// Who is told of every event.
type Listener = Box<dyn Fn(Event, &Frame)>;

struct Books {
    ledger: Writer,
    channels: BTreeMap<ProcessId, Counts>,
    /// Told once: a full disk would otherwise repeat itself with every message.
    failure: Option<LedgerError>,
}

impl Accounts {
    /// Accounts of process `me`, written to `ledger`.
    pub fn new(me: ProcessId, protocol: &'static Protocol, ledger: Writer) -> Self {
        let books = Books {
            ledger,
            channels: BTreeMap::new(),
            failure: None,
        };
        Self {
            me,
            protocol,
            books: RefCell::new(books),
            listener: RefCell::default(),
        }
    }

    /// Tells every event from now on to `listener` too.
    pub fn listen(&self, listener: Listener) {
        *self.listener.borrow_mut() = Some(listener);
    }

    /// Records an event of the message in this frame.
    pub fn record(&self, event: Event, frame: &Frame, reason: Option<String>) {
        if let Some(listener) = &*self.listener.borrow() {
            listener(event, frame);
        }
        let sending = matches!(
            event,
            Event::Attempted | Event::Suppressed | Event::Refused | Event::Sent
        );
        let peer = if sending {
            frame.receiver
        } else {
            frame.sender
        };
        let kind = self.protocol.kind(frame.kind);
        let record = Record {
            event,
            time: ledger::now(),
            node: self.me.0,
            peer,
            incarnation: frame.incarnation,
            run: frame.run,
            protocol: self.protocol.name.clone(),
            kind: kind.map_or_else(|| frame.kind.to_string(), |kind| kind.name.clone()),
            operation: frame.operation,
            sequence: frame.sequence,
            lamport: frame.timestamp,
            bytes: FrameBytes::new(frame.wire_len() as u64),
            reason,
        };
        let mut books = self.books.borrow_mut();
        if let Err(error) = books.ledger.append(&record) {
            books.failure.get_or_insert(error);
        }
        books
            .channels
            .entry(ProcessId(peer))
            .or_default()
            .count(event);
    }

    /// The counters of every channel so far.
    pub fn channels(&self) -> Vec<ChannelCounts> {
        let books = self.books.borrow();
        books
            .channels
            .iter()
            .map(|(&peer, &counts)| ChannelCounts { peer, counts })
            .collect()
    }

    /// The first failure of the ledger, once.
    pub fn take_failure(&self) -> Option<LedgerError> {
        self.books.borrow_mut().failure.take()
    }
}
