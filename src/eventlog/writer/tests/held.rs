//! Tests of a log whose files another program holds, as virus scanners, backups and editors do on Windows: no record is
//! lost or doubled, nothing is abandoned, and each attempt is counted. `plain_file::held` makes the calls fail.

use super::*;
#[cfg(target_os = "linux")]
use crate::io::plain_file::held::fail_locks;
use crate::io::plain_file::held::{hold, release};

/// A path beside the log's own file.
fn beside(folder: &Folder, end: &str) -> PathBuf {
    folder.0.join(format!("logs/deaths.log{end}"))
}

/// Writes until nothing waits, a pause after each failure. Returns the number of failures.
fn settle(writer: &mut Writer, mut now: Instant) -> u64 {
    let mut failures = 0;
    loop {
        match writer.sync_now(now) {
            Ok(()) => return failures,
            Err(err) => {
                assert!(err.is_held() && writer.is_held() && writer.is_pausing(now), "{err}");
                assert!(err.to_string().contains("`: another program holds it: "), "{err}");
            }
        }
        failures += 1;
        now += EVENTLOG_RETRY;
    }
}

/// Rotations while another program holds the full segment, the place of its new name, or the lock file.
#[test]
fn records_wait_while_a_rotation_is_held() {
    for (format, end) in FORMATS.into_iter().flat_map(|format| [(format, ""), (format, ".000001"), (format, ".000003")])
    {
        let (folder, samples) = (Folder::new(), many(9000));
        let mut writer = open(&folder, LogSpec { fsync: Fsync::Never, ..spec(format) });
        let mut failures = 0;
        for (number, piece) in samples.chunks(100).enumerate() {
            if number % 10 == 0 {
                hold(&beside(&folder, end), 3);
            }
            for sample in piece {
                writer.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
            }
            failures += settle(&mut writer, Instant::now());
            assert!(!writer.is_held());
        }
        release(&beside(&folder, end));
        assert!(failures > 0, "{format:?} {end}");
        assert!(read_all(&folder) == expected(&samples), "{format:?} {end}");
        let counts = writer.take_counts();
        assert_eq!((counts.held, counts.rewritten, counts.write_errors, counts.changed), (failures, 0, 0, 0));
        assert_eq!((counts.written, counts.rotations), (9000, segments(&folder).len() as u64 - 1));
    }
}

/// Another program has locked bytes of the open file: writes, cuts and syncs fail for a while.
#[test]
fn a_locked_range_abandons_no_segment() {
    for (format, cuts) in FORMATS.into_iter().flat_map(|format| [(format, 0), (format, 2)]) {
        let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(900));
        let mut writer = open_on(&disk, &folder, LogSpec { max_bytes: 10_000_000, ..spec(format) });
        let mut failures = 0;
        for piece in samples.chunks(100) {
            for sample in piece {
                writer.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
            }
            // The first call of a piece is the write. The next one hits the sync behind it.
            disk.plan(|plan| (plan.write_max, plan.held_calls, plan.held_cuts) = (Some(1000), 1, cuts));
            failures += settle(&mut writer, Instant::now());
            disk.plan(|plan| (plan.write_max, plan.held_cuts) = (None, 0));
            writer.append(0, b"c", b"1").unwrap();
            let now = Instant::now();
            assert!(writer.advance(now, true).is_ok());
            disk.plan(|plan| plan.held_calls = 1);
            failures += settle(&mut writer, now);
        }
        assert!(failures >= 18, "{failures}");
        let records = read_all(&folder);
        assert_eq!((records.len(), segments(&folder).len()), (909, 1), "{format:?}");
        assert!(records.iter().enumerate().all(|(n, record)| record.0 == n as u64 + 1));
        let counts = writer.take_counts();
        assert_eq!((counts.held, counts.rewritten, counts.fsync_errors > 0), (failures, 0, true));
        assert_eq!(disk.plan(|plan| plan.retried), 0);
    }
}

#[test]
fn a_held_old_segment_is_removed_later() {
    let (folder, samples) = (Folder::new(), many(9000));
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &samples);
    let mut now = Instant::now();
    writer.sync_now(now).unwrap();
    writer.set_spec(LogSpec { max_files: 2, ..spec(Format::Json) });
    hold(&beside(&folder, ".000001"), u32::MAX);
    append(&mut writer, &samples);
    writer.sync_now(now).unwrap();
    while let Some(due) = writer.removing.filter(|due| *due <= now) {
        writer.advance(due, true).unwrap();
    }
    assert!(beside(&folder, ".000001").exists() && !beside(&folder, ".000002").exists());
    assert!(writer.take_counts().held > 0);
    // Once a minute, without a new record.
    for _ in 0..3 {
        let due = writer.due().unwrap();
        assert!(due > now && due <= now + Duration::from_secs(60));
        now = due;
        writer.advance(now, true).unwrap();
        assert_eq!(writer.take_counts().held, 1);
    }
    release(&beside(&folder, ".000001"));
    writer.advance(writer.due().unwrap(), true).unwrap();
    assert!(!beside(&folder, ".000001").exists());
    assert_eq!((segments(&folder).len(), writer.due()), (2, None));
}

/// The reader says so, and does not call the log damaged, missing or foreign.
#[test]
fn a_reader_tells_that_a_file_is_held() {
    let folder = Folder::new();
    let mut writer = open(&folder, spec(Format::Binary));
    append(&mut writer, &many(9000));
    writer.finish(Instant::now()).unwrap();
    drop(writer);
    for (end, has_list) in [("", true), (".000001", true), (".000002", false), (".lock", true)] {
        if !has_list {
            fs::remove_file(beside(&folder, ".lock")).unwrap();
        }
        hold(&beside(&folder, end), 1);
        let err = scan(&folder, all()).unwrap_err().to_string();
        assert!(err.starts_with("cannot read event log `") && err.contains("`: another program holds it: "), "{err}");
        assert_eq!(read_all(&folder).len(), 9000, "{end}");
        // A lock file without a list is no trouble.
        drop(open(&folder, spec(Format::Binary)));
    }
    // An index is not needed.
    hold(&beside(&folder, ".idx"), u32::MAX);
    hold(&beside(&folder, ".000001.idx"), u32::MAX);
    assert_eq!(read_all(&folder).len(), 9000);
    [".idx", ".000001.idx"].iter().for_each(|end| release(&beside(&folder, end)));
}

/// Any file of the log is held when a writer opens it. Afterwards the log continues where it ended.
#[test]
fn a_held_log_is_opened_later() {
    for (format, end) in
        FORMATS.into_iter().flat_map(|format| ["", ".lock", ".idx", ".000001"].map(|end| (format, end)))
    {
        let (folder, samples) = (Folder::new(), many(5000));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[..4000]);
        writer.finish(Instant::now()).unwrap();
        drop(writer);
        // Without the lock file, every file with a fitting name is looked at.
        if end.starts_with(".0") {
            fs::remove_file(beside(&folder, ".lock")).unwrap();
        }
        hold(&beside(&folder, end), 1);
        let open = || Writer::open(Arc::new(SystemDisk), &folder.0, spec(format), Instant::now());
        let mut writer = match open() {
            Ok(writer) => {
                assert_eq!(end, ".idx", "{format:?}: an index is not needed");
                writer
            }
            Err(err) => {
                assert!(err.is_held() && !err.is_full(), "{err}");
                assert!(err.to_string().contains("`: another program holds it: "), "{err}");
                open().unwrap()
            }
        };
        append(&mut writer, &samples[4000..]);
        writer.finish(Instant::now()).unwrap();
        assert!(read_all(&folder) == expected(&samples), "{format:?} {end}");
    }
}

/// The index of the new segment cannot be begun, or that of the old one not be renamed.
#[test]
fn a_held_index_costs_no_record() {
    for end in [".idx", ".000001.idx", ".000002.idx"] {
        let (folder, samples) = (Folder::new(), many(9000));
        hold(&beside(&folder, end), 2);
        let mut writer = open(&folder, spec(Format::Binary));
        append(&mut writer, &samples);
        writer.finish(Instant::now()).unwrap();
        assert!(writer.take_counts().index_errors > 0, "{end}");
        assert!(read_all(&folder) == expected(&samples), "{end}");
    }
}

/// The data folder is on a file system without locks. Rows: ENOSYS, EOPNOTSUPP, ENOLCK.
#[cfg(target_os = "linux")]
#[test]
fn a_log_is_written_without_locks() {
    for (format, code) in FORMATS.into_iter().flat_map(|format| [(format, 38), (format, 95), (format, 37)]) {
        let (folder, samples) = (Folder::new(), many(2000));
        fail_locks(&beside(&folder, ".lock"), code);
        for piece in samples.chunks(1000) {
            let mut writer = open(&folder, spec(format));
            append(&mut writer, piece);
            writer.finish(Instant::now()).unwrap();
        }
        assert!(read_all(&folder) == expected(&samples), "{format:?} {code}");
    }
}

/// A virus scanner that reads the lock file, or lets nobody read it, is no writer: the log is opened later.
#[cfg(windows)]
#[test]
fn a_reader_of_the_lock_file_is_no_writer() {
    use std::os::windows::fs::OpenOptionsExt;
    let folder = Folder::new();
    drop(open(&folder, spec(Format::Json)));
    let second = || Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now());
    for share_mode in [0, 1, 1 | 4] {
        let scanner = fs::OpenOptions::new().read(true).share_mode(share_mode).open(beside(&folder, ".lock")).unwrap();
        let err = second().err().unwrap();
        assert!(err.is_held(), "{share_mode}: {err}");
        drop(scanner);
        drop(second().unwrap());
    }
    let writer = second().unwrap();
    let err = second().err().unwrap();
    assert!(!err.is_held() && err.to_string().contains("this process writes it already"), "{err}");
    drop(writer);
}

/// The same with the rules of Windows instead of a double: an editor keeps the file from being renamed.
#[cfg(windows)]
#[test]
fn records_wait_while_an_editor_holds_the_file() {
    use std::os::windows::fs::OpenOptionsExt;
    let (folder, samples) = (Folder::new(), many(3000));
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &samples[..100]);
    writer.sync_now(Instant::now()).unwrap();
    let (read, write) = (1, 2);
    let editor = fs::OpenOptions::new().read(true).share_mode(read | write).open(active(&folder)).unwrap();
    for sample in &samples[100..] {
        writer.append(sample.time_ms, &sample.channel, &sample.payload).unwrap();
    }
    let err = writer.sync_now(Instant::now()).unwrap_err();
    assert!(err.is_held() && err.to_string().contains("another program holds it: "), "{err}");
    drop(editor);
    writer.sync_now(Instant::now()).unwrap();
    assert!(read_all(&folder) == expected(&samples));
    assert_eq!(writer.take_counts().rewritten, 0);
}
