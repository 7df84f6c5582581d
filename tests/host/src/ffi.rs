//! The C functions of `lua_shared`, found by name, and the libraries of modules.
//! Main thread only. Owns the handle of `lua_shared`, which is never closed: the game does not close its own either.
//! Uses only functions of the Lua 5.1 ABI.
#![allow(unsafe_code)] // calls into C by their documented signatures

use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::OnceLock;

#[cfg(unix)]
use libloading::os::unix as os;
#[cfg(windows)]
use libloading::os::windows as os;

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
            fn load(library: &Library) -> Result<Api, Error> {
                Ok(Api { $($name: {
                    // SAFETY: the library was built from LuaJIT's sources, whose headers declare exactly this type.
                    unsafe { library.get::<unsafe extern "C-unwind" fn($($arg),*) $(-> $ret)?>(stringify!($name))? }
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

/// Opens `lua_shared` once. On Linux its symbols are visible to the whole process, as the game's own linking makes them.
pub(crate) fn load_library(path: &Path) -> Result<&'static Api, Error> {
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let library = Library::open(path, true)?;
    let api = Api::load(&library)?;
    Ok(API.get_or_init(|| api))
}

/// An open library. It stays open when the value is dropped: the order of closing libraries is what this program tests.
pub(crate) struct Library(ManuallyDrop<os::Library>);

impl Library {
    /// Opens the library at this path; the error is the loader's text. `global`: other libraries see its symbols, on Linux.
    pub(crate) fn open(path: &Path, global: bool) -> Result<Library, Error> {
        // Linux's loader compares names with those of loaded libraries, so a relative path must stay one.
        #[cfg(unix)]
        let opened = {
            let visible = if global { libc::RTLD_GLOBAL } else { libc::RTLD_LOCAL };
            // SAFETY: initialisers of the library run, which is what loading means.
            unsafe { os::Library::open(Some(path), libc::RTLD_NOW | visible) }
        };
        // Windows looks for a relative path in folders of its own choice.
        #[cfg(windows)]
        let opened = {
            let _ = global;
            let full = crate::root::full_path(path).unwrap_or_else(|_| path.to_owned());
            // SAFETY: as above.
            unsafe { os::Library::new(full) }
        };
        match opened {
            Ok(library) => Ok(Library(ManuallyDrop::new(library))),
            Err(err) => Err(Error::new(format!("cannot load `{}`: {}", path.display(), reason(&err)))),
        }
    }

    /// A function of the library.
    ///
    /// # Safety
    /// The function has the type `T`, a function pointer.
    unsafe fn get<T: Copy>(&self, name: &str) -> Result<T, Error> {
        // SAFETY: by the caller's contract.
        let symbol = unsafe { self.0.get::<T>(name) };
        symbol.map(|symbol| *symbol).map_err(|err| Error::new(format!("no symbol `{name}`: {}", reason(&err))))
    }

    /// A symbol as a Lua C function.
    pub(crate) fn c_function(&self, name: &str) -> Result<CFunction, Error> {
        // SAFETY: both names this program asks for are, by the game's convention, functions of this type.
        unsafe { self.get(name) }
    }

    pub(crate) fn close(self) {
        // A library that does not close stays mapped, which scripts notice if they look for it.
        let _ = ManuallyDrop::into_inner(self.0).close();
    }
}

/// The loader's own text, which libloading keeps as the source of its error.
fn reason(err: &libloading::Error) -> String {
    std::error::Error::source(err).map_or_else(|| err.to_string(), ToString::to_string)
}

/// Ends the process at once: no `gmod13_close`, no destructors, no flushing.
#[cfg(unix)]
pub(crate) fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit may be called at any time from any thread.
    unsafe { libc::_exit(code) }
}

/// Ends the process at once. `ExitProcess` would first tell every library, and those may wait for threads that are gone:
/// <https://learn.microsoft.com/en-us/windows/win32/api/processthreadsapi/nf-processthreadsapi-terminateprocess>.
#[cfg(windows)]
pub(crate) fn exit_now(code: c_int) -> ! {
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
    // SAFETY: the handle of this process is always good.
    unsafe { TerminateProcess(GetCurrentProcess(), code.cast_unsigned()) };
    std::process::abort()
}
