//! A hundred nodes as processes on one machine.

mod common;

use common::{count, free_ports, run, text, value, wirewatt};

#[test]
fn a_hundred_processes_run_and_every_account_is_exact() {
    // A busy machine is no dead participant.
    let patient = ["--option", "vote-timeout=60s"];
    for (algorithm, options, messages) in [
        ("ring", &[][..], 100),
        ("centralized", &[], 198),
        ("two-phase-commit", &patient, 396),
    ] {
        let out = tempfile::tempdir().expect("a temporary folder");
        let finished = run(wirewatt()
            .args(["run", algorithm, "-n", "100", "--json", "--timeout", "60s"])
            .args(options)
            .args(["--base-port", &free_ports(100).to_string(), "--out"])
            .arg(out.path().join("run")));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        let report = finished.json();
        assert_eq!(
            text(&report, "/audit/verdict"),
            "exact",
            "{}",
            report["audit"]
        );
        let rows = value(&report, "/audit/rows").as_array().expect("rows");
        let on_wire: u64 = rows.iter().map(|row| count(row, "/wire")).sum();
        assert_eq!(on_wire, messages, "{algorithm}");
    }
}

#[test]
fn more_than_the_machine_has_room_for_is_refused_before_anything_starts() {
    let out = tempfile::tempdir().expect("a temporary folder");
    for (arguments, expected) in [
        (
            ["two-phase-commit", "-n", "40000"],
            "hold 39999 connections at once, and the analysis keeps 32768 apart",
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
