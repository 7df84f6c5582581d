//! Events in their two forms: [`Event`], decoded and waiting for Lua, and [`EventText`], the text on which hooks act.
//! The thread that receives or emits an event makes them, each in one allocation. All threads read them; they never
//! change.
//! An `Event` contains no Lua value: its payload is decoded to a tape (`json/tape.rs`), which any thread can build.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::ITEM_OVERHEAD_BYTES;
use crate::event::identity::Identity;
use crate::event::stream_id::StreamId;
use crate::event::topic::Topic;
use crate::json::bytes::{ByteSink, Bytes};
use crate::json::tape;

pub(crate) mod fingerprint;
pub mod glob;
pub(crate) mod identity;
pub(crate) mod keyed;
pub(crate) mod ledger;
pub(crate) mod notice;
pub(crate) mod payload;
pub(crate) mod stream_id;
pub(crate) mod topic;

/// An event as it was published. All jobs for it share one.
#[derive(Debug)]
pub struct EventText {
    /// `channel … | payload …` in one allocation.
    block: Box<[u8]>,
    channel_bytes: usize,
    /// The time at which this server received or sent it, in milliseconds of Unix time.
    pub(crate) unix_ms: u64,
}

impl EventText {
    /// `channel` has no prefix. The payload comes in pieces, which are copied once.
    pub fn new(channel: &[u8], payload: &[&[u8]], unix_ms: u64) -> EventText {
        let mut block = Vec::with_capacity(channel.len() + payload.iter().map(|piece| piece.len()).sum::<usize>());
        block.extend_from_slice(channel);
        payload.iter().for_each(|piece| block.extend_from_slice(piece));
        EventText { block: block.into_boxed_slice(), channel_bytes: channel.len(), unix_ms }
    }

    /// The channel without the prefix.
    pub(crate) fn channel(&self) -> &[u8] {
        self.block.get(..self.channel_bytes).unwrap_or_default()
    }

    /// The payload: JSON, with or without the member `_rt`, or any bytes of another program.
    pub(crate) fn payload(&self) -> &[u8] {
        self.block.get(self.channel_bytes..).unwrap_or_default()
    }

    /// The bytes that it counts toward the bound of a queue.
    pub(crate) fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }

    /// The weight of an event before it is made: the game thread reserves room for it first.
    pub(crate) fn weight_of(channel: &[u8], payload: &[u8]) -> usize {
        channel.len() + payload.len() + ITEM_OVERHEAD_BYTES
    }
}

/// An event on its way to Lua.
pub struct Event {
    head: EventHead,
    /// `channel … | server … | tape …` from `start` on, in the block of its chunk (`threads/chunks.rs`).
    block: Arc<Bytes>,
    start: usize,
}

/// The part of an event that is not bytes.
#[derive(Clone)]
pub(crate) struct EventHead {
    topic: Arc<Topic>,
    channel_bytes: usize,
    server_bytes: usize,
    /// Bytes of all three parts.
    bytes: usize,
    /// The payload is not JSON, so the tape is its text as one string.
    raw: bool,
    origin: Option<EventOrigin>,
    received: Instant,
}

/// An event for Lua in the memory of the thread that received it.
pub(crate) struct Arrived<'a> {
    pub(crate) topic: Arc<Topic>,
    /// Without the prefix.
    pub(crate) channel: &'a [u8],
    pub(crate) decoded: Decoded<'a>,
    pub(crate) arrival: Arrival,
}

impl<'a> Arrived<'a> {
    /// The head of the event, and its bytes in three parts.
    #[optimize(speed)]
    pub(crate) fn parts(self) -> (EventHead, [&'a [u8]; 3]) {
        let Arrived { topic, channel, decoded: Decoded { tape, raw, identity }, arrival } = self;
        let server = identity.map_or("", |identity| identity.server).as_bytes();
        let origin = identity.map(|identity| EventOrigin {
            boot: identity.boot,
            seq: identity.seq,
            kept: identity.kept,
            sent_ms: identity.sent_ms,
            own: identity.boot == arrival.own_boot,
            travel: travel(identity.sent_ms, arrival.unix_ms),
        });
        let (channel_bytes, server_bytes) = (channel.len(), server.len());
        let bytes = channel_bytes + server_bytes + tape.len();
        let head = EventHead { topic, channel_bytes, server_bytes, bytes, raw, origin, received: arrival.at };
        (head, [channel, server, tape])
    }
}

impl EventHead {
    /// Bytes of the event's three parts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The event whose parts begin at `start` of the block.
    pub(crate) fn at(self, block: Arc<Bytes>, start: usize) -> Event {
        Event { head: self, block, start }
    }
}

/// The value of [`EventOrigin::travel`].
fn travel(sent_ms: u64, arrived_ms: u64) -> Duration {
    let travel = arrived_ms.saturating_sub(sent_ms);
    Duration::from_millis(if travel > TRAVEL_MS_MAX { 0 } else { travel })
}

/// Longest believable time on the way. If it is longer, the sender's clock is wrong or the time is forged, so it says
/// nothing about latency.
const TRAVEL_MS_MAX: u64 = 3_600_000;

/// The origin of an event according to its identity. Anybody who may publish can forge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventOrigin {
    /// The boot number of its sender.
    pub(crate) boot: u64,
    /// Its entry in the stream of its channel, if Redis keeps it.
    pub(crate) kept: StreamId,
    /// Its number on its channel. 0: the sender does not number this channel.
    pub(crate) seq: u64,
    /// The time of sending in milliseconds of Unix time, by the sender's clock.
    pub(crate) sent_ms: u64,
    /// This process sent it.
    pub(crate) own: bool,
    /// The time from sending to arrival, as accurate as the two clocks are. Zero if the clocks claim more than an hour.
    pub(crate) travel: Duration,
}

impl Event {
    /// An event in memory of its own, not in that of a queue.
    pub(crate) fn new(arrived: Arrived<'_>) -> Event {
        let (head, parts) = arrived.parts();
        let mut block = Bytes::new();
        parts.iter().for_each(|part| block.push_bytes(part));
        head.at(Arc::new(block), 0)
    }

    /// A copy in memory of its own: the event itself keeps the memory of its whole chunk.
    pub(crate) fn copied(&self) -> Event {
        let mut block = Bytes::new();
        block.push_bytes(self.part(0, self.head.bytes));
        self.head.clone().at(Arc::new(block), 0)
    }

    /// Bytes of its three parts.
    pub(crate) fn bytes(&self) -> usize {
        self.head.bytes
    }

    /// The channel or pattern of the subscription that brought it.
    pub(crate) fn topic(&self) -> &Topic {
        &self.head.topic
    }

    /// The channel to which it was published, without the prefix.
    pub fn channel(&self) -> &[u8] {
        self.part(0, self.head.channel_bytes)
    }

    /// The name of its sender according to its identity. Empty without an identity.
    pub(crate) fn server(&self) -> &[u8] {
        self.part(self.head.channel_bytes, self.head.channel_bytes + self.head.server_bytes)
    }

    /// `None` if the event has no valid identity: another program published it, or relayed it.
    pub(crate) fn origin(&self) -> Option<&EventOrigin> {
        self.head.origin.as_ref()
    }

    /// The decoded payload.
    pub fn tape(&self) -> &[u8] {
        self.part(self.head.channel_bytes + self.head.server_bytes, self.head.bytes)
    }

    /// True if the payload is not JSON: Lua gets its text.
    pub fn is_raw(&self) -> bool {
        self.head.raw
    }

    /// The same event with its payload as text. Used if Lua could not build a table from it in time.
    #[must_use]
    pub(crate) fn into_text(mut self, text: &[u8]) -> Event {
        let mut tape = Vec::with_capacity(text.len() + 5);
        tape::push_text(&mut tape, text);
        let mut block = Bytes::new();
        for part in [self.channel(), self.server(), &tape] {
            block.push_bytes(part);
        }
        (self.head.bytes, self.head.raw) = (block.len(), true);
        (self.block, self.start) = (Arc::new(block), 0);
        self
    }

    /// The time of arrival, from which its wait in the inbox is measured.
    pub(crate) fn received(&self) -> Instant {
        self.head.received
    }

    /// The bytes from `from` to `to` of its own.
    #[inline]
    fn part(&self, from: usize, to: usize) -> &[u8] {
        self.block.get(self.start + from..self.start + to).unwrap_or_default()
    }
}

/// A decoded payload.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    /// Without the member `_rt`.
    pub(crate) tape: &'a [u8],
    /// The payload is not JSON or exceeds the limits of decoding, so the tape is its text as one string.
    pub(crate) raw: bool,
    pub(crate) identity: Option<Identity<'a>>,
}

/// The time of arrival by both clocks, and the receiving process. One for all events of one read.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// Milliseconds of Unix time.
    pub(crate) unix_ms: u64,
    /// The boot number of this process: an event with it is its own.
    pub(crate) own_boot: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_counts_as_no_travel_time() {
        let now = 1_700_000_000_000;
        let rows = [(now - 5, 5), (now, 0), (now + 5, 0), (0, 0), (u64::MAX, 0), (now - TRAVEL_MS_MAX, TRAVEL_MS_MAX)];
        for (sent, expected) in rows {
            assert_eq!(travel(sent, now), Duration::from_millis(expected), "{sent}");
        }
        assert_eq!(travel(now - TRAVEL_MS_MAX - 1, now), Duration::ZERO);
    }
}
