//! What `wirewatt simulate` predicts of the wire, against what real runs put there.

mod common;

use common::{count, free_ports, protocol, run, text, wirewatt};
use serde_json::Value;
use wirewatt::algorithm::catalog;

/// A run that costs the same whatever timing decides.
struct Case {
    algorithm: &'static str,
    n: u32,
    arguments: &'static [&'static str],
}

const CASES: [Case; 9] = [
    Case {
        algorithm: "ring",
        n: 4,
        arguments: &["--rounds", "10"],
    },
    Case {
        algorithm: "centralized",
        n: 5,
        arguments: &["--rounds", "5"],
    },
    Case {
        algorithm: "two-phase-commit",
        n: 4,
        arguments: &["--rounds", "5"],
    },
    Case {
        algorithm: "two-phase-commit",
        n: 3,
        arguments: &[
            "--rounds",
            "3",
            "--option",
            "vote-no=1",
            "--payload",
            "1000",
        ],
    },
    Case {
        algorithm: "ring",
        n: 3,
        arguments: &["--rounds", "2", "--payload", "20000"],
    },
    Case {
        algorithm: "distributed",
        n: 5,
        arguments: &[],
    },
    Case {
        algorithm: "three-phase-commit",
        n: 4,
        arguments: &["--rounds", "3"],
    },
    Case {
        algorithm: "chang-roberts",
        n: 5,
        arguments: &[],
    },
    // With a payload, since which of its acknowledgements ride on data is decided by timing.
    Case {
        algorithm: "chain-replication",
        n: 4,
        arguments: &["--rounds", "4", "--payload", "1000"],
    },
];

/// The prediction is of a machine that has time: where another program holds a node up, its kernel
/// merges acknowledgements or segments that otherwise go apart. Messages are as
/// predicted in every run; connections and packets have to be in one of these.
const RUNS: usize = 5;

fn check(connections: &str) {
    for case in &CASES {
        let command = |command: &str| {
            let mut wirewatt = wirewatt();
            wirewatt
                .args([command, case.algorithm, "--json", "-n"])
                .arg(case.n.to_string())
                .args(["--connections", connections])
                .args(case.arguments);
            wirewatt
        };
        let predicted = run(command("simulate").args(["--delay", "0.05ms..0.5ms"]));
        assert_eq!(predicted.status.code(), Some(0), "{predicted}");
        let predicted = predicted.json();
        assert_eq!(text(&predicted, "/connections"), connections);

        let what = format!("{} of {}, {connections}", case.algorithm, case.n);
        let algorithm = catalog::by_name(case.algorithm).expect(case.algorithm);
        let processes = (algorithm.processes)(case.n);
        let mut found = Vec::new();
        for _ in 0..RUNS {
            let folder = tempfile::tempdir().expect("a temporary folder");
            // Clients listen too.
            let base_port = free_ports(processes as u16).to_string();
            let mut real = command("run");
            real.args(["--base-port", &base_port]);
            let real = run(real.arg("--out").arg(folder.path().join("run")));
            assert_eq!(real.status.code(), Some(0), "{real}");
            let real = real.json();
            let real = protocol(&real, case.algorithm);
            assert_messages(&predicted, real, &what);
            match packets_differ(&predicted, real) {
                None => break,
                Some(difference) => found.push(difference),
            }
        }
        assert!(found.len() < RUNS, "{what}: {found:#?}");
    }
}

fn assert_messages(predicted: &Value, real: &Value, what: &str) {
    for row in predicted["rows"].as_array().expect("rows") {
        let kind = text(row, "/kind");
        let sent = real["messages_by_kind"][kind].as_u64().unwrap_or(0);
        assert_eq!(count(row, "/attempted"), sent, "{kind}: {what}");
    }
    let predicted = count(predicted, "/predicted/messages");
    assert_eq!(predicted, count(real, "/messages"), "messages: {what}");
}

fn packets_differ(predicted: &Value, real: &Value) -> Option<String> {
    let ip = count(predicted, "/predicted/bytes/ip") as f64;
    let open = count(predicted, "/undecided_acks") as f64 * 52.0;
    let seen = count(real, "/bytes/ip") as f64;
    let alike = ["/connections", "/packets/handshake", "/packets/data"]
        .iter()
        .all(|of| count(predicted, &format!("/predicted{of}")) == count(real, of));
    let same = alike && (ip * 0.98..=(ip + open) * 1.02).contains(&seen);
    (!same).then(|| {
        format!(
            "predicted {ip} IP bytes and up to {open} more, seen {seen}; {} and {}",
            predicted["predicted"]["packets"], real["packets"]
        )
    })
}

#[test]
fn persistent_connections_cost_what_the_simulation_predicts() {
    check("persistent");
}

#[test]
fn a_connection_a_message_costs_what_the_simulation_predicts() {
    check("per-message");
}

#[test]
fn a_connection_an_exchange_costs_what_the_simulation_predicts() {
    check("per-exchange");
}
