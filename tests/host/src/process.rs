//! Numbers of the operating system about this process: threads, descriptors, memory, mappings; and the two clocks.
//! Any thread. A number that the system does not give is `None`, and nil in Lua: a test that needs it skips its check.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[cfg(unix)]
mod linux;
#[cfg(windows)]
mod windows;
#[cfg(unix)]
pub(crate) use linux::resources;
#[cfg(windows)]
pub(crate) use windows::resources;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) threads: Option<u64>,
    /// Open descriptors; on Windows, handles.
    pub(crate) fds: Option<u64>,
    /// Memory that is in use, KiB.
    pub(crate) rss_kb: Option<u64>,
    /// Mapped ranges of memory.
    pub(crate) maps: Option<u64>,
}

/// Seconds since 1970, comparable between processes of one machine.
pub(crate) fn wall_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_micros() as f64 / 1e6)
}

/// Seconds since the server started, never backwards.
pub(crate) fn mono_seconds(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / 1e9
}
