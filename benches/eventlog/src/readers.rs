//! The reads of the comparison. Each one opens its files anew; they are in the page cache.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use realtime::facade::eventlog::folder::LogFiles;
use realtime::facade::eventlog::{Query, reader};

use crate::writers::log_path;

/// Reads the records of the query and touches the length of each. Returns their number and bytes.
// Not inlined, so that callgrind can count it alone.
#[inline(never)]
pub fn ours(folder: &Path, query: &Query) -> (usize, usize) {
    let far = Instant::now() + Duration::from_secs(3600);
    let outcome = reader::read(folder, &log_path(), query, far).expect("the log");
    (outcome.records.len(), outcome.records.iter().map(|record| record.payload.len()).sum())
}

/// The last 1000 records, and those of a time range.
pub fn last() -> Query {
    Query { newest_first: true, ..Query::default() }
}

pub fn range(start_ms: u64, end_ms: u64) -> Query {
    Query { start_ms, end_ms, ..Query::default() }
}

pub fn sqlite_last(folder: &Path) -> (usize, usize) {
    rows(folder, "SELECT * FROM log ORDER BY seq DESC LIMIT 1000", &[])
}

pub fn sqlite_range(folder: &Path, start_ms: u64, end_ms: u64) -> (usize, usize) {
    let sql = "SELECT * FROM log WHERE ts >= ?1 AND ts <= ?2 ORDER BY ts LIMIT 1000";
    rows(folder, sql, &[start_ms as i64, end_ms as i64])
}

fn rows(folder: &Path, sql: &str, parameters: &[i64]) -> (usize, usize) {
    let database = rusqlite::Connection::open(folder.join("db")).expect("db");
    let mut statement = database.prepare(sql).expect("a statement");
    let mut rows = statement.query(rusqlite::params_from_iter(parameters)).expect("rows");
    let mut bytes = 0;
    let mut kept = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let channel: String = row.get(2).expect("a channel");
        let data: String = row.get(3).expect("data");
        bytes += data.len();
        kept.push((row.get::<_, i64>(0).expect("seq"), row.get::<_, i64>(1).expect("ts"), channel, data));
    }
    (black_box(kept).len(), bytes)
}

/// Reads all bytes of a file, 64 KiB at a time.
pub fn read_all(path: &Path) -> usize {
    let mut file = File::open(path).expect("a file");
    let mut buffer = vec![0; 64 * 1024];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer).expect("bytes") {
            0 => break sum,
            read => sum += read,
        }
    }
}

/// Reads, checks and decodes every record, as `realtime-cli log verify` does. Returns their number.
#[inline(never)]
pub fn verify(path: &Path) -> u64 {
    let mut scan = reader::Scan::verify(LogFiles::anywhere(path)).expect("the log");
    scan.set_limit(usize::MAX);
    while scan.step().expect("the log") == reader::ScanProgress::More {
        scan.take_records();
    }
    scan.tally().records
}
