//! The audit of single messages from the outside: what tampering with a ledger does that leaves
//! every number as it was, and what is said of messages that a killed process had not read.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Finished, children, count, free_ports, run, start, text, value, wirewatt};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// One committed transaction among four: twelve messages.
fn committed(folder: &Path) -> PathBuf {
    let out = folder.join("run");
    let port = free_ports(4).to_string();
    let finished = run(wirewatt()
        .args(["run", "two-phase-commit", "-n", "4", "--json"])
        .args(["--base-port", &port, "--out"])
        .arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let report = finished.json();
    assert_eq!(text(&report, "/audit/verdict"), "exact");
    assert_eq!(count(&report, "/audit/messages/matched"), 12);
    assert_eq!(
        value(&report, "/audit/messages/findings"),
        &Value::Array(Vec::new())
    );
    out
}

fn audited(folder: &Path) -> Finished {
    run(wirewatt().args(["audit", "--json"]).arg(folder))
}

/// The audit of a run whose ledger was changed: each record may be kept, left out or doubled.
fn tampered(run: &Path, change: impl Fn(&Value) -> Vec<Value>) -> Finished {
    let path = run.join("ledger.jsonl");
    let ledger = std::fs::read_to_string(&path).expect("a ledger");
    let records = ledger
        .lines()
        .flat_map(|line| change(&serde_json::from_str(line).expect("a record")));
    let changed: String = records.map(|record| format!("{record}\n")).collect();
    assert_ne!(
        changed.lines().collect::<Vec<_>>(),
        ledger.lines().collect::<Vec<_>>()
    );
    std::fs::write(&path, changed).expect("written");
    audited(run)
}

/// Finding and number of messages.
fn findings(report: &Value) -> Vec<(&str, u64)> {
    let findings = value(report, "/audit/messages/findings")
        .as_array()
        .expect("an array");
    let finding = |one| (text(one, "/finding"), count(one, "/messages"));
    findings.iter().map(finding).collect()
}

/// Every account of this kind says three.
#[track_caller]
fn assert_numbers_agree(report: &Value, kind: &str) {
    let rows = value(report, "/audit/rows").as_array().expect("rows");
    let row = rows.iter().find(|row| row["kind"] == kind).expect("a row");
    for account in [
        "expected",
        "attempted",
        "sent",
        "wire",
        "received",
        "handled",
    ] {
        assert_eq!(row[account], 3, "{account}: {row}");
    }
}

#[test]
fn a_lost_message_and_a_doubled_one_that_leave_all_numbers_equal_are_a_mismatch() {
    let folder = folder();
    let run = committed(folder.path());
    // The acknowledgement of process 1 was never received, and that of process 2 twice.
    let audited = tampered(&run, |record| {
        let receipt = record["kind"] == "ack" && record["node"] == 0;
        match record["peer"].as_u64() {
            Some(1) if receipt => Vec::new(),
            Some(2) if receipt => vec![record.clone(), record.clone()],
            _ => vec![record.clone()],
        }
    });
    assert_eq!(audited.status.code(), Some(1), "{audited}");
    let report = audited.json();
    assert_numbers_agree(&report, "ack");
    assert_eq!(text(&report, "/audit/verdict"), "mismatch");
    assert_eq!(count(&report, "/audit/messages/matched"), 10);
    assert_eq!(
        findings(&report),
        [
            ("handled-twice", 1),
            ("received-twice", 1),
            ("not-received", 1)
        ]
    );
    let senders: Vec<u64> = ["0", "1"]
        .map(|at| count(&report, &format!("/audit/messages/unmatched/{at}/sender")))
        .into();
    assert_eq!(senders, [2, 1]);
}

#[test]
fn two_messages_with_their_kinds_swapped_in_the_ledger_are_a_mismatch() {
    let folder = folder();
    let run = committed(folder.path());
    // Process 1 calls its vote an acknowledgement, and its acknowledgement a vote. Its receiver too.
    let audited = tampered(&run, |record| {
        let mut record = record.clone();
        if record["node"] == 1 || record["peer"] == 1 {
            let swapped = match record["kind"].as_str() {
                Some("vote-yes") => "ack",
                Some("ack") => "vote-yes",
                _ => return vec![record],
            };
            record["kind"] = swapped.into();
        }
        vec![record]
    });
    assert_eq!(audited.status.code(), Some(1), "{audited}");
    let report = audited.json();
    assert_numbers_agree(&report, "ack");
    assert_numbers_agree(&report, "vote-yes");
    assert_eq!(findings(&report), [("header-differs", 2)]);
}

#[test]
fn a_receipt_booked_to_another_sender_is_a_mismatch() {
    let folder = folder();
    let run = committed(folder.path());
    // The coordinator says that both acknowledgements, of processes 1 and 2, came from process 1.
    let audited = tampered(&run, |record| {
        let mut record = record.clone();
        if record["kind"] == "ack" && record["node"] == 0 && record["peer"] == 2 {
            record["peer"] = 1.into();
        }
        vec![record]
    });
    assert_eq!(audited.status.code(), Some(1), "{audited}");
    assert_numbers_agree(&audited.json(), "ack");
}

/// What a killed process had not read is explained by its death, whichever way connections are
/// used; and what was sent to it later by refused connections to its port.
#[test]
fn messages_to_a_killed_process_are_explained_one_by_one() {
    for connections in ["persistent", "per-message", "per-exchange"] {
        let folder = folder();
        let out = folder.path().join("run");
        let port = free_ports(4).to_string();
        let mut running = start(
            wirewatt()
                .args([
                    "run",
                    "two-phase-commit",
                    "-n",
                    "4",
                    "--rounds",
                    "5000",
                    "--json",
                ])
                .args(["--timeout", "3s", "--connections", connections])
                .args(["--base-port", &port, "--out"])
                .arg(&out),
        );
        let ledger = out.join("ledger.jsonl");
        running.wait_for("a hundred records", Duration::from_secs(30), || {
            common::lines_in(&ledger) > 100
        });
        common::signal(children(running.pid())[2], Signal::KILL);
        let finished = running.finish(common::COMMAND_LIMIT);
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        let report = finished.json();
        assert_eq!(
            text(&report, "/completeness/state"),
            "proven",
            "{connections}"
        );
        let verdict = text(&report, "/audit/verdict");
        let audit = value(&report, "/audit");
        // Where nothing was in flight, the accounts may even be equal.
        let disagrees = ["mismatch", "inconclusive"].contains(&verdict);
        assert!(!disagrees, "{connections}: {audit:#}");
        assert!(count(&report, "/audit/messages/matched") > 10);
        let again = audited(&out).json();
        assert_eq!(value(&again, "/audit"), audit, "{connections}");
    }
}

/// The verdict on a capture and a ledger that stand alone.
fn beside_ledger(run_folder: &Path, arguments: &[&str]) -> Finished {
    run(wirewatt()
        .args(["audit", "--json"])
        .arg(run_folder.join("capture.pcapng"))
        .arg("--ledger")
        .arg(run_folder.join("ledger.jsonl"))
        .args(arguments))
}

#[test]
fn a_capture_is_held_against_a_ledger_without_a_runs_folder() {
    let folder = folder();
    let run_folder = committed(folder.path());
    let record = std::fs::read_to_string(run_folder.join("run.toml")).expect("run.toml");
    let record: toml::Table = record.parse().expect("TOML");
    let port = |i: usize| {
        let address = record["addresses"][i].as_str().expect("an address");
        address.rsplit(':').next().expect("a port").to_owned()
    };
    let ports = format!("two-phase-commit={}-{}:wirewatt", port(0), port(3));
    let alone = beside_ledger(&run_folder, &["--protocol", &ports]);
    assert_eq!(alone.status.code(), Some(0), "{alone}");
    let report = alone.json();
    assert_eq!(text(&report, "/audit/verdict"), "exact");
    assert_eq!(count(&report, "/audit/messages/matched"), 12);
    // There is no formula where nobody says what was run.
    assert!(value(&report, "/audit/rows/0/expected").is_null());
    assert!(report.get("run").is_none());

    // What a torn line told is in no account.
    let ledger = run_folder.join("ledger.jsonl");
    let lines = std::fs::read_to_string(&ledger).expect("a ledger");
    std::fs::write(&ledger, format!("{lines}{{\"event\":\"sent\"")).expect("written");
    let torn = beside_ledger(&run_folder, &["--protocol", &ports]);
    assert_eq!(torn.status.code(), Some(2), "{torn}");
    let torn = torn.json();
    assert_eq!(text(&torn, "/audit/verdict"), "inconclusive");
    assert!(text(&torn, "/audit/remarks/0").contains("1 torn line"));
    std::fs::write(&ledger, lines).expect("written");

    // A ledger of two runs needs to be told which.
    let ledger = run_folder.join("ledger.jsonl");
    let lines = std::fs::read_to_string(&ledger).expect("a ledger");
    let own = record["run"].as_integer().expect("a run").to_string();
    let other = lines.replace(&format!("\"run\":{own},"), "\"run\":7,");
    std::fs::write(&ledger, format!("{lines}{other}")).expect("written");
    let refused = beside_ledger(&run_folder, &["--protocol", &ports]);
    assert_eq!(refused.status.code(), Some(2), "{refused}");
    assert!(
        refused.stderr.contains("choose one with --run: 7, "),
        "{refused}"
    );
    let chosen = beside_ledger(&run_folder, &["--protocol", &ports, "--run", &own]);
    assert_eq!(chosen.status.code(), Some(0), "{chosen}");
    // Of the other run nothing is on the wire. A saved capture proves no absence.
    let chosen = beside_ledger(&run_folder, &["--protocol", &ports, "--run", "7"]);
    assert_eq!(chosen.status.code(), Some(2), "{chosen}");
    assert_eq!(findings(&chosen.json()), [("maybe-lost-by-capture", 12)]);
}

#[test]
fn a_death_that_is_told_explains_what_was_not_read() {
    let folder = folder();
    let run_folder = committed(folder.path());
    // Process 3 never read the decision.
    tampered(&run_folder, |record| {
        let receipt = record["node"] == 3 && record["kind"] == "commit";
        if receipt {
            Vec::new()
        } else {
            vec![record.clone()]
        }
    });
    let record = std::fs::read_to_string(run_folder.join("run.toml")).expect("run.toml");
    let record: toml::Table = record.parse().expect("TOML");
    let address = record["addresses"][0].as_str().expect("an address");
    let base: u16 = address
        .rsplit(':')
        .next()
        .expect("a port")
        .parse()
        .expect("a number");
    let ports = format!("two-phase-commit={base}-{}:wirewatt", base + 3);
    let untold = beside_ledger(&run_folder, &["--protocol", &ports]);
    assert_eq!(untold.status.code(), Some(1), "{untold}");
    assert_eq!(findings(&untold.json()), [("not-received", 1)]);
    let told = beside_ledger(&run_folder, &["--protocol", &ports, "--killed", "3"]);
    assert_eq!(told.status.code(), Some(0), "{told}");
    assert_eq!(findings(&told.json()), [("killed-unread", 1)]);
    // Of nobody in the run: it would have excused nothing, and nobody would have known.
    let nobody = beside_ledger(&run_folder, &["--protocol", &ports, "--killed", "4"]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody}");
    assert!(nobody.stderr.contains("has no process 4"), "{nobody}");
}

/// The recording's statistics say that nothing was dropped. That was told as unknown.
#[test]
fn what_a_recording_counted_as_no_drop_is_a_known_none() {
    let folder = folder();
    let capture = committed(folder.path()).join("capture.pcapng");
    let analyzed = run(wirewatt().args(["analyze", "--json"]).arg(&capture));
    let report = analyzed.json();
    assert_eq!(count(&report, "/completeness/packets_dropped"), 0);
    assert_eq!(count(&report, "/completeness/softnet_dropped"), 0);
    // Without the last block, which holds them, nobody knows.
    let bytes = std::fs::read(&capture).expect("a capture");
    let length = |at: &[u8]| u32::from_le_bytes(at.try_into().expect("four bytes")) as usize;
    let last = length(&bytes[bytes.len() - 4..]);
    std::fs::write(&capture, &bytes[..bytes.len() - last]).expect("written");
    let report = run(wirewatt().args(["analyze", "--json"]).arg(&capture)).json();
    assert!(value(&report, "/completeness/packets_dropped").is_null());
    assert!(value(&report, "/completeness/softnet_dropped").is_null());
}
