//! Cuts JSON text into what the event log keeps apart: the skeleton of an object, written once, and its scalars.
//! Pure functions over bytes, on `rt-files`; strings and numbers stay the text they were, so that they come back exactly.
//! [`normalise`] refuses what is no JSON; everything after it may rely on that, and is checked all the same.

use crate::config::limits::DECODE_DEPTH_MAX;
use crate::eventlog::digits::{self, Run};
use crate::eventlog::format::HOLE;
use crate::eventlog::tables::{HEAD_BYTES, window};

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
        // Behind the end of the text are zeros, which end a plain stretch too.
        let plain = plain_len(window(rest));
        at += plain;
        match rest.get(plain)? {
            b'"' => return Some(at + 1),
            b'\\' => at += escape_len(text.get(at..)?)?,
            _ if plain == HEAD_BYTES => {}
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
// Inlined, or what it finds goes through memory twice, which costs as much as finding it.
#[inline(always)]
pub(super) fn number(text: &[u8]) -> Option<(Number<'_>, usize)> {
    match short_number(text) {
        Some(found) => Some(found),
        None => any_number(text),
    }
}

/// The same for the usual one: at most fifteen digits before the point and behind it, and no exponent.
#[inline(always)]
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
    if next | 0x20 == b'e' || negative && mantissa == 0 || whole.digits + usize::from(scale) > DIGITS_MAX {
        return None;
    }
    let number = match scale {
        0 => Number::Whole { negative, magnitude: mantissa },
        _ => Number::Decimal { negative, mantissa, scale },
    };
    Some((number, len))
}

#[inline(never)]
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
    let mut normal = Normal { text, at: 0, copied: 0, out };
    let mut open = [0_u8; DECODE_DEPTH_MAX];
    let mut depth = 0;
    normal.skip_space();
    loop {
        // A value stands here.
        match normal.byte()? {
            bracket @ (b'{' | b'[') => {
                let close = bracket + 2; // `}` and `]` stand two behind their partners.
                *open.get_mut(depth)? = close;
                depth += 1;
                normal.take(1);
                if normal.byte()? != close {
                    if bracket == b'{' {
                        normal.key()?;
                    }
                    continue;
                }
            }
            _ => normal.take(scalar_len(normal.rest())?),
        }
        // A value ended here, or an empty container ends; so may any number of containers.
        loop {
            let Some(close) = depth.checked_sub(1).and_then(|top| open.get(top)) else { return normal.end() };
            let byte = normal.byte()?;
            normal.take(1);
            if byte == b',' {
                if *close == b'}' {
                    normal.key()?;
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

/// A text on its way through [`normalise`]. It is copied from one white space to the next: most have none.
struct Normal<'a> {
    text: &'a [u8],
    at: usize,
    /// What is before this is in `out`, or was white space.
    copied: usize,
    out: &'a mut Vec<u8>,
}

impl<'a> Normal<'a> {
    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Goes over so many bytes and the white space behind them.
    #[inline]
    fn take(&mut self, len: usize) {
        self.at += len;
        if matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.skip_space();
        }
    }

    fn skip_space(&mut self) {
        self.out.extend_from_slice(self.text.get(self.copied..self.at).unwrap_or_default());
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.copied = self.at;
    }

    /// `"name" :`
    #[inline]
    fn key(&mut self) -> Option<()> {
        if self.byte()? != b'"' {
            return None;
        }
        self.take(string_len(self.rest())?);
        if self.byte()? != b':' {
            return None;
        }
        self.take(1);
        Some(())
    }

    /// The end of the text, if nothing is left.
    fn end(self) -> Option<()> {
        self.out.extend_from_slice(self.text.get(self.copied..)?);
        (self.at == self.text.len()).then_some(())
    }
}

fn copy<'a>(text: &'a [u8], len: usize, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(len)?;
    out.extend_from_slice(head);
    Some(rest)
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
