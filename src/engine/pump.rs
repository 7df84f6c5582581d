//! One tick's work: which [`Call`] is next, and when the tick has had enough.
//! Game thread only. Reads no clock: its caller passes the time.
//!
//! Four sources take turns across ticks ([`Turns`]), so that none can starve another: news for game hooks, answers to
//! callbacks, events, and windows of aggregators. Each tick makes at least one Call, however small the budget.
//!
//! An event goes to the listeners that its topic had when the event's turn came: one Call each, in order of
//! registration. A listener that is removed meanwhile is not called any more, and one that is added later does not get
//! the event. After a map change, events whose function is not there yet stand aside (`engine/aside.rs`).
//!
//! ```text
//!  begin ─▶ next ─▶ Some(call) ─▶ (Lua) ─▶ complete ─┐
//!            ▲  │                                    │
//!            │  └▶ None: the tick ends               │
//!            └───────────────────────────────────────┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::aside::Aside;
use crate::engine::call::{Aggregate, Answered, Call, CallbackRef, Condition, Deliver, Follow, Gather, Outcome};
use crate::engine::current::{Current, Of};
use crate::engine::followers::Followers;
use crate::engine::gathering::Gathering;
use crate::engine::listeners::Listener;
use crate::engine::pending::Pending;
use crate::engine::registrations::Registrations;
use crate::event::notice::Notice;
use crate::hooks::aggregator::Aggregator;
use crate::stats::{Counter, Histogram};
use crate::threads::actions::collector::Due;
use crate::threads::actions::queue::ActionsFull;
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::{Inbound, Purpose};

/// The pause between two reports of dropped events (the game hook `RealtimeOverflow`): a full inbox drops thousands of
/// events, and one report covers all of them.
const OVERFLOW_PAUSE: Duration = Duration::from_secs(1);

/// Events that may be held back in one tick: by listeners with `missed`, counted for each listener, or aside
/// (`engine/aside.rs`). They are no Calls, so that no clock is read between them, and cost far less. The same for answers
/// that are for no callback: those for an ended Lua state, and those for listeners with `missed`.
const HELD_PER_TICK: u32 = 2048;

/// Bytes of an answer that count as one more item: a large one takes as long as many others to read or to free.
const BYTES_PER_HELD: usize = 8192;

/// The kind of the Call that Lua is running.
#[derive(Clone, Copy, PartialEq)]
enum Out {
    /// An event, for a listener or for a condition.
    Delivery,
    /// An event of a follower's own.
    Missed,
    Notice,
    Answer,
    /// A window, with its number of events.
    Window(usize),
}

/// A source of Calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    News,
    Answers,
    Events,
    Missed,
    Windows,
}

/// The source whose turn is next. The turn is kept across ticks, because a tick may have time for one Call only.
#[derive(Debug, Clone, Copy, Default)]
struct Turns {
    next: usize,
}

impl Turns {
    const ORDER: [Source; 5] = [Source::News, Source::Answers, Source::Events, Source::Missed, Source::Windows];

    /// Asks the sources in turn and returns the first Call that one of them has; the source after it is next.
    fn take<T>(&mut self, mut give: impl FnMut(Source) -> Option<T>) -> Option<T> {
        let order = Turns::ORDER.iter().enumerate();
        let (late, early) = (order.clone().skip(self.next), order.take(self.next));
        late.chain(early).find_map(|(at, source)| {
            let given = give(*source);
            self.next = if given.is_some() { (at + 1) % Turns::ORDER.len() } else { self.next };
            given
        })
    }
}

/// The work of the current tick, and unfinished work of earlier ticks.
#[derive(Default)]
pub(crate) struct Pump {
    current: Option<Current>,
    pub(super) aside: Aside,
    /// An answer whose Lua values are half built.
    parked_answer: Option<Answered>,
    gathering: Gathering,
    pub(super) followers: Followers,
    turns: Turns,
    /// The Call that Lua is running; `complete` takes it back.
    out: Option<Out>,
    /// `None` between two ticks.
    began: Option<Instant>,
    deadline: Option<Instant>,
    calls_this_tick: u32,
    held_this_tick: u32,
    times: Histogram,
    waits: Histogram,
    latencies: Histogram,
    /// Events dropped by a full inbox that were reported to Lua, and the time of the last report.
    overflow_reported: u64,
    overflow_reported_at: Option<Instant>,
}

impl Pump {
    /// Starts a tick with this budget.
    pub(crate) fn begin(&mut self, shared: &Shared, now: Instant, budget: Duration) {
        // A Call of the last tick that never came back was lost in a panic, which the edge caught.
        match self.out.take() {
            Some(Out::Delivery) => shared.stats.inbox.dropped.panic.add(1),
            Some(Out::Missed) => shared.stats.missed_dropped.add(1),
            Some(Out::Notice) => shared.stats.notices.dropped.panic.add(1),
            Some(Out::Answer) => shared.stats.replies.dropped.panic.add(1),
            Some(Out::Window(events)) => shared.stats.aggregates.dropped.panic.add(events as u64),
            None => {}
        }
        self.began = Some(now);
        self.deadline = Some(now + budget);
        (self.calls_this_tick, self.held_this_tick) = (0, 0);
        self.report_overflow(shared, now);
        shared.metrics.answer(&self.times);
    }

    /// Reports the events that a full inbox dropped since the last report, once per [`OVERFLOW_PAUSE`].
    fn report_overflow(&mut self, shared: &Shared, now: Instant) {
        let dropped = shared.stats.inbox.dropped.overflow.get();
        let recently = self.overflow_reported_at.is_some_and(|at| now.saturating_duration_since(at) < OVERFLOW_PAUSE);
        if dropped > self.overflow_reported && !recently {
            let more = dropped - std::mem::replace(&mut self.overflow_reported, dropped);
            self.overflow_reported_at = Some(now);
            shared.notices.push(Notice::Overflow { queue: "inbox", dropped: more });
        }
    }

    /// The next Call of this tick. `None` ends the tick; if work is left, it raises attention, so that the next tick
    /// goes on. (Without attention the edge does not even borrow the engine.)
    #[optimize(speed)]
    pub(crate) fn next(&mut self, of: &Of<'_>, pending: &mut Pending, now: Instant) -> Option<Call> {
        let shared = of.shared;
        let spent = self.calls_this_tick > 0 && self.deadline.is_none_or(|deadline| now >= deadline);
        if !spent {
            // The fast path: mostly only events wait, and then the other sources are not asked.
            let others = shared.notices.waiting() + shared.replies.waiting() + shared.collector.due();
            let is_quiet = !self.gathering.is_under_way() && !self.followers.is_busy();
            let call = if others == 0 && self.parked_answer.is_none() && is_quiet {
                self.next_event(of, now).map(|call| (call, Out::Delivery))
            } else {
                self.next_in_turn(of, pending, now)
            };
            if let Some((call, out)) = call {
                self.calls_this_tick += 1;
                self.out = Some(out);
                return Some(call);
            }
        }
        let overflow_unreported = shared.stats.inbox.dropped.overflow.get() > self.overflow_reported;
        let waiting = shared.inbox.waiting() + shared.notices.waiting() + shared.replies.waiting();
        let windows = self.gathering.is_under_way() || shared.collector.due() > 0 || self.followers.are_restless();
        let events = self.current.is_some() || self.aside.is_due();
        if events || self.parked_answer.is_some() || waiting > 0 || windows || overflow_unreported {
            shared.inbox.raise_attention();
        }
        if let Some(began) = self.began.take() {
            self.times.record(now.saturating_duration_since(began));
        }
        None
    }

    /// The next Call of any source. Not inlined, to keep the fast path of `next` short.
    #[inline(never)]
    fn next_in_turn(&mut self, of: &Of<'_>, pending: &mut Pending, now: Instant) -> Option<(Call, Out)> {
        let shared = of.shared;
        let mut turns = self.turns;
        let call = turns.take(|source| match source {
            Source::News => shared.notices.pop().map(|notice| (Call::Notice(notice), Out::Notice)),
            Source::Answers => {
                let answered = self.parked_answer.take();
                let answered = answered.or_else(|| self.next_answer(shared, pending, now));
                answered.map(|answered| (Call::Answer(answered), Out::Answer))
            }
            Source::Events => self.next_event(of, now).map(|call| (call, Out::Delivery)),
            Source::Missed => {
                let call = self.followers.next(shared, of.listeners, now);
                call.map(|call| (call, Out::Missed))
            }
            Source::Windows => self.next_window(shared, of.aggregators),
        });
        self.turns = turns;
        call
    }

    /// The next Call for a window.
    fn next_window(&mut self, shared: &Shared, aggregators: &Registrations) -> Option<(Call, Out)> {
        let call = self.gathering.next(shared, aggregators)?;
        let events = match &call {
            Call::Gather(gather) => gather.len(),
            Call::Aggregate(aggregate) => aggregate.due.window.len(),
            _ => 0,
        };
        Some((call, Out::Window(events)))
    }

    /// An aggregator was removed: drops its window. Returns the window's array, to be released.
    pub(crate) fn drop_window(&mut self, shared: &Shared, aggregator: &Aggregator) -> Option<CallbackRef> {
        self.gathering.drop_of(shared, aggregator)
    }

    /// The arrays of windows whose aggregators were removed during a Call, to be released.
    pub(crate) fn take_orphans(&mut self) -> Vec<CallbackRef> {
        self.gathering.take_orphans()
    }

    /// The Call for the next listener of the current event, or for the next event. Events that need no (further) Call
    /// are counted and skipped.
    #[optimize(speed)]
    fn next_event(&mut self, of: &Of<'_>, now: Instant) -> Option<Call> {
        let Of { shared, listeners, hooks, .. } = *of;
        loop {
            let current = match self.current.take().or_else(|| self.aside.next()) {
                Some(current) => current,
                None => {
                    let Inbound { event, purpose } = shared.inbox.pop()?;
                    let wait = now.saturating_duration_since(event.received());
                    self.waits.record(wait);
                    // Only an event with an identity says when it was sent.
                    if let Some(origin) = event.origin() {
                        self.latencies.record(origin.travel.saturating_add(wait));
                    }
                    let current = Current { event, purpose, after: 0, until: None, build: None, is_text: false };
                    if self.aside.is_empty() {
                        current
                    } else if let Some(current) = self.aside.pass(of, current) {
                        current
                    } else if self.has_held_enough(1) {
                        return None;
                    } else {
                        continue;
                    }
                }
            };
            let Current { event, purpose, after, until, build, is_text } = current;
            if let Purpose::Condition(undecided) = purpose {
                if let Some(callback) = hooks.condition(&undecided.hook) {
                    return Some(Call::Condition(Condition { event, undecided, callback, build }));
                }
                let purpose = Purpose::Condition(undecided);
                self.aside.keep(of, Current { event, purpose, after, until, build, is_text });
                if self.has_held_enough(1) {
                    return None;
                }
                continue;
            }
            let until = until.unwrap_or_else(|| listeners.newest());
            if let Some(turn) = listeners.next_listener(event.topic(), after, until) {
                let Listener { id, callback, wants_meta, follower } = turn.listener;
                let (id, callback, wants_meta) = (Arc::clone(id), *callback, *wants_meta);
                let (serial, is_last) = (turn.serial, turn.is_last);
                let follow = follower.map(|number| Follow { number, is_own: false, is_missed: false });
                // Parked: the listener has taken it.
                if let Some(follow) = follow
                    && build.is_none()
                    && !is_text
                    && !self.followers.takes(follow.number, &event, shared, now)
                {
                    let (after, until) = (serial, Some(until));
                    self.current = Some(Current { event, purpose, after, until, build: None, is_text: false });
                    if self.has_held_enough(1) {
                        return None;
                    }
                    continue;
                }
                let delivery =
                    Deliver { event, callback, wants_meta, id, build, after, serial, until, is_last, follow };
                return Some(Call::Deliver(delivery));
            }
            // No listener is left. With `after` at 0 there was none at all.
            if after > 0 {
                shared.stats.inbox.delivered.add(1);
                continue;
            }
            self.aside.keep(of, Current { event, purpose, after, until: None, build, is_text });
            if self.has_held_enough(1) {
                return None;
            }
        }
    }

    /// The next answer whose callback still exists. Answers for an ended Lua state are counted and dropped, so many in
    /// one tick.
    fn next_answer(&mut self, shared: &Shared, pending: &mut Pending, now: Instant) -> Option<Answered> {
        loop {
            let reply = shared.replies.pop()?;
            let bytes = reply.outcome.as_ref().map_or(0, |answer| answer.tape.len());
            if let Some(reply) = self.followers.answered(reply, shared, now) {
                let answered = pending.answered(reply);
                if answered.is_some() {
                    return answered;
                }
                shared.stats.replies.dropped.no_state.add(1);
            }
            if self.has_held_enough(1 + (bytes / BYTES_PER_HELD) as u32) {
                return None;
            }
        }
    }

    /// Counts more items that are held back or dropped. True: the tick has no time for further ones.
    fn has_held_enough(&mut self, more: u32) -> bool {
        self.held_this_tick = self.held_this_tick.saturating_add(more);
        self.held_this_tick >= HELD_PER_TICK
    }

    /// Takes a Call back, with its outcome.
    pub(crate) fn complete(&mut self, shared: &Shared, call: Call, outcome: Outcome) {
        let (call, outcome) = match outcome {
            // If it is not out any more, the Lua state ended during the Call: its half-built values went with it.
            Outcome::Parked | Outcome::Slow(_) if self.out.is_some() => return self.park(shared, call, outcome),
            _ => (call, outcome),
        };
        match call {
            Call::Deliver(deliver) => self.complete_delivery(shared, deliver, &outcome),
            other => self.complete_other(shared, other, &outcome),
        }
    }

    /// The end of a Call that is no delivery. Not inlined, to keep the path of deliveries short.
    #[inline(never)]
    fn complete_other(&mut self, shared: &Shared, call: Call, outcome: &Outcome) {
        match call {
            Call::Deliver(_) => {} // `complete` handles it.
            Call::Notice(_) => self.complete_once(&shared.stats.notices.delivered, shared, outcome),
            Call::Answer(_) => self.complete_once(&shared.stats.replies.delivered, shared, outcome),
            Call::Gather(gather) => self.complete_gather(shared, gather, outcome),
            Call::Aggregate(aggregate) => self.complete_sum(shared, aggregate, outcome),
            Call::Condition(condition) => {
                self.complete_once(&shared.stats.inbox.delivered, shared, outcome);
                shared.stats.conditions.add(1);
                match outcome {
                    Outcome::Holds(true) => {
                        let hook = Arc::clone(&condition.undecided.hook.id);
                        report_refused(shared, hook, "conditional", shared.actions.agreed(condition.undecided));
                    }
                    Outcome::Failed => shared.stats.condition_errors.add(1),
                    _ => {}
                }
            }
        }
    }

    /// Keeps an unfinished Call, so that it is the next of its kind again: parked, or slow and with text instead.
    #[cold]
    #[inline(never)]
    fn park(&mut self, shared: &Shared, call: Call, outcome: Outcome) {
        self.out = None;
        let text = match outcome {
            Outcome::Slow(text) => Some(text),
            _ => None,
        };
        match call {
            Call::Deliver(Deliver { event, build, follow: Some(follow), .. }) if follow.is_own => {
                let (event, build) = match text {
                    None => (event, build),
                    Some(text) => {
                        shared.stats.raw_slow.add(1);
                        (event.into_text(&text), None)
                    }
                };
                self.followers.park(follow, event, build);
            }
            Call::Deliver(Deliver { event, build, after, until, .. }) => {
                let purpose = Purpose::Listeners;
                let current = Current { event, purpose, after, until: Some(until), build, is_text: false };
                self.set_current(shared, current, text);
            }
            Call::Condition(Condition { event, undecided, build, .. }) => {
                let purpose = Purpose::Condition(undecided);
                self.set_current(
                    shared,
                    Current { event, purpose, after: 0, until: None, build, is_text: false },
                    text,
                );
            }
            Call::Answer(mut answered) => {
                if let Some(reason) = text {
                    answered.outcome = Err(String::from_utf8_lossy(&reason).into_owned());
                    answered.build = None;
                }
                self.parked_answer = Some(answered);
            }
            Call::Gather(gather) => self.gathering.parked(gather),
            // These have no values that take long to build, so the edge never parks them.
            Call::Notice(_) | Call::Aggregate(_) => {}
        }
    }

    /// Makes an unfinished event the current one again; `text` replaces its payload.
    fn set_current(&mut self, shared: &Shared, mut current: Current, text: Option<Vec<u8>>) {
        if let Some(text) = text {
            shared.stats.raw_slow.add(1);
            current = Current { event: current.event.into_text(&text), build: None, is_text: true, ..current };
        }
        self.current = Some(current);
    }

    /// The end of a Call that is made once per item.
    fn complete_once(&mut self, delivered: &Counter, shared: &Shared, outcome: &Outcome) {
        self.out = None;
        delivered.add(1);
        if *outcome == Outcome::Failed {
            shared.stats.call_errors.add(1);
        }
    }

    /// The end of one listener's Call: the event goes on to the next listener, or is done.
    fn complete_delivery(&mut self, shared: &Shared, call: Deliver, outcome: &Outcome) {
        shared.stats.calls.add_alone(1);
        if *outcome == Outcome::Failed {
            shared.stats.call_errors.add(1);
        }
        if let Some(follow) = call.follow {
            self.followers.delivered(follow, &call.event);
            if follow.is_own {
                self.out = None;
                return;
            }
        }
        // If it is not out any more, the Lua state ended inside the callback, and the event ends with it.
        let goes_on = self.out.take().is_some() && !call.is_last;
        if goes_on {
            let Deliver { event, serial: after, until, .. } = call;
            let purpose = Purpose::Listeners;
            self.current = Some(Current { event, purpose, after, until: Some(until), build: None, is_text: false });
        } else {
            shared.stats.inbox.delivered.add_alone(1);
        }
    }

    /// The end of a Call that added events to a window's array.
    fn complete_gather(&mut self, shared: &Shared, gather: Gather, outcome: &Outcome) {
        self.out = None;
        match outcome {
            Outcome::Gathered(array) => self.gathering.gathered(gather, *array),
            // Lua had no memory for the array: this window is lost, and the next one goes on.
            _ => {
                shared.stats.aggregates.dropped.no_memory.add(gather.len() as u64);
                shared.collector.free(vec![gather.due.window]);
            }
        }
    }

    /// The end of an aggregator's function: its sum goes to the aggregator's actions.
    fn complete_sum(&mut self, shared: &Shared, aggregate: Aggregate, outcome: &Outcome) {
        self.out = None;
        let Due { aggregator, window } = aggregate.due;
        shared.stats.aggregates.delivered.add(window.len() as u64);
        shared.stats.windows.add(1);
        match outcome {
            Outcome::Sum(payload) => {
                let queued = shared.actions.sum(&aggregator, payload, window.ended().unix_ms);
                report_refused(shared, Arc::clone(&aggregator.id), "aggregate", queued);
            }
            Outcome::Failed => {
                shared.stats.call_errors.add(1);
                shared.stats.aggregate_errors.add(1);
            }
            _ => {}
        }
        shared.collector.free(vec![window]);
    }

    /// The Lua state ends. An event that some listeners have got is done: the same scripts listen again in the next
    /// state, and would get it twice. An event that no listener has got, and a window, wait for the next state. Returns
    /// Lua values to be released.
    pub(crate) fn interrupt(&mut self, shared: &Shared) -> Vec<CallbackRef> {
        self.out = None;
        if let Some(current) = self.current.take() {
            if current.after == 0 {
                self.current = Some(Current { until: None, build: None, ..current });
            } else {
                shared.stats.inbox.delivered.add(1);
            }
        }
        let answer = self.parked_answer.take().map(|answered| {
            shared.stats.replies.dropped.no_state.add(1);
            answered.callback
        });
        answer.into_iter().chain(self.gathering.detach(shared)).collect()
    }

    /// Answers taken from their queue whose callbacks were not called yet.
    pub(crate) fn answers_waiting(&self) -> usize {
        usize::from(self.parked_answer.is_some())
    }

    /// Events taken from the inbox and not finished.
    pub(crate) fn waiting(&self) -> usize {
        usize::from(self.current.is_some() || self.out == Some(Out::Delivery)) + self.aside.len()
    }

    /// The duration of each tick's work.
    pub(crate) fn times(&self) -> &Histogram {
        &self.times
    }

    /// The time from each event's sending to its turn here, as far as the clocks of both servers agree.
    pub(crate) fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    /// The time from each event's arrival on the socket to its turn: mostly the wait for the tick.
    pub(crate) fn waits(&self) -> &Histogram {
        &self.waits
    }
}

/// Reports that `rt-actions` had no room for the actions of a hook or an aggregator; the queue has counted it.
fn report_refused(shared: &Shared, hook: Arc<[u8]>, kind: &'static str, queued: Result<(), ActionsFull>) {
    if let Err(ActionsFull { waiting }) = queued {
        let reason = format!("queue_full: {waiting} events wait for their hooks");
        shared.notices.push(Notice::ActionFailed { hook, kind, reason });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::config::Config;
    use crate::engine::listeners::Listeners;
    use crate::event::topic::Topic;
    use crate::event::{Arrival, Arrived, Decoded};
    use crate::json::tape;
    use crate::stats::Stats;

    /// Every combination of full sources, over 1,000 Calls.
    #[test]
    fn full_sources_take_turns() {
        use Source::{Answers, Events, News, Windows};
        let all = [News, Answers, Events, Windows];
        for full in 1..16_u32 {
            let full: Vec<Source> =
                all.iter().enumerate().filter(|(at, _)| full & 1 << at > 0).map(|(_, it)| *it).collect();
            let (mut turns, mut gaps) = (Turns::default(), BTreeMap::new());
            for call in 0..1000 {
                let taken = turns.take(|source| full.contains(&source).then_some(source)).unwrap();
                let last = gaps.insert(taken as u8, call);
                assert!(call - last.unwrap_or(-1) <= full.len() as i32, "{taken:?} waited, with {full:?}");
            }
            assert_eq!(gaps.len(), full.len(), "{full:?}");
        }
        assert_eq!(Turns::default().take(|_| None::<()>), None);
    }

    struct Server {
        shared: Shared,
        attention: Arc<AtomicBool>,
        listeners: Listeners,
        hooks: Registrations,
        aggregators: Registrations,
        pending: Pending,
        pump: Pump,
        start: Instant,
    }

    impl Server {
        fn new() -> Server {
            let attention = Arc::new(AtomicBool::new(false));
            let folder = std::env::temp_dir();
            let shared =
                Shared::new(Config::defaults("box", 1), folder, Arc::new(Stats::default()), Arc::clone(&attention));
            let mut listeners = Listeners::default();
            listeners.add(b"a", Some(b"x"), CallbackRef(1), false);
            Server {
                shared,
                attention,
                listeners,
                hooks: Registrations::hooks(),
                aggregators: Registrations::aggregators(),
                pending: Pending::default(),
                pump: Pump::default(),
                start: Instant::now(),
            }
        }

        fn event(&self) {
            let mut tape = Vec::new();
            tape::push_text(&mut tape, b"x");
            let decoded = Decoded { tape: &tape, raw: false, identity: None };
            let arrival = Arrival { at: self.start, unix_ms: 0, own_boot: 0 };
            let arrived = Arrived { topic: Arc::new(Topic::new(b"a")), channel: b"a", decoded, arrival };
            self.shared.inbox.push(arrived, Purpose::Listeners);
        }

        fn news(&self, number: u64) {
            let target = number.to_string().into_bytes().into();
            self.shared.notices.push(Notice::Error { operation: "incr", target, reason: String::new() });
        }

        fn next(&mut self, now: Instant) -> Option<Call> {
            let Server { shared, listeners, hooks, aggregators, pending, pump, .. } = self;
            pump.next(&Of { shared, listeners, hooks, aggregators }, pending, now)
        }
    }

    /// News that never end, and a game hook so slow that each tick has time for one Call.
    #[test]
    fn endless_news_do_not_starve_events() {
        let mut server = Server::new();
        (0..50).for_each(|_| server.event());
        let (mut events, mut now) = (0, server.start);
        for tick in 0..100 {
            (0..10).for_each(|more| server.news(tick * 10 + more));
            server.pump.begin(&server.shared, now, Duration::from_micros(500));
            let call = server.next(now).expect("at least one Call a tick");
            now += Duration::from_millis(10);
            events += u32::from(matches!(call, Call::Deliver(_)));
            server.pump.complete(&server.shared, call, Outcome::Done);
            assert!(server.next(now).is_none(), "the budget is spent");
        }
        assert_eq!(events, 50);
    }

    /// A full inbox while a listener reads its stream: the tick ends although no Call has spent its budget.
    #[test]
    fn a_tick_holds_back_so_many_events_and_goes_on_in_the_next() {
        let mut server = Server::new();
        let number = server.pump.followers.add(b"a", b"x", 1, &server.shared).unwrap();
        server.listeners.set_follower(b"a", b"x", number);
        let ticks = 3;
        (0..ticks * HELD_PER_TICK).for_each(|_| server.event());
        for tick in 1..=ticks {
            server.shared.inbox.take_attention();
            server.pump.begin(&server.shared, server.start, Duration::from_micros(500));
            while let Some(call) = server.next(server.start) {
                server.pump.complete(&server.shared, call, Outcome::Done);
            }
            assert_eq!(server.shared.inbox.waiting(), ((ticks - tick) * HELD_PER_TICK) as usize);
            assert!(server.attention.load(std::sync::atomic::Ordering::Relaxed));
        }
    }

    /// Answers for a Lua state that has ended, and for listeners with `missed` that have ended; then large ones.
    #[test]
    fn a_tick_drops_so_many_answers_and_goes_on_in_the_next() {
        use crate::redis::answer::Answer;
        use crate::threads::publisher::replies::ReplyTo;
        let mut server = Server::new();
        let ticks = 3;
        for bytes in [0, 15 * BYTES_PER_HELD] {
            let in_one_tick = HELD_PER_TICK as usize / (1 + bytes / BYTES_PER_HELD);
            for number in 0..(ticks * in_one_tick) as u64 {
                let ticket = if number % 2 == 0 { number } else { crate::engine::followers::TICKET | number };
                let answer = Answer { tape: vec![0; bytes], values: 1 };
                server.shared.replies.answer(ReplyTo::Callback(ticket), Ok(answer));
            }
            for tick in 1..=ticks {
                server.shared.inbox.take_attention();
                server.pump.begin(&server.shared, server.start, Duration::from_micros(500));
                assert!(server.next(server.start).is_none());
                let left = (ticks - tick) * in_one_tick;
                assert_eq!(server.shared.replies.waiting(), left);
                assert_eq!(server.attention.load(std::sync::atomic::Ordering::Relaxed), left > 0);
            }
        }
        let replies = &server.shared.stats.replies;
        let (offered, dropped) = (replies.offered.get(), replies.dropped.no_state.get());
        assert_eq!((offered, dropped, replies.delivered.get()), (3 * 2176, 3 * 1088, 3 * 1088));
    }

    /// More events than may stand aside, for a topic of the previous state.
    #[test]
    fn events_stand_aside_for_a_kept_topic_up_to_a_bound() {
        use crate::threads::subscriber::inbox::INBOX_EVENTS_MAX;
        let mut server = Server::new();
        server.listeners.detach();
        let tick = |server: &mut Server| {
            let mut calls = 0;
            server.pump.begin(&server.shared, server.start, Duration::from_micros(500));
            server.pump.aside.is_stale = true;
            let Server { shared, listeners, hooks, aggregators, .. } = server;
            assert_eq!(server.pump.aside.sort(&Of { shared, listeners, hooks, aggregators }), 0);
            while let Some(call) = server.next(server.start) {
                calls += u32::from(matches!(call, Call::Deliver(_)));
                server.pump.complete(&server.shared, call, Outcome::Done);
            }
            calls
        };
        for _ in 0..INBOX_EVENTS_MAX + 5 {
            server.event();
            if server.shared.inbox.waiting() >= HELD_PER_TICK as usize {
                assert_eq!(tick(&mut server), 0);
            }
        }
        assert_eq!(tick(&mut server), 0);
        let dropped = |server: &Server| {
            let dropped = &server.shared.stats.inbox.dropped;
            (server.pump.waiting(), dropped.overflow.get(), dropped.no_listener.get())
        };
        assert_eq!(dropped(&server), (INBOX_EVENTS_MAX, 5, 0));
        server.listeners.add(b"a", Some(b"x"), CallbackRef(2), false);
        assert_eq!((tick(&mut server) as usize, dropped(&server)), (INBOX_EVENTS_MAX, (0, 5, 0)));
        // The same without the listener.
        server.listeners.detach();
        (0..3).for_each(|_| server.event());
        assert_eq!((tick(&mut server), dropped(&server)), (0, (3, 5, 0)));
        server.listeners.drop_kept(9);
        assert_eq!((tick(&mut server), dropped(&server)), (0, (0, 5, 3)));
    }

    #[test]
    fn attention_stays_raised_while_work_waits_and_only_then() {
        let mut server = Server::new();
        let tick = |server: &mut Server, now: Instant| {
            server.shared.inbox.take_attention();
            server.pump.begin(&server.shared, now, Duration::from_micros(500));
            while let Some(call) = server.next(now) {
                server.pump.complete(&server.shared, call, Outcome::Done);
            }
            server.attention.load(std::sync::atomic::Ordering::Relaxed)
        };
        let start = server.start;
        assert!(!tick(&mut server, start), "an idle tick");
        server.event();
        server.news(1);
        assert!(!tick(&mut server, start), "all was done");
        // Work that one tick has no time for: another event, or the next listener of the same event.
        server.listeners.add(b"a", Some(b"y"), CallbackRef(2), false);
        for (events, calls) in [(2, 1), (1, 1)] {
            (0..events).for_each(|_| server.event());
            server.shared.inbox.take_attention();
            server.pump.begin(&server.shared, start, Duration::ZERO);
            for _ in 0..calls {
                let call = server.next(start).unwrap();
                server.pump.complete(&server.shared, call, Outcome::Done);
            }
            assert!(server.next(start).is_none());
            assert!(server.attention.load(std::sync::atomic::Ordering::Relaxed));
            assert!(!tick(&mut server, start));
        }
        // An overflow less than a second after a report waits for the next report.
        let overflow = |server: &Server| server.shared.stats.inbox.dropped.overflow.add(1);
        overflow(&server);
        // The report itself is news and raises attention.
        tick(&mut server, start);
        assert!(!tick(&mut server, start), "it was reported");
        overflow(&server);
        assert!(tick(&mut server, start + OVERFLOW_PAUSE / 2));
        tick(&mut server, start + OVERFLOW_PAUSE);
        assert!(!tick(&mut server, start + OVERFLOW_PAUSE));
        let reports = server.shared.stats.notices.delivered.get();
        assert_eq!(reports, 3);
    }

    /// A window for the pump, of one event.
    fn due(server: &mut Server) -> Due {
        let actions = serde_json::json!([{ "type": "file", "path": "x.log" }]);
        let function = serde_json::json!({ "\u{0}function": "x.lua" });
        let spec = serde_json::json!({ "interval": 1, "aggregate": function, "actions": actions });
        let origin = crate::engine::registrations::Origin::default();
        let added = server.aggregators.parse_and_add(b"a", None, &spec, Some(CallbackRef(9)), &origin);
        let aggregator = Arc::clone(added.unwrap().item.aggregator().unwrap());
        let moment = |unix_ms| crate::hooks::aggregator::Moment { at: server.start, unix_ms, offset_s: 0 };
        let mut windows = aggregator.windows.lock().unwrap();
        windows.collect(b"x", moment(0), &Arc::default()).unwrap();
        windows.end_due(moment(5000));
        let window = windows.take_oldest().unwrap();
        drop(windows);
        Due { aggregator, window }
    }

    /// A condition that holds, and a sum: their actions are not made on the game thread, which frees no window either.
    #[test]
    fn actions_after_a_function_are_left_to_their_thread() {
        use crate::hooks::hook::Scopes;
        use crate::threads::actions::dispatch::{Occasion, act};
        let mut server = Server::new();
        let condition = serde_json::json!({ "\u{0}function": "x.lua" });
        let actions = serde_json::json!([{ "type": "file", "path": "x.log" }]);
        let spec = serde_json::json!({ "type": "conditional", "condition": condition, "actions": actions });
        let origin = crate::engine::registrations::Origin::default();
        let added = server.hooks.parse_and_add(b"a", None, &spec, Some(CallbackRef(8)), &origin).unwrap();
        let run = |server: &mut Server| {
            let text = Arc::new(crate::event::EventText::new(b"a", &[b"{}"], 0));
            let arrival = Arrival { at: server.start, unix_ms: 0, own_boot: 0 };
            let mut tape = Vec::new();
            crate::event::payload::decode(b"{}", &mut tape);
            let occasion = Occasion { text: &text, tape: &tape, raw: false, arrival };
            act(&server.shared, added.item.hook().unwrap(), Scopes::BOTH, occasion);
            let due = due(server);
            server.shared.collector.put_back(due);
            server.pump.begin(&server.shared, server.start, Duration::from_secs(1));
            let mut reports = 0;
            while let Some(call) = server.next(server.start) {
                reports += i32::from(matches!(call, Call::Notice(_)));
                let outcome = match &call {
                    Call::Condition(_) => Outcome::Holds(true),
                    Call::Gather(_) => Outcome::Gathered(CallbackRef(5)),
                    Call::Aggregate(_) => Outcome::Sum(b"{}".to_vec()),
                    _ => Outcome::Done,
                };
                server.pump.complete(&server.shared, call, outcome);
            }
            let Shared { stats, files, actions, .. } = &server.shared;
            let dropped = stats.actions.dropped.queue_full.get();
            (actions.waiting(), stats.actions.offered.get(), files.waiting(), dropped, reports)
        };
        // Two events and a window whose memory is to be freed.
        assert_eq!(run(&mut server), (3, 2, 0, 0, 0));
        // Without room they are counted, and scripts hear of it.
        while let Ok(place) = server.shared.actions.reserve(1) {
            std::mem::forget(place);
        }
        assert_eq!(run(&mut server), (4, 5, 0, 3, 2));
    }

    /// Building the Lua values of its events runs a script's `__gc`, which removes the aggregator.
    #[test]
    fn a_window_whose_aggregator_is_removed_while_it_is_filled_is_dropped() {
        for outcome in [Outcome::Gathered(CallbackRef(5)), Outcome::Parked] {
            let mut server = Server::new();
            let (first, second) = (due(&mut server), due(&mut server));
            let is_parked = outcome == Outcome::Parked;
            server.shared.collector.put_back(first);
            server.pump.begin(&server.shared, server.start, Duration::from_secs(1));
            let call = server.next(server.start).unwrap();
            let removed = server.aggregators.remove(None, &second.aggregator.id);
            for aggregator in removed.iter().filter_map(|(item, _)| item.aggregator()) {
                server.shared.collector.remove(&mut std::iter::once(aggregator), false);
                assert_eq!(server.pump.drop_window(&server.shared, aggregator), None);
            }
            assert_eq!(removed.len(), 1);
            server.pump.complete(&server.shared, call, outcome);
            // The next window is not held up, and the dropped one is not under way any more.
            let other = due(&mut server);
            server.shared.collector.put_back(other);
            assert!(matches!(server.next(server.start), Some(Call::Gather(gather)) if gather.array.is_none()));
            assert_eq!(server.pump.take_orphans(), if is_parked { vec![] } else { vec![CallbackRef(5)] });
            assert_eq!(server.shared.stats.aggregates.dropped.removed.get(), 1);
        }
    }

    /// Ticks that have time for one Call each.
    #[test]
    fn attention_stays_raised_while_a_window_waits_or_is_under_way() {
        let mut server = Server::new();
        server.news(1);
        let due = due(&mut server);
        server.shared.collector.put_back(due);
        let mut seen = Vec::new();
        for _ in 0..3 {
            server.shared.inbox.take_attention();
            server.pump.begin(&server.shared, server.start, Duration::ZERO);
            let call = server.next(server.start).unwrap();
            let (name, outcome) = match &call {
                Call::Notice(_) => ("news", Outcome::Done),
                Call::Gather(_) => ("gather", Outcome::Gathered(CallbackRef(5))),
                Call::Aggregate(_) => ("sum", Outcome::Done),
                _ => ("other", Outcome::Done),
            };
            server.pump.complete(&server.shared, call, outcome);
            assert!(server.next(server.start).is_none());
            seen.push((name, server.attention.load(std::sync::atomic::Ordering::Relaxed)));
        }
        assert_eq!(seen, [("news", true), ("gather", true), ("sum", false)]);
    }
}
