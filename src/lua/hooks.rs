//! The functions of the table `realtime` that add and remove hooks and aggregators: the spec is read out of its Lua table, its function
//! kept, and all of it handed to the engine, which takes it whole or not at all.
//! Game thread; each is an `entry!`, so a panic is answered and an argument error raised with nothing left to drop.

use std::sync::Arc;

use serde_json::Value;

use crate::config::NAME_BYTES_MAX;
use crate::engine::Refusal;
use crate::engine::registry::CallbackRef;
use crate::lua::api::{NOT_KEPT, bad, refused};
use crate::lua::stack::{Answer, HELPER, LUA_TFUNCTION, LUA_TSTRING, LUA_TTABLE, Lua, Results};
use crate::lua::{Process, json, process, shield};

/// What an `Add...` function was given: a channel, perhaps an id, and a spec.
struct Given<'a> {
    channel: &'a [u8],
    id: Option<&'a [u8]>,
    /// Where the spec's table stands.
    spec: i32,
}

/// Reads `(channel, [id,] spec)`.
fn given<'a>(lua: Lua, function: &'static str) -> Result<Given<'a>, Answer> {
    let channel = lua.string(1).ok_or_else(|| bad(lua, 1, function, "string"))?;
    match lua.type_of(2) {
        LUA_TTABLE => Ok(Given { channel, id: None, spec: 2 }),
        LUA_TSTRING if lua.type_of(3) == LUA_TTABLE => Ok(Given { channel, id: Some(lua.bytes(2)), spec: 3 }),
        LUA_TSTRING => Err(bad(lua, 3, function, "table")),
        _ => Err(bad(lua, 2, function, "table")),
    }
}

/// The spec as JSON, a mark in the place of each function, and the function, kept. Upvalue 2 is the prelude's `strip`.
fn read_spec(lua: Lua, at: i32) -> Result<(Value, Option<CallbackRef>), String> {
    let top = lua.top();
    lua.push_value(HELPER);
    lua.push_value(at);
    if !lua.pcall(1, 2, 0) || lua.type_of(top + 1) != LUA_TTABLE {
        // `nil` and what is wrong with it; or whatever an error leaves.
        let reason = lua.string(top + 2).map_or("cannot be read".into(), String::from_utf8_lossy);
        lua.set_top(top);
        return Err(format!("encode: the spec {reason}"));
    }
    let mut text = Vec::new();
    // No userdata has a place in a spec: the function that tells them apart would refuse what `strip` is given.
    let encoded = json::encode(lua, top + 1, HELPER, &mut text).map_err(|err| err.to_string());
    let spec = encoded.and_then(|_| serde_json::from_slice(&text).map_err(|err| format!("encode: the spec {err}")));
    let spec = spec.and_then(|spec| match lua.type_of(top + 2) {
        LUA_TFUNCTION => Ok((spec, Some(shield::keep(lua, top + 2).ok_or(NOT_KEPT)?))),
        _ => Ok((spec, None)),
    });
    lua.set_top(top);
    spec
}

entry! {
    /// `realtime.AddHook(channel, [id,] spec) -> id | nil, reason`. Upvalue 2: the prelude's `strip`.
    add_hook, run_add_hook
}

fn run_add_hook(lua: Lua) -> Answer {
    add(lua, "AddHook", |process, given, spec, function| {
        let added = process.engine().add_hook(given.channel, given.id, spec, function);
        added.map(|(id, replaced)| (id, replaced.into_iter().collect()))
    })
}

/// What an `Add...` function does with the engine. Returns the id, and what is to be released.
type Adding = fn(&Process, &Given<'_>, &Value, Option<CallbackRef>) -> Result<(Arc<[u8]>, Vec<CallbackRef>), Refusal>;

fn add(lua: Lua, name: &'static str, adding: Adding) -> Answer {
    let given = match given(lua, name) {
        Ok(given) => given,
        Err(answer) => return answer,
    };
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(None, reason),
    };
    let added = read_spec(lua, given.spec).and_then(|(spec, function)| {
        let added = adding(process, &given, &spec, function);
        if added.is_err() {
            function.into_iter().for_each(|function| lua.release(function));
        }
        added.map_err(|refusal| refusal.to_string())
    });
    match added {
        Ok((id, replaced)) => {
            replaced.into_iter().for_each(|function| lua.release(function));
            Answer::Results(Results::Text(id))
        }
        // Scripts seldom look at what these functions return.
        Err(reason) => {
            log::error!("{name} on `{}` was refused: {reason}", json::shown(given.channel));
            refused(None, reason)
        }
    }
}

entry! {
    /// `realtime.RemoveHook(id) -> boolean`: whether there was such a hook.
    remove_hook, run_remove_hook
}

fn run_remove_hook(lua: Lua) -> Answer {
    remove(lua, "RemoveHook", |process, id| process.engine().remove_hook(id))
}

entry! {
    /// `realtime.AddAggregator(channel, [id,] spec) -> id | nil, reason`. Upvalue 2: the prelude's `strip`.
    add_aggregator, run_add_aggregator
}

fn run_add_aggregator(lua: Lua) -> Answer {
    add(lua, "AddAggregator", |process, given, spec, function| {
        process.engine().add_aggregator(given.channel, given.id, spec, function)
    })
}

entry! {
    /// `realtime.RemoveAggregator(id) -> boolean`: whether there was such an aggregator.
    remove_aggregator, run_remove_aggregator
}

fn run_remove_aggregator(lua: Lua) -> Answer {
    remove(lua, "RemoveAggregator", |process, id| process.engine().remove_aggregator(id))
}

fn remove(lua: Lua, name: &'static str, removing: fn(&Process, &[u8]) -> Option<Vec<CallbackRef>>) -> Answer {
    let Some(id) = lua.string(1) else { return bad(lua, 1, name, "string") };
    // Before it is hashed: nothing has such an id.
    let process = process(lua).ok().filter(|_| id.len() <= NAME_BYTES_MAX);
    let removed = process.and_then(|process| removing(process, id));
    lua.push_boolean(removed.is_some());
    removed.into_iter().flatten().for_each(|function| lua.release(function));
    Answer::Values(1)
}
