//! Every framing: what it finds does not depend on how the stream was cut into pieces, and every
//! byte has one place.

use arbitrary::{Arbitrary, Unstructured};
use wirewatt::message::{Coverage, Endian, FramingChoice, Message, MessageSink, Way};
use wirewatt::units::{IncompleteBytes, UnframedBytes};

/// A connection's streams as reassembly delivers them.
#[derive(Debug, Clone, Arbitrary)]
pub struct Case {
    pub framing: Choice,
    pub from_beginning: bool,
    /// Lengths of pieces, over and over.
    pub pieces: Vec<u8>,
    pub events: Vec<(bool, Event)>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Choice {
    WireWatt(Option<u8>),
    Line,
    LengthPrefixed(u8, bool, bool),
    Turn,
    Segment,
    Resp,
}

#[derive(Debug, Clone, Arbitrary)]
pub enum Event {
    Bytes(Vec<u8>),
    /// A frame of ours with so long a body, of this run.
    Frame(u8, u8),
    /// One of [`VALUES`] after another.
    Values(Vec<u8>),
    Gap(u16),
    Cut(u16),
    Late(u16),
    End(bool),
}

impl Choice {
    fn framing(self) -> FramingChoice {
        match self {
            Self::WireWatt(run) => FramingChoice::WireWatt {
                run: run.map(u64::from),
            },
            Self::Line => FramingChoice::Line,
            Self::LengthPrefixed(width, big, all) => FramingChoice::LengthPrefixed {
                width: 1 << (width % 4),
                endian: if big { Endian::Big } else { Endian::Little },
                covers: if all { Coverage::All } else { Coverage::Body },
            },
            Self::Turn => FramingChoice::Turn,
            Self::Segment => FramingChoice::Segment,
            Self::Resp => FramingChoice::Resp,
        }
    }
}

/// Commands, replies and parts of them, as Redis has them.
const VALUES: [&[u8]; 16] = [
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"PING\r\n",
    b"*1\r\n",
    b"*-1\r\n",
    b"$3\r\n\r\n*\r\n",
    b"$300\r\n",
    b"$-1\r\n",
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":10\r\n",
    b"_\r\n",
    b",1.5e3\r\n",
    b"%1\r\n",
    b"|1\r\n",
    b">2\r\n",
    b"\r\n",
];

/// These of [`VALUES`].
pub fn values(which: &[u8]) -> Vec<u8> {
    let value = |byte: &u8| VALUES[usize::from(*byte) % VALUES.len()];
    which.iter().flat_map(value).copied().collect()
}

/// A frame as docs/wire-format.md has it.
pub fn frame(body: u8, run: u8) -> Vec<u8> {
    let mut bytes = vec![0x57, 0xa7, 1, 0];
    bytes.extend((56 + u32::from(body)).to_be_bytes());
    bytes.extend([0, 2, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1]);
    for number in [run.into(), 1_u64, 5, 9] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(std::iter::repeat_n(body, body.into()));
    bytes
}

/// What a framing found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    messages: Vec<(bool, Message)>,
    incomplete: Vec<(bool, u64)>,
    unframed: [u64; 2],
}

impl Found {
    fn placed(&self, way: Way) -> u64 {
        let of_way = |other: &bool| *other == (way == Way::FromListener);
        let messages = self.messages.iter().filter(|(way, _)| of_way(way));
        let incomplete = self.incomplete.iter().filter(|(way, _)| of_way(way));
        messages
            .map(|(_, message)| message.body.get() + message.framing.get())
            .chain(incomplete.map(|(_, bytes)| *bytes))
            .sum::<u64>()
            + self.unframed[way as usize]
    }
}

impl MessageSink for Found {
    fn message(&mut self, way: Way, message: Message) {
        self.messages.push((way == Way::FromListener, message));
    }
    fn incomplete(&mut self, way: Way, bytes: IncompleteBytes) {
        self.incomplete
            .push((way == Way::FromListener, bytes.get()));
    }
    fn unframed(&mut self, way: Way, bytes: UnframedBytes) {
        self.unframed[way as usize] += bytes.get();
    }
}

/// Runs one case from a fuzzer's bytes.
pub fn run(data: &[u8]) {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) {
        check(&case);
    }
}

/// Runs one case, and panics where the framing is wrong.
pub fn check(case: &Case) {
    let whole = play(case, &[]);
    // One that goes by segments depends on them.
    if case.framing.framing().framer(true).reads_bytes() {
        let mut pieces = case.pieces.clone();
        pieces.push(1);
        assert_eq!(whole, play(case, &pieces), "in pieces of {pieces:?}");
    }
    whole_messages(case);
}

/// Plays the events, with bytes in pieces of these lengths or as they are.
fn play(case: &Case, pieces: &[u8]) -> Found {
    let mut framer = case.framing.framing().framer(case.from_beginning);
    let mut found = Found::default();
    let mut given = [0; 2];
    let mut pieces = pieces.iter().cycle();
    for (from_listener, event) in &case.events {
        let way = match from_listener {
            true => Way::FromListener,
            false => Way::ToListener,
        };
        let framed;
        let bytes: &[u8] = match event {
            Event::Bytes(bytes) => bytes,
            Event::Frame(body, run) => {
                framed = frame(*body, *run);
                &framed
            }
            Event::Values(which) => {
                framed = values(which);
                &framed
            }
            Event::Gap(n) => {
                framer.gap(way, u64::from(*n), &mut found);
                continue;
            }
            Event::Cut(n) | Event::Late(n) => {
                let n = u64::from(*n);
                match event {
                    Event::Cut(_) => framer.cut(way, n, &mut found),
                    _ => framer.late(way, n, &mut found),
                }
                framer.arrived(way, n, &mut found);
                given[way as usize] += n;
                continue;
            }
            Event::End(clean) => {
                framer.end(way, *clean, &mut found);
                continue;
            }
        };
        given[way as usize] += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = pieces
                .next()
                .map_or(rest.len(), |piece| usize::from(*piece).max(1));
            let (head, tail) = rest.split_at(piece.min(rest.len()));
            framer.bytes(way, head, &mut found);
            framer.arrived(way, head.len() as u64, &mut found);
            rest = tail;
        }
    }
    for way in [Way::ToListener, Way::FromListener] {
        framer.end(way, false, &mut found);
        // Twice, as where FIN has come before the capture's end.
        framer.end(way, false, &mut found);
    }
    for way in [Way::ToListener, Way::FromListener] {
        assert_eq!(found.placed(way), given[way as usize], "{way:?}");
    }
    found
}

/// The short way through whole messages counts what the long one does.
fn whole_messages(case: &Case) {
    for choice in [FramingChoice::Line, FramingChoice::Resp] {
        for (from_listener, event) in &case.events {
            let bytes = match event {
                Event::Bytes(bytes) => bytes.clone(),
                Event::Values(which) => values(which),
                _ => continue,
            };
            let way = match from_listener {
                true => Way::FromListener,
                false => Way::ToListener,
            };
            let mut packet = vec![b'\r'; 20];
            packet.extend(&bytes);
            let mut framer = choice.framer(true);
            let Some(whole) = framer.whole(way, &packet, bytes.len()) else {
                continue;
            };
            let mut found = Found::default();
            // One at a time, so that it is the long way.
            for byte in &bytes {
                framer.bytes(way, &[*byte], &mut found);
            }
            let framing: u64 = found
                .messages
                .iter()
                .map(|(_, message)| message.framing.get())
                .sum();
            assert_eq!(whole.messages.get(), found.messages.len() as u64);
            assert_eq!(whole.framing.get(), framing);
            framer.end(way, true, &mut found);
            assert_eq!((found.incomplete.len(), found.unframed), (0, [0; 2]));
        }
    }
}
