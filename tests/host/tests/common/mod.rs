//! Shared by the tests of the host: running the program, a temporary directory, compiling the probe module.
#![allow(dead_code)] // each test binary uses its part

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

/// The exit code and the output of a run.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// The lines of standard output that start with `prefix`, without the prefix.
    pub(crate) fn said(&self, prefix: &str) -> Vec<&str> {
        self.out.lines().filter_map(|line| line.strip_prefix(prefix)).collect()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn contains(&self, text: &str) {
        assert!(self.out.contains(text), "no {text:?} in:\n{}\nstderr:\n{}", self.out, self.err);
    }
}

/// Runs the host with `args` and this standard input. The tick rate is high, because tests wait for frames, not for time.
pub(crate) fn host(args: &[&str], stdin: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gmod-host"));
    command.args(["--tickrate", "1000", "--max-seconds", "60"]).args(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("host starts");
    // The host may end before it reads; then its output says why.
    let _ = child.stdin.take().expect("stdin is piped").write_all(stdin.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("host ends");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Run { code: status.code(), out: text(&stdout), err: text(&stderr) }
}

/// Runs one Lua text as the only script.
pub(crate) fn script(lua: &str, args: &[&str]) -> Run {
    let dir = Dir::new();
    let path = dir.write("script.lua", lua);
    host(&[args, &[path.to_str().expect("temporary paths are UTF-8")]].concat(), "")
}

/// The Lua script `name` of `tests/lua`.
pub(crate) fn lua(name: &str) -> String {
    format!("{}/tests/lua/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A directory that is removed with the value.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gmod-host-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("temporary directory");
        Dir(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("directory");
        fs::write(&path, text).expect("file");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Compiles `tests/probe.c` and returns `probe=PATH` for `--module`.
pub(crate) fn probe(dir: &Dir, flags: &[&str]) -> String {
    let library = dir.0.join("probe.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-fexceptions", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .args(flags)
        .status()
        .expect("cc runs");
    assert!(status.success(), "probe.c compiles");
    format!("probe={}", library.display())
}
