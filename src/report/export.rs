//! The report's tables as plain rows, for spreadsheets and data frames: CSV and JSON.
//!
//! In: saved reports, and the logs of captures ([`CaptureLog`]). Out: one file a table, whose columns
//! are listed in `docs/exports.md`. Values are those of `report.json`, to the last digit; nothing is
//! computed here. A cell that the report has no value for is empty in CSV and null in JSON.

mod log;
#[cfg(feature = "parquet")]
mod parquet;

pub use log::{
    CONNECTIONS, CaptureLog, CellKind, ConnectionRow, LogColumn, LogTable, MESSAGES, MessageRow,
    export_connections, export_logs, export_messages,
};
#[cfg(feature = "parquet")]
pub use parquet::ROWS_A_GROUP;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::sweep::SweepReport;
use super::{Report, make_folder};

/// A table of the export.
#[derive(Debug, Clone, Copy)]
pub struct ExportTable {
    /// Its name: that of its file, without the ending.
    pub name: &'static str,
    /// What a row is.
    pub about: &'static str,
    /// Its columns, beside `report`, and where a row's object has their values.
    pub columns: &'static [(&'static str, &'static str)],
    rows: fn(&Value) -> Vec<Value>,
}

/// Columns that tell of which protocol a row is.
macro_rules! of_protocol {
    ($($column:expr),* $(,)?) => {
        &[("protocol", "/protocol"), ("foreign", "/foreign"), $($column),*]
    };
}

/// All tables.
pub const TABLES: &[ExportTable] = &[
    ExportTable {
        name: "reports",
        about: "a report: where its packets came from and how complete they are",
        columns: &[
            ("schema", "/schema"),
            ("tool", "/tool/name"),
            ("version", "/tool/version"),
            ("kind", "/source/kind"),
            ("interface", "/source/interface"),
            ("first_packet", "/source/first_packet"),
            ("last_packet", "/source/last_packet"),
            ("partial", "/source/partial"),
            ("completeness", "/completeness/state"),
            ("packets_seen", "/completeness/packets_seen"),
            ("packets_dropped", "/completeness/packets_dropped"),
            ("softnet_dropped", "/completeness/softnet_dropped"),
            ("gaps", "/completeness/gaps"),
            ("gap_bytes", "/completeness/gap_bytes"),
            ("truncated_packets", "/completeness/truncated_packets"),
            ("unclassified_packets", "/unclassified/packets/total"),
            ("unclassified_ip", "/unclassified/bytes/ip"),
            ("undecoded_packets", "/undecoded/packets/total"),
            ("undecoded_wire", "/undecoded/bytes/wire"),
            ("algorithm", "/run/algorithm"),
            ("processes", "/run/processes"),
            ("connections", "/run/connections"),
            ("operations", "/run/operations"),
            ("ended", "/run/ended"),
            ("succeeded", "/run/succeeded"),
            ("time_ns", "/run/time"),
            ("verdict", "/audit/verdict"),
            ("host_energy", "/host_energy/state"),
            ("host_joules", "/host_energy/joules"),
            ("host_joules_above_idle", "/host_energy/above_idle/joules"),
            ("host_seconds", "/host_energy/seconds"),
        ],
        rows: |report| vec![report.clone()],
    },
    ExportTable {
        name: "protocols",
        about: "a protocol of a report",
        columns: &[
            ("protocol", "/name"),
            ("foreign", "/foreign"),
            ("ports", "/ports"),
            ("framing", "/framing"),
            ("approximate", "/approximate"),
            ("connections", "/connections"),
            ("refused_connections", "/refused_connections"),
            ("messages", "/messages"),
            ("incomplete_messages", "/incomplete_messages"),
            ("packets", "/packets/total"),
            ("message_bytes", "/bytes/message"),
            ("payload_bytes", "/bytes/payload"),
            ("ip_bytes", "/bytes/ip"),
            ("wire_bytes", "/bytes/wire"),
            ("goodput_share", "/goodput_share"),
            ("to_listener_messages", "/to_listener/messages"),
            ("to_listener_packets", "/to_listener/packets"),
            ("to_listener_payload", "/to_listener/payload"),
            ("from_listener_messages", "/from_listener/messages"),
            ("from_listener_packets", "/from_listener/packets"),
            ("from_listener_payload", "/from_listener/payload"),
            ("projection_mtu", "/projection/mtu"),
            ("projection_frames", "/projection/frames"),
            ("projection_l2_bytes", "/projection/l2_bytes"),
            ("projection_line_bytes", "/projection/line_bytes"),
            ("operation", "/operations/kind"),
            ("operations_on_wire", "/operations/count"),
            ("operations", "/per_operation/operations"),
            ("messages_per_operation", "/per_operation/messages"),
            ("packets_per_operation", "/per_operation/packets"),
            ("ip_bytes_per_operation", "/per_operation/ip"),
            ("joules_per_operation", "/per_operation/joules"),
            ("grams_per_operation", "/per_operation/grams"),
            ("sci_operational_grams", "/sci/operational"),
            ("sci_embodied_grams", "/sci/embodied"),
            ("sci_grams", "/sci/grams"),
            ("gas", "/carbon/gas"),
        ],
        rows: |report| protocols_of(report).cloned().collect(),
    },
    ExportTable {
        name: "kinds",
        about: "a message kind of a protocol",
        columns: of_protocol![
            ("kind", "/key"),
            ("messages", "/value"),
            ("acknowledged", "/acknowledged"),
        ],
        rows: |report| {
            of_each(report, |protocol| {
                let acknowledged = protocol.get("acknowledged_by_kind");
                let rows = entries(protocol.get("messages_by_kind"));
                rows.map(|mut row| {
                    let kind = row["key"].as_str().unwrap_or_default();
                    let count = acknowledged.and_then(|counts| counts.get(kind));
                    row["acknowledged"] = count.cloned().unwrap_or(Value::Null);
                    row
                })
                .collect()
            })
        },
    },
    ExportTable {
        name: "packets",
        about: "a class of a protocol's packets",
        columns: of_protocol![
            ("class", "/key"),
            ("packets", "/packets"),
            ("ip_bytes", "/value"),
        ],
        rows: |report| {
            of_each(report, |protocol| {
                let rows = entries(protocol.get("bytes_by_class"));
                rows.map(|mut row| {
                    let class = row["key"].as_str().unwrap_or_default();
                    row["packets"] = protocol["packets"][class].clone();
                    row
                })
                .collect()
            })
        },
    },
    ExportTable {
        name: "bytes",
        about: "a layer of a protocol's bytes; some are sums of others (docs/report.md)",
        columns: of_protocol![("layer", "/key"), ("bytes", "/value")],
        rows: |report| of_each(report, |protocol| entries(protocol.get("bytes")).collect()),
    },
    ExportTable {
        name: "pairs",
        about: "a sender and a receiver",
        columns: of_protocol![
            ("from", "/from"),
            ("to", "/to"),
            ("messages", "/messages"),
            ("payload", "/payload"),
        ],
        rows: |report| of_each(report, |protocol| list(protocol.get("pairs"))),
    },
    ExportTable {
        name: "series",
        about: "a time bucket of a protocol that is not empty",
        columns: of_protocol![
            ("start_ns", "/start"),
            ("bucket_ns", "/bucket_ns"),
            ("messages", "/value/messages"),
            ("packets", "/value/packets"),
            ("ip_bytes", "/value/ip"),
        ],
        rows: |report| {
            of_each(report, |protocol| {
                let series = &protocol["series"];
                let rows = entries(series.get("buckets")).map(|mut row| {
                    row["start"] = integer(&row["key"]);
                    row["bucket_ns"] = series["bucket_ns"].clone();
                    row
                });
                in_order(rows.collect(), "start")
            })
        },
    },
    ExportTable {
        name: "latency",
        about: "a bucket of a distribution of times",
        columns: of_protocol![("of", "/of"), ("from_ns", "/from"), ("count", "/value"),],
        rows: |report| {
            of_each(report, |protocol| {
                let mut rows = Vec::new();
                for distribution in entries(protocol.get("latency")) {
                    let buckets = entries(distribution["value"].get("buckets"));
                    let buckets = buckets.map(|mut row| {
                        row["of"] = distribution["key"].clone();
                        row["from"] = integer(&row["key"]);
                        row
                    });
                    rows.extend(in_order(buckets.collect(), "from"));
                }
                rows
            })
        },
    },
    ExportTable {
        name: "estimates",
        about: "energy and emissions of a protocol by a model, the headline first",
        columns: of_protocol![
            ("model", "/energy/model"),
            ("headline", "/headline"),
            ("class", "/energy/class"),
            ("scope", "/energy/scope"),
            ("counted", "/energy/counted"),
            ("hops", "/energy/hops"),
            ("pue", "/energy/pue"),
            ("year", "/energy/year"),
            ("verified", "/energy/verified"),
            ("joules", "/energy/joules"),
            ("joules_low", "/energy/low"),
            ("joules_high", "/energy/high"),
            ("joules_embodied", "/energy/embodied"),
            ("grid", "/carbon/grid"),
            ("grid_year", "/carbon/year"),
            ("grams_per_kwh", "/carbon/grams_per_kwh"),
            ("gas", "/carbon/gas"),
            ("gwp_basis", "/carbon/gwp_basis"),
            ("grams", "/carbon/grams"),
            ("grams_low", "/carbon/low"),
            ("grams_high", "/carbon/high"),
            ("boundary", "/energy/boundary"),
            ("source", "/energy/source"),
        ],
        rows: |report| {
            of_each(report, |protocol| {
                let (energy, carbon) = (&protocol["energy"], &protocol["carbon"]);
                let headline = json!({ "energy": energy, "carbon": carbon, "headline": true });
                let others = list(protocol.get("estimates")).into_iter();
                let others = others.map(|mut estimate| {
                    estimate["headline"] = Value::Bool(false);
                    estimate
                });
                std::iter::once(headline).chain(others).collect()
            })
        },
    },
    ExportTable {
        name: "accounts",
        about: "a message kind in the audit",
        columns: &[
            ("protocol", "/protocol"),
            ("kind", "/kind"),
            ("expected", "/exact"),
            ("expected_low", "/low"),
            ("expected_high", "/high"),
            ("attempted", "/attempted"),
            ("suppressed", "/suppressed"),
            ("refused", "/refused"),
            ("unknown", "/unknown"),
            ("sent", "/sent"),
            ("acknowledged", "/acknowledged"),
            ("received", "/received"),
            ("handled", "/handled"),
            ("wire", "/wire"),
            ("verdict", "/verdict"),
            ("explanation", "/explanation"),
        ],
        rows: |report| {
            let rows = list(report.pointer("/audit/rows")).into_iter();
            rows.map(|row| with_ends(row, "expected")).collect()
        },
    },
    ExportTable {
        name: "findings",
        about: "a message that does not match one to one: the audit's first hundred",
        columns: &[
            ("sender", "/sender"),
            ("incarnation", "/incarnation"),
            ("receiver", "/receiver"),
            ("sequence", "/sequence"),
            ("kind", "/kind"),
            ("finding", "/finding"),
            ("verdict", "/verdict"),
            ("why", "/why"),
        ],
        rows: |report| list(report.pointer("/audit/messages/unmatched")),
    },
    ExportTable {
        name: "identities",
        about: "a relation between the numbers of several kinds",
        columns: &[
            ("protocol", "/protocol"),
            ("text", "/text"),
            ("holds", "/holds"),
            ("attempted", "/attempted"),
            ("wire", "/wire"),
            ("verdict", "/verdict"),
        ],
        rows: |report| list(report.pointer("/audit/identities")),
    },
    ExportTable {
        name: "fault_costs",
        about: "a run with faults, or the same run without",
        columns: &[
            ("faults", "/key"),
            ("succeeded", "/value/succeeded"),
            ("messages", "/value/messages"),
            ("packets", "/value/packets"),
            ("retransmissions", "/value/retransmissions"),
            ("ip_bytes", "/value/ip"),
            ("wire_bytes", "/value/wire"),
            ("joules", "/value/joules"),
            ("time_ns", "/value/time"),
        ],
        rows: |report| entries(report.get("fault_cost")).collect(),
    },
    ExportTable {
        name: "properties",
        about: "a promise of the algorithm in a run",
        columns: &[
            ("property", "/name"),
            ("kind", "/kind"),
            ("holds", "/holds"),
            ("about", "/about"),
            ("why", "/why"),
        ],
        rows: |report| list(report.pointer("/run/properties")),
    },
];

/// The tables of sweeps.
pub const SWEEP_TABLES: &[ExportTable] = &[
    ExportTable {
        name: "sweeps",
        about: "a sweep: what is the same in all of its runs",
        columns: &[
            ("schema", "/schema"),
            ("version", "/tool/version"),
            ("wanted", "/wanted"),
            ("ended", "/ended"),
            ("rounds", "/conditions/rounds"),
            ("connections", "/conditions/connections"),
            ("payload", "/conditions/payload"),
            ("repeat", "/conditions/repeat"),
            ("mtu", "/conditions/mtu"),
            ("seed", "/conditions/seed"),
            ("energy", "/conditions/energy"),
        ],
        rows: |sweep| vec![sweep.clone()],
    },
    ExportTable {
        name: "sweep_points",
        about: "an algorithm with a number of processes: medians of the runs whose accounts agree",
        columns: &[
            ("algorithm", "/algorithm"),
            ("n", "/n"),
            ("runs", "/runs"),
            ("formula", "/exact"),
            ("formula_low", "/low"),
            ("formula_high", "/high"),
            ("messages", "/measured/messages/median"),
            ("messages_least", "/measured/messages/least"),
            ("messages_greatest", "/measured/messages/greatest"),
            ("packets", "/measured/packets/median"),
            ("packets_least", "/measured/packets/least"),
            ("packets_greatest", "/measured/packets/greatest"),
            ("ip_bytes", "/measured/ip/median"),
            ("ip_bytes_least", "/measured/ip/least"),
            ("ip_bytes_greatest", "/measured/ip/greatest"),
            ("wire_bytes", "/measured/wire/median"),
            ("wire_bytes_least", "/measured/wire/least"),
            ("wire_bytes_greatest", "/measured/wire/greatest"),
            ("joules", "/measured/joules/median"),
            ("joules_least", "/measured/joules/least"),
            ("joules_greatest", "/measured/joules/greatest"),
            ("time_ns", "/measured/time/median"),
            ("time_ns_least", "/measured/time/least"),
            ("time_ns_greatest", "/measured/time/greatest"),
            ("predicted_messages", "/predicted/messages"),
            ("predicted_ip_bytes", "/predicted/ip"),
            ("predicted_wire_bytes", "/predicted/wire"),
            ("predicted_joules", "/predicted/joules"),
        ],
        rows: |sweep| {
            let rows = list(sweep.get("points")).into_iter();
            rows.map(|row| with_ends(row, "formula")).collect()
        },
    },
    ExportTable {
        name: "sweep_runs",
        about: "a run of a sweep, whether its accounts agree (`exit_code` 0) or not",
        columns: &[
            ("algorithm", "/algorithm"),
            ("n", "/n"),
            ("repeat", "/repeat"),
            ("folder", "/folder"),
            ("verdict", "/verdict"),
            ("exit_code", "/exit_code"),
            ("problem", "/problems/0"),
            ("took_ns", "/took"),
            ("formula", "/exact"),
            ("formula_low", "/low"),
            ("formula_high", "/high"),
            ("succeeded", "/cost/succeeded"),
            ("messages", "/cost/messages"),
            ("packets", "/cost/packets"),
            ("retransmissions", "/cost/retransmissions"),
            ("ip_bytes", "/cost/ip"),
            ("wire_bytes", "/cost/wire"),
            ("joules", "/cost/joules"),
            ("time_ns", "/cost/time"),
        ],
        rows: |sweep| {
            let rows = list(sweep.get("cells")).into_iter();
            rows.map(|row| with_ends(row, "formula")).collect()
        },
    },
    ExportTable {
        name: "sweep_skipped",
        about: "an algorithm that is not possible with a number of processes",
        columns: &[
            ("algorithm", "/algorithm"),
            ("n", "/n"),
            ("reason", "/reason"),
        ],
        rows: |sweep| list(sweep.get("skipped")),
    },
];

/// The row with one number where a formula has one, and its ends where it is an interval.
fn with_ends(mut row: Value, formula: &str) -> Value {
    let formula = row[formula].clone();
    match formula.is_object() {
        true => {
            row["low"] = formula["low"].clone();
            row["high"] = formula["high"].clone();
        }
        false => row["exact"] = formula,
    }
    row
}

fn protocols_of(report: &Value) -> impl Iterator<Item = &Value> {
    report["protocols"].as_array().into_iter().flatten()
}

/// Rows of every protocol, with its name.
fn of_each(report: &Value, rows: impl Fn(&Value) -> Vec<Value>) -> Vec<Value> {
    let mut all = Vec::new();
    for protocol in protocols_of(report) {
        for mut row in rows(protocol) {
            row["protocol"] = protocol["name"].clone();
            row["foreign"] = protocol["foreign"].clone();
            all.push(row);
        }
    }
    all
}

fn list(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// An object's entries, as `key` and `value`.
fn entries(value: Option<&Value>) -> impl Iterator<Item = Value> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| json!({ "key": key, "value": value }))
}

/// The number that a key of an object is.
fn integer(key: &Value) -> Value {
    let number = key.as_str().and_then(|key| key.parse::<i64>().ok());
    number.map_or(Value::Null, Value::from)
}

fn in_order(mut rows: Vec<Value>, by: &str) -> Vec<Value> {
    rows.sort_by_key(|row| row[by].as_i64());
    rows
}

/// Why reports cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file of that name is there.
    #[error("{0} is there already: choose another folder, or delete it")]
    Taken(PathBuf),
    /// The system refuses.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        error: io::Error,
    },
    /// Parquet has only the tables of captures.
    #[cfg(feature = "parquet")]
    #[error(
        "the tables of reports are written as CSV or JSON: Parquet is for messages and connections"
    )]
    OnlyOfCaptures,
}

impl ExportError {
    fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Write { path, error }
    }
}

/// What tables are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// RFC 4180 with a heading, UTF-8, lines that end with LF.
    Csv,
    /// An array of objects.
    Json,
    /// Apache Parquet, for the tables of captures alone.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl ExportFormat {
    fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            #[cfg(feature = "parquet")]
            Self::Parquet => "parquet",
        }
    }
}

/// Writes every table over all of these reports, each with the name that the user gave it, into a
/// folder, which is made where there is none.
///
/// # Errors
///
/// [`ExportError`]: nothing is replaced, and nothing written where one of the files is there.
pub fn export(
    reports: &[(String, Report)],
    format: ExportFormat,
    folder: &Path,
) -> Result<(), ExportError> {
    #[cfg(feature = "parquet")]
    if format == ExportFormat::Parquet {
        return Err(ExportError::OnlyOfCaptures);
    }
    write_tables(TABLES, reports, format, folder)
}

/// Writes every table over all of these sweeps, as [`export()`] does with reports.
///
/// # Errors
///
/// As [`export()`].
pub fn export_sweeps(
    sweeps: &[(String, SweepReport)],
    format: ExportFormat,
    folder: &Path,
) -> Result<(), ExportError> {
    #[cfg(feature = "parquet")]
    if format == ExportFormat::Parquet {
        return Err(ExportError::OnlyOfCaptures);
    }
    write_tables(SWEEP_TABLES, sweeps, format, folder)
}

fn write_tables<R: Serialize>(
    tables: &[ExportTable],
    reports: &[(String, R)],
    format: ExportFormat,
    folder: &Path,
) -> Result<(), ExportError> {
    let values: Vec<(&str, Value)> = reports
        .iter()
        .map(|(name, report)| (name.as_str(), json!(report)))
        .collect();
    let file = |table: &ExportTable| folder.join(format!("{}.{}", table.name, format.ending()));
    if let Some(taken) = tables.iter().map(file).find(|path| path.exists()) {
        return Err(ExportError::Taken(taken));
    }
    make_folder(folder).map_err(ExportError::cannot_write(folder))?;
    for table in tables {
        let path = file(table);
        let written = File::create_new(&path).and_then(|file| {
            let mut file = BufWriter::new(file);
            match format {
                ExportFormat::Csv => write_csv(table, &values, &mut file)?,
                ExportFormat::Json => write_json(table, &values, &mut file)?,
                #[cfg(feature = "parquet")]
                ExportFormat::Parquet => {}
            }
            file.flush()
        });
        without_remains(written, &path).map_err(ExportError::cannot_write(&path))?;
    }
    Ok(())
}

/// Takes away what was begun of a new file that could not be written to its end: it would look whole.
/// One that was there before is left alone.
fn without_remains(written: io::Result<()>, path: &Path) -> io::Result<()> {
    let is_new = |error: &io::Error| error.kind() != io::ErrorKind::AlreadyExists;
    written.inspect_err(|error| {
        if is_new(error) {
            let _ = fs::remove_file(path);
        }
    })
}

/// The rows of a table in all reports: the report's name, and the columns' values.
fn rows<'a>(
    table: &'a ExportTable,
    reports: &'a [(&str, Value)],
) -> impl Iterator<Item = Vec<Value>> + 'a {
    reports.iter().flat_map(|(name, report)| {
        (table.rows)(report).into_iter().map(|row| {
            let cells = table.columns.iter();
            let cells = cells.map(|(_, at)| row.pointer(at).cloned().unwrap_or(Value::Null));
            std::iter::once(Value::from(*name)).chain(cells).collect()
        })
    })
}

fn headings(table: &ExportTable) -> impl Iterator<Item = &'static str> {
    std::iter::once("report").chain(table.columns.iter().map(|(name, _)| *name))
}

fn write_csv(table: &ExportTable, reports: &[(&str, Value)], to: impl Write) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(to);
    csv.write_record(headings(table))?;
    for row in rows(table, reports) {
        csv.write_record(row.iter().map(cell))?;
    }
    csv.flush()
}

fn write_json(table: &ExportTable, reports: &[(&str, Value)], to: impl Write) -> io::Result<()> {
    let objects: Vec<Map<String, Value>> = rows(table, reports)
        .map(|row| headings(table).map(str::to_owned).zip(row).collect())
        .collect();
    serde_json::to_writer_pretty(to, &objects)?;
    Ok(())
}

/// A value in a cell. Names come from captures and files: a spreadsheet would run one that begins as
/// a formula does, so that an apostrophe goes before it (numbers are not touched).
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => defused(text).into_owned(),
        other => other.to_string(),
    }
}

fn defused(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{text}").into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_begin_as_formulas_do_are_defused_and_numbers_are_not() {
        for (value, text) in [
            (json!("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0"),
            (json!("+1"), "'+1"),
            (json!("-1"), "'-1"),
            (json!("@SUM(A1)"), "'@SUM(A1)"),
            (json!("\t=1"), "'\t=1"),
            (json!("\n=1"), "'\n=1"),
            (json!("a=1"), "a=1"),
            (json!(-0.5), "-0.5"),
            (json!(-7), "-7"),
            (json!(null), ""),
            (json!(true), "true"),
        ] {
            assert_eq!(cell(&value), text);
        }
    }

    #[test]
    fn tables_and_their_columns_have_names_of_their_own() {
        let tables: Vec<ExportTable> = [TABLES, SWEEP_TABLES].concat();
        for (i, table) in tables.iter().enumerate() {
            assert!(tables[..i].iter().all(|other| other.name != table.name));
            let columns: Vec<&str> = headings(table).collect();
            for (i, column) in columns.iter().enumerate() {
                assert!(!columns[..i].contains(column), "{}: {column}", table.name);
            }
        }
    }
}
