//! [`Files`], the handle of `rt-files`: every thread appends records and asks for reads through it.
//! An append is accepted or refused at once and does no I/O. The queue is bounded by count and by bytes; a record counts
//! against both bounds until it is written or dropped. A full queue refuses the newest record.
//! The handle also owns the counts that survive a panic of the thread. It knows nothing of the loop that serves it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::config::limits::ITEM_OVERHEAD_BYTES;
use crate::eventlog::disk::Disk;
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{ReadError, ReadOutcome};
use crate::eventlog::{LogSpec, Query};
use crate::io::channel::{self, Receiver, Sender};
use crate::stats::Stats;

/// Records that may wait for `rt-files`: minutes of a busy server's events while a disk does not answer.
pub(super) const EVENTLOG_JOBS_MAX: usize = 65_536;
/// Memory that records waiting for `rt-files` may take, in bytes. Large records reach this bound before the count.
pub(super) const EVENTLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Reads that may wait for `rt-files`. Each has a callback; a script with more of them open asks in a loop.
pub(super) const EVENTLOG_READS_MAX: usize = 64;

/// One request to `rt-files`. The thread serves jobs in the order of the queue. A read only begins in that order: it
/// goes on in slices of time, behind later jobs.
pub(super) enum Job {
    Append(Append),
    /// Write all records that were queued before, to this log or (`None`) to every log. The answer is true if the disk
    /// took all of them.
    Flush(Option<LogPath>, Sender<bool>),
    Read {
        path: LogPath,
        query: Query,
        reply: ReadReply,
    },
    /// Nothing: the thread looks at the settings in each round.
    Wake,
    /// Write and sync everything, close every log, and end the thread.
    Stop,
}

/// A record on its way to its log.
pub(super) struct Append {
    pub(super) log: Arc<LogSpec>,
    /// Milliseconds of Unix time at which this server saw the event.
    pub(super) time_ms: u64,
    /// `channel … | payload …` in one block: one allocation for each record.
    block: Box<[u8]>,
    channel_bytes: usize,
}

impl Append {
    /// The channel and the payload.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        self.block.split_at_checked(self.channel_bytes).unwrap_or_default()
    }

    /// Bytes that the record takes of [`EVENTLOG_BYTES_MAX`].
    pub(super) fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }
}

/// The receiver of a read's result. Both methods run on `rt-files`.
pub(crate) trait Asker: Send {
    /// Converts a part of the records that were read into the answer; true once the answer is complete. `rt-files` calls
    /// this in slices of time, so that a large answer holds up no append.
    fn prepare(&mut self, _read: &ReadOutcome) -> bool {
        true
    }

    /// Takes the result. Called once: after [`Asker::prepare`] returned true, or when the read failed or was dropped.
    fn answer(self: Box<Self>, read: Result<ReadOutcome, ReadError>);
}

impl<F: FnOnce(Result<ReadOutcome, ReadError>) + Send> Asker for F {
    fn answer(self: Box<Self>, read: Result<ReadOutcome, ReadError>) {
        self(read);
    }
}

/// An [`Asker`] that is answered exactly once: dropped unanswered, it answers [`ReadError::Closed`]. So a callback hears
/// of its read even if the thread panics.
pub struct ReadReply(Option<Box<dyn Asker>>);

impl ReadReply {
    /// A reply that calls `answer` on `rt-files`.
    pub fn new(answer: impl FnOnce(Result<ReadOutcome, ReadError>) + Send + 'static) -> ReadReply {
        ReadReply::to(answer)
    }

    /// The same for an asker that prepares its answer in slices.
    pub(crate) fn to(asker: impl Asker + 'static) -> ReadReply {
        ReadReply(Some(Box::new(asker)))
    }

    /// See [`Asker::prepare`].
    pub(super) fn prepare(&mut self, read: &ReadOutcome) -> bool {
        self.0.as_mut().is_none_or(|asker| asker.prepare(read))
    }

    /// Answers.
    pub(super) fn give(mut self, result: Result<ReadOutcome, ReadError>) {
        if let Some(asker) = self.0.take() {
            asker.answer(result);
        }
    }
}

impl Drop for ReadReply {
    fn drop(&mut self) {
        if let Some(asker) = self.0.take() {
            asker.answer(Err(ReadError::Closed));
        }
    }
}

/// Why an append was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendRefused {
    /// The count or the bytes of the queue are at their bound; `waiting` records are queued.
    Full { waiting: usize },
    /// The event logs were closed: the process ends.
    Closed,
}

/// The handle that every thread shares.
///
/// ```text
///            append()                the thread takes it          written or dropped
///  record ────────────▶ waiting ─────────────────────▶ taken ─────────────────────▶ settled
///                       └──────────── waiting, bytes ────────────────────┘
///                                          └── taken, taken_bytes ──────┘   a panic loses these: `settle_lost`
/// ```
pub struct Files {
    tx: Sender<Job>,
    rx: Receiver<Job>,
    /// The game's data folder, to which every log path is relative.
    pub(super) root: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    /// Records accepted and neither written nor dropped, and their weight.
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    /// The part of those records that the thread has taken out of the queue, and its weight.
    taken: AtomicUsize,
    taken_bytes: AtomicUsize,
    /// Reads accepted and not answered, and the part of them that the thread has taken out of the queue.
    reads: AtomicUsize,
    reads_taken: AtomicUsize,
    closed: AtomicBool,
    pub(super) stats: Arc<Stats>,
}

impl Files {
    /// `root` is the game's data folder.
    pub(crate) fn new(root: PathBuf, disk: Arc<dyn Disk>, stats: Arc<Stats>) -> Files {
        // Bounded by the counts below. A bounded queue would allocate its whole memory at once, 4 MiB.
        let (tx, rx) = channel::unbounded();
        let zero = AtomicUsize::default;
        Files {
            tx,
            rx,
            root,
            disk,
            waiting: zero(),
            bytes: zero(),
            taken: zero(),
            taken_bytes: zero(),
            reads: zero(),
            reads_taken: zero(),
            closed: AtomicBool::default(),
            stats,
        }
    }

    /// Queues a record, or refuses and counts it. Never waits; any thread.
    pub(crate) fn append(
        &self,
        log: &Arc<LogSpec>,
        time_ms: u64,
        channel: &[u8],
        payload: &[u8],
    ) -> Result<(), AppendRefused> {
        self.stats.files.offered.add(1);
        let weight = channel.len() + payload.len() + ITEM_OVERHEAD_BYTES;
        if self.closed.load(Ordering::Acquire) {
            self.stats.files.dropped.closed.add(1);
            return Err(AppendRefused::Closed);
        }
        let waiting = self.waiting();
        if waiting >= EVENTLOG_JOBS_MAX || self.bytes.load(Ordering::Relaxed) + weight > EVENTLOG_BYTES_MAX {
            self.stats.files.dropped.queue_full.add(1);
            return Err(AppendRefused::Full { waiting });
        }
        // Counted before the push: the thread may settle the record at once, and a count must not fall below zero.
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let block = [channel, payload].concat().into_boxed_slice();
        let append = Append { log: Arc::clone(log), time_ms, block, channel_bytes: channel.len() };
        self.push(Job::Append(append));
        Ok(())
    }

    /// Asks the thread to read a log. The read sees every record appended before this call. A refusal is also given as
    /// an answer: [`ReadError::Busy`] or [`ReadError::Closed`], on the caller's thread.
    pub fn read(&self, path: LogPath, query: Query, reply: ReadReply) {
        if self.closed.load(Ordering::Acquire) {
            return reply.give(Err(ReadError::Closed));
        }
        let waiting = self.reads.fetch_add(1, Ordering::AcqRel);
        if waiting >= EVENTLOG_READS_MAX {
            self.reads.fetch_sub(1, Ordering::AcqRel);
            return reply.give(Err(ReadError::Busy { waiting }));
        }
        self.push(Job::Read { path, query, reply });
    }

    /// Counts a finished read, whichever thread made it.
    pub(crate) fn count_read(&self, read: &Result<ReadOutcome, ReadError>) {
        self.stats.file_counts.reads.add(1);
        self.stats.file_counts.damaged.add(read.as_ref().map_or(0, |outcome| outcome.damage.damaged));
    }

    /// Waits until every record appended before this call is written, at most until the deadline. True if all are.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        self.flush_some(None, deadline)
    }

    /// The same for one log, so that the caller does not wait for a slower one.
    pub(crate) fn flush_log(&self, path: &LogPath, deadline: Instant) -> bool {
        self.flush_some(Some(path.clone()), deadline)
    }

    fn flush_some(&self, path: Option<LogPath>, deadline: Instant) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return self.waiting() == 0;
        }
        let (done_tx, done_rx) = channel::bounded(1);
        self.push(Job::Flush(path, done_tx));
        done_rx.recv_deadline(deadline).unwrap_or(false)
    }

    /// Refuses records from now on, and asks the thread to write and sync all queued ones, close every log, and end.
    pub(crate) fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        self.push(Job::Stop);
    }

    /// Makes the thread look at the settings.
    pub(crate) fn wake(&self) {
        self.push(Job::Wake);
    }

    /// Records accepted and neither written nor dropped.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// The data folder, for a read on the caller's own thread.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn push(&self, job: Job) {
        // Cannot fail: the queue is unbounded, and this handle holds its other end too.
        let sent = self.tx.send(job);
        debug_assert!(sent);
    }

    // ---- the thread's side ----------------------------------------------------------------------------------

    /// The oldest job; waits for one at most `patience`. From here on its record or read counts as the thread's: a panic
    /// loses it.
    pub(super) fn next(&self, patience: Duration) -> Option<Job> {
        let job =
            if patience.is_zero() { self.rx.try_recv() } else { self.rx.recv_deadline(Instant::now() + patience).ok() };
        match &job {
            Some(Job::Append(append)) => self.take(append.weight()),
            Some(Job::Read { .. }) => self.take_read(),
            Some(Job::Flush(..) | Job::Wake | Job::Stop) | None => {}
        }
        job
    }

    /// The thread took a read out of the queue.
    fn take_read(&self) {
        self.reads_taken.fetch_add(1, Ordering::AcqRel);
    }

    /// This many taken reads were answered.
    pub(super) fn settle_reads(&self, reads: usize) {
        self.reads_taken.fetch_sub(reads, Ordering::AcqRel);
        self.reads.fetch_sub(reads, Ordering::AcqRel);
    }

    /// The thread took a record of this weight out of the queue.
    fn take(&self, weight: usize) {
        self.taken.fetch_add(1, Ordering::AcqRel);
        self.taken_bytes.fetch_add(weight, Ordering::AcqRel);
    }

    /// This many taken records, of this weight in all, were written or dropped, and are counted as such.
    pub(super) fn settle(&self, records: usize, weight: usize) {
        self.taken.fetch_sub(records, Ordering::AcqRel);
        self.taken_bytes.fetch_sub(weight, Ordering::AcqRel);
        self.bytes.fetch_sub(weight, Ordering::AcqRel);
        self.waiting.fetch_sub(records, Ordering::AcqRel);
    }

    /// Counts the records as lost that the thread had taken when it panicked. Called when the thread begins anew.
    pub(super) fn settle_lost(&self) {
        let (records, weight) = (self.taken.load(Ordering::Acquire), self.taken_bytes.load(Ordering::Acquire));
        self.stats.files.dropped.panic.add(records as u64);
        self.settle(records, weight);
        // The panic dropped the replies of these reads, and a dropped reply answers.
        self.settle_reads(self.reads_taken.load(Ordering::Acquire));
    }

    /// Counts the records that were queued behind [`Job::Stop`] as dropped; their reads answer by being dropped.
    pub(super) fn refuse_rest(&self) {
        while let Some(job) = self.next(Duration::ZERO) {
            match job {
                Job::Append(append) => {
                    self.stats.files.dropped.closed.add(1);
                    self.settle(1, append.weight());
                }
                Job::Read { .. } => self.settle_reads(1),
                Job::Flush(..) | Job::Wake | Job::Stop => {}
            }
        }
    }

    /// The bytes of records, the reads accepted and the reads taken: all zero once nothing waits.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::Acquire);
        (read(&self.bytes), read(&self.reads), read(&self.reads_taken))
    }
}
