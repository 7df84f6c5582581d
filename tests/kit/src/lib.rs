//! Tools that make faults on one machine, and [`Server`], a whole server without Lua on which tests try them.
//! For tests only. Everything listens on loopback or in its own network namespace, waits at most [`PATIENCE`], and
//! cleans up after itself.
//!
//! | fault | made by |
//! |---|---|
//! | bytes that are cut off, delayed, flipped, swallowed, sent twice or one by one | [`Proxy`] between a client and its server |
//! | any reply, in any pieces, from a server that claims to be Redis | [`Scripted`] |
//! | a Redis that is stopped, killed, restarted, full, busy, a replica, or has users or TLS | [`Redis`], a redis-server for one test |
//! | keys on several nodes, and slots that move | [`Cluster`], three nodes for one test |
//! | a failover | [`Sentinels`], three for one test |
//! | any response, none, or an endless one, from a server that claims to be Discord or a web server | [`Web`] |
//! | a way, a refusal, nonsense or nothing from an HTTP proxy | [`ConnectProxy`] |
//! | valid, expired and wrong certificates | [`certificates`] |
//! | a link that breaks silently | [`namespace`] |
//! | all of these in a random order that can be repeated | [`Random`], which prints its seed |

use std::fmt::Debug;
use std::time::{Duration, Instant};

pub mod certificates;
mod cluster;
mod connect_proxy;
pub mod namespace;
mod poster;
mod proxy;
mod random;
mod redis;
mod scripted;
mod sentinels;
mod server;
mod web;

pub use cluster::Cluster;
pub use connect_proxy::{Asked, ConnectProxy, Way};
pub use poster::{Folder, Hook, Poster};
pub use proxy::{Direction, Fault, Proxy};
pub use random::Random;
pub use redis::{Redis, ReservedPort};
pub use scripted::{Client, Scripted, answer_with};
pub use sentinels::{MASTER, Sentinels};
pub use server::Server;
pub use web::{Answer, Bucket, Seen, Web};

/// How long a test waits for something that must happen. This is far more than anything takes on a busy machine: only a
/// failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often [`within`] measures before it reports a broken bound.
const TRIES_MAX: usize = 10;

/// Waits until `done` returns true; the test fails after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(comes_true(PATIENCE, done), "not within {PATIENCE:?}: {what}");
}

/// Waits until `get` returns `expected`; the test fails after [`PATIENCE`] and prints the last value.
#[track_caller]
pub fn wait_for<T: PartialEq + Debug>(what: &str, expected: T, mut get: impl FnMut() -> T) {
    let mut last = get();
    let came = comes_true(PATIENCE, || {
        last = get();
        last == expected
    });
    assert!(came, "not within {PATIENCE:?}: {what}: expected {expected:?}, saw {last:?} last");
}

/// Whether `done` returns true within this time.
pub fn comes_true(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        let waited = began.elapsed();
        if waited >= patience {
            return false;
        }
        // The pauses grow: many waiting tests must not keep the machine busy.
        std::thread::park_timeout((waited / 50).clamp(Duration::from_millis(1), Duration::from_millis(20)));
    }
    true
}

/// Asserts that something takes less than `bound`. A busy machine can make one run slow, but it cannot make slow code
/// fast: so the bound holds if one of [`TRIES_MAX`] runs keeps to it.
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
