//! TCP and UDP headers; the names of other protocols, and the lengths of a few.

use std::borrow::Cow;

use etherparse::{TcpHeaderSlice, UdpHeaderSlice};

use super::{Fragment, IcmpError, Layer, Lengths, Reason, Rest};

/// A packet's transport layer.
#[derive(Debug, Clone, Copy)]
pub enum Transport<'a> {
    /// TCP (RFC 9293).
    Tcp(Segment<'a>),
    /// UDP (RFC 768).
    Udp(Datagram<'a>),
    /// An ICMP or ICMPv6 message about a packet of TCP or UDP.
    IcmpError(IcmpError),
    /// A part of an IP packet, which has a transport layer when its other parts are there.
    Fragment(Fragment<'a>),
    /// Another IP protocol, by its number.
    Other {
        /// IANA's protocol number.
        protocol: u8,
    },
}

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number of the first payload byte, or of SYN.
    pub sequence: u32,
    /// Next sequence number that the sender expects, valid with the ACK flag.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Captured payload. `Lengths::payload` says how long it was on the link.
    pub payload: &'a [u8],
}

/// The flags of a TCP header that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment number is valid.
    pub const ACK: u8 = 0x10;

    /// The flags as bits of the header's byte 13.
    pub const fn new(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether ACK is set, and none that begins or ends a stream.
    #[inline]
    pub const fn is_plain_acknowledgment(self) -> bool {
        self.0 & (Self::FIN | Self::SYN | Self::RST | Self::ACK) == Self::ACK
    }

    /// Whether any of these bits is set.
    #[inline]
    pub const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Captured payload. `Lengths::payload` says how long it was on the link.
    pub payload: &'a [u8],
}

/// IANA's number of TCP.
pub const TCP: u8 = 6;
/// IANA's number of UDP.
pub const UDP: u8 = 17;

/// Length of a TCP header without options.
pub(super) const TCP_HEADER: u32 = 20;

/// Decodes the transport layer and enters its lengths.
#[inline]
pub(super) fn decode<'a>(
    protocol: u8,
    inside: Rest<'a>,
    lengths: &mut Lengths,
) -> Result<Transport<'a>, Reason> {
    match protocol {
        TCP => tcp(inside, lengths),
        UDP => udp(inside, lengths),
        other => {
            let header = fixed_header(other).min(inside.length);
            lengths.transport_header = header;
            lengths.payload = inside.length - header;
            Ok(Transport::Other { protocol: other })
        }
    }
}

/// Header lengths of transport protocols that are counted and not looked into.
fn fixed_header(protocol: u8) -> u32 {
    match protocol {
        1 | 2 | 58 => 8, // ICMP, IGMP, ICMPv6
        132 => 12,       // SCTP's common header
        _ => 0,
    }
}

/// The name of an IP protocol by its number, as IANA registers it.
pub fn protocol_name(protocol: u8) -> Cow<'static, str> {
    Cow::Borrowed(match protocol {
        1 => "ICMP",
        2 => "IGMP",
        3 => "GGP",
        4 => "IP in IP",
        TCP => "TCP",
        8 => "EGP",
        9 => "IGP",
        UDP => "UDP",
        27 => "RDP",
        29 => "ISO-TP4",
        33 => "DCCP",
        41 => "IPv6 in IP",
        43 => "IPv6 routing header",
        44 => "IPv6 fragment header",
        46 => "RSVP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        54 => "NARP",
        55 => "MOBILE",
        58 => "ICMPv6",
        59 => "no next header",
        88 => "EIGRP",
        89 => "OSPF",
        94 => "IPIP",
        97 => "EtherIP",
        98 => "ENCAP",
        103 => "PIM",
        108 => "IPComp",
        112 => "VRRP",
        113 => "PGM",
        115 => "L2TP",
        124 => "ISIS over IPv4",
        132 => "SCTP",
        133 => "Fibre Channel",
        135 => "Mobility Header",
        136 => "UDPLite",
        137 => "MPLS in IP",
        138 => "manet",
        139 => "HIP",
        140 => "Shim6",
        other => return Cow::Owned(format!("IP protocol {other}")),
    })
}

#[inline]
fn tcp<'a>(inside: Rest<'a>, lengths: &mut Lengths) -> Result<Transport<'a>, Reason> {
    const LONGEST: usize = 60;
    /// As far as the flags: enough to count the segment, though options or window were cut.
    const USABLE: usize = 14;

    let mut padded = [0; LONGEST];
    let header = match TcpHeaderSlice::from_slice(inside.data) {
        Ok(header) => header,
        Err(_) if inside.data.len() >= USABLE && (inside.data.len() as u32) < inside.length => {
            let captured = inside.data.len().min(LONGEST);
            padded[..captured].copy_from_slice(&inside.data[..captured]);
            TcpHeaderSlice::from_slice(&padded).map_err(|_| Reason::BadHeader(Layer::Tcp))?
        }
        Err(_) if inside.data.len() >= USABLE => return Err(Reason::BadHeader(Layer::Tcp)),
        Err(_) => return Err(inside.short(Layer::Tcp, TCP_HEADER)),
    };
    let length = u32::from(header.data_offset()) * 4;
    if length > inside.length {
        return Err(Reason::BadHeader(Layer::Tcp));
    }
    lengths.transport_header = length;
    lengths.payload = inside.length - length;
    Ok(Transport::Tcp(Segment {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        sequence: header.sequence_number(),
        acknowledgment: header.acknowledgment_number(),
        flags: TcpFlags::new(header.slice()[13]),
        payload: inside.skip(length).data,
    }))
}

fn udp<'a>(inside: Rest<'a>, lengths: &mut Lengths) -> Result<Transport<'a>, Reason> {
    const HEADER: u32 = 8;
    let header =
        UdpHeaderSlice::from_slice(inside.data).map_err(|_| inside.short(Layer::Udp, HEADER))?;
    // A length of 0 is a jumbogram's (RFC 2675); one beyond the packet is damaged or cut, and the packet
    // limits it; what lies behind the datagram's own length is surplus (RFC 9868).
    let datagram = match u32::from(header.length()) {
        0 => inside,
        length if length < HEADER => return Err(Reason::BadHeader(Layer::Udp)),
        length => inside.first(length),
    };
    lengths.transport_header = HEADER;
    lengths.payload = datagram.length - HEADER;
    lengths.surplus += inside.length - datagram.length;
    Ok(Transport::Udp(Datagram {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        payload: datagram.skip(HEADER).data,
    }))
}
