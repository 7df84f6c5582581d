//! `realtime.ReadEventLog`: reads the options from their Lua table and queries an event log. With a callback the query
//! is queued; without one the game thread itself reads the disk, up to a deadline. Runs on the game thread, as an
//! `entry!`. It never holds the engine's lock while it reads or waits.

use serde_json::Value;

use crate::engine::event_log::LogQuery;
use crate::json::bytes::Bytes;
use crate::lua::arguments::{NOT_KEPT, bad, callback, outcome_of, push_answer, refused, string, string_again};
use crate::lua::entry::EntryOutcome;
use crate::lua::process::{Process, process};
use crate::lua::stack::{HELPER, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TTABLE, Lua};
use crate::lua::{encode, shield};

entry! {
    /// `realtime.ReadEventLog(path [, options] [, cb]) -> array | nil, reason`; with a callback `true | nil, reason`.
    /// Upvalue 2: the prelude's `describe`.
    read_event_log, run_read_event_log
}

fn run_read_event_log(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        string(lua, 1, "ReadEventLog")?;
        let (options, callback_at) = match lua.type_of(2) {
            LUA_TTABLE => (Some(2), 3),
            LUA_TNONE | LUA_TNIL => (None, 3),
            LUA_TFUNCTION => (None, 2),
            _ => return Err(bad(lua, 2, "ReadEventLog", "table")),
        };
        let callback = callback(lua, callback_at, "ReadEventLog")?;
        let answered = process(lua).map_err(str::to_owned).and_then(|process| {
            let options = read_options(lua, options)?;
            let wanted = LogQuery::parse(string_again(lua, 1)?, &options).map_err(|refusal| refusal.to_string())?;
            match callback {
                Some(at) => ask(lua, process, wanted, at),
                None => read(lua, process, wanted),
            }
        });
        Ok(answered.unwrap_or_else(|reason| refused(None, reason)))
    })())
}

/// The options table at `at` as JSON; without options an empty array, which is how an empty table encodes. Encoding may
/// run script code (to describe userdata), so the engine must not be borrowed. `[-0, +0]`, or after an error
/// `[-0, +?]`; never raises.
pub(super) fn read_options(lua: Lua, at: Option<i32>) -> Result<Value, String> {
    let Some(at) = at else { return Ok(Value::Array(Vec::new())) };
    let mut text = Bytes::default();
    let non_finite = encode::push_json(lua, at, HELPER, &mut text).map_err(|err| err.to_string())?;
    if non_finite > 0 {
        return Err("encode: a number of the options is not finite".to_owned());
    }
    serde_json::from_slice(&text).map_err(|err| format!("encode: the options {err}"))
}

/// Queues the query for the thread `rt-files` and keeps the callback at index `at` for its answer. `[-0, +0]`, never
/// raises.
fn ask(lua: Lua, process: &Process, wanted: LogQuery, at: i32) -> Result<EntryOutcome, String> {
    let kept = shield::keep(lua, at).ok_or(NOT_KEPT)?;
    let asked = process.engine().read_event_log(wanted, kept);
    match asked {
        Ok(()) => Ok(EntryOutcome::True),
        Err(refusal) => {
            lua.release(kept);
            Err(refusal.to_string())
        }
    }
}

/// Reads the event log on the game thread, and returns the records. Bounded by the reader's deadline.
/// `[-0, +0]`, or the records; never raises.
fn read(lua: Lua, process: &Process, wanted: LogQuery) -> Result<EntryOutcome, String> {
    let begun = process.engine().begin_log_read(wanted);
    let reading = begun.map_err(|refusal| refusal.to_string())?;
    // The engine is not borrowed while this thread reads.
    let read = reading.wait();
    let outcome = process.engine().end_log_read(&reading, read);
    outcome.map(|answer| push_answer(lua, &answer, Some(reading.deadline())))
}
