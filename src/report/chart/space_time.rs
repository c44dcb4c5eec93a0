//! The space–time diagram: a line a process, an arrow a message, from the capture alone.
//!
//! A captured packet tells one time: when it passed the interface. On loopback that is sending and
//! arrival at once, so arrows stand in the order of that time, one below the other, and their slope
//! tells no delay. A frame tells its sender's Lamport timestamp and nothing of the receiver's clock:
//! only what frames alone contradict is marked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use plotters::style::RGBColor;

use super::canvas::{
    Canvas, Drawn, MARGIN, WIDTH, centred, colour, cut, legend_height, rightwards, text, width_of,
};
use super::{Chart, Picture};
use crate::analysis::{MessageLog, MessageSeen};
use crate::protocols;
use crate::report::number::{counted, grouped};
use crate::report::time;

/// Most arrows; a row each.
const MOST_ARROWS: usize = 48;
/// Most lines of processes.
const MOST_PROCESSES: usize = 16;
const ROW: i32 = 18;
/// Room for times at the left, and at most for words at the right.
const LEFT: i32 = 96;
const MOST_RIGHT: i32 = 250;
/// Room for the processes' names.
const NAMES: i32 = 26;

/// Colours of kinds, which have to be told apart as thin lines on white.
const KINDS: [RGBColor; 6] = [
    colour::BLUE,
    colour::ORANGE,
    colour::GREEN,
    colour::PURPLE,
    colour::SKY,
    colour::INK,
];
/// The colour of all further kinds.
const FURTHER: RGBColor = colour::GREY;
/// The colour of contradictions, which no kind has.
const WRONG: RGBColor = colour::RED;

/// How a message's timestamp contradicts others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contradiction {
    /// The message before it on its channel has this timestamp, which is not less.
    Channel(u64),
    /// The same process sent another message with the same timestamp.
    Repeated,
    /// It is its sender's first of an operation of which a message with this timestamp, which is not
    /// less, had come to it before. It crossed that one, or its clock is wrong.
    Crossed(u64),
}

impl Contradiction {
    /// Whether frames prove that a clock was wrong.
    fn is_proven(self) -> bool {
        !matches!(self, Self::Crossed(_))
    }
}

struct Arrow {
    from: usize,
    to: usize,
    at: String,
    label: String,
    words: String,
    lamport: u64,
    colour: RGBColor,
    whole: bool,
    contradiction: Option<Contradiction>,
}

/// What stands in a row of its own before an arrow.
enum Break {
    /// Long nothing passed.
    Silence(String),
    /// A process began anew.
    Restart { line: usize, words: String },
}

struct SpaceTime {
    processes: Vec<u32>,
    arrows: Vec<Arrow>,
    /// By the place of the arrow before which they stand, in the order of their drawing.
    breaks: Vec<(usize, Break)>,
    legend: Vec<(String, RGBColor)>,
    /// Room for words at the right.
    right: i32,
}

/// The messages of a capture's busiest run, or of the part of them that can be drawn; nothing where
/// the log has none.
pub fn space_time(log: &MessageLog) -> Option<Chart> {
    let (protocol, messages, elsewhere) = busiest_run(log)?;
    let contradictions = contradictions(&messages);
    let proven = contradictions
        .values()
        .filter(|one| one.is_proven())
        .count();
    let crossed = contradictions.len() - proven;

    let first_proven = contradictions.iter().find(|(_, one)| one.is_proven());
    let begin = match first_proven {
        Some((at, _)) if *at >= MOST_ARROWS => at - MOST_ARROWS / 2,
        _ => 0,
    };
    let processes = processes_of(&messages[begin..]);
    let next = timestamps_after(&messages);
    let zero = messages[0].time.as_nanos();
    let last = messages[messages.len() - 1].time;
    let span = last.as_nanos().saturating_sub(zero);
    let restarts = restarts(&messages);
    let mut arrows = Vec::new();
    let mut places = Vec::new();
    let mut begun_anew = Vec::new();
    let mut end = begin;
    for (i, message) in messages.iter().enumerate().skip(begin) {
        if arrows.len() == MOST_ARROWS {
            break;
        }
        end = i + 1;
        let line = |process| processes.iter().position(|one| *one == process);
        let label = &message.label;
        if let (Some(_), Some(line)) = (restarts.get(&i), line(label.sender)) {
            let words = format!(
                "process {} begins anew: incarnation {}",
                label.sender, label.incarnation
            );
            begun_anew.push((arrows.len(), Break::Restart { line, words }));
        }
        let (Some(from), Some(to)) = (line(label.sender), line(label.receiver)) else {
            continue;
        };
        let at = offset(message.time.as_nanos().saturating_sub(zero), span);
        let contradiction = contradictions.get(&i).copied();
        arrows.push(Arrow {
            from,
            to,
            words: in_words(message, &at, next[i], contradiction),
            at,
            label: label_of(message, contradiction),
            lamport: label.timestamp,
            colour: FURTHER,
            whole: message.whole,
            contradiction,
        });
        places.push(i);
    }
    let drawn_messages: Vec<&MessageSeen> = places.iter().map(|place| messages[*place]).collect();
    let colours = colours_of(&drawn_messages);
    for (arrow, message) in arrows.iter_mut().zip(&drawn_messages) {
        arrow.colour = colours.of(message.label.kind);
    }
    let mut breaks = silences(&messages, &places);
    breaks.extend(begun_anew);
    // What stands before no arrow has no row.
    breaks.retain(|(before, _)| *before < arrows.len());
    breaks.sort_by_key(|(before, _)| *before);

    let mut about = format!(
        "{} between {} of {protocol} in {}. ",
        counted(messages.len() as u64, "message"),
        processes_in_words(&messages),
        time::span(span),
    );
    about.push_str(&restarts_in_words(&messages, &restarts, zero, span));
    about.push_str(&match (proven, crossed) {
        (0, 0) if !restarts.is_empty() => {
            "Within an incarnation no Lamport timestamp contradicts another.".to_owned()
        }
        (0, 0) => "No Lamport timestamp contradicts another.".to_owned(),
        (0, _) => "No Lamport timestamp is proven wrong.".to_owned(),
        (1, _) => "One Lamport timestamp contradicts another.".to_owned(),
        (n, _) => format!(
            "{} Lamport timestamps contradict others.",
            grouped(n as u64)
        ),
    });
    let mut note =
        "In the order in which they passed the captured interface, times from the first. \
                    A packet on loopback shows sending and arrival at once: slopes show direction, \
                    not delay. Numbers at the arrows' tails: Lamport timestamps."
            .to_owned();
    let drawn = arrows.len();
    if drawn < messages.len() {
        note.push_str(&format!(
            " Drawn: {drawn} of {}, from number {} to number {end}",
            counted(messages.len() as u64, "message"),
            begin + 1,
        ));
        note.push_str(match end - begin > drawn {
            true => ", without those of further processes.",
            false => ".",
        });
    }
    if elsewhere > 0 {
        let others = counted(elsewhere as u64, "message");
        note.push_str(&format!(" Of other runs or protocols: {others}."));
    }
    if log.left_out > 0 {
        note.push_str(" The capture has more than were kept.");
    }
    let mut legend = colours.legend;
    if proven > 0 {
        legend.push((format!("timestamp contradicts another ({proven})"), WRONG));
    }
    let labels = arrows.iter().map(|arrow| width_of(&arrow.label, 11));
    let silent = breaks.iter().map(|(_, one)| match one {
        Break::Silence(words) => width_of(words, 11),
        Break::Restart { .. } => 0,
    });
    let right = (labels.chain(silent).max().unwrap_or(0) + 8 + MARGIN).min(MOST_RIGHT);
    let picture = SpaceTime {
        right,
        processes,
        arrows,
        breaks,
        legend,
    };
    let title = format!("Messages of {protocol} between processes, as captured");
    Some(Chart::new("space-time", title, about, picture).with_note(note))
}

/// The protocol and run with most messages, in time's order, and how many messages there are besides.
fn busiest_run(log: &MessageLog) -> Option<(String, Vec<&MessageSeen>, usize)> {
    let mut runs: BTreeMap<(u16, u64), usize> = BTreeMap::new();
    for message in &log.messages {
        *runs
            .entry((message.label.protocol, message.label.run))
            .or_default() += 1;
    }
    let (run, count) = runs
        .into_iter()
        .max_by_key(|(run, count)| (*count, std::cmp::Reverse(*run)))?;
    let mut messages: Vec<&MessageSeen> = log
        .messages
        .iter()
        .filter(|message| (message.label.protocol, message.label.run) == run)
        .collect();
    messages.sort_by_key(|message| message.time);
    let name = match protocols::by_number(run.0) {
        Some(protocol) => protocol.name.clone(),
        None => format!("protocol {}", run.0),
    };
    Some((name, messages, log.messages.len() - count))
}

/// The processes to draw: those of the first messages, as many as there is room for.
fn processes_of(messages: &[&MessageSeen]) -> Vec<u32> {
    let mut processes = BTreeSet::new();
    for message in messages {
        for process in [message.label.sender, message.label.receiver] {
            if processes.len() < MOST_PROCESSES {
                processes.insert(process);
            }
        }
    }
    processes.into_iter().collect()
}

fn processes_in_words(messages: &[&MessageSeen]) -> String {
    let ends = messages
        .iter()
        .flat_map(|message| [message.label.sender, message.label.receiver]);
    match ends.collect::<BTreeSet<u32>>().len() {
        1 => "1 process".to_owned(),
        n => format!("{} processes", grouped(n as u64)),
    }
}

/// For each message the timestamp of its receiver's next one on the wire.
fn timestamps_after(messages: &[&MessageSeen]) -> Vec<Option<u64>> {
    let mut next: HashMap<u32, u64> = HashMap::new();
    let mut after = vec![None; messages.len()];
    for (i, message) in messages.iter().enumerate().rev() {
        after[i] = next.get(&message.label.receiver).copied();
        next.insert(message.label.sender, message.label.timestamp);
    }
    after
}

/// What the timestamps of frames contradict, by the message's place. Clocks are those of
/// docs/control-protocol.md: a tick a sending, so no two messages of a process have the same, and on a
/// channel they rise with the sequence numbers. Messages on different channels may pass in another
/// order than that of their sending, so their order says nothing.
fn contradictions(messages: &[&MessageSeen]) -> BTreeMap<usize, Contradiction> {
    let mut found = BTreeMap::new();
    // Sender, incarnation and receiver; its messages by sequence number, each with its place.
    let mut channels: BTreeMap<(u32, u32, u32), Vec<(u64, usize)>> = BTreeMap::new();
    let mut stamped: HashMap<(u32, u32, u64), (u32, u64)> = HashMap::new();
    let mut took_part: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut heard: HashMap<(u32, u64), u64> = HashMap::new();
    for (i, message) in messages.iter().enumerate() {
        let label = &message.label;
        let identity = (label.receiver, label.sequence);
        let channel = (label.sender, label.incarnation, label.receiver);
        channels
            .entry(channel)
            .or_default()
            .push((label.sequence, i));
        if label.operation != 0 {
            let first = took_part.insert((label.sender, label.operation));
            let least = heard.get(&(label.sender, label.operation));
            if let Some(least) = least.filter(|least| first && label.timestamp <= **least) {
                found.insert(i, Contradiction::Crossed(*least));
            }
            let least = heard.entry((label.receiver, label.operation));
            let least = least.or_insert(label.timestamp);
            *least = label.timestamp.min(*least);
        }
        let stamp = (label.sender, label.incarnation, label.timestamp);
        // The same message over a second connection is no second message.
        if *stamped.entry(stamp).or_insert(identity) != identity {
            found.insert(i, Contradiction::Repeated);
        }
    }
    for mut channel in channels.into_values() {
        channel.sort_unstable();
        for pair in channel.windows(2) {
            let [(before, earlier), (after, later)] = [pair[0], pair[1]];
            let [earlier, timestamp] =
                [earlier, later].map(|place| messages[place].label.timestamp);
            if before < after && timestamp <= earlier {
                found.insert(later, Contradiction::Channel(earlier));
            }
        }
    }
    found
}

/// Messages that are their sender's first of a later incarnation: a process is started with one more
/// each time (docs/control-protocol.md). By their places, whether the clock began anew, too.
fn restarts(messages: &[&MessageSeen]) -> BTreeMap<usize, bool> {
    // The latest incarnation of a process, and the greatest timestamp that it has had.
    let mut processes: HashMap<u32, (u32, u64)> = HashMap::new();
    let mut found = BTreeMap::new();
    for (i, message) in messages.iter().enumerate() {
        let label = &message.label;
        let clock = (label.incarnation, label.timestamp);
        let (incarnation, greatest) = processes.entry(label.sender).or_insert(clock);
        if label.incarnation > *incarnation {
            found.insert(i, label.timestamp <= *greatest);
        }
        *incarnation = label.incarnation.max(*incarnation);
        *greatest = label.timestamp.max(*greatest);
    }
    found
}

/// At most so many restarts are told one by one.
const MOST_RESTARTS: usize = 3;

fn restarts_in_words(
    messages: &[&MessageSeen],
    restarts: &BTreeMap<usize, bool>,
    zero: i64,
    span: i64,
) -> String {
    let told = restarts.iter().take(MOST_RESTARTS).map(|(i, clock)| {
        let at = offset(messages[*i].time.as_nanos().saturating_sub(zero), span);
        let label = &messages[*i].label;
        format!(
            "Process {} begins anew with a message at {at}, as incarnation {}{}. ",
            label.sender,
            label.incarnation,
            match clock {
                true => ", and its clock goes back",
                false => "",
            }
        )
    });
    let mut words: String = told.collect();
    if restarts.len() > MOST_RESTARTS {
        let more = restarts.len() - MOST_RESTARTS;
        words.push_str(&format!(
            "Processes begin anew {} more. ",
            counted(more as u64, "time")
        ));
    }
    words
}

/// Before which of the drawn messages no message of the run passed for a quarter of what is drawn or
/// longer, and for far longer than is usual.
fn silences(messages: &[&MessageSeen], drawn: &[usize]) -> Vec<(usize, Break)> {
    let time = |place: usize| messages[place].time.as_nanos();
    let (Some(first), Some(last)) = (drawn.first(), drawn.last()) else {
        return Vec::new();
    };
    let all = time(*last).saturating_sub(time(*first));
    // Since the message before, drawn or not.
    let gaps: Vec<i64> = drawn[1..]
        .iter()
        .map(|place| time(*place).saturating_sub(time(place - 1)))
        .collect();
    let mut sorted = gaps.clone();
    sorted.sort_unstable();
    let Some(usual) = sorted.get(sorted.len() / 2) else {
        return Vec::new();
    };
    let is_long = |gap: i64| gap > 0 && gap >= all / 4 && gap >= usual.saturating_mul(10);
    let long = gaps.iter().enumerate().filter(|(_, gap)| is_long(**gap));
    long.map(|(i, gap)| {
        let words = format!("{} without a message", time::span(*gap));
        (i + 1, Break::Silence(words))
    })
    .collect()
}

struct Colours {
    by_kind: BTreeMap<u16, RGBColor>,
    legend: Vec<(String, RGBColor)>,
}

impl Colours {
    fn of(&self, kind: u16) -> RGBColor {
        self.by_kind.get(&kind).copied().unwrap_or(FURTHER)
    }
}

fn colours_of(messages: &[&MessageSeen]) -> Colours {
    let mut counts: BTreeMap<u16, (u64, String)> = BTreeMap::new();
    for message in messages {
        let kind = counts.entry(message.label.kind);
        kind.or_insert_with(|| (0, kind_of(message))).0 += 1;
    }
    let further = counts.len().saturating_sub(KINDS.len());
    let mut kinds: Vec<_> = counts.into_iter().collect();
    // The commonest have colours of their own; the legend has them in the order of their numbers.
    kinds.sort_by_key(|(number, (count, _))| (std::cmp::Reverse(*count), *number));
    let left = kinds.split_off(kinds.len() - further);
    kinds.sort_by_key(|(number, _)| *number);
    let mut colours = Colours {
        by_kind: BTreeMap::new(),
        legend: Vec::new(),
    };
    for ((number, (count, name)), colour) in kinds.into_iter().zip(KINDS) {
        colours.by_kind.insert(number, colour);
        let entry = format!("{name} ({})", grouped(count));
        colours.legend.push((entry, colour));
    }
    let count: u64 = left.iter().map(|(_, (count, _))| count).sum();
    if further > 0 {
        let names = match &left[..] {
            [(_, (_, name))] => name.clone(),
            _ => counted(further as u64, "further kind"),
        };
        let entry = format!("{names} ({})", grouped(count));
        colours.legend.push((entry, FURTHER));
    }
    colours
}

fn kind_of(message: &MessageSeen) -> String {
    protocols::kind_name(message.label.protocol, message.label.kind).into_owned()
}

/// A time since the first message: in one unit, unless the whole is so long that small ones are lost.
fn offset(nanos: i64, span: i64) -> String {
    match span {
        ..10_000_000_000 => format!("{:.3} ms", nanos as f64 / 1e6),
        _ => time::span(nanos),
    }
}

fn label_of(message: &MessageSeen, contradiction: Option<Contradiction>) -> String {
    let mut label = format!("{}, {} B", kind_of(message), grouped(message.length()));
    if contradiction.is_some_and(Contradiction::is_proven) {
        label.push_str(" – wrong timestamp");
    }
    if !message.whole {
        label.push_str(" – incomplete");
    }
    label
}

fn in_words(
    message: &MessageSeen,
    at: &str,
    next: Option<u64>,
    contradiction: Option<Contradiction>,
) -> String {
    let label = &message.label;
    let (from, to, lamport) = (label.sender, label.receiver, label.timestamp);
    let mut words = format!(
        "{}, {from} → {to}, {} B, at {at}, Lamport {lamport}",
        kind_of(message),
        grouped(message.length()),
    );
    if let Some(next) = next {
        words.push_str(&format!("; process {to}'s next message has Lamport {next}"));
    }
    if !message.whole {
        words.push_str("; not all of its bytes passed");
    }
    match contradiction {
        Some(Contradiction::Channel(before)) => words.push_str(&format!(
            "; wrong: the message before it from {from} to {to} has {before}, and timestamps rise on a channel"
        )),
        Some(Contradiction::Repeated) => words.push_str(&format!(
            "; wrong: {from} sent another message with the same timestamp"
        )),
        Some(Contradiction::Crossed(heard)) => words.push_str(&format!(
            "; not later than {heard}, which had come to {from} in the same operation: it crossed that message, or its clock is wrong"
        )),
        None => {}
    }
    words
}

impl SpaceTime {
    fn head(&self) -> i32 {
        legend_height(MARGIN, &self.legend) + 8
    }

    fn x_of(&self, line: usize) -> i32 {
        let breadth = WIDTH - LEFT - self.right - 80;
        let steps = self.processes.len().max(2) as i32 - 1;
        LEFT + 30 + breadth * line as i32 / steps
    }
}

impl Picture for SpaceTime {
    fn height(&self) -> i32 {
        let rows = self.arrows.len() + self.breaks.len();
        self.head() + NAMES + ROW * rows as i32 + 16
    }

    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn {
        canvas.legend((MARGIN, 0), &self.legend)?;
        let top = self.head();
        let bottom = self.height() - 12;
        let apart = self.x_of(1) - self.x_of(0);
        for (line, process) in self.processes.iter().enumerate() {
            let x = self.x_of(line);
            let name = match format!("process {process}") {
                name if width_of(&name, 12) + 10 < apart => name,
                _ => cut(&process.to_string(), 12, apart.max(20)),
            };
            canvas.styled(&name, (x, top + 2), centred(12))?;
            canvas.line(&[(x, top + NAMES - 6), (x, bottom)], colour::GREY, 1)?;
        }
        let mut y = top + NAMES;
        let mut breaks = self.breaks.iter().peekable();
        for (place, arrow) in self.arrows.iter().enumerate() {
            while let Some((_, one)) = breaks.next_if(|(before, _)| *before == place) {
                self.draw_break(canvas, one, y)?;
                y += ROW;
            }
            self.draw_arrow(canvas, arrow, y)?;
            y += ROW;
        }
        Ok(())
    }
}

impl SpaceTime {
    fn draw_break(&self, canvas: &mut Canvas<'_>, one: &Break, top: i32) -> Drawn {
        let interrupt = |x: i32, colour, width| {
            let gap = [(x - 2, top + 5), (x + 2, top + ROW - 5)];
            canvas.rectangle(gap, colour::PAPER)?;
            for y in [top + 5, top + ROW - 5] {
                canvas.line(&[(x - 6, y + 2), (x + 6, y - 2)], colour, width)?;
            }
            Ok(())
        };
        match one {
            Break::Silence(words) => {
                let lines = 0..self.processes.len();
                lines
                    .clone()
                    .try_for_each(|line| interrupt(self.x_of(line), colour::GREY, 1))?;
                let at = (WIDTH - self.right + 8, top + 3);
                let words = cut(words, 11, self.right - 8 - MARGIN);
                canvas.styled(&words, at, text(11).color(&colour::QUIET))
            }
            Break::Restart { line, words } => {
                let x = self.x_of(*line);
                interrupt(x, colour::INK, 2)?;
                let width = width_of(words, 11);
                let left = match x + 14 + width < WIDTH - MARGIN {
                    true => x + 14,
                    false => (x - 14 - width).max(MARGIN),
                };
                let ground = [(left - 4, top + 1), (left + width + 4, top + ROW - 1)];
                canvas.rectangle(ground, colour::PAPER)?;
                canvas.words(words, (left, top + 3), 11)?;
                canvas.mark_area([(x - 8, top), (x + 8, top + ROW)], words.clone());
                Ok(())
            }
        }
    }

    fn draw_arrow(&self, canvas: &mut Canvas<'_>, arrow: &Arrow, top: i32) -> Drawn {
        let from = (self.x_of(arrow.from), top + 4);
        let to = (self.x_of(arrow.to), top + ROW - 4);
        let way = (to.0 - from.0).signum();
        let wrong = arrow.contradiction.is_some_and(Contradiction::is_proven);
        let (colour, width) = match wrong {
            true => (WRONG, 3),
            false => (arrow.colour, 2),
        };
        canvas.styled(
            &arrow.at,
            (LEFT - 12, top + 3),
            rightwards(10).color(&colour::QUIET),
        )?;
        // What did not pass whole has no head and ends on the way.
        let end = match arrow.whole {
            true => (to.0 - way * 7, to.1 - 1),
            false => (
                from.0 + (to.0 - from.0) * 3 / 5,
                from.1 + (to.1 - from.1) * 3 / 5,
            ),
        };
        canvas.line(&[from, end], colour, width)?;
        if arrow.whole {
            let (back, half) = (to.0 - way * 9, 4);
            canvas.polygon(
                &[to, (back, to.1 - half - 1), (back, to.1 + half - 1)],
                colour,
            )?;
        } else {
            for rise in [-4, 4] {
                let cross = [(end.0 - 4, end.1 - rise), (end.0 + 4, end.1 + rise)];
                canvas.line(&cross, colour, 2)?;
            }
        }
        canvas.dot(from, 3, colour)?;
        let lamport = cut(&arrow.lamport.to_string(), 10, 60);
        let tail = match way {
            1.. => from.0 - 6 - width_of(&lamport, 10),
            _ => from.0 + 6,
        };
        canvas.words(lamport, (tail, top), 10)?;
        let right = self.right;
        let label = cut(&arrow.label, 11, right - 8 - MARGIN);
        canvas.words(label, (WIDTH - right + 8, top + 3), 11)?;
        canvas.mark_line(from, to, 10, arrow.words.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Label, Way};
    use crate::units::{FramingBytes, MessageBytes, Timestamp};

    fn message(sender: u32, receiver: u32, sequence: u64, timestamp: u64) -> MessageSeen {
        MessageSeen {
            label: Label {
                protocol: 3,
                kind: 1,
                sender,
                receiver,
                incarnation: 1,
                run: 7,
                operation: 0,
                sequence,
                timestamp,
            },
            body: MessageBytes::new(1),
            framing: FramingBytes::new(56),
            time: Timestamp::from_nanos(1_000_000 * timestamp as i64),
            connection: 0,
            way: Way::ToListener,
            end: 0,
            acknowledged: true,
            whole: true,
        }
    }

    fn log(messages: Vec<MessageSeen>) -> MessageLog {
        MessageLog {
            messages,
            ..MessageLog::default()
        }
    }

    fn found(messages: &[MessageSeen]) -> Vec<(usize, Contradiction)> {
        let messages: Vec<&MessageSeen> = messages.iter().collect();
        contradictions(&messages).into_iter().collect()
    }

    #[test]
    fn an_arrow_a_message_with_its_words() {
        let log = log(vec![message(0, 2, 1, 7), message(2, 0, 1, 9)]);
        let chart = space_time(&log).unwrap();
        let drawing = chart.svg().unwrap();
        let words: Vec<&str> = drawing.marks.iter().map(|mark| &*mark.words).collect();
        assert_eq!(
            words,
            [
                "vote-request, 0 → 2, 57 B, at 0.000 ms, Lamport 7; process 2's next message has Lamport 9",
                "vote-request, 2 → 0, 57 B, at 2.000 ms, Lamport 9"
            ]
        );
        assert_eq!(
            chart.about,
            "2 messages between 2 processes of two-phase-commit in 2.00 ms. \
             No Lamport timestamp contradicts another."
        );
        assert!(drawing.svg.contains("process 2") && !drawing.svg.contains("process 1"));
    }

    #[test]
    fn on_a_channel_timestamps_rise_with_the_sequence_and_between_channels_nothing_is_known() {
        // Sent as 5, 6, 7, and passed in another order on two channels.
        let crossing = [
            message(0, 2, 1, 6),
            message(0, 1, 1, 5),
            message(0, 1, 2, 7),
        ];
        assert_eq!(found(&crossing), []);
        let falls = [message(0, 1, 1, 5), message(0, 1, 2, 4)];
        assert_eq!(found(&falls), [(1, Contradiction::Channel(5))]);
        // A receiver puts them in order by sequence: so does the check.
        let swapped = [message(0, 1, 2, 7), message(0, 1, 1, 5)];
        assert_eq!(found(&swapped), []);
        let mut restarted = [message(0, 1, 1, 5), message(0, 1, 1, 1)];
        restarted[1].label.incarnation = 2;
        assert_eq!(found(&restarted), []);
    }

    #[test]
    fn a_process_stamps_no_two_messages_alike_unless_they_are_one() {
        let twice = [message(0, 1, 1, 5), message(0, 2, 1, 5)];
        assert_eq!(found(&twice), [(1, Contradiction::Repeated)]);
        let again = [message(0, 1, 1, 5), message(0, 1, 1, 5)];
        assert_eq!(found(&again), []);
    }

    #[test]
    fn a_first_message_of_an_operation_not_later_than_what_came_is_told_and_not_called_wrong() {
        let mut crossed = [
            message(0, 1, 1, 5),
            message(1, 0, 1, 5),
            message(1, 0, 2, 6),
        ];
        for message in &mut crossed {
            message.label.operation = 1;
        }
        assert_eq!(found(&crossed), [(1, Contradiction::Crossed(5))]);
        let chart = space_time(&log(crossed.to_vec())).unwrap();
        assert!(
            chart
                .about
                .ends_with("No Lamport timestamp is proven wrong.")
        );
        assert!(!chart.svg().unwrap().svg.contains("wrong timestamp"));
    }

    #[test]
    fn what_is_wrong_is_drawn_however_late_it_comes_and_what_is_not_drawn_is_counted() {
        let mut messages: Vec<_> = (1..=3000).map(|n| message(0, 1, n, n)).collect();
        messages[1999].label.timestamp = 3;
        let chart = space_time(&log(messages)).unwrap();
        let drawing = chart.svg().unwrap();
        assert_eq!(drawing.marks.len(), MOST_ARROWS);
        let wrong = drawing
            .marks
            .iter()
            .filter(|mark| mark.words.contains("wrong"));
        assert_eq!(wrong.count(), 1);
        assert!(
            chart
                .note
                .contains("Drawn: 48 of 3,000 messages, from number 1976 to number 2023."),
            "{}",
            chart.note
        );
        assert!(drawing.svg.contains("timestamp contradicts another (1)"));
    }

    #[test]
    fn more_processes_and_kinds_than_there_is_room_for_are_summarised() {
        let mut messages: Vec<_> = (0..40).map(|n| message(n, n + 1, 1, 1)).collect();
        for (n, message) in messages.iter_mut().enumerate() {
            message.label.kind = n as u16;
            message.time = Timestamp::from_nanos(n as i64);
        }
        messages[39].whole = false;
        messages[0].label.run = 8;
        let chart = space_time(&log(messages)).unwrap();
        let drawing = chart.svg().unwrap();
        assert_eq!(drawing.marks.len(), MOST_PROCESSES - 1);
        assert!(drawing.svg.contains("9 further kinds (9)"));
        assert!(chart.note.contains("without those of further processes"));
        assert!(
            chart
                .note
                .contains("Of other runs or protocols: 1 message.")
        );
    }

    #[test]
    fn a_process_that_begins_anew_is_marked_and_so_is_the_silence_before() {
        let mut messages: Vec<_> = (1..=6).map(|n| message(0, 1, n, n)).collect();
        for (n, message) in (0..).zip(&mut messages[3..]) {
            message.label.incarnation = 2;
            message.label.sequence = 1 + n as u64;
            message.label.timestamp = 1 + n as u64;
            message.time = Timestamp::from_nanos(500_000_000 + 1_000_000 * n);
        }
        let chart = space_time(&log(messages)).unwrap();
        assert_eq!(
            chart.about,
            "6 messages between 2 processes of two-phase-commit in 501.00 ms. \
             Process 0 begins anew with a message at 499.000 ms, as incarnation 2, and its clock \
             goes back. Within an incarnation no Lamport timestamp contradicts another."
        );
        let drawing = chart.svg().unwrap();
        let restart = "process 0 begins anew: incarnation 2";
        let marks = drawing.marks.iter().filter(|mark| mark.words == restart);
        assert_eq!(marks.count(), 1);
        assert!(drawing.svg.contains(restart));
        assert!(drawing.svg.contains("497.00 ms without a message"));
    }

    #[test]
    fn colours_and_counts_are_those_of_what_is_drawn() {
        let mut messages: Vec<_> = (1..=300).map(|n| message(0, 1, n, n)).collect();
        for (n, message) in messages.iter_mut().enumerate() {
            message.label.kind = match n {
                0..48 => (n % 7) as u16,
                _ => 100 + (n % 8) as u16,
            };
        }
        let svg = space_time(&log(messages)).unwrap().svg().unwrap().svg;
        assert_eq!(svg.matches(" (7)\n").count(), 6);
        assert_eq!(svg.matches(" (6)\n").count(), 1);
        assert!(!svg.contains("further kind"));
    }

    #[test]
    fn times_lose_nothing_in_a_long_capture() {
        assert_eq!(offset(1_234_567, 9_000_000_000), "1.235 ms");
        assert_eq!(offset(1_234_567, 315_576_000_000_000_000), "1.23 ms");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(space_time(&MessageLog::default()).is_none());
    }
}
