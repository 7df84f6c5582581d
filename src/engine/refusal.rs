//! The reasons for which the engine refuses a request, and the size check that most requests share.
//! A refused request had no effect: nothing was queued, sent or registered.
//! Scripts match on the code before the colon (`queue_full`, `too_large`, ...), so the codes are part of the API.

use std::fmt;
use std::time::Duration;

use crate::engine::patience::Impatience;
use crate::threads::actions::queue::ActionsFull;
use crate::threads::publisher::outbox::QueueFull;

/// The reason for which a request had no effect. `Display` begins with the stable code that scripts match on.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// The outbox is full; its number of commands.
    QueueFull { waiting: usize },
    /// An argument is longer than its limit.
    TooLarge { argument: &'static str, bytes: usize, max: usize },
    /// A value or argument cannot be sent; the reason.
    Encode(String),
    /// There is no connection to Redis; the reason.
    Disconnected(String),
    /// A reader without callback must not wait; the reason, and the option `sync_timeout_ms`.
    Impatient(Impatience, Duration),
    /// Options or a specification are wrong; the reason.
    Config(String),
    /// The path cannot be the path of an event log; the reason.
    File(String),
    /// The queue of `rt-actions` is full; its number of events.
    ActionsFull { waiting: usize },
    /// No Lua state is attached.
    Closed,
}

impl From<QueueFull> for Refusal {
    fn from(full: QueueFull) -> Refusal {
        Refusal::QueueFull { waiting: full.waiting }
    }
}

impl From<ActionsFull> for Refusal {
    fn from(full: ActionsFull) -> Refusal {
        Refusal::ActionsFull { waiting: full.waiting }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::QueueFull { waiting } => write!(f, "queue_full: {waiting} commands wait for redis"),
            Refusal::TooLarge { argument, bytes, max } => {
                write!(f, "too_large: the {argument} has {bytes} bytes, {max} are allowed")
            }
            Refusal::Encode(found) => write!(f, "encode: {found}"),
            Refusal::Disconnected(reason) => write!(f, "disconnected: {reason}"),
            Refusal::Impatient(Impatience::Silent, _) => {
                f.write_str("timeout: redis has not answered since the last reader timed out")
            }
            Refusal::Impatient(Impatience::Spent, bound) => {
                write!(
                    f,
                    "timeout: readers have waited {} ms of this second already, use a callback",
                    bound.as_millis()
                )
            }
            Refusal::Config(found) => write!(f, "config: {found}"),
            Refusal::File(found) => write!(f, "file: {found}"),
            Refusal::ActionsFull { waiting } => write!(f, "queue_full: {waiting} events wait for their hooks"),
            Refusal::Closed => f.write_str("closed: the Lua state is closing"),
        }
    }
}

/// Refuses an argument that is longer than `max` bytes.
pub(crate) fn fits(argument: &'static str, bytes: &[u8], max: usize) -> Result<(), Refusal> {
    if bytes.len() > max { Err(Refusal::TooLarge { argument, bytes: bytes.len(), max }) } else { Ok(()) }
}
