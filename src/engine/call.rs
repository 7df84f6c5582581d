//! The interface between the engine and the Lua edge: the pump makes a [`Call`], the edge runs it, and
//! [`crate::engine::Engine::complete`] takes the call back with its [`Outcome`].
//! Game thread only. All types are plain values; a [`CallbackRef`] stands for a Lua value, and its holder must hand
//! it back exactly once, for the edge to release.
//!
//! ```text
//!  next_call ──▶ Call ──▶ Lua edge runs it ──▶ Outcome ──▶ complete
//!                 ▲                               │
//!                 └── Parked: continue later ─────┤   the values are half made; the next tick goes on
//!                 └── Slow: again, with text ─────┘   the values take too long; the function gets text
//! ```

use std::sync::Arc;

use crate::event::Event;
use crate::event::notice::Notice;
use crate::hooks::aggregator::Aggregator;
use crate::json::build::Build;
use crate::redis::answer;
use crate::threads::actions::collector::Due;
use crate::threads::subscriber::inbox::Undecided;

/// Events put into an aggregator's array in one Call: some tens of microseconds of a tick.
const GATHER_EVENTS_MAX: usize = 32;
/// Bytes of events put into an aggregator's array in one Call. Large events take longer each, so the count alone does
/// not bound the time.
const GATHER_BYTES_MAX: usize = 16 * 1024;

/// A reference to a Lua function or table, as the Lua edge numbers it (`luaL_ref`). Worth nothing in another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackRef(pub i32);

/// One piece of work for Lua.
pub enum Call {
    /// A listener's function gets an event.
    Deliver(Deliver),
    /// A game hook is run.
    Notice(Notice),
    /// A callback gets the answer of its command. The edge releases the callback afterwards.
    Answer(Answered),
    /// A hook's function decides whether the hook acts on an event.
    Condition(Condition),
    /// Some events of a window are put into its array.
    Gather(Gather),
    /// An aggregator's function sums a window up.
    Aggregate(Aggregate),
}

/// An event for the function of a conditional hook.
pub struct Condition {
    pub event: Event,
    /// The hook that waits for the decision, and everything it needs to act.
    pub(crate) undecided: Box<Undecided>,
    pub(crate) callback: CallbackRef,
    /// Progress of the event's Lua value, if an earlier tick began to build it.
    pub(crate) build: Option<Box<Build>>,
}

/// An event for one listener.
pub struct Deliver {
    pub event: Event,
    pub callback: CallbackRef,
    /// The function takes a third argument, the event's meta table. Without this the table is never built.
    pub(crate) wants_meta: bool,
    /// The listener's id, for the report of an error.
    pub(crate) id: Arc<[u8]>,
    /// Progress of the event's Lua value, if an earlier tick began to build it.
    pub(crate) build: Option<Box<Build>>,
    /// Serial of the listener that was called before this one; 0 for the first.
    pub(super) after: u64,
    /// Serial of this listener.
    pub(super) serial: u64,
    /// Serial of the newest registration when the event's turn came: later listeners do not get this event.
    pub(super) until: u64,
    /// No listener follows, so the event is done with this Call.
    pub(super) is_last: bool,
    /// The listener reads streams, and this is its event.
    pub(super) follow: Option<Follow>,
}

/// An event for a listener that reads the stream of its channel (`engine/followers.rs`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Follow {
    /// The number of the follower.
    pub(super) number: u64,
    /// It has waited for the follower's turn: it comes from the stream, or was held back.
    pub(super) is_own: bool,
    /// It comes from the stream.
    pub(super) is_missed: bool,
}

impl Deliver {
    /// Whether the listener gets the event late, from the stream of its channel.
    pub fn is_missed(&self) -> bool {
        self.follow.is_some_and(|follow| follow.is_missed)
    }

    /// Whether the event waited for the turn of a listener with `missed`. Another event can be half made meanwhile.
    pub(crate) fn is_own(&self) -> bool {
        self.follow.is_some_and(|follow| follow.is_own)
    }
}

/// The answer of a command on its way to its callback, which is called this once.
pub struct Answered {
    pub callback: CallbackRef,
    /// The command's name in the API, for the report of an error.
    pub(crate) operation: &'static str,
    /// The key that the command was about, for the report of an error.
    pub(crate) target: Box<[u8]>,
    pub outcome: answer::AnswerResult,
    /// Progress of the answer's Lua values, if an earlier tick began to build them.
    pub(crate) build: Option<Box<Build>>,
}

/// The result of a Call, as the Lua edge reports it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function returned.
    Done,
    /// The callback raised an error, which the edge has reported already.
    Failed,
    /// The decision of a condition.
    Holds(bool),
    /// The array that holds the gathered events now.
    Gathered(CallbackRef),
    /// The sum of a window, as JSON. A window whose function returns nothing ends with [`Outcome::Done`].
    Sum(Vec<u8>),
    /// The tick's time ended before the function's values were built. The Call holds the progress and must be made
    /// again.
    Parked,
    /// Building the values took too long in total. The Call must be made again with this text instead: the payload, or
    /// the reason that an answer gives.
    Slow(Vec<u8>),
}

/// The next events of a window, for its array.
pub struct Gather {
    pub(super) due: Due,
    /// The array; `None` before the first events.
    pub array: Option<CallbackRef>,
    /// Events in the array.
    pub(crate) filled: usize,
    /// Events that this Call adds.
    pub(super) count: usize,
    /// How many of those this Call has added so far, and the progress of the one after them.
    pub(crate) made: usize,
    pub(crate) build: Option<Box<Build>>,
    /// The Call was parked: it continues with the same events.
    pub(super) is_parked: bool,
    /// The values of this window took too long, so its other events are added as text.
    pub(crate) is_slow: bool,
}

/// A full array for an aggregator's function. The edge releases the array afterwards.
pub struct Aggregate {
    pub due: Due,
    pub(crate) array: CallbackRef,
    pub function: CallbackRef,
}

impl Gather {
    /// Nothing of the window is in Lua yet.
    pub(super) fn new(due: Due) -> Gather {
        Gather { due, array: None, filled: 0, count: 0, made: 0, build: None, is_parked: false, is_slow: false }
    }

    /// The decoded payloads that this Call adds.
    pub fn events(&self) -> &[Box<[u8]>] {
        let rest = self.due.window.events_from(self.filled);
        rest.get(..self.count).unwrap_or(rest)
    }

    /// The aggregator that collected the window.
    pub(crate) fn aggregator(&self) -> &Aggregator {
        &self.due.aggregator
    }

    /// Events of the whole window.
    pub(crate) fn len(&self) -> usize {
        self.due.window.len()
    }

    /// Chooses the events of the next Call: as many as the limits allow, and at least one, however large.
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
