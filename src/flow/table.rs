//! Where each connection is, by the hash of its key.

/// Finds connections by the hashes of their keys; the connections themselves are kept elsewhere, at
/// the index that this table gives.
///
/// Open addressing with linear probing, and never more than half full: most searches end at the first
/// place that they look at, which a general hash table cannot promise. Each place holds
/// the hash, so that no other connection is touched on the way.
#[derive(Debug)]
pub struct ConnectionTable {
    /// A power of two.
    places: Vec<Place>,
    used: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    index: u32,
}

const EMPTY: u32 = u32::MAX;

impl Default for ConnectionTable {
    fn default() -> Self {
        Self::with_places(64)
    }
}

impl ConnectionTable {
    /// What a place takes in memory; each connection has two to four.
    pub const PLACE_BYTES: usize = size_of::<Place>();

    fn with_places(places: usize) -> Self {
        let empty = Place {
            hash: 0,
            index: EMPTY,
        };
        Self {
            places: vec![empty; places],
            used: 0,
        }
    }

    /// The index of the connection with this hash of which `is_it` says that it is the one.
    #[inline(always)]
    pub fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize;
        loop {
            let place = self.places[at & (self.places.len() - 1)];
            if place.index == EMPTY {
                return None;
            }
            if place.hash == hash && is_it(place.index) {
                return Some(place.index);
            }
            at += 1;
        }
    }

    /// Enters a connection that is not in the table.
    pub fn insert(&mut self, hash: u32, index: u32) {
        if 2 * (self.used + 1) > self.places.len() {
            let larger = Self::with_places(2 * self.places.len());
            for place in std::mem::replace(self, larger).places {
                if place.index != EMPTY {
                    self.insert(place.hash, place.index);
                }
            }
        }
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        while self.places[at].index != EMPTY {
            at = (at + 1) & mask;
        }
        self.places[at] = Place { hash, index };
        self.used += 1;
    }

    /// Removes a connection, and moves those behind it up that would not be found past the hole
    /// (Knuth, The Art of Computer Programming, 6.4, Algorithm R).
    pub fn remove(&mut self, hash: u32, index: u32) {
        let mask = self.places.len() - 1;
        let mut hole = hash as usize & mask;
        while self.places[hole].index != index {
            if self.places[hole].index == EMPTY {
                return;
            }
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.places[at];
            if place.index == EMPTY {
                break;
            }
            let from_home = at.wrapping_sub(place.hash as usize) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole].index = EMPTY;
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Few places and fewer hashes, so that runs of occupied places form, wrap and break up.
        #[test]
        fn finds_what_a_map_finds(
            steps in prop::collection::vec((any::<bool>(), 0_u32..24, 0_u32..4), 0..300),
        ) {
            let mut table = ConnectionTable::with_places(16);
            let mut map = BTreeMap::new();
            let spread = |key: u32| (key % 8).wrapping_sub(4);
            for (insert, key, salt) in steps {
                if insert && !map.contains_key(&key) {
                    let index = 100 * key + salt;
                    table.insert(spread(key), index);
                    map.insert(key, index);
                } else if !insert && let Some(index) = map.remove(&key) {
                    table.remove(spread(key), index);
                }
                prop_assert_eq!(table.used, map.len());
                for key in 0..24 {
                    let found = table.find(spread(key), |index| index / 100 == key);
                    prop_assert_eq!(found, map.get(&key).copied());
                }
            }
        }
    }
}
