//! `wirewatt simulate`: an algorithm's processes in memory, and what they would cost on the wire.

use std::fmt;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupt::interrupted_flag;
use super::options::{EnergyOptions, ProjectionOptions, duration, style};
use super::progress::with_progress;
use super::{Outcome, print, tell, warn};
use crate::algorithm::{Options, SetupError, catalog};
use crate::experiment;
use crate::node::control::Connections;
use crate::report::simulation::{self as report, SimulationReport};
use crate::report::{counted, grouped};
use crate::simulation::{Fault, Network, Order, Scenario, Watch, WireOptions};

/// Every process and what it reports is in memory, about 1 KB each.
const MOST_PROCESSES: i64 = 2_000_000;

/// Simulate an algorithm in memory: messages, properties, and the predicted cost on the wire
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt simulate two-phase-commit -n 4
  wirewatt simulate ring -n 100000 --connections per-message
  wirewatt simulate two-phase-commit -n 8 --option vote-no=2 --seed 7
  wirewatt simulate centralized -n 50 --repeat 1000     1000 schedules, and whether each is right
  wirewatt simulate ring -n 5 --loss 100 --seed 3       a lost token
  wirewatt simulate two-phase-commit --fault kill=0@after-votes,restart=200ms
  wirewatt simulate ring --payload 60000 --mtu 9000     what it would be in jumbo frames
  wirewatt simulate ring -n 5 --json > simulation.json

The same seed gives the same run. Exit code: 0 formula, identities and properties agree with what
happened, 1 they do not, 2 it could not be simulated, was cut at its limit or interrupted.")]
pub(super) struct SimulateArgs {
    /// The algorithm; `wirewatt list algorithms` names them
    algorithm: String,

    /// How many processes
    #[arg(short, default_value_t = 4, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MOST_PROCESSES))]
    n: u32,

    /// How often each initiator repeats its operation
    #[arg(long, default_value_t = 1, value_name = "R")]
    rounds: u32,

    /// What all random numbers come from
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    seed: u64,

    /// An option of the algorithm's own; repeatable
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// How long a message takes, at least and at most
    #[arg(long, default_value = "0.1ms..10ms", value_parser = delays, value_name = "MIN..MAX")]
    delay: RangeInclusive<Duration>,

    /// How many of 1000 messages are lost: more than any algorithm here promises to bear
    #[arg(long, default_value_t = 0, value_name = "PER_MILLE",
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    loss: u32,

    /// How many of 1000 messages come twice: more than any algorithm here promises to bear
    #[arg(long, default_value_t = 0, value_name = "PER_MILLE",
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    duplicate: u32,

    /// In which order messages from one process to another come: as the algorithm declares it needs,
    /// as sent, or any
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    order: Order,

    /// A fault: kill=ID@WHEN[,restart=TIME[,storage=lost]] or split=ID+ID…@TIME[,for=TIME]; WHEN is
    /// a time or a point of the algorithm. Repeatable
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<String>,

    /// Simulate this many seeds, from SEED on, and sum them up
    #[arg(long, default_value_t = 1, value_name = "K",
          value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Cut a run after so much virtual time, as in 30s, 5m, 2h
    #[arg(long, default_value = "24h", value_parser = duration, value_name = "DURATION")]
    limit: Duration,

    /// How connections would be used: one a pair, one a message, or one a request and its reply
    #[arg(long, value_enum, default_value_t)]
    connections: Connections,

    /// Bytes of payload beside every message's body
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    payload: usize,

    #[command(flatten)]
    energy: EnergyOptions,

    #[command(flatten)]
    projection: ProjectionOptions,

    /// Print the report as JSON and nothing else on standard output
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SimulateArgs) -> Outcome {
    let algorithm = catalog::by_name(&args.algorithm)?;
    let options = super::options::algorithm_options(&args.options)?;
    let faults = experiment::simulated_faults(algorithm, args.n, &args.faults)?;
    let models = args.energy.models()?;
    let watch = Watch {
        stop: interrupted_flag()?,
        ..Watch::default()
    };
    let so_far = SoFar {
        watch: watch.clone(),
        operations: (algorithm.operations)(args.n, args.rounds, &options),
        runs: args.repeat,
        done: Arc::default(),
    };
    let began = Instant::now();
    let shown = so_far.clone();
    let how_far = move |elapsed: Duration| format!("{} s: {shown}", elapsed.as_secs());
    let reports = with_progress(how_far, || {
        let mut reports: Vec<SimulationReport> = Vec::new();
        for number in 0..args.repeat {
            so_far.done.store(number, Ordering::Relaxed);
            let seed = args.seed.wrapping_add(number.into());
            let scenario = args.scenario(&options, &faults, seed);
            match experiment::simulate(algorithm, &scenario, &models, &watch)? {
                Some(report) => reports.push(report),
                None => break,
            }
        }
        Ok::<_, SetupError>(reports)
    })?;
    let interrupted = reports.len() < args.repeat as usize;
    let printed = match &reports[..] {
        [report] if args.repeat == 1 && args.json => serde_json::to_string_pretty(report)? + "\n",
        [report] if args.repeat == 1 => report::simulated(report, style()),
        [] if args.repeat == 1 => String::new(),
        reports if args.json => serde_json::to_string_pretty(reports)? + "\n",
        reports => report::simulated_again(reports, style()),
    };
    print(&printed)?;
    if interrupted {
        warn(&format_args!(
            "interrupted: {so_far}; nothing is reported of the run that did not end"
        ));
    }
    tell(&format_args!(
        "simulated in {:.1} s{}",
        began.elapsed().as_secs_f64(),
        memory()
    ));
    let cut = reports.iter().any(|report| report.cut);
    Ok(ExitCode::from(
        match reports.iter().all(SimulationReport::agrees) {
            _ if interrupted || cut => 2,
            true => 0,
            false => 1,
        },
    ))
}

/// How far the simulation is, in words.
#[derive(Clone)]
struct SoFar {
    watch: Watch,
    /// Of a run.
    operations: u64,
    runs: u32,
    /// Runs that have ended.
    done: Arc<AtomicU32>,
}

impl fmt::Display for SoFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.runs > 1 {
            let done = grouped(self.done.load(Ordering::Relaxed).into());
            write!(
                f,
                "{done} of {} simulated, ",
                counted(self.runs.into(), "run")
            )?;
        }
        write!(
            f,
            "{}, {} of {} ended",
            counted(self.watch.steps.load(Ordering::Relaxed), "event"),
            grouped(self.watch.operations.load(Ordering::Relaxed)),
            counted(self.operations, "operation"),
        )
    }
}

impl SimulateArgs {
    fn scenario(&self, options: &Options, faults: &[Fault], seed: u64) -> Scenario {
        Scenario {
            options: options.clone(),
            network: Network {
                delay: self.delay.clone(),
                loss_per_mille: self.loss,
                duplicate_per_mille: self.duplicate,
                order: self.order,
            },
            faults: faults.to_vec(),
            limit: self.limit,
            log: false,
            wire: Some(WireOptions {
                connections: self.connections,
                payload: self.payload,
                mtu: self.projection.mtu(),
            }),
            ..Scenario::new(self.n, self.rounds, seed)
        }
    }
}

/// Reads `MIN..MAX`, or one time for all messages.
fn delays(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let (least, most) = (duration(least)?, duration(most)?);
    if least > most {
        return Err(format!("'{text}': the first delay is the longer one"));
    }
    Ok(least..=most)
}

/// The most memory that the process has had, where the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or_else(String::new, |kib| {
        format!(", {} MiB of memory at most", kib.div_ceil(1024))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_a_range_or_one_time() {
        let ms = Duration::from_millis;
        assert_eq!(delays("1ms..20ms"), Ok(ms(1)..=ms(20)));
        assert_eq!(
            delays("0.1ms..10ms"),
            Ok(Duration::from_micros(100)..=ms(10))
        );
        assert_eq!(delays("5ms"), Ok(ms(5)..=ms(5)));
        assert!(delays("2ms..1ms").is_err());
        assert!(delays("x..1ms").is_err());
    }
}
