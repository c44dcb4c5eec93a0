//! Who talks to whom: a matrix with a row a sender and a column a receiver.

use std::collections::{BTreeMap, BTreeSet};

use plotters::style::RGBColor;

use super::axis::{short, short_bytes};
use super::canvas::{
    Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, rightwards, upwards, width_of,
};
use super::{Chart, Picture};
use crate::report::ProtocolReport;
use crate::report::number::counted;
use crate::tally::{End, OTHERS, PairTally};

/// Most ends with a row and column of their own.
const MOST_ENDS: usize = 25;
const MOST_CELL: i32 = 78;
/// Least width of the column of others.
const LEAST_OTHERS: i32 = 44;
/// Room for what each sent in all.
const TOTALS: i32 = 150;
/// Longest names of rows and of upright columns; longer ones are cut.
const MOST_NAME: i32 = 180;
const MOST_HEAD: i32 = 140;

/// The matrix of the protocol with most messages, or most payload where no message has a sender;
/// nothing where no pair is known.
pub fn pairs(protocols: &[&ProtocolReport]) -> Option<Chart> {
    let with_pairs = protocols.iter().filter(|one| !one.tally.pairs.is_empty());
    let weight = |one: &&&ProtocolReport| {
        let pairs = one.tally.pairs.values();
        let sum = pairs.fold((0, 0), |(messages, payload), pair| {
            (
                u64::saturating_add(messages, pair.messages.get()),
                u64::saturating_add(payload, pair.payload.get()),
            )
        });
        (sum, std::cmp::Reverse(one.tally.place))
    };
    let protocol = with_pairs.clone().max_by_key(weight)?;
    let others = with_pairs.count() - 1;
    let name = protocol.label();
    let matrix = Matrix::of(protocol);
    let named = |end: &usize| matrix.ends[*end].as_str();
    let mut busiest: Vec<_> = matrix.cells.iter().collect();
    busiest.sort_by_key(|(_, cell)| std::cmp::Reverse(matrix.weight(cell)));
    let all = matrix.total(|_| true);
    let mut about = format!(
        "{name}: {} with {} of payload, between {}.",
        counted(all.messages.get(), "message"),
        counted(all.payload.get(), "byte"),
        counted(matrix.ends.len() as u64, "end"),
    );
    if let Some(((from, to), cell)) = busiest.first() {
        about.push_str(&format!(
            " Most went from {} to {}: {}.",
            named(from),
            named(to),
            in_words(cell)
        ));
    }
    let mut note = match matrix.by_messages {
        true => "Rows send, columns receive. Messages in each cell".to_owned(),
        false => {
            "Rows send, columns receive. No message is known by its sender: bytes of payload in \
                  each cell"
                .to_owned()
        }
    };
    note.push_str(match matrix.has_room_for_bytes() {
        true => ", their payload with framing below. The darker, the more.",
        false => ". The darker, the more.",
    });
    if matrix.summed_up > 0 {
        let ends = counted(matrix.summed_up as u64, "further end");
        let (are, many) = match (matrix.summed_up, matrix.by_messages) {
            (1, true) => ("is", "messages"),
            (1, false) => ("is", "bytes"),
            (_, true) => ("are", "messages"),
            (_, false) => ("are", "bytes"),
        };
        note.push_str(&format!(
            " {ends}, none with more {many} than those shown, {are} summed up as others."
        ));
    }
    if others > 0 {
        let others = counted(others as u64, "protocol");
        note.push_str(&format!(" Not drawn: {others} with less."));
    }
    let title = format!("Who talks to whom: {name}");
    Some(Chart::new("pairs", title, about, matrix).with_note(note))
}

fn in_words(cell: &PairTally) -> String {
    format!(
        "{}, {}",
        counted(cell.messages.get(), "message"),
        counted(cell.payload.get(), "byte")
    )
}

struct Matrix {
    ends: Vec<String>,
    /// Width of the longest of their names.
    widest: i32,
    /// By the places of sender and receiver.
    cells: BTreeMap<(usize, usize), PairTally>,
    by_messages: bool,
    /// Ends that are summed up in the last row and column.
    summed_up: usize,
}

/// Processes by number, then addresses in order, then what is neither.
fn order(name: &str) -> (bool, Option<End>, &str) {
    let end = name.parse().ok();
    (end.is_none(), end, name)
}

impl Matrix {
    fn of(protocol: &ProtocolReport) -> Self {
        let pairs = &protocol.tally.pairs;
        let by_messages = pairs.values().any(|pair| pair.messages.get() > 0);
        let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
        for (pair, tally) in pairs {
            for end in [&pair.from, &pair.to] {
                let weight = weights.entry(end).or_default();
                *weight = weight.saturating_add(match by_messages {
                    true => tally.messages.get(),
                    false => tally.payload.get(),
                });
            }
        }
        weights.remove(OTHERS);
        let mut ends: Vec<(&str, u64)> = weights.into_iter().collect();
        let mut summed_up = 0;
        if ends.len() > MOST_ENDS {
            ends.sort_by_key(|(name, weight)| (std::cmp::Reverse(*weight), order(name)));
            summed_up = ends.len() - (MOST_ENDS - 1);
            ends.truncate(MOST_ENDS - 1);
        }
        let mut ends: Vec<&str> = ends.into_iter().map(|(name, _)| name).collect();
        ends.sort_by_key(|name| order(name));
        let place = |name: &str| {
            ends.iter()
                .position(|end| *end == name)
                .unwrap_or(ends.len())
        };
        let mut cells: BTreeMap<(usize, usize), PairTally> = BTreeMap::new();
        for (pair, tally) in pairs {
            let cell = cells.entry((place(&pair.from), place(&pair.to)));
            cell.or_default().merge(tally);
        }
        let used: BTreeSet<usize> = cells.keys().flat_map(|(from, to)| [*from, *to]).collect();
        let mut ends: Vec<String> = ends.into_iter().map(str::to_owned).collect();
        if used.contains(&ends.len()) {
            ends.push(OTHERS.to_owned());
        }
        let widths = ends.iter().map(|end| width_of(end, 12));
        Self {
            widest: widths.max().unwrap_or(0),
            ends,
            cells,
            by_messages,
            summed_up,
        }
    }

    fn weight(&self, cell: &PairTally) -> u64 {
        match self.by_messages {
            true => cell.messages.get(),
            false => cell.payload.get(),
        }
    }

    fn total(&self, of: impl Fn(&(usize, usize)) -> bool) -> PairTally {
        let mut total = PairTally::default();
        for (_, cell) in self.cells.iter().filter(|(at, _)| of(at)) {
            total.merge(cell);
        }
        total
    }

    /// Width of the column of names.
    fn names(&self) -> i32 {
        self.widest.clamp(20, MOST_NAME)
    }

    fn left(&self) -> i32 {
        MARGIN + 18 + self.names() + 10
    }

    fn has_others(&self) -> bool {
        self.ends.last().is_some_and(|end| end == OTHERS)
    }

    /// Width of a column but that of others.
    fn cell(&self) -> i32 {
        let room = WIDTH - MARGIN - TOTALS - self.left();
        let (room, columns) = match self.has_others() {
            true if self.ends.len() > 1 => (room - LEAST_OTHERS, self.ends.len() - 1),
            _ => (room, self.ends.len()),
        };
        (room / columns.max(1) as i32).min(MOST_CELL)
    }

    /// Width of a column. That of others sums many up and has room for their larger numbers.
    fn breadth(&self, column: usize) -> i32 {
        match self.has_others() && column + 1 == self.ends.len() {
            true => self.cell().max(LEAST_OTHERS),
            false => self.cell(),
        }
    }

    fn has_room_for_bytes(&self) -> bool {
        self.by_messages && self.cell() >= 52
    }

    fn is_upright(&self) -> bool {
        self.widest > self.cell() - 4
    }

    /// Height of the columns' names.
    fn head(&self) -> i32 {
        let names = match self.is_upright() {
            true => self.names().min(MOST_HEAD),
            false => 16,
        };
        18 + names + 6
    }

    fn height_of_row(&self) -> i32 {
        self.cell().min(46)
    }
}

/// A shade between pale and dark blue.
fn shade(weight: u64, most: u64) -> RGBColor {
    // By the square root, so that a tenth is not next to nothing.
    let share = (weight as f64 / most.max(1) as f64).sqrt();
    let between = |pale: u8, dark: u8| {
        (f64::from(pale) + share * (f64::from(dark) - f64::from(pale))).round() as u8
    };
    RGBColor(between(226, 0), between(240, 84), between(250, 140))
}

impl Picture for Matrix {
    fn height(&self) -> i32 {
        self.head() + self.height_of_row() * self.ends.len() as i32 + 12
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        let (left, top) = (self.left(), self.head());
        let (cell, row) = (self.cell(), self.height_of_row());
        let ends = self.ends.len() as i32;
        let last = self.ends.len().saturating_sub(1);
        let right = left + cell * last as i32 + self.breadth(last);
        let bottom = top + row * ends;
        canvas.styled("to", ((left + right) / 2, 0), centred(12))?;
        let from = ((top + bottom) + width_of("from", 12)) / 2;
        canvas.styled("from", (MARGIN, from), upwards(12))?;
        canvas.words("sent in all", (right + 12, top - 20), 12)?;
        for (i, end) in self.ends.iter().enumerate() {
            let (x, y) = (left + cell * i as i32, top + row * i as i32);
            let breadth = self.breadth(i);
            let name = cut(end, 12, self.names());
            canvas.styled(&name, (left - 8, y + row / 2 - 7), rightwards(12))?;
            match self.is_upright() {
                true => {
                    let name = cut(end, 12, MOST_HEAD);
                    canvas.styled(&name, (x + breadth / 2 - 7, top - 6), upwards(12))?;
                }
                false => canvas.styled(end, (x + breadth / 2, top - 20), centred(12))?,
            }
            let sent = self.total(|(from, _)| *from == i);
            let words = match self.by_messages {
                true => format!(
                    "{}, {}",
                    short(sent.messages.get()),
                    short_bytes(sent.payload.get())
                ),
                false => short_bytes(sent.payload.get()),
            };
            canvas.words(cut(&words, 11, TOTALS), (right + 12, y + row / 2 - 7), 11)?;
            // Nobody sends to itself over a network.
            let itself = [(x + 1, y + 1), (x + breadth - 1, y + row - 1)];
            canvas.rectangle(itself, colour::NOTHING)?;
        }
        let weights = self.cells.values().map(|cell| self.weight(cell));
        let most = weights.max().unwrap_or(0);
        for ((from, to), tally) in &self.cells {
            let (x, y) = (left + cell * *to as i32, top + row * *from as i32);
            let fill = shade(self.weight(tally), most);
            let breadth = self.breadth(*to);
            let corners = [(x + 1, y + 1), (x + breadth - 1, y + row - 1)];
            canvas.rectangle(corners, fill)?;
            let ink = &colour::ink_on(fill);
            let size = if cell >= 36 { 12 } else { 10 };
            let weight = match self.by_messages {
                true => short(tally.messages.get()),
                false => short_bytes(tally.payload.get()),
            };
            let below = match self.has_room_for_bytes() {
                true => short_bytes(tally.payload.get()),
                false => String::new(),
            };
            let first = match below.is_empty() {
                true => y + row / 2 - size as i32 / 2 - 1,
                false => y + row / 2 - size as i32 - 3,
            };
            for (words, at, size) in [(weight, first, size), (below, y + row / 2 + 2, 10)] {
                if width_of(&words, size) <= breadth - 4 {
                    let middle = x + breadth / 2;
                    canvas.styled(&words, (middle, at), centred(size).color(ink))?;
                }
            }
            let (from, to) = (&self.ends[*from], &self.ends[*to]);
            canvas.mark_area(corners, format!("{from} → {to}: {}", in_words(tally)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::Library;
    use crate::report::{Models, protocol_report};
    use crate::tally::{Pair, ProtocolTally};
    use crate::units::{Messages, PayloadBytes};

    fn report(pairs: impl IntoIterator<Item = (String, String, u64, u64)>) -> ProtocolReport {
        let pairs = pairs.into_iter().map(|(from, to, messages, payload)| {
            let tally = PairTally {
                messages: Messages::new(messages),
                payload: PayloadBytes::new(payload),
            };
            (Pair { from, to }, tally)
        });
        let tally = ProtocolTally {
            name: "raft".to_owned(),
            pairs: pairs.collect(),
            ..ProtocolTally::default()
        };
        let library = Library::built_in();
        let grid = library.grid("us-2018").unwrap();
        protocol_report(&tally, &Models::of(&library, grid).unwrap())
    }

    #[test]
    fn a_cell_a_pair_in_the_order_of_processes() {
        let name = |n: u32| n.to_string();
        let report = report([
            (name(10), name(2), 3, 180),
            (name(2), name(10), 1, 60),
            (name(9), name(2), 1, 61),
        ]);
        let chart = pairs(&[&report]).unwrap();
        let drawing = chart.svg().unwrap();
        let words: Vec<&str> = drawing.marks.iter().map(|mark| &*mark.words).collect();
        assert_eq!(
            words,
            [
                "2 → 10: 1 message, 60 bytes",
                "9 → 2: 1 message, 61 bytes",
                "10 → 2: 3 messages, 180 bytes"
            ]
        );
        assert_eq!(
            chart.about,
            "raft: 5 messages with 301 bytes of payload, between 3 ends. \
             Most went from 10 to 2: 3 messages, 180 bytes."
        );
    }

    #[test]
    fn beyond_25_ends_the_quiet_ones_are_summed_up_and_none_is_lost() {
        let ring = (0..40_u32).map(|n| {
            let to = (n + 1) % 40;
            (n.to_string(), to.to_string(), u64::from(n) + 1, 60)
        });
        let report = report(ring);
        let matrix = Matrix::of(&report);
        assert_eq!((matrix.ends.len(), matrix.summed_up), (25, 16));
        assert_eq!(matrix.total(|_| true).messages.get(), 820);
        let chart = pairs(&[&report]).unwrap();
        assert!(
            chart.note.ends_with(
                " 16 further ends, none with more messages than those shown, are summed up as others."
            ),
            "{}",
            chart.note
        );
        assert!(chart.svg().unwrap().svg.contains(">\nothers\n<"));
    }

    #[test]
    fn of_ends_with_as_much_the_first_by_number_are_shown_and_every_cell_has_its_number() {
        let all = (0..40_u32).flat_map(|from| (0..40_u32).map(move |to| (from, to)));
        let report = report(
            all.filter(|(from, to)| from != to)
                .map(|(from, to)| (from.to_string(), to.to_string(), 2, 178)),
        );
        let matrix = Matrix::of(&report);
        let shown: Vec<String> = (0..24).map(|n| n.to_string()).collect();
        assert_eq!(matrix.ends[..24], shown);
        assert_eq!(matrix.ends[24], OTHERS);
        // 16 others send 2 messages to each of 15.
        let svg = pairs(&[&report]).unwrap().svg().unwrap().svg;
        assert_eq!(svg.matches(">\n480\n<").count(), 1);
    }

    #[test]
    fn where_no_message_has_a_sender_payload_is_shown() {
        let name = "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535";
        let report = report([("10.0.0.1".to_owned(), name.to_owned(), 0, u64::MAX)]);
        let chart = pairs(&[&report]).unwrap();
        assert!(chart.note.contains("bytes of payload in each cell"));
        assert!(chart.svg().unwrap().svg.contains("18.4 EB"));
        assert!(pairs(&[&super::tests::report([])]).is_none());
    }
}
