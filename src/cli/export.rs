//! `wirewatt export`: the tables of saved reports as CSV or JSON.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, tell, warn};
use crate::experiment;
use crate::report::export::{ExportFormat, MESSAGE_TABLES, TABLES, export, export_messages};
use crate::report::{Report, SCHEMA, json};

/// Write every table of saved reports as CSV or JSON files, for spreadsheets and data frames
///
/// The columns of each table are listed in docs/exports.md. Several reports go into the same files,
/// told apart by their first column.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt export wirewatt-runs/20260102-030405-ring --csv tables
  wirewatt export wirewatt-runs/20260102-030405-ring --messages --csv tables
  wirewatt export monday.json tuesday.json --csv tables --json tables
  wirewatt analyze --json capture.pcapng | wirewatt export - --csv tables")]
pub(super) struct ExportArgs {
    /// Reports as JSON, or folders of runs; `-` is standard input
    #[arg(required = true, value_name = "REPORT|FOLDER")]
    reports: Vec<String>,

    /// Write TABLE.csv for each table into this folder
    #[arg(long, value_name = "DIR", required_unless_present = "json")]
    csv: Option<PathBuf>,

    /// Write TABLE.json for each table into this folder, as arrays of objects
    #[arg(long, value_name = "DIR")]
    json: Option<PathBuf>,

    /// Read the captures of the folders again, for two more tables: their messages and connections
    #[arg(long)]
    messages: bool,
}

pub(super) fn run(args: &ExportArgs) -> Outcome {
    let mut reports = Vec::new();
    for name in &args.reports {
        reports.push((name.clone(), read(name)?));
    }
    let mut logs = Vec::new();
    if args.messages {
        for name in &args.reports {
            let log = experiment::messages_of_folder(Path::new(name))?;
            let log = log.ok_or_else(|| format!("{name}: its messages were not kept"))?;
            if log.left_out > 0 {
                let left_out = log.left_out;
                warn(&format_args!(
                    "{name}: {left_out} more messages or connections are left out"
                ));
            }
            logs.push((name.clone(), log));
        }
    }
    let wanted = [
        (ExportFormat::Csv, &args.csv),
        (ExportFormat::Json, &args.json),
    ];
    for (format, folder) in wanted {
        if let Some(folder) = folder {
            export(&reports, format, folder)?;
            let mut tables = TABLES.len();
            if args.messages {
                export_messages(&logs, format, folder)?;
                tables += MESSAGE_TABLES.len();
            }
            let folder = folder.display();
            tell(&format_args!("{tables} tables: {folder}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(name: &str) -> Result<Report, Box<dyn Error>> {
    let path = match Path::new(name) {
        folder if folder.is_dir() => folder.join("report.json"),
        file => file.to_owned(),
    };
    let shown = path.display();
    let reader: Box<dyn Read> = match name {
        "-" => Box::new(io::stdin()),
        _ => Box::new(File::open(&path).map_err(|error| {
            format!("{shown}: cannot be read: {error}; name reports as JSON, or folders of runs")
        })?),
    };
    let report = json::read(BufReader::new(reader)).map_err(|error| {
        format!("{shown}: not a report: {error}; name files that `analyze --json` wrote")
    })?;
    if report.schema != SCHEMA {
        let found = &report.schema;
        return Err(format!("{shown}: its schema is '{found}', and '{SCHEMA}' is read").into());
    }
    Ok(report)
}
