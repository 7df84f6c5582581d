//! Finds the replies in the bytes of one connection: one value at a time, each looked at once, payloads skipped by
//! their length. Pure but for the read of its source; runs on the thread that reads the connection.
//!
//! ```text
//!   next() ──▶ walk: value by value into the table of nodes ──▶ Reply
//!                │ the reply exceeds a cap of `Limits`
//!                ▼
//!              drain: the same grammar, nothing kept, bytes consumed as they come ──▶ Reply::TooLarge
//! ```
//! Walk and drain stop where the bytes end and go on from there: `inner` and `outer` hold how many elements each
//! unfinished array still waits for, `at` is the position of the first incomplete value. Only the header of that value,
//! at most some twenty bytes, is read again.
//!
//! ```text
//!   *3 [ :1   *2 [ $5 hel          outer: the array of 3, which waits for 2 (the inner array included)
//!                  ▲ at            inner: the array of 2, which waits for 2
//! ```
//! The hot path passes only small values around: a [`Stop`] holds reason and position in eight bytes, and becomes a
//! [`ProtocolError`] with an excerpt outside of the hot path. That halves the instructions of a small reply.

use std::io::{self, Read};

use super::buffer::Buffer;
use super::error::Excerpt;
use super::line::{BULK_ANNOUNCED_MAX, LINE_END_BYTES, Stop, bulk_len, element_count, line_end, line_len, number};
use super::node::{Node, NodeKind};
use super::{Cap, Limits, Lost, ProtocolError, Reply, TooLarge, count_work};

/// Deepest nesting of a reply that is drained: a drain remembers its open arrays and nothing else. A deeper reply is an
/// error.
pub(super) const DEPTH_CEILING: usize = 128;
/// Upper bound of every byte limit. Nodes hold positions in 32 bits, and the sum of two positions must not overflow a
/// signed 32-bit number, as `usize` has 32 bits on 32-bit servers.
pub(super) const REPLY_BYTES_CEILING: usize = 1 << 30;
/// Bytes kept of a reply over a cap, so that the loss can be reported: kind, pattern and channel fit with room to spare.
const HEAD_BYTES_MAX: usize = 1024;
/// Nodes that the table keeps when the buffer shrinks.
const NODES_KEPT_MAX: usize = 1024;
const _: () = assert!(BULK_ANNOUNCED_MAX < REPLY_BYTES_CEILING && REPLY_BYTES_CEILING <= u32::MAX as usize / 2);

/// Turns the bytes of one connection into replies, in order.
pub struct Decoder {
    limits: Limits,
    /// Bytes that are not consumed; the reply in work begins at its start.
    buffer: Buffer,
    /// Position of the first unfinished value in the pending bytes.
    at: usize,
    /// The first bytes of the line at `at` that hold no line break: they are not searched again.
    clean_bytes: usize,
    /// The table of nodes of the reply in work, or of the last one.
    nodes: Vec<Node>,
    /// Elements announced by the arrays of this reply so far.
    elements: usize,
    /// The innermost array that waits for elements; outside arrays it waits for none.
    inner: Open,
    /// The arrays around it, the outermost first. Each waits at least for the array inside it.
    outer: Vec<Open>,
    mode: Mode,
    /// See [`Reply::TooLarge`].
    lost: Lost,
}

/// The result of [`Decoder::take_line`].
pub(crate) enum Line<'a> {
    /// The pending bytes are no such line, or there are none.
    Other,
    Whole(&'a [u8]),
    /// It has not arrived completely.
    Partial,
    /// It exceeds `line_bytes_max`.
    TooLong,
}

/// The place of a message's channel and payload in the pending bytes: position and length. It ends at `end`.
pub(crate) struct Message {
    channel: (usize, usize),
    payload: (usize, usize),
    end: usize,
}

/// An array that waits for elements.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Elements that have not come.
    left: u32,
    /// Its position in the table of nodes.
    node: u32,
}

/// The state of the decoder between two calls.
enum Mode {
    /// In a reply that is kept, or between two replies.
    Walking,
    /// In a reply that is skipped. Inside a bulk string `payload_left` bytes of its payload are still to come, before
    /// its line end.
    Draining { payload_left: Option<usize> },
    /// The stream cannot be read any more.
    Failed(ProtocolError),
}

impl Decoder {
    /// A decoder for a new connection. Limits beyond the range of the table of nodes or the depth of a drain are
    /// lowered.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: limits.clamped(),
            buffer: Buffer::default(),
            at: 0,
            clean_bytes: 0,
            nodes: Vec::new(),
            elements: 0,
            inner: Open::default(),
            outer: Vec::new(),
            mode: Mode::Walking,
            lost: Lost::default(),
        }
    }

    /// One read of `source` into the buffer. Returns the number of bytes; 0 is the end of the source. Retries
    /// interruptions and returns other errors. Call [`next`](Self::next) until it returns `None` before the next read,
    /// or the buffer grows without need.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let kept_bytes = self.buffer.capacity();
        let count = self.buffer.read_from(source);
        // The buffer shrank: large replies are over.
        if self.buffer.capacity() < kept_bytes {
            self.shrink_nodes();
        }
        count
    }

    /// Takes these bytes as read.
    #[cfg(test)]
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        // A slice never fails to be read.
        while !bytes.is_empty() && self.read_from(&mut bytes).is_ok() {}
    }

    /// The next reply, or `None` if it has not arrived completely. After an error every call returns the same error.
    // Not an iterator, as the reply borrows the buffer.
    #[allow(clippy::should_implement_trait)]
    #[optimize(speed)]
    pub fn next(&mut self) -> Result<Option<Reply<'_>>, ProtocolError> {
        // Most replies arrive completely and are no arrays: these go without the table of nodes. The answers of PUBLISH are
        // integers, so those take the shortest way.
        if self.is_between() {
            let pending = self.buffer.pending();
            count_work(1);
            if pending.first() == Some(&b':')
                && let Ok((value, size)) = number(pending)
                && size <= self.limits.reply_bytes_max
            {
                self.buffer.consume(size);
                return Ok(Some(Reply::Integer(value)));
            }
            if let Ok((node, size)) = self.single(pending, 0)
                && size <= self.limits.reply_bytes_max
            {
                self.clean_bytes = 0;
                return Ok(Some(node.view(self.buffer.consume(size), &[])));
            }
        }
        let stop = match self.mode {
            Mode::Walking => match self.walk() {
                Ok(node) => {
                    let frame = self.buffer.consume(self.at);
                    self.at = 0;
                    return Ok(Some(node.view(frame, &self.nodes)));
                }
                Err(Stop::Partial) => return Ok(None),
                Err(stop) => Some(stop),
            },
            _ => None,
        };
        match self.next_rarely(stop) {
            Ok(true) => Ok(Some(Reply::TooLarge(TooLarge { lost: &self.lost }))),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first byte of the next reply, if it has arrived and nothing of the reply was skipped.
    pub(crate) fn next_tag(&self) -> Option<u8> {
        matches!(self.mode, Mode::Walking).then(|| self.buffer.pending().first().copied())?
    }

    /// Other limits from the next reply on.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits.clamped();
    }

    /// Takes the line at the start of the pending bytes, without its end, unless it begins with `tag` or a reply has begun.
    /// For the embedded server, to which people may type commands as lines.
    pub(crate) fn take_line(&mut self, tag: u8) -> Line<'_> {
        let line = self.buffer.pending();
        if !self.is_between() || line.first().is_none_or(|first| *first == tag) {
            return Line::Other;
        }
        let unsearched = line.get(self.clean_bytes..).unwrap_or_default();
        let Some(found) = memchr::memchr(b'\n', unsearched).map(|found| self.clean_bytes + found) else {
            self.clean_bytes = line.len();
            return if line.len() > self.limits.line_bytes_max { Line::TooLong } else { Line::Partial };
        };
        self.clean_bytes = 0;
        if found > self.limits.line_bytes_max {
            return Line::TooLong;
        }
        let line = self.buffer.consume(found + 1);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Line::Whole(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Whether all bytes have been handed out as replies: the stream may end here.
    pub(crate) fn is_idle(&self) -> bool {
        self.buffer.pending().is_empty() && self.inner.left == 0 && matches!(self.mode, Mode::Walking)
    }

    /// Whether the pending bytes begin with a reply that was not looked at, or with a part of one that is no array.
    #[inline(always)]
    fn is_between(&self) -> bool {
        self.inner.left == 0 && self.at == 0 && matches!(self.mode, Mode::Walking)
    }

    /// Gives back the memory of a large table of nodes, unless a reply is in work.
    fn shrink_nodes(&mut self) {
        if self.inner.left == 0 {
            self.nodes.clear();
            self.nodes.shrink_to(NODES_KEPT_MAX);
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
            + self.lost.head.capacity()
            + (self.nodes.capacity() + self.lost.nodes.capacity()) * size_of::<Node>()
            + self.outer.capacity() * size_of::<Open>()
    }

    /// Goes on from the first incomplete value. `Ok` is the outermost value, whose bytes are `..self.at`.
    #[inline(never)]
    #[optimize(speed)]
    fn walk(&mut self) -> Result<Node, Stop> {
        if self.inner.left == 0 {
            self.nodes.clear();
            self.elements = 0;
        }
        let frame = self.buffer.pending();
        loop {
            count_work(1);
            let at = self.at;
            let value = frame.get(at..).unwrap_or_default();
            let (mut node, size) = if value.first() != Some(&b'*') {
                let found = self.single(value, at)?;
                self.clean_bytes = 0;
                found
            } else {
                match element_count(value)? {
                    (None, size) => (Node::NIL, size),
                    (Some(count), size) => {
                        if self.outer.len() + usize::from(self.inner.left > 0) >= self.limits.depth_max {
                            return Err(Stop::Over(Cap::Depth));
                        }
                        if self.elements + count > self.limits.elements_max {
                            return Err(Stop::Over(Cap::Elements));
                        }
                        if count > 0 {
                            if at + size > self.limits.reply_bytes_max {
                                return Err(Stop::Over(Cap::ReplyBytes));
                            }
                            if self.inner.left > 0 {
                                self.outer.push(self.inner);
                            }
                            self.inner = Open { left: count as u32, node: self.nodes.len() as u32 };
                            self.nodes.push(Node::array(count));
                            self.elements += count;
                            self.at = at + size;
                            continue;
                        }
                        (Node::array(0), size)
                    }
                }
            };
            if at + size > self.limits.reply_bytes_max {
                return Err(Stop::Over(Cap::ReplyBytes));
            }
            self.at = at + size;
            // The value is complete, and with it every array whose last element it is.
            if self.inner.left == 0 {
                return Ok(node);
            }
            self.nodes.push(node);
            self.inner.left -= 1;
            while self.inner.left == 0 {
                let end = self.nodes.len();
                if let Some(array) = self.nodes.get_mut(self.inner.node as usize) {
                    array.close(end - self.inner.node as usize);
                    node = *array;
                }
                let Some(outer) = self.outer.pop() else { return Ok(node) };
                self.inner = Open { left: outer.left - 1, ..outer };
            }
        }
    }

    /// Reads the value at `at` of the frame, and its size. An array is an error here.
    #[inline(always)]
    fn single(&self, value: &[u8], at: usize) -> Result<(Node, usize), Stop> {
        Ok(match value.first() {
            None => return Err(Stop::Partial),
            Some(b'$') => match bulk_len(value)? {
                (None, size) => (Node::NIL, size),
                (Some(len), header) => {
                    // The announced length decides about the caps, before any payload is kept.
                    if len > self.limits.bulk_bytes_max {
                        return Err(Stop::Over(Cap::BulkBytes));
                    }
                    let size = header + len + LINE_END_BYTES;
                    if at + size > self.limits.reply_bytes_max {
                        return Err(Stop::Over(Cap::ReplyBytes));
                    }
                    line_end(value, header + len)?;
                    (Node::bytes(NodeKind::Bulk, at + header, len), size)
                }
            },
            Some(b':') => {
                let (value, size) = number(value)?;
                (Node::integer(value), size)
            }
            Some(&sign @ (b'+' | b'-')) => {
                let len = line_len(value, self.clean_bytes, self.limits.line_bytes_max)?;
                let kind = if sign == b'+' { NodeKind::Simple } else { NodeKind::Error };
                (Node::bytes(kind, at + 1, len), 1 + len + LINE_END_BYTES)
            }
            Some(_) => return Err(Stop::Type),
        })
    }

    /// The message at the start of the pending bytes, for [`Decoder::take_message`]. `None`: the reply there is no message on
    /// a channel, has not arrived completely, or exceeds a limit; [`Decoder::next`] tells. It makes no nodes, so it takes a
    /// quarter of the time of `next`.
    #[optimize(speed)]
    pub(crate) fn find_message(&self) -> Option<Message> {
        const BEGINNING: &[u8] = b"*3\r\n$7\r\nmessage\r\n";
        let frame = self.buffer.pending();
        if !(self.is_between()
            && frame.starts_with(BEGINNING)
            && self.limits.depth_max > 0
            && self.limits.elements_max > 2)
        {
            return None;
        }
        let (mut bytes, mut end) = ([(0, 0); 2], BEGINNING.len());
        for place in &mut bytes {
            let value = frame.get(end..)?;
            let (Some(b'$'), Ok((Some(len), header))) = (value.first(), bulk_len(value)) else { return None };
            if len > self.limits.bulk_bytes_max {
                return None;
            }
            line_end(value, header + len).ok()?;
            *place = (end + header, len);
            end += header + len + LINE_END_BYTES;
        }
        let [channel, payload] = bytes;
        count_work(3);
        (end <= self.limits.reply_bytes_max).then_some(Message { channel, payload, end })
    }

    /// The channel and the payload of a message that was just found.
    #[inline(always)]
    pub(crate) fn take_message(&mut self, message: Message) -> (&[u8], &[u8]) {
        let frame = self.buffer.consume(message.end);
        let bytes = |(at, len): (usize, usize)| frame.get(at..at + len).unwrap_or_default();
        (bytes(message.channel), bytes(message.payload))
    }

    /// Handles everything but an ordinary reply. `true`: a reply over a cap has been skipped; `false`: not yet.
    #[cold]
    #[inline(never)]
    fn next_rarely(&mut self, stop: Option<Stop>) -> Result<bool, ProtocolError> {
        let stop = match (&self.mode, stop) {
            (Mode::Failed(error), _) => return Err(*error),
            (_, Some(Stop::Over(cap))) => {
                self.start_drain(cap);
                self.drain()
            }
            (_, Some(stop)) => Err(stop),
            (_, None) => self.drain(),
        };
        match stop {
            Ok(()) => {
                self.mode = Mode::Walking;
                Ok(true)
            }
            Err(Stop::Partial) => Ok(false),
            Err(Stop::PartialLine { clean }) => {
                self.clean_bytes = clean as usize;
                Ok(false)
            }
            Err(stop) => {
                let error = self.error(stop);
                self.mode = Mode::Failed(error);
                Err(error)
            }
        }
    }

    /// Begins to drain the reply that exceeded a cap at `self.at`, and keeps a copy of its first short elements.
    fn start_drain(&mut self, cap: Cap) {
        let lost = &mut self.lost;
        let elements = self.nodes.iter().skip(1);
        let short = elements.take_while(|node| !node.is_array() && node.end() <= HEAD_BYTES_MAX);
        lost.nodes.clear();
        lost.nodes.push(Node::array(0));
        lost.nodes.extend(short);
        let (kept, head_bytes) = (lost.nodes.len() - 1, lost.nodes.iter().map(Node::end).max());
        lost.nodes.iter_mut().take(1).for_each(|root| *root = Node::array(kept));
        lost.head.clear();
        lost.head.extend(self.buffer.consume(self.at).iter().take(head_bytes.unwrap_or_default()));
        (lost.bytes, lost.cap) = (self.at as u64, cap);
        // A drain is not the hot path: all its open arrays are on the stack.
        let inner = std::mem::take(&mut self.inner);
        if inner.left > 0 {
            self.outer.push(inner);
        }
        (self.at, self.clean_bytes) = (0, 0);
        self.mode = Mode::Draining { payload_left: None };
    }

    /// Skips the rest of the reply over a cap, one value or piece of a payload at a time.
    fn drain(&mut self) -> Result<(), Stop> {
        let Mode::Draining { payload_left } = &mut self.mode else { return Err(Stop::Partial) };
        loop {
            count_work(1);
            let value = self.buffer.pending();
            // The bytes that are skipped now, and whether a value ends with them.
            let (size, complete) = match (*payload_left, value.first()) {
                (_, None) => return Err(Stop::Partial),
                (Some(0), _) => {
                    line_end(value, 0)?;
                    *payload_left = None;
                    (LINE_END_BYTES, true)
                }
                (Some(left), _) => {
                    let size = left.min(value.len());
                    *payload_left = Some(left - size);
                    (size, false)
                }
                (None, Some(b'$')) => {
                    let (len, size) = bulk_len(value)?;
                    *payload_left = len;
                    (size, len.is_none())
                }
                (None, Some(b':')) => (number(value)?.1, true),
                (None, Some(b'*')) => {
                    let (count, size) = element_count(value)?;
                    if count.is_some() && self.outer.len() >= DEPTH_CEILING {
                        return Err(Stop::TooDeep);
                    }
                    let left = count.unwrap_or_default() as u32;
                    if left > 0 {
                        self.outer.push(Open { left, node: 0 });
                    }
                    (size, left == 0)
                }
                (None, Some(b'+' | b'-')) => {
                    let len = line_len(value, self.clean_bytes, self.limits.line_bytes_max)?;
                    self.clean_bytes = 0;
                    (1 + len + LINE_END_BYTES, true)
                }
                (None, Some(_)) => return Err(Stop::Type),
            };
            self.buffer.consume(size);
            self.lost.bytes = self.lost.bytes.saturating_add(size as u64);
            if complete && close_arrays(&mut self.outer) {
                return Ok(());
            }
        }
    }

    /// The error for a stop, with an excerpt of the value at which it happened.
    fn error(&self, stop: Stop) -> ProtocolError {
        let value = self.buffer.pending().get(self.at..).unwrap_or_default();
        let excerpt = |from: u32, until: u32| Excerpt::of(value.get(from as usize..until as usize).unwrap_or_default());
        let announced = || number(value).map_or(0, |(announced, _)| announced.unsigned_abs());
        match stop {
            Stop::Number { until } => ProtocolError::Number { found: excerpt(0, until) },
            Stop::Break { until } => ProtocolError::Break { found: excerpt(0, until) },
            Stop::BulkEnd { at } => ProtocolError::BulkEnd { found: excerpt(at, at + 2) },
            Stop::LineTooLong => ProtocolError::LineTooLong { max: self.limits.line_bytes_max },
            Stop::BulkTooLong => ProtocolError::BulkTooLong { announced: announced() },
            Stop::TooManyElements => ProtocolError::TooManyElements { announced: announced() },
            Stop::TooDeep => ProtocolError::TooDeep { max: DEPTH_CEILING },
            // The last three never come here, as they are no errors.
            Stop::Type | Stop::Over(_) | Stop::Partial | Stop::PartialLine { .. } => {
                ProtocolError::Type { found: excerpt(0, 1) }
            }
        }
    }
}

/// Counts one complete value off the open arrays. True if it ends the outermost array or is itself the outermost value.
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
