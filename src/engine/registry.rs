//! The store under listeners, hooks and aggregators: values by key, in order of registration.
//! Game thread only. It knows nothing of Lua; the files above it (`listeners.rs`, `registrations.rs`) decide when a
//! value keeps its place, and hand the Lua references of removed values back.
//!
//! ```text
//!  serials   key ──▶ serial      the newest serial of each key
//!  values    serial ──▶ value    iteration in order of registration
//! ```

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Values by key, ordered by serial. Both maps are ordered maps: adding, finding and removing cost the same few steps
/// with ten entries and with ten thousand. Serials come from the owner, which may share one count among several
/// registries.
pub(crate) struct Registry<K, V> {
    values: BTreeMap<u64, V>,
    serials: BTreeMap<K, u64>,
}

impl<K, V> Default for Registry<K, V> {
    fn default() -> Registry<K, V> {
        Registry { values: BTreeMap::new(), serials: BTreeMap::new() }
    }
}

impl<K: Ord, V> Registry<K, V> {
    /// The place of a key in the order. Passed to [`Registry::put`] again, it lets a new value take the old place.
    pub(crate) fn serial<Q: Ord + ?Sized>(&self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
    {
        self.serials.get(key).copied()
    }

    /// The value of a key.
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.serials.get(key).and_then(|serial| self.values.get(serial))
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.serials.get(key).and_then(|serial| self.values.get_mut(serial))
    }

    /// Stores a value at the place `serial` and returns the value that the key had before.
    pub(crate) fn put(&mut self, key: K, serial: u64, value: V) -> Option<V> {
        let before = self.serials.insert(key, serial).and_then(|serial| self.values.remove(&serial));
        self.values.insert(serial, value);
        before
    }

    /// Removes the value of a key, with its place in the order.
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.serials.remove(key).and_then(|serial| self.values.remove(&serial))
    }

    /// Every key not below `first`, with its value, in order of the keys. Keys that begin alike stand together, so this
    /// finds all channels of one id.
    pub(crate) fn starting_at(&self, first: K) -> impl Iterator<Item = (&K, &V)> {
        self.serials.range(first..).filter_map(|(key, serial)| Some((key, self.values.get(serial)?)))
    }

    /// The values registered after `after` and not after `until`, with their serials, in order of registration.
    pub(crate) fn between(&self, after: u64, until: u64) -> impl Iterator<Item = (u64, &V)> {
        let range = (Bound::Excluded(after), Bound::Included(until));
        self.values.range(range).map(|(serial, value)| (*serial, value))
    }

    /// All values, in order of registration.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.values_mut()
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.values.into_values()
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}
