//! The functions of the table `realtime` that add and remove hooks and aggregators: the spec is read out of its Lua table, its function
//! kept, and all of it handed to the engine, which takes it whole or not at all.
//! Game thread; each is an `entry!`, so a panic is answered and an argument error raised with nothing left to drop.

use std::sync::Arc;

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::engine::registrations::Origin;
use crate::engine::{CallbackRef, Engine, Refusal};
use crate::lua::arguments::{NOT_KEPT, bad, refused};
use crate::lua::stack::{Answer, HELPER, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TSTRING, LUA_TTABLE, Lua, Results};
use crate::lua::{json, nested, process, shield};

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

/// The spec as JSON, a mark in the place of each function; the function, kept; and where they come from. Upvalue 2 is
/// the prelude's `strip`.
fn read_spec(lua: Lua, at: i32) -> Result<(Value, Option<CallbackRef>, Origin), String> {
    let top = lua.top();
    lua.push_value(HELPER);
    lua.push_value(at);
    // A script's own `pairs`, in which it adds hooks.
    let copied = nested(|| lua.pcall(1, 7, 0)).unwrap_or(false);
    if !copied || lua.type_of(top + 1) != LUA_TTABLE {
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
    // Whole numbers, made by `strip`: the casts lose nothing.
    let number = |at: i32| lua.number(at) as u64;
    let text = |at: i32| lua.string(at).map(String::from_utf8_lossy).unwrap_or_default().into();
    let (load, line) = (number(top + 4), number(top + 6) as u32);
    let (file, includers) = (text(top + 3), text(top + 7));
    let origin = Origin { file, includers, load, function: number(top + 5), line, newest_load: 0 };
    lua.set_top(top);
    spec.map(|(spec, function)| (spec, function, origin))
}

entry! {
    /// `realtime.AddHook(channel, [id,] spec) -> id | nil, reason`. Upvalue 2: the prelude's `strip`.
    add_hook, run_add_hook
}

fn run_add_hook(lua: Lua) -> Answer {
    add(lua, "AddHook", |engine, given, spec, function| {
        let added = engine.add_hook(given.channel, given.id, spec, function);
        added.map(|(id, replaced)| (id, replaced.into_iter().collect()))
    })
}

/// What an `Add...` function does with the engine. Returns the id, and what is to be released.
type Adding =
    fn(&mut Engine, &Given<'_>, &Value, Option<CallbackRef>) -> Result<(Arc<[u8]>, Vec<CallbackRef>), Refusal>;

fn add(lua: Lua, name: &'static str, adding: Adding) -> Answer {
    let given = match given(lua, name) {
        Ok(given) => given,
        Err(answer) => return answer,
    };
    let process = match process(lua) {
        Ok(process) => process,
        Err(reason) => return refused(None, reason),
    };
    let added = read_spec(lua, given.spec).and_then(|(spec, function, origin)| {
        let added = adding(process.engine().coming_from(origin), &given, &spec, function);
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
    /// `realtime.RemoveHook([channel,] id) -> boolean`: whether there was such a hook.
    remove_hook, run_remove_hook
}

fn run_remove_hook(lua: Lua) -> Answer {
    remove(lua, "RemoveHook", Engine::remove_hook_of)
}

entry! {
    /// `realtime.AddAggregator(channel, [id,] spec) -> id | nil, reason`. Upvalue 2: the prelude's `strip`.
    add_aggregator, run_add_aggregator
}

fn run_add_aggregator(lua: Lua) -> Answer {
    add(lua, "AddAggregator", |engine, given, spec, function| {
        engine.add_aggregator(given.channel, given.id, spec, function)
    })
}

entry! {
    /// `realtime.RemoveAggregator([channel,] id) -> boolean`: whether there was such an aggregator.
    remove_aggregator, run_remove_aggregator
}

fn run_remove_aggregator(lua: Lua) -> Answer {
    remove(lua, "RemoveAggregator", Engine::remove_aggregator_of)
}

/// What a `Remove...` function does with the engine, given the channel, if there is one, and the id.
type Removing = fn(&mut Engine, Option<&[u8]>, &[u8]) -> Option<Vec<CallbackRef>>;

fn remove(lua: Lua, name: &'static str, removing: Removing) -> Answer {
    let Some(first) = lua.string(1) else { return bad(lua, 1, name, "string") };
    let (channel, id) = match lua.type_of(2) {
        LUA_TNONE | LUA_TNIL => (None, first),
        LUA_TSTRING => (Some(first), lua.bytes(2)),
        _ => return bad(lua, 2, name, "string"),
    };
    // Before they are hashed: nothing has such a name.
    let fit = [channel, Some(id)].into_iter().flatten().all(|name| name.len() <= NAME_BYTES_MAX);
    let process = process(lua).ok().filter(|_| fit);
    let removed = process.and_then(|process| removing(&mut process.engine(), channel, id));
    lua.push_boolean(removed.is_some());
    removed.into_iter().flatten().for_each(|function| lua.release(function));
    Answer::Values(1)
}
