//! Global rate limits of Discord: one pause for all Discord destinations of an origin (scheme, host and port).
//! Owned by the schedule; pure. Holds a bounded number of origins.

use std::collections::HashMap;
use std::time::Instant;

use super::DESTINATIONS_MAX;

/// The end of the pause of each origin.
#[derive(Default)]
pub(super) struct OriginPauses(pub(super) HashMap<Box<str>, Instant>);

impl OriginPauses {
    /// Pauses the origin until this moment. A longer pause that is already running stays. If there are too many origins,
    /// ended pauses are forgotten first, then the one that ends soonest: forgetting it costs the least.
    pub(super) fn pause(&mut self, now: Instant, origin: &str, until: Instant) {
        let until = self.0.get(origin).copied().max(Some(until)).unwrap_or(until);
        self.0.insert(origin.into(), until);
        if self.0.len() > DESTINATIONS_MAX {
            self.0.retain(|_, until| *until > now);
            let first = self.0.iter().min_by_key(|(_, until)| **until).map(|(origin, _)| origin.clone());
            first.filter(|_| self.0.len() > DESTINATIONS_MAX).map(|origin| self.0.remove(&origin));
        }
    }

    /// The end of the origin's pause, which may be over. `None`: it was never paused.
    pub(super) fn until(&self, origin: &str) -> Option<Instant> {
        self.0.get(origin).copied()
    }
}
