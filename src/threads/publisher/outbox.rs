//! The queue to `rt-publisher`: events, commands and counters, in order, until their fate is known. The game thread and
//! the other workers push, `rt-publisher` takes. No producer waits: the outbox accepts an item or refuses it at once.
//! Bounded by count and by bytes; items that the publisher has taken and Redis has not answered still count.
//!
//! ```text
//!   push ──▶ | queue | ──take──▶ the publisher's backlog ──settle──▶ out of the count
//!            └──────────── waiting(), bytes ────────────┘
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

use crate::config::limits::{ITEM_OVERHEAD_BYTES, NAME_BYTES_MAX, OUTBOX_JOBS_MAX, PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::io::channel::Bell;
use crate::io::lock::lock;
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
            Outgoing::Publish(publish) => publish.generation,
            Outgoing::Run(run) => run.generation,
        }
    }

    fn set_generation(&mut self, generation: u64) {
        match self {
            Outgoing::Publish(publish) => publish.generation = generation,
            Outgoing::Run(run) => run.generation = generation,
        }
    }
}

/// One event on its way to Redis.
pub(crate) struct Publish {
    /// `channel … | payload …` in one block, the prefix included: one allocation for each event.
    block: Box<[u8]>,
    channel_bytes: usize,
    /// The version of the routes whose subscriptions must stand before this is sent, so that a script that calls `On`
    /// and then `Emit` hears its own event.
    pub(crate) routes_version: u64,
    /// It carries a number by which receivers deduplicate: it may be sent again when its answer is lost.
    pub(crate) repeatable: bool,
    /// It was written once: Redis may have it.
    pub(crate) written: bool,
    pub(crate) emitted: Instant,
    /// See [`Outgoing::generation`].
    pub(crate) generation: u64,
}

impl Publish {
    /// Copies the parts into one block. `payload` comes in pieces: the caller's JSON, and the identity that is put into
    /// it.
    #[optimize(speed)]
    pub(crate) fn new(
        prefix: &[u8],
        channel: &[u8],
        payload: [&[u8]; 3],
        repeatable: bool,
        routes_version: u64,
        emitted: Instant,
    ) -> Publish {
        let [first, second, third] = payload;
        let block = [prefix, channel, first, second, third].concat().into_boxed_slice();
        let channel_bytes = prefix.len() + channel.len();
        Publish { block, channel_bytes, routes_version, repeatable, written: false, emitted, generation: 0 }
    }

    /// The channel on the wire, and the payload.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        self.block.split_at_checked(self.channel_bytes).unwrap_or_default()
    }

    /// Bytes that it is charged for.
    pub(crate) fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }
}

/// The queue and the count of everything that waits for Redis.
pub struct Outbox {
    queue: ArrayQueue<Outgoing>,
    /// Rung for each item and each wake-up.
    bell: Bell,
    /// Bytes of all waiting items, in the queue and taken.
    bytes: AtomicUsize,
    /// Commands in the queue.
    commands: AtomicUsize,
    /// Items accepted and not answered, in the queue and taken. Wake-ups do not count.
    waiting: AtomicUsize,
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
            // Some places more than the bound: it is checked before the push, so that several threads may pass the check
            // at once.
            queue: ArrayQueue::new(OUTBOX_JOBS_MAX + 8),
            bell: Bell::default(),
            bytes: AtomicUsize::new(0),
            commands: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wake_waits: AtomicBool::new(false),
            reader_waits: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            empty: Default::default(),
            is_hurried: AtomicBool::new(false),
            stats,
        }
    }

    /// Accepts the item, or refuses it when the outbox is full. Never waits.
    #[optimize(speed)]
    pub(crate) fn push(&self, mut item: Outgoing) -> Result<(), QueueFull> {
        self.stats.outbox.offered.add(1);
        item.set_generation(self.generation.load(Ordering::Acquire));
        let weight = item.weight();
        let full = self.waiting() >= OUTBOX_JOBS_MAX || self.bytes.load(Ordering::Relaxed) + weight > OUTBOX_BYTES_MAX;
        if !full {
            // Counted before the push: the publisher may settle the item at once.
            self.bytes.fetch_add(weight, Ordering::Relaxed);
            self.waiting.fetch_add(1, Ordering::AcqRel);
            let commands = usize::from(matches!(item, Outgoing::Run(_)));
            self.commands.fetch_add(commands, Ordering::AcqRel);
            if self.queue.push(item).is_ok() {
                self.bell.ring();
                return Ok(());
            }
            self.commands.fetch_sub(commands, Ordering::AcqRel);
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.stats.outbox.dropped.queue_full.add(1);
        Err(QueueFull { waiting: self.waiting() })
    }

    /// The settings ask for another connection: items pushed from now on belong to the new settings.
    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// Counts a read that the game thread sends itself (`direct.rs`) as accepted.
    pub(crate) fn count_in(&self, weight: usize) {
        self.stats.outbox.offered.add(1);
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::AcqRel);
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
        self.push(Outgoing::Run(Box::new(run)))?;
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
        self.waiting.load(Ordering::Acquire)
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
        let item = self.queue.pop()?;
        if matches!(item, Outgoing::Run(_)) {
            self.commands.fetch_sub(1, Ordering::AcqRel);
        }
        Some(item)
    }

    /// The publisher's side: waits for an item, at most `patience` or until a wake-up.
    pub(crate) fn wait(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            // Reset before the publisher looks for changes: a change after that is another wake-up.
            let is_woken = self.wake_waits.swap(false, Ordering::AcqRel);
            if is_woken || !self.queue.is_empty() || patience.is_zero() || !self.bell.wait(deadline) {
                return;
            }
        }
    }

    /// The publisher's side: `count` items of `weight` bytes in all have their fate and wait no longer.
    pub(crate) fn settle(&self, count: usize, weight: usize) {
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
        if self.waiting.fetch_sub(count, Ordering::AcqRel) == count {
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
