//! Event logs of a process that is killed at any moment: every record that it reported as safe is there, and the next
//! process continues the log. Also event logs of a server that closes, and of one whose disk hangs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fault_kit::{PATIENCE, Random, Server, within};
use realtime::facade::config::limits::CLOSE_FLUSH_MAX;
use realtime::facade::engine::CallbackRef;
use realtime::facade::engine::event_log::LogQuery;
use realtime::facade::eventlog::Query;
use realtime::facade::eventlog::folder::LogFiles;
use realtime::facade::eventlog::path::LogPath;
use realtime::facade::eventlog::reader::{self, ReadError, Scan, ScanProgress};
use realtime::facade::threads::files::ReadReply;
use serde_json::json;

/// The number of kills; `REALTIME_KILLS=1000` makes more.
const KILLS: u64 = 20;

/// Kills for each log. After each kill the test reads the whole log, so a log must not grow too long.
const KILLS_PER_LOG: u64 = 10;

#[test]
fn a_killed_writer_loses_no_record_that_it_reported_as_safe() {
    let kills = std::env::var("REALTIME_KILLS").map_or(KILLS, |kills| kills.parse().expect("REALTIME_KILLS"));
    let mut random = Random::announced("kills of a writer");
    for log in 0..kills.div_ceil(KILLS_PER_LOG) {
        let format = ["binary", "json"][log as usize % 2];
        let folder = std::env::temp_dir().join(format!("realtime-kills-{log}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut next = 0;
        for kill in 0..KILLS_PER_LOG {
            let acknowledged = append_and_kill(&folder, format, next, &mut random);
            next = check(&folder, kill, acknowledged);
        }
        assert!(next > KILLS_PER_LOG * 20, "{next} records: the writer hardly ran");
        report(log, format, next, fs::read_dir(folder.join("logs")).unwrap().count());
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// Checks that every record is there once and in order, and at least as many as were safe. Returns their number.
fn check(folder: &Path, kill: u64, acknowledged: u64) -> u64 {
    let query = Query { limit: usize::MAX, ..Query::default() };
    let mut scan = match Scan::open(LogFiles::anywhere(&folder.join("logs/kill.log")), query) {
        // A writer that was killed before it made the log reported nothing as safe.
        Err(ReadError::Missing { .. }) if acknowledged == 0 => return 0,
        opened => opened.unwrap(),
    };
    let mut next = 0;
    while scan.step().unwrap() == ScanProgress::More {
        for record in scan.take_records().iter() {
            let payload: serde_json::Value = serde_json::from_slice(record.payload).unwrap();
            assert_eq!((payload["n"].as_u64().unwrap(), record.seq), (next, next + 1), "kill {kill}");
            next += 1;
        }
    }
    let damage = scan.take_outcome().damage;
    assert_eq!(damage.damaged, 0, "kill {kill}: {:?}", damage.findings);
    assert!(damage.findings.len() <= 1, "a torn end is reported once: {:?}", damage.findings);
    assert!(next >= acknowledged, "kill {kill}: {next} of {acknowledged}");
    next
}

#[allow(clippy::print_stderr, reason = "what the run by hand is for")]
fn report(log: u64, format: &str, records: u64, files: usize) {
    eprintln!("log {log}, {format}: {KILLS_PER_LOG} kills, {records} records, {files} files");
}

/// Runs the writer for a random time and kills it. Returns the number below which every record is safe.
fn append_and_kill(folder: &Path, format: &str, first: u64, random: &mut Random) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_append-until-killed"))
        .arg(folder)
        .args([format, &first.to_string(), &random.below(1 << 40).to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tx, rx) = mpsc::channel();
    let reader = thread::spawn(move || lines.map_while(Result::ok).for_each(|line| tx.send(line).unwrap()));
    // The kill comes after its first line, or before it.
    let mut acknowledged = first;
    if random.below(8) > 0 {
        acknowledged = rx.recv_timeout(PATIENCE).expect("a first word").parse().unwrap();
    }
    let until = Instant::now() + Duration::from_micros(random.below(40_000));
    while let Ok(line) = rx.recv_timeout(until.saturating_duration_since(Instant::now())) {
        acknowledged = line.parse().unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    rx.try_iter().last().map_or(acknowledged, |line| line.parse().unwrap_or(acknowledged))
}

fn records(server: &Server, path: &str) -> Result<usize, String> {
    let path = LogPath::parse(path.as_bytes()).unwrap();
    let query = Query { limit: usize::MAX, ..Query::default() };
    let read = reader::read(server.folder.path(), &path, &query, Instant::now() + PATIENCE);
    read.map(|outcome| outcome.records.len()).map_err(|err| err.to_string())
}

/// A server without Redis, with a hook that logs the events of this channel.
fn logging(channel: &str, path: &str) -> Server {
    let mut server = Server::with(json!({ "redis": "redis://127.0.0.1:1" }));
    server.hook(channel, json!({ "type": "file", "path": path }));
    server
}

#[test]
fn a_close_writes_the_records_of_the_last_events() {
    let mut server = logging("kill", "kills.log");
    for map in 1..=3 {
        (0..500).for_each(|n| server.emit("kill", &json!({ "n": n }).to_string()).unwrap());
        let (_, flush) = server.engine.detach();
        assert!(!flush.wait(), "the flush succeeded without a redis");
        assert_eq!(records(&server, "kills.log"), Ok(map * 500));
        server.engine.attach();
        server.hook("kill", json!({ "type": "file", "path": "kills.log" }));
    }
    server.assert_balanced();
    server.stop();
}

/// Opening a named pipe would block `rt-files` until another process opens it.
#[test]
fn a_pipe_instead_of_a_log_is_refused_and_delays_nothing() {
    let mut server = logging("kill", "pipe.log");
    let pipe = server.folder.path().join("pipe.log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(records(&server, "pipe.log").unwrap_err().ends_with("it is not a plain file"));
    server.hook("kill", json!({ "type": "file", "path": "other.log" }));
    server.emit("kill", "{}").unwrap();
    server.wait(|server| server.stat("/files/delivered") == 1 && server.stat("/files/dropped/refused") == 1);
    assert_eq!(records(&server, "other.log"), Ok(1));
    server.assert_balanced();
    server.stop();
}

/// A disk that hangs. Here a callback for a read hangs instead, which also blocks `rt-files`.
#[test]
fn a_hung_disk_delays_a_reader_by_its_bound_only() {
    let mut server = logging("kill", "kills.log");
    server.hook("never", json!({ "type": "file", "path": "other.log" }));
    let (go_on_tx, go_on_rx) = mpsc::channel::<()>();
    let hang = ReadReply::new(move |_| assert!(go_on_rx.recv().is_err()));
    server.engine.shared().files.read(LogPath::parse(b"other.log").unwrap(), Query::default(), hang);
    server.emit("kill", "{}").unwrap();
    let query = || LogQuery::parse(b"other.log", &json!({})).unwrap();
    let read = |server: &mut Server| {
        let reading = server.engine.begin_log_read(query()).map_err(|refusal| refusal.to_string())?;
        let read = reading.wait();
        server.engine.end_log_read(&reading, read).map(|answer| answer.values)
    };
    let began = Instant::now();
    let late = "timeout: the event log was not read within 50 ms; use a callback";
    let spent = "timeout: readers have waited 50 ms of this second already, use a callback";
    assert_eq!(read(&mut server), Err(late.to_owned()));
    let said: Vec<String> = (0..1000).map(|_| read(&mut server).unwrap_err()).collect();
    // Each reader could wait 50 ms. On a busy machine another second, with new time for readers, may have begun.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(said[0], spent);
    let waited = said.iter().filter(|said| **said != spent).count();
    assert!(waited as u64 <= 2 * began.elapsed().as_secs(), "{waited} waited: {said:?}");
    within(CLOSE_FLUSH_MAX + Duration::from_millis(200), || {
        server.engine.read_event_log(query(), CallbackRef(7)).unwrap();
        let began = Instant::now();
        let (functions, flush) = server.engine.detach();
        assert!(functions.contains(&CallbackRef(7)) && !flush.wait());
        let took = began.elapsed();
        server.engine.attach();
        took
    });
    drop(go_on_tx);
    server.engine.read_event_log(query(), CallbackRef(8)).unwrap();
    assert_eq!(server.answered(1), [(8, "{}".to_owned())]);
    server.assert_balanced();
    server.stop();
}
