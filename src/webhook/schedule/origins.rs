//! Global rate limits of Discord: one pause for all Discord destinations of an origin (scheme, host and port).
//! Owned by the schedule; pure. Holds a bounded number of origins.

use std::time::Instant;

use super::DESTINATIONS_MAX;

/// The end of the pause of each origin.
#[derive(Default)]
pub(super) struct OriginPauses(pub(super) Vec<(Box<str>, Instant)>);

impl OriginPauses {
    /// Pauses the origin until this moment. A longer pause that is already running stays. If there are too many origins,
    /// ended pauses are forgotten first, then the one that ends soonest: forgetting it costs the least.
    pub(super) fn pause(&mut self, now: Instant, origin: &str, until: Instant) {
        match self.0.iter_mut().find(|(known, _)| **known == *origin) {
            Some((_, known)) => *known = until.max(*known),
            None => self.0.push((origin.into(), until)),
        }
        if self.0.len() > DESTINATIONS_MAX {
            self.0.retain(|(_, until)| *until > now);
        }
        if self.0.len() > DESTINATIONS_MAX {
            let first = self.0.iter().enumerate().min_by_key(|(_, (_, until))| *until).map(|(at, _)| at);
            first.map(|at| self.0.swap_remove(at));
        }
    }

    /// The end of the origin's pause, which may be over. `None`: it was never paused.
    pub(super) fn until(&self, origin: &str) -> Option<Instant> {
        self.0.iter().find(|(known, _)| **known == *origin).map(|(_, until)| *until)
    }
}
