//! `wirewatt sniff`: capture beside anything, live.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupt::interrupted_flag;
use super::live_view::LiveView;
use super::options::{ProtocolOptions, ReportOptions, duration};
use super::{Outcome, tell, warn};
use crate::analysis::Completeness;
use crate::capture::{LiveOptions, MemoryBytes};
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
