//! Writes JSON strings and numbers into a byte buffer, and numbers in the two other forms that Lua values need. Runs in
//! Emit, on the game thread, where it is a hot path; also in templates and posts on other threads. It accepts strings
//! of any bytes, as Lua has them. Invalid UTF-8 becomes U+FFFD, so every JSON reader accepts the text.

use crate::json::bytes::ByteSink;

/// 2^53. Up to it every whole number is an `f64` of its own; above it neighbours share one. Every language that reads
/// JSON numbers as `f64` (Lua and JavaScript do) has this limit.
pub(crate) const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// How each byte of a string is written:
///
/// | entry | written as |
/// |---|---|
/// | 0 | itself |
/// | 1 | itself, if the bytes around it are valid UTF-8 |
/// | `u` | an escape `\u00xx` |
/// | another letter | a backslash and that letter |
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 {
            table[byte] = b'u';
        } else if byte >= 0x80 {
            table[byte] = 1;
        }
        byte += 1;
    }
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table
};

/// Appends `bytes` as a JSON string, quotes included.
#[optimize(speed)]
pub(crate) fn push_string(out: &mut impl ByteSink, bytes: &[u8]) {
    out.push_byte(b'"');
    push_escaped(out, bytes);
    out.push_byte(b'"');
}

/// Appends the inside of a JSON string, without the quotes. Bytes that are not valid UTF-8 become U+FFFD, one for each
/// sequence that `utf8_chunks` rejects.
#[optimize(speed)]
pub(crate) fn push_escaped(out: &mut impl ByteSink, bytes: &[u8]) {
    if is_plain(bytes) {
        out.push_bytes(bytes);
    } else {
        push_with_escapes(out, bytes);
    }
}

/// Whether every byte is written as itself, whatever stands around it: ASCII that needs no escape. It looks at eight
/// bytes at a time, and at the end again at some that it has seen: most strings of an event are shorter than two words.
#[inline(always)]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk() {
        let (words, _) = bytes.as_chunks();
        words.iter().all(|word| is_plain_word(u64::from_ne_bytes(*word))) && is_plain_word(u64::from_ne_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        is_plain_word(u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last)))
    } else {
        bytes.iter().all(|byte| ESCAPES[usize::from(*byte)] == 0)
    }
}

/// Whether all eight bytes of the word are ASCII and need no escape. A subtraction sets the highest bit of each byte that
/// is below what is subtracted; a borrow can reach a neighbour only if such a byte exists.
#[inline(always)]
fn is_plain_word(word: u64) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let control = word.wrapping_sub(EACH * 0x20);
    let quote = (word ^ (EACH * b'"' as u64)).wrapping_sub(EACH);
    let backslash = (word ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    (word | control | quote | backslash) & (EACH * 0x80) == 0
}

/// How many bytes stand before the first quote, backslash or control character.
#[inline]
#[optimize(speed)]
pub(crate) fn unescaped(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (at, word) in words.iter().enumerate() {
        let found = unescaped_in(u64::from_le_bytes(*word));
        if found < 8 {
            return at * 8 + found;
        }
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

/// [`unescaped`] for eight bytes, the first one lowest. 8 if none of them needs an escape.
#[inline(always)]
pub(crate) fn unescaped_in(word: u64) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // Sets the high bit of each byte that needs an escape. A borrow sets wrong bits only in bytes above a true hit, and
    // only the lowest hit counts. Bytes that have their high bit from the start are no hits.
    let is = |byte: u8| (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
    let control = word.wrapping_sub(ONES * 0x20);
    (((is(b'"') | is(b'\\') | control) & !word & ONES << 7).trailing_zeros() / 8) as usize
}

/// As [`push_escaped`], for bytes of which some need an escape or are not ASCII. They are checked for UTF-8 chunk by
/// chunk. All bytes that need an escape are ASCII, so no escape is inside a character.
#[inline(never)]
fn push_with_escapes(out: &mut impl ByteSink, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        push_escaped_utf8(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.push_bytes("\u{fffd}".as_bytes());
        }
    }
}

/// Appends valid UTF-8, with an escape for each byte that needs one.
fn push_escaped_utf8(out: &mut impl ByteSink, mut bytes: &[u8]) {
    while let Some(at) = bytes.iter().position(|byte| ESCAPES[usize::from(*byte)] > 1) {
        let (plain, rest) = bytes.split_at(at);
        out.push_bytes(plain);
        let [special, rest @ ..] = rest else { return };
        match ESCAPES[usize::from(*special)] {
            b'u' => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                out.push_bytes(&[b'\\', b'u', b'0', b'0', digit(special >> 4), digit(*special)]);
            }
            letter => out.push_bytes(&[b'\\', letter]),
        }
        bytes = rest;
    }
    out.push_bytes(bytes);
}

/// Appends a number. A whole number below 2^53 is written as an integer, another finite number in the shortest form
/// that reads back the same. NaN and infinities, which JSON lacks, are written as `null`; then it returns false.
#[optimize(speed)]
pub(crate) fn push_number(out: &mut impl ByteSink, number: f64) -> bool {
    if !number.is_finite() {
        out.push_bytes(b"null");
        return false;
    }
    push_finite(out, number);
    true
}

/// Appends a finite number as the text of a value in Redis. Every whole number in the range of Redis' integers (signed
/// 64 bits) is written in digits, without an exponent, so that INCRBY can add to it.
pub(crate) fn push_decimal(out: &mut impl ByteSink, number: f64) {
    const FITS: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if number.fract() == 0.0 && number.abs() < FITS {
        out.push_bytes(itoa::Buffer::new().format(number as i64).as_bytes());
    } else {
        push_finite(out, number);
    }
}

/// Appends a number that is a key of a Lua table, as the name of a JSON member, quotes included. Infinities can be keys
/// in Lua; NaN cannot.
pub(crate) fn push_number_key(out: &mut impl ByteSink, number: f64) {
    out.push_byte(b'"');
    if number.is_finite() {
        push_finite(out, number);
    } else {
        out.push_bytes(if number > 0.0 { b"inf" } else { b"-inf" });
    }
    out.push_byte(b'"');
}

/// Appends a finite number: an integer below 2^53, else the shortest form. The cast saturates, which the comparison
/// detects.
#[optimize(speed)]
fn push_finite(out: &mut impl ByteSink, number: f64) {
    let whole = number as i64;
    if whole as f64 == number && number.abs() < WHOLE_MAX {
        out.push_bytes(itoa::Buffer::new().format(whole).as_bytes());
    } else {
        out.push_bytes(zmij::Buffer::new().format_finite(number).as_bytes());
    }
}

/// Appends a number as C's `%.9g` prints it. GMod's vectors hold 32-bit floats, and nine digits restore each of them.
/// Rule: <https://en.cppreference.com/w/c/io/fprintf>, conversion `g`: fixed notation for exponents from -4 to 8, else
/// scientific with an exponent of two digits or more; without trailing zeros.
pub(crate) fn push_g9(out: &mut impl ByteSink, number: f64) {
    if !number.is_finite() {
        let text = if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        out.push_bytes(text.as_bytes());
        return;
    }
    let scientific = format!("{number:.8e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..9).contains(&exponent) {
        let decimals = usize::try_from(8 - exponent).unwrap_or(0);
        out.push_bytes(without_trailing_zeros(&format!("{number:.decimals$}")).as_bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let shown = format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs());
        out.push_bytes(shown.as_bytes());
    }
}

/// The same number without zeros at the end of its fraction. The zeros of a whole number stay.
fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_quoted_and_escaped() {
        let rows: &[(&[u8], &str)] = &[
            (b"", r#""""#),
            (b"plain", r#""plain""#),
            (b"a\"b\\c/d", r#""a\"b\\c/d""#),
            (b"\x00\x1f\x08\t\n\x0c\r\x7f", "\"\\u0000\\u001f\\b\\t\\n\\f\\r\u{7f}\""),
            ("é 日本 🎮".as_bytes(), "\"é 日本 🎮\""),
            (b"cut \xf0\x9f\x8e", "\"cut \u{fffd}\""),
            (b"\xff\"\xc3", "\"\u{fffd}\\\"\u{fffd}\""),
            (b"\xed\xa0\x80", "\"\u{fffd}\u{fffd}\u{fffd}\""), // a lone surrogate, three bad bytes
        ];
        for (bytes, expected) in rows {
            assert_eq!(written(|out| push_string(out, bytes)), *expected, "{bytes:?}");
        }
    }

    /// Every byte at every place, alone and before a second special byte.
    #[test]
    fn the_first_special_byte_is_found() {
        for len in 0..26 {
            for (at, byte) in (0..len).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                for after in [b'x', b'"', 0x7f, 0x80, 0xff, 0x1f, 0x20] {
                    let mut text = vec![0xc3; len];
                    text[at] = byte;
                    text.get_mut(at + 1).into_iter().for_each(|next| *next = after);
                    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
                    let naive = text.iter().position(special).unwrap_or(len);
                    assert_eq!(unescaped(&text), naive, "{text:?}");
                }
            }
        }
    }

    /// Every byte at every place of strings of each length up to three words, between bytes at the edges of the rule.
    #[test]
    fn words_find_each_byte_that_is_not_plain() {
        for (length, around) in
            (1..=24).flat_map(|length| [b' ', b'!', b'#', b'[', b']', b'~', 0x7f].map(|a| (length, a)))
        {
            for (at, byte) in (0..length).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut bytes = vec![around; length];
                bytes[at] = byte;
                let expected = bytes.iter().all(|byte| ESCAPES[usize::from(*byte)] == 0);
                assert_eq!(is_plain(&bytes), expected, "{bytes:?}");
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn every_string_reads_back_as_its_lossy_utf8() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let text = written(|out| push_string(out, &bytes));
            let back: String = serde_json::from_str(&text).unwrap();
            assert_eq!(back, String::from_utf8_lossy(&bytes));
        });
    }

    #[test]
    fn numbers_take_their_shortest_form() {
        let rows = [
            (0.0, "0"),
            (-0.0, "0"),
            (5.0, "5"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (5.2, "5.2"),
            (1e21, "1e+21"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (-9_007_199_254_740_991.0, "-9007199254740991"),
            (9_007_199_254_740_992.0, "9007199254740992.0"),
            (5e-324, "5e-324"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
            (f64::NEG_INFINITY, "null"),
        ];
        for (number, expected) in rows {
            assert_eq!(written(|out| assert_eq!(push_number(out, number), number.is_finite())), expected);
        }
        proptest::proptest!(|(number in proptest::num::f64::NORMAL)| {
            let text = written(|out| assert!(push_number(out, number)));
            assert_eq!(text.parse::<f64>().unwrap(), number);
        });
    }

    #[test]
    fn number_keys_are_quoted() {
        let rows = [
            (5.0, "\"5\""),
            (-0.5, "\"-0.5\""),
            (9_007_199_254_740_992.0, "\"9007199254740992.0\""),
            (f64::INFINITY, "\"inf\""),
            (f64::NEG_INFINITY, "\"-inf\""),
        ];
        for (number, expected) in rows {
            assert_eq!(written(|out| push_number_key(out, number)), expected);
        }
    }

    #[test]
    fn stored_whole_numbers_have_no_exponent_in_64_bits() {
        let rows = [
            (0.0, "0"),
            (-0.0, "0"),
            (-7.0, "-7"),
            (0.5, "0.5"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e18, "1000000000000000000"),
            (1e19, "1e+19"),
        ];
        for (number, expected) in rows {
            assert_eq!(written(|out| push_decimal(out, number)), expected);
        }
    }

    #[test]
    fn g9_prints_as_c_does() {
        let rows = [
            (0.0, "0"),
            (1.0, "1"),
            (-1234.5625, "-1234.5625"),
            (f64::from(0.1f32), "0.100000001"),
            (f64::from(64.03125f32), "64.03125"),
            (123456789.0, "123456789"),
            (1234567890.0, "1.23456789e+09"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (999999999.9, "1e+09"),
            (f64::from(f32::MAX), "3.40282347e+38"),
            (-0.0, "-0"),
        ];
        for (number, expected) in rows {
            assert_eq!(written(|out| push_g9(out, number)), expected);
        }
    }
}
