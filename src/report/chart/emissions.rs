//! Emissions by algorithm on a logarithmic axis: the headline model with its range, and every other
//! model beside it.

use std::collections::BTreeMap;

use plotters::style::RGBColor;

use super::axis::decades;
use super::canvas::{Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, legend_height, width_of};
use super::{Chart, Picture};
use crate::energy::{Carbon, Energy, ModelClass};
use crate::report::ProtocolReport;
use crate::report::number::{modelled, rate};

const STEP: i32 = 44;
const FOOT: i32 = 44;
/// Widest column of names; longer names are cut.
const MOST_NAME: i32 = 220;

/// One figure of one model.
#[derive(Debug, Clone)]
struct Figure {
    model: String,
    class: ModelClass,
    grams: f64,
    range: Option<(f64, f64)>,
}

impl Figure {
    fn of(energy: &Energy, carbon: &Carbon) -> Self {
        Self {
            model: energy.model.clone(),
            class: energy.class,
            grams: carbon.grams.0,
            range: carbon
                .low
                .zip(carbon.high)
                .map(|(low, high)| (low.0, high.0)),
        }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        let (low, high) = self.range.unwrap_or((self.grams, self.grams));
        [low, self.grams, high].into_iter()
    }

    fn in_words(&self, gas: &str) -> String {
        let range = match self.range {
            Some((low, high)) => {
                format!(", from {} to {}", modelled(low, "g"), modelled(high, "g"))
            }
            None => String::new(),
        };
        let (model, class) = (&self.model, self.class);
        format!(
            "{} {gas}{range} by {model} ({class})",
            modelled(self.grams, "g")
        )
    }
}

/// What the traffic of one algorithm would have emitted, by each model.
struct Emitted {
    name: String,
    /// Which gas its grid's rate weighs.
    gas: &'static str,
    /// What stands behind the headline's figure: with the gas where rows differ in it.
    unit: String,
    headline: Figure,
    others: Vec<Figure>,
}

impl Emitted {
    fn figures(&self) -> impl Iterator<Item = &Figure> {
        std::iter::once(&self.headline).chain(&self.others)
    }
}

/// Whether a figure has a place on a logarithmic axis.
fn is_drawn(grams: f64) -> bool {
    grams.is_finite() && grams > 0.0
}

fn colour_of(class: ModelClass) -> RGBColor {
    match class {
        ModelClass::MarginalDevice => colour::BLUE,
        ModelClass::AverageAllocation => colour::ORANGE,
        ModelClass::PerMessage => colour::PURPLE,
        ModelClass::Radio => colour::GREEN,
        ModelClass::PowerTime => colour::RED,
    }
}

/// Emissions of each named protocol's traffic, as if on the wire, by all models of its report; nothing
/// where no model gives any.
pub fn emissions(protocols: &[(String, &ProtocolReport)]) -> Option<Chart> {
    let (_, first) = protocols.first()?;
    let carbon = &first.carbon;
    let mut rows: Vec<Emitted> = protocols
        .iter()
        .map(|(name, protocol)| Emitted {
            name: name.clone(),
            gas: protocol.carbon.gas.label(),
            unit: "g".to_owned(),
            headline: Figure::of(&protocol.energy, &protocol.carbon),
            others: protocol
                .estimates
                .iter()
                .map(|estimate| Figure::of(&estimate.energy, &estimate.carbon))
                .collect(),
        })
        .collect();
    let values = rows
        .iter()
        .flat_map(Emitted::figures)
        .flat_map(Figure::values);
    let decades = decades(values)?;
    let gas = rows.iter().map(|row| row.gas);
    let gas = gas.reduce(|one, other| if one == other { one } else { "gas" });
    let gas = gas.unwrap_or("gas");
    for row in rows.iter_mut().filter(|row| row.gas != gas) {
        row.unit = format!("g {}", row.gas);
    }
    let what = match gas {
        "gas" => "Emissions",
        gas => gas,
    };
    let words: Vec<String> = rows
        .iter()
        .map(|row| format!("{}: {}.", row.name, row.headline.in_words(row.gas)))
        .collect();
    let supply = |carbon: &Carbon| (carbon.grid.clone(), carbon.grams_per_kwh, carbon.gas);
    let same_supply = |(_, other): &(_, &ProtocolReport)| supply(&other.carbon) == supply(carbon);
    let mut note = match protocols.iter().all(same_supply) {
        true => format!(
            "Grid {}, {}, {}. ",
            carbon.grid,
            rate(carbon.grams_per_kwh),
            carbon_basis(gas)
        ),
        false => "Of several grids: figures do not compare. ".to_owned(),
    };
    let by = |energy: &Energy| (energy.model.clone(), energy.hops, energy.pue);
    if protocols
        .iter()
        .any(|(_, other)| by(&other.energy) != by(&first.energy))
    {
        note.push_str("Of several models, hops or PUE: figures do not compare. ");
    }
    let mtu = |protocol: &ProtocolReport| protocol.tally.projection.mtu;
    if protocols.iter().any(|(_, other)| mtu(other) != mtu(first)) {
        note.push_str("Frames of several MTUs: models that count them do not compare. ");
    }
    note.push_str(
        "Dots: the headline model, its range thick. Upright marks: the other models; classes differ by \
         what they include, and do not compare. Modelled as if on the wire: loopback used no network \
         equipment. Logarithmic axis.",
    );
    let title = format!("{what} by algorithm, as models have it");
    let picture = Emissions { gas, rows, decades };
    Some(Chart::new("emissions", title, words.join(" "), picture).with_note(note))
}

fn carbon_basis(gas: &str) -> &'static str {
    match gas {
        "CO2" => "CO2 alone, without CH4 and N2O",
        "CO2e" => "CO2 with CH4 and N2O",
        _ => "which gas is not told",
    }
}

struct Emissions {
    gas: &'static str,
    rows: Vec<Emitted>,
    decades: (i32, i32),
}

impl Emissions {
    fn legend(&self) -> Vec<(String, RGBColor)> {
        let figures = self.rows.iter().flat_map(Emitted::figures);
        let figures = figures.filter(|figure| is_drawn(figure.grams));
        let classes: BTreeMap<String, RGBColor> = figures
            .map(|figure| (figure.class.to_string(), colour_of(figure.class)))
            .collect();
        classes.into_iter().collect()
    }

    fn head(&self) -> i32 {
        legend_height(MARGIN, &self.legend()) + 8
    }
}

impl Picture for Emissions {
    fn height(&self) -> i32 {
        self.head() + STEP * self.rows.len() as i32 + FOOT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        canvas.legend((MARGIN, 0), &self.legend())?;
        let names = self.rows.iter().map(|row| width_of(&row.name, 13));
        let widest = names.max().unwrap_or(0).min(MOST_NAME);
        let left = MARGIN + widest + 24;
        let right = WIDTH - MARGIN - 30;
        let (low, high) = self.decades;
        let x_of = |grams: f64| {
            let share = (grams.log10() - f64::from(low)) / f64::from(high - low);
            // Powers of ten beyond the greatest number are at the end.
            left + (share.clamp(0.0, 1.0) * f64::from(right - left)).round() as i32
        };
        let bottom = self.height() - FOOT;
        // At most ten marks.
        let each = (high - low + 9) / 10;
        for power in (low..=high).step_by(each as usize) {
            let x = x_of(10_f64.powi(power));
            canvas.line(&[(x, self.head() - 4), (x, bottom)], colour::RULE, 1)?;
            canvas.styled(&power_of_ten(power), (x, bottom + 4), centred(11))?;
        }
        let unit = match self.gas {
            "gas" => "grams, logarithmic".to_owned(),
            gas => format!("grams of {gas}, logarithmic"),
        };
        canvas.styled(&unit, ((left + right) / 2, bottom + 22), centred(12))?;
        for (i, row) in self.rows.iter().enumerate() {
            let top = self.head() + STEP * i as i32;
            row.draw(canvas, top, widest, (left, right), &x_of)?;
        }
        Ok(())
    }
}

/// `1 µg`, `10 µg`, with powers where no prefix is known.
fn power_of_ten(power: i32) -> String {
    match power {
        -24..=11 => {
            let text = modelled(10_f64.powi(power), "g");
            text.replacen("1.0 ", "1 ", 1)
        }
        _ => format!("1e{power} g"),
    }
}

impl Emitted {
    fn draw(
        &self,
        canvas: &mut Canvas<'_>,
        top: i32,
        widest: i32,
        (left, right): (i32, i32),
        x_of: &impl Fn(f64) -> i32,
    ) -> Drawn {
        let middle = top + 14;
        canvas.words(cut(&self.name, 13, widest), (MARGIN, middle - 8), 13)?;
        let values: Vec<f64> = self
            .figures()
            .flat_map(Figure::values)
            .filter(|value| is_drawn(*value))
            .collect();
        let least = values.iter().copied().fold(f64::MAX, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        if values.is_empty() {
            return canvas.words("nothing emitted by any model", (left, middle - 8), 12);
        }
        canvas.line(
            &[(x_of(least), middle), (x_of(most), middle)],
            colour::RULE,
            3,
        )?;
        let others = || self.others.iter().filter(|figure| is_drawn(figure.grams));
        for figure in others() {
            let (x, colour) = (x_of(figure.grams), colour_of(figure.class));
            canvas.line(&[(x, middle - 7), (x, middle + 7)], colour, 2)?;
        }
        if is_drawn(self.headline.grams) {
            self.draw_headline(canvas, middle, (left, right), x_of)?;
        }
        for figure in others() {
            let x = x_of(figure.grams);
            let words = format!("{}: {}", self.name, figure.in_words(self.gas));
            canvas.mark_area([(x - 3, middle - 9), (x + 4, middle + 9)], words);
        }
        Ok(())
    }

    fn draw_headline(
        &self,
        canvas: &mut Canvas<'_>,
        middle: i32,
        (left, right): (i32, i32),
        x_of: &impl Fn(f64) -> i32,
    ) -> Drawn {
        let headline = &self.headline;
        let (x, colour) = (x_of(headline.grams), colour_of(headline.class));
        let range = headline
            .range
            .filter(|(low, high)| is_drawn(*low) && is_drawn(*high));
        let (from, to) = range.map_or((x, x), |(low, high)| (x_of(low), x_of(high)));
        canvas.rectangle([(from, middle - 3), (to, middle + 4)], colour)?;
        canvas.dot((x, middle), 6, colour)?;
        let words = modelled(headline.grams, &self.unit);
        let half = width_of(&words, 11) / 2;
        let at = x.min(right - half).max(left + half);
        canvas.styled(&words, (at, middle + 9), centred(11))?;
        let words = format!("{}: {}", self.name, headline.in_words(self.gas));
        canvas.mark_area(
            [(from.min(x - 6), middle - 8), (to.max(x + 6), middle + 8)],
            words,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_have_their_prefix() {
        for (power, text) in [
            (-9, "1 ng"),
            (-8, "10 ng"),
            (0, "1 g"),
            (4, "10 kg"),
            (40, "1e40 g"),
        ] {
            assert_eq!(power_of_ten(power), text);
        }
    }
}
