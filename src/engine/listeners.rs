//! The listeners of the attached Lua state: which functions get the events of each topic, and in which order.
//! Game thread only. Holds Lua references as plain numbers and hands each back exactly once, to be released.
//! After a map change it keeps the topics of the previous state, without functions, until [`Listeners::drop_kept`]; so
//! the subscriptions in Redis stay while the scripts load again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::call::CallbackRef;
use crate::engine::registry::Registry;
use crate::event::keyed::Keyed;
use crate::event::topic::Topic;
use crate::sorted::Sorted;

/// One registered function.
pub(crate) struct Listener {
    pub(crate) id: Arc<[u8]>,
    pub(crate) callback: CallbackRef,
    /// The function takes a third argument, the event's meta table.
    pub(crate) wants_meta: bool,
    /// Its follower, if it reads the stream of its channel (`engine/followers.rs`).
    pub(super) follower: Option<u64>,
}

/// The listener whose turn it is.
pub(crate) struct Turn<'a> {
    pub(crate) serial: u64,
    pub(crate) listener: &'a Listener,
    /// No other listener follows. Scripts may remove listeners before the next turn, which never makes this false.
    pub(crate) is_last: bool,
}

/// The listeners of one topic, by id.
struct OnTopic {
    topic: Arc<Topic>,
    listeners: Registry<Listener>,
}

/// All listeners, and the topics that must stay subscribed.
#[derive(Default)]
pub(crate) struct Listeners {
    /// By the name that scripts use. No entry is without listeners.
    topics: HashMap<Box<[u8]>, OnTopic, Keyed>,
    /// Topics of the previous state.
    kept: Sorted<Arc<Topic>, ()>,
    /// The newest serial. One count for all topics, so that an event can tell older listeners from newer ones.
    serial: u64,
    /// Listeners on all topics.
    count: usize,
    /// Topics that became wanted (`true`) or unwanted (`false`) since [`Listeners::take_changes`].
    changes: Vec<(Arc<Topic>, bool)>,
}

impl Listeners {
    /// Adds a listener at the end of its channel's order. A known id is replaced in its place of the order, and the old
    /// callback is returned; an event that is being delivered reaches the new one if it had not reached the old one.
    pub(crate) fn add(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        callback: CallbackRef,
        wants_meta: bool,
    ) -> (Arc<[u8]>, Option<CallbackRef>) {
        let Listeners { topics, serial: newest, count, changes, .. } = self;
        let on_topic = topics.entry(channel.into()).or_insert_with(|| {
            let topic = Arc::new(Topic::new(channel));
            changes.push((Arc::clone(&topic), true));
            OnTopic { topic, listeners: Registry::default() }
        });
        let listeners = &mut on_topic.listeners;
        let id: Arc<[u8]> = match id {
            Some(id) => id.into(),
            None => own_id(*newest + 1, listeners),
        };
        let serial = listeners.serial(&id).unwrap_or_else(|| {
            *newest += 1;
            *newest
        });
        let replaced =
            listeners.put(&id, serial, Listener { id: Arc::clone(&id), callback, wants_meta, follower: None });
        *count += usize::from(replaced.is_none());
        (id, replaced.map(|listener| listener.callback))
    }

    /// Removes one listener of the channel, or all of them if `id` is `None`. Returns their callbacks.
    pub(crate) fn remove(&mut self, channel: &[u8], id: Option<&[u8]>) -> Vec<CallbackRef> {
        let Some(on_topic) = self.topics.get_mut(channel) else { return Vec::new() };
        let removed: Vec<CallbackRef> = match id {
            None => callbacks(std::mem::take(&mut on_topic.listeners)).collect(),
            Some(id) => on_topic.listeners.remove(id).map(|listener| listener.callback).into_iter().collect(),
        };
        self.count -= removed.len();
        if on_topic.listeners.len() == 0
            && let Some(OnTopic { topic, .. }) = self.topics.remove(channel)
        {
            let is_kept = self.keeps(&topic);
            self.changes.push((topic, is_kept));
        }
        removed
    }

    /// The listener of this channel and id, and its serial.
    pub(super) fn get(&self, channel: &[u8], id: &[u8]) -> Option<(u64, &Listener)> {
        let listeners = &self.topics.get(channel)?.listeners;
        Some((listeners.serial(id)?, listeners.get(id)?))
    }

    /// Notes the follower of a listener.
    pub(super) fn set_follower(&mut self, channel: &[u8], id: &[u8], follower: u64) {
        let Some(on_topic) = self.topics.get_mut(channel) else { return };
        if let Some(listener) = on_topic.listeners.serial(id).and_then(|serial| on_topic.listeners.at_mut(serial)) {
            listener.follower = Some(follower);
        }
    }

    /// The follower of the listener of this channel and id.
    pub(super) fn follower(&self, channel: &[u8], id: &[u8]) -> Option<u64> {
        self.get(channel, id)?.1.follower
    }

    /// Whether all listeners of the topic have a follower.
    pub(super) fn all_follow(&self, topic: &Topic) -> bool {
        let on_topic = self.topics.get(topic.name());
        on_topic.is_some_and(|on_topic| on_topic.listeners.iter().all(|(_, listener)| listener.follower.is_some()))
    }

    /// Whether the topic has a listener.
    pub(super) fn has(&self, topic: &Topic) -> bool {
        self.topics.contains_key(topic.name())
    }

    /// Whether the topic stays because the previous state listened to it.
    pub(super) fn keeps(&self, topic: &Topic) -> bool {
        self.kept.get(topic).is_some()
    }

    /// The first listener of the topic that was registered after the serial `after` and not after `until`.
    pub(crate) fn next_listener(&self, topic: &Topic, after: u64, until: u64) -> Option<Turn<'_>> {
        // Often true after the last listener. Then the topic need not be found.
        if after >= until {
            return None;
        }
        let mut turns = self.topics.get(topic.name())?.listeners.between(after, until);
        let (serial, listener) = turns.next()?;
        Some(Turn { serial, listener, is_last: turns.next().is_none() })
    }

    /// The serial of the newest registration on any topic.
    pub(crate) fn newest(&self) -> u64 {
        self.serial
    }

    /// The Lua state ends: hands back every callback and keeps the topics.
    pub(crate) fn detach(&mut self) -> Vec<CallbackRef> {
        self.count = 0;
        let mut released = Vec::new();
        let ended = std::mem::take(&mut self.topics).into_values();
        self.kept.extend(ended.map(|OnTopic { topic, listeners }| {
            released.extend(callbacks(listeners));
            (topic, ())
        }));
        released
    }

    pub(crate) fn keeps_any(&self) -> bool {
        self.kept.len() > 0
    }

    /// The grace period is over: topics of the previous state without a listener are unwanted from now on. Looks at
    /// `count` topics at most; the others stay until the next call.
    pub(crate) fn drop_kept(&mut self, count: usize) {
        let Listeners { kept, topics, changes, .. } = self;
        for _ in 0..count {
            let Some((topic, ())) = kept.pop() else { return };
            // Adding a listener has made the topic wanted, and a change for it would cost a copy of its path in the routes.
            if !topics.contains_key(topic.name()) {
                changes.push((topic, false));
            }
        }
    }

    /// The topics that may have become wanted or unwanted since the last call, in order, and whether they are wanted.
    /// A topic may be listed although nothing changed for it.
    pub(crate) fn take_changes(&mut self) -> Vec<(Arc<Topic>, bool)> {
        std::mem::take(&mut self.changes)
    }

    /// Every topic that must be subscribed. A kept topic with listeners appears twice.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = Arc<Topic>> + '_ {
        self.topics.values().map(|on_topic| &on_topic.topic).chain(self.kept.iter().map(|(topic, ())| topic)).cloned()
    }

    /// Listeners on all topics.
    pub(crate) fn len(&self) -> usize {
        self.count
    }
}

fn callbacks(listeners: Registry<Listener>) -> impl Iterator<Item = CallbackRef> {
    listeners.into_values().map(|listener| listener.callback)
}

/// An id for a listener whose script gave none: `listener 7`, with as many `+` as it takes to differ from the ids that
/// scripts chose.
fn own_id(serial: u64, taken: &Registry<Listener>) -> Arc<[u8]> {
    let mut id = format!("listener {serial}").into_bytes();
    while taken.serial(&id).is_some() {
        id.push(b'+');
    }
    id.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(listeners: &Listeners, channel: &str) -> Vec<i32> {
        let topic = Topic::new(channel.as_bytes());
        let (mut after, mut found) = (0, Vec::new());
        while let Some(turn) = listeners.next_listener(&topic, after, listeners.newest()) {
            found.push(turn.listener.callback.0);
            after = turn.serial;
            assert_eq!(turn.is_last, listeners.next_listener(&topic, after, listeners.newest()).is_none());
        }
        found
    }

    fn add(listeners: &mut Listeners, channel: &str, id: Option<&str>, callback: i32) -> (String, Option<i32>) {
        let (id, replaced) = listeners.add(channel.as_bytes(), id.map(str::as_bytes), CallbackRef(callback), false);
        (String::from_utf8(id.to_vec()).unwrap(), replaced.map(|callback| callback.0))
    }

    #[test]
    fn listeners_stand_in_order_of_registration_and_a_replacement_keeps_its_place() {
        let mut listeners = Listeners::default();
        assert_eq!(add(&mut listeners, "a", Some("x"), 1), ("x".into(), None));
        assert_eq!(add(&mut listeners, "a", Some("y"), 2), ("y".into(), None));
        assert_eq!(add(&mut listeners, "b", Some("x"), 3), ("x".into(), None));
        assert_eq!(add(&mut listeners, "a", Some("x"), 4), ("x".into(), Some(1)));
        assert_eq!(
            (order(&listeners, "a"), order(&listeners, "b"), order(&listeners, "c")),
            (vec![4, 2], vec![3], vec![])
        );
        assert_eq!(listeners.remove(b"a", Some(b"y")), [CallbackRef(2)]);
        assert_eq!(listeners.remove(b"a", Some(b"y")), []);
        assert_eq!(listeners.remove(b"a", None), [CallbackRef(4)]);
        assert_eq!((listeners.remove(b"a", None), listeners.len()), (vec![], 1));
    }

    #[test]
    fn generated_ids_never_collide_with_chosen_ones() {
        let mut listeners = Listeners::default();
        add(&mut listeners, "a", Some("listener 2"), 1);
        let (id, replaced) = add(&mut listeners, "a", None, 2);
        assert_eq!((id.as_str(), replaced), ("listener 2+", None));
        assert_ne!(add(&mut listeners, "a", None, 3).0, id);
        assert_eq!(order(&listeners, "a"), [1, 2, 3]);
    }

    #[test]
    fn topics_of_the_previous_state_stay_wanted_until_they_are_dropped() {
        let mut listeners = Listeners::default();
        add(&mut listeners, "a", None, 1);
        add(&mut listeners, "b*", None, 2);
        assert_eq!(listeners.detach().len(), 2);
        add(&mut listeners, "a", None, 3);
        let wanted = |listeners: &Listeners| {
            let names = listeners.wanted().map(|topic| String::from_utf8(topic.name().into()).unwrap());
            names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(wanted(&listeners), ["a", "b*"]);
        listeners.take_changes();
        assert_eq!((wanted(&listeners).len(), listeners.keeps_any(), listeners.take_changes().len()), (2, true, 0));
        listeners.drop_kept(9);
        assert_eq!(changes(&mut listeners), ["b* is not"]);
        assert_eq!((wanted(&listeners).concat(), listeners.keeps_any()), ("a".to_owned(), false));
        // A second call has nothing more to drop.
        listeners.drop_kept(9);
        assert!(changes(&mut listeners).is_empty());
    }

    /// Counts the nodes of the routes that each step copies, as a snapshot shares them.
    #[test]
    fn dropping_kept_topics_copies_little_at_once_and_nothing_for_those_that_came_again() {
        use crate::hooks::routes::Routes;
        use crate::hooks::trie::COPIED;
        const TOPICS: usize = 10_000;
        const STEP: usize = 128;
        for (again, copied_max) in [(TOPICS, 0), (0, 6 * STEP)] {
            let (mut listeners, mut routes) = (Listeners::default(), Routes::new(""));
            let follow = |listeners: &mut Listeners, routes: &mut Routes| {
                let snapshot = routes.clone();
                COPIED.set(0);
                listeners.take_changes().iter().for_each(|(topic, wanted)| routes.listen(topic, *wanted));
                drop(snapshot);
                COPIED.get()
            };
            (0..TOPICS).for_each(|n| _ = add(&mut listeners, &n.to_string(), None, 1));
            listeners.detach();
            (0..again).for_each(|n| _ = add(&mut listeners, &n.to_string(), None, 2));
            follow(&mut listeners, &mut routes);
            let mut steps = 0;
            while listeners.keeps_any() {
                listeners.drop_kept(STEP);
                let copied = follow(&mut listeners, &mut routes);
                assert!(copied <= copied_max, "{copied} nodes copied in one step");
                steps += 1;
            }
            assert_eq!(steps, TOPICS.div_ceil(STEP));
            let listened = (0..TOPICS).filter(|n| routes.get(false, n.to_string().as_bytes()).is_some());
            assert_eq!(listened.count(), again);
        }
    }

    fn changes(listeners: &mut Listeners) -> Vec<String> {
        let changes = listeners.take_changes().into_iter().map(|(topic, wanted)| {
            let wanted = if wanted { "is wanted" } else { "is not" };
            format!("{} {wanted}", String::from_utf8_lossy(topic.name()))
        });
        let mut changes: Vec<_> = changes.collect();
        changes.sort();
        changes
    }

    #[test]
    fn a_topic_is_wanted_until_its_last_listener_goes() {
        let mut listeners = Listeners::default();
        add(&mut listeners, "a", Some("x"), 1);
        add(&mut listeners, "a", Some("y"), 2);
        assert_eq!(changes(&mut listeners), ["a is wanted"]);
        listeners.remove(b"a", Some(b"x"));
        listeners.remove(b"a", Some(b"nobody"));
        assert!(changes(&mut listeners).is_empty());
        listeners.remove(b"a", Some(b"y"));
        assert_eq!(changes(&mut listeners), ["a is not"]);
        add(&mut listeners, "a", None, 3);
        add(&mut listeners, "a", None, 4);
        listeners.remove(b"a", None);
        assert_eq!(changes(&mut listeners), ["a is not", "a is wanted"]);
        // A topic of the previous state stays wanted although the last listener of this state goes.
        add(&mut listeners, "a", None, 5);
        listeners.detach();
        add(&mut listeners, "a", Some("x"), 6);
        listeners.take_changes();
        listeners.remove(b"a", None);
        assert_eq!(changes(&mut listeners), ["a is wanted"]);
        assert_eq!((listeners.len(), listeners.topics.is_empty()), (0, true));
        add(&mut listeners, "b", None, 7);
        add(&mut listeners, "b", None, 8);
        assert_eq!((listeners.len(), listeners.topics.is_empty()), (2, false));
    }

    /// Checked against a plain list of (channel, id, callback).
    #[test]
    fn listeners_behave_like_a_plain_list() {
        proptest::proptest!(|(steps: Vec<(u8, u8, bool)>)| {
            let mut listeners = Listeners::default();
            let mut list: Vec<(String, String, i32)> = Vec::new();
            for (callback, (channel, id, add_it)) in steps.into_iter().enumerate() {
                let (channel, callback) = (format!("c{}", channel % 3), callback as i32);
                let id = (id % 5 > 0).then(|| format!("i{}", id % 5));
                let known = |row: &(String, String, i32)| row.0 == channel && id.as_ref().is_none_or(|id| row.1 == *id);
                if add_it {
                    let (id, replaced) = add(&mut listeners, &channel, id.as_deref(), callback);
                    let at = list.iter().position(|row| row.0 == channel && row.1 == id);
                    match at {
                        Some(at) => assert_eq!(replaced, Some(std::mem::replace(&mut list[at].2, callback))),
                        None => list.push((channel, id, callback)),
                    }
                } else {
                    let removed = listeners.remove(channel.as_bytes(), id.as_ref().map(|id| id.as_bytes()));
                    let expected: Vec<i32> = list.iter().filter(|row| known(row)).map(|row| row.2).collect();
                    assert_eq!(removed.iter().map(|callback| callback.0).collect::<Vec<_>>(), expected);
                    list.retain(|row| !known(row));
                }
                for channel in ["c0", "c1", "c2"] {
                    let expected: Vec<i32> = list.iter().filter(|row| row.0 == channel).map(|row| row.2).collect();
                    assert_eq!(order(&listeners, channel), expected);
                }
                assert_eq!(listeners.len(), list.len());
            }
        });
    }
}
