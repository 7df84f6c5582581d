//! The listeners that had a place in Redis once: a file in the data folder remembers them. If Redis has no place for such a
//! listener, it forgot the place (FLUSHALL, a restart without its file), and events may be lost; any other listener is new.
//! Game thread. It reads the file once, before the first listener; a thread of its own writes each line.
//!
//! ```text
//!   garrysmod/data/realtime/places.known     a line of 16 hex digits for each: the hash of its key (`followers.rs`)
//! ```

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::event::fingerprint;
use crate::io::shown::shown;
use crate::io::{own_file, plain_file, thread};

const FILE: &str = "places.known";
/// Bytes of the file: beyond some thousand listeners it begins anew.
const BYTES_MAX: usize = 64 * 1024;
const LINE_BYTES: usize = 17;
const STACK_BYTES: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct KnownPlaces {
    /// The hashes in the file; `None` before it was read.
    known: Option<HashSet<u64>>,
    /// The file could not be read: the next line is its first one, or it would grow without an end.
    is_unreadable: bool,
}

impl KnownPlaces {
    /// Reads the file in this folder, unless that is done. A file that cannot be read counts as empty.
    pub(super) fn read(&mut self, folder: &Path) {
        if self.known.is_some() {
            return;
        }
        let path = folder.join(FILE);
        let text = plain_file::read_own_at_most(&path, BYTES_MAX).unwrap_or_else(|err| {
            if err.kind() != ErrorKind::NotFound {
                log::warn!("cannot read `{}`: {err}", shown(&path));
                self.is_unreadable = true;
            }
            Vec::new()
        });
        let lines = std::str::from_utf8(&text).unwrap_or_default().lines();
        self.known = Some(lines.filter_map(|line| u64::from_str_radix(line, 16).ok()).collect());
    }

    /// Notes that the listener of this key has a place now. True: it had one before.
    pub(super) fn note(&mut self, folder: &Path, key: &[u8]) -> bool {
        let known = self.known.get_or_insert_default();
        let hash = fingerprint::hash(0xcbf2_9ce4_8422_2325, key.iter());
        let is_full = (known.len() + 1) * LINE_BYTES > BYTES_MAX;
        if is_full {
            known.clear();
        }
        if !known.insert(hash) {
            return true;
        }
        let begins_anew = is_full || std::mem::take(&mut self.is_unreadable);
        let (folder, line) = (folder.to_owned(), format!("{hash:016x}\n"));
        let run = move || {
            if let Err(err) = write(&folder, &line, begins_anew) {
                log::warn!("cannot remember the place of a listener in `{}`: {err}", shown(&folder.join(FILE)));
            }
        };
        if let Err(err) = thread::spawn("rt-places".to_owned(), STACK_BYTES, Box::new(run)) {
            log::warn!("cannot remember the place of a listener: {err}");
        }
        false
    }
}

fn write(folder: &Path, line: &str, begins_anew: bool) -> io::Result<()> {
    let path: PathBuf = folder.join(FILE);
    plain_file::make_folder(folder)?;
    let mut options = OpenOptions::new();
    let mut file = plain_file::open_own(own_file::private(options.append(true).create(true)), &path)?;
    if begins_anew {
        file.set_len(0)?;
    }
    // One write: lines of several threads do not mix.
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_to_the_next_process_once_it_had_a_place() {
        let folder = std::env::temp_dir().join(format!("realtime-places-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut places = KnownPlaces::default();
        places.read(&folder);
        assert!(!places.note(&folder, b"a") && places.note(&folder, b"a") && !places.note(&folder, b"b"));
        let path = folder.join(FILE);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while std::fs::read(&path).map_or(0, |text| text.len()) < 2 * LINE_BYTES {
            assert!(std::time::Instant::now() < deadline, "the lines come");
            std::thread::yield_now();
        }
        let mut next = KnownPlaces::default();
        next.read(&folder);
        assert!(next.note(&folder, b"a") && next.note(&folder, b"b"));
        // Another program's file is no list of places.
        std::fs::write(&path, vec![0xff; BYTES_MAX + 1]).unwrap();
        let mut other = KnownPlaces::default();
        other.read(&folder);
        assert_eq!(other.known.as_ref().map(HashSet::len), Some(0));
        other.note(&folder, b"a");
        while std::fs::metadata(&path).unwrap().len() != LINE_BYTES as u64 {
            assert!(std::time::Instant::now() < deadline, "the file begins anew");
            std::thread::yield_now();
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
