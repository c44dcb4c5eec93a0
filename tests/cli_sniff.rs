//! `sniff` from the outside: where it ends, what it shows meanwhile, what its options do, and that
//! its recording brings the same report again.

mod common;

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{
    COMMAND_LIMIT, Running, broken_identities, count, impossible, is_root, protocol, run, start,
    text, wait_until, wirewatt,
};
use serde_json::Value;
use wirewatt::capture::CaptureFile;

/// A socket that receives what it has sent to itself.
struct Echo {
    socket: UdpSocket,
    port: u16,
}

impl Echo {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let limit = Some(Duration::from_secs(20));
        socket.set_read_timeout(limit).expect("a timeout");
        let port = socket.local_addr().expect("bound").port();
        Self { socket, port }
    }

    fn definition(&self) -> String {
        format!("mine={}", self.port)
    }

    /// Sends this many datagrams of `length` bytes, each received before the next is sent.
    fn send(&self, datagrams: usize, length: usize) {
        let mut received = vec![0; length + 1];
        for _ in 0..datagrams {
            let to = ("127.0.0.1", self.port);
            self.socket.send_to(&vec![7; length], to).expect("sent");
            let there = self.socket.recv(&mut received).expect("received");
            assert_eq!(there, length);
        }
    }
}

/// A capture that is seen to be live, of everything on lo with this protocol defined.
fn sniff(echo: &Echo, arguments: &[&str]) -> Running {
    let mut sniff = start(
        wirewatt()
            .args(["sniff", "--protocol", &echo.definition()])
            .args(arguments),
    );
    sniff.wait_for_stderr("capturing on lo", COMMAND_LIMIT);
    sniff
}

/// Interrupts it and takes its report.
#[track_caller]
fn report_of(sniff: Running) -> Value {
    sniff.interrupt();
    let finished = sniff.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let report = finished.json();
    assert_eq!(broken_identities(&report), Vec::<String>::new());
    report
}

#[track_caller]
fn assert_analyzed_alike(report: &Value, recording: &Path, echo: &Echo) {
    assert_all_analyzed_alike(report, &[recording.to_owned()], echo);
}

#[track_caller]
fn assert_all_analyzed_alike(report: &Value, recordings: &[PathBuf], echo: &Echo) {
    let analyzed = run(wirewatt()
        .args(["analyze", "--json", "--protocol", &echo.definition()])
        .args(recordings));
    assert_eq!(analyzed.status.code(), Some(0), "{analyzed}");
    let offline = analyzed.json();
    for part in ["protocols", "unclassified", "undecoded"] {
        assert_eq!(offline[part], report[part], "{part}");
    }
    let seen = |report: &Value| count(report, "/completeness/packets_seen");
    assert_eq!(seen(&offline), seen(report));
    for losses in ["packets_dropped", "gaps", "gap_bytes", "truncated_packets"] {
        let of = |report: &Value| report["completeness"][losses].clone();
        assert_eq!(of(&offline), of(report), "{losses}");
    }
}

/// The files of a folder in the order of their names.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

/// Asserts that a file is a capture of its own, with an end, and how many packets are in it.
#[track_caller]
fn packets_in(file: &Path) -> u64 {
    let mut capture = CaptureFile::open(file).expect("a capture");
    let mut packets = 0;
    assert!(capture.for_each(|_| packets += 1).is_complete());
    let facts = capture.facts();
    assert_eq!(facts.interfaces, ["lo"]);
    assert!(facts.counts_interface_drops && facts.counts_system_drops);
    packets
}

#[test]
fn the_files_of_a_rotation_are_together_what_was_reported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let echo = Echo::new();
    let named = folder.path().join("x.pcapng");
    let file = named.to_str().expect("UTF-8");
    let sniff = sniff(&echo, &["--json", "-w", file, "--rotate-size", "20kB"]);
    echo.send(500, 300);
    let report = report_of(sniff);
    assert_eq!(count(protocol(&report, "mine"), "/packets/total"), 500);
    let files = files_in(folder.path());
    assert!(files.len() >= 500 * 300 / 20_000, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("UTF-8");
        let begin = format!("x_{:05}_20", number + 1);
        assert!(
            name.starts_with(&begin) && name.ends_with(".pcapng"),
            "{name}"
        );
        // Beside its packets, a file has the statistics at its end.
        let length = std::fs::metadata(file).expect("a file").len();
        assert!(length <= 20_000 + 120, "{length}");
    }
    let sum: u64 = files.iter().map(|file| packets_in(file)).sum();
    assert_eq!(sum, count(&report, "/completeness/packets_seen"));
    let listed = report["source"]["files"].as_array().expect("a list");
    let named: Vec<_> = listed
        .iter()
        .map(|file| file.as_str().expect("a path"))
        .collect();
    assert_eq!(
        named,
        files
            .iter()
            .map(|file| file.to_str().expect("UTF-8"))
            .collect::<Vec<_>>()
    );
    assert_all_analyzed_alike(&report, &files, &echo);
}

#[test]
fn a_rotation_by_time_goes_on_with_the_packet_that_comes_after() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let echo = Echo::new();
    let named = folder.path().join("x.pcapng");
    let file = named.to_str().expect("UTF-8");
    let sniff = sniff(&echo, &["--json", "-w", file, "--rotate-every", "50ms"]);
    wait_until(COMMAND_LIMIT, || {
        echo.send(1, 10);
        files_in(folder.path()).len() >= 4
    })
    .expect("a file each 50 ms");
    let report = report_of(sniff);
    let files = files_in(folder.path());
    for file in &files {
        let mut capture = CaptureFile::open(file).expect("a capture");
        let mut times = Vec::new();
        capture.for_each(|packet| times.push(packet.timestamp.as_nanos()));
        let (first, last) = (times[0], times[times.len() - 1]);
        assert!(last - first < 50_000_000, "{} ns", last - first);
    }
    assert_all_analyzed_alike(&report, &files, &echo);
}

#[test]
fn only_the_latest_files_are_kept_and_what_was_in_the_others_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let echo = Echo::new();
    let named = folder.path().join("x.pcapng");
    let file = named.to_str().expect("UTF-8");
    let options = ["--json", "-w", file, "--rotate-size", "10kB", "--keep", "2"];
    let sniff = sniff(&echo, &options);
    echo.send(300, 300);
    sniff.interrupt();
    let finished = sniff.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let report = finished.json();
    assert_eq!(count(protocol(&report, "mine"), "/packets/total"), 300);
    let files = files_in(folder.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let there: u64 = files.iter().map(|file| packets_in(file)).sum();
    let gone = count(&report, "/completeness/packets_seen") - there;
    let said = format!("{gone} packets of the report are in none of them");
    assert!(finished.stderr.contains(&said), "{finished}");

    let finished = run(wirewatt().args(["sniff", "--for", "1s", "-w", file, "--keep", "2"]));
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("Add --rotate-size"), "{finished}");
}

/// The folder is gone when the next file is to begin: what is reported stands, and the exit code tells.
#[test]
fn a_rotation_that_fails_is_told_and_counting_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    let echo = Echo::new();
    let named = inner.join("x.pcapng");
    let file = named.to_str().expect("UTF-8");
    let sniff = sniff(&echo, &["--json", "-w", file, "--rotate-size", "10kB"]);
    let moved = folder.path().join("moved");
    std::fs::rename(&inner, &moved).expect("moved");
    echo.send(100, 300);
    sniff.interrupt();
    let finished = sniff.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("cannot be created"), "{finished}");
    let report = finished.json();
    assert_eq!(count(protocol(&report, "mine"), "/packets/total"), 100);
    assert_eq!(text(&report, "/completeness/state"), "proven");
    assert_eq!(report["source"]["partial"], true);
    let files = files_in(&moved);
    assert_eq!(files.len(), 1, "{files:?}");
    let there = packets_in(&files[0]);
    assert!(there > 10 && there < 100, "{there}");
}

#[test]
fn a_duration_ends_it() {
    let finished = run(wirewatt().args(["sniff", "--for", "200ms", "--json"]));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let report = finished.json();
    assert_eq!(text(&report, "/completeness/state"), "proven", "{report}");
    assert_eq!(text(&report, "/source/interface"), "lo");
}

#[test]
fn a_count_ends_it_at_exactly_that_packet() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for wanted in [1, 7, 100] {
        let echo = Echo::new();
        let recording = folder.path().join(format!("{wanted}.pcapng"));
        let file = recording.to_str().expect("UTF-8");
        let count_text = wanted.to_string();
        let mut sniff = sniff(&echo, &["--count", &count_text, "--json", "-w", file]);
        wait_until(COMMAND_LIMIT, || {
            echo.send(1, 10);
            sniff.has_ended()
        })
        .expect("it ends by itself");
        let finished = sniff.finish(COMMAND_LIMIT);
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        let report = finished.json();
        let markers = count(protocol(&report, "marker"), "/packets/total");
        let seen = count(&report, "/completeness/packets_seen");
        assert_eq!(seen - markers, wanted, "markers aside");
        // It ended before it could send markers that would prove it.
        assert_eq!(text(&report, "/completeness/state"), "consistent");
        assert_analyzed_alike(&report, &recording, &echo);
    }
}

#[test]
fn a_recording_brings_the_same_report_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = folder.path().join("x.pcapng");
    let echo = Echo::new();
    let file = recording.to_str().expect("UTF-8");
    let sniff = sniff(&echo, &["--json", "-w", file]);
    echo.send(500, 300);
    let report = report_of(sniff);
    let mine = protocol(&report, "mine");
    assert_eq!(count(mine, "/packets/total"), 500);
    assert_eq!(count(mine, "/bytes/payload"), 500 * 300);
    assert_eq!(count(mine, "/bytes/ip"), 500 * 328);
    assert_eq!(
        text(&report, "/completeness/state"),
        "proven",
        "{}",
        report["completeness"]
    );
    assert_analyzed_alike(&report, &recording, &echo);
}

#[test]
fn live_totals_are_plain_lines_where_nothing_can_be_refreshed() {
    let echo = Echo::new();
    let mut sniff = sniff(&echo, &[]);
    wait_until(COMMAND_LIMIT, || {
        echo.send(10, 10);
        sniff.stderr().contains("mine")
    })
    .expect("totals while it runs");
    let live = sniff.stderr();
    assert!(
        live.contains("protocol") && live.contains("packets"),
        "{live}"
    );
    assert!(
        !live.contains('\x1b'),
        "no control sequences in a pipe: {live:?}"
    );
    assert!(!sniff.has_ended());
    sniff.interrupt();
    let finished = sniff.finish(COMMAND_LIMIT);
    assert!(finished.stdout.contains("mine"), "{finished}");
    assert!(!finished.stdout.contains('\x1b'), "{finished}");

    let echo = Echo::new();
    let quiet = self::sniff(&echo, &["--quiet", "--for", "1500ms"]);
    echo.send(10, 10);
    let quiet = quiet.finish(COMMAND_LIMIT);
    assert!(!quiet.stderr.contains("mine"), "{quiet}");
}

#[test]
fn a_snap_length_cuts_what_is_kept_and_nothing_that_is_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = folder.path().join("x.pcapng");
    let echo = Echo::new();
    let file = recording.to_str().expect("UTF-8");
    let sniff = sniff(&echo, &["--json", "--snaplen", "96", "-w", file]);
    echo.send(50, 1000);
    let report = report_of(sniff);
    let mine = protocol(&report, "mine");
    assert_eq!(count(mine, "/bytes/payload"), 50 * 1000);
    assert!(count(&report, "/completeness/truncated_packets") >= 50);
    assert_eq!(count(&report, "/source/snaplen"), 96);
    assert_eq!(text(&report, "/completeness/state"), "proven");
    let length = std::fs::metadata(&recording).expect("a recording").len();
    assert!(length < 50 * 1000, "{length} bytes recorded");
    assert_analyzed_alike(&report, &recording, &echo);
}

#[test]
fn without_markers_a_capture_is_consistent_and_not_proven() {
    let echo = Echo::new();
    let filter = format!("udp port {}", echo.port);
    for arguments in [&["--no-markers"][..], &["--filter", &filter]] {
        let sniff = sniff(&echo, &[&["--json"], arguments].concat());
        echo.send(20, 10);
        let report = report_of(sniff);
        assert_eq!(count(protocol(&report, "mine"), "/packets/total"), 20);
        assert_eq!(
            text(&report, "/completeness/state"),
            "consistent",
            "{arguments:?}"
        );
        let names: Vec<_> = common::protocols(&report)
            .iter()
            .map(|row| text(row, "/name"))
            .collect();
        if arguments.contains(&"--filter") {
            assert_eq!(names, ["mine"]);
            assert_eq!(text(&report, "/source/filter"), filter);
            assert_eq!(count(&report, "/completeness/packets_seen"), 20);
        }
    }
}

/// All ports for one protocol, the markers' among them: no marker can be told from its packets.
#[test]
fn a_protocol_on_every_port_leaves_none_for_markers_and_that_is_said() {
    let mut sniff = start(wirewatt().args(["sniff", "--json", "--protocol", "all=1-65535"]));
    sniff.wait_for_stderr("capturing on lo", COMMAND_LIMIT);
    let echo = Echo::new();
    echo.send(5, 5);
    let said = sniff.stderr();
    assert!(
        said.contains("no marker datagram can be sent from ports 8790-8799"),
        "{said}"
    );
    let report = report_of(sniff);
    assert!(count(protocol(&report, "all"), "/packets/total") >= 5);
    assert_eq!(text(&report, "/completeness/state"), "consistent");
}

/// Several at once, each with a marker port of its own, know their own markers from the others'.
#[test]
fn captures_side_by_side_are_each_proven() {
    let echo = Echo::new();
    let sniffs: Vec<Running> = (0..3).map(|_| sniff(&echo, &["--json"])).collect();
    echo.send(100, 10);
    for sniff in sniffs {
        let report = report_of(sniff);
        assert_eq!(count(protocol(&report, "mine"), "/packets/total"), 100);
        assert_eq!(
            text(&report, "/completeness/state"),
            "proven",
            "{}",
            report["completeness"]
        );
    }
}

/// A script in a network namespace of its own; the program is `$0`.
fn in_a_quiet_network(script: &str) -> Option<Command> {
    if !is_root() {
        return None;
    }
    let probe = "ip link set lo up && ip link add quiet0 type veth peer name quiet1 && \
                 ip link set quiet0 up && ip link set quiet1 up";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", script, env!("CARGO_BIN_EXE_wirewatt")]);
        command
    };
    if !run(&mut unshare(probe)).status.success() {
        impossible("no network namespace with an idle interface can be made here");
        return None;
    }
    Some(unshare(&format!("{probe} && {script}")))
}

#[test]
fn an_idle_interface_ends_in_time() {
    for interface in ["quiet0", "lo"] {
        let script = format!("exec \"$0\" sniff -i {interface} --json --for 300ms");
        let Some(mut command) = in_a_quiet_network(&script) else {
            return;
        };
        let finished = run(&mut command);
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        let state = text(&finished.json(), "/completeness/state").to_owned();
        let expected = if interface == "lo" {
            "proven"
        } else {
            "unknown"
        };
        // The kernel itself may send a packet or two when an interface comes up.
        assert!(
            state == expected || state == "consistent",
            "{state}: {finished}"
        );

        let script = format!("exec \"$0\" sniff -i {interface} --json");
        let mut sniff = start(&mut in_a_quiet_network(&script).expect("as above"));
        sniff.wait_for_stderr(&format!("capturing on {interface}"), COMMAND_LIMIT);
        sniff.interrupt();
        let finished = sniff.finish(COMMAND_LIMIT);
        assert_eq!(finished.status.code(), Some(0), "{finished}");
    }
}

/// Markers go over the loopback interface: a capture of another one once waited 5 s for them.
#[test]
fn another_interface_than_the_loopback_does_not_wait_for_markers() {
    let script = "exec \"$0\" sniff -i quiet0 --for 10ms";
    let Some(mut command) = in_a_quiet_network(script) else {
        return;
    };
    let finished = run(&mut command);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    // They would not have come back, which would have been said.
    assert!(!finished.stderr.contains("marker"), "{finished}");
}

#[test]
fn an_interface_that_is_down_is_named() {
    let script = "ip link set quiet0 down && exec \"$0\" sniff -i quiet0 --for 60s";
    let Some(mut command) = in_a_quiet_network(script) else {
        return;
    };
    let finished = run(&mut command);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(
        finished.stderr.contains("quiet0 is down or gone"),
        "{finished}"
    );
    assert!(
        finished.stderr.contains("ip link set quiet0 up"),
        "{finished}"
    );
}

/// What runs on a loopback that is down: no marker comes back, and the run says what to look at.
#[test]
fn a_run_on_a_loopback_that_is_down_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("run");
    let script = format!(
        "ip link set lo down && exec \"$0\" run ring --out {}",
        out.display()
    );
    let Some(mut command) = in_a_quiet_network(&script) else {
        return;
    };
    let finished = run(&mut command);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("ip link set lo up"), "{finished}");
    assert!(!out.exists());
}

/// And not once the capture is over.
#[test]
fn charts_that_have_no_place_are_known_before_the_capture() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let refused = run(wirewatt()
        .args(["sniff", "--for", "1s", "--charts"])
        .arg(&file));
    assert_eq!(refused.status.code(), Some(2), "{refused}");
    assert!(
        refused.stderr.contains("it is there, and is no folder"),
        "{refused}"
    );
    assert!(!refused.stderr.contains("capturing on"), "{refused}");
}
