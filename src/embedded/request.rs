//! Reads the commands of one client: arrays of strings as programs send them, and lines as people type them into `nc`.
//! Pure but for the read of its source. The arrays are decoded by the decoder of replies, which bounds them
//! (`redis/reply.rs`): a command over a limit is skipped and comes out as [`Asked::TooLarge`].
//!
//! ```text
//!   *2\r\n$3\r\nGET\r\n$1\r\nk\r\n          an array of strings
//!   GET "my key"\r\n                        a line: words between blanks, quotes as in redis-cli
//! ```
//! Rules: <https://redis.io/docs/latest/develop/reference/protocol-spec/>, "Inline commands".

use std::io::{self, Read};

use crate::config::limits::VALUE_BYTES_MAX;
use crate::redis::reply::{Decoder, Limits, Line, Reply};

/// Limits for a client that has not logged in: AUTH, and no memory.
const STRANGER: Limits =
    Limits { depth_max: 1, elements_max: 8, line_bytes_max: 1024, bulk_bytes_max: 1024, reply_bytes_max: 4096 };
/// Limits of one command: a value of the largest size; as many words as DEL of the module may have; a line as in Redis.
const MEMBER: Limits = Limits {
    depth_max: 1,
    elements_max: 256 * 1024,
    line_bytes_max: 64 * 1024,
    bulk_bytes_max: VALUE_BYTES_MAX,
    reply_bytes_max: VALUE_BYTES_MAX + 1024 * 1024,
};

/// The next command of a client.
#[derive(Debug, PartialEq)]
pub(crate) enum Asked<'a> {
    /// Its words. None at all: an empty line or array, which is no command and has no reply.
    Words(Vec<&'a [u8]>),
    /// A command over a limit was skipped.
    TooLarge,
    /// The bytes are no command: the connection must end. The text follows `ERR Protocol error: `.
    Bad(&'static str),
}

pub(crate) struct Requests {
    decoder: Decoder,
    /// The words of the last line.
    line: Vec<Vec<u8>>,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests { decoder: Decoder::new(STRANGER), line: Vec::new() }
    }
}

impl Requests {
    /// The client has logged in: the limits of a member hold from the next command on.
    pub(crate) fn trust(&mut self) {
        self.decoder.set_limits(MEMBER);
    }

    /// One read of `source`; 0 is its end.
    pub(crate) fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.decoder.read_from(source)
    }

    /// Memory held, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.decoder.capacity()
    }

    /// The next complete command; `None`: none has arrived.
    pub(crate) fn next(&mut self) -> Option<Asked<'_>> {
        let words = match self.decoder.take_line(b'*') {
            Line::Other => return self.next_array(),
            Line::Partial => return None,
            Line::TooLong => return Some(Asked::Bad("too big inline request")),
            Line::Whole(line) => split(line),
        };
        let Some(words) = words else { return Some(Asked::Bad("unbalanced quotes in request")) };
        self.line = words;
        Some(Asked::Words(self.line.iter().map(Vec::as_slice).collect()))
    }

    fn next_array(&mut self) -> Option<Asked<'_>> {
        match self.decoder.next() {
            Ok(None) => None,
            Ok(Some(Reply::Array(array))) => {
                let word = |word| if let Reply::Bulk(word) = word { Some(word) } else { None };
                let words: Option<Vec<&[u8]>> = array.iter().map(word).collect();
                Some(words.map_or(Asked::Bad("expected '$' before each word"), Asked::Words))
            }
            Ok(Some(Reply::Nil)) => Some(Asked::Words(Vec::new())),
            Ok(Some(Reply::TooLarge(_))) => Some(Asked::TooLarge),
            Ok(Some(_)) | Err(_) => Some(Asked::Bad("invalid command")),
        }
    }
}

/// The words of a line. `None`: a quote is not closed, or something stands behind a closing one.
fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        let mut word = Vec::new();
        let mut quote = None;
        loop {
            let (byte, tail) = match rest.split_first() {
                Some((byte, tail)) => (*byte, tail),
                None if quote.is_some() => return None,
                None => break,
            };
            rest = tail;
            match (quote, byte) {
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, byte) if byte.is_ascii_whitespace() || byte == 0 => break,
                (Some(open), byte) if byte == open => {
                    if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return None;
                    }
                    quote = None;
                }
                (Some(b'"'), b'\\') => word.push(escaped(&mut rest)?),
                (Some(_), b'\\') if rest.first() == Some(&b'\'') => {
                    word.push(b'\'');
                    rest = rest.get(1..)?;
                }
                (_, byte) => word.push(byte),
            }
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

/// The byte of an escape, whose backslash was read.
fn escaped(rest: &mut &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    if let [b'x', high, low, tail @ ..] = *rest
        && let Some((high, low)) = digit(*high).zip(digit(*low))
    {
        *rest = tail;
        return u8::try_from(high * 16 + low).ok();
    }
    let (byte, tail) = rest.split_first()?;
    *rest = tail;
    Some(match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => *other,
    })
}

#[cfg(test)]
mod tests;
