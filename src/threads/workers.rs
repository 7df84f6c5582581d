//! Starts and joins the workers, each a named OS thread that runs one loop of this folder. Called by the game thread.
//! A panic does not end a worker: it is counted and logged, and the loop starts again after a pause. State that must
//! survive a panic therefore lives in [`Shared`], not in the loop.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::io::thread;
use crate::redis::backoff::Backoff;
use crate::redis::error_reply::Class;
use crate::threads::join::join_by;
use crate::threads::shared::Shared;
use crate::threads::{actions, embedded, files, publisher, subscriber, webhooks};

/// A worker's loop: it returns when the library stops.
type WorkerLoop = fn(&Arc<Shared>);

/// Stack of each worker, in bytes. No worker recurses or has big frames, so a small stack saves memory.
const STACK_BYTES: usize = 256 * 1024;

/// The running workers.
pub struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts every worker of the process. If the system has no thread for one, the others are stopped and the error is
    /// returned.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Workers> {
        let mut workers = Workers(Vec::new());
        let all: [(&str, WorkerLoop); 6] = [
            ("rt-embedded", embedded::run),
            ("rt-publisher", publisher::run),
            ("rt-subscriber", subscriber::run),
            ("rt-actions", actions::run),
            ("rt-files", files::run),
            ("rt-webhooks", webhooks::run),
        ];
        for (name, work) in all {
            match spawn(name, shared, work) {
                Ok(worker) => workers.0.push(worker),
                Err(err) => {
                    shared.stop();
                    return Err(err);
                }
            }
        }
        Ok(workers)
    }

    /// Waits for the workers to end after [`Shared::stop`], at most until the deadline. Returns the names of those that
    /// have not ended by then.
    pub fn join_by(self, deadline: Instant) -> Vec<String> {
        join_by(self.0, deadline)
    }
}

/// Runs `work` on a named thread until it returns. After a panic it runs again, with a growing pause between panics.
fn spawn(name: &str, shared: &Arc<Shared>, work: WorkerLoop) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let run = move || {
        let mut backoff = Backoff::default();
        while catch_unwind(AssertUnwindSafe(|| work(&shared))).is_err() {
            shared.stats.panics.add(1);
            // A worker that panics at once must not take a whole core.
            if shared.pause(backoff.next_delay(Class::Wait, shared.random())) {
                break;
            }
        }
    };
    thread::spawn(name.to_owned(), STACK_BYTES, Box::new(run))
}
