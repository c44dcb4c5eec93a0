//! `run` and `audit` from the outside: every algorithm over every kind of connection, what the
//! options change, what a run leaves, and what tampering with it does to the verdict.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{
    Finished, broken_identities, command, count, free_ports, have_tools, protocol, protocols, run,
    text, tshark_fields, value, wirewatt,
};
use serde_json::Value;
use tempfile::TempDir;

const ALGORITHMS: [&str; 3] = ["centralized", "ring", "two-phase-commit"];
const MODES: [&str; 3] = ["persistent", "per-message", "per-exchange"];

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// `run …` on free ports, leaving `out`.
fn run_command(arguments: &[&str], out: &Path) -> Command {
    let mut command = wirewatt();
    command
        .arg("run")
        .args(arguments)
        .args(["--base-port", &free_ports(8).to_string(), "--out"])
        .arg(out);
    command
}

/// The same to its end, which has to be a good one; the report.
#[track_caller]
fn report_of(arguments: &[&str], out: &Path) -> Value {
    let finished = run(run_command(arguments, out).arg("--json"));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    finished.json()
}

/// Messages by the textbook: 2(N-1), N, 4(N-1) a round.
fn formula(algorithm: &str, n: u64, rounds: u64) -> u64 {
    rounds
        * match algorithm {
            "centralized" => 2 * (n - 1),
            "ring" => n,
            "two-phase-commit" => 4 * (n - 1),
            other => panic!("no formula for {other}"),
        }
}

/// Every account of every kind is the formula's, on a capture that is proven complete.
#[track_caller]
fn assert_exact(report: &Value, algorithm: &str, messages: u64) {
    assert_eq!(broken_identities(report), Vec::<String>::new());
    let state = text(report, "/completeness/state");
    assert_eq!(state, "proven", "{}", report["completeness"]);
    let verdict = text(report, "/audit/verdict");
    assert_eq!(verdict, "exact", "{}", report["audit"]);
    let rows = value(report, "/audit/rows").as_array().expect("rows");
    for account in [
        "expected",
        "attempted",
        "sent",
        "received",
        "handled",
        "wire",
    ] {
        let counts = rows.iter().map(|row| count(row, &format!("/{account}")));
        assert_eq!(counts.sum::<u64>(), messages, "{account}: {rows:?}");
    }
    for account in ["refused", "suppressed", "unknown"] {
        assert!(
            rows.iter()
                .all(|row| count(row, &format!("/{account}")) == 0)
        );
    }
    assert_eq!(count(protocol(report, algorithm), "/messages"), messages);
    assert_eq!(report["source"]["partial"], false);
}

#[test]
fn accounts_are_equal_for_every_algorithm_number_and_kind_of_connection() {
    let folder = folder();
    for algorithm in ALGORITHMS {
        for connections in MODES {
            for (n, rounds) in [(2, 1), (3, 4), (4, 1), (6, 2)] {
                let out = folder.path().join(format!("{algorithm}-{connections}-{n}"));
                let (n_text, rounds_text) = (n.to_string(), rounds.to_string());
                let arguments = [algorithm, "-n", &n_text, "--rounds", &rounds_text];
                let mode = ["--connections", connections];
                let report = report_of(&[&arguments[..], &mode].concat(), &out);
                assert_exact(&report, algorithm, formula(algorithm, n, rounds));
            }
        }
    }
}

/// The demand: all three, twenty times, every account equal every time.
#[test]
fn twenty_runs_of_all_three_are_exact_every_time() {
    let folder = folder();
    for i in 0..20 {
        let out = folder.path().join(i.to_string());
        let reports = report_of(&ALGORITHMS, &out);
        let reports = reports.as_array().expect("a report an algorithm");
        assert_eq!(reports.len(), ALGORITHMS.len());
        for (report, algorithm) in reports.iter().zip(ALGORITHMS) {
            assert_exact(report, algorithm, formula(algorithm, 4, 1));
        }
    }
}

/// N²-N-1 attempted, N(N-2) on the wire, and N-1 refused connections that the capture saw. A stall as
/// long as `ok-timeout` would make another leader; the runs wait for it side by side.
#[test]
fn the_bully_with_a_dead_coordinator_is_explained_by_refused_connections() {
    let folder = folder();
    let check = |connections: &str, n: u64| {
        let out = folder.path().join(format!("{connections}-{n}"));
        let (n_text, patience) = (n.to_string(), ["ok-timeout=5s", "coordinator-timeout=15s"]);
        let mut arguments = vec!["bully", "-n", &n_text, "--connections", connections];
        arguments.extend(patience.iter().flat_map(|option| ["--option", option]));
        let report = report_of(&arguments, &out);
        assert_eq!(text(&report, "/audit/verdict"), "explained");
        let rows = value(&report, "/audit/rows").as_array().expect("rows");
        let sum = |account: &str| -> u64 {
            let counts = rows.iter().map(|row| count(row, &format!("/{account}")));
            counts.sum()
        };
        assert_eq!(sum("expected"), n * n - n - 1);
        assert_eq!(sum("attempted"), n * n - n - 1);
        assert_eq!(sum("refused"), n - 1);
        assert_eq!(sum("wire"), n * (n - 2));
        assert_eq!(sum("handled"), n * (n - 2));
        let refused = count(protocol(&report, "bully"), "/refused_connections");
        assert_eq!(refused, n - 1, "and no connection but those was refused");
    };
    std::thread::scope(|scope| {
        for connections in MODES {
            for n in [4, 5] {
                let check = &check;
                scope.spawn(move || check(connections, n));
            }
        }
    });
}

#[test]
fn connections_cost_what_their_kind_costs() {
    let folder = folder();
    let connections_of = |mode: &str| {
        let out = folder.path().join(mode);
        let report = report_of(&["two-phase-commit", "--connections", mode], &out);
        count(protocol(&report, "two-phase-commit"), "/connections")
    };
    // One a pair of neighbours; one a message; one a request with its reply.
    assert_eq!(MODES.map(connections_of), [3, 12, 6]);
}

/// `docs/wire-format.md`: the body becomes an array of itself (null where it was empty) and a byte
/// string.
#[test]
fn a_payload_adds_exactly_its_encoding_to_every_body() {
    let folder = folder();
    let bytes = |payload: &str| {
        let out = folder.path().join(payload);
        let report = report_of(&["two-phase-commit", "--payload", payload], &out);
        assert_exact(&report, "two-phase-commit", 12);
        let row = protocol(&report, "two-phase-commit");
        let layer = |name: &str| count(row, &format!("/bytes/{name}"));
        (layer("message"), layer("framing"), layer("payload"))
    };
    let bare = bytes("0");
    // A head of one byte for the array; for the string 1, 2, 3 or 5 bytes by its length (RFC 8949,
    // section 3). Votes and acknowledgements have no body: 6 nulls.
    for (payload, heads) in [(1, 2), (23, 2), (24, 3), (255, 3), (256, 4), (65_536, 6)] {
        let padded = bytes(&payload.to_string());
        assert_eq!(
            padded.0 - bare.0,
            12 * (payload + heads) + 6,
            "--payload {payload}"
        );
        assert_eq!(padded.1, bare.1, "headers stay as they are");
        assert_eq!(padded.2, padded.0 + padded.1);
    }
}

#[test]
fn nodes_listen_where_they_were_told_to() {
    let folder = folder();
    let base = free_ports(3);
    let finished = run(wirewatt()
        .args([
            "run",
            "ring",
            "-n",
            "3",
            "--json",
            "--base-port",
            &base.to_string(),
            "--out",
        ])
        .arg(folder.path().join("run")));
    let report = finished.json();
    let ports = format!("{}-{}", base, base + 2);
    assert_eq!(text(protocol(&report, "ring"), "/ports"), ports);
    let record = std::fs::read_to_string(folder.path().join("run/run.toml")).expect("a record");
    assert!(
        record.contains(&format!("127.0.0.1:{}", base + 2)),
        "{record}"
    );
}

#[test]
fn a_run_without_a_folder_makes_one_that_tells_time_and_algorithm() {
    let folder = folder();
    let finished = run(wirewatt()
        .args(["run", "ring", "--base-port", &free_ports(4).to_string()])
        .current_dir(folder.path()));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let runs = folder.path().join("wirewatt-runs");
    let entries = std::fs::read_dir(&runs).expect("a folder of runs");
    let names: Vec<PathBuf> = entries.map(|entry| entry.expect("listed").path()).collect();
    assert_eq!(names.len(), 1);
    assert!(names[0].to_string_lossy().ends_with("-ring"), "{names:?}");
    let told = format!(
        "run folder: wirewatt-runs/{}",
        names[0].file_name().unwrap().display()
    );
    assert!(finished.stderr.contains(&told), "{finished}");
    for name in [
        "run.toml",
        "capture.pcapng",
        "ledger.jsonl",
        "history.jsonl",
        "report.json",
        "report.html",
        "charts/traffic.svg",
        "charts/traffic.png",
        "charts/bytes-by-layer.svg",
        "charts/bytes-by-layer.png",
    ] {
        let length = std::fs::metadata(names[0].join(name)).map(|file| file.len());
        assert!(
            length.is_ok_and(|length| length > 0),
            "{name} is missing or empty"
        );
    }
    let left_over = |name: &Path| name.extension().is_some_and(|extension| extension == "new");
    let mut files = std::fs::read_dir(&names[0]).expect("listed");
    assert!(!files.any(|file| left_over(&file.expect("listed").path())));
}

#[test]
fn several_algorithms_are_compared() {
    let folder = folder();
    let out = folder.path().join("study");
    let finished = run(&mut run_command(
        &["two-phase-commit", "ring", "-n", "3"],
        &out,
    ));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let table = finished
        .stdout
        .rsplit_once("algorithm  ")
        .expect("a table")
        .1;
    let whole = &finished.stdout;
    assert!(
        whole.contains("TWO-PHASE-COMMIT\n") && whole.contains("RING\n"),
        "{whole}"
    );
    assert!(
        table.contains("two-phase-commit") && table.contains("ring"),
        "{table}"
    );
    let page = std::fs::read_to_string(out.join("comparison.html")).expect("a page");
    assert!(page.contains("two-phase-commit") && page.contains("ring"));
    assert!(out.join("ring/report.html").exists());
    let chart = std::fs::read_to_string(out.join("charts/messages.svg")).expect("a chart");
    assert!(chart.contains("ring, n = 3") && chart.contains("two-phase-commit, n = 3"));

    // Nothing is compared, and no page overwritten, when nothing was run.
    let again = run(&mut run_command(
        &["two-phase-commit", "ring", "-n", "3"],
        &out,
    ));
    assert_eq!(again.status.code(), Some(2), "{again}");
    assert_eq!(again.stdout, "", "{again}");
    let same = std::fs::read_to_string(out.join("comparison.html")).expect("a page");
    assert_eq!(same, page);
}

#[test]
fn an_option_goes_to_the_algorithm_that_has_it() {
    let folder = folder();
    let out = folder.path().join("study");
    let option = ["--option", "vote-no=2"];
    let reports = report_of(&[&ALGORITHMS[..], &option].concat(), &out);
    // 3 requests, 3 votes, 2 aborts to those who voted yes and 2 acknowledgements.
    assert_exact(&reports[2], "two-phase-commit", 10);
    assert_exact(&reports[1], "ring", 4);
}

#[test]
fn reports_are_as_the_schema_says() {
    let schema = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/report.schema.json"
    ));
    let schema = serde_json::from_slice(&schema.expect("a schema")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let folder = folder();
    let out = folder.path().join("study");
    let reports = report_of(&["all"], &out);
    for report in reports.as_array().expect("several") {
        let errors: Vec<_> = validator
            .iter_errors(report)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let written = std::fs::read(out.join("ring/report.json")).expect("a report");
    let written: Value = serde_json::from_slice(&written).expect("JSON");
    let mut reports = reports.as_array().expect("several").iter();
    let ring = reports.find(|report| report["run"]["algorithm"] == "ring");
    assert_eq!(Some(&written), ring);
}

/// A run to tamper with.
fn sample_run(folder: &Path) -> PathBuf {
    let out = folder.join("run");
    let report = report_of(&["two-phase-commit", "--rounds", "2"], &out);
    assert_exact(&report, "two-phase-commit", 24);
    out
}

fn audited(folder: &Path) -> Finished {
    run(wirewatt().args(["audit", "--json"]).arg(folder))
}

/// Keeps the bytes of a report that say what was counted.
fn protocols_as_written(json: &str) -> &str {
    let start = json.find("\"protocols\": [").expect("protocols");
    let end = json.find("\"unclassified\"").expect("unclassified");
    &json[start..end]
}

#[test]
fn a_folder_brings_the_same_report_again() {
    let folder = folder();
    for algorithm in ALGORITHMS {
        let out = folder.path().join(algorithm);
        report_of(&[algorithm, "--rounds", "3"], &out);
        let live = std::fs::read_to_string(out.join("report.json")).expect("a report");
        // From elsewhere, too: a run's folder may be moved.
        let moved = folder.path().join(format!("{algorithm}-moved"));
        std::fs::rename(&out, &moved).expect("renamed");
        let again = audited(&moved);
        assert_eq!(again.status.code(), Some(0), "{again}");
        assert_eq!(
            protocols_as_written(&again.stdout),
            protocols_as_written(&live)
        );
        let live: Value = serde_json::from_str(&live).expect("JSON");
        assert!(!protocols(&live).is_empty());
        for part in ["audit", "completeness", "unclassified", "undecoded"] {
            assert_eq!(again.json()[part], live[part], "{part}");
        }
        let text = run(wirewatt().arg("audit").arg(&moved));
        assert!(
            text.stdout.contains("exact: all accounts are equal"),
            "{text}"
        );
    }
}

/// Changes the ledger's lines and looks at the verdict.
#[track_caller]
fn assert_tampered(run: &Path, change: impl FnOnce(&mut Vec<String>), code: i32, verdict: &str) {
    let path = run.join("ledger.jsonl");
    let original = std::fs::read_to_string(&path).expect("a ledger");
    let mut lines: Vec<String> = original.lines().map(str::to_owned).collect();
    change(&mut lines);
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
    let audited = audited(run);
    std::fs::write(&path, original).expect("written");
    assert_eq!(audited.status.code(), Some(code), "{audited}");
    assert_eq!(text(&audited.json(), "/audit/verdict"), verdict);
}

fn first(lines: &[String], part: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(part));
    found.unwrap_or_else(|| panic!("no {part} in the ledger"))
}

#[test]
fn a_tampered_ledger_is_a_mismatch() {
    let folder = folder();
    let run = sample_run(folder.path());
    for event in ["attempted", "sent", "arrived", "handled"] {
        let event = format!("\"event\":\"{event}\"");
        let drop_one = |lines: &mut Vec<String>| {
            lines.remove(first(lines, &event));
        };
        assert_tampered(&run, drop_one, 1, "mismatch");
        let double = |lines: &mut Vec<String>| lines.push(lines[first(lines, &event)].clone());
        assert_tampered(&run, double, 1, "mismatch");
        let other_kind = |lines: &mut Vec<String>| {
            let is_request =
                |line: &&mut String| line.contains(&event) && line.contains("vote-request");
            let line = lines.iter_mut().find(is_request).expect("a request");
            *line = line.replace("vote-request", "vote-no");
        };
        assert_tampered(&run, other_kind, 1, "mismatch");
    }
    assert_tampered(&run, |_| {}, 0, "exact");
}

#[test]
fn a_ledger_line_that_is_none_is_named_and_of_a_torn_one_nobody_can_tell() {
    let folder = folder();
    let run = sample_run(folder.path());
    let ledger = run.join("ledger.jsonl");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&ledger)
        .expect("a ledger");
    file.write_all(b"{\"event\":\"attempted\",\"time\":17953")
        .expect("written");
    let torn = audited(&run);
    assert_eq!(torn.status.code(), Some(2), "{torn}");
    let report = torn.json();
    assert_eq!(text(&report, "/audit/verdict"), "inconclusive");
    assert_eq!(
        text(&report, "/audit/remarks/0"),
        "the ledger has 1 torn line: the event on it is in no account"
    );

    let lines = common::lines_in(&ledger);
    file.write_all(b"\n").expect("written");
    let refused = audited(&run);
    assert_eq!(refused.status.code(), Some(2), "{refused}");
    let place = format!("ledger.jsonl, line {}: not a ledger record", lines + 1);
    assert!(refused.stderr.contains(&place), "{refused}");
}

/// What formulas ask is in the history: a note that is missing made a wrong number a good one.
#[test]
fn a_torn_history_and_a_ledger_that_could_not_be_written_agree_with_nothing() {
    let folder = folder();
    let run = sample_run(folder.path());
    let history = run.join("history.jsonl");
    let whole = std::fs::read(&history).expect("a history");
    std::fs::write(&history, &whole[..whole.len() - 1]).expect("written");
    let torn = audited(&run);
    assert_eq!(torn.status.code(), Some(2), "{torn}");
    let report = torn.json();
    assert_eq!(text(&report, "/audit/verdict"), "inconclusive");
    assert!(value(&report, "/audit/rows/0/expected").is_null());
    std::fs::write(&history, whole).expect("written");

    // A ledger that a node could not write to its end is none, for the run and for its folder.
    let record = std::fs::read_to_string(run.join("run.toml")).expect("run.toml");
    let failed = record.replace("[outcome]\n", "[outcome]\nledger_failed = true\n");
    assert_ne!(failed, record);
    std::fs::write(run.join("run.toml"), failed).expect("written");
    let failed = audited(&run);
    assert_eq!(failed.status.code(), Some(2), "{failed}");
    assert!(failed.json().get("audit").is_none(), "{failed}");
    assert!(failed.stderr.contains("could not write their ledger"));
}

#[test]
fn a_cut_capture_is_inconclusive() {
    let folder = folder();
    let run = sample_run(folder.path());
    let capture = run.join("capture.pcapng");
    let whole = std::fs::read(&capture).expect("a capture");
    for kept in [whole.len() - 1, whole.len() / 2] {
        std::fs::write(&capture, &whole[..kept]).expect("written");
        let audited = audited(&run);
        assert_eq!(audited.status.code(), Some(2), "{audited}");
        let report = audited.json();
        assert_eq!(text(&report, "/completeness/state"), "incomplete");
        assert_eq!(report["source"]["partial"], true);
        assert!(audited.stderr.contains("cut in the middle"), "{audited}");
    }
    let verdict = text(&audited(&run).json(), "/audit/verdict").to_owned();
    assert_eq!(verdict, "inconclusive");
}

#[test]
fn a_capture_without_one_of_its_packets_is_inconclusive() {
    if !have_tools(&["editcap", "tshark"]) {
        return;
    }
    let folder = folder();
    let run_folder = sample_run(folder.path());
    let capture = run_folder.join("capture.pcapng");
    // Of this run: other tests' packets are on the same loopback.
    let record = std::fs::read_to_string(run_folder.join("run.toml")).expect("run.toml");
    let record: toml::Table = record.parse().expect("TOML");
    let ports: Vec<&str> = record["addresses"]
        .as_array()
        .expect("addresses")
        .iter()
        .filter_map(|address| address.as_str()?.rsplit(':').next())
        .collect();
    let filter = format!("tcp.len > 0 && tcp.port in {{{}}}", ports.join(", "));
    let data = tshark_fields(&capture, &filter, &["frame.number"]);
    let whole = folder.path().join("whole.pcapng");
    std::fs::rename(&capture, &whole).expect("renamed");
    // In the middle of a stream, and the last of all: no later sequence number shows that gap, an
    // acknowledgement beyond it does.
    for row in [data.len() / 2, data.len() - 1] {
        let finished = run(command("editcap")
            .arg(&whole)
            .arg(&capture)
            .arg(&data[row][0]));
        assert!(finished.status.success(), "{finished}");
        let audited = audited(&run_folder);
        assert_eq!(audited.status.code(), Some(2), "{audited}");
        assert_eq!(text(&audited.json(), "/audit/verdict"), "inconclusive");
    }
}

#[test]
fn a_scenario_without_faults_says_that_it_injects_nothing() {
    let folder = folder();
    let scenario = folder.path().join("calm.toml");
    std::fs::write(&scenario, "algorithm = \"ring\"\nn = 3\n").expect("a scenario");
    let scenario = scenario.to_str().expect("UTF-8");
    let words = "calm.toml has no [[fault]]: nothing is injected";
    for (further, told) in [(&[][..], true), (&["--fault", "delay=1ms"], false)] {
        let out = tempfile::tempdir().expect("a temporary folder");
        let arguments = [&["--scenario", scenario], further].concat();
        let finished = run(&mut run_command(&arguments, out.path()));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        assert_eq!(finished.stderr.contains(words), told, "{finished}");
    }
}
