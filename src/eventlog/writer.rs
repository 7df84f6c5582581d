//! Writes one log. Runs on `rt-files`; owns the youngest segment, its index, the lock of the log, and all records
//! that are not synced yet.
//!
//! Records are encoded into **parts** in memory and written part by part: a binary block, or about 32 KiB of lines.
//!
//! ```text
//! append ──▶ current ──finish_part──▶ held ──write──▶ file and index ──sync──▶ forgotten
//!            (being filled)           (complete; stays here until it is synced)
//! ```
//!
//! A part stays in memory until it is synced, so every unsynced record can be written again after any failure:
//! - The disk is full: the half-written piece is cut off, records go on into memory, and the same bytes are written
//!   later.
//! - A write or fsync failed: the segment is abandoned, and no further call goes to its file. After a failed fsync
//!   Linux may drop the pages and report success the next time. The unsynced records go into a new segment under the
//!   same seqs.
//! - Another program cut, lengthened, moved or removed the file: the same, after a check of its length and name
//!   before each write. If that happens again and again, records wait in memory for up to a minute, so that few files
//!   are made.
//! - Another program holds a file of the log (Windows): the same action is tried again after a pause, with the same
//!   bytes. An old segment that cannot be removed stays until a later attempt.
//!
//! The writer refuses a record when [`EVENTLOG_LOG_HELD_BYTES_MAX`] are in memory; the caller counts it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::eventlog::block::{self, Header};
use crate::eventlog::disk::{Disk, DiskFile};
use crate::eventlog::folder::{Lock, LogFiles};
use crate::eventlog::format::{EVENTLOG_RECORD_BYTES_MAX, UNIT_BYTES};
use crate::eventlog::index::IndexEntry;
use crate::eventlog::records::PartInfo;
use crate::eventlog::spec::{Fsync, LogSpec};
use crate::eventlog::{line, scan};
use crate::io::sharing;

mod encoder;
mod error;
mod index_file;
mod recover;
mod segments;

pub(crate) use error::{OpenError, WriteError};
pub(crate) use recover::Opening;

use encoder::PartEncoder;
use index_file::IndexFile;
use segments::failed;

/// Bytes of one log that stay in memory until they are synced. With more than half of this, a log is synced early.
pub(crate) const EVENTLOG_LOG_HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time between two syncs of a log by default: a crash of the machine may cost that much.
const EVENTLOG_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Upper bound of the doubling delay between attempts to write a segment after a failed fsync.
pub(crate) const EVENTLOG_ABANDON_RETRY_MAX: Duration = Duration::from_secs(60);
const _: () = assert!(EVENTLOG_RECORD_BYTES_MAX < EVENTLOG_LOG_HELD_BYTES_MAX);

/// Capacity of a part's buffer: a part, and one record more that is removed again if it does not fit.
const PART_CAPACITY: usize = UNIT_BYTES + 2048;
/// Entries that are written to the index at once: a single entry saves a reader little.
const INDEX_BATCH: usize = 16;

/// A log, open for writing. See the card of this file for the states of a record.
pub struct Writer {
    /// The settings, the paths, the disk and the lock of the log.
    spec: LogSpec,
    files: LogFiles,
    disk: Arc<dyn Disk>,
    lock: Lock,
    /// The youngest segment. `None`: the next write makes it.
    file: Option<Box<dyn DiskFile>>,
    /// Length that the file has if no other program wrote to it. `tail_unknown`: a failed write may have left more
    /// bytes.
    file_end: u64,
    tail_unknown: bool,
    /// The action on the file at the log's name before a new file takes that name.
    retire: Retire,
    /// Highest number in use: that of a rotated segment, or of another program's file that took the next name.
    last_number: u64,
    /// Time at which more old segments are to be removed. `None`: there are no more.
    removing: Option<Instant>,
    /// True if names in the folder changed since the folder was synced.
    folder_changed: bool,
    index: IndexFile,
    /// Complete parts that are not synced yet, oldest first, and the sum of their bytes.
    held: VecDeque<HeldPart>,
    held_len: usize,
    /// The part that is being filled; `None` before its first record.
    current: Option<Current>,
    encoder: PartEncoder,
    /// Position of the next part.
    next: NextPart,
    /// Seqs of the next record to append, to write, and to sync. Always `synced_seq <= written_seq <= next_seq`.
    next_seq: u64,
    written_seq: u64,
    synced_seq: u64,
    /// Seq of the first record in the segment on disk.
    segment_first_seq: u64,
    counts: Counts,
    /// Time of the last attempt to sync.
    last_sync: Instant,
    retry: Retry,
    changes: Changes,
    /// Source of random segment ids.
    random: RandomState,
    /// Buffers of synced parts, for the next parts.
    spare: Vec<Vec<u8>>,
}

/// Events since the last [`Writer::take_counts`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records that reached the file for the first time.
    pub(crate) written: u64,
    /// Bytes written to segments.
    pub(crate) bytes: u64,
    /// Segments that were renamed to a number.
    pub(crate) rotations: u64,
    /// Failed syncs of a file or a folder.
    pub(crate) fsync_errors: u64,
    /// Failed writes to a segment.
    pub(crate) write_errors: u64,
    /// Records written again, into the segment behind an abandoned one.
    pub(crate) rewritten: u64,
    /// Failed calls for an index or for the list of rotated segments, which readers can do without.
    pub(crate) index_errors: u64,
    /// Times that another program had cut, lengthened, moved or removed the file.
    pub(crate) changed: u64,
    /// Attempts that failed as another program held a file of the log.
    pub(crate) held: u64,
}

/// The action on the file at the log's name before a new one takes that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retire {
    /// None: there is no file, or the segment continues.
    Nothing,
    /// Rotate it: rename it to the next number.
    Rename,
    /// Remove it: none of its records was ever synced, and all of them are still in memory. The length and the id of the
    /// segment tell it from a file that takes its name before it is removed.
    Remove { bytes: u64, id: u64 },
}

/// A complete part that waits in memory until it is written and synced.
struct HeldPart {
    at: PartAt,
    info: PartInfo,
    bytes: Vec<u8>,
    /// True if all its bytes are written and its entry was added to the index.
    indexed: bool,
}

/// The part that is being filled; the encoder has its bytes.
struct Current {
    at: PartAt,
}

/// The position of a part in its segment, and the progress of writing it.
#[derive(Debug, Clone, Copy)]
struct PartAt {
    offset: u64,
    /// Id of the segment that the part begins; `None` if it continues one.
    begins_segment: Option<u64>,
    /// Number of its bytes that are in the file.
    written: usize,
}

/// Position of the next part that begins.
#[derive(Debug, Clone, Copy)]
struct NextPart {
    segment: u64,
    offset: u64,
    begins_segment: bool,
}

/// The pause after a failure. It doubles with each segment that is abandoned in a row.
#[derive(Default)]
struct Retry {
    not_before: Option<Instant>,
    pause: Duration,
    /// The failure: another program held a file.
    is_held: bool,
}

/// The pause after a change by another program. It doubles if the changes go on.
#[derive(Default)]
struct Changes {
    last: Option<Instant>,
    /// Time before which no new file is made, unless many records wait.
    not_before: Option<Instant>,
    pause: Duration,
}

/// The reason why a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// The records that wait in memory for the disk have reached their limit.
    Full,
    /// The record is too long for any block.
    TooLarge,
}

impl Writer {
    /// Opens the log for writing: makes its folder, locks it, and finds its end. The time depends on the length of
    /// the log; [`Opening`] does the same in steps.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, spec: LogSpec, now: Instant) -> Result<Writer, OpenError> {
        let mut opening = Opening::begin(disk, root, spec, now)?;
        while !opening.step()? {}
        Ok(*opening.finish())
    }

    pub(crate) fn spec(&self) -> &LogSpec {
        &self.spec
    }

    /// Changes the settings for the future. The format stays: another format needs another segment, hence another
    /// writer.
    pub(crate) fn set_spec(&mut self, spec: LogSpec) {
        self.spec = LogSpec { format: self.spec.format, ..spec };
    }

    /// Encodes a record into memory. [`Writer::advance`] writes it.
    #[optimize(speed)]
    pub fn append(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> Result<(), AppendError> {
        if self.held_bytes() + channel.len() + payload.len() > EVENTLOG_LOG_HELD_BYTES_MAX {
            return Err(AppendError::Full);
        }
        self.encode(time_ms, channel, payload)?;
        self.next_seq += 1;
        Ok(())
    }

    /// Bytes in memory that are not synced yet.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_len + self.encoder.len()
    }

    /// Number of records that are only in memory.
    pub(crate) fn unwritten(&self) -> u64 {
        self.next_seq.saturating_sub(self.written_seq)
    }

    /// Returns the counts and resets them.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// True if a complete part waits to be written.
    pub fn wants_write(&self) -> bool {
        self.held.back().is_some_and(|part| !part.indexed)
    }

    /// Makes the writes that are due: complete parts, or with `everything` all records. Syncs as the log's settings
    /// say. After a failure it does nothing until the pause is over.
    pub fn advance(&mut self, now: Instant, everything: bool) -> Result<(), WriteError> {
        if self.is_pausing(now) || self.lets_others_finish(now) {
            return Ok(());
        }
        let due = match self.spec.fsync {
            Fsync::Always => everything,
            Fsync::EverySecond => {
                let overdue = now.saturating_duration_since(self.last_sync) >= EVENTLOG_SYNC_INTERVAL;
                overdue || self.held_bytes() > EVENTLOG_LOG_HELD_BYTES_MAX / 2
            }
            Fsync::Never => false,
        };
        if self.removing.is_some_and(|at| at <= now) {
            self.remove_oldest(now);
        }
        let result = if due && self.has_unsynced() { self.sync(now) } else { self.write(now, everything) };
        self.note(now, result)
    }

    /// Writes and syncs everything at once, without regard to the settings and the pauses.
    pub fn sync_now(&mut self, now: Instant) -> Result<(), WriteError> {
        self.changes = Changes::default();
        let result = self.sync(now);
        self.note(now, result)
    }

    /// Writes everything, and syncs it unless the settings say never. This is the last call before the log is closed.
    pub fn finish(&mut self, now: Instant) -> Result<(), WriteError> {
        self.changes = Changes::default();
        let result = match self.spec.fsync {
            Fsync::Always | Fsync::EverySecond => self.sync(now),
            Fsync::Never => self.write(now, true),
        };
        if result.is_err() {
            // A second attempt, into a new segment if necessary: there is no later one.
            self.note(now, result).or_else(|_| self.sync_now(now))?;
        }
        self.index.end();
        Ok(())
    }

    /// True during the pause after a failure.
    pub(crate) fn is_pausing(&self, now: Instant) -> bool {
        self.retry.not_before.is_some_and(|at| now < at)
    }

    /// True if the last attempt failed: records wait in memory until one succeeds.
    pub(crate) fn has_failed(&self) -> bool {
        self.retry.not_before.is_some()
    }

    /// True if the last attempt failed because another program held a file of the log.
    pub(crate) fn is_held(&self) -> bool {
        self.retry.is_held
    }

    /// Time at which [`Writer::advance`] has work again. `None`: not before the next record.
    pub(crate) fn due(&self) -> Option<Instant> {
        let pause_end = self.retry.not_before.max(self.changes.not_before.filter(|_| self.file.is_none()));
        if let Some(at) = pause_end.filter(|_| self.unwritten() > 0 || self.has_unsynced()) {
            return Some(at);
        }
        let sync_due = match self.spec.fsync {
            Fsync::EverySecond if self.has_unsynced() => Some(self.last_sync + EVENTLOG_SYNC_INTERVAL),
            _ => None,
        };
        sync_due.into_iter().chain(self.removing).min()
    }

    /// True if there are records that a crash of the machine would take.
    fn has_unsynced(&self) -> bool {
        self.synced_seq < self.next_seq
    }

    // ---- encoding -------------------------------------------------------------------------------------------

    /// Encodes a record into the current part, or into a new one if it does not fit.
    #[optimize(speed)]
    fn encode(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> Result<(), AppendError> {
        let seq = self.next_seq;
        match &mut self.encoder {
            PartEncoder::Blocks(encoder) => {
                if self.current.is_some() && encoder.append(time_ms, channel, payload) {
                    return Ok(());
                }
                self.encode_into_new_block(time_ms, channel, payload)
            }
            PartEncoder::Lines(lines) => {
                lines.render(time_ms, seq, channel, payload);
                let (line_len, part_len) = (lines.line.len(), lines.bytes.len());
                if part_len >= line::PART_BYTES {
                    self.finish_part();
                }
                self.begin_lines(line_len);
                if let PartEncoder::Lines(lines) = &mut self.encoder {
                    lines.take(time_ms, seq);
                }
                Ok(())
            }
        }
    }

    /// Ends the current block and encodes the record into a new one: a block of one unit or, if the record is too
    /// long for it, a longer block in which the payload is not taken apart.
    fn encode_into_new_block(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> Result<(), AppendError> {
        let span = block::span_for(channel, payload).ok_or(AppendError::TooLarge)?;
        self.finish_part();
        self.begin_block(1, time_ms);
        let PartEncoder::Blocks(encoder) = &mut self.encoder else { return Err(AppendError::TooLarge) };
        if encoder.append(time_ms, channel, payload) {
            return Ok(());
        }
        self.begin_block(span, time_ms);
        let PartEncoder::Blocks(encoder) = &mut self.encoder else { return Err(AppendError::TooLarge) };
        let is_json = scan::normalise(payload, &mut Vec::new()).is_some();
        if encoder.append_verbatim(time_ms, channel, payload, is_json) {
            return Ok(());
        }
        self.current = None;
        Err(AppendError::TooLarge)
    }

    /// Begins a block at the end of the segment, or in a new segment if it would not fit there.
    fn begin_block(&mut self, span: u8, base_ms: u64) {
        let bytes = u64::from(span) * UNIT_BYTES as u64;
        self.make_room(bytes);
        let NextPart { segment, offset, begins_segment } = self.next;
        // `make_room` keeps the length of a segment below the units that 32 bits count.
        let unit = (offset / UNIT_BYTES as u64) as u32;
        let header = Header { span, segment, first_seq: self.next_seq, base_ms, unit };
        let buffer = self.buffer();
        if let PartEncoder::Blocks(encoder) = &mut self.encoder {
            encoder.begin(header, buffer);
        }
        let begins_segment = begins_segment.then_some(segment);
        self.current = Some(Current { at: PartAt { offset, begins_segment, written: 0 } });
    }

    /// Begins a part for a line of this length, unless the current part has room for it.
    fn begin_lines(&mut self, line_len: usize) {
        let open = match (&self.current, &self.encoder) {
            (Some(current), PartEncoder::Lines(lines)) => Some(current.at.offset + lines.bytes.len() as u64),
            _ => None,
        };
        match open {
            Some(end) if end + line_len as u64 <= self.spec.max_bytes => return,
            Some(_) => self.finish_part(),
            None => {}
        }
        self.make_room(line_len as u64);
        let buffer = self.buffer();
        if let PartEncoder::Lines(lines) = &mut self.encoder {
            lines.bytes = buffer;
        }
        let NextPart { offset, begins_segment, .. } = self.next;
        if begins_segment && let PartEncoder::Lines(lines) = &self.encoder {
            self.next.segment = line::segment_id(&lines.line).unwrap_or(0);
        }
        let begins_segment = begins_segment.then_some(self.next.segment);
        self.current = Some(Current { at: PartAt { offset, begins_segment, written: 0 } });
    }

    /// An empty buffer for a part, from the spare ones if possible.
    fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(PART_CAPACITY));
        buffer.clear();
        buffer
    }

    /// Lets the next part begin a new segment if this one would become too long with it.
    fn make_room(&mut self, bytes: u64) {
        let unit_max = u64::from(u32::MAX) * UNIT_BYTES as u64;
        if self.next.offset > 0 && self.next.offset + bytes > self.spec.max_bytes.min(unit_max) {
            self.begin_segment();
        }
    }

    /// Lets the next part begin a new segment with a random id.
    fn begin_segment(&mut self) {
        // The id 0 stands for a segment without an id.
        let segment = self.random.hash_one((Instant::now(), self.next_seq)).max(1);
        self.next = NextPart { segment, offset: 0, begins_segment: true };
    }

    /// Moves the current part to the complete ones, unless it is empty.
    fn finish_part(&mut self) {
        let Some(Current { at }) = self.current.take() else { return };
        let info = self.encoder.info();
        if info.records == 0 {
            return;
        }
        let bytes = self.encoder.finish();
        self.next.offset = at.offset + bytes.len() as u64;
        self.next.begins_segment = false;
        self.held_len += bytes.len();
        self.held.push_back(HeldPart { at, info, bytes, indexed: false });
    }

    // ---- writing --------------------------------------------------------------------------------------------

    /// Writes all complete parts, and with `everything` the current one as well.
    fn write(&mut self, now: Instant, everything: bool) -> Result<(), WriteError> {
        if self.has_unsynced() {
            self.notice_changes(now)?;
            if self.lets_others_finish(now) {
                return Ok(());
            }
        }
        for number in 0..self.held.len() {
            let Some(mut part) = self.held.get_mut(number).map(std::mem::take) else { break };
            let result = self.write_part(&mut part.at, part.info.first_seq, &part.bytes, now);
            let next_seq = part.info.first_seq + part.info.records;
            if result.is_ok() && !part.indexed {
                self.wrote_up_to(next_seq);
                part.indexed = true;
                let bytes = part.bytes.len() as u32;
                self.index.add(&IndexEntry { offset: part.at.offset, bytes, info: part.info });
            }
            if let Some(slot) = self.held.get_mut(number) {
                *slot = part;
            }
            result?;
        }
        // The line end that a part may lack waits for a record: only then is the file looked at for changes of others.
        if everything
            && self.has_unsynced()
            && let Some(mut current) = self.current.take()
        {
            let (sealed, info) = (self.encoder.seal(), self.encoder.info());
            let result = self.write_part(&mut current.at, info.first_seq, &sealed, now);
            let next_seq = info.first_seq + info.records;
            self.encoder.restore(sealed);
            self.current = Some(current);
            result?;
            self.wrote_up_to(next_seq);
        }
        if everything || self.index.waiting() >= INDEX_BATCH {
            self.index.flush();
        }
        self.counts.index_errors += self.index.take_errors();
        if self.spec.fsync == Fsync::Never {
            self.synced_seq = self.written_seq;
            self.drop_synced();
        }
        Ok(())
    }

    /// Counts the records below `next_seq` that were not written before.
    fn wrote_up_to(&mut self, next_seq: u64) {
        self.counts.written += next_seq.saturating_sub(self.written_seq);
        self.written_seq = self.written_seq.max(next_seq);
    }

    /// Writes the unwritten bytes of a part. If the write fails, its bytes are cut off again, so that no half record
    /// stays.
    fn write_part(&mut self, at: &mut PartAt, first_seq: u64, bytes: &[u8], now: Instant) -> Result<(), WriteError> {
        if at.written == bytes.len() {
            return Ok(());
        }
        if let Some(segment) = at.begins_segment.filter(|_| at.written == 0) {
            self.make_segment(segment, first_seq, now)?;
            at.begins_segment = None;
        }
        let path = self.files.active();
        let Some(file) = &mut self.file else {
            return Err(failed("write", path, io::ErrorKind::NotFound.into()));
        };
        let start = at.offset + at.written as u64;
        let rest = bytes.get(at.written..).unwrap_or_default();
        if let Err(err) = write_all(file.as_mut(), rest, start) {
            self.counts.write_errors += 1;
            return match file.set_len(start) {
                Ok(()) => Err(failed("write", path, err)),
                Err(second) => {
                    // The next attempt cuts the file first.
                    self.tail_unknown = true;
                    // The kind tells whether another attempt makes sense, as the codes of the two do.
                    let is_in_use = sharing::is_in_use(&err) || sharing::is_in_use(&second);
                    let kind = if is_in_use { io::ErrorKind::ResourceBusy } else { err.kind() };
                    let both = io::Error::new(kind, format!("{err}; {second}"));
                    Err(failed("write, then shorten", path, both))
                }
            };
        }
        self.counts.bytes += rest.len() as u64;
        at.written = bytes.len();
        self.file_end = start + rest.len() as u64;
        Ok(())
    }
}

impl Default for HeldPart {
    fn default() -> HeldPart {
        let at = PartAt { offset: 0, begins_segment: None, written: 0 };
        HeldPart { at, info: PartInfo::default(), bytes: Vec::new(), indexed: false }
    }
}

/// Writes all bytes at this offset. A write of zero bytes is an error, since it would repeat without an end.
fn write_all(file: &mut dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = bytes.get(written..).unwrap_or_default();
                offset += written as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
