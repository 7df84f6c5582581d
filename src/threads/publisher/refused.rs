//! What Redis refused for the moment, and what of it can still be sent in order when it is asked again.
//! Knows no connection and no queue. Items stay in the order in which they were written.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::threads::publisher::outbox::Item;
use crate::threads::publisher::run::{Effect, Run};

#[derive(Default)]
pub(super) struct Refused {
    pub(super) items: Vec<Item>,
    overtaken: HashMap<(Space, Box<[u8]>), Overtaken>,
    /// How many had been refused when a command of a script's own went through, which may have done anything.
    by_unknown: usize,
    /// The highest number of the counters that went through, or may have.
    counted: u64,
    pub(super) retry_at: Option<Instant>,
    /// Nothing is wrong with Redis: it is asked again at once, in other words.
    pub(super) is_soon: bool,
    /// What Redis said.
    pub(super) reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Space {
    Channel,
    Key,
}

/// How many had been refused when something later on the same channel or key went through.
#[derive(Default, Clone, Copy)]
struct Overtaken {
    by_counts: usize,
    by_others: usize,
}

/// What becomes of an item that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Again,
    /// It would turn the order round.
    Overtaken,
    /// An earlier attempt may have done it, and nobody can tell any more.
    Unknown,
}

impl Refused {
    /// Something was refused, with these words; all is to be asked again after the pause, if there is one.
    pub(super) fn put_off(&mut self, reason: &str, pause: Option<Duration>) {
        self.reason = reason.to_owned();
        self.is_soon = pause.is_none() && (self.is_soon || self.retry_at.is_none());
        let retry_at = Instant::now() + pause.unwrap_or_default();
        self.retry_at = Some(self.retry_at.map_or(retry_at, |known| known.max(retry_at)));
    }

    /// An item went through: what was refused before it on its channel or keys is overtaken.
    pub(super) fn note_success(&mut self, item: &Item) {
        let refused = self.items.len();
        if refused == 0 {
            return;
        }
        match item {
            Item::Publish(publish) => self.entry(Space::Channel, publish.parts().0).by_others = refused,
            Item::Run(run) => match run.effect() {
                Effect::Reads => {}
                Effect::Unknown => self.by_unknown = refused,
                Effect::Writes => run.targets().for_each(|key| self.entry(Space::Key, key).by_others = refused),
                Effect::Counts => {
                    run.targets().for_each(|key| self.entry(Space::Key, key).by_counts = refused);
                    self.note_number(run);
                }
            },
        }
    }

    /// A counter may have been applied under its number, which hides what becomes of lower ones.
    pub(super) fn note_number(&mut self, run: &Run) {
        self.counted = self.counted.max(run.number().unwrap_or(0));
    }

    fn entry(&mut self, space: Space, name: &[u8]) -> &mut Overtaken {
        self.overtaken.entry((space, name.into())).or_default()
    }

    /// Whether a read that went through does not see what was refused before it.
    pub(super) fn spoils(&self, read: &Run) -> bool {
        let runs = self.items.iter().filter_map(|item| match item {
            Item::Run(run) if run.effect() != Effect::Reads => Some(run),
            Item::Run(_) | Item::Publish(_) => None,
        });
        let mut runs = runs.peekable();
        // A board reads keys that it does not name.
        match read.is_board() {
            true => runs.peek().is_some(),
            false => runs.any(|run| run.targets().any(|key| read.targets().any(|own| own == key))),
        }
    }

    /// Each item with its fate, in their order.
    pub(super) fn release(self) -> Vec<(Item, Fate)> {
        let fate = |at: usize, item: &Item| {
            let of = |space, name: &[u8]| self.overtaken.get(&(space, name.into())).copied().unwrap_or_default();
            let run = match item {
                Item::Publish(publish) if of(Space::Channel, publish.parts().0).by_others > at => {
                    return Fate::Overtaken;
                }
                Item::Publish(_) => return Fate::Again,
                Item::Run(run) => run,
            };
            let by_others = self.by_unknown > at || run.targets().any(|key| of(Space::Key, key).by_others > at);
            let by_counts = run.targets().any(|key| of(Space::Key, key).by_counts > at);
            match run.effect() {
                Effect::Reads => Fate::Again,
                Effect::Counts if run.number_in_doubt().is_some_and(|number| number < self.counted) => Fate::Unknown,
                Effect::Counts if !by_others => Fate::Again,
                Effect::Writes | Effect::Unknown if !by_others && !by_counts => Fate::Again,
                Effect::Counts | Effect::Writes | Effect::Unknown => Fate::Overtaken,
            }
        };
        let fates: Vec<Fate> = self.items.iter().enumerate().map(|(at, item)| fate(at, item)).collect();
        self.items.into_iter().zip(fates).collect()
    }
}
