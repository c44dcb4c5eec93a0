//! Captures that nobody here wrote, read by WireWatt and by tshark: frames, frame bytes, IP bytes
//! and TCP payload agree file by file, or the difference is explained here.
//!
//! `scripts/fetch-captures` puts the test captures of tcpdump and Wireshark into
//! `target/third-party-captures`. Many are made by fuzzers to break a reader.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::sharkd::Sharkd;
use common::{
    broken_identities, count, have_tools, protocol, run, skip, text, total, tshark, wirewatt,
};

/// All TCP is one protocol, so that its payload is told apart from that of other transports.
const ALL_TCP: &str = r#"
[[protocol]]
name = "all-tcp"
ports = ["1-65535"]
transport = "tcp"
framing = "segment"
"#;

/// Where WireWatt finds an IP packet in a frame: the layers before the IP header as
/// `frame.protocols` names them, tags and labels taken out. Frames of other kinds are expected
/// under `undecoded`, with no IP bytes.
const DECODED_LINKS: [&[&str]; 12] = [
    &["eth", "ethertype"],  // EN10MB
    &["ppp"],               // PPP, PPP_HDLC
    &["raw"],               // RAW
    &["null"],              // NULL, LOOP
    &["sll", "ethertype"],  // LINUX_SLL
    &["sll"],               // LINUX_SLL with a device that names no EtherType
    &["fr"],                // FRELAY
    &["chdlc"],             // C_HDLC
    &["ipnet"],             // IPNET
    &["ipoib"],             // IPOIB
    &[],                    // IPV4, IPV6
    &["sll2", "ethertype"], // LINUX_SLL2
];

/// Tags between the link header and IP that WireWatt passes over, each followed by an EtherType.
const TAGS: [&str; 2] = ["vlan", "ieee8021ad"];

/// Labels there, followed by IP.
const LABELS: &str = "mpls";

/// Layers between the outer IP header and TCP that WireWatt passes through. An IP header quoted in
/// an ICMP error is no packet, and other tunnels over UDP (GTP, WireGuard) are UDP payload.
const PASSED_TO_TCP: [&str; 16] = [
    "ip",
    "ipv6",
    "ipv6.hopopts",
    "ipv6.dstopts",
    "ipv6.routing",
    "ipv6.routing.srh",
    "ipv6.fraghdr",
    "ah",
    "gre",
    "udp",
    "vxlan",
    "geneve",
    "eth",
    "ethertype",
    "vlan",
    "tcp",
];

/// What both programs count in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Frames,
    WireBytes,
    IpBytes,
    TcpPayload,
    TcpSegments,
    /// With SYN.
    Handshakes,
    /// With FIN or RST, and no SYN.
    Teardowns,
    /// Neither of these, no payload, ACK.
    PureAcks,
}

use Quantity::{
    Frames, Handshakes, IpBytes, PureAcks, TcpPayload, TcpSegments, Teardowns, WireBytes,
};

const QUANTITIES: [Quantity; 8] = [
    Frames,
    WireBytes,
    IpBytes,
    TcpPayload,
    TcpSegments,
    Handshakes,
    Teardowns,
    PureAcks,
];

/// What a file holds, by [`Quantity`].
type Counts = [u64; QUANTITIES.len()];

/// Why two right programs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The IP header declares more than the frame had on the wire. tshark shows the declared
    /// length; WireWatt's IP ends where its frame ends, or the layers would not add up.
    LongerThanFrame,
    /// A payload length of 0 in a header: a jumbogram, or a packet longer than the field holds
    /// (BIG TCP). tshark shows the field; WireWatt takes the length from the frame.
    LengthFromFrame,
    /// A record claims an original length below what it captured. WireWatt counts the captured
    /// bytes: they were there.
    CapturedMoreThanOriginal,
    /// The first fragment of a packet whose other fragments are not there: tshark shows the segment
    /// that begins in it, without a length; WireWatt counts no segment that is never whole.
    FirstFragment,
    /// The capture has less than the 40 bytes that every IPv6 header has. tshark shows the length
    /// that is among them; WireWatt takes no frame for an IP packet without its addresses.
    CutFixedHeader,
    /// SunATM: tshark takes a pseudo-header of 4 bytes out of the frame's length. WireWatt counts
    /// the record's original length.
    PseudoHeader,
}

use Reason::{
    CapturedMoreThanOriginal, CutFixedHeader, FirstFragment, LengthFromFrame, LongerThanFrame,
    PseudoHeader,
};

/// Every difference: file, quantity, what tshark counts, what WireWatt counts, why.
const EXPLAINED: &[(&str, Quantity, u64, u64, Reason)] = &[
    (
        "tcpdump/bgp-addpath.pcap",
        IpBytes,
        309,
        271,
        LongerThanFrame,
    ),
    (
        "tcpdump/cve-2014-8769-AODV.pcap",
        IpBytes,
        58941,
        61,
        LongerThanFrame,
    ),
    (
        "tcpdump/hncp_dhcpv4data-oobr.pcap",
        IpBytes,
        296,
        65,
        LongerThanFrame,
    ),
    (
        "tcpdump/hoobr_bfd_print.pcap",
        IpBytes,
        12336,
        12322,
        LongerThanFrame,
    ),
    (
        "tcpdump/icmp-cksum-oobr-1.pcap",
        IpBytes,
        13911,
        188,
        LongerThanFrame,
    ),
    (
        "tcpdump/icmp-cksum-oobr-3.pcapng",
        IpBytes,
        4419,
        323,
        LongerThanFrame,
    ),
    ("tcpdump/kday4.pcap", IpBytes, 2549, 1781, LongerThanFrame),
    ("tcpdump/kday7.pcap", IpBytes, 2549, 1781, LongerThanFrame),
    (
        "tcpdump/kh-timed-001-oobr.pcap",
        IpBytes,
        12336,
        12322,
        LongerThanFrame,
    ),
    (
        "tcpdump/kh-timed-004-oobr.pcap",
        IpBytes,
        12336,
        12322,
        LongerThanFrame,
    ),
    (
        "tcpdump/olsr-oobr-1.pcap",
        IpBytes,
        21492,
        12232,
        LongerThanFrame,
    ),
    (
        "tcpdump/rpki-rtr-oobr.pcap",
        IpBytes,
        62,
        50,
        LongerThanFrame,
    ),
    (
        "tcpdump/rx_ubik-oobr.pcap",
        IpBytes,
        2660,
        80,
        LongerThanFrame,
    ),
    (
        "tcpdump/icmp-cksum-oobr-2.pcap",
        IpBytes,
        33008,
        240,
        LongerThanFrame,
    ),
    (
        "tcpdump/icmp-cksum-oobr-4.pcapng",
        IpBytes,
        8360,
        168,
        LongerThanFrame,
    ),
    (
        "tcpdump/icmp-icmp_print-oobr-2.pcap",
        IpBytes,
        138,
        129,
        LongerThanFrame,
    ),
    ("tcpdump/kday1.pcap", IpBytes, 63217, 168, LongerThanFrame),
    ("tcpdump/kday3.pcap", IpBytes, 66072, 1278, LongerThanFrame),
    (
        "tcpdump/icmpv6-length-zero.pcapng",
        IpBytes,
        40,
        72,
        LengthFromFrame,
    ),
    (
        "tcpdump/ipv6-too-long-jumbo.pcap",
        IpBytes,
        40,
        476,
        LengthFromFrame,
    ),
    (
        "tcpdump/aoe-oobr-1.pcap",
        WireBytes,
        32,
        34,
        CapturedMoreThanOriginal,
    ),
    (
        "tcpdump/icmp-icmp_print-oobr-2.pcap",
        WireBytes,
        4164,
        4258,
        CapturedMoreThanOriginal,
    ),
    (
        "tcpdump/pim_header_asan-2.pcap",
        WireBytes,
        524288,
        524292,
        CapturedMoreThanOriginal,
    ),
    (
        "tcpdump/rsvp-rsvp_obj_print-oobr.pcap",
        WireBytes,
        262198,
        262245,
        CapturedMoreThanOriginal,
    ),
    (
        "tcpdump/slip-compressed_sl_print-oobr.pcap",
        WireBytes,
        225,
        255,
        CapturedMoreThanOriginal,
    ),
    (
        "tcpdump/slip-sliplink_print-oobr.pcap",
        WireBytes,
        225,
        255,
        CapturedMoreThanOriginal,
    ),
    (
        "tcpdump/bad-ipv4-version-pgm-heapoverflow.pcap",
        IpBytes,
        12376,
        0,
        CutFixedHeader,
    ),
    (
        "tcpdump/atm-heapoverflow.pcap",
        WireBytes,
        262140,
        262144,
        PseudoHeader,
    ),
    (
        "tcpdump/atm-oam-heapoverflow.pcap",
        WireBytes,
        262140,
        262144,
        PseudoHeader,
    ),
    (
        "tcpdump/bgp-bgp_capabilities_print-oobr-1.pcap",
        TcpSegments,
        1,
        0,
        FirstFragment,
    ),
    (
        "tcpdump/bgp-bgp_capabilities_print-oobr-1.pcap",
        Handshakes,
        1,
        0,
        FirstFragment,
    ),
    (
        "tcpdump/bgp-bgp_capabilities_print-oobr-2.pcap",
        TcpSegments,
        1,
        0,
        FirstFragment,
    ),
    (
        "tcpdump/bgp-bgp_capabilities_print-oobr-2.pcap",
        Handshakes,
        1,
        0,
        FirstFragment,
    ),
    (
        "tcpdump/bgp_pmsi_tunnel-oobr.pcap",
        TcpSegments,
        1,
        0,
        FirstFragment,
    ),
    (
        "tcpdump/rpki-rtr-oobr.pcap",
        TcpSegments,
        1,
        0,
        FirstFragment,
    ),
];

/// How a program took a file.
#[derive(Debug)]
enum Reading {
    /// It reported these counts, and whether it saw the file as damaged or cut.
    Read { counts: Counts, damaged: bool },
    /// It read nothing, and said why.
    Refused(String),
}

const FIELDS: [&str; 6] = [
    "frame.len",
    "frame.protocols",
    "ip.len",
    "ipv6.plen",
    "tcp.len",
    "tcp.flags",
];

fn sharkd_reading(sharkd: &mut Sharkd, file: &Path) -> Reading {
    match sharkd.fields(file, &FIELDS) {
        Some(rows) => Reading::Read {
            counts: counts_of(&rows),
            damaged: false,
        },
        None => tshark_reading(file),
    }
}

fn tshark_reading(file: &Path) -> Reading {
    let mut tshark = tshark();
    tshark
        .arg("-r")
        .arg(file)
        .args(["-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]);
    for field in FIELDS {
        tshark.args(["-e", field]);
    }
    let finished = run(&mut tshark);
    let rows = finished.stdout.lines();
    let rows: Vec<Vec<_>> = rows
        .map(|row| row.split('|').map(str::to_owned).collect())
        .collect();
    // The status tells a whole file from a damaged one, not a read one from an unread one.
    let whole = finished.status.success();
    let cut_before_first = finished
        .stderr
        .contains("cut short in the middle of a packet");
    if !whole && rows.is_empty() && !cut_before_first {
        return Reading::Refused(finished.stderr);
    }
    Reading::Read {
        counts: counts_of(&rows),
        damaged: !whole,
    }
}

fn counts_of(rows: &[Vec<String>]) -> Counts {
    let mut counts = [0; QUANTITIES.len()];
    for row in rows {
        let [
            length,
            layers,
            ip_length,
            ipv6_payload,
            tcp_length,
            tcp_flags,
        ] = &row[..]
        else {
            panic!("a row of tshark with other columns: {row:?}")
        };
        let layers: Vec<_> = layers.split(':').collect();
        let mut add = |quantity: Quantity, n: u64| counts[quantity as usize] += n;
        add(Frames, 1);
        add(WireBytes, number(length));
        let is_ip = |layer: &&str| ["ip", "ipv6"].contains(layer);
        let Some(outer) = layers.iter().position(is_ip) else {
            continue;
        };
        if !is_decoded(&layers[..outer]) {
            continue;
        }
        let inner = &layers[outer..];
        let ip = match (inner, &ip_length[..], &ipv6_payload[..]) {
            // IPv6 by its version, behind the EtherType of IPv4.
            (["ip", "ipv6", ..], "", payload) if !payload.is_empty() => 40 + number(payload),
            (["ip", ..], length, _) if !length.is_empty() => number(length),
            (["ipv6", ..], _, payload) if !payload.is_empty() => 40 + number(payload),
            // Cut before the length, or the wrong version: no IP header to speak of.
            _ => 0,
        };
        add(IpBytes, ip);
        let tcp = inner.iter().position(|layer| *layer == "tcp");
        if tcp.is_some_and(|tcp| inner[..tcp].iter().all(|l| PASSED_TO_TCP.contains(l))) {
            add(TcpPayload, number(tcp_length));
            let flags = tcp_flags.trim_start_matches("0x");
            let Ok(flags) = u16::from_str_radix(flags, 16) else {
                continue; // cut before the flags
            };
            add(TcpSegments, 1);
            if flags & SYN != 0 {
                add(Handshakes, 1);
            } else if flags & (FIN | RST) != 0 {
                add(Teardowns, 1);
            } else if flags & ACK != 0 && number(tcp_length) == 0 {
                add(PureAcks, 1);
            }
        }
    }
    counts
}

const FIN: u16 = 0x01;
const SYN: u16 = 0x02;
const RST: u16 = 0x04;
const ACK: u16 = 0x10;

/// A column of tshark; an absent field is an empty one.
fn number(column: &str) -> u64 {
    if column.is_empty() {
        return 0;
    }
    column
        .parse()
        .unwrap_or_else(|_| panic!("tshark printed {column:?} for a number"))
}

fn is_decoded(before_ip: &[&str]) -> bool {
    let mut layers = Vec::new();
    let mut after_tag = false;
    for layer in before_ip {
        let tag = TAGS.contains(layer);
        if !tag && !after_tag && *layer != LABELS {
            layers.push(*layer);
        }
        after_tag = tag;
    }
    DECODED_LINKS.contains(&&layers[..])
}

fn wirewatt_reading(file: &Path, protocols: &Path) -> Result<Reading, String> {
    let mut command = wirewatt();
    command
        .arg("analyze")
        .arg(file)
        .args(["--json", "--protocols"])
        .arg(protocols);
    let finished = run(&mut command);
    let damaged = match finished.status.code() {
        Some(0) => false,
        Some(2) if finished.stdout.is_empty() && !finished.stderr.is_empty() => {
            return Ok(Reading::Refused(finished.stderr));
        }
        // The report is of what could be read.
        Some(2) => true,
        _ => return Err(finished.to_string()),
    };
    let report = finished.json();
    let broken = broken_identities(&report);
    if !broken.is_empty() {
        return Err(format!("identities broken: {}", broken.join("; ")));
    }
    let tcp = protocol(&report, "all-tcp");
    let tcp_payload = ["payload", "retransmitted", "outside_stream"]
        .map(|layer| count(tcp, &format!("/bytes/{layer}")));
    let counts = [
        total(&report, "/packets/total"),
        total(&report, "/bytes/wire"),
        total(&report, "/bytes/ip"),
        tcp_payload.iter().sum(),
        count(tcp, "/packets/total"),
        count(tcp, "/packets/handshake"),
        count(tcp, "/packets/teardown"),
        count(tcp, "/packets/pure_ack"),
    ];
    let warned = !finished.stderr.trim().is_empty();
    let incomplete = text(&report, "/completeness/state") == "incomplete";
    if damaged != warned
        || damaged && !incomplete
        || damaged != (report["source"]["partial"] == true)
    {
        return Err(format!(
            "exit code, warning, completeness and partial contradict each other: {finished}"
        ));
    }
    Ok(Reading::Read { counts, damaged })
}

/// What is wrong with WireWatt's reading of a file; nothing where it agrees or is explained.
fn disagreement(name: &str, file: &Path, protocols: &Path, sharkd: &mut Sharkd) -> Vec<String> {
    let ours = match wirewatt_reading(file, protocols) {
        Ok(reading) => reading,
        Err(wrong) => return vec![wrong],
    };
    match (sharkd_reading(sharkd, file), ours) {
        (
            Reading::Read { counts, damaged },
            Reading::Read {
                counts: our_counts,
                damaged: ours,
            },
        ) => {
            let mut wrong = different_counts(name, &counts, &our_counts);
            if damaged != ours {
                wrong.push(format!("damaged: tshark {damaged}, wirewatt {ours}"));
            }
            wrong
        }
        (Reading::Refused(why), Reading::Read { counts, .. }) if is_unknown_link_type(&why) => {
            // tshark knows how to read the file, and nothing of its link type: the records can
            // still be counted, and nothing in them be taken for IP.
            let mut expected = records_of_pcap(file);
            expected[2..].fill(0);
            different_counts(name, &expected, &counts)
        }
        (Reading::Refused(_), Reading::Refused(_)) => vec![],
        (Reading::Read { counts, .. }, Reading::Refused(why)) => {
            vec![format!("tshark reads {counts:?}; we refused: {why}")]
        }
        (Reading::Refused(why), Reading::Read { counts, .. }) => {
            vec![format!("tshark refuses: {why}; we read {counts:?}")]
        }
    }
}

fn different_counts(name: &str, tshark: &Counts, wirewatt: &Counts) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, quantity) in QUANTITIES.iter().enumerate() {
        let (theirs, ours) = (tshark[index], wirewatt[index]);
        let row = EXPLAINED
            .iter()
            .find(|row| row.0 == name && row.1 == *quantity);
        let (expected, why) = row.map_or(((theirs, theirs), String::new()), |row| {
            let why = format!("; {:?} explains {} and {}", row.4, row.2, row.3);
            ((row.2, row.3), why)
        });
        if (theirs, ours) != expected {
            wrong.push(format!(
                "{quantity:?}: tshark {theirs}, wirewatt {ours}{why}"
            ));
        }
    }
    wrong
}

fn is_unknown_link_type(tshark_error: &str) -> bool {
    tshark_error.contains("network type") && tshark_error.contains("unsupported")
}

/// Records and their original lengths in a whole classic pcap file, read without any library.
fn records_of_pcap(file: &Path) -> Counts {
    let bytes = std::fs::read(file).expect("the file was just read");
    let big_endian = bytes[0] == 0xa1;
    let word = |offset: usize| {
        let word = bytes[offset..offset + 4].try_into().expect("four bytes");
        if big_endian {
            u32::from_be_bytes(word)
        } else {
            u32::from_le_bytes(word)
        }
    };
    let (mut offset, mut counts) = (24, [0; QUANTITIES.len()]);
    while offset + 16 <= bytes.len() {
        let (captured, original) = (word(offset + 8), word(offset + 12));
        counts[0] += 1;
        counts[1] += u64::from(original.max(captured));
        offset += 16 + captured as usize;
    }
    assert_eq!(offset, bytes.len(), "{} is damaged", file.display());
    counts
}

/// The fetched files, with the names that [`EXPLAINED`] gives them.
fn third_party_captures() -> BTreeMap<String, PathBuf> {
    let root = std::env::var_os("WIREWATT_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/third-party-captures"),
        PathBuf::from,
    );
    let mut files = BTreeMap::new();
    for package in ["tcpdump", "wireshark"] {
        let Ok(folder) = std::fs::read_dir(root.join(package)) else {
            continue;
        };
        for entry in folder {
            let entry = entry.expect("the folder can be listed");
            let name = format!("{package}/{}", entry.file_name().to_string_lossy());
            files.insert(name, entry.path());
        }
    }
    files
}

fn protocols_file(folder: &Path) -> PathBuf {
    let path = folder.join("protocols.toml");
    std::fs::write(&path, ALL_TCP).expect("the protocols file can be written");
    path
}

#[test]
fn third_party_captures_agree_with_tshark() {
    let captures = third_party_captures();
    if captures.is_empty() {
        skip("no third-party captures (scripts/fetch-captures)");
        return;
    }
    if !have_tools(&["tshark", "sharkd"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let protocols = protocols_file(folder.path());

    let files: Vec<_> = captures.iter().collect();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, |cores| cores.get().min(4)) {
            scope.spawn(|| {
                let mut sharkd = Sharkd::start();
                while let Some((name, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = disagreement(name, file, &protocols, &mut sharkd);
                    if !found.is_empty() {
                        wrong
                            .lock()
                            .expect("no thread panicked")
                            .insert(*name, found);
                    }
                }
            });
        }
    });

    let wrong: BTreeMap<_, _> = wrong.into_inner().expect("no thread panicked");
    for (name, ..) in EXPLAINED {
        assert!(
            captures.contains_key(*name),
            "{name} is explained and not there"
        );
    }
    let mut list = String::new();
    for (name, found) in &wrong {
        for line in found {
            writeln!(list, "{name}: {line}").expect("a string takes it");
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} files:\n{list}",
        wrong.len(),
        files.len()
    );
}

#[test]
fn cut_captures_are_read_as_far_as_tshark_reads_them() {
    let captures = third_party_captures();
    if captures.is_empty() {
        skip("no third-party captures (scripts/fetch-captures)");
        return;
    }
    if !have_tools(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let protocols = protocols_file(folder.path());
    let whole = [
        "tcpdump/dns-badcookie.pcap",
        "tcpdump/pptp.pcap", // big-endian
        "wireshark/dhcp-nanosecond.pcap",
        "wireshark/dhcp.pcapng",
    ];
    let mut wrong = Vec::new();
    for name in whole {
        let Some(path) = captures.get(name) else {
            wrong.push(format!("{name} is not among the captures"));
            continue;
        };
        let bytes = std::fs::read(path).expect("the capture can be read");
        // In the first record's header, in the middle, one byte short.
        for length in [30, bytes.len() / 2, bytes.len() - 1] {
            let cut = folder.path().join("cut");
            std::fs::write(&cut, &bytes[..length]).expect("the cut file can be written");
            let expected = match tshark_reading(&cut) {
                // A pcapng file that is cut in its first block is none to tshark, which goes on to
                // take it for text.
                Reading::Read { .. } if is_cut_inside_first_block(name, length) => 0,
                Reading::Read { counts, .. } => counts[0],
                Reading::Refused(why) => panic!("{name} cut to {length}: tshark refuses: {why}"),
            };
            match wirewatt_reading(&cut, &protocols) {
                Ok(Reading::Read {
                    counts,
                    damaged: true,
                }) if counts[0] == expected => {}
                reading => wrong.push(format!(
                    "{name} cut to {length}: expected {expected} frames, {reading:?}"
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_cut_inside_first_block(name: &str, length: usize) -> bool {
    name.ends_with(".pcapng") && length == 30
}

/// Captures with retransmissions, overlaps and segments out of order, and how many TCP connections
/// each has.
const DISORDERED: [(&str, usize); 11] = [
    ("tcpdump/bgp-as-path-oobr.pcap", 2),
    ("tcpdump/bgp-infinite-loop.pcap", 4),
    ("tcpdump/kday4.pcap", 6),
    ("tcpdump/pptp.pcap", 1),
    ("tcpdump/ssh.pcap", 1),
    ("wireshark/challenge01_ooo_stream.pcapng", 1),
    ("wireshark/http-ooo.pcap", 1),
    ("wireshark/http-ooo2.pcap", 1),
    ("wireshark/http2-data-reassembly.pcap", 1),
    ("wireshark/http2_follow_multistream.pcapng", 1),
    ("wireshark/tcp-badsegments.pcap", 1),
];

#[test]
fn unique_payload_is_what_tshark_reassembles() {
    let captures = third_party_captures();
    if captures.is_empty() {
        skip("no third-party captures (scripts/fetch-captures)");
        return;
    }
    if !have_tools(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let protocols = protocols_file(folder.path());
    for (name, connections) in DISORDERED {
        let file = &captures[name];
        let finished = run(wirewatt()
            .arg("analyze")
            .arg(file)
            .args(["--json", "--protocols"])
            .arg(&protocols));
        let report = finished.json();
        let tcp = protocol(&report, "all-tcp");
        let ours = ["payload", "gap_bytes"].map(|layer| count(tcp, &format!("/bytes/{layer}")));
        assert_eq!(ours, followed(file, connections), "{name}: payload, gaps");
    }
}

/// Bytes of all streams in tshark's eyes, and bytes that are missing from them.
fn followed(file: &Path, connections: usize) -> [u64; 2] {
    let mut tshark = tshark();
    tshark.arg("-q").arg("-r").arg(file);
    for connection in 0..connections {
        tshark.args(["-z", &format!("follow,tcp,raw,{connection}")]);
    }
    let finished = run(&mut tshark);
    let is_hexadecimal = |line: &&str| line.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (mut seen, mut missing) = (0, 0);
    for line in finished
        .stdout
        .lines()
        .map(str::trim)
        .filter(is_hexadecimal)
    {
        let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("two digits");
        let stream: Vec<_> = (0..line.len()).step_by(2).map(byte).collect();
        // Holes stand in the stream as "[12 bytes missing in capture file]" and a zero byte.
        let stream: String = stream.into_iter().map(char::from).collect();
        let mut parts = stream.rsplit(" bytes missing in capture file]\0");
        seen += parts.next().map_or(0, |last| last.chars().count());
        for before_hole in parts {
            let (bytes, number) = before_hole.rsplit_once('[').expect("a bracket");
            seen += bytes.chars().count();
            missing += number.parse::<u64>().expect("the hole's length");
        }
    }
    [seen as u64, missing]
}

/// Nothing in a file makes the analyzer panic (this is a debug build: neither does an overflow),
/// refuse without a word, or lose a byte from its layers.
#[test]
fn damaged_captures_break_nothing() {
    let captures: Vec<_> = third_party_captures().into_iter().collect();
    if captures.is_empty() {
        skip("no third-party captures (scripts/fetch-captures)");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let protocols = protocols_file(folder.path());
    let mut random = Random(20_250_101);
    let mut wrong = Vec::new();
    for variant in 0..DAMAGED_VARIANTS {
        let (name, path) = &captures[random.below(captures.len())];
        let mut bytes = std::fs::read(path).expect("the capture can be read");
        if variant % 3 < 2 {
            bytes.truncate(random.below(bytes.len()));
        }
        if variant % 3 > 0 {
            for _ in 0..=random.below(60) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0, 0xff, *byte ^ (1 << random.below(8))][random.below(3)];
                }
            }
        }
        let damaged = folder.path().join("damaged");
        std::fs::write(&damaged, &bytes).expect("the damaged file can be written");
        if let Err(why) = wirewatt_reading(&damaged, &protocols) {
            wrong.push(format!("{name}, variant {variant}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const DAMAGED_VARIANTS: usize = 600;

/// Numbers that are the same every time (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

#[test]
fn an_empty_capture_is_whole_and_proves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("empty.pcap");
    // Magic, version 2.4, time zone, accuracy, snap length, EN10MB; and no record.
    let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1];
    let bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(&file, bytes).expect("the capture can be written");

    let finished = run(wirewatt().arg("analyze").arg(&file).arg("--json"));
    assert!(finished.status.success(), "{finished}");
    let report = finished.json();
    assert_eq!(total(&report, "/packets/total"), 0);
    assert_eq!(text(&report, "/completeness/state"), "unknown");
    assert_eq!(broken_identities(&report), Vec::<String>::new());
}
