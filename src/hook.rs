//! A hook as the threads have it: what it listens to, what it does, and whether this server is the one to act where
//! only one may. Built on the game thread, immutable but for the lease's clock; Lua functions stay behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::action::{Action, Fingerprint, Scope, Spec};
use crate::routes::Topic;

pub struct Hook {
    pub id: Arc<[u8]>,
    pub fingerprint: Fingerprint,
    pub topic: Arc<Topic>,
    pub spec: Spec,
    /// For what only one server of a fleet may do.
    pub lease: Arc<Lease>,
}

impl Hook {
    /// Whether any of its actions has this scope.
    pub fn has(&self, scope: Scope) -> bool {
        has(&self.spec.actions, scope)
    }
}

/// Whether any of the actions has this scope.
pub fn has(actions: &[Action], scope: Scope) -> bool {
    actions.iter().any(|action| action.scope == scope)
}

/// On whose behalf an event is acted on: for this server, for the whole fleet, for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    pub each: bool,
    pub fleet: bool,
}

impl Scopes {
    pub const BOTH: Scopes = Scopes { each: true, fleet: true };

    pub fn include(self, scope: Scope) -> bool {
        match scope {
            Scope::Each => self.each,
            Scope::Fleet => self.fleet,
        }
    }
}

/// The right to act for the fleet, for a hook or an aggregator: a key in Redis that one server holds at a time. The
/// holder gives it up by its own clock before Redis does, so that no two hold it at once.
#[derive(Default)]
pub struct Lease {
    /// By [`since_epoch`]; 0: not held.
    until: AtomicU64,
}

impl Lease {
    pub fn holds(&self, now: Instant) -> bool {
        since_epoch(now) < self.until.load(Ordering::Acquire)
    }

    /// Held until then; `None`: not, or not any more.
    pub fn set(&self, until: Option<Instant>) {
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
}
