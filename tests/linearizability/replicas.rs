//! The histories of our replicated stores, simulated and real.

use std::path::Path;
use std::time::Duration;

use wirewatt::algorithm::{Algorithm, Phase, ProcessId, catalog};
use wirewatt::simulation::{Fault, Moment, Order, Scenario, Storage, run};

use crate::checker::{Refusal, check_history};
use crate::common;

/// A simulated run's history, as a run's folder holds it.
fn history_of(algorithm: &'static Algorithm, scenario: &Scenario) -> String {
    let run = run(algorithm, scenario).expect("a good scenario");
    let operations = run
        .events
        .iter()
        .filter(|event| event.outcome.phase != Phase::Note);
    let line = |event| serde_json::to_string(event).expect("plain data") + "\n";
    operations.map(line).collect()
}

/// Delays that timeouts do not outlast, any order, loss, duplicates, and servers that crash and come
/// back, all from the seed.
fn rough(seed: u64) -> Scenario {
    let n = 3 + seed as u32 % 3;
    let mut scenario = Scenario::new(n, 12, seed)
        .option("election-timeout", "60ms")
        .option("heartbeat", "20ms")
        .option("pipeline", ["1", "3", "6"][seed as usize % 3]);
    scenario.log = false;
    scenario.limit = Duration::from_secs(5);
    scenario.network.order = Order::Any;
    scenario.network.loss_per_mille = [0, 20, 100][seed as usize / 3 % 3];
    scenario.network.duplicate_per_mille = 50;
    for node in 0..1 + seed as u32 % n {
        let at = 40 + (seed * 37 + u64::from(node) * 61) % 300;
        scenario = scenario.fault(Fault::Crash {
            node: ProcessId(node),
            at: Moment::Time(Duration::from_millis(at)),
            back: Some(Duration::from_millis(5 + seed % 50)),
            storage: Storage::Kept,
        });
    }
    scenario
}

#[test]
fn rafts_store_is_linearizable_whatever_fails_and_comes_back() {
    let raft = catalog::by_name("raft").expect("it is there");
    let (mut checked, mut open) = (0, 0);
    for seed in 0..300 {
        let history = history_of(raft, &rough(seed));
        match check_history(&history) {
            Ok(operations) => checked += operations,
            Err(refusal) => panic!("seed {seed}: {refusal:?}\n{history}"),
        }
        let ends = |phase: &str| history.matches(&format!("\"event\":\"{phase}\"")).count();
        open += ends("invoke") - ends("ok") - ends("fail");
    }
    assert!(checked > 3000 && open > 50, "{checked} {open}");
}

/// One client, one operation at a time: of each read only one answer is right.
#[test]
fn any_other_answer_to_any_read_is_rejected() {
    for name in ["raft", "chain-replication"] {
        let algorithm = catalog::by_name(name).expect("it is there");
        let scenario = Scenario::new(3, 24, 5).option("pipeline", "1");
        let history = history_of(algorithm, &scenario);
        assert!(check_history(&history).is_ok(), "{name}");
        let lines: Vec<&str> = history.lines().collect();
        let is_read = |line: &str| line.contains("\"ok\"") && line.contains("\"read\"");
        let reads: Vec<usize> = (0..lines.len()).filter(|at| is_read(lines[*at])).collect();
        assert!(reads.len() >= 6, "{name}: {history}");
        for at in reads {
            let mut answered: serde_json::Value = serde_json::from_str(lines[at]).expect("JSON");
            let right = answered["value"]["value"].take();
            for wrong in (0..=24)
                .map(serde_json::Value::from)
                .chain([serde_json::Value::Null])
            {
                if wrong == right {
                    continue;
                }
                answered["value"]["value"] = wrong;
                let changed = answered.to_string();
                let mut lines = lines.clone();
                lines[at] = &changed;
                let refused = check_history(&lines.join("\n"));
                let refused = matches!(refused, Err(Refusal::NotLinearizable { .. }));
                assert!(refused, "{name}: {changed}");
            }
        }
    }
}

#[test]
fn a_chains_store_is_linearizable_while_updates_are_on_their_way() {
    let chain = catalog::by_name("chain-replication").expect("it is there");
    let mut checked = 0;
    for seed in 0..300 {
        let mut scenario = Scenario::new(2 + seed as u32 % 5, 20, seed).option("pipeline", "6");
        scenario.log = false;
        if seed % 3 == 0 {
            scenario = scenario.fault(Fault::Crash {
                node: ProcessId(seed as u32 % 2),
                at: Moment::Time(Duration::from_millis(20 + seed % 40)),
                back: None,
                storage: Storage::Kept,
            });
            scenario.limit = Duration::from_secs(2);
        }
        let history = history_of(chain, &scenario);
        match check_history(&history) {
            Ok(operations) => checked += operations,
            Err(refusal) => panic!("seed {seed}: {refusal:?}\n{history}"),
        }
    }
    assert!(checked > 3000, "{checked}");
}

/// A run's own history, and how many operations it has.
fn checked_run(algorithm: &str, out: &Path) -> usize {
    let port = common::free_ports(6).to_string();
    let finished = common::run(
        common::wirewatt()
            .args(["run", algorithm, "-n", "3", "--rounds", "60"])
            .args(["--option", "pipeline=5", "--base-port", &port, "--out"])
            .arg(out),
    );
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    let history = std::fs::read_to_string(out.join("history.jsonl")).expect("a history");
    check_history(&history).unwrap_or_else(|refusal| panic!("{refusal:?}\n{history}"))
}

#[test]
fn histories_of_real_runs_are_linearizable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for algorithm in ["raft", "chain-replication"] {
        let operations = checked_run(algorithm, &folder.path().join(algorithm));
        // A cas that found another value has no effect, and is in no order.
        assert!((30..=60).contains(&operations), "{algorithm}: {operations}");
    }
}
