//! Compiles the functions that use hiredis, with the level at which distributions build hiredis itself.

fn main() {
    cc::Build::new().file("hiredis.c").opt_level(2).warnings_into_errors(true).compile("peer_hiredis");
    println!("cargo::rustc-link-lib=hiredis");
    println!("cargo::rerun-if-changed=hiredis.c");
}
