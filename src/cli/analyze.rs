//! `wirewatt analyze`: the report on saved captures.

use std::io;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::options::{ProtocolOptions, ReportOptions};
use super::{Outcome, warn};
use crate::analysis::{Analyzer, Completeness, SourceLosses};
use crate::capture::{Ending, Merged};
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

    #[command(flatten)]
    protocols: ProtocolOptions,

    #[command(flatten)]
    report: ReportOptions,
}

pub(super) fn run(args: &AnalyzeArgs) -> Outcome {
    let plan = args.protocols.plan()?;
    let models = args.report.models()?;
    let mut capture = Merged::open(&args.files)?;
    let mut analyzer = Analyzer::new(plan);
    let progress = progress_bar(capture.size().map(|size| size.0));
    while capture.read_chunk(|packet| analyzer.packet(&packet)) {
        progress.set_position(capture.bytes_read().0);
    }
    progress.finish_and_clear();

    let analysis = analyzer.finish();
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
