//! How the connections stand, and what is subscribed: what the workers and the game thread tell each other.
//! Short locks only; the one wait is the publisher's, bounded, for subscriptions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::redis::error_reply::Class;
use std::time::Duration;

/// Longest wait of a publish for the subscriptions that were asked for before it.
pub const SETTLE_MAX: Duration = Duration::from_millis(500);

/// How one connection stands, for `Status()`.
#[derive(Default)]
pub struct Link {
    ready: AtomicBool,
    /// It was ready when Lua was told that the connection stands.
    announced: AtomicBool,
    trouble: Mutex<Trouble>,
}

/// Why a connection is not ready, as far as known.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Trouble {
    pub(crate) reason: String,
    /// Redis refused the login: only an operator can help.
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

    /// The first attempt to connect is under way.
    pub(crate) fn is_untried(&self) -> bool {
        !self.is_ready() && *lock(&self.trouble) == Trouble::default()
    }

    pub(crate) fn trouble(&self) -> Trouble {
        lock(&self.trouble).clone()
    }

    /// What it was before.
    pub(crate) fn set_announced(&self, announced: bool) -> bool {
        self.announced.swap(announced, Ordering::Relaxed)
    }

    pub(crate) fn up(&self) {
        if !self.is_ready() {
            *lock(&self.trouble) = Trouble::default();
            self.ready.store(true, Ordering::Release);
        }
    }

    /// True if this is another reason than before, also than none.
    pub(crate) fn down(&self, trouble: &Trouble) -> bool {
        let was_ready = self.ready.swap(false, Ordering::AcqRel);
        let mut known = lock(&self.trouble);
        let news = was_ready || *known != *trouble;
        known.clone_from(trouble);
        news
    }
}

/// What Redis does not do for this user, as last found: for `Stats()`, `realtime_status`, and one
/// `RealtimeError` each.
#[derive(Default)]
pub(crate) struct Limits(Mutex<BTreeMap<Limit, String>>);

/// What works less well then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// No scripts: counters and leases go by plain commands.
    Scripts,
    /// No leases: for the fleet this server does not act on events of others.
    Leases,
}

impl Limits {
    /// Notes what was found. True if it is news: the wording may name another key each time.
    pub(crate) fn note(&self, limit: Limit, found: &str) -> bool {
        lock(&self.0).insert(limit, found.to_owned()).is_none()
    }

    /// Another Redis.
    pub(crate) fn forget(&self) {
        lock(&self.0).clear();
    }

    /// It works.
    pub(crate) fn lift(&self, limit: Limit) {
        lock(&self.0).remove(&limit);
    }

    /// A sentence for each.
    pub(crate) fn list(&self) -> Vec<String> {
        lock(&self.0).iter().map(|(limit, found)| format!("{}; {found}", limit.effect())).collect()
    }
}

impl Limit {
    /// What it means for the game.
    pub(crate) fn effect(self) -> &'static str {
        match self {
            Limit::Scripts => "redis refuses scripts (EVAL): a counter whose answer is lost is not sent again",
            Limit::Leases => {
                "redis refuses the leases of this server (keys `rt:lead:*`): its fleet hooks and aggregators do not act on \
                 events of others"
            }
        }
    }
}

/// The newest routes and their number.
#[derive(Default)]
pub struct Published {
    current: Mutex<(u64, Arc<Routes>)>,
    version: AtomicU64,
}

impl Published {
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

/// Up to which routes Redis has acknowledged every subscription. The publisher waits here, a bounded time, so that a
/// script hears what it emits right after `On`.
#[derive(Default)]
pub(crate) struct Settled {
    version: AtomicU64,
    asked: Mutex<Question>,
    changed: Condvar,
}

#[derive(Default)]
struct Question {
    /// When something was last asked for, or lost.
    since: Option<Instant>,
    /// What came of it before it stood.
    news: Option<News>,
}

/// What the publisher, who is the one that asks, is to know at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Redis is busy no more, and there is more to ask for.
    More,
    /// Redis is busy: a publish would be refused as well.
    Refused,
}

impl Settled {
    pub(crate) fn asked_now(&self) {
        lock(&self.asked).since = Some(Instant::now());
    }

    /// Something was asked for; again, if it had been refused.
    pub(crate) fn asked(&self, is_again: bool) {
        let mut asked = lock(&self.asked);
        asked.news = None;
        if is_again {
            asked.since = Some(Instant::now());
        }
    }

    /// Who waits is to do something about it.
    pub(crate) fn has_news(&self, news: News) {
        lock(&self.asked).news = Some(news);
        self.changed.notify_all();
    }

    /// Every subscription of this version stands.
    pub(crate) fn reached(&self, version: u64) {
        let asked = lock(&self.asked);
        self.version.fetch_max(version, Ordering::AcqRel);
        drop(asked);
        self.changed.notify_all();
    }

    /// The subscribed connection is gone, and all subscriptions with it.
    pub(crate) fn lost(&self) {
        let mut asked = lock(&self.asked);
        self.version.store(0, Ordering::Release);
        *asked = Question { since: Some(Instant::now()), news: None };
    }

    pub(crate) fn is_reached(&self, version: u64) -> bool {
        self.version.load(Ordering::Acquire) >= version
    }

    /// Has who waits look at its `give_up` again.
    pub(crate) fn wake(&self) {
        drop(lock(&self.asked));
        self.changed.notify_all();
    }

    /// Waits until the subscriptions of `version` stand: at most [`SETTLE_MAX`] after they were asked for, or after
    /// `ready` if that is later, or until `give_up`. Ends early with what there is to know.
    pub(crate) fn wait(&self, version: u64, ready: Instant, give_up: impl Fn() -> bool) -> Option<News> {
        let mut asked = lock(&self.asked);
        // Fixed here: what is asked for meanwhile must not make this publish wait longer.
        let deadline = asked.since.map_or(ready, |since| since.max(ready)) + SETTLE_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.is_reached(version) || left.is_zero() || give_up() {
                return None;
            }
            match asked.news {
                // Whoever waits next would ask for nothing more.
                Some(News::More) => return asked.news.take(),
                Some(News::Refused) => return asked.news,
                None => {}
            }
            asked = self.changed.wait_timeout(asked, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
