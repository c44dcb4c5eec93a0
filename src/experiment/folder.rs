//! A run's folder: everything from which its figures can be made again.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::fleet::{Death, Injected};
use crate::algorithm::{Event, Options};
use crate::energy::HostEnergy;
use crate::node::control::Connections;
use crate::report::make_folder;
use crate::units::{Mtu, Packets, Timestamp};

/// The version of `run.toml`.
pub const SCHEMA: &str = "wirewatt-run/1";

/// Why a run's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is a run in it already.
    #[error("{0} holds a run already: choose another --out, or delete it")]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("cannot make the folder {path}: {source}; choose another with --out")]
    Make {
        /// The folder.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// It is no run's folder.
    #[error("{path} is not the folder of a run: there is no {missing} in it")]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// The file that is missing.
        missing: &'static str,
    },
    /// The system refuses.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A file of it does not say what it should.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    /// The folders made for it, itself included, innermost first.
    made: Vec<PathBuf>,
}

impl RunFolder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    ///
    /// [`FolderError::Taken`] if it holds a run already, [`FolderError::Make`] if it cannot be made.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        let cannot = |source| FolderError::Make {
            path: path.to_owned(),
            source,
        };
        let is_new = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = path.ancestors().take_while(is_new).map(Path::to_owned);
        let made = made.collect();
        make_folder(path).map_err(cannot)?;
        // Nodes write their ledger from wherever they are.
        let path_of_all = path.canonicalize().map_err(cannot)?;
        let folder = Self {
            path: path_of_all,
            made,
        };
        // The nodes would append to a ledger.
        let files = [
            folder.run_toml(),
            folder.capture(),
            folder.ledger(),
            folder.history(),
            folder.events(),
            folder.path.join("report.json"),
            folder.path.join("report.html"),
        ];
        if files.iter().any(|file| file.exists()) {
            return Err(FolderError::Taken(path.to_owned()));
        }
        Ok(folder)
    }

    /// The folder of an earlier run.
    ///
    /// # Errors
    ///
    /// [`FolderError::NoRun`] if it is none.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let folder = Self {
            path: path.to_owned(),
            made: Vec::new(),
        };
        for (file, missing) in [
            (folder.run_toml(), "run.toml"),
            (folder.capture(), "capture.pcapng"),
            (folder.ledger(), "ledger.jsonl"),
            (folder.history(), "history.jsonl"),
        ] {
            if !file.exists() {
                return Err(FolderError::NoRun {
                    path: path.to_owned(),
                    missing,
                });
            }
        }
        Ok(folder)
    }

    /// Takes away the files of a run that never began, and the folders that were made for it, as
    /// far as nothing else is in them.
    pub fn discard(self) {
        for file in [
            self.run_toml(),
            self.capture(),
            self.ledger(),
            self.history(),
            self.events(),
        ] {
            // What is not there need not go.
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir_all(self.path.join("state"));
        for folder in self.made {
            let _ = fs::remove_dir(folder);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the run was: [`RunRecord`].
    pub fn run_toml(&self) -> PathBuf {
        self.path.join("run.toml")
    }

    /// What was captured.
    pub fn capture(&self) -> PathBuf {
        self.path.join("capture.pcapng")
    }

    /// What the nodes counted.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.jsonl")
    }

    /// Beginning and end of every operation: [`Event`]s.
    pub fn history(&self) -> PathBuf {
        self.path.join("history.jsonl")
    }

    /// What processes noted beside their operations: [`Event`]s.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// The folder of its charts.
    pub fn charts(&self) -> PathBuf {
        self.path.join("charts")
    }

    /// The folder for what processes persist, made where it is not there.
    pub fn state(&self) -> Result<PathBuf, FolderError> {
        let path = self.path.join("state");
        fs::create_dir_all(&path).map_err(|source| FolderError::Make {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Writes a file of the folder, whole or not at all: a full disk leaves the earlier one.
    pub fn write(&self, name: &'static str, content: &[u8]) -> Result<(), FolderError> {
        write_whole(&self.path, name, content)
    }

    /// Writes what the run was.
    pub fn write_record(&self, record: &RunRecord) -> Result<(), FolderError> {
        let text = toml::to_string(record).map_err(|error| FolderError::Content {
            path: self.run_toml(),
            problem: error.to_string(),
        })?;
        self.write("run.toml", text.as_bytes())
    }

    /// Reads what the run was.
    pub fn read_record(&self) -> Result<RunRecord, FolderError> {
        let path = self.run_toml();
        let text = fs::read_to_string(&path).map_err(|source| FolderError::Io {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        let content = |problem| FolderError::Content {
            path: path.clone(),
            problem,
        };
        let record: RunRecord =
            toml::from_str(&text).map_err(|error| content(error.to_string()))?;
        match record.schema.as_str() {
            SCHEMA => Ok(record),
            other => Err(content(format!(
                "schema '{other}', and this program knows {SCHEMA}"
            ))),
        }
    }

    /// Reads history and notes, in the order of their times.
    pub fn read_events(&self) -> Result<History, FolderError> {
        let mut history = Self::read_event_file(self.history())?;
        let notes = self.events();
        if notes.exists() {
            let notes = Self::read_event_file(notes)?;
            history.events.extend(notes.events);
            history.torn |= notes.torn;
        }
        history.events.sort_by_key(|event| event.time);
        Ok(history)
    }

    /// Reads events, which a run writes one by one: a killed one may leave its last line torn, which
    /// is legal.
    fn read_event_file(path: PathBuf) -> Result<History, FolderError> {
        let text = fs::read(&path).map_err(|source| FolderError::Io {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let lines = text[..whole].split(|byte| *byte == b'\n').enumerate();
        let events = lines
            .filter(|(_, line)| !line.is_empty())
            .map(|(i, line)| {
                serde_json::from_slice(line).map_err(|error| FolderError::Content {
                    path: path.clone(),
                    problem: format!("line {}: {error}", i + 1),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(History {
            events,
            torn: whole < text.len(),
        })
    }
}

/// Writes a file of a folder, whole or not at all: a full disk leaves the earlier one.
pub(super) fn write_whole(folder: &Path, name: &str, content: &[u8]) -> Result<(), FolderError> {
    let path = folder.join(name);
    let half_written = folder.join(format!("{name}.new"));
    let written = fs::write(&half_written, content).and_then(|()| fs::rename(&half_written, &path));
    written.map_err(|source| {
        let _ = fs::remove_file(&half_written);
        FolderError::Io {
            doing: "write",
            path,
            source,
        }
    })
}

/// What processes reported of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The events, in the order of their times.
    pub events: Vec<Event>,
    /// Whether a file of them ended in a torn line.
    pub torn: bool,
}

impl History {
    /// All of it.
    pub fn whole(events: Vec<Event>) -> Self {
        let torn = false;
        Self { events, torn }
    }
}

/// `run.toml`: what was run, and what the audit needs to know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program's version.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// When the run began.
    pub started: Timestamp,
    /// The run's id in frames and ledger.
    pub run: u64,
    /// The algorithm.
    pub algorithm: String,
    /// How many processes; their ids are 0…N−1 and 0 is the coordinator, server or initiator.
    pub n: u32,
    /// How often each initiator was to repeat its operation.
    pub rounds: u32,
    /// How connections were used.
    pub connections: Connections,
    /// Payload beside every body, in bytes.
    pub payload: usize,
    /// What packets were projected onto.
    #[serde(default)]
    pub mtu: Mtu,
    /// Where each process listened, by id.
    pub addresses: Vec<SocketAddr>,
    /// The algorithm's own options.
    #[serde(default)]
    pub options: Options,
    /// The faults that were to be injected, as `--fault` writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Decided which messages were dropped.
    #[serde(default)]
    pub seed: u64,
    /// How it ended; absent while it goes on and when it was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RecordedOutcome>,
    /// What the capture knows of itself; absent as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<RecordedCapture>,
    /// What the machine's processors took; absent as above, and where it was not to be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_energy: Option<HostEnergy>,
}

impl RunRecord {
    /// Whether every node could write its ledger, as far as is known.
    pub fn ledger_is_whole(&self) -> bool {
        let outcome = self.outcome.as_ref();
        outcome.is_none_or(|outcome| !outcome.ledger_failed)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedOutcome {
    /// Whether every operation ended, all nodes became quiet and nothing went wrong.
    pub clean: bool,
    /// Whether the run ended before all of its operations had.
    pub partial: bool,
    /// How many operations it was to have.
    pub operations: u64,
    /// What went wrong, in words.
    pub problems: Vec<String>,
    /// Processes that died.
    pub died: Vec<u32>,
    /// Who came to the nodes and was none of the run's, in words.
    #[serde(default)]
    pub notices: Vec<String>,
    /// How the run ended where not every operation ended and an injected fault is why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// Packets that a rule of the kernel lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets_lost: Option<Packets>,
    /// What the injected faults did, in the order in which they did it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub injected: Vec<Injected>,
    /// When processes died, each as often as it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deaths: Vec<Death>,
    /// Whether a node could not write its ledger: what there is of it is not all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ledger_failed: bool,
}

/// What a capture knows of itself beyond its packets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedCapture {
    /// Packets that found the ring full or that the interface dropped, from the opening markers to
    /// the closing ones.
    pub packets_dropped: Packets,
    /// Packets that died in a processor's backlog meanwhile.
    pub softnet_dropped: Packets,
    /// Whether the capture itself failed before its end.
    pub cut_short: bool,
    /// The markers' nonce.
    pub marker_nonce: Option<u64>,
    /// The processors that markers were sent from.
    #[serde(default)]
    pub marker_cpus: BTreeSet<u16>,
}
