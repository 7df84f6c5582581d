//! Builds the two `lua_shared.so` of the stand-in server: the same LuaJIT, once raising errors by unwinding through
//! C frames ("external", the default build) and once by jumping over them ("internal", `-DLUAJIT_NO_UNWIND`).
//! Runs once; only a change of this file or of `csrc/` repeats it. Refuses to hand out a build whose flag got lost.
#![allow(unsafe_code)] // setting an environment variable for the second build

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=csrc/resume.c");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    let external = build(&out.join("external"), "lua_shared.so", None)?;
    let internal = build(&out.join("internal"), "lua_shared_internal.so", Some("-DLUAJIT_NO_UNWIND"))?;
    println!("cargo:rustc-env=LUA_SHARED_EXTERNAL={}", external.display());
    println!("cargo:rustc-env=LUA_SHARED_INTERNAL={}", internal.display());
    Ok(())
}

/// One LuaJIT in `dir`, linked whole into the shared library `name`.
fn build(dir: &Path, name: &str, flag: Option<&str>) -> Result<PathBuf, Box<dyn Error>> {
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

    let library = dir.join(name);
    let cc = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(cc)
        .args(["-shared", "-fPIC", "-O2", "-Wl,-soname,lua_shared.so", "-o"])
        .arg(&library)
        .arg("-I")
        .arg(luajit.include_dir())
        .arg("csrc/resume.c")
        .arg("-Wl,--whole-archive")
        .arg(luajit.lib_dir().join("libluajit.a"))
        .args(["-Wl,--no-whole-archive", "-lm", "-ldl"])
        .status()?;
    if !status.success() {
        return Err(format!("linking {} failed: {status}", library.display()).into());
    }
    Ok(library)
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
