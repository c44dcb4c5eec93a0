//! One connection at work: its two streams, its framing, and its counts until they are folded.

use std::collections::{BTreeMap, VecDeque};
use std::hint::select_unpredictable;
use std::net::SocketAddr;

use super::accumulator::Accumulator;
use super::log::{ConnectionSeen, MessageSeen};
use super::train::Train;
use crate::flow::{
    Arrival, Carrier, ConnectionKey, Direction, HalfStream, HoldingSpace, ProtocolIndex,
    StreamSink, TransportKind,
};
use crate::message::{Framer, Label, Message, MessageSink, Way, Whole, WireWatt};
use crate::packet::{IcmpErrorKind, Lengths, Segment, USUAL};
use crate::tally::{Distribution, Excess, LayerBytes, PacketClass, Series};
use crate::units::{
    FramingBytes, GapBytes, IncompleteBytes, IpBytes, MessageBytes, Messages, Mtu, Packets,
    Timestamp, UnframedBytes,
};

/// Everything known of one connection, or of one UDP flow.
///
/// What [`Connection::flows_on`] touches comes first, in as few cache lines as it fits. What only a
/// connection at work needs is apart, so that one that is idle takes little room.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Connection {
    pub streams: [HalfStream; 2],
    pub last_seen: Timestamp,
    asked: Asked,
    /// While it is at work.
    pub work: Option<Box<Work>>,
    /// Whose ports the listening end has.
    pub protocol: Option<ProtocolIndex>,
    pub standing: Standing,
    /// The way that packets of [`Direction::Up`] go.
    up_way: Way,
    pub closed: bool,
    /// The framing [finds whole messages](Framer::headerless), and the ends are two.
    can_flow_on: bool,
    /// Since the last round of the search for connections to forget.
    pub in_use: bool,
    pub key: ConnectionKey,
    pub framer: Framer,
    /// Until it is known whether the connection is ours or foreign.
    pub early: Option<Box<Early>>,
    /// Stream offsets up to which every byte has a place in counts that were taken away.
    placed: [u64; 2],
    /// Messages by kind that have not been acknowledged yet, where frames name kinds.
    unacknowledged: Option<Box<[VecDeque<Unacknowledged>; 2]>>,
    ended: [bool; 2],
    /// When the sender of each way has reset it.
    reset: Option<Box<[Option<Timestamp>; 2]>>,
    pub refused: bool,
    pub mid_stream: bool,
    /// The first packet was a SYN-ACK.
    pub began_with_answer: bool,
    /// A FIN has come, of either way.
    pub has_fin: bool,
    /// Both ends are the same: TCP connects to itself when a client hits upon its own port.
    is_to_itself: bool,
    /// Ways whose framing has been told that the beginning is missing.
    lost_start: [bool; 2],
    /// Tells this connection from an earlier one of the same key.
    pub serial: u64,
    /// The first packet.
    opened: Timestamp,
}

/// A connection's counts since they were last added to its protocol's.
#[derive(Debug, Default)]
pub(super) struct Work {
    flowed: [Flowed; 2],
    pub counts: [Counts; 2],
    /// Its place among the connections at work.
    pub place: u32,
}

impl Work {
    /// The counts, with what flowed on.
    pub fn settled(&self) -> [Counts; 2] {
        let [to_listener, from_listener] = &self.flowed;
        [
            self.counts[0].with(to_listener),
            self.counts[1].with(from_listener),
        ]
    }
}

/// What is kept of a connection until it is known whose row it belongs to.
#[derive(Debug, Default)]
pub(super) struct Early {
    pub series: Series,
    pub turnarounds: Distribution,
    pub counts: [Counts; 2],
    pub icmp_errors: BTreeMap<IcmpErrorKind, Packets>,
}

/// Whether the streams on a built-in range are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Undecided,
    Ours,
    Foreign,
}

/// A message's last stream offset, and its protocol and kind by number.
#[derive(Debug, Clone, Copy)]
struct Unacknowledged {
    end: u64,
    kind: (u16, u16),
    /// Its place in the log, where it is kept.
    place: Option<usize>,
}

/// When payload last went to the listener, if none has come back since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked(Timestamp);

/// No packet has this time.
const NOT_ASKED: Asked = Asked(Timestamp::from_nanos(i64::MIN));

impl Default for Asked {
    fn default() -> Self {
        NOT_ASKED
    }
}

impl Asked {
    /// Enters that new payload goes this way, and says whether and when it answers what went to the
    /// listener.
    #[inline(always)]
    pub fn turn(&mut self, way: Way, time: Timestamp) -> Turnaround {
        let asked = self.0;
        let is_back = way == Way::FromListener;
        self.0 = select_unpredictable(is_back, NOT_ASKED.0, time);
        let after = time.as_nanos().saturating_sub(asked.as_nanos()).max(0);
        Turnaround {
            after: after as u64,
            is_answer: is_back & (asked != NOT_ASKED.0),
        }
    }
}

/// After how many nanoseconds payload answers other payload, if it does. No `Option`: which packet is an
/// answer, no processor could learn, so that nothing should branch on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turnaround {
    pub after: u64,
    pub is_answer: bool,
}

/// For how many nanoseconds what comes for an ended connection is still its own: as long as Linux
/// keeps TIME-WAIT (`TCP_TIMEWAIT_LEN`).
pub(super) const LINGERS: i64 = 60_000_000_000;

/// More messages than these are in no window: where acknowledgments never come, as over UDP, the
/// oldest are forgotten.
const MOST_UNACKNOWLEDGED: usize = 1 << 16;

/// Counts of the segments of one way that [flowed on](Connection::flows_on), until they are
/// [settled](Work::settled): fewer numbers than [`Counts`], because these packets have so much
/// in common.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flowed {
    /// Those without payload and those with it.
    packets: [u64; 2],
    ip: [u64; 2],
    transport_header: u64,
    messages: u64,
    framing: u64,
    link_trailer: u64,
    excess: Excess,
}

impl Flowed {
    /// Enters a segment, and the messages that its payload is, if it has any.
    #[inline(always)]
    pub fn enter(&mut self, mtu: Mtu, lengths: &Lengths, whole: Option<&Whole>) {
        let with_payload = usize::from(whole.is_some());
        self.packets[with_payload] += 1;
        self.ip[with_payload] += u64::from(lengths.ip());
        self.transport_header += u64::from(lengths.transport_header);
        if let Some(whole) = whole {
            self.messages += whole.messages.get();
            self.framing += whole.framing.get();
        }
        self.link_trailer += u64::from(lengths.link_trailer);
        let headers = lengths.ip() - lengths.payload;
        self.excess.add_packet(mtu, headers, lengths.payload);
    }

    /// Segments, with payload or without.
    pub fn all_packets(&self) -> u64 {
        self.packets.iter().sum()
    }

    /// Adds those of another stretch of the same stream.
    #[inline]
    fn merge(&mut self, other: &Self) {
        for with_payload in 0..2 {
            self.packets[with_payload] += other.packets[with_payload];
            self.ip[with_payload] += other.ip[with_payload];
        }
        self.transport_header += other.transport_header;
        self.messages += other.messages;
        self.framing += other.framing;
        self.link_trailer += other.link_trailer;
        self.excess.merge(&other.excess);
    }
}

/// Counts of one way of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Packets by [`PacketClass`].
    pub packets: [u64; PacketClass::COUNT],
    /// IP bytes by [`PacketClass`].
    pub ip_by_class: [u64; PacketClass::COUNT],
    /// Bytes by layer, but for `ip`, `wire` and `gap_bytes`, which follow from the others.
    pub bytes: LayerBytes,
    pub messages: Messages,
    pub incomplete_messages: Messages,
    /// With `packets` and `ip_by_class`, the projection.
    pub excess: Excess,
    /// Bytes that were declared gaps, those included that came late.
    pub gap_declared: u64,
    /// New bytes that came behind the stream's position.
    late: u64,
    /// Of those, in a gap that had been declared.
    pub late_of_gap: u64,
    /// Bytes that the snap length cut where the framing then knew no more where it was.
    pub cut_unframed: u64,
}

impl Counts {
    /// Enters one packet's headers.
    #[inline]
    pub fn packet(&mut self, mtu: Mtu, class: PacketClass, lengths: &Lengths) {
        let ip = lengths.ip();
        self.packets[class as usize] += 1;
        self.ip_by_class[class as usize] += u64::from(ip);
        self.bytes.link_header += u64::from(lengths.link_header);
        self.bytes.ip_header += u64::from(lengths.ip_header);
        self.bytes.transport_header += u64::from(lengths.transport_header);
        if lengths.tunnel_header | lengths.link_trailer | lengths.surplus != 0 {
            self.bytes.tunnel_header += u64::from(lengths.tunnel_header);
            self.bytes.link_trailer += u64::from(lengths.link_trailer);
            self.bytes.outside_stream += u64::from(lengths.surplus);
        }
        let headers = ip - lengths.payload;
        self.excess.add_packet(mtu, headers, lengths.payload);
    }

    /// Enters the headers of several packets.
    pub fn carriers(&mut self, mtu: Mtu, class: PacketClass, packets: &[Carrier]) {
        for packet in packets {
            self.packet(mtu, class, &packet.lengths);
        }
    }

    /// These with others of segments that flowed on.
    fn with(&self, flowed: &Flowed) -> Self {
        let mut counts = self.clone();
        let classes = [PacketClass::PureAck, PacketClass::Data];
        for (class, (packets, ip)) in classes
            .into_iter()
            .zip(flowed.packets.iter().zip(flowed.ip))
        {
            counts.packets[class as usize] += packets;
            counts.ip_by_class[class as usize] += ip;
        }
        let packets = flowed.all_packets();
        let ip_header = packets * u64::from(USUAL.ip_header);
        let [ack_ip, segment_ip] = flowed.ip;
        let payload = ack_ip + segment_ip - ip_header - flowed.transport_header;
        counts.bytes.link_header += packets * u64::from(USUAL.link_header);
        counts.bytes.ip_header += ip_header;
        counts.bytes.transport_header += flowed.transport_header;
        counts.bytes.payload += payload;
        counts.bytes.message += payload - flowed.framing;
        counts.bytes.framing += flowed.framing;
        counts.bytes.link_trailer += flowed.link_trailer;
        counts.messages += flowed.messages;
        counts.excess.merge(&flowed.excess);
        counts
    }

    /// Packets of all classes.
    pub fn all_packets(&self) -> Packets {
        self.packets.iter().copied().map(Packets::new).sum()
    }

    /// IP bytes of all classes.
    pub fn ip(&self) -> IpBytes {
        self.ip_by_class.iter().copied().map(IpBytes::new).sum()
    }

    /// Bytes that no packet has shown.
    pub fn gap_bytes(&self) -> GapBytes {
        GapBytes::new(self.gap_declared - self.late_of_gap)
    }

    /// Stream bytes that have a place here. Wraps around: what comes late may have been declared a gap
    /// in counts that were taken away before.
    fn placed(&self) -> u64 {
        let bytes = &self.bytes;
        (bytes.message.get()
            + bytes.framing.get()
            + bytes.incomplete.get()
            + bytes.unframed.get()
            + self.gap_declared)
            .wrapping_sub(self.late)
    }
}

impl Connection {
    pub fn new(
        key: ConnectionKey,
        protocol: Option<ProtocolIndex>,
        up_way: Way,
        framer: Framer,
        time: Timestamp,
    ) -> Self {
        let is_to_itself = key.source(Direction::Up) == key.source(Direction::Down);
        let can_flow_on = framer.headerless().is_some() && !is_to_itself;
        let standing = if framer.is_undecided() {
            Standing::Undecided
        } else {
            Standing::Ours
        };
        Self {
            key,
            protocol,
            up_way,
            streams: Default::default(),
            work: None,
            placed: [0; 2],
            early: (standing == Standing::Undecided).then(Default::default),
            standing,
            framer,
            unacknowledged: None,
            last_seen: time,
            asked: Asked::default(),
            ended: [false; 2],
            reset: None,
            refused: false,
            mid_stream: false,
            began_with_answer: false,
            closed: false,
            has_fin: false,
            can_flow_on,
            is_to_itself,
            lost_start: [false; 2],
            serial: 0,
            opened: time,
            in_use: true,
        }
    }

    /// Which of the two streams packets of this direction belong to.
    #[inline]
    pub fn way(&self, direction: Direction) -> Way {
        match direction {
            Direction::Up => self.up_way,
            Direction::Down => self.up_way.opposite(),
        }
    }

    /// See [`Asked::turn`].
    #[inline(always)]
    pub fn turn(&mut self, way: Way, time: Timestamp) -> Turnaround {
        self.asked.turn(way, time)
    }

    /// What a log keeps of it.
    pub fn as_seen(&self) -> ConnectionSeen {
        ConnectionSeen {
            serial: self.serial,
            initiator: self.initiator(),
            listener: self.listener(),
            opened: self.opened,
            last_seen: self.last_seen,
            refused: self.refused,
            reset: self.reset.as_deref().copied().unwrap_or_default(),
            closed: self.closed,
        }
    }

    /// The listening end.
    pub fn listener(&self) -> SocketAddr {
        match self.up_way {
            Way::ToListener => self.key.source(Direction::Down),
            Way::FromListener => self.key.source(Direction::Up),
        }
    }

    /// The other end.
    pub fn initiator(&self) -> SocketAddr {
        match self.up_way {
            Way::ToListener => self.key.source(Direction::Up),
            Way::FromListener => self.key.source(Direction::Down),
        }
    }

    /// The connection's streams and, apart from them, everything that takes what they deliver.
    #[inline]
    pub fn split<'a>(
        &'a mut self,
        way: Way,
        accumulator: Option<&'a mut Accumulator>,
    ) -> (&'a mut HalfStream, Tap<'a>) {
        let book = Book {
            counts: &mut self.work.get_or_insert_default().counts,
            placed: self.placed,
            unacknowledged: &mut self.unacknowledged,
            accumulator,
            messages: 0,
            time: self.last_seen,
            serial: self.serial,
        };
        (
            &mut self.streams[way as usize],
            Tap {
                way,
                framer: &mut self.framer,
                book,
            },
        )
    }

    /// A segment's payload: the captured bytes, and its original length. Returns what became of it
    /// and how many messages it completed.
    ///
    /// The sink is put together only where it is needed: not for the next segment of a stream whose
    /// framing goes by segments.
    #[inline(always)]
    pub fn receive(
        &mut self,
        way: Way,
        sequence: u32,
        captured: &[u8],
        length: u32,
        space: &mut HoldingSpace,
        accumulator: Option<&mut Accumulator>,
    ) -> (Arrival, u64) {
        if !self.framer.reads_bytes() && self.streams[way as usize].take_next(sequence, length) {
            let (_, mut tap) = self.split(way, accumulator);
            tap.framer.arrived(way, u64::from(length), &mut tap.book);
            let arrival = Arrival {
                new: length,
                ..Arrival::default()
            };
            return (arrival, tap.book.messages);
        }
        self.receive_and_read(way, sequence, captured, length, space, accumulator)
    }

    #[inline(never)]
    fn receive_and_read(
        &mut self,
        way: Way,
        sequence: u32,
        captured: &[u8],
        length: u32,
        space: &mut HoldingSpace,
        mut accumulator: Option<&mut Accumulator>,
    ) -> (Arrival, u64) {
        let mut messages = 0;
        if self.misses_syn(way) && !self.lost_start[way as usize] {
            self.lost_start[way as usize] = true;
            let (_, mut tap) = self.split(way, accumulator.as_deref_mut());
            tap.framer.gap(way, 1, &mut tap.book);
            messages += tap.book.messages;
        }
        let (stream, mut tap) = self.split(way, accumulator);
        let arrival = stream.segment(sequence, captured, length, space, &mut tap);
        tap.framer
            .arrived(way, u64::from(arrival.new), &mut tap.book);
        (arrival, messages + tap.book.messages)
    }

    /// Takes and counts a segment [of the usual form](crate::packet::decode_usual) with no other flag
    /// of the connection's than ACK, if there is nothing about it to think of: both streams are in
    /// step, it brings what comes next and acknowledges what was seen, and its payload, if any, is
    /// whole messages. `packet` is all that was captured of it, and `mtu` what it is projected onto. Returns
    /// how many messages it was.
    #[inline(always)]
    pub fn flows_on(
        &mut self,
        way: Way,
        lengths: &Lengths,
        segment: &Segment<'_>,
        packet: &[u8],
        mtu: Mtu,
    ) -> Option<Messages> {
        let (sequence, length) = (segment.sequence, lengths.payload);
        let [to_listener, from_listener] = &mut self.streams;
        let (mine, peer) = match way {
            Way::ToListener => (to_listener, from_listener),
            Way::FromListener => (from_listener, to_listener),
        };
        let in_step = match length {
            0 => mine.is_in_step(),
            _ => mine.expects(sequence),
        };
        if !self.can_flow_on || self.closed || !in_step {
            return None;
        }
        let work = self.work.as_deref_mut()?;
        let whole = match length {
            0 => None,
            _ => {
                let end = packet.len() - lengths.link_trailer as usize;
                Some(self.framer.whole(way, &packet[..end], length as usize)?)
            }
        };
        if !peer.acknowledge_delivered(segment.acknowledgment) {
            return None;
        }
        if whole.is_some() {
            mine.take_next(sequence, length);
        }
        work.flowed[way as usize].enter(mtu, lengths, whole.as_ref());
        Some(whole.map_or(Messages::ZERO, |whole| whole.messages))
    }

    /// Takes and counts a train of its protocol's, if each of its packets would have [flowed
    /// on](Connection::flows_on). Returns what its first payload answers.
    pub fn flows_on_with(&mut self, train: &Train) -> Option<Turnaround> {
        let ways = [Way::ToListener, Way::FromListener];
        let streams = self.streams.iter().zip(&train.streams);
        let goes_on = |way: Way| {
            let brings = train.streams[way as usize].has_payload();
            !brings || self.framer.is_between_messages(way)
        };
        if !self.can_flow_on
            || self.closed
            || self.protocol != Some(train.protocol)
            || !streams.clone().all(|(mine, its)| mine.goes_on_with(its))
            || !ways.into_iter().all(goes_on)
        {
            return None;
        }
        for (mine, its) in self.streams.iter_mut().zip(&train.streams) {
            mine.go_on_with(its);
        }
        let work = self.work.get_or_insert_default();
        for (mine, its) in work.flowed.iter_mut().zip(&train.flowed) {
            mine.merge(its);
        }
        self.in_use = true;
        self.last_seen = train.last;
        let mut after = Turnaround::default();
        if let Some((way, time)) = train.first_payload {
            after = self.asked.turn(way, time);
            self.asked = train.asked;
        }
        Some(after)
    }

    /// Takes the counts away.
    pub fn take_counts(&mut self) -> Option<[Counts; 2]> {
        let counts = self.work.take()?.settled();
        for (placed, counts) in self.placed.iter_mut().zip(&counts) {
            *placed = placed.wrapping_add(counts.placed());
        }
        Some(counts)
    }

    /// The acknowledgment number of a packet of this way. Returns how many messages became complete
    /// with data that was held behind a hole.
    #[inline(always)]
    pub fn acknowledge(
        &mut self,
        way: Way,
        acknowledgment: u32,
        space: &mut HoldingSpace,
        mut accumulator: Option<&mut Accumulator>,
    ) -> u64 {
        let peer = if self.is_to_itself {
            way
        } else {
            way.opposite()
        };
        let mut messages = 0;
        if !self.streams[peer as usize].acknowledge_delivered(acknowledgment) {
            messages =
                self.acknowledge_unseen(peer, acknowledgment, space, accumulator.as_deref_mut());
        }
        self.acknowledge_messages(peer, accumulator);
        messages
    }

    #[cold]
    fn acknowledge_unseen(
        &mut self,
        way: Way,
        acknowledgment: u32,
        space: &mut HoldingSpace,
        accumulator: Option<&mut Accumulator>,
    ) -> u64 {
        let (stream, mut tap) = self.split(way, accumulator);
        stream.acknowledge(acknowledgment, space, &mut tap);
        tap.book.messages
    }

    /// Whether the other way of a connection began with SYN, and this one without: its SYN passed,
    /// and perhaps data with it, and no packet showed it.
    pub fn misses_syn(&self, way: Way) -> bool {
        !self.mid_stream && !self.is_to_itself && !self.streams[way as usize].began_with_syn()
    }

    /// The ways of streams that came in mid-stream though their connection's beginning was seen.
    pub fn unseen_beginnings(&self) -> impl Iterator<Item = Way> {
        let is_tcp = self.key.transport() == TransportKind::Tcp;
        let unseen = move |way: &Way| {
            is_tcp && self.misses_syn(*way) && self.streams[*way as usize].is_anchored()
        };
        [Way::ToListener, Way::FromListener]
            .into_iter()
            .filter(unseen)
    }

    /// When the first packet came.
    pub fn opened(&self) -> Timestamp {
        self.opened
    }

    /// Whether it has ended so long before this time that no packet of that time is its own.
    #[inline]
    pub fn is_over(&self, time: Timestamp) -> bool {
        let silent = time.as_nanos().saturating_sub(self.last_seen.as_nanos());
        self.closed && silent >= LINGERS
    }

    /// FIN behind this sequence number's byte.
    pub fn fin(&mut self, way: Way, sequence: u32) {
        self.has_fin = true;
        self.streams[way as usize].fin(sequence);
    }

    /// Whether both ways have ended with FIN, and everything was acknowledged.
    pub fn is_finished(&self) -> bool {
        self.streams.iter().all(HalfStream::is_finished)
    }

    /// RST from this way's sender: it sends nothing more.
    pub fn reset(&mut self, way: Way) {
        let never_accepted = !self.streams[Way::FromListener as usize].is_anchored();
        let asked = self.streams[Way::ToListener as usize].began_with_syn();
        if way == Way::FromListener && asked && never_accepted && !self.mid_stream {
            self.refused = true;
        }
        self.reset.get_or_insert_default()[way as usize].get_or_insert(self.last_seen);
        self.closed = true;
    }

    /// Whether this way's sender has reset the connection.
    #[inline]
    pub fn is_reset(&self, way: Way) -> bool {
        let reset = self.reset.as_deref();
        reset.is_some_and(|reset| reset[way as usize].is_some())
    }

    /// Tells the framing that a stream has reached its FIN, once.
    pub fn end_at_fin(&mut self, way: Way, accumulator: Option<&mut Accumulator>) -> u64 {
        if self.ended[way as usize] || !self.streams[way as usize].is_at_fin() {
            return 0;
        }
        self.ended[way as usize] = true;
        let (_, mut tap) = self.split(way, accumulator);
        tap.framer.end(way, true, &mut tap.book);
        tap.book.messages
    }

    /// Nothing more will come: holes become gaps, and what is unfinished is incomplete. Returns
    /// how many messages that completed.
    pub fn end(
        &mut self,
        space: &mut HoldingSpace,
        mut accumulator: Option<&mut Accumulator>,
    ) -> u64 {
        let mut messages = 0;
        for way in [Way::ToListener, Way::FromListener] {
            let (stream, mut tap) = self.split(way, accumulator.as_deref_mut());
            stream.close(space, &mut tap);
            messages += tap.book.messages;
            messages += self.end_at_fin(way, accumulator.as_deref_mut());
        }
        for way in [Way::ToListener, Way::FromListener] {
            // Also after FIN: bytes from before a mid-stream pick-up may have come since.
            let (_, mut tap) = self.split(way, accumulator.as_deref_mut());
            tap.framer.end(way, false, &mut tap.book);
            messages += tap.book.messages;
            self.acknowledge_messages(way, accumulator.as_deref_mut());
        }
        messages
    }

    /// Counts the messages of this way that the peer has now acknowledged.
    #[inline(always)]
    pub fn acknowledge_messages(&mut self, way: Way, accumulator: Option<&mut Accumulator>) {
        if let Some(unacknowledged) = &mut self.unacknowledged
            && let Some(accumulator) = accumulator
        {
            let up_to = self.streams[way as usize].acknowledged();
            let queue = &mut unacknowledged[way as usize];
            while let Some(message) = queue.front()
                && message.end <= up_to
            {
                accumulator.acknowledged(message.kind, message.place);
                queue.pop_front();
            }
        }
    }
}

/// What takes a stream's bytes: the framing, and behind it the book.
pub(super) struct Tap<'a> {
    way: Way,
    pub framer: &'a mut Framer,
    pub book: Book<'a>,
}

impl StreamSink for Tap<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.framer.bytes(self.way, bytes, &mut self.book);
    }

    fn cut(&mut self, n: u64) {
        let unframed = |book: &Book<'_>| book.counts[self.way as usize].bytes.unframed.get();
        let before = unframed(&self.book);
        self.framer.cut(self.way, n, &mut self.book);
        let after = unframed(&self.book);
        self.book.counts[self.way as usize].cut_unframed += after - before;
    }

    fn gap(&mut self, n: u64) {
        let counts = &mut self.book.counts[self.way as usize];
        counts.gap_declared += n;
        self.framer.gap(self.way, n, &mut self.book);
    }

    fn late(&mut self, n: u64, of_gap: u64) {
        let counts = &mut self.book.counts[self.way as usize];
        counts.late += n;
        counts.late_of_gap += of_gap;
        self.framer.late(self.way, n, &mut self.book);
    }

    #[inline]
    fn wants_bytes(&self) -> bool {
        self.framer.reads_bytes()
    }
}

/// Where messages are entered.
pub(super) struct Book<'a> {
    counts: &'a mut [Counts; 2],
    /// See [`Connection::placed`].
    placed: [u64; 2],
    unacknowledged: &'a mut Option<Box<[VecDeque<Unacknowledged>; 2]>>,
    accumulator: Option<&'a mut Accumulator>,
    /// Messages entered since the book was opened.
    pub messages: u64,
    /// The connection's latest packet.
    time: Timestamp,
    /// The connection's number.
    serial: u64,
}

impl MessageSink for Book<'_> {
    #[inline(always)]
    fn message(&mut self, way: Way, message: Message) {
        let counts = &mut self.counts[way as usize];
        counts.messages += 1;
        counts.bytes.message += message.body.get();
        counts.bytes.framing += message.framing.get();
        self.messages += 1;
        if let (Some(label), Some(accumulator)) = (&message.label, &mut self.accumulator) {
            accumulator.labelled(label, message.body.get() + message.framing.get());
            let kind = (label.protocol, label.kind);
            let end = self.placed[way as usize].wrapping_add(counts.placed());
            let place = accumulator.log(|| MessageSeen {
                label: *label,
                body: message.body,
                framing: message.framing,
                time: self.time,
                connection: self.serial,
                way,
                end,
                acknowledged: false,
                whole: true,
            });
            let queue = &mut self.unacknowledged.get_or_insert_default()[way as usize];
            if queue.len() == MOST_UNACKNOWLEDGED {
                queue.pop_front();
            }
            queue.push_back(Unacknowledged { end, kind, place });
        }
    }

    fn incomplete(&mut self, way: Way, bytes: IncompleteBytes) {
        let counts = &mut self.counts[way as usize];
        counts.incomplete_messages += 1;
        counts.bytes.incomplete += bytes;
    }

    fn cut_off(&mut self, way: Way, label: &Label, body: MessageBytes, bytes: IncompleteBytes) {
        self.incomplete(way, bytes);
        let end = self.placed[way as usize].wrapping_add(self.counts[way as usize].placed());
        if let Some(accumulator) = &mut self.accumulator {
            accumulator.log(|| MessageSeen {
                label: *label,
                body,
                framing: FramingBytes::new(WireWatt::HEADER as u64),
                time: self.time,
                connection: self.serial,
                way,
                end,
                acknowledged: false,
                whole: false,
            });
        }
    }

    #[inline]
    fn unframed(&mut self, way: Way, bytes: UnframedBytes) {
        self.counts[way as usize].bytes.unframed += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::ConnectionTable;

    /// With the table that finds them, which is a quarter to half full, a million take less than 400 MB.
    #[test]
    fn an_idle_connection_takes_at_most_400_bytes() {
        let in_table = 4 * ConnectionTable::PLACE_BYTES;
        assert!(size_of::<Option<Connection>>() + in_table <= 400);
    }
}
