//! A hook as the threads have it: what it listens to, what it does, and whether this server is the one to act where
//! only one may. Built on the game thread, immutable but for the lease's clock; Lua functions stay behind.

use std::sync::Arc;

use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::lease::Lease;
use crate::hooks::spec::{Action, Scope, Spec};

pub(crate) struct Hook {
    pub(crate) id: Arc<[u8]>,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) topic: Arc<Topic>,
    pub(crate) spec: Spec,
    /// For what only one server of a fleet may do.
    pub(crate) lease: Arc<Lease>,
}

impl Hook {
    /// Whether any of its actions has this scope.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        has(&self.spec.actions, scope)
    }
}

/// Whether any of the actions has this scope.
pub(crate) fn has(actions: &[Action], scope: Scope) -> bool {
    actions.iter().any(|action| action.scope == scope)
}

/// On whose behalf an event is acted on: for this server, for the whole fleet, for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scopes {
    pub(crate) each: bool,
    pub(crate) fleet: bool,
}

impl Scopes {
    pub(crate) const BOTH: Scopes = Scopes { each: true, fleet: true };

    pub(crate) fn include(self, scope: Scope) -> bool {
        match scope {
            Scope::Each => self.each,
            Scope::Fleet => self.fleet,
        }
    }
}
