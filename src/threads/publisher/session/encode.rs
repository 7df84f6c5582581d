//! The write side of a session: turns items and the session's own commands into bytes of the batch, and notes each
//! command as in flight. Runs on `rt-publisher`; never blocks and never fails.

use std::time::Instant;

use super::Session;
use crate::config::limits::HEARTBEAT;
use crate::redis::counter::Form;
use crate::redis::kept::Target;
use crate::redis::{command, counter};
use crate::threads::publisher::backlog::BATCH_BYTES_MAX;
use crate::threads::publisher::expiries::Expiry;
use crate::threads::publisher::in_flight::Sent;
use crate::threads::publisher::keeping::KEEP;
use crate::threads::publisher::outbox::{Outgoing, Publish};
use crate::threads::publisher::run::{Run, Work};

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
        let form = match self.backlog.keep_target(channel) {
            None => None,
            Some(target) => self.encode_kept(&target, channel, payload),
        };
        if form.is_none() {
            command::encode_publish(&mut self.batch, channel, payload);
        }
        self.shared.stats.resent.add(u64::from(publish.written));
        (publish.written, publish.form) = (true, form);
        self.backlog.sent(Sent::Item(Outgoing::Publish(publish)));
    }

    /// Appends the commands that keep an event: a call of the script, whose form is returned, or plain commands before
    /// its PUBLISH. Nothing if Redis has no streams.
    fn encode_kept(&mut self, target: &Target, channel: &[u8], payload: &[u8]) -> Option<Form> {
        if self.backlog.keeping().has_no_streams {
            self.shared.stats.not_kept.add(1);
            return None;
        }
        let Some(form) = self.backlog.keeping().scripts.form() else {
            target.encode_plain(&mut self.batch, channel, payload);
            self.backlog.sent(Sent::Auxiliary(KEEP, channel.into()));
            self.backlog.sent(Sent::Auxiliary("expire", target.key.clone()));
            return None;
        };
        target.encode(&mut self.batch, form, channel, payload);
        self.backlog.keeping().scripts.was_sent();
        Some(form)
    }

    /// A command counts as resent if it was written before.
    fn encode_run(&mut self, mut run: Box<Run>) {
        // Each step of the search for a leaderboard is a command of its own, and none of them is a repeat.
        self.shared.stats.resent.add(u64::from(run.attempts > 0 && !run.is_board()));
        run.attempts = run.attempts.saturating_add(1);
        match &mut run.work {
            Work::Ask { command, .. } => command.encode_into(&mut self.batch),
            Work::Board(board) => board.encode(&mut self.batch),
            Work::Count(_) => return self.encode_count(run),
        }
        self.backlog.sent(Sent::Item(Outgoing::Run(run)));
    }

    /// A counter goes as a call of the script, or as plain commands where Redis runs no scripts for this user.
    fn encode_count(&mut self, mut run: Box<Run>) {
        let Work::Count(job) = &mut run.work else { return };
        let Some(form) = self.backlog.scripts().form() else {
            return self.encode_plain_count(run);
        };
        if job.number.is_none() {
            job.number = self.backlog.next_number().map(|number| (number, Instant::now()));
        }
        let number = job.number.map_or(0, |(number, _)| number);
        job.form = Some(form);
        job.count.encode(&mut self.batch, form, &job.done, number);
        self.backlog.scripts().was_sent();
        self.backlog.sent(Sent::Item(Outgoing::Run(run)));
    }

    /// The plain commands of one counter, in the order of their replies: perhaps SET, which creates the key with its
    /// time to live; the addition, whose reply is the answer; perhaps TTL.
    fn encode_plain_count(&mut self, mut run: Box<Run>) {
        let Work::Count(job) = &mut run.work else { return };
        // Plain commands cannot tell whether Redis applied the counter already: counting twice is worse than reporting
        // doubt.
        if job.in_doubt {
            let reason = "disconnected: its answer was lost, and redis forbids the script that could tell";
            let unknown = &self.shared.stats.outbox.dropped.unknown;
            return self.backlog.lose(Outgoing::Run(run), unknown, reason);
        }
        (job.number, job.form) = (None, None);
        let auxiliaries = job.count.encode_plain(&mut self.batch);
        let (key, ttl, asks_ttl) = (job.count.key.clone(), job.count.ttl, job.count.asks_ttl());
        (0..auxiliaries).for_each(|_| self.backlog.sent(Sent::Auxiliary("counter", key.clone())));
        self.backlog.sent(Sent::Item(Outgoing::Run(run)));
        if asks_ttl {
            self.backlog.sent(Sent::Expiry(Expiry { key, ttl, is_missing: false }));
        }
    }

    /// Checks or sets the time to live of counters that went as plain commands.
    pub(super) fn encode_expiries(&mut self, now: Instant) {
        while self.batch.len() < BATCH_BYTES_MAX
            && let Some(expiry) = self.backlog.next_expiry(now)
        {
            if expiry.is_missing {
                counter::encode_expire(&mut self.batch, &expiry.key, expiry.ttl);
            } else {
                counter::encode_ttl(&mut self.batch, &expiry.key);
            }
            self.backlog.sent(Sent::Expiry(expiry));
        }
    }

    /// Every [`HEARTBEAT`] asks whether the server still answers and is still a master: a connection can die without a
    /// word, and a failover can turn a master into a replica while its connections stay open.
    pub(super) fn encode_heartbeat(&mut self, now: Instant) {
        if !self.heartbeat_is_out && now.saturating_duration_since(self.heartbeat) >= HEARTBEAT {
            let name: &[u8] = if self.connection.tells_role() { b"ROLE" } else { b"PING" };
            command::encode(&mut self.batch, &[name]);
            self.backlog.sent(Sent::Heartbeat);
            self.heartbeat = now;
            self.heartbeat_is_out = true;
        }
    }
}
