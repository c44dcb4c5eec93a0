//! What came of a simulated run, and what is to be said of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{CountsByKind, Scenario, Sent, WireCost};
use crate::algorithm::{
    Algorithm, Case, Event, Execution, FailureModel, Judgement, Phase, ProcessId, PropertyKind,
    ProtocolError,
};
use crate::units::Messages;

/// Messages of one kind. Messages to oneself are not among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent by a process.
    pub attempted: u64,
    /// Refused, since the receiver was down when they were sent.
    pub refused: u64,
    /// Lost on the way: by the network, by a partition, or by a crash of the receiver.
    pub lost: u64,
    /// Come a second time.
    pub duplicated: u64,
    /// Handled by the receiver.
    pub handled: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing was left to happen.
    Quiet,
    /// It was cut at the scenario's limit.
    Limit,
}

/// What came of a simulated run.
#[derive(Debug)]
pub struct Run {
    /// The algorithm.
    pub algorithm: &'static Algorithm,
    /// What was simulated.
    pub scenario: Scenario,
    /// What processes reported, in order, with its virtual time.
    pub events: Vec<Event>,
    /// Messages by kind: every kind of the protocol is there.
    pub counts: CountsByKind,
    /// Processes that are down at the end, ascending; those that are absent from the beginning are
    /// among them.
    pub crashed: Vec<ProcessId>,
    /// Processes that crashed at any time, in order, once for each crash.
    pub died: Vec<ProcessId>,
    /// How it ended.
    pub ended: End,
    /// Virtual time of the last thing that happened.
    pub time: Duration,
    /// Every message in the order of sending, where [`Scenario::log`] asked for it.
    pub messages_log: Vec<Sent>,
    /// What each process had persisted last.
    pub persisted: BTreeMap<ProcessId, Vec<u8>>,
    /// Messages that a process had no place for, and whose process it was.
    pub errors: Vec<(ProcessId, ProtocolError)>,
    /// What it would cost on the wire, where [`Scenario::wire`] asked for it.
    pub wire: Option<WireCost>,
}

impl Run {
    /// How many messages of this kind were attempted.
    pub fn attempted(&self, kind: &str) -> u64 {
        self.counts.get(kind).map_or(0, |counts| counts.attempted)
    }

    /// All kinds together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for counts in self.counts.values() {
            total.attempted += counts.attempted;
            total.refused += counts.refused;
            total.lost += counts.lost;
            total.duplicated += counts.duplicated;
            total.handled += counts.handled;
        }
        total
    }

    /// How many operations ended, whatever came of them.
    pub fn completed(&self) -> u64 {
        self.case().complete()
    }

    /// Whether nothing failed: no process crashed, no message was lost, refused or came twice.
    pub fn failure_free(&self) -> bool {
        let total = self.total();
        self.died.is_empty() && total.lost + total.refused + total.duplicated == 0
    }

    /// What the formula is asked about.
    pub fn case(&self) -> Case<'_> {
        Case {
            n: self.scenario.n,
            rounds: self.scenario.rounds,
            options: &self.scenario.options,
            events: &self.events,
            died: &self.died,
        }
    }

    /// What properties are asked about.
    pub fn execution(&self) -> Execution<'_> {
        Execution {
            n: self.scenario.n,
            rounds: self.scenario.rounds,
            options: &self.scenario.options,
            events: &self.events,
            crashed: &self.crashed,
        }
    }

    /// Messages that came and that the algorithm has no place for, with the process to which they
    /// came. Where the algorithm lives with processes that do anything, they break nothing.
    pub fn protocol_errors(&self) -> &[(ProcessId, ProtocolError)] {
        match self.algorithm.failures {
            FailureModel::Byzantine => &[],
            _ => &self.errors,
        }
    }

    /// Whether every safety property holds.
    ///
    /// # Errors
    ///
    /// Why one does not, or which message came that the algorithm has no place for, and the seed.
    pub fn safety(&self) -> Result<(), String> {
        if let Some((process, error)) = self.protocol_errors().first() {
            return Err(self.broken("protocol", &format!("at process {process}: {error}")));
        }
        self.check(PropertyKind::Safety)
    }

    /// Whether no property is broken, safety or liveness. Liveness properties speak of executions
    /// in which every message between live processes came: ask [`Run::safety`] of others.
    ///
    /// # Errors
    ///
    /// Why one does not, and the seed; also where the run was cut at its limit, which leaves
    /// liveness open.
    pub fn properties(&self) -> Result<(), String> {
        self.safety()?;
        if self.ended == End::Limit {
            let limit = self.scenario.limit;
            return Err(self.broken("termination", &format!("not at its end after {limit:?}")));
        }
        self.check(PropertyKind::Liveness)
    }

    fn check(&self, kind: PropertyKind) -> Result<(), String> {
        let execution = self.execution();
        for property in self.algorithm.properties {
            if property.kind == kind
                && let Judgement::Broken(why) = property.judge(&execution)
            {
                return Err(self.broken(property.name, &why));
            }
        }
        Ok(())
    }

    fn broken(&self, what: &str, why: &str) -> String {
        let mut text = format!("{}: {what} does not hold: {why}\n", self.algorithm.name);
        let _ = write!(
            text,
            "in {:?}\n{}",
            self.scenario,
            self.scenario.command(self.algorithm)
        );
        text
    }

    /// Asserts that every operation ended and that the formula admits what was attempted, kind by
    /// kind; and where nothing failed, that the identities between kinds hold.
    ///
    /// # Panics
    ///
    /// Where that is not so.
    pub fn assert_formula(&self) {
        let (case, scenario) = (self.case(), &self.scenario);
        let operations =
            (self.algorithm.operations)(scenario.n, scenario.rounds, &scenario.options);
        assert_eq!(case.complete(), operations, "operations of {scenario:?}");
        assert_eq!(case.open(), 0, "open operations of {scenario:?}");
        let rows = (self.algorithm.expected)(&case);
        assert_eq!(rows.len(), self.counts.len(), "one row a kind");
        for row in rows {
            let attempted = self.attempted(row.kind);
            assert!(
                row.count.admits(Messages::new(attempted)),
                "{row:?}: {attempted} attempted in {scenario:?}"
            );
        }
        if self.failure_free() {
            for identity in self.algorithm.identities {
                let text = identity.text;
                let holds = identity.holds(|kind| self.attempted(kind));
                assert!(holds, "{text}: {:?} in {scenario:?}", self.counts);
            }
        }
    }

    /// Asserts that the formula for one operation admits what all of them together cost, where
    /// nothing failed and every operation took effect.
    ///
    /// # Panics
    ///
    /// Where that is not so.
    pub fn assert_per_operation(&self) {
        let (case, scenario) = (self.case(), &self.scenario);
        assert!(self.failure_free() && case.completed().all(|end| end.phase == Phase::Ok));
        let expected =
            (self.algorithm.per_operation)(scenario.n, &scenario.options) * case.complete();
        let attempted = self.total().attempted;
        assert!(
            expected.admits(Messages::new(attempted)),
            "{expected:?}: {attempted} attempted in {scenario:?}"
        );
    }
}
