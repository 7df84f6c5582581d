//! How long to wait before the next attempt. A pure value: it sleeps nowhere and reads no clock; its randomness is
//! handed in, so that many servers that lost the same Redis do not come back in step.

use std::time::Duration;

use crate::redis::error_reply::Class;

/// Doubles from 50 ms to 1.5 s, so that a Redis that comes back is found within two seconds; slower where only an
/// operator can help.
#[derive(Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(1500);
    const LASTED: Duration = Duration::from_secs(1);
    /// Redis is full: at most one attempt in five seconds.
    const FULL: Duration = Duration::from_secs(5);
    /// A wrong password stays wrong, and Redis may lock out who repeats it.
    const LOGIN: Duration = Duration::from_secs(30);

    /// The next wait. `random`, any number, takes up to a half off the quick ones and adds up to a fifth to the slow
    /// ones.
    pub(crate) fn next_delay(&mut self, class: Class, random: u64) -> Duration {
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

    /// A connection was ready for a good while: the next trouble is a new one. One that ended at once slows the next
    /// attempt down, to less than a second.
    pub(crate) fn was_ready(&mut self, lasted: Duration) {
        self.attempts = if lasted >= Self::LASTED { 0 } else { self.attempts.min(4) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_longest_and_starts_again() {
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

    /// Many servers that lost the same Redis do not come back in step: equal shares of the random numbers are equal shares
    /// of the time.
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
    fn slow_where_only_an_operator_helps() {
        let mut backoff = Backoff::default();
        for random in [0, u64::MAX / 2, u64::MAX] {
            let (full, login) = (backoff.next_delay(Class::Full, random), backoff.next_delay(Class::Login, random));
            assert!((5.0..=6.0).contains(&full.as_secs_f64()), "{full:?}");
            assert!((30.0..=36.0).contains(&login.as_secs_f64()), "{login:?}");
        }
    }
}
