//! Runs or captures beside each other: what each cost, and how they differ.

use std::collections::{BTreeMap, BTreeSet};

use super::number::{counted, grouped, mean, modelled, rate};
use super::table::{Align, Style, Table, wrapped};
use super::{Report, RunCost, RunSummary, is_marker, text, time};
use crate::energy::Gas;
use crate::tally::{LayerBytes, ProtocolTally};
use crate::units::{Joules, LinkType, Messages, Mtu};

/// Reports beside each other, the first of which the others are held against.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// In the order in which they were given.
    pub(super) sides: Vec<Side>,
    /// What keeps figures from being compared, in words.
    notes: Vec<String>,
}

/// What one report says.
#[derive(Debug, Clone)]
pub(super) struct Side {
    /// What tells it from the others.
    pub label: String,
    /// The audit's verdict, or that there was none.
    verdict: String,
    /// Whether the capture is known to be whole.
    capture: &'static str,
    /// Messages by kind, with their protocol's name where there are several.
    pub kinds: BTreeMap<String, u64>,
    /// Of all protocols together.
    pub bytes: LayerBytes,
    cost: RunCost,
    /// Whether the report is on a run.
    is_run: bool,
    connections: u64,
    model: Option<String>,
    /// The model's and the grid's names in words.
    by: [Option<String>; 2],
    /// The grid's name, rate and gas.
    grid: Option<String>,
    /// Of the model's figures, where they are the user's own.
    figures: Option<String>,
    grams: f64,
    gas: Option<Gas>,
    /// What the energy depends on, where it is of projected frames.
    mtu: Option<Mtu>,
    /// What has counted, and its version.
    tool: String,
    link_types: BTreeSet<LinkType>,
}

/// A figure of every side.
pub(super) struct Figure {
    pub name: &'static str,
    /// Absent where a report does not say.
    pub values: Vec<Option<f64>>,
    /// The figure in words.
    pub words: fn(f64) -> String,
}

impl Comparison {
    /// Compares reports; each has a name for where nothing else tells it from the others.
    pub fn of(reports: &[(String, &Report)]) -> Self {
        let labels = labels(reports);
        let sides: Vec<Side> = reports
            .iter()
            .zip(labels)
            .map(|((_, report), label)| Side::of(report, label))
            .collect();
        let differ = |of: &dyn Fn(&Side) -> String| {
            let all: BTreeSet<String> = sides.iter().map(of).collect();
            all.len() > 1
        };
        let mut notes = Vec::new();
        if differ(&|side| side.tool.clone()) {
            let made =
                "the reports are by different versions of wirewatt, which may count differently";
            notes.push(made.to_owned());
        }
        if differ(&|side| side.model.clone().unwrap_or_default()) {
            let by = "energy is by different models, hops or PUE, and is not compared";
            notes.push(by.to_owned());
        } else if !same(&sides, |side| &side.figures) {
            let by = "energy is by models of one name with different figures, and is not compared";
            notes.push(by.to_owned());
        } else if !same(&sides, |side| &side.grid) {
            notes.push("CO2 is by different grids, and is not compared".to_owned());
        }
        if !same(&sides, |side| side.mtu) && same(&sides, |side| &side.model) {
            let mtus: BTreeSet<Mtu> = sides.iter().filter_map(|side| side.mtu).collect();
            let mtus: Vec<String> = mtus.iter().map(|mtu| grouped(mtu.get().into())).collect();
            notes.push(format!(
                "energy is of frames with MTUs of {}, and is not compared",
                mtus.join(" and ")
            ));
        }
        let works: BTreeSet<[String; 3]> = reports
            .iter()
            .filter_map(|(_, report)| report.run.as_ref().and_then(work))
            .collect();
        if works.len() > 1 {
            notes.push(
                "the runs had different work, rounds, payload or options: their totals are not of the same"
                    .to_owned(),
            );
        }
        if differ(&|side| format!("{:?}", side.link_types)) {
            notes.push("link types differ: wire bytes do not compare".to_owned());
        }
        let doubtful = sides.iter().filter(|side| side.is_doubtful());
        notes.extend(doubtful.map(|side| {
            format!(
                "{}: verdict {}, capture {}: what is missing from it is in no figure",
                side.label, side.verdict, side.capture
            )
        }));
        Self { sides, notes }
    }

    /// What keeps figures from being compared, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// By which model and grid the totals are that have them, in words.
    pub(super) fn energy_by(&self) -> Option<String> {
        let told = self.totals();
        let has = |what: &dyn Fn(&Figure) -> bool| told.iter().any(what);
        let side = self.sides.iter().find(|side| side.model.is_some())?;
        let [energy, grid] = &side.by;
        let energy = energy.as_ref().filter(|_| has(&|one| one.name == "energy"));
        let gas = self.sides.iter().find_map(|side| side.gas).map(Gas::label);
        let grid = grid.as_ref().filter(|_| has(&|one| Some(one.name) == gas));
        let words: Vec<&str> = energy.into_iter().chain(grid).map(String::as_str).collect();
        (!words.is_empty()).then(|| format!("{}.", words.join(", ")))
    }

    /// Totals of every side.
    pub(super) fn totals(&self) -> Vec<Figure> {
        let same_model = same(&self.sides, |side| (&side.model, &side.figures, side.mtu));
        let same_grid = same_model && same(&self.sides, |side| &side.grid);
        let figure = |name, words, of: &dyn Fn(&Side) -> Option<f64>| Figure {
            name,
            values: self.sides.iter().map(of).collect(),
            words,
        };
        let whole = |figure: f64| grouped(figure as u64);
        let of_run = |side: &Side, figure: u64| side.is_run.then_some(figure as f64);
        let mut figures = vec![
            figure("operations with success", whole, &|side| {
                of_run(side, side.cost.succeeded)
            }),
            figure("messages", whole, &|side| {
                Some(side.cost.messages.get() as f64)
            }),
            figure("connections", whole, &|side| Some(side.connections as f64)),
            figure("packets", whole, &|side| {
                Some(side.cost.packets.get() as f64)
            }),
            figure("IP bytes", whole, &|side| Some(side.cost.ip.get() as f64)),
            figure("wire bytes", whole, &|side| {
                Some(side.cost.wire.get() as f64)
            }),
        ];
        if same_model {
            figures.push(figure("energy", |joules| modelled(joules, "J"), &|side| {
                side.model.as_ref().map(|_| side.cost.joules.0)
            }));
        }
        if same_grid {
            let gas = self.sides.iter().find_map(|side| side.gas);
            let gas = gas.map_or("emissions", Gas::label);
            figures.push(figure(gas, |grams| modelled(grams, "g"), &|side| {
                side.grid.as_ref().map(|_| side.grams)
            }));
        }
        // A mean of one report beside none of another tells nothing.
        let have_operations = self.sides.iter().all(|side| side.cost.succeeded > 0);
        let differ = !same(&self.sides, |side| side.cost.succeeded);
        if have_operations && differ {
            let per = |side: &Side, total: f64| Some(total / side.cost.succeeded as f64);
            figures.push(figure("messages an operation", mean, &|side| {
                per(side, side.cost.messages.get() as f64)
            }));
            figures.push(figure("IP bytes an operation", mean, &|side| {
                per(side, side.cost.ip.get() as f64)
            }));
            if same_model {
                let joules = |joules| modelled(joules, "J");
                figures.push(figure("energy an operation", joules, &|side| {
                    side.model.as_ref()?;
                    per(side, side.cost.joules.0)
                }));
            }
        }
        figures.push(figure(
            "time of all operations",
            |nanos| time::span(nanos as i64),
            &|side| side.cost.time.map(|time| time as f64),
        ));
        figures.retain(|figure| figure.values.iter().any(Option::is_some));
        figures
    }

    /// The kinds of message that any side has, and last, where there are kinds at all, messages that
    /// have none: together they are all messages.
    pub(super) fn kinds(&self) -> Vec<&str> {
        let kinds = self.sides.iter().flat_map(|side| side.kinds.keys());
        let kinds: BTreeSet<&str> = kinds.map(String::as_str).collect();
        let mut named: Vec<&str> = kinds.iter().copied().filter(|k| *k != NAMELESS).collect();
        if !named.is_empty() && kinds.contains(NAMELESS) {
            named.push(NAMELESS);
        }
        named
    }

    /// One row a figure, one column a side; where there are two, how they differ.
    pub(super) fn tables(&self) -> Vec<Table> {
        let mut totals = self.table("figure");
        for (name, of) in [
            (
                "verdict",
                (|side: &Side| side.verdict.clone()) as fn(&Side) -> String,
            ),
            ("capture", |side: &Side| side.capture.to_owned()),
        ] {
            let mut cells = vec![name.to_owned()];
            cells.extend(self.sides.iter().map(of));
            cells.resize(totals.columns().len(), String::new());
            totals.row(cells);
        }
        for figure in self.totals() {
            self.row(&mut totals, figure.name, &figure.values, figure.words);
        }
        let whole = |figure: f64| grouped(figure as u64);
        let mut kinds = self.table("messages by kind");
        for kind in self.kinds() {
            let count = |side: &Side| side.kinds.get(kind).copied().unwrap_or_default() as f64;
            let counts: Vec<_> = self.sides.iter().map(|side| Some(count(side))).collect();
            self.row(&mut kinds, kind, &counts, whole);
        }
        let mut layers = self.table("bytes by layer");
        for (name, of) in LAYERS {
            let bytes = self.sides.iter().map(|side| of(&side.bytes));
            let bytes: Vec<Option<f64>> = bytes.map(|bytes| Some(bytes as f64)).collect();
            if bytes.iter().any(|bytes| *bytes != Some(0.0)) {
                self.row(&mut layers, name, &bytes, whole);
            }
        }
        let tables = [totals, kinds, layers].into_iter();
        tables.filter(|table| !table.rows().is_empty()).collect()
    }

    fn table(&self, first: &str) -> Table {
        let mut headings = vec![(first.to_owned(), Align::Left)];
        let labels = self.sides.iter().map(|side| side.label.clone());
        headings.extend(labels.map(|label| (label, Align::Right)));
        if self.sides.len() == 2 {
            headings.push(("difference".to_owned(), Align::Right));
            headings.push(("ratio".to_owned(), Align::Right));
        }
        Table::with_headings(headings)
    }

    fn row(&self, table: &mut Table, name: &str, values: &[Option<f64>], words: fn(f64) -> String) {
        let first = values.first().copied().flatten();
        let ratio = |value: Option<f64>| match (first, value) {
            (Some(first), Some(value)) if first > 0.0 => Some(ratio(value / first)),
            _ => None,
        };
        let told = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), words);
        let mut cells = vec![name.to_owned(), told(first)];
        if let [_, second] = values {
            cells.push(told(*second));
            cells.push(match (first, second) {
                (Some(first), Some(second)) if *second < first => {
                    format!("-{}", words(first - second))
                }
                (Some(first), Some(second)) => format!("+{}", words(second - first)),
                _ => String::new(),
            });
            cells.push(ratio(*second).unwrap_or_default());
        } else {
            cells.extend(values.iter().skip(1).map(|value| match ratio(*value) {
                Some(ratio) => format!("{} ({ratio})", told(*value)),
                None => told(*value),
            }));
        }
        table.row(cells);
    }
}

/// The row of messages whose framing names no kinds.
const NAMELESS: &str = "(without a kind)";

/// Whether something is the same of all sides.
fn same<'a, T: PartialEq>(sides: &'a [Side], of: impl Fn(&'a Side) -> T) -> bool {
    sides.windows(2).all(|pair| of(&pair[0]) == of(&pair[1]))
}

/// `×1.40`.
pub(super) fn ratio(ratio: f64) -> String {
    match ratio {
        0.0 => "×0".to_owned(),
        // Two digits, so that little does not look like nothing.
        0.0..0.01 => {
            let decimals = 1.0 - ratio.log10().floor();
            format!("×{ratio:.*}", decimals as usize)
        }
        100.0.. => format!("×{ratio:.0}"),
        10.0..100.0 => format!("×{ratio:.1}"),
        _ => format!("×{ratio:.2}"),
    }
}

type Layer = (&'static str, fn(&LayerBytes) -> u64);

/// The layers from the inside out, which together are the wire bytes.
pub(super) const LAYERS: [Layer; 11] = [
    ("message bodies", |bytes| bytes.message.get()),
    ("framing", |bytes| bytes.framing.get()),
    ("incomplete", |bytes| bytes.incomplete.get()),
    ("unframed", |bytes| bytes.unframed.get()),
    ("retransmitted", |bytes| bytes.retransmitted.get()),
    ("outside stream", |bytes| bytes.outside_stream.get()),
    ("transport header", |bytes| bytes.transport_header.get()),
    ("tunnel header", |bytes| bytes.tunnel_header.get()),
    ("IP header", |bytes| bytes.ip_header.get()),
    ("link header", |bytes| bytes.link_header.get()),
    ("link trailer", |bytes| bytes.link_trailer.get()),
];

impl Side {
    fn of(report: &Report, label: String) -> Self {
        let run = report.run.as_ref();
        let own = |tally: &ProtocolTally| {
            run.is_none_or(|run| tally.name == run.algorithm && !tally.foreign)
        };
        let seen = report.protocols.iter();
        let seen: Vec<_> = seen
            .filter(|protocol| protocol.was_seen() && !is_marker(protocol) && own(&protocol.tally))
            .collect();
        let mut side = Self {
            label,
            verdict: match &report.audit {
                Some(audit) => audit.verdict.to_string(),
                None => "no audit".to_owned(),
            },
            capture: text::state_word(report.completeness.state),
            kinds: BTreeMap::new(),
            bytes: LayerBytes::default(),
            cost: RunCost {
                time: run.and_then(|run| run.time),
                succeeded: run.map(|run| run.succeeded).unwrap_or_default(),
                ..RunCost::default()
            },
            is_run: run.is_some(),
            connections: 0,
            tool: format!("{} {}", report.tool.name, report.tool.version),
            model: seen.first().map(|protocol| {
                let energy = &protocol.energy;
                let (hops, pue) = (energy.hops, energy.pue);
                format!("{} {hops:?} {pue:?} {}", energy.model, energy.boundary)
            }),
            by: [
                seen.first()
                    .map(|one| format!("Energy by {} ({})", one.energy.model, one.energy.class)),
                seen.first().map(|one| {
                    let carbon = &one.carbon;
                    format!("{} by grid {}", carbon.gas.label(), carbon.grid)
                }),
            ],
            grid: seen.first().map(|protocol| {
                let carbon = &protocol.carbon;
                let (grid, gas) = (&carbon.grid, carbon.gas.label());
                format!("{grid} {} {gas}", rate(carbon.grams_per_kwh))
            }),
            figures: seen
                .first()
                .and_then(|protocol| protocol.energy.figures.clone()),
            gas: seen.first().map(|protocol| protocol.carbon.gas),
            grams: seen.iter().map(|protocol| protocol.carbon.grams.0).sum(),
            mtu: seen
                .first()
                .filter(|protocol| protocol.energy.is_of_frames())
                .map(|protocol| protocol.tally.projection.mtu),
            link_types: report.source.link_types.iter().copied().collect(),
        };
        for protocol in &seen {
            let tally = &protocol.tally;
            side.bytes.merge(&tally.bytes);
            side.connections += tally.connections.get();
            side.cost.messages += tally.messages;
            side.cost.packets += tally.packets.total;
            side.cost.retransmissions += tally.packets.retransmission;
            side.cost.ip += tally.bytes.ip;
            side.cost.wire += tally.bytes.wire;
            side.cost.joules = Joules(side.cost.joules.0 + protocol.energy.joules.0);
            for (kind, messages) in &tally.messages_by_kind {
                let name = match seen.len() {
                    1 => kind.clone(),
                    _ => format!("{} {kind}", protocol.label()),
                };
                *side.kinds.entry(name).or_default() += messages.get();
            }
            let named: Messages = tally.messages_by_kind.values().copied().sum();
            let nameless = tally.messages.get().saturating_sub(named.get());
            if nameless > 0 {
                *side.kinds.entry(NAMELESS.to_owned()).or_default() += nameless;
            }
        }
        side
    }

    fn is_doubtful(&self) -> bool {
        matches!(self.verdict.as_str(), "inconclusive" | "mismatch")
            || !matches!(self.capture, "proven" | "consistent")
    }
}

/// How often a run repeats its operations, the payload beside each body and the algorithm's options,
/// where it says so.
fn work(run: &RunSummary) -> Option<[String; 3]> {
    let setup = run.setup.as_ref()?;
    let options = setup.options.iter();
    let options: Vec<String> = options
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Some([
        counted(setup.rounds.into(), "round"),
        format!("{} of payload", counted(setup.payload, "byte")),
        options.join(" "),
    ])
}

/// What tells each report from the others: what is not the same in all runs, and the name where that
/// is not enough.
fn labels(reports: &[(String, &Report)]) -> Vec<String> {
    let facts = |report: &Report| -> Vec<String> {
        let Some(run) = &report.run else {
            return vec![String::new(); 7];
        };
        let [rounds, payload, options] = work(run).unwrap_or_default();
        let faults: Vec<&str> = run.faults.iter().map(|fault| &*fault.fault).collect();
        vec![
            run.algorithm.clone(),
            format!("N {}", run.processes),
            rounds,
            payload,
            options,
            run.connections.clone(),
            match faults[..] {
                [] => "without faults".to_owned(),
                _ => faults.join(" and "),
            },
        ]
    };
    let all: Vec<Vec<String>> = reports.iter().map(|(_, report)| facts(report)).collect();
    let names: Vec<&str> = reports.iter().map(|(name, _)| &**name).collect();
    told_apart(&all, &names)
}

/// The facts of each that are not the same in all, and the name where they do not tell it from the
/// others. There are as many facts of each.
pub(super) fn told_apart(all: &[Vec<String>], names: &[&str]) -> Vec<String> {
    let differs = |i: usize| all.iter().any(|facts| facts[i] != all[0][i]);
    let told: Vec<String> = all
        .iter()
        .map(|facts| {
            let told = facts.iter().enumerate();
            let told = told.filter(|(i, fact)| !fact.is_empty() && differs(*i));
            told.map(|(_, fact)| &**fact).collect::<Vec<_>>().join(", ")
        })
        .collect();
    let is_unique = |label: &String| {
        !label.is_empty() && told.iter().filter(|other| *other == label).count() == 1
    };
    let named = told.iter().zip(names).map(|(label, name)| match label {
        label if is_unique(label) => label.clone(),
        label if label.is_empty() => (*name).to_owned(),
        label => format!("{label} ({name})"),
    });
    named.collect()
}

/// A comparison for people.
pub fn compared(comparison: &Comparison, style: Style) -> String {
    let mut lines = Vec::new();
    for table in comparison.tables() {
        lines.extend(table.lines(0, style));
        lines.push(String::new());
    }
    for note in comparison.notes() {
        lines.extend(wrapped(note, 0, 2, style.width));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_three_digits_and_little_is_not_nothing() {
        assert_eq!(
            [0.0, 0.25, 1.0, 2.257, 10.0, 146.2].map(ratio),
            ["×0", "×0.25", "×1.00", "×2.26", "×10.0", "×146"]
        );
        assert_eq!([0.004, 0.00012].map(ratio), ["×0.0040", "×0.00012"]);
    }

    #[test]
    fn what_is_not_the_same_tells_them_apart_and_else_their_names_do() {
        let facts =
            |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
        let all = [facts(&["raft", "N 3"]), facts(&["raft", "N 4"])];
        assert_eq!(told_apart(&all, &["a", "b"]), ["N 3", "N 4"]);
        let all = [facts(&["raft", "N 3"]), facts(&["raft", "N 3"])];
        assert_eq!(told_apart(&all, &["a", "b"]), ["a", "b"]);
        let all = [facts(&["raft"]), facts(&["raft"]), facts(&["ring"])];
        assert_eq!(
            told_apart(&all, &["a", "b", "c"]),
            ["raft (a)", "raft (b)", "ring"]
        );
    }

    #[test]
    fn two_sides_have_a_difference_and_more_have_ratios_alone() {
        let whole = |figure: f64| grouped(figure as u64);
        let row = |values: &[Option<f64>]| {
            let comparison = Comparison {
                sides: Vec::new(),
                notes: Vec::new(),
            };
            let columns = if values.len() == 2 {
                5
            } else {
                1 + values.len()
            };
            let headings = (0..columns).map(|_| (String::new(), Align::Left));
            let mut table = Table::with_headings(headings.collect());
            comparison.row(&mut table, "name", values, whole);
            table.rows()[0][1..].join(" | ")
        };
        assert_eq!(row(&[Some(12.0), Some(96.0)]), "12 | 96 | +84 | ×8.00");
        assert_eq!(row(&[Some(96.0), Some(12.0)]), "96 | 12 | -84 | ×0.12");
        assert_eq!(row(&[Some(0.0), Some(3.0)]), "0 | 3 | +3 | ");
        assert_eq!(row(&[Some(2.0), None]), "2 | - |  | ");
        assert_eq!(row(&[Some(2.0), Some(4.0), None]), "2 | 4 (×2.00) | -");
    }
}
