//! What every function of the table `realtime` has in common: its arguments read, and its refusals worded.
//! Game thread; nothing here raises.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::json::build::{Build, Pace};
use crate::lua::entry::EntryOutcome;
use crate::lua::process::process;
use crate::lua::shield::{self, ATTEMPTS_MAX, Making, Results, Stage, Work};
use crate::lua::stack::{LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, Lua, SHIELD};
use crate::redis::answer::Answer;

/// `falsy, reason`.
pub(super) fn refused(falsy: Option<bool>, reason: impl Into<Cow<'static, str>>) -> EntryOutcome {
    EntryOutcome::Results(Results::Refused(falsy, reason.into()))
}

/// `true`, or `false, reason`.
pub(super) fn done(outcome: Result<(), String>) -> EntryOutcome {
    match outcome {
        Ok(()) => EntryOutcome::True,
        Err(reason) => refused(Some(false), reason),
    }
}

/// Lua has no memory to keep a function.
pub(super) const NOT_KEPT: &str = "closed: Lua has no memory to keep the function";

/// The argument error for whatever stands at `argument`.
pub(super) fn bad(lua: Lua, argument: i32, function: &'static str, expected: &'static str) -> EntryOutcome {
    EntryOutcome::BadArgument { argument, function, expected, found: Lua::type_name(lua.type_of(argument)) }
}

/// A string argument.
pub(super) fn string<'a>(lua: Lua, at: i32, function: &'static str) -> Result<&'a [u8], EntryOutcome> {
    lua.string(at).ok_or_else(|| bad(lua, at, function, "string"))
}

/// A number argument.
pub(super) fn number(lua: Lua, at: i32, function: &'static str) -> Result<f64, EntryOutcome> {
    match lua.type_of(at) {
        LUA_TNUMBER => Ok(lua.number(at)),
        _ => Err(bad(lua, at, function, "number")),
    }
}

/// Where the callback stands, if there is one.
pub(super) fn callback(lua: Lua, at: i32, function: &'static str) -> Result<Option<i32>, EntryOutcome> {
    match lua.type_of(at) {
        LUA_TNONE | LUA_TNIL => Ok(None),
        LUA_TFUNCTION => Ok(Some(at)),
        _ => Err(bad(lua, at, function, "function")),
    }
}

/// An argument error is an answer, too.
pub(super) fn either(answer: Result<EntryOutcome, EntryOutcome>) -> EntryOutcome {
    answer.unwrap_or_else(|bad_argument| bad_argument)
}

/// For what is small by itself.
const UNBOUNDED: Duration = Duration::from_secs(60);

/// Pushes the values of an answer, until the deadline at most: a reader has its bound, and the time that they take is
/// counted with its wait.
pub(super) fn push_answer(lua: Lua, answer: &Answer, deadline: Option<Instant>) -> EntryOutcome {
    let began = Instant::now();
    let mut pace = Pace::new(began, deadline.unwrap_or(began + UNBOUNDED), Pace::EVERY_MAX);
    let values = i32::from(answer.values);
    for _ in 0..ATTEMPTS_MAX {
        let mut build = Build::new();
        let mut making = Making::new(&mut build, &mut pace);
        lua.push_value(SHIELD);
        let done = shield::run(lua, &mut Work::Values(answer, &mut making), 0, values, 0);
        let stage = making.stage;
        if done && stage == Stage::Called {
            if pace.looked() > began
                && let Ok(process) = process(lua)
            {
                process.engine().charge(began, Instant::now());
            }
            return EntryOutcome::OnStack(values);
        }
        lua.pop(if done { values } else { 1 });
        if stage == Stage::Parked {
            if let Ok(process) = process(lua) {
                process.stats.reads_timed_out.add(1);
                process.engine().charge(began, Instant::now());
            }
            return refused(None, "timeout: Lua did not take the answer in the time of a reader; use a callback");
        }
    }
    refused(None, "decode: Lua has no memory for the answer")
}
