//! Answers for the game thread: from `rt-publisher` the answers to commands that a script waits for, from `rt-files`
//! the records read for a callback. Answers to callbacks wait in a queue for the next tick. A reader, which has no
//! callback, waits in [`Replies::wait`] for a bounded time. Answers are never dropped. There are no more of them than
//! callbacks ([`crate::config::limits::CALLBACKS_MAX`]), and an answer that would pass [`ANSWERS_BYTES_MAX`] becomes an
//! error.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::config::limits::ITEM_OVERHEAD_BYTES;
use crate::event::fingerprint::Fingerprint;
use crate::io::lock::lock;
use crate::redis::answer::AnswerResult;
use crate::stats::Stats;
use crate::threads::queue::Queue;
use crate::threads::webhooks::desk::StatusDesk;

/// Memory of the answers that wait for their tick, in bytes: one reply of the largest size, or many usual ones. An
/// answer beyond it becomes an error, so that its callback is still called.
pub(crate) const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Identifies the command that an answer belongs to.
pub(crate) type Ticket = u64;

/// The place that the answer to a command goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// Nobody waits: only a failure is reported, by the game hook `RealtimeError`.
    Nobody,
    /// The game thread waits for it until the deadline.
    Reader { ticket: Ticket, deadline: Instant },
    /// A script's function is called with it in some later tick.
    Callback(Ticket),
    /// `rt-webhooks` waits for the id of this status message.
    Status(Fingerprint),
}

/// An answer on its way to a callback.
pub(crate) struct CallbackAnswer {
    pub(crate) ticket: Ticket,
    pub(crate) outcome: AnswerResult,
}

/// Answers for the game thread.
pub struct Replies {
    queue: Queue<CallbackAnswer>,
    /// Bytes of all answers in the queue.
    bytes: AtomicUsize,
    /// The ticket that the game thread waits for, and its answer once it is there.
    reader: Mutex<Option<(Ticket, Option<AnswerResult>)>>,
    arrived: Condvar,
    /// Counts batches of replies and connections. It tells whether Redis has given a sign of life since a reader timed
    /// out.
    heard: AtomicU64,
    /// Raised so that the pump looks at the queue.
    attention: Arc<AtomicBool>,
    /// Takes the answers for status messages.
    desk: Arc<StatusDesk>,
    stats: Arc<Stats>,
}

/// Bytes that an answer is charged for against [`ANSWERS_BYTES_MAX`].
fn weight(outcome: &AnswerResult) -> usize {
    ITEM_OVERHEAD_BYTES
        + match outcome {
            Ok(answer) => answer.tape.len(),
            Err(reason) => reason.len(),
        }
}

impl Replies {
    pub(crate) fn new(stats: Arc<Stats>, attention: Arc<AtomicBool>, desk: Arc<StatusDesk>) -> Replies {
        Replies {
            queue: Queue::default(),
            bytes: AtomicUsize::new(0),
            reader: Mutex::default(),
            arrived: Condvar::new(),
            heard: AtomicU64::new(0),
            attention,
            desk,
            stats,
        }
    }

    /// Hands an answer to its reader or callback. An answer whose reader has timed out is discarded.
    pub(crate) fn answer(&self, reply_to: ReplyTo, outcome: AnswerResult) {
        match reply_to {
            ReplyTo::Nobody => {}
            ReplyTo::Reader { ticket, .. } => {
                match &mut *lock(&self.reader) {
                    Some((waited_for, answer)) if *waited_for == ticket => *answer = Some(outcome),
                    _ => return,
                }
                self.arrived.notify_one();
            }
            ReplyTo::Status(key) => self.desk.answer(key, outcome),
            ReplyTo::Callback(ticket) => self.push(CallbackAnswer { ticket, outcome }),
        }
    }

    fn push(&self, mut reply: CallbackAnswer) {
        self.stats.replies.offered.add(1);
        if self.bytes.load(Ordering::Relaxed) + weight(&reply.outcome) > ANSWERS_BYTES_MAX {
            self.stats.replies_too_large.add(1);
            reply.outcome = Err(format!("too_large: answers of {ANSWERS_BYTES_MAX} bytes wait for the tick already"));
        }
        self.bytes.fetch_add(weight(&reply.outcome), Ordering::Relaxed);
        self.queue.change(|queue| queue.push_back(reply));
        self.attention.store(true, Ordering::Release);
    }

    /// Takes the oldest answer to a callback.
    pub(crate) fn pop(&self) -> Option<CallbackAnswer> {
        let reply = self.queue.pop()?;
        self.bytes.fetch_sub(weight(&reply.outcome), Ordering::Relaxed);
        Some(reply)
    }

    /// Answers in the queue.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Announces that the game thread will wait for this answer. To be called before the command is queued: an answer
    /// that nobody expects is discarded.
    pub(crate) fn expect(&self, ticket: Ticket) {
        *lock(&self.reader) = Some((ticket, None));
    }

    /// Waits for the announced answer. `None`: the deadline passed, and the answer is not expected any more. Sleeps at
    /// once: on a busy machine the threads that bring the answer need the core.
    pub(crate) fn wait(&self, deadline: Instant) -> Option<AnswerResult> {
        let mut reader = lock(&self.reader);
        loop {
            match reader.take() {
                Some((_, Some(outcome))) => return Some(outcome),
                waited_for => *reader = waited_for,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                *reader = None;
                return None;
            }
            reader = self.arrived.wait_timeout(reader, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Redis replied, or a connection to it was made.
    pub(crate) fn note_heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that changes whenever Redis gives a sign of life.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }
}
