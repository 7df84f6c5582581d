//! The sparse index beside a segment: offset, seqs and times of each complete part. Pure functions over bytes;
//! `segment.rs` reads the file and `writer/index_file.rs` writes it. An index only saves time. A reader that finds
//! any fault in it searches the segment itself, and a writer replaces it.
//!
//! ```text
//! header   52 54 49 58 | version u8 | 00 00 00 | segment id u64 | crc32 u32                                      20 bytes
//! entry    offset u64 | bytes u32 | records u32 | first seq u64 | earliest ms u64 | latest ms u64 | crc32 u32      44
//! ```
//!
//! Little-endian. A checksum covers the bytes before it in its header or entry. The segment id is the id in the
//! blocks; JSON lines have no id, so the checksum of their first line takes its place (`line.rs`).
//!
//! The entries cover the segment from its start without a gap. An incomplete part has no entry: behind the last
//! entry, or behind the first one that does not follow its predecessor, a reader searches the segment itself.

use crate::eventlog::format::BLOCK_BYTES_MAX;
use crate::eventlog::records::PartInfo;

/// Length of the header.
pub(super) const HEADER_BYTES: usize = 20;
/// Length of an entry.
pub(super) const ENTRY_BYTES: usize = 44;
/// First bytes of every index.
const MAGIC: [u8; 4] = *b"RTIX";
/// An index of any other version counts as faulty.
const VERSION: u8 = 1;

/// One part of a segment: a block or some lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Offset of the part in the segment.
    pub(super) offset: u64,
    /// Length of the part.
    pub(super) bytes: u32,
    pub(super) info: PartInfo,
}

impl IndexEntry {
    /// Offset behind the part.
    pub(super) fn end(&self) -> u64 {
        self.offset + u64::from(self.bytes)
    }
}

/// The header of the index of this segment.
pub(super) fn header(segment: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[8..16].copy_from_slice(&segment.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Appends an entry with its checksum.
pub(super) fn push_entry(out: &mut Vec<u8>, entry: &IndexEntry) {
    let start = out.len();
    out.extend_from_slice(&entry.offset.to_le_bytes());
    out.extend_from_slice(&entry.bytes.to_le_bytes());
    // A record takes at least one byte of its part, so the number fits 32 bits as the length does.
    out.extend_from_slice(&(entry.info.records as u32).to_le_bytes());
    out.extend_from_slice(&entry.info.first_seq.to_le_bytes());
    out.extend_from_slice(&entry.info.earliest_ms.to_le_bytes());
    out.extend_from_slice(&entry.info.latest_ms.to_le_bytes());
    let sum = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

/// True if the bytes begin like an index of this segment.
pub(super) fn is_of(bytes: &[u8], segment: u64) -> bool {
    bytes.starts_with(&header(segment))
}

/// True if the bytes begin like an index of any segment and version.
pub(super) fn is_index(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The entry in these bytes if its checksum is right, it follows `last`, and its part ends within `segment_bytes`.
/// `None`: neither this entry nor any behind it may be used.
pub(super) fn follow(last: Option<&IndexEntry>, bytes: &[u8], segment_bytes: u64) -> Option<IndexEntry> {
    let entry = read_entry(bytes)?;
    let (end, next_seq) = last.map_or((0, 0), |last| (last.end(), last.info.first_seq + last.info.records));
    let follows = entry.offset == end && entry.info.first_seq >= next_seq;
    let is_part = entry.bytes > 0 && entry.bytes as usize <= BLOCK_BYTES_MAX && entry.end() <= segment_bytes;
    (follows && is_part).then_some(entry)
}

/// The entry in these bytes, if its checksum is right and sums of its numbers do not overflow.
fn read_entry(bytes: &[u8]) -> Option<IndexEntry> {
    let (body, sum) = bytes.split_at_checked(ENTRY_BYTES - 4)?;
    if crc32fast::hash(body).to_le_bytes() != *sum {
        return None;
    }
    let long = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
    let short = |at: usize| Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?));
    let records = u64::from(short(12)?);
    let info = PartInfo { first_seq: long(16)?, records, earliest_ms: long(24)?, latest_ms: long(32)? };
    let (offset, bytes) = (long(0)?, short(8)?);
    // All users add these numbers without a check.
    info.first_seq.checked_add(records)?;
    offset.checked_add(u64::from(bytes))?;
    Some(IndexEntry { offset, bytes, info })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64, first_seq: u64, records: u64) -> IndexEntry {
        let info = PartInfo { first_seq, records, earliest_ms: offset, latest_ms: !offset };
        IndexEntry { offset, bytes: 32_768, info }
    }

    fn written(segment: u64, entries: &[IndexEntry]) -> Vec<u8> {
        let mut bytes = header(segment).to_vec();
        entries.iter().for_each(|entry| push_entry(&mut bytes, entry));
        bytes
    }

    /// All that is to be used of an index.
    fn read(bytes: &[u8], segment: u64, segment_bytes: u64) -> Option<Vec<IndexEntry>> {
        let rest = bytes.get(HEADER_BYTES..).filter(|_| is_of(bytes, segment))?;
        let mut entries = Vec::new();
        for bytes in rest.chunks_exact(ENTRY_BYTES) {
            let Some(entry) = follow(entries.last(), bytes, segment_bytes) else { break };
            entries.push(entry);
        }
        Some(entries)
    }

    #[test]
    fn entries_come_back() {
        let entries = [entry(0, 1, 10), entry(32_768, 11, 500), entry(65_536, 600, u64::from(u32::MAX))];
        let bytes = written(7, &entries);
        assert_eq!(bytes.len(), HEADER_BYTES + 3 * ENTRY_BYTES);
        assert_eq!(read(&bytes, 7, u64::MAX).unwrap(), entries);
        assert_eq!(read(&bytes, 8, u64::MAX), None, "another segment");
        assert_eq!(read(&bytes, 7, 98_303).unwrap(), entries[..2], "stale: the segment is shorter");
        assert_eq!(read(&bytes[..bytes.len() - 1], 7, u64::MAX).unwrap(), entries[..2], "torn");
        assert_eq!(read(&bytes[..HEADER_BYTES - 1], 7, u64::MAX), None);
    }

    #[test]
    fn a_flipped_bit_costs_the_entries_from_there() {
        let entries = [entry(0, 1, 10), entry(32_768, 11, 500)];
        let bytes = written(7, &entries);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let good = at.checked_sub(HEADER_BYTES).map(|at| entries[..at / ENTRY_BYTES].to_vec());
                assert_eq!(read(&bad, 7, u64::MAX), good, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn entries_that_do_not_follow_each_other_are_not_used() {
        for second in [entry(0, 11, 5), entry(32_769, 11, 5), entry(32_768, 10, 5), entry(32_768, u64::MAX, 5)] {
            let bytes = written(7, &[entry(0, 1, 10), second]);
            assert_eq!(read(&bytes, 7, u64::MAX).unwrap().len(), 1, "{second:?}");
        }
        for bytes in [0, BLOCK_BYTES_MAX as u32 + 1] {
            let bytes = written(7, &[IndexEntry { bytes, ..entry(0, 1, 10) }]);
            assert_eq!(read(&bytes, 7, u64::MAX).unwrap(), [], "no part is that long");
        }
    }
}
