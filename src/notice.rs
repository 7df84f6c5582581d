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
pub enum Argument<'a> {
    Text(&'a [u8]),
    Number(u64),
}

impl Notice {
    /// The game hook it becomes.
    pub fn hook(&self) -> &'static str {
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
    pub fn arguments(&self) -> [Option<Argument<'_>>; 3] {
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

    /// Takes in news of the same kind about the same thing. False if `other` is another matter.
    pub fn absorb(&mut self, other: &Notice) -> bool {
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
                operation == o && target == t && reason == r
            }
            (Notice::ActionFailed { hook, kind, reason }, Notice::ActionFailed { hook: h, kind: k, reason: r }) => {
                hook == h && kind == k && reason == r
            }
            _ => false,
        }
    }
}
