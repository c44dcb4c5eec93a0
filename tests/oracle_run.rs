//! A run of every algorithm on the real loopback: the accounts are the formula's, the comparison
//! shows them, and a reader that shares nothing with WireWatt (tshark, and the few lines below,
//! written from `docs/wire-format.md`) finds the same messages in the runs' captures.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;

use common::{
    broken_identities, command, count, have_tools, protocol, run, tshark_fields, value, wirewatt,
};
use serde_json::Value;

/// What a run of an algorithm has to cost at N = 5.
struct Expected {
    algorithm: &'static str,
    /// `protocol` in the frame header.
    number: u16,
    /// The first of its ports.
    port: u16,
    verdict: &'static str,
    operations: u64,
    /// What the comparison has in the columns formula, sent and received: the same in all three, but
    /// for messages that nobody can receive. None where timing decides.
    table: Option<[u64; 3]>,
    /// Kind's number in the frame header, name, messages on the wire.
    kinds: &'static [(u16, &'static str, RangeInclusive<u64>)],
}

const fn exact(
    algorithm: &'static str,
    number: u16,
    port: u16,
    operations: u64,
    messages: u64,
    kinds: &'static [(u16, &'static str, RangeInclusive<u64>)],
) -> Expected {
    Expected {
        algorithm,
        number,
        port,
        verdict: "exact",
        operations,
        table: Some([messages; 3]),
        kinds,
    }
}

/// The same where timing or chance decides how many.
const fn varies(
    algorithm: &'static str,
    number: u16,
    port: u16,
    operations: u64,
    verdict: &'static str,
    kinds: &'static [(u16, &'static str, RangeInclusive<u64>)],
) -> Expected {
    Expected {
        algorithm,
        number,
        port,
        verdict,
        operations,
        table: None,
        kinds,
    }
}

/// By the literature, N = 5 and one operation (for mutual exclusion, one entry by each process).
const EXPECTED: [Expected; 21] = [
    // 2(N-1): one exchange a member.
    exact(
        "centralized",
        1,
        7000,
        4,
        8,
        &[(1, "join", 4..=4), (2, "list", 4..=4)],
    ),
    // 2(N-1) for one newcomer.
    exact(
        "distributed",
        4,
        6000,
        1,
        8,
        &[(1, "hello", 4..=4), (2, "reply", 4..=4)],
    ),
    // (N-1)^2 on a full mesh.
    exact("flooding", 5, 6100, 1, 16, &[(1, "flood", 16..=16)]),
    // Each of N-1 is told once at least; who is told when, chance decides.
    varies("gossip", 6, 6400, 1, "exact", &[(1, "push", 4..=1000)]),
    // k = 4 walkers of a time to live of T = 28 hops, each answered once at most.
    varies(
        "random-walk",
        7,
        6500,
        1,
        "exact",
        &[(1, "walk", 4..=112), (2, "found", 0..=4)],
    ),
    // N a circulation.
    exact("ring", 2, 7100, 1, 5, &[(1, "token", 5..=5)]),
    // 2N-1 to N(N+1)/2 by the order of identifiers, N to announce.
    varies(
        "chang-roberts",
        12,
        7600,
        1,
        "exact",
        &[(1, "election", 9..=15), (2, "elected", 5..=5)],
    ),
    // N includes the crashed coordinator: N^2-N-1 attempted, of which N-1 find a closed port.
    Expected {
        algorithm: "bully",
        number: 11,
        port: 7500,
        verdict: "explained",
        operations: 1,
        table: Some([19, 15, 15]),
        kinds: &[
            (1, "election", 6..=6),
            (2, "ok", 6..=6),
            (3, "coordinator", 3..=3),
        ],
    },
    // 4(N-1).
    exact(
        "two-phase-commit",
        3,
        8190,
        1,
        16,
        &[
            (1, "vote-request", 4..=4),
            (2, "vote-yes", 4..=4),
            (4, "commit", 4..=4),
            (6, "ack", 4..=4),
        ],
    ),
    // 6(N-1).
    exact(
        "three-phase-commit",
        16,
        8090,
        1,
        24,
        &[
            (1, "can-commit", 4..=4),
            (2, "vote-yes", 4..=4),
            (4, "pre-commit", 4..=4),
            (5, "ack", 4..=4),
            (6, "do-commit", 4..=4),
            (7, "have-committed", 4..=4),
        ],
    ),
    // 5(N-1).
    exact(
        "paxos",
        17,
        8290,
        1,
        20,
        &[
            (1, "prepare", 4..=4),
            (2, "promise", 4..=4),
            (3, "accept", 4..=4),
            (4, "accepted", 4..=4),
            (5, "learn", 4..=4),
        ],
    ),
    // N*S for S = 2 scripted sends.
    exact("lamport-clock", 8, 7200, 5, 10, &[(1, "message", 10..=10)]),
    // N(N-1) markers; the workload is 10 transfers a process.
    exact(
        "chandy-lamport",
        15,
        7900,
        1,
        70,
        &[(1, "marker", 20..=20), (2, "transfer", 50..=50)],
    ),
    // 3 an entry by another process than the coordinator, 0 by itself.
    exact(
        "central-mutex",
        21,
        8690,
        5,
        12,
        &[
            (1, "request", 4..=4),
            (2, "grant", 4..=4),
            (3, "release", 4..=4),
        ],
    ),
    // 3(N-1) an entry.
    exact(
        "lamport-mutex",
        9,
        7300,
        5,
        60,
        &[
            (1, "request", 20..=20),
            (2, "reply", 20..=20),
            (3, "release", 20..=20),
        ],
    ),
    // 2(N-1) an entry.
    exact(
        "ricart-agrawala",
        10,
        7400,
        5,
        40,
        &[(1, "request", 20..=20), (2, "reply", 20..=20)],
    ),
    // Quorums are row and column on a grid of 3 columns, 0 1 2 and 3 4: 3 + 3 + 2 + 2 + 2 others.
    varies(
        "maekawa",
        13,
        7700,
        5,
        "within",
        &[
            (1, "request", 12..=12),
            (2, "grant", 12..=29),
            (3, "release", 12..=12),
            (4, "inquire", 0..=17),
            (5, "failed", 0..=12),
            (6, "yield", 0..=17),
        ],
    ),
    // N-1 requests and a token an entry, none where the token is in hand: process 0 has it at first.
    varies(
        "suzuki-kasami",
        14,
        7800,
        5,
        "exact",
        &[(1, "request", 16..=20), (2, "token", 4..=5)],
    ),
    // 2(N-1) a candidacy, a heartbeat round and a round of appending, each at least once.
    varies(
        "raft",
        18,
        8390,
        1,
        "exact",
        &[
            (1, "request-vote", 4..=1000),
            (2, "vote-granted", 2..=1000),
            (3, "vote-denied", 0..=1000),
            (4, "heartbeat", 4..=1000),
            (5, "heartbeat-reply", 4..=1000),
            (6, "append-entries", 4..=1000),
            (7, "append-accepted", 4..=1000),
            (8, "append-rejected", 0..=1000),
        ],
    ),
    // 2N with request, reply and the acknowledgements back.
    exact(
        "chain-replication",
        19,
        8490,
        1,
        10,
        &[
            (1, "update", 1..=1),
            (2, "forward", 4..=4),
            (3, "update-reply", 1..=1),
            (4, "acknowledgement", 4..=4),
        ],
    ),
    // 2N(N-1): N-1, (N-1)^2, N(N-1).
    exact(
        "pbft",
        20,
        8590,
        1,
        40,
        &[
            (1, "pre-prepare", 4..=4),
            (2, "prepare", 16..=16),
            (3, "commit", 20..=20),
        ],
    ),
];

/// `run all -n 5` from beginning to end.
#[test]
fn all_algorithms_on_five_processes_cost_what_the_literature_says() {
    if !have_tools(&["tshark", "mergecap"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("study");
    let finished = run(wirewatt()
        .args(["run", "all", "-n", "5", "--out"])
        .arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let printed = &finished.stdout;
    let counts = table(
        printed,
        "algorithm|N|verdict|formula|sent|received|wire|packets|IP bytes|goodput",
    );
    let costs = table(
        printed,
        "algorithm|energy|CO2|operations|messages/op|IP bytes/op|energy/op",
    );
    let page = std::fs::read_to_string(out.join("comparison.html")).expect("a page");
    for rows in [&counts, &costs] {
        assert_eq!(rows.len(), EXPECTED.len(), "{printed}");
    }

    let captures = EXPECTED.map(|expected| out.join(expected.algorithm).join("capture.pcapng"));
    let capture = folder.path().join("all.pcapng");
    let merged = run(command("mergecap").arg("-w").arg(&capture).args(&captures));
    assert!(merged.status.success(), "{merged}");
    let wire = Wire::read(&capture);
    let protocols: BTreeSet<u16> = wire.frames.iter().map(|frame| frame.protocol).collect();
    assert_eq!(protocols, EXPECTED.map(|expected| expected.number).into());

    for (place, expected) in EXPECTED.iter().enumerate() {
        let name = expected.algorithm;
        let file = std::fs::read(out.join(name).join("report.json")).expect("a report");
        let report: Value = serde_json::from_slice(&file).expect("JSON");
        let messages = check_report(expected, &report);
        let record = std::fs::read_to_string(out.join(name).join("run.toml")).expect("a record");
        let record: toml::Table = record.parse().expect("TOML");
        let run = record["run"].as_integer().expect("the run's number");
        let kinds = wire.kinds(expected, run as u64);
        assert_eq!(kinds, messages, "{name}, read independently");

        let addresses = record["addresses"].as_array().expect("addresses").iter();
        let ports: Vec<u16> = addresses
            .map(|address| address.as_str().expect("text").parse().expect("an address"))
            .map(|address: SocketAddr| address.port())
            .collect();
        assert_eq!(ports[0], expected.port, "{name}");
        let (packets, bytes) = wire.packets(&ports);
        let row = protocol(&report, name);
        assert_eq!(count(row, "/packets/total"), packets, "{name}");
        assert_eq!(count(row, "/bytes/wire"), bytes, "{name}");

        let (cells, cost) = (&counts[place], &costs[place]);
        let total: u64 = messages.values().sum();
        assert_eq!(
            (&*cells[0], &*cells[1], &*cells[2]),
            (name, "5", expected.verdict)
        );
        if let Some(columns) = expected.table {
            assert_eq!(
                cells[3..6],
                columns.map(|count| count.to_string()),
                "{name}"
            );
        }
        assert_eq!(cells[6], total.to_string(), "{name}");
        assert_eq!(cells[7], packets.to_string(), "{name}");
        assert_eq!(
            cells[8].replace(',', ""),
            count(row, "/bytes/ip").to_string()
        );
        let goodput = 100.0 * value(row, "/goodput_share").as_f64().expect("a share");
        assert_eq!(cells[9], format!("{goodput:.1} %"), "{name}");

        assert_eq!(cost[0], name);
        for (cell, unit) in [(1, "J"), (2, "g"), (6, "J")] {
            let figure = cost[cell].strip_suffix(unit).unwrap_or_default();
            assert!(
                figure.contains(' ') && !figure.starts_with('0'),
                "{name}: {cost:?}"
            );
        }
        let operations: u64 = cost[3]
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("n");
        assert_eq!(operations, expected.operations, "{name}");
        let each = total as f64 / operations as f64;
        let printed: f64 = cost[4].parse().expect("a mean");
        assert!((printed - each).abs() <= 0.005, "{name}: {cost:?}");
        for cell in cells.iter().chain(cost) {
            assert!(
                page.contains(&format!(">{cell}<")),
                "{name}: {cell:?} in the page"
            );
        }
    }
}

/// Holds report and audit against the expectation, and gives the messages on the wire by kind.
fn check_report(expected: &Expected, report: &Value) -> BTreeMap<u16, u64> {
    let name = expected.algorithm;
    assert_eq!(broken_identities(report), Vec::<String>::new(), "{name}");
    let completeness = &report["completeness"];
    assert_eq!(completeness["state"], "proven", "{name}: {completeness}");
    let audit = &report["audit"];
    assert_eq!(audit["verdict"], expected.verdict, "{name}: {audit}");
    let rows = value(report, "/audit/rows").as_array().expect("rows");
    let sum = |account: &str| -> u64 { rows.iter().map(|row| count(row, account)).sum() };
    if let Some([formula, sent, received]) = expected.table {
        assert_eq!(sum("/expected"), formula, "{name}: {audit}");
        assert_eq!(sum("/attempted"), formula, "{name}: {audit}");
        assert_eq!(sum("/sent"), sent, "{name}: {audit}");
        assert_eq!(sum("/refused"), formula - sent, "{name}: {audit}");
        assert_eq!(sum("/received"), received, "{name}: {audit}");
        assert_eq!(sum("/handled"), received, "{name}: {audit}");
    }
    let row = protocol(report, name);
    let on_wire: BTreeMap<&str, u64> = expected
        .kinds
        .iter()
        .map(|(_, kind, _)| (*kind, row["messages_by_kind"][kind].as_u64().unwrap_or(0)))
        .collect();
    assert_eq!(
        sum("/wire"),
        on_wire.values().sum::<u64>(),
        "{name}: {audit}"
    );
    assert_eq!(count(row, "/messages"), sum("/wire"), "{name}: {audit}");
    for (_, kind, messages) in expected.kinds {
        assert!(messages.contains(&on_wire[kind]), "{name}: {on_wire:?}");
    }
    let numbered = expected
        .kinds
        .iter()
        .map(|(number, kind, _)| (*number, on_wire[kind]));
    numbered.filter(|(_, messages)| *messages > 0).collect()
}

/// The cells below a heading, which is given with its columns apart. Within a cell there is one
/// space at most, between two cells two.
fn table(printed: &str, heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim);
        cells
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut lines = printed
        .lines()
        .skip_while(|line| cells(line).join("|") != heading);
    assert!(lines.next().is_some(), "no table {heading:?} in {printed}");
    lines
        .take_while(|line| !line.is_empty())
        .map(cells)
        .collect()
}

/// A capture as tshark reads it.
struct Wire {
    frames: Vec<Frame>,
    /// Packets and their bytes by the lower of their ports: the listener's.
    packets: BTreeMap<u16, (u64, u64)>,
}

impl Wire {
    fn read(capture: &Path) -> Self {
        let fields = [
            "frame.len",
            "tcp.stream",
            "tcp.srcport",
            "tcp.dstport",
            "tcp.seq",
            "tcp.payload",
        ];
        let rows = tshark_fields(capture, "tcp", &fields);
        let mut packets = BTreeMap::new();
        for row in &rows {
            let port = |cell: usize| row[cell].parse::<u16>().expect("a port");
            let sum: &mut (u64, u64) = packets.entry(port(2).min(port(3))).or_default();
            sum.0 += 1;
            sum.1 += row[0].parse::<u64>().expect("a length");
        }
        let mut names = BTreeSet::new();
        let frames: Vec<Frame> = streams(&rows)
            .iter()
            .flat_map(|stream| frames(stream))
            .collect();
        for frame in &frames {
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
        }
        Self { frames, packets }
    }

    /// Messages by the number of their kind.
    /// Of one run: somebody else may have another one on this machine meanwhile.
    fn kinds(&self, expected: &Expected, run: u64) -> BTreeMap<u16, u64> {
        let mut kinds = BTreeMap::new();
        for frame in &self.frames {
            if (frame.protocol, frame.run) == (expected.number, run) {
                *kinds.entry(frame.kind).or_default() += 1;
            }
        }
        kinds
    }

    /// Packets and their bytes on these ports.
    fn packets(&self, ports: &[u16]) -> (u64, u64) {
        let those = ports.iter().filter_map(|port| self.packets.get(port));
        those.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }
}

/// The byte streams of a capture, one for each direction of each connection, put together by
/// sequence numbers relative to the SYN.
fn streams(rows: &[Vec<String>]) -> Vec<Vec<u8>> {
    let mut segments: BTreeMap<(&str, &str), BTreeMap<usize, Vec<u8>>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row[5].is_empty()) {
        let offset = row[4].parse::<usize>().expect("a sequence number") - 1;
        let payload = bytes_of_hex(&row[5]);
        let stream = segments.entry((&row[1], &row[2])).or_default();
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
