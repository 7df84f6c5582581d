//! [`Collector`], the handle of the windows in which aggregators collect events (`hooks/aggregator.rs`).
//! `rt-actions` adds this server's own events, `rt-subscriber` adds the events of others. `rt-actions` also ends windows
//! by the clock, and queues those that this server is to sum up for the pump; the game thread looks at no window before.
//! Windows outlive Lua states and connections. Every event that reaches no function is counted by its reason.
//!
//! ```text
//!  collect() ──▶ open window ──its time is over──▶ ended window ──the lease is ours──▶ due ──pop()──▶ the pump
//!                                                       │                               ▲               │
//!                                                       └─▶ dropped: other_server       └──put_back()───┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::limits::AGGREGATE_BYTES_MAX;
use crate::event::notice::Notice;
use crate::hooks::aggregator::{Aggregator, Meter, Moment, NotCollected, Window};
use crate::hooks::lease::Turn;
use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::stats::Stats;
use crate::threads::queue::Queue;
use crate::threads::subscriber::inbox::Notices;

/// Pause until the next look at an ended window while Redis has not said which server holds its lease.
const UNDECIDED_PAUSE: Duration = Duration::from_millis(200);

/// An ended window that this server is to sum up.
pub struct Due {
    pub(crate) aggregator: Arc<Aggregator>,
    pub window: Window,
}

/// The handle that every thread shares. The windows themselves belong to their aggregators, each behind its own lock.
pub struct Collector {
    /// The events and bytes of all windows of the process.
    meter: Arc<Meter>,
    /// Windows for the pump, oldest first. Bounded by the meter, as every window is.
    due: Queue<Due>,
    notices: Arc<Notices>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Collector {
    pub(crate) fn new(stats: Arc<Stats>, notices: Arc<Notices>, attention: Arc<AtomicBool>) -> Collector {
        Collector { meter: Arc::default(), due: Queue::default(), notices, attention, stats }
    }

    /// Adds an event to the window of each of these aggregators. `tape` is its decoded payload, `moment` its arrival,
    /// which chooses the window. A refused event is counted by its reason.
    pub(crate) fn collect<'a>(
        &self,
        aggregators: impl IntoIterator<Item = &'a Arc<Aggregator>>,
        tape: &[u8],
        moment: Moment,
    ) {
        for aggregator in aggregators {
            self.collect_one(aggregator, tape, moment);
        }
    }

    /// The same for one aggregator.
    fn collect_one(&self, aggregator: &Aggregator, tape: &[u8], moment: Moment) {
        self.stats.aggregates.offered.add(1);
        let mut windows = lock(&aggregator.windows);
        let Err(full) = windows.collect(tape, moment, &self.meter) else { return };
        let is_news = windows.is_first_refusal(moment);
        drop(windows);
        let dropped = &self.stats.aggregates.dropped;
        let reason = match full {
            NotCollected::Events => {
                dropped.too_many.add(1);
                format!("queue_full: the window has {} events, it takes no more", aggregator.spec.max_events)
            }
            NotCollected::Bytes => {
                dropped.memory_full.add(1);
                format!("queue_full: all windows have {AGGREGATE_BYTES_MAX} bytes, they take no more")
            }
            NotCollected::Removed => return dropped.removed.add(1),
        };
        // Scripts hear of the first refused event of a window only.
        if is_news {
            let (hook, kind) = (Arc::clone(&aggregator.id), "aggregate");
            self.notices.push(Notice::ActionFailed { hook, kind, reason });
        }
    }

    /// Ends the windows whose time is over, and queues those for the pump that this server is to sum up. Returns the time
    /// until the next look, `longest` at most. Only `rt-actions` calls this.
    pub(crate) fn tend(&self, routes: &Routes, now: Moment, longest: Duration) -> Duration {
        routes.aggregators().fold(longest, |pause, aggregator| pause.min(self.tend_one(aggregator, now, longest)))
    }

    /// The same for one aggregator.
    fn tend_one(&self, aggregator: &Arc<Aggregator>, now: Moment, longest: Duration) -> Duration {
        let mut windows = lock(&aggregator.windows);
        windows.end_due(now);
        while let Some(oldest) = windows.oldest() {
            let turn = aggregator.lease.turn(now.at, oldest.ended().at);
            // Every server of the fleet collects; the holder of the lease sums up. Redis has not said which one that is.
            if turn == Turn::Unknown {
                return UNDECIDED_PAUSE;
            }
            let Some(window) = windows.take_oldest() else { break };
            match turn {
                Turn::Ours => self.push(Due { aggregator: Arc::clone(aggregator), window }),
                Turn::Others | Turn::Unknown => self.stats.aggregates.dropped.other_server.add(window.len() as u64),
            }
        }
        windows.due_ms(now.offset_s).map_or(longest, |due| Duration::from_millis(due.saturating_sub(now.unix_ms)))
    }

    fn push(&self, due: Due) {
        self.due.change(|waiting| waiting.push_back(due));
        self.attention.store(true, Ordering::Release);
    }

    /// Takes the oldest window that `can` accepts: its aggregator has a function in the present Lua state.
    pub(crate) fn pop(&self, can: impl Fn(&Aggregator) -> bool) -> Option<Due> {
        if self.due.waiting() == 0 {
            return None;
        }
        self.due.change(|waiting| {
            let at = waiting.iter().position(|due| can(&due.aggregator))?;
            waiting.remove(at)
        })
    }

    /// Returns a window that the pump had taken, as its function went away before it was called. It is the first again.
    pub(crate) fn put_back(&self, due: Due) {
        self.due.change(|waiting| waiting.push_front(due));
    }

    /// Drops the events of an aggregator that was removed, counted. `forgotten`: no script removed it; the new Lua state
    /// did not add it again within its grace period.
    pub(crate) fn remove(&self, aggregator: &Arc<Aggregator>, forgotten: bool) {
        let collected = lock(&aggregator.windows).remove();
        let mut events = collected;
        self.due.change(|waiting| {
            waiting.retain(|due| {
                let is_gone = Arc::ptr_eq(&due.aggregator, aggregator);
                events += if is_gone { due.window.len() } else { 0 };
                !is_gone
            });
        });
        self.dropped(forgotten).add(events as u64);
    }

    /// The same for a window of it that the pump had taken.
    pub(crate) fn drop_taken(&self, due: &Due) {
        self.dropped(false).add(due.window.len() as u64);
    }

    /// The counter for the events of a removed aggregator.
    fn dropped(&self, forgotten: bool) -> &crate::stats::Counter {
        let dropped = &self.stats.aggregates.dropped;
        if forgotten { &dropped.no_function } else { &dropped.removed }
    }

    /// The number of windows that wait for the pump.
    pub fn due(&self) -> usize {
        self.due.waiting()
    }

    /// The number of events that were collected and have reached no function yet.
    pub(crate) fn waiting(&self) -> usize {
        self.meter.events()
    }
}
