//! Opens the module in a Lua state, and runs the engine's Calls in it, tick by tick.
//! Game thread. Every script's function runs under pcall with nothing of the engine borrowed.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::Instant;

use gmod::lua::State;

use crate::aggregator::Aggregator;
use crate::config::PAYLOAD_BYTES_MAX;
use crate::engine::registry::CallbackRef;
use crate::engine::{Aggregate, Answered, Call, Condition, Deliver, Gather, Outcome, fits};
use crate::event::Event;
use crate::fail_point::fail_point;
use crate::json::tape::Reader;
use crate::lua::stack::{Answer, LUA_TFUNCTION, LUA_TNIL, LUA_TNUMBER, LUA_TTABLE, Lua, upvalue};
use crate::lua::{PROCESS, Process, api, guarded, json, never_unmap, raise_attention, stack, start, wants_attention};
use crate::notice::{Argument, Notice};
use crate::threads::selftest::Selftest;

/// The call under way, for [`context`] alone. Set around each pcall by [`run_one`]; game thread only.
static UNDER_WAY: AtomicPtr<Call> = AtomicPtr::new(std::ptr::null_mut());
/// Pumps since the prelude last asked; game thread only.
static PUMPED: AtomicU32 = AtomicU32::new(0);

/// The name under which a state's registry tells that this module is open in it.
const OPEN_MARK: &[u8] = b"realtime.open";

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
    if is_open(lua) {
        return 0;
    }
    let port = host_port(lua);
    let ready = guarded(|| match start(port) {
        Ok(process) => {
            fail_point("open");
            process.engine().attach();
            true
        }
        Err(message) => {
            lua.push_bytes(message.as_bytes());
            false
        }
    });
    match ready {
        Some(true) => {}
        Some(false) => return lua.raise_top(),
        None => return lua.raise(b"internal error while realtime starts"),
    }
    lua.set_top(0);
    if !lua.load_chunk(include_str!("prelude.lua"), c"=realtime") {
        return lua.raise_top();
    }
    lua.push_function(context, 0);
    lua.push_function(pumped, 0);
    lua.push_function(api::report, 0);
    lua.push_function(api::begin_selftest, 0);
    lua.push_function(api::reload, 0);
    lua.call(5, 8);
    let [on_error, report, say, describe, takes_meta, strip, notify, start] = [1, 2, 3, 4, 5, 6, 7, 8];
    api::register(lua, describe, takes_meta, strip);
    // start(pump): the pump's upvalues are what it calls.
    lua.push_value(start);
    lua.push_value(on_error);
    lua.push_value(report);
    lua.push_value(say);
    lua.push_function(deliver, 0);
    lua.push_value(notify);
    lua.push_function(tell, 1);
    lua.push_function(respond, 0);
    lua.push_function(decide, 0);
    lua.push_function(gather, 0);
    lua.push_function(sum_up, 0);
    lua.push_value(describe);
    lua.push_function(pump, 10);
    lua.call(1, 0);
    lua.push_registry();
    lua.push_bytes(OPEN_MARK);
    lua.push_boolean(true);
    lua.raw_set(-3);
    0
}

fn is_open(lua: Lua) -> bool {
    lua.push_registry();
    lua.push_bytes(OPEN_MARK);
    lua.raw_get(-2);
    let open = lua.type_of(-1) != LUA_TNIL;
    lua.pop(2);
    open
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

/// Upvalues of [`pump`].
const ON_ERROR: i32 = upvalue(1);
const REPORT: i32 = upvalue(2);
const SAY: i32 = upvalue(3);
const DELIVER: i32 = upvalue(4);
const TELL: i32 = upvalue(5);
const RESPOND: i32 = upvalue(6);
const DECIDE: i32 = upvalue(7);
const GATHER: i32 = upvalue(8);
const SUM_UP: i32 = upvalue(9);
const DESCRIBE: i32 = upvalue(10);

/// Called by the game's timer at every tick. An idle tick costs two loads and a store.
unsafe extern "C-unwind" fn pump(state: State) -> i32 {
    // One thread writes it, so it needs no locked instruction.
    PUMPED.store(PUMPED.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    if wants_attention() {
        // SAFETY: called by Lua with its running state, after `load`.
        let lua = unsafe { Lua::new(state) };
        if lua.check_stack(stack::ROOM) && guarded(|| run_tick(lua)).is_none() {
            // The panic was counted and logged; the next tick goes on with the next call.
            raise_attention();
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
    let (shared, released) = {
        let mut engine = process.engine();
        if !engine.is_attached() || !engine.shared().inbox.take_attention() {
            return;
        }
        let released = engine.begin_tick(now);
        (Arc::clone(engine.shared()), released)
    };
    released.into_iter().for_each(|function| lua.release(function));
    print_lines(lua, process, &shared.selftest);
    let mut finished = None;
    loop {
        let call = {
            // The engine is borrowed in this block only: a callback may call anything of `realtime`.
            let mut engine = process.engine();
            if let Some((call, outcome)) = finished.take() {
                engine.complete(call, outcome);
            }
            engine.next_call(now)
        };
        let Some(call) = call else { return };
        let outcome = run_one(lua, &call);
        finished = Some((call, outcome));
        now = Instant::now();
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
    lua.push_value(SAY);
    lua.push_bytes(line.as_bytes());
    lua.push_boolean(for_asker);
    if !lua.pcall(2, 0, 0) {
        lua.pop(1); // The script environment has no working `print`; the log file has what is of the log.
    }
}

fn run_one(lua: Lua, call: &Call) -> Outcome {
    let top = lua.top();
    let array = array_of(lua, call);
    let (function, subject) = match call {
        Call::Gather(gather) => (GATHER, std::ptr::from_ref(gather).cast::<std::ffi::c_void>()),
        Call::Aggregate(aggregate) => (SUM_UP, std::ptr::from_ref(aggregate).cast()),
        Call::Deliver(delivery) => (DELIVER, std::ptr::from_ref(delivery).cast()),
        Call::Notice(notice) => (TELL, std::ptr::from_ref(notice).cast()),
        Call::Answer(answered) => (RESPOND, std::ptr::from_ref(answered).cast()),
        Call::Condition(condition) => (DECIDE, std::ptr::from_ref(condition).cast()),
    };
    UNDER_WAY.store(std::ptr::from_ref(call).cast_mut(), Ordering::Relaxed);
    lua.push_value(ON_ERROR);
    lua.push_value(function);
    lua.push_pointer(subject.cast_mut());
    let mut arguments = 1;
    if let Some(array) = array {
        lua.push_kept(array);
        arguments = 2;
    }
    let asks = matches!(call, Call::Condition(_) | Call::Aggregate(_));
    let done = lua.pcall(arguments, i32::from(asks), top + 1);
    // The handler returns `true` when it has reported; what Lua leaves without it is a text.
    if !done && lua.string(-1).is_some() {
        lua.push_value(REPORT);
        lua.push_value(-2);
        lua.pcall(1, 0, 0);
    }
    let outcome = match (done, call, array) {
        (false, ..) => Outcome::Failed,
        (true, Call::Condition(_), _) => Outcome::Holds(lua.boolean(-1)),
        (true, Call::Aggregate(_), _) => sum_on_top(lua),
        (true, Call::Gather(_), Some(array)) => Outcome::Gathered(array),
        (true, ..) => Outcome::Done,
    };
    lua.set_top(top);
    UNDER_WAY.store(std::ptr::null_mut(), Ordering::Relaxed);
    match call {
        Call::Answer(answered) => lua.release(answered.callback),
        Call::Gather(_) if done => {}
        Call::Gather(_) | Call::Aggregate(_) => array.into_iter().for_each(|array| lua.release(array)),
        _ => {}
    }
    outcome
}

/// The array of a window: the one that is kept, or a new one, kept from now on.
fn array_of(lua: Lua, call: &Call) -> Option<CallbackRef> {
    match call {
        Call::Gather(gather) => Some(gather.array.unwrap_or_else(|| {
            // As many as come at once: a window of thousands must not cost its first Call a huge table.
            lua.push_table(i32::try_from(gather.events().len()).unwrap_or(0), 0);
            lua.keep()
        })),
        Call::Aggregate(aggregate) => Some(aggregate.array),
        _ => None,
    }
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
            lua.push_value(REPORT);
            lua.push_bytes(reason.as_bytes());
            lua.pcall(1, 0, 0);
            Outcome::Failed
        }
    }
}

/// Builds the arguments and calls the listener; runs under the pcall of [`run_one`]. Owns nothing: an error of
/// the callback passes through this frame.
unsafe extern "C-unwind" fn deliver(state: State) -> i32 {
    // SAFETY: called by `run_one` through pcall.
    let lua = unsafe { Lua::new(state) };
    // SAFETY: the argument is the delivery that `run_one` borrows until its pcall returns; only it has this function,
    // as an upvalue of the pump.
    let Some(delivery) = (unsafe { lua.userdata(1).cast::<Deliver>().as_ref() }) else { return 0 };
    lua.push_kept(delivery.callback);
    if lua.type_of(-1) != LUA_TFUNCTION {
        return 0;
    }
    let event = &delivery.event;
    json::push(lua, &mut Reader::new(event.tape()));
    lua.push_bytes(event.channel());
    let mut arguments = 2;
    if delivery.wants_meta {
        push_meta(lua, event);
        arguments = 3;
    }
    lua.call(arguments, 0);
    0
}

/// Pushes the table `{pattern=, raw=, server=, seq=, sent=, own=}`, as far as known. `[-0, +1]`; raises only when out
/// of memory, so it owns nothing.
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

/// Upvalue of [`tell`].
const NOTIFY: i32 = upvalue(1);

/// Runs a game hook with what a notice says; runs under the pcall of [`run_one`]. Owns nothing.
unsafe extern "C-unwind" fn tell(state: State) -> i32 {
    // SAFETY: called by `run_one` through pcall.
    let lua = unsafe { Lua::new(state) };
    // SAFETY: the argument is the notice that `run_one` borrows until its pcall returns; only it has this function.
    let Some(notice) = (unsafe { lua.userdata(1).cast::<Notice>().as_ref() }) else { return 0 };
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
    lua.call(count, 0);
    0
}

/// Asks the function of a hook: `condition(data, channel)`; its first result is this one's. Runs under the pcall of
/// [`run_one`]. Owns nothing.
unsafe extern "C-unwind" fn decide(state: State) -> i32 {
    // SAFETY: called by `run_one` through pcall.
    let lua = unsafe { Lua::new(state) };
    // SAFETY: the argument is the condition that `run_one` borrows until its pcall returns; only it has this function.
    let Some(condition) = (unsafe { lua.userdata(1).cast::<Condition>().as_ref() }) else { return 0 };
    lua.push_kept(condition.callback);
    if lua.type_of(-1) != LUA_TFUNCTION {
        return 0;
    }
    json::push(lua, &mut Reader::new(condition.event.tape()));
    lua.push_bytes(condition.event.channel());
    lua.call(2, 1);
    1
}

/// Puts the next events of a window into its array, argument 2; runs under the pcall of [`run_one`]. Owns nothing.
unsafe extern "C-unwind" fn gather(state: State) -> i32 {
    // SAFETY: called by `run_one` through pcall.
    let lua = unsafe { Lua::new(state) };
    // SAFETY: the argument is the window that `run_one` borrows until its pcall returns; only it has this function.
    let Some(gather) = (unsafe { lua.userdata(1).cast::<Gather>().as_ref() }) else { return 0 };
    // A window is far below 2^31 events (`AGGREGATE_EVENTS_MAX`).
    let mut at = gather.filled as i32;
    for event in gather.events() {
        at += 1;
        json::push(lua, &mut Reader::new(event));
        lua.raw_set_index(2, at);
    }
    0
}

/// Calls an aggregator's function with the array of a window, argument 2; its first result is this one's. Runs under
/// the pcall of [`run_one`]. Owns nothing.
unsafe extern "C-unwind" fn sum_up(state: State) -> i32 {
    // SAFETY: called by `run_one` through pcall.
    let lua = unsafe { Lua::new(state) };
    // SAFETY: the argument is the window that `run_one` borrows until its pcall returns; only it has this function.
    let Some(aggregate) = (unsafe { lua.userdata(1).cast::<Aggregate>().as_ref() }) else { return 0 };
    lua.push_kept(aggregate.function);
    if lua.type_of(-1) != LUA_TFUNCTION {
        return 0;
    }
    lua.push_value(2);
    lua.call(1, 1);
    1
}

/// Calls the callback of a command with its answer: `value`, or `nil, reason`; of a leaderboard `map, nil, ranked`.
/// Runs under the pcall of [`run_one`]. Owns nothing.
unsafe extern "C-unwind" fn respond(state: State) -> i32 {
    // SAFETY: called by `run_one` through pcall.
    let lua = unsafe { Lua::new(state) };
    // SAFETY: the argument is the answer that `run_one` borrows until its pcall returns; only it has this function.
    let Some(answered) = (unsafe { lua.userdata(1).cast::<Answered>().as_ref() }) else { return 0 };
    lua.push_kept(answered.callback);
    if lua.type_of(-1) != LUA_TFUNCTION {
        return 0;
    }
    let count = match &answered.outcome {
        Ok(answer) => {
            let mut tape = Reader::new(&answer.tape);
            json::push(lua, &mut tape);
            for _ in 1..answer.values {
                lua.push_nil();
                json::push(lua, &mut tape);
            }
            i32::from(answer.values) * 2 - 1
        }
        Err(reason) => {
            lua.push_nil();
            lua.push_bytes(reason.as_bytes());
            2
        }
    };
    lua.call(count, 0);
    0
}

fn aggregator_name(aggregator: &Aggregator) -> String {
    let (id, channel) = (&aggregator.id, aggregator.topic.name());
    format!("aggregator `{}` of `{}`", String::from_utf8_lossy(id), String::from_utf8_lossy(channel))
}

fn push_context(lua: Lua) -> Answer {
    // SAFETY: set by `run_one` to a call that it borrows while scripts run, and null otherwise.
    let text = match unsafe { UNDER_WAY.load(Ordering::Relaxed).as_ref() } {
        Some(Call::Notice(notice)) => format!("game hook `{}`", notice.hook()),
        Some(Call::Condition(condition)) => format!(
            "condition of hook `{}`, event on `{}`",
            condition.undecided().map(|of| String::from_utf8_lossy(&of.hook.id)).unwrap_or_default(),
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
    };
    lua.push_bytes(crate::text_log::escaped(&text).as_bytes());
    Answer::Values(1)
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
