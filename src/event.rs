//! The one thing that flows: an [`Event`] that came from Redis and waits for Lua.
//! Made on `rt-subscriber` in one allocation, read on the game thread; immutable.
//! Holds no Lua value and no JSON: the payload is already decoded to a tape (`json/tape.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::ITEM_OVERHEAD_BYTES;
use crate::identity::Identity;
use crate::routes::Topic;

/// An event on its way to the listeners of one topic.
pub struct Event {
    topic: Arc<Topic>,
    /// `channel … | server … | tape …` in one block.
    block: Box<[u8]>,
    channel_bytes: usize,
    server_bytes: usize,
    /// The payload is no JSON: the tape is its bytes as one string.
    raw: bool,
    origin: Option<Origin>,
    received: Instant,
}

/// Where an event comes from, as far as its identity tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Number on its channel; 0: none.
    pub seq: u64,
    /// Milliseconds of Unix time, by the sender's clock.
    pub sent_ms: u64,
    /// This process sent it.
    pub own: bool,
    /// From its sending to its arrival here; as true as the two clocks are.
    pub travel: Duration,
}

impl Event {
    /// `channel` is without the prefix.
    pub fn new(topic: Arc<Topic>, channel: &[u8], decoded: Decoded<'_>, arrival: Arrival) -> Event {
        let Decoded { tape, raw, identity } = decoded;
        let server = identity.map_or("", |identity| identity.server).as_bytes();
        let origin = identity.map(|identity| Origin {
            seq: identity.seq,
            sent_ms: identity.sent_ms,
            own: identity.boot == arrival.own_boot,
            travel: Duration::from_millis(arrival.unix_ms.saturating_sub(identity.sent_ms)),
        });
        let block = [channel, server, tape].concat().into_boxed_slice();
        let (channel_bytes, server_bytes) = (channel.len(), server.len());
        Event { topic, block, channel_bytes, server_bytes, raw, origin, received: arrival.at }
    }

    /// The channel or pattern whose frame this was.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The channel it was published to, without the prefix.
    pub fn channel(&self) -> &[u8] {
        self.block.get(..self.channel_bytes).unwrap_or_default()
    }

    /// The name of the server it comes from, if it says so.
    pub fn server(&self) -> &[u8] {
        self.block.get(self.channel_bytes..self.channel_bytes + self.server_bytes).unwrap_or_default()
    }

    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The decoded payload.
    pub fn tape(&self) -> &[u8] {
        self.block.get(self.channel_bytes + self.server_bytes..).unwrap_or_default()
    }

    pub fn is_raw(&self) -> bool {
        self.raw
    }

    pub fn received(&self) -> Instant {
        self.received
    }

    /// What it takes of a queue's bound.
    pub fn weight(&self) -> usize {
        self.block.len() + ITEM_OVERHEAD_BYTES
    }
}

/// A payload as it was understood.
#[derive(Clone, Copy)]
pub struct Decoded<'a> {
    pub tape: &'a [u8],
    /// It is no JSON: the tape is its bytes as one string.
    pub raw: bool,
    pub identity: Option<Identity<'a>>,
}

/// When and where events came in.
#[derive(Clone, Copy)]
pub struct Arrival {
    pub at: Instant,
    /// Milliseconds of Unix time.
    pub unix_ms: u64,
    /// This process.
    pub own_boot: u64,
}
