//! `export`: every table, with the values of the report, whatever names a capture brought.

mod common;
mod report_fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use common::{free_ports, run, wirewatt};
use serde_json::{Value, json};
use wirewatt::report::export::{
    CONNECTIONS, ExportFormat, ExportTable, LogColumn, MESSAGES, SWEEP_TABLES, TABLES, export,
};
use wirewatt::report::{Report, json as report_json};

type Row = BTreeMap<String, String>;

fn csv(folder: &Path, table: &str) -> Vec<Row> {
    let path = folder.join(format!("{table}.csv"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn exported(report: Report) -> (tempfile::TempDir, Value) {
    let value = serde_json::to_value(&report).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let reports = [("mine".to_owned(), report)];
    export(&reports, ExportFormat::Csv, folder.path()).unwrap();
    export(&reports, ExportFormat::Json, folder.path()).unwrap();
    (folder, value)
}

/// The sum of a column over the rows of a protocol.
fn sum(rows: &[Row], protocol: &Value, column: &str) -> u64 {
    let of = |row: &&Row| {
        row["protocol"] == protocol["name"].as_str().unwrap()
            && row["foreign"].parse() == Ok(protocol["foreign"] == true)
    };
    let cells = rows.iter().filter(of).map(|row| &row[column]);
    cells.map(|cell| cell.parse::<u64>().unwrap()).sum()
}

#[test]
fn tables_have_the_values_of_the_report() {
    let (folder, report) = exported(report_fixture::everything());
    let read = |table: &str| csv(folder.path(), table);
    let protocols = report["protocols"].as_array().unwrap();
    let rows = read("protocols");
    assert_eq!(rows.len(), protocols.len());
    let (packets, series, pairs) = (read("packets"), read("series"), read("pairs"));
    let (kinds, estimates) = (read("kinds"), read("estimates"));
    for (row, protocol) in rows.iter().zip(protocols) {
        for (column, at) in [
            ("messages", "/messages"),
            ("packets", "/packets/total"),
            ("ip_bytes", "/bytes/ip"),
            ("wire_bytes", "/bytes/wire"),
            ("projection_frames", "/projection/frames"),
            ("goodput_share", "/goodput_share"),
            ("connections", "/connections"),
        ] {
            let value = protocol.pointer(at).unwrap();
            let expected = if value.is_null() {
                String::new()
            } else {
                value.to_string()
            };
            assert_eq!(row[column], expected, "{column}");
        }
        assert_eq!(
            sum(&packets, protocol, "packets"),
            protocol["packets"]["total"]
        );
        assert_eq!(sum(&packets, protocol, "ip_bytes"), protocol["bytes"]["ip"]);
        let buckets = protocol["series"]["buckets"].as_object().unwrap();
        let counted: u64 = buckets
            .values()
            .map(|b| b["packets"].as_u64().unwrap())
            .sum();
        assert_eq!(sum(&series, protocol, "packets"), counted);
        let messages = |value: &Value| value["messages"].as_u64().unwrap();
        let of_pairs = protocol["pairs"].as_array().unwrap().iter().map(messages);
        assert_eq!(sum(&pairs, protocol, "messages"), of_pairs.sum::<u64>());
        let by_kind = protocol["messages_by_kind"].as_object().unwrap();
        let of_kinds = by_kind.values().map(|n| n.as_u64().unwrap());
        assert_eq!(sum(&kinds, protocol, "messages"), of_kinds.sum::<u64>());
    }
    // The headline and 17 others of each protocol, to the last digit.
    assert_eq!(estimates.len(), 18 * protocols.len());
    let joules: Vec<&String> = estimates
        .iter()
        .map(|row| &row["joules"])
        .take(18)
        .collect();
    let mut expected = vec![protocols[0]["energy"]["joules"].to_string()];
    let others = protocols[0]["estimates"].as_array().unwrap().iter();
    expected.extend(others.map(|estimate| estimate["energy"]["joules"].to_string()));
    assert_eq!(joules, expected.iter().collect::<Vec<_>>());
    let headlines = estimates.iter().filter(|row| row["headline"] == "true");
    assert_eq!(headlines.count(), protocols.len());
    let accounts = read("accounts");
    let audited = report["audit"]["rows"].as_array().unwrap();
    assert_eq!(accounts.len(), audited.len());
    for (row, audited) in accounts.iter().zip(audited) {
        assert_eq!(row["wire"], audited["wire"].to_string());
        let low = audited["expected"].get("low").map(Value::to_string);
        assert_eq!(row["expected_low"], low.unwrap_or_default());
        assert_eq!(row["expected"].is_empty(), !audited["expected"].is_number());
    }
}

#[test]
fn csv_and_json_have_the_same_cells() {
    let (folder, _) = exported(report_fixture::faulty_run());
    let mut rows = 0;
    for table in TABLES {
        let path = folder.path().join(format!("{}.json", table.name));
        let objects: Vec<BTreeMap<String, Value>> =
            serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let lines = csv(folder.path(), table.name);
        assert_eq!(lines.len(), objects.len(), "{}", table.name);
        for (line, object) in lines.iter().zip(&objects) {
            for (column, cell) in line {
                let value = match &object[column] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let defused = cell.strip_prefix('\'').unwrap_or(cell);
                assert_eq!(defused, value, "{}.{column}", table.name);
                rows += 1;
            }
        }
    }
    assert!(rows > 500, "{rows} cells");
}

/// Names of protocols and kinds come from files and captures.
#[test]
fn hostile_names_are_cells_and_nothing_else() {
    let mut value = serde_json::to_value(report_fixture::one_protocol()).unwrap();
    let name = "=HYPERLINK(\"http://x\",\"a\"),\n\"quoted\",b";
    value["protocols"][0]["name"] = json!(name);
    value["protocols"][0]["messages_by_kind"] = json!({ "@SUM(1+1)": 7, "a,b\"c\r\nd": 8 });
    let report: Report = serde_json::from_value(value).unwrap();
    let (folder, _) = exported(report);
    let rows = csv(folder.path(), "kinds");
    let told: Vec<_> = rows
        .iter()
        .map(|row| (&*row["protocol"], &*row["kind"], &*row["messages"]))
        .collect();
    let defused = format!("'{name}");
    assert_eq!(
        told,
        [
            (defused.as_str(), "'@SUM(1+1)", "7"),
            (defused.as_str(), "a,b\"c\r\nd", "8")
        ]
    );
}

#[test]
fn several_reports_go_into_the_same_files_and_nothing_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep/tables");
    let names = [
        "captures/ring.report.json",
        "captures/centralized.report.json",
    ];
    let export = || run(wirewatt().arg("export").args(names).arg("--csv").arg(&out));
    let finished = export();
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let rows = csv(&out, "reports");
    let told: Vec<&String> = rows.iter().map(|row| &row["report"]).collect();
    assert_eq!(told, names);
    assert!(!out.join("reports.json").exists());
    fs::remove_file(out.join("reports.csv")).unwrap();
    let finished = export();
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("is there already"), "{finished}");
    assert!(!out.join("reports.csv").exists(), "written in part");
}

#[test]
fn what_is_no_report_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (name, part) in [
        ("captures/ring.pcapng", "not a report"),
        ("/nowhere.json", "cannot be read"),
        (
            "captures",
            "captures: there is no report.json or sweep.json in it",
        ),
    ] {
        let finished = run(wirewatt().args(["export", name, "--csv"]).arg(&out));
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        assert!(finished.stderr.contains(part), "{finished}");
    }
    let finished = run(wirewatt().args(["export", "captures/ring.report.json"]));
    assert!(finished.stderr.contains("--csv <DIR>"), "{finished}");
    assert!(!out.exists());
}

#[test]
fn a_report_on_standard_input_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let mut file = Vec::new();
    report_json::write(&report_fixture::one_protocol(), &mut file).unwrap();
    fs::write(&report, file).unwrap();
    let status = wirewatt()
        .args(["export", "-", "--json"])
        .arg(folder.path().join("out"))
        .stdin(Stdio::from(fs::File::open(report).unwrap()))
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let kinds = fs::read(folder.path().join("out/kinds.json")).unwrap();
    let kinds: Value = serde_json::from_slice(&kinds).unwrap();
    assert_eq!(
        (&kinds[0]["report"], &kinds[0]["kind"]),
        (&json!("-"), &json!("ack"))
    );
}

/// A ring of three: three tokens over three connections, each found again in both formats, and the
/// connections of a protocol are together what the report counts of it.
#[test]
fn messages_and_connections_of_a_runs_capture_are_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (out, tables) = (folder.path().join("run"), folder.path().join("tables"));
    let finished = run(wirewatt()
        .args(["run", "ring", "-n", "3", "--base-port"])
        .arg(free_ports(8).to_string())
        .arg("--out")
        .arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let finished = run(wirewatt()
        .args(["export", "--messages", "--csv"])
        .arg(&tables)
        .arg("--json")
        .arg(&tables)
        .arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    for (name, columns) in columns_of_logs() {
        let json = fs::read(tables.join(format!("{name}.json"))).unwrap();
        let objects: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&json).unwrap();
        let rows = csv(&tables, name);
        assert_eq!(rows.len(), objects.len(), "{name}");
        for (row, object) in rows.iter().zip(&objects) {
            assert_eq!(object.len(), columns.len());
            for (column, value) in object {
                let value = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(row[column], value, "{name}.{column}");
            }
        }
    }
    let messages = csv(&tables, "messages");
    let cell = |row: &Row, column: &str| row[column].clone();
    let mut senders: Vec<String> = messages.iter().map(|row| cell(row, "sender")).collect();
    senders.sort();
    assert_eq!(senders, ["0", "1", "2"]);
    assert!(
        messages
            .iter()
            .all(|row| row["kind"] == "token" && row["protocol"] == "ring")
    );
    assert!(messages.iter().all(|row| row["whole"] == "true"));

    let connections = csv(&tables, "connections");
    let of_ring: Vec<&Row> = connections
        .iter()
        .filter(|row| row["protocol"] == "ring")
        .collect();
    assert_eq!(of_ring.len(), 3);
    for row in &of_ring {
        let told = ["transport", "ended", "closed", "mid_stream", "foreign"];
        let told = told.map(|column| row[column].as_str());
        assert_eq!(told, ["tcp", "closed", "true", "false", "false"]);
        let carried: u64 = messages
            .iter()
            .filter(|message| message["connection"] == row["connection"])
            .map(|message| {
                let bytes = |column: &str| message[column].parse::<u64>().unwrap();
                bytes("body") + bytes("framing")
            })
            .sum();
        let payload = |way: &str| row[&format!("{way}_payload")].parse::<u64>().unwrap();
        assert_eq!(payload("to_listener") + payload("from_listener"), carried);
    }
    let protocols = csv(&tables, "protocols");
    let counted = protocols.iter().map(|protocol| {
        let numbers = [
            "connections",
            "to_listener_packets",
            "from_listener_packets",
            "to_listener_payload",
            "from_listener_payload",
            "to_listener_messages",
            "from_listener_messages",
            "ip_bytes",
            "wire_bytes",
        ];
        let numbers = numbers.map(|column| protocol[column].parse::<u64>().unwrap());
        (protocol["protocol"].clone(), numbers)
    });
    let mut sums: BTreeMap<String, [u64; 9]> = BTreeMap::new();
    for row in &connections {
        let sum = sums.entry(row["protocol"].clone()).or_default();
        let number = |column: &str| row[column].parse::<u64>().unwrap();
        let both = |of: &str| {
            number(&format!("to_listener_{of}")) + number(&format!("from_listener_{of}"))
        };
        for (sum, one) in sum.iter_mut().zip([
            1,
            number("to_listener_packets"),
            number("from_listener_packets"),
            number("to_listener_payload"),
            number("from_listener_payload"),
            number("to_listener_messages"),
            number("from_listener_messages"),
            both("ip"),
            both("wire"),
        ]) {
            *sum += one;
        }
    }
    assert_eq!(sums, counted.collect());
}

/// Tables of captures, their columns by name and what these are.
fn columns_of_logs() -> [(&'static str, Vec<&'static LogColumn>); 2] {
    [
        (MESSAGES.name, MESSAGES.columns().collect()),
        (CONNECTIONS.name, CONNECTIONS.columns().collect()),
    ]
}

/// Of any capture: here by a framing whose messages do not name themselves.
#[test]
fn connections_of_a_capture_are_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (capture, protocol) = ("captures/ring.pcapng", "mine=7100-7199:segment");
    let analyze = |connections: &Path| {
        run(wirewatt()
            .args(["analyze", "--json", "--protocol", protocol, capture])
            .arg("--messages")
            .arg(file("messages.json"))
            .arg("--connections")
            .arg(connections))
    };
    let finished = analyze(&file("connections.csv"));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let report = finished.json();
    let rows = csv(folder.path(), "connections");
    let protocols = report["protocols"].as_array().unwrap();
    let mine = protocols.iter().find(|row| row["name"] == "mine").unwrap();
    let rows: Vec<Row> = rows
        .into_iter()
        .filter(|row| row["protocol"] == "mine")
        .collect();
    assert_eq!(mine["connections"], rows.len());
    let sum = |column: &str| -> u64 {
        let cells = rows.iter().map(|row| row[column].parse::<u64>().unwrap());
        cells.sum()
    };
    for way in ["to_listener", "from_listener"] {
        for of in ["messages", "packets", "payload"] {
            assert_eq!(mine[way][of], sum(&format!("{way}_{of}")), "{way}_{of}");
        }
    }
    assert!(sum("to_listener_messages") > 0);
    assert!(rows.iter().all(|row| row["report"] == capture));
    assert!(rows.iter().all(|row| row["listener"].contains(":71")));
    assert_eq!(fs::read(file("messages.json")).unwrap(), b"[]");

    for (name, told) in [
        ("connections.csv", "is there already"),
        ("connections.xlsx", ".csv, .json or .parquet"),
        ("connections", ".csv, .json or .parquet"),
    ] {
        let refused = analyze(&file(name));
        assert_eq!(refused.status.code(), Some(2), "{refused}");
        assert!(refused.stderr.contains(told), "{refused}");
        assert_eq!(refused.stdout, "");
    }
}

#[test]
fn a_report_alone_has_no_messages() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let finished = run(wirewatt()
        .args(["export", "captures/ring.report.json", "--messages", "--csv"])
        .arg(&out));
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("name the folders"), "{finished}");
    assert!(!out.exists());
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_how_to_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let finished = run(wirewatt()
        .args(["export", "captures/ring.report.json", "--parquet"])
        .arg(&out));
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let part = "cargo build --release --features parquet";
    assert!(finished.stderr.contains(part), "{finished}");
    assert!(!out.exists());
}

/// A sweep of one point, whose formula is a number, and one whose runs disagree.
#[test]
fn tables_of_a_sweep_have_its_medians_and_its_runs() {
    let cost = |messages: u64| {
        json!({ "succeeded": 1, "messages": messages, "packets": 10 * messages, "retransmissions": 0,
                "ip": 100 * messages, "wire": 114 * messages, "joules": 0.5, "time": 7 })
    };
    let spread = |least: u64, greatest: u64| json!({ "least": least, "median": (least + greatest) as f64 / 2.0, "greatest": greatest });
    let cell = |repeat: u32, exit_code: u8, messages: u64| {
        json!({ "algorithm": "ring", "n": 3, "repeat": repeat, "folder": "=ring", "took": 9,
                "verdict": (["exact", "mismatch"][usize::from(exit_code)]), "exit_code": exit_code,
                "problems": [], "formula": { "low": 3, "high": 5 }, "cost": cost(messages) })
    };
    let sweep = json!({
        "schema": "wirewatt-sweep/1", "tool": { "name": "wirewatt", "version": "0" }, "command": [],
        "conditions": { "rounds": 1, "connections": "persistent", "payload": 0, "repeat": 3,
                        "energy": "by a model", "mtu": 9000 },
        "wanted": 3, "ended": 3,
        "points": [{
            "algorithm": "ring", "n": 3, "runs": 2, "verdicts": { "exact": 2, "mismatch": 1 },
            "formula": 4, "predicted": null,
            "measured": { "messages": spread(3, 4), "packets": spread(30, 40), "ip": spread(300, 400),
                          "wire": spread(342, 456), "joules": spread(0, 1), "time": null },
        }],
        "skipped": [{ "algorithm": "pbft", "n": 3, "reason": "too few" }],
        "cells": [cell(1, 0, 3), cell(2, 0, 4), cell(3, 1, 900)],
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sweep.json");
    fs::write(&file, sweep.to_string()).unwrap();
    let tables = folder.path().join("tables");
    // Its folder and its file are the same sweep.
    for name in [folder.path(), &file] {
        let mut command = wirewatt();
        command.arg("export").arg(name).arg("--csv").arg(&tables);
        let exported = run(command.arg("--json").arg(&tables));
        assert!(exported.status.success(), "{exported}");
        for table in SWEEP_TABLES {
            assert!(tables.join(format!("{}.json", table.name)).exists());
        }
        let points = csv(&tables, "sweep_points");
        let is = |row: &Row, cells: &[(&str, &str)]| {
            for (column, cell) in cells {
                assert_eq!(row[*column], *cell, "{column}");
            }
        };
        is(
            &points[0],
            &[
                ("algorithm", "ring"),
                ("runs", "2"),
                ("formula", "4"),
                ("formula_low", ""),
                ("messages", "3.5"),
                ("messages_greatest", "4.0"),
                ("time_ns", ""),
                ("predicted_ip_bytes", ""),
            ],
        );
        let runs = csv(&tables, "sweep_runs");
        let messages: Vec<&str> = runs.iter().map(|row| &*row["messages"]).collect();
        assert_eq!(messages, ["3", "4", "900"]);
        is(
            &runs[2],
            &[
                ("exit_code", "1"),
                ("formula_high", "5"),
                ("folder", "'=ring"),
            ],
        );
        is(
            &csv(&tables, "sweeps")[0],
            &[("mtu", "9000"), ("ended", "3")],
        );
        is(&csv(&tables, "sweep_skipped")[0], &[("reason", "too few")]);
        assert!(!tables.join("protocols.csv").exists());
        fs::remove_dir_all(&tables).unwrap();
    }
}

/// docs/exports.md lists each table with its columns in their order, and no other.
#[test]
fn every_column_is_documented() {
    let page = include_str!("../docs/exports.md");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    let logs = columns_of_logs();
    let tables: Vec<ExportTable> = [TABLES, SWEEP_TABLES].concat();
    assert_eq!(sections.len(), tables.len() + logs.len());
    for (section, (name, columns)) in sections[tables.len()..].iter().zip(logs) {
        assert_eq!(section.lines().next(), Some(name));
        let documented = section.lines().filter_map(|line| {
            let row = line.strip_prefix("| `")?.strip_suffix(" |")?;
            row.split_once("` | ")
        });
        // `report` is the first column of all tables.
        let columns = columns[1..]
            .iter()
            .map(|column| (column.name, column.about));
        assert_eq!(documented.collect::<Vec<_>>(), columns.collect::<Vec<_>>());
    }
    for table in [MESSAGES.about, CONNECTIONS.about] {
        assert!(page.contains(table), "{table}");
    }
    for (section, table) in sections.iter().zip(tables) {
        assert_eq!(section.lines().next(), Some(table.name));
        let documented = section.lines().filter_map(|line| {
            let cell = line.strip_prefix("| `")?;
            cell.split('`').next()
        });
        let columns = table.columns.iter().map(|(name, _)| *name);
        assert_eq!(documented.collect::<Vec<_>>(), columns.collect::<Vec<_>>());
        assert!(section.contains(table.about), "{}", table.name);
    }
}

/// What `run --json` prints of several algorithms, and what it leaves.
#[test]
fn several_runs_are_exported_from_their_array_and_from_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let several = path.join("several");
    let report = fs::read_to_string("captures/ring.report.json").unwrap();
    for run in ["a", "b"] {
        fs::create_dir_all(several.join(run)).unwrap();
        fs::write(several.join(run).join("report.json"), &report).unwrap();
    }
    let array = path.join("two.json");
    fs::write(&array, format!("[{report}, {report}]")).unwrap();
    for (from, names) in [
        (&several, ["several/a", "several/b"]),
        (&array, ["two.json/1", "two.json/2"]),
    ] {
        let tables = tempfile::tempdir().unwrap();
        let finished = run(wirewatt()
            .arg("export")
            .arg(from)
            .arg("--csv")
            .arg(tables.path()));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        let rows = csv(tables.path(), "reports");
        let wanted = names.map(|name| path.join(name).display().to_string());
        assert_eq!(
            rows.iter().map(|row| &*row["report"]).collect::<Vec<_>>(),
            wanted
        );
    }
    let nothing = run(wirewatt()
        .arg("export")
        .arg(path)
        .arg("--csv")
        .arg(path.join("tables")));
    assert_eq!(nothing.status.code(), Some(2), "{nothing}");
    assert!(
        nothing.stderr.contains("no report.json or sweep.json"),
        "{nothing}"
    );
}

#[test]
fn a_folder_that_is_a_file_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let refused = run(wirewatt()
        .args(["export", "captures/ring.report.json", "--csv"])
        .arg(&file));
    assert_eq!(refused.status.code(), Some(2), "{refused}");
    assert!(
        refused.stderr.contains("it is there, and is no folder"),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}
