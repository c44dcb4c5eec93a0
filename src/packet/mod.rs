//! One packet taken apart: link, network and transport layer, and what is missing from it.
//!
//! In: captured bytes with their link type and original length. Out: a [`Packet`] whose
//! [`Lengths`] give every byte of the original frame a place, or [`Undecoded`] with the reason and
//! the lengths as far as they are known. Tunnels are followed to the innermost IP packet. Nothing here
//! remembers an earlier packet: a fragment is told as one, and what fragments add up to is decoded when
//! somebody has put it together. Checksums are never looked at, because loopback does not fill them in.

mod icmp;
mod link;
mod network;
mod transport;

use std::fmt;
use std::net::IpAddr;

pub use icmp::{IcmpError, IcmpErrorKind, QuotedTransport};
pub use network::Fragment;
pub use transport::{Datagram, Segment, TCP, TcpFlags, Transport, UDP, protocol_name};

use crate::units::LinkType;

/// A packet that was decoded as far as its transport header, or that is a fragment of one.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Where each byte of the original frame belongs.
    pub lengths: Lengths,
    /// Who sent it to whom: the innermost IP header's addresses.
    pub addresses: Addresses,
    /// Its transport layer.
    pub transport: Transport<'a>,
}

/// Source and destination address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source.
        source: u32,
        /// Destination.
        destination: u32,
    },
    /// IPv6.
    V6 {
        /// Source.
        source: u128,
        /// Destination.
        destination: u128,
    },
}

impl Addresses {
    /// The source address.
    pub fn source(&self) -> IpAddr {
        match *self {
            Self::V4 { source, .. } => IpAddr::V4(source.into()),
            Self::V6 { source, .. } => IpAddr::V6(source.into()),
        }
    }

    /// The destination address.
    pub fn destination(&self) -> IpAddr {
        match *self {
            Self::V4 { destination, .. } => IpAddr::V4(destination.into()),
            Self::V6 { destination, .. } => IpAddr::V6(destination.into()),
        }
    }
}

/// Bytes of one frame by layer, by original length; each field's name is the layer. Their sum is
/// the frame's original length.
///
/// These are `u32` and not the counters of [`crate::units`], because one frame is no longer than
/// that and this is the one struct that every packet fills.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Link-layer header with tags.
    pub link_header: u32,
    /// Outer IP header with options or extension headers.
    pub ip_header: u32,
    /// From the outer IP header to the transport header, inner IP header included.
    pub tunnel_header: u32,
    /// Transport header with options.
    pub transport_header: u32,
    /// Transport payload.
    pub payload: u32,
    /// Inside the IP packet and outside the transport payload: bytes after a datagram's own
    /// length, or what follows the last header that could be decoded.
    pub surplus: u32,
    /// Behind the IP packet: padding, frame check sequence.
    pub link_trailer: u32,
    /// The whole frame, where it is not IP.
    pub not_ip: u32,
}

impl Lengths {
    /// The IP packet's bytes, outer header included.
    #[inline]
    pub fn ip(&self) -> u32 {
        self.ip_header + self.tunnel_header + self.transport_header + self.payload + self.surplus
    }

    /// The frame's bytes.
    #[inline]
    pub fn wire(&self) -> u32 {
        self.link_header + self.ip() + self.link_trailer + self.not_ip
    }
}

/// A packet that could not be decoded to its transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecoded {
    /// Why.
    pub reason: Reason,
    /// Where its bytes belong as far as that is known.
    pub lengths: Lengths,
}

/// Why a packet could not be decoded. Its text is the key under `undecoded.reasons`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The capture's link type is not one that is decoded here.
    LinkType(LinkType),
    /// The frame carries another network protocol, by its EtherType.
    EtherType(u16),
    /// An IEEE 802.3 frame with an LLC header that does not announce IP.
    Llc,
    /// Keep-alives and addresses of Cisco's HDLC, under the number that is RARP's on other links.
    Slarp,
    /// A PPP frame of another protocol than IP.
    PppProtocol(u16),
    /// A frame relay frame of another network layer protocol than IP.
    Nlpid(u8),
    /// An address family that is not IP, in a NULL or LOOP header.
    AddressFamily(u32),
    /// The first bytes where an IP header should be are of another version.
    IpVersion(u8),
    /// The header is cut by the snap length: too little of it was captured.
    CutHeader(Layer),
    /// The header contradicts itself or the frame's length.
    BadHeader(Layer),
    /// A fragment of an IP packet that ends beyond 65,535 bytes or holds nothing, or one that is not
    /// the last and whose length is no multiple of 8.
    BadFragment,
    /// A fragment of an IP packet whose other fragments did not come.
    FragmentAlone,
    /// A fragment of an IP packet that was given up to make room for others.
    FragmentGivenUp,
    /// A fragment of an IP packet whose fragments contradict each other.
    FragmentsContradict,
}

/// A layer that a reason speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The link layer.
    Link,
    /// IPv4.
    Ipv4,
    /// IPv6 with its extension headers.
    Ipv6,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkType(link_type) => {
                write!(f, "link type {} ({})", link_type.0, link::name(*link_type))
            }
            Self::EtherType(ether_type) => match link::ether_type_name(*ether_type) {
                Some(name) => write!(f, "not IP: {name}"),
                None => write!(f, "not IP: EtherType 0x{ether_type:04x}"),
            },
            Self::Slarp => f.write_str("not IP: SLARP"),
            Self::Llc => f.write_str("not IP: IEEE 802.2 LLC"),
            Self::PppProtocol(protocol) => write!(f, "not IP: PPP protocol 0x{protocol:04x}"),
            Self::Nlpid(nlpid) => write!(f, "not IP: NLPID 0x{nlpid:02x}"),
            Self::AddressFamily(family) => write!(f, "not IP: address family {family}"),
            Self::IpVersion(version) => write!(f, "IP version {version}"),
            Self::CutHeader(layer) => write!(f, "{layer} header cut by the snap length"),
            Self::BadHeader(layer) => write!(f, "damaged {layer} header"),
            Self::BadFragment => f.write_str("damaged IP fragment"),
            Self::FragmentAlone => f.write_str("IP fragment whose other fragments did not come"),
            Self::FragmentGivenUp => {
                f.write_str("IP fragment given up: too many were waiting for others")
            }
            Self::FragmentsContradict => f.write_str("IP fragments that contradict each other"),
        }
    }
}

/// The part of a frame that is still to be decoded: captured bytes, and how long it was on the
/// link. Nothing captured lies beyond `length`.
#[derive(Debug, Clone, Copy)]
struct Rest<'a> {
    data: &'a [u8],
    length: u32,
}

impl<'a> Rest<'a> {
    /// What follows the first `n` bytes.
    #[inline]
    fn skip(self, n: u32) -> Self {
        let captured = self.data.len().min(n as usize);
        Self {
            data: &self.data[captured..],
            length: self.length.saturating_sub(n),
        }
    }

    /// The same, but no longer than `n` bytes.
    #[inline]
    fn first(self, n: u32) -> Self {
        let captured = self.data.len().min(n as usize);
        Self {
            data: &self.data[..captured],
            length: self.length.min(n),
        }
    }

    /// A big-endian 16-bit number at `offset`, if captured.
    #[inline]
    fn u16_at(&self, offset: usize) -> Option<u16> {
        let bytes = self.data.get(offset..offset + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Why fewer than `needed` bytes are there: the frame was too short, or the capture cut it.
    fn short(&self, layer: Layer, needed: u32) -> Reason {
        if self.length < needed {
            Reason::BadHeader(layer)
        } else {
            Reason::CutHeader(layer)
        }
    }
}

/// The lengths that all [usual packets](decode_usual) have in common.
pub const USUAL: Lengths = Lengths {
    link_header: link::ETHERNET_HEADER,
    ip_header: network::IPV4_HEADER,
    tunnel_header: 0,
    transport_header: 0,
    payload: 0,
    surplus: 0,
    link_trailer: 0,
    not_ip: 0,
};

/// The usual packet taken apart with one look at all of its headers: TCP in IPv4 without options in
/// Ethernet, captured whole. This alone makes an analysis of small packets a quarter faster. `None`
/// for every other packet; [`decode`] knows all, and gives the same for this one.
#[inline(always)]
pub fn decode_usual(
    link_type: LinkType,
    data: &[u8],
    original_length: u32,
) -> Option<(Lengths, Addresses, Segment<'_>)> {
    const IP: usize = link::ETHERNET_HEADER as usize;
    const TCP: usize = IP + network::IPV4_HEADER as usize;
    const PAYLOAD: usize = TCP + transport::TCP_HEADER as usize;

    let headers = data.first_chunk::<PAYLOAD>()?;
    let u16_at = |at| u16::from_be_bytes([headers[at], headers[at + 1]]);
    let u32_at = |at| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
    if !begins_as_usual(link_type, headers) || original_length as usize != data.len() {
        return None;
    }
    let end = IP + usize::from(u16_at(IP + 2));
    let inside = data.get(TCP..end)?;
    let transport_header = u32::from(headers[TCP + 12] >> 4) * 4;
    if transport_header < transport::TCP_HEADER {
        return None;
    }
    let payload = inside.get(transport_header as usize..)?;
    let lengths = Lengths {
        transport_header,
        payload: payload.len() as u32,
        link_trailer: (data.len() - end) as u32,
        ..USUAL
    };
    let addresses = Addresses::V4 {
        source: u32_at(IP + 12),
        destination: u32_at(IP + 16),
    };
    let segment = Segment {
        source_port: u16_at(TCP),
        destination_port: u16_at(TCP + 2),
        sequence: u32_at(TCP + 4),
        acknowledgment: u32_at(TCP + 8),
        flags: TcpFlags::new(headers[TCP + 13]),
        payload,
    };
    Some((lengths, addresses, segment))
}

/// Whether these are headers of unfragmented IPv4 without options in Ethernet, with TCP in it.
#[inline(always)]
fn begins_as_usual<const N: usize>(link_type: LinkType, headers: &[u8; N]) -> bool {
    const IP: usize = link::ETHERNET_HEADER as usize;
    const IPV4_WITHOUT_OPTIONS: u32 = (link::ETHER_TYPE_IPV4 as u32) << 16 | 0x45 << 8;
    const WHOLE_TCP: u32 = transport::TCP as u32;
    let u32_at = |at: usize| {
        u32::from_be_bytes([
            headers[at],
            headers[at + 1],
            headers[at + 2],
            headers[at + 3],
        ])
    };
    // EtherType, version and header length, type of service; fragmentation, time to live, protocol.
    link_type.0 == link::ETHERNET
        && u32_at(12) & 0xffff_ff00 == IPV4_WITHOUT_OPTIONS
        && u32_at(IP + 6) & ((network::FRAGMENTED as u32) << 16 | 0xff) == WHOLE_TCP
}

/// Source and destination address, and both ports, of a frame that begins as [`decode_usual`] wants it.
/// Cheaper than that: whether the rest is in order is not looked at. If [`decode`] finds a TCP segment
/// in the frame, it is one of these ends.
#[inline(always)]
pub fn usual_ends(link_type: LinkType, data: &[u8]) -> Option<((u32, u32), (u16, u16))> {
    const IP: usize = link::ETHERNET_HEADER as usize;
    const TCP: usize = IP + network::IPV4_HEADER as usize;

    let headers = data.first_chunk::<{ TCP + 4 }>()?;
    let u16_at = |at| u16::from_be_bytes([headers[at], headers[at + 1]]);
    let u32_at = |at| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
    begins_as_usual(link_type, headers).then(|| {
        (
            (u32_at(IP + 12), u32_at(IP + 16)),
            (u16_at(TCP), u16_at(TCP + 2)),
        )
    })
}

/// Takes a frame apart.
///
/// # Errors
///
/// [`Undecoded`] when no transport header could be reached; the packet still counts.
#[inline]
pub fn decode(
    link_type: LinkType,
    data: &[u8],
    original_length: u32,
) -> Result<Packet<'_>, Undecoded> {
    let frame = Rest {
        data,
        length: original_length.max(data.len() as u32),
    };
    let (link_header, ip) = link::network_packet(link_type, frame).map_err(|reason| Undecoded {
        reason,
        lengths: Lengths {
            not_ip: frame.length,
            ..Lengths::default()
        },
    })?;
    network::decode(ip, link_header)
}

/// Takes apart what the fragments of an IP packet add up to: `length` bytes behind its header, of which
/// `data` are captured from the first one on. The lengths are of these bytes alone; the headers that
/// every fragment had are not in them.
///
/// # Errors
///
/// [`Undecoded`] when no transport header could be reached.
pub fn decode_reassembled<'a>(
    addresses: Addresses,
    protocol: u8,
    data: &'a [u8],
    length: u32,
) -> Result<Packet<'a>, Undecoded> {
    let length = length.max(data.len() as u32);
    network::decode_reassembled(addresses, protocol, Rest { data, length })
}

#[cfg(test)]
mod tests;
