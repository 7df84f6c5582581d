//! News that a Lua script may want to hear of: what becomes a game hook (`RealtimeGap` and the like).
//! A pure value, made on any thread, told on the game thread. Names and arguments are the contract of `Notice`'s
//! variants, in this order.

use std::sync::Arc;

/// One piece of news. Texts hold no secret: addresses are `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `RealtimeConnected()`: both connections are ready and every subscription was answered.
    Connected,
    /// `RealtimeDisconnected(reason)`
    Disconnected { reason: String },
    /// `RealtimeGap(channel, server, missed)`: events of that server on that channel that never came.
    Gap { channel: Box<[u8]>, server: Box<str>, missed: u64 },
    /// `RealtimeOverflow(queue, dropped)`: a queue was full and made room.
    Overflow { queue: &'static str, dropped: u64 },
    /// `RealtimeError(operation, target, reason)`: something failed that nobody waits for.
    Error { operation: &'static str, target: Box<[u8]>, reason: String },
    /// `RealtimeActionFailed(hook, kind, reason)`: an action of this hook was given up.
    ActionFailed { hook: Arc<[u8]>, kind: &'static str, reason: String },
}

/// An argument of a game hook.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Argument<'a> {
    Text(&'a [u8]),
    Number(u64),
}

impl Notice {
    /// The game hook it becomes.
    pub(crate) fn hook(&self) -> &'static str {
        match self {
            Notice::Connected => "RealtimeConnected",
            Notice::Disconnected { .. } => "RealtimeDisconnected",
            Notice::Gap { .. } => "RealtimeGap",
            Notice::Overflow { .. } => "RealtimeOverflow",
            Notice::Error { .. } => "RealtimeError",
            Notice::ActionFailed { .. } => "RealtimeActionFailed",
        }
    }

    /// The arguments of that game hook, in order; none allocates.
    pub(crate) fn arguments(&self) -> [Option<Argument<'_>>; 3] {
        let text = |text| Some(Argument::Text(text));
        match self {
            Notice::Connected => [None; 3],
            Notice::Disconnected { reason } => [text(reason.as_bytes()), None, None],
            Notice::Gap { channel, server, missed } => {
                [text(channel), text(server.as_bytes()), Some(Argument::Number(*missed))]
            }
            Notice::Overflow { queue, dropped } => [text(queue.as_bytes()), Some(Argument::Number(*dropped)), None],
            Notice::Error { operation, target, reason } => {
                [text(operation.as_bytes()), text(target), text(reason.as_bytes())]
            }
            Notice::ActionFailed { hook, kind, reason } => [text(hook), text(kind.as_bytes()), text(reason.as_bytes())],
        }
    }

    /// Whether it says how the connection stands: the newest of these must arrive.
    pub(crate) fn is_of_connection(&self) -> bool {
        matches!(self, Notice::Connected | Notice::Disconnected { .. })
    }

    /// Takes in news of the same kind about the same thing; reasons that differ in their numbers alone are the same.
    /// False if `other` is another matter.
    pub(crate) fn absorb(&mut self, other: &Notice) -> bool {
        match (self, other) {
            (Notice::Gap { channel, server, missed }, Notice::Gap { channel: c, server: s, missed: more })
                if channel == c && server == s =>
            {
                *missed += more;
                true
            }
            (Notice::Overflow { queue, dropped }, Notice::Overflow { queue: q, dropped: more }) if queue == q => {
                *dropped += more;
                true
            }
            (Notice::Error { operation, target, reason }, Notice::Error { operation: o, target: t, reason: r }) => {
                operation == o && target == t && is_alike(reason, r)
            }
            (Notice::ActionFailed { hook, kind, reason }, Notice::ActionFailed { hook: h, kind: k, reason: r }) => {
                hook == h && kind == k && is_alike(reason, r)
            }
            _ => false,
        }
    }
}

/// Whether two reasons are the same but for their digits: `queue_full: 8192 jobs wait` is no news after 8191.
fn is_alike(one: &str, other: &str) -> bool {
    let is_no_digit = |byte: &u8| !byte.is_ascii_digit();
    one.bytes().filter(is_no_digit).eq(other.bytes().filter(is_no_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_news_are_told_once() {
        let failed = |hook: &str, reason: &str| Notice::ActionFailed {
            hook: hook.as_bytes().into(),
            kind: "counter",
            reason: reason.to_owned(),
        };
        for (hook, reason, same) in [
            ("x", "queue_full: 8192 commands wait", true),
            ("x", "queue_full: 77 commands wait", true),
            ("x", "queue_full: 8192 records wait", false),
            ("y", "queue_full: 8192 commands wait", false),
        ] {
            let mut waiting = failed("x", "queue_full: 8192 commands wait");
            assert_eq!(waiting.absorb(&failed(hook, reason)), same, "{hook}: {reason}");
        }
        let gap = |server: &str, missed| Notice::Gap { channel: b"a".as_slice().into(), server: server.into(), missed };
        let mut waiting = gap("s", 1);
        assert!(waiting.absorb(&gap("s", 2)) && !waiting.absorb(&gap("t", 4)) && waiting == gap("s", 3));
        assert!(!Notice::Connected.absorb(&Notice::Connected), "each change of the connection is one");
    }
}
