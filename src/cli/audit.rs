//! `wirewatt audit`: the verdict on a run, made again from its folder, or on a capture beside a ledger.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::options::{ProtocolOptions, ReportOptions};
use super::{Outcome, warn};
use crate::experiment::{self, Finished, SavedRun};

/// Make a run's report again from its folder: formula, ledger and capture; or hold a capture against
/// a ledger
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
    let models = args.report.models()?;
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
            experiment::audit_capture(&saved, &models)?
        }
        None if protocols.is_empty() => {
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

/// What went wrong, on standard error.
pub(super) fn tell_problems(run: &Finished) {
    for problem in &run.problems {
        warn(problem);
    }
}
