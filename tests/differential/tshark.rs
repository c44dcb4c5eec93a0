//! What a file holds by what tshark shows of each frame. tshark decodes and puts fragments together;
//! the sums, and which bytes of a stream are new, are this file's own work. It shares nothing with
//! WireWatt but the definitions in `docs/report.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::common::sharkd::Sharkd;
use super::common::{run, tshark};
use super::streams::{Stream, StreamSegment};
use super::{Counts, NOT_IP, OTHER_TRANSPORTS};

/// Columns of every frame; `:0` are all occurrences, `:1` the first.
const FIELDS: [&str; 25] = [
    "frame.len:1",
    "frame.protocols:1",
    "ip.len:1",
    "ipv6.plen:1",
    "ip.src:0",
    "ip.dst:0",
    "ipv6.src:0",
    "ipv6.dst:0",
    "ip.flags.mf:0",
    "ip.frag_offset:0",
    "ipv6.fraghdr.more:0",
    "ipv6.fraghdr.offset:0",
    "ip.reassembled_in:1",
    "ipv6.reassembled.in:1",
    "ip.fragment.count:1",
    "ipv6.fragment.count:1",
    "udp.length:0",
    "tcp.stream:1",
    "tcp.srcport:1",
    "tcp.dstport:1",
    "tcp.seq_raw:1",
    "tcp.ack_raw:1",
    "tcp.len:1",
    "tcp.flags:1",
    "tcp.analysis.keep_alive:1",
];

/// How tshark took a file.
#[derive(Debug)]
pub enum Reading {
    /// These are its frames, and whether it saw the file as damaged or cut.
    Read { frames: Vec<Frame>, damaged: bool },
    /// It read nothing, and said why.
    Refused(String),
}

/// What tshark says of one frame.
#[derive(Debug)]
pub struct Frame {
    columns: Vec<String>,
}

/// Reads a file by `sharkd`, or by tshark where it is damaged: only tshark says how far it can be
/// read.
pub fn read(sharkd: &mut Sharkd, file: &Path) -> Reading {
    match sharkd.fields(file, &FIELDS) {
        Some(rows) => Reading::Read {
            frames: rows.into_iter().map(|columns| Frame { columns }).collect(),
            damaged: false,
        },
        None => read_as_far_as_possible(file),
    }
}

/// Two passes, so that fragments know where their packet became whole.
pub fn read_as_far_as_possible(file: &Path) -> Reading {
    let mut tshark = tshark();
    tshark.args(["-2", "-r"]).arg(file).args([
        "-T",
        "fields",
        "-E",
        "occurrence=a",
        "-E",
        "separator=|",
    ]);
    for field in FIELDS {
        tshark.args(["-e", field.split(':').next().unwrap_or(field)]);
    }
    let finished = run(&mut tshark);
    let row = |line: &str| {
        let columns = line.split('|').zip(FIELDS).map(|(column, field)| {
            let first_only = field.ends_with(":1") && field != "frame.protocols:1";
            let column = if first_only {
                column.split(',').next().unwrap_or_default()
            } else {
                column
            };
            column.to_owned()
        });
        Frame {
            columns: columns.collect(),
        }
    };
    let frames: Vec<_> = finished.stdout.lines().map(row).collect();
    // The status tells a whole file from a damaged one, not a read one from an unread one.
    let whole = finished.status.success();
    let cut_before_first = finished
        .stderr
        .contains("cut short in the middle of a packet");
    if !whole && frames.is_empty() && !cut_before_first {
        return Reading::Refused(finished.stderr);
    }
    Reading::Read {
        frames,
        damaged: !whole,
    }
}

/// What a frame carries, as far as WireWatt is to look into it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    NotIp,
    /// No more than a part of an IP packet, which others complete in the frame of this number.
    PartOf(usize),
    /// A part of an IP packet that never becomes whole.
    Fragment,
    Tcp,
    /// TCP or UDP of which too little is there.
    CutTransport,
    Udp {
        /// How many UDP headers are before it: those of tunnels.
        depth: usize,
    },
    /// Another protocol in IP, by tshark's name of it.
    Other(String),
}

impl Frame {
    fn column(&self, field: &str) -> &str {
        let place = FIELDS
            .iter()
            .position(|known| {
                known
                    .rsplit_once(':')
                    .is_some_and(|(name, _)| name == field)
            })
            .unwrap_or_else(|| panic!("{field} is not asked of tshark"));
        &self.columns[place]
    }

    /// A number; an absent field is 0.
    fn number(&self, field: &str) -> u64 {
        parse(self.column(field))
    }

    fn occurrences(&self, field: &str) -> Vec<&str> {
        let column = self.column(field);
        column.split(',').filter(|text| !text.is_empty()).collect()
    }

    fn layers(&self) -> Vec<&str> {
        self.column("frame.protocols").split(':').collect()
    }

    /// Where the outer IP header stands among the layers, if WireWatt is to find it.
    fn outer_ip(&self) -> Option<usize> {
        let layers = self.layers();
        let outer = layers.iter().position(is_ip)?;
        is_decoded(&layers[..outer]).then_some(outer)
    }

    /// What a frame without an IP packet carries in place of it.
    fn layer_behind_link(&self) -> Option<&str> {
        let mut layers = self.column("frame.protocols").split(':');
        let link = layers.next()?;
        let is_known = DECODED_LINKS
            .iter()
            .any(|known| known.first() == Some(&link));
        let behind = layers.find(|layer| *layer != "ethertype" && !TAGS.contains(layer));
        behind.filter(|_| is_known)
    }

    fn ip_bytes(&self) -> u64 {
        let Some(outer) = self.outer_ip() else {
            return 0;
        };
        let (ip, ipv6) = (self.column("ip.len"), self.column("ipv6.plen"));
        match (&self.layers()[outer..], ip, ipv6) {
            // IPv6 by its version, behind the EtherType of IPv4.
            (["ip", "ipv6", ..], "", payload) if !payload.is_empty() => 40 + parse(payload),
            (["ip", ..], length, _) if !length.is_empty() => parse(length),
            (["ipv6", ..], _, payload) if !payload.is_empty() => 40 + parse(payload),
            // Cut before the length, or the wrong version: no IP header to speak of.
            _ => 0,
        }
    }

    fn content(&self) -> Content {
        let Some(outer) = self.outer_ip() else {
            return Content::NotIp;
        };
        let layers = self.layers();
        let (mut at, mut udp_headers, mut innermost) = (outer, 0, outer);
        loop {
            match layers.get(at) {
                Some(&layer) if PASSED.contains(&layer) => {
                    if is_ip(&layer) {
                        innermost = at;
                    }
                    at += 1;
                }
                Some(&"gre") => match inner_ip(&layers, at + 1) {
                    Some(inner) => at = inner,
                    None => break,
                },
                Some(&"udp") if matches!(layers.get(at + 1), Some(&"vxlan" | &"geneve")) => {
                    match inner_ip(&layers, at + 2) {
                        Some(inner) => (at, udp_headers) = (inner, udp_headers + 1),
                        None => break,
                    }
                }
                _ => break,
            }
        }
        let is_part = self.is_fragment(&layers[outer..at], innermost - outer);
        match layers.get(at).copied() {
            _ if is_part && self.reassembled_in().is_some() => {
                Content::PartOf(self.reassembled_in().unwrap_or_default())
            }
            // tshark takes a first fragment for a packet where it will not put fragments together.
            _ if is_part && !self.is_reassembled() => Content::Fragment,
            Some("tcp") if self.tcp_flags().is_none() => Content::CutTransport,
            Some("tcp") => Content::Tcp,
            Some("udp") if self.occurrences("udp.length").len() <= udp_headers => {
                Content::CutTransport
            }
            Some("udp") => Content::Udp { depth: udp_headers },
            None => Content::Other("nothing".to_owned()),
            Some(other) => Content::Other(other.to_owned()),
        }
    }

    /// Whether the innermost IP header, at this place among the layers passed, is of a fragment.
    fn is_fragment(&self, passed: &[&str], innermost: usize) -> bool {
        let is_set = |flag: &&str| !["0", "Not set", "False", "No"].contains(flag);
        if passed[innermost] == "ip" {
            let depth = passed[..innermost].iter().filter(|layer| **layer == "ip");
            let depth = depth.count();
            ["ip.flags.mf", "ip.frag_offset"]
                .iter()
                .any(|field| self.occurrences(field).get(depth).is_some_and(is_set))
        } else {
            // More than one fragment header is in none of the captures.
            passed[innermost..].contains(&"ipv6.fraghdr")
                && ["ipv6.fraghdr.more", "ipv6.fraghdr.offset"]
                    .iter()
                    .any(|field| self.occurrences(field).iter().any(is_set))
        }
    }

    fn is_reassembled(&self) -> bool {
        !self.column("ip.fragment.count").is_empty()
            || !self.column("ipv6.fragment.count").is_empty()
    }

    fn reassembled_in(&self) -> Option<usize> {
        ["ip.reassembled_in", "ipv6.reassembled.in"]
            .into_iter()
            .find_map(|field| self.column(field).parse().ok())
    }

    /// The addresses of the innermost IP header before the transport header.
    fn addresses(&self) -> (String, String) {
        let layers = self.layers();
        let outer = self.outer_ip().unwrap_or_default();
        let transport = layers.iter().position(|layer| *layer == "tcp");
        let before = &layers[outer..transport.unwrap_or(layers.len())];
        let version = before.iter().rfind(|layer| is_ip(layer)).copied();
        let version = version.unwrap_or("ip");
        let place = before.iter().filter(|layer| **layer == version).count() - 1;
        let address = |way: &str| {
            let all = self.occurrences(&format!("{version}.{way}"));
            all.get(place).copied().unwrap_or_default().to_owned()
        };
        (address("src"), address("dst"))
    }

    fn tcp_flags(&self) -> Option<u16> {
        let flags = self.column("tcp.flags").trim_start_matches("0x");
        u16::from_str_radix(flags, 16).ok()
    }
}

fn is_ip(layer: &&str) -> bool {
    ["ip", "ipv6"].contains(layer)
}

/// A number of tshark's, decimal or hexadecimal; an absent field is 0.
fn parse(text: &str) -> u64 {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None if text.is_empty() => Ok(0),
        None => text.parse(),
    };
    number.unwrap_or_else(|_| panic!("tshark printed {text:?} for a number"))
}

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

/// Layers that WireWatt passes through on its way to the transport header. An IP header quoted in
/// an ICMP error is no packet.
const PASSED: [&str; 11] = [
    "ip",
    "ipv6",
    "ipv6.hopopts",
    "ipv6.dstopts",
    "ipv6.routing",
    "ipv6.routing.srh",
    "ipv6.fraghdr",
    "ah",
    "mipv6",
    "hip",
    "shim6",
];

/// The IP header in a tunnel whose header's layer ends before `at`: what stands between is of the
/// link.
fn inner_ip(layers: &[&str], at: usize) -> Option<usize> {
    let inner = at + layers[at..].iter().position(is_ip)?;
    let between = &layers[at..inner];
    (between.is_empty() || is_decoded(between)).then_some(inner)
}

const FIN: u16 = 0x01;
const SYN: u16 = 0x02;
const RST: u16 = 0x04;
const ACK: u16 = 0x10;

/// Sums over the frames of a file.
pub fn count(frames: &[Frame]) -> Counts {
    let mut counts = Counts::default();
    let mut streams: BTreeMap<(u64, String), Stream> = BTreeMap::new();
    for frame in frames {
        counts.add("frames", 1);
        counts.add("wire", frame.number("frame.len"));
        counts.add("ip", frame.ip_bytes());
        let content = frame.content();
        let whole = match content {
            Content::PartOf(number) => frames[number - 1].content(),
            ref content => content.clone(),
        };
        match &whole {
            Content::NotIp => counts.add("not IP", 1),
            Content::Fragment | Content::PartOf(_) => counts.add("lone fragments", 1),
            Content::Tcp => counts.add("TCP packets", 1),
            Content::Udp { .. } => counts.add("UDP packets", 1),
            Content::CutTransport => counts.add("undecoded transport", 1),
            Content::Other(name) => {
                let name = if name == "icmpv6" { "icmp" } else { name };
                counts.add("other packets", 1);
                if OTHER_TRANSPORTS.iter().any(|(known, _)| *known == name) {
                    counts.add(&format!("other: {name}"), 1);
                }
            }
        }
        match content {
            Content::NotIp => {
                let layer = frame.layer_behind_link();
                if NOT_IP.iter().any(|(known, _)| Some(*known) == layer) {
                    counts.add(&format!("not IP: {}", layer.unwrap_or_default()), 1);
                }
            }
            Content::Udp { depth } => {
                let lengths = frame.occurrences("udp.length");
                let length = lengths.get(depth).map_or(0, |length| parse(length));
                counts.add("UDP payload", length.saturating_sub(8));
            }
            Content::Tcp => count_segment(frame, &mut counts, &mut streams),
            _ => {}
        }
    }
    let connections: BTreeSet<u64> = streams.keys().map(|(number, _)| *number).collect();
    counts.add("connections", connections.len() as u64);
    counts.add("gap bytes", streams.values().map(Stream::gap_bytes).sum());
    counts
}

fn count_segment(
    frame: &Frame,
    counts: &mut Counts,
    streams: &mut BTreeMap<(u64, String), Stream>,
) {
    let flags = frame.tcp_flags().unwrap_or_default();
    let length = frame.number("tcp.len");
    let number = frame.number("tcp.stream");
    let (source, destination) = frame.addresses();
    let from = format!("{source} {}", frame.column("tcp.srcport"));
    let to = format!("{destination} {}", frame.column("tcp.dstport"));
    let segment = StreamSegment {
        sequence: frame.number("tcp.seq_raw") as u32,
        length,
        syn: flags & SYN != 0,
        fin: flags & FIN != 0,
        rst: flags & RST != 0,
        keep_alive: !frame.column("tcp.analysis.keep_alive").is_empty(),
    };
    let arrival = streams.entry((number, from)).or_default().take(&segment);
    if flags & ACK != 0 && flags & RST == 0 {
        let acknowledgment = frame.number("tcp.ack_raw") as u32;
        streams
            .entry((number, to))
            .or_default()
            .acknowledged(acknowledgment);
    }
    counts.add("TCP payload", length);
    counts.add("unique payload", arrival.new);
    counts.add("retransmitted", arrival.repeated);
    counts.add("outside stream", arrival.outside);
    let class = if flags & SYN != 0 {
        "handshakes"
    } else if flags & (FIN | RST) != 0 {
        "teardowns"
    } else if arrival.repeated > 0 {
        "retransmissions"
    } else if arrival.new > 0 {
        "data segments"
    } else if flags & ACK != 0 && length == 0 {
        "pure ACKs"
    } else {
        "other TCP packets"
    };
    if class != "other TCP packets" {
        counts.add(class, 1);
    }
}

/// The bytes that tshark's own reassembly gives out for each stream. Nothing for a damaged file, of
/// which `sharkd` reads nothing.
pub fn followed_payload(sharkd: &mut Sharkd, frames: &[Frame], damaged: bool) -> Option<u64> {
    let is_tcp = |frame: &&Frame| frame.content() == Content::Tcp;
    let tcp = frames.iter().filter(is_tcp);
    let streams: BTreeSet<u64> = tcp.map(|frame| frame.number("tcp.stream")).collect();
    (!damaged).then(|| {
        let bytes = |stream: &u64| sharkd.followed_bytes(*stream);
        streams.iter().map(bytes).sum()
    })
}
