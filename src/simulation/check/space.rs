//! Global states of a model and the moves between them. Everything local is numbered when it is
//! met first, so that a global state is a few lists of numbers and a process's step is run once
//! for each of its own states and inputs.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::{Counterexample, Did, Happened, Model, Order, Storage, Time};
use crate::algorithm::{
    Action, Body, Channels, Event, Execution, Judgement, Message, Phase, Process, ProcessId,
    PropertyKind, Setup, SetupError, Step, TimerId,
};
use crate::units::Timestamp;

/// What happens in a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// A process starts. All start before anything else happens: a message to one that starts late
    /// could as well have been slow.
    Start(ProcessId),
    /// A message comes.
    Deliver {
        /// Its sender.
        from: ProcessId,
        /// Its receiver.
        to: ProcessId,
    },
    /// A message comes to a process that is down.
    Refuse {
        /// Its sender.
        from: ProcessId,
        /// Its receiver.
        to: ProcessId,
    },
    /// A timer fires.
    Timer(ProcessId, TimerId),
    /// A process crashes between two steps.
    Crash(ProcessId),
    /// A process comes back.
    Restart(ProcessId),
    /// A message is lost.
    Lose {
        /// Its sender.
        from: ProcessId,
        /// Its receiver.
        to: ProcessId,
    },
    /// A message is on its way once more.
    Double {
        /// Its sender.
        from: ProcessId,
        /// Its receiver.
        to: ProcessId,
    },
    /// These processes, as bits, are cut off from the others.
    Split(u32),
}

/// A move, told exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    what: What,
    /// The message that it is about.
    message: Option<u32>,
    /// Which of the ways in which the process may choose.
    branch: u32,
    /// After how many actions the process crashes.
    cut: Option<u32>,
}

/// A message on its way. Without first in, first out the order is that of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Envelope {
    from: u32,
    to: u32,
    message: u32,
}

#[derive(Debug, Clone)]
struct Local {
    /// None while it is down.
    state: Option<u32>,
    record: u32,
    /// With the time that is left where time is synchronous, else with none. Sorted by timer.
    timers: Vec<(TimerId, Duration)>,
}

#[derive(Debug, Clone)]
pub struct Global {
    locals: Vec<Local>,
    /// Processes below this one have started.
    started: u32,
    network: Vec<Envelope>,
    history: u32,
    /// The processes of one side, as bits; 0 while the network is whole.
    side: u32,
    crashes: u32,
    restarts: u32,
    losses: u32,
    duplicates: u32,
    timeouts: u32,
    /// What a process said about a message that has no place.
    error: Option<u32>,
}

impl Global {
    /// The next process to start. Some are absent from the beginning.
    fn next_to_start(&self) -> Option<u32> {
        let up = |id: &u32| self.locals[*id as usize].state.is_some();
        (self.started..self.locals.len() as u32).find(up)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Input {
    Start,
    Recover(u32),
    Receive(u32),
    Timer(TimerId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Send { to: u32, message: u32 },
    Set(TimerId, Duration),
    Cancel(TimerId),
    Persist(u32),
    Report(u32),
    Point(&'static str),
}

/// One way in which a step may go.
#[derive(Debug, PartialEq, Eq)]
struct Stepped {
    acts: Vec<Act>,
    after: u32,
    error: Option<u32>,
}

/// A property that does not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    property: String,
    why: String,
}

const NO_RECORD: u32 = 0;
const EMPTY: u32 = 0;

/// Numbers for values, in the order in which they are met.
struct Numbers<K, V> {
    known: FxHashMap<K, u32>,
    values: Vec<V>,
}

impl<K: Hash + Eq, V> Numbers<K, V> {
    fn new() -> Self {
        Self {
            known: FxHashMap::default(),
            values: Vec::new(),
        }
    }

    fn of(&mut self, key: K, value: impl FnOnce() -> V) -> u32 {
        let values = &mut self.values;
        *self.known.entry(key).or_insert_with(|| {
            values.push(value());
            u32::try_from(values.len() - 1).expect("fewer than 2^32 of them")
        })
    }
}

impl<K, V> std::ops::Index<u32> for Numbers<K, V> {
    type Output = V;

    fn index(&self, number: u32) -> &V {
        &self.values[number as usize]
    }
}

pub(super) struct Space<'a> {
    model: &'a Model,
    fifo: bool,
    /// The kinds that never come.
    withheld: Vec<u16>,
    /// How every process is built.
    fresh: Vec<u32>,
    states: Numbers<u128, Box<dyn Process>>,
    messages: Numbers<(u32, u16, u64, Body), Message>,
    records: Numbers<Vec<u8>, Vec<u8>>,
    events: Numbers<(u32, Phase, u64, String), Event>,
    errors: Numbers<String, String>,
    histories: Numbers<Vec<u32>, Vec<u32>>,
    longer: FxHashMap<(u32, u32), u32>,
    steps: FxHashMap<(u32, u32, Input), Rc<[Stepped]>>,
    verdicts: FxHashMap<(u32, u32, bool), Option<Broken>>,
    bytes: Vec<u8>,
    pub(super) ends: u64,
    pub(super) cut_short: bool,
}

impl<'a> Space<'a> {
    pub(super) fn new(model: &'a Model) -> Result<Self, SetupError> {
        let mut space = Self {
            model,
            fifo: match model.order {
                Order::Declared => model.algorithm.channels == Channels::Fifo,
                Order::Fifo => true,
                Order::Any => false,
            },
            withheld: Vec::new(),
            fresh: Vec::new(),
            states: Numbers::new(),
            messages: Numbers::new(),
            records: Numbers::new(),
            events: Numbers::new(),
            errors: Numbers::new(),
            histories: Numbers::new(),
            longer: FxHashMap::default(),
            steps: FxHashMap::default(),
            verdicts: FxHashMap::default(),
            bytes: Vec::new(),
            ends: 0,
            cut_short: false,
        };
        if !model.withheld.is_empty() {
            let kinds = model.algorithm.protocol().kinds.iter();
            let named = kinds.filter(|kind| model.withheld.contains(&kind.name.as_str()));
            space.withheld = named.map(|kind| kind.number).collect();
            assert_eq!(space.withheld.len(), model.withheld.len(), "kinds it has");
        }
        space.records.of(Vec::new(), Vec::new);
        space.histories.of(Vec::new(), Vec::new);
        let processes = (model.algorithm.processes)(model.n);
        assert!(
            processes <= 32,
            "{processes} processes are too many to explore"
        );
        for id in 0..processes {
            let process = model.algorithm.build(&Setup {
                id: ProcessId(id),
                n: model.n,
                rounds: model.rounds,
                options: &model.options,
            })?;
            let state = space.number_state(id, process);
            space.fresh.push(state);
        }
        Ok(space)
    }

    pub(super) fn initial(&self) -> Global {
        let model = self.model;
        let absent = (model.algorithm.absent)(model.n, &model.options);
        let local = |(id, state): (u32, &u32)| Local {
            state: (!absent.contains(&ProcessId(id))).then_some(*state),
            record: NO_RECORD,
            timers: Vec::new(),
        };
        Global {
            locals: (0..).zip(&self.fresh).map(local).collect(),
            started: 0,
            network: Vec::new(),
            history: EMPTY,
            side: 0,
            crashes: 0,
            restarts: 0,
            losses: 0,
            duplicates: 0,
            timeouts: 0,
            error: None,
        }
    }

    /// 128 bits that tell a state from others.
    pub(super) fn fingerprint(&mut self, state: &Global) -> u128 {
        let bytes = &mut self.bytes;
        bytes.clear();
        let mut put = |number: u32| bytes.extend_from_slice(&number.to_le_bytes());
        for local in &state.locals {
            put(local.state.unwrap_or(u32::MAX));
            put(local.record);
            put(local.timers.len() as u32);
            for (id, left) in &local.timers {
                put(id.0);
                put(left.as_secs() as u32);
                put(left.subsec_nanos());
            }
        }
        for number in [
            state.started,
            state.history,
            state.side,
            state.crashes,
            state.restarts,
            state.losses,
            state.duplicates,
            state.timeouts,
            state.error.unwrap_or(u32::MAX),
        ] {
            put(number);
        }
        for envelope in &state.network {
            put(envelope.from);
            put(envelope.to);
            put(envelope.message);
        }
        fingerprint(bytes.as_slice())
    }

    /// Every move from a state and where it leads, into `next`.
    pub(super) fn successors(&mut self, state: &Global, next: &mut Vec<(Move, Global)>) {
        if state.error.is_some() {
            return;
        }
        self.splits(state, next);
        if let Some(id) = state.next_to_start() {
            let mut begun = state.clone();
            begun.started = id + 1;
            let own = self.fresh[id as usize];
            self.step(
                &begun,
                What::Start(ProcessId(id)),
                id,
                own,
                Input::Start,
                None,
                next,
            );
            return;
        }
        self.deliveries(state, next);
        self.timers(state, next);
        self.crashes_and_restarts(state, next);
    }

    fn splits(&self, state: &Global, next: &mut Vec<(Move, Global)>) {
        if state.side != 0 || self.model.bounds.splits == 0 {
            return;
        }
        // Which of the two sides has the last process does not matter.
        for side in 1..1 << (state.locals.len() - 1) {
            let mut split = state.clone();
            split.side = side;
            next.push((Move::of(What::Split(side)), split));
        }
    }

    fn deliveries(&mut self, state: &Global, next: &mut Vec<(Move, Global)>) {
        let bounds = &self.model.bounds;
        let (losses, duplicates) = (bounds.losses, bounds.duplicates);
        for (place, &envelope) in state.network.iter().enumerate() {
            if let Some(before) = place.checked_sub(1) {
                let before = state.network[before];
                let behind = (before.from, before.to) == (envelope.from, envelope.to);
                if (self.fifo && behind) || before == envelope {
                    continue;
                }
            }
            let (from, to) = (ProcessId(envelope.from), ProcessId(envelope.to));
            let message = Some(envelope.message);
            let mut taken = state.clone();
            taken.network.remove(place);
            match state.locals[to.index()].state {
                Some(own) => {
                    let input = Input::Receive(envelope.message);
                    let what = What::Deliver { from, to };
                    self.step(&taken, what, to.0, own, input, message, next);
                }
                None => {
                    let how = Move {
                        message,
                        ..Move::of(What::Refuse { from, to })
                    };
                    next.push((how, taken.clone()));
                }
            }
            if state.losses < losses {
                let mut lost = taken;
                lost.losses += 1;
                next.push((
                    Move {
                        message,
                        ..Move::of(What::Lose { from, to })
                    },
                    lost,
                ));
            }
            if state.duplicates < duplicates {
                let mut doubled = state.clone();
                doubled.duplicates += 1;
                self.post(&mut doubled, envelope);
                next.push((
                    Move {
                        message,
                        ..Move::of(What::Double { from, to })
                    },
                    doubled,
                ));
            }
        }
    }

    fn timers(&mut self, state: &Global, next: &mut Vec<(Move, Global)>) {
        if state.timeouts == self.model.bounds.timeouts {
            return;
        }
        let synchronous = self.model.time == Time::Synchronous;
        if synchronous && !state.network.is_empty() {
            return;
        }
        let all = state.locals.iter().flat_map(|local| &local.timers);
        let Some(first) = all.map(|(_, left)| *left).min() else {
            return;
        };
        for (id, local) in (0..).zip(&state.locals) {
            for (place, &(timer, left)) in local.timers.iter().enumerate() {
                if left > first {
                    continue;
                }
                let mut fired = state.clone();
                if self.model.bounds.timeouts != u32::MAX {
                    fired.timeouts += 1;
                }
                fired.locals[id as usize].timers.remove(place);
                for (_, left) in fired.locals.iter_mut().flat_map(|local| &mut local.timers) {
                    *left -= first;
                }
                let own = local.state.expect("a process that is down has no timers");
                let what = What::Timer(ProcessId(id), timer);
                self.step(&fired, what, id, own, Input::Timer(timer), None, next);
            }
        }
    }

    fn crashes_and_restarts(&mut self, state: &Global, next: &mut Vec<(Move, Global)>) {
        for (id, local) in (0..).zip(&state.locals) {
            match local.state {
                Some(_) if self.may_crash(state, id) && !self.model.bounds.at_points => {
                    let mut down = state.clone();
                    self.crash(&mut down, id);
                    next.push((Move::of(What::Crash(ProcessId(id))), down));
                }
                None if state.restarts < self.model.bounds.restarts => {
                    let mut back = state.clone();
                    back.restarts += 1;
                    let own = self.fresh[id as usize];
                    let input = Input::Recover(local.record);
                    self.step(
                        &back,
                        What::Restart(ProcessId(id)),
                        id,
                        own,
                        input,
                        None,
                        next,
                    );
                }
                _ => {}
            }
        }
    }

    fn may_crash(&self, state: &Global, id: u32) -> bool {
        let bounds = &self.model.bounds;
        let named = |ids: &Vec<ProcessId>| ids.contains(&ProcessId(id));
        state.crashes < bounds.crashes && bounds.may_crash.as_ref().is_none_or(named)
    }

    fn crash(&self, state: &mut Global, id: u32) {
        state.crashes += 1;
        let local = &mut state.locals[id as usize];
        local.state = None;
        local.timers.clear();
        if self.model.storage == Storage::Lost {
            local.record = NO_RECORD;
        }
        if self.unreachable(state, id) {
            state.network.retain(|envelope| envelope.to != id);
        }
    }

    /// Whether what is sent to a process now cannot reach it.
    fn unreachable(&self, state: &Global, id: u32) -> bool {
        let for_ever = state.restarts == self.model.bounds.restarts;
        let late = self.model.late && self.model.time == Time::Asynchronous;
        state.locals[id as usize].state.is_none() && (for_ever || !late)
    }

    fn post(&self, state: &mut Global, envelope: Envelope) {
        let fifo = self.fifo;
        let place = state.network.partition_point(|other| match fifo {
            true => (other.from, other.to) <= (envelope.from, envelope.to),
            false => *other <= envelope,
        });
        state.network.insert(place, envelope);
    }

    /// Every way in which a step may go, and every crash within it.
    #[expect(clippy::too_many_arguments, reason = "they are what a step is")]
    fn step(
        &mut self,
        before: &Global,
        what: What,
        id: u32,
        own: u32,
        input: Input,
        message: Option<u32>,
        next: &mut Vec<(Move, Global)>,
    ) {
        let ways = self.ways(id, own, input);
        for (branch, stepped) in (0..).zip(ways.iter()) {
            let how = Move {
                what,
                message,
                branch,
                cut: None,
            };
            next.push((how, self.after(before, id, stepped, None)));
            if !self.may_crash(before, id) {
                continue;
            }
            let from = match input {
                Input::Start | Input::Recover(_) => 0,
                // As a crash before the step, and a message that is refused.
                Input::Receive(_) | Input::Timer(_) => 1,
            };
            for cut in from..=stepped.acts.len() {
                let last = cut.checked_sub(1).map(|last| &stepped.acts[last]);
                let tells = match last {
                    Some(Act::Point(_)) => true,
                    _ if self.model.bounds.at_points => false,
                    None | Some(Act::Send { .. } | Act::Persist(_) | Act::Report(_)) => {
                        // Where a point follows, the crash is there; after all, it is none within.
                        cut < stepped.acts.len() && !matches!(stepped.acts[cut], Act::Point(_))
                    }
                    Some(Act::Set(..) | Act::Cancel(_)) => false,
                };
                if tells {
                    let cut = Some(cut as u32);
                    next.push((Move { cut, ..how }, self.after(before, id, stepped, cut)));
                }
            }
        }
    }

    fn after(&mut self, before: &Global, id: u32, stepped: &Stepped, cut: Option<u32>) -> Global {
        let mut state = before.clone();
        let local = id as usize;
        let acts = &stepped.acts[..cut.map_or(stepped.acts.len(), |cut| cut as usize)];
        state.locals[local].state = Some(stepped.after);
        for act in acts {
            match *act {
                Act::Send { to, message } => {
                    let side = |id: u32| state.side >> id & 1;
                    let withheld = self.withheld.contains(&self.messages[message].kind.0);
                    if side(id) == side(to) && !withheld && !self.unreachable(&state, to) {
                        let from = id;
                        self.post(&mut state, Envelope { from, to, message });
                    }
                }
                Act::Set(timer, after) => {
                    let timers = &mut state.locals[local].timers;
                    timers.retain(|(other, _)| *other != timer);
                    let place = timers.partition_point(|(other, _)| *other < timer);
                    timers.insert(place, (timer, after));
                }
                Act::Cancel(timer) => {
                    let timers = &mut state.locals[local].timers;
                    timers.retain(|(other, _)| *other != timer);
                }
                Act::Persist(record) => state.locals[local].record = record,
                Act::Report(event) => state.history = self.history(state.history, event),
                Act::Point(_) => {}
            }
        }
        match cut {
            Some(_) => self.crash(&mut state, id),
            None => state.error = stepped.error,
        }
        state
    }

    fn history(&mut self, history: u32, event: u32) -> u32 {
        if let Some(longer) = self.longer.get(&(history, event)) {
            return *longer;
        }
        let mut numbers = self.histories[history].clone();
        numbers.push(event);
        let events = (self.model.history)(self.told(&numbers));
        let numbers: Vec<u32> = events
            .into_iter()
            .map(|event| self.number_event(event))
            .collect();
        let longer = self.histories.of(numbers.clone(), || numbers);
        self.longer.insert((history, event), longer);
        longer
    }

    /// Events by their numbers, in order.
    fn told(&self, numbers: &[u32]) -> Vec<Event> {
        let told = |(place, number): (i64, &u32)| Event {
            time: Timestamp::from_nanos(place),
            ..self.events[*number].clone()
        };
        (0..).zip(numbers).map(told).collect()
    }

    fn number_event(&mut self, event: Event) -> u32 {
        let outcome = &event.outcome;
        let value = outcome.value.to_string();
        let key = (event.node.0, outcome.phase, outcome.operation.0, value);
        self.events.of(key, || event)
    }

    fn number_state(&mut self, id: u32, process: Box<dyn Process>) -> u32 {
        let mut bytes = Bytes(id.to_le_bytes().to_vec());
        process.hash_state(&mut bytes);
        self.states.of(fingerprint(&bytes.0), || process)
    }

    /// The ways in which a step of process `id` may go: one for every sequence of choices, less
    /// those that come to the same.
    fn ways(&mut self, id: u32, own: u32, input: Input) -> Rc<[Stepped]> {
        if let Some(ways) = self.steps.get(&(id, own, input)) {
            return ways.clone();
        }
        let mut ways = Vec::new();
        let mut choices: Vec<u32> = Vec::new();
        loop {
            let mut asked = Vec::new();
            let way = self.run(id, own, input, &choices, &mut asked);
            if !ways.contains(&way) {
                ways.push(way);
            }
            // The next sequence: the last choice that has another branch takes it.
            choices.resize(asked.len(), 0);
            while let Some(last) = choices.pop() {
                if last + 1 < asked[choices.len()] {
                    choices.push(last + 1);
                    break;
                }
            }
            if choices.is_empty() {
                break;
            }
        }
        let ways: Rc<[Stepped]> = ways.into();
        self.steps.insert((id, own, input), ways.clone());
        ways
    }

    /// Runs a step, and those that follow from messages of the process to itself.
    fn run(
        &mut self,
        id: u32,
        own: u32,
        input: Input,
        choices: &[u32],
        asked: &mut Vec<u32>,
    ) -> Stepped {
        let mut process = self.states[own].clone();
        let mut choose = |k: u32| {
            asked.push(k);
            choices.get(asked.len() - 1).copied().unwrap_or(0)
        };
        let mut acts = Vec::new();
        let mut error = None;
        let mut to_self = VecDeque::new();
        let mut step = Step::new(&mut choose);
        match input {
            Input::Start => process.start(&mut step),
            Input::Recover(record) => process.recover(&self.records[record], &mut step),
            Input::Timer(timer) => process.timer(timer, &mut step),
            Input::Receive(message) => {
                error = process.receive(&self.messages[message], &mut step).err();
            }
        }
        let mut actions = step.into_actions();
        loop {
            for action in actions {
                self.act(id, action, &mut acts, &mut to_self);
            }
            let Some(message) = to_self.pop_front() else {
                break;
            };
            let mut step = Step::new(&mut choose);
            error = error.or(process.receive(&message, &mut step).err());
            actions = step.into_actions();
        }
        let error = error.map(|error| {
            let text = format!("process {id}: {error}");
            self.errors.of(text.clone(), || text)
        });
        let after = self.number_state(id, process);
        Stepped { acts, after, error }
    }

    fn act(
        &mut self,
        id: u32,
        action: Action,
        acts: &mut Vec<Act>,
        to_self: &mut VecDeque<Message>,
    ) {
        acts.push(match action {
            Action::Send {
                to,
                kind,
                operation,
                body,
            } => {
                let from = ProcessId(id);
                let message = Message {
                    from,
                    kind,
                    operation,
                    body,
                };
                if to == from {
                    return to_self.push_back(message);
                }
                let key = (id, kind.0, operation.0, message.body.clone());
                let message = self.messages.of(key, || message);
                Act::Send { to: to.0, message }
            }
            Action::SetTimer { id, after } => match self.model.time {
                Time::Asynchronous => Act::Set(id, Duration::ZERO),
                Time::Synchronous => Act::Set(id, after),
            },
            Action::CancelTimer(id) => Act::Cancel(id),
            Action::Persist(bytes) => Act::Persist(self.records.of(bytes.clone(), || bytes)),
            Action::Report(outcome) => {
                let event = Event {
                    node: ProcessId(id),
                    time: Timestamp::from_nanos(0),
                    outcome,
                };
                Act::Report(self.number_event(event))
            }
            Action::Point(name) => Act::Point(name),
        });
    }

    /// What a state breaks.
    pub(super) fn verdict(&mut self, state: &Global) -> Option<Broken> {
        if let Some(error) = state.error {
            return Some(Broken {
                property: "every message has its place".to_owned(),
                why: self.errors[error].clone(),
            });
        }
        let end = self.is_end(state);
        self.ends += u64::from(end);
        let whole = state.losses == 0 && state.side == 0 && self.withheld.is_empty();
        let promised = end && whole;
        let down = |(id, local): (u32, &Local)| u32::from(local.state.is_none()) << id;
        let down = (0..).zip(&state.locals).map(down).sum();
        let key = (state.history, down, promised);
        if let Some(verdict) = self.verdicts.get(&key) {
            return verdict.clone();
        }
        let verdict = self.check(state.history, down, promised);
        self.verdicts.insert(key, verdict.clone());
        verdict
    }

    fn is_end(&mut self, state: &Global) -> bool {
        let quiet = state.next_to_start().is_none() && state.network.is_empty();
        let waiting = state.locals.iter().any(|local| !local.timers.is_empty());
        self.cut_short |= waiting && state.timeouts == self.model.bounds.timeouts;
        quiet && !waiting
    }

    fn check(&self, history: u32, down: u32, end: bool) -> Option<Broken> {
        let model = self.model;
        let events = self.told(&self.histories[history]);
        let crashed: Vec<_> = (0..32)
            .filter(|id| down >> id & 1 == 1)
            .map(ProcessId)
            .collect();
        let execution = Execution {
            n: model.n,
            rounds: model.rounds,
            options: &model.options,
            events: &events,
            crashed: &crashed,
        };
        let all = model.algorithm.properties.iter().chain(model.also);
        for property in all {
            let named = |only: &Vec<&str>| only.contains(&property.name);
            let due = property.kind == PropertyKind::Safety || end;
            if !due || !model.only.as_ref().is_none_or(named) {
                continue;
            }
            if let Judgement::Broken(why) = property.judge(&execution) {
                return Some(Broken {
                    property: property.name.to_owned(),
                    why,
                });
            }
        }
        None
    }

    /// The execution that these moves are, told step by step.
    pub(super) fn counterexample(&mut self, moves: Vec<Move>, broken: Broken) -> Counterexample {
        let mut state = self.initial();
        let mut next = Vec::new();
        let mut trace = Vec::new();
        for how in moves {
            trace.push(self.happened(&state, how));
            self.successors(&state, &mut next);
            let taken = next.drain(..).find(|(other, _)| *other == how);
            state = taken.expect("a move that was taken before").1;
        }
        Counterexample {
            property: broken.property,
            why: broken.why,
            trace,
        }
    }

    fn happened(&mut self, state: &Global, how: Move) -> Happened {
        let input = match how.what {
            What::Start(id) => Some((id, Input::Start)),
            What::Deliver { to, .. } => how.message.map(|message| (to, Input::Receive(message))),
            What::Timer(id, timer) => Some((id, Input::Timer(timer))),
            What::Restart(id) => Some((id, Input::Recover(state.locals[id.index()].record))),
            _ => None,
        };
        let did = match input {
            None => Vec::new(),
            Some((id, input)) => {
                let own = state.locals[id.index()].state;
                let own = own.unwrap_or(self.fresh[id.index()]);
                let ways = self.ways(id.0, own, input);
                let acts = &ways[how.branch as usize].acts;
                let done = how.cut.map_or(acts.len(), |cut| cut as usize);
                acts[..done].iter().map(|act| self.did(act)).collect()
            }
        };
        Happened {
            what: how.what,
            kind: how.message.map(|message| self.kind(message)),
            did,
            crashed: how.cut.is_some() || matches!(how.what, What::Crash(_)),
        }
    }

    fn did(&self, act: &Act) -> Did {
        match *act {
            Act::Send { to, message } => Did::Send(ProcessId(to), self.kind(message)),
            Act::Set(id, _) => Did::SetTimer(id.0),
            Act::Cancel(id) => Did::CancelTimer(id.0),
            Act::Persist(_) => Did::Persist,
            Act::Report(event) => {
                let outcome = &self.events[event].outcome;
                Did::Report(format!("{:?} {}", outcome.phase, outcome.value))
            }
            Act::Point(name) => Did::Point(name),
        }
    }

    /// The name of a message's kind, or its number where the table of protocols has none.
    fn kind(&self, message: u32) -> String {
        let number = self.messages[message].kind.0;
        let protocol = crate::protocols::by_name(self.model.algorithm.name);
        let kind = protocol.and_then(|protocol| protocol.kind(number));
        kind.map_or_else(|| format!("kind {number}"), |kind| kind.name.clone())
    }
}

impl Move {
    fn of(what: What) -> Self {
        Self {
            what,
            message: None,
            branch: 0,
            cut: None,
        }
    }
}

/// Two independent halves of SipHash with fixed keys.
fn fingerprint(bytes: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(bytes);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

/// Collects what is hashed.
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("nobody asks for the hash of what is only collected")
    }
}
