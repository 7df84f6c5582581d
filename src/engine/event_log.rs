//! Reading event logs for scripts: what is asked, checked; who reads it, and what becomes of the records.
//! With a callback `rt-files` reads, and makes the answer; without one the game thread does, within the time that
//! readers have. Both see what was emitted before, as far as hooks act on it at once: a condition in Lua is asked in a
//! later tick.
//! The disk's delays are not Redis': they take of the readers' time, and tell nothing about the connection.
//! A path without a file is an empty log if a hook or an aggregator of this process writes there, and an error if not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::limits::{CALLBACKS_MAX, EVENTLOG_READ_RECORDS_MAX};
use crate::engine::registry::CallbackRef;
use crate::engine::{Engine, Refusal};
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{self, ReadError, ReadOutcome};
use crate::eventlog::{EVENTLOG_RECORD_BYTES_MAX, Query, Records};
use crate::hooks::members::Members;
use crate::hooks::spec::Kind;
use crate::json::tape;
use crate::redis::answer::{Answer, Outcome};
use crate::threads::actions::dispatch;
use crate::threads::files::queue::{Asker, ReadReply};
use crate::threads::publisher::replies::{ANSWERS_BYTES_MAX, ReplyTo};
use crate::threads::shared::Shared;

/// Most bytes of decoded payloads in one answer for Lua: some tens of milliseconds of making tables.
const EVENTLOG_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(EVENTLOG_ANSWER_BYTES_MAX + EVENTLOG_RECORD_BYTES_MAX * 3 < ANSWERS_BYTES_MAX);

/// Which records of which log a script asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct LogQuery {
    path: LogPath,
    query: Query,
}

impl LogQuery {
    /// `options` is a JSON object, or an empty array, as an empty Lua table is written.
    pub fn parse(path: &[u8], options: &Value) -> Result<LogQuery, Refusal> {
        let path = LogPath::parse(path).map_err(|err| Refusal::File(err.to_string()))?;
        let query = query(options).map_err(|err| Refusal::Encode(err.to_string()))?;
        Ok(LogQuery { path, query })
    }
}

fn query(options: &Value) -> Result<Query, crate::hooks::error::SpecError> {
    let members = Members::of(options, "", "a table of options")?;
    members.only(&[], &["start_time", "end_time", "channel", "limit", "newest_first"])?;
    let usual = Query::default();
    let limit = members.whole("limit", 1..=EVENTLOG_READ_RECORDS_MAX as u64)?;
    Ok(Query {
        start_ms: members.number("start_time")?.map_or(usual.start_ms, unix_ms),
        end_ms: members.number("end_time")?.map_or(usual.end_ms, unix_ms),
        channel: members.text("channel")?.map(|channel| channel.as_bytes().to_vec()),
        limit: limit.map_or(usual.limit, |limit| limit as usize),
        newest_first: members.switch("newest_first")?.unwrap_or(usual.newest_first),
    })
}

/// To the nearest millisecond, so that a record's own time finds it. Saturates: before 1970 is the beginning.
fn unix_ms(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

impl Engine {
    /// Has a log read for a callback.
    pub fn read_event_log(&mut self, wanted: LogQuery, callback: CallbackRef) -> Result<(), Refusal> {
        if !self.is_attached() {
            return Err(Refusal::Closed);
        }
        if self.pending.len() >= CALLBACKS_MAX {
            return Err(Refusal::QueueFull { waiting: self.pending.len() });
        }
        let ticket = self.pending.ticket();
        self.pending.add(ticket, callback, "readeventlog", wanted.path.as_str().as_bytes());
        let (shared, has_hook) = (Arc::clone(&self.shared), self.has_hook_for(&wanted.path));
        // Behind the events of which hooks make records first.
        let begun = self.shared.actions.after(move || {
            let asked = ForCallback { shared: Arc::clone(&shared), ticket, has_hook, making: None };
            let reply = ReadReply::to(asked);
            shared.files.read(wanted.path, wanted.query, reply);
        });
        if !begun {
            self.pending.remove(ticket);
            return Err(Refusal::ActionsFull { waiting: self.shared.actions.waiting() });
        }
        Ok(())
    }

    /// Whether a hook or an aggregator writes this log.
    fn has_hook_for(&self, path: &LogPath) -> bool {
        let hooks = self.hooks.all().map(|hook| &hook.spec.actions);
        let mut actions = hooks.chain(self.aggregators.all().map(|aggregator| &aggregator.spec.actions)).flatten();
        actions.any(|action| matches!(&action.kind, Kind::File(log) if log.path == *path))
    }

    /// Has the game thread read a log: [`LogReading::wait`], with the engine not borrowed.
    pub fn begin_log_read(&mut self, wanted: LogQuery) -> Result<LogReading, Refusal> {
        if !self.is_attached() {
            return Err(Refusal::Closed);
        }
        let (began, bound) = (Instant::now(), self.config.sync_timeout);
        match self.patience.grant_apart(began, bound) {
            Ok(granted) => {
                Ok(LogReading { shared: Arc::clone(&self.shared), wanted, began, deadline: began + granted })
            }
            Err(impatience) => {
                self.shared.stats.reads_failed_fast.add(1);
                Err(Refusal::Impatient(impatience, bound))
            }
        }
    }

    /// What the reading came to.
    pub fn end_log_read(&mut self, reading: &LogReading, read: Result<Answer, ReadError>) -> Outcome {
        self.patience.waited(reading.began, Instant::now(), true, 0);
        if let Err(ReadError::Timeout) = read {
            self.shared.stats.reads_timed_out.add(1);
            let granted = reading.granted().as_millis();
            return Err(format!("timeout: the event log was not read within {granted} ms; use a callback"));
        }
        let has_hook = matches!(read, Err(ReadError::Missing { .. })) && self.has_hook_for(&reading.wanted.path);
        told(read, has_hook)
    }
}

/// A log that the game thread reads.
pub struct LogReading {
    shared: Arc<Shared>,
    wanted: LogQuery,
    began: Instant,
    deadline: Instant,
}

impl LogReading {
    /// Reads, until the deadline at most.
    pub fn wait(&self) -> Result<Answer, ReadError> {
        let Shared { actions, files, .. } = self.shared.as_ref();
        if !actions.flush(self.deadline) {
            return Err(ReadError::Timeout);
        }
        // What the disk refuses is held back, and no reason not to read what it has.
        let LogQuery { path, query } = &self.wanted;
        if !files.flush_log(path, self.deadline) && Instant::now() >= self.deadline {
            return Err(ReadError::Timeout);
        }
        let read = reader::read(files.root(), path, query, self.deadline);
        files.count_read(&read);
        read.and_then(|ReadOutcome { records, .. }| answer(&records, self.deadline))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn granted(&self) -> Duration {
        self.deadline.saturating_duration_since(self.began)
    }
}

/// A callback that waits for records.
struct ForCallback {
    shared: Arc<Shared>,
    ticket: u64,
    /// When it was asked for, a hook wrote the log.
    has_hook: bool,
    making: Option<Result<Making, ReadError>>,
}

impl Asker for ForCallback {
    fn prepare(&mut self, read: &ReadOutcome) -> bool {
        let making = self.making.get_or_insert_with(|| Ok(Making::begin(&read.records)));
        let Ok(made) = making else { return true };
        match made.go_on(&read.records) {
            Ok(is_made) => is_made,
            Err(err) => {
                *making = Err(err);
                true
            }
        }
    }

    fn answer(self: Box<Self>, read: Result<ReadOutcome, ReadError>) {
        let made = self.making.unwrap_or_else(|| Ok(Making::begin(&Records::default())));
        let answer = read.and(made).map(Making::finish);
        self.shared.replies.answer(ReplyTo::Callback(self.ticket), told(answer, self.has_hook));
    }
}

/// Put into an answer at once: a small part of a slice of time, unless one record is long.
const RECORDS_PER_STEP: usize = 32;
const ANSWER_BYTES_PER_STEP: usize = 32 * 1024;

/// An answer that is being made: `{{time=, seq=, channel=, data=}, ...}`.
struct Making {
    tape: Vec<u8>,
    data: Vec<u8>,
    /// So many records are in it.
    made: usize,
}

impl Making {
    fn begin(records: &Records) -> Making {
        let mut tape = Vec::new();
        tape::push_array(&mut tape, records.len());
        Making { tape, data: Vec::new(), made: 0 }
    }

    /// Puts some more of the records into it. True once all are.
    fn go_on(&mut self, records: &Records) -> Result<bool, ReadError> {
        let Making { tape, data, made } = self;
        let full = tape.len() + ANSWER_BYTES_PER_STEP;
        for record in records.iter().skip(*made).take(RECORDS_PER_STEP) {
            if tape.len() > EVENTLOG_ANSWER_BYTES_MAX {
                return Err(ReadError::TooLarge);
            }
            tape::push_object(tape, 4);
            tape::push_text(tape, b"time");
            tape::push_f64(tape, record.time_ms as f64 / 1000.0);
            tape::push_text(tape, b"seq");
            tape::push_i64(tape, i64::try_from(record.seq).unwrap_or(i64::MAX));
            tape::push_text(tape, b"channel");
            tape::push_text(tape, record.channel);
            tape::push_text(tape, b"data");
            // As the listeners had it.
            dispatch::decode(record.payload, data);
            tape.extend_from_slice(data);
            *made += 1;
            if tape.len() > full {
                break;
            }
        }
        Ok(*made >= records.len())
    }

    fn finish(self) -> Answer {
        Answer { tape: self.tape, values: 1 }
    }
}

/// For the game thread, until the deadline.
fn answer(records: &Records, deadline: Instant) -> Result<Answer, ReadError> {
    let mut making = Making::begin(records);
    while !making.go_on(records)? {
        if Instant::now() >= deadline {
            return Err(ReadError::Timeout);
        }
    }
    Ok(making.finish())
}

/// What the script is told. `has_hook`: a hook of this process writes the log.
fn told(read: Result<Answer, ReadError>, has_hook: bool) -> Outcome {
    read.or_else(|err| match err {
        // A log has no file before its first record, which is no fault of who reads it.
        ReadError::Missing { .. } if has_hook => {
            let mut tape = Vec::new();
            tape::push_array(&mut tape, 0);
            Ok(Answer { tape, values: 1 })
        }
        ReadError::Missing { .. } => Err(format!("file: {err}, and no hook of this server writes it: check the path")),
        ReadError::Io { .. } | ReadError::Foreign { .. } | ReadError::Newer { .. } => Err(format!("file: {err}")),
        ReadError::Timeout => Err(format!("timeout: {err}")),
        ReadError::TooLarge => Err(format!("too_large: {err}")),
        ReadError::Busy { .. } => Err(format!("queue_full: {err}")),
        ReadError::Closed => Err(format!("closed: {err}")),
    })
}

#[cfg(test)]
mod tests;
