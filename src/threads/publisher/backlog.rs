//! What was taken from the outbox and is not settled; it outlives a connection.
//! Order on a channel and on a key is kept through resends and refusals: what cannot be sent in order any more is
//! lost, counted and told. Counters have no order among themselves; their numbers have (`redis/counter.rs`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{IDLE_CHECK, REFUSED_RETRY};
use crate::notice::Notice;
use crate::redis::answer::Answer;
use crate::redis::refusal::{Class, Refusal};
use crate::stats::Counter;
use crate::text_log::Throttle;
use crate::threads::outbox::{Item, Job, Publish};
use crate::threads::publisher::leases::{Leases, Taking};
use crate::threads::replies::ReplyTo;
use crate::threads::run::{Run, Work};
use crate::threads::{Pause, Shared};

pub(super) struct Backlog<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// To be written before anything else of the outbox.
    pub(super) unsent: VecDeque<Item>,
    /// What Redis was asked and has not answered, in the order written.
    pub(super) in_flight: InFlight,
    pub(super) refused: Refused,
    /// Redis was busy: one item at a time, until one goes through.
    pub(super) careful: bool,
    /// The number of the last counter written by the script.
    number: u64,
    losses: Throttle,
    failures: Throttle,
    /// That scripts are forbidden was said.
    pub(super) scripts_said: bool,
    pub(super) leases: Leases,
}

/// One question to Redis.
pub(super) enum Asked {
    Item(Item),
    /// A command beside another, such as that for a counter's time to live: only its failure counts.
    Beside,
    /// Who holds some leases.
    Leases(Taking),
    /// ROLE, or PING where that is forbidden: bytes prove that the connection lives, and the role that it is of use.
    Heartbeat,
}

/// Questions in the order written.
#[derive(Default)]
pub(super) struct InFlight {
    queue: VecDeque<Asked>,
    bytes: usize,
    /// Those whose answer somebody waits for right now.
    awaited: usize,
}

impl InFlight {
    pub(super) fn push(&mut self, asked: Asked) {
        self.bytes += asked.weight();
        self.awaited += usize::from(asked.is_awaited());
        self.queue.push_back(asked);
    }

    /// Back in its place: it was the oldest.
    pub(super) fn put_back(&mut self, item: Item) {
        let asked = Asked::Item(item);
        self.bytes += asked.weight();
        self.awaited += usize::from(asked.is_awaited());
        self.queue.push_front(asked);
    }

    pub(super) fn pop(&mut self) -> Option<Asked> {
        let asked = self.queue.pop_front()?;
        self.bytes -= asked.weight();
        self.awaited -= usize::from(asked.is_awaited());
        Some(asked)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Of the items.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_awaited(&self) -> bool {
        self.awaited > 0
    }

    fn take_items(&mut self) -> Vec<Item> {
        let all = std::mem::take(self).queue;
        let item = |asked| match asked {
            Asked::Item(item) => Some(item),
            Asked::Beside | Asked::Leases(_) | Asked::Heartbeat => None,
        };
        all.into_iter().filter_map(item).collect()
    }
}

impl Asked {
    fn weight(&self) -> usize {
        match self {
            Asked::Item(item) => item.weight(),
            Asked::Beside | Asked::Leases(_) | Asked::Heartbeat => 0,
        }
    }

    /// Somebody waits for its answer right now, or events may be lost until it is there.
    fn is_awaited(&self) -> bool {
        match self {
            Asked::Item(Item::Run(run)) => run.is_awaited(),
            Asked::Leases(_) => true,
            Asked::Item(Item::Publish(_)) | Asked::Beside | Asked::Heartbeat => false,
        }
    }
}

/// What Redis refused for the moment, until everything in flight is answered.
#[derive(Default)]
pub(super) struct Refused {
    items: Vec<Item>,
    /// Channels and keys on which a later item went through, and how many had been refused by then: those of them on
    /// that channel cannot be sent in order any more.
    overtaken: HashMap<(bool, Box<[u8]>), usize>,
    pub(super) retry_at: Option<Instant>,
    /// What Redis said.
    reason: String,
}

/// The name space and name of what has an order: a channel, or a key that is written.
fn order_of(item: &Item) -> Option<(bool, &[u8])> {
    match item {
        Item::Publish(publish) => Some((false, publish.parts().0)),
        Item::Run(run) => run.keeps_order().then_some((true, &run.target)),
    }
}

impl Refused {
    /// An item went through: what was refused before it on its channel or key is overtaken.
    pub(super) fn note_success(&mut self, item: &Item) {
        if let Some((space, name)) = order_of(item).filter(|_| !self.items.is_empty()) {
            self.overtaken.insert((space, name.into()), self.items.len());
        }
    }
}

impl<'a> Backlog<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Backlog<'a> {
        Backlog {
            shared,
            unsent: VecDeque::new(),
            in_flight: InFlight::default(),
            refused: Refused::default(),
            careful: false,
            number: 0,
            losses: Throttle::new(),
            failures: Throttle::new(),
            scripts_said: false,
            leases: Leases::default(),
        }
    }

    /// The number of the next counter: higher than all that Redis may have seen of this process.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
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

    // ---- refused for the moment -----------------------------------------------------------------------------------

    /// Redis was busy: the item goes again, a little later; a reader cannot wait for that.
    pub(super) fn put_off(&mut self, mut item: Item, refusal: &Refusal) {
        self.refused.reason = format!("redis: {refusal}");
        self.refused.retry_at = Some(Instant::now() + REFUSED_RETRY);
        if let Item::Run(run) = &mut item {
            run.was_refused();
            if run.is_reader() {
                return self.refuse(item, refusal);
            }
        }
        self.refused.items.push(item);
    }

    /// What was refused for the moment is to be written again, before all that is unsent.
    pub(super) fn release_refused(&mut self) {
        let counts = self.release_refused_in_order();
        counts.into_iter().rev().for_each(|item| self.unsent.push_front(item));
    }

    /// All but counters go to the front; those are returned.
    fn release_refused_in_order(&mut self) -> Vec<Item> {
        let Refused { items, overtaken, .. } = std::mem::take(&mut self.refused);
        let mut counts = Vec::new();
        for (at, item) in items.into_iter().enumerate().rev() {
            let is_overtaken = order_of(&item)
                .is_some_and(|(space, name)| overtaken.get(&(space, name.into())).is_some_and(|refused| *refused > at));
            if is_overtaken {
                let shared = self.shared;
                let reason = match &item {
                    Item::Publish(_) => "redis was busy, and took a later event of the channel first",
                    Item::Run(_) => "redis: it was busy, and took a later command on the key first",
                };
                self.lose(item, &shared.stats.outbox.dropped.redis, reason);
            } else if matches!(&item, Item::Run(run) if matches!(run.work, Work::Count(_))) {
                counts.insert(0, item);
            } else {
                self.unsent.push_front(item);
            }
        }
        counts
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
        let (shared, now) = (self.shared, Instant::now());
        let mut again = Vec::new();
        for mut item in self.in_flight.take_items() {
            match &mut item {
                Item::Publish(publish) if publish.repeatable => again.push(item),
                Item::Publish(_) => {
                    let reason = "the connection ended before its answer, and it carries no number to be sent again";
                    self.lose(item, &shared.stats.outbox.dropped.unknown, reason);
                }
                Item::Run(run) if run.is_reader() => {
                    let reason = "disconnected: the connection ended before the answer";
                    self.lose(item, &shared.stats.outbox.dropped.timeout, reason);
                }
                Item::Run(run) if run.is_repeatable(now) => {
                    if let Work::Board(board) = &mut run.work {
                        board.restart();
                    }
                    again.push(item);
                }
                Item::Run(_) => {
                    let reason = "disconnected: the connection ended before the answer, redis may have done it or not";
                    self.lose(item, &shared.stats.outbox.dropped.unknown, reason);
                }
            }
        }
        // A counter that was refused gets a new number, and must not overtake one that has its number already.
        let refused_counts = match self.refused.retry_at {
            Some(_) => {
                let unsent = std::mem::take(&mut self.unsent);
                let counts = self.release_refused_in_order();
                let refused = std::mem::replace(&mut self.unsent, unsent);
                again.splice(0..0, refused);
                counts
            }
            None => Vec::new(),
        };
        again.into_iter().chain(refused_counts).rev().for_each(|item| self.unsent.push_front(item));
        self.drop_late(now);
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
                let reason = match (shared.publisher_link.is_ready(), self.refused.reason.is_empty()) {
                    (true, true) => "timeout: redis did not answer in time".to_owned(),
                    (true, false) => self.refused.reason.clone(),
                    (false, _) => format!("disconnected: {}", shared.publisher_link.trouble().reason),
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
            self.shared.subscriptions.sync(self.shared);
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

/// The thread ends, also by a panic: what Redis may or may not have is counted, and who waits is told.
impl Drop for Backlog<'_> {
    fn drop(&mut self) {
        let mut taken = self.in_flight.take_items();
        taken.extend(self.unsent.drain(..));
        taken.append(&mut self.refused.items);
        let shared = self.shared;
        for item in taken {
            if let Item::Run(run) = &item {
                shared
                    .replies
                    .answer(run.reply_to, Err("closed: internal error, or the end of the process".to_owned()));
            }
            self.settle(&item, &shared.stats.outbox.dropped.unknown);
        }
    }
}

/// Whether a refusal means that another moment, or another connection, may do.
pub(super) fn is_for_the_moment(refusal: &Refusal) -> bool {
    refusal.class != Class::Never
}
