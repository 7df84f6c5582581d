//! A channel or a pattern, as scripts name it and as Redis knows it. Pure.

use crate::event::glob;

/// A channel or a pattern that somebody listens to, as Lua names it: without the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Topic {
    name: Box<[u8]>,
    pattern: bool,
}

impl Topic {
    /// A name with `*`, `?` or `[` is a Redis pattern, any other an exact channel.
    pub(crate) fn new(name: &[u8]) -> Topic {
        Topic { name: name.into(), pattern: name.iter().any(|byte| b"*?[".contains(byte)) }
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    pub(crate) fn is_pattern(&self) -> bool {
        self.pattern
    }

    /// Whether events of this channel, which has no prefix, belong to it.
    pub(crate) fn covers(&self, channel: &[u8]) -> bool {
        if self.pattern { glob::matches(&self.name, channel) } else { *self.name == *channel }
    }

    /// The letters before the first that stands for others: with them begins every channel of a pattern.
    pub(crate) fn literal(&self) -> &[u8] {
        let end = self.name.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(self.name.len());
        self.name.get(..end).unwrap_or_default()
    }

    /// The name on the wire: the prefix before it, taken literally also where the name is a pattern.
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
