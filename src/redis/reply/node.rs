//! A decoded reply as a flat table: one node per value in the order they came, positions counted from the start of the
//! frame, so the buffer may move under it while the reply is still arriving.
//!
//! ```text
//!  *3 $7 message *1 :5 $2 hi
//!  node     0         1             2         3         4
//!           Array     Bulk          Array     Integer   Bulk
//!  (a, b)   (3, 5)    (8, 7)        (1, 4)    (5, 0)    (27, 2)       Array: (elements, first node after it)
//! ```

use super::Reply;

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Simple,
    Error,
    Integer,
    Bulk,
    Nil,
    Array,
}

/// 12 bytes: what `(a, b)` mean depends on the kind.
#[derive(Clone, Copy)]
pub(super) struct Node {
    kind: Kind,
    a: u32,
    b: u32,
}

impl Node {
    pub(super) const NIL: Self = Self { kind: Kind::Nil, a: 0, b: 0 };

    /// Bytes at `at..at + len` of the frame. Both fit: a reply is no longer than `REPLY_BYTES_CEILING`.
    #[inline(always)]
    pub(super) fn bytes(kind: Kind, at: usize, len: usize) -> Self {
        Self { kind, a: at as u32, b: len as u32 }
    }

    #[inline(always)]
    pub(super) fn integer(value: i64) -> Self {
        Self { kind: Kind::Integer, a: value as u32, b: (value >> 32) as u32 }
    }

    /// An array of `count` elements that ends, as long as none has come, right after itself.
    #[inline(always)]
    pub(super) fn array(count: usize, index: usize) -> Self {
        Self { kind: Kind::Array, a: count as u32, b: index as u32 + 1 }
    }

    /// Sets where an array ends, once its last element has come.
    #[inline(always)]
    pub(super) fn close(&mut self, next: usize) {
        self.b = next as u32;
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self.kind, Kind::Array)
    }

    /// Where its bytes end in the frame; 0 if it has none.
    pub(super) fn end(&self) -> usize {
        match self.kind {
            Kind::Simple | Kind::Error | Kind::Bulk => self.a as usize + self.b as usize,
            Kind::Integer | Kind::Nil | Kind::Array => 0,
        }
    }

    /// The value of this node, which is number `index` of `nodes`, and the number of the node after it.
    #[inline(always)]
    pub(super) fn view<'a>(self, frame: &'a [u8], nodes: &'a [Node], index: u32) -> (Reply<'a>, u32) {
        let (at, len) = (self.a as usize, self.b as usize);
        let bytes = || frame.get(at..at + len).unwrap_or_default();
        let reply = match self.kind {
            Kind::Bulk => Reply::Bulk(bytes()),
            Kind::Simple => Reply::Simple(bytes()),
            Kind::Error => Reply::Error(bytes()),
            Kind::Integer => Reply::Integer(i64::from(self.b as i32) << 32 | i64::from(self.a)),
            Kind::Nil => Reply::Nil,
            Kind::Array => return (Reply::Array(Array::new(frame, nodes, index + 1, self.a)), self.b),
        };
        (reply, index + 1)
    }
}

/// The elements of an array reply: a view to be walked as often as needed.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    frame: &'a [u8],
    nodes: &'a [Node],
    first: u32,
    count: u32,
}

impl<'a> Array<'a> {
    #[inline(always)]
    pub(super) fn new(frame: &'a [u8], nodes: &'a [Node], first: u32, count: u32) -> Self {
        Self { frame, nodes, first, count }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub fn iter(&self) -> Elements<'a> {
        Elements { frame: self.frame, nodes: self.nodes, next: self.first, left: self.count }
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Reply<'a>;
    type IntoIter = Elements<'a>;

    #[inline]
    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

/// Walks the elements of one [`Array`]; an inner array is one step, however much it holds.
#[derive(Clone)]
pub struct Elements<'a> {
    frame: &'a [u8],
    nodes: &'a [Node],
    next: u32,
    left: u32,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Reply<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Reply<'a>> {
        self.left = self.left.checked_sub(1)?;
        let node = self.nodes.get(self.next as usize)?;
        let (reply, next) = node.view(self.frame, self.nodes, self.next);
        self.next = next;
        Some(reply)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Elements<'_> {}
