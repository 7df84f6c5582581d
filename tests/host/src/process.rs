//! Numbers of the operating system about this process: threads, descriptors, memory, mappings; and the two clocks.
//! Any thread. Reads `/proc/self`; a number that cannot be read is 0.

use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) threads: u64,
    pub(crate) fds: u64,
    pub(crate) rss_kb: u64,
    pub(crate) maps: u64,
}

pub(crate) fn resources() -> Resources {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    Resources {
        threads: number("Threads:"),
        // The directory handle of this read is one of them.
        fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        rss_kb: number("VmRSS:"),
        maps: fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count() as u64),
    }
}

/// Seconds since 1970, comparable between processes of one machine.
pub(crate) fn wall_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_micros() as f64 / 1e6)
}

/// Seconds since the server started, never backwards.
pub(crate) fn mono_seconds(start: Instant) -> f64 {
    start.elapsed().as_nanos() as f64 / 1e9
}
