//! A stand-in Garry's Mod dedicated server: real LuaJIT in a real `lua_shared`, the game's directories, module loading,
//! frames, hibernation and map changes, and enough of its Lua library to run scripts. For tests, benches and trying things
//! out; no world, no physics, no network. Linux and Windows, 32 and 64 bits; one server per process, on the main thread.

use std::fmt;
use std::path::Path;

mod comments;
mod ffi;
mod files;
mod frames;
mod modules;
mod natives;
pub mod options;
mod process;
mod root;
mod server;
mod value;
mod watchdog;
mod world;

pub use frames::FrameStats;
pub use options::{Options, Unload, Unwind};
pub use server::Server;

/// The reason why the server could not start or go on. Lua errors are not part of this: they are printed, as in the game.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }

    pub(crate) fn io(doing: &str, path: &Path, err: &std::io::Error) -> Error {
        Error(format!("{doing} `{}`: {err}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Ends the process at once, like a crash: nothing is closed or cleaned up.
pub(crate) fn exit_now(code: i32) -> ! {
    ffi::exit_now(code)
}
