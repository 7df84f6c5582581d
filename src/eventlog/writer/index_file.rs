//! The index file of the youngest segment, which the writer extends as parts become complete. Runs on `rt-files`.
//! Nothing depends on it: an error is counted, the index is given up until the next segment, and readers search the
//! segment itself. A file in its place that is no index is left alone, unless the module wrote the log before: then
//! that file was an index once. An index that another program holds is such an error too, and costs readers some time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::eventlog::disk::rename_to_new;
use crate::eventlog::folder::{index_of, remove_plain};
use crate::eventlog::index::{self, IndexEntry};
use crate::io::plain_file;

/// The index of the youngest segment; without a file, all calls do nothing.
#[derive(Default)]
pub(super) struct IndexFile {
    file: Option<File>,
    /// Encoded entries that are not in the file yet.
    waiting: Vec<u8>,
    /// Failed calls since the last [`IndexFile::take_errors`].
    errors: u64,
    /// True if any file with the name of this index is one that the module wrote, so it may be replaced.
    pub(super) replaces_any: bool,
}

/// True if the file begins like an index or does not exist.
fn is_index(path: &Path) -> bool {
    let mut head = [0; 4];
    match plain_file::read(path).and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) => index::is_index(&head),
        Err(err) => err.kind() == io::ErrorKind::NotFound,
    }
}

impl IndexFile {
    /// Begins the index of a new segment.
    pub(super) fn begin(&mut self, segment_path: &Path, segment: u64) {
        self.start(segment_path, segment, &[]);
    }

    /// Replaces the index of a segment by one with these entries.
    pub(super) fn start(&mut self, segment_path: &Path, segment: u64, entries: &[IndexEntry]) {
        self.waiting.clear();
        let path = index_of(segment_path);
        self.file = None;
        // The old file is removed first: a link in its place would lead our writes elsewhere.
        if self.replaces_any || is_index(&path) {
            self.removed(remove_plain(&path));
        }
        let mut bytes = index::header(segment).to_vec();
        entries.iter().for_each(|entry| index::push_entry(&mut bytes, entry));
        let made = plain_file::create_new(OpenOptions::new().write(true), &path);
        let file = made.and_then(|mut file| file.write_all(&bytes).map(|()| file));
        self.replaces_any |= file.is_ok();
        self.file = self.good(file);
    }

    /// Continues the existing index of a segment behind its first `entries` entries, and cuts off all others.
    pub(super) fn resume(&mut self, segment_path: &Path, entries: usize) {
        let end = (index::HEADER_BYTES + entries * index::ENTRY_BYTES) as u64;
        let opened = plain_file::open(OpenOptions::new().write(true), &index_of(segment_path)).and_then(|mut file| {
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            Ok(file)
        });
        self.file = self.good(opened);
    }

    /// Adds the entry of a complete part. [`IndexFile::flush`] writes it.
    pub(super) fn add(&mut self, entry: &IndexEntry) {
        if self.file.is_some() {
            index::push_entry(&mut self.waiting, entry);
        }
    }

    /// Number of entries that are not in the file yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() / index::ENTRY_BYTES
    }

    /// Writes the added entries.
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

    /// Ends the index: its segment was rotated or abandoned.
    pub(super) fn end(&mut self) {
        self.flush();
        self.file = None;
    }

    /// Ends the index and gives it the name that belongs to the rotated segment.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.end();
        if !is_index(from) {
            return;
        }
        // A kill between the two renames of a rotation can leave an index under the new name.
        if is_index(to) {
            self.removed(remove_plain(to));
        }
        self.removed(rename_to_new(from, to));
    }

    /// Removes the index of a segment that is removed.
    pub(super) fn remove(&mut self, path: &Path) {
        if is_index(path) {
            self.removed(remove_plain(path));
        }
    }

    /// Counts the error of a removal or renaming. A missing file is none.
    fn removed(&mut self, result: io::Result<()>) {
        match result {
            Err(err) if err.kind() != io::ErrorKind::NotFound => self.errors += 1,
            _ => {}
        }
    }

    /// Number of failed calls since the last one.
    pub(super) fn take_errors(&mut self) -> u64 {
        std::mem::take(&mut self.errors)
    }

    /// Counts the error of a call.
    fn good<T>(&mut self, result: io::Result<T>) -> Option<T> {
        if result.is_err() {
            self.errors += 1;
        }
        result.ok()
    }
}
