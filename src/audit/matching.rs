//! The messages of ledger and wire, matched one to one by what names a message for ever.
//!
//! Every message that any account knows is looked at by itself: its sender's records, its frames
//! on the wire, its receiver's records. What does not agree is a [`Finding`], and whether that is
//! explained goes by evidence about this very message: the connection that carried it, the pair
//! of processes, the time. No refused connection explains two messages.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Verdict;
use super::book::{Book, Entry, Header, MessageId};
use crate::analysis::{CompletenessState, ConnectionSeen, MessageLog, MessageSeen};
use crate::ledger;
use crate::message::Way;
use crate::protocols;
use crate::units::{Messages, Timestamp};

/// Of messages that do not match, this many are named in a report, the worst first.
const MOST_NAMED: usize = 100;

/// Clocks of ledger and capture are one; but each is read beside the event, not at it.
const TOLERANCE: i64 = 1_000_000;

/// A death may be noticed by so much later than the kernel closed the process's connections.
const NOTICED_WITHIN: i64 = 1_000_000_000;

/// What is wrong with a message, or special about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// An injected drop withheld it.
    Suppressed,
    /// Nothing listened: the wire shows the connection that was refused.
    Refused,
    /// Its sender was closing its connections already.
    SenderClosed,
    /// Its sender was killed before it had left.
    SenderKilled,
    /// It is on the wire, and its sender was killed before it could record so.
    OutcomeUnrecorded,
    /// The wire shows a part of it.
    CutOff,
    /// Its connection was reset before it had left.
    ResetUnsent,
    /// Its receiver was killed, and no longer read when it was to be sent.
    ReceiverGone,
    /// It waited in its sender's kernel when the capture ended.
    InSender,
    /// Its connection was reset before its receiver had read it.
    ResetUnread,
    /// Its receiver was killed before it had read it.
    KilledUnread,
    /// Its receiver's TCP never acknowledged it.
    InFlight,
    /// Its receiver was killed before the state machine took it.
    KilledUnhandled,
    /// It waits for an earlier message of its channel, which never came.
    Waiting,
    /// It is missing on a capture that is not known to be complete.
    MaybeLostByCapture,
    /// It was refused without a connection that was.
    RefusedUnseen,
    /// It was withheld as by an injected drop, and none was injected.
    SuppressedUnasked,
    /// It was withheld or refused, and is on the wire.
    WithheldYetSeen,
    /// Its sender lives, and does not say what became of it.
    NoOutcome,
    /// It was sent, and is not on the wire.
    NotOnWire,
    /// It is on the wire more than once.
    OnWireTwice,
    /// It is on the wire, and its receiver's TCP has it, and it was never received.
    NotReceived,
    /// It was received more than once.
    ReceivedTwice,
    /// It was received, and is not on the wire.
    ReceivedFromNowhere,
    /// It was received, and the state machine never took it.
    NotHandled,
    /// The state machine took it more often than it was received.
    HandledTwice,
    /// No sender knows of it.
    Unattempted,
    /// What the accounts say of it differs: kind, operation, timestamp or length.
    HeaderDiffers,
    /// Its sender's or its receiver's records contradict each other.
    LedgerContradicts,
}

impl Finding {
    /// All of them, from the best to the worst.
    #[cfg(test)]
    const ALL: [Self; 29] = [
        Self::Suppressed,
        Self::Refused,
        Self::SenderClosed,
        Self::SenderKilled,
        Self::OutcomeUnrecorded,
        Self::CutOff,
        Self::ResetUnsent,
        Self::ReceiverGone,
        Self::InSender,
        Self::ResetUnread,
        Self::KilledUnread,
        Self::InFlight,
        Self::KilledUnhandled,
        Self::Waiting,
        Self::MaybeLostByCapture,
        Self::RefusedUnseen,
        Self::SuppressedUnasked,
        Self::WithheldYetSeen,
        Self::NoOutcome,
        Self::NotOnWire,
        Self::OnWireTwice,
        Self::NotReceived,
        Self::ReceivedTwice,
        Self::ReceivedFromNowhere,
        Self::NotHandled,
        Self::HandledTwice,
        Self::Unattempted,
        Self::HeaderDiffers,
        Self::LedgerContradicts,
    ];

    /// What it makes of the accounts.
    pub fn verdict(self) -> Verdict {
        if self < Self::MaybeLostByCapture {
            Verdict::Explained
        } else if self == Self::MaybeLostByCapture {
            Verdict::Inconclusive
        } else {
            Verdict::Mismatch
        }
    }

    /// What is said of messages with this finding, after their number.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Suppressed => "withheld by an injected drop",
            Self::Refused => "refused: the wire shows the refused connections",
            Self::SenderClosed => "not sent: the sender was closing its connections already",
            Self::SenderKilled => "that had not left when their sender was killed",
            Self::OutcomeUnrecorded => {
                "on the wire without an outcome in the ledger: their sender was killed"
            }
            Self::CutOff => "cut off in the middle: the wire shows a part of them",
            Self::ResetUnsent => "that had not left when their connection was reset",
            Self::ReceiverGone => "that had not left when their receiver was killed",
            Self::InSender => "that had not left when the capture ended",
            Self::ResetUnread => "unread when their connection was reset",
            Self::KilledUnread => "unread when their receiver was killed",
            Self::InFlight => "not received: the receiver's TCP never acknowledged them",
            Self::KilledUnhandled => "received and not handled when their receiver was killed",
            Self::Waiting => {
                "received and not handled: an earlier message of their channel never came"
            }
            Self::MaybeLostByCapture => {
                "that cannot be followed on a capture that is not known to be complete"
            }
            Self::RefusedUnseen => {
                "refused by the ledger without a refused connection on a capture that is proven \
                 complete"
            }
            Self::SuppressedUnasked => {
                "withheld as by an injected drop, and the run had no such fault"
            }
            Self::WithheldYetSeen => "not sent by the ledger, and on the wire",
            Self::NoOutcome => {
                "attempted without an outcome in the ledger (sent, suppressed, refused), and their \
                 sender was not killed"
            }
            Self::NotOnWire => "sent and not on the wire, on a capture that is proven complete",
            Self::OnWireTwice => "on the wire more than once",
            Self::NotReceived => {
                "on the wire and not received, though the receiver's TCP acknowledged them"
            }
            Self::ReceivedTwice => "received more than once",
            Self::ReceivedFromNowhere => {
                "received and not on the wire, on a capture that is proven complete"
            }
            Self::NotHandled => "received and not handled",
            Self::HandledTwice => "handled more often than received",
            Self::Unattempted => "of which no sender knows",
            Self::HeaderDiffers => "of which the accounts say different things",
            Self::LedgerContradicts => "of which the ledger contradicts itself",
        }
    }
}

/// What is known of a run beside its accounts.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// How far the capture is known to be complete.
    pub completeness: CompletenessState,
    /// Which process listens where.
    pub listeners: BTreeMap<SocketAddr, u32>,
    /// When incarnations of processes were gone at the latest: by process and incarnation. That an
    /// incarnation died of which a later one sent is found out from that one's first message.
    pub deaths: BTreeMap<(u32, u32), Timestamp>,
    /// Processes whose last incarnation died, and nobody knows when.
    pub killed: BTreeSet<u32>,
    /// Whether receivers hold a message back until all before it on its channel have come.
    pub holds_back: bool,
    /// Whether messages may have been suppressed on purpose.
    pub suppresses: bool,
    /// Whether the capture ended before its connections had to be over.
    pub broken_off: bool,
}

/// How messages match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAudit {
    /// Messages of which sender, wire and receiver say the same: sent once, on the wire once,
    /// received once, handled once.
    pub matched: Messages,
    /// Of those, transmitted again by TCP, in whole or in part. They count once.
    pub retransmitted: Messages,
    /// Messages of which any of them says something else, or with a remark.
    #[serde(default)]
    pub others: Messages,
    /// What was found of those. A message of several findings counts with each.
    pub findings: Vec<FindingCount>,
    /// The first of the others, the worst findings first; no more than 100.
    pub unmatched: Vec<Unmatched>,
}

/// How many messages have a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCount {
    /// What was found.
    pub finding: Finding,
    /// What it makes of the accounts.
    pub verdict: Verdict,
    /// Of how many messages.
    pub messages: Messages,
}

/// A message that does not match, or not without a remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmatched {
    /// Its name.
    #[serde(flatten)]
    pub id: MessageId,
    /// Its kind: by its sender, otherwise by the wire, otherwise by its receiver.
    pub kind: String,
    /// Its worst finding.
    pub finding: Finding,
    /// What that makes of the accounts.
    pub verdict: Verdict,
    /// All that was found, in words.
    pub why: String,
}

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MessageId {
            sender,
            incarnation,
            receiver,
            sequence,
        } = self.id;
        write!(f, "{} {sender} to {receiver}, number {sequence}", self.kind)?;
        if incarnation > 1 {
            write!(f, " of incarnation {incarnation}")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// The messages of a run, matched: the part of an audit for its report, and the findings by kind.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    pub(super) audit: MessageAudit,
    pub(super) by_kind: BTreeMap<String, BTreeMap<Finding, u64>>,
    /// Whole messages on the wire that were looked at.
    pub(super) on_wire: BTreeMap<String, u64>,
    /// Reasons that nodes gave for refusals which the wire does not show.
    pub(super) reasons: BTreeMap<String, BTreeSet<String>>,
    /// Refused connections that belong to no message.
    pub(super) stray_refusals: u64,
}

/// Matches a run's ledger with the messages of its capture.
///
/// Nothing where either holds more messages than are kept: then only their numbers can be held
/// against each other.
pub fn match_messages(
    book: &Book,
    log: &MessageLog,
    circumstances: &Circumstances,
) -> Option<Matching> {
    (book.left_out == 0 && log.left_out == 0).then(|| Matcher::new(book, log, circumstances).run())
}

/// A connection, and what the messages on it tell of it.
struct Link<'a> {
    seen: &'a ConnectionSeen,
    /// The processes at its ends, lower first, where a message named them.
    ends: Option<(u32, u32)>,
}

impl Link<'_> {
    /// The latest reset by either end.
    fn reset(&self) -> Option<Timestamp> {
        self.seen.reset.iter().flatten().max().copied()
    }
}

struct Matcher<'a> {
    book: &'a Book,
    circumstances: &'a Circumstances,
    /// Each message's frames.
    frames: BTreeMap<MessageId, Vec<&'a MessageSeen>>,
    links: BTreeMap<u64, Link<'a>>,
    /// The links of each pair of processes, lower first.
    links_of: BTreeMap<(u32, u32), Vec<u64>>,
    /// Links without a message, by the process that listened.
    silent: BTreeMap<u32, Vec<u64>>,
    /// Stream bytes that were seen again, by connection and way: disjoint, in order.
    repeated: BTreeMap<(u64, usize), Vec<(u64, u64)>>,
    /// Refused messages whose connection the wire shows, and what became of that.
    shown_refused: BTreeMap<MessageId, Finding>,
    stray_refusals: u64,
    /// By process: the incarnations that died, and when each was gone at the latest, if known.
    deaths: BTreeMap<u32, BTreeMap<u32, Option<Timestamp>>>,
    /// How far each stream of a connection was read: to the end of the last message that its
    /// receiver has of it.
    read_to: BTreeMap<(u64, usize), u64>,
    /// The greatest sequence number that each connection shows of each channel.
    shown_to: BTreeMap<(u64, Channel), u64>,
    /// Messages of each channel that never came, in order.
    missing: BTreeMap<Channel, Vec<u64>>,
    /// By channel and incarnation of its receiver that died (none: that lives): the last message
    /// that was handled, and when it had come.
    handled_to: BTreeMap<(Channel, Option<u32>), (u64, Option<Timestamp>)>,
    /// By process and incarnation of it that died (none: that lives): when the last message had come
    /// that it handled.
    handled_until: BTreeMap<(u32, Option<u32>), Timestamp>,
    /// The last message of each channel that its sender says it sent, or that is on the wire.
    settled_to: BTreeMap<Channel, u64>,
    /// When each incarnation attempted the last message that it tried to send.
    last_tried: BTreeMap<(u32, u32), Timestamp>,
}

/// The sender, its incarnation, the receiver.
type Channel = (u32, u32, u32);

fn channel(id: MessageId) -> Channel {
    (id.sender, id.incarnation, id.receiver)
}

impl<'a> Matcher<'a> {
    fn new(book: &'a Book, log: &'a MessageLog, circumstances: &'a Circumstances) -> Self {
        let mut frames: BTreeMap<MessageId, Vec<&MessageSeen>> = BTreeMap::new();
        // Another run at the same time has messages of the same names, on ports of its own.
        let of_the_run =
            |seen: &&ConnectionSeen| circumstances.listeners.contains_key(&seen.listener);
        let mut links: BTreeMap<u64, Link<'_>> = log
            .connections
            .iter()
            .filter(of_the_run)
            .map(|seen| (seen.serial, Link { seen, ends: None }))
            .collect();
        for frame in &log.messages {
            let Some(link) = links.get_mut(&frame.connection) else {
                continue;
            };
            let label = &frame.label;
            let id = MessageId {
                sender: label.sender,
                incarnation: label.incarnation,
                receiver: label.receiver,
                sequence: label.sequence,
            };
            frames.entry(id).or_default().push(frame);
            link.ends.get_or_insert(pair(label.sender, label.receiver));
        }
        let mut links_of: BTreeMap<(u32, u32), Vec<u64>> = BTreeMap::new();
        let mut silent: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (serial, link) in &links {
            match link.ends {
                Some(ends) => links_of.entry(ends).or_default().push(*serial),
                None => {
                    if let Some(process) = circumstances.listeners.get(&link.seen.listener) {
                        silent.entry(*process).or_default().push(*serial);
                    }
                }
            }
        }
        let mut repeated: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for repetition in &log.repetitions {
            let stream = (repetition.connection, repetition.way as usize);
            repeated.entry(stream).or_default().push(repetition.bytes);
        }
        repeated.values_mut().for_each(join);
        let (shown_refused, stray_refusals) = refusals(book, log, &circumstances.listeners);
        let deaths = deaths(book, &frames, circumstances);
        let mut matcher = Self {
            book,
            circumstances,
            frames,
            links,
            links_of,
            silent,
            repeated,
            shown_refused,
            stray_refusals,
            deaths,
            read_to: BTreeMap::new(),
            shown_to: BTreeMap::new(),
            missing: BTreeMap::new(),
            handled_to: BTreeMap::new(),
            handled_until: BTreeMap::new(),
            settled_to: BTreeMap::new(),
            last_tried: BTreeMap::new(),
        };
        matcher.note_order();
        matcher
    }

    /// What follows from the order of streams and channels: how far each has come.
    fn note_order(&mut self) {
        for (id, entry) in &self.book.messages {
            if entry.arrived == 0 {
                // Entries of a channel come in the order of their numbers.
                self.missing
                    .entry(channel(*id))
                    .or_default()
                    .push(id.sequence);
            }
            if entry.handled > 0 {
                let life = self.death_after(id.receiver, entry.arrived_at);
                let handled = (id.sequence, entry.arrived_at);
                self.handled_to.insert((channel(*id), life), handled);
                if let Some(time) = entry.arrived_at {
                    let last = self.handled_until.entry((id.receiver, life));
                    let last = last.or_insert(time);
                    *last = time.max(*last);
                }
            }
            if entry.sent > 0 {
                self.settled_to.insert(channel(*id), id.sequence);
            }
            if entry.reason.as_deref() != Some(ledger::CLOSING)
                && let Some(time) = entry.attempted_at
            {
                let last = self.last_tried.entry((id.sender, id.incarnation));
                let last = last.or_insert(time);
                *last = time.max(*last);
            }
        }
        for (id, frames) in &self.frames {
            for frame in frames.iter().filter(|frame| frame.whole) {
                let shown = self.shown_to.entry((frame.connection, channel(*id)));
                let shown = shown.or_default();
                *shown = id.sequence.max(*shown);
                let settled = self.settled_to.entry(channel(*id)).or_default();
                *settled = id.sequence.max(*settled);
            }
            let entry = self.book.messages.get(id);
            // Of one that was there twice nobody knows which of both was read.
            if let ([frame], Some(1..)) = (&frames[..], entry.map(|entry| entry.arrived)) {
                let stream = (frame.connection, frame.way as usize);
                let read = self.read_to.entry(stream).or_default();
                *read = frame.end.max(*read);
            }
        }
    }

    fn run(self) -> Matching {
        let mut matching = Matching {
            stray_refusals: self.stray_refusals,
            ..Matching::default()
        };
        let (mut matched, mut retransmitted, mut others) = (0, 0, 0);
        let mut counts: BTreeMap<Finding, u64> = BTreeMap::new();
        let mut unmatched: BTreeMap<Finding, Vec<Unmatched>> = BTreeMap::new();
        let nothing = Entry::default();
        let ids: BTreeSet<MessageId> = self
            .book
            .messages
            .keys()
            .chain(self.frames.keys())
            .copied()
            .collect();
        for id in ids {
            let entry = self.book.messages.get(&id).unwrap_or(&nothing);
            let frames = self.frames.get(&id).map_or(&[][..], Vec::as_slice);
            for frame in frames.iter().filter(|frame| frame.whole) {
                *matching.on_wire.entry(header_of(frame).kind).or_default() += 1;
            }
            let (findings, difference) = self.look_at(id, entry, frames);
            let Some(worst) = findings.iter().max().copied() else {
                matched += 1;
                retransmitted += u64::from(frames.iter().any(|frame| self.is_repeated(frame)));
                continue;
            };
            others += 1;
            let kind = kind_of(entry, frames);
            let of_kind = matching.by_kind.entry(kind.clone()).or_default();
            for finding in &findings {
                *of_kind.entry(*finding).or_default() += 1;
                *counts.entry(*finding).or_default() += 1;
            }
            if let Some(reason) = &entry.reason
                && findings.contains(&Finding::RefusedUnseen)
            {
                let reasons = matching.reasons.entry(kind.clone()).or_default();
                reasons.insert(reason.clone());
            }
            let named = unmatched.entry(worst).or_default();
            if named.len() < MOST_NAMED {
                let mut why: Vec<&str> = findings
                    .iter()
                    .rev()
                    .map(|finding| finding.words())
                    .collect();
                why.extend(difference.as_deref());
                why.extend(
                    entry
                        .reason
                        .as_deref()
                        .filter(|_| worst == Finding::RefusedUnseen),
                );
                named.push(Unmatched {
                    id,
                    kind,
                    finding: worst,
                    verdict: worst.verdict(),
                    why: why.join("; "),
                });
            }
        }
        matching.audit = MessageAudit {
            matched: Messages::new(matched),
            retransmitted: Messages::new(retransmitted),
            others: Messages::new(others),
            findings: counts
                .into_iter()
                .rev()
                .map(|(finding, messages)| FindingCount {
                    finding,
                    verdict: finding.verdict(),
                    messages: Messages::new(messages),
                })
                .collect(),
            unmatched: unmatched
                .into_values()
                .rev()
                .flatten()
                .take(MOST_NAMED)
                .collect(),
        };
        matching
    }

    /// Everything that is special about one message, and in words how its headers differ.
    fn look_at(
        &self,
        id: MessageId,
        entry: &Entry,
        frames: &[&MessageSeen],
    ) -> (BTreeSet<Finding>, Option<String>) {
        let mut findings = BTreeSet::new();
        let whole: Vec<&MessageSeen> = frames.iter().copied().filter(|f| f.whole).collect();
        let outcomes = entry.suppressed + entry.refused + entry.sent;
        if entry.contradicts_itself || entry.attempted > 1 || outcomes > 1 {
            findings.insert(Finding::LedgerContradicts);
        }
        if entry.attempted == 0 {
            findings.insert(Finding::Unattempted);
        }
        if frames.len() > 1 {
            findings.insert(Finding::OnWireTwice);
        }
        if entry.attempted > 0 {
            findings.extend(self.leaving(id, entry, frames, &whole));
        }
        findings.extend(self.coming(id, entry, frames, &whole));
        let difference = difference(entry, frames);
        if difference.is_some() {
            findings.insert(Finding::HeaderDiffers);
        }
        (findings, difference)
    }

    /// From the sender's account to the wire.
    fn leaving(
        &self,
        id: MessageId,
        entry: &Entry,
        frames: &[&MessageSeen],
        whole: &[&MessageSeen],
    ) -> Option<Finding> {
        let on_wire = !whole.is_empty();
        if entry.suppressed > 0 || entry.refused > 0 {
            return Some(if !frames.is_empty() {
                Finding::WithheldYetSeen
            } else if entry.suppressed > 0 {
                match self.circumstances.suppresses {
                    true => Finding::Suppressed,
                    false => Finding::SuppressedUnasked,
                }
            } else if entry.reason.as_deref() == Some(ledger::CLOSING)
                && !self.went_on_sending(id, entry)
            {
                Finding::SenderClosed
            } else {
                let shown = self.shown_refused.get(&id).copied();
                shown.unwrap_or_else(|| self.if_proven(Finding::RefusedUnseen))
            });
        }
        if entry.sent > 0 {
            return (!on_wire).then(|| {
                let reset = |link: &Link<'_>| {
                    link.reset() >= since(entry.attempted_at) && !self.carried_later(link, id)
                };
                let open = |link: &Link<'_>| !link.seen.closed && !self.carried_later(link, id);
                self.if_proven(if frames.iter().any(|frame| self.is_torn_off(frame, id)) {
                    Finding::CutOff
                } else if !frames.is_empty() {
                    Finding::NotOnWire
                } else if self.has_link(id, reset) {
                    Finding::ResetUnsent
                } else if self.circumstances.broken_off && self.has_link(id, open) {
                    Finding::InSender
                } else {
                    Finding::NotOnWire
                })
            });
        }
        // Without an outcome.
        let killed = self.sender_died(id, entry);
        let was_reset = self.has_link(id, |link| {
            link.reset().is_some() && !self.carried_later(link, id)
        });
        Some(match (on_wire, killed) {
            (true, true) => Finding::OutcomeUnrecorded,
            (false, true) if !frames.is_empty() => self.if_proven(Finding::CutOff),
            (false, true) => self.if_proven(Finding::SenderKilled),
            (true, false) => Finding::NoOutcome,
            (false, false) if was_reset && !frames.is_empty() => self.if_proven(Finding::CutOff),
            (false, false) if was_reset => self.if_proven(Finding::ResetUnsent),
            (false, false) if self.died_after(id.receiver, since(entry.attempted_at)) => {
                self.if_proven(Finding::ReceiverGone)
            }
            (false, false) => Finding::NoOutcome,
        })
    }

    /// From the wire to the receiver's state machine.
    fn coming(
        &self,
        id: MessageId,
        entry: &Entry,
        frames: &[&MessageSeen],
        whole: &[&MessageSeen],
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        match (whole, entry.arrived) {
            ([], 0) => {
                if entry.attempted == 0 && !frames.is_empty() {
                    findings.push(self.if_proven(Finding::CutOff));
                }
            }
            ([], _) => findings.push(self.if_proven(Finding::ReceivedFromNowhere)),
            ([frame, ..], 0) => findings.push(self.unread(frame, id.receiver)),
            (_, 1) => {}
            (_, _) => findings.push(Finding::ReceivedTwice),
        }
        if entry.handled > entry.arrived || entry.handled > 1 {
            findings.push(Finding::HandledTwice);
        } else if entry.handled == 0 && entry.arrived > 0 {
            let life = self.death_after(id.receiver, entry.arrived_at);
            let handled = self.handled_to.get(&(channel(id), life)).copied();
            // Processes handle what has come in the order in which it came, or in the channel's.
            let passed_over = handled.is_some_and(|(sequence, arrived_at)| {
                sequence > id.sequence && arrived_at > entry.arrived_at
            });
            let until = self.handled_until.get(&(id.receiver, life)).copied();
            let passed_over =
                passed_over || (!self.circumstances.holds_back && until > entry.arrived_at);
            let handled_to = handled.map_or(0, |(sequence, _)| sequence);
            let waits_for = self.missing.get(&channel(id)).is_some_and(|missing| {
                let first = missing.partition_point(|sequence| *sequence <= handled_to);
                missing.get(first).is_some_and(|first| *first < id.sequence)
            });
            findings.push(if life.is_some() && !passed_over {
                Finding::KilledUnhandled
            } else if self.circumstances.holds_back && waits_for {
                Finding::Waiting
            } else {
                Finding::NotHandled
            });
        }
        findings
    }

    /// Why a message that is on the wire was not received.
    fn unread(&self, frame: &MessageSeen, receiver: u32) -> Finding {
        let link = self.links.get(&frame.connection);
        let reset_by = |way: Way| {
            let reset = link.and_then(|link| link.seen.reset[way as usize]);
            reset.is_some_and(|reset| reset >= frame.time)
        };
        let stream = (frame.connection, frame.way as usize);
        let read_to = self.read_to.get(&stream).copied().unwrap_or(0);
        if frame.end <= read_to {
            // A stream is read in order, and a message behind this one was received.
            Finding::NotReceived
        } else if link.is_some_and(|link| self.died_with(receiver, link)) {
            Finding::KilledUnread
        } else if reset_by(frame.way.opposite()) || reset_by(frame.way) {
            Finding::ResetUnread
        } else if frame.acknowledged {
            Finding::NotReceived
        } else {
            self.if_proven(Finding::InFlight)
        }
    }

    /// What follows from something's absence holds on a capture that is proven complete.
    fn if_proven(&self, finding: Finding) -> Finding {
        match self.circumstances.completeness {
            CompletenessState::Proven => finding,
            _ => Finding::MaybeLostByCapture,
        }
    }

    /// The incarnation of a process that died first after this time, if one did.
    fn death_after(&self, process: u32, time: Option<Timestamp>) -> Option<u32> {
        let deaths = self.deaths.get(&process)?;
        let mut after = deaths
            .iter()
            .filter(|(_, by)| by.is_none_or(|by| Some(by) >= time));
        after.next().map(|(incarnation, _)| *incarnation)
    }

    fn died_after(&self, process: u32, time: Option<Timestamp>) -> bool {
        self.death_after(process, time).is_some()
    }

    /// Whether the incarnation of a process that a connection belonged to died, and the connection was
    /// not over before.
    fn died_with(&self, process: u32, link: &Link<'_>) -> bool {
        let Some(deaths) = self.deaths.get(&process) else {
            return false;
        };
        let opened = since(Some(link.seen.opened));
        let over = link
            .seen
            .last_seen
            .as_nanos()
            .saturating_add(NOTICED_WITHIN);
        let mut after = deaths
            .values()
            .filter(|by| by.is_none_or(|by| Some(by) >= opened));
        let first = after.next();
        first.is_some_and(|by| by.is_none_or(|by| !link.seen.closed || by.as_nanos() <= over))
    }

    /// Whether the incarnation that attempted it died, not before, and with it in hand.
    fn sender_died(&self, id: MessageId, entry: &Entry) -> bool {
        let deaths = self.deaths.get(&id.sender);
        let death = deaths.and_then(|deaths| deaths.get(&id.incarnation));
        // A channel's messages leave one after the other.
        let settled = self.settled_to.get(&channel(id)).copied().unwrap_or(0);
        id.sequence >= settled
            && death.is_some_and(|by| by.is_none_or(|by| Some(by) >= since(entry.attempted_at)))
    }

    /// Whether its sender tried to send another message after it: then it was not closing.
    fn went_on_sending(&self, id: MessageId, entry: &Entry) -> bool {
        let last = self.last_tried.get(&(id.sender, id.incarnation));
        last.copied() > entry.attempted_at
    }

    /// Whether a connection shows a later message of the same channel: a stream loses its end, and
    /// nothing before that.
    fn carried_later(&self, link: &Link<'_>, id: MessageId) -> bool {
        let shown = self.shown_to.get(&(link.seen.serial, channel(id)));
        shown.is_some_and(|shown| *shown > id.sequence)
    }

    /// Whether there is a reason why a connection shows a part of a message only: it was reset, one
    /// of its ends died, or the capture ended first.
    fn is_torn_off(&self, frame: &MessageSeen, id: MessageId) -> bool {
        let Some(link) = self.links.get(&frame.connection) else {
            return false;
        };
        let died = |process| self.died_after(process, since(Some(link.seen.opened)));
        link.reset().is_some()
            || (self.circumstances.broken_off && !link.seen.closed)
            || died(id.sender)
            || died(id.receiver)
    }

    /// Whether a connection between a message's processes, or one to either of them that carried
    /// no message at all, is such.
    fn has_link(&self, id: MessageId, is_such: impl Fn(&Link<'_>) -> bool) -> bool {
        let of_pair = self.links_of.get(&pair(id.sender, id.receiver));
        let silent = [id.sender, id.receiver];
        let silent = silent.iter().filter_map(|process| self.silent.get(process));
        of_pair
            .into_iter()
            .chain(silent)
            .flatten()
            .filter_map(|serial| self.links.get(serial))
            .any(|link| !link.seen.refused && is_such(link))
    }

    fn is_repeated(&self, frame: &MessageSeen) -> bool {
        let start = frame.end.saturating_sub(frame.length());
        self.repeated
            .get(&(frame.connection, frame.way as usize))
            .is_some_and(|ranges| {
                let after = ranges.partition_point(|(_, to)| *to <= start);
                ranges.get(after).is_some_and(|(from, _)| *from < frame.end)
            })
    }
}

/// Puts ranges in order, and those together that touch.
fn join(ranges: &mut Vec<(u64, u64)>) {
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges.drain(..) {
        match joined.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => joined.push((from, to)),
        }
    }
    *ranges = joined;
}

fn pair(one: u32, other: u32) -> (u32, u32) {
    (one.min(other), one.max(other))
}

/// From this time on, by the other clock. Without a time, ever.
fn since(time: Option<Timestamp>) -> Option<Timestamp> {
    let nanos = time.map_or(i64::MIN, Timestamp::as_nanos);
    Some(Timestamp::from_nanos(nanos.saturating_sub(TOLERANCE)))
}

/// Which refused messages have a connection to their receiver's port while they were tried that was
/// refused, or accepted by a kernel whose process then died, and reset; each connection one message.
/// And how many refused connections are left.
fn refusals(
    book: &Book,
    log: &MessageLog,
    listeners: &BTreeMap<SocketAddr, u32>,
) -> (BTreeMap<MessageId, Finding>, u64) {
    let used: BTreeSet<u64> = log.messages.iter().map(|frame| frame.connection).collect();
    let was_reset = |seen: &ConnectionSeen| {
        seen.reset[Way::FromListener as usize].is_some() && !used.contains(&seen.serial)
    };
    let mut by_listener: BTreeMap<u32, BTreeMap<(Timestamp, u64), Finding>> = BTreeMap::new();
    for connection in &log.connections {
        let finding = match connection.refused {
            true => Finding::Refused,
            false if was_reset(connection) => Finding::ResetUnsent,
            false => continue,
        };
        // Otherwise on another run's ports.
        if let Some(process) = listeners.get(&connection.listener) {
            let tried = (connection.opened, connection.serial);
            let of_process = by_listener.entry(*process).or_default();
            of_process.insert(tried, finding);
        }
    }
    let mut refused: Vec<_> = book
        .messages
        .iter()
        .filter(|(_, entry)| entry.refused > 0)
        .filter(|(_, entry)| entry.reason.as_deref() != Some(ledger::CLOSING))
        .collect();
    // Each takes the earliest connection that fits, who was done first chooses first: then as many
    // as possible find one.
    refused.sort_by_key(|(_, entry)| entry.settled_at);
    let mut shown = BTreeMap::new();
    for (id, entry) in refused {
        let Some(tried) = by_listener.get_mut(&id.receiver) else {
            continue;
        };
        let from = since(entry.attempted_at).unwrap_or_default();
        let until = entry.settled_at.map_or(i64::MAX, Timestamp::as_nanos);
        let until = Timestamp::from_nanos(until.saturating_add(TOLERANCE));
        let first = tried.range((from, 0)..=(until, u64::MAX)).next();
        if let Some((first, finding)) = first.map(|(first, finding)| (*first, *finding)) {
            tried.remove(&first);
            shown.insert(*id, finding);
        }
    }
    let left = by_listener.values().flat_map(BTreeMap::values);
    let stray = left.filter(|left| **left == Finding::Refused).count() as u64;
    (shown, stray)
}

/// The incarnations that died, by process.
fn deaths(
    book: &Book,
    frames: &BTreeMap<MessageId, Vec<&MessageSeen>>,
    circumstances: &Circumstances,
) -> BTreeMap<u32, BTreeMap<u32, Option<Timestamp>>> {
    let mut begun: BTreeMap<(u32, u32), Option<Timestamp>> = BTreeMap::new();
    let by_ledger = book.messages.iter();
    let by_ledger = by_ledger.map(|(id, entry)| (id, entry.attempted_at));
    let on_wire = frames.iter().map(|(id, frames)| {
        let times = frames.iter().map(|frame| frame.time);
        (id, times.min())
    });
    for (id, time) in by_ledger.chain(on_wire) {
        let first = begun.entry((id.sender, id.incarnation)).or_insert(time);
        *first = match (*first, time) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    let mut deaths: BTreeMap<u32, BTreeMap<u32, Option<Timestamp>>> = BTreeMap::new();
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for ((process, incarnation), first) in &begun {
        let earlier = deaths.entry(*process).or_default();
        for incarnation in 1..*incarnation {
            earlier.entry(incarnation).or_insert(*first);
        }
        last.insert(*process, *incarnation);
    }
    for ((process, incarnation), by) in &circumstances.deaths {
        let of_process = deaths.entry(*process).or_default();
        of_process.insert(*incarnation, Some(*by));
    }
    for process in &circumstances.killed {
        let incarnation = last.get(process).copied().unwrap_or(1);
        let of_process = deaths.entry(*process).or_default();
        of_process.entry(incarnation).or_insert(None);
    }
    deaths
}

fn header_of(frame: &MessageSeen) -> Header {
    let label = &frame.label;
    let protocol = protocols::by_number(label.protocol);
    Header {
        protocol: protocol.map_or_else(|| label.protocol.to_string(), |known| known.name.clone()),
        kind: protocols::kind_name(label.protocol, label.kind).into_owned(),
        operation: label.operation,
        lamport: label.timestamp,
        length: frame.length(),
    }
}

fn kind_of(entry: &Entry, frames: &[&MessageSeen]) -> String {
    let by_sender = entry.by_sender.as_ref().map(|header| header.kind.clone());
    let on_wire = || frames.first().map(|frame| header_of(frame).kind);
    let by_receiver = || entry.by_receiver.as_ref().map(|header| header.kind.clone());
    by_sender
        .or_else(on_wire)
        .or_else(by_receiver)
        .unwrap_or_default()
}

/// The first field of which two accounts of a message say different things.
fn difference(entry: &Entry, frames: &[&MessageSeen]) -> Option<String> {
    let mut accounts: Vec<(&str, Header)> = Vec::new();
    accounts.extend(
        entry
            .by_sender
            .clone()
            .map(|header| ("by its sender", header)),
    );
    let on_wire = frames.iter().map(|frame| ("on the wire", header_of(frame)));
    accounts.extend(on_wire);
    accounts.extend(
        entry
            .by_receiver
            .clone()
            .map(|header| ("by its receiver", header)),
    );
    let (whose, first) = accounts.first()?;
    let (other_whose, other) = accounts.iter().find(|(_, other)| other != first)?;
    let (what, one, two) = if first.protocol != other.protocol {
        ("protocol", first.protocol.clone(), other.protocol.clone())
    } else if first.kind != other.kind {
        ("kind", first.kind.clone(), other.kind.clone())
    } else {
        let number = |what, one: u64, two: u64| (what, one.to_string(), two.to_string());
        if first.operation != other.operation {
            number("operation", first.operation, other.operation)
        } else if first.lamport != other.lamport {
            number("timestamp", first.lamport, other.lamport)
        } else {
            number("length", first.length, other.length)
        }
    };
    Some(format!("{what} {one} {whose}, {two} {other_whose}"))
}

#[cfg(test)]
mod tests;
