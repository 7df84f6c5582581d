//! The embedded server: a small Redis inside the module, for a server whose owner has set none. It serves the commands
//! that the module itself sends, and those that people need to watch and poke with `redis-cli`, on a loopback port, with a
//! password. Everything is bounded: clients, memory, sizes, and the work for one client in a row.
//! [`server`] and [`files`] open sockets and files; the other modules are pure. Used by `rt-embedded`
//! (`threads/embedded.rs`), which decides when the server runs.
//!
//! ```text
//!   socket ──▶ request ──▶ commands ──▶ store        snapshot ◀──▶ files: values, password and port, lock
//!   socket ◀── session (replies, events)
//! ```
//!
//! | file | question |
//! |---|---|
//! | [`request`] | How do bytes become commands? |
//! | [`commands`] | Which commands are there, and which replies do they have? |
//! | [`session`] | Which replies and events wait for a client? |
//! | [`store`], [`ranking`], [`stream`], [`number`] | How are values kept, bounded, ended, added up? |
//! | [`snapshot`], [`words`] | How do the values stand in a file? |
//! | [`files`] | How do they and the password survive a restart? |
//! | [`server`] | How are many sockets served by one thread? |

pub(crate) mod commands;
pub(crate) mod files;
mod number;
mod ranking;
mod request;
pub(crate) mod server;
mod session;
mod snapshot;
mod store;
mod stream;
mod words;
