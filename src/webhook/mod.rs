//! Posts to Discord and to other web servers: content, schedule, transport, and the meaning of a response.
//! `post`, `saved`, `discord`, `embed`, `http`, `head`, `answer`, `redaction`, `schedule`, `status` and `date` are pure: the
//! caller passes clocks and randomness. `client`, `carrier`, `dial`, `tunnel`, `resolve`, `dead_letter`, `spool` and `overflow` do
//! the I/O. `threads/webhooks/` runs all of it.
//!
//! ```text
//! hook + event ─▶ discord, http ─▶ post ─▶ schedule ─▶ client (minreq) ─▶ answer ─▶ schedule
//!                                   ▲          │         └▶ carrier ─▶ dial, tunnel, head: the connection
//!                                   │          └─▶ dead_letter
//!                                   ├── spool: posts of the process before
//!                                   └── overflow ◀── posts that find no room in memory
//! ```

pub(crate) mod answer;
mod date;
pub(crate) mod discord;
mod embed;
mod head;
pub(crate) mod http;
pub(crate) mod post;
pub(crate) mod redaction;
pub(crate) mod saved;
pub(crate) mod schedule;
pub(crate) mod status;

// 2 I/O
pub(crate) mod carrier;
pub(crate) mod client;
pub(crate) mod dead_letter;
pub(crate) mod dial;
pub(crate) mod overflow;
pub(crate) mod resolve;
pub(crate) mod spool;
mod trouble;
mod tunnel;
