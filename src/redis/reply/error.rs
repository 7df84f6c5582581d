//! Errors of a stream that cannot be read any more, each with an excerpt of a few bytes, fit for a log line. Pure. The
//! excerpt is too short to reveal a value, and the same however the stream was cut.

use std::fmt;

/// The stream is not RESP2, or exceeds every limit of Redis itself: the next reply in it cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A value starts with none of the five type bytes.
    Type { found: Excerpt },
    /// A line that must be an integer, a length or a count is none. Strict: see `line.rs`.
    Number { found: Excerpt },
    /// A carriage return or line feed alone inside a line.
    Break { found: Excerpt },
    /// A line is longer than `line_bytes_max`.
    LineTooLong { max: usize },
    /// A bulk string is announced as longer than Redis allows strings to be.
    BulkTooLong { announced: u64 },
    /// A bulk string is not followed by a line end.
    BulkEnd { found: Excerpt },
    /// An array is announced with more elements than any reply has.
    TooManyElements { announced: u64 },
    /// More arrays are inside each other than a drain can follow.
    TooDeep { max: usize },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot decode redis reply: ")?;
        match self {
            Self::Type { found } => write!(f, "a value starts with {found}, not one of + - : $ *"),
            Self::Number { found } => write!(f, "{found} is not a number"),
            Self::Break { found } => write!(f, "{found} breaks a line without a full line end"),
            Self::LineTooLong { max } => write!(f, "a line is longer than {max} bytes"),
            Self::BulkTooLong { announced } => write!(f, "a string of {announced} bytes is announced"),
            Self::BulkEnd { found } => write!(f, "a string is followed by {found}, not a line end"),
            Self::TooManyElements { announced } => write!(f, "an array of {announced} elements is announced"),
            Self::TooDeep { max } => write!(f, "more than {max} arrays are inside each other"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// The last few bytes of a value up to the offending byte, so that it is the same however the stream was cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; EXCERPT_BYTES_MAX],
    /// How many of `bytes` it has.
    len: u8,
    /// Bytes before it are left out.
    cut: bool,
}

/// Bytes of an excerpt: enough to recognise their kind, too few to reveal a value.
const EXCERPT_BYTES_MAX: usize = 16;

impl Excerpt {
    /// The excerpt of these bytes, the last of which is the offending one.
    pub(super) fn of(found: &[u8]) -> Self {
        let tail = found.last_chunk::<EXCERPT_BYTES_MAX>().map_or(found, |chunk| chunk.as_slice());
        let mut bytes = [0; EXCERPT_BYTES_MAX];
        bytes.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        Self { bytes, len: tail.len() as u8, cut: tail.len() < found.len() }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        write!(f, "`{}{}`", if self.cut { "..." } else { "" }, shown.escape_ascii())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
