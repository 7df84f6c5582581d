//! Tests of the golden files in `testdata/eventlog` and of the example in the specification: version 1, byte by byte.
//! The files were written once and must stay readable for ever, and today's code must write the same bytes. To write
//! new files for a new version, run these tests with `REALTIME_GOLDEN=write`.

use std::fs;
use std::path::Path;

use crate::eventlog::block::tests::Sample;
use crate::eventlog::block::{BlockEncoder, Header};
use crate::eventlog::folder::LogFiles;
use crate::eventlog::line;
use crate::eventlog::reader::{Damage, ReadError, Scan, ScanProgress};
use crate::eventlog::records::{Query, Record, Records};

const SEGMENT: u64 = 0x1122_3344_5566_7788;
const TIME_MS: u64 = 1_763_942_400_000;

/// Checks that a golden file has exactly these bytes.
fn golden(name: &str, bytes: &[u8]) {
    let path = Path::new("testdata/eventlog").join(name);
    if std::env::var("REALTIME_GOLDEN").is_ok_and(|wish| wish == "write") {
        fs::write(&path, bytes).unwrap();
    }
    assert!(fs::read(&path).unwrap() == bytes, "{name} differs from the bytes that are written today");
}

/// The payloads of `payloads.txt` on two channels, with a clock that goes back once.
fn samples() -> Vec<Sample> {
    let payloads = include_str!("../../testdata/eventlog/payloads.txt").lines();
    let sample = |(number, payload): (usize, &str)| Sample {
        time_ms: TIME_MS + number as u64 * 250 - if number > 20 { 3_600_000 } else { 0 },
        channel: if number % 3 == 0 { b"player:kill".into() } else { b"chat".into() },
        payload: payload.into(),
    };
    payloads.enumerate().map(sample).collect()
}

/// Two blocks of two chunks each, in the layout of the writer.
fn valid() -> Vec<u8> {
    let (samples, mut encoder, mut bytes) = (samples(), BlockEncoder::new(), Vec::new());
    let half = samples.len() / 2;
    for (unit, piece) in samples.chunks(half).take(2).enumerate() {
        let first_seq = (unit * half) as u64 + 1;
        let header = Header { span: 1, segment: SEGMENT, first_seq, base_ms: piece[0].time_ms, unit: unit as u32 };
        encoder.begin(header, Vec::new());
        for (number, sample) in piece.iter().enumerate() {
            assert!(encoder.append(sample.time_ms, &sample.channel, &sample.payload));
            if number == piece.len() / 2 {
                let sealed = encoder.seal();
                encoder.restore(sealed);
            }
        }
        bytes.extend(if unit == 0 { encoder.finish() } else { encoder.seal() });
    }
    bytes
}

/// The same records as JSON lines.
fn lines() -> Vec<u8> {
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    for (number, sample) in samples().iter().enumerate() {
        let Sample { time_ms, channel, payload } = sample;
        let record = Record { time_ms: *time_ms, seq: number as u64 + 1, channel, payload, raw: false };
        line::push(&mut bytes, &record, &mut scratch);
    }
    bytes
}

fn read(name: &str) -> Result<(Records, Damage), ReadError> {
    let log_files = LogFiles::anywhere(&Path::new("testdata/eventlog").join(name));
    let mut scan = Scan::open(log_files, Query { limit: usize::MAX, ..Query::default() })?;
    while scan.step()? == ScanProgress::More {}
    let outcome = scan.finish();
    Ok((outcome.records, outcome.damage))
}

/// Checks that the records of a golden file are `count` of the JSON lines from `first` on. Returns the damage.
fn check(name: &str, first: usize, count: usize) -> Damage {
    let (records, damage) = read(name).unwrap();
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    records.iter().for_each(|record| line::push(&mut bytes, &record, &mut scratch));
    let lines = lines();
    let expected: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').skip(first).take(count).collect();
    assert!(bytes == expected.concat(), "{name}");
    damage
}

#[test]
fn valid_files_are_written_and_read() {
    golden("valid.log", &valid());
    golden("valid.jsonl", &lines());
    let count = samples().len() / 2 * 2;
    assert_eq!(check("valid.log", 0, count).findings, []);
    assert_eq!(check("valid.jsonl", 0, samples().len()).findings, []);
}

#[test]
fn a_torn_file_ends_before_its_torn_bytes() {
    let valid = valid();
    golden("torn.log", &valid[..valid.len() - 10]);
    let half = samples().len() / 2;
    let damage = check("torn.log", 0, half + half / 2 + 1);
    assert_eq!(damage.damaged, 0);
    assert!(damage.torn_bytes > 0);
}

#[test]
fn a_flipped_bit_costs_its_block() {
    let mut bytes = valid();
    bytes[100] ^= 0x10;
    golden("flipped.log", &bytes);
    let half = samples().len() / 2;
    let damage = check("flipped.log", half, half);
    assert_eq!((damage.damaged, damage.torn_bytes), (1, 0));
}

#[test]
fn a_later_version_is_refused_with_its_number() {
    let mut bytes = valid();
    bytes.truncate(200);
    bytes[4] = 2;
    let sum = crc32fast::hash(&bytes[..36]);
    bytes[36..40].copy_from_slice(&sum.to_le_bytes());
    golden("future.log", &bytes);
    let err = read("future.log").unwrap_err().to_string();
    assert_eq!(
        err,
        "cannot read event log `testdata/eventlog/future.log`: written in format 2, this module knows format 1"
    );
}

#[test]
fn a_foreign_file_is_refused_with_its_first_bytes() {
    let err = read("foreign.log").unwrap_err().to_string();
    assert!(err.ends_with("starts with 53 51 4c 69 74 65 20 66, not an event log"), "{err}");
}

#[test]
fn the_writer_produces_the_example_of_the_specification() {
    let mut encoder = BlockEncoder::new();
    encoder.begin(Header { span: 1, segment: SEGMENT, first_seq: 1, base_ms: TIME_MS, unit: 0 }, Vec::new());
    assert!(encoder.append(TIME_MS, b"kill", b"{\"by\":\"Al\",\"hp\":72.5}"));
    assert!(encoder.append(TIME_MS + 1000, b"kill", b"{\"by\":\"Al\",\"hp\":40}"));
    let bytes = encoder.seal();
    let text = include_str!("mod.rs").split("# Example").nth(1).unwrap().split("```").nth(1).unwrap();
    let is_hex = |word: &&str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    // The hex column of each line ends before two spaces and a word.
    let drawn: Vec<u8> = text
        .lines()
        .flat_map(|line| line.trim_start_matches("//!").split_whitespace().take_while(is_hex))
        .map(|word| u8::from_str_radix(word, 16).unwrap())
        .collect();
    assert_eq!(drawn, bytes, "{}", bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>());
}
