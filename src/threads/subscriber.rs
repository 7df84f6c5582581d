//! Turns the bytes of one subscribed connection into events for Lua.
//! Runs on `rt-subscriber`, which always reads: Redis cuts off a subscriber that falls behind. Decodes the JSON here,
//! so that the game thread need not. A full inbox costs the oldest event, never the connection.
//! [`Subscriptions`] is what was asked of that connection; the publisher thread asks, since this one waits in a read.

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::config::PAYLOAD_BYTES_MAX;
use crate::event::Event;
use crate::json::tape;
use crate::redis::backoff::Backoff;
use crate::redis::connection::Connection;
use crate::redis::push::Push;
use crate::redis::reply::Decoder;
use crate::redis::{PUSH_LIMITS, command};
use crate::routes::{Routes, Topic};
use crate::text_log::Throttle;
use crate::threads::{Shared, lock};

/// One huge event must not keep its memory for ever.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// The thread's whole life: connect, read, wait, again, until stop.
pub fn run(shared: &Arc<Shared>) {
    let mut backoff = Backoff::default();
    while !shared.is_stopping() {
        let address = &shared.config.redis;
        let trouble = match Connection::open(address) {
            Ok(connection) => {
                let connection = Arc::new(connection);
                shared.subscriptions.connected(&connection);
                // A stop that came before the line above found no connection to end.
                if shared.is_stopping() {
                    return;
                }
                shared.subscriptions.sync(shared);
                let err = Subscriber::new(shared).serve(&connection);
                shared.subscriptions.disconnect();
                shared.settled.lost();
                if shared.subscriber_link.is_ready() {
                    shared.stats.reconnects.add(1);
                    backoff.reset();
                }
                format!("lost the subscribed connection to redis at {address}: {err}")
            }
            Err(err) => err.to_string(),
        };
        if shared.is_stopping() {
            return;
        }
        // The publisher says the same of an address that does not answer; the log needs it once.
        if shared.subscriber_link.down(&trouble) && shared.publisher_link.is_ready() {
            log::warn!("{trouble}; retrying");
        }
        if shared.pause(backoff.next_delay()) {
            return;
        }
    }
}

/// One connection's subscriber.
struct Subscriber<'a> {
    shared: &'a Arc<Shared>,
    decoder: Decoder,
    routes: Arc<Routes>,
    routes_version: u64,
    /// Where each event is put together, reused.
    scratch: Vec<u8>,
    skipped: Throttle,
    refusals: Throttle,
}

impl<'a> Subscriber<'a> {
    fn new(shared: &'a Arc<Shared>) -> Subscriber<'a> {
        let (routes_version, routes) = shared.published.current();
        Subscriber {
            shared,
            decoder: Decoder::new(PUSH_LIMITS),
            routes,
            routes_version,
            scratch: Vec::new(),
            skipped: Throttle::new(),
            refusals: Throttle::new(),
        }
    }

    /// Reads until the connection ends; says why.
    fn serve(mut self, connection: &Connection) -> io::Error {
        loop {
            match self.decoder.read_from(&mut connection.reader()) {
                Ok(0) => return io::Error::new(ErrorKind::UnexpectedEof, "closed by redis"),
                Ok(_) => {
                    let received = Instant::now();
                    if let Err(err) = self.handle_pushes(received) {
                        return err;
                    }
                }
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return err,
            }
        }
    }

    fn handle_pushes(&mut self, received: Instant) -> io::Result<()> {
        if self.shared.published.version() != self.routes_version {
            (self.routes_version, self.routes) = self.shared.published.current();
        }
        let Subscriber { shared, decoder, routes, scratch, skipped, refusals, .. } = self;
        loop {
            let reply = match decoder.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => return Ok(()),
                Err(err) => return Err(io::Error::new(ErrorKind::InvalidData, err.to_string())),
            };
            match Push::from_reply(reply) {
                Push::Message { channel, payload } => {
                    deliver(shared, routes.channel(channel), channel, payload, scratch, received);
                }
                Push::PatternMessage { pattern, channel, payload } => {
                    deliver(shared, routes.pattern(pattern), channel, payload, scratch, received);
                }
                Push::Subscribed { .. }
                | Push::PatternSubscribed { .. }
                | Push::Unsubscribed { .. }
                | Push::PatternUnsubscribed { .. } => {
                    shared.subscriptions.answered(shared);
                }
                Push::Pong { .. } => {}
                Push::TooLarge { channel, bytes } => {
                    shared.stats.inbox.offered.add(1);
                    shared.stats.inbox.dropped.too_large.add(1);
                    let Some(more) = skipped.pass(received) else { continue };
                    let channel = channel.map_or("?".into(), String::from_utf8_lossy);
                    log::error!(
                        "skipped an event of {bytes} bytes on `{channel}`: {PAYLOAD_BYTES_MAX} are allowed{more}"
                    );
                }
                Push::Error(text) => {
                    // Asked for again at the next connection, as rights may change.
                    shared.stats.subscriptions_refused.add(1);
                    let name = shared.subscriptions.answered(shared).unwrap_or_default();
                    if let Some(more) = refusals.pass(received) {
                        let (name, text) = (String::from_utf8_lossy(&name), String::from_utf8_lossy(text));
                        log::error!("redis refused the subscription to `{name}`: {text}{more}");
                    }
                }
                Push::Unexpected(reply) => {
                    let found = format!("expected an event, found {}", reply.describe());
                    return Err(io::Error::new(ErrorKind::InvalidData, found));
                }
            }
        }
    }
}

/// Puts one event into the inbox. Without a topic nobody listens any more: the UNSUBSCRIBE is on its way.
fn deliver(
    shared: &Shared,
    topic: Option<&Arc<Topic>>,
    wire_channel: &[u8],
    payload: &[u8],
    scratch: &mut Vec<u8>,
    received: Instant,
) {
    let Some(topic) = topic else { return };
    let channel = wire_channel.strip_prefix(shared.config.prefix.as_bytes()).unwrap_or(wire_channel);
    scratch.clear();
    scratch.shrink_to(SCRATCH_BYTES_KEPT);
    scratch.extend_from_slice(channel);
    let raw = tape::parse(payload, scratch).is_err();
    if raw {
        shared.stats.raw.add(1);
        tape::push_text(scratch, payload);
    }
    let block = scratch.as_slice().into();
    shared.inbox.push(Event::new(Arc::clone(topic), block, channel.len(), raw, received));
}

/// What was asked of the subscribed connection, and what of it Redis has acknowledged.
#[derive(Default)]
pub struct Subscriptions {
    /// Held while a command is built and written, so that commands leave in the order they were decided. Never taken
    /// by the thread that reads: it must go on reading while somebody waits here to write.
    writing: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Asked for and not taken back, by wire name. Channels and patterns are two name spaces of Redis.
    channels: HashSet<Box<[u8]>>,
    patterns: HashSet<Box<[u8]>>,
    /// Names whose answer is due, in the order of the commands. One name a command, so that each has one answer: an
    /// ACL that forbids one channel must not take others down with it.
    unanswered: VecDeque<Box<[u8]>>,
    version: u64,
}

impl Subscriptions {
    /// A new connection: nothing is asked of it yet.
    fn connected(&self, connection: &Arc<Connection>) {
        *lock(&self.state) = State { connection: Some(Arc::clone(connection)), ..State::default() };
    }

    /// Ends the connection, if there is one; its reader wakes up.
    pub(crate) fn disconnect(&self) {
        if let Some(connection) = lock(&self.state).connection.take() {
            connection.shut_down();
        }
    }

    /// Asks Redis for the difference between the newest routes and what was asked. Returns their version.
    /// Without a connection there is nothing to do: the next one asks for everything.
    pub(crate) fn sync(&self, shared: &Shared) -> u64 {
        let writing = lock(&self.writing);
        let (version, routes) = shared.published.current();
        let mut bytes = Vec::new();
        let connection = {
            let mut state = lock(&self.state);
            let Some(connection) = state.connection.clone() else { return version };
            state.version = version;
            let State { channels, patterns, unanswered, .. } = &mut *state;
            difference(channels, &routes, false, unanswered, &mut bytes);
            difference(patterns, &routes, true, unanswered, &mut bytes);
            announce_if_settled(shared, &state);
            connection
        };
        if !bytes.is_empty() && connection.write_all(&bytes).is_err() {
            // Its reader sees the end of it and connects again.
            connection.shut_down();
        }
        drop(writing);
        version
    }

    /// The oldest request was answered. Its name.
    fn answered(&self, shared: &Shared) -> Option<Box<[u8]>> {
        let mut state = lock(&self.state);
        let name = state.unanswered.pop_front();
        announce_if_settled(shared, &state);
        name
    }
}

/// Every request has its answer: what can stand, stands.
fn announce_if_settled(shared: &Shared, state: &State) {
    if state.unanswered.is_empty() && state.connection.is_some() {
        shared.subscriber_link.up();
        shared.settled.reached(state.version);
    }
}

/// Writes the commands that bring one name space from what was asked to what is wanted.
fn difference(
    asked: &mut HashSet<Box<[u8]>>,
    routes: &Routes,
    pattern: bool,
    unanswered: &mut VecDeque<Box<[u8]>>,
    bytes: &mut Vec<u8>,
) {
    let [subscribe, unsubscribe]: [&[u8]; 2] = match pattern {
        true => [b"PSUBSCRIBE", b"PUNSUBSCRIBE"],
        false => [b"SUBSCRIBE", b"UNSUBSCRIBE"],
    };
    let wanted = |name: &[u8]| match pattern {
        true => routes.pattern(name).is_some(),
        false => routes.channel(name).is_some(),
    };
    let gone: Vec<Box<[u8]>> = asked.iter().filter(|name| !wanted(name)).cloned().collect();
    let new: Vec<Box<[u8]>> = routes.wire_names(pattern).filter(|name| !asked.contains(*name)).map(Box::from).collect();
    for (verb, names) in [(unsubscribe, gone), (subscribe, new)] {
        for name in names {
            command::encode(bytes, &[verb, &name]);
            match verb == subscribe {
                true => asked.insert(name.clone()),
                false => asked.remove(&name),
            };
            unanswered.push_back(name);
        }
    }
}
