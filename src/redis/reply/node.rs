//! A decoded reply as a flat table: one node for each value in the order of arrival. Pure. Positions count from the
//! start of the frame (the reply's bytes), so the buffer may move while the reply is still arriving. No pointers, no
//! nested allocations: an inner array costs one node.
//!
//! ```text
//!  *3 $7 message *1 :5 $2 hi
//!  node     0         1             2         3         4
//!           Array     Bulk          Array     Integer   Bulk
//!  (a, b)   (3, 5)    (8, 7)        (1, 2)    (5, 0)    (29, 2)      Array: (elements, nodes with itself and all inside)
//! ```

use super::Reply;

/// The kind of a value. As wide as its neighbours in [`Node`]: with padding, the compiler copies nodes byte by byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum NodeKind {
    Simple,
    Error,
    Integer,
    Bulk,
    Nil,
    Array,
}

/// One value in 12 bytes. The meaning of `(a, b)` depends on the kind:
///
/// | kind | `a` | `b` |
/// |---|---|---|
/// | simple, error, bulk | position of the bytes | length |
/// | integer | low half | high half |
/// | array | elements | nodes, its own and all inside |
/// | nil | 0 | 0 |
#[derive(Clone, Copy)]
pub(super) struct Node {
    kind: NodeKind,
    a: u32,
    b: u32,
}

impl Node {
    pub(super) const NIL: Self = Self { kind: NodeKind::Nil, a: 0, b: 0 };

    /// A value with the bytes `at..at + len` of the frame. Both fit 32 bits: no reply is longer than the decoder's
    /// `REPLY_BYTES_CEILING`.
    #[inline(always)]
    pub(super) fn bytes(kind: NodeKind, at: usize, len: usize) -> Self {
        Self { kind, a: at as u32, b: len as u32 }
    }

    #[inline(always)]
    pub(super) fn integer(value: i64) -> Self {
        Self { kind: NodeKind::Integer, a: value as u32, b: (value >> 32) as u32 }
    }

    /// An array of `count` elements, none of which has arrived.
    #[inline(always)]
    pub(super) fn array(count: usize) -> Self {
        Self { kind: NodeKind::Array, a: count as u32, b: 1 }
    }

    /// Sets the number of nodes that an array takes, once its last element has arrived.
    #[inline(always)]
    pub(super) fn close(&mut self, nodes: usize) {
        self.b = nodes as u32;
    }

    pub(super) fn is_array(&self) -> bool {
        self.kind == NodeKind::Array
    }

    /// The end of its bytes in the frame; 0 if it has none.
    pub(super) fn end(&self) -> usize {
        match self.kind {
            NodeKind::Simple | NodeKind::Error | NodeKind::Bulk => self.a as usize + self.b as usize,
            NodeKind::Integer | NodeKind::Nil | NodeKind::Array => 0,
        }
    }

    /// The value of this node. If it is an array, `nodes` starts with its own node and holds all nodes inside it.
    #[inline(always)]
    pub(super) fn view<'a>(self, frame: &'a [u8], nodes: &'a [Node]) -> Reply<'a> {
        let (at, len) = (self.a as usize, self.b as usize);
        // The halves of an integer may have a sum beyond 32 bits: it is no position, so it may wrap.
        let bytes = frame.get(at..at.wrapping_add(len)).unwrap_or_default();
        match self.kind {
            NodeKind::Bulk => Reply::Bulk(bytes),
            NodeKind::Simple => Reply::Simple(bytes),
            NodeKind::Error => Reply::Error(bytes),
            NodeKind::Integer => Reply::Integer(i64::from(self.b) << 32 | i64::from(self.a)),
            NodeKind::Nil => Reply::Nil,
            NodeKind::Array => Reply::Array(Array::new(frame, nodes)),
        }
    }
}

/// The elements of an array reply: a view that can be walked any number of times.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    frame: &'a [u8],
    /// Its own node and all nodes inside it.
    nodes: &'a [Node],
}

impl<'a> Array<'a> {
    #[inline(always)]
    pub(super) fn new(frame: &'a [u8], nodes: &'a [Node]) -> Self {
        Self { frame, nodes }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.nodes.first().map_or(0, |own| own.a as usize)
    }

    #[inline]
    pub(crate) fn iter(&self) -> Elements<'a> {
        Elements { frame: self.frame, nodes: self.nodes.get(1..).unwrap_or_default() }
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

/// Walks the elements of one [`Array`]. An inner array is one step, however many nodes it has.
#[derive(Clone)]
pub struct Elements<'a> {
    frame: &'a [u8],
    nodes: &'a [Node],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Reply<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Reply<'a>> {
        let (node, rest) = self.nodes.split_first()?;
        if node.kind != NodeKind::Array {
            self.nodes = rest;
            return Some(node.view(self.frame, &[]));
        }
        let (own, rest) = self.nodes.split_at_checked(node.b as usize)?;
        self.nodes = rest;
        Some(Reply::Array(Array::new(self.frame, own)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.nodes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a 32-bit server the two halves of an integer have a sum that does not fit.
    #[test]
    fn integers_of_any_size_come_back() {
        for value in [0, 1, -1, i64::from(u32::MAX), 1 << 32, -1 << 32, i64::MIN, i64::MAX] {
            assert!(matches!(Node::integer(value).view(b"frame", &[]), Reply::Integer(found) if found == value));
        }
    }
}
