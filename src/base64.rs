//! Base64 (<https://www.rfc-editor.org/rfc/rfc4648#section-4>), for signatures of requests and logins of proxies. Pure.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of these bytes, with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let bits = part.iter().chain(&[0; 2]).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for digit in 0..4 {
            // Three bytes are four digits; one byte fewer is one digit fewer.
            let found = DIGITS.get(bits >> (18 - 6 * digit) & 63).filter(|_| digit <= part.len());
            text.push(char::from(*found.unwrap_or(&b'=')));
        }
    }
    text
}

/// The bytes of a text with or without its padding. `None`: it is no base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    // One digit alone is less than a byte.
    if digits.len() % 4 == 1 || padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in digits.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rows of RFC 4648, section 10.
    #[test]
    fn the_rows_of_the_standard() {
        let rows = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("\u{7f}~?>", "f34/Pg=="),
        ];
        for (plain, text) in rows {
            assert_eq!((encode(plain.as_bytes()).as_str(), decode(text).unwrap()), (text, plain.as_bytes().to_vec()));
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let text = encode(&bytes);
            prop_assert_eq!(text.len(), bytes.len().div_ceil(3) * 4);
            prop_assert_eq!(decode(&text), Some(bytes.clone()));
            prop_assert_eq!(decode(text.trim_end_matches('=')), Some(bytes));
        }

        #[test]
        fn no_text_is_decoded_to_more_than_it_holds(text in "[A-Za-z0-9+/=é-]{0,40}") {
            if let Some(bytes) = decode(&text) {
                prop_assert!(bytes.len() <= text.len() * 3 / 4);
            }
        }
    }
}
