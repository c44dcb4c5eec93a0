//! Streams cut into pieces at every place, with gaps, against what was put into them.

use proptest::prelude::*;

use super::*;

/// What a framing found, one way, and the sum of every byte it placed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    messages: Vec<(u64, u64)>,
    kinds: Vec<u16>,
    incomplete: Vec<u64>,
    unframed: u64,
}

impl Found {
    fn placed(&self) -> u64 {
        self.messages
            .iter()
            .map(|(body, framing)| body + framing)
            .sum::<u64>()
            + self.incomplete.iter().sum::<u64>()
            + self.unframed
    }
}

impl MessageSink for Found {
    fn message(&mut self, _: Way, message: Message) {
        self.messages
            .push((message.body.get(), message.framing.get()));
        self.kinds.extend(message.label.map(|label| label.kind));
    }
    fn incomplete(&mut self, _: Way, bytes: IncompleteBytes) {
        self.incomplete.push(bytes.get());
    }
    fn unframed(&mut self, _: Way, bytes: UnframedBytes) {
        self.unframed += bytes.get();
    }
}

use Way::{FromListener, ToListener};

/// A frame written by hand from docs/wire-format.md.
fn frame(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x57, 0xa7, 1, 0];
    bytes.extend((56 + body.len() as u32).to_be_bytes());
    bytes.extend(3_u16.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1]);
    for number in [77_u64, 1, 5, 9] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(body);
    bytes
}

/// Runs a whole stream through a framing in pieces of these lengths, over and over.
fn in_pieces(framing: &mut impl Framing, stream: &[u8], pieces: &[usize]) -> Found {
    let mut found = Found::default();
    let mut rest = stream;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at((*piece).max(1).min(rest.len()));
        framing.bytes(ToListener, head, &mut found);
        rest = tail;
    }
    framing.end(ToListener, true, &mut found);
    found
}

#[test]
fn a_label_has_every_field_of_the_header() {
    struct Labels(Vec<Label>);
    impl MessageSink for Labels {
        fn message(&mut self, _: Way, message: Message) {
            self.0.extend(message.label);
        }
        fn incomplete(&mut self, _: Way, _: IncompleteBytes) {}
        fn unframed(&mut self, _: Way, _: UnframedBytes) {}
    }
    let mut labels = Labels(Vec::new());
    WireWatt::new(true).bytes(ToListener, &frame(4, b"body"), &mut labels);
    let expected = Label {
        protocol: 3,
        kind: 4,
        sender: 1,
        receiver: 2,
        incarnation: 1,
        run: 77,
        operation: 1,
        sequence: 5,
        timestamp: 9,
    };
    assert_eq!(labels.0, [expected]);
}

#[test]
fn a_stream_that_does_not_begin_with_our_magic_goes_by_turns() {
    let mut framing = WireWatt::new(true);
    let mut found = Found::default();
    assert!(framing.is_undecided());
    framing.bytes(ToListener, b"GET / HTTP/1.1\r\n\r\n", &mut found);
    assert!(framing.is_foreign());
    framing.bytes(FromListener, b"HTTP/1.1 200 OK\r\n", &mut found);
    framing.bytes(FromListener, b"\r\n", &mut found);
    framing.end(FromListener, true, &mut found);
    framing.end(ToListener, true, &mut found);
    assert_eq!(found.messages, [(18, 0), (19, 0)]);
}

#[test]
fn a_stream_of_another_run_is_foreign_and_its_frames_are_not_ours() {
    let mut framing = WireWatt::new(true).of_run(Some(78));
    let mut found = Found::default();
    framing.bytes(ToListener, &frame(1, b"x"), &mut found);
    assert!(framing.is_foreign());
    framing.end(ToListener, true, &mut found);
    assert_eq!((found.kinds, found.messages), (vec![], vec![(57, 0)]));

    let mut framing = WireWatt::new(true).of_run(Some(77));
    let found = in_pieces(&mut framing, &frame(1, b"x"), &[5]);
    assert_eq!(found.kinds, [1]);
}

#[test]
fn a_frame_of_another_run_in_a_stream_of_ours_is_unframed() {
    let mut other = frame(2, b"");
    other[31] = 78;
    let stream = [frame(1, b"a"), other, frame(3, b"b")].concat();
    let found = in_pieces(&mut WireWatt::new(true).of_run(Some(77)), &stream, &[11]);
    assert_eq!((found.kinds, found.unframed), (vec![1, 3], 56));
}

#[test]
fn one_byte_of_magic_is_not_enough_to_be_ours() {
    let mut framing = WireWatt::new(true);
    let mut found = Found::default();
    framing.bytes(ToListener, &[0x57], &mut found);
    assert!(framing.is_undecided());
    framing.bytes(ToListener, b"xyz", &mut found);
    assert!(framing.is_foreign());
    framing.end(ToListener, true, &mut found);
    assert_eq!(found.messages, [(4, 0)]);
}

#[test]
fn after_a_gap_frames_are_found_again_by_their_magic() {
    let mut framing = WireWatt::new(true);
    let mut found = Found::default();
    framing.bytes(ToListener, &frame(1, b"first"), &mut found);
    framing.gap(ToListener, 30, &mut found);
    framing.bytes(ToListener, b"tail of a lost frame\x57", &mut found);
    framing.bytes(ToListener, &frame(2, b"found"), &mut found);
    assert_eq!(found.kinds, [1, 2]);
    assert_eq!(found.unframed, 21);
}

#[test]
fn a_gap_inside_a_body_is_skipped_by_arithmetic() {
    let mut framing = WireWatt::new(true);
    let mut found = Found::default();
    let lost = frame(1, &[0; 100]);
    framing.bytes(ToListener, &lost[..80], &mut found);
    framing.gap(ToListener, 20, &mut found);
    framing.bytes(ToListener, &lost[100..], &mut found);
    framing.bytes(ToListener, &frame(2, b""), &mut found);
    assert_eq!(
        (found.kinds, found.incomplete, found.unframed),
        (vec![2], vec![136], 0)
    );
}

#[test]
fn a_body_that_the_snap_length_cut_is_a_complete_message() {
    let mut framing = WireWatt::new(true);
    let mut found = Found::default();
    let bytes = frame(1, &[0; 100]);
    framing.bytes(ToListener, &bytes[..60], &mut found);
    framing.cut(ToListener, 96, &mut found);
    framing.bytes(ToListener, &frame(2, b"x"), &mut found);
    assert_eq!(found.messages, [(100, 56), (1, 56)]);
}

#[test]
fn an_impossible_header_in_mid_stream_is_unframed() {
    let mut broken = frame(2, b"");
    broken[2] = 9;
    let stream = [frame(1, b"a"), broken, frame(3, b"b")].concat();
    let found = in_pieces(&mut WireWatt::new(true), &stream, &[7]);
    assert_eq!((found.kinds.clone(), found.unframed), (vec![1, 3], 56));
    assert_eq!(found.placed(), stream.len() as u64);
}

#[test]
fn lines_end_in_lf_with_or_without_cr() {
    let found = in_pieces(&mut Line::new(true), b"one\r\n\ntwo\nrest", &[100]);
    assert_eq!(found.messages, [(3, 2), (0, 1), (3, 1)]);
    assert_eq!(found.incomplete, [4]);
    let by_bytes = in_pieces(&mut Line::new(true), b"one\r\n\ntwo\nrest", &[1]);
    assert_eq!(found, by_bytes);
}

#[test]
fn lines_are_found_again_behind_a_gap() {
    let mut framing = Line::new(true);
    let mut found = Found::default();
    framing.bytes(ToListener, b"one\nbegun", &mut found);
    framing.gap(ToListener, 3, &mut found);
    framing.bytes(ToListener, b"tail\nwhole\n", &mut found);
    assert_eq!(
        (found.messages, found.incomplete),
        (vec![(3, 1), (5, 1)], vec![5])
    );
    assert_eq!(found.unframed, 5);
}

#[test]
fn a_line_stream_picked_up_in_the_middle_begins_at_the_next_line() {
    let found = in_pieces(&mut Line::new(false), b"half\nwhole\n", &[3]);
    assert_eq!((found.messages, found.unframed), (vec![(5, 1)], 5));
}

#[test]
fn length_fields_of_every_width_order_and_coverage() {
    for width in [1_u8, 2, 4, 8] {
        for endian in [Endian::Big, Endian::Little] {
            for covers in [Coverage::Body, Coverage::All] {
                let mut stream = Vec::new();
                let bodies = [0_u64, 1, 5, 200];
                for body in bodies {
                    let value = body
                        + if covers == Coverage::All {
                            u64::from(width)
                        } else {
                            0
                        };
                    let big = value.to_be_bytes();
                    let mut field = big[8 - usize::from(width)..].to_vec();
                    if endian == Endian::Little {
                        field.reverse();
                    }
                    stream.extend(field);
                    stream.extend(vec![9; body as usize]);
                }
                let mut framing = LengthPrefixed::new(width, endian, covers, true);
                let found = in_pieces(&mut framing, &stream, &[3]);
                let expected: Vec<_> = bodies.map(|body| (body, u64::from(width))).to_vec();
                assert_eq!(found.messages, expected, "{width} {endian:?} {covers:?}");
            }
        }
    }
}

#[test]
fn a_length_prefixed_stream_stays_lost_behind_a_gap_that_hides_a_length() {
    let mut framing = LengthPrefixed::new(2, Endian::Big, Coverage::Body, true);
    let mut found = Found::default();
    framing.bytes(ToListener, &[0, 3, 1], &mut found);
    framing.gap(ToListener, 2, &mut found);
    framing.bytes(ToListener, &[0, 1, 7], &mut found);
    assert_eq!(
        (found.messages.clone(), found.incomplete.clone()),
        (vec![(1, 2)], vec![3])
    );
    framing.gap(ToListener, 1, &mut found);
    framing.bytes(ToListener, &[0, 1, 7], &mut found);
    assert_eq!((found.messages.len(), found.unframed), (1, 3));
}

#[test]
fn the_longest_length_overflowed() {
    let mut framing = LengthPrefixed::new(8, Endian::Big, Coverage::Body, true);
    let found = in_pieces(&mut framing, &[0xff; 20], &[5]);
    assert_eq!(found.incomplete, [20]);
}

/// What `resp` finds in a stream, which does not depend on how it is cut into pieces.
fn in_resp(way: Way, stream: &[u8]) -> Found {
    let found = |pieces: usize| {
        let (mut framing, mut found) = (Resp::new(true), Found::default());
        for piece in stream.chunks(pieces) {
            framing.bytes(way, piece, &mut found);
        }
        framing.end(way, true, &mut found);
        found
    };
    let whole = found(stream.len().max(1));
    for pieces in 1..stream.len().min(100) {
        assert_eq!(found(pieces), whole, "in pieces of {pieces}");
    }
    assert_eq!(whole.placed(), stream.len() as u64);
    whole
}

/// Every example of the protocol's specification, with the bytes that are no framing.
const REPLIES: [(&[u8], u64); 27] = [
    (b"+OK\r\n", 2),
    (b"+\r\n", 0),
    (b"-ERR unknown command 'asdf'\r\n", 26),
    (b":1000\r\n", 4),
    (b":-0\r\n", 2),
    (b"$5\r\nhello\r\n", 5),
    (b"$0\r\n\r\n", 0),
    (b"$-1\r\n", 0),
    (b"*0\r\n", 0),
    (b"*-1\r\n", 0),
    (b"*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n", 10),
    (b"*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n$5\r\nhello\r\n", 9),
    (
        b"*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Hello\r\n-World\r\n",
        13,
    ),
    (b"*3\r\n$5\r\nhello\r\n$-1\r\n$5\r\nworld\r\n", 10),
    (b"_\r\n", 0),
    (b"#t\r\n", 1),
    (b",1.23\r\n", 4),
    (b",-inf\r\n", 4),
    (b",nan\r\n", 3),
    (b"(3492890328409238509324850943850943825024385\r\n", 43),
    (b"!21\r\nSYNTAX invalid syntax\r\n", 21),
    (b"=15\r\ntxt:Some string\r\n", 15),
    (b"%2\r\n+first\r\n:1\r\n+second\r\n:2\r\n", 13),
    (b"~2\r\n#t\r\n%0\r\n", 1),
    (b">2\r\n+message\r\n$3\r\na\r\n\r\n", 10),
    (
        b"|1\r\n+key-popularity\r\n%1\r\n$1\r\na\r\n,0.1923\r\n*1\r\n:2039123\r\n",
        28,
    ),
    (b"*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n", 0),
];

#[test]
fn replies_of_every_type_of_resp() {
    let messages = REPLIES.map(|(reply, body)| (body, reply.len() as u64 - body));
    for ((reply, _), expected) in REPLIES.iter().zip(messages) {
        let found = in_resp(FromListener, reply);
        let text = String::from_utf8_lossy(reply);
        assert_eq!(found.messages, [expected], "{text}");
    }
    let stream = REPLIES.map(|(reply, _)| reply).concat();
    assert_eq!(in_resp(FromListener, &stream).messages, messages);
}

#[test]
fn commands_of_resp_and_inline_ones() {
    let stream = b"*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\nPING\r\n\r\nEXISTS \"some key\"\n*0\r\n*1\r\n$4\r\nQUIT\r\n";
    let found = in_resp(ToListener, stream);
    assert_eq!(found.messages, [(10, 16), (4, 2), (17, 1), (4, 10)]);
    // The blank line and the empty array ask for nothing.
    assert_eq!((found.unframed, found.incomplete), (2 + 4, vec![]));
    assert_eq!(in_resp(ToListener, b"'PING'\r\n").messages, [(6, 2)]);
}

#[test]
fn no_depth_of_resp_is_too_deep_and_no_length_takes_memory() {
    let mut deep = b"*1\r\n".repeat(1_000_000);
    deep.extend(b"_\r\n");
    let mut framing = Resp::new(true);
    let mut found = Found::default();
    for piece in deep.chunks(1460) {
        framing.bytes(FromListener, piece, &mut found);
    }
    assert_eq!(found.messages, [(0, 4_000_003)]);

    let mut found = Found::default();
    let length = 4_000_000_000_u64;
    framing.bytes(FromListener, b"*2\r\n$4000000000\r\n", &mut found);
    framing.cut(FromListener, length, &mut found);
    framing.bytes(FromListener, b"\r\n$1\r\na\r\n", &mut found);
    assert_eq!(found.messages, [(length + 1, 4 + 13 + 2 + 6)]);
}

#[test]
fn what_is_no_resp_is_unframed_to_the_end() {
    for (stream, messages, unframed) in [
        (&b"+OK\r\n$5\r\nhello!\r\n+OK\r\n"[..], 1, 17),
        (b"*2\r\n:1\r\nx\r\n+OK\r\n", 0, 16),
        (b":1x\r\n", 0, 5),
        (b"+two\nlines\r\n", 0, 12),
        (b"$4294967296\r\n", 0, 13),
        (b"$-2\r\n", 0, 5),
        (b"$01\r\na\r\n", 0, 8),
        (b"*?\r\n:1\r\n.\r\n", 0, 11),
        (b"*1\r\n>1\r\n:1\r\n", 0, 12),
        // What a primary sends to a replica has no CR LF behind it.
        (b"+FULLRESYNC 0 0\r\n$5\r\nREDIS*1\r\n$4\r\nPING\r\n", 1, 23),
    ] {
        let found = in_resp(FromListener, stream);
        let text = String::from_utf8_lossy(stream);
        assert_eq!(
            (found.messages.len(), found.unframed),
            (messages, unframed),
            "{text}"
        );
    }
    // The beginning of a TLS connection is no inline command.
    let found = in_resp(ToListener, b"\x16\x03\x01\x02\x00\n\n\n");
    assert_eq!((found.messages.len(), found.unframed), (0, 8));
    let found = in_resp(ToListener, &[b'a'; (64 << 10) + 1][..]);
    assert_eq!(
        (found.incomplete.len(), found.unframed),
        (0, (64 << 10) + 1)
    );
}

#[test]
fn commands_of_resp_are_found_again_and_replies_are_not() {
    const COMMAND: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    const REPLY: &[u8] = b"+OK\r\n";
    let mut framing = Resp::new(false);
    let mut found = Found::default();
    // One that follows a line's end, or the loss, and that has strings; not an array of anything else.
    framing.bytes(ToListener, b"il\r\n", &mut found);
    framing.bytes(ToListener, COMMAND, &mut found);
    framing.gap(ToListener, 9, &mut found);
    framing.bytes(ToListener, COMMAND, &mut found);
    framing.gap(ToListener, 1, &mut found);
    framing.bytes(ToListener, b"*1\r\n*2\r\n*x", &mut found);
    framing.bytes(ToListener, COMMAND, &mut found);
    framing.bytes(ToListener, COMMAND, &mut found);
    assert_eq!(found.messages, [(4, 16), (4, 16), (4, 16)]);
    assert_eq!(
        (found.unframed, found.incomplete.clone()),
        (4 + 10 + 20, vec![])
    );

    let mut found = Found::default();
    framing.bytes(FromListener, REPLY, &mut found);
    assert_eq!((found.messages.len(), found.unframed), (0, 5));
}

#[test]
fn a_gap_in_a_string_of_resp_is_skipped_by_arithmetic() {
    let mut framing = Resp::new(true);
    let mut found = Found::default();
    framing.bytes(FromListener, b"*2\r\n$100\r\nabc", &mut found);
    framing.gap(FromListener, 99, &mut found);
    framing.bytes(FromListener, b":7\r\n+OK\r\n", &mut found);
    assert_eq!(
        (found.messages.clone(), found.incomplete.clone()),
        (vec![(2, 3)], vec![17])
    );
    framing.bytes(FromListener, b"$3\r\nab", &mut found);
    framing.gap(FromListener, 4, &mut found);
    framing.bytes(FromListener, b"+OK\r\n", &mut found);
    assert_eq!(
        (found.messages.len(), found.incomplete, found.unframed),
        (1, vec![17, 6], 5)
    );
}

#[test]
fn a_turn_ends_at_the_answer_or_at_fin() {
    let mut framing = Turn::default();
    let mut found = Found::default();
    framing.arrived(ToListener, 10, &mut found);
    framing.arrived(ToListener, 5, &mut found);
    framing.arrived(FromListener, 7, &mut found);
    framing.arrived(ToListener, 2, &mut found);
    framing.end(FromListener, true, &mut found);
    assert_eq!(found.messages, [(15, 0), (7, 0)]);
    framing.end(ToListener, true, &mut found);
    assert_eq!(found.messages.len(), 3);
    framing.arrived(ToListener, 4, &mut found);
    framing.end(ToListener, false, &mut found);
    assert_eq!(found.incomplete, [4]);
}

#[test]
fn framings_are_written_as_they_are_read() {
    for text in [
        "wirewatt",
        "line",
        "resp",
        "turn",
        "segment",
        "length-prefixed/2/little/all",
    ] {
        assert_eq!(text.parse::<FramingChoice>().unwrap().to_string(), text);
    }
    let default = "length-prefixed".parse::<FramingChoice>().unwrap();
    assert_eq!(default.to_string(), "length-prefixed/4/big/body");
    for text in ["", "lines", "turn/4", "length-prefixed/3", "resp/3"] {
        assert!(text.parse::<FramingChoice>().is_err(), "{text}");
    }
}

#[test]
fn markers_are_read_and_other_datagrams_are_not() {
    let mut bytes = b"WWMK\x01\x03\x00\x07".to_vec();
    bytes.extend(42_u64.to_be_bytes());
    bytes.extend(b"phase two");
    let marker = Marker::decode(&bytes).unwrap();
    let (purpose, name) = (Purpose::Named, "phase two".to_owned());
    assert_eq!(
        marker,
        Marker {
            purpose,
            cpu: 7,
            nonce: 42,
            name
        }
    );
    assert_eq!(Marker::decode(&bytes[..15]), None);
    bytes[4] = 2;
    assert_eq!(Marker::decode(&bytes), None);
}

proptest! {
    #[test]
    fn frames_are_found_however_the_stream_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..12),
        pieces in prop::collection::vec(1_usize..300, 1..10),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(1, body)).collect();
        let found = in_pieces(&mut WireWatt::new(true), &stream, &pieces);
        let expected: Vec<_> = bodies.iter().map(|body| (body.len() as u64, 56)).collect();
        prop_assert_eq!(&found.messages, &expected);
        prop_assert_eq!(found.placed(), stream.len() as u64);
    }

    #[test]
    fn every_byte_of_any_stream_is_placed_once(
        choice in prop::sample::select(vec!["wirewatt", "line", "resp", "length-prefixed/1", "length-prefixed/2/little/all"]),
        from_beginning: bool,
        events in prop::collection::vec(
            (0_u8..5, prop::collection::vec(prop::sample::select(vec![0x57_u8, 0xa7, 1, 0, 10, 13, 56]), 0..80)),
            0..20,
        ),
    ) {
        let mut framing = choice.parse::<FramingChoice>().unwrap().framer(from_beginning);
        let mut found = Found::default();
        let mut given = 0;
        for (what, bytes) in events {
            let n = bytes.len() as u64;
            match what {
                0 => framing.gap(ToListener, n, &mut found),
                1 => { framing.cut(ToListener, n, &mut found); given += n; }
                2 => { framing.late(ToListener, n, &mut found); given += n; }
                _ => { framing.bytes(ToListener, &bytes, &mut found); given += n; }
            }
        }
        framing.end(ToListener, false, &mut found);
        prop_assert_eq!(found.placed(), given);
    }

    #[test]
    fn whole_messages_of_resp_count_as_the_stream_does(
        replies in prop::collection::vec(0..REPLIES.len(), 1..12),
        pieces in prop::collection::vec(1_usize..40, 1..10),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        from_listener: bool,
        before in 0_usize..40,
    ) {
        let way = if from_listener { FromListener } else { ToListener };
        let mut stream: Vec<u8> = match from_listener {
            true => replies.iter().flat_map(|i| REPLIES[*i].0).copied().collect(),
            false => replies.iter().flat_map(|i| {
                format!("*2\r\n$3\r\nGET\r\n${i}\r\n{}\r\n", "*".repeat(*i)).into_bytes()
            }).collect(),
        };
        if let Some((at, byte)) = damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let mut framing = Resp::new(true);
        let packet = [vec![b'*'; before], stream.clone()].concat();
        let whole = Resp::whole(way, &packet, stream.len());
        let mut found = Found::default();
        let mut rest = stream.as_slice();
        for piece in pieces.iter().cycle() {
            let (head, tail) = rest.split_at((*piece).min(rest.len()));
            framing.bytes(way, head, &mut found);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        framing.end(way, true, &mut found);
        prop_assert_eq!(found.placed(), stream.len() as u64);
        if damage.is_none() {
            prop_assert_eq!(found.messages.len(), replies.len());
            prop_assert!(whole.is_some());
        }
        if let Some(whole) = whole {
            prop_assert_eq!(whole.messages.get(), found.messages.len() as u64);
            let framing: u64 = found.messages.iter().map(|(_, framing)| framing).sum();
            prop_assert_eq!(whole.framing.get(), framing);
            prop_assert_eq!((found.unframed, found.incomplete.len()), (0, 0));
        }
    }
}
