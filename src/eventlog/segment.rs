//! One segment on disk: finds its parts and reads the records in them. Opens files for reading only, on the thread of
//! a reader or, while a log is opened for writing, on `rt-files`. Another process may write or cut the file
//! meanwhile. A good index supplies the parts; behind its last entry the headers of the blocks, or the ends of the
//! lines, do. Damaged bytes are reported as a [`Finding`] and left out. A segment may have any length, so
//! [`Segment::search`] finds the parts in steps of less than a millisecond.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::config::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::eventlog::block::{self, BadHeader, Header};
use crate::eventlog::disk::{first_bytes, read_at};
use crate::eventlog::folder::index_of;
use crate::eventlog::format::{self, BLOCK_BYTES_MAX, HEADER_BYTES, UNIT_BYTES};
use crate::eventlog::index::{self, IndexEntry};
use crate::eventlog::line;
use crate::eventlog::records::{PartEnd, PartInfo, RecordFilter, Records};
use crate::eventlog::spec::Format;
use crate::io::{plain_file, sharing};

/// Longest stretch without a line end that is kept as one line. It is far longer than any record.
const EVENTLOG_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
// JSON escapes take at most six bytes for one.
const _: () = assert!((PAYLOAD_BYTES_MAX + NAME_BYTES_MAX) * 6 < EVENTLOG_LINE_BYTES_MAX);

/// Bytes that hold the head of any line.
const LINE_HEAD_BYTES: usize = 96;

/// Amount of work in one step of a search: entries of an index, headers of blocks, bytes of lines, and bytes that may
/// be zeros.
const ENTRIES_PER_STEP: usize = 1024;
const HEADS_PER_STEP: usize = 64;
const LINE_BYTES_PER_STEP: usize = 2 * UNIT_BYTES;
const ZEROS_PER_STEP: usize = 8 * UNIT_BYTES;

/// An open segment, and the state of the search for its parts.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    file: File,
    /// Length of the file when it was opened. Bytes that a writer adds later are not read, so that a reader comes to
    /// an end.
    pub(super) bytes: u64,
    pub(super) format: Format,
    /// Id that the segment's index must have: the id in its blocks, or the checksum of its first line. 0: the file
    /// has neither.
    pub(super) id: u64,
    /// Parts that the search has found so far, in file order.
    pub(super) parts: Vec<Part>,
    search: Search,
    /// Damaged and torn bytes that were found so far, outside of parts and inside them.
    pub(super) findings: Vec<Finding>,
    first: First,
}

/// State of the search for parts. A good index comes first; the rest of the file is searched by its format.
///
/// ```text
/// open ──▶ Index ──────▶ Blocks ◀──▶ Zeros      binary
///    │        └────────▶ Lines                  JSON
///    └─ no good index: straight to Blocks or Lines ... and in the end Done
/// ```
enum Search {
    /// Reading entries of the index, from byte `at` on; `last` is the entry before.
    Index {
        file: File,
        at: u64,
        last: Option<IndexEntry>,
    },
    /// Reading headers of blocks, the next one at this offset.
    Blocks(u64),
    /// No block stands at `from`; all bytes up to `at` are zeros.
    Zeros {
        from: u64,
        at: u64,
    },
    /// Looking for line ends: the part begins at `start`, the last line end is before `line_end`, the next byte to
    /// look at is `at`.
    Lines {
        start: u64,
        line_end: u64,
        at: u64,
    },
    Done,
}

/// State of the search for the segment's first record.
enum First {
    /// This many parts have no record, and these are their findings.
    After(usize, Vec<Finding>),
    /// Seq of the first record; `None`: the segment has no record.
    Known(Option<u64>),
}

/// A block, or about 32 KiB of lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Offset of the part in the file.
    pub(super) offset: u64,
    /// End of the part, or of the file if that comes first.
    pub(super) end: u64,
    /// Summary from the index; `None` if the part was found without an index.
    pub(super) info: Option<PartInfo>,
}

/// Bytes of a segment that hold no readable record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
    pub kind: FindingKind,
}

/// The reason why bytes hold no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The writer was stopped here. No synced record is lost.
    Torn,
    /// A block, the rest of a block, or lines that were changed after they were written.
    Damaged,
    /// A whole file that is no segment, or one of a later version.
    Refused,
}

/// The reason why a file cannot be opened as a segment.
#[derive(Debug)]
pub enum SegmentError {
    Io(io::Error),
    /// The file is no segment; these are its first bytes, at most eight.
    Foreign(Vec<u8>),
    /// The file is a segment of this later version.
    Newer(u8),
}

impl From<io::Error> for SegmentError {
    fn from(err: io::Error) -> SegmentError {
        SegmentError::Io(err)
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentError::Io(err) => write!(f, "{}{err}", sharing::words(err)),
            SegmentError::Foreign(found) => write!(f, "starts with {}, not an event log", hex(found)),
            SegmentError::Newer(version) => write!(f, "written in format {version}, this module knows format 1"),
        }
    }
}

/// Bytes for an error text: `50 4b 03 04`.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The result of reading one part.
pub(super) struct PartRead {
    pub(super) info: PartInfo,
    /// Seq that follows the last record.
    pub(super) next_seq: u64,
    /// Bytes from the start of the part to the end of its last whole chunk or line.
    pub(super) whole_bytes: u64,
    /// The kind of bytes behind the whole ones.
    pub(super) end: PartEnd,
    /// Bytes of lines that are no records.
    bad_bytes: u64,
    /// The decoded block, with which a writer resumes it; `None` for lines, or if the header is bad.
    pub(super) block: Option<(Header, block::Decoded)>,
}

impl PartRead {
    /// The result for `bytes` bytes of lines.
    fn of_lines(decoded: line::Decoded, bytes: usize) -> PartRead {
        PartRead {
            info: decoded.info,
            next_seq: decoded.next_seq,
            whole_bytes: decoded.whole_bytes as u64,
            end: if decoded.whole_bytes == bytes { PartEnd::Clean } else { PartEnd::Torn },
            bad_bytes: decoded.bad_bytes,
            block: None,
        }
    }
}

impl Segment {
    /// Opens the file and recognises its format. Without `use_index` the search reads the segment itself from its
    /// start.
    pub(super) fn open(path: &Path, use_index: bool) -> Result<Box<Segment>, SegmentError> {
        let file = plain_file::read(path)?;
        let bytes = file.metadata()?.len();
        let path = path.to_owned();
        let mut segment = Box::new(Segment {
            path,
            file,
            bytes,
            format: Format::Binary,
            id: 0,
            parts: Vec::new(),
            search: Search::Done,
            findings: Vec::new(),
            first: First::After(0, Vec::new()),
        });
        if bytes == 0 {
            return Ok(segment);
        }
        segment.recognise()?;
        let index = segment.open_index().filter(|_| use_index);
        segment.search = index.unwrap_or_else(|| segment.search_from(0));
        Ok(segment)
    }

    /// Recognises the format and reads the id from the first header or line. If the first block is damaged, a good
    /// block further on proves the format just as well.
    fn recognise(&mut self) -> Result<(), SegmentError> {
        // Only a file that does not begin with a good header costs the read of a whole unit.
        let mut head = [0; HEADER_BYTES];
        let read = read_at(&self.file, &mut head, 0)?;
        match Header::read(head.get(..read).unwrap_or_default()) {
            Ok((header, _)) => {
                self.id = header.segment;
                return Ok(());
            }
            Err(BadHeader::Newer(version)) => return Err(SegmentError::Newer(version)),
            Err(BadHeader::Short) => return Ok(()),
            Err(BadHeader::Foreign | BadHeader::Damaged) => {}
        }
        let mut head = vec![0; UNIT_BYTES];
        let read = read_at(&self.file, &mut head, 0)?;
        head.truncate(read);
        // If the first line is damaged, a good one further on proves the format just as well.
        let starts_line = |end: usize| head.get(end + 1..).is_some_and(|rest| line::seq(rest).is_some());
        if line::is_start(&head) || memchr::memchr_iter(b'\n', &head).any(starts_line) {
            self.format = Format::Json;
            self.id = line::segment_id(&head).unwrap_or(0);
            return Ok(());
        }
        // The first block may be damaged; a block up to the longest distance behind it counts.
        let units = self.bytes.min(BLOCK_BYTES_MAX as u64 + 1).div_ceil(UNIT_BYTES as u64);
        for unit in 1..units {
            if let Ok((header, _)) = self.header_at(unit * UNIT_BYTES as u64)? {
                self.id = header.segment;
                return Ok(());
            }
        }
        if head.starts_with(&format::MAGIC) || head.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        head.truncate(8);
        Err(SegmentError::Foreign(head))
    }

    /// Opens the segment's index, if it has one. Any fault of an index only means that the segment itself is
    /// searched.
    fn open_index(&self) -> Option<Search> {
        let path = index_of(&self.path);
        // Errors are ignored: the segment itself has the same information.
        let found = fs::symlink_metadata(&path).ok()?;
        // An index has at most about one entry for each unit. A much longer file is no index of this segment.
        let sensible = (self.bytes / UNIT_BYTES as u64 + 2) * 2 * index::ENTRY_BYTES as u64;
        if !found.is_file() || found.len() > sensible {
            return None;
        }
        let file = plain_file::read(&path).ok()?;
        let mut head = [0; index::HEADER_BYTES];
        read_at(&file, &mut head, 0).ok()?;
        let at = index::HEADER_BYTES as u64;
        index::is_of(&head, self.id).then_some(Search::Index { file, at, last: None })
    }

    /// The search behind `offset` without an index.
    fn search_from(&self, offset: u64) -> Search {
        match self.format {
            Format::Binary => Search::Blocks(offset),
            Format::Json => Search::Lines { start: offset, line_end: offset, at: offset },
        }
    }

    /// Makes one step of the search. True if all parts are known.
    pub(super) fn search(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        self.search = match std::mem::replace(&mut self.search, Search::Done) {
            Search::Index { file, at, last } => self.take_entries(file, at, last, buffer)?,
            Search::Blocks(offset) => self.find_blocks(offset)?,
            Search::Zeros { from, at } => self.pass_zeros(from, at, buffer)?,
            Search::Lines { start, line_end, at } => self.find_lines(start, line_end, at, buffer)?,
            Search::Done => Search::Done,
        };
        Ok(self.is_searched())
    }

    /// True if all parts are known.
    pub(super) fn is_searched(&self) -> bool {
        matches!(self.search, Search::Done)
    }

    /// The part of this number, if it is certain. A part from the index is certain only once the whole index was
    /// read, since [`Segment::leave_index`] may reject them all.
    pub(super) fn part(&self, number: usize) -> Option<Part> {
        self.parts.get(number).copied().filter(|_| !matches!(self.search, Search::Index { .. }))
    }

    /// Reads some entries of the index. The first entry that does not follow its predecessor ends the index.
    fn take_entries(
        &mut self,
        file: File,
        at: u64,
        mut last: Option<IndexEntry>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Search> {
        let buffer = first_bytes(buffer, ENTRIES_PER_STEP * index::ENTRY_BYTES);
        let read = read_at(&file, buffer, at).unwrap_or(0);
        for bytes in buffer.get(..read).unwrap_or_default().chunks(index::ENTRY_BYTES) {
            let Some(entry) = index::follow(last.as_ref(), bytes, self.bytes) else {
                return self.leave_index(last);
            };
            self.parts.push(Part { offset: entry.offset, end: entry.end(), info: Some(entry.info) });
            last = Some(entry);
        }
        if read < buffer.len() {
            return self.leave_index(last);
        }
        Ok(Search::Index { file, at: at + read as u64, last })
    }

    /// Checks that the last entry fits the file, and continues the search behind it. An index of other content,
    /// because the file was edited or another program wrote it, loses all its parts, and the search starts at the
    /// front.
    fn leave_index(&mut self, last: Option<IndexEntry>) -> io::Result<Search> {
        let Some(last) = last else { return Ok(self.search_from(0)) };
        let fits = match self.format {
            Format::Binary => {
                self.header_at(last.offset)?.is_ok_and(|(header, _)| header.first_seq == last.info.first_seq)
            }
            Format::Json => {
                let (mut byte, mut head) = ([0], [0; LINE_HEAD_BYTES]);
                read_at(&self.file, &mut byte, last.end() - 1)?;
                let read = read_at(&self.file, &mut head, last.offset)?;
                // A line that was removed before it may be as long as one behind it. A line without a seq is damaged.
                let seq = line::seq(head.get(..read).unwrap_or_default());
                byte == *b"\n" && seq.is_none_or(|seq| seq == last.info.first_seq)
            }
        };
        if !fits {
            self.parts.clear();
        }
        Ok(self.search_from(if fits { last.end() } else { 0 }))
    }

    /// Reads the header at this offset. A header of another unit or segment is damaged.
    fn header_at(&self, offset: u64) -> io::Result<Result<(Header, u32), BadHeader>> {
        let mut bytes = [0; HEADER_BYTES];
        let read = read_at(&self.file, &mut bytes, offset)?;
        let header = Header::read(bytes.get(..read).unwrap_or_default());
        Ok(match header {
            Ok((header, _)) if u64::from(header.unit) * UNIT_BYTES as u64 != offset => Err(BadHeader::Damaged),
            Ok((header, _)) if self.id != 0 && header.segment != self.id => Err(BadHeader::Damaged),
            other => other,
        })
    }

    /// Goes from header to header. Each header says where the next block begins.
    fn find_blocks(&mut self, mut offset: u64) -> io::Result<Search> {
        for _ in 0..HEADS_PER_STEP {
            if offset >= self.bytes {
                return Ok(Search::Done);
            }
            match self.header_at(offset)? {
                Ok((header, _)) => {
                    let end = offset + header.bytes_len() as u64;
                    self.parts.push(Part { offset, end: end.min(self.bytes), info: None });
                    offset = end;
                }
                Err(BadHeader::Short) => {
                    self.report(offset, self.bytes, FindingKind::Torn);
                    return Ok(Search::Done);
                }
                Err(_) => return Ok(Search::Zeros { from: offset, at: offset }),
            }
        }
        Ok(Search::Blocks(offset))
    }

    /// Looks for the first byte that is not zero behind a bad header. Its unit may begin with a block. If all bytes
    /// are zeros, the file system grew the file before a write, and the file ends at `from`.
    fn pass_zeros(&mut self, from: u64, at: u64, buffer: &mut Vec<u8>) -> io::Result<Search> {
        let buffer = first_bytes(buffer, if at == from { UNIT_BYTES } else { ZEROS_PER_STEP });
        let read = read_at(&self.file, buffer, at)?;
        let chunk = buffer.get(..read).unwrap_or_default();
        if let Some(byte) = chunk.iter().position(|byte| *byte != 0) {
            let byte = at + byte as u64;
            // The unit of `from` itself was looked at before, so the search continues at the next one at the
            // earliest.
            let unit = (byte - byte % UNIT_BYTES as u64).max(from + UNIT_BYTES as u64);
            self.report(from, unit.min(self.bytes), FindingKind::Damaged);
            return Ok(Search::Blocks(unit));
        }
        if chunk.is_empty() || at >= self.bytes {
            self.report(from, self.bytes, FindingKind::Torn);
            return Ok(Search::Done);
        }
        Ok(Search::Zeros { from, at: at + read as u64 })
    }

    /// Cuts the file at line ends into parts. A stretch that is too long for one line becomes a finding.
    fn find_lines(
        &mut self,
        mut start: u64,
        mut line_end: u64,
        mut at: u64,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Search> {
        let buffer = first_bytes(buffer, LINE_BYTES_PER_STEP);
        let read = if at < self.bytes { read_at(&self.file, buffer, at)? } else { 0 };
        let chunk = buffer.get(..read).unwrap_or_default();
        if chunk.is_empty() {
            if start < self.bytes {
                self.parts.push(Part { offset: start, end: self.bytes, info: None });
            }
            return Ok(Search::Done);
        }
        for end in memchr::memchr_iter(b'\n', chunk) {
            line_end = at + end as u64 + 1;
            if line_end - start >= line::PART_BYTES as u64 {
                self.parts.push(Part { offset: start, end: line_end, info: None });
                start = line_end;
            }
        }
        at += read as u64;
        if at - line_end > EVENTLOG_LINE_BYTES_MAX as u64 {
            if line_end > start {
                self.parts.push(Part { offset: start, end: line_end, info: None });
            }
            // The rest of this line becomes a line of its own, which is no record.
            self.report(line_end, at, FindingKind::Damaged);
            (start, line_end) = (at, at);
        }
        Ok(Search::Lines { start, line_end, at })
    }

    /// Reads a part and appends the records that the filter lets through to `out`. Bytes that are not whole become a
    /// finding. `buffer` holds the bytes and is reused from call to call.
    pub(super) fn read(
        &mut self,
        part: Part,
        filter: &RecordFilter<'_>,
        out: &mut Records,
        buffer: &mut Vec<u8>,
    ) -> io::Result<PartRead> {
        let len = usize::try_from(part.end - part.offset).unwrap_or(usize::MAX);
        let buffer = first_bytes(buffer, len);
        let read = read_at(&self.file, buffer, part.offset)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        let found = match self.format {
            Format::Binary => self.read_block(part, filter, out, bytes),
            Format::Json => PartRead::of_lines(line::decode(bytes, filter, out), read),
        };
        let (start, end) = (part.offset + found.whole_bytes, part.offset + read as u64);
        match found.end {
            // Another program has cut the file since it was opened.
            _ if read < len => self.report(start, part.end, FindingKind::Torn),
            PartEnd::Clean => {}
            PartEnd::Torn => self.report(start, end, FindingKind::Torn),
            PartEnd::Damaged => self.report(start, end, FindingKind::Damaged),
        }
        if found.bad_bytes > 0 {
            self.report(part.offset, part.offset + found.bad_bytes, FindingKind::Damaged);
        }
        Ok(found)
    }

    /// The bytes of a part, undecoded.
    pub(super) fn bytes_of(&self, part: Part) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(part.end - part.offset).unwrap_or(usize::MAX)];
        let read = read_at(&self.file, &mut bytes, part.offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Offset behind the last line end.
    pub(super) fn end_of_lines(&self) -> io::Result<u64> {
        let Some(part) = self.parts.last() else { return Ok(0) };
        let bytes = self.bytes_of(*part)?;
        Ok(part.offset + memchr::memrchr(b'\n', &bytes).map_or(0, |at| at as u64 + 1))
    }

    /// Decodes the block in `bytes`, if its header is that of this place and segment.
    fn read_block(&self, part: Part, filter: &RecordFilter<'_>, out: &mut Records, bytes: &[u8]) -> PartRead {
        let header = Header::read(bytes).ok().filter(|(header, _)| {
            u64::from(header.unit) * UNIT_BYTES as u64 == part.offset && header.segment == self.id
        });
        let Some((header, sum)) = header else {
            // The index has this block, and the file does not, so its header is damaged now.
            let next_seq = part.info.map_or(0, |info| info.first_seq + info.records);
            let info = PartInfo::default();
            return PartRead { info, next_seq, whole_bytes: 0, end: PartEnd::Damaged, bad_bytes: 0, block: None };
        };
        let decoded = block::decode(bytes, &header, sum, filter, out);
        PartRead {
            info: decoded.info,
            next_seq: decoded.info.first_seq + decoded.info.records,
            whole_bytes: decoded.whole_bytes as u64,
            end: decoded.end,
            bad_bytes: 0,
            block: Some((header, decoded)),
        }
    }

    /// Makes one step of the search for the first record. `None`: not known yet. `Some(None)`: the segment has no
    /// record, and `findings` has all its damage. `Some(Some(seq))`: the seq of the first record.
    pub(super) fn first_seq(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<Option<u64>>> {
        let (number, mut bad) = match &mut self.first {
            First::Known(seq) => return Ok(Some(*seq)),
            First::After(number, bad) => (*number, std::mem::take(bad)),
        };
        let Some(part) = self.part(number) else {
            if self.is_searched() {
                self.findings.append(&mut bad);
                self.first = First::Known(None);
                return Ok(Some(None));
            }
            self.first = First::After(number, bad);
            self.search(buffer)?;
            return Ok(None);
        };
        let mut info = part.info.filter(|info| info.records > 0);
        if info.is_none() {
            let before = std::mem::take(&mut self.findings);
            info = Some(self.read(part, &RecordFilter::NONE, &mut Records::default(), buffer)?.info);
            // If the part has a record, a reader reads it once more and reports its damage then.
            bad.append(&mut std::mem::replace(&mut self.findings, before));
        }
        self.first = match info.filter(|info| info.records > 0) {
            Some(info) => First::Known(Some(info.first_seq)),
            None => First::After(number + 1, bad),
        };
        Ok(if let First::Known(seq) = self.first { Some(seq) } else { None })
    }

    /// Adds a finding, or extends the last one.
    fn report(&mut self, offset: u64, end: u64, kind: FindingKind) {
        let bytes = end - offset;
        // Adjacent bad units usually are one long block, so they count as one place.
        if let Some(last) = self.findings.last_mut()
            && last.kind == kind
            && last.offset + last.bytes == offset
        {
            last.bytes += bytes;
            return;
        }
        self.findings.push(Finding { path: self.path.clone(), offset, bytes, kind });
    }
}
