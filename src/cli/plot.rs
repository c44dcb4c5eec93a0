//! `wirewatt plot`: charts again from what was saved, and runs compared.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::options::style;
use super::{Outcome, print, saved, tell, warn};
use crate::experiment;
use crate::report::chart::{self, Chart};
use crate::report::compare::{self, Comparison};
use crate::report::sweep::{self, SWEEP_SCHEMA, SweepReport};
use crate::report::{Compared, Report, SCHEMA};

/// Draw charts again from saved reports, and compare runs
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt plot study -o pictures                       every chart of a sweep
  wirewatt plot wirewatt-runs/20260102-030405-ring      every chart of a run
  wirewatt plot run --chart space-time                  one of them, from the run's capture
  wirewatt plot before after                            what differs, as a table and side by side
  wirewatt plot persistent/report.json per-message/report.json
  wirewatt plot study study-per-message                 curves of two sweeps beside each other

Each chart is left as ID.svg and ID.png. Of several runs, each run's charts are in a folder of its own.")]
pub(super) struct PlotArgs {
    /// Folders that `run` or `sweep` left, report.json or sweep.json files
    #[arg(required = true, value_name = "DIR|FILE")]
    reports: Vec<PathBuf>,

    /// Folder to leave the charts in
    #[arg(short, long, value_name = "DIR", default_value = "charts")]
    out: PathBuf,

    /// Draw this chart alone; repeatable
    #[arg(long = "chart", value_name = "ID")]
    charts: Vec<String>,
}

/// Something saved.
enum Saved {
    Run {
        report: Box<Report>,
        /// The run's folder, where its capture may be.
        folder: Option<PathBuf>,
    },
    Sweep(Box<SweepReport>),
}

/// Charts, and the folder within the one to leave that they go to.
struct Drawn {
    folder: Option<String>,
    charts: Vec<Chart>,
}

pub(super) fn run(args: &PlotArgs) -> Outcome {
    let mut saved = Vec::new();
    for path in &args.reports {
        saved.extend(read(path)?);
    }
    let names = names(saved.iter().map(|(path, _)| path.as_path()));
    let several = saved.len() > 1;
    let mut drawn: Vec<Drawn> = Vec::new();
    for ((_, saved), name) in saved.iter().zip(&names) {
        drawn.push(Drawn {
            folder: several.then(|| name.clone()),
            charts: charts_of(saved),
        });
    }

    let runs: Vec<(String, &Report)> = saved
        .iter()
        .zip(&names)
        .filter_map(|((_, saved), name)| match saved {
            Saved::Run { report, .. } => Some((name.clone(), &**report)),
            Saved::Sweep(_) => None,
        })
        .collect();
    let comparison = (runs.len() > 1).then(|| Comparison::of(&runs));
    if let Some(comparison) = &comparison {
        let mut charts = by_algorithm(&runs);
        match runs.len() {
            ..=chart::MOST_COMPARED => charts.extend(chart::compared(comparison)),
            many => {
                warn(&format_args!(
                    "{many} runs are compared in the table; charts have room for {}",
                    chart::MOST_COMPARED
                ));
            }
        }
        let folder = None;
        drawn.push(Drawn { folder, charts });
    }

    let sweeps: Vec<(String, &SweepReport)> = saved
        .iter()
        .zip(&names)
        .filter_map(|((_, saved), name)| match saved {
            Saved::Sweep(report) => Some((name.clone(), &**report)),
            Saved::Run { .. } => None,
        })
        .collect();
    if let (Some(together), 2..) = (sweep::together(&sweeps), sweeps.len()) {
        for problem in sweep::incomparable(&sweeps) {
            warn(&problem);
        }
        let mut charts = chart::growth(&together);
        let compares = sweep::energy_compares(&sweeps);
        charts.retain(|chart| compares || chart.id != chart::ENERGY_BY_N);
        let folder = None;
        drawn.push(Drawn { folder, charts });
    }

    choose(&mut drawn, &args.charts)?;
    if let Some(comparison) = &comparison {
        print(&compare::compared(comparison, style()))?;
    }
    for Drawn { folder, charts } in &drawn {
        let folder = match folder {
            Some(name) => args.out.join(name),
            None => args.out.clone(),
        };
        chart::write_all(charts, &folder)?;
        for chart in charts {
            let svg = folder.join(format!("{}.svg", chart.id));
            tell(&format_args!("{}: {}", svg.display(), chart.title));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The charts that name runs by algorithm and number of processes, where that is all that tells them
/// apart: beside a run of one round, one of three would look thrice as dear.
fn by_algorithm(runs: &[(String, &Report)]) -> Vec<Chart> {
    let compared = runs.iter().filter_map(|(_, report)| {
        let run = report.run.as_ref()?;
        Some(Compared {
            protocol: &run.algorithm,
            processes: Some(run.processes),
            report,
        })
    });
    let compared: Vec<Compared<'_>> = compared.collect();
    let names: BTreeSet<_> = compared
        .iter()
        .map(|run| (run.protocol, run.processes))
        .collect();
    let setups = runs.iter().filter_map(|(_, report)| {
        let setup = report.run.as_ref()?.setup.as_ref()?;
        Some((setup.rounds, setup.payload))
    });
    let works: BTreeSet<_> = setups.collect();
    match names.len() == runs.len() && works.len() <= 1 {
        true => chart::of_comparison(&compared),
        false => Vec::new(),
    }
}

/// Keeps the charts that are asked for: all, where none is.
fn choose(drawn: &mut Vec<Drawn>, ids: &[String]) -> Result<(), String> {
    let all: BTreeSet<&str> = drawn
        .iter()
        .flat_map(|drawn| drawn.charts.iter().map(|chart| chart.id))
        .collect();
    if let Some(unknown) = ids.iter().find(|id| !all.contains(id.as_str())) {
        let known: Vec<&str> = all.into_iter().collect();
        let known = match known[..] {
            [] => "there is nothing to draw in them".to_owned(),
            _ => format!("there are: {}", known.join(", ")),
        };
        return Err(format!(
            "--chart {unknown}: these reports have no such chart; {known}"
        ));
    }
    for one in drawn.iter_mut().filter(|_| !ids.is_empty()) {
        one.charts
            .retain(|chart| ids.iter().any(|id| id == chart.id));
    }
    drawn.retain(|drawn| !drawn.charts.is_empty());
    Ok(())
}

fn charts_of(saved: &Saved) -> Vec<Chart> {
    match saved {
        Saved::Sweep(report) => chart::growth(report),
        Saved::Run { report, folder } => {
            let log = folder.as_ref().and_then(|folder| {
                let log = experiment::messages_of_folder(folder);
                log.unwrap_or_else(|error| {
                    warn(&format_args!(
                        "no chart of single messages of {}: {error}",
                        folder.display()
                    ));
                    None
                })
            });
            chart::of_report(report, log.as_ref())
        }
    }
}

/// What a path has: a report or a sweep, or those of the folders in it.
fn read(path: &Path) -> Result<Vec<(PathBuf, Saved)>, Box<dyn Error>> {
    let is_file = path.is_file();
    if is_file || !path.exists() {
        return read_file(path, None);
    }
    for name in ["sweep.json", "report.json"] {
        let file = path.join(name);
        if file.exists() {
            return read_file(&file, Some(path));
        }
    }
    if path.join("sweep.toml").exists() {
        let path = path.display();
        return Err(format!(
            "{path}: the sweep has no sweep.json yet; `wirewatt sweep --resume {path}` writes it"
        )
        .into());
    }
    let below = saved::runs_below(path).map_err(|error| cannot_read(path, &error))?;
    if below.is_empty() {
        let path = path.display();
        return Err(format!("{path}: there is no report.json or sweep.json in it").into());
    }
    let mut saved = Vec::new();
    for path in below {
        saved.extend(read_file(&path.join("report.json"), Some(&path))?);
    }
    Ok(saved)
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

/// What is saved in a file, which is the folder's where there is one: a report, or several.
fn read_file(file: &Path, folder: Option<&Path>) -> Result<Vec<(PathBuf, Saved)>, Box<dyn Error>> {
    let text = fs::read(file).map_err(|error| cannot_read(file, &error))?;
    let path = folder.unwrap_or(file);
    let Some(several) = saved::reports_of_array(&text) else {
        return Ok(vec![(path.to_owned(), read_report(&text, file, folder)?)]);
    };
    if several.is_empty() {
        return Err(format!("{}: there is no report in it", file.display()).into());
    }
    let named = several.into_iter();
    named
        .map(|(name, text)| Ok((path.join(name), read_report(&text, file, None)?)))
        .collect()
}

/// A report by what its schema says it is; of a run, where the folder is one's.
fn read_report(text: &[u8], file: &Path, folder: Option<&Path>) -> Result<Saved, Box<dyn Error>> {
    let wrong = |problem: String| format!("{}: {problem}", file.display());
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| {
        wrong(format!(
            "not a report: {error}; name files that `analyze --json` wrote, or folders of runs \
                 and sweeps"
        ))
    })?;
    let read = |error: serde_json::Error| wrong(error.to_string());
    match value.get("schema").and_then(|schema| schema.as_str()) {
        Some(SWEEP_SCHEMA) => {
            let report = serde_json::from_slice(text).map_err(read)?;
            Ok(Saved::Sweep(Box::new(report)))
        }
        Some(SCHEMA) => {
            let is_runs = |folder: &&Path| folder.join("run.toml").exists();
            Ok(Saved::Run {
                report: Box::new(serde_json::from_slice(text).map_err(read)?),
                folder: folder.or(file.parent()).filter(is_runs).map(Path::to_owned),
            })
        }
        other => Err(wrong(format!(
            "schema {}; charts are drawn of {SCHEMA} and {SWEEP_SCHEMA}",
            other.unwrap_or("is not told")
        ))
        .into()),
    }
}

/// A name for each path that no other has: as little of its end as is needed.
fn names<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths
        .map(|path| {
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
            let mut parts: Vec<String> = parts.filter(|part| part != "/").collect();
            if parts.len() > 1 && parts.last().is_some_and(|last| last == "report.json") {
                parts.pop();
            }
            parts
        })
        .collect();
    let ending =
        |parts: &[String], length: usize| parts[parts.len().saturating_sub(length)..].join("-");
    let most = parts.iter().map(Vec::len).max().unwrap_or(1);
    let mut names: Vec<String> = Vec::new();
    let taken: BTreeSet<String> = parts.iter().map(|own| ending(own, 1)).collect();
    for (i, own) in parts.iter().enumerate() {
        let is_own = |length: &usize| {
            let others = parts.iter().enumerate().filter(|(j, _)| *j != i);
            others
                .into_iter()
                .all(|(_, other)| ending(other, *length) != ending(own, *length))
        };
        let length = (1..=most).find(is_own);
        names.push(match length {
            Some(length) => ending(own, length),
            // The same path again.
            None => {
                let mut numbered = format!("{}-{}", ending(own, 1), i + 1);
                while taken.contains(&numbered) || names.contains(&numbered) {
                    numbered.push('_');
                }
                numbered
            }
        });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be_told_apart() {
        let of = |paths: &[&str]| names(paths.iter().map(Path::new));
        assert_eq!(of(&["/x/ring"]), ["ring"]);
        assert_eq!(
            of(&["/x/before", "/x/after/report.json"]),
            ["before", "after"]
        );
        assert_eq!(
            of(&["/x/a/ring", "/x/b/ring", "/x/b/raft"]),
            ["a-ring", "b-ring", "raft"]
        );
        assert_eq!(of(&["/x/ring", "/x/ring"]), ["ring-1", "ring-2"]);
        // Or the charts of one would replace those of the other.
        assert_eq!(
            of(&["/x/ring", "/x/ring", "/x/ring-1"]),
            ["ring-1_", "ring-2", "ring-1"]
        );
    }
}
