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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::limits::AGGREGATE_BYTES_MAX;
use crate::event::notice::Notice;
use crate::hooks::aggregator::{Aggregator, Meter, Moment, NotCollected, Window};
use crate::hooks::lease::Turn;
use crate::hooks::routes::Routes;
use crate::io::lock::lock;
use crate::sorted::Sorted;
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
    /// Windows at the front of `due` whose aggregators have no function. After a map change they may be many, so the pump
    /// does not ask again at each turn. For the game thread only.
    without_function: AtomicUsize,
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
        let (meter, due, without_function) = Default::default();
        Collector { meter, due, without_function, actions, notices, attention, stats }
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
        let asked = self.without_function.load(Ordering::Relaxed);
        if self.due.waiting() <= asked {
            return None;
        }
        self.due.change(|waiting| {
            let found = waiting.iter().skip(asked).position(|due| can(&due.aggregator));
            let at = found.map_or(waiting.len(), |found| asked + found);
            self.without_function.store(at, Ordering::Relaxed);
            waiting.remove(at)
        })
    }

    /// An aggregator has got a function: [`Collector::pop`] asks for every window again.
    pub(crate) fn ask_again(&self) {
        self.without_function.store(0, Ordering::Relaxed);
    }

    /// Returns a window that the pump had taken, as its function went away before it was called. It is the first again.
    pub(crate) fn put_back(&self, due: Due) {
        self.due.change(|waiting| waiting.push_front(due));
        self.ask_again();
    }

    /// Drops the events of aggregators that were removed, counted. `forgotten`: no script removed them; the new Lua state
    /// did not add them again within its grace period. Returns the number of events of each, by its address. All windows
    /// that wait are visited once, however many aggregators go.
    pub(crate) fn remove(
        &self,
        aggregators: &mut dyn Iterator<Item = &Arc<Aggregator>>,
        forgotten: bool,
    ) -> Sorted<*const Aggregator, usize> {
        let (mut gone, mut lost) = (Vec::new(), Sorted::default());
        for aggregator in aggregators {
            let before = gone.len();
            gone.extend(lock(&aggregator.windows).remove());
            lost.set(Arc::as_ptr(aggregator), gone.iter().skip(before).map(Window::len).sum());
        }
        if lost.len() == 0 {
            return lost;
        }
        self.due.change(|waiting| {
            let asked = self.without_function.load(Ordering::Relaxed);
            let mut without_function = asked;
            // Once around: the others come back in the same order.
            for at in 0..waiting.len() {
                let Some(due) = waiting.pop_front() else { break };
                let Some(events) = lost.get_mut(&Arc::as_ptr(&due.aggregator)) else {
                    waiting.push_back(due);
                    continue;
                };
                *events += due.window.len();
                gone.push(due.window);
                without_function -= usize::from(at < asked);
            }
            self.without_function.store(without_function, Ordering::Relaxed);
        });
        self.dropped(forgotten).add(gone.iter().map(Window::len).sum::<usize>() as u64);
        self.free(gone);
        lost
    }

    /// The same for a window that the pump had taken, of an aggregator that a script removed.
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

    /// A collector, and its numbers.
    fn collector() -> (Arc<Stats>, Collector) {
        let stats = Arc::<Stats>::default();
        let notices = Arc::new(Notices::new(Arc::clone(&stats), Arc::default()));
        let actions = Arc::new(Actions::new(Arc::clone(&stats)));
        let collector = Collector::new(Arc::clone(&stats), actions, notices, Arc::default());
        (stats, collector)
    }

    fn aggregator(spec: &serde_json::Value, lease: Lease) -> Arc<Aggregator> {
        let spec = AggregatorSpec::parse(spec).unwrap();
        let (windows, topic) = (Mutex::new(Windows::new(&spec)), Arc::new(Topic::new(b"kill")));
        let (id, fingerprint) = (Arc::from(*b"id"), Fingerprint::of(b"kill", &json!({})));
        Arc::new(Aggregator { id, fingerprint, topic, spec, lease: Arc::new(lease), windows })
    }

    /// Windows of four aggregators wait by turns; none has a function at first.
    #[test]
    fn windows_without_a_function_are_asked_for_once_and_removed_in_one_pass() {
        let (stats, collector) = collector();
        let action = json!({ "type": "counter", "key": "k" });
        let spec = json!({ "interval": 1, "aggregate": { "\u{0}function": "x.lua:1" }, "actions": [action] });
        let all = [(); 4].map(|()| aggregator(&spec, Lease::default()));
        let at = |unix_ms| Moment { at: Instant::now(), unix_ms, offset_s: 0 };
        // The number of events tells the windows apart.
        let push = |events: usize| {
            let aggregator = &all[events % 4];
            (0..events).for_each(|_| collector.collect([aggregator], &[0], at(0)));
            let mut windows = lock(&aggregator.windows);
            windows.end_due(at(5000));
            let window = windows.take_oldest().unwrap();
            collector.push(Due { aggregator: Arc::clone(aggregator), window });
        };
        let asked = std::cell::Cell::new(0);
        let pop = |wanted: Option<usize>| {
            let can = |aggregator: &Aggregator| {
                asked.set(asked.get() + 1);
                wanted.is_some_and(|wanted| std::ptr::eq(aggregator, &*all[wanted]))
            };
            let due = collector.pop(can);
            let outcome = (due.as_ref().map(|due| due.window.len()), asked.replace(0));
            (due, outcome)
        };
        (1..=8).for_each(push);
        assert_eq!(pop(None).1, (None, 8));
        assert_eq!(pop(None).1, (None, 0));
        push(9);
        assert_eq!((pop(None).1, pop(None).1), ((None, 1), (None, 0)));
        // One of them gets a function.
        collector.ask_again();
        assert_eq!((pop(Some(2)).1, pop(Some(2)).1), ((Some(2), 2), (Some(6), 4)));
        assert_eq!((pop(Some(2)).1, pop(Some(2)).1), ((None, 3), (None, 0)));
        // Two are removed while one window was never asked for.
        push(10);
        let lost = collector.remove(&mut [&all[0], &all[3]].into_iter(), true);
        assert_eq!([0, 1, 2, 3].map(|n| lost.get(&Arc::as_ptr(&all[n])).copied()), [Some(12), None, None, Some(10)]);
        assert_eq!((stats.aggregates.dropped.no_function.get(), collector.due()), (22, 4));
        assert_eq!(collector.actions.waiting(), 1, "one job frees the windows");
        assert_eq!((pop(None).1, pop(None).1), ((None, 1), (None, 0)));
        // A window that comes back is the first, and is asked for.
        collector.ask_again();
        let (due, outcome) = pop(Some(1));
        assert_eq!(outcome, (Some(1), 1));
        collector.put_back(due.unwrap());
        let rest = [1, 1, 1, 2].map(|wanted| pop(Some(wanted)).1);
        assert_eq!(rest, [(Some(1), 1), (Some(5), 1), (Some(9), 1), (Some(10), 1)]);
    }

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
            let ((stats, collector), lease) = (collector(), Lease::default());
            if holds {
                lease.set(Some(start + hours(1000)));
            } else {
                lease.refused(start, hours(1000));
            }
            (stats, collector, aggregator(&spec, lease))
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
        let lost = collector.remove(&mut std::iter::once(aggregator), false);
        assert_eq!((lost.get(&Arc::as_ptr(aggregator)), stats.aggregates.dropped.removed.get()), (Some(&3), 3));
        assert_eq!((collector.due(), collector.waiting(), collector.actions.waiting()), (0, 0, 1));
        assert!(collector.meter.bytes() > 0, "the game thread freed the windows");
        drop(collector.actions.next(Instant::now()));
        assert_eq!(collector.meter.bytes(), 0);
        let dropped = servers.each_ref().map(|(stats, ..)| stats.aggregates.dropped.other_server.get());
        assert_eq!((dropped, servers.map(|(_, collector, _)| collector.waiting())), ([0, 6], [0, 0]));
    }
}
