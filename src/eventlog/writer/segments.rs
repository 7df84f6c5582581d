//! The segments of a [`Writer`]: rotates and removes them, syncs them, abandons one after a failure, and notices
//! changes by other programs. Runs on `rt-files`. It touches only files that this log's writer made: a segment never
//! takes a name that exists, and only segments whose numbers stand in the lock file are removed.
//!
//! A rotation takes these steps, and a kill between any two of them loses no record:
//!
//! ```text
//! 1 sync the old segment       unless fsync is off: so only the youngest segment can have unsynced records
//! 2 list the next number       in the lock file: no file has a rotated name that is not listed
//! 3 rename the index           without its segment it is ignored, and replaced later
//! 4 rename the segment         from here on the log has no youngest segment
//! 5 create the new segment     empty until the first part is written
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::config::limits::EVENTLOG_RETRY;
use crate::eventlog::claims::Claims;
use crate::eventlog::folder;
use crate::eventlog::records::{RecordFilter, Records};
use crate::eventlog::segment::{Segment, SegmentError};
use crate::eventlog::spec::Fsync;
use crate::io::sharing;
use crate::io::shown::shown;

use super::{EVENTLOG_ABANDON_RETRY_MAX, PART_CAPACITY, Retire, Retry, WriteError, Writer};

/// Taken names that are skipped one by one; behind them the distance doubles with each of at most 32 attempts.
const TAKEN_MAX: u64 = 1000;
const STEPS_MAX: u32 = 32;
/// Old segments that are removed at once: a file system may take some milliseconds for each.
const REMOVED_MAX: usize = 4;
/// Pause before another attempt to remove an old segment that another program holds.
const REMOVE_RETRY: Duration = Duration::from_secs(60);
/// Segments beyond the kept number that are looked up, in case some of the kept ones are gone.
const COUNTED_MAX: usize = 4096;
/// Bounds of the doubling pause before a new file, if other programs change the file again and again.
const CHANGES_PAUSE_MIN: Duration = Duration::from_secs(1);
const CHANGES_PAUSE_MAX: Duration = Duration::from_secs(60);
/// With this much in memory the pause ends early. It is little compared with the limits of all logs together and of
/// the queue.
const CHANGES_HELD_BYTES_MAX: usize = 256 * 1024;
const CHANGES_HELD_RECORDS_MAX: u64 = 4096;
/// Removal of a file that another program emptied or created.
const REMOVE_EMPTY: Retire = Retire::Remove { bytes: 0, id: 0 };

impl Writer {
    // ---- segments -------------------------------------------------------------------------------------------

    /// Creates a new file at the log's name, after the old one was synced and retired. Can be repeated after a
    /// failure.
    pub(super) fn make_segment(&mut self, segment: u64, first_seq: u64, now: Instant) -> Result<(), WriteError> {
        let active = self.files.active().to_owned();
        if let Some(file) = &self.file {
            let is_at = file.is_at(&active);
            if self.spec.fsync != Fsync::Never {
                self.sync_file()?;
                // All older segments are synced, so only the youngest one can ever be abandoned.
                self.synced_seq = self.written_seq;
            }
            self.file = None;
            self.retire = if is_at { Retire::Rename } else { Retire::Nothing };
        } else {
            self.retire = still_ours(&active, self.retire).map_err(|err| failed("rotate or remove", &active, err))?;
        }
        self.index.flush();
        self.renew_lock().map_err(|err| failed("lock", &active, err))?;
        self.retire_file(&active)?;
        let file = match self.disk.create(&active) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                self.retire = retire_foreign(&active).map_err(|err| failed("create", &active, err))?;
                self.retire_file(&active)?;
                self.disk.create(&active)
            }
            other => other,
        };
        self.file = Some(file.map_err(|err| failed("create", &active, err))?);
        (self.file_end, self.tail_unknown) = (0, false);
        self.folder_changed = true;
        self.segment_first_seq = first_seq;
        self.index.begin(&active, segment);
        self.remove_oldest(now);
        Ok(())
    }

    /// Locks the log again if somebody removed its lock file, alone or together with its folder.
    fn renew_lock(&mut self) -> io::Result<()> {
        if self.files.still_has(&self.lock) {
            return Ok(());
        }
        self.files.make_folder(self.disk.as_ref())?;
        let claims = self.lock.claims.clone();
        self.lock = self.files.lock()?;
        self.lock.claims = claims;
        self.claim(|_| {});
        Ok(())
    }

    /// Renames or removes the file at the log's name, as `retire` says.
    fn retire_file(&mut self, active: &Path) -> Result<(), WriteError> {
        let index = folder::index_of(active);
        let done = match self.retire {
            Retire::Nothing => return Ok(()),
            Retire::Rename => self.free_number().and_then(|number| {
                let rotated = self.files.rotated(number);
                // The lock file comes first: no file may have the name of a rotated segment before its number is
                // listed.
                self.claim(|claims| claims.push(number));
                self.index.rename(&index, &folder::index_of(&rotated));
                let renamed = self.disk.rename(active, &rotated);
                match &renamed {
                    Ok(()) => {
                        self.last_number = number;
                        self.counts.rotations += 1;
                    }
                    // Another program has just created this file. The next attempt takes the next number.
                    Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                        self.last_number = number;
                        self.claim(|claims| claims.remove(number));
                    }
                    Err(_) => {}
                }
                renamed
            }),
            Retire::Remove { .. } => self.disk.remove(active),
        };
        match done {
            // Somebody removed it by hand.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(failed("rotate or remove", active, err)),
            Ok(()) => {}
        }
        self.folder_changed = true;
        self.retire = Retire::Nothing;
        Ok(())
    }

    /// A free number above the last one: the next number, or one behind the names that other files have taken.
    fn free_number(&self) -> io::Result<u64> {
        // The doubling distance reaches beyond any plausible number of files with a bounded number of look-ups.
        let far = (0..STEPS_MAX).map(|step| TAKEN_MAX + (1 << step));
        let mut numbers = (1..=TAKEN_MAX).chain(far).map(|step| self.last_number + step);
        let free = numbers.find(|number| fs::symlink_metadata(self.files.rotated(*number)).is_err());
        free.ok_or_else(|| io::Error::new(io::ErrorKind::AlreadyExists, "other files have the names that could follow"))
    }

    /// Changes the list of rotated segments in memory and in the lock file. If the lock file cannot be written, this
    /// writer still has the list, and the next one adopts the file, since its number follows the listed ones.
    pub(super) fn claim(&mut self, change: impl FnOnce(&mut Claims)) {
        self.counts.index_errors += u64::from(self.lock.change(change).is_err());
    }

    /// Removes old segments beyond the number that the settings keep. It removes a few at once and sets `removing` if
    /// there are more. Those that another program holds are tried again after a minute.
    pub(super) fn remove_oldest(&mut self, now: Instant) {
        self.removing = None;
        let Some(keep) = (self.spec.max_files as usize).checked_sub(1) else { return };
        let claims = self.lock.claims.clone().unwrap_or_default();
        // `below` is the lowest number that stays. Only existing files count, since an owner may have removed some.
        let (mut below, mut kept) = (if keep == 0 { u64::MAX } else { 0 }, 0);
        for number in claims.iter().rev().take(keep + COUNTED_MAX) {
            if kept == keep {
                break;
            }
            if fs::symlink_metadata(self.files.rotated(number)).is_ok() {
                (below, kept) = (number, kept + 1);
            }
        }
        let (mut removed, mut tried, mut held) = (Vec::new(), 0, 0);
        for number in claims.iter().take_while(|number| *number < below) {
            if tried == REMOVED_MAX {
                self.removing = Some(now).filter(|_| !removed.is_empty());
                break;
            }
            tried += 1;
            match self.remove_segment(number) {
                Ok(true) => removed.push(number),
                Ok(false) => {}
                Err(_) => held += 1,
            }
        }
        if held > 0 && self.removing.is_none() {
            self.removing = Some(now + REMOVE_RETRY);
        }
        self.counts.held += held;
        if !removed.is_empty() {
            self.claim(|claims| removed.into_iter().for_each(|number| claims.remove(number)));
        }
    }

    /// Removes one segment and its index. False if the file is a segment of the log and could not be removed, an error if
    /// another program holds it: its number then stays in the list.
    fn remove_segment(&mut self, number: u64) -> io::Result<bool> {
        let path = self.files.rotated(number);
        let found = match Segment::open(&path, false) {
            Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => {
                // A kill between the two renames of a rotation leaves an index without its segment.
                self.index.remove(&folder::index_of(&path));
                return Ok(true);
            }
            Err(SegmentError::Foreign(_)) => "it is not an event log any more".to_owned(),
            // A plain file with this name that still is a segment is the one that the writer made.
            Ok(_) | Err(SegmentError::Newer(_)) => match self.disk.remove(&path) {
                Ok(()) => {
                    self.index.remove(&folder::index_of(&path));
                    return Ok(true);
                }
                Err(err) => {
                    log::warn!("cannot remove the old event log `{}`: {}{err}", shown(&path), sharing::words(&err));
                    return if sharing::is_held(&err) { Err(err) } else { Ok(false) };
                }
            },
            Err(SegmentError::Io(err)) if sharing::is_held(&err) => {
                log::warn!("cannot remove the old event log `{}`: {}{err}", shown(&path), sharing::words(&err));
                return Err(err);
            }
            Err(SegmentError::Io(err)) => err.to_string(),
        };
        log::warn!("the old event log `{}` is left alone: {found}", shown(&path));
        Ok(true)
    }

    // ---- syncing --------------------------------------------------------------------------------------------

    /// Writes and syncs everything.
    pub(super) fn sync(&mut self, now: Instant) -> Result<(), WriteError> {
        self.last_sync = now;
        if !self.has_unsynced() {
            return Ok(());
        }
        self.write(now, true)?;
        if self.lets_others_finish(now) {
            return Ok(());
        }
        self.sync_file()?;
        self.synced_seq = self.written_seq;
        self.drop_synced();
        Ok(())
    }

    /// Checks the length and name of the file, which another program may have changed since the last write. After a
    /// change it abandons the segment; the unsynced records are still in memory and go into a new file, at once or
    /// after a pause if the changes go on.
    pub(super) fn notice_changes(&mut self, now: Instant) -> Result<(), WriteError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let active = self.files.active();
        if self.tail_unknown {
            // The bytes of a failed write are still there.
            file.set_len(self.file_end).map_err(|err| failed("shorten", active, err))?;
            self.tail_unknown = false;
        }
        let bytes = file.bytes().map_err(|err| failed("inspect", active, err))?;
        let (found, retire) = if !file.is_at(active) {
            ("moved or removed", Retire::Nothing)
        } else if bytes == self.file_end {
            return Ok(());
        } else if bytes == 0 {
            ("emptied", REMOVE_EMPTY)
        } else if bytes < self.file_end {
            ("shortened", Retire::Rename)
        } else {
            ("written to", Retire::Rename)
        };
        log::warn!("the event log `{}` was {found} by another program: a new file is begun", shown(active));
        self.counts.changed += 1;
        self.abandon(retire);
        let changes = &mut self.changes;
        // A change counts as a repetition for twice the longest pause.
        let again = changes.last.is_some_and(|last| now.saturating_duration_since(last) < CHANGES_PAUSE_MAX * 2);
        changes.pause =
            if again { (changes.pause * 2).clamp(CHANGES_PAUSE_MIN, CHANGES_PAUSE_MAX) } else { Duration::ZERO };
        (changes.last, changes.not_before) = (Some(now), Some(now + changes.pause));
        Ok(())
    }

    /// True during the pause after repeated changes by other programs: no new file is made, so that they do not cause
    /// files without end. The pause ends early if many records wait in memory.
    pub(super) fn lets_others_finish(&self, now: Instant) -> bool {
        self.changes.not_before.is_some_and(|at| now < at)
            && self.file.is_none()
            && self.held_bytes() <= CHANGES_HELD_BYTES_MAX
            && self.unwritten() <= CHANGES_HELD_RECORDS_MAX
    }

    /// Syncs the file, and its folder if names in it changed.
    pub(super) fn sync_file(&mut self) -> Result<(), WriteError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let (action, path, result) = match file.sync() {
            Ok(()) if self.folder_changed => {
                let folder = self.files.folder();
                ("sync folder", folder, self.disk.sync_folder(folder))
            }
            other => ("sync", self.files.active(), other),
        };
        if let Err(err) = result {
            self.counts.fsync_errors += 1;
            return Err(failed(action, path, err));
        }
        self.folder_changed = false;
        Ok(())
    }

    /// Drops complete parts whose records are synced. It keeps as many of their buffers as it freed this time.
    pub(super) fn drop_synced(&mut self) {
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
        // A burst of records leaves no more spare buffers than the last sync needed.
        self.spare.truncate(freed.max(1));
    }

    /// Handles the result of an attempt. A failure begins a pause; one that makes the file unusable also abandons the
    /// segment.
    pub(super) fn note(&mut self, now: Instant, result: Result<(), WriteError>) -> Result<(), WriteError> {
        let Err(err) = result else {
            self.retry = Retry::default();
            return Ok(());
        };
        let is_held = err.is_held();
        self.counts.held += u64::from(is_held);
        // A full disk is no fault of the file, and neither is another program that holds it, nor a name that could not be
        // changed.
        if !is_held && (self.file.is_some() && !err.is_full() || err.action == "sync") {
            let nothing_synced = self.synced_seq <= self.segment_first_seq;
            let is_at = self.file.as_ref().is_some_and(|file| file.is_at(self.files.active()));
            self.abandon(match (is_at, nothing_synced) {
                (false, _) => Retire::Nothing,
                (true, true) => removal(self.files.active()),
                (true, false) => Retire::Rename,
            });
            self.retry.pause = (self.retry.pause * 2).clamp(EVENTLOG_RETRY, EVENTLOG_ABANDON_RETRY_MAX);
        } else {
            self.retry.pause = EVENTLOG_RETRY;
        }
        (self.retry.not_before, self.retry.is_held) = (Some(now + self.retry.pause), is_held);
        Err(err)
    }

    /// Abandons the segment: decodes all unsynced records from memory and encodes them again for a new segment, under
    /// their old seqs.
    pub(super) fn abandon(&mut self, retire: Retire) {
        self.finish_part();
        let mut records = Records::default();
        let filter = RecordFilter { seq_from: self.synced_seq, ..RecordFilter::ALL };
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
            // The record fitted before, and the limit of memory does not apply, because it already counts there.
            if self.encode(record.time_ms, record.channel, record.payload).is_ok() {
                self.counts.rewritten += u64::from(self.next_seq < self.written_seq);
                self.next_seq += 1;
            }
        }
    }
}

/// An error with the path of the log.
#[cold]
pub(super) fn failed(action: &'static str, path: &Path, err: io::Error) -> WriteError {
    WriteError { action, path: path.to_owned(), err }
}

/// Removal of the log's own file, as it is now. One that cannot be read is kept.
fn removal(active: &Path) -> Retire {
    Segment::open(active, false).map_or(Retire::Rename, |found| Retire::Remove { bytes: found.bytes, id: found.id })
}

/// The action on the file at the log's name that was to be renamed or removed. Some time may have passed since: an owner may
/// have restored a log, or an upload may have begun. A segment is then rotated, so that a program that still writes it goes
/// on. Any other file stays, and no new file takes its name.
fn still_ours(active: &Path, retire: Retire) -> io::Result<Retire> {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
    if retire == Retire::Nothing {
        return Ok(retire);
    }
    match Segment::open(active, false) {
        Ok(found) => Ok(match retire {
            Retire::Remove { bytes, id } if found.bytes == 0 || (found.bytes, found.id) == (bytes, id) => retire,
            _ => Retire::Rename,
        }),
        Err(SegmentError::Io(err)) if sharing::is_held(&err) => Err(err),
        Err(SegmentError::Io(err)) if !matches!(err.kind(), InvalidInput | NotFound | PermissionDenied) => {
            Ok(Retire::Rename)
        }
        Err(_) => Ok(Retire::Nothing),
    }
}

/// The action on a file that another program put at the log's name. Only two kinds are moved out of the way: an empty
/// file, as `logrotate` creates it, and a segment, which an owner may have brought back.
fn retire_foreign(path: &Path) -> io::Result<Retire> {
    let is_link = fs::symlink_metadata(path)?.is_symlink();
    match Segment::open(path, false) {
        Ok(found) if found.bytes == 0 && !is_link => Ok(REMOVE_EMPTY),
        Ok(found) if found.id != 0 => Ok(Retire::Rename),
        Err(SegmentError::Io(err)) if sharing::is_held(&err) => Err(err),
        _ => Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no event log has its name")),
    }
}
