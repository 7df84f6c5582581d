//! Discord and HTTP: what is posted, when it may be, and what an answer means.
//! `discord`, `http`, `answer`, `response`, `schedule` and `date` are pure: values and bytes in, values and bytes out,
//! clocks and randomness handed in. `client`, `resolve`, `dead_letter` and `spool` do the I/O; `threads/webhooks/mod.rs`
//! puts all of it together.

pub(crate) mod answer;
mod date;
pub(crate) mod discord;
pub(crate) mod http;
pub(crate) mod post;
pub(crate) mod schedule;

// 2 I/O
mod carrier;
pub(crate) mod client;
pub(crate) mod dead_letter;
pub(crate) mod dial;
pub(crate) mod resolve;
pub(crate) mod spool;
