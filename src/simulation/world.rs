//! The processes, the channels between them, and what is to happen: one simulated run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::outcome::{Counts, End, Run};
use super::queue::{Due, Planned, Queue};
use super::random::Random;
use super::wire::{Way, Wire};
use super::{Fault, Moment, Order, Scenario, Sent, Storage, Watch};
use crate::algorithm::{
    Action, Algorithm, Body, Channels, Event, KindNumber, Message, OperationId, Process, ProcessId,
    ProtocolError, Setup, SetupError, Step, TimerId, Told,
};
use crate::units::Timestamp;

/// A message on its way.
struct Travelling {
    to: ProcessId,
    /// The receiver's, when it was sent: one that has crashed since does not get it.
    incarnation: u32,
    /// Where connections are used per exchange: it comes over the connection that its receiver
    /// opened.
    is_reply: bool,
    message: Message,
}

/// A process and what the world knows of it.
struct Slot {
    process: Box<dyn Process>,
    state: State,
    /// From 1.
    incarnation: u32,
    timers: Timers,
}

/// Timers that are set, each with the number under which its end is planned. Few processes have
/// more than one at a time.
#[derive(Debug, Default)]
struct Timers {
    one: Option<(TimerId, u64)>,
    more: Vec<(TimerId, u64)>,
}

impl Timers {
    fn set(&mut self, id: TimerId, number: u64) {
        match self.one {
            None => self.one = Some((id, number)),
            Some(_) => self.more.push((id, number)),
        }
    }

    /// Takes out the first that `is` true of, and tells whether there was one.
    fn take(&mut self, is: impl Fn((TimerId, u64)) -> bool) -> bool {
        if self.one.is_some_and(&is) {
            self.one = self.more.pop();
            return true;
        }
        let position = self.more.iter().position(|&timer| is(timer));
        position.is_some_and(|at| is(self.more.swap_remove(at)))
    }

    /// Forgets them all, and tells how many there were.
    fn clear(&mut self) -> u64 {
        let count = u64::from(self.one.take().is_some()) + self.more.len() as u64;
        self.more.clear();
        count
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It listens, and has not begun.
    Waiting,
    Running,
    Down,
}

/// A partition with its side as a set.
struct Partition {
    side: BTreeSet<ProcessId>,
    from: u64,
    until: u64,
}

/// One run while it goes on.
pub struct World<'a> {
    algorithm: &'static Algorithm,
    scenario: &'a Scenario,
    slots: Vec<Slot>,
    queue: Queue,
    now: u64,
    /// The time of the last thing that happened, timers that no longer counted aside.
    last: u64,
    delays: Random,
    choices: Random,
    /// The shortest delay and how many different ones there are, in nanoseconds.
    shortest: u64,
    spread: u64,
    fifo: bool,
    /// FIFO only: when the last message on a channel arrives.
    channels: FxHashMap<(u32, u32), u64>,
    travelling: Vec<Option<Travelling>>,
    free: Vec<u32>,
    partitions: Vec<Partition>,
    /// Crashes at a point that are still to come, as indices of faults.
    at_points: Vec<usize>,
    /// Messages that reached a process before it began.
    early: BTreeMap<ProcessId, Vec<Travelling>>,
    to_self: VecDeque<Message>,
    storage: BTreeMap<ProcessId, Vec<u8>>,
    in_flight: u64,
    timers_set: u64,
    not_started: u64,
    restarts: u64,
    operations: u64,
    completed: u64,
    quiescing: bool,
    events: Vec<Event>,
    /// What events tell, each once.
    told: FxHashSet<Told>,
    /// By kind number.
    counts: Vec<Counts>,
    died: Vec<ProcessId>,
    log: Vec<Sent>,
    errors: Vec<(ProcessId, ProtocolError)>,
    wire: Option<Wire>,
    /// Whose request the present step handles: what it sends there is a reply.
    answering: Option<ProcessId>,
    /// Whether it has sent a reply.
    replied: bool,
    /// Room for the receivers of messages that come soon.
    receivers: Vec<ProcessId>,
    /// Room for a step's actions.
    actions: Vec<Action>,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<'a> World<'a> {
    /// Builds the processes and plans their starts and faults.
    pub fn new(algorithm: &'static Algorithm, scenario: &'a Scenario) -> Result<Self, SetupError> {
        algorithm.check(scenario.n, scenario.rounds, &scenario.options)?;
        let processes = (algorithm.processes)(scenario.n);
        check_faults(algorithm, scenario, processes)?;
        let kinds = &algorithm.protocol().kinds;
        let highest = kinds.iter().map(|kind| kind.number).max().unwrap_or(0);
        let fifo = match scenario.network.order {
            Order::Declared => algorithm.channels == Channels::Fifo,
            Order::Fifo => true,
            Order::Any => false,
        };
        let delay = &scenario.network.delay;
        let (shortest, longest) = (nanos(*delay.start()), nanos(*delay.end()));
        let mut world = Self {
            algorithm,
            scenario,
            slots: Vec::with_capacity(processes as usize),
            queue: Queue::new(longest),
            now: 0,
            last: 0,
            delays: Random::new(scenario.seed, 0),
            choices: Random::new(scenario.seed, 1),
            shortest,
            spread: longest.saturating_sub(shortest).saturating_add(1),
            fifo,
            channels: FxHashMap::default(),
            travelling: Vec::new(),
            free: Vec::new(),
            partitions: Vec::new(),
            at_points: Vec::new(),
            early: BTreeMap::new(),
            to_self: VecDeque::new(),
            storage: BTreeMap::new(),
            in_flight: 0,
            timers_set: 0,
            not_started: processes.into(),
            restarts: 0,
            operations: (algorithm.operations)(scenario.n, scenario.rounds, &scenario.options),
            completed: 0,
            quiescing: false,
            events: Vec::new(),
            told: FxHashSet::default(),
            counts: vec![Counts::default(); usize::from(highest) + 1],
            died: Vec::new(),
            log: Vec::new(),
            errors: Vec::new(),
            wire: scenario
                .wire
                .map(|wire| Wire::new(algorithm, scenario.n, &scenario.options, wire)),
            answering: None,
            replied: false,
            receivers: Vec::new(),
            actions: Vec::new(),
        };
        for id in 0..processes {
            let process = world.build(ProcessId(id))?;
            world.slots.push(Slot {
                process,
                state: State::Waiting,
                incarnation: 1,
                timers: Timers::default(),
            });
        }
        for absent in (algorithm.absent)(scenario.n, &scenario.options) {
            world.slots[absent.index()].state = State::Down;
        }
        world.plan_faults();
        let mut starts = Random::new(scenario.seed, 2);
        for id in 0..processes {
            let time = starts.below(longest.saturating_add(1));
            world.queue.plan(time, Due::Start(id));
        }
        Ok(world)
    }

    fn build(&self, id: ProcessId) -> Result<Box<dyn Process>, SetupError> {
        (self.algorithm.process)(&Setup {
            id,
            n: self.scenario.n,
            rounds: self.scenario.rounds,
            options: &self.scenario.options,
        })
    }

    /// Before the starts, so that a crash at 0 comes before them.
    fn plan_faults(&mut self) {
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            match fault {
                Fault::Crash {
                    at: Moment::Time(time),
                    ..
                } => {
                    self.queue.plan(nanos(*time), Due::Fault(index as u32));
                }
                Fault::Crash {
                    at: Moment::Point(_),
                    ..
                } => self.at_points.push(index),
                Fault::Partition { side, from, until } => self.partitions.push(Partition {
                    side: side.iter().copied().collect(),
                    from: nanos(*from),
                    until: nanos(*until),
                }),
            }
        }
    }

    /// Runs to the end, or until it is stopped: then nothing comes of it.
    pub fn run(mut self, watch: &Watch) -> Option<Run> {
        let limit = nanos(self.scenario.limit);
        let mut ended = End::Quiet;
        let mut steps = 0;
        while !self.is_over() {
            if watch.is_stopped() {
                return None;
            }
            steps += 1;
            watch.steps.store(steps, Ordering::Relaxed);
            watch.operations.store(self.completed, Ordering::Relaxed);
            let Some(planned) = self.queue.next() else {
                break;
            };
            if planned.time > limit {
                ended = End::Limit;
                self.last = limit;
                break;
            }
            self.look_ahead();
            self.now = planned.time;
            if self.happen(planned) {
                self.last = self.now;
            }
            self.quiesce_when_complete();
        }
        Some(self.into_run(ended))
    }

    /// With a million processes nearly every event finds its message and its process in no cache.
    /// Reading those of many events that come soon, none of which has to wait for another, brings
    /// them there in a fraction of the time. Nothing else depends on this.
    fn look_ahead(&mut self) {
        let messages = self.queue.opened().filter_map(|due| match due {
            Due::Message(slot) => self.travelling[slot as usize].as_ref(),
            _ => None,
        });
        self.receivers
            .extend(messages.map(|travelling| travelling.to));
        for receiver in self.receivers.drain(..) {
            std::hint::black_box(self.slots[receiver.index()].incarnation);
        }
    }

    fn is_over(&self) -> bool {
        self.in_flight == 0
            && self.not_started == 0
            && self.restarts == 0
            && (self.quiescing || self.timers_set == 0)
    }

    fn quiesce_when_complete(&mut self) {
        // What comes to rest by itself is waited for: the run is over then, and nothing is told.
        if !self.quiescing
            && !self.algorithm.comes_to_rest
            && self.completed >= self.operations
            && self.not_started == 0
            && self.restarts == 0
        {
            self.quiescing = true;
            for slot in &mut self.slots {
                if slot.state == State::Running {
                    slot.process.quiesce();
                }
            }
        }
    }

    /// Lets it happen, and tells whether anything did.
    fn happen(&mut self, planned: Planned) -> bool {
        match planned.due {
            Due::Start(id) => self.start(ProcessId(id)),
            Due::Message(slot) => self.arrive(slot),
            Due::Timer { process, id } => {
                return self.time_out(ProcessId(process), TimerId(id), planned.number);
            }
            Due::Fault(index) => self.crash(index as usize),
            Due::Restart(index) => self.restart(index as usize),
        }
        true
    }

    fn start(&mut self, id: ProcessId) {
        self.not_started -= 1;
        let slot = &mut self.slots[id.index()];
        // It may be down, or down and back, already.
        if slot.state != State::Waiting {
            return;
        }
        slot.state = State::Running;
        self.step(id, |process, step| {
            process.start(step);
            Ok(())
        });
        self.handle_early(id);
    }

    fn handle_early(&mut self, id: ProcessId) {
        for travelling in self.early.remove(&id).unwrap_or_default() {
            self.deliver(travelling);
        }
    }

    fn arrive(&mut self, index: u32) {
        let travelling = self.travelling[index as usize]
            .take()
            .expect("a slot is freed when its message arrives");
        self.free.push(index);
        self.deliver(travelling);
    }

    fn deliver(&mut self, travelling: Travelling) {
        let Travelling {
            to,
            incarnation,
            is_reply,
            ref message,
        } = travelling;
        let slot = &self.slots[to.index()];
        if slot.incarnation != incarnation
            || slot.state == State::Down
            || self.is_cut(message.from, to)
        {
            self.in_flight -= 1;
            self.count(message.kind).lost += 1;
            return;
        }
        if slot.state == State::Waiting {
            self.early.entry(to).or_default().push(travelling);
            return;
        }
        self.in_flight -= 1;
        self.count(message.kind).handled += 1;
        if let Some(wire) = &mut self.wire {
            wire.came(self.now, message.from, to);
        }
        self.answering = (!is_reply).then_some(message.from);
        self.replied = false;
        self.step(to, |process, step| process.receive(message, step));
    }

    fn time_out(&mut self, process: ProcessId, id: TimerId, number: u64) -> bool {
        if self.quiescing {
            return false;
        }
        let timers = &mut self.slots[process.index()].timers;
        if !timers.take(|timer| timer == (id, number)) {
            return false;
        }
        self.timers_set -= 1;
        self.step(process, |process, step| {
            process.timer(id, step);
            Ok(())
        });
        true
    }

    fn crash(&mut self, fault: usize) {
        let Fault::Crash {
            node,
            back,
            storage,
            ..
        } = &self.scenario.faults[fault]
        else {
            return;
        };
        let slot = &mut self.slots[node.index()];
        if slot.state == State::Down {
            return;
        }
        slot.state = State::Down;
        self.timers_set -= slot.timers.clear();
        self.to_self.clear();
        self.died.push(*node);
        for travelling in self.early.remove(node).unwrap_or_default() {
            self.in_flight -= 1;
            self.count(travelling.message.kind).lost += 1;
        }
        if *storage == Storage::Lost {
            self.storage.remove(node);
        }
        if let Some(back) = back {
            self.restarts += 1;
            let time = self.now.saturating_add(nanos(*back));
            self.queue.plan(time, Due::Restart(fault as u32));
        }
    }

    fn restart(&mut self, fault: usize) {
        self.restarts -= 1;
        let Fault::Crash { node, .. } = self.scenario.faults[fault] else {
            return;
        };
        if self.slots[node.index()].state != State::Down {
            return;
        }
        let process = self.build(node).expect("what was built once");
        let slot = &mut self.slots[node.index()];
        slot.process = process;
        slot.incarnation += 1;
        slot.state = State::Running;
        let bytes = self.storage.get(&node).cloned().unwrap_or_default();
        self.step(node, |process, step| {
            process.recover(&bytes, step);
            Ok(())
        });
        if self.quiescing {
            self.slots[node.index()].process.quiesce();
        }
    }

    /// One step of a process, and after it one for each message to itself.
    fn step(
        &mut self,
        id: ProcessId,
        run: impl FnOnce(&mut dyn Process, &mut Step<'_>) -> Result<(), ProtocolError>,
    ) {
        self.step_once(id, run);
        self.answering = None;
        while let Some(message) = self.to_self.pop_front() {
            self.step_once(id, |process, step| process.receive(&message, step));
        }
    }

    fn step_once(
        &mut self,
        id: ProcessId,
        run: impl FnOnce(&mut dyn Process, &mut Step<'_>) -> Result<(), ProtocolError>,
    ) {
        let choices = &mut self.choices;
        let mut choose = |k: u32| choices.below(k.into()) as u32;
        let mut step = Step::reusing(std::mem::take(&mut self.actions), &mut choose);
        let result = run(self.slots[id.index()].process.as_mut(), &mut step);
        let mut actions = step.into_actions();
        if let Err(error) = result {
            self.errors.push((id, error));
        }
        for action in actions.drain(..) {
            self.perform(id, action);
            if self.slots[id.index()].state == State::Down {
                break;
            }
        }
        self.actions = actions;
    }

    fn perform(&mut self, id: ProcessId, action: Action) {
        match action {
            Action::Send {
                to,
                kind,
                operation,
                body,
            } => self.send(id, to, kind, operation, body),
            Action::SetTimer { id: timer, after } => {
                self.cancel_timer(id, timer);
                let time = self.now.saturating_add(nanos(after));
                let due = Due::Timer {
                    process: id.0,
                    id: timer.0,
                };
                let number = self.queue.plan(time, due);
                self.slots[id.index()].timers.set(timer, number);
                self.timers_set += 1;
            }
            Action::CancelTimer(timer) => self.cancel_timer(id, timer),
            Action::Persist(bytes) => {
                self.storage.insert(id, bytes);
            }
            Action::Report(mut outcome) => {
                outcome.value = self.shared(outcome.value);
                self.completed += u64::from(outcome.phase.ends());
                let time = i64::try_from(self.now).unwrap_or(i64::MAX);
                self.events.push(Event {
                    node: id,
                    time: Timestamp::from_nanos(time),
                    outcome,
                });
            }
            Action::Point(name) => self.pass(id, name),
        }
    }

    /// The same, in the copy that all events have which tell it.
    fn shared(&mut self, told: Told) -> Told {
        if let Some(shared) = self.told.get(&told) {
            return shared.clone();
        }
        self.told.insert(told.clone());
        told
    }

    fn cancel_timer(&mut self, process: ProcessId, timer: TimerId) {
        let timers = &mut self.slots[process.index()].timers;
        if timers.take(|(id, _)| id == timer) {
            self.timers_set -= 1;
        }
    }

    fn pass(&mut self, process: ProcessId, point: &'static str) {
        let faults = &self.scenario.faults;
        let due = self.at_points.iter().position(|&index| {
            matches!(&faults[index], Fault::Crash { node, at: Moment::Point(name), .. }
                if *node == process && name == point)
        });
        if let Some(due) = due {
            let fault = self.at_points.remove(due);
            self.crash(fault);
        }
    }

    fn send(
        &mut self,
        from: ProcessId,
        to: ProcessId,
        kind: KindNumber,
        operation: OperationId,
        body: Body,
    ) {
        let message = Message {
            from,
            kind,
            operation,
            body,
        };
        if to == from {
            self.to_self.push_back(message);
            return;
        }
        self.count(kind).attempted += 1;
        if self.scenario.log {
            self.log.push(Sent {
                time: Duration::from_nanos(self.now),
                to,
                message: message.clone(),
            });
        }
        if self.slots[to.index()].state == State::Down {
            self.count(kind).refused += 1;
            if let Some(wire) = &mut self.wire {
                wire.refused();
            }
            return;
        }
        let network = &self.scenario.network;
        if self.is_cut(from, to) || self.delays.per_mille(network.loss_per_mille) {
            self.count(kind).lost += 1;
            return;
        }
        if self.delays.per_mille(network.duplicate_per_mille) {
            self.count(kind).duplicated += 1;
            self.travel(to, message.clone());
        }
        self.travel(to, message);
    }

    fn travel(&mut self, to: ProcessId, message: Message) {
        let delay = self.shortest.saturating_add(self.delays.below(self.spread));
        let mut time = self.now.saturating_add(delay);
        if self.fifo {
            // Of two that arrive at the same time, the one sent first comes first.
            let last = self.channels.entry((message.from.0, to.0)).or_default();
            time = time.max(*last);
            *last = time;
        }
        let is_reply = self.answering == Some(to);
        let way = match (is_reply, self.replied) {
            (false, _) => Way::Request,
            (true, false) => Way::FirstReply,
            (true, true) => Way::Reply,
        };
        self.replied |= is_reply;
        if let Some(wire) = &mut self.wire {
            let body = message.body.as_bytes().len();
            wire.sent(self.now, message.from, to, body, way);
        }
        let travelling = Some(Travelling {
            to,
            incarnation: self.slots[to.index()].incarnation,
            is_reply,
            message,
        });
        let index = match self.free.pop() {
            Some(index) => {
                self.travelling[index as usize] = travelling;
                index
            }
            None => {
                self.travelling.push(travelling);
                (self.travelling.len() - 1) as u32
            }
        };
        self.in_flight += 1;
        self.queue.plan(time, Due::Message(index));
    }

    fn is_cut(&self, a: ProcessId, b: ProcessId) -> bool {
        self.partitions.iter().any(|partition| {
            (partition.from..partition.until).contains(&self.now)
                && partition.side.contains(&a) != partition.side.contains(&b)
        })
    }

    fn count(&mut self, kind: KindNumber) -> &mut Counts {
        &mut self.counts[usize::from(kind.0)]
    }

    fn into_run(self, ended: End) -> Run {
        let kinds = &self.algorithm.protocol().kinds;
        let counts = kinds
            .iter()
            .map(|kind| (kind.name.as_str(), self.counts[usize::from(kind.number)]))
            .collect();
        let down = |(_, slot): &(u32, &Slot)| slot.state == State::Down;
        let crashed = (0..).zip(&self.slots).filter(down);
        Run {
            algorithm: self.algorithm,
            scenario: self.scenario.clone(),
            crashed: crashed.map(|(id, _)| ProcessId(id)).collect(),
            counts,
            events: self.events,
            died: self.died,
            ended,
            time: Duration::from_nanos(self.last),
            messages_log: self.log,
            persisted: self.storage,
            errors: self.errors,
            wire: self.wire.map(|wire| wire.finish(self.last)),
        }
    }
}

fn check_faults(
    algorithm: &'static Algorithm,
    scenario: &Scenario,
    processes: u32,
) -> Result<(), SetupError> {
    for fault in &scenario.faults {
        let named = match fault {
            Fault::Crash { node, at, .. } => {
                if let Moment::Point(point) = at
                    && !algorithm.points.iter().any(|known| known.name == point)
                {
                    return Err(SetupError::NoSuchPoint {
                        algorithm: algorithm.name,
                        point: point.clone(),
                        known: algorithm.points.iter().map(|point| point.name).collect(),
                    });
                }
                std::slice::from_ref(node)
            }
            Fault::Partition { side, .. } => side,
        };
        if let Some(&id) = named.iter().find(|id| id.0 >= processes) {
            return Err(SetupError::NoSuchProcess { id, n: processes });
        }
    }
    Ok(())
}
