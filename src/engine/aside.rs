//! Events that wait for a function of the attached Lua state. After a map change the scripts register again while they
//! load or shortly after, and events of the time in between come first: they stand aside until their function is there,
//! or until nothing is left that it could be added for. Game thread only. Bounded like the inbox.
//!
//! ```text
//!  inbox ──▶ the pump ── no function, but a registration is kept ──▶ queues ── function added ──▶ due ──▶ the pump
//!                                                                      └─── not added again ────▶ (dropped, reported)
//! ```

use std::collections::VecDeque;

use crate::config::limits::ITEM_OVERHEAD_BYTES;
use crate::engine::current::{Current, Of};
use crate::hooks::hook::Hook;
use crate::sorted::Sorted;
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::{INBOX_BYTES_MAX, INBOX_EVENTS_MAX, Purpose};

/// Why a hook did not act on events that stood aside for it.
const NOT_ADDED: &str = "the hook was not added again after the map change";
/// Why a hook did not act on an event for which nothing is left to wait.
const GONE: &str = "the hook was removed or replaced before its function was asked";

/// The events that stand aside.
#[derive(Default)]
pub(super) struct Aside {
    /// Those without a function, by [`name`], each queue in order of arrival. No queue is empty.
    queues: Sorted<Box<[u8]>, VecDeque<Current>>,
    /// Those whose function has come. Their turn is before the inbox, which has newer events.
    due: VecDeque<Current>,
    /// Events of both, and their bytes.
    count: usize,
    bytes: usize,
    /// Registrations changed since [`Aside::sort`].
    pub(super) is_stale: bool,
}

/// Whether an event has a function.
#[derive(PartialEq)]
enum Wait {
    Ready,
    /// A registration of the previous state is still kept for it.
    Waits,
    Over,
}

impl Aside {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether an event has a function and waits for its turn.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The next event whose function has come.
    pub(super) fn next(&mut self) -> Option<Current> {
        let current = self.due.pop_front()?;
        self.count -= 1;
        self.bytes -= weight(&current);
        Some(current)
    }

    /// A new event must not overtake those that stand aside for the same function: it joins them. Hands back an event
    /// that overtakes none.
    pub(super) fn pass(&mut self, of: &Of<'_>, current: Current) -> Option<Current> {
        let name = name(&current);
        if self.queues.get(&*name).is_none() {
            return Some(current);
        }
        if wait(of, &current) == Wait::Ready {
            self.due.extend(self.queues.remove(&*name).into_iter().flatten());
            self.count += 1;
            self.bytes += weight(&current);
            self.due.push_back(current);
        } else {
            self.push(of.shared, name, current);
        }
        None
    }

    /// An event has no function. It stands aside if there may be one soon, else it is dropped and counted.
    pub(super) fn keep(&mut self, of: &Of<'_>, current: Current) {
        if wait(of, &current) == Wait::Waits {
            self.push(of.shared, name(&current), current);
        } else {
            drop_all(of.shared, &current.purpose, 1, GONE);
        }
    }

    fn push(&mut self, shared: &Shared, name: Box<[u8]>, mut current: Current) {
        // The event's chunk of the inbox would stay as long as the event.
        (current.event, current.build) = (current.event.copied(), None);
        if self.count >= INBOX_EVENTS_MAX || self.bytes + weight(&current) > INBOX_BYTES_MAX {
            return shared.inbox.dropped(&current.purpose);
        }
        self.count += 1;
        self.bytes += weight(&current);
        match self.queues.get_mut(&*name) {
            Some(queue) => queue.push_back(current),
            None => _ = self.queues.set(name, VecDeque::from([current])),
        }
    }

    /// Events whose function has come are due, those for which none will come are dropped. Returns the number of dropped
    /// events that were for hooks.
    pub(super) fn sort(&mut self, of: &Of<'_>) -> usize {
        let mut undecided = 0;
        if !std::mem::take(&mut self.is_stale) || self.is_empty() {
            return undecided;
        }
        let standing = |queue: &VecDeque<Current>| queue.front().map_or(Wait::Over, |first| wait(of, first));
        for queue in self.queues.take(|_, queue| standing(queue) != Wait::Waits) {
            if standing(&queue) == Wait::Ready {
                self.due.extend(queue);
                continue;
            }
            self.count -= queue.len();
            self.bytes -= queue.iter().map(weight).sum::<usize>();
            let Some(Current { purpose, .. }) = queue.front() else { continue };
            drop_all(of.shared, purpose, queue.len(), NOT_ADDED);
            undecided += if matches!(purpose, Purpose::Condition(_)) { queue.len() } else { 0 };
        }
        undecided
    }
}

/// Whether this event has a function, or may have one soon.
fn wait(of: &Of<'_>, current: &Current) -> Wait {
    let (is_ready, is_kept) = match &current.purpose {
        Purpose::Listeners => {
            let topic = current.event.topic();
            (of.listeners.has(topic), of.listeners.keeps(topic))
        }
        Purpose::Condition(undecided) => {
            (of.hooks.condition(&undecided.hook).is_some(), of.hooks.is_known(&undecided.hook))
        }
    };
    match (is_ready, is_kept) {
        (true, _) => Wait::Ready,
        (false, true) => Wait::Waits,
        (false, false) => Wait::Over,
    }
}

/// Equal for the events of one function.
fn name(current: &Current) -> Box<[u8]> {
    match &current.purpose {
        Purpose::Listeners => [b"on:", current.event.topic().name()].concat().into(),
        Purpose::Condition(undecided) => {
            let Hook { id, fingerprint, .. } = &*undecided.hook;
            [&fingerprint.to_bytes()[..], id].concat().into()
        }
    }
}

fn weight(current: &Current) -> usize {
    current.event.bytes() + ITEM_OVERHEAD_BYTES + current.purpose.weight()
}

/// Counts and reports events for one function, which get none.
fn drop_all(shared: &Shared, purpose: &Purpose, count: usize, reason: &str) {
    match purpose {
        Purpose::Listeners => shared.stats.inbox.dropped.no_listener.add(count as u64),
        Purpose::Condition(undecided) => shared.inbox.undecided(&undecided.hook, count, reason),
    }
}
