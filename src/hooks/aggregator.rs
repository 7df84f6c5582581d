//! An aggregator as all threads share it, and the windows in which it collects events until a Lua function sums them
//! up. Windows are aligned to the wall clock or to the owner's calendar, which may jump: every event is in exactly one
//! window, even then.
//! Pure: callers pass the time in. `threads/actions/collector.rs` collects into the windows, on `rt-subscriber` and
//! `rt-actions`, and passes the ended ones to the game thread.
//! Bounded by the aggregator's `max_events` for each window, and by the bytes of all windows together ([`Meter`]).
//!
//! ```text
//!          collect                end_due                   take_oldest
//!  event ───────────▶ open window ─────────▶ ended windows ─────────────▶ the server that holds the lease sums it up
//!                     (at most one)           (oldest first)               the others drop it
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::calendar::interval::Interval;
use crate::config::limits::{AGGREGATE_BYTES_MAX, ITEM_OVERHEAD_BYTES};
use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::lease::Lease;
use crate::hooks::spec::AggregatorSpec;

/// One registration of `AddAggregator`.
pub(crate) struct Aggregator {
    /// The id that the script gave, else the fingerprint as text.
    pub(crate) id: Arc<[u8]>,
    /// Equal on every server that added the same aggregator: it names the lease in Redis.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) topic: Arc<Topic>,
    pub(crate) spec: AggregatorSpec,
    /// Every server collects, so that any of them can sum up a window. The lease holder does.
    pub(crate) lease: Arc<Lease>,
    pub(crate) windows: Mutex<Windows>,
}

/// One point in time, by both clocks: windows follow the wall clock, leases the monotonic one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    /// Milliseconds of Unix time.
    pub(crate) unix_ms: u64,
    /// The owner's zone, in seconds to the east of UTC: windows of days follow it.
    pub(crate) offset_s: i32,
}

/// Bytes and events of all windows in the process, from collection until a window is dropped. Keeps the windows below
/// [`AGGREGATE_BYTES_MAX`].
#[derive(Default)]
pub(crate) struct Meter {
    bytes: AtomicUsize,
    events: AtomicUsize,
}

/// The events of one interval. Its drop returns its bytes to the [`Meter`].
pub struct Window {
    /// The number of its interval at its first event ([`Interval::number`]).
    number: i64,
    /// The tapes (`json/tape.rs`) of its events, in order of arrival.
    events: Vec<Box<[u8]>>,
    /// The bytes that it took from the meter.
    bytes: usize,
    /// It is summed up or dropped: its events do not count as waiting any more.
    is_spent: bool,
    meter: Arc<Meter>,
    /// The time at which [`Windows::end_due`] ended it. For an open window, the time of its start.
    ended: Moment,
}

/// The reason why an event was not collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotCollected {
    /// The window has the `max_events` of its aggregator.
    Events,
    /// All windows together have [`AGGREGATE_BYTES_MAX`].
    Bytes,
    /// The aggregator was removed.
    Removed,
}

/// The windows of one aggregator.
pub(crate) struct Windows {
    interval: Interval,
    events_max: usize,
    /// The window that takes events now. `None` until the first event after the last window's end.
    open: Option<Window>,
    /// Ended windows, oldest first. They wait here until Redis has said which server sums them up.
    ended: VecDeque<Window>,
    /// Number of the last window that refused an event: only its first refusal becomes a notice.
    refused_in: Option<i64>,
    /// Set by [`Windows::remove`]: threads may still hold an old snapshot of the routes that names this aggregator.
    is_removed: bool,
}

impl Meter {
    /// Events collected and not yet summed up.
    pub(crate) fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Reserves bytes; false if there is no room. The sum is exceeded for a moment before it is corrected: that refuses
    /// an event of another thread at worst, and never admits one too many.
    fn take(&self, bytes: usize) -> bool {
        let room = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= AGGREGATE_BYTES_MAX;
        if !room {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        room
    }
}

impl Window {
    fn new(number: i64, moment: Moment, meter: &Arc<Meter>) -> Window {
        Window { number, events: Vec::new(), bytes: 0, is_spent: false, meter: Arc::clone(meter), ended: moment }
    }

    /// The tapes from index `at` on. The game thread builds the Lua table in slices, so it reads in parts.
    pub(crate) fn events_from(&self, at: usize) -> &[Box<[u8]>] {
        self.events.get(at..).unwrap_or_default()
    }

    /// Number of its events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True for a window that found no room for its first event.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The time at which it ended. Its lease holder at that time sums it up.
    pub(crate) fn ended(&self) -> Moment {
        self.ended
    }

    /// Appends an event; false if the meter has no room.
    fn push(&mut self, tape: &[u8]) -> bool {
        // The first event also pays for the struct: many windows of one event each would otherwise exceed the bound.
        let own = if self.events.is_empty() { size_of::<Window>() } else { 0 };
        let bytes = own + tape.len() + ITEM_OVERHEAD_BYTES;
        let room = self.meter.take(bytes);
        if room {
            self.meter.events.fetch_add(1, Ordering::Relaxed);
            self.bytes += bytes;
            self.events.push(tape.into());
        }
        room
    }

    /// Its events wait for nothing any more, although another thread is to free their memory.
    fn spend(&mut self) {
        if !std::mem::replace(&mut self.is_spent, true) {
            self.meter.events.fetch_sub(self.events.len(), Ordering::Relaxed);
        }
    }

    /// A job for another thread: it frees the memory of these windows, which may have 100,000 events each.
    pub(crate) fn free_all(mut windows: Vec<Window>) -> impl FnOnce() + Send + 'static {
        windows.iter_mut().for_each(Window::spend);
        move || drop(windows)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.spend();
        self.meter.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Windows {
    /// No window yet. The interval and the bound of events come from the spec.
    pub(crate) fn new(spec: &AggregatorSpec) -> Windows {
        Windows {
            interval: spec.interval,
            events_max: spec.max_events,
            open: None,
            ended: VecDeque::new(),
            refused_in: None,
            is_removed: false,
        }
    }

    /// Adds one event to the window of this moment. Ends the open window first if its time is over, and opens the next.
    pub(crate) fn collect(&mut self, tape: &[u8], moment: Moment, meter: &Arc<Meter>) -> Result<(), NotCollected> {
        if self.is_removed {
            return Err(NotCollected::Removed);
        }
        self.end_due(moment);
        let number = self.number(moment);
        let open = self.open.get_or_insert_with(|| Window::new(number, moment, meter));
        if open.len() >= self.events_max {
            return Err(NotCollected::Events);
        }
        if open.push(tape) { Ok(()) } else { Err(NotCollected::Bytes) }
    }

    /// Records that an event of this moment was refused. True for the first refusal of its window.
    pub(crate) fn is_first_refusal(&mut self, moment: Moment) -> bool {
        let number = self.number(moment);
        self.refused_in.replace(number) != Some(number)
    }

    /// Ends the open window if its time is over.
    ///
    /// The system may set the clock back. By less than one window, the open window stays open and takes the events of
    /// that time too. By more, the window ends: otherwise it would stay open until the clock has caught up. A change of the
    /// zone moves the clock on the wall in the same way.
    pub(crate) fn end_due(&mut self, moment: Moment) {
        let number = self.number(moment);
        let is_over = |open: &Window| number > open.number || number.saturating_add(1) < open.number;
        if let Some(mut window) = self.open.take_if(|open| is_over(open)) {
            window.ended = moment;
            // A window that found no room for its first event is empty: its function would be called for nothing.
            if !window.is_empty() {
                self.ended.push_back(window);
            }
        }
    }

    /// The end of the open window in this zone, in milliseconds of Unix time. `None`: no window is open.
    pub(crate) fn due_ms(&self, offset_s: i32) -> Option<u64> {
        self.open.as_ref().map(|open| self.interval.end_ms(open.number, offset_s))
    }

    fn number(&self, moment: Moment) -> i64 {
        self.interval.number(moment.unix_ms, moment.offset_s)
    }

    /// The oldest ended window.
    pub(crate) fn oldest(&self) -> Option<&Window> {
        self.ended.front()
    }

    /// Removes the oldest ended window and returns it, to be summed up or dropped.
    pub(crate) fn take_oldest(&mut self) -> Option<Window> {
        self.ended.pop_front()
    }

    /// Takes every window out and refuses events from now on, as the aggregator was removed.
    pub(crate) fn remove(&mut self) -> impl Iterator<Item = Window> {
        self.is_removed = true;
        std::mem::take(&mut self.ended).into_iter().chain(self.open.take())
    }
}

#[cfg(test)]
mod tests;
