//! The queues from the workers to the game thread: [`Inbox`] for events, [`Notices`] for news that become game hooks.
//! Neither makes a worker wait. A full inbox drops its oldest event: a late event is worth less than a new one. Notices
//! about the same thing are merged, and a full queue drops the newest. Every drop is counted by its reason.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::config::limits::{ITEM_OVERHEAD_BYTES, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::event::notice::Notice;
use crate::event::{Arrived, Event, EventHead, EventText};
use crate::hooks::hook::{Hook, Scopes};
use crate::io::lock::lock;
use crate::json::bytes::Bytes;
use crate::stats::Stats;
use crate::threads::chunks::{Chunk, Chunks, Passed, Spares};
use crate::threads::queue::Queue;

/// Events that may wait for Lua: a server of 66 ticks a second delivers them within a few ticks.
pub const INBOX_EVENTS_MAX: usize = 8192;
/// Memory that events waiting for Lua may take, in bytes. Large events reach this bound before the count.
pub(crate) const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Notices for game hooks (a gap, a lost connection) that may wait for Lua. Notices about the same thing count once, so
/// more than this means that something fails in many places at once.
const NOTICES_MAX: usize = 256;
// A decoded event takes at most five bytes for two of its text (`json/tape.rs`), and must fit an empty inbox.
const _: () = assert!(PAYLOAD_BYTES_MAX * 3 + NAME_BYTES_MAX + ITEM_OVERHEAD_BYTES < INBOX_BYTES_MAX);

/// An event on its way to Lua, and the functions that it is for.
pub(crate) struct Inbound {
    pub(crate) event: Event,
    pub(crate) purpose: Purpose,
}

/// A queued event, whose bytes are in its chunk.
struct QueuedEvent {
    head: EventHead,
    purpose: Purpose,
}

impl QueuedEvent {
    /// Bytes that it takes of [`INBOX_BYTES_MAX`].
    fn weight(&self) -> usize {
        self.head.bytes() + ITEM_OVERHEAD_BYTES + self.purpose.weight()
    }
}

/// The functions that an event is for.
pub(crate) enum Purpose {
    /// The listeners of its topic are called.
    Listeners,
    /// A hook's condition function decides whether the hook acts.
    Condition(Box<Undecided>),
}

impl Purpose {
    /// Bytes that it adds to the event.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Purpose::Listeners => 0,
            Purpose::Condition(undecided) => undecided.text.weight(),
        }
    }
}

/// A hook whose condition function has not been asked yet, and the event that it will act on.
pub(crate) struct Undecided {
    pub(crate) hook: Arc<Hook>,
    pub(crate) scopes: Scopes,
    /// The event as it was published, for the hook's actions.
    pub(crate) text: Arc<EventText>,
}

/// The queue of events for Lua. The workers push, the game thread pops; a push into a full queue pops the oldest.
pub struct Inbox {
    filling: Mutex<Chunks<QueuedEvent>>,
    /// The chunks that the game thread took. A lock of `filling` may be taken under this one, not the other way round.
    taken: Mutex<TakenEvents>,
    /// Events that were queued, counted under the lock of `filling`, and that were popped, under the lock of `taken`.
    pushed: Passed,
    popped: Passed,
    notices: Arc<Notices>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

/// What the game thread took and has not handled.
#[derive(Default)]
struct TakenEvents {
    chunks: VecDeque<Chunk<QueuedEvent>>,
    /// Events of the chunk whose turn it is.
    items: VecDeque<QueuedEvent>,
    /// The bytes of these events, and where those of the next one begin.
    block: Arc<Bytes>,
    at: usize,
    spares: Spares<QueuedEvent>,
}

impl TakenEvents {
    /// The oldest event, and its weight.
    #[optimize(speed)]
    fn next(&mut self) -> Option<(Inbound, usize)> {
        loop {
            if let Some(queued) = self.items.pop_front() {
                let weight = queued.weight();
                let (start, QueuedEvent { head, purpose }) = (self.at, queued);
                self.at += head.bytes();
                return Some((Inbound { event: head.at(Arc::clone(&self.block), start), purpose }, weight));
            }
            if !self.begin() {
                return None;
            }
        }
    }

    /// Begins the next chunk, and keeps the memory of the one before if no event of it is in use. False: there is none.
    fn begin(&mut self) -> bool {
        let next = self.chunks.pop_front();
        if next.is_none() && self.block.is_empty() {
            return false;
        }
        let done = std::mem::take(&mut self.block);
        let memory = Arc::into_inner(done).unwrap_or_default();
        self.spares.keep(std::mem::take(&mut self.items), memory);
        self.at = 0;
        let Some(Chunk { items, bytes }) = next else { return false };
        (self.items, self.block) = (items, Arc::new(bytes));
        true
    }
}

impl Inbox {
    pub(crate) fn new(stats: Arc<Stats>, notices: Arc<Notices>, attention: Arc<AtomicBool>) -> Inbox {
        let (filling, taken, pushed, popped) = Default::default();
        Inbox { filling, taken, pushed, popped, notices, attention, stats }
    }

    /// Queues the event. Drops and counts as many of the oldest events as it needs the room of.
    #[optimize(speed)]
    pub(crate) fn push(&self, arrived: Arrived<'_>, purpose: Purpose) {
        self.stats.inbox.offered.add(1);
        let (head, parts) = arrived.parts();
        let queued = QueuedEvent { head, purpose };
        let (weight, bytes) = (queued.weight(), queued.head.bytes());
        let mut filling = lock(&self.filling);
        while !self.has_room(weight) {
            drop(filling);
            // Every event fits an empty queue (asserted above).
            let has_dropped = self.drop_oldest();
            filling = lock(&self.filling);
            if !has_dropped {
                break;
            }
        }
        self.pushed.add(1, weight);
        filling.push(queued, bytes, parts);
        drop(filling);
        self.raise_attention();
    }

    fn has_room(&self, weight: usize) -> bool {
        let (waiting, bytes) = self.pushed.between(&self.popped);
        waiting < INBOX_EVENTS_MAX && bytes + weight <= INBOX_BYTES_MAX
    }

    /// Drops the oldest event. False: the queue is empty.
    fn drop_oldest(&self) -> bool {
        let Some(inbound) = self.pop() else { return false };
        self.dropped(&inbound.purpose);
        true
    }

    /// Counts and reports an event that found no room. For listeners the pump reports all drops together
    /// (`RealtimeOverflow`).
    pub(crate) fn dropped(&self, purpose: &Purpose) {
        match purpose {
            Purpose::Listeners => self.stats.inbox.dropped.overflow.add(1),
            Purpose::Condition(undecided) => {
                let reason = "queue_full: too much waits for Lua, the hook's function was not asked";
                self.undecided(&undecided.hook, 1, reason);
            }
        }
    }

    /// Counts so many events whose hook's condition function was not asked, and reports them: this server may have
    /// announced that the hook acts, and then no other server does.
    pub(crate) fn undecided(&self, hook: &Hook, count: usize, reason: &str) {
        self.stats.inbox.dropped.undecided.add(count as u64);
        let (hook, kind, reason) = (Arc::clone(&hook.id), "conditional", reason.to_owned());
        self.notices.push(Notice::ActionFailed { hook, kind, reason });
    }

    /// Takes the oldest event.
    #[optimize(speed)]
    pub(crate) fn pop(&self) -> Option<Inbound> {
        let mut taken = lock(&self.taken);
        let (inbound, weight) = match taken.next() {
            Some(next) => next,
            None => {
                let TakenEvents { chunks, spares, .. } = &mut *taken;
                lock(&self.filling).take_all(chunks, spares);
                taken.next()?
            }
        };
        self.popped.add(1, weight);
        Some(inbound)
    }

    /// The number of queued events.
    pub fn waiting(&self) -> usize {
        self.pushed.between(&self.popped).0
    }

    /// Reads and lowers the flag. The pump does so before it looks at the queues: an item that comes later raises the flag
    /// again.
    pub fn take_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) && self.attention.swap(false, Ordering::AcqRel)
    }

    /// Makes the pump look at the queues at the next tick.
    pub(crate) fn raise_attention(&self) {
        // Always a store: testing first could read the old flag before the push above is visible to the pump.
        self.attention.store(true, Ordering::Release);
    }
}

/// The queue of notices for game hooks. Bounded by [`NOTICES_MAX`].
pub struct Notices {
    queue: Queue<Notice>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Notices {
    pub(crate) fn new(stats: Arc<Stats>, attention: Arc<AtomicBool>) -> Notices {
        Notices { queue: Queue::default(), attention, stats }
    }

    /// Queues a notice, or merges it into a queued one about the same thing. A full queue drops and counts the notice. Only
    /// `Connected` and `Disconnected` are never refused, as scripts must know the newest state: then the oldest other
    /// notice is dropped, or the oldest of these if there is no other.
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

    /// Takes the oldest notice.
    pub fn pop(&self) -> Option<Notice> {
        self.queue.pop()
    }

    /// The number of queued notices.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Drops the queued `Connected` and `Disconnected`: a new Lua state hears the present state only. If the connections
    /// stand, a failed attempt to connect is of the past too.
    pub(crate) fn drop_past(&self, is_connected: bool) {
        let dropped = self.queue.change(|queue| {
            let before = queue.len();
            let is_past = |notice: &Notice| notice.is_of_connection() || is_connected && notice.is_connect_error();
            queue.retain(|notice| !is_past(notice));
            before - queue.len()
        });
        self.stats.notices.dropped.outdated.add(dropped as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::event::topic::Topic;
    use crate::event::{Arrival, Decoded};
    use crate::threads::chunks::{CHUNK_BYTES, SPARES_MAX};

    fn arrived<'a>(topic: &Arc<Topic>, channel: &'a [u8], tape: &'a [u8]) -> Arrived<'a> {
        let arrival = Arrival { at: Instant::now(), unix_ms: 0, own_boot: 0 };
        let decoded = Decoded { tape, raw: false, identity: None };
        Arrived { topic: Arc::clone(topic), channel, decoded, arrival }
    }

    fn inbox() -> Inbox {
        let (stats, attention) = (Arc::new(Stats::default()), Arc::default());
        Inbox::new(Arc::clone(&stats), Arc::new(Notices::new(stats, Arc::clone(&attention))), attention)
    }

    /// Events of all sizes, popped at any moment and held for a while, against a plain queue that drops its oldest.
    #[test]
    fn events_come_out_as_they_went_in_and_the_oldest_make_room() {
        let mut random = 11u64;
        let mut below = |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % n
        };
        let (inbox, topic) = (inbox(), Arc::new(Topic::new(b"c*")));
        let (mut plain, mut bytes, mut dropped) = (VecDeque::new(), 0, 0);
        let mut held = VecDeque::new();
        for n in 0..60_000 {
            let size = match below(300) {
                0 => PAYLOAD_BYTES_MAX * 3 - below(5),
                1..20 => below(2 * CHUNK_BYTES),
                _ => below(300),
            };
            let (channel, tape) = (format!("c{n}").into_bytes(), vec![n as u8; size]);
            inbox.push(arrived(&topic, &channel, &tape), Purpose::Listeners);
            let weight = channel.len() + size + ITEM_OVERHEAD_BYTES;
            while plain.len() == INBOX_EVENTS_MAX || bytes + weight > INBOX_BYTES_MAX {
                let (_, _, weight) = plain.pop_front().unwrap();
                (bytes, dropped) = (bytes - weight, dropped + 1);
            }
            plain.push_back((channel, tape, weight));
            bytes += weight;
            for _ in 0..if below(3000) == 0 { below(12_000) } else { 0 } {
                let (Some(inbound), Some((channel, tape, weight))) = (inbox.pop(), plain.pop_front()) else { break };
                assert!(inbound.event.channel() == channel && inbound.event.tape() == tape);
                bytes -= weight;
                // A script may take its time: the chunk of an event in use is not written to.
                held.push_back((inbound, tape));
                if held.len() > 5 {
                    let (inbound, tape) = held.pop_front().unwrap();
                    assert!(inbound.event.tape() == tape);
                }
            }
            assert_eq!((inbox.waiting(), inbox.stats.inbox.dropped.overflow.get()), (plain.len(), dropped));
        }
        assert!(dropped > 0);
        while let (Some(inbound), Some((channel, tape, _))) = (inbox.pop(), plain.pop_front()) {
            assert!(inbound.event.channel() == channel && inbound.event.tape() == tape);
        }
        assert!(inbox.pop().is_none() && plain.is_empty() && inbox.pushed.between(&inbox.popped) == (0, 0));
        let (filling, taken) = (lock(&inbox.filling), lock(&inbox.taken));
        assert!(taken.block.is_empty());
        assert!(
            filling.memory() + taken.spares.memory() <= 2 * (SPARES_MAX + 1) * CHUNK_BYTES,
            "an empty queue keeps little"
        );
    }

    #[test]
    fn a_full_queue_drops_and_counts_notices_but_never_the_newest_connection_state() {
        let stats = Arc::new(Stats::default());
        let notices = Notices::new(Arc::clone(&stats), Arc::default());
        let failed = |at: usize| {
            let target = format!("key {}", "x".repeat(at)).into_bytes().into();
            Notice::Error { operation: "incr", target, reason: "redis: WRONGTYPE".to_owned() }
        };
        (0..NOTICES_MAX + 44).for_each(|at| notices.push(failed(at)));
        // A notice like a queued one is merged into it, and is not counted as offered.
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
        // A connection that comes and goes: the newest state stays.
        (0..NOTICES_MAX).for_each(|_| notices.push(Notice::Connected));
        notices.push(Notice::Disconnected { reason: "at last".to_owned() });
        let last = std::iter::from_fn(|| notices.pop()).last();
        assert_eq!(last, Some(Notice::Disconnected { reason: "at last".to_owned() }));
    }

    #[test]
    fn a_new_state_hears_no_failure_to_connect_of_the_past_once_the_connections_stand() {
        let stats = Arc::new(Stats::default());
        for (is_connected, heard) in [(false, vec!["connect", "set"]), (true, vec!["set"])] {
            let notices = Notices::new(Arc::clone(&stats), Arc::default());
            notices.push(Notice::Disconnected { reason: "gone".to_owned() });
            for operation in ["connect", "set"] {
                notices.push(Notice::Error { operation, target: b"k".as_slice().into(), reason: "refused".to_owned() });
            }
            notices.drop_past(is_connected);
            let left = std::iter::from_fn(|| notices.pop()).map(|notice| match notice {
                Notice::Error { operation, .. } => operation,
                other => panic!("{other:?}"),
            });
            assert_eq!(left.collect::<Vec<_>>(), heard);
        }
        assert_eq!(stats.notices.dropped.outdated.get(), 3);
    }
}
