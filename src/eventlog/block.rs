//! A block of a binary segment: its header, and chunks of records, each under its own checksum (`mod.rs`, Segment).
//! [`BlockEncoder`] runs on `rt-files` and fills one block in memory. [`decode`] reads one on the thread of the
//! reader. A block is readable without any other. Within a block the chunks depend on each other, so a bad chunk ends
//! it: `decode` returns the records before that chunk, and no input makes it panic or allocate out of proportion.

use crate::eventlog::format::{
    BLOCK_RECORDS_MAX, CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, EVENTLOG_BLOCK_TEXT_BYTES_MAX, FRESH, HEADER_BYTES, MAGIC,
    UNIT_BYTES, VERSION,
};
use crate::eventlog::record::{RecordDecoder, RecordEncoder};
use crate::eventlog::records::{PartEnd, PartInfo, RecordFilter, Records, StoredRecord, TextRange};
use crate::eventlog::tables::Mark;
use crate::eventlog::varint::Cursor;

/// Upper bound of the bytes that a record takes beside its channel and payload: form, time, tags and lengths.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// The header of a block without its magic and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the block in units, 1 to 255.
    pub(super) span: u8,
    /// Random id of the segment that the block belongs to.
    pub(super) segment: u64,
    /// Seq of the first record.
    pub(super) first_seq: u64,
    /// Unix milliseconds that the time of the first record is relative to.
    pub(super) base_ms: u64,
    /// Offset of the block in its segment, in units. A reader compares it with the real offset: a block that was
    /// copied to another place in the file is no block there.
    pub(super) unit: u32,
}

/// The reason why bytes do not begin with a readable block header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// The bytes are the beginning of a header and end within it.
    Short,
    /// The magic is wrong.
    Foreign,
    /// The header is intact and has this version, which the reader does not know.
    Newer(u8),
    /// The magic is right; the checksum or a field is wrong.
    Damaged,
}

impl Header {
    /// Length of the whole block in bytes, the zeros at its end included.
    pub(super) fn bytes_len(&self) -> usize {
        usize::from(self.span) * UNIT_BYTES
    }

    /// Appends the header. Returns its checksum, which the checksum of the first chunk continues.
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

    /// Reads a header from the front of `bytes`. Returns it with its checksum, which the checksum of the first chunk
    /// continues.
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
        // The checksum has the same position in every version, so it is checked first: otherwise a flipped bit in the
        // version byte would look like a later version.
        if crc32fast::hash(body) != sum {
            return Err(BadHeader::Damaged);
        }
        let [_, _, _, _, version, span, _, _, ..] = *head;
        if version > VERSION {
            return Err(BadHeader::Newer(version));
        }
        let [segment, first_seq, base_ms] = [8, 16, 24].map(|at| le64(head.get(at..at + 8).unwrap_or_default()));
        let unit = le32(head.get(32..36).unwrap_or_default());
        // A block adds its record count to `first_seq`; half of the range leaves room for that without an overflow.
        if span == 0 || first_seq > u64::MAX / 2 {
            return Err(BadHeader::Damaged);
        }
        Ok((Header { span, segment, first_seq, base_ms, unit }, sum))
    }
}

/// The first four bytes as a little-endian number; 0 if there are fewer.
fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The first eight bytes as a little-endian number; 0 if there are fewer.
fn le64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The checksum of a chunk from its length on. It continues the checksum `before`, of the previous chunk or the
/// header, so that a chunk is valid only in its own place.
fn chunk_sum(before: u32, chunk: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(chunk);
    hasher.finalize()
}

// ---- writing --------------------------------------------------------------------------------------------------

/// Fills one block after the other in memory.
///
/// ```text
/// begin ──▶ append ... append ──▶ seal ──▶ (write) ──▶ restore ──▶ append ... ──▶ finish ──▶ (write) ──▶ begin
///                                   └── ends the chunk                               └── ends the block
/// ```
///
/// The buffer leaves the encoder in `seal` and comes back in `restore`, so that the writer can lend it to the disk
/// without a copy.
pub(super) struct BlockEncoder {
    block: Vec<u8>,
    records: RecordEncoder,
    /// Length that the finished block has; no record may go beyond it.
    capacity: usize,
    /// Offset of the open chunk in the block, if one is open.
    chunk_at: Option<usize>,
    /// True if the next chunk begins with empty tables.
    fresh: bool,
    /// Checksum of the last ended chunk, or of the header.
    sum: u32,
    /// Time of the last record, or the header's time: the next record stores the difference.
    last_ms: u64,
    info: PartInfo,
}

impl BlockEncoder {
    /// An encoder without a block; [`BlockEncoder::begin`] starts the first one.
    pub(super) fn new() -> BlockEncoder {
        BlockEncoder {
            block: Vec::new(),
            records: RecordEncoder::new(),
            capacity: 0,
            chunk_at: None,
            fresh: true,
            sum: 0,
            last_ms: 0,
            info: PartInfo::default(),
        }
    }

    /// Begins a block in `buffer`, whose old content is dropped.
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

    /// Continues a block that a reader found in its file: `block` are its bytes and `read` the result of [`decode`].
    /// Bytes behind the last whole chunk are dropped. The tables of the old encoder are gone, so the next chunk is a
    /// fresh one.
    pub(super) fn resume(&mut self, block: Vec<u8>, header: Header, read: &Decoded) {
        self.capacity = header.bytes_len();
        self.block = block;
        self.block.truncate(read.whole_bytes);
        self.info = read.info;
        (self.sum, self.last_ms) = (read.sum, read.last_ms);
        self.chunk_at = None;
        self.fresh = true;
    }

    /// Summary of all records in the block, those of the open chunk included.
    pub(super) fn info(&self) -> &PartInfo {
        &self.info
    }

    /// Appends a record. Returns false and leaves the block as it was if the record does not fit.
    pub(super) fn append(&mut self, time_ms: u64, channel: &[u8], payload: &[u8]) -> bool {
        self.append_by(time_ms, |records, block, mark, step_ms| records.push(block, mark, step_ms, channel, payload))
    }

    /// Appends a record without taking its payload apart. It always fits an empty block of [`span_for`] units,
    /// whereas a payload that is taken apart can need more bytes than its text.
    pub(super) fn append_verbatim(&mut self, time_ms: u64, channel: &[u8], payload: &[u8], is_json: bool) -> bool {
        self.append_by(time_ms, |records, block, _, step_ms| {
            records.push_verbatim(block, step_ms, channel, payload, is_json);
        })
    }

    /// Opens a chunk if none is open, lets `push` encode the record, and takes everything back if the block is too
    /// long then.
    #[optimize(speed)]
    fn append_by(&mut self, time_ms: u64, push: impl FnOnce(&mut RecordEncoder, &mut Vec<u8>, Mark, i64)) -> bool {
        let start = self.block.len();
        if self.chunk_at.is_none() {
            if self.fresh {
                self.records.clear();
            }
            self.block.extend_from_slice(&[0; CHUNK_HEADER_BYTES]);
        }
        let mark = self.records.begin(&self.block);
        // Wraps in both directions, and the decoder wraps back: any two times have a difference.
        let step_ms = time_ms.wrapping_sub(self.last_ms) as i64;
        push(&mut self.records, &mut self.block, mark, step_ms);
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

    /// Ends the open chunk and returns the block so far, whose bytes do not change any more. The caller gives the
    /// buffer back with [`BlockEncoder::restore`] before it appends again.
    pub(super) fn seal(&mut self) -> Vec<u8> {
        self.end_chunk();
        std::mem::take(&mut self.block)
    }

    /// Takes back the buffer that [`BlockEncoder::seal`] returned.
    pub(super) fn restore(&mut self, block: Vec<u8>) {
        self.block = block;
    }

    /// Fills in the length, flags and checksum of the open chunk, if there is one.
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

    /// Bytes of the block so far, the open chunk included.
    pub(super) fn len(&self) -> usize {
        self.block.len()
    }

    /// Ends the block and returns its bytes, filled with zeros up to the end of its last unit.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut block = self.seal();
        block.resize(self.capacity, 0);
        block
    }
}

/// Units that a block needs to hold a record of this size if its payload is not taken apart. `None`: the record does
/// not fit into one chunk, or the block into 255 units.
pub(super) fn span_for(channel: &[u8], payload: &[u8]) -> Option<u8> {
    let bytes = HEADER_BYTES + CHUNK_HEADER_BYTES + RECORD_OVERHEAD_BYTES + channel.len() + payload.len();
    if bytes > CHUNK_BYTES_MAX {
        return None;
    }
    u8::try_from(bytes.div_ceil(UNIT_BYTES)).ok()
}

// ---- reading --------------------------------------------------------------------------------------------------

/// The result of reading one block.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Summary of all records of the block, those included that the filter did not let through.
    pub(super) info: PartInfo,
    /// Bytes from the start of the block to the end of its last whole chunk.
    pub(super) whole_bytes: usize,
    pub(super) end: PartEnd,
    /// Checksum of the last whole chunk, for [`BlockEncoder::resume`].
    sum: u32,
    /// Time of the last record, for [`BlockEncoder::resume`].
    last_ms: u64,
}

/// Reads a block and appends the records that `filter` lets through to `out`. `bytes` begin with the block's header
/// and reach to the end of the block, or of the file if that comes first; `sum` is the header's checksum.
pub(super) fn decode(bytes: &[u8], header: &Header, sum: u32, filter: &RecordFilter<'_>, out: &mut Records) -> Decoded {
    let bytes = bytes.get(..header.bytes_len()).unwrap_or(bytes);
    let mut decoder = BlockDecoder {
        bytes,
        block_bytes: header.bytes_len(),
        decoder: RecordDecoder::default(),
        wanted: Vec::new(),
        filter,
        text_before: out.text.len(),
        decoded: Decoded {
            info: PartInfo { first_seq: header.first_seq, ..PartInfo::default() },
            whole_bytes: HEADER_BYTES.min(bytes.len()),
            end: PartEnd::Clean,
            sum,
            last_ms: header.base_ms,
        },
    };
    loop {
        match decoder.chunk(out) {
            Step::Chunk => {}
            Step::End(end) => {
                decoder.decoded.end = end;
                return decoder.decoded;
            }
        }
    }
}

/// One step of [`BlockDecoder`]: a whole chunk was read, or the block ends here.
enum Step {
    Chunk,
    End(PartEnd),
}

/// State of [`decode`] between two chunks.
struct BlockDecoder<'a> {
    bytes: &'a [u8],
    /// Length of the whole block by its header; `bytes` may be shorter.
    block_bytes: usize,
    decoder: RecordDecoder,
    /// For each form: whether its channel passes the filter, and its range in the text of `out`. Comparing a channel
    /// once for each form instead of each record also stores its text only once.
    wanted: Vec<Wanted>,
    filter: &'a RecordFilter<'a>,
    /// Length of the text of `out` before this block.
    text_before: usize,
    decoded: Decoded,
}

/// The answer of the filter for the channel of one form.
#[derive(Clone, Copy)]
enum Wanted {
    Unknown,
    No,
    Yes(TextRange),
}

impl BlockDecoder<'_> {
    /// Checks the checksum of the next chunk and reads its records. Nothing is read from a chunk whose checksum is
    /// wrong.
    fn chunk(&mut self, out: &mut Records) -> Step {
        let at = self.decoded.whole_bytes;
        let rest = self.bytes.get(at..).unwrap_or_default();
        let Some((head, _)) = rest.split_first_chunk::<CHUNK_HEADER_BYTES>() else {
            // Zeros up to the end fill a block, or the file system grew the file before the bytes came.
            return Step::End(if rest.iter().all(|byte| *byte == 0) { PartEnd::Clean } else { self.cut_off() });
        };
        let word = le32(&head[4..]);
        let (len, flags) = ((word & CHUNK_BYTES_MAX as u32) as usize, word & !(CHUNK_BYTES_MAX as u32));
        if len == 0 && rest.iter().all(|byte| *byte == 0) {
            return Step::End(PartEnd::Clean);
        }
        let Some(chunk) = rest.get(4..CHUNK_HEADER_BYTES + len) else { return Step::End(self.cut_off()) };
        let sum = chunk_sum(self.decoded.sum, chunk);
        if sum != le32(head) || flags & !FRESH != 0 {
            return Step::End(PartEnd::Damaged);
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
                return Step::End(PartEnd::Damaged);
            }
        }
        self.decoded.sum = sum;
        self.decoded.whole_bytes = end;
        Step::Chunk
    }

    /// The end of a block whose next chunk is longer than the bytes at hand.
    fn cut_off(&self) -> PartEnd {
        // In a complete block only a damaged length can point beyond its end.
        if self.bytes.len() == self.block_bytes { PartEnd::Damaged } else { PartEnd::Torn }
    }

    /// Reads one record, and appends it to `out` if the filter takes it. `None`: the bytes are no record. The record
    /// is decoded in any case, because later records refer to the strings and shapes that it defines.
    #[optimize(speed)]
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
                let payload = TextRange { at, len: out.text.len() - at };
                out.rows.push(StoredRecord { time_ms, seq, channel, payload, raw: head.is_raw() });
            }
        }
        self.decoded.last_ms = time_ms;
        self.decoded.info.add(time_ms);
        Some(())
    }

    /// The range of the form's channel in the text of `out`. `None`: the filter refuses this channel.
    fn channel(&mut self, form: usize, out: &mut Records) -> Option<TextRange> {
        if self.wanted.len() <= form {
            self.wanted.resize(form + 1, Wanted::Unknown);
        }
        let wanted = self.wanted.get_mut(form)?;
        if matches!(wanted, Wanted::Unknown) {
            let channel = self.decoder.channel(self.bytes, form);
            *wanted = if self.filter.channel.is_none_or(|only| only == channel) {
                let found = TextRange { at: out.text.len(), len: channel.len() };
                out.text.extend_from_slice(channel);
                Wanted::Yes(found)
            } else {
                Wanted::No
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
