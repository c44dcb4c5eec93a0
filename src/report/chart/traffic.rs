//! Packets and messages over time, one panel a protocol.

use plotters::prelude::*;

use super::{ChartError, WIDTH, colour, legend, text, upwards, width_of};
use crate::report::number::grouped;
use crate::report::{ProtocolReport, time};
use crate::tally::Series;

const CHART: &str = "traffic over time";
const HEAD: u32 = 66;
const PANEL: u32 = 150;
const FOOT: u32 = 28;
/// Most buckets across a panel: each keeps a few pixels.
const MOST_BUCKETS: i64 = 200;
/// Most panels; the protocols with most packets are drawn.
const MOST_PANELS: usize = 8;

/// Draws packets and messages in each bucket of time, one panel a protocol. Protocols without
/// packets are left out; with none left the chart says so.
pub fn traffic(protocols: &[&ProtocolReport]) -> Result<String, ChartError> {
    let mut shown: Vec<&ProtocolReport> =
        protocols.iter().copied().filter(|p| p.was_seen()).collect();
    shown.sort_by_key(|protocol| std::cmp::Reverse(protocol.tally.packets.total));
    let left_out = shown.len().saturating_sub(MOST_PANELS);
    shown.truncate(MOST_PANELS);
    let panels: Vec<Panel> = panels(&shown);
    let height = HEAD + PANEL * panels.len().max(1) as u32 + FOOT;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        draw(&root, &panels, left_out).map_err(ChartError::of(CHART))?;
        root.present().map_err(ChartError::of(CHART))?;
    }
    Ok(svg)
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

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn draw(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    panels: &[Panel],
    left_out: usize,
) -> Result<(), Failed> {
    let failed = |error: DrawingAreaErrorKind<_>| Failed::from(error.to_string());
    root.fill(&WHITE).map_err(failed)?;
    let Some(first) = panels.first() else {
        let words = Text::new("No protocol's packet was seen", (16, 14), text(16));
        return root.draw(&words).map_err(failed);
    };
    let title = format!(
        "Traffic over time, per bucket of {}",
        time::span(first.bucket_ns)
    );
    root.draw(&Text::new(title, (16, 12), text(16)))
        .map_err(failed)?;
    legend(
        root,
        (16, 40),
        &[
            ("packets", colour::SKY),
            ("complete messages", colour::BLUE),
        ],
    )
    .map_err(failed)?;
    if left_out > 0 {
        let words = format!("{left_out} protocols with fewer packets are not drawn");
        let at = (WIDTH as i32 - 16 - width_of(&words, 12), 40);
        root.draw(&Text::new(words, at, text(12))).map_err(failed)?;
    }
    let (per_unit, unit) = unit_of(first.end);
    let (_, rest) = root.split_vertically(HEAD);
    let (body, _) = rest.split_vertically(PANEL * panels.len() as u32);
    for (panel, area) in panels.iter().zip(body.split_evenly((panels.len(), 1))) {
        draw_panel(&area, panel, per_unit)?;
    }
    let words = format!("time since the first bucket ({unit})");
    let at = (
        (WIDTH as i32 - width_of(&words, 12)) / 2,
        (HEAD + PANEL * panels.len() as u32 + 6) as i32,
    );
    root.draw(&Text::new(words, at, text(12))).map_err(failed)
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

fn draw_panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    panel: &Panel,
    per_unit: f64,
) -> Result<(), Failed> {
    let failed = |error: DrawingAreaErrorKind<_>| Failed::from(error.to_string());
    let end = panel.end as f64 / per_unit;
    let top = panel.most().max(1) as f64 * 1.05;
    let mut chart = ChartBuilder::on(area)
        .margin_top(24)
        .margin_right(24)
        .margin_left(20)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..top)
        .map_err(failed)?;
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
        .draw()
        .map_err(failed)?;
    let bars = |count: fn(&(i64, u64, u64)) -> u64, from: f64, to: f64| {
        let width = panel.bucket_ns as f64 / per_unit;
        panel
            .buckets
            .iter()
            .filter(move |bucket| count(bucket) > 0)
            .map(move |bucket| {
                let start = bucket.0 as f64 / per_unit;
                [
                    (start + from * width, 0.0),
                    (start + to * width, count(bucket) as f64),
                ]
            })
    };
    let packets = bars(|bucket| bucket.1, 0.05, 0.95);
    chart
        .draw_series(packets.map(|bar| Rectangle::new(bar, colour::SKY.filled())))
        .map_err(failed)?;
    let messages = bars(|bucket| bucket.2, 0.25, 0.75);
    chart
        .draw_series(messages.map(|bar| Rectangle::new(bar, colour::BLUE.filled())))
        .map_err(failed)?;
    area.draw(&Text::new(panel.name.clone(), (84, 4), text(13)))
        .map_err(failed)?;
    let words = Text::new(
        "count",
        (8, (PANEL as i32 + width_of("count", 11)) / 2),
        upwards(11),
    );
    area.draw(&words).map_err(failed)
}
