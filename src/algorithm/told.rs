//! What an outcome event tells, kept small.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A JSON value that copies share: a simulation has a million events that tell the same, and each
/// map of its own would be most of the memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Told(Arc<Value>);

impl From<Value> for Told {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Deref for Told {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

/// What is changed is a copy of its own from then on.
impl DerefMut for Told {
    fn deref_mut(&mut self) -> &mut Value {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}
