//! The event log: a compact, checksummed record of events on disk that can be read while it is written.
//! This file specifies its format, version 1, for every reader and writer, ours and others.
//! `rt-files` writes the logs and reads them for callbacks; the game thread reads for scripts that pass no callback.
//!
//! # Files
//!
//! The log `deaths.log` is a sequence of **segments**. The youngest segment has the log's own name. When it is full, the
//! writer **rotates** it: it renames the file to the next number and makes a new file under the log's name. Numbers
//! only grow.
//!
//! ```text
//! deaths.log.000001  deaths.log.000002  deaths.log      segments, oldest first
//! deaths.log.000001.idx  ...            deaths.log.idx  their indexes (index.rs); may be deleted at any time
//! deaths.log.lock                                       locked while a process writes the log (claims.rs): holds the
//!                                                       process id and the numbers of the segments that it rotated
//! ```
//!
//! A rotated number has at least six digits and no needless leading zero; a file with any other ending is no rotated
//! segment. A name proves nothing, because an owner may copy a file to `deaths.log.231224`. Therefore a file belongs to
//! the log only if the lock file lists its number. Two kinds of files may belong to the log as well: those whose numbers
//! follow the last listed one without a gap, and all of them if the lock file is gone or lists nothing. `chain.rs`
//! decides by their records.
//!
//! A segment is binary (below) or JSON lines (`line.rs`). Its first bytes show which, and one log may have both kinds.
//! Records are numbered from 1 through all segments: this number is the record's **seq**. After a failed fsync the writer
//! abandons the segment, and the next segment begins with the records that were not synced, under the same numbers.
//! Therefore a reader takes **only those records of a segment whose seq is below the first seq of the next segment.**
//!
//! # Segment
//!
//! All numbers are little-endian. `varint` is LEB128; a `signed` number is zigzag-folded first (0, -1, 1, -2 become
//! 0, 1, 2, 3: `varint.rs`).
//!
//! ```text
//! segment = block*                      each begins at a multiple of 32 KiB (a unit)
//! block   = header chunk* zeros         `span` units long; only the last block of a file may be shorter
//!
//! header    0  52 54 45 4c   "RTEL"
//!           4  version u8    1
//!           5  span u8       length of the block in units: above 1 only if one record needs it
//!           6  00 00
//!           8  segment u64   random, the same in all blocks of the segment
//!          16  seq u64       of the first record in the block
//!          24  time u64      Unix milliseconds, the base of the block's times
//!          32  unit u32      offset of the block in the file, in units
//!          36  crc32 u32     of the 36 bytes before it
//!
//! chunk     0  crc32 u32     of all bytes of the chunk behind it. It continues the crc of the chunk before, and the
//!                            first one that of the header: so a chunk is valid in its own place and segment only
//!           4  len u24       bytes behind the flags
//!           7  flags u8      1 = fresh: the tables below start empty (always set in a block's first chunk); others 0
//!           8  record*
//! ```
//!
//! A chunk holds the records of one write. A block refers to no other block, so a damaged block costs only itself.
//!
//! # Records
//!
//! A record names its **form**: a channel together with the encoding of the payload. Most payloads of a channel are
//! objects with the same keys, so the form of such a record names a **shape**: the object's text with a **hole** for each
//! value (the skeleton). The record itself then holds the values only. Forms, shapes and short strings are written once
//! in a block and get numbers (`tables.rs`).
//!
//! ```text
//! record  = form varint                 0: a new form follows; else the form's number, counted from 1
//!           [channel payload-kind]      of a new form: the channel as a string value, then a varint for the payload:
//!                                       0 no JSON, 1 JSON as it came, 2 + n the shape of number n, counted from 0.
//!                                       The number after the last known shape is a new shape: its skeleton follows
//!           time signed                 milliseconds after the previous record, or after the header's time
//!           payload                     kinds 0 and 1: len varint, bytes; else one value for each hole of the shape
//! skeleton = len varint, bytes          the text of an object without white space; a byte 00, a hole, stands for
//!                                       every value that is no object. Any other value than an object: one hole
//!
//! value     00 null  01 false  02 true
//!           03 len varint, bytes        string; it gets the next number of the block's strings
//!           04 len varint, bytes        string without a number
//!           05 len varint, bytes        number as its text
//!           06 varint, 07 varint        whole number, and a negative one (its magnitude)
//!           08 signed                   whole number: the difference from the last one in this hole, 0 at first
//!           09 value* 0b                array
//!           0a shape value*             object, only in arrays: 0 and a skeleton for a new shape, else number + 1
//!           10..1f, 20..2f varint       decimal, and a negative one: its digits, 1..16 of them behind the point
//!           40..5f                      whole numbers 0..31
//!           60..7f, u8                  string of number 128 + (low 5 bits, then the byte)
//!           80..ff                      string of number 0..127
//! ```
//!
//! A string is stored as its JSON text with its escapes. A number whose digits an integer would not reproduce exactly is
//! stored as text. So a payload comes back byte for byte, with its keys in their order and repeated keys kept; only white
//! space between values is lost. Every whole number in a hole, whatever its tag, is the base of a following 08 in the
//! same hole, if it fits 64 signed bits.
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
//! 0f 7b 22 62 79 22 3a 00 2c 22 68 70 22 3a 00 7d   with the skeleton {"by":_,"hp":_}
//! 00 03 02 41 6c 10 d5 05                           same time as the header; "Al" (string 1); 725, one digit behind
//! 01 d0 0f 81 06 28                                 record of form 1, 1000 ms later; string 1; 40
//! ```
//!
//! # Damage, and the reader's answer
//!
//! | found | meaning | reader |
//! |---|---|---|
//! | the end of the file cuts off a chunk or line | torn: the writer was stopped | ends there, reports the bytes |
//! | only zeros up to the end of the file | the file system grew the file before the write | ends there |
//! | a chunk with a wrong crc or content | damaged | takes the chunks before it, reports, goes on with the next block |
//! | a header with a wrong crc, segment or unit | damaged | reports, looks at the next unit |
//! | a first block of a later version with a right crc | newer | refuses the segment |
//! | a file that begins like neither format | foreign | refuses the segment; a writer does too |
//! | a line that is no record | damaged | reports, goes on with the next line |
//! | a block with more records, or tables with more entries, than a unit has bytes | forged | as for a wrong crc |
//! | a record of more than 1 MiB of text, a block of more than 36 MiB | forged | as for a wrong crc |
//!
//! A writer that opens a log cuts off the torn tail, so that no half record stays. It leaves damaged bytes as they are
//! and continues in the next block.
//!
//! # Versions
//!
//! The magic, the version byte and the position of the header's crc never change. A change to the meaning of any byte
//! takes a new version. A reader knows all versions up to its own and refuses later ones; a writer writes one version.
//!
//! # Code
//!
//! A file uses files above it, or in its own row, only. Apart from a file and its own subfolder, no two files use each
//! other.
//!
//! | file | holds |
//! |---|---|
//! | `format.rs` | the constants of the format and the limits of a reader |
//! | `records.rs`, `spec.rs`, `path.rs` | the values that reader and writer share; the settings of a log; its path |
//! | `varint.rs`, `digits.rs` | integers as bytes and as decimal text |
//! | `tables.rs`, `scan.rs`, `record.rs` | the tables of a block, the parts of a JSON text, one record in both directions |
//! | `block.rs`, `line.rs`, `index.rs` | the three kinds of files as bytes |
//! | `disk.rs`, `claims.rs`, `folder.rs` | system calls, the text of the lock file, the files of one log |
//! | `segment.rs`, `chain.rs` | one segment on disk; which rotated segments belong to a log |
//! | `reader.rs` | queries over all segments |
//! | `writer.rs` | one log, open for writing |

mod block;
mod chain;
mod claims;
mod digits;
pub(crate) mod disk;
pub(crate) mod folder;
mod format;
mod index;
pub mod line;
pub(crate) mod path;
pub mod reader;
mod record;
mod records;
mod scan;
pub(crate) mod segment;
pub(crate) mod spec;
mod tables;
mod varint;
pub(crate) mod writer;

// Short paths for the rest of the crate; files of this folder import from the file that defines a name.
pub(crate) use format::EVENTLOG_RECORD_BYTES_MAX;
pub use records::Query;
pub(crate) use records::Records;
pub(crate) use spec::LogSpec;

#[cfg(test)]
mod tests;
