//! A node's TCP connections: who dials, what goes over which connection, and how each is closed.
//!
//! In: frames to send. Out: frames that arrived and faults, as [`Event`]s. One task a peer writes,
//! so that a peer that does not read delays nobody else; one task a connection reads.
//!
//! * `persistent`: one connection a pair of neighbours, dialled by the lower id before the start.
//!   Where it is gone, each message dials anew: one attempt, and its refusal is on the wire.
//! * `per-message`: connect, send, half-close, read to the end.
//! * `per-exchange`: a message opens a connection, unless it is a *reply*: a message that its
//!   sender sends to X in the very step in which it handles a message from X, which X opened a
//!   connection for. Replies go back over that connection; the replier then closes it, and the
//!   requester after it. A reply has no reply, and a deferred answer is a request of its own.
//!
//! A connection is closed in both directions by FIN before its socket is dropped, and nothing is
//! left unread, so that no reset appears on the wire but those that a fault caused.
//!
//! The listening port is open to anybody. A connection over which no frame of the run has come is
//! nobody's until it ends: then it is told as a notice, and nothing waits for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::accounts::Accounts;
use super::codec::{CodecError, Frame};
use super::control::{Connections, FaultKind, Link, NodeFault, NodeNotice, NoticeKind};
use crate::algorithm::ProcessId;
use crate::ledger;

/// What the sockets tell the node.
#[derive(Debug)]
pub enum Event {
    /// A frame for this process.
    Arrived {
        /// The frame.
        frame: Frame,
        /// What it came over.
        connection: Rc<Connection>,
    },
    /// Something went wrong.
    Fault(NodeFault),
    /// Somebody came who is none of the run's.
    Notice(NodeNotice),
}

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: Cell<Option<ProcessId>>,
    remote: SocketAddr,
    dialled_here: bool,
    /// Nothing more will be read: FIN or reset came.
    read_closed: Cell<bool>,
    /// Nothing more will be written: FIN went, or a write failed.
    write_closed: Cell<bool>,
    /// The other end's FIN came while the run quiesces: it finishes, and still reads.
    peer_finishes: Cell<bool>,
    /// Told as none of the run's.
    noticed: Cell<bool>,
}

impl Connection {
    /// Whether this process dialled it.
    pub fn dialled_here(&self) -> bool {
        self.dialled_here
    }

    fn is_closed(&self) -> bool {
        self.read_closed.get() && self.write_closed.get()
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

/// Who this process is on the network.
pub struct Identity {
    /// Its id.
    pub me: ProcessId,
    /// The run.
    pub run: u64,
    /// The protocol's number.
    pub protocol: u16,
    /// Where each process listens.
    pub peers: Vec<SocketAddr>,
    /// How connections are used.
    pub connections: Connections,
    /// How long each message is held back before it is sent: an injected fault.
    pub delay: Duration,
    /// Whether a connection that persists is closed at once when its other end closes it.
    pub closes_with_peer: bool,
}

/// All connections of one process.
#[derive(Clone)]
pub struct Network {
    shared: Rc<Shared>,
}

struct Shared {
    identity: Identity,
    accounts: Rc<Accounts>,
    events: UnboundedSender<Event>,
    /// Connections that are not closed in both directions.
    open: RefCell<Vec<Rc<Connection>>>,
    /// The connection to each neighbour, where connections persist.
    links: RefCell<BTreeMap<ProcessId, Rc<Connection>>>,
    queues: RefCell<BTreeMap<ProcessId, UnboundedSender<Outgoing>>>,
    /// Items in each queue, the one in work included.
    queued: RefCell<BTreeMap<ProcessId, usize>>,
    stage: Cell<Stage>,
    /// Whether the controller has named the connections that are the run's.
    named: Cell<bool>,
    /// Accepted connections that ended before the start without a frame: the run's own where the
    /// controller names them, foreign otherwise.
    early_ends: RefCell<Vec<SocketAddr>>,
    changed: Notify,
}

/// What the run has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// Who half-closes now does so because it finishes.
    Quiescing,
    /// Connections are being closed, and none is opened.
    Closing,
}

enum Outgoing {
    Frame {
        frame: Frame,
        reply_over: Option<Rc<Connection>>,
        /// When it may go.
        due: Instant,
    },
    Close(Rc<Connection>),
}

impl Network {
    /// Accepts connections on `listener` from now on.
    pub fn new(
        identity: Identity,
        accounts: Rc<Accounts>,
        listener: TcpListener,
    ) -> (Self, UnboundedReceiver<Event>) {
        let (events, receiver) = unbounded_channel();
        let network = Self {
            shared: Rc::new(Shared {
                identity,
                accounts,
                events,
                open: RefCell::default(),
                links: RefCell::default(),
                queues: RefCell::default(),
                queued: RefCell::default(),
                stage: Cell::new(Stage::Running),
                named: Cell::new(false),
                early_ends: RefCell::default(),
                changed: Notify::new(),
            }),
        };
        spawn_local(accept(network.shared.clone(), listener));
        (network, receiver)
    }

    /// How connections are used.
    pub fn connections(&self) -> Connections {
        self.shared.identity.connections
    }

    /// Dials these processes; those that refuse are missing from the result.
    pub async fn dial(&self, peers: &[ProcessId]) -> Vec<Link> {
        let mut links = Vec::new();
        for &peer in peers {
            match self.shared.dial(peer).await {
                Ok(connection) => {
                    if let Ok(address) = connection.stream.local_addr() {
                        links.push(Link { peer, address });
                    }
                    self.shared.links.borrow_mut().insert(peer, connection);
                }
                Err(error) => self.shared.fault(FaultKind::Missing, Some(peer), &error),
            }
        }
        links
    }

    /// Waits until these connections, which others dialled, have been accepted, and takes each as
    /// the one to its peer.
    pub async fn adopt(&self, links: &[Link]) {
        let mut missing: Vec<&Link> = links.iter().collect();
        loop {
            let accepted = self.shared.changed.notified();
            missing.retain(|link| !self.shared.claim(link));
            if missing.is_empty() {
                return;
            }
            accepted.await;
        }
    }

    /// The controller has named all connections that are the run's so far: what ended without a
    /// frame and without a name was none of them.
    pub fn started(&self) {
        self.shared.named.set(true);
        for address in self.shared.early_ends.take() {
            self.shared.notice(address, &NO_FRAME);
        }
    }

    /// Nothing new begins in the run.
    pub fn quiesce(&self) {
        self.shared.stage.set(Stage::Quiescing);
    }

    /// Sends a frame to its receiver, over `reply_over` where it is a reply.
    pub fn send(&self, frame: Frame, reply_over: Option<Rc<Connection>>) {
        if self.shared.stage.get() == Stage::Closing {
            let reason = Some(ledger::CLOSING.to_owned());
            let accounts = &self.shared.accounts;
            return accounts.record(ledger::Event::Refused, &frame, reason);
        }
        let to = ProcessId(frame.receiver);
        let due = Instant::now() + self.shared.identity.delay;
        self.enqueue(
            to,
            Outgoing::Frame {
                frame,
                reply_over,
                due,
            },
        );
    }

    /// Closes a connection that `peer` opened for an exchange, after the replies sent so far.
    pub fn end_exchange(&self, peer: ProcessId, connection: Rc<Connection>) {
        self.enqueue(peer, Outgoing::Close(connection));
    }

    fn enqueue(&self, to: ProcessId, outgoing: Outgoing) {
        *self.shared.queued.borrow_mut().entry(to).or_default() += 1;
        let mut queues = self.shared.queues.borrow_mut();
        let queue = queues.entry(to).or_insert_with(|| {
            let (sender, receiver) = unbounded_channel();
            spawn_local(write_to(self.shared.clone(), to, receiver));
            sender
        });
        // The task ends only when this queue is dropped.
        let _ = queue.send(outgoing);
    }

    /// Waits until everything that was sent is written; what is for the processes in `without` is
    /// not waited for.
    pub async fn flush(&self, without: &BTreeSet<ProcessId>) {
        self.until(|shared| {
            let queued = shared.queued.borrow();
            queued
                .iter()
                .all(|(peer, &items)| items == 0 || without.contains(peer))
        })
        .await;
    }

    /// Half-closes every connection, those that come meanwhile included, and reads those with
    /// processes of the run to their ends. Connections with the processes in `without` are left as
    /// they are. What is sent from now on is refused.
    pub async fn close(&self, without: &BTreeSet<ProcessId>) {
        self.shared.stage.set(Stage::Closing);
        loop {
            let changed = self.shared.changed.notified();
            let open = self.shared.open.borrow().clone();
            let (known, unknown): (Vec<_>, Vec<_>) = open
                .iter()
                .partition(|connection| connection.peer.get().is_some());
            let waits_for = |connection: &&Rc<Connection>| {
                connection
                    .peer
                    .get()
                    .is_some_and(|peer| !without.contains(&peer))
            };
            let known: Vec<_> = known.into_iter().filter(waits_for).collect();
            known
                .iter()
                .chain(&unknown)
                .for_each(|connection| self.shared.half_close(connection));
            if known.iter().all(|connection| connection.is_closed()) {
                for connection in &unknown {
                    self.shared.unclaimed(connection, &NO_FRAME);
                }
                return;
            }
            changed.await;
        }
    }

    async fn until(&self, condition: impl Fn(&Shared) -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            if condition(&self.shared) {
                return;
            }
            changed.await;
        }
    }
}

impl Shared {
    fn fault(&self, what: FaultKind, peer: Option<ProcessId>, detail: &impl ToString) {
        let fault = NodeFault {
            what,
            peer,
            detail: detail.to_string(),
        };
        // The node that listens to events outlives every task that sends them.
        let _ = self.events.send(Event::Fault(fault));
    }

    fn notice(&self, address: SocketAddr, detail: &impl ToString) {
        let notice = NodeNotice {
            what: NoticeKind::Foreign,
            address,
            detail: detail.to_string(),
        };
        let _ = self.events.send(Event::Notice(notice));
    }

    /// Tells of what is no frame of this run for this process: a fault where a process of the run
    /// sent it, a notice, once a connection, where nobody knows who did.
    fn foreign(&self, connection: &Connection, detail: &impl ToString) {
        if let Some(peer) = connection.peer.get() {
            self.fault(FaultKind::Foreign, Some(peer), detail);
        } else if !connection.noticed.replace(true) {
            self.notice(connection.remote, detail);
        }
    }

    /// A connection is over that nobody has claimed and that brought no frame. Before the start it
    /// may be one of the run's that the controller has not named yet.
    fn unclaimed(&self, connection: &Connection, detail: &impl ToString) {
        if self.named.get() {
            self.foreign(connection, detail);
        } else if !connection.noticed.get() {
            self.early_ends.borrow_mut().push(connection.remote);
        }
    }

    /// Takes the accepted connection from this address as the one to its peer. One that has ended
    /// already is nobody's any more.
    fn claim(&self, link: &Link) -> bool {
        let open = self.open.borrow();
        let accepted = open
            .iter()
            .find(|c| !c.dialled_here && c.remote == link.address);
        if let Some(connection) = accepted {
            self.identify(connection, link.peer);
            return true;
        }
        let mut ends = self.early_ends.borrow_mut();
        let ended = ends.iter().position(|&address| address == link.address);
        ended.map(|at| ends.swap_remove(at)).is_some()
    }

    async fn dial(self: &Rc<Self>, peer: ProcessId) -> io::Result<Rc<Connection>> {
        let address = self.identity.peers[peer.index()];
        let stream = TcpStream::connect(address).await?;
        self.register(stream, address, Some(peer))
    }

    fn register(
        self: &Rc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        dialled: Option<ProcessId>,
    ) -> io::Result<Rc<Connection>> {
        // Without Nagle's algorithm (RFC 896): a message leaves when it is sent.
        stream.set_nodelay(true)?;
        let connection = Rc::new(Connection {
            stream,
            peer: Cell::new(dialled),
            remote,
            dialled_here: dialled.is_some(),
            read_closed: Cell::new(false),
            write_closed: Cell::new(false),
            peer_finishes: Cell::new(false),
            noticed: Cell::new(false),
        });
        self.open.borrow_mut().push(connection.clone());
        spawn_local(read_from(self.clone(), connection.clone()));
        self.changed.notify_waiters();
        Ok(connection)
    }

    /// Notes who is at the other end, and takes the connection as the one to that process where
    /// there is none yet.
    fn identify(&self, connection: &Rc<Connection>, peer: ProcessId) {
        connection.peer.set(Some(peer));
        if self.identity.connections == Connections::Persistent {
            self.links
                .borrow_mut()
                .entry(peer)
                .or_insert_with(|| connection.clone());
        }
    }

    fn half_close(&self, connection: &Rc<Connection>) {
        if !connection.write_closed.replace(true) {
            // Fails where the other end has reset the connection: nothing is left to close.
            let _ = rustix::net::shutdown(&connection.stream, rustix::net::Shutdown::Write);
        }
        self.forget_if_closed(connection);
    }

    fn forget_if_closed(&self, connection: &Rc<Connection>) {
        if connection.is_closed() {
            self.open
                .borrow_mut()
                .retain(|open| !Rc::ptr_eq(open, connection));
            self.links
                .borrow_mut()
                .retain(|_, link| !Rc::ptr_eq(link, connection));
            self.changed.notify_waiters();
        }
    }

    /// The connection that persists to this process, while it reads what is written there. Whoever
    /// half-closes before the run quiesces has died; later it finishes, and reads to the end.
    fn link(&self, peer: ProcessId) -> Option<Rc<Connection>> {
        let link = self.links.borrow().get(&peer).cloned()?;
        let reads = !link.read_closed.get() || link.peer_finishes.get();
        if reads && !link.write_closed.get() {
            return Some(link);
        }
        self.links.borrow_mut().remove(&peer);
        self.half_close(&link);
        None
    }

    async fn deliver(
        self: &Rc<Self>,
        peer: ProcessId,
        frame: Frame,
        reply_over: Option<Rc<Connection>>,
    ) {
        let refuse = |reason: String| {
            self.accounts
                .record(ledger::Event::Refused, &frame, Some(reason));
        };
        let bytes = match frame.encode() {
            Ok(bytes) => bytes,
            Err(error) => return refuse(error.to_string()),
        };
        let persistent = self.identity.connections == Connections::Persistent;
        let existing = if persistent {
            self.link(peer)
        } else {
            reply_over
        };
        let connection = match existing {
            Some(connection) => connection,
            None => match self.dial(peer).await {
                Ok(connection) => connection,
                Err(error) => return refuse(error.to_string()),
            },
        };
        if persistent {
            self.links
                .borrow_mut()
                .entry(peer)
                .or_insert_with(|| connection.clone());
        }
        match connection.write_all(&bytes).await {
            Ok(()) => self.accounts.record(ledger::Event::Sent, &frame, None),
            Err(error) => {
                self.fault(FaultKind::Reset, Some(peer), &error);
                return self.half_close(&connection);
            }
        }
        if self.identity.connections == Connections::PerMessage {
            self.half_close(&connection);
        }
    }

    /// Takes every whole frame out of `buffer`.
    fn take_frames(
        &self,
        connection: &Rc<Connection>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let mut taken = 0;
        while let Some((frame, length)) = Frame::decode(&buffer[taken..])? {
            taken += length;
            self.arrived(frame, connection);
        }
        buffer.drain(..taken);
        Ok(())
    }

    fn arrived(&self, frame: Frame, connection: &Rc<Connection>) {
        let Identity {
            me,
            run,
            protocol,
            peers,
            ..
        } = &self.identity;
        let ours = frame.protocol == *protocol && frame.run == *run && frame.receiver == me.0;
        if !ours || frame.sender as usize >= peers.len() || frame.sender == me.0 {
            let detail = format!(
                "a frame of protocol {}, run {}, from {} to {}",
                frame.protocol, frame.run, frame.sender, frame.receiver
            );
            return self.foreign(connection, &detail);
        }
        if connection.peer.get().is_none() {
            self.identify(connection, ProcessId(frame.sender));
        }
        self.accounts.record(ledger::Event::Arrived, &frame, None);
        let _ = self.events.send(Event::Arrived {
            frame,
            connection: connection.clone(),
        });
    }
}

/// Said of a connection that was never known to be the run's.
const NO_FRAME: &str = "no frame of this run came over it";

async fn accept(shared: Rc<Shared>, listener: TcpListener) {
    loop {
        let accepted = listener.accept().await;
        let registered =
            accepted.and_then(|(stream, remote)| shared.register(stream, remote, None));
        if let Err(error) = registered {
            shared.fault(
                FaultKind::Reset,
                None,
                &format!("accepting a connection: {error}"),
            );
            // Out of descriptors, for one: without a pause this loop would spin on the error.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

async fn write_to(shared: Rc<Shared>, peer: ProcessId, mut queue: UnboundedReceiver<Outgoing>) {
    while let Some(outgoing) = queue.recv().await {
        match outgoing {
            Outgoing::Frame {
                frame,
                reply_over,
                due,
            } => {
                if !shared.identity.delay.is_zero() {
                    tokio::time::sleep_until(due).await;
                }
                shared.deliver(peer, frame, reply_over).await;
            }
            Outgoing::Close(connection) => shared.half_close(&connection),
        }
        if let Some(items) = shared.queued.borrow_mut().get_mut(&peer) {
            *items -= 1;
        }
        shared.changed.notify_waiters();
    }
}

async fn read_from(shared: Rc<Shared>, connection: Rc<Connection>) {
    let mut buffer = Vec::with_capacity(16 * 1024);
    let peer = || connection.peer.get();
    loop {
        match connection.read(&mut buffer).await {
            Ok(0) => {
                if !buffer.is_empty() {
                    let detail = format!("{} bytes of a frame came, then the end", buffer.len());
                    connection.noticed.set(true);
                    shared.fault(FaultKind::Cut, peer(), &detail);
                }
                let quiescing = shared.stage.get() >= Stage::Quiescing;
                connection.peer_finishes.set(quiescing);
                break;
            }
            Ok(_) => {
                if let Err(error) = shared.take_frames(&connection, &mut buffer) {
                    shared.foreign(&connection, &error);
                    connection.write_closed.set(true);
                    break;
                }
            }
            Err(error) => {
                if peer().is_some() {
                    shared.fault(FaultKind::Reset, peer(), &error);
                }
                connection.write_closed.set(true);
                break;
            }
        }
        buffer.reserve(16 * 1024);
    }
    connection.read_closed.set(true);
    if peer().is_none() {
        shared.unclaimed(&connection, &NO_FRAME);
        return shared.half_close(&connection);
    }
    // Who has nothing more to say on this connection closes it now. What persists is closed by
    // `close`; an exchange that the other end opened, by the step that handles its request.
    match shared.identity.connections {
        Connections::PerMessage => shared.half_close(&connection),
        Connections::PerExchange if connection.dialled_here => shared.half_close(&connection),
        Connections::Persistent if shared.identity.closes_with_peer => {
            shared.half_close(&connection);
        }
        Connections::PerExchange | Connections::Persistent => shared.forget_if_closed(&connection),
    }
}
