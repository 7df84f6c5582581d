//! [`Intake`] handles each push of the subscribed connection, on `rt-subscriber`. Events are decoded here, so that the
//! game thread need not; repeats end here, and gaps are reported. Acknowledgements and refusals of SUBSCRIBE commands go
//! to `subscriber/subscriptions.rs`.
//! It never waits: every queue that it fills drops or refuses at once.

use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard};
use std::time::{Instant, SystemTime};

use crate::config::limits::PAYLOAD_BYTES_MAX;
use crate::event::identity::Identity;
use crate::event::ledger::{Ledger, Sight};
use crate::event::notice::Notice;
use crate::event::payload;
use crate::event::topic::SELFTEST;
use crate::event::{Arrival, Arrived, Decoded, EventText, identity};
use crate::hooks::aggregator::Moment;
use crate::hooks::hook::Scopes;
use crate::hooks::lease::Turn;
use crate::hooks::routes::{Route, Routes};
use crate::hooks::spec::Scope;
use crate::io::lock::lock;
use crate::io::text_log::Throttle;
use crate::json::tape::Undecoded;
use crate::redis::error_reply::{Class, ErrorReply};
use crate::redis::push::Push;
use crate::threads::actions::dispatch;
use crate::threads::actions::dispatch::Occasion;
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::Purpose;
use crate::threads::subscriber::subscriptions::Verb;

/// Memory for decoding that is kept from event to event, in bytes: one huge event must not keep its memory for ever.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// The receiving end of one connection: the routes, the ledger, and scratch memory.
pub(super) struct Intake<'a> {
    pub(super) shared: &'a Arc<Shared>,
    routes: Arc<Routes>,
    routes_version: u64,
    ledger: MutexGuard<'a, Ledger>,
    /// Scratch memory for the tape and the identity of one event.
    tape: Vec<u8>,
    identity: Vec<u8>,
    /// The moment of the last read.
    arrival: Arrival,
    /// Throttles the log lines about events that were too large, and about refused subscriptions.
    skipped: Throttle,
    refusals: Throttle,
}

impl<'a> Intake<'a> {
    /// Holds the lock of the ledger for its life: no other thread reads numbers.
    pub(super) fn new(shared: &'a Arc<Shared>) -> Intake<'a> {
        let (routes_version, routes) = shared.published.current();
        let mut ledger = lock(&shared.ledger);
        // The ledger is of the connection before. Topics that lost their last listener or hook meanwhile are forgotten:
        // events that no function wants are not missed.
        ledger.keep_only(|pattern, name| routes.get(pattern, name).is_some());
        Intake {
            shared,
            routes,
            routes_version,
            ledger,
            tape: Vec::new(),
            identity: Vec::new(),
            arrival: Arrival { at: Instant::now(), unix_ms: 0, own_boot: shared.boot },
            skipped: Throttle::new(),
            refusals: Throttle::new(),
        }
    }
}

impl Intake<'_> {
    /// Begins with the bytes of one read: takes the time and the newest routes.
    pub(super) fn begin(&mut self) {
        self.arrival.at = Instant::now();
        self.arrival.unix_ms = identity::unix_ms(SystemTime::now());
        // The version is an atomic: a batch of events with unchanged routes takes no lock.
        if self.shared.published.version() != self.routes_version {
            let (version, routes) = self.shared.published.current();
            // A topic that nobody wants any more starts with a new baseline if it is wanted again. Its events are dropped
            // before the ledger sees them, and must not count as missed then.
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

    /// Handles one push. An error ends the connection.
    pub(super) fn handle(&mut self, push: Push<'_>) -> io::Result<()> {
        let (verb, pattern, name) = match push {
            Push::Message { channel, payload } => {
                self.event(false, channel, channel, payload);
                return Ok(());
            }
            Push::PatternMessage { pattern, channel, payload } => {
                self.event(true, pattern, channel, payload);
                return Ok(());
            }
            Push::Subscribed { channel, .. } => (Verb::Subscribe, false, channel),
            Push::PatternSubscribed { pattern, .. } => (Verb::Subscribe, true, pattern),
            // Redis answers an UNSUBSCRIBE of no subscription with a null name, which matches none of our commands.
            Push::Unsubscribed { channel, .. } => (Verb::Unsubscribe, false, channel.unwrap_or_default()),
            Push::PatternUnsubscribed { pattern, .. } => (Verb::Unsubscribe, true, pattern.unwrap_or_default()),
            Push::Pong { .. } => (Verb::Ping, false, b"".as_slice()),
            Push::TooLarge { channel, bytes } => {
                self.too_large(channel, bytes);
                return Ok(());
            }
            Push::Error(text) => return self.refused(ErrorReply::new(text)),
            Push::Unexpected(reply) => {
                let found = format!("expected an event, found {}", reply.describe());
                return Err(io::Error::new(ErrorKind::InvalidData, found));
            }
        };
        if verb == Verb::Unsubscribe {
            self.ledger.forget(pattern, name);
        }
        // Answers come in the order of the commands; another order is a protocol error.
        if !self.shared.subscriptions.answered(verb, pattern, name) {
            return Err(io::Error::new(ErrorKind::InvalidData, "redis answered another command than the oldest one"));
        }
        Ok(())
    }

    /// Decodes one event, checks its number, makes the hooks act, and queues it in the inbox for its listeners. `name` is
    /// the channel or pattern of the subscription, on the wire. An event without a route is dropped: its UNSUBSCRIBE is on
    /// the way.
    #[optimize(speed)]
    fn event(&mut self, pattern: bool, name: &[u8], wire_channel: &[u8], payload: &[u8]) {
        let Some(route) = self.routes.get(pattern, name) else { return };
        // A hook on `*` must not post, log or count the self-test of a server.
        if pattern && self.routes.unprefixed(wire_channel).starts_with(SELFTEST.as_bytes()) {
            return;
        }
        let stats = &self.shared.stats;
        self.tape.clear();
        self.tape.shrink_to(SCRATCH_BYTES_KEPT);
        let parsed = payload::decode_with(payload, &mut self.tape, &mut self.identity);
        let raw = parsed.is_err();
        match parsed {
            Ok(()) => {}
            Err(Undecoded::NotJson { .. }) => stats.raw.add(1),
            Err(Undecoded::Limits) => stats.raw_over_limits.add(1),
        }
        let identity = Identity::parse(&self.identity, wire_channel);
        // The member `_rt` is there but is not valid for this channel: the event was copied from another channel, or
        // made up. It counts as one of another program.
        if identity.is_none() && !self.identity.is_empty() {
            stats.relayed.add(1);
        }
        let channel = self.routes.unprefixed(wire_channel);
        if let Some(identity) = &identity {
            if identity.boot != self.shared.boot && self.ledger.is_first_of(identity.boot, identity.server) {
                stats.servers_heard.add(1);
            }
            match self.ledger.see(pattern, name, wire_channel, identity, self.arrival.at) {
                Sight::New { missed: 0 } => {}
                // Its listeners read the stream, and report what is not there.
                Sight::New { .. } if route.recovers => {}
                Sight::Implausible => stats.numbers_implausible.add(1),
                Sight::Renewed => stats.numbers_renewed.add(1),
                Sight::New { missed } => {
                    stats.missed.add(missed);
                    let server = identity.server.into();
                    self.shared.notices.push(Notice::Gap { channel: channel.into(), server, missed });
                }
                // The sender sent it again after its connection was lost. Neither hooks nor listeners may see it twice.
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
            let (topic, arrival) = (Arc::clone(&route.topic), self.arrival);
            self.shared.inbox.push(Arrived { topic, channel, decoded, arrival }, Purpose::Listeners);
        }
    }

    /// Makes the hooks and aggregators of a route act on an event.
    ///
    /// | event | actions with scope `each` | actions with scope `fleet` |
    /// |---|---|---|
    /// | of this process, by its identity | at `Emit`, on `rt-actions` | at `Emit`, on `rt-actions` |
    /// | of another server that lists the hook, or has too many to list them | here | not here: the sender acted |
    /// | any other | here | here, if this server holds the hook's lease |
    fn act(&self, route: &Route, channel: &[u8], payload: &[u8], raw: bool, identity: Option<&Identity<'_>>) {
        if identity.is_some_and(|identity| identity.boot == self.shared.boot) {
            return;
        }
        let Arrival { at, unix_ms, .. } = self.arrival;
        let moment = Moment { at, unix_ms, offset_s: self.shared.zone.offset_s() };
        self.shared.collector.collect(&route.aggregators, &self.tape, moment);
        let mut text = None;
        for hook in &route.hooks {
            // A status message of one server shows the events of that server, and those of programs that are none.
            if identity.is_some() && hook.status().is_some_and(|status| !status.is_fleet) {
                continue;
            }
            let acted = identity.is_some_and(|identity| identity.has_acted(hook.fingerprint));
            let turn = if acted { Turn::Others } else { hook.lease.turn(self.arrival.at, self.arrival.at) };
            // Two servers must not both act: while Redis has not said which one holds the lease, this one does not act.
            if turn == Turn::Unknown && hook.has(Scope::Fleet) {
                self.shared.stats.events_without_lease.add(1);
            }
            let is_unlisted = acted && identity.is_some_and(|identity| identity.lists_none());
            if is_unlisted && hook.has(Scope::Fleet) && hook.lease.holds(self.arrival.at) {
                self.shared.stats.events_without_list.add(1);
            }
            let scopes = Scopes { each: true, fleet: turn == Turn::Ours };
            if !(scopes.fleet || hook.has(Scope::Each)) {
                continue;
            }
            // The text is copied for the first hook that acts, and shared by the others.
            let text = text.get_or_insert_with(|| Arc::new(EventText::new(channel, &[payload], self.arrival.unix_ms)));
            let occasion = Occasion { text, tape: &self.tape, raw, arrival: self.arrival };
            dispatch::act(self.shared, hook, scopes, occasion);
        }
    }

    /// Counts and reports an event over the limit, which the decoder skipped on the wire.
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

    /// Reports a refused command. A refusal for the moment is repeated (`subscriptions.rs`). Any other refusal of a name is
    /// reported to scripts; the next connection asks again, as an operator may have changed the ACL. A refusal of the
    /// connection itself is returned as an error.
    fn refused(&mut self, refusal: ErrorReply) -> io::Result<()> {
        let Some(asked) = self.shared.subscriptions.refused(&refusal) else {
            return Err(io::Error::other(refusal.to_string()));
        };
        match (asked.verb, refusal.class) {
            (_, Class::Wait) | (Verb::Ping | Verb::Unsubscribe, Class::Never) => Ok(()),
            (Verb::Subscribe, Class::Never) => {
                self.shared.stats.subscriptions_refused.add(1);
                let name = self.routes.unprefixed(&asked.name);
                if let Some(more) = self.refusals.pass(self.arrival.at) {
                    let name = String::from_utf8_lossy(name);
                    log::error!("redis refused the subscription to `{name}`: {refusal}{more}");
                }
                let (target, reason) = (name.into(), format!("redis: {refusal}"));
                self.shared.notices.push(Notice::Error { operation: "subscribe", target, reason });
                Ok(())
            }
            // Redis refuses the connection itself, or it leads to the wrong server.
            _ => Err(io::Error::other(refusal.to_string())),
        }
    }
}
