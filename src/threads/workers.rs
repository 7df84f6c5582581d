//! Starts the workers, each a named thread that a panic does not end for good: it is counted, logged, and the thread's
//! loop starts again after a pause.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use std::{io, thread};

use crate::redis::backoff::Backoff;
use crate::redis::refusal::Class;
use crate::threads::join::join_by;
use crate::threads::shared::Shared;
use crate::threads::{actions, files, publisher, subscriber, webhooks};

/// A worker's whole life.
type WorkerLoop = fn(&Arc<Shared>);

/// The running workers.
pub struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts every worker of the process, or none.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Workers> {
        let mut workers = Workers(Vec::new());
        let all: [(&str, WorkerLoop); 5] = [
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

    /// Waits for the workers to end after [`Shared::stop`], until the deadline. The names of those that did not.
    pub fn join_by(self, deadline: Instant) -> Vec<String> {
        join_by(self.0, deadline)
    }
}

/// Runs `work` on a named thread until stop; a panic is counted and the work starts again after a pause.
fn spawn(name: &str, shared: &Arc<Shared>, work: WorkerLoop) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    // No recursion and no big frames in any worker: a small stack keeps the memory at rest small.
    thread::Builder::new().name(name.to_owned()).stack_size(256 * 1024).spawn(move || {
        let mut backoff = Backoff::default();
        while catch_unwind(AssertUnwindSafe(|| work(&shared))).is_err() {
            shared.stats.panics.add(1);
            if shared.pause(backoff.next_delay(Class::Wait, shared.random())) {
                break;
            }
        }
    })
}
