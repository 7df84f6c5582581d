//! The windows of aggregators: events go in where they are known (`rt-actions` for this server's own, `rt-subscriber`
//! for the others'), and what is over waits here for the pump. `rt-actions` ends windows by the clock and tells whose
//! turn it is, so that the game thread looks at nothing until a window waits for it.
//! They outlive Lua states and connections; every event that reaches no function is counted.

use std::collections::VecDeque;
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

/// How often a window that is over is looked at again while Redis has not said whose turn it is.
const UNDECIDED_PAUSE: Duration = Duration::from_millis(200);

/// A window that this server is to sum up.
pub struct Due {
    pub(crate) aggregator: Arc<Aggregator>,
    pub window: Window,
}

pub struct Collector {
    meter: Arc<Meter>,
    due: Queue<Due>,
    notices: Arc<Notices>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Collector {
    pub(crate) fn new(stats: Arc<Stats>, notices: Arc<Notices>, attention: Arc<AtomicBool>) -> Collector {
        Collector { meter: Arc::default(), due: Queue::default(), notices, attention, stats }
    }

    /// Takes a decoded event for each of these, or counts why not.
    pub(crate) fn collect<'a>(
        &self,
        aggregators: impl IntoIterator<Item = &'a Arc<Aggregator>>,
        tape: &[u8],
        moment: Moment,
    ) {
        for aggregator in aggregators {
            self.stats.aggregates.offered.add(1);
            let mut windows = lock(&aggregator.windows);
            let Err(full) = windows.collect(tape, moment, &self.meter) else { continue };
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
                NotCollected::Removed => {
                    dropped.removed.add(1);
                    continue;
                }
            };
            // Once a window.
            if is_news {
                let (hook, kind) = (Arc::clone(&aggregator.id), "aggregate");
                self.notices.push(Notice::ActionFailed { hook, kind, reason });
            }
        }
    }

    /// Ends what is over, and hands this server's share to the pump. How long nothing needs to be looked at.
    pub(crate) fn tend(&self, routes: &Routes, now: Moment, longest: Duration) -> Duration {
        routes.aggregators().fold(longest, |pause, aggregator| pause.min(self.tend_one(aggregator, now, longest)))
    }

    fn tend_one(&self, aggregator: &Arc<Aggregator>, now: Moment, longest: Duration) -> Duration {
        let mut windows = lock(&aggregator.windows);
        windows.end_due(now);
        while let Some(oldest) = windows.oldest() {
            let turn = aggregator.lease.turn(now.at, oldest.ended().at);
            if turn == Turn::Unknown {
                return UNDECIDED_PAUSE;
            }
            let Some(window) = windows.take_oldest() else { break };
            match turn {
                Turn::Ours => self.push(Due { aggregator: Arc::clone(aggregator), window }),
                Turn::Others | Turn::Unknown => self.stats.aggregates.dropped.other_server.add(window.len() as u64),
            }
        }
        windows.due_ms().map_or(longest, |due| Duration::from_millis(due.saturating_sub(now.unix_ms)))
    }

    fn push(&self, due: Due) {
        self.due.change(|waiting| waiting.push_back(due));
        self.attention.store(true, Ordering::Release);
    }

    /// The oldest window that somebody can sum up.
    pub(crate) fn pop(&self, can: impl Fn(&Aggregator) -> bool) -> Option<Due> {
        if self.due.waiting() == 0 {
            return None;
        }
        self.due.change(|waiting| {
            let at = waiting.iter().position(|due| can(&due.aggregator))?;
            waiting.remove(at)
        })
    }

    /// A window whose function went away before it was called: it is the next again.
    pub(crate) fn put_back(&self, due: Due) {
        self.due.change(|waiting| waiting.push_front(due));
    }

    /// This aggregator was removed: drops what it collected. `forgotten`: by the script that did not add it again.
    pub(crate) fn remove(&self, aggregator: &Arc<Aggregator>, forgotten: bool) {
        let collected = lock(&aggregator.windows).remove();
        let due = self.due.change(|waiting| {
            let gone = |due: &Due| Arc::ptr_eq(&due.aggregator, aggregator);
            let events = waiting.iter().filter(|due| gone(due)).map(|due| due.window.len()).sum::<usize>();
            *waiting = std::mem::take(waiting).into_iter().filter(|due| !gone(due)).collect::<VecDeque<_>>();
            events
        });
        self.dropped(forgotten).add((collected + due) as u64);
    }

    /// The same for a window that the pump had taken.
    pub(crate) fn drop_taken(&self, due: &Due) {
        self.dropped(false).add(due.window.len() as u64);
    }

    fn dropped(&self, forgotten: bool) -> &crate::stats::Counter {
        let dropped = &self.stats.aggregates.dropped;
        if forgotten { &dropped.no_function } else { &dropped.removed }
    }

    /// Windows that wait for the pump.
    pub fn due(&self) -> usize {
        self.due.waiting()
    }

    /// Events collected and not handed to a function.
    pub(crate) fn waiting(&self) -> usize {
        self.meter.events()
    }
}
