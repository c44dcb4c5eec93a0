//! Ctrl-C, SIGTERM and worse at many moments: no child is left, the ports are free again, what was
//! captured can be read, and a report that is there says that it is partial.

mod common;

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{
    COMMAND_LIMIT, Finished, Running, children, count, free_ports, lines_in, lives, protocol, run,
    signal, start, start_reading, total, wait_until, wirewatt,
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

const N: u16 = 4;

/// Where to stop a run.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// It has begun to catch signals.
    Begun,
    /// Its folder says what is run: the capture is live.
    Recorded,
    /// This many of the nodes' processes are there.
    Nodes(usize),
    /// The ledger has this many lines.
    Ledger(usize),
}

/// What a user may do to stop it.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// Ctrl-C on a terminal: SIGINT to the foreground process group.
    CtrlC,
    /// SIGINT to the command alone.
    Interrupt,
    /// SIGTERM to the command alone.
    Terminate,
}

struct Run {
    folder: TempDir,
    running: Running,
    base_port: u16,
}

impl Run {
    fn start(rounds: &str, connections: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base_port = free_ports(N);
        let mut command = wirewatt();
        command
            .args(["run", "ring", "-n", &N.to_string(), "--rounds", rounds])
            .args(["--connections", connections, "--timeout", "100s"])
            .args(["--base-port", &base_port.to_string(), "--out"])
            .arg(folder.path().join("run"))
            // A group of its own, as a shell gives to each command.
            .process_group(0);
        let running = start(&mut command);
        Self {
            folder,
            running,
            base_port,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    fn wait_for(&mut self, moment: Moment) {
        let pid = self.running.pid();
        let (record, ledger) = (self.file("run.toml"), self.file("ledger.jsonl"));
        let what = format!("{moment:?}");
        self.running
            .wait_for(&what, COMMAND_LIMIT, || match moment {
                Moment::Begun => catches_interrupts(pid),
                Moment::Recorded => record.exists(),
                Moment::Nodes(nodes) => children(pid).len() >= nodes,
                Moment::Ledger(lines) => lines_in(&ledger) >= lines,
            });
    }

    fn stop(&self, stop: Stop) {
        let pid = self.running.pid();
        match stop {
            Stop::CtrlC => {
                let group = Pid::from_raw(pid as i32).expect("a process id");
                kill_process_group(group, Signal::INT).expect("its own group");
            }
            Stop::Interrupt => signal(pid, Signal::INT),
            Stop::Terminate => signal(pid, Signal::TERM),
        }
    }

    fn assert_ports_are_free(&self) {
        for port in self.base_port..self.base_port + N {
            wait_until(COMMAND_LIMIT, || {
                TcpListener::bind(("127.0.0.1", port)).is_ok()
            })
            .unwrap_or_else(|| panic!("somebody listens on port {port}"));
        }
    }
}

/// Whether a process has a handler for SIGINT (bit 1 of the mask).
fn catches_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 2 != 0)
}

fn assert_all_end(nodes: &[u32]) {
    wait_until(COMMAND_LIMIT, || !nodes.iter().any(|&node| lives(node)))
        .unwrap_or_else(|| panic!("of {nodes:?} some still live"));
}

fn json_in(file: &Path) -> Option<Value> {
    let text = std::fs::read(file).ok()?;
    Some(serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
}

fn analyzed(capture: &Path) -> Finished {
    let analyzed = run(wirewatt().args(["analyze", "--json"]).arg(capture));
    assert_eq!(analyzed.status.code(), Some(0), "{analyzed}");
    analyzed
}

/// Stops a run once and looks at what is left.
fn check(moment: Moment, stop: Stop, connections: &str) {
    let mut run = Run::start("10000000", connections);
    run.wait_for(moment);
    let nodes = children(run.running.pid());
    run.stop(stop);
    let pid = run.running.pid();
    let mut late = Vec::new();
    wait_until(COMMAND_LIMIT, || {
        // Nodes that were started after the look above.
        late.extend(children(pid));
        run.running.has_ended()
    })
    .unwrap_or_else(|| panic!("{moment:?} {stop:?}: does not end"));
    assert_all_end(&nodes);
    assert_all_end(&late);
    run.assert_ports_are_free();

    let (capture, report) = (run.file("capture.pcapng"), run.file("report.json"));
    let Run {
        running, folder, ..
    } = run;
    let finished = running.finish(COMMAND_LIMIT);
    let case = format!("{moment:?} {stop:?} {connections}: {finished}");
    assert_eq!(finished.status.code(), Some(2), "{case}");
    assert!(finished.stderr.contains("interrupted"), "{case}");
    match json_in(&report) {
        Some(report) => {
            assert_eq!(report["source"]["partial"], true, "{case}");
            assert_eq!(report["completeness"]["state"], "proven", "{case}");
            assert!(finished.stdout.contains("partial"), "{case}");
            let offline = analyzed(&capture).json();
            assert_eq!(
                count(&offline, "/completeness/packets_seen"),
                count(&report, "/completeness/packets_seen"),
                "{case}"
            );
        }
        None => {
            let before = "interrupted before the start";
            assert!(finished.stderr.contains(before), "{case}");
            assert!(!folder.path().join("run").exists(), "{case}");
        }
    }
    if let Moment::Ledger(_) = moment {
        // All nodes were there to be asked: they became quiet and their accounts are whole.
        let report = json_in(&report).unwrap_or_else(|| panic!("no report: {case}"));
        let verdict = report["audit"]["verdict"].as_str();
        assert!(matches!(verdict, Some("exact" | "within")), "{case}");
        assert!(!finished.stderr.contains("never answered"), "{case}");
    }
}

#[test]
fn stopped_before_the_nodes_are_there() {
    for stop in [Stop::CtrlC, Stop::Terminate] {
        for moment in [Moment::Begun, Moment::Recorded] {
            check(moment, stop, "persistent");
        }
    }
}

#[test]
fn stopped_while_nodes_start() {
    for nodes in 1..=usize::from(N) {
        check(Moment::Nodes(nodes), Stop::CtrlC, "persistent");
        check(Moment::Nodes(nodes), Stop::Interrupt, "per-message");
    }
}

#[test]
fn stopped_in_the_middle() {
    for stop in [Stop::CtrlC, Stop::Interrupt, Stop::Terminate] {
        for connections in ["persistent", "per-message", "per-exchange"] {
            check(Moment::Ledger(1), stop, connections);
            check(Moment::Ledger(1000), stop, connections);
        }
    }
}

/// Near the end either may come first. A run that was complete is reported as complete.
#[test]
fn stopped_at_the_end() {
    const ROUNDS: usize = 60;
    // Each message is four lines of the ledger.
    let lines = ROUNDS * usize::from(N) * 4;
    for left in [400, 100, 40, 12, 8, 4, 0] {
        let mut run = Run::start(&ROUNDS.to_string(), "persistent");
        let pid = run.running.pid();
        let ledger = run.file("ledger.jsonl");
        let mut nodes = Vec::new();
        wait_until(COMMAND_LIMIT, || {
            nodes.extend(children(pid));
            lines_in(&ledger) + left >= lines || run.running.has_ended()
        })
        .expect("the ledger grows");
        if !run.running.has_ended() {
            run.stop(Stop::CtrlC);
        }
        wait_until(COMMAND_LIMIT, || run.running.has_ended()).expect("it ends");
        assert_all_end(&nodes);
        run.assert_ports_are_free();
        let report = json_in(&run.file("report.json")).expect("a report");
        analyzed(&run.file("capture.pcapng"));
        let finished = run.running.finish(COMMAND_LIMIT);
        let partial = report["source"]["partial"] == true;
        let expected = if partial { 2 } else { 0 };
        assert_eq!(finished.status.code(), Some(expected), "{finished}");
        assert_eq!(
            finished.stderr.contains("interrupted"),
            partial,
            "{finished}"
        );
        assert!(
            partial || report["audit"]["verdict"] == "exact",
            "{finished}"
        );
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_leaves_no_node() {
    for stopped in [false, true] {
        let mut run = Run::start("10000000", "persistent");
        run.wait_for(Moment::Ledger(100));
        let nodes = children(run.running.pid());
        assert_eq!(nodes.len(), usize::from(N));
        if stopped {
            // Nodes that cannot answer: an orderly end would have to wait for them.
            nodes.iter().for_each(|&node| signal(node, Signal::STOP));
        }
        // Again and again: two signals that wait to be delivered become one.
        wait_until(COMMAND_LIMIT, || {
            let ended = run.running.has_ended();
            if !ended {
                run.stop(Stop::CtrlC);
            }
            ended
        })
        .expect("it ends");
        assert_all_end(&nodes);
        run.assert_ports_are_free();
        analyzed(&run.file("capture.pcapng"));
        if stopped {
            assert!(!run.file("report.json").exists(), "that was no end at once");
            let folder = run.folder.path().join("run");
            let audited = common::run(wirewatt().args(["audit", "--json"]).arg(folder));
            assert_eq!(audited.status.code(), Some(2), "{audited}");
            assert!(audited.stderr.contains("was killed"), "{audited}");
            assert_eq!(audited.json()["source"]["partial"], true);
        }
        let finished = run.running.finish(COMMAND_LIMIT);
        assert_eq!(finished.status.code(), Some(2), "{finished}");
    }
}

#[test]
fn nodes_do_not_outlive_a_command_that_is_killed() {
    let mut run = Run::start("10000000", "persistent");
    run.wait_for(Moment::Ledger(100));
    let nodes = children(run.running.pid());
    // A stopped node does not read that its standard input was closed.
    signal(nodes[0], Signal::STOP);
    signal(run.running.pid(), Signal::KILL);
    assert_all_end(&nodes);
    run.assert_ports_are_free();
}

#[test]
fn what_was_not_run_after_an_interruption_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base_port = free_ports(N).to_string();
    let out = folder.path().join("runs");
    let mut running = start(
        wirewatt()
            .args(["run", "ring", "centralized", "two-phase-commit", "--json"])
            .args(["--rounds", "10000000", "--timeout", "100s"])
            .args(["--base-port", &base_port, "--out"])
            .arg(&out),
    );
    let ledger = out.join("ring/ledger.jsonl");
    running.wait_for("a ledger", COMMAND_LIMIT, || lines_in(&ledger) > 100);
    running.interrupt();
    let finished = running.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let left = "interrupted: centralized, two-phase-commit not run";
    assert!(finished.stderr.contains(left), "{finished}");
    let reports = finished.json();
    assert_eq!(reports.as_array().map(Vec::len), Some(1), "{finished}");
    assert_eq!(reports[0]["source"]["partial"], true);
}

#[test]
fn sniff_ends_with_a_whole_report_on_ctrl_c_and_on_sigterm() {
    for ending in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let recording = folder.path().join("x.pcapng");
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        receiver
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        let address = receiver.local_addr().expect("bound");
        let definition = format!("mine={}", address.port());
        let mut sniff = start(
            wirewatt()
                .args(["sniff", "--json", "--protocol", &definition, "-w"])
                .arg(&recording),
        );
        sniff.wait_for_stderr("capturing on lo", COMMAND_LIMIT);
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..100 {
            sender.send_to(b"datagram", address).expect("sent");
            receiver.recv(&mut [0; 16]).expect("received");
        }
        signal(sniff.pid(), ending);
        let finished = sniff.finish(COMMAND_LIMIT);
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        let report = finished.json();
        assert_eq!(count(protocol(&report, "mine"), "/packets/total"), 100);
        assert_eq!(count(protocol(&report, "mine"), "/bytes/payload"), 800);
        assert_eq!(report["completeness"]["state"], "proven", "{finished}");
        assert_eq!(report["source"]["partial"], false);
        let offline = run(wirewatt()
            .args(["analyze", "--json", "--protocol", &definition])
            .arg(&recording));
        assert_eq!(offline.json()["protocols"], report["protocols"]);
    }
}

/// Pipes a capture into a command, interrupts it, and writes on for as long as it reads if it is to be
/// stopped, or ends the pipe.
fn interrupted_pipe(arguments: &[&str], folder: &Path, ends: bool) -> Finished {
    let capture = std::fs::read("captures/ring.pcapng").expect("a capture of the project's");
    let mut command = wirewatt();
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    command.args(arguments).current_dir(folder);
    let mut running = start_reading(&mut command, reader);
    // Nobody but the running command has the reading end.
    drop(command);
    writer.write_all(&capture).expect("room in the pipe");
    let pid = running.pid();
    running.wait_for("catches interrupts", COMMAND_LIMIT, || {
        catches_interrupts(pid)
    });
    signal(pid, Signal::INT);
    if !ends {
        // More sections of the same, until nobody reads them.
        while writer.write_all(&capture).is_ok() {}
    }
    drop(writer);
    running.finish(COMMAND_LIMIT)
}

/// `tcpdump -w - | wirewatt …`, ended with Ctrl-C: both get it, and the first still writes what it has.
#[test]
fn a_pipe_that_ends_after_ctrl_c_is_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let whole = run(wirewatt().args(["analyze", "--json", "captures/ring.pcapng"])).json();
    for threads in ["1", "2"] {
        let arguments = ["analyze", "--json", "--threads", threads, "-"];
        let finished = interrupted_pipe(&arguments, folder.path(), true);
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        assert_eq!(finished.json()["protocols"], whole["protocols"]);
    }
}

#[test]
fn ctrl_c_ends_the_reading_of_a_pipe_and_what_was_read_counts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for threads in ["1", "2"] {
        let arguments = ["analyze", "--json", "--threads", threads, "-"];
        let finished = interrupted_pipe(&arguments, folder.path(), false);
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        assert!(finished.stderr.contains("interrupted"), "{finished}");
        let report = finished.json();
        assert_eq!(report["source"]["partial"], true);
        assert!(total(&report, "/packets/total") > 0);
    }

    let finished = interrupted_pipe(
        &["annotate", "-", "-o", "copy.pcapng"],
        folder.path(),
        false,
    );
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("interrupted"), "{finished}");
    let copy = folder.path().join("copy.pcapng");
    let report = run(wirewatt().args(["analyze", "--json"]).arg(&copy));
    assert_eq!(report.status.code(), Some(0), "{report}");

    let arguments = ["split", "--by-connection", "-p", "2", "-o", "part", "-"];
    let finished = interrupted_pipe(&arguments, folder.path(), false);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("interrupted"), "{finished}");
    for part in ["part.1-of-2.pcapng", "part.2-of-2.pcapng"] {
        let report = run(wirewatt()
            .args(["analyze", "--json"])
            .arg(folder.path().join(part)));
        // The first part says that the capture was cut short.
        let expected = if part.contains("1-of") { 2 } else { 0 };
        assert_eq!(report.status.code(), Some(expected), "{part}: {report}");
    }
}
