//! The ledger: the in-app counters, as nodes write them and as the audit reads them.
//!
//! One JSON line an event. All nodes of a run append to one file, each line with one unbuffered
//! `write(2)` to a descriptor opened with `O_APPEND`, so that lines of several processes do not
//! mix and a process that is killed loses nothing that it had counted. Reading streams: a ledger
//! may be larger than memory. A torn record is legal, at the end or with another process's record
//! behind it on the line: it is skipped and counted, and no error.
//!
//! The events, exactly:
//!
//! | event | recorded by | when |
//! | --- | --- | --- |
//! | `attempted` | sender | the process asked for the message to be sent; before any system call on its behalf |
//! | `suppressed` | sender | a fault injection dropped it; no system call was made |
//! | `refused` | sender | no connection could be made for it, one attempt, no retry, or its sender was closing its connections already; none of its bytes reached a connection |
//! | `sent` | sender | the kernel took all of its bytes; says nothing about delivery |
//! | `arrived` | receiver | all of its bytes came and were decoded as a frame for this process and run |
//! | `handled` | receiver | the state machine took it, in channel order where the algorithm declared FIFO |
//!
//! Every message begins with `attempted`. Messages to oneself appear nowhere. A run is quiescent
//! when attempted = handled + refused + suppressed over channels between live processes, twice in
//! a row (Mattern, *Algorithms for distributed termination detection*, 1987). `attempted` alone,
//! when its process was killed or its connection reset, is unknown: the wire decides.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::units::{Messages, Timestamp};

/// Length of whole frames in bytes: header and body.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FrameBytes(u64);

impl FrameBytes {
    /// A length of `n` bytes.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The bare number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::ops::AddAssign for FrameBytes {
    fn add_assign(&mut self, other: Self) {
        debug_assert!(
            self.0.checked_add(other.0).is_some(),
            "FrameBytes overflowed"
        );
        self.0 = self.0.saturating_add(other.0);
    }
}

/// What happened to a message. The module's documentation says exactly when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A process asked for it to be sent.
    Attempted,
    /// An injected fault dropped it.
    Suppressed,
    /// No connection could be made for it.
    Refused,
    /// The kernel took all of its bytes.
    Sent,
    /// It came and was decoded.
    Arrived,
    /// The state machine took it.
    Handled,
}

/// One line of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// When, by the recording node's clock.
    pub time: Timestamp,
    /// The process that recorded it.
    pub node: u32,
    /// The other end: the receiver of what `node` sends, the sender of what it receives.
    pub peer: u32,
    /// Incarnation of the message's sender, as in its header.
    pub incarnation: u32,
    /// The run.
    pub run: u64,
    /// The protocol's name.
    pub protocol: String,
    /// The message kind's name.
    pub kind: String,
    /// The operation that the message belongs to, 0 if to none.
    pub operation: u64,
    /// Its sequence number on the channel from its sender to its receiver.
    pub sequence: u64,
    /// The Lamport timestamp in its header.
    pub lamport: u64,
    /// Length of the whole frame, header included.
    pub bytes: FrameBytes,
    /// Why, for a refused message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why a message is refused that is sent when connections are being closed already: no connection
/// is tried for it.
pub const CLOSING: &str = "this process was closing its connections";

/// Now, as ledgers and histories write it.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Why a ledger cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A whole line that is no record.
    #[error("{path}, line {line}: not a ledger record: {source}")]
    Record {
        /// The ledger.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Appends to a ledger.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

impl Writer {
    /// Opens a ledger to append to, creating it where there is none.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|source| LedgerError::Io {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            line: Vec::with_capacity(320),
        })
    }

    /// Appends one record with one `write(2)`.
    pub fn append(&mut self, record: &Record) -> Result<(), LedgerError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record).expect("a record is plain data");
        self.line.push(b'\n');
        // Not write_all: a second write would let another process's line in between.
        let written = match self.file.write(&self.line) {
            Ok(n) if n == self.line.len() => Ok(()),
            Ok(n) => Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!(
                    "only {n} of a record's {} bytes were written",
                    self.line.len()
                ),
            )),
            Err(error) => Err(error),
        };
        written.map_err(|source| LedgerError::Io {
            path: self.path.clone(),
            source,
        })
    }
}

/// Reads a ledger record by record.
#[derive(Debug)]
pub struct Reader<R> {
    path: PathBuf,
    input: R,
    text: Vec<u8>,
    line: u64,
    torn: u64,
}

impl Reader<BufReader<File>> {
    /// Opens a ledger.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = File::open(path).map_err(|source| LedgerError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::new(path, BufReader::with_capacity(1 << 16, file)))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads a ledger from `input`; errors call it `path`.
    pub fn new(path: &Path, input: R) -> Self {
        Self {
            path: path.to_owned(),
            input,
            text: Vec::new(),
            line: 0,
            torn: 0,
        }
    }

    /// How many lines so far held a torn record.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.text.clear();
        match self.input.read_until(b'\n', &mut self.text) {
            Ok(0) => return None,
            Ok(_) => self.line += 1,
            Err(source) => {
                return Some(Err(LedgerError::Io {
                    path: self.path.clone(),
                    source,
                }));
            }
        }
        let source = match serde_json::from_slice(&self.text) {
            Ok(record) => return Some(Ok(record)),
            Err(source) => source,
        };
        let behind = behind_torn(&self.text);
        if behind.is_some() || self.text.last() != Some(&b'\n') {
            self.torn += 1;
            return behind.map(Ok);
        }
        Some(Err(LedgerError::Record {
            path: self.path.clone(),
            line: self.line,
            source,
        }))
    }
}

/// The record that another process appended behind a torn one, on the same line. What is before it
/// has to be the beginning of a JSON value and no whole one.
fn behind_torn(line: &[u8]) -> Option<Record> {
    let torn = |head: &[u8]| {
        serde_json::from_slice::<serde::de::IgnoredAny>(head).is_err_and(|error| error.is_eof())
    };
    let braces = (1..line.len()).rev().filter(|&at| line[at] == b'{');
    let (at, record) = braces
        .into_iter()
        .find_map(|at| Some((at, serde_json::from_slice(&line[at..]).ok()?)))?;
    torn(&line[..at]).then_some(record)
}

/// How often each event was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Asked for by a process.
    pub attempted: Messages,
    /// Dropped by an injected fault.
    pub suppressed: Messages,
    /// Without a connection.
    pub refused: Messages,
    /// Taken by the kernel.
    pub sent: Messages,
    /// Decoded by the receiver.
    pub arrived: Messages,
    /// Taken by the receiver's state machine.
    pub handled: Messages,
}

impl Counts {
    /// Counts one event.
    pub fn count(&mut self, event: Event) {
        *match event {
            Event::Attempted => &mut self.attempted,
            Event::Suppressed => &mut self.suppressed,
            Event::Refused => &mut self.refused,
            Event::Sent => &mut self.sent,
            Event::Arrived => &mut self.arrived,
            Event::Handled => &mut self.handled,
        } += 1;
    }

    /// Attempts of which the ledger does not tell what became: neither sent, suppressed nor
    /// refused. Each is one of a process that was killed or of a write that failed, and the wire
    /// decides.
    pub fn unsettled(&self) -> Messages {
        let settled = self.sent + self.suppressed + self.refused;
        Messages::new(self.attempted.get().saturating_sub(settled.get()))
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.suppressed += other.suppressed;
        self.refused += other.refused;
        self.sent += other.sent;
        self.arrived += other.arrived;
        self.handled += other.handled;
    }
}

/// Protocol and message kind by name.
pub type KindName = (String, String);

/// The totals of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// For each protocol and message kind.
    pub kinds: BTreeMap<KindName, Counts>,
    /// For each process that recorded, and each kind: what it sent and what it received.
    pub nodes: BTreeMap<u32, BTreeMap<KindName, Counts>>,
    /// Frames that the kernel took, header included.
    pub sent_bytes: FrameBytes,
    /// Frames that arrived, header included.
    pub arrived_bytes: FrameBytes,
    /// How many lines held a torn record: it is not counted.
    pub torn: u64,
}

impl Totals {
    /// The totals of one run in this ledger. Records of other runs are not counted.
    pub fn read(path: &Path, run: u64) -> Result<Self, LedgerError> {
        let mut reader = Reader::open(path)?;
        let mut totals = Self::default();
        for record in &mut reader {
            let record = record?;
            if record.run == run {
                totals.count(&record);
            }
        }
        totals.torn = reader.torn();
        Ok(totals)
    }

    /// Counts one record.
    pub fn count(&mut self, record: &Record) {
        let name = (record.protocol.clone(), record.kind.clone());
        let node = self.nodes.entry(record.node).or_default();
        node.entry(name.clone()).or_default().count(record.event);
        self.kinds.entry(name).or_default().count(record.event);
        match record.event {
            Event::Sent => self.sent_bytes += record.bytes,
            Event::Arrived => self.arrived_bytes += record.bytes,
            _ => {}
        }
    }

    /// The counts of one message kind.
    pub fn kind(&self, protocol: &str, kind: &str) -> Counts {
        self.kinds
            .get(&(protocol.to_owned(), kind.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    /// Who left attempts of a kind without telling what became of them, and how many
    /// ([`Counts::unsettled`]). Others are not listed.
    pub fn unsettled(&self, protocol: &str, kind: &str) -> BTreeMap<u32, Messages> {
        let name = (protocol.to_owned(), kind.to_owned());
        self.nodes
            .iter()
            .filter_map(|(&node, kinds)| Some((node, kinds.get(&name)?.unsettled())))
            .filter(|&(_, messages)| messages != Messages::ZERO)
            .collect()
    }

    /// The counts of all kinds together.
    pub fn all(&self) -> Counts {
        let mut all = Counts::default();
        self.kinds.values().for_each(|&counts| all += counts);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: Event, kind: &str, node: u32) -> Record {
        Record {
            event,
            time: Timestamp::from_nanos(5),
            node,
            peer: 1,
            incarnation: 1,
            run: 9,
            protocol: "ring".into(),
            kind: kind.into(),
            operation: 1,
            sequence: 1,
            lamport: 3,
            bytes: FrameBytes::new(60),
            reason: None,
        }
    }

    #[test]
    fn a_record_is_one_line_of_documented_fields() {
        let line = serde_json::to_string(&record(Event::Attempted, "token", 0)).unwrap();
        assert_eq!(
            line,
            r#"{"event":"attempted","time":5,"node":0,"peer":1,"incarnation":1,"run":9,"protocol":"ring","kind":"token","operation":1,"sequence":1,"lamport":3,"bytes":60}"#
        );
    }

    #[test]
    fn two_writers_append_to_one_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let (mut one, mut two) = (Writer::open(&path).unwrap(), Writer::open(&path).unwrap());
        for _ in 0..50 {
            one.append(&record(Event::Attempted, "token", 0)).unwrap();
            two.append(&record(Event::Handled, "token", 1)).unwrap();
        }
        one.append(&record(Event::Sent, "token", 0)).unwrap();
        let totals = Totals::read(&path, 9).unwrap();
        let counts = totals.kind("ring", "token");
        assert_eq!(
            (
                counts.attempted.get(),
                counts.sent.get(),
                counts.handled.get()
            ),
            (50, 1, 50)
        );
        assert_eq!(
            totals.unsettled("ring", "token"),
            BTreeMap::from([(0, Messages::new(49))])
        );
        assert_eq!(
            totals.nodes[&1][&("ring".into(), "token".into())]
                .handled
                .get(),
            50
        );
        assert_eq!(totals.sent_bytes.get(), 60);
        assert_eq!(totals.torn, 0);
    }

    #[test]
    fn records_of_another_run_in_the_file_are_not_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let mut writer = Writer::open(&path).unwrap();
        writer.append(&record(Event::Sent, "token", 0)).unwrap();
        let other = Record {
            run: 10,
            ..record(Event::Sent, "token", 0)
        };
        writer.append(&other).unwrap();
        assert_eq!(Totals::read(&path, 9).unwrap().all().sent.get(), 1);
        assert_eq!(Totals::read(&path, 11).unwrap(), Totals::default());
    }

    #[test]
    fn each_sender_answers_for_its_own_attempts() {
        let mut totals = Totals::default();
        for (event, node) in [
            (Event::Attempted, 0),
            (Event::Sent, 0),
            (Event::Attempted, 1),
            (Event::Attempted, 2),
            (Event::Refused, 2),
            (Event::Attempted, 3),
            (Event::Suppressed, 3),
        ] {
            totals.count(&record(event, "token", node));
        }
        assert_eq!(
            totals.unsettled("ring", "token"),
            BTreeMap::from([(1, Messages::new(1))])
        );
        assert!(totals.unsettled("ring", "rung").is_empty());
    }

    #[test]
    fn a_torn_record_in_the_middle_costs_itself_alone() {
        let whole = serde_json::to_string(&record(Event::Sent, "{to}ken", 0)).unwrap();
        let path = Path::new("ledger.jsonl");
        for cut in 1..whole.len() {
            let text = format!("{whole}\n{}{whole}\n{whole}\n", &whole[..cut]);
            let mut reader = Reader::new(path, text.as_bytes());
            let read: Result<Vec<Record>, _> = (&mut reader).collect();
            assert_eq!(
                read.map(|records| records.len()).unwrap(),
                3,
                "cut at {cut}"
            );
            assert_eq!(reader.torn(), 1, "cut at {cut}");
        }
        // Two whole values on a line are none that any node wrote, and neither is a stray word.
        for head in ["{\"event\":\"lost\"}", "x"] {
            let text = format!("{head}{whole}\n");
            let error = Reader::new(path, text.as_bytes()).find_map(Result::err);
            let error = error.unwrap_or_else(|| panic!("{head}")).to_string();
            assert!(error.starts_with("ledger.jsonl, line 1: "), "{error}");
        }
    }

    #[test]
    fn a_torn_last_line_is_legal_and_a_bad_line_is_named() {
        let whole = serde_json::to_string(&record(Event::Sent, "token", 0)).unwrap();
        let path = Path::new("ledger.jsonl");
        let torn = format!("{whole}\n{}", &whole[..40]);
        let mut reader = Reader::new(path, torn.as_bytes());
        assert_eq!((&mut reader).filter_map(Result::ok).count(), 1);
        assert_eq!(reader.torn(), 1);

        let bad = format!("{whole}\n{{\"event\":\"lost\"}}\n{whole}\n");
        let error = Reader::new(path, bad.as_bytes())
            .find_map(Result::err)
            .unwrap();
        assert!(
            error.to_string().starts_with("ledger.jsonl, line 2: "),
            "{error}"
        );
    }

    #[test]
    fn a_missing_ledger_is_named() {
        let error = Totals::read(Path::new("/nowhere/ledger.jsonl"), 9).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/ledger.jsonl: "));
    }
}
