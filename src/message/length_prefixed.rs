//! `length-prefixed`: a length field, then a body. There is no magic to look for, so a stream
//! whose boundary is lost stays lost.

use super::{Coverage, Endian, Framing, Message, MessageSink, Way};
use crate::units::{FramingBytes, IncompleteBytes, MessageBytes, UnframedBytes};

/// Where the two streams stand.
#[derive(Debug, Clone, Copy)]
pub struct LengthPrefixed {
    width: u8,
    endian: Endian,
    covers: Coverage,
    ways: [State; 2],
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Some bytes of the length field have come.
    Prefix { field: [u8; 8], have: u8 },
    /// In a body of `length` bytes; `missing` of those that have passed were in no packet.
    Body {
        length: u64,
        remaining: u64,
        missing: u64,
    },
    /// The boundary is not known and cannot be found.
    Lost,
}

const AT_START: State = State::Prefix {
    field: [0; 8],
    have: 0,
};

impl LengthPrefixed {
    /// For a connection that is seen from its beginning or not.
    pub fn new(width: u8, endian: Endian, covers: Coverage, from_beginning: bool) -> Self {
        let state = if from_beginning {
            AT_START
        } else {
            State::Lost
        };
        Self {
            width,
            endian,
            covers,
            ways: [state; 2],
        }
    }

    /// The body's length that a whole field gives; nothing where it is impossible.
    fn body_length(&self, field: &[u8]) -> Option<u64> {
        let value = match self.endian {
            Endian::Big => field
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
            Endian::Little => field
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        };
        match self.covers {
            Coverage::Body => Some(value),
            Coverage::All => value.checked_sub(u64::from(self.width)),
        }
    }

    /// Passes `n` bytes of a body, seen or not, and returns how many of them are behind its end.
    fn pass(&mut self, way: Way, n: u64, seen: bool, sink: &mut impl MessageSink) -> u64 {
        let width = u64::from(self.width);
        let state = &mut self.ways[way as usize];
        let State::Body {
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
            let (length, missing) = (*length, *missing);
            *state = AT_START;
            if missing == 0 {
                let (body, framing) = (MessageBytes::new(length), FramingBytes::new(width));
                sink.message(
                    way,
                    Message {
                        body,
                        framing,
                        label: None,
                    },
                );
            } else {
                sink.incomplete(way, IncompleteBytes::new(width + (length - missing)));
            }
        }
        n - inside
    }

    /// Forgets where the message began.
    fn lose(&mut self, way: Way, sink: &mut impl MessageSink) {
        let width = u64::from(self.width);
        let seen = match std::mem::replace(&mut self.ways[way as usize], State::Lost) {
            State::Prefix { have, .. } => u64::from(have),
            State::Body {
                length,
                remaining,
                missing,
            } => width + (length - remaining - missing),
            State::Lost => 0,
        };
        if seen > 0 {
            sink.incomplete(way, IncompleteBytes::new(seen));
        }
    }
}

impl Framing for LengthPrefixed {
    const READS_BYTES: bool = true;

    fn arrived(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn bytes(&mut self, way: Way, mut data: &[u8], sink: &mut impl MessageSink) {
        while !data.is_empty() {
            match &mut self.ways[way as usize] {
                State::Lost => {
                    sink.unframed(way, UnframedBytes::new(data.len() as u64));
                    return;
                }
                State::Body { .. } => {
                    let behind = self.pass(way, data.len() as u64, true, sink) as usize;
                    data = &data[data.len() - behind..];
                }
                State::Prefix { field, have } => {
                    let part = usize::from(self.width - *have).min(data.len());
                    let (head, tail) = data.split_at(part);
                    field[usize::from(*have)..][..part].copy_from_slice(head);
                    *have += part as u8;
                    data = tail;
                    if *have < self.width {
                        return;
                    }
                    let field = *field;
                    match self.body_length(&field[..usize::from(self.width)]) {
                        Some(length) => {
                            self.ways[way as usize] = State::Body {
                                length,
                                remaining: length,
                                missing: 0,
                            };
                            self.pass(way, 0, true, sink);
                        }
                        None => {
                            self.ways[way as usize] = State::Lost;
                            sink.unframed(way, UnframedBytes::new(u64::from(self.width)));
                        }
                    }
                }
            }
        }
    }

    fn cut(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        let behind = self.pass(way, n, true, sink);
        if behind > 0 {
            self.lose(way, sink);
            sink.unframed(way, UnframedBytes::new(behind));
        }
    }

    fn late(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        sink.unframed(way, UnframedBytes::new(n));
    }

    fn gap(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        if self.pass(way, n, false, sink) > 0 {
            self.lose(way, sink);
        }
    }

    fn end(&mut self, way: Way, _: bool, sink: &mut impl MessageSink) {
        self.lose(way, sink);
    }
}
