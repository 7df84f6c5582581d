//! The one thing that flows: an [`Event`] that waits for Lua, and the [`EventText`] that hooks act on.
//! Made in one allocation where the event came from, read by whoever acts on it; immutable.
//! An `Event` holds no Lua value: its payload is already decoded to a tape (`json/tape.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::ITEM_OVERHEAD_BYTES;
use crate::event::identity::Identity;
use crate::event::topic::Topic;
use crate::json::tape;

pub(crate) mod fingerprint;
pub mod glob;
pub(crate) mod identity;
pub(crate) mod ledger;
pub(crate) mod notice;
pub(crate) mod topic;

/// An event as it was published, shared by all that act on it.
#[derive(Debug)]
pub struct EventText {
    /// `channel … | payload …` in one block.
    block: Box<[u8]>,
    channel_bytes: usize,
    /// Milliseconds of Unix time at which this server saw it.
    pub(crate) unix_ms: u64,
}

impl EventText {
    /// `channel` is without the prefix; `payload` is given in pieces.
    pub fn new(channel: &[u8], payload: &[&[u8]], unix_ms: u64) -> EventText {
        let mut block = Vec::with_capacity(channel.len() + payload.iter().map(|piece| piece.len()).sum::<usize>());
        block.extend_from_slice(channel);
        payload.iter().for_each(|piece| block.extend_from_slice(piece));
        EventText { block: block.into_boxed_slice(), channel_bytes: channel.len(), unix_ms }
    }

    pub(crate) fn channel(&self) -> &[u8] {
        self.block.get(..self.channel_bytes).unwrap_or_default()
    }

    /// JSON, with or without the member `_rt`; or whatever somebody published.
    pub(crate) fn payload(&self) -> &[u8] {
        self.block.get(self.channel_bytes..).unwrap_or_default()
    }

    /// What it takes of a queue's bound.
    pub(crate) fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }

    /// The weight of one that is not made yet.
    pub(crate) fn weight_of(channel: &[u8], payload: &[u8]) -> usize {
        channel.len() + payload.len() + ITEM_OVERHEAD_BYTES
    }
}

/// An event on its way to Lua.
pub struct Event {
    topic: Arc<Topic>,
    /// `channel … | server … | tape …` in one block.
    block: Box<[u8]>,
    channel_bytes: usize,
    server_bytes: usize,
    /// The tape is the payload's text as one string.
    raw: bool,
    origin: Option<Origin>,
    received: Instant,
}

/// See [`Origin::travel`].
fn travel(sent_ms: u64, arrived_ms: u64) -> Duration {
    let travel = arrived_ms.saturating_sub(sent_ms);
    Duration::from_millis(if travel > TRAVEL_MS_MAX { 0 } else { travel })
}

/// An event older than this when it arrives has a sender whose clock is wrong, or who made the time up: it says nothing
/// about latency.
const TRAVEL_MS_MAX: u64 = 3_600_000;

/// Where an event comes from, as far as its identity tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Number on its channel; 0: none.
    pub(crate) seq: u64,
    /// Milliseconds of Unix time, by the sender's clock.
    pub(crate) sent_ms: u64,
    /// This process sent it.
    pub(crate) own: bool,
    /// From its sending to its arrival here; as true as the two clocks are. Zero where that is over an hour.
    pub(crate) travel: Duration,
}

impl Event {
    /// `channel` is without the prefix.
    pub(crate) fn new(topic: Arc<Topic>, channel: &[u8], decoded: Decoded<'_>, arrival: Arrival) -> Event {
        let Decoded { tape, raw, identity } = decoded;
        let server = identity.map_or("", |identity| identity.server).as_bytes();
        let origin = identity.map(|identity| Origin {
            seq: identity.seq,
            sent_ms: identity.sent_ms,
            own: identity.boot == arrival.own_boot,
            travel: travel(identity.sent_ms, arrival.unix_ms),
        });
        let block = [channel, server, tape].concat().into_boxed_slice();
        let (channel_bytes, server_bytes) = (channel.len(), server.len());
        Event { topic, block, channel_bytes, server_bytes, raw, origin, received: arrival.at }
    }

    /// The channel or pattern whose frame this was.
    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The channel it was published to, without the prefix.
    pub fn channel(&self) -> &[u8] {
        self.block.get(..self.channel_bytes).unwrap_or_default()
    }

    /// The name of the server it comes from, if it says so.
    pub(crate) fn server(&self) -> &[u8] {
        self.block.get(self.channel_bytes..self.channel_bytes + self.server_bytes).unwrap_or_default()
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The decoded payload.
    pub fn tape(&self) -> &[u8] {
        self.block.get(self.channel_bytes + self.server_bytes..).unwrap_or_default()
    }

    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// The same event with its payload as text: Lua could not make a value of it in time.
    #[must_use]
    pub(crate) fn into_text(mut self, text: &[u8]) -> Event {
        let mut tape = Vec::with_capacity(text.len() + 5);
        tape::push_text(&mut tape, text);
        let head = self.block.get(..self.channel_bytes + self.server_bytes).unwrap_or_default();
        self.block = [head, &tape].concat().into_boxed_slice();
        self.raw = true;
        self
    }

    pub(crate) fn received(&self) -> Instant {
        self.received
    }

    /// What it takes of a queue's bound.
    pub(crate) fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }
}

/// A payload as it was understood.
#[derive(Clone, Copy)]
pub(crate) struct Decoded<'a> {
    pub(crate) tape: &'a [u8],
    /// It is no JSON, or past the limits of decoding: the tape is its text as one string.
    pub(crate) raw: bool,
    pub(crate) identity: Option<Identity<'a>>,
}

/// When and where events came in.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// Milliseconds of Unix time.
    pub(crate) unix_ms: u64,
    /// This process.
    pub(crate) own_boot: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_no_travel() {
        let now = 1_700_000_000_000;
        let rows = [(now - 5, 5), (now, 0), (now + 5, 0), (0, 0), (u64::MAX, 0), (now - TRAVEL_MS_MAX, TRAVEL_MS_MAX)];
        for (sent, expected) in rows {
            assert_eq!(travel(sent, now), Duration::from_millis(expected), "{sent}");
        }
        assert_eq!(travel(now - TRAVEL_MS_MAX - 1, now), Duration::ZERO);
    }
}
