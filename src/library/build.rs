//! Link flags of the library: the loader must never unmap it, and no function may be missing.
//!
//! A game server may `dlclose` a binary module at every map change while the module's threads run on, so the library asks
//! the loader to keep it (`DF_1_NODELETE`). On Windows the code does the same at run time (`src/lua/open.rs`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        // A function that is missing is an error here, and not a crash at its first call (`src/io/tls/ring_small.c`).
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,defs");
    }
    // Set by scripts/package: the system's libgcc_s, which zig does not link by itself. Only the library needs it, because
    // Lua errors unwind through it; a program that is linked with zig has zig's unwinder.
    println!("cargo:rerun-if-env-changed=REALTIME_UNWINDER");
    if let Ok(unwinder) = std::env::var("REALTIME_UNWINDER") {
        println!("cargo:rustc-cdylib-link-arg={unwinder}");
    }
}
