//! A node without a controller, started by hand in a terminal: it waits until all others listen,
//! begins, tells everything that happens as lines for a person, and ends when it is told to stop.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::codec::Frame;
use super::control::{Command, Configuration, LineError, Reply};
use super::{Node, RunError, Voice};
use crate::algorithm::{Phase, ProcessId};
use crate::ledger;
use crate::protocols::{self, Protocol};

/// How often it is looked whether the others listen, and whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// How long others may take to close their connections when this node stops.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs a node until `stop` is set. Lines for a person go to `print`.
///
/// # Errors
///
/// [`RunError`] when it cannot be set up.
pub fn run(
    configuration: Configuration,
    print: Rc<dyn Fn(&str)>,
    stop: Arc<AtomicBool>,
) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = tokio::task::LocalSet::new();
    work.block_on(&runtime, run_node(configuration, print, stop))
}

async fn run_node(
    configuration: Configuration,
    print: Rc<dyn Fn(&str)>,
    stop: Arc<AtomicBool>,
) -> Result<(), RunError> {
    let (me, peers) = (configuration.id, configuration.peers.clone());
    let protocol = protocols::by_name(&configuration.protocol);
    let trace = Rc::new(Trace::new(me, protocol, print));
    let (commands, receiver) = unbounded_channel();
    let algorithm = configuration.protocol.clone();
    let set_up = Node::set_up(&algorithm, configuration, receiver, trace.clone());
    let (mut node, events) = set_up
        .await
        .map_err(|error| RunError::Setup(error.to_string()))?;
    let told = trace.clone();
    node.accounts
        .listen(Box::new(move |event, frame| told.account(event, frame)));
    let stopped = Rc::new(Cell::new(None));
    let lead = lead(commands, me, peers, trace.clone(), stop, stopped.clone());
    tokio::task::spawn_local(lead);
    let overdue = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let since: Option<Instant> = stopped.get();
            if since.is_some_and(|since| since.elapsed() > PATIENCE) {
                return;
            }
        }
    };
    tokio::select! {
        result = node.run(events) => result?,
        // Somebody does not close its end: the kernel closes this one.
        () = overdue => {}
    }
    trace.conclude();
    Ok(())
}

/// Says to the node what a controller would.
async fn lead(
    commands: UnboundedSender<Result<Command, LineError>>,
    me: ProcessId,
    peers: Vec<SocketAddr>,
    trace: Rc<Trace>,
    stop: Arc<AtomicBool>,
    stopped: Rc<Cell<Option<Instant>>>,
) {
    if all_listen(me, &peers, &trace, &stop).await {
        trace.line("all listen: begins", None);
        // The node outlives this task.
        let _ = commands.send(Ok(Command::Start { links: Vec::new() }));
    }
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
    }
    stopped.set(Some(Instant::now()));
    let _ = commands.send(Ok(Command::Quiesce));
    let _ = commands.send(Ok(Command::Finish {
        without: Vec::new(),
    }));
    // The end of the commands would be the controller's death.
    std::future::pending::<()>().await;
}

/// Waits until every other process listens; false when told to stop before.
async fn all_listen(me: ProcessId, peers: &[SocketAddr], trace: &Trace, stop: &AtomicBool) -> bool {
    let others = (0..).map(ProcessId).zip(peers.iter().copied());
    let mut missing: Vec<_> = others.filter(|(id, _)| *id != me).collect();
    if let Some((_, far)) = missing.iter().find(|(_, peer)| !peer.ip().is_loopback()) {
        let words = format!("dials {far} and others until they answer: that is on the wire too");
        trace.line(&words, None);
    }
    let mut told = Vec::new();
    loop {
        let mut silent = Vec::new();
        for (id, peer) in missing {
            if !listens(peer).await {
                silent.push((id, peer));
            }
        }
        missing = silent;
        if missing.is_empty() {
            return true;
        }
        let ids: Vec<String> = missing.iter().map(|(id, _)| id.to_string()).collect();
        if ids != told {
            trace.line(&format!("waits for {}", ids.join(", ")), None);
            told = ids;
        }
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether somebody listens there. On this machine the kernel's table tells, without a packet.
async fn listens(peer: SocketAddr) -> bool {
    if !peer.ip().is_loopback() {
        return TcpStream::connect(peer).await.is_ok();
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(std::fs::read_to_string);
    tables.iter().flatten().any(|table| lists(table, peer))
}

/// Whether a table as `/proc/net/tcp` names a listening socket that takes what comes to `peer`.
fn lists(table: &str, peer: SocketAddr) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(local), Some(_), Some(state)) = (fields.next(), fields.next(), fields.next())
        else {
            return false;
        };
        let Some((address, port)) = local.rsplit_once(':') else {
            return false;
        };
        // The address is in the host's byte order, word by word.
        let own = match peer.ip() {
            IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(ip) => {
                let mut words = String::new();
                for word in ip.octets().chunks_exact(4) {
                    let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
                    // Writing into a string does not fail.
                    let _ = write!(words, "{word:08X}");
                }
                words
            }
        };
        let takes = address == own || address.bytes().all(|digit| digit == b'0');
        // State 0A is LISTEN (include/net/tcp_states.h).
        takes && state == "0A" && u16::from_str_radix(port, 16) == Ok(peer.port())
    })
}

const HEADING: &str =
    "        time  process  what                                       Lamport  sent  received";

/// What happens at a node, a line each: when, who, what, the Lamport clock, the counters.
struct Trace {
    me: ProcessId,
    protocol: Option<&'static Protocol>,
    print: Rc<dyn Fn(&str)>,
    begun: Instant,
    counts: RefCell<Counts>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    received: u64,
    refused: u64,
}

impl Trace {
    fn new(me: ProcessId, protocol: Option<&'static Protocol>, print: Rc<dyn Fn(&str)>) -> Self {
        Self {
            me,
            protocol,
            print,
            begun: Instant::now(),
            counts: RefCell::default(),
        }
    }

    fn line(&self, what: &str, clock: Option<u64>) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let me = self.me.to_string();
        let line = match clock {
            None => format!("{seconds:>10.4} s  {me:>7}  {what}"),
            Some(clock) => {
                let counts = self.counts.borrow();
                let (sent, received) = (counts.sent, counts.received);
                format!(
                    "{seconds:>10.4} s  {me:>7}  {what:<41}  {clock:>7}  {sent:>4}  {received:>8}"
                )
            }
        };
        (self.print)(&line);
    }

    fn kind(&self, frame: &Frame) -> String {
        let kind = self.protocol.and_then(|protocol| protocol.kind(frame.kind));
        kind.map_or_else(|| frame.kind.to_string(), |kind| kind.name.clone())
    }

    /// What the node's own account of messages gets.
    fn account(&self, event: ledger::Event, frame: &Frame) {
        let kind = self.kind(frame);
        let to = frame.receiver;
        match event {
            ledger::Event::Sent => {
                self.counts.borrow_mut().sent += 1;
                self.line(&format!("sent {kind} to {to}"), Some(frame.timestamp));
            }
            ledger::Event::Refused => {
                self.counts.borrow_mut().refused += 1;
                let words = format!("{kind} to {to} was refused");
                self.line(&words, Some(frame.timestamp));
            }
            _ => {}
        }
    }

    fn conclude(&self) {
        let Counts {
            sent,
            received,
            refused,
        } = *self.counts.borrow();
        let me = self.me;
        (self.print)(&format!(
            "process {me} ends: {sent} sent, {received} received, {refused} refused"
        ));
    }
}

impl Voice for Trace {
    fn say(&self, reply: Reply) -> Result<(), RunError> {
        match reply {
            Reply::Listening { address } => {
                (self.print)(HEADING);
                self.line(&format!("listens on {address}"), None);
            }
            Reply::History { outcome, .. } => {
                let words = match outcome.phase {
                    Phase::Invoke => "begins",
                    Phase::Ok => "ended well",
                    Phase::Fail => "failed",
                    Phase::Info => "ended, nobody knows how",
                    Phase::Note => "notes",
                };
                let operation = outcome.operation.0;
                let value = outcome.value;
                self.line(&format!("operation {operation} {words}: {value}"), None);
            }
            Reply::Fault(fault) => self.line(&format!("fault: {}", fault.detail), None),
            Reply::Notice(notice) => {
                let words = format!("a stranger at {}: {}", notice.address, notice.detail);
                self.line(&words, None);
            }
            Reply::Error(error) => return Err(RunError::Io(io::Error::other(error))),
            Reply::Connected { .. }
            | Reply::Counters { .. }
            | Reply::Point { .. }
            | Reply::Finished { .. } => {}
        }
        Ok(())
    }

    fn received(&self, frame: &Frame, clock: u64) {
        self.counts.borrow_mut().received += 1;
        let words = format!("received {} from {}", self.kind(frame), frame.sender);
        self.line(&words, Some(clock));
    }

    fn is_by_hand(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_table_tells_who_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
             0: 0100007F:1BBC 00000000:0000 0A 00000000:00000000\n   \
             1: 00000000:1BBD 00000000:0000 0A 00000000:00000000\n   \
             2: 0100007F:1BBE 0100007F:8888 01 00000000:00000000\n";
        let listens = |port: u16| lists(table, SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(listens(7100) && listens(7101));
        assert!(!listens(7102), "connected, not listening");
        assert!(!lists(table, SocketAddr::from(([127, 0, 0, 2], 7100))));
    }
}
