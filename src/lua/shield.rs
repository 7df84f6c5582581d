//! The one C function that may raise a Lua error on behalf of Rust code: [`perform`]. [`run`] calls it under pcall.
//! Runs on the game thread. It does everything that needs Lua's memory, and calls the functions of scripts.
//! `perform` owns nothing and cannot panic, so a Lua error may jump over its frame. The caller of `run` owns the data.
//!
//! Scripts can reach `perform` (`debug.getupvalue`) and call it with any arguments. It finds its work in [`WORK`],
//! which is set only during `run`, and takes it once; a call at any other time does nothing.
//!
//! ```text
//!  Rust, owns Work ──run: WORK = &work──▶ lua_pcall ──▶ perform: takes WORK ──▶ Lua API calls, script functions
//!                 ◀──true, results / false, error────────────┘ (a Lua error ends at the pcall)
//! ```

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use gmod::lua::State;

use crate::engine::{Aggregate, Answered, Call, CallbackRef, Condition, Deliver, Gather};
use crate::event::Event;
use crate::event::notice::{Argument, Notice};
use crate::lua::decode::{self, Lane, Making, Stage};
use crate::lua::stack::{LUA_TFUNCTION, LUA_TTABLE, Lua, SHIELD, upvalue};
use crate::redis::answer::Answer;

/// Attempts at an operation that needs Lua's memory. Inside it a step of the garbage collector may run the `__gc` of a
/// script, and an error in that fails the attempt.
const ATTEMPTS_MAX: u32 = 16;

/// Upvalues 1 to 3 of [`perform`] are functions of the prelude. Upvalue 4 is [`decode::KEPT`].
const NOTIFY: i32 = upvalue(1);
const SAY: i32 = upvalue(2);
const REPORT: i32 = upvalue(3);

/// The work that [`perform`] does next. It only borrows: the caller of [`run`] owns everything, so a Lua error that
/// jumps over `perform` leaks nothing.
pub(super) enum Work<'a, 'b> {
    /// Push the results of an entry.
    Results(&'a Results),
    /// Keep argument 1 in the registry, and write its reference into the cell.
    Keep(&'a Cell<Option<CallbackRef>>),
    /// Compile a constructor (`shapes.rs`), and keep it in the registry: write its reference into the cell.
    Constructor(&'a str, &'a Cell<Option<CallbackRef>>),
    /// Push an empty table with room for that many elements.
    Table(i32),
    /// Print a line: on the console of the player that asked for a self-test (true), or on the server's.
    Line(&'a str, bool),
    /// Report this error, as one of the Call that is being run.
    Report(&'a str),
    /// Push the values of an answer to a reader.
    Values(&'a Answer, &'a mut Making<'b>),
    /// Make the arguments of a Call, then call its function.
    Call(&'a Call, &'a mut Making<'b>),
    /// Put the next events of an aggregator's window into its array, which is argument 1 (if it exists already).
    Window(&'a Gather, &'a mut Making<'b>, &'a mut Filling),
}

/// Results of an entry that take memory of Lua, so that pushing them may raise.
pub(super) enum Results {
    /// A refusal: nil (`None`) or a boolean, then the reason.
    Refused(Option<bool>, Cow<'static, str>),
    /// One string.
    Text(Arc<[u8]>),
    /// Two strings.
    Texts(&'static str, String),
}

impl Results {
    /// Values that [`Results::push`] pushes.
    pub(super) fn count(&self) -> i32 {
        match self {
            Results::Text(_) => 1,
            Results::Refused(..) | Results::Texts(..) => 2,
        }
    }

    /// Pushes the results. `[-0, +count]`, **raises**.
    fn push(&self, lua: Lua) {
        match self {
            Results::Refused(falsy, reason) => {
                match falsy {
                    Some(value) => lua.push_boolean(*value),
                    None => lua.push_nil(),
                }
                lua.push_bytes(reason.as_bytes());
            }
            Results::Text(text) => lua.push_bytes(text),
            Results::Texts(first, second) => {
                lua.push_bytes(first.as_bytes());
                lua.push_bytes(second.as_bytes());
            }
        }
    }
}

/// The array of an aggregator's window while it is filled.
pub(super) struct Filling {
    /// The array in the registry; `None` until the first run has made it.
    pub(super) array: Option<CallbackRef>,
    /// Events of this Call that are in the array.
    pub(super) made: usize,
    /// JSON text to put in the place of the next event, if its value takes Lua too long.
    pub(super) text: Option<Vec<u8>>,
}

/// The work of the innermost [`run`], until [`perform`] takes it; null at any other time. Game thread only.
static WORK: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Nesting limit of [`run`]: the pump, an entry that a callback calls, and one that a `__gc` or a debug hook calls
/// inside that. A script that puts an entry in the place of `perform` makes it call itself without end, until the
/// thread's own stack is full. The limit is low because the levels multiply their [`attempts`].
const RUNS_MAX: u32 = 3;

/// Calls of [`run`] that have not returned. Game thread only.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// Attempts ([`ATTEMPTS_MAX`]) at the next [`run`]; at the innermost level a single one.
pub(super) fn attempts() -> u32 {
    if RUNS.load(Ordering::Relaxed) + 1 < RUNS_MAX { ATTEMPTS_MAX } else { 1 }
}

/// Calls [`perform`] under pcall; the caller has pushed it ([`SHIELD`]) and its `arguments`. `handler` is the index of
/// a message handler, 0 for none. `[-(arguments + 1), +results]`, or (false) one error value. Never raises. If a script
/// has replaced the upvalue by another function, that one is called and the work is left undone. Beyond [`RUNS_MAX`]
/// nothing is called, and the error value is nil.
pub(super) fn run(lua: Lua, work: &mut Work<'_, '_>, arguments: i32, results: i32, handler: i32) -> bool {
    let done = limited(&RUNS, RUNS_MAX, || {
        // Runs nest: a script's function may call an entry, which runs work of its own. A debug hook may do so even
        // before `perform` has taken this work.
        let before = WORK.swap(std::ptr::from_mut(work).cast(), Ordering::Relaxed);
        let done = lua.pcall(arguments, results, handler);
        WORK.store(before, Ordering::Relaxed);
        done
    });
    done.unwrap_or_else(|| {
        lua.pop(arguments + 1);
        lua.push_nil();
        false
    })
}

/// Does the work of the [`run`] that called it. Owns nothing, because Lua errors pass through this frame.
/// Stack: `[-arguments, +results]`, **raises**.
///
/// # Safety
/// Called by Lua, on the game thread.
#[optimize(speed)]
pub(super) unsafe extern "C-unwind" fn perform(state: State) -> i32 {
    let work = WORK.swap(std::ptr::null_mut(), Ordering::Relaxed).cast::<Work<'_, '_>>();
    // SAFETY: the pointer is not null only while `run` lasts, and `run` borrows the work mutably for that long. The
    // swap takes it once, so this is the only reference.
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
        Work::Constructor(code, kept) => {
            if lua.load_chunk(code, c"=realtime") {
                lua.call(0, 1);
                kept.set(Some(lua.keep()));
            }
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
            if !decode::make(lua, &answer.tape, u32::from(answer.values), making, None) {
                making.stage = Stage::Parked;
                return 0;
            }
            making.stage = Stage::Called;
            i32::from(answer.values)
        }
        Work::Call(call, making) => match call {
            Call::Deliver(delivery) => call_listener(lua, delivery, making),
            Call::Condition(condition) => call_condition(lua, condition, making),
            Call::Answer(answered) => call_callback(lua, answered, making),
            Call::Gather(_) => 0, // Never comes here: its work is `Work::Window`.
            Call::Aggregate(aggregate) => call_aggregator(lua, aggregate, making),
            Call::Notice(notice) => run_notice(lua, notice, making),
        },
        Work::Window(window, making, filling) => fill_window(lua, window, making, filling),
    }
}

/// Pushes a kept function. False if a script removed it from the registry: then the Call is over without a call.
/// `[-0, +1]`, never raises.
#[inline]
fn push_function(lua: Lua, function: CallbackRef, making: &mut Making<'_>) -> bool {
    lua.push_kept(function);
    let is_function = lua.type_of(-1) == LUA_TFUNCTION;
    if !is_function {
        making.stage = Stage::Called;
    }
    is_function
}

/// Makes the one value of a tape and leaves it on top of the stack; or (false) time is out. `[-0, +1]`, **raises**.
fn make_one(lua: Lua, tape: &[u8], making: &mut Making<'_>, lane: Lane) -> bool {
    let is_made = decode::make(lua, tape, 1, making, Some(lane));
    if !is_made {
        making.stage = Stage::Parked;
    }
    is_made
}

/// Calls a listener: `callback(data, channel, meta)`. `meta` costs a table, so it is made only for a callback that can
/// see it. `[-0, +?]`, **raises**.
fn call_listener(lua: Lua, delivery: &Deliver, making: &mut Making<'_>) -> i32 {
    let event = &delivery.event;
    let lane = if delivery.is_own() { Lane::Own } else { Lane::Event };
    if !push_function(lua, delivery.callback, making) || !make_one(lua, event.tape(), making, lane) {
        return 0;
    }
    lua.push_bytes(event.channel());
    let mut arguments = 2;
    if delivery.wants_meta {
        push_meta(lua, event, delivery.is_missed());
        arguments = 3;
    }
    decode::finish(lua, making.build, lane);
    making.stage = Stage::Called;
    lua.call(arguments, 0);
    0
}

/// Pushes the table `{pattern=, raw=, missed=, server=, seq=, sent=, own=}`. An event without an origin (not sent by this
/// module) has none of the last four; `seq` is absent if the sender did not number the event, and `sent` is in seconds.
/// `[-0, +1]`, **raises**.
fn push_meta(lua: Lua, event: &Event, is_missed: bool) {
    let below = lua.top();
    if event.topic().is_pattern() {
        lua.push_bytes(b"pattern");
        lua.push_bytes(event.topic().name());
    }
    for (name, holds) in [(&b"raw"[..], event.is_raw()), (b"missed", is_missed)] {
        if holds {
            lua.push_bytes(name);
            lua.push_boolean(true);
        }
    }
    if let Some(origin) = event.origin() {
        lua.push_bytes(b"server");
        lua.push_bytes(event.server());
        if origin.seq > 0 {
            lua.push_bytes(b"seq");
            lua.push_number(origin.seq as f64);
        }
        lua.push_bytes(b"sent");
        lua.push_number(origin.sent_ms as f64 / 1000.0);
        lua.push_bytes(b"own");
        lua.push_boolean(origin.own);
    }
    // Only now: from here on no script code can run and put something else in the place of the table.
    let members = (lua.top() - below) / 2;
    lua.push_table(0, members);
    lua.insert(below + 1);
    for _ in 0..members {
        lua.raw_set(below + 1);
    }
}

/// Runs the game hook of a notice, with its arguments. `[-0, +?]`, **raises**.
fn run_notice(lua: Lua, notice: &Notice, making: &mut Making<'_>) -> i32 {
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

/// Calls the condition function of a hook: `condition(data, channel)`. Its first result is the result of this work.
/// `[-0, +?]`, **raises**.
fn call_condition(lua: Lua, condition: &Condition, making: &mut Making<'_>) -> i32 {
    let event = &condition.event;
    if !push_function(lua, condition.callback, making) || !make_one(lua, event.tape(), making, Lane::Event) {
        return 0;
    }
    lua.push_bytes(event.channel());
    decode::finish(lua, making.build, Lane::Event);
    making.stage = Stage::Called;
    lua.call(2, 1);
    1
}

/// Puts the next events of a window into its array, argument 1; makes and keeps the array if there is none yet.
/// `[-?, +?]` without results, **raises**.
fn fill_window(lua: Lua, window: &Gather, making: &mut Making<'_>, filling: &mut Filling) -> i32 {
    lua.set_top(1);
    if filling.array.is_none() {
        lua.set_top(0);
        // Room for the events of this Call only: the table of a window of thousands would be too much for one tick.
        lua.push_table(i32::try_from(window.events().len()).unwrap_or(0), 0);
        lua.push_value(1);
        filling.array = Some(lua.keep());
    }
    if lua.type_of(1) != LUA_TTABLE {
        return 0; // A script removed the array from the registry.
    }
    for event in window.events().iter().skip(filling.made) {
        match &filling.text {
            // One text was given, for one event. The caller makes the next text.
            Some(_) if filling.made > window.made => return park(making),
            Some(text) => lua.push_bytes(text),
            None if !make_one(lua, event, making, Lane::Window) => return 0,
            None => {}
        }
        lua.check_table(1);
        // The cast is safe: a window has far less than 2^31 events (`AGGREGATE_EVENTS_MAX`).
        lua.raw_set_index(1, (window.filled + filling.made) as i32 + 1);
        decode::finish(lua, making.build, Lane::Window);
        filling.made += 1;
    }
    making.stage = Stage::Called;
    0
}

/// Ends the work because time is out. No stack effect.
fn park(making: &mut Making<'_>) -> i32 {
    making.stage = Stage::Parked;
    0
}

/// Calls an aggregator's function with the array of a window, argument 1. Its first result is the result of this work.
/// `[-?, +?]`, **raises**.
fn call_aggregator(lua: Lua, aggregate: &Aggregate, making: &mut Making<'_>) -> i32 {
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

/// Calls the callback of a command with its answer: `value`, or `nil, reason`. A leaderboard has two values and is
/// called with `map, nil, ranked`, so that the second argument is the reason in every case. `[-0, +?]`, **raises**.
fn call_callback(lua: Lua, answered: &Answered, making: &mut Making<'_>) -> i32 {
    if !push_function(lua, answered.callback, making) {
        return 0;
    }
    let count = match &answered.outcome {
        Ok(answer) => {
            if !decode::make(lua, &answer.tape, u32::from(answer.values), making, Some(Lane::Answer)) {
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
    decode::finish(lua, making.build, Lane::Answer);
    making.stage = Stage::Called;
    lua.call(count, 0);
    0
}

/// Keeps the value at `index` in the registry. `None`: Lua has no memory for it. `[-0, +0]`, never raises.
pub(super) fn keep(lua: Lua, index: i32) -> Option<CallbackRef> {
    let kept = Cell::new(None);
    for _ in 0..attempts() {
        lua.push_value(SHIELD);
        lua.push_value(index);
        if run(lua, &mut Work::Keep(&kept), 1, 0, 0) {
            break;
        }
        lua.pop(1);
    }
    kept.get()
}

/// Nesting limit for calls of prelude functions that may run scripts, because these may call the module again.
/// - Each level takes part of the thread's own stack. Windows gives it 1 MiB, and Lua's own limit of C levels is
///   higher.
/// - The work is exponential: if a player's `Nick` emits an event that contains all players, each level multiplies the
///   calls by the number of players.
pub(super) const NESTED_MAX: u32 = 4;

/// Calls inside [`nested`] that have not returned. Game thread only.
static NESTED: AtomicU32 = AtomicU32::new(0);

/// Runs a function that calls Lua under pcall and through it perhaps this module again. `None`: it was not run, because
/// [`NESTED_MAX`] such calls have not returned. It must not raise; its stack effect is that of `run`.
pub(super) fn nested<T>(run: impl FnOnce() -> T) -> Option<T> {
    limited(&NESTED, NESTED_MAX, run)
}

/// Runs a function and counts it in `running` until it returns. `None`: it was not run, because `max` are running. It
/// must not raise.
#[inline]
fn limited<T>(running: &AtomicU32, max: u32, run: impl FnOnce() -> T) -> Option<T> {
    let around = running.load(Ordering::Relaxed);
    if around >= max {
        return None;
    }
    running.store(around + 1, Ordering::Relaxed);
    let done = run();
    running.store(around, Ordering::Relaxed);
    Some(done)
}
