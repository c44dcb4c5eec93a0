//! `wirewatt audit`: the verdict on a run, made again from its folder.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::options::ReportOptions;
use super::{Outcome, warn};
use crate::experiment::{self, Finished};

/// Make a run's report again from its folder: formula, ledger and capture
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt audit wirewatt-runs/20260102-030405-ring
  wirewatt audit study/two-phase-commit --json --grid 385")]
pub(super) struct AuditArgs {
    /// Folder that `wirewatt run` left
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    #[command(flatten)]
    report: ReportOptions,
}

pub(super) fn run(args: &AuditArgs) -> Outcome {
    let models = args.report.models()?;
    let run = experiment::audit_folder(&args.folder, &models)?;
    args.report.print(&run.report)?;
    tell_problems(&run);
    Ok(ExitCode::from(exit_code(&run)))
}

/// 1 when the run broke what its algorithm promises, whatever the accounts say: that is a
/// disagreement between the algorithm and what happened. 2 when the run itself went wrong,
/// otherwise the audit's own.
pub(super) fn exit_code(run: &Finished) -> u8 {
    let summary = run.report.run.as_ref();
    if summary.is_some_and(|run| run.broken_properties().next().is_some()) {
        1
    } else if run.problems.is_empty() {
        run.report
            .audit
            .as_ref()
            .map_or(2, |audit| audit.verdict.exit_code())
    } else {
        2
    }
}

/// What went wrong, on standard error.
pub(super) fn tell_problems(run: &Finished) {
    for problem in &run.problems {
        warn(problem);
    }
}
