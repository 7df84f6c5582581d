//! Items that Redis refused for the moment, and which of them can still be sent in order when Redis is asked again.
//! A pure value without connection, queue or clock; `rt-publisher` owns it as a field of its backlog.
//! Guarantee: items keep the order in which they were written, and none is sent again after a later item on the same
//! channel or key has succeeded.
//!
//! ```text
//!   written:  A1 A2 B1 A3          (A, B: channels or keys; A2 and A3 are counters on A)
//!   replies:  busy ok ok busy
//!   released: A1 is Overtaken (A2 succeeded behind it), A3 goes Again
//! ```

use std::collections::HashMap;

use crate::redis::error_reply::ErrorReply;
use crate::threads::publisher::outbox::Outgoing;
use crate::threads::publisher::run::{Effect, Run};

/// The refused items, and how far later items have overtaken them. Emptied by [`Refused::release`].
#[derive(Default)]
pub(super) struct Refused {
    items: Vec<Outgoing>,
    /// For each channel or key on which a later item succeeded.
    overtaken: HashMap<(Space, Box<[u8]>), Overtaken>,
    /// How many items had been refused when a script's own command succeeded, which may have changed anything.
    by_unknown: usize,
    /// The same in a cluster, where it may have changed keys of its slot.
    by_unknown_of: HashMap<u16, usize>,
    /// Redis is a cluster.
    is_cluster: bool,
    /// The highest number of the counters that Redis applied, or may have applied.
    counted: u64,
    /// The error reply, as `redis: ...`.
    reason: String,
    /// The error was about the keys of a command: events may go past it.
    is_about_keys: bool,
}

/// Channels and keys are separate name spaces of Redis.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Space {
    Channel,
    Key,
}

/// How many items had been refused when something later on the same channel or key succeeded: those before that
/// position are overtaken.
#[derive(Default, Clone, Copy)]
struct Overtaken {
    by_counts: usize,
    by_others: usize,
}

/// The decision about one refused item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is sent again.
    Again,
    /// Sending it again would reverse the order on its channel or key.
    Overtaken,
    /// A counter that an earlier attempt may have applied. A higher number has been applied since, so the script would
    /// take this one for applied in any case.
    Unknown,
}

impl Refused {
    /// The last error reply. It stays after the items are released, until something succeeds: it is the reason why
    /// items expire meanwhile.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Redis refused another item with this error.
    pub(super) fn set_reason(&mut self, error: &ErrorReply) {
        self.reason = format!("redis: {error}");
        self.is_about_keys = error.is_about_keys();
    }

    /// Takes all out. Until something succeeds, the error stays the reason for which items wait and expire.
    pub(super) fn take(&mut self) -> Refused {
        let reason = self.reason.clone();
        std::mem::replace(self, Refused { reason, ..Refused::default() })
    }

    /// Whether events may go past the refused items: these are commands, and the error was about their keys. An event and a
    /// command have no order between them.
    pub(super) fn lets_events_pass(&self) -> bool {
        self.is_about_keys && self.items.iter().all(|item| matches!(item, Outgoing::Run(_)))
    }

    /// Redis executes items again. Items that are still to be released keep their reason.
    pub(super) fn calm_down(&mut self) {
        if self.items.is_empty() {
            self.reason.clear();
        }
    }

    /// Redis is a cluster: each command has keys of one slot.
    pub(super) fn is_of_cluster(&mut self) {
        self.is_cluster = true;
    }

    /// Adds an item behind those that were written before it.
    pub(super) fn push(&mut self, item: Outgoing) {
        self.items.push(item);
    }

    /// All items, whatever their fate would be.
    pub(super) fn take_items(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.items)
    }

    /// An item succeeded: items refused before it on the same channel or keys are overtaken.
    pub(super) fn note_success(&mut self, item: &Outgoing) {
        let refused = self.items.len();
        if refused == 0 {
            return;
        }
        match item {
            Outgoing::Publish(publish) => self.entry(Space::Channel, publish.parts().0).by_others = refused,
            Outgoing::Run(run) => match run.effect() {
                Effect::Reads => {}
                Effect::Unknown => match run.slot().filter(|_| self.is_cluster) {
                    Some(slot) => _ = self.by_unknown_of.insert(slot, refused),
                    None => self.by_unknown = refused,
                },
                Effect::Writes => run.targets().for_each(|key| self.entry(Space::Key, key).by_others = refused),
                Effect::Counts => {
                    run.targets().for_each(|key| self.entry(Space::Key, key).by_counts = refused);
                    self.note_number(run);
                }
            },
        }
    }

    /// Redis applied a counter under its number, or may have: the script takes every lower number for applied.
    pub(super) fn note_number(&mut self, run: &Run) {
        self.counted = self.counted.max(run.number().unwrap_or(0));
    }

    fn entry(&mut self, space: Space, name: &[u8]) -> &mut Overtaken {
        self.overtaken.entry((space, name.into())).or_default()
    }

    /// Whether the answer to this read is stale: a write before it on one of its keys was refused.
    pub(super) fn spoils(&self, read: &Run) -> bool {
        let runs = self.items.iter().filter_map(|item| match item {
            Outgoing::Run(run) if run.effect() != Effect::Reads => Some(run),
            Outgoing::Run(_) | Outgoing::Publish(_) => None,
        });
        let mut runs = runs.peekable();
        // The search for a leaderboard reads keys that it does not name.
        if read.is_board() {
            runs.peek().is_some()
        } else {
            runs.any(|run| run.targets().any(|key| read.targets().any(|own| own == key)))
        }
    }

    /// All items with their fates, in the order written.
    pub(super) fn release(self) -> Vec<(Outgoing, Fate)> {
        let fates: Vec<Fate> = self.items.iter().enumerate().map(|(at, item)| self.fate(at, item)).collect();
        self.items.into_iter().zip(fates).collect()
    }

    /// The fate of the item at this position.
    fn fate(&self, at: usize, item: &Outgoing) -> Fate {
        let of = |space, name: &[u8]| self.overtaken.get(&(space, name.into())).copied().unwrap_or_default();
        let run = match item {
            Outgoing::Publish(publish) if of(Space::Channel, publish.parts().0).by_others > at => {
                return Fate::Overtaken;
            }
            Outgoing::Publish(_) => return Fate::Again,
            Outgoing::Run(run) => run,
        };
        let by_unknown = |slot| self.by_unknown_of.get(&slot).is_some_and(|before| *before > at);
        let by_others = self.by_unknown > at
            || run.slot().filter(|_| self.is_cluster).is_some_and(by_unknown)
            || run.targets().any(|key| of(Space::Key, key).by_others > at);
        let by_counts = run.targets().any(|key| of(Space::Key, key).by_counts > at);
        match run.effect() {
            Effect::Reads => Fate::Again,
            Effect::Counts if run.number_in_doubt().is_some_and(|number| number < self.counted) => Fate::Unknown,
            // Additions commute: a counter may go behind a later counter.
            Effect::Counts if !by_others => Fate::Again,
            Effect::Writes | Effect::Unknown if !by_others && !by_counts => Fate::Again,
            Effect::Counts | Effect::Writes | Effect::Unknown => Fate::Overtaken,
        }
    }
}
