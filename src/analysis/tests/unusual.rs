//! Fragments, ICMP errors and what else is not a whole TCP segment or datagram.

use super::*;

const UDP: u8 = 17;
const TCP: u8 = 6;
const GRE: u8 = 47;
const ICMP: u8 = 1;
const MORE: u16 = 0x2000;

/// Addresses of all IPv4 packets here.
const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

/// An IPv4 packet, its flags and offset as they stand in the header.
fn ipv4(protocol: u8, identification: u16, flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend(identification.to_be_bytes());
    packet.extend(flags_and_offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(LOOPBACK);
    packet.extend(LOOPBACK);
    packet.extend(payload);
    packet
}

/// A payload in fragments of `size` bytes, the last one shorter.
fn in_fragments(protocol: u8, identification: u16, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<_> = payload.chunks(size).collect();
    let place = |index: usize| {
        let more = if index + 1 < pieces.len() { MORE } else { 0 };
        more | (index * size / 8) as u16
    };
    pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| ipv4(protocol, identification, place(index), piece))
        .collect()
}

/// An IPv6 packet with a fragment header.
fn ipv6_fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([44, 64]);
    packet.extend([1; 16]);
    packet.extend([2; 16]);
    packet.extend([next, 0]);
    packet.extend((offset | u16::from(more)).to_be_bytes());
    packet.extend(77_u32.to_be_bytes());
    packet.extend(payload);
    packet
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    let ether_type: [u8; 2] = if packet[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    [&[0; 12], &ether_type[..], packet].concat()
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = source.to_be_bytes().to_vec();
    datagram.extend(destination.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn tcp(source: u16, destination: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = source.to_be_bytes().to_vec();
    segment.extend(destination.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, 0x08, 1, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

impl Capture {
    fn packets(&mut self, packets: &[Vec<u8>]) {
        for packet in packets {
            let frame = ethernet(packet);
            self.feed(&frame, frame.len());
        }
    }
}

fn only_protocol(analysis: &Analysis) -> &crate::tally::ProtocolTally {
    let [row] = &analysis.protocols[..] else {
        panic!("{:?}", analysis.protocols)
    };
    row
}

fn reasons(analysis: &Analysis) -> Vec<(&str, u64)> {
    let reasons = analysis.undecoded.reasons.iter();
    reasons
        .map(|(reason, packets)| (reason.as_str(), packets.get()))
        .collect()
}

const ALONE: &str = "IP fragment whose other fragments did not come";
const CONTRADICT: &str = "IP fragments that contradict each other";

#[test]
fn a_datagram_in_fragments_is_one_message_of_several_packets() {
    let mut capture = Capture::with(&[]);
    capture.packets(&in_fragments(UDP, 1, &udp(9, 6000, &[7; 4000]), 1480));
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!(row.messages.get(), 1);
    assert_eq!((row.packets.total.get(), row.packets.data.get()), (3, 3));
    let bytes = &row.bytes;
    assert_eq!(
        [
            bytes.link_header.get(),
            bytes.ip_header.get(),
            bytes.transport_header.get(),
            bytes.payload.get(),
            bytes.outside_stream.get(),
        ],
        [42, 60, 8, 4000, 0]
    );
    assert_eq!(row.to_listener.messages.get(), 1);
    // Each fragment fits a frame as it is.
    assert_eq!(row.projection.frames.get(), 3);
    assert_eq!(
        row.series
            .buckets
            .values()
            .map(|b| b.packets.get())
            .sum::<u64>(),
        3
    );
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn a_segment_in_fragments_brings_its_bytes_to_the_stream() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    let frames = [token(1, 1, &[1; 300]), token(1, 2, &[2; 100])].concat();
    let segment = tcp(CLIENT, RING, capture.sequence[0], &frames);
    let mut fragments = in_fragments(TCP, 5, &segment, 128);
    fragments.reverse();
    capture.packets(&fragments);
    capture.sequence[0] += frames.len() as u32;
    capture.send(Listener, "A", b"");
    capture.send(Client, "A", &token(1, 3, b""));
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!(row.messages_by_kind["token"].get(), 3);
    assert_eq!(row.acknowledged_by_kind["token"].get(), 2);
    assert_eq!(row.packets.data.get(), fragments.len() as u64 + 1);
    assert_eq!(row.bytes.payload.get(), frames.len() as u64 + 56);
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn a_segment_that_comes_again_in_fragments_is_a_retransmission_of_that_many_packets() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    let frame = token(1, 1, &[1; 300]);
    let segment = tcp(CLIENT, RING, capture.sequence[0], &frame);
    capture.send(Client, "A", &frame);
    let fragments = in_fragments(TCP, 5, &segment, 128);
    capture.packets(&fragments);
    let row = &capture.finish().protocols[0];
    assert_eq!(row.packets.retransmission.get(), fragments.len() as u64);
    assert_eq!(row.bytes.retransmitted.get(), frame.len() as u64);
    assert_eq!(row.messages.get(), 1);
}

#[test]
fn a_fragment_that_comes_twice_is_outside_of_the_datagram() {
    let mut capture = Capture::with(&["t=5000:segment"]);
    let fragments = in_fragments(UDP, 1, &udp(9, 5000, &[7; 100]), 48);
    let order = [1, 0, 0, 1, 2].map(|at: usize| fragments[at].clone());
    capture.packets(&order);
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!((row.messages.get(), row.packets.data.get()), (1, 5));
    assert_eq!(row.bytes.payload.get(), 100);
    assert_eq!(row.bytes.outside_stream.get(), 96);
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn of_overlapping_ipv4_fragments_the_first_counts() {
    let mut capture = Capture::with(&[]);
    let datagram = udp(9, RING, &token(1, 1, b"12345678"));
    let whole = in_fragments(UDP, 1, &datagram, 64);
    // Bytes 56 to 64 again, with other content, in front of the last eight.
    let overlap = ipv4(UDP, 1, 7, &[[9; 8].as_slice(), &datagram[64..]].concat());
    capture.packets(&[whole[0].clone(), overlap]);
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!(row.messages_by_kind["token"].get(), 1);
    assert_eq!(row.bytes.outside_stream.get(), 8);
    assert_eq!(analysis.evidence.conflicting_bytes, 8);
}

#[test]
fn ipv6_fragments_that_overlap_are_no_packet() {
    let datagram = udp(9, 6000, &[7; 56]);
    let first = ipv6_fragment(UDP, 0, true, &datagram[..32]);
    let last = ipv6_fragment(UDP, 32, false, &datagram[32..]);
    let overlap = ipv6_fragment(UDP, 24, true, &datagram[24..40]);
    let mut capture = Capture::with(&[]);
    capture.packets(&[first.clone(), overlap, last.clone()]);
    let analysis = capture.finish();
    assert!(analysis.protocols.is_empty());
    assert_eq!(reasons(&analysis), [(CONTRADICT, 3)]);

    // The same twice is no overlap.
    let mut capture = Capture::with(&[]);
    capture.packets(&[first.clone(), first, last]);
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!((row.messages.get(), row.packets.total.get()), (1, 3));
    assert_eq!(row.bytes.ip_header.get(), 3 * 48);
    assert_eq!(row.bytes.outside_stream.get(), 32);
}

#[test]
fn extension_headers_behind_that_of_a_fragment_belong_to_the_ip_header() {
    const DESTINATION_OPTIONS: u8 = 60;
    let datagram = udp(9, 6000, &[7; 40]);
    let carried = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat();
    let mut capture = Capture::with(&[]);
    capture.packets(&[
        // The next header of a later fragment means nothing (RFC 8200, section 4.5).
        ipv6_fragment(99, 24, false, &carried[24..]),
        ipv6_fragment(DESTINATION_OPTIONS, 0, true, &carried[..24]),
    ]);
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!((row.messages.get(), row.bytes.payload.get()), (1, 40));
    assert_eq!(row.bytes.ip_header.get(), 2 * 48 + 8);
}

#[test]
fn an_ipv6_packet_in_one_fragment_is_whole() {
    let mut capture = Capture::with(&[]);
    capture.packets(&[ipv6_fragment(UDP, 0, false, &udp(9, 6000, &[7; 5]))]);
    let analysis = capture.finish();
    assert_eq!(only_protocol(&analysis).bytes.ip_header.get(), 48);
}

#[test]
fn fragments_that_stay_alone_are_undecoded_and_the_capture_incomplete() {
    let mut capture = Capture::with(&[]);
    let mut fragments = in_fragments(UDP, 1, &udp(9, 6000, &[7; 100]), 48);
    fragments.remove(1);
    capture.packets(&fragments);
    let analysis = capture.finish();
    assert_eq!(reasons(&analysis), [(ALONE, 2)]);
    assert_eq!(analysis.undecoded.bytes.outside_stream.get(), 48 + 12);
    assert_eq!(analysis.evidence.unfinished_fragments, 1);
    let losses = SourceLosses::default();
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
    assert_eq!(completeness.state, CompletenessState::Incomplete);
}

#[test]
fn fragments_wait_for_a_minute() {
    for (after, messages) in [(59, 1), (61, 0)] {
        let mut capture = Capture::with(&[]);
        let fragments = in_fragments(UDP, 1, &udp(9, 6000, &[7; 40]), 24);
        capture.packets(&fragments[..1]);
        capture.time += after * 1_000_000_000;
        capture.packets(&fragments[1..]);
        let analysis = capture.finish();
        let seen: u64 = analysis
            .protocols
            .iter()
            .map(|row| row.messages.get())
            .sum();
        assert_eq!(seen, messages);
        assert_eq!(analysis.evidence.unfinished_fragments, 2 * (1 - messages));
    }
}

#[test]
fn fragments_beyond_the_limit_are_given_up_and_none_is_lost() {
    let limits = Limits {
        fragments: 10_000,
        ..Limits::default()
    };
    let mut capture = Capture::within(limits, &[]);
    for identification in 0..100 {
        let datagram = udp(9, 6000, &[7; 800]);
        capture.packets(&in_fragments(UDP, identification, &datagram, 400)[..1]);
    }
    // The last one is still there.
    capture.packets(&in_fragments(UDP, 99, &udp(9, 6000, &[7; 800]), 400)[1..]);
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].messages.get(), 1);
    let evidence = &analysis.evidence;
    assert!((80..99).contains(&evidence.forgotten_fragments));
    assert_eq!(
        evidence.forgotten_fragments + evidence.unfinished_fragments,
        99
    );
}

#[test]
fn fragments_cut_by_the_snap_length_count_in_full() {
    let mut capture = Capture::with(&[]);
    for fragment in in_fragments(UDP, 1, &udp(9, RING, &token(1, 1, &[7; 400])), 160) {
        let frame = ethernet(&fragment);
        capture.feed(&frame, 14 + 20 + 70.min(fragment.len() - 20));
    }
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!(row.messages_by_kind["token"].get(), 1);
    assert_eq!(row.bytes.message.get(), 400);
    assert_eq!(analysis.evidence.truncated_packets.get(), 3);
}

#[test]
fn fragments_that_cannot_be() {
    let odd = ipv4(UDP, 1, MORE, &[0; 30]);
    let empty = ipv4(UDP, 2, MORE, &[]);
    let beyond = ipv4(UDP, 3, 0x1fff, &[0; 8]);
    let mut capture = Capture::with(&[]);
    capture.packets(&[odd, empty, beyond]);
    let analysis = capture.finish();
    assert_eq!(reasons(&analysis), [("damaged IP fragment", 3)]);
    assert_eq!(analysis.evidence, Evidence::default());

    // Two last ones that end at different places.
    let mut capture = Capture::with(&[]);
    capture.packets(&[ipv4(UDP, 1, 2, &[0; 30]), ipv4(UDP, 1, 4, &[0; 30])]);
    assert_eq!(reasons(&capture.finish()), [(CONTRADICT, 2)]);
}

#[test]
fn fragments_in_a_tunnel_and_of_a_tunnel() {
    let datagram = udp(9, 6000, &[7; 400]);
    let inner = in_fragments(UDP, 1, &datagram, 200);
    let carried: Vec<_> = inner
        .iter()
        .map(|packet| [&[0, 0, 8, 0][..], packet].concat())
        .collect();
    let tunnels = [
        ipv4(GRE, 10, 0, &carried[0]),
        ipv4(GRE, 11, 0, &carried[1]),
        ipv4(GRE, 12, 0, &carried[2]),
    ];
    let mut capture = Capture::with(&[]);
    capture.packets(&tunnels);
    // The tunnel's own packets in fragments, too.
    for (identification, carried) in (20..).zip(&carried) {
        capture.packets(&in_fragments(GRE, identification, carried, 104));
    }
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!((row.messages.get(), row.bytes.payload.get()), (2, 800));
    let outer_fragments = 3 + 3 + 1;
    let packets = &row.packets;
    assert_eq!((packets.total.get(), packets.data.get()), (10, 10));
    assert_eq!(
        row.bytes.ip_header.get(),
        20 * (3 + outer_fragments - 1 + 1)
    );
    assert_eq!(row.bytes.tunnel_header.get(), 24 * 6);
    assert_eq!(row.bytes.transport_header.get(), 16);
}

/// An ICMP message that quotes a packet's beginning.
fn icmp(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend(&quoted[..quoted.len().min(28)]);
    ipv4(ICMP, 0, 0, &message)
}

#[test]
fn icmp_errors_go_with_the_flow_that_they_are_about() {
    let mut capture = Capture::with(&["t=5000:segment"]);
    let asked = ipv4(UDP, 1, 0, &udp(9, 5000, &[7; 100]));
    capture.packets(&[asked.clone(), icmp(3, 3, &asked)]);
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!((row.packets.data.get(), row.packets.other.get()), (1, 1));
    assert_eq!(row.icmp_errors["port unreachable"].get(), 1);
    assert_eq!(row.from_listener.packets.get(), 1);
    assert_eq!(
        (row.bytes.payload.get(), row.bytes.outside_stream.get()),
        (100, 28)
    );
    assert_eq!(row.bytes.transport_header.get(), 8 + 8);
    assert_eq!((row.messages.get(), row.refused_connections.get()), (1, 0));
    assert!(analysis.unclassified.by_name.is_empty());
}

#[test]
fn icmp_errors_about_tcp_disturb_no_stream() {
    let mut capture = Capture::logged();
    capture.connect();
    let segment = tcp(CLIENT, RING, capture.sequence[0], &token(1, 1, b"a"));
    capture.packets(&[
        icmp(3, 4, &ipv4(TCP, 1, 0, &segment)),
        icmp(11, 0, &ipv4(TCP, 1, 0, &segment)),
    ]);
    capture.send(Client, "A", &token(1, 1, b"a"));
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!((row.messages.get(), row.packets.other.get()), (1, 2));
    assert_eq!(row.icmp_errors["packet too big"].get(), 1);
    assert_eq!(row.icmp_errors["time exceeded"].get(), 1);
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn an_icmp_error_about_a_closed_connection_is_unclassified() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    capture.close();
    let segment = tcp(CLIENT, RING, capture.sequence[0], b"");
    capture.packets(&[icmp(3, 1, &ipv4(TCP, 1, 0, &segment))]);
    let analysis = capture.finish();
    assert!(analysis.protocols[0].icmp_errors.is_empty());
    assert_eq!(analysis.unclassified.by_name["ICMP"].get(), 1);
}

#[test]
fn an_icmp_error_about_nothing_known_is_unclassified_by_name() {
    let mut capture = Capture::with(&[]);
    let asked = ipv4(UDP, 1, 0, &udp(9, 6000, &[7; 100]));
    let other = ipv4(UDP, 1, 0, &udp(9, 53, &[7; 100]));
    let later = ipv4(UDP, 1, 5, &[7; 40]);
    capture.packets(&[
        icmp(3, 3, &asked),
        other.clone(),
        icmp(3, 3, &other),
        icmp(11, 1, &later),
    ]);
    let analysis = capture.finish();
    assert!(analysis.protocols.is_empty());
    let names = &analysis.unclassified.by_name;
    assert_eq!((names["ICMP"].get(), names["UDP"].get()), (3, 1));
}

#[test]
fn an_icmp_error_in_fragments_is_as_many_packets() {
    let mut capture = Capture::with(&[]);
    let asked = ipv4(UDP, 1, 0, &udp(9, 6000, &[7; 100]));
    let error = icmp(3, 1, &asked);
    capture.packets(&[asked]);
    capture.packets(&in_fragments(ICMP, 2, &error[20..], 24));
    let analysis = capture.finish();
    let row = only_protocol(&analysis);
    assert_eq!(row.packets.other.get(), 2);
    assert_eq!(row.icmp_errors["destination unreachable"].get(), 1);
    assert_eq!(row.bytes.outside_stream.get(), 28);
}

#[test]
fn what_is_neither_tcp_nor_udp_has_a_name() {
    let mut capture = Capture::with(&[]);
    for protocol in [ICMP, 2, 50, 89, 132, 132, 253] {
        capture.packets(&[ipv4(protocol, 1, 0, &[0; 40])]);
    }
    capture.packets(&[ipv4(TCP, 1, 0, &tcp(1, 2, 3, b"abc"))]);
    let mut arp = vec![0; 42];
    arp[12..14].copy_from_slice(&[8, 6]);
    capture.feed(&arp, 42);
    let analysis = capture.finish();
    let names = analysis.unclassified.by_name.iter();
    let names: Vec<_> = names
        .map(|(name, packets)| (name.as_str(), packets.get()))
        .collect();
    assert_eq!(
        names,
        [
            ("ESP", 1),
            ("ICMP", 1),
            ("IGMP", 1),
            ("IP protocol 253", 1),
            ("OSPF", 1),
            ("SCTP", 2),
            ("TCP", 1)
        ]
    );
    assert_eq!(reasons(&analysis), [("not IP: ARP", 1)]);
}

proptest! {
    /// However datagrams and segments are cut and whatever order their fragments come in, the same is
    /// found in them, and each packet counts once.
    #[test]
    fn fragments_in_any_order_give_what_the_whole_gives(
        sizes in prop::collection::vec(0_usize..300, 1..6),
        cut in 1_usize..12,
        order in any::<u64>(),
        twice in 0_usize..3,
        snap in prop_oneof![2 => Just(1000_usize), 1 => 34_usize..200],
    ) {
        let plan = &["t=5000:segment", "s=5001:line"];
        let (mut whole, mut cut_up) = (Capture::with(plan), Capture::with(plan));
        let mut sequence = 1;
        let mut count = 0;
        for (identification, size) in (0..).zip(&sizes) {
            let payload = vec![b'\n'; *size];
            let segment = tcp(9, 5001, sequence, &payload);
            sequence += *size as u32;
            for (protocol, content) in [(UDP, udp(9, 5000, &payload)), (TCP, segment)] {
                whole.packets(&[ipv4(protocol, identification, 0, &content)]);
                let mut fragments = in_fragments(protocol, identification, &content, cut * 8);
                let last = fragments.len() - 1;
                if fragments.len() > 1 {
                    for at in 0..twice.min(last) {
                        fragments.insert(0, fragments[at].clone());
                    }
                    // The last of its packet to come is the one that makes it whole.
                    let unmoved = fragments.len() - 1;
                    fragments[..unmoved].rotate_left((order as usize + size) % unmoved);
                }
                count += fragments.len() as u64;
                for fragment in fragments {
                    let frame = ethernet(&fragment);
                    let captured = frame.len().min(if protocol == UDP { 1000 } else { snap.max(54) });
                    cut_up.feed(&frame, captured);
                }
            }
        }
        let (whole, cut_up) = (whole.finish(), cut_up.finish());
        let sum = |analysis: &Analysis, of: fn(&crate::tally::ProtocolTally) -> u64| -> u64 {
            analysis.protocols.iter().map(of).sum()
        };
        prop_assert_eq!(sum(&cut_up, |row| row.packets.total.get()), count);
        prop_assert_eq!(sum(&cut_up, |row| row.bytes.payload.get()), sum(&whole, |row| row.bytes.payload.get()));
        prop_assert_eq!(
            sum(&cut_up, |row| row.bytes.transport_header.get()),
            sum(&whole, |row| row.bytes.transport_header.get())
        );
        if cut_up.evidence.truncated_packets.get() == 0 {
            prop_assert_eq!(sum(&cut_up, |row| row.messages.get()), sum(&whole, |row| row.messages.get()));
        }
        prop_assert_eq!(cut_up.evidence.unfinished_fragments, 0);
    }

    /// Identities hold whatever fragments come.
    #[test]
    fn any_fragments_are_counted_once(
        fragments in prop::collection::vec(
            (any::<bool>(), prop::sample::select(vec![UDP, TCP, ICMP, GRE, 4, 132]), 0_u16..3, 0_u16..6, any::<bool>(),
             prop::collection::vec(prop::sample::select(vec![0_u8, 1, 3, 8, 0x45, 0x17, 0x88]), 0..60), 0_usize..20),
            0..60,
        ),
        limit in prop_oneof![Just(4_usize << 20), Just(2000)],
    ) {
        let limits = Limits { fragments: limit, ..Limits::default() };
        let mut capture = Capture::within(limits, &["t=1-65535:segment"]);
        for (v6, protocol, identification, offset, more, payload, cut) in fragments {
            let packet = if v6 {
                ipv6_fragment(protocol, offset * 8, more, &payload)
            } else {
                ipv4(protocol, identification, offset | if more { MORE } else { 0 }, &payload)
            };
            let frame = ethernet(&packet);
            capture.feed(&frame, frame.len() - cut.min(payload.len()));
            capture.time += 3_000_000_000;
        }
        capture.finish();
    }
}

/// The short way, the thorough one and that of fragments; threads and parts.
#[test]
fn every_way_of_a_packet_is_projected_onto_the_one_mtu() {
    let capture = Capture::with(&["t=5000:segment"]);
    let mut capture = capture.on_ports(CLIENT, 5000).onto(Mtu::LEAST);
    capture.connect();
    capture.send(Client, "A", &[7; 100]);
    capture.send(Client, "A", &[7; 100]);
    capture.close();
    capture.packets(&in_fragments(UDP, 1, &udp(9, 5000, &[7; 100]), 56));
    let analysis = capture.finish();
    let projection = only_protocol(&analysis).projection;
    assert_eq!((projection.mtu, projection.mss), (Mtu::LEAST, 28));
    // 6 packets of 40 bytes. Beside 40 of headers, 3 times 28 bytes and 16. Beside 28 of them, 40 and 8;
    // beside 20, 48 and 4, each time in a frame that is padded.
    assert_eq!(projection.frames.get(), 6 + 2 * 4 + 2 + 2);
    let bytes = 6 * 60 + 2 * (3 * 82 + 70) + 2 * (82 + 60);
    assert_eq!(projection.l2_bytes.get(), bytes);
    assert_eq!(projection.line_bytes.get(), bytes + 24 * 18);
}
