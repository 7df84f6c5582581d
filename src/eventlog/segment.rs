//! One segment as it is found on disk: which parts it has and what is in them.
//! Reading only, at any time, also while somebody else writes it. The index is used as far as it is good; behind it the
//! heads of the blocks (or the ends of the lines) are looked at. What is damaged is reported and left out.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::EVENTLOG_LINE_BYTES_MAX;
use crate::eventlog::block::{self, BLOCK_BYTES_MAX, BadHeader, End, HEADER_BYTES, Header, UNIT_BYTES};
use crate::eventlog::disk::read_at;
use crate::eventlog::folder::index_of;
use crate::eventlog::{Filter, Format, PartInfo, Records, index, line};

/// A segment, opened.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    file: File,
    /// Its length when it was opened: nothing behind it is looked at.
    pub(super) bytes: u64,
    pub(super) format: Format,
    /// What its index must have. 0: nothing in it says.
    pub(super) id: u64,
    /// In their order.
    pub(super) parts: Vec<Part>,
    /// What is no part.
    pub(super) findings: Vec<Finding>,
}

/// A block, or some lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) offset: u64,
    /// Where it ends, or the file.
    pub(super) end: u64,
    /// From the index.
    pub(super) info: Option<PartInfo>,
}

/// Bytes of a segment that hold no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    pub offset: u64,
    pub bytes: u64,
    pub kind: FindingKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// The writer was stopped here: nothing that was ever safe is lost.
    Torn,
    /// A block, the rest of one, or lines that were changed after they were written.
    Damaged,
    /// A whole file that is none of this log, or of a later version.
    Refused,
}

#[derive(Debug)]
pub(super) enum SegmentError {
    Io(io::Error),
    /// The first bytes of a file that is no segment.
    Foreign(Vec<u8>),
    Newer(u8),
}

impl From<io::Error> for SegmentError {
    fn from(err: io::Error) -> SegmentError {
        SegmentError::Io(err)
    }
}

/// What was found in a part.
pub(super) struct PartRead {
    pub(super) info: PartInfo,
    pub(super) next_seq: u64,
    /// Bytes up to the end of what is whole.
    pub(super) whole_bytes: u64,
    /// The part ends as it should, or is torn or damaged behind that.
    pub(super) end: End,
    /// Lines within it that are no records.
    bad_bytes: u64,
    /// For a block: what resuming it needs.
    pub(super) block: Option<(Header, block::Decoded)>,
}

impl PartRead {
    fn of_lines(decoded: line::Decoded, bytes: usize) -> PartRead {
        PartRead {
            info: decoded.info,
            next_seq: decoded.next_seq,
            whole_bytes: decoded.whole_bytes as u64,
            end: if decoded.whole_bytes == bytes { End::Clean } else { End::Torn },
            bad_bytes: decoded.bad_bytes,
            block: None,
        }
    }
}

impl Segment {
    /// Opens the file. Without `use_index` every part is looked for.
    pub(super) fn open(path: &Path, use_index: bool) -> Result<Segment, SegmentError> {
        Segment::of_file(path, File::open(path)?, use_index)
    }

    pub(super) fn of_file(path: &Path, file: File, use_index: bool) -> Result<Segment, SegmentError> {
        let bytes = file.metadata()?.len();
        let path = path.to_owned();
        let (format, id) = (Format::Binary, 0);
        let mut segment = Segment { path, file, bytes, format, id, parts: Vec::new(), findings: Vec::new() };
        if bytes == 0 {
            return Ok(segment);
        }
        segment.recognise()?;
        if use_index {
            segment.read_index();
        }
        let indexed_end = segment.parts.last().map_or(0, |part| part.end);
        match segment.format {
            Format::Binary => segment.find_blocks(indexed_end)?,
            Format::Json => segment.find_lines(indexed_end)?,
        }
        Ok(segment)
    }

    /// Finds out the format and the id.
    fn recognise(&mut self) -> Result<(), SegmentError> {
        let mut head = vec![0; UNIT_BYTES];
        let read = read_at(&self.file, &mut head, 0)?;
        head.truncate(read);
        match Header::read(&head) {
            Ok((header, _)) => {
                self.id = header.segment;
                return Ok(());
            }
            Err(BadHeader::Newer(version)) => return Err(SegmentError::Newer(version)),
            Err(BadHeader::Short) => return Ok(()),
            Err(BadHeader::Foreign | BadHeader::Damaged) => {}
        }
        let again = [b"\n", line::START].concat();
        if line::is_start(&head) || memchr::memmem::find(&head, &again).is_some() {
            self.format = Format::Json;
            self.id = line::segment_id(&head).unwrap_or(0);
            return Ok(());
        }
        // A damaged first block, if any other is good.
        let units = self.bytes.min(BLOCK_BYTES_MAX as u64 + 1).div_ceil(UNIT_BYTES as u64);
        for unit in 1..units {
            if let Ok((header, _)) = self.header_at(unit * UNIT_BYTES as u64)? {
                self.id = header.segment;
                return Ok(());
            }
        }
        if head.starts_with(&block::MAGIC) || head.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        head.truncate(8);
        Err(SegmentError::Foreign(head))
    }

    /// Takes the parts that a good index knows, if there is one.
    fn read_index(&mut self) {
        let path = index_of(&self.path);
        // An index has one entry a unit; a file that is longer by far is something else, and not to be read at once.
        let sensible = (self.bytes / UNIT_BYTES as u64 + 2) * 2 * index::ENTRY_BYTES as u64;
        let is_sensible = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= sensible);
        // Whatever is wrong with an index, the segment itself says the same.
        let bytes = if is_sensible { fs::read(path).unwrap_or_default() } else { Vec::new() };
        for entry in index::read(&bytes, self.id, self.bytes).unwrap_or_default() {
            self.parts.push(Part { offset: entry.offset, end: entry.end(), info: Some(entry.info) });
        }
    }

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

    /// Goes from head to head, from the place that the index leads to.
    fn find_blocks(&mut self, mut offset: u64) -> io::Result<()> {
        while offset < self.bytes {
            let end = match self.header_at(offset)? {
                Ok((header, _)) => {
                    let end = offset + header.bytes_len() as u64;
                    self.parts.push(Part { offset, end: end.min(self.bytes), info: None });
                    end
                }
                Err(BadHeader::Short) => {
                    self.find(offset, self.bytes, FindingKind::Torn);
                    self.bytes
                }
                Err(_) => match self.first_byte(offset)? {
                    None => {
                        self.find(offset, self.bytes, FindingKind::Torn);
                        self.bytes
                    }
                    Some(byte) => {
                        let unit = (byte - byte % UNIT_BYTES as u64).max(offset + UNIT_BYTES as u64);
                        self.find(offset, unit.min(self.bytes), FindingKind::Damaged);
                        unit
                    }
                },
            };
            offset = end;
        }
        Ok(())
    }

    /// Where the first byte from here on is that is not zero. `None`: there is none.
    fn first_byte(&self, mut offset: u64) -> io::Result<Option<u64>> {
        let mut buffer = vec![0; UNIT_BYTES];
        loop {
            let read = read_at(&self.file, &mut buffer, offset)?;
            let chunk = buffer.get(..read).unwrap_or_default();
            if let Some(at) = chunk.iter().position(|byte| *byte != 0) {
                return Ok(Some(offset + at as u64));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            offset += read as u64;
        }
    }

    /// Cuts at line ends, from the place that the index leads to.
    fn find_lines(&mut self, mut start: u64) -> io::Result<()> {
        let mut buffer = vec![0; 2 * UNIT_BYTES];
        // The end of the last line that ends, and how far was looked.
        let (mut line_end, mut at) = (start, start);
        while at < self.bytes {
            let read = read_at(&self.file, &mut buffer, at)?;
            let chunk = buffer.get(..read).unwrap_or_default();
            if chunk.is_empty() {
                break;
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
                // What is left of this line will be one that is no record.
                self.find(line_end, at, FindingKind::Damaged);
                (start, line_end) = (at, at);
            }
        }
        if start < self.bytes {
            self.parts.push(Part { offset: start, end: self.bytes, info: None });
        }
        Ok(())
    }

    /// Reads a part and takes what the filter lets through. `buffer` is used again from call to call. What is not whole
    /// becomes a finding.
    pub(super) fn read(
        &mut self,
        part: Part,
        filter: &Filter<'_>,
        out: &mut Records,
        buffer: &mut Vec<u8>,
    ) -> io::Result<PartRead> {
        let len = usize::try_from(part.end - part.offset).unwrap_or(usize::MAX);
        buffer.resize(len, 0);
        let read = read_at(&self.file, buffer, part.offset)?;
        buffer.truncate(read);
        let found = match self.format {
            Format::Binary => self.read_block(part, filter, out, buffer),
            Format::Json => PartRead::of_lines(line::decode(buffer, filter, out), buffer.len()),
        };
        let (start, end) = (part.offset + found.whole_bytes, part.offset + read as u64);
        match found.end {
            End::Clean => {}
            End::Torn => self.find(start, end, FindingKind::Torn),
            End::Damaged => self.find(start, end, FindingKind::Damaged),
        }
        if found.bad_bytes > 0 {
            self.find(part.offset, part.offset + found.bad_bytes, FindingKind::Damaged);
        }
        Ok(found)
    }

    /// The bytes of a part as they are.
    pub(super) fn bytes_of(&self, part: Part) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(part.end - part.offset).unwrap_or(usize::MAX)];
        let read = read_at(&self.file, &mut bytes, part.offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Where the last line ends.
    pub(super) fn end_of_lines(&self) -> io::Result<u64> {
        let Some(part) = self.parts.last() else { return Ok(0) };
        let bytes = self.bytes_of(*part)?;
        Ok(part.offset + memchr::memrchr(b'\n', &bytes).map_or(0, |at| at as u64 + 1))
    }

    fn read_block(&self, part: Part, filter: &Filter<'_>, out: &mut Records, bytes: &[u8]) -> PartRead {
        let header = Header::read(bytes).ok().filter(|(header, _)| {
            u64::from(header.unit) * UNIT_BYTES as u64 == part.offset && header.segment == self.id
        });
        let Some((header, sum)) = header else {
            // Only the index knew of this block.
            let next_seq = part.info.map_or(0, |info| info.first_seq + info.records);
            let info = PartInfo::default();
            return PartRead { info, next_seq, whole_bytes: 0, end: End::Damaged, bad_bytes: 0, block: None };
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

    /// Number of the first record, as far as anything says. `None`: there is none.
    pub(super) fn first_seq(&mut self, buffer: &mut Vec<u8>) -> io::Result<Option<u64>> {
        for part in self.parts.clone() {
            if let Some(info) = part.info.filter(|info| info.records > 0) {
                return Ok(Some(info.first_seq));
            }
            let findings = self.findings.len();
            let found = self.read(part, &Filter::NONE, &mut Records::default(), buffer)?;
            // It will be read again, and told then.
            self.findings.truncate(findings);
            if found.info.records > 0 {
                return Ok(Some(found.info.first_seq));
            }
        }
        Ok(None)
    }

    fn find(&mut self, offset: u64, end: u64, kind: FindingKind) {
        let bytes = end - offset;
        // Units in a row are one block that was longer.
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
