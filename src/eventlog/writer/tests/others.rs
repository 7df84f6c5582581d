//! Tests of other programs that change the files of a log, and of their own files beside it: their files stay
//! untouched, and no loss in the log goes unreported.

use std::process::Command;

use super::*;
use crate::eventlog::claims::Claims;
use crate::eventlog::reader::ReadOutcome;

/// Creates files of an owner whose names are those of a log's own files, or nearly so.
fn put_files_of_others(folder: &Folder, copy: &[u8]) -> Vec<(PathBuf, Vec<u8>)> {
    let logs = folder.0.join("logs");
    fs::create_dir_all(&logs).unwrap();
    let notes = b"not an event log\n".to_vec();
    // A log of another program, with a time at the start of each line as well.
    let similar = b"{\"time\":1700000000,\"player\":\"x\"}\n{\"time\": 5}\n";
    let files: Vec<(PathBuf, Vec<u8>)> = [
        ("deaths.log.000001", &similar[..]),
        ("deaths.log.20231224", &notes[..]),
        ("deaths.log.20231225", copy),
        ("deaths.log.231224", copy),
        ("deaths.log.3", copy),
        ("deaths.log.000002", &notes),
        ("deaths.log.000004", copy),
        ("deaths.log.0000001", copy),
        ("deaths.log.000000", copy),
        ("deaths.log.+00001", copy),
        ("deaths.log.000003.idx", &notes),
        ("deaths.log.18446744073709551615", copy),
        ("deaths.log.18446744073709551616", &notes),
        ("deaths.log.old.000001", copy),
        ("xdeaths.log.000001", copy),
    ]
    .into_iter()
    .map(|(name, bytes)| (logs.join(name), bytes.to_vec()))
    .collect();
    files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    files
}

/// Number of the log's own rotated segments in a folder that also has the files of others.
fn own_rotated(folder: &Folder, others: &[(PathBuf, Vec<u8>)]) -> usize {
    let is_own = |name: &str| !others.iter().any(|(path, _)| path.ends_with(name)) && name != "deaths.log";
    segments(folder).iter().filter(|(name, _)| is_own(name)).count()
}

#[test]
fn files_of_others_are_neither_removed_nor_read_nor_replaced() {
    for (format, before) in FORMATS.into_iter().flat_map(|format| [(format, true), (format, false)]) {
        let (elsewhere, folder, samples) = (Folder::new(), Folder::new(), many(12_000));
        let mut writer = open(&elsewhere, spec(format));
        append(&mut writer, &samples[..50]);
        writer.sync_now(Instant::now()).unwrap();
        let copy = fs::read(active(&elsewhere)).unwrap();
        let mut others = if before { put_files_of_others(&folder, &copy) } else { Vec::new() };
        let mut done = 0;
        for piece in samples.chunks(4000) {
            let mut writer = open(&folder, LogSpec { max_files: 3, ..spec(format) });
            append(&mut writer, &piece[..50]);
            writer.sync_now(Instant::now()).unwrap();
            if others.is_empty() {
                others = put_files_of_others(&folder, &fs::read(active(&folder)).unwrap());
            }
            append(&mut writer, &piece[50..]);
            writer.sync_now(Instant::now()).unwrap();
            done += piece.len();
            let kept = read_all(&folder);
            assert!(expected(&samples[..done]).ends_with(&kept) && kept.len() > 500, "{format:?} {before}");
            let own = own_rotated(&folder, &others);
            assert!(own == 2 || own == 1 && done == 4000, "{:?}", segments(&folder));
            let index_errors = writer.take_counts().index_errors;
            assert!(index_errors <= 1, "{index_errors}: the index whose name is taken, only");
        }
        for (path, bytes) in &others {
            assert!(fs::read(path).unwrap() == *bytes, "{format:?} {before} {}", shown(path));
        }
    }
}

#[test]
fn without_its_list_a_log_recognises_its_segments_and_no_copies() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(17_000));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[..11_000]);
        writer.sync_now(Instant::now()).unwrap();
        drop(writer);
        let own = segments(&folder).len();
        assert!(own > 4);
        let lock = folder.0.join("logs/deaths.log.lock");
        let mut copies = Vec::new();
        for (from, to) in [("deaths.log", "deaths.log.231224"), ("deaths.log.000001", "deaths.log.231225")] {
            let copy = folder.0.join("logs").join(to);
            fs::copy(folder.0.join("logs").join(from), &copy).unwrap();
            copies.push((copy.clone(), fs::read(copy).unwrap()));
        }
        for state in [None, Some(&b""[..]), Some(b"12345"), Some(b"12345 segments 1-"), Some(&[0; 30])] {
            match state {
                None => fs::remove_file(&lock).unwrap(),
                Some(bytes) => fs::write(&lock, bytes).unwrap(),
            }
            let writer = open(&folder, spec(format));
            assert!(read_all(&folder) == expected(&samples[..11_000]), "{format:?} {state:?}");
            drop(writer);
        }
        let mut writer = open(&folder, LogSpec { max_files: 2, ..spec(format) });
        append(&mut writer, &samples[11_000..]);
        while writer.removing.is_some() {
            writer.advance(Instant::now(), true).unwrap();
        }
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!(own_rotated(&folder, &copies), 1, "{:?}", segments(&folder));
        assert!(copies.iter().all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
        assert!(expected(&samples).ends_with(&read_all(&folder)));
    }
}

#[test]
fn many_old_segments_are_removed_a_few_at_a_time() {
    let (folder, samples) = (Folder::new(), many(200));
    let mut writer = open(&folder, LogSpec { format: Format::Json, ..spec(Format::Json) });
    let line = format!("\"{}\"", "x".repeat(40_000));
    for _ in 0..31 {
        writer.append(1, b"c", line.as_bytes()).unwrap();
        writer.sync_now(Instant::now()).unwrap();
    }
    assert_eq!(segments(&folder).len(), 31);
    // Somebody removed one of the segments to keep: an older one is kept instead.
    fs::remove_file(folder.0.join("logs/deaths.log.000029")).unwrap();
    writer.set_spec(LogSpec { max_files: 3, ..spec(Format::Json) });
    writer.append(1, b"c", line.as_bytes()).unwrap();
    writer.sync_now(Instant::now()).unwrap();
    assert_eq!(segments(&folder).len(), 31 - 4, "four at once");
    for round in 1.. {
        let Some(due) = writer.due().filter(|_| writer.removing.is_some()) else { break };
        assert!(due <= Instant::now() && round < 10);
        writer.advance(Instant::now(), true).unwrap();
    }
    let names: Vec<String> = segments(&folder).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["deaths.log", "deaths.log.000030", "deaths.log.000031"]);
    append(&mut writer, &samples);
    writer.sync_now(Instant::now()).unwrap();
}

#[test]
fn a_segment_replaced_by_another_file_is_not_removed() {
    for other in [&b"PK\x03\x04 my archive"[..], b"{\"time\": 5}\n", b"{\"time\":1700000000.123,\"player\":1}\n"] {
        a_segment_replaced_by(other);
    }
}

fn a_segment_replaced_by(other: &[u8]) {
    let folder = Folder::new();
    let mut writer = open(&folder, LogSpec { max_files: 2, ..spec(Format::Json) });
    let line = format!("\"{}\"", "x".repeat(40_000));
    let mut put = |rounds| {
        for _ in 0..rounds {
            writer.append(1, b"c", line.as_bytes()).unwrap();
            writer.sync_now(Instant::now()).unwrap();
        }
    };
    put(2);
    let path = folder.0.join("logs/deaths.log.000001");
    fs::write(&path, other).unwrap();
    put(3);
    assert_eq!(fs::read(&path).unwrap(), other);
    assert_eq!(segments(&folder).len(), 3, "{:?}", segments(&folder));
    assert_eq!(read_all(&folder).len(), 2);
}

#[test]
fn an_owners_file_at_the_name_of_a_log_file_is_untouched() {
    for format in FORMATS {
        let notes = b"# notes of the owner\n".to_vec();
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("logs")).unwrap();
        let (lock, index) = (folder.0.join("logs/deaths.log.lock"), folder::index_of(&active(&folder)));
        fs::write(&lock, &notes).unwrap();
        let refused = Writer::open(Arc::new(SystemDisk), &folder.0, spec(format), Instant::now());
        let refused = refused.err().unwrap().to_string();
        assert!(refused.ends_with("deaths.log.lock` is in the way: it is no lock file of an event log"), "{refused}");
        assert_eq!(fs::read(&lock).unwrap(), notes);
        fs::remove_file(&lock).unwrap();
        fs::write(&index, &notes).unwrap();
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &many(3));
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!((fs::read(&index).unwrap(), writer.take_counts().index_errors), (notes.clone(), 1));
        drop(writer);
        // The module has written the log now: the file may be a damaged index, so it makes room and is kept.
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &many(3));
        writer.sync_now(Instant::now()).unwrap();
        let aside = folder.0.join("logs/deaths.log.idx.aside.1");
        assert_eq!((fs::read(&aside).unwrap(), writer.take_counts().index_errors), (notes, 0));
        assert_eq!(read_all(&folder).len(), 6);
    }
    // A file that begins like a log and has no record may be any file.
    let similar = [&b"{"[..], b"{\"time\": 5}", b"{\"time\": 5}\n", b"{\"time\":17.5,\"seq\":1}\n{\"time\":18.5}\n"];
    let rows = [&similar[..], &[&b"R"[..], b"RTEL", &[0; 100_000]]].concat();
    // With and without such a file that has the name of the first rotated segment.
    for (bytes, is_double) in rows.iter().flat_map(|bytes| [(*bytes, false), (*bytes, true)]) {
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("logs")).unwrap();
        let paths = [active(&folder), folder.0.join("logs/deaths.log.000001")];
        let paths = paths.get(..1 + usize::from(is_double)).unwrap();
        paths.iter().for_each(|path| fs::write(path, bytes).unwrap());
        for _ in 0..2 {
            // A failed attempt does not make the file the log's own.
            let result = Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now());
            let refused = result.err().map(|err| err.to_string()).unwrap_or_default();
            assert!(refused.ends_with("not an event log"), "{bytes:?}: {refused}");
            assert_eq!(segments(&folder).len(), paths.len());
            assert!(paths.iter().all(|path| fs::read(path).unwrap() == bytes));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_put_at_the_logs_name_is_not_written_to() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(90));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[..30]);
        writer.sync_now(Instant::now()).unwrap();
        // An empty file takes the place of the log, as `logrotate` with `create` does.
        fs::rename(active(&folder), folder.0.join("logs/deaths.log.1")).unwrap();
        fs::write(active(&folder), b"").unwrap();
        append(&mut writer, &samples[30..60]);
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!(read_all(&folder), expected(&samples[..60])[30..]);
        // Any other file in its place stays until its owner removes it.
        fs::rename(active(&folder), folder.0.join("logs/deaths.log.2")).unwrap();
        fs::write(active(&folder), b"PK\x03\x04").unwrap();
        append(&mut writer, &samples[60..]);
        let mut now = Instant::now();
        for _ in 0..3 {
            let err = writer.sync_now(now).unwrap_err().to_string();
            let reason = "a file that is no event log has its name";
            assert_eq!(err, format!("cannot create event log `{}`: {reason}", shown(&active(&folder))));
            assert_eq!(fs::read(active(&folder)).unwrap(), b"PK\x03\x04");
            now += EVENTLOG_RETRY;
        }
        fs::remove_file(active(&folder)).unwrap();
        writer.sync_now(now).unwrap();
        assert_eq!(read_all(&folder), expected(&samples)[60..]);
        // A former segment of the log comes back: it is rotated like one.
        fs::rename(active(&folder), folder.0.join("kept")).unwrap();
        fs::rename(folder.0.join("logs/deaths.log.2"), active(&folder)).unwrap();
        writer.append(samples[0].time_ms, &samples[0].channel, &samples[0].payload).unwrap();
        writer.sync_now(now).unwrap();
        assert_eq!(segments(&folder).len(), 3, "{:?}", segments(&folder));
        let seqs: Vec<u64> = read_all(&folder).iter().map(|row| row.0).collect();
        assert!(seqs.into_iter().eq((31..=60).chain([91])), "{format:?}");
        assert_eq!(writer.take_counts().changed, 3);
    }
}

#[cfg(unix)]
#[test]
fn only_plain_files_are_opened() {
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let make: [fn(&Path); 2] =
        [|path| fs::create_dir(path).unwrap(), |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())];
    for make in [pipe].iter().map(|make| make as &dyn Fn(&Path)).chain(make.iter().map(|make| make as &dyn Fn(&Path))) {
        for (name, is_refused) in [
            ("deaths.log", true),
            ("deaths.log.lock", true),
            ("deaths.log.idx", false),
            ("deaths.log.000001", false),
            ("deaths.log.000001.idx", false),
        ] {
            let (folder, samples) = (Folder::new(), many(600));
            let logs = folder.0.join("logs");
            fs::create_dir_all(&logs).unwrap();
            make(&logs.join(name));
            let opened = Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now());
            assert_eq!(opened.is_err(), is_refused, "{name}");
            if let Ok(mut writer) = opened {
                append(&mut writer, &samples);
                writer.sync_now(Instant::now()).unwrap();
                assert!(writer.take_counts().rotations > 0);
                assert!(read_all(&folder) == expected(&samples), "{name}");
            } else if name == "deaths.log" {
                assert!(
                    matches!(scan(&folder, all()), Err(ReadError::File { err: SegmentError::Io(_), .. })),
                    "{name}"
                );
            }
            assert!(!fs::symlink_metadata(logs.join(name)).unwrap().is_file(), "{name} was not replaced");
        }
    }
    // A pipe takes the place of a rotated segment of the log.
    let (folder, samples) = (Folder::new(), many(600));
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &samples);
    writer.sync_now(Instant::now()).unwrap();
    drop(writer);
    let rotated = folder.0.join("logs/deaths.log.000001");
    fs::remove_file(&rotated).unwrap();
    pipe(&rotated);
    assert!(matches!(scan(&folder, all()), Err(ReadError::File { err: SegmentError::Io(_), .. })));
    let mut writer = open(&folder, LogSpec { max_files: 1, ..spec(Format::Json) });
    append(&mut writer, &samples);
    writer.sync_now(Instant::now()).unwrap();
    assert!(!fs::symlink_metadata(&rotated).unwrap().is_file(), "not removed");
}

// ---- a log that is changed while it is open ---------------------------------------------------------------------

type Change = fn(&Path);

const CHANGES: [(&str, Change); 5] = [
    ("emptied", |path| fs::write(path, b"").unwrap()),
    ("cut to one byte", |path| cut(path, 1)),
    ("cut in the middle", |path| cut(path, fs::metadata(path).unwrap().len() / 2)),
    ("lengthened", |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes.extend_from_slice(b"another program's line\n");
        // Appends to the same file instead of replacing it.
        let file = fs::OpenOptions::new().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut &file, &bytes[bytes.len() - 23..]).unwrap();
    }),
    ("removed", |path| fs::remove_file(path).unwrap()),
];

fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

#[cfg(unix)]
#[test]
fn a_log_that_another_program_changed_continues_in_a_new_file() {
    for (format, fsync) in FORMATS.into_iter().flat_map(|format| {
        [Fsync::EverySecond, Fsync::Always, Fsync::Never].into_iter().map(move |fsync| (format, fsync))
    }) {
        for (name, change) in CHANGES {
            let (folder, samples) = (Folder::new(), many(120));
            let now = Instant::now();
            let mut writer = open(&folder, LogSpec { fsync, ..spec(format) });
            append(&mut writer, &samples[..40]);
            writer.sync_now(now).unwrap();
            // Written and, unless the log is synced always, not synced.
            append(&mut writer, &samples[40..60]);
            writer.advance(now, true).unwrap();
            change(&active(&folder));
            append(&mut writer, &samples[60..90]);
            writer.advance(now, true).unwrap();
            append(&mut writer, &samples[90..]);
            writer.advance(now, true).unwrap();
            writer.sync_now(now).unwrap();
            let counts = writer.take_counts();
            assert_eq!((counts.changed, counts.written), (1, 120), "{format:?} {fsync:?} {name}");
            let youngest = fs::read(active(&folder)).unwrap();
            assert!(!youngest.starts_with(&[0]), "{format:?} {fsync:?} {name}: a hole");
            let (found, damage) = scan(&folder, all()).unwrap();
            let from = if fsync == Fsync::EverySecond { 40 } else { 60 };
            assert!(found.ends_with(&expected(&samples)[from..]), "{format:?} {fsync:?} {name}: the unsynced records");
            assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
            // Only bytes of the other program, or a rest of a record, are damage.
            let clean = damage.damaged + damage.torn_bytes == 0;
            assert!(clean || !matches!(name, "emptied" | "removed"), "{format:?} {fsync:?} {name}: {damage:?}");
            assert!(damage.damaged <= 1, "{format:?} {fsync:?} {name}: {damage:?}");
            drop(writer);
            let mut writer = open(&folder, LogSpec { fsync, ..spec(format) });
            append(&mut writer, &samples[..1]);
            writer.sync_now(now).unwrap();
            assert_eq!(scan(&folder, all()).unwrap().0.last().unwrap().0, 121, "the numbers go on");
        }
    }
}

/// The other program opens the log by its name for each line that it adds.
#[test]
fn a_program_that_keeps_writing_causes_few_files_and_no_loss() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(600));
        let mut now = Instant::now();
        let mut writer = open(&folder, spec(format));
        for sample in &samples {
            append(&mut writer, std::slice::from_ref(sample));
            now += Duration::from_secs(1);
            writer.advance(now, true).unwrap();
            assert!(writer.unwritten() == 0 || writer.due().is_some_and(|due| due <= now + Duration::from_secs(60)));
            let log = fs::OpenOptions::new().append(true).open(active(&folder));
            // During the pause there is no file.
            log.map(|mut log| std::io::Write::write_all(&mut log, b"a line of somebody else\n").unwrap()).ok();
        }
        let files = segments(&folder).len();
        assert!((10..25).contains(&files), "{format:?}: {files} files in ten minutes");
        // Many records in memory end the pause.
        let (before, unwritten) = (writer.take_counts().changed, writer.unwritten());
        append(&mut writer, &many(5000));
        writer.advance(now, true).unwrap();
        writer.advance(now, true).unwrap();
        assert_eq!(writer.unwritten(), 0, "{format:?}: {unwritten} before, changed {before} times");
        // After the pause the writer is due for the next sync only.
        now += Duration::from_secs(60);
        for _ in 0..2 {
            append(&mut writer, &samples[..1]);
            writer.advance(now, true).unwrap();
        }
        assert!(writer.has_unsynced());
        assert_eq!(writer.due(), Some(now + EVENTLOG_SYNC_INTERVAL));
        // The end of the log does not wait either.
        append(&mut writer, &samples[..1]);
        cut(&active(&folder), 0);
        writer.finish(now).unwrap();
        drop(writer);
        let (found, _) = scan(&folder, all()).unwrap();
        assert_eq!(found.last().unwrap().0, 5603);
        assert_eq!(found[..600], expected(&samples));
    }
}

#[cfg(unix)]
#[test]
fn a_log_emptied_between_its_write_and_its_sync_loses_nothing() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(30));
        let mut writer = open(&folder, spec(format));
        let now = Instant::now();
        append(&mut writer, &samples);
        writer.advance(now, true).unwrap();
        cut(&active(&folder), 0);
        writer.advance(now + EVENTLOG_SYNC_INTERVAL, true).unwrap();
        assert_eq!(read_all(&folder), expected(&samples));
        let counts = writer.take_counts();
        assert_eq!((counts.changed, counts.rewritten, counts.written), (1, 30, 30));
        assert!(!writer.has_unsynced());
    }
}

/// The log's file was to be removed, and before that an owner restores another log: by a new file, or in the same one.
#[cfg(unix)]
#[test]
fn a_log_restored_before_a_removal_is_kept() {
    for (format, case, is_new) in FORMATS.into_iter().flat_map(|format| {
        ["opened", "emptied", "not synced"]
            .into_iter()
            .flat_map(move |case| [(format, case, true), (format, case, false)])
    }) {
        let (elsewhere, folder, disk, samples) = (Folder::new(), Folder::new(), DoubleDisk::default(), many(90));
        let mut other = open(&elsewhere, spec(format));
        append(&mut other, &samples[..50]);
        other.finish(Instant::now()).unwrap();
        let restored = fs::read(active(&elsewhere)).unwrap();
        let mut now = Instant::now();
        let mut writer = open_on(&disk, &folder, spec(format));
        if case == "opened" {
            // A kill left a file without a record.
            drop(writer);
            fs::write(active(&folder), &restored[..10]).unwrap();
            writer = open_on(&disk, &folder, spec(format));
        }
        append(&mut writer, &samples[..30]);
        match case {
            "emptied" => {
                // After the second time a pause comes before the removal.
                for _ in 0..2 {
                    writer.advance(now, true).unwrap();
                    cut(&active(&folder), 0);
                    append(&mut writer, &samples[..1]);
                    now += EVENTLOG_SYNC_INTERVAL;
                }
                writer.advance(now, true).unwrap();
            }
            "not synced" => {
                disk.plan(|plan| plan.bad_syncs = 1);
                writer.sync_now(now).unwrap_err();
            }
            _ => {}
        }
        assert!(matches!(writer.retire, Retire::Remove { .. }), "{format:?} {case}: {:?}", writer.retire);
        if is_new {
            fs::remove_file(active(&folder)).unwrap();
        }
        fs::write(active(&folder), &restored).unwrap();
        let upload = fs::OpenOptions::new().append(true).open(active(&folder)).unwrap();
        writer.sync_now(now).unwrap();
        assert_eq!(writer.retire, Retire::Nothing);
        let rotated = folder.0.join("logs/deaths.log.000001");
        assert!(fs::read(&rotated).is_ok_and(|bytes| bytes == restored), "{format:?} {case} {:?}", segments(&folder));
        // An upload that goes on writes to the kept file.
        std::io::Write::write_all(&mut &upload, b"more").unwrap();
        assert!(fs::read(&rotated).unwrap().ends_with(b"more"), "{format:?} {case}");
    }
}

/// The log's file was to be renamed after a failed sync, and before that an owner puts another file at its name.
#[cfg(unix)]
#[test]
fn a_file_put_at_the_logs_name_before_a_renaming_stays() {
    let archive = |path: &Path| fs::write(path, b"PK\x03\x04").unwrap();
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let puts: [&dyn Fn(&Path); 2] = [&archive, &pipe];
    for (format, put) in FORMATS.into_iter().flat_map(|format| puts.map(|put| (format, put))) {
        let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(60));
        let mut now = Instant::now();
        let mut writer = open_on(&disk, &folder, spec(format));
        append(&mut writer, &samples[..30]);
        writer.sync_now(now).unwrap();
        append(&mut writer, &samples[30..]);
        disk.plan(|plan| plan.bad_syncs = 1);
        writer.sync_now(now).unwrap_err();
        assert_eq!(writer.retire, Retire::Rename);
        fs::remove_file(active(&folder)).unwrap();
        put(&active(&folder));
        let kind = || fs::symlink_metadata(active(&folder)).unwrap().file_type();
        let before = kind();
        for _ in 0..2 {
            now += EVENTLOG_ABANDON_RETRY_MAX;
            let err = writer.advance(now, true).unwrap_err().to_string();
            assert!(err.ends_with("a file that is no event log has its name"), "{format:?} {err}");
            assert_eq!((kind(), segments(&folder).len()), (before, 1), "{format:?} {:?}", segments(&folder));
        }
        assert_eq!(writer.lock.claims, Some(Claims::default()));
        fs::remove_file(active(&folder)).unwrap();
        now += EVENTLOG_ABANDON_RETRY_MAX;
        writer.advance(now, true).unwrap();
        assert_eq!(read_all(&folder), expected(&samples)[30..]);
    }
}

/// Without such a change the log's own file is removed.
#[test]
fn the_logs_own_file_is_removed() {
    for (format, bytes) in FORMATS.into_iter().flat_map(|format| [(format, 0), (format, 10), (format, 40)]) {
        let (folder, samples) = (Folder::new(), many(30));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples);
        writer.finish(Instant::now()).unwrap();
        drop(writer);
        cut(&active(&folder), bytes);
        let mut writer = open(&folder, spec(format));
        assert!(matches!(writer.retire, Retire::Remove { .. }), "{format:?} {bytes}");
        append(&mut writer, &samples);
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!(segments(&folder).len(), 1, "{format:?} {bytes}");
        assert_eq!(read_all(&folder).len(), 30);
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_ends_there() {
    for (format, newest_first) in FORMATS.into_iter().flat_map(|format| [(format, false), (format, true)]) {
        let (folder, samples) = (Folder::new(), many(4000));
        let mut writer = open(&folder, LogSpec { max_bytes: 100_000_000, ..spec(format) });
        append(&mut writer, &samples);
        writer.sync_now(Instant::now()).unwrap();
        drop(writer);
        let whole = fs::read(active(&folder)).unwrap();
        for (use_index, bytes) in [true, false].into_iter().flat_map(|index| [(index, 0), (index, 40_000), (index, 7)])
        {
            for steps in 0..12 {
                fs::write(active(&folder), &whole).unwrap();
                let log_files = LogFiles::below(&folder.0, &log_path());
                let mut scan = if use_index {
                    Scan::open(log_files, Query { newest_first, ..all() }).unwrap()
                } else {
                    Scan::verify(log_files).unwrap()
                };
                for _ in 0..steps {
                    scan.step().unwrap();
                }
                cut(&active(&folder), bytes);
                while scan.step().unwrap() == ScanProgress::More {}
                let ReadOutcome { records, damage } = scan.finish();
                let mut found = rows(&records);
                if newest_first && use_index {
                    found.reverse();
                }
                let all = expected(&samples);
                assert!(found.iter().all(|row| all.get(row.0 as usize - 1) == Some(row)), "{format:?}");
                let is_reported = found.len() >= all.len() || damage.torn_bytes + damage.damaged_bytes > 0;
                assert!(is_reported || !use_index, "{format:?} {newest_first} {bytes} {steps}: {}", found.len());
            }
        }
    }
}

// ---- bounded steps ------------------------------------------------------------------------------------------------

/// Number of steps that a scan takes to its end.
fn steps_of(mut scan: Scan) -> usize {
    let mut steps = 1;
    while scan.step().unwrap() == ScanProgress::More {
        steps += 1;
    }
    steps
}

#[test]
fn long_searches_are_made_in_steps() {
    let query = |newest_first| Query { newest_first, limit: 1, ..Query::default() };
    let log_files = |folder: &Folder| LogFiles::below(&folder.0, &log_path());
    let deadline = |folder: &Folder, newest_first| {
        reader::read(&folder.0, &log_path(), &query(newest_first), Instant::now()).is_err_and(|err| {
            let is_timeout = matches!(err, ReadError::Timeout);
            assert!(is_timeout, "{err}");
            is_timeout
        })
    };
    // Lines without an index.
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("logs")).unwrap();
    let line = format!("{{\"time\":1.000,\"seq\":1,\"channel\":\"c\",\"data\":\"{}\"}}\n", "x".repeat(8000));
    fs::write(active(&folder), line.repeat(2000)).unwrap();
    assert!(steps_of(Scan::open(log_files(&folder), query(true)).unwrap()) > line.len() * 2000 / (2 * UNIT_BYTES));
    assert!(steps_of(Scan::open(log_files(&folder), query(false)).unwrap()) < 10, "the first is found at once");
    assert!(deadline(&folder, true) && deadline(&folder, false));
    let mut opening = Opening::begin(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now()).unwrap();
    let mut steps = 0;
    while !opening.step().unwrap() {
        steps += 1;
    }
    assert!(steps > line.len() * 2000 / (2 * UNIT_BYTES) + 2000 / 5, "{steps}: found, then read for the index");
    drop(opening);
    // Zeros without an end.
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("logs")).unwrap();
    fs::write(active(&folder), b"RTEL").unwrap();
    cut(&active(&folder), 1 << 30);
    assert!(deadline(&folder, false) && deadline(&folder, true));
    let begun = Instant::now();
    let mut scan = Scan::open(log_files(&folder), query(false)).unwrap();
    (0..10).for_each(|_| assert_eq!(scan.step().unwrap(), ScanProgress::More));
    assert!(begun.elapsed() < Duration::from_secs(5));
    // A folder of many files, and no list of the log's own.
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("logs")).unwrap();
    fs::write(active(&folder), &line).unwrap();
    for number in 0..3000 {
        fs::write(folder.0.join(format!("logs/{number}.txt")), b"").unwrap();
    }
    assert!(steps_of(Scan::open(log_files(&folder), query(false)).unwrap()) > 3000 / 128);
    assert!(deadline(&folder, false));
    // With a list the folder is not listed at all.
    drop(open(&folder, spec(Format::Json)));
    assert!(steps_of(Scan::open(log_files(&folder), query(false)).unwrap()) < 10);
    // A list of many numbers whose files are all gone.
    fs::write(folder.0.join("logs/deaths.log.lock"), b"1 segments 1-200000\n").unwrap();
    assert!(deadline(&folder, false));
    assert!(steps_of(Scan::open(log_files(&folder), query(false)).unwrap()) > 200_000 / 64);
}

#[test]
fn a_segment_of_damage_only_is_counted_and_reported() {
    for newest_first in [false, true] {
        let (folder, samples) = (Folder::new(), many(12_000));
        let mut writer = open(&folder, LogSpec { max_bytes: 1 << 16, ..spec(Format::Binary) });
        append(&mut writer, &samples);
        writer.sync_now(Instant::now()).unwrap();
        drop(writer);
        // Its headers are whole, its chunks are damaged, and its index is gone.
        let path = folder.0.join("logs/deaths.log.000002");
        let mut bytes = fs::read(&path).unwrap();
        for unit in bytes.chunks_mut(UNIT_BYTES) {
            unit[60] ^= 1;
        }
        fs::write(&path, &bytes).unwrap();
        fs::remove_file(folder::index_of(&path)).unwrap();
        let log_files = LogFiles::below(&folder.0, &log_path());
        let mut scan = Scan::open(log_files, Query { newest_first, ..all() }).unwrap();
        while scan.step().unwrap() == ScanProgress::More {}
        let tally = scan.tally();
        let sum: u64 = segments(&folder).iter().map(|(_, bytes)| bytes).sum();
        assert_eq!((tally.segments, tally.bytes), (segments(&folder).len() as u64, sum));
        let damage = scan.finish().damage;
        let units = bytes.len().div_ceil(UNIT_BYTES) as u64;
        assert_eq!((damage.damaged, damage.findings.len() as u64), (units, units));
        assert!(damage.findings.iter().all(|finding| finding.path == path));
        let headers = units * (format::HEADER_BYTES as u64);
        assert_eq!(damage.damaged_bytes + headers, bytes.len() as u64);
    }
}

#[test]
fn an_index_ends_before_a_gap() {
    let (folder, samples) = (Folder::new(), many(6000));
    let big = LogSpec { max_bytes: 100_000_000, ..spec(Format::Binary) };
    let mut writer = open(&folder, big.clone());
    append(&mut writer, &samples);
    writer.sync_now(Instant::now()).unwrap();
    drop(writer);
    let mut bytes = fs::read(active(&folder)).unwrap();
    assert!(bytes.len() > 4 * UNIT_BYTES);
    bytes[2 * UNIT_BYTES] ^= 1;
    fs::write(active(&folder), &bytes).unwrap();
    let index = folder::index_of(&active(&folder));
    fs::remove_file(&index).unwrap();
    drop(open(&folder, big));
    // 20 bytes of header, two entries of 44.
    assert_eq!(fs::metadata(index).unwrap().len(), 20 + 2 * 44);
}

#[test]
fn an_index_of_other_lines_is_not_used() {
    let (folder, samples) = (Folder::new(), many(1500));
    let big = LogSpec { max_bytes: 100_000_000, ..spec(Format::Json) };
    let mut writer = open(&folder, big);
    append(&mut writer, &samples);
    writer.sync_now(Instant::now()).unwrap();
    drop(writer);
    // Somebody removed a line. The first line, by which an index recognises its segment, is unchanged.
    let text = fs::read(active(&folder)).unwrap();
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    lines.remove(1);
    fs::write(active(&folder), lines.concat()).unwrap();
    let mut rest = expected(&samples);
    rest.remove(1);
    assert!(read_all(&folder) == rest);
}

/// The same, and the lines behind the index's last entry begin where they did: all lines are equally long.
#[test]
fn an_index_of_other_lines_of_one_length_is_not_used() {
    let folder = Folder::new();
    let big = LogSpec { max_bytes: 100_000_000, ..spec(Format::Json) };
    let mut writer = open(&folder, big);
    for n in 1000..5000 {
        writer.append(n, b"c", n.to_string().as_bytes()).unwrap();
    }
    writer.sync_now(Instant::now()).unwrap();
    drop(writer);
    let text = fs::read(active(&folder)).unwrap();
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    assert!(lines.iter().skip(1000).all(|line| line.len() == lines[1000].len()));
    lines.remove(1000);
    fs::write(active(&folder), lines.concat()).unwrap();
    for time in (1000..5000).filter(|time| *time != 2000) {
        let query = Query { start_ms: time, end_ms: time, ..all() };
        assert_eq!(scan(&folder, query).unwrap().0.len(), 1, "{time}");
    }
}

#[test]
fn removed_or_doubled_lines_do_not_confuse_the_seqs() {
    let (folder, samples) = (Folder::new(), many(20));
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &samples);
    writer.sync_now(Instant::now()).unwrap();
    drop(writer);
    let text = fs::read(active(&folder)).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let far = |seq: u64| format!("{{\"time\":1.000,\"seq\":{seq},\"channel\":\"c\",\"data\":1}}\n").into_bytes();
    for (name, bytes, last) in [
        ("one is gone", [&lines[..5], &lines[6..]].concat().concat(), 20),
        ("one is there again", [&lines[..], &lines[..1]].concat().concat(), 1),
        ("all are the same", lines[0].repeat(30), 1),
        ("a number is far away", [text.clone(), far(1 << 62)].concat(), 1 << 62),
    ] {
        fs::write(active(&folder), bytes).unwrap();
        let mut writer = open(&folder, spec(Format::Json));
        append(&mut writer, &samples[..3]);
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!((writer.take_counts().written, writer.unwritten(), writer.has_unsynced()), (3, 0, false), "{name}");
        let found = scan(&folder, all()).unwrap().0;
        assert!(found.iter().rev().take(3).map(|row| row.0).eq([last + 3, last + 2, last + 1]), "{name}");
    }
    // A seq that no log can continue from.
    let bytes = [text, far(u64::MAX)].concat();
    fs::write(active(&folder), &bytes).unwrap();
    let refused = Writer::open(Arc::new(SystemDisk), &folder.0, spec(Format::Json), Instant::now()).err().unwrap();
    assert!(refused.to_string().contains("its last record has number 18446744073709551614"), "{refused}");
    assert_eq!(fs::read(active(&folder)).unwrap(), bytes);
}

/// The index has more entries than one step reads, and the last one belongs to other content.
#[test]
fn a_long_index_is_not_used_before_it_was_read_completely() {
    for is_right in [true, false] {
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("logs")).unwrap();
        let line = |seq: usize| {
            format!("{{\"time\":1.000,\"seq\":{seq},\"channel\":\"c\",\"data\":\"{}\"}}\n", "x".repeat(4000))
        };
        let lines: Vec<String> = (1..=11_000).map(line).collect();
        fs::write(active(&folder), lines.concat()).unwrap();
        let big = LogSpec { max_bytes: 100_000_000, ..spec(Format::Json) };
        drop(open(&folder, big));
        let index = folder::index_of(&active(&folder));
        assert!(fs::metadata(&index).unwrap().len() > 1100 * 44);
        if !is_right {
            // The second line is shorter now.
            let mut lines = lines.clone();
            lines[1] = line(2).replace("xxxx", "");
            fs::write(active(&folder), lines.concat()).unwrap();
        }
        for newest_first in [false, true] {
            let log_files = LogFiles::below(&folder.0, &log_path());
            let mut scan = Scan::open(log_files, Query { newest_first, ..all() }).unwrap();
            let mut seqs = Vec::new();
            while scan.step().unwrap() == ScanProgress::More {
                seqs.extend(scan.take_records().iter().map(|record| record.seq));
            }
            if newest_first {
                seqs.reverse();
            }
            assert!(seqs.into_iter().eq(1..=11_000), "{is_right} {newest_first}");
            assert_eq!(scan.finish().damage.damaged, 0);
        }
    }
}

// ---- when there is something to do ------------------------------------------------------------------------------

#[test]
fn a_sync_is_due_a_second_after_the_last_and_failures_are_counted() {
    let (folder, disk, samples) = (Folder::new(), DoubleDisk::default(), many(3));
    let mut writer = open_on(&disk, &folder, spec(Format::Json));
    let start = Instant::now();
    writer.last_sync = start;
    assert_eq!(writer.due(), None);
    append(&mut writer, &samples[..1]);
    writer.advance(start + Duration::from_millis(300), true).unwrap();
    assert_eq!(writer.due(), Some(start + EVENTLOG_SYNC_INTERVAL));
    writer.advance(start + EVENTLOG_SYNC_INTERVAL, true).unwrap();
    assert_eq!((writer.due(), disk.plan(|plan| plan.syncs)), (None, 1));
    disk.plan(|plan| plan.bad_writes = 1);
    writer.append(1, b"c", b"1").unwrap();
    let failed = start + 2 * EVENTLOG_SYNC_INTERVAL;
    assert!(writer.advance(failed, true).is_err());
    assert_eq!(writer.take_counts().write_errors, 1);
    assert_eq!(writer.due(), Some(failed + EVENTLOG_RETRY));
}

#[test]
fn names_taken_by_other_files_delay_no_rotation() {
    let (folder, samples) = (Folder::new(), many(900));
    let mut writer = open(&folder, spec(Format::Json));
    for number in 1..=3000 {
        fs::write(folder.0.join(format!("logs/deaths.log.{number:06}")), "notes").unwrap();
    }
    append(&mut writer, &samples);
    writer.sync_now(Instant::now()).unwrap();
    let counts = writer.take_counts();
    assert_eq!((counts.written, counts.rotations), (900, segments(&folder).len() as u64 - 3001));
    drop(writer);
    let line = fs::read_to_string(folder.0.join("logs/deaths.log.lock")).unwrap();
    assert!(line.contains(" segments 3048-"), "{line}");
    assert!(read_all(&folder) == expected(&samples));
}

/// An owner removes the lock file because it looks abandoned.
#[cfg(unix)]
#[test]
fn a_removed_lock_file_or_folder_is_created_again() {
    for format in FORMATS {
        let (folder, samples) = (Folder::new(), many(1800));
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &samples[..900]);
        writer.sync_now(Instant::now()).unwrap();
        let lock = folder.0.join("logs/deaths.log.lock");
        fs::remove_file(&lock).unwrap();
        append(&mut writer, &samples[900..]);
        writer.sync_now(Instant::now()).unwrap();
        if format == Format::Json {
            let rotated = segments(&folder).len() - 1;
            assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{} segments 1-{rotated}\n", std::process::id()));
            assert!(Writer::open(Arc::new(SystemDisk), &folder.0, spec(format), Instant::now()).is_err(), "held");
        }
        assert!(read_all(&folder) == expected(&samples));
        fs::remove_dir_all(folder.0.join("logs")).unwrap();
        append(&mut writer, &many(3));
        writer.sync_now(Instant::now()).unwrap();
        assert_eq!(read_all(&folder).iter().map(|row| row.0).collect::<Vec<_>>(), [1801, 1802, 1803], "{format:?}");
        assert!(lock.exists());
    }
}

/// Notepad adds a byte order mark and carriage returns when it saves a file.
#[test]
fn lines_saved_by_an_editor_on_windows_are_read_and_continued() {
    for count in [1, 200] {
        let (folder, samples) = (Folder::new(), many(count + 5));
        let mut writer = open(&folder, spec(Format::Json));
        append(&mut writer, &samples[..count]);
        writer.finish(Instant::now()).unwrap();
        drop(writer);
        let text = fs::read_to_string(active(&folder)).unwrap();
        fs::write(active(&folder), format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
        assert!(read_all(&folder) == expected(&samples[..count]));
        let mut writer = open(&folder, spec(Format::Json));
        append(&mut writer, &samples[count..]);
        writer.finish(Instant::now()).unwrap();
        assert!(read_all(&folder) == expected(&samples));
        assert_eq!(segments(&folder).len(), 1, "in the same file");
    }
}

/// The owner deletes the last lines in an editor that ends the file behind the last bracket.
#[test]
fn a_last_line_without_an_end_is_read_and_continued() {
    for (count, end) in [(1, ""), (200, ""), (1, "\r")] {
        let (folder, samples) = (Folder::new(), many(count + 5));
        let mut writer = open(&folder, spec(Format::Json));
        append(&mut writer, &samples[..count + 2]);
        writer.finish(Instant::now()).unwrap();
        drop(writer);
        let text = fs::read_to_string(active(&folder)).unwrap();
        let kept = text.lines().take(count).collect::<Vec<_>>().join("\n") + end;
        fs::write(active(&folder), &kept).unwrap();
        let (rows, damage) = scan(&folder, all()).unwrap();
        assert_eq!((rows, damage.torn_bytes, damage.damaged), (expected(&samples[..count]), 0, 0));
        // A server without events leaves the file alone.
        let mut writer = open(&folder, spec(Format::Json));
        writer.advance(Instant::now(), true).unwrap();
        writer.finish(Instant::now()).unwrap();
        drop(writer);
        assert_eq!(fs::read_to_string(active(&folder)).unwrap(), kept);
        let mut writer = open(&folder, spec(Format::Json));
        append(&mut writer, &samples[count..]);
        writer.finish(Instant::now()).unwrap();
        assert!(read_all(&folder) == expected(&samples));
        assert_eq!(segments(&folder).len(), 1, "in the same file");
        let text = fs::read_to_string(active(&folder)).unwrap();
        assert_eq!((text.lines().count(), text.ends_with("}\n")), (count + 5, true));
    }
    // The first records after the start begin another segment, and an editor changes an old one.
    let (folder, samples) = (Folder::new(), many(1200));
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &samples[..100]);
    writer.finish(Instant::now()).unwrap();
    drop(writer);
    cut(&active(&folder), fs::metadata(active(&folder)).unwrap().len() - 1);
    let mut writer = open(&folder, spec(Format::Json));
    append(&mut writer, &samples[100..]);
    writer.finish(Instant::now()).unwrap();
    drop(writer);
    assert!(read_all(&folder) == expected(&samples));
    let rotated = folder.0.join("logs/deaths.log.000001");
    cut(&rotated, fs::metadata(&rotated).unwrap().len() - 1);
    assert!(read_all(&folder) == expected(&samples));
}

/// An index with right checksums and arbitrary numbers causes no panic, and the log continues.
#[test]
fn a_forged_index_is_harmless() {
    use crate::eventlog::index;
    let number = || {
        prop_oneof![
            any::<u64>(),
            0..70_000_u64,
            Just(u64::MAX),
            Just(u64::MAX / 2),
            Just(u64::from(u32::MAX)),
            (0..10_u64).prop_map(|unit| unit * 32_768)
        ]
    };
    let entry = (number(), number(), number(), number(), number(), number());
    proptest!(ProptestConfig::with_cases(64), |(binary: bool, entries in proptest::collection::vec(entry, 1..6), newest_first: bool)| {
        let (folder, format) = (Folder::new(), if binary { Format::Binary } else { Format::Json });
        let mut writer = open(&folder, spec(format));
        append(&mut writer, &many(300));
        writer.finish(Instant::now()).unwrap();
        drop(writer);
        let path = folder::index_of(&active(&folder));
        let mut bytes = fs::read(&path).unwrap()[..index::HEADER_BYTES].to_vec();
        let mut next = 0;
        for (offset, len, records, first_seq, earliest_ms, latest_ms) in entries {
            // Most entries follow each other, since others are not used.
            let offset = if len % 3 == 0 { offset } else { next };
            let records = records as u32;
            let info = PartInfo { first_seq, records: records.into(), earliest_ms, latest_ms };
            index::push_entry(&mut bytes, &IndexEntry { offset, bytes: len as u32, info });
            next = offset.wrapping_add(u64::from(len as u32));
        }
        fs::write(&path, &bytes).unwrap();
        let query = Query { newest_first, start_ms: 1, ..all() };
        let _ = scan(&folder, query);
        if let Ok(mut writer) = Writer::open(Arc::new(SystemDisk), &folder.0, spec(format), Instant::now()) {
            append(&mut writer, &many(5));
            writer.finish(Instant::now()).unwrap();
        }
        fs::remove_file(&path).unwrap();
        assert!(scan(&folder, all()).unwrap().0.len() >= 300);
    });
}
