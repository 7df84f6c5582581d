//! How long to wait before the next attempt. A pure value: it sleeps nowhere and reads no clock.

use std::time::Duration;

/// Doubles from 50 ms to 1.5 s, so that a Redis that comes back is found within two seconds.
#[derive(Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(1500);

    pub fn next_delay(&mut self) -> Duration {
        let delay = Self::FIRST.saturating_mul(1 << self.attempts.min(16)).min(Self::LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        delay
    }

    /// The connection became ready: the next trouble is a new one.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_longest_and_starts_again() {
        let mut backoff = Backoff::default();
        let millis: Vec<u128> = (0..7).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1500, 1500]);
        (0..100).for_each(|_| assert!(backoff.next_delay() <= Backoff::LONGEST));
        backoff.reset();
        assert_eq!(backoff.next_delay(), Backoff::FIRST);
    }
}
