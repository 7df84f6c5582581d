//! Opens a log for writing where the last writer left it: after a proper end, a kill, or a crash of the machine.
//! Cuts off what is torn, leaves what is damaged, makes the index right. Refuses a file that is no log.
//! A log may be of any size, and its index gone: so it is opened in steps, of less than a millisecond as a rule.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::eventlog::chain::{Chain, Rotated};
use crate::eventlog::claims::Claims;
use crate::eventlog::disk::Disk;
use crate::eventlog::folder::{LockError, LogFiles, index_of};
use crate::eventlog::format::UNIT_BYTES;
use crate::eventlog::index::IndexEntry;
use crate::eventlog::records::{PartInfo, RecordFilter, Records};
use crate::eventlog::segment::{Finding, FindingKind, Part, PartRead, Segment, SegmentError};
use crate::eventlog::spec::{Format, LogSpec};

use super::index_file::IndexFile;
use super::{Changes, Counts, Current, NextPart, OpenError, PartAt, PartEncoder, Retire, Retry, Writer};

/// Numbers are counted up from the last one everywhere. A line may say anything.
const SEQ_MAX: u64 = u64::MAX / 2;

/// A log that is being opened. No other process can write it meanwhile.
pub(crate) struct Opening {
    writer: Writer,
    stage: Stage,
    /// The module has written this log before: its lock file says so.
    had_writer: bool,
    /// Or rotated segments beside it do.
    has_rotated: bool,
    /// The lock file says which rotated files are the log's.
    noted: bool,
    buffer: Vec<u8>,
}

enum Stage {
    /// It is found out which rotated files are the log's. With the youngest segment.
    Chain(Box<Chain>, Option<Segment>),
    /// The parts of the youngest segment are looked for, then its first record.
    Search(Segment),
    /// Parts are read from the end, so many are left, until one has a record.
    Tail(Segment, usize),
    /// The index is made anew: the parts that have entries so far, and how many are to have one.
    Index(Segment, Vec<IndexEntry>, usize),
    /// The youngest segment has no record: the rotated ones are looked at, the last first. So many numbers are left.
    Older(VecDeque<u64>),
    OlderSearch(Segment, VecDeque<u64>),
    OlderTail(Segment, usize, VecDeque<u64>),
    Done,
}

impl Opening {
    /// Makes the folder of the log, locks it, and looks what kind of file there is.
    pub(crate) fn begin(disk: Arc<dyn Disk>, root: &Path, spec: LogSpec, now: Instant) -> Result<Opening, OpenError> {
        let files = LogFiles::below(root, &spec.path);
        let active = files.active().to_owned();
        let fail = |err| OpenError::Io { path: active.clone(), err };
        spec.check().map_err(|reason| OpenError::Spec { path: active.clone(), reason })?;
        files.make_folder(disk.as_ref()).map_err(fail)?;
        let lock = files.lock().map_err(|err| match err {
            LockError::Held { pid } => OpenError::InUse { path: active.clone(), pid },
            LockError::Io(err) => fail(err),
        })?;
        files.check(&active).map_err(fail)?;
        files.check(&index_of(&active)).map_err(fail)?;
        let youngest = match Segment::open(&active, true) {
            Ok(segment) => Some(segment),
            Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(OpenError::of(&active, err)),
        };
        let claims = match lock.claims.clone() {
            // Nothing was written here yet, so nothing here is the log's.
            None if !lock.was_held && youngest.is_none() => Some(Claims::default()),
            claims => claims,
        };
        let chain = Box::new(Chain::begin(&files, claims).map_err(fail)?);
        let encoder = PartEncoder::new(spec.format);
        let mut index = IndexFile::default();
        index.replaces_any = lock.claims.is_some();
        let mut writer = Writer {
            spec,
            files,
            disk,
            lock,
            file: None,
            file_end: 0,
            tail_unknown: false,
            retire: Retire::Nothing,
            last_number: 0,
            removing: false,
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
        };
        writer.begin_segment();
        let had_writer = writer.lock.claims.is_some();
        let stage = Stage::Chain(chain, youngest);
        Ok(Opening { writer, stage, had_writer, has_rotated: false, noted: had_writer, buffer: Vec::new() })
    }

    /// Does a little of it. True once the log is open.
    pub(crate) fn step(&mut self) -> Result<bool, OpenError> {
        let active = self.writer.files.active().to_owned();
        let fail = |err| OpenError::Io { path: active.clone(), err };
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Chain(mut chain, mut youngest) => {
                let rotated = chain.step(&self.writer.files, youngest.as_mut(), &mut self.buffer).map_err(fail)?;
                match (rotated, youngest) {
                    (None, youngest) => Stage::Chain(chain, youngest),
                    (Some(rotated), youngest) => {
                        self.claim(&rotated);
                        youngest.map_or_else(|| self.older(), Stage::Search)
                    }
                }
            }
            Stage::Search(mut youngest) => {
                let is_searched = youngest.search(&mut self.buffer).map_err(fail)?;
                match if is_searched { youngest.first_seq(&mut self.buffer).map_err(fail)? } else { None } {
                    None => Stage::Search(youngest),
                    Some(_) => {
                        let parts = youngest.parts.len();
                        Stage::Tail(youngest, parts)
                    }
                }
            }
            Stage::Tail(mut segment, left) => match self.read_tail(&mut segment, left).map_err(fail)? {
                Tail::Found(part, number, found) => self.take_up(segment, part, number, *found).map_err(fail)?,
                Tail::More(left) => Stage::Tail(segment, left),
                Tail::Nothing => {
                    self.leave(&segment)?;
                    self.older()
                }
            },
            Stage::Index(segment, entries, complete) => self.index_part(segment, entries, complete).map_err(fail)?,
            Stage::Older(numbers) => self.open_older(numbers)?,
            Stage::OlderSearch(mut segment, numbers) => match segment.search(&mut self.buffer).map_err(fail)? {
                false => Stage::OlderSearch(segment, numbers),
                true => {
                    let parts = segment.parts.len();
                    Stage::OlderTail(segment, parts, numbers)
                }
            },
            Stage::OlderTail(mut segment, left, numbers) => match self.read_tail(&mut segment, left).map_err(fail)? {
                Tail::Found(_, _, found) => self.number_from(found.next_seq),
                Tail::More(left) => Stage::OlderTail(segment, left, numbers),
                Tail::Nothing => Stage::Older(numbers),
            },
            Stage::Done => Stage::Done,
        };
        let is_open = matches!(self.stage, Stage::Done);
        let last = self.writer.next_seq - 1;
        if last > SEQ_MAX {
            let reason = format!("its last record has number {last}, which no log comes to: put the file aside");
            return Err(OpenError::Spec { path: active, reason });
        }
        if is_open && !std::mem::replace(&mut self.noted, true) {
            // Not before: a log that could not be opened is not the module's.
            self.writer.claim(|_| {});
            if !self.had_writer {
                // A crash of the machine must not leave a log that begins with zeros, and nothing that says whose it is.
                self.writer.counts.index_errors += u64::from(self.writer.lock.sync().is_err());
            }
        }
        Ok(is_open)
    }

    /// The writer, once [`Opening::step`] has said so.
    pub(crate) fn finish(self) -> Writer {
        self.writer
    }

    /// It is known which rotated files are the log's.
    fn claim(&mut self, rotated: &Rotated) {
        let writer = &mut self.writer;
        let claims = writer.lock.claims.get_or_insert_default();
        rotated.adopted.iter().for_each(|number| claims.push(*number));
        self.noted &= rotated.adopted.is_empty();
        self.has_rotated = !rotated.numbers.is_empty();
        writer.last_number = writer.lock.claims.as_ref().and_then(Claims::last).unwrap_or(0);
        if !rotated.foreign.is_empty() {
            let (count, active) = (rotated.foreign.len(), writer.files.active().display());
            log::warn!("{count} files beside the event log `{active}` have names like its own and are left alone");
        }
    }

    // ---- where the log goes on ------------------------------------------------------------------------------

    /// Reads the last part that is left.
    fn read_tail(&mut self, segment: &mut Segment, left: usize) -> io::Result<Tail> {
        let Some(number) = left.checked_sub(1) else { return Ok(Tail::Nothing) };
        let Some(part) = segment.parts.get(number).copied() else { return Ok(Tail::Nothing) };
        let found = segment.read(part, &RecordFilter::NONE, &mut Records::default(), &mut self.buffer)?;
        Ok(if found.info.records > 0 { Tail::Found(part, number, Box::new(found)) } else { Tail::More(number) })
    }

    /// The youngest segment has no record.
    fn leave(&mut self, segment: &Segment) -> Result<(), OpenError> {
        if !self.had_writer && !self.has_rotated && segment.bytes > 0 {
            // It begins like a log, and may be anything else that does.
            let head = segment.bytes_of(Part { offset: 0, end: segment.bytes.min(8), info: None });
            let head = head.map_err(SegmentError::from).map(SegmentError::Foreign);
            return Err(OpenError::of(&segment.path, head.unwrap_or_else(|err| err)));
        }
        // Worth keeping only if somebody might want to look into it.
        let worth = segment.findings.iter().any(|finding| finding.kind == FindingKind::Damaged);
        self.writer.retire = if worth { Retire::Rename } else { Retire::Remove };
        Ok(())
    }

    /// Goes on with the youngest segment, if it can be gone on with, behind the last part that has a record.
    fn take_up(&mut self, mut segment: Segment, part: Part, number: usize, found: PartRead) -> io::Result<Stage> {
        let writer = &mut self.writer;
        let next_seq = found.next_seq;
        if segment.format != writer.spec.format {
            writer.retire = Retire::Rename;
            return Ok(self.number_from(next_seq));
        }
        let mut file = writer.disk.open(writer.files.active())?;
        writer.segment_first_seq = segment.first_seq(&mut self.buffer)?.flatten().unwrap_or(0);
        let whole_end = part.offset + found.whole_bytes;
        let is_damage = |finding: &Finding| finding.kind == FindingKind::Damaged && finding.offset >= whole_end;
        let complete = if segment.findings.iter().any(is_damage) {
            // What is damaged stays as it is, and is not written to again.
            let offset = match segment.format {
                Format::Binary => segment.bytes.next_multiple_of(UNIT_BYTES as u64),
                Format::Json => segment.end_of_lines()?,
            };
            file.set_len(offset)?;
            writer.file_end = offset;
            writer.next = NextPart { segment: segment.id, offset, begins_segment: false };
            segment.parts.len()
        } else {
            // Whatever follows the last record is torn, or was to fill the block.
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
        let known = segment.parts.iter().take_while(|part| part.info.is_some()).count();
        let stage = self.number_from(next_seq);
        if known > 0 && known >= complete {
            self.writer.index.resume(&segment.path, complete);
            return Ok(stage);
        }
        Ok(Stage::Index(segment, Vec::with_capacity(complete), complete))
    }

    /// Makes sure that the first `complete` parts have their entries, and no other.
    fn index_part(&mut self, mut segment: Segment, mut entries: Vec<IndexEntry>, complete: usize) -> io::Result<Stage> {
        let part = segment.parts.get(entries.len()).copied().filter(|_| entries.len() < complete);
        // Behind a gap an index is of no use.
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

    fn older(&self) -> Stage {
        Stage::Older(self.writer.lock.claims.iter().flat_map(|claims| claims.iter().rev()).collect())
    }

    fn open_older(&mut self, mut numbers: VecDeque<u64>) -> Result<Stage, OpenError> {
        let Some(number) = numbers.pop_front() else { return Ok(self.number_from(1)) };
        let path: PathBuf = self.writer.files.rotated(number);
        match Segment::open(&path, true) {
            Ok(segment) => Ok(Stage::OlderSearch(segment, numbers)),
            // One that is gone, or no segment, has no number.
            Err(SegmentError::Foreign(_) | SegmentError::Newer(_)) => Ok(Stage::Older(numbers)),
            Err(SegmentError::Io(err))
                if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) =>
            {
                Ok(Stage::Older(numbers))
            }
            Err(err) => Err(OpenError::of(&path, err)),
        }
    }

    /// The next record has this number.
    fn number_from(&mut self, seq: u64) -> Stage {
        let writer = &mut self.writer;
        (writer.next_seq, writer.written_seq, writer.synced_seq) = (seq, seq, seq);
        Stage::Done
    }
}

/// What the last part of a segment that is left turned out to be.
enum Tail {
    /// It has a record. So many parts stand before it.
    Found(Part, usize, Box<PartRead>),
    /// It has none, and so many are left.
    More(usize),
    Nothing,
}

impl PartEncoder {
    /// Goes on with a part that was read from its file. How much of it is in use.
    fn resume(&mut self, mut bytes: Vec<u8>, found: PartRead) -> usize {
        let whole = usize::try_from(found.whole_bytes).unwrap_or(usize::MAX);
        match (self, found.block) {
            (PartEncoder::Blocks(encoder), Some((header, decoded))) => encoder.resume(bytes, header, &decoded),
            (PartEncoder::Lines(lines), _) => {
                bytes.truncate(whole);
                // Lines that somebody took out or doubled have no numbers of their own: those to come count from here.
                let records = found.info.records.min(found.next_seq);
                lines.info = PartInfo { first_seq: found.next_seq - records, records, ..found.info };
                lines.bytes = bytes;
            }
            // A part of the other format, which is not gone on with.
            (PartEncoder::Blocks(_), None) => {}
        }
        whole
    }
}
