//! How far long work is, on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Does the work, and shows on a terminal how far it is, in a line that is gone when it is over.
/// `how_far` is given the time that has gone by.
pub(super) fn with_progress<T>(
    how_far: impl Fn(Duration) -> String + Send + 'static,
    work: impl FnOnce() -> T,
) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let (over, wait) = mpsc::channel::<()>();
    let shown = std::thread::spawn(move || {
        let begun = Instant::now();
        let mut shown = false;
        // Short work shows nothing.
        let mut patience = Duration::from_secs(2);
        while wait.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            // To the margin, and erase to the end of the line (ECMA-48).
            let line = format!("\r{}\x1b[K", how_far(begun.elapsed()));
            let _ = std::io::stderr().write_all(line.as_bytes());
            shown = true;
            patience = Duration::from_millis(500);
        }
        if shown {
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    });
    let result = work();
    drop(over);
    // It only writes, and ends at once.
    let _ = shown.join();
    result
}
