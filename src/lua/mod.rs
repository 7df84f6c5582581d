//! The Lua edge: the functions that the game and its scripts call, and the only module with `unsafe`.
//! Runs on the game thread. Every other module of the crate works without a Lua state.
//!
//! | file | question |
//! |---|---|
//! | [`open`] | What happens when the game loads the module, and when it closes the Lua state? |
//! | [`process`] | What outlives a Lua state, and which state is attached? |
//! | [`events`], [`values`], [`hooks`], [`event_log`], [`status`] | What do the functions of the table `realtime` do? |
//! | [`arguments`] | How do they read arguments and word refusals? |
//! | [`callbacks`] | How does the pump run the engine's Calls, tick by tick? |
//! | [`game`] | Which values of the game do status messages show? |
//! | [`encode`], [`decode`] | How does a Lua value become JSON, and a tape a Lua value? |
//! | [`shapes`] | Which objects are made by a compiled constructor? |
//! | [`entry`] | How does a Rust function that Lua calls begin and end? |
//! | [`shield`] | Where may a Lua error be raised on behalf of Rust code? |
//! | [`stack`] | Which functions of the Lua C API are used, and which of them raise? |
//!
//! Rules of this edge. Breaking any of them ends the server:
//! - No panic leaves it. Every entry runs its body in `process::guarded`: a panic is counted, logged and answered.
//! - Inside that body no Lua call may raise. The code tests types before it reads values. An operation that can raise
//!   (everything that takes Lua's memory can) runs in a C function under pcall that owns nothing (`shield.rs`).
//! - An entry pushes its results and raises last, with nothing left to drop (`entry.rs`), because LuaJIT may jump over
//!   Rust frames without running destructors.
//! - References and callbacks belong to the attached state alone (`process.rs`). Another state that still runs is
//!   refused.
//! - An entry uses the state that Lua passed to it, never a remembered one, because it may be a coroutine's.

#![allow(unsafe_code)]

#[macro_use]
mod entry;
mod arguments;
mod callbacks;
mod decode;
mod encode;
mod event_log;
mod events;
mod game;
mod hooks;
mod open;
mod process;
mod shapes;
mod shield;
mod stack;
mod status;
mod values;
