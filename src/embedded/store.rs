//! [`Store`], the values of the embedded server: texts, rankings and streams by key, each with or without an end. Pure: every call
//! gets the time, in milliseconds of Unix time. Memory is counted and bounded; [`Store::has_room`] is asked before a
//! command that may grow it.
//!
//! The keys are ordered by a hash, so a position for SCAN is a number: the hash from which to go on. A key that is there
//! during a whole search is returned, because its hash never changes. The hash is keyed at random: nobody can choose
//! names that collide.
//!
//! The keys are one sorted list, which takes a fifth of a tree's code. A new key moves those behind its place: some
//! microseconds for ten thousand keys.
//!
//! ```text
//!   SCAN 0 ──▶ keys with the lowest hashes ──▶ cursor: the hash of the next key ──▶ ... ──▶ cursor 0: all seen
//! ```

use std::hash::{BuildHasher, RandomState};

use super::ranking::Ranking;
use super::stream::{STREAM_BYTES_MAX, Stream};

/// Memory that one key takes beside its bytes: its place in the list, which may be half empty, and two allocations.
const KEY_OVERHEAD_BYTES: usize = 160;
/// A full search for ended keys is made at most once in this time, in milliseconds.
const SWEEP_PAUSE_MS: u64 = 1000;
/// Part of the store that is freed at once when the entries of streams make room: until the next search, writes fit it.
const ROOM_SHARE: usize = 16;
/// Bits of a hash. Programs that hold a cursor as a double keep 53 bits of it.
const HASH_BITS: u32 = 52;

/// The value of one key.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Box<[u8]>),
    Ranking(Box<Ranking>),
    Stream(Box<Stream>),
}

/// A key holds a value of another type.
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
            Value::Stream(stream) => stream.bytes(),
        }
    }
}

/// One key in the list.
#[derive(Debug)]
struct Slot {
    hash: u64,
    key: Box<[u8]>,
    entry: Entry,
}

pub(crate) struct Store {
    /// By hash and key.
    keys: Vec<Slot>,
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
        Store { keys: Vec::new(), hasher: RandomState::new(), bytes: 0, bytes_max, changes: 0, sweep_from: 0, swept: 0 }
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

    /// The place of a key; the error is the place where it would stand.
    fn find(&self, hash: u64, key: &[u8]) -> Result<usize, usize> {
        self.keys.binary_search_by(|slot| slot.hash.cmp(&hash).then_with(|| (*slot.key).cmp(key)))
    }

    /// The entry of a key that has not ended; one that has is removed.
    fn look(&mut self, key: &[u8], now: u64) -> Option<&mut Entry> {
        let at = self.find(self.hash(key), key).ok()?;
        if self.keys.get(at).is_some_and(|slot| slot.entry.has_ended(now)) {
            self.remove(key);
            return None;
        }
        self.keys.get_mut(at).map(|slot| &mut slot.entry)
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let at = self.find(self.hash(key), key).ok()?;
        let Slot { key, entry, .. } = self.keys.remove(at);
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
            Some(_) => Err(OtherType),
        }
    }

    /// The ranking of a key; `None`: there is no such key.
    pub(super) fn ranking(&mut self, key: &[u8], now: u64) -> Result<Option<&Ranking>, OtherType> {
        match self.value(key, now) {
            None => Ok(None),
            Some(Value::Ranking(ranking)) => Ok(Some(ranking)),
            Some(_) => Err(OtherType),
        }
    }

    /// The stream of a key; `None`: there is no such key.
    pub(super) fn stream(&mut self, key: &[u8], now: u64) -> Result<Option<&Stream>, OtherType> {
        match self.value(key, now) {
            None => Ok(None),
            Some(Value::Stream(stream)) => Ok(Some(stream)),
            Some(_) => Err(OtherType),
        }
    }

    /// Puts a value in the place of any earlier one.
    pub(super) fn put(&mut self, key: &[u8], value: Value, ends: Option<u64>) {
        let hash = self.hash(key);
        let entry = Entry { value, ends };
        self.bytes += entry.bytes();
        self.changes += 1;
        match self.find(hash, key) {
            Ok(at) => {
                if let Some(slot) = self.keys.get_mut(at) {
                    self.bytes -= slot.entry.bytes();
                    slot.entry = entry;
                }
            }
            Err(at) => {
                self.bytes += key.len() + KEY_OVERHEAD_BYTES;
                self.keys.insert(at, Slot { hash, key: key.into(), entry });
            }
        }
    }

    /// Puts a text in the place of the earlier one; the key ends when it did.
    pub(super) fn put_text(&mut self, key: &[u8], text: &[u8], now: u64) {
        let ends = self.ends(key, now).flatten();
        self.put(key, Value::Text(text.into()), ends);
    }

    /// Changes the ranking of a key. It is made if there is none, and removed if it is empty afterwards.
    pub(super) fn change_ranking(
        &mut self,
        key: &[u8],
        now: u64,
        change: &mut dyn FnMut(&mut Ranking),
    ) -> Result<(), OtherType> {
        if self.ranking(key, now)?.is_none() {
            self.put(key, Value::Ranking(Box::default()), None);
        }
        let mut is_empty = false;
        self.change(key, now, &mut |value| {
            if let Value::Ranking(ranking) = value {
                change(ranking);
                is_empty = ranking.entries().is_empty();
            }
        });
        if is_empty {
            self.remove(key);
        }
        Ok(())
    }

    /// Changes the stream of a key. It is made if there is none. An empty one stays, for its largest id.
    pub(super) fn change_stream(
        &mut self,
        key: &[u8],
        now: u64,
        change: &mut dyn FnMut(&mut Stream),
    ) -> Result<(), OtherType> {
        if self.stream(key, now)?.is_none() {
            self.put(key, Value::Stream(Box::default()), None);
        }
        self.change(key, now, &mut |value| {
            if let Value::Stream(stream) = value {
                change(stream);
            }
        });
        Ok(())
    }

    /// Changes a value in its place.
    fn change(&mut self, key: &[u8], now: u64, change: &mut dyn FnMut(&mut Value)) {
        let (mut before, mut after) = (0, 0);
        if let Some(entry) = self.look(key, now) {
            before = entry.bytes();
            change(&mut entry.value);
            after = entry.bytes();
        }
        self.bytes = self.bytes + after - before;
        self.changes += 1;
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
        self.keys.iter().filter(move |slot| !slot.entry.has_ended(now)).map(|slot| (&*slot.key, &slot.entry))
    }

    /// The keys of one step of a search: from `cursor` on, at least `count` of them if there are so many, and the next
    /// cursor; 0: that was the last step.
    fn step(&self, cursor: u64, count: usize) -> (std::ops::Range<usize>, u64) {
        let first = self.keys.partition_point(|slot| slot.hash < cursor);
        let mut end = first.saturating_add(count).min(self.keys.len());
        let hash = |at: usize| self.keys.get(at).map(|slot| slot.hash);
        // Keys of one hash belong to one step, as the cursor cannot tell them apart.
        while end > first && hash(end).is_some() && hash(end) == hash(end - 1) {
            end += 1;
        }
        (first..end, hash(end).unwrap_or(0))
    }

    /// One step of a search through all keys: hands out the entries from `cursor` on, and returns the next cursor.
    pub(super) fn scan(&self, cursor: u64, count: usize, now: u64, each: &mut dyn FnMut(&[u8], &Entry)) -> u64 {
        let (span, next) = self.step(cursor, count);
        let living = self.keys.get(span).unwrap_or_default().iter().filter(|slot| !slot.entry.has_ended(now));
        living.for_each(|slot| each(&slot.key, &slot.entry));
        next
    }

    /// Looks at up to `count` keys and removes those that have ended. Each call goes on where the last one stopped.
    pub(crate) fn sweep(&mut self, count: usize, now: u64) {
        let (span, next) = self.step(self.sweep_from, count);
        self.sweep_from = next;
        let before = self.keys.len();
        let mut freed = 0;
        self.keys.extract_if(span, |slot| slot.entry.has_ended(now)).for_each(|slot| {
            freed += slot.key.len() + KEY_OVERHEAD_BYTES + slot.entry.bytes();
        });
        self.bytes -= freed;
        self.changes += u64::from(self.keys.len() < before);
    }

    /// Whether a command with arguments of so many bytes may grow the store. If memory is short, ended keys make room,
    /// then the oldest entries of streams: other values cannot be had again.
    pub(super) fn has_room(&mut self, words: usize, bytes: usize, now: u64) -> bool {
        let growth = bytes.saturating_add(words.saturating_mul(KEY_OVERHEAD_BYTES));
        let fits = |store: &Store| store.bytes.saturating_add(growth) <= store.bytes_max;
        // The clock may have been set back.
        if !fits(self) && now.abs_diff(self.swept) >= SWEEP_PAUSE_MS {
            self.swept = now;
            self.sweep_from = 0;
            self.sweep(usize::MAX, now);
            if !fits(self) {
                self.shorten_streams(growth.saturating_add(self.bytes_max / ROOM_SHARE));
            }
        }
        fits(self)
    }

    /// Drops the oldest entries of streams, of the largest ones first, until so many bytes fit. The newest entry of each
    /// stream stays.
    fn shorten_streams(&mut self, growth: usize) {
        let (mut most, mut freed) = (STREAM_BYTES_MAX, 0);
        let bytes_max = self.bytes_max.saturating_sub(growth);
        while most > 0 && self.bytes - freed > bytes_max {
            most /= 2;
            for slot in &mut self.keys {
                if let Value::Stream(stream) = &mut slot.entry.value {
                    let before = stream.bytes();
                    stream.fit(most);
                    freed += before - stream.bytes();
                }
            }
        }
        self.bytes -= freed;
        self.changes += u64::from(freed > 0);
    }
}

#[cfg(test)]
mod tests;
