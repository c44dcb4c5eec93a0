//! Lamport's logical clock: a number for every event, such that an event that may have caused
//! another has the smaller one (Lamport, *Time, Clocks, and the Ordering of Events in a Distributed
//! System*, CACM 21(7), 1978).
//!
//! Event a *happened before* b if both are of one process and a comes first, or a sends the message
//! that b receives, or there is such a chain from a to b. The clock has two rules. IR1: a process
//! increments its clock between any two of its events. IR2: a message carries its sender's
//! timestamp, and the receiver sets its clock past both its own value and that. Then a → b implies
//! C(a) < C(b), the *clock condition*; the converse does not hold. The clock sends nothing: it rides
//! along on the messages of the workload, which are all that is counted here.
//!
//! The workload: each process sends S messages to processes that it chooses, with internal events
//! between them. Or the scripted example of three processes that this package's predecessor played,
//! where a receive event waits for its message (`--option script=original`).

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

const MESSAGE: KindNumber = KindNumber(1);

const NEXT: TimerId = TimerId(1);

const CITATION: &str =
    "Lamport, CACM 21(7), 1978: timestamps ride along, so the workload's messages are all";

/// The catalog's entry.
pub static ALGORITHM: Algorithm = Algorithm {
    name: "lamport-clock",
    about: "every event gets a timestamp that is later than those of all events that may have \
            caused it",
    citation: "Lamport, Time, Clocks, and the Ordering of Events in a Distributed System, CACM \
               21(7), 1978",
    topology: Topology::FullMesh,
    channels: Channels::Unordered,
    synchrony: Synchrony::Asynchronous,
    failures: FailureModel::None,
    workload: "every process plays its events, one after the other: its sends, internal events \
               between them",
    least: 2,
    processes: |n| n,
    absent: |_, _| Vec::new(),
    comes_to_rest: false,
    options: &[
        OptionSpec {
            name: "sends",
            about: "how many messages each process sends in a round",
            default: "2",
        },
        OptionSpec {
            name: "script",
            about: "random, or original: the predecessor's example of exactly 3 processes, which \
                    has sends of its own",
            default: "random",
        },
    ],
    formula: "S for S sends a process",
    per_operation: |_, options| match Script::read(options) {
        // Four messages of three processes.
        Ok(Script::Original) => Expected::between(1, 2),
        Ok(Script::Random { sends }) => Expected::exactly(sends.into()),
        Err(_) => Expected::exactly(0),
    },
    operations: |n, rounds, _| u64::from(n) * u64::from(rounds),
    expected,
    outside_formula: OutsideFormula {
        deaths: &[],
        returns: &["message"],
        losses: &[],
    },
    identities: &[],
    properties: &[
        Property {
            name: "clock condition",
            kind: PropertyKind::Safety,
            about: "an event that happened before another has the smaller timestamp",
            premise: ALWAYS,
            check: clock_condition,
        },
        Property {
            name: "delivery",
            kind: PropertyKind::Liveness,
            about: "every message that was sent is received, and every process plays all its events",
            premise: ALWAYS,
            check: delivery,
        },
    ],
    points: &[],
    process,
};

fn process(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    let script = Script::read(setup.options)?;
    if script == Script::Original && setup.n != 3 {
        return Err(SetupError::BadOption {
            option: "script",
            value: "original".to_owned(),
            expected: "random; the original's script is for exactly 3 processes, as with -n 3",
        });
    }
    Ok(Box::new(Clock {
        id: setup.id,
        n: setup.n,
        rounds: setup.rounds,
        script,
        time: 0,
        round: 0,
        played: 0,
        messages: 0,
        arrived: BTreeMap::new(),
        timestamps: Vec::new(),
        quiescing: false,
    }))
}

/// What the processes play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Script {
    Original,
    Random { sends: u32 },
}

impl Script {
    fn read(options: &Options) -> Result<Self, SetupError> {
        match options.get("script") {
            Some("original") => Ok(Self::Original),
            None | Some("random") => Ok(Self::Random {
                sends: options.number("sends", 2)?,
            }),
            Some(value) => Err(SetupError::BadOption {
                option: "script",
                value: value.to_owned(),
                expected: "random or original",
            }),
        }
    }

    /// How many messages this process sends in a round.
    fn sends(self, id: ProcessId) -> u64 {
        match self {
            Self::Random { sends } => sends.into(),
            Self::Original => {
                let own = ORIGINAL.get(id.index()).copied().unwrap_or_default();
                let sends = own.iter().filter(|e| matches!(e, Scripted::Send { .. }));
                sends.count() as u64
            }
        }
    }
}

/// An event of a script.
#[derive(Debug, Clone, Copy)]
enum Scripted {
    Internal,
    Send { message: u32, to: u32 },
    Receive { message: u32 },
}

/// The predecessor's example: `[PI(), MSs[0], PI(), MRs[1], MSs[2]]`, `[MRs[3], MRs[0], MSs[1]]`,
/// `[MSs[3], PI(), MRs[2]]`.
static ORIGINAL: [&[Scripted]; 3] = [
    &[
        Scripted::Internal,
        Scripted::Send { message: 0, to: 1 },
        Scripted::Internal,
        Scripted::Receive { message: 1 },
        Scripted::Send { message: 2, to: 2 },
    ],
    &[
        Scripted::Receive { message: 3 },
        Scripted::Receive { message: 0 },
        Scripted::Send { message: 1, to: 0 },
    ],
    &[
        Scripted::Send { message: 3, to: 1 },
        Scripted::Internal,
        Scripted::Receive { message: 2 },
    ],
];

fn expected(case: &Case<'_>) -> Vec<Expectation> {
    let sends = |id| Script::read(case.options).map_or(0, |script| script.sends(id));
    let of = |wanted: fn(Phase) -> bool| {
        let events = case.events.iter();
        events.filter(move |event| wanted(event.outcome.phase))
    };
    let ended: BTreeSet<OperationId> = of(Phase::ends).map(|e| e.outcome.operation).collect();
    let count = of(|phase| phase == Phase::Invoke)
        .map(|event| {
            let most = sends(event.node);
            let all = ended.contains(&event.outcome.operation);
            Expected::between(if all { most } else { 0 }, most)
        })
        .sum();
    vec![Expectation {
        kind: "message",
        count,
        formula: "S, the sends of its workload; the clock adds none",
        citation: CITATION,
    }]
}

/// A message of the workload is known by its sender, round and number.
type MessageName = (ProcessId, u32, u32);

fn named(event: &Event, sender: ProcessId) -> Result<(MessageName, u64), String> {
    let field = |name| event.field(name).ok_or(format!("an event without {name}"));
    let (round, message): (u64, u64) = (field("round")?, field("message")?);
    Ok(((sender, round as u32, message as u32), field("clock")?))
}

fn sends(execution: &Execution<'_>) -> Result<BTreeMap<MessageName, u64>, String> {
    let sends = execution.notes("send");
    sends.map(|event| named(event, event.node)).collect()
}

fn receives(execution: &Execution<'_>) -> Result<Vec<(MessageName, u64)>, String> {
    let sender = |event: &Event| event.field("from").ok_or("a receive without its sender");
    let receives = execution.notes("receive");
    receives.map(|event| named(event, sender(event)?)).collect()
}

/// Happened-before is the transitive closure of two orders: that of a process's own events, and
/// send before receive. "Less than" is transitive, so it is enough to hold the clock against these.
fn clock_condition(execution: &Execution<'_>) -> Result<(), String> {
    let mut last: BTreeMap<ProcessId, u64> = BTreeMap::new();
    for event in execution.events {
        if !matches!(event.note(), Some("internal" | "send" | "receive")) {
            continue;
        }
        let clock = event.field("clock").ok_or("an event without its clock")?;
        let before = last.insert(event.node, clock).unwrap_or(0);
        if clock <= before {
            let process = event.node;
            return Err(format!(
                "process {process}'s clock went from {before} to {clock}"
            ));
        }
    }
    let sends = sends(execution)?;
    for (name, received) in receives(execution)? {
        match sends.get(&name) {
            Some(&sent) if sent < received => {}
            Some(sent) => {
                return Err(format!(
                    "{name:?} was sent at {sent}, received at {received}"
                ));
            }
            None => return Err(format!("{name:?} was received and never sent")),
        }
    }
    Ok(())
}

fn delivery(execution: &Execution<'_>) -> Result<(), String> {
    let received: BTreeSet<_> = receives(execution)?.into_iter().map(|(n, _)| n).collect();
    if let Some(name) = sends(execution)?.keys().find(|n| !received.contains(n)) {
        return Err(format!("{name:?} was never received"));
    }
    let ended = |event: &&Event| event.outcome.phase.ends();
    let ended = execution.events.iter().filter(ended).count();
    let operations = (execution.n * execution.rounds) as usize;
    if ended == operations {
        Ok(())
    } else {
        Err(format!(
            "{ended} of {operations} scripts were played to their end"
        ))
    }
}

#[derive(Debug, Clone, Copy, Hash, Serialize, Deserialize)]
struct Stamped {
    /// The message's number: the script's, or unique among a process's own.
    message: u32,
    /// The sender's clock at the send event.
    timestamp: u64,
}

#[derive(Debug, Clone, Hash)]
struct Clock {
    id: ProcessId,
    n: u32,
    rounds: u32,
    script: Script,
    /// C of the paper: the timestamp of the latest event.
    time: u64,
    /// From 1.
    round: u32,
    /// Events of the script that were played in this round; sends where there is none.
    played: u32,
    /// Messages that it has sent: they number themselves.
    messages: u32,
    /// What came before its receive event, by round and number.
    arrived: BTreeMap<(u32, u32), (ProcessId, u64)>,
    /// This round's events as the original printed them.
    timestamps: Vec<String>,
    quiescing: bool,
}

impl Clock {
    fn operation(&self) -> OperationId {
        OperationId::new(self.id, self.round, self.n)
    }

    fn begin_round(&mut self, step: &mut Step<'_>) {
        self.round += 1;
        self.played = 0;
        self.timestamps.clear();
        step.report(
            Phase::Invoke,
            self.operation(),
            json!({ "round": self.round }),
        );
        self.go_on(step);
    }

    fn go_on(&mut self, step: &mut Step<'_>) {
        match self.script {
            Script::Original => self.play(step),
            Script::Random { sends } if self.played == sends => self.end_round(step),
            Script::Random { .. } => {
                let pause = 1 + step.choose(4);
                step.set_timer(NEXT, Duration::from_millis(pause.into()));
            }
        }
    }

    fn end_round(&mut self, step: &mut Step<'_>) {
        step.report(
            Phase::Ok,
            self.operation(),
            json!({ "timestamps": self.timestamps.join(" ") }),
        );
        if self.round < self.rounds && !self.quiescing {
            self.begin_round(step);
        }
    }

    /// Plays the script up to a receive event whose message is not here.
    fn play(&mut self, step: &mut Step<'_>) {
        let own = ORIGINAL[self.id.index()];
        while let Some(event) = own.get(self.played as usize) {
            match *event {
                Scripted::Internal => {
                    let others: usize = ORIGINAL[..self.id.index()].iter().map(|s| s.len()).sum();
                    let place = others as u32 + self.played;
                    self.internal(place, step);
                }
                Scripted::Send { message, to } => self.send(message, ProcessId(to), step),
                Scripted::Receive { message } => {
                    let Some((from, timestamp)) = self.arrived.remove(&(self.round, message))
                    else {
                        return;
                    };
                    self.receive_event(from, self.round, Stamped { message, timestamp }, step);
                }
            }
            self.played += 1;
        }
        self.end_round(step);
    }

    /// IR1.
    fn internal(&mut self, place: u32, step: &mut Step<'_>) {
        self.time += 1;
        let label = format!("PI_{}_{place}", self.id);
        self.stamp(&label);
        let note = json!({ "label": label, "clock": self.time });
        step.note("internal", self.operation(), note);
    }

    /// IR1 and IR2 (a).
    fn send(&mut self, message: u32, to: ProcessId, step: &mut Step<'_>) {
        self.time += 1;
        self.messages += 1;
        let label = format!("MS_{message}");
        self.stamp(&label);
        let stamped = Stamped {
            message,
            timestamp: self.time,
        };
        step.note(
            "send",
            self.operation(),
            json!({ "label": label, "clock": self.time, "message": message, "round": self.round,
                    "to": to }),
        );
        step.send(to, MESSAGE, self.operation(), Body::encode(&stamped));
    }

    /// IR2 (b).
    fn receive_event(
        &mut self,
        from: ProcessId,
        round: u32,
        stamped: Stamped,
        step: &mut Step<'_>,
    ) {
        self.time = self.time.max(stamped.timestamp) + 1;
        let label = format!("MR_{}", stamped.message);
        self.stamp(&label);
        step.note(
            "receive",
            OperationId::new(from, round, self.n),
            json!({ "label": label, "clock": self.time, "message": stamped.message, "round": round,
                    "from": from }),
        );
    }

    fn stamp(&mut self, label: &str) {
        self.timestamps.push(format!("{label}({})", self.time));
    }
}

impl Process for Clock {
    fn start(&mut self, step: &mut Step<'_>) {
        self.begin_round(step);
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        if message.kind != MESSAGE {
            return Err(message.unexpected());
        }
        let stamped: Stamped = message.read()?;
        let round = message.operation.round(self.n);
        match self.script {
            Script::Random { .. } => self.receive_event(message.from, round, stamped, step),
            Script::Original => {
                let came = (message.from, stamped.timestamp);
                self.arrived.insert((round, stamped.message), came);
                self.play(step);
            }
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        if step.choose(2) == 1 {
            self.internal(self.time as u32, step);
        }
        let next = 1 + step.choose(self.n - 1);
        let to = ProcessId((self.id.0 + next) % self.n);
        self.send(self.messages * self.n + self.id.0, to, step);
        self.played += 1;
        self.go_on(step);
    }

    fn quiesce(&mut self) {
        self.quiescing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{self, Run, Scenario};

    fn simulate(scenario: &Scenario) -> Run {
        simulation::run(&ALGORITHM, scenario).expect("a good scenario")
    }

    /// The predecessor's output, word for word.
    const TIMESTAMPS: [&str; 3] = [
        "PI_0_0(1) MS_0(2) PI_0_2(3) MR_1(5) MS_2(6)",
        "MR_3(2) MR_0(3) MS_1(4)",
        "MS_3(1) PI_2_9(2) MR_2(7)",
    ];

    fn timestamps(run: &Run) -> Vec<String> {
        let mut ends: Vec<_> = run.events.iter().collect();
        ends.retain(|event| event.outcome.phase.ends());
        ends.sort_by_key(|event| event.outcome.operation);
        let text = |event: &Event| event.field("timestamps").unwrap();
        ends.into_iter().map(text).collect()
    }

    #[test]
    fn the_original_script_gets_its_timestamps_in_every_schedule() {
        for seed in 0..2000 {
            let run = simulate(&Scenario::new(3, 1, seed).option("script", "original"));
            assert_eq!(timestamps(&run), TIMESTAMPS, "seed {seed}");
            assert_eq!(run.total().attempted, 4);
            run.assert_formula();
            run.assert_per_operation();
            run.properties().unwrap();
        }
    }

    #[test]
    fn the_original_script_needs_three_processes() {
        let run = simulation::run(
            &ALGORITHM,
            &Scenario::new(4, 1, 0).option("script", "original"),
        );
        assert!(matches!(run, Err(SetupError::BadOption { .. })));
    }

    #[test]
    fn a_script_that_is_repeated_goes_on_with_its_clock() {
        let run = simulate(&Scenario::new(3, 3, 4).option("script", "original"));
        assert_eq!(timestamps(&run)[..3], TIMESTAMPS);
        assert_eq!(run.total().attempted, 12);
        run.assert_formula();
        run.properties().unwrap();
    }

    #[test]
    fn the_clock_adds_no_message_to_the_sends_of_its_workload() {
        for n in 2..=10 {
            for sends in [0, 1, 2, 7] {
                let scenario =
                    Scenario::new(n, 2, u64::from(n)).option("sends", &sends.to_string());
                let run = simulate(&scenario);
                assert_eq!(run.total().attempted, u64::from(2 * n * sends));
                run.assert_formula();
                run.assert_per_operation();
                run.properties().unwrap();
            }
        }
    }

    #[test]
    fn the_clock_condition_holds_in_thousands_of_schedules() {
        for seed in 0..3000 {
            let run = simulate(&Scenario::new(2 + (seed % 5) as u32, 2, seed));
            run.properties().unwrap();
        }
    }

    /// The property can fail: with one receive event's clock turned back it does.
    #[test]
    fn a_clock_that_ignores_a_messages_timestamp_is_found_out() {
        let run = simulate(&Scenario::new(3, 1, 0).option("script", "original"));
        let mut events = run.events.clone();
        let last = events.iter_mut().rev();
        let receive = last.into_iter().find(|e| e.note() == Some("receive"));
        let receive = receive.expect("a receive event");
        let sent_at = 6;
        assert_eq!(receive.field::<u64>("clock"), Some(sent_at + 1));
        receive.outcome.value["clock"] = json!(sent_at);
        let execution = Execution {
            events: &events,
            ..run.execution()
        };
        assert!(clock_condition(&execution).is_err());
    }
}
