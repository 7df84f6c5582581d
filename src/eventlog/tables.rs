//! What the records of one block say once and then number: forms, shapes and strings.
//! Writer and reader keep the same tables by the same rules, so that only numbers need to be written. All places are
//! offsets into the block. Bounded: every entry was paid for with bytes of the block, and a reader refuses more of them
//! than a writer has room for.

use crate::eventlog::format::{HOLE, TABLE_ENTRIES_MAX};

/// Bytes of the block. Its first 16 are kept with it: most comparisons and copies need no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    head: u128,
    at: u32,
    len: u32,
}

/// How many bytes a head has.
pub(super) const HEAD_BYTES: usize = 16;
/// The bits of a head that as many bytes take.
const MASKS: [u128; HEAD_BYTES + 1] = {
    let mut masks = [u128::MAX; HEAD_BYTES + 1];
    let mut bytes = 0;
    while bytes < HEAD_BYTES {
        masks[bytes] = (1 << (8 * bytes)) - 1;
        bytes += 1;
    }
    masks
};

/// The first 16 bytes of a text, zeros where it has none.
#[inline]
pub(super) fn window(text: &[u8]) -> u128 {
    match text.first_chunk() {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => short_window(text),
    }
}

/// The same for a text of less than 16 bytes: its first and last eight, which overlap.
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

/// The first `len` bytes of a window, zeros behind them.
#[inline]
pub(super) fn cut(window: u128, len: usize) -> u128 {
    window & MASKS[len.min(HEAD_BYTES)]
}

impl Slice {
    pub(super) fn new(block: &[u8], at: usize, len: usize) -> Slice {
        let head = cut(window(block.get(at..).unwrap_or_default()), len);
        // A block is at most 255 units long.
        Slice { head, at: at as u32, len: len as u32 }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(super) fn of(self, block: &[u8]) -> &[u8] {
        let at = self.at as usize;
        block.get(at..at + self.len()).unwrap_or_default()
    }

    /// True if these are its bytes; `head` is the head of `text`.
    #[inline]
    pub(super) fn is(self, block: &[u8], text: &[u8], head: u128) -> bool {
        self.len() == text.len() && self.head == head && (self.len() <= HEAD_BYTES || self.of(block) == text)
    }

    /// True if the text begins with it.
    #[inline]
    pub(super) fn begins(self, block: &[u8], text: &[u8]) -> bool {
        let len = self.len();
        len <= text.len()
            && cut(window(text), len) == self.head
            && (len <= HEAD_BYTES || text.starts_with(self.of(block)))
    }

    /// Appends it between quotes.
    #[inline]
    pub(super) fn push_quoted_to(self, block: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        self.push_to(block, out);
        out.push(b'"');
    }

    #[inline]
    pub(super) fn push_to(self, block: &[u8], out: &mut Vec<u8>) {
        if self.len() > HEAD_BYTES {
            return out.extend_from_slice(self.of(block));
        }
        let start = out.len();
        // All of the head, so that it is one store.
        out.extend_from_slice(&self.head.to_le_bytes());
        out.truncate(start + self.len());
    }
}

/// A channel together with what its record's payload looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordForm {
    pub(super) channel: Slice,
    pub(super) body: PayloadKind,
}

/// How the payload of a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadKind {
    /// No JSON: its bytes.
    Raw,
    /// JSON that is too large or too deep to be taken apart: its bytes.
    Text,
    /// The values for the holes of this shape.
    Shape(u32),
}

impl PayloadKind {
    pub(super) fn from_code(code: u64) -> Option<PayloadKind> {
        match code {
            0 => Some(PayloadKind::Raw),
            1 => Some(PayloadKind::Text),
            shape => Some(PayloadKind::Shape(u32::try_from(shape - 2).ok()?)),
        }
    }

    pub(super) fn code(self) -> u64 {
        match self {
            PayloadKind::Raw => 0,
            PayloadKind::Text => 1,
            PayloadKind::Shape(shape) => u64::from(shape) + 2,
        }
    }
}

/// The skeleton of an object: `holes` values, and one piece of text more around them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) skeleton: Slice,
    first_piece: u32,
    /// Where in `previous` the last whole number of each hole stands.
    pub(super) first_hole: u32,
    pub(super) holes: u32,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) forms: Vec<RecordForm>,
    pub(super) shapes: Vec<Shape>,
    pub(super) strings: Vec<Slice>,
    /// Of all shapes, one after the other.
    pieces: Vec<Slice>,
    previous: Vec<i64>,
    /// Which of `previous` were set since [`Tables::begin`], and what was there before.
    undo: Vec<(usize, i64)>,
}

/// How far block and tables were filled.
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
    pub(super) fn clear(&mut self) {
        self.forms.clear();
        self.shapes.clear();
        self.strings.clear();
        self.pieces.clear();
        self.previous.clear();
        self.undo.clear();
    }

    /// True if a reader may add a form, a shape with this skeleton, and a string.
    pub(super) fn have_room(&self, skeleton: &[u8]) -> bool {
        let holes = memchr::memchr_iter(HOLE, skeleton).count();
        [self.forms.len(), self.shapes.len(), self.strings.len(), self.pieces.len() + holes]
            .into_iter()
            .all(|entries| entries < TABLE_ENTRIES_MAX)
    }

    /// Takes the skeleton that stands in the block as the next shape.
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

    #[inline]
    pub(super) fn shape(&self, shape: u32) -> Option<Shape> {
        self.shapes.get(shape as usize).copied()
    }

    /// The piece of text before this hole of the shape; that of one hole too many is the last piece.
    #[inline]
    pub(super) fn piece(&self, shape: Shape, hole: u32) -> Slice {
        self.pieces.get((shape.first_piece + hole) as usize).copied().unwrap_or(Slice { head: 0, at: 0, len: 0 })
    }

    /// The whole number that this hole had last; 0 before the first. `None`: there is no such hole.
    #[inline]
    pub(super) fn previous(&self, hole: usize) -> Option<i64> {
        self.previous.get(hole).copied()
    }

    #[inline]
    pub(super) fn set_previous(&mut self, hole: usize, value: i64) {
        if let Some(previous) = self.previous.get_mut(hole) {
            *previous = value;
        }
    }

    /// The same, to be put back by [`Tables::back_to`]. What was there.
    #[inline]
    pub(super) fn replace_previous(&mut self, hole: usize, value: i64) -> Option<i64> {
        let previous = self.previous.get_mut(hole)?;
        self.undo.push((hole, *previous));
        Some(std::mem::replace(previous, value))
    }

    /// A record begins; what came before stays.
    pub(super) fn begin(&mut self) {
        self.undo.clear();
    }

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

    /// Takes back what came after the mark, in the block and in the tables.
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

/// Finds an entry of a table by a hash of its bytes. It forgets: two entries share a pair of places, a third takes one.
/// What is not found is written once more, so that costs bytes and nothing else, and no choice of strings makes it slow.
pub(super) struct Finder {
    /// Number of the entry plus one.
    places: Box<[u16]>,
}

impl Finder {
    /// `places` is a power of two.
    pub(super) fn new(places: usize) -> Finder {
        Finder { places: vec![0; places].into_boxed_slice() }
    }

    pub(super) fn clear(&mut self) {
        self.places.fill(0);
    }

    /// The two entries that may be it.
    #[inline]
    pub(super) fn candidates(&self, hash: u64) -> [Option<usize>; 2] {
        let place = self.place(hash);
        [place, place ^ 1].map(|place| usize::from(self.places.get(place).copied().unwrap_or(0)).checked_sub(1))
    }

    #[inline]
    pub(super) fn insert(&mut self, hash: u64, entry: usize) {
        let Ok(number) = u16::try_from(entry + 1) else { return };
        let place = self.place(hash);
        // The older of the two moves over, and the oldest is forgotten.
        let moved = self.places.get(place).copied().unwrap_or(0);
        for (place, number) in [(place ^ 1, moved), (place, number)] {
            if let Some(entry) = self.places.get_mut(place) {
                *entry = number;
            }
        }
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.places.len() - 1)
    }
}

/// A hash of the bytes, as good as a [`Finder`] needs it. Every byte counts. `head` is their head.
#[inline]
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
        // The last eight bytes again.
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
                assert!(slice.begins(&block, text));
            }
            if let Some(short) = len.checked_sub(1) {
                let mut other = bytes.to_vec();
                other[short] = 0;
                for text in [&bytes[..short], &other] {
                    assert!(!slice.begins(&block, text));
                    assert!(!slice.is(&block, text, cut(window(text), text.len())));
                }
            }
        }
    }

    #[test]
    fn every_byte_counts_in_the_hash() {
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
    fn a_finder_knows_the_last_two_of_a_place() {
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
                assert_eq!(tables.piece(shape, hole as u32).of(block), *piece);
            }
        }
        assert_eq!(tables.previous.len(), 3);
    }
}
