//! `wirewatt analyze`: the report on saved captures.

use std::io;
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::options::{ProtocolOptions, ReportOptions};
use super::{Outcome, warn};
use crate::analysis::{self, Analyzer, ChunkSource, Completeness, SourceLosses};
use crate::capture::{CapturedPacket, Ending, Merged};
use crate::report::{Report, Source, SourceKind};
use crate::units::Packets;

/// Analyse saved captures: pcap, pcapng, gzipped or not, `-` for standard input
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt analyze capture.pcapng
  wirewatt analyze --protocol redis=6379:segment redis.pcap
  wirewatt analyze --protocols my-service.toml --json monday.pcap tuesday.pcap > report.json
  tcpdump -i lo -w - -c 1000 | wirewatt analyze -")]
pub(super) struct AnalyzeArgs {
    /// Captures; several are read as one in time order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// Threads; of themselves as many as there are processors, up to 4, for 64 MB and more. The
    /// report does not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroU16>,

    #[command(flatten)]
    protocols: ProtocolOptions,

    #[command(flatten)]
    report: ReportOptions,
}

/// Threads that are used without being asked for: more would wait for the one that reads.
const MOST_THREADS: u16 = 4;

/// Smaller captures are read before a second thread has begun to help.
const WORTH_THREADS: u64 = 64 << 20;

fn threads(text: &str) -> Result<NonZeroU16, String> {
    let number = text.parse().ok().filter(|n: &NonZeroU16| n.get() <= 64);
    number.ok_or_else(|| "expected a number from 1 to 64".to_owned())
}

fn threads_for(capture: &Merged) -> NonZeroU16 {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = u16::try_from(processors)
        .unwrap_or(MOST_THREADS)
        .min(MOST_THREADS);
    let large = capture.size().is_some_and(|size| size.0 >= WORTH_THREADS);
    NonZeroU16::new(threads)
        .filter(|_| large)
        .unwrap_or(NonZeroU16::MIN)
}

/// A capture that is being read, and how far.
struct Reading {
    capture: Merged,
    progress: ProgressBar,
}

impl Reading {
    fn show_progress(&self) {
        self.progress.set_position(self.capture.bytes_read().0);
    }
}

impl ChunkSource for &mut Reading {
    fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        place: impl FnMut(CapturedPacket<'_>, usize),
    ) -> bool {
        let goes_on = self.capture.take_chunk(chunk, place);
        self.show_progress();
        goes_on
    }
}

pub(super) fn run(args: &AnalyzeArgs) -> Outcome {
    let plan = args.protocols.plan()?;
    let models = args.report.models()?;
    let capture = Merged::open(&args.files)?;
    let progress = progress_bar(capture.size().map(|size| size.0));
    let threads = args.threads.unwrap_or_else(|| threads_for(&capture));
    let mut reading = Reading { capture, progress };
    let analysis = if threads == NonZeroU16::MIN {
        let mut analyzer = Analyzer::new(plan);
        while reading
            .capture
            .read_chunk(|packet| analyzer.packet(&packet))
        {
            reading.show_progress();
        }
        analyzer.finish()
    } else {
        let analyzer = || Analyzer::new(Arc::clone(&plan));
        analysis::analyze(&mut reading, threads, analyzer)
    };
    reading.progress.finish_and_clear();
    let capture = reading.capture;

    let mut losses = SourceLosses::default();
    let mut source = Source {
        kind: if args.files == ["-"] {
            SourceKind::Stdin
        } else {
            SourceKind::File
        },
        files: args.files.clone(),
        ..Source::default()
    };
    let (mut dropped, mut by_system) = (Packets::ZERO, Packets::ZERO);
    let (mut counted, mut counted_by_system) = (true, true);
    for file in capture.into_files() {
        let facts = file.facts();
        counted &= facts.counts_interface_drops;
        counted_by_system &= facts.counts_system_drops;
        dropped += facts.drops.total();
        by_system += facts.drops.system;
        source.link_types.extend(&facts.link_types);
        source.snaplen = source.snaplen.max(facts.snaplen);
        source.parts.extend(facts.part.clone());
        if facts.part_of_cut {
            losses.cut_short = true;
            let name = file.name();
            warn(&format_args!(
                "{name}: the capture that it is a part of was cut short"
            ));
        }
        for interface in &facts.interfaces {
            source.interface.get_or_insert_with(|| interface.clone());
        }
        let name = file.name().to_owned();
        match file.into_ending() {
            Some(Ending::Failed(error)) if analysis.packets == Packets::ZERO => {
                return Err(error.into());
            }
            Some(Ending::Failed(error)) => {
                losses.cut_short = true;
                warn(&error);
            }
            Some(cut @ Ending::Cut { .. }) => {
                losses.cut_short = true;
                warn(&format_args!("{name}: {cut}"));
            }
            Some(Ending::Complete) | None => {}
        }
    }
    source.link_types.sort_unstable();
    source.link_types.dedup();
    source.partial = losses.cut_short;
    // What statistics tell of is known, and none of it is a known none.
    losses.packets_dropped = (counted || dropped > Packets::ZERO).then_some(dropped);
    // What the system dropped is in that sum.
    let apart = by_system == Packets::ZERO;
    losses.softnet_dropped = (counted_by_system && apart).then_some(by_system);
    // As tcpdump and tshark do: what there is, and a code that says that there was more.
    let code = if losses.cut_short { 2 } else { 0 };
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
    let report = Report::new(&analysis, completeness, source, None, &models);
    args.report.print(&report)?;
    Ok(ExitCode::from(code))
}

/// Progress on standard error where that is a terminal, by bytes where their number is known.
pub(super) fn progress_bar(size: Option<u64>) -> ProgressBar {
    let bar = match size {
        Some(size) => ProgressBar::new(size),
        None => ProgressBar::new_spinner(),
    };
    let template = match size {
        Some(_) => "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    match ProgressStyle::with_template(template) {
        Ok(style) if io::IsTerminal::is_terminal(&io::stderr()) => bar.with_style(style),
        _ => ProgressBar::hidden(),
    }
}
