//! The one thing that flows: an [`Event`] that came from Redis and waits for Lua.
//! Made on `rt-subscriber` in one allocation, read on the game thread; immutable.
//! Holds no Lua value and no JSON: the payload is already decoded to a tape (`json/tape.rs`).

use std::sync::Arc;
use std::time::Instant;

use crate::config::ITEM_OVERHEAD_BYTES;
use crate::routes::Topic;

/// An event on its way to the listeners of one topic.
pub struct Event {
    topic: Arc<Topic>,
    /// `channel … | tape …` in one block.
    block: Box<[u8]>,
    channel_bytes: usize,
    /// The payload is no JSON: the tape is its bytes as one string.
    raw: bool,
    received: Instant,
}

impl Event {
    /// `block` is the channel's bytes, then the tape.
    pub fn new(topic: Arc<Topic>, block: Box<[u8]>, channel_bytes: usize, raw: bool, received: Instant) -> Event {
        debug_assert!(channel_bytes <= block.len());
        Event { topic, block, channel_bytes, raw, received }
    }

    /// The channel or pattern whose frame this was.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The channel it was published to, without the prefix.
    pub fn channel(&self) -> &[u8] {
        self.block.get(..self.channel_bytes).unwrap_or_default()
    }

    /// The decoded payload.
    pub fn tape(&self) -> &[u8] {
        self.block.get(self.channel_bytes..).unwrap_or_default()
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
