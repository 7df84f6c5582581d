//! What was asked of the subscribed connection, and what of it Redis has acknowledged.
//! rt-subscriber reads that connection and waits in the read, so rt-publisher writes the commands; this is between
//! the two. One name a command, so that each has one answer: an ACL that forbids one channel must not take others
//! down with it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Instant;

use crate::config::limits::REFUSED_RETRY;
use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::redis::command;
use crate::redis::connection::Connection;
use crate::redis::refusal::{Class, Refusal};
use crate::threads::links::{Links, News, Published, Settled, Side};
use crate::threads::publisher::outbox::Outbox;

/// The pause after a refusal doubles so often, from [`REFUSED_RETRY`] to two seconds.
const PAUSE_DOUBLINGS_MAX: u32 = 3;

pub(crate) struct Subscriptions {
    /// Held while a command is built and written, so that commands leave in the order they were decided. The thread
    /// that reads takes it only if it is free: it must go on reading while somebody waits here to write.
    writing: Mutex<()>,
    state: Mutex<SubscriptionState>,
    reports: Reports,
}

/// Where changes of the subscriptions are reported.
struct Reports {
    published: Arc<Published>,
    settled: Arc<Settled>,
    links: Arc<Links>,
    /// Woken when there is more to ask for: rt-publisher writes the commands.
    outbox: Arc<Outbox>,
}

#[derive(Default)]
struct SubscriptionState {
    connection: Option<Arc<Connection>>,
    /// The settings that it was made with, by their number of reconnections.
    seen: u64,
    /// SubscriptionCommand for and not taken back, by wire name. Channels and patterns are two name spaces of Redis.
    channels: HashSet<Box<[u8]>>,
    patterns: HashSet<Box<[u8]>>,
    /// What is due an answer, in the order of the commands.
    unanswered: VecDeque<SubscriptionCommand>,
    /// The routes up to which everything was asked for.
    routes: Arc<Routes>,
    /// Names to look at, and whether each is a pattern: what changed with the routes, and what was refused for the moment.
    open: VecDeque<(bool, Box<[u8]>)>,
    /// The same, so that each stands there once, however often it changes while nothing is asked for.
    is_open: HashSet<(bool, Box<[u8]>)>,
    /// When Redis began to refuse what it was asked last, and when to ask again.
    refused_at: Option<Instant>,
    retry_at: Option<Instant>,
    /// So often in a row. Meanwhile one name is asked for at a time: a busy Redis is not flooded with thousands.
    refusals: u32,
    version: u64,
}

/// One question on the subscribed connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SubscriptionCommand {
    Subscribe { pattern: bool, name: Box<[u8]> },
    Unsubscribe { pattern: bool, name: Box<[u8]> },
    Ping,
}

impl SubscriptionCommand {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self {
            SubscriptionCommand::Subscribe { pattern: false, name } => command::encode(bytes, &[b"SUBSCRIBE", name]),
            SubscriptionCommand::Subscribe { pattern: true, name } => command::encode(bytes, &[b"PSUBSCRIBE", name]),
            SubscriptionCommand::Unsubscribe { pattern: false, name } => {
                command::encode(bytes, &[b"UNSUBSCRIBE", name])
            }
            SubscriptionCommand::Unsubscribe { pattern: true, name } => {
                command::encode(bytes, &[b"PUNSUBSCRIBE", name])
            }
            SubscriptionCommand::Ping => command::encode(bytes, &[b"PING"]),
        }
    }
}

impl SubscriptionState {
    fn asked(&mut self, pattern: bool) -> &mut HashSet<Box<[u8]>> {
        if pattern { &mut self.patterns } else { &mut self.channels }
    }

    fn look_at(&mut self, pattern: bool, name: Box<[u8]>) {
        if self.is_open.insert((pattern, name.clone())) {
            self.open.push_back((pattern, name));
        }
    }

    /// Notes and encodes what brings the subscriptions from what was asked to what is wanted. Looks only at what changed
    /// since it did last, and at what was refused meanwhile.
    fn ask_difference(&mut self, routes: &Arc<Routes>, bytes: &mut Vec<u8>) {
        let older = std::mem::replace(&mut self.routes, Arc::clone(routes));
        for pattern in [false, true] {
            routes.differing(&older, pattern, |name| self.look_at(pattern, name.into()));
        }
        let is_quiet =
            self.retry_at.is_none() && self.unanswered.iter().all(|asked| *asked == SubscriptionCommand::Ping);
        let most = if self.refusals == 0 { usize::MAX } else { usize::from(is_quiet) };
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        while gone.len() + new.len() < most
            && let Some(open) = self.open.pop_front()
        {
            self.is_open.remove(&open);
            let (pattern, name) = open;
            let is_wanted = routes.get(pattern, &name).is_some();
            if is_wanted && !self.asked(pattern).contains(&name) {
                self.asked(pattern).insert(name.clone());
                new.push(SubscriptionCommand::Subscribe { pattern, name });
            } else if !is_wanted && self.asked(pattern).remove(&name) {
                gone.push(SubscriptionCommand::Unsubscribe { pattern, name });
            }
        }
        for question in gone.into_iter().chain(new) {
            question.encode(bytes);
            self.unanswered.push_back(question);
        }
    }

    /// Redis is busy no more: the other names are asked for at once.
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

    /// Every request has its answer: what can stand, stands.
    fn announce_if_settled(&self, reports: &Reports) {
        if self.unanswered.iter().all(|asked| *asked == SubscriptionCommand::Ping)
            && self.retry_at.is_none()
            && self.open.is_empty()
            && self.connection.is_some()
        {
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

    /// A new connection, made with the settings of number `seen`: nothing is asked of it yet.
    pub(crate) fn connected(&self, connection: &Arc<Connection>, seen: u64) {
        *lock(&self.state) =
            SubscriptionState { connection: Some(Arc::clone(connection)), seen, ..SubscriptionState::default() };
    }

    /// Ends the connection, unless it was made with the settings of number `now`: its thread may have been faster.
    pub(crate) fn disconnect_before(&self, now: u64) {
        let mut state = lock(&self.state);
        if state.seen < now
            && let Some(connection) = state.connection.take()
        {
            connection.shut_down();
        }
    }

    /// Ends the connection, if there is one; its reader wakes up.
    pub(crate) fn disconnect(&self) {
        if let Some(connection) = lock(&self.state).connection.take() {
            connection.shut_down();
        }
    }

    /// Whether it is time to ask again for what was refused for the moment.
    pub(crate) fn are_due(&self, now: Instant) -> bool {
        lock(&self.state).retry_at.is_some_and(|retry_at| now >= retry_at)
    }

    /// A publish waits for what was refused: it is asked for again after the shortest pause.
    pub(crate) fn hurry(&self) {
        let mut state = lock(&self.state);
        let soon = state.refused_at.map(|refused_at| refused_at + REFUSED_RETRY);
        state.retry_at = state.retry_at.map(|retry_at| soon.map_or(retry_at, |soon| soon.min(retry_at)));
    }

    /// Asks Redis for the difference between the newest routes and what was asked. Returns their version.
    /// Without a connection there is nothing to do: the next one asks for everything.
    pub(crate) fn sync(&self) -> u64 {
        let writing = lock(&self.writing);
        let (version, routes) = self.reports.published.current();
        let mut bytes = Vec::new();
        let connection = {
            let mut state = lock(&self.state);
            let Some(connection) = state.connection.clone() else { return version };
            state.version = version;
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
            // Its reader sees the end of it and connects again.
            connection.shut_down();
        }
        drop(writing);
        version
    }

    /// Asks only to hear an answer; unless somebody is writing, who will be answered as well.
    pub(crate) fn ping(&self) {
        let _writing = match self.writing.try_lock() {
            Ok(writing) => writing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let connection = {
            let mut state = lock(&self.state);
            let Some(connection) = state.connection.clone() else { return };
            state.unanswered.push_back(SubscriptionCommand::Ping);
            connection
        };
        let mut bytes = Vec::new();
        SubscriptionCommand::Ping.encode(&mut bytes);
        if connection.write_all(&bytes).is_err() {
            connection.shut_down();
        }
    }

    /// The oldest question was answered as asked. False if `answer` belongs to another one.
    pub(crate) fn answered(&self, answer: &SubscriptionCommand) -> bool {
        let mut state = lock(&self.state);
        let fits = state.unanswered.pop_front().is_some_and(|asked| asked == *answer);
        if fits {
            if *answer != SubscriptionCommand::Ping {
                state.is_not_busy(&self.reports);
            }
            state.announce_if_settled(&self.reports);
        }
        fits
    }

    /// The oldest question was refused. What is refused for the moment is asked again. The question, unless nothing
    /// was asked.
    pub(crate) fn refused(&self, refusal: &Refusal) -> Option<SubscriptionCommand> {
        let mut state = lock(&self.state);
        let asked = state.unanswered.pop_front()?;
        if refusal.class == Class::Wait {
            match &asked {
                SubscriptionCommand::Subscribe { pattern, name } => {
                    state.asked(*pattern).remove(name);
                    state.look_at(*pattern, name.clone());
                }
                SubscriptionCommand::Unsubscribe { pattern, name } => {
                    state.asked(*pattern).insert(name.clone());
                    state.look_at(*pattern, name.clone());
                }
                SubscriptionCommand::Ping => {}
            }
            if asked != SubscriptionCommand::Ping {
                let now = Instant::now();
                if state.retry_at.is_none() {
                    state.refusals = state.refusals.saturating_add(1);
                    state.refused_at = Some(now);
                }
                let pause = REFUSED_RETRY * (1 << state.refusals.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX));
                state.retry_at = Some(now + pause);
                self.reports.settled.has_news(News::Refused);
            }
        } else if asked != SubscriptionCommand::Ping {
            // It was looked at, and refused for good.
            state.is_not_busy(&self.reports);
        }
        state.announce_if_settled(&self.reports);
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::topic::Topic;

    /// While nothing is asked for, changes take no more memory than the names do; in the end what counts is what is wanted.
    #[test]
    fn a_name_that_changes_often_is_looked_at_once() {
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
        let expected = SubscriptionCommand::Subscribe { pattern: true, name: (*b"c*").into() };
        assert_eq!((state.unanswered.as_slices().0, state.open.len(), state.is_open.len()), (&[expected][..], 0, 0));
    }
}
