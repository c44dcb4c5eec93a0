//! The sample captures in `captures/` and the reports expected of them, to the last figure.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --test golden_captures` writes the reports anew where a change of
//! figures is meant; `scripts/make-captures` makes the captures anew as well.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Every value of a report by its place in it, but for the program's version and the port plan's
/// fingerprint, which every further protocol changes.
fn leaves(value: &Value, place: &str, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(member, &format!("{place}/{name}"), into);
            }
        }
        Value::Array(members) => {
            for (i, member) in members.iter().enumerate() {
                leaves(member, &format!("{place}/{i}"), into);
            }
        }
        _ if matches!(place, "/tool/version" | "/plan") => {}
        leaf => {
            into.insert(place.to_owned(), leaf.clone());
        }
    }
}

fn check(algorithm: &str, messages: u64) {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new(env!("CARGO_BIN_EXE_wirewatt"))
        .args(["analyze", "--json", &format!("captures/{algorithm}.pcapng")])
        .current_dir(root)
        .output()
        .expect("wirewatt starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout).expect("a JSON report");
    assert_eq!(report["protocols"][0]["name"], algorithm);
    assert_eq!(report["protocols"][0]["messages"], messages);

    let path = format!("{root}/captures/{algorithm}.report.json");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &output.stdout).expect("the expected report can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the expected report");
    let (mut found, mut expected) = (BTreeMap::new(), BTreeMap::new());
    leaves(&report, "", &mut found);
    leaves(
        &serde_json::from_str(&text).expect("JSON"),
        "",
        &mut expected,
    );
    let mut differences = Vec::new();
    for place in found.keys().chain(expected.keys()) {
        if found.get(place) != expected.get(place) {
            differences.push(format!(
                "{place}: found {:?}, expected {:?}",
                found.get(place),
                expected.get(place)
            ));
        }
    }
    differences.dedup();
    assert!(
        differences.is_empty(),
        "{algorithm}: say why in the commit if this is meant, and see the head of this file\n{}",
        differences.join("\n")
    );
}

#[test]
fn centralized() {
    check("centralized", 6);
}

#[test]
fn ring() {
    check("ring", 4);
}

#[test]
fn two_phase_commit() {
    check("two-phase-commit", 12);
}

/// From the last payload towards the listener to the first back, by tshark's times. In these captures
/// nothing is sent twice.
#[test]
fn answers_took_as_long_as_tshark_says() {
    if !common::have_tools(&["tshark"]) {
        return;
    }
    let mut answers = 0;
    for algorithm in ["centralized", "ring", "two-phase-commit"] {
        let file = format!("{}/captures/{algorithm}.pcapng", env!("CARGO_MANIFEST_DIR"));
        let fields = ["tcp.stream", "frame.time_epoch", "tcp.dstport"];
        let mut listeners = BTreeMap::new();
        for row in common::tshark_fields(
            Path::new(&file),
            "tcp.flags.syn == 1 && tcp.flags.ack == 0",
            &fields,
        ) {
            listeners.insert(row[0].clone(), row[2].clone());
        }
        let mut asked: BTreeMap<String, u64> = BTreeMap::new();
        let mut buckets: BTreeMap<String, u64> = BTreeMap::new();
        for row in common::tshark_fields(Path::new(&file), "tcp.len > 0", &fields) {
            let time: u64 = row[1].replace('.', "").parse().expect("nanoseconds");
            if listeners[&row[0]] == row[2] {
                asked.insert(row[0].clone(), time);
            } else if let Some(asked) = asked.remove(&row[0]) {
                // Eight buckets a power of two.
                let mut width = 1;
                while (time - asked) / width >= 16 {
                    width *= 2;
                }
                let start = (time - asked) / width * width;
                *buckets.entry(start.to_string()).or_default() += 1;
                answers += 1;
            }
        }
        let report =
            std::fs::read_to_string(file.replace("pcapng", "report.json")).expect("a report");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let turnaround = &report["protocols"][0]["latency"]["turnaround"]["buckets"];
        let none = serde_json::Map::new();
        let found: BTreeMap<String, u64> = turnaround
            .as_object()
            .unwrap_or(&none)
            .iter()
            .map(|(start, times)| (start.clone(), times.as_u64().expect("a count")))
            .collect();
        assert_eq!(found, buckets, "{algorithm}");
    }
    assert!(answers > 0);
}
