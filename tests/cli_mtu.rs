//! `--mtu` from the outside: what packets are projected onto, on a capture whose frames are worked out
//! by hand; that all ways to the same counts give the same; and where other MTUs are refused or named.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Finished, count, free_ports, run, text, value, wirewatt};
use etherparse::{PacketBuilder, TcpOptionElement};
use serde_json::Value;
use tempfile::TempDir;
use wirewatt::capture::{CapturedPacket, InterfaceDescription, Recorder};
use wirewatt::units::{LinkType, Timestamp};

/// Three packets: a segment as large as loopback has them, 20 + 32 bytes of headers and 65,483 of
/// payload; an ACK of 52 bytes; and over IPv6 one of 40 + 20 and 3000.
fn capture(folder: &Path) -> PathBuf {
    let path = folder.join("bulk.pcapng");
    let mut recorder = Recorder::create(&path).expect("a capture");
    let link_type = LinkType(1);
    let interface = InterfaceDescription {
        name: "lo".to_owned(),
        link_type,
        snaplen: 262_144,
        filter: None,
    };
    let interface = recorder.add_interface(&interface).expect("an interface");
    let timestamps = [
        TcpOptionElement::Noop,
        TcpOptionElement::Noop,
        TcpOptionElement::Timestamp(1, 2),
    ];
    let ethernet = || PacketBuilder::ethernet2([0; 6], [0; 6]);
    let local = || ethernet().ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64);
    let (mut bulk, mut ack, mut v6) = (Vec::new(), Vec::new(), Vec::new());
    let to_listener = local().tcp(40_000, 5000, 1, 1000).ack(1);
    let to_listener = to_listener.options(&timestamps).expect("options");
    to_listener
        .write(&mut bulk, &[7; 65_483])
        .expect("a segment");
    let from_listener = local().tcp(5000, 40_000, 1, 1000).ack(65_484);
    let from_listener = from_listener.options(&timestamps).expect("options");
    from_listener.write(&mut ack, &[]).expect("an ACK");
    let host = std::net::Ipv6Addr::LOCALHOST.octets();
    let other = ethernet().ipv6(host, host, 64).tcp(40_001, 5000, 1, 1000);
    other.ack(1).write(&mut v6, &[7; 3000]).expect("a segment");
    for (i, data) in [bulk, ack, v6].iter().enumerate() {
        let packet = CapturedPacket {
            timestamp: Timestamp::from_nanos(1_700_000_000_000_000_000 + i as i64),
            link_type,
            original_length: data.len() as u32,
            data,
        };
        recorder.write(interface, &packet).expect("written");
    }
    recorder.finish(&[]).expect("written");
    path
}

const BULK: [&str; 2] = ["--protocol", "bulk=5000"];

fn analyzed(capture: &Path, options: &[&str]) -> Finished {
    run(wirewatt()
        .args(["analyze", "--json"])
        .arg(capture)
        .args(BULK)
        .args(options))
}

#[track_caller]
fn report(capture: &Path, options: &[&str]) -> Value {
    let finished = analyzed(capture, options);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    finished.json()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[track_caller]
fn projection(row: &Value) -> [u64; 5] {
    ["mtu", "mss", "frames", "l2_bytes", "line_bytes"]
        .map(|name| count(row, &format!("/projection/{name}")))
}

/// MTU and MSS, frames, their bytes, and those with 24 more each, of all three packets.
const BY_HAND: [(&str, [u64; 5]); 5] = [
    // 16 bytes of payload beside 52: 4092 full frames of 82, and one of 11 bytes. The ACK's 66. 8 bytes
    // beside 60: 375 full frames of 82.
    (
        "68",
        [
            68,
            28,
            4093 + 1 + 375,
            4092 * 82 + 77 + 66 + 375 * 82,
            473_693,
        ],
    ),
    // 1448: 45 full and 323 bytes. 1440: 2 full and 120.
    (
        "1500",
        [
            1500,
            1460,
            46 + 1 + 3,
            45 * 1514 + 389 + 66 + 2 * 1514 + 194,
            73_007,
        ],
    ),
    // 8948: 7 full and 2847 bytes. The other segment fits.
    (
        "9000",
        [9000, 8960, 8 + 1 + 1, 7 * 9014 + 2913 + 66 + 3074, 69_391],
    ),
    // One byte of payload is left over.
    (
        "65534",
        [65_534, 65_494, 4, 65_548 + 67 + 66 + 3074, 68_851],
    ),
    ("65535", [65_535, 65_495, 3, 65_549 + 66 + 3074, 68_761]),
];

#[test]
fn frames_are_those_worked_out_by_hand_and_nothing_else_changes() {
    let folder = folder();
    let capture = capture(folder.path());
    let usual = report(&capture, &[]);
    assert_eq!(count(&usual, "/protocols/0/bytes/ip"), 65_535 + 52 + 3060);
    for (mtu, by_hand) in BY_HAND {
        let mut of_mtu = report(&capture, &["--mtu", mtu]);
        assert_eq!(projection(&of_mtu["protocols"][0]), by_hand, "{mtu}");
        // Three switches with two interfaces each, data/energy-models.toml.
        let [_, _, frames, bytes, _] = by_hand.map(|number| number as f64);
        let joules = of_mtu["protocols"][0]["energy"]["joules"].as_f64();
        let expected = 6.0 * (26.3e-9 * frames + 0.0688e-9 * bytes);
        let joules = joules.expect("joules");
        assert!((joules / expected - 1.0).abs() < 1e-12, "{mtu}: {joules}");
        // What was counted is the same, and so is what models of bytes and messages say.
        let mut as_usual = usual.clone();
        for report in [&mut of_mtu, &mut as_usual] {
            let row = report["protocols"][0].as_object_mut().expect("a row");
            for part in ["projection", "energy", "carbon"] {
                row.remove(part).expect(part);
            }
            let estimates = row["estimates"].as_array_mut().expect("estimates");
            estimates.retain(|one| one["energy"]["counted"] != "projected Ethernet frames");
            assert_eq!(estimates.len(), 11);
            estimates.sort_by_key(|one| one["energy"]["model"].to_string());
        }
        assert_eq!(of_mtu, as_usual, "{mtu}");
    }
    let of_ethernet = report(&capture, &["--mtu", "1500"]);
    assert_eq!(of_ethernet, usual, "1500 is what is usual");
}

#[test]
fn threads_and_parts_give_the_frames_of_the_whole() {
    let folder = folder();
    let capture = capture(folder.path());
    let whole = report(&capture, &["--mtu", "9000"]);
    let by_threads = report(&capture, &["--mtu", "9000", "--threads", "3"]);
    assert_eq!(by_threads, whole);
    let split = run(wirewatt()
        .args(["split", "--by-connection", "-p", "2", "-o"])
        .arg(folder.path().join("part"))
        .arg(&capture));
    assert_eq!(split.status.code(), Some(0), "{split}");
    let parts: Vec<PathBuf> = split.stdout.lines().map(PathBuf::from).collect();
    let saved = |part: &Path, mtu: &str| {
        let saved = part.with_extension(format!("{mtu}.json"));
        fs::write(&saved, analyzed(part, &["--mtu", mtu]).stdout).expect("written");
        saved
    };
    let [first, second] = &parts[..] else {
        panic!("two parts: {parts:?}");
    };
    let merge = |reports: [&Path; 2]| run(wirewatt().args(["merge", "--json"]).args(reports));
    let (jumbo, other) = (saved(first, "9000"), saved(second, "9000"));
    let merged = merge([&jumbo, &other]);
    assert_eq!(merged.status.code(), Some(0), "{merged}");
    assert_eq!(merged.json()["protocols"], whole["protocols"]);

    let usual = saved(second, "1500");
    let refused = merge([&jumbo, &usual]);
    assert_eq!(refused.status.code(), Some(2), "{refused}");
    assert_eq!(refused.stdout, "", "{refused}");
    let told = format!(
        "{} projects packets onto an MTU of 9000 and {} onto 1500",
        jumbo.display(),
        usual.display()
    );
    assert!(refused.stderr.contains(&told), "{refused}");
    assert!(refused.stderr.contains("the same --mtu"), "{refused}");
}

#[test]
fn energies_of_other_mtus_are_not_compared() {
    let folder = folder();
    let capture = capture(folder.path());
    let saved = |name: &str, options: &[&str]| {
        let path = folder.path().join(name);
        fs::write(&path, analyzed(&capture, options).stdout).expect("written");
        path
    };
    let plotted = |reports: [&PathBuf; 2]| {
        let charts = folder.path().join("charts");
        let plotted = run(wirewatt().arg("plot").args(reports).arg("-o").arg(charts));
        assert_eq!(plotted.status.code(), Some(0), "{plotted}");
        plotted
    };
    let (usual, jumbo) = (saved("usual", &[]), saved("jumbo", &["--mtu", "9000"]));
    let compared = plotted([&usual, &jumbo]);
    let note = "energy is of frames with MTUs of 1,500 and 9,000, and is not compared";
    assert!(compared.stdout.contains(note), "{compared}");
    let has_energy = |finished: &Finished| {
        finished
            .stdout
            .lines()
            .any(|line| line.starts_with("energy  "))
    };
    assert!(!has_energy(&compared), "{compared}");
    assert!(has_energy(&plotted([&usual, &usual])));
    // A model of bytes knows no frames.
    let average = ["--model", "aslan-2015"];
    let (usual, jumbo) = (
        saved("average", &average),
        saved(
            "average-jumbo",
            &[&average[..], &["--mtu", "9000"]].concat(),
        ),
    );
    let compared = plotted([&usual, &jumbo]);
    assert!(has_energy(&compared), "{compared}");
    assert!(!compared.stdout.contains("MTU"), "{compared}");
}

#[test]
fn text_names_the_mtu_where_it_is_not_the_usual_one() {
    let folder = folder();
    let capture = capture(folder.path());
    let printed = |mtu: &str| {
        let analyze = ["analyze", "--mtu", mtu];
        let finished = run(wirewatt().args(analyze).args(BULK).arg(&capture));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        finished.stdout
    };
    let note = "packets projected onto Ethernet with an MTU of 9,000";
    assert!(printed("9000").contains(note));
    assert!(!printed("1500").contains("MTU"));
}

#[test]
fn an_mtu_that_no_link_has_is_refused() {
    for command in [
        &["analyze", "captures/ring.pcapng"][..],
        &["sniff", "--for", "1ms"],
        &["run", "ring"],
        &["sweep", "ring", "-n", "2"],
        &["simulate", "ring"],
        &["audit", "nowhere"],
    ] {
        for mtu in ["67", "65536", "-1500", "jumbo", ""] {
            let refused = run(wirewatt().args(command).args(["--mtu", mtu]));
            assert_eq!(refused.status.code(), Some(2), "{refused}");
            let told = "from 68 (which every link carries by RFC 791) to 65535";
            assert!(refused.stderr.contains(told), "{refused}");
        }
    }
}

/// A token is 14 + 60,060 bytes with its header: what `simulate` projects is what the packets come to.
#[test]
fn a_prediction_is_projected_onto_the_same() {
    let simulated = |options: &[&str]| {
        let ring = [
            "simulate",
            "ring",
            "-n",
            "4",
            "--payload",
            "60000",
            "--json",
        ];
        let finished = run(wirewatt().args(ring).args(options));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        finished.json()
    };
    let jumbo = simulated(&["--mtu", "9000"]);
    let predicted = &jumbo["predicted"];
    for (class, packets) in [
        ("handshake", 8),
        ("data", 4),
        ("pure_ack", 12),
        ("teardown", 8),
    ] {
        assert_eq!(count(predicted, &format!("/packets/{class}")), packets);
    }
    let payload = count(predicted, "/bytes/payload") / 4;
    assert_eq!(payload, 60_074);
    // 8948 bytes of it are 6 full frames, and 6386 are left. SYNs are 60 bytes of IP, the others 52.
    let frames = 8 + 4 * 7 + 12 + 8;
    let bytes = 8 * 74 + 4 * (6 * 9014 + 66 + 6386) + (12 + 8) * 66;
    let line = bytes + 24 * frames;
    assert_eq!(projection(predicted), [9000, 8960, frames, bytes, line]);
    // The command makes the same again.
    let command = text(&jumbo, "/command");
    assert!(command.ends_with(" --mtu 9000"), "{command}");
    let again = run(wirewatt().args(command.split(' ').skip(1)).arg("--json"));
    assert_eq!(again.json(), jumbo);

    let usual = simulated(&[]);
    assert_eq!(count(&usual, "/predicted/projection/mtu"), 1500);
    assert!(!text(&usual, "/command").contains("mtu"));
}

#[test]
fn a_run_keeps_its_mtu_and_its_folder_gives_the_same_again() {
    let folder = folder();
    let out = folder.path().join("run");
    let port = free_ports(3);
    let finished = run(wirewatt()
        .args(["run", "ring", "-n", "3", "--payload", "10000", "--json"])
        .args(["--mtu", "1280", "--base-port", &port.to_string()])
        .arg("--out")
        .arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let report = finished.json();
    let ring = common::protocol(&report, "ring");
    assert_eq!(projection(ring)[..2], [1280, 1240]);
    // 3 tokens of 10,074 bytes, 8 full frames of 1228 each and a rest; every other packet is one frame.
    assert_eq!(count(ring, "/bytes/payload"), 3 * 10_074);
    let frames = count(ring, "/projection/frames");
    assert_eq!(frames, count(ring, "/packets/total") + 3 * 8);
    let words: Vec<&str> = value(&report, "/command")
        .as_array()
        .expect("the command")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(words.windows(2).any(|pair| pair == ["--mtu", "1280"]));
    let record = fs::read_to_string(out.join("run.toml")).expect("run.toml");
    assert!(record.contains("\nmtu = 1280\n"), "{record}");

    let audited = |options: &[&str]| {
        let finished = run(wirewatt().args(["audit", "--json"]).arg(&out).args(options));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        finished.json()
    };
    assert_eq!(audited(&[])["protocols"], report["protocols"]);
    let jumbo = audited(&["--mtu", "65535"]);
    let jumbo = common::protocol(&jumbo, "ring");
    assert_eq!(
        count(jumbo, "/projection/frames"),
        count(ring, "/packets/total")
    );
    // As folders were before there was a choice.
    fs::write(out.join("run.toml"), record.replace("\nmtu = 1280\n", "\n")).expect("written");
    let earlier = audited(&[]);
    assert_eq!(projection(common::protocol(&earlier, "ring"))[0], 1500);

    // The capture with the same option has the same frames, by itself and beside the ledger.
    let ports = format!("ring={port}-{}:wirewatt", port + 2);
    let again = run(wirewatt()
        .args(["analyze", "--json", "--mtu", "1280", "--protocol", &ports])
        .arg(out.join("capture.pcapng")));
    let beside = run(wirewatt()
        .args(["audit", "--json", "--mtu", "1280", "--protocol", &ports])
        .arg(out.join("capture.pcapng"))
        .arg("--ledger")
        .arg(out.join("ledger.jsonl")));
    for again in [again.json(), beside.json()] {
        assert_eq!(
            projection(common::protocol(&again, "ring")),
            projection(ring)
        );
    }
}

/// Even of what never came: a part without it merges with those that have it.
#[test]
fn a_live_capture_is_projected_onto_the_same() {
    let protocol = format!("bulk={}", free_ports(1));
    let sniffed = run(wirewatt()
        .args(["sniff", "--for", "200ms", "--json", "--mtu", "9000"])
        .args(["--protocol", &protocol]));
    assert_eq!(sniffed.status.code(), Some(0), "{sniffed}");
    let report = sniffed.json();
    let bulk = common::protocol(&report, "bulk");
    assert_eq!(projection(bulk), [9000, 8960, 0, 0, 0]);
}

/// The report says that `wirewatt audit .` makes it again: with the run's own model, grid and PUE.
#[test]
fn a_folders_energy_is_the_runs_own_unless_options_say_otherwise() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let mut command = wirewatt();
    command.args([
        "run",
        "ring",
        "-n",
        "2",
        "--json",
        "--model",
        "cisco-8201-32fh",
    ]);
    command.args(["--hops", "2", "--pue", "1.5", "--grid", "385", "--out"]);
    command.arg(&out);
    command.args(["--base-port", &free_ports(2).to_string()]);
    let made = run(&mut command);
    assert_eq!(made.status.code(), Some(0), "{made}");
    let audited = |options: &[&str]| {
        let finished = run(wirewatt().args(["audit", "--json"]).arg(&out).args(options));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        finished.json()
    };
    let again = audited(&[]);
    assert_eq!(again["protocols"], made.json()["protocols"]);
    assert_eq!(common::protocol(&again, "ring")["energy"]["pue"], 1.5);
    let other = audited(&["--grid", "us-2018"]);
    let other = &common::protocol(&other, "ring")["energy"];
    assert_eq!(other["model"], "datacenter-3-hops");
    assert!(other["pue"].is_null(), "{other}");
}
