//! `wirewatt run`: nodes, sniffer, audit, energy, one folder a run.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;

use super::interrupt::interrupted_flag;
use super::options::{ReportOptions, algorithm_options, duration, payload, processes, style};
use super::progress::with_progress;
use super::{Outcome, audit, print, tell, warn};
use crate::algorithm::{Algorithm, Options, ProcessId, catalog};
use crate::energy::{HostSensors, POWERCAP};
use crate::experiment::fleet::Progress;
use crate::experiment::loss;
use crate::experiment::scenario::Scenario;
use crate::experiment::{self, Finished, RunOptions};
use crate::ledger;
use crate::node::control::Connections;
use crate::report::{self, Compared, Report};
use crate::report::{chart, text};

/// Run algorithms beside the sniffer and hold formula, counters and wire against each other
#[derive(Debug, Args)]
#[command(override_usage = "wirewatt run [OPTIONS] ALGORITHM...
       wirewatt run [OPTIONS] --scenario FILE.toml [ALGORITHM]")]
#[command(after_help = "Examples:
  wirewatt run two-phase-commit -n 4
  wirewatt run ring -n 8 --rounds 100 --connections per-message
  wirewatt run centralized ring two-phase-commit      compares them
  wirewatt run all -n 5 --out study                   one folder an algorithm in study/
  wirewatt run two-phase-commit --option vote-no=2    an abort
  wirewatt run ring --payload 1000 --json > report.json
  wirewatt run two-phase-commit --fault kill=coordinator@after-votes,restart=500ms
  wirewatt run --scenario scenarios/two-phase-commit-coordinator-killed.toml
  wirewatt run ring --node-command '2=python3 tests/python/ring_node.py'

Faults (docs/scenarios.md; WHO is a process's id or its role, WHEN a time or a point of the algorithm,
as `wirewatt list algorithms` names them: 2@500ms, coordinator@after-votes, leader@elected#2):
  kill=WHO@WHEN[,restart=TIME[,storage=lost]]   kill a process, start it again TIME after its death
  stop=WHO@WHEN,for=TIME                        stop a process, let it go on after TIME
  delay=TIME[,of=ID]                            hold every message back before it is sent
  drop=SHARE[,of=ID][,kind=KIND][,most=COUNT]   drop a share of the messages before they are sent
  split=ID+ID…@TIME[,for=TIME]                  suppress messages between these and the others
  loss=SHARE                                    lose packets for real, in a network namespace (root)

What a run leaves in its folder: run.toml (what was run), capture.pcapng, ledger.jsonl (what the
nodes counted), history.jsonl (operations), report.json, report.html and charts.
`wirewatt audit FOLDER` makes the same verdict again from it.")]
pub(super) struct RunArgs {
    /// Algorithms, or `all`; `wirewatt list algorithms` names them. None where --scenario names it
    #[arg(required_unless_present = "scenario", value_name = "ALGORITHM")]
    algorithms: Vec<String>,

    /// How many processes [default: 4, or as the scenario says]
    #[arg(short, value_name = "N", value_parser = processes, allow_negative_numbers = true)]
    n: Option<u32>,

    /// How often each initiator repeats its operation [default: 1, or as the scenario says]
    #[arg(long, value_name = "R")]
    rounds: Option<u32>,

    /// How connections are used: one a pair, one a message, or one a request and its reply
    #[arg(long, value_enum, default_value_t)]
    connections: Connections,

    /// Bytes of payload beside every message's body
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = payload)]
    payload: usize,

    /// Process i listens on this port + i; by default the algorithm's own range
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    base_port: Option<u16>,

    /// How long the operations may take, as in 30s, 500ms, 5m; a bare number is seconds [default: 30s, or as the scenario says]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    timeout: Option<Duration>,

    /// Inject a fault; repeatable, in addition to the scenario's
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,

    /// Read faults, and what the command line leaves open, from a file
    #[arg(long, value_name = "FILE.toml")]
    scenario: Option<PathBuf>,

    /// Decides which messages `drop` drops
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// With faults, do not run without them first: the report does not tell what they cost
    #[arg(long)]
    no_baseline: bool,

    /// Run one node with another program, which speaks docs/control-protocol.md; repeatable
    #[arg(long = "node-command", value_name = "ID=COMMAND")]
    node_commands: Vec<String>,

    /// An option of the algorithm's own; repeatable. Among several algorithms it goes to those that
    /// have it
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// Measure the machine's idle power for so long before the run, where it has powercap counters;
    /// 0 subtracts nothing
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = duration)]
    idle_seconds: Duration,

    /// Folder of the powercap counters
    #[arg(long, value_name = "DIR", default_value = POWERCAP, hide = true)]
    powercap: PathBuf,

    /// Folder to leave; with several algorithms, a folder each in it
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    #[command(flatten)]
    pub report: ReportOptions,
}

pub(super) fn run(args: &RunArgs) -> Outcome {
    let plan = Plan::of(args)?;
    let algorithms = args.algorithms(&plan)?;
    let options = args.options(&plan, &algorithms)?;
    for (algorithm, options) in algorithms.iter().zip(&options) {
        plan.check(algorithm, options, args.connections)?;
    }
    if plan.scenario.loses_packets() {
        if !loss::has_namespace() {
            return in_namespace();
        }
        loss::prepare()?;
    }
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
        warn_of_ephemeral_ports(base_port, (algorithm.processes)(plan.n));
        let progress = Arc::new(Progress::default());
        let operations = (algorithm.operations)(plan.n, plan.rounds, &options);
        let run = with_progress(how_far(&progress, operations), || {
            experiment::run(
                &RunOptions {
                    progress: progress.clone(),
                    algorithm,
                    n: plan.n,
                    rounds: plan.rounds,
                    base_port,
                    connections: args.connections,
                    payload: args.payload,
                    mtu: args.report.projection.mtu(),
                    options,
                    timeout: plan.timeout,
                    faults: plan.scenario.injected(),
                    seed: plan.seed,
                    baseline: !args.no_baseline,
                    own_commands: plan.node_commands.clone(),
                    host: Some(HostSensors {
                        powercap: args.powercap.clone(),
                        idle: args.idle_seconds,
                    }),
                    folder: if several {
                        out.join(algorithm.name)
                    } else {
                        out.clone()
                    },
                    command: std::env::args().collect(),
                },
                &models,
                &cancel,
            )
        });
        let run = match run {
            Ok(run) => run,
            Err(error) if several => {
                tell(&format_args!("wirewatt: {}: {error}", algorithm.name));
                code = code.max(2);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        code = code.max(run.exit_code());
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
        let charts = chart::of_comparison(&compared);
        if let Err(error) = chart::write_all(&charts, &out.join("charts")) {
            code = 2;
            warn(&error);
        }
    }
    Ok(ExitCode::from(code))
}

/// What a terminal shows of a run.
fn how_far(progress: &Arc<Progress>, operations: u64) -> impl Fn(Duration) -> String + use<> {
    let progress = progress.clone();
    move |elapsed| {
        let seconds = elapsed.as_secs();
        let listening = progress.listening.load(Ordering::Relaxed);
        let ended = progress.ended.load(Ordering::Relaxed);
        format!("{seconds} s: {listening} nodes up, {ended} of {operations} operations ended")
    }
}

/// What the command line and the scenario come to.
struct Plan {
    scenario: Scenario,
    n: u32,
    rounds: u32,
    timeout: Duration,
    seed: u64,
    node_commands: BTreeMap<ProcessId, Vec<OsString>>,
}

impl Plan {
    fn of(args: &RunArgs) -> Result<Self, Box<dyn Error>> {
        let mut scenario = match &args.scenario {
            Some(path) => Scenario::read(path)?,
            None => Scenario::default(),
        };
        for fault in &args.faults {
            scenario.add(fault)?;
        }
        if let Some(path) = &args.scenario
            && scenario.faults.is_empty()
        {
            let path = path.display();
            warn(&format_args!(
                "{path} has no [[fault]]: nothing is injected"
            ));
        }
        let mut node_commands = BTreeMap::new();
        for text in &args.node_commands {
            let (id, command) = node_command(text)?;
            node_commands.insert(id, command);
        }
        Ok(Self {
            n: args.n.or(scenario.n).unwrap_or(4),
            rounds: args.rounds.or(scenario.rounds).unwrap_or(1),
            timeout: args
                .timeout
                .or(scenario.timeout)
                .unwrap_or(Duration::from_secs(30)),
            seed: args.seed.or(scenario.seed).unwrap_or_default(),
            node_commands,
            scenario,
        })
    }

    /// Whether the algorithm has what the faults and commands name.
    fn check(
        &self,
        algorithm: &Algorithm,
        options: &Options,
        connections: Connections,
    ) -> Result<(), Box<dyn Error>> {
        let processes = (algorithm.processes)(self.n);
        self.scenario.check(algorithm, processes, connections)?;
        let absent = (algorithm.absent)(self.n, options);
        for id in self.node_commands.keys() {
            if id.0 >= processes || absent.contains(id) {
                return Err(format!(
                    "--node-command {id}=…: {} has no such process",
                    algorithm.name
                )
                .into());
            }
        }
        Ok(())
    }
}

/// `ID=COMMAND`: the shell's words of a command.
fn node_command(text: &str) -> Result<(ProcessId, Vec<OsString>), String> {
    let wrong = || format!("--node-command '{text}': expected ID=COMMAND, as in 2=./my-node");
    let (id, command) = text.split_once('=').ok_or_else(wrong)?;
    let id = id.parse().map(ProcessId).map_err(|_| wrong())?;
    if command.trim().is_empty() {
        return Err(wrong());
    }
    // The shell's place is taken by the program: what is killed is the node.
    let command = ["/bin/sh", "-c", &format!("exec {command} \"$@\""), "node"];
    Ok((id, command.map(OsString::from).to_vec()))
}

/// Puts this program, with the same arguments, in this process's place within a network namespace of
/// its own.
pub(super) fn in_namespace() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut command = loss::in_namespace(&arguments)?;
    tell(&format_args!(
        "packets are lost in a network namespace of this run's own"
    ));
    Err(format!("cannot start unshare: {}", command.exec()).into())
}

impl RunArgs {
    fn algorithms(&self, plan: &Plan) -> Result<Vec<&'static Algorithm>, Box<dyn Error>> {
        let mut algorithms: Vec<&'static Algorithm> = Vec::new();
        let of_scenario = plan.scenario.algorithm.as_deref();
        if self.algorithms.is_empty() {
            let name = of_scenario.ok_or("the scenario names no algorithm: name one")?;
            algorithms.push(catalog::by_name(name)?);
        } else if let Some(name) = of_scenario
            && self.algorithms != [name]
        {
            return Err(format!("the scenario is for {name} alone").into());
        } else {
            algorithms = algorithms_named(&self.algorithms, "use --rounds to repeat it")?;
        }
        for algorithm in &algorithms {
            algorithm.check(plan.n, plan.rounds, &Options::default())?;
        }
        Ok(algorithms)
    }

    /// The options of each algorithm.
    fn options(
        &self,
        plan: &Plan,
        algorithms: &[&Algorithm],
    ) -> Result<Vec<Options>, Box<dyn Error>> {
        let mut given = plan.scenario.options.clone();
        given.0.extend(algorithm_options(&self.options)?.0);
        let options = options_of_each(&given, algorithms);
        for (algorithm, own) in algorithms.iter().zip(&options) {
            algorithm.check(plan.n, plan.rounds, own)?;
        }
        Ok(options)
    }
}

/// Algorithms by name, or all of them.
pub(super) fn algorithms_named(
    names: &[String],
    again: &str,
) -> Result<Vec<&'static Algorithm>, Box<dyn Error>> {
    if names == ["all"] {
        return Ok(catalog::all().collect());
    }
    let mut algorithms: Vec<&'static Algorithm> = Vec::new();
    for name in names {
        let algorithm = catalog::by_name(name)?;
        if algorithms.iter().any(|other| other.name == algorithm.name) {
            return Err(format!("{name} is named twice: {again}").into());
        }
        algorithms.push(algorithm);
    }
    Ok(algorithms)
}

/// The options of each algorithm. One that none of several has is given to all, which makes it the
/// error that it is.
pub(super) fn options_of_each(given: &Options, algorithms: &[&Algorithm]) -> Vec<Options> {
    let has = |algorithm: &Algorithm, name: &str| {
        algorithm.options.iter().any(|option| option.name == name)
    };
    let somebodys = |name: &str| algorithms.iter().any(|algorithm| has(algorithm, name));
    let own = |algorithm: &&Algorithm| {
        let mut own = given.clone();
        own.0
            .retain(|name, _| has(algorithm, name) || !somebodys(name));
        own
    };
    algorithms.iter().map(own).collect()
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
pub(super) fn warn_of_ephemeral_ports(base_port: u16, n: u32) {
    const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let Ok(text) = std::fs::read_to_string(RANGE) else {
        return;
    };
    let mut ends = text
        .split_whitespace()
        .filter_map(|end| end.parse::<u32>().ok());
    if let (Some(low), Some(high)) = (ends.next(), ends.next())
        && u32::from(base_port) <= high
        // Beyond the last port is an error of its own.
        && u32::from(base_port) + n <= 1 << 16
        && u32::from(base_port) + n > low
    {
        warn(&format_args!(
            "ports from {base_port} on lie in the kernel's ephemeral range {low}-{high}: a client \
             may take one before a node does; choose a lower --base-port"
        ));
    }
}
