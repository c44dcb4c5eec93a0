//! The report on simulated runs: what was sent, whether it is what formula and properties say, and
//! what it would cost on the wire.

use serde::{Serialize, Serializer};

use super::number::{counted, grouped, mean};
use super::sci::{Sci, Traffic};
use super::table::{Align, Style, Table, beside, wrapped};
use super::{Models, ProtocolReport, Tool, protocol_report, tables, text, time};
use crate::audit::Expected;
use crate::energy::{Carbon, Energy};
use crate::tally::{BytesByClass, LayerBytes, PacketCounts, Projection, ProtocolTally};
use crate::units::{Connections, Messages, Packets};

/// The schema's name. Within a version, changes only add.
pub const SIMULATION_SCHEMA: &str = "wirewatt-simulation/1";

/// Columns by which what belongs to a heading is indented.
const INDENT: usize = 2;

/// One simulated run.
#[derive(Debug, Clone, Serialize)]
pub struct SimulationReport {
    /// [`SIMULATION_SCHEMA`].
    pub schema: &'static str,
    /// What made the report.
    pub tool: Tool,
    /// The algorithm.
    pub algorithm: String,
    /// How many processes, clients aside.
    pub processes: u32,
    /// How often each initiator was to repeat its operation.
    pub rounds: u32,
    /// What every random number came from.
    pub seed: u64,
    /// The command that simulates it again.
    pub command: String,
    /// Network and faults in words.
    pub conditions: String,
    /// Whether it was cut at the limit of virtual time.
    pub cut: bool,
    /// Virtual time of the last thing that happened, in nanoseconds.
    pub virtual_time: u64,
    /// Operations of the workload.
    pub operations: SimulatedOperations,
    /// One row a message kind.
    pub rows: Vec<SimulatedRow>,
    /// Identities between kinds, and the algorithm's properties.
    pub promises: Vec<Promise>,
    /// Processes that are down at the end.
    pub crashed: Vec<u32>,
    /// How connections would be used.
    pub connections: String,
    /// Pure ACKs on top of what is predicted that the kernel's clock decides: from none to so many.
    pub undecided_acks: Packets,
    /// What it would cost on the wire.
    #[serde(serialize_with = "prediction")]
    pub predicted: ProtocolReport,
}

/// What came of the operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SimulatedOperations {
    /// There were to be.
    pub wanted: u64,
    /// Took effect.
    pub succeeded: u64,
    /// Certainly took none.
    pub failed: u64,
    /// Ended, and nobody can say whether they took effect.
    pub unknown: u64,
    /// Began and did not end.
    pub open: u64,
}

impl SimulatedOperations {
    /// Ended, whatever came of them.
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.unknown
    }
}

/// Messages of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct SimulatedRow {
    /// The kind.
    pub kind: String,
    /// The formula in words.
    pub formula: String,
    /// What it says of this run.
    pub expected: Expected,
    /// Sent by processes.
    pub attempted: Messages,
    /// Refused by a process that was down.
    pub refused: Messages,
    /// Lost on the way.
    pub lost: Messages,
    /// Come a second time.
    pub duplicated: Messages,
    /// Handled.
    pub handled: Messages,
    /// Whether the formula admits what was attempted.
    pub admitted: bool,
}

/// Something that the algorithm promises.
#[derive(Debug, Clone, Serialize)]
pub struct Promise {
    /// Its name.
    pub name: String,
    /// `safety`, `liveness` or `identity`.
    pub kind: &'static str,
    /// What it says.
    pub about: String,
    /// Whether it holds; null where this run cannot say.
    pub holds: Option<bool>,
    /// Why it does not, or why the run cannot say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl SimulationReport {
    /// What made it, for [`SimulationReport::tool`].
    pub fn this_tool() -> Tool {
        Tool::this()
    }

    /// Whether formula, identities and properties agree with what happened.
    pub fn agrees(&self) -> bool {
        self.rows.iter().all(|row| row.admitted)
            && self
                .promises
                .iter()
                .all(|promise| promise.holds != Some(false))
    }
}

/// Predicted traffic with its energy and emissions. `succeeded` operations share the cost.
pub fn predicted(tally: &ProtocolTally, models: &Models, succeeded: u64) -> ProtocolReport {
    let mut report = protocol_report(tally, models);
    report.share_among(succeeded, Traffic::Predicted);
    report
}

/// Of a protocol's report, what is predicted: a prediction knows no series, pairs or directions.
fn prediction<S: Serializer>(report: &ProtocolReport, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Predicted<'a> {
        messages: Messages,
        connections: Connections,
        refused_connections: Connections,
        packets: &'a PacketCounts,
        bytes_by_class: &'a BytesByClass,
        bytes: &'a LayerBytes,
        projection: &'a Projection,
        goodput_share: Option<f64>,
        energy: &'a Energy,
        carbon: &'a Carbon,
        estimates: &'a [crate::energy::Estimate],
        per_operation: &'a Option<super::PerOperation>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sci: &'a Option<Sci>,
    }
    let tally = &report.tally;
    Predicted {
        messages: tally.messages,
        connections: tally.connections,
        refused_connections: tally.refused_connections,
        packets: &tally.packets,
        bytes_by_class: &tally.bytes_by_class,
        bytes: &tally.bytes,
        projection: &tally.projection,
        goodput_share: report.goodput_share,
        energy: &report.energy,
        carbon: &report.carbon,
        estimates: &report.estimates,
        per_operation: &report.per_operation,
        sci: &report.sci,
    }
    .serialize(serializer)
}

/// One simulated run for people.
pub fn simulated(report: &SimulationReport, style: Style) -> String {
    let operation = tables::operation_of(&report.predicted);
    let operations = &report.operations;
    let mut went = format!(
        "{} on {} processes, seed {}: {} of {} ended, {} succeeded",
        report.algorithm,
        grouped(report.processes.into()),
        report.seed,
        grouped(operations.ended()),
        counted(operations.wanted, operation),
        grouped(operations.succeeded),
    );
    if operations.open > 0 {
        went += &format!(", {} still open", grouped(operations.open));
    }
    let mut lines = text::labelled("simulated", &went, style);
    let nanos = i64::try_from(report.virtual_time).unwrap_or(i64::MAX);
    let how = if report.cut {
        "cut after"
    } else {
        "at rest after"
    };
    let when = format!(
        "{how} {} of virtual time; {}",
        time::span(nanos),
        report.conditions
    );
    lines.extend(text::labelled("", &when, style));
    if !report.crashed.is_empty() {
        let ids: Vec<_> = report.crashed.iter().map(u32::to_string).collect();
        let down = format!("down at the end: {}", ids.join(", "));
        lines.extend(text::labelled("", &down, style));
    }
    lines.push(String::new());
    lines.extend(messages(&report.rows).lines(INDENT, style));
    for row in report
        .rows
        .iter()
        .filter(|row| row.expected != Expected::Number(Messages::ZERO))
    {
        let text = format!("{}: {}", row.kind, row.formula);
        lines.extend(wrapped(&text, INDENT, 2, style.width));
    }
    lines.extend(promises(&report.promises, style));
    lines.push(String::new());
    let heading = format!(
        "predicted on the wire, {} connections on loopback (a model: docs/simulation.md)",
        report.connections
    );
    lines.extend(wrapped(&heading, 0, 2, style.width));
    lines.extend(cost(&report.predicted, style));
    if report.undecided_acks.get() > 0 {
        let more = counted(report.undecided_acks.get(), "more pure ACK");
        let text =
            format!("up to {more}, as the kernel's clock decides, are in none of these figures");
        lines.extend(wrapped(&text, INDENT, 2, style.width));
    }
    lines.push(String::new());
    lines.push("what the model includes".to_owned());
    let score = report.predicted.sci.iter().map(Sci::ground);
    for note in text::model_notes(&report.predicted)
        .into_iter()
        .chain(score)
    {
        lines.extend(wrapped(&note, INDENT, 2, style.width));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn messages(rows: &[SimulatedRow]) -> Table {
    type Cell = fn(&SimulatedRow) -> Messages;
    let any = |cell: Cell| rows.iter().any(|row| cell(row).get() > 0);
    let columns: [(&'static str, bool, Cell); 5] = [
        ("attempted", true, |row| row.attempted),
        ("refused", any(|row| row.refused), |row| row.refused),
        ("lost", any(|row| row.lost), |row| row.lost),
        ("twice", any(|row| row.duplicated), |row| row.duplicated),
        ("handled", true, |row| row.handled),
    ];
    let columns: Vec<_> = columns.into_iter().filter(|(_, shown, _)| *shown).collect();
    let mut headings = vec![("kind", Align::Left), ("formula", Align::Right)];
    headings.extend(columns.iter().map(|(heading, ..)| (*heading, Align::Right)));
    headings.push(("verdict", Align::Left));
    let mut table = Table::new(headings);
    for row in rows {
        let mut cells = vec![row.kind.clone(), tables::formula(Some(row.expected))];
        cells.extend(columns.iter().map(|(.., cell)| grouped(cell(row).get())));
        cells.push(verdict(row).to_owned());
        table.row(cells);
    }
    if rows.len() > 1 {
        let sum = rows.iter().map(|row| row.expected).reduce(Expected::plus);
        let mut cells = vec!["all".to_owned(), tables::formula(sum)];
        cells.extend(columns.iter().map(|(.., cell)| {
            let total: Messages = rows.iter().map(cell).sum();
            grouped(total.get())
        }));
        cells.push(String::new());
        table.row(cells);
    }
    table
}

fn verdict(row: &SimulatedRow) -> &'static str {
    match (row.admitted, row.expected) {
        (false, _) => "mismatch",
        (true, Expected::Number(_)) => "exact",
        (true, Expected::Interval { .. }) => "within",
    }
}

fn promises(promises: &[Promise], style: Style) -> Vec<String> {
    if promises.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new([
        ("promise", Align::Left),
        ("kind", Align::Left),
        ("verdict", Align::Left),
    ]);
    for promise in promises {
        let verdict = match promise.holds {
            Some(true) => "holds",
            Some(false) => "broken",
            None => "open",
        };
        table.row(vec![
            promise.name.clone(),
            promise.kind.to_owned(),
            verdict.to_owned(),
        ]);
    }
    let mut lines = vec![String::new()];
    lines.extend(table.lines(INDENT, style));
    for promise in promises {
        if let Some(why) = &promise.why {
            let text = format!("{}: {why}", promise.name);
            lines.extend(wrapped(&text, INDENT, 2, style.width));
        }
    }
    lines
}

fn cost(protocol: &ProtocolReport, style: Style) -> Vec<String> {
    let mut lines = wrapped(&text::summary(protocol), INDENT, 0, style.width);
    lines.push(String::new());
    let packets = tables::packets(protocol).lines(INDENT, style);
    let layers = tables::layers(protocol).lines(0, style);
    lines.extend(beside(&packets, &layers, INDENT, style.width));
    let projection = &protocol.tally.projection;
    let ethernet = format!(
        "as Ethernet with an MTU of {}: {}, {} bytes, {} with checksum, preamble and gap",
        grouped(projection.mtu.get().into()),
        counted(projection.frames.get(), "frame"),
        grouped(projection.l2_bytes.get()),
        grouped(projection.line_bytes.get()),
    );
    lines.push(String::new());
    lines.extend(wrapped(&ethernet, INDENT, 2, style.width));
    lines.push(String::new());
    lines.extend(text::cost_lines(protocol, style));
    lines
}

/// Several simulated runs of one algorithm, from different seeds, for people.
pub fn simulated_again(reports: &[SimulationReport], style: Style) -> String {
    let Some(first) = reports.first() else {
        return String::new();
    };
    let runs = reports.len() as u64;
    let all = |count: fn(&SimulationReport) -> u64| reports.iter().map(count).sum::<u64>();
    let went = format!(
        "{} on {} processes, {} with seeds {} to {}: {} of {} ended, {} succeeded",
        first.algorithm,
        grouped(first.processes.into()),
        counted(runs, "run"),
        first.seed,
        reports[reports.len() - 1].seed,
        grouped(all(|report| report.operations.ended())),
        counted(
            all(|report| report.operations.wanted),
            tables::operation_of(&first.predicted)
        ),
        grouped(all(|report| report.operations.succeeded)),
    );
    let mut lines = text::labelled("simulated", &went, style);
    lines.extend(text::labelled("", &first.conditions, style));
    lines.push(String::new());
    lines.extend(spread(reports).lines(INDENT, style));
    let broken: Vec<_> = reports.iter().filter(|report| !report.agrees()).collect();
    lines.push(String::new());
    let verdict = format!(
        "formula, identities and properties: as promised in {} of {}",
        grouped(runs - broken.len() as u64),
        counted(runs, "run")
    );
    lines.extend(wrapped(&verdict, INDENT, 2, style.width));
    for report in broken.iter().take(3) {
        let why = report
            .promises
            .iter()
            .filter(|promise| promise.holds == Some(false));
        let rows = report.rows.iter().filter(|row| !row.admitted);
        let names: Vec<_> = why
            .map(|promise| promise.name.as_str())
            .chain(rows.map(|row| row.kind.as_str()))
            .collect();
        let text = format!(
            "seed {}: {}: {}",
            report.seed,
            names.join(", "),
            report.command
        );
        lines.extend(wrapped(&text, INDENT, 2, style.width));
    }
    if broken.len() > 3 {
        lines.push(format!("  and {} more", grouped(broken.len() as u64 - 3)));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What runs of different seeds cost: the least, the mean and the most.
fn spread(reports: &[SimulationReport]) -> Table {
    let mut table = Table::new([
        ("a run's", Align::Left),
        ("least", Align::Right),
        ("mean", Align::Right),
        ("most", Align::Right),
    ]);
    let mut row = |name: String, value: &dyn Fn(&SimulationReport) -> u64| {
        let values = reports.iter().map(value);
        let sum: u128 = values.clone().map(u128::from).sum();
        table.row(vec![
            name,
            grouped(values.clone().min().unwrap_or(0)),
            mean(sum as f64 / reports.len() as f64),
            grouped(values.max().unwrap_or(0)),
        ]);
    };
    for (at, kind) in reports[0].rows.iter().enumerate() {
        row(kind.kind.clone(), &|report| report.rows[at].attempted.get());
    }
    row("messages".to_owned(), &|report| {
        report.rows.iter().map(|row| row.attempted.get()).sum()
    });
    row("packets".to_owned(), &|report| {
        report.predicted.tally.packets.total.get()
    });
    row("IP bytes".to_owned(), &|report| {
        report.predicted.tally.bytes.ip.get()
    });
    row("virtual time, µs".to_owned(), &|report| {
        report.virtual_time / 1000
    });
    table
}
