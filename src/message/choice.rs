//! Which framing a protocol has, as a user names it.

use std::fmt;
use std::str::FromStr;

use super::{Framer, LengthPrefixed, Line, Resp, Segment, Turn, WireWatt};

/// A framing with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FramingChoice {
    /// WireWatt's own frames.
    WireWatt {
        /// The run whose frames they have to be; those of another are foreign. Any, if nothing.
        run: Option<u64>,
    },
    /// Lines that end in LF or CR LF.
    Line,
    /// A length before each body.
    LengthPrefixed {
        /// Size of the length field in bytes: 1, 2, 4 or 8.
        width: u8,
        /// Its byte order.
        endian: Endian,
        /// What it counts.
        covers: Coverage,
    },
    /// The Redis serialization protocol.
    Resp,
    /// Each change of direction begins a message.
    Turn,
    /// Each segment that brings new bytes is a message.
    Segment,
}

/// Byte order of a length field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

/// What a length field counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// The body alone.
    Body,
    /// The field itself and the body.
    All,
}

impl FramingChoice {
    /// The names that a user may write, and what each means.
    pub const LIST: [(&str, &str); 6] = [
        ("wirewatt", "WireWatt's own frames (docs/wire-format.md)"),
        ("line", "text lines that end in LF or CR LF"),
        (
            "length-prefixed",
            "a length, then a body; /WIDTH/big|little/body|all",
        ),
        (
            "resp",
            "commands, replies and pushes of Redis (RESP2 and RESP3)",
        ),
        (
            "turn",
            "each change of direction begins a message; approximate",
        ),
        (
            "segment",
            "each segment with new data is a message; approximate, the fallback",
        ),
    ];

    fn names() -> String {
        Self::LIST.map(|(name, _)| name).join(", ")
    }

    /// The framing's name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WireWatt { .. } => "wirewatt",
            Self::Line => "line",
            Self::LengthPrefixed { .. } => "length-prefixed",
            Self::Resp => "resp",
            Self::Turn => "turn",
            Self::Segment => "segment",
        }
    }

    /// Whether it can only approximate what a message is.
    pub fn is_approximate(&self) -> bool {
        matches!(self, Self::Turn | Self::Segment)
    }

    /// A framer for a connection, which the capture shows from its beginning or not.
    pub fn framer(&self, from_beginning: bool) -> Framer {
        match *self {
            Self::WireWatt { run } => {
                Framer::WireWatt(Box::new(WireWatt::new(from_beginning).of_run(run)))
            }
            Self::Line => Framer::Line(Line::new(from_beginning)),
            Self::LengthPrefixed {
                width,
                endian,
                covers,
            } => Framer::LengthPrefixed(LengthPrefixed::new(width, endian, covers, from_beginning)),
            Self::Resp => Framer::Resp(Resp::new(from_beginning)),
            Self::Turn => Framer::Turn(Turn::default()),
            Self::Segment => Framer::Segment(Segment),
        }
    }
}

/// Why a text names no framing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// No framing has this name.
    #[error("no framing is called '{0}': expected one of {names}", names = FramingChoice::names())]
    Unknown(String),
    /// A parameter of `length-prefixed` is none.
    #[error(
        "'{0}' is no parameter of length-prefixed: expected a width of 1, 2, 4 or 8, `big` or \
         `little`, `body` or `all`, as in length-prefixed/4/big/body"
    )]
    Parameter(String),
}

impl FromStr for FramingChoice {
    type Err = FramingError;

    /// A framing's name; `length-prefixed` may be followed by its parameters, as in
    /// `length-prefixed/2/little/all`. Without them it is 4 bytes, big-endian, of the body.
    fn from_str(text: &str) -> Result<Self, FramingError> {
        let mut parts = text.split('/');
        let name = parts.next().unwrap_or_default();
        let choice = match name {
            "wirewatt" => Self::WireWatt { run: None },
            "line" => Self::Line,
            "resp" => Self::Resp,
            "turn" => Self::Turn,
            "segment" => Self::Segment,
            "length-prefixed" => {
                let (mut width, mut endian, mut covers) = (4, Endian::Big, Coverage::Body);
                for part in parts {
                    match part {
                        "1" | "2" | "4" | "8" => width = part.as_bytes()[0] - b'0',
                        "big" => endian = Endian::Big,
                        "little" => endian = Endian::Little,
                        "body" => covers = Coverage::Body,
                        "all" => covers = Coverage::All,
                        other => return Err(FramingError::Parameter(other.to_owned())),
                    }
                }
                return Ok(Self::LengthPrefixed {
                    width,
                    endian,
                    covers,
                });
            }
            _ => return Err(FramingError::Unknown(text.to_owned())),
        };
        match parts.next() {
            None => Ok(choice),
            Some(_) => Err(FramingError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for FramingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Self::LengthPrefixed {
            width,
            endian,
            covers,
        } = self
        {
            let endian = if *endian == Endian::Big {
                "big"
            } else {
                "little"
            };
            let covers = if *covers == Coverage::Body {
                "body"
            } else {
                "all"
            };
            write!(f, "/{width}/{endian}/{covers}")?;
        }
        Ok(())
    }
}
