//! Replies of Redis (RESP2): bytes of one connection in, [`Reply`] values out. Pure; runs on the thread that reads the
//! connection.
//!
//! [`Decoder`] owns one reused buffer and hands out views into it: a reply costs no allocation, and lives until the
//! next call of `next`. A well-formed reply over a cap of [`Limits`] is skipped without being kept and comes out once
//! as [`Reply::TooLarge`], so that replies and commands stay in step. Bytes that are not RESP2, or beyond every limit
//! of Redis, are a [`ProtocolError`]: the connection must be closed.
//!
//! Contract: no input panics, recurses, or allocates out of proportion to the bytes that have arrived. The decoder
//! looks at each byte a bounded number of times however the stream is cut, and every cut gives the same replies.
//!
//! ```text
//!   +OK\r\n   -ERR text\r\n   :42\r\n   $5\r\nhello\r\n   $-1\r\n   *2\r\n ... ...
//!   status    error           integer   bulk string         nil      array of two values
//! ```
//!
//! | file | question |
//! |---|---|
//! | [`decoder`] | How are values found in arriving bytes? |
//! | `line` | Is a line a number, a length, a text? |
//! | `node` | How is a decoded reply stored? |
//! | `buffer` | Where do arriving bytes wait? |
//! | `error` | Why can a stream not be read any more? |

mod buffer;
pub(crate) mod decoder;
mod error;
mod line;
mod node;

#[cfg(test)]
pub(super) mod tests;

use std::fmt;

pub(crate) use decoder::{Decoder, Line};
pub(crate) use error::ProtocolError;
pub(crate) use node::{Array, Elements};

use node::Node;

/// The limits of one connection for well-formed replies. A reply over one of them is skipped; see [`Reply::TooLarge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Depth of arrays inside each other.
    pub(crate) depth_max: usize,
    /// Elements of one reply in all, those of inner arrays included. It bounds the table of nodes, 12 bytes each.
    pub(crate) elements_max: usize,
    /// Bytes of a status, error or other line. The only cap whose excess is an error: beyond it the end of the line
    /// cannot be found.
    pub(crate) line_bytes_max: usize,
    /// Bytes of one bulk string.
    pub(crate) bulk_bytes_max: usize,
    /// Bytes of one whole reply in the buffer, headers included.
    pub(crate) reply_bytes_max: usize,
}

impl Limits {
    /// Lowers limits beyond the range of the table of nodes or the depth of a drain.
    fn clamped(self) -> Limits {
        Limits {
            depth_max: self.depth_max.min(decoder::DEPTH_CEILING),
            elements_max: self.elements_max.min(line::ELEMENTS_ANNOUNCED_MAX),
            line_bytes_max: self.line_bytes_max.min(decoder::REPLY_BYTES_CEILING),
            bulk_bytes_max: self.bulk_bytes_max.min(decoder::REPLY_BYTES_CEILING),
            reply_bytes_max: self.reply_bytes_max.min(decoder::REPLY_BYTES_CEILING),
        }
    }
}

/// One reply, borrowed from the decoder's buffer.
#[derive(Clone, Copy)]
pub enum Reply<'a> {
    /// `+OK`
    Simple(&'a [u8]),
    /// `-ERR no such thing`, without the dash.
    Error(&'a [u8]),
    /// `:42`
    Integer(i64),
    /// `$5 hello`
    Bulk(&'a [u8]),
    /// `$-1` and `*-1`: no value.
    Nil,
    /// `*2 ...`
    Array(Array<'a>),
    /// A whole reply that was skipped. Only the outermost value can be one.
    TooLarge(TooLarge<'a>),
}

/// The facts about a reply that was skipped.
#[derive(Clone, Copy)]
pub struct TooLarge<'a> {
    lost: &'a Lost,
}

/// The decoder's note of the reply that it skipped last, or is skipping.
#[derive(Default)]
struct Lost {
    /// Size on the wire so far.
    bytes: u64,
    cap: Cap,
    /// The first bytes of the reply, as far as `nodes` refer to them.
    head: Vec<u8>,
    /// The array of the elements that are kept.
    nodes: Vec<Node>,
}

/// One of the [`Limits`], which a reply exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cap {
    Depth,
    Elements,
    BulkBytes,
    #[default]
    ReplyBytes,
}

/// A reply that owns its bytes, so that it outlives the decoder's buffer.
#[derive(Clone, PartialEq, Eq)]
pub enum OwnedReply {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<OwnedReply>),
    TooLarge { bytes: u64, cap: Cap },
}

impl<'a> Reply<'a> {
    /// Copies the reply. Recursion is bounded: no reply is deeper than `depth_max`.
    pub(crate) fn keep(&self) -> OwnedReply {
        match *self {
            Reply::Simple(text) => OwnedReply::Simple(text.to_vec()),
            Reply::Error(text) => OwnedReply::Error(text.to_vec()),
            Reply::Integer(value) => OwnedReply::Integer(value),
            Reply::Bulk(bytes) => OwnedReply::Bulk(bytes.to_vec()),
            Reply::Nil => OwnedReply::Nil,
            Reply::Array(array) => OwnedReply::Array(array.iter().map(|element| element.keep()).collect()),
            Reply::TooLarge(lost) => OwnedReply::TooLarge { bytes: lost.bytes(), cap: lost.cap() },
        }
    }

    /// The bytes of a bulk string or status line, which Redis uses interchangeably for text.
    #[inline]
    pub fn text(&self) -> Option<&'a [u8]> {
        match *self {
            Reply::Bulk(text) | Reply::Simple(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer reply.
    #[inline]
    pub(crate) fn integer(&self) -> Option<i64> {
        match *self {
            Reply::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The elements of an array reply.
    #[inline]
    pub(crate) fn array(&self) -> Option<Array<'a>> {
        match *self {
            Reply::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Its kind in words, for "expected an integer, found an array".
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Reply::Simple(_) => "a status",
            Reply::Error(_) => "an error",
            Reply::Integer(_) => "an integer",
            Reply::Bulk(_) => "a string",
            Reply::Nil => "nil",
            Reply::Array(_) => "an array",
            Reply::TooLarge(_) => "a reply over the limit",
        }
    }
}

impl<'a> TooLarge<'a> {
    /// Size of the whole reply on the wire.
    pub fn bytes(&self) -> u64 {
        self.lost.bytes
    }

    /// The first cap that it exceeded.
    pub(crate) fn cap(&self) -> Cap {
        self.lost.cap
    }

    /// The first elements of an outermost array: those that came before the excess and are short values. Of a message
    /// whose payload is too large, these are its kind and channel.
    pub(crate) fn head(&self) -> Array<'a> {
        Array::new(&self.lost.head, &self.lost.nodes)
    }
}

impl OwnedReply {
    /// Its kind in the words of [`Reply::describe`].
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            OwnedReply::Simple(_) => "a status",
            OwnedReply::Error(_) => "an error",
            OwnedReply::Integer(_) => "an integer",
            OwnedReply::Bulk(_) => "a string",
            OwnedReply::Nil => "nil",
            OwnedReply::Array(_) => "an array",
            OwnedReply::TooLarge { .. } => "a reply over the limit",
        }
    }
}

impl Cap {
    /// The name of the field in [`Limits`].
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cap::Depth => "depth_max",
            Cap::Elements => "elements_max",
            Cap::BulkBytes => "bulk_bytes_max",
            Cap::ReplyBytes => "reply_bytes_max",
        }
    }
}

// Debug output goes to logs and failed assertions. It shows lengths and kinds, never bytes, which may be a player's
// data.
impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(text) | Reply::Error(text) | Reply::Bulk(text) => {
                write!(f, "{} of {} bytes", self.describe(), text.len())
            }
            Reply::Integer(value) => write!(f, "{value}"),
            Reply::Nil => f.write_str("nil"),
            Reply::Array(array) => write!(f, "an array of {}", array.len()),
            Reply::TooLarge(lost) => write!(f, "a reply of {} bytes over {}", lost.bytes(), lost.cap().name()),
        }
    }
}

impl fmt::Debug for OwnedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnedReply::Simple(text) | OwnedReply::Error(text) | OwnedReply::Bulk(text) => {
                write!(f, "{} of {} bytes", self.describe(), text.len())
            }
            OwnedReply::Integer(value) => write!(f, "{value}"),
            OwnedReply::Nil => f.write_str("nil"),
            OwnedReply::Array(elements) => write!(f, "an array of {}", elements.len()),
            OwnedReply::TooLarge { bytes, cap } => write!(f, "a reply of {bytes} bytes over {}", cap.name()),
        }
    }
}

/// Counts values begun, line bytes searched and bytes moved, for the tests that work is linear. Does nothing elsewhere.
#[inline(always)]
fn count_work(_units: usize) {
    #[cfg(test)]
    tests::WORK.with(|work| work.set(work.get() + _units as u64));
}
