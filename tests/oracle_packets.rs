//! Packets made here, one layer at a time, and read by WireWatt and by tshark: link types, tags,
//! extension headers, tunnels, fragments, packets longer than their length field. What is in them is
//! known, and both programs must find just that.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{
    broken_identities, count, have_tools, protocol, run, total, tshark, tshark_fields, value,
    wirewatt,
};

const ETHERNET: u16 = 1;
const RAW: u16 = 101;

const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// What the segments and datagrams here carry.
const PAYLOAD: usize = 300;

/// One TCP segment of [`PAYLOAD`] bytes, or more.
fn segment(payload: usize) -> Vec<u8> {
    let mut segment = [40_000_u16, 7100].map(u16::to_be_bytes).concat();
    segment.extend(1000_u32.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, 0x08, 1, 0, 0, 0, 0, 0]);
    segment.resize(segment.len() + payload, b'x');
    segment
}

fn datagram(destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let header = [40_000_u16, destination, length, 0].map(u16::to_be_bytes);
    [&header.concat(), payload].concat()
}

fn ipv4(protocol: u8, flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(flags_and_offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    for host in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(payload);
    packet
}

/// An IPv6 fragment header's eight bytes.
fn fragment_header(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let mut header = vec![next, 0];
    header.extend((offset | u16::from(more)).to_be_bytes());
    header.extend([0, 0, 0, 99]);
    header
}

/// A payload cut into fragments of `size` bytes.
fn fragments(is_v6: bool, protocol: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<_> = payload.chunks(size).enumerate().collect();
    let last = pieces.len() - 1;
    let fragment = |&(index, piece): &(usize, &[u8])| {
        let offset = (index * size) as u16;
        if is_v6 {
            let header = fragment_header(protocol, offset, index < last);
            ipv6(44, &[&header, piece].concat())
        } else {
            let more = if index < last { 0x2000 } else { 0 };
            ipv4(protocol, more | (offset / 8), piece)
        }
    };
    pieces.iter().map(fragment).collect()
}

fn ethernet(packet: &[u8]) -> Vec<u8> {
    tagged(&[], packet)
}

/// An Ethernet frame with tags or labels, the EtherType that leads to them included.
fn tagged(tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let ether_type: &[u8] = match (tags, packet[0] >> 4) {
        // MPLS is followed by IP without an EtherType, PPPoE by a PPP number.
        ([0x88, 0x47 | 0x64, ..], _) => &[],
        (_, 6) => &[0x86, 0xdd],
        _ => &[8, 0],
    };
    let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    [&addresses, tags, ether_type, packet].concat()
}

/// A capture, and what is in it.
struct Case {
    name: &'static str,
    link_type: u16,
    frames: Vec<Vec<u8>>,
    /// Bytes in TCP segments and in UDP datagrams.
    payload: usize,
}

fn case(name: &'static str, link_type: u16, frames: Vec<Vec<u8>>) -> Case {
    Case {
        name,
        link_type,
        frames,
        payload: PAYLOAD,
    }
}

fn link_layers() -> Vec<Case> {
    let packet = ipv4(TCP, 0, &segment(PAYLOAD));
    let packet_v6 = ipv6(TCP, &segment(PAYLOAD));
    let with = |header: &[u8]| vec![[header, &packet].concat()];
    let pppoe_length = (packet.len() as u16 + 2).to_be_bytes();
    let pppoe = [&[0x88, 0x64, 0x11, 0, 0, 1], &pppoe_length[..], &[0, 0x21]].concat();
    let snap_length = (packet.len() as u16 + 8).to_be_bytes();
    let snap = [&snap_length[..], &[0xaa, 0xaa, 3, 0, 0, 0]].concat();
    let mut sll = vec![0, 0, 3, 4, 0, 6];
    sll.resize(14, 0);
    sll.extend([8, 0]);
    let mut sll2 = vec![8, 0];
    sll2.resize(20, 0);
    let mut padded = ethernet(&ipv4(TCP, 0, &segment(1)));
    padded.resize(60, 0);
    let mut infiniband = vec![0; 40];
    infiniband.extend([8, 0, 0, 0]);
    vec![
        case("Ethernet", ETHERNET, vec![ethernet(&packet)]),
        case("Ethernet, IPv6", ETHERNET, vec![ethernet(&packet_v6)]),
        Case {
            payload: 1,
            ..case("a padded frame", ETHERNET, vec![padded])
        },
        case("VLAN", ETHERNET, vec![tagged(&[0x81, 0, 0, 5], &packet)]),
        case(
            "QinQ",
            ETHERNET,
            vec![tagged(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], &packet)],
        ),
        case(
            "VLAN in VLAN, IPv6",
            ETHERNET,
            vec![tagged(&[0x81, 0, 0, 5, 0x81, 0, 0, 6], &packet_v6)],
        ),
        case(
            "MPLS",
            ETHERNET,
            vec![tagged(&[0x88, 0x47, 0, 1, 0, 64, 0, 1, 1, 64], &packet)],
        ),
        case("PPPoE", ETHERNET, vec![tagged(&pppoe, &packet)]),
        case("SNAP", ETHERNET, vec![tagged(&snap, &packet)]),
        case("NULL, little-endian", 0, with(&[2, 0, 0, 0])),
        case("NULL, big-endian", 0, with(&[0, 0, 0, 2])),
        case("LOOP", 108, with(&[0, 0, 0, 2])),
        case("RAW", RAW, with(&[])),
        case("RAW, IPv6", RAW, vec![packet_v6.clone()]),
        case("IPV4", 228, with(&[])),
        case("IPV6", 229, vec![packet_v6]),
        case("LINUX_SLL", 113, with(&sll)),
        case("LINUX_SLL2", 276, with(&sll2)),
        case("PPP", 9, with(&[0xff, 3, 0, 0x21])),
        case("PPP_HDLC", 50, with(&[0xff, 3, 0, 0x21])),
        case("C_HDLC", 104, with(&[0x0f, 0, 8, 0])),
        case("FRELAY", 107, with(&[0x18, 0x41, 3, 0xcc])),
        case("IPOIB", 242, with(&infiniband)),
    ]
}

fn network_layers() -> Vec<Case> {
    let segment = segment(PAYLOAD);
    let behind = |next: u8, headers: &[u8]| vec![ipv6(next, &[headers, &segment].concat())];
    let padding = [1, 4, 0, 0, 0, 0];
    let header = |next: u8| [&[next, 0], &padding[..]].concat();
    let routing = [TCP, 0, 0, 0, 0, 0, 0, 0];
    let mut authentication = vec![TCP, 4, 0, 0];
    authentication.resize(24, 1);
    let three = [header(43), vec![60, 0, 0, 0, 0, 0, 0, 0], header(TCP)].concat();
    let mut options = ipv4(TCP, 0, &[&[1; 8], &segment[..]].concat());
    options[0] = 0x47;
    vec![
        case("IPv4 options", RAW, vec![options]),
        case(
            "AH in IPv4",
            RAW,
            vec![ipv4(51, 0, &[&authentication, &segment[..]].concat())],
        ),
        case("hop-by-hop options", RAW, behind(0, &header(TCP))),
        case("destination options", RAW, behind(60, &header(TCP))),
        case("routing header", RAW, behind(43, &routing)),
        case("AH in IPv6", RAW, behind(51, &authentication)),
        case("three extension headers", RAW, behind(0, &three)),
        case(
            "a whole packet in one fragment",
            RAW,
            behind(44, &fragment_header(TCP, 0, false)),
        ),
    ]
}

fn tunnels() -> Vec<Case> {
    let segment = segment(PAYLOAD);
    let (v4, v6) = (ipv4(TCP, 0, &segment), ipv6(TCP, &segment));
    let bridged = [&[0, 0, 0x65, 0x58], &ethernet(&v4)[..]].concat();
    let keyed = [&[0x30, 0, 8, 0, 0, 0, 0, 7, 0, 0, 0, 1], &v4[..]].concat();
    let vxlan = |frame: &[u8]| datagram(4789, &[&[8, 0, 0, 0, 0, 0, 42, 0], frame].concat());
    let options = [1, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 1, 1, 0];
    let geneve = datagram(6081, &[&options, &ethernet(&v6)[..]].concat());
    let gre = |carried: &[u8]| ipv4(GRE, 0, &[&[0, 0, 8, 0], carried].concat());
    vec![
        case("IP in IP", RAW, vec![ipv4(4, 0, &v4)]),
        case("6in4", RAW, vec![ipv4(41, 0, &v6)]),
        case("4in6", RAW, vec![ipv6(4, &v4)]),
        case("GRE", RAW, vec![gre(&v4)]),
        case(
            "GRE with key and sequence number",
            RAW,
            vec![ipv4(GRE, 0, &keyed)],
        ),
        case("GRE, bridged", RAW, vec![ipv4(GRE, 0, &bridged)]),
        case(
            "GRE in GRE over IPv6",
            RAW,
            vec![ipv6(GRE, &[&[0, 0, 8, 0], &gre(&v4)[..]].concat())],
        ),
        case("VXLAN", RAW, vec![ipv4(UDP, 0, &vxlan(&ethernet(&v4)))]),
        case(
            "VXLAN with a tag",
            RAW,
            vec![ipv4(UDP, 0, &vxlan(&tagged(&[0x81, 0, 0, 5], &v6)))],
        ),
        case("Geneve with an option", RAW, vec![ipv6(UDP, &geneve)]),
    ]
}

fn in_fragments() -> Vec<Case> {
    let segment = segment(PAYLOAD);
    let v4 = ipv4(TCP, 0, &segment);
    let gre = [&[0, 0, 8, 0], &v4[..]].concat();
    let reversed = |mut frames: Vec<Vec<u8>>| {
        frames.reverse();
        frames
    };
    let mut twice = fragments(false, TCP, &segment, 104);
    twice.insert(1, twice[0].clone());
    let two_datagrams = [5000, 5001].map(|port| {
        let frames = fragments(false, UDP, &datagram(port, &[1; PAYLOAD]), 200);
        // Each with an identification of its own.
        let identified = frames.into_iter().map(move |mut frame| {
            frame[4..6].copy_from_slice(&port.to_be_bytes());
            frame
        });
        identified.collect::<Vec<_>>()
    });
    let [one, other] = two_datagrams;
    let interleaved = one.into_iter().zip(other).flat_map(|(a, b)| [a, b]);
    let vxlan = |inner: &[u8]| {
        let carried = [&[8, 0, 0, 0, 0, 0, 42, 0], &ethernet(inner)[..]].concat();
        ipv4(UDP, 0, &datagram(4789, &carried))
    };
    let in_vxlan = fragments(true, TCP, &segment, 104);
    let mut alone = fragments(false, UDP, &datagram(5000, &[1; PAYLOAD]), 104);
    alone.remove(1);
    vec![
        case("IPv4 fragments", RAW, fragments(false, TCP, &segment, 104)),
        case(
            "IPv4 fragments in reverse",
            RAW,
            reversed(fragments(false, TCP, &segment, 104)),
        ),
        case("IPv6 fragments", RAW, fragments(true, TCP, &segment, 104)),
        case(
            "IPv6 fragments in reverse",
            RAW,
            reversed(fragments(true, TCP, &segment, 104)),
        ),
        case(
            "a datagram in fragments",
            RAW,
            fragments(true, UDP, &datagram(5000, &[1; PAYLOAD]), 64),
        ),
        case("a fragment that comes twice", RAW, twice),
        Case {
            payload: 2 * PAYLOAD,
            ..case("fragments of two datagrams", RAW, interleaved.collect())
        },
        case("GRE in fragments", RAW, fragments(false, GRE, &gre, 104)),
        case(
            "fragments in VXLAN",
            RAW,
            in_vxlan.iter().map(|inner| vxlan(inner)).collect(),
        ),
        Case {
            payload: 0,
            ..case("a fragment is missing", RAW, alone)
        },
    ]
}

/// Packets longer than their length field holds, as segmentation offload leaves them. tshark takes an
/// IPv6 packet without a jumbo payload option to be empty.
fn longer_than_their_field() -> Vec<Case> {
    const LONG: usize = 100_000;
    let segment = segment(LONG);
    let mut v4 = ipv4(TCP, 0, &segment);
    v4[2..4].fill(0);
    let length = (segment.len() as u32 + 8).to_be_bytes();
    let option = [&[TCP, 0, 0xc2, 4], &length[..]].concat();
    let mut jumbogram = ipv6(0, &[&option, &segment[..]].concat());
    jumbogram[4..6].fill(0);
    let long = |name, packet: &[u8]| Case {
        payload: LONG,
        ..case(name, ETHERNET, vec![ethernet(packet)])
    };
    vec![
        long("a total length of 0", &v4),
        long("a jumbogram", &jumbogram),
    ]
}

/// Writes cases into a pcapng file, each as what an interface of its own saw.
fn write(path: &Path, cases: &[&Case]) {
    let block = |kind: u32, body: &[u8]| {
        let length = (body.len().next_multiple_of(4) as u32 + 12).to_le_bytes();
        let mut block = [&kind.to_le_bytes(), &length, body].concat();
        block.resize(block.len().next_multiple_of(4), 0);
        block.extend(length);
        block
    };
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let mut file = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    for case in cases {
        file.extend(block(1, &words(&[u32::from(case.link_type), 262_144])));
    }
    for (interface, case) in (0..).zip(cases) {
        for (time, frame) in (0..).zip(&case.frames) {
            let length = frame.len() as u32;
            let head = words(&[interface, 0x0006_0000, time, length, length]);
            file.extend(block(6, &[&head, &frame[..]].concat()));
        }
    }
    std::fs::write(path, file).expect("the capture can be written");
}

/// Bytes that tshark finds in TCP segments and UDP datagrams, frame by frame.
fn payload_by_tshark(file: &Path) -> Vec<usize> {
    let mut tshark = tshark();
    tshark
        .args([
            "-o",
            "ip.defragment:TRUE",
            "-o",
            "ipv6.defragment:TRUE",
            "-r",
        ])
        .arg(file)
        .args(["-T", "fields", "-E", "separator=|", "-E", "occurrence=l"])
        .args(["-e", "tcp.len", "-e", "udp.length", "-e", "vxlan.vni"]);
    let finished = run(&mut tshark);
    assert!(finished.status.success(), "{finished}");
    let number = |column: &str| column.parse::<usize>().expect("a number");
    let payload = |row: &str| match row.split('|').collect::<Vec<_>>()[..] {
        ["", udp, ""] if !udp.is_empty() => number(udp) - 8,
        // What carries a fragment that waits for others, or is one.
        ["", _, _] => 0,
        [tcp, _, _] => number(tcp),
        _ => panic!("a row of other columns: {row}"),
    };
    finished.stdout.lines().map(payload).collect()
}

fn report(file: &Path) -> serde_json::Value {
    let finished = run(wirewatt().arg("analyze").arg(file).args([
        "--json",
        "--protocol",
        "all=1-65535:segment",
    ]));
    let report = finished.json();
    assert_eq!(broken_identities(&report), Vec::<String>::new());
    report
}

#[test]
fn packets_made_here_hold_for_tshark_and_for_us_what_was_put_into_them() {
    if !have_tools(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("made.pcapng");
    let whole = [
        link_layers(),
        network_layers(),
        tunnels(),
        longer_than_their_field(),
    ];
    let whole: Vec<_> = whole.into_iter().flatten().collect();
    let in_fragments = in_fragments();
    let mut groups = vec![whole.iter().collect::<Vec<_>>()];
    // Their identifications are the same.
    groups.extend(in_fragments.iter().map(|case| vec![case]));

    let mut wrong = Vec::new();
    for cases in groups {
        write(&file, &cases);
        let mut theirs = payload_by_tshark(&file).into_iter();
        for case in cases {
            let theirs: usize = theirs.by_ref().take(case.frames.len()).sum();
            write(&file, &[case]);
            let report = report(&file);
            let all = protocol(&report, "all");
            let ours = count(all, "/bytes/payload") as usize;
            if (theirs, ours) != (case.payload, case.payload) {
                wrong.push(format!(
                    "{}: {} bytes of payload, tshark {theirs}, wirewatt {ours}",
                    case.name, case.payload
                ));
            }
            let sizes = [case.frames.len(), case.frames.iter().map(Vec::len).sum()];
            let counted =
                ["/packets/total", "/bytes/wire"].map(|part| total(&report, part) as usize);
            if counted != sizes {
                wrong.push(format!("{}: {sizes:?}, wirewatt {counted:?}", case.name));
            }
            if case.payload > 0 && count(all, "/packets/total") as usize != sizes[0] {
                wrong.push(format!("{}: a packet is not of the connection", case.name));
            }
        }
        assert_eq!(theirs.next(), None);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Tells apart what is neither TCP nor UDP as tshark does.
#[test]
fn other_packets_have_the_names_that_tshark_gives_them() {
    if !have_tools(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("others.pcapng");
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.resize(60, 0);
    let echo = [8, 0, 0, 0, 0, 1, 0, 1];
    let igmp = [0x16, 0, 0, 0, 224, 0, 0, 9];
    let mut sctp = [5000_u16, 5001].map(u16::to_be_bytes).concat();
    sctp.extend([0, 0, 0, 1, 0, 0, 0, 0, 10, 0, 0, 4]);
    let mut ospf = vec![2, 1, 0, 44];
    ospf.resize(44, 0);
    let frames = vec![
        arp.clone(),
        ethernet(&ipv4(1, 0, &echo)),
        ethernet(&ipv4(1, 0, &echo)),
        ethernet(&ipv6(58, &[128, 0, 0, 0, 0, 1, 0, 1])),
        ethernet(&ipv4(2, 0, &igmp)),
        ethernet(&ipv4(132, 0, &sctp)),
        ethernet(&ipv4(89, 0, &ospf)),
        ethernet(&ipv4(50, 0, &[1; 40])),
        ethernet(&ipv4(TCP, 0, &segment(1))),
    ];
    write(&file, &[&case("others", ETHERNET, frames)]);
    let names = BTreeMap::from([
        ("arp", "not IP: ARP"),
        ("icmp", "ICMP"),
        ("icmpv6", "ICMPv6"),
        ("igmp", "IGMP"),
        ("sctp", "SCTP"),
        ("ospf", "OSPF"),
        ("esp", "ESP"),
        ("tcp", "TCP"),
    ]);
    let mut expected = BTreeMap::<&str, u64>::new();
    for row in tshark_fields(&file, "frame", &["frame.protocols"]) {
        let layers: Vec<_> = row[0].split(':').collect();
        let name = layers.iter().rev().find_map(|layer| names.get(layer));
        *expected
            .entry(name.expect("a layer with a name here"))
            .or_default() += 1;
    }
    let finished = run(wirewatt().arg("analyze").arg(&file).arg("--json"));
    let report = finished.json();
    let mut ours = BTreeMap::new();
    for part in ["/unclassified/by_name", "/undecoded/reasons"] {
        let counted = value(&report, part).as_object().expect("an object");
        for (name, packets) in counted {
            ours.insert(&name[..], packets.as_u64().expect("a number"));
        }
    }
    // TCP on a port of ours is the ring's.
    let ring = count(protocol(&report, "ring"), "/packets/total");
    ours.insert("TCP", ring);
    assert_eq!(ours, expected);
}
