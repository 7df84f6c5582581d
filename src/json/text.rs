//! Writes JSON strings and numbers into a byte buffer. Runs in Emit, on the game thread: it is a hot path.
//! Takes bytes as Lua has them: what is no valid UTF-8 becomes U+FFFD, so any reader takes the text.

/// 2^53: below it every whole number has its own `f64`, above not.
pub(crate) const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What stands for each byte of a string: 0 itself, 1 needs UTF-8 checking, `u` a \u escape, else the letter after `\`.
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
pub(crate) fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    push_escaped(out, bytes);
    out.push(b'"');
}

/// Appends the inside of a JSON string.
pub(crate) fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let plain = bytes.iter().position(|byte| ESCAPES[usize::from(*byte)] != 0).unwrap_or(bytes.len());
    let (head, tail) = bytes.split_at(plain);
    out.extend_from_slice(head);
    // Most strings end here. The rest is checked for UTF-8 chunk by chunk; escapes are all ASCII.
    for chunk in tail.utf8_chunks() {
        push_escaped_utf8(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_escaped_utf8(out: &mut Vec<u8>, mut bytes: &[u8]) {
    while let Some(at) = bytes.iter().position(|byte| ESCAPES[usize::from(*byte)] > 1) {
        let (plain, rest) = bytes.split_at(at);
        out.extend_from_slice(plain);
        let [special, rest @ ..] = rest else { return };
        match ESCAPES[usize::from(*special)] {
            b'u' => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(special >> 4), digit(*special)]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        bytes = rest;
    }
    out.extend_from_slice(bytes);
}

/// Appends a number: whole ones below 2^53 as integers, others in the shortest form that reads back the same,
/// NaN and infinities as `null`. True unless it was one of those.
pub(crate) fn push_number(out: &mut Vec<u8>, number: f64) -> bool {
    if !number.is_finite() {
        out.extend_from_slice(b"null");
        return false;
    }
    push_finite(out, number);
    true
}

/// Appends a finite number as the decimal text of a stored value: every whole number that fits Redis' own as its
/// digits, so that it can be counted on.
pub(crate) fn push_decimal(out: &mut Vec<u8>, number: f64) {
    const FITS: f64 = 9_223_372_036_854_775_808.0; // 2^63
    match number.fract() == 0.0 && number.abs() < FITS {
        true => out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes()),
        false => push_finite(out, number),
    }
}

/// Appends the text of a number used as a key of an object.
pub(crate) fn push_number_key(out: &mut Vec<u8>, number: f64) {
    out.push(b'"');
    match number.is_finite() {
        true => push_finite(out, number),
        false => out.extend_from_slice(if number > 0.0 { b"inf" } else { b"-inf" }),
    }
    out.push(b'"');
}

fn push_finite(out: &mut Vec<u8>, number: f64) {
    let whole = number as i64;
    if whole as f64 == number && number.abs() < WHOLE_MAX {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    }
}

/// Appends a number as C's `%.9g` prints it: GMod's vectors hold 32-bit floats, and nine digits bring them back.
/// Rule: <https://en.cppreference.com/w/c/io/fprintf>, conversion `g`.
pub(crate) fn push_g9(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        let text = if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let scientific = format!("{number:.8e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..9).contains(&exponent) {
        let decimals = usize::try_from(8 - exponent).unwrap_or(0);
        out.extend_from_slice(without_trailing_zeros(&format!("{number:.decimals$}")).as_bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let shown = format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs());
        out.extend_from_slice(shown.as_bytes());
    }
}

fn without_trailing_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
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
    fn strings() {
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

    #[test]
    fn every_string_reads_back_as_its_lossy_self() {
        proptest::proptest!(|(bytes: Vec<u8>)| {
            let text = written(|out| push_string(out, &bytes));
            let back: String = serde_json::from_str(&text).unwrap();
            assert_eq!(back, String::from_utf8_lossy(&bytes));
        });
    }

    #[test]
    fn numbers() {
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
    fn numbers_as_keys() {
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
    fn numbers_as_stored_values() {
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
    fn numbers_as_c_prints_them() {
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
