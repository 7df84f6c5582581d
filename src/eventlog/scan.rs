//! Cuts JSON text into the parts that the event log stores apart: the skeleton of an object, and its scalars. Pure
//! functions over bytes, used on `rt-files` and by the reader of JSON lines. Strings and numbers stay text, so that
//! they come back exactly. [`normalise`] refuses everything that is no JSON; the other functions may rely on that,
//! and check their input all the same.

use crate::config::limits::DECODE_DEPTH_MAX;
use crate::eventlog::digits::{self, Run};
use crate::eventlog::format::HOLE;
use crate::eventlog::tables::{HEAD_BYTES, window};
use crate::json::text::unescaped_in;

/// Digits behind the point that a [`Number::Decimal`] may have: its tag has four bits for them.
const SCALE_MAX: usize = 16;
/// A number with at most this many digits fits a `u64`.
const DIGITS_MAX: usize = 19;

/// A number of JSON text, as an integer if that reproduces the text exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number<'a> {
    /// A whole number. `-0` is none, because the integer would lose the sign.
    Whole { negative: bool, magnitude: u64 },
    /// `mantissa` with its last `scale` digits, 1 to 16, behind the point.
    Decimal { negative: bool, mantissa: u64, scale: u8 },
    /// A number that no integer reproduces digit by digit: it has an exponent, is `-0`, or has more than 19 digits.
    Text(&'a [u8]),
}

/// The length of the string, number or word at the start of `text`. `None`: no scalar stands there.
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

/// Number of bytes in the window before its first quote, backslash or control character; 16 if there is none.
#[inline(always)]
pub(super) fn plain_len(window: u128) -> usize {
    let (low, high) = (unescaped_in(window as u64), unescaped_in((window >> 64) as u64));
    if low < 8 { low } else { 8 + high }
}

/// The length of the string at the start of `text`, its quotes included. `None`: it does not end, or has a raw
/// control character or a wrong escape. Bytes that are no UTF-8 pass.
#[inline]
pub(super) fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let rest = text.get(at..)?;
        // The window has zeros behind the end of the text. A zero is a control character, so it ends a plain stretch
        // too.
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

/// The length of the escape at the start of `text`. `None`: JSON has no such escape (RFC 8259, section 7).
fn escape_len(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => text.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// The number at the start of `text` by the grammar of RFC 8259, section 6, and its length.
// Inlined: returning the result through memory would cost as much as finding it.
#[inline(always)]
pub(super) fn number(text: &[u8]) -> Option<(Number<'_>, usize)> {
    match short_number(text) {
        Some(found) => Some(found),
        None => any_number(text),
    }
}

/// [`number`] for the usual case: at most fifteen digits before the point and behind it, and no exponent. `None`: it
/// is another case, or no number.
#[inline(always)]
fn short_number(text: &[u8]) -> Option<(Number<'_>, usize)> {
    let negative = text.first()? == &b'-';
    let digits = text.get(usize::from(negative)..)?;
    let whole = Run::read(digits)?;
    // JSON allows no leading zero.
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
    // Three cases for `any_number`: an exponent, minus zero, and digits that a `u64` cannot hold.
    if next | 0x20 == b'e' || negative && mantissa == 0 || whole.digits + usize::from(scale) > DIGITS_MAX {
        return None;
    }
    let number = match scale {
        0 => Number::Whole { negative, magnitude: mantissa },
        _ => Number::Decimal { negative, mantissa, scale },
    };
    Some((number, len))
}

/// [`number`] for every case, by the grammar
///
/// ```text
/// number = [ "-" ] ( "0" | digit1-9 digit* ) [ "." digit+ ] [ ( "e" | "E" ) [ "+" | "-" ] digit+ ]
/// ```
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
    // Otherwise an integer would lose digits, or its scale would not fit the tag.
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

/// Appends the text without the white space between its values. `None`: it is no JSON (RFC 8259) or nested deeper
/// than [`DECODE_DEPTH_MAX`]; the content of `out` is then undefined. It uses a stack of open brackets instead of
/// recursion.
pub(super) fn normalise(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.reserve(text.len());
    let mut normal = Normal { text, at: 0, copied: 0, out };
    // For each open container the bracket that closes it.
    let mut open = [0_u8; DECODE_DEPTH_MAX];
    let mut depth = 0;
    normal.skip_space();
    loop {
        // The position is before a value.
        match normal.byte()? {
            bracket @ (b'{' | b'[') => {
                // In ASCII `}` and `]` stand two behind their partners.
                let close = bracket + 2;
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
        // The position is behind a value or inside an empty container; any number of containers may end here.
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

/// The position of [`normalise`] in its text. Bytes are copied in stretches from one white space to the next, since
/// most texts have no white space at all.
struct Normal<'a> {
    text: &'a [u8],
    at: usize,
    /// All bytes before this offset are in `out` or were white space.
    copied: usize,
    out: &'a mut Vec<u8>,
}

impl<'a> Normal<'a> {
    /// The text from the position on.
    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The byte at the position.
    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Moves the position over `len` bytes and the white space behind them.
    #[inline]
    fn take(&mut self, len: usize) {
        self.at += len;
        if matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.skip_space();
        }
    }

    /// Copies the stretch before the position, then moves it over white space.
    fn skip_space(&mut self) {
        self.out.extend_from_slice(self.text.get(self.copied..self.at).unwrap_or_default());
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.copied = self.at;
    }

    /// Moves the position over a key and its colon.
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

    /// Copies the last stretch. `None` if text is left behind the value.
    fn end(self) -> Option<()> {
        self.out.extend_from_slice(self.text.get(self.copied..)?);
        (self.at == self.text.len()).then_some(())
    }
}

/// Copies `len` bytes to `out`. Returns the text behind them.
fn copy<'a>(text: &'a [u8], len: usize, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(len)?;
    out.extend_from_slice(head);
    Some(rest)
}

/// Appends the skeleton of the normalised value at the start of `text`: an object's text with a [`HOLE`] for each
/// scalar and array in it, or one hole for any other value. Objects inside objects are part of the skeleton.
pub(super) fn skeleton(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    let mut depth = 0;
    loop {
        // The position is before a value.
        if rest.first()? == &b'{' {
            depth += 1;
            rest = copy(rest, 1, out)?;
        } else {
            out.push(HOLE);
            rest = rest.get(value_len(rest)?..)?;
        }
        // The position is before a key, or any number of objects end here.
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

/// The length of the normalised scalar or array at the start of `text`. An array is not parsed, only its brackets are
/// counted outside of strings.
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
