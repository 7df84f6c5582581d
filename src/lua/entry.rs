//! The frame around every Rust function that Lua calls: the macro `entry!` and the way such a function ends.
//! Runs on the game thread. The body runs guarded against panics and returns an [`EntryOutcome`]; only after that, with
//! no value left to drop, does this file push results or raise.
//!
//! ```text
//!  Lua ──call──▶ entry frame: check_stack       (may raise: nothing to drop yet)
//!                   └─▶ guarded(body)           (panics end here; no Lua call may raise)
//!                          └─▶ EntryOutcome
//!                finish: push results under pcall, drop them, then return or raise
//! ```

use std::borrow::Cow;

use crate::io::fail_point::fail_point;
use crate::lua::process::guarded;
use crate::lua::shield::{self, Results, Work};
use crate::lua::stack::{LUA_TNIL, Lua, ROOM, SHIELD};

/// How the body of an entry ended. [`finish`] turns it into results or a Lua error. The body may leave other values on
/// the stack below its results: Lua takes the topmost values as results and drops the rest. It never raises.
pub(super) enum EntryOutcome {
    /// Return `true`: the plain success.
    True,
    /// Return that many values, which the body left on top of the stack.
    OnStack(i32),
    /// Return results that need Lua's memory, so they are pushed after the body is over.
    Results(Results),
    /// Raise `bad argument #n to 'function' (expected expected, got found)`, the words of Lua's own `luaL_argerror`.
    BadArgument { argument: i32, function: &'static str, expected: &'static str, found: &'static str },
}

/// Defines a function that Lua can call; [`run`] says how it runs `body(lua)`. The body of a `hot` function is inlined.
macro_rules! entry {
    ($(#[$doc:meta])* hot $name:ident, $body:path) => {
        entry!($(#[$doc])* $name, $body, run_inlined);
    };
    ($(#[$doc:meta])* $name:ident, $body:path) => {
        entry!($(#[$doc])* $name, $body, run);
    };
    ($(#[$doc:meta])* $name:ident, $body:path, $run:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by Lua, or with the state that Lua passed to another entry, on the game thread.
        pub(super) unsafe extern "C-unwind" fn $name(state: ::gmod::lua::State) -> i32 {
            // SAFETY: Lua called this with its running state, and could do so only after `stack::load`.
            let lua = unsafe { $crate::lua::stack::Lua::new(state) };
            $crate::lua::entry::$run(lua, stringify!($name), $body)
        }
    };
}

/// Runs the body of an entry guarded: a panic is counted and logged, and Lua gets `false, "closed: …"`. Then ends the
/// entry, with no value left to drop in this frame or in its caller's. Stack: `[-?, +results]`; **raises** as its last
/// act, or as its first if Lua's stack is full.
#[inline(never)]
pub(super) fn run(lua: Lua, name: &str, body: fn(Lua) -> EntryOutcome) -> i32 {
    run_inlined(lua, name, body)
}

/// As [`run`], for a hot path.
#[inline(always)]
pub(super) fn run_inlined(lua: Lua, name: &str, body: impl FnOnce(Lua) -> EntryOutcome) -> i32 {
    // Here, where nothing needs dropping: near the end of its stack an older LuaJIT raises instead of refusing.
    if !lua.check_stack(ROOM) {
        return lua.raise(b"stack overflow");
    }
    let outcome = guarded(|| {
        fail_point(name);
        body(lua)
    });
    finish(lua, outcome)
}

/// Ends an entry: returns the number of its results, or raises with nothing left to drop. `None` stands for a panic of
/// the body. Stack: `[-?, +results]`; **raises** as its last act. Inlined, because the first two arms end almost every
/// call.
#[inline(always)]
fn finish(lua: Lua, outcome: Option<EntryOutcome>) -> i32 {
    match outcome {
        Some(EntryOutcome::True) => {
            lua.push_boolean(true);
            1
        }
        Some(EntryOutcome::OnStack(count)) => count,
        other => finish_other(lua, other),
    }
}

/// The rare ends of an entry. Stack and errors as for [`finish`].
#[inline(never)]
fn finish_other(lua: Lua, outcome: Option<EntryOutcome>) -> i32 {
    match outcome {
        Some(EntryOutcome::True | EntryOutcome::OnStack(_)) => 0, // `finish` handles both.
        Some(EntryOutcome::BadArgument { argument, function, expected, found }) => {
            let mut text = Line::default();
            text.push("bad argument #");
            text.push(itoa::Buffer::new().format(argument));
            for part in [" to '", function, "' (", expected, " expected, got ", found, ")"] {
                text.push(part);
            }
            lua.raise(text.as_bytes())
        }
        Some(EntryOutcome::Results(results)) => push_results(lua, results).unwrap_or_else(|| raise_failure(lua)),
        None => {
            // The body panicked: nobody knows which values it left on the stack.
            lua.set_top(0);
            let reason = Cow::Borrowed("closed: internal error of realtime, its log has the details");
            push_results(lua, Results::Refused(Some(false), reason)).unwrap_or_else(|| raise_failure(lua))
        }
    }
}

/// Raises the error of [`push_results`], which is nil if [`shield::run`] refused to begin.
fn raise_failure(lua: Lua) -> i32 {
    if lua.type_of(lua.top()) == LUA_TNIL {
        return lua.raise(b"realtime was called inside itself too often");
    }
    lua.raise_top()
}

/// Pushes the results under pcall and drops the Rust values, whether or not the push succeeded. `None`: the push
/// failed, and the Lua error that prevented it is on top of the stack. `[-0, +count]` or `[-0, +1]`; never raises.
fn push_results(lua: Lua, results: Results) -> Option<i32> {
    let count = results.count();
    for attempt in 1.. {
        lua.push_value(SHIELD);
        if shield::run(lua, &mut Work::Results(&results), 0, count, 0) {
            return Some(count);
        }
        // An error of a script's `__gc` does not concern the caller, so try again.
        if attempt >= shield::attempts() {
            break;
        }
        lua.pop(1);
    }
    None
}

/// A short text in a fixed array on the Rust stack, because a frame that raises must own no heap memory.
#[derive(Clone, Copy)]
pub(super) struct Line {
    /// Long enough for every argument error. A longer text is cut.
    bytes: [u8; 160],
    len: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line { bytes: [0; 160], len: 0 }
    }
}

impl Line {
    /// A line with as much of `text` as fits.
    pub(super) fn of(text: &str) -> Line {
        let mut line = Line::default();
        line.push(text);
        line
    }

    /// Appends as many bytes of `text` as fit; the rest is dropped.
    pub(super) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    /// The text so far. It may end in the middle of a UTF-8 character; a Lua string may, too.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
