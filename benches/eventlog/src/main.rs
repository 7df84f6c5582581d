//! The event log next to its alternatives, with the same records in the same run. Run by `scripts/bench-eventlog`.
//!
//! ```text
//! bench-eventlog FOLDER TESTDATA [CASE...]      FOLDER on a tmpfs measures the work alone, on a disk the disk too
//! log/append <TAB> ours <TAB> 3 <TAB> 101.3 <TAB> ns        stdout: case, who, round, value, unit
//! ```
//!
//! A case matches if its name begins with one of the arguments; without any, all cases but `growth` run. `records=N` sets the
//! number of records. In each round every one takes its turn, so that the ratios within a round are fair on a busy machine. A summary goes to stderr:
//! medians, and the medians of the ratios within each round. Nothing is checked against a bound.

mod events;
mod growth;
mod readers;
mod writers;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use realtime::facade::eventlog::Format;
use rustix::time::{ClockId, clock_gettime};

use events::Event;

const RECORDS: usize = 400_000;
const ROUNDS: usize = 7;
const READ_ROUNDS: usize = 101;
const SCAN_ROUNDS: usize = 15;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().expect("a folder to write to"));
    let folder = folder.join(format!("bench-eventlog-{}", std::process::id()));
    let testdata = PathBuf::from(arguments.next().expect("the testdata folder"));
    let cases: Vec<String> = arguments.collect();
    let names = || cases.iter().filter(|case| !case.contains('=') && !case.starts_with("growth"));
    let all = cases.iter().all(|case| case.starts_with("records="));
    let wants = |case: &str| all || names().any(|name| case.starts_with(name.as_str()));
    fs::create_dir_all(&folder).expect("the folder");
    // What other programs do on a busy machine is not counted, unless the time of a disk is wanted.
    let clock = if folder.starts_with("/dev/shm") { ClockId::ThreadCPUTime } else { ClockId::Monotonic };
    let mut report = Report { clock, cases: BTreeMap::new() };
    let records = cases.iter().find_map(|case| case.strip_prefix("records=")?.parse().ok()).unwrap_or(RECORDS);
    let typical: Vec<Event> = events::typical().take(records).collect();
    if wants("log/append") {
        append(&mut report, "log/append", &folder, &typical);
    }
    if wants("log/mixed-append") {
        append(&mut report, "log/mixed-append", &folder, &events::realistic(&testdata, records));
    }
    if wants("log/bytes") {
        bytes(&mut report, "log/bytes", &folder, &typical);
    }
    if wants("log/mixed-bytes") {
        bytes(&mut report, "log/mixed-bytes", &folder, &events::realistic(&testdata, records));
    }
    if wants("log/last") || wants("log/range") || wants("log/scan") {
        writers::clear(&folder);
        writers::sqlite(&folder, &typical);
        writers::raw(&folder, &typical);
        writers::ours(&folder, &typical);
        if wants("log/last") || wants("log/range") {
            read(&mut report, &folder, &typical);
        }
        if wants("log/scan") {
            scan(&mut report, &folder);
        }
    }
    if cases.iter().any(|case| case.starts_with("growth")) {
        growth::run(&mut report, &folder, &cases);
    }
    report.summarise();
    fs::remove_dir_all(&folder).expect("the folder again");
}

// ---- the report -----------------------------------------------------------------------------------------------

/// All samples so far, for the summary.
pub struct Report {
    clock: ClockId,
    /// By case, then in the order of their first sample, all samples of each.
    cases: BTreeMap<String, Vec<(&'static str, Vec<f64>)>>,
}

impl Report {
    /// Prints a sample and keeps it.
    pub fn add(&mut self, case: &str, who: &'static str, value: f64, unit: &str) {
        let all = self.cases.entry(case.to_owned()).or_default();
        let at = all.iter().position(|(name, _)| *name == who).unwrap_or_else(|| {
            all.push((who, Vec::new()));
            all.len() - 1
        });
        all[at].1.push(value);
        println!("{case}\t{who}\t{}\t{value:.3}\t{unit}", all[at].1.len());
    }

    /// Measures the closure. `per_second` units are one second.
    pub fn time<T>(&mut self, case: &str, who: &'static str, (per_second, unit): Unit, run: impl FnOnce() -> T) {
        let now = || Duration::try_from(clock_gettime(self.clock)).expect("a time").as_secs_f64();
        let start = now();
        black_box(run());
        let seconds = now() - start;
        self.add(case, who, seconds * per_second, unit);
    }

    /// Medians, and for each alternative the median of its ratios to ours.
    fn summarise(&self) {
        for (case, all) in &self.cases {
            let ours = &all[0].1;
            for (who, values) in all {
                let ratio = median(values.iter().zip(ours).map(|(value, ours)| value / ours));
                eprintln!("{case:<24} {who:<20} {:>12.2} {ratio:>8.3}x of ours", median(values.iter().copied()));
            }
        }
    }
}

/// How many of a unit are one second, and its name.
pub type Unit = (f64, &'static str);
pub const MS: Unit = (1e3, "ms");
pub const US: Unit = (1e6, "us");

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

// ---- the cases ------------------------------------------------------------------------------------------------

type Write = fn(&Path, &[Event]);

/// Time for a record.
fn append(report: &mut Report, case: &str, folder: &Path, events: &[Event]) {
    let writers: [(&str, Write); 6] = [
        ("ours", writers::ours),
        ("raw", writers::raw),
        ("json-lines", writers::lines_by_serde),
        ("json-lines-by-hand", writers::lines_by_hand),
        ("ours-json", writers::ours_json),
        ("sqlite", writers::sqlite),
    ];
    for _ in 0..ROUNDS {
        for (who, write) in &writers {
            writers::clear(folder);
            report.time(case, who, (1e9 / events.len() as f64, "ns"), || write(folder, events));
        }
    }
}

/// Bytes of a record, with indexes.
fn bytes(report: &mut Report, case: &str, folder: &Path, events: &[Event]) {
    let writers: [(&str, Write); 5] = [
        ("ours", writers::ours),
        ("json-lines", writers::lines_by_serde),
        ("raw", writers::raw),
        ("sqlite", writers::sqlite),
        ("zstd", writers::zstd),
    ];
    for (who, write) in writers {
        writers::clear(folder);
        write(folder, events);
        report.add(case, who, writers::bytes_in(folder) as f64 / events.len() as f64, "bytes");
    }
}

fn read(report: &mut Report, folder: &Path, events: &[Event]) {
    let middle = events.len() / 2;
    let (start, end) = (events[middle].time_ms, events[middle + 999].time_ms);
    let (last, range) = (readers::last(), readers::range(start, end));
    assert_eq!(readers::ours(folder, &last), readers::sqlite_last(folder));
    assert_eq!(readers::ours(folder, &range), readers::sqlite_range(folder, start, end));
    for _ in 0..READ_ROUNDS {
        report.time("log/last", "ours", US, || readers::ours(folder, &last));
        report.time("log/last", "sqlite", US, || readers::sqlite_last(folder));
        report.time("log/range", "ours", US, || readers::ours(folder, &range));
        report.time("log/range", "sqlite", US, || readers::sqlite_range(folder, start, end));
    }
}

/// The costs of opening a log for writing after a crash that took its index (`ours`), after a kill, which leaves it
/// (`ours-killed`), and of decoding every record (`ours-verify`); beside reading all bytes of the log, and beside reading
/// the bytes of the same records in the raw file.
fn scan(report: &mut Report, folder: &Path) {
    let (log, index, raw) = (folder.join("log"), folder.join("log.idx"), folder.join("raw"));
    let open = || writers::open(folder, Format::Binary);
    for _ in 0..SCAN_ROUNDS {
        fs::remove_file(&index).expect("the index");
        report.time("log/scan", "ours", MS, open);
        report.time("log/scan", "read", MS, || readers::read_all(&log));
        report.time("log/scan", "read-raw", MS, || readers::read_all(&raw));
        report.time("log/scan", "ours-killed", MS, open);
        report.time("log/scan", "ours-verify", MS, || readers::verify(&log));
    }
}
