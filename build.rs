//! Link flags of the library: it is never unmapped.
//!
//! A game server may `dlclose` a binary module at every map change while its threads live on, so the
//! library asks the loader to keep it (`DF_1_NODELETE`). Windows does the same at run time (`src/lua/mod.rs`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
