//! `simulate` and `check` from the outside: a long one stops when it is told to and says what is
//! missing, shows on a terminal how far it is, and its JSON is what the schema says.

mod common;

use std::process::Command;

use common::{
    COMMAND_LIMIT, Running, children, command, count, have_tools, run, signal, start, wirewatt,
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

fn simulated(arguments: &[&str]) -> Value {
    let finished = run(wirewatt().arg("simulate").args(arguments).arg("--json"));
    assert!(finished.status.code() != Some(2), "{finished}");
    finished.json()
}

/// What became of each property, by name.
fn judged(arguments: &[&str]) -> Vec<(String, Value)> {
    let report = simulated(arguments);
    let promises = report["promises"].as_array().expect("promises");
    let properties = promises.iter().filter(|one| one["kind"] != "identity");
    let name = |one: &Value| one["name"].as_str().expect("a name").to_owned();
    properties
        .map(|one| (name(one), one["holds"].clone()))
        .collect()
}

/// A process that learns a rumour anew after it came back broke "at most once", which is promised
/// for processes that stay down; and a token was promised to return past a dead process.
#[test]
fn what_the_failure_model_excludes_breaks_no_property() {
    let open = |name: &str| (name.to_owned(), Value::Null);
    let held = |name: &str| (name.to_owned(), Value::Bool(true));
    let gossip = judged(&["gossip", "-n", "5", "--fault", "kill=2@30ms,restart=100ms"]);
    assert_eq!(gossip, [open("integrity"), open("everyone reached")]);
    // Death alone is what gossip lives with.
    let gossip = judged(&["gossip", "-n", "5", "--fault", "kill=2@0ms"]);
    assert_eq!(gossip, [held("integrity"), held("everyone reached")]);
    let token = judged(&["ring", "-n", "5", "--fault", "kill=2@0ms"]);
    assert_eq!(
        token,
        [held("one circulation at a time"), open("the token returns")]
    );
}

/// The command in the report has the energy of the report, and the text says what is in it.
#[test]
fn a_prediction_tells_its_models_and_is_made_again_with_them() {
    for options in [
        &["--pue", "2", "--grid", "us-2023", "--hops", "5"][..],
        &[
            "--model",
            "cisco-8201-32fh",
            "--hops",
            "2",
            "--grid",
            "38.5",
        ],
        &[],
    ] {
        let first = simulated(&[&["ring", "-n", "3"][..], options].concat());
        let command = first["command"].as_str().expect("a command");
        let words: Vec<&str> = command.split(' ').collect();
        let again = simulated(&words[2..]);
        for figure in ["energy", "carbon"] {
            assert_eq!(
                again["predicted"][figure], first["predicted"][figure],
                "{command}"
            );
        }
    }
    let told = run(wirewatt().args(["simulate", "ring", "-n", "3", "--pue", "2"]));
    let text = told.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "times 2 for what the building takes (PUE)",
        "grid us-2018: 429.6 g/kWh",
        "Boundary: ",
    ] {
        assert!(text.contains(words), "{words}: {told}");
    }
}

/// Of what is predicted for an operation that succeeded, and none of it was counted.
#[test]
fn a_prediction_has_a_carbon_intensity_that_says_so() {
    let ring = simulated(&["ring", "-n", "4", "--rounds", "3", "--grid", "100"]);
    let (sci, predicted) = (&ring["predicted"]["sci"], &ring["predicted"]);
    assert_eq!(sci["functional_unit"], "circulation");
    assert_eq!(sci["units"], 3);
    assert_eq!(sci["energy"], predicted["per_operation"]["joules"]);
    assert_eq!(sci["grams"], predicted["per_operation"]["grams"]);
    assert_eq!(sci["embodied"], Value::Null);
    let methodology = sci["methodology"].as_str().expect("words");
    let come_by = "from the projected Ethernet frames that a simulation predicts, neither counted nor \
                   measured; I of the grid 100 g/kWh";
    assert!(methodology.contains(come_by), "{methodology}");
    let boundary = sci["boundary"].as_str().expect("words");
    assert!(boundary.contains("as if on the wire"), "{boundary}");

    // M: 46.8 µJ a byte, at the grid's 100 g/kWh.
    let embodied = [
        "ring",
        "--model",
        "sustainable-web-design-4",
        "--grid",
        "100",
    ];
    let ring = simulated(&embodied);
    let ip = ring["predicted"]["bytes"]["ip"].as_f64().expect("bytes");
    let found = ring["predicted"]["sci"]["embodied"].as_f64();
    let expected = ip * 46.8e-6 / 3.6e6 * 100.0;
    assert!((found.expect("M") / expected - 1.0).abs() < 1e-9);

    // Nothing succeeded that it could be shared among.
    let killed = "kill=0@after-votes";
    let blocked = simulated(&["two-phase-commit", "--fault", killed, "--limit", "5s"]);
    assert_eq!(blocked["operations"]["succeeded"], 0);
    assert_eq!(blocked["predicted"].get("sci"), None);
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../docs/simulation.schema.json")).expect("JSON")
}

/// Reports that have everything a simulation's report can have: a formula that is an interval, a
/// property that does not hold, one that is open, a mean of operations, and none.
fn reports() -> Vec<Value> {
    let mut reports: Vec<Value> = [
        &["ring", "-n", "5"][..],
        &["maekawa", "-n", "7", "--connections", "per-exchange"],
        &["ring", "-n", "5", "--loss", "300", "--seed", "3"],
        &[
            "lamport-mutex",
            "--order",
            "any",
            "--delay",
            "0.1ms..1s",
            "--rounds",
            "3",
        ],
        &[
            "two-phase-commit",
            "--fault",
            "kill=0@after-votes",
            "--limit",
            "5s",
        ],
    ]
    .map(simulated)
    .into();
    let repeated = simulated(&["bully", "--repeat", "2"]);
    reports.extend(repeated.as_array().expect("a list").clone());
    reports
}

#[test]
fn the_json_is_what_the_schema_says_and_no_name_of_it_is_missing_there() {
    assert!(jsonschema::meta::is_valid(&schema()));
    let validator = jsonschema::validator_for(&schema()).expect("a valid schema");
    let reports = reports();
    let verdicts: Vec<_> = reports
        .iter()
        .flat_map(|report| report["promises"].as_array().expect("a list"))
        .map(|promise| promise["holds"].as_bool())
        .collect();
    for verdict in [Some(true), Some(false), None] {
        assert!(verdicts.contains(&verdict), "{verdicts:?}");
    }
    for report in &reports {
        let errors: Vec<_> = validator
            .iter_errors(report)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", report["command"]);
        // What is deeper in the prediction is described in the report's schema.
        let own = |(at, _): &(String, String)| !at.starts_with("/predicted/");
        for (at, name) in names(report, "").into_iter().filter(own) {
            let mut other = report.clone();
            let object = other.pointer_mut(&at).and_then(Value::as_object_mut);
            object.expect("an object").remove(&name);
            assert_eq!(
                validator.is_valid(&other),
                ["why", "sci"].contains(&&*name),
                "{at} without {name}"
            );
        }
        let mut more = report.clone();
        more["predicted"]["new"] = 1.into();
        assert!(validator.is_valid(&more), "later versions may add");
    }
}

/// Every name in a value, and the object that has it.
fn names(value: &Value, at: &str) -> Vec<(String, String)> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(items) => (0..)
            .zip(items)
            .map(|(i, item): (u32, _)| (i.to_string(), item))
            .collect(),
        _ => Vec::new(),
    };
    let mut names = Vec::new();
    for (name, inner) in below {
        names.extend(self::names(inner, &format!("{at}/{name}")));
        if value.is_object() {
            names.push((at.to_owned(), name));
        }
    }
    names
}

/// Figures that both have are the same figures.
#[test]
fn what_is_predicted_is_described_as_in_the_report() {
    let simulation = schema();
    let report = include_str!("../docs/report.schema.json");
    let report: Value = serde_json::from_str(report).expect("JSON");
    let described = |schema: &Value, at: &str| {
        let properties = schema.pointer(at).and_then(Value::as_object);
        properties.unwrap_or_else(|| panic!("no {at}")).clone()
    };
    for (here, there) in [
        (
            "/properties/predicted/properties",
            "/$defs/protocol/properties",
        ),
        ("/$defs", "/$defs"),
    ] {
        let there = described(&report, there);
        for (name, definition) in described(&simulation, here) {
            // A simulation has null where a report lacks the name.
            let definition = definition.pointer("/anyOf/0").unwrap_or(&definition);
            assert_eq!(Some(definition), there.get(&name), "{here}/{name}");
        }
    }
}
