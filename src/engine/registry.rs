//! The store under listeners, hooks and aggregators: values by key, in order of registration.
//! Game thread only. It knows nothing of Lua; the files above it (`listeners.rs`, `registrations.rs`) decide when a
//! value keeps its place, and hand the Lua references of removed values back.
//!
//! ```text
//!  serials   (key, serial), ...      in order of the keys: the newest serial of each
//!  values    (serial, value), ...    in order of registration
//! ```
//!
//! Both are sorted lists. Finding halves a list until the place is found. Adding a key and removing move the entries
//! behind the place, which takes microseconds for the thousands of entries that a server may have.

/// Values by key, ordered by serial. Serials come from the owner, which may share one count among several registries.
pub(crate) struct Registry<V> {
    values: Vec<(u64, V)>,
    serials: Vec<(Box<[u8]>, u64)>,
}

impl<V> Default for Registry<V> {
    fn default() -> Registry<V> {
        Registry { values: Vec::new(), serials: Vec::new() }
    }
}

/// The place of a key among the sorted keys; the error is the place where it would stand.
#[inline(never)]
fn find(serials: &[(Box<[u8]>, u64)], key: &[u8]) -> Result<usize, usize> {
    serials.binary_search_by(|(known, _)| (**known).cmp(key))
}

impl<V> Registry<V> {
    /// The place of a key in the order. Passed to [`Registry::put`] again, it lets a new value take the old place.
    pub(crate) fn serial(&self, key: &[u8]) -> Option<u64> {
        let at = find(&self.serials, key).ok()?;
        self.serials.get(at).map(|(_, serial)| *serial)
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.at(self.serial(key)?)
    }

    fn at(&self, serial: u64) -> Option<&V> {
        let at = self.values.binary_search_by_key(&serial, |(known, _)| *known).ok()?;
        self.values.get(at).map(|(_, value)| value)
    }

    /// The value with this serial.
    pub(crate) fn at_mut(&mut self, serial: u64) -> Option<&mut V> {
        let at = self.values.binary_search_by_key(&serial, |(known, _)| *known).ok()?;
        self.values.get_mut(at).map(|(_, value)| value)
    }

    /// Stores a value at the place `serial` and returns the value that the key had before.
    pub(crate) fn put(&mut self, key: &[u8], serial: u64, value: V) -> Option<V> {
        let before = self.remove(key);
        let at = find(&self.serials, key).unwrap_or_else(|free| free);
        self.serials.insert(at, (key.into(), serial));
        let at = self.values.partition_point(|(known, _)| *known < serial);
        self.values.insert(at, (serial, value));
        before
    }

    /// Removes the value of a key, with its place in the order.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (_, serial) = self.serials.remove(find(&self.serials, key).ok()?);
        let at = self.values.binary_search_by_key(&serial, |(known, _)| *known).ok()?;
        Some(self.values.remove(at).1)
    }

    /// Removes the values with these serials, all in one pass. Returns them in order of registration.
    pub(crate) fn take(&mut self, mut serials: Vec<u64>) -> Vec<V> {
        serials.sort_unstable();
        let is_gone = |serial: &u64| serials.binary_search(serial).is_ok();
        self.serials.retain(|(_, serial)| !is_gone(serial));
        self.values.extract_if(.., |(serial, _)| is_gone(serial)).map(|(_, value)| value).collect()
    }

    /// The values whose keys begin with `start`, with their serials, in order of the keys.
    pub(crate) fn beginning_with(&self, start: &[u8]) -> impl Iterator<Item = (u64, &V)> {
        let from = find(&self.serials, start).unwrap_or_else(|free| free);
        let keys = self.serials.get(from..).unwrap_or_default().iter();
        let keys = keys.take_while(move |(key, _)| key.starts_with(start));
        keys.filter_map(|(_, serial)| Some((*serial, self.at(*serial)?)))
    }

    /// The values registered after `after` and not after `until`, with their serials, in order of registration.
    #[inline]
    pub(crate) fn between(&self, after: u64, until: u64) -> impl Iterator<Item = (u64, &V)> {
        let from = self.values.partition_point(|(serial, _)| *serial <= after);
        let later = self.values.get(from..).unwrap_or_default().iter().map(|(serial, value)| (*serial, value));
        later.take_while(move |(serial, _)| *serial <= until)
    }

    /// All values, with their serials, in order of registration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.values.iter().map(|(serial, value)| (*serial, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.values.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.values.into_iter().map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}
