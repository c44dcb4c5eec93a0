//! The report as JSON (`docs/report.schema.json`).

use std::io::{self, Write};

use super::Report;

/// Writes the report, indented, with a final newline.
pub fn write(report: &Report, mut to: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, report)?;
    writeln!(to)
}

/// Reads a report that [`write()`] wrote.
pub fn read(from: impl io::Read) -> serde_json::Result<Report> {
    serde_json::from_reader(from)
}
