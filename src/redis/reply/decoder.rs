//! The walk over arriving bytes: one value at a time, each looked at once, payloads skipped by their length.
//!
//! ```text
//!   next() ──▶ walk: value by value into the table of nodes ──▶ Reply
//!                │ a cap of `Limits` is broken
//!                ▼
//!              drain: the same grammar, nothing kept, bytes consumed as they come ──▶ Reply::TooLarge
//! ```
//! Both stop where bytes run out and go on there: `open` holds what each unfinished array still waits for, `at` the
//! first value not yet complete. Only that value's header is read again, which is at most some twenty bytes.

use std::io::{self, Read};

use super::buffer::Buffer;
use super::error::Excerpt;
use super::node::{Array, Kind, Node};
use super::{Cap, Limits, ProtocolError, Reply, TooLarge};

/// Redis' own limit on a string (`proto-max-bulk-len`), which no healthy server announces more than.
const BULK_ANNOUNCED_MAX: u64 = 512 * 1024 * 1024;
/// No command our side sends is answered with this many elements; a larger count is a lost stream.
const ELEMENTS_ANNOUNCED_MAX: u64 = 16 * 1024 * 1024;
/// What is drained may be nested this deep: its open arrays are all a drain has to remember.
const DEPTH_CEILING: usize = 128;
/// Nodes count positions in 32 bits, and a signed sum of two of them must not overflow where `usize` is 32 bits.
const REPLY_BYTES_CEILING: usize = 1 << 30;
/// How much of a reply over the cap is kept to tell what was lost: kind, pattern and channel with room to spare.
const HEAD_BYTES_MAX: usize = 1024;
/// A table of nodes above this is given back once a shrink finds it idle.
const NODES_KEPT_MAX: usize = 1024;
const _: () = assert!(BULK_ANNOUNCED_MAX < REPLY_BYTES_CEILING as u64 && ELEMENTS_ANNOUNCED_MAX < u32::MAX as u64);

/// Turns the bytes of one connection into replies, in order.
pub struct Decoder {
    limits: Limits,
    buffer: Buffer,
    /// Position of the first unfinished value in the pending bytes.
    at: usize,
    /// How much of the line at `at` is known to hold no line break.
    clean_bytes: usize,
    nodes: Vec<Node>,
    /// Elements announced by the arrays of this reply so far.
    elements: usize,
    /// The array whose elements are coming now; it waits for none outside arrays.
    inner: Open,
    /// The arrays around it, the outermost first, each waiting for at least the one inside.
    outer: Vec<Open>,
    drain: Option<Drain>,
    head: Vec<u8>,
    failed: Option<ProtocolError>,
    /// Values begun and line bytes scanned, for the linearity test.
    #[cfg(test)]
    pub(super) steps: u64,
}

/// An array whose elements are still coming.
#[derive(Clone, Copy, Default)]
struct Open {
    left: u32,
    node: u32,
}

/// A reply that is being skipped.
struct Drain {
    cap: Cap,
    bytes: u64,
    /// Inside a bulk string: how much of its payload is to come before its line end.
    payload_left: Option<usize>,
}

enum Whole {
    Reply(Node),
    TooLarge { bytes: u64, cap: Cap },
}

/// What stops a walk.
enum Stop {
    Broken(ProtocolError),
    Over(Cap),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Stop::Broken(error)
    }
}

impl Decoder {
    /// Limits beyond what the table of nodes can count or a drain can nest are lowered to that.
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            depth_max: limits.depth_max.min(DEPTH_CEILING),
            elements_max: limits.elements_max.min(ELEMENTS_ANNOUNCED_MAX as usize),
            line_bytes_max: limits.line_bytes_max.min(REPLY_BYTES_CEILING),
            bulk_bytes_max: limits.bulk_bytes_max.min(REPLY_BYTES_CEILING),
            reply_bytes_max: limits.reply_bytes_max.min(REPLY_BYTES_CEILING),
        };
        Self {
            limits,
            buffer: Buffer::default(),
            at: 0,
            clean_bytes: 0,
            nodes: Vec::new(),
            elements: 0,
            inner: Open::default(),
            outer: Vec::new(),
            drain: None,
            head: Vec::new(),
            failed: None,
            #[cfg(test)]
            steps: 0,
        }
    }

    /// One read of `source`, straight into the buffer. 0 is its end; interruptions are retried, other errors returned.
    /// Call [`next`](Self::next) until it has no reply before reading again, or the buffer keeps growing.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.buffer.read_from(source)
    }

    /// Takes bytes that are already here.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        // A slice never fails to be read.
        while !bytes.is_empty() && self.buffer.read_from(&mut bytes).is_ok() {}
    }

    /// The next reply, or `None` if it has not all arrived. After an error it answers the same error for good.
    // Not an iterator: the reply borrows the buffer.
    #[allow(clippy::should_implement_trait)]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Reply<'_>>, ProtocolError> {
        let Some(whole) = self.advance()? else { return Ok(None) };
        let from = self.buffer.consume(self.at);
        self.at = 0;
        Ok(Some(match whole {
            Whole::Reply(node) => node.view(self.buffer.consumed(from), &self.nodes, 0).0,
            Whole::TooLarge { bytes, cap } => {
                // Node 0 is the outermost array, its scalars follow.
                let kept = self.nodes.len().saturating_sub(1) as u32;
                Reply::TooLarge(TooLarge { bytes, cap, head: Array::new(&self.head, &self.nodes, 1, kept) })
            }
        }))
    }

    /// Whether everything that arrived has been handed out: the end of the stream is then a clean one.
    pub fn is_idle(&self) -> bool {
        self.buffer.pending().is_empty() && self.inner.left == 0 && self.drain.is_none()
    }

    /// Ready for another connection, buffers kept.
    pub fn reset(&mut self) {
        self.buffer.clear();
        (self.at, self.clean_bytes, self.failed, self.drain) = (0, 0, None, None);
        self.inner = Open::default();
        self.outer.clear();
        self.nodes.clear();
    }

    /// Gives back memory that large replies took. For idle moments; long runs of small reads do it by themselves.
    pub fn shrink(&mut self) {
        self.buffer.shrink();
        if self.inner.left == 0 {
            self.nodes.clear();
            self.nodes.shrink_to(NODES_KEPT_MAX);
        }
    }

    /// Memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
            + self.head.capacity()
            + self.nodes.capacity() * size_of::<Node>()
            + self.outer.capacity() * size_of::<Open>()
    }

    /// How many arrays are open.
    #[inline(always)]
    fn depth(&self) -> usize {
        self.outer.len() + usize::from(self.inner.left > 0)
    }

    #[inline(always)]
    fn advance(&mut self) -> Result<Option<Whole>, ProtocolError> {
        // One test for everything that is not the start or middle of an ordinary reply.
        if self.drain.is_some() || self.failed.is_some() {
            return self.advance_rarely(None);
        }
        match self.walk() {
            Ok(node) => Ok(node.map(Whole::Reply)),
            Err(stop) => self.advance_rarely(Some(stop)),
        }
    }

    #[cold]
    #[inline(never)]
    fn advance_rarely(&mut self, stop: Option<Stop>) -> Result<Option<Whole>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let drained = match stop {
            Some(Stop::Broken(error)) => Err(error),
            Some(Stop::Over(cap)) => {
                self.start_drain(cap);
                self.drain()
            }
            None => self.drain(),
        };
        if let Err(error) = drained {
            self.failed = Some(error);
        }
        drained.map(|whole| whole.map(|(bytes, cap)| Whole::TooLarge { bytes, cap }))
    }

    /// Walks on from the first unfinished value. `Some` is the outermost value, all of it in `..self.at`.
    fn walk(&mut self) -> Result<Option<Node>, Stop> {
        if self.inner.left == 0 {
            self.nodes.clear();
            self.elements = 0;
        }
        let frame = self.buffer.pending();
        while let Some(&tag) = frame.get(self.at) {
            #[cfg(test)]
            (self.steps += 1);
            let body = self.at + 1;
            let (mut node, next) = match tag {
                b'$' => match number(frame, body)? {
                    Some((-1, next)) => (Node::NIL, next),
                    Some((announced, from)) => {
                        let len = bulk_len(announced, frame, self.at, from)?;
                        if len > self.limits.bulk_bytes_max {
                            return Err(Stop::Over(Cap::BulkBytes));
                        }
                        // The caps are judged by the announcement, before there is a payload to keep.
                        let next = from + len + 2;
                        if next > self.limits.reply_bytes_max {
                            return Err(Stop::Over(Cap::ReplyBytes));
                        }
                        match frame.get(from + len..next) {
                            Some(b"\r\n") => (Node::bytes(Kind::Bulk, from, len), next),
                            Some(found) => return Err(bad_bulk_end(found).into()),
                            None => return Ok(None),
                        }
                    }
                    None => return Ok(None),
                },
                b':' => match number(frame, body)? {
                    Some((value, next)) => (Node::integer(value), next),
                    None => return Ok(None),
                },
                b'*' => match number(frame, body)? {
                    Some((-1, next)) => (Node::NIL, next),
                    Some((announced, next)) => {
                        let count = count(announced, frame, self.at, next)?;
                        if self.depth() >= self.limits.depth_max {
                            return Err(Stop::Over(Cap::Depth));
                        }
                        if self.elements + count > self.limits.elements_max {
                            return Err(Stop::Over(Cap::Elements));
                        }
                        let node = Node::array(count, self.nodes.len());
                        if count > 0 {
                            if next > self.limits.reply_bytes_max {
                                return Err(Stop::Over(Cap::ReplyBytes));
                            }
                            self.elements += count;
                            self.at = next;
                            let inner = Open { left: count as u32, node: self.nodes.len() as u32 };
                            let outer = std::mem::replace(&mut self.inner, inner);
                            if outer.left > 0 {
                                self.outer.push(outer);
                            }
                            self.nodes.push(node);
                            continue;
                        }
                        (node, next)
                    }
                    None => return Ok(None),
                },
                b'+' | b'-' => {
                    let kind = if tag == b'+' { Kind::Simple } else { Kind::Error };
                    #[cfg(test)]
                    (self.steps -= self.clean_bytes as u64);
                    let line = line(frame, body, self.clean_bytes, self.limits.line_bytes_max)?;
                    #[cfg(test)]
                    (self.steps += line.len() as u64);
                    match line {
                        Line::Whole(len) => {
                            self.clean_bytes = 0;
                            (Node::bytes(kind, body, len), body + len + 2)
                        }
                        Line::Clean(len) => {
                            self.clean_bytes = len;
                            return Ok(None);
                        }
                    }
                }
                found => return Err(bad_type(found).into()),
            };
            if next > self.limits.reply_bytes_max {
                return Err(Stop::Over(Cap::ReplyBytes));
            }
            self.at = next;
            // One value is complete, and with it every array it was the last element of.
            if self.inner.left == 0 {
                return Ok(Some(node));
            }
            self.nodes.push(node);
            self.inner.left -= 1;
            while self.inner.left == 0 {
                let end = self.nodes.len();
                if let Some(array) = self.nodes.get_mut(self.inner.node as usize) {
                    array.close(end);
                    node = *array;
                }
                let Some(outer) = self.outer.pop() else { return Ok(Some(node)) };
                self.inner = Open { left: outer.left - 1, ..outer };
            }
        }
        Ok(None)
    }

    /// Turns the reply that broke a cap at `self.at` into a drain, keeping a copy of its first short elements.
    fn start_drain(&mut self, cap: Cap) {
        let scalars = self.nodes.iter().skip(1);
        let kept = scalars.take_while(|node| !node.is_array() && node.end() <= HEAD_BYTES_MAX).count();
        self.nodes.truncate(kept + 1);
        let head_end = self.nodes.iter().map(Node::end).max().unwrap_or_default();
        self.head.clear();
        self.head.extend(self.buffer.pending().iter().take(head_end));
        self.buffer.consume(self.at);
        // A line that breaks a cap is whole already, so what is known of it is of no more use.
        // A drain needs no quick way to the innermost array: all open ones are on the stack.
        let inner = std::mem::take(&mut self.inner);
        if inner.left > 0 {
            self.outer.push(inner);
        }
        self.drain = Some(Drain { cap, bytes: self.at as u64, payload_left: None });
        (self.at, self.clean_bytes) = (0, 0);
    }

    /// Skips on through the reply over a cap; its size on the wire once it has all come.
    fn drain(&mut self) -> Result<Option<(u64, Cap)>, ProtocolError> {
        let Some(drain) = &mut self.drain else { return Ok(None) };
        let open = &mut self.outer;
        loop {
            let frame = self.buffer.pending();
            let Some(&tag) = frame.first() else { return Ok(None) };
            #[cfg(test)]
            (self.steps += 1);
            // How many bytes are done with, and whether a value ends with them.
            let (skipped, complete) = match (drain.payload_left, tag) {
                (Some(0), _) => match frame.get(..2) {
                    Some(b"\r\n") => {
                        drain.payload_left = None;
                        (2, true)
                    }
                    Some(found) => return Err(bad_bulk_end(found)),
                    None => return Ok(None),
                },
                (Some(left), _) => {
                    let skipped = left.min(frame.len());
                    drain.payload_left = Some(left - skipped);
                    (skipped, false)
                }
                (None, b'$') => match number(frame, 1)? {
                    Some((-1, next)) => (next, true),
                    Some((announced, next)) => {
                        drain.payload_left = Some(bulk_len(announced, frame, 0, next)?);
                        (next, false)
                    }
                    None => return Ok(None),
                },
                (None, b':') => match number(frame, 1)? {
                    Some((_, next)) => (next, true),
                    None => return Ok(None),
                },
                (None, b'*') => match number(frame, 1)? {
                    Some((-1, next)) => (next, true),
                    Some((announced, next)) => {
                        let count = count(announced, frame, 0, next)?;
                        if open.len() >= DEPTH_CEILING {
                            return Err(ProtocolError::TooDeep { max: DEPTH_CEILING });
                        }
                        if count > 0 {
                            open.push(Open { left: count as u32, node: 0 });
                        }
                        (next, count == 0)
                    }
                    None => return Ok(None),
                },
                (None, b'+' | b'-') => match line(frame, 1, self.clean_bytes, self.limits.line_bytes_max)? {
                    Line::Whole(len) => {
                        self.clean_bytes = 0;
                        (len + 3, true)
                    }
                    Line::Clean(len) => {
                        self.clean_bytes = len;
                        return Ok(None);
                    }
                },
                (None, found) => return Err(bad_type(found)),
            };
            self.buffer.consume(skipped);
            drain.bytes = drain.bytes.saturating_add(skipped as u64);
            if complete && close_arrays(open) {
                let whole = (drain.bytes, drain.cap);
                self.drain = None;
                return Ok(Some(whole));
            }
        }
    }
}

/// Counts a complete value off; true if it was the last of the outermost array, or the outermost value itself.
fn close_arrays(open: &mut Vec<Open>) -> bool {
    while let Some(array) = open.last_mut() {
        array.left -= 1;
        if array.left > 0 {
            return false;
        }
        open.pop();
    }
    true
}

/// The length of a bulk string announced in the line `frame[line..next]`.
#[inline(always)]
fn bulk_len(announced: i64, frame: &[u8], line: usize, next: usize) -> Result<usize, ProtocolError> {
    match u64::try_from(announced) {
        Ok(len) if len <= BULK_ANNOUNCED_MAX => Ok(len as usize),
        Ok(announced) => Err(ProtocolError::BulkTooLong { announced }),
        Err(_) => Err(bad_number(frame, line, next - 2)),
    }
}

/// The number of elements of an array announced in the line `frame[line..next]`.
#[inline(always)]
fn count(announced: i64, frame: &[u8], line: usize, next: usize) -> Result<usize, ProtocolError> {
    match u64::try_from(announced) {
        Ok(count) if count <= ELEMENTS_ANNOUNCED_MAX => Ok(count as usize),
        Ok(announced) => Err(ProtocolError::TooManyElements { announced }),
        Err(_) => Err(bad_number(frame, line, next - 2)),
    }
}

/// The strict integer at `frame[from..]` and where its line ends; `None` if the line is not all here.
///
/// Strict as Redis prints them: no sign but a minus, no spaces, no leading zeros, no `-0`, no overflow. Whatever Redis
/// would not print means the stream is lost, and the sooner that shows the better.
#[inline(always)]
fn number(frame: &[u8], from: usize) -> Result<Option<(i64, usize)>, ProtocolError> {
    match *frame.get(from..).unwrap_or_default() {
        // Nearly all numbers there are: counts, lengths of names and of small values, lengths of events.
        [one @ b'0'..=b'9', b'\r', b'\n', ..] => Ok(Some((digit(one), from + 3))),
        [ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => Ok(Some((digit(ten) * 10 + digit(one), from + 4))),
        [hundred @ b'1'..=b'9', ten @ b'0'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Ok(Some((digit(hundred) * 100 + digit(ten) * 10 + digit(one), from + 5)))
        }
        _ => any_number(frame, from),
    }
}

#[inline(always)]
fn digit(byte: u8) -> i64 {
    i64::from(byte & 0x0f)
}

/// Any 18 digits fit an `i64`; the 19th may not.
const DIGITS_SAFE: usize = 18;

/// The same for any integer, whole or not.
#[inline(never)]
fn any_number(frame: &[u8], from: usize) -> Result<Option<(i64, usize)>, ProtocolError> {
    let negative = frame.get(from) == Some(&b'-');
    let first = from + usize::from(negative);
    // Counted downwards: the negative half is the larger one.
    let mut value: i64 = 0;
    let mut at = first;
    let end = loop {
        let Some(&byte) = frame.get(at) else { return Ok(None) };
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break byte;
        }
        // A digit may follow any but a leading zero, which a minus may not precede either.
        let sound = value != 0 || (at == first && (digit != 0 || !negative));
        let grown = if at - first < DIGITS_SAFE {
            Some(value * 10 - i64::from(digit))
        } else {
            value.checked_mul(10).and_then(|tens| tens.checked_sub(i64::from(digit)))
        };
        value = match grown {
            Some(grown) if sound => grown,
            _ => return Err(bad_number(frame, from - 1, at + 1)),
        };
        at += 1;
    };
    if at == first || end != b'\r' {
        return Err(bad_number(frame, from - 1, at + 1));
    }
    match frame.get(at + 1) {
        Some(b'\n') if negative => Ok(Some((value, at + 2))),
        // The one value that has no positive twin is one too large.
        Some(b'\n') => value.checked_neg().map(|value| Some((value, at + 2))).ok_or_else(|| bad_number(frame, from - 1, at)),
        Some(_) => Err(bad_number(frame, from - 1, at + 2)),
        None => Ok(None),
    }
}

#[cold]
#[inline(never)]
fn bad_type(found: u8) -> ProtocolError {
    ProtocolError::Type { found: Excerpt::of(&[found]) }
}

#[cold]
#[inline(never)]
fn bad_bulk_end(found: &[u8]) -> ProtocolError {
    ProtocolError::BulkEnd { found: Excerpt::of(found) }
}

#[cold]
#[inline(never)]
fn bad_number(frame: &[u8], from: usize, until: usize) -> ProtocolError {
    ProtocolError::Number { found: Excerpt::of(frame.get(from..until).unwrap_or_default()) }
}

/// The line that starts at `frame[from..]`.
enum Line {
    /// All here: this many bytes before its line end.
    Whole(usize),
    /// Not all here: this many bytes are known to hold no break.
    Clean(usize),
}

#[cfg(test)]
impl Line {
    fn len(&self) -> usize {
        let (Line::Whole(len) | Line::Clean(len)) = *self;
        len
    }
}

/// Lines this short are scanned by hand; beyond it the set-up of a vectorised search pays.
const LINE_SHORT_BYTES: usize = 8;

/// Looks for the end of the line at `frame[from..]`, whose first `clean` bytes were searched before.
#[inline(always)]
fn line(frame: &[u8], from: usize, clean: usize, max: usize) -> Result<Line, ProtocolError> {
    let content = frame.get(from..).unwrap_or_default();
    // A break is accepted up to and including position `max`: a line of exactly `max` bytes.
    let unsearched = content.get(clean..content.len().min(max + 1)).unwrap_or_default();
    let near = unsearched.iter().take(LINE_SHORT_BYTES).position(|&byte| byte <= b'\r' && (byte == b'\r' || byte == b'\n'));
    let found = near.or_else(|| if unsearched.len() > LINE_SHORT_BYTES { far_break(unsearched) } else { None });
    let Some(found) = found else {
        let too_long = content.len() > max;
        return if too_long { Err(ProtocolError::LineTooLong { max }) } else { Ok(Line::Clean(content.len())) };
    };
    let len = clean + found;
    match (content.get(len), content.get(len + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(Line::Whole(len)),
        (Some(b'\r'), None) => Ok(Line::Clean(len)),
        (Some(b'\r'), _) => Err(bad_line(content, len + 2)),
        _ => Err(bad_line(content, len + 1)),
    }
}

#[inline(never)]
fn far_break(unsearched: &[u8]) -> Option<usize> {
    memchr::memchr2(b'\r', b'\n', unsearched)
}

#[cold]
#[inline(never)]
fn bad_line(content: &[u8], until: usize) -> ProtocolError {
    ProtocolError::Break { found: Excerpt::of(content.get(..until).unwrap_or_default()) }
}
