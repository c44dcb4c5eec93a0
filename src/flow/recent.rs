//! Where the connections of the latest IPv4 packets are, by the packets' own words.

use super::Direction;
use crate::packet::Addresses;

/// Finds IPv4 connections without putting their ends in order first. What it has forgotten, the
/// [`ConnectionTable`](super::ConnectionTable) knows.
///
/// Each direction has the one place that its hash gives it, and a newcomer takes it: nothing is
/// searched.
#[derive(Debug)]
pub struct RecentFlows {
    places: Box<[Place; PLACES]>,
}

const PLACES: usize = 4096;

/// A packet's source and destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    addresses: u64,
    ports: u32,
}

/// Its fields side by side fill a quarter of a cache line.
#[derive(Debug, Clone, Copy)]
struct Place {
    addresses: u64,
    ports: u32,
    /// Twice the connection's index, and the direction.
    found: u32,
}

const NOTHING: u32 = u32::MAX;

impl Default for RecentFlows {
    fn default() -> Self {
        let nothing = Place {
            addresses: 0,
            ports: 0,
            found: NOTHING,
        };
        Self {
            places: Box::new([nothing; PLACES]),
        }
    }
}

impl Ends {
    /// Of an IPv4 packet.
    #[inline(always)]
    pub fn new(addresses: &Addresses, source_port: u16, destination_port: u16) -> Option<Self> {
        match *addresses {
            Addresses::V4 {
                source,
                destination,
            } => Some(Self::of_v4(
                (source, destination),
                (source_port, destination_port),
            )),
            Addresses::V6 { .. } => None,
        }
    }

    /// Of these addresses and ports, the source's first.
    #[inline(always)]
    pub fn of_v4((source, destination): (u32, u32), (from, to): (u16, u16)) -> Self {
        Self {
            addresses: u64::from(source) << 32 | u64::from(destination),
            ports: u32::from(from) << 16 | u32::from(to),
        }
    }

    /// Source and destination address.
    pub fn addresses(self) -> (u32, u32) {
        ((self.addresses >> 32) as u32, self.addresses as u32)
    }

    /// Source and destination port.
    #[inline(always)]
    pub fn ports(self) -> (u16, u16) {
        ((self.ports >> 16) as u16, self.ports as u16)
    }

    /// Of a packet that goes the other way.
    pub fn opposite(self) -> Self {
        Self {
            addresses: self.addresses.rotate_left(32),
            ports: self.ports.rotate_left(16),
        }
    }

    /// The same for packets of both ways.
    pub fn either_way(self) -> Self {
        self.min(self.opposite())
    }

    /// Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4): the top bits of the
    /// product depend on all bits.
    #[inline(always)]
    fn place(self) -> usize {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let word = (self.addresses ^ u64::from(self.ports) << 16).wrapping_mul(GOLDEN);
        (word >> (u64::BITS - PLACES.ilog2())) as usize
    }
}

impl RecentFlows {
    /// The connection's index and the direction of packets with these ends, if remembered.
    #[inline(always)]
    pub fn find(&self, ends: Ends) -> Option<(u32, Direction)> {
        let place = &self.places[ends.place()];
        let direction = match place.found & 1 {
            0 => Direction::Up,
            _ => Direction::Down,
        };
        (place.is_of(ends) && place.found != NOTHING).then_some((place.found >> 1, direction))
    }

    /// Remembers where packets with these ends belong, and forgets what had their place.
    #[inline]
    pub fn remember(&mut self, ends: Ends, index: u32, direction: Direction) {
        let Ends { addresses, ports } = ends;
        self.places[ends.place()] = Place {
            addresses,
            ports,
            found: index << 1 | direction as u32,
        };
    }

    /// Forgets packets with these ends.
    pub fn forget(&mut self, ends: Ends) {
        let place = &mut self.places[ends.place()];
        if place.is_of(ends) {
            place.found = NOTHING;
        }
    }
}

impl Place {
    #[inline(always)]
    fn is_of(&self, ends: Ends) -> bool {
        self.addresses == ends.addresses && self.ports == ends.ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source_port: u16, destination_port: u16) -> Ends {
        let addresses = Addresses::V4 {
            source: 0x7f00_0001,
            destination: 0x7f00_0002,
        };
        Ends::new(&addresses, source_port, destination_port).unwrap()
    }

    #[test]
    fn what_is_found_is_what_was_last_remembered_of_just_these_ends() {
        let mut recent = RecentFlows::default();
        for port in 81..u16::MAX {
            let (there, index) = (ends(port, 80), u32::from(port));
            let direction = [Direction::Up, Direction::Down][usize::from(port % 2)];
            assert_eq!(recent.find(there), None);
            recent.remember(there, index, direction);
            assert_eq!(recent.find(there), Some((index, direction)));
            assert_eq!(recent.find(there.opposite()), None);
            assert_eq!(recent.find(ends(80, port)), None);
        }
        recent.forget(ends(u16::MAX - 1, 80));
        assert_eq!(recent.find(ends(u16::MAX - 1, 80)), None);
    }

    #[test]
    fn many_flows_have_places_of_their_own() {
        let mut recent = RecentFlows::default();
        for port in 40_000..40_400 {
            recent.remember(ends(port, 80), 0, Direction::Up);
            recent.remember(ends(port, 80).opposite(), 0, Direction::Down);
        }
        let found = |port: &u16| recent.find(ends(*port, 80)).is_some();
        let kept = (40_000..40_400).filter(found).count();
        assert!(kept > 340, "{kept} of 400");
    }
}
