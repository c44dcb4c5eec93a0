//! A live capture at work: packets recorded and counted as they come, between markers that prove
//! that none was missed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::marker::{self, Beacon};
use crate::analysis::{Analysis, Analyzer, LiveTotals, ProtocolPlan, SourceLosses};
use crate::capture::{
    CaptureError, FileName, InterfaceDescription, KernelCounters, LiveCapture, LiveOptions,
    Reading, RecorderError, Recording, RotatingRecorder, Rotation, RunningCapture,
};
use crate::flow::TransportKind;
use crate::message::Purpose;
use crate::protocols::MARKER_PORTS;
use crate::report::compact_time;
use crate::units::{Mtu, Packets, Timestamp};

/// How long markers may take to be seen in the capture.
const MARKER_LIMIT: Duration = Duration::from_secs(5);
/// Markers that have not been seen by then are sent again.
const MARKER_PERIOD: Duration = Duration::from_millis(200);
/// How long to wait for packets before looking at the time.
const PUMP: Duration = Duration::from_millis(20);

/// What to capture and where to keep it.
#[derive(Debug)]
pub struct SnifferOptions {
    /// The interface and its buffers.
    pub live: LiveOptions,
    /// The file to record to.
    pub record: Option<PathBuf>,
    /// When to go on in another file: its name then has a number and a time.
    pub rotation: Rotation,
    /// The protocols to count.
    pub plan: Arc<ProtocolPlan>,
    /// What packets are projected onto.
    pub mtu: Mtu,
    /// Whether to send markers, where the capture can show them: it has to see the loopback
    /// interface without a filter.
    pub markers: bool,
    /// Whether to keep the messages of our own nodes one by one, for an audit.
    pub messages: bool,
    /// Stop after this many packets, markers not counted.
    pub most_packets: Option<Packets>,
}

/// Why a sniffer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SnifferError {
    /// The recording cannot be made.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// The capture cannot be made.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// Why markers have not proven a capture to be live.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// None were sent: they were not wanted, or the capture could not have shown them.
    #[error("no marker datagrams were sent")]
    NotSent,
    /// None could be sent.
    #[error(
        "no marker datagram can be sent from ports {first}-{last}: {0}; each WireWatt that captures \
         on lo needs one of these ports",
        first = MARKER_PORTS.start(),
        last = MARKER_PORTS.end()
    )]
    CannotSend(io::Error),
    /// None came back.
    #[error(
        "no marker datagram came back from lo within {MARKER_LIMIT:?}: is lo up (`ip link set lo \
         up`), and does a firewall drop UDP to ports {first}-{last}?",
        first = MARKER_PORTS.start(),
        last = MARKER_PORTS.end()
    )]
    NotSeen,
}

/// A capture that is being recorded and counted.
pub struct Sniffer {
    capture: RunningCapture,
    recording: Option<RotatingRecorder>,
    /// What is left of a recording that has ended.
    recorded: Recording,
    analyzer: Analyzer,
    beacon: Result<Beacon, Unproven>,
    /// From before the first packet that is counted: a drop ever after is one too many.
    baseline: KernelCounters,
    most_packets: Option<Packets>,
    ended: bool,
    problems: Vec<SnifferError>,
}

/// What a sniffer has brought.
#[derive(Debug)]
pub struct Sniffed {
    /// What was counted.
    pub analysis: Analysis,
    /// What the capture knows of its own losses.
    pub losses: SourceLosses,
    /// What was captured on.
    pub interface: InterfaceDescription,
    /// The markers that were sent.
    pub markers: Option<SentMarkers>,
    /// The files that were recorded.
    pub recorded: Recording,
    /// What went wrong meanwhile. What was counted before stands.
    pub problems: Vec<SnifferError>,
}

/// Markers that a capture has to show to be proven complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMarkers {
    /// The run's nonce.
    pub nonce: u64,
    /// The processors that they were sent from.
    pub cpus: BTreeSet<u16>,
}

impl SentMarkers {
    /// Whether the capture shows opening and closing markers from every processor.
    pub fn all_seen(&self, analysis: &Analysis) -> bool {
        [Purpose::Opening, Purpose::Closing]
            .into_iter()
            .all(|purpose| marker::all_seen(&analysis.markers, self.nonce, purpose, &self.cpus))
    }
}

impl Sniffer {
    /// Opens the recording and the capture, and returns once opening markers have been seen in it
    /// (or, where none are sent or none come back, once it is open).
    ///
    /// # Errors
    ///
    /// [`SnifferError`], before anything was captured.
    pub fn open(options: SnifferOptions) -> Result<Self, SnifferError> {
        // The capture first: without permission, no file of an earlier recording is lost.
        let capture = LiveCapture::open(&options.live)?;
        let recording = match options.record {
            None => None,
            Some(path) => {
                let rotation = options.rotation;
                let name: FileName = match rotation == Rotation::default() {
                    true => Box::new(move |_, _| path.clone()),
                    false => Box::new(move |number, time| numbered(&path, number, time)),
                };
                let interface = capture.interface().clone();
                Some(RotatingRecorder::create(rotation, interface, name)?)
            }
        };
        let plan = options.plan;
        let beacon = if options.markers && capture.sees_loopback() && options.live.filter.is_none()
        {
            let is_free = |port: &u16| {
                plan.ports().protocol(TransportKind::Udp, *port) == Some(plan.marker())
            };
            Beacon::bind(MARKER_PORTS.filter(is_free)).map_err(Unproven::CannotSend)
        } else {
            Err(Unproven::NotSent)
        };
        let capture = capture.start()?;
        let analyzer = Analyzer::new(plan).projecting_onto(options.mtu);
        let mut sniffer = Self {
            baseline: capture.counters(),
            capture,
            recording,
            recorded: Recording::default(),
            analyzer: match options.messages {
                true => analyzer.keeping_messages(),
                false => analyzer,
            },
            beacon,
            most_packets: options.most_packets,
            ended: false,
            problems: Vec::new(),
        };
        if sniffer.beacon.is_ok() && !sniffer.mark(Purpose::Opening) {
            // Where enough packets came before any marker, nothing speaks against the capture.
            sniffer.beacon = Err(if sniffer.ended {
                Unproven::NotSent
            } else {
                Unproven::NotSeen
            });
        }
        Ok(sniffer)
    }

    /// Whether markers have shown that the capture is live, and if not, why.
    pub fn proof(&self) -> Result<(), &Unproven> {
        self.beacon.as_ref().map(|_| ())
    }

    /// What is captured on.
    pub fn interface(&self) -> &InterfaceDescription {
        self.capture.interface()
    }

    /// Takes what packets there are, waiting for some no longer than `patience`. Returns whether
    /// there may be more.
    pub fn pump(&mut self, patience: Duration) -> bool {
        if self.ended {
            return false;
        }
        match self.capture.next_batch(patience) {
            Ok(Reading::Batch(batch)) => {
                for packet in batch.packets() {
                    if self.has_enough() {
                        self.ended = true;
                        break;
                    }
                    let counters = || self.capture.counters().since(&self.baseline);
                    if let Some(recording) = &mut self.recording
                        && let Err(error) = recording.write(&packet, counters)
                    {
                        // Counting goes on without the recording.
                        self.problems.push(error.into());
                        self.end_recording(self.counted());
                    }
                    self.analyzer.packet(&packet);
                }
                self.ended |= self.has_enough();
            }
            Ok(Reading::Idle) => self.flush(),
            Ok(Reading::Ended) => self.ended = true,
            Err(error) => {
                self.problems.push(error.into());
                self.ended = true;
            }
        }
        !self.ended
    }

    /// Counts so far.
    pub fn live_totals(&self) -> Vec<LiveTotals> {
        self.analyzer.live_totals()
    }

    /// Ends the capture: sends closing markers and reads until they are seen, so that nothing that
    /// was sent before is missing.
    pub fn finish(mut self) -> Sniffed {
        let stopped_early = self.ended;
        // The closing markers are wanted in any case.
        let most_packets = self.most_packets.take().filter(|_| stopped_early);
        let markers = self
            .beacon
            .as_ref()
            .ok()
            .filter(|_| most_packets.is_none())
            .map(|beacon| SentMarkers {
                nonce: beacon.nonce(),
                cpus: beacon.cpus().clone(),
            });
        if stopped_early || !self.mark(Purpose::Closing) {
            self.capture.stop();
            while self.pump(PUMP) {}
        }
        let counted = self.counted();
        self.end_recording(counted);
        let analysis = self.analyzer.finish();
        let interface_failed = self
            .problems
            .iter()
            .any(|problem| matches!(problem, SnifferError::Capture(_)));
        let losses = SourceLosses {
            packets_dropped: Some(counted.dropped + counted.interface_dropped),
            softnet_dropped: Some(counted.softnet_dropped),
            markers_seen: markers.as_ref().map(|markers| markers.all_seen(&analysis)),
            cut_short: interface_failed,
            ..SourceLosses::default()
        };
        Sniffed {
            losses,
            interface: self.capture.interface().clone(),
            markers,
            problems: self.problems,
            recorded: self.recorded,
            analysis,
        }
    }

    /// Sends markers until all of them have been seen. Returns whether they were.
    fn mark(&mut self, purpose: Purpose) -> bool {
        let Ok(beacon) = &self.beacon else {
            return false;
        };
        let beacon = beacon.clone();
        let (limit, mut resend) = (Instant::now() + MARKER_LIMIT, Instant::now());
        let mut seen = false;
        while !seen && !self.ended && Instant::now() < limit {
            if Instant::now() >= resend {
                if beacon.send(purpose).is_err() {
                    break;
                }
                resend = Instant::now() + MARKER_PERIOD;
            }
            self.pump(PUMP);
            let markers = self.analyzer.markers();
            seen = marker::all_seen(markers, beacon.nonce(), purpose, beacon.cpus());
        }
        seen
    }

    fn has_enough(&self) -> bool {
        let markers = self.analyzer.markers().len() as u64;
        self.most_packets
            .is_some_and(|most| self.analyzer.packets().get() - markers >= most.get())
    }

    /// Keeps the recording readable up to the present while nothing comes.
    fn flush(&mut self) {
        if let Some(recording) = &mut self.recording
            && let Err(error) = recording.flush()
        {
            self.problems.push(error.into());
            self.end_recording(self.counted());
        }
    }

    /// What the kernel has counted since before the first packet.
    fn counted(&self) -> KernelCounters {
        self.capture.counters().since(&self.baseline)
    }

    fn end_recording(&mut self, counted: KernelCounters) {
        if let Some(recording) = self.recording.take() {
            let (recorded, problem) = recording.finish(counted);
            self.recorded = recorded;
            self.problems.extend(problem.map(SnifferError::from));
        }
    }
}

/// `FOLDER/NAME.pcapng` as `FOLDER/NAME_00001_20260102030405.pcapng`, which is how dumpcap names the
/// files of a ring; the time is in UTC.
fn numbered(path: &Path, number: u32, time: Timestamp) -> PathBuf {
    let digits = compact_time(time).replace(|c: char| !c.is_ascii_digit(), "");
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("_{number:05}_{}", &digits[..14]));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
