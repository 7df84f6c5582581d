//! The Lua edge: what the game loads, and the only module with `unsafe`.
//! Runs on the game thread. Owns the one [`Engine`] of the process and the functions it shows to Lua.
//!
//! Rules of this edge (each because the opposite ends the server):
//! - Nothing unwinds out of it: every entry runs its body in `guarded`; a panic is counted, logged and answered.
//! - Inside that body no Lua call may raise: types are tested first, and what can raise, memory of Lua included, is
//!   done in a C function under pcall that owns nothing (`shield.rs`).
//! - An entry pushes its results and raises last, with nothing left to drop (`entry!` in `stack.rs`): LuaJIT may jump
//!   over Rust frames without running destructors.
//! - References and callbacks belong to the attached state alone (`process`): another one that still runs is refused.
//! - The state is the one passed to the entry, never a remembered one: it may be a coroutine's.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use crossbeam_channel::Receiver;
use gmod::lua::State;

use crate::config::{Config, Operator, Sources};
use crate::engine::{Engine, Flush};
use crate::io::lock::lock;
use crate::io::text_log;
use crate::io::text_log::Throttle;
use crate::lua::stack::Lua;
use crate::redis::connection::SETTINGS_ADVICE;
use crate::stats::Stats;
use crate::threads::settings::read_operator;
use crate::threads::shared::Shared;

#[macro_use]
mod stack;
mod api;
mod arguments;
mod callbacks;
mod event_log;
mod hooks;
mod json;
mod shield;
mod values;

/// The folder, seen from where the server runs, below which scripts may name paths.
const DATA_FOLDER: &str = "garrysmod/data";

/// What outlives every Lua state.
struct Process {
    engine: Mutex<Engine>,
    stats: Arc<Stats>,
    /// Raised when something waits for the pump: all that an idle tick reads.
    attention: Arc<AtomicBool>,
    /// Lines for the game console.
    console: Receiver<String>,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

/// The attached Lua state, by [`Lua::state_mark`]: only its registry has what the engine's references number. Null while
/// none is. Game thread only.
static ATTACHED: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

static PANICS_SAID: Mutex<Throttle> = Mutex::new(Throttle::new());

impl Process {
    /// The engine, for the length of one call into it: never held while Lua runs.
    fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.engine)
    }
}

/// The main thread of the attached state, which lives as long; null if the module was opened by a coroutine. To tell it
/// by this alone is quicker. Game thread only.
static MAIN_THREAD: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Whether this is the state that the engine works for, and not one that another took the place of.
#[inline]
fn is_attached(lua: Lua) -> bool {
    MAIN_THREAD.load(Ordering::Relaxed) == lua.thread_mark() || ATTACHED.load(Ordering::Relaxed) == lua.state_mark()
}

/// From now on the engine works for this state; `None`: for none.
fn set_attached(lua: Option<Lua>) {
    let null = std::ptr::null_mut();
    ATTACHED.store(lua.map_or(null, Lua::state_mark), Ordering::Relaxed);
    let main = lua.filter(|lua| lua.is_main_thread()).map_or(null, Lua::thread_mark);
    MAIN_THREAD.store(main, Ordering::Relaxed);
}

/// What an entry works with, if its state is the attached one.
#[inline]
fn process(lua: Lua) -> Result<&'static Process, &'static str> {
    match PROCESS.get() {
        Some(process) if is_attached(lua) => Ok(process),
        _ => Err("closed: the module is not open in this Lua state"),
    }
}

/// Starts the engine once in the life of the process.
fn start(host_port: u16) -> Result<&'static Process, String> {
    if let Some(process) = PROCESS.get() {
        return Ok(process);
    }
    let stats = Arc::new(Stats::default());
    let attention = Arc::new(AtomicBool::new(true));
    // Whoever changes the working directory later moves no file of ours.
    let data = std::path::absolute(DATA_FOLDER).unwrap_or_else(|_| DATA_FOLDER.into());
    let directory = data.is_dir().then(|| data.join("realtime"));
    let console = text_log::install(directory.as_deref(), Arc::clone(&attention), Arc::clone(&stats));
    report_panics();
    let sources = Sources::of(Config::defaults(&host_name(), host_port), operator());
    let (config, _) = sources.resolve();
    config.complaints.iter().for_each(|complaint| log::warn!("{complaint}"));
    if config.not_understood().is_some() {
        log::error!("nothing connects to redis: the settings do not say where; {SETTINGS_ADVICE}");
    }
    let shared = Shared::new(config, data, Arc::clone(&stats), Arc::clone(&attention));
    if let Some(directory) = directory {
        shared.webhooks.keep_files_in(directory);
    }
    let engine =
        Engine::start(shared, sources).map_err(|err| format!("cannot start the threads of realtime: {err}"))?;
    let process = Process { engine: Mutex::new(engine), stats, attention, console };
    Ok(PROCESS.get_or_init(|| process))
}

/// What the operator says now.
fn operator() -> Operator {
    read_operator(Path::new("garrysmod/cfg"), std::env::vars_os())
}

/// The operating system's name of this machine, or nothing.
fn host_name() -> String {
    let from_file = std::fs::read("/proc/sys/kernel/hostname").ok();
    let name = from_file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let name = name.or_else(|| Some(std::env::var_os("COMPUTERNAME")?.to_string_lossy().into_owned()));
    name.unwrap_or_default().trim().to_owned()
}

/// Sends the message and place of any panic to the text log; the default prints to the console's stderr.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // A panic of every tick must not fill the log.
        if let Some(more) = lock(&PANICS_SAID).pass(Instant::now()) {
            log::error!("internal error, please report it: {message} at {place}{more}");
        }
    }));
}

/// Runs the body of an entry; a panic is counted and becomes `None`.
fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(body));
    if outcome.is_err()
        && let Some(process) = PROCESS.get()
    {
        process.stats.panics.add(1);
    }
    outcome.ok()
}

/// Functions of the prelude that may run scripts, and so call the module again, inside each other. Each level takes some
/// of the thread's own stack, of which Windows gives 1 MiB: Lua's limit of levels comes too late. And a name that sends
/// an event with all players in it is asked for as often as there are players, to the power of the levels.
const NESTED_MAX: u32 = 4;

/// How many are under way. Game thread only.
static NESTED: AtomicU32 = AtomicU32::new(0);

/// Runs what may call the module again, under pcall; `None`: there are [`NESTED_MAX`] under way.
fn nested<T>(run: impl FnOnce() -> T) -> Option<T> {
    let around = NESTED.load(Ordering::Relaxed);
    if around >= NESTED_MAX {
        return None;
    }
    NESTED.store(around + 1, Ordering::Relaxed);
    let done = run();
    NESTED.store(around, Ordering::Relaxed);
    Some(done)
}

/// The game calls this at `require("realtime")`, also a second time in one state.
///
/// # Safety
/// `state` is the calling Lua state, on the game thread.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn gmod13_open(state: State) -> i32 {
    // SAFETY: the game passes the running state to this function, as `entry!` demands.
    unsafe { callbacks::open(state) }
}

/// The game calls this before it closes the Lua state: at every map change and at the end.
/// Prints nothing, raises nothing, runs no Lua; waits for the flush at most [`crate::config::limits::CLOSE_FLUSH_MAX`].
///
/// # Safety
/// `state` is the Lua state that is about to be closed, on the game thread.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn gmod13_close(state: State) -> i32 {
    guarded(|| {
        let Some(process) = PROCESS.get() else { return };
        // SAFETY: `state` is alive until this function returns, and there is a process only after `stack::load`.
        let lua = unsafe { Lua::new(state) };
        // The late end of a state that another took the place of ends nothing.
        let flush: Option<Flush> = is_attached(lua).then(|| {
            let (references, flush) = process.engine().detach();
            references.into_iter().for_each(|callback| lua.release(callback));
            set_attached(None);
            flush
        });
        if let Some(flush) = flush {
            flush.wait();
        }
        log::logger().flush();
    });
    0
}

/// True if the pump has something to do; cheap enough for every tick.
fn wants_attention() -> bool {
    PROCESS.get().is_some_and(|process| process.attention.load(Ordering::Relaxed))
}

/// Has the pump look at the next tick.
fn raise_attention() {
    if let Some(process) = PROCESS.get() {
        process.attention.store(true, Ordering::Release);
    }
}

/// Windows unmaps a library with its last handle; a handle of our own is never given back.
#[cfg(windows)]
fn never_unmap() {
    unsafe extern "system" {
        fn GetModuleHandleExW(flags: u32, name: *const u16, module: *mut *mut std::ffi::c_void) -> i32;
    }
    const PIN: u32 = 1;
    const FROM_ADDRESS: u32 = 4;
    let mut module = std::ptr::null_mut();
    // SAFETY: with FROM_ADDRESS the second argument is any address inside the module, here a static of ours; `module`
    // is a valid place for the handle. Source: learn.microsoft.com, GetModuleHandleExW.
    unsafe { GetModuleHandleExW(PIN | FROM_ADDRESS, (&raw const PROCESS).cast(), &mut module) };
}

/// Linux keeps the library because it is linked with `-z nodelete` (build.rs).
#[cfg(not(windows))]
fn never_unmap() {}
