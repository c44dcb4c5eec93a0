//! Totals while a capture goes on.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::tell;
use crate::analysis::LiveTotals;
use crate::report::text;

/// How often they are shown.
const REFRESH: Duration = Duration::from_millis(500);
/// The same where they are not refreshed in place.
const REFRESH_PLAIN: Duration = Duration::from_secs(2);

/// Live totals on standard error: refreshed in place on a terminal, plain lines elsewhere.
pub(super) struct LiveView {
    in_place: bool,
    quiet: bool,
    next: Instant,
    lines: usize,
    last: Vec<String>,
}

impl LiveView {
    /// Shows nothing where `quiet`.
    pub fn new(quiet: bool) -> Self {
        let in_place = io::stderr().is_terminal();
        Self {
            in_place,
            quiet,
            next: Instant::now() + REFRESH,
            lines: 0,
            last: Vec::new(),
        }
    }

    /// Shows the totals of now, where it is time to.
    pub fn refresh(&mut self, totals: impl FnOnce() -> Vec<LiveTotals>) {
        if self.quiet || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now()
            + if self.in_place {
                REFRESH
            } else {
                REFRESH_PLAIN
            };
        let mut lines = text::live_lines(&totals());
        if self.in_place {
            let size = rustix::termios::tcgetwinsize(io::stderr());
            let (columns, rows) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
            fit(&mut lines, columns.into(), rows.into());
        }
        if lines == self.last {
            return;
        }
        self.clear();
        for line in &lines {
            tell(line);
        }
        self.lines = lines.len();
        self.last = lines;
    }

    /// Takes the lines away where they are refreshed in place.
    pub fn clear(&mut self) {
        if self.in_place && self.lines > 0 {
            // To the margin, where the terminal has echoed ^C; up that many lines; erase to the end
            // of the screen (ECMA-48).
            let _ = write!(io::stderr(), "\r\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }
}

/// Cuts lines to what a terminal shows without wrapping or scrolling: the cursor's way back up is
/// counted in rows. A size of 0 is unknown.
fn fit(lines: &mut Vec<String>, columns: usize, rows: usize) {
    if rows > 1 {
        // The last row is the cursor's.
        lines.truncate(rows - 1);
    }
    for line in lines {
        if columns > 0
            && let Some((end, _)) = line.char_indices().nth(columns)
        {
            line.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fit;

    /// Totals that wrapped or scrolled were not wiped, and stood there twice.
    #[test]
    fn totals_are_cut_to_the_terminal() {
        let totals = || {
            ["long €€€ line", "short", "last"]
                .map(str::to_owned)
                .to_vec()
        };
        let fitted = |columns, rows| {
            let mut lines = totals();
            fit(&mut lines, columns, rows);
            lines
        };
        assert_eq!(fitted(0, 0), totals());
        assert_eq!(fitted(80, 24), totals());
        assert_eq!(fitted(6, 24), ["long €", "short", "last"]);
        assert_eq!(fitted(80, 3), ["long €€€ line", "short"]);
    }
}
