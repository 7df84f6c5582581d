//! The queue to `rt-publisher`: events, commands and counters, in order, until their fate is known. The game thread and
//! the other workers push, `rt-publisher` takes. No producer waits for room: the outbox accepts an item or refuses it at
//! once. Bounded by count and by bytes; items that the publisher has taken and Redis has not answered still count.
//!
//! ```text
//!  push ──▶ chunk | chunk | open chunk ──swap──▶ taken chunks ──take──▶ the publisher's backlog ──settle──▶ out of the count
//!                            ▲                        │
//!                            └────── empty chunk ─────┘
//!           └────────────────────────────── waiting(), bytes ──────────────────────────────┘
//! ```
//!
//! The bytes of an event are copied to the end of the open chunk, so an Emit allocates nothing. A lock guards the chunks.
//! A producer holds it while it copies one item, the publisher while it swaps pointers, and nobody while anything blocks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::limits::{ITEM_OVERHEAD_BYTES, NAME_BYTES_MAX, OUTBOX_JOBS_MAX, PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::io::channel::Bell;
use crate::io::lock::lock;
use crate::json::buffer::{Append, Buffer};
use crate::redis::REPLY_BYTES_MAX;
use crate::stats::Stats;
use crate::threads::publisher::replies::ANSWERS_BYTES_MAX;
use crate::threads::publisher::run::Run;

/// Memory that items waiting for Redis may take, in bytes: 2 KiB for each of [`OUTBOX_JOBS_MAX`] items, and room for
/// any single payload or value.
pub const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(PAYLOAD_BYTES_MAX + NAME_BYTES_MAX < OUTBOX_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX + NAME_BYTES_MAX < OUTBOX_BYTES_MAX && REPLY_BYTES_MAX <= ANSWERS_BYTES_MAX);

/// One item for Redis: it counts as waiting until its fate is known. The publisher serves items in order; only a reader,
/// with all commands before it, overtakes waiting publishes.
pub(crate) enum Outgoing {
    Publish(Publish),
    Run(Box<Run>),
}

impl Outgoing {
    /// Bytes that it is charged for against [`OUTBOX_BYTES_MAX`].
    pub(crate) fn weight(&self) -> usize {
        match self {
            Outgoing::Publish(publish) => publish.weight(),
            Outgoing::Run(run) => run.weight(),
        }
    }

    /// The settings' connection version when it was queued (`threads/settings.rs`): an item of newer settings must not
    /// go out on a connection made for older ones.
    pub(crate) fn generation(&self) -> u64 {
        match self {
            Outgoing::Publish(publish) => publish.head.generation,
            Outgoing::Run(run) => run.generation,
        }
    }
}

/// One event on its way to Redis.
pub(crate) struct Publish {
    /// The bytes of all events of its chunk. They are freed when the last of these events has its fate.
    block: Arc<[u8]>,
    /// `channel … | payload …` in the block, the prefix included.
    start: usize,
    head: Head,
    /// It was written once: Redis may have it.
    pub(crate) written: bool,
}

/// The part of an event that is not text.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) channel_bytes: usize,
    /// Bytes of the channel and the payload.
    pub(crate) bytes: usize,
    /// The version of the routes whose subscriptions must stand before this is sent, so that a script that calls `On`
    /// and then `Emit` hears its own event.
    pub(crate) routes_version: u64,
    /// It carries a number by which receivers deduplicate: it may be sent again when its answer is lost.
    pub(crate) repeatable: bool,
    pub(crate) emitted: Instant,
    /// See [`Outgoing::generation`].
    pub(crate) generation: u64,
}

impl Publish {
    /// The channel on the wire, and the payload.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        let own = self.block.get(self.start..self.start + self.head.bytes).unwrap_or_default();
        own.split_at_checked(self.head.channel_bytes).unwrap_or_default()
    }

    /// Bytes that it is charged for.
    pub(crate) fn weight(&self) -> usize {
        self.head.bytes + ITEM_OVERHEAD_BYTES
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }
}

/// An event that is to be queued, still in the caller's memory.
pub(crate) struct Leaving<'a> {
    pub(crate) prefix: &'a [u8],
    pub(crate) channel: &'a [u8],
    /// The payload in pieces: the caller's JSON, and the identity that is put into it.
    pub(crate) payload: [&'a [u8]; 6],
    pub(crate) routes_version: u64,
    pub(crate) repeatable: bool,
    pub(crate) emitted: Instant,
}

/// One queued item. The bytes of an event are in its chunk, behind those of the event before it.
enum Queued {
    Event(Head),
    Run(Box<Run>),
}

/// A part of the queue: items in order, and the bytes of all its events in one block.
#[derive(Default)]
struct Chunk {
    items: VecDeque<Queued>,
    bytes: Buffer,
}

/// Bytes of events after which the next chunk begins. An event that is larger has a chunk of its own.
const CHUNK_BYTES: usize = 64 * 1024;
/// Items after which the next chunk begins.
const CHUNK_ITEMS: usize = 512;

impl Chunk {
    /// Whether another event of this length needs the next chunk.
    fn is_full(&self, bytes: usize) -> bool {
        self.items.len() >= CHUNK_ITEMS || !self.bytes.is_empty() && self.bytes.len() + bytes > CHUNK_BYTES
    }

    /// Forgets the content and keeps memory for the next one, but not that of a huge event.
    fn emptied(mut self) -> Chunk {
        self.items.clear();
        self.bytes.clear();
        self.bytes.shrink_to(CHUNK_BYTES);
        self
    }
}

/// The producers' side: everything that the publisher has not taken.
#[derive(Default)]
struct Filling {
    full: VecDeque<Chunk>,
    open: Chunk,
}

/// The publisher's side: what it took with the last swap and has not handed out.
#[derive(Default)]
struct Taken {
    chunks: VecDeque<Chunk>,
    /// Items of the chunk that is handed out.
    items: VecDeque<Queued>,
    /// The bytes of its events, and where those of the next event begin.
    block: Arc<[u8]>,
    at: usize,
    /// An empty chunk that goes back to the producers with the next swap.
    spare: Chunk,
}

impl Taken {
    fn next(&mut self) -> Option<Outgoing> {
        loop {
            match self.items.pop_front() {
                Some(Queued::Run(run)) => return Some(Outgoing::Run(run)),
                Some(Queued::Event(head)) => {
                    let (block, start) = (Arc::clone(&self.block), self.at);
                    self.at += head.bytes;
                    return Some(Outgoing::Publish(Publish { block, start, head, written: false }));
                }
                None => {
                    let Some(mut chunk) = self.chunks.pop_front() else {
                        if !self.block.is_empty() {
                            self.block = Arc::default();
                        }
                        return None;
                    };
                    // A copy of the exact size: the chunk's own memory is larger, and is filled again at once.
                    self.block = Arc::from(&*chunk.bytes);
                    self.at = 0;
                    std::mem::swap(&mut self.items, &mut chunk.items);
                    self.spare = chunk.emptied();
                }
            }
        }
    }
}

/// The queue and the count of everything that waits for Redis.
pub struct Outbox {
    filling: Mutex<Filling>,
    /// Only `rt-publisher` locks it.
    taken: Mutex<Taken>,
    /// Rung for each item and each wake-up.
    bell: Bell,
    /// Items and their bytes, since the start: accepted ones, written under the lock of `filling`, and those that have
    /// their fate. The difference waits. Wake-ups do not count.
    accepted: Tally,
    settled: Tally,
    /// A wake-up: the publisher is to look at something other than the queue.
    wake_waits: AtomicBool,
    /// A reader is in the queue.
    reader_waits: AtomicBool,
    /// The connection version of the settings in force.
    generation: AtomicU64,
    /// Signalled when nothing waits any more. The count itself is an atomic, so the lock guards only the wait.
    empty: (Mutex<()>, Condvar),
    /// The game thread waits until everything is answered.
    is_hurried: AtomicBool,
    stats: Arc<Stats>,
}

/// Items and bytes that passed one place. Both only grow, and wrap around.
#[derive(Default)]
struct Tally {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

impl Outbox {
    pub(crate) fn new(stats: Arc<Stats>) -> Outbox {
        Outbox {
            filling: Mutex::default(),
            taken: Mutex::default(),
            bell: Bell::default(),
            accepted: Tally::default(),
            settled: Tally::default(),
            wake_waits: AtomicBool::new(false),
            reader_waits: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            empty: Default::default(),
            is_hurried: AtomicBool::new(false),
            stats,
        }
    }

    /// Accepts the event, or refuses it when the outbox is full. Never waits for room. Emit's hot path.
    #[optimize(speed)]
    pub(crate) fn publish(&self, event: &Leaving<'_>) -> Result<(), QueueFull> {
        let channel_bytes = event.prefix.len() + event.channel.len();
        let bytes = event.payload.iter().fold(channel_bytes, |sum, piece| sum + piece.len());
        let Leaving { routes_version, repeatable, emitted, .. } = *event;
        let generation = self.generation.load(Ordering::Acquire);
        let head = Head { channel_bytes, bytes, routes_version, repeatable, emitted, generation };
        let mut filling = lock(&self.filling);
        self.admit(bytes + ITEM_OVERHEAD_BYTES)?;
        if filling.open.is_full(bytes) {
            begin_chunk(&mut filling);
        }
        let open = &mut filling.open;
        open.bytes.push_bytes(event.prefix);
        open.bytes.push_bytes(event.channel);
        for piece in event.payload {
            if !piece.is_empty() {
                open.bytes.push_bytes(piece);
            }
        }
        open.items.push_back(Queued::Event(head));
        drop(filling);
        self.ring();
        Ok(())
    }

    /// Accepts the command, or refuses it when the outbox is full. Never waits for room.
    pub(crate) fn push(&self, mut run: Box<Run>) -> Result<(), QueueFull> {
        run.generation = self.generation.load(Ordering::Acquire);
        let mut filling = lock(&self.filling);
        self.admit(run.weight())?;
        if filling.open.is_full(0) {
            begin_chunk(&mut filling);
        }
        filling.open.items.push_back(Queued::Run(run));
        drop(filling);
        self.ring();
        Ok(())
    }

    /// Counts an item of this weight as accepted, or as refused. To be called under the lock of `filling`, so that one
    /// thread at a time adds to the counts.
    #[inline]
    fn admit(&self, weight: usize) -> Result<(), QueueFull> {
        self.stats.outbox.offered.add_alone(1);
        let (waiting, bytes) = (self.waiting(), self.waiting_bytes());
        if waiting >= OUTBOX_JOBS_MAX || bytes + weight > OUTBOX_BYTES_MAX {
            self.stats.outbox.dropped.queue_full.add(1);
            return Err(QueueFull { waiting });
        }
        let Tally { items, bytes } = &self.accepted;
        bytes.store(bytes.load(Ordering::Relaxed).wrapping_add(weight), Ordering::Release);
        items.store(items.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// To be called after the lock of `filling`: a publisher that has not seen the item took that lock before, and had
    /// begun to wait for the bell before that, so that the load below sees it.
    #[inline]
    fn ring(&self) {
        if !self.bell.is_rung() {
            self.bell.ring();
        }
    }

    /// The settings ask for another connection: items pushed from now on belong to the new settings.
    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// As [`Outbox::push`], for a reader: a command whose answer the game thread waits for.
    pub(crate) fn push_reader(&self, run: Run) -> Result<(), QueueFull> {
        self.push(Box::new(run))?;
        // Marked after the push: the publisher, when it sees the mark, finds the reader in the queue.
        self.mark_reader();
        Ok(())
    }

    /// Marks that a reader waits. Also called by the publisher, when it took a reader out of the queue that has to wait
    /// on.
    pub(crate) fn mark_reader(&self) {
        self.reader_waits.store(true, Ordering::Release);
    }

    /// Whether a reader waits in the queue.
    pub(crate) fn has_reader(&self) -> bool {
        self.reader_waits.load(Ordering::Acquire)
    }

    /// Takes the mark back; to be called before the queue is emptied, or a reader that comes between is missed.
    pub(crate) fn take_reader(&self) -> bool {
        self.has_reader() && self.reader_waits.swap(false, Ordering::AcqRel)
    }

    /// Items accepted and not yet answered.
    #[inline]
    pub fn waiting(&self) -> usize {
        // The settled ones first: in the other order more could be settled than were accepted.
        let settled = self.settled.items.load(Ordering::Acquire);
        self.accepted.items.load(Ordering::Acquire).wrapping_sub(settled)
    }

    /// Bytes of the items accepted and not yet answered.
    #[inline]
    fn waiting_bytes(&self) -> usize {
        let settled = self.settled.bytes.load(Ordering::Acquire);
        self.accepted.bytes.load(Ordering::Acquire).wrapping_sub(settled)
    }

    /// Waits until Redis has answered everything, or until the deadline. True if it has.
    pub(crate) fn wait_empty(&self, deadline: Instant) -> bool {
        self.is_hurried.store(true, Ordering::Release);
        let guard = lock(&self.empty.0);
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = self.empty.1.wait_timeout_while(guard, left, |()| self.waiting() > 0);
        self.is_hurried.store(false, Ordering::Release);
        !wait.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Whether the game thread waits in [`Outbox::wait_empty`].
    pub(crate) fn is_hurried(&self) -> bool {
        self.is_hurried.load(Ordering::Acquire)
    }

    /// Wakes the publisher: the routes or the settings changed, or it is time to stop.
    pub(crate) fn wake(&self) {
        self.wake_waits.store(true, Ordering::Release);
        self.bell.ring();
    }

    /// The publisher's side: takes the oldest item, if there is one.
    pub(crate) fn take(&self) -> Option<Outgoing> {
        let mut taken = lock(&self.taken);
        if let Some(item) = taken.next() {
            return Some(item);
        }
        let mut filling = lock(&self.filling);
        if filling.open.items.is_empty() {
            return None;
        }
        let spare = std::mem::take(&mut taken.spare);
        let open = std::mem::replace(&mut filling.open, spare);
        filling.full.push_back(open);
        std::mem::swap(&mut filling.full, &mut taken.chunks);
        drop(filling);
        taken.next()
    }

    /// The publisher's side: takes the oldest item. Waits for one, at most `patience` or until a wake-up.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Outgoing> {
        let deadline = Instant::now() + patience;
        loop {
            // Reset before the publisher looks for changes: a change after that is another wake-up.
            let is_woken = self.wake_waits.swap(false, Ordering::AcqRel);
            let item = self.take();
            if item.is_some() || is_woken || patience.is_zero() || !self.bell.wait(deadline) {
                return item.or_else(|| self.take());
            }
        }
    }

    /// The publisher's side: `count` items of `weight` bytes in all have their fate and wait no longer.
    pub(crate) fn settle(&self, count: usize, weight: usize) {
        self.settled.bytes.fetch_add(weight, Ordering::Release);
        self.settled.items.fetch_add(count, Ordering::AcqRel);
        if self.waiting() == 0 {
            drop(lock(&self.empty.0));
            self.empty.1.notify_all();
        }
    }
}

/// Puts the open chunk behind the full ones and begins the next.
#[cold]
fn begin_chunk(filling: &mut Filling) {
    let next = Chunk { items: VecDeque::with_capacity(CHUNK_ITEMS), bytes: Buffer::with_memory(CHUNK_BYTES) };
    filling.full.push_back(std::mem::replace(&mut filling.open, next));
}

/// The outbox is full: `waiting` items wait for Redis.
#[derive(Debug)]
pub(crate) struct QueueFull {
    pub(crate) waiting: usize,
}

#[cfg(test)]
mod tests;
