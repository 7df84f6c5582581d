//! Writes and reads event logs. Runs on `rt-files`; owns every open log and the reads that callbacks wait for.
//! [`Files`] is the side of everybody else: an append is taken or refused at once, without I/O. Bounded by count and
//! bytes; a record counts until it is written. A full queue refuses the newest.
//! Takes what waits, writes it at once, syncs what is due, then opens large logs and reads for a slice of time each, and
//! again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::config::limits::ITEM_OVERHEAD_BYTES;
use crate::event::notice::Notice;
use crate::eventlog::disk::Disk;
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{ReadError, ReadOutcome};
use crate::eventlog::{LogSpec, Query};
use crate::stats::Stats;
use crate::threads::shared::Shared;

mod desk;

use desk::Desk;

/// Records that may wait for `rt-files`: minutes of a busy server's events while a disk does not answer.
const EVENTLOG_JOBS_MAX: usize = 65_536;
/// Memory that records waiting for `rt-files` may take, in bytes.
const EVENTLOG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Reads that may wait for `rt-files`. Each has a callback; a script with more of them open asks in a loop.
const EVENTLOG_READS_MAX: usize = 64;
/// Records taken from the queue before the disk is served again.
const EVENTLOG_BATCH_JOBS_MAX: usize = 1024;

/// With nothing to do the thread looks after itself this often.
const IDLE: Duration = Duration::from_secs(3600);

/// What `rt-files` can be asked, served in order; a read only begins in order.
enum Job {
    Append(Append),
    /// Write all that came before, to this log or to any; true if that was possible.
    Flush(Option<LogPath>, Sender<bool>),
    Read {
        path: LogPath,
        query: Query,
        reply: Reply,
    },
    Stop,
}

/// A record on its way to its log.
struct Append {
    log: Arc<LogSpec>,
    time_ms: u64,
    /// `channel … | payload …` in one block.
    block: Box<[u8]>,
    channel_bytes: usize,
}

impl Append {
    fn parts(&self) -> (&[u8], &[u8]) {
        self.block.split_at_checked(self.channel_bytes).unwrap_or_default()
    }

    /// What it takes of the queue's bound.
    fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }
}

/// Who waits for a read, on `rt-files`.
pub(crate) trait Asker: Send {
    /// Makes a little of the answer from what was read. True once it is all made.
    fn prepare(&mut self, _read: &ReadOutcome) -> bool {
        true
    }

    fn answer(self: Box<Self>, read: Result<ReadOutcome, ReadError>);
}

impl<F: FnOnce(Result<ReadOutcome, ReadError>) + Send> Asker for F {
    fn answer(self: Box<Self>, read: Result<ReadOutcome, ReadError>) {
        self(read);
    }
}

/// An [`Asker`] who is answered once in any case: when it is dropped unanswered, with [`ReadError::Closed`].
pub struct Reply(Option<Box<dyn Asker>>);

impl Reply {
    pub fn new(answer: impl FnOnce(Result<ReadOutcome, ReadError>) + Send + 'static) -> Reply {
        Reply::to(answer)
    }

    pub(crate) fn to(asker: impl Asker + 'static) -> Reply {
        Reply(Some(Box::new(asker)))
    }

    fn prepare(&mut self, read: &ReadOutcome) -> bool {
        self.0.as_mut().is_none_or(|asker| asker.prepare(read))
    }

    fn give(mut self, result: Result<ReadOutcome, ReadError>) {
        if let Some(asker) = self.0.take() {
            asker.answer(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(asker) = self.0.take() {
            asker.answer(Err(ReadError::Closed));
        }
    }
}

/// Why nothing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full { waiting: usize },
    Closed,
}

/// The handle that every thread shares.
pub struct Files {
    tx: Sender<Job>,
    rx: Receiver<Job>,
    /// The data folder.
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Records accepted and neither written nor dropped, and their weight.
    waiting: AtomicUsize,
    bytes: AtomicUsize,
    /// Those of them that the thread has taken.
    taken: AtomicUsize,
    taken_bytes: AtomicUsize,
    /// Reads accepted and not answered, and those of them that the thread has taken.
    reads: AtomicUsize,
    reads_taken: AtomicUsize,
    closed: AtomicBool,
    stats: Arc<Stats>,
}

impl Files {
    pub(crate) fn new(root: PathBuf, disk: Arc<dyn Disk>, stats: Arc<Stats>) -> Files {
        // Bounded by the counts below. A bounded channel would take its whole memory at once, 4 MiB.
        let (tx, rx) = crossbeam_channel::unbounded();
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

    /// Takes a record, or refuses it. Never waits.
    pub(crate) fn append(
        &self,
        log: &Arc<LogSpec>,
        time_ms: u64,
        channel: &[u8],
        payload: &[u8],
    ) -> Result<(), Refused> {
        self.stats.files.offered.add(1);
        let weight = channel.len() + payload.len() + ITEM_OVERHEAD_BYTES;
        if self.closed.load(Ordering::Acquire) {
            self.stats.files.dropped.closed.add(1);
            return Err(Refused::Closed);
        }
        let waiting = self.waiting();
        if waiting >= EVENTLOG_JOBS_MAX || self.bytes.load(Ordering::Relaxed) + weight > EVENTLOG_BYTES_MAX {
            self.stats.files.dropped.queue_full.add(1);
            return Err(Refused::Full { waiting });
        }
        // Before the push: the thread may settle it at once.
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let block = [channel, payload].concat().into_boxed_slice();
        let append = Append { log: Arc::clone(log), time_ms, block, channel_bytes: channel.len() };
        self.push(Job::Append(append));
        Ok(())
    }

    /// Has the thread read a log, in slices between its batches. Sees every append before this call. A refusal is an
    /// answer, too.
    pub fn read(&self, path: LogPath, query: Query, reply: Reply) {
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

    /// A log was read, on whichever thread.
    pub(crate) fn count_read(&self, read: &Result<ReadOutcome, ReadError>) {
        self.stats.file_counts.reads.add(1);
        self.stats.file_counts.damaged.add(read.as_ref().map_or(0, |outcome| outcome.damage.damaged));
    }

    /// Waits until every append before this call is written, or until the deadline. True if they are.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        self.flush_some(None, deadline)
    }

    /// The same for one log: others may take longer.
    pub(crate) fn flush_log(&self, path: &LogPath, deadline: Instant) -> bool {
        self.flush_some(Some(path.clone()), deadline)
    }

    fn flush_some(&self, path: Option<LogPath>, deadline: Instant) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return self.waiting() == 0;
        }
        let (done_tx, done_rx) = crossbeam_channel::bounded(1);
        self.push(Job::Flush(path, done_tx));
        done_rx.recv_deadline(deadline).unwrap_or(false)
    }

    /// Has the thread write and sync what waits, close every log, and end.
    pub(crate) fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        self.push(Job::Stop);
    }

    /// Records accepted and not yet written.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// The data folder, for a read on the caller's own thread.
    pub(crate) fn root(&self) -> &std::path::Path {
        &self.root
    }

    fn push(&self, job: Job) {
        // Never fails: this handle holds the other end too.
        let sent = self.tx.send(job).is_ok();
        debug_assert!(sent);
    }

    /// The thread's whole life. `tell` takes what scripts should hear of.
    pub(crate) fn serve(&self, tell: &dyn Fn(Notice)) {
        self.settle_lost();
        let mut desk = Desk::new(self, tell);
        loop {
            let patience = desk.patience(Instant::now()).min(IDLE);
            let job = match patience.is_zero() {
                true => self.rx.try_recv().ok(),
                false => self.rx.recv_timeout(patience).ok(),
            };
            let mut batch = 0;
            let mut next = job;
            while let Some(job) = next.take() {
                if desk.serve(job, Instant::now()) {
                    desk.close(Instant::now());
                    return self.refuse_rest();
                }
                batch += 1;
                if batch < EVENTLOG_BATCH_JOBS_MAX {
                    next = self.rx.try_recv().ok();
                }
            }
            desk.advance(Instant::now());
            desk.open_slice(Instant::now());
            desk.read_slice();
        }
    }

    fn take_read(&self) {
        self.reads_taken.fetch_add(1, Ordering::AcqRel);
    }

    /// So many taken reads were answered.
    fn settle_reads(&self, reads: usize) {
        self.reads_taken.fetch_sub(reads, Ordering::AcqRel);
        self.reads.fetch_sub(reads, Ordering::AcqRel);
    }

    /// The thread took a record out of the queue.
    fn take(&self, weight: usize) {
        self.taken.fetch_add(1, Ordering::AcqRel);
        self.taken_bytes.fetch_add(weight, Ordering::AcqRel);
    }

    /// The fate of this many taken records, of this weight, is known.
    fn settle(&self, records: usize, weight: usize) {
        self.taken.fetch_sub(records, Ordering::AcqRel);
        self.taken_bytes.fetch_sub(weight, Ordering::AcqRel);
        self.bytes.fetch_sub(weight, Ordering::AcqRel);
        self.waiting.fetch_sub(records, Ordering::AcqRel);
    }

    /// What a panic of the thread has lost.
    fn settle_lost(&self) {
        let (records, weight) = (self.taken.load(Ordering::Acquire), self.taken_bytes.load(Ordering::Acquire));
        self.stats.files.dropped.panic.add(records as u64);
        self.settle(records, weight);
        // Their replies said so when they were dropped.
        self.settle_reads(self.reads_taken.load(Ordering::Acquire));
    }

    /// What came behind the stop.
    fn refuse_rest(&self) {
        while let Ok(job) = self.rx.try_recv() {
            match job {
                Job::Append(append) => {
                    self.take(append.weight());
                    self.stats.files.dropped.closed.add(1);
                    self.settle(1, append.weight());
                }
                Job::Read { .. } => {
                    self.take_read();
                    self.settle_reads(1);
                }
                Job::Flush(..) | Job::Stop => {}
            }
        }
    }
}

/// The thread of a whole server.
pub(crate) fn run(shared: &Arc<Shared>) {
    shared.files.serve(&|notice| shared.notices.push(notice));
}

#[cfg(test)]
mod tests;
