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
use crate::json::bytes::Bytes;
use crate::redis::REPLY_BYTES_MAX;
use crate::redis::cluster::LineNumber;
use crate::redis::counter::Form;
use crate::stats::Stats;
use crate::threads::chunks::{CHUNK_BYTES, Chunk, Chunks, Passed, Spares};
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

    /// Whether it goes to a node of a cluster once, behind ASKING.
    pub(crate) fn is_asked(&self) -> bool {
        match self {
            Outgoing::Publish(publish) => publish.asked_at.is_some(),
            Outgoing::Run(run) => run.asked_at.is_some(),
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
    /// The bytes of all events of its chunk, until the last of these events has its fate.
    block: Arc<Bytes>,
    /// `channel … | payload …` in the block, the prefix included.
    start: usize,
    head: PublishHead,
    /// It was written once: Redis may have it.
    pub(crate) written: bool,
    /// The form in which it was last written as a call of the script that keeps it (`redis/kept.rs`); `None`: PUBLISH.
    pub(crate) form: Option<Form>,
    /// For an event that is kept in a cluster: the node that it goes to once, behind ASKING, and how often a node has
    /// redirected it.
    pub(crate) asked_at: Option<LineNumber>,
    pub(crate) redirects: u8,
    /// Redis keeps it or refused to, and did not publish it: PUBLISH alone is left to do.
    pub(crate) publish_only: bool,
}

/// The part of an event that is not text.
#[derive(Clone, Copy)]
pub(crate) struct PublishHead {
    pub(crate) channel_bytes: usize,
    /// Bytes of the channel and the payload.
    pub(crate) bytes: usize,
    /// The version of the routes whose subscriptions must stand before this is sent, so that a script that calls `On`
    /// and then `Emit` hears its own event.
    pub(crate) routes_version: u64,
    /// It carries a number by which receivers deduplicate: it may be sent again when its answer is lost.
    pub(crate) repeatable: bool,
    /// Bytes of the prefix, with which the channel begins: the settings may have another one by now.
    pub(crate) prefix_bytes: u16,
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

    pub(crate) fn head(&self) -> &PublishHead {
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
enum QueuedItem {
    Event(PublishHead),
    Run(Box<Run>),
}

/// Blocks whose memory is used again: as many as are filled, taken and in flight at full speed.
const BLOCKS_KEPT: usize = 4;

/// The publisher's side: what it took with the last swap and has not handed out.
#[derive(Default)]
struct TakenItems {
    chunks: VecDeque<Chunk<QueuedItem>>,
    /// Items of the chunk that is handed out.
    items: VecDeque<QueuedItem>,
    /// The bytes of its events, and where those of the next event begin.
    block: Arc<Bytes>,
    at: usize,
    /// Blocks of the last chunks, to be used again once their events have their fate.
    blocks: Vec<Arc<Bytes>>,
    spares: Spares<QueuedItem>,
}

impl TakenItems {
    fn next(&mut self) -> Option<Outgoing> {
        loop {
            match self.items.pop_front() {
                Some(QueuedItem::Run(run)) => return Some(Outgoing::Run(run)),
                Some(QueuedItem::Event(head)) => {
                    let (block, start) = (Arc::clone(&self.block), self.at);
                    self.at += head.bytes;
                    let (written, form, asked_at, redirects, publish_only) = (false, None, None, 0, false);
                    let publish = Publish { block, start, head, written, form, asked_at, redirects, publish_only };
                    return Some(Outgoing::Publish(publish));
                }
                None => {
                    let Some(mut chunk) = self.chunks.pop_front() else {
                        if !self.block.is_empty() {
                            self.block = Arc::default();
                        }
                        return None;
                    };
                    self.block = self.stow(&mut chunk.bytes);
                    self.at = 0;
                    std::mem::swap(&mut self.items, &mut chunk.items);
                    self.spares.keep(chunk.items, chunk.bytes);
                }
            }
        }
    }

    /// Puts the bytes of a chunk into a block of their own, and leaves other memory in their place: that of a block whose
    /// events have their fate. If there is none, the block is a copy of the exact size.
    fn stow(&mut self, bytes: &mut Bytes) -> Arc<Bytes> {
        if bytes.memory() <= CHUNK_BYTES {
            for block in &mut self.blocks {
                if let Some(free) = Arc::get_mut(block) {
                    free.clear();
                    std::mem::swap(free, bytes);
                    return Arc::clone(block);
                }
            }
            if self.blocks.len() < BLOCKS_KEPT {
                let block = Arc::new(std::mem::take(bytes));
                self.blocks.push(Arc::clone(&block));
                return block;
            }
        }
        Arc::new(Bytes::of(bytes))
    }
}

/// The queue and the count of everything that waits for Redis.
pub struct Outbox {
    filling: Mutex<Chunks<QueuedItem>>,
    /// Only `rt-publisher` locks it.
    taken: Mutex<TakenItems>,
    /// Rung for each item and each wake-up.
    bell: Bell,
    /// Items and their bytes, since the start: accepted ones, written under the lock of `filling`, and those that have
    /// their fate. The difference waits. Wake-ups do not count.
    accepted: Passed,
    settled: Passed,
    /// Commands in the queue.
    commands: AtomicUsize,
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

impl Outbox {
    pub(crate) fn new(stats: Arc<Stats>) -> Outbox {
        Outbox {
            filling: Mutex::default(),
            taken: Mutex::default(),
            bell: Bell::default(),
            accepted: Passed::default(),
            settled: Passed::default(),
            commands: AtomicUsize::new(0),
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
        // The cast is safe: a prefix is far shorter.
        let prefix_bytes = event.prefix.len() as u16;
        let head = PublishHead { channel_bytes, bytes, routes_version, repeatable, prefix_bytes, emitted, generation };
        let mut filling = lock(&self.filling);
        self.admit(bytes + ITEM_OVERHEAD_BYTES)?;
        let [one, two, three, four, five, six] = event.payload;
        let pieces = [event.prefix, event.channel, one, two, three, four, five, six];
        filling.push(QueuedItem::Event(head), bytes, pieces);
        drop(filling);
        self.ring();
        Ok(())
    }

    /// Accepts the command, or refuses it when the outbox is full. Never waits for room.
    pub(crate) fn push(&self, mut run: Box<Run>) -> Result<(), QueueFull> {
        run.generation = self.generation.load(Ordering::Acquire);
        let mut filling = lock(&self.filling);
        self.admit(run.weight())?;
        self.commands.fetch_add(1, Ordering::AcqRel);
        filling.push(QueuedItem::Run(run), 0, []);
        drop(filling);
        self.ring();
        Ok(())
    }

    /// Counts an item of this weight as accepted, or as refused. To be called under the lock of `filling`, so that one
    /// thread at a time adds to the counts.
    #[inline]
    fn admit(&self, weight: usize) -> Result<(), QueueFull> {
        self.stats.outbox.offered.add_alone(1);
        let (waiting, bytes) = self.accepted.between(&self.settled);
        if waiting >= OUTBOX_JOBS_MAX || bytes + weight > OUTBOX_BYTES_MAX {
            self.stats.outbox.dropped.queue_full.add(1);
            return Err(QueueFull { waiting });
        }
        self.accepted.add(1, weight);
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

    /// Counts a read that the game thread sends itself (`direct.rs`) as accepted.
    pub(crate) fn count_in(&self, weight: usize) {
        let filling = lock(&self.filling);
        self.stats.outbox.offered.add_alone(1);
        self.accepted.add(1, weight);
        drop(filling);
    }

    /// Whether a command waits in the queue: a read that does not go through the queue would overtake it.
    pub(crate) fn has_commands(&self) -> bool {
        self.commands.load(Ordering::Acquire) > 0
    }

    /// Whether items pushed now may go out on a connection that was made for these settings.
    pub(crate) fn is_of_generation(&self, seen: u64) -> bool {
        self.generation.load(Ordering::Acquire) <= seen
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
    pub fn waiting(&self) -> usize {
        self.accepted.between(&self.settled).0
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
        let item = match taken.next() {
            Some(item) => item,
            None => {
                let TakenItems { chunks, spares, .. } = &mut *taken;
                lock(&self.filling).take_all(chunks, spares);
                taken.next()?
            }
        };
        if matches!(item, Outgoing::Run(_)) {
            self.commands.fetch_sub(1, Ordering::AcqRel);
        }
        Some(item)
    }

    /// The publisher's side: whether there is nothing to take.
    fn is_empty(&self) -> bool {
        let taken = lock(&self.taken);
        taken.items.is_empty() && taken.chunks.is_empty() && lock(&self.filling).is_empty()
    }

    /// The publisher's side: waits for an item, at most `patience` or until a wake-up.
    pub(crate) fn wait(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            // Reset before the publisher looks for changes: a change after that is another wake-up.
            let is_woken = self.wake_waits.swap(false, Ordering::AcqRel);
            if is_woken || !self.is_empty() || patience.is_zero() || !self.bell.wait(deadline) {
                return;
            }
        }
    }

    /// The publisher's side: `count` items of `weight` bytes in all have their fate and wait no longer.
    pub(crate) fn settle(&self, count: usize, weight: usize) {
        self.settled.add(count, weight);
        if self.waiting() == 0 {
            drop(lock(&self.empty.0));
            self.empty.1.notify_all();
        }
    }
}

/// The outbox is full: `waiting` items wait for Redis.
#[derive(Debug)]
pub(crate) struct QueueFull {
    pub(crate) waiting: usize,
}

#[cfg(test)]
pub(super) mod tests;
