//! Figures of two or more runs as bars beside each other: what a fault costs, and comparisons.

use plotters::style::RGBColor;

use super::canvas::{Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, legend_height, width_of};
use super::growth::Axis;
use super::{Chart, Picture};
use crate::energy::Energy;
use crate::report::compare::{Comparison, LAYERS, Side, ratio};
use crate::report::cost::FaultCost;
use crate::report::number::{counted, grouped};

const COLOURS: [RGBColor; 6] = [
    colour::BLUE,
    colour::ORANGE,
    colour::GREEN,
    colour::PURPLE,
    colour::SKY,
    colour::RED,
];
/// More runs than these cannot be told apart.
pub const MOST_COMPARED: usize = COLOURS.len();
const BAR: i32 = 16;
const GAP: i32 = 14;
const FOOT: i32 = 40;
/// Room for words right of the longest bar.
const RIGHT: i32 = 170;
/// Widest column of names; longer names are cut.
const MOST_NAME: i32 = 190;

/// Bars beside each other, one group a row.
struct Beside {
    sides: Vec<(String, RGBColor)>,
    rows: Vec<Row>,
    /// What all rows count, where they have one axis.
    shared: Option<&'static str>,
}

struct Row {
    name: String,
    /// Figures with their words; absent where a side has none.
    bars: Vec<Option<(f64, String)>>,
}

impl Row {
    fn most(&self) -> f64 {
        let figures = self.bars.iter().flatten().map(|(figure, _)| *figure);
        figures.fold(0.0, f64::max)
    }

    /// The row with its ratios to the first side.
    fn with_ratios(
        name: impl Into<String>,
        values: &[Option<f64>],
        words: fn(f64) -> String,
    ) -> Self {
        let first = values
            .first()
            .copied()
            .flatten()
            .filter(|first| *first > 0.0);
        let bar = |(i, value): (usize, &Option<f64>)| {
            let value = (*value)?;
            let told = match first {
                Some(first) if i > 0 => format!("{} ({})", words(value), ratio(value / first)),
                _ => words(value),
            };
            Some((value, told))
        };
        Self {
            name: name.into(),
            bars: values.iter().enumerate().map(bar).collect(),
        }
    }

    fn in_words(&self, sides: &[(String, RGBColor)]) -> String {
        let told = self.bars.iter().zip(sides);
        let told = told.map(|(bar, (side, _))| match bar {
            Some((_, words)) => format!("{words} {side}"),
            None => format!("none {side}"),
        });
        format!("{}: {}.", self.name, told.collect::<Vec<_>>().join("; "))
    }
}

/// What a run with faults cost beside the same run without; the energy, by the model of this.
pub fn fault_cost(cost: &FaultCost, energy: Option<&Energy>) -> Chart {
    let rows = cost
        .figures()
        .into_iter()
        .map(|figure| Row::with_ratios(figure.name, &figure.values, figure.words));
    Beside {
        sides: named(["without the fault", "with it"].map(str::to_owned).to_vec()),
        rows: rows.collect(),
        shared: None,
    }
    .chart(
        "fault-cost",
        "What the fault cost",
        energy.map(|energy| format!("Energy by {} ({}).", energy.model, energy.class)),
    )
}

/// Totals, messages by kind and bytes by layer of runs beside each other.
pub fn compared(comparison: &Comparison) -> Vec<Chart> {
    let by = comparison.energy_by();
    let sides = || {
        named(
            comparison
                .sides
                .iter()
                .map(|side| side.label.clone())
                .collect(),
        )
    };
    let totals = comparison.totals().into_iter();
    let totals = totals.map(|figure| Row::with_ratios(figure.name, &figure.values, figure.words));
    let whole: fn(f64) -> String = |figure| grouped(figure as u64);
    let row = |name: &str, of: &dyn Fn(&Side) -> u64| {
        let values = comparison.sides.iter().map(|side| Some(of(side) as f64));
        Row::with_ratios(name, &values.collect::<Vec<_>>(), whole)
    };
    let of_kind = |side: &Side, kind: &str| side.kinds.get(kind).copied().unwrap_or_default();
    // Among several runs what one alone has fills the chart with noughts, and compares nothing.
    let many = comparison.sides.len() > 2;
    let have = |kind: &str| {
        let sides = comparison.sides.iter();
        sides.filter(|side| of_kind(side, kind) > 0).count()
    };
    let (kinds, alone): (Vec<_>, Vec<_>) = comparison
        .kinds()
        .into_iter()
        .partition(|kind| !many || have(kind) > 1);
    let alone = (!alone.is_empty()).then(|| {
        let kinds = counted(alone.len() as u64, "kind");
        format!("Not drawn: {kinds} that one run alone has.")
    });
    let kinds = kinds
        .into_iter()
        .map(|kind| row(kind, &|side| of_kind(side, kind)));
    let layers = LAYERS
        .iter()
        .map(|(name, of)| row(name, &|side| of(&side.bytes)));
    let charts = [
        (
            "totals-compared",
            "Runs compared: totals",
            totals.collect::<Vec<_>>(),
            None,
        ),
        (
            "kinds-compared",
            "Runs compared: messages by kind",
            kinds.collect(),
            Some("messages"),
        ),
        (
            "layers-compared",
            "Runs compared: bytes on the wire by layer",
            layers.filter(|row: &Row| row.most() > 0.0).collect(),
            Some("bytes"),
        ),
    ];
    let charts = charts
        .into_iter()
        .filter(|(_, _, rows, _)| !rows.is_empty());
    charts
        .map(|(id, title, rows, shared)| {
            let sides = sides();
            Beside {
                sides,
                rows,
                shared,
            }
            .chart(
                id,
                title,
                match id {
                    "totals-compared" => by.clone(),
                    "kinds-compared" => alone.clone(),
                    _ => None,
                },
            )
        })
        .collect()
}

fn named(sides: Vec<String>) -> Vec<(String, RGBColor)> {
    let colours = COLOURS.into_iter().cycle();
    sides.into_iter().zip(colours).collect()
}

impl Beside {
    fn chart(self, id: &'static str, title: &str, more: Option<String>) -> Chart {
        let words: Vec<String> = self
            .rows
            .iter()
            .map(|row| row.in_words(&self.sides))
            .collect();
        let note = match self.shared {
            None => {
                "Each row has an axis of its own, from nought to its greatest figure. In parentheses: \
                 ratio to the first."
            }
            Some(_) => "In parentheses: ratio to the first.",
        };
        let note = match more {
            Some(more) => format!("{note} {more}"),
            None => note.to_owned(),
        };
        Chart::new(id, title, words.join(" "), self).with_note(note)
    }

    fn head(&self) -> i32 {
        legend_height(MARGIN, &self.sides) + 8
    }

    fn step(&self) -> i32 {
        BAR * self.sides.len() as i32 + GAP
    }
}

impl Picture for Beside {
    fn height(&self) -> i32 {
        let foot = if self.shared.is_some() { FOOT } else { 4 };
        self.head() + self.step() * self.rows.len() as i32 + foot
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        canvas.legend((MARGIN, 0), &self.sides)?;
        let names = self.rows.iter().map(|row| width_of(&row.name, 12));
        let left = MARGIN + names.max().unwrap_or(0).min(MOST_NAME) + 12;
        let right = WIDTH - RIGHT;
        let most = self.rows.iter().map(Row::most).fold(0.0, f64::max);
        let axis = |most: f64| Axis::over([most].into_iter(), false, (left, right));
        let bottom = self.head() + self.step() * self.rows.len() as i32;
        if let Some(unit) = self.shared {
            let axis = axis(most);
            let whole = axis.ticks().into_iter().filter(|tick| tick.fract() == 0.0);
            for (tick, at) in whole.filter_map(|tick| Some((tick, axis.at(tick)?))) {
                canvas.line(&[(at, self.head() - 4), (at, bottom)], colour::RULE, 1)?;
                canvas.styled(&grouped(tick as u64), (at, bottom + 4), centred(11))?;
            }
            canvas.styled(unit, (i32::midpoint(left, right), bottom + 20), centred(12))?;
        }
        for (i, row) in self.rows.iter().enumerate() {
            let top = self.head() + self.step() * i as i32;
            let axis = axis(if self.shared.is_some() {
                most
            } else {
                row.most()
            });
            let name = cut(&row.name, 12, MOST_NAME);
            let middle = top + BAR * self.sides.len() as i32 / 2 - 7;
            canvas.words(name, (MARGIN, middle), 12)?;
            for (k, (bar, (side, colour))) in row.bars.iter().zip(&self.sides).enumerate() {
                let y = top + BAR * k as i32;
                let Some((figure, words)) = bar else {
                    canvas.words("none", (left + 4, y + 2), 11)?;
                    continue;
                };
                // However little, it is seen beside nothing.
                let least = if *figure > 0.0 { left + 3 } else { left };
                let end = axis.at(*figure).unwrap_or(left).max(least);
                let place = [(left, y), (end, y + BAR - 2)];
                canvas.rectangle(place, *colour)?;
                let room = WIDTH - MARGIN - end - 6;
                canvas.words(cut(words, 11, room), (end + 6, y + 2), 11)?;
                let told = format!("{}, {side}: {words}", row.name);
                canvas.mark_area([(left, y), (end.max(left + 6), y + BAR - 2)], told);
            }
            let height = BAR * self.sides.len() as i32;
            canvas.line(
                &[(left, top - 3), (left, top + height + 1)],
                colour::GREY,
                1,
            )?;
        }
        Ok(())
    }
}
