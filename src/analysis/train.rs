//! Packets of one connection that follow one another, put together before the connection is at hand
//! (packet trains: Jain and Routhier, IEEE JSAC 4(6), 1986, for whom a train ends with a pause).
//!
//! Most of what there is to do with a packet needs nothing of its connection's state, and any thread can do
//! it. The connection then takes a whole train in one step, if it stands where the train begins. If it
//! does not, the train counts for nothing, and its packets are counted one by one.

use std::collections::BTreeMap;

use super::accumulator::Turnarounds;
use super::connection::{Asked, Flowed, Turnaround};
use crate::capture::CapturedPacket;
use crate::flow::{Ends, ProtocolIndex, Stretch};
use crate::message::{Headerless, Way};
use crate::packet::{Lengths, Segment};
use crate::tally::{Bucket, Series};
use crate::units::{IpBytes, Messages, Mtu, Packets, Timestamp};

/// Segments that bring nothing but what comes next, and whole messages, none earlier than the one before.
#[derive(Debug)]
pub(super) struct Train {
    /// Of its first packet, and the way that this goes.
    pub ends: Ends,
    pub way: Way,
    /// Whose ports the listening end has, and how that frames.
    pub protocol: ProtocolIndex,
    framing: Headerless,
    /// Packets of both ways have come, so that both streams have been acknowledged.
    is_settled: bool,
    pub streams: [Stretch; 2],
    pub flowed: [Flowed; 2],
    /// What its first payload answers, only the connection knows.
    pub first_payload: Option<(Way, Timestamp)>,
    pub asked: Asked,
    /// When its first packet came, and its last.
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Train {
    /// A train without packets, for those of one connection from that time on: `way` is that of packets with
    /// these ends.
    pub fn new(
        ends: Ends,
        way: Way,
        (protocol, framing): (ProtocolIndex, Headerless),
        first: Timestamp,
    ) -> Self {
        Self {
            ends,
            way,
            protocol,
            framing,
            is_settled: false,
            streams: Default::default(),
            flowed: Default::default(),
            first_payload: None,
            asked: Asked::default(),
            first,
            last: first,
        }
    }

    /// Takes a segment of the connection's, [of the usual form](crate::packet::decode_usual) and with no
    /// other flag than ACK, and says whether it fits.
    #[inline(always)]
    pub fn couple(
        &mut self,
        way: Way,
        packet: &CapturedPacket<'_>,
        (lengths, segment): (&Lengths, &Segment<'_>),
        mtu: Mtu,
        tally: &mut TrainTally,
    ) -> bool {
        let time = packet.timestamp;
        if time < self.last {
            return false;
        }
        // By number, not by a match: no processor could learn which way the next packet goes.
        let (mine, peer) = (way as usize & 1, way as usize & 1 ^ 1);
        let (sequence, length) = (segment.sequence, lengths.payload);
        let mut whole = None;
        if length > 0 {
            let end = packet.data.len() - lengths.link_trailer as usize;
            let found = self
                .framing
                .whole(way, &packet.data[..end], length as usize);
            if found.is_none() {
                return false;
            }
            whole = found;
        }
        let goes_on = length == 0 || self.streams[mine].goes_on(sequence);
        if self.is_settled && goes_on && self.streams[peer].admits(segment.acknowledgment) {
            self.streams[mine].go_on(length);
            self.streams[peer].acknowledge_next(segment.acknowledgment);
        } else if !self.take_first(mine, sequence, length, segment.acknowledgment) {
            return false;
        }
        self.flowed[mine].enter(mtu, lengths, whole.as_ref());
        let mut after = Turnaround::default();
        let mut messages = Messages::ZERO;
        if let Some(whole) = whole {
            after = self.asked.turn(way, time);
            if self.first_payload.is_none() {
                self.first_payload = Some((way, time));
            }
            messages = whole.messages;
        }
        tally.turnarounds.add(after);
        tally.tick(time, messages, lengths.ip());
        self.last = time;
        true
    }

    /// Takes what may be the first of a stream's payload, or of its acknowledgments.
    #[inline(never)]
    fn take_first(&mut self, mine: usize, sequence: u32, length: u32, acknowledgment: u32) -> bool {
        if length > 0 && !self.streams[mine].expects(sequence) {
            return false;
        }
        if !self.streams[mine ^ 1].acknowledge(acknowledgment) {
            return false;
        }
        if length > 0 {
            self.streams[mine].take(sequence, length);
        }
        self.is_settled = self.streams.iter().all(Stretch::is_acknowledged);
        true
    }

    /// The same train without its packets.
    pub fn anew(&self) -> Self {
        Self::new(
            self.ends,
            self.way,
            (self.protocol, self.framing),
            self.first,
        )
    }

    /// How many packets it is.
    pub fn packets(&self) -> u64 {
        self.flowed.iter().map(Flowed::all_packets).sum()
    }
}

/// What trains add to their protocol's row beside their connections' counts.
#[derive(Debug, Clone, Default)]
pub(super) struct TrainTally {
    /// By the start of a [`Series`]' narrowest bucket, as they came.
    pub ticks: Vec<(i64, Bucket)>,
    pub turnarounds: Turnarounds,
}

impl TrainTally {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ticks.clear();
        self.turnarounds.clear();
    }

    #[inline(always)]
    fn tick(&mut self, time: Timestamp, messages: Messages, ip: u32) {
        let start = time.as_nanos() & !(Series::NARROWEST_NS as i64 - 1);
        let bucket = match self.ticks.last_mut() {
            Some((last, bucket)) if *last == start => bucket,
            _ => return self.begin_tick(start, messages, ip),
        };
        bucket.packets += 1;
        bucket.messages += messages.get();
        bucket.ip += u64::from(ip);
    }

    #[cold]
    fn begin_tick(&mut self, start: i64, messages: Messages, ip: u32) {
        let bucket = Bucket {
            packets: Packets::new(1),
            messages,
            ip: IpBytes::new(u64::from(ip)),
        };
        self.ticks.push((start, bucket));
    }

    /// Takes out what one of the trains has brought.
    #[cold]
    pub fn take_out(&mut self, other: &Self) {
        let mut rest = BTreeMap::<i64, Bucket>::new();
        for (start, bucket) in &self.ticks {
            rest.entry(*start).or_default().merge(bucket);
        }
        for (start, bucket) in &other.ticks {
            let rest = rest.entry(*start).or_default();
            *rest = Bucket {
                packets: Packets::new(rest.packets.get() - bucket.packets.get()),
                messages: Messages::new(rest.messages.get() - bucket.messages.get()),
                ip: IpBytes::new(rest.ip.get() - bucket.ip.get()),
            };
        }
        rest.retain(|_, bucket| *bucket != Bucket::default());
        self.ticks = rest.into_iter().collect();
        self.turnarounds.take_out(&other.turnarounds);
    }
}
