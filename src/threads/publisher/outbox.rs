//! The queue to `rt-publisher`: publishes, values and counters, in order, until their fate is known.
//! No producer waits here: a push is taken or refused at once. Bounded by count and bytes; what the publisher has
//! taken and Redis has not answered still counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::config::limits::{ITEM_OVERHEAD_BYTES, NAME_BYTES_MAX, OUTBOX_JOBS_MAX, PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX};
use crate::io::lock::lock;
use crate::redis::REPLY_BYTES_MAX;
use crate::stats::Stats;
use crate::threads::publisher::replies::ANSWERS_BYTES_MAX;
use crate::threads::publisher::run::Run;

/// The memory that jobs waiting for Redis may take, in bytes.
pub const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(PAYLOAD_BYTES_MAX + NAME_BYTES_MAX < OUTBOX_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX + NAME_BYTES_MAX < OUTBOX_BYTES_MAX && REPLY_BYTES_MAX <= ANSWERS_BYTES_MAX);

/// What the publisher can be asked, served in order; only a reader, with all commands before it, goes ahead of the
/// publishes that wait.
pub(crate) enum OutboxJob {
    Send(Outgoing),
    /// Look again: the routes or the settings changed, or it is time to stop.
    Wake,
}

/// One thing for Redis: each is one item of the queue until its fate is known.
pub(crate) enum Outgoing {
    Publish(Publish),
    Run(Box<Run>),
}

impl Outgoing {
    /// What it takes of the queue's bound.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Outgoing::Publish(publish) => publish.weight(),
            Outgoing::Run(run) => run.weight(),
        }
    }

    /// The settings under which it was queued, by their number of reconnections.
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
    /// `channel … | payload …` in one block, the prefix included.
    block: Box<[u8]>,
    channel_bytes: usize,
    /// The snapshot whose subscriptions must stand before this is sent: `On`, then `Emit`, is heard.
    pub(crate) routes_version: u64,
    /// Receivers know a repeat of it by its number: it may be written again when its answer is lost.
    pub(crate) repeatable: bool,
    /// Redis may have it.
    pub(crate) written: bool,
    pub(crate) emitted: Instant,
    /// The settings under which it was queued, by their number of reconnections.
    pub(crate) generation: u64,
}

impl Publish {
    /// Copies the parts into one block. `payload` is given in pieces.
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

    /// What it takes of the queue's bound.
    pub(crate) fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }
}

/// What waits for Redis, until it has answered each.
pub struct Outbox {
    tx: Sender<OutboxJob>,
    rx: Receiver<OutboxJob>,
    /// Of everything waiting, in the queue and taken.
    bytes: AtomicUsize,
    /// Items accepted and not answered, in the queue and taken. Wake-ups do not count.
    waiting: AtomicUsize,
    wake_waits: AtomicBool,
    /// A reader is in the queue.
    reader_waits: AtomicBool,
    /// The settings of the moment, by their number of reconnections.
    generation: AtomicU64,
    empty: (Mutex<()>, Condvar),
    stats: Arc<Stats>,
}

impl Outbox {
    pub(crate) fn new(stats: Arc<Stats>) -> Outbox {
        // Some places more than the bound: a wake-up always fits, and what two threads push at once.
        let (tx, rx) = crossbeam_channel::bounded(OUTBOX_JOBS_MAX + 8);
        Outbox {
            tx,
            rx,
            bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wake_waits: AtomicBool::new(false),
            reader_waits: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            empty: Default::default(),
            stats,
        }
    }

    /// Takes the item, or refuses it when full. Never waits.
    pub(crate) fn push(&self, mut item: Outgoing) -> Result<(), QueueFull> {
        self.stats.outbox.offered.add(1);
        item.set_generation(self.generation.load(Ordering::Acquire));
        let weight = item.weight();
        let full = self.waiting() >= OUTBOX_JOBS_MAX || self.bytes.load(Ordering::Relaxed) + weight > OUTBOX_BYTES_MAX;
        if !full {
            // Before the push: the publisher may answer for it at once.
            self.bytes.fetch_add(weight, Ordering::Relaxed);
            self.waiting.fetch_add(1, Ordering::AcqRel);
            if self.tx.try_send(OutboxJob::Send(item)).is_ok() {
                return Ok(());
            }
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.stats.outbox.dropped.queue_full.add(1);
        Err(QueueFull { waiting: self.waiting() })
    }

    /// What is pushed from now on belongs to other settings.
    pub(crate) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    /// As [`Outbox::push`], for a command that the game thread waits for.
    pub(crate) fn push_reader(&self, run: Run) -> Result<(), QueueFull> {
        self.push(Outgoing::Run(Box::new(run)))?;
        // After it is in the queue: who sees the mark finds it there.
        self.mark_reader();
        Ok(())
    }

    /// The reader that was taken out of the queue waits on.
    pub(crate) fn mark_reader(&self) {
        self.reader_waits.store(true, Ordering::Release);
    }

    /// Whether a reader waits in the queue.
    pub(crate) fn has_reader(&self) -> bool {
        self.reader_waits.load(Ordering::Acquire)
    }

    /// Takes the mark back, before the queue is emptied.
    pub(crate) fn take_reader(&self) -> bool {
        self.has_reader() && self.reader_waits.swap(false, Ordering::AcqRel)
    }

    /// Items accepted and not yet answered.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits until Redis has answered everything, or until the deadline. True if it has.
    pub(crate) fn wait_empty(&self, deadline: Instant) -> bool {
        let guard = lock(&self.empty.0);
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = self.empty.1.wait_timeout_while(guard, left, |()| self.waiting() > 0);
        !wait.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Puts one wake-up into the queue, unless one is there already.
    pub(crate) fn wake(&self) {
        if self.wake_waits.swap(true, Ordering::AcqRel) {
            return;
        }
        match self.tx.try_send(OutboxJob::Wake) {
            // Never full: the queue has a place for it beyond its bound.
            Ok(()) | Err(TrySendError::Full(_)) | Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// The publisher's side: the next job within `patience`.
    pub(crate) fn take(&self, patience: Duration) -> Option<OutboxJob> {
        let job = match patience.is_zero() {
            true => self.rx.try_recv().ok(),
            false => self.rx.recv_timeout(patience).ok(),
        };
        if let Some(OutboxJob::Wake) = job {
            // Before its reader looks at what changed: a change after that wakes it again.
            self.wake_waits.store(false, Ordering::Release);
        }
        job
    }

    /// The publisher's side: the fate of `count` taken items of `weight` bytes in all is counted.
    pub(crate) fn settle(&self, count: usize, weight: usize) {
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
        if self.waiting.fetch_sub(count, Ordering::AcqRel) == count {
            drop(lock(&self.empty.0));
            self.empty.1.notify_all();
        }
    }
}

/// The outbox took no more.
#[derive(Debug)]
pub(crate) struct QueueFull {
    pub(crate) waiting: usize,
}
