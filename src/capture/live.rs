//! Live capture: a thread that does nothing but empty the kernel's ring into batches.
//!
//! The ring is a TPACKET_V3 one: immediate mode would take TPACKET_V2 with fixed large slots,
//! which lost 93 of 100 small packets. Reading never blocks in libpcap, whose blocking read hangs
//! on an idle link whatever its timeout says: the thread polls the ring together with a wake-up
//! descriptor. When the consumer is slow the thread stops reading and the ring absorbs, so that
//! every loss is one that the kernel counts.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, io};

use pcap::{Active, Capture, Device, Precision};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use thiserror::Error;

use super::{CapturedPacket, InterfaceDescription};
use crate::units::{LinkType, Packets, Timestamp};

/// Packet bytes in a batch before it is handed over.
const BATCH_BYTES: usize = 1 << 20;
/// Packets in a batch before it is handed over: acknowledgements fill both about equally.
const BATCH_PACKETS: usize = 16_384;
/// How long the reader waits for a ring on which nothing happens, before it looks whether the
/// interface is still up.
const IDLE: Duration = Duration::from_millis(100);
/// A block of the ring is handed over one to two timer periods after its first packet; as much
/// again for a late timer.
const DRAIN_PERIODS: u32 = 4;
/// How long a ring that never runs empty is read after the end of its draining.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// The largest frame expected, until a larger one is seen: loopback's MTU and its link header.
const LARGEST_FRAME: usize = 65_536 + 14;

/// An amount of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryBytes(pub u64);

impl MemoryBytes {
    /// So many times 2^20 bytes.
    pub const fn mebibytes(n: u64) -> Self {
        Self(n << 20)
    }
}

/// What to capture, and with how much memory.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// The interface's name.
    pub interface: String,
    /// The most bytes to keep of a packet. The default, 262144, cuts nothing but BIG TCP.
    pub snaplen: u32,
    /// A filter in libpcap's language. None by default: `tcp` misses segments of BIG TCP, and
    /// `port` misses fragments and ICMP errors.
    pub filter: Option<String>,
    /// The kernel's ring, in memory that cannot be swapped. By default 256 MiB (64 MiB lost
    /// packets at 13 Gb/s where 256 MiB lost none), at most an eighth of the machine's memory.
    pub ring: Option<MemoryBytes>,
    /// Batches that may be on their way to the analysis, all together. By default 64 MiB, taken
    /// as needed.
    pub pool: MemoryBytes,
    /// How long the kernel may hold packets back to hand over many at a time.
    pub read_timeout: Duration,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            interface: "lo".into(),
            snaplen: 262_144,
            filter: None,
            ring: None,
            pool: MemoryBytes::mebibytes(64),
            read_timeout: Duration::from_millis(10),
        }
    }
}

/// Why a live capture cannot start or cannot go on.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// Packet sockets are for root and for programs with `cap_net_raw`.
    #[error(
        "no permission to capture on {interface}: run `sudo setcap cap_net_raw+ep {}` once, or run \
         as root",
        .binary.display()
    )]
    Permission {
        /// The interface.
        interface: String,
        /// This program's file.
        binary: PathBuf,
    },
    /// No interface has that name.
    #[error("no interface named {interface}; there are: {}", .there.join(", "))]
    NoSuchInterface {
        /// The name asked for.
        interface: String,
        /// The names there are.
        there: Vec<String>,
    },
    /// The interface is down, went down, or was removed. What came before was delivered.
    #[error(
        "interface {interface} is down or gone; bring it up (`ip link set {interface} up`) and \
         capture again"
    )]
    InterfaceDown {
        /// The interface.
        interface: String,
    },
    /// The filter is not one.
    #[error("the filter `{filter}` cannot be used: {reason}; see `man pcap-filter`")]
    Filter {
        /// The filter as given.
        filter: String,
        /// libpcap's own words.
        reason: String,
    },
    /// Anything else that libpcap refuses.
    #[error(
        "{interface}: {doing}: {reason}; `tcpdump -i {interface} -c 1` tells whether others can capture there"
    )]
    Pcap {
        /// The interface.
        interface: String,
        /// What was being done.
        doing: &'static str,
        /// libpcap's own words.
        reason: String,
    },
    /// The operating system refused something else.
    #[error("{interface}: {doing}: {source}")]
    System {
        /// The interface.
        interface: String,
        /// What was being done.
        doing: &'static str,
        /// The system's own words.
        source: io::Error,
    },
}

/// What the kernel counted since the capture was opened. Only differences between two readings
/// say something: the packets of the start-up are in it, and `softnet_dropped` counts since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// Packets that reached the capture's socket, dropped ones included.
    pub received: Packets,
    /// Packets that found the ring full.
    pub dropped: Packets,
    /// Packets that the interface or its driver dropped. Zero proves nothing.
    pub interface_dropped: Packets,
    /// Packets of the whole machine that died in a processor's backlog, before any capture could
    /// see them (`/proc/net/softnet_stat`).
    pub softnet_dropped: Packets,
}

impl KernelCounters {
    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |a: Packets, b: Packets| Packets::new(a.get().saturating_sub(b.get()));
        Self {
            received: less(self.received, earlier.received),
            dropped: less(self.dropped, earlier.dropped),
            interface_dropped: less(self.interface_dropped, earlier.interface_dropped),
            softnet_dropped: less(self.softnet_dropped, earlier.softnet_dropped),
        }
    }
}

/// An open capture: the kernel fills the ring, nobody reads yet.
pub struct LiveCapture {
    handle: Capture<Active>,
    interface: InterfaceDescription,
    sees_loopback: bool,
    pool: MemoryBytes,
    read_timeout: Duration,
}

impl LiveCapture {
    /// Opens an interface. From here on its packets are in the ring.
    pub fn open(options: &LiveOptions) -> Result<Self, CaptureError> {
        let interface = options.interface.clone();
        let refused = |doing| {
            let interface = interface.clone();
            move |error: pcap::Error| match error {
                pcap::Error::PcapError(reason) => classify(interface, doing, reason),
                other => CaptureError::Pcap {
                    interface,
                    doing,
                    reason: other.to_string(),
                },
            }
        };
        let devices = Device::list().map_err(refused("listing the interfaces"))?;
        let Some(device) = devices.iter().find(|device| device.name == interface) else {
            let there = devices.into_iter().map(|device| device.name).collect();
            return Err(CaptureError::NoSuchInterface { interface, there });
        };
        let ring = options.ring.unwrap_or_else(default_ring);
        let loopback = device.flags.is_loopback();
        let inactive = Capture::from_device(interface.as_str())
            .map_err(refused("creating the capture"))?
            .promisc(false)
            .immediate_mode(false)
            .precision(Precision::Nano)
            .snaplen(i32::try_from(options.snaplen).unwrap_or(i32::MAX))
            .timeout(
                i32::try_from(options.read_timeout.as_millis())
                    .unwrap_or(i32::MAX)
                    .max(1),
            )
            .buffer_size(i32::try_from(ring.0).unwrap_or(i32::MAX));
        let mut handle = inactive.open().map_err(refused("opening the capture"))?;
        if loopback {
            ignore_outgoing(&handle).map_err(|source| CaptureError::System {
                interface: interface.clone(),
                doing: "turning off the second copy of each loopback packet",
                source,
            })?;
        }
        if let Some(filter) = &options.filter {
            handle
                .filter(filter, true)
                .map_err(|error| CaptureError::Filter {
                    filter: filter.clone(),
                    reason: error.to_string(),
                })?;
        }
        let handle = handle
            .setnonblock()
            .map_err(refused("making reads return at once"))?;
        let interface = InterfaceDescription {
            name: interface,
            link_type: link_type(handle.get_datalink().0),
            snaplen: options.snaplen,
            filter: options.filter.clone(),
        };
        Ok(Self {
            handle,
            sees_loopback: loopback || interface.name == "any",
            interface,
            pool: options.pool,
            read_timeout: options.read_timeout,
        })
    }

    /// Whether what this machine sends to itself comes by here.
    pub fn sees_loopback(&self) -> bool {
        self.sees_loopback
    }

    /// What is captured on, as a recording describes it.
    pub fn interface(&self) -> &InterfaceDescription {
        &self.interface
    }

    /// Starts the thread that empties the ring.
    pub fn start(self) -> Result<RunningCapture, CaptureError> {
        let Self {
            handle,
            interface,
            sees_loopback: _,
            pool,
            read_timeout,
        } = self;
        let failed = |source: io::Error| CaptureError::System {
            interface: interface.name.clone(),
            doing: "starting the reader",
            source,
        };
        let waker = Arc::new(Waker::new().map_err(failed)?);
        let (batch_sender, batches) = mpsc::channel();
        let (command_sender, commands) = mpsc::channel();
        let (return_sender, returned) = mpsc::channel();
        let last_counters = Arc::new(Mutex::new(KernelCounters::default()));
        let reader = Reader {
            handle,
            interface: interface.name.clone(),
            link_type: interface.link_type,
            waker: Arc::clone(&waker),
            commands,
            batches: batch_sender,
            returned,
            returns: return_sender,
            current: None,
            unmade: (pool.0 as usize / Storage::SIZE).max(2),
            largest_frame: LARGEST_FRAME,
            drain: read_timeout * DRAIN_PERIODS,
            watch_link: interface_is_up(&interface.name) == Some(true),
            counted: Counted::default(),
            last_counters: Arc::clone(&last_counters),
        };
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || reader.run())
            .map_err(failed)?;
        Ok(RunningCapture {
            interface,
            batches,
            commands: command_sender,
            waker,
            last_counters,
            thread: Some(thread),
        })
    }
}

/// A capture that is being read.
pub struct RunningCapture {
    interface: InterfaceDescription,
    batches: Receiver<Result<Batch, CaptureError>>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    last_counters: Arc<Mutex<KernelCounters>>,
    thread: Option<JoinHandle<()>>,
}

/// What the consumer may ask of the reader.
enum Command {
    Counters(mpsc::Sender<KernelCounters>),
    /// Hand over what is in the ring, then end.
    Stop,
    /// End at once.
    Abandon,
}

/// What there is to read from a running capture.
#[derive(Debug)]
pub enum Reading {
    /// Packets.
    Batch(Batch),
    /// Nothing in the time given.
    Idle,
    /// The capture was stopped and everything has been handed over.
    Ended,
}

impl RunningCapture {
    /// The next packets, waiting for them no longer than `timeout`. After an error the capture
    /// has ended.
    pub fn next_batch(&self, timeout: Duration) -> Result<Reading, CaptureError> {
        match self.batches.recv_timeout(timeout) {
            Ok(Ok(batch)) => Ok(Reading::Batch(batch)),
            Ok(Err(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(Reading::Idle),
            Err(RecvTimeoutError::Disconnected) => Ok(Reading::Ended),
        }
    }

    /// What the kernel has counted up to now, or up to the end of the capture.
    pub fn counters(&self) -> KernelCounters {
        let (answer_sender, answer) = mpsc::channel();
        if self.commands.send(Command::Counters(answer_sender)).is_ok() {
            self.waker.wake();
            if let Ok(counters) = answer.recv() {
                return counters;
            }
        }
        *self
            .last_counters
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends the capture: what the kernel has received until now is still handed over, then
    /// [`RunningCapture::next_batch`] says [`Reading::Ended`].
    pub fn stop(&self) {
        // A reader that has ended needs no telling.
        let _ = self.commands.send(Command::Stop);
        self.waker.wake();
    }

    /// What is captured on, as a recording describes it.
    pub fn interface(&self) -> &InterfaceDescription {
        &self.interface
    }
}

impl Drop for RunningCapture {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Abandon);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the reader has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

/// Some packets, in the order of the ring. Its memory goes back to the reader when it is dropped.
#[derive(Debug)]
pub struct Batch {
    storage: Storage,
    link_type: LinkType,
    returns: Sender<Storage>,
    waker: Arc<Waker>,
}

impl Batch {
    /// How many packets are in it.
    pub fn len(&self) -> Packets {
        Packets::new(self.storage.records.len() as u64)
    }

    /// Whether there are none. The reader never hands over such a batch.
    pub fn is_empty(&self) -> bool {
        self.storage.records.is_empty()
    }

    /// The packets.
    pub fn packets(&self) -> impl Iterator<Item = CapturedPacket<'_>> {
        let mut start = 0;
        self.storage.records.iter().map(move |record| {
            let data = &self.storage.bytes[start..record.end];
            start = record.end;
            CapturedPacket {
                timestamp: record.timestamp,
                link_type: self.link_type,
                original_length: record.original_length,
                data,
            }
        })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let storage = std::mem::take(&mut self.storage);
        // After the end of the reader there is nobody to return it to.
        let _ = self.returns.send(storage);
        if self.waker.starving.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }
}

/// The memory of a batch.
#[derive(Debug, Default)]
struct Storage {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    timestamp: Timestamp,
    original_length: u32,
    /// Where its bytes end; they begin where those of the record before end.
    end: usize,
}

impl Storage {
    const SIZE: usize = BATCH_BYTES + BATCH_PACKETS * size_of::<Record>();

    fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(BATCH_BYTES),
            records: Vec::with_capacity(BATCH_PACKETS),
        }
    }

    #[inline]
    fn push(&mut self, packet: &pcap::Packet<'_>) {
        self.bytes.extend_from_slice(packet.data);
        let ts = packet.header.ts;
        self.records.push(Record {
            // Nanosecond precision was asked for: the field named after microseconds has them.
            timestamp: Timestamp::from_nanos(ts.tv_sec * 1_000_000_000 + ts.tv_usec),
            original_length: packet.header.len.max(packet.header.caplen),
            end: self.bytes.len(),
        });
    }

    /// How many packets certainly fit, if none is larger than `largest`.
    fn room(&self, largest: usize) -> usize {
        let by_bytes = BATCH_BYTES.saturating_sub(self.bytes.len()) / largest;
        by_bytes.min(BATCH_PACKETS - self.records.len())
    }
}

/// Interrupts the reader's waiting.
#[derive(Debug)]
struct Waker {
    descriptor: OwnedFd,
    /// The reader waits for a batch to come back.
    starving: AtomicBool,
}

impl Waker {
    fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            descriptor,
            starving: AtomicBool::new(false),
        })
    }

    fn wake(&self) {
        // It can only fail because a wake-up is pending already.
        let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
    }

    fn acknowledge(&self) {
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
    }
}

/// Counters of 32 bits made into ones of 64.
#[derive(Default)]
struct Counted {
    last: [u32; 3],
    total: [u64; 3],
    packets_since: usize,
}

impl Counted {
    fn add(&mut self, now: [u32; 3]) {
        for ((total, last), now) in self.total.iter_mut().zip(&mut self.last).zip(now) {
            *total += u64::from(now.wrapping_sub(*last));
            *last = now;
        }
        self.packets_since = 0;
    }
}

struct Reader {
    handle: Capture<Active>,
    interface: String,
    link_type: LinkType,
    waker: Arc<Waker>,
    commands: Receiver<Command>,
    batches: Sender<Result<Batch, CaptureError>>,
    returned: Receiver<Storage>,
    returns: Sender<Storage>,
    current: Option<Storage>,
    /// Batches that may still be made.
    unmade: usize,
    largest_frame: usize,
    /// How long packets received before a stop may take to appear.
    drain: Duration,
    /// Whether the link's state can be looked up.
    watch_link: bool,
    counted: Counted,
    last_counters: Arc<Mutex<KernelCounters>>,
}

/// The consumer is gone or wants no more.
struct Abandoned;

impl Reader {
    fn run(mut self) {
        // Abandoned: nobody is left to tell.
        let _ = self.read_until_stopped();
        let counters = self.counters();
        *self
            .last_counters
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = counters;
    }

    fn read_until_stopped(&mut self) -> Result<(), Abandoned> {
        let mut end: Option<Instant> = None;
        let mut failure: Option<CaptureError> = None;
        loop {
            if self.obey()? && end.is_none() {
                end = Some(Instant::now() + self.drain);
            }
            let Some(storage) = self.take_storage() else {
                self.wait_for_storage();
                continue;
            };
            let outcome = self.read_into(storage);
            let read = match outcome {
                Ok(read) => read,
                Err(error) => {
                    self.hand_over()?;
                    return self.fail(failure.unwrap_or(error));
                }
            };
            // What came before the stop has been read long before this limit; a ring that never
            // runs empty would keep the reader for ever.
            if read > 0 && end.is_none_or(|end| Instant::now() < end + DRAIN_LIMIT) {
                continue;
            }
            self.hand_over()?;
            if end.is_some_and(|end| Instant::now() >= end) {
                return failure.map_or(Ok(()), |failure| self.fail(failure));
            }
            if let Err(error) = self.wait_for_packets(end) {
                failure.get_or_insert(error);
                // What the ring still holds is good.
                end.get_or_insert(Instant::now() + self.drain);
            }
        }
    }

    /// Obeys what the consumer asked for. `true` when it asked to stop.
    fn obey(&mut self) -> Result<bool, Abandoned> {
        let mut stop = false;
        loop {
            match self.commands.try_recv() {
                Ok(Command::Counters(answer)) => {
                    // The asker may have gone meanwhile.
                    let _ = answer.send(self.counters());
                }
                Ok(Command::Stop) => stop = true,
                Ok(Command::Abandon) | Err(TryRecvError::Disconnected) => return Err(Abandoned),
                Err(TryRecvError::Empty) => return Ok(stop),
            }
        }
    }

    fn take_storage(&mut self) -> Option<Storage> {
        if let Some(storage) = self.current.take() {
            return Some(storage);
        }
        if let Ok(mut storage) = self.returned.try_recv() {
            storage.bytes.clear();
            storage.records.clear();
            return Some(storage);
        }
        self.unmade = self.unmade.checked_sub(1)?;
        Some(Storage::new())
    }

    /// Moves some packets from the ring into the batch. How many there were.
    fn read_into(&mut self, mut storage: Storage) -> Result<usize, CaptureError> {
        let mut largest = self.largest_frame;
        let count = storage.room(largest).max(1);
        let outcome = self.handle.dispatch(Some(count), |packet| {
            largest = largest.max(packet.data.len());
            storage.push(&packet);
        });
        self.largest_frame = largest;
        self.current = Some(storage);
        let read = outcome.map_err(|error| match error {
            pcap::Error::PcapError(reason) => {
                classify(self.interface.clone(), "reading packets", reason)
            }
            other => CaptureError::Pcap {
                interface: self.interface.clone(),
                doing: "reading packets",
                reason: other.to_string(),
            },
        })?;
        self.counted.packets_since += read;
        // Often enough that 32 bits never wrap unseen.
        if self.counted.packets_since > 1 << 24 {
            self.count();
        }
        if self
            .current
            .as_ref()
            .is_some_and(|storage| storage.room(self.largest_frame) == 0)
        {
            // Should the consumer be gone, the next look at the commands says so.
            let _ = self.hand_over();
        }
        Ok(read)
    }

    fn hand_over(&mut self) -> Result<(), Abandoned> {
        let Some(storage) = self.current.take_if(|storage| !storage.records.is_empty()) else {
            return Ok(());
        };
        let batch = Batch {
            storage,
            link_type: self.link_type,
            returns: self.returns.clone(),
            waker: Arc::clone(&self.waker),
        };
        self.batches.send(Ok(batch)).map_err(|_| Abandoned)
    }

    fn fail(&self, error: CaptureError) -> Result<(), Abandoned> {
        self.batches.send(Err(error)).map_err(|_| Abandoned)
    }

    /// All batches are with the consumer: the ring absorbs until one comes back.
    fn wait_for_storage(&mut self) {
        self.waker.starving.store(true, Ordering::SeqCst);
        // One may have come back before the flag was up.
        if let Ok(mut storage) = self.returned.try_recv() {
            storage.bytes.clear();
            storage.records.clear();
            self.current = Some(storage);
            return;
        }
        let mut descriptors = [PollFd::new(&self.waker.descriptor, PollFlags::IN)];
        // Interrupted or timed out, the loop looks again all the same.
        let _ = poll(&mut descriptors, Some(&timespec(IDLE)));
        self.waker.acknowledge();
    }

    /// Waits for a block of the ring, a command, or until it is time to look at the link.
    fn wait_for_packets(&mut self, end: Option<Instant>) -> Result<(), CaptureError> {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let wait = left.map_or(IDLE, |left| left.min(IDLE));
        let mut descriptors = [
            PollFd::new(&self.handle, PollFlags::IN),
            PollFd::new(&self.waker.descriptor, PollFlags::IN),
        ];
        let ready = match poll(&mut descriptors, Some(&timespec(wait))) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(self.system("waiting for packets", error.into())),
        };
        let link = descriptors[0].revents();
        if descriptors[1].revents().contains(PollFlags::IN) {
            self.waker.acknowledge();
        }
        if link.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return match rustix::net::sockopt::socket_error(&self.handle) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(rustix::io::Errno::NETDOWN)) => Err(self.down()),
                Ok(Err(error)) | Err(error) => {
                    Err(self.system("waiting for packets", error.into()))
                }
            };
        }
        // libpcap may have taken the socket's error for itself and gone on.
        if ready == 0 && self.watch_link && interface_is_up(&self.interface) != Some(true) {
            return Err(self.down());
        }
        Ok(())
    }

    fn count(&mut self) {
        if let Ok(stats) = self.handle.stats() {
            self.counted
                .add([stats.received, stats.dropped, stats.if_dropped]);
        }
    }

    fn counters(&mut self) -> KernelCounters {
        self.count();
        let [received, dropped, interface_dropped] = self.counted.total.map(Packets::new);
        let softnet_dropped = fs::read_to_string("/proc/net/softnet_stat")
            .map_or(Packets::ZERO, |table| softnet_drops(&table));
        KernelCounters {
            received,
            dropped,
            interface_dropped,
            softnet_dropped,
        }
    }

    fn down(&self) -> CaptureError {
        CaptureError::InterfaceDown {
            interface: self.interface.clone(),
        }
    }

    fn system(&self, doing: &'static str, source: io::Error) -> CaptureError {
        CaptureError::System {
            interface: self.interface.clone(),
            doing,
            source,
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// libpcap's words, sorted by what can be done about them.
fn classify(interface: String, doing: &'static str, reason: String) -> CaptureError {
    let says = |words: &str| reason.contains(words);
    if says("CAP_NET_RAW") || says("not permitted") || says("ermission") {
        let binary = std::env::current_exe().unwrap_or_else(|_| "wirewatt".into());
        CaptureError::Permission { interface, binary }
    } else if says("not up") || says("went down") || says("disappeared") || says("is down") {
        CaptureError::InterfaceDown { interface }
    } else {
        CaptureError::Pcap {
            interface,
            doing,
            reason,
        }
    }
}

/// Live handles speak of DLT values, which differ from those in files in one case that matters
/// on Linux: raw IP is 12 there and 101 in files.
fn link_type(dlt: i32) -> LinkType {
    match dlt {
        12 => LinkType(101),
        other => LinkType(other as u16),
    }
}

fn default_ring() -> MemoryBytes {
    let wanted = MemoryBytes::mebibytes(256);
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|table| {
        let kibibytes = table
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        kibibytes.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    memory.map_or(wanted, |kibibytes| {
        wanted.min(MemoryBytes(kibibytes * 1024 / 8))
    })
}

/// `None` where the system does not say.
fn interface_is_up(interface: &str) -> Option<bool> {
    let flags = fs::read_to_string(format!("/sys/class/net/{interface}/flags")).ok()?;
    let flags = u32::from_str_radix(flags.trim().strip_prefix("0x")?, 16).ok()?;
    Some(flags & libc::IFF_UP as u32 != 0)
}

/// The second column, one line a processor, in hexadecimal.
fn softnet_drops(table: &str) -> Packets {
    let column = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    column
        .filter_map(|drops| u64::from_str_radix(drops, 16).ok())
        .map(Packets::new)
        .sum()
}

/// Asks the kernel for incoming packets alone. A packet socket on the loopback sees each packet
/// leave and arrive; libpcap discards the first of the two after it has cost room in the ring and
/// been counted. Those that came before this call are discarded by libpcap, so none shows twice:
/// they are in the kernel's counters, which is why only differences of those count.
#[allow(unsafe_code)]
fn ignore_outgoing(handle: &Capture<Active>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor belongs to `handle`, which is alive; the value is a `c_int` on this
    // stack whose size is passed with it; the kernel keeps no pointer to it.
    let outcome = unsafe {
        libc::setsockopt(
            handle.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_32_bits_go_on_after_they_wrap() {
        let mut counted = Counted::default();
        counted.add([u32::MAX - 1, 7, 0]);
        counted.add([3, 7, 0]);
        assert_eq!(counted.total, [u64::from(u32::MAX) + 4, 7, 0]);
    }

    #[test]
    fn softnet_drops_are_the_second_column_of_every_processor() {
        let table = "0001 0000000a 00 00\n0002 00000010 00 00\n";
        assert_eq!(softnet_drops(table), Packets::new(26));
    }

    #[test]
    fn raw_ip_has_another_number_in_files() {
        assert_eq!(link_type(12), LinkType(101));
        assert_eq!(link_type(1), LinkType(1));
    }
}
