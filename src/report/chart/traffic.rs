//! Packets and messages over time, one panel a protocol.

use plotters::prelude::*;

use super::canvas::{Area, Canvas, Drawn, MARGIN, WIDTH, centred, colour, text, upwards, width_of};
use super::{Chart, Picture};
use crate::report::number::{counted, grouped};
use crate::report::{ProtocolReport, time};
use crate::tally::Series;

const HEAD: i32 = 26;
const PANEL: i32 = 150;
const FOOT: i32 = 28;
/// Most buckets across a panel: each keeps a few pixels.
const MOST_BUCKETS: i64 = 200;
/// Most panels; the protocols with most packets are drawn.
const MOST_PANELS: usize = 8;

/// Packets and messages in each bucket of time, one panel a protocol. Protocols without packets are
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
    /// Start, packets, messages.
    buckets: Vec<(i64, u64, u64)>,
    end: i64,
}

impl Panel {
    fn in_words(&self) -> String {
        let sum = |count: fn(&(i64, u64, u64)) -> u64| self.buckets.iter().map(count).sum::<u64>();
        format!(
            "{}: {} and {} in {} of {} that are not empty, at most {} in one.",
            self.name,
            counted(sum(|bucket| bucket.1), "packet"),
            counted(sum(|bucket| bucket.2), "message"),
            counted(self.buckets.len() as u64, "bucket"),
            time::span(self.bucket_ns),
            grouped(self.most()),
        )
    }

    fn most(&self) -> u64 {
        let counts = self
            .buckets
            .iter()
            .map(|(_, packets, messages)| *packets.max(messages));
        counts.max().unwrap_or(0)
    }
}

fn panels(protocols: &[&ProtocolReport]) -> Vec<Panel> {
    let series = || protocols.iter().map(|protocol| &protocol.tally.series);
    let starts = || series().flat_map(|series| series.buckets.keys().copied());
    let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
        return Vec::new();
    };
    let narrow = series().map(|series| series.bucket_ns).max().unwrap_or(1);
    let fits = last.saturating_sub(first) / MOST_BUCKETS + 1;
    let bucket_ns = (fits as u64).next_power_of_two().max(narrow);
    let widened: Vec<Series> = series().map(|series| widen(series, bucket_ns)).collect();
    let zero = widened[0].start_of(crate::units::Timestamp::from_nanos(first));
    let bucket_ns = bucket_ns as i64;
    let end = (last.saturating_sub(zero) / bucket_ns + 1) * bucket_ns;
    let panel = |(protocol, series): (&&ProtocolReport, Series)| Panel {
        name: protocol.label(),
        bucket_ns,
        buckets: series
            .buckets
            .iter()
            .map(|(start, b)| (start - zero, b.packets.get(), b.messages.get()))
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

const SERIES: [(&str, RGBColor); 2] = [
    ("packets", colour::SKY),
    ("complete messages", colour::BLUE),
];

impl Picture for Traffic {
    fn height(&self) -> i32 {
        HEAD + PANEL * self.panels.len() as i32 + FOOT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        let Some(first) = self.panels.first() else {
            return canvas.words("No protocol's packet was seen", (MARGIN, 0), 12);
        };
        canvas.legend((MARGIN, 0), &SERIES)?;
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

/// A count that fits beside its axis; nothing at ticks between whole counts.
fn short(count: f64) -> String {
    match count {
        _ if count.fract() != 0.0 => String::new(),
        1e9.. => format!("{} G", plain(count / 1e9)),
        1e6.. => format!("{} M", plain(count / 1e6)),
        _ => grouped(count as u64),
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
        let end = self.end as f64 / per_unit;
        let top = self.most().max(1) as f64 * 1.05;
        let mut chart = ChartBuilder::on(area)
            .margin_top(24)
            .margin_right(24)
            .margin_left(20)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(colour::RULE)
            .axis_style(colour::GREY)
            .x_labels(10)
            .y_labels(4)
            .x_label_formatter(&|at| plain(*at))
            .y_label_formatter(&|count| short(*count))
            .label_style(text(11))
            .draw()?;
        let width = self.bucket_ns as f64 / per_unit;
        let bar = |bucket: &(i64, u64, u64), count: u64, from: f64, to: f64| {
            let start = bucket.0 as f64 / per_unit;
            [
                (start + from * width, 0.0),
                (start + to * width, count as f64),
            ]
        };
        for (series, from, to) in [(0, 0.05, 0.95), (1, 0.25, 0.75)] {
            let colour = SERIES[series].1.filled();
            let counts = self
                .buckets
                .iter()
                .map(|bucket| (bucket, [bucket.1, bucket.2][series]));
            let bars = counts.filter(|(_, count)| *count > 0);
            chart.draw_series(
                bars.map(|(bucket, count)| Rectangle::new(bar(bucket, count, from, to), colour)),
            )?;
        }
        for bucket in &self.buckets {
            let [low, high] = bar(bucket, bucket.1.max(bucket.2), 0.0, 1.0);
            let (left, bottom) = canvas.local(chart.backend_coord(&low));
            let (right, top) = canvas.local(chart.backend_coord(&high));
            canvas.mark_area([(left, top), (right, bottom)], self.bucket_in_words(bucket));
        }
        area.draw(&Text::new(self.name.clone(), (84, 4), text(13)))?;
        let middle = (PANEL + width_of("count", 11)) / 2;
        area.draw(&Text::new("count", (8, middle), upwards(11)))
    }

    fn bucket_in_words(&self, (start, packets, messages): &(i64, u64, u64)) -> String {
        format!(
            "{}, from {}: {}, {}",
            self.name,
            time::span(*start),
            counted(*packets, "packet"),
            counted(*messages, "message")
        )
    }
}
