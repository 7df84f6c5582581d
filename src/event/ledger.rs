//! The ledger of received numbers: it finds repeated events, and counts lost ones.
//! Owned by `rt-subscriber`; pure. Bounded: it keeps the [`NUMBERED_CHANNELS_MAX`] most recently seen sources for
//! certain, and at most twice as many.
//!
//! A source is one sender's channel as one subscription sees it. Redis sends one frame for each matching subscription,
//! so an event may arrive through its channel and through a pattern, each time for other listeners: that is no repeat.
//!
//! Anybody who may publish can forge a number. So the ledger ignores numbers that no server can have reached, and it
//! gives up a number that it believed when the sender's own numbers go on below it:
//!
//! ```text
//! number     1..10   900 (forged)      11       12       13        14
//! sight      New     New, 889 missed   Repeat   Repeat   Renewed   New
//!                                      └ below 900 ┘     └ the third rising number in a run that was never seen
//! ```
//!
//! Numbers of one source, with the current region first:
//!
//! ```text
//!             regions[1]          regions[0]
//!  ─────────[##########]────────[#########]───────┬──────────────┬──────▶ numbers
//!           seen: Repeat   gap            last   +1: New        up to JUMP_MAX (+ JUMP_PER_SECOND): New, with a gap
//! ```

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::time::Instant;

use crate::config::limits::NUMBERED_CHANNELS_MAX;
use crate::event::identity::Identity;
use crate::event::keyed::Keyed;

/// Largest plausible number. A server that sends a million events a second needs a year to reach it.
pub(crate) const NUMBER_MAX: u64 = 1 << 45;
/// Largest plausible jump beyond the last number. It exceeds the queue of a sender, all of which may be lost at once.
pub(crate) const JUMP_MAX: u64 = 65_536;
/// Growth of the plausible jump for each second since the last number: a receiver that was disconnected missed events.
pub(crate) const JUMP_PER_SECOND: u64 = 1_000_000;
/// Most names of servers that are remembered. Names can be forged, and no fleet is larger.
const SERVERS_MAX: usize = 1024;
/// Length of a run of rising numbers that makes a new baseline. The run's numbers were never seen and do not follow the
/// last one, so they are the sender's own and the last one was forged: a sender sends in order, so the numbers that it
/// repeats after a lost connection were seen, or follow seen ones.
pub(crate) const RISING_RUN: u8 = 3;
/// Regions of numbers remembered for each source: the current one, and those before gaps or baselines, in which a
/// number is a repeat.
pub(crate) const REGIONS: usize = 4;

const _: () = assert!(JUMP_MAX > crate::config::limits::OUTBOX_JOBS_MAX as u64 && NUMBER_MAX < 1 << 53);

/// The result for one event. All but [`Sight::Repeat`] are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The number was seen, or is below a seen one. Senders send in order, so the sender sent it again.
    Repeat,
    /// The event is new. `missed` events before it did not arrive, and no gap was reported for them yet.
    New { missed: u64 },
    /// The event is new, but no server can have reached its number: the ledger ignores the number.
    Implausible,
    /// The event is new, and its number is a new baseline: the numbers believed so far were not the sender's.
    Renewed,
}

/// All sources. It lives as long as the process: after a reconnection, the gap of the numbers shows the events that
/// were lost meanwhile.
#[derive(Default)]
pub struct Ledger {
    /// Hashes channels for the keys below, so that each key has a fixed size.
    hasher: Keyed,
    /// By number of the subscription, boot number of the sender, hash of the channel.
    pub(crate) seen: Recent<(u64, u64, u64), Source>,
    /// The number up to which gaps were reported, by boot number of the sender and hash of the channel. Every
    /// subscription that covers the channel sees a gap, but only the first one reports it.
    reported: Recent<(u64, u64), u64>,
    /// The number of each subscription to a channel, and to a pattern.
    channels: HashMap<Box<[u8]>, u64, Keyed>,
    patterns: HashMap<Box<[u8]>, u64, Keyed>,
    /// The number of the newest subscription.
    serial: u64,
    /// The names of all servers that sent an event, at most [`SERVERS_MAX`].
    servers: HashSet<Box<str>>,
    /// The boot number of the server that sent the last event: its name is known.
    last_boot: u64,
}

impl Ledger {
    /// Records one event that arrived at `now` on `channel`, through the subscription to `name`, a pattern or a
    /// channel. All names are as on the wire. The first number of a source is its baseline: nothing counts as missed
    /// before it.
    #[inline]
    pub fn see(&mut self, pattern: bool, name: &[u8], channel: &[u8], identity: &Identity<'_>, now: Instant) -> Sight {
        self.see_number(pattern, name, channel, (identity.boot, identity.seq), now)
    }

    /// As [`Ledger::see`], for an event of this sender's process and number.
    #[optimize(speed)]
    pub(crate) fn see_number(
        &mut self,
        pattern: bool,
        name: &[u8],
        channel: &[u8],
        (boot, seq): (u64, u64),
        now: Instant,
    ) -> Sight {
        if seq == 0 {
            return Sight::New { missed: 0 };
        }
        if seq > NUMBER_MAX {
            return Sight::Implausible;
        }
        let subscription = self.subscription(pattern, name);
        let channel = self.hasher.hash_one(channel);
        match self.seen.at((subscription, boot, channel)).judge(seq, now) {
            Verdict::Next => Sight::New { missed: 0 },
            Verdict::Seen => Sight::Repeat,
            Verdict::Implausible => Sight::Implausible,
            Verdict::Renewed => {
                // Gaps after the new baseline were never reported: the numbers so far were forged.
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

    /// Whether numbers are missing between the last event of this source and this one. Nothing is recorded.
    pub(crate) fn has_gap(&mut self, pattern: bool, name: &[u8], channel: &[u8], (boot, seq): (u64, u64)) -> bool {
        let (subscription, channel) = (self.subscription(pattern, name), self.hasher.hash_one(channel));
        let [(_, last), ..] = self.seen.at((subscription, boot, channel)).regions;
        last > 0 && seq > last + 1
    }

    /// True if this is the first event of a server of this name. Further names than [`SERVERS_MAX`] do not count. Runs for
    /// each event, and events of one server come in runs.
    pub(crate) fn is_first_of(&mut self, boot: u64, server: &str) -> bool {
        if std::mem::replace(&mut self.last_boot, boot) == boot {
            return false;
        }
        !self.servers.contains(server) && self.servers.len() < SERVERS_MAX && self.servers.insert(server.into())
    }

    /// Forgets a subscription whose end Redis has confirmed. If it begins again, it starts with new baselines: the
    /// events in between were not lost.
    pub(crate) fn forget(&mut self, pattern: bool, name: &[u8]) {
        self.subscriptions(pattern).remove(name);
    }

    /// Forgets every subscription that the routes do not want any more.
    pub(crate) fn keep_only(&mut self, wanted: impl Fn(bool, &[u8]) -> bool) {
        self.channels.retain(|name, _| wanted(false, name));
        self.patterns.retain(|name, _| wanted(true, name));
    }

    fn subscriptions(&mut self, pattern: bool) -> &mut HashMap<Box<[u8]>, u64, Keyed> {
        if pattern { &mut self.patterns } else { &mut self.channels }
    }

    /// The number of a subscription. It gets a new one after it was forgotten, so its old sources are never found again
    /// and age out of [`Recent`].
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

/// The numbers of one source.
#[derive(Default)]
pub(crate) struct Source {
    /// Regions of numbers seen without a gap, as `(first, last)`: the current one, then the others, newest first. An
    /// unused entry is `(0, 0)`.
    regions: [(u64, u64); REGIONS],
    /// A run of rising numbers that were never seen and fit into no region: its last number, and its length.
    run: (u64, u8),
    /// The time at which the current region last grew. `None`: no number yet.
    grew: Option<Instant>,
}

/// The relation of a number to those that its source has seen.
enum Verdict {
    /// The first number, or the successor of the last.
    Next,
    /// Beyond a gap after the last number, which is given.
    After(u64),
    /// Seen, or below the last number.
    Seen,
    Implausible,
    /// The end of a run of [`RISING_RUN`] numbers: a new baseline.
    Renewed,
}

impl Source {
    /// Compares a number with the regions, and records it.
    fn judge(&mut self, seq: u64, now: Instant) -> Verdict {
        let [(_, last), (_, other), ..] = self.regions;
        if last == 0 || seq == last + 1 && other == 0 {
            let [current, ..] = &mut self.regions;
            *current = (if last == 0 { seq } else { current.0 }, seq);
            return self.accept(Verdict::Next, now);
        }
        if let Some(at) = self.regions.iter().position(|(first, last)| (*first..=*last).contains(&seq)) {
            // Repeats have reached an older region from below: both are one from here on.
            if seq == last + 1 {
                self.join(at);
                return self.accept(Verdict::Seen, now);
            }
            return Verdict::Seen;
        }
        if seq < last {
            return self.extend_run(seq, now).unwrap_or(Verdict::Seen);
        }
        if seq - last > self.jump_max(now) {
            return self.extend_run(seq, now).unwrap_or(Verdict::Implausible);
        }
        if seq == last + 1 {
            let [current, ..] = &mut self.regions;
            current.1 = seq;
            return self.accept(Verdict::Next, now);
        }
        self.begin(seq);
        self.accept(Verdict::After(last), now)
    }

    /// Ends the run, as the number belongs to the sender, and records the time of the growth.
    fn accept(&mut self, verdict: Verdict, now: Instant) -> Verdict {
        (self.run, self.grew) = ((0, 0), Some(now));
        verdict
    }

    /// The largest plausible jump beyond the last number at `now`.
    fn jump_max(&self, now: Instant) -> u64 {
        let since = self.grew.map_or(0, |grew| now.saturating_duration_since(grew).as_secs());
        JUMP_MAX.saturating_add(JUMP_PER_SECOND.saturating_mul(since))
    }

    /// Adds a number that fits into no region to the run, or begins a new run if it does not rise. The third of a run
    /// is a new baseline.
    fn extend_run(&mut self, seq: u64, now: Instant) -> Option<Verdict> {
        let (last, count) = self.run;
        self.run = (seq, if seq > last { count + 1 } else { 1 });
        (self.run.1 >= RISING_RUN).then(|| {
            self.begin(seq);
            self.accept(Verdict::Renewed, now)
        })
    }

    /// Begins a new region in the place of the oldest.
    fn begin(&mut self, seq: u64) {
        self.regions.rotate_right(1);
        let [current, ..] = &mut self.regions;
        *current = (seq, seq);
    }

    /// Joins the current region with the one at index `at`, which it has reached.
    fn join(&mut self, at: usize) {
        let Some(last) = self.regions.get(at).map(|(_, last)| *last) else { return };
        let [current, ..] = &mut self.regions;
        current.1 = last;
        // The other regions keep their order, and the free entry becomes the last.
        if let Some(behind) = self.regions.get_mut(at..) {
            behind.rotate_left(1);
        }
        let [.., free] = &mut self.regions;
        *free = (0, 0);
    }
}

/// A map that keeps at least the [`NUMBERED_CHANNELS_MAX`] most recently used keys, in two halves. A used key moves to
/// the young half. When the young half is full, it becomes the old half, and the keys still in the old half are
/// forgotten. A list in order of use would be exact but cost more for each use.
pub(crate) struct Recent<K, V> {
    pub(crate) young: HashMap<K, V, Keyed>,
    pub(crate) old: HashMap<K, V, Keyed>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Recent<K, V> {
        Recent { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<K: Eq + Hash, V: Default> Recent<K, V> {
    /// The value of a key, at first the default. Counts as a use.
    #[optimize(speed)]
    fn at(&mut self, key: K) -> &mut V {
        if self.young.len() >= NUMBERED_CHANNELS_MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let Recent { young, old } = self;
        young.entry(key).or_insert_with_key(|key| old.remove(key).unwrap_or_default())
    }
}
