//! Arguments that several subcommands have.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::algorithm::Options;
use crate::analysis::{self, PlanError, ProtocolDefinition, ProtocolPlan};
use crate::energy::{self, EnergyError};
use crate::report::{Models, Report, Style, json, text};

/// Which protocols to sort packets into.
#[derive(Debug, Args)]
pub(super) struct ProtocolOptions {
    /// Read protocols from a TOML file of [[protocol]] tables
    #[arg(long, value_name = "FILE")]
    protocols: Option<PathBuf>,

    /// Define a protocol by its listening ports; repeatable. FRAMING is wirewatt, line,
    /// length-prefixed[/WIDTH/big|little/body|all], turn or segment (the default)
    #[arg(long = "protocol", value_name = "NAME=PORTS[:FRAMING]")]
    definitions: Vec<String>,
}

impl ProtocolOptions {
    /// The built-in plan with the user's protocols before it.
    pub fn plan(&self) -> Result<Arc<ProtocolPlan>, PlanError> {
        let mut definitions = match &self.protocols {
            Some(file) => analysis::read_protocols_file(file)?,
            None => Vec::new(),
        };
        for text in &self.definitions {
            definitions.push(text.parse::<ProtocolDefinition>()?);
        }
        ProtocolPlan::new(&definitions).map(Arc::new)
    }
}

/// How to convert counts and how to print the report.
#[derive(Debug, Args)]
pub(super) struct ReportOptions {
    /// Grid that supplies the energy: a name, or grams per kWh as a number
    #[arg(long, value_name = "GRID", default_value = energy::DEFAULT_GRID)]
    grid: String,

    /// Print the report as JSON and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}

impl ReportOptions {
    /// The models to apply.
    pub fn models(&self) -> Result<Models, EnergyError> {
        grid_models(&self.grid)
    }

    /// Prints the report on standard output.
    pub fn print(&self, report: &Report) -> Result<(), Box<dyn Error>> {
        if self.json {
            let mut json = Vec::new();
            json::write(report, &mut json)?;
            super::print(&String::from_utf8_lossy(&json))?;
        } else {
            super::print(&text::render(report, style()))?;
        }
        Ok(())
    }
}

/// All models, supplied by this grid: a name or a rate.
pub(super) fn grid_models(grid: &str) -> Result<Models, EnergyError> {
    let library = energy::Library::built_in();
    let grid = library.grid(grid)?;
    Models::of(&library, grid)
}

/// An algorithm's own options from `NAME=VALUE`s.
pub(super) fn algorithm_options(given: &[String]) -> Result<Options, String> {
    let parse = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!(
            "--option '{text}': expected NAME=VALUE, as in vote-no=2"
        )),
    };
    given
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map(Options)
}

/// As wide as the terminal, within reason, and coloured only on one.
pub(super) fn style() -> Style {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Style::default();
    }
    let columns = rustix::termios::tcgetwinsize(stdout).map_or(0, |size| size.ws_col);
    let width = match columns {
        0 => Style::default().width,
        columns => usize::from(columns).clamp(80, 120),
    };
    Style {
        width,
        color: std::env::var_os("NO_COLOR").is_none(),
    }
}

/// Reads a duration as in `30s`, `500ms`, `5m`, `1h`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("'{text}' is no duration: expected a number and ms, s, m or h, as in 30s");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, millis) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("1.5m", 90_000),
            ("2", 2000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-3s", "3 weeks", "1e999h", "1..2s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
