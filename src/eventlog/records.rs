//! Values that the readers, writers and decoders of both formats share: a query, the records it finds, a decoder's
//! filter, and the description of one part of a segment. Pure values; nothing here touches a file. A **part** is the
//! unit of reading and of the index: one block of a binary segment, or about 32 KiB of JSON lines.

/// The records that a caller wants from a log. The default asks for the first 1000 records of any time and channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// First time that matches, in Unix milliseconds, itself included.
    pub start_ms: u64,
    /// Last time that matches, in Unix milliseconds, itself included.
    pub end_ms: u64,
    /// The only channel that matches, compared byte by byte. `None`: every channel matches.
    pub channel: Option<Vec<u8>>,
    /// Upper bound of the records in the answer: the first ones that match, or the last ones with `newest_first`. A
    /// script gets at most [`crate::config::limits::EVENTLOG_READ_RECORDS_MAX`].
    pub limit: usize,
    /// Order by seq: false is ascending, true is descending.
    pub newest_first: bool,
}

impl Default for Query {
    fn default() -> Query {
        Query { start_ms: 0, end_ms: u64::MAX, channel: None, limit: 1000, newest_first: false }
    }
}

/// One record, borrowed from the [`Records`] that a reader filled or from the caller of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Unix milliseconds at which the event was recorded. Clocks go back, so times need not ascend with seq.
    pub(crate) time_ms: u64,
    /// Number of the record in its log, counted from 1 through all segments.
    pub seq: u64,
    /// Channel of the event; a writer refuses no bytes here, so it need not be UTF-8.
    pub(crate) channel: &'a [u8],
    /// JSON without white space between its values if it was taken apart, JSON as it came otherwise, or, if `raw`,
    /// any bytes.
    pub payload: &'a [u8],
    /// True if the payload is no JSON.
    pub(crate) raw: bool,
}

/// Records in the order of the query. All their bytes stand in one buffer, so that an answer of 100,000 records does
/// not take two allocations for each of them.
#[derive(Debug, Default)]
pub struct Records {
    pub(super) text: Vec<u8>,
    pub(super) rows: Vec<StoredRecord>,
}

/// A [`Record`] inside [`Records`]: its bytes are ranges of the common text.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredRecord {
    pub(super) time_ms: u64,
    pub(super) seq: u64,
    pub(super) channel: TextRange,
    pub(super) payload: TextRange,
    pub(super) raw: bool,
}

/// A range of bytes in the text of [`Records`].
#[derive(Debug, Clone, Copy)]
pub(super) struct TextRange {
    pub(super) at: usize,
    pub(super) len: usize,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The records in the order of the query.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.rows.iter().map(|row| Record {
            time_ms: row.time_ms,
            seq: row.seq,
            channel: self.bytes(row.channel),
            payload: self.bytes(row.payload),
            raw: row.raw,
        })
    }

    /// The bytes of a range; empty if the range lies outside the text, which only a fault of a decoder could cause.
    fn bytes(&self, found: TextRange) -> &[u8] {
        self.text.get(found.at..found.at + found.len).unwrap_or_default()
    }
}

/// Summary of the records in one part of a segment. The index stores one for each complete part, so that a reader can
/// skip a part without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PartInfo {
    /// Seq of the first record; those of a block follow without a gap.
    pub(crate) first_seq: u64,
    /// Number of records in the part.
    pub(crate) records: u64,
    /// Lowest and highest time of its records. Clocks go back, so these need not be the times of the first and last
    /// record.
    pub(crate) earliest_ms: u64,
    pub(crate) latest_ms: u64,
}

impl PartInfo {
    /// Counts one record of this time.
    pub(super) fn add(&mut self, time_ms: u64) {
        let first = self.records == 0;
        self.earliest_ms = if first { time_ms } else { self.earliest_ms.min(time_ms) };
        self.latest_ms = if first { time_ms } else { self.latest_ms.max(time_ms) };
        self.records += 1;
    }
}

/// The condition that a decoder applies to each record before it copies any bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordFilter<'a> {
    /// Times that pass, in Unix milliseconds, both ends included.
    pub(super) start_ms: u64,
    pub(super) end_ms: u64,
    /// The only channel that passes; `None`: every channel.
    pub(super) channel: Option<&'a [u8]>,
    /// Seqs that pass: from the first bound on, and below the second. The upper bound cuts the records that a later
    /// segment repeats; the lower bound limits a part to its last records when the newest come first.
    pub(super) seq_from: u64,
    pub(super) seq_below: u64,
    /// Bounds of the [`Records`] that the decoder fills: it takes no record beyond `rows_max` records or once the
    /// text is longer than `text_max` bytes.
    pub(super) rows_max: usize,
    pub(super) text_max: usize,
}

impl<'a> RecordFilter<'a> {
    /// Lets every record through.
    pub(super) const ALL: RecordFilter<'static> = RecordFilter {
        start_ms: 0,
        end_ms: u64::MAX,
        channel: None,
        seq_from: 0,
        seq_below: u64::MAX,
        rows_max: usize::MAX,
        text_max: usize::MAX,
    };
    /// Lets no record through: for a caller that only needs the [`PartInfo`] and the end of a part.
    pub(super) const NONE: RecordFilter<'static> = RecordFilter { seq_below: 0, ..RecordFilter::ALL };

    /// True if no record of a part with this summary can pass.
    pub(super) fn excludes(&self, info: &PartInfo) -> bool {
        info.latest_ms < self.start_ms || self.end_ms < info.earliest_ms || self.seq_below <= info.first_seq
    }

    /// True if every record of a part with this summary passes. A filter by channel never says so, since the summary
    /// names no channels.
    pub(super) fn takes_all(&self, info: &PartInfo) -> bool {
        self.start_ms <= info.earliest_ms
            && info.latest_ms <= self.end_ms
            && self.channel.is_none()
            && self.seq_from <= info.first_seq
            && info.first_seq + info.records <= self.seq_below
    }

    /// True if `records` may take one more record under the bounds of this filter.
    #[inline]
    pub(super) fn has_room(&self, records: &Records) -> bool {
        records.rows.len() < self.rows_max && records.text.len() <= self.text_max
    }

    /// True if a record of this time and seq passes. The decoder compares the channel separately, once for each form.
    #[inline]
    pub(super) fn takes(&self, time_ms: u64, seq: u64) -> bool {
        self.start_ms <= time_ms && time_ms <= self.end_ms && self.seq_from <= seq && seq < self.seq_below
    }
}

/// How the content of a part ends. A reader reports the last two differently, because only damage loses records that
/// were complete once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartEnd {
    /// Only whole chunks or lines.
    Clean,
    /// The file ends within a chunk or line: its writer was stopped.
    Torn,
    /// The bytes behind the whole chunks are no chunk.
    Damaged,
}
