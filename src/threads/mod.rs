//! The fixed OS threads and what they share with the game thread.
//! [`Shared`] is all they have in common; each queue has its bounds in [`crate::config`].
//! The game thread's side never blocks. A panic ends no thread for good: it is counted, logged and the thread's loop
//! starts again after a pause.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::config::Config;
use crate::eventlog::disk::SystemDisk;
use crate::identity::{self, Ledger};
use crate::notice::Notice;
use crate::redis::backoff::Backoff;
use crate::redis::refusal::Class;
use crate::routes::Routes;
use crate::stats::Stats;
use crate::text_log::Causes;

pub mod actions;
pub mod collector;
pub mod dispatch;
pub mod files;
pub mod inbox;
pub mod links;
pub mod outbox;
pub mod publisher;
mod queue;
pub mod replies;
pub mod run;
pub mod selftest;
pub mod settings;
pub mod subscriber;
pub mod subscriptions;
pub mod webhooks;

use actions::Actions;
use collector::Collector;
use files::Files;
use inbox::{Inbox, Notices};
use links::{Limits, Link, Published, Settled, Trouble};
use outbox::Outbox;
use replies::Replies;
use selftest::Selftest;
use settings::Settings;
use subscriptions::Subscriptions;
use webhooks::Webhooks;

/// Locks although a thread panicked while it held the lock: what these locks guard is whole between any two
/// statements, and the panic was counted where it was caught.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the game thread and the workers share for the life of the process.
pub struct Shared {
    pub settings: Settings,
    /// The game's folder for data.
    pub data: PathBuf,
    /// This process, in the identity of its events.
    pub boot: u64,
    pub stats: Arc<Stats>,
    pub outbox: Outbox,
    pub inbox: Inbox,
    pub notices: Arc<Notices>,
    pub replies: Replies,
    pub selftest: Selftest,
    pub files: Files,
    pub published: Published,
    pub settled: Settled,
    pub subscriptions: Subscriptions,
    pub actions: Actions,
    pub collector: Collector,
    pub webhooks: Webhooks,
    pub publisher_link: Link,
    pub subscriber_link: Link,
    pub limits: Limits,
    /// What was seen of other servers' numbers. rt-subscriber holds it while it is connected.
    ledger: Mutex<Ledger>,
    /// What was last told to game hooks: both links are ready.
    told_connected: Mutex<bool>,
    /// What was said lately of actions that could not be made.
    unmade: Mutex<Causes>,
    /// The number of the last counter that was written by the script. It outlives the publisher's panics.
    count_number: AtomicU64,
    stopping: Stopping,
    jitter: RandomState,
}

/// One of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Publisher,
    Subscriber,
}

impl Shared {
    /// `data` is the game's folder for data; `attention` is raised whenever something waits for the pump.
    pub fn new(config: Config, data: PathBuf, stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Shared {
        let boot = identity::new_boot();
        let notices = Arc::new(Notices::new(Arc::clone(&stats), Arc::clone(&attention)));
        Shared {
            boot,
            outbox: Outbox::new(Arc::clone(&stats)),
            inbox: Inbox::new(Arc::clone(&stats), Arc::clone(&notices), Arc::clone(&attention)),
            collector: Collector::new(Arc::clone(&stats), Arc::clone(&notices), Arc::clone(&attention)),
            notices,
            replies: Replies::new(Arc::clone(&stats), attention),
            selftest: Selftest::default(),
            files: Files::new(data.clone(), Arc::new(SystemDisk), Arc::clone(&stats)),
            published: Published::default(),
            settled: Settled::default(),
            subscriptions: Subscriptions::default(),
            actions: Actions::new(Arc::clone(&stats)),
            webhooks: Webhooks::new(boot, &config, Arc::clone(&stats)),
            publisher_link: Link::default(),
            subscriber_link: Link::default(),
            limits: Limits::default(),
            ledger: Mutex::default(),
            told_connected: Mutex::default(),
            unmade: Mutex::default(),
            count_number: AtomicU64::new(0),
            stopping: Stopping::default(),
            jitter: RandomState::new(),
            data,
            settings: Settings::new(config),
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

    /// A Lua state attached: it is told if the connection stands, and nothing of the past.
    pub fn greet(&self) {
        let told = lock(&self.told_connected);
        self.notices.drop_past();
        if *told {
            self.notices.push(Notice::Connected);
        }
    }

    /// Puts other settings in force. What cannot change under a connection makes it end, once it has answered.
    pub fn reconfigure(&self, config: Config) {
        if self.settings.replace(config) {
            self.outbox.set_generation(self.settings.reconnects());
            // Waits and backoffs are over, and the subscriber's read.
            drop(lock(&self.stopping.flag));
            self.stopping.changed.notify_all();
            self.subscriptions.disconnect_before(self.settings.reconnects());
        }
        self.outbox.wake();
    }

    pub fn is_stopping(&self) -> bool {
        *lock(&self.stopping.flag)
    }

    /// Has every worker end as soon as it can; [`Workers::join_by`] waits for them.
    pub fn stop(&self) {
        *lock(&self.stopping.flag) = true;
        self.stopping.changed.notify_all();
        self.settled.wake();
        self.outbox.wake();
        self.actions.wake();
        self.webhooks.wake();
        self.subscriptions.disconnect();
        self.files.stop();
    }

    /// Waits, unless it is time to stop. True if the worker is to stop.
    fn pause(&self, duration: Duration) -> bool {
        let flag = lock(&self.stopping.flag);
        let wait = self.stopping.changed.wait_timeout_while(flag, duration, |stopping| !*stopping);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    /// As [`Shared::pause`], and ends when the settings ask for another connection than the one of number `seen`.
    fn pause_unless_changed(&self, duration: Duration, seen: u64) -> Pause {
        let flag = lock(&self.stopping.flag);
        let goes_on = |stopping: &mut bool| !*stopping && self.settings.reconnects() == seen;
        let wait = self.stopping.changed.wait_timeout_while(flag, duration, goes_on);
        match *wait.unwrap_or_else(PoisonError::into_inner).0 {
            true => Pause::Stop,
            false if self.settings.reconnects() != seen => Pause::Settings,
            false => Pause::Over,
        }
    }

    /// The key under which Redis keeps the number of this process's last counter (`redis/counter.rs`).
    pub fn done_key(&self, prefix: &str) -> Arc<[u8]> {
        format!("{prefix}rt:done:{:016x}", self.boot).into_bytes().into()
    }

    /// A channel on the wire as scripts name it: the prefix cut off. For errors; an event's own is its routes'.
    fn unprefixed<'a>(&self, wire: &'a [u8]) -> &'a [u8] {
        wire.strip_prefix(self.settings.current().prefix.as_bytes()).unwrap_or(wire)
    }

    /// Any number, another at each call.
    fn random(&self) -> u64 {
        self.jitter.hash_one(Instant::now())
    }

    fn link(&self, side: Side) -> &Link {
        match side {
            Side::Publisher => &self.publisher_link,
            Side::Subscriber => &self.subscriber_link,
        }
    }

    /// The connection is ready.
    fn link_up(&self, side: Side) {
        if self.link(side).is_ready() {
            return;
        }
        let mut told = lock(&self.told_connected);
        self.link(side).up();
        if !*told && self.publisher_link.is_ready() && self.subscriber_link.is_ready() {
            *told = true;
            self.publisher_link.set_announced(true);
            self.subscriber_link.set_announced(true);
            self.notices.push(Notice::Connected);
        }
    }

    /// The connection is lost, or could not be made. True if that is worth a line in the log: both sides say the same
    /// of a Redis that does not answer, again and again, and once is enough.
    fn link_down(&self, side: Side, trouble: &Trouble) -> bool {
        let mut told = lock(&self.told_connected);
        let other = match side {
            Side::Publisher => &self.subscriber_link,
            Side::Subscriber => &self.publisher_link,
        };
        // Its end is part of the news that the connection is gone.
        let was_announced = self.link(side).set_announced(false);
        let news = self.link(side).down(trouble) && other.trouble() != *trouble;
        if std::mem::take(&mut *told) {
            self.notices.push(Notice::Disconnected { reason: trouble.reason.clone() });
        } else if news && !was_announced {
            let target = self.settings.current().redis.to_string().into_bytes().into_boxed_slice();
            self.notices.push(Notice::Error { operation: "connect", target, reason: trouble.reason.clone() });
        }
        news
    }
}

/// How a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    Over,
    Stop,
    Settings,
}

#[derive(Default)]
struct Stopping {
    flag: Mutex<bool>,
    changed: Condvar,
}

/// A worker's whole life.
type Work = fn(&Arc<Shared>);

/// The running workers.
pub struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts every worker of the process, or none.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Workers> {
        let mut workers = Workers(Vec::new());
        let all: [(&str, Work); 5] = [
            ("rt-publisher", publisher::run),
            ("rt-subscriber", subscriber::run),
            ("rt-actions", actions::run),
            ("rt-files", files::run),
            ("rt-webhooks", webhooks::run),
        ];
        for (name, work) in all {
            match spawn(name, shared, work) {
                Ok(worker) => workers.0.push(worker),
                Err(err) => {
                    shared.stop();
                    return Err(err);
                }
            }
        }
        Ok(workers)
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
fn spawn(name: &str, shared: &Arc<Shared>, work: Work) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    // No recursion and no big frames in any worker: a small stack keeps the memory at rest small.
    thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(move || {
        let mut backoff = Backoff::default();
        while catch_unwind(AssertUnwindSafe(|| work(&shared))).is_err() {
            shared.stats.panics.add(1);
            if shared.pause(backoff.next_delay(Class::Wait, shared.random())) {
                break;
            }
        }
    })
}
