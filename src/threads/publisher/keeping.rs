//! Whether and how Redis keeps the events of a channel. A plain value; `rt-publisher` owns it as a field of its backlog.
//! It looks every channel up once and remembers the result until the rules change. While nothing is kept, an event costs
//! one look at an atomic number.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::limits::NUMBERED_CHANNELS_MAX;
use crate::event::keyed::Keyed;
use crate::redis::kept::{self, Target};
use crate::threads::publisher::keeps::{Keeps, Rules, rule_for};
use crate::threads::publisher::scripts::Scripts;

/// The operation of XADD as the game hook `RealtimeError` names it.
pub(super) const KEEP: &str = "keep";

/// The bytes of a channel's prefix, and how its events are kept; `None`: they are not.
type Known = (usize, Option<Arc<Target>>);

#[derive(Default)]
pub(super) struct Keeping {
    version: u64,
    rules: Rules,
    /// By channel on the wire. Bounded by [`NUMBERED_CHANNELS_MAX`]: then it begins anew.
    known: HashMap<Box<[u8]>, Known, Keyed>,
    /// The script of `redis/kept.rs` on this connection.
    pub(super) scripts: Scripts,
    /// Redis said on this connection that it has no streams.
    pub(super) has_no_streams: bool,
}

impl Keeping {
    /// A new connection: Redis may have restarted as another version.
    pub(super) fn connected(&mut self) {
        self.scripts.connected();
        self.has_no_streams = false;
    }

    /// The settings lead to another Redis or to other names in it.
    pub(super) fn forget(&mut self) {
        self.scripts.forget();
        self.known.clear();
    }

    /// How the events of this channel on the wire, whose prefix has so many bytes, are kept; `None`: they are not.
    pub(super) fn target(&mut self, keeps: &Keeps, prefix_bytes: usize, wire: &[u8]) -> Option<Arc<Target>> {
        if let Some((rules, version)) = keeps.newer(self.version) {
            (self.rules, self.version) = (rules, version);
            self.known.clear();
        }
        if self.rules.is_empty() {
            return None;
        }
        if let Some((_, known)) = self.known.get(wire).filter(|(bytes, _)| *bytes == prefix_bytes) {
            return known.clone();
        }
        let (prefix, channel) = wire.split_at_checked(prefix_bytes)?;
        let target = rule_for(&self.rules, channel).map(|rule| {
            Arc::new(Target {
                key: kept::key(prefix, channel).concat().into(),
                prefix_bytes,
                max_events: rule.max_events.to_string().into(),
                max_age_ms: rule.max_age_ms.to_string().into(),
            })
        });
        if self.known.len() >= NUMBERED_CHANNELS_MAX {
            self.known.clear();
        }
        self.known.insert(wire.into(), (prefix_bytes, target.clone()));
        target
    }
}
