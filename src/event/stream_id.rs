//! The id of an entry in a stream of Redis: `1732460000123-0`, the time in milliseconds and a number within it. Pure.
//! Ids rise within a stream. Redis never gives 0-0, so it stands for "none" and for the place before the first entry.

use std::fmt;

/// An id, in the order of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId {
    pub(crate) ms: u64,
    pub(crate) number: u64,
}

impl StreamId {
    /// No entry.
    pub(crate) const NONE: StreamId = StreamId { ms: 0, number: 0 };

    /// Reads the text of an id. `None` if it is no id, or 0-0.
    pub(crate) fn parse(text: &[u8]) -> Option<StreamId> {
        let (ms, number) = std::str::from_utf8(text).ok()?.split_once('-')?;
        // `parse` would take a sign.
        if !ms.bytes().chain(number.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let id = StreamId { ms: ms.parse().ok()?, number: number.parse().ok()? };
        (id != StreamId::NONE).then_some(id)
    }

    pub(crate) fn is_none(self) -> bool {
        self == StreamId::NONE
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_strictly_and_compared_as_redis_does() {
        for (text, expected) in [
            ("1732460000123-0", Some((1_732_460_000_123, 0))),
            ("0-1", Some((0, 1))),
            ("18446744073709551615-18446744073709551615", Some((u64::MAX, u64::MAX))),
            ("0-0", None),
            ("18446744073709551616-0", None),
            ("+1-0", None),
            ("1--1", None),
            ("1-", None),
            ("-1", None),
            ("1", None),
            ("", None),
            ("1-0 ", None),
        ] {
            let found = StreamId::parse(text.as_bytes());
            assert_eq!(found.map(|id| (id.ms, id.number)), expected, "{text}");
            assert!(found.is_none_or(|id| id.to_string() == text));
        }
        let id = |text: &str| StreamId::parse(text.as_bytes()).unwrap();
        assert!(id("9-10") < id("10-0") && id("9-9") < id("9-10") && StreamId::NONE < id("0-1"));
    }
}
