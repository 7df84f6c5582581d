//! Items across connections: which are sent again when a connection ends, which are lost because the settings changed,
//! and the wait for the next attempt to connect. Runs on `rt-publisher`. An item whose answer was lost is sent again if
//! repeating it is safe, else it counts as `unknown`: Redis may have done it or not. These rules keep the order and the
//! value of keys:
//!
//! | item in flight | when the connection ends |
//! |---|---|
//! | event with a number | sent again until it is too old: receivers deduplicate by the number |
//! | event without a number | `unknown` |
//! | read with a callback | sent again until it is too old |
//! | reader | lost: the game thread cannot wait for the next connection |
//! | idempotent write | sent again, unless a counter or a script's own command behind it may have changed its key |
//! | counter with a number | sent again: the script applies a number once |
//! | write or counter that may have ended several connections | `unknown` |
//! | counter without a number, a script's own command | `unknown` |

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Backlog, IDLE_CHECK, next::DRAIN_MAX};
use crate::config::Config;
use crate::config::limits::HEARTBEAT;
use crate::redis::REPLY_LIMITS;
use crate::redis::cluster::NodePlace;
use crate::redis::reply::Decoder;
use crate::threads::publisher::outbox::Outgoing;
use crate::threads::publisher::pace::Pace;
use crate::threads::publisher::run::Effect;
use crate::threads::shared::Pause;

impl Backlog<'_> {
    // ---- a connection begins ----------------------------------------------------------------------------------------

    /// A connection is ready; it was made for the settings of this connection version, to a server of these names.
    pub(crate) fn connected(&mut self, seen: u64, home: Vec<NodePlace>) {
        (self.seen, self.drain_until, self.pass) = (seen, None, None);
        self.scripts.connected();
        self.keeping.connected();
        self.cluster.connected(home);
        self.leases.reconnected();
        self.presence.reconnected(Instant::now());
        self.read_settings();
    }

    /// Redis forgets a publish that nobody has subscribed to. The other servers lost their subscriptions when this one
    /// lost its connection: until `until` they get the time to come back. A reader, and the end of a Lua state, do not
    /// wait for them.
    pub(crate) fn hold_publishes(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// Takes over new settings; if they ask for another connection, this one drains from now on.
    pub(crate) fn look_at_settings(&mut self) {
        if self.shared.settings.version() != self.config_version {
            self.read_settings();
        }
        // They may have changed while this connection was being made.
        if self.shared.settings.connection_version() != self.seen && self.drain_until.is_none() {
            let now = Instant::now();
            self.drain_until = Some(now + DRAIN_MAX);
            let config = self.shared.settings.current();
            if self.home.as_ref().is_some_and(|home| home.is_elsewhere(&config)) {
                self.leases.forget(now);
            }
        }
    }

    /// Reads how long events may wait, and how often a heartbeat is due. Not the address: a connection keeps the settings that it was made for.
    fn read_settings(&mut self) {
        // The version first: a change between the two is then read again.
        self.config_version = self.shared.settings.version();
        let config = self.shared.settings.current();
        (self.event_age_max, self.heartbeat) = (config.emit_age_max, HEARTBEAT * config.thrift());
    }

    /// The next connection is made for these settings. If they lead to another Redis, or to other names in it, items of
    /// the old settings are lost: those written there stay in doubt, those queued under another prefix do not belong
    /// here.
    pub(crate) fn follow(&mut self, config: &Arc<Config>) {
        let Some(home) = self.home.replace(Arc::clone(config)).filter(|home| home.is_elsewhere(config)) else { return };
        self.shared.limits.forget();
        self.scripts.forget();
        self.keeping.forget();
        self.leases.forget(Instant::now());
        self.cluster.forget();
        for expiry in self.expiries.take() {
            let reason = "disconnected: the settings led to another redis before the answer";
            self.auxiliary_failed("counter", &expiry.key, reason);
        }
        self.absorb();
        let (drops, now) = (&self.shared.stats.outbox.dropped, self.shared.settings.connection_version());
        for item in std::mem::take(&mut self.unsent) {
            let was_written = match &item {
                Outgoing::Publish(publish) => publish.written,
                Outgoing::Run(run) => run.attempts > 0 && run.effect() != Effect::Reads,
            };
            if was_written {
                self.lose(item, &drops.unknown, "disconnected: the settings led to another redis before the answer");
            } else if home.prefix != config.prefix && item.generation() < now {
                self.lose(item, &drops.settings, "disconnected: the settings led to another redis before it was sent");
            } else {
                self.unsent.push_back(item);
            }
        }
    }

    // ---- a connection ends ------------------------------------------------------------------------------------------

    /// Every item in flight waits for the next connection in its order, or counts as unknown.
    pub(crate) fn connection_ended(&mut self) {
        let now = Instant::now();
        let mut again = VecDeque::new();
        // From the last to the first: an item may be sent again if nothing behind it forbids that.
        let mut behind = Behind::default();
        let (items, expiries) = self.in_flight.take();
        expiries.into_iter().for_each(|expiry| self.keep_expiry(expiry));
        for (mut item, may_have_ended_it) in items.into_iter().rev() {
            if let Outgoing::Run(run) = &mut item
                && may_have_ended_it
            {
                run.ends = run.ends.saturating_add(1);
            }
            // Asked before the item itself is noted: it does not forbid itself.
            let forbidden = behind.forbids(&item);
            behind.note(&item);
            if let Outgoing::Run(run) = &item {
                self.refused.note_number(run);
            }
            if let Some(item) = self.after_loss(item, forbidden, now) {
                self.has_doubts = true;
                again.push_back(item);
            }
        }
        again.into_iter().for_each(|item| self.unsent.push_front(item));
        self.release_refused();
        // A cursor of SCAN is of no use on another connection, which may lead to another server.
        for item in &mut self.unsent {
            if let Outgoing::Run(run) = item {
                run.restart_search();
            }
        }
        self.pace = Pace::Open;
        self.drop_late(now);
    }

    /// Takes an item whose answer was lost, and gives it back if it is to be sent again.
    fn after_loss(&mut self, mut item: Outgoing, forbidden: bool, now: Instant) -> Option<Outgoing> {
        let drops = &self.shared.stats.outbox.dropped;
        let (counter, reason) = match &mut item {
            Outgoing::Publish(publish) if publish.head().repeatable => return Some(item),
            Outgoing::Publish(_) => {
                (&drops.unknown, "the connection ended before its answer, and it carries no number to be sent again")
            }
            Outgoing::Run(run) if run.is_reader() => {
                (&drops.timeout, "disconnected: the connection ended before the answer")
            }
            Outgoing::Run(run) if run.is_repeatable(now) && !forbidden => {
                run.was_lost();
                return Some(item);
            }
            Outgoing::Run(_) => {
                (&drops.unknown, "disconnected: the connection ended before the answer, redis may have done it or not")
            }
        };
        self.lose(item, counter, reason);
        None
    }

    /// Waits until the next attempt to connect; meanwhile drops expired items and keeps a subscribed connection up to
    /// date. True if it is time to stop.
    pub(crate) fn wait(&mut self, duration: Duration, seen: u64) -> bool {
        let until = Instant::now() + duration;
        loop {
            self.shared.subscriptions.sync();
            let now = Instant::now();
            self.drop_late(now);
            let left = until.saturating_duration_since(now).min(IDLE_CHECK);
            if left.is_zero() {
                return self.shared.is_stopping();
            }
            match self.shared.pause_unless_changed(left, seen) {
                Pause::Stop => return true,
                Pause::Settings => return false,
                Pause::Over => {}
            }
        }
    }
}

/// The effects of items that were sent behind one whose answer was lost.
#[derive(Default)]
struct Behind {
    counted: HashSet<Box<[u8]>>,
    unknown: bool,
}

impl Behind {
    fn note(&mut self, item: &Outgoing) {
        let Outgoing::Run(run) = item else { return };
        match run.effect() {
            Effect::Counts => self.counted.extend(run.targets().map(Box::from)),
            Effect::Unknown => self.unknown = true,
            Effect::Reads | Effect::Writes => {}
        }
    }

    /// Whether sending this write again would undo a change behind it that is not made again.
    fn forbids(&self, item: &Outgoing) -> bool {
        let Outgoing::Run(run) = item else { return false };
        run.effect() == Effect::Writes && (self.unknown || run.targets().any(|key| self.counted.contains(key)))
    }
}

/// The thread ends, by a panic too: items that Redis may have done or not are counted and reported.
impl Drop for Backlog<'_> {
    fn drop(&mut self) {
        self.take_back(&mut Decoder::new(REPLY_LIMITS));
        let (taken, mut expiries) = self.in_flight.take();
        expiries.extend(self.expiries.take());
        for expiry in expiries {
            self.auxiliary_failed("counter", &expiry.key, "closed: its time to live was not set");
        }
        let mut taken: Vec<Outgoing> = taken.into_iter().map(|(item, _)| item).collect();
        taken.extend(std::mem::take(&mut self.unsent));
        taken.extend(self.refused.take_items());
        let shared = self.shared;
        for item in taken {
            self.lose(item, &shared.stats.outbox.dropped.unknown, "closed: internal error, or the end of the process");
        }
    }
}
