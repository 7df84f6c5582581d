//! The fixed OS threads and the queues between them and the game thread.
//! [`Shared`] is all they have in common; each queue has its bounds in [`crate::config`].
//! The game thread's side never blocks: a push is taken or refused at once. A panic ends no thread for good:
//! it is counted, logged and the thread's loop starts again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::config::{
    Config, INBOX_BYTES_MAX, INBOX_EVENTS_MAX, ITEM_OVERHEAD_BYTES, OUTBOX_BYTES_MAX, OUTBOX_JOBS_MAX, SETTLE_MAX,
};
use crate::event::Event;
use crate::redis::backoff::Backoff;
use crate::routes::Routes;
use crate::stats::Stats;

pub mod publisher;
pub mod subscriber;

/// Locks although a thread panicked while it held the lock: what these locks guard is whole between any two
/// statements, and the panic was counted where it was caught.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the game thread and the workers share for the life of the process.
pub struct Shared {
    pub config: Config,
    pub stats: Arc<Stats>,
    pub outbox: Outbox,
    pub inbox: Inbox,
    pub published: Published,
    pub settled: Settled,
    pub subscriptions: subscriber::Subscriptions,
    pub publisher_link: Link,
    pub subscriber_link: Link,
    stopping: Stopping,
}

impl Shared {
    /// `attention` is raised whenever something waits for the pump.
    pub fn new(config: Config, stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Shared {
        Shared {
            outbox: Outbox::new(Arc::clone(&stats)),
            inbox: Inbox::new(Arc::clone(&stats), attention),
            published: Published::default(),
            settled: Settled::default(),
            subscriptions: subscriber::Subscriptions::default(),
            publisher_link: Link::default(),
            subscriber_link: Link::default(),
            stopping: Stopping::default(),
            config,
            stats,
        }
    }

    /// Publishes a new snapshot and has the publisher thread ask Redis for the difference.
    pub fn publish_routes(&self, routes: Routes) -> u64 {
        let version = self.published.replace(routes);
        // While there is no subscribed connection nothing can be asked, and no publish waits for it any longer.
        if self.subscriber_link.is_ready() {
            self.settled.asked_now();
        }
        self.outbox.wake();
        version
    }

    pub fn is_stopping(&self) -> bool {
        *lock(&self.stopping.flag)
    }

    /// Has every worker end as soon as it can; [`Workers::join_by`] waits for them.
    pub fn stop(&self) {
        *lock(&self.stopping.flag) = true;
        self.stopping.changed.notify_all();
        self.settled.changed.notify_all();
        self.outbox.wake();
        self.subscriptions.disconnect();
    }

    /// Waits out a backoff. True if the worker is to stop.
    fn pause(&self, duration: Duration) -> bool {
        let flag = lock(&self.stopping.flag);
        let wait = self.stopping.changed.wait_timeout_while(flag, duration, |stopping| !*stopping);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[derive(Default)]
struct Stopping {
    flag: Mutex<bool>,
    changed: Condvar,
}

// ---- outbox: game thread -> rt-publisher ---------------------------------------------------------------------

/// What the publisher can be asked, served strictly in order.
pub enum Job {
    Publish(Publish),
    /// Look again: the routes changed, or it is time to stop.
    Wake,
}

/// One event on its way to Redis.
pub struct Publish {
    /// `channel … | payload …` in one block, the prefix included.
    block: Box<[u8]>,
    channel_bytes: usize,
    /// The snapshot whose subscriptions must stand before this is sent: `On`, then `Emit`, is heard.
    routes_version: u64,
}

impl Publish {
    /// Copies the parts into one block.
    pub fn new(prefix: &[u8], channel: &[u8], payload: &[u8], routes_version: u64) -> Publish {
        let mut block = Vec::with_capacity(prefix.len() + channel.len() + payload.len());
        block.extend_from_slice(prefix);
        block.extend_from_slice(channel);
        block.extend_from_slice(payload);
        Publish { block: block.into_boxed_slice(), channel_bytes: prefix.len() + channel.len(), routes_version }
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.block.split_at_checked(self.channel_bytes).unwrap_or_default()
    }

    /// What it takes of the queue's bound.
    fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }
}

/// Publishes waiting for Redis, until it has answered each. One producer: the game thread.
pub struct Outbox {
    tx: Sender<Job>,
    rx: Receiver<Job>,
    /// Of everything waiting, in the queue and taken.
    bytes: AtomicUsize,
    /// Publishes accepted and not answered, in the queue and taken. Wake-ups do not count.
    waiting: AtomicUsize,
    wake_waits: AtomicBool,
    empty: (Mutex<()>, Condvar),
    stats: Arc<Stats>,
}

impl Outbox {
    fn new(stats: Arc<Stats>) -> Outbox {
        // One place more than the bound: a wake-up always fits.
        let (tx, rx) = crossbeam_channel::bounded(OUTBOX_JOBS_MAX + 1);
        Outbox {
            tx,
            rx,
            bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wake_waits: AtomicBool::new(false),
            empty: Default::default(),
            stats,
        }
    }

    /// Takes the publish, or refuses it when full. Never waits.
    pub fn push(&self, publish: Publish) -> Result<(), QueueFull> {
        self.stats.outbox.offered.add(1);
        let weight = publish.weight();
        let full = self.waiting() >= OUTBOX_JOBS_MAX || self.bytes.load(Ordering::Relaxed) + weight > OUTBOX_BYTES_MAX;
        if !full {
            // Before the push: the publisher may answer for it at once.
            self.bytes.fetch_add(weight, Ordering::Relaxed);
            self.waiting.fetch_add(1, Ordering::AcqRel);
            if self.tx.try_send(Job::Publish(publish)).is_ok() {
                return Ok(());
            }
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.stats.outbox.dropped.queue_full.add(1);
        Err(QueueFull { waiting: self.waiting() })
    }

    /// Publishes accepted and not yet answered.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits until Redis has answered everything, or until the deadline. True if it has.
    pub fn wait_empty(&self, deadline: Instant) -> bool {
        let guard = lock(&self.empty.0);
        let left = deadline.saturating_duration_since(Instant::now());
        let wait = self.empty.1.wait_timeout_while(guard, left, |()| self.waiting() > 0);
        !wait.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Puts one wake-up into the queue, unless one is there already.
    fn wake(&self) {
        if self.wake_waits.swap(true, Ordering::AcqRel) {
            return;
        }
        match self.tx.try_send(Job::Wake) {
            // Never full: the queue has a place for it beyond its bound.
            Ok(()) | Err(TrySendError::Full(_)) | Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// The publisher's side: the next job within `patience`.
    fn take(&self, patience: Duration) -> Option<Job> {
        let job = match patience.is_zero() {
            true => self.rx.try_recv().ok(),
            false => self.rx.recv_timeout(patience).ok(),
        };
        if let Some(Job::Wake) = job {
            // Before its reader looks at what changed: a change after that wakes it again.
            self.wake_waits.store(false, Ordering::Release);
        }
        job
    }

    /// The publisher's side: the fate of `count` taken publishes of `weight` bytes in all is counted.
    fn settle(&self, count: usize, weight: usize) {
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
        if self.waiting.fetch_sub(count, Ordering::AcqRel) == count {
            drop(lock(&self.empty.0));
            self.empty.1.notify_all();
        }
    }
}

/// The outbox took no more.
#[derive(Debug)]
pub struct QueueFull {
    pub waiting: usize,
}

// ---- inbox: rt-subscriber -> game thread ---------------------------------------------------------------------

/// Events waiting for Lua. One producer, one consumer; when full the oldest makes room.
pub struct Inbox {
    tx: Sender<Event>,
    rx: Receiver<Event>,
    bytes: AtomicUsize,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Inbox {
    fn new(stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Inbox {
        let (tx, rx) = crossbeam_channel::bounded(INBOX_EVENTS_MAX);
        Inbox { tx, rx, bytes: AtomicUsize::new(0), attention, stats }
    }

    /// Takes the event; drops as many of the oldest as it needs the room of, counted.
    pub fn push(&self, mut event: Event) {
        self.stats.inbox.offered.add(1);
        let weight = event.weight();
        while self.bytes.load(Ordering::Relaxed) + weight > INBOX_BYTES_MAX {
            if self.pop().is_none() {
                break; // An event fits an empty queue (asserted in config.rs).
            }
            self.stats.inbox.dropped.overflow.add(1);
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        while let Err(refusal) = self.tx.try_send(event) {
            event = refusal.into_inner();
            if self.pop().is_some() {
                self.stats.inbox.dropped.overflow.add(1);
            }
        }
        self.raise_attention();
    }

    /// The oldest event.
    pub fn pop(&self) -> Option<Event> {
        let event = self.rx.try_recv().ok()?;
        self.bytes.fetch_sub(event.weight(), Ordering::Relaxed);
        Some(event)
    }

    pub fn waiting(&self) -> usize {
        self.rx.len()
    }

    /// Takes back the flag before the pump looks at what waits: what comes later raises it again.
    pub fn take_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) && self.attention.swap(false, Ordering::AcqRel)
    }

    /// Has the pump look at the next tick.
    pub fn raise_attention(&self) {
        // Always a store: testing first could read the old flag before the push above is visible to the pump.
        self.attention.store(true, Ordering::Release);
    }
}

// ---- what both links and the game thread look at -------------------------------------------------------------

/// The newest routes and their number.
#[derive(Default)]
pub struct Published {
    current: Mutex<(u64, Arc<Routes>)>,
    version: AtomicU64,
}

impl Published {
    fn replace(&self, routes: Routes) -> u64 {
        let mut current = lock(&self.current);
        *current = (current.0 + 1, Arc::new(routes));
        self.version.store(current.0, Ordering::Release);
        current.0
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn current(&self) -> (u64, Arc<Routes>) {
        lock(&self.current).clone()
    }
}

/// Up to which routes Redis has acknowledged every subscription. The publisher waits here, a bounded time, so that a
/// script hears what it emits right after `On`.
#[derive(Default)]
pub struct Settled {
    version: AtomicU64,
    /// When something was last asked for, or lost.
    since: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Settled {
    fn asked_now(&self) {
        *lock(&self.since) = Some(Instant::now());
    }

    /// Every subscription of this version stands.
    fn reached(&self, version: u64) {
        let since = lock(&self.since);
        self.version.fetch_max(version, Ordering::AcqRel);
        drop(since);
        self.changed.notify_all();
    }

    /// The subscribed connection is gone, and all subscriptions with it.
    fn lost(&self) {
        let mut since = lock(&self.since);
        self.version.store(0, Ordering::Release);
        *since = Some(Instant::now());
    }

    pub fn is_reached(&self, version: u64) -> bool {
        self.version.load(Ordering::Acquire) >= version
    }

    /// Waits until the subscriptions of `version` stand: at most [`SETTLE_MAX`] after they were asked for, or after
    /// `ready` if that is later, or until `give_up`.
    fn wait(&self, version: u64, ready: Instant, give_up: impl Fn() -> bool) {
        let mut since = lock(&self.since);
        // Fixed here: what is asked for meanwhile must not make this publish wait longer.
        let deadline = since.map_or(ready, |since| since.max(ready)) + SETTLE_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.is_reached(version) || left.is_zero() || give_up() {
                return;
            }
            since = self.changed.wait_timeout(since, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How one connection stands, for `Status()`.
#[derive(Default)]
pub struct Link {
    ready: AtomicBool,
    trouble: Mutex<String>,
}

impl Link {
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Why it is not ready, as far as known.
    pub fn trouble(&self) -> String {
        lock(&self.trouble).clone()
    }

    fn up(&self) {
        lock(&self.trouble).clear();
        self.ready.store(true, Ordering::Release);
    }

    /// True if this is news: another reason than before, or the end of a ready connection.
    fn down(&self, reason: &str) -> bool {
        let was_ready = self.ready.swap(false, Ordering::AcqRel);
        let mut trouble = lock(&self.trouble);
        let news = was_ready || *trouble != reason;
        reason.clone_into(&mut trouble);
        news
    }
}

// ---- threads -------------------------------------------------------------------------------------------------

/// The running workers.
pub struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts every worker of the process.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Workers> {
        let publisher = spawn("rt-publisher", shared, publisher::run)?;
        let subscriber = spawn("rt-subscriber", shared, subscriber::run)?;
        Ok(Workers(vec![publisher, subscriber]))
    }

    /// Waits for the workers to end after [`Shared::stop`], until the deadline. The names of those that did not.
    pub fn join_by(self, deadline: Instant) -> Vec<String> {
        let mut late = Vec::new();
        for worker in self.0 {
            let name = worker.thread().name().unwrap_or("?").to_owned();
            while !worker.is_finished() && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(1));
            }
            // A panic was counted inside the thread.
            if !worker.is_finished() || worker.join().is_err() {
                late.push(name);
            }
        }
        late
    }
}

/// Runs `work` on a named thread until stop; a panic is counted and the work starts again after a pause.
fn spawn(name: &str, shared: &Arc<Shared>, work: fn(&Arc<Shared>)) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    // No recursion and no big frames in any worker: a small stack keeps the memory at rest small.
    thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(move || {
        let mut backoff = Backoff::default();
        while catch_unwind(AssertUnwindSafe(|| work(&shared))).is_err() {
            shared.stats.panics.add(1);
            if shared.pause(backoff.next_delay()) {
                break;
            }
        }
    })
}
