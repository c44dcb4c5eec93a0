//! IPv4 and IPv6, extension headers, and IP packets inside IP packets.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{
    Addresses, Layer, Lengths, Packet, Reason, Rest, Transport, Undecoded, icmp, link, transport,
};

/// IP protocol numbers (IANA) that are headers of the network layer or carry another one.
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const IPV4: u8 = 4;
    pub(super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const GRE: u8 = 47;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const NONE: u8 = 59;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// Packets inside packets are followed this deep; real tunnels nest two or three times.
const DEEPEST_TUNNEL: u32 = 8;

/// A part of an IP packet.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// Tells the fragments of a packet from those of others with the same addresses.
    pub identification: u32,
    /// The IP protocol of what the whole packet carries; in IPv6 only that of the first fragment counts.
    pub protocol: u8,
    /// Where in the whole packet's payload this part begins, in bytes.
    pub offset: u32,
    /// Whether others come behind it.
    pub more: bool,
    /// Its length in bytes. [`Lengths::surplus`] contains it.
    pub length: u32,
    /// Captured bytes of it, from the first on.
    pub captured: &'a [u8],
}

/// One IP header, read.
struct Header<'a> {
    /// Its length with options or extension headers.
    length: u32,
    /// What it carries, no longer than its own length field says.
    inside: Rest<'a>,
    /// The IP protocol number of what it carries.
    protocol: u8,
    addresses: Addresses,
    /// Where what it carries belongs, if it is a fragment.
    place: Option<Place>,
    /// Why what it carries cannot be read, though its lengths are known.
    opaque: Option<Reason>,
}

/// A fragment's place in its packet.
#[derive(Clone, Copy)]
struct Place {
    identification: u32,
    offset: u32,
    more: bool,
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
    let lengths = Lengths {
        link_header,
        ip_header: outer.length,
        link_trailer: ip.length - outer.length - outer.inside.length,
        ..Lengths::default()
    };
    decode_inside(outer, lengths)
}

/// Decodes what fragments add up to. In IPv6 it may begin with extension headers.
pub(super) fn decode_reassembled(
    addresses: Addresses,
    protocol: u8,
    inside: Rest<'_>,
) -> Result<Packet<'_>, Undecoded> {
    let chain = match addresses {
        Addresses::V4 { .. } => Chain::of_ipv4(protocol, inside),
        Addresses::V6 { .. } => Chain::of_ipv6(protocol, inside),
    };
    let header = chain.behind(0, addresses);
    let lengths = Lengths {
        ip_header: header.length,
        ..Lengths::default()
    };
    decode_inside(header, lengths)
}

/// Decodes what an IP header carries.
#[inline]
fn decode_inside(outer: Header<'_>, mut lengths: Lengths) -> Result<Packet<'_>, Undecoded> {
    if let Some(reason) = outer.opaque {
        lengths.surplus = outer.inside.length;
        return Err(Undecoded { reason, lengths });
    }
    let innermost = match outer.protocol {
        transport::TCP => outer,
        _ => descend(outer, &mut lengths),
    };
    let transport = match innermost.place {
        Some(place) => {
            lengths.surplus += innermost.inside.length;
            Ok(Transport::Fragment(Fragment {
                identification: place.identification,
                protocol: innermost.protocol,
                offset: place.offset,
                more: place.more,
                length: innermost.inside.length,
                captured: innermost.inside.data,
            }))
        }
        None => transport::decode(innermost.protocol, innermost.inside, &mut lengths),
    };
    match transport {
        Ok(Transport::Other { protocol }) => {
            let error = icmp::error(protocol, innermost.inside);
            Ok(Packet {
                lengths,
                addresses: innermost.addresses,
                transport: error.map_or(Transport::Other { protocol }, Transport::IcmpError),
            })
        }
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
        if current.place.is_some() {
            break;
        }
        let Some(shim) = before_inner_packet(current.protocol, current.inside) else {
            break;
        };
        let packet = current.inside.skip(shim);
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

/// How many bytes of a tunnel stand before the IP packet in it, if it is one that carries IP.
fn before_inner_packet(protocol: u8, inside: Rest<'_>) -> Option<u32> {
    const VXLAN: u16 = 4789;
    const GENEVE: u16 = 6081;
    const UDP_HEADER: u32 = 8;
    match protocol {
        protocol::IPV4 | protocol::IPV6 => Some(0),
        protocol::GRE => gre(inside),
        transport::UDP => {
            let carried = inside.skip(UDP_HEADER);
            let shim = match inside.u16_at(2)? {
                VXLAN => vxlan(carried),
                GENEVE => geneve(carried),
                _ => None,
            };
            Some(UDP_HEADER + shim?)
        }
        _ => None,
    }
}

/// EtherType of an Ethernet frame in a tunnel: transparent Ethernet bridging.
const ETHER_TYPE_BRIDGING: u16 = 0x6558;

/// A tunnel's header of `header` bytes, and what stands behind it before the IP packet.
fn bridged(ether_type: u16, rest: Rest<'_>, header: u32) -> Option<u32> {
    let carried = rest.skip(header);
    let before = match ether_type {
        ETHER_TYPE_BRIDGING => link::ethernet(carried),
        // Below 1536 it would be a length.
        1536.. => link::after_ether_type(ether_type, carried, 0),
        _ => return None,
    };
    Some(header + before.ok()?)
}

/// Bytes before the IP packet in GRE (RFC 2784, RFC 2890), of its version 0 and without source
/// routes (RFC 1701).
fn gre(rest: Rest<'_>) -> Option<u32> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    let flags = rest.u16_at(0)?;
    let ether_type = rest.u16_at(2)?;
    if flags & (VERSION | ROUTING) != 0 {
        return None;
    }
    let optional = [CHECKSUM, KEY, SEQUENCE]
        .iter()
        .filter(|bit| flags & **bit != 0)
        .count();
    bridged(ether_type, rest, 4 + 4 * optional as u32)
}

/// Bytes before the IP packet in VXLAN (RFC 7348), with or without a group policy.
fn vxlan(rest: Rest<'_>) -> Option<u32> {
    const HEADER: u32 = 8;
    match rest.data.get(..HEADER as usize)? {
        [0x08, 0, 0, 0, _, _, _, 0] | [0x88, _, _, _, _, _, _, 0] => {
            bridged(ETHER_TYPE_BRIDGING, rest, HEADER)
        }
        _ => None,
    }
}

/// Bytes before the IP packet in Geneve (RFC 8926).
fn geneve(rest: Rest<'_>) -> Option<u32> {
    const VERSION: u8 = 0xc0;
    match rest.data.get(..8)? {
        [first, _, _, _, _, _, _, 0] if first & VERSION == 0 => {
            let options = u32::from(first & !VERSION) * 4;
            bridged(rest.u16_at(2)?, rest, 8 + options)
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

/// In the 16 bits of flags and fragment offset, those of which none is set in a whole packet: More
/// Fragments and the offset.
pub(super) const FRAGMENTED: u16 = MORE_FRAGMENTS | 0x1fff;
const MORE_FRAGMENTS: u16 = 0x2000;

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
    let addresses = Addresses::V4 {
        source: u32::from_be_bytes(header.source()),
        destination: u32::from_be_bytes(header.destination()),
    };
    let inside = ip.first(total).skip(length);
    let protocol = header.protocol().0;
    let flags_and_offset = ip.u16_at(6).unwrap_or_default();
    let place = (flags_and_offset & FRAGMENTED != 0).then(|| Place {
        identification: u32::from(header.identification()),
        offset: u32::from(flags_and_offset & FRAGMENTED & !MORE_FRAGMENTS) * 8,
        more: flags_and_offset & MORE_FRAGMENTS != 0,
    });
    if protocol == protocol::AUTHENTICATION && place.is_none() {
        return Ok(Chain::of_ipv4(protocol, inside).behind(length, addresses));
    }
    Ok(Header {
        length,
        inside,
        protocol,
        addresses,
        place,
        opaque: None,
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
        place: None,
        opaque: Some(reason),
    })
}

/// Addresses and ports of the packet that an ICMP error quotes, of TCP or UDP, which may be cut.
pub(super) fn quoted(packet: Rest<'_>) -> Option<(Addresses, u8, u16, u16)> {
    let header = header(packet).ok()?;
    let is_first = header.place.is_none_or(|place| place.offset == 0);
    if header.opaque.is_some() || !is_first {
        return None;
    }
    let (source, destination) = (header.inside.u16_at(0)?, header.inside.u16_at(2)?);
    Some((header.addresses, header.protocol, source, destination))
}

/// RFC 8200, with extension headers counted as part of the header.
fn ipv6(ip: Rest<'_>) -> Result<Header<'_>, Reason> {
    const HEADER: u32 = 40;
    let fixed = Ipv6HeaderSlice::from_slice(ip.data).map_err(|_| ip.short(Layer::Ipv6, HEADER))?;
    let payload = match u32::from(fixed.payload_length()) {
        0 => payload_of_jumbogram(ip.skip(HEADER), fixed.next_header().0),
        payload => payload,
    };
    let inside = ip.first(HEADER + payload).skip(HEADER);
    let addresses = Addresses::V6 {
        source: u128::from_be_bytes(fixed.source()),
        destination: u128::from_be_bytes(fixed.destination()),
    };
    Ok(Chain::of_ipv6(fixed.next_header().0, inside).behind(HEADER, addresses))
}

/// The payload length of a packet whose header says 0. With a jumbo payload option (RFC 2675, section
/// 2) it is the option's; segmentation offload leaves that out, and it is the frame's then. A packet
/// that says it has no next header has none.
#[cold]
fn payload_of_jumbogram(inside: Rest<'_>, next: u8) -> u32 {
    const JUMBO_OPTION: [u8; 2] = [0xc2, 4];
    match (next, inside.data) {
        (protocol::NONE, _) => 0,
        (protocol::HOP_BY_HOP, [_, _, option @ ..]) if option.starts_with(&JUMBO_OPTION) => {
            let length = option
                .get(2..6)
                .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            length.map_or(inside.length, |length| length.min(inside.length))
        }
        _ => inside.length,
    }
}

/// Extension headers: those that were passed, and what comes behind them.
struct Chain<'a> {
    length: u32,
    next: u8,
    inside: Rest<'a>,
    place: Option<Place>,
    opaque: Option<Reason>,
}

impl<'a> Chain<'a> {
    fn at(next: u8, inside: Rest<'a>) -> Self {
        Self {
            length: 0,
            next,
            inside,
            place: None,
            opaque: None,
        }
    }

    /// The authentication headers of IPv4 (RFC 4302).
    fn of_ipv4(protocol: u8, inside: Rest<'a>) -> Self {
        let mut chain = Self::at(protocol, inside);
        while chain.next == protocol::AUTHENTICATION && chain.opaque.is_none() {
            chain.pass(
                extension_length(chain.inside, 8, 4, Layer::Ipv4),
                Layer::Ipv4,
            );
        }
        chain
    }

    /// The extension headers of IPv6, up to that of a fragment (RFC 8200, section 4).
    fn of_ipv6(next: u8, inside: Rest<'a>) -> Self {
        let mut chain = Self::at(next, inside);
        while chain.opaque.is_none() && chain.place.is_none() {
            let inside = chain.inside;
            let size = match chain.next {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION_OPTIONS
                | protocol::MOBILITY
                | protocol::HIP
                | protocol::SHIM6 => extension_length(inside, 8, 8, Layer::Ipv6),
                protocol::AUTHENTICATION => extension_length(inside, 8, 4, Layer::Ipv6),
                protocol::FRAGMENT => match inside.data.get(..8) {
                    Some(header) => {
                        chain.place = place_in_ipv6(header);
                        Ok(8)
                    }
                    None => Err(inside.short(Layer::Ipv6, 8)),
                },
                _ => break,
            };
            chain.pass(size, Layer::Ipv6);
        }
        chain
    }

    /// Passes one header of this size.
    fn pass(&mut self, size: Result<u32, Reason>, layer: Layer) {
        match size {
            Ok(size) if size <= self.inside.length => {
                self.next = self.inside.data[0];
                self.inside = self.inside.skip(size);
                self.length += size;
            }
            Ok(_) => self.opaque = Some(Reason::BadHeader(layer)),
            Err(reason) => self.opaque = Some(reason),
        }
    }

    /// The IP header that these belong to, which is `fixed` bytes long without them.
    fn behind(self, fixed: u32, addresses: Addresses) -> Header<'a> {
        Header {
            length: fixed + self.length,
            inside: self.inside,
            protocol: self.next,
            addresses,
            place: self.place,
            opaque: self.opaque,
        }
    }
}

/// RFC 8200, section 4.5; nothing for a packet that is whole in one fragment (RFC 6946).
fn place_in_ipv6(header: &[u8]) -> Option<Place> {
    let offset_and_flags = u16::from_be_bytes([header[2], header[3]]);
    let (offset, more) = (offset_and_flags & !7, offset_and_flags & 1 != 0);
    (offset != 0 || more).then(|| Place {
        identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        offset: u32::from(offset),
        more,
    })
}

/// Length of an extension header whose second byte counts `unit` bytes after the first `first`.
fn extension_length(rest: Rest<'_>, first: u32, unit: u32, layer: Layer) -> Result<u32, Reason> {
    match rest.data.get(1) {
        Some(count) => Ok(first + u32::from(*count) * unit),
        None => Err(rest.short(layer, first)),
    }
}
