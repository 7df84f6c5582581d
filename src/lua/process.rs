//! The state that outlives every Lua state: the one [`Engine`] of the process, and the Lua state it is attached to.
//! Runs on the game thread; other threads reach the statistics and the attention flag, never the engine or a Lua state.
//! Entries get the engine from [`process`], which refuses every state but the attached one.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use crate::calendar::offset;
use crate::config::{Config, Operator, Sources};
use crate::engine::Engine;
use crate::io::channel::Receiver;
use crate::io::lock::lock;
use crate::io::text_log;
use crate::io::text_log::Throttle;
use crate::lua::stack::Lua;
use crate::redis::connection::SETTINGS_ADVICE;
use crate::stats::Stats;
use crate::threads::settings::read_operator;
use crate::threads::shared::Shared;

/// Scripts may name paths below this folder only. It is relative to the directory in which the game's server starts.
const DATA_FOLDER: &str = "garrysmod/data";

/// The engine and the parts that it shares with other threads. Created by [`start`] and never dropped: its threads,
/// connections and queues live on through a map change.
pub(super) struct Process {
    /// Private: reach it through [`Process::engine`].
    engine: Mutex<Engine>,
    pub(super) stats: Arc<Stats>,
    /// Raised by any thread that has work for the pump. An idle tick reads nothing else.
    attention: Arc<AtomicBool>,
    /// Lines of the text log for the game console, which only the game thread may print to.
    pub(super) console: Receiver<String>,
}

/// Empty until the module was opened for the first time.
pub(super) static PROCESS: OnceLock<Process> = OnceLock::new();

/// The attached Lua state, identified by [`Lua::state_mark`]; null while there is none. The engine's references are
/// numbers in the registry of this state and mean nothing in another one. Game thread only.
static ATTACHED: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// The main thread of the attached state, identified by [`Lua::thread_mark`]. It lives as long as the state. Comparing
/// it is quicker than reading the state's mark, and almost every entry is called from it. Null if a coroutine opened
/// the module. Game thread only.
static MAIN_THREAD: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

/// Limits the log lines about panics.
static PANICS_SAID: Mutex<Throttle> = Mutex::new(Throttle::new());

impl Process {
    /// Borrows the engine for one call into it. Drop the guard before any Lua code runs: a script may call the module
    /// again, and the lock would wait for itself.
    pub(super) fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.engine)
    }
}

/// Whether the engine works for this state. False for a state that was replaced by another one and still runs. A new
/// state may have the address of the attached one, if that was closed without `gmod13_close`; but it has no functions
/// of this module until `set_up` has told the two apart.
/// Stack: `[-0, +0]`, never raises.
#[inline]
pub(super) fn is_attached(lua: Lua) -> bool {
    MAIN_THREAD.load(Ordering::Relaxed) == lua.thread_mark() || ATTACHED.load(Ordering::Relaxed) == lua.state_mark()
}

/// How often the attached state changed. References into a state's registry are worthless once this number is another.
static ATTACHES: AtomicU32 = AtomicU32::new(0);

/// The number of the attached state: another one after each change.
pub(super) fn attaches() -> u32 {
    ATTACHES.load(Ordering::Relaxed)
}

/// Makes the engine work for this state, or for none. Stack: `[-0, +0]`, never raises.
pub(super) fn set_attached(lua: Option<Lua>) {
    ATTACHES.store(attaches().wrapping_add(1), Ordering::Relaxed);
    let null = std::ptr::null_mut();
    ATTACHED.store(lua.map_or(null, Lua::state_mark), Ordering::Relaxed);
    let main = lua.filter(|lua| lua.is_main_thread()).map_or(null, Lua::thread_mark);
    MAIN_THREAD.store(main, Ordering::Relaxed);
}

/// The process, if `lua` is the attached state. The error is the reason that a refused entry returns to Lua.
/// Stack: `[-0, +0]`, never raises.
#[inline]
pub(super) fn process(lua: Lua) -> Result<&'static Process, &'static str> {
    match PROCESS.get() {
        Some(process) if is_attached(lua) => Ok(process),
        _ => Err("closed: the module is not open in this Lua state"),
    }
}

/// Starts the log, the threads and the engine, once in the life of the process; later calls return the same process.
/// `host_port` is the game's port, a part of the server's default name; `offset_s` is for the text log. The error says why the threads did not start.
pub(super) fn start(host_port: u16, offset_s: f64) -> Result<&'static Process, String> {
    if let Some(process) = PROCESS.get() {
        return Ok(process);
    }
    let stats = Arc::new(Stats::default());
    let attention = Arc::new(AtomicBool::new(true));
    // Absolute: if the game changes its working directory later, our files stay where they are.
    let data = std::path::absolute(DATA_FOLDER).unwrap_or_else(|_| DATA_FOLDER.into());
    let directory = data.is_dir().then(|| data.join("realtime"));
    // A number that is none becomes 0, UTC.
    let console = text_log::install(directory.as_deref(), offset_s as i32, Arc::clone(&attention), Arc::clone(&stats));
    report_panics();
    let sources = Sources::of(Config::defaults(&host_name(), host_port), operator());
    let (config, _) = sources.resolve();
    config.complaints.iter().for_each(|complaint| log::warn!("{complaint}"));
    config.renaming().iter().for_each(|sentence| log::warn!("{sentence}"));
    config.proxies().sentence().iter().for_each(|sentence| log::info!("{sentence}"));
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

/// Sets the machine's distance from UTC in seconds, and logs a change of the distance in force.
pub(super) fn set_clock(process: &Process, offset_s: f64) {
    let changed = process.engine().shared().zone.set_machine(offset_s);
    if let Some(offset_s) = changed {
        log::info!("dates and days follow the clock of this machine, UTC{}", offset::shown(offset_s));
    }
}

/// Reads the operator's settings from the game's `cfg` folder and from the environment, as they are now.
pub(super) fn operator() -> Operator {
    read_operator(Path::new("garrysmod/cfg"), std::env::vars_os())
}

/// The operating system's name of this machine, or an empty text if it tells none. On Windows it is the DNS host name
/// (<https://learn.microsoft.com/en-us/windows/win32/api/winsock2/nf-winsock2-gethostnamew>), because `COMPUTERNAME` is cut
/// at 15 characters and two machines may have the same.
fn host_name() -> String {
    let name = std::net::hostname().unwrap_or_default();
    name.to_string_lossy().trim().to_owned()
}

/// Sends the message and place of every panic, on any thread, to the text log. Rust's default hook prints to stderr,
/// which no log file keeps.
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

/// Runs the body of an entry. A panic is counted and becomes `None`; the panic hook has logged it by then. No Lua error
/// may leave the body: a LuaJIT with external unwinding would make `catch_unwind` abort the server, one with internal
/// unwinding would jump over the body without running its destructors.
pub(super) fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(body));
    if outcome.is_err()
        && let Some(process) = PROCESS.get()
    {
        process.stats.panics.add(1);
    }
    outcome.ok()
}

/// Whether the pump has something to do. One relaxed load, because it runs in every tick.
pub(super) fn wants_attention() -> bool {
    PROCESS.get().is_some_and(|process| process.attention.load(Ordering::Relaxed))
}

/// Makes the next tick run the pump's work, even if no other thread asks for it.
pub(super) fn raise_attention() {
    if let Some(process) = PROCESS.get() {
        process.attention.store(true, Ordering::Release);
    }
}
