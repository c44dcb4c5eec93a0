//! IPv4 and IPv6, extension headers, and IP packets inside IP packets.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{Addresses, Layer, Lengths, Packet, Reason, Rest, Undecoded, transport};

/// IP protocol numbers (IANA) that are headers of the network layer or carry another one.
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const IPV4: u8 = 4;
    pub(super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const GRE: u8 = 47;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// Packets inside packets are followed this deep; real tunnels nest two or three times.
const DEEPEST_TUNNEL: u32 = 8;

/// One IP header, read.
struct Header<'a> {
    /// Its length with options or extension headers.
    length: u32,
    /// What it carries, no longer than its own length field says.
    inside: Rest<'a>,
    /// The IP protocol number of what it carries.
    protocol: u8,
    addresses: Addresses,
    /// Why what it carries cannot be read, though its lengths are known.
    opaque: Option<Reason>,
}

/// Decodes an IP packet that may have a link-layer trailer behind it.
#[inline]
pub(super) fn decode(ip: Rest<'_>, link_header: u32) -> Result<Packet<'_>, Undecoded> {
    let outer = match header(ip) {
        Ok(outer) => outer,
        Err(reason) => {
            // Not even an IP length to go by: the whole frame is of no known protocol.
            let lengths = Lengths {
                not_ip: link_header + ip.length,
                ..Lengths::default()
            };
            return Err(Undecoded { reason, lengths });
        }
    };
    let mut lengths = Lengths {
        link_header,
        ip_header: outer.length,
        link_trailer: ip.length - outer.length - outer.inside.length,
        ..Lengths::default()
    };
    if let Some(reason) = outer.opaque {
        lengths.surplus = outer.inside.length;
        return Err(Undecoded { reason, lengths });
    }
    let innermost = match outer.protocol {
        protocol::IPV4 | protocol::IPV6 | protocol::GRE => descend(outer, &mut lengths),
        _ => outer,
    };
    match transport::decode(innermost.protocol, innermost.inside, &mut lengths) {
        Ok(transport) => Ok(Packet {
            lengths,
            addresses: innermost.addresses,
            transport,
        }),
        Err(reason) => {
            lengths.surplus += innermost.inside.length;
            Err(Undecoded { reason, lengths })
        }
    }
}

/// Follows tunnels inwards as long as what they carry is whole IP headers. Bytes that an outer
/// packet carries behind its inner packet are surplus.
fn descend<'a>(outer: Header<'a>, lengths: &mut Lengths) -> Header<'a> {
    let mut current = outer;
    for _ in 0..DEEPEST_TUNNEL {
        let (shim, packet) = match current.protocol {
            protocol::IPV4 | protocol::IPV6 => (0, current.inside),
            protocol::GRE => match gre(current.inside) {
                Some(shim) => (shim, current.inside.skip(shim)),
                None => break,
            },
            _ => break,
        };
        let Ok(inner) = header(packet) else { break };
        if inner.opaque.is_some() {
            break;
        }
        lengths.tunnel_header += shim + inner.length;
        lengths.surplus += packet.length - inner.length - inner.inside.length;
        current = inner;
    }
    current
}

/// Length of a GRE header (RFC 2784, RFC 2890) that carries IP, or IP in Ethernet.
fn gre(rest: Rest<'_>) -> Option<u32> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    let flags = rest.u16_at(0)?;
    let ether_type = rest.u16_at(2)?;
    if flags & 0x0007 != 0 {
        return None;
    }
    let optional = [CHECKSUM, KEY, SEQUENCE]
        .iter()
        .filter(|bit| flags & **bit != 0)
        .count();
    let header = 4 + 4 * optional as u32;
    match ether_type {
        0x0800 | 0x86dd => Some(header),
        // Transparent Ethernet bridging: an Ethernet header before the IP packet.
        0x6558 => {
            let frame = rest.skip(header);
            matches!(frame.u16_at(12), Some(0x0800 | 0x86dd)).then_some(header + 14)
        }
        _ => None,
    }
}

#[inline]
fn header(ip: Rest<'_>) -> Result<Header<'_>, Reason> {
    match ip.data.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(ip),
        Some(6) => ipv6(ip),
        Some(version) => Err(Reason::IpVersion(version)),
        None => Err(ip.short(Layer::Ipv4, IPV4_HEADER)),
    }
}

/// Length of an IPv4 header without options.
pub(super) const IPV4_HEADER: u32 = 20;

/// The fragment offset in the 16 bits that it shares with the flags.
pub(super) const FRAGMENT_OFFSET: u16 = 0x1fff;

/// RFC 791.
#[inline]
fn ipv4(ip: Rest<'_>) -> Result<Header<'_>, Reason> {
    let Ok(header) = Ipv4HeaderSlice::from_slice(ip.data) else {
        return cut_ipv4(ip);
    };
    let length = u32::from(header.ihl()) * 4;
    // A total length of 0 is a packet that segmentation offload left longer than 65,535 bytes:
    // its length is the frame's.
    let total = match u32::from(header.total_len()) {
        0 => ip.length,
        total => total.min(ip.length),
    };
    if total < length {
        return Err(Reason::BadHeader(Layer::Ipv4));
    }
    Ok(Header {
        length,
        inside: ip.first(total).skip(length),
        protocol: header.protocol().0,
        addresses: Addresses::V4 {
            source: u32::from_be_bytes(header.source()),
            destination: u32::from_be_bytes(header.destination()),
        },
        opaque: (header.fragments_offset().value() != 0).then_some(Reason::Fragment),
    })
}

/// An IPv4 header that is not whole. Where only options were cut, its lengths are known.
#[cold]
fn cut_ipv4(ip: Rest<'_>) -> Result<Header<'_>, Reason> {
    const LONGEST: usize = 60;
    let claimed = u32::from(ip.data[0] & 0x0f) * 4;
    if claimed < IPV4_HEADER {
        return Err(Reason::BadHeader(Layer::Ipv4));
    }
    let reason = ip.short(Layer::Ipv4, claimed);
    if ip.length < claimed || (ip.data.len() as u32) < IPV4_HEADER {
        return Err(reason);
    }
    let mut padded = [0; LONGEST];
    padded[..ip.data.len()].copy_from_slice(ip.data);
    let header = ipv4(Rest {
        data: &padded[..claimed as usize],
        length: ip.length,
    })?;
    Ok(Header {
        length: header.length,
        inside: Rest {
            data: &[],
            length: header.inside.length,
        },
        protocol: header.protocol,
        addresses: header.addresses,
        opaque: Some(reason),
    })
}

/// RFC 8200, with extension headers counted as part of the header.
fn ipv6(ip: Rest<'_>) -> Result<Header<'_>, Reason> {
    const HEADER: u32 = 40;
    let fixed = Ipv6HeaderSlice::from_slice(ip.data).map_err(|_| ip.short(Layer::Ipv6, HEADER))?;
    // A payload length of 0 is a jumbogram (RFC 2675), with or without its option: segmentation
    // offload leaves it out. Its length is the frame's.
    let packet = match u32::from(fixed.payload_length()) {
        0 => ip,
        payload => ip.first(HEADER + payload),
    };
    let mut length = HEADER;
    let mut next = fixed.next_header().0;
    let mut opaque = None;
    let mut inside = packet.skip(HEADER);
    while opaque.is_none() {
        let size = match next {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => extension_length(inside, 8, 8),
            protocol::AUTHENTICATION => extension_length(inside, 8, 4),
            protocol::FRAGMENT => match inside.u16_at(2) {
                Some(offset_and_flags) => {
                    opaque = (offset_and_flags >> 3 != 0).then_some(Reason::Fragment);
                    Ok(8)
                }
                None => Err(inside.short(Layer::Ipv6, 8)),
            },
            _ => break,
        };
        match size {
            Ok(size) if size <= inside.length => {
                next = inside.data[0];
                inside = inside.skip(size);
                length += size;
            }
            Ok(_) => opaque = Some(Reason::BadHeader(Layer::Ipv6)),
            Err(reason) => opaque = Some(reason),
        }
    }
    Ok(Header {
        length,
        inside,
        protocol: next,
        addresses: Addresses::V6 {
            source: u128::from_be_bytes(fixed.source()),
            destination: u128::from_be_bytes(fixed.destination()),
        },
        opaque,
    })
}

/// Length of an extension header whose second byte counts `unit` bytes after the first `first`.
fn extension_length(rest: Rest<'_>, first: u32, unit: u32) -> Result<u32, Reason> {
    match rest.data.get(1) {
        Some(count) => Ok(first + u32::from(*count) * unit),
        None => Err(rest.short(Layer::Ipv6, first)),
    }
}
