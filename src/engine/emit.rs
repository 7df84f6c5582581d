//! `Emit`: one event leaves this server. Game thread only; never waits.
//! The event goes to Redis and, if hooks or aggregators of this server act on it, to `rt-actions`. Either both queues
//! take it or neither does. Emit is the hottest path of a script, so it looks hooks up in a cache (`matched.rs`).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::config::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::engine::{Engine, Refusal, fits};
use crate::event::{EventText, identity};
use crate::hooks::routes::Matched;
use crate::threads::publisher::outbox::Leaving;

impl Engine {
    /// Queues one event. `payload` is JSON text.
    ///
    /// A payload that is an object gets an identity (server, number, time), which the receivers use to deduplicate and
    /// to find gaps. Without an identity nobody can recognize the event as this server's own, so hooks do not act on it
    /// here but when Redis sends it back.
    #[optimize(speed)]
    pub fn emit(&mut self, channel: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        self.admit()?;
        let fit = fits("channel", channel, NAME_BYTES_MAX).and_then(|()| fits("payload", payload, PAYLOAD_BYTES_MAX));
        if let Err(refusal) = fit {
            self.shared.stats.refused_too_large.add(1);
            return Err(refusal);
        }
        // The publisher holds the event back until the subscriptions of this version stand: On, then Emit, is heard.
        self.publish_changes();
        let matched = self.matched(channel);
        let Engine { shared, config, numbering, clock, routes_version, .. } = self;
        let (prefix, emitted) = (config.prefix.as_bytes(), Instant::now());
        let object = if config.identity { identity::open_object(payload) } else { None };
        let plain: [&[u8]; 6] = [payload, b"", b"", b"", b"", b""];
        let (routes_version, repeatable) = (*routes_version, false);
        let mut leaving = Leaving { prefix, channel, payload: plain, routes_version, repeatable, emitted };
        let Some((open, has_others)) = object else {
            shared.outbox.publish(&leaving)?;
            return Ok(());
        };
        let matched = match matched {
            // The place is reserved first: an early return gives it back, but nothing takes a published event back.
            Some(matched) => Some((shared.actions.reserve(EventText::weight_of(channel, payload))?, matched)),
            None => None,
        };
        let unix_ms = clock.ms(emitted, SystemTime::now);
        let acted = matched.as_ref().map_or(&[][..], |(_, matched)| &matched.acted);
        let next = numbering.next(prefix, channel, has_others, unix_ms, acted);
        let [head, seq, end, acted, close] = next.pieces;
        (leaving.payload, leaving.repeatable) = ([open, head, seq, end, acted, close], next.is_numbered());
        shared.outbox.publish(&leaving)?;
        // Only now: a refused event must not use a number up, or receivers would count it as missed.
        next.taken();
        if let Some((place, matched)) = matched {
            place.fill(Arc::new(EventText::new(channel, &[payload], unix_ms)), matched);
        }
        Ok(())
    }

    /// The hooks and aggregators that act on the events of this channel; `None` if there are none.
    fn matched(&mut self, channel: &[u8]) -> Option<Arc<Matched>> {
        // Servers without hooks do not even pay for the cache.
        if self.hooks.is_empty() && self.aggregators.is_empty() {
            return None;
        }
        self.matched.get(&self.routes, channel)
    }
}
