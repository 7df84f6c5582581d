//! Sends what scripts emit. Runs on `rt-publisher`; owns one connection and the order of the outbox.
//! Takes all that waits, writes it at once, and never waits for an answer before the next write; answers are matched
//! in order. What was written and not answered when a connection ends is written again on the next one, if receivers
//! can tell a repeat, else counted as `unknown`. Order on a channel is kept through all of it.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{BATCH_BYTES_MAX, HEARTBEAT, IDLE_CHECK, REFUSED_RETRY, SILENCE_MAX};
use crate::fail_point::fail_point;
use crate::notice::Notice;
use crate::redis::backoff::Backoff;
use crate::redis::connection::{self, Connection};
use crate::redis::refusal::{Class, Refusal};
use crate::redis::reply::{Decoder, OwnedReply, Reply};
use crate::redis::{REPLY_LIMITS, command};
use crate::stats::Counter;
use crate::text_log::Throttle;
use crate::threads::links::Trouble;
use crate::threads::outbox::{Job, Publish};
use crate::threads::{Shared, Side};

/// How soon an answer is looked for after a write, and the longest pause between two looks. An answer only settles
/// a count: a new publish never waits for this.
const ANSWER_POLL_FIRST: Duration = Duration::from_micros(500);
const ANSWER_POLL_LONGEST: Duration = Duration::from_millis(16);

/// The thread's whole life: connect, serve, wait, again, until stop.
pub fn run(shared: &Arc<Shared>) {
    if shared.publisher_link.is_ready() {
        let reason = "internal error, the publisher starts again".to_owned();
        shared.link_down(Side::Publisher, &Trouble::new(reason, Class::Wait));
    }
    let mut backoff = Backoff::default();
    let mut backlog = Backlog::new(shared);
    loop {
        let address = &shared.config.redis;
        let (trouble, class) = match Connection::open(&shared.config, "publisher") {
            Ok(connection) => {
                let ready = Instant::now();
                log::info!("connected to redis at {address}");
                shared.link_up(Side::Publisher);
                let end = Session::new(shared, &connection, &mut backlog).serve();
                backlog.connection_ended();
                let Err(Lost { reason, class }) = end else { return };
                shared.stats.reconnects.add(1);
                backoff.was_ready(ready.elapsed());
                (format!("lost the connection to redis at {address}: {reason}"), class)
            }
            Err(err) => {
                shared.stats.connect_failures.add(1);
                (err.to_string(), err.class())
            }
        };
        let trouble = Trouble::new(trouble, class);
        if shared.link_down(Side::Publisher, &trouble) {
            log::warn!("{}; retrying, {} events wait", trouble.reason, shared.outbox.waiting());
        }
        if backlog.wait(backoff.next_delay(class, shared.random())) {
            return;
        }
    }
}

/// Why a connection ended, and how soon to make another.
struct Lost {
    reason: String,
    class: Class,
}

impl Lost {
    fn new(reason: impl ToString) -> Lost {
        Lost { reason: reason.to_string(), class: Class::Reconnect }
    }
}

// ---- what outlives a connection -------------------------------------------------------------------------------

/// What was taken from the outbox and is not settled.
struct Backlog<'a> {
    shared: &'a Arc<Shared>,
    /// To be written before anything else of the outbox.
    unsent: VecDeque<Publish>,
    /// What Redis was asked and has not answered, in the order written.
    in_flight: VecDeque<Asked>,
    refused: Refused,
    /// Redis was busy: one publish at a time, until one goes through.
    careful: bool,
    losses: Throttle,
}

/// One question to Redis.
enum Asked {
    Publish(Publish),
    /// ROLE, or PING where that is forbidden: bytes prove that the connection lives, and the role that it is of use.
    Heartbeat,
}

/// What Redis refused for the moment, until everything in flight is answered.
#[derive(Default)]
struct Refused {
    publishes: Vec<Publish>,
    /// Channels on which a later publish went through, and how many had been refused by then: those of them on that
    /// channel cannot be sent in order any more.
    overtaken: HashMap<Box<[u8]>, usize>,
    retry_at: Option<Instant>,
}

impl<'a> Backlog<'a> {
    fn new(shared: &'a Arc<Shared>) -> Backlog<'a> {
        let (unsent, in_flight) = (VecDeque::new(), VecDeque::new());
        Backlog { shared, unsent, in_flight, refused: Refused::default(), careful: false, losses: Throttle::new() }
    }

    /// The fate of one publish is known.
    fn settle(&mut self, publish: &Publish, counter: &Counter) {
        counter.add(1);
        self.shared.outbox.settle(1, publish.weight());
    }

    /// A publish is lost: counted, and told now and then.
    fn lose(&mut self, publish: &Publish, counter: &Counter, reason: &str) {
        self.settle(publish, counter);
        if let Some(more) = self.losses.pass(Instant::now()) {
            let channel = self.shared.unprefixed(publish.parts().0);
            log::error!("lost an event on `{}`: {reason}{more}", String::from_utf8_lossy(channel));
            let (target, reason) = (channel.into(), reason.to_owned());
            self.shared.notices.push(Notice::Error { operation: "publish", target, reason });
        }
    }

    fn take_in_flight(&mut self) -> Vec<Publish> {
        let publish = |asked| match asked {
            Asked::Publish(publish) => Some(publish),
            Asked::Heartbeat => None,
        };
        self.in_flight.drain(..).filter_map(publish).collect()
    }

    /// Everything unanswered waits for the next connection, in the order it was emitted, or is counted as unknown.
    fn connection_ended(&mut self) {
        let in_flight = self.take_in_flight();
        let (again, uncertain): (Vec<_>, Vec<_>) = in_flight.into_iter().partition(|publish| publish.repeatable);
        for publish in uncertain {
            let shared = self.shared;
            let reason = "the connection ended before its answer, and it carries no number to be sent again";
            self.lose(&publish, &shared.stats.outbox.dropped.unknown, reason);
        }
        again.into_iter().rev().for_each(|publish| self.unsent.push_front(publish));
        self.release_refused();
    }

    /// What was refused for the moment is to be written again, before all that is unsent.
    fn release_refused(&mut self) {
        let Refused { publishes, overtaken, .. } = std::mem::take(&mut self.refused);
        for (at, publish) in publishes.into_iter().enumerate().rev() {
            let channel = publish.parts().0;
            if overtaken.get(channel).is_some_and(|refused| *refused > at) {
                let shared = self.shared;
                let reason = "redis was busy, and took a later event of the channel first";
                self.lose(&publish, &shared.stats.outbox.dropped.redis, reason);
            } else {
                self.unsent.push_front(publish);
            }
        }
    }

    /// Drops what waited too long, oldest first.
    fn drop_expired(&mut self, now: Instant) {
        let (shared, age_max) = (self.shared, self.shared.config.emit_age_max);
        loop {
            if self.unsent.is_empty() {
                match shared.outbox.take(Duration::ZERO) {
                    Some(Job::Publish(publish)) => self.unsent.push_back(publish),
                    // Whatever it was to announce is looked at by who calls this.
                    Some(Job::Wake) => continue,
                    None => return,
                }
            }
            if self.unsent.front().is_none_or(|oldest| now.saturating_duration_since(oldest.emitted) < age_max) {
                return;
            }
            let Some(publish) = self.unsent.pop_front() else { return };
            let reason = format!("it waited longer than {} s for redis", age_max.as_secs());
            match publish.written {
                // An earlier connection may have brought it there.
                true => self.lose(&publish, &shared.stats.outbox.dropped.unknown, &reason),
                false => self.lose(&publish, &shared.stats.outbox.dropped.expired, &reason),
            }
        }
    }

    /// Waits out a backoff; meanwhile what is too old is dropped, and a subscribed connection is kept up to date.
    /// True if it is time to stop.
    fn wait(&mut self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        loop {
            self.shared.subscriptions.sync(self.shared);
            let now = Instant::now();
            self.drop_expired(now);
            let left = until.saturating_duration_since(now).min(IDLE_CHECK);
            if left.is_zero() {
                return self.shared.is_stopping();
            }
            if self.shared.pause(left) {
                return true;
            }
        }
    }
}

/// The thread ends, also by a panic: what Redis may or may not have is counted.
impl Drop for Backlog<'_> {
    fn drop(&mut self) {
        let mut taken = self.take_in_flight();
        taken.extend(self.unsent.drain(..));
        taken.append(&mut self.refused.publishes);
        let shared = self.shared;
        taken.iter().for_each(|publish| self.settle(publish, &shared.stats.outbox.dropped.unknown));
    }
}

// ---- one connection -------------------------------------------------------------------------------------------

struct Session<'a, 'b> {
    shared: &'a Arc<Shared>,
    connection: &'b Connection,
    backlog: &'b mut Backlog<'a>,
    decoder: Decoder,
    ready: Instant,
    batch: Vec<u8>,
    /// The routes that [`Shared::subscriptions`] was last told of.
    synced: u64,
    poll: Duration,
    /// When something was last asked only to hear an answer.
    heartbeat: Instant,
    heartbeat_is_out: bool,
    /// While something is in flight: when silence ends the connection.
    answer_by: Instant,
}

impl<'a, 'b> Session<'a, 'b> {
    fn new(shared: &'a Arc<Shared>, connection: &'b Connection, backlog: &'b mut Backlog<'a>) -> Session<'a, 'b> {
        let ready = Instant::now();
        Session {
            shared,
            connection,
            backlog,
            decoder: Decoder::new(REPLY_LIMITS),
            ready,
            batch: Vec::new(),
            synced: 0,
            poll: ANSWER_POLL_FIRST,
            heartbeat: ready,
            heartbeat_is_out: false,
            answer_by: ready,
        }
    }

    /// Works until stop (`Ok`) or until the connection ends.
    fn serve(&mut self) -> Result<(), Lost> {
        self.connection.set_nonblocking(true).map_err(Lost::new)?;
        while !self.shared.is_stopping() {
            fail_point("publisher");
            self.sync_subscriptions();
            let answered = self.backlog.in_flight.len();
            self.gather_next();
            self.ask_for_life(Instant::now());
            self.write(answered == 0)?;
            self.settle_answers()?;
            let in_flight = self.backlog.in_flight.len();
            if in_flight > 0 && Instant::now() >= self.answer_by {
                return Err(Lost::new(format!("no answer for {} s", SILENCE_MAX.as_secs())));
            }
            match in_flight < answered {
                true => self.poll = ANSWER_POLL_FIRST,
                false => self.poll = (self.poll * 2).min(ANSWER_POLL_LONGEST),
            }
        }
        Ok(())
    }

    /// Asks for the subscriptions of new routes, and again for those that were refused for the moment.
    fn sync_subscriptions(&mut self) {
        let subscriptions = &self.shared.subscriptions;
        if self.shared.published.version() != self.synced || subscriptions.are_due(Instant::now()) {
            self.synced = subscriptions.sync(self.shared);
        }
    }

    /// Fills the batch with what waits; waits a little itself if there is nothing.
    fn gather_next(&mut self) {
        if let Some(retry_at) = self.backlog.refused.retry_at {
            // Nothing may overtake what was refused: first all answers, then a pause, then it goes first.
            if self.backlog.in_flight.is_empty() && Instant::now() >= retry_at {
                self.backlog.release_refused();
                self.backlog.careful = true;
            }
        }
        if self.backlog.refused.retry_at.is_some() || self.backlog.careful && !self.backlog.in_flight.is_empty() {
            self.shared.pause(self.poll);
            return;
        }
        let patience = match (self.backlog.unsent.is_empty(), self.backlog.in_flight.is_empty()) {
            (false, _) => Duration::ZERO,
            (true, true) => IDLE_CHECK.min((self.heartbeat + HEARTBEAT).saturating_duration_since(Instant::now())),
            (true, false) => self.poll,
        };
        let next = self.backlog.unsent.pop_front().map(Job::Publish).or_else(|| self.shared.outbox.take(patience));
        if let Some(job) = next {
            self.gather(job);
        }
    }

    /// Encodes the job and all that waits behind it, up to a batch; stops at a publish whose subscriptions do not
    /// stand yet.
    fn gather(&mut self, first: Job) {
        let (shared, now) = (self.shared, Instant::now());
        let mut next = Some(first);
        while let Some(job) = next {
            if let Job::Publish(mut publish) = job {
                if now.saturating_duration_since(publish.emitted) >= shared.config.emit_age_max {
                    self.backlog.unsent.push_front(publish);
                    self.backlog.drop_expired(now);
                } else if self.stands(&publish) {
                    let (channel, payload) = publish.parts();
                    command::encode_publish(&mut self.batch, b"", channel, payload);
                    shared.stats.resent.add(u64::from(publish.written));
                    publish.written = true;
                    self.backlog.in_flight.push_back(Asked::Publish(publish));
                } else {
                    self.backlog.unsent.push_front(publish);
                    return;
                }
            }
            if self.batch.len() >= BATCH_BYTES_MAX || self.backlog.careful && !self.batch.is_empty() {
                return;
            }
            let unsent = self.backlog.unsent.pop_front().map(Job::Publish);
            next = unsent.or_else(|| shared.outbox.take(Duration::ZERO));
        }
    }

    /// True once the subscriptions asked for before this publish stand, or were waited for long enough. False: write
    /// what is gathered first.
    fn stands(&mut self, publish: &Publish) -> bool {
        let shared = self.shared;
        if shared.settled.is_reached(publish.routes_version) {
            return true;
        }
        if !self.batch.is_empty() {
            return false;
        }
        // This thread is the one that asks: what is waited for must have been asked.
        self.sync_subscriptions();
        shared.settled.wait(publish.routes_version, self.ready, || shared.is_stopping());
        true
    }

    /// A question now and then: whether anybody is there, and still a master.
    fn ask_for_life(&mut self, now: Instant) {
        if !self.heartbeat_is_out && now.saturating_duration_since(self.heartbeat) >= HEARTBEAT {
            let question: &[u8] = if self.connection.tells_role() { b"ROLE" } else { b"PING" };
            command::encode(&mut self.batch, &[question]);
            self.backlog.in_flight.push_back(Asked::Heartbeat);
            self.heartbeat = now;
            self.heartbeat_is_out = true;
        }
    }

    fn write(&mut self, was_idle: bool) -> Result<(), Lost> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if was_idle {
            // A question of our own comes after as long a silence.
            let silence = if self.heartbeat_is_out { SILENCE_MAX - HEARTBEAT } else { SILENCE_MAX };
            self.answer_by = Instant::now() + silence;
        }
        self.connection.write_all(&self.batch).map_err(Lost::new)?;
        self.batch.clear();
        self.batch.shrink_to(2 * BATCH_BYTES_MAX);
        self.poll = ANSWER_POLL_FIRST;
        Ok(())
    }

    /// Reads what is there without waiting and counts the answers.
    fn settle_answers(&mut self) -> Result<(), Lost> {
        loop {
            match self.decoder.read_from(&mut self.connection.reader()) {
                Ok(0) => return Err(Lost::new("closed by redis")),
                Ok(_) => {
                    self.answer_by = Instant::now() + SILENCE_MAX;
                    self.match_answers()?;
                }
                Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) => return Err(Lost::new(err)),
            }
        }
    }

    fn match_answers(&mut self) -> Result<(), Lost> {
        let (mut delivered, mut weight) = (0, 0);
        let outcome = loop {
            let reply = match self.decoder.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => break Ok(()),
                Err(err) => break Err(Lost::new(err)),
            };
            match (self.backlog.in_flight.pop_front(), reply) {
                (Some(Asked::Publish(publish)), Reply::Integer(_)) => {
                    delivered += 1;
                    weight += publish.weight();
                    self.backlog.careful = false;
                    self.backlog.refused.note_success(&publish);
                }
                (Some(Asked::Publish(publish)), Reply::Error(text)) => {
                    let refusal = Refusal::new(text);
                    if let Err(lost) = self.backlog.handle_refusal(publish, refusal) {
                        break Err(lost);
                    }
                }
                (Some(Asked::Publish(publish)), other) => {
                    let reason = format!("expected the answer of a PUBLISH, found {}", other.describe());
                    self.backlog.in_flight.push_front(Asked::Publish(publish));
                    break Err(Lost::new(reason));
                }
                (Some(Asked::Heartbeat), reply) => {
                    self.heartbeat_is_out = false;
                    if let Err(lost) = check_role(self.shared, &reply.keep()) {
                        break Err(lost);
                    }
                }
                (None, other) => break Err(Lost::new(format!("{} that nobody asked for", other.describe()))),
            }
        };
        if delivered > 0 {
            self.shared.stats.outbox.delivered.add(delivered);
            self.shared.outbox.settle(delivered as usize, weight);
        }
        outcome
    }
}

impl Refused {
    /// A publish went through: what was refused before it on its channel is overtaken.
    fn note_success(&mut self, publish: &Publish) {
        if !self.publishes.is_empty() {
            self.overtaken.insert(publish.parts().0.into(), self.publishes.len());
        }
    }
}

impl Backlog<'_> {
    fn handle_refusal(&mut self, publish: Publish, refusal: Refusal) -> Result<(), Lost> {
        let shared = self.shared;
        if refusal.class == Class::Never {
            self.lose(&publish, &shared.stats.outbox.dropped.redis, &format!("redis refused it: {refusal}"));
            return Ok(());
        }
        self.refused.publishes.push(publish);
        self.refused.retry_at = Some(Instant::now() + REFUSED_RETRY);
        match refusal.class {
            Class::Wait => Ok(()),
            class => Err(Lost { reason: refusal.to_string(), class }),
        }
    }
}

/// A master that became a replica takes publishes and keeps them to itself.
fn check_role(shared: &Shared, reply: &OwnedReply) -> Result<(), Lost> {
    match connection::role(reply) {
        None | Some("master") => Ok(()),
        Some(role) => {
            // The subscriptions belong elsewhere now, too.
            shared.subscriptions.disconnect();
            Err(Lost::new(format!("it is no master any more, but a {role}")))
        }
    }
}
