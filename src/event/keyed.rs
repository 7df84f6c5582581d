//! A keyed hash for the look-ups that each event needs: by channel, and by sender. Pure; any thread.
//! The standard library's SipHash takes ten times the instructions of this one where the library is built for size. Here
//! each word is multiplied by a secret key, and the halves of the product are folded. Names come from other programs, so
//! the key is random: without it nobody can choose names that collide.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The key of one map. A copy hashes the same.
#[derive(Clone)]
pub(crate) struct Keyed {
    start: u64,
    key: u64,
}

impl Default for Keyed {
    /// A random key, from the keys of the standard library's hash.
    fn default() -> Keyed {
        let random = RandomState::new();
        Keyed { start: random.hash_one(0), key: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    #[inline(always)]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: self.start, key: self.key }
    }
}

/// One hash in work.
pub(crate) struct KeyedHasher {
    state: u64,
    key: u64,
}

impl Hasher for KeyedHasher {
    /// The length of the bytes does not count: a slice hashes it before its bytes.
    #[optimize(speed)]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            self.write_u64(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    #[inline(always)]
    fn write_u64(&mut self, word: u64) {
        self.state = folded(self.state ^ word, self.key);
    }

    #[inline(always)]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    /// Folded once more: the last word has reached every bit of the state only then.
    #[inline(always)]
    fn finish(&self) -> u64 {
        folded(self.state, self.key)
    }
}

#[inline(always)]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_that_differ_a_little_have_different_hashes_in_all_their_bits() {
        let keyed = Keyed::default();
        let mut names: Vec<Vec<u8>> = (0..5000).map(|number| format!("player:{number}").into_bytes()).collect();
        names.extend((0..200).map(|length| vec![0; length]));
        names.extend((0..200).map(|length| [vec![0; length], vec![1]].concat()));
        let hashes: Vec<u64> = names.iter().map(|name| keyed.hash_one(name.as_slice())).collect();
        for shift in [0, 16, 32, 48] {
            // Of 65,536 values some 2 % collide by chance among so many names.
            let parts: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0xffff).collect();
            assert!(parts.len() > 5000, "bits from {shift}: {}", parts.len());
        }
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn a_copy_hashes_the_same_and_another_key_does_not() {
        let (one, other) = (Keyed::default(), Keyed::default());
        assert_eq!(one.hash_one((1_u64, 2_u64, 3_u64)), one.clone().hash_one((1_u64, 2_u64, 3_u64)));
        assert_ne!(one.hash_one(b"player:killing".as_slice()), other.hash_one(b"player:killing".as_slice()));
    }
}
