//! Frames built by etherparse's writer or by hand, decoded by ours.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

const ETHERNET: LinkType = LinkType(1);

fn tcp_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(40_000, 7100, 1000, 500)
        .ack(77)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn decoded(link_type: LinkType, frame: &[u8]) -> Packet<'_> {
    decode(link_type, frame, frame.len() as u32).unwrap()
}

fn segment<'a>(packet: &Packet<'a>) -> Segment<'a> {
    match packet.transport {
        Transport::Tcp(segment) => segment,
        other => panic!("not TCP: {other:?}"),
    }
}

#[test]
fn a_tcp_segment_has_every_byte_in_its_place() {
    let frame = tcp_frame(b"hello");
    let packet = decoded(ETHERNET, &frame);
    let expected = Lengths {
        link_header: 14,
        ip_header: 20,
        transport_header: 20,
        payload: 5,
        ..Lengths::default()
    };
    assert_eq!(packet.lengths, expected);
    assert_eq!(packet.lengths.wire() as usize, frame.len());
    let segment = segment(&packet);
    assert_eq!(
        (
            segment.source_port,
            segment.destination_port,
            segment.sequence,
            segment.acknowledgment
        ),
        (40_000, 7100, 1000, 77)
    );
    assert!(segment.flags.any(TcpFlags::ACK) && !segment.flags.any(TcpFlags::SYN));
    assert_eq!(segment.payload, b"hello");
    assert_eq!(packet.addresses.source().to_string(), "10.0.0.1");
}

#[test]
fn padding_of_a_short_frame_is_trailer_not_payload() {
    let mut frame = tcp_frame(b"");
    frame.resize(60, 0);
    let packet = decoded(ETHERNET, &frame);
    assert_eq!(
        (packet.lengths.payload, packet.lengths.link_trailer),
        (0, 6)
    );
}

#[test]
fn lengths_come_from_the_original_not_from_the_captured_bytes() {
    let frame = tcp_frame(&[7; 1000]);
    let packet = decode(ETHERNET, &frame[..96], frame.len() as u32).unwrap();
    assert_eq!(packet.lengths.payload, 1000);
    assert_eq!(segment(&packet).payload.len(), 96 - 54);
}

#[test]
fn a_tcp_header_cut_behind_its_flags_still_counts() {
    let frame = tcp_frame(&[7; 10]);
    let packet = decode(ETHERNET, &frame[..14 + 20 + 14], frame.len() as u32).unwrap();
    assert_eq!(
        (packet.lengths.transport_header, packet.lengths.payload),
        (20, 10)
    );
    let cut = decode(ETHERNET, &frame[..14 + 20 + 13], frame.len() as u32).unwrap_err();
    assert_eq!(cut.reason, Reason::CutHeader(Layer::Tcp));
    assert_eq!(cut.lengths.wire() as usize, frame.len());
    assert_eq!(cut.lengths.ip(), 50);
}

#[test]
fn an_ip_header_cut_in_its_options_kept_no_ip_length() {
    let mut frame = tcp_frame(&[7; 100]);
    // Forty bytes of options, of which ten were captured.
    frame.splice(34..34, [1; 40]);
    frame[14] = 0x4f;
    frame[17] += 40;
    let cut = decode(ETHERNET, &frame[..14 + 30], frame.len() as u32).unwrap_err();
    assert_eq!(cut.reason, Reason::CutHeader(Layer::Ipv4));
    let expected = Lengths {
        link_header: 14,
        ip_header: 60,
        surplus: 120,
        ..Lengths::default()
    };
    assert_eq!(cut.lengths, expected);
}

#[test]
fn an_ipv6_extension_header_that_is_cut_kept_no_ip_length() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv6([1; 16], [2; 16], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[9; 100])
        .unwrap();
    const HOP_BY_HOP: u8 = 0;
    frame[20] = HOP_BY_HOP;
    let cut = decode(ETHERNET, &frame[..55], frame.len() as u32 + 6).unwrap_err();
    assert_eq!(cut.reason, Reason::CutHeader(Layer::Ipv6));
    let expected = Lengths {
        link_header: 14,
        ip_header: 40,
        surplus: 120,
        link_trailer: 6,
        ..Lengths::default()
    };
    assert_eq!(cut.lengths, expected);
}

#[test]
fn segmentation_offload_leaves_a_total_length_of_zero() {
    let mut frame = tcp_frame(&[1; 64]);
    frame[16..18].fill(0);
    let mut padded = frame.clone();
    padded.resize(100_000, 2);
    assert_eq!(decoded(ETHERNET, &frame).lengths.payload, 64);
    assert_eq!(decoded(ETHERNET, &padded).lengths.payload, 100_000 - 54);
}

#[test]
fn a_jumbogram_without_its_option_has_the_frames_length() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv6([1; 16], [2; 16], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[9; 100])
        .unwrap();
    frame[18..20].fill(0);
    frame.resize(90_000, 9);
    let packet = decoded(ETHERNET, &frame);
    assert_eq!(
        (packet.lengths.ip_header, packet.lengths.payload),
        (40, 90_000 - 74)
    );
}

#[test]
fn ipv6_extension_headers_belong_to_the_ip_header() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv6([1; 16], [2; 16], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, b"ab")
        .unwrap();
    // Eight bytes of destination options before TCP.
    let tcp = frame.split_off(54);
    frame.extend([6, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(tcp);
    const DESTINATION_OPTIONS: u8 = 60;
    frame[20] = DESTINATION_OPTIONS;
    frame[19] += 8;
    let packet = decoded(ETHERNET, &frame);
    assert_eq!((packet.lengths.ip_header, packet.lengths.payload), (48, 2));
}

#[test]
fn link_types_lead_to_the_same_segment() {
    let ethernet = tcp_frame(b"xyz");
    let ip = &ethernet[14..];
    let with = |header: &[u8]| [header, ip].concat();
    let vlan = [
        &ethernet[..12],
        &[0x81, 0, 0, 5, 0x88, 0xa8, 0, 6, 8, 0],
        ip,
    ]
    .concat();
    let sll = [0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
    let mut sll2 = [0; 20];
    sll2[0] = 8;
    let pppoe = [
        &ethernet[..12],
        &[0x88, 0x64, 0x11, 0, 0, 1, 0, 45, 0, 0x21],
        ip,
    ]
    .concat();
    let mpls = [&ethernet[..12], &[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64], ip].concat();
    let mut infiniband = [0; 44];
    infiniband[40] = 8;
    let mut ipnet = [0; 24];
    ipnet[..2].copy_from_slice(&[1, 2]);
    let snap = [&ethernet[..12], &[0, 51, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], ip].concat();
    for (link_type, frame, header) in [
        (1, vlan, 22),
        (1, pppoe, 22),
        (1, mpls, 22),
        (1, snap, 22),
        (101, ip.to_vec(), 0),
        (12, ip.to_vec(), 0),
        (228, ip.to_vec(), 0),
        (0, with(&[2, 0, 0, 0]), 4),
        (108, with(&[0, 0, 0, 2]), 4),
        (113, with(&sll), 16),
        (276, with(&sll2), 20),
        (9, with(&[0xff, 3, 0, 0x21]), 4),
        (9, with(&[0x21]), 1),
        (50, with(&[0xff, 3, 0, 0x21]), 4),
        (204, with(&[1, 0xff, 3, 0, 0x21]), 5),
        (9, with(&[0xff, 3, 2, 0x81, 0, 1, 1, 64]), 8),
        (104, with(&[0x0f, 0, 8, 0]), 4),
        (107, with(&[0x18, 0x41, 3, 0xcc]), 4),
        (107, with(&[0x18, 0x41, 8, 0]), 4),
        (107, with(&[0x18, 0x40, 0x40, 0x21, 3, 0xcc]), 6),
        (107, with(&[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0]), 10),
        (226, with(&ipnet), 24),
        (242, with(&infiniband), 44),
    ] {
        let packet = decode(LinkType(link_type), &frame, frame.len() as u32)
            .unwrap_or_else(|undecoded| panic!("link type {link_type}: {undecoded:?}"));
        assert_eq!(packet.lengths.link_header, header, "link type {link_type}");
        assert_eq!(segment(&packet).payload, b"xyz", "link type {link_type}");
        assert_eq!(packet.lengths.wire() as usize, frame.len());
    }
}

#[test]
fn tunnels_are_followed_and_their_headers_counted_apart() {
    let inner = tcp_frame(b"inside");
    let inner = &inner[14..];
    let outer = |protocol: u8, shim: &[u8]| {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([1, 1, 1, 1], [2, 2, 2, 2], 9)
            .write(
                &mut packet,
                etherparse::IpNumber(protocol),
                &[shim, inner].concat(),
            )
            .unwrap();
        packet
    };
    for (packet, tunnel) in [
        (outer(4, &[]), 20),
        (outer(47, &[0, 0, 8, 0]), 24),
        (
            outer(47, &[0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]),
            36,
        ),
    ] {
        let decoded = decoded(LinkType(101), &packet);
        assert_eq!(decoded.lengths.tunnel_header, tunnel);
        assert_eq!(decoded.lengths.ip_header, 20);
        assert_eq!(decoded.lengths.ip() as usize, packet.len());
        assert_eq!(segment(&decoded).payload, b"inside");
        assert_eq!(decoded.addresses.source().to_string(), "10.0.0.1");
    }
}

#[test]
fn what_is_not_decoded_is_named() {
    let reason = |link_type: u16, frame: &[u8]| {
        decode(LinkType(link_type), frame, frame.len() as u32)
            .unwrap_err()
            .reason
            .to_string()
    };
    let mut arp = vec![0; 42];
    arp[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(reason(1, &arp), "not IP: ARP");
    assert_eq!(reason(105, &[0; 30]), "link type 105 (IEEE802_11)");
    assert_eq!(reason(101, &[0x50; 30]), "IP version 5");
    assert_eq!(reason(101, &[0x45; 10]), "damaged IPv4 header");
    const AUTHENTICATION: u8 = 51;
    let mut authenticated = tcp_frame(b"abc")[14..].to_vec();
    authenticated[9] = AUTHENTICATION;
    let cut = decode(
        LinkType(101),
        &authenticated[..21],
        authenticated.len() as u32,
    );
    let reason = cut.unwrap_err().reason.to_string();
    assert_eq!(reason, "IPv4 header cut by the snap length");
}

#[test]
fn numbers_in_an_ether_types_place_are_named_by_their_link() {
    let reason = |link_type: u16, header: &[u8]| {
        let frame = [header, &[0; 60]].concat();
        let undecoded = decode(LinkType(link_type), &frame, frame.len() as u32).unwrap_err();
        undecoded.reason.to_string()
    };
    const C_HDLC: u16 = 104;
    const FRELAY: u16 = 107;
    const LINUX_SLL: u16 = 113;
    assert_eq!(reason(C_HDLC, &[0x8f, 0, 0x80, 0x35]), "not IP: SLARP");
    assert_eq!(reason(C_HDLC, &[15, 0, 0, 60]), "not IP: EtherType 0x003c");
    let frame_relay = [0x18, 0x41, 0, 60];
    assert_eq!(reason(FRELAY, &frame_relay), "not IP: EtherType 0x003c");
    let cooked = |number: u8| [0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, number];
    assert_eq!(reason(LINUX_SLL, &cooked(4)), "not IP: IEEE 802.2 LLC");
    assert_eq!(reason(LINUX_SLL, &cooked(12)), "not IP: EtherType 0x000c");
    let ethernet = |behind_length: [u8; 3]| {
        let length = [0, 60];
        [&[2; 12][..], &length, &behind_length].concat()
    };
    assert_eq!(
        reason(1, &ethernet([0x42, 0x42, 3])),
        "not IP: IEEE 802.2 LLC"
    );
    assert_eq!(reason(1, &ethernet([0xff, 0xff, 0])), "not IP: IPX");
}

#[test]
fn a_fragment_is_told_as_one_whatever_it_carries() {
    for (flags_and_offset, offset, more) in [([0x20, 0], 0, true), ([0, 5], 40, false)] {
        let mut frame = tcp_frame(b"abc");
        frame[18..22].copy_from_slice(&[7, 9, flags_and_offset[0], flags_and_offset[1]]);
        assert!(!assert_same_as_general(&frame, frame.len() as u32));
        let packet = decoded(ETHERNET, &frame);
        let Transport::Fragment(fragment) = packet.transport else {
            panic!("{packet:?}")
        };
        assert_eq!((fragment.offset, fragment.more), (offset, more));
        assert_eq!((fragment.identification, fragment.protocol), (0x0709, 6));
        assert_eq!((fragment.length, fragment.captured.len()), (23, 23));
        assert_eq!((packet.lengths.surplus, packet.lengths.payload), (23, 0));
    }
}

#[test]
fn what_fragments_add_up_to_has_the_lengths_of_what_is_in_it() {
    let frame = tcp_frame(b"abc");
    let addresses = decoded(ETHERNET, &frame).addresses;
    let packet = decode_reassembled(addresses, transport::TCP, &frame[34..54], 1000).unwrap();
    let expected = Lengths {
        transport_header: 20,
        payload: 980,
        ..Lengths::default()
    };
    assert_eq!(packet.lengths, expected);
    assert_eq!(segment(&packet).payload, b"");
    // An IP packet in the IP packet.
    let packet = decode_reassembled(addresses, 4, &frame[14..], 43).unwrap();
    assert_eq!(packet.lengths.tunnel_header, 20);
    assert_eq!(segment(&packet).payload, b"abc");
    let cut = decode_reassembled(addresses, transport::TCP, &frame[34..40], 1000).unwrap_err();
    assert_eq!(cut.reason, Reason::CutHeader(Layer::Tcp));
    assert_eq!(cut.lengths.surplus, 1000);
}

/// An IPv4 packet without options.
fn ipv4_packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([1, 1, 1, 1], [2, 2, 2, 2], 9)
        .write(&mut packet, etherparse::IpNumber(protocol), payload)
        .unwrap();
    packet
}

fn udp_packet(destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([1, 1, 1, 1], [2, 2, 2, 2], 9)
        .udp(40_000, destination)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

#[test]
fn tunnels_over_udp_are_followed_where_they_carry_ip() {
    let frame = tcp_frame(b"inside");
    let tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
    let vxlan = [0x08, 0, 0, 0, 0, 0, 42, 0];
    let group_policy = [0x88, 0, 0, 9, 0, 0, 42, 0];
    let geneve = [0, 0, 0x65, 0x58, 0, 0, 42, 0];
    let with_options = [1, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 0];
    let ip_in_geneve = [0, 0, 8, 0, 0, 0, 42, 0];
    for (port, shim, carried, tunnel) in [
        (4789, &vxlan[..], &frame[..], 8 + 8 + 14 + 20),
        (4789, &vxlan, &tagged, 8 + 8 + 18 + 20),
        (4789, &group_policy, &frame, 8 + 8 + 14 + 20),
        (6081, &geneve, &frame, 8 + 8 + 14 + 20),
        (6081, &with_options, &frame, 8 + 12 + 14 + 20),
        (6081, &ip_in_geneve, &frame[14..], 8 + 8 + 20),
    ] {
        let packet = udp_packet(port, &[shim, carried].concat());
        let decoded = decoded(LinkType(101), &packet);
        assert_eq!(decoded.lengths.tunnel_header, tunnel);
        assert_eq!(decoded.lengths.ip() as usize, packet.len());
        assert_eq!(segment(&decoded).payload, b"inside");
        assert_eq!(decoded.addresses.source().to_string(), "10.0.0.1");
    }
    let mut arp = frame.clone();
    arp[13] = 6;
    for (port, shim, carried) in [
        (4790, &vxlan[..], &frame[..]),
        (4789, &[0; 8], &frame),
        (4789, &vxlan, &arp),
        (6081, &[0x40, 0, 0x65, 0x58, 0, 0, 42, 0], &frame),
        (6081, &[0, 0, 0, 46, 0, 0, 42, 0], &frame),
        (4789, &vxlan, b""),
    ] {
        let packet = udp_packet(port, &[shim, carried].concat());
        let decoded = decoded(LinkType(101), &packet);
        let Transport::Udp(datagram) = decoded.transport else {
            panic!("{decoded:?}")
        };
        assert_eq!(datagram.payload.len(), shim.len() + carried.len());
        assert_eq!(decoded.lengths.tunnel_header, 0);
    }
}

#[test]
fn gre_that_carries_no_ip_keeps_its_name() {
    let inner = &tcp_frame(b"inside")[14..];
    for shim in [
        // Of PPTP (RFC 2637), with a source route (RFC 1701), with ERSPAN.
        [0x30, 0x01, 0x88, 0x0b],
        [0x40, 0, 8, 0],
        [0, 0, 0x88, 0xbe],
    ] {
        let packet = ipv4_packet(47, &[&shim, inner].concat());
        let decoded = decoded(LinkType(101), &packet);
        let Transport::Other { protocol } = decoded.transport else {
            panic!("{decoded:?}")
        };
        assert_eq!(protocol_name(protocol), "GRE");
    }
    // Tags in a bridged frame are passed over.
    let frame = tcp_frame(b"inside");
    let bridged = [
        &[0, 0, 0x65, 0x58],
        &frame[..12],
        &[0x81, 0, 0, 5],
        &frame[12..],
    ]
    .concat();
    let packet = ipv4_packet(47, &bridged);
    assert_eq!(
        decoded(LinkType(101), &packet).lengths.tunnel_header,
        4 + 18 + 20
    );
}

#[test]
fn tunnels_in_tunnels_are_followed_eight_deep() {
    for (depth, is_tcp) in [(8, true), (9, false)] {
        let mut packet = tcp_frame(b"inside")[14..].to_vec();
        for _ in 0..depth {
            packet = ipv4_packet(4, &packet);
        }
        let decoded = decoded(LinkType(101), &packet);
        assert_eq!(decoded.lengths.ip() as usize, packet.len());
        assert_eq!(matches!(decoded.transport, Transport::Tcp(_)), is_tcp);
    }
}

#[test]
fn authentication_headers_belong_to_the_ip_header() {
    let segment_bytes = &tcp_frame(b"ab")[34..];
    // Next header, length in words less two, reserved, index, sequence number, 12 bytes of check.
    let mut header = vec![6, 4, 0, 0];
    header.resize(24, 1);
    let packet = ipv4_packet(51, &[&header, segment_bytes].concat());
    let decoded = decoded(LinkType(101), &packet);
    assert_eq!(
        (decoded.lengths.ip_header, decoded.lengths.payload),
        (44, 2)
    );
    assert_eq!(segment(&decoded).payload, b"ab");
}

#[test]
fn a_jumbogram_is_as_long_as_its_option_says() {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv6([1; 16], [2; 16], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[])
        .unwrap();
    frame.truncate(54);
    frame[18..20].fill(0);
    frame[20] = 0;
    // A hop-by-hop header with a jumbo payload option (RFC 2675): 70,008 bytes with it.
    frame.extend([6, 0, 0xc2, 4, 0, 1, 0x11, 0x78]);
    frame.extend(&tcp_frame(b"")[34..]);
    frame.resize(14 + 40 + 70_008, 9);
    frame.extend([0; 4]);
    let packet = decoded(ETHERNET, &frame);
    let lengths = packet.lengths;
    assert_eq!(
        (lengths.ip_header, lengths.payload, lengths.link_trailer),
        (48, 70_000 - 20, 4)
    );
}

#[test]
fn an_ipv6_packet_without_a_next_header_is_empty() {
    let mut frame = vec![0; 14 + 40];
    frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
    frame[20] = 59;
    frame.resize(60, 0);
    let packet = decoded(ETHERNET, &frame);
    assert_eq!((packet.lengths.ip(), packet.lengths.link_trailer), (40, 6));
    assert!(matches!(
        packet.transport,
        Transport::Other { protocol: 59 }
    ));
}

#[test]
fn icmp_errors_tell_of_which_packet_they_are() {
    let quoted = &tcp_frame(b"")[14..];
    let error = |protocol: u8, kind: u8, code: u8, quoted: &[u8]| {
        let packet = ipv4_packet(
            protocol,
            &[&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat(),
        );
        match decoded(LinkType(101), &packet).transport {
            Transport::IcmpError(error) => Some(error),
            Transport::Other { .. } => None,
            other => panic!("{other:?}"),
        }
    };
    for (protocol, kind, code, text) in [
        (1, 3, 3, "port unreachable"),
        (1, 3, 4, "packet too big"),
        (1, 3, 13, "destination unreachable"),
        (1, 4, 0, "source quench"),
        (1, 5, 1, "redirect"),
        (1, 11, 0, "time exceeded"),
        (1, 12, 0, "parameter problem"),
        (58, 1, 4, "port unreachable"),
        (58, 1, 0, "destination unreachable"),
        (58, 2, 0, "packet too big"),
        (58, 3, 1, "time exceeded"),
        (58, 4, 0, "parameter problem"),
    ] {
        // The header and eight bytes: as little as RFC 792 asks for.
        let error = error(protocol, kind, code, &quoted[..28]).unwrap();
        assert_eq!(error.kind.to_string(), text);
        assert_eq!((error.source_port, error.destination_port), (40_000, 7100));
        assert_eq!(error.transport, QuotedTransport::Tcp);
        assert_eq!(error.addresses.destination().to_string(), "10.0.0.2");
    }
    assert_eq!(error(1, 8, 0, quoted), None, "an echo request");
    assert_eq!(error(58, 128, 0, quoted), None, "an echo request");
    assert_eq!(error(1, 3, 3, &quoted[..22]), None, "without ports");
    let mut later = quoted.to_vec();
    later[7] = 9;
    assert_eq!(error(1, 11, 1, &later), None, "a later fragment");
}

#[test]
fn bytes_behind_a_datagrams_own_length_are_surplus() {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([1, 1, 1, 1], [2, 2, 2, 2], 9)
        .udp(1, 2)
        .write(&mut packet, b"datagram")
        .unwrap();
    packet.extend([0; 4]);
    packet[3] += 4;
    let decoded = decoded(LinkType(101), &packet);
    assert_eq!((decoded.lengths.payload, decoded.lengths.surplus), (8, 4));
}

/// What [`decode_usual`] gives must be what [`decode`] gives.
fn assert_same_as_general(data: &[u8], original_length: u32) -> bool {
    let usual = decode_usual(ETHERNET, data, original_length);
    if let Some((lengths, addresses, segment)) = usual {
        let general = decode(ETHERNET, data, original_length).unwrap();
        let Transport::Tcp(expected) = general.transport else {
            panic!("{general:?}")
        };
        assert_eq!((lengths, addresses), (general.lengths, general.addresses));
        assert_eq!(format!("{segment:?}"), format!("{expected:?}"));
        assert_eq!(segment.payload.as_ptr(), expected.payload.as_ptr());
    }
    usual.is_some()
}

#[test]
fn a_tcp_frame_is_usual_with_and_without_trailer() {
    let mut frame = tcp_frame(b"hello");
    assert!(assert_same_as_general(&frame, frame.len() as u32));
    frame.extend([0; 4]);
    assert!(assert_same_as_general(&frame, frame.len() as u32));
    assert!(!assert_same_as_general(&frame, frame.len() as u32 + 1));
    frame[14 + 9] = 17;
    assert!(!assert_same_as_general(&frame, frame.len() as u32));
}

proptest! {
    #[test]
    fn any_bytes_keep_the_frames_length(
        link_type in prop::sample::select(vec![0_u16, 1, 9, 50, 51, 101, 104, 105, 107, 108, 113, 204, 226, 242, 276]),
        mut data in prop::collection::vec(any::<u8>(), 0..200),
        ethernet_type in prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100, 0x8847, 0x8864, 60]),
        cut in 0_u32..100,
    ) {
        if data.len() > 14 {
            data[12..14].copy_from_slice(&ethernet_type.to_be_bytes());
        }
        let original = data.len() as u32 + cut;
        let lengths = match decode(LinkType(link_type), &data, original) {
            Ok(packet) => packet.lengths,
            Err(undecoded) => undecoded.lengths,
        };
        prop_assert_eq!(lengths.wire(), original);
    }

    #[test]
    fn damaged_frames_keep_their_length(
        payload in prop::collection::vec(any::<u8>(), 0..64),
        damage in prop::collection::vec((0_usize..90, any::<u8>()), 0..6),
        captured in 0_usize..120,
    ) {
        let mut frame = tcp_frame(&payload);
        let length = frame.len();
        for (at, byte) in damage {
            frame[at % length] = byte;
        }
        let captured = captured.min(length);
        let lengths = match decode(ETHERNET, &frame[..captured], length as u32) {
            Ok(packet) => packet.lengths,
            Err(undecoded) => undecoded.lengths,
        };
        prop_assert_eq!(lengths.wire() as usize, length);
    }

    #[test]
    fn the_usual_packet_decodes_as_by_the_general_way(
        payload in prop::collection::vec(any::<u8>(), 0..64),
        damage in prop::collection::vec((0_usize..60, any::<u8>()), 0..4),
        captured in 0_usize..140,
        cut in 0_u32..2,
        trailer in 0_usize..8,
    ) {
        let mut frame = tcp_frame(&payload);
        frame.extend(vec![0; trailer]);
        let length = frame.len();
        for (at, byte) in damage {
            frame[at % length] = byte;
        }
        let captured = captured.min(length);
        assert_same_as_general(&frame[..captured], captured as u32 + cut);
    }
}

proptest! {
    /// What is dealt out by its ends alone goes where the long way would send it.
    #[test]
    fn usual_ends_are_those_that_decoding_finds(
        changes in prop::collection::vec((0_usize..70, any::<u8>()), 0..3),
        captured in 0_usize..80,
    ) {
        let mut frame = tcp_frame(b"hello, here are some bytes");
        for (at, byte) in changes {
            frame[at] = byte;
        }
        let data = &frame[..captured.min(frame.len())];
        if let (Some((addresses, ports)), Ok(packet)) = (
            usual_ends(ETHERNET, data),
            decode(ETHERNET, data, frame.len() as u32),
        ) {
            let segment = segment(&packet);
            prop_assert_eq!(ports, (segment.source_port, segment.destination_port));
            let (source, destination) = addresses;
            prop_assert_eq!(packet.addresses, Addresses::V4 { source, destination });
        }
    }
}
