//! [`Current`], an event whose turn has come, and [`Of`], the parts of the engine that its functions are looked up in.
//! Values that the pump and the events aside (`aside.rs`) share. Game thread only.

use crate::engine::listeners::Listeners;
use crate::engine::registrations::Registrations;
use crate::event::Event;
use crate::json::build::Build;
use crate::threads::shared::Shared;
use crate::threads::subscriber::inbox::Purpose;

/// The parts of the engine that the pump takes Calls from and looks functions up in.
pub(crate) struct Of<'a> {
    pub(super) shared: &'a Shared,
    pub(super) listeners: &'a Listeners,
    pub(super) hooks: &'a Registrations,
    pub(super) aggregators: &'a Registrations,
}

/// An event that some of its listeners have got, or that waits for its first function.
pub(super) struct Current {
    pub(super) event: Event,
    pub(super) purpose: Purpose,
    /// Serial of the listener called last; 0 if none was called.
    pub(super) after: u64,
    /// Serial of the newest registration when the event's turn came. `None` if its turn comes again: then there are
    /// other registrations.
    pub(super) until: Option<u64>,
    /// Progress of the Lua value for the next listener.
    pub(super) build: Option<Box<Build>>,
    /// The value took too long to build: the event carries text.
    pub(super) is_text: bool,
}
