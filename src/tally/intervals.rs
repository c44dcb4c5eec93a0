//! Sets of numbers that are nearly consecutive, such as operation ids.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of numbers kept as intervals: in a report a list of `[first, last]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    /// Adds the numbers from `first` to `last`, both included.
    pub fn insert(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first, last.max(first));
        while let Some((start, end)) = self.touching(first, last) {
            if start <= first && last <= end {
                return;
            }
            self.0.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.0.insert(first, last);
    }

    /// An interval that shares a number with this one or lies next to it.
    fn touching(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let (start, end) = self.0.range(..=last.saturating_add(1)).next_back()?;
        (end.saturating_add(1) >= first).then_some((*start, *end))
    }

    /// Whether the numbers can be added without one interval more.
    fn takes_no_room(&self, first: u64, last: u64) -> bool {
        self.touching(first, last).is_some()
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        let lengths = self.0.iter().map(|(start, end)| end - start);
        lengths.fold(0, |sum: u64, length| {
            sum.saturating_add(length).saturating_add(1)
        })
    }

    fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(start, end)| (*start, *end))
    }
}

impl Serialize for Intervals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Intervals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut intervals = Self::default();
        for (first, last) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            if last < first {
                let problem = format!("an interval from {first} to {last} ends before it begins");
                return Err(serde::de::Error::custom(problem));
            }
            intervals.insert(first, last);
        }
        Ok(intervals)
    }
}

/// More intervals of a protocol are left out: some 3 MB.
const MOST_INTERVALS: usize = 1 << 16;

/// Operations that the messages belonged to, where the framing names them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenOperations")]
pub struct Operations {
    /// Distinct operation ids in frame headers, each run's for itself.
    pub count: u64,
    /// What one operation is called, where that is known.
    pub kind: Option<String>,
    /// The ids by run: connections share operations, and parts of a capture are added exactly only
    /// with them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ids: BTreeMap<u64, Intervals>,
    /// Whether there were so many holes between the ids that some of them were left out: `count` is
    /// the least that there were.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left_out: bool,
    /// In `ids`, all together.
    #[serde(skip)]
    intervals: usize,
}

/// The same as it is written.
#[derive(Deserialize)]
struct WrittenOperations {
    count: u64,
    kind: Option<String>,
    #[serde(default)]
    ids: BTreeMap<u64, Intervals>,
    #[serde(default)]
    left_out: bool,
}

impl From<WrittenOperations> for Operations {
    fn from(written: WrittenOperations) -> Self {
        Self {
            intervals: written.ids.values().map(|ids| ids.0.len()).sum(),
            count: written.count,
            kind: written.kind,
            ids: written.ids,
            left_out: written.left_out,
        }
    }
}

impl Operations {
    /// So many operations, of which nothing is known but their number.
    pub fn counted(count: u64, kind: Option<String>) -> Self {
        Self {
            count,
            kind,
            ..Self::default()
        }
    }

    /// Enters an operation's id. [`Operations::settle`] brings `count` up to date.
    pub fn insert(&mut self, run: u64, id: u64) {
        self.insert_all(run, id, id);
    }

    fn insert_all(&mut self, run: u64, first: u64, last: u64) {
        let full = self.intervals >= MOST_INTERVALS;
        if full {
            let ids = self.ids.get(&run);
            if !ids.is_some_and(|ids| ids.takes_no_room(first, last)) {
                self.left_out = true;
                return;
            }
        }
        let ids = self.ids.entry(run).or_default();
        let before = ids.0.len();
        ids.insert(first, last);
        self.intervals = self.intervals + ids.0.len() - before;
    }

    /// Counts the ids.
    pub fn settle(&mut self) {
        let counts = self.ids.values().map(Intervals::count);
        self.count = counts.fold(0, u64::saturating_add);
    }

    /// How many, where none were left out; 0 otherwise.
    pub fn whole_count(&self) -> u64 {
        if self.left_out { 0 } else { self.count }
    }

    /// Whether the ids are known, or there were none.
    pub fn can_merge(&self) -> bool {
        let mut counted = self.clone();
        counted.settle();
        counted.count == self.count
    }

    /// Adds another part's operations: those that both have count once.
    pub fn merge(&mut self, other: &Self) {
        for (run, ids) in &other.ids {
            for (first, last) in ids.iter() {
                self.insert_all(*run, first, last);
            }
        }
        self.left_out |= other.left_out;
        self.settle();
        if self.kind.is_none() {
            self.kind.clone_from(&other.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn intervals_count_like_a_set(
            ranges in prop::collection::vec((0_u64..60, 0_u64..5), 0..60),
        ) {
            let mut intervals = Intervals::default();
            let mut set = BTreeSet::new();
            for (first, length) in ranges {
                intervals.insert(first, first + length);
                set.extend(first..=first + length);
            }
            prop_assert_eq!(intervals.count(), set.len() as u64);
            let apart = |pair: &[(u64, u64)]| pair[0].1 + 1 < pair[1].0;
            let all: Vec<_> = intervals.iter().collect();
            prop_assert!(all.windows(2).all(apart), "{:?}", all);
        }

        #[test]
        fn operations_of_parts_are_those_of_the_whole(
            ids in prop::collection::vec((0_u64..3, 0_u64..50, 0_usize..3), 0..60),
        ) {
            let mut whole = Operations::default();
            let mut parts: [Operations; 3] = Default::default();
            for (run, id, part) in ids {
                whole.insert(run, id);
                parts[part].insert(run, id);
            }
            whole.settle();
            let mut merged = Operations::default();
            for mut part in parts {
                part.settle();
                prop_assert!(part.can_merge());
                let json = serde_json::to_string(&part).unwrap();
                merged.merge(&serde_json::from_str(&json).unwrap());
            }
            prop_assert_eq!(merged, whole);
        }
    }

    #[test]
    fn the_largest_numbers_are_counted_too() {
        let mut intervals = Intervals::default();
        intervals.insert(u64::MAX - 1, u64::MAX);
        intervals.insert(u64::MAX, u64::MAX);
        assert_eq!(intervals.count(), 2);
        intervals.insert(0, u64::MAX);
        assert_eq!(intervals.iter().collect::<Vec<_>>(), [(0, u64::MAX)]);
    }

    #[test]
    fn too_many_holes_mark_the_count() {
        let mut operations = Operations::default();
        for id in 1..=MOST_INTERVALS as u64 + 1 {
            operations.insert(7, 2 * id);
        }
        assert!(operations.left_out);
        // What fills a hole needs no room.
        operations.insert(7, 3);
        operations.settle();
        assert_eq!(operations.count, MOST_INTERVALS as u64 + 1);
    }
}
