//! `simulate` and `check` from the outside: a long one stops when it is told to and says what is
//! missing, shows on a terminal how far it is, and its JSON is what the schema says.

mod common;

use std::process::Command;

use common::{
    COMMAND_LIMIT, Running, children, command, count, have_tools, run, signal, start, text, value,
    wirewatt,
};
use rustix::process::Signal;
use serde_json::Value;

/// Simulations and searches that take hours and little memory.
const LONG: [(&[&str], &str); 3] = [
    (
        &["simulate", "ring", "-n", "500", "--rounds", "400000000"],
        "of 400,000,000 operations ended; nothing is reported of the run that did not end",
    ),
    (
        &[
            "simulate",
            "ring",
            "-n",
            "500",
            "--rounds",
            "400000000",
            "--repeat",
            "2",
            "--json",
        ],
        "interrupted: 0 of 2 runs simulated, ",
    ),
    (
        &[
            "check",
            "ricart-agrawala",
            "-n",
            "5",
            "--states",
            "100000000",
        ],
        "interrupted: not all of it was explored",
    ),
];

/// Whether a process catches this signal.
fn catches(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

fn started(command: &mut Command) -> Running {
    let mut running = start(command);
    let pid = running.pid();
    running.wait_for("catch signals", COMMAND_LIMIT, || {
        catches(pid, Signal::INT) && catches(pid, Signal::TERM)
    });
    running
}

#[test]
fn a_long_simulation_or_search_stops_at_the_first_signal_and_says_what_is_missing() {
    for (arguments, said) in LONG {
        for stop in [Signal::INT, Signal::TERM] {
            let running = started(wirewatt().args(arguments));
            signal(running.pid(), stop);
            let finished = running.finish(COMMAND_LIMIT);
            assert_eq!(finished.status.code(), Some(2), "{stop:?}: {finished}");
            assert!(finished.stderr.contains(said), "{stop:?}: {finished}");
            // Half a run is no result. What a search has found until then is one that says so.
            match arguments {
                ["check", ..] => assert!(finished.stdout.contains(", gave up"), "{finished}"),
                [.., "--json"] => assert_eq!(finished.stdout, "[]\n"),
                _ => assert_eq!(finished.stdout, ""),
            }
        }
    }
}

/// Of several runs, those that ended before are reported.
#[test]
fn runs_that_ended_before_the_signal_are_reported() {
    let mut running = started(
        wirewatt()
            .args(["simulate", "ring", "-n", "5", "--json"])
            .args(["--repeat", "4000000000"]),
    );
    // It is past the start, and one run takes well below a second.
    running.wait_for("work for a while", COMMAND_LIMIT, {
        let pid = running.pid();
        move || cpu_ticks(pid) >= 100
    });
    signal(running.pid(), Signal::INT);
    let finished = running.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let reports = finished.json();
    let reports = reports.as_array().expect("a list");
    assert!(!reports.is_empty());
    for (seed, report) in (1..).zip(reports) {
        assert_eq!(count(report, "/seed"), seed);
        assert_eq!(count(report, "/operations/succeeded"), 1);
    }
    let said = finished.stderr.split("interrupted: ").nth(1);
    let done = said.and_then(|said| said.split(" of 4,000,000,000 runs").next());
    let done = done.map(|done| done.replace(',', ""));
    assert_eq!(done, Some(reports.len().to_string()), "{finished}");
}

/// Clock ticks, of which 100 are a second, that a process has run for.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // Fields 14 and 15 of proc_pid_stat(5); the state, after the name, is the third.
    let times = fields.split_whitespace().skip(11).take(2);
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

#[test]
fn a_terminal_shows_how_far_long_work_is_and_nothing_else_does() {
    if !have_tools(&["script"]) {
        return;
    }
    for (arguments, shown) in [
        (LONG[0].0, "of 400,000,000 operations ended\u{1b}[K"),
        (LONG[1].0, " s: 0 of 2 runs simulated, "),
        (LONG[2].0, " states\u{1b}[K"),
    ] {
        let words = [&[env!("CARGO_BIN_EXE_wirewatt")], arguments].concat();
        let mut terminal = command("script");
        let line = format!("exec '{}'", words.join("' '"));
        terminal.args(["--quiet", "--command", &line, "/dev/null"]);
        let mut running = start(&mut terminal);
        let file = running.stdout_file();
        running.wait_for(shown, COMMAND_LIMIT, || {
            String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).contains(shown)
        });
        for child in children(running.pid()) {
            signal(child, Signal::INT);
        }
        let printed = running.finish(COMMAND_LIMIT).stdout;
        let (_, after) = printed.rsplit_once("\r\u{1b}[K").expect("the line is gone");
        assert!(after.contains("interrupted: "), "{printed:?}");
    }
    // Into a file nothing of it goes, however long it takes.
    let mut running = started(wirewatt().args(LONG[0].0));
    let pid = running.pid();
    running.wait_for("work for 3 s", COMMAND_LIMIT, || cpu_ticks(pid) >= 300);
    assert_eq!(running.stderr(), "");
    assert!(!running.has_ended());
}
