//! The functions of the table `realtime` that read and write values in Redis. Each checks its arguments, makes a
//! request, and queues it for the thread `rt-publisher`. Runs on the game thread; each function is an `entry!`. Writers
//! never wait. A reader without a callback waits for its answer for a bounded time, and releases the engine's lock
//! meanwhile.

use crate::config::limits::{COMMAND_ARGUMENTS_MAX, VALUE_BYTES_MAX};
use crate::engine::requests::{Request, Requests};
use crate::engine::{self, Refusal};
use crate::json::text;
use crate::lua::arguments::{NOT_KEPT, bad, callback, number, outcome_of, push_answer, refused, string};
use crate::lua::entry::EntryOutcome;
use crate::lua::process::process;
use crate::lua::stack::{
    HELPER, LUA_TBOOLEAN, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE, Lua,
};
use crate::lua::{encode, shield};

/// The bytes that Redis stores for the value at `at`: a string as it is, a boolean or number as text, a table as JSON.
/// The error is the reason for Lua. Encoding may run script code (to describe userdata), so the engine must not be
/// borrowed. `[-0, +0]`, or after an error `[-0, +?]`; never raises.
fn value(lua: Lua, at: i32) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let out = &mut bytes;
    match lua.type_of(at) {
        LUA_TSTRING => {
            // Checked before the string is copied: a huge string must cost the tick nothing.
            engine::fits("value", lua.bytes(at), VALUE_BYTES_MAX).map_err(|refusal| refusal.to_string())?;
            out.extend_from_slice(lua.bytes(at));
        }
        LUA_TBOOLEAN => out.extend_from_slice(if lua.boolean(at) { b"true" } else { b"false" }),
        LUA_TNUMBER if !lua.number(at).is_finite() => return Err("encode: the value is not a finite number".to_owned()),
        LUA_TNUMBER => text::push_decimal(out, lua.number(at)),
        _ => {
            let non_finite = encode::push_json(lua, at, HELPER, out).map_err(|err| err.to_string())?;
            if let Ok(process) = process(lua) {
                process.stats.non_finite.add(non_finite);
            }
        }
    }
    Ok(bytes)
}

/// The argument error for a type that cannot be stored; `Ok` for all others.
fn stored(lua: Lua, at: i32, function: &'static str) -> Result<(), EntryOutcome> {
    if encode::can_start(lua.type_of(at)) {
        Ok(())
    } else {
        Err(bad(lua, at, function, "string, number, boolean or table"))
    }
}

// ---- the common bodies of writers and readers -----------------------------------------------------------------

/// A request for Redis, or the refusal of its arguments.
type Made = Result<Request, Refusal>;

/// Makes a request from `prepared`, and queues it for the thread `rt-publisher`. The outcome is `true`, or `falsy,
/// reason`. `callback` is the index of the function that gets the answer; it is kept only after the request was made,
/// so that a refusal leaves nothing in the registry. `prepared` is evaluated before, because it may run script code and
/// the engine is borrowed here. `[-0, +0]`, never raises.
fn submit<T>(
    lua: Lua,
    falsy: Option<bool>,
    callback: Option<i32>,
    prepared: Result<T, String>,
    make: impl FnOnce(Requests<'_>, T) -> Made,
) -> EntryOutcome {
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(falsy, reason),
    };
    let made = prepared.and_then(|of| make(process.engine().requests(), of).map_err(|refusal| refusal.to_string()));
    let request = match made {
        Ok(request) => request,
        Err(reason) => {
            let too_large = reason.starts_with("too_large");
            let stats = &process.stats;
            (if too_large { &stats.refused_too_large } else { &stats.refused_encode }).add(1);
            return refused(falsy, reason);
        }
    };
    let kept = match callback.map(|at| shield::keep(lua, at)) {
        Some(None) => return refused(falsy, NOT_KEPT),
        Some(kept) => kept,
        None => None,
    };
    let queued = process.engine().submit(request, kept);
    match queued {
        Ok(()) => EntryOutcome::True,
        Err(refusal) => {
            kept.into_iter().for_each(|callback| lua.release(callback));
            refused(falsy, refusal.to_string())
        }
    }
}

/// The body of a function that writes: it returns at once. Without a callback the answer is dropped. `[-0, +0]`.
fn write(lua: Lua, callback: Option<i32>, make: impl FnOnce(Requests<'_>) -> Made) -> EntryOutcome {
    submit(lua, Some(false), callback, Ok(()), |requests, ()| make(requests))
}

/// The body of a function that reads. With a callback it returns at once. Without one it returns the answer, and the
/// game thread waits for it, up to `sync_timeout_ms`. `[-0, +0]`, or the values of the answer; never raises.
fn read(lua: Lua, callback: Option<i32>, make: impl FnOnce(Requests<'_>) -> Made) -> EntryOutcome {
    if callback.is_some() {
        return submit(lua, None, callback, Ok(()), |requests, ()| make(requests));
    }
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(None, reason),
    };
    let reading = {
        let mut engine = process.engine();
        let made = make(engine.requests());
        made.and_then(|request| engine.begin_read(request))
    };
    let (outcome, deadline) = match reading {
        // The engine is not borrowed while this thread waits.
        Ok(reading) => {
            let (outcome, deadline) = (reading.wait(), reading.deadline());
            (process.engine().end_read(reading, outcome), Some(deadline))
        }
        Err(refusal) => (Err(refusal.to_string()), None),
    };
    match outcome {
        Ok(answer) => push_answer(lua, &answer, deadline),
        Err(reason) => refused(None, reason),
    }
}

// ---- writers --------------------------------------------------------------------------------------------------

// A callback of a writer is called with the answer of Redis, or with nil and a reason. Upvalue 2 is the prelude's
// `describe`, for those that encode a value.

entry! {
    /// `realtime.Set(key, value [, cb]) -> true | false, reason`. Stores a value.
    set, run_set
}

fn run_set(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let key = string(lua, 1, "Set")?;
        stored(lua, 2, "Set")?;
        let callback = callback(lua, 3, "Set")?;
        Ok(submit(lua, Some(false), callback, value(lua, 2), |requests, value| requests.set(key, &value)))
    })())
}

entry! {
    /// `realtime.SetEx(key, value, seconds [, cb]) -> true | false, reason`. Stores a value that expires.
    set_ex, run_set_ex
}

fn run_set_ex(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let key = string(lua, 1, "SetEx")?;
        stored(lua, 2, "SetEx")?;
        let seconds = number(lua, 3, "SetEx")?;
        let callback = callback(lua, 4, "SetEx")?;
        Ok(submit(lua, Some(false), callback, value(lua, 2), |requests, value| requests.set_ex(key, &value, seconds)))
    })())
}

entry! {
    /// `realtime.Incr(key [, by] [, cb]) -> true | false, reason`. Adds `by` (1 if absent) to the number of a key.
    incr, run_incr
}

fn run_incr(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let key = string(lua, 1, "Incr")?;
        let (by, at) = match lua.type_of(2) {
            LUA_TFUNCTION => (1.0, 2),
            LUA_TNONE | LUA_TNIL => (1.0, 3),
            _ => (number(lua, 2, "Incr")?, 3),
        };
        let callback = callback(lua, at, "Incr")?;
        Ok(write(lua, callback, |requests| requests.incr(key, by)))
    })())
}

entry! {
    /// `realtime.Del(key... [, cb]) -> true | false, reason`. Deletes keys. A function as the last argument is the
    /// callback.
    del, run_del
}

fn run_del(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let last = lua.top();
        let callback = (last > 1 && lua.type_of(last) == LUA_TFUNCTION).then_some(last);
        let count = if callback.is_some() { last - 1 } else { last.max(1) };
        let keys = (1..=count).map(|at| string(lua, at, "Del")).collect::<Result<Vec<_>, _>>()?;
        Ok(write(lua, callback, |requests| requests.del(&keys)))
    })())
}

entry! {
    /// `realtime.Expire(key, seconds [, cb]) -> true | false, reason`. Makes a key expire.
    expire, run_expire
}

fn run_expire(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let key = string(lua, 1, "Expire")?;
        let seconds = number(lua, 2, "Expire")?;
        let callback = callback(lua, 3, "Expire")?;
        Ok(write(lua, callback, |requests| requests.expire(key, seconds)))
    })())
}

entry! {
    /// `realtime.Command({word, ...} [, cb]) -> true | false, reason`. Sends a Redis command of the script's own.
    command, run_command
}

fn run_command(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        if lua.type_of(1) != LUA_TTABLE {
            return Err(bad(lua, 1, "Command", "table"));
        }
        let callback = callback(lua, 2, "Command")?;
        Ok(submit(lua, Some(false), callback, command_words(lua), |requests, words| requests.command(&words)))
    })())
}

/// The words of the command in the table at index 1. The error is the reason for Lua. Number and total size are checked
/// before the words are copied, so a huge table costs the tick nothing. `[-0, +0]`, or after an error `[-0, +?]`; never
/// raises.
fn command_words(lua: Lua) -> Result<Vec<Vec<u8>>, String> {
    let (mut words, mut bytes) = (Vec::new(), 0);
    let count = lua.raw_len(1);
    if usize::try_from(count).is_ok_and(|count| count > COMMAND_ARGUMENTS_MAX) {
        return Err(format!("encode: the command has {count} words, {COMMAND_ARGUMENTS_MAX} are allowed"));
    }
    for index in 1..=count {
        lua.raw_get_index(1, index);
        let at = lua.top();
        let kind = lua.type_of(at);
        if !matches!(kind, LUA_TSTRING | LUA_TNUMBER | LUA_TBOOLEAN) {
            lua.pop(1);
            return Err(format!("encode: word {index} of the command is a {}", Lua::type_name(kind)));
        }
        bytes += if kind == LUA_TSTRING { lua.bytes(at).len() } else { 0 };
        if bytes > VALUE_BYTES_MAX {
            lua.pop(1);
            return Err(format!("too_large: the command has more than {VALUE_BYTES_MAX} bytes"));
        }
        let word = value(lua, at);
        lua.pop(1);
        words.push(word?);
    }
    Ok(words)
}

// ---- readers --------------------------------------------------------------------------------------------------

entry! {
    /// `realtime.Get(key [, cb]) -> string | nil [, reason]`; with a callback `true | nil, reason`. Nil without a
    /// reason: the key does not exist.
    get, run_get
}

fn run_get(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let key = string(lua, 1, "Get")?;
        let callback = callback(lua, 2, "Get")?;
        Ok(read(lua, callback, |requests| requests.get(key)))
    })())
}

entry! {
    /// `realtime.GetTable(key [, cb])`: as `Get`, but the value is decoded from JSON.
    get_table, run_get_table
}

fn run_get_table(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let key = string(lua, 1, "GetTable")?;
        let callback = callback(lua, 2, "GetTable")?;
        Ok(read(lua, callback, |requests| requests.get_table(key)))
    })())
}

entry! {
    /// `realtime.GetLeaderboard(board, n [, cb]) -> map, ranked | nil, reason`: the first `n` rows, once by name and
    /// once in order.
    get_leaderboard, run_get_leaderboard
}

fn run_get_leaderboard(lua: Lua) -> EntryOutcome {
    outcome_of((|| {
        let board = string(lua, 1, "GetLeaderboard")?;
        let rows = number(lua, 2, "GetLeaderboard")?;
        let callback = callback(lua, 3, "GetLeaderboard")?;
        Ok(read(lua, callback, |requests| requests.leaderboard(board, rows)))
    })())
}
