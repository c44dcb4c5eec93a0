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

    /// What the last `length` bytes of `packet` consist of, if they are the stream's next, and whole
    /// lines.
    #[inline(always)]
    pub fn whole(&self, way: Way, packet: &[u8], length: usize) -> Option<Whole> {
        let at_start = matches!(self.ways[way as usize], State::In { bytes: 0, .. });
        if !at_start || packet.last() != Some(&b'\n') {
            return None;
        }
        let (lines, with_cr) = count_delimiters(packet, length)?;
        Some(Whole {
            messages: Messages::new(lines),
            framing: FramingBytes::new(lines + with_cr),
        })
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

/// LFs in the last `length` bytes of `packet`, and how many of them have a CR before them there.
/// `None` if the packet has too few bytes before these for them to be read in whole words.
///
/// Eight bytes at a time, for lines are short: a search from one LF to the next costs more to begin
/// than to do.
#[inline(always)]
fn count_delimiters(packet: &[u8], length: usize) -> Option<(u64, u64)> {
    const WORD: usize = size_of::<u64>();
    let in_words = length.next_multiple_of(WORD);
    let start = packet.len().checked_sub(in_words)?;
    // Each word, and the word that begins one byte earlier.
    let words = packet[start..].as_chunks::<WORD>().0;
    let earlier = packet[start.checked_sub(1)?..].as_chunks::<WORD>().0;
    let earlier = &earlier[..words.len()];
    // Of the first word, only what is within the last `length` bytes.
    let outside = u8::BITS * (in_words - length) as u32;
    let mut lf_within = u64::MAX << outside;
    let mut cr_within = lf_within & !(0xff << outside);

    let (mut lines, mut with_cr) = (0, 0);
    let (mut lf_sums, mut cr_lf_sums) = (0, 0);
    for i in 0..words.len() {
        let not_lf = u64::from_le_bytes(words[i]) ^ u64::from_le_bytes([b'\n'; WORD]);
        let not_cr = u64::from_le_bytes(earlier[i]) ^ u64::from_le_bytes([b'\r'; WORD]);
        lf_sums += ones_for_zeros(not_lf) & lf_within;
        cr_lf_sums += ones_for_zeros(not_lf | not_cr) & cr_within;
        (lf_within, cr_within) = (u64::MAX, u64::MAX);
        // A byte of the sums counts to 255.
        if i % 255 == 254 {
            lines += sum_of_bytes(std::mem::take(&mut lf_sums));
            with_cr += sum_of_bytes(std::mem::take(&mut cr_lf_sums));
        }
    }
    lines += sum_of_bytes(lf_sums);
    with_cr += sum_of_bytes(cr_lf_sums);
    Some((lines, with_cr))
}

/// 1 in each byte of a word that is 0, and 0 in the others.
#[inline(always)]
fn ones_for_zeros(word: u64) -> u64 {
    const LOW_BITS: u64 = u64::from_le_bytes([0x7f; 8]);
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS) >> 7
}

/// The sum of a word's bytes.
#[inline(always)]
fn sum_of_bytes(word: u64) -> u64 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let pairs = (word & EVEN) + (word >> 8 & EVEN);
    pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48
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
            let counted = count_delimiters(&packet, text.len());
            if before.len() > size_of::<u64>() {
                prop_assert_eq!(counted, Some((lines, with_cr)));
            } else {
                prop_assert!(counted.is_none_or(|counted| counted == (lines, with_cr)));
            }
        }
    }
}
