//! Who listens to what: the listeners of the attached Lua state, by channel and in order of registration.
//! Game thread only. Holds Lua references as plain numbers and hands each back exactly once, to be released.
//! Says what is wanted ([`Registry::wanted`], and what changed of it): the listened topics, and after a map change those still kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use crate::event::topic::Topic;

/// A reference to a Lua function, as the Lua edge numbers it (`luaL_ref`). Worth nothing in another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackRef(pub i32);

/// One registration.
pub(crate) struct Listener {
    pub(crate) id: Arc<[u8]>,
    pub(crate) callback: CallbackRef,
    /// The function takes a third argument.
    pub(crate) wants_meta: bool,
}

/// One listener in its turn.
pub(crate) struct Turn<'a> {
    pub(crate) serial: u64,
    pub(crate) listener: &'a Listener,
    /// No other comes after it: removals in between can only make that truer.
    pub(crate) is_last: bool,
}

#[derive(Default)]
struct Listeners {
    topic: Option<Arc<Topic>>,
    /// By serial: the order of registration.
    by_serial: BTreeMap<u64, Listener>,
    by_id: HashMap<Arc<[u8]>, u64>,
}

#[derive(Default)]
pub(crate) struct Registry {
    topics: HashMap<Box<[u8]>, Listeners>,
    /// Topics of the state before, until `keep_until`.
    kept: HashSet<Arc<Topic>>,
    keep_until: Option<Instant>,
    serial: u64,
    /// Listeners in all.
    count: usize,
    changes: Vec<(Arc<Topic>, bool)>,
}

impl Registry {
    /// Adds a listener at the end of its channel's order. The same id replaces, in its place in the order: the old
    /// callback is returned. An event that is under way reaches the new one if it had not reached the old one.
    pub(crate) fn add(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        callback: CallbackRef,
        wants_meta: bool,
    ) -> (Arc<[u8]>, Option<CallbackRef>) {
        let listeners = self.topics.entry(channel.into()).or_default();
        if listeners.topic.is_none() {
            let topic = Arc::new(Topic::new(channel));
            self.changes.push((Arc::clone(&topic), true));
            listeners.topic = Some(topic);
        }
        let id: Arc<[u8]> = match id {
            Some(id) => id.into(),
            None => own_id(self.serial + 1, &listeners.by_id),
        };
        let serial = listeners.by_id.get(&id).copied().unwrap_or_else(|| {
            self.serial += 1;
            self.serial
        });
        listeners.by_id.insert(Arc::clone(&id), serial);
        let replaced = listeners.by_serial.insert(serial, Listener { id: Arc::clone(&id), callback, wants_meta });
        self.count += usize::from(replaced.is_none());
        (id, replaced.map(|listener| listener.callback))
    }

    /// Removes one listener or all of the channel.
    pub(crate) fn remove(&mut self, channel: &[u8], id: Option<&[u8]>) -> Vec<CallbackRef> {
        let Some(listeners) = self.topics.get_mut(channel) else { return Vec::new() };
        let removed: Vec<CallbackRef> = match id {
            None => std::mem::take(&mut listeners.by_serial).into_values().map(|listener| listener.callback).collect(),
            Some(id) => {
                let serial = listeners.by_id.remove(id);
                let listener = serial.and_then(|serial| listeners.by_serial.remove(&serial));
                listener.map(|listener| listener.callback).into_iter().collect()
            }
        };
        self.count -= removed.len();
        if listeners.by_serial.is_empty()
            && let Some(topic) = self.topics.remove(channel).and_then(|listeners| listeners.topic)
        {
            let is_kept = self.kept.contains(&topic);
            self.changes.push((topic, is_kept));
        }
        removed
    }

    /// The first listener of the topic registered after `after` and not after `until`.
    pub(crate) fn next_listener(&self, topic: &Topic, after: u64, until: u64) -> Option<Turn<'_>> {
        if after >= until {
            return None;
        }
        let listeners = self.topics.get(topic.name())?;
        let range = (Bound::Excluded(after), Bound::Included(until));
        let mut turns = listeners.by_serial.range(range);
        let (serial, listener) = turns.next()?;
        Some(Turn { serial: *serial, listener, is_last: turns.next().is_none() })
    }

    /// The serial of the newest registration of all.
    pub(crate) fn newest(&self) -> u64 {
        self.serial
    }

    /// Forgets every listener and keeps their topics.
    pub(crate) fn detach(&mut self) -> Vec<CallbackRef> {
        self.keep_until = None;
        self.count = 0;
        let mut callbacks = Vec::new();
        for listeners in std::mem::take(&mut self.topics).into_values() {
            self.kept.extend(listeners.topic);
            callbacks.extend(listeners.by_serial.into_values().map(|listener| listener.callback));
        }
        callbacks
    }

    pub(crate) fn keep_until_is_unset(&self) -> bool {
        self.keep_until.is_none()
    }

    pub(crate) fn keep_until(&mut self, deadline: Instant) {
        self.keep_until = Some(deadline);
    }

    pub(crate) fn keeps_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// After the deadline: what was not asked for again is not wanted any more. True once it has passed.
    pub(crate) fn drop_kept(&mut self, now: Instant) -> bool {
        let is_over = self.keep_until.is_some_and(|deadline| now >= deadline);
        if is_over && self.keeps_any() {
            let Registry { kept, topics, changes, .. } = self;
            changes.extend(kept.drain().map(|topic| {
                let is_listened = topics.contains_key(topic.name());
                (topic, is_listened)
            }));
        }
        is_over
    }

    /// The topics that may be wanted or not since this was asked last, in order, and whether they are.
    pub(crate) fn take_changes(&mut self) -> Vec<(Arc<Topic>, bool)> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn wanted(&self) -> impl Iterator<Item = Arc<Topic>> + '_ {
        self.topics.values().filter_map(|listeners| listeners.topic.clone()).chain(self.kept.iter().cloned())
    }

    /// Listeners in all.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

/// An id nobody chose: `listener 7`, or the next that is free.
fn own_id(serial: u64, taken: &HashMap<Arc<[u8]>, u64>) -> Arc<[u8]> {
    let mut id = format!("listener {serial}").into_bytes();
    while taken.contains_key(id.as_slice()) {
        id.push(b'+');
    }
    id.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn order(registry: &Registry, channel: &str) -> Vec<i32> {
        let topic = Topic::new(channel.as_bytes());
        let (mut after, mut found) = (0, Vec::new());
        while let Some(turn) = registry.next_listener(&topic, after, registry.newest()) {
            found.push(turn.listener.callback.0);
            after = turn.serial;
            assert_eq!(turn.is_last, registry.next_listener(&topic, after, registry.newest()).is_none());
        }
        found
    }

    fn add(registry: &mut Registry, channel: &str, id: Option<&str>, callback: i32) -> (String, Option<i32>) {
        let (id, replaced) = registry.add(channel.as_bytes(), id.map(str::as_bytes), CallbackRef(callback), false);
        (String::from_utf8(id.to_vec()).unwrap(), replaced.map(|callback| callback.0))
    }

    #[test]
    fn order_of_registration_and_replacement() {
        let mut registry = Registry::default();
        assert_eq!(add(&mut registry, "a", Some("x"), 1), ("x".into(), None));
        assert_eq!(add(&mut registry, "a", Some("y"), 2), ("y".into(), None));
        assert_eq!(add(&mut registry, "b", Some("x"), 3), ("x".into(), None));
        assert_eq!(add(&mut registry, "a", Some("x"), 4), ("x".into(), Some(1)));
        assert_eq!(
            (order(&registry, "a"), order(&registry, "b"), order(&registry, "c")),
            (vec![4, 2], vec![3], vec![])
        );
        assert_eq!(registry.remove(b"a", Some(b"y")), [CallbackRef(2)]);
        assert_eq!(registry.remove(b"a", Some(b"y")), []);
        assert_eq!(registry.remove(b"a", None), [CallbackRef(4)]);
        assert_eq!((registry.remove(b"a", None), registry.len()), (vec![], 1));
    }

    #[test]
    fn ids_of_their_own_never_collide() {
        let mut registry = Registry::default();
        add(&mut registry, "a", Some("listener 2"), 1);
        let (id, replaced) = add(&mut registry, "a", None, 2);
        assert_eq!((id.as_str(), replaced), ("listener 2+", None));
        assert_ne!(add(&mut registry, "a", None, 3).0, id);
        assert_eq!(order(&registry, "a"), [1, 2, 3]);
    }

    #[test]
    fn topics_of_the_state_before_are_kept_for_a_while() {
        let (mut registry, start) = (Registry::default(), Instant::now());
        add(&mut registry, "a", None, 1);
        add(&mut registry, "b*", None, 2);
        assert_eq!(registry.detach().len(), 2);
        add(&mut registry, "a", None, 3);
        let wanted = |registry: &Registry| {
            let names = registry.wanted().map(|topic| String::from_utf8(topic.name().into()).unwrap());
            names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(wanted(&registry), ["a", "b*"]);
        registry.take_changes();
        assert!(!registry.drop_kept(start + Duration::from_secs(60)), "before the first tick nothing ends");
        registry.keep_until(start + Duration::from_secs(5));
        for millis in [0, 4000, 4999] {
            assert!(!registry.drop_kept(start + Duration::from_millis(millis)), "after {millis} ms");
        }
        assert_eq!((wanted(&registry).len(), registry.keeps_any(), registry.take_changes().len()), (2, true, 0));
        assert!(registry.drop_kept(start + Duration::from_secs(5)));
        assert_eq!(changes(&mut registry), ["a is wanted", "b* is not"]);
        assert_eq!((wanted(&registry).concat(), registry.keeps_any()), ("a".to_owned(), false));
        // It stays over, and there is nothing more to drop.
        assert!(registry.drop_kept(start + Duration::from_secs(6)));
        assert!(changes(&mut registry).is_empty());
    }

    fn changes(registry: &mut Registry) -> Vec<String> {
        let changes = registry.take_changes().into_iter().map(|(topic, wanted)| {
            let wanted = if wanted { "is wanted" } else { "is not" };
            format!("{} {wanted}", String::from_utf8_lossy(topic.name()))
        });
        let mut changes: Vec<_> = changes.collect();
        changes.sort();
        changes
    }

    #[test]
    fn a_topic_is_wanted_until_its_last_listener_goes() {
        let mut registry = Registry::default();
        add(&mut registry, "a", Some("x"), 1);
        add(&mut registry, "a", Some("y"), 2);
        assert_eq!(changes(&mut registry), ["a is wanted"]);
        registry.remove(b"a", Some(b"x"));
        registry.remove(b"a", Some(b"nobody"));
        assert!(changes(&mut registry).is_empty());
        registry.remove(b"a", Some(b"y"));
        assert_eq!(changes(&mut registry), ["a is not"]);
        add(&mut registry, "a", None, 3);
        add(&mut registry, "a", None, 4);
        registry.remove(b"a", None);
        assert_eq!(changes(&mut registry), ["a is not", "a is wanted"]);
        // What the state before listened to stays wanted although this one's last listener goes.
        add(&mut registry, "a", None, 5);
        registry.detach();
        add(&mut registry, "a", Some("x"), 6);
        registry.take_changes();
        registry.remove(b"a", None);
        assert_eq!(changes(&mut registry), ["a is wanted"]);
        assert_eq!((registry.len(), registry.is_empty()), (0, true));
        add(&mut registry, "b", None, 7);
        add(&mut registry, "b", None, 8);
        assert_eq!((registry.len(), registry.is_empty()), (2, false));
    }

    /// Against a plain list of (channel, id, callback).
    #[test]
    fn as_a_plain_list_would() {
        proptest::proptest!(|(steps: Vec<(u8, u8, bool)>)| {
            let mut registry = Registry::default();
            let mut list: Vec<(String, String, i32)> = Vec::new();
            for (callback, (channel, id, add_it)) in steps.into_iter().enumerate() {
                let (channel, callback) = (format!("c{}", channel % 3), callback as i32);
                let id = (id % 5 > 0).then(|| format!("i{}", id % 5));
                let known = |row: &(String, String, i32)| row.0 == channel && id.as_ref().is_none_or(|id| row.1 == *id);
                if add_it {
                    let (id, replaced) = add(&mut registry, &channel, id.as_deref(), callback);
                    let at = list.iter().position(|row| row.0 == channel && row.1 == id);
                    match at {
                        Some(at) => assert_eq!(replaced, Some(std::mem::replace(&mut list[at].2, callback))),
                        None => list.push((channel, id, callback)),
                    }
                } else {
                    let removed = registry.remove(channel.as_bytes(), id.as_ref().map(|id| id.as_bytes()));
                    let expected: Vec<i32> = list.iter().filter(|row| known(row)).map(|row| row.2).collect();
                    assert_eq!(removed.iter().map(|callback| callback.0).collect::<Vec<_>>(), expected);
                    list.retain(|row| !known(row));
                }
                for channel in ["c0", "c1", "c2"] {
                    let expected: Vec<i32> = list.iter().filter(|row| row.0 == channel).map(|row| row.2).collect();
                    assert_eq!(order(&registry, channel), expected);
                }
                assert_eq!(registry.len(), list.len());
            }
        });
    }
}
