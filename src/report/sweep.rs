//! The report on a sweep: cost against the number of processes, each point the median of repeated
//! runs with its spread, the formula's prediction beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::number::{counted, grouped, mean, significant};
use super::table::{Align, Style, Table, wrapped};
use super::{Report, RunCost, Tool, compare, tables, text, time};
use crate::audit::{Expected, Row, Verdict};
use crate::units::{IpBytes, Joules, Messages, Mtu, WireBytes};

/// The schema's name. Within a version, changes only add.
pub const SWEEP_SCHEMA: &str = "wirewatt-sweep/1";

/// What a sweep came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepReport {
    /// [`SWEEP_SCHEMA`].
    pub schema: String,
    /// What made the report.
    pub tool: Tool,
    /// The command that began the sweep.
    pub command: Vec<String>,
    /// What is the same in all runs.
    pub conditions: Conditions,
    /// Runs that the sweep is to have, those that are not possible aside.
    pub wanted: u64,
    /// Of those, ended. Fewer than wanted where the sweep was interrupted.
    pub ended: u64,
    /// One entry an algorithm and number of processes that has a run, in the order of the grid.
    pub points: Vec<SweepPoint>,
    /// What is not possible, and why.
    pub skipped: Vec<Skipped>,
    /// Every run that ended.
    pub cells: Vec<SweepCell>,
}

/// What is the same in all runs of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// How connections are used: `persistent`, `per-message` or `per-exchange`.
    pub connections: String,
    /// Payload beside every body, in bytes.
    pub payload: u64,
    /// How often each algorithm runs with each number of processes.
    pub repeat: u32,
    /// By which model the energy is, and what it includes, in words.
    pub energy: String,
    /// The Ethernet that packets are projected onto.
    #[serde(default)]
    pub mtu: Mtu,
    /// Faults that were injected into each run, as `run --fault` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// With faults, what decided in the first repetition which messages were dropped; each further one
    /// adds 1 to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// An algorithm that is not possible with that number of processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The algorithm.
    pub algorithm: String,
    /// How many processes.
    pub n: u32,
    /// Why, in words.
    pub reason: String,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepCell {
    /// The algorithm.
    pub algorithm: String,
    /// How many processes.
    pub n: u32,
    /// Which repetition, from 1.
    pub repeat: u32,
    /// The run's folder, within the sweep's.
    pub folder: String,
    /// The audit's verdict; null where there was no audit.
    pub verdict: Option<Verdict>,
    /// What `wirewatt run` would have ended with: 0 the accounts agree, 1 they disagree or a property
    /// is broken, 2 it could not be told or the run went wrong.
    pub exit_code: u8,
    /// What went wrong, in words; empty where nothing did.
    pub problems: Vec<String>,
    /// How long the run took with everything around it, in nanoseconds.
    pub took: u64,
    /// Attempted messages by the formula; null where it has no case for what happened.
    pub formula: Option<Expected>,
    /// What the run cost; null where it could not begin.
    pub cost: Option<RunCost>,
}

impl SweepCell {
    /// What the report says of its run.
    pub fn count(&mut self, report: &Report) {
        let audit = report.audit.as_ref();
        let rows: Vec<&Row> = audit
            .map(|audit| audit.rows_of(&self.algorithm).collect())
            .unwrap_or_default();
        self.verdict = audit.map(|audit| audit.verdict);
        self.formula = tables::expected_in_all(&rows);
        self.cost = RunCost::of(report);
    }

    /// What it cost, where its accounts agree. No other run's figures are worth a median: it did not
    /// do what was to be measured, or the capture is not known to be whole.
    pub fn agreed_cost(&self) -> Option<&RunCost> {
        self.cost.as_ref().filter(|_| self.exit_code == 0)
    }

    /// The verdict in a word, or that the run went wrong.
    pub fn outcome(&self) -> String {
        match self.verdict {
            _ if !self.problems.is_empty() => "failed".to_owned(),
            Some(verdict) if verdict.exit_code() == self.exit_code => verdict.to_string(),
            // A property of the algorithm does not hold.
            Some(_) => "broken".to_owned(),
            None => "failed".to_owned(),
        }
    }
}

/// The repeated runs of one algorithm with one number of processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// The algorithm.
    pub algorithm: String,
    /// How many processes.
    pub n: u32,
    /// Runs that the figures are of: those whose accounts agree.
    pub runs: u32,
    /// How many runs came to which verdict; `failed` for those that went wrong, `broken` for those
    /// that broke a property.
    pub verdicts: BTreeMap<String, u32>,
    /// Attempted messages by the formula; from the least to the most where runs differ. Null where a
    /// run has none.
    pub formula: Option<Expected>,
    /// What was measured; null where no run's accounts agree.
    pub measured: Option<Measured>,
    /// What `wirewatt simulate` predicts; null where it did not come to an end.
    pub predicted: Option<Predicted>,
}

/// Figures of repeated runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Complete messages on the wire.
    pub messages: Spread,
    /// Packets.
    pub packets: Spread,
    /// IP bytes.
    pub ip: Spread,
    /// Frame bytes.
    pub wire: Spread,
    /// Energy by the headline model, in joules.
    pub joules: Spread,
    /// From the first operation's beginning to the last one's end, in nanoseconds; null where one did
    /// not end.
    pub time: Option<Spread>,
}

/// Figures of one simulated run on the wire-cost model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// Complete messages.
    pub messages: Messages,
    /// IP bytes.
    pub ip: IpBytes,
    /// Frame bytes on loopback.
    pub wire: WireBytes,
    /// Energy by the headline model.
    pub joules: Joules,
}

/// The median of some figures, the least of them and the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// The spread of these figures; none where there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, greatest) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            1 => figures[middle],
            _ => f64::midpoint(figures[middle - 1], figures[middle]),
        };
        Some(Self {
            median,
            least,
            greatest,
        })
    }

    fn cell(&self, figure: impl Fn(f64) -> String) -> String {
        let median = figure(self.median);
        match self.least == self.greatest {
            true => median,
            false => format!(
                "{median} ({}..{})",
                figure(self.least),
                figure(self.greatest)
            ),
        }
    }

    /// Energy with two digits, or as many more as tell the least from the greatest.
    fn energy(&self) -> String {
        let differ = |digits: &usize| {
            let [least, greatest] =
                [self.least, self.greatest].map(|joules| significant(joules, *digits, "J"));
            self.least == self.greatest || least != greatest
        };
        let digits = (2..10).find(differ).unwrap_or(2);
        self.cell(|joules| significant(joules, digits, "J"))
    }
}

impl Measured {
    fn of(costs: &[&RunCost]) -> Option<Self> {
        let spread = |of: fn(&RunCost) -> f64| Spread::of(costs.iter().map(|cost| of(cost)));
        let times: Option<Vec<f64>> = costs
            .iter()
            .map(|cost| cost.time.map(|time| time as f64))
            .collect();
        Some(Self {
            messages: spread(|cost| cost.messages.get() as f64)?,
            packets: spread(|cost| cost.packets.get() as f64)?,
            ip: spread(|cost| cost.ip.get() as f64)?,
            wire: spread(|cost| cost.wire.get() as f64)?,
            joules: spread(|cost| cost.joules.0)?,
            time: times.and_then(Spread::of),
        })
    }
}

impl SweepPoint {
    /// The point of these runs, which are of one algorithm and number of processes; none where there
    /// are none.
    pub fn of(cells: &[&SweepCell], predicted: Option<Predicted>) -> Option<Self> {
        let first = cells.first()?;
        let costs: Vec<&RunCost> = cells.iter().filter_map(|cell| cell.agreed_cost()).collect();
        let mut verdicts = BTreeMap::new();
        for cell in cells {
            *verdicts.entry(cell.outcome()).or_default() += 1;
        }
        let agreed = cells.iter().filter(|cell| cell.agreed_cost().is_some());
        let formulas: Option<Vec<Expected>> = agreed.map(|cell| cell.formula).collect();
        Some(Self {
            algorithm: first.algorithm.clone(),
            n: first.n,
            runs: u32::try_from(costs.len()).unwrap_or(u32::MAX),
            verdicts,
            formula: formulas.and_then(|all| all.into_iter().reduce(Expected::or)),
            measured: Measured::of(&costs),
            predicted,
        })
    }

    /// The verdict in a cell: the only one, or how often each.
    fn verdict(&self) -> String {
        let mut each = self.verdicts.iter();
        match (each.next(), each.next()) {
            (Some((only, _)), None) => only.clone(),
            _ => {
                let each = self.verdicts.iter();
                let told = each.map(|(verdict, runs)| format!("{runs} {verdict}"));
                told.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl SweepReport {
    /// The report on these runs, the points in the order in which `cells` first names them.
    pub fn new(
        command: Vec<String>,
        conditions: Conditions,
        wanted: u64,
        cells: Vec<SweepCell>,
        skipped: Vec<Skipped>,
        mut predicted: impl FnMut(&str, u32) -> Option<Predicted>,
    ) -> Self {
        let mut places: Vec<(&str, u32)> = Vec::new();
        for cell in &cells {
            let place = (cell.algorithm.as_str(), cell.n);
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let points = places.iter().filter_map(|(algorithm, n)| {
            let these = cells.iter();
            let these = these.filter(|cell| cell.algorithm == *algorithm && cell.n == *n);
            SweepPoint::of(&these.collect::<Vec<_>>(), predicted(algorithm, *n))
        });
        Self {
            schema: SWEEP_SCHEMA.to_owned(),
            tool: Tool::this(),
            command,
            conditions,
            wanted,
            ended: cells.len() as u64,
            points: points.collect(),
            skipped,
            cells,
        }
    }

    /// The algorithms that have points, in their order.
    pub fn algorithms(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for point in &self.points {
            if !names.contains(&point.algorithm.as_str()) {
                names.push(&point.algorithm);
            }
        }
        names
    }

    /// Runs whose accounts do not agree, or that went wrong.
    pub fn disagreeing(&self) -> impl Iterator<Item = &SweepCell> {
        self.cells.iter().filter(|cell| cell.exit_code != 0)
    }

    /// The exit code of the sweep: the worst of its runs', and 2 where some have not ended or there
    /// are none.
    pub fn exit_code(&self) -> u8 {
        let worst = self.cells.iter().map(|cell| cell.exit_code).max();
        match self.ended < self.wanted {
            true => 2,
            false => worst.unwrap_or(2),
        }
    }

    /// What the points have in common, in words.
    pub(super) fn summary(&self) -> String {
        let Conditions {
            rounds,
            connections,
            payload,
            faults,
            ..
        } = &self.conditions;
        let mut words = format!(
            "{} of {} ended, {connections} connections, {} an initiator",
            grouped(self.ended),
            counted(self.wanted, "run"),
            counted((*rounds).into(), "operation"),
        );
        if *payload > 0 {
            words += &format!(", {} bytes of payload a message", grouped(*payload));
        }
        if !faults.is_empty() {
            words += &format!(", with {}", faults.join(" and "));
        }
        words
    }

    /// How to read the figures.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "figures: the median of the runs whose accounts agree, and in parentheses the least and \
             the greatest where they differ"
                .to_owned(),
        ];
        notes.push(match self.conditions.faults.is_empty() {
            true => "predicted: by one simulated run on the wire-cost model (docs/simulation.md); \
                     acknowledgements that timing decides are not in it"
                .to_owned(),
            false => "predicted: nothing, with faults".to_owned(),
        });
        notes.push(self.conditions.energy.clone());
        notes.extend(text::frames_note(self.conditions.mtu));
        notes
    }

    /// What is not in the figures, and why, one line each.
    pub(super) fn remarks(&self) -> Vec<String> {
        let skipped = self.skipped.iter();
        let skipped =
            skipped.map(|one| format!("skipped {}, N {}: {}", one.algorithm, one.n, one.reason));
        let wrong = self.disagreeing().map(|cell| {
            let SweepCell {
                algorithm,
                n,
                repeat,
                folder,
                ..
            } = cell;
            let why = match cell.problems.first() {
                Some(problem) => problem.clone(),
                None => format!("see {folder}"),
            };
            format!(
                "{algorithm}, N {n}, run {repeat}: {}: {why}",
                cell.outcome()
            )
        });
        skipped.chain(wrong).collect()
    }

    /// One row a point: what was counted, and what it cost.
    pub(super) fn tables(&self) -> [Table; 3] {
        let dash = || "-".to_owned();
        let mut counts = Table::new([
            ("algorithm", Align::Left),
            ("N", Align::Right),
            ("runs", Align::Right),
            ("verdict", Align::Left),
            ("formula", Align::Right),
            ("messages", Align::Right),
            ("packets", Align::Right),
        ]);
        let mut bytes = Table::new([
            ("algorithm", Align::Left),
            ("N", Align::Right),
            ("IP bytes", Align::Right),
            ("predicted", Align::Right),
            ("wire bytes", Align::Right),
        ]);
        let mut costs = Table::new([
            ("algorithm", Align::Left),
            ("N", Align::Right),
            ("energy", Align::Right),
            ("time", Align::Right),
        ]);
        for point in &self.points {
            let measured = point.measured.as_ref();
            let cell = |of: fn(&Measured) -> Spread, figure: &dyn Fn(f64) -> String| {
                measured.map_or_else(dash, |measured| of(measured).cell(figure))
            };
            let span = |nanos: f64| time::span(nanos as i64);
            let took = measured.and_then(|measured| measured.time);
            counts.row(vec![
                point.algorithm.clone(),
                point.n.to_string(),
                point.runs.to_string(),
                point.verdict(),
                tables::formula(point.formula),
                cell(|m| m.messages, &mean),
                cell(|m| m.packets, &mean),
            ]);
            let predicted = point.predicted.as_ref();
            bytes.row(vec![
                point.algorithm.clone(),
                point.n.to_string(),
                cell(|m| m.ip, &mean),
                predicted.map_or_else(dash, |predicted| grouped(predicted.ip.get())),
                cell(|m| m.wire, &mean),
            ]);
            costs.row(vec![
                point.algorithm.clone(),
                point.n.to_string(),
                measured.map_or_else(dash, |measured| measured.joules.energy()),
                took.map_or_else(dash, |took| took.cell(span)),
            ]);
        }
        [counts, bytes, costs]
    }
}

/// The points of several sweeps as those of one, each algorithm named with what tells its sweep from
/// the others: for curves beside each other. Nothing where there are none.
pub fn together(sweeps: &[(String, &SweepReport)]) -> Option<SweepReport> {
    let facts = |sweep: &SweepReport| {
        let conditions = &sweep.conditions;
        vec![
            conditions.connections.clone(),
            counted(conditions.rounds.into(), "round"),
            counted(conditions.payload, "byte"),
            format!("MTU {}", grouped(conditions.mtu.get().into())),
            match conditions.faults.is_empty() {
                true => "no faults".to_owned(),
                false => conditions.faults.join(" and "),
            },
            format!("version {}", sweep.tool.version),
        ]
    };
    let all = sweeps.iter().map(|(_, sweep)| facts(sweep));
    let names: Vec<&str> = sweeps.iter().map(|(name, _)| &**name).collect();
    let labels = compare::told_apart(&all.collect::<Vec<_>>(), &names);
    let mut whole = (*sweeps.first()?.1).clone();
    whole.points.clear();
    for ((_, sweep), label) in sweeps.iter().zip(labels) {
        whole
            .points
            .extend(sweep.points.iter().map(|point| SweepPoint {
                algorithm: format!("{}, {label}", point.algorithm),
                ..point.clone()
            }));
    }
    Some(whole)
}

/// Whether the energy of these sweeps is by the same model, of the same frames.
pub fn energy_compares(sweeps: &[(String, &SweepReport)]) -> bool {
    let by = |sweep: &SweepReport| (sweep.conditions.energy.clone(), sweep.conditions.mtu);
    sweeps.windows(2).all(|pair| by(pair[0].1) == by(pair[1].1))
}

/// What of these sweeps does not compare, in words.
pub fn incomparable(sweeps: &[(String, &SweepReport)]) -> Vec<String> {
    let differs = |of: fn(&SweepReport) -> &str| {
        let mut all = sweeps.iter().map(|(_, sweep)| of(sweep));
        let first = all.next();
        all.any(|other| Some(other) != first)
    };
    let mut words = Vec::new();
    if differs(|sweep| &sweep.tool.version) {
        words.push("the sweeps are by different versions of wirewatt, which may count differently");
    }
    if differs(|sweep| &sweep.conditions.energy) {
        words.push(
            "the energy of the sweeps is by different models, hops, PUE or grids: it does not compare, \
             and is not drawn together",
        );
    }
    let mtus = sweeps.iter().map(|(_, sweep)| sweep.conditions.mtu);
    if mtus.clone().min() != mtus.max() {
        words.push(
            "the sweeps are of different MTUs: energy by models that count frames does not compare, and \
             energy is not drawn together",
        );
    }
    words.into_iter().map(str::to_owned).collect()
}

/// A sweep's report for people.
pub fn sweep(report: &SweepReport, style: Style) -> String {
    let mut lines = text::labelled("sweep", &report.summary(), style);
    for table in report.tables() {
        lines.push(String::new());
        lines.extend(table.lines(0, style));
    }
    lines.push(String::new());
    for note in report.notes().iter().chain(&report.remarks()) {
        lines.extend(wrapped(note, 0, 2, style.width));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
pub mod tests {
    //! Sweeps for tests of what is made of them, too.

    use super::*;
    use crate::units::Packets;

    fn spread(figures: &[f64]) -> Option<(f64, f64, f64)> {
        let spread = Spread::of(figures.iter().copied())?;
        Some((spread.least, spread.median, spread.greatest))
    }

    #[test]
    fn the_median_is_the_middle_figure_or_the_mean_of_two() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[7.0]), Some((7.0, 7.0, 7.0)));
        assert_eq!(spread(&[9.0, 1.0]), Some((1.0, 5.0, 9.0)));
        assert_eq!(spread(&[30.0, 1.0, 2.0]), Some((1.0, 2.0, 30.0)));
        assert_eq!(spread(&[4.0, 1.0, 100.0, 3.0]), Some((1.0, 3.5, 100.0)));
    }

    /// Two digits of 12.81 µJ and 12.83 µJ are the same, and would show a spread that seems to be none.
    #[test]
    fn a_spread_of_energy_has_the_digits_that_show_it() {
        let told = |joules: &[f64]| Spread::of(joules.iter().copied()).unwrap().energy();
        assert_eq!(told(&[12.84e-6]), "13 µJ");
        assert_eq!(told(&[12.84e-6, 16e-6, 14e-6]), "14 µJ (13 µJ..16 µJ)");
        assert_eq!(
            told(&[12.81e-6, 12.81e-6, 12.83e-6]),
            "12.81 µJ (12.81 µJ..12.83 µJ)"
        );
        assert_eq!(
            told(&[12.94e-6, 12.96e-6, 12.94e-6]),
            "12.9 µJ (12.9 µJ..13.0 µJ)"
        );
    }

    /// A run of a ring of three.
    pub fn cell(repeat: u32, messages: u64, exit_code: u8) -> SweepCell {
        SweepCell {
            algorithm: "ring".to_owned(),
            n: 3,
            repeat,
            folder: format!("ring/n3/r{repeat}"),
            verdict: Some(match exit_code {
                0 => Verdict::Exact,
                1 => Verdict::Mismatch,
                _ => Verdict::Inconclusive,
            }),
            exit_code,
            problems: Vec::new(),
            took: 1,
            formula: Some(Expected::Number(Messages::new(messages))),
            cost: Some(RunCost {
                succeeded: 1,
                messages: Messages::new(messages),
                packets: Packets::new(10 * messages),
                retransmissions: Packets::ZERO,
                ip: IpBytes::new(100 * messages),
                wire: WireBytes::new(114 * messages),
                joules: Joules(messages as f64),
                time: Some(5 * messages),
            }),
        }
    }

    /// The report on such runs.
    pub fn report(wanted: u64, cells: Vec<SweepCell>) -> SweepReport {
        let conditions = Conditions {
            rounds: 1,
            connections: "persistent".to_owned(),
            payload: 0,
            repeat: 3,
            energy: "energy".to_owned(),
            mtu: Mtu::default(),
            faults: Vec::new(),
            seed: None,
        };
        SweepReport::new(Vec::new(), conditions, wanted, cells, Vec::new(), |_, _| {
            None
        })
    }

    #[test]
    fn runs_whose_accounts_do_not_agree_are_in_no_median() {
        let cells = vec![cell(1, 3, 0), cell(2, 900, 1), cell(3, 1, 2), cell(4, 5, 0)];
        let report = report(4, cells);
        let [point] = &report.points[..] else {
            panic!("one point: {:?}", report.points);
        };
        assert_eq!(point.runs, 2);
        let measured = point.measured.as_ref().unwrap();
        assert_eq!(measured.messages, Spread::of([3.0, 5.0]).unwrap());
        assert_eq!(measured.wire.median, 114.0 * 4.0);
        assert_eq!(measured.time, Spread::of([15.0, 25.0]));
        let three_to_five = Expected::Interval {
            low: Messages::new(3),
            high: Messages::new(5),
        };
        assert_eq!(point.formula, Some(three_to_five));
        assert_eq!(point.verdict(), "2 exact, 1 inconclusive, 1 mismatch");
        assert_eq!(report.exit_code(), 2);
        assert_eq!(report.remarks().len(), 2);
    }

    #[test]
    fn a_sweep_agrees_where_all_of_its_runs_have_ended_and_agree() {
        assert_eq!(report(2, vec![cell(1, 3, 0), cell(2, 3, 0)]).exit_code(), 0);
        assert_eq!(report(2, vec![cell(1, 3, 0), cell(2, 3, 1)]).exit_code(), 1);
        assert_eq!(report(2, vec![cell(1, 3, 0)]).exit_code(), 2);
        assert_eq!(report(0, Vec::new()).exit_code(), 2);
    }

    #[test]
    fn sweeps_together_keep_their_curves_apart() {
        let one = report(1, vec![cell(1, 3, 0)]);
        let mut other = report(1, vec![cell(1, 9, 0)]);
        other.conditions.connections = "per-message".to_owned();
        let both = together(&[("a".to_owned(), &one), ("b".to_owned(), &other)]).unwrap();
        assert_eq!(both.algorithms(), ["ring, persistent", "ring, per-message"]);
        assert_eq!(both.points[1].measured, other.points[0].measured);
        other.conditions.faults = vec!["delay=1ms".to_owned()];
        let named = [("a".to_owned(), &one), ("b".to_owned(), &other)];
        assert_eq!(
            together(&named).unwrap().algorithms(),
            [
                "ring, persistent, no faults",
                "ring, per-message, delay=1ms"
            ]
        );
        assert_eq!(incomparable(&named), Vec::<String>::new());
    }

    #[test]
    fn sweeps_of_two_mtus_are_told_apart_and_not_to_compare() {
        let one = report(1, vec![cell(1, 3, 0)]);
        let mut other = one.clone();
        other.conditions.mtu = "9000".parse().unwrap();
        let named = [("a".to_owned(), &one), ("b".to_owned(), &other)];
        let both = together(&named).unwrap();
        assert_eq!(both.algorithms(), ["ring, MTU 1,500", "ring, MTU 9,000"]);
        let told = incomparable(&named);
        assert!(told[0].contains("different MTUs"), "{told:?}");
        assert_eq!(told.len(), 1);
        assert!(!energy_compares(&named));
    }

    #[test]
    fn sweeps_of_two_versions_or_models_are_told_not_to_compare() {
        let one = report(1, vec![cell(1, 3, 0)]);
        let mut other = one.clone();
        other.tool.version = "0.0.9".to_owned();
        other.conditions.energy = "another".to_owned();
        let named = [("a".to_owned(), &one), ("b".to_owned(), &other)];
        let told = incomparable(&named);
        assert!(told[0].contains("different versions"), "{told:?}");
        assert!(told[1].contains("different models"), "{told:?}");
        assert_eq!(told.len(), 2);
        assert!(!energy_compares(&named));
        assert!(energy_compares(&[named[0].clone(), named[0].clone()]));
        let this = env!("CARGO_PKG_VERSION");
        assert_eq!(
            together(&named).unwrap().algorithms(),
            [
                format!("ring, version {this}"),
                "ring, version 0.0.9".to_owned()
            ]
        );
    }

    #[test]
    fn a_point_without_a_run_that_agrees_has_no_figures() {
        let mut failed = cell(1, 3, 2);
        failed.problems.push("interrupted".to_owned());
        let report = report(1, vec![failed]);
        assert_eq!(report.points[0].measured, None);
        assert_eq!(report.points[0].formula, None);
        assert_eq!(report.points[0].verdict(), "failed");
        assert!(sweep(&report, Style::default()).contains("ring, N 3, run 1: failed: interrupted"));
    }
}
