//! `wirewatt split`: a capture becomes several, and no connection is divided.

use std::error::Error;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::analyze::progress_bar;
use super::interrupt::ReadingOn;
use super::options::{at_most, first_parts};
use super::{Outcome, print, warn};
use crate::analysis::Sharder;
use crate::capture::{
    CapturedPacket, Ending, FileFacts, InterfaceDescription, InterfaceId, Merged, Part, Recorder,
    RecorderError, raise_descriptor_limit,
};
use crate::units::{LinkType, Packets, Timestamp};

/// Cut captures into parts of which each can be analysed by itself, to be added up by `merge`
///
/// All packets of a connection go into one part, in their order, with their times to the nanosecond
/// and their lengths. What the capture tells of its own losses goes into the first part. Parts appear
/// under their names once all are whole; existing files are never replaced.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt split --by-connection -p 4 capture.pcapng
  wirewatt split --by-connection -p 16 -o parts/ monday.pcap.gz tuesday.pcap
  tcpdump -i eth0 -w - -c 1000000 | wirewatt split --by-connection -p 2 -o live -")]
pub(super) struct SplitArgs {
    /// Captures; several are read as one in time order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// Keep connections whole: what is neither TCP nor UDP goes by its two addresses
    #[arg(long, required = true)]
    by_connection: bool,

    /// How many parts
    #[arg(short, long, value_name = "P", value_parser = |text: &str| at_most(u16::MAX, text))]
    parts: NonZeroU16,

    /// Begin the parts' names with this, or put them into this directory: PREFIX.1-of-4.pcapng
    /// [default: the first capture's name, in the current directory]
    #[arg(short, long, value_name = "PREFIX")]
    output: Option<String>,
}

pub(super) fn run(args: &SplitArgs) -> Outcome {
    raise_descriptor_limit();
    let mut capture = Merged::open(&args.files)?;
    let names = names(args)?;
    let mut reading = ReadingOn::from(capture.size())?;
    let mut parts = Parts::create(&names)?;
    let mut sharder = Sharder::new(args.parts);
    capture.begin();
    for file in capture.files() {
        parts.describe(file.facts())?;
    }
    let mut outcome = Ok(());
    let progress = progress_bar(capture.size().map(|size| size.0));
    while outcome.is_ok()
        && reading.goes_on()
        && capture.read_chunk_with_facts(|packet, facts| {
            if outcome.is_ok() {
                let interface = parts.interface(packet.link_type, facts);
                outcome = match (interface, sharder.part_of(&packet)) {
                    (Err(error), _) => Err(error.into()),
                    (Ok(interface), Some(part)) => parts.write(part, interface, &packet),
                    (Ok(_), None) => parts.write_due(&mut sharder),
                };
            }
        })
    {
        progress.set_position(capture.bytes_read().0);
    }
    progress.finish_and_clear();
    outcome?;
    sharder.end();
    parts.write_due(&mut sharder)?;

    let packets = parts.packets();
    let mut losses = Losses::default();
    let files = capture.into_files();
    let firsts = first_parts(&files);
    for file in files {
        losses.add(file.facts(), &firsts);
        parts.describe(file.facts())?;
        let name = file.name().to_owned();
        match file.into_ending() {
            Some(Ending::Failed(error)) if packets == Packets::ZERO => return Err(error.into()),
            Some(Ending::Failed(error)) => {
                losses.cut_short = true;
                warn(&error);
            }
            Some(cut @ Ending::Cut { .. }) => {
                losses.cut_short = true;
                warn(&format_args!("{name}: {cut}"));
            }
            None => {
                losses.cut_short = true;
                warn(&format_args!(
                    "interrupted: the parts hold what was read of {name} before"
                ));
            }
            Some(Ending::Complete) => {}
        }
    }
    parts.finish(&losses)?;
    let lines = names.iter().map(|name| format!("{}\n", name.display()));
    print(&lines.collect::<String>())?;
    Ok(ExitCode::from(if losses.cut_short { 2 } else { 0 }))
}

/// The parts' paths, none of which exists.
fn names(args: &SplitArgs) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let first = match args.files.first().map(String::as_str) {
        None | Some("-") => "stdin".to_owned(),
        Some(path) => stem(Path::new(path)),
    };
    let prefix = match &args.output {
        None => first,
        Some(output) if output.ends_with('/') || Path::new(output).is_dir() => {
            fs::create_dir_all(output)
                .map_err(|error| format!("{output}: cannot be made: {error}"))?;
            format!("{}/{first}", output.trim_end_matches('/'))
        }
        Some(output) => output.clone(),
    };
    let of = args.parts.get();
    let digits = of.to_string().len();
    let name = |number| format!("{prefix}.{number:0digits$}-of-{of}.pcapng");
    let names: Vec<PathBuf> = (1..=of).map(|number| name(number).into()).collect();
    let paths = names
        .iter()
        .flat_map(|name| [name.clone(), unfinished(name)]);
    match paths.into_iter().find(|path| path.exists()) {
        Some(there) => Err(format!(
            "{}: exists already, and nothing is replaced; remove it or choose other names with -o",
            there.display()
        )
        .into()),
        None => Ok(names),
    }
}

/// A capture's name without what tells its format and compression.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut name: &str = &name;
    for endings in [
        &[".gz", ".zst", ".xz", ".lz4"][..],
        &[".pcapng", ".pcap", ".cap", ".ntar"],
    ] {
        let shorter = endings.iter().find_map(|ending| name.strip_suffix(ending));
        name = shorter.filter(|name| !name.is_empty()).unwrap_or(name);
    }
    name.to_owned()
}

/// The parts being written, under other names until all are whole: parts of a part would add up to a
/// wrong number.
struct Parts<'a> {
    names: &'a [PathBuf],
    recorders: Vec<Recorder>,
    /// The interfaces described in every part.
    interfaces: Vec<(InterfaceDescription, InterfaceId)>,
    last: Timestamp,
    /// How many have come into being under their unfinished names, and then under their own.
    created: usize,
    named: usize,
}

impl<'a> Parts<'a> {
    fn create(names: &'a [PathBuf]) -> Result<Self, Box<dyn Error>> {
        /// All parts together gather so many bytes before they are written.
        const GATHERED: usize = 32 << 20;
        const LEAST: usize = 4 << 10;
        let mut parts = Self {
            names,
            recorders: Vec::new(),
            interfaces: Vec::new(),
            last: Timestamp::default(),
            created: 0,
            named: 0,
        };
        let set = format!("{:016x}", RandomState::new().hash_one(names));
        let buffer = (GATHERED / names.len().max(1)).max(LEAST);
        for (i, name) in names.iter().enumerate() {
            let part = Part {
                set: set.clone(),
                number: i as u16 + 1,
                of: names.len() as u16,
            };
            let recorder = Recorder::create_part(unfinished(name), &part, buffer);
            parts.recorders.push(recorder.map_err(|error| {
                let system = match &error {
                    RecorderError::Create { source, .. } => source.raw_os_error(),
                    _ => None,
                };
                let too_many = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
                let too_many = too_many.map(|errno| Some(errno.raw_os_error()));
                match too_many.contains(&system) {
                    true => format!(
                        "{} parts are more files than may be open at once ({i} could be opened): \
                         take fewer, or raise the limit with `ulimit -n`",
                        names.len()
                    ),
                    false => error.to_string(),
                }
            })?);
            parts.created += 1;
        }
        Ok(parts)
    }

    fn write(
        &mut self,
        part: u16,
        interface: InterfaceId,
        packet: &CapturedPacket<'_>,
    ) -> Result<(), Box<dyn Error>> {
        if packet.timestamp < Timestamp::default() {
            return Err("a packet's time is before 1970, which a part cannot hold".into());
        }
        self.last = self.last.max(packet.timestamp);
        self.recorders[usize::from(part)].write(interface, packet)?;
        Ok(())
    }

    /// Writes fragments whose parts are known by now. Their interfaces have been described when they
    /// came.
    fn write_due(&mut self, sharder: &mut Sharder) -> Result<(), Box<dyn Error>> {
        for (part, kept) in sharder.due() {
            let packet = kept.packet();
            let is_it = |(known, _): &&(InterfaceDescription, InterfaceId)| {
                known.link_type == packet.link_type
            };
            if let Some((_, interface)) = self.interfaces.iter().find(is_it) {
                self.write(part, *interface, &packet)?;
            }
        }
        Ok(())
    }

    /// Describes all that a file has told of its interfaces so far.
    fn describe(&mut self, facts: &FileFacts) -> Result<(), RecorderError> {
        for link_type in &facts.link_types {
            self.interface(*link_type, facts)?;
        }
        Ok(())
    }

    /// The interface of packets of this link type.
    fn interface(
        &mut self,
        link_type: LinkType,
        facts: &FileFacts,
    ) -> Result<InterfaceId, RecorderError> {
        let name = facts.interfaces.first().map_or("", String::as_str);
        let snaplen = facts.snaplen.unwrap_or_default();
        let is_it = |(known, _): &&(InterfaceDescription, InterfaceId)| {
            known.link_type == link_type && known.snaplen == snaplen && known.name == name
        };
        if let Some((_, id)) = self.interfaces.iter().find(is_it) {
            return Ok(*id);
        }
        let description = InterfaceDescription {
            name: name.to_owned(),
            link_type,
            snaplen,
            filter: None,
        };
        // All parts have the same: what a report says of its source does not depend on the part.
        let mut id = InterfaceId::default();
        for recorder in &mut self.recorders {
            id = recorder.add_interface(&description)?;
        }
        self.interfaces.push((description, id));
        Ok(id)
    }

    fn packets(&self) -> Packets {
        self.recorders.iter().map(Recorder::packets).sum()
    }

    fn finish(&mut self, losses: &Losses) -> Result<(), Box<dyn Error>> {
        let mut dropped = losses.dropped();
        let mut by_system = losses.by_system();
        let mut cut_short = losses.cut_short;
        if let Some(first) = self.recorders.first_mut() {
            for (_, interface) in &self.interfaces {
                first.losses(*interface, self.last, dropped, by_system, cut_short);
                // What all interfaces dropped together stands at one of them.
                dropped = dropped.filter(|_| losses.counted).map(|_| Packets::ZERO);
                by_system = by_system
                    .filter(|_| losses.counted_by_system)
                    .map(|_| Packets::ZERO);
                cut_short = false;
            }
        }
        for recorder in self.recorders.drain(..) {
            recorder.finish(&[])?;
        }
        for name in self.names {
            if name.exists() {
                return Err(format!("{}: has come into being meanwhile", name.display()).into());
            }
            fs::rename(unfinished(name), name)
                .map_err(|error| format!("{}: cannot be named so: {error}", name.display()))?;
            self.named += 1;
        }
        Ok(())
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        if self.named == self.names.len() {
            return;
        }
        self.recorders.clear();
        let named = self.names[..self.named].iter().cloned();
        let unnamed = self.names[self.named..self.created].iter();
        for path in named.chain(unnamed.map(|name| unfinished(name))) {
            // What cannot be removed is not a whole set of parts, and `merge` says so.
            let _ = fs::remove_file(path);
        }
    }
}

/// What a part is called until all are whole.
fn unfinished(name: &Path) -> PathBuf {
    let mut name = name.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

/// What the captures tell of their own losses, as `analyze` would understand it.
struct Losses {
    total: Packets,
    system: Packets,
    counted: bool,
    counted_by_system: bool,
    cut_short: bool,
}

impl Default for Losses {
    fn default() -> Self {
        Self {
            total: Packets::ZERO,
            system: Packets::ZERO,
            counted: true,
            counted_by_system: true,
            cut_short: false,
        }
    }
}

impl Losses {
    fn add(&mut self, facts: &FileFacts, firsts: &[Part]) {
        let elsewhere = |part: &Part| part.leaves_drops_to(firsts);
        let elsewhere = facts.part.as_ref().is_some_and(elsewhere);
        self.total += facts.drops.total();
        self.system += facts.drops.system;
        self.counted &= facts.counts_interface_drops || elsewhere;
        self.counted_by_system &= facts.counts_system_drops || elsewhere;
        self.cut_short |= facts.part_of_cut;
    }

    /// Drops of the interfaces: the rest of the sum.
    fn dropped(&self) -> Option<Packets> {
        let rest = Packets::new(self.total.get().saturating_sub(self.system.get()));
        (self.counted || rest > Packets::ZERO).then_some(rest)
    }

    fn by_system(&self) -> Option<Packets> {
        (self.counted_by_system || self.system > Packets::ZERO).then_some(self.system)
    }
}
