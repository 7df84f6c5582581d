//! Who sent an event and as which number: the member `_rt` that Emit appends to an object, and its reader.
//! Pure values. [`Numbering`] belongs to the game thread, [`Identity::parse`] and the ledger (`event/ledger.rs`) to `rt-subscriber`.
//! A member that is not exactly of this form is no identity; the event is then treated as anybody's.
//!
//! ```text
//! {"victim":"Jo","_rt":"eu-1/5d0c…9a:42:1732460000123:1c291ca3"}
//!                       |    |       |  |             |
//!                       |    |       |  |             CRC-32 of the channel on the wire, 8 hex digits
//!                       |    |       |  sent, in milliseconds of Unix time
//!                       |    |       number of the event on its channel, from 1; 0: not numbered
//!                       |    the sender's process, 16 hex digits
//!                       the sender's name (`server`)           (then, each after a colon: fingerprints of hooks that
//!                                                              acted on it where it was sent, 16 hex digits)
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use crate::config::limits::{ACTED_MAX, NUMBERED_CHANNELS_MAX};
use crate::event::fingerprint::Fingerprint;

/// The member's name.
pub(crate) const MEMBER: &str = "_rt";

/// 64 bits that are this process's own.
pub(crate) fn new_boot() -> u64 {
    // Its keys come from the system's random source; one hash of nothing is as random as they are.
    RandomState::new().build_hasher().finish()
}

/// Milliseconds of Unix time; 0 before 1970.
pub(crate) fn unix_ms(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Unix time by the monotonic clock, set by the system's once a second: one clock to read for each event.
#[derive(Default)]
pub(crate) struct UnixClock {
    set: Option<(Instant, u64)>,
}

impl UnixClock {
    /// Milliseconds of Unix time at `now`; `read` asks the system.
    pub(crate) fn ms(&mut self, now: Instant, read: impl FnOnce() -> SystemTime) -> u64 {
        if let Some((at, ms)) = self.set {
            let since = now.saturating_duration_since(at);
            if since < Duration::from_secs(1) {
                return ms + u64::from(since.subsec_millis());
            }
        }
        let ms = unix_ms(read());
        self.set = Some((now, ms));
        ms
    }
}

/// What one event says of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    pub(crate) server: &'a str,
    pub(crate) boot: u64,
    /// 0: the sender does not number this channel.
    pub(crate) seq: u64,
    pub(crate) sent_ms: u64,
    /// Fingerprints of the hooks that have acted, 16 hex digits each, with colons between.
    acted: &'a str,
}

impl<'a> Identity<'a> {
    /// Reads the member's text. `None` if it is malformed, or speaks of another channel: somebody relayed the event.
    pub(crate) fn parse(text: &'a [u8], wire_channel: &[u8]) -> Option<Identity<'a>> {
        let (server, rest) = std::str::from_utf8(text).ok()?.split_once('/')?;
        let mut parts = rest.splitn(5, ':');
        let boot = hex(parts.next()?, 16)?;
        let (seq, sent_ms) = (decimal(parts.next()?)?, decimal(parts.next()?)?);
        let channel_crc = hex(parts.next()?, 8)?;
        let acted = parts.next().unwrap_or_default();
        if acted.len() > ACTED_BYTES_MAX {
            return None;
        }
        let is_server = crate::config::is_server_name(server);
        let matches = is_server && channel_crc == u64::from(crc32fast::hash(wire_channel));
        matches.then_some(Identity { server, boot, seq, sent_ms, acted })
    }

    /// Whether the hook of this fingerprint has acted on the event, by its sender's word.
    pub(crate) fn has_acted(&self, fingerprint: Fingerprint) -> bool {
        !self.acted.is_empty() && {
            let wanted = fingerprint.to_string();
            self.acted.split(':').any(|acted| acted == wanted || acted == EVERY_HOOK)
        }
    }
}

/// No server lists more hooks, and each hook of a receiver looks through the list.
const ACTED_BYTES_MAX: usize = ACTED_MAX * 17 - 1;

/// In the place of fingerprints: there are too many to list, so every hook is taken to have acted.
const EVERY_HOOK: &str = "*";

/// What an event's identity tells of the hooks that act on it where it is sent: `:<fingerprint>` for each.
pub(crate) fn acted(fingerprints: impl IntoIterator<Item = Fingerprint>) -> Box<[u8]> {
    let list: Vec<String> = fingerprints.into_iter().map(|fingerprint| format!(":{fingerprint}")).collect();
    let list = if list.len() > ACTED_MAX { format!(":{EVERY_HOOK}") } else { list.concat() };
    list.into_bytes().into()
}

/// Exactly `digits` digits of hexadecimal, lower case.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let lower = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { u64::from_str_radix(text, 16).ok() } else { None }
}

/// A number that Lua can hold: at most 2^53.
fn decimal(text: &str) -> Option<u64> {
    let digits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok().filter(|number| *number <= 1 << 53) } else { None }
}

/// Numbers the events of this process, channel by channel.
pub(crate) struct Numbering {
    boot: u64,
    /// `"_rt":"<server>/<boot>:`
    head: String,
    /// Where in `numbers` each channel stands: one look-up an event.
    channels: HashMap<Box<[u8]>, usize>,
    numbers: Vec<Channel>,
    /// Where the member of the event at hand is written, reused.
    member: Vec<u8>,
}

struct Channel {
    /// Of the last event taken.
    seq: u64,
    /// `:<crc>`
    tail: [u8; 9],
}

/// The number that an event will have if it is taken.
pub(crate) struct Next<'a> {
    /// The member and the object's closing brace.
    pub(crate) member: &'a [u8],
    channel: Option<&'a mut Channel>,
}

impl Numbering {
    pub(crate) fn new(server: &str, boot: u64) -> Numbering {
        Numbering { boot, head: head(server, boot), channels: HashMap::new(), numbers: Vec::new(), member: Vec::new() }
    }

    /// Another name or prefix from now on. Numbers go on: under a prefix of before, a number of before would be
    /// taken for a repeat.
    pub(crate) fn rename(&mut self, server: &str, prefix: &[u8]) {
        self.head = head(server, self.boot);
        for (channel, at) in &self.channels {
            if let Some(known) = self.numbers.get_mut(*at) {
                known.tail = tail(prefix, channel);
            }
        }
    }

    /// The member for the next event on `prefix` + `channel`; `acted` is made by [`acted`]. Beyond
    /// [`NUMBERED_CHANNELS_MAX`] channels: number 0.
    pub(crate) fn next(&mut self, prefix: &[u8], channel: &[u8], sent_ms: u64, acted: &[u8]) -> Next<'_> {
        let known = self.channels.get(channel).copied();
        let numbered = match known {
            None if self.numbers.len() < NUMBERED_CHANNELS_MAX => {
                self.channels.insert(channel.into(), self.numbers.len());
                self.numbers.push(Channel { seq: 0, tail: tail(prefix, channel) });
                self.numbers.last_mut()
            }
            known => known.and_then(|at| self.numbers.get_mut(at)),
        };
        let (seq, tail) = match &numbered {
            Some(known) => (known.seq + 1, known.tail),
            None => (0, tail(prefix, channel)),
        };
        let mut digits = itoa::Buffer::new();
        self.member.clear();
        self.member.extend_from_slice(self.head.as_bytes());
        self.member.extend_from_slice(digits.format(seq).as_bytes());
        self.member.push(b':');
        self.member.extend_from_slice(digits.format(sent_ms).as_bytes());
        self.member.extend_from_slice(&tail);
        self.member.extend_from_slice(acted);
        self.member.extend_from_slice(b"\"}");
        Next { member: &self.member, channel: numbered }
    }
}

impl Next<'_> {
    /// Whether a receiver can tell a repeat of this event.
    pub(crate) fn is_numbered(&self) -> bool {
        self.channel.is_some()
    }

    /// The event is on its way: its number is used up.
    pub(crate) fn taken(self) {
        if let Some(channel) = self.channel {
            channel.seq += 1;
        }
    }
}

fn head(server: &str, boot: u64) -> String {
    format!("\"{MEMBER}\":\"{server}/{boot:016x}:")
}

fn tail(prefix: &[u8], channel: &[u8]) -> [u8; 9] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix);
    hasher.update(channel);
    let crc = hasher.finalize();
    let digit = |at: usize| b"0123456789abcdef"[(crc >> (28 - 4 * at) & 15) as usize];
    let mut tail = *b":........";
    tail.iter_mut().skip(1).take(8).enumerate().for_each(|(at, byte)| *byte = digit(at));
    tail
}

/// The parts that make an object with the member as its last: text up to the closing brace, then a comma if it needs
/// one. `None` if the text is no object. `text` is JSON.
pub(crate) fn open_object(text: &[u8]) -> Option<(&[u8], &'static [u8])> {
    let text = text.trim_ascii();
    let inner = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
    let comma: &[u8] = if inner.trim_ascii_start().is_empty() { b"" } else { b"," };
    Some((text.strip_suffix(b"}")?, comma))
}

#[cfg(test)]
mod tests;
