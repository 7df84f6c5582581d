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
use crate::stats::{Counter, Stats};
use crate::threads::actions::queue::Actions;
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
    /// Its thread frees the windows that the game thread is done with.
    actions: Arc<Actions>,
    notices: Arc<Notices>,
    attention: Arc<AtomicBool>,
    stats: Arc<Stats>,
}

impl Collector {
    pub(crate) fn new(
        stats: Arc<Stats>,
        actions: Arc<Actions>,
        notices: Arc<Notices>,
        attention: Arc<AtomicBool>,
    ) -> Collector {
        Collector { meter: Arc::default(), due: Queue::default(), actions, notices, attention, stats }
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
    /// did not add it again within its grace period. Returns the number of events.
    pub(crate) fn remove(&self, aggregator: &Arc<Aggregator>, forgotten: bool) -> usize {
        let mut gone: Vec<Window> = lock(&aggregator.windows).remove().collect();
        self.due.change(|waiting| {
            let is_gone = |due: &Due| Arc::ptr_eq(&due.aggregator, aggregator);
            let (theirs, others): (VecDeque<Due>, _) = std::mem::take(waiting).into_iter().partition(is_gone);
            *waiting = others;
            gone.extend(theirs.into_iter().map(|due| due.window));
        });
        let events = gone.iter().map(Window::len).sum();
        self.dropped(forgotten).add(events as u64);
        self.free(gone);
        events
    }

    /// The same for a window of it that the pump had taken.
    pub(crate) fn drop_taken(&self, due: Due) {
        self.dropped(false).add(due.window.len() as u64);
        self.free(vec![due.window]);
    }

    /// Windows reached their functions, or are lost. Their memory is freed by `rt-actions`: so many events take longer
    /// than a tick.
    pub(crate) fn free(&self, windows: Vec<Window>) {
        if !windows.is_empty() {
            // A full queue drops them here.
            self.actions.after(Window::free_all(windows));
        }
    }

    /// The counter for the events of a removed aggregator.
    fn dropped(&self, forgotten: bool) -> &Counter {
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::event::fingerprint::Fingerprint;
    use crate::event::topic::Topic;
    use crate::hooks::aggregator::Windows;
    use crate::hooks::lease::Lease;
    use crate::hooks::spec::AggregatorSpec;

    const HOUR_MS: u64 = 3_600_000;
    const LONGEST: Duration = Duration::from_secs(1);

    /// Two servers of a fleet with the same clock collect the days of an owner at +02:00, who begins them at six. The
    /// clock goes to +01:00 in the second night. The holder of the lease sums up each day, the other server drops it.
    #[test]
    fn a_day_ends_at_the_owners_time_on_all_servers() {
        let spec = json!({
            "interval": "day",
            "at": "06:00",
            "aggregate": { "\u{0}function": "x.lua:1" },
            "actions": [{ "type": "counter", "key": "days" }],
        });
        let start = Instant::now();
        let hours = |hours: u64| Duration::from_millis(hours * HOUR_MS);
        let servers = [true, false].map(|holds| {
            let stats = Arc::<Stats>::default();
            let notices = Arc::new(Notices::new(Arc::clone(&stats), Arc::default()));
            let actions = Arc::new(Actions::new(Arc::clone(&stats)));
            let collector = Collector::new(Arc::clone(&stats), actions, notices, Arc::default());
            let (lease, spec) = (Lease::default(), AggregatorSpec::parse(&spec).unwrap());
            if holds {
                lease.set(Some(start + hours(1000)));
            } else {
                lease.refused(start, hours(1000));
            }
            let (windows, topic) = (Mutex::new(Windows::new(&spec)), Arc::new(Topic::new(b"kill")));
            let (id, fingerprint) = (Arc::from(*b"id"), Fingerprint::of(b"kill", &json!({})));
            (stats, collector, Arc::new(Aggregator { id, fingerprint, topic, spec, lease: Arc::new(lease), windows }))
        });
        // 06:00 at +02:00 is 04:00 in UTC: hour 4, 28 and so on; at +01:00 it is 05:00.
        let steps: [(u64, i32, bool, usize); 9] = [
            // hour of Unix time, zone in hours, whether an event comes, days summed up so far
            (3, 2, true, 0),
            (4, 2, false, 1),
            (5, 2, true, 1),
            (27, 2, true, 1),
            (28, 2, true, 2),
            (50, 1, true, 2),
            (52, 1, true, 2),
            (53, 1, false, 3),
            (54, 1, false, 3),
        ];
        for (hour, zone, has_event, days) in steps {
            let now = Moment { at: start + hours(hour), unix_ms: hour * HOUR_MS, offset_s: zone * 3600 };
            for (_, collector, aggregator) in &servers {
                if has_event {
                    collector.collect([aggregator], &[0], now);
                }
                let pause = collector.tend_one(aggregator, now, LONGEST);
                assert!(pause > LONGEST || lock(&aggregator.windows).due_ms(now.offset_s).is_none(), "hour {hour}");
            }
            assert_eq!((servers[0].1.due(), servers[1].1.due()), (days, 0), "hour {hour}");
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| servers[0].1.pop(|_| true)).map(|due| due.window.len()).collect();
        assert_eq!(sizes, [1, 2, 3]);
        // A removed aggregator's events count as dropped at once; the window's memory is left to `rt-actions`.
        let (stats, collector, aggregator) = &servers[0];
        for hour in [60, 61, 90] {
            let now = Moment { at: start + hours(hour), unix_ms: hour * HOUR_MS, offset_s: 3600 };
            collector.collect([aggregator], &[0], now);
            collector.tend_one(aggregator, now, LONGEST);
        }
        assert_eq!((collector.due(), collector.waiting(), collector.meter.bytes() > 0), (1, 3, true));
        assert_eq!((collector.remove(aggregator, false), stats.aggregates.dropped.removed.get()), (3, 3));
        assert_eq!((collector.due(), collector.waiting(), collector.actions.waiting()), (0, 0, 1));
        assert!(collector.meter.bytes() > 0, "the game thread freed the windows");
        drop(collector.actions.next(Instant::now()));
        assert_eq!(collector.meter.bytes(), 0);
        let dropped = servers.each_ref().map(|(stats, ..)| stats.aggregates.dropped.other_server.get());
        assert_eq!((dropped, servers.map(|(_, collector, _)| collector.waiting())), ([0, 6], [0, 0]));
    }
}
