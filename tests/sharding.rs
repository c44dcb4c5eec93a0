//! `split`, `analyze` of each part, `merge`: what comes out is the report on the whole capture.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::wirewatt;
use etherparse::PacketBuilder;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRng, TestRunner};
use serde_json::{Value, json};
use tempfile::TempDir;
use wirewatt::capture::{
    CaptureFile, CapturedPacket, InterfaceDescription, KernelCounters, Recorder,
};
use wirewatt::units::{LinkType, Packets, Timestamp};

const BEGIN: i64 = 1_700_000_000_000_000_000;
const PROTOCOLS: [&str; 2] = ["mine=5000:line", "nobody=4999"];

fn run_in(folder: &Path, args: &[&str]) -> Output {
    let output = wirewatt().args(args).current_dir(folder).output();
    output.expect("wirewatt starts")
}

/// What a command printed that ended with this code.
fn printed(folder: &Path, code: i32, args: &[&str]) -> String {
    let output = run_in(folder, args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The error of a command that could not run.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = run_in(folder, args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn analyze(folder: &Path, code: i32, files: &[&str]) -> String {
    let mut args = vec!["analyze", "--json"];
    for protocol in PROTOCOLS {
        args.extend(["--protocol", protocol]);
    }
    args.extend(files);
    printed(folder, code, &args)
}

fn split(folder: &Path, code: i32, parts: u16, files: &[&str]) -> Vec<String> {
    let parts = parts.to_string();
    let mut args = vec!["split", "--by-connection", "-p", &parts, "-o", "part"];
    args.extend(files);
    let names = printed(folder, code, &args);
    names.lines().map(str::to_owned).collect()
}

/// Every value of a report by its place in it, but for what tells where its packets came from.
fn leaves(value: &Value, place: &str, into: &mut BTreeMap<String, Value>) {
    let apart = [
        "/source/files",
        "/source/parts",
        "/source/merged",
        "/source/kind",
    ];
    match value {
        _ if apart.contains(&place) => {}
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                leaves(member, &format!("{place}/{name}"), into);
            }
        }
        Value::Array(members) if !members.is_empty() => {
            for (i, member) in members.iter().enumerate() {
                leaves(member, &format!("{place}/{i}"), into);
            }
        }
        leaf => {
            into.insert(place.to_owned(), leaf.clone());
        }
    }
}

fn assert_same(found: &str, expected: &str) {
    let read = |report: &str| {
        let mut into = BTreeMap::new();
        leaves(&serde_json::from_str(report).expect("JSON"), "", &mut into);
        into
    };
    let (found, expected) = (read(found), read(expected));
    let places = found.keys().chain(expected.keys());
    let differ = places.filter(|place| found.get(*place) != expected.get(*place));
    let told: Vec<_> = differ
        .map(|place| {
            format!(
                "{place}: {:?} and not {:?}",
                found.get(place),
                expected.get(place)
            )
        })
        .collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// Splits, analyzes each part, merges in another order, and holds that against the whole. The code is
/// 2 where the capture was cut short.
fn parts_equal_whole(folder: &Path, files: &[&str], parts: u16, code: i32) -> Value {
    let whole = analyze(folder, code, files);
    let names = split(folder, code, parts, files);
    assert_eq!(names.len(), usize::from(parts));
    let mut reports = Vec::new();
    let mut packets = 0;
    for (i, name) in names.iter().enumerate() {
        // What was cut is told by the first part.
        let report = analyze(folder, if i == 0 { code } else { 0 }, &[name]);
        let value: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(value["source"]["parts"][0]["number"], i + 1);
        packets += value["completeness"]["packets_seen"].as_u64().unwrap();
        fs::write(folder.join(format!("{name}.json")), report).unwrap();
        reports.push(format!("{name}.json"));
    }
    let middle = reports.len() / 2;
    reports.rotate_left(middle);
    let mut args = vec!["merge", "--json"];
    args.extend(reports.iter().map(String::as_str));
    let merged = printed(folder, code, &args);
    assert_same(&merged, &whole);
    let merged: Value = serde_json::from_str(&merged).unwrap();
    assert_eq!(merged["completeness"]["packets_seen"], packets);
    let told = merged["source"]["merged"].as_array().expect("the parts");
    assert_eq!(told.len(), reports.len());
    for name in names {
        fs::remove_file(folder.join(name)).unwrap();
    }
    merged
}

/// A frame of the ring's token, from docs/wire-format.md.
fn token(sender: u32, run: u64, operation: u64) -> Vec<u8> {
    let mut bytes = vec![0x57, 0xa7, 1, 0];
    bytes.extend(60_u32.to_be_bytes());
    bytes.extend([0, 2, 0, 1]);
    for number in [sender, sender + 1, 1] {
        bytes.extend(number.to_be_bytes());
    }
    for number in [run, operation, 1, 3] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(b"body");
    bytes
}

/// A packet as it is to be captured.
#[derive(Debug, Clone)]
struct Drawn {
    time: i64,
    data: Vec<u8>,
    captured: usize,
}

/// One end of a conversation has so far sent so many bytes.
#[derive(Debug, Clone, Copy)]
struct Conversation {
    /// Which client and which listener.
    ends: (u8, u16),
    is_v6: bool,
    sent: [u32; 2],
    /// Names the next packet that is cut into fragments.
    identification: u16,
}

/// Traffic of any kind: many conversations at once, with packets missing, repeated, cut, and out of
/// order; operations that connections share; datagrams, markers, pings, and what is no IP.
fn traffic(length: usize) -> impl Strategy<Value = Vec<Drawn>> {
    let step = (
        (0..12_u8, 0..6_usize, any::<bool>()),
        prop::sample::select(vec![
            "S",
            "SA",
            "A",
            "A",
            "A",
            "A",
            "A",
            "FA",
            "RA",
            "udp",
            "fragments",
            "icmp",
            "other",
        ]),
        0..9_u64,
        prop::sample::select(vec![1_i64, 1, 1, 999, 1_048_576, 700_000_000, -2_000_000]),
        prop_oneof![10 => Just(0_u8), 1 => 1..4_u8],
    );
    prop::collection::vec(step, 0..length).prop_map(|steps| {
        const LISTENERS: [u16; 6] = [7100, 7101, 5000, 80, 8790, 7200];
        let mut conversations = BTreeMap::new();
        let mut packets = Vec::new();
        let mut time = BEGIN;
        for ((client, listener, to_listener), flags, what, passed, fate) in steps {
            time += passed;
            let ends = (client, LISTENERS[listener]);
            let conversation = conversations.entry(ends).or_insert(Conversation {
                ends,
                is_v6: client.is_multiple_of(3),
                sent: [100, u32::MAX - 20],
                identification: 0,
            });
            let data = conversation.packet(to_listener, flags, what);
            for data in match flags {
                "fragments" if !conversation.is_v6 => conversation.fragments(data),
                "icmp" if !conversation.is_v6 => vec![unreachable(&data)],
                _ => vec![data],
            } {
                let captured = match fate {
                    3 => data.len().min(70),
                    _ => data.len(),
                };
                let packet = Drawn {
                    time,
                    data,
                    captured,
                };
                match fate {
                    1 if what % 2 == 0 || packets.len() % 2 == 0 => {}
                    2 => packets.extend([packet.clone(), packet]),
                    _ => packets.push(packet),
                }
            }
        }
        packets
    })
}

impl Conversation {
    fn packet(&mut self, to_listener: bool, flags: &str, what: u64) -> Vec<u8> {
        let (client, listener) = self.ends;
        let payload = match (listener, what) {
            (_, 0..2) => Vec::new(),
            (7100 | 7101 | 7200, 2..7) => token(u32::from(client), 9 + what % 2, what / 2 + 1),
            (8790, _) => [&b"WWMK\x01\x01\x00\x02"[..], &42_u64.to_be_bytes()].concat(),
            _ => b"one line\nand half a".to_vec(),
        };
        let from = usize::from(!to_listener);
        let (me, peer) = if to_listener {
            (client, 200)
        } else {
            (200, client)
        };
        let builder = PacketBuilder::ethernet2([0; 6], [0; 6]);
        let ip = |last: u8| std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).octets();
        let builder = match self.is_v6 {
            true => builder.ipv6(ip(me), ip(peer), 64),
            false => builder.ipv4([10, 0, 0, me], [10, 0, 0, peer], 64),
        };
        let ports = [40_000 + u16::from(client), listener];
        let mut data = Vec::new();
        match flags {
            "udp" | "fragments" => builder
                .udp(ports[from], ports[1 - from])
                .write(&mut data, &payload),
            "other" if what < 4 => builder.icmpv4_echo_request(1, 2).write(&mut data, &payload),
            "other" => {
                // An ARP request of which nothing but the type is right.
                return [&[0; 12][..], &[8, 6], &payload].concat();
            }
            _ => {
                let mut builder = builder.tcp(ports[from], ports[1 - from], self.sent[from], 1000);
                for flag in flags.chars() {
                    builder = match flag {
                        'S' => builder.syn(),
                        'F' => builder.fin(),
                        'R' => builder.rst(),
                        _ => builder.ack(self.sent[1 - from]),
                    };
                }
                let length = payload.len() + usize::from(flags.contains(['S', 'F']));
                self.sent[from] = self.sent[from].wrapping_add(length as u32);
                builder.write(&mut data, &payload)
            }
        }
        .expect("a packet");
        data
    }
}

impl Conversation {
    /// An IPv4 packet in two fragments, the later first.
    fn fragments(&mut self, whole: Vec<u8>) -> Vec<Vec<u8>> {
        const HEADERS: usize = 14 + 20;
        const CUT: usize = 16;
        self.identification += 1;
        let body = &whole[HEADERS..];
        let part = |from: usize, to: usize, more: bool| {
            let mut packet = whole[..HEADERS].to_vec();
            let flags = (from / 8) as u16 | u16::from(more) << 13;
            packet[16..18].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
            packet[18..20].copy_from_slice(&self.identification.to_be_bytes());
            packet[20..22].copy_from_slice(&flags.to_be_bytes());
            packet.extend(&body[from..to]);
            packet
        };
        match body.len() > CUT {
            true => vec![part(CUT, body.len(), false), part(0, CUT, true)],
            false => vec![whole],
        }
    }
}

/// The answer of the host to which an IPv4 packet went: there is nobody (RFC 792).
fn unreachable(data: &[u8]) -> Vec<u8> {
    let quoted = &data[14..data.len().min(14 + 28)];
    let host = |at: usize| [data[at], data[at + 1], data[at + 2], data[at + 3]];
    let error = etherparse::Icmpv4Type::DestinationUnreachable(
        etherparse::icmpv4::DestUnreachableHeader::Port,
    );
    let mut answer = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4(host(30), host(26), 64)
        .icmpv4(error)
        .write(&mut answer, quoted)
        .expect("a packet");
    answer
}

/// Writes packets as pcapng, with what the kernel counted.
fn record(path: &Path, packets: &[Drawn], dropped: Option<u64>) {
    let mut recorder = Recorder::create(path).unwrap();
    let interface = recorder
        .add_interface(&InterfaceDescription {
            name: "eth7".to_owned(),
            link_type: LinkType(1),
            snaplen: 4000,
            filter: None,
        })
        .unwrap();
    for packet in packets {
        let packet = CapturedPacket {
            timestamp: Timestamp::from_nanos(packet.time),
            link_type: LinkType(1),
            original_length: packet.data.len() as u32,
            data: &packet.data[..packet.captured],
        };
        recorder.write(interface, &packet).unwrap();
    }
    let counters = dropped.map(|dropped| KernelCounters {
        dropped: Packets::new(dropped),
        ..KernelCounters::default()
    });
    let counters: Vec<_> = counters
        .map(|counters| (interface, counters))
        .into_iter()
        .collect();
    recorder.finish(&counters).unwrap();
}

/// The same as a classic file of microseconds.
fn classic(packets: &[Drawn]) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0]);
    for word in [0, 0, 65_535, 1_u32] {
        file.extend(word.to_le_bytes());
    }
    for packet in packets {
        let (seconds, nanos) = (packet.time / 1_000_000_000, packet.time % 1_000_000_000);
        let words = [
            seconds,
            nanos / 1000,
            packet.captured as i64,
            packet.data.len() as i64,
        ];
        words
            .iter()
            .for_each(|word| file.extend((*word as u32).to_le_bytes()));
        file.extend(&packet.data[..packet.captured]);
    }
    file
}

/// The same packets at every run.
fn drawn(length: usize) -> Vec<Drawn> {
    let rng = TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut all = Vec::new();
    while all.len() < length {
        let tree = traffic(200).new_tree(&mut runner).unwrap();
        let begin = all.last().map_or(0, |last: &Drawn| last.time - BEGIN);
        all.extend(tree.current().into_iter().map(|packet| Drawn {
            time: packet.time + begin,
            ..packet
        }));
    }
    all
}

#[test]
fn the_sample_captures() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    for sample in ["ring", "centralized", "two-phase-commit"] {
        let folder = TempDir::new().unwrap();
        let file = samples.join(format!("{sample}.pcapng"));
        let file = file.to_str().unwrap();
        for parts in [1, 2, 7] {
            let merged = parts_equal_whole(folder.path(), &[file], parts, 0);
            let operations = merged["protocols"][2]["operations"]["count"].as_u64();
            assert!(
                operations.is_some_and(|count| count > 0),
                "{sample}: {merged:#}"
            );
        }
    }
}

#[test]
fn any_traffic() {
    let config = Config {
        cases: 6,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(traffic(300), 1..6_u16), |(packets, parts)| {
            let folder = TempDir::new().unwrap();
            record(&folder.path().join("all.pcapng"), &packets, None);
            parts_equal_whole(folder.path(), &["all.pcapng"], parts, 0);
            Ok(())
        })
        .unwrap();
}

#[test]
fn several_files_compressed_and_in_any_order() {
    let folder = TempDir::new().unwrap();
    let packets = drawn(900);
    let (first, second) = packets.split_at(400);
    let gzipped = File::create(folder.path().join("first.pcap.gz")).unwrap();
    let mut gzipped = flate2::write::GzEncoder::new(gzipped, flate2::Compression::fast());
    gzipped.write_all(&classic(first)).unwrap();
    gzipped.finish().unwrap();
    record(&folder.path().join("second.pcapng"), second, Some(0));
    for files in [
        ["first.pcap.gz", "second.pcapng"],
        ["second.pcapng", "first.pcap.gz"],
    ] {
        let merged = parts_equal_whole(folder.path(), &files, 4, 0);
        // What takes a part of its own way is there.
        let reasons = merged["undecoded"]["reasons"].to_string();
        assert!(reasons.contains("IP fragment"), "{reasons}");
        let rows = merged["protocols"].as_array().unwrap();
        assert!(rows.iter().any(|row| row["foreign"] == true));
        assert!(rows.iter().any(|row| row["icmp_errors"].is_object()));
    }
}

#[test]
fn what_the_capture_dropped_counts_once() {
    let folder = TempDir::new().unwrap();
    record(&folder.path().join("all.pcapng"), &drawn(100), Some(5));
    let merged = parts_equal_whole(folder.path(), &["all.pcapng"], 3, 0);
    assert_eq!(merged["completeness"]["packets_dropped"], 5);
    assert_eq!(merged["completeness"]["state"], "incomplete");
}

#[test]
fn parts_together_know_what_the_capture_dropped_and_without_the_first_they_do_not() {
    let folder = TempDir::new().unwrap();
    record(&folder.path().join("all.pcapng"), &drawn(100), Some(0));
    let names = split(folder.path(), 0, 3, &["all.pcapng"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let dropped = |files: &[&str]| {
        let report: Value = serde_json::from_str(&analyze(folder.path(), 0, files)).unwrap();
        report["completeness"]["packets_dropped"].clone()
    };
    assert_eq!(dropped(&["all.pcapng"]), 0);
    assert_eq!(dropped(&names), 0);
    assert_eq!(dropped(&[names[2], names[0]]), 0);
    assert_eq!(dropped(&names[1..]), Value::Null);
    // A capture of its own tells nothing of others.
    fs::write(folder.path().join("other.pcap"), classic(&drawn(5))).unwrap();
    assert_eq!(dropped(&[names[0], names[1], "other.pcap"]), Value::Null);
}

#[test]
fn a_capture_that_was_cut_short_is_so_in_parts_too() {
    let folder = TempDir::new().unwrap();
    let mut file = classic(&drawn(200));
    file.truncate(file.len() - 3);
    fs::write(folder.path().join("cut.pcap"), file).unwrap();
    let merged = parts_equal_whole(folder.path(), &["cut.pcap"], 3, 2);
    assert_eq!(merged["source"]["partial"], true);
}

#[test]
fn every_packet_is_in_one_part_as_it_was() {
    type Owned = (i64, u16, u32, Vec<u8>);
    fn read(path: PathBuf, into: &mut Vec<Owned>) {
        let mut file = CaptureFile::open(path).unwrap();
        file.for_each(|packet| {
            into.push((
                packet.timestamp.as_nanos(),
                packet.link_type.0,
                packet.original_length,
                packet.data.to_vec(),
            ));
        });
        assert_eq!(file.facts().snaplen, Some(4000));
        assert_eq!(file.facts().interfaces, ["eth7"]);
    }
    let folder = TempDir::new().unwrap();
    record(&folder.path().join("all.pcapng"), &drawn(500), None);
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    read(folder.path().join("all.pcapng"), &mut whole);
    for name in split(folder.path(), 0, 3, &["all.pcapng"]) {
        let before = parts.len();
        read(folder.path().join(name), &mut parts);
        assert!(parts.len() > before, "one part has everything");
    }
    whole.sort();
    parts.sort();
    assert!(whole == parts);
}

#[test]
fn a_part_that_is_missing_or_twice_there_is_told() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    record(&folder.join("all.pcapng"), &drawn(100), Some(0));
    let names = split(folder, 0, 3, &["all.pcapng"]);
    for (name, json) in names.iter().zip(["1.json", "2.json", "3.json"]) {
        fs::write(folder.join(json), analyze(folder, 0, &[name])).unwrap();
    }
    let merged = printed(folder, 2, &["merge", "--json", "1.json", "3.json"]);
    let merged: Value = serde_json::from_str(&merged).unwrap();
    assert_eq!(merged["completeness"]["missing_parts"], 1);
    assert_eq!(merged["completeness"]["state"], "incomplete");

    let error = refused(folder, &["merge", "1.json", "2.json", "1.json"]);
    assert!(
        error.contains("1.json and 1.json are on the same part 1 of 3"),
        "{error}"
    );

    // The sum of sums is the sum.
    let all = printed(
        folder,
        0,
        &["merge", "--json", "1.json", "2.json", "3.json"],
    );
    let some = printed(folder, 2, &["merge", "--json", "2.json", "1.json"]);
    fs::write(folder.join("some.json"), some).unwrap();
    let sum = printed(folder, 0, &["merge", "--json", "some.json", "3.json"]);
    assert_same(&sum, &all);
}

#[test]
fn reports_that_do_not_add_up_are_refused() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    record(&folder.join("one.pcapng"), &drawn(50), None);
    record(&folder.join("other.pcapng"), &drawn(60), None);
    let one: Value = serde_json::from_str(&analyze(folder, 0, &["one.pcapng"])).unwrap();
    let write = |name: &str, report: &Value| {
        fs::write(folder.join(name), report.to_string()).unwrap();
    };
    write("one.json", &one);
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut report = one.clone();
        report["source"]["files"] = json!(["other.pcapng"]);
        change(&mut report);
        report
    };
    for (change, complaint) in [
        (
            &(|r: &mut Value| r["schema"] = json!("wirewatt-report/2")) as &dyn Fn(&mut Value),
            "its schema is 'wirewatt-report/2'",
        ),
        (
            &|r| r["tool"]["version"] = json!("0.0.1"),
            "made by wirewatt 0.0.1, and this is wirewatt",
        ),
        (
            &|r| r["plan"] = json!("0123456789abcdef"),
            "one.json and other.json sort packets into different protocols",
        ),
        (
            &|r| drop(r.as_object_mut().unwrap().remove("plan")),
            "lacks what its packets were sorted by",
        ),
        (
            &|r| r["protocols"][0]["carbon"]["grid"] = json!("france-2023"),
            "choose one with --grid",
        ),
        (
            &|r| r["source"]["files"] = json!(["one.pcapng"]),
            "are on the same capture",
        ),
        (&|r| r["packets"] = json!(1), ""),
    ] {
        write("other.json", &changed(change));
        let output = run_in(folder, &["merge", "one.json", "other.json"]);
        let error = String::from_utf8(output.stderr).unwrap();
        let code = if complaint.is_empty() { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{complaint}: {error}");
        assert!(error.contains(complaint), "{error}");
    }
    fs::write(folder.join("none.json"), "{\"a\": 1}").unwrap();
    for (name, complaint) in [
        ("one.pcapng", "not a report"),
        ("none.json", "not a report"),
        ("absent.json", "cannot be read"),
    ] {
        let error = refused(folder, &["merge", name]);
        assert!(error.contains(complaint) && error.contains(name), "{error}");
    }
}

#[test]
fn split_replaces_nothing_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    record(&folder.join("all.pcapng"), &drawn(50), None);
    let files = || {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::write(folder.join("all.2-of-3.pcapng"), "mine").unwrap();
    let before = files();
    let error = refused(
        folder,
        &["split", "--by-connection", "-p", "3", "all.pcapng"],
    );
    assert!(
        error.contains("all.2-of-3.pcapng: exists already"),
        "{error}"
    );
    assert_eq!(fs::read(folder.join("all.2-of-3.pcapng")).unwrap(), b"mine");
    let error = refused(
        folder,
        &["split", "--by-connection", "-p", "0", "all.pcapng"],
    );
    let range = "'--parts <P>': expected a number from 1 to 65535";
    assert!(error.contains(range), "{error}");
    let error = refused(folder, &["split", "-p", "3", "all.pcapng"]);
    assert!(error.contains("--by-connection"), "{error}");
    let error = refused(
        folder,
        &["split", "--by-connection", "-p", "2", "absent.pcapng"],
    );
    assert!(error.contains("absent.pcapng: no such file"), "{error}");
    let few = format!(
        "ulimit -n 40; exec {} split --by-connection -p 100 all.pcapng",
        env!("CARGO_BIN_EXE_wirewatt")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &few])
        .current_dir(folder)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("raise the limit with `ulimit -n`"),
        "{error}"
    );
    assert_eq!(files(), before);
}

#[test]
fn a_full_disk_leaves_no_part_that_would_count() {
    let folder = TempDir::new().unwrap();
    record(&folder.path().join("all.pcapng"), &drawn(400), None);
    // A limit on the size of files is what a test can have of a full disk.
    let small = format!(
        "trap '' XFSZ; ulimit -f 16; exec {} split --by-connection -p 2 all.pcapng",
        env!("CARGO_BIN_EXE_wirewatt")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &small])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains(".1-of-2.pcapng") || error.contains(".2-of-2.pcapng"),
        "{error}"
    );
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "{error}");
}
