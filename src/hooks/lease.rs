//! The right to act for the whole fleet, for one hook or aggregator, as this server's clock sees it.
//! `rt-publisher` asks Redis for it and writes the answer here (`redis/lease.rs` has the commands); any thread reads it
//! without a lock. The holder stops acting by its own clock before the key in Redis expires.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// This server's copy of one lease: a key in Redis that one server holds at a time. Redis keeps the key longer than the
/// holder trusts it (`LEASE` and `LEASE_OWN` in `config/limits.rs`), so two servers never act at once.
#[derive(Default)]
pub struct Lease {
    /// End of the right, in milliseconds by [`since_epoch`]. 0: not held.
    until: AtomicU64,
    /// Until when the last answer "another server holds it" counts, by [`since_epoch`]. 0: there was none.
    refused_until: AtomicU64,
}

/// The server that acts for the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This server holds the lease.
    Ours,
    /// Another server holds the lease.
    Others,
    /// The last answer of Redis is too old to tell. Nobody may act twice, so this server does not act.
    Unknown,
}

impl Lease {
    /// True if this server may act for the fleet at `now`.
    pub fn holds(&self, now: Instant) -> bool {
        since_epoch(now) < self.until.load(Ordering::Acquire)
    }

    /// The server that acts on an event of `since`, or on a window that ended then.
    pub(crate) fn turn(&self, now: Instant, since: Instant) -> Turn {
        if self.holds(now) {
            Turn::Ours
        } else if self.refused_until.load(Ordering::Acquire) >= since_epoch(since) {
            Turn::Others
        } else {
            Turn::Unknown
        }
    }

    /// Records that Redis, asked at `asked`, named another holder. This server's right ends with it. The answer counts for
    /// `lately`, two renewals: the next answer may still be on its way.
    pub(crate) fn refused(&self, asked: Instant, lately: Duration) {
        self.refused_until.store(since_epoch(asked + lately), Ordering::Release);
        self.set(None);
    }

    /// Records that this server holds the lease until then. `None`: it does not hold it.
    pub(crate) fn set(&self, until: Option<Instant>) {
        self.until.store(until.map_or(0, since_epoch), Ordering::Release);
    }
}

/// Milliseconds from the first call in this process to `at`, plus 1: an `Instant` does not fit into an atomic, and 0
/// means "never" here.
fn since_epoch(at: Instant) -> u64 {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // An instant before the first call counts as the first call.
    let since = at.saturating_duration_since(*EPOCH.get_or_init(Instant::now));
    u64::try_from((since + Duration::from_millis(1)).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_by_this_servers_clock() {
        let (lease, now) = (Lease::default(), Instant::now());
        assert!(!lease.holds(now));
        lease.set(Some(now + Duration::from_secs(9)));
        assert!(lease.holds(now) && lease.holds(now + Duration::from_millis(8900)));
        assert!(!lease.holds(now + Duration::from_millis(9100)));
        lease.set(None);
        assert!(!lease.holds(now));
    }

    #[test]
    fn a_refusal_names_another_holder_while_it_is_recent() {
        let (lease, now) = (Lease::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(lease.turn(now, now), Turn::Unknown, "never asked");
        lease.refused(after(10), Duration::from_secs(6));
        assert_eq!(lease.turn(after(60), after(5)), Turn::Others);
        assert_eq!(lease.turn(after(60), after(15)), Turn::Others, "the next answer is on its way");
        assert_eq!(lease.turn(after(60), after(17)), Turn::Unknown, "the answer is too old");
        lease.set(Some(after(69)));
        assert_eq!(lease.turn(after(60), after(17)), Turn::Ours);
        assert_eq!(lease.turn(after(70), after(17)), Turn::Unknown, "it ended while Redis could not be asked");
        lease.refused(after(71), Duration::from_secs(6));
        assert_eq!(lease.turn(after(71), after(17)), Turn::Others);
    }
}
