//! Ctrl-C: the first asks for an orderly end, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::capture::FileBytes;

/// A flag that SIGINT, SIGTERM or SIGHUP sets. A second one ends the program with exit code 2.
pub(super) fn interrupted_flag() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset.
        flag::register_conditional_shutdown(signal, 2, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// Whether captures that are read are to be read on.
pub(super) struct ReadingOn {
    interrupted: Arc<AtomicBool>,
    grace: Duration,
    since: Option<Instant>,
}

impl ReadingOn {
    /// From captures of this size, which is known unless one is a pipe. What fills a pipe gets the same
    /// Ctrl-C, and a moment to end it: what it wrote last is not lost.
    pub(super) fn from(size: Option<FileBytes>) -> io::Result<Self> {
        Ok(Self {
            interrupted: interrupted_flag()?,
            grace: match size {
                Some(_) => Duration::ZERO,
                None => Duration::from_secs(1),
            },
            since: None,
        })
    }

    /// To be asked between packets, not of each.
    pub(super) fn goes_on(&mut self) -> bool {
        !self.interrupted.load(Ordering::Relaxed)
            || self.since.get_or_insert_with(Instant::now).elapsed() < self.grace
    }
}
