//! A small map: a list of keys and values, sorted by key. Pure.
//! Finding halves the list until the place is found. Adding and removing move the entries behind the place, which takes
//! microseconds for some thousands of entries. In return it adds a tenth of a hash map's code for each type of entry.

use std::borrow::Borrow;

/// Values by key, in order of the keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Sorted<K, V> {
        Sorted(Vec::new())
    }
}

impl<K: Ord, V> Sorted<K, V> {
    /// The place of a key; the error is the place where it would stand.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(key))
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(self.find(key).ok()?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = self.find(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Stores a value in the place of the key's earlier one, which is returned.
    pub(crate) fn set(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Stores many values, in one sort: adding them one by one would move the list for each.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = (K, V)>) {
        self.0.extend(more);
        self.0.sort_by(|(key, _), (other, _)| key.cmp(other));
        // The sort is stable: of equal keys the last one was stored last.
        self.0.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(&mut later.1, &mut earlier.1);
            }
            is_same
        });
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Removes the entries that are meant, all in one pass, and returns their values.
    pub(crate) fn take(&mut self, are_meant: impl Fn(&K, &V) -> bool) -> Vec<V> {
        self.0.extract_if(.., |(key, value)| are_meant(key, value)).map(|(_, value)| value).collect()
    }

    /// All entries, in order of the keys.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The entries from this key on.
    #[inline]
    pub(crate) fn starting_at<'a, Q: Ord + ?Sized>(
        &'a self,
        first: &Q,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V, Q>
    where
        K: Borrow<Q>,
    {
        let from = self.0.partition_point(|(known, _)| known.borrow() < first);
        self.0.get(from..).unwrap_or_default().iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_iter().map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_behaves_like_an_ordered_map() {
        proptest::proptest!(|(steps: Vec<(u8, u8, bool)>, start: u8)| {
            let (mut sorted, mut map) = (Sorted::default(), BTreeMap::new());
            for (key, value, sets) in steps {
                if sets {
                    assert_eq!(sorted.set(key, value), map.insert(key, value));
                } else {
                    assert_eq!(sorted.remove(&key), map.remove(&key));
                }
                assert_eq!((sorted.get(&key), sorted.len()), (map.get(&key), map.len()));
                assert!(sorted.starting_at(&start).eq(map.range(start..)));
            }
            assert!(sorted.iter().eq(map.iter()));
            let more = [(start, 1), (7, 2), (start, 3), (200, 4)];
            sorted.extend(more);
            map.extend(more);
            assert!(sorted.iter().eq(map.iter()));
            let odd: Vec<u8> = map.values().copied().filter(|value| value % 2 == 1).collect();
            assert_eq!(sorted.take(|_, value| value % 2 == 1), odd);
            map.retain(|_, value| *value % 2 == 0);
            assert!(sorted.iter().eq(map.iter()));
        });
    }
}
