//! Nodes started by hand, without a controller, and `sniff` beside them.

mod common;

use std::time::Duration;

use common::{Running, count, free_ports, protocol, run, start, text, wirewatt};

/// Far beyond what anything here needs, so that a busy machine fails no test.
const PLENTY: Duration = Duration::from_secs(60);

/// What process `id` is started with.
fn node(id: usize, ports: &[u16], further: &[&str]) -> Running {
    let peers: Vec<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    start(
        wirewatt()
            .args([
                "node",
                "ring",
                "--id",
                &id.to_string(),
                "--peers",
                &peers.join(","),
            ])
            .args(further),
    )
}

/// `sent` and `received` of a node's last line: "process 1 ends: 2 sent, 2 received, 0 refused".
fn counters(stdout: &str) -> (u64, u64) {
    let last = stdout.lines().last().expect("a last line");
    let numbers: Vec<u64> = last
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(last.contains(" ends: ") && numbers.len() == 4, "{last}");
    (numbers[1], numbers[2])
}

#[test]
fn nodes_by_hand_count_what_the_sniffer_counts() {
    for connections in ["persistent", "per-message"] {
        let base = free_ports(3);
        let ports = [base, base + 1, base + 2];
        let mut sniffer = start(wirewatt().args([
            "sniff",
            "--json",
            "--quiet",
            "--protocol",
            &format!("ring={base}-{}:wirewatt", base + 2),
        ]));
        sniffer.wait_for_stderr("Ctrl-C ends it", PLENTY);
        let further = ["--connections", connections, "--rounds", "4"];
        // The one that begins comes first: it waits for the others.
        let mut nodes: Vec<Running> = (0..3).map(|id| node(id, &ports, &further)).collect();
        let mut last = nodes.remove(0);
        let told = last.stdout_file();
        last.wait_for("the last circulation", PLENTY, || {
            let told = std::fs::read_to_string(&told).unwrap_or_default();
            told.contains("operation 10 ended well")
        });
        nodes.insert(0, last);
        for node in &nodes {
            node.interrupt();
        }
        let mut sums = (0, 0);
        for node in nodes {
            let finished = node.finish(PLENTY);
            assert_eq!(finished.status.code(), Some(0), "{finished}");
            let (sent, received) = counters(&finished.stdout);
            sums = (sums.0 + sent, sums.1 + received);
        }
        sniffer.interrupt();
        let sniffed = sniffer.finish(PLENTY);
        assert_eq!(sniffed.status.code(), Some(0), "{sniffed}");
        let report = sniffed.json();
        let ring = protocol(&report, "ring");
        assert_eq!(sums, (12, 12));
        assert_eq!(count(ring, "/messages"), 12, "{ring}");
        assert_eq!(text(&report, "/completeness/state"), "proven");
        // Waiting for each other put nothing on the wire: no refused connection, none too many.
        assert_eq!(count(ring, "/refused_connections"), 0);
        let connections_of = [("persistent", 3), ("per-message", 12)];
        let (_, expected) = connections_of
            .iter()
            .find(|(mode, _)| *mode == connections)
            .unwrap();
        assert_eq!(count(ring, "/connections"), *expected);
    }
}

#[test]
fn the_trace_tells_who_what_lamport_and_counters() {
    let base = free_ports(2);
    let ports = [base, base + 1];
    let mut first = node(0, &ports, &[]);
    let told = first.stdout_file();
    let tells = |words: &str| {
        std::fs::read_to_string(&told)
            .unwrap_or_default()
            .contains(words)
    };
    first.wait_for("that it waits", PLENTY, || tells("waits for 1"));
    let second = node(1, &ports, &[]);
    first.wait_for("the circulation", PLENTY, || {
        tells("operation 1 ended well")
    });
    first.interrupt();
    second.interrupt();
    let (first, second) = (first.finish(PLENTY), second.finish(PLENTY));
    let columns = |stdout: &str, what: &str| {
        let line = stdout.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("no '{what}' in {stdout}"));
        // Without the time, which is no fact.
        let words: Vec<&str> = line.split_whitespace().skip(2).collect();
        words.join(" ")
    };
    assert_eq!(
        columns(&first.stdout, "sent token"),
        "0 sent token to 1 1 1 0"
    );
    assert_eq!(
        columns(&second.stdout, "received token"),
        "1 received token from 0 2 0 1"
    );
    assert_eq!(
        columns(&second.stdout, "sent token"),
        "1 sent token to 0 3 1 1"
    );
    assert_eq!(
        columns(&first.stdout, "received token"),
        "0 received token from 1 4 1 1"
    );
    let heading = "        time  process  what";
    assert!(first.stdout.starts_with(heading), "{first}");
}

/// An audit with such a ledger contradicted itself: both starts number their messages from 1.
#[test]
fn a_ledger_takes_a_node_and_run_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = folder.path().join("ledger.jsonl");
    let ledger = ledger.to_str().expect("UTF-8");
    let base = free_ports(2);
    let ports = [base, base + 1];
    let circulate = |number: &str| {
        let further = ["--ledger", ledger, "--run", number];
        let mut first = node(0, &ports, &further);
        let told = first.stdout_file();
        let second = node(1, &ports, &further);
        first.wait_for("the circulation", PLENTY, || {
            let told = std::fs::read_to_string(&told).unwrap_or_default();
            told.contains("operation 1 ended well")
        });
        for node in [first, second] {
            node.interrupt();
            let finished = node.finish(PLENTY);
            assert_eq!(finished.status.code(), Some(0), "{finished}");
        }
    };
    circulate("0");
    let again = node(1, &ports, &["--ledger", ledger]).finish(PLENTY);
    assert_eq!(again.status.code(), Some(2), "{again}");
    let expected = "node 1 has records of run 0 in it already; delete it, name another, or give";
    assert!(again.stderr.contains(expected), "{again}");
    assert_eq!(again.stdout, "", "no heading before an error");
    circulate("1");
}

#[test]
fn a_node_that_makes_no_sense_is_refused() {
    let base = free_ports(2);
    let peers = format!("127.0.0.1:{base},127.0.0.1:{}", base + 1);
    let twice = format!("127.0.0.1:{base},localhost:{base}");
    for (arguments, expected) in [
        (vec![], "--peers"),
        (vec!["ring"], "--id ID --peers HOST:PORT"),
        (vec!["ring"], "--controlled"),
        (
            vec!["ring", "--id", "0", "--peers", &twice],
            "give each its own",
        ),
        (vec!["ring", "--id", "0"], "--peers"),
        (
            vec!["ring", "--id", "2", "--peers", &peers],
            "there is no process 2 among 2",
        ),
        (
            vec!["ring", "--id", "0", "--peers", "localhost"],
            "expected HOST:PORT",
        ),
        (
            vec!["rung", "--id", "0", "--peers", &peers],
            "no algorithm is called 'rung'",
        ),
    ] {
        let finished = run(wirewatt().arg("node").args(&arguments));
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        assert!(finished.stderr.contains(expected), "{finished}");
        assert_eq!(finished.stdout, "", "{finished}");
    }
}
