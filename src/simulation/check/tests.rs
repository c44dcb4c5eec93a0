//! The checker on processes so small that the number of states can be worked out by hand, and on
//! algorithms with a known mistake.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::algorithm::{
    ALWAYS, Body, Channels, Execution, KindNumber, Message, OperationId, Process, PropertyKind,
    ProtocolError, Setup, Step, TimerId, centralized,
};

const KIND: KindNumber = KindNumber(1);
const OTHER: KindNumber = KindNumber(2);
const NONE: OperationId = OperationId::NONE;

type Build = fn(&Setup<'_>) -> Result<Box<dyn Process>, SetupError>;

/// An algorithm that stands in no table.
fn toy(process: Build, properties: &'static [Property]) -> &'static Algorithm {
    Box::leak(Box::new(Algorithm {
        name: "toy",
        channels: Channels::Unordered,
        least: 1,
        properties,
        process,
        ..centralized::ALGORITHM
    }))
}

fn explore(model: &Model) -> Explored {
    model.explore().expect("a good setup")
}

/// Everybody sends `messages` numbered messages to process 0, which notes what it gets.
#[derive(Debug, Clone, Hash)]
struct Sender {
    id: ProcessId,
    messages: u32,
    got: Vec<(ProcessId, u32)>,
}

impl Process for Sender {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id.0 != 0 {
            for number in 0..self.messages {
                step.send(ProcessId(0), KIND, NONE, Body::encode(&number));
            }
        }
    }

    fn receive(&mut self, message: &Message, _step: &mut Step<'_>) -> Result<(), ProtocolError> {
        self.got.push((message.from, message.read()?));
        Ok(())
    }
}

fn senders(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    Ok(Box::new(Sender {
        id: setup.id,
        messages: setup.rounds,
        got: Vec::new(),
    }))
}

#[test]
fn every_order_of_deliveries_is_explored() {
    // Four messages in any order: 4!/(4-k)! ways to have got k of them, and five states
    // in which not all have started.
    let model = Model::new(toy(senders, &[]), 5);
    let explored = explore(&model);
    assert_eq!(explored.states, 5 + 1 + 4 + 12 + 24 + 24);
    assert_eq!(explored.ends, 24);
    assert!(!explored.gave_up && explored.counterexample.is_none());
}

#[test]
fn a_fifo_channel_keeps_its_order_and_no_other() {
    // Two channels of three messages: C(6,3) orders with first in, first out, 6! without.
    let mut model = Model::new(toy(senders, &[]), 3);
    model.rounds = 3;
    model.order = Order::Fifo;
    assert_eq!(explore(&model).ends, 20);
    model.order = Order::Any;
    assert_eq!(explore(&model).ends, 720);
}

#[test]
fn losses_and_duplicates_are_explored_within_their_bounds() {
    let mut model = Model::new(toy(senders, &[]), 2);
    model.rounds = 2;
    // Two messages in two orders; one of them lost; or either twice: aab, aba, baa and bba, bab,
    // abb.
    assert_eq!(explore(&model).ends, 2);
    model.bounds.losses = 1;
    assert_eq!(explore(&model).ends, 2 + 2);
    model.bounds.losses = 0;
    model.bounds.duplicates = 1;
    assert_eq!(explore(&model).ends, 2 + 6);
}

/// Chooses twice and notes both.
#[derive(Debug, Clone, Hash)]
struct Gambler(Vec<u32>);

impl Process for Gambler {
    fn start(&mut self, step: &mut Step<'_>) {
        let first = step.choose(3);
        let second = if first == 1 { 9 } else { step.choose(4) };
        self.0 = vec![first, second];
    }

    fn receive(&mut self, message: &Message, _step: &mut Step<'_>) -> Result<(), ProtocolError> {
        Err(message.unexpected())
    }
}

#[test]
fn every_branch_of_a_choice_is_explored() {
    let explored = explore(&Model::new(
        toy(|_| Ok(Box::new(Gambler(Vec::new()))), &[]),
        1,
    ));
    assert_eq!(explored.ends, 4 + 1 + 4);
}

/// Process 0 sends to both others in one step, and persists in between.
#[derive(Debug, Clone, Hash)]
struct Both {
    id: ProcessId,
}

impl Process for Both {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id.0 == 0 {
            step.send(ProcessId(1), KIND, NONE, Body::empty());
            step.persist(vec![7]);
            step.send(ProcessId(2), KIND, NONE, Body::empty());
        }
    }

    fn receive(&mut self, _message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        step.note("got", NONE, json!({}));
        Ok(())
    }

    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        if bytes == [7] {
            step.send(ProcessId(2), KIND, NONE, Body::empty());
        }
    }
}

static BOTH_OR_NONE: [Property; 1] = [Property {
    name: "both or none",
    kind: PropertyKind::Liveness,
    about: "",
    premise: ALWAYS,
    check: |execution| {
        let nodes: std::collections::BTreeSet<_> =
            execution.notes("got").map(|event| event.node).collect();
        match nodes.len() {
            1 => Err(format!("only {nodes:?}")),
            _ => Ok(()),
        }
    },
}];

fn both(setup: &Setup<'_>) -> Result<Box<dyn Process>, SetupError> {
    Ok(Box::new(Both { id: setup.id }))
}

#[test]
fn a_crash_falls_between_two_actions_of_a_step() {
    let mut model = Model::new(toy(both, &BOTH_OR_NONE), 3);
    model.history = per_process;
    assert!(explore(&model).counterexample.is_none());
    model.bounds.crashes = 1;
    model.bounds.may_crash = Some(vec![ProcessId(0)]);
    let counterexample = explore(&model).counterexample.expect("one gets it");
    let first = &counterexample.trace[0];
    assert_eq!(first.what, What::Start(ProcessId(0)));
    assert!(first.crashed);
    assert_eq!(first.did, [Did::Send(ProcessId(1), "kind 1".to_owned())]);
}

/// Writes a record and says so, in one order or the other; after a crash it says what it found.
#[derive(Debug, Clone, Hash)]
struct Writer {
    says_so_first: bool,
}

impl Process for Writer {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.says_so_first {
            step.note("written", NONE, json!({}));
        }
        step.persist(vec![1]);
        step.note("written", NONE, json!({}));
    }

    fn receive(&mut self, message: &Message, _step: &mut Step<'_>) -> Result<(), ProtocolError> {
        Err(message.unexpected())
    }

    fn recover(&mut self, bytes: &[u8], step: &mut Step<'_>) {
        step.note("found", NONE, json!({ "record": bytes }));
    }
}

static DURABLE: [Property; 1] = [Property {
    name: "durability",
    kind: PropertyKind::Safety,
    about: "what was said to be written is found",
    premise: ALWAYS,
    check: |execution| {
        let written = execution.notes("written").next().is_some();
        let lost = |event: &Event| event.field::<Vec<u8>>("record") != Some(vec![1]);
        match written && execution.notes("found").any(lost) {
            true => Err("written and not found".to_owned()),
            false => Ok(()),
        }
    },
}];

#[test]
fn a_restart_finds_what_was_persisted_before_the_crash_unless_the_storage_is_lost() {
    let writer = |says_so_first, storage| {
        let build: Build = match says_so_first {
            true => |_| {
                Ok(Box::new(Writer {
                    says_so_first: true,
                }))
            },
            false => |_| {
                Ok(Box::new(Writer {
                    says_so_first: false,
                }))
            },
        };
        let mut model = Model::new(toy(build, &DURABLE), 1);
        model.bounds.crashes = 2;
        model.bounds.restarts = 2;
        model.storage = storage;
        explore(&model).counterexample
    };
    assert!(writer(false, Storage::Kept).is_none());
    assert!(writer(false, Storage::Lost).is_some());
    let early = writer(true, Storage::Kept).expect("a crash between the note and the record");
    assert_eq!(early.trace.len(), 2, "{early}");
    assert!(early.trace[0].crashed);
    assert_eq!(early.trace[1].what, What::Restart(ProcessId(0)));
}

/// Process 1 answers a ping after its timer of 1 s; process 0 waits for the answer for 2 s.
#[derive(Debug, Clone, Hash)]
struct Patient {
    id: ProcessId,
}

const WAIT: TimerId = TimerId(1);

impl Process for Patient {
    fn start(&mut self, step: &mut Step<'_>) {
        if self.id.0 == 0 {
            step.send(ProcessId(1), KIND, NONE, Body::empty());
            step.set_timer(WAIT, Duration::from_secs(2));
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            KIND => step.set_timer(WAIT, Duration::from_secs(1)),
            _ => step.cancel_timer(WAIT),
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        match self.id.0 {
            0 => step.note("suspected", NONE, json!({})),
            _ => step.send(ProcessId(0), OTHER, NONE, Body::empty()),
        }
    }
}

static RIGHTLY_SUSPECTED: [Property; 1] = [Property {
    name: "accuracy",
    kind: PropertyKind::Safety,
    about: "who is suspected is down",
    premise: ALWAYS,
    check: |execution| match execution.notes("suspected").count() {
        1.. if execution.crashed.is_empty() => Err("nobody is down".to_owned()),
        _ => Ok(()),
    },
}];

#[test]
fn a_timeout_is_right_in_a_synchronous_world_and_may_be_wrong_in_another() {
    let build: Build = |setup| Ok(Box::new(Patient { id: setup.id }));
    let mut model = Model::new(toy(build, &RIGHTLY_SUSPECTED), 2);
    assert!(explore(&model).counterexample.is_some());
    model.time = Time::Synchronous;
    let explored = explore(&model);
    // Two starts, the ping, the timer, the answer.
    assert_eq!((explored.states, explored.ends), (6, 1), "{explored}");
    model.bounds.crashes = 1;
    model.bounds.may_crash = Some(vec![ProcessId(1)]);
    assert!(explore(&model).counterexample.is_none());
    model.bounds.crashes = 0;
    model.bounds.splits = 1;
    assert!(explore(&model).counterexample.is_some());
}

#[test]
fn a_search_that_stops_at_a_bound_says_so() {
    let build: Build = |setup| Ok(Box::new(Patient { id: setup.id }));
    let mut model = Model::new(toy(build, &[]), 2);
    assert!(!explore(&model).cut_short);
    model.bounds.timeouts = 1;
    assert!(explore(&model).cut_short);
    model.bounds.timeouts = u32::MAX;
    model.bounds.states = 3;
    assert!(explore(&model).gave_up);
}

/// A lock without a queue: asks everybody, who say whether they are in; enters if nobody is.
#[derive(Debug, Clone, Hash)]
struct Naive {
    id: ProcessId,
    n: u32,
    free: u32,
    inside: bool,
}

impl Process for Naive {
    fn start(&mut self, step: &mut Step<'_>) {
        for other in (0..self.n).map(ProcessId).filter(|other| *other != self.id) {
            step.send(other, KIND, NONE, Body::empty());
        }
    }

    fn receive(&mut self, message: &Message, step: &mut Step<'_>) -> Result<(), ProtocolError> {
        match message.kind {
            KIND if !self.inside => step.send(message.from, OTHER, NONE, Body::empty()),
            KIND => {}
            OTHER => {
                self.free += 1;
                if self.free == self.n - 1 {
                    self.inside = true;
                    step.note("entered", NONE, json!({}));
                    step.set_timer(WAIT, Duration::from_millis(1));
                }
            }
            _ => return Err(message.unexpected()),
        }
        Ok(())
    }

    fn timer(&mut self, _id: TimerId, step: &mut Step<'_>) {
        self.inside = false;
        step.note("left", NONE, json!({}));
    }
}

static MUTUAL_EXCLUSION: [Property; 2] = [
    Property {
        name: "mutual exclusion",
        kind: PropertyKind::Safety,
        about: "",
        premise: ALWAYS,
        check: |execution| {
            let mut inside = Vec::new();
            for event in execution.events {
                match event.note() {
                    Some("entered") => inside.push(event.node),
                    Some("left") => inside.retain(|id| *id != event.node),
                    _ => {}
                }
                if inside.len() > 1 {
                    return Err(format!("{inside:?} at once"));
                }
            }
            Ok(())
        },
    },
    Property {
        name: "no deadlock",
        kind: PropertyKind::Liveness,
        about: "",
        premise: ALWAYS,
        check: |execution: &Execution<'_>| {
            let entered = execution.notes("left").count();
            match entered == execution.n as usize {
                true => Ok(()),
                false => Err(format!("only {entered} of {} were in", execution.n)),
            }
        },
    },
];

#[test]
fn a_naive_lock_lets_two_in_and_the_shortest_way_there_is_found() {
    let build: Build = |setup| {
        Ok(Box::new(Naive {
            id: setup.id,
            n: setup.n,
            free: 0,
            inside: false,
        }))
    };
    let mut model = Model::new(toy(build, &MUTUAL_EXCLUSION), 2);
    let counterexample = explore(&model).counterexample.expect("both enter");
    assert_eq!(counterexample.property, "mutual exclusion");
    // Two starts, two questions, two answers.
    assert_eq!(counterexample.trace.len(), 6, "{counterexample}");
    assert_eq!(
        counterexample.trace[5].to_string(),
        "0 receives kind 2 from 1; reports Note {\"note\":\"entered\"}; sets timer 1",
    );
    model.only = Some(vec!["no deadlock"]);
    let stuck = explore(&model)
        .counterexample
        .expect("a question that nobody answers");
    assert_eq!(stuck.why, "only 1 of 2 were in");
}

#[test]
fn a_message_without_a_place_is_a_counterexample() {
    #[derive(Debug, Clone, Hash)]
    struct Confused(u32);
    impl Process for Confused {
        fn start(&mut self, step: &mut Step<'_>) {
            step.send(ProcessId(1 - self.0), KIND, NONE, Body::empty());
        }
        fn receive(&mut self, message: &Message, _: &mut Step<'_>) -> Result<(), ProtocolError> {
            Err(message.unexpected())
        }
    }
    let build: Build = |setup| Ok(Box::new(Confused(setup.id.0)));
    let counterexample = explore(&Model::new(toy(build, &[]), 2)).counterexample;
    let counterexample = counterexample.expect("nobody knows what to do");
    assert_eq!(counterexample.property, "every message has its place");
    assert_eq!(counterexample.trace.len(), 3);
}
