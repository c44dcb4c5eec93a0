//! `sweep` from the outside: small grids on the real loopback, resumed, refused, and what they leave.

mod common;

use std::path::Path;
use std::process::Command;

use common::{
    COMMAND_LIMIT, Finished, count, free_ports, impossible, is_root, run, signal, start, text,
    value, wirewatt,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn sweep(arguments: &[&str], port: u16, out: &Path) -> Command {
    let mut command = wirewatt();
    command
        .arg("sweep")
        .args(arguments)
        .args(["--base-port", &port.to_string(), "--out"])
        .arg(out);
    command
}

fn resume(out: &Path) -> Command {
    let mut command = wirewatt();
    command.args(["sweep", "--resume"]).arg(out);
    command
}

#[track_caller]
fn ended_with(finished: Finished, code: i32) -> Finished {
    assert_eq!(finished.status.code(), Some(code), "{finished}");
    finished
}

fn saved(out: &Path) -> Value {
    let text = std::fs::read(out.join("sweep.json")).expect("sweep.json");
    let swept: Value = serde_json::from_slice(&text).expect("JSON");
    let schema = serde_json::from_str(include_str!("../docs/sweep.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let errors: Vec<_> = validator
        .iter_errors(&swept)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    swept
}

/// Messages by the textbook: N a token's way around, 4(N-1) a transaction.
fn formula(algorithm: &str, n: u64) -> u64 {
    match algorithm {
        "ring" => n,
        "two-phase-commit" => 4 * (n - 1),
        other => panic!("no formula for {other}"),
    }
}

fn list<'a>(swept: &'a Value, at: &str) -> &'a [Value] {
    value(swept, at).as_array().expect("an array")
}

#[track_caller]
fn assert_whole_grid(swept: &Value, repeat: u64) {
    let places: Vec<(&str, u64)> = list(swept, "/points")
        .iter()
        .map(|point| (text(point, "/algorithm"), count(point, "/n")))
        .collect();
    let wanted = [
        ("two-phase-commit", 2),
        ("two-phase-commit", 3),
        ("ring", 2),
        ("ring", 3),
    ];
    assert_eq!(places, wanted);
    for point in list(swept, "/points") {
        let messages = formula(text(point, "/algorithm"), count(point, "/n"));
        assert_eq!(count(point, "/runs"), repeat);
        assert_eq!(point["verdicts"], json!({ "exact": repeat }));
        assert_eq!(count(point, "/formula"), messages);
        let all_equal = json!({
            "median": messages as f64,
            "least": messages as f64,
            "greatest": messages as f64
        });
        assert_eq!(point["measured"]["messages"], all_equal);
        assert_eq!(count(point, "/predicted/messages"), messages);
    }
    let cells = list(swept, "/cells");
    assert_eq!(cells.len() as u64, 4 * repeat);
    for cell in cells {
        let messages = formula(text(cell, "/algorithm"), count(cell, "/n"));
        assert_eq!(count(cell, "/cost/messages"), messages);
        assert_eq!(count(cell, "/exit_code"), 0);
    }
}

const GRID: [&str; 6] = ["two-phase-commit", "ring", "-n", "2..=3", "--repeat", "2"];

#[test]
fn a_small_grid_is_exact_and_is_kept() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    let first = ended_with(run(sweep(&GRID, port, &out).arg("--json")), 0);
    let swept = saved(&out);
    assert_eq!(first.json(), swept);
    assert_whole_grid(&swept, 2);
    assert_eq!(count(&swept, "/wanted"), 8);
    assert!(first.stderr.contains("[8/8]"), "{first}");
    for cell in list(&swept, "/cells") {
        // Each is a run's folder, of which the verdict can be made again.
        let path = out.join(text(cell, "/folder"));
        assert!(path.join("capture.pcapng").exists(), "{}", path.display());
    }
    let one = out.join("two-phase-commit/n3/run2");
    ended_with(run(wirewatt().arg("audit").arg(one)), 0);
    assert!(out.join("sweep.html").exists());

    // The same command again has nothing left to do.
    let before = std::fs::read(out.join("sweep.json")).expect("sweep.json");
    let again = ended_with(run(&mut sweep(&GRID, port, &out)), 0);
    assert!(
        again.stderr.contains("8 of 8 runs were done before"),
        "{again}"
    );
    assert!(!again.stderr.contains("[8/8]"), "{again}");
    assert!(again.stdout.contains("8 of 8 runs ended"), "{again}");
    assert_eq!(
        std::fs::read(out.join("sweep.json")).expect("sweep.json"),
        before
    );
}

#[test]
fn another_grid_is_refused_and_nothing_is_lost() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    let grid = ["ring", "-n", "2", "--repeat", "1"];
    ended_with(run(&mut sweep(&grid, port, &out)), 0);
    let before = std::fs::read(out.join("sweep.json")).expect("sweep.json");
    for (changed, what) in [
        (
            &["ring", "-n", "2..=3", "--repeat", "1"][..],
            "n was [2] and is [2,3]",
        ),
        (
            &["ring", "-n", "2", "--repeat", "2"],
            "repeat was 1 and is 2",
        ),
        (
            &["centralized", "-n", "2", "--repeat", "1"],
            "algorithms was [ring] and is [centralized]",
        ),
        (
            &[
                "ring",
                "-n",
                "2",
                "--repeat",
                "1",
                "--connections",
                "per-message",
            ],
            "connections was persistent and is per-message",
        ),
        (
            &["ring", "-n", "2", "--repeat", "1", "--grid", "100"],
            "energy was energy by datacenter-3-hops, grid us-2018",
        ),
        (
            &["ring", "-n", "2", "--repeat", "1", "--pue", "2"],
            "and is energy by datacenter-3-hops with a PUE of 2, grid us-2018",
        ),
        (
            &["ring", "-n", "2", "--repeat", "1", "--mtu", "9000"],
            "another grid: mtu was 1500 and is 9000; give",
        ),
    ] {
        let refused = ended_with(run(&mut sweep(changed, port, &out)), 2);
        assert!(refused.stderr.contains("another grid"), "{refused}");
        assert!(refused.stderr.contains(what), "{what}: {refused}");
        assert!(!refused.stderr.contains("models was"), "{refused}");
    }
    assert_eq!(
        std::fs::read(out.join("sweep.json")).expect("sweep.json"),
        before
    );
    let mtu = ["--resume", out.to_str().expect("UTF-8"), "--mtu", "9000"];
    let refused = ended_with(run(wirewatt().arg("sweep").args(mtu)), 2);
    assert!(refused.stderr.contains("cannot be used with"), "{refused}");
}

/// What `sweep.toml` said before there was a choice.
#[test]
fn a_sweep_is_of_one_mtu_and_an_earlier_one_of_1500() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    let payload = ["ring", "-n", "2", "--repeat", "1", "--payload", "10000"];
    let grid = [&payload[..], &["--mtu", "9000"]].concat();
    let told = ended_with(run(&mut sweep(&grid, port, &out)), 0);
    let note = "projected onto Ethernet with an MTU of 9,000";
    assert!(told.stdout.contains(note), "{told}");
    let swept = saved(&out);
    assert_eq!(count(&swept, "/conditions/mtu"), 9000);
    let report = std::fs::read(out.join("ring/n2/run1/report.json")).expect("report.json");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let ring = common::protocol(&report, "ring");
    // Two tokens of 10,074 bytes, 8948 a frame at most.
    let packets = count(ring, "/packets/total");
    assert_eq!(count(ring, "/projection/frames"), packets + 2);
    let resumed = ended_with(run(&mut resume(&out)), 0);
    assert_eq!(count(&saved(&out), "/conditions/mtu"), 9000, "{resumed}");

    let toml = std::fs::read_to_string(out.join("sweep.toml")).expect("sweep.toml");
    let earlier = toml.replace("mtu = 9000\n", "");
    std::fs::write(out.join("sweep.toml"), earlier).expect("written");
    let refused = ended_with(run(&mut sweep(&grid, port, &out)), 2);
    assert!(
        refused.stderr.contains("mtu was 1500 and is 9000"),
        "{refused}"
    );
    let usual = ended_with(run(&mut sweep(&payload, port, &out)), 0);
    assert!(
        usual.stderr.contains("1 of 1 runs were done before"),
        "{usual}"
    );
}

/// Figures of two versions do not belong in one table.
#[test]
fn a_sweep_of_another_version_is_not_gone_on_with() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    let grid = ["ring", "-n", "2", "--repeat", "1"];
    ended_with(run(&mut sweep(&grid, port, &out)), 0);
    std::fs::remove_file(out.join("ring/n2/run1/cell.json")).expect("there");
    let file = out.join("sweep.toml");
    let begun = std::fs::read_to_string(&file).expect("sweep.toml");
    let this = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(begun.contains(&this), "{begun}");
    std::fs::write(&file, begun.replace(&this, "version = \"0.0.9\"")).expect("written");
    for mut command in [sweep(&grid, port, &out), resume(&out)] {
        let refused = ended_with(run(&mut command), 2);
        for told in [
            "holds runs of wirewatt 0.0.9",
            "another --out",
            "wirewatt plot",
        ] {
            assert!(refused.stderr.contains(told), "{told}: {refused}");
        }
    }
    assert!(!out.join("ring/n2/run1/cell.json").exists());
    // What is there can be drawn.
    let charts = folder.path().join("charts");
    ended_with(
        run(wirewatt().arg("plot").arg(&out).arg("-o").arg(charts)),
        0,
    );
}

#[test]
fn faults_and_seed_are_those_of_every_run_and_of_the_grid() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(4));
    // With two processes there is no process 2.
    let begun = ["ring", "-n", "2,3", "--repeat", "2", "--seed", "7"];
    let grid = [&begun[..], &["--fault", "delay=2ms,of=2"]].concat();
    let swept = ended_with(run(&mut sweep(&grid, port, &out)), 0);
    let why = "skipped ring, N 2: --fault 'delay=2ms,of=2': there is no process 2";
    assert!(swept.stderr.contains(why), "{swept}");
    assert!(swept.stdout.contains("delay=2ms,of=2\n"), "{swept}");
    let report = saved(&out);
    assert_eq!(report["conditions"]["faults"], json!(["delay=2ms,of=2"]));
    assert_eq!(report["conditions"]["seed"], 7);
    let [point] = list(&report, "/points") else {
        panic!("{report}")
    };
    assert_eq!(point["verdicts"], json!({ "exact": 2 }));
    assert_eq!(
        point["predicted"],
        Value::Null,
        "nothing is predicted of faults"
    );
    let delayed = point["measured"]["time"]["least"].as_f64();
    assert!(delayed.is_some_and(|time| time >= 2e6), "{point}");
    for (repeat, seed) in [(1, "seed = 7\n"), (2, "seed = 8\n")] {
        let record = out.join(format!("ring/n3/run{repeat}/run.toml"));
        let record = std::fs::read_to_string(record).expect("run.toml");
        assert!(record.contains(seed), "{record}");
        assert!(record.contains("faults = [\"delay=2ms,of=2\"]"), "{record}");
    }

    let again = ended_with(run(&mut resume(&out)), 0);
    assert!(
        again.stderr.contains("2 of 2 runs were done before"),
        "{again}"
    );
    for (changed, told) in [
        (&[][..], "faults was [delay=2ms,of=2] and is not given"),
        (
            &["--fault", "delay=3ms,of=2"],
            "faults was [delay=2ms,of=2] and is [delay=3ms,of=2]",
        ),
    ] {
        let grid = [&begun[..], changed].concat();
        let refused = ended_with(run(&mut sweep(&grid, port, &out)), 2);
        assert!(refused.stderr.contains(told), "{told}: {refused}");
    }
    let other_seed = [
        "ring",
        "-n",
        "2,3",
        "--repeat",
        "2",
        "--fault",
        "delay=2ms,of=2",
    ];
    let refused = ended_with(run(&mut sweep(&other_seed, port, &out)), 2);
    assert!(
        refused.stderr.contains("seed was 7 and is not given"),
        "{refused}"
    );

    let new = folder.path().join("new");
    for (fault, told) in [
        ("delay=2ms,of=9", "there is no process 9"),
        ("slow=2ms", "--fault 'slow=2ms'"),
        ("kill=coordinator@after-votes", "ring has no"),
    ] {
        let grid = ["ring", "-n", "2,3", "--fault", fault];
        let refused = ended_with(run(&mut sweep(&grid, port, &new)), 2);
        assert!(refused.stderr.contains(told), "{told}: {refused}");
    }
    assert!(!new.exists(), "nothing is left of what never began");
}

#[test]
fn an_interrupted_sweep_goes_on_where_it_was() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    let mut running = start(&mut sweep(&GRID, port, &out));
    // The third run has begun, and is not done.
    let third = out.join("ring/n2/run1");
    running.wait_for("the third run", COMMAND_LIMIT, || {
        third.join("run.toml").exists()
    });
    signal(running.pid(), Signal::INT);
    let stopped = ended_with(running.finish(COMMAND_LIMIT), 2);
    assert!(stopped.stderr.contains("interrupted: "), "{stopped}");
    assert!(stopped.stderr.contains("sweep --resume"), "{stopped}");
    let done = |out: &Path| -> Vec<String> {
        let swept = saved(out);
        let cells = list(&swept, "/cells").iter();
        cells.map(|cell| text(cell, "/folder").to_owned()).collect()
    };
    let before = done(&out);
    assert!(before.len() >= 2 && before.len() < 8, "{before:?}");
    let cell_of = |folder: &str| std::fs::read(out.join(folder).join("cell.json")).expect("done");
    let kept: Vec<Vec<u8>> = before.iter().map(|folder| cell_of(folder)).collect();

    let resumed = ended_with(run(&mut resume(&out)), 0);
    let were_done = format!("{} of 8 runs were done before", before.len());
    assert!(resumed.stderr.contains(&were_done), "{resumed}");
    assert_whole_grid(&saved(&out), 2);
    let still: Vec<Vec<u8>> = before.iter().map(|folder| cell_of(folder)).collect();
    assert_eq!(kept, still, "finished runs are kept");
}

#[test]
fn a_run_that_was_cut_off_is_done_again() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    ended_with(run(&mut sweep(&GRID, port, &out)), 0);
    // As SIGKILL leaves it: files, and no word that it is done.
    let cut = out.join("ring/n3/run1");
    std::fs::remove_file(cut.join("cell.json")).expect("there");
    std::fs::write(cut.join("capture.pcapng"), b"half").expect("written");
    let again = ended_with(run(&mut sweep(&GRID, port, &out)), 0);
    assert!(
        again.stderr.contains("7 of 8 runs were done before"),
        "{again}"
    );
    assert_whole_grid(&saved(&out), 2);
    ended_with(run(wirewatt().arg("audit").arg(cut)), 0);
}

/// One run under two names would be two runs in the median.
#[test]
fn a_run_that_was_copied_does_not_count_twice() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    let grid = ["ring", "-n", "2", "--repeat", "2"];
    ended_with(run(&mut sweep(&grid, port, &out)), 0);
    let of = |repeat: u32| out.join(format!("ring/n2/run{repeat}/cell.json"));
    std::fs::copy(of(1), of(2)).expect("copied");
    let refused = ended_with(run(&mut resume(&out)), 2);
    assert!(
        refused.stderr.contains("it is of ring, N 2, run 1"),
        "{refused}"
    );
    assert!(refused.stderr.contains("delete its folder"), "{refused}");
}

#[test]
fn what_is_not_possible_is_skipped_with_a_reason() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(4));
    let grid = ["pbft", "ring", "-n", "3,4", "--repeat", "1"];
    let swept = ended_with(run(&mut sweep(&grid, port, &out)), 0);
    let why = "skipped pbft, N 3: pbft needs at least 4 processes, not 3";
    assert!(swept.stderr.contains(why), "{swept}");
    assert!(swept.stdout.contains(why), "{swept}");
    let report = saved(&out);
    assert_eq!(list(&report, "/cells").len(), 3);
    assert_eq!(count(&report, "/skipped/0/n"), 3);
}

#[test]
fn a_run_that_fails_is_told_and_the_others_go_on() {
    let folder = folder();
    let (out, port) = (folder.path().join("sweep"), free_ports(3));
    // The third process of three finds its port taken.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port + 2)).expect("free");
    let grid = ["ring", "-n", "2,3", "--repeat", "1"];
    let swept = ended_with(run(&mut sweep(&grid, port, &out)), 2);
    assert!(swept.stdout.contains("ring, N 3, run 1: failed"), "{swept}");
    let report = saved(&out);
    assert_eq!(report["points"][0]["verdicts"], json!({ "exact": 1 }));
    assert_eq!(report["points"][1]["verdicts"], json!({ "failed": 1 }));
    assert_eq!(report["points"][1]["measured"], Value::Null);
}

#[test]
fn folders_and_numbers_that_cannot_be_used_are_refused() {
    let folder = folder();
    let refused = |command: &mut Command, why: &str| {
        let refused = ended_with(run(command), 2);
        assert!(refused.stderr.contains(why), "{why}: {refused}");
    };
    let path = folder.path();
    refused(&mut resume(path), "there is no sweep.toml in it");
    std::fs::write(path.join("mine.txt"), "mine").expect("written");
    refused(
        &mut sweep(&["ring", "-n", "2"], 20_000, path),
        "is not empty",
    );
    let new = path.join("new");
    refused(&mut sweep(&["ring", "-n", "2..5"], 20_000, &new), "2..=5");
    refused(
        &mut sweep(&["ring", "ring", "-n", "2"], 20_000, &new),
        "named twice",
    );
    refused(
        &mut sweep(&["ringg", "-n", "2"], 20_000, &new),
        "no algorithm",
    );
    refused(
        &mut sweep(&["ring", "-n", "2", "--option", "x=1"], 20_000, &new),
        "has no option 'x'",
    );
    refused(
        &mut sweep(&["pbft", "-n", "2,3"], 20_000, &new),
        "nothing of the grid can be run",
    );
    assert!(!new.exists(), "nothing is left of what never began");
}

#[test]
fn a_sweep_goes_on_once_a_full_disk_has_room_again() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let port = free_ports(3);
    // A run's files are some 70 KiB.
    let script = format!(
        "mount -t tmpfs -o size=300k none \"$1\" || exit 99\n\
         \"$0\" sweep {} --base-port {port} --out \"$1/sweep\" > /dev/null\n\
         echo \"full: $?\" >&2\n\
         mount -o remount,size=20m \"$1\" || exit 98\n\
         \"$0\" sweep --resume \"$1/sweep\" --json",
        GRID.join(" ")
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_wirewatt")]);
    let finished = run(command.arg(folder.path()));
    if finished.status.code() == Some(99) || finished.stderr.contains("unshare failed") {
        impossible("no disk of its own can be mounted here");
        return;
    }
    let finished = ended_with(finished, 0);
    for told in ["No space left", "make room, and go on with", "full: 2"] {
        assert!(finished.stderr.contains(told), "{told}: {finished}");
    }
    assert_whole_grid(&finished.json(), 2);
}
