//! A hook as the threads have it: what it listens to, what it does, and whether this server is the one to act where
//! only one may. Built on the game thread, immutable but for the lease's clock; Lua functions stay behind.

use std::sync::Arc;

use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::lease::Lease;
use crate::hooks::spec::{Action, Scope, Spec};

pub struct Hook {
    pub id: Arc<[u8]>,
    pub fingerprint: Fingerprint,
    pub topic: Arc<Topic>,
    pub spec: Spec,
    /// For what only one server of a fleet may do.
    pub lease: Arc<Lease>,
}

impl Hook {
    /// Whether any of its actions has this scope.
    pub fn has(&self, scope: Scope) -> bool {
        has(&self.spec.actions, scope)
    }
}

/// Whether any of the actions has this scope.
pub fn has(actions: &[Action], scope: Scope) -> bool {
    actions.iter().any(|action| action.scope == scope)
}

/// On whose behalf an event is acted on: for this server, for the whole fleet, for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    pub each: bool,
    pub fleet: bool,
}

impl Scopes {
    pub const BOTH: Scopes = Scopes { each: true, fleet: true };

    pub fn include(self, scope: Scope) -> bool {
        match scope {
            Scope::Each => self.each,
            Scope::Fleet => self.fleet,
        }
    }
}
