//! A channel or a pattern: its name in scripts, and its name on the wire, which has the prefix. Pure.
//! The game thread makes one for each registration; all threads share it.

use crate::event::glob;

/// Begins the channels and keys of self-tests, after the prefix. Patterns of scripts do not hear these channels.
pub(crate) const SELFTEST: &str = "rt:selftest:";

/// A channel or a pattern, named without the prefix, as Lua names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    name: Box<[u8]>,
    pattern: bool,
}

impl Topic {
    /// A name with `*`, `?` or `[` is a Redis pattern, any other an exact channel. A backslash alone makes no pattern:
    /// it may be part of a channel's name.
    pub fn new(name: &[u8]) -> Topic {
        Topic { name: name.into(), pattern: name.iter().any(|byte| b"*?[".contains(byte)) }
    }

    /// The name without the prefix.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// True if Redis is asked with PSUBSCRIBE, false with SUBSCRIBE.
    pub fn is_pattern(&self) -> bool {
        self.pattern
    }

    /// True if the events of this channel, which has no prefix, belong to the topic.
    pub fn covers(&self, channel: &[u8]) -> bool {
        if self.pattern { glob::matches(&self.name, channel) } else { *self.name == *channel }
    }

    /// The bytes before the first special one: every channel that a pattern matches begins with them.
    pub(crate) fn literal(&self) -> &[u8] {
        let end = self.name.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(self.name.len());
        self.name.get(..end).unwrap_or_default()
    }

    /// The name on the wire: prefix, then name. In a pattern, special bytes of the prefix are escaped, so that they
    /// match only themselves.
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
