//! What fuzzing has found, again: its corpora and regressions through the same functions, and the
//! same cases from proptest.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
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

/// Bytes from which [`Arbitrary`] makes a capture of these Ethernet frames.
fn seed(frames: &[Vec<u8>]) -> Vec<u8> {
    let list = |items: &[Vec<u8>]| {
        let items = items.iter().flat_map(|item| [&[1][..], item].concat());
        items.chain([0]).collect::<Vec<u8>>()
    };
    let packets = frames.iter().map(|frame| {
        let data: Vec<Vec<u8>> = frame.iter().map(|byte| vec![*byte]).collect();
        let (after, cut, what, ethernet) = ([1, 0], [0], [0xff; 4], [1]);
        [&after[..], &cut, &what, &ethernet, &list(&data)].concat()
    });
    list(&packets.collect::<Vec<_>>())
}

/// A piece of an IPv4 packet, at so many times eight bytes, in Ethernet.
fn fragment(protocol: u8, offset: u16, more: bool, piece: &[u8]) -> Vec<u8> {
    let mut frame = [&[2; 12][..], &[8, 0, 0x45, 0]].concat();
    frame.extend((20 + piece.len() as u16).to_be_bytes());
    frame.extend([0, 7]);
    frame.extend((offset | u16::from(more) << 13).to_be_bytes());
    frame.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(piece);
    frame
}

/// The same of IPv6, with a fragment header (RFC 8200, section 4.5).
fn fragment_6(next: u8, offset: u16, more: bool, piece: &[u8]) -> Vec<u8> {
    let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend((8 + piece.len() as u16).to_be_bytes());
    frame.extend([44, 64]);
    frame.extend([[1; 16], [2; 16]].concat());
    frame.extend([next, 0]);
    frame.extend((offset << 3 | u16::from(more)).to_be_bytes());
    frame.extend([0, 0, 0, 7]);
    frame.extend(piece);
    frame
}

/// Fuzzing does not find fragments that fit by itself, so it begins with some. `UPDATE_SNAPSHOTS=1` writes
/// them.
#[test]
fn seeds_have_fragments_that_make_whole_packets() {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let ports = [40_000_u16, 5000].map(u16::to_be_bytes).concat();
    let udp = [&ports[..], &[0, 32, 0, 0], b"one\r\ntwo\nthree and no more"].concat();
    let segment = [0, 0, 0, 9, 0, 0, 0, 0, 0x50, 24, 1, 0, 0, 0, 0, 0];
    let tcp = [&ports[..], &segment, b"four\nfive\nsix and so on"].concat();
    let pieces = |make: fn(u8, u16, bool, &[u8]) -> Vec<u8>, protocol, packet: &[u8]| {
        let (first, rest) = packet.split_at(16);
        let (second, third) = rest.split_at(8);
        [
            make(protocol, 0, true, first),
            make(protocol, 2, true, second),
            make(protocol, 3, false, third),
        ]
    };
    let [a, b, c] = pieces(fragment, UDP, &udp);
    let [d, e, f] = pieces(fragment, TCP, &tcp);
    // It covers what the second piece brings, with other bytes.
    let over = fragment(UDP, 1, true, &[b'x'; 16]);
    let about = [&[3, 4, 0, 0, 0, 0, 5, 0], &a[14..42]].concat();
    let seeds = [
        (
            "fragments-in-order",
            vec![a.clone(), b.clone(), c.clone()],
            1,
        ),
        ("fragments-in-reverse", vec![f, e, d], 1),
        (
            "fragments-overlap",
            vec![a.clone(), over, b.clone(), c.clone()],
            1,
        ),
        (
            "fragments-twice",
            vec![a.clone(), a.clone(), c.clone(), b, c.clone(), a.clone()],
            1,
        ),
        (
            "fragments-of-ipv6",
            pieces(fragment_6, UDP, &udp).to_vec(),
            1,
        ),
        (
            "fragment-and-its-icmp-error",
            vec![a.clone(), c, fragment(1, 0, false, &about)],
            0,
        ),
    ];
    let mut alone = BTreeSet::new();
    for (name, frames, packets) in seeds {
        let bytes = seed(&frames);
        assert!(bytes.len() <= 2048, "{name}: as long as the fuzzer takes");
        let mut files = vec![(format!("analysis/{name}"), bytes.clone())];
        for (i, frame) in frames.iter().enumerate() {
            if alone.insert(frame.clone()) {
                let bytes = [&[1, 0, 0][..], frame].concat();
                files.push((format!("packet_decode/{name}-{i}"), bytes));
            }
        }
        for (file, expected) in files {
            let path = Path::new("fuzz/corpus").join(file);
            if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
                fs::write(&path, &expected).unwrap();
            }
            let there = fs::read(&path).unwrap_or_default();
            assert!(there == expected, "{} is another", path.display());
        }
        let case = targets::analysis::Case::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap();
        let analysis = targets::analysis::analysis(&case, Default::default());
        assert_eq!(analysis.packets.get(), frames.len() as u64, "{name}");
        let with_payload = analysis
            .protocols
            .iter()
            .filter(|row| row.bytes.payload.get() > 0);
        assert_eq!(with_payload.count(), packets, "{name}");
    }
}
