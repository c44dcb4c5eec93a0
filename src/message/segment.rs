//! `segment`: each segment that brings new bytes is a message. The fallback where nothing is known
//! of a protocol: TCP keeps no message boundaries (RFC 9293, section 3.9.1), so it approximates.

use super::{Framing, Message, MessageSink, Way};
use crate::units::{FramingBytes, MessageBytes};

/// Counts segments with new data.
#[derive(Debug, Clone, Copy, Default)]
pub struct Segment;

impl Framing for Segment {
    const READS_BYTES: bool = false;

    #[inline]
    fn arrived(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        if n > 0 {
            let (body, framing) = (MessageBytes::new(n), FramingBytes::ZERO);
            sink.message(
                way,
                Message {
                    body,
                    framing,
                    label: None,
                },
            );
        }
    }

    #[inline]
    fn bytes(&mut self, _: Way, _: &[u8], _: &mut impl MessageSink) {}

    fn cut(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn late(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn gap(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn end(&mut self, _: Way, _: bool, _: &mut impl MessageSink) {}
}
