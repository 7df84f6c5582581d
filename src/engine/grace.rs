//! The grace period after a map change: how long registrations of the previous Lua state stay in force.
//! Game thread only. Pure: the clock is an argument.
//!
//! ```text
//!  attach ──▶ first tick ────── GRACE ──────▶ drop everything that the new state did not register again
//!  restart()     begin()                       is_over()
//! ```

use std::time::{Duration, Instant};

/// How long after the first tick of a new Lua state the registrations of the previous state stay. Scripts register
/// while they load or shortly after; without this time each map change would drop and renew every subscription, and
/// lose the events in between.
const GRACE: Duration = Duration::from_secs(5);

/// The end of the grace period of the attached state.
#[derive(Default)]
pub(crate) struct Grace {
    ends: Option<Instant>,
}

impl Grace {
    /// A Lua state ended: the next one has a grace period of its own. It begins at the first tick and not at once,
    /// because loading a map may take minutes.
    pub(crate) fn restart(&mut self) {
        self.ends = None;
    }

    /// Begins the period, unless it has begun already.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.ends.get_or_insert(now + GRACE);
    }

    /// Once over, it stays over until [`Grace::restart`].
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now >= ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_period_begins_with_the_first_tick_and_is_over_once() {
        let (mut grace, start) = (Grace::default(), Instant::now());
        assert!(!grace.is_over(start + Duration::from_secs(60)), "before the first tick nothing ends");
        grace.begin(start);
        grace.begin(start + Duration::from_secs(4));
        for millis in [0, 4000, 4999] {
            assert!(!grace.is_over(start + Duration::from_millis(millis)), "after {millis} ms");
        }
        assert!(grace.is_over(start + Duration::from_secs(5)));
        assert!(grace.is_over(start + Duration::from_secs(6)));
        grace.restart();
        assert!(!grace.is_over(start + Duration::from_secs(60)));
    }
}
