//! What the model checker finds, played by real nodes on real sockets.

mod common;

use std::path::{Path, PathBuf};

use common::{count, free_ports, run, text, value, wirewatt};
use serde_json::Value;
use wirewatt::algorithm::{ProcessId, Property, catalog, commitment};
use wirewatt::experiment::scenario::Scenario;
use wirewatt::simulation::check::{Model, Time};

/// The scenario of the shortest execution that breaks a property.
fn scenario(model: &Model) -> Scenario {
    let explored = model.explore().expect("a good setup");
    let counterexample = explored.counterexample.expect("a counterexample");
    Scenario::from_counterexample(model, &counterexample)
        .unwrap_or_else(|error| panic!("{error}\n{counterexample}"))
}

/// The model in which two-phase commit blocks: its coordinator dies for ever at some point.
fn blocking() -> Model {
    static NON_BLOCKING: [Property; 1] = [commitment::NON_BLOCKING];
    let algorithm = catalog::by_name("two-phase-commit").unwrap();
    let mut model = Model::new(algorithm, 4);
    model.time = Time::Synchronous;
    model.bounds.crashes = 1;
    model.bounds.may_crash = Some(vec![ProcessId(0)]);
    model.bounds.at_points = true;
    model.also = &NON_BLOCKING;
    model
}

/// The model in which three-phase commit decides twice: the network splits.
fn splitting() -> Model {
    let algorithm = catalog::by_name("three-phase-commit").unwrap();
    let mut model = Model::new(algorithm, 3);
    model.time = Time::Synchronous;
    model.bounds.splits = 1;
    model.history = commitment::votes_and_decisions;
    model
}

/// Plays a scenario; its report and its exit code.
fn play(scenario: &Scenario) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file: PathBuf = folder.path().join("counterexample.toml");
    std::fs::write(&file, scenario.to_toml()).unwrap();
    let mut command = wirewatt();
    command.args(["run", "--json", "--scenario"]).arg(&file);
    command
        .args(["--base-port", &free_ports(8).to_string(), "--out"])
        .arg(folder.path().join("run"));
    let finished = run(&mut command);
    let code = finished.status.code();
    (finished.json(), code)
}

/// The scenario of a file of the set.
fn of_the_set(name: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.toml"));
    Scenario::read(&file).expect("a scenario")
}

#[test]
fn the_checker_finds_the_scenario_in_which_two_phase_commit_blocks() {
    let found = scenario(&blocking());
    let written = of_the_set("two-phase-commit-coordinator-killed");
    assert_eq!((&found.algorithm, found.n), (&written.algorithm, written.n));
    // The one names the process, the other its role.
    assert_eq!(found.faults[0].0.to_string(), "kill=0@after-votes");
    assert_eq!(
        written.faults[0].0.to_string(),
        "kill=coordinator@after-votes"
    );
    assert_eq!((found.faults.len(), written.faults.len()), (1, 1));
    let (report, _) = play(&found);
    assert_eq!(count(&report, "/run/ended"), 0);
    assert!(
        text(&report, "/run/stalled").contains("nothing could happen any more"),
        "{}",
        report["run"]
    );
}

#[test]
fn the_checker_finds_the_scenario_in_which_three_phase_commit_decides_twice() {
    let found = scenario(&splitting());
    let (report, code) = play(&found);
    // The same two decisions, now on sockets: the report calls agreement broken.
    assert_eq!(code, Some(1));
    let properties = value(&report, "/run/properties")
        .as_array()
        .expect("a list");
    let agreement = properties.iter().find(|row| row["name"] == "agreement");
    let agreement = agreement.expect("the property");
    assert_eq!(agreement["holds"], Value::Bool(false), "{agreement}");
    // Pre-commit and do-commit to both others were withheld; nothing else was.
    assert_eq!(count(&report, "/audit/messages/findings/0/messages"), 4);
}

#[test]
fn the_command_writes_a_counterexample_as_a_scenario() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("split.toml");
    let mut command = wirewatt();
    command.args(["check", "three-phase-commit", "--synchronous"]);
    let holds = run(command.args(["--crashes", "1"]));
    assert_eq!(holds.status.code(), Some(0), "{holds}");
    let mut command = wirewatt();
    command.args(["check", "three-phase-commit", "--synchronous"]);
    let breaks = run(command.args(["--splits", "1", "--scenario"]).arg(&file));
    assert_eq!(breaks.status.code(), Some(1), "{breaks}");
    let written = Scenario::read(&file).expect("a scenario");
    let faults: Vec<_> = written.faults.iter().map(|(f, _)| f.to_string()).collect();
    assert_eq!(faults, ["delay=300ms", "split=0@450ms"]);
    let gives_up = run(wirewatt().args(["check", "maekawa", "--states", "10"]));
    assert_eq!(gives_up.status.code(), Some(2), "{gives_up}");
}
