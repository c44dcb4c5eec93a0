//! Two tables of captures: their messages and their connections, a row each.
//!
//! In: the logs of captures. Out: one file a table, as CSV, JSON or Parquet, all three from the one
//! list of columns that is here.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serializer;
use serde::ser::SerializeMap;

use super::{ExportError, ExportFormat, defused, without_remains};
use crate::analysis::{
    ConnectionCounted, ConnectionLog, ConnectionSeen, MessageLog, MessageSeen, WayCounted,
};
use crate::flow::TransportKind;
use crate::message::Way;
use crate::protocols;
use crate::report::make_folder;
use crate::units::Timestamp;

/// The messages and connections of a capture, one by one.
#[derive(Debug, Clone, Default)]
pub struct CaptureLog {
    /// The name that the user gave it.
    pub report: String,
    /// Its messages.
    pub messages: MessageLog,
    /// Its connections.
    pub connections: ConnectionLog,
}

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// UTF-8.
    Text,
    /// Yes or no.
    Flag,
    /// Nanoseconds since the Unix epoch.
    Time,
    /// An unsigned number of 32 bits.
    Small,
    /// An unsigned number of 64 bits.
    Number,
}

/// A column of a table of captures.
#[derive(Debug, Clone, Copy)]
pub struct LogColumn {
    /// Its name.
    pub name: &'static str,
    /// What it is: the words of `docs/exports.md`.
    pub about: &'static str,
    /// What its cells are.
    pub kind: CellKind,
    /// Whether a cell may have no value.
    pub optional: bool,
}

impl LogColumn {
    const fn new(name: &'static str, kind: CellKind, about: &'static str) -> Self {
        Self {
            name,
            about,
            kind,
            optional: false,
        }
    }

    const fn optional(name: &'static str, kind: CellKind, about: &'static str) -> Self {
        Self {
            optional: true,
            ..Self::new(name, kind, about)
        }
    }
}

/// A value, of the column's [`CellKind`] where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// There is none.
    Absent,
    /// See [`CellKind::Text`].
    Text(Cow<'a, str>),
    /// See [`CellKind::Flag`].
    Flag(bool),
    /// See [`CellKind::Time`].
    Time(Timestamp),
    /// See [`CellKind::Small`].
    Small(u32),
    /// See [`CellKind::Number`].
    Number(u64),
}

/// A table of captures.
#[derive(Debug)]
pub struct LogTable<F: 'static> {
    /// Its name: that of its file, without the ending.
    pub name: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Its columns.
    columns: &'static [(LogColumn, F)],
}

impl<F> LogTable<F> {
    /// Its columns in their order.
    pub fn columns(&self) -> impl Iterator<Item = &'static LogColumn> {
        self.columns.iter().map(|(column, _)| column)
    }

    #[cfg(feature = "parquet")]
    pub(super) fn cells(&self) -> impl Iterator<Item = &'static (LogColumn, F)> {
        self.columns.iter()
    }
}

/// A message of a capture.
#[derive(Debug, Clone, Copy)]
pub struct MessageRow<'a> {
    report: &'a str,
    message: &'a MessageSeen,
}

/// A connection of a capture.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRow<'a> {
    report: &'a str,
    protocol: Option<&'a str>,
    connection: &'a ConnectionCounted,
}

type OfMessage = for<'a> fn(MessageRow<'a>) -> Cell<'a>;
type OfConnection = for<'a> fn(ConnectionRow<'a>) -> Cell<'a>;

const REPORT: LogColumn = LogColumn::new(
    "report",
    CellKind::Text,
    "the folder or capture as it was named on the command line",
);

/// The table of messages.
pub const MESSAGES: LogTable<OfMessage> = {
    use Cell::{Flag, Number, Small, Text, Time};
    use CellKind as Kind;
    LogTable {
        name: "messages",
        about: "a message on the wire. What TCP transmitted twice is one message",
        columns: &[
            (REPORT, |row| text(row.report)),
            (
                LogColumn::optional("protocol", Kind::Text, "the protocol's name"),
                |row| {
                    let known = protocols::by_number(row.message.label.protocol);
                    known.map_or(Cell::Absent, |known| text(&known.name))
                },
            ),
            (
                LogColumn::new("kind", Kind::Text, "the message kind's name"),
                |row| {
                    let label = &row.message.label;
                    Text(protocols::kind_name(label.protocol, label.kind))
                },
            ),
            (
                LogColumn::new("run", Kind::Number, "the run's id in the frame"),
                |row| Number(row.message.label.run),
            ),
            (
                LogColumn::new(
                    "operation",
                    Kind::Number,
                    "the operation that it belongs to, 0 for none",
                ),
                |row| Number(row.message.label.operation),
            ),
            (
                LogColumn::new("sender", Kind::Small, "sending process"),
                |row| Small(row.message.label.sender),
            ),
            (
                LogColumn::new("incarnation", Kind::Small, "which start of the sender"),
                |row| Small(row.message.label.incarnation),
            ),
            (
                LogColumn::new("receiver", Kind::Small, "receiving process"),
                |row| Small(row.message.label.receiver),
            ),
            (
                LogColumn::new(
                    "sequence",
                    Kind::Number,
                    "its place on the channel from sender to receiver",
                ),
                |row| Number(row.message.label.sequence),
            ),
            (
                LogColumn::new("lamport", Kind::Number, "the sender's Lamport timestamp"),
                |row| Number(row.message.label.timestamp),
            ),
            (
                LogColumn::new(
                    "time_ns",
                    Kind::Time,
                    "when its last byte passed, or it was given up",
                ),
                |row| Time(row.message.time),
            ),
            (
                LogColumn::new("body", Kind::Number, "bytes of its body, by its header"),
                |row| Number(row.message.body.get()),
            ),
            (
                LogColumn::new("framing", Kind::Number, "bytes of its header"),
                |row| Number(row.message.framing.get()),
            ),
            (
                LogColumn::new("whole", Kind::Flag, "whether all of its bytes passed"),
                |row| Flag(row.message.whole),
            ),
            (
                LogColumn::new(
                    "acknowledged",
                    Kind::Flag,
                    "whether the receiver's TCP acknowledged its last byte",
                ),
                |row| Flag(row.message.acknowledged),
            ),
            (
                LogColumn::new(
                    "connection",
                    Kind::Number,
                    "`connection` in the table `connections`",
                ),
                |row| Number(row.message.connection),
            ),
            (
                LogColumn::new(
                    "to_listener",
                    Kind::Flag,
                    "whether it went towards the listening end",
                ),
                |row| Flag(row.message.way == Way::ToListener),
            ),
            (
                LogColumn::new(
                    "stream_end",
                    Kind::Number,
                    "stream offset behind its last byte",
                ),
                |row| Number(row.message.end),
            ),
        ],
    }
};

/// A column of what went one way of a connection.
macro_rules! way {
    ($way:expr, $name:expr, $about:expr, $value:expr) => {
        (LogColumn::new($name, CellKind::Number, $about), |row| {
            let value: fn(&WayCounted) -> u64 = $value;
            Cell::Number(value(&row.connection.ways[$way as usize]))
        })
    };
}

macro_rules! to_listener {
    ($name:literal, $about:literal, $value:expr) => {
        way!(
            Way::ToListener,
            concat!("to_listener_", $name),
            concat!("towards the listener: ", $about),
            $value
        )
    };
}

macro_rules! from_listener {
    ($name:literal, $about:literal, $value:expr) => {
        way!(
            Way::FromListener,
            concat!("from_listener_", $name),
            concat!("from the listener: ", $about),
            $value
        )
    };
}

/// The table of connections.
pub const CONNECTIONS: LogTable<OfConnection> = {
    use Cell::{Flag, Number, Text};
    use CellKind as Kind;
    LogTable {
        name: "connections",
        about: "a TCP connection or UDP flow, with what it carried each way",
        columns: &[
            (REPORT, |row| text(row.report)),
            (
                LogColumn::new(
                    "connection",
                    Kind::Number,
                    "tells it from every other of the capture; in the order of their first packets",
                ),
                |row| Number(row.seen().serial),
            ),
            (
                LogColumn::optional(
                    "protocol",
                    Kind::Text,
                    "the protocol whose port the listener has, none where no protocol has it",
                ),
                |row| row.protocol.map_or(Cell::Absent, text),
            ),
            (
                LogColumn::new(
                    "foreign",
                    Kind::Flag,
                    "whether what it carried is not of that protocol, though its port is",
                ),
                |row| Flag(row.connection.foreign),
            ),
            (
                LogColumn::new("transport", Kind::Text, "`tcp` or `udp`"),
                |row| {
                    text(match row.connection.transport {
                        TransportKind::Tcp => "tcp",
                        TransportKind::Udp => "udp",
                    })
                },
            ),
            (
                LogColumn::new("initiator", Kind::Text, "address and port that dialled"),
                |row| Text(row.seen().initiator.to_string().into()),
            ),
            (
                LogColumn::new("listener", Kind::Text, "address and port that listened"),
                |row| Text(row.seen().listener.to_string().into()),
            ),
            (
                LogColumn::new("opened_ns", Kind::Time, "time of its first packet"),
                |row| Cell::Time(row.seen().opened),
            ),
            (
                LogColumn::new("last_seen_ns", Kind::Time, "time of its last packet"),
                |row| Cell::Time(row.seen().last_seen),
            ),
            (
                LogColumn::new(
                    "mid_stream",
                    Kind::Flag,
                    "whether its SYN was not seen: it began before the capture, or its beginning was lost",
                ),
                |row| Flag(row.connection.mid_stream),
            ),
            (
                LogColumn::optional(
                    "ended",
                    Kind::Text,
                    "how it ended: `refused` (its SYN was answered by RST), `reset`, or `closed` (by FIN both \
                     ways, all of it acknowledged); none where no end was seen, as of UDP",
                ),
                |row| row.ended().map_or(Cell::Absent, text),
            ),
            (
                LogColumn::new("refused", Kind::Flag, "whether its SYN was answered by RST"),
                |row| Flag(row.seen().refused),
            ),
            (
                LogColumn::optional(
                    "reset_by_initiator_ns",
                    Kind::Time,
                    "when its initiator reset it, none where it did not",
                ),
                |row| row.reset(Way::ToListener),
            ),
            (
                LogColumn::optional(
                    "reset_by_listener_ns",
                    Kind::Time,
                    "when its listener reset or refused it",
                ),
                |row| row.reset(Way::FromListener),
            ),
            (
                LogColumn::new(
                    "closed",
                    Kind::Flag,
                    "whether it was reset, or closed both ways and all of it acknowledged",
                ),
                |row| Flag(row.seen().closed),
            ),
            to_listener!("packets", "packets, those without payload too", |way| way
                .packets
                .get()),
            to_listener!("messages", "complete messages", |way| way.messages.get()),
            to_listener!(
                "incomplete_messages",
                "messages of which bytes are missing",
                |way| way.incomplete_messages.get()
            ),
            to_listener!("payload", "unique transport payload in bytes", |way| way
                .payload
                .get()),
            to_listener!("retransmitted", "payload bytes seen again", |way| way
                .retransmitted
                .get()),
            to_listener!(
                "gap_bytes",
                "stream bytes that no packet showed; outside the payload",
                |way| way.gap_bytes.get()
            ),
            to_listener!("ip", "bytes of IP packets", |way| way.ip.get()),
            to_listener!("wire", "bytes of frames", |way| way.wire.get()),
            from_listener!("packets", "packets, those without payload too", |way| way
                .packets
                .get()),
            from_listener!("messages", "complete messages", |way| way.messages.get()),
            from_listener!(
                "incomplete_messages",
                "messages of which bytes are missing",
                |way| way.incomplete_messages.get()
            ),
            from_listener!("payload", "unique transport payload in bytes", |way| way
                .payload
                .get()),
            from_listener!("retransmitted", "payload bytes seen again", |way| way
                .retransmitted
                .get()),
            from_listener!(
                "gap_bytes",
                "stream bytes that no packet showed; outside the payload",
                |way| way.gap_bytes.get()
            ),
            from_listener!("ip", "bytes of IP packets", |way| way.ip.get()),
            from_listener!("wire", "bytes of frames", |way| way.wire.get()),
        ],
    }
};

fn text(text: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(text))
}

impl<'a> ConnectionRow<'a> {
    fn seen(&self) -> &'a ConnectionSeen {
        &self.connection.seen
    }

    fn reset(&self, way: Way) -> Cell<'a> {
        self.seen().reset[way as usize].map_or(Cell::Absent, Cell::Time)
    }

    fn ended(&self) -> Option<&'static str> {
        let seen = self.seen();
        if seen.refused {
            Some("refused")
        } else if seen.reset != [None; 2] {
            Some("reset")
        } else {
            seen.closed.then_some("closed")
        }
    }
}

/// Writes the messages and the connections of these captures as tables into a folder, which is made
/// where there is none. Returns how many tables these are.
///
/// # Errors
///
/// [`ExportError`]: nothing is replaced, and nothing written where one of the files is there.
pub fn export_logs(
    logs: &[CaptureLog],
    format: ExportFormat,
    folder: &Path,
) -> Result<usize, ExportError> {
    let file = |name: &str| folder.join(format!("{name}.{}", format.ending()));
    let files = [file(MESSAGES.name), file(CONNECTIONS.name)];
    if let Some(taken) = files.iter().find(|path| path.exists()) {
        return Err(ExportError::Taken(taken.clone()));
    }
    make_folder(folder).map_err(ExportError::cannot_write(folder))?;
    let [to_messages, to_connections] = &files;
    export_messages(logs, format, to_messages)?;
    export_connections(logs, format, to_connections)?;
    Ok(files.len())
}

/// Writes the messages of these captures as a table into a new file.
///
/// # Errors
///
/// [`ExportError::Write`], also where the file is there already.
pub fn export_messages(
    logs: &[CaptureLog],
    format: ExportFormat,
    path: &Path,
) -> Result<(), ExportError> {
    let rows = logs.iter().flat_map(|log| {
        let report = log.report.as_str();
        let messages = log.messages.messages.iter();
        messages.map(move |message| MessageRow { report, message })
    });
    let written = write(&MESSAGES, rows, |row, of| of(row), format, path);
    without_remains(written, path).map_err(ExportError::cannot_write(path))
}

/// Writes the connections of these captures as a table into a new file.
///
/// # Errors
///
/// As [`export_messages`].
pub fn export_connections(
    logs: &[CaptureLog],
    format: ExportFormat,
    path: &Path,
) -> Result<(), ExportError> {
    let rows = logs.iter().flat_map(|log| {
        let connections = log.connections.connections.iter();
        connections.map(|connection| ConnectionRow {
            report: &log.report,
            protocol: log.connections.protocol_of(connection),
            connection,
        })
    });
    let written = write(&CONNECTIONS, rows, |row, of| of(row), format, path);
    without_remains(written, path).map_err(ExportError::cannot_write(path))
}

/// Writes a table of these rows. `cell` is a row's value in a column.
fn write<'a, F, R: Copy>(
    table: &LogTable<F>,
    rows: impl Iterator<Item = R>,
    cell: impl Fn(R, &F) -> Cell<'a>,
    format: ExportFormat,
    path: &Path,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(path)?);
    match format {
        ExportFormat::Csv => {
            let mut csv = csv::Writer::from_writer(&mut file);
            csv.write_record(table.columns().map(|column| column.name))?;
            for row in rows {
                let cells = table.columns.iter().map(|(_, of)| cell(row, of));
                csv.write_record(cells.map(in_csv))?;
            }
            csv.flush()?;
        }
        ExportFormat::Json => {
            let mut json = serde_json::Serializer::new(&mut file);
            let cell = &cell;
            json.collect_seq(rows.map(|row| Object {
                table,
                cell: move |of: &F| cell(row, of),
            }))?;
        }
        #[cfg(feature = "parquet")]
        ExportFormat::Parquet => {
            return super::parquet::write(table, rows, cell, file);
        }
    }
    file.flush()
}

fn in_csv(cell: Cell<'_>) -> String {
    match cell {
        Cell::Absent => String::new(),
        Cell::Text(text) => defused(&text).into_owned(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Time(time) => time.as_nanos().to_string(),
        Cell::Small(number) => number.to_string(),
        Cell::Number(number) => number.to_string(),
    }
}

/// A row as a JSON object.
struct Object<'t, F: 'static, C> {
    table: &'t LogTable<F>,
    cell: C,
}

impl<'a, F, C: Fn(&F) -> Cell<'a>> serde::Serialize for Object<'_, F, C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.table.columns.len()))?;
        for (column, of) in self.table.columns {
            let name = column.name;
            match (self.cell)(of) {
                Cell::Absent => object.serialize_entry(name, &())?,
                Cell::Text(text) => object.serialize_entry(name, &text)?,
                Cell::Flag(flag) => object.serialize_entry(name, &flag)?,
                Cell::Time(time) => object.serialize_entry(name, &time.as_nanos())?,
                Cell::Small(number) => object.serialize_entry(name, &number)?,
                Cell::Number(number) => object.serialize_entry(name, &number)?,
            }
        }
        object.end()
    }
}
