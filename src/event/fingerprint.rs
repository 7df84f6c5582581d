//! Fingerprints: the name that a hook or an aggregator has on every server, a hash of its channel and its spec. Pure.
//! Servers compare them in the identity of an event (`_rt`) and in the keys of leases, so all versions must compute the
//! same value.

use std::fmt;

use serde_json::Value;

/// 64 bits, equal for the same channel and spec on every server and in every process. Shown as 16 hex digits. Two
/// different hooks of one fleet have the same fingerprint with a chance of 1 in 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a registration. `spec` is the table that the script gave: its members may be in any order,
    /// and functions appear as the name of their file.
    pub(crate) fn of(channel: &[u8], spec: &Value) -> Fingerprint {
        // serde_json keeps members sorted by name, so its text is canonical.
        let text = spec.to_string();
        // The length of the channel goes first: a byte cannot move between channel and spec without changing the hash.
        let length = (channel.len() as u64).to_le_bytes();
        let bytes = length.iter().chain(channel).chain(text.as_bytes());
        Fingerprint(hash(0xcbf2_9ce4_8422_2325, bytes))
    }

    /// The fingerprint of a registration that differs from this one by `id` only.
    #[must_use]
    pub(crate) fn with(self, id: &[u8]) -> Fingerprint {
        Fingerprint(hash(self.0, id.iter()))
    }

    /// The fingerprint of the registration at index `place` among those of the same channel and spec. The first one
    /// keeps the fingerprint unchanged.
    #[must_use]
    pub(crate) fn at(self, place: u32) -> Fingerprint {
        if place == 0 { self } else { self.with(&place.to_le_bytes()) }
    }

    /// The key of this fingerprint in a map by bytes.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), then the last step of splitmix64, so that short texts use all
/// bits. Not the hasher of the standard library: its result may change with the compiler.
pub(crate) fn hash<'a>(seed: u64, bytes: impl Iterator<Item = &'a u8>) -> u64 {
    let hash = bytes.fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
