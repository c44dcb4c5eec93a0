//! Fragments of one packet, against a model that writes them into an array.

use proptest::prelude::*;

use super::*;

const V4: Addresses = Addresses::V4 {
    source: 1,
    destination: 2,
};
const V6: Addresses = Addresses::V6 {
    source: 1,
    destination: 2,
};

/// A fragment in units of eight bytes, all of the same value.
#[derive(Debug, Clone)]
struct Piece {
    start: u32,
    units: u32,
    value: u8,
    more: bool,
    captured: usize,
}

fn take(fragments: &mut Fragments, addresses: Addresses, piece: &Piece, serial: i64) -> Assembly {
    let length = 8 * piece.units;
    let bytes = vec![piece.value; length as usize];
    let fragment = Fragment {
        identification: 7,
        protocol: 17,
        offset: 8 * piece.start,
        more: piece.more,
        length,
        captured: &bytes[..bytes.len().min(piece.captured)],
    };
    let lengths = Lengths {
        ip_header: 20,
        surplus: length,
        ..Lengths::default()
    };
    let time = Timestamp::from_nanos(serial);
    let given_up = fragments.give_up(addresses, &fragment, time);
    assert!(given_up.is_none(), "{given_up:?}");
    fragments.take(addresses, &fragment, time, [Carrier { time, lengths }])
}

/// What a packet's fragments are known to be, unit by unit: each a value, and how many bytes of it were
/// captured.
#[derive(Default)]
struct Model {
    units: Vec<Option<(u8, usize)>>,
    end: Option<usize>,
}

enum Expected {
    Waits,
    Contradicts,
    Whole(Vec<(u8, usize)>),
}

impl Model {
    fn take(&mut self, piece: &Piece, may_overlap: bool) -> Expected {
        let (start, end) = (piece.start as usize, (piece.start + piece.units) as usize);
        let known_end = self
            .units
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        let fits = match (self.end, piece.more) {
            (Some(all), more) => end <= all && (more || end == all),
            (None, more) => more || end >= known_end,
        };
        if !fits {
            return Expected::Contradicts;
        }
        if !piece.more {
            self.end = Some(end);
        }
        self.units.resize(self.units.len().max(end), None);
        if !may_overlap && self.units[start..end].iter().any(Option::is_some) {
            return Expected::Contradicts;
        }
        for (index, unit) in self.units[start..end].iter_mut().enumerate() {
            let captured = piece.captured.saturating_sub(8 * index).min(8);
            unit.get_or_insert((piece.value, captured));
        }
        match self.units.iter().copied().collect() {
            Some(whole) if self.end == Some(self.units.len()) => Expected::Whole(whole),
            _ => Expected::Waits,
        }
    }
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = (0_u32..6, 1_u32..4, 1_u8..4, any::<bool>(), 0_usize..40).prop_map(
        |(start, units, value, more, captured)| Piece {
            start,
            units,
            value,
            more,
            captured,
        },
    );
    prop::collection::vec(piece, 1..12)
}

proptest! {
    #[test]
    fn packets_become_whole_as_the_model_says(pieces in pieces(), is_v4 in any::<bool>()) {
        let mut fragments = Fragments::new(1 << 20);
        let mut model = Model::default();
        let addresses = if is_v4 { V4 } else { V6 };
        let mut waiting = 0;
        // The same unit twice is the same fragment again in IPv6 only if all else is the same: told
        // apart by values that never repeat.
        for (serial, mut piece) in pieces.into_iter().enumerate() {
            if !is_v4 {
                piece.value = 10 + serial as u8;
                piece.captured = piece.captured.max(1);
            }
            waiting += 1;
            match (take(&mut fragments, addresses, &piece, serial as i64), model.take(&piece, is_v4)) {
                (Assembly::Waits, Expected::Waits) => {}
                (Assembly::Broken(broken), Expected::Contradicts) => {
                    prop_assert_eq!(broken.reason, Reason::FragmentsContradict);
                    prop_assert_eq!(broken.carriers.len(), waiting);
                    return Ok(());
                }
                (Assembly::Whole(whole), Expected::Whole(units)) => {
                    prop_assert_eq!(whole.length as usize, 8 * units.len());
                    prop_assert_eq!(whole.carriers.len(), waiting);
                    let mut captured = Vec::new();
                    for (value, bytes) in units {
                        captured.extend(vec![value; bytes]);
                        if bytes < 8 {
                            break;
                        }
                    }
                    prop_assert_eq!(whole.captured, captured);
                    prop_assert_eq!((fragments.held, fragments.packets.len()), (0, 0));
                    return Ok(());
                }
                (assembly, _) => panic!("{assembly:?}"),
            }
        }
        let broken = fragments.end().map(|broken| broken.carriers.len());
        prop_assert_eq!(broken, Some(waiting));
        prop_assert_eq!((fragments.held, fragments.waiting.len()), (0, 0));
    }
}

#[test]
fn packets_that_became_whole_leave_no_trace() {
    let mut fragments = Fragments::new(1 << 20);
    let piece = |start, more| Piece {
        start,
        units: 1,
        value: 1,
        more,
        captured: 8,
    };
    for serial in 0..10_000 {
        assert!(matches!(
            take(&mut fragments, V4, &piece(0, true), serial),
            Assembly::Waits
        ));
        assert!(matches!(
            take(&mut fragments, V4, &piece(1, false), serial),
            Assembly::Whole(_)
        ));
        assert!(fragments.waiting.len() <= 65);
    }
    assert!(fragments.end().is_none());
}

#[test]
fn what_comes_of_a_broken_packet_later_is_broken_too_and_told_once() {
    let mut fragments = Fragments::new(1 << 20);
    let piece = |start, units, more| Piece {
        start,
        units,
        value: 1,
        more,
        captured: 8,
    };
    take(&mut fragments, V6, &piece(0, 2, true), 1);
    for (piece, carriers) in [(piece(1, 2, true), 2), (piece(4, 1, false), 1)] {
        let Assembly::Broken(broken) = take(&mut fragments, V6, &piece, 2) else {
            panic!("not broken")
        };
        assert_eq!(broken.carriers.len(), carriers);
    }
    // After its time, the identification is free again.
    let later = PATIENCE + 2;
    assert!(matches!(
        take(&mut fragments, V6, &piece(0, 1, true), later),
        Assembly::Waits
    ));
}
