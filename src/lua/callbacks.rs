//! The pump: takes Calls from the engine, tick by tick, and runs them in Lua.
//! Runs on the game thread. The functions of scripts run under pcall, while the engine is not locked.
//! It spends at most the tick's budget, and one callback: values that take longer to make are parked and go on in the
//! next tick. An error of a script is reported with the name of its Call; it never stops the pump.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::Instant;

use gmod::lua::State;

use crate::config::limits::PAYLOAD_BYTES_MAX;
use crate::engine::{Answered, Call, Condition, Deliver, Outcome, fits};
use crate::hooks::aggregator::Aggregator;
use crate::io::fail_point::fail_point;
use crate::json::build::{AfterError, Build, Pace, weight};
use crate::json::bytes::Bytes;
use crate::json::find;
use crate::lua::decode::{Making, Stage};
use crate::lua::encode;
use crate::lua::entry::EntryOutcome;
use crate::lua::game;
use crate::lua::process::{
    PROCESS, Process, attaches, guarded, is_attached, raise_attention, set_clock, wants_attention,
};
use crate::lua::shapes::{self, Shapes};
use crate::lua::shield::{self, Filling, Results, Work};
use crate::lua::stack::{self, LUA_TNIL, LUA_TNUMBER, LUA_TTABLE, Lua, SHIELD, upvalue};
use crate::stats::Counter;
use crate::threads::selftest::lines::Selftest;

/// The Call whose function runs now; null in between. It is read only to name the Call in an error report. Set around
/// each pcall by [`run_call`] and [`run_window`]. Game thread only.
static RUNNING_CALL: AtomicPtr<Call> = AtomicPtr::new(std::ptr::null_mut());
/// True while a tick's work goes on, so that a script cannot start another one inside it. Game thread only.
static IN_TICK: AtomicBool = AtomicBool::new(false);
/// Values between two looks at the clock at the end of the last tick ([`Pace`]), where the next tick starts. Game
/// thread only.
static EVERY: AtomicU32 = AtomicU32::new(Pace::EVERY_MAX);
/// Calls of the pump since the prelude last asked [`pumped`]. Game thread only.
static PUMPED: AtomicU32 = AtomicU32::new(0);

/// Upvalues of [`pump`] after [`SHIELD`], all functions of the prelude.
const ON_ERROR: i32 = upvalue(2);
const REPORT: i32 = upvalue(3);
const DESCRIBE: i32 = upvalue(4);
const GAME_VALUES: i32 = upvalue(5);

/// The pump: the game's timer `realtime.pump` calls it at every tick. An idle tick costs two loads and a store. It does
/// nothing if it is called inside a tick, or in a state that is not attached. Stack: `[-0, +0]`; **raises** only in an
/// older LuaJIT that has no stack left, where nothing needs dropping.
///
/// # Safety
/// Called by Lua, on the game thread.
pub(super) unsafe extern "C-unwind" fn pump(state: State) -> i32 {
    // Only this thread writes the counter, so a load and a store do: they need no locked instruction.
    PUMPED.store(PUMPED.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    if wants_attention() {
        // SAFETY: called by Lua with its running state, after `load`.
        let lua = unsafe { Lua::new(state) };
        // A script can reach this function (`debug.getupvalue`) and call it from a callback: hence `IN_TICK`.
        if lua.check_stack(stack::ROOM) && is_attached(lua) && !IN_TICK.swap(true, Ordering::Relaxed) {
            if guarded(|| run_tick(lua)).is_none() {
                // `guarded` has counted and logged the panic. The next tick continues with the next Call.
                raise_attention();
            }
            IN_TICK.store(false, Ordering::Relaxed);
        }
    }
    0
}

/// Whether the pump runs a callback of a script, or another part of a tick's work.
pub(super) fn is_in_tick() -> bool {
    IN_TICK.load(Ordering::Relaxed)
}

/// The work of one tick: releases old functions, prints waiting lines, then runs Calls until the engine has no more for
/// this tick. Not inlined, so that `scripts/bench` can count its instructions. `[-0, +0]`, never raises.
///
/// ```text
///  engine (locked)            Lua edge (engine not locked)
///  next_call ───Call────────▶ run_one: make the values, call the script's function under pcall
///  complete  ◀──Outcome──────┘
/// ```
#[inline(never)]
#[optimize(speed)]
fn run_tick(lua: Lua) {
    fail_point("pump");
    let Some(process) = PROCESS.get() else { return };
    let mut now = Instant::now();
    let (shared, deadline, released) = {
        let mut engine = process.engine();
        if !engine.is_attached() || !engine.shared().inbox.take_attention() {
            return;
        }
        let (deadline, released) = engine.begin_tick(now);
        (Arc::clone(engine.shared()), deadline, released)
    };
    released.into_iter().for_each(|function| lua.release(function));
    print_lines(lua, process, &shared.selftest);
    game::tell(lua, GAME_VALUES, &shared.webhooks.desk);
    let (mut finished, mut scratch) = (None, Build::new());
    let mut pace = Pace::new(now, deadline, EVERY.load(Ordering::Relaxed));
    let mut shapes = shapes::take();
    let attached = attaches();
    loop {
        let call = {
            // The engine is locked in this block only: a callback may call any function of `realtime`.
            let mut engine = process.engine();
            if let Some((call, outcome)) = finished.take() {
                engine.complete(call, outcome);
            }
            // If a callback began another state, the next Call is for that one, and its pump has to take it.
            if attaches() == attached { engine.next_call(now) } else { None }
        };
        let Some(mut call) = call else {
            EVERY.store(pace.every(), Ordering::Relaxed);
            shapes::put_back(shapes);
            return;
        };
        let outcome = run_one(lua, &mut call, &mut Tools { pace: &mut pace, shapes: &mut shapes }, &mut scratch);
        finished = Some((call, outcome));
        now = Instant::now();
        pace.restart(now);
    }
}

/// Prints the waiting lines of the text log, and those of a self-test on the console that asked for it. Not inlined, as
/// the work of a tick is built for speed and this need not be.
#[inline(never)]
fn print_lines(lua: Lua, process: &Process, selftest: &Selftest) {
    while let Some(line) = process.console.try_recv() {
        print_line(lua, &line, false);
    }
    while let Some(line) = selftest.pop() {
        print_line(lua, &line, true);
    }
}

/// Prints one line with the prelude's `say`. `[-0, +0]`, never raises.
fn print_line(lua: Lua, line: &str, for_asker: bool) {
    lua.push_value(SHIELD);
    if !shield::run(lua, &mut Work::Line(line, for_asker), 0, 0, 0) {
        lua.pop(1); // The script environment has no working `print`. Lines of the log are in the log file anyway.
    }
}

/// The means of one tick to make values: its time, and the constructors of tables.
struct Tools<'a> {
    pace: &'a mut Pace,
    shapes: &'a mut Shapes,
}

/// Runs a Call as far as the tick allows. `scratch` is an empty build for values that are made in one go; it is empty
/// again afterwards. A Call that was begun in an earlier tick brings its own build. The edge releases the callback of
/// an answer and the array of a window, once they are called. `[-0, +0]`, never raises.
fn run_one(lua: Lua, call: &mut Call, tools: &mut Tools<'_>, scratch: &mut Build) -> Outcome {
    let built = match call {
        Call::Gather(_) => return run_window(lua, call, tools, scratch),
        Call::Deliver(Deliver { build, .. })
        | Call::Condition(Condition { build, .. })
        | Call::Answer(Answered { build, .. }) => build.take(),
        Call::Notice(_) | Call::Aggregate(_) => None,
    };
    let goes_on = built.is_some();
    if let Some(built) = built {
        *scratch = *built;
    }
    tools.shapes.begin();
    let outcome = run_call(lua, call, scratch, tools);
    if goes_on && outcome != Outcome::Parked {
        scratch.clear();
    }
    match (call, &outcome) {
        (call, Outcome::Parked | Outcome::Slow(_)) => keep_build(call, scratch),
        (Call::Answer(answered), _) => lua.release(answered.callback),
        (Call::Aggregate(aggregate), _) => lua.release(aggregate.array),
        _ => {}
    }
    outcome
}

/// Stores the build in its Call, because the engine gives the Call out again in a later tick.
#[cold]
fn keep_build(call: &mut Call, scratch: &mut Build) {
    if let Call::Deliver(Deliver { build, .. })
    | Call::Condition(Condition { build, .. })
    | Call::Answer(Answered { build, .. }) = call
    {
        *build = Some(Box::new(std::mem::take(scratch)));
    }
}

/// Runs a Call other than [`Call::Gather`]. It loops only to repeat after an error of Lua's memory. `[-0, +0]`, never
/// raises.
#[inline]
fn run_call(lua: Lua, call: &Call, build: &mut Build, tools: &mut Tools<'_>) -> Outcome {
    let top = lua.top();
    let asks = matches!(call, Call::Condition(_) | Call::Aggregate(_));
    loop {
        let mut making = Making::new(build, tools.pace, Some(tools.shapes));
        RUNNING_CALL.store(std::ptr::from_ref(call).cast_mut(), Ordering::Relaxed);
        lua.push_value(ON_ERROR);
        lua.push_value(SHIELD);
        let mut arguments = 0;
        if let Call::Aggregate(aggregate) = call {
            lua.push_kept(aggregate.array);
            arguments = 1;
        }
        let done = shield::run(lua, &mut Work::Call(call, &mut making), arguments, i32::from(asks), top + 1);
        let stage = making.stage;
        let mut outcome = Outcome::Done;
        if !done {
            report_unreported(lua);
        } else if asks {
            outcome = match call {
                Call::Condition(_) => Outcome::Holds(lua.boolean(-1)),
                _ => aggregator_result(lua),
            };
        }
        RUNNING_CALL.store(std::ptr::null_mut(), Ordering::Relaxed);
        lua.set_top(top);
        if tools.shapes.has_missed()
            && let Call::Deliver(Deliver { event, .. }) | Call::Condition(Condition { event, .. }) = call
        {
            learn(lua, tools.shapes, event.tape());
        }
        if done && stage == Stage::Called {
            return outcome;
        }
        if let Some(outcome) = unfinished(call, build, tools.pace, done, stage) {
            return outcome;
        }
    }
}

/// Lets the shapes learn from the tape of a Call, and compiles the constructor that they want. `[-0, +0]`, never raises.
#[cold]
fn learn(lua: Lua, shapes: &mut Shapes, tape: &[u8]) {
    let Some((place, code)) = shapes.learn(lua, tape) else { return };
    let kept = Cell::new(None);
    lua.push_value(SHIELD);
    if !shield::run(lua, &mut Work::Constructor(&code, &kept), 0, 0, 0) {
        lua.pop(1); // Lua has no memory: tables of this shape are made member by member.
    }
    if let Some(constructor) = kept.get() {
        shapes.compiled(place, constructor);
    }
}

/// Reports the error on top of the stack, unless the message handler has done so: the handler returns `true` then.
/// Without memory, or after an error in the handler itself, Lua leaves a string. `[-0, +?]`, never raises; the caller
/// resets the stack.
#[cold]
fn report_unreported(lua: Lua) {
    if lua.string(-1).is_some() {
        lua.push_value(REPORT);
        lua.push_value(-2);
        lua.pcall(1, 0, 0);
    }
}

/// The outcome of a Call whose function was not called to its end; `None`: try again at once. `done` is the result of
/// the pcall.
///
/// ```text
///  done   stage           meaning                                  outcome
///  true   Parked          time is out                              Parked, or Slow after too long
///  false  Making, Parked  no memory, or the `__gc` of a script     again, or Failed after too many errors
///  false  Called          the function raised an error             Failed
///  true   Making          a script replaced `perform`              Failed
/// ```
#[cold]
fn unfinished(call: &Call, build: &mut Build, pace: &mut Pace, done: bool, stage: Stage) -> Option<Outcome> {
    match (done, stage) {
        (true, Stage::Parked) => return Some(parked(call, build, pace)),
        // The values made so far are kept, and the build goes on from there.
        (false, Stage::Making | Stage::Parked) if build.after_error() == AfterError::GoOn => return None,
        // The last two rows of the table, and builds that are given up.
        _ => {}
    }
    build.clear();
    Some(Outcome::Failed)
}

/// The outcome of a Call whose values were not ready in time: later ticks go on with it. If the values take too long
/// for their number (strings made to collide do that to LuaJIT), the function gets the payload's text instead, and the
/// callback of an answer gets a reason.
fn parked(call: &Call, build: &mut Build, pace: &mut Pace) -> Outcome {
    if !build.spend(pace.take_made()) {
        return Outcome::Parked;
    }
    Outcome::Slow(match call {
        Call::Deliver(Deliver { event, .. }) | Call::Condition(Condition { event, .. }) => text_of(event.tape()),
        _ => b"timeout: Lua takes too long to make the answer; ask for less of it".to_vec(),
    })
}

/// The value of a tape as JSON text.
fn text_of(tape: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(tape.len());
    if let Some(whole) = find::whole(tape) {
        whole.push_json(&mut text);
    }
    text
}

/// Runs a [`Call::Gather`]: puts events of an aggregator's window into its array, as far as the tick allows. If the
/// values of a window take too long, its other events are put in as text, one in each round of the loop. `[-0, +0]`,
/// never raises.
#[inline(never)]
fn run_window(lua: Lua, call: &mut Call, tools: &mut Tools<'_>, build: &mut Build) -> Outcome {
    let Tools { pace, shapes } = tools;
    let top = lua.top();
    if let Call::Gather(gather) = call
        && let Some(built) = gather.build.take()
    {
        *build = *built;
    }
    loop {
        let Call::Gather(gather) = &*call else { return Outcome::Failed };
        let text = gather.events().get(gather.made).filter(|_| gather.is_slow).map(|event| text_of(event));
        let bytes = text.as_ref().map_or(0, Vec::len);
        let mut filling = Filling { array: gather.array, made: gather.made, text };
        let mut making = Making::new(build, pace, Some(shapes));
        RUNNING_CALL.store(std::ptr::from_ref(call).cast_mut(), Ordering::Relaxed);
        lua.push_value(ON_ERROR);
        lua.push_value(SHIELD);
        if let Some(array) = gather.array {
            lua.push_kept(array);
        }
        let arguments = i32::from(gather.array.is_some());
        let mut work = Work::Window(gather, &mut making, &mut filling);
        let done = shield::run(lua, &mut work, arguments, 0, top + 1);
        let stage = making.stage;
        if !done {
            report_unreported(lua);
        }
        RUNNING_CALL.store(std::ptr::null_mut(), Ordering::Relaxed);
        lua.set_top(top);
        let Call::Gather(gather) = &mut *call else { return Outcome::Failed };
        if gather.is_slow && filling.made > gather.made {
            raw_slow().iter().for_each(|count| count.add(1));
        }
        (gather.array, gather.made) = (filling.array, filling.made);
        let outcome = match (done, stage, gather.array) {
            (true, Stage::Called, Some(array)) => Some(Outcome::Gathered(array)),
            (true, Stage::Parked, _) if gather.is_slow => {
                pace.is_over(weight(bytes), Instant::now).then_some(Outcome::Parked)
            }
            (true, Stage::Parked, _) if build.spend(pace.take_made()) => {
                gather.is_slow = true;
                build.restart();
                None
            }
            (true, Stage::Parked, _) => Some(Outcome::Parked),
            (false, Stage::Making | Stage::Parked, _) if build.after_error() == AfterError::GoOn => None,
            _ => Some(Outcome::Failed),
        };
        match outcome {
            None => {}
            Some(Outcome::Parked) => {
                gather.build = Some(Box::new(std::mem::take(build)));
                return Outcome::Parked;
            }
            Some(outcome) => {
                if outcome == Outcome::Failed {
                    gather.array.take().into_iter().for_each(|array| lua.release(array));
                }
                build.clear();
                return outcome;
            }
        }
    }
}

/// The counter of payloads that Lua got as text, because their values took too long to make.
fn raw_slow() -> Option<&'static Counter> {
    PROCESS.get().map(|process| &process.stats.raw_slow)
}

/// The result of an aggregator's function, on top of the stack, as the JSON of the event for its actions. Nil means no
/// event. Any type but nil and table is an error of the script and is reported as one. `[-0, +?]`, never raises; the
/// caller resets the stack.
#[inline(never)]
fn aggregator_result(lua: Lua) -> Outcome {
    let kind = lua.type_of(-1);
    if kind == LUA_TNIL {
        return Outcome::Done;
    }
    let mut payload = Bytes::default();
    let encoded = match kind {
        LUA_TTABLE => encode::push_json(lua, lua.top(), DESCRIBE, &mut payload).map_err(|err| err.to_string()),
        _ => Err(format!("it returned a {}, expected a table or nil", Lua::type_name(kind))),
    };
    let checked = encoded.and_then(|non_finite| {
        fits("payload", &payload, PAYLOAD_BYTES_MAX).map_err(|refusal| refusal.to_string())?;
        Ok(non_finite)
    });
    match checked {
        Ok(non_finite) => {
            if let Some(process) = PROCESS.get() {
                process.stats.non_finite.add(non_finite);
            }
            Outcome::Sum(payload.into_vec())
        }
        Err(reason) => {
            lua.push_value(SHIELD);
            if !shield::run(lua, &mut Work::Report(&reason), 0, 0, 0) {
                log::error!("{}: {reason}", running_call()); // The script environment has no working error report.
            }
            Outcome::Failed
        }
    }
}

/// The name of an aggregator in an error report.
fn aggregator_name(aggregator: &Aggregator) -> String {
    let (id, channel) = (&aggregator.id, aggregator.topic.name());
    format!("aggregator `{}` of `{}`", String::from_utf8_lossy(id), String::from_utf8_lossy(channel))
}

fn push_context(_: Lua) -> EntryOutcome {
    EntryOutcome::Results(Results::Text(crate::io::text_log::escaped(&running_call()).into_bytes().into()))
}

/// The name of the running Call in an error report; `pump` if there is none.
fn running_call() -> String {
    // SAFETY: not null only while `run_call` or `run_window` runs a pcall; they borrow the call for that long, and
    // nothing changes it meanwhile.
    match unsafe { RUNNING_CALL.load(Ordering::Relaxed).as_ref() } {
        Some(Call::Notice(notice)) => format!("game hook `{}`", notice.hook()),
        Some(Call::Condition(condition)) => format!(
            "condition of hook `{}`, event on `{}`",
            String::from_utf8_lossy(&condition.undecided.hook.id),
            String::from_utf8_lossy(condition.event.channel()),
        ),
        Some(Call::Gather(gather)) => aggregator_name(gather.aggregator()),
        Some(Call::Aggregate(aggregate)) => aggregator_name(&aggregate.due.aggregator),
        Some(Call::Answer(answered)) => {
            format!("callback of {} `{}`", answered.operation, String::from_utf8_lossy(&answered.target))
        }
        Some(Call::Deliver(delivery)) => format!(
            "listener `{}` of `{}`, event on `{}`",
            String::from_utf8_lossy(&delivery.id),
            String::from_utf8_lossy(delivery.event.topic().name()),
            String::from_utf8_lossy(delivery.event.channel()),
        ),
        None => "pump".to_owned(),
    }
}

entry! {
    /// For the prelude: the name of the running Call in an error report.
    context, push_context
}

fn push_pumped(lua: Lua) -> EntryOutcome {
    if lua.type_of(1) == LUA_TNUMBER
        && let Some(process) = PROCESS.get()
    {
        set_clock(process, lua.number(1));
    }
    lua.push_number(f64::from(PUMPED.swap(0, Ordering::Relaxed)));
    EntryOutcome::OnStack(1)
}

entry! {
    /// For the prelude: how often the pump ran since the last call of this function. Zero means that the timer is gone. The
    /// argument, if there is one, is the machine's distance from UTC in seconds.
    pumped, push_pumped
}
