//! Builds the two `lua_shared.so` of the stand-in server: the same LuaJIT, once raising errors by unwinding through
//! C frames ("external", the default build) and once by jumping over them ("internal", `-DLUAJIT_NO_UNWIND`).
//! Runs once; only a change of this file or of `csrc/` repeats it. Fails if a build did not get its flag.
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

    let external = build(&out.join("external"), "lua_shared.so", None)?;
    let internal = build(&out.join("internal"), "lua_shared_internal.so", Some("-DLUAJIT_NO_UNWIND"))?;
    for (name, [plain, raising]) in [("EXTERNAL", external), ("INTERNAL", internal)] {
        println!("cargo:rustc-env=LUA_SHARED_{name}={}", plain.display());
        println!("cargo:rustc-env=LUA_SHARED_{name}_RAISING={}", raising.display());
    }
    Ok(())
}

/// The functions that `csrc/raising.c` wraps.
const RAISING: [&str; 6] =
    ["lua_pushlstring", "lua_createtable", "lua_pushcclosure", "lua_concat", "lua_rawset", "luaL_ref"];

/// Builds one LuaJIT in `dir` and links all of it into the shared library `name`; then once more with errors where a module
/// allocates memory.
fn build(dir: &Path, name: &str, flag: Option<&str>) -> Result<[PathBuf; 2], Box<dyn Error>> {
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
    check_unwinding(dir, flag.is_some())?;

    let archive = luajit.lib_dir().join("libluajit.a");
    let renamed = dir.join("libluajit_raising.a");
    let names = RAISING.map(|name| format!("--redefine-sym={name}=real_{name}"));
    run(Command::new("objcopy").args(names).arg(&archive).arg(&renamed))?;
    let link = |library: &Path, archive: &Path, sources: &[&str]| {
        let cc = env::var_os("CC").unwrap_or_else(|| "cc".into());
        run(Command::new(cc)
            .args(["-shared", "-fPIC", "-O2", "-Wl,-soname,lua_shared.so", "-o"])
            .arg(library)
            .arg("-I")
            .arg(luajit.include_dir())
            .args(sources)
            .arg("-Wl,--whole-archive")
            .arg(archive)
            .args(["-Wl,--no-whole-archive", "-lm", "-ldl"]))
    };
    let [plain, raising] = [dir.join(name), dir.join(format!("raising_{name}"))];
    link(&plain, &archive, &["csrc/resume.c"])?;
    link(&raising, &renamed, &["csrc/resume.c", "csrc/raising.c"])?;
    Ok([plain, raising])
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|err| format!("{command:?}: {err}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}

/// The object with LuaJIT's error handling must (external) or must not (internal) call the unwinder.
fn check_unwinding(dir: &Path, internal: bool) -> Result<(), Box<dyn Error>> {
    const UNWINDER: &[u8] = b"_Unwind_RaiseException\0";
    let object = fs::read(dir.join("luajit-build/src/lj_err.o"))?;
    let unwinds = object.windows(UNWINDER.len()).any(|window| window == UNWINDER);
    if unwinds == internal {
        return Err(format!("{}: the unwinding mode of this LuaJIT is not the one asked for", dir.display()).into());
    }
    Ok(())
}
