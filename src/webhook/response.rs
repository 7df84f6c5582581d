//! Decodes an HTTP/1 response piece by piece: the whole head, and the beginning of the body.
//! Runs on `rt-send-*`; pure. Holds at most [`RESPONSE_HEAD_BYTES_MAX`] and [`RESPONSE_BODY_BYTES_MAX`], whatever length
//! the server announces.
//! The head alone decides the result of a request. So a fault in the body is no error: the body ends there.

use std::fmt;

/// Longest head of a response, in bytes. Discord's has under 2 KiB.
const RESPONSE_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most interim responses (1xx) before the final one.
const RESPONSE_INTERIM_MAX: usize = 4;
/// Bytes kept of a response's body.
const RESPONSE_BODY_BYTES_MAX: usize = 64 * 1024;

/// A response.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The beginning of the body.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of the first header with this name, given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The state of decoding one response.
pub(crate) struct Decoder {
    /// The request was HEAD: its response has no body, even if the head announces one.
    is_head: bool,
    /// Bytes that are not decoded yet: the beginning of the head, or of a chunk's line.
    pending: Vec<u8>,
    /// Number of interim responses so far.
    interim: usize,
    response: Option<Response>,
    body: BodyState,
}

/// The position in the body.
enum BodyState {
    /// This many bytes are left; `None`: until the end of the connection.
    Plain {
        left: Option<u64>,
    },
    /// In the line with a chunk's size.
    ChunkLine,
    Chunk {
        left: u64,
    },
    Done,
}

/// Longest line with a chunk's size. It may also hold extensions, which are ignored.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

impl Decoder {
    pub(crate) fn new(method: &str) -> Decoder {
        let is_head = method == "HEAD";
        Decoder { is_head, pending: Vec::new(), interim: 0, response: None, body: BodyState::Done }
    }

    /// Decodes the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), NotHttp> {
        if self.response.is_some() {
            self.feed_body(bytes);
            return Ok(());
        }
        // Bytes beyond the cap belong to the body, or the head is too long anyway. So they are not copied into `pending`.
        let room = (RESPONSE_HEAD_BYTES_MAX + 1).saturating_sub(self.pending.len());
        let (head, rest) = bytes.split_at_checked(room).unwrap_or((bytes, b""));
        let searched = self.pending.len().saturating_sub(3);
        self.pending.extend_from_slice(head);
        self.check_start()?;
        let Some(end) = head_end(&self.pending, searched) else {
            return if self.pending.len() > RESPONSE_HEAD_BYTES_MAX { Err(NotHttp::HeadTooLong) } else { Ok(()) };
        };
        let after = self.pending.split_off(end);
        let head = std::mem::take(&mut self.pending);
        let response = parse_head(&head)?;
        if (100..200).contains(&response.status) {
            self.interim += 1;
            if self.interim > RESPONSE_INTERIM_MAX {
                return Err(NotHttp::HeadTooLong);
            }
        } else {
            self.body = body_of(&response, self.is_head);
            self.response = Some(response);
        }
        self.feed(&after)?;
        if rest.is_empty() { Ok(()) } else { self.feed(rest) }
    }

    /// An error as soon as the bytes cannot begin with `HTTP/1.`: another protocol may never end its first line.
    fn check_start(&self) -> Result<(), NotHttp> {
        const START: &[u8] = b"HTTP/1.";
        let len = self.pending.len().min(START.len());
        let start = self.pending.get(..len).unwrap_or_default();
        if START.starts_with(start) { Ok(()) } else { Err(NotHttp::Start(start.escape_ascii().to_string())) }
    }

    /// Whether the head is complete, so that the result of the request is known.
    pub(crate) fn has_head(&self) -> bool {
        self.response.is_some()
    }

    /// Whether no more bytes are needed.
    pub(crate) fn is_done(&self) -> bool {
        self.response.is_some() && matches!(self.body, BodyState::Done)
    }

    /// The response, with the part of its body that came. An error if the head is incomplete.
    pub(crate) fn finish(self) -> Result<Response, NotHttp> {
        self.response.ok_or(NotHttp::Ended { bytes: self.pending.len() })
    }

    fn feed_body(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !matches!(self.body, BodyState::Done) {
            bytes = match self.body {
                BodyState::Done => return,
                BodyState::Plain { left } => {
                    let (taken, rest) = self.take(bytes, left);
                    let left = left.map(|left| left - taken);
                    self.body = if left == Some(0) { BodyState::Done } else { BodyState::Plain { left } };
                    rest
                }
                BodyState::Chunk { left } => {
                    let (taken, rest) = self.take(bytes, Some(left));
                    self.body =
                        if left == taken { BodyState::ChunkLine } else { BodyState::Chunk { left: left - taken } };
                    rest
                }
                BodyState::ChunkLine => self.feed_chunk_line(bytes),
            };
            if self.response.as_ref().is_some_and(|response| response.body.len() >= RESPONSE_BODY_BYTES_MAX) {
                self.body = BodyState::Done;
            }
        }
    }

    /// Takes up to `left` bytes of the body and keeps them within the cap. Returns their number and the other bytes.
    fn take<'a>(&mut self, bytes: &'a [u8], left: Option<u64>) -> (u64, &'a [u8]) {
        let len =
            left.map_or(bytes.len(), |left| usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())));
        let (taken, rest) = bytes.split_at_checked(len).unwrap_or((bytes, b""));
        if let Some(response) = &mut self.response {
            let room = RESPONSE_BODY_BYTES_MAX - response.body.len().min(RESPONSE_BODY_BYTES_MAX);
            response.body.extend_from_slice(taken.get(..room).unwrap_or(taken));
        }
        (taken.len() as u64, rest)
    }

    /// Decodes the line with a chunk's size, or the empty line behind the chunk before. Returns the bytes behind it. A size
    /// that is no number ends the body.
    fn feed_chunk_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.pending.extend_from_slice(bytes);
            if self.pending.len() > CHUNK_LINE_BYTES_MAX {
                self.body = BodyState::Done;
            }
            return b"";
        };
        let (line, rest) = bytes.split_at_checked(end + 1).unwrap_or((bytes, b""));
        self.pending.extend_from_slice(line);
        let line = std::mem::take(&mut self.pending);
        let text = std::str::from_utf8(&line).unwrap_or("?").trim();
        if !text.is_empty() {
            let size = text.split(';').next().unwrap_or_default().trim();
            self.body = match u64::from_str_radix(size, 16) {
                Ok(left @ 1..) => BodyState::Chunk { left },
                Ok(0) | Err(_) => BodyState::Done,
            };
        }
        rest
    }
}

/// The position behind the empty line that ends a head. The first `searched` bytes are known to hold no end. Lines may
/// end in `\n` alone (RFC 9112, 2.2).
fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let tail = bytes.get(searched..)?;
    let ends = tail.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| searched + at);
    ends.into_iter()
        .find(|at| {
            let before = bytes.get(..*at).unwrap_or_default();
            before.ends_with(b"\n") || before.ends_with(b"\n\r")
        })
        .map(|at| at + 1)
}

/// Parses the status line and the headers. An error without a status from 100 to 599.
fn parse_head(head: &[u8]) -> Result<Response, NotHttp> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let status = first.split(' ').nth(1).filter(|code| code.len() == 3).and_then(|code| code.parse::<u16>().ok());
    let Some(status) = status.filter(|status| (100..600).contains(status)) else {
        return Err(NotHttp::Start(first.chars().take(32).collect::<String>().escape_debug().to_string()));
    };
    // A line without a colon is no header. It is skipped, because none of the headers in use looks like that.
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok(Response { status, headers, body: Vec::new() })
}

/// How the body is delimited (RFC 9112, 6.3).
fn body_of(response: &Response, is_head: bool) -> BodyState {
    if is_head || matches!(response.status, 204 | 304) {
        return BodyState::Done;
    }
    if response.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked")) {
        return BodyState::ChunkLine;
    }
    match response.header("content-length").and_then(|value| value.parse().ok()) {
        Some(0) => BodyState::Done,
        left => BodyState::Plain { left },
    }
}

/// Why the bytes are not an acceptable HTTP/1 response.
#[derive(Debug, PartialEq)]
pub(crate) enum NotHttp {
    /// Its first bytes, escaped.
    Start(String),
    HeadTooLong,
    /// The connection ended before the head did.
    Ended {
        bytes: usize,
    },
}

impl fmt::Display for NotHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotHttp::Start(start) => write!(f, "it does not answer in HTTP/1: `{start}`"),
            NotHttp::HeadTooLong => write!(f, "the head of its answer is longer than {RESPONSE_HEAD_BYTES_MAX} bytes"),
            NotHttp::Ended { bytes: 0 } => f.write_str("it closed the connection without an answer"),
            NotHttp::Ended { bytes } => write!(f, "it closed the connection after {bytes} bytes of an answer"),
        }
    }
}

#[cfg(test)]
mod tests;
