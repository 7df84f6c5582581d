//! The publisher's one decision: the item that the session writes next, or the event that it waits for. Runs on
//! `rt-publisher`; never blocks.
//!
//! | state | items that go |
//! |---|---|
//! | [`Pace::Open`] | unsent items, then the outbox, in order, up to [`BATCH_BYTES_MAX`] a batch |
//! | [`Pace::Careful`] | the same, one item at a time, each after the answer to the one before |
//! | [`Pace::Rephrase`], [`Pace::Paused`] | nothing until all answers are in; then the refused items |
//! | paused as a cluster does not serve the keys of commands | events meanwhile: a [`Pass`] |
//! | a counter or a kept event brought a script | nothing before its answer |
//! | a reader waits in the outbox | all commands in order, past the publishes: a [`Pass`] |
//! | held after a lost connection | nothing, but all commands if a reader waits |
//! | draining | items queued before the settings changed: a [`Pass`], again and again |

use std::time::{Duration, Instant};

use super::{Backlog, IDLE_CHECK};
use crate::threads::publisher::outbox::{Outgoing, Publish};
use crate::threads::publisher::pace::Pace;

/// Bytes of commands that go into one socket write: enough that the cost of a system call is spread over hundreds of
/// events, little enough that a reader does not wait long for the end of it.
pub(crate) const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Bytes of commands that Redis has received and not answered. While it works on one batch, the next may be on its way;
/// a reader waits behind no more than that.
const UNANSWERED_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;
/// How long the old connection may take to answer its commands after the settings changed.
pub(super) const DRAIN_MAX: Duration = Duration::from_secs(1);

/// The next action of the session. Once it is anything but an item, the session writes the batch and reads answers
/// before it asks again.
pub(crate) enum Step {
    /// Encode this item and ask again.
    Write(Outgoing),
    /// The subscriptions asked for before this publish do not stand yet: wait for them, then encode it, or hand it back
    /// with [`Backlog::put_back`].
    Settle(Publish),
    /// Nothing may be written before an answer, or this much time; the batch is full if the time is zero.
    Wait(Duration),
    /// Nothing waits here: wait at the outbox for an item, at most this long, and hand it in with [`Backlog::arrived`].
    Idle(Duration),
    /// All items queued before the settings changed are answered, or took too long: leave this connection.
    Drained,
}

/// The moment at which the session asks for the next step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    /// Bytes of the batch so far.
    pub(crate) batch_bytes: usize,
    /// How soon the session looks for answers again.
    pub(crate) poll: Duration,
    /// When the last heartbeat was sent.
    pub(crate) heartbeat: Instant,
}

/// A walk through all unsent items, of which some are written now and the others stay. Each item is taken from the
/// front and, if it stays, put at the back: after a whole walk the items that stay are in their old order.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// Items that this walk has not looked at.
    left: usize,
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Write every command, for the sake of the readers among them.
    Readers {
        /// A reader has to stay.
        one_stays: bool,
    },
    /// Write items queued before the settings changed.
    Drain,
    /// Write every event, as a cluster does not serve the keys of the refused commands.
    Events,
}

impl Backlog<'_> {
    /// The next step of the session.
    pub(crate) fn next(&mut self, at: &Moment) -> Step {
        if self.pass.is_some() {
            return self.go_on(at);
        }
        loop {
            if at.batch_bytes > 0 {
                let is_complete = at.batch_bytes >= BATCH_BYTES_MAX || self.pace == Pace::Careful;
                // Nothing follows the counter that brings the script, and a reader does not wait for a whole batch.
                if is_complete || self.awaits_script() || self.reader_waits() {
                    return Step::Wait(Duration::ZERO);
                }
            } else if let Some(step) = self.begin(at) {
                return step;
            }
            let item = match self.unsent.pop_front() {
                Some(item) => item,
                None if at.batch_bytes == 0 => return Step::Idle(self.patience(at)),
                None => match self.shared.outbox.take() {
                    Some(item) => item,
                    None => return Step::Idle(Duration::ZERO),
                },
            };
            if let Some(step) = self.judge(item, at) {
                return step;
            }
        }
    }

    /// An item came while the session waited at the outbox.
    pub(crate) fn arrived(&mut self, item: Outgoing) {
        self.unsent.push_back(item);
    }

    /// Puts an item back: it is the first to be written.
    pub(crate) fn put_back(&mut self, item: Outgoing) {
        self.unsent.push_front(item);
    }

    /// Whether a reader waits in the outbox and may go ahead of the publishes. In careful mode it may not: one item at
    /// a time, in order.
    pub(crate) fn reader_waits(&self) -> bool {
        self.shared.outbox.has_reader() && self.pace != Pace::Careful
    }

    /// Whether the settings asked for another connection, and this one only finishes its own items.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain_until.is_some()
    }

    /// Whether so much is in flight that no further batch is begun: from [`UNANSWERED_BYTES_MAX`] until half of that is
    /// answered. Redis answers a part of a batch at a time, and a write for each part would cost a system call each.
    pub(super) fn is_full(&mut self) -> bool {
        let bytes = self.in_flight.bytes();
        self.is_clogged = bytes >= UNANSWERED_BYTES_MAX || self.is_clogged && bytes > UNANSWERED_BYTES_MAX / 2;
        self.is_clogged
    }

    /// The step of an empty batch; `None`: the next item may be taken.
    fn begin(&mut self, at: &Moment) -> Option<Step> {
        if self.is_draining() {
            return Some(self.start(Purpose::Drain, at));
        }
        match self.pace {
            Pace::Paused { until } => {
                // The game thread waits for a reader: it had better learn at once that Redis is busy.
                if self.shared.outbox.has_reader() {
                    self.refuse_readers();
                }
                if at.now < until && self.refused.lets_events_pass() && !self.is_full() {
                    return Some(self.start(Purpose::Events, at));
                }
                if !self.in_flight.is_empty() || at.now < until {
                    return Some(Step::Wait(at.poll));
                }
                self.resume(at.now);
            }
            // The session waits at the socket for the answers.
            Pace::Rephrase { .. } if !self.in_flight.is_empty() => return Some(Step::Wait(Duration::ZERO)),
            Pace::Rephrase { .. } => self.resume(at.now),
            Pace::Careful if !self.in_flight.is_empty() => return Some(Step::Wait(at.poll)),
            Pace::Careful | Pace::Open => {}
        }
        if self.awaits_script() {
            return Some(Step::Wait(Duration::ZERO));
        }
        if self.reader_waits() {
            return Some(self.start(Purpose::Readers { one_stays: false }, at));
        }
        if let Some(left) = self.held(at.now) {
            let is_awaited = self.in_flight.has_awaited();
            return Some(Step::Wait(if is_awaited { Duration::ZERO } else { at.poll.min(left) }));
        }
        self.is_full().then_some(Step::Wait(Duration::ZERO))
    }

    /// How long publishes are still held for the other servers.
    fn held(&mut self, now: Instant) -> Option<Duration> {
        self.held_until = self.held_until.filter(|until| *until > now && !self.shared.outbox.is_hurried());
        self.held_until.map(|until| until - now)
    }

    /// The refused items go first.
    fn resume(&mut self, now: Instant) {
        self.release_refused();
        self.drop_late(now);
        self.pace.resume();
    }

    /// The step for the item that is first; `None`: it was too old, and is lost.
    fn judge(&mut self, item: Outgoing, at: &Moment) -> Option<Step> {
        if self.is_newer(&item) || self.waits_for_asked(&item) {
            self.unsent.push_front(item);
            return Some(Step::Wait(Duration::ZERO));
        }
        let item = self.keep_unless_late(item, at.now, self.event_age_max)?;
        match item {
            Outgoing::Publish(publish) if !self.shared.settled.is_reached(publish.head().routes_version) => {
                if at.batch_bytes == 0 {
                    return Some(Step::Settle(publish));
                }
                // Nothing that is ready waits for the subscriptions of others.
                self.unsent.push_front(Outgoing::Publish(publish));
                Some(Step::Wait(Duration::ZERO))
            }
            item => Some(Step::Write(item)),
        }
    }

    /// How long the session may wait for a job when no item is unsent.
    fn patience(&self, at: &Moment) -> Duration {
        if !self.in_flight.is_empty() {
            return if self.in_flight.has_awaited() { Duration::ZERO } else { at.poll };
        }
        let due = [
            Some(self.next_heartbeat(at.heartbeat)),
            self.leases.due(),
            self.presence.due(at.now),
            self.expiries.due(at.now),
        ];
        due.into_iter().flatten().map(|due| due.saturating_duration_since(at.now)).fold(IDLE_CHECK, Duration::min)
    }

    /// Whether the item was queued after the settings asked for another connection: it must not go out on this one.
    fn is_newer(&self, item: &Outgoing) -> bool {
        item.generation() > self.seen
    }

    // ---- passes -----------------------------------------------------------------------------------------------------

    /// Begins a pass through the unsent items and everything in the outbox.
    fn start(&mut self, purpose: Purpose, at: &Moment) -> Step {
        self.absorb();
        self.pass = Some(Pass { left: self.unsent.len(), purpose });
        self.go_on(at)
    }

    /// The next item that the pass lets go, or the step at its end.
    fn go_on(&mut self, at: &Moment) -> Step {
        while let Some(pass) = &mut self.pass
            && pass.left > 0
        {
            pass.left -= 1;
            let purpose = pass.purpose;
            let Some(item) = self.unsent.pop_front() else { break };
            // A pass for readers leaves the publishes alone, the expired ones too.
            let is_for_readers = matches!(purpose, Purpose::Readers { .. });
            let age_max = if is_for_readers { Duration::MAX } else { self.event_age_max };
            let Some(item) = self.keep_unless_late(item, at.now, age_max) else { continue };
            if self.may_go(&item, purpose, at) {
                return Step::Write(item);
            }
            if let Outgoing::Run(run) = &item
                && run.is_reader()
                && let Some(Pass { purpose: Purpose::Readers { one_stays }, .. }) = &mut self.pass
            {
                *one_stays = true;
            }
            self.unsent.push_back(item);
        }
        match self.pass.take() {
            Some(Pass { purpose: Purpose::Drain, .. }) => self.drained_or_wait(at),
            Some(Pass { purpose: Purpose::Readers { one_stays }, .. }) => {
                if one_stays {
                    self.shared.outbox.mark_reader();
                }
                Step::Wait(Duration::ZERO)
            }
            // A pass that found nothing is not repeated at once.
            Some(Pass { purpose: Purpose::Events, .. }) if at.batch_bytes == 0 => Step::Wait(at.poll),
            Some(Pass { purpose: Purpose::Events, .. }) | None => Step::Wait(Duration::ZERO),
        }
    }

    /// Whether the pass lets this item go now. Newer items stay for the next connection.
    fn may_go(&self, item: &Outgoing, purpose: Purpose, at: &Moment) -> bool {
        if self.is_newer(item) || self.awaits_script() {
            return false;
        }
        match purpose {
            Purpose::Readers { .. } => matches!(item, Outgoing::Run(_)),
            Purpose::Events => {
                let is_settled = |publish: &Publish| self.shared.settled.is_reached(publish.head().routes_version);
                let has_room = at.batch_bytes < BATCH_BYTES_MAX;
                has_room && matches!(item, Outgoing::Publish(publish) if is_settled(publish))
            }
            Purpose::Drain => {
                let one_is_out = at.batch_bytes > 0 || !self.in_flight.is_empty();
                let is_held = self.pace.has_refused() || self.pace == Pace::Careful && one_is_out;
                !is_held && at.batch_bytes < BATCH_BYTES_MAX
            }
        }
    }

    /// The end of one pass over a connection that is to be left. A Redis that is silent may owe a heartbeat's answer, which
    /// nobody needs any more.
    fn drained_or_wait(&self, at: &Moment) -> Step {
        let is_over = self.drain_until.is_none_or(|until| at.now >= until);
        let waits = at.batch_bytes > 0 || self.unsent.iter().any(|item| !self.is_newer(item));
        if is_over || !waits && !self.in_flight.has_items() {
            return Step::Drained;
        }
        Step::Wait(if at.batch_bytes == 0 { at.poll } else { Duration::ZERO })
    }
}
