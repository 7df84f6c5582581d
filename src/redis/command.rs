//! Commands to Redis (RESP2): arguments in, bytes appended to one reused buffer out. Pure; runs on any thread.
//! Encoding cannot fail: every argument is sent with its length, so no content needs escaping.
//!
//! ```text
//!  *3\r\n  $7\r\nPUBLISH\r\n  $4\r\nchat\r\n  $2\r\nhi\r\n
//!  count   argument           argument        argument
//! ```

use std::fmt;

/// Bytes of an argument beyond its own: `$`, at most 20 digits, and two line ends.
const ARGUMENT_OVERHEAD_BYTES: usize = 1 + 20 + 4;

/// Appends one command. The first argument is its name.
pub fn encode(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    let bytes: usize = arguments.iter().map(|argument| argument.len() + ARGUMENT_OVERHEAD_BYTES).sum();
    out.reserve(bytes + ARGUMENT_OVERHEAD_BYTES);
    put_header(out, b'*', arguments.len());
    for argument in arguments {
        put_argument(out, &[argument]);
    }
}

/// Appends `PUBLISH <channel> <payload>`. The hot path: one reservation, no allocation once `out` is warm.
#[optimize(speed)]
pub fn encode_publish(out: &mut Vec<u8>, channel: &[u8], payload: &[u8]) {
    out.reserve(channel.len() + payload.len() + 2 * LINE_BYTES);
    // Five pieces in all, because the cost of a piece is not its bytes.
    put_line(out, b"*3\r\n$7\r\nPUBLISH\r\n$", channel.len());
    out.extend_from_slice(channel);
    put_line(out, b"\r\n$", payload.len());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Room for one line of [`put_line`], in bytes.
const LINE_BYTES: usize = 32;

/// Appends these bytes, a length, and a line end: one piece, if the length has up to four digits.
#[inline(always)]
fn put_line<const N: usize>(out: &mut Vec<u8>, before: &[u8; N], length: usize) {
    const { assert!(N + 6 <= LINE_BYTES) }
    let mut line = [0; LINE_BYTES];
    line[..N].copy_from_slice(before);
    let digit = |unit: usize| b'0' + (length / unit % 10) as u8;
    let bytes = match length {
        0..10 => {
            line[N..N + 3].copy_from_slice(&[digit(1), b'\r', b'\n']);
            N + 3
        }
        10..100 => {
            line[N..N + 4].copy_from_slice(&[digit(10), digit(1), b'\r', b'\n']);
            N + 4
        }
        100..1000 => {
            line[N..N + 5].copy_from_slice(&[digit(100), digit(10), digit(1), b'\r', b'\n']);
            N + 5
        }
        1000..10_000 => {
            line[N..N + 6].copy_from_slice(&[digit(1000), digit(100), digit(10), digit(1), b'\r', b'\n']);
            N + 6
        }
        _ => return put_long_line(out, before, length),
    };
    out.extend_from_slice(&line[..bytes]);
}

/// As [`put_line`], for a length of more digits.
#[inline(never)]
fn put_long_line(out: &mut Vec<u8>, before: &[u8], length: usize) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// One command, encoded as it is built, so that it can be queued, sent, and sent again.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// The number of its words, the name included.
    words: usize,
    /// The encoded words; the count goes before them when it is sent.
    body: Vec<u8>,
    /// See [`Command::with_secret`].
    has_secret: bool,
}

impl Command {
    /// A command of one word so far.
    pub(crate) fn new(name: impl AsRef<[u8]>) -> Self {
        Self { words: 0, body: Vec::new(), has_secret: false }.arg(name)
    }

    /// Adds one argument.
    #[must_use]
    pub(crate) fn arg(self, bytes: impl AsRef<[u8]>) -> Self {
        self.arg_parts(&[bytes.as_ref()])
    }

    /// Adds one argument given in pieces, such as a prefix and a key.
    #[must_use]
    pub(crate) fn arg_parts(mut self, parts: &[&[u8]]) -> Self {
        put_argument(&mut self.body, parts);
        self.words += 1;
        self
    }

    /// Adds a whole number in decimal.
    #[must_use]
    pub(crate) fn arg_int(self, value: i64) -> Self {
        let mut digits = itoa::Buffer::new();
        self.arg(digits.format(value))
    }

    /// Adds each as one argument.
    #[must_use]
    pub(crate) fn args<T: AsRef<[u8]>>(self, each: impl IntoIterator<Item = T>) -> Self {
        each.into_iter().fold(self, |command, bytes| command.arg(bytes))
    }

    /// Marks that an argument is a password or may be one. The text of an error reply to it is never shown, as servers
    /// repeat arguments in their errors.
    #[must_use]
    pub(crate) fn with_secret(self, has_secret: bool) -> Self {
        Self { has_secret, ..self }
    }

    pub(crate) fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// The command's name, up to the end of its first line.
    pub(crate) fn name(&self) -> &[u8] {
        self.word(0).unwrap_or_default().split(|byte| *byte == b'\r').next().unwrap_or_default()
    }

    /// The first key, as far as the name tells where keys are: the first argument, or the one behind the number of keys.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.word(if self.runs_script() { 3 } else { 1 })
    }

    /// Whether it runs a script, which may answer with any error: EVAL, EVALSHA, FCALL, and their read-only forms.
    pub(crate) fn runs_script(&self) -> bool {
        let begins = |start: &[u8]| self.name().get(..start.len()).is_some_and(|name| name.eq_ignore_ascii_case(start));
        begins(b"EVAL") || begins(b"FCALL")
    }

    /// A word, read back from the encoding: `$3\r\nGET\r\n...`. Word 0 is the name.
    pub(crate) fn word(&self, at: usize) -> Option<&[u8]> {
        let mut rest = self.body.as_slice();
        for left in (0..=at).rev() {
            let line = rest.iter().position(|byte| *byte == b'\r')?;
            let length: usize = std::str::from_utf8(rest.get(1..line)?).ok()?.parse().ok()?;
            let (word, behind) = rest.get(line + 2..)?.split_at_checked(length)?;
            if left == 0 {
                return Some(word);
            }
            rest = behind.get(2..)?;
        }
        None
    }

    /// The most bytes that it takes on the wire; a queue charges it so much.
    pub(crate) fn bytes_max(&self) -> usize {
        self.body.len() + ARGUMENT_OVERHEAD_BYTES
    }

    /// Appends the command to a batch.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes_max());
        put_header(out, b'*', self.words);
        out.extend_from_slice(&self.body);
    }
}

/// Whether the words of a command hold a password or may hold one. Decided by its name and, as an operator can rename
/// commands, by any word that announces a password. Names: <https://redis.io/docs/latest/commands/>, Valkey's words
/// beside those of Redis.
pub(crate) fn carries_secret<Word: AsRef<[u8]>>(words: &[Word]) -> bool {
    const NAMES: [&str; 5] = ["ACL", "AUTH", "CONFIG", "HELLO", "SENTINEL"];
    const ANNOUNCE: [&str; 10] = [
        "AUTH",
        "AUTH2",
        "AUTH-PASS",
        "MASTERAUTH",
        "PRIMARYAUTH",
        "REQUIREPASS",
        "SENTINEL-PASS",
        "SETUSER",
        "TLS-CLIENT-KEY-FILE-PASS",
        "TLS-KEY-FILE-PASS",
    ];
    let is = |word: &Word, names: &[&str]| names.iter().any(|name| word.as_ref().eq_ignore_ascii_case(name.as_bytes()));
    words.first().is_some_and(|name| is(name, &NAMES)) || words.iter().any(|word| is(word, &ANNOUNCE))
}

// Arguments hold passwords, webhook addresses and players' data, so none of them is ever shown.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command of {} words, {} bytes", self.words, self.body.len())
    }
}

/// A count or length line. Numbers of up to three digits, nearly all, are one store of a known size.
#[inline]
pub(crate) fn put_header(out: &mut Vec<u8>, tag: u8, number: usize) {
    let digit = |unit: usize| b'0' + (number / unit % 10) as u8;
    match number {
        0..10 => out.extend_from_slice(&[tag, digit(1), b'\r', b'\n']),
        10..100 => out.extend_from_slice(&[tag, digit(10), digit(1), b'\r', b'\n']),
        100..1000 => out.extend_from_slice(&[tag, digit(100), digit(10), digit(1), b'\r', b'\n']),
        _ => {
            out.push(tag);
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// One argument, joined from its pieces.
#[inline]
pub(crate) fn put_argument(out: &mut Vec<u8>, parts: &[&[u8]]) {
    put_header(out, b'$', parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
