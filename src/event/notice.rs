//! Notices: news that the library reports to scripts as game hooks (`RealtimeGap` and the like).
//! Pure values, made on any thread, reported on the game thread. The name and the arguments of each game hook stand at
//! the variants of [`Notice`], in this order: scripts depend on them.

use std::sync::Arc;

/// The operation that [`Notice::Error`] names for a failed attempt to connect.
pub(crate) const CONNECT: &str = "connect";

/// One notice. Its texts contain no secret: an address is `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `RealtimeConnected()`: both connections are ready, and Redis has confirmed every subscription.
    Connected,
    /// `RealtimeDisconnected(reason)`: a connection was lost.
    Disconnected { reason: String },
    /// `RealtimeGap(channel, server, missed)`: so many events of that server on that channel did not arrive. Without a
    /// server and with the number 0: the stream of the channel no longer holds the place from which a listener reads on.
    Gap { channel: Box<[u8]>, server: Box<str>, missed: u64 },
    /// `RealtimeOverflow(queue, dropped)`: a full queue dropped so many items.
    Overflow { queue: &'static str, dropped: u64 },
    /// `RealtimeError(operation, target, reason)`: an operation without a callback failed.
    Error { operation: &'static str, target: Box<[u8]>, reason: String },
    /// `RealtimeActionFailed(hook, kind, reason)`: the library gave up an action of this hook.
    ActionFailed { hook: Arc<[u8]>, kind: &'static str, reason: String },
    /// `RealtimeServerUp(name)`: another server is there.
    ServerUp { name: Box<str> },
    /// `RealtimeServerDown(name)`: another server is gone.
    ServerDown { name: Box<str> },
}

/// An argument of a game hook.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Argument<'a> {
    Text(&'a [u8]),
    Number(u64),
}

impl Notice {
    /// The name of its game hook.
    pub(crate) fn hook(&self) -> &'static str {
        match self {
            Notice::Connected => "RealtimeConnected",
            Notice::Disconnected { .. } => "RealtimeDisconnected",
            Notice::Gap { .. } => "RealtimeGap",
            Notice::Overflow { .. } => "RealtimeOverflow",
            Notice::Error { .. } => "RealtimeError",
            Notice::ActionFailed { .. } => "RealtimeActionFailed",
            Notice::ServerUp { .. } => "RealtimeServerUp",
            Notice::ServerDown { .. } => "RealtimeServerDown",
        }
    }

    /// The arguments of its game hook, in order. Borrowed, so that the pump allocates nothing for them.
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
            Notice::ServerUp { name } | Notice::ServerDown { name } => [text(name.as_bytes()), None, None],
        }
    }

    /// True if it reports the state of the connection. A full queue of notices must not drop the newest of these, or
    /// scripts would believe the wrong state.
    pub(crate) fn is_of_connection(&self) -> bool {
        matches!(self, Notice::Connected | Notice::Disconnected { .. })
    }

    /// True if it reports an attempt to connect that failed.
    pub(crate) fn is_connect_error(&self) -> bool {
        matches!(self, Notice::Error { operation: CONNECT, .. })
    }

    /// Merges a notice of the same kind about the same thing into this one, so that a failure that repeats is reported
    /// once. Reasons that differ only in their digits count as equal. False if `other` is about another thing.
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

/// True if two reasons are equal without their digits: `queue_full: 8192 jobs wait` is no news after `8191 jobs`.
fn is_alike(one: &str, other: &str) -> bool {
    let is_no_digit = |byte: &u8| !byte.is_ascii_digit();
    one.bytes().filter(is_no_digit).eq(other.bytes().filter(is_no_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_notices_are_merged() {
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
        assert!(!Notice::Connected.absorb(&Notice::Connected), "each change of the connection is reported");
    }
}
