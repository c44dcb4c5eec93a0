//! IP packets put together from their fragments (RFC 791, section 3.2; RFC 8200, section 4.5).

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::packet::{Addresses, Fragment, Lengths, Reason};
use crate::units::Timestamp;

/// Fragments wait so long for others, in nanoseconds of capture time, from the first that came: RFC
/// 8200, section 4.5, and RFC 1122, section 3.3.2.
const PATIENCE: i64 = 60_000_000_000;

/// No IP packet with a fragment carries more.
const LONGEST: u32 = 65_535;

/// What an incomplete packet costs besides its fragments, and what each of these costs besides its
/// bytes, about.
const PACKET_OVERHEAD: usize = 256;
const FRAGMENT_OVERHEAD: usize = 128;

/// Incomplete IP packets, within a limit on the memory that they take. What brought their fragments is
/// kept with them as a `C`.
#[derive(Debug)]
pub struct Fragments<C = Carrier> {
    packets: FxHashMap<Key, Incomplete<C>>,
    /// The longest waiting first; some of them may be whole by now.
    waiting: VecDeque<(Key, u64)>,
    /// Incomplete packets begun so far.
    begun: u64,
    held: usize,
    most: usize,
}

/// A captured packet that carried a fragment, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carrier {
    /// When it was captured.
    pub time: Timestamp,
    /// Its lengths. What it carries of the whole packet is surplus, until the whole is decoded.
    pub lengths: Lengths,
}

/// What became of a fragment.
#[derive(Debug)]
pub enum Assembly<C = Carrier> {
    /// It waits for others.
    Waits,
    /// It was the last one.
    Whole(Whole<C>),
    /// It cannot be a part of any packet, or no longer.
    Broken(Broken<C>),
}

/// What the fragments of a packet add up to.
#[derive(Debug)]
pub struct Whole<C = Carrier> {
    /// Of the packet.
    pub addresses: Addresses,
    /// The IP protocol of what it carries.
    pub protocol: u8,
    /// How many bytes that is.
    pub length: u32,
    /// As many of them from the first on as were captured without a hole.
    pub captured: Vec<u8>,
    /// The packets that brought them, in capture order.
    pub carriers: Vec<C>,
    /// Bytes that came a second time with another value. The first counts.
    pub conflicting: u64,
}

/// Packets whose fragments will never be whole.
#[derive(Debug)]
pub struct Broken<C = Carrier> {
    /// Why.
    pub reason: Reason,
    /// The packets that brought fragments.
    pub carriers: Vec<C>,
}

/// Fragments of one packet have these in common: RFC 791 for IPv4, and RFC 8200 for IPv6, where the
/// protocol is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    addresses: Addresses,
    identification: u32,
    protocol: u8,
}

impl Key {
    fn of(addresses: Addresses, fragment: &Fragment<'_>) -> Self {
        Self {
            addresses,
            identification: fragment.identification,
            protocol: match addresses {
                Addresses::V4 { .. } => fragment.protocol,
                Addresses::V6 { .. } => 0,
            },
        }
    }
}

#[derive(Debug)]
struct Incomplete<C> {
    serial: u64,
    began: Timestamp,
    /// Of the first fragment; where it has not come, of another.
    protocol: u8,
    /// Disjoint, by their offset.
    parts: Vec<Part>,
    /// Bytes in them.
    covered: u32,
    /// Where the packet ends, once its last fragment has come.
    end: Option<u32>,
    carriers: Vec<C>,
    conflicting: u64,
    /// Fragments contradicted each other: what still comes of it is broken as well.
    is_broken: bool,
    cost: usize,
}

#[derive(Debug)]
struct Part {
    start: u32,
    end: u32,
    captured: Vec<u8>,
}

impl<C> Fragments<C> {
    /// The usual limit.
    pub const ROOM: usize = 4 << 20;

    /// Room for `most` bytes, with what it costs to keep them.
    pub fn new(most: usize) -> Self {
        Self {
            packets: FxHashMap::default(),
            waiting: VecDeque::new(),
            begun: 0,
            held: 0,
            most,
        }
    }

    /// The packets whose fragments wait.
    pub fn carriers(&self) -> impl Iterator<Item = &C> {
        self.packets.values().flat_map(|packet| &packet.carriers)
    }

    /// Takes a fragment, which was captured at this time, and what brought it: one packet, unless it came
    /// in fragments of a tunnel's packet itself.
    pub fn take(
        &mut self,
        addresses: Addresses,
        fragment: &Fragment<'_>,
        time: Timestamp,
        carriers: impl IntoIterator<Item = C>,
    ) -> Assembly<C> {
        let end = fragment.offset + fragment.length;
        let is_odd = fragment.more && !fragment.length.is_multiple_of(8);
        if fragment.length == 0 || end > LONGEST || is_odd {
            return Assembly::Broken(Broken {
                reason: Reason::BadFragment,
                carriers: carriers.into_iter().collect(),
            });
        }
        let key = Key::of(addresses, fragment);
        let is_v4 = matches!(addresses, Addresses::V4 { .. });
        let packet = self.packets.entry(key).or_insert_with(|| {
            self.begun += 1;
            self.waiting.push_back((key, self.begun));
            self.held += PACKET_OVERHEAD;
            Incomplete::new(self.begun, time, fragment.protocol)
        });
        let cost = packet.cost;
        let before = packet.carriers.len();
        packet.carriers.extend(carriers);
        packet.cost += (packet.carriers.len() - before) * FRAGMENT_OVERHEAD;
        if !packet.is_broken {
            packet.is_broken = !packet.enter(fragment, is_v4);
        }
        if packet.is_broken {
            packet.parts.clear();
            packet.cost = PACKET_OVERHEAD;
            self.held = self.held - cost + packet.cost;
            return Assembly::Broken(Broken {
                reason: Reason::FragmentsContradict,
                carriers: std::mem::take(&mut packet.carriers),
            });
        }
        self.held = self.held - cost + packet.cost;
        if !packet.is_whole() {
            return Assembly::Waits;
        }
        match self.remove(&key) {
            Some(packet) => Assembly::Whole(packet.join(addresses)),
            None => Assembly::Waits,
        }
    }

    /// Gives up a packet, before this fragment is [taken](Self::take): its own, if that has waited too long, or
    /// the one that has waited longest, if that was too long or takes room that others need.
    pub fn give_up(
        &mut self,
        addresses: Addresses,
        fragment: &Fragment<'_>,
        time: Timestamp,
    ) -> Option<Broken<C>> {
        let is_late = |packet: &Incomplete<C>| {
            time.as_nanos().saturating_sub(packet.began.as_nanos()) > PATIENCE
        };
        let key = Key::of(addresses, fragment);
        if self.packets.get(&key).is_some_and(is_late)
            && let Some(broken) = self.drop_packet(&key, Reason::FragmentAlone)
        {
            return Some(broken);
        }
        loop {
            let &(key, serial) = self.waiting.front()?;
            let packet = self.packets.get(&key);
            let reason = match packet.filter(|packet| packet.serial == serial) {
                // It is whole by now.
                None => None,
                Some(packet) if is_late(packet) => Some(Reason::FragmentAlone),
                Some(_) if self.held > self.most => Some(Reason::FragmentGivenUp),
                Some(_) => return None,
            };
            self.waiting.pop_front();
            if let Some(reason) = reason
                && let Some(broken) = self.drop_packet(&key, reason)
            {
                return Some(broken);
            }
        }
    }

    /// Gives up the packet that has waited longest: nothing more will come.
    pub fn end(&mut self) -> Option<Broken<C>> {
        while let Some((key, serial)) = self.waiting.pop_front() {
            let packet = self.packets.get(&key);
            if packet.is_some_and(|packet| packet.serial == serial)
                && let Some(broken) = self.drop_packet(&key, Reason::FragmentAlone)
            {
                return Some(broken);
            }
        }
        None
    }

    /// Nothing for a packet whose fragments were all told of already, unless it was forgotten that they
    /// were, and what else comes of it may be taken for another.
    fn drop_packet(&mut self, key: &Key, reason: Reason) -> Option<Broken<C>> {
        let carriers = self.remove(key)?.carriers;
        let is_news = !carriers.is_empty() || reason == Reason::FragmentGivenUp;
        is_news.then_some(Broken { reason, carriers })
    }

    fn remove(&mut self, key: &Key) -> Option<Incomplete<C>> {
        let packet = self.packets.remove(key)?;
        self.held -= packet.cost;
        // What became whole is struck from the queue when it comes to its front. So that the queue stays
        // in proportion to what waits, it is swept when most of it is such.
        if self.waiting.len() > 64 + 4 * self.packets.len() {
            let packets = &self.packets;
            self.waiting.retain(|(key, serial)| {
                packets
                    .get(key)
                    .is_some_and(|packet| packet.serial == *serial)
            });
        }
        Some(packet)
    }
}

impl<C> Incomplete<C> {
    fn new(serial: u64, began: Timestamp, protocol: u8) -> Self {
        Self {
            serial,
            began,
            protocol,
            parts: Vec::new(),
            covered: 0,
            end: None,
            carriers: Vec::new(),
            conflicting: 0,
            is_broken: false,
            cost: PACKET_OVERHEAD,
        }
    }

    /// Enters a fragment, and tells whether it agrees with the others. Where it overlaps them, what came
    /// first counts in IPv4; in IPv6 fragments must not overlap (RFC 5722), unless they are the same (RFC
    /// 8200, section 4.5).
    fn enter(&mut self, fragment: &Fragment<'_>, may_overlap: bool) -> bool {
        let (start, end) = (fragment.offset, fragment.offset + fragment.length);
        let known_end = self.parts.last().map_or(0, |part| part.end);
        let agrees = match (self.end, fragment.more) {
            (Some(all), true) => end <= all,
            (Some(all), false) => end == all,
            (None, true) => true,
            (None, false) => end >= known_end,
        };
        if !agrees {
            return false;
        }
        if start == 0 {
            self.protocol = fragment.protocol;
        }
        if !fragment.more {
            self.end = Some(end);
        }
        let captured = |from: u32, to: u32| {
            let length = fragment.captured.len();
            let (from, to) = ((from - start) as usize, (to - start) as usize);
            &fragment.captured[from.min(length)..to.min(length)]
        };
        let first = self.parts.partition_point(|part| part.end <= start);
        let behind = self.parts.partition_point(|part| part.start < end);
        let mut fresh = Vec::new();
        let mut at = start;
        for part in &self.parts[first..behind.max(first)] {
            if part.start > at {
                fresh.push((at, part.start));
            }
            let (from, to) = (part.start.max(start), part.end.min(end));
            let known = &part.captured[part.captured.len().min((from - part.start) as usize)..];
            let both = known.iter().zip(captured(from, to));
            let conflicting = both.filter(|(one, other)| one != other).count();
            let is_same = (part.start, part.end) == (start, end) && conflicting == 0;
            if !may_overlap && !is_same {
                return false;
            }
            self.conflicting += conflicting as u64;
            at = part.end;
        }
        if at < end {
            fresh.push((at, end));
        }
        for (from, to) in fresh {
            let part = Part {
                start: from,
                end: to,
                captured: captured(from, to).to_vec(),
            };
            self.cost += part.captured.len();
            self.covered += to - from;
            let place = self.parts.partition_point(|other| other.start < from);
            self.parts.insert(place, part);
        }
        true
    }

    /// Whether every byte from the first to the last has come.
    fn is_whole(&self) -> bool {
        self.end == Some(self.covered)
    }

    fn join(self, addresses: Addresses) -> Whole<C> {
        let mut captured = Vec::new();
        for part in &self.parts {
            if captured.len() == part.start as usize {
                captured.extend_from_slice(&part.captured);
            }
        }
        Whole {
            addresses,
            protocol: self.protocol,
            length: self.end.unwrap_or_default(),
            captured,
            carriers: self.carriers,
            conflicting: self.conflicting,
        }
    }
}

impl Whole {
    /// Enters into the packets that brought it what the whole was found to be. Their surplus is all of
    /// these bytes, and what came twice.
    pub fn spread(&mut self, decoded: &Lengths) {
        let mut left = *decoded;
        for Carrier { lengths, .. } in &mut self.carriers {
            for (from, to) in [
                (&mut left.ip_header, &mut lengths.ip_header),
                (&mut left.tunnel_header, &mut lengths.tunnel_header),
                (&mut left.transport_header, &mut lengths.transport_header),
                (&mut left.payload, &mut lengths.payload),
            ] {
                let moved = (*from).min(lengths.surplus);
                *from -= moved;
                *to += moved;
                lengths.surplus -= moved;
            }
        }
    }
}

#[cfg(test)]
mod tests;
