//! The process-wide part of the server, which outlives a Lua state. Scripts reach it through natives.
//! Main thread. Owns the loaded modules, the store, the requests of scripts (quit, next map) and all counts.
//! It is never borrowed while Lua runs, because a script that calls back would then find it borrowed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use crate::ffi::{CFunction, Library};
use crate::frames::Frames;
use crate::options::Options;
use crate::process;
use crate::value::Value;

/// A library that `require` loaded in this Lua state.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) library: Library,
    pub(crate) close: Option<CFunction>,
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) started: Instant,
    pub(crate) modules: Vec<Module>,
    pub(crate) store: BTreeMap<String, Value>,
    pub(crate) quit: Option<i32>,
    pub(crate) next_map: Option<String>,
    pub(crate) map: String,
    pub(crate) map_changes: u32,
    pub(crate) hibernating: bool,
    pub(crate) frames: Frames,
    pub(crate) frame_started: f64,
    /// The number of errors printed as `[ERROR]`.
    pub(crate) errors: u64,
    /// The number of uncaught errors.
    pub(crate) uncaught: u64,
    pub(crate) last_error: String,
    pub(crate) failed: bool,
}

impl World {
    pub(crate) fn new(options: Options) -> World {
        World {
            started: Instant::now(),
            modules: Vec::new(),
            store: BTreeMap::new(),
            quit: None,
            next_map: None,
            map: options.map.clone(),
            map_changes: 0,
            hibernating: options.hibernate,
            frames: Frames::new(),
            frame_started: process::wall_seconds(),
            errors: 0,
            uncaught: 0,
            last_error: String::new(),
            failed: false,
            options,
        }
    }
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Installs or removes the world of this thread's server.
pub(crate) fn set(world: Option<World>) -> Option<World> {
    WORLD.with_borrow_mut(|slot| std::mem::replace(slot, world))
}

pub(crate) fn exists() -> bool {
    WORLD.with_borrow(Option::is_some)
}

/// Borrows the world while Lua does not run. `None` on a thread without a server.
pub(crate) fn with<R>(use_it: impl FnOnce(&mut World) -> R) -> Option<R> {
    WORLD.with_borrow_mut(|slot| slot.as_mut().map(use_it))
}
