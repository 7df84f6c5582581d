//! `rt-selftest`, a thread that lives for one run of the console command `realtime_selftest`. It runs the steps of
//! `selftest/steps.rs` and queues one line for each in [`lines::Selftest`]; the game thread prints them at its ticks.
//! One self-test at a time; a panic ends the run with a line that says so.

use std::sync::Arc;
use std::thread;

use crate::io::thread::spawn;
use crate::threads::shared::Shared;

pub(crate) mod lines;
pub(crate) mod steps;

/// Starts a self-test. The error is a sentence for the console: one is running already, or there is no thread for it.
pub(crate) fn begin(shared: &Arc<Shared>) -> Result<(), String> {
    if !shared.selftest.begin() {
        return Err("a self-test is running already".to_owned());
    }
    let shared_there = Arc::clone(shared);
    let run = move || {
        let running = Running(&shared_there);
        let config = shared_there.goal().config;
        let mut failed = 0;
        let offset_s = shared_there.zone.offset_s();
        steps::run(&config, &shared_there.data, offset_s, &mut |step| {
            failed += usize::from(step.outcome.is_err());
            running.say(step.to_string());
        });
        running.say(match failed {
            0 => "self-test passed".to_owned(),
            _ => format!("self-test failed: {failed} of its steps"),
        });
    };
    // 256 KiB, as for the workers: no step recurses.
    let spawned = spawn("rt-selftest".to_owned(), 256 * 1024, Box::new(run));
    spawned.map(drop).map_err(|err| {
        shared.selftest.end();
        format!("cannot start the thread of the self-test: {err}")
    })
}

/// While it lives, no other self-test begins. Dropping it ends the run, also by a panic.
struct Running<'a>(&'a Shared);

impl Running<'_> {
    /// Queues a line, and makes the next tick print it.
    fn say(&self, line: String) {
        self.0.selftest.push(line);
        self.0.inbox.raise_attention();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stats.panics.add(1);
            self.say("self-test ended by an internal error, the log has the details".to_owned());
        }
        self.0.selftest.end();
    }
}
