//! Captures that nobody here wrote, read by WireWatt and by tshark: every quantity that both can
//! count agrees file by file, or the difference is listed with its reason in
//! `tests/differential/disagreements.toml`.
//!
//! `scripts/fetch-captures` puts the test captures of tcpdump, Wireshark and libpcap into
//! `target/third-party-captures`. Many are made by fuzzers to break a reader.

#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod disagreements;
mod formats;
mod streams;
mod tshark;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::sharkd::Sharkd;
use common::{
    broken_identities, count, have_tools, protocol, skip, start, text, third_party_captures, total,
    value, wirewatt,
};
use disagreements::{Disagreement, Disagreements};
use serde_json::Value;
use tshark::Reading;

/// All TCP is one protocol and all UDP another, so that their counts stand apart.
const PROTOCOLS: &str = r#"
[[protocol]]
name = "all-tcp"
ports = ["1-65535"]
transport = "tcp"
framing = "segment"

[[protocol]]
name = "all-udp"
ports = ["1-65535"]
transport = "udp"
framing = "segment"
"#;

/// What both programs count in a file, by name.
///
/// | name | counts |
/// | --- | --- |
/// | `frames`, `wire`, `ip` | frames, their lengths, the lengths of their IP packets |
/// | `not IP …` | frames without an IP packet, and some of them by protocol |
/// | `lone fragments` | fragments of IP packets that never become whole |
/// | `TCP packets`, `UDP packets`, `other …` | packets by transport, all fragments of one included |
/// | `undecoded transport` | TCP and UDP headers that are cut or damaged |
/// | `UDP payload`, `TCP payload` | payload by the headers' lengths |
/// | `handshakes` … `pure ACKs` | TCP packets by their class |
/// | `connections` | TCP connections |
/// | `unique payload` … `gap bytes` | what became of TCP's payload, by the sequence numbers |
/// | `followed payload` | unique payload as tshark's own reassembly gives it out |
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts(BTreeMap<String, u64>);

/// Counted in every file; others where there are any.
const ALWAYS: [&str; 21] = [
    "frames",
    "wire",
    "ip",
    "not IP",
    "lone fragments",
    "undecoded transport",
    "TCP packets",
    "UDP packets",
    "other packets",
    "UDP payload",
    "TCP payload",
    "handshakes",
    "teardowns",
    "retransmissions",
    "data segments",
    "pure ACKs",
    "connections",
    "unique payload",
    "retransmitted",
    "outside stream",
    "gap bytes",
];

impl Counts {
    fn add(&mut self, name: &str, n: u64) {
        *self.0.entry(name.to_owned()).or_default() += n;
    }

    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// What is counted here or in another reading.
    fn names<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let seen = self.0.iter().chain(&other.0).filter(|(_, n)| **n > 0);
        seen.map(|(name, _)| &name[..]).chain(ALWAYS).collect()
    }
}

/// How WireWatt took a file.
#[derive(Debug)]
enum Ours {
    Read { counts: Counts, damaged: bool },
    Refused(String),
}

fn wirewatt_reading(file: &Path, protocols: &Path) -> Result<Ours, String> {
    // No file makes it take a gibibyte of address space, or more than a minute.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -v 1048576 && exec \"$0\" \"$@\""])
        .arg(wirewatt().get_program())
        .arg("analyze")
        .arg(file)
        .args(["--json", "--protocols"])
        .arg(protocols);
    let finished = start(&mut command).finish(Duration::from_secs(60));
    let damaged = match finished.status.code() {
        Some(0) => false,
        Some(2) if finished.stdout.is_empty() && !finished.stderr.is_empty() => {
            return Ok(Ours::Refused(finished.stderr));
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
    Ok(Ours::Read {
        counts: counts_of(&report),
        damaged,
    })
}

/// Frames that are not IP and have a count of their own: the layer by tshark's name, the reason by
/// WireWatt's. RARP has ARP's format, and tshark's name for both is the same.
const NOT_IP: [(&str, &str); 12] = [
    ("arp", "not IP: ARP"),
    ("arp", "not IP: RARP"),
    ("ipx", "not IP: IPX"),
    ("slarp", "not IP: SLARP"),
    ("eapol", "not IP: EAPOL"),
    ("lldp", "not IP: LLDP"),
    ("llc", "not IP: IEEE 802.2 LLC"),
    ("loop", "not IP: Ethernet loopback"),
    ("macsec", "not IP: MACsec"),
    ("ptp", "not IP: PTP"),
    ("pppoed", "not IP: PPPoE discovery"),
    ("slow", "not IP: Ethernet slow protocols"),
];

/// IP packets that are neither TCP nor UDP and have a count of their own.
const OTHER_TRANSPORTS: [(&str, &str); 15] = [
    ("dccp", "DCCP"),
    ("eigrp", "EIGRP"),
    ("esp", "ESP"),
    ("gre", "GRE"),
    // ICMP errors go with their connections, of either version under one name.
    ("icmp", "ICMP"),
    ("icmp", "ICMPv6"),
    ("igmp", "IGMP"),
    ("ipcomp", "IPComp"),
    ("ospf", "OSPF"),
    ("pgm", "PGM"),
    ("pim", "PIM"),
    ("rsvp", "RSVP"),
    ("sctp", "SCTP"),
    ("vrrp", "VRRP"),
    ("udplite", "UDPLite"),
];

fn counts_of(report: &Value) -> Counts {
    let mut counts = Counts::default();
    let entries = |parent: &Value, name: &str| -> Vec<(String, u64)> {
        let map = parent
            .get(name)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        map.map(|(key, n)| (key.clone(), n.as_u64().expect("a count")))
            .collect()
    };
    counts.add("frames", total(report, "/packets/total"));
    counts.add("wire", total(report, "/bytes/wire"));
    counts.add("ip", total(report, "/bytes/ip"));
    for (reason, n) in entries(value(report, "/undecoded"), "reasons") {
        let is_not_ip = [
            "not IP",
            "link type",
            "IP version",
            "damaged link",
            "link header cut",
        ]
        .iter()
        .any(|start| reason.starts_with(start));
        if let Some((name, _)) = NOT_IP.iter().find(|(_, ours)| *ours == reason) {
            counts.add(&format!("not IP: {name}"), n);
        }
        if is_not_ip {
            counts.add("not IP", n);
        } else if reason.contains("fragment") {
            counts.add("lone fragments", n);
        } else {
            counts.add("undecoded transport", n);
        }
    }
    let other = |counts: &mut Counts, name: &str, n: u64| {
        counts.add("other packets", n);
        if let Some((name, _)) = OTHER_TRANSPORTS.iter().find(|(_, ours)| *ours == name) {
            counts.add(&format!("other: {name}"), n);
        }
    };
    for (name, n) in entries(value(report, "/unclassified"), "by_name") {
        other(&mut counts, &name, n);
    }
    let (tcp, udp) = (protocol(report, "all-tcp"), protocol(report, "all-udp"));
    for (row, name) in [(tcp, "TCP packets"), (udp, "UDP packets")] {
        let errors = entries(row, "icmp_errors").iter().map(|(_, n)| n).sum();
        other(&mut counts, "ICMP", errors);
        counts.add(name, count(row, "/packets/total") - errors);
    }
    counts.add("UDP payload", count(udp, "/bytes/payload"));
    let tcp_bytes = [
        ("payload", "unique payload"),
        ("retransmitted", "retransmitted"),
        ("outside_stream", "outside stream"),
    ];
    for (layer, name) in tcp_bytes {
        let bytes = count(tcp, &format!("/bytes/{layer}"));
        counts.add(name, bytes);
        counts.add("TCP payload", bytes);
    }
    counts.add("gap bytes", count(tcp, "/bytes/gap_bytes"));
    for (class, name) in [
        ("handshake", "handshakes"),
        ("teardown", "teardowns"),
        ("retransmission", "retransmissions"),
        ("data", "data segments"),
        ("pure_ack", "pure ACKs"),
    ] {
        counts.add(name, count(tcp, &format!("/packets/{class}")));
    }
    counts.add("connections", count(tcp, "/connections"));
    counts.add("followed payload", count(tcp, "/bytes/payload"));
    counts
}

/// What two readings of a file come to: where they differ, or what forbids a comparison.
struct Comparison {
    compared: usize,
    disagreements: Vec<Disagreement>,
    wrong: Vec<String>,
    /// What WireWatt says of a file that only tshark reads.
    refused: Option<String>,
}

impl Comparison {
    fn failed(wrong: String) -> Self {
        Self {
            compared: 0,
            disagreements: Vec::new(),
            wrong: vec![wrong],
            refused: None,
        }
    }
}

fn compare(file_name: &str, file: &Path, protocols: &Path, sharkd: &mut Sharkd) -> Comparison {
    let ours = match wirewatt_reading(file, protocols) {
        Ok(reading) => reading,
        Err(wrong) => return Comparison::failed(wrong),
    };
    let (theirs, ours, wrong) = match (tshark::read(sharkd, file), ours) {
        (
            Reading::Read { frames, damaged },
            Ours::Read {
                counts,
                damaged: ours,
            },
        ) => {
            let contradiction = format!("damaged: tshark {damaged}, wirewatt {ours}");
            let wrong = (damaged != ours).then_some(contradiction);
            let followed = tshark::followed_payload(sharkd, &frames, damaged);
            let mut theirs = tshark::count(&frames);
            theirs.add(
                "followed payload",
                followed.unwrap_or(counts.of("followed payload")),
            );
            (theirs, counts, wrong)
        }
        (Reading::Refused(why), Ours::Read { counts, .. }) if is_unknown_link_type(&why) => {
            // tshark knows how to read the file, and nothing of its link type: the records can
            // still be counted, and nothing in them be taken for IP.
            (records_of_pcap(file), counts, None)
        }
        (Reading::Refused(_), Ours::Refused(_)) => {
            return Comparison {
                compared: 0,
                disagreements: Vec::new(),
                wrong: Vec::new(),
                refused: None,
            };
        }
        (Reading::Read { .. }, Ours::Refused(why)) => {
            return Comparison {
                compared: 0,
                disagreements: Vec::new(),
                wrong: Vec::new(),
                refused: Some(why),
            };
        }
        (Reading::Refused(why), Ours::Read { counts, .. }) => {
            return Comparison::failed(format!("tshark refuses: {why}; we read {counts:?}"));
        }
    };
    let names = theirs.names(&ours);
    let disagreements = names
        .iter()
        .filter(|name| theirs.of(name) != ours.of(name))
        .map(|name| Disagreement {
            file: file_name.to_owned(),
            quantity: (*name).to_owned(),
            tshark: theirs.of(name),
            wirewatt: ours.of(name),
        });
    Comparison {
        compared: names.len(),
        disagreements: disagreements.collect(),
        wrong: wrong.into_iter().collect(),
        refused: None,
    }
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
    let (mut offset, mut counts) = (24, Counts::default());
    while offset + 16 <= bytes.len() {
        let (captured, original) = (word(offset + 8), word(offset + 12));
        counts.add("frames", 1);
        counts.add("not IP", 1);
        counts.add("wire", u64::from(original.max(captured)));
        offset += 16 + captured as usize;
    }
    assert_eq!(offset, bytes.len(), "{} is damaged", file.display());
    counts
}

fn protocols_file(folder: &Path) -> PathBuf {
    let path = folder.join("protocols.toml");
    std::fs::write(&path, PROTOCOLS).expect("the protocols file can be written");
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

    let files: Vec<(&String, &PathBuf)> = captures.iter().collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, |cores| cores.get().min(4)) {
            scope.spawn(|| {
                let mut sharkd = Sharkd::start();
                while let Some((name, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let comparison = compare(name, file, &protocols, &mut sharkd);
                    let mut found = found.lock().expect("no thread panicked");
                    found.insert((*name).clone(), comparison);
                }
            });
        }
    });

    let found = found.into_inner().expect("no thread panicked");
    let listed = Disagreements::read();
    let mut report = String::new();
    for (name, comparison) in &found {
        for wrong in &comparison.wrong {
            writeln!(report, "{name}: {wrong}").expect("a string takes it");
        }
        if let Some(why) = comparison
            .refused
            .as_ref()
            .filter(|why| !listed.is_refused(name, why))
        {
            writeln!(report, "{name}: tshark reads it; we refused: {why}")
                .expect("a string takes it");
        }
    }
    for name in listed.refused() {
        if found
            .get(name)
            .is_none_or(|comparison| comparison.refused.is_none())
        {
            writeln!(report, "{name} is listed as refused and is not").expect("a string takes it");
        }
    }
    let disagreements = found.values().flat_map(|found| &found.disagreements);
    let disagreements: Vec<_> = disagreements.collect();
    for disagreement in listed.unexpected(&disagreements) {
        writeln!(report, "not listed: {disagreement}").expect("a string takes it");
    }
    for disagreement in listed.missing(&disagreements) {
        writeln!(report, "listed, and not so: {disagreement}").expect("a string takes it");
    }
    let compared: usize = found.values().map(|found| found.compared).sum();
    println!(
        "{} files, {compared} comparisons, {} disagreements listed",
        found.len(),
        listed.len()
    );
    assert!(report.is_empty(), "{report}");
}
