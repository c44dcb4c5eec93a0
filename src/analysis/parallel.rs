//! One capture analysed by several threads, each connection by one of them at a time.
//!
//! Packets are dealt out by connection to shards, more of them than threads, each with an analyzer of
//! its own. A thread that is free either reads the next chunk of the capture or takes what waits
//! longest for a shard that nobody works on: so no thread waits for another as long as there is
//! work. What the shards found adds up to what one analyzer would have found, bit for bit.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{hint, thread};

use super::{Analysis, Analyzer, Sharder};
use crate::capture::CapturedPacket;
use crate::units::{LinkType, Timestamp};

/// Shards for each thread: enough that a busy connection does not leave the other threads idle.
const SHARDS_A_THREAD: u16 = 2;

/// More threads have nothing to do: one of them reads at a time.
const MOST_THREADS: u16 = 64;

/// Chunks that may wait for a shard: so many are in memory, each as large as a read buffer.
const MOST_WAITING: usize = 4;

/// About as long as it takes to analyse a chunk.
const MOMENT: Duration = Duration::from_micros(100);

/// Reads the next packets: those of one call lie in the given bytes, each where the function is told.
/// `false` when there are no more.
pub trait ChunkSource: Send {
    /// See there.
    fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        place: impl FnMut(CapturedPacket<'_>, usize),
    ) -> bool;
}

/// An Ethernet frame in a chunk that was captured whole: as little as says where it is, for all of these
/// words go from one processor's cache to another's.
#[derive(Debug, Clone, Copy)]
struct Placed {
    timestamp: Timestamp,
    /// Where it begins in the chunk's bytes. Of a [`SPECIAL`] packet, its index among those.
    at: u32,
    /// Its captured bytes, or [`SPECIAL`].
    captured: u32,
}

/// More than any packet has bytes.
const SPECIAL: u32 = u32::MAX;

/// Any other packet.
#[derive(Debug, Clone, Copy)]
struct Special {
    link_type: LinkType,
    original_length: u32,
    captured: u32,
    /// Where it begins in the chunk's bytes, or in those that were kept from earlier chunks.
    at: u32,
    is_kept: bool,
}

/// A chunk, and which of its packets are for which shard.
#[derive(Debug, Default)]
struct Chunk {
    /// The thread that has read it.
    reader: usize,
    bytes: Vec<u8>,
    /// Of packets whose shard was not known when they were read.
    kept: Vec<u8>,
    places: Places,
}

/// Where packets are.
#[derive(Debug, Default)]
struct Places {
    /// By shard.
    packets: Vec<Vec<Placed>>,
    specials: Vec<Special>,
}

/// What the threads share.
struct Work<S> {
    /// While no thread reads.
    reader: Option<Box<Reader<S>>>,
    has_ended: bool,
    /// A thread has panicked: the others give up.
    has_failed: bool,
    shards: Vec<Shard>,
    /// Chunks that all shards are done with.
    spare: Vec<Chunk>,
    /// Threads that wait for something to do.
    idle: usize,
}

struct Shard {
    /// While no thread works on it.
    analyzer: Option<Box<Analyzer>>,
    waiting: VecDeque<Arc<Chunk>>,
}

/// What reads the capture, and the chunk that it reads into.
struct Reader<S> {
    source: S,
    sharder: Sharder,
    chunk: Chunk,
}

enum Task<S> {
    Read(Box<Reader<S>>),
    Analyze(usize, Box<Analyzer>, Arc<Chunk>),
}

enum Done<S> {
    /// Whether there is more to read.
    Read(Box<Reader<S>>, bool),
    Analyzed(usize, Box<Analyzer>, Arc<Chunk>),
}

/// Analyses what `source` has with so many `threads`. The analyzers are all made by `analyzer`.
pub fn analyze<S: ChunkSource>(
    source: S,
    threads: NonZeroU16,
    analyzer: impl Fn() -> Analyzer,
) -> Analysis {
    let threads = threads.min(NonZeroU16::MIN.saturating_add(MOST_THREADS - 1));
    let shards = threads.saturating_mul(NonZeroU16::MIN.saturating_add(SHARDS_A_THREAD - 1));
    let shard = |_| Shard {
        analyzer: Some(Box::new(analyzer())),
        waiting: VecDeque::new(),
    };
    let team = Team {
        work: Mutex::new(Work {
            reader: Some(Box::new(Reader {
                source,
                sharder: Sharder::new(shards),
                chunk: Chunk::default(),
            })),
            has_ended: false,
            has_failed: false,
            shards: (0..shards.get()).map(shard).collect(),
            spare: Vec::new(),
            idle: 0,
        }),
        handed_in: AtomicU32::new(0),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        for thread in 1..threads.get() {
            let team = &team;
            scope.spawn(move || team.labour(usize::from(thread)));
        }
        team.labour(0);
    });
    let work = team
        .work
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let analyzers = work.shards.into_iter().filter_map(|shard| shard.analyzer);
    let mut parts = analyzers.map(|analyzer| analyzer.finish());
    let mut whole = parts.next().unwrap_or_default();
    parts.for_each(|part| whole.merge(part));
    whole
}

struct Team<S> {
    work: Mutex<Work<S>>,
    /// How often something was handed in, for those that wait for it awake.
    handed_in: AtomicU32,
    changed: Condvar,
}

impl<S: ChunkSource> Team<S> {
    fn labour(&self, thread: usize) {
        let _failing = Failing(self);
        let shards = self.lock().shards.len();
        let mut task = self.next_task(thread, None);
        while let Some(begun) = task {
            let done = match begun {
                Task::Read(mut reader) => {
                    let Reader {
                        source,
                        sharder,
                        chunk,
                    } = &mut *reader;
                    chunk.reader = thread;
                    let goes_on = chunk.read(source, sharder, shards);
                    Done::Read(reader, goes_on)
                }
                Task::Analyze(index, mut analyzer, chunk) => {
                    for packet in chunk.packets_of(index) {
                        analyzer.packet(&packet);
                    }
                    Done::Analyzed(index, analyzer, chunk)
                }
            };
            task = self.next_task(thread, Some(done));
        }
    }

    /// Hands in what was done and waits for something to do. `None` when there is nothing left that
    /// another thread is not at.
    fn next_task(&self, thread: usize, done: Option<Done<S>>) -> Option<Task<S>> {
        let mut work = self.lock();
        match done {
            Some(Done::Read(mut reader, goes_on)) => {
                let chunk = Arc::new(std::mem::take(&mut reader.chunk));
                for (shard, packets) in work.shards.iter_mut().zip(&chunk.places.packets) {
                    if !packets.is_empty() {
                        shard.waiting.push_back(Arc::clone(&chunk));
                    }
                }
                work.has_ended = !goes_on;
                work.reader = Some(reader);
            }
            Some(Done::Analyzed(index, analyzer, chunk)) => {
                work.shards[index].analyzer = Some(analyzer);
                work.spare.extend(Arc::into_inner(chunk));
            }
            None => {}
        }
        self.handed_in.fetch_add(1, Ordering::Relaxed);
        if work.idle > 0 {
            self.changed.notify_all();
        }
        let mut has_waited = false;
        loop {
            if work.has_failed {
                return None;
            }
            let waiting = |shard: &Shard| shard.waiting.len();
            let backlog = work.shards.iter().map(waiting).max().unwrap_or(0);
            // What this thread has read is in its processor's cache: that comes first, then reading,
            // then what others have read.
            let is_own = |shard: &Shard| {
                let next = shard.waiting.front();
                next.is_some_and(|chunk| chunk.reader == thread)
            };
            let free = work.shards.iter_mut().enumerate();
            let free = free.filter(|(_, shard)| shard.analyzer.is_some());
            let next = free.max_by_key(|(_, shard)| (is_own(shard), waiting(shard)));
            let next = next.filter(|(_, shard)| waiting(shard) > 0);
            let is_own = next.as_ref().is_some_and(|(_, shard)| is_own(shard));
            let next = next.map(|(index, _)| index);
            if !is_own
                && !work.has_ended
                && backlog < MOST_WAITING
                && let Some(mut reader) = work.reader.take()
            {
                reader.chunk = work.spare.pop().unwrap_or_default();
                return Some(Task::Read(reader));
            }
            if let Some(index) = next
                && let Some(chunk) = work.shards[index].waiting.pop_front()
                && let Some(analyzer) = work.shards[index].analyzer.take()
            {
                return Some(Task::Analyze(index, analyzer, chunk));
            }
            if work.has_ended && backlog == 0 {
                return None;
            }
            if !has_waited {
                let seen = self.handed_in.load(Ordering::Relaxed);
                drop(work);
                has_waited = !self.changes_soon(seen);
                work = self.lock();
                continue;
            }
            work.idle += 1;
            work = self
                .changed
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
            work.idle -= 1;
        }
    }

    /// Waits a moment, awake, for something to be handed in after that number, and says whether it was:
    /// to be woken takes longer than most waits.
    fn changes_soon(&self, seen: u32) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < MOMENT {
            for _ in 0..32 {
                if self.handed_in.load(Ordering::Relaxed) != seen {
                    return true;
                }
                hint::spin_loop();
            }
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Work<S>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the other threads when one panics: what it holds, they would wait for without end.
struct Failing<'a, S: ChunkSource>(&'a Team<S>);

impl<S: ChunkSource> Drop for Failing<'_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().has_failed = true;
            self.0.changed.notify_all();
        }
    }
}

impl Chunk {
    fn read(
        &mut self,
        source: &mut impl ChunkSource,
        sharder: &mut Sharder,
        shards: usize,
    ) -> bool {
        self.places.clear(shards);
        self.kept.clear();
        let Self {
            bytes,
            kept,
            places,
            reader: _,
        } = self;
        let goes_on = source.take_chunk(bytes, |packet, at| {
            let captured = packet.data.len() as u32;
            match sharder.part_of_usual(&packet) {
                Some(shard) if packet.original_length == captured => {
                    places.packets[usize::from(shard)].push(Placed {
                        timestamp: packet.timestamp,
                        at: at as u32,
                        captured,
                    });
                }
                _ => match sharder.part_of(&packet) {
                    Some(shard) => places.special(shard, &packet, at, false),
                    None => places.due(sharder, kept),
                },
            }
        });
        if !goes_on {
            sharder.end();
            places.due(sharder, kept);
        }
        goes_on
    }

    /// A shard's packets, in capture order. Each is called into the cache some packets before it is
    /// shown: the thread that has read it may be another, and no pattern foretells which is next.
    fn packets_of(&self, shard: usize) -> impl Iterator<Item = CapturedPacket<'_>> {
        const AHEAD: usize = 8;
        const CACHE_LINE: usize = 64;
        let placed = &self.places.packets[shard];
        placed.iter().enumerate().map(move |(i, packet)| {
            if let Some(ahead) = placed.get(i + AHEAD) {
                let at = self.bytes.as_ptr().wrapping_add(ahead.at as usize);
                prefetch(at);
                prefetch(at.wrapping_add(CACHE_LINE));
            }
            match packet.captured {
                SPECIAL => self.special(packet),
                captured => CapturedPacket {
                    timestamp: packet.timestamp,
                    link_type: LinkType::ETHERNET,
                    original_length: captured,
                    data: &self.bytes[packet.at as usize..][..captured as usize],
                },
            }
        })
    }

    #[cold]
    fn special(&self, packet: &Placed) -> CapturedPacket<'_> {
        let special = self.places.specials[packet.at as usize];
        let bytes: &[u8] = match special.is_kept {
            false => &self.bytes,
            true => &self.kept,
        };
        CapturedPacket {
            timestamp: packet.timestamp,
            link_type: special.link_type,
            original_length: special.original_length,
            data: &bytes[special.at as usize..][..special.captured as usize],
        }
    }
}

impl Places {
    fn clear(&mut self, shards: usize) {
        self.packets.resize(shards, Vec::new());
        self.packets.iter_mut().for_each(Vec::clear);
        self.specials.clear();
    }

    #[cold]
    fn special(&mut self, shard: u16, packet: &CapturedPacket<'_>, at: usize, is_kept: bool) {
        self.packets[usize::from(shard)].push(Placed {
            timestamp: packet.timestamp,
            at: self.specials.len() as u32,
            captured: SPECIAL,
        });
        self.specials.push(Special {
            link_type: packet.link_type,
            original_length: packet.original_length,
            captured: packet.data.len() as u32,
            at: at as u32,
            is_kept,
        });
    }

    /// Places packets that were kept and whose shards are known by now.
    #[cold]
    fn due(&mut self, sharder: &mut Sharder, kept: &mut Vec<u8>) {
        for (shard, due) in sharder.due() {
            let packet = due.packet();
            self.special(shard, &packet, kept.len(), true);
            kept.extend_from_slice(packet.data);
        }
    }
}

/// Has what lies there brought into the cache without waiting for it, as a load would: a hint, wherever it
/// points. Nothing where the processor is of another kind.
#[allow(unsafe_code)]
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads and writes nothing that a program could notice and no address makes
        // it fault (Intel's manual, PREFETCHh), and SSE, which it comes from, is on every processor of 64 bits.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
