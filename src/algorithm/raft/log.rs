//! The replicated log. Its first entry has index 1; index and term 0 stand before it.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::store::Command;

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Which command of the workload it is.
    pub number: u32,
    /// Commands up to this number had ended when it was appended.
    pub ended: u32,
    /// What is to be applied.
    pub command: Command,
}

/// A log, and the digest of what it holds up to each entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Log {
    entries: Vec<Entry>,
    digests: Vec<u64>,
}

impl Log {
    /// The index of the last entry, 0 where there is none.
    pub fn last_index(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The term of the last entry, 0 where there is none.
    pub fn last_term(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.term)
    }

    /// Commands up to this number had ended when the last entry was appended.
    pub fn ended(&self) -> u32 {
        self.entries.last().map_or(0, |entry| entry.ended)
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this index.
    pub fn get(&self, index: u64) -> Option<&Entry> {
        self.entries
            .get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// The term of the entry with this index; 0 before the first, nothing after the last.
    pub fn term(&self, index: u64) -> Option<u64> {
        match index {
            0 => Some(0),
            _ => self.get(index).map(|entry| entry.term),
        }
    }

    /// A number that stands for all entries up to this index. Below 2^53, which every JSON reader
    /// keeps.
    pub fn digest(&self, index: u64) -> u64 {
        let last = usize::try_from(index).ok().and_then(|i| i.checked_sub(1));
        last.and_then(|last| self.digests.get(last))
            .copied()
            .unwrap_or(0)
    }

    /// Entries from this index on.
    pub fn from(&self, index: u64) -> &[Entry] {
        let start = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX);
        self.entries.get(start..).unwrap_or_default()
    }

    /// Appends an entry and gives its index.
    pub fn push(&mut self, entry: Entry) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.digest(self.last_index()), &entry).hash(&mut hasher);
        self.digests.push(hasher.finish() & ((1 << 53) - 1));
        self.entries.push(entry);
        self.last_index()
    }

    /// Drops the entry with this index and all that follow it.
    pub fn truncate(&mut self, from: u64) {
        let keep = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        self.entries.truncate(keep);
        self.digests.truncate(keep);
    }

    /// The first index of the term that the entry with this index is of.
    pub fn first_of_term(&self, index: u64) -> u64 {
        let term = self.term(index);
        let mut first = index;
        while first > 1 && self.term(first - 1) == term {
            first -= 1;
        }
        first
    }

    /// Where each term begins: its first index and the term, ascending.
    pub fn terms(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for (index, entry) in (1..).zip(&self.entries) {
            if runs.last().is_none_or(|(_, term)| *term != entry.term) {
                runs.push((index, entry.term));
            }
        }
        runs
    }
}

impl FromIterator<Entry> for Log {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut log = Self::default();
        for entry in entries {
            log.push(entry);
        }
        log
    }
}
