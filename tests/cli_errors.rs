//! What goes wrong before or during a command: the message says what and what to do next, the exit
//! code is 2, nothing is left running, and what was captured and counted stays.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{
    COMMAND_LIMIT, Finished, Running, children, count, free_ports, impossible, is_root, lines_in,
    lives, run, signal, start, text, wait_until, wirewatt,
};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Fails unless the command ended with exit code 2 and said all of these on standard error.
#[track_caller]
fn assert_refused(finished: &Finished, parts: &[&str]) {
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    for part in parts {
        assert!(finished.stderr.contains(part), "no {part:?}: {finished}");
    }
    assert_eq!(finished.stdout, "", "{finished}");
}

#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    assert_refused(&run(wirewatt().args(arguments)), parts);
}

/// `run ALGORITHM --base-port FREE --out FOLDER/run`.
fn run_in(folder: &Path, algorithm: &str) -> Command {
    let mut command = wirewatt();
    command
        .args(["run", algorithm, "--base-port", &free_ports(8).to_string()])
        .arg("--out")
        .arg(folder.join("run"));
    command
}

/// A run that goes on until it is stopped, with nodes at work.
fn long_run(folder: &Path, arguments: &[&str]) -> (Running, Vec<u32>) {
    let mut run = start(
        run_in(folder, "ring")
            .args(["--rounds", "10000000"])
            .args(arguments),
    );
    let ledger = folder.join("run/ledger.jsonl");
    run.wait_for("a ledger of 100 lines", COMMAND_LIMIT, || {
        lines_in(&ledger) >= 100
    });
    let nodes = children(run.pid());
    assert_eq!(nodes.len(), 4, "one process a node");
    (run, nodes)
}

/// A run that went wrong leaves a folder from which it can be looked at.
fn assert_folder_can_be_read(folder: &Path, problem: &str) {
    let run_folder = folder.join("run");
    let analyzed = run(wirewatt()
        .args(["analyze", "--json"])
        .arg(run_folder.join("capture.pcapng")));
    assert_eq!(analyzed.status.code(), Some(0), "{analyzed}");
    assert!(count(&analyzed.json(), "/completeness/packets_seen") > 0);
    let report = std::fs::read(run_folder.join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let audited = run(wirewatt().args(["audit", "--json"]).arg(&run_folder));
    assert_eq!(audited.status.code(), Some(2), "{audited}");
    assert!(audited.stderr.contains(problem), "{audited}");
    assert_eq!(audited.json()["audit"], report["audit"]);
    assert_eq!(audited.json()["protocols"], report["protocols"]);
}

#[test]
fn without_permission_the_way_to_it_is_said() {
    let folder = folder();
    // A copy has no file capabilities, and without the bounding set root has none either.
    let program = folder.path().join("wirewatt");
    std::fs::copy(env!("CARGO_BIN_EXE_wirewatt"), &program).expect("a copy of the program");
    let out = folder.path().join("run");
    let commands = [
        vec!["sniff", "--for", "1s"],
        vec!["run", "ring", "--out", out.to_str().expect("UTF-8")],
    ];
    for arguments in commands {
        let refused = std::thread::scope(|scope| {
            let refused = || {
                if rustix::process::geteuid().is_root() {
                    remove_capability_from_bounding_set(CapabilitySet::NET_RAW).expect("as root");
                }
                run(Command::new(&program).args(&arguments))
            };
            scope.spawn(refused).join().expect("the command runs")
        });
        assert_refused(
            &refused,
            &[
                "no permission to capture on lo",
                "sudo setcap cap_net_raw+ep",
                program.to_str().expect("UTF-8"),
            ],
        );
    }
    assert!(!out.exists(), "nothing is left of a run that never began");
}

#[test]
fn a_missing_interface_is_answered_with_those_there_are() {
    refused(
        &["sniff", "-i", "nope0", "--for", "1s"],
        &["no interface named nope0", "there are: ", "lo"],
    );
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let folder = folder();
    let base = free_ports(4);
    let _holder = TcpListener::bind(("127.0.0.1", base + 2)).expect("a free port");
    let finished = run(wirewatt()
        .args(["run", "ring", "--base-port", &base.to_string(), "--out"])
        .arg(folder.path().join("deep/down/run")));
    let address = format!("node 2 cannot listen: 127.0.0.1:{} is in use", base + 2);
    assert_refused(&finished, &[&address, "choose another --base-port"]);
    if rustix::process::geteuid().is_root() {
        let holder = format!("(pid {})", std::process::id());
        assert_refused(&finished, &[&holder]);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_node_that_dies_is_named_and_the_rest_is_kept() {
    for connections in ["persistent", "per-message", "per-exchange"] {
        let folder = folder();
        let (run, nodes) = long_run(
            folder.path(),
            &["--timeout", "100s", "--connections", connections],
        );
        signal(nodes[2], Signal::KILL);
        let finished = run.finish(COMMAND_LIMIT);
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        for part in ["node 2 died: signal: 9", "of 10000000 operations ended"] {
            assert!(finished.stderr.contains(part), "no {part:?}: {finished}");
        }
        assert!(finished.stdout.contains("token"), "a report: {finished}");
        assert!(!nodes.into_iter().any(lives));
        assert_folder_can_be_read(folder.path(), "node 2 died");
    }
}

#[test]
fn a_node_that_never_answers_is_named_and_killed() {
    let folder = folder();
    let (run, nodes) = long_run(folder.path(), &["--timeout", "2s"]);
    signal(nodes[1], Signal::STOP);
    let finished = run.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    for part in ["node 1 never answered", "within 2s (--timeout)"] {
        assert!(finished.stderr.contains(part), "no {part:?}: {finished}");
    }
    assert!(!nodes.into_iter().any(lives));
    assert_folder_can_be_read(folder.path(), "node 1 never answered");
}

#[test]
fn nodes_that_need_too_long_are_told_by_their_timeout() {
    let folder = folder();
    let finished = run(run_in(folder.path(), "ring").args([
        "--rounds",
        "10000000",
        "--timeout",
        "1500ms",
        "--json",
    ]));
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let limit = "of 10000000 operations ended within 1.5s (--timeout)";
    assert!(finished.stderr.contains(limit), "{finished}");
    assert_eq!(text(&finished.json(), "/completeness/state"), "proven");
    assert_folder_can_be_read(folder.path(), "operations ended within 1.5s");
}

/// "1 of 1 operations ended within 0ns (--timeout)" told nobody what was wrong.
#[test]
fn a_timeout_after_the_last_operation_is_told_as_such() {
    let folder = folder();
    let finished = run(run_in(folder.path(), "ring").args(["--timeout", "0"]));
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let some = "operations ended within 0s (--timeout)";
    let all = "1 of 1 operations ended, but the nodes did not come to rest within 0s (--timeout)";
    let told = &finished.stderr;
    assert!(
        told.contains(all) || told.contains("0 of 1 ") && told.contains(some),
        "{finished}"
    );
}

/// A classic capture of `packets` UDP datagrams.
fn sample(packets: usize) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(65_535_u32.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for second in 0..packets as u32 {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([127, 0, 0, 1, 127, 0, 0, 1, 200, 0, 20, 0, 0, 12, 0, 0]);
        frame.extend(b"data");
        for field in [second, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn file(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_file_that_is_no_capture_is_told_from_a_missing_and_an_empty_one() {
    let folder = folder();
    let missing = folder.path().join("missing.pcap").display().to_string();
    refused(&["analyze", &missing], &[&missing, "no such file"]);
    let directory = folder.path().display().to_string();
    refused(
        &["analyze", &directory],
        &["is a directory", "name the capture files in it"],
    );
    let empty = file(folder.path(), "empty.pcap", b"");
    refused(&["analyze", &empty], &[&empty, "is empty"]);
    let foreign = file(folder.path(), "foreign.pcap", b"GIF89a and so on and so on");
    refused(
        &["analyze", &foreign],
        &[&foreign, "not a pcap or pcapng capture", "editcap"],
    );
    let header = file(folder.path(), "header.pcap", &sample(1)[..13]);
    refused(
        &["analyze", &header],
        &[&header, "ends inside its file header"],
    );
    // One bad file among good ones is refused before anything is read.
    let good = file(folder.path(), "good.pcap", &sample(3));
    refused(&["analyze", &good, &missing], &[&missing, "no such file"]);
    refused(
        &["audit", &directory],
        &["is not the folder of a run", "run.toml"],
    );
}

#[test]
fn what_a_cut_or_damaged_file_holds_is_reported_and_the_exit_code_is_2() {
    let folder = folder();
    let whole = sample(10);
    let cut = file(folder.path(), "cut.pcap", &whole[..whole.len() - 7]);
    let mut damaged = whole.clone();
    let record = (whole.len() - 24) / 10;
    let captured_length = 24 + 5 * record + 8;
    damaged[captured_length..captured_length + 4].fill(0xff);
    let damaged = file(folder.path(), "damaged.pcap", &damaged);
    for (file, packets, said) in [
        (cut, 9, "cut in the middle of the record"),
        (damaged, 5, "damaged at offset"),
    ] {
        let finished = run(wirewatt().args(["analyze", "--json", &file]));
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        assert!(finished.stderr.contains(&file), "{finished}");
        assert!(finished.stderr.contains(said), "{finished}");
        let report = finished.json();
        assert_eq!(count(&report, "/completeness/packets_seen"), packets);
        assert_eq!(text(&report, "/completeness/state"), "incomplete");
        assert_eq!(report["source"]["partial"], true);
    }
    let whole = file(folder.path(), "whole.pcap", &whole);
    let finished = run(wirewatt().args(["analyze", "--json", &whole]));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    assert_eq!(finished.json()["source"]["partial"], false);
}

/// Runs `analyze -` with this on standard input.
fn analyze_input(input: &[u8]) -> Finished {
    let folder = folder();
    let path = file(folder.path(), "input", input);
    let script = "exec \"$0\" analyze - --json < \"$1\"";
    run(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_wirewatt"), &path]))
}

#[test]
fn standard_input_is_a_capture_like_any_other() {
    let finished = analyze_input(&sample(4));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    assert_eq!(text(&finished.json(), "/source/kind"), "stdin");
    assert_eq!(count(&finished.json(), "/completeness/packets_seen"), 4);
    assert_refused(&analyze_input(b""), &["standard input", "is empty"]);
    assert_refused(
        &analyze_input(b"no capture at all"),
        &["not a pcap or pcapng capture"],
    );
}

#[test]
fn a_bad_protocols_file_is_named_with_its_line() {
    let folder = folder();
    let head = "# mine\n[[protocol]]\nname = \"a\"\n";
    for (line, content, parts) in [
        (
            4,
            format!("{head}ports = [\"70000\"]\n"),
            &["'70000'", "1 to 65535"][..],
        ),
        (
            4,
            format!("{head}ports = []\n"),
            &["no ports", "expected at least one"],
        ),
        (
            5,
            format!("{head}ports = [\"1\"]\nframing = \"resp9\"\n"),
            &["'resp9'", "expected one of wirewatt, line"],
        ),
        (
            5,
            format!("{head}ports = [\"1\"]\ntransport = \"sctp\"\n"),
            &["'sctp'", "expected \"tcp\" or \"udp\""],
        ),
        (
            5,
            format!("{head}ports = [\"1\"]\ncolour = 3\n"),
            &["colour", "expected"],
        ),
        (4, format!("{head}ports = [\"1\"\n"), &["expected"]),
    ] {
        let path = file(folder.path(), "mine.toml", content.as_bytes());
        let place = format!("{path}:{line}: ");
        let parts: Vec<&str> = [place.as_str()].iter().chain(parts).copied().collect();
        for command in [&["sniff", "--for", "1s"][..], &["analyze", "x.pcap"]] {
            let finished = run(wirewatt().args(command).args(["--protocols", &path]));
            assert_refused(&finished, &parts);
        }
    }
    let missing = folder.path().join("none.toml").display().to_string();
    let parts = ["cannot read the protocols file", missing.as_str()];
    refused(&["analyze", "--protocols", &missing, "x.pcap"], &parts);
}

#[test]
fn ports_that_two_of_the_users_protocols_claim_are_refused() {
    let folder = folder();
    let both = ["protocols 'a' and 'b' both claim port 7"];
    refused(
        &[
            "analyze",
            "--protocol",
            "a=1-7",
            "--protocol",
            "b=7:line",
            "x.pcap",
        ],
        &both,
    );
    let content = "[[protocol]]\nname = \"a\"\nports = [\"5-9\"]\n";
    let path = file(folder.path(), "mine.toml", content.as_bytes());
    refused(
        &[
            "analyze",
            "--protocols",
            &path,
            "--protocol",
            "b=7",
            "x.pcap",
        ],
        &both,
    );
    refused(
        &["analyze", "--protocol", "a", "x.pcap"],
        &["no '='", "NAME=PORTS[:FRAMING]"],
    );
    let unknown = ["no framing is called 'x'", "expected one of"];
    refused(&["analyze", "--protocol", "a=1:x", "x.pcap"], &unknown);
}

#[test]
fn output_that_cannot_be_written_is_refused_before_the_start() {
    let folder = folder();
    let file = file(folder.path(), "file", b"not a folder");
    let under = format!("{file}/below");
    refused(
        &["sniff", "-w", &under, "--for", "1s"],
        &[&under, "cannot be created", "choose a path"],
    );
    refused(
        &["run", "ring", "--out", &under],
        &[&under, "cannot make the folder", "--out"],
    );
    refused(
        &["run", "ring", "--out", &file],
        &[&file, "cannot make the folder", "--out"],
    );
    refused(
        &["sniff", "-w", "/dev/full", "--for", "1s"],
        &["/dev/full", "the disk is full"],
    );
    let full = run(Command::new("sh").args([
        "-c",
        "exec \"$0\" list > /dev/full",
        env!("CARGO_BIN_EXE_wirewatt"),
    ]));
    assert_refused(&full, &["cannot write to standard output"]);
}

/// A script in a mount namespace of its own with 600 KiB of disk at `$1`; the program is `$0`.
fn on_a_small_disk(folder: &Path, script: &str) -> Option<Command> {
    let script = format!("mount -t tmpfs -o size=600k none \"$1\" || exit 99\n{script}");
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_wirewatt")])
        .arg(folder);
    let probe = run(Command::new("unshare").args(["-m", "sh", "-c"]).args([
        "mount -t tmpfs -o size=4k none \"$0\"",
        folder.to_str().expect("UTF-8"),
    ]));
    let can = probe.status.success() || impossible("no disk of its own can be mounted here");
    can.then_some(command)
}

#[test]
fn a_run_on_a_full_disk_reports_what_it_counted() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let port = free_ports(4);
    let script = format!(
        "\"$0\" run ring --rounds 3000 --json --base-port {port} --out \"$1/run\"\n\
         code=$?\n\"$0\" audit \"$1/run\" > /dev/null\necho \"audited: $?\" >&2\nexit $code"
    );
    let Some(mut command) = on_a_small_disk(folder.path(), &script) else {
        return;
    };
    let finished = run(&mut command);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let report = finished.json();
    assert_eq!(count(&report, "/protocols/0/messages"), 12_000);
    assert_eq!(text(&report, "/completeness/state"), "proven");
    for part in [
        "capture.pcapng",
        "No space left",
        "there is no audit",
        "audited: 2",
    ] {
        assert!(finished.stderr.contains(part), "no {part:?}: {finished}");
    }
    // One line a node and file, not one a record.
    assert!(finished.stderr.lines().count() < 20, "{finished}");
}

#[test]
fn a_recording_on_a_full_disk_ends_and_the_counting_goes_on() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = receiver.local_addr().expect("bound").port();
    let script =
        format!("exec \"$0\" sniff -q --json --count 4000 -w \"$1/x.pcapng\" --protocol x={port}");
    let Some(mut command) = on_a_small_disk(folder.path(), &script) else {
        return;
    };
    let mut sniff = start(&mut command);
    sniff.wait_for_stderr("capturing on lo", COMMAND_LIMIT);
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    wait_until(COMMAND_LIMIT, || {
        for _ in 0..100 {
            sender
                .send_to(&[7; 1000], ("127.0.0.1", port))
                .expect("sent");
        }
        sniff.has_ended()
    })
    .expect("it ends after 4000 packets");
    let finished = sniff.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(
        finished.stderr.contains("the disk is full after"),
        "{finished}"
    );
    let report = finished.json();
    assert!(
        count(&report, "/protocols/0/packets/total") > 1000,
        "counted beyond the disk's room"
    );
}

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten() {
    let folder = folder();
    for taken in ["run.toml", "capture.pcapng", "ledger.jsonl"] {
        let out = folder.path().join(taken.replace('.', "-"));
        std::fs::create_dir(&out).expect("a folder");
        std::fs::write(out.join(taken), "mine").expect("a file");
        let out_text = out.to_str().expect("UTF-8");
        refused(
            &["run", "ring", "--out", out_text],
            &["holds a run already", "--out"],
        );
        assert_eq!(
            std::fs::read(out.join(taken)).expect("still there"),
            b"mine"
        );
    }
}

#[test]
fn arguments_that_make_no_sense_are_answered_with_what_would() {
    for (arguments, parts) in [
        (&["ring", "--grid", "mars"][..], &["`mars`", "us-2018"][..]),
        (&["rign"], &["'rign'", "there are: centralized, "]),
        (&["ring", "rign"], &["'rign'", "there are: centralized, "]),
        (&["ring", "ring"], &["named twice", "--rounds"]),
        (
            &["ring", "-n", "1"],
            &["ring needs at least 2 processes, not 1", "-n 2"],
        ),
        (&["all", "-n", "1"], &["needs at least 2 processes, not 1"]),
        (&["ring", "--rounds", "0"], &["0 rounds", "at least 1"]),
        (&["ring", "--base-port", "65533"], &["above 65535"]),
        (&["ring", "--base-port", "65536"], &["65536", "1..=65535"]),
        // Once this ended, after 5 s, in "no marker came back".
        (
            &["ring", "--base-port", "8787"],
            &["marker datagrams", "--base-port"],
        ),
        (&["ring", "--base-port", "0"], &["1..=65535"]),
        (
            &["ring", "--timeout", "soon"],
            &["'soon' is no duration", "as in 30s"],
        ),
        (
            &["ring", "--connections", "none"],
            &["persistent", "per-message", "per-exchange"],
        ),
        (&["ring", "--option", "x"], &["expected NAME=VALUE"]),
        (
            &["ring", "--option", "x=1"],
            &["ring has no option 'x'", "wirewatt list"],
        ),
        (&["all", "--option", "x=1"], &["has no option 'x'"]),
        (
            &["two-phase-commit", "--option", "vote-no=9"],
            &["vote-no", "from 1 to N-1"],
        ),
        // Once this was told by a node, when capture and folder were there already.
        (
            &["ring", "--payload", "99999999"],
            &["'99999999'", "from 0 to 16711624"],
        ),
        (&["ring", "-n", "abc"], &["'abc'", "from 1 to 65535"]),
        (&["ring", "-n", "-3"], &["'-3'", "from 1 to 65535"]),
        (&["ring", "-n", "100000"], &["from 1 to 65535"]),
        (
            &["ring", "--fault", "delay=5"],
            &["'5' has no unit", "as in 5ms"],
        ),
        (&[], &["ALGORITHM", "--scenario FILE.toml"]),
    ] {
        let folder = folder();
        let out = folder.path().join("run");
        let mut command = wirewatt();
        command.arg("run").args(arguments).arg("--out").arg(&out);
        assert_refused(&run(&mut command), parts);
        assert!(!out.exists(), "{arguments:?} leaves {}", out.display());
    }
    let beyond = run(wirewatt().args(["run", "ring", "--base-port", "65000", "-n", "1000"]));
    assert!(!beyond.stderr.contains("warning"), "{beyond}");
    refused(
        &["sniff", "--for", "3 weeks"],
        &["'3 weeks' is no duration", "as in 30s"],
    );
    refused(&["sniff", "--count", "0"], &["0", "1.."]);
    refused(
        &["sniff", "--filter", "foo bar", "--for", "1s"],
        &["`foo bar`", "man pcap-filter"],
    );
}

/// What a reader gets who takes one line of standard output (`| head -1`), and how it ended.
fn head(arguments: &[&str], standard_error: Stdio) -> (String, Option<i32>) {
    let mut child = wirewatt()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(standard_error)
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    output.read_line(&mut line).expect("text");
    drop(output);
    let mut status = None;
    wait_until(COMMAND_LIMIT, || {
        status = child.try_wait().expect("waited for");
        status.is_some()
    });
    (line, status.expect("it ends").code())
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = folder();
    let path = file(folder.path(), "sample.pcap", &sample(10));
    let (line, code) = head(&["analyze", "--json", &path], Stdio::inherit());
    assert_eq!((line.as_str(), code), ("{\n", Some(0)));
    assert_eq!(head(&["list"], Stdio::inherit()).1, Some(0));

    // The second algorithm runs although nobody reads the report of the first.
    let out: PathBuf = folder.path().join("runs");
    let port = free_ports(4).to_string();
    let out_text = out.to_str().expect("UTF-8");
    let arguments = [
        "run",
        "ring",
        "centralized",
        "--base-port",
        &port,
        "--out",
        out_text,
    ];
    assert_eq!(
        head(&arguments, Stdio::null()),
        ("RING\n".to_owned(), Some(0))
    );
    assert!(out.join("centralized/report.json").exists());
    assert!(out.join("comparison.html").exists());
}

/// `wirewatt … 2>&1 | head -1`: writing to a standard error that nobody reads once ended in a panic.
#[test]
fn a_standard_error_that_nobody_reads_is_no_failure() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let folder = folder();
    let path = file(folder.path(), "cut.pcap", &sample(10)[..100]);
    assert_eq!(head(&["analyze", &path], writer.into()).1, Some(2));
}

#[test]
fn more_captures_than_may_be_open_by_the_soft_limit_were_refused() {
    let files = vec!["captures/ring.pcapng"; 60].join(" ");
    let analyze = |limit: &str| {
        let wirewatt = env!("CARGO_BIN_EXE_wirewatt");
        let command = format!("ulimit {limit} 40; exec {wirewatt} analyze --json {files}");
        run(Command::new("bash").args(["-c", &command]))
    };
    let one = run(wirewatt().args(["analyze", "--json", "captures/ring.pcapng"])).json();
    let finished = analyze("-Sn");
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let seen = "/completeness/packets_seen";
    assert_eq!(count(&finished.json(), seen), 60 * count(&one, seen));
    assert_refused(
        &analyze("-n"),
        &[
            "ring.pcapng: no more files may be open",
            "`ulimit -n`",
            "mergecap",
        ],
    );
}
