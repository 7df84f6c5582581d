//! One tick's share of what waits for Lua: which [`Call`] is next, and when the tick has had enough. News, answers to
//! callbacks, events and windows of aggregators take turns (`Turns`): none of them can keep another waiting.
//! Game thread only; reads no clock, its caller does. Each event goes to the listeners its topic had when its turn
//! came, one Call each, in order of registration; a listener removed meanwhile is not called any more.
//! At least one Call a tick, whatever the budget, so that nothing starves.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// An overflow is told at most this often.
const OVERFLOW_PAUSE: Duration = Duration::from_secs(1);

use crate::engine::aggregators::Aggregators;
use crate::engine::call::{Aggregate, Call, Condition, Deliver, Gather, Outcome};
use crate::engine::gathering::Gathering;
use crate::engine::hooks::Hooks;
use crate::engine::pending::{Answered, Pending};
use crate::engine::registry::{CallbackRef, Listener, Registry};
use crate::event::Event;
use crate::event::notice::Notice;
use crate::hooks::aggregator::Aggregator;
use crate::json::build::Build;
use crate::stats::{Counter, Histogram};
use crate::threads::actions::collector::Due;
use crate::threads::actions::dispatch;
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::{Inbound, Purpose, Undecided};

/// An event part of whose listeners were called.
struct Current {
    event: Event,
    purpose: Purpose,
    /// The listener called last, by serial.
    after: u64,
    /// The newest registration when this event's turn came; `None`: it comes in the next state.
    until: Option<u64>,
    build: Option<Box<Build>>,
    is_text: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Out {
    Delivery,
    Notice,
    Answer,
    /// A window of so many events.
    Window(usize),
}

/// Where the next Call may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    News,
    Answers,
    Events,
    Windows,
}

/// Whose turn it is, round and round, across ticks: a tick may have time for one Call only.
#[derive(Debug, Clone, Copy, Default)]
struct Turns {
    next: usize,
}

impl Turns {
    const ORDER: [Source; 4] = [Source::News, Source::Answers, Source::Events, Source::Windows];

    /// What the first source from the next one on gives that has something.
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

/// Where calls come from, and whose functions they are for.
pub(crate) struct Of<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) registry: &'a Registry,
    pub(crate) hooks: &'a Hooks,
    pub(crate) aggregators: &'a Aggregators,
}

#[derive(Default)]
pub(crate) struct Pump {
    current: Option<Current>,
    /// An answer whose values are half-way into Lua.
    parked_answer: Option<Answered>,
    gathering: Gathering,
    turns: Turns,
    /// A call is out: it comes back with `complete`.
    out: Option<Out>,
    began: Option<Instant>,
    deadline: Option<Instant>,
    calls_this_tick: u32,
    times: Histogram,
    waits: Histogram,
    latencies: Histogram,
    /// Events dropped by a full inbox that Lua was told of, and when.
    overflow_told: u64,
    overflow_told_at: Option<Instant>,
}

impl Pump {
    pub(crate) fn begin(&mut self, shared: &Shared, now: Instant, budget: Duration) {
        // A call of the last tick that never came back was lost in a panic.
        match self.out.take() {
            Some(Out::Delivery) => shared.stats.inbox.dropped.panic.add(1),
            Some(Out::Notice) => shared.stats.notices.dropped.panic.add(1),
            Some(Out::Answer) => shared.stats.replies.dropped.panic.add(1),
            Some(Out::Window(events)) => shared.stats.aggregates.dropped.panic.add(events as u64),
            None => {}
        }
        self.began = Some(now);
        self.deadline = Some(now + budget);
        self.calls_this_tick = 0;
        self.tell_overflow(shared, now);
    }

    /// Tells Lua what a full inbox dropped, now and then.
    fn tell_overflow(&mut self, shared: &Shared, now: Instant) {
        let dropped = shared.stats.inbox.dropped.overflow.get();
        let recently = self.overflow_told_at.is_some_and(|told| now.saturating_duration_since(told) < OVERFLOW_PAUSE);
        if dropped > self.overflow_told && !recently {
            let more = dropped - std::mem::replace(&mut self.overflow_told, dropped);
            self.overflow_told_at = Some(now);
            shared.notices.push(Notice::Overflow { queue: "inbox", dropped: more });
        }
    }

    /// The next call of this tick; `None` ends the tick's work.
    pub(crate) fn next(&mut self, of: &Of<'_>, pending: &mut Pending, now: Instant) -> Option<Call> {
        let shared = of.shared;
        let spent = self.calls_this_tick > 0 && self.deadline.is_none_or(|deadline| now >= deadline);
        if !spent {
            // Mostly only events wait: then nobody else is asked.
            let others = shared.notices.waiting() + shared.replies.waiting() + shared.collector.due();
            let call = if others == 0 && self.parked_answer.is_none() && !self.gathering.is_under_way() {
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
        let overflow_untold = shared.stats.inbox.dropped.overflow.get() > self.overflow_told;
        let waiting = shared.inbox.waiting() + shared.notices.waiting() + shared.replies.waiting();
        let windows = self.gathering.is_under_way() || shared.collector.due() > 0;
        if self.current.is_some() || self.parked_answer.is_some() || waiting > 0 || windows || overflow_untold {
            shared.inbox.raise_attention();
        }
        if let Some(began) = self.began.take() {
            self.times.record(now.saturating_duration_since(began));
        }
        None
    }

    /// The next of all that may wait. Not inlined: deliveries alone do not come here.
    #[inline(never)]
    fn next_in_turn(&mut self, of: &Of<'_>, pending: &mut Pending, now: Instant) -> Option<(Call, Out)> {
        let shared = of.shared;
        let mut turns = self.turns;
        let call = turns.take(|source| match source {
            Source::News => shared.notices.pop().map(|notice| (Call::Notice(notice), Out::Notice)),
            Source::Answers => {
                let answered = self.parked_answer.take().or_else(|| next_answer(shared, pending));
                answered.map(|answered| (Call::Answer(answered), Out::Answer))
            }
            Source::Events => self.next_event(of, now).map(|call| (call, Out::Delivery)),
            Source::Windows => self.next_window(shared, of.aggregators),
        });
        self.turns = turns;
        call
    }

    /// The next part of a window.
    fn next_window(&mut self, shared: &Shared, aggregators: &Aggregators) -> Option<(Call, Out)> {
        let call = self.gathering.next(shared, aggregators)?;
        let events = match &call {
            Call::Gather(gather) => gather.len(),
            Call::Aggregate(aggregate) => aggregate.due.window.len(),
            _ => 0,
        };
        Some((call, Out::Window(events)))
    }

    /// This aggregator was removed: what was gathered for it goes too. The array, to be released.
    pub(crate) fn drop_window(&mut self, shared: &Shared, aggregator: &Aggregator) -> Option<CallbackRef> {
        self.gathering.drop_of(shared, aggregator)
    }

    /// What is to be released of windows that went with their aggregators.
    pub(crate) fn take_orphans(&mut self) -> Vec<CallbackRef> {
        self.gathering.take_orphans()
    }

    /// The next listener of an event, or the next condition.
    fn next_event(&mut self, of: &Of<'_>, now: Instant) -> Option<Call> {
        let Of { shared, registry, hooks, .. } = *of;
        loop {
            let Current { event, purpose, after, until, build, is_text } = match self.current.take() {
                Some(current) => current,
                None => {
                    let Inbound { event, purpose } = shared.inbox.pop()?;
                    let wait = now.saturating_duration_since(event.received());
                    self.waits.record(wait);
                    if let Some(origin) = event.origin() {
                        self.latencies.record(origin.travel.saturating_add(wait));
                    }
                    Current { event, purpose, after: 0, until: None, build: None, is_text: false }
                }
            };
            if let Purpose::Condition(undecided) = purpose {
                if let Some(callback) = hooks.condition(&undecided.hook) {
                    return Some(Call::Condition(Condition { event, undecided, callback, build, is_text }));
                }
                shared.stats.inbox.dropped.no_listener.add(1);
                continue;
            }
            let until = until.unwrap_or_else(|| registry.newest());
            if let Some(turn) = registry.next_listener(event.topic(), after, until) {
                let Listener { id, callback, wants_meta } = turn.listener;
                let (id, callback, wants_meta) = (Arc::clone(id), *callback, *wants_meta);
                let (serial, is_last) = (turn.serial, turn.is_last);
                let delivery = Deliver { event, callback, wants_meta, id, build, after, serial, until, is_last };
                return Some(Call::Deliver(delivery));
            }
            // Nobody (more) to call.
            match after {
                0 => shared.stats.inbox.dropped.no_listener.add(1),
                _ => shared.stats.inbox.delivered.add(1),
            }
        }
    }

    pub(crate) fn complete(&mut self, shared: &Shared, call: Call, outcome: Outcome) {
        let (call, outcome) = match outcome {
            // Not out any more: the state went away meanwhile, and took what was made with it.
            Outcome::Parked | Outcome::Slow(_) if self.out.is_some() => return self.park(shared, call, outcome),
            _ => (call, outcome),
        };
        match call {
            Call::Deliver(deliver) => self.complete_delivery(shared, deliver, &outcome),
            Call::Notice(_) => self.complete_once(&shared.stats.notices.delivered, shared, &outcome),
            Call::Answer(_) => self.complete_once(&shared.stats.replies.delivered, shared, &outcome),
            Call::Gather(gather) => self.complete_gather(shared, gather, &outcome),
            Call::Aggregate(aggregate) => self.complete_sum(shared, &aggregate, &outcome),
            Call::Condition(condition) => {
                self.complete_once(&shared.stats.inbox.delivered, shared, &outcome);
                shared.stats.conditions.add(1);
                match outcome {
                    Outcome::Holds(true) => {
                        let Undecided { hook, scopes, text } = &*condition.undecided;
                        let mut decoded = Vec::new();
                        let tape = if condition.is_text {
                            dispatch::decode(text.payload(), &mut decoded);
                            &decoded
                        } else {
                            condition.event.tape()
                        };
                        dispatch::perform(shared, hook, *scopes, text, tape);
                    }
                    Outcome::Failed => shared.stats.condition_errors.add(1),
                    _ => {}
                }
            }
        }
    }

    /// The call is the next of its kind again, in a later tick or with text.
    fn park(&mut self, shared: &Shared, call: Call, outcome: Outcome) {
        self.out = None;
        let text = match outcome {
            Outcome::Slow(text) => Some(text),
            _ => None,
        };
        match call {
            Call::Deliver(Deliver { event, build, after, until, .. }) => {
                let purpose = Purpose::Listeners;
                let current = Current { event, purpose, after, until: Some(until), build, is_text: false };
                self.set_current(shared, current, text);
            }
            Call::Condition(Condition { event, undecided, build, is_text, .. }) => {
                let purpose = Purpose::Condition(undecided);
                self.set_current(shared, Current { event, purpose, after: 0, until: None, build, is_text }, text);
            }
            Call::Answer(mut answered) => {
                if let Some(reason) = text {
                    answered.outcome = Err(String::from_utf8_lossy(&reason).into_owned());
                    answered.build = None;
                }
                self.parked_answer = Some(answered);
            }
            Call::Gather(gather) => self.gathering.parked(gather),
            // Have no values that could take long.
            Call::Notice(_) | Call::Aggregate(_) => {}
        }
    }

    fn set_current(&mut self, shared: &Shared, mut current: Current, text: Option<Vec<u8>>) {
        if let Some(text) = text {
            shared.stats.raw_slow.add(1);
            current = Current { event: current.event.into_text(&text), build: None, is_text: true, ..current };
        }
        self.current = Some(current);
    }

    fn complete_once(&mut self, delivered: &Counter, shared: &Shared, outcome: &Outcome) {
        self.out = None;
        delivered.add(1);
        if *outcome == Outcome::Failed {
            shared.stats.call_errors.add(1);
        }
    }

    fn complete_delivery(&mut self, shared: &Shared, call: Deliver, outcome: &Outcome) {
        shared.stats.calls.add(1);
        if *outcome == Outcome::Failed {
            shared.stats.call_errors.add(1);
        }
        // Not out any more: the state went away inside the callback, and the event ended with it.
        let goes_on = self.out.take().is_some() && !call.is_last;
        if goes_on {
            let Deliver { event, serial: after, until, .. } = call;
            let purpose = Purpose::Listeners;
            self.current = Some(Current { event, purpose, after, until: Some(until), build: None, is_text: false });
        } else {
            shared.stats.inbox.delivered.add(1);
        }
    }

    fn complete_gather(&mut self, shared: &Shared, gather: Gather, outcome: &Outcome) {
        self.out = None;
        match outcome {
            Outcome::Gathered(array) => self.gathering.gathered(gather, *array),
            // Lua had no memory for it: the window is gone, and the next one goes on.
            _ => shared.stats.aggregates.dropped.no_memory.add(gather.len() as u64),
        }
    }

    fn complete_sum(&mut self, shared: &Shared, aggregate: &Aggregate, outcome: &Outcome) {
        self.out = None;
        let Due { aggregator, window } = &aggregate.due;
        shared.stats.aggregates.delivered.add(window.len() as u64);
        shared.stats.windows.add(1);
        match outcome {
            Outcome::Sum(payload) => dispatch::perform_sum(shared, aggregator, payload, window.ended().unix_ms),
            Outcome::Failed => {
                shared.stats.call_errors.add(1);
                shared.stats.aggregate_errors.add(1);
            }
            _ => {}
        }
    }

    /// The Lua state goes away: an event half-way through its listeners ends here; one that none was called with, and
    /// a window, wait for the next state. What was made of them is to be released.
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

    /// Answers taken from their queue whose callbacks were not called.
    pub(crate) fn answers_waiting(&self) -> usize {
        usize::from(self.parked_answer.is_some())
    }

    /// Events taken from the inbox and not done with.
    pub(crate) fn waiting(&self) -> usize {
        usize::from(self.current.is_some() || self.out == Some(Out::Delivery))
    }

    /// How long each tick's work took.
    pub(crate) fn times(&self) -> &Histogram {
        &self.times
    }

    /// From the sending of each event to its turn, by the clocks of both servers.
    pub(crate) fn latencies(&self) -> &Histogram {
        &self.latencies
    }

    /// How long each event waited, from its arrival on the socket to its turn: mostly for the tick.
    pub(crate) fn waits(&self) -> &Histogram {
        &self.waits
    }
}

/// The next answer that somebody still waits for.
fn next_answer(shared: &Shared, pending: &mut Pending) -> Option<Answered> {
    loop {
        let answered = pending.answered(shared.replies.pop()?);
        if answered.is_some() {
            return answered;
        }
        shared.stats.replies.dropped.no_state.add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::config::Config;
    use crate::event::topic::Topic;
    use crate::event::{Arrival, Decoded};
    use crate::json::tape;
    use crate::stats::Stats;

    /// All sources always have something, or some of them: each gets its share of 1,000 Calls.
    #[test]
    fn every_source_that_has_something_gets_its_share() {
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
        registry: Registry,
        hooks: Hooks,
        aggregators: Aggregators,
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
            let mut registry = Registry::default();
            registry.add(b"a", Some(b"x"), CallbackRef(1), false);
            Server {
                shared,
                attention,
                registry,
                hooks: Hooks::default(),
                aggregators: Aggregators::default(),
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
            let event = Event::new(Arc::new(Topic::new(b"a")), b"a", decoded, arrival);
            self.shared.inbox.push(Inbound::for_listeners(event));
        }

        fn news(&self, number: u64) {
            let target = number.to_string().into_bytes().into();
            self.shared.notices.push(Notice::Error { operation: "incr", target, reason: String::new() });
        }

        fn next(&mut self, now: Instant) -> Option<Call> {
            let Server { shared, registry, hooks, aggregators, pending, pump, .. } = self;
            pump.next(&Of { shared, registry, hooks, aggregators }, pending, now)
        }
    }

    /// A game hook so slow that each tick has time for one Call, and news that never end.
    #[test]
    fn news_without_end_hold_up_no_event() {
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

    #[test]
    fn attention_stays_raised_while_something_waits_and_only_then() {
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
        // What one tick has no time for: another event, or the next listener of the same.
        server.registry.add(b"a", Some(b"y"), CallbackRef(2), false);
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
        // An overflow that Lua was told of less than a second ago waits to be told.
        let overflow = |server: &Server| server.shared.stats.inbox.dropped.overflow.add(1);
        overflow(&server);
        // The news raise it themselves.
        tick(&mut server, start);
        assert!(!tick(&mut server, start), "it was told");
        overflow(&server);
        assert!(tick(&mut server, start + OVERFLOW_PAUSE / 2));
        tick(&mut server, start + OVERFLOW_PAUSE);
        assert!(!tick(&mut server, start + OVERFLOW_PAUSE));
        let told = server.shared.stats.notices.delivered.get();
        assert_eq!(told, 3);
    }

    /// A window for the pump, of one event.
    fn due(server: &mut Server) -> Due {
        let actions = serde_json::json!([{ "type": "file", "path": "x.log" }]);
        let function = serde_json::json!({ "\u{0}function": "x.lua" });
        let spec = serde_json::json!({ "interval": 1, "aggregate": function, "actions": actions });
        let origin = crate::engine::registrations::Origin::default();
        let added = server.aggregators.add_spec(b"a", None, &spec, Some(CallbackRef(9)), &origin);
        let aggregator = added.unwrap().item;
        let moment = |unix_ms| crate::hooks::aggregator::Moment { at: server.start, unix_ms };
        let mut windows = aggregator.windows.lock().unwrap();
        windows.collect(b"x", moment(0), &Arc::default()).unwrap();
        windows.end_due(moment(5000));
        let window = windows.take_oldest().unwrap();
        drop(windows);
        Due { aggregator, window }
    }

    /// Making Lua values of its events runs a script's `__gc`, which removes the aggregator.
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
            for (aggregator, _) in &removed {
                server.shared.collector.remove(aggregator, false);
                assert_eq!(server.pump.drop_window(&server.shared, aggregator), None);
            }
            assert_eq!(removed.len(), 1);
            server.pump.complete(&server.shared, call, outcome);
            // Another window is not held up, and none is under way any more.
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
