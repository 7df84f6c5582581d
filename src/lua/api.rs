//! The functions of the table `realtime`: arguments checked, the engine asked, the answer pushed. Those for events and
//! for the module itself stand here; those for values, hooks and event logs have files of their own.
//! Game thread; each is an `entry!`, so a panic is answered and an argument error raised with nothing left to drop.

use std::cell::Cell;

use crate::config::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::engine;
use crate::engine::CallbackRef;
use crate::io::text_log;
use crate::json::tape;
use crate::lua::arguments::{NOT_KEPT, bad, done, refused};
use crate::lua::stack::{Answer, HELPER, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TSTRING, LUA_TTABLE, Lua, Results};
use crate::lua::values::push_answer;
use crate::lua::{Process, event_log, hooks, json, nested, operator, process, shield, values};
use crate::redis::answer;

/// Puts the table `realtime` into the globals. `shield` is the index of [`crate::lua::shield::perform`]; `describe`,
/// `takes_meta` and `strip` are those of the prelude's functions.
/// Raises what a guarded global table raises; owns nothing.
pub(super) fn register(lua: Lua, shield: i32, describe: i32, takes_meta: i32, strip: i32) {
    lua.push_globals();
    lua.push_bytes(b"realtime");
    lua.push_table(0, 24);
    let functions: [(&str, gmod::lua::LuaFunction, Option<i32>); 20] = [
        ("Emit", emit, Some(describe)),
        ("On", on, Some(takes_meta)),
        ("Off", off, None),
        ("Set", values::set, Some(describe)),
        ("SetEx", values::set_ex, Some(describe)),
        ("Get", values::get, None),
        ("GetTable", values::get_table, None),
        ("Incr", values::incr, None),
        ("Del", values::del, None),
        ("Expire", values::expire, None),
        ("Command", values::command, None),
        ("GetLeaderboard", values::get_leaderboard, None),
        ("AddHook", hooks::add_hook, Some(strip)),
        ("RemoveHook", hooks::remove_hook, None),
        ("ReadEventLog", event_log::read_event_log, Some(describe)),
        ("AddAggregator", hooks::add_aggregator, Some(strip)),
        ("RemoveAggregator", hooks::remove_aggregator, None),
        ("Configure", configure, Some(describe)),
        ("Status", status, None),
        ("Stats", stats, None),
    ];
    for (name, function, helper) in functions {
        lua.push_bytes(name.as_bytes());
        lua.push_value(shield);
        if let Some(helper) = helper {
            lua.push_value(helper);
        }
        lua.push_function(function, 1 + i32::from(helper.is_some()));
        lua.raw_set(-3);
    }
    lua.push_bytes(b"Version");
    lua.push_bytes(env!("CARGO_PKG_VERSION").as_bytes());
    lua.raw_set(-3);
    lua.push_bytes(b"Null");
    lua.push_null();
    lua.raw_set(-3);
    lua.raw_set(-3);
    lua.pop(1);
}

// ---- Emit -----------------------------------------------------------------------------------------------------

thread_local! {
    /// Where Emit writes its JSON, reused. Taken while in use, so a re-entrant Emit gets an empty one.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

entry! {
    /// `realtime.Emit(channel, data) -> true | false, reason`. Upvalue 2: the prelude's `describe`.
    emit, run_emit
}

fn run_emit(lua: Lua) -> Answer {
    let Some(channel) = lua.string(1) else { return bad(lua, 1, "Emit", "string") };
    if !json::can_start(lua.type_of(2)) {
        return bad(lua, 2, "Emit", "table, string, number or boolean");
    }
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(Some(false), reason),
    };
    let mut payload = SCRATCH.take();
    payload.clear();
    let outcome = write_payload(lua, process, &mut payload)
        .and_then(|()| process.engine().emit(channel, &payload).map_err(|refusal| refusal.to_string()));
    // One huge event must not keep its memory for ever.
    payload.clear();
    payload.shrink_to(64 * 1024);
    SCRATCH.set(payload);
    done(outcome)
}

/// The JSON text of argument 2. A string that is itself an object or array goes out as that JSON.
fn write_payload(lua: Lua, process: &Process, payload: &mut Vec<u8>) -> Result<(), String> {
    if lua.type_of(2) == LUA_TSTRING {
        let text = lua.bytes(2);
        // Before it is parsed: a huge string must cost the tick nothing.
        if let Err(refusal) = engine::fits("payload", text, PAYLOAD_BYTES_MAX) {
            process.stats.refused_too_large.add(1);
            return Err(refusal.to_string());
        }
        if tape::is_container(text, payload) {
            payload.extend_from_slice(String::from_utf8_lossy(text).as_bytes());
            return Ok(());
        }
    }
    match json::encode(lua, 2, HELPER, payload) {
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

// ---- On, Off --------------------------------------------------------------------------------------------------

entry! {
    /// `realtime.On(channel, [id,] callback) -> id | nil, reason`. Upvalue 2: the prelude's `takes_meta`.
    on, run_on
}

fn run_on(lua: Lua) -> Answer {
    let Some(channel) = lua.string(1) else { return bad(lua, 1, "On", "string") };
    let (id, callback) = match lua.type_of(2) {
        LUA_TFUNCTION => (None, 2),
        LUA_TSTRING if lua.type_of(3) == LUA_TFUNCTION => (Some(lua.bytes(2)), 3),
        LUA_TSTRING => return bad(lua, 3, "On", "function"),
        _ => return bad(lua, 2, "On", "function"),
    };
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(None, reason),
    };
    lua.push_value(HELPER);
    lua.push_value(callback);
    let told = nested(|| lua.pcall(1, 1, 0));
    let wants_meta = told != Some(true) || lua.boolean(-1);
    lua.pop(if told.is_some() { 1 } else { 2 });
    let Some(kept) = shield::keep(lua, callback) else { return refused(None, NOT_KEPT) };
    let registered = process.engine().on(channel, id, kept, wants_meta);
    match registered {
        Ok((id, replaced)) => {
            replaced.into_iter().for_each(|callback| lua.release(callback));
            Answer::Results(Results::Text(id))
        }
        Err(refusal) => {
            lua.release(kept);
            refused(None, refusal.to_string())
        }
    }
}

entry! {
    /// `realtime.Off(channel [, id]) -> number` of listeners removed.
    off, run_off
}

fn run_off(lua: Lua) -> Answer {
    let Some(channel) = lua.string(1) else { return bad(lua, 1, "Off", "string") };
    let id = match lua.type_of(2) {
        LUA_TNONE | LUA_TNIL => None,
        LUA_TSTRING => Some(lua.bytes(2)),
        _ => return bad(lua, 2, "Off", "string"),
    };
    // Before it is hashed: no listener has such a name.
    let fits = [Some(channel), id].into_iter().flatten().all(|name| name.len() <= NAME_BYTES_MAX);
    let removed: Vec<CallbackRef> = match process(lua) {
        Ok(process) if fits => process.engine().off(channel, id),
        _ => Vec::new(),
    };
    let count = removed.len();
    removed.into_iter().for_each(|callback| lua.release(callback));
    lua.push_number(count as f64);
    Answer::Values(1)
}

// ---- Configure ------------------------------------------------------------------------------------------------

entry! {
    /// `realtime.Configure(options) -> true | false, reason`. Upvalue 2: the prelude's `describe`.
    configure, run_configure
}

fn run_configure(lua: Lua) -> Answer {
    if lua.type_of(1) != LUA_TTABLE {
        return bad(lua, 1, "Configure", "table");
    }
    let mut text = Vec::new();
    let outcome = process(lua).map_err(str::to_owned).and_then(|process| {
        json::encode(lua, 1, HELPER, &mut text).map_err(|err| err.to_string())?;
        // An empty table is written as an array.
        let text = if text == b"[]" { "{}".into() } else { String::from_utf8_lossy(&text) };
        process.engine().configure(&text).map_err(|refusal| refusal.to_string())
    });
    done(outcome)
}

// ---- Status, Stats --------------------------------------------------------------------------------------------

entry! {
    /// `realtime.Status() -> state, detail`
    status, run_status
}

fn run_status(lua: Lua) -> Answer {
    let (state, detail) = match process(lua) {
        Ok(process) => process.engine().status(),
        Err(reason) => ("closed", reason.to_owned()),
    };
    Answer::Results(Results::Texts(state, detail))
}

entry! {
    /// `realtime.Stats() -> table`, the numbers of `Engine::stats`.
    stats, run_stats
}

fn run_stats(lua: Lua) -> Answer {
    let numbers = match process(lua) {
        Ok(process) => process.engine().stats().to_string(),
        Err(_) => "{}".to_owned(),
    };
    let mut decoded = Vec::new();
    match tape::parse(numbers.as_bytes(), &mut decoded) {
        Ok(()) => push_answer(lua, &answer::Answer { tape: decoded, values: 1 }, None),
        Err(err) => refused(None, format!("decode: the numbers have {} bytes and {err}", numbers.len())),
    }
}

// ---- console commands -----------------------------------------------------------------------------------------

entry! {
    /// For the prelude: what `realtime_status` prints, one text a line.
    report, run_report
}

fn run_report(lua: Lua) -> Answer {
    let lines = match process(lua) {
        Ok(process) => process.engine().report(),
        Err(reason) => vec![reason.to_owned()],
    };
    text_of(&lines)
}

entry! {
    /// For the prelude: reads the operator's settings again; what to print, one text a line.
    reload, run_reload
}

fn run_reload(lua: Lua) -> Answer {
    let lines = match process(lua) {
        Ok(process) => {
            let operator = operator();
            process.engine().reload(operator)
        }
        Err(reason) => vec![reason.to_owned()],
    };
    text_of(&lines)
}

fn text_of(lines: &[String]) -> Answer {
    let text = lines.iter().map(|line| text_log::escaped(line)).collect::<Vec<_>>().join("\n");
    Answer::Results(Results::Text(text.into_bytes().into()))
}

entry! {
    /// For the prelude: begins `realtime_selftest`. `true`, or `false, reason`.
    begin_selftest, run_begin_selftest
}

fn run_begin_selftest(lua: Lua) -> Answer {
    let begun = process(lua).map_err(str::to_owned).and_then(|process| process.engine().begin_selftest());
    done(begun)
}
