//! The time that readers without callback may hold up the game thread: together at most the bound (`sync_timeout_ms`)
//! in any second, and no time at all while Redis is known to be silent. Game thread only. Pure: clocks are arguments.
//!
//! Why per second and not per reader: a script may read a hundred keys in one tick, and a Redis that answers slowly
//! would stop the game a hundred times. Why silence counts: after one timeout the next reader would most likely time
//! out, too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// The waits of the last second, and whether Redis is silent.
#[derive(Default)]
pub(crate) struct Patience {
    /// Oldest first. Waits that began close to each other share one entry.
    waits: VecDeque<Waits>,
    /// A reader timed out. The value is the count of signs of life from Redis at that moment.
    silent_since: Option<u64>,
}

/// Some waits: the first began at `began`, the last ended at `end`, and all together took `sum`.
struct Waits {
    began: Instant,
    end: Instant,
    sum: Duration,
}

/// Waits that began within this time share one entry, so a second has at most fifty. The price: an entry counts in full
/// until its last wait is a second old.
const TOGETHER: Duration = Duration::from_millis(20);

/// The reason for which a reader must not wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Impatience {
    /// The last reader timed out, and Redis has given no sign of life since.
    Silent,
    /// The readers have used up the time of this second.
    Spent,
}

impl Patience {
    /// The time that a reader may wait now. `heard` counts the signs of life from Redis (answers, new connections).
    pub(crate) fn grant(&mut self, now: Instant, bound: Duration, heard: u64) -> Result<Duration, Impatience> {
        if self.silent_since.is_some_and(|silent| silent == heard) {
            return Err(Impatience::Silent);
        }
        self.silent_since = None;
        while self.waits.front().is_some_and(|waits| now.saturating_duration_since(waits.end) >= SECOND) {
            self.waits.pop_front();
        }
        let spent: Duration = self.waits.iter().map(|waits| waits.sum).sum();
        match bound.checked_sub(spent) {
            None | Some(Duration::ZERO) => Err(Impatience::Spent),
            Some(left) => Ok(left),
        }
    }

    /// As [`Patience::grant`], for a wait on the disk: only the bound per second applies, as the silence of Redis says
    /// nothing about the disk. Report such a wait as answered, however it ends.
    pub(crate) fn grant_apart(&mut self, now: Instant, bound: Duration) -> Result<Duration, Impatience> {
        let silent_since = self.silent_since.take();
        let granted = self.grant(now, bound, 0);
        self.silent_since = silent_since;
        granted
    }

    /// Charges a wait from `began` to `now`. A wait without an answer makes Redis count as silent.
    pub(crate) fn waited(&mut self, began: Instant, now: Instant, answered: bool, heard: u64) {
        let wait = now.saturating_duration_since(began);
        match self.waits.back_mut() {
            Some(waits) if began.saturating_duration_since(waits.began) < TOGETHER => {
                (waits.end, waits.sum) = (now, waits.sum + wait);
            }
            _ => self.waits.push_back(Waits { began, end: now, sum: wait }),
        }
        if !answered {
            self.silent_since = Some(heard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(50);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn all_readers_of_a_second_share_one_bound() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        assert_eq!(patience.grant(start, BOUND, 0), Ok(BOUND));
        patience.waited(start, start + ms(20), true, 1);
        assert_eq!(patience.grant(start + ms(20), BOUND, 1), Ok(ms(30)));
        patience.waited(start + ms(200), start + ms(230), true, 2);
        assert_eq!(patience.grant(start + ms(231), BOUND, 2), Err(Impatience::Spent));
        assert_eq!(patience.grant(start + ms(1019), BOUND, 2), Err(Impatience::Spent));
        assert_eq!(patience.grant(start + ms(1020), BOUND, 2), Ok(ms(20)));
        assert_eq!(patience.grant(start + ms(1230), BOUND, 2), Ok(BOUND));
    }

    #[test]
    fn after_a_timeout_readers_are_refused_until_redis_gives_a_sign_of_life() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        patience.waited(start, start + BOUND, false, 7);
        assert_eq!(patience.grant(start + ms(60), BOUND, 7), Err(Impatience::Silent));
        assert_eq!(patience.grant(start + ms(5000), BOUND, 7), Err(Impatience::Silent));
        // A sign of life, but the second is not over.
        assert_eq!(patience.grant(start + ms(500), BOUND, 8), Err(Impatience::Spent));
        assert_eq!(patience.grant(start + ms(1050), BOUND, 8), Ok(BOUND));
    }

    #[test]
    fn short_waits_far_apart_never_use_the_bound_up() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        for round in 0..1000 {
            let now = start + ms(8) * round;
            assert!(patience.grant(now, BOUND, 0).is_ok(), "round {round}");
            patience.waited(now, now + Duration::from_micros(200), true, 0);
        }
    }

    #[test]
    fn a_wait_on_the_disk_obeys_the_bound_only() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        patience.waited(start, start + ms(20), false, 7);
        assert_eq!(patience.grant_apart(start + ms(30), BOUND), Ok(ms(30)));
        patience.waited(start + ms(30), start + ms(60), true, 0);
        assert_eq!(patience.grant_apart(start + ms(60), BOUND), Err(Impatience::Spent));
        assert_eq!(patience.grant_apart(start + ms(2000), BOUND), Ok(BOUND));
        assert_eq!(patience.grant(start + ms(2000), BOUND, 7), Err(Impatience::Silent));
        assert_eq!(patience.grant(start + ms(2000), BOUND, 8), Ok(BOUND));
    }

    /// Checked against the definition: in the second that ends now, the waits sum up to the bound at most.
    #[test]
    fn no_second_has_more_than_the_bound() {
        proptest::proptest!(|(steps in proptest::collection::vec((0..400u64, 0..80u64), 1..60))| {
            let (mut patience, start) = (Patience::default(), Instant::now());
            let (mut now, mut waits) = (start, Vec::<(Instant, Instant)>::new());
            for (pause, wanted) in steps {
                now += ms(pause);
                if let Ok(granted) = patience.grant(now, BOUND, 0) {
                    let end = now + granted.min(ms(wanted));
                    patience.waited(now, end, true, 0);
                    waits.push((now, end));
                    now = end;
                }
                let spent: Duration = waits.iter().map(|(began, end)| {
                    end.saturating_duration_since((*began).max(now.checked_sub(SECOND).unwrap_or(start)))
                }).sum();
                assert!(spent <= BOUND, "{spent:?}");
            }
        });
    }
}
