//! A run of each algorithm on the real loopback: the accounts are the formula's, and a reader that
//! shares nothing with WireWatt (tshark, and the few lines below, written from
//! `docs/wire-format.md`) finds the same messages in the run's capture.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{
    broken_identities, count, have_tools, protocol, run, text, tshark_fields, value, wirewatt,
};

/// A run and what it has to cost.
struct Expected {
    algorithm: &'static str,
    /// `protocol` in the frame header.
    number: u16,
    arguments: &'static [&'static str],
    /// Kind's number in the frame header, name, messages.
    kinds: &'static [(u16, &'static str, u64)],
}

/// Runs one algorithm and holds report, audit and the independent reader against the expectation.
fn check(expected: &Expected) {
    if !have_tools(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let mut command = wirewatt();
    command
        .args(["run", expected.algorithm, "-n", "4", "--json"])
        .args(expected.arguments);
    let finished = run(command.arg("--out").arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let report = finished.json();
    let messages: u64 = expected.kinds.iter().map(|kind| kind.2).sum();

    assert_eq!(broken_identities(&report), Vec::<String>::new());
    assert_eq!(
        text(&report, "/completeness/state"),
        "proven",
        "{}",
        report["completeness"]
    );
    assert_eq!(
        text(&report, "/audit/verdict"),
        "exact",
        "{}",
        report["audit"]
    );
    let rows = value(&report, "/audit/rows")
        .as_array()
        .expect("rows of the audit");
    for account in [
        "expected",
        "attempted",
        "sent",
        "received",
        "handled",
        "wire",
    ] {
        let sum: u64 = rows
            .iter()
            .map(|row| count(row, &format!("/{account}")))
            .sum();
        assert_eq!(sum, messages, "{account}: {rows:?}");
    }

    let row = protocol(&report, expected.algorithm);
    assert_eq!(count(row, "/messages"), messages);
    for (_, kind, messages) in expected.kinds {
        assert_eq!(
            count(row, &format!("/messages_by_kind/{kind}")),
            *messages,
            "{kind}"
        );
    }

    let capture = capture_in(&out);
    let ports = text(row, "/ports").replace('-', "..");
    let filter = format!("tcp.port in {{{ports}}}");
    let packets = tshark_fields(&capture, &filter, &["frame.len"]);
    assert_eq!(
        count(row, "/packets/total"),
        packets.len() as u64,
        "packets in {ports}"
    );
    let wire: u64 = packets
        .iter()
        .map(|row| row[0].parse::<u64>().expect("a length"))
        .sum();
    assert_eq!(count(row, "/bytes/wire"), wire, "frame bytes in {ports}");

    let mut found = BTreeMap::new();
    let mut names = BTreeSet::new();
    for stream in streams(&capture, &filter) {
        for frame in frames(&stream) {
            assert_eq!(frame.protocol, expected.number);
            assert!(
                names.insert((
                    frame.run,
                    frame.sender,
                    frame.incarnation,
                    frame.receiver,
                    frame.sequence
                )),
                "two messages of one name: {frame:?}"
            );
            *found.entry(frame.kind).or_insert(0) += 1;
        }
    }
    let kinds: BTreeMap<_, _> = expected.kinds.iter().map(|kind| (kind.0, kind.2)).collect();
    assert_eq!(found, kinds, "messages by kind, read independently");
}

/// The run's capture, wherever in the folder it lies.
fn capture_in(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .file_name()
                .is_some_and(|name| name == "capture.pcapng")
            {
                return path;
            }
        }
    }
    panic!("no capture.pcapng in {}", folder.display())
}

/// The byte streams of a capture, one for each direction of each connection, put together by
/// sequence numbers relative to the SYN.
fn streams(capture: &Path, filter: &str) -> Vec<Vec<u8>> {
    let filter = format!("({filter}) && tcp.len > 0");
    let fields = ["tcp.stream", "tcp.srcport", "tcp.seq", "tcp.payload"];
    let mut segments: BTreeMap<(String, String), BTreeMap<usize, Vec<u8>>> = BTreeMap::new();
    for row in tshark_fields(capture, &filter, &fields) {
        let offset = row[2].parse::<usize>().expect("a sequence number") - 1;
        let payload = bytes_of_hex(&row[3]);
        let stream = segments
            .entry((row[0].clone(), row[1].clone()))
            .or_default();
        let longest = stream.entry(offset).or_default();
        if longest.len() < payload.len() {
            *longest = payload;
        }
    }
    let in_order = |segments: BTreeMap<usize, Vec<u8>>| {
        let mut stream = Vec::new();
        for (offset, payload) in segments {
            let seen = stream
                .len()
                .checked_sub(offset)
                .expect("the capture has no gap");
            stream.extend_from_slice(payload.get(seen..).unwrap_or_default());
        }
        stream
    };
    segments.into_values().map(in_order).collect()
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII digits");
        u8::from_str_radix(pair, 16).expect("two digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// The fields of a frame header that tell messages apart.
#[derive(Debug)]
struct Frame {
    protocol: u16,
    kind: u16,
    sender: u32,
    receiver: u32,
    incarnation: u32,
    run: u64,
    sequence: u64,
}

fn frames(stream: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let number = |offset: usize, width: usize| {
            rest[offset..offset + width]
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        assert!(
            rest.len() >= 56,
            "a stream ends inside a frame header: {rest:02x?}"
        );
        assert_eq!(
            (number(0, 2), number(2, 1), number(3, 1)),
            (0x57a7, 1, 0),
            "magic"
        );
        let length = number(4, 4) as usize;
        assert!(
            (56..=rest.len()).contains(&length),
            "a stream ends inside a frame"
        );
        frames.push(Frame {
            protocol: number(8, 2) as u16,
            kind: number(10, 2) as u16,
            sender: number(12, 4) as u32,
            receiver: number(16, 4) as u32,
            incarnation: number(20, 4) as u32,
            run: number(24, 8),
            sequence: number(40, 8),
        });
        rest = &rest[length..];
    }
    frames
}

/// 4(N−1): request, vote, decision and acknowledgement between the coordinator and each other.
#[test]
fn two_phase_commit_costs_twelve_messages() {
    check(&Expected {
        algorithm: "two-phase-commit",
        number: 3,
        arguments: &[],
        kinds: &[
            (1, "vote-request", 3),
            (2, "vote-yes", 3),
            (4, "commit", 3),
            (6, "ack", 3),
        ],
    });
}

/// 2(N−1): a request and a reply for each member.
#[test]
fn centralized_costs_six_messages() {
    check(&Expected {
        algorithm: "centralized",
        number: 1,
        arguments: &[],
        kinds: &[(1, "join", 3), (2, "list", 3)],
    });
}

/// N a circulation.
#[test]
fn ring_costs_four_messages_a_round() {
    check(&Expected {
        algorithm: "ring",
        number: 2,
        arguments: &["--rounds", "3"],
        kinds: &[(1, "token", 12)],
    });
}
