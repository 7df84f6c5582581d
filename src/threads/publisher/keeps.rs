//! The channels and patterns whose events Redis keeps (`Keep`). The game thread changes the list, `rt-publisher` looks
//! at it for each event that it writes: so Emit does nothing for it. Bounded by [`KEEPS_MAX`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::event::topic::Topic;
use crate::io::lock::lock;

/// Channels and patterns that one server may have kept. The publisher compares each new channel with all of them.
pub(crate) const KEEPS_MAX: usize = 1024;

/// One channel or pattern, and the bounds of each stream.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) topic: Topic,
    /// Entries of a stream, about.
    pub(crate) max_events: u64,
    /// From the last event to the end of the stream, in milliseconds.
    pub(crate) max_age_ms: u64,
    /// The number of the Lua state that asked for it.
    pub(crate) generation: u64,
}

/// All rules at one moment, in order of their first registration.
pub(crate) type Rules = Arc<Vec<Arc<Rule>>>;

/// The rules, and the number of their changes.
#[derive(Default)]
pub(crate) struct Keeps {
    rules: Mutex<Rules>,
    version: AtomicU64,
}

impl Keeps {
    /// Adds a rule, or replaces the one of the same name in its place. False: there are too many.
    pub(crate) fn add(&self, rule: Rule) -> bool {
        let mut rules = lock(&self.rules);
        let known = rules.iter().position(|known| known.topic == rule.topic);
        if known.is_none() && rules.len() >= KEEPS_MAX {
            return false;
        }
        let list = Arc::make_mut(&mut rules);
        match known.and_then(|at| list.get_mut(at)) {
            Some(place) => *place = Arc::new(rule),
            None => list.push(Arc::new(rule)),
        }
        self.version.fetch_add(1, Ordering::Release);
        true
    }

    /// Removes the rule of this name, if there is one.
    pub(crate) fn remove(&self, topic: &Topic) {
        self.retain(&mut |rule| rule.topic != *topic);
    }

    /// Removes the rules that other Lua states than this one asked for.
    pub(crate) fn end_others(&self, generation: u64) {
        self.retain(&mut |rule| rule.generation == generation);
    }

    fn retain(&self, stays: &mut dyn FnMut(&Rule) -> bool) {
        let mut rules = lock(&self.rules);
        if rules.iter().any(|rule| !stays(rule)) {
            Arc::make_mut(&mut rules).retain(|rule| stays(rule));
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether there is any rule.
    pub(crate) fn is_used(&self) -> bool {
        !lock(&self.rules).is_empty()
    }

    /// The rules and their version, if that is not `seen`. An event that the publisher took after this call may belong to
    /// newer rules, but then the version has changed.
    pub(crate) fn newer(&self, seen: u64) -> Option<(Rules, u64)> {
        // A script that calls Keep, then Emit: the lock of the outbox orders this load behind the change.
        if self.version.load(Ordering::Acquire) == seen {
            return None;
        }
        let rules = lock(&self.rules);
        Some((Arc::clone(&rules), self.version.load(Ordering::Acquire)))
    }
}

/// The rule for a channel without the prefix: that of its own name, else the first pattern that matches.
pub(crate) fn rule_for<'a>(rules: &'a [Arc<Rule>], channel: &[u8]) -> Option<&'a Rule> {
    let mut matching = rules.iter().filter(|rule| rule.topic.covers(channel));
    let first = matching.next()?;
    if !first.topic.is_pattern() {
        return Some(first);
    }
    Some(matching.find(|rule| !rule.topic.is_pattern()).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, max_events: u64, generation: u64) -> Rule {
        Rule { topic: Topic::new(name.as_bytes()), max_events, max_age_ms: 1000, generation }
    }

    fn kept(keeps: &Keeps, channel: &str) -> Option<u64> {
        let rules = lock(&keeps.rules);
        rule_for(&rules, channel.as_bytes()).map(|rule| rule.max_events)
    }

    #[test]
    fn a_channel_of_its_own_name_goes_before_patterns_and_patterns_by_age() {
        let keeps = Keeps::default();
        for (name, max_events) in [("a*", 1), ("ab*", 2), ("abc", 3), ("x", 4)] {
            assert!(keeps.add(rule(name, max_events, 1)));
        }
        for (channel, expected) in [("abc", Some(3)), ("abd", Some(1)), ("x", Some(4)), ("y", None), ("", None)] {
            assert_eq!(kept(&keeps, channel), expected, "{channel}");
        }
        assert!(keeps.add(rule("a*", 5, 2)));
        assert_eq!((kept(&keeps, "abd"), kept(&keeps, "abc")), (Some(5), Some(3)));
        keeps.remove(&Topic::new(b"abc"));
        assert_eq!(kept(&keeps, "abc"), Some(5));
    }

    #[test]
    fn rules_of_an_earlier_state_end_and_every_change_has_a_version() {
        let keeps = Keeps::default();
        assert!(keeps.newer(0).is_none() && !keeps.is_used());
        keeps.add(rule("a", 1, 1));
        keeps.add(rule("b", 1, 1));
        keeps.add(rule("b", 2, 2));
        let (rules, version) = keeps.newer(0).unwrap();
        assert_eq!((rules.len(), keeps.newer(version).is_none()), (2, true));
        keeps.end_others(2);
        let (rules, version) = keeps.newer(version).unwrap();
        assert_eq!((rules.len(), kept(&keeps, "a"), kept(&keeps, "b")), (1, None, Some(2)));
        keeps.end_others(2);
        keeps.remove(&Topic::new(b"none"));
        assert!(keeps.newer(version).is_none(), "nothing changed");
    }

    #[test]
    fn so_many_rules_and_no_more() {
        let keeps = Keeps::default();
        for n in 0..KEEPS_MAX {
            assert!(keeps.add(rule(&n.to_string(), 1, 1)));
        }
        assert!(!keeps.add(rule("one more", 1, 1)) && keeps.add(rule("7", 2, 1)));
    }
}
