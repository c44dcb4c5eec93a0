//! A capture in blocks that several threads can read at the same time, in any order.
//!
//! Where one record ends, the next begins: so nobody knows where a block's first record is before all
//! that comes before has been read. But records of the classic format are easily recognised, and where
//! one seems to be, a thread can begin: it is right or its work is to be done again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::file::{CACHE_LINE, Classic, Decoded, best_place};
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
    /// Where it begins in the file, and in the bytes.
    begin: FileBytes,
    at: usize,
    /// Bytes of it, and of what is behind it, that are there.
    there: usize,
}

impl Block {
    /// Where in the bytes something is that is there in the file.
    fn place(&self, offset: FileBytes) -> usize {
        self.at + (offset.0 - self.begin.0) as usize
    }

    /// The other way around.
    fn offset(&self, place: usize) -> FileBytes {
        FileBytes(self.begin.0 + (place - self.at) as u64)
    }
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
        // Most last records end within so many bytes: one call of the kernel less.
        let room = self.length + self.length / 128;
        if bytes.len() < room + CACHE_LINE {
            bytes.resize(room + CACHE_LINE, 0);
        }
        let at = best_place(bytes, begin.0);
        let there = self.read_at(begin, &mut bytes[at..][..room]);
        Block { begin, at, there }
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

    /// Where the first record of a block seems to begin. `None` where none is found soon, as where records
    /// are large and going through them is quick, or less than four are left.
    pub fn likely_first(&self, block: &Block, bytes: &[u8]) -> Option<FileBytes> {
        /// Records in a row that have to make sense.
        const ENOUGH: usize = 4;
        /// Bytes in which the first one is looked for: a frame of Ethernet and its record's header.
        const SOON: usize = 2048;

        if block.begin <= self.first {
            return Some(self.first);
        }
        let bytes = &bytes[block.at..][..block.there];
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
    /// where it lies in `bytes`, as long as it wants more. The last record is read to its end, unless it is
    /// longer than most blocks are: where `from` is only likely, any length may stand there.
    #[inline(always)]
    pub fn walk(
        &self,
        block: &Block,
        bytes: &mut Vec<u8>,
        from: FileBytes,
        mut visit: impl FnMut(&CapturedPacket<'_>, usize) -> bool,
    ) -> Walk {
        let mut at = block.place(from);
        let end = block.at + self.length;
        let mut there = block.at + block.there;
        let is_whole = loop {
            let seen = &bytes[..there];
            let needed = loop {
                if at >= end {
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
                Some(needed)
                    if needed > there
                        && block.there >= self.length
                        && needed - at <= Self::LENGTH =>
                {
                    if bytes.len() < needed {
                        bytes.resize(needed, 0);
                    }
                    let behind = block.offset(there);
                    there += self.read_at(behind, &mut bytes[there..needed]);
                    if there < needed {
                        break false;
                    }
                }
                Some(_) => break false,
            }
        };
        Walk {
            end: block.offset(at),
            is_whole,
        }
    }

    /// Shows packets again that [`Blocks::walk`] has shown, from the one at `from` up to what is at `to`.
    pub fn walk_again<'a>(
        &self,
        block: &Block,
        bytes: &'a [u8],
        (from, to): (FileBytes, FileBytes),
        mut visit: impl FnMut(&CapturedPacket<'a>, usize),
    ) {
        let (mut at, to) = (block.place(from), block.place(to));
        while at < to
            && let Decoded::Packet(packet, record) = self.classic.decode(&bytes[at..])
        {
            visit(&packet, at + record - packet.data.len());
            at += record;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::{CaptureFile, Ending, FileError};
    use crate::units::Timestamp;

    type Shown = (Timestamp, u32, Vec<u8>);

    fn shown(packet: &CapturedPacket<'_>) -> Shown {
        (
            packet.timestamp,
            packet.original_length,
            packet.data.to_vec(),
        )
    }

    /// A file of these records, each with so many seconds, bytes on the link, and captured bytes.
    fn file(big_endian: bool, magic: u32, records: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
        let bytes = |field: u32| match big_endian {
            true => field.to_be_bytes(),
            false => field.to_le_bytes(),
        };
        let mut file = Vec::new();
        file.extend(bytes(magic));
        let version = [2_u16, 4].map(|field| match big_endian {
            true => field.to_be_bytes(),
            false => field.to_le_bytes(),
        });
        file.extend(version.as_flattened());
        file.extend([0, 0, 65_535, 1].map(bytes).as_flattened());
        for (seconds, original, data) in records {
            let header = [*seconds, 7, data.len() as u32, *original];
            file.extend(header.map(bytes).as_flattened());
            if magic == 0xa1b2_cd34 {
                file.extend([0; 8]);
            }
            file.extend(data);
        }
        file
    }

    fn stored(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    /// What reading from front to back shows, and how that ends.
    fn in_order(mut capture: CaptureFile) -> (Vec<Shown>, String) {
        let mut packets = Vec::new();
        let ending = capture.for_each(|packet| packets.push(shown(&packet)));
        let ending = format!("{ending:?}");
        (packets, ending)
    }

    /// The same of blocks of so many bytes, and how many of them seemed to begin where they do not.
    fn in_blocks(mut capture: CaptureFile, length: usize) -> ((Vec<Shown>, String), usize) {
        let blocks = capture.blocks().expect("a classic file").of_length(length);
        let (mut packets, mut wrong) = (Vec::new(), 0);
        let mut first = blocks.first();
        let mut bytes = Vec::new();
        for number in blocks.numbers() {
            let block = blocks.read(number, &mut bytes);
            let likely = blocks.likely_first(&block, &bytes);
            wrong += usize::from(likely.is_some_and(|likely| likely != first));
            let mut found = Vec::new();
            let walk = blocks.walk(&block, &mut bytes, first, |packet, at| {
                found.push((shown(packet), at));
                true
            });
            for (packet, at) in found {
                assert_eq!(bytes[at..][..packet.2.len()], packet.2);
                packets.push(packet);
            }
            first = walk.end;
            if !walk.is_whole {
                break;
            }
        }
        capture.go_on_at(first);
        let (rest, ending) = in_order(capture);
        packets.extend(rest);
        ((packets, ending), wrong)
    }

    /// What looks like records.
    fn imitation(records: usize) -> Vec<u8> {
        let record = (1000, 50, vec![b'x'; 50]);
        file(false, 0, &vec![record; records]).split_off(24)
    }

    #[test]
    fn a_record_seems_to_begin_where_records_follow_one_another() {
        let records: Vec<_> = (0..40).map(|i| (i, 100, vec![i as u8; 90])).collect();
        let file = stored(&file(false, 0xa1b2_c3d4, &records));
        let capture = CaptureFile::open(file.path()).expect("a capture");
        let blocks = capture.blocks().expect("a classic file").of_length(1000);
        let mut bytes = Vec::new();
        let mut likely = |number| {
            let block = blocks.read(number, &mut bytes);
            blocks.likely_first(&block, &bytes).map(|first| first.0)
        };
        assert_eq!(likely(0), Some(24));
        // Records of 106 bytes.
        assert_eq!(likely(1), Some(24 + 10 * 106));
        assert_eq!(likely(2), Some(24 + 19 * 106));
        assert_eq!(blocks.numbers(), 0..5);
        // Two records are too few to be sure.
        assert_eq!(likely(4), None);
    }

    #[test]
    fn payload_that_looks_like_records_misleads_nobody() {
        let records: Vec<_> = (0..30)
            .map(|i| (1000, 700, imitation(10 + i % 3)))
            .collect();
        let file = stored(&file(false, 0xa1b2_c3d4, &records));
        let open = || CaptureFile::open(file.path()).expect("a capture");
        let (found, wrong) = in_blocks(open(), 1000);
        assert_eq!(found, in_order(open()));
        assert!(wrong > 10, "{wrong}");
    }

    #[test]
    fn only_classic_files_that_lie_there_as_they_are_have_blocks() {
        let has_blocks = |bytes: &[u8]| {
            let file = stored(bytes);
            let capture = CaptureFile::open(file.path()).expect("a capture");
            capture.blocks().is_some()
        };
        let mut classic = file(false, 0xa1b2_c3d4, &[(1, 4, vec![0; 4])]);
        assert!(has_blocks(&classic));
        let packed = zstd::encode_all(classic.as_slice(), 0).expect("packed");
        assert!(!has_blocks(&packed));
        let reader = std::io::Cursor::new(classic.clone());
        let capture = CaptureFile::from_reader("a pipe", reader).expect("a capture");
        assert!(capture.blocks().is_none());
        // Of version 2.3, in which lengths may stand the other way around.
        classic[6] = 3;
        assert!(!has_blocks(&classic));
    }

    #[test]
    fn a_file_that_becomes_shorter_while_it_is_read_is_not_complete() {
        let records: Vec<_> = (0..100).map(|i| (i, 100, vec![i as u8; 90])).collect();
        let content = file(false, 0xa1b2_c3d4, &records);
        for length in [0, 24 + 5 * 106, 1000, 24 + 60 * 106] {
            let stored = stored(&content);
            let mut capture = CaptureFile::open(stored.path()).expect("a capture");
            let blocks = capture.blocks().expect("a classic file").of_length(2000);
            let mut bytes = Vec::new();
            let block = blocks.read(0, &mut bytes);
            let walk = blocks.walk(&block, &mut bytes, blocks.first(), |_, _| true);
            assert!(walk.is_whole);
            stored.as_file().set_len(length).expect("cut");
            capture.go_on_at(walk.end);
            let ending = capture.for_each(|_| {});
            assert!(
                matches!(ending, Ending::Failed(FileError::BegunAnew { .. })),
                "{length}: {ending:?}"
            );
        }
    }

    #[test]
    fn a_record_that_claims_more_than_a_block_is_left_to_who_reads_in_order() {
        let mut content = file(false, 0xa1b2_c3d4, &[(1, 100, vec![0; 90])]);
        // The header of a record of 8 MiB, and zeros.
        content.extend(
            [2, 7, 8 << 20, 8 << 20]
                .map(u32::to_le_bytes)
                .as_flattened(),
        );
        content.resize(9 << 20, 0);
        let stored = stored(&content);
        let capture = CaptureFile::open(stored.path()).expect("a capture");
        let blocks = capture.blocks().expect("a classic file");
        let mut bytes = Vec::new();
        let block = blocks.read(0, &mut bytes);
        let walk = blocks.walk(&block, &mut bytes, blocks.first(), |_, _| true);
        let end = FileBytes(24 + 106);
        assert_eq!(
            walk,
            Walk {
                end,
                is_whole: false
            }
        );
        assert!(bytes.len() <= 2 * Blocks::LENGTH, "{}", bytes.len());
        let open = || CaptureFile::open(stored.path()).expect("a capture");
        assert_eq!(in_blocks(open(), Blocks::LENGTH).0, in_order(open()));
    }

    proptest! {
        #[test]
        fn blocks_show_what_is_there_and_end_as_it_ends(
            big_endian in any::<bool>(),
            magic in prop::sample::select(vec![0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34]),
            records in prop::collection::vec((
                0_u32..5000,
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..200),
                    (0_usize..12).prop_map(imitation),
                ],
            ), 0..40),
            length in prop_oneof![16_usize..400, 1000_usize..5000],
            cut in prop_oneof![2 => Just(0_usize), 1 => 0_usize..300],
            damage in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let records: Vec<_> = records
                .into_iter()
                .map(|(seconds, data)| (seconds, data.len() as u32, data))
                .collect();
            let mut bytes = file(big_endian, magic, &records);
            bytes.truncate((bytes.len() - cut.min(bytes.len())).max(24));
            if let Some((at, byte)) = damage
                && bytes.len() > 24
            {
                let at = 24 + at.index(bytes.len() - 24);
                bytes[at] = byte;
            }
            let file = stored(&bytes);
            let open = || CaptureFile::open(file.path()).expect("a capture");
            let (found, _) = in_blocks(open(), length);
            prop_assert_eq!(found, in_order(open()));
        }
    }
}
