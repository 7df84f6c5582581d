//! The loop of `rt-actions`: the hooks and aggregators of events that this server emitted. `Emit` queues them through
//! `actions/queue.rs`; a hook's actions are made in `actions/dispatch.rs`, windows are in `actions/collector.rs`. After a
//! function of Lua has decided, the actions of a conditional hook and of an aggregator are made here as well.
//! The thread also ends the windows of aggregators by the clock.
//! It waits for nothing but its queue: it goes on when Redis is away, while a webhook hangs, and when the game sleeps.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::event::payload;
use crate::event::{Arrival, EventText, identity};
use crate::hooks::aggregator::Moment;
use crate::hooks::hook::Scopes;
use crate::hooks::routes::Matched;
use crate::io::fail_point::fail_point;
use crate::threads::actions::dispatch::Occasion;
use crate::threads::actions::queue::Job;
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::Undecided;

pub(crate) mod collector;
pub(crate) mod dispatch;
pub(crate) mod queue;

/// Longest time between two looks at the windows of aggregators: the bound of the delay after the clock was set, or
/// after an aggregator was added. A stop wakes the thread earlier.
const PATIENCE: Duration = Duration::from_secs(1);
/// Memory for decoding that is kept from event to event, in bytes: one huge event must not keep its memory for ever.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// Runs `rt-actions` until [`Shared::stop`]. A panic starts it again.
pub(crate) fn run(shared: &Arc<Shared>) {
    let actions = &shared.actions;
    actions.settle_lost();
    // Scratch memory for the tape of one event.
    let mut tape = Vec::new();
    let mut tend_at = Instant::now();
    while !shared.is_stopping() {
        let now = Instant::now();
        if now >= tend_at {
            tend_at = now + tend(shared, now);
        }
        match actions.next(tend_at) {
            Some(Job::Own(text, matched)) => {
                take(shared, &text, &mut tape, |tape, raw| hand_on(shared, &text, &matched, tape, raw));
            }
            Some(Job::Agreed(undecided)) => {
                let Undecided { hook, scopes, text } = &*undecided;
                take(shared, text, &mut tape, |tape, _| dispatch::perform(shared, hook, *scopes, text, tape));
            }
            Some(Job::Sum(text, aggregator)) => {
                take(shared, &text, &mut tape, |tape, _| dispatch::perform_sum(shared, &aggregator, &text, tape));
            }
            Some(Job::Then(job)) => job(),
            Some(Job::Mark(reached)) => drop(reached),
            Some(Job::Wake) | None => {}
        }
    }
}

/// Ends the windows of aggregators whose time is over. Returns the time until the next look, [`PATIENCE`] at most.
fn tend(shared: &Shared, now: Instant) -> Duration {
    let (_, routes) = shared.published.current();
    let offset_s = shared.zone.offset_s();
    let moment = Moment { at: now, unix_ms: identity::unix_ms(SystemTime::now()), offset_s };
    shared.collector.tend(&routes, moment, PATIENCE)
}

/// Decodes one event and runs `act` with its tape; the flag says that its payload is no JSON. `tape` is scratch memory.
fn take(shared: &Shared, text: &EventText, tape: &mut Vec<u8>, act: impl FnOnce(&[u8], bool)) {
    shared.actions.begin(text.weight());
    fail_point("actions");
    let raw = payload::decode(text.payload(), tape);
    act(tape, raw);
    tape.shrink_to(SCRATCH_BYTES_KEPT);
    shared.actions.done();
}

/// Gives one event to all hooks and aggregators that want it.
fn hand_on(shared: &Shared, text: &Arc<EventText>, matched: &Matched, tape: &[u8], raw: bool) {
    let arrival = Arrival { at: Instant::now(), unix_ms: text.unix_ms, own_boot: shared.boot };
    for hook in matched.hooks() {
        dispatch::act(shared, hook, Scopes::BOTH, Occasion { text, tape, raw, arrival });
    }
    // The window is chosen by the time of `Emit`, not by the time at which this thread came to the event.
    let moment = Moment { at: arrival.at, unix_ms: text.unix_ms, offset_s: shared.zone.offset_s() };
    shared.collector.collect(matched.aggregators(), tape, moment);
}
