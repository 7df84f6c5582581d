//! A cache for Emit: the hooks and aggregators that act on each channel on which this server has emitted.
//! Game thread only. Emit looks here at every event, so a hit costs one hash look-up.
//! A changed topic invalidates only the channels that it covers, and each is looked up again at its next Emit. So a
//! script that adds hooks at runtime does not slow every channel down.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::config::limits::NUMBERED_CHANNELS_MAX;
use crate::event::identity::{self, ACTED_SHORT_MAX};
use crate::event::topic::Topic;
use crate::hooks::routes::{Matched, Routes};

/// Changes that are remembered. A channel is compared with those that it has missed, at its next Emit; if it has missed
/// more than are remembered, it is looked up again without a comparison.
const CHANGES_KEPT: usize = 64;

/// The results by channel. Bounded by [`NUMBERED_CHANNELS_MAX`]; further channels are looked up at every Emit.
#[derive(Default)]
pub(crate) struct ByChannel {
    known: HashMap<Box<[u8]>, Known>,
    /// The topics whose hooks or aggregators changed last, newest at the back.
    changes: VecDeque<Arc<Topic>>,
    /// All changes so far.
    count: u64,
}

/// The result for one channel.
struct Known {
    /// `None`: nothing acts on the channel.
    matched: Option<Arc<Matched>>,
    /// The value of [`ByChannel::count`] for which the result holds.
    count: u64,
}

impl ByChannel {
    /// The hooks and aggregators of this channel; `None` if there are none.
    pub(crate) fn get(&mut self, routes: &Routes, channel: &[u8]) -> Option<Arc<Matched>> {
        let ByChannel { known, changes, count } = self;
        let Some(found) = known.get_mut(channel) else {
            let matched = look_up(routes, channel);
            if known.len() < NUMBERED_CHANNELS_MAX {
                warn_of_many(channel, None, matched.as_deref());
                known.insert(channel.into(), Known { matched: matched.clone(), count: *count });
            }
            return matched;
        };
        if found.count != *count {
            let missed = usize::try_from(*count - found.count).unwrap_or(usize::MAX);
            if missed > changes.len() || changes.iter().rev().take(missed).any(|topic| topic.covers(channel)) {
                let matched = look_up(routes, channel);
                warn_of_many(channel, found.matched.as_deref(), matched.as_deref());
                found.matched = matched;
            }
            found.count = *count;
        }
        found.matched.clone()
    }

    /// The hooks or aggregators of this topic changed.
    pub(crate) fn changed(&mut self, topic: &Arc<Topic>) {
        if self.changes.len() >= CHANGES_KEPT {
            self.changes.pop_front();
        }
        self.changes.push_back(Arc::clone(topic));
        self.count += 1;
    }
}

/// Says once for a channel that its events list no hooks any more.
fn warn_of_many(channel: &[u8], before: Option<&Matched>, now: Option<&Matched>) {
    let lists_none = |matched: Option<&Matched>| matched.is_some_and(|matched| *matched.acted == *identity::LISTS_NONE);
    if lists_none(now) && !lists_none(before) {
        log::warn!(
            "more than {ACTED_SHORT_MAX} fleet hooks act on `{}`: hooks that only other servers have do not act on the \
             events of this server there",
            String::from_utf8_lossy(channel)
        );
    }
}

fn look_up(routes: &Routes, channel: &[u8]) -> Option<Arc<Matched>> {
    let matched = routes.matched(channel);
    (!matched.is_empty()).then(|| Arc::new(matched))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::fingerprint::Fingerprint;
    use crate::hooks::hook::Hook;
    use crate::hooks::spec::Spec;

    #[test]
    fn a_change_makes_only_the_channels_it_covers_be_looked_up_again() {
        let (mut routes, mut by_channel) = (Routes::new(""), ByChannel::default());
        let spec = json!({ "type": "counter", "key": "k" });
        let add = |routes: &mut Routes, by_channel: &mut ByChannel, channel: &str| {
            let topic = Arc::new(Topic::new(channel.as_bytes()));
            let (fingerprint, lease) = (Fingerprint::of(channel.as_bytes(), &spec), Arc::default());
            let (id, spec) = (channel.as_bytes().into(), Spec::parse(&spec).unwrap());
            routes
                .replace_hook(None, Some(&Arc::new(Hook { id, fingerprint, topic: Arc::clone(&topic), spec, lease })));
            by_channel.changed(&topic);
        };
        let count = |matched: &Option<Arc<Matched>>| matched.as_ref().map_or(0, |matched| matched.hooks().count());
        add(&mut routes, &mut by_channel, "a");
        let (a, b) = (by_channel.get(&routes, b"a"), by_channel.get(&routes, b"b"));
        assert_eq!((count(&a), count(&b)), (1, 0));
        add(&mut routes, &mut by_channel, "c*");
        let again = by_channel.get(&routes, b"a");
        assert!(Arc::ptr_eq(a.as_ref().unwrap(), again.as_ref().unwrap()), "it was not looked up again");
        add(&mut routes, &mut by_channel, "*");
        assert_eq!((count(&by_channel.get(&routes, b"a")), count(&by_channel.get(&routes, b"b"))), (2, 1));
        // More changes than are remembered.
        add(&mut routes, &mut by_channel, "b");
        (0..CHANGES_KEPT).for_each(|number| add(&mut routes, &mut by_channel, &format!("other {number}")));
        assert_eq!(count(&by_channel.get(&routes, b"b")), 2);
    }
}
