//! [`Actions`], the handle of `rt-actions`: `Emit` queues an event of this server once, however many hooks want it.
//! Looking at the event and making the jobs happens on the thread, so that no hook costs the game a frame.
//! `Emit` reserves the event's place before the event leaves for Redis. The event's identity lists the hooks that this
//! server acts for, and other servers then do not act; so an event that was sent must never be dropped here.
//! The pump queues the events that condition functions agreed to, and the sums of windows: their actions, too, are made
//! on the thread.
//! Nothing here blocks; a full queue refuses the newest event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::RecvTimeoutError;

use crate::event::EventText;
use crate::hooks::aggregator::Aggregator;
use crate::hooks::routes::Matched;
use crate::io::channel::{self, Receiver, Sender};
use crate::stats::Stats;
use crate::threads::subscriber::inbox::Undecided;

/// Events of this server that may wait for `rt-actions`. The thread waits for nothing but this queue, so more of them
/// mean that it cannot keep up.
const ACTIONS_WAITING_MAX: usize = 8192;
/// Memory that events waiting for `rt-actions` may take, in bytes. Large events reach this bound before the count.
const ACTIONS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One request to `rt-actions`, served strictly in order.
pub(super) enum Job {
    /// An event that this server has sent, and the hooks and aggregators that want it.
    Own(Arc<EventText>, Arc<Matched>),
    /// An event that a hook's condition function agreed to.
    Agreed(Box<Undecided>),
    /// The sum of a window, for the actions of its aggregator.
    Sum(Arc<EventText>, Arc<Aggregator>),
    /// A function to be run once all earlier events were handed on: a read of an event log that must see their records.
    Then(Box<dyn FnOnce() + Send>),
    /// Reports that all earlier events were handed on; dropping the sender is the answer.
    Mark(Sender<()>),
    /// Makes the thread look at [`crate::threads::shared::Shared::is_stopping`].
    Wake,
}

/// The handle that every thread shares.
///
/// ```text
///  reserve() ──▶ Reservation ──fill()──▶ queued ──begin()──▶ handled (`busy`) ──done()──▶ delivered
///                   │ dropped unused                              │ panic
///                   └──▶ free again                               └──▶ counted by settle_lost()
///  └──────── counted in events, bytes ────────────────┘
/// ```
pub struct Actions {
    tx: Sender<Job>,
    rx: Receiver<Job>,
    /// Events that are queued or have a reservation, and their bytes.
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// The thread has taken an event and not handed it on yet. It survives a panic, which has lost that event.
    busy: AtomicBool,
    stats: Arc<Stats>,
}

impl Actions {
    pub(crate) fn new(stats: Arc<Stats>) -> Actions {
        // Bounded all the same: events by the counts below, functions by the check in `after`, and each thread has at most
        // one mark and one wake-up in the queue.
        let (tx, rx) = channel::unbounded();
        let zero = AtomicUsize::default;
        Actions { tx, rx, events: zero(), bytes: zero(), busy: AtomicBool::new(false), stats }
    }

    /// Reserves a place for an event of this weight ([`EventText::weight_of`], bytes). Refuses and counts the event when
    /// too many wait. An event with a reservation is certain to be accepted.
    pub(crate) fn reserve(&self, weight: usize) -> Result<Reservation<'_>, ActionsFull> {
        let waiting = self.events.fetch_add(1, Ordering::AcqRel);
        let reservation = Reservation { actions: self, weight };
        let bytes = self.bytes.fetch_add(weight, Ordering::AcqRel) + weight;
        if waiting < ACTIONS_WAITING_MAX && bytes <= ACTIONS_BYTES_MAX {
            return Ok(reservation);
        }
        drop(reservation);
        self.stats.actions.offered.add(1);
        self.stats.actions.dropped.queue_full.add(1);
        Err(ActionsFull { waiting })
    }

    /// Queues an event that a hook's condition function agreed to, for the hook's actions.
    pub(crate) fn agreed(&self, undecided: Box<Undecided>) -> Result<(), ActionsFull> {
        self.reserve(undecided.text.weight())?.queue(Job::Agreed(undecided));
        Ok(())
    }

    /// Queues the JSON text that an aggregator's function returned for a window, for the aggregator's actions.
    pub(crate) fn sum(&self, aggregator: &Arc<Aggregator>, payload: &[u8], unix_ms: u64) -> Result<(), ActionsFull> {
        let channel = aggregator.topic.name();
        let place = self.reserve(EventText::weight_of(channel, payload))?;
        let text = Arc::new(EventText::new(channel, &[payload], unix_ms));
        place.queue(Job::Sum(text, Arc::clone(aggregator)));
        Ok(())
    }

    /// Events whose hooks have not acted yet.
    pub(crate) fn waiting(&self) -> usize {
        self.rx.len() + usize::from(self.busy.load(Ordering::Acquire))
    }

    /// Waits until all earlier events were handed on, at most until the deadline. True if they were.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        let (tx, rx) = channel::bounded(0);
        // The thread drops the mark with its sender; the disconnection is the answer.
        self.tx.send(Job::Mark(tx)) && rx.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected)
    }

    /// Runs `job` on `rt-actions` once all earlier events were handed on. Never waits. False, and `job` is dropped unrun,
    /// when too many jobs wait.
    pub fn after(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.rx.len() < ACTIONS_WAITING_MAX && self.tx.send(Job::Then(Box::new(job)))
    }

    /// Makes the thread look whether it is to stop.
    pub(crate) fn wake(&self) {
        // Never full: the queue is unbounded, and this handle holds both ends.
        let _ = self.tx.send(Job::Wake);
    }

    fn give_back(&self, weight: usize) {
        self.bytes.fetch_sub(weight, Ordering::AcqRel);
        self.events.fetch_sub(1, Ordering::AcqRel);
    }

    // ---- the thread's side ----------------------------------------------------------------------------------

    /// The oldest job; waits for one until the deadline.
    pub(super) fn next(&self, deadline: Instant) -> Option<Job> {
        self.rx.recv_deadline(deadline).ok()
    }

    /// The thread has taken an event of this weight; its place is free for another one.
    pub(super) fn begin(&self, weight: usize) {
        self.busy.store(true, Ordering::Release);
        self.give_back(weight);
    }

    /// The hooks of that event have acted.
    pub(super) fn done(&self) {
        self.stats.actions.delivered.add(1);
        self.busy.store(false, Ordering::Release);
    }

    /// Counts the event as lost that the thread was handling when it panicked. Called when the thread begins anew.
    pub(super) fn settle_lost(&self) {
        if self.busy.swap(false, Ordering::AcqRel) {
            self.stats.actions.dropped.panic.add(1);
        }
    }
}

/// Too many events wait for their hooks: `waiting` of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ActionsFull {
    pub(crate) waiting: usize,
}

/// A place for one event in the queue. Dropped unused, the place is free again.
pub(crate) struct Reservation<'a> {
    actions: &'a Actions,
    weight: usize,
}

impl Reservation<'_> {
    /// Queues the event, which was sent to Redis, for all hooks and aggregators that want it.
    pub(crate) fn fill(self, text: Arc<EventText>, matched: Arc<Matched>) {
        self.queue(Job::Own(text, matched));
    }

    fn queue(self, job: Job) {
        let Actions { tx, stats, .. } = self.actions;
        stats.actions.offered.add(1);
        // Never refused: the queue has no bound of its own, and the handle holds its other end.
        if tx.send(job) {
            // `Actions::begin` gives the place back, so this reservation must not.
            std::mem::forget(self);
        } else {
            stats.actions.dropped.queue_full.add(1);
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.actions.give_back(self.weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions() -> (Actions, Arc<Stats>) {
        let stats = Arc::new(Stats::default());
        (Actions::new(Arc::clone(&stats)), stats)
    }

    #[test]
    fn a_full_queue_refuses_the_event_and_a_reservation_is_always_accepted() {
        let (actions, stats) = actions();
        let text = Arc::new(EventText::new(b"a", &[b"{}"], 0));
        for _ in 0..ACTIONS_WAITING_MAX {
            actions.reserve(text.weight()).unwrap().fill(Arc::clone(&text), Arc::default());
        }
        assert_eq!(actions.reserve(text.weight()).err(), Some(ActionsFull { waiting: ACTIONS_WAITING_MAX }));
        let counts = |stats: &Stats| (stats.actions.offered.get(), stats.actions.dropped.queue_full.get());
        let all = ACTIONS_WAITING_MAX as u64;
        assert_eq!((counts(&stats), actions.waiting()), ((all + 1, 1), ACTIONS_WAITING_MAX));
        // An event is handed on: its place is free, and stays free if the next reservation is not used.
        actions.rx.try_recv().unwrap();
        actions.give_back(text.weight());
        drop(actions.reserve(text.weight()).unwrap());
        assert_eq!(counts(&stats), (all + 1, 1));
        let reservation = actions.reserve(text.weight()).unwrap();
        assert!(actions.reserve(text.weight()).is_err());
        reservation.fill(Arc::clone(&text), Arc::default());
        assert_eq!(actions.waiting(), ACTIONS_WAITING_MAX);
    }

    #[test]
    fn the_bytes_of_reservations_are_bounded() {
        let (actions, _) = actions();
        let half = ACTIONS_BYTES_MAX / 2;
        let reservations = [actions.reserve(half).unwrap(), actions.reserve(half).unwrap()];
        assert_eq!(actions.reserve(1).err(), Some(ActionsFull { waiting: 2 }));
        drop(reservations);
        assert!(actions.reserve(ACTIONS_BYTES_MAX).is_ok());
        assert_eq!((actions.events.load(Ordering::Relaxed), actions.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}
