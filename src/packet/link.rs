//! Link layers: how many bytes stand before the IP packet.
//!
//! Link types are those of <https://www.tcpdump.org/linktypes.html>.

use etherparse::SingleVlanHeaderSlice;

use super::{Layer, Reason, Rest};
use crate::units::LinkType;

const NULL: u16 = 0;
pub(super) const ETHERNET: u16 = LinkType::ETHERNET.0;
const PPP: u16 = 9;
const RAW_BSD: u16 = 12;
const RAW_OPENBSD: u16 = 14;
const PPP_HDLC: u16 = 50;
const PPP_ETHER: u16 = 51;
const RAW: u16 = 101;
const C_HDLC: u16 = 104;
const FRELAY: u16 = 107;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const PPP_WITH_DIRECTION: u16 = 204;
const IPNET: u16 = 226;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const IPOIB: u16 = 242;
const LINUX_SLL2: u16 = 276;

pub(super) const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86dd;
const IPX: u16 = 0x8137;
pub(super) const ETHERNET_HEADER: u32 = 14;

/// Where the IP packet begins in a frame: the link header's length, and the rest of the frame
/// with any trailer still behind it.
#[inline]
pub(super) fn network_packet(
    link_type: LinkType,
    frame: Rest<'_>,
) -> Result<(u32, Rest<'_>), Reason> {
    if link_type.0 == ETHERNET && frame.u16_at(12) == Some(ETHER_TYPE_IPV4) {
        return Ok((ETHERNET_HEADER, frame.skip(ETHERNET_HEADER)));
    }
    let header = header_length(link_type, frame)?;
    Ok((header, frame.skip(header)))
}

fn header_length(link_type: LinkType, frame: Rest<'_>) -> Result<u32, Reason> {
    match link_type.0 {
        ETHERNET => ethernet(frame),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => Ok(0),
        NULL | LOOP => address_family(frame),
        LINUX_SLL => cooked(frame, 14, 16),
        LINUX_SLL2 => cooked(frame, 0, 20),
        IPOIB => cooked(frame, 40, 44),
        IPNET if frame.length >= 24 => Ok(24),
        IPNET => Err(frame.short(Layer::Link, 24)),
        PPP | PPP_HDLC => ppp(frame, 0),
        PPP_WITH_DIRECTION => ppp(frame.skip(1), 1),
        PPP_ETHER => pppoe(frame, 0),
        C_HDLC => match frame.u16_at(2) {
            Some(0x8035) => Err(Reason::Slarp),
            Some(ether_type) => after_number(ether_type, frame.skip(4), 4),
            None => Err(frame.short(Layer::Link, 4)),
        },
        FRELAY => frame_relay(frame),
        _ => Err(Reason::LinkType(link_type)),
    }
}

/// Ethernet II, and IEEE 802.3 with LLC and SNAP (RFC 1042).
pub(super) fn ethernet(frame: Rest<'_>) -> Result<u32, Reason> {
    let type_or_length = frame
        .u16_at(12)
        .ok_or_else(|| frame.short(Layer::Link, ETHERNET_HEADER))?;
    after_ether_type(type_or_length, frame.skip(ETHERNET_HEADER), ETHERNET_HEADER)
}

/// Linux cooked capture and IP over InfiniBand: a header of fixed length with an EtherType at
/// `offset`. Cooked headers are read here and not by etherparse, which refuses the headers of devices that it does not know, loopback among them.
fn cooked(frame: Rest<'_>, offset: usize, length: u32) -> Result<u32, Reason> {
    /// LLC follows, says Linux.
    const P_802_2: u16 = 4;
    match frame.u16_at(offset) {
        Some(P_802_2) if frame.length >= length => {
            after_ether_type(P_802_2, frame.skip(length), length)
        }
        Some(ether_type) if frame.length >= length => {
            after_number(ether_type, frame.skip(length), length)
        }
        _ => Err(frame.short(Layer::Link, length)),
    }
}

/// The largest number in an EtherType's place that is the frame's length (IEEE 802.3).
const LARGEST_LENGTH: u16 = 1535;

/// [`after_ether_type`] for links that never have a length in its place.
fn after_number(number: u16, rest: Rest<'_>, header: u32) -> Result<u32, Reason> {
    match number {
        ..=LARGEST_LENGTH => Err(Reason::EtherType(number)),
        ether_type => after_ether_type(ether_type, rest, header),
    }
}

/// Follows tags, labels and sessions from an EtherType to the IP packet. `header` bytes are
/// behind us. Returns the whole header's length.
pub(super) fn after_ether_type(
    mut ether_type: u16,
    mut rest: Rest<'_>,
    mut header: u32,
) -> Result<u32, Reason> {
    loop {
        match ether_type {
            ETHER_TYPE_IPV4 | ETHER_TYPE_IPV6 => return Ok(header),
            // IEEE 802.1Q, 802.1ad and their older numbers: one tag each.
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                const TAG: u32 = 4;
                let tag = SingleVlanHeaderSlice::from_slice(rest.data)
                    .map_err(|_| rest.short(Layer::Link, TAG))?;
                ether_type = tag.ether_type().0;
                rest = rest.skip(TAG);
                header += TAG;
            }
            0x8864 => return pppoe(rest, header),
            // MPLS (RFC 3032): labels until the bottom of the stack; what follows is told by its
            // first half-byte.
            0x8847 | 0x8848 => {
                const LABEL: u32 = 4;
                loop {
                    let label = rest.data.get(..4).ok_or(rest.short(Layer::Link, LABEL))?;
                    rest = rest.skip(LABEL);
                    header += LABEL;
                    if label[2] & 1 == 1 {
                        break;
                    }
                }
                return match rest.data.first().map(|byte| byte >> 4) {
                    Some(4 | 6) => Ok(header),
                    Some(_) => Err(Reason::EtherType(ether_type)),
                    None => Err(rest.short(Layer::Link, 1)),
                };
            }
            // LLC follows, or IPX at once, as Novell had it: then its checksum begins, which is none.
            ..=LARGEST_LENGTH => {
                const SNAP: u32 = 8;
                return match rest.data.get(..8) {
                    Some([0xff, 0xff, ..]) => Err(Reason::EtherType(IPX)),
                    Some([0xaa, 0xaa, 3, 0, 0, 0, high, low]) => {
                        let ether_type = u16::from_be_bytes([*high, *low]);
                        if ether_type <= LARGEST_LENGTH {
                            return Err(Reason::Llc);
                        }
                        after_ether_type(ether_type, rest.skip(SNAP), header + SNAP)
                    }
                    _ => Err(Reason::Llc),
                };
            }
            other => return Err(Reason::EtherType(other)),
        }
    }
}

/// PPPoE session (RFC 2516): 6 bytes, then a PPP protocol number.
fn pppoe(rest: Rest<'_>, header: u32) -> Result<u32, Reason> {
    ppp(rest.skip(6), header + 6)
}

/// PPP (RFC 1661), with or without address and control bytes (RFC 1662), with a protocol number
/// of one byte where that is compressed.
fn ppp(mut rest: Rest<'_>, mut header: u32) -> Result<u32, Reason> {
    if let Some([0xff | 0x0f, 0x03 | 0x00, ..]) = rest.data.get(..2) {
        rest = rest.skip(2);
        header += 2;
    }
    let first = *rest
        .data
        .first()
        .ok_or_else(|| rest.short(Layer::Link, 1))?;
    let (protocol, size) = match first & 1 {
        1 => (u16::from(first), 1),
        _ => (rest.u16_at(0).ok_or_else(|| rest.short(Layer::Link, 2))?, 2),
    };
    match protocol {
        0x0021 | 0x0057 => Ok(header + size),
        // MPLS (RFC 3032), unicast and multicast.
        0x0281 | 0x0283 => after_ether_type(0x8847, rest.skip(size), header + size),
        // Cisco HDLC writes EtherTypes where PPP writes its own numbers.
        ETHER_TYPE_IPV4 | ETHER_TYPE_IPV6 => Ok(header + size),
        other => Err(Reason::PppProtocol(other)),
    }
}

/// Frame relay: a Q.922 address of two to four bytes, the last of them odd; then RFC 2427, or an
/// EtherType at once, as Cisco has it.
fn frame_relay(frame: Rest<'_>) -> Result<u32, Reason> {
    let last = frame.data.iter().take(4).position(|byte| byte & 1 == 1);
    let header = match last {
        Some(last @ 1..) => last as u32 + 1,
        Some(0) => return Err(Reason::BadHeader(Layer::Link)),
        None => return Err(frame.short(Layer::Link, 4)),
    };
    let rest = frame.skip(header);
    match rest.data {
        [0x03, 0xcc | 0x8e, ..] => Ok(header + 2),
        // A byte of padding, the NLPID of SNAP, and no organization's own numbers.
        [0x03, 0, 0x80, 0, 0, 0, high, low, ..] => {
            let ether_type = u16::from_be_bytes([*high, *low]);
            after_ether_type(ether_type, rest.skip(8), header + 8)
        }
        [0x03, nlpid, ..] => Err(Reason::Nlpid(*nlpid)),
        [high, low, ..] => {
            let ether_type = u16::from_be_bytes([*high, *low]);
            after_number(ether_type, rest.skip(2), header + 2)
        }
        _ => Err(frame.short(Layer::Link, header + 2)),
    }
}

/// BSD loopback: an address family in the byte order of the machine that captured. Families fit
/// one byte, so the order shows itself.
fn address_family(frame: Rest<'_>) -> Result<u32, Reason> {
    const HEADER: u32 = 4;
    let bytes = frame
        .data
        .get(..4)
        .ok_or_else(|| frame.short(Layer::Link, HEADER))?;
    let big = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let family = big.min(big.swap_bytes());
    match family {
        // AF_INET everywhere; AF_INET6 of Linux, the BSDs, FreeBSD and Darwin.
        2 | 10 | 24 | 28 | 30 => Ok(HEADER),
        other => Err(Reason::AddressFamily(other)),
    }
}

/// A link type's name, without the `LINKTYPE_` before it.
pub(super) fn name(link_type: LinkType) -> &'static str {
    match link_type.0 {
        NULL => "NULL",
        ETHERNET => "ETHERNET",
        3 => "AX25",
        6 => "IEEE802_5",
        7 => "ARCNET_BSD",
        8 => "SLIP",
        PPP => "PPP",
        10 => "FDDI",
        PPP_HDLC => "PPP_HDLC",
        PPP_ETHER => "PPP_ETHER",
        100 => "ATM_RFC1483",
        RAW => "RAW",
        C_HDLC => "C_HDLC",
        105 => "IEEE802_11",
        FRELAY => "FRELAY",
        LOOP => "LOOP",
        LINUX_SLL => "LINUX_SLL",
        117 => "PFLOG",
        119 => "IEEE802_11_PRISM",
        120 => "AIRONET_HEADER",
        122 => "IP_OVER_FC",
        123 => "SUNATM",
        127 => "IEEE802_11_RADIOTAP",
        129 => "ARCNET_LINUX",
        138 => "APPLE_IP_OVER_IEEE1394",
        139 => "MTP2_WITH_PHDR",
        140 => "MTP2",
        141 => "MTP3",
        142 => "SCCP",
        143 => "DOCSIS",
        144 => "LINUX_IRDA",
        147..=162 => "USER",
        163 => "IEEE802_11_AVS",
        165 => "BACNET_MS_TP",
        166 => "PPP_PPPD",
        187 => "BLUETOOTH_HCI_H4",
        189 => "USB_LINUX",
        192 => "PPI",
        195 => "IEEE802_15_4_WITHFCS",
        201 => "BLUETOOTH_HCI_H4_WITH_PHDR",
        202 => "AX25_KISS",
        203 => "LAPD",
        PPP_WITH_DIRECTION => "PPP_WITH_DIR",
        220 => "USB_LINUX_MMAPPED",
        224 => "FC_2",
        IPNET => "IPNET",
        227 => "CAN_SOCKETCAN",
        IPV4 => "IPV4",
        IPV6 => "IPV6",
        230 => "IEEE802_15_4_NOFCS",
        231 => "DBUS",
        239 => "NFLOG",
        IPOIB => "IPOIB",
        243 => "MPEG_2_TS",
        248 => "SCTP",
        249 => "USBPCAP",
        251 => "BLUETOOTH_LE_LL",
        252 => "WIRESHARK_UPPER_PDU",
        253 => "NETLINK",
        254 => "BLUETOOTH_LINUX_MONITOR",
        258 => "PKTAP",
        271 => "VSOCK",
        272 => "NORDIC_BLE",
        LINUX_SLL2 => "LINUX_SLL2",
        _ => "unnamed here",
    }
}

/// The name of an EtherType that is not IP, where it is a usual one.
pub(super) fn ether_type_name(ether_type: u16) -> Option<&'static str> {
    Some(match ether_type {
        0x0806 => "ARP",
        0x8035 => "RARP",
        0x809b => "AppleTalk",
        0x80f3 => "AppleTalk ARP",
        IPX => "IPX",
        0x8809 => "Ethernet slow protocols",
        0x8847 | 0x8848 => "MPLS without an IP packet",
        0x8863 => "PPPoE discovery",
        0x888e => "EAPOL",
        0x88cc => "LLDP",
        0x88e5 => "MACsec",
        0x88f7 => "PTP",
        0x8902 => "CFM",
        0x9000 => "Ethernet loopback",
        _ => return None,
    })
}
