//! Discord and HTTP: what is posted, when it may be, and what an answer means.
//! `discord`, `http`, `answer`, `response`, `schedule` and `date` are pure: values and bytes in, values and bytes out,
//! clocks and randomness handed in. `client`, `resolve`, `dead_letter` and `spool` do the I/O; `threads/webhooks/mod.rs`
//! puts all of it together.

pub mod answer;
mod date;
pub mod discord;
pub mod http;
pub mod post;
pub mod response;
pub mod schedule;

// 2 I/O
pub mod client;
pub mod dead_letter;
pub mod resolve;
pub mod spool;
