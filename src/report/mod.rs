//! The report on a capture: one value, and one exporter a file.
//!
//! In: an [`Analysis`], the judgement on its completeness, where its packets came from, an audit
//! where there was one, and the energy models to apply. Out: a [`Report`] under the names of
//! `docs/report.schema.json`, and its text, JSON and HTML. Nothing here counts or judges; what each
//! figure means is in `docs/report.md`.

pub mod chart;
pub mod compare;
mod cost;
pub mod export;
pub mod html;
pub mod json;
mod merge;
mod number;
mod sci;
pub mod simulation;
pub mod sweep;
mod table;
mod tables;
pub mod text;
mod time;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, Beginning, Completeness};
use crate::audit::Audit;
use crate::capture::Part;
use crate::energy::{self, Carbon, Energy, Estimate, Grid, HostEnergy, Model};
use crate::tally::{ProtocolTally, Unclassified, Undecoded};
use crate::units::{Grams, Joules, LinkType, Timestamp};

pub use cost::{FaultCost, RunCost};
pub use merge::{MergeError, MergedSource, merge};
pub use number::{counted, grouped, rate, sourced};
pub use sci::Sci;
pub use table::{Style, wrapped};
pub use tables::{models as models_table, regions as regions_table};
pub use time::compact as compact_time;

/// The schema's name. Within a version, changes only add.
pub const SCHEMA: &str = "wirewatt-report/1";

/// Everything that is known of a capture's traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// What made the report.
    pub tool: Tool,
    /// Tells by which ports and framings packets were sorted into protocols: reports are added only
    /// where it is the same. Absent where nothing was analysed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The command line that made it, the program first; empty where it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Where the packets came from.
    pub source: Source,
    /// Whether the capture showed everything that passed.
    pub completeness: Completeness,
    /// One entry a protocol, in the port plan's order.
    pub protocols: Vec<ProtocolReport>,
    /// How the run went that the capture is of; absent where it is of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunSummary>,
    /// What the run's faults cost; absent where it was not run without them too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_cost: Option<FaultCost>,
    /// What the machine's processors took during the run; absent where it was not to be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_energy: Option<HostEnergy>,
    /// Packets that were decoded and belong to no protocol's ports.
    pub unclassified: Unclassified,
    /// Packets that could not be decoded.
    pub undecoded: Undecoded,
    /// The accounts held against each other; absent where no accounts were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// How a run of an algorithm went, as its nodes told it: nothing here was counted on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The algorithm, by its protocol's name.
    pub algorithm: String,
    /// How many processes.
    pub processes: u32,
    /// How connections were used: `persistent`, `per-message` or `per-exchange`.
    pub connections: String,
    /// Operations that the run was to have.
    pub operations: u64,
    /// Of those, ended, whatever came of them.
    pub ended: u64,
    /// Of those, ended with success: what a cost per operation is divided by.
    pub succeeded: u64,
    /// What went wrong, in words; empty when nothing did.
    pub problems: Vec<String>,
    /// Faults that were injected, or were to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<InjectedFault>,
    /// How the run ended where not every operation ended and an injected fault is why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled: Option<String>,
    /// From the first operation's beginning to the last one's end, in nanoseconds; absent where one
    /// did not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// What the algorithm promises, held against what its processes reported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<PropertyRow>,
    /// How the run was set up; absent in reports of programs that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<RunSetup>,
}

/// What a run was started with, for those who want to repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSetup {
    /// When it began.
    pub started: Timestamp,
    /// How often each initiator was to repeat its operation.
    pub rounds: u32,
    /// Payload beside every message's body, in bytes.
    pub payload: u64,
    /// What chance was decided by.
    pub seed: u64,
    /// Where each process listened, by id.
    pub addresses: Vec<String>,
    /// The algorithm's own options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl RunSummary {
    /// Properties that do not hold.
    pub fn broken_properties(&self) -> impl Iterator<Item = &PropertyRow> {
        let broken = |property: &&PropertyRow| property.holds == Some(false);
        self.properties.iter().filter(broken)
    }
}

/// A property of an algorithm, and whether a run has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyRow {
    /// Its name in the field, such as agreement.
    pub name: String,
    /// What it says, in a line.
    pub about: String,
    /// Whether it can be broken by what happened, or only by what did not.
    pub kind: PropertyKind,
    /// Whether the run has it; null where that cannot be judged.
    pub holds: Option<bool>,
    /// Why it does not, or cannot be judged; empty where it holds.
    pub why: String,
}

/// What kind of property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertyKind {
    /// Nothing bad happens.
    Safety,
    /// Something good happens.
    Liveness,
}

/// A fault that was to be injected into a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedFault {
    /// The fault, as `--fault` writes it.
    pub fault: String,
    /// What it did, in words; empty where it never came to it.
    pub happened: Vec<String>,
}

/// What made a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The program's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Tool {
    fn this() -> Self {
        Self {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// What kind of source packets came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// An interface, while it happened.
    Live,
    /// Saved captures.
    #[default]
    File,
    /// A capture on standard input.
    Stdin,
}

/// Where packets came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// What kind of source.
    pub kind: SourceKind,
    /// The interface of a live capture.
    pub interface: Option<String>,
    /// The files of a saved one, in the order given.
    pub files: Vec<String>,
    /// The earliest packet's time, in nanoseconds since the Unix epoch.
    pub first_packet: Option<Timestamp>,
    /// The latest packet's time, in nanoseconds since the Unix epoch.
    pub last_packet: Option<Timestamp>,
    /// Most bytes of a packet that the capture kept, where known.
    pub snaplen: Option<u32>,
    /// Link types of the packets. Wire bytes of different link types do not compare.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_types: Vec<LinkType>,
    /// The capture filter, where there was one: what it kept out is not in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether the capture was ended before what it observes was over.
    #[serde(default)]
    pub partial: bool,
    /// What the capture's beginning leaves open, for when reports on its parts are added.
    #[serde(default, skip_serializing_if = "Beginning::is_empty")]
    pub beginning: Beginning,
    /// The parts of divided captures that the files are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What the reports were on that were added up to this one; absent where none were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<MergedSource>,
}

/// One protocol's counts and what they cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct ProtocolReport {
    /// What was counted.
    #[serde(flatten)]
    pub tally: ProtocolTally,
    /// Message bodies as a share of IP bytes; null where there were no IP bytes.
    pub goodput_share: Option<f64>,
    /// Energy by the headline model.
    pub energy: Energy,
    /// Emissions of supplying it.
    pub carbon: Carbon,
    /// The same by every further model, from the lowest figure to the highest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub estimates: Vec<Estimate>,
    /// Cost of one operation; absent where the framing names no operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_operation: Option<PerOperation>,
    /// The software carbon intensity of an operation; absent where the framing names no operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sci: Option<Sci>,
}

impl ProtocolReport {
    /// Divides what the protocol cost among so many operations.
    fn share_among(&mut self, operations: u64, traffic: sci::Traffic) {
        let headline = Estimate {
            energy: self.energy.clone(),
            carbon: self.carbon.clone(),
        };
        self.per_operation = PerOperation::of(&self.tally, &headline, operations);
        let unit = tables::operation_of(self).to_owned();
        self.sci = Sci::of(&headline, unit, operations, traffic);
    }

    /// Whether any packet was seen on the protocol's ports.
    pub fn was_seen(&self) -> bool {
        self.tally.packets.total.get() > 0
    }

    /// The protocol's name, and whether these streams only were on its ports.
    fn label(&self) -> String {
        match self.tally.foreign {
            true => format!("{} (foreign)", self.tally.name),
            false => self.tally.name.clone(),
        }
    }
}

/// A flattened struct cannot be read with `series.buckets`' integer keys in it, so the tally and
/// its neighbours are read one after the other from the same object.
impl TryFrom<serde_json::Value> for ProtocolReport {
    type Error = serde_json::Error;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        #[derive(Deserialize)]
        struct Beside {
            goodput_share: Option<f64>,
            energy: Energy,
            carbon: Carbon,
            #[serde(default)]
            estimates: Vec<Estimate>,
            per_operation: Option<PerOperation>,
            sci: Option<Sci>,
        }
        let beside = Beside::deserialize(&value)?;
        Ok(Self {
            tally: serde_json::from_value(value)?,
            goodput_share: beside.goodput_share,
            energy: beside.energy,
            carbon: beside.carbon,
            estimates: beside.estimates,
            per_operation: beside.per_operation,
            sci: beside.sci,
        })
    }
}

/// Mean cost of one operation. Everything on the protocol's ports is divided among its operations
/// (those that succeeded, in a report on a run): handshakes, acknowledgements and retransmissions
/// too, and what the operations that failed have cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PerOperation {
    /// How many operations the totals were divided by.
    #[serde(default)]
    pub operations: u64,
    /// Complete messages for one operation.
    pub messages: f64,
    /// Packets for one operation.
    pub packets: f64,
    /// IP bytes for one operation.
    pub ip: f64,
    /// Energy for one operation by the headline model.
    pub joules: Joules,
    /// Emissions for one operation.
    pub grams: Grams,
}

impl PerOperation {
    fn of(tally: &ProtocolTally, estimate: &Estimate, operations: u64) -> Option<Self> {
        let divisor = operations as f64;
        (operations > 0).then(|| Self {
            operations,
            messages: tally.messages.get() as f64 / divisor,
            packets: tally.packets.total.get() as f64 / divisor,
            ip: tally.bytes.ip.get() as f64 / divisor,
            joules: Joules(estimate.energy.joules.0 / divisor),
            grams: Grams(estimate.carbon.grams.0 / divisor),
        })
    }
}

/// The models whose figures go into a report.
#[derive(Debug, Clone)]
pub struct Models {
    /// The model of each protocol's `energy` and `carbon`.
    pub headline: Model,
    /// The models of its `estimates`.
    pub further: Vec<Model>,
    /// The grid that supplies the energy.
    pub grid: Grid,
}

impl Models {
    /// The library's headline model, all its others, and this grid.
    pub fn of(library: &energy::Library, grid: Grid) -> Result<Self, energy::EnergyError> {
        Self::with_headline(library, library.model(energy::HEADLINE_MODEL)?, grid)
    }

    /// This model of the library's first, all its others, and this grid.
    pub fn with_headline(
        library: &energy::Library,
        headline: &Model,
        grid: Grid,
    ) -> Result<Self, energy::EnergyError> {
        let others = library.models().iter();
        Ok(Self {
            further: others
                .filter(|m| m.name != headline.name)
                .cloned()
                .collect(),
            headline: headline.clone(),
            grid,
        })
    }
}

impl Report {
    /// The report on an analysed capture. The times and the beginning in `source` are taken from the analysis.
    pub fn new(
        analysis: &Analysis,
        completeness: Completeness,
        source: Source,
        audit: Option<Audit>,
        models: &Models,
    ) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            tool: Tool::this(),
            plan: analysis.plan.map(|plan| plan.to_string()),
            command: Vec::new(),
            source: Source {
                first_packet: analysis.first_packet,
                last_packet: analysis.last_packet,
                beginning: analysis.beginning.clone(),
                ..source
            },
            completeness,
            protocols: analysis
                .protocols
                .iter()
                .map(|tally| protocol_report(tally, models))
                .collect(),
            unclassified: analysis.unclassified.clone(),
            undecoded: analysis.undecoded.clone(),
            run: None,
            fault_cost: None,
            host_energy: None,
            audit,
        }
    }

    /// The same report as one on a run: what an operation costs is what one that succeeded costs.
    pub fn of_run(mut self, run: RunSummary) -> Self {
        for protocol in &mut self.protocols {
            if protocol.tally.name == run.algorithm && !protocol.tally.foreign {
                protocol.share_among(run.succeeded, sci::Traffic::Captured);
            }
        }
        self.run = Some(run);
        self
    }

    /// Whether the run, or the capture, did not go as it should: accounts that are equal are equal
    /// only as far as it went.
    fn is_broken_off(&self) -> bool {
        let problems = |run: &RunSummary| !run.problems.is_empty();
        self.source.partial || self.run.as_ref().is_some_and(problems)
    }

    /// The protocols on whose ports a packet was seen, without the marker datagrams.
    pub fn seen_protocols(&self) -> impl Iterator<Item = &ProtocolReport> {
        self.protocols
            .iter()
            .filter(|protocol| protocol.was_seen() && !is_marker(protocol))
    }
}

/// One run in a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// The algorithm, by its protocol's name.
    pub protocol: &'a str,
    /// The number of its processes, where known.
    pub processes: Option<u32>,
    /// The run's report.
    pub report: &'a Report,
}

impl<'a> Compared<'a> {
    /// The run's own entry of that protocol, rather than one of foreign streams on its ports.
    fn protocol_report(&self) -> Option<&'a ProtocolReport> {
        let all = self.report.protocols.iter();
        all.filter(|entry| entry.tally.name == self.protocol)
            .min_by_key(|entry| entry.tally.foreign)
    }
}

/// Makes a folder, and those that it is in, where they are not there yet.
///
/// # Errors
///
/// The system's; and that it is no folder, which the system calls "File exists".
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path).map_err(|error| match path.exists() && !path.is_dir() {
        true => io::Error::new(error.kind(), "it is there, and is no folder"),
        false => error,
    })
}

/// Whether the entry counts WireWatt's own marker datagrams.
fn is_marker(protocol: &ProtocolReport) -> bool {
    protocol.tally.name == crate::protocols::MARKER_NAME
}

fn protocol_report(tally: &ProtocolTally, models: &Models) -> ProtocolReport {
    let estimate = |model| energy::estimate(tally, model, &models.grid);
    let headline = estimate(&models.headline);
    let mut estimates: Vec<Estimate> = models.further.iter().map(estimate).collect();
    estimates.sort_by(|left, right| left.energy.joules.0.total_cmp(&right.energy.joules.0));
    let mut report = ProtocolReport {
        tally: tally.clone(),
        goodput_share: tally.bytes.goodput_share(),
        per_operation: None,
        sci: None,
        energy: headline.energy,
        carbon: headline.carbon,
        estimates,
    };
    report.share_among(tally.operations.whole_count(), sci::Traffic::Captured);
    report
}
