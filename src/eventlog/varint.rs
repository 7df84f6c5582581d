//! Whole numbers in as few bytes as they need (LEB128), for the records of a block. Pure functions over bytes.
//!
//! ```text
//! 300 = 10_0101100b   ──▶   1|0101100  0|0000010     low seven bits first; the high bit says that another byte follows
//! ```
//!
//! Signed numbers are zigzag-folded first, so that small negative numbers stay short. A number takes 1 to 10 bytes.

/// Appends a number.
#[inline(always)]
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    if value < 1 << 56 {
        let (start, len) = (out.len(), len(value) as usize);
        // Appends eight bytes, which is one store, and cuts them to length.
        out.extend_from_slice(&spread(value, len).to_le_bytes());
        return out.truncate(start + len);
    }
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a byte and a number, in one store if the number is short enough.
#[inline(always)]
pub(super) fn put_tagged(out: &mut Vec<u8>, tag: u8, value: u64) {
    if value >= 1 << 49 {
        out.push(tag);
        return put(out, value);
    }
    let (start, len) = (out.len(), len(value) as usize);
    // Appends eight bytes, which is one store, and cuts them to length.
    out.extend_from_slice(&(spread(value, len) << 8 | u64::from(tag)).to_le_bytes());
    out.truncate(start + 1 + len);
}

/// The low 56 bits of `value`, seven to a byte, with the high bit set in all of the `len` bytes but the last.
#[inline(always)]
fn spread(value: u64, len: usize) -> u64 {
    let value = (value & 0x00ff_ffff_f000_0000) << 4 | value & 0x0fff_ffff;
    let value = (value & 0x0fff_c000_0fff_c000) << 2 | value & 0x0000_3fff_0000_3fff;
    let value = (value & 0x3f80_3f80_3f80_3f80) << 1 | value & 0x007f_007f_007f_007f;
    value | 0x0080_8080_8080_8080 >> (8 * (8 - len))
}

/// The reverse of [`spread`]: the low seven bits of each byte, joined.
#[inline(always)]
fn gather(word: u64) -> u64 {
    let word = (word & 0x7f00_7f00_7f00_7f00) >> 1 | word & 0x007f_007f_007f_007f;
    let word = (word & 0x3fff_0000_3fff_0000) >> 2 | word & 0x0000_3fff_0000_3fff;
    (word & 0x0fff_ffff_0000_0000) >> 4 | word & 0x0fff_ffff
}

/// Number of bytes that [`put`] appends.
#[inline(always)]
pub(super) fn len(value: u64) -> u32 {
    (70 - (value | 1).leading_zeros()) / 7
}

/// Zigzag: 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4.
#[inline(always)]
pub(super) fn fold(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The reverse of [`fold`].
#[inline(always)]
pub(super) fn unfold(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A position in bytes that are read from front to back. Every method returns `None` if the bytes end too early.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    /// Reads one byte.
    #[inline(always)]
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// Reads a number as [`put`] writes it. `None` also for a number of more than 64 bits.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<u64> {
        let rest = self.bytes.get(self.at..)?;
        let first = *rest.first()?;
        if first < 0x80 {
            self.at += 1;
            return Some(u64::from(first));
        }
        // Reads up to seven bytes at once: the processor would mispredict the end of a loop over them.
        if let Some(word) = rest.first_chunk().map(|word| u64::from_le_bytes(*word))
            && let ends @ 1.. = !word & 0x0080_8080_8080_8080
        {
            let last_bit = ends.trailing_zeros();
            self.at += last_bit as usize / 8 + 1;
            return Some(gather(word & u64::MAX >> (63 - last_bit)));
        }
        let (value, len) = long_number(rest)?;
        self.at += len;
        Some(value)
    }

    /// Reads a number that counts bytes or entries in memory.
    #[inline(always)]
    pub(super) fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    /// Reads `len` bytes.
    #[inline(always)]
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }
}

/// Reads a number byte by byte: it has more than seven bytes, or stands in the last eight bytes of the text. Returns it with
/// its length.
#[inline(never)]
fn long_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if at == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * at);
        if *byte < 0x80 {
            return Some((value, at + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, value);
        out
    }

    #[test]
    fn known_numbers_have_known_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            assert_eq!(written(value), bytes);
        }
        assert_eq!([0, -1, 1, i64::MAX, i64::MIN].map(fold), [0, 1, 2, u64::MAX - 1, u64::MAX]);
    }

    #[test]
    fn bad_numbers_are_refused() {
        for bytes in [&[][..], &[0x80], &[255; 10], &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2], &[0x80; 11]] {
            assert_eq!(Cursor { bytes, at: 0 }.number(), None, "{bytes:?}");
        }
    }

    #[test]
    fn every_number_comes_back() {
        proptest::proptest!(|(value: u64, shift in 0..64_u32, signed: i64)| {
            let value = value >> shift;
            let bytes = written(value);
            assert_eq!(bytes.len() as u32, len(value));
            for more in [&b""[..], b"\x00more bytes", b"\xffmore bytes"] {
                let all = [&bytes[..], more].concat();
                let mut cursor = Cursor { bytes: &all, at: 0 };
                assert_eq!((cursor.number(), cursor.at), (Some(value), bytes.len()));
            }
            let mut tagged = Vec::new();
            put_tagged(&mut tagged, 7, value);
            assert_eq!(tagged, [&[7], &bytes[..]].concat());
            assert_eq!(unfold(fold(signed)), signed);
        });
    }
}
