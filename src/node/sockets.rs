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

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;

use super::accounts::Accounts;
use super::codec::{CodecError, Frame};
use super::control::{Connections, FaultKind, Link, NodeFault};
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
}

impl Connection {
    /// Whether this process dialled it.
    pub fn dialled_here(&self) -> bool {
        self.dialled_here
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
    changed: Notify,
}

enum Outgoing {
    Frame {
        frame: Frame,
        reply_over: Option<Rc<Connection>>,
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
            missing.retain(|link| {
                let open = self.shared.open.borrow();
                let found = open
                    .iter()
                    .find(|c| !c.dialled_here && c.remote == link.address);
                if let Some(connection) = found {
                    self.shared.identify(connection, link.peer);
                }
                found.is_none()
            });
            if missing.is_empty() {
                return;
            }
            accepted.await;
        }
    }

    /// Sends a frame to its receiver, over `reply_over` where it is a reply.
    pub fn send(&self, frame: Frame, reply_over: Option<Rc<Connection>>) {
        let to = ProcessId(frame.receiver);
        self.enqueue(to, Outgoing::Frame { frame, reply_over });
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

    /// Writes what is queued, half-closes every connection, those that come meanwhile included, and
    /// reads each to its end; connections with the processes in `without` are left as they are.
    pub async fn finish(&self, without: &BTreeSet<ProcessId>) {
        self.until(|shared| {
            let queued = shared.queued.borrow();
            queued
                .iter()
                .all(|(peer, &items)| items == 0 || without.contains(peer))
        })
        .await;
        let waited_for = |connection: &Rc<Connection>| {
            connection
                .peer
                .get()
                .is_none_or(|peer| !without.contains(&peer))
        };
        loop {
            let changed = self.shared.changed.notified();
            let mut open = self.shared.open.borrow().clone();
            open.retain(waited_for);
            if open.is_empty() {
                return;
            }
            // A message that was under way when its connection was closed here comes over a new one.
            for connection in &open {
                self.shared.half_close(connection);
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
        if connection.read_closed.get() && connection.write_closed.get() {
            self.open
                .borrow_mut()
                .retain(|open| !Rc::ptr_eq(open, connection));
            self.links
                .borrow_mut()
                .retain(|_, link| !Rc::ptr_eq(link, connection));
            self.changed.notify_waiters();
        }
    }

    /// The connection that persists to this process, while both directions are open.
    fn link(&self, peer: ProcessId) -> Option<Rc<Connection>> {
        let link = self.links.borrow().get(&peer).cloned()?;
        if !link.read_closed.get() && !link.write_closed.get() {
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
            return self.fault(FaultKind::Foreign, connection.peer.get(), &detail);
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
            Outgoing::Frame { frame, reply_over } => {
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
            Ok(0) if buffer.is_empty() => break,
            Ok(0) => {
                let detail = format!("{} bytes of a frame came, then the end", buffer.len());
                shared.fault(FaultKind::Cut, peer(), &detail);
                break;
            }
            Ok(_) => {
                if let Err(error) = shared.take_frames(&connection, &mut buffer) {
                    shared.fault(FaultKind::Foreign, peer(), &error);
                    connection.write_closed.set(true);
                    break;
                }
            }
            Err(error) => {
                shared.fault(FaultKind::Reset, peer(), &error);
                connection.write_closed.set(true);
                break;
            }
        }
        buffer.reserve(16 * 1024);
    }
    connection.read_closed.set(true);
    // Who has nothing more to say on this connection closes it now. What persists is closed by
    // `finish`; an exchange that the other end opened, by the step that handles its request.
    match shared.identity.connections {
        Connections::PerMessage => shared.half_close(&connection),
        Connections::PerExchange if connection.dialled_here => shared.half_close(&connection),
        Connections::PerExchange | Connections::Persistent => shared.forget_if_closed(&connection),
    }
}
