//! A saved capture held against a ledger without a run's folder: two or three accounts in place of
//! four, since nobody says what was run, and so no formula.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::FolderError;
use super::run::{Finished, Ledger, RunError, accounts};
use crate::algorithm::{Channels, catalog};
use crate::analysis::{
    Analyzer, Completeness, MessageLog, ProtocolDefinition, ProtocolPlan, SourceLosses,
};
use crate::audit::{self, Circumstances};
use crate::capture::{CaptureFile, Ending};
use crate::flow::{PortSet, TransportKind};
use crate::ledger;
use crate::message::{FramingChoice, Way};
use crate::protocols;
use crate::report::{Models, Report, Source, SourceKind};
use crate::units::{Mtu, Packets};

/// What to hold against each other.
#[derive(Debug, Clone)]
pub struct SavedRun {
    /// The capture.
    pub capture: PathBuf,
    /// The ledger.
    pub ledger: PathBuf,
    /// The run, where the ledger has records of several.
    pub run: Option<u64>,
    /// Processes that were killed.
    pub killed: BTreeSet<u32>,
    /// Where protocols have other ports than the built-in ones.
    pub protocols: Vec<ProtocolDefinition>,
    /// What packets are projected onto.
    pub mtu: Mtu,
}

/// Holds a saved capture against a ledger.
///
/// # Errors
///
/// [`RunError`] when one of them cannot be read, or the ledger does not say which run is meant.
pub fn audit_capture(saved: &SavedRun, models: &Models) -> Result<Finished, RunError> {
    let run = run_of(saved)?;
    let ledger = Ledger::read(&saved.ledger, run)?;
    let protocol = protocol_of(&saved.ledger, &ledger)?;
    let algorithm = catalog::by_name(&protocol)?;
    let processes: BTreeSet<u32> = ledger.processes().collect();
    if let Some(id) = saved.killed.difference(&processes).next() {
        let problem = format!("the run has no process {id}, which is said to have been killed");
        return Err(unfit(&saved.ledger, problem));
    }

    let mut capture = CaptureFile::open(&saved.capture)?;
    let plan = plan_of(saved, &protocol, run)?;
    let analyzer = Analyzer::new(plan).projecting_onto(saved.mtu);
    let mut analyzer = analyzer.keeping_messages();
    let ending = match capture.for_each(|packet| analyzer.packet(&packet)) {
        Ending::Complete => None,
        Ending::Failed(error) => Some(error.to_string()),
        cut @ Ending::Cut { .. } => Some(format!("{}: {cut}", saved.capture.display())),
    };
    let analysis = analyzer.finish();
    let facts = capture.facts();
    let dropped = facts.drops.total();
    let losses = SourceLosses {
        packets_dropped: (dropped > Packets::ZERO).then_some(dropped),
        cut_short: ending.is_some(),
        ..SourceLosses::default()
    };
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);

    let log = analysis.messages.clone().unwrap_or_default();
    let circumstances = Circumstances {
        completeness: completeness.state,
        listeners: listeners(&log, run, &processes),
        // Of others than the last, the first message of the next incarnation tells.
        deaths: BTreeMap::new(),
        killed: saved.killed.clone(),
        holds_back: algorithm.channels == Channels::Fifo,
        suppresses: true,
        broken_off: ending.is_some(),
    };
    let matching = audit::match_messages(&ledger.book, &log, &circumstances);
    let observed: Vec<_> = analysis
        .protocols
        .iter()
        .filter(|tally| tally.name == protocol)
        .cloned()
        .collect();
    let accounts = accounts(
        algorithm,
        &[],
        &BTreeMap::new(),
        &ledger.totals,
        &observed,
        |node| matching.is_some() || saved.killed.contains(&node),
    );
    let audit = match &matching {
        Some(matching) => {
            audit::reconcile_matched(&accounts, &observed, completeness.state, matching)
        }
        None => audit::reconcile(&accounts, &observed, completeness.state),
    };
    let source = Source {
        kind: SourceKind::File,
        interface: facts.interfaces.first().cloned(),
        files: vec![saved.capture.display().to_string()],
        snaplen: facts.snaplen,
        link_types: facts.link_types.iter().copied().collect(),
        partial: ending.is_some(),
        ..Source::default()
    };
    Ok(Finished {
        report: Report::new(
            &analysis,
            completeness,
            source,
            Some(ledger.limits(audit)),
            models,
        ),
        folder: saved.capture.clone(),
        problems: ending.into_iter().collect(),
        n: processes.len() as u32,
        unwritten: false,
    })
}

/// The run that is meant: the one that the ledger is of, where there is one.
fn run_of(saved: &SavedRun) -> Result<u64, RunError> {
    let mut runs = BTreeSet::new();
    for record in ledger::Reader::open(&saved.ledger)? {
        runs.insert(record?.run);
    }
    let unfit = |problem: String| unfit(&saved.ledger, problem);
    let named: Vec<String> = runs.iter().map(u64::to_string).collect();
    match (saved.run, runs.first()) {
        (_, None) => Err(unfit("there is no record in it".to_owned())),
        (Some(run), _) if runs.contains(&run) => Ok(run),
        (Some(run), _) => Err(unfit(format!(
            "there is no record of run {run} in it, but of {}",
            named.join(", ")
        ))),
        (None, Some(run)) if runs.len() == 1 => Ok(*run),
        (None, _) => Err(unfit(format!(
            "it is of {} runs; choose one with --run: {}",
            runs.len(),
            named.join(", ")
        ))),
    }
}

fn unfit(path: &Path, problem: String) -> RunError {
    let path = path.to_owned();
    FolderError::Content { path, problem }.into()
}

/// The protocol of a run's ledger.
fn protocol_of(path: &Path, ledger: &Ledger) -> Result<String, RunError> {
    let kinds = ledger.totals.kinds.keys();
    let names: BTreeSet<&str> = kinds.map(|(protocol, _)| protocol.as_str()).collect();
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only.to_owned()),
        _ => Err(unfit(
            path,
            "the run's records are of several protocols".to_owned(),
        )),
    }
}

/// The protocol on the user's ports or its built-in ones, and of its frames those of the run.
fn plan_of(saved: &SavedRun, protocol: &str, run: u64) -> Result<Arc<ProtocolPlan>, RunError> {
    let mut definitions = saved.protocols.clone();
    if let Some(built_in) = protocols::by_name(protocol)
        && definitions.iter().all(|own| own.name != protocol)
    {
        definitions.push(ProtocolDefinition {
            name: protocol.to_owned(),
            ports: PortSet::range(built_in.ports.clone()),
            transport: Some(TransportKind::Tcp),
            framing: FramingChoice::WireWatt { run: Some(run) },
        });
    }
    for definition in definitions.iter_mut().filter(|own| own.name == protocol) {
        definition.framing = FramingChoice::WireWatt { run: Some(run) };
    }
    Ok(ProtocolPlan::new(&definitions).map(Arc::new)?)
}

/// Who listens where, by the messages that came there: and where all known processes listen on a
/// base port and their number, the others by that rule.
fn listeners(log: &MessageLog, run: u64, processes: &BTreeSet<u32>) -> BTreeMap<SocketAddr, u32> {
    let by_serial: BTreeMap<u64, SocketAddr> = log
        .connections
        .iter()
        .map(|connection| (connection.serial, connection.listener))
        .collect();
    let mut known: BTreeMap<SocketAddr, u32> = BTreeMap::new();
    for message in log.messages.iter().filter(|one| one.label.run == run) {
        if let Some(listener) = by_serial.get(&message.connection) {
            let process = match message.way {
                Way::ToListener => message.label.receiver,
                Way::FromListener => message.label.sender,
            };
            known.insert(*listener, process);
        }
    }
    let bases: BTreeSet<_> = known
        .iter()
        .map(|(address, process)| {
            (
                address.ip(),
                i64::from(address.port()) - i64::from(*process),
            )
        })
        .collect();
    if let (Some((ip, base)), 1) = (bases.first(), bases.len()) {
        for process in processes {
            if let Ok(port) = u16::try_from(base + i64::from(*process)) {
                known.insert(SocketAddr::new(*ip, port), *process);
            }
        }
    }
    known
}
