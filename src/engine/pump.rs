//! One tick's share of what waits for Lua: which [`Call`] is next, and when the tick has had enough.
//! Game thread only; reads no clock, its caller does. Each event goes to the listeners its topic had when its turn
//! came, one Call each, in order of registration; a listener removed meanwhile is not called any more.
//! At least one Call a tick, whatever the budget, so that nothing starves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::registry::{CallbackRef, Listener, Registry};
use crate::event::Event;
use crate::stats::Histogram;
use crate::threads::Shared;

/// What the engine wants Lua to run.
pub enum Call {
    Deliver(Deliver),
}

/// An event for one listener. The edge gives it back with [`crate::engine::Engine::complete`].
pub struct Deliver {
    pub event: Event,
    pub callback: CallbackRef,
    pub wants_meta: bool,
    /// The listener's id, for the report of an error.
    pub id: Arc<[u8]>,
    serial: u64,
    until: u64,
    is_last: bool,
}

/// What came of a Call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The callback raised an error, which was reported.
    Failed,
}

/// An event part of whose listeners were called.
struct Current {
    event: Event,
    /// The listener called last, by serial.
    after: u64,
    /// The newest registration when this event's turn came.
    until: u64,
}

#[derive(Default)]
pub struct Pump {
    current: Option<Current>,
    /// A call is out: its event comes back with `complete`.
    out: bool,
    began: Option<Instant>,
    deadline: Option<Instant>,
    calls_this_tick: u32,
    times: Histogram,
    waits: Histogram,
}

impl Pump {
    pub fn begin(&mut self, shared: &Shared, now: Instant, budget: Duration) {
        if std::mem::take(&mut self.out) {
            // The call of the last tick never came back: its event was lost in a panic.
            shared.stats.inbox.dropped.panic.add(1);
        }
        self.began = Some(now);
        self.deadline = Some(now + budget);
        self.calls_this_tick = 0;
    }

    /// The next call of this tick; `None` ends the tick's work.
    pub fn next(&mut self, shared: &Shared, registry: &Registry, now: Instant) -> Option<Call> {
        let spent = self.calls_this_tick > 0 && self.deadline.is_none_or(|deadline| now >= deadline);
        if !spent && let Some(deliver) = self.next_delivery(shared, registry, now) {
            self.calls_this_tick += 1;
            self.out = true;
            return Some(Call::Deliver(deliver));
        }
        if self.current.is_some() || shared.inbox.waiting() > 0 {
            shared.inbox.raise_attention();
        }
        if let Some(began) = self.began.take() {
            self.times.record(now.saturating_duration_since(began));
        }
        None
    }

    fn next_delivery(&mut self, shared: &Shared, registry: &Registry, now: Instant) -> Option<Deliver> {
        loop {
            let current = match self.current.take() {
                Some(current) => current,
                None => {
                    let event = shared.inbox.pop()?;
                    self.waits.record(now.saturating_duration_since(event.received()));
                    Current { event, after: 0, until: registry.newest() }
                }
            };
            let Current { event, after, until } = current;
            if let Some(turn) = registry.next_listener(event.topic(), after, until) {
                let Listener { id, callback, wants_meta } = turn.listener;
                let (id, callback, wants_meta) = (Arc::clone(id), *callback, *wants_meta);
                let (serial, is_last) = (turn.serial, turn.is_last);
                return Some(Deliver { event, callback, wants_meta, id, serial, until, is_last });
            }
            // Nobody (more) to call.
            match after {
                0 => shared.stats.inbox.dropped.no_listener.add(1),
                _ => shared.stats.inbox.delivered.add(1),
            }
        }
    }

    pub fn complete(&mut self, shared: &Shared, call: Deliver, outcome: Outcome) {
        shared.stats.calls.add(1);
        if outcome == Outcome::Failed {
            shared.stats.call_errors.add(1);
        }
        // Not out any more: the state went away inside the callback, and the event ended with it.
        let goes_on = std::mem::take(&mut self.out) && !call.is_last;
        if goes_on {
            self.current = Some(Current { event: call.event, after: call.serial, until: call.until });
        } else {
            shared.stats.inbox.delivered.add(1);
        }
    }

    /// The Lua state goes away: an event half-way through its listeners ends here.
    pub fn interrupt(&mut self, shared: &Shared) {
        self.out = false;
        if let Some(current) = self.current.take() {
            match current.after {
                0 => shared.stats.inbox.dropped.no_listener.add(1),
                _ => shared.stats.inbox.delivered.add(1),
            }
        }
    }

    /// Events taken from the inbox and not done with.
    pub fn waiting(&self) -> usize {
        usize::from(self.current.is_some() || self.out)
    }

    /// How long each tick's work took.
    pub fn times(&self) -> &Histogram {
        &self.times
    }

    /// How long each event waited, from its arrival on the socket to its turn: mostly for the tick.
    pub fn waits(&self) -> &Histogram {
        &self.waits
    }
}
