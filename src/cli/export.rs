//! `wirewatt export`: the tables of saved reports and sweeps as CSV or JSON, those of captures as Parquet too.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::{Outcome, saved, tell, warn};
use crate::analysis::{ConnectionLog, MOST_MESSAGES, MessageLog};
use crate::experiment;
use crate::report::export::{
    CaptureLog, ExportFormat, SWEEP_TABLES, TABLES, export, export_logs, export_sweeps,
};
use crate::report::sweep::{SWEEP_SCHEMA, SweepReport};
use crate::report::{Report, SCHEMA, json};

/// Write every table of saved reports and sweeps as CSV, JSON or Parquet files, for spreadsheets
///
/// The columns of each table are listed in docs/exports.md. Several reports go into the same files,
/// told apart by their first column.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt export wirewatt-runs/20260102-030405-ring --csv tables
  wirewatt export wirewatt-runs/20260102-030405-ring --messages --csv tables
  wirewatt export wirewatt-runs/20260102-030405-ring --parquet tables
  wirewatt export wirewatt-runs/20260102-030405 --csv tables    a folder of several runs
  wirewatt export study --csv tables              the points and runs of a sweep
  wirewatt export monday.json tuesday.json --csv tables --json tables
  wirewatt analyze --json capture.pcapng | wirewatt export - --csv tables")]
pub(super) struct ExportArgs {
    /// Reports as JSON, or folders of runs and sweeps; `-` is standard input
    #[arg(required = true, value_name = "REPORT|FOLDER")]
    reports: Vec<String>,

    /// Write TABLE.csv for each table into this folder
    #[arg(long, value_name = "DIR", required_unless_present_any = ["json", "parquet"])]
    csv: Option<PathBuf>,

    /// Write TABLE.json for each table into this folder, as arrays of objects
    #[arg(long, value_name = "DIR")]
    json: Option<PathBuf>,

    /// Read the captures of the folders again, for two more tables: their messages and connections
    #[arg(long)]
    messages: bool,

    /// Write these two as messages.parquet and connections.parquet into this folder, in a build with
    /// the feature `parquet`
    #[arg(long, value_name = "DIR")]
    parquet: Option<PathBuf>,
}

pub(super) fn run(args: &ExportArgs) -> Outcome {
    #[cfg(not(feature = "parquet"))]
    if args.parquet.is_some() {
        return Err(format!("--parquet: {NO_PARQUET}").into());
    }
    let (mut reports, mut sweeps) = (Vec::new(), Vec::new());
    let mut named = Vec::new();
    for name in &args.reports {
        named.extend(with_runs_below(name)?);
    }
    for name in &named {
        for (name, saved) in read(name)? {
            match saved {
                Saved::Report(report) => reports.push((name, *report)),
                Saved::Sweep(sweep) => sweeps.push((name, *sweep)),
            }
        }
    }
    let mut logs = Vec::new();
    if args.messages || args.parquet.is_some() {
        for name in &named {
            logs.push(log_of(name)?);
        }
    }
    let wrote = |tables: usize, folder: &Path| {
        let folder = folder.display();
        tell(&format_args!("{tables} tables: {folder}"));
    };
    let wanted = [
        (ExportFormat::Csv, &args.csv),
        (ExportFormat::Json, &args.json),
    ];
    for (format, folder) in wanted {
        if let Some(folder) = folder {
            let mut tables = 0;
            if !reports.is_empty() {
                export(&reports, format, folder)?;
                tables += TABLES.len();
            }
            if !sweeps.is_empty() {
                export_sweeps(&sweeps, format, folder)?;
                tables += SWEEP_TABLES.len();
            }
            if args.messages {
                tables += export_logs(&logs, format, folder)?;
            }
            wrote(tables, folder);
        }
    }
    #[cfg(feature = "parquet")]
    if let Some(folder) = &args.parquet {
        wrote(export_logs(&logs, ExportFormat::Parquet, folder)?, folder);
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a build cannot, and which can.
#[cfg(not(feature = "parquet"))]
const NO_PARQUET: &str = "this build of wirewatt has no Parquet. One that has: `cargo install --path . \
                          --features parquet`, or `cargo build --release --features parquet`";

/// The format that a file's ending names, for tables of captures.
pub(super) fn format_of(path: &Path) -> Result<ExportFormat, String> {
    let shown = path.display();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => Ok(ExportFormat::Csv),
        Some("json") => Ok(ExportFormat::Json),
        #[cfg(feature = "parquet")]
        Some("parquet") => Ok(ExportFormat::Parquet),
        #[cfg(not(feature = "parquet"))]
        Some("parquet") => Err(format!("{shown}: {NO_PARQUET}")),
        _ => Err(format!(
            "{shown}: which format? Let it end with .csv, .json or .parquet"
        )),
    }
}

/// Says that there was more than is kept.
pub(super) fn warn_of_left_out(name: &str, messages: &MessageLog, connections: &ConnectionLog) {
    for (what, left_out) in [
        ("messages", messages.left_out),
        ("connections", connections.left_out),
    ] {
        if left_out > 0 {
            warn(&format_args!(
                "{name}: {what} are left out: more than {MOST_MESSAGES} are not kept"
            ));
        }
    }
}

/// The messages and connections in a run's folder.
fn log_of(name: &str) -> Result<CaptureLog, Box<dyn Error>> {
    let path = Path::new(name);
    if !path.is_dir() {
        return Err(format!(
            "{name}: a report has no single messages and connections: name the folders of runs, \
             which have the captures"
        )
        .into());
    }
    let (messages, connections) = experiment::logs_of_folder(path)?;
    let (messages, connections) = messages
        .zip(connections)
        .ok_or_else(|| format!("{name}: its messages were not kept"))?;
    warn_of_left_out(name, &messages, &connections);
    Ok(CaptureLog {
        report: name.to_owned(),
        messages,
        connections,
    })
}

/// Something saved that has tables.
enum Saved {
    Report(Box<Report>),
    Sweep(Box<SweepReport>),
}

/// The runs in a folder of several, or what was named.
fn with_runs_below(name: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let path = Path::new(name);
    let own = ["sweep.json", "sweep.toml", "report.json"];
    if !path.is_dir() || own.iter().any(|file| path.join(file).exists()) {
        return Ok(vec![name.to_owned()]);
    }
    let below = saved::runs_below(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    if below.is_empty() {
        return Err(format!("{name}: there is no report.json or sweep.json in it").into());
    }
    let below = below.iter();
    Ok(below.map(|path| path.display().to_string()).collect())
}

/// What is saved under a name: a report, or several with a name for each.
fn read(name: &str) -> Result<Vec<(String, Saved)>, Box<dyn Error>> {
    let path = match Path::new(name) {
        folder if folder.join("sweep.json").exists() => folder.join("sweep.json"),
        folder if folder.is_dir() => folder.join("report.json"),
        file => file.to_owned(),
    };
    let shown = path.display();
    let mut text = Vec::new();
    let read = match name {
        "-" => io::stdin().read_to_end(&mut text),
        _ => File::open(&path).and_then(|mut file| file.read_to_end(&mut text)),
    };
    read.map_err(|error| {
        format!(
            "{shown}: cannot be read: {error}; name reports as JSON, or folders of runs and sweeps"
        )
    })?;
    let shown = shown.to_string();
    let Some(several) = saved::reports_of_array(&text) else {
        return Ok(vec![(name.to_owned(), report_of(&text, &shown)?)]);
    };
    if several.is_empty() {
        return Err(format!("{shown}: there is no report in it").into());
    }
    let named = several.into_iter();
    named
        .map(|(of, text)| Ok((format!("{name}/{of}"), report_of(&text, &shown)?)))
        .collect()
}

fn report_of(text: &[u8], shown: &str) -> Result<Saved, Box<dyn Error>> {
    let wrong = |error: serde_json::Error| {
        format!("{shown}: not a report: {error}; name files that `analyze --json` wrote")
    };
    let schema: Schema = serde_json::from_slice(text).map_err(wrong)?;
    match schema.schema.as_str() {
        SCHEMA => Ok(Saved::Report(Box::new(json::read(text).map_err(wrong)?))),
        SWEEP_SCHEMA => Ok(Saved::Sweep(Box::new(
            serde_json::from_slice(text).map_err(wrong)?,
        ))),
        found => Err(format!(
            "{shown}: its schema is '{found}', and '{SCHEMA}' and '{SWEEP_SCHEMA}' are read"
        )
        .into()),
    }
}

/// What every report says of itself.
#[derive(Deserialize)]
struct Schema {
    schema: String,
}
