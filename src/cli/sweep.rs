//! `wirewatt sweep`: a grid of runs, and what they cost against the number of processes.

use std::error::Error;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Args, Parser};
use indicatif::{ProgressBar, ProgressStyle};

use super::interrupt::interrupted_flag;
use super::options::{ReportOptions, algorithm_options, duration, payload, style};
use super::run::{algorithms_named, in_namespace, options_of_each, warn_of_ephemeral_ports};
use super::{Cli, Command, Outcome, print, tell, warn};
use crate::experiment::fault::{Fault, FaultError};
use crate::experiment::fleet::Progress;
use crate::experiment::loss;
use crate::experiment::scenario::Scenario;
use crate::experiment::sweep::{self, Grid, SweepFolder, Told};
use crate::ledger;
use crate::node::control::Connections;
use crate::report::sweep as report;
use crate::report::{self as reports, Models, chart, html};

/// Run a grid of algorithms and numbers of processes, each several times: cost against N
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt sweep two-phase-commit raft -n 2..=16 --repeat 5
  wirewatt sweep all -n 3,5,9 --out study
  wirewatt sweep ring -n 2..=32/2 --connections per-message --rounds 10
  wirewatt sweep raft -n 3..=7 --fault drop=5% --out lossy
  wirewatt sweep --resume study                   goes on after an interruption
  wirewatt plot study                             draws its charts again

What a sweep leaves in its folder: sweep.toml (the grid), a folder a run (ALGORITHM/nN/runK, as
`wirewatt run` leaves them), sweep.json, sweep.html and charts. A run that was cut off is done again; to
do another one again, delete its folder.

Exit code: 0 all accounts of all runs agree, 1 those of a run disagree, 2 a run went wrong, could not
tell, or is still to be done.")]
pub(super) struct SweepArgs {
    /// Algorithms, or `all`; `wirewatt list algorithms` names them
    #[arg(required_unless_present = "resume", value_name = "ALGORITHM")]
    algorithms: Vec<String>,

    /// Numbers of processes: 2..=16, 2..=16/2 (every second), 2,4,8
    #[arg(short, value_name = "N", value_parser = numbers, required_unless_present = "resume")]
    n: Option<Numbers>,

    /// How often to run each algorithm with each number of processes
    #[arg(long, default_value_t = 3, value_name = "K",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,

    /// How often each initiator repeats its operation
    #[arg(long, default_value_t = 1, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How connections are used: one a pair, one a message, or one a request and its reply
    #[arg(long, value_enum, default_value_t)]
    connections: Connections,

    /// Bytes of payload beside every message's body
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = payload)]
    payload: usize,

    /// Process i listens on this port + i; by default the algorithm's own range
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,

    /// How long the operations of a run may take, as in 30s, 500ms, 5m
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// Inject a fault into every run, as `wirewatt run --help` has them; repeatable
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,

    /// Decides which messages `drop` drops in the first repetition; each further one adds 1 to it
    #[arg(long, default_value_t = 0, value_name = "SEED",
          value_parser = clap::value_parser!(u64).range(..=1 << 62))]
    seed: u64,

    /// An option of the algorithm's own; repeatable. It goes to those algorithms that have it
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// Folder to leave, or to go on in with the same grid
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Go on with the sweep in this folder, as its sweep.toml says
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "algorithms", "n", "repeat", "rounds", "connections", "payload", "base_port", "timeout",
        "faults", "seed", "options", "out", "model", "grid", "hops", "pue", "model_files", "mtu",
    ])]
    resume: Option<PathBuf>,

    #[command(flatten)]
    pub report: ReportOptions,
}

/// What is meant by an algorithm that is named twice.
const AGAIN: &str = "--repeat runs it as often as you say";

/// Numbers of processes, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbers(Vec<u32>);

/// Reads `2..=16`, `2..=16/2`, `2,4,8`, or several of them with commas between.
fn numbers(text: &str) -> Result<Numbers, String> {
    const MOST: u32 = u16::MAX as u32;
    let number = |text: &str| {
        let n = text.trim().parse().ok();
        n.filter(|n| (1..=MOST).contains(n))
            .ok_or_else(|| format!("'{text}' is no number of processes, from 1 to {MOST}"))
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let Some((first, rest)) = part.split_once("..") else {
            all.push(number(part)?);
            continue;
        };
        let Some(rest) = rest.strip_prefix('=') else {
            return Err(format!(
                "'{part}': write {first}..={rest}; the last number is included"
            ));
        };
        let (last, step) = match rest.split_once('/') {
            Some((last, step)) => (last, number(step)?),
            None => (rest, 1),
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("'{part}': the first number is the greater one"));
        }
        all.extend((first..=last).step_by(step as usize));
    }
    all.sort_unstable();
    all.dedup();
    Ok(Numbers(all))
}

pub(super) fn run(args: &SweepArgs) -> Outcome {
    match &args.resume {
        None => go(args, None, std::env::args().collect()),
        Some(path) => {
            let folder = SweepFolder::open(path)?;
            let command = folder.command().to_vec();
            drop(folder);
            let begun = Cli::try_parse_from(&command).map(|cli| cli.command);
            let Ok(Command::Sweep(mut begun)) = begun else {
                let path = path.display();
                return Err(format!(
                    "{path}: its sweep.toml has no command that can be gone on with"
                )
                .into());
            };
            begun.report.json = args.report.json;
            go(&begun, Some(path), command)
        }
    }
}

/// Begins a sweep, or goes on with the one in `resumed`.
fn go(args: &SweepArgs, resumed: Option<&Path>, command: Vec<String>) -> Outcome {
    if args.scenario()?.loses_packets() {
        if !loss::has_namespace() {
            return in_namespace();
        }
        loss::prepare()?;
    }
    let models = args.report.models()?;
    let grid = args.grid(&models)?;
    let path = resumed.map(Path::to_owned).or_else(|| args.out.clone());
    let path = path.unwrap_or_else(default_folder);
    let cancel = interrupted_flag()?;
    let folder = SweepFolder::begin(&path, &grid, command)?;
    let most = grid.n.last().copied().unwrap_or_default();
    for algorithm in algorithms_named(&grid.algorithms, AGAIN)? {
        let own = *algorithm.protocol().ports.start();
        warn_of_ephemeral_ports(grid.base_port.unwrap_or(own), (algorithm.processes)(most));
    }

    let progress = Arc::new(Progress::default());
    let shown = Shown::new();
    let swept = sweep::sweep(&folder, &models, &progress, &cancel, &mut |told| {
        shown.show(&told)
    });
    shown.end();
    let swept = swept?;
    let json = serde_json::to_string_pretty(&swept)? + "\n";
    folder.write("sweep.json", json.as_bytes())?;
    let charts = chart::growth(&swept);
    chart::write_all(&charts, &path.join("charts"))?;
    folder.write("sweep.html", html::sweep(&swept, &charts)?.as_bytes())?;

    match args.report.json {
        true => print(&json)?,
        false => print(&report::sweep(&swept, style()))?,
    }
    let path = path.display();
    if cancel.load(Ordering::Relaxed) {
        warn(&format_args!(
            "interrupted: {} of {} runs are done; go on with `wirewatt sweep --resume {path}`",
            swept.ended, swept.wanted
        ));
    }
    tell(&format_args!("sweep folder: {path}"));
    tell(&format_args!("comparison: {path}/sweep.html"));
    Ok(ExitCode::from(swept.exit_code()))
}

impl SweepArgs {
    /// The faults, each with its place.
    fn scenario(&self) -> Result<Scenario, FaultError> {
        let mut scenario = Scenario::default();
        for fault in &self.faults {
            scenario.add(fault)?;
        }
        Ok(scenario)
    }

    fn grid(&self, models: &Models) -> Result<Grid, Box<dyn Error>> {
        let algorithms = algorithms_named(&self.algorithms, AGAIN)?;
        let options = options_of_each(&algorithm_options(&self.options)?, &algorithms);
        let (energy, checksum) = Grid::energy_of(models);
        let named = algorithms.iter().map(|algorithm| algorithm.name.to_owned());
        Ok(Grid {
            n: self.n.clone().map(|numbers| numbers.0).unwrap_or_default(),
            repeat: self.repeat,
            rounds: self.rounds,
            connections: self.connections,
            payload: self.payload,
            mtu: self.report.projection.mtu(),
            timeout: Grid::timeout_text(self.timeout),
            base_port: self.base_port,
            energy,
            models: checksum,
            faults: self
                .scenario()?
                .injected()
                .iter()
                .map(Fault::to_string)
                .collect(),
            seed: self.seed,
            options: named.clone().zip(options).collect(),
            algorithms: named.collect(),
        })
    }
}

/// `wirewatt-runs/TIME-sweep`.
fn default_folder() -> PathBuf {
    let time = reports::compact_time(ledger::now());
    Path::new("wirewatt-runs").join(format!("{time}-sweep"))
}

/// How far the sweep is, on standard error: a bar on a terminal, and a line a run everywhere.
struct Shown {
    bar: Option<ProgressBar>,
}

impl Shown {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let template = "{bar:24} {pos}/{len} runs, {elapsed}: {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar }
    }

    fn show(&self, told: &Told<'_>) {
        match told {
            Told::Kept(kept, of) => self.line(&format!("{kept} of {of} runs were done before")),
            Told::Skipped(one) => {
                let (algorithm, n, reason) = (&one.algorithm, one.n, &one.reason);
                self.line(&format!("skipped {algorithm}, N {n}: {reason}"));
            }
            Told::Begins {
                number,
                of,
                algorithm,
                n,
                repeat,
                left,
            } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(*of);
                    bar.set_position(number - 1);
                    let left = left.map_or_else(String::new, |left| format!("; {}", about(left)));
                    bar.set_message(format!("{algorithm}, N {n}, run {repeat}{left}"));
                }
            }
            Told::Ended {
                cell,
                number,
                of,
                left,
            } => {
                let (algorithm, n, repeat) = (&cell.algorithm, cell.n, cell.repeat);
                let messages = cell.cost.as_ref().map(|cost| {
                    let messages = reports::counted(cost.messages.get(), "message");
                    format!(", {messages}")
                });
                let messages = messages.unwrap_or_default();
                let problem = cell.problems.first().map(|problem| format!(" ({problem})"));
                let problem = problem.unwrap_or_default();
                let left = left.filter(|_| number < of);
                let left = left.map_or_else(String::new, |left| format!("; {}", about(left)));
                self.line(&format!(
                    "[{number}/{of}] {algorithm}, N {n}, run {repeat}: {}{problem}{messages}, {:.1} s{left}",
                    cell.outcome(),
                    cell.took as f64 / 1e9
                ));
            }
        }
    }

    fn line(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.println(words),
            None => tell(&words),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `about 3 min left`.
fn about(left: Duration) -> String {
    let seconds = left.as_secs_f64();
    match seconds {
        ..90.0 => format!("about {:.0} s left", seconds.ceil()),
        90.0..5400.0 => format!("about {:.0} min left", seconds / 60.0),
        _ => format!("about {:.1} h left", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ranges_steps_and_lists() {
        let read = |text| numbers(text).map(|numbers| numbers.0);
        assert_eq!(read("4"), Ok(vec![4]));
        assert_eq!(read("2..=5"), Ok(vec![2, 3, 4, 5]));
        assert_eq!(read("3..=3"), Ok(vec![3]));
        assert_eq!(read("2..=9/3"), Ok(vec![2, 5, 8]));
        assert_eq!(read("8,2,4,2"), Ok(vec![2, 4, 8]));
        assert_eq!(read("2..=4,16, 32"), Ok(vec![2, 3, 4, 16, 32]));
    }

    #[test]
    fn numbers_that_are_none_say_why() {
        for (text, why) in [
            ("", "'' is no number"),
            ("x", "'x' is no number"),
            ("0", "'0' is no number"),
            ("-3", "'-3' is no number"),
            ("2..=70000", "'70000' is no number"),
            ("2..16", "write 2..=16"),
            ("9..=2", "the first number is the greater one"),
            ("2..=8/0", "'0' is no number"),
            ("2..=", "'' is no number"),
            ("2,,3", "'' is no number"),
        ] {
            let error = numbers(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_time_left_has_a_unit_that_suits_it() {
        let about = |seconds| about(Duration::from_secs(seconds));
        assert_eq!(about(7), "about 7 s left");
        assert_eq!(about(120), "about 2 min left");
        assert_eq!(about(9000), "about 2.5 h left");
    }
}
