//! A copy of a capture whose packets carry comments, for Wireshark to show.
//!
//! What comes from pcapng is copied block by block as it is, in its own byte order, with one more
//! option on each packet: interfaces, times, other options, statistics, and blocks that nobody here
//! knows stay what they are. What comes from pcap becomes one section with one interface, its times in
//! the unit that they had.

use std::path::Path;

use super::file::{CaptureFile, Order, Record, Source};
use super::pcapng::{
    ENHANCED_PACKET, IF_TSRESOL, INTERFACE_DESCRIPTION, OBSOLETE_PACKET, OPT_COMMENT, OPT_END,
    SECTION_HEADER, SIMPLE_PACKET,
};
use super::recorder::{BlockFile, option, pad, timestamp};
use super::{CapturedPacket, FileBytes, RecorderError};
use crate::units::Packets;

/// The longest comment: an option's length is 16 bits wide.
const LONGEST: usize = 65_532;

/// Where a packet's data begins in enhanced and obsolete packet blocks, and where its length is.
const DATA: usize = 28;
const CAPTURED_LENGTH: usize = 20;

/// A copy being written.
#[derive(Debug)]
pub struct AnnotatedCopy {
    file: BlockFile,
    written: Annotated,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Annotated {
    /// Packets.
    pub packets: Packets,
    /// Those of them whose block has no room for a comment: simple packet blocks.
    pub without_comment: Packets,
    /// Length of the file.
    pub length: FileBytes,
}

impl AnnotatedCopy {
    /// Creates the file (one that exists is replaced: who calls asks first) for a copy of `original`.
    ///
    /// # Errors
    ///
    /// As [`Recorder::create`](super::Recorder::create).
    pub fn create(path: impl AsRef<Path>, original: &CaptureFile) -> Result<Self, RecorderError> {
        let mut file = BlockFile::create(path.as_ref())?;
        if let Source::Classic(classic) = original.source() {
            file.section_header(None);
            file.block(INTERFACE_DESCRIPTION, |body| {
                body.extend_from_slice(&classic.link_type.0.to_le_bytes());
                body.extend_from_slice(&0_u16.to_le_bytes());
                body.extend_from_slice(&classic.snaplen.to_le_bytes());
                let digits = if classic.nanos_per_unit == 1 { 9 } else { 6 };
                option(body, IF_TSRESOL, &[digits]);
                option(body, OPT_END, &[]);
            });
        }
        file.flush()?;
        Ok(Self {
            file,
            written: Annotated::default(),
        })
    }

    /// Appends a record, with a comment where it is a packet.
    ///
    /// # Errors
    ///
    /// As [`Recorder::write`](super::Recorder::write).
    pub fn write(&mut self, record: &Record<'_>, comment: &str) -> Result<(), RecorderError> {
        let comment = &comment.as_bytes()[..comment.floor_char_boundary(LONGEST)];
        self.written.packets += u64::from(record.packet.is_some());
        match (record.source, &record.packet) {
            (Source::Classic(classic), Some(packet)) => {
                self.classic_packet(classic.nanos_per_unit, packet, comment);
            }
            (Source::Classic(_), None) => {}
            (Source::Block(order), _) => self.copy_block(order, record.bytes, comment),
        }
        self.file.flush_when_full()
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// As [`Recorder::finish`](super::Recorder::finish).
    pub fn finish(mut self) -> Result<Annotated, RecorderError> {
        self.file.flush()?;
        self.written.length = self.file.length();
        Ok(self.written)
    }

    fn classic_packet(&mut self, nanos_per_unit: i64, packet: &CapturedPacket<'_>, comment: &[u8]) {
        self.file.block(ENHANCED_PACKET, |body| {
            body.extend_from_slice(&0_u32.to_le_bytes());
            timestamp(body, (packet.timestamp.as_nanos() / nanos_per_unit) as u64);
            body.extend_from_slice(&(packet.data.len() as u32).to_le_bytes());
            body.extend_from_slice(&packet.original_length.to_le_bytes());
            body.extend_from_slice(packet.data);
            pad(body, packet.data.len());
            option(body, OPT_COMMENT, comment);
            option(body, OPT_END, &[]);
        });
    }

    fn copy_block(&mut self, order: Order, block: &[u8], comment: &[u8]) {
        match order.u32(block, 0) {
            ENHANCED_PACKET | OBSOLETE_PACKET => self.packet_block(order, block, comment),
            SECTION_HEADER => {
                // The section's length changes with its packets: it is not told.
                let mut header = block.to_vec();
                header[16..24].fill(0xff);
                self.file.append(&header);
            }
            block_type => {
                self.written.without_comment += u64::from(block_type == SIMPLE_PACKET);
                self.file.append(block);
            }
        }
    }

    /// The comment comes before the options that are there, which may lack an end.
    fn packet_block(&mut self, order: Order, block: &[u8], comment: &[u8]) {
        let captured = order.u32(block, CAPTURED_LENGTH) as usize;
        let options_at = (DATA + captured.next_multiple_of(4)).min(block.len() - 4);
        let (packet, rest) = block.split_at(options_at);
        let options = &rest[..rest.len() - 4];
        let mut copy = Vec::with_capacity(block.len() + comment.len() + 16);
        copy.extend_from_slice(packet);
        copy.extend_from_slice(&order.bytes_of_u16(OPT_COMMENT));
        copy.extend_from_slice(&order.bytes_of_u16(comment.len() as u16));
        copy.extend_from_slice(comment);
        pad(&mut copy, comment.len());
        match options {
            [] => copy.extend_from_slice(&[0; 4]),
            options => copy.extend_from_slice(options),
        }
        let length = order.bytes_of_u32(copy.len() as u32 + 4);
        copy.extend_from_slice(&length);
        copy[4..8].copy_from_slice(&length);
        self.file.append(&copy);
    }
}
