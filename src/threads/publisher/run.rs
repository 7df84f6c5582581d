//! One command on its way to Redis and back: what is sent, whether it may be sent again, who waits for the answer.
//! A value: made on the game thread, owned by `rt-publisher` until its fate is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::{COUNTER_MEMORY, ITEM_OVERHEAD_BYTES};
use crate::redis::answer::Expect;
use crate::redis::command::Command;
use crate::redis::counter::{Count, Form};
use crate::redis::leaderboard::Board;
use crate::threads::publisher::replies::ReplyTo;

/// Memory that one search for a leaderboard is charged to the queue of commands: a few run at once.
const BOARD_BYTES: usize = 2 * 1024 * 1024;
/// How often a write whose answer was lost is sent.
const WRITE_ATTEMPTS_MAX: u32 = 5;
/// Longest search for a leaderboard that has a callback.
const BOARD_TIME_MAX: Duration = Duration::from_secs(10);
/// A read with a callback that waited this long for Redis is answered with an error: its value would be stale.
pub const READ_AGE_MAX: Duration = Duration::from_secs(5);

/// A command, or a series of them with one answer.
pub(crate) struct Run {
    pub(crate) work: Work,
    /// What failed, for an error: `set`, `incr`.
    pub(crate) operation: &'static str,
    /// What it was done to, as scripts name it.
    pub(crate) target: Box<[u8]>,
    /// Further keys, as scripts name them: of a DEL.
    pub(crate) more_targets: Vec<Box<[u8]>>,
    pub(crate) reply_to: ReplyTo,
    pub(crate) queued: Instant,
    /// How often it was written.
    pub(crate) attempts: u32,
    /// The settings under which it was queued, by their number of reconnections.
    pub(crate) generation: u64,
}

/// What Redis is asked.
pub(crate) enum Work {
    Ask { command: Command, expect: Expect, again: Again },
    Count(CountJob),
    Board(Box<Board>),
}

/// What to do when the answer of a command is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It changes nothing: sent again, but not for ever.
    Read,
    /// The second time changes nothing any more: sent again.
    Write,
    /// Nobody can say what the second time would do.
    Never,
}

/// A counter and the number that makes it count once.
pub(crate) struct CountJob {
    pub(crate) count: Count,
    /// The key of the last number of this process.
    pub(crate) done: Arc<[u8]>,
    /// Given when it is written as a script, taken back when it is certain that Redis did not do it.
    pub(crate) number: Option<(u64, Instant)>,
    /// An answer was lost: Redis may have done it under its number.
    pub(crate) in_doubt: bool,
    /// How it was last written; `None`: as plain commands, or not yet.
    pub(crate) form: Option<Form>,
}

impl Run {
    pub(crate) fn new(work: Work, operation: &'static str, target: &[u8], reply_to: ReplyTo, queued: Instant) -> Run {
        Run {
            work,
            operation,
            target: target.into(),
            more_targets: Vec::new(),
            reply_to,
            queued,
            attempts: 0,
            generation: 0,
        }
    }

    /// What it takes of the outbox's bound.
    pub(crate) fn weight(&self) -> usize {
        let bytes = match &self.work {
            Work::Ask { command, .. } => command.bytes_max(),
            Work::Count(job) => job.count.bytes(),
            // What it may keep while it searches.
            Work::Board(_) => BOARD_BYTES,
        };
        bytes + self.target.len() + ITEM_OVERHEAD_BYTES
    }

    /// The keys it names, as scripts name them. Of a command of a script's own they are not known.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.target).chain(&self.more_targets).map(AsRef::as_ref)
    }

    pub(crate) fn is_reader(&self) -> bool {
        matches!(self.reply_to, ReplyTo::Reader { .. })
    }

    /// Its answer is waited for right now: by the game thread, or to go on with.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_reader() || self.is_board()
    }

    /// Whether its answer is of no use any more. Writes and counters wait for Redis as long as it takes.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.queued);
        match (self.reply_to, &self.work) {
            (ReplyTo::Reader { deadline, .. }, _) => now >= deadline,
            (_, Work::Board(_)) => waited >= BOARD_TIME_MAX,
            (_, Work::Ask { again: Again::Read, .. }) => waited >= READ_AGE_MAX,
            _ => false,
        }
    }

    /// Whether it may be sent again after its answer was lost, if nothing behind it speaks against that.
    pub(crate) fn is_repeatable(&self, now: Instant) -> bool {
        match &self.work {
            Work::Ask { again: Again::Never, .. } => false,
            Work::Ask { again: Again::Write, .. } => self.attempts < WRITE_ATTEMPTS_MAX,
            Work::Ask { again: Again::Read, .. } | Work::Board(_) => true,
            Work::Count(job) => job.number.is_some_and(|(_, since)| remembers(now.saturating_duration_since(since))),
        }
    }

    /// What it does to keys, for their order.
    pub(crate) fn effect(&self) -> Effect {
        match &self.work {
            Work::Ask { again: Again::Read, .. } | Work::Board(_) => Effect::Reads,
            Work::Ask { again: Again::Write, .. } => Effect::Writes,
            Work::Ask { again: Again::Never, .. } => Effect::Unknown,
            Work::Count(_) => Effect::Counts,
        }
    }

    pub(crate) fn is_board(&self) -> bool {
        matches!(self.work, Work::Board(_))
    }

    /// The number of a counter that was written with one.
    pub(crate) fn number(&self) -> Option<u64> {
        match &self.work {
            Work::Count(job) => job.number.map(|(number, _)| number),
            Work::Ask { .. } | Work::Board(_) => None,
        }
    }

    /// How a counter was last written, if by the script.
    pub(crate) fn form(&self) -> Option<Form> {
        match &self.work {
            Work::Count(job) => job.form,
            Work::Ask { .. } | Work::Board(_) => None,
        }
    }

    /// No reply of Redis to it is to be shown.
    pub(crate) fn has_secret(&self) -> bool {
        matches!(&self.work, Work::Ask { command, .. } if command.has_secret())
    }

    /// The number under which Redis may have done it already.
    pub(crate) fn number_in_doubt(&self) -> Option<u64> {
        match &self.work {
            Work::Count(job) if job.in_doubt => self.number(),
            _ => None,
        }
    }

    /// Its answer was lost.
    pub(crate) fn was_lost(&mut self) {
        match &mut self.work {
            Work::Count(job) => job.in_doubt = job.number.is_some(),
            Work::Board(board) => board.restart(),
            Work::Ask { .. } => {}
        }
    }

    /// This attempt was refused: unless an earlier one is in doubt, it is certain that Redis did not do it.
    pub(crate) fn was_refused(&mut self) {
        if let Work::Count(job) = &mut self.work
            && !job.in_doubt
        {
            job.number = None;
        }
    }
}

/// What a command does to the keys it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
    /// Counters go in any order among themselves.
    Counts,
    /// A command of a script's own: anything, to any key.
    Unknown,
}

impl CountJob {
    pub(crate) fn new(count: Count, done: Arc<[u8]>) -> CountJob {
        CountJob { count, done, number: None, in_doubt: false, form: None }
    }
}

/// Whether Redis still knows the number of a job that was written so long ago.
fn remembers(since: Duration) -> bool {
    since < COUNTER_MEMORY / 2
}
