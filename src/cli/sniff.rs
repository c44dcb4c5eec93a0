//! `wirewatt sniff`: capture beside anything, live.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupt::interrupted_flag;
use super::live_view::LiveView;
use super::options::{ChartOptions, ProtocolOptions, ReportOptions, duration};
use super::{Outcome, tell, warn};
use crate::analysis::Completeness;
use crate::capture::{FileBytes, LiveOptions, MemoryBytes, Rotation};
use crate::experiment::sniffer::{Sniffer, SnifferOptions, Unproven};
use crate::report::{Report, Source, SourceKind};
use crate::units::Packets;

/// How long to wait for packets before looking at the clock.
const PUMP: Duration = Duration::from_millis(50);

/// Capture on an interface until Ctrl-C, and report
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt sniff                                   everything on lo until Ctrl-C
  wirewatt sniff --for 30s -w run.pcapng           and keep the packets
  wirewatt sniff -q -w lo.pcapng --rotate-size 100MB --keep 20
                                                   the last 2 GB, until Ctrl-C
  wirewatt sniff --protocol redis=6379:resp        beside a Redis server
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

    /// Go on in another file before one grows larger than this, as in 100MB or 64MiB. Each is a whole
    /// capture, named FILE_00001_20260102030405.pcapng by its number and its beginning in UTC;
    /// `analyze FILE_*.pcapng` reads them as one
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "record")]
    rotate_size: Option<FileBytes>,

    /// Go on in another file at the first packet that comes this long after a file's first, as in 60s,
    /// 1h
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "record")]
    rotate_every: Option<Duration>,

    /// Keep only the latest N files, and delete those before; the report counts what was in them
    #[arg(long, value_name = "N", requires = "record")]
    keep: Option<NonZeroU32>,

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
    charts: ChartOptions,

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
    let rotation = Rotation {
        size: args.rotate_size,
        every: args.rotate_every,
        keep: args.keep,
    };
    if rotation.keep.is_some() && (rotation.size, rotation.every) == (None, None) {
        return Err(
            "--keep N: N files of which size or time? Add --rotate-size or --rotate-every".into(),
        );
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
        rotation,
        plan,
        mtu: args.report.projection.mtu(),
        markers: !args.no_markers,
        messages: args.charts.need_messages(),
        most_packets: args.count.map(Packets::new),
    })?;
    if let Err(unproven @ (Unproven::CannotSend(_) | Unproven::NotSeen)) = sniffer.proof() {
        warn(&format_args!(
            "the capture cannot be proven complete: {unproven}"
        ));
    }
    args.charts.make_folder()?;
    tell(&format_args!(
        "capturing on {}, Ctrl-C ends it",
        args.interface
    ));

    let end = args.limit.map(|limit| Instant::now() + limit);
    let mut view = LiveView::new(args.quiet);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if interrupted.load(Ordering::Relaxed) || left == Some(Duration::ZERO) {
            break;
        }
        if !sniffer.pump(left.map_or(PUMP, |left| left.min(PUMP))) {
            break;
        }
        view.refresh(|| sniffer.live_totals());
    }
    view.clear();

    let sniffed = sniffer.finish();
    let analysis = sniffed.analysis;
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &sniffed.losses);
    let source = Source {
        kind: SourceKind::Live,
        interface: Some(sniffed.interface.name),
        files: sniffed
            .recorded
            .files
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        snaplen: Some(sniffed.interface.snaplen),
        link_types: vec![sniffed.interface.link_type],
        filter: sniffed.interface.filter,
        partial: !sniffed.problems.is_empty(),
        ..Source::default()
    };
    let mut report = Report::new(&analysis, completeness, source, None, &models);
    let words = std::env::args_os();
    report.command = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    args.report.print(&report)?;
    args.charts.write(&report, analysis.messages.as_ref())?;
    let removed = sniffed.recorded.removed;
    if removed.files > 0 {
        tell(&format_args!(
            "kept the last {} of {} files: {} packets of the report are in none of them",
            sniffed.recorded.files.len(),
            sniffed.recorded.files.len() as u64 + removed.files,
            removed.packets.get()
        ));
    }
    for problem in &sniffed.problems {
        warn(problem);
    }
    Ok(if sniffed.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

/// A file's size, as in `100MB`.
fn size(text: &str) -> Result<FileBytes, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" | "k" => 1_000,
        "MB" | "M" => 1_000_000,
        "GB" | "G" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let bytes = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes >= 1000)
        .map(FileBytes)
        .ok_or_else(|| "expected 1kB or more, as in 100MB, 64MiB or 1GB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("100MB", 100_000_000),
            ("64MiB", 64 << 20),
            ("1000", 1000),
            ("2 kB", 2000),
        ] {
            assert_eq!(size(text), Ok(FileBytes(bytes)), "{text}");
        }
        for text in ["", "MB", "-1MB", "999", "1TB", "1.5GB", "99999999999GB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
