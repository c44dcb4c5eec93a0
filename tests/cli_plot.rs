//! `plot` from the outside: charts of saved runs and sweeps again, and runs compared.

mod common;

use std::path::Path;

use common::{Finished, free_ports, run, wirewatt};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[track_caller]
fn ended_with(finished: Finished, code: i32) -> Finished {
    assert_eq!(finished.status.code(), Some(code), "{finished}");
    finished
}

#[track_caller]
fn make_run(out: &Path, arguments: &[&str]) {
    let mut command = wirewatt();
    command
        .args(["run", "two-phase-commit", "--json", "--out"])
        .arg(out)
        .args(["--base-port", &free_ports(4).to_string()])
        .args(arguments);
    ended_with(run(&mut command), 0);
}

fn plot(reports: &[&Path], out: &Path, arguments: &[&str]) -> Finished {
    let mut command = wirewatt();
    command.arg("plot").args(reports).arg("--out").arg(out);
    run(command.args(arguments))
}

/// The cells of the printed row that begins so.
#[track_caller]
fn row<'a>(finished: &'a Finished, name: &str) -> Vec<&'a str> {
    let mut lines = finished.stdout.lines();
    let line = lines.find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no row {name}: {finished}"));
    line.split_whitespace().collect()
}

#[track_caller]
fn assert_drawn(out: &Path, id: &str) {
    let svg = std::fs::read_to_string(out.join(format!("{id}.svg"))).expect(id);
    assert!(svg.starts_with("<svg") && svg.contains("<desc>"), "{id}");
    let png = std::fs::read(out.join(format!("{id}.png"))).expect(id);
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "{id}");
}

/// Four processes: 3 pairs of neighbours and 12 messages, whose bytes are the same over any
/// connection.
#[test]
fn persistent_and_per_message_connections_compare() {
    let folder = folder();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    make_run(&one, &[]);
    make_run(&other, &["--connections", "per-message"]);
    let out = folder.path().join("charts");
    // A report's file will do as well as its folder.
    let report = other.join("report.json");
    let plotted = ended_with(plot(&[&one, &report], &out, &[]), 0);
    assert_eq!(
        row(&plotted, "figure"),
        ["persistent", "per-message", "difference", "ratio"]
    );
    assert_eq!(row(&plotted, "verdict"), ["exact", "exact"]);
    assert_eq!(row(&plotted, "messages  "), ["12", "12", "+0", "×1.00"]);
    assert!(!plotted.stdout.contains("different work"), "{plotted}");
    assert_eq!(row(&plotted, "connections"), ["3", "12", "+9", "×4.00"]);
    assert_eq!(row(&plotted, "vote-yes"), ["3", "3", "+0", "×1.00"]);
    assert_eq!(row(&plotted, "framing"), ["672", "672", "+0", "×1.00"]);
    for id in ["totals-compared", "kinds-compared", "layers-compared"] {
        assert_drawn(&out, id);
    }
    for side in ["one", "other"] {
        assert_drawn(&out.join(side), "bytes-by-layer");
        // From the capture in the run's folder.
        assert_drawn(&out.join(side), "space-time");
    }
    let both = ended_with(plot(&[folder.path()], &folder.path().join("again"), &[]), 0);
    assert_eq!(both.stdout, plotted.stdout, "the folder of both has both");
}

#[test]
fn a_run_with_a_fault_and_one_without_compare() {
    let folder = folder();
    let (without, with) = (folder.path().join("without"), folder.path().join("with"));
    let fault = "kill=coordinator@after-votes,restart=100ms";
    make_run(&without, &[]);
    make_run(&with, &["--fault", fault]);
    let out = folder.path().join("charts");
    let plotted = ended_with(
        plot(&[&without, &with], &out, &["--chart", "totals-compared"]),
        0,
    );
    let heading = row(&plotted, "figure").join(" ");
    assert_eq!(heading, format!("without faults {fault} difference ratio"));
    assert_eq!(row(&plotted, "commit"), ["3", "0", "-3", "×0"]);
    assert_drawn(&out, "totals-compared");
    assert!(
        !out.join("kinds-compared.svg").exists(),
        "one was asked for"
    );
    assert!(!out.join("with").exists(), "one was asked for");
    // The run has its own account of what the fault cost.
    assert_drawn(&with.join("charts"), "fault-cost");
    ended_with(plot(&[&with], &out, &["--chart", "fault-cost"]), 0);
    assert_drawn(&out, "fault-cost");
}

/// Three rounds are three times the messages of one, fault or no fault.
#[test]
fn runs_of_different_work_are_named_by_it_and_told_of() {
    let folder = folder();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    make_run(&one, &[]);
    make_run(&other, &["--rounds", "3", "--payload", "10", "-n", "3"]);
    let charts = folder.path().join("charts");
    let plotted = ended_with(plot(&[&one, &other], &charts, &[]), 0);
    assert_drawn(&charts, "totals-compared");
    // Its rows would be named by N alone.
    assert!(!charts.join("emissions.svg").exists());
    let heading = plotted.stdout.lines().next().expect("a heading");
    assert!(
        heading.contains("N 4, 1 round, 0 bytes of payload"),
        "{plotted}"
    );
    assert!(
        heading.contains("N 3, 3 rounds, 10 bytes of payload"),
        "{plotted}"
    );
    assert!(
        plotted
            .stdout
            .contains("different work, rounds, payload or options"),
        "{plotted}"
    );
}

/// What a building takes is in one figure and not in the other.
#[test]
fn energy_with_another_pue_is_not_compared() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    for (name, pue) in [("one.json", "1"), ("other.json", "2"), ("same.json", "1")] {
        let mut command = wirewatt();
        command.args(["analyze", "captures/ring.pcapng", "--json", "--pue", pue]);
        std::fs::write(path(name), ended_with(run(&mut command), 0).stdout).expect("written");
    }
    let one = path("one.json");
    let plotted = ended_with(plot(&[&one, &path("other.json")], &path("charts"), &[]), 0);
    assert!(!plotted.stdout.contains("\nenergy  "), "{plotted}");
    assert!(plotted.stdout.contains("hops or PUE"), "{plotted}");
    let plotted = ended_with(plot(&[&one, &path("same.json")], &path("same"), &[]), 0);
    assert!(plotted.stdout.contains("\nenergy  "), "{plotted}");
}

#[test]
fn a_sweep_is_drawn_again_as_it_was() {
    let folder = folder();
    let (sweep, out) = (folder.path().join("sweep"), folder.path().join("charts"));
    let mut command = wirewatt();
    command
        .args(["sweep", "ring", "-n", "2,3", "--repeat", "1", "--out"])
        .arg(&sweep)
        .args(["--base-port", &free_ports(3).to_string()]);
    ended_with(run(&mut command), 0);
    let plotted = ended_with(plot(&[&sweep], &out, &[]), 0);
    assert_eq!(plotted.stdout, "");
    for id in ["messages-by-n", "bytes-by-n", "energy-by-n", "time-by-n"] {
        assert_drawn(&out, id);
        let name = format!("{id}.svg");
        let before = std::fs::read(sweep.join("charts").join(&name)).expect("drawn");
        assert_eq!(
            std::fs::read(out.join(&name)).expect("drawn"),
            before,
            "{id}"
        );
    }
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let folder = folder();
    let path = folder.path();
    let out = path.join("charts");
    let refused = |reports: &[&Path], arguments: &[&str], whys: &[&str]| {
        let refused = ended_with(plot(reports, &out, arguments), 2);
        for why in whys {
            assert!(refused.stderr.contains(why), "{why}: {refused}");
        }
        assert!(!out.exists());
    };
    refused(
        &[path],
        &[],
        &["there is no report.json or sweep.json in it"],
    );
    refused(&[&path.join("missing")], &[], &["cannot read", "missing"]);
    let other = path.join("other.json");
    std::fs::write(&other, r#"{"schema": "wirewatt-simulation/1"}"#).expect("written");
    refused(
        &[&other],
        &[],
        &["wirewatt-simulation/1", "wirewatt-report/1"],
    );
    std::fs::write(&other, "{").expect("written");
    refused(
        &[&other],
        &[],
        &["other.json: not a report: EOF", "analyze --json"],
    );
    let run = path.join("run");
    make_run(&run, &[]);
    refused(
        &[&run],
        &["--chart", "spacetime"],
        &[
            "--chart spacetime",
            "there are: ",
            "bytes-by-layer",
            "traffic",
        ],
    );
}

fn analyzed(folder: &Path, name: &str, arguments: &[&str]) -> std::path::PathBuf {
    let mut command = wirewatt();
    let command = command.args(["analyze", "--json"]).args(arguments);
    let finished = ended_with(run(command), 0);
    let file = folder.join(name);
    std::fs::write(&file, finished.stdout).expect("written");
    file
}

#[test]
fn models_of_one_name_with_other_figures_are_not_compared() {
    let folder = folder();
    let path = folder.path();
    let of = |name: &str, figure: &str| {
        let file = path.join(format!("{name}.toml"));
        let text = format!(
            "[[model]]\nname = \"mine\"\nclass = \"average-allocation\"\nboundary = \"all\"\n\
             source = \"a bill\"\nbasis = \"ip-bytes\"\njoules_per_byte = {figure}\n"
        );
        std::fs::write(&file, text).expect("written");
        let file = file.to_str().expect("a name");
        let arguments = ["captures/ring.pcapng", "--model", "mine", "--models", file];
        analyzed(path, &format!("{name}.json"), &arguments)
    };
    let (one, same, other) = (
        of("one", "30e-6"),
        of("same", "30e-6"),
        of("other", "60e-6"),
    );
    let out = path.join("charts");
    let plotted = ended_with(plot(&[&one, &same], &out, &[]), 0);
    assert_eq!(
        row(&plotted, "energy "),
        ["60", "mJ", "60", "mJ", "+0", "J", "×1.00"]
    );
    let plotted = ended_with(plot(&[&one, &other], &out, &[]), 0);
    assert!(
        plotted
            .stdout
            .contains("with different figures, and is not compared"),
        "{plotted}"
    );
    assert!(!plotted.stdout.contains(" mJ"), "{plotted}");
}

#[test]
fn emissions_are_compared_by_one_grid_alone() {
    let folder = folder();
    let path = folder.path();
    let of = |name: &str, grid: &str| {
        let arguments = ["captures/ring.pcapng", "--grid", grid];
        analyzed(path, name, &arguments)
    };
    let (one, other) = (of("one.json", "us-2018"), of("other.json", "us-2022"));
    let out = path.join("charts");
    let plotted = ended_with(plot(&[&one, &one], &out, &[]), 0);
    assert_eq!(row(&plotted, "CO2")[4..], ["+0", "g", "×1.00"], "{plotted}");
    let plotted = ended_with(plot(&[&one, &other], &out, &[]), 0);
    assert!(
        plotted
            .stdout
            .contains("CO2 is by different grids, and is not compared"),
        "{plotted}"
    );
    assert!(!plotted.stdout.contains("CO2e"), "{plotted}");
}

/// Of a protocol that counts segments, there are no kinds.
#[test]
fn messages_by_kind_are_all_messages() {
    let folder = folder();
    let path = folder.path();
    let named = analyzed(path, "named.json", &["captures/ring.pcapng"]);
    let port = "plain=7100-7199:segment";
    let plain = analyzed(
        path,
        "plain.json",
        &["captures/ring.pcapng", "--protocol", port],
    );
    let plotted = ended_with(plot(&[&named, &plain], &path.join("charts"), &[]), 0);
    assert_eq!(row(&plotted, "messages  "), ["4", "4", "+0", "×1.00"]);
    assert_eq!(row(&plotted, "token"), ["4", "0", "-4", "×0"]);
    assert_eq!(row(&plotted, "(without a kind)"), ["0", "4", "+4"]);
}

#[test]
fn runs_of_different_numbers_of_operations_are_compared_by_operation() {
    let folder = folder();
    let (one, three) = (folder.path().join("one"), folder.path().join("three"));
    make_run(&one, &[]);
    make_run(&three, &["--rounds", "3"]);
    let plotted = ended_with(plot(&[&one, &three], &folder.path().join("charts"), &[]), 0);
    assert_eq!(row(&plotted, "messages  "), ["12", "36", "+24", "×3.00"]);
    assert_eq!(
        row(&plotted, "messages an operation"),
        ["12", "12", "+0", "×1.00"]
    );
}

/// What `run --json` prints of several algorithms.
#[test]
fn an_array_of_reports_is_drawn_and_so_is_a_folder_that_is_a_file_refused() {
    let folder = folder();
    let path = folder.path();
    let report = std::fs::read_to_string("captures/ring.report.json").expect("a report");
    let two = path.join("two.json");
    std::fs::write(&two, format!("[{report}, {report}]")).expect("written");
    let out = path.join("charts");
    let plotted = ended_with(plot(&[&two], &out, &[]), 0);
    assert_eq!(row(&plotted, "messages  "), ["4", "4", "+0", "×1.00"]);
    assert_drawn(&out, "totals-compared");
    std::fs::write(&two, "[]").expect("written");
    let refused = ended_with(plot(&[&two], &out, &[]), 2);
    assert!(
        refused.stderr.contains("there is no report in it"),
        "{refused}"
    );

    let report = Path::new("captures/ring.report.json");
    let refused = ended_with(plot(&[report], &two, &[]), 2);
    assert!(
        refused.stderr.contains("it is there, and is no folder"),
        "{refused}"
    );
}

#[test]
fn runs_of_a_folder_stand_in_the_order_in_which_they_began() {
    let folder = folder();
    let several = folder.path().join("several");
    // By name they stand the other way round.
    for name in ["second", "first"] {
        make_run(&several.join(name), &[]);
    }
    let plotted = ended_with(plot(&[&several], &folder.path().join("charts"), &[]), 0);
    assert_eq!(
        row(&plotted, "figure")[..2],
        ["second", "first"],
        "{plotted}"
    );
}
