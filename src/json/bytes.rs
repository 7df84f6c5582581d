//! [`Bytes`]: bytes that are written one after the other, and its trait [`ByteSink`], which a `Vec<u8>` has too.
//! A value. Emit writes into buffers that it uses again and again. At the release profile's opt-level each
//! `extend_from_slice` of a `Vec` is a call of two functions; in a buffer whose memory is there already it is a copy.

use std::ops::Deref;

/// A sequence of bytes that grows at its end.
pub(crate) trait ByteSink {
    fn push_byte(&mut self, byte: u8);
    fn push_bytes(&mut self, bytes: &[u8]);
}

impl ByteSink for Vec<u8> {
    fn push_byte(&mut self, byte: u8) {
        self.push(byte);
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Bytes, and memory behind them that was written before.
#[derive(Default)]
pub(crate) struct Bytes {
    memory: Vec<u8>,
    /// The first bytes of `memory` that count.
    len: usize,
}

impl ByteSink for Bytes {
    #[inline(always)]
    fn push_byte(&mut self, byte: u8) {
        match self.memory.get_mut(self.len) {
            Some(place) => *place = byte,
            None => self.grow(&[byte]),
        }
        self.len += 1;
    }

    #[inline(always)]
    fn push_bytes(&mut self, bytes: &[u8]) {
        match self.memory.get_mut(self.len..self.len + bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.grow(bytes),
        }
        self.len += bytes.len();
    }
}

impl Bytes {
    /// An empty buffer without memory.
    pub(crate) const fn new() -> Bytes {
        Bytes { memory: Vec::new(), len: 0 }
    }

    /// An empty buffer that takes `bytes` without growing.
    pub(crate) fn with_memory(bytes: usize) -> Bytes {
        Bytes { memory: vec![0; bytes], len: 0 }
    }

    /// Writes bytes that the memory has no room for.
    #[inline(never)]
    #[cold]
    fn grow(&mut self, bytes: &[u8]) {
        let needed = self.len + bytes.len();
        // Zeroed by the allocator, which is quicker than a fill.
        let mut larger = vec![0; needed.max(2 * self.memory.len())];
        if let Some((old, new)) = larger.get_mut(..needed).and_then(|place| place.split_at_mut_checked(self.len)) {
            old.copy_from_slice(self);
            new.copy_from_slice(bytes);
        }
        self.memory = larger;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Gives memory beyond `most` bytes back, except for bytes that count.
    pub(crate) fn shrink_to(&mut self, most: usize) {
        if self.memory.len() > most {
            self.memory.truncate(self.len.max(most));
            self.memory.shrink_to_fit();
        }
    }

    /// A copy of the exact size.
    pub(crate) fn of(bytes: &[u8]) -> Bytes {
        Bytes { memory: bytes.to_vec(), len: bytes.len() }
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.memory.capacity()
    }

    /// Takes the bytes from `at` on.
    pub(crate) fn split_off(&mut self, at: usize) -> Vec<u8> {
        let rest = self.get(at..).unwrap_or_default().to_vec();
        self.truncate(at);
        rest
    }

    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        self.memory.truncate(self.len);
        self.memory
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same calls on a buffer and on a `Vec`.
    #[test]
    fn a_buffer_holds_what_a_vec_holds() {
        let (mut buffer, mut plain) = (Bytes::default(), Vec::new());
        let mut random = 3u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (n, byte) = ((random >> 40) as usize % 300, (random >> 33) as u8);
            match random >> 60 {
                0 => {
                    buffer.truncate(n);
                    plain.truncate(n);
                }
                1 => assert_eq!(buffer.split_off(n.min(plain.len())), plain.split_off(n.min(plain.len()))),
                2 if n < 20 => {
                    buffer.clear();
                    plain.clear();
                }
                3 => buffer.shrink_to(n),
                4..8 => {
                    buffer.push_byte(byte);
                    plain.push_byte(byte);
                }
                _ => {
                    buffer.push_bytes(&vec![byte; n]);
                    plain.push_bytes(&vec![byte; n]);
                }
            }
            assert_eq!(*buffer, *plain);
        }
        buffer.shrink_to(0);
        assert!(buffer.memory() < plain.len() + 64);
        assert_eq!(buffer.into_vec(), plain);
    }
}
