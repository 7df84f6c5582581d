//! What a receiver remembers of the numbers it saw: which event is a repeat, and how many are missing before it.
//! Bounded: the [`NUMBERED_CHANNELS_MAX`] most recently seen sources are kept for certain, at most twice as many.
//! A source is one sender's channel as one subscription sees it: Redis sends an exact and a pattern frame for one
//! publish, and each of them counts for its own listeners.
//!
//! Anybody who may publish can write any number, so a number is not believed beyond what a server can reach, and one
//! that was believed is given up when the sender's own numbers go on below it:
//!
//! ```text
//! seen 1 to 10 | forged 900 | 11, 12 repeats, as older than 900 | 13 is the third in a run that was never seen: renewed
//! ```

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Instant;

use crate::config::limits::NUMBERED_CHANNELS_MAX;
use crate::event::identity::Identity;

/// A server that sends a million events a second needs a year to come here.
pub(crate) const NUMBER_MAX: u64 = 1 << 45;
/// How many events a server may have sent beyond those seen: at once, and for each second since the last one.
pub(crate) const JUMP_MAX: u64 = 65_536;
pub(crate) const JUMP_PER_SECOND: u64 = 1_000_000;
/// So many rising numbers in a run that were never seen and do not go on from the last one are the sender's own. It
/// sends in order, so what it sends again after a lost connection was seen, or follows what was.
pub(crate) const RISING_RUN: u8 = 3;
/// Regions of numbers remembered for a source.
pub(crate) const REGIONS: usize = 4;

const _: () = assert!(JUMP_MAX > crate::config::limits::OUTBOX_JOBS_MAX as u64 && NUMBER_MAX < 1 << 53);

/// What to make of one numbered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Seen before, or older than one that was: senders send in order, so this is a resend of theirs.
    Repeat,
    /// New. `missed` events before it never came, and nobody was reported of them yet.
    New { missed: u64 },
    /// New, under a number that no server reaches: nothing follows from it.
    Implausible,
    /// New, and the baseline of what follows: the numbers believed so far were not the sender's.
    Renewed,
}

/// The numbers seen so far. Lives as long as the process, through reconnects: what was missed meanwhile is reported.
#[derive(Default)]
pub(crate) struct Ledger {
    hasher: RandomState,
    pub(crate) seen: Recent<(u64, u64, u64), Source>,
    /// Up to which number the events of a sender's channel are known to be missed. A gap is seen by every subscription
    /// that covers the channel, and reported once.
    reported: Recent<(u64, u64), u64>,
    channels: HashMap<Box<[u8]>, u64>,
    patterns: HashMap<Box<[u8]>, u64>,
    serial: u64,
}

impl Ledger {
    /// Looks at one event that came at `now` for the subscription `pattern`, `name` on `channel`, all as on the wire.
    /// The first of a source is its baseline: nothing is missed before it.
    pub(crate) fn see(
        &mut self,
        pattern: bool,
        name: &[u8],
        channel: &[u8],
        identity: &Identity<'_>,
        now: Instant,
    ) -> Sight {
        let Identity { boot, seq, .. } = *identity;
        if seq == 0 {
            return Sight::New { missed: 0 };
        }
        if seq > NUMBER_MAX {
            return Sight::Implausible;
        }
        let subscription = self.subscription(pattern, name);
        let channel = self.hasher.hash_one(channel);
        match self.seen.at((subscription, boot, channel)).place(seq, now) {
            Verdict::Next => Sight::New { missed: 0 },
            Verdict::Seen => Sight::Repeat,
            Verdict::Implausible => Sight::Implausible,
            Verdict::Renewed => {
                let reported = self.reported.at((boot, channel));
                *reported = seq.min(*reported);
                Sight::Renewed
            }
            Verdict::After(before) => {
                let reported = self.reported.at((boot, channel));
                let missed = (seq - 1).saturating_sub(before.max(*reported));
                *reported = (*reported).max(seq - 1);
                Sight::New { missed }
            }
        }
    }

    /// Redis has confirmed that the subscription ended: if it is asked for again, it starts with new baselines.
    pub(crate) fn forget(&mut self, pattern: bool, name: &[u8]) {
        self.subscriptions(pattern).remove(name);
    }

    /// Forgets every subscription that is not wanted any more.
    pub(crate) fn keep_only(&mut self, wanted: impl Fn(bool, &[u8]) -> bool) {
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

/// What is known of one source's numbers.
#[derive(Default)]
pub(crate) struct Source {
    /// Regions of numbers seen without a gap, `(first, last)`, the current one first; `(0, 0)`: none.
    regions: [(u64, u64); REGIONS],
    /// The last of a run of rising numbers that fit nowhere, and how many they are.
    run: (u64, u8),
    /// When the current region last grew.
    grew: Option<Instant>,
}

/// Where a number stands among those seen.
enum Verdict {
    /// The first, or the one after the last.
    Next,
    /// Later than the last one, which is given.
    After(u64),
    /// Seen, or passed without having been seen.
    Seen,
    Implausible,
    Renewed,
}

impl Source {
    fn place(&mut self, seq: u64, now: Instant) -> Verdict {
        let [(_, last), (_, other), ..] = self.regions;
        if last == 0 || seq == last + 1 && other == 0 {
            let [current, ..] = &mut self.regions;
            *current = (if last == 0 { seq } else { current.0 }, seq);
            return self.grows(Verdict::Next, now);
        }
        if let Some(at) = self.regions.iter().position(|(first, last)| (*first..=*last).contains(&seq)) {
            if seq == last + 1 {
                self.join(at);
                return self.grows(Verdict::Seen, now);
            }
            return Verdict::Seen;
        }
        if seq < last {
            return self.run(seq, now).unwrap_or(Verdict::Seen);
        }
        if seq - last > self.jump_max(now) {
            return self.run(seq, now).unwrap_or(Verdict::Implausible);
        }
        if seq == last + 1 {
            let [current, ..] = &mut self.regions;
            current.1 = seq;
            return self.grows(Verdict::Next, now);
        }
        self.begin(seq);
        self.grows(Verdict::After(last), now)
    }

    fn grows(&mut self, place: Verdict, now: Instant) -> Verdict {
        (self.run, self.grew) = ((0, 0), Some(now));
        place
    }

    /// How far the next number may be beyond the last.
    fn jump_max(&self, now: Instant) -> u64 {
        let since = self.grew.map_or(0, |grew| now.saturating_duration_since(grew).as_secs());
        JUMP_MAX.saturating_add(JUMP_PER_SECOND.saturating_mul(since))
    }

    /// A number that fits nowhere: the third of a rising run is a new baseline.
    fn run(&mut self, seq: u64, now: Instant) -> Option<Verdict> {
        let (last, count) = self.run;
        self.run = (seq, if seq > last { count + 1 } else { 1 });
        (self.run.1 >= RISING_RUN).then(|| {
            self.begin(seq);
            self.grows(Verdict::Renewed, now)
        })
    }

    /// A new region, in place of the oldest.
    fn begin(&mut self, seq: u64) {
        self.regions.rotate_right(1);
        let [current, ..] = &mut self.regions;
        *current = (seq, seq);
    }

    /// The current region reached another one.
    fn join(&mut self, at: usize) {
        let Some(last) = self.regions.get(at).map(|(_, last)| *last) else { return };
        let [current, ..] = &mut self.regions;
        current.1 = last;
        // The others keep their order, and the free place is the last.
        if let Some(behind) = self.regions.get_mut(at..) {
            behind.rotate_left(1);
        }
        let [.., free] = &mut self.regions;
        *free = (0, 0);
    }
}

/// A map that keeps at least the [`NUMBERED_CHANNELS_MAX`] keys used last: when the young half is full it becomes the
/// old one, and what is still in the old one by then is forgotten. A list in order of use would cost more at each look.
pub(crate) struct Recent<K, V> {
    pub(crate) young: HashMap<K, V>,
    pub(crate) old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Recent<K, V> {
        Recent { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V: Default> Recent<K, V> {
    /// What is kept under the key; at first its default.
    fn at(&mut self, key: K) -> &mut V {
        if self.young.len() >= NUMBERED_CHANNELS_MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let Recent { young, old } = self;
        young.entry(key).or_insert_with_key(|key| old.remove(key).unwrap_or_default())
    }
}
