//! What the machine's processors took while a run went on, by Linux's powercap counters.
//!
//! In: the sysfs folder of the counters. Out: [`HostEnergy`], measured with the machine's idle power
//! subtracted, or the reason why there is none: never 0, and never a guess. It is of the whole
//! machine, and too coarse for single messages.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::units::Joules;

/// Where Linux shows its power capping zones.
pub const POWERCAP: &str = "/sys/class/powercap";

/// Counters wrap after some hundred kilojoules, which takes minutes at the least.
const BETWEEN_READINGS: Duration = Duration::from_secs(5);

/// Idle power is measured in so many parts, whose spread tells how far it is to be trusted.
const IDLE_PARTS: u32 = 5;

/// The machine's energy during a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum HostEnergy {
    /// The counters were read.
    Measured(Measured),
    /// They could not be.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// What the counters showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The processor packages that were added up, by the counters' names.
    pub zones: Vec<String>,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// All that they took.
    pub joules: Joules,
    /// The machine's power before the run, in watts; absent where it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// What they took beyond idle power over that time; absent where that is not known. It is negative
    /// where the machine was busier before the run than in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_idle: Option<AboveIdle>,
}

/// The machine's power while nothing of the run went on, in watts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// How long it was measured, in seconds.
    pub seconds: f64,
    /// On average.
    pub watts: f64,
    /// In the quietest part of that time.
    pub low: f64,
    /// In the busiest part.
    pub high: f64,
}

/// Energy beyond idle power: by its average, and by the ends of its spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AboveIdle {
    /// By the average of idle power.
    pub joules: Joules,
    /// By its highest.
    pub low: Joules,
    /// By its lowest.
    pub high: Joules,
}

impl Measured {
    fn new(zones: Vec<String>, joules: Joules, seconds: f64, idle: Option<Idle>) -> Self {
        let above = |watts: f64| Joules(joules.0 - watts * seconds);
        Self {
            zones,
            seconds,
            joules,
            above_idle: idle.map(|idle| AboveIdle {
                joules: above(idle.watts),
                low: above(idle.high),
                high: above(idle.low),
            }),
            idle,
        }
    }
}

/// Where the counters are, and how long to measure idle power.
#[derive(Debug, Clone)]
pub struct HostSensors {
    /// The folder of the zones: [`POWERCAP`].
    pub powercap: PathBuf,
    /// How long to measure the machine's idle power before; nothing is subtracted where it is zero.
    pub idle: Duration,
}

impl Default for HostSensors {
    fn default() -> Self {
        Self {
            powercap: PathBuf::from(POWERCAP),
            idle: Duration::from_secs(1),
        }
    }
}

impl HostSensors {
    /// Measures idle power, unless `cancel` becomes true, and begins to measure.
    pub fn begin(&self, cancel: &AtomicBool) -> HostMeter {
        let begun = Counters::open(&self.powercap).and_then(|mut counters| {
            let idle = counters.idle(self.idle, cancel)?;
            Going::begin(counters, idle)
        });
        HostMeter(begun)
    }
}

/// A measurement that goes on.
#[derive(Debug)]
pub struct HostMeter(Result<Going, String>);

impl HostMeter {
    /// What was measured until now.
    pub fn finish(self) -> HostEnergy {
        match self.0.and_then(Going::finish) {
            Ok(measured) => HostEnergy::Measured(measured),
            Err(reason) => HostEnergy::Unavailable { reason },
        }
    }
}

/// A thread that reads the counters often enough to see each wrap.
#[derive(Debug)]
struct Going {
    stop: Sender<()>,
    thread: JoinHandle<Result<Measured, String>>,
}

impl Going {
    fn begin(mut counters: Counters, idle: Option<Idle>) -> Result<Self, String> {
        let (stop, stopped): (Sender<()>, Receiver<()>) = channel();
        counters.advance()?;
        let start = Instant::now();
        let measure = move || {
            let mut micros = 0;
            loop {
                let over = stopped.recv_timeout(BETWEEN_READINGS) != Err(RecvTimeoutError::Timeout);
                micros += counters.advance()?;
                if over {
                    let zones = counters.names();
                    let seconds = start.elapsed().as_secs_f64();
                    return Ok(Measured::new(zones, joules(micros), seconds, idle));
                }
            }
        };
        Ok(Self {
            stop,
            thread: thread::spawn(measure),
        })
    }

    fn finish(self) -> Result<Measured, String> {
        // The other end is gone only where the thread has failed, which it tells below.
        let _ = self.stop.send(());
        let failed = |_| "the thread that read the counters failed".to_owned();
        self.thread.join().map_err(failed)?
    }
}

fn joules(microjoules: u64) -> Joules {
    Joules(microjoules as f64 / 1e6)
}

/// One zone's counter.
#[derive(Debug)]
struct Zone {
    name: String,
    file: PathBuf,
    /// Where it begins again at 0.
    range: u64,
    last: u64,
}

impl Zone {
    fn open(folder: &Path, name: String) -> Result<Self, String> {
        let range = number(&folder.join("max_energy_range_uj"))?;
        let file = folder.join("energy_uj");
        Ok(Self {
            name,
            last: number(&file)?,
            file,
            range,
        })
    }

    /// Microjoules since the last reading.
    fn advance(&mut self) -> Result<u64, String> {
        let now = number(&self.file)?;
        let before = std::mem::replace(&mut self.last, now);
        Ok(since(before, now, self.range))
    }
}

/// How far a counter has gone that begins again at 0 when it has reached its range.
fn since(before: u64, now: u64, range: u64) -> u64 {
    match now.checked_sub(before) {
        Some(microjoules) => microjoules,
        None => range.saturating_sub(before).saturating_add(now),
    }
}

fn number(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|error| {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                format!("{path} may be read by root alone (since Linux 5.10)")
            }
            _ => format!("{path}: {error}"),
        }
    })?;
    let wrong = |_| format!("{}: '{}' is no number", path.display(), text.trim());
    text.trim().parse().map_err(wrong)
}

/// The counters of all processor packages.
#[derive(Debug)]
struct Counters(Vec<Zone>);

impl Counters {
    /// The package zones: what is within a package counts with it, what is above all of them would
    /// count it again, and so would another interface to the same package.
    fn open(powercap: &Path) -> Result<Self, String> {
        let shown = powercap.display();
        let entries = fs::read_dir(powercap).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no {shown}: this kernel or virtual machine shows no powercap counters"
            ),
            _ => format!("{shown}: {error}"),
        })?;
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        let (mut zones, mut names) = (Vec::new(), BTreeSet::new());
        for folder in folders {
            let entry = folder.file_name().and_then(|name| name.to_str());
            let Some(("intel-rapl", number)) = entry.and_then(|name| name.split_once(':')) else {
                continue;
            };
            let name = fs::read_to_string(folder.join("name")).unwrap_or_default();
            let name = name.trim().to_owned();
            let is_package = !number.contains(':') && name.starts_with("package");
            if is_package && names.insert(name.clone()) {
                zones.push(Zone::open(&folder, name)?);
            }
        }
        match zones.is_empty() {
            true => Err(format!(
                "{shown} has no zone of a processor package: this machine, or the virtual machine's \
                 host, shows none"
            )),
            false => Ok(Self(zones)),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|zone| zone.name.clone()).collect()
    }

    /// Microjoules of all zones since the last reading.
    fn advance(&mut self) -> Result<u64, String> {
        self.0.iter_mut().map(Zone::advance).sum()
    }

    /// Idle power over that time; none where there is no time for it.
    fn idle(&mut self, time: Duration, cancel: &AtomicBool) -> Result<Option<Idle>, String> {
        if time.is_zero() {
            return Ok(None);
        }
        self.advance()?;
        let (mut all, mut seconds) = (0.0, 0.0);
        let (mut low, mut high) = (f64::INFINITY, 0_f64);
        for _ in 0..IDLE_PARTS {
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let start = Instant::now();
            thread::sleep(time / IDLE_PARTS);
            let joules = joules(self.advance()?).0;
            let part = start.elapsed().as_secs_f64();
            low = low.min(joules / part);
            high = high.max(joules / part);
            all += joules;
            seconds += part;
        }
        Ok(Some(Idle {
            seconds,
            watts: all / seconds,
            low,
            high,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    /// A false sysfs: folders with their name, counter and range.
    fn sysfs(zones: &[(&str, &str, u64)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (folder, name, energy) in zones {
            let folder = root.path().join(folder);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("name"), format!("{name}\n")).unwrap();
            fs::write(folder.join("max_energy_range_uj"), "1000000\n").unwrap();
            set(&folder, *energy);
        }
        root
    }

    fn set(zone: &Path, energy: u64) {
        fs::write(zone.join("energy_uj"), format!("{energy}\n")).unwrap();
    }

    fn sensors(root: &TempDir) -> HostSensors {
        HostSensors {
            powercap: root.path().to_owned(),
            idle: Duration::ZERO,
        }
    }

    fn reason(sensors: &HostSensors) -> String {
        match sensors.begin(&AtomicBool::new(false)).finish() {
            HostEnergy::Unavailable { reason } => reason,
            measured => panic!("{measured:?}"),
        }
    }

    /// Cores and uncore lie within their package, psys above all, and mmio shows a package again.
    #[test]
    fn packages_count_once_and_their_parts_not_at_all() {
        let root = sysfs(&[
            ("intel-rapl", "", 1),
            ("intel-rapl:0", "package-0", 100),
            ("intel-rapl:0:0", "core", 60),
            ("intel-rapl:0:1", "uncore", 20),
            ("intel-rapl:1", "package-1", 200),
            ("intel-rapl:2", "psys", 900),
            ("intel-rapl-mmio:0", "package-0", 100),
        ]);
        let mut counters = Counters::open(root.path()).unwrap();
        assert_eq!(counters.names(), ["package-0", "package-1"]);
        for (zone, energy) in [
            ("intel-rapl:0", 130),
            ("intel-rapl:0:0", 90),
            ("intel-rapl:1", 207),
            ("intel-rapl:2", 999),
            ("intel-rapl-mmio:0", 130),
        ] {
            set(&root.path().join(zone), energy);
        }
        assert_eq!(counters.advance(), Ok(37));
        assert_eq!(counters.advance(), Ok(0));
    }

    #[test]
    fn a_counter_that_begins_again_goes_on() {
        let root = sysfs(&[("intel-rapl:0", "package-0", 999_990)]);
        let mut counters = Counters::open(root.path()).unwrap();
        set(&root.path().join("intel-rapl:0"), 25);
        assert_eq!(counters.advance(), Ok(35));
    }

    #[test]
    fn a_measurement_is_the_counters_change() {
        let root = sysfs(&[("intel-rapl:0", "package-0", 400_000)]);
        let meter = sensors(&root).begin(&AtomicBool::new(false));
        set(&root.path().join("intel-rapl:0"), 900_000);
        let HostEnergy::Measured(measured) = meter.finish() else {
            panic!("unavailable");
        };
        assert_eq!(measured.joules, Joules(0.5));
        assert_eq!(measured.zones, ["package-0"]);
        assert_eq!((measured.idle, measured.above_idle), (None, None));
    }

    /// 10 J in 2 s with 1.5 W idle, 1 to 3 W.
    #[test]
    fn idle_power_is_subtracted_with_its_spread() {
        let idle = Idle {
            seconds: 1.0,
            watts: 1.5,
            low: 1.0,
            high: 3.0,
        };
        let measured = Measured::new(Vec::new(), Joules(10.0), 2.0, Some(idle));
        let above = measured.above_idle.unwrap();
        let figures = [above.low, above.joules, above.high];
        assert_eq!(figures, [Joules(4.0), Joules(7.0), Joules(8.0)]);
    }

    #[test]
    fn an_idle_machine_that_counts_nothing_has_no_power() {
        let root = sysfs(&[("intel-rapl:0", "package-0", 7)]);
        let mut counters = Counters::open(root.path()).unwrap();
        let idle = counters.idle(Duration::from_millis(5), &AtomicBool::new(false));
        let idle = idle.unwrap().unwrap();
        assert_eq!((idle.low, idle.watts, idle.high), (0.0, 0.0, 0.0));
        assert!(idle.seconds >= 0.005);
        assert_eq!(
            counters.idle(Duration::ZERO, &AtomicBool::new(false)),
            Ok(None)
        );
        assert_eq!(
            counters.idle(Duration::from_secs(9), &AtomicBool::new(true)),
            Ok(None)
        );
    }

    #[test]
    fn what_is_not_there_is_unavailable_and_says_why() {
        let root = sysfs(&[("intel-rapl:0", "psys", 5), ("dtpm", "package-0", 1)]);
        assert!(reason(&sensors(&root)).contains("has no zone of a processor package"));
        let nowhere = HostSensors {
            powercap: root.path().join("none"),
            idle: Duration::ZERO,
        };
        assert!(reason(&nowhere).starts_with("there is no "));
        let root = sysfs(&[("intel-rapl:0", "package-0", 5)]);
        let counter = root.path().join("intel-rapl:0/energy_uj");
        fs::write(&counter, "many\n").unwrap();
        assert!(reason(&sensors(&root)).ends_with("'many' is no number"));
        fs::set_permissions(&counter, fs::Permissions::from_mode(0o000)).unwrap();
        // Root reads it all the same.
        let told = ["may be read by root alone", "is no number"];
        let reason = reason(&sensors(&root));
        assert!(told.iter().any(|words| reason.contains(words)), "{reason}");
    }

    proptest! {
        /// However a counter wraps between readings, the sum is how far it went.
        #[test]
        fn wraps_lose_nothing(
            start in 0_u64..1_000_000,
            steps in prop::collection::vec(0_u64..1_000_000, 1..50),
        ) {
            let range = 1_000_000;
            let (mut position, mut last, mut sum) = (start, start, 0);
            for step in &steps {
                position += step;
                let now = position % range;
                sum += since(last, now, range);
                last = now;
            }
            prop_assert_eq!(sum, steps.iter().sum::<u64>());
        }
    }
}
