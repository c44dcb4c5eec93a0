//! Compressed captures, told by their first bytes.
//!
//! In: the stream as it is stored. Out: what it holds, as far as it goes: a stream that is cut ends
//! with [`io::ErrorKind::UnexpectedEof`] behind the last byte that can be had of it, a damaged one
//! with any other error. Members that follow one another are one stream, as their own tools have it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use lz4_flex::frame::FrameDecoder;
use lzma_rust2::{Action, Status, XzStream};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// Memory that the window of a compressed stream may take: what zstd takes without being asked,
/// and twice what `xz -9` needs.
const MOST_WINDOW: u32 = 128 << 20;

/// How a capture is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz file format, version 1.2.
    Xz,
    /// The LZ4 frame format.
    Lz4,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
        })
    }
}

/// RFC 8878, section 3.1.2: frames with user data, which LZ4 has too.
fn is_skippable(magic: [u8; 4]) -> bool {
    u32::from_le_bytes(magic) & 0xffff_fff0 == 0x184d_2a50
}

const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

impl Compression {
    /// The compression of a stream that begins with these bytes, four at least.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // What pzstd writes begins with such a frame. So might LZ4, but nothing writes that.
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [a, b, c, d, ..] if is_skippable([*a, *b, *c, *d]) => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', ..] => Some(Self::Xz),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Lz4),
            _ => None,
        }
    }

    /// What a stream of this compression holds.
    pub(super) fn unpack(
        self,
        stored: impl Read + Send + 'static,
    ) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(Gzip::new(stored)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::new(stored)?;
                decoder.window_log_max(MOST_WINDOW.ilog2())?;
                Box::new(decoder)
            }
            Self::Xz => Box::new(Xz {
                stored: BufReader::new(stored),
                stream: XzStream::new_mem_limit(true, MOST_WINDOW / 1024),
                problem: None,
            }),
            Self::Lz4 => Box::new(Lz4::Between(Watched::new(stored))),
        })
    }
}

/// gzip members in a row (RFC 1952). The usual readers of it lose what a call has unpacked before it comes
/// upon damage, so the members are taken apart here, around a decoder of what is in them.
struct Gzip<R> {
    stored: BufReader<R>,
    place: Place,
    inflate: Box<DecompressorOxide>,
    /// What was unpacked last, in a ring: the decoder looks back into it.
    window: Box<[u8]>,
    /// Bytes of the window that have not been delivered.
    ready: Range<usize>,
    /// Checksum and length of what the member holds, as far as it has come.
    unpacked: crc32fast::Hasher,
    length: u32,
    /// What comes behind the bytes that were delivered.
    problem: Option<io::Error>,
}

/// What comes next of a member.
#[derive(Clone, Copy)]
enum Place {
    /// Its header; whether it is the first.
    Header(bool),
    Body,
    Trailer,
}

impl<R: Read> Gzip<R> {
    /// A power of two, and twice as far as the decoder looks back.
    const WINDOW: usize = 64 << 10;

    fn new(stored: R) -> Self {
        Self {
            stored: BufReader::with_capacity(1 << 16, stored),
            place: Place::Header(true),
            inflate: Box::default(),
            window: vec![0; Self::WINDOW].into(),
            ready: 0..0,
            unpacked: crc32fast::Hasher::new(),
            length: 0,
            problem: None,
        }
    }

    /// Reads stored bytes of a header, and enters them in its checksum.
    fn take<const N: usize>(&mut self, checksum: &mut crc32fast::Hasher) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stored.read_exact(&mut bytes)?;
        checksum.update(&bytes);
        Ok(bytes)
    }

    /// RFC 1952, section 2.3.
    fn header(&mut self) -> io::Result<()> {
        const HAS_CHECKSUM: u8 = 1 << 1;
        const HAS_EXTRA: u8 = 1 << 2;
        /// A file name and a comment, each with a zero behind it.
        const HAS_TEXT: [u8; 2] = [1 << 3, 1 << 4];
        const RESERVED: u8 = 0b111 << 5;
        let mut checksum = crc32fast::Hasher::new();
        let [id_1, id_2, method, flags, ..] = self.take::<10>(&mut checksum)?;
        if [id_1, id_2, method] != [0x1f, 0x8b, 8] || flags & RESERVED != 0 {
            return Err(invalid("no gzip member begins where one has to"));
        }
        if flags & HAS_EXTRA != 0 {
            for _ in 0..u16::from_le_bytes(self.take(&mut checksum)?) {
                self.take::<1>(&mut checksum)?;
            }
        }
        for text in HAS_TEXT {
            while flags & text != 0 && self.take(&mut checksum)? != [0] {}
        }
        if flags & HAS_CHECKSUM != 0 {
            let computed = checksum.clone().finalize() as u16;
            if u16::from_le_bytes(self.take(&mut checksum)?) != computed {
                return Err(invalid("a gzip header's checksum is another"));
            }
        }
        self.inflate.init();
        self.unpacked.reset();
        self.length = 0;
        Ok(())
    }

    /// The checksum and the length, modulo 2^32, of what the member holds.
    fn trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.stored.read_exact(&mut trailer)?;
        let [a, b, c, d, length @ ..] = trailer;
        let unpacked = std::mem::take(&mut self.unpacked);
        if u32::from_le_bytes([a, b, c, d]) != unpacked.finalize() {
            return Err(invalid("a gzip member's checksum is another"));
        }
        if u32::from_le_bytes(length) != self.length {
            return Err(invalid("a gzip member's length is another"));
        }
        Ok(())
    }

    /// Whether another member follows. Zeros that fill up the last block of a tape are none, as for
    /// gzip's own program.
    fn goes_on(&mut self) -> io::Result<bool> {
        let mut is_padded = false;
        loop {
            let stored = self.stored.fill_buf()?;
            let zeros = stored.iter().take_while(|byte| **byte == 0).count();
            match stored.get(zeros) {
                Some(0x1f) if !is_padded && zeros == 0 => return Ok(true),
                Some(_) => return Err(invalid("what follows a gzip member is none")),
                None if zeros == 0 => return Ok(false),
                None => {
                    self.stored.consume(zeros);
                    is_padded = true;
                }
            }
        }
    }

    /// Unpacks some more of a member.
    fn body(&mut self) -> io::Result<()> {
        let stored = self.stored.fill_buf()?;
        let is_end = stored.is_empty();
        let at = self.ready.end % Self::WINDOW;
        let (status, taken, unpacked) = decompress(
            &mut self.inflate,
            stored,
            &mut self.window,
            at,
            TINFL_FLAG_HAS_MORE_INPUT,
        );
        self.stored.consume(taken);
        self.ready = at..at + unpacked;
        self.unpacked.update(&self.window[self.ready.clone()]);
        self.length = self.length.wrapping_add(unpacked as u32);
        match status {
            TINFLStatus::Done => self.place = Place::Trailer,
            TINFLStatus::NeedsMoreInput if is_end && unpacked == 0 => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput => {}
            _ => self.problem = Some(invalid("corrupt deflate stream")),
        }
        Ok(())
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.ready.is_empty() {
                let length = self.ready.len().min(buffer.len());
                buffer[..length].copy_from_slice(&self.window[self.ready.start..][..length]);
                self.ready.start += length;
                return Ok(length);
            }
            if let Some(problem) = self.problem.take() {
                return Err(problem);
            }
            match self.place {
                Place::Header(first) => {
                    if !first && !self.goes_on()? {
                        return Ok(0);
                    }
                    self.header()?;
                    self.place = Place::Body;
                }
                Place::Body => self.body()?,
                Place::Trailer => {
                    self.trailer()?;
                    self.place = Place::Header(false);
                }
            }
        }
    }
}

/// An xz stream. The crate's own reader loses what a call has unpacked before it comes upon the end of
/// a cut stream, so the stored bytes are handed to the decoder inside it here.
struct Xz<R> {
    stored: BufReader<R>,
    stream: XzStream,
    /// What comes behind the bytes that were delivered.
    problem: Option<io::Error>,
}

impl<R: Read> Read for Xz<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(problem) = self.problem.take() {
                return Err(problem);
            }
            let stored = self.stored.fill_buf()?;
            let is_end = stored.is_empty();
            let action = if is_end { Action::Finish } else { Action::Run };
            let before = self.stream.total_out();
            match self.stream.process(stored, buffer, action) {
                Ok(step) => {
                    self.stored.consume(step.bytes_consumed);
                    if step.bytes_produced > 0 || step.status == Status::StreamEnd {
                        return Ok(step.bytes_produced);
                    }
                    if is_end {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => {
                    self.problem = Some(match is_end {
                        true => io::ErrorKind::UnexpectedEof.into(),
                        false => error,
                    });
                    let produced = (self.stream.total_out() - before) as usize;
                    if produced > 0 {
                        return Ok(produced);
                    }
                }
            }
        }
    }
}

/// LZ4 frames in a row. The crate reads one, and takes a frame that ends too early for a whole one.
enum Lz4<R: Read> {
    Between(Watched<R>),
    Within(Box<FrameDecoder<Watched<R>>>),
    Ended,
}

impl<R: Read> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Ok(0),
                Self::Between(mut stored) => match stored.next_magic()? {
                    None => return Ok(0),
                    Some(LZ4_MAGIC) => {
                        stored.ahead = LZ4_MAGIC.as_slice();
                        *self = Self::Within(Box::new(FrameDecoder::new(stored)));
                    }
                    Some(magic) if is_skippable(magic) => {
                        stored.skip_frame()?;
                        *self = Self::Between(stored);
                    }
                    Some(_) => return Err(invalid("no frame begins where one has to")),
                },
                Self::Within(mut frame) => match frame.read(buffer) {
                    Ok(0) if frame.get_ref().came_short => {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Ok(0) => *self = Self::Between(frame.into_inner()),
                    Ok(read) => {
                        *self = Self::Within(frame);
                        return Ok(read);
                    }
                    Err(_) if frame.get_ref().came_short => {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A stream that remembers whether more was asked of it than it had.
struct Watched<R> {
    stored: BufReader<R>,
    /// Bytes that were looked at and come first.
    ahead: &'static [u8],
    came_short: bool,
}

impl<R: Read> Watched<R> {
    fn new(stored: R) -> Self {
        Self {
            stored: BufReader::with_capacity(1 << 16, stored),
            ahead: &[],
            came_short: false,
        }
    }

    /// The first four bytes of the next frame; nothing at the end.
    fn next_magic(&mut self) -> io::Result<Option<[u8; 4]>> {
        if self.stored.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut magic = [0; 4];
        self.stored.read_exact(&mut magic)?;
        Ok(Some(magic))
    }

    /// Skips the rest of a skippable frame, behind its magic number.
    fn skip_frame(&mut self) -> io::Result<()> {
        let mut length = [0; 4];
        self.stored.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        match io::copy(&mut (&mut self.stored).take(length), &mut io::sink())? {
            skipped if skipped == length => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.ahead {
            [] => self.stored.read(buffer)?,
            _ => self.ahead.read(buffer)?,
        };
        self.came_short |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}
