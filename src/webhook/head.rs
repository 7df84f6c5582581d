//! The head of a response: where it ends, whether it is HTTP/1, and a form of it that minreq takes.
//! Pure: bytes in, bytes out, on `rt-carry-*`. It keeps no more than [`RESPONSE_HEAD_BYTES_MAX`] and what one read
//! brings, whatever the destination sends. minreq parses the head and the body; it only gets heads that came whole.

use std::fmt;

/// Longest head of a response, in bytes. Discord's has under 2 KiB.
const RESPONSE_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most interim responses (1xx, RFC 9110 section 15.2) before the final one.
const RESPONSE_INTERIM_MAX: usize = 4;

/// The head of a response as it comes in.
#[derive(Default)]
pub(super) struct Head {
    pending: Vec<u8>,
    interim: usize,
    /// Where the body begins in `pending`, once the final head is whole.
    end: Option<usize>,
}

impl Head {
    pub(super) fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    /// Takes the next bytes. Interim responses are dropped: minreq would take the first one for the final one.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), NotHttp> {
        let searched = self.pending.len().saturating_sub(3);
        self.pending.extend_from_slice(bytes);
        self.check_start()?;
        let mut from = searched;
        while let Some(end) = head_end(&self.pending, from) {
            if end > RESPONSE_HEAD_BYTES_MAX {
                return Err(NotHttp::HeadTooLong);
            }
            if !(100..200).contains(&status(self.pending.get(..end).unwrap_or_default())?) {
                self.end = Some(end);
                return Ok(());
            }
            self.interim += 1;
            if self.interim > RESPONSE_INTERIM_MAX {
                return Err(NotHttp::HeadTooLong);
            }
            self.pending.drain(..end);
            self.check_start()?;
            from = 0;
        }
        if self.pending.len() > RESPONSE_HEAD_BYTES_MAX { Err(NotHttp::HeadTooLong) } else { Ok(()) }
    }

    /// A response begins with `HTTP/1.`: what does not is refused before its head is whole.
    fn check_start(&self) -> Result<(), NotHttp> {
        const START: &[u8] = b"HTTP/1.";
        let start = self.pending.get(..START.len()).unwrap_or(&self.pending);
        if START.starts_with(start) { Ok(()) } else { Err(NotHttp::start(start)) }
    }

    /// The head as minreq is to see it, and the beginning of the body.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<u8>), NotHttp> {
        let end = self.end.ok_or(NotHttp::Ended { bytes: self.pending.len() })?;
        let body = self.pending.split_off(end);
        Ok((normal(&self.pending), body))
    }
}

/// The place behind the empty line that ends a head, searched from `from`.
pub(super) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let ends = bytes.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    ends.into_iter()
        .find(|at| {
            let before = bytes.get(..*at).unwrap_or_default();
            before.ends_with(b"\n") || before.ends_with(b"\n\r")
        })
        .map(|at| at + 1)
}

/// The status of a head. minreq would make 503 of a line that it does not understand.
pub(super) fn status(head: &[u8]) -> Result<u16, NotHttp> {
    let first = String::from_utf8_lossy(head.split(|byte| *byte == b'\n').next().unwrap_or_default());
    let status = first.trim_ascii_end().split(' ').nth(1).filter(|code| code.len() == 3);
    let status = status.and_then(|code| code.parse::<u16>().ok()).filter(|status| (100..600).contains(status));
    status.ok_or_else(|| NotHttp::Start("its first line has no status".to_owned()))
}

/// The head without anything that minreq refuses a response for: bytes that are no ASCII, a length that is no number, a
/// transfer encoding beside `chunked`. The status counts, whatever else is wrong.
fn normal(head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 16);
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        let (name, value) = (name.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") && !is_length(value) {
            continue;
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") && value.to_ascii_lowercase().ends_with(b"chunked") {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            continue;
        }
        out.extend(line.iter().map(|byte| if matches!(byte, b' '..=b'~' | b'\t') { *byte } else { b'?' }));
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Whether minreq can count so many bytes on this platform.
fn is_length(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|value| value.parse::<usize>().is_ok())
}

/// The other end is no HTTP server, or its head passes the caps.
#[derive(Debug, PartialEq)]
pub(super) enum NotHttp {
    /// What is wrong with the beginning of its answer.
    Start(String),
    HeadTooLong,
    /// The connection ended before the head was whole.
    Ended {
        bytes: usize,
    },
}

impl NotHttp {
    /// Shows so few bytes that no secret is among them: whoever is at the other end may repeat those of the request, or the
    /// login of a proxy.
    fn start(start: &[u8]) -> NotHttp {
        NotHttp::Start(format!("`{}`", start.get(..3).unwrap_or(start).escape_ascii()))
    }
}

impl fmt::Display for NotHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotHttp::Start(start) => write!(f, "it does not answer in HTTP/1: {start}"),
            NotHttp::HeadTooLong => write!(f, "the head of its answer is longer than {RESPONSE_HEAD_BYTES_MAX} bytes"),
            NotHttp::Ended { bytes: 0 } => f.write_str("it closed the connection without an answer"),
            NotHttp::Ended { bytes } => write!(f, "it closed the connection after {bytes} bytes of an answer"),
        }
    }
}

#[cfg(test)]
mod tests;
