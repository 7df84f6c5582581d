//! [`Selftest`], the handle of `rt-selftest`: the lines of a self-test wait here for the game thread, which prints them.
//! It also says whether a self-test is running, so that there is one at a time. A self-test has a few lines; the queue
//! has no other bound.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::threads::queue::Queue;

/// The lines of a self-test that the game console has not shown yet.
#[derive(Default)]
pub struct Selftest {
    running: AtomicBool,
    lines: Queue<String>,
}

impl Selftest {
    /// The oldest line; a tick of the game thread takes as many as wait.
    pub fn pop(&self) -> Option<String> {
        self.lines.pop()
    }

    /// Queues a line.
    pub(super) fn push(&self, line: String) {
        self.lines.change(|lines| lines.push_back(line));
    }

    /// Marks a self-test as running. False if one was running already.
    pub(super) fn begin(&self) -> bool {
        !self.running.swap(true, Ordering::AcqRel)
    }

    /// The self-test ended, and another one may begin.
    pub(super) fn end(&self) {
        self.running.store(false, Ordering::Release);
    }
}
