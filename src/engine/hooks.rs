//! The hooks of this process, in order of registration, with the Lua functions of the attached state that decide some.
//! Game thread only. Hooks outlive a Lua state: they go on acting through a map change, and those that the new state
//! does not add again are dropped. Functions are handed back once, to be released.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::action::error::SpecError;
use crate::action::webhook::Webhook;
use crate::action::{Action, Fingerprint, Kind, Spec};
use crate::config::HOOKS_MAX;
use crate::engine::registry::CallbackRef;
use crate::hook::Hook;
use crate::routes::Topic;

struct Entry {
    hook: Arc<Hook>,
    condition: Option<CallbackRef>,
    /// Of the state before.
    is_kept: bool,
}

/// Channel and id.
pub(super) type Key = (Box<[u8]>, Arc<[u8]>);

#[derive(Default)]
pub struct Hooks {
    /// By serial: the order of registration.
    entries: BTreeMap<u64, Entry>,
    serials: HashMap<Key, u64>,
    serial: u64,
    changed: bool,
}

/// A hook that was added.
pub struct Added {
    pub hook: Arc<Hook>,
    /// The function that the same id on the same channel had before.
    pub replaced: Option<CallbackRef>,
}

impl Hooks {
    /// Checks the spec whole and adds the hook; without an id it gets its fingerprint as one. The same id on the same
    /// channel replaces, in its place of the order.
    pub fn add(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        condition: Option<CallbackRef>,
    ) -> Result<Added, SpecError> {
        let fingerprint = Fingerprint::of(channel, spec);
        let spec = Spec::parse(spec)?;
        let id: Arc<[u8]> = id.map_or_else(|| fingerprint.to_string().into_bytes().into(), Arc::from);
        let key = (Box::from(channel), Arc::clone(&id));
        let known = self.serials.get(&key).copied();
        if known.is_none() && self.entries.len() >= HOOKS_MAX {
            return Err(SpecError { member: String::new(), found: format!("there are {HOOKS_MAX} hooks already") });
        }
        let before = known.and_then(|serial| self.entries.remove(&serial));
        // The same hook as before, after a map change, goes on with its lease; one key has one lease.
        let same = self.entries.values().chain(&before).find(|entry| entry.hook.fingerprint == fingerprint);
        let lease = same.map(|entry| Arc::clone(&entry.hook.lease)).unwrap_or_default();
        let topic = Arc::new(Topic::new(channel));
        let hook = Arc::new(Hook { id, fingerprint, topic, spec, lease });
        let serial = known.unwrap_or_else(|| {
            self.serial += 1;
            self.serial
        });
        self.serials.insert(key, serial);
        self.entries.insert(serial, Entry { hook: Arc::clone(&hook), condition, is_kept: false });
        self.changed = true;
        Ok(Added { hook, replaced: before.and_then(|entry| entry.condition) })
    }

    /// Removes every hook of this id. `None`: there was none; else the functions they had.
    pub fn remove(&mut self, id: &[u8]) -> Option<Vec<CallbackRef>> {
        let gone: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| *entry.hook.id == *id).map(|(serial, _)| *serial).collect();
        if gone.is_empty() {
            return None;
        }
        Some(self.take(gone))
    }

    fn take(&mut self, serials: Vec<u64>) -> Vec<CallbackRef> {
        self.changed = true;
        let gone: Vec<Entry> = serials.into_iter().filter_map(|serial| self.entries.remove(&serial)).collect();
        for entry in &gone {
            self.serials.remove(&(Box::from(entry.hook.topic.name()), Arc::clone(&entry.hook.id)));
        }
        gone.into_iter().filter_map(|entry| entry.condition).collect()
    }

    /// The function that decides this hook, if the attached state has one for it.
    pub fn condition(&self, hook: &Hook) -> Option<CallbackRef> {
        let serial = self.serials.get(&(Box::from(hook.topic.name()), Arc::clone(&hook.id)))?;
        let entry = self.entries.get(serial).filter(|entry| entry.hook.fingerprint == hook.fingerprint)?;
        entry.condition
    }

    /// The Lua state goes away: its functions are handed back, its hooks stay.
    pub fn detach(&mut self) -> Vec<CallbackRef> {
        let mut functions = Vec::new();
        for entry in self.entries.values_mut() {
            entry.is_kept = true;
            functions.extend(entry.condition.take());
        }
        functions
    }

    pub fn keeps_any(&self) -> bool {
        self.entries.values().any(|entry| entry.is_kept)
    }

    /// Drops what the new state did not add again.
    pub fn drop_kept(&mut self) {
        let gone: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| entry.is_kept).map(|(serial, _)| *serial).collect();
        if !gone.is_empty() {
            self.take(gone);
        }
    }

    pub fn has_changed(&self) -> bool {
        self.changed
    }

    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub fn all(&self) -> impl Iterator<Item = Arc<Hook>> + '_ {
        self.entries.values().map(|entry| Arc::clone(&entry.hook))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Added {
    /// The destinations of the hook.
    pub fn webhooks(&self) -> impl Iterator<Item = &Webhook> {
        webhooks(&self.hook.spec.actions)
    }
}

/// The destinations of these actions.
pub fn webhooks(actions: &[Action]) -> impl Iterator<Item = &Webhook> {
    actions.iter().filter_map(|action| match &action.kind {
        Kind::Webhook(webhook) => Some(&**webhook),
        Kind::File(_) | Kind::Counter(_) | Kind::Leaderboard(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counter(key: &str) -> Value {
        json!({ "type": "counter", "key": key })
    }

    fn ids(hooks: &Hooks) -> Vec<String> {
        hooks.all().map(|hook| String::from_utf8(hook.id.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_same_id_replaces_and_none_is_the_fingerprint() {
        let mut hooks = Hooks::default();
        let first = hooks.add(b"a", Some(b"x"), &counter("k"), Some(CallbackRef(1))).unwrap();
        let second = hooks.add(b"a", Some(b"x"), &counter("k"), Some(CallbackRef(2))).unwrap();
        assert_eq!(second.replaced, Some(CallbackRef(1)));
        assert!(Arc::ptr_eq(&first.hook.lease, &second.hook.lease), "it goes on with its lease");
        let third = hooks.add(b"a", Some(b"x"), &counter("other"), None).unwrap();
        assert!(!Arc::ptr_eq(&second.hook.lease, &third.hook.lease));
        let twin = hooks.add(b"a", Some(b"twin"), &counter("other"), None).unwrap().hook;
        assert!(Arc::ptr_eq(&third.hook.lease, &twin.lease), "one key, one lease");
        assert_eq!(hooks.remove(b"twin"), Some(vec![]));
        hooks.add(b"b", Some(b"x"), &counter("k"), None).unwrap();
        let own = hooks.add(b"a", None, &counter("k"), None).unwrap().hook;
        hooks.add(b"a", None, &counter("k"), None).unwrap();
        assert_eq!(ids(&hooks), ["x", "x", &own.fingerprint.to_string()]);
        assert_eq!(hooks.remove(b"x"), Some(vec![]));
        assert_eq!((hooks.remove(b"x"), hooks.len()), (None, 1));
    }

    #[test]
    fn a_wrong_spec_changes_nothing() {
        let mut hooks = Hooks::default();
        hooks.add(b"a", Some(b"x"), &counter("k"), None).unwrap();
        assert!(hooks.take_changed());
        let err = hooks.add(b"a", Some(b"x"), &json!({ "type": "counter" }), None).err().unwrap();
        assert_eq!(err.member, "key");
        assert!(!hooks.take_changed() && hooks.len() == 1);
    }

    #[test]
    fn hooks_outlive_a_state_and_functions_do_not() {
        let mut hooks = Hooks::default();
        let hook = hooks.add(b"a", Some(b"x"), &counter("k"), Some(CallbackRef(1))).unwrap().hook;
        hooks.add(b"a", Some(b"y"), &counter("k"), None).unwrap();
        assert_eq!(hooks.condition(&hook), Some(CallbackRef(1)));
        assert_eq!(hooks.detach(), [CallbackRef(1)]);
        assert_eq!((hooks.condition(&hook), hooks.len(), hooks.keeps_any()), (None, 2, true));
        hooks.add(b"a", Some(b"x"), &counter("k"), Some(CallbackRef(2))).unwrap();
        assert_eq!(hooks.condition(&hook), Some(CallbackRef(2)), "the same hook, for an event of before");
        hooks.take_changed();
        hooks.drop_kept();
        assert!(hooks.take_changed());
        assert_eq!(ids(&hooks), ["x"]);
    }
}
