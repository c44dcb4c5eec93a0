//! One stream's reassembly against a model that remembers every position.
//!
//! The model knows what a passive observer can know, and no more. What it leaves open, and why:
//!
//! * Which of two copies of a byte the receiver took: the first one shown counts.
//! * Whether one byte just below the acknowledged end is a keep-alive probe or was sent again: a
//!   probe, because RFC 9293 (3.8.4) has them, and a sender has no reason to repeat it.
//! * Whether the last acknowledged number, where no packet showed it, was a byte or FIN's: it
//!   proves no byte.
//! * What came late into one of more than 64 holes: some are forgotten, to keep memory flat, and as many
//!   bytes as may be counted wrongly are said to be doubtful.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use wirewatt::flow::{Arrival, HalfStream, HoldingSpace, StreamSink};

use Anchor::{Acknowledged, MidStream, Syn, Tentative};

/// A stream as a capture shows it.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    /// Sequence number of position 0, less 1.
    pub initial: u32,
    /// Takes an initial number so high that numbers wrap within the first bytes.
    pub wraps: bool,
    pub begin: Begin,
    /// Bytes of out-of-order data that may be held.
    pub room: u16,
    /// Whether the framing reads bytes.
    pub reads_bytes: bool,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Begin {
    Syn,
    /// SYN with data (RFC 7413).
    FastOpen,
    MidStream,
}

/// What the capture shows next. Positions are relative to the end of what has been sent.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Step {
    /// The next bytes; the snap length cuts the last `cut` of them.
    Send { length: u8, cut: u8 },
    /// The same, in a packet that the capture does not show.
    Lose { length: u8 },
    /// Bytes from an earlier position on: sent again, reordered, overlapping; `other` bytes than
    /// the first time, where the content is changed.
    Earlier {
        back: u16,
        length: u8,
        cut: u8,
        other: bool,
    },
    /// Bytes from a later position on.
    Ahead { skip: u8, length: u8, cut: u8 },
    /// The peer's acknowledgment of some of what was sent, or of what the capture shows later.
    Acknowledge { at: i16 },
    /// The same four times, which is what it takes to believe in a hole.
    AcknowledgeForGood { back: u8 },
    /// A segment without payload: an acknowledgment, a window update, a keep-alive probe.
    Empty { at: i8 },
    /// A keep-alive probe with one byte of garbage.
    KeepAlive,
    /// SYN, sent again or shown late.
    Syn,
    /// FIN behind the last byte, or elsewhere.
    Fin { at: i8 },
    /// Payload further away than any window.
    Far { distance: u32, length: u8 },
    /// An acknowledgment of bytes beyond any window.
    FarAcknowledge { distance: u32 },
}

/// The most that are run, so that one execution stays short.
const MOST_STEPS: usize = 400;

/// The lowest position is this far below the first byte.
const MARGIN: i64 = 1 << 12;

const LARGEST_WINDOW: i64 = 1 << 30;
const BELIEVED_AFTER: u32 = 3;
const RANGES_REMEMBERED: usize = 64;
const HELD_OVERHEAD: usize = 64;

/// Runs one case from a fuzzer's bytes.
pub fn run(data: &[u8]) {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) {
        check(&case);
    }
}

/// The byte at a position of every stream.
fn byte_at(position: i64) -> u8 {
    (position.wrapping_mul(31) + position / 256) as u8
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    None,
    Tentative,
    Acknowledged,
    MidStream,
    Syn,
}

/// Why a gap may be declared at this moment, and up to which position.
#[derive(Debug, Clone, Copy)]
enum GapAllowed {
    Never,
    UpTo(i64),
}

/// What was shown of a position, by its first copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Cut,
    Byte(u8),
}

/// Everything by position: obviously right, and of no use for a capture of any length.
struct Model {
    reads_bytes: bool,
    anchor: Anchor,
    /// Where the observer's stream begins.
    origin: i64,
    /// Up to where the stream was delivered.
    delivered: i64,
    acknowledged: i64,
    fin: Option<i64>,
    /// From position `-MARGIN` on.
    shown: Vec<Shown>,
    /// Where ranges of held data begin, those included that have been delivered since.
    held_ranges: BTreeSet<i64>,
    /// The highest position shown, plus 1.
    seen_end: i64,
    gap_allowed: GapAllowed,
    /// Acknowledgments since the stream last moved on while data was acknowledged beyond it, and of
    /// those the ones that said so themselves.
    while_past: u32,
    past: u32,
    gap_total: u64,
    gap_calls: usize,
    late: (u64, u64),
    late_calls: usize,
    late_of_gap: u64,
    conflicting: u64,
}

impl Model {
    fn shown(&self, position: i64) -> Shown {
        let index = usize::try_from(position + MARGIN).ok();
        let shown = index.and_then(|index| self.shown.get(index));
        *shown.unwrap_or(&Shown::Nothing)
    }

    fn is_seen(&self, position: i64) -> bool {
        self.shown(position) != Shown::Nothing
    }

    fn unseen(&self, from: i64, to: i64) -> u32 {
        (from..to).filter(|at| !self.is_seen(*at)).count() as u32
    }

    fn show(&mut self, position: i64, shown: Shown) {
        let index = (position + MARGIN) as usize;
        if self.shown.len() <= index {
            self.shown.resize(index + 1, Shown::Nothing);
        }
        if self.shown[index] == Shown::Nothing {
            self.shown[index] = shown;
        }
        self.seen_end = self.seen_end.max(position + 1);
    }

    fn is_settled(&self) -> bool {
        matches!(self.anchor, MidStream | Syn)
    }

    fn place(&mut self, anchor: Anchor, at: i64) {
        self.anchor = anchor;
        (self.origin, self.delivered, self.acknowledged) = (at, at, at);
        self.seen_end = self.seen_end.max(at);
    }

    /// Whether so many holes may have been made that some are forgotten.
    fn may_forget(&self) -> bool {
        1 + self.gap_calls + self.late_calls > RANGES_REMEMBERED
    }

    /// Up to where acknowledgments prove bytes.
    fn acknowledged_data(&self, acknowledged: i64) -> i64 {
        match self.fin {
            Some(fin) => acknowledged.min(fin),
            None if acknowledged > self.seen_end.max(self.delivered) => acknowledged - 1,
            None => acknowledged,
        }
    }

    fn moved_to(&mut self, position: i64) {
        self.delivered = position;
        (self.past, self.while_past) = (0, 0);
    }

    /// What a segment's payload must come to. Enters what it shows.
    fn segment(&mut self, start: i64, bytes: &[u8], length: u32, room: usize) -> Arrival {
        match self.anchor {
            Anchor::None => self.place(MidStream, start),
            Tentative if start == self.delivered + 1 => self.place(MidStream, start),
            Acknowledged if start > self.delivered => self.place(MidStream, start),
            _ => {}
        }
        if !self.is_settled() {
            self.anchor = MidStream;
        }
        let mut arrival = Arrival::default();
        let (mut from, mut to) = (start, start + i64::from(length));
        let keep_alive = length == 1
            && to == self.delivered
            && self.acknowledged >= to
            && self.delivered > self.origin
            && self.is_seen(start);
        if keep_alive || (start - self.delivered).abs() > LARGEST_WINDOW {
            arrival.outside = length;
            return arrival;
        }
        if let Some(fin) = self.fin
            && to > fin
        {
            arrival.outside += (to - fin.max(from)) as u32;
            to = fin;
        }
        if self.anchor == Syn && from < self.origin && from < to {
            let before = to.min(self.origin) - from;
            arrival.outside += before as u32;
            from += before;
        }
        if from >= to {
            return arrival;
        }
        let captured_end = (start + bytes.len() as i64).min(to);
        let mut next = self.delivered;
        // Each range that is held already may divide what is to be held.
        let ranges = 1 + self.held_ranges.range(from..to).count();
        let cost = (captured_end - from).max(0) as usize + HELD_OVERHEAD * ranges;
        if from > self.delivered && cost > room {
            self.gap_allowed = GapAllowed::UpTo(from);
            next = from;
            while self.is_seen(next) {
                next += 1;
            }
        }
        arrival.new = self.unseen(from, to);
        arrival.repeated = (to - from) as u32 - arrival.new;
        let below = to.min(self.delivered);
        let late = self.unseen(from, below);
        let of_gap = self.unseen(from.max(self.origin), below);
        self.late = (u64::from(late), u64::from(of_gap));
        let mut seen_before = false;
        for at in from..to {
            let byte = (at < captured_end).then(|| bytes[(at - start) as usize]);
            // Only what is still held can be compared.
            if let (Shown::Byte(first), Some(second)) = (self.shown(at), byte)
                && self.reads_bytes
                && at >= next
            {
                self.conflicting += u64::from(first != second);
            }
            if at >= next && !self.is_seen(at) && (at == from.max(next) || seen_before) {
                self.held_ranges.insert(at);
            }
            seen_before = self.is_seen(at);
            self.show(at, byte.map_or(Shown::Cut, Shown::Byte));
        }
        arrival
    }

    fn fin(&mut self, at: i64) {
        match self.anchor {
            Anchor::None => self.place(MidStream, at),
            Tentative if at == self.delivered + 1 => self.place(MidStream, at),
            Tentative if at == self.delivered => self.anchor = MidStream,
            Acknowledged if at > self.delivered => self.place(MidStream, at),
            Acknowledged => self.anchor = MidStream,
            _ => {}
        }
        let seen = self.seen_end.max(self.delivered);
        if self.fin.is_none() && (seen..=seen + LARGEST_WINDOW).contains(&at) {
            self.fin = Some(at);
        }
    }

    fn acknowledge(&mut self, at: i64) {
        if self.anchor == Anchor::None {
            return self.place(Acknowledged, at);
        }
        if self.anchor == Tentative {
            self.anchor = MidStream;
            if at == self.delivered + 1 {
                self.place(MidStream, at);
            }
        }
        if at - self.delivered > LARGEST_WINDOW {
            return;
        }
        self.acknowledged = self.acknowledged.max(at);
        let data = self.acknowledged_data(self.acknowledged);
        if self.is_settled() && data > self.delivered {
            self.while_past += 1;
            self.past += u32::from(self.acknowledged_data(at) > self.delivered);
            if self.while_past > BELIEVED_AFTER {
                self.gap_allowed = GapAllowed::UpTo(data);
            }
        }
    }
}

impl StreamSink for Model {
    fn bytes(&mut self, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            let at = self.delivered + i as i64;
            assert_eq!(self.shown(at), Shown::Byte(*byte), "at {at}");
        }
        if !bytes.is_empty() {
            self.moved_to(self.delivered + bytes.len() as i64);
        }
    }

    fn cut(&mut self, n: u64) {
        let end = self.delivered + n as i64;
        for at in self.delivered..end {
            match self.shown(at) {
                Shown::Cut => {}
                Shown::Byte(_) if !self.reads_bytes => {}
                other => panic!("{at} was {other:?} and counts as cut"),
            }
        }
        self.moved_to(end);
    }

    fn gap(&mut self, n: u64) {
        let end = self.delivered + n as i64;
        match self.gap_allowed {
            GapAllowed::UpTo(most) if end <= most => {}
            allowed => panic!("gap {}..{end} where {allowed:?}", self.delivered),
        }
        assert_eq!(u64::from(self.unseen(self.delivered, end)), n);
        self.gap_total += n;
        self.gap_calls += 1;
        self.moved_to(end);
    }

    fn late(&mut self, n: u64, of_gap: u64) {
        if self.may_forget() {
            assert!(n <= self.late.0 && of_gap <= self.late.1);
        } else {
            assert_eq!((n, of_gap), self.late);
        }
        self.late_of_gap += of_gap;
        self.late_calls += 1;
        self.late = (0, 0);
    }

    fn wants_bytes(&self) -> bool {
        self.reads_bytes
    }
}

struct Harness {
    half: HalfStream,
    space: HoldingSpace,
    room: usize,
    model: Model,
    first: u32,
    /// The end of what has been sent.
    head: i64,
    totals: [u64; 3],
}

impl Harness {
    fn sequence(&self, position: i64) -> u32 {
        self.first.wrapping_add(position as u32)
    }

    fn segment(&mut self, start: i64, length: u32, cut: u8, flip: u8) {
        let captured = i64::from(length).saturating_sub(i64::from(cut)).max(0);
        let bytes: Vec<u8> = (start..start + captured)
            .map(|at| byte_at(at) ^ flip)
            .collect();
        self.head = self.head.max(start + i64::from(length));
        self.payload(start, &bytes, length);
    }

    fn payload(&mut self, start: i64, bytes: &[u8], length: u32) {
        if length == 0 {
            // An analysis passes on payload only; `Step::Empty` is the other case.
            return;
        }
        let sequence = self.sequence(start);
        let (next, held) = (self.model.delivered, self.space.held());
        let doubtful = self.half.doubtful();
        let expected = self
            .model
            .segment(start, bytes, length, self.room.saturating_sub(held));
        // As an analysis does where nobody reads the bytes.
        if !self.model.reads_bytes && self.half.take_next(sequence, length) {
            assert_eq!((expected.new, held), (length, 0));
            assert_eq!(next, start);
            self.model.moved_to(start + i64::from(length));
            self.add(expected, length);
            return;
        }
        let arrival = self
            .half
            .segment(sequence, bytes, length, &mut self.space, &mut self.model);
        let doubtful = self.half.doubtful() - doubtful;
        if doubtful > 0 {
            assert!(self.model.may_forget());
            assert!(arrival.new <= expected.new);
            assert!(u64::from(expected.new - arrival.new) <= doubtful);
        } else {
            assert_eq!(arrival, expected);
            assert_eq!(self.model.late, (0, 0));
        }
        self.model.late = (0, 0);
        self.add(arrival, length);
    }

    fn add(&mut self, arrival: Arrival, length: u32) {
        let Arrival {
            new,
            repeated,
            outside,
        } = arrival;
        assert_eq!(new + repeated + outside, length);
        let parts = [new, repeated, outside];
        for (total, part) in self.totals.iter_mut().zip(parts) {
            *total += u64::from(part);
        }
    }

    fn acknowledge(&mut self, at: i64) {
        let sequence = self.sequence(at);
        self.model.acknowledge(at);
        self.half
            .acknowledge(sequence, &mut self.space, &mut self.model);
        if self.model.past > BELIEVED_AFTER {
            let data = self.model.acknowledged_data(self.model.acknowledged);
            assert!(self.model.delivered >= data, "a hole was not believed");
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { length, cut } => self.segment(self.head, length.into(), cut, 0),
            Step::Lose { length } => self.head += i64::from(length),
            Step::Earlier {
                back,
                length,
                cut,
                other,
            } => {
                let back = i64::from(back) % (self.head + MARGIN / 4).clamp(1, 2000);
                let flip = if other { 0x80 } else { 0 };
                self.segment(self.head - back, length.into(), cut, flip);
            }
            Step::Ahead { skip, length, cut } => {
                self.segment(self.head + i64::from(skip), length.into(), cut, 0);
            }
            Step::Acknowledge { at } => {
                self.acknowledge((self.head + i64::from(at % 600)).max(0));
            }
            Step::AcknowledgeForGood { back } => {
                for _ in 0..=BELIEVED_AFTER {
                    self.acknowledge((self.head - i64::from(back)).max(0));
                }
            }
            Step::Empty { at } => {
                let at = self.head + i64::from(at);
                if self.model.anchor == Anchor::None {
                    self.model.place(Tentative, at);
                }
                self.half.empty_segment(self.sequence(at));
            }
            Step::KeepAlive => self.payload(self.head - 1, &[0], 1),
            Step::Syn => self.syn(),
            Step::Fin { at } => {
                let at = self.head + i64::from(at);
                self.model.fin(at);
                self.half.fin(self.sequence(at));
            }
            Step::Far { distance, length } => {
                // Nearer to the stream than to its other side.
                let distance = i64::from(distance) % (LARGEST_WINDOW - 70_000);
                let way = if distance % 2 == 0 { 1 } else { -1 };
                if self.model.is_settled() {
                    let start = self.model.delivered + way * (LARGEST_WINDOW + 1 + distance);
                    self.payload(start, &[1], u32::from(length).max(1));
                }
            }
            Step::FarAcknowledge { distance } => {
                let distance = i64::from(distance) % (LARGEST_WINDOW - 70_000);
                if self.model.is_settled() {
                    self.acknowledge(self.model.delivered + LARGEST_WINDOW + 1 + distance);
                }
            }
        }
    }

    fn syn(&mut self) {
        let sequence = self.sequence(-1);
        let can = self.model.anchor == Anchor::None || self.model.origin == 0;
        assert_eq!(self.half.can_begin_with(sequence), can);
        if can {
            if self.model.anchor == Anchor::None {
                self.model.place(Syn, 0);
            }
            self.model.anchor = Syn;
            self.half.syn(sequence);
        }
    }

    /// What must hold after every step.
    fn check(&self) {
        let model = &self.model;
        assert!(
            self.space.held() <= self.room,
            "held {} of {}",
            self.space.held(),
            self.room
        );
        if model.is_settled() {
            let waits = model.seen_end > model.delivered;
            assert_eq!(self.space.held() > 0, waits);
            assert!(!model.is_seen(model.delivered), "not delivered");
        }
        assert_eq!(self.half.is_anchored(), model.anchor != Anchor::None);
        assert_eq!(self.half.began_with_syn(), model.anchor == Syn);
        assert_eq!(self.half.conflicting(), model.conflicting);
        if self.half.is_anchored() {
            let offset = |position: i64| (position - model.origin).max(0) as u64;
            assert_eq!(self.half.acknowledged(), offset(model.acknowledged));
            let sequence = self.sequence(model.delivered);
            assert_eq!(self.half.offset_of(sequence), offset(model.delivered));
            assert_eq!(self.half.is_at_fin(), model.fin == Some(model.delivered));
            let finished = model.fin.is_some_and(|fin| model.acknowledged > fin);
            assert_eq!(self.half.is_finished(), finished);
        }
    }

    fn close(&mut self) {
        let model = &mut self.model;
        if model.anchor == Anchor::None {
            model.place(Anchor::None, 0);
        }
        let end = model
            .acknowledged_data(model.acknowledged)
            .max(model.seen_end)
            .max(model.fin.unwrap_or(model.origin))
            .max(model.delivered);
        model.gap_allowed = GapAllowed::UpTo(end);
        self.half.close(&mut self.space, &mut self.model);
        let model = &self.model;
        assert_eq!(model.delivered, end);
        assert_eq!(self.space.held(), 0);
        let missing = u64::from(model.unseen(model.origin, end));
        let last_number = model.fin.is_none() && model.acknowledged > end;
        let doubtful = self.half.doubtful();
        let gaps = model.gap_total - model.late_of_gap;
        assert!((missing..=missing + doubtful).contains(&gaps));
        let seen = model.shown.iter().filter(|shown| **shown != Shown::Nothing);
        let seen = seen.count() as u64;
        assert!((self.totals[0]..=self.totals[0] + doubtful).contains(&seen));
        if doubtful == 0 {
            assert_eq!(self.half.gaps() > 0, missing > 0 || last_number);
        }
        assert!(self.half.gaps() <= (model.gap_calls + model.late_calls) as u64 + 1);
    }
}

/// Runs one case, and panics where reassembly and model disagree.
pub fn check(case: &Case) {
    let initial = match case.wraps {
        true => u32::MAX - case.initial % 3000,
        false => case.initial,
    };
    let room = usize::from(case.room);
    let mut harness = Harness {
        half: HalfStream::default(),
        space: HoldingSpace::new(room),
        room,
        model: Model {
            reads_bytes: case.reads_bytes,
            anchor: Anchor::None,
            origin: 0,
            delivered: 0,
            acknowledged: 0,
            fin: None,
            shown: Vec::new(),
            held_ranges: BTreeSet::new(),
            seen_end: -MARGIN,
            gap_allowed: GapAllowed::Never,
            while_past: 0,
            past: 0,
            gap_total: 0,
            gap_calls: 0,
            late: (0, 0),
            late_calls: 0,
            late_of_gap: 0,
            conflicting: 0,
        },
        first: initial.wrapping_add(1),
        head: 0,
        totals: [0; 3],
    };
    match case.begin {
        Begin::Syn => harness.syn(),
        Begin::FastOpen => {
            harness.syn();
            harness.segment(0, 100, 0, 0);
        }
        Begin::MidStream => harness.head = 1500,
    }
    for step in case.steps.iter().take(MOST_STEPS) {
        harness.model.gap_allowed = GapAllowed::Never;
        harness.step(*step);
        harness.check();
    }
    harness.close();
}
