//! The CPU time of threads and processes, as the kernel counts it. It does not grow while others use the processor, so
//! costs are measured by it and not by the clock.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The CPU time in a `schedstat`; zero if the thread has ended.
fn of(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// Of this thread. Its `schedstat` is of no use here: it stands still while the thread runs.
pub(crate) fn own() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer leads to a `timespec` for the time of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "no CPU time of this thread");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Of all threads of this process that have this name.
pub(crate) fn thread(name: &str) -> Duration {
    tasks("self", |comm| comm.trim_end() == name)
}

/// Of a whole process.
pub(crate) fn process(id: u32) -> Duration {
    tasks(&id.to_string(), |_| true)
}

fn tasks(process: &str, wanted: impl Fn(&str) -> bool) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let paths = tasks.flatten().map(|task| task.path());
    let wanted = paths.filter(|path| wanted(&fs::read_to_string(path.join("comm")).unwrap_or_default()));
    wanted.map(|path| of(&path.join("schedstat"))).sum()
}

/// The time since a moment, by the clock and of this thread.
pub(crate) struct Stopwatch {
    clock: Instant,
    own: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch { own: own(), clock: Instant::now() }
    }

    /// The CPU time of this thread.
    pub(crate) fn own(&self) -> Duration {
        own() - self.own
    }

    /// The time by the clock during which this thread did not run.
    pub(crate) fn others(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.own())
    }

    pub(crate) fn clock(&self) -> Duration {
        self.clock.elapsed()
    }
}
