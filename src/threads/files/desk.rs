//! [`Desk`], the state of `rt-files`: the open logs, the logs that are being opened, and the reads under way.
//! A log whose index is good opens at once. A large log without its index opens in slices of time, like a read; its
//! records, reads and flushes wait until it is open, while other logs are written.
//! A log that cannot be opened is tried again after a pause. If another program holds a file of it, or the disk is full,
//! its records wait in memory. Records that find no room there, and those of a log that is refused, are dropped and counted.
//! Scripts hear of that by `RealtimeError`, not by `RealtimeActionFailed`: many hooks may share a log, and none of them is
//! at fault.
//!
//! ```text
//!  first record ──▶ Opening ──▶ Open ──least recently used, or another format──▶ closed
//!                   │  │ ▲
//!                   │  │ └── EVENTLOG_RETRY ── Held, its records wait ◀─┐
//!                   │  └─ held by another program, or a full disk ──────┘
//!                   └─ other error ─▶ Shut, for EVENTLOG_RETRY ──next record──▶ Opening
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::EVENTLOG_RETRY;
use crate::event::notice::Notice;
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{ReadError, ReadOutcome, Scan, ScanProgress};
use crate::eventlog::writer::{AppendError, OpenError, Opening, WriteError, Writer};
use crate::eventlog::{LogSpec, Query};
use crate::io::channel::Sender;
use crate::io::fail_point::fail_point;
use crate::io::text_log::{Causes, Throttle};
use crate::stats::Counter;
use crate::threads::files::log_state::{Held, Log, LogState, Shut, go_on};
use crate::threads::files::queue::{Append, EVENTLOG_BYTES_MAX, EVENTLOG_JOBS_MAX, Files, Job, ReadReply};

/// Logs that are open at once. Each takes 60 KiB of memory and two open files. The least recently used one is closed for
/// another.
pub(crate) const EVENTLOG_OPEN_MAX: usize = 32;
/// Memory of all logs for records that are not safely on disk, in bytes. A full disk holds records back, and after a
/// failed fsync the records since the last good one are written again.
const EVENTLOG_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The part of the queue, by count and by bytes, for the records of one log that is not written now ([`Log::blocked`]), and
/// for those of all such logs together: one in so many. The rest is for the others.
const EVENTLOG_BLOCKED_LOG_PART: usize = 4;
const EVENTLOG_BLOCKED_PART: usize = 2;
/// Least time between two changes of a log's format. A change begins a new file, so two hooks that ask for different
/// formats would make a file for every event.
pub(crate) const EVENTLOG_REFORMAT_PAUSE: Duration = Duration::from_secs(60);
/// Longest time that `rt-files` reads for a callback, or opens a large log, before it serves its queue again.
const EVENTLOG_READ_SLICE: Duration = Duration::from_millis(2);
/// Longest time for the first attempt to open a log: enough for any log with a good index. Then slices follow.
const EVENTLOG_OPEN_SLICE: Duration = Duration::from_millis(10);
/// Longest time for logs that are not open yet, at close and when one of them must make room, so that no records are lost.
const EVENTLOG_CLOSE_OPENING_MAX: Duration = Duration::from_secs(1);

/// The logs and reads of `rt-files`. A panic loses it whole; [`Files::settle_lost`] counts its records.
pub(super) struct Desk<'a> {
    files: &'a Files,
    /// At most [`EVENTLOG_OPEN_MAX`], so a search by path is quick.
    logs: Vec<Log>,
    /// A clock of uses: it counts up with every use of a log.
    uses: u64,
    /// Reads under way. Each gets a slice of time in turn.
    reads: Vec<ActiveRead>,
    /// Flushes that wait for a log that is being opened (of all logs, or of the named one), and their answers.
    flushes: Vec<(Option<LogPath>, Sender<bool>)>,
    /// Throttles the warnings about failed writes.
    failures: Throttle,
    /// Throttles the errors and notices about logs that take no records.
    refusals: Causes,
    /// Takes the notices for scripts.
    tell: &'a dyn Fn(Notice),
}

/// One read under way.
struct ActiveRead {
    stage: ReadStage,
    reply: ReadReply,
}

/// How far a read has come.
enum ReadStage {
    /// Its log is being opened. The read must see the records that wait for that, so it begins afterwards.
    NotYet(LogPath, Query),
    Scan(Box<Scan>),
    /// All records are read, and the asker converts them ([`ReadReply::prepare`]).
    Read(ReadOutcome),
}

impl<'a> Desk<'a> {
    pub(super) fn new(files: &'a Files, tell: &'a dyn Fn(Notice)) -> Desk<'a> {
        let (failures, refusals) = (Throttle::new(), Causes::default());
        let (logs, reads, flushes) = (Vec::new(), Vec::new(), Vec::new());
        Desk { files, logs, uses: 0, reads, flushes, failures, refusals, tell }
    }

    /// The time until there is work without a new job: zero while a log is being opened or a read is under way, else the
    /// time until the next sync or retry.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        if !self.reads.is_empty() || self.is_opening() {
            return Duration::ZERO;
        }
        // At least a millisecond, so that a due time in the past cannot make the loop spin.
        let due = self.logs.iter().filter_map(Log::due).min();
        due.map_or(Duration::MAX, |due| due.saturating_duration_since(now).max(Duration::from_millis(1)))
    }

    /// Serves one job. True if the thread is to stop.
    pub(super) fn serve(&mut self, job: Job, now: Instant) -> bool {
        match job {
            Job::Append(append) => {
                fail_point("files");
                self.append(append, now);
            }
            Job::Flush(path, done) => {
                self.flushes.push((path, done));
                self.answer_flushes(now);
            }
            Job::Read { path, query, reply } => self.begin_read(path, query, reply, now),
            Job::Wake => {}
            Job::Stop => return true,
        }
        false
    }

    /// Whether the next log takes the place of another one.
    pub(super) fn is_crowded(&self) -> bool {
        self.logs.len() >= EVENTLOG_OPEN_MAX
    }

    /// Appends these records, all of one log together and in their order. Leaves none.
    pub(super) fn append_crowd(&mut self, crowd: &mut Vec<Append>, now: Instant) {
        let mut logs: Vec<Arc<LogSpec>> = Vec::new();
        crowd.sort_by_cached_key(|append| {
            let is_it = |log: &Arc<LogSpec>| Arc::ptr_eq(log, &append.log) || log.path == append.log.path;
            logs.iter().position(is_it).unwrap_or_else(|| {
                logs.push(Arc::clone(&append.log));
                logs.len() - 1
            })
        });
        crowd.drain(..).for_each(|append| self.append(append, now));
    }

    /// Hands a record to its log's writer, which buffers it, or keeps it while the log is being opened. A record that the
    /// log does not take is dropped and counted.
    fn append(&mut self, append: Append, now: Instant) {
        let files = self.files;
        let dropped = &files.stats.files.dropped;
        self.uses += 1;
        if let Err(reason) = self.make_ready(&append.log, now) {
            return self.drop_one(append.weight(), reason.counter(dropped));
        }
        let weight = append.weight();
        if let Some(reason) = self.overflow(&append.log.path, weight) {
            self.drop_one(weight, reason.counter(dropped));
            return self.refuse(&append.log.path, now, reason.words());
        }
        let uses = self.uses;
        let Some(log) = self.log(&append.log.path) else { return };
        log.last_use = uses;
        let writer = match &mut log.state {
            LogState::Open(writer) => writer,
            LogState::Opening(_, waiting) | LogState::Held(Held { waiting, .. }) => {
                log.records += 1;
                log.weight += weight;
                return waiting.push(append);
            }
            LogState::Shut(_) => return,
        };
        let (channel, payload) = append.parts();
        match writer.append(append.time_ms, channel, payload) {
            Ok(()) => {
                log.records += 1;
                log.weight += weight;
                log.dirty = true;
                // A full part is written at once; the rest of the buffer waits for the end of the batch (`advance`), so
                // that a batch of small records costs one write.
                if writer.wants_write() {
                    let result = writer.advance(now, false);
                    log.settle(files);
                    self.note(result);
                }
            }
            // The writer holds records back while the disk fails, up to a bound of its own for each log.
            Err(AppendError::Full) => {
                let reason = if writer.is_held() { Shut::Held } else { Shut::Full };
                self.drop_one(weight, reason.counter(dropped));
                self.refuse(&append.log.path, now, reason.words());
            }
            Err(AppendError::TooLarge) => {
                self.drop_one(weight, &dropped.refused);
                self.refuse(&append.log.path, now, "an event is larger than a record may be");
            }
        }
    }

    /// Why a record of this weight finds no room in memory: its log is not written now and has its part of the queue, or
    /// all such logs together have theirs. A log that is written needs no bound.
    fn overflow(&self, path: &LogPath, weight: usize) -> Option<Shut> {
        let log = self.logs.iter().find(|log| log.path == *path)?;
        let reason = log.blocked()?;
        let all = self.logs.iter().filter(|log| log.blocked().is_some());
        let all = all.fold((0, 0), |(records, bytes), log| (records + log.records, bytes + log.weight));
        let parts = [((log.records, log.weight), EVENTLOG_BLOCKED_LOG_PART), (all, EVENTLOG_BLOCKED_PART)];
        let is_over = |((records, bytes), part): ((usize, usize), usize)| {
            records >= EVENTLOG_JOBS_MAX / part || bytes + weight > EVENTLOG_BYTES_MAX / part
        };
        parts.into_iter().any(is_over).then_some(reason)
    }

    /// The log at this path, if it was used lately.
    fn log(&mut self, path: &LogPath) -> Option<&mut Log> {
        self.logs.iter_mut().find(|log| log.path == *path)
    }

    /// Counts one record of this weight as dropped.
    fn drop_one(&self, weight: usize, counter: &Counter) {
        counter.add(1);
        self.files.settle(1, weight);
    }

    /// Makes sure that the log is open, or being opened, with these settings. Other settings of the same format take
    /// effect at once; another format closes the log and opens it again.
    fn make_ready(&mut self, spec: &Arc<LogSpec>, now: Instant) -> Result<(), Shut> {
        let mut reformatted = None;
        match self.logs.iter_mut().find(|log| log.path == spec.path) {
            Some(Log { state: LogState::Open(writer), .. }) if writer.spec() == spec.as_ref() => return Ok(()),
            Some(Log { state: LogState::Open(writer), .. }) if writer.spec().format == spec.format => {
                writer.set_spec(LogSpec::clone(spec));
                return Ok(());
            }
            // Another format: a file has one format, so the log is closed and opened again, which begins a new file.
            Some(Log { state: LogState::Open(_), reformatted: last, .. }) => {
                if last.is_some_and(|last| now.saturating_duration_since(last) < EVENTLOG_REFORMAT_PAUSE) {
                    self.refuse(&spec.path, now, "two hooks write it in different formats");
                    return Err(Shut::Refused);
                }
                reformatted = Some(now);
                self.close_log(&spec.path, now);
            }
            // The settings of its first record hold until it is open; then each waiting record is appended with its own.
            Some(Log { state: LogState::Opening(..) | LogState::Held(_), .. }) => return Ok(()),
            Some(Log { state: LogState::Shut(until), .. }) if now < *until => return Err(Shut::Refused),
            _ => {}
        }
        self.open(spec, now, reformatted)
    }

    /// Begins to open the log, and finishes if that takes less than [`EVENTLOG_OPEN_SLICE`].
    fn open(&mut self, spec: &Arc<LogSpec>, now: Instant, reformatted: Option<Instant>) -> Result<(), Shut> {
        if let Err(shut) = self.make_room(now) {
            let found =
                format!("too many event logs: {EVENTLOG_OPEN_MAX} are open, and the disk takes no records of them");
            self.refuse(&spec.path, now, &found);
            return Err(shut);
        }
        let opened = self.begin(LogSpec::clone(spec), now);
        let (state, result) = self.state_of(&spec.path, opened, now);
        let path = spec.path.clone();
        let log = Log { path, state, last_use: self.uses, records: 0, weight: 0, dirty: false, reformatted };
        match self.log(&spec.path) {
            Some(shut) => *shut = log,
            None => self.logs.push(log),
        }
        result
    }

    /// Opens a log, or begins to, in a slice of time.
    fn begin(&self, spec: LogSpec, now: Instant) -> Result<LogState, OpenError> {
        let opening = Opening::begin(Arc::clone(&self.files.disk), &self.files.root, spec, now)?;
        go_on(opening, EVENTLOG_OPEN_SLICE)
    }

    /// The state of a log after a slice of opening. After a failure that passes its records wait, which is logged; any
    /// other failure is reported and shuts the log for a while.
    fn state_of(
        &mut self,
        path: &LogPath,
        opened: Result<LogState, OpenError>,
        now: Instant,
    ) -> (LogState, Result<(), Shut>) {
        let err = match opened {
            Ok(state) => return (state, Ok(())),
            Err(err) => err,
        };
        let retry = now + EVENTLOG_RETRY;
        let reason = if err.is_held() { Shut::Held } else { Shut::Full };
        if err.is_held() || err.is_full() {
            self.files.stats.file_counts.held.add(u64::from(err.is_held()));
            self.warn(&err);
            let held = Held { retry, reason, waiting: Vec::new() };
            return (LogState::Held(held), Ok(()));
        }
        self.refuse(path, now, &err.to_string());
        (LogState::Shut(retry), Err(Shut::Refused))
    }

    /// Opens the held logs again whose records have waited long enough. With `all` the pause counts for nothing.
    fn reopen(&mut self, now: Instant, all: bool) {
        let is_due = |log: &&Log| log.due().is_some_and(|due| all || due <= now) && log.held().is_some();
        let due: Vec<LogPath> = self.logs.iter().filter(is_due).map(|log| log.path.clone()).collect();
        for path in due {
            let Some(Log { state: LogState::Held(held), .. }) = self.log(&path) else { continue };
            let waiting = std::mem::take(&mut held.waiting);
            // The settings of its first record hold until it is open; then each record is appended with its own.
            let Some(spec) = waiting.first().map(|append| LogSpec::clone(&append.log)) else { continue };
            let opened = self.begin(spec, now);
            let (state, _) = self.state_of(&path, opened, now);
            self.enter(&path, state, waiting, now);
        }
    }

    /// Puts a log into its next state. The records that waited in the last one are appended in their order; if it is not
    /// open, they wait on, or are dropped and counted.
    fn enter(&mut self, path: &LogPath, state: LogState, waiting: Vec<Append>, now: Instant) {
        let Some(log) = self.log(path) else { return };
        log.state = state;
        if let LogState::Opening(_, place) | LogState::Held(Held { waiting: place, .. }) = &mut log.state {
            *place = waiting;
            return;
        }
        (log.records, log.weight) = (0, 0);
        waiting.into_iter().for_each(|append| self.append(append, now));
    }

    /// True while any log is being opened.
    pub(super) fn is_opening(&self) -> bool {
        self.logs.iter().any(Log::is_opening)
    }

    /// Spends one slice of time on opening a log. The logs that are being opened take turns.
    pub(super) fn open_slice(&mut self, now: Instant) {
        let opening = self.logs.iter_mut().filter(|log| log.is_opening());
        let Some(log) = opening.min_by_key(|log| log.last_use) else { return };
        let path = log.path.clone();
        self.uses += 1;
        log.last_use = self.uses;
        // The placeholder is never seen: if the step panics, the whole desk is lost.
        let taken = std::mem::replace(&mut log.state, LogState::Shut(now));
        let LogState::Opening(opening, waiting) = taken else { return };
        let (state, _) = self.state_of(&path, go_on(opening, EVENTLOG_READ_SLICE), now);
        let is_over = !matches!(state, LogState::Opening(..));
        self.enter(&path, state, waiting, now);
        if is_over {
            self.advance(now);
            self.answer_flushes(now);
        }
    }

    /// Closes the least recently used log while [`EVENTLOG_OPEN_MAX`] are open.
    fn make_room(&mut self, now: Instant) -> Result<(), Shut> {
        let until = Instant::now() + EVENTLOG_CLOSE_OPENING_MAX;
        while self.logs.len() >= EVENTLOG_OPEN_MAX {
            // A log with records that the disk does not take is never closed for another: it would lose them.
            let idle = self.logs.iter().filter(|log| !log.is_busy(now)).min_by_key(|log| log.last_use);
            if let Some(path) = idle.map(|log| log.path.clone()) {
                self.close_log(&path, now);
            } else if self.is_opening() && Instant::now() < until {
                // Where opening takes long, all of them may be at it: the first one to be open makes room.
                self.open_slice(now);
            } else {
                return Err(Shut::Full);
            }
        }
        Ok(())
    }

    /// Writes, syncs and closes one log. Records that cannot be written even now are dropped and counted.
    fn close_log(&mut self, path: &LogPath, now: Instant) {
        let Some(at) = self.logs.iter().position(|log| log.path == *path) else { return };
        let mut log = self.logs.swap_remove(at);
        let result = match &mut log.state {
            LogState::Open(writer) => writer.finish(now),
            LogState::Opening(..) | LogState::Held(_) | LogState::Shut(_) => Ok(()),
        };
        log.settle(self.files);
        self.note(result);
        // The records that still wait now are lost with it.
        if log.records > 0 {
            self.files.stats.files.dropped.unwritten.add(log.records as u64);
            self.files.settle(log.records, log.weight);
        }
    }

    /// Closes every log at the end of the process. Logs that are being opened, and those that another program holds, get a
    /// last chance of [`EVENTLOG_CLOSE_OPENING_MAX`]; reads under way answer [`ReadError::Closed`].
    pub(super) fn close(&mut self, now: Instant) {
        let until = Instant::now() + EVENTLOG_CLOSE_OPENING_MAX;
        loop {
            self.reopen(now, true);
            self.sync_held(now);
            let waits = |log: &Log| !log.is_written() && (log.held().is_some() || log.is_held());
            if self.is_opening() {
                self.open_slice(now);
            } else if self.logs.iter().any(waits) {
                std::thread::park_timeout(EVENTLOG_CLOSE_OPENING_MAX / 20);
            } else {
                break;
            }
            if Instant::now() >= until {
                break;
            }
        }
        while let Some(path) = self.logs.last().map(|log| log.path.clone()) {
            self.close_log(&path, now);
        }
        self.files.settle_reads(self.reads.len());
        self.reads.clear();
    }

    /// Writes the appended records of every log, and syncs the logs whose sync is due.
    pub(super) fn advance(&mut self, now: Instant) {
        self.reopen(now, false);
        let mut held = 0;
        let mut trouble = Ok(());
        for log in &mut self.logs {
            let LogState::Open(writer) = &mut log.state else { continue };
            if log.dirty || writer.due().is_some_and(|due| due <= now) {
                let result = writer.advance(now, true);
                log.dirty = false;
                log.settle(self.files);
                trouble = trouble.and(result);
            }
            held += log.writer().map_or(0, Writer::held_bytes);
        }
        // One warning for all logs: they usually share the disk that fails.
        self.note(trouble);
        if held > EVENTLOG_HELD_BYTES_MAX {
            self.sync_largest(now);
        }
    }

    /// Syncs the log that holds most memory, so that its records can be forgotten.
    fn sync_largest(&mut self, now: Instant) {
        // A log that pauses after a failure is left alone: another sync would fail as well.
        let fit = self.logs.iter_mut().filter(|log| !log.is_stuck(now));
        let Some(log) = fit.max_by_key(|log| log.writer().map_or(0, Writer::held_bytes)) else { return };
        let LogState::Open(writer) = &mut log.state else { return };
        let result = writer.sync_now(now);
        log.settle(self.files);
        self.note(result);
    }

    /// Tries again to write the logs that another program holds, without regard to their pauses.
    fn sync_held(&mut self, now: Instant) {
        let files = self.files;
        for log in self.logs.iter_mut().filter(|log| log.is_held()) {
            if let LogState::Open(writer) = &mut log.state {
                // A failure was logged with the first attempt.
                let _ = writer.sync_now(now);
            }
            log.settle(files);
        }
    }

    /// Writes all logs, and answers the flushes whose logs are all open. The others wait for [`Desk::open_slice`].
    fn answer_flushes(&mut self, now: Instant) {
        if self.flushes.is_empty() {
            return;
        }
        self.advance(now);
        let logs = &self.logs;
        self.flushes.retain(|(path, done)| {
            let asked = || logs.iter().filter(|log| path.as_ref().is_none_or(|path| *path == log.path));
            if asked().any(Log::is_opening) {
                return true;
            }
            // The caller's deadline may be over.
            let _ = done.send(asked().all(Log::is_written));
            false
        });
    }

    // ---- reading --------------------------------------------------------------------------------------------

    /// Begins a read, after writing: the scan reads the file, so all earlier records must be in it.
    fn begin_read(&mut self, path: LogPath, query: Query, reply: ReadReply, now: Instant) {
        self.advance(now);
        let begun = if self.log(&path).is_some_and(|log| log.is_opening()) {
            Ok(ReadStage::NotYet(path, query))
        } else {
            Scan::of_script(&self.files.root, &path, query).map(|scan| ReadStage::Scan(Box::new(scan)))
        };
        match begun {
            Ok(stage) => self.reads.push(ActiveRead { stage, reply }),
            Err(err) => self.answer(reply, Err(err)),
        }
    }

    /// Spends one slice of time on the oldest read. A read that is not finished goes behind the others.
    pub(super) fn read_slice(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let ActiveRead { mut stage, mut reply } = self.reads.remove(0);
        let until = Instant::now() + EVENTLOG_READ_SLICE;
        loop {
            stage = match stage {
                ReadStage::NotYet(path, query) => return self.begin_read(path, query, reply, Instant::now()),
                ReadStage::Scan(mut scan) => match scan.step() {
                    Ok(ScanProgress::More) => ReadStage::Scan(scan),
                    Ok(ScanProgress::Done) => ReadStage::Read(scan.finish()),
                    Err(err) => return self.answer(reply, Err(err)),
                },
                ReadStage::Read(outcome) if reply.prepare(&outcome) => return self.answer(reply, Ok(outcome)),
                ReadStage::Read(outcome) => ReadStage::Read(outcome),
            };
            if Instant::now() >= until {
                return self.reads.push(ActiveRead { stage, reply });
            }
        }
    }

    /// Counts and answers a read.
    fn answer(&self, reply: ReadReply, result: Result<ReadOutcome, ReadError>) {
        self.files.settle_reads(1);
        self.files.count_read(&result);
        reply.give(result);
    }

    // ---- trouble --------------------------------------------------------------------------------------------

    /// Logs a failed write, throttled. The writer keeps the records and tries again by itself.
    fn note(&mut self, result: Result<(), WriteError>) {
        if let Err(err) = result {
            self.warn(&err);
        }
    }

    /// Logs a failure for which no record is lost yet, throttled.
    fn warn(&mut self, err: &dyn std::error::Error) {
        if let Some(more) = self.failures.pass(Instant::now()) {
            log::warn!("{err}; {} records wait{more}", self.files.waiting());
        }
    }

    /// Reports that a log takes no records, in the log and to scripts, at most once in ten seconds for each cause.
    fn refuse(&mut self, path: &LogPath, now: Instant, found: &str) {
        let reason = format!("records for event log `{path}` are lost: {found}");
        if let Some(more) = self.refusals.pass_message(log::Level::Error, &reason, now) {
            log::error!("{reason}{more}");
            let target = path.as_str().as_bytes().into();
            (self.tell)(Notice::Error { operation: "file", target, reason: format!("file: {found}") });
        }
    }
}
