//! The command line: one file a subcommand, and the only code that reads arguments or prints.
//!
//! Results go to standard output, progress and diagnostics to standard error. Exit codes follow
//! diff(1): 0 the accounts agree (or there was nothing to compare), 1 they disagree, 2 it could not
//! be told or not be run.

mod analyze;
mod annotate;
mod audit;
mod check;
mod export;
mod interrupt;
mod list;
mod live_view;
mod merge;
mod node;
mod options;
mod plot;
mod progress;
mod run;
mod saved;
mod simulate;
mod sniff;
mod split;
mod sweep;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Counts what distributed algorithms put on the wire, and holds it against their own counters.
#[derive(Debug, Parser)]
#[command(name = "wirewatt", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 the accounts agree, 1 they disagree, 2 could not tell or \
                        could not run.\nEach command's --help has examples."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Sweep(sweep::SweepArgs),
    Plot(plot::PlotArgs),
    Simulate(simulate::SimulateArgs),
    Check(check::CheckArgs),
    Sniff(sniff::SniffArgs),
    Analyze(analyze::AnalyzeArgs),
    Annotate(annotate::AnnotateArgs),
    Audit(audit::AuditArgs),
    Split(split::SplitArgs),
    Merge(merge::MergeArgs),
    Export(export::ExportArgs),
    List(list::ListArgs),
    Node(node::NodeArgs),
}

/// What a subcommand ends with: an exit code, or an error to print before exit code 2.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Runs the command line.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Plot(args) => plot::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Sniff(args) => sniff::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Annotate(args) => annotate::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Split(args) => split::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Export(args) => export::run(&args),
        Command::List(args) => list::run(&args),
        Command::Node(args) => node::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            tell(&format_args!("wirewatt: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Writes a result to standard output.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        // A reader that has seen enough is no failure (`wirewatt … | head`): what the command does
        // beside printing goes on, and its exit code stays.
        _ => Ok(()),
    }
}

/// Prints progress or a diagnostic.
fn tell(text: &dyn Display) {
    // Where nobody reads it, there is nobody to tell that.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a warning about results that should be read with care.
fn warn(text: &dyn Display) {
    tell(&format_args!("wirewatt: warning: {text}"));
}
