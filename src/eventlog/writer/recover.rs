//! Opens a log for writing where the last writer left it: after a proper end, a kill, or a crash of the machine. Runs
//! on `rt-files`, holds the log's lock throughout, and returns a [`Writer`]. It cuts off a torn tail, leaves damaged
//! bytes as they are, and repairs the index. A file that is no log is refused. A log may have any size and its index
//! may be gone, so the log is opened in steps of less than a millisecond as a rule.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::eventlog::chain::{Chain, Rotated};
use crate::eventlog::claims::Claims;
use crate::eventlog::disk::Disk;
use crate::eventlog::folder::{LogFiles, index_of};
use crate::eventlog::format::UNIT_BYTES;
use crate::eventlog::index::IndexEntry;
use crate::eventlog::records::{PartInfo, RecordFilter, Records};
use crate::eventlog::segment::{Finding, FindingKind, Part, PartRead, Segment, SegmentError};
use crate::eventlog::spec::{Format, LogSpec};
use crate::io::shown::shown;

use super::error::Refusal;
use super::index_file::IndexFile;
use super::{Changes, Counts, Current, NextPart, OpenError, PartAt, PartEncoder, Retire, Retry, Writer};

/// Highest seq that a log may continue from: half of the range leaves room without an overflow. Lines that somebody
/// edited may contain any number.
const SEQ_MAX: u64 = u64::MAX / 2;

/// A log that is being opened. Its lock is held already, so no other process writes it.
pub(crate) struct Opening {
    writer: Box<Writer>,
    stage: Stage,
    /// True if the lock file says that the module has written this log before.
    had_writer: bool,
    /// True if the log has rotated segments, which proves the same.
    has_rotated: bool,
    /// True if the lock file lists all rotated segments of the log.
    is_listed: bool,
    buffer: Vec<u8>,
}

/// Stages of opening a log.
///
/// ```text
/// Chain ──▶ Search ──▶ Tail ── record found ──▶ Index ──▶ Done      the youngest segment continues
///    │                   └──── no record ──┐
///    └── no youngest segment ──────────────┴▶ Older ──▶ OlderSearch ──▶ OlderTail ──▶ Done
///                                             ▲  └ no number left: the seqs begin at 1 ┘
///                                             └────────── no record ───────┘
/// ```
enum Stage {
    /// The search for the rotated segments, and the youngest segment.
    Chain(Box<Chain>, Option<Box<Segment>>),
    /// The parts of the youngest segment are searched, then its first record.
    Search(Box<Segment>),
    /// The parts of the youngest segment are read from the end until one has a record; this many are left.
    Tail(Box<Segment>, usize),
    /// The index is made anew: the entries so far, and the number of parts that need one.
    Index(Box<Segment>, Vec<IndexEntry>, usize),
    /// The youngest segment has no record. The rotated segments with these numbers are opened, the highest first, to
    /// learn the last seq.
    Older(Vec<u64>),
    /// The parts of a rotated segment are searched.
    OlderSearch(Box<Segment>, Vec<u64>),
    /// The parts of a rotated segment are read from the end.
    OlderTail(Box<Segment>, usize, Vec<u64>),
    Done,
}

impl Opening {
    /// Makes the folder of the log, locks the log, and opens its youngest segment.
    pub(crate) fn begin(disk: Arc<dyn Disk>, root: &Path, spec: LogSpec, now: Instant) -> Result<Opening, OpenError> {
        let files = LogFiles::below(root, &spec.path);
        let active = files.active().to_owned();
        Opening::lock(disk, files, spec, now).map_err(|reason| OpenError { path: active, reason })
    }

    fn lock(disk: Arc<dyn Disk>, files: LogFiles, spec: LogSpec, now: Instant) -> Result<Opening, Refusal> {
        spec.check().map_err(Refusal::Spec)?;
        files.make_folder(disk.as_ref())?;
        let lock = files.lock()?;
        files.check(files.active())?;
        files.check(&index_of(files.active()))?;
        let youngest = match Segment::open(files.active(), true) {
            Ok(segment) => Some(segment),
            Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(err.into()),
        };
        let claims = match lock.claims.clone() {
            // No writer was ever here, so none of the files belongs to the log.
            None if !lock.was_held && youngest.is_none() => Some(Claims::default()),
            claims => claims,
        };
        let chain = Box::new(Chain::begin(&files, claims)?);
        let encoder = PartEncoder::new(spec.format);
        let mut index = IndexFile::default();
        index.had_writer = lock.claims.is_some();
        let mut writer = Box::new(Writer {
            spec,
            files,
            disk,
            lock,
            file: None,
            file_end: 0,
            tail_unknown: false,
            retire: Retire::Nothing,
            last_number: 0,
            removing: None,
            folder_changed: true,
            index,
            held: VecDeque::new(),
            held_len: 0,
            current: None,
            encoder,
            next: NextPart { segment: 0, offset: 0, begins_segment: true },
            next_seq: 1,
            written_seq: 1,
            synced_seq: 1,
            segment_first_seq: 1,
            counts: Counts::default(),
            last_sync: now,
            retry: Retry::default(),
            changes: Changes::default(),
            random: RandomState::new(),
            spare: Vec::new(),
        });
        writer.begin_segment();
        let had_writer = writer.lock.claims.is_some();
        let stage = Stage::Chain(chain, youngest);
        Ok(Opening { writer, stage, had_writer, has_rotated: false, is_listed: had_writer, buffer: Vec::new() })
    }

    /// Makes one step. True once the log is open.
    pub(crate) fn step(&mut self) -> Result<bool, OpenError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Done);
        // An error names the file that the stage opens.
        let older = if let Stage::Older(numbers) = &stage { numbers.last().copied() } else { None };
        self.next_stage(stage).map_err(|reason| {
            let files = &self.writer.files;
            let path = older.map_or_else(|| files.active().to_owned(), |number| files.rotated(number));
            OpenError { path, reason }
        })
    }

    /// Makes one step of this stage. True once the log is open.
    fn next_stage(&mut self, stage: Stage) -> Result<bool, Refusal> {
        self.stage = match stage {
            Stage::Chain(mut chain, mut youngest) => {
                let rotated = chain.step(&self.writer.files, youngest.as_deref_mut(), &mut self.buffer)?;
                match (rotated, youngest) {
                    (None, youngest) => Stage::Chain(chain, youngest),
                    (Some(rotated), youngest) => {
                        self.claim(&rotated);
                        youngest.map_or_else(|| self.older(), Stage::Search)
                    }
                }
            }
            Stage::Search(mut youngest) => {
                let is_searched = youngest.search(&mut self.buffer)?;
                match if is_searched { youngest.first_seq(&mut self.buffer)? } else { None } {
                    None => Stage::Search(youngest),
                    Some(_) => {
                        let parts = youngest.parts.len();
                        Stage::Tail(youngest, parts)
                    }
                }
            }
            Stage::Tail(mut segment, left) => match self.read_tail(&mut segment, left)? {
                Tail::Found(part, number, found) => self.continue_segment(segment, part, number, *found)?,
                Tail::More(left) => Stage::Tail(segment, left),
                Tail::Nothing => {
                    self.retire_empty(&segment)?;
                    self.older()
                }
            },
            Stage::Index(segment, entries, complete) => self.index_part(segment, entries, complete)?,
            Stage::Older(numbers) => self.open_older(numbers)?,
            Stage::OlderSearch(mut segment, numbers) => {
                if segment.search(&mut self.buffer)? {
                    let parts = segment.parts.len();
                    Stage::OlderTail(segment, parts, numbers)
                } else {
                    Stage::OlderSearch(segment, numbers)
                }
            }
            Stage::OlderTail(mut segment, left, numbers) => match self.read_tail(&mut segment, left)? {
                Tail::Found(_, _, found) => self.continue_from(found.next_seq),
                Tail::More(left) => Stage::OlderTail(segment, left, numbers),
                Tail::Nothing => Stage::Older(numbers),
            },
            Stage::Done => Stage::Done,
        };
        let is_open = matches!(self.stage, Stage::Done);
        let last = self.writer.next_seq - 1;
        if last > SEQ_MAX {
            let reason = format!("its last record has number {last}, which no real log reaches: move the file away");
            return Err(Refusal::Spec(reason));
        }
        if is_open && !std::mem::replace(&mut self.is_listed, true) {
            // The list is written last: a file that could not be opened as a log does not become the module's by the
            // attempt.
            self.writer.claim(|_| {});
            if !self.had_writer {
                // Without this sync, a crash of the machine could leave a log that begins with zeros and no proof
                // that it is a log.
                self.writer.counts.index_errors += u64::from(self.writer.lock.sync().is_err());
            }
        }
        Ok(is_open)
    }

    /// The writer, once [`Opening::step`] returned true.
    pub(crate) fn finish(self) -> Box<Writer> {
        self.writer
    }

    /// Adds the adopted files to the list, and warns about foreign ones.
    fn claim(&mut self, rotated: &Rotated) {
        let writer = &mut self.writer;
        let claims = writer.lock.claims.get_or_insert_default();
        rotated.adopted.iter().for_each(|number| claims.push(*number));
        self.is_listed &= rotated.adopted.is_empty();
        self.has_rotated = !rotated.numbers.is_empty();
        writer.last_number = writer.lock.claims.as_ref().and_then(Claims::last).unwrap_or(0);
        if !rotated.foreign.is_empty() {
            let (count, active) = (rotated.foreign.len(), shown(writer.files.active()));
            log::warn!("{count} files beside the event log `{active}` have names like its own and are left alone");
        }
    }

    // ---- where the log continues ----------------------------------------------------------------------------

    /// Reads the last of the `left` parts.
    fn read_tail(&mut self, segment: &mut Segment, left: usize) -> io::Result<Tail> {
        let Some(number) = left.checked_sub(1) else { return Ok(Tail::Nothing) };
        let Some(part) = segment.parts.get(number).copied() else { return Ok(Tail::Nothing) };
        let found = segment.read(part, &RecordFilter::NONE, &mut Records::default(), &mut self.buffer)?;
        Ok(if found.info.records > 0 { Tail::Found(part, number, Box::new(found)) } else { Tail::More(number) })
    }

    /// Decides the fate of a youngest segment without a record: an error if nothing proves that it belongs to the
    /// log, else its removal, or a rotation if it has damage.
    fn retire_empty(&mut self, segment: &Segment) -> Result<(), Refusal> {
        if !self.had_writer && !self.has_rotated && segment.bytes > 0 {
            // The file begins like a log, but nothing proves that it is one: it may be any file that begins like
            // this.
            let head = segment.bytes_of(Part { offset: 0, end: segment.bytes.min(8), info: None })?;
            return Err(SegmentError::Foreign(head).into());
        }
        // Only damaged bytes are worth keeping: somebody may want to look into them.
        let is_kept = segment.findings.iter().any(|finding| finding.kind == FindingKind::Damaged);
        let removal = Retire::Remove { bytes: segment.bytes, id: segment.id };
        self.writer.retire = if is_kept { Retire::Rename } else { removal };
        Ok(())
    }

    /// Continues the youngest segment behind the last part that has a record, or in the next unit if damage follows.
    /// A segment of the other format is rotated instead.
    fn continue_segment(
        &mut self,
        mut segment: Box<Segment>,
        part: Part,
        number: usize,
        found: PartRead,
    ) -> io::Result<Stage> {
        let writer = &mut self.writer;
        let next_seq = found.next_seq;
        if segment.format != writer.spec.format {
            writer.retire = Retire::Rename;
            return Ok(self.continue_from(next_seq));
        }
        let mut file = writer.disk.open(writer.files.active())?;
        // The writer compares it with `synced_seq` to see whether any record of the segment was synced.
        writer.segment_first_seq = segment.first_seq(&mut self.buffer)?.flatten().unwrap_or(0);
        let whole_end = part.offset + found.whole_bytes;
        let is_damage = |finding: &Finding| finding.kind == FindingKind::Damaged && finding.offset >= whole_end;
        let complete = if segment.findings.iter().any(is_damage) {
            // Damaged bytes stay as they are, and nothing is written into their block or line.
            let offset = match segment.format {
                Format::Binary => segment.bytes.next_multiple_of(UNIT_BYTES as u64),
                Format::Json => segment.end_of_lines()?,
            };
            file.set_len(offset)?;
            writer.file_end = offset;
            writer.next = NextPart { segment: segment.id, offset, begins_segment: false };
            segment.parts.len()
        } else {
            // All bytes behind the last record are torn, or zeros that fill the block.
            if whole_end < segment.bytes {
                file.set_len(whole_end)?;
            }
            writer.file_end = whole_end;
            writer.next = NextPart { segment: segment.id, offset: part.offset, begins_segment: false };
            let written = writer.encoder.resume(segment.bytes_of(part)?, found);
            writer.current = Some(Current { at: PartAt { offset: part.offset, begins_segment: None, written } });
            number
        };
        writer.file = Some(file);
        // The index is good if it has an entry for each complete part; then it is continued, else replaced.
        let known = segment.parts.iter().take_while(|part| part.info.is_some()).count();
        let stage = self.continue_from(next_seq);
        if known > 0 && known >= complete {
            self.writer.index.resume(&segment.path, complete);
            return Ok(stage);
        }
        Ok(Stage::Index(segment, Vec::with_capacity(complete), complete))
    }

    /// Makes the entry of one more part, until the first `complete` parts have theirs. Then it writes the index.
    fn index_part(
        &mut self,
        mut segment: Box<Segment>,
        mut entries: Vec<IndexEntry>,
        complete: usize,
    ) -> io::Result<Stage> {
        let part = segment.parts.get(entries.len()).copied().filter(|_| entries.len() < complete);
        // An index ends before a gap.
        let Some(part) = part.filter(|part| part.offset == entries.last().map_or(0, IndexEntry::end)) else {
            self.writer.index.start(&segment.path, segment.id, &entries);
            return Ok(Stage::Done);
        };
        let info = match part.info {
            Some(info) => info,
            None => segment.read(part, &RecordFilter::NONE, &mut Records::default(), &mut self.buffer)?.info,
        };
        entries.push(IndexEntry { offset: part.offset, bytes: (part.end - part.offset) as u32, info });
        Ok(Stage::Index(segment, entries, complete))
    }

    /// The stage that looks for the last seq in the rotated segments.
    fn older(&self) -> Stage {
        Stage::Older(self.writer.lock.claims.iter().flat_map(Claims::iter).collect())
    }

    /// Opens the rotated segment with the highest number that is left.
    fn open_older(&mut self, mut numbers: Vec<u64>) -> Result<Stage, Refusal> {
        let Some(number) = numbers.pop() else { return Ok(self.continue_from(1)) };
        match Segment::open(&self.writer.files.rotated(number), true) {
            Ok(segment) => Ok(Stage::OlderSearch(segment, numbers)),
            // A file that is gone or is no segment has no seq.
            Err(SegmentError::Foreign(_) | SegmentError::Newer(_)) => Ok(Stage::Older(numbers)),
            Err(SegmentError::Io(err))
                if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) =>
            {
                Ok(Stage::Older(numbers))
            }
            Err(err) => Err(err.into()),
        }
    }

    /// Gives the next record this seq. The log is open then.
    fn continue_from(&mut self, seq: u64) -> Stage {
        let writer = &mut self.writer;
        (writer.next_seq, writer.written_seq, writer.synced_seq) = (seq, seq, seq);
        Stage::Done
    }
}

/// The result of reading the last part that is left of a segment.
enum Tail {
    /// The part has a record; this many parts stand before it.
    Found(Part, usize, Box<PartRead>),
    /// The part has no record; this many parts are left.
    More(usize),
    /// No part is left.
    Nothing,
}

impl PartEncoder {
    /// Continues a part that was read from its file. Returns the number of its bytes that stay.
    fn resume(&mut self, mut bytes: Vec<u8>, found: PartRead) -> usize {
        let whole = usize::try_from(found.whole_bytes).unwrap_or(usize::MAX);
        match (self, found.block) {
            (PartEncoder::Blocks(encoder), Some((header, decoded))) => encoder.resume(bytes, header, &decoded),
            (PartEncoder::Lines(lines), _) => {
                bytes.truncate(whole);
                // An editor may have saved the last line without its end: the next write begins with it.
                if !bytes.ends_with(b"\n") {
                    bytes.push(b'\n');
                }
                // Somebody may have removed or doubled lines, so the seqs of the part need not be contiguous. The
                // part then counts as if they were, so that the next seqs are right.
                let records = found.info.records.min(found.next_seq);
                lines.info = PartInfo { first_seq: found.next_seq - records, records, ..found.info };
                lines.bytes = bytes;
            }
            // A part of the other format is never continued.
            (PartEncoder::Blocks(_), None) => {}
        }
        whole
    }
}
