//! Cuts JSON text into what the event log keeps apart: the skeleton of an object, written once, and its scalars.
//! Pure functions over bytes, on `rt-files`; strings and numbers stay the text they were, so that they come back exactly.
//! [`normalise`] refuses what is no JSON; everything after it may rely on that, and is checked all the same.

use crate::config::DECODE_DEPTH_MAX;

/// Stands in a skeleton for each value. JSON text never holds a raw control character, so it is free.
pub(super) const HOLE: u8 = 0;

/// A value that is no container, as its text has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    Null,
    False,
    True,
    /// What stands between the quotes, escapes included.
    Text(&'a [u8]),
    Whole {
        negative: bool,
        magnitude: u64,
    },
    /// `mantissa` with its last `scale` digits behind the point. Scale is 1 to [`SCALE_MAX`].
    Decimal {
        negative: bool,
        mantissa: u64,
        scale: u8,
    },
    /// A number that no integer gives back digit by digit: an exponent, `-0`, more than 19 digits.
    Number(&'a [u8]),
}

/// Digits behind the point that a [`Scalar::Decimal`] may have: what a tag has room for.
pub(super) const SCALE_MAX: u8 = 16;
/// As many digits always fit a `u64`.
const DIGITS_MAX: usize = 19;

/// The scalar at the start of `text`, and its length there.
#[inline]
pub(super) fn scalar(text: &[u8]) -> Option<(Scalar<'_>, usize)> {
    match text.first()? {
        b'"' => {
            let end = string_end(text)?;
            Some((Scalar::Text(text.get(1..end - 1)?), end))
        }
        b't' => text.starts_with(b"true").then_some((Scalar::True, 4)),
        b'f' => text.starts_with(b"false").then_some((Scalar::False, 5)),
        b'n' => text.starts_with(b"null").then_some((Scalar::Null, 4)),
        _ => number(text),
    }
}

/// The length of the string at the start of `text`, quotes included.
#[inline]
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += plain_len(text.get(at..)?);
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape_len(text.get(at..)?)?,
            _ => return None,
        }
    }
}

/// How many bytes come before the first quote, backslash or control character.
#[inline]
fn plain_len(text: &[u8]) -> usize {
    let mut at = 0;
    // Eight at a time. A borrow can only make a false hit above a true one, and the lowest is what counts.
    while let Some(word) = text.get(at..).and_then(|rest| rest.first_chunk()) {
        let special = specials(u64::from_le_bytes(*word));
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\').unwrap_or(rest.len())
}

/// The high bit of each byte that ends a plain stretch of a string.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let is = |byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (is(b'"') | is(b'\\') | control) & HIGHS
}

/// The length of the escape at the start of `text`.
fn escape_len(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => text.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// The number at the start of `text`, by the grammar of RFC 8259.
#[inline]
fn number(text: &[u8]) -> Option<(Scalar<'_>, usize)> {
    let negative = text.first() == Some(&b'-');
    let first = usize::from(negative);
    let mut mantissa = 0;
    let point = digits(text, first, &mut mantissa)?;
    if point > first + 1 && text.get(first) == Some(&b'0') {
        return None;
    }
    let mut end = point;
    if text.get(point) == Some(&b'.') {
        end = digits(text, point + 1, &mut mantissa)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits(text, end + 1 + sign, &mut 0)?;
        return Some((Scalar::Number(text.get(..end)?), end));
    }
    let scale = (end - point).saturating_sub(1);
    let exact = end - first - usize::from(scale > 0) <= DIGITS_MAX && scale <= usize::from(SCALE_MAX);
    let scalar = if !exact || (negative && mantissa == 0) {
        Scalar::Number(text.get(..end)?)
    } else if scale == 0 {
        Scalar::Whole { negative, magnitude: mantissa }
    } else {
        Scalar::Decimal { negative, mantissa, scale: scale as u8 }
    };
    Some((scalar, end))
}

/// The end of the digits that start at `at`, at least one. They are appended to `mantissa`, which may overflow: who
/// uses it counts the digits.
#[inline]
fn digits(text: &[u8], at: usize, mantissa: &mut u64) -> Option<usize> {
    let mut end = at;
    while let Some(digit @ b'0'..=b'9') = text.get(end) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        end += 1;
    }
    (end > at).then_some(end)
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
            _ => rest = copy(rest, scalar(rest)?.1, out)?,
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
    let rest = skip_space(copy(text, string_end(text)?, out)?);
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
                    rest = copy(rest, string_end(rest)? + 1, out)?;
                    break;
                }
            }
        }
    }
}

/// The length of the normalised scalar or array at the start of `text`.
fn value_len(text: &[u8]) -> Option<usize> {
    if text.first()? != &b'[' {
        return Some(scalar(text)?.1);
    }
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match text.get(at)? {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => {
                at += string_end(text.get(at..)?)?;
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
