//! All that may raise a Lua error on behalf of Rust code, in one C function that is always called under pcall:
//! whatever needs memory of Lua, and the calls of scripts' functions. It owns nothing and cannot panic, so an error may
//! jump over it; who has it run ([`run`]) owns what it works on.
//! Scripts can get hold of that function (`debug.getupvalue`): it takes its work from a place that is set only while
//! [`run`] lasts, and takes it once. Called at any other time, with any arguments, it does nothing.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

use gmod::lua::State;

use crate::engine::{Aggregate, Answered, Call, CallbackRef, Condition, Deliver, Gather};
use crate::event::Event;
use crate::event::notice::{Argument, Notice};
use crate::json::build::{Build, Pace};
use crate::lua::json::{self, Lane};
use crate::lua::stack::{LUA_TFUNCTION, LUA_TTABLE, Lua, Results, upvalue};
use crate::redis::answer::Answer;

/// How often something is tried that a script's `__gc` makes fail.
pub(super) const ATTEMPTS_MAX: u32 = 16;

/// Upvalues of [`perform`].
const NOTIFY: i32 = upvalue(1);
const SAY: i32 = upvalue(2);
const REPORT: i32 = upvalue(3);
/// The table of [`Lane`]s.
pub(super) const KEPT: i32 = upvalue(4);

/// What [`perform`] is to do. Borrowed from who runs it.
pub(super) enum Work<'a, 'b> {
    /// Push the results of an entry.
    Results(&'a Results),
    /// Keep the argument in the registry.
    Keep(&'a Cell<Option<CallbackRef>>),
    /// Push an empty table with room for so many elements.
    Table(i32),
    /// Print a line; for who asked for a self-test, or for the server.
    Line(&'a str, bool),
    /// Report an error in what is under way.
    Report(&'a str),
    /// Push the values of an answer.
    Values(&'a Answer, &'a mut Making<'b>),
    /// Make the arguments of a call, and call.
    Call(&'a Call, &'a mut Making<'b>),
    /// Put the next events of a window into its array, which is the argument.
    Window(&'a Gather, &'a mut Making<'b>, &'a mut Filling),
}

/// How far the making of values has come, and what ends it.
pub(super) struct Making<'a> {
    pub(super) build: &'a mut Build,
    pub(super) pace: &'a mut Pace,
    pub(super) stage: Stage,
}

/// The array of a window, how many events of the Call stand in it, and the text that stands for the next.
pub(super) struct Filling {
    pub(super) array: Option<CallbackRef>,
    pub(super) made: usize,
    pub(super) text: Option<Vec<u8>>,
}

impl<'a> Making<'a> {
    #[inline]
    pub(super) fn new(build: &'a mut Build, pace: &'a mut Pace) -> Making<'a> {
        Making { build, pace, stage: Stage::Making }
    }
}

/// Where the work was when it ended, or when an error ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not begun, or in the middle of making values.
    Making,
    /// Time was out; the values so far are kept.
    Parked,
    /// All is made; a script's function ran, or there was none to run.
    Called,
}

/// The work of the innermost [`run`], until [`perform`] takes it. Game thread only.
static WORK: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Calls [`perform`], which stands below its `arguments` on the stack, under pcall. `[-(arguments + 1), +results]`, or
/// (false) one error value. Never raises. A script that put another function in its place makes it do nothing.
pub(super) fn run(lua: Lua, work: &mut Work<'_, '_>, arguments: i32, results: i32, handler: i32) -> bool {
    let before = WORK.swap(std::ptr::from_mut(work).cast(), Ordering::Relaxed);
    let done = lua.pcall(arguments, results, handler);
    WORK.store(before, Ordering::Relaxed);
    done
}

/// Does the work of the [`run`] that called it. Owns nothing: errors pass through this frame.
///
/// # Safety
/// Called by Lua, on the game thread.
pub(super) unsafe extern "C-unwind" fn perform(state: State) -> i32 {
    let work = WORK.swap(std::ptr::null_mut(), Ordering::Relaxed).cast::<Work<'_, '_>>();
    // SAFETY: not null only while `run` lasts, which borrows it mutably for that long; and taken once, so this is the
    // only reference.
    let Some(work) = (unsafe { work.as_mut() }) else { return 0 };
    // SAFETY: called by Lua with its running state; `run` has a `Lua`, so `load` succeeded.
    let lua = unsafe { Lua::new(state) };
    match work {
        Work::Results(results) => {
            results.push(lua);
            results.count()
        }
        Work::Keep(kept) => {
            lua.set_top(1);
            kept.set(Some(lua.keep()));
            0
        }
        Work::Table(room) => {
            lua.push_table(*room, 0);
            1
        }
        Work::Line(line, for_asker) => {
            lua.push_value(SAY);
            lua.push_bytes(line.as_bytes());
            lua.push_boolean(*for_asker);
            lua.call(2, 0);
            0
        }
        Work::Report(reason) => {
            lua.push_value(REPORT);
            lua.push_bytes(reason.as_bytes());
            lua.call(1, 0);
            0
        }
        Work::Values(answer, making) => {
            lua.set_top(0);
            if !json::make(lua, &answer.tape, u32::from(answer.values), making.build, making.pace, None) {
                making.stage = Stage::Parked;
                return 0;
            }
            making.stage = Stage::Called;
            i32::from(answer.values)
        }
        Work::Call(call, making) => match call {
            Call::Deliver(delivery) => deliver(lua, delivery, making),
            Call::Condition(condition) => decide(lua, condition, making),
            Call::Answer(answered) => respond(lua, answered, making),
            Call::Gather(_) => 0, // By `Work::Window`.
            Call::Aggregate(aggregate) => sum_up(lua, aggregate, making),
            Call::Notice(notice) => tell(lua, notice, making),
        },
        Work::Window(window, making, filling) => gather(lua, window, making, filling),
    }
}

/// Pushes a kept function. False if there is none any more: a script took it out of the registry.
#[inline]
fn push_function(lua: Lua, function: CallbackRef, making: &mut Making<'_>) -> bool {
    lua.push_kept(function);
    let is_function = lua.type_of(-1) == LUA_TFUNCTION;
    if !is_function {
        making.stage = Stage::Called;
    }
    is_function
}

/// The whole value of a tape on top of the stack; or (false) time is out.
fn make_one(lua: Lua, tape: &[u8], making: &mut Making<'_>, lane: Lane) -> bool {
    let is_made = json::make(lua, tape, 1, making.build, making.pace, Some(lane));
    if !is_made {
        making.stage = Stage::Parked;
    }
    is_made
}

/// Calls a listener: `callback(data, channel, meta)`.
fn deliver(lua: Lua, delivery: &Deliver, making: &mut Making<'_>) -> i32 {
    let event = &delivery.event;
    if !push_function(lua, delivery.callback, making) || !make_one(lua, event.tape(), making, Lane::Event) {
        return 0;
    }
    lua.push_bytes(event.channel());
    let mut arguments = 2;
    if delivery.wants_meta {
        push_meta(lua, event);
        arguments = 3;
    }
    json::finish(lua, making.build, Lane::Event);
    making.stage = Stage::Called;
    lua.call(arguments, 0);
    0
}

/// Pushes the table `{pattern=, raw=, server=, seq=, sent=, own=}`, as far as known. `[-0, +1]`, **raises**.
fn push_meta(lua: Lua, event: &Event) {
    lua.push_table(0, 4);
    if event.topic().is_pattern() {
        lua.push_bytes(b"pattern");
        lua.push_bytes(event.topic().name());
        lua.raw_set(-3);
    }
    if event.is_raw() {
        lua.push_bytes(b"raw");
        lua.push_boolean(true);
        lua.raw_set(-3);
    }
    let Some(origin) = event.origin() else { return };
    lua.push_bytes(b"server");
    lua.push_bytes(event.server());
    lua.raw_set(-3);
    if origin.seq > 0 {
        lua.push_bytes(b"seq");
        lua.push_number(origin.seq as f64);
        lua.raw_set(-3);
    }
    lua.push_bytes(b"sent");
    lua.push_number(origin.sent_ms as f64 / 1000.0);
    lua.raw_set(-3);
    lua.push_bytes(b"own");
    lua.push_boolean(origin.own);
    lua.raw_set(-3);
}

/// Runs a game hook with what a notice says.
fn tell(lua: Lua, notice: &Notice, making: &mut Making<'_>) -> i32 {
    lua.push_value(NOTIFY);
    lua.push_bytes(notice.hook().as_bytes());
    let mut count = 1;
    for argument in notice.arguments().into_iter().flatten() {
        match argument {
            Argument::Text(bytes) => lua.push_bytes(bytes),
            Argument::Number(number) => lua.push_number(number as f64),
        }
        count += 1;
    }
    making.stage = Stage::Called;
    lua.call(count, 0);
    0
}

/// Asks the function of a hook: `condition(data, channel)`; its first result is this one's.
fn decide(lua: Lua, condition: &Condition, making: &mut Making<'_>) -> i32 {
    let event = &condition.event;
    if !push_function(lua, condition.callback, making) || !make_one(lua, event.tape(), making, Lane::Event) {
        return 0;
    }
    lua.push_bytes(event.channel());
    json::finish(lua, making.build, Lane::Event);
    making.stage = Stage::Called;
    lua.call(2, 1);
    1
}

/// Puts the next events of a window into its array, argument 1; makes and keeps one if there is none.
fn gather(lua: Lua, window: &Gather, making: &mut Making<'_>, filling: &mut Filling) -> i32 {
    lua.set_top(1);
    if filling.array.is_none() {
        lua.set_top(0);
        // As many as come at once: a window of thousands must not cost its first Call a huge table.
        lua.push_table(i32::try_from(window.events().len()).unwrap_or(0), 0);
        lua.push_value(1);
        filling.array = Some(lua.keep());
    }
    if lua.type_of(1) != LUA_TTABLE {
        return 0; // A script took it out of the registry.
    }
    for event in window.events().iter().skip(filling.made) {
        match &filling.text {
            // Of one event at a time.
            Some(_) if filling.made > window.made => return park(making),
            Some(text) => lua.push_bytes(text),
            None if !make_one(lua, event, making, Lane::Window) => return 0,
            None => {}
        }
        // A window is far below 2^31 events (`AGGREGATE_EVENTS_MAX`).
        lua.raw_set_index(1, (window.filled + filling.made) as i32 + 1);
        json::finish(lua, making.build, Lane::Window);
        filling.made += 1;
    }
    making.stage = Stage::Called;
    0
}

fn park(making: &mut Making<'_>) -> i32 {
    making.stage = Stage::Parked;
    0
}

/// Calls an aggregator's function with the array of a window, argument 1; its first result is this one's.
fn sum_up(lua: Lua, aggregate: &Aggregate, making: &mut Making<'_>) -> i32 {
    lua.set_top(1);
    lua.push_kept(aggregate.function);
    making.stage = Stage::Called;
    if lua.type_of(2) != LUA_TFUNCTION {
        return 0;
    }
    lua.insert(1);
    lua.call(1, 1);
    1
}

/// Calls the callback of a command with its answer: `value`, or `nil, reason`; of a leaderboard `map, nil, ranked`.
fn respond(lua: Lua, answered: &Answered, making: &mut Making<'_>) -> i32 {
    if !push_function(lua, answered.callback, making) {
        return 0;
    }
    let count = match &answered.outcome {
        Ok(answer) => {
            if !json::make(lua, &answer.tape, u32::from(answer.values), making.build, making.pace, Some(Lane::Answer)) {
                return park(making);
            }
            if answer.values == 2 {
                lua.push_nil();
                lua.insert(-2);
            }
            i32::from(answer.values) * 2 - 1
        }
        Err(reason) => {
            lua.push_nil();
            lua.push_bytes(reason.as_bytes());
            2
        }
    };
    json::finish(lua, making.build, Lane::Answer);
    making.stage = Stage::Called;
    lua.call(count, 0);
    0
}

/// The value at `index`, kept in the registry. `None`: Lua has no memory for it. Never raises.
pub(super) fn keep(lua: Lua, index: i32) -> Option<CallbackRef> {
    let kept = Cell::new(None);
    for _ in 0..ATTEMPTS_MAX {
        lua.push_value(super::stack::SHIELD);
        lua.push_value(index);
        if run(lua, &mut Work::Keep(&kept), 1, 0, 0) {
            break;
        }
        lua.pop(1);
    }
    kept.get()
}
