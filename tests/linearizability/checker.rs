//! A linearizability checker for histories of registers by key, as `history.jsonl` has them
//! (docs/history.md).
//!
//! Wing and Gong, *Testing and verifying concurrent objects* (1993), with Lowe's memoisation of
//! configurations that led nowhere (*Testing for linearizability*, 2017), key by key, since a
//! history is linearizable where that of every key is (Herlihy and Wing, 1990).

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

/// What an operation does to its register, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read this value; null where nothing had been written.
    Read(Value),
    /// Wrote this value.
    Write(Value),
    /// Found the first value and put the second in its place.
    Cas(Value, Value),
}

impl Action {
    /// The register's value afterwards, where the operation can happen at all.
    fn apply(&self, register: &Value) -> Option<Value> {
        match self {
            Self::Read(value) => (value == register).then(|| register.clone()),
            Self::Write(value) => Some(value.clone()),
            Self::Cas(from, to) => (from == register).then(|| to.clone()),
        }
    }
}

/// An operation on one register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: u64,
    /// When it began: its place in the order of all events.
    pub call: i64,
    /// When it ended; nothing where nobody knows whether it took effect: then it took it at any
    /// time since its beginning, or never.
    pub end: Option<i64>,
    /// What it did.
    pub action: Action,
}

/// What is wrong with a history.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not one: an operation ends twice, or without a beginning.
    Malformed(String),
    /// No order of the operations on this key explains what they were answered.
    NotLinearizable {
        /// The key.
        key: String,
        /// The operations of the longest explanation that was found.
        explained: Vec<u64>,
        /// How many operations there were.
        of: usize,
    },
}

/// Checks a `history.jsonl`. Returns how many operations it checked.
pub fn check_history(text: &str) -> Result<usize, Refusal> {
    let keys = operations(text)?;
    for (key, operations) in &keys {
        check(operations).map_err(|explained| Refusal::NotLinearizable {
            key: key.clone(),
            explained,
            of: operations.len(),
        })?;
    }
    Ok(keys.values().map(Vec::len).sum())
}

/// The operations of a history by their keys.
pub fn operations(text: &str) -> Result<BTreeMap<String, Vec<Operation>>, Refusal> {
    let mut begun: BTreeMap<u64, (i64, Value)> = BTreeMap::new();
    let mut ended: BTreeMap<u64, Operation> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut keys: BTreeMap<u64, String> = BTreeMap::new();
    for (place, (_, number, event)) in (0..).zip(in_order(text)?) {
        let malformed = |what: &str| Refusal::Malformed(format!("line {number}: {what}"));
        let id = event["operation"]
            .as_u64()
            .ok_or_else(|| malformed("no operation"))?;
        let phase = event["event"]
            .as_str()
            .ok_or_else(|| malformed("no event"))?;
        let told = &event["value"];
        if phase == "invoke" {
            if !seen.insert(id) {
                return Err(malformed("an operation begins twice"));
            }
            keys.insert(id, told["key"].to_string());
            begun.insert(id, (place, told.clone()));
            continue;
        }
        let (call, asked) = begun
            .remove(&id)
            .ok_or_else(|| malformed("ends without a beginning"))?;
        let (end, answer) = match phase {
            "ok" => (Some(place), told),
            "info" => (None, &asked),
            // It took no effect, so it is in no order.
            "fail" => continue,
            _ => return Err(malformed("an event of no operation")),
        };
        if let Some(action) = action(&asked, answer, end.is_some()) {
            ended.insert(
                id,
                Operation {
                    id,
                    call,
                    end,
                    action,
                },
            );
        }
    }
    // What never ended is as open as what ended with `info`.
    for (id, (call, asked)) in begun {
        if let Some(action) = action(&asked, &asked, false) {
            ended.insert(
                id,
                Operation {
                    id,
                    call,
                    end: None,
                    action,
                },
            );
        }
    }
    let mut by_key: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for (id, operation) in ended {
        by_key.entry(keys[&id].clone()).or_default().push(operation);
    }
    Ok(by_key)
}

/// The events by their times, with their line numbers. Those of the same time are in the order of the
/// lines: one process told them one after the other.
fn in_order(text: &str) -> Result<Vec<(i64, usize, Value)>, Refusal> {
    let mut events = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let malformed = |what: String| Refusal::Malformed(format!("line {number}: {what}"));
        let event: Value = serde_json::from_str(line).map_err(|e| malformed(e.to_string()))?;
        let time = event["time"].as_i64();
        let time = time.ok_or_else(|| malformed("no time".to_owned()))?;
        events.push((time, number, event));
    }
    events.sort_by_key(|(time, ..)| *time);
    Ok(events)
}

/// A read without an answer says nothing, and does nothing.
fn action(asked: &Value, answer: &Value, answered: bool) -> Option<Action> {
    Some(match asked["op"].as_str()? {
        "read" if !answered => return None,
        "read" => Action::Read(answer["value"].clone()),
        "write" => Action::Write(asked["value"].clone()),
        "cas" => Action::Cas(asked["value"][0].clone(), asked["value"][1].clone()),
        other => panic!("an operation '{other}' on a register"),
    })
}

/// A set of operations by their index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn contains(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn flip(&mut self, at: usize) {
        self.0[at / 64] ^= 1 << (at % 64);
    }
}

/// Whether the operations can be put in an order in which each takes effect between its beginning
/// and its end and is answered as it was. If not, the longest order that was found.
pub fn check(operations: &[Operation]) -> Result<(), Vec<u64>> {
    let mut operations = operations.to_vec();
    operations.sort_by_key(|operation| operation.call);
    let completed = operations.iter().filter(|op| op.end.is_some()).count();
    let mut done = Done(vec![0; operations.len().div_ceil(64)]);
    let mut register = Value::Null;
    let mut dead_ends: HashSet<(Done, String)> = HashSet::new();
    // The operations done so far, each with what the register held before it.
    let mut order: Vec<(usize, Value)> = Vec::new();
    // All before `first` are done.
    let (mut completed_done, mut from, mut first) = (0, 0, 0);
    let mut longest: Vec<u64> = Vec::new();
    loop {
        if completed_done == completed {
            return Ok(());
        }
        // Whoever is next began before any that is left had ended.
        while first < operations.len() && done.contains(first) {
            first += 1;
        }
        let mut horizon = i64::MAX;
        for at in (first..operations.len()).filter(|at| !done.contains(*at)) {
            if operations[at].call > horizon {
                break;
            }
            horizon = operations[at].end.map_or(horizon, |end| end.min(horizon));
        }
        let next = (from.max(first)..operations.len())
            .filter(|at| !done.contains(*at))
            .take_while(|at| operations[*at].call <= horizon)
            .find_map(|at| Some((at, operations[at].action.apply(&register)?)));
        if let Some((at, after)) = next {
            done.flip(at);
            if dead_ends.insert((done.clone(), after.to_string())) {
                order.push((at, std::mem::replace(&mut register, after)));
                completed_done += usize::from(operations[at].end.is_some());
                from = 0;
                if order.len() > longest.len() {
                    longest = order.iter().map(|(at, _)| operations[*at].id).collect();
                }
            } else {
                done.flip(at);
                from = at + 1;
            }
        } else {
            let Some((at, before)) = order.pop() else {
                return Err(longest);
            };
            done.flip(at);
            first = first.min(at);
            completed_done -= usize::from(operations[at].end.is_some());
            register = before;
            from = at + 1;
        }
    }
}
