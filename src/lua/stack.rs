//! The Lua stack, as far as this module needs it. Each method states its stack effect `[-popped, +pushed]` and
//! whether it can raise. What allocates **raises**: when there is no memory, and in LuaJITs up to 2.1.0-beta3 whatever
//! the `__gc` of a script raises, as a step of the collector may run it. Such methods are for C functions under pcall
//! that own nothing (`shield.rs`), and for the last act of an entry.
//! [`Lua`] lives for one call of one entry and stays on the game thread.

use std::borrow::Cow;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, OnceLock};

use gmod::lua::{LUA_REGISTRYINDEX, LUA_SHARED, LuaFunction, State};

use crate::config::limits::ENCODE_DEPTH_MAX;
use crate::engine::CallbackRef;
use crate::lua::shield::{self, Work};

pub(super) use gmod::lua::{
    LUA_TBOOLEAN, LUA_TFUNCTION, LUA_TLIGHTUSERDATA, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE,
    LUA_TUSERDATA,
};

/// Index of upvalue `n` (from 1) of the running C function.
pub(super) const fn upvalue(n: i32) -> i32 {
    gmod::lua::LUA_GLOBALSINDEX - n
}

/// Upvalue of every entry and of the pump: [`crate::lua::shield::perform`].
pub(super) const SHIELD: i32 = upvalue(1);

/// Upvalue of an entry that needs a function of the prelude.
pub(super) const HELPER: i32 = upvalue(2);

/// Stack slots that the body of any entry may use: Emit's encoder needs a key and a value for each level, and what
/// telling userdata apart takes.
pub(super) const ROOM: i32 = ENCODE_DEPTH_MAX as i32 * 3 + 16;

/// What the crate `gmod` does not bind.
struct Extra {
    rawget: unsafe extern "C-unwind" fn(State, i32),
    rawset: unsafe extern "C-unwind" fn(State, i32),
    checkstack: unsafe extern "C-unwind" fn(State, i32) -> i32,
    concat: unsafe extern "C-unwind" fn(State, i32),
    where_: unsafe extern "C-unwind" fn(State, i32),
}

static EXTRA: OnceLock<Extra> = OnceLock::new();

/// Finds the Lua library of the game, once in the life of the process.
///
/// # Safety
/// `state` is a Lua state of the game, on the game thread.
pub(super) unsafe fn load(state: State) -> Result<(), String> {
    if EXTRA.get().is_some() {
        return Ok(());
    }
    // SAFETY: on the game thread, before any other use of the crate's bindings.
    unsafe { gmod::set_lua_state(state.0) };
    // SAFETY: the signatures are those of the Lua 5.1 C API, which LuaJIT keeps.
    let extra = unsafe {
        Extra {
            rawget: state.raw_bind(b"lua_rawget\0").map_err(|err| err.to_string())?,
            rawset: state.raw_bind(b"lua_rawset\0").map_err(|err| err.to_string())?,
            checkstack: state.raw_bind(b"lua_checkstack\0").map_err(|err| err.to_string())?,
            concat: state.raw_bind(b"lua_concat\0").map_err(|err| err.to_string())?,
            where_: state.raw_bind(b"luaL_where\0").map_err(|err| err.to_string())?,
        }
    };
    let _ = EXTRA.set(extra); // Already set means the same functions.
    Ok(())
}

/// The stack of the running entry.
#[derive(Clone, Copy)]
pub(super) struct Lua {
    state: State,
    extra: &'static Extra,
}

/// Calls a function of the crate's table. One place for the argument why that is sound.
macro_rules! shared {
    ($lua:ident . $function:ident ( $($argument:expr),* )) => {{
        // SAFETY: `Lua` exists only after `load` filled the table, on the game thread, for a state that its entry was
        // called with and that lives until the entry returns; callers pass indices that exist (checked by type tests)
        // and leave the room they push into (`check_stack`, or LUA_MINSTACK of a fresh C function).
        unsafe { (LUA_SHARED.$function)($lua.state $(, $argument)*) }
    }};
}

/// The same for what the crate does not bind.
macro_rules! extra {
    ($lua:ident . $function:ident ( $($argument:expr),* )) => {{
        // SAFETY: as for `shared!`.
        unsafe { ($lua.extra.$function)($lua.state $(, $argument)*) }
    }};
}

impl Lua {
    /// # Safety
    /// `state` is the state an entry was called with, that entry has not returned, and [`load`] succeeded before.
    pub(super) unsafe fn new(state: State) -> Lua {
        match EXTRA.get() {
            Some(extra) => Lua { state, extra },
            // No entry is registered before `load`, so none can get here; an abort beats a jump through null.
            None => std::process::abort(),
        }
    }

    /// Type of the value. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn type_of(self, index: i32) -> i32 {
        shared!(self.lua_type(index))
    }

    /// The usual name of a type number. `[-0, +0]`, never raises.
    pub(super) fn type_name(kind: i32) -> &'static str {
        match kind {
            LUA_TNONE => "no value",
            LUA_TNIL => "nil",
            LUA_TBOOLEAN => "boolean",
            LUA_TNUMBER => "number",
            LUA_TSTRING => "string",
            LUA_TTABLE => "table",
            LUA_TFUNCTION => "function",
            LUA_TUSERDATA | LUA_TLIGHTUSERDATA => "userdata",
            gmod::lua::LUA_TTHREAD => "thread",
            _ => "cdata",
        }
    }

    /// `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn top(self) -> i32 {
        shared!(self.lua_gettop())
    }

    /// `[-?, +?]`, never raises.
    #[inline]
    pub(super) fn set_top(self, index: i32) {
        shared!(self.lua_settop(index));
    }

    /// `[-n, +0]`, never raises.
    #[inline]
    pub(super) fn pop(self, n: i32) {
        self.set_top(-n - 1);
    }

    /// Room for `n` more values. False if Lua has none. `[-0, +0]`; **raises** in older LuaJITs instead of answering
    /// false, so only from a frame with nothing to drop.
    #[inline]
    pub(super) fn check_stack(self, n: i32) -> bool {
        extra!(self.checkstack(n)) != 0
    }

    /// The bytes of a string, which must be one: a number would be changed in place. Borrowed from Lua for as long as
    /// the value stays on the stack. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn bytes<'a>(self, index: i32) -> &'a [u8] {
        debug_assert_eq!(self.type_of(index), LUA_TSTRING);
        let mut len = 0;
        let data = shared!(self.lua_tolstring(index, &mut len));
        if data.is_null() {
            return &[];
        }
        // SAFETY: `lua_tolstring` returned a string of `len` bytes; Lua keeps it while it is on the stack, and every
        // caller uses it before it pops the value.
        unsafe { std::slice::from_raw_parts(data.cast(), len) }
    }

    /// A string argument, or nothing if it is no string. `[-0, +0]`, never raises.
    pub(super) fn string<'a>(self, index: i32) -> Option<&'a [u8]> {
        (self.type_of(index) == LUA_TSTRING).then(|| self.bytes(index))
    }

    /// `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn number(self, index: i32) -> f64 {
        shared!(self.lua_tonumber(index))
    }

    /// `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn boolean(self, index: i32) -> bool {
        shared!(self.lua_toboolean(index)) != 0
    }

    /// The address of a userdata of either kind. `[-0, +0]`, never raises.
    pub(super) fn userdata(self, index: i32) -> *mut c_void {
        shared!(self.lua_touserdata(index))
    }

    /// A border of the table, without metamethods. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn raw_len(self, index: i32) -> i32 {
        shared!(self.lua_objlen(index))
    }

    /// The next pair of the table, its key on top. `[-1, +2]` or `[-1, +0]` at the end; never raises for a key that
    /// came from here, if the table was not changed since: no Lua code may run, and nothing may allocate, in between.
    #[inline]
    pub(super) fn next(self, index: i32) -> bool {
        shared!(self.lua_next(index)) != 0
    }

    /// `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn raw_get_index(self, table: i32, index: i32) {
        shared!(self.lua_rawgeti(table, index));
    }

    /// `[-1, +0]`; **raises** unless the table has that element already.
    #[inline]
    pub(super) fn raw_set_index(self, table: i32, index: i32) {
        shared!(self.lua_rawseti(table, index));
    }

    /// Key and value on top into the table. `[-2, +0]`, **raises**.
    #[inline]
    pub(super) fn raw_set(self, table: i32) {
        extra!(self.rawset(table));
    }

    /// The value of the key on top. `[-1, +1]`, never raises.
    pub(super) fn raw_get(self, table: i32) {
        extra!(self.rawget(table));
    }

    /// `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_value(self, index: i32) {
        shared!(self.lua_pushvalue(index));
    }

    /// Moves the value on top below those above `index`. `[-1, +1]`, never raises.
    pub(super) fn insert(self, index: i32) {
        shared!(self.lua_insert(index));
    }

    /// What stands for the whole Lua state, its coroutines included: the address of its registry.
    #[inline]
    pub(super) fn state_mark(self) -> *mut c_void {
        shared!(self.lua_topointer(LUA_REGISTRYINDEX)).cast_mut()
    }

    /// What stands for the running thread of the state: the main one or a coroutine.
    #[inline]
    pub(super) fn thread_mark(self) -> *mut c_void {
        self.state.0
    }

    /// `[-0, +0]`, never raises: one slot is always free.
    pub(super) fn is_main_thread(self) -> bool {
        let is_main = shared!(self.lua_pushthread()) == 1;
        self.pop(1);
        is_main
    }

    /// `[-0, +1]`, **raises**.
    #[inline]
    pub(super) fn push_bytes(self, bytes: &[u8]) {
        shared!(self.lua_pushlstring(bytes.as_ptr().cast::<c_char>(), bytes.len()));
    }

    /// `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_number(self, number: f64) {
        shared!(self.lua_pushnumber(number));
    }

    /// `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_boolean(self, value: bool) {
        shared!(self.lua_pushboolean(i32::from(value)));
    }

    /// `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_nil(self) {
        shared!(self.lua_pushnil());
    }

    /// `realtime.Null`: the null pointer, as other JSON modules have it. `[-0, +1]`, **raises**.
    #[inline]
    pub(super) fn push_null(self) {
        shared!(self.lua_pushlightuserdata(std::ptr::null_mut()));
    }

    /// An empty table with room. `[-0, +1]`, **raises**.
    #[inline]
    pub(super) fn push_table(self, array: i32, members: i32) {
        shared!(self.lua_createtable(array, members));
    }

    /// A C function with the `n` values on top as its upvalues. `[-n, +1]`, **raises**.
    pub(super) fn push_function(self, function: LuaFunction, n: i32) {
        shared!(self.lua_pushcclosure(function, n));
    }

    /// The value on top, kept in the registry. `[-1, +0]`, **raises**.
    pub(super) fn keep(self) -> CallbackRef {
        CallbackRef(shared!(self.lual_ref(LUA_REGISTRYINDEX)))
    }

    /// Forgets a kept value. `[-0, +0]`, never raises: the place is there.
    pub(super) fn release(self, callback: CallbackRef) {
        shared!(self.lual_unref(LUA_REGISTRYINDEX, callback.0));
    }

    /// A kept function. `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_kept(self, callback: CallbackRef) {
        self.raw_get_index(LUA_REGISTRYINDEX, callback.0);
    }

    /// The globals. `[-0, +1]`, never raises.
    pub(super) fn push_globals(self) {
        self.push_value(gmod::lua::LUA_GLOBALSINDEX);
    }

    /// Compiles a chunk. `[-0, +1]`: the function, or (false) the message. **Raises**.
    pub(super) fn load_chunk(self, text: &str, name: &std::ffi::CStr) -> bool {
        shared!(self.lual_loadbuffer(text.as_ptr().cast::<c_char>(), text.len(), name.as_ptr())) == 0
    }

    /// Calls the function below its arguments. `[-(arguments + 1), +results]`, or (false) one error value. Never
    /// raises; a Lua error below ends here.
    pub(super) fn pcall(self, arguments: i32, results: i32, handler: i32) -> bool {
        shared!(self.lua_pcall(arguments, results, handler)) == 0
    }

    /// Calls the function below its arguments. `[-(arguments + 1), +results]`. **Raises** what the function raises:
    /// only from a frame with nothing to drop.
    pub(super) fn call(self, arguments: i32, results: i32) {
        shared!(self.lua_call(arguments, results));
    }

    /// Raises `message` with the place of the calling Lua line before it. Only from a frame with nothing to drop.
    pub(super) fn raise(self, message: &[u8]) -> i32 {
        extra!(self.where_(1));
        self.push_bytes(message);
        extra!(self.concat(2));
        self.raise_top()
    }

    /// Raises the value on top. Only from a frame with nothing to drop.
    pub(super) fn raise_top(self) -> i32 {
        shared!(self.lua_error())
    }
}

/// What the body of an entry decided.
pub(super) enum Answer {
    /// `true`
    True,
    /// That many values on top of the stack are the results.
    Values(i32),
    /// What is to be pushed once the body is over.
    Results(Results),
    /// `bad argument #n to 'function' (expected, got found)`
    BadArgument { argument: i32, function: &'static str, expected: &'static str, found: &'static str },
}

/// Results for which Lua needs memory.
pub(super) enum Results {
    /// `nil` or a truth value, and a reason.
    Refused(Option<bool>, Cow<'static, str>),
    Text(Arc<[u8]>),
    Texts(&'static str, String),
}

impl Results {
    pub(super) fn count(&self) -> i32 {
        match self {
            Results::Text(_) => 1,
            Results::Refused(..) | Results::Texts(..) => 2,
        }
    }

    /// `[-0, +count]`, **raises**.
    pub(super) fn push(&self, lua: Lua) {
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

/// Defines a function that Lua calls: `body(lua)` runs guarded, a panic is answered with `falsy, "closed: …"`, and
/// what is raised is raised here, where no value is left to drop.
macro_rules! entry {
    ($(#[$doc:meta])* $name:ident, $body:path) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Called by Lua, or with the state that Lua passed to another entry, on the game thread.
        pub(super) unsafe extern "C-unwind" fn $name(state: ::gmod::lua::State) -> i32 {
            // SAFETY: Lua called this with its running state, and could do so only after `stack::load`.
            let lua = unsafe { $crate::lua::stack::Lua::new(state) };
            // Here, where nothing needs dropping: near the end of its stack an older LuaJIT raises instead of refusing.
            if !lua.check_stack($crate::lua::stack::ROOM) {
                return lua.raise(b"stack overflow");
            }
            let answer = $crate::lua::guarded(|| {
                $crate::io::fail_point::fail_point(stringify!($name));
                $body(lua)
            });
            $crate::lua::stack::finish(lua, answer)
        }
    };
}

/// Ends an entry: returns its results or raises, with nothing left to drop.
#[inline(always)]
pub(super) fn finish(lua: Lua, answer: Option<Answer>) -> i32 {
    match answer {
        Some(Answer::True) => {
            lua.push_boolean(true);
            1
        }
        Some(Answer::Values(n)) => n,
        other => finish_other(lua, other),
    }
}

#[inline(never)]
fn finish_other(lua: Lua, answer: Option<Answer>) -> i32 {
    match answer {
        Some(Answer::True | Answer::Values(_)) => 0, // Above.
        Some(Answer::BadArgument { argument, function, expected, found }) => {
            let mut text = Line::default();
            text.push("bad argument #");
            text.push(itoa::Buffer::new().format(argument));
            for part in [" to '", function, "' (", expected, " expected, got ", found, ")"] {
                text.push(part);
            }
            lua.raise(text.as_bytes())
        }
        Some(Answer::Results(results)) => give(lua, results).unwrap_or_else(|| lua.raise_top()),
        None => {
            lua.set_top(0);
            let reason = Cow::Borrowed("closed: internal error of realtime, its log has the details");
            give(lua, Results::Refused(Some(false), reason)).unwrap_or_else(|| lua.raise_top())
        }
    }
}

/// Pushes the results; `None`: the error that prevents it is on top. They are dropped either way.
fn give(lua: Lua, results: Results) -> Option<i32> {
    let count = results.count();
    for attempt in 1.. {
        lua.push_value(SHIELD);
        if shield::run(lua, &mut Work::Results(&results), 0, count, 0) {
            return Some(count);
        }
        // Errors of a script's `__gc` are none of the caller's.
        if attempt == shield::ATTEMPTS_MAX {
            break;
        }
        lua.pop(1);
    }
    None
}

/// A text on the Rust stack: a frame that raises must own no heap.
#[derive(Clone, Copy)]
pub(super) struct Line {
    bytes: [u8; 160],
    len: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line { bytes: [0; 160], len: 0 }
    }
}

impl Line {
    pub(super) fn of(text: &str) -> Line {
        let mut line = Line::default();
        line.push(text);
        line
    }

    /// Appends what fits.
    pub(super) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
