//! Reports on parts of a capture added up to the report on the whole.
//!
//! Counts add, since the parts share no connection. Completeness, energy and emissions are computed
//! again from the sums. What cannot be added is left out: an audit holds the accounts of a whole run
//! against a whole capture.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Models, Report, SCHEMA, Source, SourceKind, Tool, protocol_report};
use crate::analysis::{Completeness, CompletenessState, SourceLosses, earliest, merge_rows};
use crate::capture::Part;
use crate::tally::ProtocolTally;
use crate::units::{Mtu, Packets, Timestamp};

/// What one of the reports was on that were added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedSource {
    /// The report, as the user named it.
    pub report: String,
    /// What kind of source.
    pub kind: SourceKind,
    /// The interface of a live capture.
    pub interface: Option<String>,
    /// The files of a saved one.
    pub files: Vec<String>,
    /// The parts of divided captures that the files are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The earliest packet's time.
    pub first_packet: Option<Timestamp>,
    /// The latest packet's time.
    pub last_packet: Option<Timestamp>,
    /// Whether it was ended before what it observes was over.
    pub partial: bool,
    /// Packets in it.
    pub packets_seen: Packets,
    /// How far it is known to be complete.
    pub state: CompletenessState,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// Why reports cannot be added.
#[derive(Debug, Error)]
pub enum MergeError {
    /// No report was given.
    #[error("there is no report to merge")]
    Nothing,
    /// Not a report of the schema that is known here.
    #[error("{report}: its schema is '{found}', and '{SCHEMA}' can be merged")]
    Schema {
        /// The report.
        report: String,
        /// Its schema.
        found: String,
    },
    /// Another program or another version of it has counted.
    #[error(
        "{report}: made by {found}, and this is {this}: versions may count differently; analyse the \
         capture again with one of them"
    )]
    Version {
        /// The report.
        report: String,
        /// What made it.
        found: String,
        /// What would merge it.
        this: String,
    },
    /// It does not say what its packets were sorted by, or does not hold what adding needs.
    #[error(
        "{report}: lacks {what}, without which reports do not add up exactly; analyse the capture \
         again"
    )]
    Lacks {
        /// The report.
        report: String,
        /// What it lacks.
        what: &'static str,
    },
    /// Packets were sorted into other protocols.
    #[error(
        "{first} and {second} sort packets into different protocols: analyse all parts with the same \
         --protocol and --protocols"
    )]
    Plan {
        /// A report.
        first: String,
        /// One that differs from it.
        second: String,
    },
    /// Their frames are of different links.
    #[error(
        "{first} projects packets onto an MTU of {first_mtu} and {second} onto {second_mtu}, and their \
         sizes are not kept: analyse all parts with the same --mtu"
    )]
    Mtu {
        /// A report.
        first: String,
        /// Its MTU.
        first_mtu: Mtu,
        /// One that differs from it.
        second: String,
        /// And its MTU.
        second_mtu: Mtu,
    },
    /// The same packets would count twice.
    #[error("{first} and {second} are on the same {what}: it would count twice")]
    Twice {
        /// A report.
        first: String,
        /// Another, or the same given twice.
        second: String,
        /// What both are on.
        what: String,
    },
}

/// Adds reports, each with the name that the user gave it.
///
/// # Errors
///
/// [`MergeError`] where they do not add up to the report on the whole.
pub fn merge(reports: Vec<(String, Report)>, models: &Models) -> Result<Report, MergeError> {
    check(&reports)?;
    let losses = merge_losses(&reports);
    let sources = reports
        .iter()
        .flat_map(|(name, report)| sources(name, report));
    let merged: Vec<MergedSource> = sources.collect();
    let mut reports = reports.into_iter().map(|(_, report)| report);
    let Some(mut sum) = reports.next() else {
        return Err(MergeError::Nothing);
    };
    let mut packets = sum.completeness.packets_seen;
    let mut evidence = sum.completeness.evidence;
    let mut tallies: Vec<ProtocolTally> = tallies(sum.protocols);
    for other in reports {
        merge_rows(
            &mut tallies,
            self::tallies(other.protocols),
            ProtocolTally::merge,
            |tally| tally,
        );
        sum.unclassified.merge(&other.unclassified);
        sum.undecoded.merge(&other.undecoded);
        packets += other.completeness.packets_seen;
        evidence.merge(&other.completeness.evidence);
        let beginning = other.source.beginning.clone();
        merge_source(&mut sum.source, other.source);
        let first_packet = sum.source.first_packet;
        sum.source
            .beginning
            .merge(&beginning, first_packet, &mut evidence);
    }
    // Parts that were missing from an earlier sum may be there now.
    sum.source.partial = losses.missing_parts > 0 || merged.iter().any(|source| source.partial);
    sum.source.merged = merged;
    Ok(Report {
        completeness: Completeness::judge(packets, &evidence, &losses),
        protocols: tallies
            .iter()
            .map(|tally| protocol_report(tally, models))
            .collect(),
        run: None,
        fault_cost: None,
        host_energy: None,
        audit: None,
        command: Vec::new(),
        ..sum
    })
}

fn tallies(protocols: Vec<super::ProtocolReport>) -> Vec<ProtocolTally> {
    protocols.into_iter().map(|row| row.tally).collect()
}

/// Whether the reports add up.
fn check(reports: &[(String, Report)]) -> Result<(), MergeError> {
    let this = Tool::this();
    let told = |tool: &Tool| format!("{} {}", tool.name, tool.version);
    for (name, report) in reports {
        let report_name = || name.clone();
        let lacks = |what| MergeError::Lacks {
            report: report_name(),
            what,
        };
        if report.schema != SCHEMA {
            return Err(MergeError::Schema {
                report: report_name(),
                found: report.schema.clone(),
            });
        }
        if report.tool != this {
            return Err(MergeError::Version {
                report: report_name(),
                found: told(&report.tool),
                this: told(&this),
            });
        }
        if report.plan.is_none() {
            return Err(lacks("what its packets were sorted by"));
        }
        let mut protocols = report.protocols.iter();
        if !protocols.all(|protocol| protocol.tally.operations.can_merge()) {
            return Err(lacks("the ids of operations"));
        }
    }
    // What was in no protocol is not projected.
    let mut mtus = reports.iter().flat_map(|(name, report)| {
        let rows = report.protocols.iter();
        rows.map(move |row| (name, row.tally.projection.mtu))
    });
    if let Some((first, first_mtu)) = mtus.next()
        && let Some((second, second_mtu)) = mtus.find(|(_, mtu)| *mtu != first_mtu)
    {
        return Err(MergeError::Mtu {
            first: first.clone(),
            first_mtu,
            second: second.clone(),
            second_mtu,
        });
    }
    let mut seen_parts: BTreeMap<&Part, &String> = BTreeMap::new();
    for (i, (name, report)) in reports.iter().enumerate() {
        let (first_name, first) = &reports[0];
        if report.plan != first.plan {
            return Err(MergeError::Plan {
                first: first_name.clone(),
                second: name.clone(),
            });
        }
        for part in &report.source.parts {
            if let Some(other) = seen_parts.insert(part, name) {
                return Err(MergeError::Twice {
                    first: other.clone(),
                    second: name.clone(),
                    what: format!("part {} of {}", part.number, part.of),
                });
            }
        }
        let same = |(_, other): &&(String, Report)| {
            let key = |report: &Report| {
                let source = &report.source;
                let times = (source.first_packet, source.last_packet);
                (
                    source.files.clone(),
                    times,
                    report.completeness.packets_seen,
                )
            };
            report.source.parts.is_empty()
                && report.completeness.packets_seen > Packets::ZERO
                && key(report) == key(other)
        };
        if let Some((other, _)) = reports[..i].iter().find(same) {
            return Err(MergeError::Twice {
                first: other.clone(),
                second: name.clone(),
                what: "capture".to_owned(),
            });
        }
    }
    Ok(())
}

/// What a report was on: itself, or what it was added up from.
fn sources(name: &str, report: &Report) -> Vec<MergedSource> {
    let source = &report.source;
    if !source.merged.is_empty() {
        return source.merged.clone();
    }
    vec![MergedSource {
        report: name.to_owned(),
        kind: source.kind,
        interface: source.interface.clone(),
        files: source.files.clone(),
        parts: source.parts.clone(),
        first_packet: source.first_packet,
        last_packet: source.last_packet,
        partial: source.partial,
        packets_seen: report.completeness.packets_seen,
        state: report.completeness.state,
        reasons: report.completeness.reasons.clone(),
    }]
}

fn merge_source(mine: &mut Source, mut other: Source) {
    if mine.kind != other.kind {
        mine.kind = SourceKind::File;
    }
    if mine.interface.is_none() {
        mine.interface = other.interface;
    }
    mine.files.append(&mut other.files);
    mine.first_packet = earliest(mine.first_packet, other.first_packet);
    mine.last_packet = mine.last_packet.max(other.last_packet);
    mine.snaplen = mine.snaplen.max(other.snaplen);
    mine.link_types.append(&mut other.link_types);
    mine.link_types.sort_unstable();
    mine.link_types.dedup();
    if mine.filter != other.filter {
        let filters = [mine.filter.take(), other.filter];
        let told = filters.map(|filter| filter.unwrap_or_else(|| "none".to_owned()));
        mine.filter = Some(told.join("; of another part: "));
    }
    mine.parts.append(&mut other.parts);
    mine.parts.sort_unstable();
}

/// What the sources know of their losses, all together.
fn merge_losses(reports: &[(String, Report)]) -> SourceLosses {
    let all = || reports.iter().map(|(_, report)| report);
    let losses = || all().map(|report| &report.completeness.losses);
    let markers = || losses().map(|losses| losses.markers_seen);
    let markers_seen = if markers().any(|seen| seen == Some(false)) {
        Some(false)
    } else {
        let everywhere = markers().all(|seen| seen == Some(true));
        (everywhere && !reports.is_empty()).then_some(true)
    };
    SourceLosses {
        packets_dropped: merge_drops(reports, |losses| losses.packets_dropped),
        softnet_dropped: merge_drops(reports, |losses| losses.softnet_dropped),
        markers_seen,
        cut_short: losses().any(|losses| losses.cut_short),
        missing_parts: missing_parts(all().flat_map(|report| &report.source.parts)),
    }
}

/// What a divided capture knew of its losses stands in one of its parts. Otherwise a number that is
/// not known makes the sum unknown, unless there is something to tell.
fn merge_drops(
    reports: &[(String, Report)],
    of: impl Fn(&SourceLosses) -> Option<Packets>,
) -> Option<Packets> {
    let mut by_set: BTreeMap<String, Option<Packets>> = BTreeMap::new();
    for (i, (_, report)) in reports.iter().enumerate() {
        let sets: BTreeSet<_> = report.source.parts.iter().map(|part| &part.set).collect();
        let key = match sets.first() {
            Some(set) if sets.len() == 1 => format!("set {set}"),
            _ => format!("report {i}"),
        };
        let sum = by_set.entry(key).or_default();
        if let Some(dropped) = of(&report.completeness.losses) {
            *sum = Some(sum.unwrap_or_default() + dropped);
        }
    }
    let sum = by_set.values().flatten().copied().sum::<Packets>();
    let known = by_set.values().all(Option::is_some);
    (known || sum > Packets::ZERO).then_some(sum)
}

/// How many parts of the divided captures that these are parts of are not among them.
fn missing_parts<'a>(parts: impl Iterator<Item = &'a Part>) -> u64 {
    let mut sets: BTreeMap<&str, (u64, BTreeSet<u16>)> = BTreeMap::new();
    for part in parts {
        let (of, numbers) = sets.entry(&part.set).or_default();
        *of = u64::from(part.of);
        numbers.insert(part.number);
    }
    let missing = sets
        .values()
        .map(|(of, numbers)| of.saturating_sub(numbers.len() as u64));
    missing.sum()
}
