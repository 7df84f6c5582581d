//! A thin wrapper around the Lua stack: the functions of the Lua 5.1 C API that this module needs.
//! Runs on the game thread. [`Lua`] is a copy of the state pointer and must not outlive the call of its entry.
//!
//! Each method states its stack effect as `[-popped, +pushed]`, and whether it can raise a Lua error. A method that
//! allocates in Lua **raises** when Lua has no memory. In LuaJIT up to 2.1.0-beta3 it also raises any error of a
//! script's `__gc`, because an allocation may run a step of the garbage collector. Call such methods only from a C
//! function under pcall that owns nothing (`shield.rs`), or as the last act of an entry (`entry.rs`).

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use gmod::lua::{LUA_REGISTRYINDEX, LUA_SHARED, LuaFunction, State};

use crate::config::limits::ENCODE_DEPTH_MAX;
use crate::engine::CallbackRef;

pub(super) use gmod::lua::{
    LUA_TBOOLEAN, LUA_TFUNCTION, LUA_TLIGHTUSERDATA, LUA_TNIL, LUA_TNONE, LUA_TNUMBER, LUA_TSTRING, LUA_TTABLE,
    LUA_TUSERDATA,
};

/// Pseudo-index of upvalue `n` (counted from 1) of the running C function: `lua_upvalueindex` of the C API.
pub(super) const fn upvalue(n: i32) -> i32 {
    gmod::lua::LUA_GLOBALSINDEX - n
}

/// Upvalue 1 of every entry and of the pump is the C function [`crate::lua::shield::perform`].
pub(super) const SHIELD: i32 = upvalue(1);

/// Upvalue 2 of an entry that calls a function of the prelude: `describe`, `takes_meta` or `strip`.
pub(super) const HELPER: i32 = upvalue(2);

/// Stack slots that the body of any entry may use. Emit's encoder is the largest user: each level of a table takes a
/// key and a value, and the call of the prelude's `describe` takes a few slots more.
pub(super) const ROOM: i32 = ENCODE_DEPTH_MAX as i32 * 3 + 16;

/// Functions of the Lua library that the crate `gmod` does not bind. The fields have the names of the C API without its
/// prefixes; `where_` has an underscore because `where` is a keyword of Rust.
struct Extra {
    rawget: unsafe extern "C-unwind" fn(State, i32),
    rawset: unsafe extern "C-unwind" fn(State, i32),
    checkstack: unsafe extern "C-unwind" fn(State, i32) -> i32,
    concat: unsafe extern "C-unwind" fn(State, i32),
    where_: unsafe extern "C-unwind" fn(State, i32),
}

/// Filled by [`load`] and never changed: the Lua library of the game stays loaded as long as the process.
static EXTRA: OnceLock<Extra> = OnceLock::new();

/// Finds the functions of the game's Lua library, once in the life of the process. The error text names the missing
/// function; it goes to stderr, because neither Lua nor the log can be used yet.
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

/// The Lua state that called the running entry. It may be a coroutine's, so it is passed on and never stored.
#[derive(Clone, Copy)]
pub(super) struct Lua {
    state: State,
    extra: &'static Extra,
}

/// Calls a function of the table of crate `gmod`. The macro exists to state once why such a call is sound.
macro_rules! shared {
    ($lua:ident . $function:ident ( $($argument:expr),* )) => {{
        // SAFETY: `Lua` exists only after `load` filled the table, on the game thread, for a state that its entry was
        // called with and that lives until the entry returns; callers pass indices that exist (checked by type tests)
        // and leave the room they push into (`check_stack`, or LUA_MINSTACK of a fresh C function).
        unsafe { (LUA_SHARED.$function)($lua.state $(, $argument)*) }
    }};
}

/// Calls a function of [`Extra`]; sound for the same reasons as `shared!`.
macro_rules! extra {
    ($lua:ident . $function:ident ( $($argument:expr),* )) => {{
        // SAFETY: `Lua` exists only after `load` found these functions. The rest is as for `shared!`.
        unsafe { ($lua.extra.$function)($lua.state $(, $argument)*) }
    }};
}

impl Lua {
    /// The stack of an entry that Lua just called with `state`.
    ///
    /// # Safety
    /// `state` is the state an entry was called with, that entry has not returned, and [`load`] succeeded before.
    pub(super) unsafe fn new(state: State) -> Lua {
        match EXTRA.get() {
            Some(extra) => Lua { state, extra },
            // Unreachable: `open` registers entries after `load` only. An abort is safer than a call through null.
            None => std::process::abort(),
        }
    }

    /// Type number of the value at `index`, `LUA_TNONE` beyond the top. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn type_of(self, index: i32) -> i32 {
        shared!(self.lua_type(index))
    }

    /// The name that Lua's own error messages give a type number. No stack effect; never raises.
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

    /// Index of the topmost value, 0 for an empty stack. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn top(self) -> i32 {
        shared!(self.lua_gettop())
    }

    /// Makes the value at `index` the topmost: drops the values above it, or fills up with nil. `[-?, +?]`, never
    /// raises.
    #[inline]
    pub(super) fn set_top(self, index: i32) {
        shared!(self.lua_settop(index));
    }

    /// Drops the `n` topmost values. `[-n, +0]`, never raises.
    #[inline]
    pub(super) fn pop(self, n: i32) {
        self.set_top(-n - 1);
    }

    /// Makes room for `n` more values; false if Lua's stack cannot grow so far. `[-0, +0]`. An older LuaJIT **raises**
    /// instead of answering false, so call it only from a frame with nothing to drop.
    #[inline]
    pub(super) fn check_stack(self, n: i32) -> bool {
        extra!(self.checkstack(n)) != 0
    }

    /// The bytes of the string at `index`. The value must be a string: `lua_tolstring` would turn a number into a
    /// string in place, which allocates and breaks a running `next`. The bytes belong to Lua and are valid while the
    /// value stays on the stack; the lifetime `'a` does not enforce that. Script code can change the slots of a running
    /// C function (`debug.setlocal`), so read the bytes again after a step that may run any. `[-0, +0]`, never raises.
    #[inline]
    #[optimize(speed)]
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

    /// The bytes at `index` as by [`Lua::bytes`], or `None` if the value is not a string. `[-0, +0]`, never raises.
    pub(super) fn string<'a>(self, index: i32) -> Option<&'a [u8]> {
        (self.type_of(index) == LUA_TSTRING).then(|| self.bytes(index))
    }

    /// The number at `index`. A numeric string is converted, any other type is 0. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn number(self, index: i32) -> f64 {
        shared!(self.lua_tonumber(index))
    }

    /// Whether Lua takes the value at `index` for true: everything but nil and false. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn boolean(self, index: i32) -> bool {
        shared!(self.lua_toboolean(index)) != 0
    }

    /// The address of a full or light userdata, null for any other type. `[-0, +0]`, never raises.
    pub(super) fn userdata(self, index: i32) -> *mut c_void {
        shared!(self.lua_touserdata(index))
    }

    /// Length of the table as `#` computes it, without metamethods: an index with a value, followed by nil. A table
    /// with holes has several such indices, and Lua may choose any of them. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn raw_len(self, index: i32) -> i32 {
        shared!(self.lua_objlen(index))
    }

    /// Replaces the key on top by the next key and its value, without metamethods. `[-1, +2]`, or `[-1, +0]` and false
    /// at the end. Never raises if the key came from this function and the table is unchanged since; therefore no Lua
    /// code may run and nothing may allocate between two calls.
    #[inline]
    pub(super) fn next(self, index: i32) -> bool {
        shared!(self.lua_next(index)) != 0
    }

    /// **Raises** unless the value at `index` is a table. The raw access below does not look, and script code can
    /// change the slots of a running C function (`debug.setlocal`): so check after the last step that may run any, be
    /// it a `__gc` or a debug hook. `[-0, +0]`.
    #[inline]
    pub(super) fn check_table(self, index: i32) {
        if self.type_of(index) != LUA_TTABLE {
            self.raise(b"a script changed a table that realtime makes");
        }
    }

    /// Pushes `table[index]`, without metamethods. `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn raw_get_index(self, table: i32, index: i32) {
        shared!(self.lua_rawgeti(table, index));
    }

    /// Pops the value on top into `table[index]`, without metamethods. `[-1, +0]`; **raises** for a new element,
    /// because the table may have to grow. An element that exists is overwritten without an allocation.
    #[inline]
    pub(super) fn raw_set_index(self, table: i32, index: i32) {
        shared!(self.lua_rawseti(table, index));
    }

    /// Pops a value and the key below it into `table`, without metamethods. `[-2, +0]`, **raises**.
    #[inline]
    pub(super) fn raw_set(self, table: i32) {
        extra!(self.rawset(table));
    }

    /// Replaces the key on top by its value in `table`, without metamethods. `[-1, +1]`, never raises.
    pub(super) fn raw_get(self, table: i32) {
        extra!(self.rawget(table));
    }

    /// Pushes a copy of the value at `index`. `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_value(self, index: i32) {
        shared!(self.lua_pushvalue(index));
    }

    /// Moves the topmost value to `index` and shifts up the values from there. `[-1, +1]`, never raises.
    pub(super) fn insert(self, index: i32) {
        shared!(self.lua_insert(index));
    }

    /// Identifies the whole Lua state, coroutines included, by the address of its registry. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn state_mark(self) -> *mut c_void {
        shared!(self.lua_topointer(LUA_REGISTRYINDEX)).cast_mut()
    }

    /// Identifies the running Lua thread: the main thread or one coroutine. `[-0, +0]`, never raises.
    #[inline]
    pub(super) fn thread_mark(self) -> *mut c_void {
        self.state.0
    }

    /// Pushes the running Lua thread. Returns whether it is the main thread of its state. `[-0, +1]`, never raises.
    pub(super) fn push_thread(self) -> bool {
        shared!(self.lua_pushthread()) == 1
    }

    /// Whether the running Lua thread is the main thread of its state. `[-0, +0]`, never raises; needs one free slot,
    /// which every C function has.
    pub(super) fn is_main_thread(self) -> bool {
        let is_main = self.push_thread();
        self.pop(1);
        is_main
    }

    /// Pushes a Lua string with a copy of the bytes. `[-0, +1]`, **raises**.
    #[inline]
    pub(super) fn push_bytes(self, bytes: &[u8]) {
        shared!(self.lua_pushlstring(bytes.as_ptr().cast::<c_char>(), bytes.len()));
    }

    /// Pushes a number. `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_number(self, number: f64) {
        shared!(self.lua_pushnumber(number));
    }

    /// Pushes a boolean. `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_boolean(self, value: bool) {
        shared!(self.lua_pushboolean(i32::from(value)));
    }

    /// Pushes nil. `[-0, +1]`, never raises.
    #[inline]
    pub(super) fn push_nil(self) {
        shared!(self.lua_pushnil());
    }

    /// Pushes `realtime.Null`: a light userdata that is the null pointer, as in other JSON modules (lua-cjson). `[-0,
    /// +1]`, **raises**: LuaJIT may allocate for a light userdata.
    #[inline]
    pub(super) fn push_null(self) {
        shared!(self.lua_pushlightuserdata(std::ptr::null_mut()));
    }

    /// Pushes an empty table with room for `array` elements and `members` other keys. `[-0, +1]`, **raises**.
    #[inline]
    pub(super) fn push_table(self, array: i32, members: i32) {
        shared!(self.lua_createtable(array, members));
    }

    /// Replaces the `n` topmost values by a C function that has them as its upvalues. `[-n, +1]`, **raises**.
    pub(super) fn push_function(self, function: LuaFunction, n: i32) {
        shared!(self.lua_pushcclosure(function, n));
    }

    /// Pops the value on top and stores it in the registry under a number of its own. `[-1, +0]`, **raises**.
    pub(super) fn keep(self) -> CallbackRef {
        CallbackRef(shared!(self.lual_ref(LUA_REGISTRYINDEX)))
    }

    /// Removes a kept value from the registry. `[-0, +0]`, never raises: it overwrites an element that exists.
    pub(super) fn release(self, callback: CallbackRef) {
        shared!(self.lual_unref(LUA_REGISTRYINDEX, callback.0));
    }

    /// Pushes a kept value. `[-0, +1]`, never raises. Scripts can change the registry, so test the type before use.
    #[inline]
    pub(super) fn push_kept(self, callback: CallbackRef) {
        self.raw_get_index(LUA_REGISTRYINDEX, callback.0);
    }

    /// Pushes the table of globals. `[-0, +1]`, never raises.
    pub(super) fn push_globals(self) {
        self.push_value(gmod::lua::LUA_GLOBALSINDEX);
    }

    /// Compiles Lua source. `[-0, +1]`: the chunk as a function, or (false) the error message. **Raises** without
    /// memory.
    pub(super) fn load_chunk(self, text: &str, name: &std::ffi::CStr) -> bool {
        shared!(self.lual_loadbuffer(text.as_ptr().cast::<c_char>(), text.len(), name.as_ptr())) == 0
    }

    /// Calls the function below its arguments. `[-(arguments + 1), +results]`, or (false) one error value. `handler` is
    /// the index of a message handler, 0 for none. Never raises: it catches every Lua error of the callee.
    pub(super) fn pcall(self, arguments: i32, results: i32, handler: i32) -> bool {
        shared!(self.lua_pcall(arguments, results, handler)) == 0
    }

    /// Calls the function below its arguments. `[-(arguments + 1), +results]`. **Raises** every error of the callee, so
    /// call it only from a frame with nothing to drop.
    pub(super) fn call(self, arguments: i32, results: i32) {
        shared!(self.lua_call(arguments, results));
    }

    /// Raises `message` with the file and line of the calling Lua code in front, as `luaL_error` does. Never returns:
    /// call it only from a frame with nothing to drop. The `i32` is for `return lua.raise(..)`.
    pub(super) fn raise(self, message: &[u8]) -> i32 {
        extra!(self.where_(1));
        self.push_bytes(message);
        extra!(self.concat(2));
        self.raise_top()
    }

    /// Raises the value on top. Never returns: call it only from a frame with nothing to drop.
    pub(super) fn raise_top(self) -> i32 {
        shared!(self.lua_error())
    }
}
