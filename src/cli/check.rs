//! `wirewatt check`: every execution of an algorithm within bounds, and the shortest that breaks a
//! property.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupt::interrupted_flag;
use super::options::algorithm_options;
use super::progress::with_progress;
use super::{Outcome, print, tell, warn};
use crate::algorithm::catalog;
use crate::experiment::scenario::Scenario;
use crate::report::counted;
use crate::simulation::check::{Bounds, Model, Time};
use crate::simulation::{Order, Storage, Watch};

/// Explore every execution of an algorithm within bounds, for a few processes
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt check ricart-agrawala -n 3
  wirewatt check two-phase-commit -n 3 --crashes 1 --restarts 1
  wirewatt check three-phase-commit --synchronous --splits 1 --scenario split.toml
  wirewatt run --scenario split.toml                    the same on sockets
  wirewatt check lamport-mutex --any-order              why it needs FIFO channels

Explored are all orders of deliveries that the channels admit, timers at any moment, all choices,
and crashes before, after and between any two actions of a step. The number of states grows fast
with N, crashes and timers. Exit code: 0 every property holds, 1 one does not, 2 it could not be
explored to its end.")]
pub(super) struct CheckArgs {
    /// The algorithm; `wirewatt list algorithms` names them
    algorithm: String,

    /// How many processes
    #[arg(short, default_value_t = 3, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=16))]
    n: u32,

    /// How often each initiator repeats its operation
    #[arg(long, default_value_t = 1, value_name = "R")]
    rounds: u32,

    /// An option of the algorithm's own; repeatable
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// How many crashes there may be
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    crashes: u32,

    /// Crashes fall at the points that the algorithm names and nowhere else, as `run` can play them
    #[arg(long)]
    at_points: bool,

    /// How many crashed processes may come back, with what they had persisted
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    restarts: u32,

    /// A crash destroys what was persisted: more than any algorithm here promises to bear
    #[arg(long)]
    storage_lost: bool,

    /// How many messages may be lost
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    losses: u32,

    /// How many messages may come twice
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    duplicates: u32,

    /// The network may split in two, for ever
    #[arg(long, default_value_t = 0, value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(0..=1))]
    splits: u32,

    /// How many timers may fire; without it, all
    #[arg(long, value_name = "COUNT")]
    timeouts: Option<u32>,

    /// Messages take no time beside timeouts: a timer fires only when nothing is on its way
    #[arg(long)]
    synchronous: bool,

    /// Messages of one channel overtake each other, even where the algorithm needs their order
    #[arg(long)]
    any_order: bool,

    /// Give up after so many states
    #[arg(long, default_value_t = 5_000_000, value_name = "COUNT")]
    states: usize,

    /// Write a counterexample as a scenario that `run --scenario` plays
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
}

pub(super) fn run(args: &CheckArgs) -> Outcome {
    let model = args.model()?;
    let began = Instant::now();
    let watch = Watch {
        stop: interrupted_flag()?,
        ..Watch::default()
    };
    let steps = watch.steps.clone();
    let how_far = move |elapsed: Duration| {
        let states = counted(steps.load(Ordering::Relaxed), "state");
        format!("{} s: {states}", elapsed.as_secs())
    };
    let explored = with_progress(how_far, || model.explore_watched(&watch))?;
    tell(&format_args!(
        "explored in {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    print(&format!("{explored}\n"))?;
    let Some(counterexample) = &explored.counterexample else {
        if watch.stop.load(Ordering::Relaxed) && explored.gave_up {
            warn(&"interrupted: not all of it was explored");
            return Ok(ExitCode::from(2));
        }
        if explored.gave_up {
            warn(&"not all of it was explored: allow more --states, or less to fail");
            return Ok(ExitCode::from(2));
        }
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(file) = &args.scenario {
        match Scenario::from_counterexample(&model, counterexample) {
            Ok(scenario) => std::fs::write(file, scenario.to_toml())
                .map_err(|error| format!("cannot write {}: {error}", file.display()))?,
            Err(why) => warn(&format_args!("no scenario was written: {why}")),
        }
    }
    Ok(ExitCode::from(1))
}

impl CheckArgs {
    fn model(&self) -> Result<Model, Box<dyn std::error::Error>> {
        let mut model = Model::new(catalog::by_name(&self.algorithm)?, self.n);
        model.rounds = self.rounds;
        model.options = algorithm_options(&self.options)?;
        model.bounds = Bounds {
            crashes: self.crashes,
            may_crash: None,
            at_points: self.at_points,
            restarts: self.restarts,
            losses: self.losses,
            duplicates: self.duplicates,
            splits: self.splits,
            timeouts: self.timeouts.unwrap_or(u32::MAX),
            states: self.states,
        };
        if self.synchronous {
            model.time = Time::Synchronous;
        }
        if self.any_order {
            model.order = Order::Any;
        }
        if self.storage_lost {
            model.storage = Storage::Lost;
        }
        Ok(model)
    }
}
