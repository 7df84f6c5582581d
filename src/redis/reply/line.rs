//! Reads the lines of RESP2: numbers, lengths and texts, each at the start of the given bytes. Pure functions.
//!
//! Strict, exactly as Redis prints them: no sign but a minus, no spaces, no leading zeros, no `-0`, no overflow, a full
//! line end. Bytes that Redis would not print mean that the stream is lost. An error is found at the first byte that
//! cannot be right, even if the line has not arrived completely, so that every cut of a stream gives the same error.

use super::{Cap, count_work};

/// Redis' own limit for a string (`proto-max-bulk-len`), in bytes. A larger announcement is a lost stream.
pub(super) const BULK_ANNOUNCED_MAX: usize = 512 * 1024 * 1024;
/// No command of this library has a reply of so many elements. A larger announcement is a lost stream.
pub(super) const ELEMENTS_ANNOUNCED_MAX: usize = 16 * 1024 * 1024;
/// `\r\n`.
pub(super) const LINE_END_BYTES: usize = 2;

/// The reason why a walk stopped, in eight bytes. Positions count from the start of the value at which it stopped.
pub(super) enum Stop {
    /// The value has not arrived completely.
    Partial,
    /// This line has not arrived completely, and its first `clean` bytes hold no line break.
    PartialLine {
        clean: u32,
    },
    /// The reply exceeds this cap: not an error.
    Over(Cap),
    // All others are errors: see `ProtocolError`.
    Type,
    Number {
        until: u32,
    },
    Break {
        until: u32,
    },
    LineTooLong,
    BulkTooLong,
    BulkEnd {
        at: u32,
    },
    TooManyElements,
    TooDeep,
}

const _: () = assert!(size_of::<Stop>() == 8);

/// Reads the `$` line at the start of `value`: the length, `None` for `$-1`, and the size of the line.
#[inline(always)]
pub(super) fn bulk_len(value: &[u8]) -> Result<(Option<usize>, usize), Stop> {
    let (announced, size) = number(value)?;
    match usize::try_from(announced) {
        Ok(len) if len <= BULK_ANNOUNCED_MAX => Ok((Some(len), size)),
        _ if announced == -1 => Ok((None, size)),
        _ => Err(if announced < 0 { bad_number(size - LINE_END_BYTES) } else { Stop::BulkTooLong }),
    }
}

/// Reads the `*` line at the start of `value`: the count, `None` for `*-1`, and the size of the line.
#[inline(always)]
pub(super) fn element_count(value: &[u8]) -> Result<(Option<usize>, usize), Stop> {
    let (announced, size) = number(value)?;
    match usize::try_from(announced) {
        Ok(count) if count <= ELEMENTS_ANNOUNCED_MAX => Ok((Some(count), size)),
        _ if announced == -1 => Ok((None, size)),
        _ => Err(if announced < 0 { bad_number(size - LINE_END_BYTES) } else { Stop::TooManyElements }),
    }
}

/// Checks that a line end follows the payload that ends at `value[at]`.
#[inline(always)]
pub(super) fn line_end(value: &[u8], at: usize) -> Result<(), Stop> {
    match value.get(at..at + LINE_END_BYTES) {
        Some(b"\r\n") => Ok(()),
        Some(_) => Err(Stop::BulkEnd { at: at as u32 }),
        None => Err(Stop::Partial),
    }
}

/// Reads the line at the start of `value`, which begins with its type byte: the integer, and the size of the line.
#[inline(always)]
pub(super) fn number(value: &[u8]) -> Result<(i64, usize), Stop> {
    match *value {
        // Up to three digits are nearly all numbers: counts, lengths of names, of small values, of events.
        [_, one @ b'0'..=b'9', b'\r', b'\n', ..] => Ok((digit(one), 4)),
        [_, ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => Ok((digit(ten) * 10 + digit(one), 5)),
        [_, hundred @ b'1'..=b'9', ten @ b'0'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Ok((digit(hundred) * 100 + digit(ten) * 10 + digit(one), 6))
        }
        _ => any_number(value),
    }
}

#[inline(always)]
fn digit(byte: u8) -> i64 {
    i64::from(byte & 0x0f)
}

/// Digits that fit an `i64` in any case: 18; the 19th may overflow.
const DIGITS_SAFE: usize = 18;

/// As [`number`], for a number of any length, also one that has not arrived completely.
#[inline(never)]
fn any_number(value: &[u8]) -> Result<(i64, usize), Stop> {
    let negative = value.get(1) == Some(&b'-');
    let first = 1 + usize::from(negative);
    // Accumulated as a negative number: an `i64` has one more of those.
    let mut number: i64 = 0;
    let mut at = first;
    let end = loop {
        let &byte = value.get(at).ok_or(Stop::Partial)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break byte;
        }
        // No digit may follow a leading zero, and no minus may precede one.
        let sound = number != 0 || (at == first && !(digit == 0 && negative));
        let grown = if at - first < DIGITS_SAFE {
            Some(number * 10 - i64::from(digit))
        } else {
            number.checked_mul(10).and_then(|tens| tens.checked_sub(i64::from(digit)))
        };
        match grown {
            Some(grown) if sound => number = grown,
            _ => return Err(bad_number(at + 1)),
        }
        at += 1;
    };
    if at == first || end != b'\r' {
        return Err(bad_number(at + 1));
    }
    let size = at + LINE_END_BYTES;
    match value.get(at + 1) {
        Some(b'\n') if negative => Ok((number, size)),
        // The lowest negative number has no positive counterpart: without a minus it is one too large.
        Some(b'\n') => number.checked_neg().map(|number| (number, size)).ok_or(bad_number(at)),
        Some(_) => Err(bad_number(size)),
        None => Err(Stop::Partial),
    }
}

/// A number ends within some twenty bytes, so `until` always fits.
fn bad_number(until: usize) -> Stop {
    Stop::Number { until: until as u32 }
}

/// Bytes of a line that are searched by hand. For more, the set-up cost of a vectorised search pays.
const LINE_SHORT_BYTES: usize = 8;

/// Reads the `+` or `-` line at the start of `value`: the length of its text. The first `clean` bytes were searched
/// before.
#[inline(always)]
pub(super) fn line_len(value: &[u8], clean: usize, max: usize) -> Result<usize, Stop> {
    // By far the most frequent line.
    if value.starts_with(b"+OK\r\n") {
        return Ok(2);
    }
    let text = value.get(1..).unwrap_or_default();
    // A line of exactly `max` bytes has its end at position `max`.
    let unsearched = text.get(clean..text.len().min(max + 1)).unwrap_or_default();
    let near = unsearched.get(..LINE_SHORT_BYTES).unwrap_or(unsearched);
    count_work(near.len());
    let found = near.iter().position(|&byte| byte <= b'\r' && is_break(byte));
    let len = match found.or_else(|| far_break(unsearched)) {
        Some(found) => clean + found,
        None if text.len() > max => return Err(Stop::LineTooLong),
        None => return Err(Stop::PartialLine { clean: text.len() as u32 }),
    };
    match text.get(len..len + LINE_END_BYTES) {
        Some(b"\r\n") => Ok(len),
        end => Err(bad_line_end(end, text.get(len), len)),
    }
}

#[inline(always)]
fn is_break(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

/// The first line break beyond the bytes that were searched by hand.
#[inline(never)]
fn far_break(unsearched: &[u8]) -> Option<usize> {
    let far = unsearched.get(LINE_SHORT_BYTES..)?;
    count_work(far.len());
    memchr::memchr2(b'\r', b'\n', far).map(|found| LINE_SHORT_BYTES + found)
}

/// A line break that is no complete line end: an error, or not yet.
#[cold]
#[inline(never)]
fn bad_line_end(end: Option<&[u8]>, first: Option<&u8>, len: usize) -> Stop {
    // Positions count from the type byte, and `until` is behind the offending byte.
    match (first, end) {
        (Some(b'\r'), None) => Stop::PartialLine { clean: len as u32 },
        (Some(b'\r'), Some(_)) => Stop::Break { until: len as u32 + 3 },
        _ => Stop::Break { until: len as u32 + 2 },
    }
}
