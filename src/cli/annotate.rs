//! `wirewatt annotate`: a capture with what was seen in each packet written beside it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::analyze::progress_bar;
use super::interrupt::ReadingOn;
use super::options::ProtocolOptions;
use super::{Outcome, tell, warn};
use crate::analysis::{Analysis, Analyzer};
use crate::capture::{AnnotatedCopy, CaptureFile, Ending};
use crate::units::{Messages, Packets};

/// Copy a capture as pcapng with a comment on each packet: what WireWatt saw in it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt annotate wirewatt-runs/*/capture.pcapng -o annotated.pcapng
  wireshark annotated.pcapng                       (comments are in the packet list's details)
  wirewatt annotate --protocol redis=6379:resp redis.pcap.zst -o redis.pcapng
  tshark -r annotated.pcapng -Y 'frame.comment contains \"vote-yes\"' -T fields -e frame.comment")]
pub(super) struct AnnotateArgs {
    /// Capture: pcap or pcapng, compressed or not, `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where to write the copy; an existing file is never replaced
    #[arg(short, long, value_name = "OUT.pcapng")]
    output: PathBuf,

    #[command(flatten)]
    protocols: ProtocolOptions,
}

pub(super) fn run(args: &AnnotateArgs) -> Outcome {
    let output = args.output.display();
    if args.output.as_os_str() == "-" {
        return Err("-o -: a copy needs a file of its own".into());
    }
    if is_same_file(&args.file, &args.output) {
        return Err(
            format!("{output}: is the capture itself; name another file for the copy").into(),
        );
    }
    // What is there and is no file, such as a pipe, takes the copy.
    if args.output.is_file() {
        return Err(format!(
            "{output}: exists already, and nothing is replaced; remove it or choose another name with -o"
        )
        .into());
    }
    let plan = args.protocols.plan()?;
    let mut capture = CaptureFile::open(&args.file)?;
    let mut reading = ReadingOn::from(capture.size())?;
    let mut copy = AnnotatedCopy::create(&args.output, &capture)?;
    let mut analyzer = Analyzer::new(plan);
    let mut told = 0;
    let progress = progress_bar(capture.size().map(|size| size.0));
    loop {
        progress.set_position(capture.bytes_read().0);
        let Some(record) = capture.next_record().filter(|_| reading.goes_on()) else {
            break;
        };
        let comment = match &record.packet {
            None => String::new(),
            Some(packet) => {
                let observation = analyzer.observe(packet);
                told += observation.messages;
                format!("wirewatt: {observation}")
            }
        };
        copy.write(&record, &comment)?;
    }
    progress.finish_and_clear();
    let annotated = copy.finish()?;
    let analysis = analyzer.finish();
    let simple = annotated.without_comment;
    if simple > Packets::ZERO {
        tell(&format_args!(
            "{} simple packet blocks have no room for a comment and are copied as they are",
            simple.get()
        ));
    }
    let untold = messages(&analysis).get().saturating_sub(told);
    if untold > 0 {
        tell(&format_args!(
            "{untold} messages were complete only when their connection or the capture had ended: no \
             packet's comment tells of them"
        ));
    }
    tell(&format_args!(
        "{output}: {} packets, {}",
        annotated.packets.get(),
        annotated.length
    ));
    let name = capture.name().to_owned();
    match capture.into_ending() {
        None => {
            warn(&format_args!(
                "interrupted: {output} holds what was read of {name} before"
            ));
            Ok(ExitCode::from(2))
        }
        Some(Ending::Complete) => Ok(ExitCode::SUCCESS),
        Some(Ending::Failed(error)) => {
            warn(&error);
            Ok(ExitCode::from(2))
        }
        Some(cut) => {
            warn(&format_args!("{name}: {cut}"));
            Ok(ExitCode::from(2))
        }
    }
}

fn messages(analysis: &Analysis) -> Messages {
    analysis.protocols.iter().map(|row| row.messages).sum()
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
