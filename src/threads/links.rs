//! The state of the two connections to Redis and of the subscriptions, as the threads report it to each other.
//! Every lock here is short and never held during I/O. One method waits: [`Settled::wait`], which holds a publish back,
//! a bounded time, until the subscriptions that were asked for before it stand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::event::notice::{CONNECT, Notice};
use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::redis::error_reply::Class;
use crate::threads::subscriber::inbox::Notices;

/// Longest wait of a publish for the subscriptions that were asked for before it. One round trip is
/// enough while Redis answers; otherwise the publish goes out without them.
pub const SETTLE_MAX: Duration = Duration::from_millis(500);

/// One of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Publisher,
    Subscriber,
}

/// Both connections, and the notices `Connected` and `Disconnected` that scripts get about them.
///
/// Scripts know one state, "connected": both connections are ready. `told_connected` is the state that they were told
/// last, with the moment of the change; it changes only here, together with the notice.
pub struct Links {
    pub publisher: Link,
    pub subscriber: Link,
    told_connected: Mutex<Told>,
    notices: Arc<Notices>,
}

/// The state that scripts were told last.
struct Told {
    connected: bool,
    since: Instant,
}

impl Links {
    pub(crate) fn new(notices: Arc<Notices>) -> Links {
        let told_connected = Mutex::new(Told { connected: false, since: Instant::now() });
        Links { publisher: Link::default(), subscriber: Link::default(), told_connected, notices }
    }

    pub(crate) fn get(&self, side: Side) -> &Link {
        match side {
            Side::Publisher => &self.publisher,
            Side::Subscriber => &self.subscriber,
        }
    }

    /// A Lua state attached: tells it `Connected` if the connections stand now. It hears nothing of earlier changes.
    pub(crate) fn greet(&self) {
        let told = lock(&self.told_connected);
        self.notices.drop_past(told.connected);
        if told.connected {
            self.notices.push(Notice::Connected);
        }
    }

    /// How long the state that scripts know holds, connected or not.
    pub(crate) fn lasted(&self) -> Duration {
        lock(&self.told_connected).since.elapsed()
    }

    /// The connection is ready: connected and logged in, and for the subscriber every subscription is acknowledged.
    pub(crate) fn up(&self, side: Side) {
        if self.get(side).is_ready() {
            return;
        }
        let mut told = lock(&self.told_connected);
        self.get(side).up();
        if !told.connected && self.publisher.is_ready() && self.subscriber.is_ready() {
            *told = Told { connected: true, since: Instant::now() };
            self.publisher.set_announced(true);
            self.subscriber.set_announced(true);
            self.notices.push(Notice::Connected);
        }
    }

    /// The connection is lost, or an attempt to connect failed. `address` is the Redis that was tried, for the notice.
    /// True if this is worth a line in the log: the trouble is new, and the other connection has not reported the same
    /// (a Redis that does not answer fails both, again and again, and one line is enough).
    pub(crate) fn down(&self, side: Side, trouble: &Trouble, address: impl FnOnce() -> String) -> bool {
        let mut told = lock(&self.told_connected);
        let other = match side {
            Side::Publisher => &self.subscriber,
            Side::Subscriber => &self.publisher,
        };
        // After `Connected`, scripts get one `Disconnected` for the loss of both connections. The side that fails
        // second adds no `Error` for it.
        let was_announced = self.get(side).set_announced(false);
        let is_news = self.get(side).down(trouble) && other.trouble() != *trouble;
        if told.connected {
            *told = Told { connected: false, since: Instant::now() };
            self.notices.push(Notice::Disconnected { reason: trouble.reason.clone() });
        } else if is_news && !was_announced {
            let target = address().into_bytes().into_boxed_slice();
            self.notices.push(Notice::Error { operation: CONNECT, target, reason: trouble.reason.clone() });
        }
        is_news
    }
}

/// The state of one connection, for `Status()`.
#[derive(Default)]
pub struct Link {
    ready: AtomicBool,
    /// It was ready when `Connected` was queued, and was not lost since.
    announced: AtomicBool,
    trouble: Mutex<Trouble>,
}

/// Why a connection is not ready. Empty while the first attempt is under way.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    /// Redis refused the login: only an operator can change that.
    pub(crate) login: bool,
}

impl Trouble {
    pub(crate) fn new(reason: String, class: Class) -> Trouble {
        Trouble { reason, login: class == Class::Login }
    }
}

impl Link {
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// The first attempt to connect is under way: there is neither a connection nor a failure.
    pub(crate) fn is_untried(&self) -> bool {
        !self.is_ready() && *lock(&self.trouble) == Trouble::default()
    }

    pub(crate) fn trouble(&self) -> Trouble {
        lock(&self.trouble).clone()
    }

    /// Returns the value before.
    fn set_announced(&self, announced: bool) -> bool {
        self.announced.swap(announced, Ordering::Relaxed)
    }

    fn up(&self) {
        if !self.is_ready() {
            *lock(&self.trouble) = Trouble::default();
            self.ready.store(true, Ordering::Release);
        }
    }

    /// True if the connection was ready, or failed for another reason than the time before.
    fn down(&self, trouble: &Trouble) -> bool {
        let was_ready = self.ready.swap(false, Ordering::AcqRel);
        let mut known = lock(&self.trouble);
        let is_news = was_ready || *known != *trouble;
        known.clone_from(trouble);
        is_news
    }
}

/// The master that sentinels named last: both connections lead to it. Events that one server publishes are heard on
/// another only if they follow each other, so a connection to an older master ends.
#[derive(Default)]
pub(crate) struct Masters {
    newest: Mutex<String>,
    version: AtomicU64,
}

impl Masters {
    /// A connection was made to the master that sentinels named just now. True if it is another one than before.
    pub(crate) fn note(&self, master: &str) -> bool {
        let mut newest = lock(&self.newest);
        let is_other = *newest != *master;
        if is_other {
            newest.clear();
            newest.push_str(master);
            self.version.fetch_add(1, Ordering::Release);
        }
        is_other
    }

    /// Changes with the master.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

/// The abilities that Redis denies to this user, as last found: for `Stats()` and `realtime_status`, and for one
/// `RealtimeError` each.
#[derive(Default)]
pub(crate) struct Limits(Mutex<Denied>);

/// The words of Redis for each ability that it denies.
#[derive(Default)]
struct Denied {
    scripts: Option<String>,
    leases: Option<String>,
    presence: Option<String>,
    name: Option<String>,
    streams: Option<String>,
}

impl Denied {
    fn of(&mut self, limit: Limit) -> &mut Option<String> {
        match limit {
            Limit::Scripts => &mut self.scripts,
            Limit::Leases => &mut self.leases,
            Limit::Presence => &mut self.presence,
            Limit::Name => &mut self.name,
            Limit::Streams => &mut self.streams,
        }
    }
}

/// An ability that an ACL, or another server, can deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Scripts (EVAL). Counters and leases then use plain commands.
    Scripts,
    /// Leases. This server then never acts for the fleet on events of other servers.
    Leases,
    /// The keys by which other servers see this one.
    Presence,
    /// A name of its own: another server has taken it.
    Name,
    /// Streams. Events are then published and not kept.
    Streams,
}

impl Limits {
    /// Notes that Redis denied the ability, with its words. True if it was not denied before; the words may differ from
    /// time to time, as they name the key.
    pub(crate) fn note(&self, limit: Limit, found: &str) -> bool {
        lock(&self.0).of(limit).replace(found.to_owned()).is_none()
    }

    /// The connection leads to another Redis, which may allow everything.
    pub(crate) fn forget(&self) {
        *lock(&self.0) = Denied::default();
    }

    /// Redis allowed it.
    pub(crate) fn lift(&self, limit: Limit) {
        *lock(&self.0).of(limit) = None;
    }

    /// One sentence for each denied ability: its effect, then the words of Redis.
    pub(crate) fn list(&self) -> Vec<String> {
        let mut denied = lock(&self.0);
        let sentence = |limit: Limit| Some(format!("{}; {}", limit.effect(), denied.of(limit).as_ref()?));
        [Limit::Scripts, Limit::Leases, Limit::Presence, Limit::Name, Limit::Streams]
            .into_iter()
            .filter_map(sentence)
            .collect()
    }
}

impl Limit {
    /// The effect on the game, for people.
    pub(crate) fn effect(self) -> &'static str {
        match self {
            Limit::Scripts => "redis refuses scripts (EVAL): a counter whose answer is lost is not sent again",
            Limit::Leases => {
                "redis refuses the leases of this server (keys `rt:lead:*`): its fleet hooks and aggregators do not act on \
                 events of others"
            }
            Limit::Presence => {
                "redis refuses the presence of this server (keys `rt:{servers}:*`): servers do not see each other"
            }
            Limit::Name => {
                "another server has the name of this one: give each server its own name (option `server`), or scripts cannot \
                 tell them apart"
            }
            Limit::Streams => {
                "redis has no streams for this user (they need Redis 5 or later): events of `Keep` are published and not kept"
            }
        }
    }
}

/// The newest snapshot of the routes and its version. Written by the game thread, read by all.
#[derive(Default)]
pub struct Published {
    current: Mutex<(u64, Arc<Routes>)>,
    /// The same version, readable without the lock.
    version: AtomicU64,
}

impl Published {
    /// Publishes a snapshot and returns its version, which is one higher than the version before.
    pub(crate) fn replace(&self, routes: Routes) -> u64 {
        let mut current = lock(&self.current);
        *current = (current.0 + 1, Arc::new(routes));
        self.version.store(current.0, Ordering::Release);
        current.0
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub fn current(&self) -> (u64, Arc<Routes>) {
        lock(&self.current).clone()
    }
}

/// The newest version of the routes whose subscriptions Redis has acknowledged. The publisher waits here, a bounded
/// time, so that a script hears the event that it emits right after `On`.
#[derive(Default)]
pub(crate) struct Settled {
    /// 0: none.
    version: AtomicU64,
    /// How often a subscribed connection ended.
    losses: AtomicU64,
    request: Mutex<SettleRequest>,
    changed: Condvar,
}

/// The state of the newest request for subscriptions.
#[derive(Default)]
struct SettleRequest {
    /// When subscriptions were last asked for, or lost: the wait of a publish is counted from here.
    since: Option<Instant>,
    /// An event that ends the wait before the subscriptions stand.
    news: Option<News>,
}

/// A change that the waiting publisher must know at once, since the publisher writes the SUBSCRIBE commands too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Redis is busy no more, and there are more names to subscribe to.
    More,
    /// Redis is busy and refused a subscription; it would refuse a publish as well.
    Refused,
}

impl Settled {
    /// The routes changed while a connection stands: subscriptions are being asked for from now on.
    pub(crate) fn asked_now(&self) {
        lock(&self.request).since = Some(Instant::now());
    }

    /// Commands were written. `is_again`: they repeat a refused one, and the wait of a publish starts anew.
    pub(crate) fn asked(&self, is_again: bool) {
        let mut request = lock(&self.request);
        request.news = None;
        if is_again {
            request.since = Some(Instant::now());
        }
    }

    /// Ends the publisher's wait with this news.
    pub(crate) fn has_news(&self, news: News) {
        lock(&self.request).news = Some(news);
        self.changed.notify_all();
    }

    /// Every subscription of this version stands.
    pub(crate) fn reached(&self, version: u64) {
        let request = lock(&self.request);
        self.version.fetch_max(version, Ordering::AcqRel);
        drop(request);
        self.changed.notify_all();
    }

    /// The subscribed connection ended, and all subscriptions with it.
    pub(crate) fn lost(&self) {
        let mut request = lock(&self.request);
        self.losses.fetch_add(1, Ordering::AcqRel);
        self.version.store(0, Ordering::Release);
        *request = SettleRequest { since: Some(Instant::now()), news: None };
    }

    pub(crate) fn is_reached(&self, version: u64) -> bool {
        self.version.load(Ordering::Acquire) >= version
    }

    /// How often a subscribed connection ended. Raised before the first event of the next one.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Makes a waiting publisher look at its `give_up` again.
    pub(crate) fn wake(&self) {
        // The lock is taken so that a publisher between its look and its wait does not miss the notification.
        drop(lock(&self.request));
        self.changed.notify_all();
    }

    /// Waits until the subscriptions of `version` stand, until `give_up` is true, or until [`SETTLE_MAX`] has passed
    /// since they were asked for (since `ready`, the start of the publisher's connection, if that is later). Returns
    /// early with [`News`].
    pub(crate) fn wait(&self, version: u64, ready: Instant, give_up: impl Fn() -> bool) -> Option<News> {
        let mut request = lock(&self.request);
        // Fixed here: subscriptions that are asked for during the wait must not make this publish wait longer.
        let deadline = request.since.map_or(ready, |since| since.max(ready)) + SETTLE_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.is_reached(version) || left.is_zero() || give_up() {
                return None;
            }
            match request.news {
                // Taken: the caller asks for all open names now, and the next wait has nothing more to ask for.
                Some(News::More) => return request.news.take(),
                // Kept until the next command is written: each publish meanwhile would be refused.
                Some(News::Refused) => return request.news,
                None => {}
            }
            request = self.changed.wait_timeout(request, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
