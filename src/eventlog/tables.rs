//! The tables of one block: forms, shapes and strings, which its records define once and then name by number. Encoder
//! and decoder fill them by the same rules, so the numbers never stand in the file. All places are offsets into the
//! block. Every entry costs bytes of the block, and a decoder refuses more entries than an encoder has room for.

use crate::eventlog::format::{HOLE, TABLE_ENTRIES_MAX};

/// A range of bytes in the block. Its first 16 bytes are stored with it, because most comparisons and copies need no
/// more and then touch no other memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    /// The first 16 bytes, with zeros behind a shorter range.
    head: u128,
    at: u32,
    len: u32,
}

/// Bytes of a head.
pub(super) const HEAD_BYTES: usize = 16;
/// For each number of bytes: the bits that they occupy in a head.
const MASKS: [u128; HEAD_BYTES + 1] = {
    let mut masks = [u128::MAX; HEAD_BYTES + 1];
    let mut bytes = 0;
    while bytes < HEAD_BYTES {
        masks[bytes] = (1 << (8 * bytes)) - 1;
        bytes += 1;
    }
    masks
};

/// The first 16 bytes of a text, the first one in the low bits, with zeros behind a shorter text.
#[inline(always)]
pub(super) fn window(text: &[u8]) -> u128 {
    match text.first_chunk() {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => short_window(text),
    }
}

/// [`window`] of a text shorter than 16 bytes. From 8 bytes on it combines the first and last eight, which overlap.
#[inline]
fn short_window(text: &[u8]) -> u128 {
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => {
            let high = u128::from(u64::from_le_bytes(*last)) << 64 >> (8 * (16 - text.len()));
            high | u128::from(u64::from_le_bytes(*first))
        }
        _ => u128::from(text.iter().rev().fold(0_u64, |window, byte| window << 8 | u64::from(*byte))),
    }
}

/// The first `len` bytes of a window, with zeros behind them.
#[inline(always)]
pub(super) fn cut(window: u128, len: usize) -> u128 {
    window & MASKS[len.min(HEAD_BYTES)]
}

impl Slice {
    /// The range of `len` bytes from `at`.
    pub(super) fn new(block: &[u8], at: usize, len: usize) -> Slice {
        let head = cut(window(block.get(at..).unwrap_or_default()), len);
        // A block has at most 255 units, so its offsets fit 32 bits.
        Slice { head, at: at as u32, len: len as u32 }
    }

    /// Length in bytes.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        self.len as usize
    }

    /// The bytes themselves; empty if the range lies outside `block`.
    #[inline(always)]
    pub(super) fn of(self, block: &[u8]) -> &[u8] {
        let at = self.at as usize;
        block.get(at..at + self.len()).unwrap_or_default()
    }

    /// True if the range has exactly the bytes of `text`, whose head is `head`.
    #[inline(always)]
    pub(super) fn is(self, block: &[u8], text: &[u8], head: u128) -> bool {
        self.len() == text.len() && self.head == head && (self.len() <= HEAD_BYTES || self.of(block) == text)
    }

    /// The rest of `text` if it begins with the bytes of the range.
    #[inline(always)]
    pub(super) fn behind<'t>(&self, block: &[u8], text: &'t [u8]) -> Option<&'t [u8]> {
        let len = self.len();
        let rest = text.get(len..)?;
        let begins = cut(window(text), len) == self.head && (len <= HEAD_BYTES || text.starts_with(self.of(block)));
        begins.then_some(rest)
    }

    /// Appends the bytes between quotes.
    #[inline(always)]
    pub(super) fn push_quoted_to(self, block: &[u8], out: &mut Vec<u8>) {
        const QUOTE: u128 = b'"' as u128;
        let len = self.len();
        if len + 2 > HEAD_BYTES {
            out.push(b'"');
            self.push_to(block, out);
            return out.push(b'"');
        }
        let start = out.len();
        // As in `push_to`, with both quotes in the same store.
        out.extend_from_slice(&(QUOTE | self.head << 8 | QUOTE << (8 * (len + 1))).to_le_bytes());
        out.truncate(start + len + 2);
    }

    /// Appends the bytes.
    #[inline(always)]
    pub(super) fn push_to(self, block: &[u8], out: &mut Vec<u8>) {
        if self.len() > HEAD_BYTES {
            return out.extend_from_slice(self.of(block));
        }
        let start = out.len();
        // Copies the whole head, which is one store, and cuts it to length.
        out.extend_from_slice(&self.head.to_le_bytes());
        out.truncate(start + self.len());
    }
}

/// A channel together with the encoding of the payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordForm {
    pub(super) channel: Slice,
    pub(super) kind: PayloadKind,
}

/// Encoding of a record's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadKind {
    /// No JSON: the bytes.
    Raw,
    /// JSON that is too large or too deep to be taken apart: the bytes.
    Text,
    /// The values for the holes of the shape with this number.
    Shape(u32),
}

impl PayloadKind {
    /// The kind of this code in the file. `None`: the number of the shape does not fit 32 bits.
    pub(super) fn from_code(code: u64) -> Option<PayloadKind> {
        match code {
            0 => Some(PayloadKind::Raw),
            1 => Some(PayloadKind::Text),
            shape => Some(PayloadKind::Shape(u32::try_from(shape - 2).ok()?)),
        }
    }

    /// The code in the file: 0, 1, or the number of the shape plus 2.
    pub(super) fn code(self) -> u64 {
        match self {
            PayloadKind::Raw => 0,
            PayloadKind::Text => 1,
            PayloadKind::Shape(shape) => u64::from(shape) + 2,
        }
    }
}

/// A skeleton with `holes` holes, cut into one piece of text more than it has holes.
///
/// ```text
/// {"by":_,"hp":_}       two holes
/// └─┬──┘ └─┬──┘ └ piece 2
/// piece 0  piece 1
/// ```
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) skeleton: Slice,
    first_piece: u32,
    /// Index in `previous` of the first hole's last whole number; those of the other holes follow.
    pub(super) first_hole: u32,
    pub(super) holes: u32,
}

/// All tables of a block.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) forms: Vec<RecordForm>,
    pub(super) shapes: Vec<Shape>,
    pub(super) strings: Vec<Slice>,
    /// The pieces of all shapes, one shape after the other.
    pieces: Vec<Slice>,
    /// For each hole of each shape its last whole number, 0 before the first.
    previous: Vec<i64>,
    /// The entries of `previous` that changed since [`Tables::begin`], with their old values.
    undo: Vec<(usize, i64)>,
}

/// The lengths of the block and of all tables at one moment, so that a record can be removed again.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    len: usize,
    undo: usize,
    forms: usize,
    shapes: usize,
    strings: usize,
    pieces: usize,
    previous: usize,
}

impl Tables {
    /// Empties all tables and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.forms.clear();
        self.shapes.clear();
        self.strings.clear();
        self.pieces.clear();
        self.previous.clear();
        self.undo.clear();
    }

    /// True if a decoder may add a form, a string, and a shape with this skeleton.
    pub(super) fn have_room(&self, skeleton: &[u8]) -> bool {
        let holes = memchr::memchr_iter(HOLE, skeleton).count();
        [self.forms.len(), self.shapes.len(), self.strings.len(), self.pieces.len() + holes]
            .into_iter()
            .all(|entries| entries < TABLE_ENTRIES_MAX)
    }

    /// Makes a skeleton in the block the next shape. Returns its number.
    pub(super) fn add_shape(&mut self, block: &[u8], skeleton: Slice) -> u32 {
        let (first_piece, first_hole) = (self.pieces.len(), self.previous.len());
        let mut at = skeleton.at as usize;
        for piece in skeleton.of(block).split(|byte| *byte == HOLE) {
            self.pieces.push(Slice::new(block, at, piece.len()));
            at += piece.len() + 1;
        }
        let holes = self.pieces.len() - first_piece - 1;
        self.previous.resize(first_hole + holes, 0);
        let (first_piece, first_hole) = (first_piece as u32, first_hole as u32);
        self.shapes.push(Shape { skeleton, first_piece, first_hole, holes: holes as u32 });
        self.shapes.len() as u32 - 1
    }

    /// The shape of this number.
    #[inline(always)]
    pub(super) fn shape(&self, shape: u32) -> Option<Shape> {
        self.shapes.get(shape as usize).copied()
    }

    /// The piece of text before this hole of the shape. `hole` may be the number of holes: the last piece.
    #[inline(always)]
    pub(super) fn piece(&self, shape: Shape, hole: u32) -> Option<&Slice> {
        self.pieces.get((shape.first_piece + hole) as usize)
    }

    /// The last whole number of this hole; 0 before the first one. `None`: there is no such hole.
    #[inline(always)]
    pub(super) fn previous(&self, hole: usize) -> Option<i64> {
        self.previous.get(hole).copied()
    }

    /// Stores the last whole number of a hole: a decoder never takes a record back.
    #[inline(always)]
    pub(super) fn set_previous(&mut self, hole: usize, value: i64) {
        if let Some(previous) = self.previous.get_mut(hole) {
            *previous = value;
        }
    }

    /// Stores the last whole number of a hole so that [`Tables::back_to`] can restore the old one, which it returns.
    #[inline(always)]
    pub(super) fn replace_previous(&mut self, hole: usize, value: i64) -> Option<i64> {
        let previous = self.previous.get_mut(hole)?;
        self.undo.push((hole, *previous));
        Some(std::mem::replace(previous, value))
    }

    /// Begins a record: earlier records are final, so their changes are forgotten.
    pub(super) fn begin(&mut self) {
        self.undo.clear();
    }

    /// The present lengths of the block and all tables.
    pub(super) fn mark(&self, block: &[u8]) -> Mark {
        Mark {
            len: block.len(),
            undo: self.undo.len(),
            forms: self.forms.len(),
            shapes: self.shapes.len(),
            strings: self.strings.len(),
            pieces: self.pieces.len(),
            previous: self.previous.len(),
        }
    }

    /// Removes everything that was added behind the mark, from the block and from the tables.
    pub(super) fn back_to(&mut self, mark: Mark, block: &mut Vec<u8>) {
        block.truncate(mark.len);
        for (hole, before) in self.undo.drain(mark.undo..).rev() {
            if let Some(previous) = self.previous.get_mut(hole) {
                *previous = before;
            }
        }
        self.forms.truncate(mark.forms);
        self.shapes.truncate(mark.shapes);
        self.strings.truncate(mark.strings);
        self.pieces.truncate(mark.pieces);
        self.previous.truncate(mark.previous);
    }
}

/// Finds an entry of a table by a hash of its bytes, in memory of constant size. Two entries share a pair of places,
/// and a third one displaces the oldest. The encoder writes forgotten content once more: that costs bytes and nothing
/// else, and no choice of strings, not even a hostile one, makes a search slow.
pub(super) struct Finder {
    /// For each place the number of an entry plus one; 0 is empty.
    places: Box<[u16]>,
}

impl Finder {
    /// A finder with this many places, a power of two.
    pub(super) fn new(places: usize) -> Finder {
        Finder { places: vec![0; places].into_boxed_slice() }
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        self.places.fill(0);
    }

    /// The two entries that may have this hash, the newer one first. The caller compares their content.
    #[inline(always)]
    pub(super) fn candidates(&self, hash: u64) -> [Option<usize>; 2] {
        let place = self.place(hash);
        [place, place ^ 1].map(|place| usize::from(self.places.get(place).copied().unwrap_or(0)).checked_sub(1))
    }

    /// Enters an entry. One whose number does not fit 16 bits is not entered and never found.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, entry: usize) {
        let Ok(number) = u16::try_from(entry + 1) else { return };
        let place = self.place(hash);
        // The newer entry of the pair moves to the second place, and the older one is forgotten.
        let moved = self.places.get(place).copied().unwrap_or(0);
        for (place, number) in [(place ^ 1, moved), (place, number)] {
            if let Some(entry) = self.places.get_mut(place) {
                *entry = number;
            }
        }
    }

    /// The first place of the pair for this hash; the second one differs in the lowest bit.
    #[inline(always)]
    fn place(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.places.len() - 1)
    }
}

/// A hash of the bytes that is good enough for a [`Finder`]: every byte has an effect. `head` is their head.
#[inline(always)]
pub(super) fn hash(bytes: &[u8], head: u128) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(FACTOR);
        product ^ product >> 29
    };
    let mut hash = mix(mix(bytes.len() as u64, head as u64), (head >> 64) as u64);
    let mut rest = bytes.get(HEAD_BYTES..).unwrap_or_default();
    while let Some((word, tail)) = rest.split_first_chunk() {
        hash = mix(hash, u64::from_le_bytes(*word));
        rest = tail;
    }
    if !rest.is_empty() {
        // The last eight bytes, which overlap with bytes that are hashed already.
        hash = mix(hash, bytes.last_chunk().map_or(0, |last| u64::from_le_bytes(*last)));
    }
    hash.wrapping_mul(FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(bytes: &[u8]) -> u64 {
        hash(bytes, cut(window(bytes), bytes.len()))
    }

    #[test]
    fn a_slice_compares_and_copies_as_its_bytes_do() {
        let block: Vec<u8> = (1..=60).collect();
        for (at, len) in (0..30).flat_map(|at| (0..30).map(move |len| (at, len))) {
            let (slice, bytes) = (Slice::new(&block, at, len), &block[at..at + len]);
            let mut out = b"x".to_vec();
            slice.push_to(&block, &mut out);
            assert_eq!(out, [b"x", bytes].concat());
            slice.push_quoted_to(&block, &mut out);
            assert_eq!(out, [b"x", bytes, b"\"", bytes, b"\""].concat());
            assert!(slice.is(&block, bytes, cut(window(bytes), len)));
            for text in [bytes, &block[at..], &[bytes, b"0"].concat()] {
                assert_eq!(slice.behind(&block, text), Some(&text[len..]));
            }
            if let Some(short) = len.checked_sub(1) {
                let mut other = bytes.to_vec();
                other[short] = 0;
                for text in [&bytes[..short], &other] {
                    assert_eq!(slice.behind(&block, text), None);
                    assert!(!slice.is(&block, text, cut(window(text), text.len())));
                }
            }
        }
    }

    #[test]
    fn every_byte_changes_the_hash() {
        for len in 1..40_usize {
            let bytes: Vec<u8> = (0..len as u8).collect();
            for at in 0..len {
                let mut other = bytes.clone();
                other[at] ^= 0x40;
                assert_ne!(hash_of(&bytes), hash_of(&other), "byte {at} of {len}");
            }
            assert_ne!(hash_of(&bytes), hash_of(&bytes[..len - 1]));
        }
    }

    #[test]
    fn a_finder_keeps_the_last_two_entries_of_a_pair() {
        let mut finder = Finder::new(8);
        assert_eq!(finder.candidates(0), [None, None]);
        [1, 2, 3].into_iter().for_each(|entry| finder.insert(0, entry));
        assert_eq!(finder.candidates(0), [Some(3), Some(2)]);
        finder.insert(0, usize::from(u16::MAX));
        assert_eq!(finder.candidates(0), [Some(3), Some(2)], "no number for it");
        finder.clear();
        assert_eq!(finder.candidates(0), [None, None]);
    }

    #[test]
    fn a_shape_has_one_piece_more_than_holes() {
        let block = b"..{\"a\":\0,\"b\":\0}\0{}";
        let mut tables = Tables::default();
        for (at, len, pieces) in
            [(2, 13, &[&b"{\"a\":"[..], b",\"b\":", b"}"][..]), (15, 1, &[b"", b""]), (16, 2, &[b"{}"])]
        {
            let shape = tables.add_shape(block, Slice::new(block, at, len));
            let shape = tables.shape(shape).unwrap();
            assert_eq!(shape.holes as usize, pieces.len() - 1);
            for (hole, piece) in pieces.iter().enumerate() {
                assert_eq!(tables.piece(shape, hole as u32).unwrap().of(block), *piece);
            }
        }
        assert_eq!(tables.previous.len(), 3);
    }
}
