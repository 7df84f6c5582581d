//! Turns the bytes of one subscribed connection into events for Lua.
//! Runs on `rt-subscriber`, which always reads: Redis cuts off a subscriber that falls behind. Decodes the JSON here,
//! so that the game thread need not, and looks at each event's number: repeats end here, gaps are told.
//! A full inbox costs the oldest event, never the connection.

use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard};
use std::time::{Instant, SystemTime};

use crate::config::limits::{HEARTBEAT, PAYLOAD_BYTES_MAX, SILENCE_MAX};
use crate::event::identity::Identity;
use crate::event::ledger::{Ledger, Sight};
use crate::event::notice::Notice;
use crate::event::{Arrival, Decoded, Event, EventText, identity};
use crate::hooks::aggregator::Moment;
use crate::hooks::hook::Scopes;
use crate::hooks::lease::Turn;
use crate::hooks::routes::{Route, Routes};
use crate::hooks::spec::Scope;
use crate::io::fail_point::fail_point;
use crate::io::lock::lock;
use crate::io::text_log::Throttle;
use crate::json::tape::Undecoded;
use crate::redis::PUSH_LIMITS;
use crate::redis::backoff::Backoff;
use crate::redis::connection::Connection;
use crate::redis::push::Push;
use crate::redis::refusal::{Class, Refusal};
use crate::redis::reply::Decoder;
use crate::threads::actions::dispatch;
use crate::threads::actions::dispatch::Occasion;
use crate::threads::links::{Side, Trouble};
use crate::threads::shared::{Pause, Shared};
use crate::threads::subscriber::inbox::Inbound;
use crate::threads::subscriber::subscriptions::SubscriptionCommand;

pub(crate) mod inbox;
pub(crate) mod subscriptions;

/// One huge event must not keep its memory for ever.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;
/// Reads in a row that may find nothing, [`HEARTBEAT`] each. Counted, not timed: a process that was stopped for an
/// hour finds what came meanwhile at its next read.
const EMPTY_READS_MAX: u32 = (SILENCE_MAX.as_millis() / HEARTBEAT.as_millis()) as u32;

/// The thread's whole life: connect, read, wait, again, until stop.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut backoff = Backoff::default();
    while !shared.is_stopping() {
        let (seen, mut was_ready) = (shared.settings.generation(), false);
        let config = shared.settings.current();
        let address = &config.redis;
        let (trouble, class) = match Connection::open(&config, "subscriber") {
            Ok(connection) => {
                let (connection, began) = (Arc::new(connection), Instant::now());
                let subscribed = Subscribed::begin(shared, &connection, seen);
                // A stop that came before the line above found no connection to end.
                if shared.is_stopping() {
                    return;
                }
                shared.subscriptions.sync();
                // So did other settings.
                if shared.settings.generation() != seen {
                    connection.shut_down();
                }
                let err = Subscriber::new(shared).serve(&connection);
                if shared.settings.generation() != seen && !shared.is_stopping() {
                    drop(subscribed);
                    let reason = format!("left redis at {address}: the settings changed");
                    shared.link_down(Side::Subscriber, &Trouble::new(reason, Class::Reconnect));
                    continue;
                }
                was_ready = shared.links.subscriber.is_ready();
                if was_ready {
                    backoff.was_ready(began.elapsed());
                }
                drop(subscribed);
                (format!("lost the subscribed connection to redis at {address}: {err}"), Class::Reconnect)
            }
            Err(err) => {
                shared.stats.connect_failures.add(u64::from(config.not_understood().is_none()));
                (err.to_string(), err.class())
            }
        };
        if shared.is_stopping() {
            return;
        }
        let trouble = Trouble::new(trouble, class);
        if shared.link_down(Side::Subscriber, &trouble) && config.not_understood().is_none() {
            log::warn!("{}; retrying", trouble.reason);
        }
        // After it counts as lost: who sees the number finds it so.
        shared.stats.reconnects.add(u64::from(was_ready));
        if shared.pause_unless_changed(backoff.next_delay(class, shared.random()), seen) == Pause::Stop {
            return;
        }
    }
}

/// While it lives, others may ask for subscriptions on the connection. Its end, also by a panic, is their end.
struct Subscribed<'a>(&'a Shared);

impl<'a> Subscribed<'a> {
    fn begin(shared: &'a Shared, connection: &Arc<Connection>, seen: u64) -> Subscribed<'a> {
        shared.subscriptions.connected(connection, seen);
        Subscribed(shared)
    }
}

impl Drop for Subscribed<'_> {
    fn drop(&mut self) {
        self.0.subscriptions.disconnect();
        self.0.settled.lost();
        if std::thread::panicking() {
            let reason = "internal error, the subscriber starts again".to_owned();
            self.0.link_down(Side::Subscriber, &Trouble::new(reason, Class::Wait));
        }
    }
}

/// One connection's subscriber.
struct Subscriber<'a> {
    decoder: Decoder,
    intake: Intake<'a>,
}

impl<'a> Subscriber<'a> {
    fn new(shared: &'a Arc<Shared>) -> Subscriber<'a> {
        let (routes_version, routes) = shared.published.current();
        let mut ledger = lock(&shared.ledger);
        forget_unwanted(&mut ledger, &routes);
        let arrival = Arrival { at: Instant::now(), unix_ms: 0, own_boot: shared.boot };
        let intake = Intake {
            shared,
            routes,
            routes_version,
            ledger,
            tape: Vec::new(),
            identity: Vec::new(),
            arrival,
            skipped: Throttle::new(),
            refusals: Throttle::new(),
        };
        Subscriber { decoder: Decoder::new(PUSH_LIMITS), intake }
    }

    /// Reads until the connection ends; says why.
    fn serve(mut self, connection: &Connection) -> io::Error {
        if let Err(err) = connection.set_read_timeout(HEARTBEAT) {
            return err;
        }
        let mut empty_reads = 0;
        loop {
            match self.decoder.read_from(&mut connection.reader()) {
                Ok(0) => return io::Error::new(ErrorKind::UnexpectedEof, "closed by redis"),
                Ok(_) => {
                    empty_reads = 0;
                    if let Err(err) = self.handle_pushes() {
                        return err;
                    }
                }
                // How a read says that its time is up depends on the system.
                Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    empty_reads += 1;
                    if empty_reads >= EMPTY_READS_MAX {
                        let found = format!("no answer for {} s", SILENCE_MAX.as_secs());
                        return io::Error::new(ErrorKind::TimedOut, found);
                    }
                    self.intake.shared.subscriptions.ping();
                }
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return err,
            }
        }
    }

    fn handle_pushes(&mut self) -> io::Result<()> {
        fail_point("subscriber");
        self.intake.begin();
        loop {
            match self.decoder.next() {
                Ok(Some(reply)) => self.intake.handle(Push::from_reply(reply))?,
                Ok(None) => return Ok(()),
                Err(err) => return Err(io::Error::new(ErrorKind::InvalidData, err.to_string())),
            }
        }
    }
}

/// While nobody listens nothing is missed, whether Redis heard of it or not.
fn forget_unwanted(ledger: &mut Ledger, routes: &Routes) {
    ledger.keep_only(|pattern, name| routes.get(pattern, name).is_some());
}

/// What is done with each push.
struct Intake<'a> {
    shared: &'a Arc<Shared>,
    routes: Arc<Routes>,
    routes_version: u64,
    ledger: MutexGuard<'a, Ledger>,
    /// Where each event is put together, reused.
    tape: Vec<u8>,
    identity: Vec<u8>,
    arrival: Arrival,
    skipped: Throttle,
    refusals: Throttle,
}

impl Intake<'_> {
    /// Bytes came in.
    fn begin(&mut self) {
        self.arrival.at = Instant::now();
        self.arrival.unix_ms = identity::unix_ms(SystemTime::now());
        if self.shared.published.version() != self.routes_version {
            let (version, routes) = self.shared.published.current();
            for pattern in [false, true] {
                let unwanted = |name: &[u8]| routes.get(pattern, name).is_none();
                routes.differing(&self.routes, pattern, |name| {
                    if unwanted(name) {
                        self.ledger.forget(pattern, name);
                    }
                });
            }
            (self.routes_version, self.routes) = (version, routes);
        }
    }

    fn handle(&mut self, push: Push<'_>) -> io::Result<()> {
        match push {
            Push::Message { channel, payload } => self.event(false, channel, channel, payload),
            Push::PatternMessage { pattern, channel, payload } => self.event(true, pattern, channel, payload),
            Push::Subscribed { channel, .. } => {
                return self.answered(SubscriptionCommand::Subscribe { pattern: false, name: channel.into() });
            }
            Push::PatternSubscribed { pattern, .. } => {
                return self.answered(SubscriptionCommand::Subscribe { pattern: true, name: pattern.into() });
            }
            Push::Unsubscribed { channel, .. } => {
                let name = channel.unwrap_or_default();
                self.ledger.forget(false, name);
                return self.answered(SubscriptionCommand::Unsubscribe { pattern: false, name: name.into() });
            }
            Push::PatternUnsubscribed { pattern, .. } => {
                let name = pattern.unwrap_or_default();
                self.ledger.forget(true, name);
                return self.answered(SubscriptionCommand::Unsubscribe { pattern: true, name: name.into() });
            }
            Push::Pong { .. } => return self.answered(SubscriptionCommand::Ping),
            Push::TooLarge { channel, bytes } => self.too_large(channel, bytes),
            Push::Error(text) => return self.refused(Refusal::new(text)),
            Push::Unexpected(reply) => {
                let found = format!("expected an event, found {}", reply.describe());
                return Err(io::Error::new(ErrorKind::InvalidData, found));
            }
        }
        Ok(())
    }

    /// Lets hooks act on one event, and puts it into the inbox for its listeners. Without a route nobody wants it any
    /// more: the UNSUBSCRIBE is on its way.
    fn event(&mut self, pattern: bool, name: &[u8], wire_channel: &[u8], payload: &[u8]) {
        let Some(route) = self.routes.get(pattern, name) else { return };
        let stats = &self.shared.stats;
        self.tape.clear();
        self.tape.shrink_to(SCRATCH_BYTES_KEPT);
        let parsed = dispatch::decode_with(payload, &mut self.tape, &mut self.identity);
        let raw = parsed.is_err();
        match parsed {
            Ok(()) => {}
            Err(Undecoded::NotJson { .. }) => stats.raw.add(1),
            Err(Undecoded::Limits) => stats.raw_over_limits.add(1),
        }
        let identity = Identity::parse(&self.identity, wire_channel);
        if identity.is_none() && !self.identity.is_empty() {
            stats.relayed.add(1);
        }
        let channel = self.routes.unprefixed(wire_channel);
        if let Some(identity) = &identity {
            match self.ledger.see(pattern, name, wire_channel, identity, self.arrival.at) {
                Sight::New { missed: 0 } => {}
                Sight::Implausible => stats.numbers_implausible.add(1),
                Sight::Renewed => stats.numbers_renewed.add(1),
                Sight::New { missed } => {
                    stats.missed.add(missed);
                    let server = identity.server.into();
                    self.shared.notices.push(Notice::Gap { channel: channel.into(), server, missed });
                }
                Sight::Repeat => {
                    stats.inbox.offered.add(1);
                    stats.inbox.dropped.repeat.add(1);
                    return;
                }
            }
        }
        if route.is_acted_on() {
            self.act(route, channel, payload, raw, identity.as_ref());
        }
        if route.is_listened {
            let decoded = Decoded { tape: &self.tape, raw, identity };
            let event = Event::new(Arc::clone(&route.topic), channel, decoded, self.arrival);
            self.shared.inbox.push(Inbound::for_listeners(event));
        }
    }

    /// What this server itself sent, its hooks have acted on at Emit, and it was collected there, if the event could say so. On what others sent
    /// acts each server for itself, and for the fleet the one that holds the hook's lease, unless the sender did.
    fn act(&self, route: &Route, channel: &[u8], payload: &[u8], raw: bool, identity: Option<&Identity<'_>>) {
        if identity.is_some_and(|identity| identity.boot == self.shared.boot) {
            return;
        }
        let moment = Moment { at: self.arrival.at, unix_ms: self.arrival.unix_ms };
        self.shared.collector.collect(&route.aggregators, &self.tape, moment);
        let mut text = None;
        for hook in &route.hooks {
            let acted = identity.is_some_and(|identity| identity.has_acted(hook.fingerprint));
            let turn = if acted { Turn::Others } else { hook.lease.turn(self.arrival.at, self.arrival.at) };
            if turn == Turn::Unknown && hook.has(Scope::Fleet) {
                self.shared.stats.events_without_lease.add(1);
            }
            let scopes = Scopes { each: true, fleet: turn == Turn::Ours };
            if !(scopes.fleet || hook.has(Scope::Each)) {
                continue;
            }
            let text = text.get_or_insert_with(|| Arc::new(EventText::new(channel, &[payload], self.arrival.unix_ms)));
            let occasion = Occasion { text, tape: &self.tape, raw, arrival: self.arrival };
            dispatch::act(self.shared, hook, scopes, occasion);
        }
    }

    /// An event over the limit was skipped on the wire.
    fn too_large(&mut self, wire_channel: Option<&[u8]>, bytes: u64) {
        self.shared.stats.inbox.offered.add(1);
        self.shared.stats.inbox.dropped.too_large.add(1);
        if let Some(more) = self.skipped.pass(self.arrival.at) {
            let channel = wire_channel.map_or(b"?".as_slice(), |channel| self.routes.unprefixed(channel));
            let reason = format!("too_large: an event of {bytes} bytes was skipped, {PAYLOAD_BYTES_MAX} are allowed");
            log::error!("`{}`: {reason}{more}", String::from_utf8_lossy(channel));
            self.shared.notices.push(Notice::Error { operation: "receive", target: channel.into(), reason });
        }
    }

    /// Answers come in the order of the questions: another order means that we misunderstand each other.
    fn answered(&self, answer: SubscriptionCommand) -> io::Result<()> {
        match self.shared.subscriptions.answered(&answer) {
            true => Ok(()),
            false => Err(io::Error::new(ErrorKind::InvalidData, "an answer to another question than ours")),
        }
    }

    /// A question was refused. For the moment: it is asked again. Else it is told, and asked again at the next
    /// connection, as rights may change.
    fn refused(&mut self, refusal: Refusal) -> io::Result<()> {
        let Some(asked) = self.shared.subscriptions.refused(&refusal) else {
            return Err(io::Error::other(refusal.to_string()));
        };
        match (asked, refusal.class) {
            (_, Class::Wait) | (SubscriptionCommand::Ping | SubscriptionCommand::Unsubscribe { .. }, Class::Never) => {
                Ok(())
            }
            (SubscriptionCommand::Subscribe { name, .. }, Class::Never) => {
                self.shared.stats.subscriptions_refused.add(1);
                let name = self.routes.unprefixed(&name);
                if let Some(more) = self.refusals.pass(self.arrival.at) {
                    let name = String::from_utf8_lossy(name);
                    log::error!("redis refused the subscription to `{name}`: {refusal}{more}");
                }
                let (target, reason) = (name.into(), format!("redis: {refusal}"));
                self.shared.notices.push(Notice::Error { operation: "subscribe", target, reason });
                Ok(())
            }
            // The connection itself is refused, or leads to the wrong server.
            _ => Err(io::Error::other(refusal.to_string())),
        }
    }
}
