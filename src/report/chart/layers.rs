//! Bytes by layer, one bar a protocol: what share of the wire each layer takes.

use std::collections::BTreeSet;

use plotters::style::RGBColor;

use super::canvas::{
    Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, legend_height, text, width_of,
};
use super::{Chart, Picture};
use crate::report::ProtocolReport;
use crate::report::number::{grouped, percent};
use crate::tally::LayerBytes;

const BAR: i32 = 30;
const STEP: i32 = 54;
const FOOT: i32 = 44;
const RIGHT: i32 = 150;
/// Widest column of names; longer names are cut.
const MOST_NAME: i32 = 240;

/// What shares a colour: layers that nobody reads apart at this size.
type Part = (RGBColor, Vec<(&'static str, u64)>);

/// The layers from the inside out, which together are the wire bytes.
fn parts(bytes: &LayerBytes) -> [Part; 7] {
    [
        (colour::BLUE, vec![("message", bytes.message.get())]),
        (colour::SKY, vec![("framing", bytes.framing.get())]),
        (
            colour::YELLOW,
            vec![
                ("incomplete", bytes.incomplete.get()),
                ("unframed", bytes.unframed.get()),
            ],
        ),
        (
            colour::RED,
            vec![
                ("retransmitted", bytes.retransmitted.get()),
                ("outside stream", bytes.outside_stream.get()),
            ],
        ),
        (
            colour::GREEN,
            vec![("transport header", bytes.transport_header.get())],
        ),
        (
            colour::ORANGE,
            vec![
                ("IP header", bytes.ip_header.get()),
                ("tunnel header", bytes.tunnel_header.get()),
            ],
        ),
        (
            colour::PURPLE,
            vec![
                ("link header", bytes.link_header.get()),
                ("link trailer", bytes.link_trailer.get()),
            ],
        ),
    ]
}

/// The layers of a part that are there, by name.
fn present((_, layers): &Part) -> BTreeSet<&'static str> {
    let present = layers.iter().filter(|(_, bytes)| *bytes > 0);
    present.map(|(name, _)| *name).collect()
}

/// The colours that are used, each with the layers that any protocol has of it.
fn swatches(protocols: &[&ProtocolReport]) -> Vec<(String, RGBColor)> {
    let mut swatches = parts(&LayerBytes::default()).map(|(colour, _)| (BTreeSet::new(), colour));
    for protocol in protocols {
        for (swatch, part) in swatches.iter_mut().zip(&parts(&protocol.tally.bytes)) {
            swatch.0.extend(present(part));
        }
    }
    let used = swatches.into_iter().filter(|(names, _)| !names.is_empty());
    used.map(|(names, colour)| (joined(names), colour))
        .collect()
}

fn joined(names: BTreeSet<&'static str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Each protocol's wire bytes as a bar of shares by layer, with its total beside it. Protocols
/// without packets are left out.
pub fn layers(protocols: &[&ProtocolReport]) -> Chart {
    let shown: Vec<&ProtocolReport> = protocols.iter().copied().filter(|p| p.was_seen()).collect();
    let about = match shown.as_slice() {
        [] => "No protocol's packet was seen.".to_owned(),
        shown => shown
            .iter()
            .map(|p| in_words(p))
            .collect::<Vec<_>>()
            .join(" "),
    };
    Chart::new(
        "bytes-by-layer",
        "Bytes by layer, as shares of the wire bytes",
        about,
        Layers {
            swatches: swatches(&shown),
            bars: shown.into_iter().map(Bar::of).collect(),
        },
    )
}

fn in_words(protocol: &ProtocolReport) -> String {
    let bytes = &protocol.tally.bytes;
    format!(
        "{}: {} bytes on the wire, of which message bodies are {}.",
        protocol.label(),
        grouped(bytes.wire.get()),
        percent(bytes.message.get() as f64 / bytes.wire.get().max(1) as f64)
    )
}

struct Layers {
    swatches: Vec<(String, RGBColor)>,
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    wire: u64,
    parts: [Part; 7],
}

impl Bar {
    fn of(protocol: &ProtocolReport) -> Self {
        Self {
            name: protocol.label(),
            wire: protocol.tally.bytes.wire.get(),
            parts: parts(&protocol.tally.bytes),
        }
    }
}

impl Layers {
    fn head(&self) -> i32 {
        legend_height(MARGIN, &self.swatches) + 8
    }
}

impl Picture for Layers {
    fn height(&self) -> i32 {
        self.head() + STEP * self.bars.len() as i32 + FOOT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        if self.bars.is_empty() {
            return canvas.words("No protocol's packet was seen", (MARGIN, 0), 12);
        }
        canvas.legend((MARGIN, 0), &self.swatches)?;
        let names = self.bars.iter().map(|bar| width_of(&bar.name, 13));
        let left = MARGIN + names.max().unwrap_or(0).min(MOST_NAME) + 12;
        let breadth = WIDTH - RIGHT - left;
        for (i, bar) in self.bars.iter().enumerate() {
            bar.draw(canvas, (left, self.head() + STEP * i as i32), breadth)?;
        }
        let bottom = self.head() + STEP * self.bars.len() as i32;
        for share in [0, 25, 50, 75, 100] {
            let x = left + breadth * share / 100;
            canvas.line(&[(x, bottom - 6), (x, bottom)], colour::GREY, 1)?;
            canvas.styled(&format!("{share} %"), (x, bottom + 4), centred(11))?;
        }
        Ok(())
    }
}

impl Bar {
    fn draw(&self, canvas: &mut Canvas<'_>, (left, top): (i32, i32), breadth: i32) -> Drawn {
        let total = self.wire.max(1) as f64;
        let name = cut(&self.name, 13, left - MARGIN - 12);
        canvas.words(name, (MARGIN, top + 9), 13)?;
        let mut before = 0;
        // Said below the bar, since there is no room in it.
        let mut narrow = Vec::new();
        for part in &self.parts {
            let (colour, layers) = part;
            let length: u64 = layers.iter().map(|(_, bytes)| bytes).sum();
            if length == 0 {
                continue;
            }
            let at = |bytes: u64| left + (bytes as f64 / total * f64::from(breadth)).round() as i32;
            let (from, to) = (at(before), at(before + length));
            before += length;
            let bar = [(from, top), (to, top + BAR)];
            canvas.rectangle(bar, *colour)?;
            for (layer, bytes) in layers.iter().filter(|(_, bytes)| *bytes > 0) {
                let share = percent(*bytes as f64 / total);
                let words = format!("{}: {layer}, {} bytes, {share}", self.name, grouped(*bytes));
                canvas.mark_area(bar, words);
            }
            let share = length as f64 / total * 100.0;
            let words = format!("{share:.0} %");
            let room = to - from - width_of(&words, 11);
            if room > 6 {
                let dark = [colour::BLUE, colour::GREEN, colour::RED].contains(colour);
                let ink = if dark { &colour::PAPER } else { &colour::INK };
                canvas.styled(&words, (from + room / 2, top + 10), text(11).color(ink))?;
            } else {
                let words = match share {
                    0.05.. => format!("{share:.1} %"),
                    _ => "< 0.1 %".to_owned(),
                };
                narrow.push(format!("{} {words}", joined(present(part))));
            }
        }
        canvas.words(narrow.join("; "), (left, top + BAR + 3), 10)?;
        let words = format!("{} bytes", grouped(self.wire));
        canvas.words(words, (left + breadth + 10, top + 9), 12)
    }
}
