//! How items end, and how those that Redis refused for the moment go on. Runs on `rt-publisher`. Every way out of the
//! backlog leads through [`Backlog::settle`], so each item is counted under exactly one reason and its place in the
//! outbox becomes free. Losses are reported at a bounded rate.

use std::time::{Duration, Instant};

use super::Backlog;
use crate::event::notice::Notice;
use crate::redis::answer::Answer;
use crate::redis::error_reply::ErrorReply;
use crate::redis::kept;
use crate::stats::Counter;
use crate::threads::links::Limit;
use crate::threads::publisher::expiries::Expiry;
use crate::threads::publisher::keeping::KEEP;
use crate::threads::publisher::outbox::{Outgoing, Publish};
use crate::threads::publisher::refused::Fate;
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::Run;

impl Backlog<'_> {
    // ---- ends -------------------------------------------------------------------------------------------------------

    /// Counts the end of one item and frees its place in the outbox.
    fn settle(&mut self, item: &Outgoing, counter: &Counter) {
        counter.add(1);
        self.shared.outbox.settle(1, item.weight());
    }

    /// Redis executed a command: the answer goes to its caller.
    pub(crate) fn answer(&mut self, run: Box<Run>, answer: Answer) {
        let (shared, reply_to) = (self.shared, run.reply_to);
        self.settle(&Outgoing::Run(run), &shared.stats.outbox.delivered);
        shared.replies.answer(reply_to, Ok(answer));
    }

    /// Redis published an event that it could not keep, with the error `text`.
    pub(crate) fn published_only(&mut self, publish: Publish, text: &[u8]) {
        let channel: Box<[u8]> = publish.parts().0.into();
        let item = Outgoing::Publish(publish);
        self.calm_down();
        self.note_success(&item);
        self.keeping.scripts.succeeded();
        // First, so that nobody sees the event settled and not counted.
        self.not_kept(&channel, text);
        let shared = self.shared;
        self.settle(&item, &shared.stats.outbox.delivered);
    }

    /// Redis could not keep an event on this channel, with the error `text`. If it has no streams at all, that is
    /// reported once, and no other event is tried on this connection.
    pub(crate) fn not_kept(&mut self, channel: &[u8], text: &[u8]) {
        let error = ErrorReply::new(text);
        if kept::has_no_streams(text) {
            self.shared.stats.not_kept.add(1);
            self.keeping.has_no_streams = true;
            self.note_limit(Limit::Streams, &error.to_string());
        } else {
            self.lose_keeping(channel, &format!("redis: {error}"));
        }
    }

    /// An event on this channel is published and not kept.
    pub(crate) fn lose_keeping(&mut self, channel: &[u8], reason: &str) {
        self.shared.stats.not_kept.add(1);
        self.auxiliary_failed(KEEP, channel, reason);
    }

    /// An item is lost: it is counted, and its caller learns of it, else the log and the game hook `RealtimeError`. The
    /// `reason` of a command starts with its code.
    pub(crate) fn lose(&mut self, item: Outgoing, counter: &Counter, reason: &str) {
        self.settle(&item, counter);
        let shared = self.shared;
        match item {
            Outgoing::Publish(publish) => {
                if let Some(more) = self.losses.pass(Instant::now()) {
                    let channel = shared.unprefixed(publish.parts().0);
                    log::error!("lost an event on `{}`: {reason}{more}", String::from_utf8_lossy(channel));
                    let (target, reason) = (channel.into(), reason.to_owned());
                    shared.notices.push(Notice::Error { operation: "publish", target, reason });
                }
            }
            Outgoing::Run(run) => {
                shared.replies.answer(run.reply_to, Err(reason.to_owned()));
                if matches!(run.reply_to, ReplyTo::Nobody | ReplyTo::Status(_)) {
                    if let Some(more) = self.failures.pass(Instant::now()) {
                        let target = String::from_utf8_lossy(&run.target);
                        log::error!("{} `{target}` failed: {reason}{more}", run.operation);
                    }
                    let (target, reason) = (run.target.clone(), reason.to_owned());
                    shared.notices.push(Notice::Error { operation: run.operation, target, reason });
                }
            }
        }
    }

    /// Redis refused an item for good.
    pub(crate) fn refuse(&mut self, item: Outgoing, error: &ErrorReply) {
        let reason = match &item {
            Outgoing::Publish(_) => format!("redis refused it: {error}"),
            Outgoing::Run(_) => format!("redis: {error}"),
        };
        self.lose_to_redis(item, &reason);
    }

    /// An item is lost because of a reply of Redis.
    pub(crate) fn lose_to_redis(&mut self, item: Outgoing, reason: &str) {
        let shared = self.shared;
        self.lose(item, &shared.stats.outbox.dropped.redis, reason);
    }

    /// Redis refused an auxiliary command, or a key is left without its time to live. `target` is a key with its
    /// prefix.
    pub(crate) fn auxiliary_failed(&mut self, operation: &'static str, target: &[u8], reason: &str) {
        let shared = self.shared;
        shared.stats.beside_failures.add(1);
        let target = shared.unprefixed(target);
        if let Some(more) = self.auxiliary_failures.pass(Instant::now()) {
            log::warn!("{operation} `{}` failed: {reason}{more}", String::from_utf8_lossy(target));
            let (target, reason) = (target.into(), reason.to_owned());
            shared.notices.push(Notice::Error { operation, target, reason });
        }
    }

    /// Redis refuses scripts or leases, with the error `found`: reported once, and shown by `Stats()` while it lasts.
    pub(crate) fn note_limit(&self, limit: Limit, found: &str) {
        if self.shared.limits.note(limit, found) {
            let reason = format!("{}; {found}", limit.effect());
            log::warn!("{reason}");
            let (operation, target): (_, &[u8]) = match limit {
                Limit::Scripts => ("script", b"EVAL"),
                Limit::Leases => ("lease", b"rt:lead:*"),
                Limit::Presence | Limit::Name => ("presence", b"rt:{servers}:index"),
                Limit::Streams => ("keep", b"rt:kept:*"),
            };
            self.shared.notices.push(Notice::Error { operation, target: target.into(), reason });
        }
    }

    /// Redis runs no scripts for this user: counters and leases use plain commands from now on.
    pub(crate) fn do_without_scripts(&mut self, error: &ErrorReply) {
        self.note_limit(Limit::Scripts, &error.to_string());
        self.scripts.forbid();
        self.leases.reconnected();
    }

    // ---- keys without a time to live --------------------------------------------------------------------------------

    /// Keeps a key whose time to live is to be checked or set. A key beyond the bound is reported; the next count on it
    /// checks again.
    pub(crate) fn keep_expiry(&mut self, expiry: Expiry) {
        if let Err(expiry) = self.expiries.push(expiry) {
            let reason = "queue_full: too many keys wait for their time to live";
            self.auxiliary_failed("counter", &expiry.key, reason);
        }
    }

    /// Redis is busy: it is asked about this key, and about the others, after the pause.
    pub(crate) fn put_off_expiry(&mut self, expiry: Expiry, pause: Duration) {
        self.expiries.put_off(Instant::now(), pause);
        self.keep_expiry(expiry);
    }

    // ---- refused for the moment -------------------------------------------------------------------------------------

    /// Redis executed an item: it is not busy any more.
    pub(crate) fn calm_down(&mut self) {
        self.pace.succeeded();
        self.refused.calm_down();
    }

    /// An item succeeded: items refused before it on the same channel or keys are overtaken.
    pub(crate) fn note_success(&mut self, item: &Outgoing) {
        self.refused.note_success(item);
    }

    /// Redis refused an item without doing it: the item is sent again after the pause, or at once in another form if
    /// there is none. A reader cannot wait for a pause.
    pub(crate) fn put_off(&mut self, mut item: Outgoing, error: &ErrorReply, pause: Option<Duration>) {
        self.refused.set_reason(format!("redis: {error}"));
        self.pace.put_off(Instant::now(), pause);
        if let Outgoing::Run(run) = &mut item {
            run.was_refused();
            if run.is_reader() && pause.is_some() {
                return self.refuse(item, error);
            }
        }
        if self.is_cluster() {
            self.refused.is_of_cluster();
        }
        self.refused.push(item);
    }

    /// Takes a read that Redis answered and gives it back, unless a write before it on its key was refused: then the
    /// answer is stale, and the read is sent again behind that write.
    pub(crate) fn keep_unless_spoiled(&mut self, run: Box<Run>) -> Option<Box<Run>> {
        if !self.refused.spoils(&run) {
            return Some(run);
        }
        if run.is_reader() && matches!(self.pace, super::Pace::Paused { .. }) {
            let reason = self.refused.reason().to_owned();
            self.lose_to_redis(Outgoing::Run(run), &reason);
        } else {
            self.refused.push(Outgoing::Run(run));
        }
        None
    }

    /// Puts the refused items before all that is unsent, but for those that cannot be sent in order any more.
    pub(super) fn release_refused(&mut self) {
        let drops = &self.shared.stats.outbox.dropped;
        let refused = std::mem::take(&mut self.refused);
        // Until something succeeds, the error stays the reason for which items wait and expire.
        self.refused.set_reason(refused.reason().to_owned());
        // From the last to the first, as each goes before all that is unsent.
        for (item, fate) in refused.release().into_iter().rev() {
            let reason = match (fate, &item) {
                (Fate::Again, _) => {
                    self.unsent.push_front(item);
                    continue;
                }
                (_, Outgoing::Publish(_)) => "redis was busy, and took a later event of the channel first",
                (Fate::Overtaken, Outgoing::Run(_)) => "redis: it was busy, and took a later command on the key first",
                (Fate::Unknown, Outgoing::Run(_)) => {
                    "redis: it was busy, and a later counter hides whether this one counted"
                }
            };
            let counter = if fate == Fate::Unknown { &drops.unknown } else { &drops.redis };
            self.lose(item, counter, reason);
        }
    }

    /// Answers all readers with the error that keeps them waiting, as Redis is busy and the game thread waits for them.
    pub(super) fn refuse_readers(&mut self) {
        self.absorb();
        let reason = self.refused.reason().to_owned();
        for item in std::mem::take(&mut self.unsent) {
            match &item {
                Outgoing::Run(run) if run.is_reader() => self.lose_to_redis(item, &reason),
                _ => self.unsent.push_back(item),
            }
        }
    }

    // ---- too old ----------------------------------------------------------------------------------------------------

    /// Drops every item that waited too long, in the outbox too: while Redis is away nothing else looks at them, and a
    /// callback must not wait for a reconnection to learn that its read timed out.
    pub(super) fn drop_late(&mut self, now: Instant) {
        self.absorb();
        let age_max = self.shared.settings.current().emit_age_max;
        for item in std::mem::take(&mut self.unsent) {
            if let Some(item) = self.keep_unless_late(item, now, age_max) {
                self.unsent.push_back(item);
            }
        }
    }

    /// Takes an item and gives it back, unless it waited too long: then it is lost. `age_max` is for events; commands
    /// have limits of their own.
    pub(crate) fn keep_unless_late(&mut self, item: Outgoing, now: Instant, age_max: Duration) -> Option<Outgoing> {
        let shared = self.shared;
        let drops = &shared.stats.outbox.dropped;
        match &item {
            Outgoing::Publish(publish) if is_expired(publish, now, age_max) => {
                let reason = format!("it waited longer than {} s for redis", age_max.as_secs());
                // Written on an earlier connection: Redis may have it.
                let counter = if publish.written { &drops.unknown } else { &drops.expired };
                self.lose(item, counter, &reason);
            }
            // The reader itself gave up at the same deadline: nobody waits for an answer.
            Outgoing::Run(run) if run.is_reader() && run.is_late(now) => self.settle(&item, &drops.timeout),
            Outgoing::Run(run) if run.is_late(now) => {
                let reason = if !shared.links.publisher.is_ready() {
                    format!("disconnected: {}", shared.links.publisher.trouble().reason)
                } else if self.refused.reason().is_empty() {
                    "timeout: redis did not answer in time".to_owned()
                } else {
                    self.refused.reason().to_owned()
                };
                self.lose(item, &drops.timeout, &reason);
            }
            _ => return Some(item),
        }
        None
    }
}

/// Whether an event is older than the setting `emit_age_max` allows: a listener takes an event for something that
/// happens now.
fn is_expired(publish: &Publish, now: Instant, age_max: Duration) -> bool {
    now.saturating_duration_since(publish.head().emitted) >= age_max
}
