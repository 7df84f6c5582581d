//! A queue in chunks: items in order, and the bytes of all of them in blocks. The outbox and the inbox are made of it.
//! Producers push under a lock, one copy for each item and no allocation. The consumer takes all chunks at once, by a swap,
//! and gives the memory of some back.
//!
//! ```text
//!  Chunks   full: | items, bytes | items, bytes |   open: | items, bytes ……… |
//!                                                  take_all ──▶ the consumer's chunks
//!                                                           ◀── empty chunks
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::json::bytes::{ByteSink, Bytes};

/// Bytes of items after which the next chunk begins. An item that is larger has a chunk of its own.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// Items after which the next chunk begins.
const CHUNK_ITEMS: usize = 512;

/// A part of the queue. The bytes of an item are behind those of the item before it; each item knows its length.
pub(crate) struct Chunk<T> {
    pub(crate) items: VecDeque<T>,
    pub(crate) bytes: Bytes,
}

impl<T> Default for Chunk<T> {
    fn default() -> Chunk<T> {
        Chunk { items: VecDeque::new(), bytes: Bytes::new() }
    }
}

/// Empty chunks that a queue keeps, and as many that its consumer keeps for it.
pub(crate) const SPARES_MAX: usize = 3;

/// The consumer's empty chunks, which go back to the producers with the next [`Chunks::take_all`].
pub(crate) struct Spares<T>(Vec<Chunk<T>>);

impl<T> Default for Spares<T> {
    fn default() -> Spares<T> {
        Spares(Vec::new())
    }
}

impl<T> Spares<T> {
    /// Keeps the memory of a chunk that is used up, except for that of a huge item.
    pub(crate) fn keep(&mut self, mut items: VecDeque<T>, mut bytes: Bytes) {
        if self.0.len() < SPARES_MAX {
            items.clear();
            bytes.clear();
            bytes.shrink_to(CHUNK_BYTES);
            self.0.push(Chunk { items, bytes });
        }
    }

    /// For tests: bytes of memory.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.0.iter().map(|chunk| chunk.bytes.memory()).sum()
    }
}

/// The producers' side: everything that the consumer has not taken.
pub(crate) struct Chunks<T> {
    full: VecDeque<Chunk<T>>,
    open: Chunk<T>,
    /// Empty chunks that the consumer gave back.
    spares: Vec<Chunk<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks { full: VecDeque::new(), open: Chunk::default(), spares: Vec::new() }
    }
}

impl<T> Chunks<T> {
    /// Appends an item and the pieces of its text, `bytes` in all.
    #[inline(always)]
    pub(crate) fn push<'a>(&mut self, item: T, bytes: usize, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let Chunk { items, bytes: block } = &self.open;
        if items.len() >= CHUNK_ITEMS || !block.is_empty() && block.len() + bytes > CHUNK_BYTES {
            self.begin();
        }
        for piece in pieces {
            if !piece.is_empty() {
                self.open.bytes.push_bytes(piece);
            }
        }
        self.open.items.push_back(item);
    }

    /// Puts the open chunk behind the full ones and begins the next.
    #[cold]
    #[inline(never)]
    fn begin(&mut self) {
        let new = || Chunk { items: VecDeque::with_capacity(CHUNK_ITEMS), bytes: Bytes::with_memory(CHUNK_BYTES) };
        let next = self.spares.pop().unwrap_or_else(new);
        self.full.push_back(std::mem::replace(&mut self.open, next));
    }

    /// Whether the consumer has taken everything. Full chunks are followed by an open one with items.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.items.is_empty()
    }

    /// The consumer takes everything; `taken` is empty before. It gives empty chunks back.
    pub(crate) fn take_all(&mut self, taken: &mut VecDeque<Chunk<T>>, spares: &mut Spares<T>) {
        if self.is_empty() {
            return;
        }
        self.spares.append(&mut spares.0);
        self.spares.truncate(SPARES_MAX);
        let next = self.spares.pop().unwrap_or_default();
        self.full.push_back(std::mem::replace(&mut self.open, next));
        std::mem::swap(&mut self.full, taken);
    }

    /// For tests: bytes of memory of an empty queue.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        assert!(self.full.is_empty() && self.open.items.is_empty());
        self.spares.iter().chain([&self.open]).map(|chunk| chunk.bytes.memory()).sum()
    }
}

/// Items and bytes that passed one place of a queue. Both only grow, and wrap around. One thread at a time adds: under a
/// lock.
#[derive(Default)]
pub(crate) struct Passed {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

impl Passed {
    #[inline]
    pub(crate) fn add(&self, items: usize, bytes: usize) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Release);
        self.items.store(self.items.load(Ordering::Relaxed).wrapping_add(items), Ordering::Release);
    }

    /// Items and bytes that passed here and not at `later`, where they come afterwards.
    #[inline]
    pub(crate) fn between(&self, later: &Passed) -> (usize, usize) {
        // The later place first: in the other order more could have passed there than here.
        let (items, bytes) = (later.items.load(Ordering::Acquire), later.bytes.load(Ordering::Acquire));
        (self.items.load(Ordering::Acquire).wrapping_sub(items), self.bytes.load(Ordering::Acquire).wrapping_sub(bytes))
    }
}
