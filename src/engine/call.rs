//! What the engine asks of Lua, and what comes of it: the whole interface between the two. Plain values, made by the
//! pump, run by the Lua edge, and given back with [`crate::engine::Engine::complete`].

use std::sync::Arc;

use crate::engine::pending::Answered;
use crate::engine::registry::CallbackRef;
use crate::event::Event;
use crate::event::notice::Notice;
use crate::hooks::aggregator::Aggregator;
use crate::json::build::Build;
use crate::threads::actions::collector::Due;
use crate::threads::subscriber::inbox::Undecided;

/// Events put into an aggregator's array in one Call: some tens of microseconds of a tick.
const GATHER_EVENTS_MAX: usize = 32;
/// Bytes of events put into an aggregator's array in one Call.
const GATHER_BYTES_MAX: usize = 16 * 1024;

/// What the engine wants Lua to run. The edge gives it back with [`crate::engine::Engine::complete`].
pub enum Call {
    Deliver(Deliver),
    /// A game hook is to be run.
    Notice(Notice),
    /// A callback gets its answer. The edge releases it afterwards.
    Answer(Answered),
    /// A hook's function is asked whether the hook acts.
    Condition(Condition),
    /// Events of a window go into its array.
    Gather(Gather),
    /// An aggregator's function sums a window up.
    Aggregate(Aggregate),
}

/// An event for the function of a hook.
pub struct Condition {
    pub event: Event,
    /// The hook, and what else it needs to act.
    pub(crate) undecided: Box<Undecided>,
    pub(crate) callback: CallbackRef,
    /// How far its value has come into Lua, if it was begun in a tick before.
    pub(crate) build: Option<Box<Build>>,
    /// The function gets text, as a value took too long to make. The event's own payload is for the actions.
    pub(super) is_text: bool,
}

/// An event for one listener.
pub struct Deliver {
    pub event: Event,
    pub callback: CallbackRef,
    pub(crate) wants_meta: bool,
    /// The listener's id, for the report of an error.
    pub(crate) id: Arc<[u8]>,
    /// How far its value has come into Lua, if it was begun in a tick before.
    pub(crate) build: Option<Box<Build>>,
    /// The listener called before, by serial.
    pub(super) after: u64,
    pub(super) serial: u64,
    pub(super) until: u64,
    pub(super) is_last: bool,
}

/// What came of a Call.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The callback raised an error, which was reported.
    Failed,
    /// A condition holds, or not.
    Holds(bool),
    /// The array that the events stand in now.
    Gathered(CallbackRef),
    /// What a window was summed up to, as JSON. [`Outcome::Done`]: nothing.
    Sum(Vec<u8>),
    /// Time was out before the values for the function were made: the Call, which remembers how far they have come, is
    /// to be made again.
    Parked,
    /// Making them took too long in all. The Call is to be made again with this text (the payload, or an answer's
    /// reason) in their place.
    Slow(Vec<u8>),
}

/// The next events of a window are to be put into its array.
pub struct Gather {
    pub(super) due: Due,
    /// The array; `None`: there is none yet.
    pub array: Option<CallbackRef>,
    /// How many events it has.
    pub(crate) filled: usize,
    /// How many come now.
    pub(super) count: usize,
    /// How many of those stand in the array, and how far the next one has come into Lua.
    pub(crate) made: usize,
    pub(crate) build: Option<Box<Build>>,
    /// Those of the last Call are not all in the array: they are to come again.
    pub(super) is_parked: bool,
    /// The values of this window took too long: the rest is put in as text.
    pub(crate) is_slow: bool,
}

/// A window's array is to be summed up. The edge releases the array afterwards.
pub struct Aggregate {
    pub due: Due,
    pub(crate) array: CallbackRef,
    pub function: CallbackRef,
}

impl Gather {
    pub(super) fn new(due: Due) -> Gather {
        Gather { due, array: None, filled: 0, count: 0, made: 0, build: None, is_parked: false, is_slow: false }
    }

    /// The decoded payloads that come now.
    pub fn events(&self) -> &[Box<[u8]>] {
        let rest = self.due.window.events_from(self.filled);
        rest.get(..self.count).unwrap_or(rest)
    }

    pub(crate) fn aggregator(&self) -> &Aggregator {
        &self.due.aggregator
    }

    /// How many events the window has.
    pub(crate) fn len(&self) -> usize {
        self.due.window.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.window.is_empty()
    }

    /// Some events, or one that is large alone.
    pub(super) fn choose(&mut self) {
        let mut bytes = 0;
        let some = self.due.window.events_from(self.filled).iter().take(GATHER_EVENTS_MAX);
        let count = some.take_while(|event| {
            bytes += event.len();
            bytes <= GATHER_BYTES_MAX
        });
        self.count = count.count().max(1);
    }
}
