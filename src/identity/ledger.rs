//! What a receiver remembers of the numbers it saw: which event is a repeat, and how many are missing before it.
//! Bounded: the [`NUMBERED_CHANNELS_MAX`] most recently seen sources are kept for certain, at most twice as many.
//! A source is one sender's channel as one subscription sees it: Redis sends an exact and a pattern frame for one
//! publish, and each of them counts for its own listeners.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use crate::config::NUMBERED_CHANNELS_MAX;
use crate::identity::Identity;

/// What to make of one numbered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Seen before, or older than one that was: senders send in order, so this is a resend of theirs.
    Repeat,
    /// New. `missed` events before it never came, and nobody was told of them yet.
    New { missed: u64 },
}

/// The numbers seen so far. Lives as long as the process, through reconnects: what was missed meanwhile is told.
#[derive(Default)]
pub struct Ledger {
    hasher: RandomState,
    pub(super) seen: Recent<(u64, u64, u64)>,
    /// Up to which number the events of a sender's channel are known to be missed. A gap is seen by every subscription
    /// that covers the channel, and told once.
    told: Recent<(u64, u64)>,
    channels: HashMap<Box<[u8]>, u64>,
    patterns: HashMap<Box<[u8]>, u64>,
    serial: u64,
}

impl Ledger {
    /// Looks at one event that came for the subscription `pattern`, `name` on `channel`, all as on the wire. The first
    /// of a source is its baseline: nothing is missed before it.
    pub fn see(&mut self, pattern: bool, name: &[u8], channel: &[u8], identity: &Identity<'_>) -> Sight {
        let Identity { boot, seq, .. } = *identity;
        if seq == 0 {
            return Sight::New { missed: 0 };
        }
        let subscription = self.subscription(pattern, name);
        let channel = self.hasher.hash_one(channel);
        let last = self.seen.at((subscription, boot, channel));
        if seq <= *last {
            return Sight::Repeat;
        }
        let before = std::mem::replace(last, seq);
        if before == 0 || seq == before + 1 {
            return Sight::New { missed: 0 };
        }
        let told = self.told.at((boot, channel));
        let missed = (seq - 1).saturating_sub(before.max(*told));
        *told = (*told).max(seq - 1);
        Sight::New { missed }
    }

    /// Redis has confirmed that the subscription ended: if it is asked for again, it starts with new baselines.
    pub fn forget(&mut self, pattern: bool, name: &[u8]) {
        self.subscriptions(pattern).remove(name);
    }

    /// Forgets every subscription that is not wanted any more.
    pub fn keep_only(&mut self, wanted: impl Fn(bool, &[u8]) -> bool) {
        self.channels.retain(|name, _| wanted(false, name));
        self.patterns.retain(|name, _| wanted(true, name));
    }

    fn subscriptions(&mut self, pattern: bool) -> &mut HashMap<Box<[u8]>, u64> {
        if pattern { &mut self.patterns } else { &mut self.channels }
    }

    /// The number of a subscription: a new one after it was forgotten.
    fn subscription(&mut self, pattern: bool, name: &[u8]) -> u64 {
        if let Some(known) = self.subscriptions(pattern).get(name) {
            return *known;
        }
        self.serial += 1;
        let serial = self.serial;
        self.subscriptions(pattern).insert(name.into(), serial);
        serial
    }
}

/// A map that keeps at least the [`NUMBERED_CHANNELS_MAX`] keys used last: when the young half is full it becomes the
/// old one, and what is still in the old one by then is forgotten. A list in order of use would cost more at each look.
pub(super) struct Recent<K> {
    pub(super) young: HashMap<K, u64>,
    pub(super) old: HashMap<K, u64>,
}

impl<K> Default for Recent<K> {
    fn default() -> Recent<K> {
        Recent { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash> Recent<K> {
    /// The key's number, 0 if it has none.
    fn at(&mut self, key: K) -> &mut u64 {
        if !self.young.contains_key(&key) && self.young.len() >= NUMBERED_CHANNELS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        let Recent { young, old } = self;
        young.entry(key).or_insert_with_key(|key| old.remove(key).unwrap_or(0))
    }
}
