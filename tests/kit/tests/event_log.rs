//! Event logs of a process that is killed at any moment: every record that it reported as safe is there, and the next
//! process continues the log. Also event logs of a server that closes, and of one whose disk hangs.

use std::collections::BTreeSet;
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

/// Each channel has a log of its own, whatever its name holds. A flood of channels is refused beyond the bound, and a log
/// that was closed for another goes on when its channel comes again.
#[test]
fn each_channel_has_a_log_of_its_own_below_the_folder() {
    let hostile = [
        "../../escape",
        "..",
        "kill",
        "Kill",
        "KILL",
        "%4bill",
        "con",
        "CON",
        "a/b",
        "a\\b",
        "nul\0x",
        "C:x",
        "x.idx",
        "kill.log.000001",
        "\u{e9}",
        " ",
        "x.",
    ];
    let written = |server: &mut Server| {
        server.wait(|server| server.stat("/actions/waiting") + server.stat("/files/waiting") == 0)
    };
    let mut server = logging("*", "logs/{channel}.log");
    for round in 0..2 {
        for channel in hostile {
            server.emit(channel, &json!({ "name": channel, "round": round }).to_string()).unwrap();
        }
        // More logs than may be open at once.
        (0..100).for_each(|n| server.emit(&format!("many:{n}"), "{}").unwrap());
        written(&mut server);
    }
    (0..200).for_each(|n| server.emit(&format!("flood:{n}"), "{}").unwrap());
    written(&mut server);
    let logs = 256;
    let refused = hostile.len() as u64 + 100 + 200 - logs;
    assert_eq!(
        (server.stat("/actions_unmade"), server.stat("/files/delivered")),
        (refused, logs + hostile.len() as u64 + 100)
    );
    server.wait(|server| server.told.iter().any(|told| format!("{told:?}").contains("has written 256 logs")));
    let names: BTreeSet<String> = fs::read_dir(server.folder.path().join("logs"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap().to_lowercase())
        .filter(|name| name.ends_with(".log"))
        .collect();
    // As many in lower case: Windows knows no other case.
    assert_eq!(names.len() as u64, logs, "{names:?}");
    // `realtime` is the module's own.
    let beside = fs::read_dir(server.folder.path()).unwrap().map(|file| file.unwrap().file_name());
    assert!(beside.into_iter().all(|name| name == "logs" || name == "realtime"));
    for (path, name) in [("logs/%4bill.log", "Kill"), ("logs/kill.log", "kill"), ("logs/%2e%2e.log", "..")] {
        let query = LogQuery::parse(path.as_bytes(), &json!({ "channel": name })).unwrap();
        let count = server.answers.len();
        server.engine.read_event_log(query, CallbackRef(9)).unwrap();
        let answer = server.answered(count + 1).pop().unwrap().1;
        assert!(answer.contains(&format!("channel='{name}'")) && answer.contains("round=1"), "{path}: {answer}");
        assert_eq!(answer.matches("round=").count(), 2, "{path}: {answer}");
    }
    // Of a channel that was never seen the log is empty, as a hook may write it; another path is a mistake.
    for (path, expected) in [("logs/never.log", "{}"), ("logs/never.txt", "no hook of this server writes it")] {
        let query = LogQuery::parse(path.as_bytes(), &json!({})).unwrap();
        let count = server.answers.len();
        server.engine.read_event_log(query, CallbackRef(9)).unwrap();
        let answer = server.answered(count + 1).pop().unwrap().1;
        assert!(answer.contains(expected), "{path}: {answer}");
    }
    // A hook that is added again begins no further logs.
    server.hook("*", json!({ "type": "file", "path": "logs/{channel}.log" }));
    server.emit("after a reload", "{}").unwrap();
    written(&mut server);
    assert_eq!(server.stat("/actions_unmade"), refused + 1);
    server.assert_balanced();
    server.stop();
}

/// `{date}` is that of the owner's clock. Between these two zones it is never the same.
#[test]
fn a_log_of_each_day_follows_the_owners_clock() {
    let mut server = logging("kill", "logs/{date}/kills.log");
    for zone in ["-12:00", "+14:00", "-12:00"] {
        server.engine.configure(&json!({ "timezone_offset": zone }).to_string()).unwrap();
        server.emit("kill", "{}").unwrap();
        server.wait(|server| server.stat("/actions/waiting") + server.stat("/files/waiting") == 0);
    }
    let days = fs::read_dir(server.folder.path().join("logs")).unwrap();
    let days: BTreeSet<String> = days.map(|day| day.unwrap().file_name().into_string().unwrap()).collect();
    // A day may end during the test.
    assert!((2..=3).contains(&days.len()) && days.iter().all(|day| day.len() == 10), "{days:?}");
    let counts = days.iter().map(|day| records(&server, &format!("logs/{day}/kills.log")).unwrap());
    assert_eq!(counts.sum::<usize>(), 3);
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
