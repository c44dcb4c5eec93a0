//! Message bodies: one CBOR data item (RFC 8949), or nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message's body as it stands in a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Body(Vec<u8>);

/// A body that does not hold what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BodyError(String);

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// The body that holds `value`.
    pub fn encode<T: Serialize>(value: &T) -> Self {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).expect("writing into memory does not fail");
        Self(bytes)
    }

    /// The body with these bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it holds.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        ciborium::from_reader(self.0.as_slice()).map_err(|error| BodyError(error.to_string()))
    }

    /// This body with a payload beside it: the CBOR array of the body's item (null for an empty
    /// body) and a byte string of `payload` zero bytes. A payload of 0 leaves the body as it is.
    pub fn pad(&self, payload: usize) -> Self {
        if payload == 0 {
            return self.clone();
        }
        let mut bytes = Vec::with_capacity(self.0.len() + payload + 10);
        bytes.push(ARRAY_OF_TWO);
        bytes.extend_from_slice(if self.0.is_empty() { &[NULL] } else { &self.0 });
        let string = ciborium::Value::Bytes(vec![0; payload]);
        ciborium::into_writer(&string, &mut bytes).expect("writing into memory does not fail");
        Self(bytes)
    }

    /// The body that [`Body::pad`] was given.
    pub fn unpad(&self, payload: usize) -> Result<Self, BodyError> {
        if payload == 0 {
            return Ok(self.clone());
        }
        let broken = || BodyError("expected an array of the body and its payload".to_owned());
        let rest = self.0.strip_prefix(&[ARRAY_OF_TWO]).ok_or_else(broken)?;
        let head = 1 + match payload {
            0..=23 => 0,
            24..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        let end = rest.len().checked_sub(head + payload).ok_or_else(broken)?;
        Ok(Self(if rest[..end] == [NULL] {
            Vec::new()
        } else {
            rest[..end].to_vec()
        }))
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
