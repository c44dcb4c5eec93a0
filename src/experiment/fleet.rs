//! The controller's side of a run: starts one operating-system process a node, leads all of them
//! through the barrier, gathers what they tell, brings them to quiescence and to their end.
//!
//! In: a [`FleetConfig`]. Out: a [`FleetOutcome`] with the history, the counters, what was
//! outstanding and who failed. Calls block; everything goes over the children's standard streams
//! (`docs/control-protocol.md`). However nodes behave, [`Fleet::run`] returns at the latest a
//! start limit, its operations' limit, five settle limits and a second after it began, and no child
//! outlives the [`Fleet`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::fault::{Fault, Restart, Storage};
use crate::algorithm::{Algorithm, Event, FailureModel, Options, Phase, ProcessId, catalog};
use crate::ledger;
use crate::node::control::{
    self, ChannelCounts, Command, Configuration, Connections, Link, NodeError, Reply,
};
use crate::units::Messages;

mod child;
mod inject;
mod outcome;

use child::{Given, watch, write_commands};
use inject::{Act, AtPoint, Timed, at_point};
pub use inject::{Deed, Injected};
pub use outcome::{
    Death, Ending, FleetError, FleetFault, FleetNotice, FleetOutcome, Outstanding, PortHolder,
};

/// How often the caller's wish to stop is looked at: an atomic flag wakes nobody.
const CANCEL_TICK: Duration = Duration::from_millis(20);
/// How long nodes may take to close their connections once the user has interrupted the run.
const INTERRUPTED_LIMIT: Duration = Duration::from_secs(3);
/// Longer than any run.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often a run with faults is looked at whether anything can still happen, and how long what was
/// on its way when a process was killed may take.
const LOOK: Duration = Duration::from_millis(50);
/// How many lines of a node's standard error are kept.
const KEPT_STDERR_LINES: usize = 50;
/// What a fleet is started from.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// The algorithm's name.
    pub algorithm: String,
    /// N of the formula.
    pub n: u32,
    /// Where each process listens, by id, clients included.
    pub peers: Vec<SocketAddr>,
    /// How often each initiator repeats its operation.
    pub rounds: u32,
    /// How connections are used.
    pub connections: Connections,
    /// Bytes of payload beside every body.
    pub payload: usize,
    /// The algorithm's own options.
    pub options: Options,
    /// Identifies the run in frames, ledger and history. Below 2^53 every JSON reader keeps it.
    pub run: u64,
    /// The ledger that all nodes append to. An absolute path, unless nodes share the folder.
    pub ledger: PathBuf,
    /// The file that every [`Event`] of an operation is appended to as it is heard, one JSON object
    /// a line, so that a controller that is killed leaves what it had heard.
    pub history: Option<PathBuf>,
    /// The same for notes ([`Phase::Note`]).
    pub events: Option<PathBuf>,
    /// The program that runs a node, and its first arguments. The algorithm's name and
    /// `--controlled` are appended.
    pub node_command: Vec<OsString>,
    /// How long nodes may take until all of them listen, and then until all are connected.
    pub start_limit: Duration,
    /// Programs of single nodes in place of `node_command`, by id: nodes in other languages.
    pub own_commands: BTreeMap<ProcessId, Vec<OsString>>,
    /// Told how far the operations are.
    pub progress: Arc<Progress>,
    /// Faults to inject.
    pub faults: Vec<Fault>,
    /// Decides which messages are dropped.
    pub seed: u64,
    /// The folder for what processes persist; none: they persist into the void. A process that is to
    /// come back with its storage needs one.
    pub state: Option<PathBuf>,
    /// How long they may take until they are quiet, to answer a poll, and then until they have
    /// ended.
    pub settle_limit: Duration,
}

/// How far a run is, for who looks on from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Nodes that listen.
    pub listening: AtomicU64,
    /// Operations that ended.
    pub ended: AtomicU64,
}

impl FleetConfig {
    /// A fleet of `n` nodes of this program on the loopback interface, at `base_port` + id, with
    /// one round, persistent connections and the usual limits.
    pub fn on_loopback(
        algorithm: &str,
        n: u32,
        base_port: u16,
        run: u64,
        ledger: PathBuf,
    ) -> Result<Self, FleetError> {
        let port = |id: u32| u16::try_from(u32::from(base_port).saturating_add(id)).ok();
        let processes = (catalog::by_name(algorithm)?.processes)(n);
        let ports: Option<Vec<u16>> = (0..processes).map(port).collect();
        let ports = ports.ok_or(FleetError::NoSuchPorts { base_port, n })?;
        let program = std::env::current_exe().map_err(|source| FleetError::Spawn {
            program: "this program".into(),
            source,
        })?;
        let address = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Ok(Self {
            algorithm: algorithm.to_owned(),
            n,
            peers: ports.into_iter().map(address).collect(),
            rounds: 1,
            connections: Connections::Persistent,
            payload: 0,
            options: Options::default(),
            run,
            ledger,
            history: None,
            events: None,
            node_command: vec![program.into(), "node".into()],
            own_commands: BTreeMap::new(),
            progress: Arc::default(),
            faults: Vec::new(),
            seed: 0,
            state: None,
            // Nodes share the processors while they start.
            start_limit: Duration::from_secs(10) + Duration::from_millis(100) * processes,
            settle_limit: Duration::from_secs(5),
        })
    }

    /// The number of processes, clients included.
    pub fn processes(&self) -> u32 {
        u32::try_from(self.peers.len()).unwrap_or(u32::MAX)
    }
}

/// Counters as several nodes told them.
type Polled = Vec<(ProcessId, Vec<ChannelCounts>)>;

/// What ends a wait.
enum Next {
    Given,
    Limit,
    Cancelled,
}

#[derive(Default)]
struct Member {
    pid: u32,
    /// 1 at the first start, one more at each restart.
    incarnation: u32,
    /// What it persists goes here.
    state: Option<PathBuf>,
    /// An injected fault has killed it, this or an earlier incarnation.
    killed: bool,
    /// An injected fault has killed this incarnation.
    incarnation_killed: bool,
    /// An injected fault has stopped it.
    stopped: bool,
    /// How many timers were set then.
    timers: u32,
    /// How an injected fault wants it back once it is gone, and which.
    comes_back: Option<(usize, Restart)>,
    /// It was started again and was not told to start yet, because of this fault.
    coming_back: Option<(usize, Storage)>,
    /// It was never started: the case wants it down ([`Algorithm::absent`]).
    absent: bool,
    commands: Option<UnboundedSender<String>>,
    kill: Arc<Notify>,
    ended: bool,
    /// It did not answer in time: nothing more is expected of it.
    silent: bool,
    listening: bool,
    connected: bool,
    finished: bool,
    links: Vec<Link>,
    /// The last poll that it answered.
    poll: u64,
    counters: Vec<ChannelCounts>,
    stderr: VecDeque<String>,
}

impl Member {
    fn absent() -> Self {
        Self {
            absent: true,
            ended: true,
            finished: true,
            listening: true,
            ..Self::default()
        }
    }
}

/// Running nodes. Dropping it kills them.
pub struct Fleet {
    runtime: Option<Runtime>,
    inner: Inner,
}

struct Inner {
    config: FleetConfig,
    algorithm: &'static Algorithm,
    members: Vec<Member>,
    given: UnboundedReceiver<(ProcessId, Given)>,
    events: Vec<Event>,
    completed: u64,
    history_file: Option<File>,
    events_file: Option<File>,
    faults: Vec<FleetFault>,
    notices: Vec<FleetNotice>,
    /// An error or end before the start: where it ends the spawning.
    start_error: Option<FleetError>,
    started: bool,
    finishing: bool,
    /// Polls of the counters so far.
    polls: u64,
    sender: UnboundedSender<(ProcessId, Given)>,
    /// When the nodes were told to start.
    start: Option<Instant>,
    /// Faults that come at a time, in no order.
    timed: Vec<Timed>,
    /// Faults that come at a point.
    at_points: Vec<AtPoint>,
    /// The side of a split that holds now.
    split: Option<BTreeSet<ProcessId>>,
    injected: Vec<Injected>,
    deaths: Vec<Death>,
    /// Nothing is injected any more: the run comes to its end.
    over: bool,
}

impl Fleet {
    /// Starts the nodes and waits until all of them listen. The calling thread must outlive the
    /// fleet: nodes die with the thread that started them (`PR_SET_PDEATHSIG`).
    pub fn spawn(config: &FleetConfig, cancel: &AtomicBool) -> Result<Self, FleetError> {
        let algorithm = catalog::by_name(&config.algorithm)?;
        algorithm.check(config.n, config.rounds, &config.options)?;
        if config.ledger.to_str().is_none() {
            return Err(FleetError::Path(config.ledger.clone()));
        }
        let history_file = config.history.as_deref().map(open_history).transpose()?;
        let events_file = config.events.as_deref().map(open_history).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| FleetError::Spawn {
                program: "the runtime".into(),
                source,
            })?;
        let (sender, given) = unbounded_channel();
        // The same is told of one run after the other.
        config.progress.listening.store(0, Ordering::Relaxed);
        config.progress.ended.store(0, Ordering::Relaxed);
        let at_points = config.faults.iter().enumerate().filter_map(at_point);
        let mut fleet = Self {
            inner: Inner {
                sender,
                start: None,
                timed: Vec::new(),
                at_points: at_points.collect(),
                split: None,
                injected: Vec::new(),
                deaths: Vec::new(),
                over: false,
                config: config.clone(),
                algorithm,
                members: Vec::new(),
                given,
                events: Vec::new(),
                completed: 0,
                history_file,
                events_file,
                faults: Vec::new(),
                notices: Vec::new(),
                start_error: None,
                started: false,
                finishing: false,
                polls: 0,
            },
            runtime: None,
        };
        let result = runtime.block_on(fleet.inner.bring_up(cancel));
        fleet.runtime = Some(runtime);
        result.map(|()| fleet)
    }

    /// The operating-system process of each node, by id; 0 for one that is absent
    /// ([`Algorithm::absent`]).
    pub fn pids(&self) -> Vec<u32> {
        self.inner.members.iter().map(|member| member.pid).collect()
    }

    /// Connects the nodes, runs the algorithm until its outcome or until its operations have taken
    /// `operations`, which begins when the nodes start, then brings the nodes to quiescence and to
    /// their end. Setting `cancel` ends the run early; no node is left either way.
    pub fn run(mut self, operations: Duration, cancel: &AtomicBool) -> FleetOutcome {
        let runtime = self
            .runtime
            .take()
            .expect("a fleet that was spawned has its runtime");
        let outcome = runtime.block_on(self.inner.run(operations, cancel));
        self.runtime = Some(runtime);
        outcome
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(self.inner.kill_all());
        }
    }
}

impl Inner {
    async fn bring_up(&mut self, cancel: &AtomicBool) -> Result<(), FleetError> {
        let result = self.start_nodes(cancel).await;
        if result.is_err() {
            self.kill_all().await;
        }
        result
    }

    async fn start_nodes(&mut self, cancel: &AtomicBool) -> Result<(), FleetError> {
        let limit = Instant::now() + self.config.start_limit;
        let absent = (self.algorithm.absent)(self.config.n, &self.config.options);
        for id in (0..self.config.processes()).map(ProcessId) {
            if absent.contains(&id) {
                self.members.push(Member::absent());
                continue;
            }
            let member = self.start_node(id)?;
            self.members.push(Member {
                state: self.state_file(id, 1),
                ..member
            });
            let configure = Command::Configure(self.configuration(id));
            self.tell(id, configure);
        }
        loop {
            if let Some(error) = self.start_error.take() {
                return Err(error);
            }
            if self.members.iter().all(|member| member.listening) {
                return Ok(());
            }
            match self.next(limit, cancel).await {
                Next::Given => {}
                Next::Cancelled => return Err(FleetError::Interrupted),
                Next::Limit => {
                    let nodes = self.ids_where(|member| !member.listening);
                    return Err(FleetError::NeverAnswered {
                        nodes,
                        limit: self.config.start_limit,
                    });
                }
            }
        }
    }

    fn start_node(&self, id: ProcessId) -> Result<Member, FleetError> {
        let failed = |program: String, source| FleetError::Spawn { program, source };
        let node_command = match self.config.own_commands.get(&id) {
            Some(own) => own,
            None => &self.config.node_command,
        };
        let [program, arguments @ ..] = node_command.as_slice() else {
            let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
            return Err(failed("an empty node command".into(), source));
        };
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .arg(self.algorithm.name)
            .arg("--controlled")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal goes to the controller alone, even before a node ignores it.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|source| failed(program.to_string_lossy().into_owned(), source))?;
        let pid = child.id().unwrap_or_default();
        let (commands, lines) = unbounded_channel();
        if let Some(stdin) = child.stdin.take() {
            tokio::spawn(write_commands(stdin, lines));
        }
        let kill = Arc::new(Notify::new());
        tokio::spawn(watch(child, id, kill.clone(), self.sender.clone()));
        Ok(Member {
            pid,
            commands: Some(commands),
            kill,
            incarnation: 1,
            ..Member::default()
        })
    }

    fn configuration(&self, id: ProcessId) -> Configuration {
        let config = &self.config;
        Configuration {
            protocol: self.algorithm.name.to_owned(),
            id,
            n: config.n,
            peers: config.peers.clone(),
            run: config.run,
            incarnation: self.member(id).incarnation,
            ledger: config.ledger.clone(),
            state: self.member(id).state.clone(),
            connections: config.connections,
            rounds: config.rounds,
            payload: config.payload,
            options: config.options.clone(),
            faults: self.injections(id),
        }
    }

    fn state_file(&self, id: ProcessId, incarnation: u32) -> Option<PathBuf> {
        let folder = self.config.state.as_ref()?;
        Some(folder.join(format!("node-{id}-{incarnation}.state")))
    }

    async fn run(&mut self, operations: Duration, cancel: &AtomicBool) -> FleetOutcome {
        let begun = Instant::now();
        let mut ending = self.connect_and_start(cancel).await;
        if ending == Ending::Complete {
            ending = self.await_outcome(operations, cancel).await;
        }
        if ending == Ending::Complete && self.algorithm.comes_to_rest {
            let left = operations.saturating_sub(begun.elapsed());
            ending = self.await_rest(left, cancel).await;
        }
        let time = self.start.map_or(Duration::ZERO, |start| start.elapsed());
        self.end_faults();
        self.tell_live(&Command::Quiesce);
        let settle_limit = self.config.settle_limit;
        let interrupted_limit = INTERRUPTED_LIMIT.min(settle_limit);
        let mut quiescent = None;
        if !self.started {
            // No message was attempted, so none is on its way.
            quiescent = Some(true);
        } else if ending != Ending::Interrupted {
            // The outcome comes before the last messages.
            quiescent = self.await_quiescence(settle_limit, cancel).await;
        }
        if quiescent.is_none() {
            ending = Ending::Interrupted;
            // A second wish to stop cannot be told from the first: the limit holds in any case.
            let uncancelled = AtomicBool::new(false);
            quiescent = self.await_quiescence(interrupted_limit, &uncancelled).await;
        }
        let quiescent = quiescent == Some(true);
        let outstanding_before = self.outstanding();
        self.finish(match ending {
            Ending::Interrupted => interrupted_limit,
            _ => settle_limit,
        })
        .await;
        FleetOutcome {
            ending,
            events: std::mem::take(&mut self.events),
            operations: self.operations(),
            counters: self
                .ids()
                .map(|id| (id, self.member(id).counters.clone()))
                .collect(),
            quiescent,
            outstanding: outstanding_before,
            faults: std::mem::take(&mut self.faults),
            notices: std::mem::take(&mut self.notices),
            injected: std::mem::take(&mut self.injected),
            deaths: std::mem::take(&mut self.deaths),
            time,
            stderr: self
                .ids()
                .map(|id| (id, self.stderr(id)))
                .filter(|(_, lines)| !lines.is_empty())
                .collect(),
        }
    }

    async fn connect_and_start(&mut self, cancel: &AtomicBool) -> Ending {
        if self.config.connections == Connections::Persistent {
            self.tell_live(&Command::Connect);
            let connected = |inner: &Self| {
                inner
                    .members
                    .iter()
                    .all(|member| member.connected || member.ended)
            };
            let patience = self.config.start_limit;
            match self
                .wait(connected, Instant::now() + patience, cancel)
                .await
            {
                Ending::Complete => {}
                Ending::TimeLimit => {
                    self.silence("connect", patience, |member| {
                        !member.connected && !member.ended
                    });
                    return Ending::Broken;
                }
                ending => return ending,
            }
        }
        self.started = true;
        let mut accepted: BTreeMap<ProcessId, Vec<Link>> = BTreeMap::new();
        for dialler in self.ids() {
            for link in &self.member(dialler).links {
                let link_from = Link {
                    peer: dialler,
                    address: link.address,
                };
                accepted.entry(link.peer).or_default().push(link_from);
            }
        }
        let start = Instant::now();
        self.start = Some(start);
        self.schedule(start);
        // A split from the beginning holds before the first message.
        self.inject_due();
        for id in self.live() {
            let links = accepted.remove(&id).unwrap_or_default();
            self.tell(id, Command::Start { links });
        }
        Ending::Complete
    }

    async fn await_outcome(&mut self, patience: Duration, cancel: &AtomicBool) -> Ending {
        // A limit beyond what the clock can tell is none.
        let now = Instant::now();
        let limit = now.checked_add(patience).unwrap_or(now + A_YEAR);
        let operations = self.operations();
        let fragile = self.algorithm.failures == FailureModel::None;
        let broken = |inner: &Self| {
            let started = inner.members.iter().filter(|member| !member.absent);
            let mut dead = started.map(|m| (m.ended && m.comes_back.is_none(), m.killed));
            if fragile {
                // What becomes of those that an injected fault leaves is to be seen.
                dead.any(|(dead, killed)| dead && !killed)
            } else {
                dead.all(|(dead, _)| dead)
            }
        };
        let over = |inner: &Self| {
            inner.completed >= operations && !inner.mends() || broken(inner) && !inner.mends()
        };
        let mut before = None;
        loop {
            let look = match self.config.faults.is_empty() {
                true => limit,
                false => limit.min(Instant::now() + LOOK),
            };
            match self.wait(over, look, cancel).await {
                Ending::Complete if self.completed < operations => return Ending::Broken,
                Ending::TimeLimit if look < limit => {}
                ending => return ending,
            }
            let now = self.standstill(cancel).await;
            if now.is_some() && now == before {
                return Ending::Stalled;
            }
            before = now;
        }
    }

    /// Whether a process is on its way back, from its death or a stop.
    fn mends(&self) -> bool {
        let returns = |timed: &Timed| matches!(timed.act, Act::Continue(_) | Act::Restart(..));
        let comes = |member: &Member| member.comes_back.is_some() || member.coming_back.is_some();
        self.timed.iter().any(returns) || self.members.iter().any(comes)
    }

    /// The counters of all, where nothing is to come: no fault, no timer, no message. None
    /// otherwise, and where a node does not tell.
    async fn standstill(&mut self, cancel: &AtomicBool) -> Option<(usize, Polled)> {
        if self.mends() || !self.timed.is_empty() {
            return None;
        }
        self.polls += 1;
        let poll = self.polls;
        self.tell_live(&Command::Counters { poll });
        let answered = |inner: &Self| inner.members.iter().all(|m| m.poll == poll || m.ended);
        let patience = Instant::now() + LOOK;
        if self.wait(answered, patience, cancel).await != Ending::Complete {
            return None;
        }
        let timers = |id: &ProcessId| self.member(*id).timers;
        let is_still = self.live().iter().all(|id| timers(id) == 0);
        let is_still = is_still && !self.mends() && self.outstanding().is_empty();
        is_still.then(|| (self.events.len(), self.polled()))
    }

    /// The counters of the living at the last poll.
    fn polled(&self) -> Polled {
        let live = self.live().into_iter();
        live.map(|id| (id, self.member(id).counters.clone()))
            .collect()
    }

    /// Waits until the processes have come to rest by themselves.
    async fn await_rest(&mut self, patience: Duration, cancel: &AtomicBool) -> Ending {
        let answer_limit = self.config.settle_limit;
        let at_rest = |inner: &Self| {
            let live = inner.members.iter().filter(|m| !m.ended && !m.silent);
            live.map(|member| member.timers).sum::<u32>() == 0
        };
        match self
            .await_quiet(at_rest, patience, answer_limit, cancel)
            .await
        {
            None => Ending::Interrupted,
            Some(true) => Ending::Complete,
            Some(false) => Ending::TimeLimit,
        }
    }

    /// Polls the counters until two polls in a row are identical and nothing is outstanding.
    /// None: the caller cancelled.
    async fn await_quiescence(&mut self, patience: Duration, cancel: &AtomicBool) -> Option<bool> {
        self.await_quiet(|_| true, patience, patience, cancel).await
    }

    /// Polls the counters until in two identical polls in a row nothing is outstanding and
    /// `condition` holds. None: the caller cancelled.
    async fn await_quiet(
        &mut self,
        condition: impl Fn(&Self) -> bool,
        patience: Duration,
        answer_limit: Duration,
        cancel: &AtomicBool,
    ) -> Option<bool> {
        let now = Instant::now();
        let limit = now.checked_add(patience).unwrap_or(now + A_YEAR);
        let mut before = None;
        let mut pause = Duration::from_millis(1);
        loop {
            self.polls += 1;
            let poll = self.polls;
            self.tell_live(&Command::Counters { poll });
            let answered = |inner: &Self| {
                inner
                    .members
                    .iter()
                    .all(|m| m.poll == poll || m.ended || m.silent)
            };
            // However late this poll came, nodes have their whole time to answer it: that the run
            // is not quiet in time makes none of them silent.
            let answers_by = Instant::now() + answer_limit;
            match self.wait(answered, answers_by, cancel).await {
                Ending::Interrupted => return None,
                Ending::Complete => {}
                _ => {
                    self.silence("a poll of its counters", answer_limit, |member| {
                        member.poll != poll && !member.ended
                    });
                    return Some(false);
                }
            }
            let counters = self.polled();
            let quiet = self.outstanding().is_empty() && condition(self);
            if quiet && before.as_ref() == Some(&counters) {
                return Some(true);
            }
            before = Some(counters);
            let survived = self.members.iter().any(|m| m.killed && !m.ended);
            if survived {
                // What was on its way to or from a process that was killed is in no balance: only
                // time tells that nothing of it comes any more.
                pause = pause.max(LOOK);
            }
            if !quiet || survived {
                // Messages are on their way: give them the processor between two polls.
                let pause_end = limit.min(Instant::now() + pause);
                if self.wait(|_| false, pause_end, cancel).await == Ending::Interrupted {
                    return None;
                }
                pause = (pause * 2).min(LOOK);
            }
            if Instant::now() >= limit {
                return Some(false);
            }
        }
    }

    /// Messages between live processes that have not come to their end. Of those to and from a
    /// process that was killed and came back nobody knows.
    fn outstanding(&self) -> Vec<Outstanding> {
        let channel = |owner: ProcessId, peer: ProcessId| {
            let channels = &self.member(owner).counters;
            channels
                .iter()
                .find(|c| c.peer == peer)
                .map(|c| c.counts)
                .unwrap_or_default()
        };
        let live = self.live().into_iter();
        let live: BTreeSet<ProcessId> = live.filter(|id| !self.member(*id).killed).collect();
        let mut outstanding = Vec::new();
        for &from in &live {
            // Both ends: what was handled and never attempted is out of balance too.
            for &to in live.iter().filter(|&&to| to != from) {
                let (there, here) = (channel(from, to), channel(to, from));
                let ended = there.refused + there.suppressed + here.handled;
                if there.attempted != ended {
                    let messages = there.attempted.get().saturating_sub(ended.get());
                    outstanding.push(Outstanding {
                        from,
                        to,
                        messages: Messages::new(messages),
                    });
                }
            }
        }
        outstanding
    }

    async fn finish(&mut self, patience: Duration) {
        self.finishing = true;
        let without = self.ids_where(|member| member.ended || member.silent);
        self.tell_live(&Command::Finish { without });
        let ended = |inner: &Self| inner.members.iter().all(|m| m.ended || m.silent);
        // A second wish to stop cannot be told from the first: the limit holds in any case.
        let uncancelled = AtomicBool::new(false);
        self.wait(ended, Instant::now() + patience, &uncancelled)
            .await;
        if self.started {
            self.silence("finish", patience, |member| !member.ended);
        } else {
            // Nothing had begun: that a node was still busy connecting is no finding.
            let members = self.members.iter_mut();
            members.for_each(|member| member.silent |= !member.ended);
        }
        self.kill_all().await;
    }

    /// Kills every node that still runs and waits until all are gone.
    async fn kill_all(&mut self) {
        self.finishing = true;
        for member in &mut self.members {
            member.commands = None;
            if !member.ended {
                member.kill.notify_one();
            }
        }
        let nobody = AtomicBool::new(false);
        // SIGKILL cannot be refused; a second is for a machine under heavy load.
        let limit = Instant::now() + Duration::from_secs(1);
        let gone = |inner: &Self| inner.members.iter().all(|member| member.ended);
        self.wait(gone, limit, &nobody).await;
    }

    /// Waits until a condition holds ([`Ending::Complete`]), the limit comes or the caller cancels.
    async fn wait(
        &mut self,
        condition: impl Fn(&Self) -> bool,
        limit: Instant,
        cancel: &AtomicBool,
    ) -> Ending {
        while !condition(self) {
            match self.next(limit, cancel).await {
                Next::Given => {}
                Next::Limit => return Ending::TimeLimit,
                Next::Cancelled => return Ending::Interrupted,
            }
        }
        Ending::Complete
    }

    async fn next(&mut self, limit: Instant, cancel: &AtomicBool) -> Next {
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Next::Cancelled;
            }
            self.inject_due();
            let tick = limit.min(Instant::now() + CANCEL_TICK);
            let due = self.timed.iter().map(|timed| timed.at).min();
            let tick = due.map_or(tick, |due| due.min(tick));
            match tokio::time::timeout_at(tick.into(), self.given.recv()).await {
                Ok(Some((id, given))) => {
                    self.take(id, given);
                    return Next::Given;
                }
                _ if Instant::now() >= limit => return Next::Limit,
                // Every task has ended and nothing more will come.
                Ok(None) => tokio::time::sleep_until(tick.into()).await,
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, id: ProcessId, given: Given) {
        match given {
            Given::Said(reply) => self.hear(id, reply),
            Given::Gibberish(detail) => {
                self.faults.push(FleetFault::Gibberish { node: id, detail });
            }
            Given::Stderr(line) => {
                let kept = &mut self.members[id.index()].stderr;
                kept.push_back(line);
                if kept.len() > KEPT_STDERR_LINES {
                    kept.pop_front();
                }
            }
            Given::Ended(status) => {
                let status = match status {
                    Ok(status) => status.to_string(),
                    Err(error) => format!("its status is unknown: {error}"),
                };
                let stderr = self.stderr(id);
                let member = &mut self.members[id.index()];
                member.ended = true;
                member.commands = None;
                if !member.finished {
                    self.deaths.push(Death {
                        node: id,
                        incarnation: member.incarnation,
                        by: ledger::now(),
                    });
                }
                if let Some((fault, restart)) = member.comes_back.take() {
                    if !self.over {
                        self.timed.push(Timed {
                            at: Instant::now() + restart.after,
                            fault,
                            act: Act::Restart(id, restart.storage),
                        });
                    }
                    return;
                }
                if member.incarnation_killed {
                    return;
                }
                member.coming_back = None;
                if member.finished || member.silent {
                    return;
                }
                if self.started || self.finishing || member.listening {
                    self.faults.push(FleetFault::Died {
                        node: id,
                        status,
                        stderr,
                    });
                } else if self.start_error.is_none() {
                    self.start_error = Some(FleetError::Died {
                        node: id,
                        status,
                        stderr,
                    });
                }
            }
        }
    }

    fn hear(&mut self, id: ProcessId, reply: Reply) {
        let member = &mut self.members[id.index()];
        match reply {
            Reply::Listening { .. } => {
                member.listening = true;
                self.config
                    .progress
                    .listening
                    .fetch_add(1, Ordering::Relaxed);
                if let Some((fault, storage)) = member.coming_back.take() {
                    self.go_on_again(id, fault, storage);
                }
            }
            Reply::Point { name } => self.reached(id, &name),
            Reply::Connected { links } => {
                member.connected = true;
                member.links = links;
            }
            Reply::History { time, outcome } => {
                if outcome.phase.ends() {
                    self.completed += 1;
                    let ended = &self.config.progress.ended;
                    ended.store(self.completed, Ordering::Relaxed);
                }
                self.note(Event {
                    node: id,
                    time,
                    outcome,
                });
            }
            Reply::Counters {
                poll,
                channels,
                timers,
            } => {
                member.poll = poll;
                member.timers = timers;
                member.counters = channels;
            }
            Reply::Finished { channels } => {
                member.finished = true;
                member.counters = channels;
            }
            Reply::Notice(notice) => self.notices.push(FleetNotice { node: id, notice }),
            // Nothing had begun: that nodes break their connections off is no finding.
            Reply::Fault(_) if self.finishing && !self.started => {}
            Reply::Fault(fault) => self.faults.push(FleetFault::Reported { node: id, fault }),
            Reply::Error(error) if member.listening || self.started => {
                self.faults.push(FleetFault::Error { node: id, error });
            }
            Reply::Error(error) => {
                let error = match error {
                    NodeError::PortInUse { address } => {
                        let holder = PortHolder::find(address.port());
                        FleetError::PortInUse {
                            node: id,
                            address,
                            holder,
                        }
                    }
                    error => FleetError::Node { node: id, error },
                };
                self.start_error.get_or_insert(error);
            }
        }
    }

    fn note(&mut self, event: Event) {
        let (path, file) = match event.outcome.phase {
            Phase::Note => (&self.config.events, &mut self.events_file),
            _ => (&self.config.history, &mut self.history_file),
        };
        if let Some(open) = file {
            let mut line = serde_json::to_vec(&event).expect("an event is plain data");
            line.push(b'\n');
            // One write: a controller that is killed leaves whole lines.
            if let Err(error) = open.write_all(&line) {
                *file = None;
                self.faults.push(FleetFault::History {
                    path: path.clone().unwrap_or_default(),
                    detail: error.to_string(),
                });
            }
        }
        self.events.push(event);
    }

    fn tell(&self, id: ProcessId, command: Command) {
        if let Some(commands) = &self.member(id).commands {
            // A node that is gone is noticed by its end.
            let _ = commands.send(control::to_line(command));
        }
    }

    fn tell_live(&self, command: &Command) {
        self.live()
            .into_iter()
            .for_each(|id| self.tell(id, command.clone()));
    }

    /// Gives up on these members and says so.
    fn silence(&mut self, to: &'static str, limit: Duration, which: impl Fn(&Member) -> bool) {
        for (id, member) in self.members.iter_mut().enumerate() {
            if !member.silent && which(member) {
                member.silent = true;
                let node = ProcessId(id as u32);
                self.faults
                    .push(FleetFault::NeverAnswered { node, to, limit });
            }
        }
    }

    /// How many operations the run is to have.
    fn operations(&self) -> u64 {
        let config = &self.config;
        (self.algorithm.operations)(config.n, config.rounds, &config.options)
    }

    fn member(&self, id: ProcessId) -> &Member {
        &self.members[id.index()]
    }

    fn ids(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.config.processes()).map(ProcessId)
    }

    fn ids_where(&self, condition: impl Fn(&Member) -> bool) -> Vec<ProcessId> {
        self.ids()
            .filter(|&id| condition(self.member(id)))
            .collect()
    }

    fn live(&self) -> Vec<ProcessId> {
        self.ids_where(|member| !member.ended && !member.silent)
    }

    fn stderr(&self, id: ProcessId) -> Vec<String> {
        self.member(id).stderr.iter().cloned().collect()
    }
}

fn open_history(path: &Path) -> Result<File, FleetError> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.map_err(|source| FleetError::History {
        path: path.to_owned(),
        source,
    })
}
