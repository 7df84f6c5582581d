//! The server: maps, frames, the console on standard input, shutdown.
//! Main thread only. Owns the Lua state and the directory; the rest is in [`crate::world`].
//! A Lua error never stops the server: it is printed and counted.

use std::ffi::{CStr, c_void};
use std::io::BufRead;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::frames::FrameStats;
use crate::options::{Options, Unload, Unwind};
use crate::root::{self, LUA_SHARED, Root};
use crate::value::{Lua, Value};
use crate::world::{self, World};
use crate::{Error, ffi, modules, process, watchdog};

/// Loaded in this order into every fresh state; each is a function of the table they share.
const PRELUDE: &[(&str, &str)] = &[
    ("=[host] prelude", include_str!("lua/prelude.lua")),
    ("=[host] types", include_str!("lua/types.lua")),
    ("=[host] entities", include_str!("lua/entities.lua")),
    ("=[host] extensions", include_str!("lua/extensions.lua")),
    ("=[host] json", include_str!("lua/json.lua")),
    ("=[host] hook", include_str!("lua/hook.lua")),
    ("=[host] timer", include_str!("lua/timer.lua")),
    ("=[host] file", include_str!("lua/file.lua")),
    ("=[host] console", include_str!("lua/console.lua")),
    ("=[host] loading", include_str!("lua/loading.lua")),
    ("=[host] host", include_str!("lua/host.lua")),
    ("=[host] sandbox", include_str!("lua/sandbox.lua")),
];

/// Lines of standard input that may wait for the next frame. A writer that is faster waits; nobody types so fast.
const STDIN_LINES_MAX: usize = 1024;

/// States made in search of one address: the allocator gives a free place again within a few.
const STATES_MAX: usize = 100;

/// The first server loads the library for the whole process, so its kind cannot change any more.
static UNWIND: OnceLock<Unwind> = OnceLock::new();

pub struct Server {
    lua: Option<Lua>,
    /// The state of the previous map, if it is closed only after the start of the next.
    late: Option<Lua>,
    /// The address of the previous map's state, if the next state must have the same.
    same_address: Option<*mut c_void>,
    root: Root,
    /// The previous working directory, to return to.
    home: Option<PathBuf>,
    interval: Duration,
    next_frame: Instant,
    /// Ticks of this map, skipped ones included: what CurTime counts.
    map_ticks: u64,
    /// Ticks the next frame stands for: more than one after a long frame.
    due_ticks: u64,
    frames_run: u64,
    stdin_rx: Option<Receiver<String>>,
    _main_thread_only: PhantomData<*const ()>,
}

impl Server {
    /// Creates the directory, enters it, loads Lua and starts the first map. A process has one server at a time, and all its
    /// servers use the same kind of unwinding.
    pub fn new(mut options: Options) -> Result<Server, Error> {
        if world::exists() {
            return Err(Error::new("a server is already running in this process"));
        }
        if *UNWIND.get_or_init(|| options.unwind) != options.unwind {
            return Err(Error::new("this process has already loaded the Lua of the other unwinding mode"));
        }
        for script in &mut options.scripts {
            *script = root::full_path(script).map_err(|err| Error::io("cannot read script", script, &err))?;
        }
        let home = env::current_dir().ok();
        let root = Root::new(&options)?;
        env::set_current_dir(root.path()).map_err(|err| Error::io("cannot enter", root.path(), &err))?;
        // The path is relative, as a module opens it: the loader must see the same file.
        ffi::load_library(LUA_SHARED.as_ref())?;
        if let Some(limit) = options.watchdog {
            watchdog::start(limit, options.root.is_none().then(|| root.path().to_owned()))?;
        }
        let stdin_rx = if options.stdin { Some(read_stdin()?) } else { None };
        let interval = Duration::from_secs_f64(1.0 / options.tickrate.clamp(0.01, 1e6));
        world::set(Some(World::new(options)));
        let mut server = Server {
            lua: None,
            late: None,
            same_address: None,
            root,
            home,
            interval,
            next_frame: Instant::now(),
            map_ticks: 0,
            due_ticks: 1,
            frames_run: 0,
            stdin_rx,
            _main_thread_only: PhantomData,
        };
        server.start_map()?;
        Ok(server)
    }

    /// Runs one frame now, without waiting: console, timers, hooks. A level change that is requested in it happens at its end.
    pub fn run_frame(&mut self) -> Result<(), Error> {
        let lines: Vec<String> = self.stdin_rx.iter().flat_map(Receiver::try_iter).collect();
        let started = Instant::now();
        let hibernating = world::with(|world| {
            world.frame_started = process::wall_seconds();
            world.hibernating
        })
        .unwrap_or(false);
        if !hibernating {
            self.map_ticks += self.due_ticks;
        }
        let interval_s = self.interval.as_secs_f64();
        for line in lines {
            self.call(c"host_command", &[Value::text(line)]);
        }
        let cur_time = self.map_ticks as f64 * interval_s;
        self.call(c"host_frame", &[Value::Bool(hibernating), Value::Number(cur_time)]);
        self.due_ticks = 1;
        self.frames_run += 1;
        let next_map = world::with(|world| {
            world.frames.add(started.elapsed());
            world.next_map.take()
        });
        match next_map.flatten() {
            Some(map) => self.change_level(&map),
            None => Ok(()),
        }
    }

    /// Runs frames at the server's rate until a script or the console quits or a limit of the options is reached. Returns the
    /// exit code so far (see [`Server::exit_code`]).
    pub fn run_until_quit(&mut self) -> Result<i32, Error> {
        let (ticks, run_for) = world::with(|world| (world.options.ticks, world.options.run_for)).unwrap_or_default();
        let deadline = run_for.map(|time| Instant::now() + time);
        self.next_frame = Instant::now() + self.interval;
        while !self.wants_quit()
            && ticks.is_none_or(|ticks| self.frames_run < ticks)
            && deadline.is_none_or(|deadline| self.next_frame <= deadline)
        {
            self.wait_for_frame();
            self.run_frame()?;
        }
        Ok(self.exit_code())
    }

    /// Ends the map and starts `map` in a fresh Lua state.
    pub fn change_level(&mut self, map: &str) -> Result<(), Error> {
        self.stop_map(true);
        world::with(|world| {
            world.map = map.to_owned();
            world.map_changes += 1;
            world.next_map = None;
        });
        self.start_map()?;
        self.stop_late();
        self.next_frame = self.next_frame.max(Instant::now());
        Ok(())
    }

    /// Ends the map; the counts can still be read.
    pub fn stop(&mut self) {
        self.stop_map(false);
    }

    /// Ends the map and the server, and returns the exit code.
    pub fn shutdown(mut self) -> i32 {
        self.stop_map(false);
        self.exit_code()
    }

    /// The code given to `host.quit`, or 1 when an error was not caught, or 0.
    pub fn exit_code(&self) -> i32 {
        world::with(|world| {
            let failed = world.failed || (world.uncaught > 0 && !world.options.allow_errors);
            match world.quit {
                Some(code) if code != 0 => code,
                _ => i32::from(failed),
            }
        })
        .unwrap_or(1)
    }

    pub fn wants_quit(&self) -> bool {
        world::with(|world| world.quit.is_some()).unwrap_or(true)
    }

    pub fn frame_stats(&self) -> FrameStats {
        world::with(|world| world.frames.stats()).unwrap_or_default()
    }

    /// Frame statistics and error counts as one line of JSON.
    pub fn report_json(&self) -> String {
        let stats = self.frame_stats();
        let (maps, errors, uncaught) =
            world::with(|world| (world.map_changes, world.errors, world.uncaught)).unwrap_or_default();
        format!(
            r#"{{"frames":{},"p50_us":{},"p99_us":{},"max_us":{},"map_changes":{maps},"errors":{errors},"uncaught":{uncaught},"exit":{}}}"#,
            stats.count,
            stats.p50_us,
            stats.p99_us,
            stats.max_us,
            self.exit_code()
        )
    }

    /// Runs `code` like `lua_run`, and returns its results as `tostring` shows them, separated by tabs.
    pub fn eval(&mut self, code: &str) -> Result<String, String> {
        let lua = self.lua.as_ref().ok_or("no map is running")?;
        let results = lua.call(c"host_eval", &[Value::text(code)])?;
        let text = results.get(1).map_or_else(String::new, Value::display);
        if results.first() == Some(&Value::Bool(true)) { Ok(text) } else { Err(text) }
    }

    /// The `lua_State*` of the running map, null when there is none. Good until the map ends.
    pub fn lua_state(&self) -> *mut c_void {
        self.lua.as_ref().map_or(std::ptr::null_mut(), Lua::raw)
    }

    /// The game directory, which is also the current directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Sleeps until the absolute deadline of the next frame. If it has long passed, the missed ticks are not run one by one:
    /// the next frame stands for all of them. Rust sleeps with a fine timer on Windows, too.
    fn wait_for_frame(&mut self) {
        let now = Instant::now();
        let late = now.saturating_duration_since(self.next_frame);
        let missed = (late.as_nanos() / self.interval.as_nanos().max(1)) as u32;
        self.due_ticks = 1 + u64::from(missed);
        self.next_frame += self.interval * missed;
        thread::sleep(self.next_frame.saturating_duration_since(now));
        self.next_frame += self.interval;
    }

    fn start_map(&mut self) -> Result<(), Error> {
        self.map_ticks = 0;
        let lua = self.new_state()?;
        run_prelude(&lua).map_err(Error::new)?;
        self.lua = Some(lua);
        for script in self.autorun() {
            self.run_script(&script, script.strip_prefix(self.root.path().join("garrysmod")).unwrap_or(&script));
        }
        for script in world::with(|world| world.options.scripts.clone()).unwrap_or_default() {
            self.run_script(&script, &script);
        }
        self.call(c"host_start", &[]);
        Ok(())
    }

    /// A fresh state, at the address of the last one if that is asked for.
    fn new_state(&mut self) -> Result<Lua, Error> {
        let make = || Lua::new().ok_or_else(|| Error::new("cannot make a Lua state"));
        let Some(address) = self.same_address.take() else { return make() };
        // States at other addresses stay open meanwhile, so that each attempt gets another one.
        let mut others = Vec::new();
        let found = loop {
            let lua = make()?;
            if lua.raw() == address {
                break Ok(lua);
            }
            others.push(lua);
            if others.len() == STATES_MAX {
                break Err(Error::new("no new Lua state has the address of the closed one"));
            }
        };
        others.into_iter().for_each(Lua::close);
        found
    }

    /// `ShutDown`, `gmod13_close`, and then the state and the libraries in the order asked for.
    fn stop_map(&mut self, another_follows: bool) {
        self.call(c"host_shutdown", &[]);
        let Some(lua) = self.lua.take() else { return };
        let unload = world::with(|world| world.options.unload).unwrap_or(Unload::Never);
        if another_follows && matches!(unload, Unload::Late | Unload::Skipped) {
            self.late = Some(lua);
            return;
        }
        if another_follows && unload == Unload::Closed {
            self.same_address = Some(lua.raw());
            return lua.close();
        }
        let closed = modules::close_all(&lua);
        match unload {
            Unload::DlcloseFirst => {
                modules::unmap(closed);
                lua.close();
            }
            Unload::DlcloseLast => {
                lua.close();
                modules::unmap(closed);
            }
            Unload::Never | Unload::Late | Unload::Skipped | Unload::Closed => lua.close(),
        }
    }

    /// Ends the previous map, if that was postponed.
    fn stop_late(&mut self) {
        let Some(lua) = self.late.take() else { return };
        if world::with(|world| world.options.unload) == Some(Unload::Late) {
            // The library stays open for the current state.
            let modules = modules::close_all(&lua);
            world::with(|world| world.modules.extend(modules));
        }
        lua.close();
    }

    /// The root's own scripts, by name.
    fn autorun(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.path().join("garrysmod/lua/autorun/server"));
        let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        let mut scripts: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|ext| ext == "lua")).collect();
        scripts.sort_unstable();
        scripts
    }

    fn run_script(&self, path: &Path, shown: &Path) {
        match fs::read(path) {
            Ok(source) => self.call(
                c"host_script",
                &[Value::text(slashes(shown)), Value::String(source), Value::text(slashes(path))],
            ),
            Err(err) => report(&format!("cannot read script `{}`: {err}", path.display())),
        }
    }

    fn call(&self, function: &CStr, args: &[Value]) {
        if let Some(lua) = &self.lua
            && let Err(message) = lua.call(function, args)
        {
            report(&message);
        }
    }
}

fn run_prelude(lua: &Lua) -> Result<(), String> {
    for (chunk, source) in PRELUDE {
        lua.run(source.as_bytes(), chunk, &[]).map_err(|message| format!("the host's own Lua failed: {message}"))?;
    }
    Ok(())
}

/// Runs `code` in one more state, while another one runs. It gets no frames, and stays open until the process ends.
pub(crate) fn run_in_another_state(code: &[u8]) -> Result<(), String> {
    let lua = Lua::new().ok_or("cannot make a Lua state")?;
    run_prelude(&lua)?;
    lua.run(code, "=[another state]", &[]).map(drop)
}

/// A path as Lua sees it: with `/`, on Windows as well.
fn slashes(path: &Path) -> String {
    let text = path.to_string_lossy();
    if cfg!(windows) { text.replace('\\', "/") } else { text.into_owned() }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_map(false);
        world::set(None);
        // Leave the directory before it is removed.
        if let Some(home) = &self.home {
            let _ = env::set_current_dir(home);
        }
    }
}

/// An error that no Lua handler saw: printed and counted here.
pub(crate) fn report(message: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "\n[ERROR] {message}\n").and_then(|()| out.flush());
    world::with(|world| {
        world.errors += 1;
        world.uncaught += 1;
        world.last_error = message.to_owned();
    });
}

/// Reads standard input on its own thread, which ends with the input or the process.
fn read_stdin() -> Result<Receiver<String>, Error> {
    let (line_tx, line_rx) = sync_channel(STDIN_LINES_MAX);
    let body = move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line_tx.send(line).is_err() {
                return;
            }
        }
    };
    let spawned = thread::Builder::new().name("host-stdin".to_owned()).spawn(body);
    spawned.map_err(|err| Error::new(format!("cannot read standard input: {err}")))?;
    Ok(line_rx)
}
