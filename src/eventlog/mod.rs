//! The event log: records of events on disk, compact, checked, readable while they are written.
//! This file is the specification of its format, version 1, and the values that reader and writer share.
//!
//! # Files
//!
//! The log `deaths.log` is a row of **segments**. The youngest has the log's own name; when it is full it is
//! **rotated**: renamed to the next number, and a new one takes its place. Numbers only grow.
//!
//! ```text
//! deaths.log.000001  deaths.log.000002  deaths.log     segments, oldest first
//! deaths.log.000001.idx  ...            deaths.log.idx  their indexes (index.rs); may be deleted at any time
//! deaths.log.lock                                       locked while a process writes (claims.rs): its process id,
//!                                                       and the numbers of the files that it rotated
//! ```
//!
//! Six digits at least, none of them a needless zero: no other name is a rotated segment's. Of the files with such names
//! those belong to the log whose numbers stand in its lock file. Those that follow the last of them without a gap may
//! belong to it, and all, if that file is gone or says nothing: chain.rs looks at their records.
//!
//! A segment is binary (below) or JSON lines (`line.rs`); its first bytes tell, and one log may have both kinds.
//! Records are numbered from 1 through all segments: that is a record's **seq**. When a segment had to be abandoned
//! (its fsync failed), the next one begins with the records that were not safe, under the same numbers: **of a segment
//! only the records count whose seq is below the first of the next segment.**
//!
//! # Segment
//!
//! All numbers are little-endian. `varint` is LEB128; a `signed` one is folded first (0, -1, 1, -2: `varint.rs`).
//!
//! ```text
//! segment = block*                      each at a multiple of 32 KiB (a unit)
//! block   = header chunk* zeros         up to `span` units; only the last block of a file may be shorter
//!
//! header    0  52 54 45 4c   "RTEL"
//!           4  version u8    1
//!           5  span u8       units the block takes: more than 1 only for a record that needs it
//!           6  00 00
//!           8  segment u64   random, the same in all blocks of the segment
//!          16  seq u64       of the first record in the block
//!          24  time u64      Unix milliseconds, where the times of the block start from
//!          32  unit u32      where in the file the block begins
//!          36  crc32 u32     of the 36 bytes before it
//!
//! chunk     0  crc32 u32     of all bytes of the chunk behind it, going on from the crc of the chunk before, the first
//!                            from that of the header: so a chunk counts in its place and in its segment only
//!           4  len u24       of what follows the flags
//!           7  flags u8      1: fresh, the tables below are empty again (the first of a block always is); others: 0
//!           8  record*
//! ```
//!
//! A chunk is what was written at once. Blocks need no other block, so a damaged one costs only itself.
//!
//! # Records
//!
//! ```text
//! record  = form varint                 0: a new form is described here, else its number, counted from 1
//!           [channel body]              of a new form: the channel as a string value, then what its payload is:
//!                                       0 no JSON, 1 JSON as it came, 2 + n the shape of that number, counted from 0;
//!                                       the number after the last known shape is a new one, whose skeleton follows
//!           time signed                 milliseconds after the record before, or after the header's time
//!           payload                     body 0 and 1: len varint, bytes; else one value for each hole of the shape
//! skeleton = len varint, bytes          the text of an object without white space; a 00 byte, a hole, stands for
//!                                       every value that is no object; of anything else than an object: one hole
//!
//! value     00 null  01 false  02 true
//!           03 len varint, bytes        string, from now on the next number of the block's strings
//!           04 len varint, bytes        string without a number
//!           05 len varint, bytes        number as its text
//!           06 varint, 07 varint        whole number, and a negative one (its magnitude)
//!           08 signed                   whole number: so much more than the last one of this hole, 0 at first
//!           09 value* 0b                array
//!           0a shape value*             object, only in arrays: 0 and a skeleton for a new shape, else number + 1
//!           10..1f, 20..2f varint       decimal, and a negative one: the digits, of which 1..16 stand behind the point
//!           40..5f                      whole numbers 0..31
//!           60..7f, u8                  string of number 128 + (low 5 bits, then the byte)
//!           80..ff                      string of number 0..127
//! ```
//!
//! Strings stand there as in JSON, escapes included, and a number that would not come back digit by digit is text. So a
//! payload comes back as it was, keys in their order, repeated ones too; only white space between values is gone. A
//! number from a hole counts for 08 whatever its tag, if it fits 64 signed bits.
//!
//! # Example
//!
//! Two records of channel `kill`, one second apart, in the segment 1122334455667788: `{"by":"Al","hp":72.5}` and
//! `{"by":"Al","hp":40}`.
//!
//! ```text
//! 52 54 45 4c 01 01 00 00 88 77 66 55 44 33 22 11   header: one unit, the segment
//! 01 00 00 00 00 00 00 00 00 00 29 b3 9a 01 00 00   seq 1, time 1763942400000
//! 00 00 00 00 2c ef 38 a8                           unit 0, crc
//! e7 d7 88 3f 26 00 00 01                           chunk: crc, 38 bytes, fresh
//! 00 03 04 6b 69 6c 6c 02                           record of a new form: channel "kill" (string 0), a new shape
//! 0f 7b 22 62 79 22 3a 00 2c 22 68 70 22 3a 00 7d   whose skeleton is {"by":_,"hp":_}
//! 00 03 02 41 6c 10 d5 05                           no time later; "Al" (string 1); 725, one digit behind the point
//! 01 d0 0f 81 06 28                                 record of form 1, 1000 ms later; string 1; 40
//! ```
//!
//! # Damage, and what a reader does
//!
//! | found | means | reader |
//! |---|---|---|
//! | a chunk or line that the end of the file cuts off | torn: its writer was stopped | ends there, tells how many bytes |
//! | nothing but zeros to the end | the file system grew the file first | ends there |
//! | a chunk whose crc or content is wrong | damaged | takes the chunks before it, reports, goes on with the next block |
//! | a header whose crc is wrong, of another segment or unit | damaged | reports, looks at the next unit |
//! | a first block of a later version, its crc right | newer | refuses the segment |
//! | a file that begins like neither format | foreign | refuses the segment, a writer too |
//! | a line that is no record | damaged | reports, goes on with the next line |
//! | a block of more records, or tables of more entries, than a unit has bytes | forged | the same as a wrong crc |
//! | a record of more than 1 MiB of text, a block of more than 36 MiB | forged | the same |
//!
//! A writer that opens a log cuts off what is torn, so nothing half stays, and leaves what is damaged: it goes on in the
//! next block.
//!
//! # Versions
//!
//! The magic, the version byte and the place of the header's crc never change. Whatever changes the meaning of a byte
//! gets a new version; readers know all versions up to their own, and refuse later ones. Writers write one.

mod block;
mod chain;
mod claims;
mod digits;
pub(crate) mod disk;
pub(crate) mod folder;
mod index;
pub mod line;
pub(crate) mod path;
pub mod reader;
mod record;
mod scan;
pub(crate) mod segment;
pub(crate) mod spec;
mod tables;
mod varint;
pub(crate) mod writer;

use crate::config::limits::{IDENTITY_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};

pub(crate) use spec::{Format, Fsync, LogSpec};

/// Most bytes that one record may grow to when it is read. No writer makes larger ones; a forged file might.
pub(crate) const EVENTLOG_RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes that all records of one block may grow to when they are read.
const EVENTLOG_BLOCK_TEXT_BYTES_MAX: usize = 36 * 1024 * 1024;
const _: () = assert!(PAYLOAD_BYTES_MAX + IDENTITY_BYTES_MAX + NAME_BYTES_MAX < EVENTLOG_RECORD_BYTES_MAX);

/// Which records of a log are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Unix milliseconds; both ends are included.
    pub start_ms: u64,
    pub end_ms: u64,
    /// Only those of exactly this channel.
    pub channel: Option<Vec<u8>>,
    /// At most so many: the first of all that match, or the last if the newest come first. A script gets
    /// [`crate::config::limits::EVENTLOG_READ_RECORDS_MAX`] at most.
    pub limit: usize,
    pub newest_first: bool,
}

impl Default for Query {
    fn default() -> Query {
        Query { start_ms: 0, end_ms: u64::MAX, channel: None, limit: 1000, newest_first: false }
    }
}

/// One record as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub(crate) time_ms: u64,
    /// Number of the record in its log.
    pub seq: u64,
    pub(crate) channel: &'a [u8],
    /// JSON without white space between its values, or, if `raw`, bytes that are none.
    pub payload: &'a [u8],
    pub(crate) raw: bool,
}

/// Records in the order in which they were asked for. All their bytes are in one piece of memory.
#[derive(Debug, Default)]
pub struct Records {
    text: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    time_ms: u64,
    seq: u64,
    channel: Found,
    payload: Found,
    raw: bool,
}

/// Bytes of [`Records`].
#[derive(Debug, Clone, Copy)]
struct Found {
    at: usize,
    len: usize,
}

impl Records {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.rows.iter().map(|row| Record {
            time_ms: row.time_ms,
            seq: row.seq,
            channel: self.bytes(row.channel),
            payload: self.bytes(row.payload),
            raw: row.raw,
        })
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }

    fn bytes(&self, found: Found) -> &[u8] {
        self.text.get(found.at..found.at + found.len).unwrap_or_default()
    }
}

/// What is known of a part of a segment: a block, or some lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PartInfo {
    pub(crate) first_seq: u64,
    pub(crate) records: u64,
    /// Of its records; clocks go back, so these need not be the first and the last.
    pub(crate) earliest_ms: u64,
    pub(crate) latest_ms: u64,
}

impl PartInfo {
    fn add(&mut self, time_ms: u64) {
        let first = self.records == 0;
        self.earliest_ms = if first { time_ms } else { self.earliest_ms.min(time_ms) };
        self.latest_ms = if first { time_ms } else { self.latest_ms.max(time_ms) };
        self.records += 1;
    }
}

/// What a decoder lets through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'a> {
    start_ms: u64,
    end_ms: u64,
    channel: Option<&'a [u8]>,
    /// Records from this number on, and below that one.
    seq_from: u64,
    seq_below: u64,
    /// What all [`Records`] that it lets through may be: no record is taken beyond so many, or behind so much text.
    rows_max: usize,
    text_max: usize,
}

impl<'a> Filter<'a> {
    const ALL: Filter<'static> = Filter {
        start_ms: 0,
        end_ms: u64::MAX,
        channel: None,
        seq_from: 0,
        seq_below: u64::MAX,
        rows_max: usize::MAX,
        text_max: usize::MAX,
    };
    const NONE: Filter<'static> = Filter { seq_below: 0, ..Filter::ALL };

    /// True if no record of such a part can pass.
    fn excludes(&self, info: &PartInfo) -> bool {
        info.latest_ms < self.start_ms || self.end_ms < info.earliest_ms || self.seq_below <= info.first_seq
    }

    /// True if every record of such a part passes.
    fn takes_all(&self, info: &PartInfo) -> bool {
        self.start_ms <= info.earliest_ms
            && info.latest_ms <= self.end_ms
            && self.channel.is_none()
            && self.seq_from <= info.first_seq
            && info.first_seq + info.records <= self.seq_below
    }

    /// True if `records` have room for one more.
    #[inline]
    fn has_room(&self, records: &Records) -> bool {
        records.rows.len() < self.rows_max && records.text.len() <= self.text_max
    }

    #[inline]
    fn takes(&self, time_ms: u64, seq: u64) -> bool {
        self.start_ms <= time_ms && time_ms <= self.end_ms && self.seq_from <= seq && seq < self.seq_below
    }
}

#[cfg(test)]
mod tests;
