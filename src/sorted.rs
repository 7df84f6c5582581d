//! An ordered map: keys and values, sorted by key, in chunks of a bounded size. Pure.
//! Finding halves the list of chunks, then the chunk. Adding and removing move entries of one chunk only, so that n of
//! them in any order take about n log n steps. The map adds a tenth of a hash map's code for each type of entry.
//!
//! ```text
//!   [ a c d ] [ f g ] [ k m p q ]        no chunk is empty, none has more than CHUNK_ENTRIES_MAX
//! ```

use std::borrow::Borrow;

/// Entries of one chunk, which is split beyond it: so few that moving half of them costs less than finding the place.
const CHUNK_ENTRIES_MAX: usize = 128;

/// Values by key, in order of the keys.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<K, V> {
    chunks: Vec<Vec<(K, V)>>,
    /// Entries of all chunks.
    len: usize,
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Sorted<K, V> {
        Sorted { chunks: Vec::new(), len: 0 }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Sorted<K, V> {
    fn eq(&self, other: &Sorted<K, V>) -> bool {
        self.len == other.len && self.chunks.iter().flatten().eq(other.chunks.iter().flatten())
    }
}

impl<K: Ord, V> Sorted<K, V> {
    /// The chunk that has a key, or that it belongs into, and its place there; the error is the place where it would
    /// stand.
    #[inline]
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> (usize, Result<usize, usize>)
    where
        K: Borrow<Q>,
    {
        let is_before = |chunk: &Vec<(K, V)>| chunk.first().is_some_and(|(first, _)| first.borrow() <= key);
        let at = self.chunks.partition_point(is_before).saturating_sub(1);
        let chunk = self.chunks.get(at).map(Vec::as_slice).unwrap_or_default();
        (at, chunk.binary_search_by(|(known, _)| known.borrow().cmp(key)))
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (chunk, at) = self.find(key);
        self.chunks.get(chunk)?.get(at.ok()?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (chunk, at) = self.find(key);
        self.chunks.get_mut(chunk)?.get_mut(at.ok()?).map(|(_, value)| value)
    }

    /// Stores a value in the place of the key's earlier one, which is returned.
    pub(crate) fn set(&mut self, key: K, value: V) -> Option<V> {
        let (number, at) = self.find(&key);
        let Some(chunk) = self.chunks.get_mut(number) else {
            self.fill([(key, value)]);
            return None;
        };
        let at = match at {
            Ok(at) => return chunk.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
            Err(at) => at,
        };
        chunk.insert(at, (key, value));
        self.len += 1;
        if chunk.len() > CHUNK_ENTRIES_MAX {
            // Keys that come in order leave full chunks behind.
            let is_newest = at == CHUNK_ENTRIES_MAX;
            let rest = chunk.split_off(if is_newest { at } else { CHUNK_ENTRIES_MAX / 2 });
            self.chunks.insert(number + 1, rest);
        }
        None
    }

    /// Stores many values, in one sort.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = (K, V)>) {
        let mut all: Vec<(K, V)> = std::mem::take(self).chunks.into_iter().flatten().collect();
        all.extend(more);
        all.sort_by(|(key, _), (other, _)| key.cmp(other));
        // The sort is stable: of equal keys the last one was stored last.
        all.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(&mut later.1, &mut earlier.1);
            }
            is_same
        });
        self.fill(all);
    }

    /// Appends entries whose keys are in order and behind all others.
    fn fill(&mut self, all: impl IntoIterator<Item = (K, V)>) {
        let mut all = all.into_iter().peekable();
        while all.peek().is_some() {
            let chunk: Vec<(K, V)> = all.by_ref().take(CHUNK_ENTRIES_MAX).collect();
            self.len += chunk.len();
            self.chunks.push(chunk);
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (number, at) = self.find(key);
        let chunk = self.chunks.get_mut(number)?;
        let (_, value) = chunk.remove(at.ok()?);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(number);
        }
        Some(value)
    }

    /// Removes the last entry.
    pub(crate) fn pop(&mut self) -> Option<(K, V)> {
        let chunk = self.chunks.last_mut()?;
        let last = chunk.pop();
        if chunk.is_empty() {
            self.chunks.pop();
        }
        self.len -= usize::from(last.is_some());
        last
    }

    /// Removes the entries that are meant, all in one pass, and returns their values.
    pub(crate) fn take(&mut self, are_meant: impl Fn(&K, &V) -> bool) -> Vec<V> {
        let mut taken = Vec::new();
        for chunk in &mut self.chunks {
            taken.extend(chunk.extract_if(.., |(key, value)| are_meant(key, value)).map(|(_, value)| value));
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        self.len -= taken.len();
        taken
    }

    /// All entries, in order of the keys.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks.iter().flatten().map(|(key, value)| (key, value))
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
        let (number, Ok(at) | Err(at)) = self.find(first);
        let mut chunks = self.chunks.get(number..).unwrap_or_default().iter();
        let begun = chunks.next().and_then(|chunk| chunk.get(at..)).unwrap_or_default();
        begun.iter().chain(chunks.flatten()).map(|(key, value)| (key, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.chunks.iter_mut().flatten().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.chunks.into_iter().flatten().map(|(_, value)| value)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
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

    /// More entries than one chunk holds, in three orders.
    #[test]
    fn it_keeps_many_entries_in_order_and_in_bounded_chunks() {
        const COUNT: u32 = 10_000;
        let orders: [fn(u32) -> u32; 3] = [|n| n, |n| COUNT - n, |n| n.wrapping_mul(0x9e37_79b1)];
        for order in orders {
            let (mut sorted, mut map) = (Sorted::default(), BTreeMap::new());
            for n in 0..COUNT {
                assert_eq!(sorted.set(order(n), n), map.insert(order(n), n));
            }
            assert!(sorted.iter().eq(map.iter()) && sorted.iter().rev().eq(map.iter().rev()));
            for n in (0..COUNT).step_by(3) {
                assert_eq!(sorted.remove(&order(n)), map.remove(&order(n)));
                let start = order(n / 2);
                assert!(sorted.starting_at(&start).take(200).eq(map.range(start..).take(200)));
            }
            assert_eq!((sorted.len(), sorted.take(|_, n| n % 2 == 0).len()), (map.len(), sorted_even(&map)));
            map.retain(|_, n| *n % 2 == 1);
            sorted.extend(map.clone());
            assert!(sorted.iter().eq(map.iter()));
            assert!(sorted.chunks.iter().all(|chunk| (1..=CHUNK_ENTRIES_MAX).contains(&chunk.len())));
        }
    }

    fn sorted_even(map: &BTreeMap<u32, u32>) -> usize {
        map.values().filter(|n| *n % 2 == 0).count()
    }
}
