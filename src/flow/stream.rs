//! One direction of a TCP connection, put back in order from the segments that a capture shows.
//!
//! Passive: it cannot ask for what is missing. It holds out-of-order data until the hole before it
//! is filled, or until the peer acknowledges past the hole, which proves that the peer has the
//! bytes and the capture does not (RFC 9293, section 3.4).

use std::collections::BTreeMap;
use std::ops::Range;

/// Takes the stream's bytes in order, and learns what is missing from them.
pub trait StreamSink {
    /// The next bytes.
    fn bytes(&mut self, bytes: &[u8]);
    /// The next `n` bytes passed in a captured packet whose snap length kept them from us.
    fn cut(&mut self, n: u64);
    /// The next `n` bytes were in no captured packet.
    fn gap(&mut self, n: u64);
    /// `n` bytes that lie before the current position came after all: `of_gap` of them in a gap
    /// that had been declared, the others before the byte at which a mid-stream pick-up began.
    fn late(&mut self, n: u64, of_gap: u64);
    /// Whether the bytes themselves are of use. Where not, out-of-order data is held by length.
    fn wants_bytes(&self) -> bool;
}

/// What became of one segment's payload, in bytes by original length. The sum is its length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Seen for the first time.
    pub new: u32,
    /// Seen before.
    pub repeated: u32,
    /// At no position of the stream.
    pub outside: u32,
}

/// Memory for out-of-order data, shared by all streams of an analysis.
#[derive(Debug)]
pub struct HoldingSpace {
    held: usize,
    most: usize,
    turned_away: u64,
}

impl HoldingSpace {
    /// Room for `most` bytes.
    pub fn new(most: usize) -> Self {
        Self {
            held: 0,
            most,
            turned_away: 0,
        }
    }

    /// Segments for which there was no room, so that what precedes them was given up.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Bytes held, with what it costs to hold them.
    pub fn held(&self) -> usize {
        self.held
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.held + bytes <= self.most
    }
}

/// Sequence numbers further away than the largest window (RFC 7323: 2^30) are not of this stream.
const LARGEST_WINDOW: i64 = 1 << 30;

/// An acknowledgment past a hole is believed when this many more packets of the peer have not
/// brought the data: captures of several queues may show an ACK before what it acknowledges.
const REORDERING_TOLERATED: u8 = 3;

/// Ranges that are remembered as missing, so that bytes which come late are known to be new.
const MOST_MISSING_RANGES: usize = 64;

/// Each held range costs about this much besides its bytes.
const HELD_OVERHEAD: usize = 64;

/// Reassembly state of one direction.
#[derive(Debug, Default)]
pub struct HalfStream {
    /// The usual case in one flag: it is known for good where the stream is, nothing is held, and
    /// no FIN has come. What comes next is what is expected.
    in_step: bool,
    anchor: Anchor,
    /// Sequence number of the byte at `offset`.
    next: u32,
    /// Stream offset of the next byte to deliver; 0 is the byte after SYN, or where a mid-stream
    /// pick-up began.
    offset: i64,
    /// Highest offset that the peer acknowledged.
    acknowledged: i64,
    /// Offset of FIN, once seen.
    fin: Option<i64>,
    /// Packets of the peer that acknowledged past a hole that is still open.
    acknowledgments_past_hole: u8,
    disorder: Option<Box<Disorder>>,
}

/// Where the stream's first byte is known from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Anchor {
    /// No packet has told.
    #[default]
    None,
    /// A packet without payload in mid-stream: right, unless it was a keep-alive probe, which
    /// stands one byte lower.
    Tentative,
    /// An acknowledgment of the peer's: the stream had come so far, or further, since what is in
    /// flight when a capture begins was sent before it. The first payload tells.
    Acknowledged,
    /// Payload in mid-stream.
    MidStream,
    /// SYN.
    Syn,
}

/// What only streams with holes, repetitions or late data need.
#[derive(Debug, Default)]
struct Disorder {
    /// Disjoint ranges of out-of-order data by their offset.
    held: BTreeMap<i64, Held>,
    /// Ranges before `offset` that no packet has shown, in order.
    missing: Vec<Missing>,
    /// Gaps that are not in `missing`: no longer, or without a byte that is proven.
    forgotten_gaps: u64,
    /// All ranges that have been forgotten lie in this one.
    forgotten: Range<i64>,
    doubtful: u64,
    conflicting: u64,
}

impl Disorder {
    fn forget(&mut self, index: usize) {
        let Missing {
            start,
            end,
            declared,
        } = self.missing.remove(index);
        self.forgotten_gaps += u64::from(declared);
        self.forgotten = match self.forgotten.is_empty() {
            true => start..end,
            false => self.forgotten.start.min(start)..self.forgotten.end.max(end),
        };
    }

    /// How many bytes of this range may have been missing and forgotten.
    fn forgotten_in(&self, start: i64, end: i64) -> i64 {
        (end.min(self.forgotten.end) - start.max(self.forgotten.start)).max(0)
    }
}

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    length: i64,
}

impl Held {
    fn cost(&self) -> usize {
        self.bytes.len() + HELD_OVERHEAD
    }
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    start: i64,
    end: i64,
    /// Declared as a gap; otherwise it lies before the point of a mid-stream pick-up.
    declared: bool,
}

/// Segments of one direction that follow one another, put together away from their stream: whether they
/// go on where it stands is seen [when they come to it](HalfStream::goes_on_with).
///
/// Nothing in it is an `Option`, so that most segments and acknowledgments [go on](Stretch::goes_on)
/// without a branch on what came before them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stretch {
    /// Sequence number of the first payload byte, if there is payload.
    first: u32,
    /// That of the one behind the last. Without payload, the last number that the peer may acknowledge.
    end: u32,
    /// The peer's last acknowledgment number. If it has sent none, the first that it may send.
    acknowledged: u32,
    has_payload: bool,
    is_acknowledged: bool,
}

/// Acknowledgments are no further than this behind what a stretch begins with, nor apart before that comes:
/// so differences of 32 bits tell their order.
const LONGEST_STRETCH: u32 = 1 << 30;

impl Stretch {
    /// Whether there is payload in it.
    pub fn has_payload(&self) -> bool {
        self.has_payload
    }

    /// Whether the peer has acknowledged anything.
    pub fn is_acknowledged(&self) -> bool {
        self.is_acknowledged
    }

    /// Whether it has payload, and payload with this sequence number is the next.
    #[inline(always)]
    pub fn goes_on(&self, sequence: u32) -> bool {
        self.has_payload & (sequence == self.end)
    }

    /// Takes so much payload that [goes on](Stretch::goes_on), or none.
    #[inline(always)]
    pub fn go_on(&mut self, length: u32) {
        self.end = self.end.wrapping_add(length);
    }

    /// Whether payload with this sequence number can be the next. If it is the first, what was acknowledged
    /// before lies behind it, no further than acknowledgments may.
    pub fn expects(&self, sequence: u32) -> bool {
        match self.has_payload {
            true => sequence == self.end,
            false => {
                let behind = sequence.wrapping_sub(self.acknowledged);
                !self.is_acknowledged || behind < LONGEST_STRETCH
            }
        }
    }

    /// Takes the payload that is [expected](Stretch::expects).
    pub fn take(&mut self, sequence: u32, length: u32) {
        if !self.has_payload {
            self.has_payload = true;
            self.first = sequence;
            self.end = sequence;
            if !self.is_acknowledged {
                self.acknowledged = sequence.wrapping_sub(LONGEST_STRETCH);
            }
        }
        self.go_on(length);
    }

    /// Whether an acknowledgment of the peer's is no earlier than the one before and of nothing beyond the
    /// stretch, if there was one before, or payload.
    #[inline(always)]
    pub fn admits(&self, acknowledgment: u32) -> bool {
        let most = self.end.wrapping_sub(self.acknowledged);
        acknowledgment.wrapping_sub(self.acknowledged) <= most
    }

    /// Takes an acknowledgment that it [admits](Stretch::admits).
    #[inline(always)]
    pub fn acknowledge_next(&mut self, acknowledgment: u32) {
        self.acknowledged = acknowledgment;
    }

    /// Takes any acknowledgment that fits.
    pub fn acknowledge(&mut self, acknowledgment: u32) -> bool {
        let is_first = !self.is_acknowledged && !self.has_payload;
        if is_first {
            self.end = acknowledgment.wrapping_add(LONGEST_STRETCH);
        }
        let fits = is_first || self.admits(acknowledgment);
        if fits {
            self.is_acknowledged = true;
            self.acknowledged = acknowledgment;
        }
        fits
    }

    /// Payload bytes.
    fn bytes(&self) -> u32 {
        match self.has_payload {
            true => self.end.wrapping_sub(self.first),
            false => 0,
        }
    }
}

impl HalfStream {
    /// Whether each segment of the stretch would bring [what comes next](HalfStream::expects), and each
    /// acknowledgment be of [what was delivered](HalfStream::acknowledge_delivered).
    #[inline]
    pub fn goes_on_with(&self, stretch: &Stretch) -> bool {
        let end = self.next.wrapping_add(stretch.bytes());
        let follows = !stretch.has_payload || stretch.first == self.next;
        let behind = end.wrapping_sub(stretch.acknowledged);
        let is_known = !stretch.is_acknowledged || behind < LONGEST_STRETCH;
        self.in_step && follows && is_known
    }

    /// Takes a stretch that it [goes on with](HalfStream::goes_on_with).
    #[inline]
    pub fn go_on_with(&mut self, stretch: &Stretch) {
        if stretch.has_payload {
            self.advance(i64::from(stretch.bytes()));
        }
        if stretch.is_acknowledged {
            self.acknowledge_delivered(stretch.acknowledged);
        }
    }

    /// Whether any packet has shown where the stream is.
    pub fn is_anchored(&self) -> bool {
        self.anchor != Anchor::None
    }

    /// To be called at the end of everything that changes what [`HalfStream::in_step`] says.
    fn find_step(&mut self) {
        let holds = |disorder: &Disorder| !disorder.held.is_empty();
        let holds = self.disorder.as_deref().is_some_and(holds);
        self.in_step = self.is_settled() && self.fin.is_none() && !holds;
    }

    /// Whether it is known for good where the stream is.
    fn is_settled(&self) -> bool {
        matches!(self.anchor, Anchor::MidStream | Anchor::Syn)
    }

    /// Whether a RST with this sequence number can be this stream's: a receiver refuses one outside
    /// of its window (RFC 5961, section 3.2).
    pub fn can_reset_at(&self, sequence: u32) -> bool {
        const LARGE_WINDOW: i64 = 1 << 24;
        let position = self.position(sequence);
        let low = self.acknowledged.min(self.offset) - 1;
        self.anchor == Anchor::None || (low..=self.offset + LARGE_WINDOW).contains(&position)
    }

    /// Whether the stream's first byte is known from its SYN.
    pub fn began_with_syn(&self) -> bool {
        self.anchor == Anchor::Syn
    }

    /// Whether a SYN with this sequence number can be this stream's: its first, or a repetition.
    pub fn can_begin_with(&self, sequence: u32) -> bool {
        self.anchor == Anchor::None || self.position(sequence.wrapping_add(1)) == 0
    }

    /// Whether FIN was seen, and everything up to it acknowledged.
    pub fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| self.acknowledged > fin)
    }

    /// Whether everything up to FIN has been delivered, so that nothing more can come.
    pub fn is_at_fin(&self) -> bool {
        self.fin == Some(self.offset)
    }

    /// Stream offset up to which the peer acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.max(0) as u64
    }

    /// Declared gaps that are still open.
    pub fn gaps(&self) -> u64 {
        self.disorder.as_ref().map_or(0, |disorder| {
            disorder.forgotten_gaps
                + disorder
                    .missing
                    .iter()
                    .filter(|missing| missing.declared)
                    .count() as u64
        })
    }

    /// Bytes whose second copy differed from a first that was still held.
    pub fn conflicting(&self) -> u64 {
        self.disorder
            .as_ref()
            .map_or(0, |disorder| disorder.conflicting)
    }

    /// Bytes behind the stream's position that were not counted as new, and may be: they came where more
    /// ranges were missing than are remembered.
    pub fn doubtful(&self) -> u64 {
        self.disorder
            .as_ref()
            .map_or(0, |disorder| disorder.doubtful)
    }

    /// Stream offset of the byte with this sequence number; 0 for those before the stream's first.
    pub fn offset_of(&self, sequence: u32) -> u64 {
        self.position(sequence).max(0) as u64
    }

    /// SYN with this sequence number, with which the stream [can begin](Self::can_begin_with): its
    /// first byte has the next number.
    pub fn syn(&mut self, sequence: u32) {
        if self.anchor == Anchor::None {
            self.next = sequence.wrapping_add(1);
        }
        if self.anchor != Anchor::Syn {
            self.anchor = Anchor::Syn;
            if let Some(disorder) = &mut self.disorder {
                disorder.missing.retain(|missing| missing.declared);
            }
            self.find_step();
        }
    }

    /// A packet without payload: it shows where a stream stands that was picked up in mid-stream.
    #[inline]
    pub fn empty_segment(&mut self, sequence: u32) {
        if self.anchor == Anchor::None {
            self.pick_up(sequence, Anchor::Tentative);
        }
    }

    /// A segment's payload: the captured bytes, and its original length.
    #[inline]
    pub fn segment(
        &mut self,
        sequence: u32,
        captured: &[u8],
        length: u32,
        space: &mut HoldingSpace,
        sink: &mut impl StreamSink,
    ) -> Arrival {
        if self.expects(sequence) {
            self.deliver(captured, i64::from(length), sink);
            return Arrival {
                new: length,
                ..Arrival::default()
            };
        }
        let arrival = self.segment_out_of_order(sequence, captured, length, space, sink);
        self.find_step();
        arrival
    }

    /// Whether the stream is where it is known to be, with nothing held and no end in sight.
    #[inline]
    pub fn is_in_step(&self) -> bool {
        self.in_step
    }

    /// Takes a segment's payload without looking at it, if it is just what comes next.
    #[inline]
    pub fn take_next(&mut self, sequence: u32, length: u32) -> bool {
        let is_next = self.expects(sequence);
        if is_next {
            self.advance(i64::from(length));
        }
        is_next
    }

    /// Whether payload with this sequence number comes next, with nothing held or ended behind it.
    #[inline]
    pub fn expects(&self, sequence: u32) -> bool {
        self.in_step && sequence == self.next
    }

    #[cold]
    fn segment_out_of_order(
        &mut self,
        sequence: u32,
        captured: &[u8],
        length: u32,
        space: &mut HoldingSpace,
        sink: &mut impl StreamSink,
    ) -> Arrival {
        match self.anchor {
            Anchor::None => self.pick_up(sequence, Anchor::MidStream),
            Anchor::Tentative if self.position(sequence) == 1 => self.begin_later(sequence),
            Anchor::Acknowledged if self.position(sequence) > 0 => self.begin_later(sequence),
            _ => {}
        }
        if !self.is_settled() {
            self.anchor = Anchor::MidStream;
        }
        let mut arrival = Arrival::default();
        let mut start = self.position(sequence);
        let mut end = start + i64::from(length);
        let mut captured = captured;

        // RFC 9293, 3.8.4: a keep-alive probe stands one byte below what is expected and may carry
        // one byte of garbage. The same byte before its acknowledgment would be a retransmission.
        let keep_alive = length == 1
            && end == self.offset
            && self.acknowledged >= end
            && self.offset > 0
            && !self.is_missing(start);
        if keep_alive || (start - self.offset).abs() > LARGEST_WINDOW {
            if let Some(disorder) = self.disorder.as_deref_mut().filter(|_| keep_alive) {
                disorder.doubtful += disorder.forgotten_in(start, end) as u64;
            }
            arrival.outside = length;
            return arrival;
        }
        if let Some(fin) = self.fin
            && end > fin
        {
            arrival.outside = (end - fin.max(start)) as u32;
            end = fin;
            captured = &captured[..captured.len().min((end - start).max(0) as usize)];
        }
        if self.anchor == Anchor::Syn && start < end.min(0) {
            // Of an earlier connection, or a keep-alive probe before any data.
            let before = end.min(0) - start;
            arrival.outside += before as u32;
            captured = &captured[captured.len().min(before as usize)..];
            start += before;
        }
        if start > self.offset
            && start < end
            && !space.has_room(self.cost_to_hold(start, end, captured.len()))
        {
            space.turned_away += 1;
            self.declare_gaps_up_to(start, space, sink);
        }
        if start < self.offset && start < end {
            let below = self.offset.min(end) - start;
            let (late, of_gap) = self.fill_missing(start, start + below);
            if late > 0 {
                sink.late(late as u64, of_gap as u64);
            }
            arrival.new += late as u32;
            arrival.repeated += (below - late) as u32;
            captured = &captured[captured.len().min(below as usize)..];
            start += below;
        }
        if start >= end {
            return arrival;
        }
        if start == self.offset {
            let fresh = end - start;
            match self
                .disorder
                .as_ref()
                .and_then(|disorder| disorder.held.first_key_value())
            {
                Some((&held, _)) if held < end => {}
                _ => {
                    self.deliver(captured, fresh, sink);
                    arrival.new += fresh as u32;
                    self.deliver_held(space, sink);
                    return arrival;
                }
            }
        }
        let captured = if sink.wants_bytes() { captured } else { &[] };
        let fresh = self.hold(start, end, captured, space);
        arrival.new += fresh as u32;
        arrival.repeated += (end - start - fresh) as u32;
        self.deliver_held(space, sink);
        arrival
    }

    /// FIN behind this sequence number's byte: the stream ends here. One that would end it before
    /// data that was seen is not this stream's.
    pub fn fin(&mut self, sequence: u32) {
        match (self.anchor, self.position(sequence)) {
            (Anchor::None, _) => self.pick_up(sequence, Anchor::MidStream),
            (Anchor::Acknowledged, 1..) | (Anchor::Tentative, 1) => {
                self.begin_later(sequence);
                self.anchor = Anchor::MidStream;
            }
            (Anchor::Acknowledged, _) | (Anchor::Tentative, 0) => self.anchor = Anchor::MidStream,
            _ => {}
        }
        let position = self.position(sequence);
        let seen = self.offset.max(self.held_end());
        if self.fin.is_none() && (seen..=seen + LARGEST_WINDOW).contains(&position) {
            self.fin = Some(position);
        }
        self.find_step();
    }

    /// The peer expects this sequence number next.
    #[inline]
    pub fn acknowledge(
        &mut self,
        acknowledgment: u32,
        space: &mut HoldingSpace,
        sink: &mut impl StreamSink,
    ) {
        if !self.acknowledge_delivered(acknowledgment) {
            self.acknowledge_unseen(acknowledgment, space, sink);
            self.find_step();
        }
    }

    /// Takes an acknowledgment, if it is of nothing beyond what has been delivered.
    #[inline]
    pub fn acknowledge_delivered(&mut self, acknowledgment: u32) -> bool {
        let ahead = acknowledgment.wrapping_sub(self.next) as i32;
        let delivered = ahead <= 0 && self.in_step;
        if delivered {
            self.acknowledged = self.acknowledged.max(self.offset + i64::from(ahead));
        }
        delivered
    }

    #[cold]
    fn acknowledge_unseen(
        &mut self,
        acknowledgment: u32,
        space: &mut HoldingSpace,
        sink: &mut impl StreamSink,
    ) {
        if self.anchor == Anchor::None {
            self.pick_up(acknowledgment, Anchor::Acknowledged);
            return;
        }
        if self.anchor == Anchor::Tentative {
            self.anchor = Anchor::MidStream;
            if self.position(acknowledgment) == 1 {
                self.begin_later(acknowledgment);
            }
        }
        let position = self.position(acknowledgment);
        if position - self.offset > LARGEST_WINDOW {
            return;
        }
        self.acknowledged = self.acknowledged.max(position);
        if self.is_settled() && self.acknowledged_data() > self.offset {
            self.acknowledgments_past_hole += 1;
            if self.acknowledgments_past_hole > REORDERING_TOLERATED {
                self.declare_gaps_up_to(self.acknowledged_data(), space, sink);
            }
        }
    }

    /// The connection has ended or the capture has: what is still missing will not come.
    pub fn close(&mut self, space: &mut HoldingSpace, sink: &mut impl StreamSink) {
        let proven = self
            .acknowledged_data()
            .max(self.held_end())
            .max(self.fin.unwrap_or(0));
        self.declare_gaps_up_to(proven, space, sink);
        if self.fin.is_none() && self.acknowledged > self.offset {
            // FIN or a byte: a packet is missing in either case, and no other than that of a gap
            // which reaches up to it.
            let end = self.offset;
            let disorder = self.disorder.get_or_insert_default();
            let last = disorder.missing.last();
            if !last.is_some_and(|gap| gap.declared && gap.end == end) {
                disorder.forgotten_gaps += 1;
            }
        }
    }

    /// Where held data ends.
    fn held_end(&self) -> i64 {
        self.disorder
            .as_ref()
            .and_then(|disorder| disorder.held.last_key_value())
            .map_or(0, |(start, held)| start + held.length)
    }

    /// The acknowledged offset without the number that FIN takes. The last number beyond all data
    /// is as likely a FIN that was not captured as a byte: it proves no byte.
    fn acknowledged_data(&self) -> i64 {
        let seen = self.offset.max(self.held_end());
        match self.fin {
            Some(fin) => self.acknowledged.min(fin),
            None if self.acknowledged > seen => self.acknowledged - 1,
            None => self.acknowledged,
        }
    }

    /// Begins in mid-stream: what lies before was perhaps sent, perhaps seen later.
    fn pick_up(&mut self, sequence: u32, anchor: Anchor) {
        self.anchor = anchor;
        self.next = sequence;
        self.offset = 0;
        self.acknowledged = 0;
        let before = Missing {
            start: -LARGEST_WINDOW,
            end: 0,
            declared: false,
        };
        self.disorder.get_or_insert_default().missing.push(before);
    }

    /// Moves the first byte of a stream that is not [settled](Self::is_settled) to one behind it.
    fn begin_later(&mut self, sequence: u32) {
        let later = self.position(sequence);
        self.fin = self.fin.map(|fin| fin - later);
        self.next = sequence;
        self.acknowledged = 0;
    }

    /// Stream offset of a sequence number, the nearest to the current position.
    #[inline]
    fn position(&self, sequence: u32) -> i64 {
        self.offset + i64::from(sequence.wrapping_sub(self.next) as i32)
    }

    #[inline]
    fn advance(&mut self, length: i64) {
        self.next = self.next.wrapping_add(length as u32);
        self.offset += length;
        self.acknowledgments_past_hole = 0;
    }

    #[inline]
    fn deliver(&mut self, captured: &[u8], length: i64, sink: &mut impl StreamSink) {
        sink.bytes(captured);
        let cut = length - captured.len() as i64;
        if cut > 0 {
            sink.cut(cut as u64);
        }
        self.advance(length);
    }

    fn deliver_held(&mut self, space: &mut HoldingSpace, sink: &mut impl StreamSink) {
        while let Some(disorder) = &mut self.disorder
            && let Some(entry) = disorder.held.first_entry()
            && *entry.key() == self.offset
        {
            let held = entry.remove();
            space.held -= held.cost();
            self.deliver(&held.bytes, held.length, sink);
        }
    }

    /// At most so much it costs to hold this: each range that is held already may divide it.
    fn cost_to_hold(&self, start: i64, end: i64, captured: usize) -> usize {
        let held = self.disorder.as_ref().map(|disorder| &disorder.held);
        let between = held.map_or(0, |held| held.range(start..end).count());
        captured + HELD_OVERHEAD * (1 + between)
    }

    /// Keeps the parts of `start..end` that are not held yet, and returns how many bytes those
    /// are.
    fn hold(&mut self, start: i64, end: i64, captured: &[u8], space: &mut HoldingSpace) -> i64 {
        let disorder = self.disorder.get_or_insert_default();
        let slice = |from: i64, to: i64| {
            let captured_to = (to - start).min(captured.len() as i64);
            let captured_from = (from - start).min(captured_to);
            &captured[captured_from as usize..captured_to as usize]
        };
        let mut fresh = Vec::new();
        let mut conflicting = 0;
        let mut at = start;
        let first = disorder
            .held
            .range(..=start)
            .next_back()
            .map_or(start, |(held, _)| *held);
        for (&held_start, held) in disorder.held.range(first..end) {
            let held_end = held_start + held.length;
            if held_end <= at {
                continue;
            }
            if held_start > at {
                fresh.push((at, held_start));
            }
            let (from, to) = (held_start.max(start), held_end.min(end));
            let known = &held.bytes[held.bytes.len().min((from - held_start) as usize)..];
            conflicting += known
                .iter()
                .zip(slice(from, to))
                .filter(|(a, b)| a != b)
                .count() as u64;
            at = held_end;
        }
        if at < end {
            fresh.push((at, end));
        }
        disorder.conflicting += conflicting;
        let mut total = 0;
        for (from, to) in fresh {
            let held = Held {
                bytes: slice(from, to).to_vec(),
                length: to - from,
            };
            space.held += held.cost();
            disorder.held.insert(from, held);
            total += to - from;
        }
        total
    }

    /// Gives up on the holes before `target`: each becomes a gap, and held data behind it flows.
    fn declare_gaps_up_to(
        &mut self,
        target: i64,
        space: &mut HoldingSpace,
        sink: &mut impl StreamSink,
    ) {
        while self.offset < target {
            let disorder = self.disorder.get_or_insert_default();
            let held = disorder
                .held
                .first_key_value()
                .map_or(target, |(start, _)| *start);
            let end = held.min(target);
            if end > self.offset {
                disorder.missing.push(Missing {
                    start: self.offset,
                    end,
                    declared: true,
                });
                if disorder.missing.len() > MOST_MISSING_RANGES {
                    disorder.forget(0);
                }
                let length = end - self.offset;
                sink.gap(length as u64);
                self.advance(length);
            }
            self.deliver_held(space, sink);
        }
    }

    /// Whether no packet has shown the byte at this position, which is behind us.
    fn is_missing(&self, position: i64) -> bool {
        let missing = self.disorder.iter().flat_map(|disorder| &disorder.missing);
        missing
            .into_iter()
            .any(|missing| (missing.start..missing.end).contains(&position))
    }

    /// Takes `start..end` out of the missing ranges and returns how many bytes of it were missing.
    fn fill_missing(&mut self, start: i64, end: i64) -> (i64, i64) {
        let Some(disorder) = &mut self.disorder else {
            return (0, 0);
        };
        let mut doubtful = disorder.forgotten_in(start, end);
        let (mut filled, mut of_gap) = (0, 0);
        let mut still_missing = Vec::with_capacity(disorder.missing.len() + 1);
        for missing in std::mem::take(&mut disorder.missing) {
            let (from, to) = (missing.start.max(start), missing.end.min(end));
            if from >= to {
                still_missing.push(missing);
                continue;
            }
            filled += to - from;
            doubtful -= disorder.forgotten_in(from, to);
            if missing.declared {
                of_gap += to - from;
            }
            if missing.start < from {
                still_missing.push(Missing {
                    end: from,
                    ..missing
                });
            }
            if to < missing.end {
                still_missing.push(Missing {
                    start: to,
                    ..missing
                });
            }
        }
        disorder.missing = still_missing;
        disorder.doubtful += doubtful as u64;
        // What comes late may divide a range in two: the shortest is the smallest loss.
        let ranges = disorder.missing.iter().enumerate();
        if disorder.missing.len() > MOST_MISSING_RANGES
            && let Some((shortest, _)) = ranges.min_by_key(|(_, range)| range.end - range.start)
        {
            disorder.forget(shortest);
        }
        (filled, of_gap)
    }
}

#[cfg(test)]
mod tests;
