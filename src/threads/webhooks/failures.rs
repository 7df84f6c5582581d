//! [`Failures`] throttles the log lines about failed posts: each cause is reported at most once in ten seconds, and the
//! next line counts the ones between. Owned by `rt-webhooks`. It remembers a bounded number of causes; the one that was
//! reported longest ago makes room.

use std::collections::HashMap;
use std::time::Instant;

use crate::io::text_log::Throttle;

/// Causes that are remembered: more than destinations and reasons can be in trouble at once.
const CAUSES_MAX: usize = 512;

/// The last report of each cause.
#[derive(Default)]
pub(super) struct Failures(HashMap<Box<[u8]>, LastReport>);

struct LastReport {
    throttle: Throttle,
    at: Instant,
}

impl Failures {
    /// The parts of `cause` (a hook or destination, and a reason) name it together. Returns the end of the log line, as
    /// [`Throttle::pass`] does; `None`: write no line now.
    pub(super) fn pass(&mut self, cause: &[&[u8]], now: Instant) -> Option<String> {
        let cause = cause.join(&0).into_boxed_slice();
        if self.0.len() >= CAUSES_MAX && !self.0.contains_key(&cause) {
            let oldest = self.0.iter().min_by_key(|(_, last)| last.at).map(|(cause, _)| cause.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        let last = self.0.entry(cause).or_insert_with(|| LastReport { throttle: Throttle::new(), at: now });
        let line_end = last.throttle.pass(now);
        if line_end.is_some() {
            last.at = now;
        }
        line_end
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_cause_is_reported_once_in_ten_seconds() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let mut at = |hook: &str, s| failures.pass(&[hook.as_bytes(), b"HTTP 500"], start + Duration::from_secs(s));
        assert_eq!((at("a", 0), at("b", 1), at("a", 9)), (Some(String::new()), Some(String::new()), None));
        assert_eq!(at("a", 10).as_deref(), Some(" (and 1 more since the last such line)"));
    }

    #[test]
    fn the_number_of_remembered_causes_is_bounded() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        for n in 0..CAUSES_MAX as u64 * 2 {
            assert!(failures.pass(&[&n.to_le_bytes()], start + Duration::from_millis(n)).is_some());
        }
        assert_eq!(failures.0.len(), CAUSES_MAX);
        assert_eq!(failures.pass(&[&(CAUSES_MAX as u64 * 2 - 1).to_le_bytes()], start + Duration::from_secs(2)), None);
    }
}
