//! Thousands of schedules of the algorithms that this project began with: seeds, delays, orders and
//! the faults that each declares to live with. A failure tells the scenario, the seed in it, and the
//! command that simulates it again.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use wirewatt::algorithm::{Algorithm, ProcessId, centralized, ring, two_phase_commit};
use wirewatt::simulation::{End, Fault, Moment, Run, Scenario, Storage, run};

fn simulate(algorithm: &'static Algorithm, scenario: &Scenario) -> Run {
    run(algorithm, scenario).expect("a good setup")
}

/// Delays of a scenario: from all alike to some a thousand times as long as others.
fn delays() -> impl Strategy<Value = (Duration, Duration)> {
    let least = 1..=5_000_u64;
    let factor = 1..=1_000_u64;
    (least, factor).prop_map(|(least, factor)| {
        let least = Duration::from_micros(least);
        (
            least,
            (least * factor as u32)
                .min(Duration::from_millis(100))
                .max(least),
        )
    })
}

fn scenario(n: u32, rounds: u32, seed: u64, (least, most): (Duration, Duration)) -> Scenario {
    let mut scenario = Scenario::new(n, rounds, seed);
    scenario.network.delay = least..=most;
    scenario.log = false;
    scenario
}

/// Points of two-phase commit by role.
const COORDINATOR: &[&str] = &["after-votes", "after-decision", "after-first-decision"];
const PARTICIPANT: &[&str] = &["prepared", "after-vote"];

/// One that dies at a time or at a point of its role, and mostly comes back with what it wrote.
fn crash(n: u32) -> impl Strategy<Value = Fault> {
    let point = |name: &str| Moment::Point(name.to_owned());
    let when = prop_oneof![
        (0..n, 0..200_u64).prop_map(|(node, ms)| (node, Moment::Time(Duration::from_millis(ms)))),
        prop::sample::select(COORDINATOR).prop_map(move |name| (0, point(name))),
        (1..n, prop::sample::select(PARTICIPANT)).prop_map(move |(node, name)| (node, point(name))),
    ];
    let back = prop::option::weighted(0.8, 0..5_000_u64);
    (when, back).prop_map(|((node, at), back)| Fault::Crash {
        node: ProcessId(node),
        at,
        back: back.map(Duration::from_millis),
        storage: Storage::Kept,
    })
}

/// The same schedules every time and everywhere; others with `PROPTEST_RNG_SEED`.
fn config() -> ProptestConfig {
    let given = ProptestConfig::default();
    let rng_seed = match given.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        RngSeed::Fixed(seed) => RngSeed::Fixed(seed),
    };
    ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        rng_seed,
        ..given
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_ring_costs_n_a_circulation_in_every_schedule(
        n in 2..12_u32, rounds in 1..4_u32, seed in any::<u64>(), delays in delays(),
    ) {
        let run = simulate(&ring::ALGORITHM, &scenario(n, rounds, seed, delays));
        prop_assert_eq!(run.ended, End::Quiet);
        run.assert_formula();
        run.assert_per_operation();
        prop_assert_eq!(run.properties(), Ok(()));
    }

    #[test]
    fn every_member_joins_for_two_messages_in_every_schedule(
        n in 2..12_u32, rounds in 1..4_u32, seed in any::<u64>(), delays in delays(),
    ) {
        let run = simulate(&centralized::ALGORITHM, &scenario(n, rounds, seed, delays));
        prop_assert_eq!(run.ended, End::Quiet);
        run.assert_formula();
        run.assert_per_operation();
        prop_assert_eq!(run.properties(), Ok(()));
    }

    #[test]
    fn transactions_agree_and_end_in_every_schedule(
        n in 2..8_u32, rounds in 1..4_u32, seed in any::<u64>(), delays in delays(),
        no in prop::option::of(1..8_u32),
    ) {
        let mut scenario = scenario(n, rounds, seed, delays);
        if let Some(no) = no.filter(|&no| no < n) {
            scenario = scenario.option("vote-no", &no.to_string());
        }
        let run = simulate(&two_phase_commit::ALGORITHM, &scenario);
        prop_assert_eq!(run.ended, End::Quiet);
        run.assert_formula();
        prop_assert_eq!(run.properties(), Ok(()));
    }

    /// Agreement and validity hold whoever dies when, as long as what was written is still there.
    #[test]
    fn no_crash_makes_participants_disagree(
        (n, crashes) in (2..6_u32).prop_flat_map(|n| {
            (Just(n), prop::collection::vec(crash(n), 1..4))
        }),
        rounds in 1..4_u32, seed in any::<u64>(), delays in delays(),
    ) {
        let mut scenario = scenario(n, rounds, seed, delays);
        scenario.faults = crashes;
        let run = simulate(&two_phase_commit::ALGORITHM, &scenario);
        prop_assert_eq!(run.safety(), Ok(()));
    }
}
