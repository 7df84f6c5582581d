//! Constants of the format, which encoders and decoders of this folder share. `mod.rs` specifies the format itself.
//! The limits bound the work and the memory that a forged file can cost a reader: a checksum catches accidents, and
//! an attacker can compute it too.

use crate::config::limits::{IDENTITY_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// A block begins at a multiple of this, so that a reader finds the next block behind a damaged one. A damaged chunk
/// costs the rest of its block; smaller units would lose less and repeat headers, skeletons and strings more often.
pub(super) const UNIT_BYTES: usize = 32 * 1024;
/// Length of a block's header.
pub(super) const HEADER_BYTES: usize = 40;
/// Checksum, length and flags before the records of a chunk.
pub(super) const CHUNK_HEADER_BYTES: usize = 8;
/// First bytes of every block.
pub(super) const MAGIC: [u8; 4] = *b"RTEL";
/// Version that writers write. A reader refuses any higher one.
pub(super) const VERSION: u8 = 1;
/// The longest block: the header counts its units in one byte.
pub(super) const BLOCK_BYTES_MAX: usize = u8::MAX as usize * UNIT_BYTES;
/// The longest chunk without its header: its length has 24 bits.
pub(super) const CHUNK_BYTES_MAX: usize = (1 << 24) - 1;
/// Flag of a chunk whose records refer to no earlier chunk, in the word that also holds the length.
pub(super) const FRESH: u32 = 1 << 24;

/// Records of one block that a reader accepts. Beside one long record a block has room for a unit of others, and a
/// record takes at least two bytes, so no writer comes near this.
pub(super) const BLOCK_RECORDS_MAX: u64 = UNIT_BYTES as u64;

/// Bytes of text that one record may expand to. No writer makes larger records, but a forged block could name one
/// long string many times with a byte each.
pub(crate) const EVENTLOG_RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of text that all records of one block may expand to. A real block stays below it: see the assertion on the
/// longest skeleton in `record.rs`.
pub(super) const EVENTLOG_BLOCK_TEXT_BYTES_MAX: usize = 36 * 1024 * 1024;
const _: () = assert!(PAYLOAD_BYTES_MAX + IDENTITY_BYTES_MAX + NAME_BYTES_MAX < EVENTLOG_RECORD_BYTES_MAX);

/// Entries that a reader accepts in one table. An entry takes at least two bytes of the block, and a writer's block
/// has one unit of them beside one long record, which itself needs two entries. A forged block of 8 MiB could have
/// millions of entries, and each costs a reader 40 bytes of memory.
pub(super) const TABLE_ENTRIES_MAX: usize = UNIT_BYTES;

/// Arrays inside each other that a record takes apart. This bounds the recursion of encoder and decoder; a payload
/// with deeper arrays is stored as text.
pub(super) const ARRAY_DEPTH_MAX: u32 = 16;

/// Byte that stands in a skeleton for each value. JSON text never contains a raw control character (RFC 8259, section
/// 7), so no skeleton can contain this byte otherwise.
pub(super) const HOLE: u8 = 0;

/// First byte of a value, which selects its encoding: section Records of `mod.rs`. 0x0c to 0x0f and 0x30 to 0x3f are
/// free.
pub(super) mod tag {
    pub(in crate::eventlog) const NULL: u8 = 0x00;
    pub(in crate::eventlog) const FALSE: u8 = 0x01;
    pub(in crate::eventlog) const TRUE: u8 = 0x02;
    /// A string that gets the next number of the block's strings.
    pub(in crate::eventlog) const NEW_STRING: u8 = 0x03;
    /// A string without a number: it is long, or all numbers are taken.
    pub(in crate::eventlog) const STRING: u8 = 0x04;
    /// A number as text, because an integer would not reproduce its digits.
    pub(in crate::eventlog) const NUMBER: u8 = 0x05;
    pub(in crate::eventlog) const WHOLE: u8 = 0x06;
    pub(in crate::eventlog) const NEGATIVE: u8 = 0x07;
    /// The difference from the last whole number in the same hole.
    pub(in crate::eventlog) const STEP: u8 = 0x08;
    pub(in crate::eventlog) const ARRAY: u8 = 0x09;
    /// An object as an element of an array; all other objects are part of a skeleton.
    pub(in crate::eventlog) const OBJECT: u8 = 0x0a;
    /// End of an array.
    pub(in crate::eventlog) const END: u8 = 0x0b;
    /// The low four bits are the digits behind the point minus one; the mantissa follows.
    pub(in crate::eventlog) const DECIMAL: u8 = 0x10;
    pub(in crate::eventlog) const NEGATIVE_DECIMAL: u8 = 0x20;
    /// The low five bits are the value itself, up to [`super::SMALL_MAX`].
    pub(in crate::eventlog) const SMALL: u8 = 0x40;
    /// The low five bits and the next byte are the string's number less [`super::NEAR_STRINGS`].
    pub(in crate::eventlog) const FAR: u8 = 0x60;
    /// The low seven bits are the string's number.
    pub(in crate::eventlog) const NEAR: u8 = 0x80;
}

/// The highest whole number that fits into its tag.
pub(super) const SMALL_MAX: u64 = 0x1f;
/// Strings whose number fits into a tag of one byte, and all strings that can have a number: 13 bits name the others.
pub(super) const NEAR_STRINGS: usize = 0x80;
pub(super) const STRINGS_MAX: usize = NEAR_STRINGS + 0x2000;
