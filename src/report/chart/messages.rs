//! Messages by algorithm: formula, sent, received and wire side by side.

use plotters::style::RGBColor;

use super::axis::{round_steps, short};
use super::canvas::{Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, legend_height, width_of};
use super::{Chart, Picture};
use crate::audit::{Expected, Row, Verdict};
use crate::report::ProtocolReport;
use crate::report::number::{counted, grouped};

const BAR: i32 = 13;
/// Between algorithms.
const GAP: i32 = 14;
const FOOT: i32 = 44;
/// Widest column of names; longer names are cut.
const MOST_NAME: i32 = 220;
/// Room for a number behind the longest bar.
const NUMBER: i32 = 130;

const FORMULA: RGBColor = colour::GREY;

/// One algorithm's messages by each account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    name: String,
    verdict: Option<Verdict>,
    /// By the formula, at least and at most; nothing where a kind has none.
    formula: Option<(u64, u64)>,
    /// By its nodes' ledger: taken by the kernel, and decoded by receivers.
    nodes: Option<(u64, u64)>,
    /// Attempted and not sent, by why.
    not_sent: Vec<String>,
    /// Complete messages in the capture.
    wire: u64,
    /// Whether the wire's framing only approximates messages.
    approximate: bool,
}

impl Accounts {
    /// Of a protocol, with the rows that an audit has of it.
    pub fn of(name: String, protocol: Option<&ProtocolReport>, rows: &[&Row]) -> Self {
        let ends = |row: &&Row| match row.expected? {
            Expected::Number(number) => Some((number.get(), number.get())),
            Expected::Interval { low, high } => Some((low.get(), high.get())),
        };
        let sum = |ends: Vec<(u64, u64)>| {
            let add = |(low, high): (u64, u64), (a, b): (u64, u64)| {
                (low.saturating_add(a), high.saturating_add(b))
            };
            ends.into_iter().fold((0, 0), add)
        };
        let total = |of: fn(&Row) -> u64| {
            let counts = rows.iter().map(|row| of(row));
            counts.fold(0, u64::saturating_add)
        };
        let audited = !rows.is_empty();
        let not_sent = [
            ("refused", total(|row| row.refused.get())),
            ("suppressed", total(|row| row.suppressed.get())),
        ];
        let not_sent = not_sent.into_iter().filter(|(_, count)| *count > 0);
        let formula: Option<Vec<_>> = rows.iter().map(ends).collect();
        Self {
            name,
            verdict: rows.iter().map(|row| row.verdict).max(),
            not_sent: not_sent
                .map(|(why, count)| format!("{} {why}", grouped(count)))
                .collect(),
            formula: formula.filter(|_| audited).map(sum),
            nodes: audited.then(|| (total(|row| row.sent.get()), total(|row| row.received.get()))),
            wire: match (audited, protocol) {
                (false, Some(protocol)) => protocol.tally.messages.get(),
                _ => total(|row| row.wire.get()),
            },
            approximate: protocol.is_some_and(|protocol| protocol.tally.approximate),
        }
    }

    /// Name, colour, length and what goes on from there, of each bar.
    fn bars(&self) -> Vec<(&'static str, RGBColor, u64, u64)> {
        let formula = self
            .formula
            .map(|(low, high)| ("formula", FORMULA, low, high));
        let nodes = self.nodes.into_iter().flat_map(|(sent, received)| {
            [
                ("sent", colour::ORANGE, sent, sent),
                ("received", colour::GREEN, received, received),
            ]
        });
        let wire = ("wire", colour::BLUE, self.wire, self.wire);
        formula.into_iter().chain(nodes).chain([wire]).collect()
    }

    fn height(&self) -> i32 {
        match self.bars().len() as i32 {
            1 if self.verdict.is_none() => BAR + GAP,
            bars => BAR * bars.max(2) + GAP,
        }
    }

    /// The verdict, and what kept messages from being sent; nothing without an audit.
    fn judgement(&self) -> Option<String> {
        let verdict = self.verdict?.to_string();
        let words = [&[verdict], &*self.not_sent].concat();
        Some(words.join(", "))
    }

    fn in_words(&self) -> String {
        let bars: Vec<String> = self
            .bars()
            .into_iter()
            .map(|(name, _, low, high)| format!("{name} {}", interval(low, high)))
            .collect();
        let verdict = self.judgement().map(|words| format!(": {words}"));
        format!(
            "{}: {}{}.",
            self.name,
            bars.join(", "),
            verdict.unwrap_or_default()
        )
    }
}

fn interval(low: u64, high: u64) -> String {
    match low == high {
        true => grouped(low),
        false => format!("{} to {}", grouped(low), grouped(high)),
    }
}

/// Each algorithm's messages by formula, nodes and wire; nothing where there are none to show.
pub fn messages(algorithms: Vec<Accounts>) -> Option<Chart> {
    let any = |accounts: &Accounts| accounts.bars().iter().any(|(_, _, _, most)| *most > 0);
    if !algorithms.iter().any(any) {
        return None;
    }
    let words: Vec<String> = algorithms.iter().map(Accounts::in_words).collect();
    let audited = algorithms.iter().any(|accounts| accounts.nodes.is_some());
    let interval = |accounts: &Accounts| accounts.formula.is_some_and(|(low, high)| low < high);
    let mut note = match audited {
        true => "Formula: attempted messages. Sent: taken by the kernel. Received: decoded by the \
                 receiver. Wire: complete messages in the capture."
            .to_owned(),
        false => "Complete messages in the capture; nothing was held against them.".to_owned(),
    };
    if algorithms.iter().any(interval) {
        note.push_str(" Where the formula is an interval, its upper part is pale.");
    }
    if algorithms.iter().any(|accounts| accounts.approximate) {
        note.push_str(" Where it says about, the framing only approximates messages.");
    }
    let title = match audited {
        true => "Messages by algorithm: formula, nodes and wire",
        false => "Messages by protocol, on the wire",
    };
    let picture = MessageBars { algorithms };
    Some(Chart::new("messages", title, words.join(" "), picture).with_note(note))
}

struct MessageBars {
    algorithms: Vec<Accounts>,
}

impl MessageBars {
    fn legend(&self) -> Vec<(&'static str, RGBColor)> {
        let mut legend: Vec<(&'static str, RGBColor)> = Vec::new();
        let mut bars: Vec<_> = self.algorithms.iter().flat_map(Accounts::bars).collect();
        let order = ["formula", "sent", "received", "wire"];
        bars.sort_by_key(|(name, ..)| order.iter().position(|one| one == name));
        for (name, colour, ..) in bars {
            if legend.iter().all(|(known, _)| *known != name) {
                legend.push((name, colour));
            }
        }
        legend
    }

    fn head(&self) -> i32 {
        legend_height(MARGIN, &self.legend()) + 6
    }
}

impl Picture for MessageBars {
    fn height(&self) -> i32 {
        self.head() + self.algorithms.iter().map(Accounts::height).sum::<i32>() + FOOT
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        canvas.legend((MARGIN, 0), &self.legend())?;
        let names = self.algorithms.iter().map(|one| width_of(&one.name, 13));
        let verdicts = self.algorithms.iter().filter_map(Accounts::judgement);
        let verdicts: Vec<i32> = verdicts.map(|words| width_of(&words, 11)).collect();
        let widest = names.chain(verdicts).max().unwrap_or(0).min(MOST_NAME);
        let left = MARGIN + widest + 12;
        let breadth = WIDTH - MARGIN - NUMBER - left;
        let lengths = self.algorithms.iter().flat_map(Accounts::bars);
        let steps = round_steps(lengths.map(|(_, _, _, most)| most).max().unwrap_or(0));
        let end = steps.last().copied().unwrap_or(1).max(1);
        let x_of = |count: u64| left + (count as f64 / end as f64 * f64::from(breadth)) as i32;
        let bottom = self.height() - FOOT;
        for step in &steps {
            let x = x_of(*step);
            canvas.line(&[(x, self.head()), (x, bottom)], colour::RULE, 1)?;
            canvas.styled(&short(*step), (x, bottom + 4), centred(11))?;
        }
        canvas.styled("messages", (left + breadth / 2, bottom + 22), centred(12))?;
        let mut top = self.head();
        for accounts in &self.algorithms {
            canvas.words(cut(&accounts.name, 13, widest), (MARGIN, top), 13)?;
            if let Some(words) = accounts.judgement() {
                let style = super::canvas::text(11).color(&colour::QUIET);
                canvas.styled(&cut(&words, 11, widest), (MARGIN, top + 17), style)?;
            }
            for (i, (name, colour, low, high)) in accounts.bars().into_iter().enumerate() {
                let y = top + BAR * i as i32;
                let at = |count| (x_of(count), y + BAR - 2);
                canvas.rectangle([(left, y), at(low)], colour)?;
                canvas.rectangle([(x_of(low), y), at(high)], colour::RULE)?;
                let mut number = interval(low, high);
                if width_of(&number, 11) > NUMBER - 20 {
                    number = match low == high {
                        true => short(low),
                        false => format!("{} to {}", short(low), short(high)),
                    };
                }
                if name == "wire" && accounts.approximate {
                    number.insert_str(0, "about ");
                }
                canvas.words(cut(&number, 11, NUMBER), (x_of(high) + 5, y - 1), 11)?;
                let count = match low == high {
                    true => counted(low, "message"),
                    false => format!("{} messages", interval(low, high)),
                };
                let words = format!("{}: {name}, {count}", accounts.name);
                let bar = [(left, y), (x_of(high).max(left + 8), y + BAR)];
                canvas.mark_area(bar, words);
            }
            top += accounts.height();
        }
        canvas.line(&[(left, self.head()), (left, bottom)], colour::GREY, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Messages;

    fn row(kind: &str, expected: Option<Expected>, [sent, received, wire]: [u64; 3]) -> Row {
        let count = Messages::new;
        Row {
            protocol: "raft".to_owned(),
            kind: kind.to_owned(),
            expected,
            attempted: count(sent),
            suppressed: count(0),
            refused: count(0),
            sent: count(sent),
            unknown: count(0),
            acknowledged: count(0),
            received: count(received),
            handled: count(received),
            wire: count(wire),
            verdict: Verdict::Within,
            explanation: String::new(),
            formula: None,
        }
    }

    fn accounts(rows: &[Row]) -> Accounts {
        let rows: Vec<&Row> = rows.iter().collect();
        Accounts::of("raft".to_owned(), None, &rows)
    }

    #[test]
    fn accounts_add_up_over_kinds() {
        let number = Some(Expected::Number(Messages::new(3)));
        let interval = Some(Expected::Interval {
            low: Messages::new(1),
            high: Messages::new(5),
        });
        let accounts = accounts(&[
            row("vote", number, [3, 3, 3]),
            row("heartbeat", interval, [4, 2, 3]),
        ]);
        assert_eq!(
            accounts.in_words(),
            "raft: formula 4 to 8, sent 7, received 5, wire 6: within."
        );
        let drawing = messages(vec![accounts]).unwrap().svg().unwrap();
        let words: Vec<&str> = drawing.marks.iter().map(|mark| &*mark.words).collect();
        assert_eq!(
            words,
            [
                "raft: formula, 4 to 8 messages",
                "raft: sent, 7 messages",
                "raft: received, 5 messages",
                "raft: wire, 6 messages"
            ]
        );
    }

    /// A sum over the kinds that have a formula would look like the formula of all.
    #[test]
    fn a_kind_without_a_formula_leaves_the_sum_without_one() {
        let number = Some(Expected::Number(Messages::new(3)));
        let mut rows = [row("vote", number, [3; 3]), row("ping", None, [9; 3])];
        rows[1].refused = Messages::new(2);
        assert_eq!(
            accounts(&rows).in_words(),
            "raft: sent 12, received 12, wire 12: within, 2 refused."
        );
    }

    #[test]
    fn nothing_counted_is_nothing_drawn_and_a_zero_beside_others_is() {
        assert!(messages(vec![accounts(&[row("vote", None, [0; 3])])]).is_none());
        let both = [row("vote", None, [0; 3]), row("vote", None, [u64::MAX; 3])];
        let chart = messages(both.map(|row| accounts(&[row])).to_vec()).unwrap();
        let drawing = chart.svg().unwrap();
        assert_eq!(drawing.marks.len(), 6);
        assert!(drawing.svg.contains("18.4 E"));
        assert!(
            drawing.marks[3]
                .words
                .contains("18,446,744,073,709,551,615")
        );
    }
}
