//! A scenario: which faults are injected into which run, from a TOML file or from `--fault`.
//!
//! ```toml
//! about = "the coordinator dies after the votes: its participants wait"
//! algorithm = "two-phase-commit"
//! n = 4
//!
//! [[fault]]
//! kill = "coordinator@after-votes"
//! restart = "500ms"
//! ```

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, FaultError, Setting};
use crate::algorithm::{Algorithm, Channels, Options};
use crate::node::control::Connections;
use crate::units;

/// A run and its faults. What a file leaves open, the command line decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scenario {
    /// What it shows.
    pub about: Option<String>,
    /// The algorithm's name.
    pub algorithm: Option<String>,
    /// N of the formula.
    pub n: Option<u32>,
    /// How often each initiator repeats its operation.
    pub rounds: Option<u32>,
    /// How long the operations may take.
    pub timeout: Option<Duration>,
    /// Decides which messages are dropped.
    pub seed: Option<u64>,
    /// The algorithm's own options.
    pub options: Options,
    /// The faults, each with the place where it is written.
    pub faults: Vec<(Fault, String)>,
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Its file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// Its file is no TOML.
    #[error("{path}: {source}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        source: Box<toml::de::Error>,
    },
    /// Something in it is not what it should be.
    #[error(transparent)]
    Content(#[from] FaultError),
}

const KEYS: &str = "about, algorithm, n, rounds, timeout, seed, [options] and [[fault]]";

impl Scenario {
    /// Reads a scenario's file.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] names the file, the line and what was expected.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Reads a scenario from text; errors call it `path`.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`], but for [`ScenarioError::Io`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ScenarioError> {
        let table = DeTable::parse(text).map_err(|source| ScenarioError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let source = Source { path, text };
        let mut scenario = Self::default();
        for (key, value) in table.get_ref() {
            match key.get_ref().as_ref() {
                "about" => scenario.about = Some(source.string(value)?),
                "algorithm" => scenario.algorithm = Some(source.string(value)?),
                "n" => scenario.n = Some(source.number(value)?),
                "rounds" => scenario.rounds = Some(source.number(value)?),
                "seed" => scenario.seed = Some(source.number(value)?),
                "timeout" => {
                    let time = units::duration(&source.string(value)?);
                    let time = time.map_err(|problem| source.wrong(value.span(), problem))?;
                    scenario.timeout = Some(time);
                }
                "options" => {
                    for (name, value) in source.table(value)? {
                        let name = name.get_ref().as_ref().to_owned();
                        scenario.options.0.insert(name, source.scalar(value)?);
                    }
                }
                "fault" => scenario.faults = source.faults(value)?,
                other => {
                    let problem = format!("'{other}' is unknown; a scenario has {KEYS}");
                    return Err(source.wrong(key.span(), problem).into());
                }
            }
        }
        Ok(scenario)
    }

    /// Adds a fault from the command line.
    ///
    /// # Errors
    ///
    /// [`FaultError`] says what was expected.
    pub fn add(&mut self, text: &str) -> Result<(), FaultError> {
        let fault = Fault::read(text)?;
        self.faults.push((fault, format!("--fault '{text}'")));
        Ok(())
    }

    /// Whether an algorithm of so many processes has what the faults name, and goes on after them over
    /// connections that are used so.
    ///
    /// # Errors
    ///
    /// [`FaultError`] of the first that does not fit.
    pub fn check(
        &self,
        algorithm: &Algorithm,
        processes: u32,
        connections: Connections,
    ) -> Result<(), FaultError> {
        let holds_back =
            algorithm.channels == Channels::Fifo && connections != Connections::Persistent;
        self.faults.iter().try_for_each(|(fault, place)| {
            let checked = fault.check(algorithm, processes).and_then(|()| match fault {
                Fault::Drop { .. } | Fault::Split { .. } if holds_back => Err(format!(
                    "the channels of {} are FIFO: over {connections} connections, a message that never \
                     comes holds back all that follow it; use --connections persistent",
                    algorithm.name
                )),
                _ => Ok(()),
            });
            checked.map_err(|problem| FaultError {
                place: place.clone(),
                problem,
            })
        })
    }

    /// Whether packets are lost for real.
    pub fn loses_packets(&self) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|(fault, _)| matches!(fault, Fault::Loss { .. }))
    }

    /// The faults without their places.
    pub fn injected(&self) -> Vec<Fault> {
        let faults = self.faults.iter();
        faults.map(|(fault, _)| fault.clone()).collect()
    }

    /// The scenario as a file that [`Scenario::read`] reads.
    pub fn to_toml(&self) -> String {
        let mut table = toml::Table::new();
        let mut put = |key: &str, value: Option<toml::Value>| {
            value.map(|value| table.insert(key.to_owned(), value))
        };
        put("about", self.about.clone().map(Into::into));
        put("algorithm", self.algorithm.clone().map(Into::into));
        put("n", self.n.map(Into::into));
        put("rounds", self.rounds.map(Into::into));
        put("timeout", self.timeout.map(|t| format!("{t:?}").into()));
        // TOML's integers end at 2^63.
        put("seed", self.seed.map(|seed| seed.to_string().into()));
        let mut text = table.to_string();
        if !self.options.0.is_empty() {
            text.push_str("\n[options]\n");
            let options = self.options.0.iter();
            let options: toml::Table = options
                .map(|(name, value)| (name.clone(), value.clone().into()))
                .collect();
            text.push_str(&options.to_string());
        }
        for (fault, _) in &self.faults {
            text.push_str("\n[[fault]]\n");
            for part in fault.to_string().split(',') {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                text.push_str(&format!("{key} = \"{value}\"\n"));
            }
        }
        text
    }
}

/// A file's text, by which a span becomes a line.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, span: Range<usize>) -> String {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}, line {line}", self.path.display())
    }

    fn wrong(&self, span: Range<usize>, problem: impl Into<String>) -> FaultError {
        FaultError {
            place: self.place(span),
            problem: problem.into(),
        }
    }

    fn string(&self, value: &Spanned<DeValue<'_>>) -> Result<String, FaultError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            other => {
                let problem = format!("expected text in quotes, not {}", other.type_str());
                Err(self.wrong(value.span(), problem))
            }
        }
    }

    /// A text, or a number as it is written.
    fn scalar(&self, value: &Spanned<DeValue<'_>>) -> Result<String, FaultError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(_) | DeValue::Float(_) => {
                let written = &self.text[value.span()];
                Ok(written.replace('_', ""))
            }
            other => {
                let problem = format!("expected text or a number, not {}", other.type_str());
                Err(self.wrong(value.span(), problem))
            }
        }
    }

    fn number<T: std::str::FromStr>(&self, value: &Spanned<DeValue<'_>>) -> Result<T, FaultError> {
        let text = self.scalar(value)?;
        text.parse().map_err(|_| {
            let problem = format!("'{text}': expected a number that is not negative");
            self.wrong(value.span(), problem)
        })
    }

    fn table<'t, 'i>(
        &self,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Result<&'t DeTable<'i>, FaultError> {
        let not_one = || {
            let found = value.get_ref().type_str();
            self.wrong(value.span(), format!("expected a table, not {found}"))
        };
        value.get_ref().as_table().ok_or_else(not_one)
    }

    fn faults(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<(Fault, String)>, FaultError> {
        let DeValue::Array(tables) = value.get_ref() else {
            let problem = "expected [[fault]], one table a fault, in double brackets";
            return Err(self.wrong(value.span(), problem));
        };
        let mut faults = Vec::new();
        for entry in tables.iter() {
            let mut settings = Vec::new();
            for (key, value) in self.table(entry)? {
                settings.push(Setting {
                    key: key.get_ref().as_ref().to_owned(),
                    value: self.scalar(value)?,
                    place: self.place(key.span()),
                });
            }
            let place = self.place(entry.span());
            let fault = Fault::from_settings(&place, &settings)?;
            faults.push((fault, place));
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::parse(Path::new("some.toml"), text)
    }

    #[test]
    fn a_file_says_all_that_the_command_line_can() {
        let text = "about = \"two faults\"\nalgorithm = \"ring\"\nn = 5\nrounds = 2\n\
                    timeout = \"3s\"\nseed = 7\n[options]\nregenerate = \"100ms\"\n\
                    [[fault]]\nkill = \"2@10ms\"\nrestart = \"1s\"\n\
                    [[fault]]\ndrop = 0.05\nof = 1\n";
        let scenario = parse(text).unwrap();
        assert_eq!(scenario.algorithm.as_deref(), Some("ring"));
        assert_eq!((scenario.n, scenario.rounds), (Some(5), Some(2)));
        assert_eq!(scenario.timeout, Some(Duration::from_secs(3)));
        assert_eq!(scenario.options.get("regenerate"), Some("100ms"));
        let faults: Vec<String> = scenario.faults.iter().map(|(f, _)| f.to_string()).collect();
        assert_eq!(faults, ["kill=2@10ms,restart=1s", "drop=5%,of=1"]);
        let mut given = Scenario::default();
        given.add("kill=2@10ms,restart=1s").unwrap();
        assert_eq!(given.faults[0].0, scenario.faults[0].0);
        // And what is written is read again.
        let again = parse(&scenario.to_toml()).unwrap();
        let without_places = |scenario: &Scenario| {
            let mut scenario = scenario.clone();
            scenario
                .faults
                .iter_mut()
                .for_each(|(_, place)| place.clear());
            scenario
        };
        assert_eq!(without_places(&again), without_places(&scenario));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        for (text, expected) in [
            ("n = 5\nm = 6\n", "some.toml, line 2: 'm' is unknown"),
            ("n = -5\n", "some.toml, line 1: '-5': expected a number"),
            ("\nfault = 3\n", "some.toml, line 2: expected [[fault]]"),
            (
                "[[fault]]\nkill = \"2@1s\"\nfro = \"1s\"\n",
                "some.toml, line 3: 'fro' has no place",
            ),
            ("\n[[fault]]\nof = 1\n", "some.toml, line 2: names no fault"),
            (
                "[[fault]]\nkill = true\n",
                "some.toml, line 2: expected text or a number",
            ),
            (
                "[[fault]]\n\nkill = \"2\"\n",
                "some.toml, line 3: kill '2': expected",
            ),
            (
                "timeout = \"soon\"",
                "some.toml, line 1: 'soon' is no duration",
            ),
            ("algorithm = ring", "line 1"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
