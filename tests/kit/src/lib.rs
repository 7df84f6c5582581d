//! Ways to make faults on one machine, and [`Server`], a whole server without Lua, to try them on. For tests only.
//! Everything listens on loopback (or in a network namespace of its own), is bounded by [`PATIENCE`] and cleans up.
//!
//! | fault | made by |
//! |---|---|
//! | bytes cut off, delayed, flipped, swallowed, sent twice or one by one | [`Proxy`] between a client and its server |
//! | any answer, in any pieces, from something that says it is Redis | [`Scripted`] |
//! | Redis stopped, killed, started again, full, busy, a replica, with users or TLS | [`Redis`], a redis-server of the test's own |
//! | any answer, or none, or one without end, from something that says it is Discord or a web server | [`Web`] |
//! | certificates of every quality | [`certificates`] |
//! | a link that is silently gone | [`namespace`] |
//! | all of it in a random order that can be repeated | [`Random`], which prints its seed |

use std::time::{Duration, Instant};

pub mod certificates;
pub mod namespace;
mod poster;
mod proxy;
mod random;
mod redis;
mod scripted;
mod server;
mod web;

pub use poster::{Folder, Hook, Poster};
pub use proxy::{Direction, Fault, Proxy};
pub use random::Random;
pub use redis::Redis;
pub use scripted::{Client, Scripted, answer_with};
pub use server::Server;
pub use web::{Answer, Bucket, Seen, Web};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so; a test fails that waits in vain.
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(comes_true(PATIENCE, done), "not within {PATIENCE:?}: {what}");
}

/// Whether it becomes so in this time.
pub fn comes_true(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !done() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    true
}
