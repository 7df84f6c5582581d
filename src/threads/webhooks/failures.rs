//! What is said of failures: each cause at most once in ten seconds, with how often it happened unsaid.
//! Owned by `rt-webhooks`. Remembers a bounded number of causes; the one said longest ago makes room.

use std::collections::HashMap;
use std::time::Instant;

use crate::io::text_log::Throttle;

/// Causes that are remembered: more destinations and reasons than can be in trouble at once.
const CAUSES_MAX: usize = 512;

/// When each cause was said last.
#[derive(Default)]
pub(super) struct Failures(HashMap<Box<[u8]>, Said>);

struct Said {
    throttle: Throttle,
    at: Instant,
}

impl Failures {
    /// What to add to the words about this cause, as [`Throttle::pass`]; `None`: say nothing now.
    pub(super) fn pass(&mut self, cause: &[&[u8]], now: Instant) -> Option<String> {
        let cause = cause.join(&0).into_boxed_slice();
        if self.0.len() >= CAUSES_MAX && !self.0.contains_key(&cause) {
            let oldest = self.0.iter().min_by_key(|(_, said)| said.at).map(|(cause, _)| cause.clone());
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        let said = self.0.entry(cause).or_insert_with(|| Said { throttle: Throttle::new(), at: now });
        let words = said.throttle.pass(now);
        if words.is_some() {
            said.at = now;
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cause_is_said_once_in_ten_seconds() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let mut at = |hook: &str, s| failures.pass(&[hook.as_bytes(), b"HTTP 500"], start + Duration::from_secs(s));
        assert_eq!((at("a", 0), at("b", 1), at("a", 9)), (Some(String::new()), Some(String::new()), None));
        assert_eq!(at("a", 10).as_deref(), Some(" (and 1 more since the last such line)"));
    }

    #[test]
    fn causes_are_bounded() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        for n in 0..CAUSES_MAX as u64 * 2 {
            assert!(failures.pass(&[&n.to_le_bytes()], start + Duration::from_millis(n)).is_some());
        }
        assert_eq!(failures.0.len(), CAUSES_MAX);
        assert_eq!(failures.pass(&[&(CAUSES_MAX as u64 * 2 - 1).to_le_bytes()], start + Duration::from_secs(2)), None);
    }
}
