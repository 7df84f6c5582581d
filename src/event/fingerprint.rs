//! What names a hook or an aggregator on every server: a hash of its channel and its spec. Pure.

use std::fmt;

use serde_json::Value;

/// What is the same for the same channel and spec on every server and in every process, and hardly ever for others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// Of a hook or aggregator as Lua gave it: members in any order, functions by their file.
    pub(crate) fn of(channel: &[u8], spec: &Value) -> Fingerprint {
        // serde_json keeps members sorted by name, so its text is canonical.
        let text = spec.to_string();
        let length = (channel.len() as u64).to_le_bytes();
        let bytes = length.iter().chain(channel).chain(text.as_bytes());
        Fingerprint(hash(0xcbf2_9ce4_8422_2325, bytes))
    }

    /// Of one that has this beside the same channel and spec.
    #[must_use]
    pub(crate) fn with(self, id: &[u8]) -> Fingerprint {
        Fingerprint(hash(self.0, id.iter()))
    }

    /// Of the one at this place among those of the same channel and spec.
    #[must_use]
    pub(crate) fn at(self, place: u32) -> Fingerprint {
        if place == 0 { self } else { self.with(&place.to_le_bytes()) }
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// FNV-1a (Fowler, Noll, Vo), then the last mixing of splitmix64, so that short texts use all bits.
fn hash<'a>(seed: u64, bytes: impl Iterator<Item = &'a u8>) -> u64 {
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
