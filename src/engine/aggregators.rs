//! The aggregators of this process, with the Lua functions of the attached state that sum their windows up.
//! Game thread only. They outlive a Lua state with what they collected: the same aggregator, added again by the next
//! state, goes on where it was. Functions are handed back once, to be released.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::action::error::SpecError;
use crate::action::{AggregatorSpec, Fingerprint};
use crate::aggregator::{Aggregator, Windows};
use crate::config::AGGREGATORS_MAX;
use crate::engine::hooks::Key;
use crate::engine::registry::CallbackRef;
use crate::routes::Topic;

struct Entry {
    aggregator: Arc<Aggregator>,
    function: Option<CallbackRef>,
    /// Of the state before.
    is_kept: bool,
}

#[derive(Default)]
pub struct Aggregators {
    entries: HashMap<Key, Entry>,
    changed: bool,
}

/// An aggregator that was added.
pub struct Added {
    pub aggregator: Arc<Aggregator>,
    /// The function that the same id on the same channel had before.
    pub function: Option<CallbackRef>,
    /// What the same id was before, if it was not the same.
    pub replaced: Option<Arc<Aggregator>>,
}

impl Aggregators {
    /// Checks the spec whole and adds the aggregator; without an id it gets its fingerprint as one.
    pub fn add(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        function: Option<CallbackRef>,
    ) -> Result<Added, SpecError> {
        let fingerprint = Fingerprint::of(channel, spec);
        let spec = AggregatorSpec::parse(spec)?;
        let function = function.ok_or_else(|| SpecError::new("aggregate", "expected a function"))?;
        let id: Arc<[u8]> = id.map_or_else(|| fingerprint.to_string().into_bytes().into(), Arc::from);
        let key = (Box::from(channel), Arc::clone(&id));
        if !self.entries.contains_key(&key) && self.entries.len() >= AGGREGATORS_MAX {
            let found = format!("there are {AGGREGATORS_MAX} aggregators already");
            return Err(SpecError { member: String::new(), found });
        }
        let before = self.entries.remove(&key);
        let same = before.as_ref().filter(|entry| entry.aggregator.fingerprint == fingerprint);
        let aggregator = same.map(|entry| Arc::clone(&entry.aggregator)).unwrap_or_else(|| {
            // Two of one spec have one key in Redis.
            let twin = self.entries.values().find(|entry| entry.aggregator.fingerprint == fingerprint);
            let lease = twin.map(|entry| Arc::clone(&entry.aggregator.lease)).unwrap_or_default();
            let windows = Mutex::new(Windows::new(&spec));
            Arc::new(Aggregator { id, fingerprint, topic: Arc::new(Topic::new(channel)), spec, lease, windows })
        });
        let entry = Entry { aggregator: Arc::clone(&aggregator), function: Some(function), is_kept: false };
        self.entries.insert(key, entry);
        self.changed = true;
        let (before, function) = before.map_or((None, None), |entry| (Some(entry.aggregator), entry.function));
        let replaced = before.filter(|before| !Arc::ptr_eq(before, &aggregator));
        Ok(Added { aggregator, function, replaced })
    }

    /// Removes every aggregator of this id: each with the function it had.
    pub fn remove(&mut self, id: &[u8]) -> Vec<(Arc<Aggregator>, Option<CallbackRef>)> {
        self.take(|entry| *entry.aggregator.id == *id)
    }

    /// Drops what the new state did not add again.
    pub fn drop_kept(&mut self) -> Vec<Arc<Aggregator>> {
        self.take(|entry| entry.is_kept).into_iter().map(|(aggregator, _)| aggregator).collect()
    }

    fn take(&mut self, gone: impl Fn(&Entry) -> bool) -> Vec<(Arc<Aggregator>, Option<CallbackRef>)> {
        let gone: Vec<Entry> = self.entries.extract_if(|_, entry| gone(entry)).map(|(_, entry)| entry).collect();
        self.changed |= !gone.is_empty();
        gone.into_iter().map(|entry| (entry.aggregator, entry.function)).collect()
    }

    /// The function that sums this one's windows up, if the attached state has one for it.
    pub fn function(&self, aggregator: &Aggregator) -> Option<CallbackRef> {
        let key = (Box::from(aggregator.topic.name()), Arc::clone(&aggregator.id));
        let entry = self.entries.get(&key).filter(|entry| std::ptr::eq(&*entry.aggregator, aggregator))?;
        entry.function
    }

    /// The Lua state goes away: its functions are handed back, its aggregators stay.
    pub fn detach(&mut self) -> Vec<CallbackRef> {
        let each = self.entries.values_mut().filter_map(|entry| {
            entry.is_kept = true;
            entry.function.take()
        });
        each.collect()
    }

    pub fn keeps_any(&self) -> bool {
        self.entries.values().any(|entry| entry.is_kept)
    }

    pub fn has_changed(&self) -> bool {
        self.changed
    }

    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub fn all(&self) -> impl Iterator<Item = Arc<Aggregator>> + '_ {
        self.entries.values().map(|entry| Arc::clone(&entry.aggregator))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(interval: u64) -> Value {
        let function = json!({ "\u{0}function": "x.lua:1" });
        json!({ "interval": interval, "aggregate": function, "actions": [{ "type": "file", "path": "x.log" }] })
    }

    #[test]
    fn the_same_goes_on_and_another_replaces() {
        let mut aggregators = Aggregators::default();
        let mut add = |id: &[u8], interval, function| {
            let added = aggregators.add(b"a", Some(id), &spec(interval), Some(CallbackRef(function))).unwrap();
            (added.aggregator, added.function, added.replaced)
        };
        let (first, ..) = add(b"x", 60, 1);
        let (again, function, replaced) = add(b"x", 60, 2);
        assert!(Arc::ptr_eq(&first, &again) && replaced.is_none());
        assert_eq!(function, Some(CallbackRef(1)));
        let (twin, ..) = add(b"y", 60, 3);
        assert!(Arc::ptr_eq(&twin.lease, &first.lease) && !Arc::ptr_eq(&twin, &first));
        let (other, function, replaced) = add(b"x", 30, 4);
        assert!(replaced.is_some_and(|replaced| Arc::ptr_eq(&replaced, &first)));
        assert_eq!(function, Some(CallbackRef(2)));
        assert_eq!((aggregators.function(&other), aggregators.function(&first)), (Some(CallbackRef(4)), None));
        assert_eq!((aggregators.remove(b"x").len(), aggregators.remove(b"x").len(), aggregators.len()), (1, 0, 1));
    }

    #[test]
    fn they_outlive_a_state_and_functions_do_not() {
        let mut aggregators = Aggregators::default();
        let added = aggregators.add(b"a", None, &spec(60), Some(CallbackRef(1))).unwrap().aggregator;
        aggregators.add(b"b", None, &spec(60), Some(CallbackRef(2))).unwrap();
        assert_eq!(aggregators.detach().len(), 2);
        assert!(aggregators.keeps_any() && aggregators.function(&added).is_none());
        aggregators.add(b"a", None, &spec(60), Some(CallbackRef(3))).unwrap();
        assert_eq!(aggregators.function(&added), Some(CallbackRef(3)));
        aggregators.take_changed();
        let gone = aggregators.drop_kept();
        assert_eq!((gone.len(), aggregators.len(), aggregators.take_changed()), (1, 1, true));
        assert_eq!(gone[0].topic.name(), b"b");
    }

    #[test]
    fn a_wrong_spec_changes_nothing() {
        let mut aggregators = Aggregators::default();
        aggregators.add(b"a", Some(b"x"), &spec(60), Some(CallbackRef(1))).unwrap();
        aggregators.take_changed();
        let err = aggregators.add(b"a", Some(b"x"), &json!({ "interval": 60 }), None).err().unwrap();
        assert_eq!(err.member, "aggregate");
        assert!(!aggregators.take_changed() && aggregators.len() == 1);
    }
}
