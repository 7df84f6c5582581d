//! What was taken from the outbox and is not settled; it outlives a connection.
//! Order on a channel and on a key is kept through resends and refusals (`publisher/refused.rs`): what cannot be sent in
//! order any more is lost, counted and told. Counters have no order among themselves; their numbers have
//! (`redis/counter.rs`): none is given while an older one, whose answer was lost, is still to be sent again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::config::limits::OUTBOX_JOBS_MAX;
use crate::event::notice::Notice;
use crate::io::text_log::Throttle;
use crate::redis::answer::Answer;
use crate::redis::refusal::Refusal;
use crate::stats::Counter;
use crate::threads::links::Limit;
use crate::threads::publisher::in_flight::{InFlight, Life};
use crate::threads::publisher::leases::Leases;
use crate::threads::publisher::outbox::{Item, Job, Publish};
use crate::threads::publisher::refused::{Fate, Refused};
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Effect, Run, Work};
use crate::threads::shared::{Pause, Shared};

/// How often an idle publisher checks its connection, and a disconnected one looks for expired jobs.
pub(crate) const IDLE_CHECK: Duration = Duration::from_secs(1);

pub(super) struct Backlog<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// To be written before anything else of the outbox.
    pub(super) unsent: VecDeque<Item>,
    /// What Redis was asked and has not answered, in the order written.
    pub(super) in_flight: InFlight,
    pub(super) refused: Refused,
    /// Redis was busy: one item at a time, until one goes through.
    pub(super) careful: bool,
    /// Some counter may wait to be sent again under its number.
    has_doubts: bool,
    /// The settings that everything here is for.
    home: Option<Arc<Config>>,
    losses: Throttle,
    failures: Throttle,
    /// Of commands beside others.
    asides: Throttle,
    /// Redis runs the script by its text alone. Known for longer than a connection, as what goes behind a counter that is
    /// refused may overtake it.
    pub(super) sha_is_forbidden: bool,
    pub(super) leases: Leases,
    /// Keys of counters without a script whose time to live is to be asked for, or to be given.
    pub(super) lives: VecDeque<Life>,
    /// Redis was busy when they were asked for: not before then.
    pub(super) lives_at: Option<Instant>,
}

impl<'a> Backlog<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Backlog<'a> {
        Backlog {
            shared,
            unsent: VecDeque::new(),
            in_flight: InFlight::default(),
            refused: Refused::default(),
            careful: false,
            has_doubts: false,
            home: None,
            losses: Throttle::new(),
            failures: Throttle::new(),
            asides: Throttle::new(),
            sha_is_forbidden: false,
            leases: Leases::default(),
            lives: VecDeque::new(),
            lives_at: None,
        }
    }

    /// The number of the next counter: higher than all that Redis may have seen of this process. `None`: it must go
    /// without one, as an older one waits behind it.
    pub(super) fn next_number(&mut self) -> Option<u64> {
        if self.has_doubts {
            self.has_doubts =
                self.unsent.iter().any(|item| matches!(item, Item::Run(run) if run.number_in_doubt().is_some()));
        }
        (!self.has_doubts).then(|| self.shared.count_number.fetch_add(1, Ordering::Relaxed) + 1)
    }

    // ---- fates --------------------------------------------------------------------------------------------------

    /// The fate of one item is known.
    pub(super) fn settle(&mut self, item: &Item, counter: &Counter) {
        counter.add(1);
        self.shared.outbox.settle(1, item.weight());
    }

    /// Redis did what a run asked.
    pub(super) fn answer(&mut self, run: Box<Run>, answer: Answer) {
        let (shared, reply_to) = (self.shared, run.reply_to);
        self.settle(&Item::Run(run), &shared.stats.outbox.delivered);
        shared.replies.answer(reply_to, Ok(answer));
    }

    /// An item is lost: counted, and told to who waits for it, else in the log and by `RealtimeError`. `reason` of a
    /// run starts with its code.
    pub(super) fn lose(&mut self, item: Item, counter: &Counter, reason: &str) {
        self.settle(&item, counter);
        let shared = self.shared;
        match item {
            Item::Publish(publish) => {
                if let Some(more) = self.losses.pass(Instant::now()) {
                    let channel = shared.unprefixed(publish.parts().0);
                    log::error!("lost an event on `{}`: {reason}{more}", String::from_utf8_lossy(channel));
                    let (target, reason) = (channel.into(), reason.to_owned());
                    shared.notices.push(Notice::Error { operation: "publish", target, reason });
                }
            }
            Item::Run(run) => {
                shared.replies.answer(run.reply_to, Err(reason.to_owned()));
                if run.reply_to == ReplyTo::Nobody {
                    if let Some(more) = self.failures.pass(Instant::now()) {
                        log::error!(
                            "{} `{}` failed: {reason}{more}",
                            run.operation,
                            String::from_utf8_lossy(&run.target)
                        );
                    }
                    let (target, reason) = (run.target.clone(), reason.to_owned());
                    shared.notices.push(Notice::Error { operation: run.operation, target, reason });
                }
            }
        }
    }

    /// An item that Redis refused for good.
    pub(super) fn refuse(&mut self, item: Item, refusal: &Refusal) {
        let shared = self.shared;
        let reason = match &item {
            Item::Publish(_) => format!("redis refused it: {refusal}"),
            Item::Run(_) => format!("redis: {refusal}"),
        };
        self.lose(item, &shared.stats.outbox.dropped.redis, &reason);
    }

    /// Redis refused a command beside another, or did not answer it as expected.
    pub(super) fn aside_failed(&mut self, operation: &'static str, target: &[u8], reason: &str) {
        let shared = self.shared;
        shared.stats.beside_failures.add(1);
        let target = shared.unprefixed(target);
        if let Some(more) = self.asides.pass(Instant::now()) {
            log::warn!("{operation} `{}` failed: {reason}{more}", String::from_utf8_lossy(target));
            let (target, reason) = (target.into(), reason.to_owned());
            shared.notices.push(Notice::Error { operation, target, reason });
        }
    }

    /// Redis refuses something for good, or for now: said once, and shown as long as it lasts.
    pub(super) fn note_limit(&self, limit: Limit, found: &str) {
        if self.shared.limits.note(limit, found) {
            let reason = format!("{}; {found}", limit.effect());
            log::warn!("{reason}");
            let (operation, target): (_, &[u8]) = match limit {
                Limit::Scripts => ("script", b"EVAL"),
                Limit::Leases => ("lease", b"rt:lead:*"),
            };
            self.shared.notices.push(Notice::Error { operation, target: target.into(), reason });
        }
    }

    /// A key without a time to live is to get one. Those beyond the bound are told; the next count on them asks again.
    pub(super) fn keep_life(&mut self, life: Life) {
        if self.lives.len() < OUTBOX_JOBS_MAX {
            self.lives.push_back(life);
        } else {
            self.aside_failed("counter", &life.key, "queue_full: too many keys wait for their time to live");
        }
    }

    /// When some key's time to live is to be seen to.
    pub(super) fn lives_due(&self, now: Instant) -> Option<Instant> {
        (!self.lives.is_empty()).then(|| self.lives_at.unwrap_or(now))
    }

    // ---- refused for the moment -----------------------------------------------------------------------------------

    /// Something went through: Redis is not busy any more.
    pub(super) fn calm_down(&mut self) {
        self.careful = false;
        if self.refused.items.is_empty() {
            self.refused.reason.clear();
        }
    }

    /// Redis did not do it: the item goes again, after the pause if there is one; a reader cannot wait for that.
    pub(super) fn put_off(&mut self, mut item: Item, refusal: &Refusal, pause: Option<Duration>) {
        self.refused.put_off(&format!("redis: {refusal}"), pause);
        if let Item::Run(run) = &mut item {
            run.was_refused();
            if run.is_reader() && pause.is_some() {
                return self.refuse(item, refusal);
            }
        }
        self.refused.items.push(item);
    }

    /// A read that Redis answered, unless something before it on its key was refused: then the answer is of the time
    /// before that, and the read goes again behind it.
    pub(super) fn keep_unless_spoiled(&mut self, run: Box<Run>) -> Option<Box<Run>> {
        if !self.refused.spoils(&run) {
            return Some(run);
        }
        let (shared, reason) = (self.shared, self.refused.reason.clone());
        match run.is_reader() && !self.refused.is_soon {
            true => self.lose(Item::Run(run), &shared.stats.outbox.dropped.redis, &reason),
            false => self.refused.items.push(Item::Run(run)),
        }
        None
    }

    /// What was refused for the moment is to be written again, before all that is unsent.
    pub(super) fn release_refused(&mut self) {
        let drops = &self.shared.stats.outbox.dropped;
        let refused = std::mem::take(&mut self.refused);
        // Until something goes through, this is why nothing does.
        self.refused.reason.clone_from(&refused.reason);
        for (item, fate) in refused.release().into_iter().rev() {
            let reason = match (fate, &item) {
                (Fate::Again, _) => {
                    self.unsent.push_front(item);
                    continue;
                }
                (_, Item::Publish(_)) => "redis was busy, and took a later event of the channel first",
                (Fate::Overtaken, Item::Run(_)) => "redis: it was busy, and took a later command on the key first",
                (Fate::Unknown, Item::Run(_)) => {
                    "redis: it was busy, and a later counter hides whether this one counted"
                }
            };
            let counter = if fate == Fate::Unknown { &drops.unknown } else { &drops.redis };
            self.lose(item, counter, reason);
        }
    }

    /// While Redis is busy, readers are told at once.
    pub(super) fn refuse_readers(&mut self) {
        self.absorb();
        let (shared, reason) = (self.shared, self.refused.reason.clone());
        for item in std::mem::take(&mut self.unsent) {
            match &item {
                Item::Run(run) if run.is_reader() => self.lose(item, &shared.stats.outbox.dropped.redis, &reason),
                _ => self.unsent.push_back(item),
            }
        }
    }

    // ---- the end of a connection ----------------------------------------------------------------------------------

    /// Everything unanswered waits for the next connection, in its order, or is counted as unknown.
    pub(super) fn connection_ended(&mut self) {
        let now = Instant::now();
        let mut again = VecDeque::new();
        // From the last to the first: what may be sent again depends on what was sent behind it.
        let mut behind = Behind::default();
        let (items, lives) = self.in_flight.take();
        lives.into_iter().for_each(|life| self.keep_life(life));
        for item in items.into_iter().rev() {
            let forbidden = behind.forbids(&item);
            behind.note(&item);
            if let Item::Run(run) = &item {
                self.refused.note_number(run);
            }
            if let Some(item) = self.after_loss(item, forbidden, now) {
                self.has_doubts = true;
                again.push_back(item);
            }
        }
        again.into_iter().for_each(|item| self.unsent.push_front(item));
        self.release_refused();
        // A cursor is worth nothing on another connection.
        for item in &mut self.unsent {
            if let Item::Run(run) = item
                && let Work::Board(board) = &mut run.work
            {
                board.restart();
            }
        }
        self.careful = false;
        self.drop_late(now);
    }

    /// An item whose answer was lost, if it is to be sent again.
    fn after_loss(&mut self, mut item: Item, forbidden: bool, now: Instant) -> Option<Item> {
        let drops = &self.shared.stats.outbox.dropped;
        let (counter, reason) = match &mut item {
            Item::Publish(publish) if publish.repeatable => return Some(item),
            Item::Publish(_) => {
                (&drops.unknown, "the connection ended before its answer, and it carries no number to be sent again")
            }
            Item::Run(run) if run.is_reader() => {
                (&drops.timeout, "disconnected: the connection ended before the answer")
            }
            Item::Run(run) if run.is_repeatable(now) && !forbidden => {
                run.was_lost();
                return Some(item);
            }
            Item::Run(_) => {
                (&drops.unknown, "disconnected: the connection ended before the answer, redis may have done it or not")
            }
        };
        self.lose(item, counter, reason);
        None
    }

    /// These settings are in force. What was written to another Redis stays in doubt there; what waited for it under
    /// another prefix does not belong here.
    pub(super) fn follow(&mut self, config: &Arc<Config>) {
        let Some(home) = self.home.replace(Arc::clone(config)).filter(|home| home.is_elsewhere(config)) else { return };
        self.shared.limits.forget();
        self.sha_is_forbidden = false;
        for life in std::mem::take(&mut self.lives) {
            self.aside_failed(
                "counter",
                &life.key,
                "disconnected: the settings led to another redis before the answer",
            );
        }
        self.absorb();
        let (drops, now) = (&self.shared.stats.outbox.dropped, self.shared.settings.generation());
        for item in std::mem::take(&mut self.unsent) {
            let was_written = match &item {
                Item::Publish(publish) => publish.written,
                Item::Run(run) => run.attempts > 0 && run.effect() != Effect::Reads,
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

    /// Moves what waits in the outbox behind what is unsent.
    pub(super) fn absorb(&mut self) {
        self.shared.outbox.take_reader();
        // Whatever a wake-up was to announce is looked at by who calls this.
        while let Some(job) = self.shared.outbox.take(Duration::ZERO) {
            if let Job::Send(item) = job {
                self.unsent.push_back(item);
            }
        }
    }

    /// Drops what waited too long, wherever it stands.
    pub(super) fn drop_late(&mut self, now: Instant) {
        self.absorb();
        let age_max = self.shared.settings.current().emit_age_max;
        for item in std::mem::take(&mut self.unsent) {
            if let Some(item) = self.keep_unless_late(item, now, age_max) {
                self.unsent.push_back(item);
            }
        }
    }

    /// The item, unless it waited too long: then it is lost.
    pub(super) fn keep_unless_late(&mut self, item: Item, now: Instant, age_max: Duration) -> Option<Item> {
        let shared = self.shared;
        let drops = &shared.stats.outbox.dropped;
        match &item {
            Item::Publish(publish) if is_expired(publish, now, age_max) => {
                let reason = format!("it waited longer than {} s for redis", age_max.as_secs());
                // An earlier connection may have brought it there.
                let counter = if publish.written { &drops.unknown } else { &drops.expired };
                self.lose(item, counter, &reason);
            }
            // It has gone: its own deadline passed.
            Item::Run(run) if run.is_reader() && run.is_late(now) => self.settle(&item, &drops.timeout),
            Item::Run(run) if run.is_late(now) => {
                let reason = match (shared.links.publisher.is_ready(), self.refused.reason.is_empty()) {
                    (true, true) => "timeout: redis did not answer in time".to_owned(),
                    (true, false) => self.refused.reason.clone(),
                    (false, _) => format!("disconnected: {}", shared.links.publisher.trouble().reason),
                };
                self.lose(item, &drops.timeout, &reason);
            }
            _ => return Some(item),
        }
        None
    }

    /// Waits out a backoff; meanwhile what is too old is dropped, and a subscribed connection is kept up to date.
    /// True if it is time to stop.
    pub(super) fn wait(&mut self, duration: Duration, seen: u64) -> bool {
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

fn is_expired(publish: &Publish, now: Instant, age_max: Duration) -> bool {
    now.saturating_duration_since(publish.emitted) >= age_max
}

/// What was sent behind an item whose answer was lost.
#[derive(Default)]
struct Behind {
    counted: HashSet<Box<[u8]>>,
    unknown: bool,
}

impl Behind {
    fn note(&mut self, item: &Item) {
        let Item::Run(run) = item else { return };
        match run.effect() {
            Effect::Counts => self.counted.extend(run.targets().map(Box::from)),
            Effect::Unknown => self.unknown = true,
            Effect::Reads | Effect::Writes => {}
        }
    }

    /// A write that is sent again would undo what was done behind it and is not done again.
    fn forbids(&self, item: &Item) -> bool {
        let Item::Run(run) = item else { return false };
        run.effect() == Effect::Writes && (self.unknown || run.targets().any(|key| self.counted.contains(key)))
    }
}

/// The thread ends, also by a panic: what Redis may or may not have is counted, and told.
impl Drop for Backlog<'_> {
    fn drop(&mut self) {
        let (mut taken, mut lives) = self.in_flight.take();
        lives.extend(self.lives.drain(..));
        for life in lives {
            self.aside_failed("counter", &life.key, "closed: its time to live was not seen to");
        }
        taken.extend(self.unsent.drain(..));
        taken.append(&mut self.refused.items);
        let shared = self.shared;
        for item in taken {
            self.lose(item, &shared.stats.outbox.dropped.unknown, "closed: internal error, or the end of the process");
        }
    }
}
