//! A capture that grows while it is read: what another program is writing now.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::CapturedPacket;
use super::file::{CaptureFile, FileError, Header};

/// A growing capture: a file that is being written, a named pipe, or standard input.
///
/// A file is taken as it is under its name when it is opened: what its writer puts under that name
/// later, and files that it goes on with, are others.
pub struct Followed {
    state: State,
    stopped: Arc<AtomicBool>,
}

enum State {
    /// Its header has not come yet.
    Begun(Header),
    Open(Box<CaptureFile>),
}

impl Followed {
    /// Opens a growing capture. `-` is standard input.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let (name, file) = if path == Path::new("-") {
            let file = rustix::io::dup(io::stdin()).map(File::from);
            ("standard input".to_owned(), file.map_err(io::Error::from))
        } else {
            // Opening a named pipe would wait for its writer otherwise.
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(nonblocking)
                .open(path);
            (path.display().to_string(), file)
        };
        let file = file.map_err(|source| FileError::of_opening(&name, source))?;
        let metadata = file
            .metadata()
            .map_err(|source| FileError::of_opening(&name, source))?;
        if metadata.is_dir() {
            return Err(FileError::Directory { name });
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let growing = Growing {
            file,
            read: 0,
            is_regular: metadata.is_file(),
            stopped: Arc::clone(&stopped),
            left: None,
        };
        Ok(Self {
            state: State::Begun(Header::awaited(name, Box::new(growing))),
            stopped,
        })
    }

    /// Shows `visit` the packets that have come, some ten thousand a call. `false` at the end: a
    /// pipe's writer is gone, or the file was [stopped](Self::stop) or cannot be read further.
    ///
    /// # Errors
    ///
    /// [`FileError`] where it does not begin as a capture.
    pub fn read_chunk(&mut self, visit: impl FnMut(CapturedPacket<'_>)) -> Result<bool, FileError> {
        match &mut self.state {
            State::Open(file) => Ok(file.read_chunk(visit)),
            State::Begun(header) => {
                if let Some(file) = header.read()? {
                    self.state = State::Open(Box::new(file));
                }
                Ok(true)
            }
        }
    }

    /// Whether there was nothing more when it was last read.
    pub fn is_waiting(&self) -> bool {
        match &self.state {
            State::Begun(_) => true,
            State::Open(file) => file.is_waiting(),
        }
    }

    /// From now on, the end is behind what has been written until now.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// What was read; nothing where no header has come.
    pub fn into_file(self) -> Option<CaptureFile> {
        match self.state {
            State::Begun(_) => None,
            State::Open(file) => Some(*file),
        }
    }
}

/// What [`FileError::BegunAnew`] is made of.
#[derive(Debug, thiserror::Error)]
#[error("it is shorter than what was read of it")]
pub(super) struct Shrunk;

/// A reader that says [`io::ErrorKind::WouldBlock`] where there is nothing more yet.
struct Growing {
    file: File,
    /// Bytes so far.
    read: u64,
    is_regular: bool,
    stopped: Arc<AtomicBool>,
    /// Bytes that were there and not read yet when it was found to be stopped: a writer that is faster
    /// than this reader would keep it for ever.
    left: Option<u64>,
}

impl Growing {
    /// How many bytes may be read now.
    fn room(&mut self) -> io::Result<u64> {
        if self.left.is_none() && self.stopped.load(Ordering::Relaxed) {
            self.left = Some(match self.is_regular {
                true => self.file.metadata()?.len().saturating_sub(self.read),
                false => rustix::io::ioctl_fionread(&self.file)?,
            });
        }
        Ok(self.left.unwrap_or(u64::MAX))
    }
}

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.room()?.min(buffer.len() as u64) as usize;
        if room == 0 {
            return Ok(0);
        }
        if !self.is_regular && !is_ready(&self.file)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.file.read(&mut buffer[..room])?;
        self.read += read as u64;
        if let Some(left) = &mut self.left {
            *left -= read as u64;
        }
        if read == 0 && self.is_regular {
            if self.file.metadata()?.len() < self.read {
                return Err(io::Error::other(Shrunk));
            }
            if self.left.is_none() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(read)
    }
}

/// Whether a read returns at once, with bytes or with the end.
fn is_ready(file: &File) -> io::Result<bool> {
    let mut ready = [PollFd::new(file, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut ready, Some(&now)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
