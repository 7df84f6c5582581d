//! Writes the identity of each event that this process sends, and counts the events of each channel. Game thread; a hot
//! path of Emit. Nearly all of the text is written before it is needed: only the number is new for each event, and the
//! time for each millisecond.
//!
//! ```text
//!  {"victim":"Jo" | ,"_rt":"eu-1/5d0c…9a: | 42 | :1732460000123:1c291ca3 | :<fingerprint>… | "}
//!  the payload      head                    seq  end of the channel        acted
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::MEMBER;
use crate::config::limits::NUMBERED_CHANNELS_MAX;

/// Places of [`Numbering::recent`].
const RECENT: usize = 64;

/// Numbers the events that this process sends, for each channel from 1. Receivers see a gap in the numbers as lost
/// events and an old number as a repeat.
pub(crate) struct Numbering {
    boot: u64,
    /// `,"_rt":"<server>/<boot>:`
    head: String,
    /// The index of each channel in `numbers`.
    channels: HashMap<Arc<[u8]>, usize>,
    numbers: Vec<NumberedChannel>,
    /// Indices in `numbers` of the channels used last, by [`place_of`] their names: the look-up of a busy channel costs
    /// one comparison.
    recent: [usize; RECENT],
    /// The end of the current event, if its channel is not numbered.
    unnumbered: MemberEnd,
    /// The digits of the current event's number.
    digits: itoa::Buffer,
}

/// The state of one numbered channel.
struct NumberedChannel {
    name: Arc<[u8]>,
    /// The number of the last event that was queued.
    seq: u64,
    end: MemberEnd,
}

/// The text behind the number, for all events of one channel in one millisecond.
struct MemberEnd {
    sent_ms: u64,
    /// `:<sent ms>:<crc>"}`
    text: Vec<u8>,
    /// `:<crc>"}`
    tail: [u8; TAIL_BYTES],
}

const TAIL_BYTES: usize = 11;
/// The end of every member, and of its object.
const CLOSE: &[u8] = b"\"}";

/// The member of the next event. Its number is used up only by [`NextMember::taken`]: an event that a full queue
/// refuses leaves no gap.
pub(crate) struct NextMember<'a> {
    /// The member and the closing brace of the object, in pieces.
    pub(crate) pieces: [&'a [u8]; 5],
    /// The channel's last number; `None`: the channel is not numbered.
    seq: Option<&'a mut u64>,
}

impl Numbering {
    /// No channel is numbered yet.
    pub(crate) fn new(server: &str, boot: u64) -> Numbering {
        Numbering {
            boot,
            head: head(server, boot),
            channels: HashMap::new(),
            numbers: Vec::new(),
            recent: [usize::MAX; RECENT],
            unnumbered: MemberEnd::new(b"", b""),
            digits: itoa::Buffer::new(),
        }
    }

    /// Sets another server name or prefix for the following events. The numbers go on: if the prefix later returns to
    /// an earlier one, receivers would take small numbers for repeats.
    pub(crate) fn rename(&mut self, server: &str, prefix: &[u8]) {
        self.head = head(server, self.boot);
        for channel in &mut self.numbers {
            channel.end = MemberEnd::new(prefix, &channel.name);
        }
    }

    /// The member of the next event on `prefix` + `channel`, of an object with other members or without. `acted` comes
    /// from [`super::acted`]. Channels beyond [`NUMBERED_CHANNELS_MAX`] get the number 0.
    #[optimize(speed)]
    pub(crate) fn next<'a>(
        &'a mut self,
        prefix: &[u8],
        channel: &[u8],
        has_others: bool,
        sent_ms: u64,
        acted: &'a [u8],
    ) -> NextMember<'a> {
        let at = self.index(prefix, channel);
        let (seq, end) = match at.and_then(|at| self.numbers.get_mut(at)) {
            Some(known) => (Some(&mut known.seq), &mut known.end),
            None => {
                self.unnumbered = MemberEnd::new(prefix, channel);
                (None, &mut self.unnumbered)
            }
        };
        if end.sent_ms != sent_ms {
            end.set_time(sent_ms);
        }
        let digits = self.digits.format(seq.as_ref().map_or(0, |seq| **seq + 1)).as_bytes();
        let head = self.head.as_bytes();
        let head = if has_others { head } else { head.get(1..).unwrap_or_default() };
        let (end, close) = match acted {
            [] => (end.text.as_slice(), &b""[..]),
            _ => (end.text.strip_suffix(CLOSE).unwrap_or_default(), CLOSE),
        };
        NextMember { pieces: [head, digits, end, acted, close], seq }
    }

    /// The index of the channel in `numbers`; `None` if there are too many channels.
    #[inline]
    fn index(&mut self, prefix: &[u8], channel: &[u8]) -> Option<usize> {
        let place = place_of(channel);
        let recent = self.recent.get(place).copied().unwrap_or(usize::MAX);
        if self.numbers.get(recent).is_some_and(|known| *known.name == *channel) {
            return Some(recent);
        }
        self.look_up(prefix, channel, place)
    }

    #[inline(never)]
    fn look_up(&mut self, prefix: &[u8], channel: &[u8], place: usize) -> Option<usize> {
        let at = match self.channels.get(channel) {
            Some(at) => *at,
            None if self.numbers.len() < NUMBERED_CHANNELS_MAX => {
                let (at, name) = (self.numbers.len(), Arc::<[u8]>::from(channel));
                self.channels.insert(Arc::clone(&name), at);
                self.numbers.push(NumberedChannel { name, seq: 0, end: MemberEnd::new(prefix, channel) });
                at
            }
            None => return None,
        };
        if let Some(recent) = self.recent.get_mut(place) {
            *recent = at;
        }
        Some(at)
    }
}

/// For tests: how many channels are numbered.
#[cfg(test)]
impl Numbering {
    pub(super) fn channels(&self) -> usize {
        assert_eq!(self.channels.len(), self.numbers.len());
        self.numbers.len()
    }
}

/// The place of a channel in [`Numbering::recent`]. Names that share it take turns; that costs a look-up, no more.
#[inline]
fn place_of(channel: &[u8]) -> usize {
    let byte = |at: usize| usize::from(channel.get(at).copied().unwrap_or_default());
    let (len, middle) = (channel.len(), channel.len() / 2);
    (len ^ byte(len.wrapping_sub(1)) ^ byte(len.wrapping_sub(2)) << 2 ^ byte(middle) << 1) % RECENT
}

impl NextMember<'_> {
    /// True if receivers can recognise a repeat of this event, so that sending it again is safe.
    pub(crate) fn is_numbered(&self) -> bool {
        self.seq.is_some()
    }

    /// Uses up the number: the event was queued.
    pub(crate) fn taken(self) {
        if let Some(seq) = self.seq {
            *seq += 1;
        }
    }
}

impl MemberEnd {
    /// The end for one channel, without a time yet.
    fn new(prefix: &[u8], channel: &[u8]) -> MemberEnd {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(prefix);
        hasher.update(channel);
        let crc = hasher.finalize();
        let digit = |at: usize| b"0123456789abcdef"[(crc >> (28 - 4 * at) & 15) as usize];
        let mut tail = *b":........\"}";
        tail.iter_mut().skip(1).take(8).enumerate().for_each(|(at, byte)| *byte = digit(at));
        let mut end = MemberEnd { sent_ms: 0, text: Vec::with_capacity(2 + 20 + TAIL_BYTES), tail };
        end.set_time(0);
        end
    }

    #[inline(never)]
    fn set_time(&mut self, sent_ms: u64) {
        self.sent_ms = sent_ms;
        self.text.clear();
        self.text.push(b':');
        self.text.extend_from_slice(itoa::Buffer::new().format(sent_ms).as_bytes());
        self.text.extend_from_slice(&self.tail);
    }
}

/// The part of the member that is equal for all events of this process, with the comma before it.
fn head(server: &str, boot: u64) -> String {
    format!(",\"{MEMBER}\":\"{server}/{boot:016x}:")
}
