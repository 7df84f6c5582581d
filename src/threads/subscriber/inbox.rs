//! The queues from the workers to the game thread: events for Lua, and news for game hooks.
//! Neither makes a worker wait: a full inbox drops its oldest event, full news are merged or dropped, all counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::config::limits::{ITEM_OVERHEAD_BYTES, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::event::notice::Notice;
use crate::event::{Event, EventText};
use crate::hooks::hook::{Hook, Scopes};
use crate::stats::Stats;
use crate::threads::queue::Queue;

/// Events that may wait for Lua: a server of 66 ticks a second delivers them within a few ticks.
pub const INBOX_EVENTS_MAX: usize = 8192;
/// The memory that events waiting for Lua may take, in bytes.
const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Notices for game hooks (a gap, a lost connection) that may wait for Lua. Equal ones are merged first.
const NOTICES_MAX: usize = 256;
// A decoded event takes at most five bytes for two of its text (`json/tape.rs`), and must fit an empty inbox.
const _: () = assert!(PAYLOAD_BYTES_MAX * 3 + NAME_BYTES_MAX + ITEM_OVERHEAD_BYTES < INBOX_BYTES_MAX);

/// An event on its way to Lua, and the functions that it is for.
pub(crate) struct Inbound {
    pub(crate) event: Event,
    pub(crate) purpose: Purpose,
}

impl Inbound {
    /// An event for the listeners of its topic.
    pub(crate) fn for_listeners(event: Event) -> Inbound {
        Inbound { event, purpose: Purpose::Listeners }
    }

    /// Bytes that it takes of [`INBOX_BYTES_MAX`].
    fn weight(&self) -> usize {
        let text = match &self.purpose {
            Purpose::Listeners => 0,
            Purpose::Condition(undecided) => undecided.text.weight(),
        };
        self.event.weight() + text
    }
}

/// The functions that an event is for.
pub(crate) enum Purpose {
    /// The listeners of its topic are called.
    Listeners,
    /// A hook's condition function decides whether the hook acts.
    Condition(Box<Undecided>),
}

/// A hook whose condition function has not been asked yet, and the event that it will act on.
pub(crate) struct Undecided {
    pub(crate) hook: Arc<Hook>,
    pub(crate) scopes: Scopes,
    /// The event as it was published, for the hook's actions.
    pub(crate) text: Arc<EventText>,
}

/// Events waiting for Lua. One producer, one consumer; when full the oldest makes room.
pub struct Inbox {
    tx: Sender<Inbound>,
    rx: Receiver<Inbound>,
    bytes: AtomicUsize,
    notices: Arc<Notices>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Inbox {
    pub(crate) fn new(stats: Arc<Stats>, notices: Arc<Notices>, attention: Arc<AtomicBool>) -> Inbox {
        let (tx, rx) = crossbeam_channel::bounded(INBOX_EVENTS_MAX);
        Inbox { tx, rx, bytes: AtomicUsize::new(0), notices, attention, stats }
    }

    /// Takes the event; drops as many of the oldest as it needs the room of, counted.
    pub(crate) fn push(&self, mut inbound: Inbound) {
        self.stats.inbox.offered.add(1);
        let weight = inbound.weight();
        while self.bytes.load(Ordering::Relaxed) + weight > INBOX_BYTES_MAX {
            if !self.drop_oldest() {
                break; // An event fits an empty queue (asserted in config/mod.rs).
            }
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        while let Err(refusal) = self.tx.try_send(inbound) {
            inbound = refusal.into_inner();
            self.drop_oldest();
        }
        self.raise_attention();
    }

    /// Makes room. The pump tells what listeners lose; a hook whose function was not asked yet loses what this server
    /// may have said that it does. False: nothing waits.
    fn drop_oldest(&self) -> bool {
        let Some(inbound) = self.pop() else { return false };
        match inbound.purpose {
            Purpose::Listeners => self.stats.inbox.dropped.overflow.add(1),
            Purpose::Condition(undecided) => {
                self.stats.inbox.dropped.undecided.add(1);
                let (hook, kind) = (Arc::clone(&undecided.hook.id), "conditional");
                let reason = "queue_full: too much waits for Lua, the hook's function was not asked".to_owned();
                self.notices.push(Notice::ActionFailed { hook, kind, reason });
            }
        }
        true
    }

    /// The oldest event.
    pub(crate) fn pop(&self) -> Option<Inbound> {
        let inbound = self.rx.try_recv().ok()?;
        self.bytes.fetch_sub(inbound.weight(), Ordering::Relaxed);
        Some(inbound)
    }

    pub fn waiting(&self) -> usize {
        self.rx.len()
    }

    /// Takes back the flag before the pump looks at what waits: what comes later raises it again.
    pub fn take_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) && self.attention.swap(false, Ordering::AcqRel)
    }

    /// Has the pump look at the next tick.
    pub(crate) fn raise_attention(&self) {
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
    pub(crate) fn new(stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Notices {
        Notices { queue: Queue::default(), attention, stats }
    }

    /// Takes the news: into one that waits, if it is of the same matter, else at the end. A full queue drops it, unless it
    /// says how the connection stands: then the oldest of another matter makes room, or of the same.
    pub(crate) fn push(&self, notice: Notice) {
        let taken = self.queue.change(|queue| {
            if queue.iter_mut().any(|waiting| waiting.absorb(&notice)) {
                return false;
            }
            self.stats.notices.offered.add(1);
            if queue.len() >= NOTICES_MAX {
                self.stats.notices.dropped.queue_full.add(1);
                if !notice.is_of_connection() {
                    return false;
                }
                queue.remove(queue.iter().position(|waiting| !waiting.is_of_connection()).unwrap_or(0));
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

    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Drops what is past: a new Lua state is told how the connection stands now, not how it came to that.
    pub(crate) fn drop_past(&self) {
        let dropped = self.queue.change(|queue| {
            let before = queue.len();
            queue.retain(|notice| !notice.is_of_connection());
            before - queue.len()
        });
        self.stats.notices.dropped.outdated.add(dropped as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_news_are_counted_and_the_state_of_the_connection_arrives() {
        let stats = Arc::new(Stats::default());
        let notices = Notices::new(Arc::clone(&stats), Arc::default());
        let failed = |at: usize| {
            let target = format!("key {}", "x".repeat(at)).into_bytes().into();
            Notice::Error { operation: "incr", target, reason: "redis: WRONGTYPE".to_owned() }
        };
        (0..NOTICES_MAX + 44).for_each(|at| notices.push(failed(at)));
        // What waits already takes its like in, which then is no news of its own.
        (0..NOTICES_MAX).for_each(|at| notices.push(failed(at)));
        let counts = || (stats.notices.offered.get(), stats.notices.dropped.queue_full.get(), notices.waiting());
        let all = NOTICES_MAX as u64;
        assert_eq!(counts(), (all + 44, 44, NOTICES_MAX));
        notices.push(Notice::Disconnected { reason: "gone".to_owned() });
        notices.push(Notice::Connected);
        assert_eq!(counts(), (all + 46, 46, NOTICES_MAX));
        let told: Vec<Notice> = std::iter::from_fn(|| notices.pop()).collect();
        assert_eq!(told.first(), Some(&failed(2)), "the oldest made room");
        assert_eq!(told[NOTICES_MAX - 2..], [Notice::Disconnected { reason: "gone".to_owned() }, Notice::Connected]);
        // A connection that comes and goes all the time: the newest stays.
        (0..NOTICES_MAX).for_each(|_| notices.push(Notice::Connected));
        notices.push(Notice::Disconnected { reason: "at last".to_owned() });
        let last = std::iter::from_fn(|| notices.pop()).last();
        assert_eq!(last, Some(Notice::Disconnected { reason: "at last".to_owned() }));
    }
}
