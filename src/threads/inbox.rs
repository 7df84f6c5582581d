//! The queues from the workers to the game thread: events for Lua, and news for game hooks.
//! Neither makes a worker wait: a full inbox drops its oldest event, full news are merged or dropped, all counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::config::{INBOX_BYTES_MAX, INBOX_EVENTS_MAX, NOTICES_MAX};
use crate::event::Event;
use crate::notice::Notice;
use crate::stats::Stats;
use crate::threads::queue::Queue;

/// Events waiting for Lua. One producer, one consumer; when full the oldest makes room.
pub struct Inbox {
    tx: Sender<Event>,
    rx: Receiver<Event>,
    bytes: AtomicUsize,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Inbox {
    pub(super) fn new(stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Inbox {
        let (tx, rx) = crossbeam_channel::bounded(INBOX_EVENTS_MAX);
        Inbox { tx, rx, bytes: AtomicUsize::new(0), attention, stats }
    }

    /// Takes the event; drops as many of the oldest as it needs the room of, counted.
    pub fn push(&self, mut event: Event) {
        self.stats.inbox.offered.add(1);
        let weight = event.weight();
        while self.bytes.load(Ordering::Relaxed) + weight > INBOX_BYTES_MAX {
            if self.pop().is_none() {
                break; // An event fits an empty queue (asserted in config.rs).
            }
            self.stats.inbox.dropped.overflow.add(1);
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        while let Err(refusal) = self.tx.try_send(event) {
            event = refusal.into_inner();
            if self.pop().is_some() {
                self.stats.inbox.dropped.overflow.add(1);
            }
        }
        self.raise_attention();
    }

    /// The oldest event.
    pub fn pop(&self) -> Option<Event> {
        let event = self.rx.try_recv().ok()?;
        self.bytes.fetch_sub(event.weight(), Ordering::Relaxed);
        Some(event)
    }

    pub fn waiting(&self) -> usize {
        self.rx.len()
    }

    /// Takes back the flag before the pump looks at what waits: what comes later raises it again.
    pub fn take_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) && self.attention.swap(false, Ordering::AcqRel)
    }

    /// Has the pump look at the next tick.
    pub fn raise_attention(&self) {
        // Always a store: testing first could read the old flag before the push above is visible to the pump.
        self.attention.store(true, Ordering::Release);
    }
}

/// News waiting to become game hooks.
pub struct Notices {
    queue: Queue<Notice>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Notices {
    pub(super) fn new(stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Notices {
        Notices { queue: Queue::default(), attention, stats }
    }

    /// Takes the news: into one that waits, if it is of the same matter, else at the end. A full queue drops it.
    pub fn push(&self, notice: Notice) {
        let taken = self.queue.change(|queue| {
            if queue.iter_mut().any(|waiting| waiting.absorb(&notice)) {
                return false;
            }
            self.stats.notices.offered.add(1);
            if queue.len() >= NOTICES_MAX {
                self.stats.notices.dropped.queue_full.add(1);
                return false;
            }
            queue.push_back(notice);
            true
        });
        if taken {
            self.attention.store(true, Ordering::Release);
        }
    }

    pub fn pop(&self) -> Option<Notice> {
        self.queue.pop()
    }

    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Drops what is past: a new Lua state is told how the connection stands now, not how it came to that.
    pub(super) fn drop_past(&self) {
        let dropped = self.queue.change(|queue| {
            let before = queue.len();
            queue.retain(|notice| !matches!(notice, Notice::Connected | Notice::Disconnected { .. }));
            before - queue.len()
        });
        self.stats.notices.dropped.outdated.add(dropped as u64);
    }
}
