//! The identity of an event: its sender and its number, in the member `_rt` that Emit appends to an object.
//! Pure values. The game thread writes identities (`identity/numbering.rs`); `rt-subscriber` reads them ([`Identity::parse`]) and
//! compares their numbers (`event/ledger.rs`).
//! A member that deviates from this form is no identity: the event counts as one of another program.
//!
//! ```text
//! {"victim":"Jo","_rt":"eu-1/5d0c…9a:42:1732460000123:1c291ca3"}
//!                       |    |       |  |             |
//!                       |    |       |  |             CRC-32 of the channel on the wire, 8 hex digits
//!                       |    |       |  sent, in milliseconds of Unix time
//!                       |    |       number of the event on its channel, from 1; 0: not numbered
//!                       |    the sender's process (its boot number), 16 hex digits
//!                       the sender's name (`server`)           (then, each after a colon: the fingerprint of a hook
//!                                                              that acted at the sender, 16 hex digits; or, of more
//!                                                              than 48 hooks, `*:` and the first 8 digits of each;
//!                                                              or, of more than 101, `*`; at last, for an event
//!                                                              that Redis keeps: `@` and its entry in the stream,
//!                                                              which Redis adds)
//! ```
//!
//! The checksum of the channel exposes a relay: a program that publishes the event again on another channel, where the
//! number means nothing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use crate::config::limits::ACTED_MAX;
use crate::event::fingerprint::Fingerprint;
use crate::event::stream_id::StreamId;

pub(crate) use numbering::Numbering;

mod numbering;

/// The name of the member.
pub const MEMBER: &str = "_rt";

/// A boot number: 64 random bits that name this process. A restarted server is a new sender, as its numbers start anew.
pub(crate) fn new_boot() -> u64 {
    // The keys of `RandomState` come from the system's random source: the hash of no input is as random as they are.
    RandomState::new().build_hasher().finish()
}

/// Milliseconds of Unix time; 0 before 1970.
pub fn unix_ms(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Unix time, computed from the monotonic clock and set by the system's clock once a second. Emit reads the monotonic
/// clock anyway, so most events cost one reading of a clock and not two.
#[derive(Default)]
pub(crate) struct UnixClock {
    /// The last setting: the same moment by both clocks.
    set: Option<(Instant, u64)>,
}

impl UnixClock {
    /// Milliseconds of Unix time at `now`. `read` reads the system's clock.
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

/// A parsed identity. Anybody who may publish can forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The name of the sender, for scripts.
    pub server: &'a str,
    /// The boot number of the sender.
    pub boot: u64,
    /// The number of the event. 0: the sender does not number this channel.
    pub seq: u64,
    /// The time of sending, in milliseconds of Unix time by the sender's clock.
    pub(crate) sent_ms: u64,
    /// The entry of its stream, if Redis keeps the event (`redis/kept.rs`).
    pub(crate) kept: StreamId,
    /// The hooks that acted at the sender, as [`acted`] writes them, without the first colon.
    acted: &'a str,
}

impl<'a> Identity<'a> {
    /// Parses the text of the member. `None` if it is malformed, or if its checksum belongs to another channel: then a
    /// relay published the event again.
    #[optimize(speed)]
    pub fn parse(text: &'a [u8], wire_channel: &[u8]) -> Option<Identity<'a>> {
        let slash = text.iter().position(|byte| *byte == b'/')?;
        let (server, rest) = (text.get(..slash)?, text.get(slash + 1..)?);
        let server = std::str::from_utf8(server).ok().filter(|server| crate::config::is_server_name(server))?;
        let (boot, rest) = hex::<16>(rest)?;
        let (seq, rest) = decimal(rest.strip_prefix(b":")?)?;
        let (sent_ms, rest) = decimal(rest.strip_prefix(b":")?)?;
        let (channel_crc, rest) = hex::<8>(rest.strip_prefix(b":")?)?;
        let (rest, kept) = if rest.is_empty() { (rest, StreamId::NONE) } else { kept(rest)? };
        let acted = if rest.is_empty() { rest } else { rest.strip_prefix(b":")? };
        if acted.len() > ACTED_BYTES_MAX || channel_crc != u64::from(crc32fast::hash(wire_channel)) {
            return None;
        }
        Some(Identity { server, boot, seq, sent_ms, kept, acted: std::str::from_utf8(acted).ok()? })
    }

    /// The identity of an event that was read from this entry of its stream.
    pub(crate) fn at(self, entry: StreamId) -> Identity<'a> {
        Identity { kept: entry, ..self }
    }

    /// True if the hook of this fingerprint has already acted on the event for the fleet, according to the sender.
    pub(crate) fn has_acted(&self, fingerprint: Fingerprint) -> bool {
        if self.acted.is_empty() {
            return false;
        }
        let wanted = fingerprint.to_string();
        match self.acted.strip_prefix(EVERY_HOOK) {
            None => self.acted.split(':').any(|acted| acted == wanted),
            // A list that is none counts as every hook: nobody may act twice.
            Some(list) => list.strip_prefix(':').is_none_or(|short| {
                short.as_bytes().chunks(SHORT_DIGITS).any(|acted| wanted.as_bytes().starts_with(acted))
            }),
        }
    }

    /// True if the sender has too many hooks to list them.
    pub(crate) fn lists_none(&self) -> bool {
        self.acted == EVERY_HOOK
    }
}

/// Splits the entry of the stream off, `:@1732460000123-0`. `None`: it is malformed.
fn kept(rest: &[u8]) -> Option<(&[u8], StreamId)> {
    let Some(at) = rest.iter().rposition(|byte| *byte == b'@') else { return Some((rest, StreamId::NONE)) };
    let (before, id) = rest.split_at_checked(at)?;
    Some((before.strip_suffix(b":")?, StreamId::parse(id.get(1..)?)?))
}

/// Longest list of fingerprints, in bytes. No server writes a longer one, and every hook of a receiver searches it.
const ACTED_BYTES_MAX: usize = ACTED_MAX * 17 - 1;

/// Stands for a list that would be too long: every hook counts as having acted. So a receiver may act too seldom, but
/// never twice. Older versions read it so even if a list in short follows.
const EVERY_HOOK: &str = "*";

/// The list of a server that has too many hooks.
pub(crate) const LISTS_NONE: &[u8] = b":*";

/// Digits of a fingerprint in a list in short. A hook that is not in it passes for one of a hundred with a chance of 1 in
/// 40 million.
const SHORT_DIGITS: usize = 8;

/// Most hooks of a list in short, which is no longer than the other list.
pub(crate) const ACTED_SHORT_MAX: usize = (ACTED_BYTES_MAX - 2) / SHORT_DIGITS;

/// The end of an identity that lists the hooks which act at the sender: `:<fingerprint>` for each, or in short.
pub(crate) fn acted(fingerprints: impl IntoIterator<Item = Fingerprint>) -> Box<[u8]> {
    let all: Vec<String> =
        fingerprints.into_iter().take(ACTED_SHORT_MAX + 1).map(|fingerprint| fingerprint.to_string()).collect();
    if all.len() > ACTED_SHORT_MAX {
        return LISTS_NONE.into();
    }
    let list = if all.len() > ACTED_MAX {
        let short = all.iter().filter_map(|fingerprint| fingerprint.get(..SHORT_DIGITS));
        format!(":{EVERY_HOOK}:{}", short.collect::<String>())
    } else {
        all.iter().map(|fingerprint| format!(":{fingerprint}")).collect()
    };
    list.into_bytes().into()
}

/// Reads exactly so many hexadecimal digits in lower case. Returns the bytes behind them too.
#[inline(always)]
fn hex<const DIGITS: usize>(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<DIGITS>()?;
    let mut number = 0;
    for byte in digits {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u64::from(digit);
    }
    Some((number, rest))
}

/// Most digits of a number in an identity: with so many it cannot overflow.
const DIGITS_MAX: usize = 16;

/// Reads a decimal number of at most 2^53: a Lua number is exact up to there. Returns the bytes behind it too.
#[inline(always)]
fn decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut digits) = (0, 0);
    while let Some(byte @ b'0'..=b'9') = text.get(digits) {
        if digits == DIGITS_MAX {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
        digits += 1;
    }
    (digits > 0 && number <= 1 << 53).then_some((number, text.get(digits..)?))
}

/// Opens a JSON object for one more member: returns its text without the closing brace, and whether the object has other
/// members. `None` if the JSON `text` is not an object: it cannot have an identity.
#[inline]
pub(crate) fn open_object(text: &[u8]) -> Option<(&[u8], bool)> {
    let text = text.trim_ascii();
    let inner = text.strip_prefix(b"{")?.strip_suffix(b"}")?;
    Some((text.strip_suffix(b"}")?, inner.iter().any(|byte| !byte.is_ascii_whitespace())))
}

#[cfg(test)]
mod tests;
