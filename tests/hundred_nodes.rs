//! A hundred nodes as processes on one machine.

mod common;

use std::ops::RangeInclusive;

use common::{count, free_ports, run, text, value, wirewatt};

/// Algorithms, options with which a busy machine is no dead participant, and messages by the
/// literature at N = 100; an interval where timing or chance decides.
const HUNDRED: [(&str, &[&str], RangeInclusive<u64>); 10] = [
    // N a circulation.
    ("ring", &[], 100..=100),
    // 2(N-1).
    ("centralized", &[], 198..=198),
    // 4(N-1), 6(N-1), 5(N-1).
    ("two-phase-commit", &["vote-timeout=60s"], 396..=396),
    ("three-phase-commit", &["timeout=60s"], 594..=594),
    ("paxos", &["timeout=60s"], 495..=495),
    // 3 an entry, none by the coordinator.
    ("central-mutex", &[], 297..=297),
    // N an entry, none where the token is in hand: process 0 has it at first.
    ("suzuki-kasami", &[], 9900..=10_000),
    // 2N-1 where identifiers ascend, N to announce.
    ("chang-roberts", &["order=ascending"], 299..=299),
    // k = 12 walkers, of T = 99 hops each and one answer at most.
    ("random-walk", &["walkers=12", "ttl=99"], 12..=1200),
    // 2N with a client.
    ("chain-replication", &[], 200..=200),
];

#[test]
fn a_hundred_processes_run_and_every_account_is_exact() {
    for (algorithm, options, messages) in HUNDRED {
        let out = tempfile::tempdir().expect("a temporary folder");
        let options = options.iter().flat_map(|option| ["--option", option]);
        let finished = run(wirewatt()
            .args(["run", algorithm, "-n", "100", "--json", "--timeout", "60s"])
            .args(options)
            .args(["--base-port", &free_ports(101).to_string(), "--out"])
            .arg(out.path().join("run")));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        let report = finished.json();
        let audit = &report["audit"];
        assert_eq!(text(&report, "/audit/verdict"), "exact", "{audit}");
        let rows = value(&report, "/audit/rows").as_array().expect("rows");
        let on_wire: u64 = rows.iter().map(|row| count(row, "/wire")).sum();
        assert!(messages.contains(&on_wire), "{algorithm}: {on_wire}");
    }
}

#[test]
fn more_than_the_machine_has_room_for_is_refused_before_anything_starts() {
    let out = tempfile::tempdir().expect("a temporary folder");
    for (arguments, expected) in [
        (
            ["lamport-mutex", "-n", "1500"],
            "hold 1124250 connections at once, and the analysis keeps 1048576 apart",
        ),
        (["ring", "-n", "60000"], "need ports above 65535"),
    ] {
        let left = out.path().join("run");
        let finished = run(wirewatt()
            .arg("run")
            .args(arguments)
            .args(["--base-port", "20000", "--out"])
            .arg(&left));
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        assert!(finished.stderr.contains(expected), "{finished}");
        assert!(!left.exists());
    }
}
