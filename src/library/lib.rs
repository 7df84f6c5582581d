//! The library that the game loads. It adds nothing to the crate `realtime`, whose functions `gmod13_open` and
//! `gmod13_close` it exports: a crate of its own makes `cargo build --release` optimise across all crates.

extern crate realtime;
