//! [`Subscriptions`], the handle of the subscribed connection: the names subscribed to, the commands that wait for their
//! answer, and the names to ask for again.
//! `rt-subscriber` waits for bytes of that connection, so `rt-publisher` writes the commands ([`Subscriptions::sync`])
//! and `rt-subscriber` reports the answers ([`Subscriptions::answered`], [`Subscriptions::refused`]).
//! One command names one channel or pattern and so has one answer: an ACL that forbids one name must not fail others.
//!
//! ```text
//!  routes change ──▶ open ──ask_difference()──▶ unanswered ──acknowledged──▶ stands; all of them: `settled`
//!                     ▲                             │
//!                     └── refused for the moment ───┴──refused for good──▶ reported; asked again on the next connection
//! ```

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Instant;

use crate::config::limits::REFUSED_RETRY;
use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::redis::command;
use crate::redis::connection::Connection;
use crate::redis::error_reply::{Class, ErrorReply};
use crate::threads::links::{Links, News, Published, Settled, Side};
use crate::threads::publisher::outbox::Outbox;

/// Doublings of the pause after refusals in a row: from [`REFUSED_RETRY`] to two seconds.
const PAUSE_DOUBLINGS_MAX: u32 = 3;

/// The handle that `rt-publisher`, `rt-subscriber` and the game thread share.
pub(crate) struct Subscriptions {
    /// Held while commands are chosen and written, so that they leave in the order of `unanswered`. `rt-subscriber`
    /// takes the lock only if it is free: it must go on reading while another thread waits to write.
    writing: Mutex<()>,
    state: Mutex<SubscriptionState>,
    reports: Reports,
}

/// The routes to subscribe to, and the handles to which changes of the subscriptions are reported.
struct Reports {
    published: Arc<Published>,
    settled: Arc<Settled>,
    links: Arc<Links>,
    /// Woken when there are more names to ask for, as `rt-publisher` writes the commands.
    outbox: Arc<Outbox>,
}

/// The state of one connection; a new connection begins with an empty one.
#[derive(Default)]
struct SubscriptionState {
    connection: Option<Arc<Connection>>,
    /// The generation of the settings that the connection was made with.
    generation: u64,
    /// The names asked for and not given up.
    asked: Names,
    /// Written commands without an answer, oldest first: Redis answers in this order.
    unanswered: VecDeque<SubscriptionCommand>,
    /// The newest routes whose differences are in `open` or asked for, and their version.
    routes: Arc<Routes>,
    version: u64,
    /// Names to compare with the routes, each with `true` if it is a pattern: those that changed with the routes, and
    /// those that Redis refused for the moment.
    open: VecDeque<(bool, Box<[u8]>)>,
    /// The names in `open`, so that each is there once, however often it changes before the next commands.
    is_open: Names,
    /// When Redis began to refuse the last commands, and when to ask again.
    refused_at: Option<Instant>,
    retry_at: Option<Instant>,
    /// Refusals in a row. Until Redis accepts again, one name is asked for at a time: a busy Redis must not be flooded
    /// with thousands of commands.
    refusals: u32,
}

/// A set of names as on the wire. Redis has separate name spaces for channels and patterns.
#[derive(Default)]
struct Names {
    channels: HashSet<Box<[u8]>>,
    patterns: HashSet<Box<[u8]>>,
}

impl Names {
    fn space(&mut self, pattern: bool) -> &mut HashSet<Box<[u8]>> {
        if pattern { &mut self.patterns } else { &mut self.channels }
    }

    /// Adds a name. False: it is there already.
    fn insert(&mut self, pattern: bool, name: &[u8]) -> bool {
        self.space(pattern).insert(name.into())
    }

    /// Removes a name. False: it is not there.
    fn remove(&mut self, pattern: bool, name: &[u8]) -> bool {
        self.space(pattern).remove(name)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }
}

/// One command on the subscribed connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionCommand {
    pub(crate) verb: Verb,
    /// The name is a pattern.
    pattern: bool,
    /// Empty for a PING.
    pub(crate) name: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Subscribe,
    Unsubscribe,
    Ping,
}

impl SubscriptionCommand {
    fn ping() -> SubscriptionCommand {
        SubscriptionCommand { verb: Verb::Ping, pattern: false, name: Box::default() }
    }

    /// Appends the command as RESP.
    fn encode(&self, bytes: &mut Vec<u8>) {
        let verb: &[u8] = match (self.verb, self.pattern) {
            (Verb::Subscribe, false) => b"SUBSCRIBE",
            (Verb::Subscribe, true) => b"PSUBSCRIBE",
            (Verb::Unsubscribe, false) => b"UNSUBSCRIBE",
            (Verb::Unsubscribe, true) => b"PUNSUBSCRIBE",
            (Verb::Ping, _) => return command::encode(bytes, &[b"PING"]),
        };
        command::encode(bytes, &[verb, &self.name]);
    }
}

impl SubscriptionState {
    /// Adds a name to `open`, unless it is there.
    fn look_at(&mut self, pattern: bool, name: &[u8]) {
        if self.is_open.insert(pattern, name) {
            self.open.push_back((pattern, name.into()));
        }
    }

    /// Appends the commands that bring the subscriptions to these routes, and notes them as unanswered. It looks only at
    /// names that changed since the last call or were refused, so its cost does not grow with the number of routes.
    fn ask_difference(&mut self, routes: &Arc<Routes>, bytes: &mut Vec<u8>) {
        let older = std::mem::replace(&mut self.routes, Arc::clone(routes));
        for pattern in [false, true] {
            routes.differing(&older, pattern, |name| self.look_at(pattern, name));
        }
        // After a refusal only one command is in flight, and none during the pause.
        let is_quiet = self.retry_at.is_none() && self.only_pings();
        let most = if self.refusals == 0 { usize::MAX } else { usize::from(is_quiet) };
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        while gone.len() + new.len() < most
            && let Some((pattern, name)) = self.open.pop_front()
        {
            self.is_open.remove(pattern, &name);
            if routes.get(pattern, &name).is_some() {
                if self.asked.insert(pattern, &name) {
                    new.push(SubscriptionCommand { verb: Verb::Subscribe, pattern, name });
                }
            } else if self.asked.remove(pattern, &name) {
                gone.push(SubscriptionCommand { verb: Verb::Unsubscribe, pattern, name });
            }
        }
        for command in gone.into_iter().chain(new) {
            command.encode(bytes);
            self.unanswered.push_back(command);
        }
    }

    /// Every command that is about a name is answered.
    fn only_pings(&self) -> bool {
        self.unanswered.iter().all(|asked| asked.verb == Verb::Ping)
    }

    /// Redis has accepted a command and is busy no more: makes `rt-publisher` ask for all other names at once.
    fn is_not_busy(&mut self, reports: &Reports) {
        if std::mem::take(&mut self.refusals) == 0 {
            return;
        }
        self.retry_at = (!self.open.is_empty()).then(Instant::now);
        if self.retry_at.is_some() {
            reports.settled.has_news(News::More);
            reports.outbox.wake();
        }
    }

    /// Reports the subscriptions as settled if all commands are answered and no name is left to ask for. A name that was
    /// refused for good does not count: nothing better comes on this connection.
    fn announce_if_settled(&self, reports: &Reports) {
        if self.only_pings() && self.retry_at.is_none() && self.open.is_empty() && self.connection.is_some() {
            reports.links.up(Side::Subscriber);
            reports.settled.reached(self.version);
        }
    }
}

impl Subscriptions {
    pub(crate) fn new(
        published: Arc<Published>,
        settled: Arc<Settled>,
        links: Arc<Links>,
        outbox: Arc<Outbox>,
    ) -> Subscriptions {
        let reports = Reports { published, settled, links, outbox };
        Subscriptions { writing: Mutex::default(), state: Mutex::default(), reports }
    }

    /// Begins with a new connection, made with the settings of this generation.
    pub(crate) fn connected(&self, connection: &Arc<Connection>, generation: u64) {
        let connection = Some(Arc::clone(connection));
        *lock(&self.state) = SubscriptionState { connection, generation, ..SubscriptionState::default() };
    }

    /// Ends the connection if it was made with settings older than this generation. `rt-subscriber` may have been faster
    /// and connected with the newest ones.
    pub(crate) fn disconnect_before(&self, generation: u64) {
        let mut state = lock(&self.state);
        if state.generation < generation {
            self.end(&mut state);
        }
    }

    /// Ends the connection, if there is one, which soon ends the wait of `rt-subscriber`.
    pub(crate) fn disconnect(&self) {
        self.end(&mut lock(&self.state));
    }

    /// From here on no subscription stands, although on Windows `rt-subscriber` notices the end up to a slice of its wait
    /// later: a publish on the next connection must not be faster than the subscriptions there.
    fn end(&self, state: &mut SubscriptionState) {
        if let Some(connection) = state.connection.take() {
            connection.shut_down();
            self.reports.settled.lost();
        }
    }

    /// True if it is time to ask again for names that were refused for the moment.
    pub(crate) fn are_due(&self, now: Instant) -> bool {
        lock(&self.state).retry_at.is_some_and(|retry_at| now >= retry_at)
    }

    /// A publish waits for the refused names: they are asked for again after the shortest pause.
    pub(crate) fn hurry(&self) {
        let mut state = lock(&self.state);
        let soon = state.refused_at.map(|refused_at| refused_at + REFUSED_RETRY);
        state.retry_at = state.retry_at.map(|retry_at| soon.map_or(retry_at, |soon| soon.min(retry_at)));
    }

    /// Writes the commands that bring the subscriptions to the newest routes. Returns the version of those routes.
    /// Without a connection it does nothing: the next connection begins with an empty state and asks for all names.
    pub(crate) fn sync(&self) -> u64 {
        let writing = lock(&self.writing);
        let (version, routes) = self.reports.published.current();
        let mut bytes = Vec::new();
        let connection = {
            let mut state = lock(&self.state);
            let Some(connection) = state.connection.clone() else { return version };
            state.version = version;
            // The pause after a refusal is over: this call repeats the refused names.
            let is_again = state.retry_at.is_some_and(|retry_at| Instant::now() >= retry_at);
            if is_again {
                state.retry_at = None;
            }
            state.ask_difference(&routes, &mut bytes);
            if !bytes.is_empty() {
                self.reports.settled.asked(is_again);
            }
            state.announce_if_settled(&self.reports);
            connection
        };
        if !bytes.is_empty() && connection.write_all(&bytes).is_err() {
            // `rt-subscriber` sees the end of the connection and connects again.
            connection.shut_down();
        }
        drop(writing);
        version
    }

    /// Sends a PING, to learn whether the connection still lives. Does nothing while commands are being written: their
    /// answers show the same.
    pub(crate) fn ping(&self) {
        let _writing = match self.writing.try_lock() {
            Ok(writing) => writing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let connection = {
            let mut state = lock(&self.state);
            let Some(connection) = state.connection.clone() else { return };
            state.unanswered.push_back(SubscriptionCommand::ping());
            connection
        };
        let mut bytes = Vec::new();
        SubscriptionCommand::ping().encode(&mut bytes);
        if connection.write_all(&bytes).is_err() {
            connection.shut_down();
        }
    }

    /// Redis has acknowledged a command, which must be the oldest unanswered one. False if it is another: then the two
    /// sides misunderstand each other.
    pub(crate) fn answered(&self, verb: Verb, pattern: bool, name: &[u8]) -> bool {
        let mut state = lock(&self.state);
        let asked = state.unanswered.pop_front();
        let fits = asked.is_some_and(|asked| asked.verb == verb && asked.pattern == pattern && *asked.name == *name);
        if fits {
            if verb != Verb::Ping {
                state.is_not_busy(&self.reports);
            }
            state.announce_if_settled(&self.reports);
        }
        fits
    }

    /// Redis has refused the oldest unanswered command, which is returned; `None` if there is none. A name that was refused
    /// for the moment ([`Class::Wait`]) goes back to `open`.
    pub(crate) fn refused(&self, refusal: &ErrorReply) -> Option<SubscriptionCommand> {
        let mut state = lock(&self.state);
        let asked = state.unanswered.pop_front()?;
        if asked.verb != Verb::Ping {
            if refusal.class == Class::Wait {
                if asked.verb == Verb::Subscribe {
                    state.asked.remove(asked.pattern, &asked.name);
                } else {
                    state.asked.insert(asked.pattern, &asked.name);
                }
                state.look_at(asked.pattern, &asked.name);
                let now = Instant::now();
                if state.retry_at.is_none() {
                    state.refusals = state.refusals.saturating_add(1);
                    state.refused_at = Some(now);
                }
                let pause = REFUSED_RETRY * (1 << state.refusals.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX));
                state.retry_at = Some(now + pause);
                self.reports.settled.has_news(News::Refused);
            } else {
                // Redis judged the command and refused it for good: so it is not busy.
                state.is_not_busy(&self.reports);
            }
        }
        state.announce_if_settled(&self.reports);
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::topic::Topic;

    /// While Redis is busy and no command is written, changes take no more memory than their names. Afterwards only the
    /// newest routes count.
    #[test]
    fn a_name_that_changes_often_is_open_once() {
        let topics = ["a", "b", "c*"].map(|name| Arc::new(Topic::new(name.as_bytes())));
        let mut routes = Routes::new("");
        let mut state =
            SubscriptionState { refusals: 1, retry_at: Some(Instant::now()), ..SubscriptionState::default() };
        let mut bytes = Vec::new();
        for n in 0..10_000 {
            routes.listen(&topics[n % 3], n / 3 % 2 == 0);
            state.ask_difference(&Arc::new(routes.clone()), &mut bytes);
        }
        assert_eq!((state.open.len(), state.is_open.len(), bytes.len()), (3, 3, 0));
        (state.refusals, state.retry_at) = (0, None);
        topics.iter().for_each(|topic| routes.listen(topic, *topic == topics[2]));
        state.ask_difference(&Arc::new(routes), &mut bytes);
        let expected = SubscriptionCommand { verb: Verb::Subscribe, pattern: true, name: (*b"c*").into() };
        assert_eq!((state.unanswered.as_slices().0, state.open.len(), state.is_open.len()), (&[expected][..], 0, 0));
    }
}
