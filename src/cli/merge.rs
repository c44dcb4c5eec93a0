//! `wirewatt merge`: reports on parts of a capture become the report on the whole.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::process::ExitCode;

use clap::Args;

use super::options::{EnergyOptions, print_report};
use super::{Outcome, warn};
use crate::energy;
use crate::report::{Models, Report, json, merge};

/// Add up reports on the parts of a capture: what `analyze --json` said of each file of `split`
///
/// Counts add exactly: the sum is the report that the whole capture would have had. Completeness,
/// energy and emissions are computed again. The reports must not share a connection: those on the
/// files of `split --by-connection` do not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt split --by-connection -p 4 capture.pcapng
  for part in capture.?-of-4.pcapng; do wirewatt analyze --json $part > $part.json; done
  wirewatt merge capture.?-of-4.pcapng.json
  wirewatt merge --json host-*.report.json > all.report.json

Audits and what runs told of themselves are left out of the sum: they are of whole runs. Exit code 2
says that a report had one, that a part is missing, or that a capture was cut short.")]
pub(super) struct MergeArgs {
    /// Reports as JSON; `-` is standard input
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<String>,

    #[command(flatten)]
    energy: EnergyOptions,

    /// Print the report as JSON and nothing else on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &MergeArgs) -> Outcome {
    let mut reports = Vec::new();
    for name in &args.reports {
        reports.push((name.clone(), read(name)?));
    }
    let models = models(args, &reports)?;
    let mut left_out = false;
    for (name, report) in &reports {
        let had = [
            (report.audit.is_some(), "an audit"),
            (report.run.is_some(), "what a run told of itself"),
        ];
        for (_, what) in had.into_iter().filter(|(had, _)| *had) {
            left_out = true;
            warn(&format_args!("{name}: {what} is left out of the sum"));
        }
    }
    let report = merge(reports, &models)?;
    print_report(&report, args.json)?;
    let losses = &report.completeness.losses;
    let is_whole = !left_out && !losses.cut_short && losses.missing_parts == 0;
    Ok(ExitCode::from(if is_whole { 0 } else { 2 }))
}

fn read(name: &str) -> Result<Report, Box<dyn Error>> {
    let reader: Box<dyn Read> = match name {
        "-" => Box::new(io::stdin()),
        _ => Box::new(File::open(name).map_err(|error| {
            format!("{name}: cannot be read: {error}; name files that `analyze --json` wrote")
        })?),
    };
    json::read(BufReader::new(reader)).map_err(|error| {
        let problem = format!(
            "{name}: not a report: {error}; name files that `analyze --json` wrote (a capture is \
             to be analysed first)"
        );
        problem.into()
    })
}

/// The models by which the sum is converted: those of the reports, where the command line does not say.
fn models(args: &MergeArgs, reports: &[(String, Report)]) -> Result<Models, Box<dyn Error>> {
    let library = args.energy.library()?;
    let grid = match &args.energy.grid {
        Some(grid) => grid.clone(),
        None => common_grid(&library, reports)?,
    };
    let models = args
        .energy
        .models_or(library, energy::HEADLINE_MODEL, &grid)?;
    if args.energy.model.is_none() {
        let model = (&models.headline.name, models.headline.pue);
        for (name, report) in reports {
            for energy in report.protocols.iter().map(|protocol| &protocol.energy) {
                let made_with = (&energy.model, energy.pue.unwrap_or(1.0));
                if made_with != model {
                    return Err(format!(
                        "{name} was made with the model '{}'{}, and the sum would be with '{}': choose \
                         one with --model, --hops and --pue",
                        energy.model,
                        energy.pue.map_or_else(String::new, |pue| format!(" and a PUE of {pue}")),
                        model.0
                    )
                    .into());
                }
            }
        }
    }
    Ok(models)
}

/// The grid that all reports were made with, as `--grid` takes it.
fn common_grid(library: &energy::Library, reports: &[(String, Report)]) -> Result<String, String> {
    let mut common: Option<(&String, &str, f64)> = None;
    for (name, report) in reports {
        for carbon in report.protocols.iter().map(|protocol| &protocol.carbon) {
            match common {
                Some((other, grid, rate))
                    if (grid, rate) != (&carbon.grid, carbon.grams_per_kwh) =>
                {
                    return Err(format!(
                        "{other} was made with the grid '{grid}' and {name} with '{}': choose one \
                         with --grid",
                        carbon.grid
                    ));
                }
                _ => common = Some((name, &carbon.grid, carbon.grams_per_kwh)),
            }
        }
    }
    Ok(match common {
        None => energy::DEFAULT_GRID.to_owned(),
        Some((_, grid, _)) if library.grid(grid).is_ok() => grid.to_owned(),
        Some((_, _, rate)) => rate.to_string(),
    })
}
