//! The numbers of `/proc/self`. Any thread.

use std::fs;

use super::Resources;

pub(crate) fn resources() -> Resources {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Resources {
        threads: number("Threads:"),
        // The directory handle of this read is one of them.
        fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as u64),
        rss_kb: number("VmRSS:"),
        maps: fs::read_to_string("/proc/self/maps").ok().map(|maps| maps.lines().count() as u64),
    }
}
