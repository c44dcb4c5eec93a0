//! `resp`: the Redis serialization protocol, versions 2 and 3
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). A message is a command, a
//! reply or a push: one value that is in no other.
//!
//! What is kept of a message is how many values it still needs, not how they lie in each other: no
//! depth is too deep, and no length takes memory.

use super::{Framing, Message, MessageSink, Way, Whole};
use crate::units::{FramingBytes, IncompleteBytes, MessageBytes, Messages, UnframedBytes};

/// The longest inline command that a server takes (`PROTO_INLINE_MAX_SIZE`).
const LONGEST_INLINE: u64 = 64 << 10;

/// Where the two streams stand.
#[derive(Debug)]
pub struct Resp {
    /// None between two messages, where an idle connection stands.
    ways: [Option<Box<State>>; 2],
}

/// A message as far as it has come, and what comes next.
#[derive(Debug, Clone, Copy)]
struct State {
    next: Next,
    /// Values until the message is whole; 0 between two messages.
    outstanding: u64,
    body: u64,
    framing: u64,
    /// Bytes of `body` and `framing` that were in no packet.
    missing: u64,
    /// What may be a command was found in a stream whose boundary was lost.
    unsure: bool,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    /// A value's type, which is its first byte.
    Type,
    /// The rest of a value that is one line.
    Line {
        kind: u8,
        empty: bool,
        after_cr: bool,
    },
    /// The length of a string, or how many values an aggregate has.
    Number {
        kind: u8,
        number: Number,
        after_cr: bool,
    },
    /// So much of a string, the CR LF behind it included.
    String(u64),
    /// The rest of an inline command; whether it has a word yet.
    Inline { word: bool, after_cr: bool },
    /// A command somewhere; whether the last byte ended a line.
    Command { at_line: bool },
    /// The boundary is not known and cannot be found.
    Nothing,
}

/// A length as its digits come. No string of a server's is longer than 512 MB by default, and no
/// list has more than 2^32 - 1 elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Empty,
    Minus,
    /// -1, for a string or an array that is null.
    Null,
    Of(u32),
}

impl Number {
    /// With another byte; nothing where there is no such number.
    #[inline(always)]
    fn with(self, byte: u8) -> Option<Self> {
        let digit = byte.wrapping_sub(b'0');
        match self {
            Self::Empty if byte == b'-' => Some(Self::Minus),
            Self::Minus if byte == b'1' => Some(Self::Null),
            Self::Empty if digit < 10 => Some(Self::Of(u32::from(digit))),
            Self::Of(number @ 1..) if digit < 10 => {
                let number = number.checked_mul(10)?.checked_add(u32::from(digit))?;
                Some(Self::Of(number))
            }
            _ => None,
        }
    }
}

/// What stands behind a value's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Line,
    String,
    /// So many values for each that it counts.
    Aggregate(u64),
}

/// The form of a value of this type, which the message begins with or not.
#[inline(always)]
fn form(way: Way, kind: u8, first: bool) -> Option<Form> {
    match (way, kind) {
        (Way::ToListener, b'*') if first => Some(Form::Aggregate(1)),
        (Way::ToListener, b'$') if !first => Some(Form::String),
        (Way::ToListener, _) => None,
        (_, b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => Some(Form::Line),
        (_, b'$' | b'!' | b'=') => Some(Form::String),
        (_, b'*' | b'~') => Some(Form::Aggregate(1)),
        (_, b'%' | b'|') => Some(Form::Aggregate(2)),
        (_, b'>') if first => Some(Form::Aggregate(1)),
        _ => None,
    }
}

/// Whether a byte can be in a line of this type.
#[inline(always)]
fn is_in_line(kind: u8, byte: u8) -> bool {
    match kind {
        b'+' | b'-' => byte != b'\n',
        b':' | b'(' => byte.is_ascii_digit() || matches!(byte, b'+' | b'-'),
        b',' => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'),
        b'#' => matches!(byte, b't' | b'f'),
        _ => false,
    }
}

/// Whether a line of this type can be empty.
#[inline(always)]
fn may_be_empty(kind: u8) -> bool {
    matches!(kind, b'+' | b'-' | b'_')
}

/// Whether a value of this type can be null.
#[inline(always)]
fn may_be_null(way: Way, kind: u8) -> bool {
    way == Way::FromListener && matches!(kind, b'$' | b'*')
}

/// What is no RESP; the byte that shows it is not taken.
struct Damage;

impl State {
    const AT_START: Self = Self {
        next: Next::Type,
        outstanding: 0,
        body: 0,
        framing: 0,
        missing: 0,
        unsure: false,
    };

    /// Of a stream whose boundary is lost. An array of strings on its way to the listener is
    /// always a command, and can be found; a reply may lie in another one.
    fn lost(way: Way, at_line: bool) -> Self {
        let next = match way {
            Way::ToListener => Next::Command { at_line },
            Way::FromListener => Next::Nothing,
        };
        Self {
            next,
            ..Self::AT_START
        }
    }

    #[inline(always)]
    fn is_between_messages(&self) -> bool {
        self.outstanding == 0 && matches!(self.next, Next::Type)
    }

    /// Bytes of the message that packets have shown.
    fn seen(&self) -> u64 {
        self.body + self.framing - self.missing
    }

    /// A value has ended.
    fn end_value(&mut self, way: Way, sink: &mut impl MessageSink) {
        self.next = Next::Type;
        self.outstanding -= 1;
        if self.outstanding > 0 {
            return;
        }
        if self.missing == 0 {
            let message = Message {
                body: MessageBytes::new(self.body),
                framing: FramingBytes::new(self.framing),
                label: None,
            };
            sink.message(way, message);
        } else {
            sink.incomplete(way, IncompleteBytes::new(self.seen()));
        }
        *self = Self::AT_START;
    }

    /// A server takes an array of nothing or a blank line without an answer: it is no command.
    fn end_blank(&mut self, way: Way, sink: &mut impl MessageSink) {
        sink.unframed(way, UnframedBytes::new(self.seen()));
        *self = Self::AT_START;
    }

    /// Takes the stream's next bytes.
    fn bytes(&mut self, way: Way, mut data: &[u8], sink: &mut impl MessageSink) {
        while !data.is_empty() {
            if self.is_between_messages()
                && let Some(found) = Found::at_start_of(way, data)
            {
                let message = Message {
                    body: MessageBytes::new(found.body),
                    framing: FramingBytes::new(found.framing()),
                    label: None,
                };
                sink.message(way, message);
                data = &data[found.length..];
                continue;
            }
            match self.take(way, data, sink) {
                Ok(taken) => data = &data[taken..],
                Err(Damage) => {
                    let at_line = matches!(self.next, Next::Type);
                    if self.seen() > 0 {
                        sink.unframed(way, UnframedBytes::new(self.seen()));
                    }
                    *self = Self::lost(way, at_line);
                }
            }
        }
    }

    /// Takes some of the next bytes, of which there is at least one, and returns how many.
    fn take(
        &mut self,
        way: Way,
        data: &[u8],
        sink: &mut impl MessageSink,
    ) -> Result<usize, Damage> {
        let byte = data[0];
        match &mut self.next {
            Next::Type => return self.begin_value(way, byte),
            Next::Line {
                kind,
                empty,
                after_cr,
            } => match (*after_cr, byte) {
                (false, b'\r') if !*empty || may_be_empty(*kind) => {
                    *after_cr = true;
                    self.framing += 1;
                }
                (true, b'\n') => {
                    self.framing += 1;
                    self.end_value(way, sink);
                }
                (false, byte) if is_in_line(*kind, byte) => {
                    *empty = false;
                    self.body += 1;
                }
                _ => return Err(Damage),
            },
            Next::Number {
                kind,
                number,
                after_cr,
            } => {
                match (*after_cr, byte) {
                    (false, b'\r') if matches!(number, Number::Of(_) | Number::Null) => {
                        *after_cr = true;
                    }
                    (true, b'\n') => {
                        let (kind, number) = (*kind, *number);
                        self.end_number(way, kind, number, sink)?;
                        return Ok(1);
                    }
                    (false, byte) => *number = number.with(byte).ok_or(Damage)?,
                    _ => return Err(Damage),
                }
                self.framing += 1;
            }
            Next::String(remaining @ (1 | 2)) => {
                if byte != [b'\n', b'\r'][*remaining as usize - 1] {
                    return Err(Damage);
                }
                *remaining -= 1;
                self.framing += 1;
                if *remaining == 0 {
                    self.end_value(way, sink);
                }
            }
            Next::String(remaining) => {
                let inside = (*remaining - 2).min(data.len() as u64);
                *remaining -= inside;
                self.body += inside;
                return Ok(inside as usize);
            }
            Next::Inline { word, after_cr } => match byte {
                b'\n' => {
                    if *after_cr {
                        self.body -= 1;
                        self.framing += 1;
                    }
                    self.framing += 1;
                    match *word {
                        true => self.end_value(way, sink),
                        false => self.end_blank(way, sink),
                    }
                }
                b' ' | b'\t' | b'\r' => {
                    *after_cr = byte == b'\r';
                    self.body += 1;
                }
                // What is not text, as TLS, would otherwise be taken for commands.
                _ if byte < b' '
                    || !(*word || byte.is_ascii_alphabetic() || matches!(byte, b'"' | b'\''))
                    || self.body == LONGEST_INLINE =>
                {
                    return Err(Damage);
                }
                _ => {
                    (*word, *after_cr) = (true, false);
                    self.body += 1;
                }
            },
            Next::Command { at_line } => {
                let starts = |at: usize| match at {
                    0 => *at_line,
                    _ => data[at - 1] == b'\n',
                };
                let at = memchr::memchr_iter(b'*', data)
                    .find(|at| starts(*at))
                    .unwrap_or(data.len());
                if at > 0 {
                    *at_line = data[at - 1] == b'\n';
                    sink.unframed(way, UnframedBytes::new(at as u64));
                    return Ok(at);
                }
                self.begin_value(way, byte)?;
                self.unsure = true;
            }
            Next::Nothing => {
                sink.unframed(way, UnframedBytes::new(data.len() as u64));
                return Ok(data.len());
            }
        }
        Ok(1)
    }

    /// Takes a value's type, if it has one, and returns whether it is a byte.
    fn begin_value(&mut self, way: Way, kind: u8) -> Result<usize, Damage> {
        let first = self.outstanding == 0;
        self.next = match form(way, kind, first) {
            Some(Form::Line) => Next::Line {
                kind,
                empty: true,
                after_cr: false,
            },
            Some(_) => Next::Number {
                kind,
                number: Number::Empty,
                after_cr: false,
            },
            None if way == Way::ToListener && first => {
                self.outstanding = 1;
                self.next = Next::Inline {
                    word: false,
                    after_cr: false,
                };
                return Ok(0);
            }
            None => return Err(Damage),
        };
        self.outstanding = self.outstanding.max(1);
        self.framing += 1;
        self.unsure = false;
        Ok(1)
    }

    /// Takes the LF behind a length.
    fn end_number(
        &mut self,
        way: Way,
        kind: u8,
        number: Number,
        sink: &mut impl MessageSink,
    ) -> Result<(), Damage> {
        let is_command = way == Way::ToListener && kind == b'*';
        let count = match number {
            Number::Of(count) => u64::from(count),
            Number::Null if may_be_null(way, kind) || is_command => 0,
            _ => return Err(Damage),
        };
        let values = match form(way, kind, is_command || kind == b'>') {
            Some(Form::Aggregate(each)) => each * count,
            _ if number == Number::Null => 0,
            _ => {
                self.next = Next::String(count + 2);
                self.framing += 1;
                return Ok(());
            }
        };
        self.outstanding = self.outstanding.checked_add(values).ok_or(Damage)?;
        self.framing += 1;
        match kind {
            // Attributes are no value, and belong to the one behind them.
            b'|' => self.next = Next::Type,
            _ if is_command && values == 0 => self.end_blank(way, sink),
            _ => self.end_value(way, sink),
        }
        Ok(())
    }

    /// Passes `n` bytes that cannot be read, seen or not, and returns how many of them are behind the
    /// end of the string that they belong to.
    fn pass(&mut self, way: Way, n: u64, seen: bool, sink: &mut impl MessageSink) -> u64 {
        let Next::String(remaining) = &mut self.next else {
            return n;
        };
        let inside = n.min(*remaining);
        let of_string = inside.min(remaining.saturating_sub(2));
        *remaining -= inside;
        self.body += of_string;
        self.framing += inside - of_string;
        if !seen {
            self.missing += inside;
        }
        if *remaining == 0 {
            self.end_value(way, sink);
        }
        n - inside
    }

    /// Forgets where the message began.
    fn lose(&mut self, way: Way, sink: &mut impl MessageSink) {
        match self.seen() {
            0 => {}
            seen if self.unsure => sink.unframed(way, UnframedBytes::new(seen)),
            seen => sink.incomplete(way, IncompleteBytes::new(seen)),
        }
        *self = Self::lost(way, true);
    }
}

/// A message that lies whole at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    length: usize,
    body: u64,
}

impl Found {
    /// The message that these bytes begin with, if it is whole and no inline or blank command.
    #[inline(always)]
    fn at_start_of(way: Way, data: &[u8]) -> Option<Self> {
        Self::short(way, data).or_else(|| Self::of_any_form(way, data))
    }

    /// The same, where it is a string or a status of some ten bytes, or a few such strings: most messages are.
    #[inline(always)]
    fn short(way: Way, data: &[u8]) -> Option<Self> {
        const LONGEST_STATUS: usize = 16;

        let (mut at, mut body) = (0, 0);
        let strings = match (data.first()?, way) {
            (b'*', _) => {
                let [_, count @ b'1'..=b'9', b'\r', b'\n'] = data.first_chunk()? else {
                    return None;
                };
                at = 4;
                count - b'0'
            }
            (b'$', Way::FromListener) => 1,
            (b'+', Way::FromListener) => {
                let line = &data[1..];
                let mut bytes = line.iter().take(LONGEST_STATUS);
                let length = bytes.position(|byte| matches!(byte, b'\r' | b'\n'))?;
                return line[length..].starts_with(b"\r\n").then_some(Self {
                    length: length + 3,
                    body: length as u64,
                });
            }
            _ => return None,
        };
        for _ in 0..strings {
            let (header, length) = match data.get(at..)?.first_chunk()? {
                [b'$', units @ b'0'..=b'9', b'\r', b'\n', _] => (4, units - b'0'),
                [b'$', tens @ b'1'..=b'9', units @ b'0'..=b'9', b'\r', b'\n'] => {
                    (5, (tens - b'0') * 10 + (units - b'0'))
                }
                _ => return None,
            };
            let length = usize::from(length);
            at += header + length;
            if data.get(at..)?.first_chunk() != Some(b"\r\n") {
                return None;
            }
            at += 2;
            body += length as u64;
        }
        Some(Self { length: at, body })
    }

    #[inline(never)]
    fn of_any_form(way: Way, data: &[u8]) -> Option<Self> {
        let (mut at, mut body, mut outstanding) = (0, 0, 1_u64);
        while outstanding > 0 {
            let kind = *data.get(at)?;
            let form = form(way, kind, at == 0)?;
            at += 1;
            if form == Form::Line {
                let length = memchr::memchr2(b'\r', b'\n', &data[at..])?;
                let (line, behind) = data[at..].split_at(length);
                let valid = behind.starts_with(b"\r\n")
                    && (length > 0 || may_be_empty(kind))
                    && line.iter().all(|byte| is_in_line(kind, *byte));
                if !valid {
                    return None;
                }
                at += length + 2;
                body += length as u64;
                outstanding -= 1;
                continue;
            }
            let mut number = Number::Empty;
            while data.get(at)? != &b'\r' {
                number = number.with(data[at])?;
                at += 1;
            }
            if data.get(at + 1)? != &b'\n' {
                return None;
            }
            at += 2;
            match (form, number) {
                (_, Number::Null) if may_be_null(way, kind) => outstanding -= 1,
                (Form::Aggregate(each), Number::Of(count)) => {
                    if way == Way::ToListener && count == 0 {
                        return None;
                    }
                    outstanding = outstanding.checked_add(each * u64::from(count))?;
                    outstanding -= u64::from(kind != b'|');
                }
                (_, Number::Of(length)) => {
                    let length = length as usize;
                    if !data.get(at + length..)?.starts_with(b"\r\n") {
                        return None;
                    }
                    at += length + 2;
                    body += length as u64;
                    outstanding -= 1;
                }
                _ => return None,
            }
        }
        Some(Self { length: at, body })
    }

    fn framing(self) -> u64 {
        self.length as u64 - self.body
    }
}

impl Resp {
    /// For a connection that is seen from its beginning or not.
    pub fn new(from_beginning: bool) -> Self {
        let state = |way| (!from_beginning).then(|| Box::new(State::lost(way, true)));
        Self {
            ways: [Way::ToListener, Way::FromListener].map(state),
        }
    }

    /// Does something with a stream's state.
    fn at<T>(&mut self, way: Way, act: impl FnOnce(&mut State) -> T) -> T {
        let place = &mut self.ways[way as usize];
        if let Some(state) = place {
            let result = act(state);
            if state.is_between_messages() {
                *place = None;
            }
            return result;
        }
        let mut state = State::AT_START;
        let result = act(&mut state);
        if !state.is_between_messages() {
            *place = Some(Box::new(state));
        }
        result
    }

    /// Whether the next byte begins a message.
    #[inline]
    pub fn is_between_messages(&self, way: Way) -> bool {
        self.ways[way as usize].is_none()
    }

    /// See [`Headerless::whole`](super::Headerless::whole).
    #[inline]
    pub fn whole(way: Way, packet: &[u8], length: usize) -> Option<Whole> {
        let mut rest = &packet[packet.len().checked_sub(length)?..];
        let (mut messages, mut framing) = (0, 0);
        while !rest.is_empty() {
            let found = Found::at_start_of(way, rest)?;
            messages += 1;
            framing += found.framing();
            rest = &rest[found.length..];
        }
        Some(Whole {
            messages: Messages::new(messages),
            framing: FramingBytes::new(framing),
        })
    }
}

impl Framing for Resp {
    const READS_BYTES: bool = true;

    fn arrived(&mut self, _: Way, _: u64, _: &mut impl MessageSink) {}

    fn bytes(&mut self, way: Way, data: &[u8], sink: &mut impl MessageSink) {
        self.at(way, |state| state.bytes(way, data, sink));
    }

    fn cut(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        self.at(way, |state| {
            let behind = state.pass(way, n, true, sink);
            if behind > 0 {
                state.lose(way, sink);
                sink.unframed(way, UnframedBytes::new(behind));
            }
        });
    }

    fn late(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        sink.unframed(way, UnframedBytes::new(n));
    }

    fn gap(&mut self, way: Way, n: u64, sink: &mut impl MessageSink) {
        self.at(way, |state| {
            if state.pass(way, n, false, sink) > 0 {
                state.lose(way, sink);
            }
        });
    }

    fn end(&mut self, way: Way, _: bool, sink: &mut impl MessageSink) {
        self.at(way, |state| state.lose(way, sink));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECES: [&[u8]; 12] = [
        b"*1\r\n",
        b"*2\r\n",
        b"*03\r\n",
        b"$0\r\n\r\n",
        b"$3\r\nSET\r\n",
        b"$12\r\nkey:00000007\r\n",
        b"$07\r\n0123456\r\n",
        b"$-1\r\n",
        b"+OK\r\n",
        b"+\r\r\n",
        b"+a status that is longer than most\r\n",
        b":12\r\n",
    ];

    proptest! {
        #[test]
        fn short_messages_are_what_they_are_in_any_form(
            pieces in prop::collection::vec(prop::sample::select(&PIECES), 1..6),
            damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            length in any::<prop::sample::Index>(),
            from_listener: bool,
        ) {
            let way = if from_listener { Way::FromListener } else { Way::ToListener };
            let mut data = pieces.concat();
            if let Some((at, byte)) = damage {
                let at = at.index(data.len());
                data[at] = byte;
            }
            for data in [data.as_slice(), &data[..length.index(data.len())]] {
                if let Some(short) = Found::short(way, data) {
                    prop_assert_eq!(Some(short), Found::of_any_form(way, data));
                }
            }
        }
    }

    #[test]
    fn most_messages_are_short() {
        let set = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nVXK\r\n";
        let of = |length: usize, body| Some(Found { length, body });
        assert_eq!(Found::short(Way::ToListener, set), of(set.len(), 22));
        assert_eq!(Found::short(Way::FromListener, b"+OK\r\n$3\r\n"), of(5, 2));
        assert_eq!(Found::short(Way::FromListener, b"$3\r\nVXK\r\n"), of(9, 3));
    }
}
