//! `wirewatt export`: the tables of saved reports as CSV or JSON.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, tell};
use crate::report::export::{ExportFormat, TABLES, export};
use crate::report::{Report, SCHEMA, json};

/// Write every table of saved reports as CSV or JSON files, for spreadsheets and data frames
///
/// The columns of each table are listed in docs/exports.md. Several reports go into the same files,
/// told apart by their first column.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt export wirewatt-runs/20260102-030405-ring --csv tables
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
}

pub(super) fn run(args: &ExportArgs) -> Outcome {
    let mut reports = Vec::new();
    for name in &args.reports {
        reports.push((name.clone(), read(name)?));
    }
    let wanted = [
        (ExportFormat::Csv, &args.csv),
        (ExportFormat::Json, &args.json),
    ];
    for (format, folder) in wanted {
        if let Some(folder) = folder {
            export(&reports, format, folder)?;
            let (tables, folder) = (TABLES.len(), folder.display());
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
