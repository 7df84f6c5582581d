//! A hook as all threads share it: its topic, its checked spec and its lease.
//! The game thread builds it. It never changes afterwards, except for the atomic times inside the lease. It holds no
//! Lua function, as those are valid on the game thread only: `engine/hooks.rs` keeps them beside the hook.

use std::sync::Arc;

use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::lease::Lease;
use crate::hooks::spec::{Action, ActionKind, Scope, Spec};
use crate::hooks::status::Status;

/// One registration of `AddHook`.
pub(crate) struct Hook {
    /// The id that the script gave, else the fingerprint as text. Unique for each channel.
    pub(crate) id: Arc<[u8]>,
    /// Equal on every server that added the same hook: it names the lease in Redis and stands in an event's identity.
    pub(crate) fingerprint: Fingerprint,
    pub(crate) topic: Arc<Topic>,
    pub(crate) spec: Spec,
    /// The right to run the actions of [`Scope::Fleet`]. Hooks of one fingerprint share one lease, as they share its
    /// key in Redis.
    pub(crate) lease: Arc<Lease>,
}

impl Hook {
    /// The status message that the hook keeps up to date.
    pub(crate) fn status(&self) -> Option<&Arc<Status>> {
        self.spec.actions.iter().find_map(|action| match &action.kind {
            ActionKind::Status(status) => Some(status),
            _ => None,
        })
    }

    /// True if the hook needs its lease: an action or its status message is one server's to do.
    pub(crate) fn wants_lease(&self) -> bool {
        self.has(Scope::Fleet) || self.status().is_some_and(|status| status.is_fleet)
    }

    /// True if at least one action of the hook has this scope.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        has(&self.spec.actions, scope)
    }
}

/// True if at least one of the actions has this scope.
pub(crate) fn has(actions: &[Action], scope: Scope) -> bool {
    actions.iter().any(|action| action.scope == scope)
}

/// The scopes whose actions run for one event on this server. Actions of the other scope are skipped: another server
/// runs them, or a sender already did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scopes {
    pub(crate) each: bool,
    pub(crate) fleet: bool,
}

impl Scopes {
    /// For an event that this server sent itself, and for the sum of an aggregator whose lease it holds.
    pub(crate) const BOTH: Scopes = Scopes { each: true, fleet: true };

    /// True if actions of this scope run.
    pub(crate) fn include(self, scope: Scope) -> bool {
        match scope {
            Scope::Each => self.each,
            Scope::Fleet => self.fleet,
        }
    }
}
