//! `export --parquet` held against another reader of the format: pyarrow finds every value, its type,
//! and what the columns are.
#![cfg(feature = "parquet")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{free_ports, run, skip, wirewatt};
use serde_json::{Value, json};
use wirewatt::analysis::{
    ConnectionCounted, ConnectionLog, ConnectionSeen, MessageLog, MessageSeen, WayCounted,
};
use wirewatt::flow::{ProtocolIndex, TransportKind};
use wirewatt::message::{Label, Way};
use wirewatt::report::Report;
use wirewatt::report::export::{
    CONNECTIONS, CaptureLog, ExportError, ExportFormat, MESSAGES, ROWS_A_GROUP, export, export_logs,
};
use wirewatt::units::{
    FramingBytes, GapBytes, IpBytes, MessageBytes, Messages, Packets, PayloadBytes,
    RetransmittedBytes, Timestamp, WireBytes,
};

/// Prints a file as JSON: times as whole nanoseconds, since Python's own have microseconds.
const READ: &str = r#"
import json, sys
import pyarrow, pyarrow.parquet
file = pyarrow.parquet.ParquetFile(sys.argv[1])
groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
columns = [[field.name, str(field.type), field.nullable] for field in file.schema_arrow]
table = file.read()
for i, field in enumerate(table.schema):
    if pyarrow.types.is_timestamp(field.type):
        table = table.set_column(i, field.name, table[i].cast(pyarrow.int64()))
json.dump({
    "columns": columns,
    "groups": [group.num_rows for group in groups],
    "compression": sorted({group.column(0).compression for group in groups}),
    "metadata": {key.decode(): value.decode() for key, value in file.metadata.metadata.items()},
    "rows": table.to_pylist() if table.num_rows < 1000 else table.slice(table.num_rows - 1).to_pylist(),
}, sys.stdout)
"#;

fn python() -> PathBuf {
    std::env::var_os("WIREWATT_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// Whether pyarrow is there; otherwise the caller returns.
fn have_pyarrow() -> bool {
    let import = Command::new(python())
        .args(["-c", "import pyarrow.parquet"])
        .output();
    import.is_ok_and(|output| output.status.success()) || skip("pyarrow is not installed")
}

/// What pyarrow finds in a file.
fn read(path: &Path) -> Value {
    let output = Command::new(python())
        .args(["-c", READ])
        .arg(path)
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A message whose every number is another, and as large as can be.
fn message() -> MessageSeen {
    MessageSeen {
        label: Label {
            protocol: 2,
            kind: 1,
            sender: u32::MAX,
            receiver: u32::MAX - 1,
            incarnation: 3,
            run: u64::MAX,
            operation: 4,
            sequence: 5,
            timestamp: 6,
        },
        body: MessageBytes::new(7),
        framing: FramingBytes::new(56),
        time: Timestamp::from_nanos(1_700_000_000_123_456_789),
        connection: 8,
        way: Way::FromListener,
        end: 1 << 40,
        acknowledged: true,
        whole: false,
    }
}

fn way(first: u64) -> WayCounted {
    WayCounted {
        packets: Packets::new(first),
        messages: Messages::new(first + 1),
        incomplete_messages: Messages::new(first + 2),
        payload: PayloadBytes::new(first + 3),
        retransmitted: RetransmittedBytes::new(first + 4),
        gap_bytes: GapBytes::new(first + 5),
        ip: IpBytes::new(first + 6),
        wire: WireBytes::new(first + 7),
    }
}

fn connection(serial: u64) -> ConnectionCounted {
    ConnectionCounted {
        seen: ConnectionSeen {
            serial,
            initiator: "127.0.0.1:40000".parse().unwrap(),
            listener: "[::1]:7100".parse().unwrap(),
            // Before 1970, as a capture of a machine without a clock may be.
            opened: Timestamp::from_nanos(-1),
            last_seen: Timestamp::from_nanos(1_700_000_000_000_000_001),
            refused: false,
            reset: [None, None],
            closed: true,
        },
        transport: TransportKind::Tcp,
        protocol: Some(ProtocolIndex(1)),
        foreign: false,
        mid_stream: true,
        ways: [way(10), way(20)],
    }
}

/// A capture with these, whose plan has two protocols.
fn capture(messages: Vec<MessageSeen>, connections: Vec<ConnectionCounted>) -> CaptureLog {
    let protocols = ["marker", "ring"].map(str::to_owned);
    CaptureLog {
        report: "=hostile, \"name\"\n".to_owned(),
        messages: MessageLog {
            messages,
            ..MessageLog::default()
        },
        connections: ConnectionLog::new(connections, protocols.into()),
    }
}

fn exported(log: CaptureLog) -> [Value; 2] {
    let folder = tempfile::tempdir().unwrap();
    let tables = export_logs(&[log], ExportFormat::Parquet, folder.path()).unwrap();
    assert_eq!(tables, 2);
    ["messages", "connections"].map(|name| read(&folder.path().join(format!("{name}.parquet"))))
}

#[test]
fn every_value_is_read_back_with_its_type() {
    if !have_pyarrow() {
        return;
    }
    let unknown = MessageSeen {
        label: Label {
            protocol: 65_535,
            ..message().label
        },
        ..message()
    };
    let mut refused = connection(2);
    refused.protocol = None;
    refused.transport = TransportKind::Udp;
    refused.foreign = true;
    refused.mid_stream = false;
    refused.seen.refused = true;
    refused.seen.reset[Way::FromListener as usize] = Some(Timestamp::from_nanos(3));
    let mut reset = connection(3);
    reset.seen.reset[Way::ToListener as usize] = Some(Timestamp::from_nanos(i64::MAX));
    let mut open = connection(4);
    open.seen.closed = false;
    let [messages, connections] = exported(capture(
        vec![message(), unknown],
        vec![connection(1), refused, reset, open],
    ));

    let name = "=hostile, \"name\"\n";
    let row = json!({
        "report": name, "protocol": "ring", "kind": "token",
        "run": u64::MAX, "operation": 4, "sender": u32::MAX, "incarnation": 3,
        "receiver": u32::MAX - 1, "sequence": 5, "lamport": 6,
        "time_ns": 1_700_000_000_123_456_789_i64, "body": 7, "framing": 56,
        "whole": false, "acknowledged": true, "connection": 8, "to_listener": false,
        "stream_end": 1_u64 << 40,
    });
    let mut of_unknown = row.clone();
    of_unknown["protocol"] = Value::Null;
    of_unknown["kind"] = messages["rows"][1]["kind"].clone();
    assert_eq!(messages["rows"], json!([row, of_unknown]));
    assert_eq!(
        messages["columns"],
        json!([
            ["report", "string", false],
            ["protocol", "string", true],
            ["kind", "string", false],
            ["run", "uint64", false],
            ["operation", "uint64", false],
            ["sender", "uint32", false],
            ["incarnation", "uint32", false],
            ["receiver", "uint32", false],
            ["sequence", "uint64", false],
            ["lamport", "uint64", false],
            ["time_ns", "timestamp[ns, tz=UTC]", false],
            ["body", "uint64", false],
            ["framing", "uint64", false],
            ["whole", "bool", false],
            ["acknowledged", "bool", false],
            ["connection", "uint64", false],
            ["to_listener", "bool", false],
            ["stream_end", "uint64", false],
        ])
    );

    let row = json!({
        "report": name, "connection": 1, "protocol": "ring", "foreign": false, "transport": "tcp",
        "initiator": "127.0.0.1:40000", "listener": "[::1]:7100",
        "opened_ns": -1, "last_seen_ns": 1_700_000_000_000_000_001_i64,
        "mid_stream": true, "ended": "closed", "refused": false,
        "reset_by_initiator_ns": null, "reset_by_listener_ns": null, "closed": true,
        "to_listener_packets": 10, "to_listener_messages": 11,
        "to_listener_incomplete_messages": 12, "to_listener_payload": 13,
        "to_listener_retransmitted": 14, "to_listener_gap_bytes": 15,
        "to_listener_ip": 16, "to_listener_wire": 17,
        "from_listener_packets": 20, "from_listener_messages": 21,
        "from_listener_incomplete_messages": 22, "from_listener_payload": 23,
        "from_listener_retransmitted": 24, "from_listener_gap_bytes": 25,
        "from_listener_ip": 26, "from_listener_wire": 27,
    });
    let but = |changes: Value| {
        let mut row = row.clone();
        for (column, value) in changes.as_object().unwrap() {
            row[column] = value.clone();
        }
        row
    };
    assert_eq!(
        connections["rows"],
        json!([
            row,
            but(
                json!({ "connection": 2, "protocol": null, "transport": "udp", "foreign": true,
                "mid_stream": false, "ended": "refused", "refused": true, "reset_by_listener_ns": 3 })
            ),
            but(json!({ "connection": 3, "ended": "reset", "reset_by_initiator_ns": i64::MAX })),
            but(json!({ "connection": 4, "ended": null, "closed": false })),
        ])
    );
    let nullable = connections["columns"].as_array().unwrap().iter();
    let nullable = nullable.filter(|column| column[2] == true);
    assert_eq!(
        nullable.collect::<Vec<_>>(),
        [
            &json!(["protocol", "string", true]),
            &json!(["ended", "string", true]),
            &json!(["reset_by_initiator_ns", "timestamp[ns, tz=UTC]", true]),
            &json!(["reset_by_listener_ns", "timestamp[ns, tz=UTC]", true]),
        ]
    );
}

#[test]
fn a_file_says_what_its_columns_are() {
    if !have_pyarrow() {
        return;
    }
    let tables = exported(capture(vec![message()], vec![connection(1)]));
    let columns = |columns: Vec<_>| -> serde_json::Map<String, Value> {
        let columns = columns.into_iter();
        columns
            .map(|(name, about): (&str, &str)| (name.to_owned(), about.into()))
            .collect()
    };
    let documented = [
        MESSAGES.columns().map(|c| (c.name, c.about)).collect(),
        CONNECTIONS.columns().map(|c| (c.name, c.about)).collect(),
    ];
    let abouts = [MESSAGES.about, CONNECTIONS.about];
    let schemas = ["wirewatt-messages/1", "wirewatt-connections/1"];
    for (((table, documented), about), schema) in
        tables.iter().zip(documented).zip(abouts).zip(schemas)
    {
        let metadata = &table["metadata"];
        assert_eq!(metadata["wirewatt.schema"], schema);
        assert_eq!(metadata["wirewatt.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(metadata["wirewatt.row"], about);
        let told: Value =
            serde_json::from_str(metadata["wirewatt.columns"].as_str().unwrap()).unwrap();
        assert_eq!(told, Value::Object(columns(documented)));
        assert_eq!(table["compression"], json!(["SNAPPY"]));
    }
}

#[test]
fn long_tables_are_in_groups_of_a_bounded_length_and_empty_ones_have_none() {
    if !have_pyarrow() {
        return;
    }
    let mut many = vec![message(); ROWS_A_GROUP + 1];
    many[ROWS_A_GROUP].label.sequence = 77;
    let [messages, connections] = exported(capture(many, Vec::new()));
    assert_eq!(messages["groups"], json!([ROWS_A_GROUP, 1]));
    assert_eq!(messages["rows"][0]["sequence"], 77);
    assert_eq!(connections["groups"], json!([]));
    assert_eq!(connections["rows"], json!([]));
    let columns = connections["columns"].as_array().unwrap().len();
    assert_eq!(columns, CONNECTIONS.columns().count());
}

/// A real run: Parquet has what JSON has, and the files are never replaced.
#[test]
fn a_runs_capture_is_the_same_as_in_json() {
    if !have_pyarrow() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (out, tables) = (folder.path().join("run"), folder.path().join("tables"));
    let port = free_ports(8);
    let finished = run(wirewatt()
        .args(["run", "ring", "-n", "3", "--base-port"])
        .arg(port.to_string())
        .arg("--out")
        .arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let export = || {
        run(wirewatt()
            .args(["export", "--parquet"])
            .arg(&tables)
            .arg(&out))
    };
    let finished = export();
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let finished = run(wirewatt()
        .args(["export", "--messages", "--json"])
        .arg(&tables)
        .arg(&out));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    for name in ["messages", "connections"] {
        let json = fs::read(tables.join(format!("{name}.json"))).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert!(json.as_array().unwrap().len() >= 3);
        let parquet = read(&tables.join(format!("{name}.parquet")));
        assert_eq!(parquet["rows"], json, "{name}");
    }
    let finished = export();
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("is there already"), "{finished}");

    // The capture alone has the same rows, but for what it is called.
    let file = tables.join("of-capture.parquet");
    let finished = run(wirewatt()
        .arg("analyze")
        .args([&out.join("capture.pcapng"), Path::new("--connections")])
        .arg(&file)
        .args(["--protocol", &format!("ring={port}-{}:wirewatt", port + 2)]));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let unnamed = |mut table: Value| {
        for row in table["rows"].as_array_mut().unwrap() {
            row["report"] = Value::Null;
        }
        table["rows"].clone()
    };
    let of_folder = read(&tables.join("connections.parquet"));
    assert_eq!(unnamed(read(&file)), unnamed(of_folder));
}

#[test]
fn tables_of_reports_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let report = fs::read("captures/ring.report.json").unwrap();
    let report: Report = serde_json::from_slice(&report).unwrap();
    let reports = [("mine".to_owned(), report)];
    let refused = export(&reports, ExportFormat::Parquet, folder.path());
    assert!(matches!(refused, Err(ExportError::OnlyOfCaptures)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
