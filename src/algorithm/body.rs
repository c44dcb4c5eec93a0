//! Message bodies: one CBOR data item (RFC 8949), or nothing.

use std::hash::{Hash, Hasher};
use std::{fmt, io};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message's body as it stands in a frame. Short ones, which most are, are kept in place.
#[derive(Clone)]
pub struct Body(Bytes);

/// Bodies up to this length are kept in place.
const SHORT: usize = 30;

#[derive(Clone)]
enum Bytes {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Body {}

impl Hash for Body {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.as_bytes()).finish()
    }
}

/// Collects bytes, in place as long as they are few.
struct Collector {
    length: usize,
    short: [u8; SHORT],
    long: Vec<u8>,
}

impl io::Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.length + bytes.len();
        if self.long.is_empty() && end <= SHORT {
            self.short[self.length..end].copy_from_slice(bytes);
        } else {
            if self.long.is_empty() {
                self.long.extend_from_slice(&self.short[..self.length]);
            }
            self.long.extend_from_slice(bytes);
        }
        self.length = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that does not hold what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(String);

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Bytes::Short {
            length: 0,
            bytes: [0; SHORT],
        })
    }

    /// The body that holds `value`.
    pub fn encode<T: Serialize>(value: &T) -> Self {
        let mut collector = Collector {
            length: 0,
            short: [0; SHORT],
            long: Vec::new(),
        };
        ciborium::into_writer(value, &mut collector).expect("writing into memory does not fail");
        match u8::try_from(collector.length) {
            Ok(length) if collector.length <= SHORT => Self(Bytes::Short {
                length,
                bytes: collector.short,
            }),
            _ => Self(Bytes::Long(collector.long.into())),
        }
    }

    /// The body with these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        match u8::try_from(bytes.len()) {
            Ok(length) if bytes.len() <= SHORT => {
                let mut short = [0; SHORT];
                short[..bytes.len()].copy_from_slice(&bytes);
                Self(Bytes::Short {
                    length,
                    bytes: short,
                })
            }
            _ => Self(Bytes::Long(bytes.into())),
        }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { length, bytes } => &bytes[..usize::from(*length)],
            Bytes::Long(bytes) => bytes,
        }
    }

    /// What it holds; no body reads as null, since a payload beside it stands for either with null.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        let decoded = match &self.0 {
            Bytes::Short { length: 0, .. } => ciborium::from_reader(&[NULL][..]),
            // No string in it is longer than it is: its buffer need not be large.
            Bytes::Short { .. } => {
                ciborium::de::from_reader_with_buffer(self.as_bytes(), &mut [0; SHORT])
            }
            Bytes::Long(bytes) => ciborium::from_reader(&**bytes),
        };
        decoded.map_err(|error| BodyError(error.to_string()))
    }

    /// This body with a payload beside it: the CBOR array of the body's item (null for an empty
    /// body) and a byte string of `payload` zero bytes. A payload of 0 leaves the body as it is.
    pub fn pad(&self, payload: usize) -> Self {
        if payload == 0 {
            return self.clone();
        }
        let own = self.as_bytes();
        let mut bytes = Vec::with_capacity(own.len() + payload + 10);
        bytes.push(ARRAY_OF_TWO);
        bytes.extend_from_slice(if own.is_empty() { &[NULL] } else { own });
        let string = ciborium::Value::Bytes(vec![0; payload]);
        ciborium::into_writer(&string, &mut bytes).expect("writing into memory does not fail");
        Self::from_bytes(bytes)
    }

    /// The body that [`Body::pad`] was given.
    pub fn unpad(&self, payload: usize) -> Result<Self, BodyError> {
        if payload == 0 {
            return Ok(self.clone());
        }
        let broken = || BodyError("expected an array of the body and its payload".to_owned());
        let rest = self
            .as_bytes()
            .strip_prefix(&[ARRAY_OF_TWO])
            .ok_or_else(broken)?;
        let head = 1 + match payload {
            0..=23 => 0,
            24..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        let end = rest.len().checked_sub(head + payload).ok_or_else(broken)?;
        Ok(if rest[..end] == [NULL] {
            Self::empty()
        } else {
            Self::from_bytes(rest[..end].to_vec())
        })
    }
}

/// Initial byte of an array of two items (RFC 8949, section 3.1: major type 4).
const ARRAY_OF_TWO: u8 = 0x82;
/// The simple value null (RFC 8949, section 3.3).
const NULL: u8 = 0xf6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_adds_its_bytes_and_the_heads() {
        for (payload, heads) in [(1, 2), (23, 2), (24, 3), (255, 3), (256, 4), (65_536, 6)] {
            let body = Body::encode(&(1, "two"));
            let padded = body.pad(payload);
            assert_eq!(
                padded.as_bytes().len(),
                body.as_bytes().len() + payload + heads
            );
            assert_eq!(padded.unpad(payload), Ok(body));
            assert_eq!(Body::empty().pad(payload).unpad(payload), Ok(Body::empty()));
            padded.decode::<ciborium::Value>().expect("one CBOR item");
        }
    }

    /// The reply to a query for what nobody has written could not be read beside a payload.
    #[test]
    fn a_body_of_null_is_read_beside_a_payload() {
        let nothing = Body::encode(&None::<u64>);
        for payload in [0, 1, 1000] {
            let back = nothing.pad(payload).unpad(payload).unwrap();
            assert_eq!(back.decode::<Option<u64>>(), Ok(None), "{payload}");
            assert!(back.decode::<u64>().is_err());
        }
    }

    #[test]
    fn short_and_long_bodies_hold_what_was_put_in() {
        for length in 0..80 {
            let text = "x".repeat(length);
            let value = (7, text.as_str());
            let body = Body::encode(&value);
            let mut bytes = Vec::new();
            ciborium::into_writer(&value, &mut bytes).unwrap();
            assert_eq!(body.as_bytes(), bytes);
            assert_eq!(body.decode::<(u32, String)>(), Ok((7, text)));
            assert_eq!(Body::from_bytes(bytes), body);
        }
        assert_eq!(size_of::<Body>(), 32);
    }

    #[test]
    fn no_payload_changes_nothing() {
        assert_eq!(Body::encode(&7).pad(0), Body::encode(&7));
        assert_eq!(Body::empty().pad(0), Body::empty());
    }

    #[test]
    fn a_missing_payload_is_an_error() {
        assert!(Body::encode(&7).unpad(10).is_err());
        assert!(Body::empty().unpad(10).is_err());
    }
}
