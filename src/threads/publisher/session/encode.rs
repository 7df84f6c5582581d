//! The write side of a session: turns items and the session's own commands into bytes of the batch, and notes each
//! command as in flight. Runs on `rt-publisher`; never blocks and never fails.

use std::time::Instant;

use super::Session;
use crate::config::limits::REFUSED_RETRY;
use crate::redis::cluster::{self, HOME, LineNumber};
use crate::redis::counter::Form;
use crate::redis::kept::Target;
use crate::redis::{command, counter};
use crate::threads::publisher::backlog::{BATCH_BYTES_MAX, REDIRECTS_MAX};
use crate::threads::publisher::expiries::Expiry;
use crate::threads::publisher::in_flight::{OwnCommands, Sent};
use crate::threads::publisher::keeping::KEEP;
use crate::threads::publisher::outbox::{Outgoing, Publish};
use crate::threads::publisher::run::{Run, Work};

/// The reason why an event is published only.
const NO_NODE: &str = "no node of the cluster serves its stream at the moment";

impl Session<'_, '_> {
    /// Appends an item's commands to the batch. One item may take several commands, or none if it cannot be sent.
    pub(super) fn encode(&mut self, item: Outgoing) {
        match item {
            Outgoing::Publish(publish) => self.encode_publish(publish),
            Outgoing::Run(run) => self.encode_run(run),
        }
    }

    /// The hot path. The channel already carries its prefix.
    pub(super) fn encode_publish(&mut self, mut publish: Publish) {
        let (channel, payload) = publish.parts();
        let (line, form) = match self.backlog.keep_target(&publish).filter(|_| !publish.publish_only) {
            None => (HOME, None),
            Some(target) => self.encode_kept(&target, &publish),
        };
        if form.is_none() {
            command::encode_publish(self.batch_of(line), channel, payload);
        }
        self.shared.stats.resent.add(u64::from(publish.written));
        (publish.written, publish.form, publish.asked_at) = (true, form, None);
        self.backlog.sent_on(line, Sent::Item(Outgoing::Publish(publish)));
    }

    /// Appends the commands that keep an event: a call of the script, whose form is returned, or plain commands before
    /// its PUBLISH. Nothing if it cannot be kept. Returns the line, too: in a cluster that of the stream's node, and every
    /// node passes the event on to all listeners.
    fn encode_kept(&mut self, target: &Target, publish: &Publish) -> (LineNumber, Option<Form>) {
        let (channel, payload) = publish.parts();
        if self.backlog.keeping().has_no_streams {
            self.shared.stats.not_kept.add(1);
            return (HOME, None);
        }
        let line = publish.asked_at.unwrap_or_else(|| self.backlog.line_of_key(&target.key));
        let prepared = if publish.redirects >= REDIRECTS_MAX { Err(NO_NODE.to_owned()) } else { self.prepare(line) };
        if let Err(reason) = prepared {
            self.backlog.lose_keeping(channel, &reason);
            return (HOME, None);
        }
        let Some(form) = self.backlog.keeping().scripts.form() else {
            target.encode_plain(self.batch_of(line), channel, payload);
            self.backlog.sent_on(line, Sent::Auxiliary(KEEP, channel.into()));
            self.backlog.sent_on(line, Sent::Auxiliary("expire", target.key.clone()));
            return (line, None);
        };
        if publish.asked_at.is_some() {
            command::encode(self.batch_of(line), &[b"ASKING"]);
            self.backlog.sent_on(line, Sent::Auxiliary("expire", target.key.clone()));
        }
        // The other nodes may not know the script by its SHA.
        let form = if self.backlog.is_cluster() { Form::Eval } else { form };
        target.encode(self.batch_of(line), form, channel, payload, publish.head().repeatable);
        self.backlog.keeping().scripts.was_sent();
        (line, Some(form))
    }

    /// A command counts as resent if it was written before.
    fn encode_run(&mut self, mut run: Box<Run>) {
        if run.wants_masters() && self.backlog.is_cluster() {
            match self.backlog.spread(run) {
                Some(spread) => run = spread,
                None => return,
            }
        }
        let line = self.backlog.line_of(&run);
        if let Err(reason) = self.prepare(line) {
            return self.backlog.lose_for_node(run, &reason);
        }
        let is_asking = run.asked_at.take().is_some();
        // Each step of the search for a leaderboard is a command of its own, and none of them is a repeat.
        self.shared.stats.resent.add(u64::from(run.attempts > 0 && !run.is_board()));
        run.attempts = run.attempts.saturating_add(1);
        let is_plain = matches!(&run.work, Work::Count(job) if job.is_plain);
        let is_count = matches!(run.work, Work::Count(_));
        if is_plain || is_count && is_asking && self.backlog.scripts().form().is_none() {
            return self.encode_plain_count(run, line, is_asking);
        }
        if is_asking {
            command::encode(self.batch_of(line), &[b"ASKING"]);
            self.backlog.sent_on(line, Sent::Auxiliary(run.operation, run.target.clone()));
        }
        match &mut run.work {
            Work::Ask { command, .. } => command.encode_into(self.batch_of(line)),
            Work::Board(board) => board.encode(self.batch_of(line)),
            Work::Servers(search) => search.encode(self.batch_of(line)),
            Work::Count(_) => return self.encode_count(run, line),
        }
        self.backlog.sent_on(line, Sent::Item(Outgoing::Run(run)));
    }

    /// A counter goes as a call of the script, or as plain commands where Redis runs no scripts for this user.
    fn encode_count(&mut self, mut run: Box<Run>, line: LineNumber) {
        let is_cluster = self.backlog.is_cluster();
        let Work::Count(job) = &mut run.work else { return };
        if !job.in_doubt {
            job.is_tagged = is_cluster;
        }
        let tagged = if job.is_tagged { cluster::beside(&job.done, &job.count.key) } else { Some(job.done.to_vec()) };
        let (Some(form), Some(done)) = (self.backlog.scripts().form(), tagged) else {
            return self.encode_plain_count(run, line, false);
        };
        // The other nodes may not know the script by its SHA.
        let form = if is_cluster { Form::Eval } else { form };
        if job.number.is_none() {
            job.number = self.backlog.next_number().map(|number| (number, Instant::now()));
        }
        let number = job.number.map_or(0, |(number, _)| number);
        job.form = Some(form);
        job.count.encode(self.batch_of(line), form, &done, number);
        self.backlog.scripts().was_sent();
        self.backlog.sent_on(line, Sent::Item(Outgoing::Run(run)));
    }

    /// The plain commands of one counter, in the order of their replies: perhaps SET, which creates the key with its
    /// time to live; the addition, whose reply is the answer; perhaps TTL.
    fn encode_plain_count(&mut self, mut run: Box<Run>, line: LineNumber, is_asking: bool) {
        let Work::Count(job) = &mut run.work else { return };
        // Plain commands cannot tell whether Redis applied the counter already: counting twice is worse than reporting
        // doubt.
        if job.in_doubt {
            let reason = "disconnected: its answer was lost, and redis forbids the script that could tell";
            let unknown = &self.shared.stats.outbox.dropped.unknown;
            return self.backlog.lose(Outgoing::Run(run), unknown, reason);
        }
        (job.number, job.form) = (None, None);
        let auxiliaries = job.count.encode_plain(self.batch_of(line), is_asking);
        let (key, ttl, asks_ttl) = (job.count.key.clone(), job.count.ttl, job.count.asks_ttl());
        let beside = || Sent::Auxiliary("counter", key.clone());
        let asking = usize::from(is_asking);
        (0..auxiliaries + asking * (auxiliaries + 1)).for_each(|_| self.backlog.sent_on(line, beside()));
        self.backlog.sent_on(line, Sent::Item(Outgoing::Run(run)));
        if asks_ttl {
            (0..asking).for_each(|_| self.backlog.sent_on(line, beside()));
            self.backlog.sent_on(line, Sent::Expiry(Expiry { key, ttl, is_missing: false }));
        }
    }

    /// Checks or sets the time to live of counters that went as plain commands.
    pub(super) fn encode_expiries(&mut self, now: Instant) {
        while self.batch_bytes() < BATCH_BYTES_MAX
            && let Some(expiry) = self.backlog.next_expiry(now)
        {
            let line = self.backlog.line_of_key(&expiry.key);
            if self.prepare(line).is_err() {
                return self.backlog.put_off_expiry(expiry, REFUSED_RETRY);
            }
            if expiry.is_missing {
                counter::encode_expire(self.batch_of(line), &expiry.key, expiry.ttl);
            } else {
                counter::encode_ttl(self.batch_of(line), &expiry.key);
            }
            self.backlog.sent_on(line, Sent::Expiry(expiry));
        }
    }

    /// The requests for leases that are due. One for a node that cannot be reached is left out: the next one asks again.
    pub(super) fn encode_leases(&mut self, now: Instant) {
        for commands in self.backlog.ask_for_leases(now) {
            self.encode_own(commands);
        }
    }

    /// The commands of this server's presence. Those for a node that cannot be reached are left out: the next beat is soon.
    pub(super) fn encode_presence(&mut self, now: Instant, ends: bool) {
        let commands = self.backlog.ask_for_presence(now, ends);
        if !commands.sent.is_empty() {
            self.encode_own(commands);
        }
    }

    fn encode_own(&mut self, commands: OwnCommands) {
        let line = self.backlog.line_of_key(&commands.key);
        if self.prepare(line).is_ok() {
            self.batch_of(line).extend_from_slice(&commands.bytes);
            commands.sent.into_iter().for_each(|sent| self.backlog.sent_on(line, sent));
        }
    }

    /// Every [`crate::config::limits::HEARTBEAT`], or less often if that is set, asks whether the server still answers and is still a master: a connection can die without a
    /// word, and a failover can turn a master into a replica while its connections stay open.
    pub(super) fn encode_heartbeat(&mut self, now: Instant) {
        if !self.heartbeat_is_out && now >= self.backlog.next_heartbeat(self.heartbeat) {
            let name: &[u8] = if self.connection.tells_role() { b"ROLE" } else { b"PING" };
            command::encode(&mut self.batch, &[name]);
            self.backlog.sent(Sent::Heartbeat);
            self.heartbeat = now;
            self.heartbeat_is_out = true;
        }
    }
}
