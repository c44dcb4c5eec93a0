//! The state machine that the log drives: a store of numbers by key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a client asks of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Sets a key.
    Write { key: String, value: u64 },
    /// Reads a key.
    Read { key: String },
    /// Sets a key if it has the value that is expected.
    Cas { key: String, from: u64, to: u64 },
}

/// What the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The key had this value.
    Value(Option<u64>),
    /// The key had another value than expected: nothing is done.
    Refused,
}

/// A store of numbers by key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Store(BTreeMap<String, u64>);

impl Store {
    /// Applies a command: deterministic, so that equal logs make equal stores.
    pub fn apply(&mut self, command: &Command) -> Answer {
        match command {
            Command::Write { key, value } => {
                self.0.insert(key.clone(), *value);
                Answer::Done
            }
            Command::Read { key } => Answer::Value(self.0.get(key).copied()),
            Command::Cas { key, from, to } if self.0.get(key) == Some(from) => {
                self.0.insert(key.clone(), *to);
                Answer::Done
            }
            Command::Cas { .. } => Answer::Refused,
        }
    }
}

impl Command {
    /// Command `number` (from 1) of the workload: in turn a write, a read, a cas from that write's
    /// value, and a read, on one of two keys, the next four on the other. What command k writes is k.
    pub fn numbered(number: u32) -> Self {
        let (turn, group) = ((number - 1) % 4, (number - 1) / 4);
        let key = ["x", "y"][group as usize % 2].to_owned();
        let value = u64::from(number);
        match turn {
            0 => Self::Write { key, value },
            2 => Self::Cas {
                key,
                from: value - 2,
                to: value,
            },
            _ => Self::Read { key },
        }
    }

    /// What `client` tells of it: when it asks, and with the answer when it has one.
    pub fn told(&self, client: u64, answer: Option<Answer>) -> Value {
        let (op, key, value) = match self {
            Self::Write { key, value } => ("write", key, json!(value)),
            Self::Read { key } => match answer {
                Some(Answer::Value(value)) => ("read", key, json!(value)),
                _ => ("read", key, Value::Null),
            },
            Self::Cas { key, from, to } => ("cas", key, json!([from, to])),
        };
        json!({ "process": client, "op": op, "key": key, "value": value })
    }
}
