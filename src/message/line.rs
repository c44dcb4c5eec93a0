//! `line`: text lines that end in LF, with a CR before it counted as part of the delimiter.

use super::{Framing, Message, MessageSink, Way};
use crate::units::{FramingBytes, IncompleteBytes, MessageBytes, UnframedBytes};

/// The lines that the two streams are in the middle of.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    ways: [State; 2],
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In a line of which this many bytes have come; whether the last of them was CR.
    In { bytes: u64, after_cr: bool },
    /// Somewhere in a line whose beginning was not seen: what comes before the next delimiter, and
    /// that delimiter, has no place.
    Lost,
}

const AT_START: State = State::In {
    bytes: 0,
    after_cr: false,
};

impl Line {
    /// For a connection that is seen from its beginning or not.
    pub fn new(from_beginning: bool) -> Self {
        let state = if from_beginning {
            AT_START
        } else {
            State::Lost
        };
        Self { ways: [state; 2] }
    }

    /// Forgets where the line began.
    fn lose(&mut self, way: Way, sink: &mut impl MessageSink) {
        let state = std::mem::replace(&mut self.ways[way as usize], State::Lost);
        if let State::In { bytes, .. } = state
            && bytes > 0
        {
            sink.incomplete(way, IncompleteBytes::new(bytes));
        }
    }
}

impl Framing for Line {
    const READS_BYTES: bool = true;

    fn arrived(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn bytes(&mut self, way: Way, mut data: &[u8], sink: &mut impl MessageSink) {
        while !data.is_empty() {
            let state = &mut self.ways[way as usize];
            let (part, ends) = match memchr::memchr(b'\n', data) {
                Some(at) => (at + 1, true),
                None => (data.len(), false),
            };
            let length = part as u64;
            match state {
                State::Lost => {
                    sink.unframed(way, UnframedBytes::new(length));
                    if ends {
                        *state = AT_START;
                    }
                }
                State::In { bytes, after_cr } if ends => {
                    let before = if part >= 2 {
                        data[part - 2] == b'\r'
                    } else {
                        *after_cr
                    };
                    let delimiter = 1 + u64::from(before);
                    let message = Message {
                        body: MessageBytes::new(*bytes + length - delimiter),
                        framing: FramingBytes::new(delimiter),
                        label: None,
                    };
                    *state = AT_START;
                    sink.message(way, message);
                }
                State::In { bytes, after_cr } => {
                    *bytes += length;
                    *after_cr = data[part - 1] == b'\r';
                }
            }
            data = &data[part..];
        }
    }

    fn cut(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        self.lose(way, sink);
        sink.unframed(way, UnframedBytes::new(n));
    }

    fn late(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        sink.unframed(way, UnframedBytes::new(n));
    }

    fn gap(&mut self, way: Way, _: u64, sink: &mut impl MessageSink) {
        self.lose(way, sink);
    }

    fn end(&mut self, way: Way, _: bool, sink: &mut impl MessageSink) {
        self.lose(way, sink);
    }
}
