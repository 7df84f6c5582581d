//! Writes one log. Runs on `rt-files`; owns the youngest segment, its index, the lock of the log, and the records in
//! memory that are not safe yet.
//!
//! Records are encoded into **parts** in memory at once and written part by part: a binary block, or some 32 KiB of
//! lines. A part stays in memory until it is synced. So whatever the disk does, what was not safe is still here:
//! - full: the half-written piece is cut off, records go on into memory, the same bytes are tried again later;
//! - an fsync or write that failed: the segment is abandoned, nobody asks that file again, and what was not safe is
//!   written into a new one under the same numbers;
//! - the file was cut, lengthened, moved or removed by another program: the same, after a look at its length and name
//!   before each write. If that goes on, records wait in memory for up to a minute, so that files stay few.
//!
//! Refuses a record when [`EVENTLOG_LOG_HELD_BYTES_MAX`] are in memory already; who calls counts that.

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

mod encoder;
mod error;
mod index_file;
mod recover;
mod segments;

pub(crate) use error::{OpenError, WriteError};
pub(crate) use recover::Opening;

use encoder::PartEncoder;
use index_file::IndexFile;

/// Records of one log that stay in memory until they are on disk. A log that reaches this is synced at once.
pub(crate) const EVENTLOG_LOG_HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often a log is synced by default: what a crash of the machine may cost.
const EVENTLOG_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Upper bound of the doubling delay between attempts to write a segment after a failed fsync.
pub(crate) const EVENTLOG_ABANDON_RETRY_MAX: Duration = Duration::from_secs(60);
const _: () = assert!(EVENTLOG_RECORD_BYTES_MAX < EVENTLOG_LOG_HELD_BYTES_MAX);

/// Memory for a part and a record more, which is taken back when it did not fit.
const PART_CAPACITY: usize = UNIT_BYTES + 2048;
/// Written to the index at once: an entry is worth little alone.
const INDEX_BATCH: usize = 16;

/// A log, open for writing.
pub struct Writer {
    spec: LogSpec,
    files: LogFiles,
    disk: Arc<dyn Disk>,
    lock: Lock,
    /// The youngest segment. `None`: the next write makes one.
    file: Option<Box<dyn DiskFile>>,
    /// How long the file is when nobody else wrote to it, and whether a failed write may have left more.
    file_end: u64,
    tail_unknown: bool,
    /// What is to become of the file at the log's name before a new one takes it.
    retire: Retire,
    /// Number of the last rotated segment.
    last_number: u64,
    /// More old segments are to be removed.
    removing: bool,
    /// Names were changed in the folder since it was synced.
    folder_changed: bool,
    index: IndexFile,
    /// Complete parts that are not safe yet, oldest first.
    held: VecDeque<HeldPart>,
    held_len: usize,
    /// The part that is being filled.
    current: Option<Current>,
    encoder: PartEncoder,
    /// Where the next part goes.
    next: NextPart,
    /// Number of the next record; of the next one to be written; of the next one to be safe.
    next_seq: u64,
    written_seq: u64,
    synced_seq: u64,
    /// Number of the first record of the segment on disk.
    segment_first_seq: u64,
    counts: Counts,
    last_sync: Instant,
    retry: Retry,
    changes: Changes,
    random: RandomState,
    spare: Vec<Vec<u8>>,
}

/// What happened since the last [`Writer::take_counts`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Records that reached the file for the first time.
    pub(crate) written: u64,
    pub(crate) bytes: u64,
    pub(crate) rotations: u64,
    pub(crate) fsync_errors: u64,
    pub(crate) write_errors: u64,
    /// Records written once more, into the segment after one that was abandoned.
    pub(crate) rewritten: u64,
    /// What could not be done for an index, or for the list of rotated files, which readers do without.
    pub(crate) index_errors: u64,
    /// How often another program had cut, lengthened, moved or removed the file.
    pub(crate) changed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retire {
    /// There is none, or it goes on.
    Nothing,
    Rename,
    /// Nothing in it was ever safe, and everything is still in memory.
    Remove,
}

/// A complete part in memory.
struct HeldPart {
    at: PartAt,
    info: PartInfo,
    bytes: Vec<u8>,
    /// The index has its entry.
    indexed: bool,
}

/// The part that is being filled; its bytes are with the encoder.
struct Current {
    at: PartAt,
}

/// Where a part belongs.
#[derive(Debug, Clone, Copy)]
struct PartAt {
    offset: u64,
    /// It begins a segment of this id.
    begins_segment: Option<u64>,
    /// How many of its bytes are in the file.
    written: usize,
}

#[derive(Debug, Clone, Copy)]
struct NextPart {
    segment: u64,
    offset: u64,
    begins_segment: bool,
}

#[derive(Default)]
struct Retry {
    not_before: Option<Instant>,
    pause: Duration,
}

/// Another program changed the file, perhaps not for the last time.
#[derive(Default)]
struct Changes {
    last: Option<Instant>,
    /// No new file is begun before this, unless much waits.
    not_before: Option<Instant>,
    pause: Duration,
}

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// As much waits in memory for the disk as may.
    Full,
    /// No block is long enough.
    TooLarge,
}

impl Writer {
    /// Opens the log for writing: makes its folder, locks it, finds its end. That takes as long as the log is large:
    /// [`Opening`] does it in steps.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, spec: LogSpec, now: Instant) -> Result<Writer, OpenError> {
        let mut opening = Opening::begin(disk, root, spec, now)?;
        while !opening.step()? {}
        Ok(opening.finish())
    }

    pub(crate) fn spec(&self) -> &LogSpec {
        &self.spec
    }

    /// Takes other settings for what comes. The format stays: another one needs another segment, so another writer.
    pub(crate) fn set_spec(&mut self, spec: LogSpec) {
        self.spec = LogSpec { format: self.spec.format, ..spec };
    }

    /// Encodes a record into memory. Writes nothing: see [`Writer::advance`].
    pub fn append(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> Result<(), AppendError> {
        if self.held_bytes() + channel.len() + payload.len() > EVENTLOG_LOG_HELD_BYTES_MAX {
            return Err(AppendError::Full);
        }
        self.encode(time_ms, channel, payload)?;
        self.next_seq += 1;
        Ok(())
    }

    /// Bytes in memory that are not safe yet.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_len + self.encoder.len()
    }

    /// Records that are in memory only.
    pub(crate) fn unwritten(&self) -> u64 {
        self.next_seq.saturating_sub(self.written_seq)
    }

    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// True if a complete part waits to be written.
    pub fn wants_write(&self) -> bool {
        self.held.back().is_some_and(|part| !part.indexed)
    }

    /// Does what is due: writes complete parts, or all there is if `everything`; syncs as the log's policy says.
    /// After a failure nothing is tried until its pause is over.
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
        if self.removing {
            self.remove_oldest();
        }
        let result = if due && self.has_unsynced() { self.sync(now) } else { self.write(now, everything) };
        self.note(now, result)
    }

    /// Writes and syncs everything, whatever the policy and the pauses.
    pub fn sync_now(&mut self, now: Instant) -> Result<(), WriteError> {
        self.changes = Changes::default();
        let result = self.sync(now);
        self.note(now, result)
    }

    /// Writes everything, and syncs it unless the log is never synced: the last call before it is closed.
    pub fn finish(&mut self, now: Instant) -> Result<(), WriteError> {
        self.changes = Changes::default();
        let result = match self.spec.fsync {
            Fsync::Always | Fsync::EverySecond => self.sync(now),
            Fsync::Never => self.write(now, true),
        };
        if result.is_err() {
            // Once more, into a new segment if that is what it takes: there is no later.
            self.note(now, result).or_else(|_| self.sync_now(now))?;
        }
        self.index.end();
        Ok(())
    }

    /// A failure was not long ago, and nothing is tried yet.
    pub(crate) fn is_pausing(&self, now: Instant) -> bool {
        self.retry.not_before.is_some_and(|at| now < at)
    }

    /// When [`Writer::advance`] has something to do again. `None`: not before the next record.
    pub(crate) fn due(&self) -> Option<Instant> {
        let pause_end = self.retry.not_before.max(self.changes.not_before.filter(|_| self.file.is_none()));
        if let Some(at) = pause_end.filter(|_| self.unwritten() > 0 || self.has_unsynced()) {
            return Some(at);
        }
        if self.removing {
            return Some(self.last_sync);
        }
        match self.spec.fsync {
            Fsync::EverySecond if self.has_unsynced() => Some(self.last_sync + EVENTLOG_SYNC_INTERVAL),
            _ => None,
        }
    }

    /// There are records that an end of the machine would take.
    fn has_unsynced(&self) -> bool {
        self.synced_seq < self.next_seq
    }

    // ---- encoding -------------------------------------------------------------------------------------------

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
        match encoder.append_verbatim(time_ms, channel, payload, is_json) {
            true => Ok(()),
            false => {
                self.current = None;
                Err(AppendError::TooLarge)
            }
        }
    }

    /// Begins a block at the end of the segment, or of a new one if it would not fit there.
    fn begin_block(&mut self, span: u8, base_ms: u64) {
        let bytes = u64::from(span) * UNIT_BYTES as u64;
        self.place_part(bytes);
        let NextPart { segment, offset, begins_segment } = self.next;
        // A segment's length is bounded by `max_bytes`, and its blocks by what 32 bits count.
        let unit = (offset / UNIT_BYTES as u64) as u32;
        let header = Header { span, segment, first_seq: self.next_seq, base_ms, unit };
        let buffer = self.buffer();
        if let PartEncoder::Blocks(encoder) = &mut self.encoder {
            encoder.begin(header, buffer);
        }
        let begins_segment = begins_segment.then_some(segment);
        self.current = Some(Current { at: PartAt { offset, begins_segment, written: 0 } });
    }

    /// Begins a part for a line of this length, unless one is open and has the room.
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
        self.place_part(line_len as u64);
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

    /// An empty buffer for a part.
    fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(PART_CAPACITY));
        buffer.clear();
        buffer
    }

    /// Has the next part begin a segment if it would take this one too far.
    fn place_part(&mut self, bytes: u64) {
        let unit_max = u64::from(u32::MAX) * UNIT_BYTES as u64;
        if self.next.offset > 0 && self.next.offset + bytes > self.spec.max_bytes.min(unit_max) {
            self.begin_segment();
        }
    }

    fn begin_segment(&mut self) {
        // 0 would mean that there is no id.
        let segment = self.random.hash_one((Instant::now(), self.next_seq)).max(1);
        self.next = NextPart { segment, offset: 0, begins_segment: true };
    }

    /// The part being filled is complete: it waits to be written, if there is anything in it.
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

    /// Writes complete parts, or all there is.
    fn write(&mut self, now: Instant, everything: bool) -> Result<(), WriteError> {
        if self.has_unsynced() {
            self.notice_changes(now)?;
            if self.lets_others_finish(now) {
                return Ok(());
            }
        }
        for number in 0..self.held.len() {
            let Some(mut part) = self.held.get_mut(number).map(std::mem::take) else { break };
            let result = self.write_part(&mut part.at, part.info.first_seq, &part.bytes);
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
        if everything && let Some(mut current) = self.current.take() {
            let (sealed, info) = (self.encoder.seal(), self.encoder.info());
            let result = self.write_part(&mut current.at, info.first_seq, &sealed);
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
            self.forget_safe();
        }
        Ok(())
    }

    fn wrote_up_to(&mut self, next_seq: u64) {
        self.counts.written += next_seq.saturating_sub(self.written_seq);
        self.written_seq = self.written_seq.max(next_seq);
    }

    /// Writes what is not written of a part. A piece that did not go through whole leaves nothing behind.
    fn write_part(&mut self, at: &mut PartAt, first_seq: u64, bytes: &[u8]) -> Result<(), WriteError> {
        if at.written == bytes.len() {
            return Ok(());
        }
        if let Some(segment) = at.begins_segment.filter(|_| at.written == 0) {
            self.make_segment(segment, first_seq)?;
            at.begins_segment = None;
        }
        let path = self.files.active().to_owned();
        let fail = |action, err| WriteError { action, path: path.clone(), err };
        let Some(file) = &mut self.file else {
            return Err(fail("write", io::ErrorKind::NotFound.into()));
        };
        let start = at.offset + at.written as u64;
        let rest = bytes.get(at.written..).unwrap_or_default();
        if let Err(err) = write_all(file.as_mut(), rest, start) {
            self.counts.write_errors += 1;
            return match file.set_len(start) {
                Ok(()) => Err(fail("write", err)),
                Err(second) => {
                    // The next attempt shortens it first.
                    self.tail_unknown = true;
                    Err(fail("write, then shorten", io::Error::new(err.kind(), format!("{err}; {second}"))))
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
