//! Compiles the functions that ring lacks with the define of `.cargo/config.toml`, which makes the library 155 KB smaller.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "tls")]
    complete_ring();
}

#[cfg(feature = "tls")]
fn complete_ring() {
    let source = "src/io/tls/ring_small.c";
    println!("cargo:rerun-if-changed={source}");
    // On other processors ring's Rust code calls the general functions itself.
    let target = std::env::var("TARGET").unwrap_or_default();
    if matches!(target.as_str(), "x86_64-unknown-linux-gnu" | "x86_64-pc-windows-gnu") {
        // The linker takes all of the archive: it reads ring, which needs the functions, after it.
        cc::Build::new().file(source).link_lib_modifier("+whole-archive").compile("realtime_ring_small");
    }
}
