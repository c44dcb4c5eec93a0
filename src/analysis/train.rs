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
use crate::message::{Framer, Way};
use crate::packet::{Lengths, Segment};
use crate::tally::{Bucket, Series};
use crate::units::{IpBytes, Messages, Mtu, Packets, Timestamp};

/// Segments that bring nothing but what comes next, and whole messages.
#[derive(Debug)]
pub(super) struct Train {
    /// Of its first packet, and the way that this goes.
    pub ends: Ends,
    pub way: Way,
    /// Whose ports the listening end has.
    pub protocol: ProtocolIndex,
    pub streams: [Stretch; 2],
    pub flowed: [Flowed; 2],
    /// What its first payload answers, only the connection knows.
    pub first_payload: Option<(Way, Timestamp)>,
    pub asked: Asked,
    /// The earliest and the latest packet, and the last one.
    pub earliest: Timestamp,
    pub latest: Timestamp,
    pub last: Timestamp,
}

impl Train {
    /// A train without packets, for those of one connection: `way` is that of packets with these ends.
    pub fn new(ends: Ends, way: Way, protocol: ProtocolIndex) -> Self {
        Self {
            ends,
            way,
            protocol,
            streams: Default::default(),
            flowed: Default::default(),
            first_payload: None,
            asked: Asked::default(),
            earliest: Timestamp::from_nanos(i64::MAX),
            latest: Timestamp::from_nanos(i64::MIN),
            last: Timestamp::from_nanos(i64::MIN),
        }
    }

    /// Takes a segment of the connection's, [of the usual form](crate::packet::decode_usual) and with no
    /// other flag than ACK, and says whether it fits. `framer` has seen nothing yet.
    #[inline(always)]
    pub fn couple(
        &mut self,
        way: Way,
        packet: &CapturedPacket<'_>,
        (lengths, segment): (&Lengths, &Segment<'_>),
        framer: &Framer,
        mtu: Mtu,
        tally: &mut TrainTally,
    ) -> bool {
        let time = packet.timestamp;
        // By number, not by a match: no processor could learn which way the next packet goes.
        let (mine, peer) = (way as usize & 1, way as usize & 1 ^ 1);
        let mut whole = None;
        if lengths.payload > 0 {
            if !self.streams[mine].expects(segment.sequence) {
                return false;
            }
            let end = packet.data.len() - lengths.link_trailer as usize;
            whole = framer.whole(way, &packet.data[..end], lengths.payload as usize);
            if whole.is_none() {
                return false;
            }
        }
        if !self.streams[peer].acknowledge(segment.acknowledgment) {
            return false;
        }
        self.flowed[mine].enter(mtu, lengths, whole.as_ref());
        let mut after = Turnaround::default();
        let mut messages = Messages::ZERO;
        if let Some(whole) = whole {
            self.streams[mine].take(segment.sequence, lengths.payload);
            after = self.asked.turn(way, time);
            if self.first_payload.is_none() {
                self.first_payload = Some((way, time));
            }
            messages = whole.messages;
        }
        tally.turnarounds.add(after);
        tally.tick(time, messages, lengths.ip());
        self.earliest = self.earliest.min(time);
        self.latest = self.latest.max(time);
        self.last = time;
        true
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
        bucket.packets += Packets::new(1);
        bucket.messages += messages;
        bucket.ip += IpBytes::new(u64::from(ip));
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
