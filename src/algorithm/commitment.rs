//! What the protocols of atomic commitment have in common: votes, decisions, who votes no, and
//! what they promise (Bernstein, Hadzilacos & Goodman, *Concurrency Control and Recovery in
//! Database Systems*, 1987, section 7.3, conditions AC1 to AC5).
//!
//! In: what processes note with [`note_vote`] and [`note_decision`], and the participants that a
//! transaction's invocation names. Out: properties over them. It sends nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Event, Execution, OperationId, OptionSpec, Options, Phase, ProcessId, Property,
    PropertyKind, SetupError, Step,
};

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// All of it takes effect, everywhere.
    Commit,
    /// None of it does, anywhere.
    Abort,
}

impl Decision {
    /// How an operation ends that was decided so.
    pub fn phase(self) -> Phase {
        match self {
            Self::Commit => Phase::Ok,
            Self::Abort => Phase::Fail,
        }
    }
}

/// The votes that a coordinator has.
#[derive(Debug, Clone, Default, Hash)]
pub struct Votes {
    /// Who voted yes.
    pub yes: BTreeSet<ProcessId>,
    /// Who voted no.
    pub no: BTreeSet<ProcessId>,
}

impl Votes {
    /// Those of `asked` that have not voted.
    pub fn silent(&self, asked: impl Iterator<Item = ProcessId>) -> BTreeSet<ProcessId> {
        let voted = |id: &ProcessId| self.yes.contains(id) || self.no.contains(id);
        asked.filter(|id| !voted(id)).collect()
    }
}

/// Notes how a process votes.
pub fn note_vote(says_yes: bool, operation: OperationId, step: &mut Step<'_>) {
    let vote = if says_yes { "yes" } else { "no" };
    step.note("voted", operation, json!({ "vote": vote }));
}

/// Notes what a process has decided, by itself or because it was told.
pub fn note_decision(decision: Decision, operation: OperationId, step: &mut Step<'_>) {
    step.note("decided", operation, json!({ "decision": decision }));
}

/// No two decisions on a transaction differ, a process's later ones included: AC1 and AC2.
pub const AGREEMENT: Property = Property {
    name: "agreement",
    kind: PropertyKind::Safety,
    about: "no two processes decide differently on a transaction, nor one process twice",
    premise: ALWAYS,
    check: agreement,
};

/// A commit needs every vote, and an abort a reason: AC3, and AC4 as far as events tell.
pub const VALIDITY: Property = Property {
    name: "validity",
    kind: PropertyKind::Safety,
    about: "commit only if every participant voted yes; abort only if one voted no or was not heard",
    premise: ALWAYS,
    check: validity,
};

/// Whoever lives decides: AC5 without the proviso that failures are repaired, which two-phase commit
/// cannot promise.
pub const NON_BLOCKING: Property = Property {
    name: "non-blocking",
    kind: PropertyKind::Liveness,
    about: "every live process that voted yes decides, whoever died",
    premise: somebody_is_in_doubt,
    check: |execution| match undecided(execution) {
        Some((process, OperationId(operation))) => Err(format!(
            "process {process} is blocked in operation {operation}"
        )),
        None => Ok(()),
    },
};

fn somebody_is_in_doubt(execution: &Execution<'_>) -> Result<(), &'static str> {
    let mut voters = execution.notes("voted");
    let in_doubt = |event: &Event| says_yes(event).unwrap_or(false);
    let lives = voters.any(|event| in_doubt(event) && !execution.is_crashed(event.node));
    lives.then_some(()).ok_or("no live process has voted yes")
}

fn says_yes(event: &Event) -> Result<bool, String> {
    let vote: Option<String> = event.field("vote");
    match vote.as_deref() {
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        _ => Err("a vote without its word".to_owned()),
    }
}

fn agreement(execution: &Execution<'_>) -> Result<(), String> {
    let mut first: BTreeMap<OperationId, (ProcessId, Decision)> = BTreeMap::new();
    for event in execution.notes("decided") {
        let operation = event.outcome.operation;
        let decision = decision(event)?;
        let &mut (process, before) = first.entry(operation).or_insert((event.node, decision));
        if before != decision {
            return Err(format!(
                "operation {}: process {process} decided {before:?} and process {} {decision:?}",
                operation.0, event.node
            ));
        }
    }
    Ok(())
}

fn validity(execution: &Execution<'_>) -> Result<(), String> {
    let mut asked: BTreeMap<OperationId, BTreeSet<ProcessId>> = BTreeMap::new();
    let mut votes: BTreeMap<(OperationId, ProcessId), bool> = BTreeMap::new();
    let mut committed: BTreeSet<OperationId> = BTreeSet::new();
    for event in execution.events {
        let (process, operation) = (event.node, event.outcome.operation);
        let breaks = |what: String| Err(format!("operation {}: {what}", operation.0));
        match event.note() {
            Some("voted") => {
                votes.insert((operation, process), says_yes(event)?);
                if !says_yes(event)? && committed.contains(&operation) {
                    return breaks(format!("process {process} votes no after a commit"));
                }
            }
            Some("decided") if decision(event)? == Decision::Commit => {
                committed.insert(operation);
                let asked = asked.get(&operation).ok_or("a commit uninvoked")?;
                let yes = |id: &&ProcessId| votes.get(&(operation, **id)) == Some(&true);
                if let Some(other) = asked.iter().find(|id| !yes(id)) {
                    let voted = match votes.get(&(operation, *other)) {
                        Some(_) => "no",
                        None => "nothing yet",
                    };
                    return breaks(format!(
                        "process {process} commits and process {other} voted {voted}"
                    ));
                }
            }
            None if event.outcome.phase == Phase::Invoke => {
                asked.extend(event.field("participants").map(|ids| (operation, ids)));
            }
            _ => {}
        }
    }
    for event in execution.events {
        let ended: Option<Ended> = Ended::deserialize(&*event.outcome.value).ok();
        if event.outcome.phase == Phase::Fail
            && ended.is_some_and(|ended| ended.no.is_empty() && ended.silent.is_empty())
        {
            let operation = event.outcome.operation.0;
            return Err(format!("operation {operation} was aborted for no reason"));
        }
    }
    Ok(())
}

/// What the end of a transaction tells about the votes.
#[derive(Debug, Deserialize)]
struct Ended {
    no: BTreeSet<ProcessId>,
    silent: BTreeSet<ProcessId>,
}

fn decision(event: &Event) -> Result<Decision, String> {
    event
        .field("decision")
        .ok_or_else(|| "a decision without its word".to_owned())
}

/// A live process that voted yes and has not decided: it is blocked. AC5 is that there is none.
pub fn undecided(execution: &Execution<'_>) -> Option<(ProcessId, OperationId)> {
    let decided: BTreeSet<_> = execution
        .notes("decided")
        .map(|event| (event.node, event.outcome.operation))
        .collect();
    execution
        .notes("voted")
        .map(|event| (event.node, event.outcome.operation))
        .find(|voter| !decided.contains(voter) && !execution.is_crashed(voter.0))
}

/// What tells histories from one another for these properties: the order of each process's own
/// events, and whether it voted before anybody committed. Who decided first is forgotten.
pub fn votes_and_decisions(events: Vec<Event>) -> Vec<Event> {
    let is_commit =
        |event: &Event| event.note() == Some("decided") && decision(event) == Ok(Decision::Commit);
    let mut voted = BTreeSet::new();
    let mut committed: BTreeMap<OperationId, BTreeSet<ProcessId>> = BTreeMap::new();
    // How many commits each process had made, and last of all votes that came too late.
    let places: Vec<(usize, ProcessId)> = events
        .iter()
        .map(|event| {
            let (process, operation) = (event.node, event.outcome.operation);
            if is_commit(event) {
                committed.entry(operation).or_default().insert(process);
            }
            let is_vote = event.note() == Some("voted") && voted.insert((operation, process));
            let place = match is_vote && committed.contains_key(&operation) {
                true => usize::MAX,
                false => committed
                    .values()
                    .filter(|by| by.contains(&process))
                    .count(),
            };
            (place, process)
        })
        .collect();
    let mut placed: Vec<_> = places.into_iter().zip(events).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, event)| event).collect()
}

/// The option that makes participants vote no.
pub const VOTE_NO: OptionSpec = OptionSpec {
    name: "vote-no",
    about: "participants that vote no: ids, or id@transaction, separated by commas",
    default: "nobody",
};

/// Who votes no, in which transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct VotesNo(Vec<(ProcessId, Option<u32>)>);

impl VotesNo {
    /// Reads the option [`VOTE_NO`] among `n` processes.
    pub fn read(options: &Options, n: u32) -> Result<Self, SetupError> {
        let Some(value) = options.get(VOTE_NO.name) else {
            return Ok(Self::default());
        };
        let rule = |text: &str| {
            let (id, transaction) = match text.split_once('@') {
                Some((id, transaction)) => (id, Some(transaction.parse().ok()?)),
                None => (text, None),
            };
            let id: u32 = id.parse().ok()?;
            (1..n).contains(&id).then_some((ProcessId(id), transaction))
        };
        let rules: Option<Vec<_>> = value.split(',').map(|text| rule(text.trim())).collect();
        rules.map(Self).ok_or_else(|| SetupError::BadOption {
            option: VOTE_NO.name,
            value: value.to_owned(),
            expected: "participants' ids from 1 to N-1, each as ID or ID@TRANSACTION",
        })
    }

    /// Whether this participant votes no in this transaction, counted from 1.
    pub fn contains(&self, id: ProcessId, transaction: u32) -> bool {
        self.0
            .iter()
            .any(|&(who, when)| who == id && when.is_none_or(|when| when == transaction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Outcome;
    use crate::units::Timestamp;

    fn event(node: u32, phase: Phase, value: serde_json::Value) -> Event {
        let outcome = Outcome {
            phase,
            operation: OperationId(1),
            value: value.into(),
        };
        Event {
            node: ProcessId(node),
            time: Timestamp::from_nanos(0),
            outcome,
        }
    }

    fn check(property: &Property, events: &[Event]) -> Result<(), String> {
        (property.check)(&Execution {
            n: 3,
            rounds: 1,
            options: &Options::default(),
            events,
            crashed: &[],
        })
    }

    fn invoked() -> Event {
        event(0, Phase::Invoke, json!({ "participants": [1, 2] }))
    }

    fn noted(node: u32, name: &str, field: &str, value: &str) -> Event {
        event(node, Phase::Note, json!({ "note": name, field: value }))
    }

    #[test]
    fn two_decisions_break_agreement() {
        let commit = noted(1, "decided", "decision", "commit");
        let abort = noted(2, "decided", "decision", "abort");
        assert_eq!(check(&AGREEMENT, &[commit.clone(), commit.clone()]), Ok(()));
        assert!(check(&AGREEMENT, &[commit, abort]).is_err());
    }

    #[test]
    fn a_commit_without_every_vote_breaks_validity() {
        let mut events = vec![
            invoked(),
            noted(1, "voted", "vote", "yes"),
            noted(2, "voted", "vote", "yes"),
            noted(0, "decided", "decision", "commit"),
        ];
        assert_eq!(check(&VALIDITY, &events), Ok(()));
        events[2] = noted(2, "voted", "vote", "no");
        assert!(check(&VALIDITY, &events).is_err());
        events.remove(2);
        assert!(check(&VALIDITY, &events).is_err());
        // It votes, and too late.
        events.push(noted(2, "voted", "vote", "yes"));
        assert!(check(&VALIDITY, &events).is_err());
    }

    #[test]
    fn an_abort_without_a_reason_breaks_validity() {
        let fail = |no: &[u32]| event(0, Phase::Fail, json!({ "no": no, "silent": [] }));
        assert_eq!(check(&VALIDITY, &[invoked(), fail(&[2])]), Ok(()));
        assert!(check(&VALIDITY, &[invoked(), fail(&[])]).is_err());
    }

    #[test]
    fn votes_no_are_read_or_refused() {
        let read = |value: &str| {
            VotesNo::read(
                &Options([("vote-no".to_owned(), value.to_owned())].into()),
                4,
            )
        };
        assert!(
            read("1,3@2").is_ok_and(|rules| rules.contains(ProcessId(3), 2)
                && !rules.contains(ProcessId(3), 1)
                && rules.contains(ProcessId(1), 9))
        );
        for bad in ["0", "4", "x", "1@", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
