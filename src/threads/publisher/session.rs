//! One connection's work: what waits is gathered into batches and written, answers are matched in order.
//! A reader without callback goes ahead of waiting publishes, never of the commands before it; while its answer is
//! out, this thread waits for the socket instead of for its queue.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{BATCH_BYTES_MAX, Config, DRAIN_MAX, HEARTBEAT, IDLE_CHECK, SILENCE_MAX, UNANSWERED_BYTES_MAX};
use crate::fail_point::fail_point;
use crate::redis::answer::Expect;
use crate::redis::connection::{self, Connection};
use crate::redis::counter::{self, Form};
use crate::redis::leaderboard::Progress;
use crate::redis::refusal::{Class, Refusal};
use crate::redis::reply::{Decoder, OwnedReply, Reply};
use crate::redis::{REPLY_LIMITS, command};
use crate::threads::Shared;
use crate::threads::outbox::{Item, Job, Publish};
use crate::threads::publisher::backlog::{Asked, Backlog, is_for_the_moment};
use crate::threads::run::{Run, Work};

/// How soon an answer is looked for after a write, and the longest pause between two looks. An answer only settles
/// a count: a new publish never waits for this.
const ANSWER_POLL_FIRST: Duration = Duration::from_micros(500);
const ANSWER_POLL_LONGEST: Duration = Duration::from_millis(16);
/// How long the socket is waited for at once when an answer is awaited. Other threads' commands wait no longer.
const ANSWER_WAIT: Duration = Duration::from_millis(2);

/// How a connection ended.
pub(super) enum End {
    Stop,
    /// The settings ask for another one.
    Settings,
    Lost {
        reason: String,
        class: Class,
    },
}

impl End {
    fn lost(reason: impl ToString) -> End {
        End::Lost { reason: reason.to_string(), class: Class::Reconnect }
    }
}

/// What is known of the counters' script on this connection.
#[derive(Clone, Copy, PartialEq)]
enum Script {
    /// The next counter brings it.
    Unknown,
    Loaded,
    Forbidden,
}

pub(super) struct Session<'a, 'b> {
    shared: &'a Arc<Shared>,
    config: Arc<Config>,
    config_version: u64,
    /// The settings' number of reconnections that this one is of.
    seen: u64,
    connection: &'b Connection,
    backlog: &'b mut Backlog<'a>,
    decoder: Decoder,
    ready: Instant,
    batch: Vec<u8>,
    script: Script,
    /// The routes that [`Shared::subscriptions`] was last told of.
    synced: u64,
    poll: Duration,
    /// When something was last asked only to hear an answer.
    heartbeat: Instant,
    heartbeat_is_out: bool,
    /// While something is in flight: when silence ends the connection.
    answer_by: Instant,
    /// The settings ask for another connection: until then this one may answer what it was asked.
    drain_until: Option<Instant>,
}

impl<'a, 'b> Session<'a, 'b> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        connection: &'b Connection,
        backlog: &'b mut Backlog<'a>,
        seen: u64,
    ) -> Session<'a, 'b> {
        let ready = Instant::now();
        let (config_version, config) = (shared.settings.version(), shared.settings.current());
        shared.replies.note_heard();
        backlog.leases.reconnected();
        Session {
            shared,
            config,
            config_version,
            seen,
            connection,
            backlog,
            decoder: Decoder::new(REPLY_LIMITS),
            ready,
            batch: Vec::new(),
            script: Script::Unknown,
            synced: 0,
            poll: ANSWER_POLL_FIRST,
            heartbeat: ready,
            heartbeat_is_out: false,
            answer_by: ready,
            drain_until: None,
        }
    }

    /// Works until the connection ends.
    pub(super) fn serve(&mut self) -> End {
        match self.work() {
            Ok(end) | Err(end) => end,
        }
    }

    fn work(&mut self) -> Result<End, End> {
        self.connection.set_read_timeout(ANSWER_WAIT).map_err(End::lost)?;
        self.connection.set_nonblocking(true).map_err(End::lost)?;
        while !self.shared.is_stopping() {
            fail_point("publisher");
            self.sync_subscriptions();
            self.look_at_settings();
            let answered = self.backlog.in_flight.len();
            if self.drain_until.is_none() {
                self.gather_next();
                let now = Instant::now();
                self.ask_for_life(now);
                self.ask_for_leases(now);
            } else if self.is_drained() {
                return Ok(End::Settings);
            }
            self.write(answered == 0)?;
            self.settle_answers()?;
            let in_flight = self.backlog.in_flight.len();
            if in_flight > 0 && Instant::now() >= self.answer_by {
                return Err(End::lost(format!("no answer for {} s", SILENCE_MAX.as_secs())));
            }
            match in_flight < answered {
                true => self.poll = ANSWER_POLL_FIRST,
                false => self.poll = (self.poll * 2).min(ANSWER_POLL_LONGEST),
            }
        }
        Ok(End::Stop)
    }

    // ---- what is to be done -----------------------------------------------------------------------------------------

    /// Asks for the subscriptions of new routes, and again for those that were refused for the moment.
    fn sync_subscriptions(&mut self) {
        let subscriptions = &self.shared.subscriptions;
        if self.shared.published.version() != self.synced || subscriptions.are_due(Instant::now()) {
            self.synced = subscriptions.sync(self.shared);
        }
    }

    fn look_at_settings(&mut self) {
        let settings = &self.shared.settings;
        if settings.version() != self.config_version {
            (self.config_version, self.config) = (settings.version(), settings.current());
            if self.is_outdated() {
                self.drain_until.get_or_insert(Instant::now() + DRAIN_MAX);
            }
        }
    }

    /// Waits a little for the answers of a connection that is to end.
    fn is_drained(&mut self) -> bool {
        let over = self.drain_until.is_none_or(|until| Instant::now() >= until);
        over || self.backlog.in_flight.is_empty() || self.shared.pause(self.poll)
    }

    /// Fills the batch with what waits; waits a little itself if there is nothing.
    fn gather_next(&mut self) {
        if let Some(retry_at) = self.backlog.refused.retry_at {
            if self.shared.outbox.has_reader() {
                self.backlog.refuse_readers();
            }
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
        if self.shared.outbox.has_reader() && !self.backlog.careful {
            return self.gather_reader();
        }
        if self.backlog.in_flight.bytes() >= UNANSWERED_BYTES_MAX {
            return;
        }
        let patience = match (self.backlog.unsent.is_empty(), self.backlog.in_flight.is_empty()) {
            (true, true) => self.idle_patience(Instant::now()),
            (true, false) if !self.backlog.in_flight.has_awaited() => self.poll,
            _ => Duration::ZERO,
        };
        let next = self.backlog.unsent.pop_front().map(Job::Send).or_else(|| self.shared.outbox.take(patience));
        if let Some(job) = next {
            self.gather(job);
        }
    }

    /// How long nothing has to be looked at.
    fn idle_patience(&self, now: Instant) -> Duration {
        let due = [Some(self.heartbeat + HEARTBEAT), self.backlog.leases.due()];
        due.into_iter().flatten().map(|due| due.saturating_duration_since(now)).fold(IDLE_CHECK, Duration::min)
    }

    /// Encodes all commands up to the reader that waits; the publishes between them stay where they are.
    fn gather_reader(&mut self) {
        self.backlog.absorb();
        let now = Instant::now();
        for item in std::mem::take(&mut self.backlog.unsent) {
            match self.backlog.keep_unless_late(item, now, Duration::MAX) {
                Some(Item::Run(run)) if !self.is_outdated() => self.encode_run(run),
                Some(item) => self.backlog.unsent.push_back(item),
                None => {}
            }
        }
    }

    /// The settings ask for another connection: what was queued after that must not go out on this one.
    fn is_outdated(&self) -> bool {
        self.shared.settings.reconnects() != self.seen
    }

    /// Encodes the job and all that waits behind it, up to a batch; stops at a publish whose subscriptions do not
    /// stand yet.
    fn gather(&mut self, first: Job) {
        let (now, age_max) = (Instant::now(), self.config.emit_age_max);
        let mut next = Some(first);
        while let Some(job) = next {
            if let Job::Send(item) = job {
                if self.is_outdated() {
                    return self.backlog.unsent.push_front(item);
                }
                match self.backlog.keep_unless_late(item, now, age_max) {
                    Some(Item::Publish(publish)) if !self.stands(&publish) => {
                        self.backlog.unsent.push_front(Item::Publish(publish));
                        return;
                    }
                    Some(Item::Publish(publish)) => self.encode_publish(publish),
                    Some(Item::Run(run)) => self.encode_run(run),
                    None => {}
                }
            }
            let full = self.batch.len() >= BATCH_BYTES_MAX || self.shared.outbox.has_reader();
            if full || self.backlog.careful && !self.batch.is_empty() {
                return;
            }
            let unsent = self.backlog.unsent.pop_front().map(Job::Send);
            next = unsent.or_else(|| self.shared.outbox.take(Duration::ZERO));
        }
    }

    /// True once the subscriptions asked for before this publish stand, or were waited for long enough. False: write
    /// what is gathered first, or serve a reader.
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
        let give_up = || shared.is_stopping() || shared.outbox.has_reader();
        shared.settled.wait(publish.routes_version, self.ready, give_up);
        shared.settled.is_reached(publish.routes_version) || !shared.outbox.has_reader()
    }

    // ---- encoding ---------------------------------------------------------------------------------------------------

    fn encode_publish(&mut self, mut publish: Publish) {
        let (channel, payload) = publish.parts();
        command::encode_publish(&mut self.batch, b"", channel, payload);
        self.shared.stats.resent.add(u64::from(publish.written));
        publish.written = true;
        self.backlog.in_flight.push(Asked::Item(Item::Publish(publish)));
    }

    fn encode_run(&mut self, mut run: Box<Run>) {
        self.shared.stats.resent.add(u64::from(run.written && !matches!(run.work, Work::Board(_))));
        run.written = true;
        let mut beside = counter::Plain::default();
        match &mut run.work {
            Work::Ask { command, .. } => command.encode_into(&mut self.batch),
            Work::Board(board) => board.encode(&mut self.batch),
            Work::Count(job) if self.script == Script::Forbidden => {
                job.number = None;
                beside = job.count.encode_plain(&mut self.batch);
            }
            Work::Count(job) => {
                let (number, _) = *job.number.get_or_insert_with(|| (self.backlog.next_number(), Instant::now()));
                let form = if self.script == Script::Loaded { Form::EvalSha } else { Form::Eval };
                job.count.encode(&mut self.batch, form, &job.done, number);
                self.script = Script::Loaded;
            }
        }
        (0..beside.before).for_each(|_| self.backlog.in_flight.push(Asked::Beside));
        self.backlog.in_flight.push(Asked::Item(Item::Run(run)));
        (0..beside.after).for_each(|_| self.backlog.in_flight.push(Asked::Beside));
    }

    /// A question now and then: whether anybody is there, and still a master.
    fn ask_for_life(&mut self, now: Instant) {
        if !self.heartbeat_is_out && now.saturating_duration_since(self.heartbeat) >= HEARTBEAT {
            let question: &[u8] = if self.connection.tells_role() { b"ROLE" } else { b"PING" };
            command::encode(&mut self.batch, &[question]);
            self.backlog.in_flight.push(Asked::Heartbeat);
            self.heartbeat = now;
            self.heartbeat_is_out = true;
        }
    }

    fn ask_for_leases(&mut self, now: Instant) {
        let Backlog { leases, in_flight, .. } = &mut *self.backlog;
        leases.ask(self.shared, now, self.script != Script::Forbidden, &mut self.batch, in_flight);
    }

    fn write(&mut self, was_idle: bool) -> Result<(), End> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if was_idle {
            // A question of our own comes after as long a silence.
            let silence = if self.heartbeat_is_out { SILENCE_MAX - HEARTBEAT } else { SILENCE_MAX };
            self.answer_by = Instant::now() + silence;
        }
        self.connection.write_all(&self.batch).map_err(End::lost)?;
        self.batch.clear();
        self.batch.shrink_to(2 * BATCH_BYTES_MAX);
        self.poll = ANSWER_POLL_FIRST;
        Ok(())
    }

    // ---- answers ----------------------------------------------------------------------------------------------------

    /// Counts the answers that are there; waits a moment for one that somebody waits for, or that holds up the rest.
    fn settle_answers(&mut self) -> Result<(), End> {
        let in_flight = &self.backlog.in_flight;
        if in_flight.has_awaited() || in_flight.bytes() >= UNANSWERED_BYTES_MAX {
            self.connection.set_nonblocking(false).map_err(End::lost)?;
            let outcome = self.read_answers();
            self.connection.set_nonblocking(true).map_err(End::lost)?;
            if !outcome? {
                return Ok(());
            }
        }
        while self.read_answers()? {}
        Ok(())
    }

    /// One read, as the connection's mode says; false if there was nothing.
    fn read_answers(&mut self) -> Result<bool, End> {
        match self.decoder.read_from(&mut self.connection.reader()) {
            Ok(0) => Err(End::lost("closed by redis")),
            Ok(_) => {
                self.answer_by = Instant::now() + SILENCE_MAX;
                self.match_answers()?;
                Ok(true)
            }
            // How a read says that its time is up depends on the system.
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(err) if err.kind() == ErrorKind::Interrupted => Ok(true),
            Err(err) => Err(End::lost(err)),
        }
    }

    fn match_answers(&mut self) -> Result<(), End> {
        let (mut delivered, mut weight) = (0, 0);
        let mut put_back = Vec::new();
        self.shared.replies.note_heard();
        let outcome = loop {
            let reply = match self.decoder.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => break Ok(()),
                Err(err) => break Err(End::lost(err)),
            };
            let matched = match (self.backlog.in_flight.pop(), reply) {
                (Some(Asked::Item(Item::Publish(publish))), Reply::Integer(_)) => {
                    delivered += 1;
                    weight += publish.weight();
                    self.backlog.careful = false;
                    self.backlog.refused.note_success(&Item::Publish(publish));
                    Ok(())
                }
                (Some(Asked::Item(item)), Reply::Error(text)) => {
                    let mut reactions = Reactions { script: &mut self.script, put_back: &mut put_back };
                    reactions.error_reply(self.backlog, item, text)
                }
                (Some(Asked::Item(Item::Run(run))), reply) => {
                    self.backlog.careful = false;
                    finish_run(self.backlog, run, reply);
                    Ok(())
                }
                (Some(Asked::Item(publish)), other) => {
                    let reason = format!("expected the answer of a PUBLISH, found {}", other.describe());
                    self.backlog.in_flight.put_back(publish);
                    Err(End::lost(reason))
                }
                (Some(Asked::Beside), reply) => {
                    note_beside(self.shared, reply);
                    Ok(())
                }
                (Some(Asked::Leases(_)), Reply::Error(text)) if counter::forbids_scripts(text) => {
                    self.script = Script::Forbidden;
                    self.backlog.leases.reconnected();
                    Ok(())
                }
                (Some(Asked::Leases(taking)), reply) => {
                    taking.answered(reply, self.shared.boot);
                    Ok(())
                }
                (Some(Asked::Heartbeat), reply) => {
                    self.heartbeat_is_out = false;
                    check_role(self.shared, &reply.keep())
                }
                (None, other) => Err(End::lost(format!("{} that nobody asked for", other.describe()))),
            };
            if matched.is_err() {
                break matched;
            }
        };
        if delivered > 0 {
            self.shared.stats.outbox.delivered.add(delivered);
            self.shared.outbox.settle(delivered as usize, weight);
        }
        put_back.into_iter().rev().for_each(|item| self.backlog.unsent.push_front(item));
        outcome
    }
}

/// What an error reply changes besides the item it is for.
struct Reactions<'s> {
    script: &'s mut Script,
    /// Refused for a reason that the next writing mends.
    put_back: &'s mut Vec<Item>,
}

impl Reactions<'_> {
    fn error_reply(&mut self, backlog: &mut Backlog<'_>, mut item: Item, text: &[u8]) -> Result<(), End> {
        if let Item::Run(run) = &mut item
            && let Work::Count(_) = run.work
        {
            if counter::wants_script(text) {
                *self.script = Script::Unknown;
                run.was_refused();
                self.put_back.push(item);
                return Ok(());
            }
            if counter::forbids_scripts(text) {
                if !std::mem::replace(&mut backlog.scripts_said, true) {
                    log::warn!(
                        "redis lets this user run no scripts ({}): a counter whose answer is lost is not sent again",
                        String::from_utf8_lossy(text)
                    );
                }
                *self.script = Script::Forbidden;
                run.was_refused();
                self.put_back.push(item);
                return Ok(());
            }
        }
        let refusal = Refusal::new(text);
        if !is_for_the_moment(&refusal) {
            backlog.refuse(item, &refusal);
            return Ok(());
        }
        backlog.put_off(item, &refusal);
        match refusal.class {
            Class::Wait => Ok(()),
            class => Err(End::Lost { reason: refusal.to_string(), class }),
        }
    }
}

/// A reply that is no error: the answer of a run, or one step towards it.
fn finish_run(backlog: &mut Backlog<'_>, mut run: Box<Run>, reply: Reply<'_>) {
    let outcome = match &mut run.work {
        Work::Ask { expect, .. } => expect.read(reply),
        Work::Count(_) => Expect::Number.read(reply),
        Work::Board(board) => match board.take(reply) {
            Ok(Progress::More) => {
                let now = Instant::now();
                if let Some(item) = backlog.keep_unless_late(Item::Run(run), now, Duration::MAX) {
                    backlog.unsent.push_front(item);
                }
                return;
            }
            Ok(Progress::Done(answer)) => Ok(answer),
            Err(reason) => Err(reason),
        },
    };
    let item = Item::Run(run);
    backlog.refused.note_success(&item);
    let Item::Run(run) = item else { return };
    match outcome {
        Ok(answer) => backlog.answer(run, answer),
        Err(reason) => {
            let shared = backlog.shared;
            backlog.lose(Item::Run(run), &shared.stats.outbox.dropped.redis, &reason);
        }
    }
}

/// A command beside another that was refused.
fn note_beside(shared: &Shared, reply: Reply<'_>) {
    if let Reply::Error(text) = reply {
        shared.stats.beside_failures.add(1);
        log::warn!("redis refused a counter's time to live, or a hook's lease; {}", Refusal::new(text));
    }
}

/// A master that became a replica takes publishes and keeps them to itself.
fn check_role(shared: &Shared, reply: &OwnedReply) -> Result<(), End> {
    match connection::role(reply) {
        None | Some("master") => Ok(()),
        Some(role) => {
            // The subscriptions belong elsewhere now, too.
            shared.subscriptions.disconnect();
            Err(End::lost(format!("it is no master any more, but a {role}")))
        }
    }
}
