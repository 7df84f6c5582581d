//! The options of the server as a plain struct, and the command line that fills it.
//! Runs before everything else. Refuses unknown options and values out of range, and names them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;

/// How Lua errors cross C frames: which of the two LuaJIT builds runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwind {
    /// Through the system unwinder, which runs the destructors of Rust frames.
    External,
    /// With a long jump over the frames. 64-bit Windows does not have it.
    Internal,
    /// As the two above, with a function in `lua_shared` that makes the module's calls into Lua raise errors where they
    /// allocate memory (`csrc/raising.c`).
    ExternalRaising,
    InternalRaising,
}

/// The handling of a module's library at a map change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unload {
    /// `gmod13_close`, `dlclose`, `lua_close`: the game's order.
    DlcloseFirst,
    /// `gmod13_close`, `lua_close`, `dlclose`.
    DlcloseLast,
    /// `gmod13_close`, `lua_close`.
    Never,
    /// The next map's state starts first, then `gmod13_close` and `lua_close` of the old one.
    Late,
    /// As `Late`, without `gmod13_close`.
    Skipped,
    /// `lua_close` without `gmod13_close`. The next state gets the address of the closed one.
    Closed,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// Run in this order at the start of every map.
    pub scripts: Vec<PathBuf>,
    /// Name and library; installed as `gmsv_<name>_linux64.dll`, or with the suffix of this program's own platform.
    pub modules: Vec<(String, PathBuf)>,
    /// `None`: a temporary directory, removed at the end.
    pub root: Option<PathBuf>,
    pub hostname: String,
    pub port: u16,
    pub map: String,
    pub tickrate: f64,
    /// Stop after this many frames.
    pub ticks: Option<u64>,
    /// Stop after this long.
    pub run_for: Option<Duration>,
    pub unwind: Unwind,
    pub unload: Unload,
    /// Lines of standard input are console commands.
    pub stdin: bool,
    pub report: bool,
    pub hibernate: bool,
    pub allow_errors: bool,
    /// The process ends itself with code 124 after this long; `None`: never.
    pub watchdog: Option<Duration>,
    /// `host.arg` of the scripts.
    pub args: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            scripts: Vec::new(),
            modules: Vec::new(),
            root: None,
            hostname: "Garry's Mod".to_owned(),
            port: 27015,
            map: "gm_construct".to_owned(),
            tickrate: 1000.0 / 15.0,
            ticks: None,
            run_for: None,
            unwind: Unwind::External,
            unload: Unload::DlcloseFirst,
            stdin: false,
            report: false,
            hibernate: false,
            allow_errors: false,
            watchdog: None,
            args: Vec::new(),
        }
    }
}

pub const HELP: &str = "\
gmod-host: a stand-in Garry's Mod dedicated server for trying scripts and binary modules

usage: gmod-host [options] SCRIPT.lua...

The scripts run in order at the start of every map, after garrysmod/lua/autorun/server/*.lua of the root.
The server then runs frames until a script calls host.quit(), the console says quit, or a limit is reached.

  --module [NAME=]PATH  install this library for require(NAME); NAME is realtime when left out; repeatable
                        (default: libgmsv_realtime.so or gmsv_realtime.dll beside this program or in deps/ there, if any)
  --root DIR            game directory, kept at the end (default: a temporary one, removed at the end)
  --name STR            convar hostname (default: Garry's Mod)
  --port N              convar hostport (default: 27015)
  --map NAME            first map (default: gm_construct)
  --tickrate F          frames per second (default: 66.666..., a frame of 15 ms)
  --ticks N             stop after N frames
  --seconds S           stop after S seconds
  --unwind MODE         how Lua errors cross C frames: external (unwinding, default) or internal (long jump);
                        (not on 64-bit Windows); either with -raising: a script can have the module run out of memory
  --unload ORDER        at a map change: dlclose-first (before lua_close, as the game, default), dlclose-last, never;
                        late (the next state starts before the old one is closed), skipped (the same, gmod13_close is
                        not called), closed (gmod13_close is not called, and the next state has the same address)
  --stdin               lines of standard input are console commands, run in the next frame
  --hibernate           start hibernating (no Think, no Tick, only 0 delay timers)
  --set KEY=VALUE       host.arg.KEY for the scripts; repeatable
  --allow-errors        uncaught Lua errors do not change the exit code
  --report              print one line of JSON with frame statistics at the end
  --max-seconds N       kill the process with exit code 124 after N seconds (default: 600, 0 = never)
  --help                this text

exit code: that of host.quit(code); 1 if a Lua error was not caught or host.fail was called; 2 if the server could not
start; 124 if it ran too long.
";

/// The request of the command line.
pub enum Request {
    Run(Box<Options>),
    Help,
}

/// Reads the arguments after the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Error> {
    let mut options = Options { watchdog: Some(Duration::from_secs(600)), ..Options::default() };
    let mut args = args.into_iter();
    let mut only_scripts = false;
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy().into_owned();
        if only_scripts || !text.starts_with('-') || text == "-" {
            options.scripts.push(arg.into());
            continue;
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        let mut value = || {
            let given = inline.clone().or_else(|| args.next().map(|next| next.to_string_lossy().into_owned()));
            given.ok_or_else(|| Error::new(format!("option `{name}` needs a value")))
        };
        match name {
            "--" => only_scripts = true,
            "--help" | "-h" => return Ok(Request::Help),
            "--module" => options.modules.push(module(&value()?)?),
            "--root" => options.root = Some(value()?.into()),
            "--name" => options.hostname = value()?,
            "--port" => options.port = number(name, &value()?, 0.0, 65535.0)? as u16,
            "--map" => options.map = value()?,
            "--tickrate" => options.tickrate = number(name, &value()?, 1.0, 10_000.0)?,
            "--ticks" => options.ticks = Some(number(name, &value()?, 0.0, 1e15)? as u64),
            "--seconds" => options.run_for = Some(Duration::from_secs_f64(number(name, &value()?, 0.0, 1e9)?)),
            "--unwind" => {
                let kinds = [
                    ("external", Unwind::External),
                    ("internal", Unwind::Internal),
                    ("external-raising", Unwind::ExternalRaising),
                    ("internal-raising", Unwind::InternalRaising),
                ];
                options.unwind = one_of(name, &value()?, &kinds)?;
            }
            "--unload" => {
                let orders = [
                    ("dlclose-first", Unload::DlcloseFirst),
                    ("dlclose-last", Unload::DlcloseLast),
                    ("never", Unload::Never),
                    ("late", Unload::Late),
                    ("skipped", Unload::Skipped),
                    ("closed", Unload::Closed),
                ];
                options.unload = one_of(name, &value()?, &orders)?;
            }
            "--stdin" => options.stdin = true,
            "--report" => options.report = true,
            "--hibernate" => options.hibernate = true,
            "--allow-errors" => options.allow_errors = true,
            "--max-seconds" => {
                let seconds = number(name, &value()?, 0.0, 1e9)?;
                options.watchdog = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
            }
            "--set" => {
                let pair = value()?;
                let (key, value) =
                    pair.split_once('=').ok_or_else(|| Error::new(format!("`--set {pair}` is not KEY=VALUE")))?;
                options.args.push((key.to_owned(), value.to_owned()));
            }
            _ => return Err(Error::new(format!("unknown option `{name}` (see --help)"))),
        }
    }
    Ok(Request::Run(Box::new(options)))
}

/// The library this workspace builds, next to the running program or in `deps/` there (beside a test, one up).
pub fn default_module() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let dir = program.parent()?;
    let file = format!("{}gmsv_realtime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let mut places = vec![dir.join(&file), dir.join("deps").join(&file)];
    if dir.file_name().is_some_and(|name| name == "deps") {
        places.extend(dir.parent().map(|up| up.join(&file)));
    }
    places.into_iter().find(|place| place.is_file())
}

fn module(text: &str) -> Result<(String, PathBuf), Error> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !name.contains(['/', '\\']) => (name, path),
        _ => ("realtime", text),
    };
    if !Path::new(path).is_file() {
        return Err(Error::new(format!("module `{path}` is not a file")));
    }
    Ok((name.to_owned(), path.into()))
}

fn number(name: &str, text: &str, min: f64, max: f64) -> Result<f64, Error> {
    match text.parse::<f64>() {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => Err(Error::new(format!("option `{name}` takes a number from {min} to {max}, not `{text}`"))),
    }
}

fn one_of<T: Copy>(name: &str, text: &str, values: &[(&str, T)]) -> Result<T, Error> {
    values.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = values.iter().map(|(word, _)| *word).collect();
        Error::new(format!("option `{name}` takes {}, not `{text}`", words.join(", ")))
    })
}
