//! Writes one log. Runs on `rt-files`; owns the youngest segment, its index, the lock of the log, and the records in
//! memory that are not safe yet.
//!
//! Records are encoded into **parts** in memory at once and written part by part: a binary block, or some 32 KiB of
//! lines. A part stays in memory until it is synced. So whatever the disk does, what was not safe is still here:
//! - full: the half-written piece is cut off, records go on into memory, the same bytes are tried again later;
//! - an fsync or write that failed: the segment is abandoned, nobody asks that file again, and what was not safe is
//!   written into a new one under the same numbers.
//!
//! Refuses a record when [`EVENTLOG_LOG_HELD_BYTES_MAX`] are in memory already; who calls counts that.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{EVENTLOG_ABANDON_RETRY_MAX, EVENTLOG_LOG_HELD_BYTES_MAX, EVENTLOG_RETRY, EVENTLOG_SYNC_INTERVAL};
use crate::eventlog::block::{self, Header, UNIT_BYTES};
use crate::eventlog::disk::{Disk, DiskFile};
use crate::eventlog::folder::{self, Lock, Place};
use crate::eventlog::index::Entry;
use crate::eventlog::segment::SegmentError;
use crate::eventlog::{Filter, Format, Fsync, LogSpec, PartInfo, Record, Records, line, reader, scan};

mod index_file;
mod recover;

use index_file::IndexFile;

/// Memory for a part and a record more, which is taken back when it did not fit.
const PART_CAPACITY: usize = UNIT_BYTES + 2048;
/// Written to the index at once: an entry is worth little alone.
const INDEX_BATCH: usize = 16;

/// A log, open for writing.
pub struct Writer {
    spec: LogSpec,
    place: Place,
    disk: Arc<dyn Disk>,
    _lock: Lock,
    /// The youngest segment. `None`: the next write makes one.
    file: Option<Box<dyn DiskFile>>,
    /// What is to become of the file at the log's name before a new one takes it.
    retire: Retire,
    /// Number of the last rotated segment.
    last_number: u64,
    /// Names were changed in the folder since it was synced.
    folder_changed: bool,
    index: IndexFile,
    /// Complete parts that are not safe yet, oldest first.
    held: VecDeque<Part>,
    held_len: usize,
    /// The part that is being filled.
    current: Option<Current>,
    encoder: Encoder,
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
    random: RandomState,
    spare: Vec<Vec<u8>>,
}

/// What happened since the last [`Writer::take_counts`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Records that reached the file for the first time.
    pub written: u64,
    pub bytes: u64,
    pub rotations: u64,
    pub fsync_errors: u64,
    pub write_errors: u64,
    /// Records written once more, into the segment after one that was abandoned.
    pub rewritten: u64,
    /// What could not be done for an index, which readers do without.
    pub index_errors: u64,
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
struct Part {
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

/// Both formats behind the few calls that the writer makes.
enum Encoder {
    Blocks(Box<block::Encoder>),
    Lines(Lines),
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    info: PartInfo,
    line: Vec<u8>,
    scratch: Vec<u8>,
}

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As much waits in memory for the disk as may.
    Full,
    /// No block is long enough.
    TooLarge,
}

impl Writer {
    /// Opens the log for writing: makes its folder, locks it, finds its end.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, spec: LogSpec, now: Instant) -> Result<Writer, OpenError> {
        let place = Place::below(root, &spec.path);
        recover::open(disk, place, spec, now)
    }

    pub fn spec(&self) -> &LogSpec {
        &self.spec
    }

    /// Takes other settings for what comes. The format stays: another one needs another segment, so another writer.
    pub fn set_spec(&mut self, spec: LogSpec) {
        self.spec = LogSpec { format: self.spec.format, ..spec };
    }

    /// Encodes a record into memory. Writes nothing: see [`Writer::advance`].
    pub fn append(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        if self.held_bytes() + channel.len() + payload.len() > EVENTLOG_LOG_HELD_BYTES_MAX {
            return Err(Refusal::Full);
        }
        self.encode(time_ms, channel, payload)?;
        self.next_seq += 1;
        Ok(())
    }

    /// Bytes in memory that are not safe yet.
    pub fn held_bytes(&self) -> usize {
        self.held_len + self.encoder.len()
    }

    /// Records that are in memory only.
    pub fn unwritten(&self) -> u64 {
        self.next_seq.saturating_sub(self.written_seq)
    }

    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// True if a complete part waits to be written.
    pub fn wants_write(&self) -> bool {
        self.held.back().is_some_and(|part| !part.indexed)
    }

    /// Does what is due: writes complete parts, or all there is if `everything`; syncs as the log's policy says.
    /// After a failure nothing is tried until its pause is over.
    pub fn advance(&mut self, now: Instant, everything: bool) -> Result<(), WriteError> {
        if self.retry.not_before.is_some_and(|at| now < at) {
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
        let result = if due && self.has_unsynced() { self.sync(now) } else { self.write(everything) };
        self.note(now, result)
    }

    /// Writes and syncs everything, whatever the policy and the pause.
    pub fn sync_now(&mut self, now: Instant) -> Result<(), WriteError> {
        let result = self.sync(now);
        self.note(now, result)
    }

    /// Writes everything, and syncs it unless the log is never synced: the last call before it is closed.
    pub fn finish(&mut self, now: Instant) -> Result<(), WriteError> {
        let result = match self.spec.fsync {
            Fsync::Always | Fsync::EverySecond => self.sync(now),
            Fsync::Never => self.write(true),
        };
        if result.is_err() {
            // Once more, into a new segment if that is what it takes: there is no later.
            self.note(now, result).or_else(|_| self.sync_now(now))?;
        }
        self.index.end();
        Ok(())
    }

    /// A failure was not long ago, and nothing is tried yet.
    pub fn is_pausing(&self, now: Instant) -> bool {
        self.retry.not_before.is_some_and(|at| now < at)
    }

    /// When [`Writer::advance`] has something to do again. `None`: not before the next record.
    pub fn due(&self) -> Option<Instant> {
        if let Some(at) = self.retry.not_before.filter(|_| self.unwritten() > 0 || self.has_unsynced()) {
            return Some(at);
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

    fn encode(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        let seq = self.next_seq;
        match &mut self.encoder {
            Encoder::Blocks(encoder) => {
                if self.current.is_some() && encoder.append(time_ms, channel, payload) {
                    return Ok(());
                }
                self.encode_into_new_block(time_ms, channel, payload)
            }
            Encoder::Lines(lines) => {
                lines.render(time_ms, seq, channel, payload);
                let (line_len, part_len) = (lines.line.len(), lines.bytes.len());
                if part_len >= line::PART_BYTES {
                    self.finish_part();
                }
                self.begin_lines(line_len);
                if let Encoder::Lines(lines) = &mut self.encoder {
                    lines.take(time_ms, seq);
                }
                Ok(())
            }
        }
    }

    fn encode_into_new_block(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        let span = block::span_for(channel, payload).ok_or(Refusal::TooLarge)?;
        self.finish_part();
        self.begin_block(1, time_ms);
        let Encoder::Blocks(encoder) = &mut self.encoder else { return Err(Refusal::TooLarge) };
        if encoder.append(time_ms, channel, payload) {
            return Ok(());
        }
        self.begin_block(span, time_ms);
        let Encoder::Blocks(encoder) = &mut self.encoder else { return Err(Refusal::TooLarge) };
        let is_json = scan::normalise(payload, &mut Vec::new()).is_some();
        match encoder.append_verbatim(time_ms, channel, payload, is_json) {
            true => Ok(()),
            false => {
                self.current = None;
                Err(Refusal::TooLarge)
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
        if let Encoder::Blocks(encoder) = &mut self.encoder {
            encoder.begin(header, buffer);
        }
        let begins_segment = begins_segment.then_some(segment);
        self.current = Some(Current { at: PartAt { offset, begins_segment, written: 0 } });
    }

    /// Begins a part for a line of this length, unless one is open and has the room.
    fn begin_lines(&mut self, line_len: usize) {
        let open = match (&self.current, &self.encoder) {
            (Some(current), Encoder::Lines(lines)) => Some(current.at.offset + lines.bytes.len() as u64),
            _ => None,
        };
        match open {
            Some(end) if end + line_len as u64 <= self.spec.max_bytes => return,
            Some(_) => self.finish_part(),
            None => {}
        }
        self.place_part(line_len as u64);
        let buffer = self.buffer();
        if let Encoder::Lines(lines) = &mut self.encoder {
            lines.bytes = buffer;
        }
        let NextPart { offset, begins_segment, .. } = self.next;
        if begins_segment && let Encoder::Lines(lines) = &self.encoder {
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
        self.held.push_back(Part { at, info, bytes, indexed: false });
    }

    // ---- writing --------------------------------------------------------------------------------------------

    /// Writes complete parts, or all there is.
    fn write(&mut self, everything: bool) -> Result<(), WriteError> {
        for number in 0..self.held.len() {
            let Some(mut part) = self.held.get_mut(number).map(std::mem::take) else { break };
            let result = self.write_part(&mut part.at, part.info.first_seq, &part.bytes);
            let next_seq = part.info.first_seq + part.info.records;
            if result.is_ok() && !part.indexed {
                self.wrote_up_to(next_seq);
                part.indexed = true;
                let bytes = part.bytes.len() as u32;
                self.index.add(&Entry { offset: part.at.offset, bytes, info: part.info });
            }
            if let Some(place) = self.held.get_mut(number) {
                *place = part;
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
        let path = self.place.active().to_owned();
        let fail = |action, err| WriteError { action, path: path.clone(), err };
        let Some(file) = &mut self.file else {
            return Err(fail("write", io::ErrorKind::NotFound.into()));
        };
        let start = at.offset + at.written as u64;
        let rest = bytes.get(at.written..).unwrap_or_default();
        if let Err(err) = write_all(file.as_mut(), rest, start) {
            self.counts.write_errors += 1;
            // Should this fail too, the next attempt writes over what is there.
            return match file.set_len(start) {
                Ok(()) => Err(fail("write", err)),
                Err(second) => Err(fail("write, then shorten", io::Error::new(err.kind(), format!("{err}; {second}")))),
            };
        }
        self.counts.bytes += rest.len() as u64;
        at.written = bytes.len();
        Ok(())
    }

    // ---- segments -------------------------------------------------------------------------------------------

    /// Puts a new file at the log's name, and the one before it aside. Can be called again after a failure.
    fn make_segment(&mut self, segment: u64, first_seq: u64) -> Result<(), WriteError> {
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
    fn sync(&mut self, now: Instant) -> Result<(), WriteError> {
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

    fn sync_file(&mut self) -> Result<(), WriteError> {
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
    fn forget_safe(&mut self) {
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
    fn note(&mut self, now: Instant, result: Result<(), WriteError>) -> Result<(), WriteError> {
        let Err(err) = result else {
            self.retry = Retry::default();
            return Ok(());
        };
        // Full is no fault of the file, nor is a name that could not be changed.
        if self.file.is_some() && !folder::is_full(&err.err) || err.action == "sync" {
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
    fn abandon(&mut self, retire: Retire) {
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

impl Encoder {
    fn new(format: Format) -> Encoder {
        match format {
            Format::Binary => Encoder::Blocks(Box::new(block::Encoder::new())),
            Format::Json => Encoder::Lines(Lines::default()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Encoder::Blocks(encoder) => encoder.len(),
            Encoder::Lines(lines) => lines.bytes.len(),
        }
    }

    fn info(&self) -> PartInfo {
        match self {
            Encoder::Blocks(encoder) => *encoder.info(),
            Encoder::Lines(lines) => lines.info,
        }
    }

    /// The bytes of the part so far, ready to be written; to be given back by [`Encoder::restore`].
    fn seal(&mut self) -> Vec<u8> {
        match self {
            Encoder::Blocks(encoder) => encoder.seal(),
            Encoder::Lines(lines) => std::mem::take(&mut lines.bytes),
        }
    }

    fn restore(&mut self, bytes: Vec<u8>) {
        match self {
            Encoder::Blocks(encoder) => encoder.restore(bytes),
            Encoder::Lines(lines) => lines.bytes = bytes,
        }
    }

    /// Ends the part: its bytes.
    fn finish(&mut self) -> Vec<u8> {
        match self {
            Encoder::Blocks(encoder) => encoder.finish(),
            Encoder::Lines(lines) => {
                lines.info = PartInfo::default();
                std::mem::take(&mut lines.bytes)
            }
        }
    }

    /// Reads back what this encoder has written.
    fn decode(&self, bytes: &[u8], filter: &Filter<'_>, records: &mut Records) {
        match (self, Header::read(bytes)) {
            (Encoder::Blocks(_), Ok((header, sum))) => {
                block::decode(bytes, &header, sum, filter, records);
            }
            (Encoder::Lines(_), _) => {
                line::decode(bytes, filter, records);
            }
            // Not of this encoder.
            (Encoder::Blocks(_), Err(_)) => {}
        }
    }
}

impl Lines {
    /// Makes the line of a record, to be taken or not.
    fn render(&mut self, time_ms: u64, seq: u64, channel: &[u8], payload: &[u8]) {
        self.line.clear();
        line::push(&mut self.line, &Record { time_ms, seq, channel, payload, raw: false }, &mut self.scratch);
    }

    fn take(&mut self, time_ms: u64, seq: u64) {
        if self.info.records == 0 {
            self.info.first_seq = seq;
        }
        self.info.add(time_ms);
        self.bytes.extend_from_slice(&self.line);
    }
}

impl Default for Part {
    fn default() -> Part {
        let at = PartAt { offset: 0, begins_segment: None, written: 0 };
        Part { at, info: PartInfo::default(), bytes: Vec::new(), indexed: false }
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

/// Why a log cannot be written.
#[derive(Debug)]
pub enum OpenError {
    InUse { path: PathBuf, pid: Option<u32> },
    Io { path: PathBuf, err: io::Error },
    Foreign { path: PathBuf, found: Vec<u8> },
    Newer { path: PathBuf, version: u8 },
    Spec { path: PathBuf, reason: String },
}

impl OpenError {
    fn of(path: &Path, err: SegmentError) -> OpenError {
        let path = path.to_owned();
        match err {
            SegmentError::Io(err) => OpenError::Io { path, err },
            SegmentError::Foreign(found) => OpenError::Foreign { path, found },
            SegmentError::Newer(version) => OpenError::Newer { path, version },
        }
    }

    /// The disk is full, and may not be for long.
    pub fn is_full(&self) -> bool {
        matches!(self, OpenError::Io { err, .. } if folder::is_full(err))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (OpenError::InUse { path, .. }
        | OpenError::Io { path, .. }
        | OpenError::Foreign { path, .. }
        | OpenError::Newer { path, .. }
        | OpenError::Spec { path, .. }) = self;
        write!(f, "cannot open event log `{}`: ", path.display())?;
        match self {
            OpenError::InUse { pid: Some(pid), .. } => write!(f, "in use by process {pid}"),
            OpenError::InUse { pid: None, .. } => f.write_str("in use by another process"),
            OpenError::Io { err, .. } => write!(f, "{err}"),
            OpenError::Foreign { found, .. } => write!(f, "starts with {}, not an event log", reader::hex(found)),
            OpenError::Newer { version, .. } => write!(f, "written in format {version}, known are 1 to 1"),
            OpenError::Spec { reason, .. } => f.write_str(reason),
        }
    }
}

impl std::error::Error for OpenError {}

/// What could not be done with the files of a log. Nothing is lost by it: see the card of this file.
#[derive(Debug)]
pub struct WriteError {
    action: &'static str,
    path: PathBuf,
    err: io::Error,
}

impl WriteError {
    pub fn is_full(&self) -> bool {
        folder::is_full(&self.err)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} event log `{}`: {}", self.action, self.path.display(), self.err)
    }
}

impl std::error::Error for WriteError {}

#[cfg(test)]
pub(crate) mod tests;
