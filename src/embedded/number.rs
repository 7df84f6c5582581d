//! Numbers in arguments and values, read and printed as Redis does. Pure.
//! A sum of decimals is exact where both fit 20 digits before the point and [`FRACTION_DIGITS`] behind it: a price that
//! grows by 0.1 never shows `0.30000000000000004`. Redis adds in 80-bit floating point and prints 17 digits, so the two
//! differ in the last digits of long numbers only.

use crate::json::text;

/// Digits behind the point that an exact sum keeps: as many as Redis prints.
const FRACTION_DIGITS: usize = 17;
/// Digits before the point of an exact sum. With the fraction they fit 128 bits.
const WHOLE_DIGITS_MAX: usize = 20;
/// One, in the units of an exact sum.
const ONE: u128 = 100_000_000_000_000_000;

/// A whole number as Redis prints it: no sign but a minus, no blank, no leading zero.
pub(super) fn whole(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // Rust reads `+1`, `007` and `-0` as well.
    (itoa::Buffer::new().format(number).as_bytes() == text).then_some(number)
}

/// A number with or without fraction and exponent, or `inf`. Not `nan`.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// The shortest text that reads back as the same number, as Redis prints scores since version 7.2.
pub(super) fn print(number: f64) -> Vec<u8> {
    if number.is_infinite() {
        return if number > 0.0 { b"inf".to_vec() } else { b"-inf".to_vec() };
    }
    let mut out = Vec::new();
    text::push_decimal(&mut out, number);
    out
}

/// The sum of two numbers as text. `None`: one is no finite number, or the sum is none.
pub(super) fn sum(one: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    if let (Some(one), Some(other)) = (units(one), units(other)) {
        return Some(print_units(one + other));
    }
    let sum = float(one)? + float(other)?;
    // Like Redis without an exponent, however long.
    sum.is_finite().then(|| sum.to_string().into_bytes())
}

/// A decimal without exponent in units of 10^-17. `None`: it has more digits, or is written in another way.
fn units(text: &[u8]) -> Option<i128> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(at) => (digits.get(..at)?, digits.get(at + 1..)?),
        None => (digits, &b""[..]),
    };
    if whole.is_empty() || whole.len() > WHOLE_DIGITS_MAX || fraction.len() > FRACTION_DIGITS {
        return None;
    }
    let padding = std::iter::repeat_n(&b'0', FRACTION_DIGITS - fraction.len());
    let mut units: i128 = 0;
    for byte in whole.iter().chain(fraction).chain(padding) {
        let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
        units = units * 10 + digit;
    }
    Some(if digits.len() < text.len() { -units } else { units })
}

fn print_units(units: i128) -> Vec<u8> {
    let (size, sign) = (units.unsigned_abs(), if units < 0 { "-" } else { "" });
    let text = format!("{sign}{}.{:017}", size / ONE, size % ONE);
    text.trim_end_matches('0').trim_end_matches('.').as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_strictly() {
        for text in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(whole(text.as_bytes()).map(|number| number.to_string()).as_deref(), Some(text));
        }
        for text in ["", "+1", "01", "-0", " 1", "1 ", "1.0", "9223372036854775808", "\u{661}"] {
            assert_eq!(whole(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn sums_of_decimals_are_exact() {
        for (one, other, expected) in [
            ("0.1", "0.2", Some("0.3")),
            ("3", "200", Some("203")),
            ("-0.5", "0.5", Some("0")),
            ("-1.5", "0.25", Some("-1.25")),
            ("10.50", "0.1", Some("10.6")),
            ("5.0e3", "200", Some("5200")),
            ("1e30", "1", Some("1000000000000000000000000000000")),
            ("99999999999999999999", "0.00000000000000001", Some("99999999999999999999.00000000000000001")),
            ("0.123456789012345678", "1", Some("1.1234567890123457")),
            ("1e308", "1e308", None),
            ("inf", "1", None),
            ("nan", "1", None),
            ("", "1", None),
            ("1.", "1", Some("2")),
            (".5", "1", Some("1.5")),
            ("x", "1", None),
        ] {
            let found = sum(one.as_bytes(), other.as_bytes()).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(found.as_deref(), expected, "{one} + {other}");
        }
    }

    #[test]
    fn a_printed_number_reads_back_as_the_same() {
        proptest::proptest!(|(number in proptest::num::f64::NORMAL | proptest::num::f64::ZERO)| {
            assert_eq!(float(&print(number)), Some(number));
        });
        assert_eq!((print(f64::INFINITY), print(-3.0), print(0.1)), (b"inf".to_vec(), b"-3".to_vec(), b"0.1".to_vec()));
    }
}
