//! `wirewatt analyze`: the report on saved captures.

use std::error::Error;
use std::io;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::export::{format_of, warn_of_left_out};
use super::interrupt::{ReadingOn, interrupted_flag};
use super::live_view::LiveView;
use super::options::{
    ChartOptions, ProtocolOptions, ReportOptions, at_most, duration, first_parts,
};
use super::{Outcome, tell, warn};
use crate::analysis::{
    self, Analysis, Analyzer, ChunkSource, Completeness, ProtocolPlan, SourceLosses,
};
use crate::capture::{
    Blocks, CaptureFile, CapturedPacket, Ending, FileBytes, FileError, Followed, Merged, Part,
    raise_descriptor_limit,
};
use crate::report::export::{CaptureLog, export_connections, export_messages};
use crate::report::{Report, Source, SourceKind};
use crate::units::Packets;

/// How long to leave a capture alone that had nothing more.
const PAUSE: Duration = Duration::from_millis(50);

/// Analyse saved captures: pcap, pcapng, compressed or not, `-` for standard input
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt analyze capture.pcapng
  wirewatt analyze --protocol redis=6379:resp redis.pcap
  wirewatt analyze --charts pictures capture.pcapng
  wirewatt analyze --connections connections.csv capture.pcapng
  wirewatt analyze --mtu 9000 bulk.pcap               what jumbo frames would cost
  wirewatt analyze --protocols my-service.toml --json monday.pcap tuesday.pcap.zst > report.json
  tcpdump -i lo -w - -c 1000 | wirewatt analyze -
  tcpdump -i lo -U -w lo.pcap & wirewatt analyze --follow lo.pcap
  ssh host tcpdump -i eth0 -U -w - | wirewatt analyze --follow --for 1m -")]
pub(super) struct AnalyzeArgs {
    /// Captures; several are read as one in time order. What is compressed with gzip, zstd, xz or LZ4
    /// is recognised
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// Threads; of themselves as many as there are processors, up to 4, for 64 MB and more. The
    /// report does not depend on it, but where it says that fragments were given up: each thread has
    /// room of its own for them
    #[arg(long, value_name = "N", value_parser = |text: &str| at_most(64, text), conflicts_with = "follow")]
    threads: Option<NonZeroU16>,

    /// Go on reading one FILE, pipe or standard input while another program writes it, with live
    /// totals, and report on Ctrl-C
    #[arg(long)]
    follow: bool,

    /// Stop following after this time, as in 30s, 500ms, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "follow")]
    limit: Option<Duration>,

    /// No live totals
    #[arg(short, long, requires = "follow")]
    quiet: bool,

    /// Write a row a connection, with what it carried each way, into this new .csv, .json or .parquet
    /// file (docs/exports.md). One thread reads then
    #[arg(long, value_name = "FILE")]
    connections: Option<PathBuf>,

    /// The same of messages that name themselves: those of WireWatt's own nodes
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,

    #[command(flatten)]
    protocols: ProtocolOptions,

    #[command(flatten)]
    charts: ChartOptions,

    #[command(flatten)]
    report: ReportOptions,
}

impl AnalyzeArgs {
    fn analyzer(&self, plan: &Arc<ProtocolPlan>) -> Analyzer {
        let analyzer =
            Analyzer::new(Arc::clone(plan)).projecting_onto(self.report.projection.mtu());
        let analyzer = match self.need_messages() {
            true => analyzer.keeping_messages(),
            false => analyzer,
        };
        match self.connections.is_some() {
            true => analyzer.keeping_connections(),
            false => analyzer,
        }
    }

    fn need_messages(&self) -> bool {
        self.messages.is_some() || self.charts.need_messages()
    }

    /// Refuses, before anything is read, files of rows that cannot be written.
    fn check_tables(&self) -> Result<(), String> {
        for path in [&self.connections, &self.messages].into_iter().flatten() {
            format_of(path)?;
            if path.exists() {
                let path = path.display();
                return Err(format!("{path} is there already: choose another file"));
            }
        }
        Ok(())
    }

    /// Writes the files of rows.
    fn write_tables(&self, analysis: &mut Analysis) -> Result<(), Box<dyn Error>> {
        let log = CaptureLog {
            report: self.files.join(" "),
            messages: analysis.messages.take().unwrap_or_default(),
            connections: analysis.connections.take().unwrap_or_default(),
        };
        let logs = [log];
        if let Some(path) = &self.messages {
            export_messages(&logs, format_of(path)?, path)?;
        }
        if let Some(path) = &self.connections {
            export_connections(&logs, format_of(path)?, path)?;
        }
        let [log] = &logs;
        if self.messages.is_some() || self.connections.is_some() {
            warn_of_left_out(&log.report, &log.messages, &log.connections);
        }
        Ok(())
    }
}

/// Threads that are used without being asked for: others may want the rest.
const MOST_THREADS: u16 = 4;

/// Smaller captures are read before a second thread has begun to help.
const WORTH_THREADS: u64 = 64 << 20;

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
    on: ReadingOn,
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
        place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool {
        let goes_on = self.on.goes_on() && self.capture.take_chunk(chunk, place);
        self.show_progress();
        goes_on
    }

    fn blocks(&mut self) -> Option<Blocks> {
        self.capture.blocks()
    }

    fn has_come_to(&mut self, offset: FileBytes) -> bool {
        self.capture.has_come_to(offset);
        self.show_progress();
        self.on.goes_on()
    }

    fn go_on_at(&mut self, offset: FileBytes) {
        self.capture.go_on_at(offset);
    }
}

pub(super) fn run(args: &AnalyzeArgs) -> Outcome {
    raise_descriptor_limit();
    args.check_tables()?;
    let plan = args.protocols.plan()?;
    let models = args.report.models()?;
    let (mut analysis, files, stopped) = match args.follow {
        true => follow(args, plan)?,
        false => {
            let (analysis, files) = read(args, plan)?;
            (analysis, files, false)
        }
    };

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
    let firsts = first_parts(&files);
    for file in files {
        let facts = file.facts();
        let elsewhere = |part: &Part| part.leaves_drops_to(&firsts);
        let elsewhere = facts.part.as_ref().is_some_and(elsewhere);
        counted &= facts.counts_interface_drops || elsewhere;
        counted_by_system &= facts.counts_system_drops || elsewhere;
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
            Some(Ending::Cut { offset, .. }) if stopped => tell(&format_args!(
                "{name}: the record at offset {offset} was not written to its end yet, and is not in \
                 the counts"
            )),
            Some(cut @ Ending::Cut { .. }) => {
                losses.cut_short = true;
                warn(&format_args!("{name}: {cut}"));
            }
            None => {
                losses.cut_short = true;
                warn(&format_args!(
                    "interrupted: what was read of {name} before is all that counts"
                ));
            }
            Some(Ending::Complete) => {}
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
    args.charts.write(&report, analysis.messages.as_ref())?;
    args.write_tables(&mut analysis)?;
    Ok(ExitCode::from(code))
}

/// Counts what is in the files.
fn read(
    args: &AnalyzeArgs,
    plan: Arc<ProtocolPlan>,
) -> Result<(Analysis, Vec<CaptureFile>), Box<dyn std::error::Error>> {
    let capture = Merged::open(&args.files)?;
    args.charts.make_folder()?;
    let progress = progress_bar(capture.size().map(|size| size.0));
    // Parts analysed beside each other keep neither messages nor connections.
    let threads = match args.need_messages() || args.connections.is_some() {
        true => NonZeroU16::MIN,
        false => args.threads.unwrap_or_else(|| threads_for(&capture)),
    };
    let on = ReadingOn::from(capture.size())?;
    let mut reading = Reading {
        capture,
        progress,
        on,
    };
    let analysis = if threads == NonZeroU16::MIN {
        let mut analyzer = args.analyzer(&plan);
        while reading.on.goes_on() && analysis::count_chunk(&mut reading.capture, &mut analyzer) {
            reading.show_progress();
        }
        analyzer.finish()
    } else {
        analysis::analyze(&mut reading, threads, || args.analyzer(&plan))
    };
    reading.progress.finish_and_clear();
    Ok((analysis, reading.capture.into_files()))
}

/// Counts what comes into a file until its end is wanted; whether it was, and the file had none of
/// its own.
fn follow(
    args: &AnalyzeArgs,
    plan: Arc<ProtocolPlan>,
) -> Result<(Analysis, Vec<CaptureFile>, bool), Box<dyn std::error::Error>> {
    let [path] = args.files.as_slice() else {
        return Err("--follow takes one capture: several that grow have no order in time".into());
    };
    let interrupted = interrupted_flag()?;
    let end = args.limit.map(|limit| Instant::now() + limit);
    let is_over =
        || interrupted.load(Ordering::Relaxed) || end.is_some_and(|end| end <= Instant::now());
    let mut is_awaited = false;
    let mut capture = loop {
        match Followed::open(path) {
            // Its writer may start later.
            Err(FileError::Missing { .. }) if !is_over() => {
                if !std::mem::replace(&mut is_awaited, true) {
                    tell(&format_args!("waiting for {path}, Ctrl-C ends it"));
                }
                thread::sleep(PAUSE);
            }
            opened => break opened?,
        }
    };
    args.charts.make_folder()?;
    tell(&format_args!("following {path}, Ctrl-C ends it"));
    let mut analyzer = args.analyzer(&plan);
    let mut view = LiveView::new(args.quiet);
    let mut stopped = false;
    loop {
        if !stopped && is_over() {
            stopped = true;
            capture.stop();
        }
        if !capture.read_chunk(|packet| analyzer.packet(&packet))? {
            break;
        }
        if capture.is_waiting() && !stopped {
            thread::sleep(PAUSE);
        }
        view.refresh(|| analyzer.live_totals());
    }
    view.clear();
    let files = capture.into_file().into_iter().collect();
    Ok((analyzer.finish(), files, stopped))
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
