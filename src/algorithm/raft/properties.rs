//! The properties of Figure 3, on what servers told. Leader Append-Only, its second, is a rule on
//! what a leader does and has no check of its own: to break it is to break log matching.

use std::collections::BTreeMap;

use crate::algorithm::{ALWAYS, Event, Execution, Phase, Property, PropertyKind};

pub const ALL: &[Property] = &[
    Property {
        name: "election safety",
        kind: PropertyKind::Safety,
        about: "at most one leader is elected in a term",
        premise: ALWAYS,
        check: election_safety,
    },
    Property {
        name: "log matching",
        kind: PropertyKind::Safety,
        about: "logs that have an entry with the same index and term are identical up to it",
        premise: ALWAYS,
        check: log_matching,
    },
    Property {
        name: "leader completeness",
        kind: PropertyKind::Safety,
        about: "an entry that is committed in a term is in the log of the leader of every later term",
        premise: ALWAYS,
        check: leader_completeness,
    },
    Property {
        name: "state machine safety",
        kind: PropertyKind::Safety,
        about: "no two servers apply different entries for the same index",
        premise: ALWAYS,
        check: state_machine_safety,
    },
    Property {
        name: "progress",
        kind: PropertyKind::Liveness,
        about: "where a majority of servers lives, as many commands are answered as there were to be",
        premise: can_progress,
        check: progress,
    },
];

fn number(event: &Event, field: &str) -> Result<u64, String> {
    event
        .field(field)
        .ok_or_else(|| format!("server {} told no {field}: {:?}", event.node, event.outcome))
}

fn election_safety(execution: &Execution<'_>) -> Result<(), String> {
    let mut leaders = BTreeMap::new();
    for event in execution.notes("became-leader") {
        let term = number(event, "term")?;
        if let Some(other) = leaders.insert(term, event.node) {
            return Err(format!(
                "{other} and {} were elected in term {term}",
                event.node
            ));
        }
    }
    Ok(())
}

fn log_matching(execution: &Execution<'_>) -> Result<(), String> {
    let mut digests = BTreeMap::new();
    let appended = execution.notes("append-round");
    for event in appended.chain(execution.notes("appended")) {
        let (index, term) = (number(event, "index")?, number(event, "term")?);
        let digest = number(event, "digest")?;
        let (other, held) = *digests.entry((index, term)).or_insert((event.node, digest));
        if held != digest {
            return Err(format!(
                "the logs of {other} and {} differ up to index {index} of term {term}",
                event.node
            ));
        }
    }
    Ok(())
}

fn leader_completeness(execution: &Execution<'_>) -> Result<(), String> {
    // A leader commits entries of its own term only, and with one all before it.
    let mut committed: BTreeMap<u64, u64> = BTreeMap::new();
    for event in execution.notes("committed") {
        let last = committed.entry(number(event, "term")?).or_default();
        *last = number(event, "index")?.max(*last);
    }
    for event in execution.notes("became-leader") {
        let (term, last) = (number(event, "term")?, number(event, "last_index")?);
        let terms: Vec<(u64, u64)> = event.field("terms").unwrap_or_default();
        let term_at = |index: u64| {
            let run = terms.iter().rev().find(|(first, _)| *first <= index);
            run.filter(|_| index <= last).map(|(_, term)| *term)
        };
        for (&earlier, &index) in committed.range(..term) {
            if term_at(index) != Some(earlier) {
                return Err(format!(
                    "{}, the leader of term {term}, lacks entry {index}, which was committed in \
                     term {earlier}",
                    event.node
                ));
            }
        }
    }
    Ok(())
}

fn state_machine_safety(execution: &Execution<'_>) -> Result<(), String> {
    let mut applied = BTreeMap::new();
    for event in execution.notes("applied") {
        let (index, digest) = (number(event, "index")?, number(event, "digest")?);
        let (other, held) = *applied.entry(index).or_insert((event.node, digest));
        if held != digest {
            return Err(format!(
                "{other} and {} applied different commands at index {index}",
                event.node
            ));
        }
    }
    Ok(())
}

/// An `info` is the end of a command for its client, and the workload is over when so many have ended:
/// then nobody answers the command that nobody knows about.
fn can_progress(execution: &Execution<'_>) -> Result<(), &'static str> {
    let rounds = execution.rounds.into();
    if !execution.has_majority() {
        Err("no majority of servers lives")
    } else if answered(execution) < rounds && execution.ended(Phase::ends) >= rounds {
        Err("the workload ended with commands of which nobody knows whether they took effect")
    } else {
        Ok(())
    }
}

fn progress(execution: &Execution<'_>) -> Result<(), String> {
    match answered(execution) {
        answered if answered >= execution.rounds.into() => Ok(()),
        answered => Err(format!(
            "{answered} of {} commands were answered",
            execution.rounds
        )),
    }
}

fn answered(execution: &Execution<'_>) -> u64 {
    execution.ended(|phase| matches!(phase, Phase::Ok | Phase::Fail))
}
