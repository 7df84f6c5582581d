//! What hooks do with this server's own events. Emit hands an event over once, however many hooks want it; looking at
//! it and making the jobs is done here, on `rt-actions`, so that no hook costs the game a frame. Emit keeps the place
//! first: an event that was sent, and says that its hooks act on it, is never dropped here.
//! Waits for nothing but its queue: it goes on when Redis is away, while a webhook hangs, and when the game sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};

use crate::event::{Arrival, EventText, identity};
use crate::hooks::aggregator::Moment;
use crate::hooks::hook::Scopes;
use crate::hooks::routes::Matched;
use crate::io::fail_point::fail_point;
use crate::stats::Stats;
use crate::threads::actions::dispatch::Occasion;
use crate::threads::shared::Shared;

pub(crate) mod collector;
pub(crate) mod dispatch;

/// This server's own events that may wait for `rt-actions`, which itself waits for nothing.
const ACTIONS_WAITING_MAX: usize = 8192;
/// Memory that events waiting for `rt-actions` may take, in bytes.
const ACTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often an idle thread looks whether it is time to stop (stop wakes it), and at the windows of aggregators.
const PATIENCE: Duration = Duration::from_secs(1);
/// One huge event must not keep its memory for ever.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// What `rt-actions` is asked.
enum Act {
    /// An event that this server has sent, and who wants it.
    Own(Arc<EventText>, Arc<Matched>),
    /// To be run once everything before it was handed on.
    Then(Box<dyn FnOnce() + Send>),
    /// Everything before it was handed on: answered by dropping this.
    Mark(Sender<()>),
    /// Look again: it is time to stop.
    Wake,
}

/// The way to `rt-actions`.
pub struct Actions {
    tx: Sender<Act>,
    rx: Receiver<Act>,
    /// Events that wait or have their place, and their bytes.
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// An event was taken and not handed on.
    busy: AtomicBool,
    stats: Arc<Stats>,
}

impl Actions {
    pub(crate) fn new(stats: Arc<Stats>) -> Actions {
        // Bounded by the count of events, by the length where jobs are pushed, and by one mark and one wake-up a thread.
        let (tx, rx) = crossbeam_channel::unbounded();
        let zero = AtomicUsize::default;
        Actions { tx, rx, events: zero(), bytes: zero(), busy: AtomicBool::new(false), stats }
    }

    /// Keeps a place for an event of this weight ([`EventText::weight_of`]), or refuses, counted, when too many wait.
    /// Never waits. What has its place is taken for certain.
    pub(crate) fn reserve(&self, weight: usize) -> Result<Place<'_>, Full> {
        let waiting = self.events.fetch_add(1, Ordering::AcqRel);
        let place = Place { actions: self, weight };
        let bytes = self.bytes.fetch_add(weight, Ordering::AcqRel) + weight;
        if waiting < ACTIONS_WAITING_MAX && bytes <= ACTIONS_BYTES_MAX {
            return Ok(place);
        }
        drop(place);
        self.stats.actions.offered.add(1);
        self.stats.actions.dropped.queue_full.add(1);
        Err(Full { waiting })
    }

    /// Events that wait for their hooks.
    pub(crate) fn waiting(&self) -> usize {
        self.rx.len() + usize::from(self.busy.load(Ordering::Acquire))
    }

    /// Waits until what was pushed before is handed on, until the deadline. True if it is.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        let (tx, rx) = crossbeam_channel::bounded(0);
        // The mark is dropped with its sender, and that is the answer.
        self.tx.try_send(Act::Mark(tx)).is_ok()
            && rx.recv_deadline(deadline) == Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    }

    /// Has `job` run on `rt-actions` when what was pushed before is handed on. Never waits; false, and nothing is run,
    /// when too many wait.
    pub fn after(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.tx.len() < ACTIONS_WAITING_MAX && self.tx.try_send(Act::Then(Box::new(job))).is_ok()
    }

    fn give_back(&self, weight: usize) {
        self.bytes.fetch_sub(weight, Ordering::AcqRel);
        self.events.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn wake(&self) {
        // A full queue has something to look at anyway.
        let _ = self.tx.try_send(Act::Wake);
    }
}

/// Too many events wait for their hooks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
}

/// A place for one event. Dropped unused, it is free again.
pub(crate) struct Place<'a> {
    actions: &'a Actions,
    weight: usize,
}

impl Place<'_> {
    /// Takes an event that was sent, for all hooks that want it.
    pub(crate) fn fill(self, text: Arc<EventText>, matched: Arc<Matched>) {
        let Actions { tx, stats, .. } = self.actions;
        stats.actions.offered.add(1);
        // Never refused: the queue has no bound of its own, and its other end is beside this one.
        if tx.send(Act::Own(text, matched)).is_ok() {
            // The place is given back when the event is handed on.
            std::mem::forget(self);
        } else {
            stats.actions.dropped.queue_full.add(1);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.actions.give_back(self.weight);
    }
}

/// The thread's whole life, until stop.
pub(crate) fn run(shared: &Arc<Shared>) {
    let actions = &shared.actions;
    if actions.busy.swap(false, Ordering::AcqRel) {
        actions.stats.actions.dropped.panic.add(1);
    }
    let mut tape = Vec::new();
    let mut look_at = Instant::now();
    while !shared.is_stopping() {
        let now = Instant::now();
        if now >= look_at {
            look_at = now + tend(shared, now);
        }
        let Ok(act) = actions.rx.recv_deadline(look_at) else { continue };
        match act {
            Act::Own(text, matched) => hand_on(shared, &text, &matched, &mut tape),
            Act::Then(job) => job(),
            Act::Mark(reached) => drop(reached),
            Act::Wake => {}
        }
    }
}

/// Looks after the windows of aggregators. How long until they need that again; a clock that jumps, or an aggregator
/// that is new, waits for it no longer than [`PATIENCE`].
fn tend(shared: &Shared, now: Instant) -> Duration {
    let (_, routes) = shared.published.current();
    let moment = Moment { at: now, unix_ms: identity::unix_ms(SystemTime::now()) };
    shared.collector.tend(&routes, moment, PATIENCE)
}

/// One event to all hooks and aggregators that want it.
fn hand_on(shared: &Shared, text: &Arc<EventText>, matched: &Matched, tape: &mut Vec<u8>) {
    let actions = &shared.actions;
    actions.busy.store(true, Ordering::Release);
    actions.give_back(text.weight());
    fail_point("actions");
    let raw = dispatch::decode(text.payload(), tape);
    let arrival = Arrival { at: Instant::now(), unix_ms: text.unix_ms, own_boot: shared.boot };
    for hook in matched.hooks() {
        dispatch::act(shared, hook, Scopes::BOTH, Occasion { text, tape, raw, arrival });
    }
    let moment = Moment { at: arrival.at, unix_ms: text.unix_ms };
    shared.collector.collect(matched.aggregators(), tape, moment);
    tape.shrink_to(SCRATCH_BYTES_KEPT);
    actions.stats.actions.delivered.add(1);
    actions.busy.store(false, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions() -> (Actions, Arc<Stats>) {
        let stats = Arc::new(Stats::default());
        (Actions::new(Arc::clone(&stats)), stats)
    }

    #[test]
    fn a_place_is_there_or_nothing_happens() {
        let (actions, stats) = actions();
        let text = Arc::new(EventText::new(b"a", &[b"{}"], 0));
        for _ in 0..ACTIONS_WAITING_MAX {
            actions.reserve(text.weight()).unwrap().fill(Arc::clone(&text), Arc::default());
        }
        assert_eq!(actions.reserve(text.weight()).err(), Some(Full { waiting: ACTIONS_WAITING_MAX }));
        let counts = |stats: &Stats| (stats.actions.offered.get(), stats.actions.dropped.queue_full.get());
        let all = ACTIONS_WAITING_MAX as u64;
        assert_eq!((counts(&stats), actions.waiting()), ((all + 1, 1), ACTIONS_WAITING_MAX));
        // One is handed on; its place is free, and free again when it is not used.
        actions.rx.try_recv().unwrap();
        actions.give_back(text.weight());
        drop(actions.reserve(text.weight()).unwrap());
        assert_eq!(counts(&stats), (all + 1, 1));
        let place = actions.reserve(text.weight()).unwrap();
        assert!(actions.reserve(text.weight()).is_err());
        place.fill(Arc::clone(&text), Arc::default());
        assert_eq!(actions.waiting(), ACTIONS_WAITING_MAX);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (actions, _) = actions();
        let half = ACTIONS_BYTES_MAX / 2;
        let places = [actions.reserve(half).unwrap(), actions.reserve(half).unwrap()];
        assert_eq!(actions.reserve(1).err(), Some(Full { waiting: 2 }));
        drop(places);
        assert!(actions.reserve(ACTIONS_BYTES_MAX).is_ok());
        assert_eq!((actions.events.load(Ordering::Relaxed), actions.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
