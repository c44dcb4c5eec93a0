//! Cost against the number of processes: a line an algorithm, on linear and on logarithmic axes.

use std::collections::BTreeMap;

use plotters::prelude::*;

use super::canvas::{
    Canvas, Drawn, MARGIN, WIDTH, centred, colour, legend_height, rightwards, upwards, width_of,
};
use super::{Chart, Picture};
use crate::report::number::{grouped, mean, modelled};
use crate::report::sweep::{Measured, Spread, SweepPoint, SweepReport};
use crate::report::time;

/// The [`super::Chart::id`] of energy against N.
pub const ENERGY_BY_N: &str = "energy-by-n";

/// More lines than these in a panel cannot be told apart.
const MOST_LINES: usize = 6;
const COLOURS: [RGBColor; MOST_LINES] = [
    colour::BLUE,
    colour::RED,
    colour::GREEN,
    colour::PURPLE,
    colour::ORANGE,
    colour::SKY,
];
const PANEL: i32 = 290;
const LEFT: i32 = 84;
const RIGHT: i32 = 24;
const TOP: i32 = 26;
const BOTTOM: i32 = 44;
/// Less is nought on an axis: steps along it have to be numbers, too.
const LEAST: f64 = 1e-300;
/// Half of what a point's mark is wide.
const NEAR: i32 = 7;

/// Messages, IP bytes, energy and time against the number of processes, of a sweep that has figures.
pub fn growth(report: &SweepReport) -> Vec<Chart> {
    let quantities = [
        Quantity {
            id: "messages-by-n",
            name: "messages",
            of: |measured| Some(measured.messages),
            expected: |point| {
                let (low, high) = point.formula?.ends();
                Some((low.get() as f64, high.get() as f64))
            },
            by: "the formula",
            unit: Unit::Whole("messages"),
        },
        Quantity {
            id: "bytes-by-n",
            name: "IP bytes",
            of: |measured| Some(measured.ip),
            expected: |point| {
                let ip = point.predicted?.ip.get() as f64;
                Some((ip, ip))
            },
            by: "the simulation's wire-cost model",
            unit: Unit::Whole("IP bytes"),
        },
        Quantity {
            id: ENERGY_BY_N,
            name: "energy",
            of: |measured| Some(measured.joules),
            expected: |point| {
                let joules = point.predicted?.joules.0;
                Some((joules, joules))
            },
            by: "the simulation's wire-cost model",
            unit: Unit::Joules,
        },
        Quantity {
            id: "time-by-n",
            name: "time of all operations",
            of: |measured| measured.time,
            expected: |_| None,
            by: "",
            unit: Unit::Nanoseconds,
        },
    ];
    let charts = quantities
        .into_iter()
        .map(|quantity| quantity.chart(report));
    charts.flatten().collect()
}

/// What is drawn against N.
struct Quantity {
    id: &'static str,
    name: &'static str,
    of: fn(&Measured) -> Option<Spread>,
    /// The least and the most that is expected.
    expected: fn(&SweepPoint) -> Option<(f64, f64)>,
    /// By what it is expected.
    by: &'static str,
    unit: Unit,
}

/// What figures are in.
#[derive(Clone, Copy)]
enum Unit {
    /// Whole ones of these.
    Whole(&'static str),
    Joules,
    Nanoseconds,
}

impl Unit {
    /// A figure in words.
    fn words(self, figure: f64) -> String {
        match self {
            Self::Whole(name) => format!("{} {name}", mean(figure)),
            Self::Joules => modelled(figure, "J"),
            Self::Nanoseconds => time::span(figure as i64),
        }
    }

    /// Beside an axis.
    fn label(self, figure: f64) -> String {
        match self {
            Self::Whole(_) if figure >= 1e6 => modelled(figure, "").trim_end().to_owned(),
            Self::Whole(_) => grouped(figure as u64),
            Self::Joules if figure == 0.0 => "0 J".to_owned(),
            Self::Joules => significant(figure, "J"),
            Self::Nanoseconds if figure == 0.0 => "0 s".to_owned(),
            Self::Nanoseconds => significant(figure / 1e9, "s"),
        }
    }
}

/// As many digits as a tick has, with an SI prefix: 250 µJ, 1.5 mJ.
fn significant(figure: f64, unit: &str) -> String {
    let power = (figure.log10() / 3.0 + 1e-9).floor().clamp(-5.0, 2.0);
    let prefix = ["f", "p", "n", "µ", "m", "", "k", "M"][(power + 5.0) as usize];
    let digits = format!("{:.3}", figure / 1000_f64.powf(power));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits} {prefix}{unit}")
}

/// An algorithm's points, in ascending order of N.
struct Curve {
    name: String,
    colour: RGBColor,
    points: Vec<(u32, Spread, String)>,
    expected: Vec<(u32, f64, f64)>,
}

impl Quantity {
    fn chart(&self, report: &SweepReport) -> Option<Chart> {
        let names = report.algorithms();
        let curves: Vec<Curve> = names
            .iter()
            .enumerate()
            .map(|(i, name)| self.curve(report, name, COLOURS[i % MOST_LINES]))
            .filter(|curve| !curve.points.is_empty())
            .collect();
        if curves.is_empty() {
            return None;
        }
        let name = self.name;
        let mut title = format!("{name} against the number of processes");
        title[..1].make_ascii_uppercase();
        let about: Vec<String> = curves
            .iter()
            .filter_map(|curve| {
                let ((first, least, _), (last, most, _)) =
                    (curve.points.first()?, curve.points.last()?);
                let least = self.unit.words(least.median);
                let mut words = format!("{}: {least} with {first} processes", curve.name);
                if first < last {
                    words += &format!(", {} with {last}", self.unit.words(most.median));
                }
                Some(words + ".")
            })
            .collect();
        let mut note =
            "Points: medians; bars: from the least to the greatest of the runs.".to_owned();
        if curves.iter().any(|curve| !curve.expected.is_empty()) {
            note += &format!(" Dashed: what {} expects.", self.by);
        }
        if let Unit::Joules = self.unit {
            let by = &report.conditions.energy;
            let by =
                by.get(..1).map_or(String::new(), str::to_uppercase) + by.get(1..).unwrap_or("");
            note += &format!(" {by}.");
        }
        let growth = Growth {
            unit: self.unit,
            axis: name,
            curves,
        };
        Some(Chart::new(self.id, title, about.join(" "), growth).with_note(note))
    }

    fn curve(&self, report: &SweepReport, name: &str, colour: RGBColor) -> Curve {
        let own = report.points.iter().filter(|point| point.algorithm == name);
        let mut points: Vec<&SweepPoint> = own.collect();
        points.sort_by_key(|point| point.n);
        let in_words = |point: &SweepPoint, spread: &Spread| {
            let mut words = format!(
                "{name}, N {}: median {} of {} runs",
                point.n,
                self.unit.words(spread.median),
                point.runs
            );
            if spread.least < spread.greatest {
                words += &format!(
                    ", from {} to {}",
                    self.unit.words(spread.least),
                    self.unit.words(spread.greatest)
                );
            }
            match (self.expected)(point) {
                None => {}
                Some((low, high)) if low == high => {
                    words += &format!("; {} expects {}", self.by, self.unit.words(low));
                }
                Some((low, high)) => {
                    let (low, high) = (self.unit.words(low), self.unit.words(high));
                    words += &format!("; {} expects {low} to {high}", self.by);
                }
            }
            words
        };
        let measured = points.iter().filter_map(|point| {
            let spread = (self.of)(point.measured.as_ref()?)?;
            Some((point.n, spread, in_words(point, &spread)))
        });
        let expected = points.iter().filter_map(|point| {
            let (low, high) = (self.expected)(point)?;
            Some((point.n, low, high))
        });
        Curve {
            name: name.to_owned(),
            colour,
            points: measured.collect(),
            expected: expected.collect(),
        }
    }
}

struct Growth {
    unit: Unit,
    axis: &'static str,
    curves: Vec<Curve>,
}

/// What can be told apart in one panel.
fn groups(curves: &[Curve]) -> std::slice::Chunks<'_, Curve> {
    curves.chunks(MOST_LINES)
}

fn legend(curves: &[Curve]) -> Vec<(&str, RGBColor)> {
    let entries = curves.iter();
    entries
        .map(|curve| (curve.name.as_str(), curve.colour))
        .collect()
}

impl Picture for Growth {
    fn height(&self) -> i32 {
        let heights = groups(&self.curves)
            .map(|curves| legend_height(MARGIN, &legend(curves)) + 2 * PANEL + 12);
        heights.sum()
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        let mut top = 0;
        for curves in groups(&self.curves) {
            let entries = legend(curves);
            canvas.legend((MARGIN, top), &entries)?;
            top += legend_height(MARGIN, &entries) + 4;
            for logarithmic in [false, true] {
                self.panel(canvas, curves, top, logarithmic)?;
                top += PANEL;
            }
            top += 8;
        }
        Ok(())
    }
}

/// Pixels for figures.
pub(super) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Where `low` and `high` are.
    from: i32,
    to: i32,
}

impl Axis {
    /// An axis that shows all of these; where it is logarithmic, those above nought.
    pub fn over(
        figures: impl Iterator<Item = f64> + Clone,
        logarithmic: bool,
        (from, to): (i32, i32),
    ) -> Self {
        let shown = figures.filter(|figure| !logarithmic || *figure > 0.0);
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), figure| {
            (low.min(figure), high.max(figure))
        });
        let (low, high) = match (low.is_finite(), logarithmic) {
            (false, _) => (1.0, 10.0),
            (true, true) => {
                let low = (low / 1.25).clamp(LEAST, f64::MAX / 4.0);
                (low, (high * 1.25).clamp(2.0 * low, f64::MAX))
            }
            (true, false) if high > LEAST => (0.0, (high * 1.06).min(f64::MAX)),
            (true, false) => (0.0, 1.0),
        };
        Self {
            low,
            high,
            logarithmic,
            from,
            to,
        }
    }

    /// A linear axis that shows all of these, and begins at nought where that leaves most of it to them.
    fn around(figures: impl Iterator<Item = f64> + Clone, pixels: (i32, i32)) -> Self {
        let mut axis = Self::over(figures.clone(), false, pixels);
        let least = figures.fold(f64::INFINITY, f64::min);
        if least.is_finite() && least > axis.high / 4.0 {
            axis.low = least - ((axis.high - least) * 0.06).max(0.5);
        }
        axis
    }

    /// The pixel of a figure, where it is on the axis.
    pub fn at(&self, figure: f64) -> Option<i32> {
        let share = match self.logarithmic {
            _ if figure < self.low || figure > self.high => return None,
            true => (figure / self.low).ln() / (self.high / self.low).ln(),
            false => (figure - self.low) / (self.high - self.low),
        };
        Some(self.from + (share * f64::from(self.to - self.from)).round() as i32)
    }

    /// Round figures along the axis.
    pub fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.logarithmic {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = match decades {
                ..1.5 => &[1.0, 2.0, 3.0, 5.0, 7.0],
                1.5..4.0 => &[1.0, 2.0, 5.0],
                _ => &[1.0],
            };
            let first = self.low.log10().floor() as i32;
            for decade in first..=self.high.log10().ceil() as i32 {
                ticks.extend(steps.iter().map(|step| step * 10_f64.powi(decade)));
            }
            ticks.retain(|tick| (self.low..=self.high).contains(tick));
            return ticks;
        }
        let rough = self.high / 8.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let most = (self.high / step).floor() as u32;
        (0..=most).map(|i| f64::from(i) * step).collect()
    }
}

impl Growth {
    fn panel(
        &self,
        canvas: &mut Canvas<'_>,
        curves: &[Curve],
        top: i32,
        logarithmic: bool,
    ) -> Drawn {
        let (left, right) = (LEFT, WIDTH - RIGHT);
        let (upper, lower) = (top + TOP, top + PANEL - BOTTOM);
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let expected = || curves.iter().flat_map(|curve| &curve.expected);
        let numbers = points().map(|(n, ..)| *n);
        let numbers = numbers.chain(expected().map(|(n, ..)| *n)).map(f64::from);
        let measured = points().flat_map(|(_, spread, _)| [spread.least, spread.greatest]);
        let bounds = expected().flat_map(|(_, low, high)| [*low, *high]);
        let x = match logarithmic {
            true => Axis::over(numbers.clone(), true, (left, right)),
            false => Axis::around(numbers.clone(), (left, right)),
        };
        let y = Axis::over(measured.chain(bounds), logarithmic, (lower, upper));

        let kind = match logarithmic {
            false => "linear axes",
            true => "logarithmic axes",
        };
        canvas.words(kind, (left, top + 4), 13)?;
        for tick in y.ticks() {
            let Some(at) = y.at(tick).filter(|_| self.is_shown(tick)) else {
                continue;
            };
            canvas.line(&[(left, at), (right, at)], colour::RULE, 1)?;
            canvas.styled(&self.unit.label(tick), (left - 6, at - 6), rightwards(11))?;
        }
        let mut free_from = 0;
        for n in whole_ticks(numbers, &x) {
            let words = grouped(n.into());
            let half = width_of(&words, 11) / 2 + 4;
            if let Some(at) = x.at(n.into()).filter(|at| at - half >= free_from) {
                canvas.line(&[(at, lower), (at, lower + 4)], colour::GREY, 1)?;
                canvas.styled(&words, (at, lower + 7), centred(11))?;
                free_from = at + half;
            }
        }
        canvas.line(
            &[(left, upper), (left, lower), (right, lower)],
            colour::GREY,
            1,
        )?;
        let middle = i32::midpoint(left, right);
        canvas.styled("processes (N)", (middle, lower + 23), centred(12))?;
        let centre = i32::midpoint(upper, lower) + width_of(self.axis, 12) / 2;
        canvas
            .area()
            .draw(&Text::new(self.axis, (MARGIN - 8, centre), upwards(12)))?;

        for (i, curve) in curves.iter().enumerate() {
            let covering = curves[i + 1..].iter();
            let covering = covering.filter(|other| curve.coincides(other, &x, &y));
            curve.draw(canvas, &x, &y, covering.count() as i32)?;
        }
        Ok(())
    }

    /// Whether a figure can be one: there is no half message.
    fn is_shown(&self, tick: f64) -> bool {
        !matches!(self.unit, Unit::Whole(_)) || tick.fract() == 0.0
    }
}

/// Numbers of processes along an axis: those of the sweep where they have room, else round ones.
fn whole_ticks(numbers: impl Iterator<Item = f64>, axis: &Axis) -> Vec<u32> {
    let mut own: Vec<u32> = numbers.map(|n| n as u32).collect();
    own.sort_unstable();
    own.dedup();
    if own.len() <= 16 || axis.logarithmic {
        return own;
    }
    let round = axis.ticks().into_iter().filter(|tick| tick.fract() == 0.0);
    round.map(|tick| tick as u32).collect()
}

/// A shade that can be told from a line of the colour itself, and is of it all the same. On a dark page
/// `report.css` has lighter ones in their place.
fn darker(colour: RGBColor) -> RGBColor {
    let RGBColor(red, green, blue) = colour;
    let [red, green, blue] = [red, green, blue].map(|channel| (u16::from(channel) * 11 / 20) as u8);
    RGBColor(red, green, blue)
}

impl Curve {
    /// Whether another curve's points would lie on those of this, wherever both have one.
    fn coincides(&self, other: &Self, x: &Axis, y: &Axis) -> bool {
        let places = |curve: &Self| -> BTreeMap<Option<i32>, Option<i32>> {
            let points = curve.points.iter();
            points
                .map(|(n, spread, _)| (x.at((*n).into()), y.at(spread.median)))
                .collect()
        };
        let (own, others) = (places(self), places(other));
        let mut shared = own.iter().filter(|(n, _)| others.contains_key(*n));
        let first = shared.next();
        first
            .into_iter()
            .chain(shared)
            .all(|(n, at)| others.get(n) == Some(at))
            && first.is_some()
    }

    /// Draws it wider, to be seen, where so many others cover it.
    fn draw(&self, canvas: &mut Canvas<'_>, x: &Axis, y: &Axis, covering: i32) -> Drawn {
        let place = |n: u32, figure: f64| Some((x.at(n.into())?, y.at(figure)?));
        let lows: Vec<_> = self
            .expected
            .iter()
            .map(|(n, low, _)| place(*n, *low))
            .collect();
        let highs = self.expected.iter().map(|(n, _, high)| place(*n, *high));
        let highs: Vec<_> = highs.collect();

        if highs != lows {
            let around = lows.iter().chain(highs.iter().rev());
            let around: Vec<(i32, i32)> = around.copied().flatten().collect();
            let band = Polygon::new(around, self.colour.mix(0.15));
            canvas.area().draw(&band)?;
        }
        let medians = self.points.iter();
        let medians: Vec<_> = medians
            .map(|(n, spread, _)| place(*n, spread.median))
            .collect();
        for pair in medians.windows(2) {
            if let [Some(from), Some(to)] = pair {
                let width = 3 + 4 * covering.unsigned_abs();
                canvas.line(&[*from, *to], self.colour, width)?;
            }
        }
        dashed(canvas, &lows, darker(self.colour))?;
        if highs != lows {
            dashed(canvas, &highs, darker(self.colour))?;
        }
        for (n, spread, words) in &self.points {
            let ends = (place(*n, spread.least), place(*n, spread.greatest));
            if let (Some(low), Some(high)) = ends
                && low.1 - high.1 > 2
            {
                canvas.line(&[low, high], self.colour, 1)?;
                for (x, y) in [low, high] {
                    canvas.line(&[(x - 4, y), (x + 4, y)], self.colour, 1)?;
                }
            }
            if let Some((x, y)) = place(*n, spread.median) {
                let radius = 4 + 2 * covering;
                let point = Circle::new((x, y), radius, self.colour.filled());
                canvas.area().draw(&point)?;
                let near = [(x - NEAR, y - NEAR), (x + NEAR, y + NEAR)];
                canvas.mark_area(near, words.clone());
            }
        }
        Ok(())
    }
}

/// A dashed line through the points that there are.
fn dashed(canvas: &Canvas<'_>, points: &[Option<(i32, i32)>], colour: RGBColor) -> Drawn {
    const DASH: f64 = 9.0;
    const GAP: f64 = 6.0;
    // Where in its pattern the line is, over its corners.
    let mut along = 0.0;
    for pair in points.windows(2) {
        let [Some(from), Some(to)] = pair else {
            continue;
        };
        let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let length = dx.hypot(dy).max(1.0);
        let at = |distance: f64| {
            let share = distance / length;
            (
                f64::from(from.0) + dx * share,
                f64::from(from.1) + dy * share,
            )
        };
        // A dash ends at the pixel nearby that is nearest to the line: else no two had one direction.
        let pixel = |distance: f64| {
            let near = (-4..=4).map(|step| (distance + f64::from(step) / 2.0).clamp(0.0, length));
            let beside = |distance: &f64| {
                let (x, y) = at(*distance);
                (x - x.round()).hypot(y - y.round())
            };
            let best = near.min_by(|one, other| beside(one).total_cmp(&beside(other)));
            let (x, y) = at(best.unwrap_or(distance));
            (x.round() as i32, y.round() as i32)
        };
        let mut done = 0.0;
        while done < length {
            let phase = along % (DASH + GAP);
            let (draws, until) = match phase < DASH {
                true => (true, DASH - phase),
                false => (false, DASH + GAP - phase),
            };
            let next = (done + until).min(length);
            if draws {
                canvas.line(&[pixel(done), pixel(next)], colour, 2)?;
            }
            along += next - done;
            // Where rounding leaves nothing of a dash, the line still goes on.
            done = if next > done { next } else { length };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sweep::tests::{cell, report};

    fn axis(figures: &[f64], logarithmic: bool) -> Axis {
        Axis::over(figures.iter().copied(), logarithmic, (0, 1000))
    }

    #[test]
    fn a_linear_axis_begins_at_nought_and_a_logarithmic_one_above_it() {
        let linear = axis(&[40.0, 100.0], false);
        assert_eq!(linear.at(0.0), Some(0));
        assert_eq!(linear.at(53.0), Some(500));
        assert_eq!(linear.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let logarithmic = axis(&[0.0, 10.0, 1000.0], true);
        assert_eq!(
            logarithmic.at(0.0),
            None,
            "nought is on no logarithmic axis"
        );
        assert_eq!(logarithmic.at(100.0), Some(500));
        assert_eq!(
            logarithmic.ticks(),
            [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        );
    }

    #[test]
    fn an_axis_of_one_figure_or_none_has_places() {
        for figures in [&[][..], &[0.0], &[5.0], &[f64::MAX], &[5e-324]] {
            for logarithmic in [false, true] {
                let axis = axis(figures, logarithmic);
                assert!(axis.low < axis.high, "{figures:?}");
                assert!(!axis.ticks().is_empty(), "{figures:?} {logarithmic}");
            }
        }
    }

    #[test]
    fn a_sweep_has_a_chart_a_quantity_and_a_mark_a_point_on_both_kinds_of_axes() {
        let swept = report(3, vec![cell(1, 3, 0), cell(2, 3, 0), cell(3, 4, 0)]);
        let charts = growth(&swept);
        let ids: Vec<_> = charts.iter().map(|chart| chart.id).collect();
        assert_eq!(
            ids,
            ["messages-by-n", "bytes-by-n", "energy-by-n", "time-by-n"]
        );
        let drawing = charts[0].svg().unwrap();
        let words: Vec<_> = drawing.marks.iter().map(|mark| &*mark.words).collect();
        let point = "ring, N 3: median 3 messages of 3 runs, from 3 messages to 4 messages; \
                     the formula expects 3 messages to 4 messages";
        assert_eq!(words, [point; 2]);
        assert_eq!(charts[0].about, "ring: 3 messages with 3 processes.");
        assert!(growth(&report(1, vec![cell(1, 3, 2)])).is_empty());
    }

    #[test]
    fn numbers_of_processes_have_most_of_their_axis() {
        let axis = |numbers: &[f64]| Axis::around(numbers.iter().copied(), (0, 1000));
        let [near, far] = [axis(&[4.0, 5.0]), axis(&[2.0, 16.0])];
        assert_eq!((near.low, near.at(4.0)), (3.5, Some(278)));
        assert_eq!((far.low, far.at(0.0)), (0.0, Some(0)));
        assert!(near.ticks().iter().any(|tick| near.at(*tick).is_some()));
        assert!(axis(&[7.0]).at(7.0).is_some());
    }

    #[test]
    fn a_curve_below_another_is_drawn_wider_and_dashes_are_of_their_curves_colour() {
        let one = report(1, vec![cell(1, 3, 0)]);
        let mut other = one.clone();
        other.conditions.connections = "per-message".to_owned();
        let named = [("a".to_owned(), &one), ("b".to_owned(), &other)];
        let mut both = crate::report::sweep::together(&named).unwrap();
        for point in both.points.clone() {
            both.points.push(SweepPoint { n: 4, ..point });
        }
        let drawn = |both: &SweepReport| growth(both)[0].svg().unwrap().svg;
        let radii = |svg: &str| {
            let of = |radius: i32| svg.matches(&format!("r=\"{radius}\"")).count();
            (of(4), of(6))
        };
        let covered = drawn(&both);
        // Two points on two kinds of axes, of each curve.
        assert_eq!(radii(&covered), (4, 4));
        for (i, curve) in COLOURS.into_iter().enumerate() {
            let RGBColor(red, green, blue) = darker(curve);
            let dash = format!("[stroke=\"#{red:02X}{green:02X}{blue:02X}\"]");
            assert_eq!(covered.contains(&dash[1..dash.len() - 1]), i < 2, "{dash}");
            let css = include_str!("../html/report.css");
            assert!(css.contains(&dash), "no other shade on a dark page: {dash}");
        }
        // Where only some points are the same, both are seen.
        if let Some(measured) = &mut both.points[3].measured {
            measured.messages = Spread::of([5.0]).unwrap();
        }
        assert_eq!(radii(&drawn(&both)), (8, 0));
    }

    #[test]
    fn labels_have_the_digits_of_their_ticks() {
        assert_eq!(significant(2.5e-4, "J"), "250 µJ");
        assert_eq!(significant(1e-3, "s"), "1 ms");
        assert_eq!(significant(2.0, "s"), "2 s");
        assert_eq!(significant(1.5e3, "J"), "1.5 kJ");
        assert_eq!(Unit::Whole("messages").label(12_000.0), "12,000");
    }
}
