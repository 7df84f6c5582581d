//! The index of the segment that is being written. Nothing depends on it: whatever fails here is counted, the index is
//! given up until the next segment, and readers look into the segment itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::eventlog::folder::index_of;
use crate::eventlog::index::{self, Entry};

#[derive(Default)]
pub(super) struct IndexFile {
    file: Option<File>,
    /// Entries that are not written yet.
    waiting: Vec<u8>,
    errors: u64,
}

impl IndexFile {
    /// Begins the index of a new segment.
    pub(super) fn begin(&mut self, segment_path: &Path, segment: u64) {
        self.start(segment_path, segment, &[]);
    }

    /// Makes the index of a segment anew, with these entries.
    pub(super) fn start(&mut self, segment_path: &Path, segment: u64, entries: &[Entry]) {
        self.waiting.clear();
        let path = index_of(segment_path);
        // Whatever is there goes first: a link must not lead what we write elsewhere.
        self.remove(&path);
        let mut bytes = index::header(segment).to_vec();
        entries.iter().for_each(|entry| index::push_entry(&mut bytes, entry));
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = made.and_then(|mut file| file.write_all(&bytes).map(|()| file));
        self.file = self.good(file);
    }

    /// Goes on with the index of a segment behind its first `entries`.
    pub(super) fn resume(&mut self, segment_path: &Path, entries: usize) {
        let end = (index::HEADER_BYTES + entries * index::ENTRY_BYTES) as u64;
        let opened = OpenOptions::new().write(true).open(index_of(segment_path)).and_then(|mut file| {
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            Ok(file)
        });
        self.file = self.good(opened);
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        if self.file.is_some() {
            index::push_entry(&mut self.waiting, entry);
        }
    }

    /// Entries that are not written yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() / index::ENTRY_BYTES
    }

    pub(super) fn flush(&mut self) {
        let Some(file) = &mut self.file else { return };
        if self.waiting.is_empty() {
            return;
        }
        let result = file.write_all(&self.waiting);
        self.waiting.clear();
        if self.good(result).is_none() {
            self.file = None;
        }
    }

    /// The segment ends, or is given up.
    pub(super) fn end(&mut self) {
        self.flush();
        self.file = None;
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.end();
        match fs::rename(from, to) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => self.errors += 1,
            _ => {}
        }
    }

    pub(super) fn remove(&mut self, path: &Path) {
        match fs::remove_file(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => self.errors += 1,
            _ => {}
        }
    }

    /// What could not be done since the last call.
    pub(super) fn take_errors(&mut self) -> u64 {
        std::mem::take(&mut self.errors)
    }

    fn good<T>(&mut self, result: io::Result<T>) -> Option<T> {
        if result.is_err() {
            self.errors += 1;
        }
        result.ok()
    }
}
