//! One process of an algorithm on real sockets.
//!
//! In: commands of the controller on standard input ([`control`]), frames on TCP ([`sockets`]),
//! timers. Out: frames, the ledger, replies to the controller on standard output. The state
//! machine is handed one event at a time and its actions are carried out in order. Nothing here
//! knows the analyser, and nothing retries: a refused connection is one attempt.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use crate::algorithm::{
    Action, Algorithm, Body, Channels, KindNumber, Message, OperationId, Process, ProcessId, Setup,
    Step, TimerId, catalog,
};
use crate::ledger::{self, Writer};

pub mod accounts;
pub mod by_hand;
pub mod codec;
pub mod control;
mod drops;
pub mod order;
pub mod sockets;

use accounts::Accounts;
use codec::Frame;
use control::{
    Command, Configuration, Connections, FaultKind, LineError, NodeError, NodeFault, Reply,
};
use drops::Drops;
use order::ChannelOrder;
use sockets::{Connection, Event, Identity, Network};

/// How long a node that has reached a point waits for what it sent before to go out.
const LONGEST_FLUSH: Duration = Duration::from_secs(1);
/// Room that a body leaves for the algorithm's own item beside a payload.
const ROOM_FOR_ITEM: usize = 64 * 1024;
/// The most bytes of payload that fit beside a body.
pub const MAX_PAYLOAD: usize = codec::MAX_FRAME_LEN - codec::HEADER_LEN - ROOM_FOR_ITEM;

/// Why a node ended before its controller finished it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The controller is gone: its end of standard input or output was closed.
    #[error("the controller has gone away")]
    ControllerGone,
    /// A line of the control protocol could not be read, or came at the wrong time.
    #[error("{0}")]
    Control(String),
    /// The node could not be set up. The controller has been told.
    #[error("{0}")]
    Setup(String),
    /// The operating system refused what every node needs.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Runs a node that is controlled over its standard input and output, until the controller
/// finishes it or goes away. It ignores SIGINT: on Ctrl-C the controller finishes its nodes.
pub fn run_controlled(algorithm: &str) -> Result<(), RunError> {
    // A handler that sets a flag nobody reads: the signal no longer ends the process.
    signal_hook::flag::register(
        signal_hook::consts::SIGINT,
        Arc::new(AtomicBool::new(false)),
    )?;
    // Standard input closes with the controller too, but a stopped node would not read that.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(io::Error::from)?;
    let commands = read_commands();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, control(algorithm, commands));
    if let Err(RunError::Control(detail)) = &result {
        // The controller may be gone as well: then nobody is left to be told.
        let _ = say(Reply::Error(NodeError::Control {
            detail: detail.clone(),
        }));
    }
    result
}

/// Reads standard input in a thread of its own: a blocking read that nothing has to wait for when
/// the node exits.
fn read_commands() -> UnboundedReceiver<Result<Command, LineError>> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        // Bytes that are no UTF-8 are told as any other line that cannot be read.
        while input
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let command = control::from_line(&String::from_utf8_lossy(&line));
            if sender.send(command).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// Who a node tells what happens: its controller, or a person.
trait Voice {
    fn say(&self, reply: Reply) -> Result<(), RunError>;

    /// A message is about to be handled; the clock is the process's, after its coming.
    fn received(&self, _frame: &Frame, _clock: u64) {}

    /// Whether there is no controller, who tells which connections are whose and when to close them.
    fn is_by_hand(&self) -> bool {
        false
    }
}

/// Says everything to the controller, on standard output.
struct ToController;

impl Voice for ToController {
    fn say(&self, reply: Reply) -> Result<(), RunError> {
        say(reply)
    }
}

fn say(reply: Reply) -> Result<(), RunError> {
    let mut output = io::stdout().lock();
    let said = output.write_all(control::to_line(reply).as_bytes());
    said.and_then(|()| output.flush())
        .map_err(|_| RunError::ControllerGone)
}

type Commands = UnboundedReceiver<Result<Command, LineError>>;

async fn next_command(commands: &mut Commands) -> Result<Command, RunError> {
    let line = commands.recv().await.ok_or(RunError::ControllerGone)?;
    line.map_err(|error| RunError::Control(error.to_string()))
}

async fn control(algorithm: &str, mut commands: Commands) -> Result<(), RunError> {
    let configuration = match next_command(&mut commands).await? {
        Command::Configure(configuration) => configuration,
        other => {
            return Err(RunError::Control(format!(
                "expected configure, not {other:?}"
            )));
        }
    };
    let set_up = Node::set_up(algorithm, configuration, commands, Rc::new(ToController));
    let (mut node, events) = match set_up.await {
        Ok(node) => node,
        Err(error) => {
            let told = error.to_string();
            say(Reply::Error(error))?;
            return Err(RunError::Setup(told));
        }
    };
    node.run(events).await
}

/// A frame, and the connection that it came over.
type Arrival = (Frame, Rc<Connection>);

/// An operating-system process that runs one process of an algorithm.
struct Node {
    configuration: Configuration,
    algorithm: &'static Algorithm,
    process: Box<dyn Process>,
    network: Network,
    accounts: Rc<Accounts>,
    /// Lamport's clock (CACM 21(7), 1978): one tick a sending or handling.
    clock: u64,
    /// The last sequence number used on the channel to each process.
    sequences: BTreeMap<ProcessId, u64>,
    /// By sender and its incarnation.
    orders: BTreeMap<(u32, u32), ChannelOrder<Arrival>>,
    timers: BTreeMap<TimerId, Instant>,
    /// What arrived before the start.
    early: Vec<Arrival>,
    to_self: VecDeque<Message>,
    commands: Commands,
    voice: Rc<dyn Voice>,
    /// A command that came while the process waited at a point, and that cannot be obeyed there.
    put_off: Option<Command>,
    /// Processes that nothing is sent to: an injected fault.
    separated: BTreeSet<ProcessId>,
    drops: Drops,
    started: bool,
    quiescing: bool,
}

impl Node {
    async fn set_up(
        algorithm: &str,
        configuration: Configuration,
        commands: Commands,
        voice: Rc<dyn Voice>,
    ) -> Result<(Self, UnboundedReceiver<Event>), NodeError> {
        let refuse = |detail: String| NodeError::Configuration { detail };
        let Configuration { id, n, rounds, .. } = configuration;
        if configuration.protocol != algorithm {
            let asked = &configuration.protocol;
            return Err(refuse(format!("this node runs {algorithm}, not {asked}")));
        }
        if configuration.payload > MAX_PAYLOAD {
            let payload = configuration.payload;
            return Err(refuse(format!(
                "a payload of {payload} bytes; at most {MAX_PAYLOAD} fit"
            )));
        }
        let algorithm = catalog::by_name(algorithm).map_err(|error| refuse(error.to_string()))?;
        let (processes, addresses) = ((algorithm.processes)(n), configuration.peers.len());
        if addresses != processes as usize {
            return Err(refuse(format!(
                "{processes} processes and {addresses} addresses"
            )));
        }
        let setup = Setup {
            id,
            n,
            rounds,
            options: &configuration.options,
        };
        let process = algorithm
            .build(&setup)
            .map_err(|error| refuse(error.to_string()))?;
        let ledger =
            Writer::open(&configuration.ledger).map_err(|error| refuse(error.to_string()))?;
        let address = configuration.peers[id.index()];
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => NodeError::PortInUse { address },
                _ => NodeError::CannotListen {
                    address,
                    detail: error.to_string(),
                },
            })?;
        let accounts = Rc::new(Accounts::new(id, algorithm.protocol(), ledger));
        let drops = Drops::new(algorithm.protocol(), &configuration.faults);
        let identity = Identity {
            me: id,
            run: configuration.run,
            protocol: algorithm.protocol().number,
            peers: configuration.peers.clone(),
            connections: configuration.connections,
            delay: Duration::from_nanos(configuration.faults.delay),
            closes_with_peer: voice.is_by_hand(),
        };
        let (network, events) = Network::new(identity, accounts.clone(), listener);
        let node = Self {
            configuration,
            algorithm,
            process,
            network,
            accounts,
            clock: 0,
            sequences: BTreeMap::new(),
            orders: BTreeMap::new(),
            timers: BTreeMap::new(),
            early: Vec::new(),
            to_self: VecDeque::new(),
            commands,
            voice,
            put_off: None,
            separated: BTreeSet::new(),
            drops,
            started: false,
            quiescing: false,
        };
        Ok((node, events))
    }

    fn me(&self) -> ProcessId {
        self.configuration.id
    }

    fn say(&self, reply: Reply) -> Result<(), RunError> {
        self.voice.say(reply)
    }

    fn fault(
        &self,
        what: FaultKind,
        peer: Option<ProcessId>,
        detail: &impl ToString,
    ) -> Result<(), RunError> {
        self.say(Reply::Fault(NodeFault {
            what,
            peer,
            detail: detail.to_string(),
        }))
    }

    async fn run(&mut self, mut events: UnboundedReceiver<Event>) -> Result<(), RunError> {
        self.say(Reply::Listening {
            address: self.configuration.peers[self.me().index()],
        })?;
        loop {
            let timer = self.next_timer();
            let due = timer.map_or_else(Instant::now, |(due, _)| due);
            let put_off = self.put_off.take();
            let next = async {
                match put_off {
                    Some(command) => Ok(command),
                    None => next_command(&mut self.commands).await,
                }
            };
            tokio::select! {
                biased;
                command = next => match command? {
                    Command::Finish { without } => {
                        return self.finish(without.into_iter().collect(), events).await;
                    }
                    command => self.obey(command).await?,
                },
                Some(event) = events.recv() => self.take(event).await?,
                () = tokio::time::sleep_until(due), if timer.is_some() => {
                    if let Some((_, id)) = timer {
                        self.timers.remove(&id);
                        self.step(None, |process, step| process.timer(id, step)).await?;
                    }
                }
            }
            self.tell_ledger_failure()?;
        }
    }

    fn tell_ledger_failure(&self) -> Result<(), RunError> {
        match self.accounts.take_failure() {
            Some(error) => self.fault(FaultKind::Storage, None, &error),
            None => Ok(()),
        }
    }

    /// The timer that runs out first. None is due while the node quiesces: that would be a
    /// spontaneous action.
    fn next_timer(&self) -> Option<(Instant, TimerId)> {
        if self.quiescing {
            return None;
        }
        self.timers.iter().map(|(&id, &due)| (due, id)).min()
    }

    async fn obey(&mut self, command: Command) -> Result<(), RunError> {
        match command {
            Command::Connect => {
                let (me, n) = (self.me(), self.configuration.n);
                let options = &self.configuration.options;
                let absent = (self.algorithm.absent)(n, options);
                let mut higher = self.algorithm.topology.neighbours(me, n, options);
                higher.retain(|peer| *peer > me && !absent.contains(peer));
                let links = self.network.dial(&higher).await;
                self.say(Reply::Connected { links })
            }
            Command::Start { links } if !self.started => {
                let patience = Duration::from_secs(5);
                let adopted = tokio::time::timeout(patience, self.network.adopt(&links)).await;
                if adopted.is_err() {
                    self.fault(
                        FaultKind::Missing,
                        None,
                        &"a connection dialled to here did not come",
                    )?;
                }
                self.network.started();
                self.start().await
            }
            command => self.answer(command),
        }
    }

    /// Obeys what can be obeyed at any time, within a step too.
    fn answer(&mut self, command: Command) -> Result<(), RunError> {
        match command {
            Command::Counters { poll } => self.say(Reply::Counters {
                poll,
                timers: u32::try_from(self.timers.len()).unwrap_or(u32::MAX),
                channels: self.accounts.channels(),
            }),
            Command::Quiesce => {
                self.quiescing = true;
                self.network.quiesce();
                self.process.quiesce();
                Ok(())
            }
            Command::Separate { from } => {
                self.separated = from.into_iter().collect();
                Ok(())
            }
            // The controller may have sent it before it heard that nobody waits any more.
            Command::GoOn => Ok(()),
            command => Err(RunError::Control(format!("{command:?} has no place here"))),
        }
    }

    async fn start(&mut self) -> Result<(), RunError> {
        self.started = true;
        match self.persisted() {
            Some(bytes) => {
                self.step(None, |process, step| process.recover(&bytes, step))
                    .await?;
            }
            None => self.step(None, |process, step| process.start(step)).await?,
        }
        for (frame, connection) in std::mem::take(&mut self.early) {
            self.release(frame, connection).await?;
        }
        Ok(())
    }

    /// What an earlier incarnation persisted; an empty record where it had persisted nothing.
    fn persisted(&self) -> Option<Vec<u8>> {
        if self.configuration.incarnation <= 1 {
            return None;
        }
        let path = self.configuration.state.as_ref()?;
        Some(std::fs::read(path).unwrap_or_default())
    }

    async fn take(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            Event::Fault(fault) => self.say(Reply::Fault(fault)),
            Event::Notice(notice) => self.say(Reply::Notice(notice)),
            Event::Arrived { frame, connection } if self.started => {
                self.release(frame, connection).await
            }
            Event::Arrived { frame, connection } => {
                self.early.push((frame, connection));
                Ok(())
            }
        }
    }

    /// Handles a message, and those that waited for it where channels are FIFO.
    async fn release(&mut self, frame: Frame, connection: Rc<Connection>) -> Result<(), RunError> {
        if self.algorithm.channels == Channels::Unordered {
            return self.handle(frame, connection).await;
        }
        let channel = (frame.sender, frame.incarnation);
        // One connection at a time keeps the order. Who came back knows nothing of what an earlier
        // incarnation was sent.
        let came_back = self.configuration.incarnation > 1 && !self.orders.contains_key(&channel);
        let come_in_order = self.network.connections() == Connections::Persistent || came_back;
        let order = self.orders.entry(channel).or_default();
        let due = order.release(frame.sequence, (frame, connection), come_in_order);
        for (frame, connection) in due {
            self.handle(frame, connection).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, frame: Frame, connection: Rc<Connection>) -> Result<(), RunError> {
        let from = ProcessId(frame.sender);
        // Rule IR2: later than both the own clock and the message's timestamp.
        self.clock = self.clock.max(frame.timestamp) + 1;
        self.voice.received(&frame, self.clock);
        let body = Body::from_bytes(frame.body.clone()).unpad(self.configuration.payload);
        let exchange =
            self.network.connections() == Connections::PerExchange && !connection.dialled_here();
        match body {
            Ok(body) => {
                let message = Message {
                    from,
                    kind: KindNumber(frame.kind),
                    operation: OperationId(frame.operation),
                    body,
                };
                let reply = exchange.then(|| (from, connection.clone()));
                let mut result = Ok(());
                self.step(reply, |process, step| {
                    result = process.receive(&message, step)
                })
                .await?;
                if let Err(error) = result {
                    self.fault(FaultKind::Protocol, Some(from), &error)?;
                }
            }
            Err(error) => self.fault(FaultKind::Protocol, Some(from), &error)?,
        }
        self.accounts.record(ledger::Event::Handled, &frame, None);
        if exchange {
            self.network.end_exchange(from, connection);
        }
        Ok(())
    }

    /// One step of the process, and after it one for each message to itself.
    async fn step(
        &mut self,
        reply: Option<(ProcessId, Rc<Connection>)>,
        run: impl FnOnce(&mut dyn Process, &mut Step<'_>),
    ) -> Result<(), RunError> {
        let mut choose = |k: u32| (RandomState::new().hash_one(k) % u64::from(k)) as u32;
        let mut step = Step::new(&mut choose);
        run(self.process.as_mut(), &mut step);
        let actions = step.into_actions();
        self.perform(actions, reply).await?;
        while let Some(message) = self.to_self.pop_front() {
            let mut step = Step::new(&mut choose);
            let result = self.process.receive(&message, &mut step);
            let actions = step.into_actions();
            self.perform(actions, None).await?;
            if let Err(error) = result {
                self.fault(FaultKind::Protocol, Some(self.me()), &error)?;
            }
        }
        Ok(())
    }

    async fn perform(
        &mut self,
        actions: Vec<Action>,
        reply: Option<(ProcessId, Rc<Connection>)>,
    ) -> Result<(), RunError> {
        for action in actions {
            match action {
                Action::Send {
                    to,
                    kind,
                    operation,
                    body,
                } if to == self.me() => {
                    let from = self.me();
                    self.to_self.push_back(Message {
                        from,
                        kind,
                        operation,
                        body,
                    });
                }
                Action::Send {
                    to,
                    kind,
                    operation,
                    body,
                } => {
                    let over = reply.as_ref().filter(|(requester, _)| *requester == to);
                    let over = over.map(|(_, connection)| connection.clone());
                    let frame = self.frame(to, kind, operation, &body);
                    self.accounts.record(ledger::Event::Attempted, &frame, None);
                    if self.separated.contains(&to) || self.drops.drops(&frame) {
                        self.accounts
                            .record(ledger::Event::Suppressed, &frame, None);
                    } else {
                        self.network.send(frame, over);
                    }
                }
                Action::SetTimer { id, after } => {
                    self.timers.insert(id, Instant::now() + after);
                }
                Action::CancelTimer(id) => {
                    self.timers.remove(&id);
                }
                Action::Point(name) => {
                    let points = &self.configuration.faults.points;
                    if points.iter().any(|point| point == name) {
                        self.wait_at(name).await?;
                    }
                }
                Action::Persist(bytes) => {
                    if let Err(error) = self.persist(&bytes) {
                        self.fault(FaultKind::Storage, None, &error)?;
                    }
                }
                Action::Report(outcome) => {
                    self.say(Reply::History {
                        time: ledger::now(),
                        outcome,
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Announces a point and waits there: for the end, or to be told to go on. What was sent before
    /// goes out first, and what arrives waits.
    async fn wait_at(&mut self, point: &str) -> Result<(), RunError> {
        // To a peer that does not read, nothing goes out.
        let nobody = BTreeSet::new();
        let flushed = self.network.flush(&nobody);
        let _ = tokio::time::timeout(LONGEST_FLUSH, flushed).await;
        self.say(Reply::Point {
            name: point.to_owned(),
        })?;
        loop {
            match next_command(&mut self.commands).await? {
                Command::GoOn => return Ok(()),
                command @ Command::Finish { .. } => {
                    self.put_off = Some(command);
                    return Ok(());
                }
                command => self.answer(command)?,
            }
        }
    }

    fn frame(
        &mut self,
        to: ProcessId,
        kind: KindNumber,
        operation: OperationId,
        body: &Body,
    ) -> Frame {
        // Rule IR1: the clock ticks between any two events.
        self.clock += 1;
        let sequence = self.sequences.entry(to).or_default();
        *sequence += 1;
        Frame {
            protocol: self.algorithm.protocol().number,
            kind: kind.0,
            sender: self.configuration.id.0,
            receiver: to.0,
            incarnation: self.configuration.incarnation,
            run: self.configuration.run,
            operation: operation.0,
            sequence: *sequence,
            timestamp: self.clock,
            body: body.pad(self.configuration.payload).as_bytes().to_vec(),
        }
    }

    /// On the disk, whole, before anything that follows; or else the earlier record stays.
    fn persist(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(path) = &self.configuration.state else {
            return Ok(());
        };
        let mut half_written = path.clone().into_os_string();
        half_written.push(".new");
        let half_written = PathBuf::from(half_written);
        let mut file = std::fs::File::create(&half_written)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&half_written, path)
    }

    /// Handles all that arrives until every connection is closed: what was counted as arrived is
    /// then counted as handled, unless it waits for its turn on its channel.
    async fn finish(
        &mut self,
        without: BTreeSet<ProcessId>,
        mut events: UnboundedReceiver<Event>,
    ) -> Result<(), RunError> {
        self.quiescing = true;
        self.network.quiesce();
        let network = self.network.clone();
        // First all answers to what has arrived go out, then connections are closed.
        self.handle_during(network.flush(&without), &mut events)
            .await?;
        self.handle_during(network.close(&without), &mut events)
            .await?;
        while let Ok(event) = events.try_recv() {
            self.take(event).await?;
        }
        // Nothing comes any more: what is still held back has waited in vain.
        for ((sender, _), order) in &self.orders {
            if let Some(gap) = order.gap() {
                self.fault(FaultKind::Gap, Some(ProcessId(*sender)), &gap)?;
            }
        }
        self.tell_ledger_failure()?;
        self.say(Reply::Finished {
            channels: self.accounts.channels(),
        })
    }

    /// Waits for `work` and handles events meanwhile, those first that are there already.
    async fn handle_during(
        &mut self,
        work: impl Future<Output = ()>,
        events: &mut UnboundedReceiver<Event>,
    ) -> Result<(), RunError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.take(event).await?,
                () = &mut work => return Ok(()),
                command = next_command(&mut self.commands) => match command {
                    // The answer to a point that was announced before `finish` was read.
                    Ok(Command::GoOn) => {}
                    // Nothing else may follow `finish`: its sender is broken, or gone.
                    _ => return Err(RunError::ControllerGone),
                },
            }
        }
    }
}
