//! Builds the `lua_shared` libraries of the stand-in server for the target: the same LuaJIT, once raising errors by unwinding
//! through C frames ("external", the default build) and once by jumping over them ("internal", `-DLUAJIT_NO_UNWIND`, not on 64-bit Windows).
//! Runs once for each target; only a change of this file or of `csrc/` repeats it. Fails if a build did not get its flag.
#![allow(unsafe_code)] // setting an environment variable for the second build

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=csrc/resume.c");
    println!("cargo:rerun-if-changed=csrc/raising.c");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let tools = Tools::for_target()?;

    let mut modes = vec![("external", None)];
    // The interpreter of 64-bit Windows relies on the system's unwinder for registers that callers expect back.
    if !(tools.windows && env::var("CARGO_CFG_TARGET_POINTER_WIDTH")? == "64") {
        modes.push(("internal", Some("-DLUAJIT_NO_UNWIND")));
    }
    for (name, flag) in modes {
        let [plain, raising] = tools.build(&out.join(name), flag)?;
        let name = name.to_uppercase();
        println!("cargo:rustc-env=LUA_SHARED_{name}={}", plain.display());
        println!("cargo:rustc-env=LUA_SHARED_{name}_RAISING={}", raising.display());
    }
    Ok(())
}

/// The functions that `csrc/raising.c` wraps.
const RAISING: [&str; 6] =
    ["lua_pushlstring", "lua_createtable", "lua_pushcclosure", "lua_concat", "lua_rawset", "luaL_ref"];

/// The C tools of the target, and the differences between its system and others.
struct Tools {
    compiler: cc::Tool,
    objcopy: PathBuf,
    windows: bool,
    /// A `_` before every name in C, in the symbols of 32-bit Windows.
    symbol_prefix: &'static str,
}

impl Tools {
    fn for_target() -> Result<Tools, Box<dyn Error>> {
        let compiler = cc::Build::new().cargo_metadata(false).warnings(false).try_get_compiler()?;
        let windows = env::var("CARGO_CFG_TARGET_OS")? == "windows";
        let x86 = env::var("CARGO_CFG_TARGET_ARCH")? == "x86";
        // A cross compiler is PREFIX-gcc, and its tools have the same prefix.
        let name = compiler.path().to_string_lossy().into_owned();
        let objcopy = name.strip_suffix("-gcc").map_or("objcopy".to_owned(), |prefix| format!("{prefix}-objcopy"));
        let symbol_prefix = if windows && x86 { "_" } else { "" };
        Ok(Tools { compiler, objcopy: objcopy.into(), windows, symbol_prefix })
    }

    /// Builds one LuaJIT in `dir` and links all of it into a shared library; then once more with errors where a module
    /// allocates memory.
    fn build(&self, dir: &Path, flag: Option<&str>) -> Result<[PathBuf; 2], Box<dyn Error>> {
        fs::create_dir_all(dir)?;
        // luajit-src has no hook for flags, but its `make -e` lets the environment replace CCDEBUG, which reaches every
        // compile step, the one that decides the assembler's own flags included.
        // SAFETY: a build script with a single thread.
        unsafe {
            match flag {
                Some(flag) => env::set_var("CCDEBUG", flag),
                None => env::remove_var("CCDEBUG"),
            }
        }
        let luajit = luajit_src::Build::new().out_dir(dir).debug(false).try_build().map_err(|err| err.to_string())?;
        self.check_unwinding(dir, flag.is_some())?;

        let archive = luajit.lib_dir().join("libluajit.a");
        let renamed = dir.join("libluajit_raising.a");
        let prefix = self.symbol_prefix;
        let names = RAISING.map(|name| format!("--redefine-sym={prefix}{name}={prefix}real_{name}"));
        run(Command::new(&self.objcopy).args(names).arg(&archive).arg(&renamed))?;
        let [plain, raising] = ["plain", "raising"].map(|kind| dir.join(kind));
        Ok([
            self.link(&plain, &archive, luajit.include_dir(), &["csrc/resume.c"])?,
            self.link(&raising, &renamed, luajit.include_dir(), &["csrc/resume.c", "csrc/raising.c"])?,
        ])
    }

    /// Links a library that exports every function of the archive and of the sources.
    fn link(&self, dir: &Path, archive: &Path, include: &Path, sources: &[&str]) -> Result<PathBuf, Box<dyn Error>> {
        fs::create_dir_all(dir)?;
        let library = dir.join(if self.windows { "lua_shared.dll" } else { "lua_shared.so" });
        let mut command = self.compiler.to_command();
        command.args(["-shared", "-O2", "-o"]).arg(&library).arg("-I").arg(include).args(sources);
        command.arg("-Wl,--whole-archive").arg(archive).arg("-Wl,--no-whole-archive");
        if self.windows {
            command.args(["-Wl,--export-all-symbols", "-static-libgcc"]);
        } else {
            command.args(["-fPIC", "-Wl,-soname,lua_shared.so", "-lm", "-ldl"]);
        }
        run(&mut command)?;
        Ok(library)
    }

    /// The object with LuaJIT's error handling must (external) or must not (internal) call the unwinder of the system.
    fn check_unwinding(&self, dir: &Path, internal: bool) -> Result<(), Box<dyn Error>> {
        // Windows calls LuaJIT's handler in both modes, but only the external one raises an exception.
        let unwinder: &[u8] = if self.windows { b"RaiseException" } else { b"_Unwind_RaiseException\0" };
        let object = fs::read(dir.join("luajit-build/src/lj_err.o"))?;
        let unwinds = object.windows(unwinder.len()).any(|window| window == unwinder);
        if unwinds == internal {
            return Err(format!("{}: the unwinding mode of this LuaJIT is not the one asked for", dir.display()).into());
        }
        Ok(())
    }
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|err| format!("{command:?}: {err}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}
