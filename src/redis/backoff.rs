//! The delay before the next attempt to connect. A pure value that neither sleeps nor reads a clock; the callers,
//! `rt-publisher`, `rt-subscriber` and the restart of a worker, hand in random numbers, so that many servers that lost
//! the same Redis do not come back at the same moment.

use std::time::Duration;

use crate::redis::error_reply::Class;

/// The delay doubles from 50 ms to 1.5 s, so that a Redis that comes back is found within two seconds. It is longer
/// where only an operator can help.
#[derive(Default)]
pub struct Backoff {
    /// Attempts since the last connection that lasted.
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(1500);
    /// A connection that was ready for so long did not fail at once.
    const LASTED: Duration = Duration::from_secs(1);
    /// Redis is full: at most one attempt in five seconds.
    const FULL: Duration = Duration::from_secs(5);
    /// A wrong password stays wrong, and a server may lock out a client that repeats it.
    const LOGIN: Duration = Duration::from_secs(30);
    /// The name look-up, the handshakes and the SUBSCRIBE after a delay: time that most connections need.
    const CONNECTING: Duration = Duration::from_millis(200);

    /// The next delay. `random`, any number, shortens the quick delays by up to a half and lengthens the slow ones by
    /// up to a fifth.
    pub fn next_delay(&mut self, class: Class, random: u64) -> Duration {
        // 53 random bits are an evenly spread double below 1.
        let share = (random >> 11) as f64 / (1u64 << 53) as f64;
        match class {
            Class::Full => return Self::FULL.mul_f64(1.0 + share / 5.0),
            Class::Login => return Self::LOGIN.mul_f64(1.0 + share / 5.0),
            Class::Wait | Class::Reconnect | Class::Never => {}
        }
        let delay = Self::FIRST.saturating_mul(1 << self.attempts.min(16)).min(Self::LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        delay.mul_f64(1.0 - share / 2.0)
    }

    /// How soon after an outage of this length the others that noticed it at the same moment have connected again.
    ///
    /// Jitter may have halved all their delays so far and not the one that they are in: that one is at most twice the
    /// outage and one first delay.
    pub(crate) fn others_return_within(outage: Duration) -> Duration {
        outage.saturating_mul(2).saturating_add(Self::FIRST).min(Self::LONGEST) + Self::CONNECTING
    }

    /// A connection was ready for `lasted`. If that is long enough, the next failure is a new one and delays start
    /// again; else the next delay stays long, but below a second.
    pub fn was_ready(&mut self, lasted: Duration) {
        self.attempts = if lasted >= Self::LASTED { 0 } else { self.attempts.min(4) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outages of each length, and servers with any jitter, the extremes too: the first attempt after the end of the
    /// outage comes in time.
    #[test]
    fn others_return_in_time() {
        let mut random = 1u64;
        for outage in (0..4000).step_by(7).map(Duration::from_millis) {
            for server in 0..20 {
                let (mut backoff, mut at) = (Backoff::default(), Duration::ZERO);
                while at < outage {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let is_last = at + at >= outage;
                    let jitter = if server > 0 {
                        random
                    } else if is_last {
                        0
                    } else {
                        u64::MAX
                    };
                    at += backoff.next_delay(Class::Reconnect, jitter);
                }
                let wait = at - outage;
                assert!(wait + Backoff::CONNECTING <= Backoff::others_return_within(outage), "{outage:?}: {wait:?}");
            }
        }
        let longest = Backoff::others_return_within(Duration::MAX);
        assert_eq!(longest, Backoff::LONGEST + Backoff::CONNECTING);
    }

    #[test]
    fn delays_double_up_to_a_bound_and_start_again() {
        let mut backoff = Backoff::default();
        let millis: Vec<u128> = (0..7).map(|_| backoff.next_delay(Class::Reconnect, 0).as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1500, 1500]);
        (0..100).for_each(|n| {
            let delay = backoff.next_delay(Class::Wait, u64::MAX / 100 * n);
            assert!((Backoff::LONGEST / 2..=Backoff::LONGEST).contains(&delay), "{delay:?}");
        });
        backoff.was_ready(Duration::from_millis(10));
        assert_eq!(backoff.next_delay(Class::Reconnect, 0), Duration::from_millis(800));
        backoff.was_ready(Duration::from_secs(1));
        assert_eq!(backoff.next_delay(Class::Reconnect, 0), Backoff::FIRST);
    }

    /// Equal shares of the random numbers are equal shares of the delay.
    #[test]
    fn delays_are_spread_evenly() {
        let share = |class, sixteenths: u64| {
            let mut backoff = Backoff { attempts: 10 };
            let whole = backoff.next_delay(class, 0).as_secs_f64();
            backoff.next_delay(class, sixteenths << 60).as_secs_f64() / whole
        };
        for n in 0..16 {
            let part = n as f64 / 16.0;
            for (class, expected) in [
                (Class::Reconnect, 1.0 - part / 2.0),
                (Class::Full, 1.0 + part / 5.0),
                (Class::Login, 1.0 + part / 5.0),
            ] {
                assert!((share(class, n) - expected).abs() < 1e-6, "{class:?} {n}: {}", share(class, n));
            }
        }
    }

    #[test]
    fn delays_are_long_if_only_an_operator_can_help() {
        let mut backoff = Backoff::default();
        for random in [0, u64::MAX / 2, u64::MAX] {
            let (full, login) = (backoff.next_delay(Class::Full, random), backoff.next_delay(Class::Login, random));
            assert!((5.0..=6.0).contains(&full.as_secs_f64()), "{full:?}");
            assert!((30.0..=36.0).contains(&login.as_secs_f64()), "{login:?}");
        }
    }
}
