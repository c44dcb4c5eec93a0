//! Saved captures: pcap and pcapng files, compressed or not, from a path or standard input.
//!
//! A record is decoded where it lies in the read buffer: no copy and no allocation per packet.
//! Blocks are decoded here and not by a crate: the one in question reads interface statistics in
//! little-endian only, knows neither the obsolete packet block nor big-endian modified files, and
//! allocates for the options of a packet.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use thiserror::Error;

use super::blocks::Blocks;
use super::compression::Compression;
use super::follow::Shrunk;
use super::pcapng::{self, Sections};
use super::{CapturedPacket, FileBytes, Part, RecordedDrops};
use crate::units::{LinkType, Timestamp};

/// Bytes asked of the operating system at a time: large enough that the kernel's copy seldom replaces what
/// the processor has just used, which makes it slower, and small enough to stay in its second-level cache.
pub(super) const READ_BUFFER: usize = 512 << 10;

/// The largest record believed unless the file's own snap length is larger: twenty times the
/// largest frame that the kernel builds (BIG TCP, 512 KiB).
pub(super) const MAX_RECORD: u32 = 16 << 20;

/// The largest record believed whatever the file says of its snap length: what libpcap accepts
/// for USB and D-Bus.
const MAX_RECORD_DECLARED: u32 = 128 << 20;

/// Why a file cannot be read, or cannot be read further.
#[derive(Debug, Error)]
pub enum FileError {
    /// There is nothing at the path.
    #[error("{name}: no such file; check the path (`-` reads standard input)")]
    Missing {
        /// The file as the user named it.
        name: String,
    },
    /// The path names a directory.
    #[error("{name}: is a directory; name the capture files in it, e.g. {name}/*.pcapng")]
    Directory {
        /// The file as the user named it.
        name: String,
    },
    /// It is one more than may be open at the same time.
    #[error(
        "{name}: no more files may be open at once; raise the limit with `ulimit -n`, or join some of the \
         captures first with `mergecap -w JOINED FILE…`"
    )]
    TooMany {
        /// The file as the user named it.
        name: String,
    },
    /// Not one byte is in it.
    #[error(
        "{name}: is empty (0 bytes); the program that captured it wrote nothing, or was killed \
         before its first flush"
    )]
    Empty {
        /// The file as the user named it.
        name: String,
    },
    /// It begins like no capture that can be read here.
    #[error("{name}: not a pcap or pcapng capture: it begins with {first}; {advice}")]
    Foreign {
        /// The file as the user named it.
        name: String,
        /// Its first bytes in hexadecimal.
        first: String,
        /// What it probably is and what to do with it.
        advice: &'static str,
    },
    /// A format version that nobody has defined, or that came after this program.
    #[error(
        "{name}: {format} version {major}.{minor} at offset {offset}; {known} can be read: convert \
         it with `editcap -F pcapng {name} OUT`"
    )]
    Version {
        /// The file as the user named it.
        name: String,
        /// `pcap` or `pcapng`.
        format: &'static str,
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
        /// The versions that can be read.
        known: &'static str,
        /// Where the header begins.
        offset: FileBytes,
    },
    /// The file ends inside its first header: there is no packet to save.
    #[error(
        "{name}: ends inside its file header: {needed} needed, {there} there; the copy or the \
         capture was cut short, fetch it again"
    )]
    CutHeader {
        /// The file as the user named it.
        name: String,
        /// Length of the header.
        needed: FileBytes,
        /// Length of the file.
        there: FileBytes,
    },
    /// A record contradicts itself or the format. What came before it was delivered.
    #[error("{name}: damaged at offset {offset}: {damage}; {}", damage.advice())]
    Damaged {
        /// The file as the user named it.
        name: String,
        /// Where the damaged record begins (in the decompressed stream).
        offset: FileBytes,
        /// What is wrong with it.
        damage: Damage,
    },
    /// It is compressed, and not as its compression has it. What was unpacked before was delivered.
    #[error(
        "{name}: its {compression} stream is damaged, {offset} of its contents could be unpacked: \
         {source}; fetch the file again"
    )]
    Compressed {
        /// The file as the user named it.
        name: String,
        /// How it is compressed.
        compression: Compression,
        /// How many bytes came before the error (unpacked).
        offset: FileBytes,
        /// The decompressor's own words.
        source: io::Error,
    },
    /// While it was read, or followed while it grew, it has become shorter.
    #[error(
        "{name}: has become shorter after {read} were read of it, as if its writer had begun anew; what was \
         read is good, read it again for the rest"
    )]
    BegunAnew {
        /// The file as the user named it.
        name: String,
        /// How many bytes had been read.
        read: FileBytes,
    },
    /// It was to be followed while it grows, and is compressed.
    #[error(
        "{name}: is compressed ({compression}), and only captures that are not can be followed: \
         pipe it unpacked into `wirewatt analyze --follow -`"
    )]
    CompressedGrowth {
        /// The file as the user named it.
        name: String,
        /// How it is compressed.
        compression: Compression,
    },
    /// The operating system refused to go on.
    #[error("{name}: cannot be read at offset {offset}: {source}; check permissions and the disk")]
    Unreadable {
        /// The file as the user named it.
        name: String,
        /// How many bytes came before the error (decompressed).
        offset: FileBytes,
        /// The system's own words.
        source: io::Error,
    },
}

impl FileError {
    /// The error of a file that the system does not open.
    pub(super) fn of_opening(name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        let too_many = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { name },
            _ if too_many.contains(&source.raw_os_error()) => Self::TooMany { name },
            _ => Self::Unreadable {
                name,
                offset: FileBytes(0),
                source,
            },
        }
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// A packet longer than anything that the file may hold.
    #[error("a packet of {claimed} captured bytes where at most {limit} are possible")]
    TooLong {
        /// Captured length in the record.
        claimed: FileBytes,
        /// What the file's snap length and this program admit.
        limit: FileBytes,
    },
    /// A classic file whose records have longer headers than its magic number says.
    #[error(
        "a record's header makes sense {extra} further on: the file comes from a modified libpcap of \
         before 2001 (Nokia, Red Hat 6.1, SuSE 6.3)"
    )]
    OldVariant {
        /// By how much the headers are longer.
        extra: FileBytes,
    },
    /// A pcapng block whose length cannot be one.
    #[error(
        "a block of type {block_type:#x} with the impossible length {claimed} (minimum {minimum}, a multiple of 4)"
    )]
    BlockLength {
        /// Block type.
        block_type: u32,
        /// Total length in the block.
        claimed: FileBytes,
        /// The least that a block of this type takes.
        minimum: FileBytes,
    },
    /// The length at the end of a pcapng block is not the one at its beginning.
    #[error(
        "a block of type {block_type:#x} says {leading} at its beginning and {trailing} at its end"
    )]
    LengthsDiffer {
        /// Block type.
        block_type: u32,
        /// Total length at the beginning.
        leading: FileBytes,
        /// Total length at the end.
        trailing: FileBytes,
    },
    /// A packet's captured length goes beyond its block.
    #[error("a packet of {claimed} captured bytes in a block that has room for {room}")]
    BeyondBlock {
        /// Captured length.
        claimed: FileBytes,
        /// Bytes of packet data that the block has room for.
        room: FileBytes,
    },
    /// A packet or statistics of an interface that was not described.
    #[error("interface {index} where {described} are described")]
    UnknownInterface {
        /// The index in the record.
        index: u32,
        /// How many the section has described so far.
        described: usize,
    },
    /// More interfaces than are believed, so that memory stays bounded.
    #[error("more than {limit} interfaces in one section")]
    TooManyInterfaces {
        /// The number believed.
        limit: usize,
    },
    /// A section header whose byte-order magic is neither order.
    #[error("a section header with the byte-order magic {magic:#010x}")]
    ByteOrder {
        /// The four bytes, read as little-endian.
        magic: u32,
    },
    /// A later section of a version that cannot be read.
    #[error("a section of pcapng version {major}.{minor}")]
    SectionVersion {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
}

impl Damage {
    fn advice(&self) -> &'static str {
        match self {
            Self::OldVariant { .. } => {
                "nothing that was read of it is to be believed: convert it with `editcap -F pcapng`"
            }
            _ => {
                "what comes before is good, the rest cannot be found again: fetch the file again, or keep \
                 its good part with `editcap`"
            }
        }
    }
}

/// How the reading of a file ended.
#[derive(Debug)]
pub enum Ending {
    /// After a whole record, at the end of the file.
    Complete,
    /// In the middle of a record, as captures that were killed or copied while growing do.
    /// Every whole record was delivered: a warning, not an error.
    Cut {
        /// Where the cut record begins (in the decompressed stream).
        offset: FileBytes,
        /// What the record takes, as far as its visible part says.
        needed: FileBytes,
        /// What is there of it.
        there: FileBytes,
    },
    /// At an error. Every record before it was delivered.
    Failed(FileError),
}

impl Ending {
    /// Whether the file was read to a proper end.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Cut {
                offset,
                needed,
                there,
            } => write!(
                f,
                "cut in the middle of the record at offset {offset}: {needed} needed, {there} \
                 there; all whole records before it were read"
            ),
            Self::Failed(error) => fmt::Display::fmt(error, f),
        }
    }
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// The classic format of libpcap, including its nanosecond and modified variants.
    Pcap,
    /// The next-generation format.
    Pcapng,
}

/// What a file says of itself, as far as it has been read.
#[derive(Debug, Clone, Default)]
pub struct FileFacts {
    /// Link types of the interfaces described so far.
    pub link_types: BTreeSet<LinkType>,
    /// The largest snap length described so far, in bytes; `None` for unlimited or not said.
    pub snaplen: Option<u32>,
    /// Names of the interfaces described so far, each once.
    pub interfaces: Vec<String>,
    /// Packets that the capturing program says it lost. Classic files cannot say.
    pub drops: RecordedDrops,
    /// Comments that were read over: on sections, interfaces, statistics and packets.
    pub comments: u64,
    /// Whether the statistics of every interface tell of `isb_ifdrop`: then none is a known none.
    pub counts_interface_drops: bool,
    /// The same of `isb_osdrop`.
    pub counts_system_drops: bool,
    /// Which part of a divided capture the file is, if it is one.
    pub part: Option<Part>,
    /// Whether the capture that it is a part of was cut short.
    pub part_of_cut: bool,
}

/// A saved capture, open for reading.
pub struct CaptureFile {
    name: String,
    format: Format,
    buffer: Buffer,
    facts: FileFacts,
    head: Option<Head>,
    /// What [`CaptureFile::take_chunk`] has to bring next.
    pause: Option<Pause>,
    ending: Option<Ending>,
    /// Nothing more was there when it was last asked for.
    is_waiting: bool,
    raw_size: Option<FileBytes>,
    /// If it is a file that can be read anywhere.
    regular: Option<Arc<File>>,
}

impl fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureFile")
            .field("name", &self.name)
            .field("facts", &self.facts)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

/// The record that `advance` found: where its bytes are, so that it can be looked at again.
#[derive(Clone, Copy)]
struct Head {
    timestamp: Timestamp,
    link_type: LinkType,
    original_length: u32,
    data: (usize, usize),
    record: usize,
}

impl Head {
    /// Of a packet in a record of that many bytes at the beginning of `rest`.
    #[inline]
    fn of(packet: &CapturedPacket<'_>, record: usize, rest: &[u8]) -> Self {
        let from = packet.data.as_ptr() as usize - rest.as_ptr() as usize;
        Self {
            timestamp: packet.timestamp,
            link_type: packet.link_type,
            original_length: packet.original_length,
            data: (from, packet.data.len()),
            record,
        }
    }
}

/// Who is shown packets: a function, or a type whose method is inlined wherever packets are read, as no
/// function can ask to be.
pub(crate) trait Visit {
    fn visit(&mut self, packet: CapturedPacket<'_>);
}

impl<F: FnMut(CapturedPacket<'_>)> Visit for F {
    #[inline(always)]
    fn visit(&mut self, packet: CapturedPacket<'_>) {
        self(packet);
    }
}

/// A record of a file.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The packet, where it is one.
    pub packet: Option<CapturedPacket<'a>>,
    /// All of it as it is stored.
    pub(super) bytes: &'a [u8],
    pub(super) source: Source,
}

/// How a record is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Classic(ClassicSource),
    /// A block of pcapng, in this byte order.
    Block(Order),
}

/// What a classic file's header says of its packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClassicSource {
    pub(super) link_type: LinkType,
    pub(super) snaplen: u32,
    pub(super) nanos_per_unit: i64,
}

enum Format {
    Classic(Classic),
    Sections(Sections),
}

/// What the bytes at a record boundary turned out to be.
pub(super) enum Decoded<'a> {
    /// A packet, in a record of that many bytes.
    Packet(CapturedPacket<'a>, usize),
    /// A record without a packet.
    Other(usize),
    /// That many bytes are to be thrown away unseen, however many they are.
    Skip(u64),
    /// At least so many bytes must be in the buffer before anything can be said.
    Need(usize),
    /// No record.
    Damaged(Damage),
}

enum Pause {
    Need(usize),
    Skip(u64),
    Damaged(Damage),
}

impl CaptureFile {
    /// Opens a capture and reads its header. `-` is standard input.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        Self::open_buffered(path.as_ref(), READ_BUFFER)
    }

    /// Reads a capture from `reader`; errors call it `name`.
    pub fn from_reader(
        name: impl Into<String>,
        reader: impl Read + Send + 'static,
    ) -> Result<Self, FileError> {
        Self::begin(name.into(), Box::new(reader), None, READ_BUFFER)
    }

    fn open_buffered(path: &Path, buffer: usize) -> Result<Self, FileError> {
        if path == Path::new("-") {
            return Self::begin("standard input".into(), Box::new(io::stdin()), None, buffer);
        }
        let name = path.display().to_string();
        let failed = |source| FileError::of_opening(&name, source);
        let file = Arc::new(File::open(path).map_err(failed)?);
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(FileError::Directory { name });
        }
        let size = metadata.is_file().then_some(FileBytes(metadata.len()));
        let mut capture = Self::begin(name, Box::new(Arc::clone(&file)), size, buffer)?;
        capture.regular = size.is_some().then_some(file);
        Ok(capture)
    }

    fn begin(
        name: String,
        reader: Box<dyn Read + Send>,
        raw_size: Option<FileBytes>,
        buffer: usize,
    ) -> Result<Self, FileError> {
        let mut buffer = Buffer::new(reader, buffer);
        let mut facts = FileFacts::default();
        let format = match recognise(&name, &mut buffer, &mut facts)? {
            Contents::Capture(format) => format,
            Contents::Compressed(compression) => {
                if let Err(source) = buffer.unpack(compression) {
                    return Err(buffer.unreadable(&name, source));
                }
                match recognise(&name, &mut buffer, &mut facts)? {
                    Contents::Capture(format) => format,
                    Contents::Compressed(_) => {
                        return Err(FileError::Foreign {
                            first: hexadecimal(buffer.rest()),
                            name,
                            advice: "it is compressed twice: unpack it once first",
                        });
                    }
                }
            }
        };
        Ok(Self::new(name, format, buffer, facts, raw_size))
    }

    fn new(
        name: String,
        format: Format,
        buffer: Buffer,
        facts: FileFacts,
        raw_size: Option<FileBytes>,
    ) -> Self {
        Self {
            name,
            format,
            buffer,
            facts,
            head: None,
            pause: None,
            ending: None,
            is_waiting: false,
            raw_size,
            regular: None,
        }
    }

    /// Shows `visit` every packet that lies whole in the buffer and refills it: some ten thousand
    /// small packets a call, so that the caller can show progress and stop in between. `false`
    /// when the file has ended; [`CaptureFile::ending`] then says how.
    pub fn read_chunk(&mut self, visit: impl FnMut(CapturedPacket<'_>)) -> bool {
        self.show_chunk(visit)
    }

    /// The same as [`CaptureFile::read_chunk`].
    #[inline(always)]
    pub(crate) fn show_chunk(&mut self, visit: impl Visit) -> bool {
        if self.ending.is_some() {
            return false;
        }
        let pause = self.drain(visit);
        self.resume(pause)
    }

    /// Shows `visit` every packet that lies whole in the buffer.
    #[inline(always)]
    fn drain(&mut self, mut visit: impl Visit) -> Pause {
        if self.head.is_some() {
            self.drop_head();
        }
        if self.buffer.to_skip > 0 {
            return Pause::Skip(self.buffer.to_skip);
        }
        match &mut self.format {
            Format::Classic(classic) => drain(&mut self.buffer, |b| classic.decode(b), &mut visit),
            Format::Sections(sections) => {
                let facts = &mut self.facts;
                drain(&mut self.buffer, |b| sections.decode(b, facts), &mut visit)
            }
        }
    }

    /// Reads like [`CaptureFile::read_chunk`], and gives what was read away, for others to look at:
    /// `place` learns of each packet where it lies in `chunk`. Reads into the room that `chunk` has, so
    /// that who calls again and again with room of its own has it in its processor's cache.
    pub fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        mut place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool {
        if self.ending.is_some() {
            return false;
        }
        self.buffer.give_away(chunk);
        let pause = self.pause.take();
        let goes_on = pause.is_none_or(|pause| self.resume(pause));
        if goes_on {
            let start = self.buffer.bytes.as_ptr() as usize;
            let visit = |packet: CapturedPacket<'_>| {
                let at = packet.data.as_ptr() as usize - start;
                place(&packet, at);
            };
            self.pause = Some(self.drain(visit));
        }
        self.buffer.give_away(chunk);
        goes_on
    }

    /// What comes next, for others to read: if it is a classic file that is neither compressed nor of a
    /// form whose records are in doubt. What is read there is not read here, until
    /// [`CaptureFile::go_on_at`] says so.
    pub fn blocks(&self) -> Option<Blocks> {
        let Format::Classic(classic) = &self.format else {
            return None;
        };
        let is_at_record = self.head.is_none() && self.pause.is_none() && self.ending.is_none();
        let is_stored_so = self.buffer.compression.is_none() && !classic.may_swap_lengths();
        let (file, size) = (self.regular.as_ref()?, self.raw_size?);
        let first = FileBytes(self.buffer.offset);
        (is_at_record && is_stored_so)
            .then(|| Blocks::new(Arc::clone(file), classic.clone(), first, size))
    }

    /// Takes note that the [blocks](CaptureFile::blocks) were read up to there.
    pub fn has_come_to(&mut self, offset: FileBytes) {
        self.buffer.stored.read.store(offset.0, Ordering::Relaxed);
    }

    /// Reads on at that record, which the [blocks](CaptureFile::blocks) have led to.
    pub fn go_on_at(&mut self, offset: FileBytes) {
        self.has_come_to(offset);
        self.buffer.go_on_at(offset.0);
        if let Some(file) = &self.regular
            && let Err(error) = (&**file).seek(SeekFrom::Start(offset.0))
        {
            self.ending = Some(self.unreadable(error));
        }
    }

    /// Shows `visit` every packet to the end of the file and says how it ended.
    pub fn for_each(&mut self, mut visit: impl FnMut(CapturedPacket<'_>)) -> &Ending {
        while self.read_chunk(&mut visit) {}
        self.ending.as_ref().unwrap_or(&Ending::Complete)
    }

    /// The next packet, or `None` at the end; [`CaptureFile::ending`] then says how it ended.
    /// [`CaptureFile::read_chunk`] is the faster way through a whole file.
    #[inline]
    pub fn next_packet(&mut self) -> Option<CapturedPacket<'_>> {
        self.advance();
        self.peek()
    }

    /// How reading ended; `None` while there is more to read.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// How reading ended, taken out of a file that was read.
    pub fn into_ending(self) -> Option<Ending> {
        self.ending
    }

    /// What the file says of itself, as far as it has been read.
    pub fn facts(&self) -> &FileFacts {
        &self.facts
    }

    /// The file as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The format found in its first bytes.
    pub fn format(&self) -> FileFormat {
        match self.format {
            Format::Classic(_) => FileFormat::Pcap,
            Format::Sections(_) => FileFormat::Pcapng,
        }
    }

    /// Bytes taken from the file or pipe so far, as stored (compressed where it is), up to one
    /// buffer ahead of the packet shown.
    pub fn bytes_read(&self) -> FileBytes {
        FileBytes(self.buffer.stored.read.load(Ordering::Relaxed))
    }

    /// Size of the file as stored; `None` for pipes.
    pub fn size(&self) -> Option<FileBytes> {
        self.raw_size
    }

    /// Whether a capture that is [followed](super::Followed) had nothing more when it was last read.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// The next record as it is stored, be it a packet or not; nothing at the end. A record that is no
    /// packet and larger than 64 MiB is not shown.
    pub fn next_record(&mut self) -> Option<Record<'_>> {
        /// The largest block without a packet that is believed.
        const MOST_SHOWN: u64 = 64 << 20;

        self.drop_head();
        while self.ending.is_none() {
            let rest = self.buffer.rest();
            let decoded = match &mut self.format {
                Format::Classic(classic) => classic.decode(rest),
                Format::Sections(sections) => sections.decode(rest, &mut self.facts),
            };
            let nothing = Head {
                timestamp: Timestamp::default(),
                link_type: LinkType(0),
                original_length: 0,
                data: (0, 0),
                record: 0,
            };
            let (head, is_packet) = match decoded {
                Decoded::Packet(packet, record) => (Head::of(&packet, record, rest), true),
                Decoded::Other(record) => (Head { record, ..nothing }, false),
                Decoded::Skip(bytes) if bytes <= rest.len() as u64 => {
                    let record = bytes as usize;
                    (Head { record, ..nothing }, false)
                }
                Decoded::Skip(bytes) => {
                    self.resume(match bytes <= MOST_SHOWN {
                        true => Pause::Need(bytes as usize),
                        false => Pause::Skip(bytes),
                    });
                    continue;
                }
                Decoded::Need(bytes) => {
                    self.resume(Pause::Need(bytes));
                    continue;
                }
                Decoded::Damaged(damage) => {
                    self.resume(Pause::Damaged(damage));
                    continue;
                }
            };
            self.head = Some(head);
            return Some(Record {
                packet: self.peek().filter(|_| is_packet),
                bytes: &self.buffer.rest()[..head.record],
                source: self.source(),
            });
        }
        None
    }

    /// How records of this file, or of the section at hand, are stored.
    pub(super) fn source(&self) -> Source {
        match &self.format {
            Format::Classic(classic) => Source::Classic(ClassicSource {
                link_type: classic.link_type,
                snaplen: classic.snaplen,
                nanos_per_unit: classic.variant.nanos_per_unit,
            }),
            Format::Sections(sections) => Source::Block(sections.order()),
        }
    }

    fn peek(&self) -> Option<CapturedPacket<'_>> {
        let head = self.head.as_ref()?;
        Some(CapturedPacket {
            timestamp: head.timestamp,
            link_type: head.link_type,
            original_length: head.original_length,
            data: &self.buffer.rest()[head.data.0..][..head.data.1],
        })
    }

    fn drop_head(&mut self) {
        if let Some(head) = self.head.take() {
            self.buffer.consume(head.record);
        }
    }

    /// Moves `peek` to the next packet. `false` when there is none.
    fn advance(&mut self) -> bool {
        self.drop_head();
        while self.ending.is_none() {
            let rest = self.buffer.rest();
            let decoded = match &mut self.format {
                Format::Classic(classic) => classic.decode(rest),
                Format::Sections(sections) => sections.decode(rest, &mut self.facts),
            };
            let pause = match decoded {
                Decoded::Packet(packet, record) => {
                    self.head = Some(Head::of(&packet, record, rest));
                    return true;
                }
                Decoded::Other(record) => {
                    self.buffer.consume(record);
                    continue;
                }
                Decoded::Skip(bytes) => Pause::Skip(bytes),
                Decoded::Need(bytes) => Pause::Need(bytes),
                Decoded::Damaged(damage) => Pause::Damaged(damage),
            };
            self.resume(pause);
        }
        false
    }

    /// Brings what the decoder asks for, or ends the file. A file that is followed may have it later.
    fn resume(&mut self, pause: Pause) -> bool {
        let offset = FileBytes(self.buffer.offset);
        let cut = |needed: u64, there: u64| Ending::Cut {
            offset,
            needed: FileBytes(needed),
            there: FileBytes(there),
        };
        let outcome = match pause {
            Pause::Damaged(damage) => {
                let name = self.name.clone();
                Ok(Some(Ending::Failed(FileError::Damaged {
                    name,
                    offset,
                    damage,
                })))
            }
            Pause::Need(needed) => self.buffer.fill(needed).map(|filled| {
                let there = self.buffer.rest().len() as u64;
                match filled {
                    true => None,
                    false if self.has_shrunk() => Some(self.unreadable(io::Error::other(Shrunk))),
                    false if there == 0 && !self.buffer.cut => Some(Ending::Complete),
                    false => Some(cut(needed as u64, there)),
                }
            }),
            Pause::Skip(needed) => {
                self.buffer.to_skip = needed;
                self.buffer.skip().map(|skipped| {
                    let there = needed - self.buffer.to_skip;
                    (!skipped).then(|| cut(needed, there))
                })
            }
        };
        self.is_waiting = false;
        match outcome {
            Ok(None) => return true,
            Ok(ending) => self.ending = ending,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_waiting = true;
                return true;
            }
            Err(error) => self.ending = Some(self.unreadable(error)),
        }
        false
    }

    /// Whether a file that ends here was longer when it was opened.
    fn has_shrunk(&self) -> bool {
        let end = self.buffer.offset + self.buffer.rest().len() as u64;
        self.regular.is_some()
            && self.buffer.compression.is_none()
            && self.raw_size.is_some_and(|size| end < size.0)
    }

    fn unreadable(&self, source: io::Error) -> Ending {
        Ending::Failed(self.buffer.unreadable(&self.name, source))
    }
}

/// The beginning of a capture whose header may still be on its way.
pub(super) struct Header {
    name: String,
    buffer: Buffer,
}

impl Header {
    /// `reader` says [`io::ErrorKind::WouldBlock`] while there is nothing more.
    pub(super) fn awaited(name: String, reader: Box<dyn Read + Send>) -> Self {
        let buffer = Buffer::new(reader, READ_BUFFER);
        Self { name, buffer }
    }

    /// The capture, once its header is there.
    pub(super) fn read(&mut self) -> Result<Option<CaptureFile>, FileError> {
        let mut facts = FileFacts::default();
        let format = match recognise(&self.name, &mut self.buffer, &mut facts) {
            Ok(Contents::Capture(format)) => format,
            Ok(Contents::Compressed(compression)) => {
                return Err(FileError::CompressedGrowth {
                    name: self.name.clone(),
                    compression,
                });
            }
            Err(FileError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::WouldBlock =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let nothing = Buffer::new(Box::new(io::empty()), 0);
        let buffer = std::mem::replace(&mut self.buffer, nothing);
        let name = self.name.clone();
        Ok(Some(CaptureFile::new(name, format, buffer, facts, None)))
    }
}

/// Shows every packet that lies whole in the buffer, until the decoder asks for something.
#[inline(always)]
fn drain(
    buffer: &mut Buffer,
    mut decode: impl for<'b> FnMut(&'b [u8]) -> Decoded<'b>,
    visit: &mut impl Visit,
) -> Pause {
    let bytes = buffer.rest();
    let mut at = 0;
    let pause = loop {
        match decode(&bytes[at..]) {
            Decoded::Packet(packet, record) => {
                visit.visit(packet);
                at += record;
            }
            Decoded::Other(record) => at += record,
            Decoded::Skip(length) => break Pause::Skip(length),
            Decoded::Need(length) => break Pause::Need(length),
            Decoded::Damaged(damage) => break Pause::Damaged(damage),
        }
    };
    buffer.consume(at);
    pause
}

/// What a stream turned out to be.
enum Contents {
    Capture(Format),
    Compressed(Compression),
}

/// Tells what the buffer holds by its first bytes, and consumes a classic file's header.
fn recognise(
    name: &str,
    buffer: &mut Buffer,
    facts: &mut FileFacts,
) -> Result<Contents, FileError> {
    if let Err(source) = buffer.fill(4) {
        return Err(buffer.unreadable(name, source));
    }
    let start = buffer.rest();
    if buffer.cut && start.len() < 4 {
        return Err(FileError::CutHeader {
            name: name.to_owned(),
            needed: FileBytes(Classic::FILE_HEADER as u64),
            there: FileBytes(start.len() as u64),
        });
    }
    if start.is_empty() {
        return Err(FileError::Empty {
            name: name.to_owned(),
        });
    }
    if let Some(compression) = Compression::of(start) {
        return Ok(Contents::Compressed(compression));
    }
    let magic = start.first_chunk().copied().unwrap_or_default();
    let needed = if magic == pcapng::SECTION_HEADER.to_be_bytes() {
        pcapng::SECTION_HEADER_MIN
    } else if Variant::of(magic).is_some() {
        Classic::FILE_HEADER
    } else {
        return Err(FileError::Foreign {
            name: name.to_owned(),
            first: hexadecimal(start),
            advice: advice_on(start),
        });
    };
    match buffer.fill(needed) {
        Ok(true) => {}
        Ok(false) => {
            return Err(FileError::CutHeader {
                name: name.to_owned(),
                needed: FileBytes(needed as u64),
                there: FileBytes(buffer.rest().len() as u64),
            });
        }
        Err(source) => return Err(buffer.unreadable(name, source)),
    }
    match Variant::of(magic) {
        Some(variant) => {
            let classic = Classic::from_header(name, variant, buffer.rest())?;
            facts.link_types.insert(classic.link_type);
            facts.snaplen = (classic.snaplen > 0).then_some(classic.snaplen);
            buffer.consume(Classic::FILE_HEADER);
            Ok(Contents::Capture(Format::Classic(classic)))
        }
        None => {
            // The first section's version is judged here, so that opening fails on it.
            if let Some((major, minor)) = pcapng::unknown_version(buffer.rest()) {
                return Err(FileError::Version {
                    name: name.to_owned(),
                    format: "pcapng",
                    major,
                    minor,
                    known: "1.0 and 1.2",
                    offset: FileBytes(0),
                });
            }
            Ok(Contents::Capture(Format::Sections(Sections::default())))
        }
    }
}

fn advice_on(start: &[u8]) -> &'static str {
    match start {
        [b'B', b'Z', b'h', ..] => "that is bzip2: `bzip2 -dc FILE | wirewatt analyze -` reads it",
        [0x02, 0x21, 0x4c, 0x18, ..] => {
            "that is lz4 of before 2013: `lz4 -dc FILE | wirewatt analyze -` reads it"
        }
        [b'P', b'K', ..] => "that is a zip archive: unpack it first",
        _ => {
            "if Wireshark reads it, `editcap -F pcapng FILE OUT` makes a capture of it that can be \
             read here"
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let first: Vec<String> = bytes
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    first.join(" ")
}

/// What the magic number of a classic file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    big_endian: bool,
    nanos_per_unit: i64,
    record_header: usize,
}

impl Variant {
    fn of(magic: [u8; 4]) -> Option<Self> {
        let known = |number: u32| match number {
            0xa1b2_c3d4 => Some((1_000, 16)),
            0xa1b2_3c4d => Some((1, 16)),
            // Alexey Kuznetzov's patch: eight more bytes a record.
            0xa1b2_cd34 => Some((1_000, 24)),
            _ => None,
        };
        let (big_endian, (nanos_per_unit, record_header)) = known(u32::from_le_bytes(magic))
            .map(|found| (false, found))
            .or_else(|| known(u32::from_be_bytes(magic)).map(|found| (true, found)))?;
        Some(Self {
            big_endian,
            nanos_per_unit,
            record_header,
        })
    }
}

/// A classic file: one link type, one snap length, records of the same form.
#[derive(Debug, Clone)]
pub(super) struct Classic {
    variant: Variant,
    minor: u16,
    link_type: LinkType,
    snaplen: u32,
    limit: u32,
    /// Captured lengths below this need no second look.
    usual: u64,
}

impl Classic {
    const FILE_HEADER: usize = 24;

    fn from_header(name: &str, variant: Variant, header: &[u8]) -> Result<Self, FileError> {
        let order = Order {
            big_endian: variant.big_endian,
        };
        let (major, minor) = (order.u16(header, 4), order.u16(header, 6));
        if major != 2 || minor > 4 {
            return Err(FileError::Version {
                name: name.to_owned(),
                format: "pcap",
                major,
                minor,
                known: "2.0 to 2.4",
                offset: FileBytes(0),
            });
        }
        let snaplen = order.u32(header, 16);
        let limit = record_limit(snaplen);
        let mut classic = Self {
            variant,
            minor,
            // The upper bits tell of frame check sequences and are not part of the type.
            link_type: LinkType((order.u32(header, 20) & 0xffff) as u16),
            snaplen,
            limit,
            usual: 0,
        };
        if !classic.may_swap_lengths() {
            let most = match classic.may_be_old() {
                true => snaplen.min(limit),
                false => limit,
            };
            classic.usual = u64::from(most) + 1;
        }
        Ok(classic)
    }

    /// Whether what stands there looks like a record, by how long it is and that its time is near that
    /// of the one before: then its length and its seconds.
    pub(super) fn likely(&self, bytes: &[u8], before: Option<u32>) -> Option<(usize, u32)> {
        const HOUR: u32 = 3600;

        let fields = bytes.first_chunk::<16>()?;
        let order = Order {
            big_endian: self.variant.big_endian,
        };
        let [seconds, fraction, captured, original] = [0, 4, 8, 12].map(|at| order.u32(fields, at));
        let units = 1_000_000_000 / self.variant.nanos_per_unit;
        let is_likely = u64::from(captured) < self.usual
            && captured <= original
            && original <= record_limit(self.snaplen)
            && i64::from(fraction) < units
            && before.is_none_or(|before| seconds.abs_diff(before) <= HOUR);
        is_likely.then(|| (self.variant.record_header + captured as usize, seconds))
    }

    #[inline]
    pub(super) fn decode<'a>(&self, bytes: &'a [u8]) -> Decoded<'a> {
        let header = self.variant.record_header;
        let whole = bytes.first_chunk::<16>().filter(|_| bytes.len() >= header);
        let Some(fields) = whole else {
            return Decoded::Need(header);
        };
        let order = Order {
            big_endian: self.variant.big_endian,
        };
        let seconds = order.u32(fields, 0);
        let fraction = order.u32(fields, 4);
        let mut captured = order.u32(fields, 8);
        let mut original = order.u32(fields, 12);
        if u64::from(captured) >= self.usual {
            (captured, original) = match self.unusual_lengths(captured, original, bytes) {
                Ok(lengths) => lengths,
                Err(decoded) => return decoded,
            };
        }
        let record = header + captured as usize;
        let Some(data) = bytes.get(header..record) else {
            return Decoded::Need(record);
        };
        let nanos =
            i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * self.variant.nanos_per_unit;
        let packet = CapturedPacket {
            timestamp: Timestamp::from_nanos(nanos),
            link_type: self.link_type,
            original_length: original.max(captured),
            data,
        };
        Decoded::Packet(packet, record)
    }
}

impl Classic {
    /// The two lengths changed places in version 2.3 (libpcap's sf-pcap.c).
    fn may_swap_lengths(&self) -> bool {
        self.minor < 4
    }

    /// The captured and the original length of a record in which one or the other may stand first, or
    /// whose captured length is more than the file announces.
    #[cold]
    fn unusual_lengths<'a>(
        &self,
        mut captured: u32,
        mut original: u32,
        bytes: &[u8],
    ) -> Result<(u32, u32), Decoded<'a>> {
        if self.may_swap_lengths() && (self.minor < 3 || captured > original) {
            std::mem::swap(&mut captured, &mut original);
        }
        if captured > self.snaplen && captured >= 8 && self.may_be_old() {
            let Some(further) = bytes.first_chunk() else {
                return Err(Decoded::Need(Self::OLD_HEADER));
            };
            if let Some(extra) = self.old_variant(further) {
                return Err(Decoded::Damaged(Damage::OldVariant { extra }));
            }
        }
        if captured > self.limit {
            return Err(Decoded::Damaged(Damage::TooLong {
                claimed: FileBytes(u64::from(captured)),
                limit: FileBytes(u64::from(self.limit)),
            }));
        }
        Ok((captured, original))
    }
}

/// The variants that have the usual magic number and longer headers (Wireshark's wiretap/libpcap.c).
impl Classic {
    const OLD_HEADER: usize = 24;
    /// In 1973.
    const FIRST_SECOND: u32 = 100_000_000;

    fn may_be_old(&self) -> bool {
        self.variant.record_header == 16 && self.variant.nanos_per_unit == 1000 && self.snaplen > 0
    }

    /// How much longer a record's headers are, if what precedes this one was read with too short a
    /// header. Sure: where the time is behind its place, no fraction of a second or a length is there.
    #[cold]
    fn old_variant(&self, bytes: &[u8; Self::OLD_HEADER]) -> Option<FileBytes> {
        let order = Order {
            big_endian: self.variant.big_endian,
        };
        let makes_sense = |extra: &usize| {
            let [seconds, fraction, captured, original] =
                [0, 4, 8, 12].map(|at| order.u32(bytes, extra + at));
            seconds >= Self::FIRST_SECOND
                && fraction < 1_000_000
                && captured <= original
                && captured <= self.snaplen
                && original <= MAX_RECORD
        };
        let extra = [4, 8].into_iter().find(makes_sense)?;
        Some(FileBytes(extra as u64))
    }
}

/// The longest record believed of a source with that snap length.
pub(super) fn record_limit(snaplen: u32) -> u32 {
    snaplen.clamp(MAX_RECORD, MAX_RECORD_DECLARED)
}

/// Byte order of a file or section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) big_endian: bool,
}

impl Order {
    #[inline(always)]
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let field = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian {
            u32::from_be_bytes(field)
        } else {
            u32::from_le_bytes(field)
        }
    }

    #[inline(always)]
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let field = [bytes[at], bytes[at + 1]];
        if self.big_endian {
            u16::from_be_bytes(field)
        } else {
            u16::from_le_bytes(field)
        }
    }

    pub(super) fn bytes_of_u16(self, n: u16) -> [u8; 2] {
        match self.big_endian {
            true => n.to_be_bytes(),
            false => n.to_le_bytes(),
        }
    }

    pub(super) fn bytes_of_u32(self, n: u32) -> [u8; 4] {
        match self.big_endian {
            true => n.to_be_bytes(),
            false => n.to_le_bytes(),
        }
    }

    pub(super) fn u64(self, field: [u8; 8]) -> u64 {
        if self.big_endian {
            u64::from_be_bytes(field)
        } else {
            u64::from_le_bytes(field)
        }
    }
}

/// Bytes that a processor moves between memory and its cache at a time, on most.
pub(super) const CACHE_LINE: usize = 64;

/// Where in `room` to read to from that offset of a file: where bytes lie in their cache lines as they do
/// in the kernel's copy, which begins at one. To copy them otherwise takes some processors twice as long.
pub(super) fn best_place(room: &[u8], offset: u64) -> usize {
    (offset as usize).wrapping_sub(room.as_ptr().addr()) % CACHE_LINE
}

/// A window on the file: `rest` are the bytes read and not yet consumed.
struct Buffer {
    reader: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Position in the stream of the first byte of `rest`.
    offset: u64,
    /// Bytes that are still to be thrown away.
    to_skip: u64,
    /// The compressed stream ended before its own end mark.
    cut: bool,
    compression: Option<Compression>,
    stored: Arc<Stored>,
}

/// What is known of a stream as it is stored, before it is unpacked.
#[derive(Default)]
struct Stored {
    read: AtomicU64,
    failed: AtomicBool,
}

impl Buffer {
    fn new(reader: Box<dyn Read + Send>, size: usize) -> Self {
        let stored = Arc::new(Stored::default());
        let counted = Counted {
            reader,
            stored: Arc::clone(&stored),
        };
        Self {
            reader: Box::new(counted),
            bytes: vec![0; size + CACHE_LINE],
            start: 0,
            end: 0,
            offset: 0,
            to_skip: 0,
            cut: false,
            compression: None,
            stored,
        }
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline]
    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Forgets what was read: what comes next is from there.
    fn go_on_at(&mut self, offset: u64) {
        (self.start, self.end, self.offset) = (0, 0, offset);
    }

    /// Exchanges the bytes for the room that `other` has, and keeps what was not consumed.
    fn give_away(&mut self, other: &mut Vec<u8>) {
        let rest = self.rest();
        let length = rest.len();
        if other.len() < self.bytes.len() {
            other.resize(self.bytes.len(), 0);
        }
        let start = best_place(other, self.offset).min(other.len() - length);
        other[start..][..length].copy_from_slice(rest);
        std::mem::swap(&mut self.bytes, other);
        (self.start, self.end) = (start, start + length);
    }

    /// Reads until `rest` has at least `needed` bytes; `false` when the stream ends before.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        if self.end - self.start >= needed {
            return Ok(true);
        }
        let length = self.end - self.start;
        let start = best_place(&self.bytes, self.offset).min(self.bytes.len() - length);
        self.bytes.copy_within(self.start..self.end, start);
        (self.start, self.end) = (start, start + length);
        while self.end - start < needed {
            if self.end == self.bytes.len() {
                // Grows only as bytes really come: a claim in a short file costs nothing.
                let length = (start + needed).min(2 * self.bytes.len());
                self.bytes.resize(length, 0);
            }
            match self.read_at_end()? {
                0 => return Ok(false),
                read => self.end += read,
            }
        }
        Ok(true)
    }

    /// Throws away the `to_skip` bytes that come next; `false` when the stream ends before.
    fn skip(&mut self) -> io::Result<bool> {
        loop {
            let step = self.to_skip.min((self.end - self.start) as u64);
            self.consume(step as usize);
            self.to_skip -= step;
            if self.to_skip == 0 {
                return Ok(true);
            }
            (self.start, self.end) = (0, 0);
            match self.read_at_end()? {
                0 => return Ok(false),
                read => self.end = read,
            }
        }
    }

    fn read_at_end(&mut self) -> io::Result<usize> {
        loop {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The decompressor's word for a cut file.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.cut = true;
                    return Ok(0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts a decompressor between the stream and what has been read of it.
    fn unpack(&mut self, compression: Compression) -> io::Result<()> {
        let begun = io::Cursor::new(self.rest().to_vec());
        let reader = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        self.reader = compression.unpack(begun.chain(reader))?;
        self.compression = Some(compression);
        (self.start, self.end) = (0, 0);
        Ok(())
    }

    /// The error of a file whose reader has failed: the system or the decompressor.
    fn unreadable(&self, name: &str, source: io::Error) -> FileError {
        let name = name.to_owned();
        let offset = FileBytes(self.offset + self.rest().len() as u64);
        match self.compression {
            Some(compression) if !self.stored.failed.load(Ordering::Relaxed) => {
                FileError::Compressed {
                    name,
                    compression,
                    offset,
                    source,
                }
            }
            _ if source.get_ref().is_some_and(|inner| inner.is::<Shrunk>()) => {
                FileError::BegunAnew { name, read: offset }
            }
            _ => FileError::Unreadable {
                name,
                offset,
                source,
            },
        }
    }
}

/// Counts the bytes that come from the file, before they are unpacked.
struct Counted {
    reader: Box<dyn Read + Send>,
    stored: Arc<Stored>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.reader.read(buffer);
        match &outcome {
            Ok(read) => {
                self.stored.read.fetch_add(*read as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.stored.failed.store(true, Ordering::Relaxed),
        }
        outcome
    }
}

/// Several files as one capture in time order.
///
/// The file whose next packet is earliest comes next; at equal times, the one named first. Each
/// file's own order is kept even where its times go back. A single file is read as if it were
/// alone.
#[derive(Debug)]
pub struct Merged {
    files: Vec<CaptureFile>,
    /// For each file that has a packet left: its time and its index, the earliest on top.
    heads: std::collections::BinaryHeap<std::cmp::Reverse<(Timestamp, usize)>>,
    started: bool,
}

impl Merged {
    /// Packets between two returns of `read_chunk` where several files are merged, unless they are as
    /// many bytes as a read buffer has before.
    const CHUNK: usize = 8192;

    /// Opens all files; the first that cannot be opened is the error.
    pub fn open<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Result<Self, FileError> {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        // All buffers together stay near that of one file.
        let buffer = (READ_BUFFER / paths.len().max(1)).max(64 << 10);
        let files = paths
            .iter()
            .map(|path| CaptureFile::open_buffered(path, buffer));
        Ok(Self::new(files.collect::<Result<_, _>>()?))
    }

    /// Merges files that are open already.
    pub fn new(files: Vec<CaptureFile>) -> Self {
        let heads = std::collections::BinaryHeap::with_capacity(files.len());
        Self {
            files,
            heads,
            started: false,
        }
    }

    /// Shows `visit` the next packets, some ten thousand a call. `false` when all files have
    /// ended; [`CaptureFile::ending`] of each then says how.
    pub fn read_chunk(&mut self, visit: impl FnMut(CapturedPacket<'_>)) -> bool {
        self.show_chunk(visit)
    }

    /// The same as [`Merged::read_chunk`].
    #[inline(always)]
    pub(crate) fn show_chunk(&mut self, mut visit: impl Visit) -> bool {
        if let [file] = self.files.as_mut_slice() {
            return file.show_chunk(visit);
        }
        self.merge_chunk(|packet, _| visit.visit(packet))
    }

    /// The same, and slower, with each packet what its file had said of itself before it.
    pub fn read_chunk_with_facts(
        &mut self,
        visit: impl FnMut(CapturedPacket<'_>, &FileFacts),
    ) -> bool {
        self.merge_chunk(visit)
    }

    /// Reads each file up to its first packet, for what it says of itself before that. Only
    /// [`Merged::read_chunk_with_facts`] goes on from there.
    pub fn begin(&mut self) {
        use std::cmp::Reverse;

        if self.started {
            return;
        }
        self.started = true;
        for (index, file) in self.files.iter_mut().enumerate() {
            if file.advance() {
                self.heads
                    .extend(file.peek().map(|head| Reverse((head.timestamp, index))));
            }
        }
    }

    fn merge_chunk(&mut self, mut visit: impl FnMut(CapturedPacket<'_>, &FileFacts)) -> bool {
        self.begin();
        let (mut packets, mut bytes) = (0, 0);
        while packets < Self::CHUNK && bytes < READ_BUFFER {
            let Some(mut top) = self.heads.peek_mut() else {
                return false;
            };
            let file = &mut self.files[top.0.1];
            if let Some(packet) = file.peek() {
                packets += 1;
                bytes += packet.data.len();
                visit(packet, &file.facts);
            }
            file.advance();
            match file.peek() {
                Some(next) => top.0.0 = next.timestamp,
                None => drop(std::collections::binary_heap::PeekMut::pop(top)),
            }
        }
        true
    }

    /// The same as [`CaptureFile::take_chunk`]. What is merged is copied.
    pub fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        mut place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool {
        if let [file] = self.files.as_mut_slice() {
            return file.take_chunk(chunk, place);
        }
        chunk.clear();
        self.read_chunk(|packet| {
            place(&packet, chunk.len());
            chunk.extend_from_slice(packet.data);
        })
    }

    /// The same as [`CaptureFile::blocks`], of a single file.
    pub fn blocks(&self) -> Option<Blocks> {
        match self.files.as_slice() {
            [file] => file.blocks(),
            _ => None,
        }
    }

    /// The same as [`CaptureFile::has_come_to`].
    pub fn has_come_to(&mut self, offset: FileBytes) {
        if let [file] = self.files.as_mut_slice() {
            file.has_come_to(offset);
        }
    }

    /// The same as [`CaptureFile::go_on_at`].
    pub fn go_on_at(&mut self, offset: FileBytes) {
        if let [file] = self.files.as_mut_slice() {
            file.go_on_at(offset);
        }
    }

    /// Shows `visit` every packet to the end of all files.
    pub fn for_each(&mut self, mut visit: impl FnMut(CapturedPacket<'_>)) {
        while self.read_chunk(&mut visit) {}
    }

    /// The files, in the order in which they were named.
    pub fn files(&self) -> &[CaptureFile] {
        &self.files
    }

    /// The files to keep, once they have been read.
    pub fn into_files(self) -> Vec<CaptureFile> {
        self.files
    }

    /// Bytes taken from all files so far, as stored.
    pub fn bytes_read(&self) -> FileBytes {
        FileBytes(self.files.iter().map(|file| file.bytes_read().0).sum())
    }

    /// Size of all files as stored; `None` when one is a pipe.
    pub fn size(&self) -> Option<FileBytes> {
        self.files
            .iter()
            .map(|file| Some(file.size()?.0))
            .sum::<Option<u64>>()
            .map(FileBytes)
    }
}
