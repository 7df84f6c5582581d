//! Whole numbers in as few bytes as they need: seven bits a byte, the low ones first, the high bit of all but the last
//! byte set (LEB128). Signed ones are folded first, so that small negative numbers stay short.

/// Appends the number.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put`] appends.
#[inline]
pub(super) fn len(value: u64) -> u32 {
    (70 - (value | 1).leading_zeros()) / 7
}

/// 0, -1, 1, -2, 2 become 0, 1, 2, 3, 4.
#[inline]
pub(super) fn fold(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub(super) fn unfold(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Bytes read from front to back. Every step says `None` at the end.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// A number as [`put`] writes it; `None` also for one of more than 64 bits.
    #[inline]
    pub(super) fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A number that counts bytes or entries in memory.
    #[inline]
    pub(super) fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }
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
    fn known_numbers() {
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
            let mut cursor = Cursor { bytes: &bytes, at: 0 };
            assert_eq!((cursor.number(), cursor.at), (Some(value), bytes.len()));
            assert_eq!(unfold(fold(signed)), signed);
        });
    }
}
