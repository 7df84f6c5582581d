//! Cuts JSON text into what the event log keeps apart: the skeleton of an object, written once, and its scalars.
//! Pure functions over bytes, on `rt-files`; strings and numbers stay the text they were, so that they come back exactly.
//! [`normalise`] refuses what is no JSON; everything after it may rely on that, and is checked all the same.

use crate::config::DECODE_DEPTH_MAX;
use crate::eventlog::digits::{self, Run};

/// Stands in a skeleton for each value. JSON text never holds a raw control character, so it is free.
pub(super) const HOLE: u8 = 0;

/// Digits behind the point that a [`Number::Decimal`] may have: what a tag has room for.
const SCALE_MAX: usize = 16;
/// As many digits always fit a `u64`.
const DIGITS_MAX: usize = 19;

/// A number as its text has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number<'a> {
    Whole {
        negative: bool,
        magnitude: u64,
    },
    /// `mantissa` with its last `scale` digits behind the point. Scale is 1 to 16.
    Decimal {
        negative: bool,
        mantissa: u64,
        scale: u8,
    },
    /// One that no integer gives back digit by digit: an exponent, `-0`, more than 19 digits.
    Text(&'a [u8]),
}

/// The length of the scalar at the start of `text`.
#[inline]
pub(super) fn scalar_len(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_len(text),
        b't' => text.starts_with(b"true").then_some(4),
        b'f' => text.starts_with(b"false").then_some(5),
        b'n' => text.starts_with(b"null").then_some(4),
        _ => Some(number(text)?.1),
    }
}

/// How many bytes the window has before its first quote, backslash or control character; 16 if there is none.
#[inline]
pub(super) fn plain_len(window: u128) -> usize {
    let (low, high) = (plain_bytes(window as u64), plain_bytes((window >> 64) as u64));
    if low < 8 { low } else { 8 + high }
}

/// The same for eight bytes.
#[inline]
fn plain_bytes(word: u64) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // The high bit of each byte that ends a plain stretch. A borrow only reaches bytes above a true hit, and the lowest
    // is what counts.
    let is = |byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (((is(b'"') | is(b'\\') | control) & ONES << 7).trailing_zeros() / 8) as usize
}

/// The length of the string at the start of `text`, quotes included.
#[inline]
pub(super) fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = text.get(at..)?;
        let plain = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')?;
        at += plain;
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape_len(text.get(at..)?)?,
            _ => return None,
        }
    }
}

/// The length of the escape at the start of `text`.
fn escape_len(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => text.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// The number at the start of `text`, by the grammar of RFC 8259, and its length there.
#[inline]
pub(super) fn number(text: &[u8]) -> Option<(Number<'_>, usize)> {
    short_number(text).or_else(|| any_number(text))
}

/// The same for the usual one: less than eight digits before the point and behind it, and no exponent.
#[inline]
fn short_number(text: &[u8]) -> Option<(Number<'_>, usize)> {
    let negative = text.first()? == &b'-';
    let digits = text.get(usize::from(negative)..)?;
    let whole = Run::read(digits)?;
    if whole.digits > 1 && digits.first()? == &b'0' {
        return None;
    }
    let mut len = usize::from(negative) + whole.digits;
    let (mut mantissa, mut scale, mut next) = (whole.value, 0, whole.next);
    if next == b'.' {
        let fraction = Run::read(digits.get(whole.digits + 1..)?)?;
        mantissa = fraction.behind(mantissa);
        (scale, next) = (fraction.digits as u8, fraction.next);
        len += 1 + fraction.digits;
    }
    if next | 0x20 == b'e' || negative && mantissa == 0 {
        return None;
    }
    let number = match scale {
        0 => Number::Whole { negative, magnitude: mantissa },
        _ => Number::Decimal { negative, mantissa, scale },
    };
    Some((number, len))
}

fn any_number(text: &[u8]) -> Option<(Number<'_>, usize)> {
    let negative = text.first() == Some(&b'-');
    let first = usize::from(negative);
    let digits = text.get(first..)?;
    let mut mantissa = 0;
    let whole = digits::read(digits, &mut mantissa);
    if whole == 0 || whole > 1 && digits.first() == Some(&b'0') {
        return None;
    }
    let mut len = whole;
    let mut scale = 0;
    if digits.get(len) == Some(&b'.') {
        scale = digits::read(digits.get(len + 1..)?, &mut mantissa);
        if scale == 0 {
            return None;
        }
        len += 1 + scale;
    }
    if matches!(digits.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(digits.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits::read(digits.get(len + 1 + sign..)?, &mut 0);
        let len = first + len + 1 + sign + exponent;
        return (exponent > 0).then_some((Number::Text(text.get(..len)?), len));
    }
    len += first;
    let exact = whole + scale <= DIGITS_MAX && scale <= SCALE_MAX;
    let number = if !exact || negative && mantissa == 0 {
        Number::Text(text.get(..len)?)
    } else if scale == 0 {
        Number::Whole { negative, magnitude: mantissa }
    } else {
        Number::Decimal { negative, mantissa, scale: scale as u8 }
    };
    Some((number, len))
}

/// Appends the text without the white space that means nothing. `None`: it is no JSON, or nested too deeply to be
/// taken for it; `out` is then of no use.
pub(super) fn normalise(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.reserve(text.len());
    let mut open = [0_u8; DECODE_DEPTH_MAX];
    let mut depth = 0;
    let mut rest = skip_space(text);
    loop {
        // A value stands here.
        match *rest.first()? {
            bracket @ (b'{' | b'[') => {
                *open.get_mut(depth)? = bracket + 2; // `}` and `]` stand two behind their partners.
                depth += 1;
                out.push(bracket);
                rest = skip_space(rest.get(1..)?);
                if rest.first()? != &(bracket + 2) {
                    if bracket == b'{' {
                        rest = key(rest, out)?;
                    }
                    continue;
                }
            }
            _ => rest = copy(rest, scalar_len(rest)?, out)?,
        }
        // A value ended here, or an empty container ends; so may any number of containers.
        loop {
            rest = skip_space(rest);
            let Some(close) = depth.checked_sub(1).and_then(|top| open.get(top)) else {
                return rest.is_empty().then_some(());
            };
            let byte = *rest.first()?;
            out.push(byte);
            rest = rest.get(1..)?;
            if byte == b',' {
                rest = skip_space(rest);
                if *close == b'}' {
                    rest = key(rest, out)?;
                }
                break;
            }
            if byte != *close {
                return None;
            }
            depth -= 1;
        }
    }
}

/// `"name" :` and the space behind it.
fn key<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    if text.first()? != &b'"' {
        return None;
    }
    let rest = skip_space(copy(text, string_len(text)?, out)?);
    out.push(b':');
    Some(skip_space(rest.strip_prefix(b":")?))
}

fn copy<'a>(text: &'a [u8], len: usize, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(len)?;
    out.extend_from_slice(head);
    Some(rest)
}

fn skip_space(text: &[u8]) -> &[u8] {
    let space = text.iter().position(|byte| !b" \t\r\n".contains(byte));
    text.get(space.unwrap_or(text.len())..).unwrap_or_default()
}

/// Appends the skeleton of the normalised value at the start of `text`: of an object its text, with a [`HOLE`] for
/// every scalar and array in it; of anything else one hole.
pub(super) fn skeleton(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    let mut depth = 0;
    loop {
        // A value stands here.
        if rest.first()? == &b'{' {
            depth += 1;
            rest = copy(rest, 1, out)?;
        } else {
            out.push(HOLE);
            rest = rest.get(value_len(rest)?..)?;
        }
        // A key stands here, or any number of objects end.
        loop {
            match rest.first() {
                _ if depth == 0 => return Some(()),
                Some(b',') => rest = copy(rest, 1, out)?,
                Some(b'}') => {
                    depth -= 1;
                    rest = copy(rest, 1, out)?;
                }
                _ => {
                    rest = copy(rest, string_len(rest)? + 1, out)?;
                    break;
                }
            }
        }
    }
}

/// The length of the normalised scalar or array at the start of `text`.
fn value_len(text: &[u8]) -> Option<usize> {
    if text.first()? != &b'[' {
        return scalar_len(text);
    }
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match text.get(at)? {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => {
                at += string_len(text.get(at..)?)?;
                continue;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests;
