//! Framing: where messages begin and end in a stream or datagram. One file a framing.
//!
//! In: a connection's two streams in order, with what is missing from them, and in capture order
//! how many new bytes each segment brought. Out, through a [`MessageSink`]: messages, and bytes that
//! belong to none. Every stream byte is accounted for once: as body, framing, incomplete or
//! unframed. Nothing here knows packets or keeps counts.

mod choice;
mod length_prefixed;
mod line;
mod marker;
mod resp;
mod segment;
mod turn;
mod wirewatt;

pub use choice::{Coverage, Endian, FramingChoice, FramingError};
pub use length_prefixed::LengthPrefixed;
pub use line::Line;
pub use marker::{Marker, Purpose};
pub use resp::Resp;
pub use segment::Segment;
pub use turn::Turn;
pub use wirewatt::WireWatt;

use crate::units::{FramingBytes, IncompleteBytes, MessageBytes, Messages, UnframedBytes};

/// Which of a connection's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Way {
    /// Towards the listening end.
    ToListener = 0,
    /// From the listening end.
    FromListener = 1,
}

impl Way {
    /// The other stream.
    pub fn opposite(self) -> Self {
        match self {
            Self::ToListener => Self::FromListener,
            Self::FromListener => Self::ToListener,
        }
    }
}

/// A complete message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its body.
    pub body: MessageBytes,
    /// Its header and delimiter.
    pub framing: FramingBytes,
    /// What its header says, where the framing reads one.
    pub label: Option<Label>,
}

/// A segment's payload that is whole messages, with nothing before them and nothing behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// How many.
    pub messages: Messages,
    /// Their headers and delimiters; the rest is bodies.
    pub framing: FramingBytes,
}

/// The header of one of WireWatt's own messages (docs/wire-format.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Label {
    /// The protocol's number.
    pub protocol: u16,
    /// The kind's number within the protocol.
    pub kind: u16,
    /// The sending process.
    pub sender: u32,
    /// The receiving process.
    pub receiver: u32,
    /// Which start of the sender.
    pub incarnation: u32,
    /// The run.
    pub run: u64,
    /// The operation that the message belongs to, 0 for none.
    pub operation: u64,
    /// Its place on the channel from sender to receiver.
    pub sequence: u64,
    /// The sender's Lamport timestamp.
    pub timestamp: u64,
}

/// Takes what a framing finds.
pub trait MessageSink {
    /// A complete message.
    fn message(&mut self, way: Way, message: Message);
    /// One message of which only these bytes were seen.
    fn incomplete(&mut self, way: Way, bytes: IncompleteBytes);
    /// The same, of a message whose whole header was seen, and says that its body is so long.
    fn cut_off(&mut self, way: Way, label: &Label, body: MessageBytes, bytes: IncompleteBytes) {
        let _ = (label, body);
        self.incomplete(way, bytes);
    }
    /// Bytes that the framing cannot place.
    fn unframed(&mut self, way: Way, bytes: UnframedBytes);
}

/// A framing at work on one connection.
///
/// Two kinds exist. Those that read the stream use `bytes`, `cut` and `late` and ignore `arrived`;
/// those that go by segments use `arrived` and ignore the other three.
pub trait Framing {
    /// Whether the stream's bytes are read at all.
    const READS_BYTES: bool;

    /// A segment brought `n` new bytes; told in capture order, before they are in stream order.
    fn arrived(&mut self, way: Way, n: u64, sink: &mut impl MessageSink);

    /// The stream's next bytes.
    fn bytes(&mut self, way: Way, bytes: &[u8], sink: &mut impl MessageSink);

    /// The stream's next `n` bytes passed on the wire, and the snap length kept them from us. A
    /// message whose body they belong to is complete: the packet's length proves that it passed.
    fn cut(&mut self, way: Way, n: u64, sink: &mut impl MessageSink);

    /// `n` new bytes that lie before the stream's position.
    fn late(&mut self, way: Way, n: u64, sink: &mut impl MessageSink);

    /// The stream's next `n` bytes were in no captured packet.
    fn gap(&mut self, way: Way, n: u64, sink: &mut impl MessageSink);

    /// The stream has ended: with FIN (`clean`), by reset, or because the capture has.
    fn end(&mut self, way: Way, clean: bool, sink: &mut impl MessageSink);
}

/// Any of the framings.
#[derive(Debug)]
pub enum Framer {
    /// See [`WireWatt`].
    WireWatt(Box<WireWatt>),
    /// See [`Line`].
    Line(Line),
    /// See [`LengthPrefixed`].
    LengthPrefixed(LengthPrefixed),
    /// See [`Resp`].
    Resp(Resp),
    /// See [`Turn`].
    Turn(Turn),
    /// See [`Segment`].
    Segment(Segment),
    /// No protocol has these ports: all payload is unframed.
    Unframed,
}

/// A framing of which whole messages can be told from a segment's payload alone: they have no headers to
/// read, and leave nothing to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headerless {
    /// See [`Line`].
    Line,
    /// See [`Resp`].
    Resp,
    /// See [`Segment`].
    Segment,
}

impl Headerless {
    /// What the last `length` bytes of `packet`, at least one, consist of, if they are whole messages of
    /// that way.
    #[inline(always)]
    pub fn whole(self, way: Way, packet: &[u8], length: usize) -> Option<Whole> {
        match self {
            Self::Line => Line::whole(packet, length),
            Self::Resp => Resp::whole(way, packet, length),
            Self::Segment => Some(Whole {
                messages: Messages::new(1),
                framing: FramingBytes::ZERO,
            }),
        }
    }
}

macro_rules! each_framing {
    ($self:ident, $framing:ident => $call:expr, $otherwise:expr) => {
        match $self {
            Framer::WireWatt($framing) => $call,
            Framer::Line($framing) => $call,
            Framer::LengthPrefixed($framing) => $call,
            Framer::Resp($framing) => $call,
            Framer::Turn($framing) => $call,
            Framer::Segment($framing) => $call,
            Framer::Unframed => $otherwise,
        }
    };
}

impl Framer {
    /// Whether the stream's bytes are read at all.
    #[inline]
    pub fn reads_bytes(&self) -> bool {
        match self {
            Self::WireWatt(_) => WireWatt::READS_BYTES,
            Self::Line(_) => Line::READS_BYTES,
            Self::LengthPrefixed(_) => LengthPrefixed::READS_BYTES,
            Self::Resp(_) => Resp::READS_BYTES,
            Self::Turn(_) => Turn::READS_BYTES,
            Self::Segment(_) => Segment::READS_BYTES,
            Self::Unframed => false,
        }
    }

    /// Which of those it is, if it is one.
    #[inline]
    pub fn headerless(&self) -> Option<Headerless> {
        match self {
            Self::Line(_) => Some(Headerless::Line),
            Self::Resp(_) => Some(Headerless::Resp),
            Self::Segment(_) => Some(Headerless::Segment),
            _ => None,
        }
    }

    /// What a segment's payload consists of, if it is whole messages that have no headers to read,
    /// and brings what the stream needs next: then the framing stays as it is and need not be told
    /// of it. The payload is the last `length` bytes of `packet`, and at least one.
    #[inline(always)]
    pub fn whole(&self, way: Way, packet: &[u8], length: usize) -> Option<Whole> {
        let headerless = self.headerless()?;
        match self.is_between_messages(way) {
            true => headerless.whole(way, packet, length),
            false => None,
        }
    }

    /// Whether the next byte begins a message.
    #[inline(always)]
    pub fn is_between_messages(&self, way: Way) -> bool {
        match self {
            Self::Segment(_) => true,
            Self::Line(line) => line.is_between_messages(way),
            Self::Resp(resp) => resp.is_between_messages(way),
            _ => false,
        }
    }

    /// See [`Framing::arrived`].
    #[inline]
    pub fn arrived(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        each_framing!(self, framing => framing.arrived(way, n, sink), {
            sink.unframed(way, UnframedBytes::new(n));
        });
    }

    /// See [`Framing::bytes`].
    #[inline]
    pub fn bytes(&mut self, way: Way, bytes: &[u8], sink: &mut impl MessageSink) {
        each_framing!(self, framing => framing.bytes(way, bytes, sink), ());
    }

    /// See [`Framing::cut`].
    pub fn cut(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        each_framing!(self, framing => framing.cut(way, n, sink), ());
    }

    /// See [`Framing::late`].
    pub fn late(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        each_framing!(self, framing => framing.late(way, n, sink), ());
    }

    /// See [`Framing::gap`].
    pub fn gap(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        each_framing!(self, framing => framing.gap(way, n, sink), ());
    }

    /// See [`Framing::end`].
    pub fn end(&mut self, way: Way, clean: bool, sink: &mut impl MessageSink) {
        each_framing!(self, framing => framing.end(way, clean, sink), ());
    }

    /// Whether the stream turned out not to be ours though its ports are.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::WireWatt(framing) if framing.is_foreign())
    }

    /// Whether it is not known yet if the stream is ours.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::WireWatt(framing) if framing.is_undecided())
    }
}

#[cfg(test)]
mod tests;
