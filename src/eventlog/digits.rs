//! Reads and prints decimal digits eight at a time, in the bits of one word, because numbers are half the work of a
//! record. Pure functions, used by `scan.rs` on `rt-files` and by the decoder on the thread of the reader. Words are
//! little-endian throughout: the first character is in the lowest byte.
//!
//! ```text
//! "12345678"  ──load──▶  38 37 36 35 34 33 32 31  ──xor ZEROS──▶  08 07 06 05 04 03 02 01  ──value──▶  12345678
//! ```

/// Powers of ten; the index is the exponent.
const POWERS: [u64; 17] = {
    let mut powers = [1; 17];
    let mut at = 1;
    while at < 17 {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};
/// The first number with more than eight digits.
const EIGHT_DIGITS: u64 = POWERS[8];
/// The first number with more than fifteen digits: with a point, fifteen fill a word of sixteen bytes.
const FIFTEEN_DIGITS: u64 = POWERS[15];
/// Eight characters `0`.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// A run of one to fifteen digits.
pub(super) struct Run {
    /// Number of digits.
    pub(super) digits: usize,
    /// The number that they form.
    pub(super) value: u64,
    /// The byte behind the digits; 0 at the end of the text.
    pub(super) next: u8,
}

impl Run {
    /// The run of digits at the start of `text`. `None`: there are no digits, or more than fifteen.
    #[inline(always)]
    pub(super) fn read(text: &[u8]) -> Option<Run> {
        let word = load(text);
        let digits = count(word);
        match digits {
            0 => None,
            8 => Run::read_long(value(word, 8), text.get(8..)?),
            _ => Some(Run { digits, value: value(word, digits), next: (word >> (8 * digits)) as u8 }),
        }
    }

    /// Continues a run of eight digits, which form the number `first`, with the digits at the start of `text`.
    #[inline]
    fn read_long(first: u64, text: &[u8]) -> Option<Run> {
        let word = load(text);
        let more = count(word);
        let value = match more {
            0 => first,
            8 => return None,
            _ => first * POWERS[more] + value(word, more),
        };
        Some(Run { digits: 8 + more, value, next: (word >> (8 * more)) as u8 })
    }

    /// The number that the digits of `number` and of this run form together; both may have at most 19.
    #[inline(always)]
    pub(super) fn behind(&self, number: u64) -> u64 {
        number.wrapping_mul(POWERS[self.digits & 15]).wrapping_add(self.value)
    }
}

/// The first eight bytes of the text as a word, with zeros behind a shorter text.
#[inline(always)]
fn load(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => load_short(text),
    }
}

/// [`load`] for a text of less than eight bytes.
#[cold]
fn load_short(text: &[u8]) -> u64 {
    text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Appends the digits at the start of `text` to `mantissa`, which wraps if they are too many. Returns their number.
pub(super) fn read(text: &[u8], mantissa: &mut u64) -> usize {
    let mut rest = text;
    while let Some((chunk, tail)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        if count(word) < 8 {
            break;
        }
        *mantissa = mantissa.wrapping_mul(EIGHT_DIGITS).wrapping_add(value(word, 8));
        rest = tail;
    }
    while let Some((digit @ b'0'..=b'9', tail)) = rest.split_first() {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        rest = tail;
    }
    text.len() - rest.len()
}

/// Number of digits before the first other character; 8 if there is none.
#[inline(always)]
fn count(word: u64) -> usize {
    let digits = word ^ ZEROS;
    // Sets the high bit of each byte above 9. A carry sets wrong bits only in bytes above a true hit, and only the
    // lowest hit counts.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    (others.trailing_zeros() / 8) as usize
}

/// The number that the first one to eight characters form, all of them digits.
#[inline(always)]
fn value(word: u64, digits: usize) -> u64 {
    // Shifts the digits to the end of the word, with zeros before them. Then adds up pairs, fours and all eight
    // digits, each step with one multiplication.
    let digits = (word ^ ZEROS) << (64 - 8 * digits);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let low = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

/// Appends a whole number with its sign.
#[inline(always)]
pub(super) fn push_whole(out: &mut Vec<u8>, negative: bool, magnitude: u64) {
    push_sign(out, negative);
    if magnitude < EIGHT_DIGITS {
        return push_significant(out, magnitude);
    }
    if magnitude / EIGHT_DIGITS >= EIGHT_DIGITS {
        return push_long(out, magnitude, 0);
    }
    let (word, digits) = sixteen(magnitude, 1);
    push_sixteen(out, word, digits);
}

/// Appends a number below 10^8 without leading zeros.
#[inline(always)]
fn push_significant(out: &mut Vec<u8>, value: u64) {
    let word = eight(value);
    let digits = significant(word);
    push_word(out, word >> (8 * (8 - digits)), digits);
}

/// Appends a number whose last `scale` digits, 1 to 16, stand behind the point. At least one digit stands before it,
/// so zeros are added where the mantissa is too short.
#[inline(always)]
pub(super) fn push_decimal(out: &mut Vec<u8>, negative: bool, mantissa: u64, scale: usize) {
    push_sign(out, negative);
    if mantissa >= FIFTEEN_DIGITS || scale >= 15 {
        return push_long(out, mantissa, scale);
    }
    // One way for all lengths, since the processor could not predict them: coordinates have any number of digits.
    let (text, digits) = sixteen(mantissa, scale + 1);
    let before = (1 << (8 * (digits - scale))) - 1;
    let text = text & before | (text & !before) << 8 | (u128::from(b'.') * (before + 1));
    push_sixteen(out, text, digits + 1);
}

/// The digits of a number below 10^16, at least `digits_min` of them, and their number.
#[inline(always)]
fn sixteen(value: u64, digits_min: usize) -> (u128, usize) {
    let word = u128::from(eight(value / EIGHT_DIGITS)) | u128::from(eight(value % EIGHT_DIGITS)) << 64;
    let zeros = ((word ^ u128::from(ZEROS) << 64 ^ u128::from(ZEROS)) | 1 << 120).trailing_zeros() / 8;
    let digits = (16 - zeros as usize).max(digits_min);
    (word >> (8 * (16 - digits)), digits)
}

/// Appends the first `len` characters of the word.
#[inline(always)]
fn push_sixteen(out: &mut Vec<u8>, word: u128, len: usize) {
    let start = out.len();
    // Appends sixteen bytes, which is one store, and cuts them to length.
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(start + len);
}

/// [`push_whole`] with `scale` 0 and [`push_decimal`] for numbers that do not fit one word, without the sign.
fn push_long(out: &mut Vec<u8>, mantissa: u64, scale: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(mantissa).as_bytes();
    let (before, behind) = digits.split_at(digits.len().saturating_sub(scale));
    out.extend_from_slice(if before.is_empty() { b"0" } else { before });
    if scale > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
        out.extend_from_slice(behind);
    }
}

/// Appends `-` if `negative`.
#[inline]
fn push_sign(out: &mut Vec<u8>, negative: bool) {
    let start = out.len();
    // Without a branch, which the processor could not predict: coordinates have either sign.
    out.push(b'-');
    out.truncate(start + usize::from(negative));
}

/// Appends the first `len` characters of the word.
#[inline(always)]
fn push_word(out: &mut Vec<u8>, word: u64, len: usize) {
    let start = out.len();
    // Appends all eight bytes, which is one store, and cuts them to length.
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(start + len);
}

/// Number of digits from the first one that is not zero; at least one.
#[inline(always)]
fn significant(word: u64) -> usize {
    let zeros = ((word ^ ZEROS) | 1 << 56).trailing_zeros() / 8;
    8 - zeros as usize
}

/// The eight characters of a number below 10^8, with leading zeros.
#[inline(always)]
fn eight(value: u64) -> u64 {
    // Splits into fours, pairs and single digits. Each step divides all groups at once, as one multiplication and a
    // shift.
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | (pairs - tens * 10) << 8) + ZEROS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_printed_and_read() {
        for value in (0..EIGHT_DIGITS).step_by(997).chain([EIGHT_DIGITS - 1]) {
            assert_eq!(eight(value).to_le_bytes(), format!("{value:08}").as_bytes());
            assert_eq!((count(eight(value)), super::value(eight(value), 8)), (8, value));
        }
    }

    #[test]
    fn any_number_is_printed_and_read() {
        proptest::proptest!(|(value: u64, negative: bool, shift in 0..64_u32, scale in 1..=16_usize, tail in "[^0-9]{0,9}")| {
            let value = value >> shift;
            let sign = if negative { "-" } else { "" };
            let mut out = Vec::new();
            push_whole(&mut out, negative, value);
            assert_eq!(out, format!("{sign}{value}").as_bytes());
            let text = format!("{value}{tail}");
            let mut mantissa = 0;
            assert_eq!(read(text.as_bytes(), &mut mantissa), value.to_string().len());
            assert_eq!(mantissa, value);

            let mut out = Vec::new();
            push_decimal(&mut out, negative, value, scale);
            let padded = format!("{value:0width$}", width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            assert_eq!(out, format!("{sign}{whole}.{fraction}").as_bytes());
        });
    }

    #[test]
    fn digits_are_read_as_by_a_simple_loop() {
        proptest::proptest!(|(text in "[0-9/:\\-é]{0,24}", before in 0..1000_u64)| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            let mut mantissa = before;
            assert_eq!(read(text.as_bytes(), &mut mantissa), digits.len());
            let value = digits.bytes().fold(before, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
            assert_eq!(mantissa, value);
        });
    }
}
