//! The lines of RESP2: numbers, lengths and texts, each at the start of the bytes given. Pure functions.
//!
//! Strict as Redis prints them: no sign but a minus, no spaces, no leading zeros, no `-0`, no overflow, a full line end.
//! Whatever Redis would not print means the stream is lost, and the sooner that shows the better: an error is found at
//! the first byte that cannot be right, even if the line is not all here, so every cut of a stream ends alike.

use super::{Cap, count_work};

/// Redis' own limit on a string (`proto-max-bulk-len`), which no healthy server announces more than.
pub(super) const BULK_ANNOUNCED_MAX: usize = 512 * 1024 * 1024;
/// No command our side sends is answered with this many elements; a larger count is a lost stream.
pub(super) const ELEMENTS_ANNOUNCED_MAX: usize = 16 * 1024 * 1024;
pub(super) const LINE_END_BYTES: usize = 2;

/// Why a walk stopped, in eight bytes. Positions count from the start of the value it stopped at.
pub(super) enum Stop {
    /// The value is not all here.
    Partial,
    /// Nor is this line, of which so much is known to hold no break.
    PartialLine {
        clean: u32,
    },
    Over(Cap),
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

/// The length in the `$` line that starts `value`, nothing for `$-1`; and the size of the line.
#[inline(always)]
pub(super) fn bulk_len(value: &[u8]) -> Result<(Option<usize>, usize), Stop> {
    let (announced, size) = number(value)?;
    match usize::try_from(announced) {
        Ok(len) if len <= BULK_ANNOUNCED_MAX => Ok((Some(len), size)),
        _ if announced == -1 => Ok((None, size)),
        _ => Err(if announced < 0 { bad_number(size - LINE_END_BYTES) } else { Stop::BulkTooLong }),
    }
}

/// The count in the `*` line that starts `value`, nothing for `*-1`; and the size of the line.
#[inline(always)]
pub(super) fn element_count(value: &[u8]) -> Result<(Option<usize>, usize), Stop> {
    let (announced, size) = number(value)?;
    match usize::try_from(announced) {
        Ok(count) if count <= ELEMENTS_ANNOUNCED_MAX => Ok((Some(count), size)),
        _ if announced == -1 => Ok((None, size)),
        _ => Err(if announced < 0 { bad_number(size - LINE_END_BYTES) } else { Stop::TooManyElements }),
    }
}

/// Whether a payload that ends at `value[at]` is followed by a line end.
#[inline(always)]
pub(super) fn line_end(value: &[u8], at: usize) -> Result<(), Stop> {
    match value.get(at..at + LINE_END_BYTES) {
        Some(b"\r\n") => Ok(()),
        Some(_) => Err(Stop::BulkEnd { at: at as u32 }),
        None => Err(Stop::Partial),
    }
}

/// The integer in the line that starts `value`, type byte and all, and the size of the line.
#[inline(always)]
pub(super) fn number(value: &[u8]) -> Result<(i64, usize), Stop> {
    match *value {
        // Nearly all numbers there are: counts, lengths of names and of small values, lengths of events.
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

/// Any 18 digits fit an `i64`; the 19th may not.
const DIGITS_SAFE: usize = 18;

/// The same for any number, whole or not.
#[inline(never)]
fn any_number(value: &[u8]) -> Result<(i64, usize), Stop> {
    let negative = value.get(1) == Some(&b'-');
    let first = 1 + usize::from(negative);
    // Counted downwards: the negative half is the larger one.
    let mut number: i64 = 0;
    let mut at = first;
    let end = loop {
        let &byte = value.get(at).ok_or(Stop::Partial)?;
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break byte;
        }
        // A digit may follow any but a leading zero, which a minus may not precede either.
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
        // The one value that has no positive twin is one too large.
        Some(b'\n') => number.checked_neg().map(|number| (number, size)).ok_or(bad_number(at)),
        Some(_) => Err(bad_number(size)),
        None => Err(Stop::Partial),
    }
}

/// Numbers end within some twenty bytes, so `until` always fits.
fn bad_number(until: usize) -> Stop {
    Stop::Number { until: until as u32 }
}

/// Lines this short are searched by hand; beyond it the set-up of a vectorised search pays.
const LINE_SHORT_BYTES: usize = 8;

/// The length of the text in the `+` or `-` line that starts `value`, its first `clean` bytes searched before.
#[inline(always)]
pub(super) fn line_len(value: &[u8], clean: usize, max: usize) -> Result<usize, Stop> {
    // The one line that comes by the million.
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

/// The first break beyond those bytes that were searched by hand.
#[inline(never)]
fn far_break(unsearched: &[u8]) -> Option<usize> {
    let far = unsearched.get(LINE_SHORT_BYTES..)?;
    count_work(far.len());
    memchr::memchr2(b'\r', b'\n', far).map(|found| LINE_SHORT_BYTES + found)
}

/// A break that is no line end, or not yet.
#[cold]
#[inline(never)]
fn bad_line_end(end: Option<&[u8]>, first: Option<&u8>, len: usize) -> Stop {
    // Counted from the type byte, so that the offending byte is the last.
    match (first, end) {
        (Some(b'\r'), None) => Stop::PartialLine { clean: len as u32 },
        (Some(b'\r'), Some(_)) => Stop::Break { until: len as u32 + 3 },
        _ => Stop::Break { until: len as u32 + 2 },
    }
}
