//! Packets, messages and bytes over time, one panel a protocol.

use plotters::prelude::*;

use super::axis::short;
use super::canvas::{
    Area, Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, text, upwards, width_of,
};
use super::{Chart, Picture};
use crate::report::number::counted;
use crate::report::{ProtocolReport, time};
use crate::tally::{Bucket, Series};

const HEAD: i32 = 26;
const PANEL: i32 = 232;
/// Of that, packets and messages; the rest is bytes, with the axis of time.
const COUNTS: i32 = 122;
const FOOT: i32 = 28;
/// Most buckets across a panel: each keeps a few pixels.
const MOST_BUCKETS: i64 = 200;
/// Most panels; the protocols with most packets are drawn.
const MOST_PANELS: usize = 8;

/// Packets, messages and bytes in each bucket of time, one panel a protocol. Protocols without packets are
/// left out.
pub fn traffic(protocols: &[&ProtocolReport]) -> Chart {
    let mut shown: Vec<&ProtocolReport> =
        protocols.iter().copied().filter(|p| p.was_seen()).collect();
    shown.sort_by_key(|protocol| std::cmp::Reverse(protocol.tally.packets.total));
    let left_out = shown.len().saturating_sub(MOST_PANELS);
    shown.truncate(MOST_PANELS);
    let panels: Vec<Panel> = panels(&shown);
    let Some(first) = panels.first() else {
        let about = "No protocol's packet was seen.";
        return Chart::new("traffic", "Traffic over time", about, Traffic { panels });
    };
    let bucket = time::span(first.bucket_ns);
    let title = format!("Traffic over time, per bucket of {bucket}");
    let words: Vec<String> = panels.iter().map(Panel::in_words).collect();
    let chart = Chart::new("traffic", title, words.join(" "), Traffic { panels });
    match left_out {
        0 => chart,
        _ => chart.with_note(format!(
            "{left_out} protocols with fewer packets are not drawn."
        )),
    }
}

struct Traffic {
    panels: Vec<Panel>,
}

/// One protocol's buckets. Times count from the first bucket of all panels.
struct Panel {
    name: String,
    bucket_ns: i64,
    /// By their start.
    buckets: Vec<(i64, Bucket)>,
    end: i64,
}

impl Panel {
    fn in_words(&self) -> String {
        let mut sum = Bucket::default();
        self.buckets.iter().for_each(|(_, one)| sum.merge(one));
        format!(
            "{}: {}, {} and {} of IP in {} of {} that are not empty, at most {} in one.",
            self.name,
            counted(sum.packets.get(), "packet"),
            counted(sum.messages.get(), "message"),
            counted(sum.ip.get(), "byte"),
            counted(self.buckets.len() as u64, "bucket"),
            time::span(self.bucket_ns),
            counted(self.most(|one| one.packets.get()), "packet"),
        )
    }

    fn most(&self, of: fn(&Bucket) -> u64) -> u64 {
        let counts = self.buckets.iter().map(|(_, one)| of(one));
        counts.max().unwrap_or(0)
    }
}

fn panels(protocols: &[&ProtocolReport]) -> Vec<Panel> {
    let series = || protocols.iter().map(|protocol| &protocol.tally.series);
    let starts = || series().flat_map(|series| series.buckets.keys().copied());
    let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
        return Vec::new();
    };
    // A report from elsewhere may say anything; the widest that an offset can have is 2^62.
    let narrow = series().map(|series| series.bucket_ns).max().unwrap_or(1);
    let narrow = narrow.min(1 << 62).next_power_of_two();
    let fits = last.saturating_sub(first) / MOST_BUCKETS + 1;
    let bucket_ns = (fits as u64).next_power_of_two().max(narrow);
    let widened: Vec<Series> = series().map(|series| widen(series, bucket_ns)).collect();
    let zero = widened[0].start_of(crate::units::Timestamp::from_nanos(first));
    let bucket_ns = bucket_ns as i64;
    let end = (last.saturating_sub(zero) / bucket_ns + 1).saturating_mul(bucket_ns);
    let panel = |(protocol, series): (&&ProtocolReport, Series)| Panel {
        name: protocol.label(),
        bucket_ns,
        buckets: series
            .buckets
            .iter()
            .map(|(start, one)| (start.saturating_sub(zero), *one))
            .collect(),
        end,
    };
    protocols.iter().zip(widened).map(panel).collect()
}

fn widen(series: &Series, bucket_ns: u64) -> Series {
    let mut wide = Series {
        bucket_ns,
        ..Series::default()
    };
    wide.merge(series);
    wide
}

/// What is counted, its colour, and how much of a bucket's width its bars take.
type Counted = (&'static str, RGBColor, fn(&Bucket) -> u64, f64);

const PACKETS: Counted = ("packets", colour::SKY, |one| one.packets.get(), 0.9);
const MESSAGES: Counted = (
    "complete messages",
    colour::BLUE,
    |one| one.messages.get(),
    0.5,
);
const BYTES: Counted = ("IP bytes", colour::ORANGE, |one| one.ip.get(), 0.9);

impl Picture for Traffic {
    fn height(&self) -> i32 {
        HEAD + PANEL * self.panels.len() as i32 + FOOT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        let Some(first) = self.panels.first() else {
            return canvas.words("No protocol's packet was seen", (MARGIN, 0), 12);
        };
        let swatches = [PACKETS, MESSAGES, BYTES].map(|(name, colour, ..)| (name, colour));
        canvas.legend((MARGIN, 0), &swatches)?;
        let (per_unit, unit) = unit_of(first.end);
        let panels = PANEL * self.panels.len() as i32;
        let (_, rest) = canvas.area().split_vertically(HEAD);
        let (body, _) = rest.split_vertically(panels);
        let areas = body.split_evenly((self.panels.len(), 1));
        for (panel, area) in self.panels.iter().zip(areas) {
            panel.draw(canvas, &area, per_unit)?;
        }
        let words = format!("time since the first bucket ({unit})");
        canvas.styled(&words, (WIDTH / 2, HEAD + panels + 6), centred(12))
    }
}

/// A label without the digits that binary fractions leave behind.
fn plain(at: f64) -> String {
    let digits = format!("{at:.3}");
    digits
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// A count beside its axis; nothing at ticks between whole counts.
fn label(count: f64) -> String {
    match count.fract() == 0.0 {
        true => short(count as u64),
        false => String::new(),
    }
}

/// Nanoseconds in the unit that suits a span, and the unit's name.
fn unit_of(span_ns: i64) -> (f64, &'static str) {
    match span_ns {
        ..2_000_000_000 => (1e6, "ms"),
        2_000_000_000..600_000_000_000 => (1e9, "s"),
        600_000_000_000..36_000_000_000_000 => (60e9, "min"),
        36_000_000_000_000..864_000_000_000_000 => (3600e9, "h"),
        _ => (86_400e9, "days"),
    }
}

impl Panel {
    fn draw(&self, canvas: &mut Canvas<'_>, area: &Area<'_>, per_unit: f64) -> Drawn {
        let (counts, bytes) = area.split_vertically(COUNTS);
        self.draw_counts(canvas, &counts, per_unit, &[PACKETS, MESSAGES], 24)?;
        self.draw_counts(canvas, &bytes, per_unit, &[BYTES], 4)?;
        let name = cut(&self.name, 13, WIDTH - MARGIN - 84);
        area.draw(&Text::new(name, (84, 4), text(13)))
    }

    /// Bars of each series over the same time. The axis of time is below the last panel of a protocol.
    fn draw_counts(
        &self,
        canvas: &mut Canvas<'_>,
        area: &Area<'_>,
        per_unit: f64,
        series: &[Counted],
        above: i32,
    ) -> Drawn {
        let end = self.end as f64 / per_unit;
        let most = series.iter().map(|(_, _, count, _)| self.most(*count));
        let top = most.max().unwrap_or(0).max(1) as f64 * 1.05;
        let has_axis = series.len() == 1;
        let mut chart = ChartBuilder::on(area)
            .margin_top(above)
            .margin_right(24)
            .margin_left(20)
            .x_label_area_size(if has_axis { 24 } else { 4 })
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(colour::RULE)
            .axis_style(colour::GREY)
            .x_labels(if has_axis { 10 } else { 0 })
            .y_labels(4)
            .x_label_formatter(&|at| plain(*at))
            .y_label_formatter(&|count| label(*count))
            .label_style(text(11))
            .draw()?;
        let width = self.bucket_ns as f64 / per_unit;
        let bar = |start: i64, count: u64, share: f64| {
            let from = start as f64 / per_unit + (1.0 - share) / 2.0 * width;
            [(from, 0.0), (from + share * width, count as f64)]
        };
        for (_, colour, count, share) in series {
            let counts = self.buckets.iter().map(|(start, one)| (*start, count(one)));
            let bars = counts.filter(|(_, count)| *count > 0);
            chart.draw_series(bars.map(|(start, count)| {
                Rectangle::new(bar(start, count, *share), colour.filled())
            }))?;
        }
        for (start, one) in &self.buckets {
            let count = series.iter().map(|(_, _, count, _)| count(one)).max();
            let [low, high] = bar(*start, count.unwrap_or(0), 1.0);
            let (left, bottom) = canvas.local(chart.backend_coord(&low));
            let (right, top) = canvas.local(chart.backend_coord(&high));
            canvas.mark_area(
                [(left, top), (right, bottom)],
                self.bucket_in_words(*start, one),
            );
        }
        let name = if has_axis { "IP bytes" } else { "count" };
        let (_, height) = area.dim_in_pixel();
        let middle = (height as i32 + width_of(name, 11)) / 2;
        area.draw(&Text::new(name, (8, middle), upwards(11)))
    }

    fn bucket_in_words(&self, start: i64, one: &Bucket) -> String {
        format!(
            "{}, from {}: {}, {}, {} of IP",
            self.name,
            time::span(start),
            counted(one.packets.get(), "packet"),
            counted(one.messages.get(), "message"),
            counted(one.ip.get(), "byte"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_of_whole_counts() {
        assert_eq!([label(2.0), label(2.5), label(2e6)], ["2", "", "2 M"]);
        assert_eq!([plain(2.0), plain(0.30000000000000004)], ["2", "0.3"]);
    }
}
