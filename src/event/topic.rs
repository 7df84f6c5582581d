//! A channel or a pattern: its name in scripts, and its name on the wire, which has the prefix. Pure.
//! The game thread makes one for each registration; all threads share it.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::OnceLock;

use crate::event::glob;

/// A channel or a pattern, named without the prefix, as Lua names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Topic {
    name: Box<[u8]>,
    pattern: bool,
    /// The hash of the name, by keys of this process: each event looks its topic up.
    hash: u64,
}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hasher of a map whose keys are topics: they bring their hash with them.
#[derive(Default)]
pub(crate) struct TopicHasher(u64);

impl Hasher for TopicHasher {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Topic {
    /// A name with `*`, `?` or `[` is a Redis pattern, any other an exact channel. A backslash alone makes no pattern:
    /// it may be part of a channel's name.
    pub(crate) fn new(name: &[u8]) -> Topic {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        let hash = KEYS.get_or_init(RandomState::new).hash_one(name);
        Topic { name: name.into(), pattern: name.iter().any(|byte| b"*?[".contains(byte)), hash }
    }

    /// The name without the prefix.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// True if Redis is asked with PSUBSCRIBE, false with SUBSCRIBE.
    pub(crate) fn is_pattern(&self) -> bool {
        self.pattern
    }

    /// True if the events of this channel, which has no prefix, belong to the topic.
    pub(crate) fn covers(&self, channel: &[u8]) -> bool {
        if self.pattern { glob::matches(&self.name, channel) } else { *self.name == *channel }
    }

    /// The bytes before the first special one: every channel that a pattern matches begins with them.
    pub(crate) fn literal(&self) -> &[u8] {
        let end = self.name.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(self.name.len());
        self.name.get(..end).unwrap_or_default()
    }

    /// The name on the wire: prefix, then name. In a pattern, special bytes of the prefix are escaped, so that they
    /// match only themselves.
    pub(crate) fn wire_name(&self, prefix: &str) -> Vec<u8> {
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
