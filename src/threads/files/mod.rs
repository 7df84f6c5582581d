//! The loop of `rt-files`, which writes and reads event logs. Everybody else uses the handle, `files/queue.rs`; the open
//! logs and the reads under way are in `files/desk.rs`.
//! One round: take a batch of jobs, write and sync the records that are due, then spend a slice of time each on opening a
//! large log and on reading. So appends never wait for a long read.
//! While more logs are in use than may be open, the records of a batch are sorted by log: each log is opened once for all
//! of them, and not for every record. A path with `{channel}` makes that many logs, and players may choose channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::notice::Notice;
use crate::threads::files::desk::Desk;
use crate::threads::files::queue::{Files, Job};
use crate::threads::shared::Shared;

mod desk;
mod log_state;
pub(crate) mod queue;

/// Jobs taken from the queue in one round: the upper bound of the delay that a full queue causes to syncs and reads.
const EVENTLOG_BATCH_JOBS_MAX: usize = 1024;
/// The same while logs make room for each other: opening one takes as long as hundreds of appends.
const EVENTLOG_CROWD_JOBS_MAX: usize = 8192;
/// Longest wait for a job while no log needs a sync or a retry. A job wakes the thread at once.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs `rt-files` until [`Shared::stop`]. A panic starts it again.
pub(crate) fn run(shared: &Arc<Shared>) {
    serve(&shared.files, &|notice| shared.notices.push(notice));
}

/// The loop: it needs no more of the process than the handle, so tests run it alone. `tell` takes the notices for
/// scripts. Returns after [`queue::Job::Stop`], with every log closed.
fn serve(files: &Files, tell: &dyn Fn(Notice)) {
    files.settle_lost();
    let mut desk = Desk::new(files, tell);
    loop {
        let mut next = files.next(desk.patience(Instant::now()).min(IDLE));
        let (mut batch, mut crowd) = (0, Vec::new());
        while let Some(job) = next.take() {
            let job = match job {
                Job::Append(append) if desk.is_crowded() => {
                    crowd.push(append);
                    None
                }
                other => Some(other),
            };
            if job.is_some() {
                desk.append_crowd(&mut crowd, Instant::now());
            }
            if job.is_some_and(|job| desk.serve(job, Instant::now())) {
                desk.close(Instant::now());
                // Lines of the text log that wait for its file get a last chance, too.
                log::logger().flush();
                return files.refuse_rest();
            }
            batch += 1;
            if batch < if crowd.is_empty() { EVENTLOG_BATCH_JOBS_MAX } else { EVENTLOG_CROWD_JOBS_MAX } {
                next = files.next(Duration::ZERO);
            }
        }
        desk.append_crowd(&mut crowd, Instant::now());
        desk.advance(Instant::now());
        desk.open_slice(Instant::now());
        desk.read_slice();
    }
}

#[cfg(test)]
mod tests;
