//! Keys of counters whose time to live is still to be checked or set, because Redis runs no scripts for this user.
//! `rt-publisher` owns the list; it outlives a connection. Bounded: beyond [`OUTBOX_JOBS_MAX`] keys the caller is
//! handed the key back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::limits::{ITEM_OVERHEAD_BYTES, OUTBOX_JOBS_MAX};

/// One key, and the next command for it: TTL asks whether it ends, EXPIRE makes it end.
pub(super) struct Expiry {
    pub(super) key: Box<[u8]>,
    /// The time to live that the key should have, in seconds.
    pub(super) ttl: u64,
    /// Redis said that the key never ends: EXPIRE is next.
    pub(super) is_missing: bool,
}

impl Expiry {
    /// Memory that it is charged for, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.key.len() + ITEM_OVERHEAD_BYTES
    }
}

/// The keys in the order in which they became known.
#[derive(Default)]
pub(super) struct Expiries {
    waiting: VecDeque<Expiry>,
    /// Redis was busy when one was sent: none is sent again before this moment.
    not_before: Option<Instant>,
}

impl Expiries {
    /// Adds a key, or hands it back when too many wait.
    pub(super) fn push(&mut self, expiry: Expiry) -> Result<(), Expiry> {
        if self.waiting.len() >= OUTBOX_JOBS_MAX {
            return Err(expiry);
        }
        self.waiting.push_back(expiry);
        Ok(())
    }

    /// Redis is busy: the next attempt is `pause` from `now`.
    pub(super) fn put_off(&mut self, now: Instant, pause: Duration) {
        self.not_before = Some(now + pause);
    }

    /// When the next command for a key is due; `None`: no key waits.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.not_before.unwrap_or(now))
    }

    /// The next key whose command is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Expiry> {
        if now < self.due(now)? {
            return None;
        }
        self.not_before = None;
        self.waiting.pop_front()
    }

    /// All keys, whether due or not.
    pub(super) fn take(&mut self) -> VecDeque<Expiry> {
        std::mem::take(&mut self.waiting)
    }
}
