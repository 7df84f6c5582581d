//! One connection's work: what waits is gathered into batches and written, answers are matched in order.
//! A reader without callback goes ahead of waiting publishes, never of the commands before it; while its answer is
//! out, this thread waits for the socket instead of for its queue.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::config::limits::{HEARTBEAT, REFUSED_RETRY, SILENCE_MAX};
use crate::io::fail_point::fail_point;
use crate::redis::answer::Expect;
use crate::redis::connection::{self, Connection, Role};
use crate::redis::counter::{self, Form};
use crate::redis::leaderboard::Progress;
use crate::redis::refusal::{self, Class, Refusal};
use crate::redis::reply::{Decoder, OwnedReply, Reply};
use crate::redis::{REPLY_LIMITS, command};
use crate::threads::links::{Limit, News};
use crate::threads::publisher::backlog::{Backlog, IDLE_CHECK};
use crate::threads::publisher::in_flight::{Asked, Life, Taking};
use crate::threads::publisher::outbox::{Item, Job, Publish};
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Effect, Run, Work};
use crate::threads::shared::Shared;

/// Bytes of commands that are gathered into one socket write.
const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of commands that Redis has received and not answered. While it works on one batch, the next may be on its way;
/// a reader waits behind no more than that.
const UNANSWERED_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;
/// How long the old connection may take to answer its commands after the settings changed.
const DRAIN_MAX: Duration = Duration::from_secs(1);

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
    /// A counter has brought it, and nothing goes behind that one before its answer is there.
    Asked,
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
                self.see_to_lives(now);
            } else {
                self.gather_last();
                if self.is_drained() {
                    return Ok(End::Settings);
                }
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
        self.see_to_lives(Instant::now());
        self.write(false)?;
        Ok(End::Stop)
    }

    // ---- what is to be done -----------------------------------------------------------------------------------------

    /// Asks for the subscriptions of new routes, and again for those that were refused for the moment.
    fn sync_subscriptions(&mut self) {
        let subscriptions = &self.shared.subscriptions;
        if self.shared.published.version() != self.synced || subscriptions.are_due(Instant::now()) {
            self.synced = subscriptions.sync();
        }
    }

    fn look_at_settings(&mut self) {
        let settings = &self.shared.settings;
        if settings.version() != self.config_version {
            (self.config_version, self.config) = (settings.version(), settings.current());
        }
        // They may have changed before this connection stood.
        if self.is_outdated() {
            self.drain_until.get_or_insert_with(|| Instant::now() + DRAIN_MAX);
        }
    }

    /// Encodes what was queued before the settings changed: it belongs to this connection.
    fn gather_last(&mut self) {
        self.backlog.absorb();
        let (now, age_max) = (Instant::now(), self.config.emit_age_max);
        for item in std::mem::take(&mut self.backlog.unsent) {
            let goes = !self.is_newer(&item) && !self.is_held() && self.batch.len() < BATCH_BYTES_MAX;
            match self.backlog.keep_unless_late(item, now, age_max) {
                Some(Item::Run(run)) if goes => self.encode_run(run),
                Some(Item::Publish(publish)) if goes => self.encode_publish(publish),
                Some(item) => self.backlog.unsent.push_back(item),
                None => {}
            }
        }
    }

    /// Waits a little for the answers of a connection that is to end.
    fn is_drained(&mut self) -> bool {
        let over = self.drain_until.is_none_or(|until| Instant::now() >= until);
        let waits = !self.batch.is_empty() || self.backlog.unsent.iter().any(|item| !self.is_newer(item));
        over || !waits && self.backlog.in_flight.is_empty() || self.batch.is_empty() && self.shared.pause(self.poll)
    }

    /// Nothing may be written: what was refused goes first, or a script's answer is to come.
    fn is_held(&self) -> bool {
        let is_careful = self.backlog.careful && !(self.backlog.in_flight.is_empty() && self.batch.is_empty());
        self.backlog.refused.retry_at.is_some() || is_careful || self.script == Script::Asked
    }

    /// It was queued after the settings asked for another connection: it must not go out on this one.
    fn is_newer(&self, item: &Item) -> bool {
        item.generation() > self.seen
    }

    /// Fills the batch with what waits; waits a little itself if there is nothing.
    fn gather_next(&mut self) {
        if let Some(retry_at) = self.backlog.refused.retry_at {
            let is_soon = self.backlog.refused.is_soon;
            if self.shared.outbox.has_reader() && !is_soon {
                self.backlog.refuse_readers();
            }
            // Nothing may overtake what was refused: first all answers, then a pause, then it goes first.
            if self.backlog.in_flight.is_empty() && Instant::now() >= retry_at {
                self.backlog.release_refused();
                self.backlog.drop_late(Instant::now());
                self.backlog.careful |= !is_soon;
            }
        }
        let is_held = self.backlog.refused.retry_at.is_some();
        if is_held || self.backlog.careful && !self.backlog.in_flight.is_empty() {
            if !self.backlog.refused.is_soon {
                self.shared.pause(self.poll);
            }
            return;
        }
        if self.script == Script::Asked {
            return;
        }
        if self.reader_waits() {
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

    /// A reader is in the queue, and may go ahead of the publishes.
    fn reader_waits(&self) -> bool {
        self.shared.outbox.has_reader() && !self.backlog.careful
    }

    /// How long nothing has to be looked at.
    fn idle_patience(&self, now: Instant) -> Duration {
        let due = [Some(self.heartbeat + HEARTBEAT), self.backlog.leases.due(), self.backlog.lives_due(now)];
        due.into_iter().flatten().map(|due| due.saturating_duration_since(now)).fold(IDLE_CHECK, Duration::min)
    }

    /// Encodes all commands up to the reader that waits; the publishes between them stay where they are.
    fn gather_reader(&mut self) {
        self.backlog.absorb();
        let now = Instant::now();
        let mut has_reader = false;
        for item in std::mem::take(&mut self.backlog.unsent) {
            match self.backlog.keep_unless_late(item, now, Duration::MAX) {
                Some(item) if self.is_newer(&item) || self.script == Script::Asked => {
                    has_reader |= matches!(&item, Item::Run(run) if run.is_reader());
                    self.backlog.unsent.push_back(item);
                }
                Some(Item::Run(run)) => self.encode_run(run),
                Some(publish) => self.backlog.unsent.push_back(publish),
                None => {}
            }
        }
        if has_reader {
            self.shared.outbox.mark_reader();
        }
    }

    /// The settings ask for another connection.
    fn is_outdated(&self) -> bool {
        self.shared.settings.generation() != self.seen
    }

    /// Encodes the job and all that waits behind it, up to a batch; stops at a publish whose subscriptions do not
    /// stand yet.
    fn gather(&mut self, first: Job) {
        let (now, age_max) = (Instant::now(), self.config.emit_age_max);
        let mut next = Some(first);
        while let Some(job) = next {
            if let Job::Send(item) = job {
                if self.is_newer(&item) || self.script == Script::Asked {
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
            let full = self.batch.len() >= BATCH_BYTES_MAX || self.reader_waits();
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
        shared.subscriptions.hurry();
        loop {
            // This thread is the one that asks: what is waited for must have been asked.
            self.sync_subscriptions();
            let give_up = || shared.is_stopping() || self.reader_waits();
            if shared.settled.wait(publish.routes_version, self.ready, give_up) != Some(News::More) {
                break;
            }
        }
        shared.settled.is_reached(publish.routes_version) || !self.reader_waits()
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
        self.shared.stats.resent.add(u64::from(run.attempts > 0 && !run.is_board()));
        run.attempts = run.attempts.saturating_add(1);
        let (mut before, mut life) = (0, None);
        match &mut run.work {
            Work::Ask { command, .. } => command.encode_into(&mut self.batch),
            Work::Board(board) => board.encode(&mut self.batch),
            Work::Count(job) if self.script == Script::Forbidden && job.in_doubt => {
                let reason = "disconnected: its answer was lost, and redis forbids the script that could tell";
                let unknown = &self.shared.stats.outbox.dropped.unknown;
                return self.backlog.lose(Item::Run(run), unknown, reason);
            }
            Work::Count(job) if self.script == Script::Forbidden => {
                (job.number, job.form) = (None, None);
                before = job.count.encode_plain(&mut self.batch);
                life = Some(Life { key: job.count.key.clone(), ttl: job.count.ttl, is_missing: false });
                life = life.filter(|_| job.count.asks_ttl());
            }
            Work::Count(job) => {
                if job.number.is_none() {
                    job.number = self.backlog.next_number().map(|number| (number, Instant::now()));
                }
                let number = job.number.map_or(0, |(number, _)| number);
                let by_sha = self.script == Script::Loaded && !self.backlog.sha_is_forbidden;
                let form = if by_sha { Form::EvalSha } else { Form::Eval };
                job.form = Some(form);
                job.count.encode(&mut self.batch, form, &job.done, number);
                if self.script == Script::Unknown {
                    self.script = Script::Asked;
                }
            }
        }
        let key = life.as_ref().map(|life| life.key.clone()).unwrap_or_default();
        (0..before).for_each(|_| self.backlog.in_flight.push(Asked::Beside("counter", key.clone())));
        self.backlog.in_flight.push(Asked::Item(Item::Run(run)));
        if let Some(life) = life {
            self.backlog.in_flight.push(Asked::Live(life));
        }
    }

    /// Asks for, or gives, the time to live of counters that went without a script.
    fn see_to_lives(&mut self, now: Instant) {
        if self.backlog.lives_due(now).is_none_or(|due| now < due) {
            return;
        }
        self.backlog.lives_at = None;
        while self.batch.len() < BATCH_BYTES_MAX
            && let Some(life) = self.backlog.lives.pop_front()
        {
            if life.is_missing {
                counter::encode_expire(&mut self.batch, &life.key, life.ttl);
            } else {
                counter::encode_ttl(&mut self.batch, &life.key);
            }
            self.backlog.in_flight.push(Asked::Live(life));
        }
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
        let is_hurried = in_flight.has_awaited() || self.script == Script::Asked || self.backlog.refused.is_soon;
        if is_hurried && !in_flight.is_empty() || in_flight.bytes() >= UNANSWERED_BYTES_MAX {
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
                    self.backlog.calm_down();
                    self.backlog.refused.note_success(&Item::Publish(publish));
                    Ok(())
                }
                (Some(Asked::Item(item)), Reply::Error(text)) => {
                    error_reply(&mut self.script, self.backlog, item, text)
                }
                (Some(Asked::Item(Item::Run(run))), reply) => {
                    self.backlog.calm_down();
                    if self.script == Script::Asked && run.form().is_some() {
                        self.script = Script::Loaded;
                        self.shared.limits.lift(Limit::Scripts);
                    }
                    finish_run(self.backlog, run, reply);
                    Ok(())
                }
                (Some(Asked::Item(publish)), other) => {
                    let reason = format!("expected the answer of a PUBLISH, found {}", other.describe());
                    self.backlog.in_flight.put_back(publish);
                    Err(End::lost(reason))
                }
                (Some(Asked::Beside(operation, key)), reply) => {
                    if let Reply::Error(text) = reply {
                        self.backlog.aside_failed(operation, &key, &format!("redis: {}", Refusal::new(text)));
                    }
                    Ok(())
                }
                (Some(Asked::Live(life)), reply) => {
                    note_life(self.backlog, life, reply);
                    Ok(())
                }
                (Some(Asked::Leases(taking)), reply) => leases_reply(&mut self.script, self.backlog, &taking, reply),
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
        outcome
    }
}

/// From now on counters and leases do without scripts.
fn do_without_scripts(script: &mut Script, backlog: &mut Backlog<'_>, refusal: &Refusal) {
    backlog.note_limit(Limit::Scripts, &refusal.to_string());
    *script = Script::Forbidden;
    backlog.leases.reconnected();
}

/// What an error reply means for its item, and for what else is known of Redis.
fn error_reply(script: &mut Script, backlog: &mut Backlog<'_>, item: Item, text: &[u8]) -> Result<(), End> {
    let refusal = Refusal::new(text);
    if let Item::Run(run) = item {
        return match (run.effect(), run.form()) {
            // It may have said so itself, and it is never sent twice.
            (Effect::Unknown, _) => {
                refuse_command(backlog, run, text);
                Ok(())
            }
            (Effect::Counts, Some(form)) => count_refused(script, backlog, run, form, text),
            (Effect::Counts | Effect::Reads | Effect::Writes, _) => refused(backlog, Item::Run(run), &refusal),
        };
    }
    refused(backlog, item, &refusal)
}

/// A command of a script's own was refused. What held a secret is answered without the words of Redis. What has a name
/// that Redis does not know may be a misspelt AUTH: log and game hooks learn none of its arguments, its callback does.
fn refuse_command(backlog: &mut Backlog<'_>, mut run: Box<Run>, text: &[u8]) {
    let is_unknown = ["unknown command", "not support", "unsupported"].iter().any(|part| refusal::contains(text, part));
    let refusal = match run.reply_to {
        _ if run.has_secret() => Refusal::of_secret(text),
        ReplyTo::Nobody if is_unknown => Refusal::new(b"ERR unknown command"),
        ReplyTo::Nobody => Refusal::new(text),
        ReplyTo::Reader { .. } | ReplyTo::Callback(_) => Refusal::with_arguments(text),
    };
    if let Work::Ask { command, .. } = &run.work
        && is_unknown
    {
        run.target = command.name().into();
    }
    backlog.refuse(Item::Run(run), &refusal);
}

/// A counter that was sent as a script's call was refused.
fn count_refused(
    script: &mut Script,
    backlog: &mut Backlog<'_>,
    run: Box<Run>,
    form: Form,
    text: &[u8],
) -> Result<(), End> {
    let (refusal, item) = (Refusal::new(text), Item::Run(run));
    match form {
        Form::EvalSha if counter::wants_script(text) => *script = Script::Unknown,
        Form::EvalSha if counter::forbids_scripts(text) => {
            backlog.sha_is_forbidden = true;
            if *script != Script::Forbidden {
                *script = Script::Unknown;
            }
        }
        // That it does not know the script whose text it was given says no less.
        Form::Eval if counter::forbids_scripts(text) || counter::wants_script(text) => {
            do_without_scripts(script, backlog, &refusal);
        }
        Form::Eval | Form::EvalSha => {
            if *script == Script::Asked {
                // Redis reads a script before it runs it, but not while it refuses everything.
                *script = if refusal.class != Class::Never { Script::Unknown } else { Script::Loaded };
            }
            return refused(backlog, item, &refusal);
        }
    }
    backlog.put_off(item, &refusal, None);
    Ok(())
}

/// An item was refused for the moment, or for good.
fn refused(backlog: &mut Backlog<'_>, item: Item, refusal: &Refusal) -> Result<(), End> {
    if refusal.class == Class::Never {
        backlog.refuse(item, refusal);
        return Ok(());
    }
    backlog.put_off(item, refusal, Some(REFUSED_RETRY));
    goes_on(refusal)
}

/// The end of the connection, if that is what a refusal asks for.
fn goes_on(refusal: &Refusal) -> Result<(), End> {
    match refusal.class {
        Class::Wait | Class::Never => Ok(()),
        class => Err(End::Lost { reason: refusal.to_string(), class }),
    }
}

/// A reply to a question for leases.
fn leases_reply(script: &mut Script, backlog: &mut Backlog<'_>, taking: &Taking, reply: Reply<'_>) -> Result<(), End> {
    let shared = backlog.shared;
    let outcome = match reply {
        Reply::Error(text) => {
            let refusal = Refusal::new(text);
            if *script != Script::Forbidden && (counter::forbids_scripts(text) || counter::wants_script(text)) {
                do_without_scripts(script, backlog, &refusal);
                return Ok(());
            }
            if refusal.class != Class::Never {
                // What is held ends by itself, and is asked for again.
                return goes_on(&refusal);
            }
            Err(refusal.to_string())
        }
        reply => backlog.leases.answered(taking, reply, shared.boot),
    };
    match (outcome, reply) {
        (Err(found), _) => {
            backlog.leases.has_failed = true;
            backlog.note_limit(Limit::Leases, &found);
        }
        (Ok(()), Reply::Array(_)) => {
            shared.limits.lift(Limit::Scripts);
            shared.limits.lift(Limit::Leases);
        }
        (Ok(()), Reply::Bulk(_)) if !backlog.leases.has_failed => shared.limits.lift(Limit::Leases),
        (Ok(()), _) => {}
    }
    Ok(())
}

/// The answer to TTL, or to EXPIRE: a key without an end gets one.
fn note_life(backlog: &mut Backlog<'_>, life: Life, reply: Reply<'_>) {
    match reply {
        Reply::Integer(-1) if !life.is_missing => backlog.keep_life(Life { is_missing: true, ..life }),
        Reply::Error(text) => match Refusal::new(text) {
            refusal if refusal.class == Class::Never => {
                backlog.aside_failed("counter", &life.key, &format!("redis: {refusal}"));
            }
            _ => {
                backlog.lives_at = Some(Instant::now() + REFUSED_RETRY);
                backlog.keep_life(life);
            }
        },
        // It has an end, or ended.
        _ => {}
    }
}

/// A reply that is no error: the answer of a run, or one step towards it.
fn finish_run(backlog: &mut Backlog<'_>, run: Box<Run>, reply: Reply<'_>) {
    let mut run = match run.effect() {
        Effect::Reads => match backlog.keep_unless_spoiled(run) {
            Some(run) => run,
            None => return,
        },
        Effect::Writes | Effect::Counts | Effect::Unknown => run,
    };
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

/// A master that became a replica takes publishes and keeps them to itself.
fn check_role(shared: &Shared, reply: &OwnedReply) -> Result<(), End> {
    match connection::role(reply) {
        Some(Role::Other(role)) => {
            // The subscriptions belong elsewhere now, too.
            shared.subscriptions.disconnect();
            Err(End::lost(format!("it is no master any more, but a {role}")))
        }
        None | Some(Role::Master | Role::Unknown) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
