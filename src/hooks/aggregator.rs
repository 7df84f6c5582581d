//! An aggregator as the threads have it, and the windows in which it collects events until a Lua function sums them up.
//! Windows are aligned to the wall clock, which may jump: no event is in two of them, and none is forgotten.
//! Pure: moments are passed in. Bounded by the aggregator's own count and by the bytes of all ([`Meter`]).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::config::limits::{AGGREGATE_BYTES_MAX, ITEM_OVERHEAD_BYTES};
use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::lease::Lease;
use crate::hooks::spec::AggregatorSpec;

pub(crate) struct Aggregator {
    pub(crate) id: Arc<[u8]>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) topic: Arc<Topic>,
    pub(crate) spec: AggregatorSpec,
    /// Every server collects; the one that holds this sums up.
    pub(crate) lease: Arc<Lease>,
    pub(crate) windows: Mutex<Windows>,
}

/// One point in time, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    /// Milliseconds of Unix time.
    pub(crate) unix_ms: u64,
}

/// What all windows of the process hold together.
#[derive(Default)]
pub(crate) struct Meter {
    bytes: AtomicUsize,
    events: AtomicUsize,
}

/// The events of one stretch of time; what they take is given back with it.
pub struct Window {
    /// `floor(unix time / interval)` of its first event.
    number: u64,
    /// The decoded payloads, in order of arrival.
    events: Vec<Box<[u8]>>,
    bytes: usize,
    meter: Arc<Meter>,
    /// When it was seen to be over; until then, when it began.
    ended: Moment,
}

/// Why an event was not collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The window has as many events as its aggregator allows.
    Events,
    /// All windows together have as many bytes as is allowed.
    Bytes,
    /// The aggregator was removed.
    Removed,
}

/// The windows of one aggregator.
pub(crate) struct Windows {
    interval_ms: u64,
    events_max: usize,
    open: Option<Window>,
    /// Over, oldest first, until it is known which server sums them up.
    ended: VecDeque<Window>,
    /// The number of the last window that refused an event.
    refused_in: Option<u64>,
    is_removed: bool,
}

impl Meter {
    pub(crate) fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let room = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= AGGREGATE_BYTES_MAX;
        if !room {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        room
    }
}

impl Window {
    fn new(number: u64, moment: Moment, meter: &Arc<Meter>) -> Window {
        Window { number, events: Vec::new(), bytes: 0, meter: Arc::clone(meter), ended: moment }
    }

    /// The decoded payloads from this one on.
    pub(crate) fn events_from(&self, at: usize) -> &[Box<[u8]>] {
        self.events.get(at..).unwrap_or_default()
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// When it was seen to be over.
    pub(crate) fn ended(&self) -> Moment {
        self.ended
    }

    fn push(&mut self, tape: &[u8]) -> bool {
        // A window of many events is far larger than itself; one of a single event is not.
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
}

impl Drop for Window {
    fn drop(&mut self) {
        self.meter.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.meter.events.fetch_sub(self.events.len(), Ordering::Relaxed);
    }
}

impl Windows {
    pub(crate) fn new(spec: &AggregatorSpec) -> Windows {
        Windows {
            interval_ms: spec.interval_s.saturating_mul(1000).max(1),
            events_max: spec.max_events,
            open: None,
            ended: VecDeque::new(),
            refused_in: None,
            is_removed: false,
        }
    }

    /// Takes one event into the window of this moment.
    pub(crate) fn collect(&mut self, tape: &[u8], moment: Moment, meter: &Arc<Meter>) -> Result<(), Full> {
        if self.is_removed {
            return Err(Full::Removed);
        }
        self.end_due(moment);
        let number = moment.unix_ms / self.interval_ms;
        let open = self.open.get_or_insert_with(|| Window::new(number, moment, meter));
        if open.len() >= self.events_max {
            return Err(Full::Events);
        }
        match open.push(tape) {
            true => Ok(()),
            false => Err(Full::Bytes),
        }
    }

    /// Notes that an event of this moment was refused. True for the first of its window.
    pub(crate) fn is_first_refusal(&mut self, moment: Moment) -> bool {
        let number = moment.unix_ms / self.interval_ms;
        self.refused_in.replace(number) != Some(number)
    }

    /// Ends the open window if its time is over. A clock that goes back by less than a window does not end it, and what
    /// comes then still belongs to it; one that goes back further does, or it would stay open for that long.
    pub(crate) fn end_due(&mut self, moment: Moment) {
        let number = moment.unix_ms / self.interval_ms;
        let is_over = |open: &Window| number > open.number || number.saturating_add(1) < open.number;
        if let Some(mut window) = self.open.take_if(|open| is_over(open)) {
            window.ended = moment;
            // One that found no room for its first event has nothing to say.
            if !window.is_empty() {
                self.ended.push_back(window);
            }
        }
    }

    /// When the open window is over, in milliseconds of Unix time.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.number.saturating_add(1).saturating_mul(self.interval_ms))
    }

    /// The oldest window that is over.
    pub(crate) fn oldest(&self) -> Option<&Window> {
        self.ended.front()
    }

    pub(crate) fn take_oldest(&mut self) -> Option<Window> {
        self.ended.pop_front()
    }

    /// The aggregator was removed: collects nothing any more. How many events go with it.
    pub(crate) fn remove(&mut self) -> usize {
        self.is_removed = true;
        let gone = self.ended.drain(..).chain(self.open.take());
        gone.map(|window| window.len()).sum()
    }
}

#[cfg(test)]
mod tests;
