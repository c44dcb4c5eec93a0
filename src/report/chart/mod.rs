//! Charts as SVG: traffic over time and bytes by layer.
//!
//! In: protocols of a report. Out: one SVG document as text, which names a generic font and needs
//! nothing from the system that draws it: text is measured by the font in `assets/`.

mod layers;
mod traffic;

use std::sync::Once;

use plotters::prelude::*;
use plotters::style::{FontStyle, FontTransform, RGBColor, register_font};

pub use layers::layers;
pub use traffic::traffic;

/// Width of every chart in pixels.
const WIDTH: u32 = 960;

/// The family that charts name. Its first member is the font that text is measured by; the second
/// has the same widths.
const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";

static FONT: &[u8] = include_bytes!("../../../assets/DejaVuSans-latin.ttf");

/// Colours that people with colour blindness tell apart (Okabe & Ito 2008).
mod colour {
    use super::RGBColor;

    pub const BLUE: RGBColor = RGBColor(0, 114, 178);
    pub const SKY: RGBColor = RGBColor(86, 180, 233);
    pub const GREEN: RGBColor = RGBColor(0, 158, 115);
    pub const YELLOW: RGBColor = RGBColor(240, 228, 66);
    pub const ORANGE: RGBColor = RGBColor(230, 159, 0);
    pub const RED: RGBColor = RGBColor(213, 94, 0);
    pub const PURPLE: RGBColor = RGBColor(204, 121, 167);
    pub const GREY: RGBColor = RGBColor(153, 153, 153);
    pub const INK: RGBColor = RGBColor(34, 34, 34);
    pub const RULE: RGBColor = RGBColor(221, 221, 221);
}

/// A chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the chart of {chart} could not be drawn: {reason}")]
pub struct ChartError {
    chart: &'static str,
    reason: String,
}

impl ChartError {
    fn of<E: std::fmt::Display>(chart: &'static str) -> impl Fn(E) -> Self {
        move |error| Self {
            chart,
            reason: error.to_string(),
        }
    }
}

/// Text of this size in pixels.
fn text(size: u32) -> TextStyle<'static> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // A font that cannot be read leaves text unmeasured, which drawing then reports.
        let _ = register_font(FAMILY, FontStyle::Normal, FONT);
    });
    // The SVG backend writes sizes divided by this.
    let size = f64::from(size) * 1.24;
    TextStyle::from((FAMILY, size).into_font()).color(&colour::INK)
}

fn upwards(size: u32) -> TextStyle<'static> {
    text(size).transform(FontTransform::Rotate270)
}

/// How wide a text of this size is, in pixels.
fn width_of(words: &str, size: u32) -> i32 {
    let layout = text(size).font.layout_box(words);
    layout.map_or(0, |((left, _), (right, _))| right - left)
}

/// Swatches with names from left to right, starting at `at`.
fn legend<'a, DB: DrawingBackend + 'a>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    at: (i32, i32),
    entries: &[(impl AsRef<str>, RGBColor)],
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let (mut x, y) = at;
    for (name, colour) in entries {
        area.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], colour.filled()))?;
        let name = name.as_ref();
        area.draw(&Text::new(name.to_owned(), (x + 17, y), text(12)))?;
        x += 17 + width_of(name, 12) + 20;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_measures_every_character_that_charts_use() {
        assert!(width_of("message", 12) > 40);
        let wide = width_of("WWWW", 12);
        assert!(wide > width_of("iiii", 12) * 2, "widths are the font's own");
        for character in "µ…–—≤ÄéABCabc0123456789,.%()/".chars() {
            assert!(width_of(&character.to_string(), 24) > 0, "{character}");
        }
    }
}
