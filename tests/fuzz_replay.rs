//! What fuzzing has found, again: its corpora and regressions through the same functions, and the
//! same cases from proptest.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

/// A strategy for what the fuzzer makes from its bytes: `N` bytes hold any value of `T`.
fn arbitrary<T, const N: usize>() -> impl Strategy<Value = T>
where
    T: for<'a> Arbitrary<'a> + std::fmt::Debug,
{
    prop::array::uniform::<_, N>(any::<u8>()).prop_map(|bytes| {
        T::arbitrary(&mut Unstructured::new(&bytes)).expect("enough bytes for any value")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn reassembly_agrees_with_its_model(
        initial: u32,
        wraps: bool,
        begin in arbitrary::<_, 4>(),
        room in prop_oneof![0_u16..1000, any::<u16>()],
        reads_bytes: bool,
        steps in prop::collection::vec(arbitrary::<_, 12>(), 0..60),
    ) {
        targets::reassembly::check(&targets::reassembly::Case {
            initial, wraps, begin, room, reads_bytes, steps,
        });
    }

    /// Each hole takes three steps, and more are made than are remembered.
    #[test]
    fn what_comes_late_into_forgotten_holes_is_doubtful(
        mid_stream: bool,
        reads_bytes: bool,
        before in prop::option::of(1_u8..200),
        holes in prop::collection::vec((1_u8..12, 1_u8..6), 60..100),
        late in prop::collection::vec((any::<u16>(), 1_u8..60), 1..90),
    ) {
        use targets::reassembly::{Begin, Case, Step};
        let earlier = |back, length| Step::Earlier { back, length, cut: 0, other: false };
        let begin = if mid_stream { Begin::MidStream } else { Begin::Syn };
        let mut steps = vec![Step::Send { length: 9, cut: 0 }];
        steps.extend(before.map(|back| earlier(back.into(), 2)));
        for (lost, length) in holes {
            steps.push(Step::Lose { length: lost });
            steps.push(Step::Send { length, cut: 0 });
            steps.push(Step::AcknowledgeForGood { back: 0 });
        }
        steps.extend(late.into_iter().map(|(back, length)| earlier(back % 1000, length)));
        targets::reassembly::check(&Case {
            initial: 0, wraps: false, begin, room: u16::MAX, reads_bytes, steps,
        });
    }

    #[test]
    fn conversations_are_counted_as_they_were_held(
        framing in arbitrary::<_, 4>(),
        ipv6: bool,
        held: u16,
        connections in prop::collection::vec(
            (
                any::<[u32; 2]>(),
                arbitrary::<_, 5>(),
                prop::collection::vec(arbitrary::<_, 24>(), 0..30),
                any::<Option<bool>>(),
            ),
            0..4,
        ),
    ) {
        let connections = connections.into_iter().map(|(initial, handshake, steps, reset)| {
            targets::conversation::Connection { initial, handshake, steps, reset }
        });
        targets::conversation::check(&targets::conversation::Case {
            framing, ipv6, held, connections: connections.collect(),
        });
    }

    #[test]
    fn any_packets_keep_every_identity(
        packets in prop::collection::vec(arbitrary::<_, 120>(), 0..60),
    ) {
        targets::analysis::check(&targets::analysis::Case { packets });
    }

    #[test]
    fn framings_do_not_depend_on_pieces(
        framing in arbitrary::<_, 4>(),
        from_beginning: bool,
        pieces: Vec<u8>,
        events in prop::collection::vec(arbitrary::<_, 80>(), 0..30),
    ) {
        targets::framings::check(&targets::framings::Case {
            framing, from_beginning, pieces, events,
        });
    }
}

/// The files of a folder of `fuzz/`, by name.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new("fuzz").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// Runs every input of a target, and panics with the names of those that fail.
fn replay(target: &str, run: fn(&[u8])) {
    let mut failed = Vec::new();
    let corpus = files(&format!("corpus/{target}"));
    assert!(!corpus.is_empty(), "no corpus for {target}");
    let regressions = Path::new("fuzz/regressions").join(target);
    let regressions = match regressions.exists() {
        true => files(&format!("regressions/{target}")),
        false => Vec::new(),
    };
    for (name, input) in corpus.into_iter().chain(regressions) {
        if std::panic::catch_unwind(|| run(&input)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

#[test]
fn corpora_and_regressions_of_every_target() {
    std::thread::scope(|scope| {
        for (target, run) in targets::TARGETS {
            scope.spawn(move || replay(target, run));
        }
    });
}
