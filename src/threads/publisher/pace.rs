//! How fast the publisher may write: the states between "Redis takes batches" and "Redis is busy".
//! A pure value without a clock; `rt-publisher` owns it as a field of its backlog.
//!
//! ```text
//!            put_off(no pause)                       all answered
//!   Open ───────────────────────▶ Rephrase ────────────────────────────▶ Open, or Careful if it was careful before
//!    ▲ │                             │ put_off(pause)
//!    │ │ put_off(pause)              ▼               all answered, pause over
//!    │ └──────────────────────────▶ Paused ──────────────────────────────▶ Careful
//!    │                               ▲                                        │ │
//!    │                               └────────────── put_off(pause) ──────────┘ │
//!    └─────────────────────────────── succeeded ────────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

/// How freely the publisher may write after the last replies of Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// Redis executes commands: batches are written without waiting for answers.
    #[default]
    Open,
    /// Redis was busy: one item at a time, each after the answer to the one before, until one succeeds.
    Careful,
    /// Redis refused the form of a command and not the command, such as EVALSHA of a script that it does not know.
    /// Nothing is wrong with Redis, so the refused items are sent again in another form as soon as all answers are in.
    Rephrase { careful: bool },
    /// Redis is busy and refused an item. Nothing may overtake that item, so nothing is written until all answers are
    /// in and this moment has come; the refused items then go first.
    Paused { until: Instant },
}

impl Pace {
    /// Redis refused an item that is to be sent again: after `pause`, or at once if there is none.
    pub(super) fn put_off(&mut self, now: Instant, pause: Option<Duration>) {
        *self = match (*self, pause) {
            (Pace::Paused { until }, pause) => Pace::Paused { until: until.max(now + pause.unwrap_or_default()) },
            (_, Some(pause)) => Pace::Paused { until: now + pause },
            (Pace::Open, None) => Pace::Rephrase { careful: false },
            (Pace::Careful, None) => Pace::Rephrase { careful: true },
            (Pace::Rephrase { careful }, None) => Pace::Rephrase { careful },
        };
    }

    /// Redis executed an item: it is not busy any more. A pause goes on, as the items refused before it still have
    /// to wait.
    pub(super) fn succeeded(&mut self) {
        match self {
            Pace::Careful => *self = Pace::Open,
            Pace::Rephrase { careful } => *careful = false,
            Pace::Open | Pace::Paused { .. } => {}
        }
    }

    /// The refused items are about to be sent again.
    pub(super) fn resume(&mut self) {
        match *self {
            Pace::Paused { .. } | Pace::Rephrase { careful: true } => *self = Pace::Careful,
            Pace::Rephrase { careful: false } => *self = Pace::Open,
            Pace::Open | Pace::Careful => {}
        }
    }

    /// Whether refused items wait, and so everything else.
    pub(super) fn has_refused(self) -> bool {
        matches!(self, Pace::Rephrase { .. } | Pace::Paused { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_in_careful_mode_and_a_success_ends_that() {
        let (now, pause) = (Instant::now(), Duration::from_secs(1));
        let mut pace = Pace::default();
        pace.put_off(now, Some(2 * pause));
        pace.put_off(now, Some(pause));
        pace.put_off(now, None);
        assert_eq!(pace, Pace::Paused { until: now + 2 * pause }, "the latest end of a pause holds");
        pace.succeeded();
        assert!(pace.has_refused());
        pace.resume();
        assert_eq!(pace, Pace::Careful);
        pace.succeeded();
        assert_eq!(pace, Pace::Open);
    }

    /// Sending a command in another form neither starts nor ends careful mode.
    #[test]
    fn rephrasing_keeps_careful_mode() {
        let now = Instant::now();
        for (start, after) in [(Pace::Open, Pace::Open), (Pace::Careful, Pace::Careful)] {
            let mut pace = start;
            pace.put_off(now, None);
            pace.put_off(now, None);
            assert!(pace.has_refused());
            pace.resume();
            assert_eq!(pace, after);
        }
        let mut pace = Pace::Careful;
        pace.put_off(now, None);
        pace.succeeded();
        pace.resume();
        assert_eq!(pace, Pace::Open);
        pace.put_off(now, None);
        pace.put_off(now, Some(Duration::ZERO));
        assert_eq!(pace, Pace::Paused { until: now });
    }
}
