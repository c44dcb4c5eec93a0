//! A sweep: a grid of runs in one folder, which goes on after an interruption where it was stopped.
//!
//! `sweep.toml` says what the grid is. Each run has a folder of its own, and is done once `cell.json`
//! stands in it, which is written last: what is there without it was cut off, and is done again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::fault::FaultError;
use super::fleet::Progress;
use super::folder::{FolderError, write_whole};
use super::run::{RunError, RunOptions, run};
use super::scenario;
use super::simulation::simulate;
use crate::algorithm::{Algorithm, Options, SetupError, catalog};
use crate::ledger;
use crate::node::control::Connections;
use crate::report::sweep::{Conditions, Predicted, Skipped, SweepCell, SweepReport};
use crate::report::{Models, make_folder, rate, text};
use crate::simulation::{Scenario, Watch, WireOptions};
use crate::units::{Mtu, Timestamp, duration_text};

/// The version of `sweep.toml`.
const SCHEMA: &str = "wirewatt-sweep-grid/1";

const SWEEP_TOML: &str = "sweep.toml";
const CELL: &str = "cell.json";

/// What to run, and how. Two sweeps are the same where all of it is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// The algorithms, by name.
    pub algorithms: Vec<String>,
    /// Numbers of processes.
    pub n: Vec<u32>,
    /// How often each algorithm runs with each number of processes.
    pub repeat: u32,
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// How connections are used.
    pub connections: Connections,
    /// Payload beside every body, in bytes.
    pub payload: usize,
    /// What packets are projected onto.
    #[serde(default)]
    pub mtu: Mtu,
    /// How long the operations of a run may take, as in `30s`.
    pub timeout: String,
    /// Process i listens on this port + i; absent where each algorithm has its own range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_port: Option<u16>,
    /// Headline model and grid, in words.
    pub energy: String,
    /// A checksum of all figures of all models and of the grid.
    pub models: String,
    /// Faults that are injected into each run, as `run --fault` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Decides which messages are dropped; each repetition after the first adds one to it.
    #[serde(default, skip_serializing_if = "is_nought")]
    pub seed: u64,
    /// Each algorithm's own options.
    #[serde(default)]
    pub options: BTreeMap<String, Options>,
}

/// A sweep that was begun before there were seeds has none.
fn is_nought(seed: &u64) -> bool {
    *seed == 0
}

/// `sweep.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SweepRecord {
    schema: String,
    version: String,
    started: Timestamp,
    /// The command that began it, from which it can be gone on with.
    command: Vec<String>,
    grid: Grid,
}

/// Why a sweep cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Something else is in the folder.
    #[error("{0} is not empty, and no sweep is in it: choose another --out")]
    NotEmpty(PathBuf),
    /// No sweep is in it.
    #[error("{0} is not the folder of a sweep: there is no sweep.toml in it")]
    NoSweep(PathBuf),
    /// Another grid is in it.
    #[error(
        "{path} holds a sweep of another grid: {changes}; give the same grid, or choose another --out"
    )]
    Changed {
        /// The folder.
        path: PathBuf,
        /// What is not the same.
        changes: String,
    },
    /// Another version began it.
    #[error(
        "{path} holds runs of wirewatt {begun}, and this is {}: figures of two versions do not belong in \
         one table; make it anew in another --out, or go on with wirewatt {begun}. `wirewatt plot {path}` \
         draws what is there",
        env!("CARGO_PKG_VERSION")
    )]
    OtherVersion {
        /// The folder, as it is shown.
        path: String,
        /// The version that began it.
        begun: String,
    },
    /// A fault that an algorithm of the grid has at no number of processes.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// Another process works on it.
    #[error("{0}: another process works on this sweep")]
    Busy(PathBuf),
    /// Something could not be written.
    #[error(
        "{problem}; make room, and go on with `wirewatt sweep --resume {}`", path.display()
    )]
    Unwritten {
        /// The folder.
        path: PathBuf,
        /// What, and why.
        problem: String,
    },
    /// Nothing of the grid is possible.
    #[error("nothing of the grid can be run: {0}")]
    NothingPossible(String),
    /// A folder or file.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The algorithm's name or numbers.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No run can be made, whatever is run.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What a sweep tells while it goes on.
#[derive(Debug)]
pub enum Told<'a> {
    /// So many runs were done before, of so many.
    Kept(u64, u64),
    /// This cannot be run.
    Skipped(&'a Skipped),
    /// A run begins.
    Begins {
        /// Which, from 1.
        number: u64,
        /// Of how many.
        of: u64,
        /// The algorithm.
        algorithm: &'static str,
        /// The number of processes.
        n: u32,
        /// Which repetition, from 1.
        repeat: u32,
        /// How long this run and all after it are likely to take, once one has ended.
        left: Option<Duration>,
    },
    /// A run has ended.
    Ended {
        /// What came of it.
        cell: &'a SweepCell,
        /// Which, from 1.
        number: u64,
        /// Of how many.
        of: u64,
        /// How long all after it are likely to take.
        left: Option<Duration>,
    },
}

/// The folder of a sweep, which no other process works on meanwhile.
#[derive(Debug)]
pub struct SweepFolder {
    path: PathBuf,
    record: SweepRecord,
    /// Holds the lock.
    _locked: File,
}

impl SweepFolder {
    /// The folder of this grid's sweep: a new one, or one to go on with.
    ///
    /// # Errors
    ///
    /// [`SweepError`] where it holds something else or cannot be written.
    pub fn begin(path: &Path, grid: &Grid, command: Vec<String>) -> Result<Self, SweepError> {
        let (cells, skipped) = grid.cells()?;
        if let (true, Some(first)) = (cells.is_empty(), skipped.first()) {
            return Err(SweepError::NothingPossible(first.reason.clone()));
        }
        if path.join(SWEEP_TOML).exists() {
            let folder = Self::open(path)?;
            let changes = changes(&folder.record.grid, grid);
            if !changes.is_empty() {
                let (path, changes) = (path.to_owned(), changes.join("; "));
                return Err(SweepError::Changed { path, changes });
            }
            return Ok(folder);
        }
        let cannot = |source| FolderError::Make {
            path: path.to_owned(),
            source,
        };
        make_folder(path).map_err(cannot)?;
        if fs::read_dir(path).map_err(cannot)?.next().is_some() {
            return Err(SweepError::NotEmpty(path.to_owned()));
        }
        let record = SweepRecord {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: ledger::now(),
            command,
            grid: grid.clone(),
        };
        let text = toml::to_string(&record).map_err(|error| FolderError::Content {
            path: path.join(SWEEP_TOML),
            problem: error.to_string(),
        })?;
        write_whole(path, SWEEP_TOML, text.as_bytes())?;
        Self::open(path)
    }

    /// The folder of a sweep that has begun.
    ///
    /// # Errors
    ///
    /// [`SweepError`] where it is none.
    pub fn open(path: &Path) -> Result<Self, SweepError> {
        let file = path.join(SWEEP_TOML);
        let locked = match File::open(&file) {
            Ok(locked) => locked,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SweepError::NoSweep(path.to_owned()));
            }
            Err(source) => return Err(reading(file, source).into()),
        };
        if flock(&locked, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(SweepError::Busy(path.to_owned()));
        }
        let text = io::read_to_string(&locked).map_err(|source| reading(file.clone(), source))?;
        let wrong = |problem: String| FolderError::Content {
            path: file.clone(),
            problem,
        };
        let record: SweepRecord =
            toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if record.schema != SCHEMA {
            let problem = format!(
                "schema '{}', and this program knows {SCHEMA}",
                record.schema
            );
            return Err(wrong(problem).into());
        }
        if record.version != env!("CARGO_PKG_VERSION") {
            return Err(SweepError::OtherVersion {
                path: path.display().to_string(),
                begun: record.version,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            record,
            _locked: locked,
        })
    }

    /// The command that began the sweep.
    pub fn command(&self) -> &[String] {
        &self.record.command
    }

    /// Writes a file of the sweep's, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`FolderError`] where it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), FolderError> {
        write_whole(&self.path, name, content)
    }

    /// A run that was done before; nothing where none is, or it was cut off.
    fn done(&self, cell: &Cell) -> Result<Option<SweepCell>, FolderError> {
        let path = self.path.join(cell.folder()).join(CELL);
        match fs::read(&path) {
            Ok(text) => {
                let wrong = |problem: String| FolderError::Content {
                    path: path.clone(),
                    problem: format!("{problem}; delete its folder to run it again"),
                };
                let done: SweepCell =
                    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
                // A folder that was copied would count its run twice.
                let is = (&*done.algorithm, done.n, done.repeat);
                match is == (cell.algorithm.name, cell.n, cell.repeat) {
                    true => Ok(Some(done)),
                    false => Err(wrong(format!(
                        "it is of {}, N {}, run {}",
                        is.0, is.1, is.2
                    ))),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(reading(path, source)),
        }
    }
}

fn reading(path: PathBuf, source: io::Error) -> FolderError {
    FolderError::Io {
        doing: "read",
        path,
        source,
    }
}

/// What differs between two grids, in words.
fn changes(begun: &Grid, given: &Grid) -> Vec<String> {
    let words = |grid: &Grid| -> BTreeMap<String, String> {
        match serde_json::to_value(grid) {
            Ok(serde_json::Value::Object(fields)) => fields
                .into_iter()
                .map(|(name, value)| (name, value.to_string()))
                .collect(),
            _ => BTreeMap::new(),
        }
    };
    let (begun, given) = (words(begun), words(given));
    let mut names: Vec<&String> = begun.keys().chain(given.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let value = |grid: &BTreeMap<String, String>, name: &String| {
        grid.get(name)
            .map_or_else(|| "not given".to_owned(), |value| value.replace('"', ""))
    };
    let is_same = |name: &String| begun.get(name) == given.get(name);
    let differs = names.into_iter().filter(|name| !is_same(name));
    differs
        // Where the headline or the grid is another one, that tells more than a checksum.
        .filter(|name| *name != "models" || is_same(&"energy".to_owned()))
        .map(|name| match &**name {
            "models" => "figures of models are not the same (--models, --hops or --pue)".to_owned(),
            _ => format!(
                "{name} was {} and is {}",
                value(&begun, name),
                value(&given, name)
            ),
        })
        .collect()
}

/// One run of the grid.
#[derive(Debug, Clone, Copy)]
struct Cell {
    algorithm: &'static Algorithm,
    n: u32,
    repeat: u32,
}

impl Cell {
    /// Its folder within the sweep's.
    fn folder(&self) -> String {
        format!("{}/n{}/run{}", self.algorithm.name, self.n, self.repeat)
    }
}

impl Grid {
    /// Its faults, as a scenario has them.
    fn injected(&self) -> Result<scenario::Scenario, FaultError> {
        let mut injected = scenario::Scenario::default();
        for fault in &self.faults {
            injected.add(fault)?;
        }
        Ok(injected)
    }

    fn options_of(&self, algorithm: &Algorithm) -> Options {
        let options = self.options.get(algorithm.name);
        options.cloned().unwrap_or_default()
    }

    /// What can be run, each repetition of the whole grid after the one before: what changes on the
    /// machine meanwhile is in no curve more than in another. And what cannot.
    fn cells(&self) -> Result<(Vec<Cell>, Vec<Skipped>), SweepError> {
        let (mut places, mut skipped) = (Vec::new(), Vec::new());
        let injected = self.injected()?;
        for name in &self.algorithms {
            let algorithm = catalog::by_name(name)?;
            let options = self.options_of(algorithm);
            let possible = places.len();
            let (mut last, mut unfit) = (None, None);
            for n in &self.n {
                match algorithm.check(*n, self.rounds, &options) {
                    Ok(()) => {
                        let processes = (algorithm.processes)(*n);
                        match injected.check(algorithm, processes, self.connections) {
                            Ok(()) => places.push((algorithm, *n)),
                            Err(error) => {
                                skipped.push(Skipped {
                                    algorithm: name.clone(),
                                    n: *n,
                                    reason: error.to_string(),
                                });
                                unfit = Some(error);
                            }
                        }
                    }
                    Err(
                        error @ (SetupError::TooFew { .. }
                        | SetupError::NoSuchProcess { .. }
                        | SetupError::BadOption { .. }),
                    ) => {
                        skipped.push(Skipped {
                            algorithm: name.clone(),
                            n: *n,
                            reason: error.to_string(),
                        });
                        last = Some(error);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // With no N: then it is the value that is wrong.
            if let Some(error @ SetupError::BadOption { .. }) = last
                && places.len() == possible
            {
                return Err(error.into());
            }
            if let Some(error) = unfit
                && places.len() == possible
            {
                return Err(error.into());
            }
        }
        let repeats = 1..=self.repeat;
        let cells = repeats.flat_map(|repeat| {
            let places = places.iter();
            places.map(move |&(algorithm, n)| Cell {
                algorithm,
                n,
                repeat,
            })
        });
        Ok((cells.collect(), skipped))
    }

    fn conditions(&self, models: &Models) -> Conditions {
        Conditions {
            rounds: self.rounds,
            connections: self.connections.to_string(),
            payload: self.payload as u64,
            repeat: self.repeat,
            energy: text::models_in_words(models),
            mtu: self.mtu,
            faults: self.faults.clone(),
            seed: (!self.faults.is_empty()).then_some(self.seed),
        }
    }

    /// What one simulated run on this grid's conditions comes to. Nothing is predicted of faults.
    fn predict(
        &self,
        name: &str,
        n: u32,
        models: &Models,
        stop: &Arc<AtomicBool>,
    ) -> Option<Predicted> {
        let algorithm = catalog::by_name(name)
            .ok()
            .filter(|_| self.faults.is_empty())?;
        let mut scenario = Scenario::new(n, self.rounds, 1);
        scenario.options = self.options_of(algorithm);
        // About as on loopback.
        scenario.network.delay = Duration::from_micros(50)..=Duration::from_micros(500);
        scenario.log = false;
        scenario.wire = Some(WireOptions {
            connections: self.connections,
            payload: self.payload,
            mtu: self.mtu,
        });
        let watch = Watch {
            stop: stop.clone(),
            ..Watch::default()
        };
        let report = simulate(algorithm, &scenario, models, &watch).ok()??;
        let tally = &report.predicted.tally;
        (!report.cut).then_some(Predicted {
            messages: tally.messages,
            ip: tally.bytes.ip,
            wire: tally.bytes.wire,
            joules: report.predicted.energy.joules,
        })
    }
}

/// What has been done of a sweep.
struct Done {
    cells: Vec<SweepCell>,
    skipped: Vec<Skipped>,
    /// How long runs took, by algorithm and number of processes.
    took: BTreeMap<(String, u32), Vec<Duration>>,
}

impl Done {
    fn add(&mut self, cell: SweepCell) {
        let place = (cell.algorithm.clone(), cell.n);
        let took = Duration::from_nanos(cell.took);
        self.took.entry(place).or_default().push(took);
        self.cells.push(cell);
    }

    /// How long these runs are likely to take: each as long as those like it have, or as all have.
    fn left(&self, cells: &[Cell]) -> Option<Duration> {
        let mean = |all: &[Duration]| {
            let number = u32::try_from(all.len()).unwrap_or(u32::MAX);
            all.iter().sum::<Duration>().checked_div(number)
        };
        let all: Vec<Duration> = self.took.values().flatten().copied().collect();
        let usual = mean(&all)?;
        let each = cells.iter().map(|cell| {
            let place = (cell.algorithm.name.to_owned(), cell.n);
            let like_it = self.took.get(&place).and_then(|took| mean(took));
            like_it.unwrap_or(usual)
        });
        Some(each.sum())
    }
}

/// Makes the runs of a grid that are not done yet. `cancel` ends it early: then the report is on what
/// was done by then, and the run that was going on is done again next time.
///
/// # Errors
///
/// [`SweepError`] where it cannot go on. What was done is kept.
pub fn sweep(
    folder: &SweepFolder,
    models: &Models,
    progress: &Arc<Progress>,
    cancel: &Arc<AtomicBool>,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<SweepReport, SweepError> {
    let grid = &folder.record.grid;
    let (cells, skipped) = grid.cells()?;
    for one in &skipped {
        tell(Told::Skipped(one));
    }
    let mut done = Done {
        cells: Vec::new(),
        skipped,
        took: BTreeMap::new(),
    };
    let mut left = Vec::new();
    for cell in cells {
        match folder.done(&cell)? {
            Some(before) => done.add(before),
            None => left.push(cell),
        }
    }
    let mut of = (done.cells.len() + left.len()) as u64;
    if !done.cells.is_empty() {
        tell(Told::Kept(done.cells.len() as u64, of));
    }
    for (i, cell) in left.iter().enumerate() {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let number = done.cells.len() as u64 + 1;
        let is_skipped = |one: &Skipped| one.algorithm == cell.algorithm.name && one.n == cell.n;
        if done.skipped.iter().any(is_skipped) {
            of -= 1;
            continue;
        }
        tell(Told::Begins {
            number,
            of,
            algorithm: cell.algorithm.name,
            n: cell.n,
            repeat: cell.repeat,
            left: done.left(&left[i..]),
        });
        match run_cell(folder, cell, models, progress, cancel)? {
            Came::Done(cell) => {
                done.add(*cell);
                if let Some(cell) = done.cells.last() {
                    tell(Told::Ended {
                        cell,
                        number,
                        of,
                        left: done.left(&left[i + 1..]),
                    });
                }
            }
            Came::Impossible(reason) => {
                of -= 1;
                done.skipped.push(Skipped {
                    algorithm: cell.algorithm.name.to_owned(),
                    n: cell.n,
                    reason,
                });
                if let Some(one) = done.skipped.last() {
                    tell(Told::Skipped(one));
                }
            }
            Came::Interrupted => break,
        }
    }
    let Done {
        mut cells, skipped, ..
    } = done;
    let place = |cell: &SweepCell| {
        let algorithm = grid
            .algorithms
            .iter()
            .position(|name| *name == cell.algorithm);
        (algorithm, cell.n, cell.repeat)
    };
    cells.sort_by_key(place);
    let predicted = |name: &str, n| grid.predict(name, n, models, cancel);
    let command = folder.record.command.clone();
    Ok(SweepReport::new(
        command,
        grid.conditions(models),
        of,
        cells,
        skipped,
        predicted,
    ))
}

/// What came of a run.
enum Came {
    Done(Box<SweepCell>),
    /// The machine or its ports have no room for it.
    Impossible(String),
    Interrupted,
}

fn run_cell(
    folder: &SweepFolder,
    cell: &Cell,
    models: &Models,
    progress: &Arc<Progress>,
    cancel: &Arc<AtomicBool>,
) -> Result<Came, SweepError> {
    let grid = &folder.record.grid;
    let path = folder.path.join(cell.folder());
    let unwritten = |problem: String| SweepError::Unwritten {
        path: folder.path.clone(),
        problem,
    };
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(unwritten(format!(
                "cannot clear {}: {error}",
                path.display()
            )));
        }
        _ => {}
    }
    let options = RunOptions {
        algorithm: cell.algorithm,
        n: cell.n,
        rounds: grid.rounds,
        base_port: grid
            .base_port
            .unwrap_or(*cell.algorithm.protocol().ports.start()),
        connections: grid.connections,
        payload: grid.payload,
        mtu: grid.mtu,
        options: grid.options_of(cell.algorithm),
        timeout: crate::units::duration(&grid.timeout).unwrap_or(TIMEOUT),
        faults: grid.injected()?.injected(),
        seed: grid.seed + u64::from(cell.repeat) - 1,
        progress: progress.clone(),
        baseline: false,
        own_commands: BTreeMap::new(),
        host: None,
        folder: path.clone(),
        command: folder.record.command.clone(),
    };
    let mut done = SweepCell {
        algorithm: cell.algorithm.name.to_owned(),
        n: cell.n,
        repeat: cell.repeat,
        folder: cell.folder(),
        verdict: None,
        exit_code: 2,
        problems: Vec::new(),
        took: 0,
        formula: None,
        cost: None,
    };
    progress.listening.store(0, Ordering::Relaxed);
    progress.ended.store(0, Ordering::Relaxed);
    let begun = Instant::now();
    let finished = run(&options, models, cancel);
    done.took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if cancel.load(Ordering::Relaxed) {
        return Ok(Came::Interrupted);
    }
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => {
            return match error {
                RunError::MarkerPorts { .. } | RunError::Limit(_) => {
                    Ok(Came::Impossible(error.to_string()))
                }
                // The next run would fail as this one did.
                RunError::Sniffer(_) | RunError::NotLive(_) | RunError::Random(_) => {
                    Err(error.into())
                }
                RunError::Folder(error) => Err(unwritten(error.to_string())),
                // It is not marked as done: it has not begun.
                error => {
                    done.problems.push(error.to_string());
                    Ok(Came::Done(Box::new(done)))
                }
            };
        }
    };
    done.exit_code = finished.exit_code();
    done.problems = finished.problems;
    done.count(&finished.report);
    if finished.unwritten {
        return Err(unwritten(done.problems.join("; ")));
    }
    let text = serde_json::to_vec_pretty(&done).map_err(|error| unwritten(error.to_string()))?;
    write_whole(&path, CELL, &text).map_err(|error| unwritten(error.to_string()))?;
    Ok(Came::Done(Box::new(done)))
}

/// How long the operations of a run may take where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Grid {
    /// How long the operations of a run may take, in words that can be read back.
    pub fn timeout_text(timeout: Duration) -> String {
        duration_text(timeout)
    }

    /// What is said of these models, and a checksum that tells them from others.
    pub fn energy_of(models: &Models) -> (String, String) {
        let pue = match models.headline.pue {
            1.0 => String::new(),
            pue => format!(" with a PUE of {pue}"),
        };
        let hops = text::hops_words(&models.headline.name, models.headline.hops);
        let figures = &models.headline.figures;
        let figures = figures.as_ref().map_or_else(String::new, |checksum| {
            format!(" (your own figures, checksum {checksum})")
        });
        let words = format!(
            "energy by {}{figures}{hops}{pue}, grid {} ({}), as if on the wire",
            models.headline.name,
            models.grid.name,
            rate(models.grid.grams_per_kwh),
        );
        let all = format!("{models:?}");
        (words, format!("{:08x}", crc32fast::hash(all.as_bytes())))
    }
}
