//! Models, grids and the machine's own counters from the outside: what the options change, what
//! they refuse, and that every report tells the figures of every model.

mod common;

use std::fs;
use std::path::Path;

use common::{Finished, free_ports, run, text, value, wirewatt};
use serde_json::Value;

const CAPTURE: &str = "captures/two-phase-commit.pcapng";

fn analyzed(arguments: &[&str]) -> Finished {
    run(wirewatt().args(["analyze", CAPTURE]).args(arguments))
}

#[track_caller]
fn report(arguments: &[&str]) -> Value {
    let finished = analyzed(&[arguments, &["--json"]].concat());
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    finished.json()
}

fn number(value: &Value, at: &str) -> f64 {
    let number = common::value(value, at).as_f64();
    number.unwrap_or_else(|| panic!("{at} is no number"))
}

#[track_caller]
fn assert_close(left: f64, right: f64) {
    assert!(
        (left - right).abs() <= right.abs() * 1e-12,
        "{left} {right}"
    );
}

/// The figures are the counts of the same report times what the data file says.
#[test]
fn a_chosen_model_and_grid_come_first_and_all_others_beside() {
    let usual = report(&[]);
    let ip = number(&usual, "/protocols/0/bytes/ip");
    let frames = number(&usual, "/protocols/0/projection/frames");
    let bytes = number(&usual, "/protocols/0/projection/l2_bytes");
    let chosen = report(&[
        "--model",
        "sustainable-web-design-4",
        "--grid",
        "us-2022-camx",
    ]);
    assert_eq!(
        text(&chosen, "/protocols/0/energy/model"),
        "sustainable-web-design-4"
    );
    assert_eq!(text(&chosen, "/protocols/0/energy/verified"), "read");
    assert_close(number(&chosen, "/protocols/0/energy/joules"), ip * 212.4e-6);
    assert_eq!(text(&chosen, "/protocols/0/carbon/gas"), "CO2e");
    let rate = number(&chosen, "/protocols/0/carbon/grams_per_kwh");
    // M of SCI: 46.8 µJ a byte, of one transaction.
    let embodied = number(&chosen, "/protocols/0/sci/embodied");
    assert_close(embodied, ip * 46.8e-6 / 3.6e6 * rate);
    assert!(value(&usual, "/protocols/0/sci/embodied").is_null());
    for report in [&usual, &chosen] {
        let estimates = value(report, "/protocols/0/estimates").as_array().unwrap();
        assert_eq!(estimates.len(), 17);
        let joules: Vec<f64> = estimates
            .iter()
            .map(|e| number(e, "/energy/joules"))
            .collect();
        assert!(joules.is_sorted(), "{joules:?}");
    }
    let far = report(&["--hops", "10", "--pue", "1.5"]);
    assert_eq!(
        text(&far, "/protocols/0/energy/model"),
        "datacenter-10-hops"
    );
    assert_eq!(number(&far, "/protocols/0/energy/hops"), 10.0);
    let joules = 1.5 * 10.0 * 2.0 * (26.3e-9 * frames + 0.0688e-9 * bytes);
    assert_close(number(&far, "/protocols/0/energy/joules"), joules);
}

#[test]
fn text_marks_the_headline_among_all_models() {
    let finished = analyzed(&[]);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let marked: Vec<&str> = finished
        .stdout
        .lines()
        .filter(|l| l.starts_with("> "))
        .collect();
    assert_eq!(marked.len(), 1, "{finished}");
    assert!(marked[0].starts_with("> datacenter-3-hops  "), "{finished}");
    assert!(
        finished
            .stdout
            .contains("enterprise-switch: recalled, not verified")
    );
    assert!(
        finished
            .stdout
            .contains("Methodology: E modelled by datacenter-3-hops"),
        "{finished}"
    );
}

#[test]
fn values_that_are_none_are_refused_with_what_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, "[[model]]\nname = \"x\"\nclass = \"per-packet\"\n").unwrap();
    let file = file.display().to_string();
    for (arguments, part) in [
        (["--hops", "0"], "from 1 to 255"),
        (["--pue", "0.9"], "a PUE of 0.9"),
        (["--pue", "NaN"], "a PUE of NaN"),
        (
            ["--model", "nothing"],
            "no energy model is called `nothing`",
        ),
        (["--grid", "-3"], "`-3` is neither a grid nor a rate"),
        (
            ["--models", &file],
            "mine.toml:3: unknown variant `per-packet`",
        ),
        (["--models", "/nowhere"], "/nowhere: cannot be read"),
    ] {
        let finished = analyzed(&arguments);
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        assert!(finished.stderr.contains(part), "{finished}");
        assert_eq!(finished.stdout, "", "{finished}");
    }
    let finished = analyzed(&["--model", "aslan-2015", "--hops", "4"]);
    assert!(
        finished.stderr.contains("aslan-2015 counts no devices"),
        "{finished}"
    );
}

#[test]
fn sums_are_made_by_the_models_of_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let saved = |name: &str, arguments: &[&str]| {
        let path = folder.path().join(name);
        fs::write(&path, report(arguments).to_string()).unwrap();
        path
    };
    let merged = |path: &Path, arguments: &[&str]| {
        run(wirewatt()
            .args(["merge", "--json"])
            .arg(path)
            .args(arguments))
    };
    let options = ["--model", "aslan-2015", "--grid", "us-2023"];
    let part = saved("part.json", &options);
    let finished = merged(&part, &[]);
    assert!(
        finished.stderr.contains("made with the model 'aslan-2015'"),
        "{finished}"
    );
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let finished = merged(&part, &options[..2]);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let sum = finished.json();
    assert_eq!(
        value(&sum, "/protocols/0"),
        value(&report(&options), "/protocols/0")
    );
}

/// A false sysfs whose counter stands still: the run took nothing that it shows.
#[test]
fn a_run_tells_what_the_machine_took_or_why_nobody_knows() {
    let folder = tempfile::tempdir().unwrap();
    let zone = folder.path().join("powercap/intel-rapl:0");
    fs::create_dir_all(&zone).unwrap();
    for (file, content) in [
        ("name", "package-0\n"),
        ("max_energy_range_uj", "262143328850\n"),
        ("energy_uj", "123456789\n"),
    ] {
        fs::write(zone.join(file), content).unwrap();
    }
    for (powercap, state, words) in [
        (
            "powercap",
            "measured",
            "0 J (0 J to 0 J) beyond 0.0 W idle; 0 J by package-0 in ",
        ),
        (
            "nowhere",
            "unavailable",
            "host energy   unavailable: there is no ",
        ),
    ] {
        let out = folder.path().join(state);
        let finished = run(wirewatt()
            .args(["run", "ring", "-n", "3", "--idle-seconds", "0.05"])
            .args(["--base-port", &free_ports(8).to_string()])
            .arg("--powercap")
            .arg(folder.path().join(powercap))
            .arg("--out")
            .arg(&out));
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        assert!(finished.stdout.contains(words), "{finished}");
        let written: Value =
            serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
        assert_eq!(text(&written, "/host_energy/state"), state);
        let schema: Value =
            serde_json::from_str(include_str!("../docs/report.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&written), "{written}");
        let again = run(wirewatt().args(["audit", "--json"]).arg(&out));
        assert_eq!(
            value(&again.json(), "/host_energy"),
            value(&written, "/host_energy")
        );
    }
}

/// The headline may be an average, which no building multiplies, and the rows below it are not.
#[test]
fn a_pue_is_told_where_it_is_in_other_rows_than_the_headlines() {
    const WORDS: &str = "Those of devices are times 2 for what the building takes (PUE).";
    let unwrapped = |finished: &Finished| {
        let words: Vec<&str> = finished.stdout.split_whitespace().collect();
        words.join(" ")
    };
    let with = analyzed(&["--model", "aslan-2015", "--pue", "2"]);
    assert!(unwrapped(&with).contains(WORDS), "{with}");
    let without = analyzed(&["--model", "aslan-2015"]);
    assert!(!unwrapped(&without).contains("PUE"), "{without}");
}

/// The example of docs/energy.md.
#[test]
fn a_model_of_ones_own_is_not_said_to_have_no_ground() {
    let folder = tempfile::tempdir().unwrap();
    let page = include_str!("../docs/energy.md");
    let example = page.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, example).unwrap();
    let told = run(wirewatt()
        .args(["analyze", CAPTURE, "--model", "my-average", "--models"])
        .arg(&file));
    let words: Vec<&str> = told.stdout.split_whitespace().collect();
    let words = words.join(" ");
    assert!(
        words.contains("(bills and counters of 2025; your own, not verified here)"),
        "{told}"
    );
    assert_eq!(told.stdout.matches("no ground").count(), 1, "{told}");
}
