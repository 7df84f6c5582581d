//! The loop of `rt-files`, which writes and reads event logs, and writes the metrics file (`threads/metrics`). Everybody else uses the handle, `files/queue.rs`; the open
//! logs and the reads under way are in `files/desk.rs`.
//! One round: take a batch of jobs, write and sync the records that are due, then spend a slice of time each on opening a
//! large log and on reading, then look at the metrics file. So appends never wait for a long read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::notice::Notice;
use crate::threads::files::desk::Desk;
use crate::threads::files::queue::Files;
use crate::threads::metrics::Metrics;
use crate::threads::shared::Shared;

mod desk;
mod log_state;
pub(crate) mod queue;

/// Jobs taken from the queue in one round: the upper bound of the delay that a full queue causes to syncs and reads.
const EVENTLOG_BATCH_JOBS_MAX: usize = 1024;
/// Longest wait for a job while no log needs a sync or a retry. A job wakes the thread at once.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs `rt-files` until [`Shared::stop`]. A panic starts it again.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut metrics = Metrics::new(shared, Instant::now());
    serve(&shared.files, &|notice| shared.notices.push(notice), &mut |now| metrics.tend(now));
}

/// The loop: it needs no more of the process than the handle, so tests run it alone. `tell` takes the notices for
/// scripts; `aside` does its own work once a round, and returns the time until it has more. Returns after [`queue::Job::Stop`], with every log closed.
fn serve(files: &Files, tell: &dyn Fn(Notice), aside: &mut dyn FnMut(Instant) -> Duration) {
    files.settle_lost();
    let mut desk = Desk::new(files, tell);
    loop {
        let now = Instant::now();
        let mut next = files.next(desk.patience(now).min(aside(now)).min(IDLE));
        let mut batch = 0;
        while let Some(job) = next.take() {
            if desk.serve(job, Instant::now()) {
                desk.close(Instant::now());
                // Lines of the text log that wait for its file get a last chance, too.
                log::logger().flush();
                return files.refuse_rest();
            }
            batch += 1;
            if batch < EVENTLOG_BATCH_JOBS_MAX {
                next = files.next(Duration::ZERO);
            }
        }
        desk.advance(Instant::now());
        desk.open_slice(Instant::now());
        desk.read_slice();
    }
}

#[cfg(test)]
mod tests;
