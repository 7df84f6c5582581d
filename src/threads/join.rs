//! Ends threads by one deadline: the close of the library must not hang on a thread that a system call holds.
//! Used by the game thread for the workers and by `rt-webhooks` for its senders.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a thread that is still running is looked at. Joining has no timeout in the standard library.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Joins these threads, waiting until the deadline at most. Returns the names of those that did not end in time or
/// ended by a panic; a late thread is left behind and ends on its own.
pub(super) fn join_by(threads: Vec<JoinHandle<()>>, deadline: Instant) -> Vec<String> {
    let mut late = Vec::new();
    for thread in threads {
        let name = thread.thread().name().unwrap_or("?").to_owned();
        while !thread.is_finished() && Instant::now() < deadline {
            thread::park_timeout(LOOK_AGAIN);
        }
        // The thread has counted and logged its own panic.
        if !thread.is_finished() || thread.join().is_err() {
            late.push(name);
        }
    }
    late
}
