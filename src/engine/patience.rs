//! How long readers without callback may hold up the game thread: together no more than the bound in any second, and
//! not at all while Redis is known to be silent. Pure: clocks are arguments.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Patience {
    /// Waits of the last second: when each began and ended, and how long it took. Those close to each other are one.
    waits: VecDeque<Waits>,
    /// A reader waited in vain, and this was heard of Redis by then.
    silent_since: Option<u64>,
}

struct Waits {
    began: Instant,
    end: Instant,
    sum: Duration,
}

/// Waits that began within this time are one entry, so that there are few.
const TOGETHER: Duration = Duration::from_millis(20);

/// Why a reader is not to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Impatience {
    /// The last one waited in vain, and Redis was not heard of since.
    Silent,
    /// This second's share is used up.
    Spent,
}

impl Patience {
    /// How long a reader may wait now. `heard` changes whenever Redis is heard of.
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

    /// The same for a wait that Redis has no part in: its silence forbids nothing, and what it leaves of the share is
    /// all there is. To be reported as answered, whatever comes of it.
    pub(crate) fn grant_apart(&mut self, now: Instant, bound: Duration) -> Result<Duration, Impatience> {
        let silent_since = self.silent_since.take();
        let granted = self.grant(now, bound, 0);
        self.silent_since = silent_since;
        granted
    }

    /// A reader waited from `began` to `now`; in vain if it has no answer.
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
    fn a_second_has_one_share() {
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
    fn after_a_wait_in_vain_redis_must_be_heard_of() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        patience.waited(start, start + BOUND, false, 7);
        assert_eq!(patience.grant(start + ms(60), BOUND, 7), Err(Impatience::Silent));
        assert_eq!(patience.grant(start + ms(5000), BOUND, 7), Err(Impatience::Silent));
        // Heard of, but the second is not over.
        assert_eq!(patience.grant(start + ms(500), BOUND, 8), Err(Impatience::Spent));
        assert_eq!(patience.grant(start + ms(1050), BOUND, 8), Ok(BOUND));
    }

    #[test]
    fn short_waits_far_apart_never_use_up_the_share() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        for round in 0..1000 {
            let now = start + ms(8) * round;
            assert!(patience.grant(now, BOUND, 0).is_ok(), "round {round}");
            patience.waited(now, now + Duration::from_micros(200), true, 0);
        }
    }

    #[test]
    fn a_wait_apart_knows_the_share_only() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        patience.waited(start, start + ms(20), false, 7);
        assert_eq!(patience.grant_apart(start + ms(30), BOUND), Ok(ms(30)));
        patience.waited(start + ms(30), start + ms(60), true, 0);
        assert_eq!(patience.grant_apart(start + ms(60), BOUND), Err(Impatience::Spent));
        assert_eq!(patience.grant_apart(start + ms(2000), BOUND), Ok(BOUND));
        assert_eq!(patience.grant(start + ms(2000), BOUND, 7), Err(Impatience::Silent));
        assert_eq!(patience.grant(start + ms(2000), BOUND, 8), Ok(BOUND));
    }

    /// Against the definition: in every window of a second that ends now, the waits sum up to the bound at most.
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
