//! The commands that are in flight: written on this connection and not answered, in the order written. `rt-publisher`
//! owns the queue. Redis answers in the order of the commands, so the oldest entry is the one that the next reply
//! belongs to. Nodes of a cluster answer each on their own line, so each has a queue. Counts bytes, which bound how much is
//! in flight, and answers that are waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::event::fingerprint::Fingerprint;
use crate::hooks::lease::Lease;
use crate::redis::cluster::{HOME, LineNumber};
use crate::redis::command;
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
    /// CLUSTER SLOTS: the map of a cluster.
    Map,
    /// ROLE, or PING where an ACL forbids ROLE. Any reply proves that the connection is alive; a role other than master
    /// proves that it is of no use.
    Heartbeat,
}

/// Commands of this thread's own that are sent together: in a cluster to the node of the first key.
#[derive(Default)]
pub(super) struct OwnCommands {
    pub(super) key: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    /// One entry for each reply.
    pub(super) sent: Vec<Sent>,
}

impl OwnCommands {
    /// Adds a command of this server's presence.
    pub(super) fn add(&mut self, words: &[&[u8]], request: PresenceRequest) {
        command::encode(&mut self.bytes, words);
        self.sent.push(Sent::Presence(request));
    }
}

/// Leases that one command asks for.
pub(super) struct LeaseRequest {
    pub(super) leases: Vec<(Fingerprint, Arc<Lease>)>,
    /// When the command was encoded: a lease counts from before Redis could grant it.
    pub(super) asked: Instant,
    /// How many times longer than usual the lease lasts ([`crate::config::limits::THRIFT`]).
    pub(super) thrift: u32,
    /// The command is a call of the script.
    pub(super) by_script: bool,
}

/// A command of this server's presence, by its reply (`publisher/presence.rs`).
pub(super) enum PresenceRequest {
    /// A write. Only an error matters.
    Write,
    /// ZRANGE of the index. The number is that of the settings that it was asked with: [`super::presence::Presence`].
    Index(u64),
    /// MGET of the keys of these members.
    Values(u64, Vec<Box<str>>),
}

/// The queue of commands in flight.
#[derive(Default)]
pub(super) struct InFlight {
    queue: VecDeque<Sent>,
    /// The queues of the nodes of a cluster, in the order of their lines.
    nodes: Vec<VecDeque<Sent>>,
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

    /// As [`InFlight::push`], for a command on this line.
    pub(super) fn push_on(&mut self, line: LineNumber, sent: Sent) {
        let Some(at) = usize::from(line).checked_sub(1) else { return self.push(sent) };
        if self.nodes.len() <= at {
            self.nodes.resize_with(at + 1, VecDeque::new);
        }
        if let Some(queue) = self.nodes.get_mut(at) {
            self.bytes += sent.weight();
            self.awaited += usize::from(sent.is_awaited());
            queue.push_back(sent);
        }
    }

    /// The queue of this line; `None`: nothing was ever sent on it.
    fn queue_of(&mut self, line: LineNumber) -> Option<&mut VecDeque<Sent>> {
        match usize::from(line).checked_sub(1) {
            None => Some(&mut self.queue),
            Some(at) => self.nodes.get_mut(at),
        }
    }

    /// Takes the oldest entry of this line: the next reply on it is the answer to it.
    pub(super) fn pop_on(&mut self, line: LineNumber) -> Option<Sent> {
        let sent = self.queue_of(line)?.pop_front()?;
        self.bytes -= sent.weight();
        self.awaited -= usize::from(sent.is_awaited());
        Some(sent)
    }

    /// How many commands are in flight on this line.
    pub(super) fn len_on(&self, line: LineNumber) -> usize {
        match usize::from(line).checked_sub(1) {
            Some(at) => self.nodes.get(at).map_or(0, VecDeque::len),
            None => self.queue.len(),
        }
    }

    /// Puts the entry that [`InFlight::pop_on`] returned back as the oldest of its line.
    pub(super) fn put_back_on(&mut self, line: LineNumber, sent: Sent) {
        let (bytes, is_awaited) = (sent.weight(), sent.is_awaited());
        if let Some(queue) = self.queue_of(line) {
            queue.push_front(sent);
            self.bytes += bytes;
            self.awaited += usize::from(is_awaited);
        }
    }

    /// As [`InFlight::pop_on`], on the line to the Redis of the settings.
    pub(super) fn pop(&mut self) -> Option<Sent> {
        self.pop_on(HOME)
    }

    /// The entry that the next reply belongs to.
    pub(super) fn oldest(&self) -> Option<&Sent> {
        self.queue.front()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.nodes.iter().map(VecDeque::len).sum::<usize>()
    }

    /// Whether the fate of an item, or the end of a key, depends on an answer. The commands of the thread's own are made
    /// anew on the next connection.
    pub(super) fn has_items(&self) -> bool {
        let is_own = |sent: &Sent| matches!(sent, Sent::Leases(_) | Sent::Presence(_) | Sent::Map | Sent::Heartbeat);
        self.nodes.iter().chain([&self.queue]).flatten().any(|sent| !is_own(sent))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of the items and keys in flight, in bytes, as the outbox charges it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Empties the queue when the connection is gone: all items, and the keys whose time to live was being checked. The
    /// other commands are made anew for each connection. Items on different lines have different keys, so their order is
    /// of no weight. True beside an item: it was the first of its line without an answer, so it may have ended the
    /// connection.
    pub(super) fn take(&mut self) -> (Vec<(Outgoing, bool)>, Vec<Expiry>) {
        let (mut items, mut expiries) = (Vec::new(), Vec::new());
        let InFlight { queue, nodes, .. } = std::mem::take(self);
        for line in std::iter::once(queue).chain(nodes) {
            let mut is_first = true;
            for sent in line {
                match sent {
                    Sent::Item(item) => items.push((item, std::mem::take(&mut is_first))),
                    Sent::Expiry(expiry) => expiries.push(expiry),
                    Sent::Auxiliary(..) | Sent::Leases(_) | Sent::Presence(_) | Sent::Map | Sent::Heartbeat => {}
                }
            }
        }
        (items, expiries)
    }
}

impl Sent {
    /// Whether it runs a script of a script author's own, which may answer any text.
    pub(super) fn runs_script(&self) -> bool {
        matches!(self, Sent::Item(Outgoing::Run(run)) if run.runs_script())
    }

    fn weight(&self) -> usize {
        match self {
            Sent::Item(item) => item.weight(),
            Sent::Expiry(expiry) => expiry.weight(),
            Sent::Auxiliary(..) | Sent::Leases(_) | Sent::Presence(_) | Sent::Map | Sent::Heartbeat => 0,
        }
    }

    /// Whether the publisher should read this answer as soon as it arrives: a script waits for it, the search for a
    /// leaderboard goes on with it, or it is about a lease, without which this server does not act on events.
    fn is_awaited(&self) -> bool {
        match self {
            Sent::Item(Outgoing::Run(run)) => run.is_awaited(),
            Sent::Leases(_) | Sent::Map => true,
            Sent::Item(Outgoing::Publish(_))
            | Sent::Auxiliary(..)
            | Sent::Expiry(_)
            | Sent::Presence(_)
            | Sent::Heartbeat => false,
        }
    }
}
