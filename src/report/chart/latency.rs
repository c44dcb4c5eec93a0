//! How long answers took: the share of them that had come after each span of time.

use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{Canvas, Drawn, MARGIN, WIDTH, centred, colour, legend_height, rightwards};
use super::{Chart, Picture};
use crate::report::number::{counted, grouped};
use crate::report::{ProtocolReport, time};
use crate::tally::Distribution;

/// More lines are not told apart.
const MOST_LINES: usize = 6;
const COLOURS: [RGBColor; MOST_LINES] = [
    colour::BLUE,
    colour::RED,
    colour::GREEN,
    colour::ORANGE,
    colour::PURPLE,
    colour::SKY,
];
const LEFT: i32 = 64;
const RIGHT: i32 = MARGIN + 20;
const PLOT: i32 = 260;
const FOOT: i32 = 48;
/// Thousandths that are marked on each line.
const MARKED: [(u64, &str); 3] = [(500, "half"), (900, "90 %"), (990, "99 %")];

/// A line for each protocol that answered: how large a share of its answers had come within a span of
/// time. `None` where none did.
pub fn latency(protocols: &[&ProtocolReport]) -> Option<Chart> {
    let mut lines: Vec<Line> = protocols
        .iter()
        .filter(|protocol| !protocol.tally.latency.answers().0.is_empty())
        .map(|protocol| Line::of(protocol))
        .collect();
    // The most answers first; of as many, as the report has them.
    lines.sort_by_key(|line| std::cmp::Reverse(line.spans.count));
    let left_out = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    let about: Vec<String> = lines.iter().map(Line::in_words).collect();
    let (first, end) = lines
        .iter()
        .filter_map(Line::range)
        .reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?;
    let picture = Latency {
        axis: Axis::over(first, end),
        swatches: lines
            .iter()
            .zip(COLOURS)
            .map(|(line, colour)| (line.label.clone(), colour))
            .collect(),
        lines,
    };
    let mut note = "By the times of packets where they were captured. Logarithmic axis. \
                    Squares: half, 90 % and 99 % of the answers. \
                    A step is where all of its answers had come; they took at most an eighth less."
        .to_owned();
    if left_out > 0 {
        note.push_str(&format!(
            " {} with fewer answers not drawn.",
            counted(left_out as u64, "protocol")
        ));
    }
    let title = "Share of answers that came within a time";
    Some(Chart::new("latency", title, about.join(" "), picture).with_note(note))
}

struct Latency {
    lines: Vec<Line>,
    axis: Axis,
    swatches: Vec<(String, RGBColor)>,
}

struct Line {
    label: String,
    noun: &'static str,
    spans: Distribution,
}

impl Line {
    fn of(protocol: &ProtocolReport) -> Self {
        let (spans, noun) = protocol.tally.latency.answers();
        Self {
            label: format!("{} ({})", protocol.label(), counted(spans.count, noun)),
            noun,
            spans: spans.clone(),
        }
    }

    fn range(&self) -> Option<(u64, u64)> {
        let (first, _) = self.spans.buckets.first_key_value()?;
        let (last, _) = self.spans.buckets.last_key_value()?;
        Some((*first, Distribution::end_of(*last)))
    }

    fn in_words(&self) -> String {
        let told = MARKED.iter().filter_map(|(thousandths, share)| {
            let (_, end) = self.spans.quantile(*thousandths)?;
            Some(format!("{share} within {}", time::bound(end)))
        });
        format!("{}: {}.", self.label, told.collect::<Vec<_>>().join(", "))
    }

    /// Corners of the line: a span, and how many answers came within it.
    fn corners(&self) -> Vec<(u64, u64)> {
        let mut seen = 0;
        let first = self.spans.buckets.first_key_value();
        let mut corners: Vec<_> = first.map(|(start, _)| (*start, 0)).into_iter().collect();
        for (start, times) in &self.spans.buckets {
            // Where in its bucket a span lies is not known: by the bucket's end it has come.
            let end = Distribution::end_of(*start);
            corners.push((end, seen));
            seen = u64::saturating_add(seen, *times);
            corners.push((end, seen));
        }
        corners
    }
}

/// A logarithmic axis between two of 1, 2 and 5 times a power of ten, in nanoseconds.
struct Axis {
    from: u64,
    to: u64,
}

/// 1, 2 and 5 times each power of ten, as far as there are numbers.
fn round_numbers() -> impl Iterator<Item = u64> {
    (0..=19).flat_map(|power| [1, 2, 5].map(|times| 10_u64.pow(power).saturating_mul(times)))
}

impl Axis {
    fn over(first: u64, end: u64) -> Self {
        let from = round_numbers().take_while(|one| *one <= first.max(1));
        let from = from.last().unwrap_or(1);
        let to = round_numbers().find(|one| *one >= end.max(2) && *one > from);
        Self {
            from,
            to: to.unwrap_or(u64::MAX),
        }
    }

    fn decades(&self) -> f64 {
        (self.to as f64 / self.from as f64).log10()
    }

    /// Where lines stand, and whether they have labels: so that each has the room of 60 pixels, or
    /// near the right of a short axis of 40.
    fn ticks(&self) -> Vec<(u64, bool)> {
        if self.to / self.from <= 5 {
            let power = 10_u64.pow(self.from.ilog10());
            let step = match self.to / power {
                2 => (power / 5).max(1),
                _ => power,
            };
            let count = (self.to - self.from) / step;
            return (0..=count).map(|i| (self.from + i * step, true)).collect();
        }
        let labels = f64::from((WIDTH - LEFT - RIGHT) / 60);
        let every = (self.decades() / labels).ceil().max(1.0) as u32;
        let all = 3.0 * self.decades() <= labels;
        round_numbers()
            .filter(|one| (self.from..=self.to).contains(one))
            .filter_map(|one| {
                let is_power = one == 10_u64.pow(one.ilog10());
                let labelled = all || (is_power && one.ilog10().is_multiple_of(every));
                (all || is_power).then_some((one, labelled))
            })
            .collect()
    }

    fn x(&self, ns: u64) -> i32 {
        let width = f64::from(WIDTH - LEFT - RIGHT);
        let share = (ns.max(1) as f64 / self.from as f64).log10() / self.decades();
        LEFT + (share.clamp(0.0, 1.0) * width).round() as i32
    }
}

/// A round number of nanoseconds in its unit.
fn in_unit(ns: u64) -> String {
    let thousands = (ns.ilog10() / 3).min(3);
    let unit = ["ns", "µs", "ms", "s"][thousands as usize];
    let one = 1000_u64.pow(thousands);
    match ns % one {
        0 => format!("{} {unit}", grouped(ns / one)),
        _ => format!("{:.1} {unit}", ns as f64 / one as f64),
    }
}

impl Latency {
    fn top(&self) -> i32 {
        legend_height(MARGIN, &self.swatches) + 12
    }

    fn y(&self, seen: u64, count: u64) -> i32 {
        let share = seen as f64 / count.max(1) as f64;
        self.top() + PLOT - (share * f64::from(PLOT)).round() as i32
    }
}

impl Picture for Latency {
    fn height(&self) -> i32 {
        self.top() + PLOT + FOOT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        canvas.legend((MARGIN, 0), &self.swatches)?;
        let (right, bottom) = (WIDTH - RIGHT, self.top() + PLOT);
        for percent in [0, 25, 50, 75, 90, 100] {
            let y = self.y(percent, 100);
            canvas.line(&[(LEFT, y), (right, y)], colour::RULE, 1)?;
            let middle = rightwards(12).pos(Pos::new(HPos::Right, VPos::Center));
            canvas.styled(&format!("{percent} %"), (LEFT - 8, y), middle)?;
        }
        for (ns, is_labelled) in self.axis.ticks() {
            let x = self.axis.x(ns);
            canvas.line(&[(x, self.top()), (x, bottom + 4)], colour::RULE, 1)?;
            if is_labelled {
                canvas.styled(&in_unit(ns), (x, bottom + 7), centred(12))?;
            }
        }
        canvas.line(&[(LEFT, bottom), (right, bottom)], colour::INK, 1)?;
        let middle = ((LEFT + right) / 2, bottom + 26);
        canvas.styled("time from the request to its answer", middle, centred(12))?;
        for (line, colour) in self.lines.iter().zip(COLOURS) {
            let corners = line.corners();
            let places: Vec<_> = corners
                .iter()
                .map(|(ns, seen)| (self.axis.x(*ns), self.y(*seen, line.spans.count)))
                .collect();
            canvas.line(&places, colour, 2)?;
            for (thousandths, share) in MARKED {
                let Some((_, end)) = line.spans.quantile(thousandths) else {
                    continue;
                };
                let within = corners
                    .iter()
                    .rev()
                    .find(|(ns, _)| *ns == end)
                    .map_or(0, |(_, seen)| *seen);
                let (x, y) = (self.axis.x(end), self.y(within, line.spans.count));
                canvas.rectangle([(x - 3, y - 3), (x + 3, y + 3)], colour)?;
                let words = format!(
                    "{}: {share} of the {} within {}",
                    line.label,
                    plural(line.noun),
                    time::bound(end)
                );
                canvas.mark_area([(x - 8, y - 8), (x + 8, y + 8)], words);
            }
        }
        Ok(())
    }
}

fn plural(noun: &str) -> &'static str {
    match noun {
        "reply" => "replies",
        _ => "answers",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_lies_close_around_whatever_was_seen() {
        for (first, end, from, to) in [
            (0, 1, 1, 2),
            (1, 2, 1, 2),
            (100, 1000, 100, 1000),
            (100, 1001, 100, 2000),
            (480_000, 917_504, 200_000, 1_000_000),
            (500_000, 917_504, 500_000, 1_000_000),
            (1_100_000, 1_900_000, 1_000_000, 2_000_000),
            (0, u64::MAX, 1, u64::MAX),
        ] {
            let axis = Axis::over(first, end);
            assert_eq!((axis.from, axis.to), (from, to), "{first} to {end}");
            assert_eq!(axis.x(0), LEFT.max(axis.x(1)));
            let ticks = axis.ticks();
            assert!(ticks.len() >= 2 && ticks.len() < 40, "{ticks:?}");
            let labels: Vec<i32> = ticks
                .iter()
                .filter(|(_, labelled)| *labelled)
                .map(|(ns, _)| axis.x(*ns))
                .collect();
            assert!(
                labels.windows(2).all(|pair| pair[1] - pair[0] >= 30),
                "{labels:?}"
            );
        }
        assert_eq!(
            [1, 20_000, 1_200_000, 100_000_000_000].map(in_unit),
            ["1 ns", "20 µs", "1.2 ms", "100 s"]
        );
    }

    #[test]
    fn a_line_rises_from_no_answer_to_all_of_them() {
        let mut spans = Distribution::default();
        for ns in [0, 100, 100, 5_000] {
            spans.add(ns);
        }
        let line = Line {
            label: "x".into(),
            noun: "answer",
            spans,
        };
        assert_eq!(
            line.corners(),
            [
                (0, 0),
                (1, 0),
                (1, 1),
                (104, 1),
                (104, 3),
                (5120, 3),
                (5120, 4)
            ]
        );
        assert_eq!(
            line.in_words(),
            "x: half within 104 ns, 90 % within 5.12 µs, 99 % within 5.12 µs."
        );
    }
}
