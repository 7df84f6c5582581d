//! `require("realtime")` on a Garry's Mod server: events through Redis, from Lua to Lua and to the rest of the world.
//! The game loads this library, calls it at every tick, and never waits for the network, but for the bounded
//! wait of a reader without callback: fixed threads do that.
//!
//! ```text
//!  game thread                     rt-publisher                Redis      rt-subscriber
//!  lua/events.rs Emit ─item──────▶ threads/publisher/ ──RESP──▶ ▒▒▒ ─RESP─▶ threads/subscriber/
//!    table -> JSON (lua/encode.rs)   batch, one write, resend    │            JSON -> tape (json/tape.rs)
//!    number (event/identity.rs)      leases, counters            │            repeats, gaps (event/ledger.rs)
//!  lua/values.rs ────item────────▶   values ◀────────────────────┘              │ hooks act       │ Lua listens
//!        │ own event                                                            │                 │
//!        ▼                                                                      │                 │
//!  rt-actions  threads/actions/ ◀── hooks and aggregators (hooks/routes.rs) ────┘                 │
//!        ├──▶ rt-webhooks  threads/webhooks/  when, how often (webhook/schedule.rs)               │
//!        │       └──▶ rt-send-1..6  one request each (webhook/client.rs, minreq)                  │
//!        │               └──▶ rt-carry-1..6  limits, TLS (webhook/carrier.rs) ─▶ Discord, any     │
//!        ├──▶ rt-files     threads/files/     event logs (eventlog/), and the metrics file        │
//!        ├──▶ rt-publisher counters, leaderboards (redis/counter.rs)                              │
//!        └──▶ windows of aggregators (threads/actions/collector.rs) ──┐                           │
//!                                                                     ▼                           ▼
//!  game thread, timer "realtime.pump" every tick:  engine/pump.rs ◀── inbox of events, answers, news (all bounded)
//!      └─▶ lua/callbacks.rs  tape -> Lua table in slices (lua/decode.rs), then the script's function
//!                            under pcall (lua/shield.rs)
//! ```
//!
//! | folder | question |
//! |---|---|
//! | [`config`] | Which settings and limits hold, and who said so? |
//! | [`calendar`] | Which date and time does the owner's clock show? |
//! | [`json`] | How does JSON text become a tape, a text, a Lua value? |
//! | [`event`] | What flows: an event, its number, its topic, and news about the connection? |
//! | [`hooks`] | What did a script ask for, and does this event concern it? |
//! | [`io`] | How are small files, locks and TLS used safely? |
//! | [`redis`] | How do commands and replies look on the wire, and what does a refusal mean? |
//! | [`embedded`] | How does the module serve itself where nobody has set a Redis? |
//! | [`webhook`] | What is posted, where, when again, and when is it given up? |
//! | [`eventlog`] | How do records stand on disk, and how are they found again? |
//! | [`threads`] | Which thread does what, and how is it asked? |
//! | [`engine`] | What does the game thread own, and what is Lua to run next? |
//! | [`lua`] | How does all this look to a script, without a way to end the server? |
//!
//! `src/bin/realtime-cli` reads event logs and looks at a fleet without a server. `src/library` makes the file that the game loads; its two
//! functions are in `lua/open.rs`.
//!
//! | thread | runs | blocks on | woken by |
//! |---|---|---|---|
//! | game thread | [`lua`], [`engine`] | a reader without callback (`sync_timeout_ms`), the disk for `ReadEventLog`, close ([`crate::config::limits::CLOSE_FLUSH_MAX`]) | an answer, the game |
//! | `rt-publisher` | [`threads::publisher`] | its queue, a reader that uses its connection ([`threads::publisher::direct`]), its socket for a moment or while that is full, connecting | a job, a change of routes, a heartbeat, stop |
//! | `rt-subscriber` | [`threads::subscriber`] | its socket, connecting | bytes, a heartbeat, the end of its connection, stop |
//! | `rt-embedded` | [`threads::embedded`], the loop of [`embedded::server`] | its sockets, or a question while it does not serve | a client, a question, a wish to save, stop |
//! | `rt-save` | one write of the embedded server's values | the disk | |
//! | `rt-places` | one line of the file of [`engine`] that remembers listeners with `missed` | the disk | |
//! | `rt-selftest` | [`threads::selftest`], while one runs | sockets and files of its own | its deadlines |
//! | `rt-actions` | [`threads::actions`], the clock of [`threads::actions::collector`] | its queue | an event of this server's own, the end of a window, stop |
//! | `rt-files` | [`threads::files`], [`threads::metrics`] | its queue, the disk | a job, a sync, a metrics file or another attempt that is due, a change of the settings, stop |
//! | `rt-webhooks` | [`threads::webhooks`] | its queues | a job, a report, a pause that ends, stop |
//! | `rt-send-1..6` | [`webhook::client`] | their queue, one request by its deadline | an order, the end of their carrier's connection, stop |
//! | `rt-carry-1..6` | [`webhook::carrier`] | their queue, sockets by the request's deadline | a request, the end of its connection, the end of their sender |
//! | `rt-resolve` | [`webhook::resolve`] | one look-up, however long: left behind if it hangs | the system |
//!
//! The engine belongs to the process and Lua is its guest: threads, connections and queues live on through a map
//! change while a Lua state detaches and the next one attaches (`engine/mod.rs`).
//!
//! Architecture invariants:
//! - A file imports from its own layer and lower ones only, and never in a circle; `tests/tidy.rs` reads all imports.
//! - The engine never calls Lua: it hands out the next [`engine::Call`], the edge runs it with nothing borrowed.
//! - `unsafe` and every Lua call live in [`lua`]; layers 0 to 4 build and pass their tests without the `gmod` feature.
//! - Nothing on the game thread waits for a lock that another thread holds during I/O.

// For `#[optimize(speed)]`, which marks the functions that run for each event. The library is built for size.
#![feature(optimize_attribute)]
// For `std::net::hostname`, which is stable on no system yet and needs `unsafe` anywhere else.
#![cfg_attr(feature = "gmod", feature(gethostname))]
// For the identity of an open file on Windows (`io/plain_file.rs`).
#![cfg_attr(windows, feature(windows_by_handle))]
// Some items are used by the Lua edge alone. Dead code shows in the build that has it.
#![cfg_attr(not(feature = "gmod"), allow(dead_code, unused_imports))]

pub mod facade;

// 0 values: what flows and what is counted; no I/O, no threads.
mod base64;
mod calendar;
mod config;
mod event;
mod hooks;
mod json;
#[cfg(test)]
mod rows;
mod sorted;
mod stats;

// 1 io: small files, locks and TLS.
mod io;

// 2 formats and protocols: codecs (bytes in, values out), and the files that open sockets and files. A codec imports
// none of the latter (tests/tidy.rs lists them).
mod embedded;
mod eventlog;
mod redis;
mod webhook;

// 3 threads: a folder for each worker, and the queues between them and the game thread.
mod threads;

// 4 engine: what the game thread owns, without Lua.
mod engine;

// 5 lua: the only module that knows a Lua state, and the only `unsafe`.
#[cfg(feature = "gmod")]
mod lua;
