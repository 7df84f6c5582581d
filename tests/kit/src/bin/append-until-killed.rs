//! Appends to an event log until it is killed. Prints the number up to which records are safe. For the test `event_log`.
//! Arguments: folder, format, number of the first record, seed. Each record holds its own number.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fault_kit::Random;
use realtime::facade::eventlog::disk::SystemDisk;
use realtime::facade::eventlog::path::LogPath;
use realtime::facade::eventlog::writer::Writer;
use realtime::facade::eventlog::{Format, Fsync, LogSpec};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, format, first, seed] = &arguments[..] else { panic!("four arguments, found {arguments:?}") };
    let format = if format == "json" { Format::Json } else { Format::Binary };
    let path = LogPath::parse(b"logs/kill.log").expect("a path");
    // Small segments, so that many kills hit a rotation.
    let spec = LogSpec { format, fsync: Fsync::EverySecond, max_bytes: 64 * 1024, ..LogSpec::new(path) };
    let mut writer = Writer::open(Arc::new(SystemDisk), Path::new(folder), spec, Instant::now()).expect("the log");
    let mut random = Random::from_seed(seed.parse().expect("a seed"));
    let mut number: u64 = first.parse().expect("a number");
    let mut out = io::stdout().lock();
    loop {
        for _ in 0..=random.below(400) {
            let text = "x".repeat(random.below(40) as usize);
            let payload = format!("{{\"n\":{number},\"text\":\"{text}\"}}");
            writer.append(1_763_942_400_000 + number, b"kill", payload.as_bytes()).expect("memory");
            number += 1;
            if writer.wants_write() {
                writer.advance(Instant::now(), false).expect("a disk");
            }
        }
        match random.below(3) {
            0 => writer.advance(Instant::now(), true).expect("a disk"),
            1 => writer.sync_now(Instant::now()).expect("a disk"),
            _ => continue,
        }
        // A written record is safe, synced or not: only the process dies, not the machine.
        writeln!(out, "{number}").expect("the test reads stdout");
        out.flush().expect("the test reads stdout");
    }
}
