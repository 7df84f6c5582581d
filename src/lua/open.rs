//! The two functions that the game itself calls: `gmod13_open` and `gmod13_close`. Opening registers everything in the
//! calling Lua state and attaches the engine to it; closing detaches the engine again.
//! Runs on the game thread. The engine and its threads stay when a state goes: one process serves many maps.
//! Neither function lets a panic out, and `gmod13_close` never raises a Lua error.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use gmod::lua::{LUA_REGISTRYINDEX, State};

use crate::engine::Flush;
use crate::io::fail_point::fail_point;
use crate::lua::callbacks::{context, pump, pumped};
use crate::lua::entry::Line;
use crate::lua::process::{PROCESS, attaches, guarded, is_attached, set_attached, set_clock, start};
use crate::lua::stack::{LUA_TNUMBER, Lua};
use crate::lua::{decode, event_log, events, hooks, shield, stack, status, values};

/// Key in a state's registry: the number ([`attaches`]) under which the state was attached.
const ATTACHED_AS: &[u8] = b"realtime.attached";

/// True while [`set_up`] runs. It calls functions of the game, and a script may have replaced one by a function that
/// calls `require` again, and so on until the thread's stack is full. Game thread only.
static OPENING: AtomicBool = AtomicBool::new(false);

/// The game calls this at `require("realtime")`, also for a second `require` in the same state. Raises a Lua error if
/// the module cannot start. It cannot be an `entry!`, because nothing is registered yet. Stack: `[-0, +0]`.
///
/// # Safety
/// `state` is the calling Lua state, on the game thread.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn gmod13_open(state: State) -> i32 {
    // SAFETY: the game passes its running state, on the game thread, and this is the first use of the bindings.
    let loaded = guarded(|| unsafe { stack::load(state) });
    if !matches!(loaded, Some(Ok(()))) {
        // Without the Lua library no error can be raised in Lua, and the log does not exist yet.
        let reason = loaded.and_then(Result::err).unwrap_or_else(|| "internal error".to_owned());
        let _ = writeln!(std::io::stderr(), "[realtime] cannot use the Lua library of this game: {reason}");
        return 0;
    }
    never_unmap();
    // SAFETY: `load` succeeded, and the game called this entry with `state`.
    let lua = unsafe { Lua::new(state) };
    if !lua.check_stack(8) {
        return 0;
    }
    if OPENING.load(Ordering::Relaxed) {
        return lua.raise(b"realtime is being opened");
    }
    lua.push_function(set_up, 0);
    OPENING.store(true, Ordering::Relaxed);
    let is_open = lua.pcall(0, 0, 0);
    OPENING.store(false, Ordering::Relaxed);
    if is_open { 0 } else { lua.raise_top() }
}

/// The game calls this before it closes the Lua state: at every map change and at its end.
/// Prints nothing, raises nothing and runs no Lua code. It blocks the map change for the flush, at most
/// [`crate::config::limits::CLOSE_FLUSH_MAX`]. Stack: `[-0, +0]`.
///
/// # Safety
/// `state` is the Lua state that is about to be closed, on the game thread.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn gmod13_close(state: State) -> i32 {
    guarded(|| {
        let Some(process) = PROCESS.get() else { return };
        // SAFETY: `state` is alive until this function returns, and a process exists only after `stack::load`.
        let lua = unsafe { Lua::new(state) };
        // If another state was attached meanwhile, the late close of this one must not detach it.
        let flush: Option<Flush> = is_attached(lua).then(|| {
            let (references, flush) = process.engine().detach();
            references.into_iter().for_each(|callback| lua.release(callback));
            set_attached(None);
            flush
        });
        if let Some(flush) = flush {
            flush.wait();
        }
        log::logger().flush();
    });
    0
}

/// Registers everything in this state and attaches the engine to it. Runs under pcall and owns nothing while Lua calls
/// are made, so it may raise anywhere. Does nothing if this state is attached already. Stack: `[-0, +?]`, **raises**.
///
/// ```text
///  perform (no upvalues) ─▶ context, pumped, status_report, begin_selftest, reload
///  prelude(those five, the function of utc_offset.lua, the main thread)
///                        ─▶ on_error, report, say, describe, takes_meta, strip, notify, game_values, start
///  perform (notify, say, report, table of kept values) ─▶ functions of `realtime`, pump
///  start(pump)           ─▶ the game's timer calls the pump at every tick
/// ```
unsafe extern "C-unwind" fn set_up(state: State) -> i32 {
    // SAFETY: called by `gmod13_open` through pcall, after `load`.
    let lua = unsafe { Lua::new(state) };
    if is_set_up(lua) {
        return 0;
    }
    if !lua.check_stack(40) {
        return lua.raise(b"stack overflow");
    }
    // The state that was attached before, if any, must not share its references with this one.
    set_attached(None);
    let (port, offset_s) = (host_port(lua), utc_offset(lua));
    // The error text, if there was an error. `Line` owns no heap memory, so it may live in this frame.
    let failure = guarded(|| match start(port, offset_s) {
        Ok(process) => {
            fail_point("open");
            set_clock(process, offset_s);
            process.engine().attach();
            None
        }
        Err(message) => Some(Line::of(&message)),
    });
    match failure {
        Some(None) => {}
        Some(Some(line)) => return lua.raise(line.as_bytes()),
        None => return lua.raise(b"internal error while realtime starts"),
    }
    lua.set_top(0);
    if !lua.load_chunk(include_str!("prelude.lua"), c"=realtime") {
        return lua.raise_top();
    }
    // The prelude takes five of these functions, so they exist before it has returned anything. Their `perform` therefore
    // has none of the prelude's functions as upvalues; it only pushes results for them.
    lua.push_function(shield::perform, 0);
    for (at, function) in (3..).zip([context, pumped, status::report, status::begin_selftest, status::reload]) {
        lua.push_value(2);
        lua.push_function(function, 1);
        debug_assert_eq!(lua.top(), at);
    }
    push_utc_offset(lua);
    if !lua.push_thread() {
        lua.pop(1);
        lua.push_nil();
    }
    lua.push_value(1);
    lua.insert(3);
    lua.call(7, 9);
    let [on_error, report, say, describe, takes_meta, strip, notify, game_values, start] =
        [3, 4, 5, 6, 7, 8, 9, 10, 11];
    // The order of the upvalues that `perform` expects (`shield.rs`); the fourth is `decode::KEPT`.
    for upvalue in [notify, say, report] {
        lua.push_value(upvalue);
    }
    decode::push_kept_table(lua);
    lua.push_function(shield::perform, 4);
    let shield = start + 1;
    register(lua, shield, describe, takes_meta, strip);
    lua.push_value(start);
    // The order of the pump's upvalues (`callbacks.rs`).
    for upvalue in [shield, on_error, report, describe, game_values] {
        lua.push_value(upvalue);
    }
    lua.push_function(pump, 5);
    lua.call(1, 0);
    lua.push_bytes(ATTACHED_AS);
    // The number that `set_attached` gives this state. It comes last, because nothing may raise after it.
    lua.push_number(f64::from(attaches().wrapping_add(1)));
    lua.raw_set(LUA_REGISTRYINDEX);
    set_attached(Some(lua));
    0
}

/// Whether the engine is attached to this very state. The address alone does not tell: if the game closes a state
/// without `gmod13_close`, the next one may get the same address. The number in the registry goes with the old state.
/// `[-0, +0]`, **raises** without memory.
fn is_set_up(lua: Lua) -> bool {
    lua.push_bytes(ATTACHED_AS);
    lua.raw_get(LUA_REGISTRYINDEX);
    let is_newest = lua.number(-1) == f64::from(attaches());
    lua.pop(1);
    is_newest && is_attached(lua)
}

/// The game's port as its console variable `hostport` has it; 27015, the engine's default, if there is none. It is part
/// of the server's default name. `[-0, +0]`, **raises** without memory.
fn host_port(lua: Lua) -> u16 {
    let chunk = "local port = GetConVar(\"hostport\") return port and port:GetInt()";
    let known = lua.load_chunk(chunk, c"=realtime") && lua.pcall(0, 1, 0) && lua.type_of(-1) == LUA_TNUMBER;
    // The cast saturates, and a port has no fraction.
    let port = if known { lua.number(-1) as u16 } else { 27015 };
    lua.pop(1);
    port
}

/// The distance of local time from UTC now, in seconds to the east; NaN if Lua cannot tell. Of the systems' own calls, that on
/// Linux is not safe beside other threads. `[-0, +0]`, **raises** without memory.
fn utc_offset(lua: Lua) -> f64 {
    push_utc_offset(lua);
    let known = lua.pcall(0, 1, 0) && lua.type_of(-1) == LUA_TNUMBER;
    let offset = if known { lua.number(-1) } else { f64::NAN };
    lua.pop(1);
    offset
}

/// Pushes the function of `utc_offset.lua`, or the error that prevents it: calling that is an error again.
/// `[-0, +1]`, **raises** without memory.
fn push_utc_offset(lua: Lua) {
    let chunk = include_str!("utc_offset.lua");
    let _ = lua.load_chunk(chunk, c"=realtime") && lua.pcall(0, 1, 0);
}

/// Puts the table `realtime` into the globals. `shield` is the index of [`crate::lua::shield::perform`]; `describe`,
/// `takes_meta` and `strip` are the indices of these functions of the prelude.
/// `[-0, +0]`, **raises**: without memory. Owns nothing.
fn register(lua: Lua, shield: i32, describe: i32, takes_meta: i32, strip: i32) {
    lua.push_globals();
    lua.push_bytes(b"realtime");
    lua.push_table(0, 26);
    // Name, function, and the function of the prelude that it calls: upvalue 2 (`stack::HELPER`).
    let functions: [(&str, gmod::lua::LuaFunction, Option<i32>); 24] = [
        ("Emit", events::emit, Some(describe)),
        ("On", events::on, Some(takes_meta)),
        ("Off", events::off, None),
        ("Keep", events::keep, Some(describe)),
        ("History", values::history, None),
        ("Set", values::set, Some(describe)),
        ("SetEx", values::set_ex, Some(describe)),
        ("Get", values::get, None),
        ("GetTable", values::get_table, None),
        ("Incr", values::incr, None),
        ("Del", values::del, None),
        ("Expire", values::expire, None),
        ("Command", values::command, None),
        ("GetLeaderboard", values::get_leaderboard, None),
        ("Servers", values::servers, None),
        ("FindPlayer", values::find_player, None),
        ("AddHook", hooks::add_hook, Some(strip)),
        ("RemoveHook", hooks::remove_hook, None),
        ("ReadEventLog", event_log::read_event_log, Some(describe)),
        ("AddAggregator", hooks::add_aggregator, Some(strip)),
        ("RemoveAggregator", hooks::remove_aggregator, None),
        ("Configure", status::configure, Some(describe)),
        ("Status", status::status, None),
        ("Stats", status::stats, None),
    ];
    for (name, function, helper) in functions {
        lua.push_bytes(name.as_bytes());
        lua.push_value(shield);
        if let Some(helper) = helper {
            lua.push_value(helper);
        }
        lua.push_function(function, 1 + i32::from(helper.is_some()));
        put(lua);
    }
    lua.push_bytes(b"Version");
    lua.push_bytes(env!("CARGO_PKG_VERSION").as_bytes());
    put(lua);
    lua.push_bytes(b"Null");
    lua.push_null();
    put(lua);
    put(lua);
    lua.pop(1);
}

/// Pops a value and the key below it into the table under them. `[-2, +0]`, **raises** also if a script's `__gc` put
/// something else in the place of the table.
fn put(lua: Lua) {
    lua.check_table(-3);
    lua.raw_set(-3);
}

/// Keeps the library mapped for the life of the process, because its threads go on between two Lua states. Windows
/// unmaps a library when its last handle is closed; this takes a handle that is never closed.
#[cfg(windows)]
fn never_unmap() {
    unsafe extern "system" {
        fn GetModuleHandleExW(flags: u32, name: *const u16, module: *mut *mut std::ffi::c_void) -> i32;
    }
    const PIN: u32 = 1;
    const FROM_ADDRESS: u32 = 4;
    let mut module = std::ptr::null_mut();
    // SAFETY: with FROM_ADDRESS the second argument is any address inside the module, here a static of ours; `module`
    // is a valid place for the handle. Source: learn.microsoft.com, GetModuleHandleExW.
    unsafe { GetModuleHandleExW(PIN | FROM_ADDRESS, (&raw const PROCESS).cast(), &mut module) };
}

/// Nothing to do: Linux keeps the library mapped because `library/build.rs` links it with `-z nodelete`.
#[cfg(not(windows))]
fn never_unmap() {}
