//! Where packets come from and where they go: live interfaces, files, standard input, recordings.
//!
//! In: an interface's name or paths of capture files. Out: [`CapturedPacket`]s, in the order in
//! which the source shows them, with what the source knows of its own losses. Nothing here looks
//! inside a packet.

use crate::units::{LinkType, Timestamp};

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
