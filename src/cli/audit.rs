//! `wirewatt audit`: the verdict on a run, made again from its folder, or on a capture beside a ledger.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

use super::options::{ProtocolOptions, ReportOptions};
use super::{Cli, Command, Outcome, warn};
use crate::experiment::folder::RunFolder;
use crate::experiment::{self, Finished, SavedRun};
use crate::report::Models;

/// Make a run's report again from its folder: formula, ledger and capture; or hold a capture against
/// a ledger
///
/// Of a folder, MTU, models and grid are the run's own, unless options say otherwise; one option of energy
/// (--model, --grid, --hops, --pue, --models) replaces all that the run was given.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt audit wirewatt-runs/20260102-030405-ring
  wirewatt audit study/two-phase-commit --json --grid 385
  wirewatt audit study/two-phase-commit --mtu 9000     in place of the run's own
  wirewatt audit monday.pcap --ledger ledger.jsonl
  wirewatt audit monday.pcap --ledger ledger.jsonl --protocol ring=9000-9003:wirewatt")]
pub(super) struct AuditArgs {
    /// Folder that `wirewatt run` left; with --ledger, a capture
    #[arg(value_name = "FOLDER|CAPTURE")]
    folder: PathBuf,

    /// Ledger to hold the capture against: there is no formula then
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,

    /// Which run, where the ledger is of several
    #[arg(long, value_name = "ID", requires = "ledger")]
    run: Option<u64>,

    /// A process that was killed; repeatable
    #[arg(long, value_name = "ID", requires = "ledger")]
    killed: Vec<u32>,

    #[command(flatten)]
    protocols: ProtocolOptions,

    #[command(flatten)]
    report: ReportOptions,
}

pub(super) fn run(args: &AuditArgs) -> Outcome {
    let protocols = args.protocols.definitions()?;
    let run = match &args.ledger {
        Some(ledger) => {
            let saved = SavedRun {
                capture: args.folder.clone(),
                ledger: ledger.clone(),
                run: args.run,
                killed: args.killed.iter().copied().collect(),
                protocols,
                mtu: args.report.projection.mtu(),
            };
            experiment::audit_capture(&saved, &args.report.models()?)?
        }
        None if protocols.is_empty() => {
            let models = models_of_folder(args)?;
            experiment::audit_folder(&args.folder, &models, args.report.projection.mtu)?
        }
        None => {
            return Err(
                "a run's folder says which ports it used: --protocol goes with --ledger".into(),
            );
        }
    };
    args.report.print(&run.report)?;
    tell_problems(&run);
    Ok(ExitCode::from(run.exit_code()))
}

/// By what energy is: as the run had it, where the command line says nothing else.
fn models_of_folder(args: &AuditArgs) -> Result<Models, Box<dyn Error>> {
    let command = RunFolder::open(&args.folder)?.read_record()?.command;
    let begun = Cli::try_parse_from(&command).map(|cli| cli.command);
    let as_run = match &begun {
        Ok(Command::Run(run)) => args.report.models_or_as(&run.report),
        Ok(Command::Sweep(sweep)) => args.report.models_or_as(&sweep.report),
        // It was begun by no command.
        _ => args.report.models(),
    };
    Ok(as_run.map_err(|error| {
        format!(
            "{error}; the run's own options of energy are in its run.toml, and others may be given"
        )
    })?)
}

/// What went wrong, on standard error.
pub(super) fn tell_problems(run: &Finished) {
    for problem in &run.problems {
        warn(problem);
    }
}
