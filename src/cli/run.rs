//! `wirewatt run`: nodes, sniffer, audit, energy, one folder a run.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::interrupt::interrupted_flag;
use super::options::{ReportOptions, algorithm_options, duration, style};
use super::{Outcome, audit, print, tell, warn};
use crate::algorithm::{Algorithm, Options, catalog};
use crate::experiment::{self, Finished, RunOptions};
use crate::ledger;
use crate::node::control::Connections;
use crate::report::text;
use crate::report::{self, Compared, Report};

/// Run algorithms beside the sniffer and hold formula, counters and wire against each other
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt run two-phase-commit -n 4
  wirewatt run ring -n 8 --rounds 100 --connections per-message
  wirewatt run centralized ring two-phase-commit      compares them
  wirewatt run all -n 5 --out study                   one folder an algorithm in study/
  wirewatt run two-phase-commit --option vote-no=2    an abort
  wirewatt run ring --payload 1000 --json > report.json

What a run leaves in its folder: run.toml (what was run), capture.pcapng, ledger.jsonl (what the
nodes counted), history.jsonl (operations), report.json, report.html and charts.
`wirewatt audit FOLDER` makes the same verdict again from it.")]
pub(super) struct RunArgs {
    /// Algorithms, or `all`; `wirewatt list algorithms` names them
    #[arg(required = true, value_name = "ALGORITHM")]
    algorithms: Vec<String>,

    /// How many processes
    #[arg(short, default_value_t = 4, value_name = "N")]
    n: u32,

    /// How often each initiator repeats its operation
    #[arg(long, default_value_t = 1, value_name = "R")]
    rounds: u32,

    /// How connections are used: one a pair, one a message, or one a request and its reply
    #[arg(long, value_enum, default_value_t)]
    connections: Connections,

    /// Bytes of payload beside every message's body
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    payload: usize,

    /// Process i listens on this port + i; by default the algorithm's own range
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,

    /// How long the operations may take, as in 30s, 500ms, 5m
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// An option of the algorithm's own; repeatable. Among several algorithms it goes to those that
    /// have it
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// Folder to leave; with several algorithms, a folder each in it
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    report: ReportOptions,
}

pub(super) fn run(args: &RunArgs) -> Outcome {
    let algorithms = args.algorithms()?;
    let options = args.options(&algorithms)?;
    let models = args.report.models()?;
    let cancel = interrupted_flag()?;
    let several = algorithms.len() > 1;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&algorithms));

    let mut finished: Vec<(&'static Algorithm, Finished)> = Vec::new();
    let (mut code, mut started) = (0, 0);
    for (algorithm, options) in algorithms.iter().copied().zip(options) {
        if cancel.load(Ordering::Relaxed) {
            code = 2;
            let left: Vec<&str> = algorithms[started..].iter().map(|a| a.name).collect();
            warn(&format_args!("interrupted: {} not run", left.join(", ")));
            break;
        }
        started += 1;
        let base_port = args
            .base_port
            .unwrap_or(*algorithm.protocol().ports.start());
        warn_of_ephemeral_ports(base_port, args.n);
        let run = experiment::run(
            &RunOptions {
                algorithm,
                n: args.n,
                rounds: args.rounds,
                base_port,
                connections: args.connections,
                payload: args.payload,
                options,
                timeout: args.timeout,
                folder: if several {
                    out.join(algorithm.name)
                } else {
                    out.clone()
                },
                command: std::env::args().collect(),
            },
            &models,
            &cancel,
        );
        let run = match run {
            Ok(run) => run,
            Err(error) if several => {
                tell(&format_args!("wirewatt: {}: {error}", algorithm.name));
                code = code.max(2);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        code = code.max(audit::exit_code(&run));
        if !args.report.json {
            if several {
                print(&format!("{}\n", algorithm.name.to_uppercase()))?;
            }
            args.report.print(&run.report)?;
            print("\n")?;
        }
        audit::tell_problems(&run);
        tell(&format_args!("run folder: {}", run.folder.display()));
        finished.push((algorithm, run));
    }

    if args.report.json {
        print_json(&finished, several)?;
    }
    if several && !finished.is_empty() {
        let compared = compared(&finished);
        if !args.report.json {
            print(&text::comparison(&compared, style()))?;
        }
        let page = out.join("comparison.html");
        match std::fs::write(&page, report::html::comparison(&compared)?) {
            Ok(()) => tell(&format_args!("comparison: {}", page.display())),
            Err(error) => {
                code = 2;
                warn(&format_args!("cannot write {}: {error}", page.display()));
            }
        }
    }
    Ok(ExitCode::from(code))
}

impl RunArgs {
    fn algorithms(&self) -> Result<Vec<&'static Algorithm>, Box<dyn Error>> {
        let mut algorithms: Vec<&'static Algorithm> = Vec::new();
        if self.algorithms == ["all"] {
            algorithms.extend(catalog::all());
        } else {
            self.add_named(&mut algorithms)?;
        }
        for algorithm in &algorithms {
            algorithm.check(self.n, self.rounds, &Options::default())?;
        }
        Ok(algorithms)
    }

    fn add_named(&self, algorithms: &mut Vec<&'static Algorithm>) -> Result<(), Box<dyn Error>> {
        for name in &self.algorithms {
            let algorithm = catalog::by_name(name)?;
            if algorithms.iter().any(|other| other.name == algorithm.name) {
                return Err(format!("{name} is named twice: use --rounds to repeat it").into());
            }
            algorithms.push(algorithm);
        }
        Ok(())
    }

    /// The options of each algorithm. One that none of several has is given to all, which makes it
    /// the error that it is.
    fn options(&self, algorithms: &[&Algorithm]) -> Result<Vec<Options>, Box<dyn Error>> {
        let given = algorithm_options(&self.options)?;
        let has = |algorithm: &Algorithm, name: &str| {
            algorithm.options.iter().any(|option| option.name == name)
        };
        let somebodys = |name: &str| algorithms.iter().any(|algorithm| has(algorithm, name));
        let mut options = Vec::new();
        for algorithm in algorithms {
            let mut own = given.clone();
            own.0
                .retain(|name, _| has(algorithm, name) || !somebodys(name));
            algorithm.check(self.n, self.rounds, &own)?;
            options.push(own);
        }
        Ok(options)
    }
}

fn compared<'a>(finished: &'a [(&'static Algorithm, Finished)]) -> Vec<Compared<'a>> {
    let compared = |(algorithm, run): &'a (&'static Algorithm, Finished)| Compared {
        protocol: algorithm.name,
        processes: Some(run.n),
        report: &run.report,
    };
    finished.iter().map(compared).collect()
}

/// One report, or an array of them.
fn print_json(finished: &[(&Algorithm, Finished)], several: bool) -> Result<(), Box<dyn Error>> {
    let reports: Vec<&Report> = finished.iter().map(|(_, run)| &run.report).collect();
    let json = match reports[..] {
        [report] if !several => serde_json::to_string_pretty(report)?,
        _ => serde_json::to_string_pretty(&reports)?,
    };
    print(&(json + "\n"))?;
    Ok(())
}

/// `wirewatt-runs/TIME-ALGORITHM`, or without the algorithm where there are several.
fn default_folder(algorithms: &[&Algorithm]) -> PathBuf {
    let time = report::compact_time(ledger::now());
    let name = match algorithms {
        [algorithm] => format!("{time}-{}", algorithm.name),
        _ => time,
    };
    Path::new("wirewatt-runs").join(name)
}

/// Where the kernel gives a client one of the nodes' ports, a node cannot listen on it.
fn warn_of_ephemeral_ports(base_port: u16, n: u32) {
    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let Ok(text) = std::fs::read_to_string(RANGE) else {
        return;
    };
    let mut ends = text
        .split_whitespace()
        .filter_map(|end| end.parse::<u32>().ok());
    if let (Some(low), Some(high)) = (ends.next(), ends.next())
        && u32::from(base_port) <= high
        && u32::from(base_port) + n > low
    {
        warn(&format_args!(
            "ports from {base_port} on lie in the kernel's ephemeral range {low}-{high}: a client \
             may take one before a node does; choose a lower --base-port"
        ));
    }
}
