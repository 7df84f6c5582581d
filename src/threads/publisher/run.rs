//! One command on its way to Redis and back: its bytes, whether it may be sent again, and the place its answer goes to.
//! A value: the game thread or `rt-actions` makes it, `rt-publisher` owns it until its fate is known.
//!
//! | [`Work`] | [`Effect`] | answer lost | order on its keys |
//! |---|---|---|---|
//! | `Ask`, [`Again::Read`] | reads | sent again until it is too old | behind every write before it |
//! | `Ask`, [`Again::Write`] (idempotent) | writes | sent again, unless that would undo a change behind it | kept |
//! | `Ask`, [`Again::Never`] | unknown | counts as `unknown` | kept |
//! | `Count` | counts | sent again with its number | counters among themselves: none |
//! | `Board`, `Servers` | reads | begins anew | none |

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::{COUNTER_MEMORY, ITEM_OVERHEAD_BYTES};
use crate::redis::answer::Expect;
use crate::redis::cluster::{self, LineNumber};
use crate::redis::command::Command;
use crate::redis::counter::{Count, Form};
use crate::redis::leaderboard::Board;
use crate::redis::presence::Search;
use crate::threads::publisher::replies::ReplyTo;

/// Bytes that one search for a leaderboard is charged against the outbox's bound, so that only a few run at once.
const BOARD_BYTES: usize = 2 * 1024 * 1024;
/// How many connections may end at one write or counter before it counts as unknown: one that ends every connection it is
/// sent on must not be sent for ever, and hold up the others.
const ENDS_MAX: u8 = 5;
/// Longest search for a leaderboard that has a callback: a board of the largest size takes some hundred steps of SCAN
/// and MGET, each behind the commands of others.
const BOARD_TIME_MAX: Duration = Duration::from_secs(10);
/// A read with a callback that has waited this long for Redis is answered with an error: its value would be stale.
pub const READ_AGE_MAX: Duration = Duration::from_secs(5);

/// A command, or a series of commands with one answer.
pub(crate) struct Run {
    pub(crate) work: Work,
    /// The operation in the words of the API, for errors: `set`, `incr`.
    pub(crate) operation: &'static str,
    /// The key or command name as scripts know it, without the prefix.
    pub(crate) target: Box<[u8]>,
    /// Further keys, as scripts know them: DEL has several.
    pub(crate) more_targets: Vec<Box<[u8]>>,
    pub(crate) reply_to: ReplyTo,
    /// When it was queued.
    pub(crate) queued: Instant,
    /// How often it was written.
    pub(crate) attempts: u32,
    /// How many connections ended while it was the first without an answer.
    pub(crate) ends: u8,
    /// See [`crate::threads::publisher::outbox::Outgoing::generation`].
    pub(crate) generation: u64,
    /// Its slot in a cluster, if a node has named it.
    pub(crate) slot: Option<u16>,
    /// The node of a cluster that it goes to once, behind ASKING.
    pub(crate) asked_at: Option<LineNumber>,
    /// How often a node of a cluster has redirected it.
    pub(crate) redirects: u8,
    /// See [`Run::weight`].
    weight: usize,
}

/// The commands of one [`Run`].
pub(crate) enum Work {
    /// One command. `expect` reads its reply.
    Ask { command: Command, expect: Expect, again: Again },
    /// A counter: a call of the script, or plain commands.
    Count(CountJob),
    /// The search for a leaderboard: SCAN and MGET in turn, in a cluster on all masters.
    Board(Box<Board>),
    /// The search for servers, or for a player on them: ZRANGE, then MGET.
    Servers(Box<Search>),
}

/// Whether a command is sent again when its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It changes nothing: sent again until [`READ_AGE_MAX`].
    Read,
    /// It is idempotent, such as SET and DEL: sent again.
    Write,
    /// A command of a script's own: repeating it may do anything. Never sent again.
    Never,
}

/// A counter and the number by which the script applies it once (`redis/counter.rs`).
pub(crate) struct CountJob {
    pub(crate) count: Count,
    /// The key under which Redis keeps the last number of this process.
    pub(crate) done: Arc<[u8]>,
    /// Its number, and when it got it. Given when it is first written as a call of the script, taken back when it is
    /// certain that Redis did not apply it.
    pub(crate) number: Option<(u64, Instant)>,
    /// An answer was lost: Redis may have applied it under its number.
    pub(crate) in_doubt: bool,
    /// The form of the script's call when it was last written; `None`: plain commands, or not written yet.
    pub(crate) form: Option<Form>,
    /// Its number is kept under a key with the tag of its own key, as a cluster wants it. Fixed while it is in doubt: Redis
    /// must look for the number where it may have written it.
    pub(crate) is_tagged: bool,
    /// It goes as plain commands until it is sent: a part of its slot is on another node of the cluster, or an ACL may
    /// forbid the key of the numbers alone.
    pub(crate) is_plain: bool,
}

impl Run {
    pub(crate) fn new(work: Work, operation: &'static str, target: &[u8], reply_to: ReplyTo, queued: Instant) -> Run {
        let bytes = match &work {
            Work::Ask { command, .. } => command.bytes_max(),
            Work::Count(job) => job.count.bytes(),
            // It keeps keys and hashes while it searches.
            Work::Board(_) | Work::Servers(_) => BOARD_BYTES,
        };
        Run {
            weight: bytes + target.len() + ITEM_OVERHEAD_BYTES,
            work,
            operation,
            target: target.into(),
            more_targets: Vec::new(),
            reply_to,
            queued,
            attempts: 0,
            ends: 0,
            generation: 0,
            slot: None,
            asked_at: None,
            redirects: 0,
        }
    }

    /// Bytes that it is charged for against the outbox's bound. It stays the same although the target may change: the
    /// outbox takes back what it was charged.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// The keys that it names, as scripts know them. The keys of a script's own command are not known.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&self.target).chain(&self.more_targets).map(AsRef::as_ref)
    }

    /// Whether the game thread waits for its answer.
    pub(crate) fn is_reader(&self) -> bool {
        matches!(self.reply_to, ReplyTo::Reader { .. })
    }

    /// Whether its answer should be read as soon as it arrives: the game thread waits for it, or the search for a
    /// leaderboard goes on with it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_reader() || self.is_board()
    }

    /// Whether its answer is of no use any more. Writes and counters are never late: they wait until Redis is back.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.queued);
        match (self.reply_to, &self.work) {
            (ReplyTo::Reader { deadline, .. }, _) => now >= deadline,
            (_, Work::Board(_) | Work::Servers(_)) => waited >= BOARD_TIME_MAX,
            (_, Work::Ask { again: Again::Read, .. }) => waited >= READ_AGE_MAX,
            _ => false,
        }
    }

    /// Whether it may be sent again after its answer was lost, if nothing behind it speaks against that.
    pub(crate) fn is_repeatable(&self, now: Instant) -> bool {
        match &self.work {
            Work::Ask { again: Again::Never, .. } => false,
            Work::Ask { again: Again::Write, .. } => self.ends < ENDS_MAX,
            Work::Ask { again: Again::Read, .. } | Work::Board(_) | Work::Servers(_) => true,
            Work::Count(_) if self.ends >= ENDS_MAX => false,
            Work::Count(job) => job.number.is_some_and(|(_, since)| remembers(now.saturating_duration_since(since))),
        }
    }

    /// Its effect on keys, which decides about order.
    pub(crate) fn effect(&self) -> Effect {
        match &self.work {
            Work::Ask { again: Again::Read, .. } | Work::Board(_) | Work::Servers(_) => Effect::Reads,
            Work::Ask { again: Again::Write, .. } => Effect::Writes,
            Work::Ask { again: Again::Never, .. } => Effect::Unknown,
            Work::Count(_) => Effect::Counts,
        }
    }

    /// Whether an error of Redis that says "never" is an answer to it: that it is no cluster.
    pub(crate) fn expects_error(&self) -> bool {
        matches!(&self.work, Work::Board(board) if board.expects_error())
    }

    /// Whether it is a search in steps, for a leaderboard or for servers.
    pub(crate) fn is_board(&self) -> bool {
        matches!(self.work, Work::Board(_) | Work::Servers(_))
    }

    /// Whether it has to know the masters of a cluster, and does not.
    pub(crate) fn wants_masters(&self) -> bool {
        matches!(&self.work, Work::Board(board) if !board.is_spread())
    }

    /// The number of a counter that has one.
    pub(crate) fn number(&self) -> Option<u64> {
        match &self.work {
            Work::Count(job) => job.number.map(|(number, _)| number),
            Work::Ask { .. } | Work::Board(_) | Work::Servers(_) => None,
        }
    }

    /// The form of the script's call by which a counter was last written.
    pub(crate) fn form(&self) -> Option<Form> {
        match &self.work {
            Work::Count(job) => job.form,
            Work::Ask { .. } | Work::Board(_) | Work::Servers(_) => None,
        }
    }

    /// Whether it runs a script of a script author's own, whose errors may look like those of Redis.
    pub(crate) fn runs_script(&self) -> bool {
        matches!(&self.work, Work::Ask { command, .. } if command.runs_script())
    }

    /// The line of its next step, if that is a SCAN in a cluster.
    pub(crate) fn scans_on(&self) -> Option<LineNumber> {
        match &self.work {
            Work::Board(board) => board.line(),
            Work::Ask { .. } | Work::Count(_) | Work::Servers(_) => None,
        }
    }

    /// Its slot, if Redis is a cluster: a node has named it, or its key has it.
    pub(crate) fn slot(&self) -> Option<u16> {
        let key = match &self.work {
            Work::Ask { command, .. } => command.key(),
            Work::Count(job) => Some(&*job.count.key),
            Work::Board(board) => return self.slot.or_else(|| board.slot()),
            Work::Servers(search) => return self.slot.or_else(|| Some(search.slot())),
        };
        self.slot.or_else(|| key.map(cluster::slot))
    }

    /// Whether it is a counter whose number is kept under a key with the tag of the counter's key.
    pub(crate) fn has_tag(&self) -> bool {
        matches!(&self.work, Work::Count(job) if job.is_tagged)
    }

    /// Whether it carries a password or may carry one: no error reply to it is ever shown.
    pub(crate) fn has_secret(&self) -> bool {
        matches!(&self.work, Work::Ask { command, .. } if command.has_secret())
    }

    /// The number under which Redis may have applied a counter already.
    pub(crate) fn number_in_doubt(&self) -> Option<u64> {
        match &self.work {
            Work::Count(job) if job.in_doubt => self.number(),
            _ => None,
        }
    }

    /// Notes that its answer was lost.
    pub(crate) fn was_lost(&mut self) {
        (self.asked_at, self.redirects) = (None, 0);
        match &mut self.work {
            Work::Count(job) => job.in_doubt = job.number.is_some(),
            Work::Board(board) => board.restart(),
            Work::Servers(search) => search.restart(),
            Work::Ask { .. } => {}
        }
    }

    /// Begins a search in steps anew; any other command stays as it is.
    pub(crate) fn restart_search(&mut self) {
        match &mut self.work {
            Work::Board(board) => board.restart(),
            Work::Servers(search) => search.restart(),
            Work::Ask { .. } | Work::Count(_) => {}
        }
    }

    /// Notes that this attempt was refused. Unless an earlier attempt is in doubt, Redis certainly did not apply it,
    /// and its number goes back.
    pub(crate) fn was_refused(&mut self) {
        if let Work::Count(job) = &mut self.work
            && !job.in_doubt
        {
            job.number = None;
        }
    }
}

/// The effect of a command on the keys that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
    /// An addition: counters commute among themselves.
    Counts,
    /// A command of a script's own: it may do anything to any key.
    Unknown,
}

impl CountJob {
    pub(crate) fn new(count: Count, done: Arc<[u8]>) -> CountJob {
        CountJob { count, done, number: None, in_doubt: false, form: None, is_tagged: false, is_plain: false }
    }
}

/// Whether Redis certainly still knows the number of a counter that got it so long ago: with a margin of half the time
/// that Redis is told to remember numbers ([`COUNTER_MEMORY`]).
fn remembers(since: Duration) -> bool {
    since < COUNTER_MEMORY / 2
}
