//! Chandy–Lamport: a snapshot of a system that goes on working meanwhile (Chandy & Lamport,
//! *Distributed Snapshots: Determining Global States of Distributed Systems*, TOCS 3(1), 1985).
//!
//! Nobody can stop the world to look at it, and processes looked at one after the other show a
//! state that never was: money on its way is counted twice or not at all. So a process records its
//! own state and then sends a *marker* on every outgoing channel, before anything else. Whoever gets
//! a first marker does the same at once; the channel that it came over is recorded as empty. On
//! every other channel all that comes between the own record and that channel's marker was on its
//! way: it is the channel's state. Since channels are first in, first out, a message that was sent
//! after its sender's record comes behind the marker, so after the receiver's record: the cut is
//! consistent. What all recorded is a state that the system could have been in. Collecting the
//! records goes over no network here: they are in the run's events.
//!
//! The workload is a bank: every process begins with the same balance and makes a fixed number of
//! transfers of amounts and to receivers that it chooses. Money is neither made nor lost, so
//! balances and channels of every snapshot add up to what there was at the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    ALWAYS, Algorithm, Body, Case, Channels, Event, Execution, Expectation, Expected, FailureModel,
    KindNumber, Message, OperationId, OptionSpec, Options, OutsideFormula, Phase, Process,
    ProcessId, Property, PropertyKind, ProtocolError, Setup, SetupError, Step, Synchrony, TimerId,
    Topology,
};

const MARKER: KindNumber = KindNumber(1);
const TRANSFER: KindNumber = KindNumber(2);

/// Who begins the snapshots.
const INITIATOR: ProcessId = ProcessId(0);

const NEXT_TRANSFER: TimerId = TimerId(1);
const NEXT_SNAPSHOT: TimerId = TimerId(2);

/// The most that is transferred at once.
const LARGEST: u64 = 10;

const CITATION: &str = "Chandy & Lamport, TOCS 3(1), 1985: one marker on every directed channel";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "chandy-lamport",
    about: "a consistent snapshot of all processes and channels while transfers go on",
    citation: "Chandy & Lamport, Distributed Snapshots, TOCS 3(1), 1985",
    topology: Topology::FullMesh,
    channels: Channels::Fifo,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "every process makes its transfers for each snapshot; process 0 takes one snapshot \
               after the other",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: true,
    options: &[
        OptionSpec {
            name: "transfers",
            about: "T, how many transfers each process makes beside a snapshot",
            default: "10",
        },
        OptionSpec {
            name: "balance",
            about: "what every process has at the beginning",
            default: "100",
        },
    ],
    formula: "N(N-1), beside N*T transfers",
    per_operation: |n, options| {
        let n = u64::from(n);
        Expected::exactly(n * (n - 1) + n * u64::from(transfers(options).unwrap_or(0)))
    },
    operations: |_, rounds, _| rounds.into(),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &["transfer"],
        losses: &[],
    },
    identities: &[],
    properties: &[
        Property {
            name: "consistent cut",
            kind: PropertyKind::Safety,
            about: "what was received before the receiver's record was sent before the sender's",
            premise: ALWAYS,
            check: consistent_cut,
        },
        Property {
            name: "channel states",
            kind: PropertyKind::Safety,
            about: "a channel's state is what was sent before the sender's record and not received \
                    before the receiver's",
            premise: ALWAYS,
            check: channel_states,
        },
        Property {
            name: "conservation",
            kind: PropertyKind::Safety,
            about: "recorded balances and channels add up to the money there is",
            premise: ALWAYS,
            check: conservation,
        },
        Property {
            name: "termination",
            kind: PropertyKind::Liveness,
            about: "every process completes its part of every snapshot",
            premise: ALWAYS,
            check: termination,
        },
    ],
    points: &[],
    process,
};

fn transfers(options: &Options) -> Result<u32, SetupError> {
    options.number("transfers", 10)
}

fn balance(options: &Options) -> Result<u64, SetupError> {
    options.number("balance", 100).map(u64::from)
}

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    Ok(Box::new(Branch {
        id: setup.id,
        n: setup.n,
        rounds: setup.rounds,
        transfers: transfers(setup.options)? * setup.rounds,
        balance: balance(setup.options)?,
        made: 0,
        snapshots: 0,
        recordings: BTreeMap::new(),
        quiescing: false,
    }))
}

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let n = u64::from(case.n);
    let of_one = u64::from(transfers(case.options).unwrap_or(0)) * u64::from(case.rounds);
    let done = case.notes("transfers-done").count() as u64;
    vec![
        Expectation {
            kind: "marker",
            count: case.each(n * (n - 1)),
            formula: "N(N-1)",
            citation: CITATION,
        },
        Expectation {
            kind: "transfer",
            count: Expected::exactly(done * of_one)
                + Expected::between(0, n.saturating_sub(done) * of_one),
            formula: "N*T, the workload",
            citation: "the workload: T transfers a process beside each snapshot",
        },
    ]
}

/// A transfer, by its sender and number.
type TransferName = (ProcessId, u64);

/// Where in its process's own order of events something happened.
type Place = usize;

/// Transfers and records as the processes told them.
#[derive(Default)]
struct History {
    /// Receiver, amount and place of the sending.
    sent: BTreeMap<TransferName, (ProcessId, u64, Place)>,
    received: BTreeMap<TransferName, Place>,
    /// By snapshot and process.
    recorded: BTreeMap<(OperationId, ProcessId), Place>,
    /// By snapshot and process: its balance, and the state of each channel to it.
    snapshots: BTreeMap<(OperationId, ProcessId), Recorded>,
}

/// What a process tells when its part of a snapshot is complete.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    balance: u64,
    /// Each channel's sender, and the money on its way.
    channels: Vec<(ProcessId, u64)>,
}

impl History {
    fn read(execution: &Execution<'_>) -> Result<Self, String> {
        let mut history = Self::default();
        let mut places: BTreeMap<ProcessId, Place> = BTreeMap::new();
        for event in execution.events {
            let Some(note) = event.note() else {
                continue;
            };
            let place = places.entry(event.node).or_default();
            *place += 1;
            let place = *place;
            let key = (event.outcome.operation, event.node);
            match note {
                "sent" => {
                    let name = (event.node, number(event, "number")?);
                    let to = ProcessId(number(event, "to")? as u32);
                    let sent = (to, number(event, "amount")?, place);
                    history.sent.insert(name, sent);
                }
                "received" => {
                    let from = ProcessId(number(event, "from")? as u32);
                    let name = (from, number(event, "number")?);
                    history.received.insert(name, place);
                }
                "recorded" => {
                    history.recorded.insert(key, place);
                }
                "snapshot" => {
                    let recorded = Deserialize::deserialize(&*event.outcome.value);
                    let recorded =
                        recorded.map_err(|error: serde_json::Error| error.to_string())?;
                    history.snapshots.insert(key, recorded);
                }
                _ => {}
            }
        }
        Ok(history)
    }

    fn operations(&self) -> BTreeSet<OperationId> {
        let keys = self.recorded.keys();
        keys.map(|(operation, _)| *operation).collect()
    }

    /// Whether this happened before the process's record; None where it has not recorded.
    fn before(&self, snapshot: OperationId, process: ProcessId, place: Place) -> Option<bool> {
        let record = self.recorded.get(&(snapshot, process))?;
        Some(place < *record)
    }
}

fn number(event: &Event, name: &str) -> Result<u64, String> {
    let field = event.field(name);
    field.ok_or_else(|| format!("an event without {name}"))
}

fn consistent_cut(execution: &Execution<'_>) -> Result<(), String> {
    let history = History::read(execution)?;
    for snapshot in history.operations() {
        for (name, &(to, _, sent)) in &history.sent {
            let sent_after = history.before(snapshot, name.0, sent) == Some(false);
            let received = history.received.get(name);
            let received_before =
                received.is_some_and(|&place| history.before(snapshot, to, place) == Some(true));
            if sent_after && received_before {
                return Err(format!(
                    "snapshot {}: transfer {} of process {} was sent after its record and received \
                     before that of process {to}",
                    snapshot.0, name.1, name.0
                ));
            }
        }
    }
    Ok(())
}

fn channel_states(execution: &Execution<'_>) -> Result<(), String> {
    let history = History::read(execution)?;
    for ((snapshot, to), recorded) in &history.snapshots {
        for &(from, amount) in &recorded.channels {
            let mut sum = 0;
            for (name, &(receiver, amount, sent)) in &history.sent {
                let before = |process, place| history.before(*snapshot, process, place);
                let received_before = history
                    .received
                    .get(name)
                    .is_some_and(|&place| before(*to, place) == Some(true));
                let on_this_channel = name.0 == from && receiver == *to;
                if on_this_channel && before(from, sent) == Some(true) && !received_before {
                    sum += amount;
                }
            }
            if sum != amount {
                return Err(format!(
                    "snapshot {}: {sum} was on its way from process {from} to {to}, and {amount} \
                     was recorded",
                    snapshot.0
                ));
            }
        }
    }
    Ok(())
}

fn conservation(execution: &Execution<'_>) -> Result<(), String> {
    let history = History::read(execution)?;
    let there_is =
        u64::from(execution.n) * balance(execution.options).map_err(|error| error.to_string())?;
    for snapshot in history.operations() {
        let parts: Vec<_> = (0..execution.n)
            .filter_map(|id| history.snapshots.get(&(snapshot, ProcessId(id))))
            .collect();
        if parts.len() < execution.n as usize {
            continue;
        }
        let channels =
            |part: &Recorded| part.channels.iter().map(|(_, amount)| amount).sum::<u64>();
        let sum: u64 = parts.iter().map(|part| part.balance + channels(part)).sum();
        if sum != there_is {
            return Err(format!(
                "snapshot {} shows {sum}, and there is {there_is}",
                snapshot.0
            ));
        }
    }
    Ok(())
}

fn termination(execution: &Execution<'_>) -> Result<(), String> {
    let history = History::read(execution)?;
    for snapshot in execution.operations_of(INITIATOR) {
        let lacks = |id: &ProcessId| !history.snapshots.contains_key(&(snapshot, *id));
        if let Some(process) = (0..execution.n).map(ProcessId).find(lacks) {
            return Err(format!(
                "process {process} never completed snapshot {}",
                snapshot.0
            ));
        }
    }
    Ok(())
}

#[derive(Debug, Serialize, Deserialize)]
struct Transfer {
    /// Counts the sender's transfers, from 1.
    number: u32,
    amount: u64,
}

/// One process's part of a snapshot while it is being taken.
#[derive(Debug, Clone, Hash)]
struct Recording {
    balance: u64,
    /// What came over each channel after the own record and before its marker.
    channels: BTreeMap<ProcessId, u64>,
    /// Channels whose marker has not come.
    open: BTreeSet<ProcessId>,
}

#[derive(Debug, Clone, Hash)]
struct Branch {
    id: ProcessId,
    n: u32,
    rounds: u32,
    /// How many transfers it makes altogether.
    transfers: u32,
    balance: u64,
    /// How many it has made.
    made: u32,
    /// Snapshots that it has begun, as their initiator.
    snapshots: u32,
    recordings: BTreeMap<OperationId, Recording>,
    quiescing: bool,
}

impl Branch {
    fn others(&self) -> impl Iterator<Item = ProcessId> + use<> {
        let me = self.id;
        (0..self.n).map(ProcessId).filter(move |id| *id != me)
    }

    fn plan_transfer(&self, step: &mut Step<'_>) {
        if self.made == self.transfers {
            let value = json!({ "transfers": self.made });
            return step.note("transfers-done", OperationId::NONE, value);
        }
        let pause = 500 * (1 + step.choose(4));
        step.set_timer(NEXT_TRANSFER, Duration::from_micros(pause.into()));
    }

    fn plan_snapshot(&self, step: &mut Step<'_>) {
        let pause = 500 * step.choose(20);
        step.set_timer(NEXT_SNAPSHOT, Duration::from_micros(pause.into()));
    }

    fn transfer(&mut self, step: &mut Step<'_>) {
        let amount = match self.balance.min(LARGEST) {
            0 => 0, // nothing left: the transfer is made all the same, so that their number is fixed
            most => 1 + u64::from(step.choose(most as u32)),
        };
        let to = ProcessId((self.id.0 + 1 + step.choose(self.n - 1)) % self.n);
        self.balance -= amount;
        self.made += 1;
        let number = self.made;
        step.note(
            "sent",
            OperationId::NONE,
            json!({ "to": to, "number": number, "amount": amount }),
        );
        let body = Body::encode(&Transfer { number, amount });
        step.send(to, TRANSFER, OperationId::NONE, body);
        self.plan_transfer(step);
    }

    fn take_transfer(&mut self, from: ProcessId, transfer: &Transfer, step: &mut Step<'_>) {
        let &Transfer { number, amount } = transfer;
        self.balance += amount;
        for recording in self.recordings.values_mut() {
            if recording.open.contains(&from) {
                *recording.channels.entry(from).or_default() += amount;
            }
        }
        step.note(
            "received",
            OperationId::NONE,
            json!({ "from": from, "number": number, "amount": amount }),
        );
    }

    fn begin_snapshot(&mut self, step: &mut Step<'_>) {
        self.snapshots += 1;
        let operation = OperationId::new(INITIATOR, self.snapshots, self.n);
        let snapshot = json!({ "snapshot": self.snapshots });
        step.report(Phase::Invoke, operation, snapshot);
        self.record(operation, step);
    }

    /// The marker-sending rule: record, and send a marker on every channel before anything else.
    fn record(&mut self, operation: OperationId, step: &mut Step<'_>) {
        let recording = Recording {
            balance: self.balance,
            channels: BTreeMap::new(),
            open: self.others().collect(),
        };
        self.recordings.insert(operation, recording);
        step.note("recorded", operation, json!({ "balance": self.balance }));
        for to in self.others() {
            step.send(to, MARKER, operation, Body::empty());
        }
    }

    /// The marker-receiving rule.
    fn take_marker(&mut self, from: ProcessId, operation: OperationId, step: &mut Step<'_>) {
        if !self.recordings.contains_key(&operation) {
            self.record(operation, step);
        }
        let Some(recording) = self.recordings.get_mut(&operation) else {
            return;
        };
        recording.open.remove(&from);
        if !recording.open.is_empty() {
            return;
        }
        if let Some(recording) = self.recordings.remove(&operation) {
            self.complete(operation, &recording, step);
        }
    }

    fn complete(&mut self, operation: OperationId, recording: &Recording, step: &mut Step<'_>) {
        let on_its_way = |from| recording.channels.get(&from).copied().unwrap_or(0);
        let channels = self.others().map(|from| (from, on_its_way(from))).collect();
        let recorded = json!(Recorded {
            balance: recording.balance,
            channels,
        });
        step.note("snapshot", operation, recorded.clone());
        if self.id == INITIATOR {
            step.report(Phase::Ok, operation, recorded);
            if self.snapshots < self.rounds && !self.quiescing {
                self.plan_snapshot(step);
            }
        }
    }
}

impl Process for Branch {
    fn start(&mut self, step: &mut Step<'_>) {
        self.plan_transfer(step);
        if self.id == INITIATOR {
            self.plan_snapshot(step);
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            MARKER => self.take_marker(message.from, message.operation, step),
            TRANSFER => self.take_transfer(message.from, &message.read()?, step),
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, id: TimerId, step: &mut Step<'_>) {
        match id {
            NEXT_TRANSFER => self.transfer(step),
            NEXT_SNAPSHOT => self.begin_snapshot(step),
            _ => {}
        }
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, Order, Run, Scenario};

    fn simulate(scenario: &Scenario) -> Run {
        simulation::run(&ALGORITHM, scenario).expect("a good scenario")
    }

    #[test]
    fn a_snapshot_takes_a_marker_on_every_directed_channel() {
        for n in 2..=10 {
            for rounds in [1, 3] {
                let run = simulate(&Scenario::new(n, rounds, 11));
                assert_eq!(run.attempted("marker"), u64::from(rounds * n * (n - 1)));
                assert_eq!(run.attempted("transfer"), u64::from(rounds * n * 10));
                run.assert_formula();
                run.assert_per_operation();
                run.properties().unwrap();
            }
        }
    }

    #[test]
    fn transfers_are_as_many_as_the_option_says() {
        for transfers in [0, 1, 25] {
            let scenario = Scenario::new(4, 2, 3).option("transfers", &transfers.to_string());
            let run = simulate(&scenario);
            assert_eq!(run.attempted("transfer"), 2 * 4 * transfers);
            assert_eq!(run.attempted("marker"), 2 * 12);
            run.assert_formula();
            run.assert_per_operation();
        }
    }

    #[test]
    fn every_snapshot_is_consistent_in_thousands_of_schedules() {
        let mut on_their_way = 0;
        for seed in 0..2000 {
            let n = 2 + (seed % 4) as u32;
            // So little money that some have none at times.
            let balance = if seed % 2 == 0 { "100" } else { "5" };
            let run = simulate(&Scenario::new(n, 2, seed).option("balance", balance));
            run.properties().unwrap();
            let history = History::read(&run.execution()).unwrap();
            let channels = history.snapshots.values().flat_map(|part| &part.channels);
            on_their_way += channels.filter(|(_, amount)| *amount > 0).count();
        }
        // Snapshots of an idle system would show nothing.
        assert!(on_their_way > 2000, "{on_their_way}");
    }

    /// The algorithm needs first in, first out: without it a transfer overtakes the marker.
    #[test]
    fn without_fifo_channels_the_cut_is_not_consistent() {
        let broken = (0..100).find_map(|seed| {
            let mut scenario = Scenario::new(3, 1, seed);
            scenario.network.order = Order::Any;
            let run = simulate(&scenario);
            let why = consistent_cut(&run.execution()).err()?;
            Some((run, why))
        });
        let (run, why) = broken.expect("a seed among 100");
        assert!(why.contains("was sent after its record"), "{why}");
        // Money that is in both records, the sender's and the receiver's.
        let money = conservation(&run.execution());
        assert!(money.is_err(), "{why}");
    }
}
