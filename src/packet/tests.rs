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
    let mut later_fragment = tcp_frame(b"abc");
    later_fragment[21] = 5;
    assert_eq!(reason(1, &later_fragment), "later fragment of an IP packet");
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
