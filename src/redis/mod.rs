//! The Redis protocol (RESP2) and its socket. `rt-publisher` and `rt-subscriber` use it.
//! Everything but [`connection`] and its TLS is pure and knows no socket.
//! Protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//!
//! | file | question |
//! |---|---|
//! | [`command`], [`reply`], [`push`] | How do commands, replies and pushed messages look on the wire? |
//! | [`connection`], `tls`, [`backoff`] | How is a connection made, and how soon after a failure? |
//! | [`error_reply`] | Does an error reply mean: wait, connect again, or give this command up? |
//! | [`counter`], [`lease`], [`leaderboard`] | Which commands make a counter, a lease, a search? |
//! | [`kept`], [`history`] | How does Redis keep events, and how are they read again? |
//! | [`cluster`] | Which node of a cluster serves a key? |
//! | [`answer`] | How does a reply become Lua values? |

pub mod answer;
pub(crate) mod backoff;
pub(crate) mod cluster;
pub mod command;
pub(crate) mod connection;
pub(crate) mod counter;
pub(crate) mod error_reply;
pub(crate) mod history;
pub(crate) mod kept;
pub(crate) mod leaderboard;
pub(crate) mod lease;
pub(crate) mod presence;
pub(crate) mod push;
pub(crate) mod reply;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
mod tls;

use crate::config::limits::{PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX};

/// Elements of one push message. Redis sends at most four (`pmessage`).
const PUSH_ELEMENTS_MAX: usize = 16;
/// Longest status or error line in a reply, in bytes. A longer one ends the connection: without the end of a line the
/// next reply cannot be found.
const REPLY_LINE_BYTES_MAX: usize = 64 * 1024;
/// Memory that one whole reply may take, in bytes: several values of the largest size, for MGET.
pub(crate) const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
const _: () = assert!(PAYLOAD_BYTES_MAX < VALUE_BYTES_MAX && VALUE_BYTES_MAX < REPLY_BYTES_MAX);

/// Limits of the publisher's connection: values and replies to commands.
pub const REPLY_LIMITS: reply::Limits = reply::Limits {
    depth_max: crate::config::limits::REPLY_DEPTH_MAX,
    elements_max: crate::config::limits::REPLY_ELEMENTS_MAX,
    line_bytes_max: REPLY_LINE_BYTES_MAX,
    bulk_bytes_max: crate::config::limits::VALUE_BYTES_MAX,
    reply_bytes_max: REPLY_BYTES_MAX,
};

/// Limits of the subscribed connection: events. A longer payload is skipped on the wire and counted.
pub const PUSH_LIMITS: reply::Limits = reply::Limits {
    elements_max: PUSH_ELEMENTS_MAX,
    bulk_bytes_max: crate::config::limits::PAYLOAD_BYTES_MAX + crate::config::limits::IDENTITY_BYTES_MAX,
    ..REPLY_LIMITS
};
