//! `wirewatt sniff`: capture beside anything, live.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupt::interrupted_flag;
use super::options::{ProtocolOptions, ReportOptions, duration};
use super::{Outcome, tell, warn};
use crate::analysis::Completeness;
use crate::capture::{LiveOptions, MemoryBytes};
use crate::experiment::sniffer::{Sniffer, SnifferOptions, Unproven};
use crate::report::{Report, Source, SourceKind, text};
use crate::units::Packets;

/// How often live totals are shown.
const REFRESH: Duration = Duration::from_millis(500);
/// The same where they are not refreshed in place.
const REFRESH_PLAIN: Duration = Duration::from_secs(2);
/// How long to wait for packets before looking at the clock.
const PUMP: Duration = Duration::from_millis(50);

/// Capture on an interface until Ctrl-C, and report
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt sniff                                   everything on lo until Ctrl-C
  wirewatt sniff --for 30s -w run.pcapng           and keep the packets
  wirewatt sniff --protocol redis=6379:turn        beside a Redis server
  wirewatt sniff --protocols my-service.toml --json --for 1m > report.json
  wirewatt sniff -i eth0 --count 10000")]
pub(super) struct SniffArgs {
    /// Interface to capture on
    #[arg(short, long, default_value = "lo")]
    interface: String,

    /// Stop after this time, as in 30s, 500ms, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    limit: Option<Duration>,

    /// Stop after this many packets; WireWatt's own markers are not among them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Record the packets to a pcapng file
    #[arg(short = 'w', long = "write", value_name = "FILE.pcapng")]
    record: Option<PathBuf>,

    /// Keep at most this many bytes of a packet; lengths are counted in full all the same
    #[arg(long, value_name = "BYTES", default_value_t = LiveOptions::default().snaplen)]
    snaplen: u32,

    /// Kernel filter in libpcap's language. What it keeps out is in no count: by default there is
    /// none
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,

    /// The kernel's buffer in MiB
    #[arg(long, value_name = "MIB")]
    buffer: Option<u64>,

    /// Do not send the marker datagrams that prove a loopback capture complete
    #[arg(long)]
    no_markers: bool,

    /// No live totals
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    protocols: ProtocolOptions,

    #[command(flatten)]
    report: ReportOptions,
}

pub(super) fn run(args: &SniffArgs) -> Outcome {
    if args
        .record
        .as_deref()
        .is_some_and(|path| path.as_os_str() == "-")
    {
        let problem = "-w -: a recording needs a file, since the report goes to standard output";
        return Err(problem.into());
    }
    let plan = args.protocols.plan()?;
    let models = args.report.models()?;
    let interrupted = interrupted_flag()?;
    let mut sniffer = Sniffer::open(SnifferOptions {
        live: LiveOptions {
            interface: args.interface.clone(),
            snaplen: args.snaplen,
            filter: args.filter.clone(),
            ring: args.buffer.map(MemoryBytes::mebibytes),
            ..LiveOptions::default()
        },
        record: args.record.clone(),
        plan,
        markers: !args.no_markers,
        messages: false,
        most_packets: args.count.map(Packets::new),
    })?;
    if let Err(unproven @ (Unproven::CannotSend(_) | Unproven::NotSeen)) = sniffer.proof() {
        warn(&format_args!(
            "the capture cannot be proven complete: {unproven}"
        ));
    }
    tell(&format_args!(
        "capturing on {}, Ctrl-C ends it",
        args.interface
    ));

    let end = args.limit.map(|limit| Instant::now() + limit);
    let mut view = View::new(args.quiet);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if interrupted.load(Ordering::Relaxed) || left == Some(Duration::ZERO) {
            break;
        }
        if !sniffer.pump(left.map_or(PUMP, |left| left.min(PUMP))) {
            break;
        }
        view.refresh(&sniffer);
    }
    view.clear();

    let sniffed = sniffer.finish();
    let analysis = sniffed.analysis;
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &sniffed.losses);
    let source = Source {
        kind: SourceKind::Live,
        interface: Some(sniffed.interface.name),
        files: args
            .record
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        snaplen: Some(sniffed.interface.snaplen),
        link_types: vec![sniffed.interface.link_type],
        filter: sniffed.interface.filter,
        partial: !sniffed.problems.is_empty(),
        ..Source::default()
    };
    let report = Report::new(&analysis, completeness, source, None, &models);
    args.report.print(&report)?;
    for problem in &sniffed.problems {
        warn(problem);
    }
    Ok(if sniffed.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

/// Live totals on standard error: refreshed in place on a terminal, plain lines elsewhere.
struct View {
    in_place: bool,
    quiet: bool,
    next: Instant,
    lines: usize,
    last: Vec<String>,
}

impl View {
    fn new(quiet: bool) -> Self {
        let in_place = io::stderr().is_terminal();
        Self {
            in_place,
            quiet,
            next: Instant::now() + REFRESH,
            lines: 0,
            last: Vec::new(),
        }
    }

    fn refresh(&mut self, sniffer: &Sniffer) {
        if self.quiet || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now()
            + if self.in_place {
                REFRESH
            } else {
                REFRESH_PLAIN
            };
        let mut lines = text::live_lines(&sniffer.live_totals());
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
    fn clear(&mut self) {
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
