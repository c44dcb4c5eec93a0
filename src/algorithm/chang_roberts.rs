//! Chang-Roberts: an election on a ring whose messages go one way. Each process has an identifier
//! and sends it to the next. Who gets an identifier greater than its own passes it on; a smaller one
//! it swallows; who gets its own back knows that nobody has a greater one, and is the leader. It
//! says so in one more circulation, so that everybody learns it and the leader knows that they did.
//!
//! An identifier travels to the next greater one, the greatest around the whole ring. Nothing else
//! decides, so where every process starts, the count follows from how identifiers lie on the ring,
//! in any order of events: 2N−1 when each is greater than the one before, N(N+1)/2 when each is
//! smaller, N·H(N) on average over all orders (H(N) = 1 + 1/2 + … + 1/N). The announcement takes N
//! more.
//!
//! Positions are the ids 0 … N−1, and i sends to i+1; the identifiers that are compared are what the
//! option `order` makes of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Execution, Expectation, Expected, FailureModel,
    KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Process,
    ProcessId, Property, PropertyKind, ProtocolError, Setup, SetupError, Step, Synchrony, Topology,
};

const ELECTION: KindNumber = KindNumber(1);
const ELECTED: KindNumber = KindNumber(2);

/// Who says when an election begins and when it has learned its outcome.
const WITNESS: ProcessId = ProcessId(0);

const CITATION: &str = "Chang & Roberts, CACM 22(5), 1979: each identifier goes to the next greater \
                        one; best 2N-1, worst N(N+1)/2, mean N*H(N)";
const ANNOUNCEMENT: &str = "Chang & Roberts, CACM 22(5), 1979: once around the ring";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "chang-roberts",
    about: "a ring elects the greatest identifier: smaller ones are swallowed on the way",
    citation: "Chang & Roberts, CACM 22(5), 1979",
    topology: Topology::Ring,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "every process is a candidate from the beginning; whoever learns the leader is a \
               candidate in the next election",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: ORDER,
            about: "identifiers around the ring: ascending (best case), descending (worst), random, \
                    or N different numbers with commas",
            default: "random",
        },
        OptionSpec {
            name: SEED,
            about: "which random order",
            default: "1",
        },
    ],
    formula: "2N-1 to N(N+1)/2 by the order of identifiers, and N to announce",
    per_operation: |n, options| {
        Expected::exactly(Order::of(n, options).election_messages(n) + u64::from(n))
    },
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &["election", "elected"],
        returns: &["election", "elected"],
        losses: &["election", "elected"],
    },
    identities: &[],
    properties: &[
        Property {
            name: "one leader",
            kind: PropertyKind::Safety,
            about: "only the process with the greatest identifier ever leads, and nobody learns of \
                    another",
            premise: ALWAYS,
            check: only_the_greatest_leads,
        },
        Property {
            name: "everybody learns",
            kind: PropertyKind::Liveness,
            about: "every process learns the leader of every election",
            premise: ALWAYS,
            check: everybody_learns_the_leader,
        },
    ],
    points: &[],
    process,
};

const ORDER: &str = "order";
const SEED: &str = "seed";

/// How identifiers lie on the ring, in the direction of the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    Random { seed: u32 },
    List(Vec<u32>),
}

impl Order {
    fn read(n: u32, options: &Options) -> Result<Self, SetupError> {
        let bad = |value: &str| SetupError::BadOption {
            option: ORDER,
            value: value.to_owned(),
            expected: "ascending, descending, random, or N different numbers with commas",
        };
        let seed = options.number(SEED, 1)?;
        match options.get(ORDER) {
            None | Some("random") => Ok(Self::Random { seed }),
            Some("ascending") => Ok(Self::Ascending),
            Some("descending") => Ok(Self::Descending),
            Some(value) => {
                let numbers: Result<Vec<u32>, _> =
                    value.split(',').map(|id| id.trim().parse()).collect();
                let numbers = numbers.map_err(|_| bad(value))?;
                let different: BTreeSet<_> = numbers.iter().collect();
                if numbers.len() != n as usize || different.len() != numbers.len() {
                    return Err(bad(value));
                }
                Ok(Self::List(numbers))
            }
        }
    }

    /// Of options that were read before.
    fn of(n: u32, options: &Options) -> Self {
        Self::read(n, options).unwrap_or(Self::Ascending)
    }

    /// The identifier at this position.
    fn identifier(&self, position: u32, n: u32) -> u32 {
        match self {
            Self::Ascending => position,
            Self::Descending => n - 1 - position,
            Self::Random { seed } => shuffled(position, n, *seed),
            Self::List(numbers) => numbers[position as usize],
        }
    }

    /// How many messages carry identifiers when all processes are candidates: from each position
    /// the distance to the next greater identifier.
    fn election_messages(&self, n: u32) -> u64 {
        let identifiers: Vec<u32> = (0..n).map(|p| self.identifier(p, n)).collect();
        // Positions whose next greater identifier is not yet found, their identifiers descending.
        let mut open: Vec<u32> = Vec::new();
        let mut messages = 0;
        for step in 0..2 * n {
            let identifier = identifiers[(step % n) as usize];
            while let Some(&from) = open.last()
                && identifiers[(from % n) as usize] < identifier
            {
                open.pop();
                messages += u64::from(from < n) * u64::from(step - from);
            }
            open.push(step);
        }
        // The greatest finds no greater one: it comes back to where it started.
        messages + u64::from(n)
    }

    fn leader(&self, n: u32) -> ProcessId {
        let greatest = (0..n).max_by_key(|&position| self.identifier(position, n));
        ProcessId(greatest.unwrap_or_default())
    }
}

/// A permutation of 0 … n−1 that needs no list: four rounds of a Feistel network on the least even
/// number of bits that holds n, again and again until the result is below n (cycle walking: Black &
/// Rogaway, *Ciphers with Arbitrary Finite Domains*, 2002).
fn shuffled(position: u32, n: u32, seed: u32) -> u32 {
    let bits = (u32::BITS - n.saturating_sub(1).leading_zeros()).max(2);
    let half = bits.div_ceil(2);
    let mask = (1_u64 << half) - 1;
    let mut value = u64::from(position);
    loop {
        let (mut left, mut right) = (value >> half, value & mask);
        for round in 0..4 {
            let key = (u64::from(seed) << 32 | u64::from(n)) ^ (round << 60);
            (left, right) = (right, left ^ (mixed(right ^ mixed(key)) & mask));
        }
        value = left << half | right;
        if value < u64::from(n) {
            return value as u32;
        }
    }
}

/// The output function of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let n = case.n;
    let elections = Order::of(n, case.options).election_messages(n);
    vec![
        Expectation {
            kind: "election",
            count: case.each(elections),
            formula: "each identifier to the next greater one, from 2N-1 to N(N+1)/2",
            citation: CITATION,
        },
        Expectation {
            kind: "elected",
            count: case.each(n.into()),
            formula: "N",
            citation: ANNOUNCEMENT,
        },
    ]
}

fn only_the_greatest_leads(execution: &Execution<'_>) -> Result<(), String> {
    let leader = Order::of(execution.n, execution.options).leader(execution.n);
    let mut led = BTreeSet::new();
    for event in execution.notes("leader") {
        if event.node != leader {
            return Err(format!("process {} led, not {leader}", event.node));
        }
        if !led.insert(event.outcome.operation) {
            return Err(format!(
                "process {leader} became leader twice in one election"
            ));
        }
    }
    for event in execution.notes("elected") {
        let learned: Option<ProcessId> = event.field("leader");
        if learned != Some(leader) {
            return Err(format!(
                "process {} learned of {learned:?}, not {leader}",
                event.node
            ));
        }
    }
    Ok(())
}

fn everybody_learns_the_leader(execution: &Execution<'_>) -> Result<(), String> {
    let mut learned: BTreeMap<ProcessId, BTreeSet<OperationId>> = BTreeMap::new();
    for event in execution.notes("elected") {
        let elections = learned.entry(event.node).or_default();
        elections.insert(event.outcome.operation);
    }
    let elections = |id| learned.get(&id).map_or(0, BTreeSet::len);
    match (0..execution.n)
        .map(ProcessId)
        .find(|&id| elections(id) < execution.rounds as usize)
    {
        None => Ok(()),
        Some(id) => Err(format!(
            "process {id} learned the leader of {} of {} elections",
            elections(id),
            execution.rounds
        )),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Candidate {
    round: u32,
    identifier: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Announcement {
    round: u32,
    leader: ProcessId,
}

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let order = Order::read(setup.n, setup.options)?;
    Ok(Box::new(Member {
        id: setup.id,
        n: setup.n,
        rounds: setup.rounds,
        identifier: order.identifier(setup.id.0, setup.n),
        round: 0,
        quiescing: false,
    }))
}

#[derive(Debug, Clone, Hash)]
struct Member {
    id: ProcessId,
    n: u32,
    rounds: u32,
    identifier: u32,
    /// The election in which it was a candidate last, from 1.
    round: u32,
    quiescing: bool,
}

impl Member {
    fn operation(&self, round: u32) -> OperationId {
        OperationId::new(WITNESS, round, self.n)
    }

    fn send<T: Serialize>(&self, kind: KindNumber, round: u32, body: &T, step: &mut Step<'_>) {
        let next = ProcessId((self.id.0 + 1) % self.n);
        step.send(next, kind, self.operation(round), Body::encode(body));
    }

    fn stand(&mut self, step: &mut Step<'_>) {
        if self.round == self.rounds || self.quiescing {
            return;
        }
        self.round += 1;
        let (round, identifier) = (self.round, self.identifier);
        if self.id == WITNESS {
            step.report(
                Phase::Invoke,
                self.operation(round),
                json!({ "election": round }),
            );
        }
        self.send(ELECTION, round, &Candidate { round, identifier }, step);
    }

    fn compare(&self, candidate: &Candidate, step: &mut Step<'_>) {
        let round = candidate.round;
        if candidate.identifier > self.identifier {
            self.send(ELECTION, round, candidate, step);
        } else if candidate.identifier == self.identifier {
            let identifier = self.identifier;
            step.note(
                "leader",
                self.operation(round),
                json!({ "identifier": identifier }),
            );
            let leader = self.id;
            self.send(ELECTED, round, &Announcement { round, leader }, step);
        }
    }

    fn learn(&mut self, announcement: &Announcement, step: &mut Step<'_>) {
        let Announcement { round, leader } = *announcement;
        let operation = self.operation(round);
        step.note("elected", operation, json!({ "leader": leader }));
        if leader != self.id {
            self.send(ELECTED, round, announcement, step);
        }
        if self.id == WITNESS {
            step.report(Phase::Ok, operation, json!({ "leader": leader }));
        }
        if round == self.round {
            self.stand(step);
        }
    }
}

impl Process for Member {
    /// What came before the start waits, so a process has sent its own identifier before it compares
    /// another's: every process is a candidate.
    fn start(&mut self, step: &mut Step<'_>) {
        self.stand(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            ELECTION => self.compare(&message.read()?, step),
            ELECTED => self.learn(&message.read()?, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, Run, Scenario};

    fn run(order: &str, n: u32, rounds: u32, seed: u64) -> Run {
        let scenario = Scenario::new(n, rounds, seed).option("order", order);
        let run = simulation::run(&ALGORITHM, &scenario).unwrap();
        run.assert_formula();
        run.assert_per_operation();
        run.properties().unwrap();
        run
    }

    #[test]
    fn ascending_identifiers_take_2n_less_one_and_descending_ones_the_triangle_number() {
        for n in 2..=12 {
            for seed in 0..40 {
                let best = run("ascending", n, 1, seed);
                assert_eq!(best.attempted("election"), u64::from(2 * n - 1));
                assert_eq!(best.attempted("elected"), u64::from(n));
                let worst = run("descending", n, 1, seed);
                assert_eq!(worst.attempted("election"), u64::from(n * (n + 1) / 2));
                assert_eq!(worst.attempted("elected"), u64::from(n));
            }
        }
    }

    /// All orders of `rest`, each after `chosen`.
    fn orders(chosen: &[u32], rest: &[u32], all: &mut Vec<Vec<u32>>) {
        if rest.is_empty() {
            all.push(chosen.to_vec());
        }
        for &next in rest {
            let rest: Vec<u32> = rest
                .iter()
                .copied()
                .filter(|&other| other != next)
                .collect();
            orders(&[chosen, &[next]].concat(), &rest, all);
        }
    }

    #[test]
    fn over_all_orders_the_mean_is_n_times_the_harmonic_number() {
        for n in 3..=6_u32 {
            let mut all = Vec::new();
            orders(&[], &(0..n).collect::<Vec<_>>(), &mut all);
            let factorial = all.len() as u64;
            let sum: u64 = all
                .into_iter()
                .map(|order| {
                    let order = Order::List(order);
                    let messages = order.election_messages(n);
                    let (least, most) = (2 * n - 1, n * (n + 1) / 2);
                    assert!((u64::from(least)..=u64::from(most)).contains(&messages));
                    messages
                })
                .sum();
            // n! times n times H(n), in whole numbers.
            let expected: u64 = (1..=u64::from(n))
                .map(|k| u64::from(n) * factorial / k)
                .sum();
            assert_eq!(sum, expected, "N={n}");
        }
    }

    #[test]
    fn the_count_follows_from_the_order_whatever_the_schedule() {
        let mut all = Vec::new();
        orders(&[], &[0, 1, 2, 3, 4], &mut all);
        for (seed, order) in (0..).zip(&all) {
            let text: Vec<String> = order.iter().map(ToString::to_string).collect();
            let text = text.join(",");
            let expected = Order::List(order.clone()).election_messages(5);
            for seed in seed * 20..seed * 20 + 20 {
                assert_eq!(run(&text, 5, 1, seed).attempted("election"), expected);
            }
        }
    }

    #[test]
    fn elections_follow_one_another_on_random_orders() {
        for n in 2..=9 {
            for seed in 0..50 {
                let scenario = Scenario::new(n, 3, seed).option("seed", &seed.to_string());
                let run = simulation::run(&ALGORITHM, &scenario).unwrap();
                run.assert_formula();
                run.properties().unwrap();
                assert_eq!(run.attempted("elected"), u64::from(3 * n));
            }
        }
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_seeds_differ() {
        for n in 2..=70 {
            let once: BTreeSet<u32> = (0..n).map(|p| shuffled(p, n, 3)).collect();
            assert_eq!(once, (0..n).collect(), "N={n}");
        }
        let orders: BTreeSet<Vec<u32>> = (0..200)
            .map(|seed| (0..5).map(|p| shuffled(p, 5, seed)).collect())
            .collect();
        assert!(orders.len() > 60, "{} of 120 orders", orders.len());
    }

    #[test]
    fn a_list_that_is_no_order_is_refused() {
        for bad in ["1,2", "1,2,2,3", "1,2,x,4", "sideways"] {
            let options = Options([("order".to_owned(), bad.to_owned())].into());
            let checked = ALGORITHM.check(4, 1, &options);
            assert!(
                matches!(checked, Err(SetupError::BadOption { .. })),
                "{bad}"
            );
        }
        let options = Options([("order".to_owned(), "70,5,9,1".to_owned())].into());
        ALGORITHM.check(4, 1, &options).unwrap();
    }

    #[test]
    fn a_second_leader_breaks_safety() {
        let mut run = run("ascending", 4, 1, 1);
        let mut other = run.events.clone();
        other.retain(|event| event.note() == Some("leader"));
        other[0].node = ProcessId(1);
        run.events.extend(other);
        let error = run.safety().unwrap_err();
        assert!(error.contains("process 1 led, not 3"), "{error}");
    }
}
