//! Writing captures as pcapng, so that a killed run leaves a file that every tool reads.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use super::part::CUT_SHORT;
use super::pcapng::{
    BYTE_ORDER_MAGIC, ENHANCED_PACKET, IF_FILTER, IF_NAME, IF_TSRESOL, INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS, ISB_ENDTIME, ISB_IFDROP, ISB_IFRECV, ISB_OSDROP, ISB_STARTTIME,
    ISB_USRDELIV, OPT_COMMENT, OPT_END, SECTION_HEADER, SHB_OS, SHB_USERAPPL,
};
use super::{CapturedPacket, FileBytes, InterfaceDescription, KernelCounters, Part};
use crate::units::{Packets, Timestamp};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// Why a recording cannot be made or cannot go on.
#[derive(Debug, Error)]
pub enum RecorderError {
    /// The file cannot be created.
    #[error("{path}: cannot be created: {source}; choose a path in a directory that you may write")]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// No room is left. The file was cut back to its last whole block.
    #[error(
        "{path}: the disk is full after {written}; free some space or record elsewhere (what was \
         written is readable)"
    )]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// Length of the file.
        written: FileBytes,
    },
    /// A file of a recording that rotates, of which only the latest are kept, stays.
    #[error("{path}: cannot be removed, and takes room beside the latest files: {source}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// Another write error. The file was cut back to its last whole block.
    #[error("{path}: cannot be written after {written}: {source}; check the disk it is on")]
    Write {
        /// The file.
        path: PathBuf,
        /// Length of the file.
        written: FileBytes,
        /// The system's own words.
        source: io::Error,
    },
}

impl RecorderError {
    fn create(path: &Path, source: io::Error) -> Self {
        Self::Create {
            path: path.to_owned(),
            source,
        }
    }
}

/// An interface of a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceId(u32);

/// A pcapng file being written.
///
/// Only whole blocks are handed to the operating system: killed at any moment, the program leaves
/// a file that is readable up to the last flush.
#[derive(Debug)]
pub struct Recorder {
    file: BlockFile,
    interfaces: Vec<Recorded>,
}

/// A file to which whole blocks are appended.
#[derive(Debug)]
pub(super) struct BlockFile {
    path: PathBuf,
    file: File,
    /// Whole blocks not yet written.
    pending: Vec<u8>,
    written: u64,
    failed: bool,
    /// Bytes gathered before they are written.
    buffer: usize,
}

#[derive(Debug)]
struct Recorded {
    since: Timestamp,
    packets: Packets,
}

impl Recorder {
    /// Creates the file (an existing one is replaced) and writes the section header through to
    /// it, so that an unwritable path is known before any capture starts.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, RecorderError> {
        let path = path.as_ref();
        let file = File::create(path).map_err(|source| RecorderError::create(path, source))?;
        Self::begin(BlockFile::new(path, file, BUFFER), None)
    }

    /// The same for a part of a divided capture, in a new file, that gathers at most `buffer` bytes
    /// before they are written.
    pub fn create_part(
        path: impl AsRef<Path>,
        part: &Part,
        buffer: usize,
    ) -> Result<Self, RecorderError> {
        let path = path.as_ref();
        let file = File::create_new(path).map_err(|source| RecorderError::create(path, source))?;
        let file = BlockFile::new(path, file, buffer.min(BUFFER));
        Self::begin(file, Some(&part.to_string())).inspect_err(|_| {
            // There is nothing in it, and the error that matters is on its way.
            let _ = std::fs::remove_file(path);
        })
    }

    fn begin(mut file: BlockFile, comment: Option<&str>) -> Result<Self, RecorderError> {
        file.section_header(comment);
        file.flush()?;
        Ok(Self {
            file,
            interfaces: Vec::new(),
        })
    }

    /// Describes an interface; its packets follow under the id returned.
    pub fn add_interface(
        &mut self,
        interface: &InterfaceDescription,
    ) -> Result<InterfaceId, RecorderError> {
        self.file.block(INTERFACE_DESCRIPTION, |body| {
            body.extend_from_slice(&interface.link_type.0.to_le_bytes());
            body.extend_from_slice(&0_u16.to_le_bytes());
            body.extend_from_slice(&interface.snaplen.to_le_bytes());
            if !interface.name.is_empty() {
                option(body, IF_NAME, interface.name.as_bytes());
            }
            option(body, IF_TSRESOL, &[9]);
            if let Some(filter) = &interface.filter {
                // The first byte says that what follows is libpcap's filter language.
                let value: Vec<u8> = std::iter::once(0).chain(filter.bytes()).collect();
                option(body, IF_FILTER, &value);
            }
            option(body, OPT_END, &[]);
        });
        let id = InterfaceId(self.interfaces.len() as u32);
        self.interfaces.push(Recorded {
            since: now(),
            packets: Packets::ZERO,
        });
        self.file.flush()?;
        Ok(id)
    }

    /// Appends a packet. It is in the file after the next [`Recorder::flush`], or earlier.
    pub fn write(
        &mut self,
        interface: InterfaceId,
        packet: &CapturedPacket<'_>,
    ) -> Result<(), RecorderError> {
        let nanos = packet.timestamp.as_nanos().max(0) as u64;
        self.file.block(ENHANCED_PACKET, |body| {
            body.extend_from_slice(&interface.0.to_le_bytes());
            timestamp(body, nanos);
            body.extend_from_slice(&(packet.data.len() as u32).to_le_bytes());
            body.extend_from_slice(&packet.original_length.to_le_bytes());
            body.extend_from_slice(packet.data);
            pad(body, packet.data.len());
        });
        if let Some(recorded) = self.interfaces.get_mut(interface.0 as usize) {
            recorded.packets += 1;
        }
        self.file.flush_when_full()
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> Result<(), RecorderError> {
        self.file.flush()
    }

    /// Writes what the kernel counted on each interface since recording began, and closes the
    /// file. Returns its length.
    pub fn finish(
        mut self,
        counters: &[(InterfaceId, KernelCounters)],
    ) -> Result<FileBytes, RecorderError> {
        let end = now().as_nanos() as u64;
        for (interface, counted) in counters {
            let Some(recorded) = self.interfaces.get(interface.0 as usize) else {
                continue;
            };
            let (since, packets) = (recorded.since.as_nanos() as u64, recorded.packets);
            self.file.block(INTERFACE_STATISTICS, |body| {
                body.extend_from_slice(&interface.0.to_le_bytes());
                timestamp(body, end);
                for (code, time) in [(ISB_STARTTIME, since), (ISB_ENDTIME, end)] {
                    let mut value = Vec::with_capacity(8);
                    timestamp(&mut value, time);
                    option(body, code, &value);
                }
                for (code, count) in [
                    (ISB_IFRECV, counted.received),
                    (ISB_IFDROP, counted.dropped + counted.interface_dropped),
                    (ISB_OSDROP, counted.softnet_dropped),
                    (ISB_USRDELIV, packets),
                ] {
                    option(body, code, &count.get().to_le_bytes());
                }
                option(body, OPT_END, &[]);
            });
        }
        self.file.flush()?;
        Ok(self.file.length())
    }

    /// Writes what the divided capture that this is a part of knew of its losses, as far as it did, and
    /// whether it was cut short.
    pub fn losses(
        &mut self,
        interface: InterfaceId,
        time: Timestamp,
        dropped: Option<Packets>,
        dropped_by_system: Option<Packets>,
        cut_short: bool,
    ) {
        self.file.block(INTERFACE_STATISTICS, |body| {
            body.extend_from_slice(&interface.0.to_le_bytes());
            timestamp(body, time.as_nanos().max(0) as u64);
            if cut_short {
                option(body, OPT_COMMENT, CUT_SHORT.as_bytes());
            }
            for (code, count) in [(ISB_IFDROP, dropped), (ISB_OSDROP, dropped_by_system)] {
                if let Some(count) = count {
                    option(body, code, &count.get().to_le_bytes());
                }
            }
            option(body, OPT_END, &[]);
        });
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Length of the file with all that was taken for it.
    pub fn length(&self) -> FileBytes {
        self.file.length()
    }

    /// What a packet takes in the file.
    pub fn packet_length(&self, packet: &CapturedPacket<'_>) -> FileBytes {
        FileBytes(packet.data.len().next_multiple_of(4) as u64 + 32)
    }

    /// Packets taken for recording, of all interfaces.
    pub fn packets(&self) -> Packets {
        self.interfaces
            .iter()
            .map(|recorded| recorded.packets)
            .sum()
    }
}

impl BlockFile {
    /// The blocks of `file`, of which at most `buffer` bytes are gathered before they are written.
    fn new(path: &Path, file: File, buffer: usize) -> Self {
        Self {
            path: path.to_owned(),
            file,
            pending: Vec::with_capacity(buffer + buffer / 4),
            written: 0,
            failed: false,
            buffer,
        }
    }

    /// Creates the file; an existing one is replaced.
    pub(super) fn create(path: &Path) -> Result<Self, RecorderError> {
        let file = File::create(path).map_err(|source| RecorderError::create(path, source))?;
        Ok(Self::new(path, file, BUFFER))
    }

    /// Begins a section, in little-endian.
    pub(super) fn section_header(&mut self, comment: Option<&str>) {
        self.block(SECTION_HEADER, |body| {
            body.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
            body.extend_from_slice(&1_u16.to_le_bytes());
            body.extend_from_slice(&0_u16.to_le_bytes());
            // The section's length is not known in advance.
            body.extend_from_slice(&u64::MAX.to_le_bytes());
            if let Some(comment) = comment {
                option(body, OPT_COMMENT, comment.as_bytes());
            }
            option(body, SHB_OS, std::env::consts::OS.as_bytes());
            option(
                body,
                SHB_USERAPPL,
                concat!("wirewatt ", env!("CARGO_PKG_VERSION")).as_bytes(),
            );
            option(body, OPT_END, &[]);
        });
    }

    /// Appends blocks as they are.
    pub(super) fn append(&mut self, blocks: &[u8]) {
        if !self.failed {
            self.pending.extend_from_slice(blocks);
        }
    }

    /// Length of the file with all that was taken for it.
    pub(super) fn length(&self) -> FileBytes {
        FileBytes(self.written + self.pending.len() as u64)
    }

    /// To be called now and then.
    pub(super) fn flush_when_full(&mut self) -> Result<(), RecorderError> {
        match self.pending.len() >= self.buffer {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Hands everything to the operating system.
    pub(super) fn flush(&mut self) -> Result<(), RecorderError> {
        if self.failed || self.pending.is_empty() {
            self.pending.clear();
            return Ok(());
        }
        match self.file.write_all(&self.pending) {
            Ok(()) => {
                self.written += self.pending.len() as u64;
                self.pending.clear();
                Ok(())
            }
            Err(source) => {
                // Reported once. What follows the cut would not be readable, so nothing does.
                self.failed = true;
                self.pending.clear();
                self.cut_back();
                let path = self.path.clone();
                let written = FileBytes(self.written);
                Err(match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        RecorderError::DiskFull { path, written }
                    }
                    _ => RecorderError::Write {
                        path,
                        written,
                        source,
                    },
                })
            }
        }
    }

    /// Appends a block of this type with what `body` puts into it.
    #[inline]
    pub(super) fn block(&mut self, block_type: u32, body: impl FnOnce(&mut Vec<u8>)) {
        if self.failed {
            return;
        }
        let start = self.pending.len();
        self.pending.extend_from_slice(&block_type.to_le_bytes());
        self.pending.extend_from_slice(&[0; 4]);
        body(&mut self.pending);
        let length = (self.pending.len() - start + 4) as u32;
        self.pending.extend_from_slice(&length.to_le_bytes());
        self.pending[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    }

    /// Best effort: a device or pipe cannot be cut, and the write error is what matters.
    fn cut_back(&mut self) {
        let _ = self.file.set_len(self.written);
        let _ = self.file.seek(io::SeekFrom::End(0));
    }
}

impl Drop for BlockFile {
    fn drop(&mut self) {
        // An error has nowhere to go from here; `finish` and `flush` report theirs.
        let _ = self.flush();
    }
}

pub(super) fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Option lengths are 16 bits wide; a longer text is cut.
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body, value.len());
}

pub(super) fn pad(body: &mut Vec<u8>, length: usize) {
    body.extend_from_slice(&[0; 3][..length.next_multiple_of(4) - length]);
}

/// Upper half first, whatever the byte order.
pub(super) fn timestamp(body: &mut Vec<u8>, nanos: u64) {
    body.extend_from_slice(&((nanos >> 32) as u32).to_le_bytes());
    body.extend_from_slice(&(nanos as u32).to_le_bytes());
}

pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}
