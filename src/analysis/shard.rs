//! Which part of a capture a packet belongs to, so that no connection is divided.

use std::num::NonZeroU16;

use crate::capture::CapturedPacket;
use crate::flow::{Assembly, Broken, Fragments, mix};
use crate::packet::{self, Addresses, Fragment, Packet, Transport, Undecoded};
use crate::units::{LinkType, Timestamp};

/// Sorts the packets of a capture into parts by their connections.
///
/// What the packets of a part add up to, added to what those of the others do, is what they all add
/// up to: whatever is counted by connection stands in one part. Fragments are kept until their packet
/// is whole, since one of them tells its ports.
#[derive(Debug)]
pub struct Sharder {
    parts: Parts,
    fragments: Fragments<KeptPacket>,
    due: Vec<(u16, KeptPacket)>,
}

/// A captured packet that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPacket {
    timestamp: Timestamp,
    link_type: LinkType,
    original_length: u32,
    data: Vec<u8>,
}

impl KeptPacket {
    fn of(packet: &CapturedPacket<'_>) -> Self {
        Self {
            timestamp: packet.timestamp,
            link_type: packet.link_type,
            original_length: packet.original_length,
            data: packet.data.to_vec(),
        }
    }

    /// As it was captured.
    pub fn packet(&self) -> CapturedPacket<'_> {
        CapturedPacket {
            timestamp: self.timestamp,
            link_type: self.link_type,
            original_length: self.original_length,
            data: &self.data,
        }
    }
}

/// So many parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts(pub NonZeroU16);

impl Parts {
    /// The part of a connection with this hash.
    #[inline(always)]
    pub fn part(self, hash: u32) -> u16 {
        // The connections' table takes the lower bits: those of a part keep all of their places.
        ((u64::from(hash) * u64::from(self.0.get())) >> u32::BITS) as u16
    }
}

impl Sharder {
    /// Into so many parts.
    pub fn new(parts: NonZeroU16) -> Self {
        Self {
            parts: Parts(parts),
            fragments: Fragments::new(Fragments::<KeptPacket>::ROOM),
            due: Vec::new(),
        }
    }

    /// The part of a captured packet, from 0: of TCP and UDP by the connection, of an ICMP error by the
    /// connection that it is about, of what is neither by the two addresses, and any of what cannot
    /// be decoded. `None` of a fragment: it was kept, and what is [due](Sharder::due) now has to
    /// be asked for.
    pub fn part_of(&mut self, packet: &CapturedPacket<'_>) -> Option<u16> {
        match packet::usual_ends(packet.link_type, packet.data) {
            Some((addresses, ports)) => Some(self.part(hash_of_v4(addresses, ports))),
            None => self.part_of_any(packet),
        }
    }

    /// The parts.
    pub(super) fn parts(&self) -> Parts {
        self.parts
    }

    /// Kept packets whose parts are known by now, in the order in which their parts have to see them.
    pub fn due(&mut self) -> impl Iterator<Item = (u16, KeptPacket)> {
        self.due.drain(..)
    }

    /// Nothing more comes: all kept packets are due.
    pub fn end(&mut self) {
        while let Some(broken) = self.fragments.end() {
            self.broken(broken);
        }
    }

    fn part(&self, hash: u32) -> u16 {
        self.parts.part(hash)
    }

    #[cold]
    fn part_of_any(&mut self, packet: &CapturedPacket<'_>) -> Option<u16> {
        let decoded = packet::decode(packet.link_type, packet.data, packet.original_length);
        if let Ok(Packet {
            addresses,
            transport: Transport::Fragment(fragment),
            ..
        }) = &decoded
        {
            self.keep(*addresses, fragment, packet);
            return None;
        }
        Some(self.part(hash_of_any(&decoded)))
    }

    /// Does with a fragment what an analyzer of the whole capture would do, so that a part's
    /// finds the same.
    fn keep(&mut self, addresses: Addresses, fragment: &Fragment<'_>, packet: &CapturedPacket<'_>) {
        let time = packet.timestamp;
        let kept = [KeptPacket::of(packet)];
        let mut assembly = self.take_fragment(addresses, fragment, time, kept);
        loop {
            let whole = match assembly {
                Assembly::Waits => return,
                Assembly::Broken(broken) => return self.broken(broken),
                Assembly::Whole(whole) => whole,
            };
            let decoded = packet::decode_reassembled(
                whole.addresses,
                whole.protocol,
                &whole.captured,
                whole.length,
            );
            match &decoded {
                Ok(Packet {
                    addresses,
                    transport: Transport::Fragment(fragment),
                    ..
                }) => {
                    let carriers = whole.carriers;
                    assembly = self.take_fragment(*addresses, fragment, time, carriers);
                }
                _ => {
                    let part = self.part(hash_of_any(&decoded));
                    let due = whole.carriers.into_iter();
                    self.due.extend(due.map(|packet| (part, packet)));
                    return;
                }
            }
        }
    }

    fn take_fragment(
        &mut self,
        addresses: Addresses,
        fragment: &Fragment<'_>,
        time: Timestamp,
        carriers: impl IntoIterator<Item = KeptPacket>,
    ) -> Assembly<KeptPacket> {
        while let Some(broken) = self.fragments.give_up(addresses, fragment, time) {
            self.broken(broken);
        }
        self.fragments.take(addresses, fragment, time, carriers)
    }

    fn broken(&mut self, broken: Broken<KeptPacket>) {
        let due = broken.carriers.into_iter();
        self.due.extend(due.map(|packet| (0, packet)));
    }
}

/// The same for both directions. Connections to one listener mostly come from ports that follow one
/// another: multiples of the golden ratio lie evenly apart (Knuth, The Art of Computer Programming, 6.4),
/// where random places would leave some parts with twice as many as others.
#[inline(always)]
pub(super) fn hash_of_v4((source, destination): (u32, u32), ports: (u16, u16)) -> u32 {
    let differences = u64::from(source ^ destination);
    let hosts = mix(differences, u64::from(source) + u64::from(destination));
    among(hosts, ports)
}

#[inline(always)]
fn among(hosts: u64, (from, to): (u16, u16)) -> u32 {
    const GOLDEN: u32 = 0x9e37_79b1;
    let sum = u32::from(from) + u32::from(to);
    (hosts as u32).wrapping_add(sum.wrapping_mul(GOLDEN))
}

fn hash_of(addresses: &Addresses, ports: (u16, u16)) -> u32 {
    match *addresses {
        Addresses::V4 {
            source,
            destination,
        } => hash_of_v4((source, destination), ports),
        Addresses::V6 {
            source,
            destination,
        } => {
            let fold = |word: u128| (word >> 64) as u64 ^ word as u64;
            let sum = source.wrapping_add(destination);
            among(mix(fold(source ^ destination), fold(sum)), ports)
        }
    }
}

fn hash_of_any(decoded: &Result<Packet<'_>, Undecoded>) -> u32 {
    let Ok(packet) = decoded else {
        return 0;
    };
    let (addresses, ports) = match &packet.transport {
        Transport::Tcp(segment) => (
            &packet.addresses,
            (segment.source_port, segment.destination_port),
        ),
        Transport::Udp(datagram) => (
            &packet.addresses,
            (datagram.source_port, datagram.destination_port),
        ),
        Transport::IcmpError(error) => (
            &error.addresses,
            (error.source_port, error.destination_port),
        ),
        Transport::Fragment(_) | Transport::Other { .. } => (&packet.addresses, (0, 0)),
    };
    hash_of(addresses, ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random places would leave as few as two of fifty to a part.
    #[test]
    fn connections_from_ports_in_a_row_are_divided_evenly() {
        let sharder = Sharder::new(NonZeroU16::new(4).unwrap());
        for base in (32_768..60_000).step_by(97) {
            for step in [1, 2] {
                let mut parts = [0; 4];
                for connection in 0..50 {
                    let port = base + step * connection;
                    let hash = hash_of_v4((0x7f00_0001, 0x7f00_0001), (port, 6379));
                    let back = hash_of_v4((0x7f00_0001, 0x7f00_0001), (6379, port));
                    assert_eq!(hash, back);
                    parts[usize::from(sharder.part(hash))] += 1;
                }
                assert!(
                    parts.iter().all(|n| (9..=16).contains(n)),
                    "{base} {step}: {parts:?}"
                );
            }
        }
    }
}
