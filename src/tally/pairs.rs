//! Who sent to whom.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::units::{Messages, PayloadBytes};

/// Pairs that a protocol has in a report. Those that come after them in order are counted together,
/// so that which ones they are depends on nothing but the traffic.
pub const MOST_PAIRS: usize = 10_000;

/// The name of the pairs that are counted together.
pub const OTHERS: &str = "others";

/// Sender and receiver of messages: process ids where frames name them, otherwise addresses, the
/// listening end with its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// Who sent.
    pub from: String,
    /// To whom.
    pub to: String,
}

/// What one of a pair sent to the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairTally {
    /// Complete messages.
    pub messages: Messages,
    /// Payload of those messages, framing included; where no message is known by its sender, all
    /// payload of the direction.
    pub payload: PayloadBytes,
}

impl PairTally {
    /// Adds another part's counts.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.payload += other.payload;
    }
}

/// One end of a pair. They are in order: processes by id, then clients, then listeners by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// A process that frames name.
    Process(u32),
    /// The end that dialled.
    Client(IpAddr),
    /// The end that listened.
    Listener(SocketAddr),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(id) => id.fmt(f),
            Self::Client(address) => address.fmt(f),
            Self::Listener(address) => address.fmt(f),
        }
    }
}

impl FromStr for End {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let process = || text.parse().map(Self::Process);
        let client = || text.parse().map(Self::Client);
        let listener = || text.parse().map(Self::Listener);
        process()
            .or_else(|_| client())
            .or_else(|_| listener())
            .map_err(|_| ())
    }
}

impl Pair {
    /// From one end to the other.
    pub fn of(from: End, to: End) -> Self {
        Self {
            from: from.to_string(),
            to: to.to_string(),
        }
    }

    /// The pairs that are counted together.
    pub fn others() -> Self {
        Self {
            from: OTHERS.to_owned(),
            to: OTHERS.to_owned(),
        }
    }

    /// Its ends; none of those that are counted together, which come last.
    fn ends(&self) -> Option<(End, End)> {
        Some((self.from.parse().ok()?, self.to.parse().ok()?))
    }
}

/// What was counted of each pair, of the first [`MOST_PAIRS`] in order and of all others together.
///
/// A pair that is among the first of all is among the first of any part, too, and never left out on
/// the way: whatever the order in which they come, the result is the same, and is exact.
#[derive(Debug)]
pub struct FirstPairs<E> {
    kept: FxHashMap<(E, E), PairTally>,
    /// What comes after it is not among the first.
    last: Option<(E, E)>,
    others: PairTally,
}

impl<E> Default for FirstPairs<E> {
    fn default() -> Self {
        Self {
            kept: FxHashMap::default(),
            last: None,
            others: PairTally::default(),
        }
    }
}

impl<E: Copy + Ord + Hash> FirstPairs<E> {
    /// Adds to a pair's counts.
    #[inline]
    pub fn add(&mut self, pair: (E, E), tally: &PairTally) {
        match self.kept.get_mut(&pair) {
            Some(kept) => kept.merge(tally),
            None => self.add_new(pair, tally),
        }
    }

    #[cold]
    fn add_new(&mut self, pair: (E, E), tally: &PairTally) {
        if self.last.is_some_and(|last| last < pair) {
            self.others.merge(tally);
            return;
        }
        self.kept.insert(pair, *tally);
        // Twice as many are kept before the last half is struck, so that it costs little.
        if self.kept.len() >= 2 * MOST_PAIRS {
            self.strike();
        }
    }

    fn strike(&mut self) {
        let mut pairs: Vec<_> = self.kept.keys().copied().collect();
        if pairs.len() <= MOST_PAIRS {
            return;
        }
        let (_, last, beyond) = pairs.select_nth_unstable(MOST_PAIRS - 1);
        self.last = Some(*last);
        for pair in beyond {
            if let Some(tally) = self.kept.remove(pair) {
                self.others.merge(&tally);
            }
        }
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The report's pairs.
    pub fn into_pairs(mut self, name: impl Fn(E) -> End) -> BTreeMap<Pair, PairTally> {
        self.strike();
        let mut pairs: BTreeMap<_, _> = self
            .kept
            .into_iter()
            .map(|((from, to), tally)| (Pair::of(name(from), name(to)), tally))
            .collect();
        if self.others != PairTally::default() {
            pairs.insert(Pair::others(), self.others);
        }
        pairs
    }
}

/// Adds the pairs of another part. Once frames have named processes in one of them, the addresses of
/// their connections say nothing more.
pub(super) fn merge(mine: &mut BTreeMap<Pair, PairTally>, other: &BTreeMap<Pair, PairTally>) {
    let names_processes = |pairs: &BTreeMap<Pair, PairTally>| {
        let ends = pairs.keys().filter_map(Pair::ends);
        ends.take(1)
            .any(|(from, _)| matches!(from, End::Process(_)))
    };
    match (names_processes(mine), names_processes(other)) {
        (true, false) => return,
        (false, true) => mine.clear(),
        _ => {}
    }
    for (pair, tally) in other {
        mine.entry(pair.clone()).or_default().merge(tally);
    }
    let others = Pair::others();
    let mut struck = mine.remove(&others).unwrap_or_default();
    if mine.len() > MOST_PAIRS {
        let mut pairs: Vec<_> = mine.keys().cloned().collect();
        pairs.sort_by_cached_key(|pair| {
            let ends = pair.ends();
            (ends.is_none(), ends)
        });
        for pair in &pairs[MOST_PAIRS..] {
            if let Some(tally) = mine.remove(pair) {
                struck.merge(&tally);
            }
        }
    }
    if struck != PairTally::default() {
        mine.insert(others, struck);
    }
}

pub(super) mod as_list {
    //! `pairs[]{from, to, messages, payload}`: JSON has no map with a pair as its key.

    use super::{BTreeMap, Deserialize, Pair, PairTally, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Row {
        #[serde(flatten)]
        pair: Pair,
        #[serde(flatten)]
        tally: PairTally,
    }

    pub fn serialize<S: Serializer>(
        pairs: &BTreeMap<Pair, PairTally>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(pair, tally)| Row {
            pair: pair.clone(),
            tally: *tally,
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Pair, PairTally>, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?;
        Ok(rows.into_iter().map(|row| (row.pair, row.tally)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Messages;

    /// Numbers in an order that has nothing to do with their size.
    fn shuffled(n: u32) -> impl Iterator<Item = u32> {
        (0..n).map(move |i| (i * 7919) % n)
    }

    fn one() -> PairTally {
        PairTally {
            messages: Messages::new(1),
            payload: PayloadBytes::new(10),
        }
    }

    #[test]
    fn the_first_pairs_are_exact_in_whatever_order_they_come_and_however_they_are_cut() {
        const PAIRS: u32 = 30_011;
        let ends = |n: u32| (n / 200, n % 200);
        let mut whole = FirstPairs::default();
        let mut parts: [FirstPairs<u32>; 3] = Default::default();
        for round in 0..2 {
            for n in shuffled(PAIRS) {
                whole.add(ends(n), &one());
                parts[((n + round) % 3) as usize].add(ends(n), &one());
            }
        }
        let whole = whole.into_pairs(End::Process);
        assert_eq!(whole.len(), MOST_PAIRS + 1);
        let others = whole[&Pair::others()];
        assert_eq!(others.messages.get(), 2 * (30_011 - 10_000));
        let last = Pair::of(End::Process(49), End::Process(199));
        assert_eq!(whole[&last].messages.get(), 2);
        let [mut merged, second, third] = parts.map(|part| part.into_pairs(End::Process));
        merge(&mut merged, &second);
        merge(&mut merged, &third);
        assert!(merged == whole);
    }

    #[test]
    fn where_one_part_names_processes_the_addresses_of_the_others_are_dropped() {
        let listener = End::Listener("[::1]:7100".parse().unwrap());
        let client = End::Client("::1".parse().unwrap());
        let mut hosts: BTreeMap<_, _> = [(Pair::of(client, listener), one())].into();
        hosts.insert(Pair::others(), one());
        let processes: BTreeMap<_, _> =
            [(Pair::of(End::Process(1), End::Process(2)), one())].into();
        for (mut mine, other) in [
            (hosts.clone(), processes.clone()),
            (processes.clone(), hosts),
        ] {
            merge(&mut mine, &other);
            assert_eq!(mine, processes);
        }
    }

    #[test]
    fn an_end_is_read_as_it_is_written() {
        for end in [
            End::Process(3),
            End::Client("10.0.0.1".parse().unwrap()),
            End::Client("::ffff:10.0.0.1".parse().unwrap()),
            End::Listener("10.0.0.1:7100".parse().unwrap()),
            End::Listener("[fe80::1]:7100".parse().unwrap()),
        ] {
            assert_eq!(end.to_string().parse(), Ok(end));
        }
        assert_eq!(OTHERS.parse::<End>(), Err(()));
    }
}
