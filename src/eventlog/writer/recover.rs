//! Opens a log for writing where the last writer left it: after a proper end, a kill, or a crash of the machine.
//! Cuts off what is torn, leaves what is damaged, makes the index right. Refuses a file that is no log.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::eventlog::block::UNIT_BYTES;
use crate::eventlog::disk::Disk;
use crate::eventlog::folder::{LockError, Place, index_of};
use crate::eventlog::index::Entry;
use crate::eventlog::segment::{Finding, FindingKind, PartRead, Segment, SegmentError};
use crate::eventlog::{Filter, Format, LogSpec, Records};

use super::index_file::IndexFile;
use super::{Counts, Current, Encoder, NextPart, OpenError, PartAt, Retire, Retry, Writer};

pub(super) fn open(disk: Arc<dyn Disk>, place: Place, spec: LogSpec, now: Instant) -> Result<Writer, OpenError> {
    let active = place.active().to_owned();
    let fail = |err| OpenError::Io { path: active.clone(), err };
    spec.check().map_err(|reason| OpenError::Spec { path: active.clone(), reason })?;
    place.make_folder(disk.as_ref()).map_err(fail)?;
    let lock = place.lock().map_err(|err| match err {
        LockError::Held { pid } => OpenError::InUse { path: active.clone(), pid },
        LockError::Io(err) => fail(err),
    })?;
    place.check(&active).map_err(fail)?;
    place.check(&index_of(&active)).map_err(fail)?;
    let rotated = place.rotated_segments().map_err(fail)?;
    let last_number = rotated.last().map_or(0, |(number, _)| *number);
    let encoder = Encoder::new(spec.format);
    let mut writer = Writer {
        spec,
        place,
        disk,
        _lock: lock,
        file: None,
        retire: Retire::Nothing,
        last_number,
        folder_changed: true,
        index: IndexFile::default(),
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
        random: RandomState::new(),
        spare: Vec::new(),
    };
    writer.begin_segment();
    let next_seq = match Segment::open(&active, true) {
        Ok(segment) => writer.take_up(segment).map_err(fail)?,
        Err(SegmentError::Io(err)) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(OpenError::of(&active, err)),
    };
    let mut older = rotated.iter().rev();
    let mut next_seq = next_seq;
    while next_seq.is_none()
        && let Some((_, path)) = older.next()
    {
        next_seq = next_seq_of(path).map_err(|err| OpenError::of(path, err))?;
    }
    let next_seq = next_seq.unwrap_or(1);
    (writer.next_seq, writer.written_seq, writer.synced_seq) = (next_seq, next_seq, next_seq);
    Ok(writer)
}

/// The number that follows the last record of a rotated segment. One that is no segment has none.
fn next_seq_of(path: &Path) -> Result<Option<u64>, SegmentError> {
    match Segment::open(path, true) {
        Ok(mut segment) => Ok(last_part(&mut segment)?.map(|(_, found)| found.next_seq)),
        Err(SegmentError::Foreign(_) | SegmentError::Newer(_)) => Ok(None),
        Err(err) => Err(err),
    }
}

/// The last part with a record in it, and how many parts stand before it.
fn last_part(segment: &mut Segment) -> io::Result<Option<(usize, PartRead)>> {
    let mut buffer = Vec::new();
    for (number, part) in segment.parts.clone().into_iter().enumerate().rev() {
        let found = segment.read(part, &Filter::NONE, &mut Records::default(), &mut buffer)?;
        if found.info.records > 0 {
            return Ok(Some((number, found)));
        }
    }
    Ok(None)
}

impl Writer {
    /// Goes on with the youngest segment, if it can be gone on with. Number of the next record, if it tells.
    fn take_up(&mut self, mut segment: Segment) -> io::Result<Option<u64>> {
        let Some((number, found)) = last_part(&mut segment)? else {
            // Without a record it is only worth keeping if somebody might want to look into it.
            let worth = segment.findings.iter().any(|finding| finding.kind == FindingKind::Damaged);
            self.retire = if worth { Retire::Rename } else { Retire::Remove };
            return Ok(None);
        };
        let next_seq = Some(found.next_seq);
        let Some(part) = segment.parts.get(number).copied() else { return Ok(next_seq) };
        if segment.format != self.spec.format {
            self.retire = Retire::Rename;
            return Ok(next_seq);
        }
        let mut file = self.disk.open(self.place.active())?;
        self.segment_first_seq = segment.first_seq(&mut Vec::new())?.unwrap_or(0);
        let whole_end = part.offset + found.whole_bytes;
        let is_damage = |finding: &Finding| finding.kind == FindingKind::Damaged && finding.offset >= whole_end;
        let complete = if segment.findings.iter().any(is_damage) {
            // What is damaged stays as it is, and is not written to again.
            let offset = match segment.format {
                Format::Binary => segment.bytes.next_multiple_of(UNIT_BYTES as u64),
                Format::Json => segment.end_of_lines()?,
            };
            file.set_len(offset)?;
            self.next = NextPart { segment: segment.id, offset, begins_segment: false };
            segment.parts.len()
        } else {
            // Whatever follows the last record is torn, or was to fill the block.
            if whole_end < segment.bytes {
                file.set_len(whole_end)?;
            }
            self.next = NextPart { segment: segment.id, offset: part.offset, begins_segment: false };
            let written = self.encoder.resume(segment.bytes_of(part)?, found);
            self.current = Some(Current { at: PartAt { offset: part.offset, begins_segment: None, written } });
            number
        };
        self.file = Some(file);
        self.take_up_index(&mut segment, complete)?;
        Ok(next_seq)
    }

    /// Makes sure that the first `complete` parts have their entries, and no other.
    fn take_up_index(&mut self, segment: &mut Segment, complete: usize) -> io::Result<()> {
        let active = self.place.active().to_owned();
        let known = segment.parts.iter().take_while(|part| part.info.is_some()).count();
        if known > 0 && known >= complete {
            self.index.resume(&active, complete);
            return Ok(());
        }
        let mut entries = Vec::with_capacity(complete);
        let mut buffer = Vec::new();
        for part in segment.parts.clone().into_iter().take(complete) {
            if part.offset != entries.last().map_or(0, Entry::end) {
                break; // Behind a gap an index is of no use.
            }
            let info = match part.info {
                Some(info) => info,
                None => segment.read(part, &Filter::NONE, &mut Records::default(), &mut buffer)?.info,
            };
            entries.push(Entry { offset: part.offset, bytes: (part.end - part.offset) as u32, info });
        }
        self.index.start(&active, segment.id, &entries);
        Ok(())
    }
}

impl Encoder {
    /// Goes on with a part that was read from its file. How much of it is in use.
    fn resume(&mut self, mut bytes: Vec<u8>, found: PartRead) -> usize {
        let whole = usize::try_from(found.whole_bytes).unwrap_or(usize::MAX);
        match (self, found.block) {
            (Encoder::Blocks(encoder), Some((header, decoded))) => encoder.resume(bytes, header, &decoded),
            (Encoder::Lines(lines), _) => {
                bytes.truncate(whole);
                lines.info = found.info;
                lines.bytes = bytes;
            }
            // A part of the other format, which is not gone on with.
            (Encoder::Blocks(_), None) => {}
        }
        whole
    }
}
