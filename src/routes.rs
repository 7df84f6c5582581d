//! Who wants what: the immutable snapshot that the game thread publishes and the other threads read.
//! Built anew when listeners change; a reader keeps its `Arc` for as long as one event takes.
//! Knows names only, no Lua reference: those stay on the game thread (`engine/registry.rs`).

use std::collections::HashMap;
use std::sync::Arc;

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

/// Everything wanted at one moment, by its name on the wire.
#[derive(Default)]
pub struct Routes {
    channels: HashMap<Box<[u8]>, Arc<Topic>>,
    patterns: HashMap<Box<[u8]>, Arc<Topic>>,
    /// What stands before every name on the wire.
    prefix: Box<str>,
}

impl Routes {
    pub fn new(topics: impl IntoIterator<Item = Arc<Topic>>, prefix: &str) -> Routes {
        let mut routes = Routes { prefix: prefix.into(), ..Routes::default() };
        for topic in topics {
            let wire = topic.wire_name(prefix).into_boxed_slice();
            match topic.is_pattern() {
                true => routes.patterns.insert(wire, topic),
                false => routes.channels.insert(wire, topic),
            };
        }
        routes
    }

    /// The topic of a `message` frame on this channel, or of a `pmessage` frame for this pattern.
    pub fn topic(&self, pattern: bool, wire: &[u8]) -> Option<&Arc<Topic>> {
        if pattern { self.patterns.get(wire) } else { self.channels.get(wire) }
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
        let routes = Routes::new([Arc::new(Topic::new(b"a")), Arc::new(Topic::new(b"a*"))], "p:");
        assert!(routes.topic(false, b"p:a").is_some() && routes.topic(true, b"p:a").is_none());
        assert!(routes.topic(true, b"p:a*").is_some() && routes.topic(false, b"p:a*").is_none());
        assert_eq!(routes.len(), 2);
        assert_eq!((routes.unprefixed(b"p:a"), routes.unprefixed(b"q:a")), (b"a".as_slice(), b"q:a".as_slice()));
    }
}
