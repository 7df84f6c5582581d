//! The event log and its alternatives, each of which writes all events into an empty folder.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use realtime::facade::eventlog::disk::SystemDisk;
use realtime::facade::eventlog::path::LogPath;
use realtime::facade::eventlog::writer::Writer;
use realtime::facade::eventlog::{Format, LogSpec};

use crate::events::Event;

pub fn clear(folder: &Path) {
    fs::remove_dir_all(folder).expect("the folder");
    fs::create_dir_all(folder).expect("the folder");
}

/// The bytes of all files of the folder, indexes and locks included.
pub fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("the folder");
    entries.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len()).sum()
}

pub fn log_path() -> LogPath {
    LogPath::parse(b"log").expect("a path")
}

/// Opens the log with the settings of a server, but in the binary format.
pub fn open(folder: &Path, format: Format) -> Writer {
    let spec = LogSpec { format, ..LogSpec::new(log_path()) };
    Writer::open(Arc::new(SystemDisk), folder, spec, Instant::now()).expect("the log")
}

// Not inlined, so that callgrind can count these two alone.
#[inline(never)]
pub fn ours(folder: &Path, events: &[Event]) {
    let mut writer = open(folder, Format::Binary);
    append_all(&mut writer, events);
}

pub fn ours_json(folder: &Path, events: &[Event]) {
    let mut writer = open(folder, Format::Json);
    append_all(&mut writer, events);
}

/// Appends as `rt-files` does: each complete part is written at once, the rest at the end.
pub fn append_all(writer: &mut Writer, events: &[Event]) {
    let now = Instant::now();
    for event in events {
        writer.append(event.time_ms, event.channel.as_bytes(), event.payload.as_bytes()).expect("room");
        if writer.wants_write() {
            writer.advance(now, false).expect("a disk");
        }
    }
    writer.advance(now, true).expect("a disk");
}

/// The cheapest file that still has all fields: length, time, channel and payload through a buffer of 64 KiB, without any
/// check.
#[inline(never)]
pub fn raw(folder: &Path, events: &[Event]) {
    let mut file = File::create(folder.join("raw")).expect("raw");
    let mut buffer = Vec::with_capacity(64 * 1024 + 1024);
    for event in events {
        buffer.extend_from_slice(&(event.payload.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&event.time_ms.to_le_bytes());
        buffer.extend_from_slice(&(event.channel.len() as u16).to_le_bytes());
        buffer.extend_from_slice(event.channel.as_bytes());
        buffer.extend_from_slice(event.payload.as_bytes());
        if buffer.len() >= 64 * 1024 {
            file.write_all(&buffer).expect("raw");
            buffer.clear();
        }
    }
    file.write_all(&buffer).expect("raw");
}

/// Lines of text that is put together by hand and never checked.
pub fn lines_by_hand(folder: &Path, events: &[Event]) {
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

/// Lines by serde_json, which checks the payload as the event log does.
pub fn lines_by_serde(folder: &Path, events: &[Event]) {
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

/// The lines through zstd as one stream, which nobody could append to.
pub fn zstd(folder: &Path, events: &[Event]) {
    lines_by_hand(folder, events);
    let lines = fs::read(folder.join("lines")).expect("lines");
    clear(folder);
    fs::write(folder.join("lines.zst"), zstd::encode_all(&lines[..], 3).expect("zstd")).expect("lines.zst");
}

/// SQLite in WAL mode, 1000 rows a transaction, with an index on the time.
pub fn sqlite(folder: &Path, events: &[Event]) {
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
