//! The index file of the youngest segment, which the writer extends as parts become complete. Runs on `rt-files`.
//! Nothing depends on it: an error is counted, the index is given up until the next segment, and readers search the
//! segment itself. A file in its place that is no index is left alone. If the module wrote the log before, that file may
//! be a damaged index or an owner's, so it is renamed to `deaths.log.idx.aside.1` and so on. An index that another program
//! holds is such an error too, and costs readers some time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::eventlog::disk::rename_to_new;
use crate::eventlog::folder::index_of;
use crate::eventlog::index::{self, IndexEntry};
use crate::io::shown::shown;
use crate::io::{own_file, plain_file};

/// The index of the youngest segment; without a file, all calls do nothing.
#[derive(Default)]
pub(super) struct IndexFile {
    file: Option<File>,
    /// Encoded entries that are not in the file yet.
    waiting: Vec<u8>,
    /// Failed calls since the last [`IndexFile::take_errors`].
    errors: u64,
    /// True if the module wrote this log before: a file with the name of this index that is none is then set aside.
    pub(super) had_writer: bool,
}

/// The first bytes of the file. A link is an error: no writer makes one.
fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    plain_file::read_own(path)?.take(4).read_to_end(&mut head)?;
    Ok(head)
}

/// True if the file begins like an index or does not exist.
fn is_index(path: &Path) -> bool {
    head(path).map_or_else(|err| err.kind() == io::ErrorKind::NotFound, |head| index::is_index(&head))
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
        match head(&path) {
            // A crash of the machine may leave an empty file.
            Ok(head) if index::is_index(&head) || self.had_writer && head.is_empty() => {
                self.removed(plain_file::remove(&path));
            }
            Ok(_) if self.had_writer => {
                let aside = own_file::set_aside(&path).inspect(|aside| {
                    log::warn!("`{}` is no index of an event log; it is now `{}`", shown(&path), shown(aside));
                });
                self.removed(aside.map(drop));
            }
            _ => {}
        }
        let mut bytes = index::header(segment).to_vec();
        entries.iter().for_each(|entry| index::push_entry(&mut bytes, entry));
        let made = plain_file::create_new(OpenOptions::new().write(true), &path);
        let file = made.and_then(|mut file| file.write_all(&bytes).map(|()| file));
        self.had_writer |= file.is_ok();
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
            self.removed(plain_file::remove(to));
        }
        self.removed(rename_to_new(from, to));
    }

    /// Removes the index of a segment that is removed.
    pub(super) fn remove(&mut self, path: &Path) {
        if is_index(path) {
            self.removed(plain_file::remove(path));
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
