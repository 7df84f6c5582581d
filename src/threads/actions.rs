//! What hooks do with this server's own events. Emit hands an event over once, however many hooks want it; looking at
//! it and making the jobs is done here, on `rt-actions`, so that no hook costs the game a frame.
//! Waits for nothing but its queue: it goes on when Redis is away, while a webhook hangs, and when the game sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};

use crate::aggregator::Moment;
use crate::config::{ACTIONS_BYTES_MAX, ACTIONS_WAITING_MAX};
use crate::event::{Arrival, EventText};
use crate::fail_point::fail_point;
use crate::hook::Scopes;
use crate::identity;
use crate::routes::Matched;
use crate::stats::Stats;
use crate::threads::Shared;
use crate::threads::dispatch::{self, Occasion};

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
    bytes: AtomicUsize,
    /// An event was taken and not handed on.
    busy: AtomicBool,
    stats: Arc<Stats>,
}

impl Actions {
    pub(super) fn new(stats: Arc<Stats>) -> Actions {
        // Room for marks and wake-ups beyond the bound.
        let (tx, rx) = crossbeam_channel::bounded(ACTIONS_WAITING_MAX + 8);
        Actions { tx, rx, bytes: AtomicUsize::new(0), busy: AtomicBool::new(false), stats }
    }

    /// Takes an event that was sent, for all hooks that want it. Never waits; refuses, counted, when too many wait.
    pub fn push(&self, text: Arc<EventText>, matched: Arc<Matched>) {
        self.stats.actions.offered.add(1);
        let weight = text.weight();
        let bytes = self.bytes.fetch_add(weight, Ordering::AcqRel) + weight;
        let full = self.tx.len() >= ACTIONS_WAITING_MAX || bytes > ACTIONS_BYTES_MAX;
        if full || self.tx.try_send(Act::Own(text, matched)).is_err() {
            self.bytes.fetch_sub(weight, Ordering::AcqRel);
            self.stats.actions.dropped.queue_full.add(1);
        }
    }

    /// Events that wait for their hooks.
    pub fn waiting(&self) -> usize {
        self.rx.len() + usize::from(self.busy.load(Ordering::Acquire))
    }

    /// Waits until what was pushed before is handed on, until the deadline. True if it is.
    pub fn flush(&self, deadline: Instant) -> bool {
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

    pub(super) fn wake(&self) {
        // A full queue has something to look at anyway.
        let _ = self.tx.try_send(Act::Wake);
    }
}

/// The thread's whole life, until stop.
pub fn run(shared: &Arc<Shared>) {
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
    actions.bytes.fetch_sub(text.weight(), Ordering::AcqRel);
    fail_point("actions");
    let raw = dispatch::decode(text.payload(), tape);
    let arrival = Arrival { at: Instant::now(), unix_ms: text.unix_ms, own_boot: shared.boot };
    for hook in &matched.hooks {
        dispatch::act(shared, hook, Scopes::BOTH, Occasion { text, tape, raw, arrival });
    }
    let moment = Moment { at: arrival.at, unix_ms: text.unix_ms };
    shared.collector.collect(&matched.aggregators, tape, moment);
    tape.shrink_to(SCRATCH_BYTES_KEPT);
    actions.stats.actions.delivered.add(1);
    actions.busy.store(false, Ordering::Release);
}
