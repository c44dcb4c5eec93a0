//! A capture in blocks that several threads can read at the same time, in any order.
//!
//! Where one record ends, the next begins: so nobody knows where a block's first record is before all
//! that comes before has been read. But records of the classic format are easily recognised, and where
//! one seems to be, a thread can begin: it is right or its work is to be done again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::file::{Classic, Decoded};
use super::{CapturedPacket, FileBytes};

/// A classic file, not compressed, from one of its records on.
///
/// The first block begins where the file does, and has what comes before that record.
#[derive(Debug)]
pub struct Blocks {
    file: Arc<File>,
    classic: Classic,
    /// Where that record is.
    first: FileBytes,
    /// How long the file was when it was opened.
    size: FileBytes,
    /// How long a block is, in bytes.
    length: usize,
}

/// A block that was read.
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// Where it begins in the file.
    begin: FileBytes,
    /// Bytes of it that are there.
    there: usize,
}

/// How far a block was gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    /// Where in the file that was.
    pub end: FileBytes,
    /// Whether every record that begins in the block came before.
    pub is_whole: bool,
}

impl Blocks {
    /// What a block has, unless it is the last.
    const LENGTH: usize = super::file::READ_BUFFER;

    pub(super) fn new(
        file: Arc<File>,
        classic: Classic,
        first: FileBytes,
        size: FileBytes,
    ) -> Self {
        Self {
            file,
            classic,
            first,
            size,
            length: Self::LENGTH,
        }
    }

    /// The same in blocks of so many bytes.
    pub fn of_length(self, length: usize) -> Self {
        Self { length, ..self }
    }

    /// Where the first record is.
    pub fn first(&self) -> FileBytes {
        self.first
    }

    /// The blocks from the one with the first record on.
    pub fn numbers(&self) -> std::ops::Range<u64> {
        let length = self.length as u64;
        self.first.0 / length..self.size.0.div_ceil(length)
    }

    /// Reads a block. What cannot be read is not there.
    pub fn read(&self, number: u64, bytes: &mut Vec<u8>) -> Block {
        let begin = FileBytes(number * self.length as u64);
        if bytes.len() < self.length {
            bytes.resize(self.length, 0);
        }
        let there = self.read_at(begin, &mut bytes[..self.length]);
        Block { begin, there }
    }

    fn read_at(&self, begin: FileBytes, room: &mut [u8]) -> usize {
        let mut there = 0;
        while there < room.len() {
            match self
                .file
                .read_at(&mut room[there..], begin.0 + there as u64)
            {
                Ok(0) => break,
                Ok(read) => there += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        there
    }

    /// Where the first record of a block seems to begin. `None` where none is found soon: the records are
    /// large, and going through them is quick.
    pub fn likely_first(&self, block: &Block, bytes: &[u8]) -> Option<FileBytes> {
        /// Records in a row that have to make sense.
        const ENOUGH: usize = 4;
        /// Bytes in which the first one is looked for: a frame of Ethernet and its record's header.
        const SOON: usize = 2048;

        if block.begin <= self.first {
            return Some(self.first);
        }
        let bytes = &bytes[..block.there];
        let make_sense = |from: usize| {
            let (mut at, mut before) = (from, None);
            for _ in 0..ENOUGH {
                match bytes
                    .get(at..)
                    .and_then(|rest| self.classic.likely(rest, before))
                {
                    Some((record, seconds)) => {
                        at += record;
                        before = Some(seconds);
                    }
                    None => return false,
                }
            }
            true
        };
        let from = (0..SOON.min(bytes.len())).find(|from| make_sense(*from))?;
        Some(FileBytes(block.begin.0 + from as u64))
    }

    /// Shows `visit` the packets of records that begin in the block, from the one at `from` on, each with
    /// where it lies in `bytes`, as long as it wants more. The last record is read to its end.
    #[inline(always)]
    pub fn walk(
        &self,
        block: &Block,
        bytes: &mut Vec<u8>,
        from: FileBytes,
        mut visit: impl FnMut(&CapturedPacket<'_>, usize) -> bool,
    ) -> Walk {
        let mut at = (from.0 - block.begin.0) as usize;
        let mut there = block.there;
        let is_whole = loop {
            let seen = &bytes[..there];
            let needed = loop {
                if at >= self.length {
                    break None;
                }
                match self.classic.decode(&seen[at.min(there)..]) {
                    Decoded::Packet(packet, record) => {
                        if !visit(&packet, at + record - packet.data.len()) {
                            break Some(0);
                        }
                        at += record;
                    }
                    Decoded::Need(needed) => break Some(at + needed),
                    _ => break Some(0),
                }
            };
            match needed {
                None => break true,
                Some(needed) if needed > there && block.there == self.length => {
                    if bytes.len() < needed {
                        bytes.resize(needed, 0);
                    }
                    let behind = FileBytes(block.begin.0 + there as u64);
                    there += self.read_at(behind, &mut bytes[there..needed]);
                    if there < needed {
                        break false;
                    }
                }
                Some(_) => break false,
            }
        };
        Walk {
            end: FileBytes(block.begin.0 + at as u64),
            is_whole,
        }
    }
}
