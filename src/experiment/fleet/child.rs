//! A node's process as the controller sees it: what it is told, line by line, what it says, and how it
//! ended.

use std::process::ExitStatus;
use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::algorithm::ProcessId;
use crate::node::control::{self, Reply};

/// How many bytes of a line of its standard error are kept.
const KEPT_STDERR_LINE: usize = 4 * 1024;
/// How long a line of the control protocol may be in bytes: counters of 65,535 channels fit.
const LONGEST_REPLY: usize = 16 * 1024 * 1024;

/// What a node's process gives the controller.
pub(super) enum Given {
    Said(Reply),
    Gibberish(String),
    Stderr(String),
    Ended(std::io::Result<ExitStatus>),
}

pub(super) async fn write_commands(mut stdin: ChildStdin, mut lines: UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Passes on what a child writes, and its end after all of that.
pub(super) async fn watch(
    mut child: Child,
    id: ProcessId,
    kill: Arc<Notify>,
    given: UnboundedSender<(ProcessId, Given)>,
) {
    let understood = |line: Line| match line.in_full() {
        Ok(text) => match control::from_line(&text) {
            Ok(reply) => Given::Said(reply),
            Err(error) => Given::Gibberish(error.to_string()),
        },
        Err(detail) => Given::Gibberish(detail),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let end = async {
        tokio::select! {
            status = child.wait() => status,
            () = kill.notified() => {
                child.start_kill()?;
                child.wait().await
            }
        }
    };
    let (status, (), ()) = tokio::join!(
        end,
        pass_on(stdout, LONGEST_REPLY, |line| {
            given.send((id, understood(line))).is_ok()
        }),
        pass_on(stderr, KEPT_STDERR_LINE, |line| {
            given
                .send((id, Given::Stderr(line.as_far_as_kept())))
                .is_ok()
        }),
    );
    let _ = given.send((id, Given::Ended(status)));
}

/// Passes on what a child writes to a stream, line by line, until its end.
async fn pass_on(
    stream: Option<impl AsyncRead + Unpin>,
    longest: usize,
    mut give: impl FnMut(Line) -> bool,
) {
    let Some(stream) = stream else { return };
    let mut stream = BufReader::new(stream);
    while let Ok(Some(line)) = Line::read(&mut stream, longest).await {
        if !give(line) {
            return;
        }
    }
}

/// A line as it was written, of which no more than so many bytes are kept.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// How long it was, without its newline.
    length: usize,
}

impl Line {
    async fn read(
        stream: &mut (impl AsyncBufRead + Unpin),
        longest: usize,
    ) -> std::io::Result<Option<Self>> {
        let mut line = Self::default();
        let mut begun = false;
        loop {
            let there = stream.fill_buf().await?;
            if there.is_empty() {
                return Ok(begun.then_some(line));
            }
            begun = true;
            let newline = there.iter().position(|&byte| byte == b'\n');
            let part = &there[..newline.unwrap_or(there.len())];
            let room = longest - line.bytes.len();
            line.bytes.extend_from_slice(&part[..part.len().min(room)]);
            line.length += part.len();
            let taken = part.len() + usize::from(newline.is_some());
            stream.consume(taken);
            if newline.is_some() {
                return Ok(Some(line));
            }
        }
    }

    /// The line, where all of it was kept and is UTF-8; what is wrong with it otherwise.
    fn in_full(self) -> Result<String, String> {
        let (kept, length) = (self.bytes.len(), self.length);
        if kept < length {
            return Err(format!("a line of {length} bytes; at most {kept} are read"));
        }
        String::from_utf8(self.bytes).map_err(|error| {
            let readable = String::from_utf8_lossy(error.as_bytes());
            let readable: String = readable.chars().take(200).collect();
            format!("'{readable}' is not UTF-8")
        })
    }

    /// What was kept of it, with U+FFFD for what is not UTF-8.
    fn as_far_as_kept(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.bytes.len() < self.length {
            text.push('…');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8], longest: usize) -> Vec<Line> {
        // A small buffer, so that lines cross its end.
        let mut stream = BufReader::with_capacity(3, text);
        let mut lines = Vec::new();
        while let Some(line) = Line::read(&mut stream, longest).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn a_line_that_is_no_utf8_or_too_long_does_not_end_the_reading() {
        let text = b"one\n\xff\xfetwo\n\nfour is long\nfive";
        let kept = lines(text, 6).await;
        let kept: Vec<String> = kept.iter().map(Line::as_far_as_kept).collect();
        assert_eq!(kept, ["one", "\u{fffd}\u{fffd}two", "", "four i…", "five"]);

        let in_full = lines(text, 6).await.into_iter().map(Line::in_full);
        let in_full: Vec<Result<String, String>> = in_full.collect();
        assert_eq!(in_full[0], Ok("one".to_owned()));
        assert_eq!(
            in_full[1],
            Err("'\u{fffd}\u{fffd}two' is not UTF-8".to_owned())
        );
        assert_eq!(
            in_full[3],
            Err("a line of 12 bytes; at most 6 are read".to_owned())
        );
        assert_eq!(in_full[4], Ok("five".to_owned()));
    }
}
