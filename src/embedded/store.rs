//! [`Store`], the values of the embedded server: texts and rankings by key, each with or without an end. Pure: every call
//! gets the time, in milliseconds of Unix time. Memory is counted and bounded; [`Store::has_room`] is asked before a
//! command that may grow it.
//!
//! The keys are ordered by a hash, so a position for SCAN is a number: the hash from which to go on. A key that is there
//! during a whole search is returned, because its hash never changes. The hash is keyed at random: nobody can choose
//! names that collide.
//!
//! ```text
//!   SCAN 0 ──▶ keys with the lowest hashes ──▶ cursor: the hash of the next key ──▶ ... ──▶ cursor 0: all seen
//! ```

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use super::ranking::Ranking;

/// Memory that one key takes beside its bytes: its node in the tree, half empty at worst, and two allocations.
const KEY_OVERHEAD_BYTES: usize = 160;
/// A full search for ended keys is made at most once in this time, in milliseconds.
const SWEEP_PAUSE_MS: u64 = 1000;
/// Bits of a hash. Programs that hold a cursor as a double keep 53 bits of it.
const HASH_BITS: u32 = 52;

/// The value of one key.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Box<[u8]>),
    Ranking(Box<Ranking>),
}

/// A key holds a value of the other type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OtherType;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    /// When the key ends, in milliseconds of Unix time; `None`: never.
    pub(super) ends: Option<u64>,
}

impl Entry {
    fn has_ended(&self, now: u64) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    /// Memory that it is charged for, in bytes, without its key.
    fn bytes(&self) -> usize {
        match &self.value {
            Value::Text(text) => text.len(),
            Value::Ranking(ranking) => ranking.bytes(),
        }
    }
}

pub(crate) struct Store {
    /// By hash and key.
    keys: BTreeMap<(u64, Box<[u8]>), Entry>,
    hasher: RandomState,
    bytes: usize,
    bytes_max: usize,
    /// Grows with every change, so that unchanged values are not written to the disk again.
    changes: u64,
    /// Where the search for ended keys goes on.
    sweep_from: u64,
    /// When all keys were last searched for ended ones.
    swept: u64,
}

impl Store {
    /// An empty store for this many bytes.
    pub(crate) fn new(bytes_max: usize) -> Store {
        Store {
            keys: BTreeMap::new(),
            hasher: RandomState::new(),
            bytes: 0,
            bytes_max,
            changes: 0,
            sweep_from: 0,
            swept: 0,
        }
    }

    /// Memory that the values are charged for, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// A number that grows with every change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The hash of a key: its place in the order. Never 0, which is the cursor of a finished search.
    fn hash(&self, key: &[u8]) -> u64 {
        (self.hasher.hash_one(key) >> (u64::BITS - HASH_BITS)).max(1)
    }

    /// The entry of a key that has not ended; one that has is removed.
    fn look(&mut self, key: &[u8], now: u64) -> Option<&mut Entry> {
        let hash = self.hash(key);
        let is_it = |known: &(u64, Box<[u8]>)| known.0 == hash && *known.1 == *key;
        let from = (hash, Box::default());
        let found = self.keys.range(from.clone()..).take_while(|(known, _)| known.0 == hash).find(|(k, _)| is_it(k))?.1;
        if found.has_ended(now) {
            self.remove(key);
            return None;
        }
        Some(self.keys.range_mut(from..).find(|(known, _)| is_it(known))?.1)
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.keys.remove(&(self.hash(key), key.into()))?;
        self.bytes -= key.len() + KEY_OVERHEAD_BYTES + entry.bytes();
        self.changes += 1;
        Some(entry)
    }

    /// The value of a key.
    pub(super) fn value(&mut self, key: &[u8], now: u64) -> Option<&Value> {
        self.look(key, now).map(|entry| &entry.value)
    }

    /// The text of a key; `None`: there is no such key.
    pub(super) fn text(&mut self, key: &[u8], now: u64) -> Result<Option<&[u8]>, OtherType> {
        match self.value(key, now) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Ranking(_)) => Err(OtherType),
        }
    }

    /// The ranking of a key; `None`: there is no such key.
    pub(super) fn ranking(&mut self, key: &[u8], now: u64) -> Result<Option<&Ranking>, OtherType> {
        match self.value(key, now) {
            None => Ok(None),
            Some(Value::Ranking(ranking)) => Ok(Some(ranking)),
            Some(Value::Text(_)) => Err(OtherType),
        }
    }

    /// Puts a value in the place of any earlier one.
    pub(super) fn put(&mut self, key: &[u8], value: Value, ends: Option<u64>) {
        self.remove(key);
        let entry = Entry { value, ends };
        self.bytes += key.len() + KEY_OVERHEAD_BYTES + entry.bytes();
        self.changes += 1;
        self.keys.insert((self.hash(key), key.into()), entry);
    }

    /// Puts a text in the place of the earlier one; the key ends when it did.
    pub(super) fn put_text(&mut self, key: &[u8], text: &[u8], now: u64) {
        let ends = self.ends(key, now).flatten();
        self.put(key, Value::Text(text.into()), ends);
    }

    /// Changes the ranking of a key. It is made if there is none, and removed if it is empty afterwards.
    pub(super) fn change_ranking<T>(
        &mut self,
        key: &[u8],
        now: u64,
        change: impl FnOnce(&mut Ranking) -> T,
    ) -> Result<T, OtherType> {
        self.ranking(key, now)?;
        // Taken out and put back: the sizes are counted in one place.
        let (mut ranking, ends) = match self.remove(key) {
            Some(Entry { value: Value::Ranking(ranking), ends }) => (ranking, ends),
            _ => (Box::default(), None),
        };
        let outcome = change(&mut ranking);
        if !ranking.entries().is_empty() {
            self.put(key, Value::Ranking(ranking), ends);
        }
        Ok(outcome)
    }

    /// Removes a key. False: there is none.
    pub(super) fn delete(&mut self, key: &[u8], now: u64) -> bool {
        self.look(key, now).is_some() && self.remove(key).is_some()
    }

    /// When a key ends; `Some(None)`: never; `None`: there is no such key.
    pub(super) fn ends(&mut self, key: &[u8], now: u64) -> Option<Option<u64>> {
        self.look(key, now).map(|entry| entry.ends)
    }

    /// Sets when a key ends. A moment that has passed removes it. False: there is no such key.
    pub(super) fn set_end(&mut self, key: &[u8], now: u64, ends: Option<u64>) -> bool {
        let Some(entry) = self.look(key, now) else { return false };
        entry.ends = ends;
        self.changes += 1;
        // Removes it if it has ended.
        self.look(key, now);
        true
    }

    /// Removes all keys.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.bytes = 0;
        self.changes += 1;
    }

    /// All keys that have not ended, with their entries.
    pub(super) fn entries(&self, now: u64) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.keys.iter().filter(move |(_, entry)| !entry.has_ended(now)).map(|((_, key), entry)| (&**key, entry))
    }

    /// One step of a search through all keys: hands out the entries from `cursor` on, at least `count` of them if there are
    /// so many. Returns the next cursor; 0: that was the last step.
    pub(super) fn scan(&self, cursor: u64, count: usize, now: u64, mut each: impl FnMut(&[u8], &Entry)) -> u64 {
        let mut last = 0;
        for (seen, ((hash, key), entry)) in self.keys.range((cursor, Box::default())..).enumerate() {
            // Keys of one hash belong to one step, as the cursor cannot tell them apart.
            if seen >= count && *hash != last {
                return *hash;
            }
            last = *hash;
            if !entry.has_ended(now) {
                each(key, entry);
            }
        }
        0
    }

    /// Looks at up to `count` keys and removes those that have ended. Each call goes on where the last one stopped.
    pub(crate) fn sweep(&mut self, count: usize, now: u64) {
        let mut ended: Vec<Box<[u8]>> = Vec::new();
        let mut next = 0;
        for (seen, ((hash, key), entry)) in self.keys.range((self.sweep_from, Box::default())..).enumerate() {
            if seen >= count {
                next = *hash;
                break;
            }
            if entry.has_ended(now) {
                ended.push(key.clone());
            }
        }
        self.sweep_from = next;
        ended.iter().for_each(|key| _ = self.remove(key));
    }

    /// Whether a command with arguments of so many bytes may grow the store. If memory is short, ended keys make room.
    pub(super) fn has_room(&mut self, words: usize, bytes: usize, now: u64) -> bool {
        let growth = bytes.saturating_add(words.saturating_mul(KEY_OVERHEAD_BYTES));
        let fits = |store: &Store| store.bytes.saturating_add(growth) <= store.bytes_max;
        // The clock may have been set back.
        if !fits(self) && now.abs_diff(self.swept) >= SWEEP_PAUSE_MS {
            self.swept = now;
            self.sweep_from = 0;
            self.sweep(usize::MAX, now);
        }
        fits(self)
    }
}

#[cfg(test)]
mod tests;
