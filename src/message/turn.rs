//! `turn`: each change of direction begins a message, which ends at the opposite direction's first
//! new byte or at FIN. Right for programs that ask and answer by turns and frame nothing; where
//! requests are pipelined it counts too few, so it approximates.

use super::{Framing, Message, MessageSink, Way};
use crate::units::{FramingBytes, IncompleteBytes, MessageBytes};

/// The turn that is being taken, if any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    current: Option<Taken>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    way: Way,
    bytes: u64,
    has_gap: bool,
}

impl Turn {
    fn finish(&mut self, whole: bool, sink: &mut impl MessageSink) {
        let Some(Taken {
            way,
            bytes,
            has_gap,
        }) = self.current.take()
        else {
            return;
        };
        if whole && !has_gap {
            let (body, framing) = (MessageBytes::new(bytes), FramingBytes::ZERO);
            sink.message(
                way,
                Message {
                    body,
                    framing,
                    label: None,
                },
            );
        } else {
            sink.incomplete(way, IncompleteBytes::new(bytes));
        }
    }

    /// The turn of this way, after the opposite one has ended.
    fn turn_to(&mut self, way: Way, sink: &mut impl MessageSink) -> &mut Taken {
        if self.current.is_some_and(|taken| taken.way != way) {
            self.finish(true, sink);
        }
        self.current.get_or_insert(Taken {
            way,
            bytes: 0,
            has_gap: false,
        })
    }
}

impl Framing for Turn {
    const READS_BYTES: bool = false;

    #[inline]
    fn arrived(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        if n > 0 {
            self.turn_to(way, sink).bytes += n;
        }
    }

    fn bytes(&mut self, _: Way, _: &[u8], _: &mut impl MessageSink) {}

    fn cut(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn late(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn gap(&mut self, way: Way, _: u64, sink: &mut impl MessageSink) {
        self.turn_to(way, sink).has_gap = true;
    }

    fn end(&mut self, way: Way, clean: bool, sink: &mut impl MessageSink) {
        if self.current.is_some_and(|taken| taken.way == way) {
            self.finish(clean, sink);
        }
    }
}
