//! Values between Lua and this program, the one trampoline through which Lua calls it, and protected calls into Lua.
//! Main thread only. Everything unsafe about the stack is here; the functions behind it are plain safe Rust.
//! Refuses to raise: a failing function answers `nil, reason`, and the Lua side decides what to do with it.
#![allow(unsafe_code)] // drives the Lua stack

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::ffi::{CFunction, GLOBALS_INDEX, MULTRET, REGISTRY_INDEX, State, api, upvalue_index};

/// One Lua value by copy. Tables, functions and userdata have no copy: they arrive as `Other`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Number(f64),
    String(Vec<u8>),
    /// A table, function, userdata or thread: these cannot be copied.
    Other,
    /// A table of named values (only towards Lua).
    Record(Vec<(&'static str, Value)>),
    /// A C function of a loaded module (only towards Lua).
    Function(usize),
    /// A new userdata laid out as the game's: pointer to the data, type id, then three floats (only towards Lua).
    Userdata(u8),
}

impl Value {
    pub(crate) fn text(text: impl AsRef<[u8]>) -> Value {
        Value::String(text.as_ref().to_vec())
    }

    /// The value as `tostring` would print it.
    pub(crate) fn display(&self) -> String {
        match self {
            Value::Nil => "nil".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::String(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "(value)".to_owned(),
        }
    }
}

/// A function Lua can call. An error becomes `nil, reason`.
pub(crate) type Native = fn(&[Value]) -> Result<Vec<Value>, String>;

/// The contents of the game's userdata, followed by the floats of a Vector.
#[repr(C)]
struct GameUserdata {
    data: *mut c_void,
    type_id: u8,
    floats: [f32; 3],
}

/// Copies the value at `index`. Stack `[-0, +0]`; never raises (numbers are not converted in place).
///
/// # Safety
/// `lua` is a live state of this thread, and `index` is acceptable to `lua_type`.
unsafe fn read(lua: State, index: c_int) -> Value {
    // SAFETY: by the caller's contract; tolstring is asked only of strings, so it converts and allocates nothing.
    unsafe {
        match (api().lua_type)(lua, index) {
            -1 | 0 => Value::Nil,
            1 => Value::Bool((api().lua_toboolean)(lua, index) != 0),
            3 => Value::Number((api().lua_tonumber)(lua, index)),
            4 => {
                let mut len = 0;
                let bytes = (api().lua_tolstring)(lua, index, &mut len).cast::<u8>();
                Value::String(std::slice::from_raw_parts(bytes, len).to_vec())
            }
            _ => Value::Other,
        }
    }
}

/// Pushes `value`. Stack `[-0, +1]`; raises only when memory runs out.
///
/// # Safety
/// `lua` is a live state of this thread with three free stack slots.
unsafe fn push(lua: State, value: &Value) {
    let api = api();
    // SAFETY: by the caller's contract; pointers and lengths come from live Rust values.
    unsafe {
        match value {
            Value::Nil | Value::Other => (api.lua_pushnil)(lua),
            Value::Bool(value) => (api.lua_pushboolean)(lua, c_int::from(*value)),
            Value::Number(value) => (api.lua_pushnumber)(lua, *value),
            Value::String(bytes) => (api.lua_pushlstring)(lua, bytes.as_ptr().cast(), bytes.len()),
            Value::Record(fields) => {
                (api.lua_createtable)(lua, 0, fields.len() as c_int);
                for (name, value) in fields {
                    push(lua, value);
                    let name = CString::new(*name).unwrap_or_default();
                    (api.lua_setfield)(lua, -2, name.as_ptr());
                }
            }
            Value::Function(address) => {
                let function = std::mem::transmute::<usize, CFunction>(*address);
                (api.lua_pushcclosure)(lua, function, 0);
            }
            Value::Userdata(type_id) => {
                let raw = (api.lua_newuserdata)(lua, size_of::<GameUserdata>()).cast::<GameUserdata>();
                raw.write(GameUserdata { data: (&raw mut (*raw).floats).cast(), type_id: *type_id, floats: [0.0; 3] });
            }
        }
    }
}

/// Calls the Rust function whose address is the first upvalue.
unsafe extern "C-unwind" fn trampoline(lua: State) -> c_int {
    // SAFETY: Lua calls this on its own thread with its own live state; `register` stored a `Native` in the upvalue
    // (as a table slot number, so a wrong one is caught by the bounds check); a panic stops at catch_unwind.
    unsafe {
        let slot = (api().lua_tonumber)(lua, upvalue_index(1)) as usize;
        let args: Vec<Value> = (1..=(api().lua_gettop)(lua)).map(|index| read(lua, index)).collect();
        let result = match crate::natives::NATIVES.get(slot) {
            Some((_, native)) => catch_unwind(AssertUnwindSafe(|| native(&args)))
                .unwrap_or_else(|_| Err("internal error: the host panicked".to_owned())),
            None => Err("no such native".to_owned()),
        };
        drop(args);
        let values = match result {
            Ok(values) => values,
            Err(reason) => vec![Value::Nil, Value::text(reason)],
        };
        if (api().lua_checkstack)(lua, values.len() as c_int + 3) == 0 {
            return 0;
        }
        values.iter().for_each(|value| push(lua, value));
        values.len() as c_int
    }
}

/// A Lua state owned by the server.
pub(crate) struct Lua(State);

impl Lua {
    /// A fresh state with the stock libraries and the natives in the global table `native`.
    pub(crate) fn new() -> Option<Lua> {
        let api = api();
        // SAFETY: the state is new and ours; names are C strings; the stack is back to where it was at the end.
        unsafe {
            let lua = (api.luaL_newstate)();
            if lua.is_null() {
                return None;
            }
            (api.luaL_openlibs)(lua);
            (api.lua_createtable)(lua, 0, crate::natives::NATIVES.len() as c_int);
            for (slot, (name, _)) in crate::natives::NATIVES.iter().enumerate() {
                (api.lua_pushnumber)(lua, slot as f64);
                (api.lua_pushcclosure)(lua, trampoline, 1);
                let name = CString::new(*name).unwrap_or_default();
                (api.lua_setfield)(lua, -2, name.as_ptr());
            }
            (api.lua_setfield)(lua, GLOBALS_INDEX, c"native".as_ptr());
            Some(Lua(lua))
        }
    }

    pub(crate) fn raw(&self) -> *mut c_void {
        self.0.cast()
    }

    /// Runs `code` with `args`; a Lua error comes back as its text.
    pub(crate) fn run(&self, code: &[u8], chunk: &str, args: &[Value]) -> Result<Vec<Value>, String> {
        let chunk = CString::new(chunk).unwrap_or_default();
        // SAFETY: a live state, pointers and length of live values.
        let status =
            unsafe { (api().luaL_loadbuffer)(self.0, code.as_ptr().cast::<c_char>(), code.len(), chunk.as_ptr()) };
        if status != 0 { Err(self.take_error()) } else { self.call_top(args) }
    }

    /// Calls a function that the prelude stored in the registry, hidden from scripts.
    pub(crate) fn call(&self, name: &std::ffi::CStr, args: &[Value]) -> Result<Vec<Value>, String> {
        // SAFETY: a live state; the registry has no metamethods.
        unsafe { (api().lua_getfield)(self.0, REGISTRY_INDEX, name.as_ptr()) };
        self.call_top(args)
    }

    /// Calls a C function with no arguments.
    pub(crate) fn call_c(&self, function: CFunction) -> Result<Vec<Value>, String> {
        // SAFETY: a live state; the function follows the Lua C convention.
        unsafe { (api().lua_pushcclosure)(self.0, function, 0) };
        self.call_top(&[])
    }

    /// Calls the function on top of the stack. Removes it and everything that the call leaves.
    fn call_top(&self, args: &[Value]) -> Result<Vec<Value>, String> {
        let api = api();
        // SAFETY: a live state; slots are reserved; results are copied before the stack is cut back.
        unsafe {
            let base = (api.lua_gettop)(self.0) - 1;
            (api.lua_checkstack)(self.0, args.len() as c_int + 4);
            args.iter().for_each(|arg| push(self.0, arg));
            if (api.lua_pcall)(self.0, args.len() as c_int, MULTRET, 0) != 0 {
                return Err(self.take_error());
            }
            let values = (base + 1..=(api.lua_gettop)(self.0)).map(|index| read(self.0, index)).collect();
            (api.lua_settop)(self.0, base);
            Ok(values)
        }
    }

    fn take_error(&self) -> String {
        // SAFETY: the failing call left its message on top; it is copied, then removed.
        unsafe {
            let message = read(self.0, -1);
            (api().lua_settop)(self.0, -2);
            message.display()
        }
    }

    /// Closes the state, which runs every finaliser.
    pub(crate) fn close(self) {
        // SAFETY: `self` owned the state and is gone after this.
        unsafe { (api().lua_close)(self.0) };
    }
}
