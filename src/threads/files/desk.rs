//! What `rt-files` has in hand: the open logs, those that are being opened, and the reads that are under way.
//! A log is opened at once if that takes a moment. If it is large and its index gone, it is opened in slices of time like
//! a read, and its records, reads and whoever waits for them wait meanwhile, while other logs are written.
//! A log that cannot be opened is tried again after a pause; meanwhile its records are dropped and counted, and scripts
//! are told: by `RealtimeError`, not `RealtimeActionFailed`, since many hooks may share a log and none of them is at
//! fault.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::limits::EVENTLOG_RETRY;
use crate::event::notice::Notice;
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{Progress, ReadError, ReadOutcome, Scan};
use crate::eventlog::writer::{EVENTLOG_LOG_HELD_BYTES_MAX, OpenError, Opening, Refusal, WriteError, Writer};
use crate::eventlog::{LogSpec, Query};
use crate::io::fail_point::fail_point;
use crate::io::text_log::{Causes, Throttle};
use crate::stats::Counter;
use crate::threads::files::queue::{Append, Files, Job, ReadReply};

/// Logs open at once: 60 KiB of memory and two files each. The least recently used is closed for another.
pub(crate) const EVENTLOG_OPEN_MAX: usize = 32;
/// Records of all logs that stay in memory until they are on disk: a full disk may hold them back, and after a failed
/// fsync they are written again.
const EVENTLOG_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Least time between two changes of a log's format: two hooks that disagree would make a file of every event.
pub(crate) const EVENTLOG_REFORMAT_PAUSE: Duration = Duration::from_secs(60);
/// How long `rt-files` reads for a callback before it serves its queue again.
const EVENTLOG_READ_SLICE: Duration = Duration::from_millis(2);
/// How long `rt-files` opens a log in one go: enough for any log with an index. Others are opened in slices.
const EVENTLOG_OPEN_SLICE: Duration = Duration::from_millis(10);
/// How long `rt-files` waits at close for logs that are still being opened, so that their records are not lost.
const EVENTLOG_CLOSE_OPENING_MAX: Duration = Duration::from_secs(1);
const _: () = assert!(EVENTLOG_LOG_HELD_BYTES_MAX < EVENTLOG_HELD_BYTES_MAX);

pub(super) struct Desk<'a> {
    files: &'a Files,
    logs: HashMap<LogPath, Log>,
    /// Counts up with every use of a log.
    uses: u64,
    reads: VecDeque<ActiveRead>,
    /// Who waits until everything is written, while a log is being opened.
    flushes: Vec<(Option<LogPath>, Sender<bool>)>,
    failures: Throttle,
    refusals: Causes,
    tell: &'a dyn Fn(Notice),
}

struct Log {
    state: LogState,
    last_use: u64,
    /// Records with the writer that are not written, and their weight.
    records: usize,
    weight: usize,
    /// Something was appended since the last write of everything.
    dirty: bool,
    /// When it was last closed for another format.
    reformatted: Option<Instant>,
}

enum LogState {
    Open(Box<Writer>),
    /// It is large, and its records wait: they are bounded as the queue is, of which they are still a part.
    Opening(Box<Opening>, Vec<Append>),
    /// It could not be opened; not again before this.
    Shut {
        until: Instant,
        full: bool,
    },
}

struct ActiveRead {
    progress: ReadStage,
    reply: ReadReply,
}

enum ReadStage {
    /// The log is being opened, and what waits for that is to be seen.
    NotYet(LogPath, Query),
    Scan(Box<Scan>),
    /// All is read, and the answer is being made.
    Read(ReadOutcome),
}

impl<'a> Desk<'a> {
    pub(super) fn new(files: &'a Files, tell: &'a dyn Fn(Notice)) -> Desk<'a> {
        let (failures, refusals) = (Throttle::new(), Causes::default());
        let (logs, reads, flushes) = (HashMap::new(), VecDeque::new(), Vec::new());
        Desk { files, logs, uses: 0, reads, flushes, failures, refusals, tell }
    }

    /// How long there is nothing to do but to wait for a job.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        if !self.reads.is_empty() || self.is_opening() {
            return Duration::ZERO;
        }
        let due = self.logs.values().filter_map(|log| log.writer().and_then(Writer::due)).min();
        due.map_or(Duration::MAX, |due| due.saturating_duration_since(now).max(Duration::from_millis(1)))
    }

    /// Does what a job asks. True if it is to stop.
    pub(super) fn serve(&mut self, job: Job, now: Instant) -> bool {
        match job {
            Job::Append(append) => {
                self.files.take(append.weight());
                fail_point("files");
                self.append(append, now);
            }
            Job::Flush(path, done) => {
                self.flushes.push((path, done));
                self.answer_flushes(now);
            }
            Job::Read { path, query, reply } => {
                self.files.take_read();
                self.begin_read(path, query, reply, now);
            }
            Job::Stop => return true,
        }
        false
    }

    fn append(&mut self, append: Append, now: Instant) {
        let dropped = &self.files.stats.files.dropped;
        self.uses += 1;
        if let Err(reason) = self.make_ready(&append.log, now) {
            return self
                .drop_one(append.weight(), if reason == Shut::Full { &dropped.disk_full } else { &dropped.refused });
        }
        let uses = self.uses;
        let Some(log) = self.logs.get_mut(&append.log.path) else { return };
        log.last_use = uses;
        let writer = match &mut log.state {
            LogState::Open(writer) => writer,
            LogState::Opening(_, waiting) => return waiting.push(append),
            LogState::Shut { .. } => return,
        };
        let (channel, payload) = append.parts();
        match writer.append(append.time_ms, channel, payload) {
            Ok(()) => {
                log.records += 1;
                log.weight += append.weight();
                log.dirty = true;
                if writer.wants_write() {
                    let result = writer.advance(now, false);
                    log.settle(self.files);
                    self.note(result);
                }
            }
            Err(Refusal::Full) => {
                self.drop_one(append.weight(), &dropped.disk_full);
                self.refuse(&append.log.path, now, "the disk takes nothing, and too much waits for it in memory");
            }
            Err(Refusal::TooLarge) => {
                self.drop_one(append.weight(), &dropped.refused);
                self.refuse(&append.log.path, now, "an event is larger than a record may be");
            }
        }
    }

    /// One record is lost.
    fn drop_one(&self, weight: usize, counter: &Counter) {
        counter.add(1);
        self.files.settle(1, weight);
    }

    /// Has the log open as its spec says.
    fn make_ready(&mut self, spec: &Arc<LogSpec>, now: Instant) -> Result<(), Shut> {
        let mut reformatted = None;
        match self.logs.get_mut(&spec.path) {
            Some(Log { state: LogState::Open(writer), .. }) if writer.spec() == spec.as_ref() => return Ok(()),
            Some(Log { state: LogState::Open(writer), .. }) if writer.spec().format == spec.format => {
                writer.set_spec(LogSpec::clone(spec));
                return Ok(());
            }
            Some(Log { state: LogState::Open(_), reformatted: last, .. }) => {
                if last.is_some_and(|last| now.saturating_duration_since(last) < EVENTLOG_REFORMAT_PAUSE) {
                    self.refuse(&spec.path, now, "two hooks write it in different formats");
                    return Err(Shut::Refused);
                }
                reformatted = Some(now);
                self.close_log(&spec.path.clone(), now);
            }
            Some(Log { state: LogState::Opening(..), .. }) => return Ok(()),
            Some(Log { state: LogState::Shut { until, full }, .. }) if now < *until => {
                return Err(if *full { Shut::Full } else { Shut::Refused });
            }
            _ => {}
        }
        self.open(spec, now, reformatted)
    }

    fn open(&mut self, spec: &Arc<LogSpec>, now: Instant, reformatted: Option<Instant>) -> Result<(), Shut> {
        if let Err(shut) = self.make_room(now) {
            let found = format!("too many event logs: the disk takes nothing of the {EVENTLOG_OPEN_MAX} that are open");
            self.refuse(&spec.path, now, &found);
            return Err(shut);
        }
        let files = self.files;
        let opening = Opening::begin(Arc::clone(&files.disk), &files.root, LogSpec::clone(spec), now);
        let opened = opening.and_then(|opening| go_on(Box::new(opening), EVENTLOG_OPEN_SLICE));
        let (state, result) = self.state_of(&spec.path, opened, now);
        let log = Log { state, last_use: self.uses, records: 0, weight: 0, dirty: false, reformatted };
        self.logs.insert(spec.path.clone(), log);
        result
    }

    /// What an attempt to open a log came to.
    fn state_of(
        &mut self,
        path: &LogPath,
        opened: Result<LogState, OpenError>,
        now: Instant,
    ) -> (LogState, Result<(), Shut>) {
        opened.map_or_else(
            |err| {
                self.refuse(path, now, &err.to_string());
                let shut = if OpenError::is_full(&err) { Shut::Full } else { Shut::Refused };
                (LogState::Shut { until: now + EVENTLOG_RETRY, full: shut == Shut::Full }, Err(shut))
            },
            |state| (state, Ok(())),
        )
    }

    fn is_opening(&self) -> bool {
        self.logs.values().any(Log::is_opening)
    }

    /// Opens logs for a slice of time: each in its turn.
    pub(super) fn open_slice(&mut self, now: Instant) {
        let opening = self.logs.iter_mut().filter(|(_, log)| log.is_opening());
        let Some((path, log)) = opening.min_by_key(|(_, log)| log.last_use) else { return };
        let path = path.clone();
        self.uses += 1;
        log.last_use = self.uses;
        // Should this panic, the thread begins anew with nothing in hand.
        let taken = std::mem::replace(&mut log.state, LogState::Shut { until: now, full: false });
        let LogState::Opening(opening, waiting) = taken else { return };
        let (mut state, _) = self.state_of(&path, go_on(opening, EVENTLOG_READ_SLICE), now);
        if let LogState::Opening(_, place) = &mut state {
            *place = waiting;
            return self.set_state(&path, state);
        }
        self.set_state(&path, state);
        waiting.into_iter().for_each(|append| self.append(append, now));
        self.advance(now);
        self.answer_flushes(now);
    }

    fn set_state(&mut self, path: &LogPath, state: LogState) {
        if let Some(log) = self.logs.get_mut(path) {
            log.state = state;
        }
    }

    /// Closes the log that was not used for longest, if there are too many.
    fn make_room(&mut self, now: Instant) -> Result<(), Shut> {
        while self.logs.len() >= EVENTLOG_OPEN_MAX {
            // One that the disk does not take is kept: it would lose what is in memory.
            let idle = self.logs.iter().filter(|(_, log)| !log.is_busy(now)).min_by_key(|(_, log)| log.last_use);
            let Some(path) = idle.map(|(path, _)| path.clone()) else { return Err(Shut::Full) };
            self.close_log(&path, now);
        }
        Ok(())
    }

    fn close_log(&mut self, path: &LogPath, now: Instant) {
        let Some(mut log) = self.logs.remove(path) else { return };
        let result = match &mut log.state {
            LogState::Open(writer) => writer.finish(now),
            LogState::Opening(_, waiting) => {
                let dropped = &self.files.stats.files.dropped;
                waiting.iter().for_each(|append| self.drop_one(append.weight(), &dropped.unwritten));
                Ok(())
            }
            LogState::Shut { .. } => Ok(()),
        };
        log.settle(self.files);
        self.note(result);
        if log.records > 0 {
            self.files.stats.files.dropped.unwritten.add(log.records as u64);
            self.files.settle(log.records, log.weight);
        }
    }

    /// Closes every log.
    pub(super) fn close(&mut self, now: Instant) {
        let until = Instant::now() + EVENTLOG_CLOSE_OPENING_MAX;
        while self.is_opening() && Instant::now() < until {
            self.open_slice(now);
        }
        let paths: Vec<LogPath> = self.logs.keys().cloned().collect();
        paths.iter().for_each(|path| self.close_log(path, now));
        self.files.settle_reads(self.reads.len());
        self.reads.clear();
    }

    /// Writes what was appended, and syncs what is due.
    pub(super) fn advance(&mut self, now: Instant) {
        let mut held = 0;
        let mut trouble = Ok(());
        for log in self.logs.values_mut() {
            let LogState::Open(writer) = &mut log.state else { continue };
            if log.dirty || writer.due().is_some_and(|due| due <= now) {
                let result = writer.advance(now, true);
                log.dirty = false;
                log.settle(self.files);
                trouble = trouble.and(result);
            }
            held += log.writer().map_or(0, Writer::held_bytes);
        }
        self.note(trouble);
        if held > EVENTLOG_HELD_BYTES_MAX {
            self.sync_largest(now);
        }
    }

    /// Makes room in memory.
    fn sync_largest(&mut self, now: Instant) {
        let fit = self.logs.values_mut().filter(|log| !log.is_stuck(now));
        let Some(log) = fit.max_by_key(|log| log.writer().map_or(0, Writer::held_bytes)) else { return };
        let LogState::Open(writer) = &mut log.state else { return };
        let result = writer.sync_now(now);
        log.settle(self.files);
        self.note(result);
    }

    /// Writes everything, and says so to who asked, unless the log is still being opened.
    fn answer_flushes(&mut self, now: Instant) {
        if self.flushes.is_empty() {
            return;
        }
        self.advance(now);
        let logs = &self.logs;
        self.flushes.retain(|(path, done)| {
            let asked = || logs.iter().filter(|(log, _)| path.as_ref().is_none_or(|path| path == *log));
            if asked().any(|(_, log)| log.is_opening()) {
                return true;
            }
            // Who asked may have stopped waiting.
            let _ = done.try_send(asked().all(|(_, log)| log.records == 0));
            false
        });
    }

    // ---- reading --------------------------------------------------------------------------------------------

    fn begin_read(&mut self, path: LogPath, query: Query, reply: ReadReply, now: Instant) {
        self.advance(now);
        let begun = if self.logs.get(&path).is_some_and(Log::is_opening) {
            Ok(ReadStage::NotYet(path, query))
        } else {
            Scan::of_script(&self.files.root, &path, query).map(|scan| ReadStage::Scan(Box::new(scan)))
        };
        match begun {
            Ok(progress) => self.reads.push_back(ActiveRead { progress, reply }),
            Err(err) => self.answer(reply, Err(err)),
        }
    }

    /// Reads for a slice of time; the next read has its turn after that.
    pub(super) fn read_slice(&mut self) {
        let Some(ActiveRead { mut progress, mut reply }) = self.reads.pop_front() else { return };
        let until = Instant::now() + EVENTLOG_READ_SLICE;
        loop {
            progress = match progress {
                ReadStage::NotYet(path, query) => return self.begin_read(path, query, reply, Instant::now()),
                ReadStage::Scan(mut scan) => match scan.step() {
                    Ok(Progress::More) => ReadStage::Scan(scan),
                    Ok(Progress::Done) => ReadStage::Read(scan.finish()),
                    Err(err) => return self.answer(reply, Err(err)),
                },
                ReadStage::Read(outcome) if reply.prepare(&outcome) => return self.answer(reply, Ok(outcome)),
                ReadStage::Read(outcome) => ReadStage::Read(outcome),
            };
            if Instant::now() >= until {
                return self.reads.push_back(ActiveRead { progress, reply });
            }
        }
    }

    fn answer(&self, reply: ReadReply, result: Result<ReadOutcome, ReadError>) {
        self.files.settle_reads(1);
        self.files.count_read(&result);
        reply.give(result);
    }

    // ---- trouble --------------------------------------------------------------------------------------------

    fn note(&mut self, result: Result<(), WriteError>) {
        if let Err(err) = result
            && let Some(more) = self.failures.pass(Instant::now())
        {
            log::warn!("{err}; {} records wait{more}", self.files.waiting());
        }
    }

    /// Says that the log takes no records, once in a while for each cause.
    fn refuse(&mut self, path: &LogPath, now: Instant, found: &str) {
        let reason = format!("records for event log `{path}` are lost: {found}");
        if let Some(more) = self.refusals.pass(log::Level::Error, &reason, now) {
            log::error!("{reason}{more}");
            let target = path.as_str().as_bytes().into();
            (self.tell)(Notice::Error { operation: "file", target, reason: format!("file: {found}") });
        }
    }
}

/// Opens the log for a slice of time.
fn go_on(mut opening: Box<Opening>, slice: Duration) -> Result<LogState, OpenError> {
    let until = Instant::now() + slice;
    loop {
        if opening.step()? {
            return Ok(LogState::Open(Box::new(opening.finish())));
        }
        if Instant::now() >= until {
            return Ok(LogState::Opening(opening, Vec::new()));
        }
    }
}

/// Why a log takes no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shut {
    Refused,
    Full,
}

impl Log {
    fn writer(&self) -> Option<&Writer> {
        match &self.state {
            LogState::Open(writer) => Some(writer),
            LogState::Opening(..) | LogState::Shut { .. } => None,
        }
    }

    /// To close it would lose something.
    fn is_busy(&self, now: Instant) -> bool {
        self.is_opening() || self.is_stuck(now)
    }

    fn is_opening(&self) -> bool {
        matches!(self.state, LogState::Opening(..))
    }

    /// The disk does not take what it has.
    fn is_stuck(&self, now: Instant) -> bool {
        self.writer().is_some_and(|writer| writer.is_pausing(now))
    }

    /// Counts what the writer did since the last call.
    fn settle(&mut self, files: &Files) {
        let LogState::Open(writer) = &mut self.state else { return };
        let counts = writer.take_counts();
        let written = usize::try_from(counts.written).unwrap_or(usize::MAX).min(self.records);
        // The weight of each is forgotten, the sum is not: the last record written settles what is left of it.
        let weight = if written == self.records { self.weight } else { self.weight / self.records.max(1) * written };
        self.records -= written;
        self.weight -= weight;
        // Counted first: when nothing waits any more, all of it is counted.
        files.stats.files.delivered.add(written as u64);
        files.settle(written, weight);
        let total = &files.stats.file_counts;
        total.bytes.add(counts.bytes);
        total.rotations.add(counts.rotations);
        total.fsync_errors.add(counts.fsync_errors);
        total.write_errors.add(counts.write_errors);
        total.rewritten.add(counts.rewritten);
        total.index_errors.add(counts.index_errors);
        total.changed.add(counts.changed);
    }
}
