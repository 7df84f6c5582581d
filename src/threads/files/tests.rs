//! Tests of `rt-files`: every record is counted once, every read and flush is answered, also when the disk fails or the
//! thread panics. Most of them drive the desk by hand; `serving` runs the loop on a thread.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

use super::*;
use crate::config::limits::EVENTLOG_RETRY;
use crate::eventlog::Query;
use crate::eventlog::disk::{Disk, DiskFile, SystemDisk};
use crate::eventlog::path::LogPath;
use crate::eventlog::reader::{self, ReadError};
use crate::eventlog::spec::{Format, Fsync, LogSpec};
use crate::eventlog::writer::tests::double::{DoubleDisk, Folder};
use crate::io::channel;
use crate::io::plain_file::held;
use crate::io::shown::shown;
use crate::stats::Counters;
use crate::stats::Stats;
use crate::threads::files::desk::{EVENTLOG_OPEN_MAX, EVENTLOG_REFORMAT_PAUSE};
use crate::threads::files::queue::{AppendRefused, EVENTLOG_JOBS_MAX, EVENTLOG_READS_MAX, Job, ReadReply};

const PATIENCE: Duration = Duration::from_secs(60);
/// Calls that one attempt to lock a log makes for the lock file, if all fail.
const LOCK_CALLS: u32 = if cfg!(windows) { 3 } else { 1 };

fn files(folder: &Folder, disk: Arc<dyn Disk>) -> Files {
    Files::new(folder.0.clone(), disk, Arc::new(Stats::default()))
}

fn log(path: &str) -> Arc<LogSpec> {
    Arc::new(LogSpec::new(LogPath::parse(path.as_bytes()).unwrap()))
}

fn far() -> Instant {
    Instant::now() + PATIENCE
}

fn count(folder: &Folder, path: &str) -> usize {
    let query = Query { limit: usize::MAX, ..Query::default() };
    let outcome = reader::read(&folder.0, &LogPath::parse(path.as_bytes()).unwrap(), &query, far()).unwrap();
    assert_eq!(outcome.damage.damaged, 0);
    outcome.records.len()
}

/// Checks that offered = delivered + dropped + waiting. Returns `delivered`, and the reasons of drops with their counts.
fn balance(files: &Files) -> (u64, Vec<(&'static str, u64)>) {
    let stats = &files.stats.files;
    let dropped: Vec<_> = stats.dropped.list().into_iter().filter(|(_, count)| *count > 0).collect();
    let lost: u64 = dropped.iter().map(|(_, count)| count).sum();
    assert_eq!(stats.offered.get(), stats.delivered.get() + lost + files.waiting() as u64);
    if files.waiting() == 0 {
        assert_eq!(files.held().0, 0);
    }
    (stats.delivered.get(), dropped)
}

/// Runs `run` while the thread's loop serves, then stops the loop.
fn serving<T>(files: &Files, run: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        scope.spawn(|| serve(files, &|_| {}, &mut |_| Duration::MAX));
        let result = catch_unwind(AssertUnwindSafe(run));
        files.stop();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Serves all queued jobs, as one round of the loop does.
fn serve_once(desk: &mut Desk<'_>, files: &Files, now: Instant) {
    while let Some(job) = files.next(Duration::ZERO) {
        assert!(!desk.serve(job, now));
    }
    desk.advance(now);
}

/// Serves all queued jobs, in as many rounds as it takes to open their logs: on a busy machine one slice of time may not be
/// enough.
fn serve_waiting(desk: &mut Desk<'_>, files: &Files, now: Instant) {
    serve_once(desk, files, now);
    while desk.is_opening() {
        desk.open_slice(now);
    }
    desk.advance(now);
}

#[test]
fn records_of_many_threads_are_all_written_and_counted() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    serving(&files, || {
        thread::scope(|scope| {
            for number in 0..4 {
                let (files, log) = (&files, log(&format!("logs/{}.log", number % 2)));
                scope.spawn(move || {
                    for n in 0..5000 {
                        files.append(&log, n, b"channel", format!("{{\"n\":{n}}}").as_bytes()).unwrap();
                    }
                });
            }
        });
        assert!(files.flush(far()));
        assert_eq!(balance(&files), (20_000, vec![]));
        assert_eq!(count(&folder, "logs/0.log") + count(&folder, "logs/1.log"), 20_000);
    });
    assert_eq!(files.append(&log("x"), 0, b"c", b"1"), Err(AppendRefused::Closed));
    assert_eq!(balance(&files), (20_000, vec![("closed", 1)]));
}

#[test]
fn a_queue_full_by_count_refuses_the_newest_record() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let log = log("a");
    for _ in 0..EVENTLOG_JOBS_MAX {
        files.append(&log, 0, b"c", b"1").unwrap();
    }
    assert_eq!(files.append(&log, 0, b"c", b"1"), Err(AppendRefused::Full { waiting: EVENTLOG_JOBS_MAX }));
    serving(&files, || assert!(files.flush(far())));
    assert_eq!(balance(&files), (EVENTLOG_JOBS_MAX as u64, vec![("queue_full", 1)]));
}

#[test]
fn a_queue_full_by_bytes_refuses_the_newest_record() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let (log, payload) = (log("a"), vec![b'x'; 512 * 1024]);
    let taken = (0..40).filter(|_| files.append(&log, 0, b"c", &payload).is_ok()).count();
    assert_eq!(taken, 31);
    serving(&files, || assert!(files.flush(far())));
    assert_eq!(balance(&files), (31, vec![("queue_full", 9)]));
}

#[test]
fn a_read_sees_all_records_appended_before_it() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let path = || LogPath::parse(b"logs/a.log").unwrap();
    serving(&files, || {
        let (tx, rx) = crossbeam_channel::bounded(8);
        for round in 1..=5 {
            for n in 0..1000 {
                files.append(&log("logs/a.log"), n, b"c", b"{\"a\":1}").unwrap();
            }
            let tx = tx.clone();
            let query = Query { limit: usize::MAX, ..Query::default() };
            files.read(path(), query, ReadReply::new(move |result| tx.send(result).unwrap()));
            let outcome = rx.recv_timeout(PATIENCE).unwrap().unwrap();
            assert!(outcome.records.len() >= round * 1000);
        }
        let missing = tx.clone();
        let nowhere = LogPath::parse(b"nowhere").unwrap();
        files.read(nowhere, Query::default(), ReadReply::new(move |result| missing.send(result).unwrap()));
        assert!(matches!(rx.recv_timeout(PATIENCE).unwrap(), Err(ReadError::Missing { .. })));
        assert_eq!(files.stats.file_counts.reads.get(), 6);
    });
}

#[test]
fn reads_over_the_bound_are_refused_and_the_others_answered_once() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let (tx, rx) = crossbeam_channel::unbounded();
    let path = LogPath::parse(b"a").unwrap();
    for _ in 0..EVENTLOG_READS_MAX + 10 {
        let tx = tx.clone();
        let reply = ReadReply::new(move |result| tx.send(result.unwrap_err().to_string()).unwrap());
        files.read(path.clone(), Query::default(), reply);
    }
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), vec!["64 reads of event logs wait"; 10]);
    serving(&files, || assert!(files.flush(far())));
    assert_eq!(rx.len(), EVENTLOG_READS_MAX, "each is answered once");
    assert_eq!(files.held(), (0, 0, 0));
}

#[test]
fn a_long_read_is_split_into_slices() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let (mut desk, now) = (Desk::new(&files, &|_| {}), Instant::now());
    let payload = vec![b'x'; 30_000];
    for _ in 0..400 {
        files.append(&log("a"), 0, b"c", &payload).unwrap();
    }
    let (tx, rx) = crossbeam_channel::bounded(1);
    let query = Query { limit: usize::MAX, ..Query::default() };
    let reply = ReadReply::new(move |result| tx.send(result.map(|outcome| outcome.records.len())).unwrap());
    files.read(LogPath::parse(b"a").unwrap(), query, reply);
    serve_waiting(&mut desk, &files, now);
    let mut slices = 0;
    while rx.is_empty() {
        assert_eq!(desk.patience(now), Duration::ZERO);
        let start = Instant::now();
        desk.read_slice();
        assert!(start.elapsed() < PATIENCE);
        slices += 1;
    }
    assert_eq!(rx.try_recv().unwrap().unwrap(), 400);
    assert!(slices > 1, "12 MB in one slice");
    assert!(desk.patience(now) > Duration::ZERO);
}

/// Writes a log of lines as another program would: it has no index and no list of segments.
fn put_lines(folder: &Folder, path: &str, bytes: usize) {
    let line = format!("{{\"time\":1.000,\"seq\":1,\"channel\":\"c\",\"data\":\"{}\"}}\n", "x".repeat(9_000));
    fs::write(folder.0.join(path), line.repeat(bytes / line.len())).unwrap();
}

#[test]
fn a_large_log_is_opened_in_slices_while_others_are_written_and_read() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let (mut desk, now) = (Desk::new(&files, &|_| {}), Instant::now());
    put_lines(&folder, "big", 60_000_000);
    for n in 0..50 {
        files.append(&log("big"), n, b"c", b"{\"a\":1}").unwrap();
        files.append(&log("small"), n, b"c", b"{\"a\":1}").unwrap();
    }
    let (tx, rx) = crossbeam_channel::unbounded();
    let read = |path: &str| {
        let (tx, name) = (tx.clone(), path.to_owned());
        let reply = ReadReply::new(move |result| tx.send((name, result.map(|found| found.records.len()))).unwrap());
        let query = Query { limit: 100, newest_first: true, channel: Some(b"c".into()), ..Query::default() };
        files.read(LogPath::parse(path.as_bytes()).unwrap(), query, reply);
    };
    read("big");
    read("small");
    let flush = |path: Option<&str>| {
        let (done_tx, done_rx) = channel::bounded(1);
        files.push(Job::Flush(path.map(|path| LogPath::parse(path.as_bytes()).unwrap()), done_tx));
        done_rx
    };
    let (all, small, big) = (flush(None), flush(Some("small")), flush(Some("big")));
    serve_once(&mut desk, &files, now);
    // The small log is written and its flush answered, however long the big log takes.
    assert_eq!(balance(&files), (50, vec![]));
    assert_eq!((small.try_recv(), all.try_recv(), big.try_recv()), (Some(true), None, None));
    let mut slices = 0;
    let mut answered = Vec::new();
    while files.waiting() > 0 || answered.len() < 2 {
        assert_eq!(desk.patience(now), Duration::ZERO);
        desk.open_slice(now);
        desk.read_slice();
        answered.extend(rx.try_iter().map(|(name, result)| (name, result.unwrap())));
        slices += 1;
    }
    assert!(slices > 5, "{slices}: 60 MB in a few slices");
    assert_eq!(answered, [("small".to_owned(), 50), ("big".to_owned(), 100)]);
    assert_eq!((all.try_recv(), big.try_recv()), (Some(true), Some(true)));
    assert_eq!(balance(&files), (100, vec![]));
    let query = Query { limit: 51, newest_first: true, ..Query::default() };
    let found = reader::read(&folder.0, &LogPath::parse(b"big").unwrap(), &query, far()).unwrap().records;
    assert_eq!(found.iter().filter(|record| record.payload == b"{\"a\":1}").count(), 50);
}

#[test]
fn records_that_wait_for_an_opening_log_are_written_or_counted_at_close() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let (mut desk, now) = (Desk::new(&files, &|_| {}), Instant::now());
    put_lines(&folder, "big", 3_000_000);
    files.append(&log("big"), 1, b"c", b"1").unwrap();
    serve_once(&mut desk, &files, now);
    desk.close(now);
    assert_eq!(balance(&files), (1, vec![]));
    // A log that cannot be opened in that time: its record is counted.
    let hidden = folder.0.join("zeros");
    fs::write(&hidden, b"RTEL").unwrap();
    fs::write(folder.0.join("zeros.lock"), b"1").unwrap();
    fs::OpenOptions::new().write(true).open(&hidden).unwrap().set_len(1 << 40).unwrap();
    files.append(&log("zeros"), 1, b"c", b"1").unwrap();
    serve_once(&mut desk, &files, now);
    desk.close(now);
    assert_eq!(balance(&files), (1, vec![("unwritten", 1)]));
}

#[test]
fn more_logs_than_may_be_open_are_all_written() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let logs: Vec<_> = (0..EVENTLOG_OPEN_MAX + 20).map(|number| log(&format!("logs/{number}.log"))).collect();
    // Windows counts handles only by calls that Rust does not have.
    let fds = || if cfg!(windows) { 0 } else { fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) };
    // Each round opens every log anew, which takes long under wine.
    let rounds = if cfg!(windows) { 1 } else { 5 };
    serving(&files, || {
        for round in 0..rounds {
            for log in &logs {
                files.append(log, round, b"c", b"{\"a\":1}").unwrap();
            }
        }
        assert!(files.flush(far()));
        assert!(fds() < EVENTLOG_OPEN_MAX * 3 + 200);
    });
    assert_eq!(balance(&files), (rounds * logs.len() as u64, vec![]));
    for number in 0..logs.len() {
        assert_eq!(count(&folder, &format!("logs/{number}.log")) as u64, rounds);
    }
}

/// Players may choose channels, and a path with `{channel}` makes a log of each.
#[test]
fn records_of_many_logs_in_turn_open_each_log_once_for_a_batch() {
    let syncs_of = |rounds: u64| {
        let (folder, disk) = (Folder::new(), DoubleDisk::default());
        let files = files(&folder, Arc::new(disk.clone()));
        let logs: Vec<_> = (0..EVENTLOG_OPEN_MAX * 4).map(|number| log(&format!("logs/{number}.log"))).collect();
        // Another hook writes one of the logs, too.
        let other = Arc::new(LogSpec::clone(&logs[40]));
        for time in 0..rounds {
            logs.iter().chain([&other]).for_each(|log| files.append(log, time, b"c", b"1").unwrap());
        }
        serving(&files, || assert!(files.flush(far())));
        assert_eq!(balance(&files), (rounds * (logs.len() as u64 + 1), vec![]));
        let query = Query { limit: usize::MAX, ..Query::default() };
        let read = reader::read(&folder.0, &other.path, &query, far()).unwrap();
        assert!(read.records.iter().map(|record| record.time_ms).eq((0..rounds).flat_map(|time| [time, time])));
        disk.plan(|plan| plan.syncs)
    };
    let (one, many) = (syncs_of(1), syncs_of(40));
    assert!(many < one * 2, "{one} {many}");
}

#[test]
fn a_log_that_cannot_be_opened_drops_its_own_records_and_is_tried_again() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let (mut desk, mut now) = (Desk::new(&files, &|_| {}), Instant::now());
    fs::write(folder.0.join("bad"), b"PK\x03\x04").unwrap();
    for _ in 0..3 {
        files.append(&log("bad"), 0, b"c", b"1").unwrap();
        files.append(&log("good"), 0, b"c", b"1").unwrap();
    }
    serve_waiting(&mut desk, &files, now);
    assert_eq!(balance(&files), (3, vec![("refused", 3)]));
    fs::remove_file(folder.0.join("bad")).unwrap();
    files.append(&log("bad"), 0, b"c", b"1").unwrap();
    serve_waiting(&mut desk, &files, now);
    assert_eq!(balance(&files), (3, vec![("refused", 4)]), "not asked again at once");
    now += EVENTLOG_RETRY;
    files.append(&log("bad"), 0, b"c", b"1").unwrap();
    serve_waiting(&mut desk, &files, now);
    assert_eq!(balance(&files), (4, vec![("refused", 4)]));
}

/// The log and the reason of a notice about a file.
fn file_error(notice: Notice) -> String {
    match notice {
        Notice::Error { operation: "file", target, reason } => {
            format!("{} {reason}", String::from_utf8(target.into_vec()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

/// The pause of ten seconds holds for each log and cause, however many other logs report.
#[test]
fn a_log_that_takes_no_records_is_reported_every_ten_seconds() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let told = RefCell::new(Vec::new());
    let tell = |notice| told.borrow_mut().push(file_error(notice));
    let (mut desk, start) = (Desk::new(&files, &tell), Instant::now());
    fs::write(folder.0.join("bad"), b"PK\x03\x04").unwrap();
    fs::create_dir(folder.0.join("folder")).unwrap();
    for second in 0..=10 {
        for path in ["bad", "folder", "good"] {
            files.append(&log(path), 0, b"c", b"1").unwrap();
        }
        serve_waiting(&mut desk, &files, start + Duration::from_secs(second));
        assert_eq!(told.borrow().len(), if second < 10 { 2 } else { 4 }, "{second} s: {told:?}");
    }
    let bad = format!(
        "bad file: cannot open event log `{}`: starts with 50 4b 03 04, not an event log",
        shown(&folder.0.join("bad"))
    );
    assert_eq!(told.borrow()[0], bad);
    assert!(told.borrow()[1].starts_with("folder file: cannot open event log `"), "{told:?}");
    assert_eq!(balance(&files), (11, vec![("refused", 22)]));
}

#[test]
fn changed_settings_take_effect_at_the_next_record() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let (mut desk, now) = (Desk::new(&files, &|_| {}), Instant::now());
    let other = |change: fn(&mut LogSpec)| {
        let mut spec = LogSpec::clone(&log("a"));
        change(&mut spec);
        Arc::new(spec)
    };
    let steps = [
        (log("a"), 1),
        (other(|spec| spec.fsync = Fsync::Always), 1),
        (other(|spec| spec.max_files = 7), 1),
        (other(|spec| spec.format = Format::Binary), 1),
        // Another change of the format at once: two hooks disagree, and the record is refused.
        (log("a"), 0),
        (other(|spec| spec.format = Format::Binary), 1),
    ];
    let mut written = 0;
    for (spec, more) in &steps {
        files.append(spec, 0, b"c", b"1").unwrap();
        serve_waiting(&mut desk, &files, now);
        written += more;
        assert_eq!(balance(&files).0, written);
    }
    files.append(&log("a"), 0, b"c", b"1").unwrap();
    serve_waiting(&mut desk, &files, now + EVENTLOG_REFORMAT_PAUSE);
    assert_eq!(balance(&files), (written + 1, vec![("refused", 1)]));
    assert_eq!(count(&folder, "a"), 6);
    assert_eq!(files.stats.file_counts.rotations.get(), 2);
}

#[test]
fn a_full_disk_holds_records_back_and_then_drops_them_counted() {
    let (folder, disk) = (Folder::new(), DoubleDisk::default());
    let files = files(&folder, Arc::new(disk.clone()));
    let (mut desk, mut now) = (Desk::new(&files, &|_| {}), Instant::now());
    disk.plan(|plan| plan.room = Some(1000));
    let payload = format!("\"{}\"", "x".repeat(10_000));
    for number in 0..900 {
        files.append(&log(["a", "b"][number % 2]), 0, b"c", payload.as_bytes()).unwrap();
        now += EVENTLOG_RETRY;
        serve_waiting(&mut desk, &files, now);
        balance(&files);
    }
    assert!(!desk.serve(Job::Flush(None, channel::bounded(1).0), now));
    let (delivered, dropped) = balance(&files);
    assert_eq!((delivered, dropped.len(), dropped[0].0), (0, 1, "disk_full"));
    let kept = files.waiting();
    assert!((750..850).contains(&kept), "{kept}");
    disk.plan(|plan| plan.room = None);
    now += EVENTLOG_RETRY;
    assert!(desk.patience(now - Duration::from_millis(1)) <= EVENTLOG_RETRY);
    desk.advance(now);
    assert_eq!(balance(&files).0, kept as u64);
    assert_eq!(count(&folder, "a") + count(&folder, "b"), kept);
}

#[test]
fn records_that_the_disk_never_took_are_counted_at_close() {
    let (folder, disk) = (Folder::new(), DoubleDisk::default());
    let files = files(&folder, Arc::new(disk.clone()));
    disk.plan(|plan| plan.room = Some(0));
    serving(&files, || {
        for _ in 0..10 {
            files.append(&log("a"), 0, b"c", b"1").unwrap();
        }
        assert!(!files.flush(far()), "nothing was written");
    });
    assert_eq!(balance(&files), (0, vec![("unwritten", 10)]));
}

/// Another program holds the log when it is opened: its records wait, in their order, and those of others are written.
#[test]
fn records_of_a_held_log_wait_until_it_can_be_opened() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let told = std::cell::Cell::new(0);
    let tell = |_| told.set(told.get() + 1);
    let (mut desk, mut now) = (Desk::new(&files, &tell), Instant::now());
    held::hold(&folder.0.join("held.lock"), 2 * LOCK_CALLS);
    for n in 0..3 {
        files.append(&log("held"), n, b"c", b"1").unwrap();
        files.append(&log("good"), n, b"c", b"1").unwrap();
    }
    let (done_tx, done_rx) = channel::bounded(4);
    files.push(Job::Flush(None, done_tx.clone()));
    files.push(Job::Flush(Some(LogPath::parse(b"good").unwrap()), done_tx.clone()));
    serve_waiting(&mut desk, &files, now);
    assert_eq!((balance(&files), files.waiting()), ((3, vec![]), 3));
    assert_eq!((done_rx.try_recv(), done_rx.try_recv()), (Some(false), Some(true)));
    // Not asked again at once, and once more in vain after the pause.
    files.append(&log("held"), 3, b"c", b"1").unwrap();
    serve_waiting(&mut desk, &files, now);
    assert_eq!(files.stats.file_counts.held.get(), 1);
    assert!(desk.patience(now) <= EVENTLOG_RETRY);
    for (held, delivered) in [(2, 3), (2, 7)] {
        now += EVENTLOG_RETRY;
        serve_waiting(&mut desk, &files, now);
        assert_eq!((files.stats.file_counts.held.get(), balance(&files)), (held, (delivered, vec![])));
    }
    assert_eq!((count(&folder, "held"), count(&folder, "good"), told.get()), (4, 3, 0));
    let found = reader::read(&folder.0, &LogPath::parse(b"held").unwrap(), &Query::default(), far()).unwrap();
    assert!(found.records.iter().map(|record| record.time_ms).eq(0..4));
}

#[test]
fn records_of_a_held_log_are_bounded_and_the_others_counted_and_told() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    let told = RefCell::new(Vec::new());
    let tell = |notice| told.borrow_mut().push(file_error(notice));
    let (mut desk, now) = (Desk::new(&files, &tell), Instant::now());
    let payload = format!("\"{}\"", "x".repeat(100_000));
    let names = ["a", "b", "c"];
    names.iter().for_each(|name| held::hold(&folder.0.join(name), u32::MAX));
    for _ in 0..50 {
        for name in names {
            files.append(&log(name), 0, b"c", payload.as_bytes()).unwrap();
            serve_waiting(&mut desk, &files, now);
        }
    }
    // Each log alone may keep 41 of them, and all together 83.
    assert_eq!((files.waiting(), balance(&files)), (83, (0, vec![("held", 67)])));
    let words = "file: another program holds its file, and the memory for waiting records is full";
    told.borrow_mut().sort();
    assert_eq!(*told.borrow(), names.map(|name| format!("{name} {words}")));
    // Others have room.
    for _ in 0..50 {
        files.append(&log("good"), 0, b"c", payload.as_bytes()).unwrap();
    }
    serve_waiting(&mut desk, &files, now);
    assert_eq!(balance(&files), (50, vec![("held", 67)]));
    names.iter().for_each(|name| held::release(&folder.0.join(name)));
    serve_waiting(&mut desk, &files, now + EVENTLOG_RETRY);
    assert_eq!(balance(&files), (133, vec![("held", 67)]));
}

/// Records of a log that is not written now leave room in the queue: short ones (the count), and ones that take far less
/// space in a block than in the queue.
#[test]
fn a_log_that_is_not_written_leaves_room_for_others() {
    const QUARTER: usize = EVENTLOG_JOBS_MAX / 4;
    let long = format!("\"{}\"", "x".repeat(1000));
    for (case, format, payload, kept) in [
        ("lock", Format::Json, "1", QUARTER..QUARTER + 1),
        ("rotation", Format::Json, "1", QUARTER..QUARTER + 1),
        ("rotation", Format::Binary, &long, 3500..4195),
        ("full", Format::Binary, &long, 3500..4195),
        ("opening", Format::Binary, "1", QUARTER..QUARTER + 1),
    ] {
        let (folder, disk) = (Folder::new(), DoubleDisk::default());
        let files = files(&folder, Arc::new(disk.clone()));
        let (mut desk, now) = (Desk::new(&files, &|_| {}), Instant::now());
        let bad = Arc::new(LogSpec { format, max_bytes: 64 * 1024, ..LogSpec::clone(&log("bad")) });
        let path = folder.0.join("bad");
        let append = |log: &Arc<LogSpec>| files.append(log, 0, b"c", payload.as_bytes());
        let (place, reason) = match case {
            "lock" => (folder.0.join("bad.lock"), "held"),
            "full" => (folder.0.join("none"), "disk_full"),
            "opening" => (folder.0.join("none"), "opening"),
            _ => (path.clone(), "held"),
        };
        append(&log("good")).unwrap();
        if case == "opening" {
            fs::write(&path, b"RTEL").unwrap();
            fs::write(folder.0.join("bad.lock"), b"1").unwrap();
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        } else if case != "lock" {
            append(&bad).unwrap();
        }
        serve_waiting(&mut desk, &files, now);
        let before = balance(&files).0;
        held::hold(&place, u32::MAX);
        if case == "full" {
            disk.plan(|plan| plan.room = Some(0));
        }
        // In rounds, with attempts after the pause in between.
        let mut later = now;
        for number in 0..70_000 {
            append(&bad).unwrap();
            if number % 1000 == 999 {
                later += EVENTLOG_RETRY;
                serve_once(&mut desk, &files, later);
            }
        }
        let (delivered, dropped) = balance(&files);
        let waiting = files.waiting();
        assert!(kept.contains(&waiting), "{case} {format:?}: {waiting}");
        let written = delivered - before;
        assert_eq!(dropped, [(reason, 70_000 - waiting as u64 - written)], "{case} {format:?}");
        disk.plan(|plan| plan.room = None);
        append(&log("good")).unwrap();
        serve_once(&mut desk, &files, later);
        assert_eq!(count(&folder, "good"), 2, "{case} {format:?}");
        held::release(&place);
    }
}

/// The file is held while the log is open and rotates, then while the desk closes it.
#[test]
fn a_held_log_is_written_at_close_if_it_becomes_free() {
    for (name, is_open, times) in [("log", false, 2), ("log", true, 2), ("log.lock", false, 2 * LOCK_CALLS)] {
        let folder = Folder::new();
        let files = files(&folder, Arc::new(SystemDisk));
        let (mut desk, now) = (Desk::new(&files, &|_| {}), Instant::now());
        let spec = Arc::new(LogSpec { max_bytes: 64 * 1024, ..LogSpec::clone(&log("log")) });
        let payload = format!("\"{}\"", "x".repeat(40_000));
        if is_open {
            files.append(&spec, 0, b"c", payload.as_bytes()).unwrap();
            serve_waiting(&mut desk, &files, now);
        }
        held::hold(&folder.0.join(name), times);
        files.append(&spec, 0, b"c", payload.as_bytes()).unwrap();
        serve_waiting(&mut desk, &files, now);
        assert_eq!(files.waiting(), 1, "{name} {is_open}");
        desk.close(now);
        assert_eq!(balance(&files), (1 + u64::from(is_open), vec![]), "{name} {is_open}");
        assert!(files.stats.file_counts.held.get() >= 2);
    }
    // It stays held: the records are counted.
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    held::hold(&folder.0.join("log"), u32::MAX);
    serving(&files, || {
        (0..3).for_each(|n| files.append(&log("log"), n, b"c", b"1").unwrap());
        assert!(!files.flush(far()));
    });
    assert_eq!(balance(&files), (0, vec![("unwritten", 3)]));
}

/// Two hooks whose paths differ in case share one writer on Windows, and write two files elsewhere.
#[test]
fn paths_that_name_one_file_share_a_writer() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(SystemDisk));
    serving(&files, || {
        for n in 0..10 {
            files.append(&log(["logs/Case.log", "logs/case.log"][n % 2]), n as u64, b"c", b"1").unwrap();
        }
        assert!(files.flush(far()));
    });
    assert_eq!(balance(&files), (10, vec![]));
    let expected = if cfg!(windows) { [10, 10] } else { [5, 5] };
    assert_eq!(["logs/Case.log", "logs/case.log"].map(|path| count(&folder, path)), expected);
}

/// Panics when a file is created.
struct PanickingDisk;

impl Disk for PanickingDisk {
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        panic!("a test's panic");
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        SystemDisk.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(folder)
    }
}

#[test]
fn a_panic_loses_the_taken_records_and_counts_them() {
    let folder = Folder::new();
    let files = files(&folder, Arc::new(PanickingDisk));
    let (tx, rx) = crossbeam_channel::bounded(1);
    for _ in 0..10 {
        files.append(&log("a"), 0, b"c", b"1").unwrap();
    }
    let reply = ReadReply::new(move |result| tx.send(result.unwrap_err().to_string()).unwrap());
    files.read(LogPath::parse(b"a").unwrap(), Query::default(), reply);
    assert!(catch_unwind(AssertUnwindSafe(|| serve(&files, &|_| {}, &mut |_| Duration::MAX))).is_err());
    // The loop starts again, as it does for every worker.
    files.stop();
    serve(&files, &|_| {}, &mut |_| Duration::MAX);
    assert_eq!(balance(&files), (0, vec![("panic", 10)]));
    assert_eq!(rx.try_recv().unwrap(), "the event logs are closed");
    assert_eq!(files.held(), (0, 0, 0));
}
