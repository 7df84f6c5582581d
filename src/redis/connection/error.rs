//! Errors of an attempt to connect to Redis: the operation, the address, the finding, advice for the owner of the
//! server, and the pace of further attempts. Pure; made on the thread that connects. Guarantee: no text contains a
//! password.

use std::fmt;
use std::io::{Error, ErrorKind};

use crate::redis::error_reply::{Class, ErrorReply};
use crate::redis::reply::ProtocolError;

/// Why there is no connection. `doing` is the operation: "connect", "log in"; `address` has no password.
#[derive(Debug)]
pub enum ConnectError {
    /// The settings have errors, so the address is not trusted. `found` is the first error.
    Settings { found: String },
    /// The embedded server of this module does not run.
    Embedded { found: String },
    /// The socket failed.
    Io { doing: &'static str, address: String, err: Error },
    /// The TLS handshake failed.
    Tls { address: String, found: String },
    /// The server does not speak RESP2: it is no Redis.
    Protocol { address: String, err: ProtocolError },
    /// The reply to AUTH is none that Redis sends. It is not shown, as it may repeat the password.
    NoReply { address: String },
    /// Redis answered with an error.
    Refused { doing: &'static str, address: String, user: Option<String>, refusal: ErrorReply },
    /// No sentinel named the master. `found`: the reason of each.
    Sentinels { master: String, found: String },
    /// A replica or a sentinel: an event published there reaches few subscribers or none.
    Role { address: String, role: &'static str },
}

/// Advice for settings with errors.
pub(crate) const SETTINGS_ADVICE: &str = "correct them, then type realtime_reload";

/// Words for a reply to AUTH that is not shown.
pub(super) const NO_LOGIN: &str = "its reply is none to AUTH";

impl ConnectError {
    /// The class, which decides the pace of further attempts ([`crate::redis::backoff::Backoff`]).
    pub fn class(&self) -> Class {
        match self {
            ConnectError::Embedded { .. }
            | ConnectError::Io { .. }
            | ConnectError::Protocol { .. }
            | ConnectError::NoReply { .. }
            | ConnectError::Sentinels { .. }
            | ConnectError::Role { .. } => Class::Reconnect,
            // Only an operator can help.
            ConnectError::Settings { .. } | ConnectError::Tls { .. } => Class::Full,
            ConnectError::Refused { refusal, .. } if refusal.class == Class::Never => Class::Full,
            ConnectError::Refused { refusal, .. } => refusal.class,
        }
    }
}

/// The steps of connecting, in their order: the self-test shows the last one that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Connect,
    Tls,
    LogIn,
    Role,
}

impl ConnectError {
    /// The step that failed.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            ConnectError::Settings { .. }
            | ConnectError::Embedded { .. }
            | ConnectError::Sentinels { .. }
            | ConnectError::Io { doing: "connect", .. } => Stage::Connect,
            ConnectError::Tls { .. } => Stage::Tls,
            ConnectError::Io { .. }
            | ConnectError::Protocol { .. }
            | ConnectError::NoReply { .. }
            | ConnectError::Refused { .. } => Stage::LogIn,
            ConnectError::Role { .. } => Stage::Role,
        }
    }

    /// Advice for the owner of the server.
    pub fn advice(&self) -> &'static str {
        match self {
            ConnectError::Settings { .. } => SETTINGS_ADVICE,
            ConnectError::Embedded { .. } => "see the log, or name a redis in the option `redis`",
            ConnectError::Io { doing: "connect", err, .. } => match err.kind() {
                ErrorKind::ConnectionRefused => {
                    "nothing listens there: start redis-server, or correct host and port in the option `redis`"
                }
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    "a firewall drops the connection, or the address is wrong: open the port of redis to this machine"
                }
                _ => "check host and port in the option `redis`, and the network between the machines",
            },
            ConnectError::Io { .. } => {
                "the program that listens there does not answer as redis: check the port, and whether it wants TLS"
            }
            ConnectError::Tls { .. } => {
                "check redis:// against rediss://, and the options tls_ca_file and tls_server_name"
            }
            ConnectError::Protocol { .. } | ConnectError::NoReply { .. } => {
                "the program that listens there is no redis: check the port in the option `redis`"
            }
            ConnectError::Refused { refusal, .. } => match refusal.class {
                Class::Login => "correct user and password in the option `redis`",
                Class::Full => "close other clients of this redis, or raise its maxclients",
                Class::Wait => "wait until redis is ready",
                Class::Reconnect | Class::Never => "the answer of redis says what it wants",
            },
            ConnectError::Sentinels { .. } => {
                "start the sentinels, or correct their hosts and the name of the master in the option `redis`"
            }
            ConnectError::Role { .. } => "name the master in the option `redis`",
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Settings { found } => write!(f, "settings not understood: {found}"),
            ConnectError::Embedded { found } => write!(f, "the embedded redis does not run: {found}"),
            ConnectError::Io { doing, address, err } => {
                let to = if *doing == "connect" { "to redis at" } else { "at redis" };
                write!(f, "cannot {doing} {to} {address}: ")?;
                match err.kind() {
                    // Systems differ in how they report a timeout; to the owner it is one thing.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => f.write_str("no answer in time"),
                    _ => write!(f, "{err}"),
                }
            }
            ConnectError::Tls { address, found } => write!(f, "cannot use TLS with redis at {address}: {found}"),
            ConnectError::Protocol { address, err } => write!(f, "cannot talk to redis at {address}: {err}"),
            ConnectError::NoReply { address } => {
                write!(f, "cannot log in at redis {address}: {NO_LOGIN}")
            }
            ConnectError::Refused { doing, address, user, refusal } => {
                write!(f, "cannot {doing} at redis {address}")?;
                if let Some(user) = user {
                    write!(f, " as `{user}`")?;
                }
                write!(f, ": {refusal}")
            }
            ConnectError::Sentinels { master, found } => {
                write!(f, "cannot find the redis `{master}`: no sentinel names it: {found}")
            }
            ConnectError::Role { address, role } => {
                write!(
                    f,
                    "cannot use redis at {address}: it is a {role}, events published there are lost; name the master"
                )
            }
        }
    }
}
