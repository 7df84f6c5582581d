//! The store under listeners, hooks and aggregators: values by key, in order of registration.
//! Game thread only. It knows nothing of Lua; the files above it (`listeners.rs`, `registrations.rs`) decide when a
//! value keeps its place, and hand the Lua references of removed values back.
//!
//! ```text
//!  serials   key ──▶ serial      the newest serial of each key
//!  values    serial ──▶ value    iteration in order of registration
//! ```

use crate::sorted::Sorted;

/// Values by key, ordered by serial. Serials come from the owner, which may share one count among several registries.
pub(crate) struct Registry<V> {
    values: Sorted<u64, V>,
    serials: Sorted<Box<[u8]>, u64>,
}

impl<V> Default for Registry<V> {
    fn default() -> Registry<V> {
        Registry { values: Sorted::default(), serials: Sorted::default() }
    }
}

impl<V> Registry<V> {
    /// The place of a key in the order. Passed to [`Registry::put`] again, it lets a new value take the old place.
    pub(crate) fn serial(&self, key: &[u8]) -> Option<u64> {
        self.serials.get(key).copied()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.values.get(&self.serial(key)?)
    }

    /// The value with this serial.
    pub(crate) fn at_mut(&mut self, serial: u64) -> Option<&mut V> {
        self.values.get_mut(&serial)
    }

    /// Stores a value at the place `serial` and returns the value that the key had before.
    pub(crate) fn put(&mut self, key: &[u8], serial: u64, value: V) -> Option<V> {
        let before = self.serials.set(key.into(), serial).and_then(|serial| self.values.remove(&serial));
        self.values.set(serial, value);
        before
    }

    /// Removes the value of a key, with its place in the order.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.serials.remove(key).and_then(|serial| self.values.remove(&serial))
    }

    /// Removes the values with these serials, all in one pass. Returns them in order of registration.
    pub(crate) fn take(&mut self, mut serials: Vec<u64>) -> Vec<V> {
        serials.sort_unstable();
        let is_gone = |serial: &u64| serials.binary_search(serial).is_ok();
        self.serials.take(|_, serial| is_gone(serial));
        self.values.take(|serial, _| is_gone(serial))
    }

    /// The values whose keys begin with `start`, with their serials, in order of the keys.
    pub(crate) fn beginning_with(&self, start: &[u8]) -> impl Iterator<Item = (u64, &V)> {
        let keys = self.serials.starting_at(start).take_while(move |(key, _)| key.starts_with(start));
        keys.filter_map(|(_, serial)| Some((*serial, self.values.get(serial)?)))
    }

    /// The values registered after `after` and not after `until`, with their serials, in order of registration.
    #[inline]
    pub(crate) fn between(&self, after: u64, until: u64) -> impl Iterator<Item = (u64, &V)> {
        let later = self.values.starting_at(&(after + 1)).map(|(serial, value)| (*serial, value));
        later.take_while(move |(serial, _)| *serial <= until)
    }

    /// All values, with their serials, in order of registration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.values.iter().map(|(serial, value)| (*serial, value))
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
