//! The functions of the table `realtime` for events: `Emit`, `On`, `Off` and `Keep`.
//! Runs on the game thread; each function is an `entry!`. `Emit` is a hot path: it encodes its argument into a reused
//! buffer and queues it for the thread `rt-publisher`. It never waits; a full queue is refused with a reason.

use std::cell::Cell;

use serde_json::Value;

use crate::config::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::engine;
use crate::engine::{CallbackRef, Engine};
use crate::hooks::members::Members;
use crate::json::bytes::{ByteSink, Bytes};
use crate::json::tape;
use crate::lua::arguments::{NOT_KEPT, bad, done, names_again, refused, string_again};
use crate::lua::encode;
use crate::lua::entry::EntryOutcome;
use crate::lua::event_log::read_options;
use crate::lua::process::{Process, process};
use crate::lua::shield::{self, Results, nested};
use crate::lua::stack::{HELPER, LUA_TBOOLEAN, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TSTRING, LUA_TTABLE, Lua};

thread_local! {
    /// Bytes for the JSON of Emit, reused so that a usual Emit allocates nothing. It is taken while in use: an Emit
    /// inside an Emit (from a player's `Nick`) finds an empty one.
    static SCRATCH: Cell<Bytes> = const { Cell::new(Bytes::new()) };
}

entry! {
    /// `realtime.Emit(channel, data) -> true | false, reason`. Queues an event. Upvalue 2: the prelude's `describe`.
    hot emit, run_emit
}

#[optimize(speed)]
fn run_emit(lua: Lua) -> EntryOutcome {
    if lua.type_of(1) != LUA_TSTRING {
        return bad(lua, 1, "Emit", "string");
    }
    if !encode::can_start(lua.type_of(2)) {
        return bad(lua, 2, "Emit", "table, string, number or boolean");
    }
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(Some(false), reason),
    };
    let mut payload = SCRATCH.take();
    payload.clear();
    let outcome = write_payload(lua, process, &mut payload).and_then(|()| {
        // Not before: the payload may be described by script code.
        let channel = string_again(lua, 1).inspect_err(|_| process.stats.refused_encode.add(1))?;
        process.engine().emit(channel, &payload).map_err(|refusal| refusal.to_string())
    });
    // After a huge event the buffer shrinks again, or its memory would stay in use for ever.
    payload.clear();
    payload.shrink_to(64 * 1024);
    SCRATCH.set(payload);
    done(outcome)
}

/// Appends the JSON text of argument 2. A string that is itself the JSON of an object or array is sent as that JSON,
/// not as a string. The error is the reason for Lua; refusals are counted by cause. `[-0, +0]`, or after an error `[-0,
/// +?]`.
#[optimize(speed)]
fn write_payload(lua: Lua, process: &Process, payload: &mut Bytes) -> Result<(), String> {
    if lua.type_of(2) == LUA_TSTRING {
        let text = lua.bytes(2);
        // Checked before the string is parsed: a huge string must cost the tick nothing.
        if let Err(refusal) = engine::fits("payload", text, PAYLOAD_BYTES_MAX) {
            process.stats.refused_too_large.add(1);
            return Err(refusal.to_string());
        }
        if tape::is_container(text, &mut Vec::new()) {
            payload.push_bytes(String::from_utf8_lossy(text).as_bytes());
            return Ok(());
        }
    }
    match encode::push_json(lua, 2, HELPER, payload) {
        Ok(non_finite) => {
            process.stats.non_finite.add(non_finite);
            Ok(())
        }
        Err(err) => {
            let stats = &process.stats;
            let refused = if err.is_too_large() { &stats.refused_too_large } else { &stats.refused_encode };
            refused.add(1);
            Err(err.to_string())
        }
    }
}

entry! {
    /// `realtime.On(channel, [id,] callback [, options]) -> id | nil, reason`. Adds a listener, or replaces the one with
    /// this id. The option `missed`: it gets from the stream of the channel what it missed.
    /// Upvalue 2: the prelude's `takes_meta`.
    on, run_on
}

fn run_on(lua: Lua) -> EntryOutcome {
    if lua.type_of(1) != LUA_TSTRING {
        return bad(lua, 1, "On", "string");
    }
    let callback = match lua.type_of(2) {
        LUA_TFUNCTION => 2,
        LUA_TSTRING if lua.type_of(3) == LUA_TFUNCTION => 3,
        LUA_TSTRING => return bad(lua, 3, "On", "function"),
        _ => return bad(lua, 2, "On", "function"),
    };
    let missed = match lua.type_of(callback + 1) {
        LUA_TNONE | LUA_TNIL => Ok(false),
        LUA_TTABLE => read_options(lua, Some(callback + 1)).and_then(|options| wants_missed(&options)),
        _ => return bad(lua, callback + 1, "On", "table"),
    };
    let (process, missed) = match process(lua).map_err(str::to_owned).and_then(|process| Ok((process, missed?))) {
        Ok(ready) => ready,
        Err(reason) => return refused(None, reason),
    };
    lua.push_value(HELPER);
    lua.push_value(callback);
    let called = nested(|| lua.pcall(1, 1, 0));
    // If the prelude cannot tell whether the callback takes a third argument, the callback gets it.
    let wants_meta = called != Some(true) || lua.boolean(-1);
    // A call leaves its result or error; without a call, the function and its argument are still there.
    lua.pop(if called.is_some() { 1 } else { 2 });
    // That script code may have begun another state, in which the function's reference is worthless.
    if let Err(reason) = self::process(lua) {
        return refused(None, reason);
    }
    let Some(kept) = shield::keep(lua, callback) else { return refused(None, NOT_KEPT) };
    let register = if missed { Engine::on_missed } else { Engine::on };
    // Not before: the steps above may have run script code.
    let registered = names_again(lua, callback == 3).and_then(|(channel, id)| {
        let registered = register(&mut process.engine(), channel, id, kept, wants_meta);
        registered.map_err(|refusal| refusal.to_string())
    });
    match registered {
        Ok((id, replaced)) => {
            replaced.into_iter().for_each(|callback| lua.release(callback));
            EntryOutcome::Results(Results::Text(id))
        }
        Err(reason) => {
            lua.release(kept);
            refused(None, reason)
        }
    }
}

/// The option `missed` of On; unknown ones are errors.
fn wants_missed(options: &Value) -> Result<bool, String> {
    let members = Members::of(options, "", "a table of options").map_err(|err| err.to_string())?;
    members.only(&[], &["missed"]).map_err(|err| err.to_string())?;
    Ok(members.switch("missed").map_err(|err| err.to_string())?.unwrap_or(false))
}

entry! {
    /// `realtime.Off(channel [, id]) -> number`: removes one listener or all of the channel, and returns how many.
    off, run_off
}

fn run_off(lua: Lua) -> EntryOutcome {
    let Some(channel) = lua.string(1) else { return bad(lua, 1, "Off", "string") };
    let id = match lua.type_of(2) {
        LUA_TNONE | LUA_TNIL => None,
        LUA_TSTRING => Some(lua.bytes(2)),
        _ => return bad(lua, 2, "Off", "string"),
    };
    // A longer name would be hashed for nothing: no listener can have it.
    let fits = [Some(channel), id].into_iter().flatten().all(|name| name.len() <= NAME_BYTES_MAX);
    let removed: Vec<CallbackRef> = match process(lua) {
        Ok(process) if fits => process.engine().off(channel, id),
        _ => Vec::new(),
    };
    let count = removed.len();
    removed.into_iter().for_each(|callback| lua.release(callback));
    lua.push_number(count as f64);
    EntryOutcome::OnStack(1)
}

entry! {
    /// `realtime.Keep(channel [, options | false]) -> true | false, reason`: Redis keeps the events of a channel or
    /// pattern that this server emits, or no longer. Upvalue 2: the prelude's `describe`.
    keep, run_keep
}

fn run_keep(lua: Lua) -> EntryOutcome {
    if lua.type_of(1) != LUA_TSTRING {
        return bad(lua, 1, "Keep", "string");
    }
    let options = match lua.type_of(2) {
        LUA_TNONE | LUA_TNIL => Some(None),
        LUA_TTABLE => Some(Some(2)),
        LUA_TBOOLEAN if !lua.boolean(2) => None,
        _ => return bad(lua, 2, "Keep", "table or false"),
    };
    done(process(lua).map_err(str::to_owned).and_then(|process| {
        // Before the engine is borrowed: reading the table may run script code.
        let options = options.map(|at| read_options(lua, at)).transpose()?;
        let channel = string_again(lua, 1)?;
        process.engine().keep(channel, options.as_ref()).map_err(|refusal| refusal.to_string())
    }))
}
