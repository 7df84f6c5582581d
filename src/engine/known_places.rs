//! The listeners that had a place in Redis once: a file in the data folder remembers them. If Redis has no place for such a
//! listener, it forgot the place (FLUSHALL, a restart without its file), and events may be lost; any other listener is new.
//! Game thread. It reads the file before the first listener, and again later if that fails; a thread of its own writes.
//!
//! ```text
//!   garrysmod/data/realtime/places.known     a line of 16 hex digits for each: the hash of its key (`followers.rs`)
//! ```

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::event::fingerprint;
use crate::io::lock::lock;
use crate::io::shown::shown;
use crate::io::{own_file, plain_file, sharing, thread};

const FILE: &str = "places.known";
const TEMPORARY: &str = "places.known.new";
/// Bytes of the file: beyond some thousand listeners it begins anew.
const BYTES_MAX: usize = 64 * 1024;
const LINE_BYTES: usize = 17;
const STACK_BYTES: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct KnownPlaces {
    /// The hashes in the file, as far as it was read, and those of this process.
    known: HashSet<u64>,
    is_read: bool,
    /// An attempt to read failed, after the patience that the game thread has for it.
    has_failed: bool,
    unwritten: Arc<Mutex<Unwritten>>,
}

/// The lines that the file lacks.
#[derive(Default)]
struct Unwritten {
    lines: String,
    /// The file is to have these lines alone.
    begins_anew: bool,
    /// A thread writes, and goes on until no line is left: lines stay in their order.
    is_writing: bool,
}

impl KnownPlaces {
    /// Reads the file in this folder, unless that is done. A file that another program holds is read at a later call, for
    /// which the game does not wait again. One that is no list of this program begins anew.
    pub(super) fn read(&mut self, folder: &Path) {
        if self.is_read {
            return;
        }
        let path = folder.join(FILE);
        let read = || plain_file::read_own_at_most(&path, BYTES_MAX);
        let found = if self.has_failed { read() } else { sharing::patiently(read) };
        let text = found.or_else(|err| {
            let is_missing = err.kind() == ErrorKind::NotFound;
            if !is_missing && !self.has_failed {
                log::warn!("cannot read `{}`: {}{err}", shown(&path), sharing::words(&err));
            }
            // It is too large, or a link.
            let is_no_list = matches!(err.kind(), ErrorKind::Other | ErrorKind::InvalidInput);
            if is_no_list {
                self.begin_anew();
            }
            if is_missing || is_no_list { Ok(Vec::new()) } else { Err(err) }
        });
        self.has_failed = text.is_err();
        let Ok(text) = text else { return };
        let lines = std::str::from_utf8(&text).unwrap_or_default().lines().filter(|line| line.len() + 1 == LINE_BYTES);
        self.known.extend(lines.filter_map(|line| u64::from_str_radix(line, 16).ok()));
        self.is_read = true;
    }

    /// Lets the file have the lines of the known hashes alone.
    fn begin_anew(&mut self) {
        let mut unwritten = lock(&self.unwritten);
        unwritten.lines = self.known.iter().map(line).collect();
        unwritten.begins_anew = true;
    }

    /// Notes that the listener of this key has a place now. True: it had one before.
    pub(super) fn note(&mut self, folder: &Path, key: &[u8]) -> bool {
        self.read(folder);
        let hash = fingerprint::hash(0xcbf2_9ce4_8422_2325, key.iter());
        if self.known.contains(&hash) {
            return true;
        }
        if (self.known.len() + 1) * LINE_BYTES > BYTES_MAX {
            self.known.clear();
            self.begin_anew();
        }
        self.known.insert(hash);
        let mut unwritten = lock(&self.unwritten);
        unwritten.lines.push_str(&line(&hash));
        if std::mem::replace(&mut unwritten.is_writing, true) {
            return false;
        }
        let (folder, lines) = (folder.to_owned(), Arc::clone(&self.unwritten));
        let run = move || {
            if let Err(err) = write_all(&folder, &lines) {
                let (path, words) = (folder.join(FILE), sharing::words(&err));
                log::warn!("cannot remember the place of a listener in `{}`: {words}{err}", shown(&path));
            }
        };
        if let Err(err) = thread::spawn("rt-places".to_owned(), STACK_BYTES, Box::new(run)) {
            unwritten.is_writing = false;
            log::warn!("cannot remember the place of a listener: {err}");
        }
        false
    }
}

fn line(hash: &u64) -> String {
    format!("{hash:016x}\n")
}

/// Writes until no line is left. After an error the lines wait for the next one.
fn write_all(folder: &Path, unwritten: &Mutex<Unwritten>) -> io::Result<()> {
    loop {
        let mut waiting = lock(unwritten);
        if waiting.lines.is_empty() {
            waiting.is_writing = false;
            return Ok(());
        }
        let (lines, begins_anew) = (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.begins_anew));
        drop(waiting);
        if let Err(err) = write(folder, &lines, begins_anew) {
            let mut waiting = lock(unwritten);
            if !waiting.begins_anew {
                waiting.lines.insert_str(0, &lines);
                waiting.begins_anew = begins_anew;
            }
            waiting.is_writing = false;
            return Err(err);
        }
    }
}

fn write(folder: &Path, lines: &str, begins_anew: bool) -> io::Result<()> {
    let path = folder.join(FILE);
    plain_file::make_folder(folder)?;
    if begins_anew {
        return own_file::replace(&path, &folder.join(TEMPORARY), lines.as_bytes(), true, |_| Ok(())).map(drop);
    }
    let mut options = OpenOptions::new();
    let options = own_file::private(options.append(true).create(true).read(true));
    let mut file = sharing::patiently(|| plain_file::open_own(options, &path))?;
    // A kill or a full disk may have left a part of a line.
    if plain_file::is_mid_line(&file)? {
        file.write_all(b"\n")?;
    }
    file.write_all(lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::io::plain_file::held::{hold, release};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("realtime-places-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Folder(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join(FILE)
        }

        fn read(&self) -> KnownPlaces {
            let mut places = KnownPlaces::default();
            places.read(&self.0);
            places
        }

        /// Waits until the file has so many lines.
        fn wait(&self, lines: usize) {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while std::fs::metadata(self.file()).map_or(0, |found| found.len()) != (lines * LINE_BYTES) as u64 {
                assert!(std::time::Instant::now() < deadline, "the lines come");
                std::thread::yield_now();
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_listener_is_known_to_the_next_process_once_it_had_a_place() {
        let folder = Folder::new("known");
        let mut places = folder.read();
        assert!(!places.note(&folder.0, b"a") && places.note(&folder.0, b"a") && !places.note(&folder.0, b"b"));
        folder.wait(2);
        let mut next = folder.read();
        assert!(next.note(&folder.0, b"a") && next.note(&folder.0, b"b"));
    }

    /// It is too large, or a link: another program's file, which stays as it is.
    #[test]
    fn a_file_that_is_no_list_begins_anew_with_all_lines() {
        let folder = Folder::new("anew");
        std::fs::create_dir_all(&folder.0).unwrap();
        let content = vec![0xff; BYTES_MAX + 1];
        std::fs::write(folder.file(), &content).unwrap();
        let mut places = folder.read();
        assert_eq!(places.known.len(), 0);
        // Many lines at once: none is lost, although the file is replaced meanwhile.
        (0..200_u32).for_each(|n| assert!(!places.note(&folder.0, &n.to_le_bytes())));
        folder.wait(200);
        let mut next = folder.read();
        (0..200_u32).for_each(|n| assert!(next.note(&folder.0, &n.to_le_bytes())));
        #[cfg(unix)]
        {
            let theirs = folder.0.join("theirs");
            std::fs::rename(folder.file(), &theirs).unwrap();
            std::os::unix::fs::symlink(&theirs, folder.file()).unwrap();
            let before = std::fs::read(&theirs).unwrap();
            assert!(!folder.read().note(&folder.0, &7_u32.to_le_bytes()));
            folder.wait(1);
            assert_eq!(std::fs::read(&theirs).unwrap(), before);
        }
    }

    /// A kill, or a full disk.
    #[test]
    fn a_part_of_a_line_spoils_no_other() {
        let folder = Folder::new("part");
        folder.read().note(&folder.0, b"a");
        folder.wait(1);
        let whole = std::fs::read_to_string(folder.file()).unwrap();
        std::fs::write(folder.file(), format!("{whole}00ab")).unwrap();
        let mut places = folder.read();
        assert_eq!(places.known.len(), 1);
        assert!(!places.note(&folder.0, b"b"));
        while lock(&places.unwritten).is_writing {
            std::thread::yield_now();
        }
        let mut next = folder.read();
        assert!(next.note(&folder.0, b"a") && next.note(&folder.0, b"b"));
    }

    #[test]
    fn a_full_file_begins_anew() {
        let folder = Folder::new("full");
        let mut places = folder.read();
        let most = BYTES_MAX / LINE_BYTES;
        (0..most).for_each(|n| assert!(!places.note(&folder.0, &n.to_le_bytes())));
        folder.wait(most);
        assert!(!places.note(&folder.0, b"one more"));
        folder.wait(1);
        assert!(folder.read().note(&folder.0, b"one more"));
    }

    #[test]
    fn a_held_file_is_read_later_and_keeps_its_lines() {
        let folder = Folder::new("held");
        folder.read().note(&folder.0, b"a");
        folder.wait(1);
        // For a moment.
        hold(&folder.file(), 3);
        assert!(folder.read().note(&folder.0, b"a"));
        // For longer: the listener counts as new.
        hold(&folder.file(), u32::MAX);
        let mut places = folder.read();
        assert!(!places.note(&folder.0, b"b"));
        let began = std::time::Instant::now();
        (0..20).for_each(|_| places.read(&folder.0));
        assert!(began.elapsed() < std::time::Duration::from_secs(1), "the game waits once");
        let is_writing = |places: &KnownPlaces| lock(&places.unwritten).is_writing;
        while is_writing(&places) {
            std::thread::yield_now();
        }
        release(&folder.file());
        assert!(!places.note(&folder.0, b"c"));
        folder.wait(3);
        assert!(places.note(&folder.0, b"a") && places.note(&folder.0, b"b"));
        let mut next = folder.read();
        assert!([b"a", b"b", b"c"].iter().all(|key| next.note(&folder.0, *key)));
    }
}
