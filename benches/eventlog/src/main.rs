//! The event log next to its alternatives, with the same records in the same run. Run by `scripts/bench-eventlog`.
//! Prints tables and checks nothing. Absolute figures depend on the machine: trust the ratios, which are medians of the
//! ratios within each round. The first argument is the folder to write below (a tmpfs measures the work alone), the second
//! the testdata folder.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime::facade::eventlog::disk::SystemDisk;
use realtime::facade::eventlog::path::LogPath;
use realtime::facade::eventlog::reader;
use realtime::facade::eventlog::writer::Writer;
use realtime::facade::eventlog::{Format, LogSpec, Query};

const RECORDS: usize = 400_000;
const ROUNDS: usize = 5;

struct Event {
    time_ms: u64,
    channel: String,
    payload: String,
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let folder = arguments.next().expect("a folder to write to").join("bench-eventlog");
    let testdata = arguments.next().expect("the testdata folder");
    fs::create_dir_all(&folder).expect("the folder");
    for (name, events) in [("typical", typical()), ("events.jsonl", realistic(&testdata))] {
        println!("== {name}: {RECORDS} records, {:.1} B of JSON each ==", mean(&events, |e| e.payload.len()));
        append(&folder, &events);
        println!();
    }
    println!("== reading: {RECORDS} typical records ==");
    read(&folder);
    println!();
    checksums();
    fs::remove_dir_all(&folder).expect("the folder again");
}

fn mean(events: &[Event], of: impl Fn(&Event) -> usize) -> f64 {
    events.iter().map(of).sum::<usize>() as f64 / events.len() as f64
}

/// The event of `testdata/json/typical.json`, with other values in the fields that vary on a server.
fn typical() -> Vec<Event> {
    let mut state = 7_u64;
    let mut below = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let weapons = ["weapon_crossbow", "weapon_ar2", "weapon_357", "weapon_smg1", "m9k_ak47", "weapon_shotgun"];
    let mut time_ms = 1_763_942_400_000;
    let event = |_| {
        time_ms += below(200);
        let mut coordinate = || below(16_384 * 32) as f64 / 32.0 - 8192.0;
        let (x, y, z) = (coordinate(), coordinate(), coordinate() / 8.0);
        let payload = format!(
            "{{\"killer\":\"Player {}\",\"victim\":\"Player {}\",\"weapon\":\"{}\",\"timestamp\":{},\"headshot\":{},\
             \"pos\":{{\"x\":{x},\"y\":{y},\"z\":{z}}}}}",
            below(48),
            below(48),
            weapons[below(6) as usize],
            time_ms / 1000,
            below(3) == 0
        );
        Event { time_ms, channel: "player:killing".to_owned(), payload }
    };
    (0..RECORDS).map(event).collect()
}

/// The events of the testdata, again and again.
fn realistic(testdata: &Path) -> Vec<Event> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        time: f64,
        channel: &'a str,
        #[serde(borrow)]
        data: &'a serde_json::value::RawValue,
    }
    let text = fs::read_to_string(testdata.join("eventlog/events.jsonl")).expect("events.jsonl");
    let lines: Vec<Line<'_>> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let event = |number: usize| {
        let line = &lines[number % lines.len()];
        let time_ms = (line.time * 1000.0).round() as u64 + (number / lines.len()) as u64 * 900_000;
        Event { time_ms, channel: line.channel.to_owned(), payload: line.data.get().to_owned() }
    };
    (0..RECORDS).map(event).collect()
}

// ---- appending ------------------------------------------------------------------------------------------------

fn append(folder: &Path, events: &[Event]) {
    type Append = fn(&Path, &[Event]);
    let writers: [(&str, Append); 7] = [
        ("raw: length, time, channel, payload; 64 KiB buffer", raw),
        ("raw + crc32fast a record", raw_crc32fast),
        ("event log, binary", |path, events| ours(path, events, Format::Binary)),
        ("event log, json", |path, events| ours(path, events, Format::Json)),
        ("JSON lines, written by hand + BufWriter", lines_by_hand),
        ("JSON lines, serde_json + BufWriter", lines_by_serde),
        ("SQLite WAL, 1000 a transaction, index on time", sqlite),
    ];
    let mut times = vec![Vec::new(); writers.len()];
    for _ in 0..ROUNDS {
        for ((_, write), times) in writers.iter().zip(&mut times) {
            clear(folder);
            let start = Instant::now();
            write(folder, events);
            times.push(start.elapsed().as_secs_f64() * 1e9 / events.len() as f64);
        }
    }
    println!("{:<52} {:>8} {:>8} {:>8} {:>8}", "append", "ns/rec", "of raw", "B/rec", "of lines");
    let raw_times = times[0].clone();
    let line_bytes = bytes_of(folder, |folder| lines_by_hand(folder, events));
    for ((name, write), times) in writers.iter().zip(&times) {
        let bytes = bytes_of(folder, |folder| write(folder, events));
        let share = median(raw_times.iter().zip(times).map(|(raw, own)| raw / own));
        let per_record = bytes as f64 / events.len() as f64;
        let of_lines = bytes as f64 / line_bytes as f64;
        println!("{name:<52} {:>8.1} {share:>7.2}x {per_record:>8.1} {of_lines:>7.3}x", median(times.iter().copied()));
    }
    let bytes = bytes_of(folder, |folder| {
        lines_by_hand(folder, events);
        let lines = fs::read(folder.join("lines")).expect("lines");
        clear(folder);
        fs::write(folder.join("lines.zst"), zstd::encode_all(&lines[..], 3).expect("zstd")).expect("lines.zst");
    });
    let per_record = bytes as f64 / events.len() as f64;
    println!(
        "{:<52} {:>8} {:>8} {per_record:>8.1} {:>7.3}x",
        "the lines through zstd -3, as one stream",
        "",
        "",
        bytes as f64 / line_bytes as f64
    );
}

fn clear(folder: &Path) {
    fs::remove_dir_all(folder).expect("the folder");
    fs::create_dir_all(folder).expect("the folder");
}

fn bytes_of(folder: &Path, write: impl FnOnce(&Path)) -> u64 {
    clear(folder);
    write(folder);
    let entries = fs::read_dir(folder).expect("the folder");
    entries.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len()).sum()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn raw(folder: &Path, events: &[Event]) {
    raw_with(folder, events, |_| {});
}

fn raw_crc32fast(folder: &Path, events: &[Event]) {
    raw_with(folder, events, |record| {
        let sum = crc32fast::hash(record);
        record.extend_from_slice(&sum.to_le_bytes());
    });
}

fn raw_with(folder: &Path, events: &[Event], finish: impl Fn(&mut Vec<u8>)) {
    let mut file = File::create(folder.join("raw")).expect("raw");
    let mut buffer = Vec::with_capacity(64 * 1024 + 1024);
    let mut record = Vec::new();
    for event in events {
        record.clear();
        record.extend_from_slice(&(event.payload.len() as u32).to_le_bytes());
        record.extend_from_slice(&event.time_ms.to_le_bytes());
        record.extend_from_slice(&(event.channel.len() as u16).to_le_bytes());
        record.extend_from_slice(event.channel.as_bytes());
        record.extend_from_slice(event.payload.as_bytes());
        finish(&mut record);
        buffer.extend_from_slice(&record);
        if buffer.len() >= 64 * 1024 {
            file.write_all(&buffer).expect("raw");
            buffer.clear();
        }
    }
    file.write_all(&buffer).expect("raw");
}

fn ours(folder: &Path, events: &[Event], format: Format) {
    let now = Instant::now();
    let mut writer = Writer::open(Arc::new(SystemDisk), folder, spec(format), now).expect("the log");
    for event in events {
        writer.append(event.time_ms, event.channel.as_bytes(), event.payload.as_bytes()).expect("room");
        if writer.wants_write() {
            writer.advance(now, false).expect("a disk");
        }
    }
    writer.advance(now, true).expect("a disk");
}

fn spec(format: Format) -> LogSpec {
    LogSpec { format, ..LogSpec::new(LogPath::parse(b"log").expect("a path")) }
}

fn lines_by_hand(folder: &Path, events: &[Event]) {
    let mut out = BufWriter::with_capacity(64 * 1024, File::create(folder.join("lines")).expect("lines"));
    for (seq, event) in events.iter().enumerate() {
        let (seconds, millis) = (event.time_ms / 1000, event.time_ms % 1000);
        let Event { channel, payload, .. } = event;
        writeln!(
            out,
            "{{\"time\":{seconds}.{millis:03},\"seq\":{},\"channel\":\"{channel}\",\"data\":{payload}}}",
            seq + 1
        )
        .expect("lines");
    }
    out.flush().expect("lines");
}

fn lines_by_serde(folder: &Path, events: &[Event]) {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        time: f64,
        seq: usize,
        channel: &'a str,
        data: &'a serde_json::value::RawValue,
    }
    let mut out = BufWriter::with_capacity(64 * 1024, File::create(folder.join("lines")).expect("lines"));
    for (seq, event) in events.iter().enumerate() {
        let data = serde_json::from_str(&event.payload).expect("JSON");
        let line = Line { time: event.time_ms as f64 / 1000.0, seq: seq + 1, channel: &event.channel, data };
        serde_json::to_writer(&mut out, &line).expect("lines");
        out.write_all(b"\n").expect("lines");
    }
    out.flush().expect("lines");
}

fn sqlite(folder: &Path, events: &[Event]) {
    let mut database = rusqlite::Connection::open(folder.join("db")).expect("db");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
             CREATE TABLE log (seq INTEGER PRIMARY KEY, ts INTEGER, channel TEXT, data TEXT);
             CREATE INDEX by_ts ON log (ts);",
        )
        .expect("a schema");
    for piece in events.chunks(1000) {
        let transaction = database.transaction().expect("a transaction");
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO log (ts, channel, data) VALUES (?1, ?2, ?3)")
                .expect("a statement");
            for event in piece {
                insert.execute((event.time_ms as i64, &event.channel, &event.payload)).expect("a row");
            }
        }
        transaction.commit().expect("a commit");
    }
}

// ---- reading --------------------------------------------------------------------------------------------------

/// Each reader opens its files anew every time; the files are in the page cache.
fn read(folder: &Path) {
    clear(folder);
    let events = typical();
    sqlite(folder, &events);
    ours(folder, &events, Format::Binary);
    let (start, end) = (events[RECORDS / 2].time_ms, events[RECORDS / 2 + 999].time_ms);
    let path = LogPath::parse(b"log").expect("a path");
    let far = Instant::now() + Duration::from_secs(3600);
    let ours = |query: &Query| {
        let outcome = reader::read(folder, &path, query, far).expect("the log");
        outcome.records.iter().map(|record| record.payload.len()).sum::<usize>()
    };
    let rows = |sql: &str, parameters: &[i64]| {
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
        black_box(kept);
        bytes
    };
    let last = Query { newest_first: true, ..Query::default() };
    let range = Query { start_ms: start, end_ms: end, ..Query::default() };
    let last_sql = "SELECT * FROM log ORDER BY seq DESC LIMIT 1000";
    let range_sql = "SELECT * FROM log WHERE ts >= ?1 AND ts <= ?2 ORDER BY ts LIMIT 1000";
    let range_of = [start as i64, end as i64];
    assert_eq!(ours(&last), rows(last_sql, &[]));
    println!("{:<52} {:>10} {:>10} {:>8}", "read, opened each time", "ours us", "SQLite us", "ratio");
    for (name, query, sql, parameters) in
        [("the last 1000", &last, last_sql, &[][..]), ("a time range of 1000", &range, range_sql, &range_of[..])]
    {
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..101 {
            own.push(micros(|| ours(query)));
            theirs.push(micros(|| rows(sql, parameters)));
        }
        let ratio = median(own.iter().zip(&theirs).map(|(own, theirs)| theirs / own));
        let (own, theirs) = (median(own.into_iter()), median(theirs.into_iter()));
        println!("{name:<52} {own:>10.1} {theirs:>10.1} {ratio:>7.2}x");
    }
    scan(folder);
}

fn micros(run: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    black_box(run());
    start.elapsed().as_secs_f64() * 1e6
}

/// The highest cost of opening after a crash: every block is read and checked, compared with reading the bytes.
fn scan(folder: &Path) {
    let path = folder.join("log");
    let bytes = fs::read(&path).expect("the log");
    let read_all = || {
        let mut file = File::open(&path).expect("the log");
        let mut buffer = vec![0; 64 * 1024];
        let mut sum = 0;
        loop {
            match file.read(&mut buffer).expect("bytes") {
                0 => break sum,
                read => sum += read,
            }
        }
    };
    let check = || {
        let mut file = File::open(&path).expect("the log");
        let mut buffer = vec![0; 32 * 1024];
        let mut sum = 0;
        while let Ok(()) = file.read_exact(&mut buffer) {
            sum += crc32fast::hash(&buffer) as usize & 1;
        }
        sum
    };
    let decode = || {
        let place = realtime::facade::eventlog::folder::LogFiles::anywhere(&path);
        let mut scan = reader::Scan::verify(place).expect("the log");
        scan.set_limit(usize::MAX);
        while scan.step().expect("the log") == reader::ScanProgress::More {
            scan.take_records();
        }
        scan.tally().records as usize
    };
    println!("{:<52} {:>10} {:>10}", format!("scan of {:.1} MB", bytes.len() as f64 / 1e6), "ms", "of read");
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..21 {
        times[0].push(micros(read_all));
        times[1].push(micros(check));
        times[2].push(micros(decode));
    }
    for (name, own) in
        ["read() of all bytes", "the same and the checksums", "verify: every record decoded"].iter().zip(&times)
    {
        let ratio = median(own.iter().zip(&times[0]).map(|(own, read)| own / read));
        println!("{name:<52} {:>10.2} {ratio:>9.2}x", median(own.iter().copied()) / 1000.0);
    }
}

// ---- checksums ------------------------------------------------------------------------------------------------

fn checksums() {
    println!("{:<52} {:>10} {:>10}", "checksum", "crc32fast", "crc32c");
    for bytes in [40, 150, 1500, 32 * 1024] {
        let data: Vec<u8> = (0..bytes).map(|byte| byte as u8).collect();
        let times = 64 * 1024 * 1024 / bytes;
        let rate = |sum: fn(&[u8]) -> u32| {
            let start = Instant::now();
            for _ in 0..times {
                black_box(sum(black_box(&data)));
            }
            (times * bytes) as f64 / start.elapsed().as_secs_f64() / 1e9
        };
        let (fast, c) = (rate(crc32fast::hash), rate(crc32c::crc32c));
        println!("{:<52} {fast:>9.2} {c:>9.2} GB/s", format!("{bytes} bytes"));
    }
}
