//! `ReadEventLog`: a script asks for records of an event log, and they become a Lua table.
//!
//! | call | reader | bounded by |
//! |---|---|---|
//! | with a callback | `rt-files`, which also makes the answer, in slices | the queue of reads |
//! | without | the game thread, with the engine not borrowed ([`SyncLogRead`]) | the time that readers have (`patience.rs`) |
//!
//! Both see every record that hooks made from earlier emits of this server. Conditional hooks are the exception: their
//! function runs in a later tick. A slow disk uses up the readers' time, but it says nothing about the connection to
//! Redis. A path without a file is an empty log if a hook or an aggregator of this process writes there, else an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::limits::EVENTLOG_READ_RECORDS_MAX;
use crate::engine::call::CallbackRef;
use crate::engine::{Engine, Refusal};
use crate::event::payload;
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{self, ReadError, ReadOutcome};
use crate::eventlog::{EVENTLOG_RECORD_BYTES_MAX, Query, Records};
use crate::hooks::members::Members;
use crate::hooks::routes::Routes;
use crate::json::tape;
use crate::redis::answer::{Answer, AnswerResult};
use crate::threads::files::queue::{Asker, ReadReply};
use crate::threads::publisher::replies::{ANSWERS_BYTES_MAX, ReplyTo};
use crate::threads::shared::Shared;

/// Bytes of decoded payloads in one answer for Lua: some tens of milliseconds of building tables.
const EVENTLOG_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
// The last record may pass the limit, and it must still fit the queue of answers. Decoding makes text longer: five
// bytes for two at most.
const _: () = assert!(EVENTLOG_ANSWER_BYTES_MAX + EVENTLOG_RECORD_BYTES_MAX * 3 < ANSWERS_BYTES_MAX);

/// The log and the records that a script asks for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct LogQuery {
    path: LogPath,
    query: Query,
}

impl LogQuery {
    /// `options` is a JSON object; or an empty array, because an empty Lua table is written as one.
    pub fn parse(path: &[u8], options: &Value) -> Result<LogQuery, Refusal> {
        let path = LogPath::parse(path).map_err(|err| Refusal::File(err.to_string()))?;
        let query = query(options).map_err(|err| Refusal::Encode(err.to_string()))?;
        Ok(LogQuery { path, query })
    }
}

/// The options `start_time`, `end_time` (Unix seconds), `channel`, `limit` and `newest_first`; unknown ones are errors.
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

/// Rounds to the nearest millisecond, so that a record is found by its own time. Negative seconds become 0.
fn unix_ms(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

impl Engine {
    /// Has `rt-files` read a log for a callback. The caller still owns the callback after an error.
    pub fn read_event_log(&mut self, wanted: LogQuery, callback: CallbackRef) -> Result<(), Refusal> {
        self.admit()?;
        let ticket = self.pending.add(callback, "readeventlog", wanted.path.as_str().as_bytes())?;
        let (shared, routes) = (Arc::clone(&self.shared), self.routes.clone());
        // Through `rt-actions`, behind the events from which hooks are still making records.
        let begun = self.shared.actions.after(move || {
            let path = wanted.path.clone();
            let asked = ForCallback { shared: Arc::clone(&shared), ticket, path, routes, making: None };
            let reply = ReadReply::to(asked);
            shared.files.read(wanted.path, wanted.query, reply);
        });
        if !begun {
            self.pending.remove(ticket);
            return Err(Refusal::ActionsFull { waiting: self.shared.actions.waiting() });
        }
        Ok(())
    }

    /// Grants the game thread time to read a log, with [`SyncLogRead::wait`].
    pub fn begin_log_read(&mut self, wanted: LogQuery) -> Result<SyncLogRead, Refusal> {
        self.admit()?;
        let (began, bound) = (Instant::now(), self.config.sync_timeout);
        match self.patience.grant_apart(began, bound) {
            Ok(granted) => {
                Ok(SyncLogRead { shared: Arc::clone(&self.shared), wanted, began, deadline: began + granted })
            }
            Err(impatience) => {
                self.shared.stats.reads_failed_fast.add(1);
                Err(Refusal::Impatient(impatience, bound))
            }
        }
    }

    /// Charges the read to this second's time for readers, and turns its result into the script's answer.
    pub fn end_log_read(&mut self, log_read: &SyncLogRead, read: Result<Answer, ReadError>) -> AnswerResult {
        self.patience.waited(log_read.began, Instant::now(), true, 0);
        if let Err(ReadError::Timeout) = read {
            self.shared.stats.reads_timed_out.add(1);
            let granted = log_read.granted().as_millis();
            return Err(format!("timeout: the event log was not read within {granted} ms; use a callback"));
        }
        outcome(read, &log_read.wanted.path, &self.routes)
    }
}

/// A log that the game thread reads itself. Passed back with [`Engine::end_log_read`].
pub struct SyncLogRead {
    shared: Arc<Shared>,
    wanted: LogQuery,
    began: Instant,
    deadline: Instant,
}

impl SyncLogRead {
    /// Reads the log, at most until the deadline. The engine must not be borrowed.
    pub fn wait(&self) -> Result<Answer, ReadError> {
        let Shared { actions, files, .. } = self.shared.as_ref();
        if !actions.flush(self.deadline) {
            return Err(ReadError::Timeout);
        }
        // A flush also fails when the disk refuses records. Those wait in memory, and the others can be read.
        let LogQuery { path, query } = &self.wanted;
        if !files.flush_log(path, self.deadline) && Instant::now() >= self.deadline {
            return Err(ReadError::Timeout);
        }
        let read = reader::read(files.root(), path, query, self.deadline);
        files.count_read(&read);
        read.and_then(|ReadOutcome { records, .. }| make_answer(&records, self.deadline))
    }

    /// The end of the time for the read and for the answer's Lua values.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn granted(&self) -> Duration {
        self.deadline.saturating_duration_since(self.began)
    }
}

/// A callback that waits for records. Lives on `rt-files`, which makes the answer between its batches of writes, step
/// by step: an answer of megabytes must not keep the logs waiting.
struct ForCallback {
    shared: Arc<Shared>,
    ticket: u64,
    path: LogPath,
    /// The hooks and aggregators when the script asked.
    routes: Routes,
    /// The answer so far; `None` before the first step.
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
        self.shared.replies.answer(ReplyTo::Callback(self.ticket), outcome(answer, &self.path, &self.routes));
    }
}

/// Records, and bytes, that one step puts into an answer: a small part of a slice of time, unless one record is long.
const RECORDS_PER_STEP: usize = 32;
const ANSWER_BYTES_PER_STEP: usize = 32 * 1024;

/// An answer in the making, as a tape (`json/tape.rs`): `{{time=, seq=, channel=, data=}, ...}`.
struct Making {
    tape: Vec<u8>,
    /// Scratch for one decoded payload.
    data: Vec<u8>,
    /// Records in the tape.
    made: usize,
}

impl Making {
    fn begin(records: &Records) -> Making {
        let mut tape = Vec::new();
        tape::push_array(&mut tape, records.len());
        Making { tape, data: Vec::new(), made: 0 }
    }

    /// Adds the next records. True when the last one is in.
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
            // Decoded as for a listener, so that a script sees the same values in both places.
            payload::decode(record.payload, data);
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

/// Makes the whole answer, at most until the deadline.
fn make_answer(records: &Records, deadline: Instant) -> Result<Answer, ReadError> {
    let mut making = Making::begin(records);
    while !making.go_on(records)? {
        if Instant::now() >= deadline {
            return Err(ReadError::Timeout);
        }
    }
    Ok(making.finish())
}

/// The answer for the script. Errors begin with the stable code that scripts match on. The routes are searched only for
/// a missing file: the search visits every action of every hook.
fn outcome(read: Result<Answer, ReadError>, path: &LogPath, routes: &Routes) -> AnswerResult {
    read.or_else(|err| match err {
        // A log has no file before its first record: that is no error of the reader.
        ReadError::Missing { .. } if routes.may_write(path) => {
            let mut tape = Vec::new();
            tape::push_array(&mut tape, 0);
            Ok(Answer { tape, values: 1 })
        }
        ReadError::Missing { .. } => Err(format!("file: {err}, and no hook of this server writes it: check the path")),
        ReadError::File { .. } => Err(format!("file: {err}")),
        ReadError::Timeout => Err(format!("timeout: {err}")),
        ReadError::TooLarge => Err(format!("too_large: {err}")),
        ReadError::Busy { .. } => Err(format!("queue_full: {err}")),
        ReadError::Closed => Err(format!("closed: {err}")),
    })
}

#[cfg(test)]
mod tests;
