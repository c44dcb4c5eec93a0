//! Bytes by layer, one bar a protocol: what share of the wire each layer takes.

use std::collections::BTreeSet;

use plotters::prelude::*;

use super::{ChartError, WIDTH, colour, legend, text, width_of};
use crate::report::ProtocolReport;
use crate::report::number::grouped;
use crate::tally::LayerBytes;

const CHART: &str = "bytes by layer";
const HEAD: i32 = 66;
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

/// Draws each protocol's wire bytes as a bar of shares by layer, with its total beside it.
/// Protocols without packets are left out; with none left the chart says so.
pub fn layers(protocols: &[&ProtocolReport]) -> Result<String, ChartError> {
    let shown: Vec<&ProtocolReport> = protocols.iter().copied().filter(|p| p.was_seen()).collect();
    let height = HEAD + STEP * shown.len().max(1) as i32 + FOOT;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        draw(&root, &shown).map_err(ChartError::of(CHART))?;
        root.present().map_err(ChartError::of(CHART))?;
    }
    Ok(svg)
}

fn draw<'a, DB: DrawingBackend + 'a>(
    root: &DrawingArea<DB, plotters::coord::Shift>,
    protocols: &[&ProtocolReport],
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    root.fill(&WHITE)?;
    if protocols.is_empty() {
        return root.draw(&Text::new(
            "No protocol's packet was seen",
            (16, 14),
            text(16),
        ));
    }
    root.draw(&Text::new(
        "Bytes by layer, as shares of the wire bytes",
        (16, 12),
        text(16),
    ))?;
    legend(root, (16, 40), &swatches(protocols))?;
    let names = protocols.iter().map(|p| width_of(&p.label(), 13));
    let left = 16 + names.max().unwrap_or(0).min(MOST_NAME) + 12;
    let breadth = WIDTH as i32 - RIGHT - left;
    for (i, protocol) in protocols.iter().enumerate() {
        draw_bar(root, protocol, (left, HEAD + STEP * i as i32), breadth)?;
    }
    let bottom = HEAD + STEP * protocols.len() as i32;
    for percent in [0, 25, 50, 75, 100] {
        let x = left + breadth * percent / 100;
        root.draw(&PathElement::new(
            [(x, bottom - 6), (x, bottom)],
            colour::GREY,
        ))?;
        let words = format!("{percent} %");
        let at = (x - width_of(&words, 11) / 2, bottom + 4);
        root.draw(&Text::new(words, at, text(11)))?;
    }
    Ok(())
}

fn draw_bar<'a, DB: DrawingBackend + 'a>(
    root: &DrawingArea<DB, plotters::coord::Shift>,
    protocol: &ProtocolReport,
    (left, top): (i32, i32),
    breadth: i32,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
    let bytes = &protocol.tally.bytes;
    let total = bytes.wire.get().max(1) as f64;
    let name = cut(&protocol.label(), left - 16 - 12);
    root.draw(&Text::new(name, (16, top + 9), text(13)))?;
    let mut before = 0;
    // Said below the bar, since there is no room in it.
    let mut narrow = Vec::new();
    for part in &parts(bytes) {
        let (colour, layers) = part;
        let length: u64 = layers.iter().map(|(_, bytes)| bytes).sum();
        let at = |bytes: u64| left + (bytes as f64 / total * f64::from(breadth)).round() as i32;
        let (from, to) = (at(before), at(before + length));
        before += length;
        root.draw(&Rectangle::new(
            [(from, top), (to, top + BAR)],
            colour.filled(),
        ))?;
        let percent = length as f64 / total * 100.0;
        let share = format!("{percent:.0} %");
        let room = to - from - width_of(&share, 11);
        if room > 6 {
            let dark = [colour::BLUE, colour::GREEN, colour::RED].contains(colour);
            let ink = if dark { &WHITE } else { &colour::INK };
            let style = text(11).color(ink);
            root.draw(&Text::new(share, (from + room / 2, top + 10), style))?;
        } else if length > 0 {
            let share = match percent {
                0.05.. => format!("{percent:.1} %"),
                _ => "< 0.1 %".to_owned(),
            };
            narrow.push(format!("{} {share}", joined(present(part))));
        }
    }
    let below = (left, top + BAR + 3);
    root.draw(&Text::new(narrow.join("; "), below, text(10)))?;
    let words = format!("{} bytes", grouped(bytes.wire.get()));
    root.draw(&Text::new(words, (left + breadth + 10, top + 9), text(12)))
}

/// A name that fits, with an ellipsis where it was cut.
fn cut(name: &str, room: i32) -> String {
    if width_of(name, 13) <= room {
        return name.to_owned();
    }
    let mut kept = String::new();
    for character in name.chars() {
        if width_of(&format!("{kept}{character}…"), 13) > room {
            break;
        }
        kept.push(character);
    }
    kept + "…"
}
