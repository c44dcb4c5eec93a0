//! Frames as nodes write and read them, after `docs/wire-format.md` and nothing else: the
//! analyzer's decoder is written separately, so that no mistake cancels itself.

/// First two bytes of every frame.
pub const MAGIC: [u8; 2] = [0x57, 0xa7];
/// The format's version.
pub const VERSION: u8 = 1;
/// Length of the header in bytes.
pub const HEADER_LEN: usize = 56;
/// Greatest length of a whole frame in bytes, header included.
pub const MAX_FRAME_LEN: usize = 16_777_216;

/// A frame: header fields and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The protocol's number.
    pub protocol: u16,
    /// The message kind's number within the protocol.
    pub kind: u16,
    /// Id of the sending process.
    pub sender: u32,
    /// Id of the receiving process.
    pub receiver: u32,
    /// The sender's incarnation, from 1.
    pub incarnation: u32,
    /// The run.
    pub run: u64,
    /// The operation that the message belongs to, 0 if to none.
    pub operation: u64,
    /// Sequence number on the channel from sender to receiver, from 1.
    pub sequence: u64,
    /// The sender's Lamport timestamp.
    pub timestamp: u64,
    /// The body.
    pub body: Vec<u8>,
}

/// Bytes that are no frame of version 1, or a frame that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The first two bytes are not the magic.
    #[error("a frame begins with 57 a7, not {:02x} {:02x}", .0[0], .0[1])]
    Magic([u8; 2]),
    /// Another version.
    #[error("frame version {0}; this is version {VERSION}")]
    Version(u8),
    /// Flags that version 1 does not have.
    #[error("frame flags {0:#04x}; version 1 has none")]
    Flags(u8),
    /// A length shorter than the header or longer than a frame may be.
    #[error("frame length {0}; from {HEADER_LEN} to {MAX_FRAME_LEN} are possible")]
    Length(u64),
}

impl Frame {
    /// Length of the whole frame in bytes.
    pub fn wire_len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let length = self.wire_len();
        if length > MAX_FRAME_LEN {
            return Err(CodecError::Length(length as u64));
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(MAGIC);
        bytes.push(VERSION);
        bytes.push(0);
        bytes.extend((length as u32).to_be_bytes());
        bytes.extend(self.protocol.to_be_bytes());
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(self.sender.to_be_bytes());
        bytes.extend(self.receiver.to_be_bytes());
        bytes.extend(self.incarnation.to_be_bytes());
        bytes.extend(self.run.to_be_bytes());
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(&self.body);
        Ok(bytes)
    }

    /// The frame at the beginning of `bytes` and its length, or none while bytes are missing.
    /// What cannot become a frame is refused as soon as the bytes that tell are there.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, CodecError> {
        if let Some(&magic) = bytes.first_chunk::<2>()
            && magic != MAGIC
        {
            return Err(CodecError::Magic(magic));
        }
        if let Some(&version) = bytes.get(2)
            && version != VERSION
        {
            return Err(CodecError::Version(version));
        }
        if let Some(&flags) = bytes.get(3)
            && flags != 0
        {
            return Err(CodecError::Flags(flags));
        }
        let Some(length) = bytes.get(4..8) else {
            return Ok(None);
        };
        let length = u32_at(length, 0) as usize;
        if !(HEADER_LEN..=MAX_FRAME_LEN).contains(&length) {
            return Err(CodecError::Length(length as u64));
        }
        let Some(frame) = bytes.get(..length) else {
            return Ok(None);
        };
        let (header, body) = frame.split_at(HEADER_LEN);
        let frame = Self {
            protocol: u16_at(header, 8),
            kind: u16_at(header, 10),
            sender: u32_at(header, 12),
            receiver: u32_at(header, 16),
            incarnation: u32_at(header, 20),
            run: u64_at(header, 24),
            operation: u64_at(header, 32),
            sequence: u64_at(header, 40),
            timestamp: u64_at(header, 48),
            body: body.to_vec(),
        };
        Ok(Some((frame, length)))
    }
}

fn array_at<const LEN: usize>(bytes: &[u8], offset: usize) -> [u8; LEN] {
    bytes[offset..offset + LEN]
        .try_into()
        .expect("a slice of that length")
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(array_at(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, offset))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::algorithm::Body;

    fn vote_request() -> Frame {
        Frame {
            protocol: 3,
            kind: 1,
            sender: 0,
            receiver: 2,
            incarnation: 1,
            run: 0x0102_0304_0506_0708,
            operation: 1,
            sequence: 1,
            timestamp: 2,
            body: Body::encode(&1).as_bytes().to_vec(),
        }
    }

    fn ack() -> Frame {
        Frame {
            kind: 6,
            sender: 2,
            receiver: 0,
            sequence: 2,
            timestamp: 14,
            body: Vec::new(),
            ..vote_request()
        }
    }

    /// The fenced blocks of hexadecimal bytes in the specification, comments after `|` left out.
    fn worked_bytes() -> Vec<Vec<u8>> {
        let text = include_str!("../../docs/wire-format.md");
        let blocks = text
            .split("```hex\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap());
        blocks
            .map(|block| {
                block
                    .lines()
                    .flat_map(|line| line.split('|').next().unwrap().split_whitespace())
                    .map(|byte| u8::from_str_radix(byte, 16).expect("a byte in hexadecimal"))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn the_specification_s_worked_bytes_are_what_the_codec_writes_and_reads() {
        let padded = Frame {
            body: Body::encode(&1).pad(4).as_bytes().to_vec(),
            ..vote_request()
        };
        let frames = [vote_request(), ack(), padded];
        let blocks = worked_bytes();
        assert_eq!(blocks.len(), frames.len());
        for (block, frame) in blocks.iter().zip(frames) {
            assert_eq!(*block, frame.encode().unwrap());
            assert_eq!(Frame::decode(block), Ok(Some((frame, block.len()))));
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let good = vote_request().encode().unwrap();
        let with = |offset: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[offset] = value;
            Frame::decode(&bytes)
        };
        assert_eq!(with(0, 0x58), Err(CodecError::Magic([0x58, 0xa7])));
        assert_eq!(with(2, 2), Err(CodecError::Version(2)));
        assert_eq!(with(3, 1), Err(CodecError::Flags(1)));
        assert_eq!(with(7, 55), Err(CodecError::Length(55)));
        assert_eq!(with(4, 0xff), Err(CodecError::Length(0xff00_0039)));
        // Refused as soon as it can be known.
        assert_eq!(Frame::decode(b"GET "), Err(CodecError::Magic(*b"GE")));
        assert_eq!(Frame::decode(&[0x57]), Ok(None));
    }

    #[test]
    fn a_frame_longer_than_the_format_allows_is_not_written() {
        let longest = Frame {
            body: vec![0; MAX_FRAME_LEN - HEADER_LEN],
            ..vote_request()
        };
        assert!(longest.encode().is_ok());
        let longer = Frame {
            body: vec![0; MAX_FRAME_LEN - HEADER_LEN + 1],
            ..vote_request()
        };
        assert_eq!(
            longer.encode(),
            Err(CodecError::Length(MAX_FRAME_LEN as u64 + 1))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            ids in any::<(u16, u16, u32, u32, u32)>(),
            numbers in any::<(u64, u64, u64, u64)>(),
            body in proptest::collection::vec(any::<u8>(), 0..200),
            follows in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let (protocol, kind, sender, receiver, incarnation) = ids;
            let (run, operation, sequence, timestamp) = numbers;
            let frame = Frame {
                protocol, kind, sender, receiver, incarnation, run, operation, sequence,
                timestamp, body,
            };
            let mut bytes = frame.encode().unwrap();
            for cut in 0..bytes.len() {
                prop_assert_eq!(Frame::decode(&bytes[..cut]), Ok(None));
            }
            let length = bytes.len();
            bytes.extend(follows);
            prop_assert_eq!(Frame::decode(&bytes), Ok(Some((frame, length))));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(&bytes);
        }
    }
}
