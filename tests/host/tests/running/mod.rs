//! A running stand-in server with the module, for the end-to-end tests.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod client;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The LuaJIT builds of the host: errors unwind Rust frames, or jump over them. 64-bit Windows has the first one only.
pub(crate) fn unwinding() -> &'static [&'static str] {
    let program = std::fs::read(program()).expect("the server program");
    // <https://learn.microsoft.com/en-us/windows/win32/debug/pe-format>: the place of the header, then its machine.
    let win64 = || {
        let place = program.get(0x3c..0x40)?.try_into().ok().map(u32::from_le_bytes)? as usize;
        Some(program.get(place..place + 6)? == b"PE\0\0\x64\x86")
    };
    if win64() == Some(true) { &["external"] } else { &["external", "internal"] }
}

pub(crate) fn redis() -> String {
    std::env::var("REALTIME_TEST_REDIS").expect("run this under scripts/redis-in-docker")
}

pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path).canonicalize().expect(path)
}

/// The server program. Cargo builds it before the tests. `REALTIME_HOST` names that of another platform.
fn program() -> PathBuf {
    std::env::var_os("REALTIME_HOST").map_or_else(|| env!("CARGO_BIN_EXE_gmod-host").into(), PathBuf::from)
}

fn on_windows() -> bool {
    program().extension().is_some_and(|extension| extension == "exe")
}

/// The command that starts the server: `REALTIME_HOST_RUNNER`, if that is set, then the program. A runner becomes the program,
/// so that a signal to it reaches the program.
fn command() -> Command {
    match std::env::var_os("REALTIME_HOST_RUNNER").filter(|runner| !runner.is_empty()) {
        Some(runner) => {
            let mut command = Command::new(runner);
            command.arg(program());
            command
        }
        None => Command::new(program()),
    }
}

/// A path as the server has to name it: for wine, this machine's files are on drive Z.
pub(crate) fn seen_by_host(path: impl AsRef<Path>) -> String {
    let path = path.as_ref().to_str().expect("UTF-8");
    if on_windows() { format!("Z:{path}") } else { path.to_owned() }
}

/// The module's library. Cargo builds it beside the tests, because the tests depend on the module. `REALTIME_LIBRARY` names
/// another one: the file that ships, or one with other features or for another platform.
pub(crate) fn module() -> PathBuf {
    if let Some(library) = std::env::var_os("REALTIME_LIBRARY") {
        return library.into();
    }
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.join("libgmsv_realtime.so")
}

pub(crate) fn prefix(test: &str) -> String {
    format!("{test}:{}:", std::process::id())
}

/// The environment of a server on the shared Redis.
pub(crate) fn variables(prefix: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let shared = [("REALTIME_REDIS", redis()), ("REALTIME_PREFIX", prefix.to_owned())];
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    shared.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The environment of a server on a machine without a Redis, whose owner has set nothing. `auto` looks at port 6379 of this
/// machine; if something listens there, the embedded server is asked for outright.
pub(crate) fn without_redis() -> Vec<(String, String)> {
    let is_free = std::net::TcpStream::connect(("127.0.0.1", 6379)).is_err();
    if is_free { Vec::new() } else { vec![("REALTIME_REDIS".to_owned(), "embedded".to_owned())] }
}

/// One running stand-in server.
pub(crate) struct Host {
    child: Child,
    lines: Box<dyn Iterator<Item = std::io::Result<String>>>,
    said: Vec<String>,
}

impl Host {
    pub(crate) fn start(script: &str, prefix: &str, options: &[&str]) -> Host {
        Host::start_with(script, prefix, options, &[])
    }

    pub(crate) fn start_with(script: &str, prefix: &str, options: &[&str], environment: &[(&str, &str)]) -> Host {
        Host::launch(script, 100, options, variables(prefix, environment))
    }

    /// Starts a server with this environment only, which runs at most this long.
    pub(crate) fn launch(script: &str, seconds: u64, options: &[&str], environment: Vec<(String, String)>) -> Host {
        let mut command = command();
        // Variables of the test's environment must not reach the server.
        let ours = |name: &OsString| name.to_string_lossy().starts_with("REALTIME_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["--max-seconds", &seconds.to_string(), "--module"])
            .arg(seen_by_host(module()))
            .args(options)
            .arg(seen_by_host(project(&format!("tests/lua/{script}.lua"))))
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Box::new(BufReader::new(child.stdout.take().unwrap()).lines());
        Host { child, lines, said: Vec::new() }
    }

    /// Reads on to the next line that starts with this text.
    pub(crate) fn line(&mut self, start: &str) -> String {
        for line in self.lines.by_ref() {
            self.said.push(line.unwrap());
            let last = self.said.last().unwrap();
            if last.starts_with(start) {
                return last.clone();
            }
        }
        panic!("the server ended before it printed `{start}`:\n{}", self.said.join("\n"));
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end of the server and returns its exit status.
    pub(crate) fn end(mut self) -> std::process::ExitStatus {
        self.lines.by_ref().for_each(drop);
        self.child.wait().unwrap()
    }

    /// Waits for the end, which must be a success, and returns everything that it printed.
    pub(crate) fn finish(mut self) -> String {
        self.said.extend(self.lines.by_ref().map(Result::unwrap));
        let status = self.child.wait().unwrap();
        let said = self.said.join("\n");
        assert!(status.success(), "{status}:\n{said}");
        said
    }

    /// As [`Host::finish`], for a script that counts its own checks.
    pub(crate) fn pass(self) -> String {
        let said = self.finish();
        assert!(said.contains(" passed, 0 failed"), "{said}");
        said
    }
}
