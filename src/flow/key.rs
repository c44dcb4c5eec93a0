//! Which connection a packet belongs to, and which way it goes.

use std::hint::select_unpredictable;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Ends;
use crate::packet::Addresses;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// Both ends of a connection, the lower one first, so that both directions have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionKey {
    low: u128,
    high: u128,
    /// From the top: the lower end's port, the higher end's port; [`IS_V6`] and [`IS_UDP`]. One word,
    /// so that one comparison compares all four.
    rest: u64,
}

const PORTS: u32 = 16;
const IS_V6: u64 = 1;
const IS_UDP: u64 = 2;

/// Which way a packet goes between the ends of its [`ConnectionKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Direction {
    /// From the lower end to the higher.
    Up = 0,
    /// From the higher end to the lower.
    Down = 1,
}

impl Direction {
    /// The other way.
    #[inline]
    pub fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

impl ConnectionKey {
    /// The key and direction of a packet.
    #[inline]
    pub fn new(
        addresses: &Addresses,
        source_port: u16,
        destination_port: u16,
        transport: TransportKind,
    ) -> (Self, Direction) {
        let (source_port, destination_port) = (u64::from(source_port), u64::from(destination_port));
        let (source, destination, is_v6, upwards) = match *addresses {
            Addresses::V4 {
                source,
                destination,
            } => {
                let end = |address: u32, port: u64| u64::from(address) << 16 | port;
                let upwards = end(source, source_port) <= end(destination, destination_port);
                (u128::from(source), u128::from(destination), 0, upwards)
            }
            Addresses::V6 {
                source,
                destination,
            } => {
                let upwards = (source, source_port) <= (destination, destination_port);
                (source, destination, IS_V6, upwards)
            }
        };
        let is_udp = match transport {
            TransportKind::Tcp => 0,
            TransportKind::Udp => IS_UDP,
        };
        // Request and reply take turns in no pattern that a processor could learn.
        let direction = select_unpredictable(upwards, Direction::Up, Direction::Down);
        let low = select_unpredictable(upwards, source, destination);
        let high = select_unpredictable(upwards, destination, source);
        let low_port = select_unpredictable(upwards, source_port, destination_port);
        let high_port = select_unpredictable(upwards, destination_port, source_port);
        let rest = (low_port << 16 | high_port) << PORTS | is_udp | is_v6;
        (Self { low, high, rest }, direction)
    }

    /// A hash for the [`ConnectionTable`](super::ConnectionTable).
    #[inline]
    pub fn hash(&self) -> u32 {
        if self.rest & IS_V6 != 0 {
            let low = mix(self.low as u64, (self.low >> 64) as u64);
            let high = mix(self.high as u64, (self.high >> 64) as u64);
            mix(low ^ high.rotate_left(32), self.rest) as u32
        } else {
            mix((self.low as u64) << 32 | self.high as u64, self.rest) as u32
        }
    }

    /// The transport protocol.
    pub fn transport(&self) -> TransportKind {
        match self.rest & IS_UDP {
            0 => TransportKind::Tcp,
            _ => TransportKind::Udp,
        }
    }

    /// The ends of an IPv4 packet of [`Direction::Up`].
    pub fn ends(&self) -> Option<Ends> {
        let addresses = Addresses::V4 {
            source: self.low as u32,
            destination: self.high as u32,
        };
        let (low, high) = (
            (self.rest >> (16 + PORTS)) as u16,
            (self.rest >> PORTS) as u16,
        );
        (self.rest & IS_V6 == 0).then(|| Ends::new(&addresses, low, high))?
    }

    /// Where packets of this direction come from.
    pub fn source(&self, direction: Direction) -> SocketAddr {
        let (address, port) = match direction {
            Direction::Up => (self.low, (self.rest >> (16 + PORTS)) as u16),
            Direction::Down => (self.high, (self.rest >> PORTS) as u16),
        };
        let address = match self.rest & IS_V6 {
            0 => IpAddr::V4(Ipv4Addr::from(address as u32)),
            _ => IpAddr::V6(Ipv6Addr::from(address)),
        };
        SocketAddr::new(address, port)
    }
}

/// Both halves of a product of 128 bits: each bit of either word changes about half of the result
/// (the step of wyhash).
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_key() {
        let there = Addresses::V4 {
            source: 0x7f00_0001,
            destination: 0x7f00_0001,
        };
        let (one, up) = ConnectionKey::new(&there, 7100, 40_000, TransportKind::Tcp);
        let (other, down) = ConnectionKey::new(&there, 40_000, 7100, TransportKind::Tcp);
        assert_eq!((one, up, down), (other, Direction::Up, Direction::Down));
        assert_eq!(one.source(up).to_string(), "127.0.0.1:7100");
        assert_eq!(one.source(down).to_string(), "127.0.0.1:40000");
        let (udp, _) = ConnectionKey::new(&there, 7100, 40_000, TransportKind::Udp);
        assert_ne!(one, udp);
    }
}
