//! What Redis was asked on this connection and has not answered, in the order written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::config::limits::ITEM_OVERHEAD_BYTES;
use crate::event::fingerprint::Fingerprint;
use crate::hooks::lease::Lease;
use crate::threads::publisher::outbox::Item;

/// What is to be done about a key's time to live.
pub(super) struct Life {
    pub(super) key: Box<[u8]>,
    pub(super) ttl: u64,
    /// It has none: it is to be given one.
    pub(super) is_missing: bool,
}

/// One question to Redis.
pub(super) enum Asked {
    Item(Item),
    /// A command beside another, such as the one that a counter is born with: only its failure counts. As
    /// `RealtimeError` names it, and its key.
    Beside(&'static str, Box<[u8]>),
    /// How long a counter's key lives, or that it is to live so long.
    Live(Life),
    /// Who holds some leases.
    Leases(Taking),
    /// ROLE, or PING where that is forbidden: bytes prove that the connection lives, and the role that it is of use.
    Heartbeat,
}

/// Questions in the order written.
#[derive(Default)]
pub(super) struct InFlight {
    queue: VecDeque<Asked>,
    bytes: usize,
    /// Those whose answer somebody waits for right now.
    awaited: usize,
}

impl InFlight {
    pub(super) fn push(&mut self, asked: Asked) {
        self.bytes += asked.weight();
        self.awaited += usize::from(asked.is_awaited());
        self.queue.push_back(asked);
    }

    /// Back in its place: it was the oldest.
    pub(super) fn put_back(&mut self, item: Item) {
        let asked = Asked::Item(item);
        self.bytes += asked.weight();
        self.awaited += usize::from(asked.is_awaited());
        self.queue.push_front(asked);
    }

    pub(super) fn pop(&mut self) -> Option<Asked> {
        let asked = self.queue.pop_front()?;
        self.bytes -= asked.weight();
        self.awaited -= usize::from(asked.is_awaited());
        Some(asked)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Of the items.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// All items, and the questions for a time to live.
    pub(super) fn take(&mut self) -> (Vec<Item>, Vec<Life>) {
        let (mut items, mut lives) = (Vec::new(), Vec::new());
        for asked in std::mem::take(self).queue {
            match asked {
                Asked::Item(item) => items.push(item),
                Asked::Live(life) => lives.push(life),
                Asked::Beside(..) | Asked::Leases(_) | Asked::Heartbeat => {}
            }
        }
        (items, lives)
    }
}

impl Asked {
    fn weight(&self) -> usize {
        match self {
            Asked::Item(item) => item.weight(),
            Asked::Live(life) => life.key.len() + ITEM_OVERHEAD_BYTES,
            Asked::Beside(..) | Asked::Leases(_) | Asked::Heartbeat => 0,
        }
    }

    /// Somebody waits for its answer right now, or events may be lost until it is there.
    fn is_awaited(&self) -> bool {
        match self {
            Asked::Item(Item::Run(run)) => run.is_awaited(),
            Asked::Leases(_) => true,
            Asked::Item(Item::Publish(_)) | Asked::Beside(..) | Asked::Live(_) | Asked::Heartbeat => false,
        }
    }
}

/// Some leases, asked for at one moment.
pub(super) struct Taking {
    pub(super) leases: Vec<(Fingerprint, Arc<Lease>)>,
    pub(super) asked: Instant,
}
