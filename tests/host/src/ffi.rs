//! The C functions of `lua_shared.so`, found with `dlsym`, and a thin wrapper over a Lua state.
//! Main thread only. Owns the library handle, which is never closed: the game does not close its own either.
//! Uses only functions of the Lua 5.1 ABI.
#![allow(unsafe_code)] // calls into C by their documented signatures

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;

use crate::Error;

#[repr(C)]
pub(crate) struct RawState {
    _opaque: [u8; 0],
}
pub(crate) type State = *mut RawState;
pub(crate) type CFunction = unsafe extern "C-unwind" fn(State) -> c_int;

pub(crate) const REGISTRY_INDEX: c_int = -10000;
pub(crate) const GLOBALS_INDEX: c_int = -10002;
pub(crate) const MULTRET: c_int = -1;
pub(crate) const fn upvalue_index(i: c_int) -> c_int {
    GLOBALS_INDEX - i
}

/// Declares the table of functions and its loader from one list.
macro_rules! lua_api {
    ($($name:ident($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        #[allow(non_snake_case)]
        pub(crate) struct Api { $(pub(crate) $name: unsafe extern "C-unwind" fn($($arg),*) $(-> $ret)?,)* }

        impl Api {
            fn load(library: *mut c_void) -> Result<Api, Error> {
                Ok(Api { $($name: {
                    let symbol = symbol(library, stringify!($name))?;
                    // SAFETY: the library was built from LuaJIT's sources, whose headers declare exactly this type.
                    unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($($arg),*) $(-> $ret)?>(symbol) }
                },)* })
            }
        }
    };
}

lua_api! {
    luaL_newstate() -> State;
    luaL_openlibs(State);
    luaL_loadbuffer(State, *const c_char, usize, *const c_char) -> c_int;
    lua_close(State);
    lua_gettop(State) -> c_int;
    lua_settop(State, c_int);
    lua_checkstack(State, c_int) -> c_int;
    lua_type(State, c_int) -> c_int;
    lua_toboolean(State, c_int) -> c_int;
    lua_tonumber(State, c_int) -> f64;
    lua_tolstring(State, c_int, *mut usize) -> *const c_char;
    lua_pushnil(State);
    lua_pushboolean(State, c_int);
    lua_pushnumber(State, f64);
    lua_pushlstring(State, *const c_char, usize);
    lua_pushcclosure(State, CFunction, c_int);
    lua_newuserdata(State, usize) -> *mut c_void;
    lua_getfield(State, c_int, *const c_char);
    lua_setfield(State, c_int, *const c_char);
    lua_createtable(State, c_int, c_int);
    lua_pcall(State, c_int, c_int, c_int) -> c_int;
}

static API: OnceLock<Api> = OnceLock::new();

/// The loaded library. Callers hold a state, and no state exists before [`load_library`].
pub(crate) fn api() -> &'static Api {
    match API.get() {
        Some(api) => api,
        None => unreachable!("a Lua state exists only after the library is loaded"),
    }
}

/// Opens `lua_shared.so` once, with symbols visible to the whole process, as the game's own linking makes them.
pub(crate) fn load_library(path: &Path) -> Result<&'static Api, Error> {
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let library = dlopen(path, libc::RTLD_NOW | libc::RTLD_GLOBAL)?;
    let api = Api::load(library)?;
    Ok(API.get_or_init(|| api))
}

/// Calls `dlopen`; the error is the loader's text.
pub(crate) fn dlopen(path: &Path, flags: c_int) -> Result<*mut c_void, Error> {
    let name = CString::new(path.to_string_lossy().as_bytes()).map_err(|_| Error::new("path with a NUL byte"))?;
    // SAFETY: a valid C string; initialisers of the library run, which is what loading means.
    let handle = unsafe { libc::dlopen(name.as_ptr(), flags) };
    if handle.is_null() {
        return Err(Error::new(format!("cannot load `{}`: {}", path.display(), dl_error())));
    }
    Ok(handle)
}

/// The address of `name`, or the loader's error text.
pub(crate) fn symbol(library: *mut c_void, name: &str) -> Result<*mut c_void, Error> {
    let c_name = CString::new(name).map_err(|_| Error::new("symbol with a NUL byte"))?;
    // SAFETY: `library` is an open handle and the name a valid C string.
    let address = unsafe { libc::dlsym(library, c_name.as_ptr()) };
    if address.is_null() {
        return Err(Error::new(format!("no symbol `{name}`: {}", dl_error())));
    }
    Ok(address)
}

/// A symbol as a Lua C function.
pub(crate) fn c_function(library: *mut c_void, name: &str) -> Result<CFunction, Error> {
    let address = symbol(library, name)?;
    // SAFETY: both names this program asks for are, by the game's convention, functions of this type.
    Ok(unsafe { std::mem::transmute::<*mut c_void, CFunction>(address) })
}

pub(crate) fn dlclose(library: *mut c_void) {
    // SAFETY: the handle came from dlopen and is dropped by the caller with this call.
    unsafe { libc::dlclose(library) };
}

/// Ends the process at once: no `gmod13_close`, no destructors, no flushing.
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit may be called at any time from any thread.
    unsafe { libc::_exit(code) }
}

fn dl_error() -> String {
    // SAFETY: dlerror gives NULL or a C string valid until the next dl call on this thread.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() { "unknown reason".to_owned() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}
