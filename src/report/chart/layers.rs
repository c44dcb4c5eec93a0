//! Bytes by layer, one bar a protocol: how much of the wire each layer takes.

use std::collections::BTreeSet;

use plotters::style::RGBColor;

use super::axis::{bytes_in_unit_of, round_steps, short_bytes};
use super::canvas::{Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, legend_height, width_of};
use super::{Chart, Picture};
use crate::report::ProtocolReport;
use crate::report::number::{counted, grouped, percent};
use crate::tally::LayerBytes;

const BAR: i32 = 28;
const STEP: i32 = 48;
const LOW_BAR: i32 = 18;
const LOW_STEP: i32 = 24;
/// Above the bars of a section and below them.
const SECTION: i32 = 22;
const FOOT: i32 = 34;
const RIGHT: i32 = 130;
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

/// The bytes of a part.
fn length_of((_, layers): &Part) -> u64 {
    let bytes = layers.iter().map(|(_, bytes)| *bytes);
    bytes.fold(0, u64::saturating_add)
}

/// The layers of a part that are there, by name.
fn present((_, layers): &Part) -> BTreeSet<&'static str> {
    let present = layers.iter().filter(|(_, bytes)| *bytes > 0);
    present.map(|(name, _)| *name).collect()
}

/// Each protocol's wire bytes by layer: absolute, and as shares. Protocols without packets are left
/// out.
pub fn layers(protocols: &[&ProtocolReport]) -> Chart {
    let named: Vec<_> = protocols.iter().map(|one| (one.label(), *one)).collect();
    layers_of(&named)
}

/// The same under names of their own.
pub fn layers_of(protocols: &[(String, &ProtocolReport)]) -> Chart {
    let shown = protocols.iter().filter(|(_, protocol)| protocol.was_seen());
    let bars: Vec<Bar> = shown
        .map(|(name, protocol)| Bar::of(name, protocol))
        .collect();
    let about = match bars.as_slice() {
        [] => "No protocol's packet was seen.".to_owned(),
        bars => bars.iter().map(Bar::in_words).collect::<Vec<_>>().join(" "),
    };
    let picture = Layers {
        swatches: swatches(&bars),
        bars,
    };
    Chart::new(
        "bytes-by-layer",
        "Bytes on the wire by layer",
        about,
        picture,
    )
}

/// The colours that are used, each with the layers that any bar has of it.
fn swatches(bars: &[Bar]) -> Vec<(String, RGBColor)> {
    let mut swatches = parts(&LayerBytes::default()).map(|(colour, _)| (BTreeSet::new(), colour));
    for bar in bars {
        for (swatch, part) in swatches.iter_mut().zip(&bar.parts) {
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
    fn of(name: &str, protocol: &ProtocolReport) -> Self {
        Self {
            name: name.to_owned(),
            wire: protocol.tally.bytes.wire.get(),
            parts: parts(&protocol.tally.bytes),
        }
    }

    fn in_words(&self) -> String {
        let message = length_of(&self.parts[0]);
        format!(
            "{}: {} bytes on the wire, of which message bodies are {}.",
            self.name,
            grouped(self.wire),
            percent(message as f64 / self.wire.max(1) as f64)
        )
    }
}

impl Layers {
    fn head(&self) -> i32 {
        legend_height(MARGIN, &self.swatches) + 10
    }

    fn count(&self) -> i32 {
        self.bars.len() as i32
    }

    /// Where shares begin.
    fn shares(&self) -> i32 {
        self.head() + SECTION + LOW_STEP * self.count() + FOOT
    }
}

impl Picture for Layers {
    fn height(&self) -> i32 {
        self.shares() + SECTION + STEP * self.count() + FOOT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        if self.bars.is_empty() {
            return canvas.words("No protocol's packet was seen", (MARGIN, 0), 12);
        }
        canvas.legend((MARGIN, 0), &self.swatches)?;
        let names = self.bars.iter().map(|bar| width_of(&bar.name, 13));
        let left = MARGIN + names.max().unwrap_or(0).min(MOST_NAME) + 12;
        let breadth = WIDTH - RIGHT - left;

        canvas.words("Bytes", (MARGIN, self.head()), 12)?;
        let steps = round_steps(self.bars.iter().map(|bar| bar.wire).max().unwrap_or(0));
        let end = steps.last().copied().unwrap_or(1).max(1);
        let top = self.head() + SECTION;
        let bottom = top + LOW_STEP * self.count();
        for step in &steps {
            let x = left + (*step as f64 / end as f64 * f64::from(breadth)) as i32;
            scale_mark(canvas, (x, bottom), &bytes_in_unit_of(*step, end))?;
        }
        for (i, bar) in self.bars.iter().enumerate() {
            let row = Row {
                at: (left, top + LOW_STEP * i as i32),
                breadth,
                height: LOW_BAR,
                end,
            };
            row.draw(canvas, bar)?;
            canvas.words(
                short_bytes(bar.wire),
                (row.x_of(bar.wire) + 8, row.at.1 + 2),
                12,
            )?;
        }

        canvas.words("Shares", (MARGIN, self.shares()), 12)?;
        let top = self.shares() + SECTION;
        let bottom = top + STEP * self.count();
        for share in [0, 25, 50, 75, 100] {
            let x = left + breadth * share / 100;
            scale_mark(canvas, (x, bottom), &format!("{share} %"))?;
        }
        for (i, bar) in self.bars.iter().enumerate() {
            let row = Row {
                at: (left, top + STEP * i as i32),
                breadth,
                height: BAR,
                end: bar.wire.max(1),
            };
            row.draw(canvas, bar)?;
            row.tell_shares(canvas, bar)?;
        }
        Ok(())
    }
}

fn scale_mark(canvas: &Canvas<'_>, (x, y): (i32, i32), words: &str) -> Drawn {
    canvas.line(&[(x, y - 2), (x, y + 3)], colour::GREY, 1)?;
    canvas.styled(words, (x, y + 6), centred(11))
}

/// Where a bar is.
struct Row {
    at: (i32, i32),
    breadth: i32,
    height: i32,
    /// How many bytes the whole breadth is.
    end: u64,
}

impl Row {
    fn x_of(&self, bytes: u64) -> i32 {
        let share = bytes as f64 / self.end as f64;
        self.at.0 + (share.min(1.0) * f64::from(self.breadth)).round() as i32
    }

    /// Each part of a bar that is there, from where to where, and its bytes.
    fn places<'a>(&self, bar: &'a Bar) -> impl Iterator<Item = (i32, i32, u64, &'a Part)> {
        let mut before = 0_u64;
        let places: Vec<_> = bar
            .parts
            .iter()
            .map(|part| {
                let length = length_of(part);
                let from = self.x_of(before);
                before = before.saturating_add(length);
                (from, self.x_of(before), length, part)
            })
            .collect();
        places.into_iter().filter(|(_, _, length, _)| *length > 0)
    }

    fn draw(&self, canvas: &mut Canvas<'_>, bar: &Bar) -> Drawn {
        let (left, top) = self.at;
        let name = cut(&bar.name, 13, left - MARGIN - 12);
        canvas.words(name, (MARGIN, top + self.height / 2 - 8), 13)?;
        for (from, to, _, (colour, layers)) in self.places(bar) {
            let area = [(from, top), (to, top + self.height)];
            canvas.rectangle(area, *colour)?;
            let layers = layers.iter().filter(|(_, bytes)| *bytes > 0);
            let words: Vec<String> = layers
                .map(|(layer, bytes)| {
                    let share = percent(*bytes as f64 / bar.wire.max(1) as f64);
                    format!("{layer}, {}, {share}", counted(*bytes, "byte"))
                })
                .collect();
            canvas.mark_area(area, format!("{}: {}", bar.name, words.join("; ")));
        }
        Ok(())
    }

    /// Writes shares into a bar, and below it those that it has no room for.
    fn tell_shares(&self, canvas: &mut Canvas<'_>, bar: &Bar) -> Drawn {
        let (left, top) = self.at;
        let mut narrow = Vec::new();
        for (from, to, length, part) in self.places(bar) {
            let share = length as f64 / bar.wire.max(1) as f64 * 100.0;
            // Near the ends whole numbers would say that all or nothing is one layer's.
            let words = match share {
                99.5..100.0 => format!("{:.1} %", share.min(99.9)),
                _ => format!("{share:.0} %"),
            };
            let room = to - from - width_of(&words, 11);
            if room > 6 {
                let ink = colour::ink_on(part.0);
                let at = ((from + to) / 2, top + self.height / 2 - 7);
                canvas.styled(&words, at, centred(11).color(&ink))?;
            } else {
                let words = match share {
                    0.05.. => format!("{share:.1} %"),
                    _ => "< 0.1 %".to_owned(),
                };
                narrow.push(format!("{} {words}", joined(present(part))));
            }
        }
        let narrow = cut(&narrow.join("; "), 10, WIDTH - MARGIN - left);
        canvas.words(narrow, (left, top + self.height + 3), 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::Library;
    use crate::report::{Models, protocol_report};
    use crate::tally::ProtocolTally;
    use crate::units::{MessageBytes, Packets, TransportHeaderBytes, WireBytes};

    #[test]
    fn beside_a_small_part_the_large_one_is_not_all() {
        let mut tally = ProtocolTally {
            name: "ring".to_owned(),
            ..ProtocolTally::default()
        };
        tally.packets.total = Packets::new(1);
        tally.bytes.message = MessageBytes::new(119_640);
        tally.bytes.transport_header = TransportHeaderBytes::new(360);
        tally.bytes.wire = WireBytes::new(120_000);
        let library = Library::built_in();
        let grid = library.grid("us-2018").unwrap();
        let report = protocol_report(&tally, &Models::of(&library, grid).unwrap());
        let svg = layers(&[&report]).svg().unwrap().svg;
        assert!(svg.contains("99.7 %"), "{svg}");
        // The axis of shares has the only other.
        assert_eq!(svg.matches("100 %").count(), 1);
        assert!(svg.contains("20 kB") && !svg.contains("20,000 B"));
    }
}
