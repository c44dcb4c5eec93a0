//! A recording in several files: each a whole pcapng of its own, all together the capture.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    CapturedPacket, FileBytes, InterfaceDescription, InterfaceId, KernelCounters, Recorder,
    RecorderError,
};
use crate::units::{Packets, Timestamp};

/// Packets that are waited for one that is no earlier than all before it.
const PATIENCE: u32 = 10_000;

/// When a recording goes on in another file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Before a packet that would make the file larger than this.
    pub size: Option<FileBytes>,
    /// At the first packet that comes this long after the file's first.
    pub every: Option<Duration>,
    /// How many of the latest files to keep, the one that is being written among them.
    pub keep: Option<NonZeroU32>,
}

/// The path of the recording's file of this number, from 1 on, that begins at this time.
pub type FileName = Box<dyn Fn(u32, Timestamp) -> PathBuf + Send>;

/// A recording of one interface that [rotates](Rotation).
///
/// Files are begun with a packet that is no earlier than any before it: so the files, merged in time
/// order, show the packets in the order in which they came, though times may go back.
pub struct RotatingRecorder {
    rotation: Rotation,
    name: FileName,
    interface: InterfaceDescription,
    current: (Recorder, InterfaceId),
    /// What the kernel had counted when the current file was begun.
    counted: KernelCounters,
    first: Option<Timestamp>,
    latest: Timestamp,
    overdue: u32,
    begun: u32,
    /// Whole files that are kept, the oldest first, and how many packets are in each.
    kept: VecDeque<(PathBuf, Packets)>,
    removed: Removed,
    problem: Option<RecorderError>,
}

/// What was deleted to keep only the latest files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files.
    pub files: u64,
    /// The packets in them.
    pub packets: Packets,
}

impl fmt::Debug for RotatingRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotatingRecorder")
            .field("rotation", &self.rotation)
            .field("current", &self.current.0.path())
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

/// What is left of a recording that has ended.
#[derive(Debug, Default)]
pub struct Recording {
    /// Its files, in the order of their packets.
    pub files: Vec<PathBuf>,
    /// What is in none of them.
    pub removed: Removed,
}

impl RotatingRecorder {
    /// Begins the first file.
    ///
    /// # Errors
    ///
    /// As [`Recorder::create`].
    pub fn create(
        rotation: Rotation,
        interface: InterfaceDescription,
        name: FileName,
    ) -> Result<Self, RecorderError> {
        let current = begin(&name(1, super::recorder::now()), &interface)?;
        Ok(Self {
            rotation,
            name,
            interface,
            current,
            counted: KernelCounters::default(),
            first: None,
            latest: Timestamp::from_nanos(i64::MIN),
            overdue: 0,
            begun: 1,
            kept: VecDeque::new(),
            removed: Removed::default(),
            problem: None,
        })
    }

    /// Appends a packet, in another file where it is time for one. `counters` is asked then for what
    /// the kernel has counted since the recording began.
    ///
    /// # Errors
    ///
    /// As [`Recorder::write`] and [`Recorder::create`]: recording has ended then.
    pub fn write(
        &mut self,
        packet: &CapturedPacket<'_>,
        counters: impl FnOnce() -> KernelCounters,
    ) -> Result<(), RecorderError> {
        if self.is_due(packet) {
            self.rotate(packet.timestamp, counters())?;
        }
        self.first.get_or_insert(packet.timestamp);
        self.latest = self.latest.max(packet.timestamp);
        let (recorder, interface) = &mut self.current;
        recorder.write(*interface, packet)
    }

    fn is_due(&mut self, packet: &CapturedPacket<'_>) -> bool {
        let Some(first) = self.first else {
            return false;
        };
        let recorder = &self.current.0;
        let grown = recorder.length().0 + recorder.packet_length(packet).0;
        let age = packet.timestamp.as_nanos().saturating_sub(first.as_nanos());
        let too_large = self.rotation.size.is_some_and(|size| grown > size.0);
        let too_old = self
            .rotation
            .every
            .is_some_and(|every| age >= 0 && age as u128 >= every.as_nanos());
        if !too_large && !too_old {
            return false;
        }
        self.overdue += 1;
        packet.timestamp >= self.latest || self.overdue > PATIENCE
    }

    fn rotate(&mut self, time: Timestamp, counters: KernelCounters) -> Result<(), RecorderError> {
        self.begun += 1;
        let next = begin(&(self.name)(self.begun, time), &self.interface)?;
        let (recorder, interface) = std::mem::replace(&mut self.current, next);
        let counted = counters.since(&self.counted);
        self.kept
            .push_back((recorder.path().to_owned(), recorder.packets()));
        (self.counted, self.first, self.overdue) = (counters, None, 0);
        recorder.finish(&[(interface, counted)])?;
        let most = self
            .rotation
            .keep
            .map_or(usize::MAX, |keep| keep.get() as usize);
        while self.kept.len() + 1 > most
            && let Some((path, packets)) = self.kept.pop_front()
        {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    // The packets are more important: told at the end.
                    self.problem
                        .get_or_insert(RecorderError::Remove { path, source });
                }
                _ => {
                    self.removed.files += 1;
                    self.removed.packets += packets;
                }
            }
        }
        Ok(())
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    ///
    /// As [`Recorder::flush`].
    pub fn flush(&mut self) -> Result<(), RecorderError> {
        self.current.0.flush()
    }

    /// Ends the recording, and tells what is left of it, even after an error. `counters` is what the
    /// kernel has counted since the recording began.
    pub fn finish(mut self, counters: KernelCounters) -> (Recording, Option<RecorderError>) {
        let (recorder, interface) = self.current;
        let mut files: Vec<_> = self.kept.into_iter().map(|(path, _)| path).collect();
        files.push(recorder.path().to_owned());
        let counted = counters.since(&self.counted);
        if let Err(error) = recorder.finish(&[(interface, counted)]) {
            self.problem.get_or_insert(error);
        }
        let recording = Recording {
            files,
            removed: self.removed,
        };
        (recording, self.problem)
    }
}

fn begin(
    path: &std::path::Path,
    interface: &InterfaceDescription,
) -> Result<(Recorder, InterfaceId), RecorderError> {
    let mut recorder = Recorder::create(path)?;
    let interface = recorder.add_interface(interface)?;
    Ok((recorder, interface))
}
