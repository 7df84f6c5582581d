//! Opens the module in a Lua state, and runs the engine's Calls in it, tick by tick.
//! Game thread. Every script's function runs under pcall with nothing of the engine borrowed.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::Instant;

use gmod::lua::State;

use crate::config::limits::PAYLOAD_BYTES_MAX;
use crate::engine::{Answered, Call, Condition, Deliver, Outcome, fits};
use crate::hooks::aggregator::Aggregator;
use crate::io::fail_point::fail_point;
use crate::json::build::{AfterError, Build, Pace, weight};
use crate::json::find;
use crate::lua::shield::{self, Filling, Making, Stage, Work};
use crate::lua::stack::{Answer, LUA_TNIL, LUA_TNUMBER, LUA_TTABLE, Line, Lua, Results, SHIELD, upvalue};
use crate::lua::{
    PROCESS, Process, api, guarded, is_attached, json, never_unmap, raise_attention, set_attached, stack, start,
    wants_attention,
};
use crate::stats::Counter;
use crate::threads::selftest::lines::Selftest;

/// The call under way, for [`context`] alone. Set around each pcall by [`run_one`]; game thread only.
static UNDER_WAY: AtomicPtr<Call> = AtomicPtr::new(std::ptr::null_mut());
/// A tick's work is going on; game thread only.
static IN_TICK: AtomicBool = AtomicBool::new(false);
/// Values between two looks at the clock, as the last tick had it ([`Pace`]); game thread only.
static EVERY: AtomicU32 = AtomicU32::new(Pace::EVERY_MAX);
/// Pumps since the prelude last asked; game thread only.
static PUMPED: AtomicU32 = AtomicU32::new(0);

/// `gmod13_open`: nothing is registered yet, so this cannot be an `entry!`.
///
/// # Safety
/// `state` is the calling Lua state, on the game thread.
pub(super) unsafe fn open(state: State) -> i32 {
    // SAFETY: as this function's own contract.
    let loaded = guarded(|| unsafe { stack::load(state) });
    if !matches!(loaded, Some(Ok(()))) {
        // Without the Lua library there is no way to say so in Lua, and no log yet.
        let reason = loaded.and_then(Result::err).unwrap_or_else(|| "internal error".to_owned());
        let _ = writeln!(std::io::stderr(), "[realtime] cannot use the Lua library of this game: {reason}");
        return 0;
    }
    never_unmap();
    // SAFETY: `load` succeeded, and the entry was called with `state`.
    let lua = unsafe { Lua::new(state) };
    if !lua.check_stack(8) {
        return 0;
    }
    lua.push_function(set_up, 0);
    match lua.pcall(0, 0, 0) {
        true => 0,
        false => lua.raise_top(),
    }
}

/// Registers everything in this state. Runs under pcall and owns nothing: it may raise anywhere.
unsafe extern "C-unwind" fn set_up(state: State) -> i32 {
    // SAFETY: called by `open` through pcall, after `load`.
    let lua = unsafe { Lua::new(state) };
    if is_attached(lua) {
        return 0;
    }
    if !lua.check_stack(40) {
        return lua.raise(b"stack overflow");
    }
    // Whatever state was attached before: nothing of it is for this one.
    set_attached(None);
    let port = host_port(lua);
    // What went wrong, if anything did.
    let trouble = guarded(|| match start(port) {
        Ok(process) => {
            fail_point("open");
            process.engine().attach();
            None
        }
        Err(message) => Some(Line::of(&message)),
    });
    match trouble {
        Some(None) => {}
        Some(Some(line)) => return lua.raise(line.as_bytes()),
        None => return lua.raise(b"internal error while realtime starts"),
    }
    lua.set_top(0);
    if !lua.load_chunk(include_str!("prelude.lua"), c"=realtime") {
        return lua.raise_top();
    }
    // `context`, `pumped` and their like come before what the prelude returns: their shield has to do without it.
    lua.push_function(shield::perform, 0);
    for (at, function) in (3..).zip([context, pumped, api::report, api::begin_selftest, api::reload]) {
        lua.push_value(2);
        lua.push_function(function, 1);
        debug_assert_eq!(lua.top(), at);
    }
    lua.push_value(1);
    lua.insert(3);
    lua.call(5, 8);
    let [on_error, report, say, describe, takes_meta, strip, notify, start] = [3, 4, 5, 6, 7, 8, 9, 10];
    for upvalue in [notify, say, report] {
        lua.push_value(upvalue);
    }
    json::push_kept_table(lua);
    lua.push_function(shield::perform, 4);
    let shield = start + 1;
    api::register(lua, shield, describe, takes_meta, strip);
    // start(pump): the pump's upvalues are what it calls.
    lua.push_value(start);
    for upvalue in [shield, on_error, report, describe] {
        lua.push_value(upvalue);
    }
    lua.push_function(pump, 4);
    lua.call(1, 0);
    set_attached(Some(lua));
    0
}

/// The game's port, by its console variable: part of the server's default name.
fn host_port(lua: Lua) -> u16 {
    let chunk = "local port = GetConVar(\"hostport\") return port and port:GetInt()";
    let known = lua.load_chunk(chunk, c"=realtime") && lua.pcall(0, 1, 0) && lua.type_of(-1) == LUA_TNUMBER;
    // Saturates, and a port is no fraction.
    let port = if known { lua.number(-1) as u16 } else { 27015 };
    lua.pop(1);
    port
}

/// Upvalues of [`pump`], beside [`SHIELD`].
const ON_ERROR: i32 = upvalue(2);
const REPORT: i32 = upvalue(3);
const DESCRIBE: i32 = upvalue(4);

/// Called by the game's timer at every tick. An idle tick costs two loads and a store.
unsafe extern "C-unwind" fn pump(state: State) -> i32 {
    // One thread writes it, so it needs no locked instruction.
    PUMPED.store(PUMPED.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    if wants_attention() {
        // SAFETY: called by Lua with its running state, after `load`.
        let lua = unsafe { Lua::new(state) };
        // A script can get hold of this function, and call it from a callback.
        if lua.check_stack(stack::ROOM) && is_attached(lua) && !IN_TICK.swap(true, Ordering::Relaxed) {
            if guarded(|| run_tick(lua)).is_none() {
                // The panic was counted and logged; the next tick goes on with the next call.
                raise_attention();
            }
            IN_TICK.store(false, Ordering::Relaxed);
        }
    }
    0
}

/// Not inlined, so that `scripts/bench` can count its instructions.
#[inline(never)]
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
    let (mut finished, mut scratch) = (None, Build::new());
    let mut pace = Pace::new(now, deadline, EVERY.load(Ordering::Relaxed));
    loop {
        let call = {
            // The engine is borrowed in this block only: a callback may call anything of `realtime`.
            let mut engine = process.engine();
            if let Some((call, outcome)) = finished.take() {
                engine.complete(call, outcome);
            }
            engine.next_call(now)
        };
        let Some(mut call) = call else {
            EVERY.store(pace.every(), Ordering::Relaxed);
            return;
        };
        let outcome = run_one(lua, &mut call, &mut pace, &mut scratch);
        finished = Some((call, outcome));
        now = Instant::now();
        pace.restart(now);
    }
}

/// Lines of the text log for the console, and those of a self-test for who asked.
fn print_lines(lua: Lua, process: &Process, selftest: &Selftest) {
    while let Ok(line) = process.console.try_recv() {
        print_line(lua, &line, false);
    }
    while let Some(line) = selftest.pop() {
        print_line(lua, &line, true);
    }
}

fn print_line(lua: Lua, line: &str, for_asker: bool) {
    lua.push_value(SHIELD);
    if !shield::run(lua, &mut Work::Line(line, for_asker), 0, 0, 0) {
        lua.pop(1); // The script environment has no working `print`; the log file has what is of the log.
    }
}

/// Runs a call as far as the tick allows. `scratch` is clear, for values that are made in one go, and clear afterwards.
fn run_one(lua: Lua, call: &mut Call, pace: &mut Pace, scratch: &mut Build) -> Outcome {
    let built = match call {
        Call::Gather(_) => return run_window(lua, call, pace, scratch),
        Call::Deliver(Deliver { build, .. })
        | Call::Condition(Condition { build, .. })
        | Call::Answer(Answered { build, .. }) => build.take(),
        Call::Notice(_) | Call::Aggregate(_) => None,
    };
    let goes_on = built.is_some();
    if let Some(built) = built {
        *scratch = *built;
    }
    let began = pace.looked();
    let outcome = run_call(lua, call, scratch, pace, began);
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

/// The call comes again, and goes on from here.
#[cold]
fn keep_build(call: &mut Call, scratch: &mut Build) {
    if let Call::Deliver(Deliver { build, .. })
    | Call::Condition(Condition { build, .. })
    | Call::Answer(Answered { build, .. }) = call
    {
        *build = Some(Box::new(std::mem::take(scratch)));
    }
}

/// Runs a call that is no window.
#[inline]
fn run_call(lua: Lua, call: &Call, build: &mut Build, pace: &mut Pace, began: Instant) -> Outcome {
    let top = lua.top();
    let asks = matches!(call, Call::Condition(_) | Call::Aggregate(_));
    loop {
        let mut making = Making::new(build, pace);
        UNDER_WAY.store(std::ptr::from_ref(call).cast_mut(), Ordering::Relaxed);
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
                _ => sum_on_top(lua),
            };
        }
        UNDER_WAY.store(std::ptr::null_mut(), Ordering::Relaxed);
        lua.set_top(top);
        if done && stage == Stage::Called {
            return outcome;
        }
        if let Some(outcome) = unfinished(call, build, pace, began, done, stage) {
            return outcome;
        }
    }
}

/// The handler returns `true` when it has reported an error; what Lua leaves without it is a text.
#[cold]
fn report_unreported(lua: Lua) {
    if lua.string(-1).is_some() {
        lua.push_value(REPORT);
        lua.push_value(-2);
        lua.pcall(1, 0, 0);
    }
}

/// What becomes of a call that did not end with its function; `None`: it goes on at once.
#[cold]
fn unfinished(
    call: &Call,
    build: &mut Build,
    pace: &mut Pace,
    began: Instant,
    done: bool,
    stage: Stage,
) -> Option<Outcome> {
    match (done, stage) {
        (true, Stage::Parked) => return Some(parked(call, build, pace, began)),
        // No memory, or the `__gc` of a script: what was made stands.
        (false, Stage::Making | Stage::Parked) if build.after_error() == AfterError::GoOn => return None,
        // The function raised an error, or a script put another one in the place of ours.
        _ => {}
    }
    build.clear();
    Some(Outcome::Failed)
}

/// Time was out while the values of a call were made.
fn parked(call: &Call, build: &mut Build, pace: &mut Pace, began: Instant) -> Outcome {
    if !build.spend(pace.counted(began), pace.take_made()) {
        return Outcome::Parked;
    }
    Outcome::Slow(match call {
        Call::Deliver(Deliver { event, .. }) | Call::Condition(Condition { event, .. }) => text_of(event.tape()),
        _ => b"timeout: the answer takes Lua too long; ask for less of it".to_vec(),
    })
}

/// The JSON text of a tape.
fn text_of(tape: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(tape.len());
    if let Some(whole) = find::whole(tape) {
        whole.push_json(&mut text);
    }
    text
}

/// Puts events of a window into its array, as far as the tick allows. What is left of a window that takes too long is
/// put in as text, an event at a time.
fn run_window(lua: Lua, call: &mut Call, pace: &mut Pace, build: &mut Build) -> Outcome {
    let (began, top) = (pace.looked(), lua.top());
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
        let mut making = Making::new(build, pace);
        UNDER_WAY.store(std::ptr::from_ref(call).cast_mut(), Ordering::Relaxed);
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
        UNDER_WAY.store(std::ptr::null_mut(), Ordering::Relaxed);
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
            (true, Stage::Parked, _) if build.spend(pace.counted(began), pace.take_made()) => {
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

/// The counter of payloads delivered as text because they were slow.
fn raw_slow() -> Option<&'static Counter> {
    PROCESS.get().map(|process| &process.stats.raw_slow)
}

/// What an aggregator's function returned, as the event for its actions. What is no table, nor nil, is an error of the
/// script, and reported as one.
fn sum_on_top(lua: Lua) -> Outcome {
    let kind = lua.type_of(-1);
    if kind == LUA_TNIL {
        return Outcome::Done;
    }
    let mut payload = Vec::new();
    let encoded = match kind {
        LUA_TTABLE => json::encode(lua, lua.top(), DESCRIBE, &mut payload).map_err(|err| err.to_string()),
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
            Outcome::Sum(payload)
        }
        Err(reason) => {
            lua.push_value(SHIELD);
            if !shield::run(lua, &mut Work::Report(&reason), 0, 0, 0) {
                log::error!("{}: {reason}", under_way()); // The script environment has nothing to report it with.
            }
            Outcome::Failed
        }
    }
}

fn aggregator_name(aggregator: &Aggregator) -> String {
    let (id, channel) = (&aggregator.id, aggregator.topic.name());
    format!("aggregator `{}` of `{}`", String::from_utf8_lossy(id), String::from_utf8_lossy(channel))
}

fn push_context(_: Lua) -> Answer {
    Answer::Results(Results::Text(crate::io::text_log::escaped(&under_way()).into_bytes().into()))
}

/// What is being called, as an error report names it.
fn under_way() -> String {
    // SAFETY: set by `run_one` to a call that it borrows while scripts run, and null otherwise.
    match unsafe { UNDER_WAY.load(Ordering::Relaxed).as_ref() } {
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
    /// For the prelude: what is being called, as an error report names it.
    context, push_context
}

fn push_pumped(lua: Lua) -> Answer {
    lua.push_number(f64::from(PUMPED.swap(0, Ordering::Relaxed)));
    Answer::Values(1)
}

entry! {
    /// For the prelude: how often the pump ran since this was asked last.
    pumped, push_pumped
}
