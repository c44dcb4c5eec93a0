//! The sample captures in `captures/` and the reports expected of them, to the last figure.

use std::process::Command;

use serde_json::Value;

/// What `wirewatt analyze --json` prints, but for the program's version.
fn report_on(capture: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_wirewatt"))
        .args(["analyze", "--json", capture])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("wirewatt starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    without_version(serde_json::from_slice(&output.stdout).expect("a JSON report"))
}

fn without_version(mut report: Value) -> Value {
    report["tool"]["version"] = Value::Null;
    report
}

fn check(algorithm: &str, messages: u64) {
    let path = format!(
        "{}/captures/{algorithm}.report.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).expect("the expected report");
    let expected = without_version(serde_json::from_str(&text).expect("a JSON report"));
    let found = report_on(&format!("captures/{algorithm}.pcapng"));
    assert_eq!(found["protocols"][0]["name"], algorithm);
    assert_eq!(found["protocols"][0]["messages"], messages);
    assert_eq!(
        found, expected,
        "if this change of figures is meant, run scripts/make-captures and say why in the commit"
    );
}

#[test]
fn centralized() {
    check("centralized", 6);
}

#[test]
fn ring() {
    check("ring", 4);
}

#[test]
fn two_phase_commit() {
    check("two-phase-commit", 12);
}
