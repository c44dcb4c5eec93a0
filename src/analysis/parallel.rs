//! One capture analysed by several threads, each connection by one of them at a time.
//!
//! Packets are dealt out by connection to shards, one more than threads, each with an analyzer of its
//! own. A thread that is free either reads the next chunk of the capture and deals it out, or takes
//! what waits longest for a shard that nobody works on: so no thread waits for another as long as there
//! is work. Where the capture can be read in [`Blocks`], several read at the same time, and what they have
//! read is joined in the capture's order; else one reads at a time, and several deal out what they have
//! read. The shards get it in the capture's order. What they found adds up to what one analyzer would have
//! found, bit for bit.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{hint, thread};

use super::deal::{Chunk, ChunkSource, Dealer};
use super::{Analysis, Analyzer, Sharder};
use crate::capture::{Blocks, FileBytes, Walk};

/// More threads have nothing to do: memory is no faster.
const MOST_THREADS: u16 = 64;

/// Chunks that may wait, for a shard or for those before them, before another is read. Each is as large as
/// a read buffer, and as many more are being read, or free, as there are threads.
const MOST_WAITING: usize = 4;

/// About as long as it takes to analyse a chunk.
const MOMENT: Duration = Duration::from_micros(100);

/// What the threads share.
struct Work<S> {
    /// While no thread reads in order or joins blocks.
    reader: Option<Box<Reader<S>>>,
    /// While the capture is read in blocks.
    joining: Option<Joining>,
    has_ended: bool,
    /// A thread has panicked: the others give up.
    has_failed: bool,
    shards: Vec<Shard>,
    /// How many chunks the shards have been given.
    given: u64,
    /// Chunks that were dealt out before one that was read earlier.
    early: Vec<Arc<Chunk>>,
    /// Chunks that nobody else holds. They are used again as they are: to give memory back that another
    /// thread has asked for is to wait for that thread.
    spare: Vec<Arc<Chunk>>,
    /// Threads that wait for something to do.
    idle: usize,
}

struct Shard {
    /// While no thread works on it.
    analyzer: Option<Box<Analyzer>>,
    waiting: VecDeque<Arc<Chunk>>,
}

/// What reads the capture, or puts together what was read of it in blocks.
struct Reader<S> {
    source: S,
    sharder: Sharder,
    /// Chunks so far.
    read: u64,
}

/// Blocks that are read in any order, and put together in the capture's.
struct Joining {
    blocks: Arc<Blocks>,
    /// What nobody has begun to read.
    unread: Range<u64>,
    end: u64,
    /// Blocks that wait for those before them.
    read: Vec<Arc<Chunk>>,
    /// The number of the next one to be joined to what was read before, and where its first record is.
    next: u64,
    first: FileBytes,
}

enum Task<S> {
    Read(Box<Reader<S>>, Arc<Chunk>),
    ReadBlock(Arc<Blocks>, u64, Arc<Chunk>),
    Join(Box<Reader<S>>, Arc<Blocks>, FileBytes, Arc<Chunk>),
    Analyze(usize, Box<Analyzer>, Arc<Chunk>),
}

enum Done {
    ReadBlock(Arc<Chunk>),
    Dealt(Arc<Chunk>),
    Analyzed(usize, Box<Analyzer>, Arc<Chunk>),
}

/// Analyses what `source` has with so many `threads`. The analyzers are all made by `analyzer`.
pub fn analyze<S: ChunkSource>(
    mut source: S,
    threads: NonZeroU16,
    analyzer: impl Fn() -> Analyzer,
) -> Analysis {
    let threads = threads.min(NonZeroU16::MIN.saturating_add(MOST_THREADS - 1));
    // One more than threads: so a busy connection leaves the others something to do.
    let shards = threads.saturating_add(1);
    let analyzers = (0..shards.get()).map(|_| Box::new(analyzer()));
    let analyzers: Vec<_> = analyzers.collect();
    let dealers = (0..threads.get()).map(|_| Dealer::new(shards, &analyzers[0]));
    let mut dealers = dealers.collect::<Vec<_>>().into_iter().enumerate();
    let shard = |analyzer| Shard {
        analyzer: Some(analyzer),
        waiting: VecDeque::new(),
    };
    let team = Team {
        work: Mutex::new(Work {
            joining: source.blocks().and_then(Joining::of),
            reader: Some(Box::new(Reader {
                source,
                sharder: Sharder::new(shards),
                read: 0,
            })),
            has_ended: false,
            has_failed: false,
            shards: analyzers.into_iter().map(shard).collect(),
            given: 0,
            early: Vec::new(),
            spare: Vec::new(),
            idle: 0,
        }),
        handed_in: AtomicU32::new(0),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        let own = dealers.next();
        for (thread, dealer) in dealers {
            let team = &team;
            scope.spawn(move || team.labour(thread, dealer));
        }
        if let Some((thread, dealer)) = own {
            team.labour(thread, dealer);
        }
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
    fn labour(&self, thread: usize, mut dealer: Dealer) {
        let _failing = Failing(self);
        let mut task = self.next_task(thread, None);
        while let Some(begun) = task {
            let done = match begun {
                Task::Read(mut reader, mut room) => {
                    let chunk = sole(&mut room);
                    chunk.reader = thread;
                    chunk.number = reader.read;
                    reader.read += 1;
                    let Reader {
                        source, sharder, ..
                    } = &mut *reader;
                    let goes_on = chunk.read(source, sharder, &mut dealer);
                    self.give_back(reader, goes_on);
                    dealer.deal(chunk);
                    Done::Dealt(room)
                }
                Task::ReadBlock(blocks, number, mut room) => {
                    let chunk = sole(&mut room);
                    chunk.reader = thread;
                    chunk.read_block(&blocks, number, &mut dealer);
                    Done::ReadBlock(room)
                }
                Task::Join(mut reader, blocks, first, mut room) => {
                    let chunk = sole(&mut room);
                    chunk.number = reader.read;
                    reader.read += 1;
                    let walk = chunk.join(&blocks, first, &mut reader.sharder, &mut dealer);
                    self.joined(reader, walk);
                    dealer.deal(chunk);
                    Done::Dealt(room)
                }
                Task::Analyze(index, mut analyzer, chunk) => {
                    chunk.show(index, &mut analyzer, &dealer);
                    Done::Analyzed(index, analyzer, chunk)
                }
            };
            task = self.next_task(thread, Some(done));
        }
    }

    /// Lets another thread read, if there is more.
    fn give_back(&self, reader: Box<Reader<S>>, goes_on: bool) {
        let mut work = self.lock();
        work.has_ended = !goes_on;
        work.reader = Some(reader);
        self.tell(&work);
    }

    /// Lets the next block be joined, or, where blocks do not lead on, another thread read.
    fn joined(&self, mut reader: Box<Reader<S>>, walk: Walk) {
        let goes_on = reader.source.has_come_to(walk.end) && walk.is_whole;
        let mut work = self.lock();
        if work.join(walk.end, goes_on) {
            reader.source.go_on_at(walk.end);
        }
        work.reader = Some(reader);
        self.tell(&work);
    }

    /// Tells those who wait that something has changed.
    fn tell(&self, work: &Work<S>) {
        self.handed_in.fetch_add(1, Ordering::Relaxed);
        if work.idle > 0 {
            self.changed.notify_all();
        }
    }

    /// Hands in what was done and waits for something to do. `None` when there is nothing left that
    /// another thread is not at.
    fn next_task(&self, thread: usize, done: Option<Done>) -> Option<Task<S>> {
        let mut guard = self.lock();
        let work = &mut *guard;
        match done {
            Some(Done::ReadBlock(chunk)) => work.has_read(chunk),
            Some(Done::Dealt(chunk)) => work.dealt(chunk),
            Some(Done::Analyzed(index, analyzer, chunk)) => {
                work.shards[index].analyzer = Some(analyzer);
                work.done_with(chunk);
            }
            None => {}
        }
        self.tell(work);
        let mut has_waited = false;
        loop {
            let work = &mut *guard;
            if work.has_failed {
                return None;
            }
            if let Some(join) = work.next_join() {
                return Some(join);
            }
            let waiting = |shard: &Shard| shard.waiting.len();
            let early = work.joining.iter().map(|joining| joining.read.len());
            let early = work.early.len() + early.sum::<usize>();
            let backlog = work.shards.iter().map(waiting).max().unwrap_or(0) + early;
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
                && backlog < MOST_WAITING
                && let Some(read) = work.next_read(thread)
            {
                return Some(read);
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
                drop(guard);
                has_waited = !self.changes_soon(seen);
                guard = self.lock();
                continue;
            }
            guard.idle += 1;
            guard = self
                .changed
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
            guard.idle -= 1;
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

/// A chunk that was not given to the shards yet.
fn sole(chunk: &mut Arc<Chunk>) -> &mut Chunk {
    Arc::get_mut(chunk).expect("who reads or joins a chunk is alone with it")
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

impl Joining {
    /// `None` where there is no block.
    fn of(blocks: Blocks) -> Option<Self> {
        let unread = blocks.numbers();
        (!unread.is_empty()).then(|| Self {
            next: unread.start,
            end: unread.end,
            unread,
            first: blocks.first(),
            blocks: Arc::new(blocks),
            read: Vec::new(),
        })
    }
}

impl<S> Work<S> {
    /// The next block, where it has been read and those before it are joined.
    fn next_join(&mut self) -> Option<Task<S>> {
        let joining = self.joining.as_mut()?;
        let is_next = |chunk: &Arc<Chunk>| chunk.block_number() == Some(joining.next);
        let next = joining.read.iter().position(is_next)?;
        let reader = self.reader.take()?;
        let chunk = joining.read.swap_remove(next);
        let blocks = Arc::clone(&joining.blocks);
        Some(Task::Join(reader, blocks, joining.first, chunk))
    }

    /// What can be read next.
    fn next_read(&mut self, thread: usize) -> Option<Task<S>> {
        if let Some(joining) = &mut self.joining {
            let number = joining.unread.next()?;
            let blocks = Arc::clone(&joining.blocks);
            let chunk = self.spare_of(thread);
            return Some(Task::ReadBlock(blocks, number, chunk));
        }
        if self.has_ended {
            return None;
        }
        let reader = self.reader.take()?;
        Some(Task::Read(reader, self.spare_of(thread)))
    }

    /// Keeps a block until those before it are joined. What blocks no longer lead to was read in vain.
    fn has_read(&mut self, chunk: Arc<Chunk>) {
        match &mut self.joining {
            Some(joining) => joining.read.push(chunk),
            None => self.spare.push(chunk),
        }
    }

    /// Has the next block begin there. Whether there is none: the capture does not go on in blocks.
    fn join(&mut self, first: FileBytes, goes_on: bool) -> bool {
        if let Some(joining) = &mut self.joining {
            joining.next += 1;
            joining.first = first;
            if goes_on && joining.next < joining.end {
                return false;
            }
        }
        if let Some(joining) = self.joining.take() {
            self.spare.extend(joining.read);
        }
        true
    }

    /// Gives the shards a chunk that was dealt out, once they have all earlier ones.
    fn dealt(&mut self, chunk: Arc<Chunk>) {
        self.early.push(chunk);
        let next = |work: &Self| {
            let is_next = |chunk: &Arc<Chunk>| chunk.number == work.given;
            work.early.iter().position(is_next)
        };
        while let Some(next) = next(self) {
            let chunk = self.early.swap_remove(next);
            self.given += 1;
            for (index, shard) in self.shards.iter_mut().enumerate() {
                if chunk.is_for(index) {
                    shard.waiting.push_back(Arc::clone(&chunk));
                }
            }
            self.done_with(chunk);
        }
    }

    /// Lets a chunk be used again if nobody else looks at it.
    fn done_with(&mut self, mut chunk: Arc<Chunk>) {
        if Arc::get_mut(&mut chunk).is_some() {
            self.spare.push(chunk);
        }
    }

    /// Room for another chunk: best what this thread has read into before.
    fn spare_of(&mut self, thread: usize) -> Arc<Chunk> {
        let own = self.spare.iter().rposition(|chunk| chunk.reader == thread);
        match own {
            Some(own) => self.spare.swap_remove(own),
            None => self.spare.pop().unwrap_or_default(),
        }
    }
}
