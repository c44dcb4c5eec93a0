//! Graphs that algorithms for general topologies run on, each a function of a process and N: who
//! knows its neighbours needs no list of all processes.

use super::{Options, ProcessId, SetupError};

/// A connected graph of the processes 0 … N−1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Graph {
    /// Every pair is joined.
    Mesh,
    /// A binary tree: the children of i are 2i+1 and 2i+2.
    Tree,
    /// Each process with the next, the last with the first.
    Ring,
    /// Rows of ⌈√N⌉ processes, the last one as long as they suffice.
    Grid,
    /// A ring with chords from i to a·i mod N, for the least a ≥ 2 that has no divisor in common
    /// with N. At most 4 neighbours each and, like the de Bruijn graph that a = 2 resembles, a
    /// diameter that grows with log N: a stand-in for a random regular graph that every process can
    /// compute for itself.
    Chords,
}

impl Graph {
    /// The option that names a graph.
    pub const OPTION: &'static str = "topology";
    /// What its values are, in words.
    pub const VALUES: &'static str = "mesh, tree, ring, grid or chords (a ring with chords)";

    /// The graph that the option names.
    pub fn read(options: &Options, default: Self) -> Result<Self, SetupError> {
        match options.get(Self::OPTION) {
            None => Ok(default),
            Some("mesh") => Ok(Self::Mesh),
            Some("tree") => Ok(Self::Tree),
            Some("ring") => Ok(Self::Ring),
            Some("grid") => Ok(Self::Grid),
            Some("chords") => Ok(Self::Chords),
            Some(value) => Err(SetupError::BadOption {
                option: Self::OPTION,
                value: value.to_owned(),
                expected: Self::VALUES,
            }),
        }
    }

    /// The neighbours of `id` among `n` processes, ascending.
    pub fn neighbours(self, id: ProcessId, n: u32) -> Vec<ProcessId> {
        let i = id.0;
        let mut ids: Vec<u32> = match self {
            Self::Mesh => (0..n).collect(),
            Self::Tree => {
                let parent = i.checked_sub(1).map(|below| below / 2);
                let children = [2 * u64::from(i) + 1, 2 * u64::from(i) + 2];
                let children = children.into_iter().filter_map(|id| u32::try_from(id).ok());
                parent
                    .into_iter()
                    .chain(children.filter(|&id| id < n))
                    .collect()
            }
            Self::Ring => ring(i, n).into(),
            Self::Grid => {
                let width = u64::from(n).isqrt();
                let width = (width + u64::from(width * width < u64::from(n))) as u32;
                let column = i % width;
                let left = (column > 0).then(|| i - 1);
                let right = (column + 1 < width && i + 1 < n).then(|| i + 1);
                let up = i.checked_sub(width);
                let down = i.checked_add(width).filter(|&id| id < n);
                [left, right, up, down].into_iter().flatten().collect()
            }
            Self::Chords => {
                let factor = chord_factor(n);
                let times = |factor: u32| (u64::from(i) * u64::from(factor) % u64::from(n)) as u32;
                let chords = [times(factor), times(inverse(factor, n))];
                ring(i, n).into_iter().chain(chords).collect()
            }
        };
        ids.retain(|&other| other != i);
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(ProcessId).collect()
    }

    /// One of the neighbours, which `choose` chooses by its place among so many.
    pub fn neighbour(self, id: ProcessId, n: u32, choose: impl FnOnce(u32) -> u32) -> ProcessId {
        if let Self::Mesh = self {
            // All but itself: no need to list them.
            let chosen = choose(n - 1);
            return ProcessId(chosen + u32::from(chosen >= id.0));
        }
        let neighbours = self.neighbours(id, n);
        neighbours[choose(neighbours.len() as u32) as usize]
    }

    /// How many edges it has among `n` processes.
    pub fn edges(self, n: u32) -> u64 {
        match self {
            Self::Mesh => u64::from(n) * u64::from(n.saturating_sub(1)) / 2,
            Self::Tree => u64::from(n.saturating_sub(1)),
            _ => {
                let degree = |id| self.neighbours(ProcessId(id), n).len() as u64;
                (0..n).map(degree).sum::<u64>() / 2
            }
        }
    }
}

fn ring(i: u32, n: u32) -> [u32; 2] {
    [if i == 0 { n - 1 } else { i - 1 }, (i + 1) % n]
}

/// The least number from 2 on that has no divisor in common with `n`.
fn chord_factor(n: u32) -> u32 {
    let coprime = |a: &u32| greatest_common_divisor(*a, n) == 1;
    (2..=u32::MAX).find(coprime).unwrap_or(1) % n.max(1)
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// The number that `a` times it leaves 1 modulo `n`, by Euclid's extended algorithm; `a` and `n`
/// have no divisor in common.
fn inverse(a: u32, n: u32) -> u32 {
    let (mut rest, mut next_rest) = (i64::from(n), i64::from(a % n.max(1)));
    let (mut factor, mut next_factor) = (0_i64, 1_i64);
    while next_rest != 0 {
        let quotient = rest / next_rest;
        (rest, next_rest) = (next_rest, rest - quotient * next_rest);
        (factor, next_factor) = (next_factor, factor - quotient * next_factor);
    }
    factor.rem_euclid(i64::from(n)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [Graph; 5] = [
        Graph::Mesh,
        Graph::Tree,
        Graph::Ring,
        Graph::Grid,
        Graph::Chords,
    ];

    #[test]
    fn one_neighbour_is_the_one_at_its_place() {
        for graph in ALL {
            for n in 2..=20 {
                for id in (0..n).map(ProcessId) {
                    let all = graph.neighbours(id, n);
                    for (place, expected) in (0..).zip(&all) {
                        let chosen = graph.neighbour(id, n, |count| {
                            assert_eq!(count as usize, all.len());
                            place
                        });
                        assert_eq!(chosen, *expected, "{graph:?} {n}: {place} of {id}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_graph_is_mutual_and_connected() {
        for graph in ALL {
            for n in (2..=40).chain([97, 128]) {
                let mut reached = BTreeSet::from([ProcessId(0)]);
                let mut next = vec![ProcessId(0)];
                while let Some(id) = next.pop() {
                    for other in graph.neighbours(id, n) {
                        assert_ne!(id, other);
                        let back = graph.neighbours(other, n);
                        assert!(back.contains(&id), "{graph:?} {n}: {id}-{other}");
                        if reached.insert(other) {
                            next.push(other);
                        }
                    }
                }
                assert_eq!(reached.len(), n as usize, "{graph:?} {n}");
            }
        }
    }

    #[test]
    fn edges_are_as_counted_by_hand() {
        let edges = |graph: Graph, n| graph.edges(n);
        assert_eq!(edges(Graph::Mesh, 5), 10);
        assert_eq!(edges(Graph::Tree, 5), 4);
        assert_eq!(edges(Graph::Ring, 5), 5);
        assert_eq!(edges(Graph::Ring, 2), 1);
        // Three rows of three: 6 edges along, 6 across.
        assert_eq!(edges(Graph::Grid, 9), 12);
        // Rows of 3 and 2: 0-1, 1-2, 3-4, 0-3, 1-4.
        assert_eq!(edges(Graph::Grid, 5), 5);
        // a = 2: the ring's 5, and 1-2 and 3-4 are in it; 1-3 and 2-4 are new.
        assert_eq!(edges(Graph::Chords, 5), 7);
        let by_degrees = |graph: Graph, n| {
            let degree = |id| graph.neighbours(ProcessId(id), n).len() as u64;
            (0..n).map(degree).sum::<u64>() / 2
        };
        for n in 2..20 {
            assert_eq!(Graph::Mesh.edges(n), by_degrees(Graph::Mesh, n));
            assert_eq!(Graph::Tree.edges(n), by_degrees(Graph::Tree, n));
        }
    }

    #[test]
    fn chords_keep_degrees_and_distances_small() {
        let n = 10_007;
        let mut distance = vec![u32::MAX; n as usize];
        distance[0] = 0;
        let mut wave = vec![ProcessId(0)];
        for hops in 1.. {
            let mut next = Vec::new();
            for id in wave {
                let neighbours = Graph::Chords.neighbours(id, n);
                assert!(neighbours.len() <= 4);
                for other in neighbours {
                    if distance[other.index()] == u32::MAX {
                        distance[other.index()] = hops;
                        next.push(other);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            wave = next;
        }
        // log2 of 10,007 is 13.3; a ring alone would need 5003.
        assert!(distance.iter().all(|&hops| hops <= 20));
    }
}
