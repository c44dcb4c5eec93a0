//! What a formula says: a number of messages, or an interval where timing decides.

use std::iter::Sum;
use std::ops::{Add, Mul};

use serde::{Deserialize, Serialize};

use super::{Event, Options, Outcome, Phase, ProcessId};
use crate::units::Messages;

/// How many messages a formula expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Expected {
    /// Exactly so many.
    Exactly(Messages),
    /// At least `low` and at most `high`: which of them, timing decides.
    Between {
        /// The least number.
        low: Messages,
        /// The greatest number.
        high: Messages,
    },
}

impl Expected {
    /// Exactly `n`.
    pub const fn exactly(n: u64) -> Self {
        Self::Exactly(Messages::new(n))
    }

    /// From `low` to `high`; a number where they are equal.
    pub const fn between(low: u64, high: u64) -> Self {
        if low == high {
            return Self::exactly(low);
        }
        Self::Between {
            low: Messages::new(low),
            high: Messages::new(high),
        }
    }

    /// The least number.
    pub const fn low(self) -> Messages {
        match self {
            Self::Exactly(n) => n,
            Self::Between { low, .. } => low,
        }
    }

    /// The greatest number.
    pub const fn high(self) -> Messages {
        match self {
            Self::Exactly(n) => n,
            Self::Between { high, .. } => high,
        }
    }

    /// Whether the formula admits `n`.
    pub fn admits(self, n: Messages) -> bool {
        self.low() <= n && n <= self.high()
    }
}

impl Add for Expected {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::between(
            (self.low() + other.low()).get(),
            (self.high() + other.high()).get(),
        )
    }
}

impl Mul<u64> for Expected {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self::between(self.low().get() * times, self.high().get() * times)
    }
}

impl Sum for Expected {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::exactly(0), Add::add)
    }
}

/// One row of the formula's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// The message kind's name.
    pub kind: &'static str,
    /// How many are expected to be attempted.
    pub count: Expected,
    /// The formula in words, for one operation.
    pub formula: &'static str,
    /// Where the formula is from.
    pub citation: &'static str,
}

impl Expectation {
    /// A row.
    pub fn new(
        kind: &'static str,
        count: Expected,
        formula: &'static str,
        citation: &'static str,
    ) -> Self {
        Self {
            kind,
            count,
            formula,
            citation,
        }
    }
}

/// The case that a formula is asked about: how large, and what came of each operation.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// How many processes.
    pub n: u32,
    /// How often each initiator was to repeat its operation.
    pub rounds: u32,
    /// The algorithm's options.
    pub options: &'a Options,
    /// The outcome events of all processes, in any order.
    pub events: &'a [Event],
    /// Processes that died before they were told to: observed, not counted.
    pub died: &'a [ProcessId],
}

impl Case<'_> {
    fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.events.iter().map(|event| &event.outcome)
    }

    /// What processes noted under this name.
    pub fn notes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Event> {
        let named = move |event: &&Event| event.note() == Some(name);
        self.events.iter().filter(named)
    }

    /// Operations that ended, whatever came of them.
    pub fn completed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes().filter(|outcome| outcome.phase.ends())
    }

    /// How many operations ended.
    pub fn complete(&self) -> u64 {
        self.completed().count() as u64
    }

    /// How many operations began and did not end.
    pub fn open(&self) -> u64 {
        let begun = self
            .outcomes()
            .filter(|outcome| outcome.phase == Phase::Invoke)
            .count();
        (begun as u64).saturating_sub(self.complete())
    }

    /// `each` messages for every operation that ended, up to `each` for every one that did not.
    pub fn each(&self, each: u64) -> Expected {
        Expected::exactly(each) * self.complete() + Expected::between(0, each) * self.open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_one_and_an_interval_as_its_ends() {
        let number = serde_json::to_string(&Expected::exactly(12)).unwrap();
        assert_eq!(number, "12");
        let interval = serde_json::to_string(&Expected::between(3, 5)).unwrap();
        assert_eq!(interval, r#"{"low":3,"high":5}"#);
        assert_eq!(
            serde_json::from_str::<Expected>(&interval).unwrap(),
            Expected::between(3, 5)
        );
        assert_eq!(
            serde_json::from_str::<Expected>(&number).unwrap(),
            Expected::exactly(12)
        );
    }

    #[test]
    fn arithmetic_keeps_both_ends() {
        let sum = Expected::exactly(2) + Expected::between(1, 4);
        assert_eq!(sum, Expected::between(3, 6));
        assert_eq!(sum * 2, Expected::between(6, 12));
        assert!(sum.admits(Messages::new(3)) && sum.admits(Messages::new(6)));
        assert!(!sum.admits(Messages::new(7)));
        assert_eq!(Expected::between(4, 4), Expected::exactly(4));
    }
}
