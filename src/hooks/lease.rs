//! The right to act for the whole fleet, for one hook or aggregator, by this server's clock. Redis' side of it is
//! `redis/lease.rs`. Any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::limits::LEASE_RENEWAL;

/// The right to act for the fleet, for a hook or an aggregator: a key in Redis that one server holds at a time. The
/// holder gives it up by its own clock before Redis does, so that no two hold it at once.
#[derive(Default)]
pub struct Lease {
    /// By [`since_epoch`]; 0: not held.
    until: AtomicU64,
    /// When Redis was asked and said that another holds it; by [`since_epoch`], 0: never.
    refused: AtomicU64,
}

/// Whose turn it is to act for the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Ours,
    Others,
    /// Redis has not said lately.
    Unknown,
}

impl Lease {
    pub fn holds(&self, now: Instant) -> bool {
        since_epoch(now) < self.until.load(Ordering::Acquire)
    }

    /// Who acts on what was over at `since`. Redis' word counts if it is no older than two renewals before that.
    pub(crate) fn turn(&self, now: Instant, since: Instant) -> Turn {
        let refused = self.refused.load(Ordering::Acquire);
        let lately = u64::try_from((LEASE_RENEWAL * 2).as_millis()).unwrap_or(u64::MAX);
        match self.holds(now) {
            true => Turn::Ours,
            false if refused > 0 && refused.saturating_add(lately) >= since_epoch(since) => Turn::Others,
            false => Turn::Unknown,
        }
    }

    /// Redis was asked at that moment, and another holds it.
    pub(crate) fn refused(&self, asked: Instant) {
        self.refused.store(since_epoch(asked), Ordering::Release);
        self.set(None);
    }

    /// Held until then; `None`: not, or not any more.
    pub(crate) fn set(&self, until: Option<Instant>) {
        self.until.store(until.map_or(0, since_epoch), Ordering::Release);
    }
}

/// Milliseconds since the first call of this process, from 1 on.
fn since_epoch(at: Instant) -> u64 {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // A moment before the first call counts as the first call.
    let since = at.saturating_duration_since(*EPOCH.get_or_init(Instant::now));
    u64::try_from((since + Duration::from_millis(1)).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_by_the_clock() {
        let (lease, now) = (Lease::default(), Instant::now());
        assert!(!lease.holds(now));
        lease.set(Some(now + Duration::from_secs(9)));
        assert!(lease.holds(now) && lease.holds(now + Duration::from_millis(8900)));
        assert!(!lease.holds(now + Duration::from_millis(9100)));
        lease.set(None);
        assert!(!lease.holds(now));
    }

    #[test]
    fn whose_turn_it_is() {
        let (lease, now) = (Lease::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(lease.turn(now, now), Turn::Unknown, "never asked");
        lease.refused(after(10));
        assert_eq!(lease.turn(after(60), after(5)), Turn::Others);
        assert_eq!(lease.turn(after(60), after(15)), Turn::Others, "the next answer is on its way");
        assert_eq!(lease.turn(after(60), after(17)), Turn::Unknown, "an old word");
        lease.set(Some(after(69)));
        assert_eq!(lease.turn(after(60), after(17)), Turn::Ours);
        assert_eq!(lease.turn(after(70), after(17)), Turn::Unknown, "it ended while nobody could be asked");
        lease.refused(after(71));
        assert_eq!(lease.turn(after(71), after(17)), Turn::Others);
    }
}
