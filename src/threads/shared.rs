//! What the game thread and the workers share for the life of the process: the handles of all queues, the settings, and
//! how the connections stand. It knows no worker's loop.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::event::identity;
use crate::event::ledger::Ledger;
use crate::eventlog::disk::SystemDisk;
use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::io::text_log::Causes;
use crate::stats::Stats;
use crate::threads::actions::collector::Collector;
use crate::threads::actions::queue::Actions;
use crate::threads::files::queue::Files;
use crate::threads::links::{Limits, Links, Published, Settled, Side, Trouble};
use crate::threads::publisher::outbox::Outbox;
use crate::threads::publisher::replies::Replies;
use crate::threads::selftest::lines::Selftest;
use crate::threads::settings::Settings;
use crate::threads::subscriber::inbox::{Inbox, Notices};
use crate::threads::subscriber::subscriptions::Subscriptions;
use crate::threads::webhooks::queue::Webhooks;

/// What the game thread and the workers share for the life of the process.
pub struct Shared {
    pub(crate) settings: Settings,
    /// The game's folder for data.
    pub(crate) data: PathBuf,
    /// This process, in the identity of its events.
    pub boot: u64,
    pub stats: Arc<Stats>,
    pub outbox: Arc<Outbox>,
    pub inbox: Inbox,
    pub notices: Arc<Notices>,
    pub replies: Replies,
    pub selftest: Selftest,
    pub files: Files,
    pub published: Arc<Published>,
    pub(crate) settled: Arc<Settled>,
    pub(crate) subscriptions: Subscriptions,
    pub actions: Actions,
    pub collector: Collector,
    pub webhooks: Webhooks,
    pub links: Arc<Links>,
    pub(crate) limits: Limits,
    /// What was seen of other servers' numbers. rt-subscriber holds it while it is connected.
    pub(crate) ledger: Mutex<Ledger>,
    /// What was said lately of actions that could not be made.
    pub(crate) unmade: Mutex<Causes>,
    /// The number of the last counter that was written by the script. It outlives the publisher's panics.
    pub(crate) count_number: AtomicU64,
    stopping: Stopping,
    jitter: RandomState,
}

impl Shared {
    /// `data` is the game's folder for data; `attention` is raised whenever something waits for the pump.
    pub fn new(config: Config, data: PathBuf, stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Shared {
        let boot = identity::new_boot();
        let notices = Arc::new(Notices::new(Arc::clone(&stats), Arc::clone(&attention)));
        let outbox = Arc::new(Outbox::new(Arc::clone(&stats)));
        let (published, settled) = (Arc::<Published>::default(), Arc::<Settled>::default());
        let links = Arc::new(Links::new(Arc::clone(&notices)));
        Shared {
            boot,
            inbox: Inbox::new(Arc::clone(&stats), Arc::clone(&notices), Arc::clone(&attention)),
            collector: Collector::new(Arc::clone(&stats), Arc::clone(&notices), Arc::clone(&attention)),
            notices,
            replies: Replies::new(Arc::clone(&stats), attention),
            selftest: Selftest::default(),
            files: Files::new(data.clone(), Arc::new(SystemDisk), Arc::clone(&stats)),
            subscriptions: Subscriptions::new(
                Arc::clone(&published),
                Arc::clone(&settled),
                Arc::clone(&links),
                Arc::clone(&outbox),
            ),
            outbox,
            published,
            settled,
            links,
            actions: Actions::new(Arc::clone(&stats)),
            webhooks: Webhooks::new(boot, &config, Arc::clone(&stats)),
            limits: Limits::default(),
            ledger: Mutex::default(),
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
    pub(crate) fn publish_routes(&self, routes: Routes) -> u64 {
        let version = self.published.replace(routes);
        // While there is no subscribed connection nothing can be asked, and no publish waits for it any longer.
        if self.links.subscriber.is_ready() {
            self.settled.asked_now();
        }
        self.outbox.wake();
        version
    }

    /// Puts other settings in force. What cannot change under a connection makes it end, once it has answered.
    pub(crate) fn reconfigure(&self, config: Config) {
        if self.settings.replace(config) {
            self.outbox.set_generation(self.settings.generation());
            // Waits and backoffs are over, and the subscriber's read.
            drop(lock(&self.stopping.flag));
            self.stopping.changed.notify_all();
            self.subscriptions.disconnect_before(self.settings.generation());
        }
        self.outbox.wake();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *lock(&self.stopping.flag)
    }

    /// Has every worker end as soon as it can; [`crate::threads::workers::Workers::join_by`] waits for them.
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
    pub(crate) fn pause(&self, duration: Duration) -> bool {
        let flag = lock(&self.stopping.flag);
        let wait = self.stopping.changed.wait_timeout_while(flag, duration, |stopping| !*stopping);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    /// As [`Shared::pause`], and ends when the settings ask for another connection than the one of number `seen`.
    pub(crate) fn pause_unless_changed(&self, duration: Duration, seen: u64) -> Pause {
        let flag = lock(&self.stopping.flag);
        let goes_on = |stopping: &mut bool| !*stopping && self.settings.generation() == seen;
        let wait = self.stopping.changed.wait_timeout_while(flag, duration, goes_on);
        if *wait.unwrap_or_else(PoisonError::into_inner).0 {
            Pause::Stop
        } else if self.settings.generation() != seen {
            Pause::Settings
        } else {
            Pause::Over
        }
    }

    /// The key under which Redis keeps the number of this process's last counter (`redis/counter.rs`).
    pub(crate) fn done_key(&self, prefix: &str) -> Arc<[u8]> {
        format!("{prefix}rt:done:{:016x}", self.boot).into_bytes().into()
    }

    /// A channel on the wire as scripts name it: the prefix cut off. For errors; an event's own is its routes'.
    pub(crate) fn unprefixed<'a>(&self, wire: &'a [u8]) -> &'a [u8] {
        wire.strip_prefix(self.settings.current().prefix.as_bytes()).unwrap_or(wire)
    }

    /// Any number, another at each call.
    pub(crate) fn random(&self) -> u64 {
        self.jitter.hash_one(Instant::now())
    }

    /// See [`Links::down`].
    pub(crate) fn link_down(&self, side: Side, trouble: &Trouble) -> bool {
        self.links.down(side, trouble, || self.settings.current().redis.to_string())
    }
}

/// How a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    Over,
    Stop,
    Settings,
}

#[derive(Default)]
struct Stopping {
    flag: Mutex<bool>,
    changed: Condvar,
}
