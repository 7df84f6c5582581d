//! One command on its way to Redis and back: what is sent, whether it may be sent again, who waits for the answer.
//! A value: made on the game thread, owned by `rt-publisher` until its fate is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{BOARD_TIME_MAX, COUNTER_MEMORY, ITEM_OVERHEAD_BYTES, READ_AGE_MAX};
use crate::redis::answer::Expect;
use crate::redis::command::Command;
use crate::redis::counter::Count;
use crate::redis::leaderboard::Board;
use crate::threads::replies::ReplyTo;

/// A command, or a series of them with one answer.
pub struct Run {
    pub work: Work,
    /// What failed, for an error: `set`, `incr`.
    pub operation: &'static str,
    /// What it was done to, as scripts name it.
    pub target: Box<[u8]>,
    pub reply_to: ReplyTo,
    pub queued: Instant,
    /// Redis may have it.
    pub(super) written: bool,
}

/// What Redis is asked.
pub enum Work {
    Ask { command: Command, expect: Expect, again: Again },
    Count(CountJob),
    Board(Box<Board>),
}

/// What to do when the answer of a command is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It changes nothing: sent again, but not for ever.
    Read,
    /// The second time changes nothing any more: sent again.
    Write,
    /// Nobody can say what the second time would do.
    Never,
}

/// A counter and the number that makes it count once.
pub struct CountJob {
    pub count: Count,
    /// The key of the last number of this process.
    pub done: Arc<[u8]>,
    /// Given when it is written as a script, taken back when Redis refuses it.
    pub(super) number: Option<(u64, Instant)>,
}

impl Run {
    pub fn new(work: Work, operation: &'static str, target: &[u8], reply_to: ReplyTo, queued: Instant) -> Run {
        Run { work, operation, target: target.into(), reply_to, queued, written: false }
    }

    /// What it takes of the outbox's bound.
    pub(super) fn weight(&self) -> usize {
        let bytes = match &self.work {
            Work::Ask { command, .. } => command.bytes_max(),
            Work::Count(job) => job.count.bytes(),
            Work::Board(_) => 0,
        };
        bytes + self.target.len() + ITEM_OVERHEAD_BYTES
    }

    pub(super) fn is_reader(&self) -> bool {
        matches!(self.reply_to, ReplyTo::Reader { .. })
    }

    /// Its answer is waited for right now: by the game thread, or to go on with.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_reader() || matches!(self.work, Work::Board(_))
    }

    /// Whether its answer is of no use any more. Writes and counters wait for Redis as long as it takes.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.queued);
        match (self.reply_to, &self.work) {
            (ReplyTo::Reader { deadline, .. }, _) => now >= deadline,
            (_, Work::Board(_)) => waited >= BOARD_TIME_MAX,
            (_, Work::Ask { again: Again::Read, .. }) => waited >= READ_AGE_MAX,
            _ => false,
        }
    }

    /// Whether it may be sent again after its answer was lost.
    pub(super) fn is_repeatable(&self, now: Instant) -> bool {
        match &self.work {
            Work::Ask { again, .. } => *again != Again::Never,
            Work::Count(job) => job.number.is_some_and(|(_, since)| remembers(now.saturating_duration_since(since))),
            Work::Board(_) => true,
        }
    }

    /// Whether a later command on the same key makes it meaningless: it would turn the order round.
    pub(super) fn keeps_order(&self) -> bool {
        matches!(&self.work, Work::Ask { again: Again::Write | Again::Never, .. })
    }

    /// It is certain that Redis did not do it.
    pub(super) fn was_refused(&mut self) {
        if let Work::Count(job) = &mut self.work {
            job.number = None;
        }
    }
}

impl CountJob {
    pub fn new(count: Count, done: Arc<[u8]>) -> CountJob {
        CountJob { count, done, number: None }
    }
}

/// Whether Redis still knows the number of a job that was written so long ago.
fn remembers(since: Duration) -> bool {
    since < COUNTER_MEMORY / 2
}
