//! What every function of the table `realtime` has in common: its arguments read, and its refusals worded.
//! Game thread; nothing here raises.

use std::borrow::Cow;

use crate::lua::stack::{Answer, LUA_TFUNCTION, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, Lua, Results};

/// `falsy, reason`.
pub(super) fn refused(falsy: Option<bool>, reason: impl Into<Cow<'static, str>>) -> Answer {
    Answer::Results(Results::Refused(falsy, reason.into()))
}

/// `true`, or `false, reason`.
pub(super) fn done(outcome: Result<(), String>) -> Answer {
    match outcome {
        Ok(()) => Answer::True,
        Err(reason) => refused(Some(false), reason),
    }
}

/// Lua has no memory to keep a function.
pub(super) const NOT_KEPT: &str = "closed: Lua has no memory to keep the function";

/// The argument error for whatever stands at `argument`.
pub(super) fn bad(lua: Lua, argument: i32, function: &'static str, expected: &'static str) -> Answer {
    Answer::BadArgument { argument, function, expected, found: Lua::type_name(lua.type_of(argument)) }
}

/// A string argument.
pub(super) fn string<'a>(lua: Lua, at: i32, function: &'static str) -> Result<&'a [u8], Answer> {
    lua.string(at).ok_or_else(|| bad(lua, at, function, "string"))
}

/// A number argument.
pub(super) fn number(lua: Lua, at: i32, function: &'static str) -> Result<f64, Answer> {
    match lua.type_of(at) {
        LUA_TNUMBER => Ok(lua.number(at)),
        _ => Err(bad(lua, at, function, "number")),
    }
}

/// Where the callback stands, if there is one.
pub(super) fn callback(lua: Lua, at: i32, function: &'static str) -> Result<Option<i32>, Answer> {
    match lua.type_of(at) {
        LUA_TNONE | LUA_TNIL => Ok(None),
        LUA_TFUNCTION => Ok(Some(at)),
        _ => Err(bad(lua, at, function, "function")),
    }
}

/// An argument error is an answer, too.
pub(super) fn either(answer: Result<Answer, Answer>) -> Answer {
    answer.unwrap_or_else(|bad_argument| bad_argument)
}
