//! `wirewatt`: the frames of our own nodes, decoded from docs/wire-format.md alone. The nodes'
//! codec is written apart from this, so that a mistake in one cannot cancel itself in the other.

use super::{Framing, Label, Message, MessageSink, Turn, Way};
use crate::units::{FramingBytes, IncompleteBytes, MessageBytes, UnframedBytes};

const HEADER: usize = WireWatt::HEADER;
const MAGIC: [u8; 2] = WireWatt::MAGIC;
const VERSION: u8 = 1;
const FLAGS: u8 = 0;
const LONGEST: u32 = 1 << 24;

/// Where the two streams stand.
#[derive(Debug)]
pub struct WireWatt {
    ways: [State; 2],
    /// Whether a whole header of ours was seen.
    ours: bool,
    /// The framing of a stream that did not begin with our magic.
    foreign: Option<Turn>,
    from_beginning: bool,
    /// The run whose frames these have to be.
    run: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Some bytes of a header have come. While `searching` they may be anything, and are only
    /// taken for a header once it is whole and valid.
    Header {
        field: [u8; HEADER],
        have: usize,
        searching: bool,
    },
    /// In a body. `missing` bytes of the frame that have passed were in no packet.
    Body {
        label: Label,
        length: u64,
        remaining: u64,
        missing: u64,
    },
}

const AT_START: State = State::Header {
    field: [0; HEADER],
    have: 0,
    searching: false,
};
const SEARCHING: State = State::Header {
    field: [0; HEADER],
    have: 0,
    searching: true,
};

impl WireWatt {
    /// The first two bytes of every frame.
    pub const MAGIC: [u8; 2] = [0x57, 0xa7];
    /// The length of every frame's header.
    pub const HEADER: usize = 56;

    /// For a connection that is seen from its beginning or not.
    pub fn new(from_beginning: bool) -> Self {
        let state = if from_beginning { AT_START } else { SEARCHING };
        Self {
            ways: [state; 2],
            ours: false,
            foreign: None,
            from_beginning,
            run: None,
        }
    }

    /// The same for frames of one run alone: a stream that begins with another's is not ours.
    pub fn of_run(self, run: Option<u64>) -> Self {
        Self { run, ..self }
    }

    /// Whether a datagram begins with a frame of this framing's.
    pub fn is_of_ours(&self, datagram: &[u8]) -> bool {
        match datagram.first_chunk::<HEADER>() {
            Some(header) => {
                decode(header).is_some_and(|(label, _)| self.run.is_none_or(|run| run == label.run))
            }
            None => datagram.starts_with(&MAGIC),
        }
    }

    /// The same framing at the beginning of another stream.
    pub fn afresh(&self) -> Self {
        Self::new(true).of_run(self.run)
    }

    /// Whether the stream began with something that is not our magic, or not our run's.
    pub fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    /// Whether too little has come to tell.
    pub fn is_undecided(&self) -> bool {
        // Picked up in mid-stream it is ours until the end: it cannot begin with another's magic.
        self.from_beginning && !self.ours && self.foreign.is_none()
    }

    /// Passes `n` bytes of a body, seen or not, and returns how many of them are behind its end.
    fn pass(&mut self, way: Way, n: u64, seen: bool, sink: &mut impl MessageSink) -> u64 {
        let state = &mut self.ways[way as usize];
        let State::Body {
            label,
            length,
            remaining,
            missing,
        } = state
        else {
            return n;
        };
        let inside = n.min(*remaining);
        *remaining -= inside;
        if !seen {
            *missing += inside;
        }
        if *remaining == 0 {
            let (label, length, missing) = (*label, *length, *missing);
            *state = AT_START;
            if missing == 0 {
                let message = Message {
                    body: MessageBytes::new(length - HEADER as u64),
                    framing: FramingBytes::new(HEADER as u64),
                    label: Some(label),
                };
                sink.message(way, message);
            } else {
                let body = MessageBytes::new(length - HEADER as u64);
                sink.cut_off(way, &label, body, IncompleteBytes::new(length - missing));
            }
        }
        n - inside
    }

    /// Forgets where the frame began and looks for the next magic.
    fn lose(&mut self, way: Way, sink: &mut impl MessageSink) {
        match std::mem::replace(&mut self.ways[way as usize], SEARCHING) {
            State::Header { have: 0, .. } => {}
            State::Header {
                have,
                searching: true,
                ..
            } => {
                sink.unframed(way, UnframedBytes::new(have as u64));
            }
            State::Header {
                have,
                searching: false,
                ..
            } => {
                sink.incomplete(way, IncompleteBytes::new(have as u64));
            }
            State::Body {
                label,
                length,
                remaining,
                missing,
            } => {
                let body = MessageBytes::new(length - HEADER as u64);
                let seen = IncompleteBytes::new(length - remaining - missing);
                sink.cut_off(way, &label, body, seen);
            }
        }
    }

    /// Takes header bytes and returns what is behind them.
    fn header<'a>(&mut self, way: Way, data: &'a [u8], sink: &mut impl MessageSink) -> &'a [u8] {
        let State::Header {
            field,
            have,
            searching,
        } = &mut self.ways[way as usize]
        else {
            return data;
        };
        let part = (HEADER - *have).min(data.len());
        let (head, tail) = data.split_at(part);
        field[*have..][..part].copy_from_slice(head);
        *have += part;
        let mut of_another_run = false;
        if field[..*have].starts_with(&MAGIC) || (*have == 1 && field[0] == MAGIC[0]) {
            if *have < HEADER {
                return tail;
            }
            let header = decode(field);
            of_another_run =
                header.is_some_and(|(label, _)| self.run.is_some_and(|run| run != label.run));
            if let Some((label, length)) = header.filter(|_| !of_another_run) {
                let remaining = length - HEADER as u64;
                self.ways[way as usize] = State::Body {
                    label,
                    length,
                    remaining,
                    missing: 0,
                };
                self.ours = true;
                self.pass(way, 0, true, sink);
                return tail;
            }
        }
        let at_beginning = self.from_beginning && !self.ours && !*searching;
        if at_beginning && (of_another_run || !field[..*have].starts_with(&MAGIC)) {
            // Not ours. All of it goes by turns, and what waited to be told apart with it.
            let taken = std::mem::take(have) as u64;
            let mut turn = Turn::default();
            if let State::Header { have, .. } = &mut self.ways[way.opposite() as usize] {
                turn.arrived(way.opposite(), std::mem::take(have) as u64, sink);
            }
            turn.arrived(way, taken, sink);
            self.foreign = Some(turn);
            return tail;
        }
        // Not a header: its first byte is passed over, up to where the next one may begin.
        *searching = true;
        let next = field[1..*have]
            .windows(2)
            .position(|pair| pair == MAGIC)
            .or_else(|| (field[*have - 1] == MAGIC[0] && *have > 1).then(|| *have - 2))
            .map_or(*have, |at| at + 1);
        field.copy_within(next..*have, 0);
        *have -= next;
        sink.unframed(way, UnframedBytes::new(next as u64));
        tail
    }
}

/// Reads a whole header: its label, and the length of the frame.
fn decode(field: &[u8; HEADER]) -> Option<(Label, u64)> {
    let u16_at = |at: usize| u16::from_be_bytes([field[at], field[at + 1]]);
    let u32_at = |at: usize| (u32::from(u16_at(at)) << 16) | u32::from(u16_at(at + 2));
    let u64_at = |at: usize| (u64::from(u32_at(at)) << 32) | u64::from(u32_at(at + 4));
    let length = u32_at(4);
    let valid = field[..2] == MAGIC
        && field[2] == VERSION
        && field[3] == FLAGS
        && (HEADER as u32..=LONGEST).contains(&length);
    let label = Label {
        protocol: u16_at(8),
        kind: u16_at(10),
        sender: u32_at(12),
        receiver: u32_at(16),
        incarnation: u32_at(20),
        run: u64_at(24),
        operation: u64_at(32),
        sequence: u64_at(40),
        timestamp: u64_at(48),
    };
    valid.then_some((label, u64::from(length)))
}

impl Framing for WireWatt {
    const READS_BYTES: bool = true;

    fn arrived(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn bytes(&mut self, way: Way, mut data: &[u8], sink: &mut impl MessageSink) {
        while !data.is_empty() {
            if let Some(turn) = &mut self.foreign {
                turn.arrived(way, data.len() as u64, sink);
                return;
            }
            match self.ways[way as usize] {
                State::Header { .. } => data = self.header(way, data, sink),
                State::Body { .. } => {
                    let behind = self.pass(way, data.len() as u64, true, sink) as usize;
                    data = &data[data.len() - behind..];
                }
            }
        }
    }

    fn cut(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        if let Some(turn) = &mut self.foreign {
            return turn.arrived(way, n, sink);
        }
        let behind = self.pass(way, n, true, sink);
        if behind > 0 {
            self.lose(way, sink);
            sink.unframed(way, UnframedBytes::new(behind));
        }
    }

    fn late(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        match &mut self.foreign {
            Some(turn) => turn.arrived(way, n, sink),
            None => sink.unframed(way, UnframedBytes::new(n)),
        }
    }

    fn gap(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        if let Some(turn) = &mut self.foreign {
            return turn.gap(way, n, sink);
        }
        if self.pass(way, n, false, sink) > 0 {
            self.lose(way, sink);
        }
    }

    fn end(&mut self, way: Way, clean: bool, sink: &mut impl MessageSink) {
        match &mut self.foreign {
            Some(turn) => turn.end(way, clean, sink),
            None => self.lose(way, sink),
        }
    }
}
