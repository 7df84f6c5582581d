//! What `rt-files` has in hand: the open logs, and the reads that are under way.
//! A log that cannot be opened is tried again after a pause; meanwhile its records are dropped and counted, and scripts
//! are told: by `RealtimeError`, not `RealtimeActionFailed`, since many hooks may share a log and none of them is at
//! fault.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Append, Files, Job, Reply};
use crate::config::{
    EVENTLOG_HELD_BYTES_MAX, EVENTLOG_OPEN_MAX, EVENTLOG_READ_SLICE, EVENTLOG_REFORMAT_PAUSE, EVENTLOG_RETRY,
};
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{Progress, ReadError, ReadOutcome, Scan};
use crate::eventlog::writer::{OpenError, Refusal, WriteError, Writer};
use crate::eventlog::{LogSpec, Query};
use crate::fail_point::fail_point;
use crate::notice::Notice;
use crate::stats::Counter;
use crate::text_log::{Causes, Throttle};

pub(super) struct Desk<'a> {
    files: &'a Files,
    logs: HashMap<LogPath, Log>,
    /// Counts up with every use of a log.
    uses: u64,
    reads: VecDeque<Reading>,
    failures: Throttle,
    refusals: Causes,
    tell: &'a dyn Fn(Notice),
}

struct Log {
    state: State,
    last_use: u64,
    /// Records with the writer that are not written, and their weight.
    records: usize,
    weight: usize,
    /// Something was appended since the last write of everything.
    dirty: bool,
    /// When it was last closed for another format.
    reformatted: Option<Instant>,
}

enum State {
    Open(Box<Writer>),
    /// It could not be opened; not again before this.
    Shut {
        until: Instant,
        full: bool,
    },
}

struct Reading {
    scan: Scan,
    reply: Reply,
}

impl<'a> Desk<'a> {
    pub(super) fn new(files: &'a Files, tell: &'a dyn Fn(Notice)) -> Desk<'a> {
        let (failures, refusals) = (Throttle::new(), Causes::default());
        Desk { files, logs: HashMap::new(), uses: 0, reads: VecDeque::new(), failures, refusals, tell }
    }

    /// How long there is nothing to do but to wait for a job.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        if !self.reads.is_empty() {
            return Duration::ZERO;
        }
        let due = self.logs.values().filter_map(|log| log.writer().and_then(Writer::due)).min();
        due.map_or(Duration::MAX, |due| due.saturating_duration_since(now).max(Duration::from_millis(1)))
    }

    /// Does what a job asks. True if it is to stop.
    pub(super) fn serve(&mut self, job: Job, now: Instant) -> bool {
        match job {
            Job::Append(append) => self.append(&append, now),
            Job::Flush(done) => {
                let written = self.flush(now);
                // Who asked may have stopped waiting.
                let _ = done.try_send(written);
            }
            Job::Read { path, query, reply } => self.begin_read(path, query, reply, now),
            Job::Stop => return true,
        }
        false
    }

    fn append(&mut self, append: &Append, now: Instant) {
        self.files.take(append.weight());
        fail_point("files");
        let dropped = &self.files.stats.files.dropped;
        self.uses += 1;
        if let Err(reason) = self.make_ready(&append.log, now) {
            return self
                .drop_one(append.weight(), if reason == Shut::Full { &dropped.disk_full } else { &dropped.refused });
        }
        let uses = self.uses;
        let Some(log) = self.logs.get_mut(&append.log.path) else { return };
        log.last_use = uses;
        let State::Open(writer) = &mut log.state else { return };
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
            Some(Log { state: State::Open(writer), .. }) if writer.spec() == spec.as_ref() => return Ok(()),
            Some(Log { state: State::Open(writer), .. }) if writer.spec().format == spec.format => {
                writer.set_spec(LogSpec::clone(spec));
                return Ok(());
            }
            Some(Log { state: State::Open(_), reformatted: last, .. }) => {
                if last.is_some_and(|last| now.saturating_duration_since(last) < EVENTLOG_REFORMAT_PAUSE) {
                    self.refuse(&spec.path, now, "two hooks write it in different formats");
                    return Err(Shut::Refused);
                }
                reformatted = Some(now);
                self.close_log(&spec.path.clone(), now);
            }
            Some(Log { state: State::Shut { until, full }, .. }) if now < *until => {
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
        let opened = Writer::open(Arc::clone(&files.disk), &files.root, LogSpec::clone(spec), now);
        let (state, result) = match opened {
            Ok(writer) => (State::Open(Box::new(writer)), Ok(())),
            Err(err) => {
                self.refuse(&spec.path, now, &err.to_string());
                let shut = if OpenError::is_full(&err) { Shut::Full } else { Shut::Refused };
                (State::Shut { until: now + EVENTLOG_RETRY, full: shut == Shut::Full }, Err(shut))
            }
        };
        let log = Log { state, last_use: self.uses, records: 0, weight: 0, dirty: false, reformatted };
        self.logs.insert(spec.path.clone(), log);
        result
    }

    /// Closes the log that was not used for longest, if there are too many.
    fn make_room(&mut self, now: Instant) -> Result<(), Shut> {
        while self.logs.len() >= EVENTLOG_OPEN_MAX {
            // One that the disk does not take is kept: it would lose what is in memory.
            let idle = self.logs.iter().filter(|(_, log)| !log.is_stuck(now)).min_by_key(|(_, log)| log.last_use);
            let Some(path) = idle.map(|(path, _)| path.clone()) else { return Err(Shut::Full) };
            self.close_log(&path, now);
        }
        Ok(())
    }

    fn close_log(&mut self, path: &LogPath, now: Instant) {
        let Some(mut log) = self.logs.remove(path) else { return };
        let result = match &mut log.state {
            State::Open(writer) => writer.finish(now),
            State::Shut { .. } => Ok(()),
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
            let State::Open(writer) = &mut log.state else { continue };
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
        let State::Open(writer) = &mut log.state else { return };
        let result = writer.sync_now(now);
        log.settle(self.files);
        self.note(result);
    }

    /// Writes everything. True if nothing is left.
    fn flush(&mut self, now: Instant) -> bool {
        self.advance(now);
        self.logs.values().all(|log| log.records == 0)
    }

    // ---- reading --------------------------------------------------------------------------------------------

    fn begin_read(&mut self, path: LogPath, query: Query, reply: Reply, now: Instant) {
        self.files.take_read();
        self.advance(now);
        match Scan::of_script(&self.files.root, &path, query) {
            Ok(scan) => self.reads.push_back(Reading { scan, reply }),
            Err(err) => self.answer(reply, Err(err)),
        }
    }

    /// Reads for a slice of time; the next read has its turn after that.
    pub(super) fn read_slice(&mut self) {
        let Some(mut reading) = self.reads.pop_front() else { return };
        let until = Instant::now() + EVENTLOG_READ_SLICE;
        loop {
            match reading.scan.step() {
                Ok(Progress::More) if Instant::now() < until => {}
                Ok(Progress::More) => return self.reads.push_back(reading),
                Ok(Progress::Done) => return self.answer(reading.reply, Ok(reading.scan.finish())),
                Err(err) => return self.answer(reading.reply, Err(err)),
            }
        }
    }

    fn answer(&self, reply: Reply, result: Result<ReadOutcome, ReadError>) {
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

/// Why a log takes no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shut {
    Refused,
    Full,
}

impl Log {
    fn writer(&self) -> Option<&Writer> {
        match &self.state {
            State::Open(writer) => Some(writer),
            State::Shut { .. } => None,
        }
    }

    /// The disk does not take what it has.
    fn is_stuck(&self, now: Instant) -> bool {
        self.writer().is_some_and(|writer| writer.is_pausing(now))
    }

    /// Counts what the writer did since the last call.
    fn settle(&mut self, files: &Files) {
        let State::Open(writer) = &mut self.state else { return };
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
    }
}
