//! `require("realtime")` on a Garry's Mod server: events through Redis, from Lua to Lua and to the rest of the world.
//!
//! ```text
//!  game thread                  rt-publisher               Redis       rt-subscriber
//!  lua/api.rs Emit ───Job────▶ threads/publisher.rs ─RESP─▶ ▒▒▒ ─RESP─▶ threads/subscriber.rs
//!    table -> JSON text           batch, one write                        Push -> Event (json/tape.rs)
//!    identity (identity.rs)       resend, heartbeat                       repeats, gaps (identity/ledger.rs)
//!                                                                           │
//!  game thread: timer "realtime.pump" every tick                            ▼
//!    engine/pump.rs next_call ◀────────────────────────── inbox of events, news (both bounded)
//!      └─▶ lua/callbacks.rs  tape -> table, pcall of the listener; game hooks
//! ```
//!
//! What is to stay on disk takes another way: `threads/files.rs` (rt-files) has its own queue and writes event logs
//! (`eventlog/mod.rs`, the specification); `src/bin/realtime-log.rs` reads them without any of this.
//!
//! | thread | runs | blocks on | woken by |
//! |---|---|---|---|
//! | game thread | [`lua`], [`engine`] | nothing (close: at most [`config::CLOSE_FLUSH_MAX`]) | the game |
//! | `rt-publisher` | [`threads::publisher`] | its queue, a socket write, connecting | a job, a change of routes, a heartbeat, stop |
//! | `rt-subscriber` | [`threads::subscriber`] | a socket read, connecting | bytes, a heartbeat, shutdown of the socket, stop |
//! | `rt-files` | [`threads::files`] | its queue, the disk | a job, a sync or another attempt that is due, stop |
//!
//! The engine belongs to the process and Lua is its guest: threads, connections and queues live on through a map
//! change while a Lua state detaches and the next one attaches (`engine/mod.rs`).
//!
//! Architecture invariants:
//! - A module uses its own layer and lower ones only; `tests/tidy.rs` reads every `crate::` path and fails otherwise.
//! - The engine never calls Lua: it hands out the next [`engine::Call`], the edge runs it with nothing borrowed.
//! - `unsafe` and every Lua call live in [`lua`]; layers 0 to 4 build and pass their tests without the `gmod` feature.
//! - Nothing on the game thread waits for a lock that another thread holds during I/O.

// 0 values: what flows and what is counted; no I/O, no threads.
pub mod config;
pub mod event;
pub mod fail_point;
pub mod identity;
pub mod notice;
pub mod routes;
pub mod stats;

// 1 codecs: bytes in, values out.
pub mod eventlog;
pub mod json;
pub mod redis;

// 2 I/O is redis/connection.rs, eventlog/{disk,folder,segment,writer,reader}.rs and this file.
pub mod text_log;

// 3 threads: one file per worker, and the queues between them and the game thread.
pub mod threads;

// 4 engine: what the game thread owns, without Lua.
pub mod engine;

// 5 lua: the only module that knows a Lua state, and the only `unsafe`.
#[cfg(feature = "gmod")]
pub mod lua;
