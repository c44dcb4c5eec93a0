//! Where packets come from and where they go: live interfaces, files, standard input, recordings.
//!
//! In: an interface's name or paths of capture files. Out: [`CapturedPacket`]s, in the order in
//! which the source shows them, with what the source knows of its own losses. Nothing here looks
//! inside a packet.

mod annotated;
mod blocks;
mod compression;
mod descriptors;
mod file;
mod follow;
mod live;
mod part;
mod pcapng;
mod recorder;
mod rotation;

use std::fmt;

pub use annotated::{Annotated, AnnotatedCopy};
pub use blocks::{Block, Blocks, Walk};
pub use compression::Compression;
pub use descriptors::raise_descriptor_limit;
pub(crate) use file::Visit;
pub use file::{CaptureFile, Damage, Ending, FileError, FileFacts, FileFormat, Merged, Record};
pub use follow::Followed;
pub use live::{
    Batch, CaptureError, KernelCounters, LiveCapture, LiveOptions, MemoryBytes, Reading,
    RunningCapture,
};
pub use part::Part;
pub use recorder::{InterfaceId, Recorder, RecorderError};
pub use rotation::{FileName, Recording, Removed, RotatingRecorder, Rotation};

use crate::units::{LinkType, Packets, Timestamp};

/// One packet as its source shows it.
#[derive(Debug, Clone, Copy)]
pub struct CapturedPacket<'a> {
    /// When the source saw it.
    pub timestamp: Timestamp,
    /// How its first bytes are to be read.
    pub link_type: LinkType,
    /// Its length on the link in bytes. At least `data.len()`; more where a snap length cut it.
    pub original_length: u32,
    /// The captured bytes.
    pub data: &'a [u8],
}

/// An interface as a live capture has opened it and as a recording describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceDescription {
    /// Its name.
    pub name: String,
    /// How its packets begin.
    pub link_type: LinkType,
    /// The most bytes kept of a packet; 0 for all.
    pub snaplen: u32,
    /// The kernel filter in force, in libpcap's language.
    pub filter: Option<String>,
}

/// Bytes of a capture file; as a position, the bytes before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileBytes(pub u64);

impl fmt::Display for FileBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0)
    }
}

/// Packets that a saved capture says were lost while it was made. All zero proves nothing:
/// classic files cannot say, and few programs write all three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordedDrops {
    /// `isb_ifdrop` of the last statistics of each interface, summed.
    pub interface: Packets,
    /// `isb_osdrop` of the last statistics of each interface, summed.
    pub system: Packets,
    /// Drop counts noted at packets, summed. May tell of the same losses as the other two.
    pub between_packets: Packets,
}

impl RecordedDrops {
    /// Packets lost, at least: the two ways of noting them are not added to each other.
    pub fn total(&self) -> Packets {
        let statistics = self.interface.get().saturating_add(self.system.get());
        Packets::new(statistics.max(self.between_packets.get()))
    }
}
