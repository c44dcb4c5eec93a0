//! `line`: text lines that end in LF, with a CR before it counted as part of the delimiter.

use super::{Framing, Message, MessageSink, Way, Whole};
use crate::units::{FramingBytes, IncompleteBytes, MessageBytes, Messages, UnframedBytes};

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

    /// See [`Headerless::whole`](super::Headerless::whole).
    #[inline(always)]
    pub fn whole(packet: &[u8], length: usize) -> Option<Whole> {
        if packet.last() != Some(&b'\n') {
            return None;
        }
        let (lines, with_cr) = count_delimiters(packet, length);
        Some(Whole {
            messages: Messages::new(lines),
            framing: FramingBytes::new(lines + with_cr),
        })
    }

    /// Whether the next byte begins a line.
    #[inline(always)]
    pub fn is_between_messages(&self, way: Way) -> bool {
        matches!(self.ways[way as usize], State::In { bytes: 0, .. })
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

/// As many bytes are looked at without a branch.
const BLOCK: usize = 64;

/// LFs in the last `length` bytes of `packet`, and how many of them have a CR before them there.
///
/// A short payload is looked at together with headers before it, which count nothing: lengths follow no
/// pattern that a processor could learn, and to guess one wrong costs more than to look.
#[inline(always)]
fn count_delimiters(packet: &[u8], length: usize) -> (u64, u64) {
    let start = packet.len() - length;
    let payload = &packet[start..];
    let Some(last) = packet.last_chunk::<{ BLOCK + 1 }>().filter(|_| start > 0) else {
        return count_each(payload);
    };
    let (mut lines, mut with_cr) = count_block(last, length % BLOCK);
    // Each block with the byte before it.
    let before = &packet[start - 1..];
    for block in 0..length / BLOCK {
        if let Some(block) = before[block * BLOCK..].first_chunk() {
            let found = count_block(block, BLOCK);
            lines += found.0;
            with_cr += found.1;
        }
    }
    // The byte before the first block is none of the payload.
    let is_split = before.starts_with(b"\r\n") && length > 0;
    (lines, with_cr - u64::from(is_split))
}

/// LFs in the last `length` of a block's bytes, and how many of them have a CR before them there or
/// before the first of these bytes.
#[inline(always)]
fn count_block(block: &[u8; BLOCK + 1], length: usize) -> (u64, u64) {
    const ONES: [u8; 2 * BLOCK] = {
        let mut ones = [0; 2 * BLOCK];
        let mut i = BLOCK;
        while i < ones.len() {
            ones[i] = 1;
            i += 1;
        }
        ones
    };
    let Some(counts) = ONES[length..].first_chunk::<BLOCK>() else {
        return (0, 0);
    };
    let (mut lines, mut with_cr) = (0, 0);
    for i in 0..BLOCK {
        let is_line = u8::from(block[i + 1] == b'\n') & counts[i];
        lines += is_line;
        with_cr += is_line & u8::from(block[i] == b'\r');
    }
    (u64::from(lines), u64::from(with_cr))
}

/// The same for what has no such block before its end: a few bytes in a packet without options.
fn count_each(payload: &[u8]) -> (u64, u64) {
    let lines = memchr::memchr_iter(b'\n', payload);
    lines.fold((0, 0), |(lines, with_cr), at| {
        let has_cr = at > 0 && payload[at - 1] == b'\r';
        (lines + 1, with_cr + u64::from(has_cr))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_count_like_bytes(
            before in prop::collection::vec(any::<u8>(), 0..80),
            text in "[a\r\n]{1,90}",
            repeats in 1_usize..200,
        ) {
            let text = text.repeat(repeats).into_bytes();
            let packet = [before.as_slice(), &text].concat();
            let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
            let with_cr = text.windows(2).filter(|pair| pair == b"\r\n").count() as u64;
            prop_assert_eq!(count_delimiters(&packet, text.len()), (lines, with_cr));
        }
    }
}
