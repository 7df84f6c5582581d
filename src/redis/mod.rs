//! RESP2 over TCP: [`reply`] and [`push`] read bytes, [`command`] writes them, [`connection`] is the only socket.
//! Above them, still without a socket: [`counter`]s applied once, the [`leaderboard`] search, [`answer`]s for Lua.
//! Everything but the connection and its TLS is pure and knows no socket. Protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

pub mod answer;
pub(crate) mod backoff;
pub mod command;
pub(crate) mod connection;
pub(crate) mod counter;
pub(crate) mod error_reply;
pub(crate) mod leaderboard;
pub(crate) mod lease;
pub(crate) mod push;
pub(crate) mod reply;
mod tls;

use crate::config::limits::{PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX};

/// Elements of one push message. Redis sends at most four.
const PUSH_ELEMENTS_MAX: usize = 16;
/// Longest status or error line in a reply, in bytes.
const REPLY_LINE_BYTES_MAX: usize = 64 * 1024;
/// Memory that one whole reply may take, in bytes.
pub(crate) const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
const _: () = assert!(PAYLOAD_BYTES_MAX < VALUE_BYTES_MAX && VALUE_BYTES_MAX < REPLY_BYTES_MAX);

/// What the publisher's connection accepts: values and replies to commands.
pub(crate) const REPLY_LIMITS: reply::Limits = reply::Limits {
    depth_max: crate::config::limits::REPLY_DEPTH_MAX,
    elements_max: crate::config::limits::REPLY_ELEMENTS_MAX,
    line_bytes_max: REPLY_LINE_BYTES_MAX,
    bulk_bytes_max: crate::config::limits::VALUE_BYTES_MAX,
    reply_bytes_max: REPLY_BYTES_MAX,
};

/// What the subscribed connection accepts: events. A longer payload is skipped on the wire.
pub const PUSH_LIMITS: reply::Limits = reply::Limits {
    elements_max: PUSH_ELEMENTS_MAX,
    bulk_bytes_max: crate::config::limits::PAYLOAD_BYTES_MAX + crate::config::limits::IDENTITY_BYTES_MAX,
    ..REPLY_LIMITS
};
