//! Signatures of requests, by which a receiver knows that a request comes from this server and is not an old one:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
//! Secrets are read on the game thread when a hook is added; requests are signed on `rt-send-*`, each attempt anew. Pure.
//! Holds secrets: neither `Debug` nor an error shows one. Without the feature `tls` there is no HMAC, and every secret
//! is refused.
//!
//! ```text
//! secret               whsec_<base64 of the key, 24 to 64 bytes>
//! signed               <webhook-id>.<webhook-timestamp>.<body>
//! webhook-signature    v1,<base64 of the HMAC-SHA256>      one for each secret, with a space between
//! ```

use std::sync::Arc;

use crate::config::{Secret, WITHOUT_TLS};

/// Most secrets of one hook. Two are enough while receivers change from an old one to a new one.
pub(crate) const SECRETS_MAX: usize = 4;
/// Every secret begins with this, so that it is recognised as one.
const SECRET_START: &str = "whsec_";
/// Length of a key, in bytes: the range of the specification.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The headers that a signed request has beside `webhook-id`.
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";

/// The secrets of one hook. Empty: its requests are not signed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Signing(Arc<[Secret]>);

impl Signing {
    /// Takes secrets that [`check`] accepts.
    pub(crate) fn new(secrets: Vec<Secret>) -> Signing {
        Signing(secrets.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secrets themselves, for the spool only.
    pub(crate) fn reveal(&self) -> Vec<&str> {
        self.0.iter().map(Secret::reveal).collect()
    }

    /// The value of `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp}.");
        let mut signatures = String::new();
        for secret in self.0.iter() {
            let key = secret.reveal().strip_prefix(SECRET_START).and_then(from_base64).unwrap_or_default();
            signatures.push_str(if signatures.is_empty() { "v1," } else { " v1," });
            push_base64(&mut signatures, &hmac_sha256(&key, &[head.as_bytes(), body]));
        }
        signatures
    }

    /// The texts by which somebody could know the secrets: each whole, and its parts between the signs that JSON and
    /// URLs write in other ways.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|secret| {
            let base64 = secret.reveal().strip_prefix(SECRET_START).unwrap_or_default();
            let parts = base64.split(['/', '+', '=']).filter(|part| part.len() > 3);
            [secret.reveal(), base64].into_iter().chain(parts)
        })
    }
}

/// Accepts a secret. The error is the predicate of a sentence about it, and shows nothing of it.
pub(crate) fn check(secret: &str) -> Result<(), String> {
    if cfg!(not(feature = "tls")) {
        return Err(format!("cannot be used: {WITHOUT_TLS}"));
    }
    let key = secret.strip_prefix(SECRET_START).ok_or("does not begin with `whsec_`")?;
    let key = from_base64(key).ok_or("is not base64 after `whsec_`")?;
    if KEY_BYTES.contains(&key.len()) {
        Ok(())
    } else {
        Err("does not hold 24 to 64 bytes as base64 after `whsec_`".to_owned())
    }
}

#[cfg(feature = "tls")]
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // The code of TLS: rustls uses the same function.
    let mut context = ring::hmac::Context::with_key(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

/// Never called: no secret is accepted.
#[cfg(not(feature = "tls"))]
fn hmac_sha256(_: &[u8], _: &[&[u8]]) -> Vec<u8> {
    Vec::new()
}

/// The digits of base64: <https://www.rfc-editor.org/rfc/rfc4648#section-4>.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn push_base64(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            // Three bytes are four digits; one byte fewer is one digit fewer.
            let digit = DIGITS.get(value as usize).filter(|_| digit <= chunk.len());
            out.push(digit.map_or('=', |digit| char::from(*digit)));
        }
    }
}

/// Decodes base64 with or without its padding, as receivers do. `None`: it is no base64.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
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
mod tests;
