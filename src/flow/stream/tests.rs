//! The reassembler, case by case. Any series of cases is held against a model of every position in
//! `fuzz/src/reassembly.rs`, by `tests/fuzz_replay.rs` and by fuzzing.

use proptest::prelude::*;

use super::*;

/// What a stream delivered: bytes, or `None` for each byte of a gap.
#[derive(Default)]
struct Delivered {
    stream: Vec<Option<u8>>,
    cut: u64,
    gap: u64,
    late: u64,
}

impl StreamSink for Delivered {
    fn bytes(&mut self, bytes: &[u8]) {
        self.stream.extend(bytes.iter().map(|byte| Some(*byte)));
    }
    fn cut(&mut self, n: u64) {
        self.cut += n;
        self.stream.extend((0..n).map(|_| None));
    }
    fn gap(&mut self, n: u64) {
        self.gap += n;
        self.stream.extend((0..n).map(|_| None));
    }
    fn late(&mut self, n: u64, of_gap: u64) {
        assert!(of_gap <= n);
        self.late += n;
    }
    fn wants_bytes(&self) -> bool {
        true
    }
}

/// The byte at a position of every stream here.
fn byte_at(position: usize) -> u8 {
    (position * 31 + position / 256) as u8
}

fn bytes_of(start: usize, end: usize) -> Vec<u8> {
    (start..end).map(byte_at).collect()
}

struct Harness {
    half: HalfStream,
    space: HoldingSpace,
    delivered: Delivered,
    isn: u32,
}

impl Harness {
    fn after_syn(isn: u32) -> Self {
        let mut half = HalfStream::default();
        half.syn(isn);
        Self {
            half,
            space: HoldingSpace::new(1 << 20),
            delivered: Delivered::default(),
            isn,
        }
    }

    fn mid_stream() -> Self {
        Self {
            half: HalfStream::default(),
            ..Self::after_syn(0)
        }
    }

    fn sequence(&self, position: usize) -> u32 {
        self.isn.wrapping_add(1).wrapping_add(position as u32)
    }

    fn send(&mut self, start: usize, end: usize) -> Arrival {
        let sequence = self.sequence(start);
        let bytes = bytes_of(start, end);
        let length = (end - start) as u32;
        self.half.segment(
            sequence,
            &bytes,
            length,
            &mut self.space,
            &mut self.delivered,
        )
    }

    fn acknowledge(&mut self, position: usize) {
        let sequence = self.sequence(position);
        self.half
            .acknowledge(sequence, &mut self.space, &mut self.delivered);
    }

    fn close(&mut self) {
        self.half.close(&mut self.space, &mut self.delivered);
    }
}

fn new(new: u32) -> Arrival {
    Arrival {
        new,
        ..Arrival::default()
    }
}

#[test]
fn in_order_segments_flow_through_across_the_wrap_of_sequence_numbers() {
    let mut harness = Harness::after_syn(u32::MAX - 5);
    assert_eq!(harness.send(0, 4), new(4));
    assert_eq!(harness.send(4, 20), new(16));
    assert_eq!(
        harness.delivered.stream,
        bytes_of(0, 20).into_iter().map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn a_retransmission_is_counted_as_repeated_and_delivered_once() {
    let mut harness = Harness::after_syn(7);
    harness.send(0, 10);
    assert_eq!(
        harness.send(0, 10),
        Arrival {
            repeated: 10,
            ..Arrival::default()
        }
    );
    assert_eq!(
        harness.send(5, 15),
        Arrival {
            new: 5,
            repeated: 5,
            outside: 0
        }
    );
    assert_eq!(harness.delivered.stream.len(), 15);
}

#[test]
fn out_of_order_data_waits_and_overlaps_are_trimmed() {
    let mut harness = Harness::after_syn(7);
    assert_eq!(harness.send(10, 20), new(10));
    assert_eq!(
        harness.send(15, 25),
        Arrival {
            new: 5,
            repeated: 5,
            outside: 0
        }
    );
    assert_eq!(harness.delivered.stream.len(), 0);
    assert_eq!(
        harness.send(0, 12),
        Arrival {
            new: 10,
            repeated: 2,
            outside: 0
        }
    );
    assert_eq!(
        harness.delivered.stream,
        bytes_of(0, 25).into_iter().map(Some).collect::<Vec<_>>()
    );
    assert_eq!(harness.space.held, 0);
}

#[test]
fn a_gap_is_declared_when_the_peer_acknowledges_past_it() {
    let mut harness = Harness::after_syn(7);
    harness.send(0, 10);
    harness.send(20, 30);
    harness.acknowledge(10);
    assert_eq!(harness.delivered.gap, 0);
    for _ in 0..=REORDERING_TOLERATED {
        harness.acknowledge(30);
    }
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (10, 1));
    assert_eq!(harness.delivered.stream.len(), 30);
}

#[test]
fn the_last_byte_of_a_gap_that_came_late_was_taken_for_a_keep_alive_probe() {
    let mut harness = Harness::after_syn(0);
    harness.send(100, 110);
    for _ in 0..5 {
        harness.acknowledge(110);
    }
    assert_eq!(harness.delivered.gap, 100);
    assert_eq!(harness.send(99, 100), new(1));
}

#[test]
fn the_gap_at_the_end_of_a_stream_took_the_number_of_an_unseen_fin_for_a_byte() {
    let mut harness = Harness::after_syn(0);
    for _ in 0..5 {
        harness.acknowledge(67);
    }
    assert_eq!(harness.delivered.gap, 66);
    let fin = harness.sequence(66);
    harness.half.fin(fin);
    assert!(harness.half.is_finished());
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (66, 1));
}

#[test]
fn a_fin_where_the_stream_was_picked_up_was_never_acknowledged() {
    let mut harness = Harness::mid_stream();
    let first = harness.sequence(100);
    harness.half.empty_segment(first);
    harness.half.fin(first);
    harness.acknowledge(101);
    assert!(harness.half.is_finished());
}

#[test]
fn a_byte_lost_after_a_mid_stream_pick_up_was_taken_for_a_keep_alive_probes() {
    let mut harness = Harness::mid_stream();
    let first = harness.sequence(100);
    harness.half.empty_segment(first);
    assert_eq!(harness.send(100, 108), new(8));
    assert_eq!(harness.send(109, 120), new(11));
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (1, 1));
}

#[test]
fn an_acknowledgment_after_a_mid_stream_pick_up_was_swallowed() {
    let mut harness = Harness::mid_stream();
    let first = harness.sequence(100);
    harness.half.empty_segment(first);
    harness.send(100, 108);
    harness.acknowledge(108);
    assert_eq!(harness.half.acknowledged(), 8);
}

#[test]
fn data_in_flight_when_the_capture_began_made_a_gap() {
    let mut harness = Harness::mid_stream();
    for position in [101, 2000, 3000, 4000, 5000] {
        harness.acknowledge(position);
    }
    assert_eq!(harness.send(50_101, 50_111), new(10));
    harness.acknowledge(50_111);
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (0, 0));
}

#[test]
fn the_acknowledgment_of_a_fin_that_was_not_captured_made_a_byte() {
    let mut harness = Harness::after_syn(0);
    harness.send(0, 10);
    for _ in 0..10 {
        harness.acknowledge(11);
    }
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (0, 1));

    // Behind a hole too.
    let mut harness = Harness::after_syn(0);
    harness.send(5, 10);
    harness.acknowledge(11);
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (5, 2));

    // Data behind it shows that it was a byte.
    let mut harness = Harness::after_syn(0);
    harness.send(0, 10);
    harness.acknowledge(11);
    harness.send(11, 20);
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (1, 1));
}

#[test]
fn an_acknowledgment_shown_before_its_data_is_no_gap() {
    let mut harness = Harness::after_syn(7);
    harness.acknowledge(10);
    harness.send(0, 10);
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (0, 0));
}

#[test]
fn bytes_that_fill_a_declared_gap_are_late_and_not_repeated() {
    let mut harness = Harness::after_syn(7);
    harness.send(20, 30);
    for _ in 0..=REORDERING_TOLERATED {
        harness.acknowledge(30);
    }
    assert_eq!(harness.half.gaps(), 1);
    assert_eq!(
        harness.send(0, 25),
        Arrival {
            new: 20,
            repeated: 5,
            outside: 0
        }
    );
    assert_eq!((harness.delivered.late, harness.half.gaps()), (20, 0));
    assert_eq!(
        harness.send(0, 20),
        Arrival {
            repeated: 20,
            ..Arrival::default()
        }
    );
}

#[test]
fn data_after_fin_is_outside_the_stream() {
    let mut harness = Harness::after_syn(7);
    harness.send(0, 10);
    let fin = harness.sequence(10);
    harness.half.fin(fin);
    assert_eq!(
        harness.send(10, 15),
        Arrival {
            outside: 5,
            ..Arrival::default()
        }
    );
    assert_eq!(
        harness.send(5, 12),
        Arrival {
            new: 0,
            repeated: 5,
            outside: 2
        }
    );
    assert!(harness.half.is_at_fin() && !harness.half.is_finished());
    harness.acknowledge(11);
    assert!(harness.half.is_finished());
    harness.close();
    assert_eq!(harness.delivered.gap, 0);
}

#[test]
fn a_keep_alive_byte_is_outside_the_stream_and_a_retransmitted_byte_is_not() {
    let mut harness = Harness::after_syn(7);
    harness.send(0, 10);
    assert_eq!(
        harness.send(9, 10),
        Arrival {
            repeated: 1,
            ..Arrival::default()
        }
    );
    harness.acknowledge(10);
    assert_eq!(
        harness.send(9, 10),
        Arrival {
            outside: 1,
            ..Arrival::default()
        }
    );
}

#[test]
fn a_keep_alive_probe_as_first_packet_does_not_make_a_gap() {
    let mut harness = Harness::mid_stream();
    let probe = harness.sequence(99);
    harness.half.empty_segment(probe);
    assert_eq!(harness.send(100, 110), new(10));
    harness.close();
    assert_eq!(harness.delivered.gap, 0);
}

#[test]
fn earlier_bytes_after_a_mid_stream_pick_up_are_new_once() {
    let mut harness = Harness::mid_stream();
    assert_eq!(harness.send(100, 110), new(10));
    assert_eq!(harness.send(90, 100), new(10));
    assert_eq!(
        harness.send(90, 100),
        Arrival {
            repeated: 10,
            ..Arrival::default()
        }
    );
    assert_eq!(harness.delivered.late, 10);
}

#[test]
fn acknowledgments_alone_prove_bytes_that_a_one_sided_capture_did_not_show() {
    let mut harness = Harness::mid_stream();
    harness.acknowledge(100);
    harness.acknowledge(350);
    harness.close();
    // The last number may have been FIN's.
    assert_eq!(harness.delivered.gap, 249);
}

#[test]
fn a_sequence_number_beyond_any_window_is_outside() {
    let mut harness = Harness::after_syn(7);
    harness.send(0, 10);
    let far = (LARGEST_WINDOW + 100) as usize;
    let sequence = harness.sequence(far);
    let arrival = harness.half.segment(
        sequence,
        &[0; 5],
        5,
        &mut harness.space,
        &mut harness.delivered,
    );
    assert_eq!(
        arrival,
        Arrival {
            outside: 5,
            ..Arrival::default()
        }
    );
}

#[test]
fn held_data_stays_within_its_space() {
    let mut harness = Harness::after_syn(7);
    harness.space = HoldingSpace::new(10_000);
    for i in 1..1000 {
        harness.send(i * 100, i * 100 + 50);
        assert!(harness.space.held <= 10_000);
    }
    harness.close();
    assert_eq!(harness.space.held, 0);
    assert_eq!(harness.delivered.stream.len(), 999 * 100 + 50);
}

#[test]
fn a_different_second_copy_is_counted() {
    let mut harness = Harness::after_syn(7);
    harness.send(10, 20);
    let sequence = harness.sequence(10);
    harness.half.segment(
        sequence,
        &[0; 10],
        10,
        &mut harness.space,
        &mut harness.delivered,
    );
    assert_eq!(harness.half.conflicting(), 10);
}

#[test]
fn bytes_below_the_syn_counted_as_seen_before() {
    let mut harness = Harness::after_syn(1000);
    let sequence = harness.isn.wrapping_sub(9);
    let arrival = harness.half.segment(
        sequence,
        &bytes_of(0, 20),
        20,
        &mut harness.space,
        &mut harness.delivered,
    );
    assert_eq!(
        arrival,
        Arrival {
            new: 10,
            repeated: 0,
            outside: 10
        }
    );
    assert_eq!(harness.delivered.stream[0], Some(byte_at(10)));
}

#[test]
fn a_fin_shown_before_its_data_moved_with_the_mid_stream_pick_up() {
    // The stream was picked up at a keep-alive probe.
    let mut harness = Harness::mid_stream();
    let (probe, fin) = (harness.sequence(99), harness.sequence(105));
    harness.half.empty_segment(probe);
    harness.half.fin(fin);
    assert_eq!(harness.send(100, 105), new(5));
    assert!(harness.half.is_at_fin());
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (0, 0));

    // It was picked up at an acknowledgment, of bytes that were sent before the capture began.
    let mut harness = Harness::mid_stream();
    let fin = harness.sequence(105);
    harness.acknowledge(50);
    harness.half.fin(fin);
    assert_eq!(harness.send(100, 105), new(5));
    harness.close();
    assert_eq!((harness.delivered.gap, harness.half.gaps()), (0, 0));
}

#[test]
fn data_held_in_many_pieces_cost_more_than_its_space() {
    let mut harness = Harness::after_syn(7);
    harness.space = HoldingSpace::new(10_000);
    for i in 1..100 {
        harness.send(i * 2, i * 2 + 1);
    }
    harness.send(3, 198);
    assert!(harness.space.held() <= 10_000);
    harness.send(0, 200);
    harness.close();
    assert_eq!(harness.delivered.gap - harness.delivered.late, 0);
}

#[test]
fn holes_filled_in_part_were_remembered_without_end() {
    let mut harness = Harness::mid_stream();
    harness.send(100_000, 100_010);
    for i in 0..10_000 {
        assert_eq!(harness.send(i * 2, i * 2 + 1), new(1));
    }
    let missing = &harness.half.disorder.as_ref().unwrap().missing;
    assert_eq!(missing.len(), MOST_MISSING_RANGES);
}

/// The first of these acknowledgments is of what comes behind the payload, and was taken for one of what is
/// before it: it lies three quarters of all sequence numbers behind.
#[test]
fn a_stretch_has_acknowledgments_of_all_sequence_numbers_but_a_quarter() {
    const QUARTER: u32 = 1 << 30;
    let sequence = 5000;
    let mut stretch = Stretch::default();
    assert!(stretch.acknowledge(sequence + QUARTER));
    assert!(stretch.acknowledge(sequence + 2 * QUARTER));
    assert!(!stretch.expects(sequence));
    assert!(stretch.expects(sequence + 2 * QUARTER));
}

proptest! {
    /// Payload in order and acknowledgments of some of it, or of anything: taken one by one, and in
    /// stretches as long as they come. A stretch is taken only if each of its segments is.
    #[test]
    fn a_stretch_is_what_its_segments_are(
        start in any::<u32>(),
        steps in prop::collection::vec((any::<bool>(), 1_u32..3000, any::<u32>()), 0..60),
        of_anything in any::<bool>(),
    ) {
        let mut one_by_one = HalfStream::default();
        one_by_one.syn(start);
        let mut in_stretches = HalfStream::default();
        in_stretches.syn(start);
        let (mut sent, mut stretch, mut all_taken) = (0_u32, Stretch::default(), true);
        let first = start.wrapping_add(1);
        for (is_payload, length, which) in steps {
            let sequence = first.wrapping_add(sent);
            let acknowledgment = match of_anything {
                // Where what is ahead turns into what is behind.
                true if which % 4 == 0 => {
                    let quarters = ((which >> 2) % 4) << 30;
                    let near = (which >> 4) % 3;
                    sequence.wrapping_add(quarters + near).wrapping_sub(1)
                }
                true => which,
                false => first.wrapping_add(which % (sent + 1)),
            };
            if is_payload {
                prop_assert!(one_by_one.take_next(sequence, length));
                sent += length;
            } else {
                all_taken &= one_by_one.acknowledge_delivered(acknowledgment);
            }
            let fits = |stretch: &mut Stretch| match is_payload {
                true if stretch.goes_on(sequence) => {
                    stretch.go_on(length);
                    true
                }
                true => {
                    let fits = stretch.expects(sequence);
                    if fits {
                        stretch.take(sequence, length);
                    }
                    fits
                }
                false if stretch.is_acknowledged() && stretch.admits(acknowledgment) => {
                    stretch.acknowledge_next(acknowledgment);
                    true
                }
                false => stretch.acknowledge(acknowledgment),
            };
            let before = stretch;
            if !fits(&mut stretch) {
                if !in_stretches.goes_on_with(&before) {
                    prop_assert!(of_anything);
                    return Ok(());
                }
                in_stretches.go_on_with(&before);
                stretch = Stretch::default();
                prop_assert!(fits(&mut stretch));
            }
        }
        let goes_on = in_stretches.goes_on_with(&stretch);
        prop_assert!(goes_on || of_anything);
        if goes_on {
            in_stretches.go_on_with(&stretch);
            prop_assert!(all_taken);
            prop_assert_eq!(format!("{in_stretches:?}"), format!("{one_by_one:?}"));
        }
    }
}
