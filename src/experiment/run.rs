//! One run from the opened capture to the whole folder, and its audit made again from the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::fault::Fault;
use super::fleet::{
    Deed, Ending, Fleet, FleetConfig, FleetError, FleetFault, FleetOutcome, Injected, Progress,
};
use super::folder::{
    FolderError, History, RecordedCapture, RecordedOutcome, RunFolder, RunRecord, SCHEMA,
};
use super::limits::{LimitError, Machine, Needs};
use super::loss::{Loss, LossError};
use super::marker;
use super::sniffer::{SentMarkers, Sniffer, SnifferError, SnifferOptions};
use crate::algorithm::expected::Expectation;
use crate::algorithm::{
    self, Algorithm, Case, Channels, Event, Execution, Judgement, Options, Phase, ProcessId,
    Property, catalog,
};
use crate::analysis::{
    Analysis, Analyzer, Completeness, CompletenessState, ConnectionLog, MessageLog, PlanError,
    ProtocolDefinition, ProtocolPlan, SourceLosses,
};
use crate::audit::{self, Account, Audit, Book, Circumstances, Formula, Verdict};
use crate::capture::{CaptureFile, Ending as CaptureEnding, FileError, LiveOptions, Rotation};
use crate::energy::HostSensors;
use crate::flow::{PortSet, TransportKind};
use crate::ledger::{self, LedgerError, Totals};
use crate::message::FramingChoice;
use crate::node::control::{ChannelCounts, Connections, FaultKind};
use crate::protocols::MARKER_PORTS;
use crate::report::chart::{self, ChartError};
use crate::report::{
    FaultCost, InjectedFault, Models, PropertyKind, PropertyRow, Report, RunSetup, RunSummary,
    Source, SourceKind, html, json,
};
use crate::tally::ProtocolTally;
use crate::units::{Messages, Mtu, Timestamp, duration_text};

/// More notices of strangers than these are told by their number.
const MOST_NOTICES: usize = 5;

/// What is wrong with a run whose folder does not say how it ended.
const KILLED: &str = "the run was killed before it had ended";

/// Why there is no audit where a node could not write down what it did.
const UNWRITTEN_LEDGER: &str = "the nodes could not write their ledger";

/// How long a pump of the capture waits before it looks whether the run is over.
const PUMP: Duration = Duration::from_millis(20);

/// What to run.
#[derive(Clone)]
pub struct RunOptions {
    /// The algorithm.
    pub algorithm: &'static Algorithm,
    /// How many processes.
    pub n: u32,
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// Process i listens on this port + i.
    pub base_port: u16,
    /// How connections are used.
    pub connections: Connections,
    /// Payload beside every body, in bytes.
    pub payload: usize,
    /// What packets are projected onto.
    pub mtu: Mtu,
    /// The algorithm's own options.
    pub options: Options,
    /// How long the operations may take.
    pub timeout: Duration,
    /// Faults to inject.
    pub faults: Vec<Fault>,
    /// Decides which messages are dropped.
    pub seed: u64,
    /// Told how far the operations are.
    pub progress: Arc<Progress>,
    /// Whether to make the same run without its faults first, to tell what they cost.
    pub baseline: bool,
    /// Programs that run single nodes, with their arguments, by id.
    pub own_commands: BTreeMap<ProcessId, Vec<OsString>>,
    /// The machine's own energy counters, where they are to be read.
    pub host: Option<HostSensors>,
    /// The folder to leave.
    pub folder: PathBuf,
    /// The command line, for the record.
    pub command: Vec<String>,
}

/// Why a run could not be made, or its folder not be audited.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The capture or its recording.
    #[error(transparent)]
    Sniffer(#[from] SnifferError),
    /// The capture does not show what is sent.
    #[error("the capture would prove nothing: {0}")]
    NotLive(String),
    /// The nodes would take the markers' ports.
    #[error(
        "{n} nodes from port {base_port} on would take ports {}-{}, which are for marker datagrams; \
         choose another --base-port",
        MARKER_PORTS.start(), MARKER_PORTS.end()
    )]
    MarkerPorts {
        /// The first port.
        base_port: u16,
        /// The number of nodes.
        n: u32,
    },
    /// The nodes.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The machine is too small.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Packets cannot be lost.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The ports.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The nodes' ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The recorded capture.
    #[error(transparent)]
    Capture(#[from] FileError),
    /// A chart.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The algorithm's name or numbers.
    #[error(transparent)]
    Setup(#[from] algorithm::SetupError),
    /// Randomness.
    #[error("cannot read /dev/urandom: {0}")]
    Random(io::Error),
}

/// A run that has ended, well or not.
#[derive(Debug)]
pub struct Finished {
    /// Its report with the audit.
    pub report: Report,
    /// The folder that it left.
    pub folder: PathBuf,
    /// What went wrong, in words; empty when nothing did.
    pub problems: Vec<String>,
    /// How many processes there were.
    pub n: u32,
    /// Whether something of it could not be written: the folder does not hold the whole run.
    pub unwritten: bool,
}

impl Finished {
    /// 1 when the run broke what its algorithm promises, whatever the accounts say: that is a
    /// disagreement between the algorithm and what happened. 2 when the run itself went wrong,
    /// otherwise the audit's own.
    pub fn exit_code(&self) -> u8 {
        let summary = self.report.run.as_ref();
        if summary.is_some_and(|run| run.broken_properties().next().is_some()) {
            return 1;
        }
        let audit = self.report.audit.as_ref();
        match self.problems.is_empty() {
            true => audit.map_or(2, |audit| audit.verdict.exit_code()),
            false => 2,
        }
    }
}

/// Makes a run. `cancel` ends it early; no child outlives it either way, and the capture and what
/// was counted by then are kept.
///
/// # Errors
///
/// [`RunError`] when it could not begin: then nothing of it is left. What goes wrong later is told
/// in [`Finished::problems`].
pub fn run(
    options: &RunOptions,
    models: &Models,
    cancel: &AtomicBool,
) -> Result<Finished, RunError> {
    options
        .algorithm
        .check(options.n, options.rounds, &options.options)?;
    let run = marker::random().map_err(RunError::Random)?;
    // The folder's canonical path is known once it exists, so the ledger's is set below.
    let mut config = FleetConfig::on_loopback(
        options.algorithm.name,
        options.n,
        options.base_port,
        run,
        PathBuf::new(),
    )?;
    if config
        .peers
        .iter()
        .any(|peer| MARKER_PORTS.contains(&peer.port()))
    {
        let (base_port, n) = (options.base_port, options.n);
        return Err(RunError::MarkerPorts { base_port, n });
    }
    Needs::of(
        options.algorithm,
        options.n,
        &options.options,
        options.connections,
    )
    .check(&Machine::this())?;
    let folder = RunFolder::create(&options.folder)?;
    let baseline = match options.baseline && !options.faults.is_empty() {
        false => None,
        true => match run_baseline(options, models, cancel) {
            Ok(baseline) => Some(baseline),
            Err(error) => {
                folder.discard();
                return Err(error);
            }
        },
    };
    let lost = options.faults.iter().find_map(|fault| match fault {
        Fault::Loss { share } => Some(*share),
        _ => None,
    });
    let ports = config.peers.iter().map(|peer| peer.port());
    let (first, last) = (ports.clone().min(), ports.max());
    let loss = lost.zip(first).zip(last);
    let loss = loss.map(|((share, first), last)| Loss::begin(share, first, last));
    let loss = match loss.transpose() {
        Ok(loss) => loss,
        Err(error) => {
            folder.discard();
            return Err(error.into());
        }
    };
    config.ledger = folder.ledger();
    config.history = Some(folder.history());
    config.events = Some(folder.events());
    config.rounds = options.rounds;
    config.connections = options.connections;
    config.payload = options.payload;
    config.options = options.options.clone();
    config.faults = options.faults.clone();
    config.seed = options.seed;
    config.progress = options.progress.clone();
    config.own_commands = options.own_commands.clone();
    let comes_back = |fault: &Fault| {
        matches!(
            fault,
            Fault::Kill {
                restart: Some(_),
                ..
            }
        )
    };
    if options.faults.iter().any(comes_back) {
        config.state = Some(folder.state()?);
    }
    let record = RunRecord {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: options.command.clone(),
        started: ledger::now(),
        run,
        algorithm: options.algorithm.name.to_owned(),
        n: options.n,
        rounds: options.rounds,
        connections: options.connections,
        payload: options.payload,
        mtu: options.mtu,
        addresses: config.peers.clone(),
        options: options.options.clone(),
        faults: options.faults.iter().map(ToString::to_string).collect(),
        seed: options.seed,
        outcome: None,
        capture: None,
        host_energy: None,
    };
    let meter = options.host.as_ref().map(|host| host.begin(cancel));
    let mut observed = match observe(&folder, &config, record, options.timeout, loss, cancel) {
        Ok(observed) => observed,
        Err(error) => {
            folder.discard();
            return Err(error);
        }
    };
    // From here on there is something to report, and what fails does not take it away.
    let mut problems = observed.problems;
    let mut unwritten = observed.unwritten;
    if let Some(meter) = meter {
        observed.record.host_energy = Some(meter.finish());
        if let Err(error) = folder.write_record(&observed.record) {
            problems.push(error.to_string());
            unwritten = true;
        }
    }
    let ledger = if observed.record.ledger_is_whole() {
        Ledger::read(&folder.ledger(), run).map_err(|error| error.to_string())
    } else {
        Err(UNWRITTEN_LEDGER.to_owned())
    };
    if let Err(problem) = &ledger {
        problems.push(format!("there is no audit: {problem}"));
    }
    let report = conclude(
        &observed.record,
        &History::whole(observed.events),
        ledger.ok().as_ref(),
        &observed.analysis,
        observed.completeness,
        observed.source,
        models,
    )?;
    let mut report = report;
    match baseline {
        None => {}
        Some(Ok(baseline)) => report.fault_cost = FaultCost::between(&baseline, &report),
        Some(Err(problem)) => problems.push(problem),
    }
    if let Err(error) = write_reports(&folder, &report, observed.analysis.messages.as_ref()) {
        unwritten = true;
        problems.push(error.to_string());
    }
    Ok(Finished {
        report,
        folder: options.folder.clone(),
        problems,
        n: options.n,
        unwritten,
    })
}

/// The folder of the run without faults, within that of the run with them.
const BASELINE: &str = "without-faults";

/// Makes the same run without its faults. Where that went wrong, what it cost is no measure.
fn run_baseline(
    options: &RunOptions,
    models: &Models,
    cancel: &AtomicBool,
) -> Result<Result<Report, String>, RunError> {
    let without = RunOptions {
        faults: Vec::new(),
        baseline: false,
        host: None,
        folder: options.folder.join(BASELINE),
        ..options.clone()
    };
    let finished = run(&without, models, cancel)?;
    Ok(sound(finished).map_err(|problem| format!("{WITHOUT_FAULTS}: {problem}")))
}

/// What a problem of that run begins with.
const WITHOUT_FAULTS: &str = "the same run without the faults";

/// The report of a run in which nothing went wrong, or what did.
fn sound(finished: Finished) -> Result<Report, String> {
    match finished.problems.into_iter().next() {
        None => Ok(finished.report),
        Some(problem) => Err(problem),
    }
}

/// What there is to report of a run, whatever has become of its nodes and files.
struct Observed {
    record: RunRecord,
    events: Vec<Event>,
    analysis: Analysis,
    completeness: Completeness,
    source: Source,
    problems: Vec<String>,
    unwritten: bool,
}

/// Captures while the nodes run. An error means that they never began.
fn observe(
    folder: &RunFolder,
    config: &FleetConfig,
    mut record: RunRecord,
    timeout: Duration,
    loss: Option<Loss>,
    cancel: &AtomicBool,
) -> Result<Observed, RunError> {
    let mut sniffer = Sniffer::open(SnifferOptions {
        live: LiveOptions::default(),
        record: Some(folder.capture()),
        rotation: Rotation::default(),
        plan: plan_of(&record)?,
        mtu: record.mtu,
        markers: true,
        messages: true,
        most_packets: None,
    })?;
    sniffer
        .proof()
        .map_err(|unproven| RunError::NotLive(unproven.to_string()))?;
    folder.write_record(&record)?;

    let over = AtomicBool::new(false);
    let (outcome, sniffer) = std::thread::scope(|scope| {
        let pump = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if !sniffer.pump(PUMP) {
                    break;
                }
            }
            sniffer
        });
        // The nodes die with the thread that started them: it has to be this one.
        let outcome = Fleet::spawn(config, cancel).map(|fleet| fleet.run(timeout, cancel));
        over.store(true, Ordering::Release);
        (outcome, pump.join())
    });
    let sniffer = sniffer.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let outcome = outcome?;

    let sniffed = sniffer.finish();
    let (mut problems, stalled) = problems_of(&outcome, timeout, &config.faults);
    problems.extend(sniffed.problems.iter().map(ToString::to_string));
    // Where nothing can happen any more, everything that was to be observed was.
    let partial = !matches!(outcome.ending, Ending::Complete | Ending::Stalled);
    record.outcome = Some(RecordedOutcome {
        clean: outcome.is_clean() && problems.is_empty() && config.faults.is_empty(),
        partial,
        operations: outcome.operations,
        problems: problems.clone(),
        died: died(&outcome),
        notices: outcome.notices.iter().map(ToString::to_string).collect(),
        stalled,
        packets_lost: loss.and_then(|loss| loss.lost()),
        injected: outcome.injected.clone(),
        deaths: outcome.deaths.clone(),
        ledger_failed: outcome.faults.iter().any(is_of_storage),
    });
    record.capture = Some(RecordedCapture {
        packets_dropped: sniffed.losses.packets_dropped.unwrap_or_default(),
        softnet_dropped: sniffed.losses.softnet_dropped.unwrap_or_default(),
        cut_short: sniffed.losses.cut_short,
        marker_nonce: sniffed.markers.as_ref().map(|markers| markers.nonce),
        marker_cpus: sniffed
            .markers
            .map(|markers| markers.cpus)
            .unwrap_or_default(),
    });
    let written = folder.write_record(&record);
    let recorded = |problem: &SnifferError| !matches!(problem, SnifferError::Recorder(_));
    let unwritten =
        written.is_err() || !record.ledger_is_whole() || !sniffed.problems.iter().all(recorded);
    problems.extend(written.err().map(|error| error.to_string()));

    let analysis = sniffed.analysis;
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &sniffed.losses);
    let source = Source {
        kind: SourceKind::Live,
        interface: Some(sniffed.interface.name),
        files: vec!["capture.pcapng".to_owned()],
        snaplen: Some(sniffed.interface.snaplen),
        link_types: vec![sniffed.interface.link_type],
        filter: sniffed.interface.filter,
        partial,
        ..Source::default()
    };
    Ok(Observed {
        record,
        events: outcome.events,
        analysis,
        completeness,
        source,
        problems,
        unwritten,
    })
}

/// Makes a run's report again from its folder: with its packets projected onto this MTU, or as they
/// were.
///
/// # Errors
///
/// [`RunError`] when the folder is none of a run, or what is in it cannot be read.
pub fn audit_folder(path: &Path, models: &Models, mtu: Option<Mtu>) -> Result<Finished, RunError> {
    let folder = RunFolder::open(path)?;
    let mut record = folder.read_record()?;
    record.mtu = mtu.unwrap_or(record.mtu);
    let analyzer = Analyzer::new(plan_of(&record)?).projecting_onto(record.mtu);
    let (capture, analysis, ending) = analyze(&folder, analyzer.keeping_messages())?;
    let losses = match &record.capture {
        None => SourceLosses {
            cut_short: true,
            ..SourceLosses::default()
        },
        Some(known) => {
            let markers = known.marker_nonce.map(|nonce| SentMarkers {
                nonce,
                cpus: known.marker_cpus.clone(),
            });
            SourceLosses {
                packets_dropped: Some(known.packets_dropped),
                softnet_dropped: Some(known.softnet_dropped),
                markers_seen: markers.map(|markers| markers.all_seen(&analysis)),
                cut_short: known.cut_short || ending.is_some(),
                ..SourceLosses::default()
            }
        }
    };
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
    let facts = capture.facts();
    let source = Source {
        kind: SourceKind::File,
        interface: facts.interfaces.first().cloned(),
        files: vec![folder.capture().display().to_string()],
        snaplen: facts.snaplen,
        link_types: facts.link_types.iter().copied().collect(),
        partial: ending.is_some()
            || record
                .outcome
                .as_ref()
                .is_none_or(|outcome| outcome.partial),
        ..Source::default()
    };
    let events = folder.read_events()?;
    let ledger = match record.ledger_is_whole() {
        true => Some(Ledger::read(&folder.ledger(), record.run)?),
        false => None,
    };
    let report = conclude(
        &record,
        &events,
        ledger.as_ref(),
        &analysis,
        completeness,
        source,
        models,
    )?;
    let mut report = report;
    let mut problems = match &record.outcome {
        Some(outcome) => outcome.problems.clone(),
        None => vec![KILLED.to_owned()],
    };
    problems.extend(ending);
    let baseline = path.join(BASELINE);
    if baseline.exists() {
        // Anew as well, since models and MTU may be others than the run's.
        let without = audit_folder(&baseline, models, Some(record.mtu));
        match without.map_err(|error| error.to_string()).and_then(sound) {
            Ok(without) => report.fault_cost = FaultCost::between(&without, &report),
            Err(problem) => problems.push(format!("{WITHOUT_FAULTS}: {problem}")),
        }
    }
    if ledger.is_none() {
        problems.push(format!("there is no audit: {UNWRITTEN_LEDGER}"));
    }
    Ok(Finished {
        report,
        folder: path.to_owned(),
        problems,
        n: record.n,
        unwritten: false,
    })
}

/// The messages and connections of the run in a folder, from its capture.
///
/// # Errors
///
/// [`RunError`] where it is the folder of no run, or its capture cannot be read to its end.
pub fn messages_of_folder(path: &Path) -> Result<Option<MessageLog>, RunError> {
    let (messages, _) = logs_of_folder(path)?;
    Ok(messages)
}

/// The same, and each connection with its counts.
///
/// # Errors
///
/// As [`messages_of_folder`].
pub fn logs_of_folder(
    path: &Path,
) -> Result<(Option<MessageLog>, Option<ConnectionLog>), RunError> {
    let folder = RunFolder::open(path)?;
    let record = folder.read_record()?;
    let analyzer = Analyzer::new(plan_of(&record)?);
    let analyzer = analyzer.keeping_messages().keeping_connections();
    let (_, analysis, ending) = analyze(&folder, analyzer)?;
    match ending {
        None => Ok((analysis.messages, analysis.connections)),
        Some(problem) => {
            let path = folder.capture();
            Err(FolderError::Content { path, problem }.into())
        }
    }
}

/// The capture of a folder, what is in it, and why it ends early where it does.
fn analyze(
    folder: &RunFolder,
    mut analyzer: Analyzer,
) -> Result<(CaptureFile, Analysis, Option<String>), RunError> {
    let mut capture = CaptureFile::open(folder.capture())?;
    let ending = match capture.for_each(|packet| analyzer.packet(&packet)) {
        CaptureEnding::Complete => None,
        CaptureEnding::Failed(error) => Some(error.to_string()),
        cut @ CaptureEnding::Cut { .. } => Some(format!("{}: {cut}", folder.capture().display())),
    };
    let analysis = analyzer.finish();
    Ok((capture, analysis, ending))
}

/// Formula, ledger and wire, held against each other: the same for a run that has just ended and
/// for a folder. Without a ledger there is no audit.
fn conclude(
    record: &RunRecord,
    history: &History,
    ledger: Option<&Ledger>,
    analysis: &Analysis,
    completeness: Completeness,
    source: Source,
    models: &Models,
) -> Result<Report, RunError> {
    let algorithm = catalog::by_name(&record.algorithm)?;
    let outcome = record.outcome.as_ref();
    let died: Vec<ProcessId> = outcome
        .map_or(&[][..], |outcome| &outcome.died)
        .iter()
        .map(|id| ProcessId(*id))
        .collect();
    let case = Case {
        n: record.n,
        rounds: record.rounds,
        options: &record.options,
        events: &history.events,
        died: &died,
    };
    // The formula needs to know how the run ended, and one that was killed itself does not say. Nor
    // does a history of which a part is missing.
    let known = outcome.filter(|_| !history.torn);
    let expectations = known.map(|_| (algorithm.expected)(&case));
    let observed: Vec<ProtocolTally> = analysis
        .protocols
        .iter()
        .filter(|tally| tally.name == algorithm.name)
        .cloned()
        .collect();
    let audit = ledger.map(|ledger| {
        let totals = &ledger.totals;
        let expectations = expectations.as_deref().unwrap_or_default();
        let killed = |node: u32| outcome.is_none_or(|outcome| outcome.died.contains(&node));
        let has_time = |node| deaths(record).keys().any(|(died, _)| *died == node);
        let circumstances = Circumstances {
            completeness: completeness.state,
            listeners: addresses_by_process(record).collect(),
            deaths: deaths(record),
            killed: addresses_by_process(record)
                .map(|(_, node)| node)
                .filter(|node| killed(*node) && !has_time(*node))
                .collect(),
            holds_back: algorithm.channels == Channels::Fifo
                && record.connections != Connections::Persistent,
            suppresses: record.faults.iter().any(|fault| suppresses(fault)),
            broken_off: source.partial,
        };
        let log = analysis.messages.as_ref();
        let matching = log.and_then(|log| audit::match_messages(&ledger.book, log, &circumstances));
        let outside_formula = outside_formula(algorithm, record, totals);
        let accounts = accounts(
            algorithm,
            expectations,
            &outside_formula,
            totals,
            &observed,
            |node| matching.is_some() || killed(node),
        );
        let mut audit = match &matching {
            Some(matching) => {
                audit::reconcile_matched(&accounts, &observed, completeness.state, matching)
            }
            None => audit::reconcile(&accounts, &observed, completeness.state),
        };
        if outcome.is_some_and(|outcome| outcome.clean && outcome.died.is_empty()) {
            audit = with_identities(audit, algorithm, completeness.state);
        }
        let notices = outcome.map_or(&[][..], |outcome| &outcome.notices);
        audit
            .remarks
            .extend(notices.iter().take(MOST_NOTICES).cloned());
        if notices.len() > MOST_NOTICES {
            let more = notices.len() - MOST_NOTICES;
            audit
                .remarks
                .push(format!("and {more} more notices of the kind"));
        }
        if outcome.is_some() && history.torn {
            let remark = "the history ends in a torn line: no formula is held against what is left";
            audit = audit.no_better_than(Verdict::Inconclusive, remark.to_owned());
        }
        ledger.limits(audit)
    });
    let mut report = Report::new(analysis, completeness, source, audit, models);
    report.command.clone_from(&record.command);
    report.host_energy = record.host_energy.clone();
    let mut summary = summary(record, &case, ledger.map(|ledger| &ledger.totals));
    let suppressed = |ledger: &Ledger| ledger.totals.all().suppressed > Messages::ZERO;
    let suppressed = ledger.is_some_and(suppressed);
    let events = &history.events;
    summary.properties = properties(algorithm, record, events, &down(record), suppressed);
    Ok(report.of_run(summary))
}

/// How the run went, for its report.
fn summary(record: &RunRecord, case: &Case<'_>, totals: Option<&Totals>) -> RunSummary {
    let succeeded = case
        .completed()
        .filter(|outcome| outcome.phase == Phase::Ok);
    RunSummary {
        algorithm: record.algorithm.clone(),
        processes: record.n,
        connections: record.connections.to_string(),
        operations: match &record.outcome {
            Some(outcome) => outcome.operations,
            None => case.complete() + case.open(),
        },
        ended: case.complete(),
        succeeded: succeeded.count() as u64,
        problems: match &record.outcome {
            Some(outcome) => outcome.problems.clone(),
            None => vec![KILLED.to_owned()],
        },
        faults: injected(record, totals),
        stalled: record
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.stalled.clone()),
        time: ended_after(case.events, record),
        properties: Vec::new(),
        setup: Some(RunSetup {
            started: record.started,
            rounds: record.rounds,
            payload: record.payload as u64,
            seed: record.seed,
            addresses: record.addresses.iter().map(ToString::to_string).collect(),
            options: record.options.0.clone(),
        }),
    }
}

/// From the first operation's beginning to the last one's end, where as many have ended as the run
/// was to have.
fn ended_after(events: &[Event], record: &RunRecord) -> Option<u64> {
    let times = |begin: bool| {
        let of_operations = events
            .iter()
            .filter(|event| event.outcome.phase != Phase::Note);
        let these = of_operations.filter(move |event| event.outcome.phase.ends() != begin);
        these.map(|event| event.time.as_nanos())
    };
    let (first, last) = (times(true).min()?, times(false).max()?);
    let wanted = record.outcome.as_ref()?.operations;
    (times(false).count() as u64 >= wanted).then(|| u64::try_from(last - first).unwrap_or_default())
}

/// For each kind whose formula has no case for what happened in the run: what that was, in words.
/// Stops, delays and lost packets only take time, and formulas hold whatever the timing.
fn outside_formula(
    algorithm: &Algorithm,
    record: &RunRecord,
    totals: &Totals,
) -> BTreeMap<&'static str, String> {
    let Some(outcome) = record.outcome.as_ref() else {
        return BTreeMap::new();
    };
    let injected_by = |is_meant: fn(&Deed) -> bool| -> BTreeSet<String> {
        let injected = outcome.injected.iter();
        let meant = injected.filter(|injected| is_meant(&injected.deed));
        meant
            .filter_map(|injected| record.faults.get(injected.fault))
            .map(|fault| format!("injected {fault}"))
            .collect()
    };
    let mut deaths = injected_by(|deed| matches!(deed, Deed::Killed { .. }));
    let was_killed = |id: &u32| {
        let mut injected = outcome.injected.iter();
        injected
            .any(|one| one.node == Some(ProcessId(*id)) && matches!(one.deed, Deed::Killed { .. }))
    };
    let died = outcome.died.iter().filter(|id| !was_killed(id));
    deaths.extend(died.map(|id| format!("death of process {id}")));
    let returns = injected_by(|deed| matches!(deed, Deed::Restarted { .. }));
    let mut losses = BTreeSet::new();
    if totals.all().suppressed > Messages::ZERO {
        let suppressing = record.faults.iter().filter(|fault| suppresses(fault));
        losses.extend(suppressing.map(|fault| format!("injected {fault}")));
    }
    let outside = &algorithm.outside_formula;
    let mut why: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for (kinds, faults) in [
        (outside.deaths, deaths),
        (outside.returns, returns),
        (outside.losses, losses),
    ] {
        for kind in kinds.iter().filter(|_| !faults.is_empty()) {
            why.entry(kind).or_default().extend(faults.iter().cloned());
        }
    }
    let words = |faults: BTreeSet<String>| faults.into_iter().collect::<Vec<_>>().join(" and ");
    why.into_iter()
        .map(|(kind, faults)| (kind, words(faults)))
        .collect()
}

/// Whether this fault keeps messages from being sent.
fn suppresses(fault: &str) -> bool {
    fault.starts_with("drop=") || fault.starts_with("split=")
}

/// When incarnations of processes were gone at the latest.
fn deaths(record: &RunRecord) -> BTreeMap<(u32, u32), Timestamp> {
    let deaths = record.outcome.iter().flat_map(|outcome| &outcome.deaths);
    deaths
        .map(|death| ((death.node.0, death.incarnation), death.by))
        .collect()
}

/// Processes that are down at the end: those of which no incarnation was started again after the last
/// one that died.
fn down(record: &RunRecord) -> Vec<ProcessId> {
    let Some(outcome) = &record.outcome else {
        return Vec::new();
    };
    let is_down = |id: &u32| {
        let id = ProcessId(*id);
        let of_it = outcome.injected.iter().filter(|one| one.node == Some(id));
        let started = of_it.filter_map(|injected| match injected.deed {
            Deed::Restarted { incarnation, .. } => Some(incarnation),
            _ => None,
        });
        let deaths = outcome.deaths.iter().filter(|death| death.node == id);
        let died = deaths.map(|death| death.incarnation).max();
        died.is_none_or(|died| Some(died) >= started.max())
    };
    let died = outcome.died.iter().copied();
    died.filter(is_down).map(ProcessId).collect()
}

/// The faults that were to be injected, and what each did.
fn injected(record: &RunRecord, totals: Option<&Totals>) -> Vec<InjectedFault> {
    let outcome = record.outcome.as_ref();
    let faults = record.faults.iter().enumerate();
    faults
        .map(|(i, fault)| {
            let injected = outcome.map_or(&[][..], |outcome| &outcome.injected);
            let mut happened: Vec<String> = injected
                .iter()
                .filter(|injected| injected.fault == i)
                .map(ToString::to_string)
                .collect();
            let key = fault.split('=').next().unwrap_or_default();
            let all = totals.map(Totals::all).unwrap_or_default();
            match key {
                "drop" | "split" if all.suppressed > Messages::ZERO => happened.push(format!(
                    "{} of {} attempted messages suppressed by drops and splits in all",
                    all.suppressed, all.attempted
                )),
                "delay" if all.attempted > Messages::ZERO => {
                    happened.push("held back every message that it is for".to_owned());
                }
                "loss" => {
                    let lost = outcome.and_then(|outcome| outcome.packets_lost);
                    let lost = lost.filter(|lost| lost.get() > 0);
                    happened.extend(lost.map(|lost| format!("{lost} packets lost")));
                }
                _ => {}
            }
            InjectedFault {
                fault: fault.clone(),
                happened,
            }
        })
        .collect()
}

/// The algorithm's properties on what its processes reported, in the order of its time: they share
/// one clock. Liveness is judged where the run came to its end, and none where a process did what
/// the algorithm's failure model excludes.
fn properties(
    algorithm: &Algorithm,
    record: &RunRecord,
    events: &[Event],
    down: &[ProcessId],
    suppressed: bool,
) -> Vec<PropertyRow> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.time);
    let execution = Execution {
        n: record.n,
        rounds: record.rounds,
        options: &record.options,
        events: &events,
        crashed: down,
    };
    let unended = match &record.outcome {
        None => Some("the run was killed"),
        Some(outcome) if outcome.partial => Some("the run did not come to its end"),
        Some(_) if suppressed => Some("injected faults suppressed messages"),
        Some(_) => None,
    };
    let outcome = record.outcome.as_ref();
    let died = outcome.is_some_and(|outcome| !outcome.died.is_empty());
    let restarted = |one: &Injected| matches!(one.deed, Deed::Restarted { .. });
    let came_back = outcome.is_some_and(|outcome| outcome.injected.iter().any(restarted));
    let judged = |property: &Property| {
        let failures = algorithm.failures;
        let broken = failures.broken_assumption(property.kind, died, came_back);
        let (kind, unjudged) = match property.kind {
            algorithm::PropertyKind::Safety => (PropertyKind::Safety, broken),
            algorithm::PropertyKind::Liveness => (PropertyKind::Liveness, unended.or(broken)),
        };
        let (holds, why) = match unjudged {
            Some(why) => (None, format!("not judged: {why}")),
            None => match property.judge(&execution) {
                Judgement::Holds => (Some(true), String::new()),
                Judgement::Broken(why) => (Some(false), why),
                Judgement::NotJudged(why) => (None, format!("not judged: {why}")),
            },
        };
        PropertyRow {
            name: property.name.to_owned(),
            about: property.about.to_owned(),
            kind,
            holds,
            why,
        }
    };
    algorithm.properties.iter().map(judged).collect()
}

/// A run's ledger: its totals, and its messages one by one.
pub(super) struct Ledger {
    pub totals: Totals,
    pub book: Book,
}

impl Ledger {
    /// Reads the records of one run.
    pub fn read(path: &Path, run: u64) -> Result<Self, LedgerError> {
        let mut reader = ledger::Reader::open(path)?;
        let (mut totals, mut book) = (Totals::default(), Book::default());
        for record in &mut reader {
            let record = record?;
            if record.run == run {
                totals.count(&record);
                book.enter(&record);
            }
        }
        totals.torn = reader.torn();
        Ok(Self { totals, book })
    }

    /// The audit with what this ledger leaves open: then it is no agreement.
    pub fn limits(&self, mut audit: Audit) -> Audit {
        if audit.messages.is_none() {
            audit.remarks.push(format!(
                "more than {} messages: their numbers were compared, and not one by one",
                crate::analysis::MOST_MESSAGES
            ));
        }
        match self.totals.torn {
            0 => audit,
            torn => audit.no_better_than(
                Verdict::Inconclusive,
                match torn {
                    1 => "the ledger has 1 torn line: the event on it is in no account".to_owned(),
                    _ => format!(
                        "the ledger has {torn} torn lines: the events on them are in no account"
                    ),
                },
            ),
        }
    }

    /// Processes that recorded anything, and those that others sent to.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        let recorded = self.totals.nodes.keys().copied();
        recorded.chain(self.book.receivers())
    }
}

fn addresses_by_process(record: &RunRecord) -> impl Iterator<Item = (SocketAddr, u32)> {
    record.addresses.iter().copied().zip(0..)
}

/// The audit with the algorithm's identities, where every message that was attempted was sent.
fn with_identities(audit: Audit, algorithm: &Algorithm, completeness: CompletenessState) -> Audit {
    let withheld = |row: &audit::Row| row.suppressed + row.refused + row.unknown > Messages::ZERO;
    if audit.rows_of(algorithm.name).any(withheld) {
        return audit;
    }
    let identities: Vec<audit::Identity> = algorithm
        .identities
        .iter()
        .map(|identity| audit::Identity {
            text: identity.text.to_owned(),
            terms: identity
                .terms
                .iter()
                .map(|(factor, kind)| (*factor, (*kind).to_owned()))
                .collect(),
            relation: match identity.relation {
                algorithm::Relation::Zero => audit::Relation::Zero,
                algorithm::Relation::AtMostZero => audit::Relation::AtMostZero,
            },
        })
        .collect();
    audit.with_identities(algorithm.name, &identities, completeness)
}

/// What formula and ledger say of each kind; no formula where it has no case for what happened.
/// Nodes that were `killed` may have left attempts without an outcome.
pub(super) fn accounts(
    algorithm: &Algorithm,
    expectations: &[Expectation],
    outside_formula: &BTreeMap<&str, String>,
    totals: &Totals,
    observed: &[ProtocolTally],
    killed: impl Fn(u32) -> bool,
) -> Vec<Account> {
    let kinds = algorithm
        .protocol()
        .kinds
        .iter()
        .map(|kind| kind.name.as_str());
    kinds
        .filter_map(|kind| {
            let counted = totals.kind(algorithm.name, kind);
            let outside_formula = outside_formula.get(kind).cloned();
            let held = expectations.iter().filter(|_| outside_formula.is_none());
            let expectation = held.into_iter().find(|row| row.kind == kind);
            let expected = expectation.map(|row| row.count);
            let on_wire = observed
                .iter()
                .any(|tally| tally.messages_by_kind.contains_key(kind));
            // A kind of another outcome than this run's: no row of zeros.
            let silent = counted == ledger::Counts::default()
                && !on_wire
                && expected.is_none_or(|count| count.high() == Messages::ZERO);
            let unsettled = totals.unsettled(algorithm.name, kind).into_iter();
            let unknown = unsettled.filter(|(node, _)| killed(*node));
            (!silent).then(|| Account {
                outside_formula,
                protocol: algorithm.name.to_owned(),
                kind: kind.to_owned(),
                expected: expected.map(|count| match count {
                    algorithm::Expected::Exactly(messages) => audit::Expected::Number(messages),
                    algorithm::Expected::Between { low, high } => {
                        audit::Expected::Interval { low, high }
                    }
                }),
                formula: expectation.map(|row| Formula {
                    formula: row.formula.to_owned(),
                    citation: row.citation.to_owned(),
                }),
                attempted: counted.attempted,
                suppressed: counted.suppressed,
                refused: counted.refused,
                sent: counted.sent,
                unknown: unknown.map(|(_, messages)| messages).sum(),
                received: counted.arrived,
                handled: counted.handled,
            })
        })
        .collect()
}

/// The run's protocol on the run's ports, before all others.
fn plan_of(record: &RunRecord) -> Result<Arc<ProtocolPlan>, PlanError> {
    let ports = record
        .addresses
        .iter()
        .map(|address| PortSet::range(address.port()..=address.port()));
    let definition = ProtocolDefinition {
        name: record.algorithm.clone(),
        ports: PortSet::union(ports),
        transport: Some(TransportKind::Tcp),
        framing: FramingChoice::WireWatt {
            run: Some(record.run),
        },
    };
    ProtocolPlan::new(&[definition]).map(Arc::new)
}

/// What went wrong between the nodes, in words; and how the run ended, where operations did not and
/// an injected fault is why.
fn problems_of(
    outcome: &FleetOutcome,
    timeout: Duration,
    faults: &[Fault],
) -> (Vec<String>, Option<String>) {
    let mut problems = faults_of(outcome);
    let mut stalled = None;
    let (ended, wanted) = (outcome.completed(), outcome.operations);
    match outcome.ending {
        Ending::Complete => {}
        Ending::Interrupted => problems.push("interrupted: the report is partial".to_owned()),
        Ending::TimeLimit | Ending::Broken | Ending::Stalled => {
            let told = format!("{ended} of {wanted} operations ended");
            let how = match outcome.ending {
                Ending::TimeLimit => {
                    let rest = match ended < wanted {
                        true => "",
                        false => ", but the nodes did not come to rest",
                    };
                    format!("{told}{rest} within {} (--timeout)", duration_text(timeout))
                }
                Ending::Stalled => format!(
                    "{told}; {:.1} s after the start nothing could happen any more: no message \
                     was on its way, no timer ran",
                    outcome.time.as_secs_f64()
                ),
                _ => told,
            };
            if interferes(outcome, faults) {
                stalled = Some(how);
            } else {
                problems.push(how);
            }
        }
    }
    if !outcome.quiescent {
        let outstanding: Vec<String> = outcome
            .outstanding
            .iter()
            .map(|o| format!("{} from {} to {}", o.messages, o.from, o.to))
            .collect();
        problems.push(if outstanding.is_empty() {
            "not quiescent: not every node told its counters twice without a change".to_owned()
        } else {
            format!("not quiescent: outstanding {}", outstanding.join(", "))
        });
    }
    (problems, stalled)
}

/// Whether an injected fault has had its effect, so that operations which do not end are no surprise.
fn interferes(outcome: &FleetOutcome, faults: &[Fault]) -> bool {
    let suppressed = |channel: &ChannelCounts| channel.counts.suppressed > Messages::ZERO;
    let always = |fault: &Fault| matches!(fault, Fault::Delay { .. } | Fault::Loss { .. });
    !outcome.injected.is_empty()
        || outcome.counters.values().flatten().any(suppressed)
        || faults.iter().any(always)
}

/// Processes that injected faults killed.
fn killed(outcome: &FleetOutcome) -> impl Iterator<Item = ProcessId> {
    let killed = |injected: &Injected| match injected.deed {
        Deed::Killed { .. } => injected.node,
        _ => None,
    };
    outcome.injected.iter().filter_map(killed)
}

/// Whether the fault that a node reports is that a process is gone which an injected fault killed.
fn follows_from_kill(outcome: &FleetOutcome, fault: &FleetFault) -> bool {
    let FleetFault::Reported { fault, .. } = fault else {
        return false;
    };
    let of_connection = matches!(
        fault.what,
        FaultKind::Reset | FaultKind::Cut | FaultKind::Missing
    );
    of_connection && killed(outcome).any(|id| fault.peer.is_none_or(|peer| peer == id))
}

/// Faults in words. What one node reports of one kind again and again is told once, with a count.
fn faults_of(outcome: &FleetOutcome) -> Vec<String> {
    let reported_alike = |one: &FleetFault, other: &FleetFault| match (one, other) {
        (
            FleetFault::Reported { node, fault },
            FleetFault::Reported {
                node: other_node,
                fault: other_fault,
            },
        ) => (node, fault.what) == (other_node, other_fault.what),
        _ => false,
    };
    let mut told: Vec<(&FleetFault, usize)> = Vec::new();
    let unexpected = outcome.faults.iter();
    for fault in unexpected.filter(|fault| !follows_from_kill(outcome, fault)) {
        match told
            .iter_mut()
            .find(|(first, _)| reported_alike(first, fault))
        {
            Some((_, again)) => *again += 1,
            None => told.push((fault, 0)),
        }
    }
    let in_words = |(fault, again): (&FleetFault, usize)| match again {
        0 => fault.to_string(),
        again => format!("{fault} (and {again} more of the kind)"),
    };
    told.into_iter().map(in_words).collect()
}

fn is_of_storage(fault: &FleetFault) -> bool {
    matches!(fault, FleetFault::Reported { fault, .. } if fault.what == FaultKind::Storage)
}

fn died(outcome: &FleetOutcome) -> Vec<u32> {
    let died = |fault: &FleetFault| match fault {
        FleetFault::Died { node, .. } | FleetFault::NeverAnswered { node, .. } => Some(node.0),
        _ => None,
    };
    let died = outcome.faults.iter().filter_map(died);
    let died: BTreeSet<u32> = died.chain(killed(outcome).map(|id| id.0)).collect();
    died.into_iter().collect()
}

fn write_reports(
    folder: &RunFolder,
    report: &Report,
    log: Option<&MessageLog>,
) -> Result<(), RunError> {
    let mut text = Vec::new();
    json::write(report, &mut text).map_err(|source| FolderError::Io {
        doing: "write",
        path: folder.path().join("report.json"),
        source,
    })?;
    folder.write("report.json", &text)?;
    let charts = chart::of_report(report, log);
    folder.write("report.html", html::render(report, &charts)?.as_bytes())?;
    chart::write_all(&charts, &folder.charts())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fleet::Death;
    use super::*;

    /// A run of three processes with these faults, deaths and deeds of process 1.
    fn record(faults: &[&str], deaths: &[u32], deeds: &[Deed]) -> RunRecord {
        let injected = deeds.iter().map(|deed| Injected {
            fault: 0,
            node: Some(ProcessId(1)),
            after: 0,
            deed: deed.clone(),
        });
        RunRecord {
            schema: SCHEMA.to_owned(),
            version: String::new(),
            command: Vec::new(),
            started: Timestamp::from_nanos(0),
            run: 9,
            algorithm: "two-phase-commit".to_owned(),
            n: 3,
            rounds: 1,
            connections: Connections::Persistent,
            payload: 0,
            mtu: Mtu::default(),
            addresses: Vec::new(),
            options: Options::default(),
            faults: faults.iter().map(ToString::to_string).collect(),
            seed: 0,
            outcome: Some(RecordedOutcome {
                clean: false,
                partial: false,
                operations: 1,
                problems: Vec::new(),
                died: if deaths.is_empty() { vec![] } else { vec![1] },
                notices: Vec::new(),
                stalled: None,
                packets_lost: None,
                injected: injected.collect(),
                deaths: deaths
                    .iter()
                    .map(|incarnation| Death {
                        node: ProcessId(1),
                        incarnation: *incarnation,
                        by: Timestamp::from_nanos(0),
                    })
                    .collect(),
                ledger_failed: false,
            }),
            capture: None,
            host_energy: None,
        }
    }

    fn killed() -> Deed {
        Deed::Killed { point: None }
    }

    fn restarted() -> Deed {
        Deed::Restarted {
            incarnation: 2,
            storage_lost: false,
        }
    }

    #[test]
    fn a_process_that_died_again_after_it_came_back_is_down() {
        let fault = ["kill=1@1s,restart=1s"];
        let is_down =
            |deaths: &[u32], deeds: &[Deed]| !down(&record(&fault, deaths, deeds)).is_empty();
        assert!(is_down(&[1], &[killed()]));
        assert!(!is_down(&[1], &[killed(), restarted()]));
        // By itself: no deed tells of it.
        assert!(is_down(&[1, 2], &[killed(), restarted()]));
        assert!(is_down(&[1, 2], &[killed(), restarted(), killed()]));
        // It was gone again before it had come back.
        assert!(is_down(&[1, 2], &[killed()]));
    }

    #[test]
    fn a_formula_is_left_out_for_kinds_alone_of_which_it_has_no_case_for_what_happened() {
        let outside = |algorithm: &str, faults: &[&str], deeds: &[Deed], suppressed: u64| {
            let algorithm = catalog::by_name(algorithm).unwrap();
            let mut totals = Totals::default();
            let vote = ("two-phase-commit".to_owned(), "vote-yes".to_owned());
            totals.kinds.entry(vote).or_default().suppressed = Messages::new(suppressed);
            let deaths: &[u32] = if deeds.contains(&killed()) { &[1] } else { &[] };
            let record = record(faults, deaths, deeds);
            outside_formula(algorithm, &record, &totals)
        };
        let nothing = BTreeMap::new();
        let kill = ["kill=1@1s,restart=1s"];
        assert_eq!(
            outside("two-phase-commit", &kill, &[killed(), restarted()], 0),
            nothing
        );
        let stopped = Deed::Stopped { point: None };
        assert_eq!(
            outside("maekawa", &["stop=1@1s,for=1s"], &[stopped], 0),
            nothing
        );
        // A drop that dropped nothing has changed nothing.
        let drop = ["drop=1%"];
        assert_eq!(outside("two-phase-commit", &drop, &[], 0), nothing);
        let dropped = outside("two-phase-commit", &drop, &[], 1);
        assert_eq!(dropped, [("ack", "injected drop=1%".to_owned())].into());
        let died = outside("central-mutex", &kill, &[killed()], 0);
        let why = "injected kill=1@1s,restart=1s".to_owned();
        assert_eq!(died, [("release", why)].into());
        let came_back = outside("central-mutex", &kill, &[killed(), restarted()], 0);
        let kinds: Vec<&str> = came_back.into_keys().collect();
        assert_eq!(kinds, ["grant", "release", "request"]);
    }
}
