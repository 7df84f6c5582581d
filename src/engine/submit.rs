//! Commands of scripts: queued for Redis, with a callback, without, or with a bounded wait for the answer.
//! Game thread only. `requests.rs` builds the commands; this file queues them and knows who waits for the answer.
//!
//! | who waits | how |
//! |---|---|
//! | nobody | a failure is reported by the game hook `RealtimeError` |
//! | a callback | it waits in `pending.rs`; the pump delivers the answer in a later tick |
//! | the game thread | [`SyncRead`], bounded by the option `sync_timeout_ms` per second (`patience.rs`) |

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::call::CallbackRef;
use crate::engine::requests::{Request, Requests};
use crate::engine::{Engine, Refusal};
use crate::redis::answer;
use crate::threads::publisher::direct::Queues;
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::Run;
use crate::threads::shared::Shared;

impl Engine {
    /// Builds requests under the current settings.
    pub fn requests(&self) -> Requests<'_> {
        Requests { prefix: &self.config.prefix, done: &self.done_key }
    }

    /// Queues a command. The callback, if there is one, gets its answer; the caller still owns it after an error.
    pub fn submit(&mut self, request: Request, callback: Option<CallbackRef>) -> Result<(), Refusal> {
        self.admit()?;
        let now = Instant::now();
        let Some(callback) = callback else {
            self.shared.outbox.push(Box::new(request.run(ReplyTo::Nobody, now)))?;
            return Ok(());
        };
        let ticket = self.pending.add(callback, request.operation, &request.target)?;
        let queued = self.shared.outbox.push(Box::new(request.run(ReplyTo::Callback(ticket), now)));
        if queued.is_err() {
            self.pending.remove(ticket);
        }
        Ok(queued?)
    }

    /// Begins a command whose answer the game thread will wait for, with [`SyncRead::wait`].
    ///
    /// Refused at once while Redis is known to be away, and when the readers of this second have used up their time: a
    /// wait in vain would hold up the whole game.
    pub fn begin_read(&mut self, request: Request) -> Result<SyncRead, Refusal> {
        self.admit()?;
        let granted = self.grant(Instant::now());
        let (began, deadline) = granted.inspect_err(|_| self.shared.stats.reads_failed_fast.add(1))?;
        let advice = request.advice();
        let ticket = self.pending.ticket();
        let run = Some(request.run(ReplyTo::Reader { ticket, deadline }, began));
        // Announced before it is sent: else the answer could come first and be missed.
        self.shared.replies.expect(ticket);
        Ok(SyncRead { shared: Arc::clone(&self.shared), run, began, deadline, bound: self.config.sync_timeout, advice })
    }

    /// The time that a reader may take: from `now` to a deadline. A connection that was never tried counts as standing,
    /// so that a script may read while the server starts.
    fn grant(&mut self, now: Instant) -> Result<(Instant, Instant), Refusal> {
        let (link, bound) = (&self.shared.links.publisher, self.config.sync_timeout);
        if !link.is_ready() && !link.is_untried() {
            return Err(Refusal::Disconnected(link.trouble().reason));
        }
        let granted = self.patience.grant(now, bound, self.shared.replies.heard());
        let granted = granted.map_err(|impatience| Refusal::Impatient(impatience, bound))?;
        Ok((now, now + granted))
    }

    /// Charges the wait to this second's time for readers and turns a missing answer into an error.
    pub fn end_read(&mut self, read: SyncRead, outcome: Option<answer::AnswerResult>) -> answer::AnswerResult {
        let SyncRead { shared, began, deadline, bound, advice, .. } = read;
        let now = Instant::now();
        self.patience.waited(began, now, outcome.is_some(), shared.replies.heard());
        outcome.unwrap_or_else(|| {
            shared.stats.reads_timed_out.add(1);
            let granted = deadline.saturating_duration_since(began);
            let share = if granted < bound { ", all that was left of this second's share" } else { "" };
            Err(format!("timeout: redis did not answer within {} ms{share}; {}", granted.as_millis(), advice))
        })
    }

    /// Charges the time from `began` to `now`, in which the game thread built the Lua values of a reader's answer:
    /// large answers hold the game up, too.
    pub(crate) fn charge(&mut self, began: Instant, now: Instant) {
        self.patience.waited(began, now, true, self.shared.replies.heard());
    }
}

/// A command whose answer the game thread waits for. Passed back with [`Engine::end_read`].
pub struct SyncRead {
    shared: Arc<Shared>,
    /// The command until it is sent or queued.
    run: Option<Run>,
    began: Instant,
    deadline: Instant,
    /// The option `sync_timeout_ms`.
    bound: Duration,
    /// The advice for the script when the answer takes too long.
    advice: &'static str,
}

impl SyncRead {
    /// The end of the time for the wait and for the answer's Lua values.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sends the command, or queues it if the publisher is busy, and waits for the answer, at most until the deadline. The
    /// engine must not be borrowed.
    pub fn wait(&mut self) -> Option<answer::AnswerResult> {
        let shared = &self.shared;
        let to = Queues { outbox: &shared.outbox, replies: &shared.replies, stats: &shared.stats };
        if !shared.direct.read(&mut self.run, self.deadline, &to)
            && let Some(run) = self.run.take()
        {
            if let Err(full) = shared.outbox.push_reader(run) {
                return Some(Err(Refusal::from(full).to_string()));
            }
            // A publish that waits for its subscriptions must not hold this reader up behind it.
            shared.settled.wake();
        }
        shared.replies.wait(self.deadline)
    }
}
