//! The commands that are in flight: written on this connection and not answered, in the order written. `rt-publisher`
//! owns the queue. Redis answers in the order of the commands, so the oldest entry is the one that the next reply
//! belongs to. Counts bytes, which bound how much is in flight, and answers that are waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::event::fingerprint::Fingerprint;
use crate::hooks::lease::Lease;
use crate::threads::publisher::expiries::Expiry;
use crate::threads::publisher::outbox::Outgoing;

/// One command in flight, by the meaning of its reply.
pub(super) enum Sent {
    Item(Outgoing),
    /// A command that accompanies another, such as the SET that creates a counter's key with its time to live. Only an
    /// error reply matters. Its operation as `RealtimeError` names it, and its key.
    Auxiliary(&'static str, Box<[u8]>),
    /// TTL or EXPIRE of a counter's key.
    Expiry(Expiry),
    Leases(LeaseRequest),
    Presence(PresenceRequest),
    /// ROLE, or PING where an ACL forbids ROLE. Any reply proves that the connection is alive; a role other than master
    /// proves that it is of no use.
    Heartbeat,
}

/// Leases that one command asks for.
pub(super) struct LeaseRequest {
    pub(super) leases: Vec<(Fingerprint, Arc<Lease>)>,
    /// When the command was encoded: a lease counts from before Redis could grant it.
    pub(super) asked: Instant,
}

/// A command of this server's presence, by its reply (`publisher/presence.rs`).
pub(super) enum PresenceRequest {
    /// A write. Only an error matters.
    Write,
    /// ZRANGE of the index.
    Index,
    /// MGET of the keys of these members.
    Values(Vec<Box<str>>),
}

/// The queue of commands in flight.
#[derive(Default)]
pub(super) struct InFlight {
    queue: VecDeque<Sent>,
    bytes: usize,
    /// Entries whose answer is waited for ([`Sent::is_awaited`]).
    awaited: usize,
}

impl InFlight {
    pub(super) fn push(&mut self, sent: Sent) {
        self.bytes += sent.weight();
        self.awaited += usize::from(sent.is_awaited());
        self.queue.push_back(sent);
    }

    /// Puts the entry that [`InFlight::pop`] returned back as the oldest.
    pub(super) fn put_back(&mut self, sent: Sent) {
        self.bytes += sent.weight();
        self.awaited += usize::from(sent.is_awaited());
        self.queue.push_front(sent);
    }

    /// Takes the oldest entry: the next reply is the answer to it.
    pub(super) fn pop(&mut self) -> Option<Sent> {
        let sent = self.queue.pop_front()?;
        self.bytes -= sent.weight();
        self.awaited -= usize::from(sent.is_awaited());
        Some(sent)
    }

    /// The entry that the next reply belongs to.
    pub(super) fn oldest(&self) -> Option<&Sent> {
        self.queue.front()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Memory of the items and keys in flight, in bytes, as the outbox charges it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Empties the queue when the connection is gone: all items, and the keys whose time to live was being checked. The
    /// other commands are made anew for each connection.
    pub(super) fn take(&mut self) -> (Vec<Outgoing>, Vec<Expiry>) {
        let (mut items, mut expiries) = (Vec::new(), Vec::new());
        for sent in std::mem::take(self).queue {
            match sent {
                Sent::Item(item) => items.push(item),
                Sent::Expiry(expiry) => expiries.push(expiry),
                Sent::Auxiliary(..) | Sent::Leases(_) | Sent::Presence(_) | Sent::Heartbeat => {}
            }
        }
        (items, expiries)
    }
}

impl Sent {
    fn weight(&self) -> usize {
        match self {
            Sent::Item(item) => item.weight(),
            Sent::Expiry(expiry) => expiry.weight(),
            Sent::Auxiliary(..) | Sent::Leases(_) | Sent::Presence(_) | Sent::Heartbeat => 0,
        }
    }

    /// Whether the publisher should read this answer as soon as it arrives: a script waits for it, the search for a
    /// leaderboard goes on with it, or it is about a lease, without which this server does not act on events.
    fn is_awaited(&self) -> bool {
        match self {
            Sent::Item(Outgoing::Run(run)) => run.is_awaited(),
            Sent::Leases(_) => true,
            Sent::Item(Outgoing::Publish(_))
            | Sent::Auxiliary(..)
            | Sent::Expiry(_)
            | Sent::Presence(_)
            | Sent::Heartbeat => false,
        }
    }
}
