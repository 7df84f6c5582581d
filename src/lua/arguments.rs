//! Shared parts of the functions in the table `realtime`: they read arguments, word refusals and push answers.
//! Runs on the game thread, inside the guarded body of an entry. Nothing here raises, and only
//! [`push_answer`] changes the stack.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::json::build::{Build, Pace};
use crate::lua::decode::{Making, Stage};
use crate::lua::entry::EntryOutcome;
use crate::lua::process::process;
use crate::lua::shield::{self, Results, Work};
use crate::lua::stack::{LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, Lua, SHIELD};
use crate::redis::answer::Answer;

/// A refusal: `nil` or a boolean, then the reason. Functions that return a value refuse with nil (`None`), the others
/// with false.
pub(super) fn refused(falsy: Option<bool>, reason: impl Into<Cow<'static, str>>) -> EntryOutcome {
    EntryOutcome::Results(Results::Refused(falsy, reason.into()))
}

/// The outcome of a function that returns `true`, or `false, reason`.
pub(super) fn done(outcome: Result<(), String>) -> EntryOutcome {
    match outcome {
        Ok(()) => EntryOutcome::True,
        Err(reason) => refused(Some(false), reason),
    }
}

/// Reason of a refusal: the callback could not be stored in the registry.
pub(super) const NOT_KEPT: &str = "closed: Lua has no memory to keep the function";

/// The argument error of `function` for the value at `argument`. Lua raises it as its own functions do, because a wrong
/// type is a mistake in the script, not a state of the world.
pub(super) fn bad(lua: Lua, argument: i32, function: &'static str, expected: &'static str) -> EntryOutcome {
    EntryOutcome::BadArgument { argument, function, expected, found: Lua::type_name(lua.type_of(argument)) }
}

/// The string at `at`, borrowed from Lua while it stays on the stack. A number is refused, although Lua would convert
/// it: a channel or key must be spelled as the script wrote it.
pub(super) fn string<'a>(lua: Lua, at: i32, function: &'static str) -> Result<&'a [u8], EntryOutcome> {
    lua.string(at).ok_or_else(|| bad(lua, at, function, "string"))
}

/// The string at `at`, which was one before a step that may have run script code. After that step only these bytes are
/// safe to use: the script may have changed the slot (`debug.setlocal`), and Lua may have freed the earlier string.
#[inline]
pub(super) fn string_again<'a>(lua: Lua, at: i32) -> Result<&'a [u8], String> {
    lua.string(at).ok_or_else(|| format!("encode: argument {at} was changed while the arguments were read"))
}

/// The channel, argument 1, and the id, argument 2 if there is one: as by [`string_again`].
pub(super) fn names_again<'a>(lua: Lua, has_id: bool) -> Result<(&'a [u8], Option<&'a [u8]>), String> {
    Ok((string_again(lua, 1)?, has_id.then(|| string_again(lua, 2)).transpose()?))
}

/// The number at `at`. A numeric string is refused.
pub(super) fn number(lua: Lua, at: i32, function: &'static str) -> Result<f64, EntryOutcome> {
    match lua.type_of(at) {
        LUA_TNUMBER => Ok(lua.number(at)),
        _ => Err(bad(lua, at, function, "number")),
    }
}

/// The index of the optional callback at `at`; `None` for nil or no argument.
pub(super) fn callback(lua: Lua, at: i32, function: &'static str) -> Result<Option<i32>, EntryOutcome> {
    match lua.type_of(at) {
        LUA_TNONE | LUA_TNIL => Ok(None),
        LUA_TFUNCTION => Ok(Some(at)),
        _ => Err(bad(lua, at, function, "function")),
    }
}

/// Unites the results of a body that uses `?` on its arguments: an argument error is an outcome of the entry, too.
pub(super) fn outcome_of(answer: Result<EntryOutcome, EntryOutcome>) -> EntryOutcome {
    answer.unwrap_or_else(|bad_argument| bad_argument)
}

/// Time to make an answer that has no deadline. It is small by itself (`Stats`), so this bound is never reached.
const UNBOUNDED: Duration = Duration::from_secs(60);

/// Pushes the values of an answer, or refuses if that takes longer than the deadline. The deadline is the one of the
/// reader's wait: waiting and making values together must not exceed `sync_timeout_ms`, and the time spent here is
/// counted with the wait. `[-0, +values]`, or (refused) `[-0, +0]`; never raises.
pub(super) fn push_answer(lua: Lua, answer: &Answer, deadline: Option<Instant>) -> EntryOutcome {
    let began = Instant::now();
    let mut pace = Pace::new(began, deadline.unwrap_or(began + UNBOUNDED), Pace::EVERY_MAX);
    let values = i32::from(answer.values);
    for _ in 0..shield::attempts() {
        let mut build = Build::new();
        let mut making = Making::new(&mut build, &mut pace, None);
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
            return refused(None, "timeout: Lua took longer to make the answer than a reader may wait; use a callback");
        }
    }
    refused(None, "decode: Lua has no memory for the answer")
}
