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

use std::fmt::Debug;
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
pub use redis::{Redis, ReservedPort};
pub use scripted::{Client, Scripted, answer_with};
pub use server::Server;
pub use web::{Answer, Bucket, Seen, Web};

/// How long a test waits for something that must happen. Far more than any of it takes on a busy machine, because only
/// a test that fails waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often [`within`] measures before it believes that the bound is broken.
const TRIES_MAX: usize = 10;

/// Waits until `done` answers true; the test fails after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(comes_true(PATIENCE, done), "not within {PATIENCE:?}: {what}");
}

/// Waits until `get` gives `expected`; the test fails after [`PATIENCE`], with the value that it saw last.
#[track_caller]
pub fn wait_for<T: PartialEq + Debug>(what: &str, expected: T, mut get: impl FnMut() -> T) {
    let mut last = get();
    let came = comes_true(PATIENCE, || {
        last = get();
        last == expected
    });
    assert!(came, "not within {PATIENCE:?}: {what}: expected {expected:?}, saw {last:?} last");
}

/// Whether `done` answers true within this time.
pub fn comes_true(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        let waited = began.elapsed();
        if waited >= patience {
            return false;
        }
        // The longer it takes, the rarer the question: many tests that wait must not keep the machine busy.
        std::thread::park_timeout((waited / 50).clamp(Duration::from_millis(1), Duration::from_millis(20)));
    }
    true
}

/// Asserts a bound of time. A busy machine can make any single run slow, and cannot make a slow one fast: so the bound
/// holds if one of a few tries keeps to it.
#[track_caller]
pub fn within(bound: Duration, mut measure: impl FnMut() -> Duration) {
    let mut tries = Vec::new();
    while tries.len() < TRIES_MAX {
        let took = measure();
        if took < bound {
            return;
        }
        tries.push(took);
    }
    panic!("never within {bound:?}: {tries:?}");
}
