//! How a writer changes from one segment to the next, makes them safe, and gives one up that failed.

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::config::{EVENTLOG_ABANDON_RETRY_MAX, EVENTLOG_RETRY};
use crate::eventlog::folder;
use crate::eventlog::{Filter, Fsync, Records};

use super::{PART_CAPACITY, Retire, Retry, WriteError, Writer};

impl Writer {
    // ---- segments -------------------------------------------------------------------------------------------

    /// Puts a new file at the log's name, and the one before it aside. Can be called again after a failure.
    pub(super) fn make_segment(&mut self, segment: u64, first_seq: u64) -> Result<(), WriteError> {
        if self.file.is_some() {
            if self.spec.fsync != Fsync::Never {
                self.sync_file()?;
                // So a segment that is abandoned is always the last one.
                self.synced_seq = self.written_seq;
            }
            self.file = None;
            self.retire = Retire::Rename;
        }
        self.index.flush();
        let active = self.place.active().to_owned();
        self.retire_file(&active)?;
        let file = match self.disk.create(&active) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                // Not ours to overwrite: it is put aside like a segment, and a reader looks what it is.
                self.retire = Retire::Rename;
                self.retire_file(&active)?;
                self.disk.create(&active)
            }
            other => other,
        };
        self.file = Some(file.map_err(|err| WriteError { action: "make", path: active.clone(), err })?);
        self.folder_changed = true;
        self.segment_first_seq = first_seq;
        self.index.begin(&active, segment);
        self.remove_oldest();
        Ok(())
    }

    fn retire_file(&mut self, active: &Path) -> Result<(), WriteError> {
        let index = folder::index_of(active);
        let done = match self.retire {
            Retire::Nothing => return Ok(()),
            Retire::Rename => {
                let rotated = self.place.rotated(self.last_number + 1);
                self.index.rename(&index, &folder::index_of(&rotated));
                self.disk.rename(active, &rotated).map(|()| {
                    self.last_number += 1;
                    self.counts.rotations += 1;
                })
            }
            Retire::Remove => self.disk.remove(active),
        };
        match done {
            // It was taken away by hand.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(WriteError { action: "put aside", path: active.to_owned(), err }),
            Ok(()) => {}
        }
        self.folder_changed = true;
        self.retire = Retire::Nothing;
        Ok(())
    }

    /// Keeps as many segments as the log says.
    fn remove_oldest(&mut self) {
        let Some(keep) = (self.spec.max_files as usize).checked_sub(1) else { return };
        let rotated = match self.place.rotated_segments() {
            Ok(rotated) => rotated,
            Err(err) => {
                log::warn!("cannot list the segments of `{}`: {err}", self.place.active().display());
                return;
            }
        };
        let extra = rotated.len().saturating_sub(keep);
        for (_, path) in rotated.into_iter().take(extra) {
            if let Err(err) = self.disk.remove(&path) {
                log::warn!("cannot remove the old event log `{}`: {err}", path.display());
            }
            self.index.remove(&folder::index_of(&path));
        }
    }

    // ---- safety ---------------------------------------------------------------------------------------------

    /// Writes everything and makes it safe.
    pub(super) fn sync(&mut self, now: Instant) -> Result<(), WriteError> {
        self.last_sync = now;
        if !self.has_unsynced() {
            return Ok(());
        }
        if let Some(file) = &self.file
            && !file.is_at(self.place.active())
        {
            log::warn!("the event log `{}` was moved or removed: a new one is begun", self.place.active().display());
            self.abandon(Retire::Nothing);
        }
        self.write(true)?;
        self.sync_file()?;
        self.synced_seq = self.written_seq;
        self.forget_safe();
        Ok(())
    }

    pub(super) fn sync_file(&mut self) -> Result<(), WriteError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let (action, path, result) = match file.sync() {
            Ok(()) if self.folder_changed => {
                let folder = self.place.folder();
                ("sync folder", folder, self.disk.sync_folder(folder))
            }
            other => ("sync", self.place.active(), other),
        };
        if let Err(err) = result {
            self.counts.fsync_errors += 1;
            return Err(WriteError { action, path: path.to_owned(), err });
        }
        self.folder_changed = false;
        Ok(())
    }

    /// Complete parts whose records are safe need no memory. Their buffers are used again: as many as this time.
    pub(super) fn forget_safe(&mut self) {
        let mut freed = 0;
        while let Some(part) = self.held.front()
            && part.info.first_seq + part.info.records <= self.synced_seq
            && part.indexed
        {
            let Some(part) = self.held.pop_front() else { break };
            self.held_len -= part.bytes.len();
            if part.bytes.capacity() <= 2 * PART_CAPACITY {
                self.spare.push(part.bytes);
                freed += 1;
            }
        }
        self.spare.truncate(freed.max(1));
    }

    /// A failure is followed by a pause; one that makes the file unfit for use, by another file too.
    pub(super) fn note(&mut self, now: Instant, result: Result<(), WriteError>) -> Result<(), WriteError> {
        let Err(err) = result else {
            self.retry = Retry::default();
            return Ok(());
        };
        // Full is no fault of the file, nor is a name that could not be changed.
        if self.file.is_some() && !err.is_full() || err.action == "sync" {
            let nothing_safe = self.synced_seq <= self.segment_first_seq;
            self.abandon(if nothing_safe { Retire::Remove } else { Retire::Rename });
            self.retry.pause = (self.retry.pause * 2).clamp(EVENTLOG_RETRY, EVENTLOG_ABANDON_RETRY_MAX);
        } else {
            self.retry.pause = EVENTLOG_RETRY;
        }
        self.retry.not_before = Some(now + self.retry.pause);
        Err(err)
    }

    /// Gives the segment up. Whatever is in memory and not safe goes into a new one under its old numbers.
    pub(super) fn abandon(&mut self, retire: Retire) {
        self.finish_part();
        let mut records = Records::default();
        let filter = Filter { seq_from: self.synced_seq, ..Filter::ALL };
        self.held_len = 0;
        for part in std::mem::take(&mut self.held) {
            self.encoder.decode(&part.bytes, &filter, &mut records);
        }
        self.file = None;
        self.retire = retire;
        self.index.end();
        self.begin_segment();
        self.next_seq = records.iter().next().map_or(self.next_seq, |record| record.seq);
        for record in records.iter() {
            // It fitted before, and there is no bound here: it is in memory already.
            if self.encode(record.time_ms, record.channel, record.payload).is_ok() {
                self.counts.rewritten += u64::from(self.next_seq < self.written_seq);
                self.next_seq += 1;
            }
        }
    }
}
