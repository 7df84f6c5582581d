//! Who wants what: the immutable snapshot that the game thread publishes and the other threads read.
//! Built anew when listeners or hooks change; a reader keeps its `Arc` for as long as one event takes.
//! Knows names and hooks, no Lua reference: those stay on the game thread (`engine/registry.rs`, `engine/hooks.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::action::{Fingerprint, Scope};
use crate::aggregator::Aggregator;
use crate::glob;
use crate::hook::{Hook, Lease};
use crate::identity;

/// A channel or a pattern that somebody listens to, as Lua names it: without the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    name: Box<[u8]>,
    pattern: bool,
}

impl Topic {
    /// A name with `*`, `?` or `[` is a Redis pattern, any other an exact channel.
    pub fn new(name: &[u8]) -> Topic {
        Topic { name: name.into(), pattern: name.iter().any(|byte| b"*?[".contains(byte)) }
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    pub fn is_pattern(&self) -> bool {
        self.pattern
    }

    /// The name on the wire: the prefix before it, taken literally also where the name is a pattern.
    pub fn wire_name(&self, prefix: &str) -> Vec<u8> {
        let mut wire = Vec::with_capacity(prefix.len() * 2 + self.name.len());
        for byte in prefix.bytes() {
            if self.pattern && b"*?[]\\".contains(&byte) {
                wire.push(b'\\');
            }
            wire.push(byte);
        }
        wire.extend_from_slice(&self.name);
        wire
    }
}

/// Who wants what comes of one topic.
pub struct Route {
    pub topic: Arc<Topic>,
    /// Lua listeners.
    pub is_listened: bool,
    pub hooks: Vec<Arc<Hook>>,
    pub aggregators: Vec<Arc<Aggregator>>,
}

impl Route {
    fn new(topic: Arc<Topic>) -> Route {
        Route { topic, is_listened: false, hooks: Vec::new(), aggregators: Vec::new() }
    }

    /// Whether anything but Lua listeners wants its events.
    pub fn is_acted_on(&self) -> bool {
        !(self.hooks.is_empty() && self.aggregators.is_empty())
    }
}

impl Matched {
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty() && self.aggregators.is_empty()
    }
}

/// The hooks and aggregators of the events of one channel.
#[derive(Default)]
pub struct Matched {
    pub hooks: Vec<Arc<Hook>>,
    pub aggregators: Vec<Arc<Aggregator>>,
    /// What an event's identity says of those of them that act for the fleet.
    pub acted: Box<[u8]>,
}

/// Everything wanted at one moment, by its name on the wire.
#[derive(Default)]
pub struct Routes {
    channels: HashMap<Box<[u8]>, Route>,
    patterns: HashMap<Box<[u8]>, Route>,
    /// What stands before every name on the wire.
    prefix: Box<str>,
    /// The rights to act for the fleet that this server wants.
    leases: Vec<(Fingerprint, Arc<Lease>)>,
    aggregators: Vec<Arc<Aggregator>>,
}

impl Routes {
    /// Of the topics that Lua listens to, and the hooks.
    pub fn new(
        listened: impl IntoIterator<Item = Arc<Topic>>,
        hooks: impl IntoIterator<Item = Arc<Hook>>,
        prefix: &str,
    ) -> Routes {
        let mut routes = Routes { prefix: prefix.into(), ..Routes::default() };
        for topic in listened {
            routes.route(topic).is_listened = true;
        }
        for hook in hooks {
            if hook.has(Scope::Fleet) {
                routes.leases.push((hook.fingerprint, Arc::clone(&hook.lease)));
            }
            routes.route(Arc::clone(&hook.topic)).hooks.push(hook);
        }
        routes
    }

    /// With these aggregators, whose topics are wanted too.
    #[must_use]
    pub fn with_aggregators(mut self, aggregators: impl IntoIterator<Item = Arc<Aggregator>>) -> Routes {
        for aggregator in aggregators {
            self.leases.push((aggregator.fingerprint, Arc::clone(&aggregator.lease)));
            self.route(Arc::clone(&aggregator.topic)).aggregators.push(Arc::clone(&aggregator));
            self.aggregators.push(aggregator);
        }
        self
    }

    pub fn aggregators(&self) -> &[Arc<Aggregator>] {
        &self.aggregators
    }

    fn route(&mut self, topic: Arc<Topic>) -> &mut Route {
        let wire = topic.wire_name(&self.prefix).into_boxed_slice();
        let space = if topic.is_pattern() { &mut self.patterns } else { &mut self.channels };
        space.entry(wire).or_insert_with(|| Route::new(topic))
    }

    /// Who wants a `message` frame on this channel, or a `pmessage` frame for this pattern.
    pub fn get(&self, pattern: bool, wire: &[u8]) -> Option<&Route> {
        if pattern { self.patterns.get(wire) } else { self.channels.get(wire) }
    }

    /// The hooks and aggregators of an event on `channel`, which has no prefix.
    pub fn matched(&self, channel: &[u8]) -> Matched {
        let wire = [self.prefix.as_bytes(), channel].concat();
        let exact = self.channels.get(wire.as_slice()).into_iter();
        let patterns = self.patterns.values().filter(|route| route.is_acted_on());
        let patterns = patterns.filter(|route| glob::matches(route.topic.name(), channel));
        let routes: Vec<&Route> = exact.chain(patterns).collect();
        let hooks: Vec<_> = routes.iter().flat_map(|route| route.hooks.iter().cloned()).collect();
        let aggregators = routes.iter().flat_map(|route| route.aggregators.iter().cloned()).collect();
        let fleet = hooks.iter().filter(|hook| hook.has(Scope::Fleet));
        let acted = identity::acted(fleet.map(|hook| hook.fingerprint));
        Matched { hooks, aggregators, acted }
    }

    /// The rights to act for the fleet that this server wants.
    pub fn leases(&self) -> &[(Fingerprint, Arc<Lease>)] {
        &self.leases
    }

    /// A channel on the wire as scripts name it.
    pub fn unprefixed<'a>(&self, wire: &'a [u8]) -> &'a [u8] {
        wire.strip_prefix(self.prefix.as_bytes()).unwrap_or(wire)
    }

    /// The wire names of one kind.
    pub fn wire_names(&self, pattern: bool) -> impl Iterator<Item = &[u8]> {
        match pattern {
            true => self.patterns.keys().map(AsRef::as_ref),
            false => self.channels.keys().map(AsRef::as_ref),
        }
    }

    pub fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// name | pattern? | prefix | on the wire
    const ROWS: &[(&str, bool, &str, &str)] = &[
        ("player:death", false, "", "player:death"),
        ("player:death", false, "test:", "test:player:death"),
        ("player:*", true, "test:", "test:player:*"),
        ("a?c", true, "", "a?c"),
        ("a[bc]", true, "", "a[bc]"),
        ("a]b\\c", false, "", "a]b\\c"),
        ("*", true, "[x]*?\\", "\\[x\\]\\*\\?\\\\*"),
        ("exact", false, "[x]*", "[x]*exact"),
    ];

    #[test]
    fn names_on_the_wire() {
        for (name, pattern, prefix, wire) in ROWS {
            let topic = Topic::new(name.as_bytes());
            assert_eq!(topic.is_pattern(), *pattern, "{name}");
            assert_eq!(topic.wire_name(prefix), wire.as_bytes(), "{name}");
        }
    }

    #[test]
    fn channels_and_patterns_are_apart() {
        let routes = Routes::new([Arc::new(Topic::new(b"a")), Arc::new(Topic::new(b"a*"))], [], "p:");
        assert!(routes.get(false, b"p:a").is_some() && routes.get(true, b"p:a").is_none());
        assert!(routes.get(true, b"p:a*").is_some() && routes.get(false, b"p:a*").is_none());
        assert_eq!(routes.len(), 2);
        assert_eq!((routes.unprefixed(b"p:a"), routes.unprefixed(b"q:a")), (b"a".as_slice(), b"q:a".as_slice()));
    }

    #[test]
    fn hooks_by_channel() {
        let hook = |name: &str| {
            let spec = serde_json::json!({ "type": "file", "path": "x.log" });
            Arc::new(Hook {
                id: name.as_bytes().into(),
                fingerprint: Fingerprint::of(name.as_bytes(), &spec),
                topic: Arc::new(Topic::new(name.as_bytes())),
                spec: crate::action::Spec::parse(&spec).unwrap(),
                lease: Arc::default(),
            })
        };
        let names = ["a:b", "a:*", "*", "b:*", "a:b"];
        let routes = Routes::new([Arc::new(Topic::new(b"a:b"))], names.map(hook), "p:");
        let mut found: Vec<_> = routes.matched(b"a:b").hooks.iter().map(|hook| hook.id.to_vec()).collect();
        found.sort();
        assert_eq!(found, [b"*".to_vec(), b"a:*".to_vec(), b"a:b".to_vec(), b"a:b".to_vec()]);
        assert_eq!(routes.matched(b"c").hooks.len(), 1);
        let route = routes.get(false, b"p:a:b").unwrap();
        assert!(route.is_listened && route.hooks.len() == 2);
        assert!(!routes.get(true, b"p:*").unwrap().is_listened);
        // What only each server does needs no lease.
        assert!(routes.leases().is_empty());
    }
}
