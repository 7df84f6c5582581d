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

use crate::base64;
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
            let key = secret.reveal().strip_prefix(SECRET_START).and_then(base64::decode).unwrap_or_default();
            signatures.push_str(if signatures.is_empty() { "v1," } else { " v1," });
            signatures.push_str(&base64::encode(&hmac_sha256(&key, &[head.as_bytes(), body])));
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
    let key = base64::decode(key).ok_or("is not base64 after `whsec_`")?;
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

#[cfg(test)]
mod tests;
