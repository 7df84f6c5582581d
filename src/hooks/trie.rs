//! A persistent map from bytes to values (a hash trie): its copies are cheap, as a copy shares every unchanged part.
//! Pure. The game thread changes one and gives copies to the other threads as snapshots. A change then copies the nodes
//! on one path from the root, however many entries the map has. Without a copy in between, changes happen in place.
//!
//! ```text
//! root ── 16 branches by the lowest 4 bits of the key's hash ── 16 by the next 4 bits ── … ── leaf, up to 8 entries
//!
//! snapshot   root ─┬─ A ── leaf            after a change below B, the new root shares A:
//! changed    root' ┼─ A
//!                  └─ B' ── leaf'          only root', B' and leaf' are new
//! ```

use std::hash::BuildHasher;
use std::sync::Arc;

use crate::event::keyed::Keyed;

/// Branches of one node, for 4 bits of the hash. More would make the copy of a node dearer, fewer the path longer.
const BRANCHES: usize = 16;
/// Levels of branches: at this depth all bits of the hash are used, and a leaf takes all entries of one hash.
const DEPTH_MAX: u32 = u64::BITS / 4;
/// Most entries of a leaf, unless all bits of their hashes are equal. A larger leaf is split.
const LEAF_ENTRIES_MAX: usize = 8;

/// The map. An empty map has no root: removals free empty nodes.
#[derive(Clone)]
pub(crate) struct Trie<V> {
    root: Link<V>,
    /// The hash has a random key, so nobody can choose names that all fall into one leaf.
    hasher: Keyed,
}

/// A node shared with snapshots. `None`: no entries.
type Link<V> = Option<Arc<Node<V>>>;

/// A node of the trie. A leaf is never empty, a branch has at least one child.
enum Node<V> {
    Branch([Link<V>; BRANCHES]),
    /// In no order.
    Leaf(Vec<Entry<V>>),
}

/// A key with its value. The hash is kept, as a split needs it.
#[derive(Clone)]
struct Entry<V> {
    hash: u64,
    key: Arc<[u8]>,
    value: V,
}

impl<V> Default for Trie<V> {
    fn default() -> Trie<V> {
        Trie { root: None, hasher: Keyed::default() }
    }
}

impl<V: Clone> Clone for Node<V> {
    fn clone(&self) -> Node<V> {
        #[cfg(test)]
        COPIED.set(COPIED.get() + 1);
        match self {
            Node::Branch(branches) => Node::Branch(branches.clone()),
            Node::Leaf(entries) => Node::Leaf(entries.clone()),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// Number of nodes copied because a snapshot shares them, for tests that count the work of a change.
    pub(crate) static COPIED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// Number of entries that [`Trie::differing`] or the routes visited, for the same tests.
    pub(crate) static VISITED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The index of the branch for this hash in a node `depth` levels below the root.
fn branch(hash: u64, depth: u32) -> usize {
    (hash >> (4 * depth)) as usize % BRANCHES
}

impl<V: Clone> Trie<V> {
    /// The value of a key.
    #[optimize(speed)]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let (mut link, mut depth) = (&self.root, 0);
        loop {
            match link.as_deref()? {
                Node::Branch(branches) => link = branches.get(branch(hash, depth))?,
                Node::Leaf(entries) => {
                    let entry = entries.iter().find(|entry| entry.hash == hash && *entry.key == *key)?;
                    return Some(&entry.value);
                }
            }
            depth += 1;
        }
    }

    /// Adds, changes or removes one entry. `change` is called once: it gets the value, `None` if the key has none, and
    /// leaves the new one, `None` to remove it.
    pub(crate) fn update(&mut self, key: &[u8], change: &mut dyn FnMut(&mut Option<V>)) {
        let hash = self.hasher.hash_one(key);
        update(&mut self.root, 0, hash, key, change);
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries().map(|entry| &entry.value)
    }

    /// All keys, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries().map(|entry| &*entry.key)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<V>> {
        let mut waiting: Vec<&Node<V>> = self.root.as_deref().into_iter().collect();
        let leaves = std::iter::from_fn(move || {
            loop {
                match waiting.pop()? {
                    Node::Leaf(entries) => return Some(entries),
                    Node::Branch(branches) => waiting.extend(branches.iter().flatten().map(|node| &**node)),
                }
            }
        });
        leaves.flatten()
    }

    /// Visits every entry of either map that may differ between the two, some of them twice, and a few neighbors of
    /// theirs. Skips shared nodes, so the cost grows with the changes since one map was a copy of the other, not with
    /// their size.
    pub(crate) fn differing(&self, older: &Trie<V>, visit: &mut dyn FnMut(&[u8], &V)) {
        differing(&self.root, &older.root, &mut |entry: &Entry<V>| {
            #[cfg(test)]
            VISITED.set(VISITED.get() + 1);
            visit(&entry.key, &entry.value);
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries().count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}

/// [`Trie::update`] below one link. `Arc::make_mut` copies a node only if a snapshot shares it. The recursion is at
/// most [`DEPTH_MAX`] deep.
fn update<V: Clone>(link: &mut Link<V>, depth: u32, hash: u64, key: &[u8], change: &mut dyn FnMut(&mut Option<V>)) {
    let Some(node) = link.as_mut().map(Arc::make_mut) else {
        let mut value = None;
        change(&mut value);
        *link = value.map(|value| Arc::new(Node::Leaf(vec![Entry { hash, key: Arc::from(key), value }])));
        return;
    };
    match node {
        Node::Branch(branches) => {
            let mut none = None;
            let below = branches.get_mut(branch(hash, depth)).unwrap_or(&mut none);
            update(below, depth + 1, hash, key, change);
            if branches.iter().all(Option::is_none) {
                *link = None;
            }
        }
        Node::Leaf(entries) => {
            let at = entries.iter().position(|entry| entry.hash == hash && *entry.key == *key);
            let known = at.map(|at| entries.swap_remove(at));
            let (key, mut value) = known.map_or_else(|| (Arc::from(key), None), |entry| (entry.key, Some(entry.value)));
            change(&mut value);
            entries.extend(value.map(|value| Entry { hash, key, value }));
            if entries.len() > LEAF_ENTRIES_MAX && depth < DEPTH_MAX {
                *node = split(std::mem::take(entries), depth);
            } else if entries.is_empty() {
                *link = None;
            }
        }
    }
}

/// Splits the entries of a leaf by the next bits of their hashes.
fn split<V>(entries: Vec<Entry<V>>, depth: u32) -> Node<V> {
    let mut leaves: [Vec<Entry<V>>; BRANCHES] = Default::default();
    for entry in entries {
        if let Some(leaf) = leaves.get_mut(branch(entry.hash, depth)) {
            leaf.push(entry);
        }
    }
    Node::Branch(leaves.map(|leaf| (!leaf.is_empty()).then(|| Arc::new(Node::Leaf(leaf)))))
}

/// [`Trie::differing`] below two links at the same position. Both maps have one hasher if one was a copy of the other,
/// so equal keys are at equal positions.
fn differing<V: Clone>(one: &Link<V>, other: &Link<V>, visit: &mut dyn FnMut(&Entry<V>)) {
    match (one.as_deref(), other.as_deref()) {
        (Some(one), Some(other)) if std::ptr::eq(one, other) => {}
        (Some(Node::Branch(ones)), Some(Node::Branch(others))) => {
            ones.iter().zip(others).for_each(|(one, other)| differing(one, other, visit));
        }
        (one, other) => [one, other].into_iter().flatten().for_each(|node| all(node, visit)),
    }
}

/// Visits every entry below a node.
fn all<V>(node: &Node<V>, visit: &mut dyn FnMut(&Entry<V>)) {
    match node {
        Node::Leaf(entries) => entries.iter().for_each(visit),
        Node::Branch(branches) => branches.iter().flatten().for_each(|node| all(node, visit)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn key(number: u32) -> Vec<u8> {
        format!("channel {number}").into_bytes()
    }

    fn set(trie: &mut Trie<u32>, number: u32, value: Option<u32>) {
        trie.update(&key(number), &mut |slot| *slot = value);
    }

    /// Compares with a `BTreeMap`. A snapshot keeps its entries, and the difference names every changed key.
    #[test]
    fn it_behaves_like_a_plain_map() {
        proptest::proptest!(|(before: Vec<(u8, Option<u16>)>, after: Vec<(u8, Option<u16>)>)| {
            let (mut trie, mut map) = (Trie::default(), BTreeMap::new());
            let step = |trie: &mut Trie<u32>, map: &mut BTreeMap<u32, u32>, (number, value): (u8, Option<u16>)| {
                let (number, value) = (u32::from(number), value.map(u32::from));
                match value {
                    Some(value) => _ = map.insert(number, value),
                    None => _ = map.remove(&number),
                }
                set(trie, number, value);
                assert_eq!(trie.len(), map.len());
            };
            before.into_iter().for_each(|row| step(&mut trie, &mut map, row));
            let (snapshot, was) = (trie.clone(), map.clone());
            after.into_iter().for_each(|row| step(&mut trie, &mut map, row));
            for (trie, map) in [(&snapshot, &was), (&trie, &map)] {
                for number in 0..=255 {
                    assert_eq!(trie.get(&key(number)), map.get(&number));
                }
                assert_eq!(trie.values().sum::<u32>(), map.values().sum::<u32>());
            }
            let mut named = BTreeSet::new();
            trie.differing(&snapshot, &mut |key, _| _ = named.insert(key.to_vec()));
            for number in (0..=255).filter(|number| was.get(number) != map.get(number)) {
                assert!(named.contains(&key(number)), "{number} changed");
            }
        });
    }

    #[test]
    fn a_change_copies_one_path_however_many_entries_there_are() {
        for count in [1000, 100_000] {
            let mut trie = Trie::default();
            (0..count).for_each(|number| set(&mut trie, number, Some(number)));
            let mut most = (0, 0);
            for number in [0, count / 2, count, count + 1] {
                let snapshot = trie.clone();
                COPIED.set(0);
                VISITED.set(0);
                set(&mut trie, number, Some(7));
                // Without a new snapshot, the same nodes are changed in place.
                let copied = COPIED.get();
                set(&mut trie, number, Some(8));
                assert_eq!(COPIED.get(), copied);
                trie.differing(&snapshot, &mut |_, _| {});
                most = (most.0.max(COPIED.get()), most.1.max(VISITED.get()));
            }
            assert!(most.0 <= 8 && most.1 <= 20, "{count} entries: {most:?}");
        }
    }

    #[test]
    fn removals_free_all_nodes() {
        let mut trie = Trie::default();
        (0..1000).for_each(|number| set(&mut trie, number, Some(number)));
        (0..1000).for_each(|number| set(&mut trie, number, None));
        assert!(trie.is_empty() && trie.values().next().is_none());
    }
}
