//! A block of a binary segment: its header, and chunks of records each under its own checksum.
//! `Encoder` runs on `rt-files` and fills one block in memory; `decode` reads one, by whom ever a log is read.
//! Layout and rules: `eventlog/mod.rs`. A block is readable without any other; within it a bad chunk ends it.

use crate::eventlog::varint::Cursor;
use crate::eventlog::{EVENTLOG_BLOCK_TEXT_BYTES_MAX, Filter, Found, PartInfo, Records, Row, record};

/// Blocks begin at multiples of this.
pub(super) const UNIT_BYTES: usize = 32 * 1024;
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const CHUNK_HEADER_BYTES: usize = 8;
pub(super) const MAGIC: [u8; 4] = *b"RTEL";
/// Readers refuse what is above it.
pub(super) const VERSION: u8 = 1;
/// The longest block.
pub(super) const BLOCK_BYTES_MAX: usize = u8::MAX as usize * UNIT_BYTES;
/// Longest chunk: what 24 bits count.
const CHUNK_BYTES_MAX: usize = (1 << 24) - 1;
/// Flag of a chunk: its records refer to nothing before it.
const FRESH: u32 = 1 << 24;

/// More records are in no block: beside one long record there is room for a unit of others, and none takes one byte.
const BLOCK_RECORDS_MAX: u64 = UNIT_BYTES as u64;

/// What a record may take beside its channel and payload: numbers, tags and lengths.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// What stands at the head of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// How many units the block takes.
    pub(super) span: u8,
    /// The segment it belongs to.
    pub(super) segment: u64,
    /// Number of the first record in it.
    pub(super) first_seq: u64,
    /// Where its times start from.
    pub(super) base_ms: u64,
    /// Which unit of the segment it begins at.
    pub(super) unit: u32,
}

/// Why there is no block here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Fewer bytes than a header has.
    Short,
    /// It does not begin like a block.
    Foreign,
    /// A version that this reader does not know.
    Newer(u8),
    /// It begins like a block, and its checksum is wrong.
    Damaged,
}

impl Header {
    pub(super) fn bytes_len(&self) -> usize {
        usize::from(self.span) * UNIT_BYTES
    }

    fn write(&self, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, self.span, 0, 0]);
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.base_ms.to_le_bytes());
        out.extend_from_slice(&self.unit.to_le_bytes());
        let sum = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&sum.to_le_bytes());
        sum
    }

    /// Reads the header, and its checksum, with which those of the chunks begin.
    pub(super) fn read(bytes: &[u8]) -> Result<(Header, u32), BadHeader> {
        let Some((head, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(if MAGIC.starts_with(bytes.get(..4).unwrap_or(bytes)) {
                BadHeader::Short
            } else {
                BadHeader::Foreign
            });
        };
        if !head.starts_with(&MAGIC) {
            return Err(BadHeader::Foreign);
        }
        let (body, sum) = head.split_at(HEADER_BYTES - 4);
        let sum = le32(sum);
        // The checksum stands in the same place in every version: a flipped bit is not taken for a new version.
        if crc32fast::hash(body) != sum {
            return Err(BadHeader::Damaged);
        }
        let [_, _, _, _, version, span, _, _, ..] = *head;
        if version > VERSION {
            return Err(BadHeader::Newer(version));
        }
        let [segment, first_seq, base_ms] = [8, 16, 24].map(|at| le64(head.get(at..at + 8).unwrap_or_default()));
        let unit = le32(head.get(32..36).unwrap_or_default());
        // Numbers are counted up from it everywhere.
        if span == 0 || first_seq > u64::MAX / 2 {
            return Err(BadHeader::Damaged);
        }
        Ok((Header { span, segment, first_seq, base_ms, unit }, sum))
    }
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The checksum of a chunk: it goes on from that of the chunk before it, so each belongs to its place.
fn chunk_sum(before: u32, chunk: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(chunk);
    hasher.finalize()
}

// ---- writing --------------------------------------------------------------------------------------------------

/// Fills one block after the other in memory.
pub(super) struct Encoder {
    block: Vec<u8>,
    records: record::Encoder,
    capacity: usize,
    /// Where the open chunk begins, if one is open.
    chunk_at: Option<usize>,
    /// The next chunk is to refer to nothing before it.
    fresh: bool,
    sum: u32,
    last_ms: u64,
    info: PartInfo,
}

impl Encoder {
    pub(super) fn new() -> Encoder {
        Encoder {
            block: Vec::new(),
            records: record::Encoder::new(),
            capacity: 0,
            chunk_at: None,
            fresh: true,
            sum: 0,
            last_ms: 0,
            info: PartInfo::default(),
        }
    }

    /// Begins a block. `buffer` is used again, whatever it holds.
    pub(super) fn begin(&mut self, header: Header, mut buffer: Vec<u8>) {
        buffer.clear();
        self.capacity = header.bytes_len();
        self.sum = header.write(&mut buffer);
        self.block = buffer;
        self.info = PartInfo { first_seq: header.first_seq, ..PartInfo::default() };
        self.chunk_at = None;
        self.fresh = true;
        self.last_ms = header.base_ms;
    }

    /// Goes on with a block that was read from its file.
    pub(super) fn resume(&mut self, block: Vec<u8>, header: Header, read: &Decoded) {
        self.capacity = header.bytes_len();
        self.block = block;
        self.block.truncate(read.whole_bytes);
        self.info = read.info;
        (self.sum, self.last_ms) = (read.sum, read.last_ms);
        self.chunk_at = None;
        self.fresh = true;
    }

    pub(super) fn info(&self) -> &PartInfo {
        &self.info
    }

    /// Appends a record. False, and nothing happened: it does not fit.
    pub(super) fn append(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> bool {
        self.append_by(time_ms, |records, block, step_ms| records.push(block, step_ms, channel, payload))
    }

    /// The same without taking the payload apart: it fits an empty block of [`span_for`] units.
    pub(super) fn append_verbatim(&mut self, time_ms: u64, channel: &[u8], payload: &[u8], is_json: bool) -> bool {
        self.append_by(time_ms, |records, block, step_ms| {
            records.push_verbatim(block, step_ms, channel, payload, is_json);
        })
    }

    fn append_by(&mut self, time_ms: u64, push: impl FnOnce(&mut record::Encoder, &mut Vec<u8>, i64)) -> bool {
        let start = self.block.len();
        if self.chunk_at.is_none() {
            if self.fresh {
                self.records.clear();
            }
            self.block.extend_from_slice(&[0; CHUNK_HEADER_BYTES]);
        }
        let mark = self.records.begin(&self.block);
        let step_ms = time_ms.wrapping_sub(self.last_ms) as i64;
        push(&mut self.records, &mut self.block, step_ms);
        if self.block.len() > self.capacity {
            self.records.back_to(mark, &mut self.block);
            self.block.truncate(start);
            return false;
        }
        self.chunk_at.get_or_insert(start);
        self.last_ms = time_ms;
        self.info.add(time_ms);
        true
    }

    /// Ends the open chunk and hands out the block so far, which will not change any more. It is to be given back by
    /// [`Encoder::restore`].
    pub(super) fn seal(&mut self) -> Vec<u8> {
        self.end_chunk();
        std::mem::take(&mut self.block)
    }

    pub(super) fn restore(&mut self, block: Vec<u8>) {
        self.block = block;
    }

    fn end_chunk(&mut self) {
        let Some(start) = self.chunk_at.take() else { return };
        let Some(chunk) = self.block.get_mut(start..) else { return };
        let len = (chunk.len() - CHUNK_HEADER_BYTES).min(CHUNK_BYTES_MAX) as u32;
        let flags = if self.fresh { FRESH } else { 0 };
        self.fresh = false;
        if let Some((sum, rest)) = chunk.split_first_chunk_mut::<4>()
            && let Some(word) = rest.first_chunk_mut::<4>()
        {
            *word = (len | flags).to_le_bytes();
            self.sum = chunk_sum(self.sum, rest);
            *sum = self.sum.to_le_bytes();
        }
    }

    /// All bytes of the block, the open chunk's included.
    pub(super) fn len(&self) -> usize {
        self.block.len()
    }

    /// Ends the block: its bytes, filled up to the end of its last unit.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut block = self.seal();
        block.resize(self.capacity, 0);
        block
    }
}

/// The units that a block needs to hold a record of this size in any case. `None`: no block is that long.
pub(super) fn span_for(channel: &[u8], payload: &[u8]) -> Option<u8> {
    let bytes = HEADER_BYTES + CHUNK_HEADER_BYTES + RECORD_OVERHEAD_BYTES + channel.len() + payload.len();
    if bytes > CHUNK_BYTES_MAX {
        return None;
    }
    u8::try_from(bytes.div_ceil(UNIT_BYTES)).ok()
}

// ---- reading --------------------------------------------------------------------------------------------------

/// What was found in a block.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) info: PartInfo,
    /// Bytes up to the end of the last whole chunk.
    pub(super) whole_bytes: usize,
    pub(super) end: End,
    sum: u32,
    last_ms: u64,
}

/// How a block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing but whole chunks.
    Clean,
    /// The file ends within a chunk: its writer was stopped.
    Torn,
    /// What follows the whole chunks is no chunk.
    Damaged,
}

/// Reads a block: `bytes` begin with its header and end with its last unit, or where the file ends. Takes what the
/// filter lets through.
pub(super) fn decode(bytes: &[u8], header: &Header, sum: u32, filter: &Filter<'_>, out: &mut Records) -> Decoded {
    let bytes = bytes.get(..header.bytes_len()).unwrap_or(bytes);
    let mut reading = Reading {
        bytes,
        block_bytes: header.bytes_len(),
        decoder: record::Decoder::default(),
        wanted: Vec::new(),
        filter,
        text_before: out.text.len(),
        decoded: Decoded {
            info: PartInfo { first_seq: header.first_seq, ..PartInfo::default() },
            whole_bytes: HEADER_BYTES.min(bytes.len()),
            end: End::Clean,
            sum,
            last_ms: header.base_ms,
        },
    };
    loop {
        match reading.chunk(out) {
            Step::Chunk => {}
            Step::End(end) => {
                reading.decoded.end = end;
                return reading.decoded;
            }
        }
    }
}

enum Step {
    Chunk,
    End(End),
}

struct Reading<'a> {
    bytes: &'a [u8],
    /// What the header says that the block has.
    block_bytes: usize,
    decoder: record::Decoder,
    /// For each form: unknown yet, or whether its channel passes the filter and where `out` has it.
    wanted: Vec<Wanted>,
    filter: &'a Filter<'a>,
    /// Length of the text before this block.
    text_before: usize,
    decoded: Decoded,
}

#[derive(Clone, Copy)]
enum Wanted {
    Unknown,
    No,
    Yes(Found),
}

impl Reading<'_> {
    /// Checks the next chunk and reads its records.
    fn chunk(&mut self, out: &mut Records) -> Step {
        let at = self.decoded.whole_bytes;
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some((head, _)) = rest.split_first_chunk::<CHUNK_HEADER_BYTES>() else {
            return Step::End(if rest.iter().all(|byte| *byte == 0) { End::Clean } else { self.cut_off() });
        };
        let word = le32(&head[4..]);
        let (len, flags) = ((word & CHUNK_BYTES_MAX as u32) as usize, word & !(CHUNK_BYTES_MAX as u32));
        if len == 0 && rest.iter().all(|byte| *byte == 0) {
            return Step::End(End::Clean);
        }
        let Some(chunk) = rest.get(4..CHUNK_HEADER_BYTES + len) else { return Step::End(self.cut_off()) };
        let sum = chunk_sum(self.decoded.sum, chunk);
        if sum != le32(head) || flags & !FRESH != 0 {
            return Step::End(End::Damaged);
        }
        if flags & FRESH != 0 {
            self.decoder.clear();
            self.wanted.clear();
        }
        let end = at + CHUNK_HEADER_BYTES + len;
        let mut from = Cursor { bytes: self.bytes.get(..end).unwrap_or_default(), at: at + CHUNK_HEADER_BYTES };
        while from.at < end {
            if self.record(&mut from, out).is_none()
                || out.text.len() - self.text_before > EVENTLOG_BLOCK_TEXT_BYTES_MAX
                || self.decoded.info.records > BLOCK_RECORDS_MAX
            {
                return Step::End(End::Damaged);
            }
        }
        self.decoded.sum = sum;
        self.decoded.whole_bytes = end;
        Step::Chunk
    }

    /// A chunk that goes beyond the bytes at hand.
    fn cut_off(&self) -> End {
        // Within a block that is all there only a damaged length can point beyond its end.
        if self.bytes.len() == self.block_bytes { End::Damaged } else { End::Torn }
    }

    fn record(&mut self, from: &mut Cursor<'_>, out: &mut Records) -> Option<()> {
        let head = self.decoder.head(from)?;
        let time_ms = self.decoded.last_ms.wrapping_add(head.step_ms as u64);
        let seq = self.decoded.info.first_seq + self.decoded.info.records;
        let is_wanted = self.filter.takes(time_ms, seq) && self.filter.has_room(out);
        let wanted = if is_wanted { self.channel(head.form, out) } else { None };
        match wanted {
            None => self.decoder.skip(&head, from)?,
            Some(channel) => {
                let at = out.text.len();
                if self.decoder.payload(&head, from, &mut out.text).is_none() {
                    out.text.truncate(at);
                    return None;
                }
                let payload = Found { at, len: out.text.len() - at };
                out.rows.push(Row { time_ms, seq, channel, payload, raw: head.is_raw() });
            }
        }
        self.decoded.last_ms = time_ms;
        self.decoded.info.add(time_ms);
        Some(())
    }

    /// Where `out` has the channel of this form, unless the filter is against it.
    fn channel(&mut self, form: usize, out: &mut Records) -> Option<Found> {
        if self.wanted.len() <= form {
            self.wanted.resize(form + 1, Wanted::Unknown);
        }
        let wanted = self.wanted.get_mut(form)?;
        if matches!(wanted, Wanted::Unknown) {
            let channel = self.decoder.channel(self.bytes, form);
            *wanted = match self.filter.channel.is_none_or(|only| only == channel) {
                false => Wanted::No,
                true => {
                    let found = Found { at: out.text.len(), len: channel.len() };
                    out.text.extend_from_slice(channel);
                    Wanted::Yes(found)
                }
            };
        }
        match *wanted {
            Wanted::Yes(found) => Some(found),
            Wanted::No | Wanted::Unknown => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
