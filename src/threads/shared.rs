//! [`Shared`], the one value that the game thread and every worker hold for the life of the process: the handles of all
//! queues, the settings, the state of the connections, and the state of a worker that must survive its panic.
//! It imports handles only, no worker's loop: a loop imports `Shared`, never the other way.

use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::calendar::zone::Zone;
use crate::config::Config;
use crate::event::identity;
use crate::event::ledger::Ledger;
use crate::eventlog::disk::SystemDisk;
use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::io::text_log::Causes;
use crate::redis::connection::Connection;
use crate::stats::Stats;
use crate::threads::actions::collector::Collector;
use crate::threads::actions::queue::Actions;
use crate::threads::embedded::home::{Goal, Home};
use crate::threads::files::queue::Files;
use crate::threads::links::{Limits, Links, Masters, Published, Settled, Side, Trouble};
use crate::threads::metrics::desk::MetricsDesk;
use crate::threads::publisher::direct::DirectReads;
use crate::threads::publisher::keeps::Keeps;
use crate::threads::publisher::outbox::Outbox;
use crate::threads::publisher::replies::Replies;
use crate::threads::publisher::standing::Standing;
use crate::threads::selftest::lines::Selftest;
use crate::threads::settings::Settings;
use crate::threads::subscriber::inbox::{Inbox, Notices};
use crate::threads::subscriber::subscriptions::Subscriptions;
use crate::threads::webhooks::queue::Webhooks;

/// The handles of all queues and the state that several threads use. Behind one `Arc`; every field synchronizes itself.
pub struct Shared {
    pub(crate) settings: Settings,
    /// The owner's clock.
    pub(crate) zone: Zone,
    /// The game's data folder, `garrysmod/data`.
    pub(crate) data: PathBuf,
    /// 64 random bits that stand for this process in the identity of its events and in its keys in Redis.
    pub boot: u64,
    pub stats: Arc<Stats>,

    // To rt-publisher, and its answers to the game thread.
    pub outbox: Arc<Outbox>,
    pub(crate) direct: DirectReads,
    pub(crate) keeps: Keeps,
    pub replies: Replies,
    pub(crate) presence: Standing,
    // To the game thread, and to the other workers.
    pub inbox: Inbox,
    pub notices: Arc<Notices>,
    pub selftest: Selftest,
    pub files: Files,
    pub actions: Arc<Actions>,
    pub collector: Collector,
    pub webhooks: Webhooks,
    pub(crate) metrics: MetricsDesk,

    // The routes, the subscriptions made for them, and the connections.
    pub published: Arc<Published>,
    pub(crate) settled: Arc<Settled>,
    pub(crate) subscriptions: Subscriptions,
    pub links: Arc<Links>,
    pub(crate) limits: Limits,
    pub(crate) masters: Masters,
    /// The embedded server, and which Redis is this server's.
    pub(crate) embedded: Home,

    /// The numbers of other servers' events that arrived. rt-subscriber holds the lock while it is connected; the ledger
    /// is here so that it outlives the connection.
    pub(crate) ledger: Mutex<Ledger>,
    /// Throttles the log lines about actions that could not be made from their event.
    pub(crate) unmade: Mutex<Causes>,
    /// The number of the last counter that rt-publisher wrote by the script. Redis remembers it, and would take a
    /// smaller one for a resend: so it is here and outlives the publisher's panics.
    pub(crate) count_number: AtomicU64,
    stopping: Stopping,
    /// Randomly keyed for each process, see [`Shared::random`].
    jitter: RandomState,
}

impl Shared {
    /// `data` is the game's data folder. `attention` is the flag that each queue to the game thread raises, so that a
    /// tick with nothing to do looks at one atomic.
    pub fn new(config: Config, data: PathBuf, stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Shared {
        let boot = identity::new_boot();
        let notices = Arc::new(Notices::new(Arc::clone(&stats), Arc::clone(&attention)));
        let outbox = Arc::new(Outbox::new(Arc::clone(&stats)));
        let actions = Arc::new(Actions::new(Arc::clone(&stats)));
        let (published, settled) = (Arc::<Published>::default(), Arc::<Settled>::default());
        let links = Arc::new(Links::new(Arc::clone(&notices)));
        let webhooks = Webhooks::new(boot, &config, Arc::clone(&stats));
        Shared {
            boot,
            zone: Zone::new(config.timezone_offset_s),
            inbox: Inbox::new(Arc::clone(&stats), Arc::clone(&notices), Arc::clone(&attention)),
            collector: Collector::new(
                Arc::clone(&stats),
                Arc::clone(&actions),
                Arc::clone(&notices),
                Arc::clone(&attention),
            ),
            notices,
            replies: Replies::new(Arc::clone(&stats), attention, Arc::clone(&webhooks.desk)),
            selftest: Selftest::default(),
            files: Files::new(data.clone(), Arc::new(SystemDisk), Arc::clone(&stats)),
            subscriptions: Subscriptions::new(
                Arc::clone(&published),
                Arc::clone(&settled),
                Arc::clone(&links),
                Arc::clone(&outbox),
            ),
            outbox,
            direct: DirectReads::default(),
            presence: Standing::default(),
            keeps: Keeps::default(),
            published,
            settled,
            links,
            actions,
            webhooks,
            metrics: MetricsDesk::default(),
            limits: Limits::default(),
            masters: Masters::default(),
            embedded: Home::new(data.join("realtime")),
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

    /// Publishes a new snapshot of the routes and makes rt-publisher subscribe to the difference. Returns the version of
    /// the snapshot.
    pub(crate) fn publish_routes(&self, routes: Routes) -> u64 {
        let version = self.published.replace(routes);
        // Without a subscribed connection no SUBSCRIBE can be sent: a publish must not wait longer because of this change.
        if self.links.subscriber.is_ready() {
            self.settled.asked_now();
        }
        self.outbox.wake();
        // It follows the hooks with a status message.
        self.webhooks.wake();
        version
    }

    /// Puts other settings in force. If they ask for another connection (address, login, TLS, server name), the subscriber's
    /// connection ends at once; the publisher's ends after its commands in flight are answered.
    pub(crate) fn reconfigure(&self, config: Config) {
        self.zone.set_owner(config.timezone_offset_s);
        if self.settings.replace(config) {
            self.outbox.set_generation(self.settings.connection_version());
            // Ends the pauses between attempts, and then the subscriber's wait for bytes. The lock is taken so that a
            // worker between its look at the settings and its wait does not miss the notification.
            drop(lock(&self.stopping.flag));
            self.stopping.changed.notify_all();
            self.subscriptions.disconnect_before(self.settings.connection_version());
        }
        self.outbox.wake();
        self.webhooks.wake();
        // It writes the metrics file.
        self.files.wake();
    }

    /// True once [`Shared::stop`] was called: every loop ends at its next look.
    pub(crate) fn is_stopping(&self) -> bool {
        *lock(&self.stopping.flag)
    }

    /// Makes every worker end as soon as it can: each wait of a worker is woken here.
    /// [`crate::threads::workers::Workers::join_by`] then waits for the threads.
    pub fn stop(&self) {
        *lock(&self.stopping.flag) = true;
        self.stopping.changed.notify_all();
        self.settled.wake();
        self.outbox.wake();
        self.actions.wake();
        self.webhooks.wake();
        self.subscriptions.disconnect();
        self.files.stop();
        self.embedded.wake();
    }

    /// The Redis of the settings in force, for the next attempt to connect.
    pub(crate) fn goal(&self) -> Goal {
        self.embedded.goal(&self.settings.current(), || self.is_stopping())
    }

    /// Waits for this long, or until stop. True if the worker is to stop.
    pub(crate) fn pause(&self, duration: Duration) -> bool {
        let flag = lock(&self.stopping.flag);
        let wait = self.stopping.changed.wait_timeout_while(flag, duration, |stopping| !*stopping);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    /// As [`Shared::pause`], but also ends when the settings ask for another connection: when their generation is no
    /// longer `seen`.
    pub(crate) fn pause_unless_changed(&self, duration: Duration, seen: u64) -> Pause {
        let flag = lock(&self.stopping.flag);
        let goes_on = |stopping: &mut bool| !*stopping && self.settings.connection_version() == seen;
        let wait = self.stopping.changed.wait_timeout_while(flag, duration, goes_on);
        if *wait.unwrap_or_else(PoisonError::into_inner).0 {
            Pause::Stop
        } else if self.settings.connection_version() != seen {
            Pause::Settings
        } else {
            Pause::Over
        }
    }

    /// The Redis key that holds the number of this process's last counter (`redis/counter.rs`).
    pub(crate) fn done_key(&self, prefix: &str) -> Arc<[u8]> {
        format!("{prefix}rt:done:{:016x}", self.boot).into_bytes().into()
    }

    /// The name that scripts use for a channel or key on the wire: without the prefix in force. For error texts only: the
    /// prefix of an event is that of the routes it was received with.
    pub(crate) fn unprefixed<'a>(&self, wire: &'a [u8]) -> &'a [u8] {
        wire.strip_prefix(self.settings.current().prefix.as_bytes()).unwrap_or(wire)
    }

    /// A random number for the jitter of backoffs, so that the servers of a fleet do not reconnect in step. Not fit for
    /// secrets.
    pub(crate) fn random(&self) -> u64 {
        self.jitter.hash_one(Instant::now())
    }

    /// One of the connections was made. If sentinels named another master for it than before, the other connection
    /// follows. Returns the version of the master that it leads to.
    pub(crate) fn follow_master(&self, connection: &Connection) -> u64 {
        if connection.master().is_some_and(|master| self.masters.note(master)) {
            self.subscriptions.disconnect();
            self.outbox.wake();
        }
        self.masters.version()
    }

    /// [`Links::down`], with the address in force for the notice.
    pub(crate) fn link_down(&self, side: Side, trouble: &Trouble) -> bool {
        self.links.down(side, trouble, || self.embedded.address(&self.settings.current()).to_string())
    }
}

/// How a pause ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The time is over.
    Over,
    /// The worker is to stop.
    Stop,
    /// The settings ask for another connection.
    Settings,
}

/// The flag that ends every loop, and the condition that wakes the pauses. New settings notify it too.
#[derive(Default)]
struct Stopping {
    flag: Mutex<bool>,
    changed: Condvar,
}
