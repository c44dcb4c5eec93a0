//! Which part of a capture a packet belongs to, so that no connection is divided.

use std::num::NonZeroU16;

use super::{ConnectionKey, TransportKind};
use crate::capture::CapturedPacket;
use crate::packet::{self, Addresses, Transport};

/// Sorts the packets of a capture into parts by their connections.
///
/// What the packets of a part add up to, added to what those of the others do, is what they all add
/// up to: whatever is counted by connection stands in one part.
#[derive(Debug)]
pub struct Sharder {
    parts: NonZeroU16,
}

impl Sharder {
    /// Into so many parts.
    pub fn new(parts: NonZeroU16) -> Self {
        Self { parts }
    }

    /// The part of a captured packet, from 0: of TCP and UDP by the connection, of what is neither by
    /// the two addresses, and part 0 of what cannot be decoded.
    pub fn part_of(&mut self, packet: &CapturedPacket<'_>) -> u16 {
        let CapturedPacket {
            link_type,
            original_length,
            data,
            ..
        } = *packet;
        let hash = match packet::decode_usual(link_type, data, original_length) {
            Some((_, addresses, segment)) => {
                let ports = (segment.source_port, segment.destination_port);
                hash_of(&addresses, ports, TransportKind::Tcp)
            }
            None => hash_of_any(packet),
        };
        // The connections' table takes the lower bits: those of a part keep all of their places.
        ((u64::from(hash) * u64::from(self.parts.get())) >> u32::BITS) as u16
    }
}

fn hash_of(addresses: &Addresses, ports: (u16, u16), transport: TransportKind) -> u32 {
    let (key, _) = ConnectionKey::new(addresses, ports.0, ports.1, transport);
    key.hash()
}

#[cold]
fn hash_of_any(packet: &CapturedPacket<'_>) -> u32 {
    let Ok(packet) = packet::decode(packet.link_type, packet.data, packet.original_length) else {
        return 0;
    };
    let (ports, transport) = match &packet.transport {
        Transport::Tcp(segment) => (
            (segment.source_port, segment.destination_port),
            TransportKind::Tcp,
        ),
        Transport::Udp(datagram) => (
            (datagram.source_port, datagram.destination_port),
            TransportKind::Udp,
        ),
        Transport::Other { .. } => ((0, 0), TransportKind::Udp),
    };
    hash_of(&packet.addresses, ports, transport)
}
