//! Tests of writer and reader together on real files: every accepted record is read back, whatever fails on the disk.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::config::limits::{EVENTLOG_READ_RECORDS_MAX, EVENTLOG_RETRY};
use crate::eventlog::block::BlockEncoder;
use crate::eventlog::block::tests::{Sample, events};
use crate::eventlog::disk::SystemDisk;
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{self, Damage, ReadError, Scan, ScanProgress};
use crate::eventlog::records::{Query, Records};
use crate::eventlog::segment::SegmentError;
use crate::eventlog::spec::Format;
use crate::eventlog::{folder, format};
use crate::io::shown::shown;

pub(crate) mod double;
mod held;
mod others;

use double::{DoubleDisk, Folder};

const FORMATS: [Format; 2] = [Format::Binary, Format::Json];

fn log_path() -> LogPath {
    LogPath::parse(b"logs/deaths.log").unwrap()
}

fn spec(format: Format) -> LogSpec {
    LogSpec { format, max_bytes: 64 * 1024, ..LogSpec::new(log_path()) }
}

fn open(folder: &Folder, spec: LogSpec) -> Writer {
    Writer::open(Arc::new(SystemDisk), &folder.0, spec, Instant::now()).unwrap()
}

fn open_on(disk: &DoubleDisk, folder: &Folder, spec: LogSpec) -> Writer {
    Writer::open(Arc::new(disk.clone()), &folder.0, spec, Instant::now()).unwrap()
}

/// Appends records as `rt-files` does, which writes complete parts at once.
fn append(writer: &mut Writer, samples: &[Sample]) {
    for sample in samples {
        writer.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
        if writer.wants_write() {
            // The clock stands still, so that no sync falls due on a slow machine.
            writer.advance(writer.last_sync, false).unwrap();
        }
    }
}

fn many(count: usize) -> Vec<Sample> {
    events().into_iter().cycle().take(count).collect()
}

type RecordTuple = (u64, u64, Vec<u8>, Vec<u8>);

fn rows(records: &Records) -> Vec<RecordTuple> {
    records.iter().map(|record| (record.seq, record.time_ms, record.channel.into(), record.payload.into())).collect()
}

fn expected(samples: &[Sample]) -> Vec<RecordTuple> {
    let row =
        |(n, sample): (usize, &Sample)| (n as u64 + 1, sample.time_ms, sample.channel.clone(), sample.payload.clone());
    samples.iter().enumerate().map(row).collect()
}

fn scan(folder: &Folder, query: Query) -> Result<(Vec<RecordTuple>, Damage), ReadError> {
    let outcome = reader::read(&folder.0, &log_path(), &query, Instant::now() + Duration::from_secs(60))?;
    Ok((rows(&outcome.records), outcome.damage))
}

fn all() -> Query {
    Query { limit: usize::MAX, ..Query::default() }
}

/// All records of a log, which must have no damage.
#[track_caller]
fn read_all(folder: &Folder) -> Vec<RecordTuple> {
    let (rows, damage) = scan(folder, all()).unwrap();
    assert_eq!((damage.damaged, damage.torn_bytes), (0, 0), "{:?}", damage.findings);
    rows
}

fn files(folder: &Folder) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder.0.join("logs")).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .filter(|(name, _)| !name.ends_with(".lock"))
        .collect();
    files.sort();
    files
}

fn segments(folder: &Folder) -> Vec<(String, u64)> {
    files(folder).into_iter().filter(|(name, _)| !name.ends_with(".idx")).collect()
}

fn active(folder: &Folder) -> PathBuf {
    folder.0.join("logs/deaths.log")
}

#[test]
fn appended_records_are_read_across_segments() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(9000));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples);
        writer.advance(Instant::now(), true).unwrap();
        // The writer still has the log open.
        assert!(read_all(&folder) == expected(&samples), "{format:?}");
        let segments = segments(&folder);
        assert!(segments.len() > 3, "{segments:?}");
        assert!(segments.iter().all(|(_, bytes)| *bytes <= 64 * 1024), "{segments:?}");
        let counts = writer.take_counts();
        assert_eq!((counts.written, counts.rotations), (9000, segments.len() as u64 - 1));
        assert_eq!((counts.index_errors, counts.write_errors, counts.rewritten), (0, 0, 0));
        assert_eq!(counts.bytes, segments.iter().map(|(_, bytes)| bytes).sum::<u64>());
    }
}

#[test]
fn a_reopened_log_continues_behind_its_last_record() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(3000));
        for piece in samples.chunks(100) {
            let mut writer = open(&folder, spec(format));
            append(&mut writer, piece);
            writer.sync_now(Instant::now()).unwrap();
        }
        assert!(read_all(&folder) == expected(&samples), "{format:?}");
        if format == Format::Binary {
            let bytes: u64 = segments(&folder).iter().map(|(_, bytes)| bytes).sum();
            assert!(bytes < 230 * 3000 / 2, "{bytes} bytes: each opening costs little");
        }
    }
}

/// Reads `testdata/eventlog/upgrade`, written by the version before the lock file had a list: nine records in three
/// segments of both formats, and a lock file with a process id alone.
#[test]
fn a_log_of_an_older_version_is_read_and_continued() {
    for format in FORMATS {
        let folder = Folder::new();
        for entry in fs::read_dir("testdata/eventlog/upgrade").unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.0.join(entry.file_name())).unwrap();
        }
        // Files of the owner, which do not belong to the log.
        fs::copy(folder.0.join("old.log.000001"), folder.0.join("old.log.20231224")).unwrap();
        fs::write(folder.0.join("old.log.000003"), "notes").unwrap();
        let path = LogPath::parse(b"old.log").unwrap();
        let numbers = || {
            let outcome = reader::read(&folder.0, &path, &all(), Instant::now() + Duration::from_secs(60)).unwrap();
            outcome.records.iter().map(|record| record.seq).collect::<Vec<_>>()
        };
        assert!(numbers().into_iter().eq(1..=9));
        for round in 10..13 {
            let mut writer = open(&folder, LogSpec { format, ..LogSpec::new(path.clone()) });
            append(&mut writer, &many(1));
            writer.finish(Instant::now()).unwrap();
            assert!(numbers().into_iter().eq(1..=round), "{format:?}");
        }
        let line = fs::read_to_string(folder.0.join("old.log.lock")).unwrap();
        let own = if format == Format::Binary { "1-2" } else { "1-2 4" };
        assert_eq!(line, format!("{} segments {own}\n", std::process::id()));
        // The number of kept segments counts the old ones too.
        let mut writer =
            open(&folder, LogSpec { format, max_files: 1, max_bytes: 64 * 1024, ..LogSpec::new(path.clone()) });
        append(&mut writer, &many(3000));
        writer.finish(Instant::now()).unwrap();
        while writer.removing.is_some() {
            writer.advance(Instant::now(), true).unwrap();
        }
        let left: Vec<bool> = ["000001", "000002", "000003", "20231224"]
            .map(|end| folder.0.join(format!("old.log.{end}")).exists())
            .into();
        assert_eq!(left, [false, false, true, true], "{format:?}");
    }
}

/// The youngest segment is one that a kill or a crash of the machine left with an older version.
#[test]
fn a_torn_log_of_an_older_version_is_continued() {
    let kinds = [("empty", vec![]), ("zeros", vec![0; 5000]), ("head", b"RTEL\x01\x01\0\0\x88\x77".to_vec())];
    // An owner may have removed the lock file after the crash.
    for ((kind, youngest), has_lock) in kinds.iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let folder = Folder::new();
        for name in ["old.log.000001", "old.log.000002", "old.log.lock"] {
            fs::copy(Path::new("testdata/eventlog/upgrade").join(name), folder.0.join(name)).unwrap();
        }
        if !has_lock {
            fs::remove_file(folder.0.join("old.log.lock")).unwrap();
        }
        fs::write(folder.0.join("old.log"), youngest).unwrap();
        let path = LogPath::parse(b"old.log").unwrap();
        let mut writer = open(&folder, LogSpec::new(path.clone()));
        append(&mut writer, &many(1));
        writer.finish(Instant::now()).unwrap();
        let outcome = reader::read(&folder.0, &path, &all(), Instant::now() + Duration::from_secs(60)).unwrap();
        assert!(outcome.records.iter().map(|record| record.seq).eq(1..=7), "{kind} {has_lock}");
    }
}

#[test]
fn a_log_may_change_its_format() {
    let (folder, samples) = (Folder::new(), many(400));
    for (number, piece) in samples.chunks(100).enumerate() {
        let mut writer = open(&folder, spec(FORMATS[number % 2]));
        append(&mut writer, piece);
        writer.sync_now(Instant::now()).unwrap();
    }
    assert_eq!(read_all(&folder), expected(&samples));
    assert_eq!(segments(&folder).len(), 4);
    let newest = scan(&folder, Query { newest_first: true, limit: 150, ..Query::default() }).unwrap().0;
    assert!(newest.iter().eq(expected(&samples).iter().rev().take(150)));
}

#[test]
fn a_log_keeps_as_many_segments_as_its_settings_say() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(12_000));
        let mut writer = open(&folder, LogSpec { max_files: 3, ..spec(format) });
        append(&mut writer, &samples);
        writer.sync_now(Instant::now()).unwrap();
        let kept = read_all(&folder);
        assert!(expected(&samples).ends_with(&kept) && kept.len() > 500);
        assert_eq!(segments(&folder).len(), 3);
        assert!(files(&folder).len() <= 6, "indexes go with their segments: {:?}", files(&folder));
    }
}

#[test]
fn lines_fill_a_segment_to_the_byte_and_never_exceed_it() {
    let line = |text: &str| format!("{{\"time\":1.000,\"seq\":1,\"channel\":\"c\",\"data\":\"{text}\"}}\n").len();
    for spare in [0, 1] {
        let folder = Folder::new();
        let mut writer = open(&folder, spec(Format::Json));
        let first = 64 * 1024 - line("") * 2 - 10 - spare;
        for text in ["x".repeat(first), "y".repeat(10)] {
            writer.append(1000, b"c", format!("\"{text}\"").as_bytes()).unwrap();
        }
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!(segments(&folder), [("deaths.log".to_owned(), 64 * 1024 - spare as u64)]);
        writer.append(1000, b"c", b"\"z\"").unwrap();
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!(segments(&folder).len(), 2);
        assert_eq!(read_all(&folder).len(), 3);
    }
}

#[test]
fn a_record_longer_than_a_segment_gets_one_of_its_own() {
    for format in FORMATS {
        let folder = Folder::new();
        let mut writer = open(&folder, spec(format));
        let long = |letter: &str| format!("{{\"text\":\"{}\"}}", letter.repeat(200_000)).into_bytes();
        let payloads = [b"{\"a\":1}".to_vec(), long("x"), b"{\"a\":2}".to_vec(), long("y"), long("z")];
        for payload in &payloads {
            writer.append(1000, b"c", payload).unwrap();
        }
        writer.sync_now(Instant::now()).unwrap();
        let read: Vec<_> = read_all(&folder).into_iter().map(|row| row.3).collect();
        assert!(read == payloads, "{format:?}");
        assert!(segments(&folder).len() >= 4);
    }
}

// ---- queries --------------------------------------------------------------------------------------------------

/// The records that a query must find, by a simple filter.
fn oracle(rows: &[RecordTuple], query: &Query) -> Vec<RecordTuple> {
    let matches = |row: &&RecordTuple| {
        (query.start_ms..=query.end_ms).contains(&row.1)
            && query.channel.as_ref().is_none_or(|channel| *channel == row.2)
    };
    let mut found: Vec<RecordTuple> = rows.iter().filter(matches).cloned().collect();
    if query.newest_first {
        found.reverse();
    }
    found.truncate(query.limit);
    found
}

#[test]
fn every_query_agrees_with_a_simple_filter() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(6000));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples);
        writer.advance(Instant::now(), true).unwrap();
        let rows = expected(&samples);
        // The clock of the samples goes back every 600 records.
        let times: Vec<u64> = samples.iter().map(|sample| sample.time_ms).collect();
        let (first, last) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
        let mut config = ProptestConfig::with_cases(150);
        config.failure_persistence = None;
        proptest!(config, |(
            from in 0..=100_u64, span in 0..=100_u64, limit in prop::sample::select(vec![0, 1, 5, 1000, usize::MAX]),
            channel in prop::sample::select(vec!["", "", "player:death", "stats:minute", "none"]), newest_first: bool,
        )| {
            let at = |percent: u64| first + (last - first) * percent / 100;
            let channel = Some(channel.as_bytes().to_vec()).filter(|channel| !channel.is_empty());
            let query = Query { start_ms: at(from), end_ms: at(from + span), channel, limit, newest_first };
            prop_assert!(scan(&folder, query.clone()).unwrap().0 == oracle(&rows, &query), "{:?}", query);
        });
    }
}

#[test]
fn no_answer_exceeds_its_limit() {
    let folder = Folder::new();
    let mut writer = open(&folder, LogSpec { max_bytes: 100_000_000, ..spec(Format::Binary) });
    let sample = Sample { time_ms: 1, channel: b"c".into(), payload: b"1".into() };
    append(&mut writer, &vec![sample; EVENTLOG_READ_RECORDS_MAX + 10]);
    writer.advance(Instant::now(), true).unwrap();
    for (limit, expected) in [(0, 0), (1, 1), (1_000_000_000, EVENTLOG_READ_RECORDS_MAX)] {
        assert_eq!(scan(&folder, Query { limit, ..Query::default() }).unwrap().0.len(), expected);
    }
}

#[test]
fn a_read_fails_after_its_deadline() {
    let folder = Folder::new();
    let mut writer = open(&folder, spec(Format::Binary));
    append(&mut writer, &many(5000));
    writer.advance(Instant::now(), true).unwrap();
    let result = reader::read(&folder.0, &log_path(), &all(), Instant::now());
    assert!(matches!(result, Err(ReadError::Timeout)));
}

#[test]
fn a_reader_sees_every_record_once_while_segments_rotate() {
    for (format, newest_first) in FORMATS.into_iter().flat_map(|format| [(format, false), (format, true)]) {
        let (folder, samples) = (Folder::new(), many(12_000));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[..2000]);
        writer.advance(Instant::now(), true).unwrap();
        let before = expected(&samples[..2000]);
        let log_files = LogFiles::below(&folder.0, &log_path());
        let mut scan = Scan::open(log_files, Query { newest_first, ..all() }).unwrap();
        let mut more = samples[2000..].chunks(2500);
        while scan.step().unwrap() == ScanProgress::More {
            if let Some(piece) = more.next() {
                append(&mut writer, piece);
            }
        }
        assert!(writer.take_counts().rotations > 3);
        let mut found = rows(&scan.finish().records);
        if newest_first {
            found.reverse();
        }
        let extra = found.split_off(found.len().min(2000));
        assert!(found == before, "{format:?} {newest_first}");
        assert!(extra.is_empty() || extra[0].0 == 2001, "later records follow without a gap");
    }
}

// ---- indexes --------------------------------------------------------------------------------------------------

#[test]
fn a_missing_stale_or_garbage_index_changes_no_answer() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(5000));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[..4000]);
        writer.sync_now(Instant::now()).unwrap();
        drop(writer);
        let whole = files(&folder);
        let indexes: Vec<PathBuf> = whole
            .iter()
            .filter(|(name, _)| name.ends_with(".idx"))
            .map(|(name, _)| folder.0.join("logs").join(name))
            .collect();
        assert!(indexes.len() > 1);
        let originals: Vec<Vec<u8>> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();
        type Spoil = fn(&[u8]) -> Option<Vec<u8>>;
        let spoils: [Spoil; 6] = [
            |_| None,
            |_| Some(Vec::new()),
            |_| Some(b"garbage of some length that is no index at all".to_vec()),
            |bytes| Some(bytes[..bytes.len() - bytes.len() / 3].to_vec()),
            |bytes| Some([bytes, bytes].concat()),
            |_| Some(vec![7; 3_000_000]),
        ];
        for spoil in spoils {
            for (path, original) in indexes.iter().zip(&originals) {
                match spoil(original) {
                    Some(bytes) => fs::write(path, bytes).unwrap(),
                    None => fs::remove_file(path).unwrap(),
                }
            }
            let query = Query { start_ms: samples[100].time_ms, end_ms: samples[200].time_ms, ..all() };
            assert_eq!(scan(&folder, query.clone()).unwrap().0, oracle(&expected(&samples[..4000]), &query));
            // The writer replaces the index of the youngest segment.
            drop(open(&folder, spec(format)));
            let (path, original) = indexes.iter().zip(&originals).next_back().unwrap();
            assert!(fs::read(path).unwrap() == *original, "{}", shown(path));
        }
        for (path, other) in indexes.iter().zip(originals.iter().rev()) {
            fs::write(path, other).unwrap();
        }
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[4000..]);
        writer.sync_now(Instant::now()).unwrap();
        assert!(read_all(&folder) == expected(&samples), "indexes of other segments");
    }
}

// ---- damage ---------------------------------------------------------------------------------------------------

#[test]
fn a_log_cut_at_any_length_is_read_and_continued() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(30));
        let mut writer = open(&folder, spec(format));
        for piece in samples[..24].chunks(4) {
            append(&mut writer, piece);
            writer.advance(Instant::now(), true).unwrap();
        }
        drop(writer);
        let whole = fs::read(active(&folder)).unwrap();
        let (mut last, mut torn_once) = (0, false);
        for len in 0..=whole.len() {
            fs::write(active(&folder), &whole[..len]).unwrap();
            let (rows, damage) = scan(&folder, all()).unwrap();
            assert!(expected(&samples).starts_with(&rows) && rows.len() >= last, "{format:?} {len}");
            assert_eq!(damage.damaged, 0, "{format:?} {len}: {:?}", damage.findings);
            torn_once |= damage.torn_bytes > 0;
            last = rows.len();
            // No half record stays, and no seq comes twice.
            let mut writer = open(&folder, spec(format));
            append(&mut writer, &samples[last..last + 2]);
            writer.advance(Instant::now(), true).unwrap();
            assert_eq!(read_all(&folder), expected(&samples[..last + 2]), "{format:?} {len}");
        }
        assert!(torn_once && last == 24);
    }
}

#[test]
fn a_flipped_byte_costs_at_most_its_block_and_is_reported() {
    let (folder, samples) = (Folder::new(), many(18));
    // Three blocks of six records, each filled up with zeros.
    let mut encoder = BlockEncoder::new();
    let mut whole = Vec::new();
    for (unit, piece) in samples.chunks(6).enumerate() {
        let first_seq = unit as u64 * 6 + 1;
        encoder.begin(Header { span: 1, segment: 99, first_seq, base_ms: 0, unit: unit as u32 }, Vec::new());
        for sample in piece {
            assert!(encoder.append(sample.time_ms, &sample.channel, &sample.payload));
        }
        whole.extend(encoder.finish());
    }
    fs::create_dir_all(folder.0.join("logs")).unwrap();
    let rows = expected(&samples);
    let mut checked = 0;
    for at in (0..whole.len()).filter(|at| whole[*at] != 0 || at % 1999 == 0 || at % UNIT_BYTES < 48) {
        for mask in [0x01, 0xff] {
            let mut bad = whole.clone();
            bad[at] ^= mask;
            fs::write(active(&folder), &bad).unwrap();
            let (found, damage) = scan(&folder, all()).unwrap();
            let own_block = rows.chunks(6).nth(at / UNIT_BYTES).unwrap();
            let others: Vec<_> = rows.iter().filter(|row| !own_block.contains(row)).cloned().collect();
            assert!(found.iter().all(|row| rows.contains(row)), "byte {at}");
            assert!(others.iter().all(|row| found.contains(row)), "byte {at}");
            assert!(damage.damaged + damage.torn_bytes > 0, "byte {at}");
            checked += 1;
        }
        if at % 7 == 0 {
            // A writer continues behind the damage, with seqs that no record has.
            let mut writer = open(&folder, spec(Format::Binary));
            append(&mut writer, &samples[..1]);
            writer.advance(Instant::now(), true).unwrap();
            drop(writer);
            let (found, _) = scan(&folder, all()).unwrap();
            assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "byte {at}");
            assert_eq!(found.last().unwrap().3, samples[0].payload);
            assert!(found.last().unwrap().0 >= 13);
            for (name, _) in files(&folder) {
                fs::remove_file(folder.0.join("logs").join(name)).unwrap();
            }
        }
    }
    assert!(checked > 1000, "{checked}");
}

#[test]
fn a_changed_line_costs_only_itself() {
    let (folder, samples) = (Folder::new(), many(20));
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &samples);
    writer.advance(Instant::now(), true).unwrap();
    drop(writer);
    let whole = fs::read(active(&folder)).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for bad_line in 0..lines.len() {
        for bad in [&b"\n"[..], b"{}\n", b"hello\n", &lines[bad_line][1..], b"{\"time\":1.000,\"seq\":1}\n"] {
            let mut spoiled = lines.clone();
            spoiled[bad_line] = bad;
            fs::write(active(&folder), spoiled.concat()).unwrap();
            let (found, damage) = scan(&folder, all()).unwrap();
            let mut rest = expected(&samples);
            rest.remove(bad_line);
            assert_eq!(found, rest);
            assert_eq!((damage.damaged, damage.damaged_bytes), (1, bad.len() as u64));
        }
    }
}

#[test]
fn zeros_and_endless_lines_are_reported_and_skipped() {
    let (folder, samples) = (Folder::new(), many(10));
    let write = |format: Format, middle: &[u8]| {
        let mut writer = open(&folder, LogSpec { max_bytes: 100_000_000, ..spec(format) });
        append(&mut writer, &samples[..5]);
        writer.sync_now(Instant::now()).unwrap();
        drop(writer);
        let mut bytes = fs::read(active(&folder)).unwrap();
        bytes.extend_from_slice(middle);
        fs::write(active(&folder), &bytes).unwrap();
        bytes.len() as u64
    };
    // A file system grew the file before a write: the zeros are cut off.
    let bytes = write(Format::Binary, &vec![0; 300_000]);
    let (found, damage) = scan(&folder, all()).unwrap();
    assert_eq!((found.len(), damage.damaged, damage.torn_bytes), (5, 0, bytes - UNIT_BYTES as u64));
    let mut writer = open(&folder, LogSpec { max_bytes: 100_000_000, ..spec(Format::Binary) });
    append(&mut writer, &samples[5..]);
    writer.sync_now(Instant::now()).unwrap();
    drop(writer);
    assert_eq!(read_all(&folder), expected(&samples));
    // Zeros with other bytes behind them are damage, in one place.
    let mut middle = vec![0; 300_000];
    middle.push(1);
    write(Format::Binary, &middle);
    let (found, damage) = scan(&folder, all()).unwrap();
    assert_eq!((found.len(), damage.torn_bytes), (15, 0));
    assert_eq!(damage.damaged, 1, "{:?}", damage.findings);
    fs::remove_dir_all(folder.0.join("logs")).unwrap();
    let mut line = vec![b'x'; 9_000_000];
    line.push(b'\n');
    write(Format::Json, &line);
    let (found, damage) = scan(&folder, all()).unwrap();
    assert_eq!((found.len(), damage.torn_bytes), (5, 0));
    assert_eq!(damage.damaged_bytes, 9_000_001, "{:?}", damage.findings);
}

#[test]
fn a_file_that_is_no_log_is_refused_and_not_touched() {
    let golden = |name: &str| fs::read(format!("testdata/eventlog/{name}")).unwrap();
    for (bytes, message) in [
        (b"PK\x03\x04....".to_vec(), "starts with 50 4b 03 04 2e 2e 2e 2e, not an event log"),
        (b"x".to_vec(), "starts with 78, not an event log"),
        (golden("foreign.log"), "starts with 53 51 4c 69 74 65 20 66, not an event log"),
        (golden("future.log"), "written in format 2, this module knows format 1"),
    ] {
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("logs")).unwrap();
        fs::write(active(&folder), &bytes).unwrap();
        let read = scan(&folder, all()).unwrap_err().to_string();
        assert_eq!(read, format!("cannot read event log `{}`: {message}", shown(&active(&folder))));
        for format in FORMATS {
            let result = Writer::open(Arc::new(SystemDisk), &folder.0, spec(format), Instant::now());
            let opened = result.err().unwrap().to_string();
            assert_eq!(opened, format!("cannot open event log `{}`: {message}", shown(&active(&folder))));
        }
        assert_eq!(fs::read(active(&folder)).unwrap(), bytes);
    }
}

#[test]
fn a_missing_log_is_an_error_and_an_empty_one_is_not() {
    let folder = Folder::new();
    assert!(matches!(scan(&folder, all()), Err(ReadError::Missing { .. })));
    fs::create_dir_all(folder.0.join("logs")).unwrap();
    assert!(matches!(scan(&folder, all()), Err(ReadError::Missing { .. })));
    fs::write(active(&folder), b"").unwrap();
    assert!(read_all(&folder).is_empty());
    let mut writer = open(&folder, spec(Format::Binary));
    append(&mut writer, &many(3));
    writer.sync_now(Instant::now()).unwrap();
    assert_eq!(read_all(&folder), expected(&many(3)));
    assert_eq!(segments(&folder).len(), 1, "an empty file is no segment to keep");
}

/// Tries all states in which a kill can leave a rotation.
#[test]
fn a_kill_during_a_rotation_loses_nothing() {
    for format in FORMATS {
        for kill in 0..4 {
            let (folder, samples) = (Folder::new(), many(500));
            let mut writer = open(&folder, spec(format));
            append(&mut writer, &samples[..250]);
            writer.sync_now(Instant::now()).unwrap();
            drop(writer);
            let aside = folder.0.join("logs/deaths.log.000001");
            match kill {
                // The index has its new name, and the segment does not.
                0 => fs::rename(folder::index_of(&active(&folder)), folder::index_of(&aside)).unwrap(),
                // Both have their new names, and there is no new segment.
                1 => fs::rename(active(&folder), aside).unwrap(),
                // There is a new segment, empty or with the beginning of its first record.
                other => {
                    let head = fs::read(active(&folder)).unwrap();
                    fs::rename(active(&folder), aside).unwrap();
                    fs::write(active(&folder), if other == 2 { &[] } else { &head[..20] }).unwrap();
                }
            }
            let (found, damage) = scan(&folder, all()).unwrap();
            assert_eq!((found.len(), damage.damaged), (250, 0));
            let mut writer = open(&folder, spec(format));
            append(&mut writer, &samples[250..]);
            writer.sync_now(Instant::now()).unwrap();
            assert!(read_all(&folder) == expected(&samples), "{format:?} {kill}");
        }
    }
}

// ---- one writer, and only below the folder --------------------------------------------------------------------

#[test]
fn a_second_writer_is_refused_with_the_process_id_of_the_first() {
    let folder = Folder::new();
    let first = open(&folder, spec(Format::Binary));
    let second = || {
        let opened = Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now());
        opened.err().unwrap().to_string()
    };
    let path = active(&folder);
    let own = "this process writes it already, by another path: give all its hooks the same one";
    assert_eq!(second(), format!("cannot open event log `{}`: {own}", shown(&path)));
    // On Windows nobody else writes the file of a lock.
    let lines = [("4711 segments\n", "process 4711"), ("4711", "process 4711"), ("", "another process")];
    for (line, found) in lines.into_iter().filter(|_| cfg!(unix)) {
        fs::write(folder.0.join("logs/deaths.log.lock"), line).unwrap();
        assert_eq!(second(), format!("cannot open event log `{}`: in use by {found}", shown(&path)));
    }
    drop(first);
    open(&folder, spec(Format::Binary));
}

#[cfg(unix)]
#[test]
fn links_out_of_the_folder_are_refused() {
    use std::os::unix::fs::symlink;
    let outside = Folder::new();
    fs::write(outside.0.join("secret.log"), b"").unwrap();
    let names = ["logs", "logs/deaths.log", "logs/deaths.log.lock", "logs/deaths.log.idx"];
    for (name, target) in names.iter().flat_map(|name| [(*name, "secret.log"), (*name, "nothing"), (*name, "")]) {
        let folder = Folder::new();
        let link = folder.0.join(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(outside.0.join(target), &link).unwrap();
        let result = Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now());
        assert!(result.is_err(), "{name} -> {target}");
        assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 1, "{name} -> {target}: something was made outside");
        assert_eq!(fs::read(outside.0.join("secret.log")).unwrap(), b"");
    }
    // A link may not lead to the module's own files either.
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("realtime")).unwrap();
    symlink(folder.0.join("realtime"), folder.0.join("logs")).unwrap();
    let refused = Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now()).err().unwrap();
    assert!(refused.to_string().ends_with("a link leads to the module's own files"), "{refused}");
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("logs")).unwrap();
    symlink(folder.0.join("logs"), folder.0.join("realtime")).unwrap();
    let refused = Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now()).err().unwrap();
    assert!(refused.to_string().ends_with("a link leads to the module's own files"), "{refused}");
    assert_eq!(fs::read_dir(folder.0.join("realtime")).unwrap().count(), 0);
    assert!(matches!(scan(&folder, all()), Err(ReadError::File { err: SegmentError::Io(_), .. })));
    // A link that stays inside the data folder is allowed.
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("elsewhere")).unwrap();
    symlink(folder.0.join("elsewhere"), folder.0.join("logs")).unwrap();
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &many(3));
    writer.sync_now(Instant::now()).unwrap();
    assert_eq!(read_all(&folder).len(), 3);
    // A link to the outside in place of a rotated segment is not read.
    fs::copy(active(&folder), outside.0.join("stolen")).unwrap();
    symlink(outside.0.join("stolen"), folder.0.join("elsewhere/deaths.log.000001")).unwrap();
    assert!(matches!(scan(&folder, all()), Err(ReadError::File { err: SegmentError::Io(_), .. })));
}

#[test]
fn a_folder_in_the_place_of_a_file_is_a_clear_error() {
    let folder = Folder::new();
    fs::create_dir_all(active(&folder)).unwrap();
    assert!(Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now()).is_err());
    assert!(scan(&folder, all()).is_err());
    let folder = Folder::new();
    fs::write(folder.0.join("logs"), b"a file").unwrap();
    assert!(Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now()).is_err());
    assert!(scan(&folder, all()).is_err());
}

#[test]
fn segments_of_less_than_two_blocks_are_refused() {
    let folder = Folder::new();
    let spec = LogSpec { max_bytes: 65_535, ..spec(Format::Json) };
    let result = Writer::open(Arc::new(SystemDisk), &folder.0, spec, Instant::now());
    assert!(result.err().unwrap().to_string().ends_with("max_bytes must be at least 65536, found 65535"));
}

// ---- a disk that fails ----------------------------------------------------------------------------------------

#[test]
fn short_writes_are_completed() {
    for format in FORMATS {
        let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(1500));
        disk.plan(|plan| plan.write_max = Some(7));
        let mut writer = open_on(&disk, &folder, spec(format));
        append(&mut writer, &samples);
        writer.sync_now(Instant::now()).unwrap();
        assert!(read_all(&folder) == expected(&samples));
    }
}

#[test]
fn a_full_disk_loses_nothing_while_there_is_memory() {
    for format in FORMATS {
        for room in [0, 1, 30, 50, 1000, 40_000, 65_000, 70_000] {
            let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(3000));
            let mut writer = open_on(&disk, &folder, spec(format));
            disk.plan(|plan| plan.room = Some(room));
            let mut now = Instant::now();
            let mut failures = 0;
            for (number, sample) in samples.iter().enumerate() {
                writer.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
                if number % 100 == 99 {
                    now += EVENTLOG_RETRY;
                    failures += u64::from(writer.advance(now, true).is_err());
                    // No half record is left behind.
                    match scan(&folder, all()) {
                        Ok((found, damage)) => {
                            assert!(expected(&samples).starts_with(&found));
                            assert_eq!((damage.damaged, damage.torn_bytes), (0, 0), "{format:?} {room}");
                        }
                        Err(err) => assert!(matches!(err, ReadError::Missing { .. }), "{err}"),
                    }
                }
            }
            assert!(failures > 3 && writer.unwritten() > 0, "{format:?} {room}: {failures}");
            disk.plan(|plan| plan.room = None);
            writer.advance(now + EVENTLOG_RETRY, true).unwrap();
            assert!(read_all(&folder) == expected(&samples), "{format:?} {room}");
            let counts = writer.take_counts();
            assert_eq!((counts.written, counts.rewritten, writer.unwritten()), (3000, 0, 0));
        }
    }
}

#[test]
fn a_full_disk_fills_bounded_memory_and_then_refuses() {
    let (folder, disk) = (Folder::new(), DoubleDisk::default());
    let mut writer = open_on(&disk, &folder, spec(Format::Json));
    disk.plan(|plan| plan.room = Some(0));
    let payload = format!("\"{}\"", "x".repeat(10_000));
    let (now, mut taken) = (Instant::now(), 0);
    while writer.append(1, b"c", payload.as_bytes()).is_ok() {
        taken += 1;
        // The writer makes no attempt during the pause.
        let result = writer.advance(now, true);
        assert_eq!(result.is_err(), taken == 1);
    }
    assert!((390..420).contains(&taken), "{taken}");
    assert!(writer.held_bytes() <= EVENTLOG_LOG_HELD_BYTES_MAX);
    assert_eq!(writer.append(1, b"c", payload.as_bytes()), Err(AppendError::Full));
    disk.plan(|plan| plan.room = None);
    writer.advance(now + EVENTLOG_RETRY, true).unwrap();
    assert_eq!(writer.append(1, b"c", b"1"), Ok(()));
    writer.advance(now + EVENTLOG_RETRY, true).unwrap();
    assert_eq!(read_all(&folder).len(), taken + 1);
}

#[test]
fn a_failed_fsync_begins_a_new_segment_and_loses_nothing() {
    for format in FORMATS {
        // Cases: no synced record in the segment, some, and a rotation in between.
        for (safe, unsynced) in [(0, 50), (50, 50), (300, 1200), (0, 1200)] {
            let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(safe + unsynced + 10));
            let mut writer = open_on(&disk, &folder, spec(format));
            let now = Instant::now();
            append(&mut writer, &samples[..safe]);
            writer.sync_now(now).unwrap();
            append(&mut writer, &samples[safe..safe + unsynced / 2]);
            writer.advance(now, true).unwrap();
            append(&mut writer, &samples[safe + unsynced / 2..safe + unsynced]);
            disk.plan(|plan| plan.bad_syncs = 1);
            let err = writer.sync_now(now).unwrap_err().to_string();
            assert_eq!(err, format!("cannot sync event log `{}`: injected I/O error", shown(&active(&folder))));
            append(&mut writer, &samples[safe + unsynced..]);
            // First the pause, then a new file: no call goes to the file whose sync failed.
            assert!(writer.advance(now, true).is_ok() && writer.unwritten() > 0);
            writer.advance(now + EVENTLOG_RETRY, true).unwrap();
            assert!(read_all(&folder) == expected(&samples), "{format:?} {safe} {unsynced}");
            let counts = writer.take_counts();
            assert_eq!((counts.fsync_errors, counts.written), (1, samples.len() as u64));
            assert!(counts.rewritten > 0);
            assert_eq!(disk.plan(|plan| plan.retried), 0);
            drop(writer);
            // The next start must lose nothing either.
            let mut writer = open(&folder, spec(format));
            append(&mut writer, &samples[..1]);
            writer.sync_now(now).unwrap();
            assert_eq!(read_all(&folder).len(), samples.len() + 1);
        }
    }
}

#[test]
fn a_disk_that_never_syncs_leaves_one_segment_and_backs_off() {
    let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(300));
    let mut writer = open_on(&disk, &folder, spec(Format::Binary));
    let mut now = Instant::now();
    append(&mut writer, &samples[..100]);
    writer.sync_now(now).unwrap();
    disk.plan(|plan| plan.bad_syncs = u32::MAX);
    append(&mut writer, &samples[100..200]);
    let mut failures = 0;
    for _ in 0..300 {
        now += Duration::from_secs(1);
        failures += u64::from(writer.advance(now, true).is_err());
    }
    assert!((8..14).contains(&failures), "{failures} in 300 s");
    assert_eq!(segments(&folder).len(), 2, "{:?}", segments(&folder));
    disk.plan(|plan| plan.bad_syncs = 0);
    append(&mut writer, &samples[200..]);
    writer.advance(now + EVENTLOG_ABANDON_RETRY_MAX, true).unwrap();
    assert!(read_all(&folder) == expected(&samples));
    assert_eq!(disk.plan(|plan| plan.retried), 0);
}

#[test]
fn failed_writes_creations_and_renames_lose_nothing() {
    for format in FORMATS {
        for kind in 0..3 {
            let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(6000));
            let mut writer = open_on(&disk, &folder, spec(format));
            let mut now = Instant::now();
            let mut failures = 0;
            for (number, sample) in samples.iter().enumerate() {
                writer.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
                if number % 90 == 0 {
                    disk.plan(|plan| match kind {
                        0 => plan.bad_writes = 1,
                        1 => plan.bad_creates = 1,
                        _ => plan.bad_renames = 1,
                    });
                }
                if number % 10 == 0 {
                    now += EVENTLOG_RETRY;
                    failures += u64::from(writer.advance(now, true).is_err());
                }
            }
            disk.plan(|plan| (plan.bad_writes, plan.bad_creates, plan.bad_renames) = (0, 0, 0));
            writer.advance(now + EVENTLOG_ABANDON_RETRY_MAX, true).unwrap();
            assert!(failures > 0, "{format:?} {kind}");
            assert!(read_all(&folder) == expected(&samples), "{format:?} {kind}");
            assert_eq!(writer.take_counts().written, 6000);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_log_that_was_moved_away_is_created_again() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(90));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[..30]);
        writer.sync_now(Instant::now()).unwrap();
        append(&mut writer, &samples[30..60]);
        writer.advance(Instant::now(), true).unwrap();
        fs::rename(active(&folder), folder.0.join("logs/kept")).unwrap();
        append(&mut writer, &samples[60..]);
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!(read_all(&folder), expected(&samples)[30..], "the synced records went with the file");
    }
}

#[test]
fn the_policies_sync_as_often_as_they_say() {
    let count = |fsync: Fsync| {
        let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(100));
        let mut writer = open_on(&disk, &folder, LogSpec { fsync, ..spec(Format::Binary) });
        let start = Instant::now();
        for (number, sample) in samples.iter().enumerate() {
            let now = start + Duration::from_millis(50 * number as u64);
            writer.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
            writer.advance(now, true).unwrap();
            assert_eq!(writer.unwritten(), 0);
            let due = writer.due();
            assert_eq!(due.is_some(), fsync == Fsync::EverySecond && writer.has_unsynced());
            assert!(due.is_none_or(|due| due <= now + EVENTLOG_SYNC_INTERVAL));
        }
        disk.plan(|plan| plan.syncs)
    };
    assert_eq!(count(Fsync::Always), 100);
    assert_eq!(count(Fsync::EverySecond), 4, "in 4.95 s");
    assert_eq!(count(Fsync::Never), 0);
}

#[test]
fn many_records_are_synced_before_the_second_is_over() {
    let (folder, disk) = (Folder::new(), DoubleDisk::default());
    let spec = LogSpec { max_bytes: 100_000_000, ..spec(Format::Json) };
    let mut writer = open_on(&disk, &folder, spec);
    let payload = format!("\"{}\"", "x".repeat(10_000));
    let now = Instant::now();
    for _ in 0..1000 {
        writer.append(1, b"c", payload.as_bytes()).unwrap();
        writer.advance(now, false).unwrap();
    }
    assert!((3..8).contains(&disk.plan(|plan| plan.syncs)));
}

/// After a crash of the machine all synced records are there, and the others are a prefix, whatever share of their
/// bytes survived.
#[test]
fn a_crash_of_the_machine_loses_only_unsynced_records() {
    for format in FORMATS {
        for kept in [0, 1, 50, 99, 100] {
            let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(2400));
            let mut writer = open_on(&disk, &folder, spec(format));
            let mut safe = 0;
            for (number, piece) in samples.chunks(60).enumerate() {
                append(&mut writer, piece);
                match number % 4 {
                    0 => {
                        writer.sync_now(Instant::now()).unwrap();
                        safe = (number + 1) * 60;
                    }
                    2 => writer.advance(Instant::now(), true).unwrap(),
                    _ => {}
                }
                let after = Folder::new();
                disk.crash(&folder.0, &after.0, kept);
                let found = match scan(&after, all()) {
                    Ok((found, damage)) => {
                        assert_eq!(damage.damaged, 0, "{:?}", damage.findings);
                        found
                    }
                    Err(ReadError::Missing { .. }) => Vec::new(),
                    Err(err) => panic!("{err}"),
                };
                assert!(found.len() >= safe, "{format:?} {kept}: {} of {safe}", found.len());
                assert!(expected(&samples).starts_with(&found));
                let mut again = open(&after, spec(format));
                append(&mut again, &samples[found.len()..(found.len() + 5).min(2400)]);
                again.sync_now(Instant::now()).unwrap();
                assert!(expected(&samples).starts_with(&read_all(&after)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any history of a log with failures gives back every record once, in order, under its seq.
    #[test]
    fn any_history_is_read_back(
        json: bool,
        steps in prop::collection::vec((0..12_u8, 1..250_usize), 1..30),
    ) {
        let format = FORMATS[usize::from(json)];
        let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(8000));
        let mut writer = Some(open_on(&disk, &folder, spec(format)));
        let (mut done, mut now) = (0, Instant::now());
        for (step, amount) in steps {
            now += Duration::from_secs(61);
            let open = writer.as_mut().unwrap();
            match step {
                0..4 => {
                    for sample in &samples[done..done + amount] {
                        open.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
                        if open.wants_write() && open.advance(now, false).is_err() {
                            now += Duration::from_secs(61);
                        }
                    }
                    done += amount;
                }
                4 => { let _ = open.advance(now, false); }
                5 => { let _ = open.advance(now, true); }
                6 => { let _ = open.sync_now(now); }
                7 => disk.plan(|plan| plan.bad_syncs = 1),
                8 => disk.plan(|plan| plan.bad_writes = 1),
                9 => disk.plan(|plan| plan.room = Some(amount as u64)),
                10 => disk.plan(|plan| (plan.bad_creates, plan.bad_renames) = (1, 1)),
                _ => {
                    disk.plan(|plan| {
                        (plan.room, plan.bad_syncs, plan.bad_writes) = (None, 0, 0);
                        (plan.bad_creates, plan.bad_renames) = (0, 0);
                    });
                    open.sync_now(now).unwrap();
                    // The lock is free only after the old writer was dropped.
                    drop(writer.take());
                    writer = Some(open_on(&disk, &folder, spec(format)));
                }
            }
        }
        disk.plan(|plan| (plan.room, plan.bad_syncs, plan.bad_writes) = (None, 0, 0));
        disk.plan(|plan| (plan.bad_creates, plan.bad_renames) = (0, 0));
        let mut writer = writer.unwrap();
        prop_assert!(writer.sync_now(now).is_ok());
        if done > 0 {
            let (found, damage) = scan(&folder, all()).unwrap();
            prop_assert_eq!(damage.damaged, 0);
            prop_assert!(found == expected(&samples[..done]));
        }
        prop_assert_eq!(disk.plan(|plan| plan.retried), 0);
    }
}
