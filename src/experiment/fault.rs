//! Faults to inject into a run: what there is, how each is written, and whether an algorithm has the
//! process, point or kind that one names. The grammar is in `docs/scenarios.md`; the text of `--fault`
//! and the tables of a scenario's file both come here as [`Setting`]s.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::algorithm::{Algorithm, ProcessId};
use crate::units::{self, duration_text};

/// A fault to inject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Kill a process (SIGKILL).
    Kill {
        /// Which, and when.
        target: Target,
        /// Start it again afterwards.
        restart: Option<Restart>,
    },
    /// Stop a process (SIGSTOP) and let it go on (SIGCONT).
    Stop {
        /// Which, and when.
        target: Target,
        /// For how long.
        time: Duration,
    },
    /// Hold messages back before they are sent.
    Delay {
        /// For how long.
        by: Duration,
        /// Whose; everybody's where there is none.
        of: Option<ProcessId>,
    },
    /// Drop messages before they are sent.
    Drop {
        /// Which share of them.
        share: Share,
        /// Whose; everybody's where there is none.
        of: Option<ProcessId>,
        /// Of this kind only.
        kind: Option<String>,
        /// No more than so many of each process.
        most: Option<u64>,
    },
    /// Suppress messages between some processes and all others.
    Split {
        /// The processes of one side.
        side: BTreeSet<ProcessId>,
        /// When it begins.
        at: Duration,
        /// For how long; to the end where there is none.
        time: Option<Duration>,
    },
    /// Lose a share of the run's TCP packets for real, in a network namespace of its own.
    Loss {
        /// Which share of them.
        share: Share,
    },
}

/// Which process, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which process.
    pub who: Who,
    /// When.
    pub when: When,
}

/// Which process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// This one.
    Process(ProcessId),
    /// The one that passes a point in this role.
    Role(String),
}

/// When a fault happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// So long after the start.
    Time(Duration),
    /// When a point of the algorithm is passed.
    Point {
        /// The point.
        name: String,
        /// The how-manieth time, from 1.
        pass: u32,
    },
}

/// How a killed process comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// How long after its death.
    pub after: Duration,
    /// What it finds.
    pub storage: Storage,
}

/// What a process that comes back finds of what it had persisted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// Everything.
    #[default]
    Kept,
    /// Nothing.
    Lost,
}

/// A share, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// Millionths, from 1 to 1,000,000.
    pub millionths: u32,
}

/// One key and value of a fault, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// Where it is: `--fault '…'`, or file and line.
    pub place: String,
}

/// What is wrong with a fault, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct FaultError {
    /// `--fault '…'`, or file and line.
    pub place: String,
    /// What is wrong, and what was expected.
    pub problem: String,
}

/// How each fault is written: its key, the grammar, and what it does.
pub const GRAMMAR: [(&str, &str, &str); 6] = [
    (
        "kill",
        "kill=WHO@WHEN[,restart=TIME[,storage=lost]]",
        "kill a process; start it again TIME after its death, with what it had persisted or without",
    ),
    (
        "stop",
        "stop=WHO@WHEN,for=TIME",
        "stop a process and let it go on after TIME",
    ),
    (
        "delay",
        "delay=TIME[,of=ID]",
        "hold every message back by TIME before it is sent",
    ),
    (
        "drop",
        "drop=SHARE[,of=ID][,kind=KIND][,most=COUNT]",
        "drop a share of the messages before they are sent",
    ),
    (
        "split",
        "split=ID+ID…@TIME[,for=TIME]",
        "suppress messages between these processes and the others",
    ),
    (
        "loss",
        "loss=SHARE",
        "lose a share of the packets for real, in a network namespace (root)",
    ),
];

const TARGET: &str = "a process's id or its role, @, and a time or a point of the algorithm, as in \
                      2@500ms or coordinator@after-votes";

impl Fault {
    /// Reads `text` as `--fault` is given it.
    ///
    /// # Errors
    ///
    /// [`FaultError`] says what was expected.
    pub fn read(text: &str) -> Result<Self, FaultError> {
        let place = format!("--fault '{text}'");
        let setting = |part: &str| match part.split_once('=') {
            Some((key, value)) => Ok(Setting {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                place: place.clone(),
            }),
            None => Err(FaultError {
                place: place.clone(),
                problem: format!("'{part}': expected KEY=VALUE; {}", known_faults()),
            }),
        };
        let settings: Vec<Setting> = text.split(',').map(setting).collect::<Result<_, _>>()?;
        Self::from_settings(&place, &settings)
    }

    /// Reads a fault from its keys and values, in any order.
    ///
    /// # Errors
    ///
    /// [`FaultError`] says what was expected.
    pub fn from_settings(place: &str, settings: &[Setting]) -> Result<Self, FaultError> {
        let wrong = |problem| FaultError {
            place: place.to_owned(),
            problem,
        };
        let is_fault = |setting: &&Setting| GRAMMAR.iter().any(|(key, ..)| *key == setting.key);
        let mut named = settings.iter().filter(is_fault);
        let what = match (named.next(), named.next()) {
            (Some(what), None) => what,
            (None, _) => return Err(wrong(format!("names no fault; {}", known_faults()))),
            (Some(one), Some(two)) => {
                let (one, two) = (&one.key, &two.key);
                return Err(wrong(format!(
                    "is both {one} and {two}: make two faults of it"
                )));
            }
        };
        let mut rest = Rest {
            settings: settings.iter().filter(|setting| *setting != what).collect(),
        };
        let fault = match what.key.as_str() {
            "kill" => Self::Kill {
                target: target(what)?,
                restart: rest.restart()?,
            },
            "stop" => {
                let time = rest.take("for", time)?.ok_or_else(|| {
                    wrong("expected for=TIME beside stop, after which it goes on".to_owned())
                })?;
                Self::Stop {
                    target: target(what)?,
                    time,
                }
            }
            "delay" => Self::Delay {
                by: time(what)?,
                of: rest.take("of", process)?,
            },
            "drop" => Self::Drop {
                share: share(what)?,
                of: rest.take("of", process)?,
                kind: rest.take("kind", |setting| Ok(setting.value.clone()))?,
                most: rest.take("most", number)?,
            },
            "split" => {
                let (side, at) = side(what)?;
                let time = rest.take("for", time)?;
                Self::Split { side, at, time }
            }
            _ => Self::Loss {
                share: share(what)?,
            },
        };
        match rest.settings.first() {
            None => Ok(fault),
            Some(setting) => {
                let grammar = GRAMMAR.iter().find(|(key, ..)| *key == what.key);
                let grammar = grammar.map_or("", |(_, grammar, _)| grammar);
                let problem = format!(
                    "'{}' has no place here (or stands twice); expected {grammar}",
                    setting.key
                );
                Err(setting.wrong(problem))
            }
        }
    }

    /// Whether the algorithm has what the fault names, among so many processes.
    ///
    /// # Errors
    ///
    /// What it has, in words.
    pub fn check(&self, algorithm: &Algorithm, processes: u32) -> Result<(), String> {
        let known = |id: ProcessId| {
            if id.0 < processes {
                return Ok(());
            }
            Err(format!(
                "there is no process {id}: ids run from 0 to {}",
                processes.saturating_sub(1)
            ))
        };
        match self {
            Self::Kill { target, .. } | Self::Stop { target, .. } => {
                if let Who::Process(id) = target.who {
                    known(id)?;
                }
                target.check(algorithm)
            }
            Self::Delay { of, .. } => of.map_or(Ok(()), known),
            Self::Drop { of, kind, .. } => {
                of.map_or(Ok(()), known)?;
                let kinds = &algorithm.protocol().kinds;
                match kind {
                    Some(kind) if !kinds.iter().any(|known| known.name == *kind) => {
                        let names: Vec<&str> = kinds.iter().map(|k| k.name.as_str()).collect();
                        Err(format!(
                            "{} has no message kind {kind}; it has: {}",
                            algorithm.name,
                            names.join(", ")
                        ))
                    }
                    _ => Ok(()),
                }
            }
            Self::Split { side, .. } => {
                side.iter().try_for_each(|id| known(*id))?;
                if side.len() as u32 >= processes {
                    return Err("a split needs a process on either side".to_owned());
                }
                Ok(())
            }
            Self::Loss { .. } => Ok(()),
        }
    }
}

impl Target {
    fn check(&self, algorithm: &Algorithm) -> Result<(), String> {
        let (who, name) = match (&self.who, &self.when) {
            (Who::Process(_), When::Time(_)) => return Ok(()),
            (Who::Role(role), When::Time(_)) => {
                return Err(format!(
                    "'{role}': who is that at a time? Name its id for a time, or a point for a role"
                ));
            }
            (who, When::Point { name, .. }) => (who, name),
        };
        let fits = |role: &str| match who {
            Who::Role(wanted) => role == wanted,
            Who::Process(_) => true,
        };
        let mut points = algorithm.points.iter();
        if points.any(|point| point.name == name && fits(point.role)) {
            return Ok(());
        }
        let points = algorithm.points.iter();
        let has: Vec<String> = points.map(|p| format!("{}@{}", p.role, p.name)).collect();
        let wanted = match who {
            Who::Role(role) => format!("{role}@{name}"),
            Who::Process(_) => name.clone(),
        };
        Err(if has.is_empty() {
            format!(
                "{} has no points; name a time, as in 1@20ms",
                algorithm.name
            )
        } else {
            format!(
                "{} has no point {wanted}; it has: {}",
                algorithm.name,
                has.join(", ")
            )
        })
    }
}

/// The settings that nobody has asked for yet.
struct Rest<'a> {
    settings: Vec<&'a Setting>,
}

impl Rest<'_> {
    fn take<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Setting) -> Result<T, FaultError>,
    ) -> Result<Option<T>, FaultError> {
        let at = self.settings.iter().position(|setting| setting.key == key);
        at.map(|at| read(self.settings.remove(at))).transpose()
    }

    fn restart(&mut self) -> Result<Option<Restart>, FaultError> {
        let storage = self.take("storage", |setting| match setting.value.as_str() {
            "kept" => Ok((Storage::Kept, setting.clone())),
            "lost" => Ok((Storage::Lost, setting.clone())),
            other => Err(setting.wrong(format!("storage '{other}': expected kept or lost"))),
        })?;
        match (self.take("restart", time)?, storage) {
            (Some(after), storage) => Ok(Some(Restart {
                after,
                storage: storage.map(|(storage, _)| storage).unwrap_or_default(),
            })),
            (None, None) => Ok(None),
            (None, Some((_, setting))) => {
                let problem = "storage says what a restart finds: expected restart=TIME beside it";
                Err(setting.wrong(problem.to_owned()))
            }
        }
    }
}

impl Setting {
    fn wrong(&self, problem: String) -> FaultError {
        FaultError {
            place: self.place.clone(),
            problem,
        }
    }
}

fn known_faults() -> String {
    let grammars: Vec<&str> = GRAMMAR.iter().map(|(_, grammar, _)| *grammar).collect();
    format!("faults are {}", grammars.join(", "))
}

fn time(setting: &Setting) -> Result<Duration, FaultError> {
    let read = time_with_unit(&setting.value);
    read.map_err(|problem| setting.wrong(format!("{}: {problem}", setting.key)))
}

/// Seconds or milliseconds make two different runs: nobody guesses which was meant.
fn time_with_unit(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if text.ends_with(char::is_alphabetic) {
        Ok(time)
    } else {
        Err(format!(
            "'{text}' has no unit: expected us, ms, s, m or h after it, as in {text}ms"
        ))
    }
}

fn number<T: std::str::FromStr>(setting: &Setting) -> Result<T, FaultError> {
    let Setting { key, value, .. } = setting;
    value
        .parse()
        .map_err(|_| setting.wrong(format!("{key} '{value}': expected a number")))
}

fn process(setting: &Setting) -> Result<ProcessId, FaultError> {
    let Setting { key, value, .. } = setting;
    let id = value.parse().map(ProcessId);
    id.map_err(|_| setting.wrong(format!("{key} '{value}': expected a process's id")))
}

fn share(setting: &Setting) -> Result<Share, FaultError> {
    let Setting { key, value, .. } = setting;
    let (number, percent) = match value.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (value.as_str(), 1.0),
    };
    let share = number.trim().parse::<f64>().map(|share| share / percent);
    let millionths = share.map(|share| (share * 1e6).round());
    match millionths {
        Ok(millionths) if (1.0..=1e6).contains(&millionths) => Ok(Share {
            millionths: millionths as u32,
        }),
        _ => Err(setting.wrong(format!(
            "{key} '{value}': expected a share above 0 and up to 1, as in 0.05 or 5%"
        ))),
    }
}

fn target(setting: &Setting) -> Result<Target, FaultError> {
    let Setting { key, value, .. } = setting;
    let wrong = || setting.wrong(format!("{key} '{value}': expected {TARGET}"));
    let (who, when) = value.split_once('@').ok_or_else(wrong)?;
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let who = match who.parse() {
        Ok(id) => Who::Process(ProcessId(id)),
        Err(_) if is_name(who) => Who::Role(who.to_owned()),
        Err(_) => return Err(wrong()),
    };
    let when = if when.starts_with(|c: char| c.is_ascii_digit()) {
        let because = |problem| setting.wrong(format!("{key} '{value}': {problem}"));
        When::Time(time_with_unit(when).map_err(because)?)
    } else {
        let (name, pass) = match when.split_once('#') {
            Some((name, pass)) => (name, pass.parse().map_err(|_| wrong())?),
            None => (when, 1),
        };
        if !is_name(name) || pass == 0 {
            return Err(wrong());
        }
        let name = name.to_owned();
        When::Point { name, pass }
    };
    Ok(Target { who, when })
}

fn side(setting: &Setting) -> Result<(BTreeSet<ProcessId>, Duration), FaultError> {
    let Setting { key, value, .. } = setting;
    let wrong = || {
        setting.wrong(format!(
            "{key} '{value}': expected ids of one side, @, and a time, as in 0+1@200ms"
        ))
    };
    let (ids, at) = value.split_once('@').ok_or_else(wrong)?;
    let ids: Result<BTreeSet<ProcessId>, _> =
        ids.split('+').map(|id| id.parse().map(ProcessId)).collect();
    let because = |problem| setting.wrong(format!("{key} '{value}': {problem}"));
    Ok((
        ids.map_err(|_| wrong())?,
        time_with_unit(at).map_err(because)?,
    ))
}

/// As it is written.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { target, restart } => {
                write!(f, "kill={target}")?;
                if let Some(Restart { after, storage }) = restart {
                    write!(f, ",restart={}", duration_text(*after))?;
                    if *storage == Storage::Lost {
                        f.write_str(",storage=lost")?;
                    }
                }
                Ok(())
            }
            Self::Stop { target, time } => {
                write!(f, "stop={target},for={}", duration_text(*time))
            }
            Self::Delay { by, of } => {
                write!(f, "delay={}", duration_text(*by))?;
                of.map_or(Ok(()), |id| write!(f, ",of={id}"))
            }
            Self::Drop {
                share,
                of,
                kind,
                most,
            } => {
                write!(f, "drop={share}")?;
                if let Some(id) = of {
                    write!(f, ",of={id}")?;
                }
                if let Some(kind) = kind {
                    write!(f, ",kind={kind}")?;
                }
                most.map_or(Ok(()), |most| write!(f, ",most={most}"))
            }
            Self::Split { side, at, time } => {
                let side: Vec<String> = side.iter().map(ToString::to_string).collect();
                write!(f, "split={}@{}", side.join("+"), duration_text(*at))?;
                time.map_or(Ok(()), |time| write!(f, ",for={}", duration_text(time)))
            }
            Self::Loss { share } => write!(f, "loss={share}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Process(id) => write!(f, "{id}@")?,
            Who::Role(role) => write!(f, "{role}@")?,
        }
        match &self.when {
            When::Time(time) => f.write_str(&duration_text(*time)),
            When::Point { name, pass: 1 } => f.write_str(name),
            When::Point { name, pass } => write!(f, "{name}#{pass}"),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.millionths) / 1e4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::catalog;

    #[test]
    fn every_fault_is_read_as_it_is_written() {
        for text in [
            "kill=coordinator@after-votes",
            "kill=leader@won#2,restart=1.5s",
            "kill=2@500ms,restart=20ms,storage=lost",
            "stop=1@1s,for=200ms",
            "delay=250µs",
            "delay=5ms,of=3",
            "drop=5%",
            "drop=100%,of=2,kind=token,most=1",
            "split=0+1@0s,for=1s",
            "split=4@10ms",
            "loss=0.25%",
        ] {
            let fault = Fault::read(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(fault.to_string(), text);
        }
        let fraction = Fault::read("drop=0.05, of=1");
        assert_eq!(fraction.unwrap().to_string(), "drop=5%,of=1");
    }

    #[test]
    fn what_is_no_fault_says_what_was_expected() {
        for (text, expected) in [
            ("", "expected KEY=VALUE"),
            ("burn=2@1s", "names no fault"),
            ("kill=2@1s,stop=1@1s", "both kill and stop"),
            ("kill=2", "expected a process's id or its role, @"),
            ("kill=2@", "expected a process's id"),
            ("kill=-2@1s", "expected a process's id"),
            ("kill=2@1parsec", "'1parsec' is no duration"),
            ("kill=2@5", "'5' has no unit: expected us, ms, s"),
            ("delay=5", "delay: '5' has no unit"),
            ("split=0+1@5", "'5' has no unit"),
            ("stop=1@1s,for=1.5", "for: '1.5' has no unit"),
            ("kill=leader@won#0", "expected a process's id"),
            ("kill=2@1s,restart=soon", "restart: 'soon' is no duration"),
            ("kill=2@1s,storage=lost", "expected restart=TIME"),
            ("kill=2@1s,restart=1s,storage=gone", "expected kept or lost"),
            ("kill=2@1s,for=1s", "'for' has no place here"),
            ("kill=2@1s,restart=1s,restart=2s", "stands twice"),
            ("stop=2@1s", "expected for=TIME"),
            ("drop=0", "expected a share above 0"),
            ("drop=101%", "expected a share above 0"),
            ("drop=1%,of=x", "expected a process's id"),
            ("split=0,1@1s", "expected KEY=VALUE"),
            ("split=0+x@1s", "expected ids of one side"),
            ("loss=2%,of=1", "'of' has no place here"),
        ] {
            let error = Fault::read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.starts_with("--fault '"), "{error}");
        }
    }

    #[test]
    fn an_algorithm_has_the_process_point_or_kind_or_the_error_tells_which_it_has() {
        let ring = catalog::by_name("ring").unwrap();
        let check = |text: &str| Fault::read(text).unwrap().check(ring, 4);
        for good in [
            "kill=3@1s",
            "drop=1%,kind=token",
            "split=0+1@1s",
            "delay=1s,of=0",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("kill=4@1s", "ids run from 0 to 3"),
            ("kill=leader@1s", "Name its id for a time"),
            ("kill=leader@nowhere", "ring has no point"),
            ("drop=1%,kind=vote", "it has: token"),
            ("split=0+1+2+3@1s", "on either side"),
            ("split=7@1s", "ids run from 0 to 3"),
        ] {
            let problem = check(bad).expect_err(bad);
            assert!(problem.contains(expected), "{bad}: {problem}");
        }
    }
}
