//! Histories of replicated registers are linearizable, and the checker that says so rejects those
//! that are not.

mod checker;
#[path = "../common/mod.rs"]
mod common;
mod replicas;

use checker::{Action, Operation, Refusal, check, check_history};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One line of a history.
fn line(time: i64, event: &str, operation: u64, value: &Value) -> String {
    let event = json!({
        "node": 0, "time": time, "event": event, "operation": operation, "value": value,
    });
    format!("{event}\n")
}

fn write(value: u64) -> Value {
    json!({"process": 0, "op": "write", "key": "x", "value": value})
}

fn read(value: Option<u64>) -> Value {
    json!({"process": 1, "op": "read", "key": "x", "value": value})
}

fn cas(from: u64, to: u64) -> Value {
    json!({"process": 2, "op": "cas", "key": "x", "value": [from, to]})
}

/// A history of operations: what each asks, when it begins and ends, how, and the answer.
fn history(operations: &[(Value, i64, i64, &str, Value)]) -> String {
    let mut lines: Vec<(i64, String)> = Vec::new();
    for (id, (asked, call, end, phase, answer)) in (1..).zip(operations) {
        lines.push((*call, line(*call, "invoke", id, asked)));
        if !phase.is_empty() {
            lines.push((*end, line(*end, phase, id, answer)));
        }
    }
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

fn refused(text: &str) -> (Vec<u64>, usize) {
    match check_history(text) {
        Err(Refusal::NotLinearizable { explained, of, .. }) => (explained, of),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_operation_after_the_other_is_linearizable() {
    let text = history(&[
        (read(None), 1, 2, "ok", read(None)),
        (write(5), 3, 4, "ok", write(5)),
        (read(None), 5, 6, "ok", read(Some(5))),
        (cas(5, 6), 7, 8, "ok", cas(5, 6)),
        (read(None), 9, 10, "ok", read(Some(6))),
    ]);
    assert_eq!(check_history(&text), Ok(5));
}

#[test]
fn a_stale_read_is_rejected() {
    let text = history(&[
        (write(1), 1, 2, "ok", write(1)),
        (write(2), 3, 4, "ok", write(2)),
        (read(None), 5, 6, "ok", read(Some(1))),
    ]);
    assert_eq!(refused(&text), (vec![1, 2], 3));
    // It may be stale while the write goes on.
    let text = history(&[
        (write(1), 1, 2, "ok", write(1)),
        (write(2), 3, 7, "ok", write(2)),
        (read(None), 5, 6, "ok", read(Some(1))),
    ]);
    assert_eq!(check_history(&text), Ok(3));
}

/// Two followers answer reads by themselves: the second is behind the first.
#[test]
fn reads_that_go_back_in_time_are_rejected_though_each_alone_is_right() {
    let stale = [
        (write(1), 1, 10, "ok", write(1)),
        (read(None), 2, 3, "ok", read(Some(1))),
        (read(None), 4, 5, "ok", read(None)),
    ];
    assert_eq!(refused(&history(&stale)).1, 3);
    for alone in [1, 2] {
        let text = history(&[stale[0].clone(), stale[alone].clone()]);
        assert_eq!(check_history(&text), Ok(2));
    }
}

#[test]
fn a_lost_write_is_rejected() {
    let text = history(&[
        (write(1), 1, 2, "ok", write(1)),
        (read(None), 3, 4, "ok", read(None)),
    ]);
    assert_eq!(refused(&text), (vec![1], 2));
}

#[test]
fn a_value_that_nobody_wrote_is_rejected() {
    let text = history(&[(read(None), 1, 2, "ok", read(Some(9)))]);
    assert_eq!(refused(&text), (vec![], 1));
}

#[test]
fn two_exchanges_of_the_same_value_cannot_both_succeed() {
    let both = |second: &'static str| {
        history(&[
            (write(1), 1, 2, "ok", write(1)),
            (cas(1, 2), 3, 6, "ok", cas(1, 2)),
            (cas(1, 3), 4, 5, second, cas(1, 3)),
        ])
    };
    assert_eq!(refused(&both("ok")).1, 3);
    assert_eq!(check_history(&both("fail")), Ok(2));
}

#[test]
fn an_operation_with_info_takes_effect_at_any_later_time_or_never() {
    for (read_later, linearizable) in [(Some(1), true), (Some(2), true), (None, false)] {
        for phase in ["info", ""] {
            let text = history(&[
                (write(1), 1, 2, "ok", write(1)),
                (write(2), 3, 4, phase, write(2)),
                (read(None), 50, 60, "ok", read(read_later)),
            ]);
            assert_eq!(check_history(&text).is_ok(), linearizable, "{read_later:?}");
        }
    }
    // But not twice, and not before it began.
    let text = history(&[
        (write(2), 3, 4, "info", write(2)),
        (read(None), 5, 6, "ok", read(Some(2))),
        (write(1), 7, 8, "ok", write(1)),
        (read(None), 9, 10, "ok", read(Some(2))),
    ]);
    assert_eq!(refused(&text).1, 4);
    let text = history(&[
        (read(None), 1, 2, "ok", read(Some(2))),
        (write(2), 3, 4, "info", write(2)),
    ]);
    assert_eq!(refused(&text).1, 2);
}

#[test]
fn what_failed_took_no_effect() {
    let text = history(&[
        (write(1), 1, 2, "fail", write(1)),
        (read(None), 3, 4, "ok", read(Some(1))),
    ]);
    assert_eq!(refused(&text).1, 1);
}

#[test]
fn keys_are_registers_of_their_own() {
    let of = |key: &str, value: Value| {
        let mut value = value;
        value["key"] = key.into();
        value
    };
    let text = history(&[
        (of("x", write(1)), 1, 2, "ok", of("x", write(1))),
        (of("y", read(None)), 3, 4, "ok", of("y", read(None))),
        (of("x", read(None)), 3, 4, "ok", of("x", read(Some(1)))),
    ]);
    assert_eq!(check_history(&text), Ok(3));
}

#[test]
fn a_history_that_is_none_is_named() {
    let invoke = line(1, "invoke", 1, &write(1));
    let ok = line(1, "ok", 1, &write(1));
    for (text, what) in [
        (format!("{ok}{invoke}"), "line 1: ends without a beginning"),
        (
            format!("{invoke}{ok}{ok}"),
            "line 3: ends without a beginning",
        ),
        (
            format!("{invoke}{ok}{invoke}"),
            "line 3: an operation begins twice",
        ),
    ] {
        assert_eq!(
            check_history(&text),
            Err(Refusal::Malformed(what.to_owned()))
        );
    }
}

/// By trying every order.
fn by_brute_force(left: &[Operation], register: &Value) -> bool {
    if left.iter().all(|operation| operation.end.is_none()) {
        return true;
    }
    (0..left.len()).any(|at| {
        let mut rest = left.to_vec();
        let next = rest.remove(at);
        let in_time = rest
            .iter()
            .all(|other| other.end.is_none_or(|end| next.call <= end));
        let after = match &next.action {
            Action::Read(value) => (value == register).then(|| register.clone()),
            Action::Write(value) => Some(value.clone()),
            Action::Cas(from, to) => (from == register).then(|| to.clone()),
        };
        in_time && after.is_some_and(|after| by_brute_force(&rest, &after))
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let value = || prop_oneof![Just(Value::Null), Just(json!(1)), Just(json!(2))];
    let written = || prop_oneof![Just(json!(1)), Just(json!(2))];
    let action = prop_oneof![
        value().prop_map(Action::Read),
        written().prop_map(Action::Write),
        (value(), written()).prop_map(|(from, to)| Action::Cas(from, to)),
    ];
    (0_i64..12, 1_i64..6, prop::bool::weighted(0.8), action).prop_map(
        |(call, length, ends, action)| Operation {
            id: 0,
            call,
            end: ends.then_some(call + length),
            action,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_checker_finds_what_trying_every_order_finds(
        operations in prop::collection::vec(operation(), 0..7),
    ) {
        let expected = by_brute_force(&operations, &Value::Null);
        prop_assert_eq!(check(&operations).is_ok(), expected);
    }
}

/// A register behind one lock: each operation takes effect at a time between its beginning and its
/// end. Long histories of many clients stay quick to check.
#[test]
fn a_long_history_of_one_register_is_linearizable_and_one_wrong_answer_is_found() {
    let (clients, rounds) = (5, 100);
    let mut random = 7_u64;
    let mut below = |n: u64| {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) % n
    };
    // Takes effect, client, asked, begins, ends.
    let mut all = Vec::new();
    for client in 0..clients {
        let mut time = below(50) as i64;
        for round in 0..rounds {
            let asked = match below(2) {
                0 => write(client * 1000 + round),
                _ => read(None),
            };
            let effect = time + 1 + below(40) as i64;
            let end = effect + 1 + below(40) as i64;
            all.push((effect, asked, time, end));
            time = end + 1 + below(10) as i64;
        }
    }
    all.sort_by_key(|(effect, ..)| *effect);
    let (mut register, mut operations) = (Value::Null, Vec::new());
    for (_, asked, call, end) in all {
        let mut answer = asked.clone();
        match asked["op"].as_str() {
            Some("read") => answer["value"] = register.clone(),
            _ => register = asked["value"].clone(),
        }
        operations.push((asked, call, end, "ok", answer));
    }
    assert_eq!(check_history(&history(&operations)), Ok(500));
    let wrong = operations
        .iter_mut()
        .rev()
        .find(|(asked, ..)| asked["op"] == "read")
        .unwrap();
    wrong.4["value"] = json!(123_456);
    assert_eq!(refused(&history(&operations)).1, 500);
}
