//! The functions of the table `realtime` that add and remove hooks and aggregators. They read the spec from its Lua
//! table, keep its function, and hand both to the engine, which accepts a spec whole or not at all. Runs on the game
//! thread; each function is an `entry!`. A refusal is returned to the script and logged as an error.

use std::sync::Arc;

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::engine::registrations::Origin;
use crate::engine::{CallbackRef, Engine, Select};
use crate::json::bytes::Bytes;
use crate::lua::arguments::{NOT_KEPT, bad, names_again, refused, string};
use crate::lua::callbacks::is_in_tick;
use crate::lua::encode::{self, shown};
use crate::lua::entry::EntryOutcome;
use crate::lua::process::process;
use crate::lua::shield::{self, Results, nested};
use crate::lua::stack::{HELPER, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TSTRING, LUA_TTABLE, Lua};

/// Checks the arguments `(channel, [id,] spec)`, and returns the index of the spec's table: 3 if there is an id. The
/// error is the argument error of `function`. `[-0, +0]`.
fn spec_at(lua: Lua, function: &'static str) -> Result<i32, EntryOutcome> {
    string(lua, 1, function)?;
    match lua.type_of(2) {
        LUA_TTABLE => Ok(2),
        LUA_TSTRING if lua.type_of(3) == LUA_TTABLE => Ok(3),
        LUA_TSTRING => Err(bad(lua, 3, function, "table")),
        _ => Err(bad(lua, 2, function, "table")),
    }
}

/// A spec as JSON with marks, its function, and its origin.
type Read = (Value, Option<CallbackRef>, Origin);

/// Reads the spec at index `at`: as JSON with a mark in the place of each function, the function itself (kept in the
/// registry), and the script file that registers it. Upvalue 2 is the prelude's `strip`, which makes the copy with
/// marks and returns nine values:
///
/// ```text
///  top + 1     + 2        + 3    + 4    + 5        + 6    + 7                        + 8            + 9
///  copy | nil  function   file   load   function   line   files that include `file`  place of the  load number of the
///              or reason         no.    no.                                          call          outermost of them
/// ```
/// The error is the reason for Lua. The second value is the place of the call, `file:line`; empty if it is unknown.
/// `[-0, +0]`, never raises.
fn read_spec(lua: Lua, at: i32) -> (Result<Read, String>, String) {
    let top = lua.top();
    lua.push_value(HELPER);
    lua.push_value(at);
    // `strip` uses `pairs`, which a script may have replaced by a function that adds hooks itself: hence `nested`.
    let copied = nested(|| lua.pcall(1, 9, 0)).unwrap_or(false);
    let place = lua.string(top + 8).filter(|_| copied).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
    if !copied || lua.type_of(top + 1) != LUA_TTABLE {
        // If `strip` refused the spec, the second value is the reason. In every other case there is no string.
        let reason = lua.string(top + 2).map_or("cannot be read".into(), String::from_utf8_lossy);
        lua.set_top(top);
        return (Err(format!("encode: the spec {reason}")), place);
    }
    let mut text = Bytes::default();
    // A spec must not contain userdata: `strip`, passed here in the place of `describe`, makes the encoder refuse them.
    let encoded = encode::push_json(lua, top + 1, HELPER, &mut text).map_err(|err| err.to_string());
    let spec = encoded.and_then(|_| serde_json::from_slice(&text).map_err(|err| format!("encode: the spec {err}")));
    let spec = spec.and_then(|spec| match lua.type_of(top + 2) {
        LUA_TFUNCTION => Ok((spec, Some(shield::keep(lua, top + 2).ok_or(NOT_KEPT)?))),
        _ => Ok((spec, None)),
    });
    // `strip` counts in whole numbers, so the casts lose nothing.
    let number = |at: i32| lua.number(at) as u64;
    let text = |at: i32| lua.string(at).map(String::from_utf8_lossy).unwrap_or_default().into();
    let (load, line) = (number(top + 4), number(top + 6) as u32);
    let (file, includers, outermost) = (text(top + 3), text(top + 7), number(top + 9));
    let origin = Origin { file, includers, load, outermost, function: number(top + 5), line, newest_load: 0 };
    lua.set_top(top);
    (spec.map(|(spec, function)| (spec, function, origin)), place)
}

entry! {
    /// `realtime.AddHook(channel, [id,] spec) -> id | nil, reason`. Upvalue 2: the prelude's `strip`.
    add_hook, run_add_hook
}

fn run_add_hook(lua: Lua) -> EntryOutcome {
    add(lua, "AddHook", Engine::all_hooks)
}

/// The common body of the `Add...` functions. `name` is the name for argument errors and the log. A refused spec leaves
/// no function in the registry.
fn add(lua: Lua, name: &'static str, select: Select) -> EntryOutcome {
    let at = match spec_at(lua, name) {
        Ok(at) => at,
        Err(answer) => return answer,
    };
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(None, reason),
    };
    let (spec, place) = read_spec(lua, at);
    let added = spec.and_then(|(spec, function, origin)| {
        // `strip` may have run script code that changed the arguments or began another state, in which the function's
        // reference is worthless.
        let names = self::process(lua).map_err(str::to_owned).and_then(|_| names_again(lua, at == 3));
        let (channel, id) = names.inspect_err(|_| function.into_iter().for_each(|function| lua.release(function)))?;
        // No file is being loaded while the pump runs, so a callback of the pump hides none.
        let is_stray = id.is_none() && !origin.is_file_load() && !is_in_tick();
        let caller = place.rsplit_once(':').map_or("", |(file, _)| file);
        let file = if origin.file.is_empty() { caller.into() } else { Arc::clone(&origin.file) };
        let added = process.engine().coming_from(origin).register(name, select, channel, id, &spec, function);
        if added.is_err() {
            function.into_iter().for_each(|function| lua.release(function));
        } else if is_stray && process.engine().is_first_stray(&file) {
            warn_of_stray(name, channel, &file);
        }
        added.map_err(|refusal| refusal.to_string())
    });
    match added {
        Ok((id, replaced)) => {
            replaced.into_iter().for_each(|function| lua.release(function));
            EntryOutcome::Results(Results::Text(id))
        }
        // Scripts seldom check the results of these functions, so the refusal is logged, too.
        Err(reason) => {
            let place = if place.is_empty() { place } else { format!(" at {place}") };
            log::error!("{name} on `{}`{place} was refused: {reason}", shown(lua.string(1).unwrap_or_default()));
            refused(None, reason)
        }
    }
}

/// Says that a registration without an id stays when its file is loaded again.
#[cold]
fn warn_of_stray(name: &str, channel: &[u8], file: &str) {
    let place = if file.is_empty() { String::new() } else { format!(" in `{file}`") };
    log::warn!(
        "{name} on `{}`{place}: it cannot follow its file when that is loaded again, because a callback or code \
         without a file adds it, or a `return` before the call hides the file; give it an id",
        shown(channel)
    );
}

entry! {
    /// `realtime.RemoveHook([channel,] id) -> boolean`: whether this hook existed.
    remove_hook, run_remove_hook
}

fn run_remove_hook(lua: Lua) -> EntryOutcome {
    remove(lua, "RemoveHook", Engine::all_hooks)
}

entry! {
    /// `realtime.AddAggregator(channel, [id,] spec) -> id | nil, reason`. Upvalue 2: the prelude's `strip`.
    add_aggregator, run_add_aggregator
}

fn run_add_aggregator(lua: Lua) -> EntryOutcome {
    add(lua, "AddAggregator", Engine::all_aggregators)
}

entry! {
    /// `realtime.RemoveAggregator([channel,] id) -> boolean`: whether this aggregator existed.
    remove_aggregator, run_remove_aggregator
}

fn run_remove_aggregator(lua: Lua) -> EntryOutcome {
    remove(lua, "RemoveAggregator", Engine::all_aggregators)
}

/// The common body of the `Remove...` functions. `name` is the name for argument errors. `[-0, +1]`.
fn remove(lua: Lua, name: &'static str, select: Select) -> EntryOutcome {
    let Some(first) = lua.string(1) else { return bad(lua, 1, name, "string") };
    let (channel, id) = match lua.type_of(2) {
        LUA_TNONE | LUA_TNIL => (None, first),
        LUA_TSTRING => (Some(first), lua.bytes(2)),
        _ => return bad(lua, 2, name, "string"),
    };
    // A longer name would be hashed for nothing: no registration can have it.
    let fit = [channel, Some(id)].into_iter().flatten().all(|name| name.len() <= NAME_BYTES_MAX);
    let process = process(lua).ok().filter(|_| fit);
    let removed = process.and_then(|process| process.engine().unregister(select, channel, id));
    lua.push_boolean(removed.is_some());
    removed.into_iter().flatten().for_each(|function| lua.release(function));
    EntryOutcome::OnStack(1)
}
