//! Which connection a packet belongs to, and which way it goes.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
    /// The lower end's port above the higher end's.
    ports: u32,
    is_v6: bool,
    transport: TransportKind,
}

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
        let (source, destination, is_v6) = match *addresses {
            Addresses::V4 {
                source,
                destination,
            } => (u128::from(source), u128::from(destination), false),
            Addresses::V6 {
                source,
                destination,
            } => (source, destination, true),
        };
        if (source, source_port) <= (destination, destination_port) {
            let ports = u32::from(source_port) << 16 | u32::from(destination_port);
            (
                Self {
                    low: source,
                    high: destination,
                    ports,
                    is_v6,
                    transport,
                },
                Direction::Up,
            )
        } else {
            let ports = u32::from(destination_port) << 16 | u32::from(source_port);
            (
                Self {
                    low: destination,
                    high: source,
                    ports,
                    is_v6,
                    transport,
                },
                Direction::Down,
            )
        }
    }

    /// The transport protocol.
    pub fn transport(&self) -> TransportKind {
        self.transport
    }

    /// Where packets of this direction come from.
    pub fn source(&self, direction: Direction) -> SocketAddr {
        let (address, port) = match direction {
            Direction::Up => (self.low, (self.ports >> 16) as u16),
            Direction::Down => (self.high, self.ports as u16),
        };
        let address = match self.is_v6 {
            false => IpAddr::V4(Ipv4Addr::from(address as u32)),
            true => IpAddr::V6(Ipv6Addr::from(address)),
        };
        SocketAddr::new(address, port)
    }
}

impl Hash for ConnectionKey {
    /// One or three words: IPv4 addresses and ports fit two, and are nearly all there is.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let tail = u64::from(self.ports) << 1 | u64::from(self.transport == TransportKind::Udp);
        if self.is_v6 {
            state.write_u64((self.low >> 64) as u64 ^ (self.high >> 64) as u64);
            state.write_u64(self.low as u64 ^ (self.high as u64).rotate_left(32));
        } else {
            state.write_u64((self.low as u64) << 32 | self.high as u64);
        }
        state.write_u64(tail);
    }
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
