//! The costs of a log as it grows: a batch of records appended to it after it was opened anew, opening it for writing, its
//! last 1000 records, and a time range in its middle. The segments have the default size, so a large log has many.
//! `growth/log/append/64MB` is the append to a log of 64 MB. An argument `growth=10000` sets the largest size in MB.

use std::path::Path;
use std::time::Instant;

use realtime::facade::eventlog::Format;

use crate::events::{self, Event};
use crate::{Report, US, readers, writers};

/// Records of one measured append.
const BATCH: usize = 100_000;
const ROUNDS: usize = 15;
const MB_MAX: u64 = 1024;

pub fn run(report: &mut Report, folder: &Path, cases: &[String]) {
    let asked = cases.iter().find_map(|case| case.strip_prefix("growth=")?.parse().ok());
    let mb_max = asked.unwrap_or(MB_MAX);
    writers::clear(folder);
    let mut events = events::typical();
    let mut batch = move || events.by_ref().take(BATCH).collect::<Vec<Event>>();
    let mut times = Vec::new();
    // 1, 4, 16, ... and the largest.
    let sizes = std::iter::successors(Some(1), |mb| Some(mb * 4)).take_while(|mb| *mb < mb_max).chain([mb_max]);
    for mb in sizes {
        let mut writer = writers::open(folder, Format::Binary);
        while writers::bytes_in(folder) < mb * 1_000_000 {
            let events = batch();
            times.push((events[BATCH / 2].time_ms, events[BATCH / 2 + 999].time_ms));
            writers::append_all(&mut writer, &events);
        }
        writer.finish(Instant::now()).expect("a disk");
        drop(writer);
        let (start, end) = times[times.len() / 2];
        for _ in 0..ROUNDS {
            let open = || drop(writers::open(folder, Format::Binary));
            report.time(&format!("growth/log/open/{mb}MB"), "ours", US, open);
            let read = || readers::ours(folder, &readers::last());
            report.time(&format!("growth/log/last/{mb}MB"), "ours", US, read);
            let read = || readers::ours(folder, &readers::range(start, end));
            report.time(&format!("growth/log/range/{mb}MB"), "ours", US, read);
        }
        for _ in 0..3 {
            let events = batch();
            let mut writer = writers::open(folder, Format::Binary);
            let case = format!("growth/log/append/{mb}MB");
            report.time(&case, "ours", (1e9 / BATCH as f64, "ns"), || writers::append_all(&mut writer, &events));
        }
    }
}
