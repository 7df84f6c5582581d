//! On, Off, AddHook, AddAggregator and their like: the registrations of scripts, and how the routes follow them. Game
//! thread only. Every change goes three steps: into its registry, from there into the routes ([`Engine::follow`]), and
//! as a snapshot to the other threads ([`Engine::publish_changes`]) at the next Emit or tick. The last step waits so
//! that a script which registers a thousand listeners costs one snapshot.

use std::sync::Arc;

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::engine::call::CallbackRef;
use crate::engine::followers::FOLLOWERS_MAX;
use crate::engine::hooks::webhooks;
use crate::engine::matched::ByChannel;
use crate::engine::registrations::{Added, Origin, Registered, Registrations, Removed};
use crate::engine::{Engine, Refusal, fits};
use crate::event::fingerprint::Fingerprint;
use crate::event::topic::Topic;
use crate::hooks::error::SpecError;
use crate::hooks::request::Webhook;
use crate::hooks::routes::Routes;
use crate::hooks::status::STATUSES_MAX;

/// Selects the hooks or the aggregators of an engine.
pub(crate) type Select = fn(&mut Engine) -> &mut Registrations;

impl Engine {
    /// [`Engine::admit`] for a registration under these names.
    fn admit_names(&self, channel: &[u8], id: Option<&[u8]>) -> Result<(), Refusal> {
        self.admit()?;
        fits("channel", channel, NAME_BYTES_MAX)?;
        fits("id", id.unwrap_or_default(), NAME_BYTES_MAX)
    }

    /// Registers a listener; without an id it gets one of its own. Returns the id, and the callback that the same id
    /// had before, which is to be released.
    pub fn on(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        callback: CallbackRef,
        wants_meta: bool,
    ) -> Result<(Arc<[u8]>, Option<CallbackRef>), Refusal> {
        self.admit_names(channel, id)?;
        let registered = self.listeners.add(channel, id, callback, wants_meta);
        self.pump.followers.touch_channel(channel);
        self.follow();
        Ok(registered)
    }

    /// As [`Engine::on`], for a listener that gets from the stream of the channel what it missed. Its id names its place
    /// there.
    pub fn on_missed(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        callback: CallbackRef,
        wants_meta: bool,
    ) -> Result<(Arc<[u8]>, Option<CallbackRef>), Refusal> {
        self.admit_names(channel, id)?;
        let name = String::from_utf8_lossy(channel);
        let Some(id) = id else {
            let found =
                format!("`missed` needs an id, under which redis keeps the place: On(\"{name}\", \"my id\", ...)");
            return Err(Refusal::Config(found));
        };
        if Topic::new(channel).is_pattern() {
            let found = format!("`{name}` is a pattern; `missed` is for one channel: call On for each");
            return Err(Refusal::Config(found));
        }
        let Some(follower) = self.pump.followers.add(channel, id, self.generation, &self.shared) else {
            return Err(Refusal::Config(format!("there are {FOLLOWERS_MAX} listeners with `missed` already")));
        };
        let registered = self.listeners.add(channel, Some(id), callback, wants_meta);
        self.listeners.set_follower(channel, id, follower);
        self.pump.followers.touch_channel(channel);
        self.follow();
        Ok(registered)
    }

    /// Removes the listener of this id, or all listeners of the channel. Returns their callbacks, to be released.
    pub fn off(&mut self, channel: &[u8], id: Option<&[u8]>) -> Vec<CallbackRef> {
        let removed = self.listeners.remove(channel, id);
        self.pump.followers.touch_channel(channel);
        self.follow();
        removed
    }

    /// Adds a hook. `condition` is the function of a conditional hook. Returns as [`Engine::register`].
    pub fn add_hook(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        condition: Option<CallbackRef>,
    ) -> Result<(Arc<[u8]>, Vec<CallbackRef>), Refusal> {
        self.register("AddHook", Engine::all_hooks, channel, id, spec, condition)
    }

    /// Adds an aggregator; `function` sums its windows up. Returns as [`Engine::register`].
    pub fn add_aggregator(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        function: Option<CallbackRef>,
    ) -> Result<(Arc<[u8]>, Vec<CallbackRef>), Refusal> {
        self.register("AddAggregator", Engine::all_aggregators, channel, id, spec, function)
    }

    /// Removes every hook of this id. Returns as [`Engine::unregister`].
    pub fn remove_hook(&mut self, id: &[u8]) -> Option<Vec<CallbackRef>> {
        self.unregister(Engine::all_hooks, None, id)
    }

    /// Removes every aggregator of this id. Returns as [`Engine::unregister`].
    pub fn remove_aggregator(&mut self, id: &[u8]) -> Option<Vec<CallbackRef>> {
        self.unregister(Engine::all_aggregators, None, id)
    }

    pub(crate) fn all_hooks(&mut self) -> &mut Registrations {
        &mut self.hooks
    }

    pub(crate) fn all_aggregators(&mut self) -> &mut Registrations {
        &mut self.aggregators
    }

    /// Adds a hook or an aggregator, for the API function `name`. Returns its id, and the Lua values of the one that
    /// had the same id on the channel before, which are to be released.
    pub(crate) fn register(
        &mut self,
        name: &str,
        select: Select,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        function: Option<CallbackRef>,
    ) -> Result<(Arc<[u8]>, Vec<CallbackRef>), Refusal> {
        let origin = std::mem::take(&mut self.origin);
        self.admit_names(channel, id)?;
        let wrong = |err: SpecError| Refusal::Config(err.to_string());
        // Before the file counts as loaded again: a wrong spec changes nothing.
        let build = select(self).parse(spec, function.is_some()).map_err(wrong)?;
        let origin = self.loaded(origin);
        // After that: the hooks that the file added before take no room from those that replace them.
        self.follow();
        self.admit_status(channel, id, spec)?;
        let added = select(self).add_spec(channel, id, spec, build, function, &origin);
        self.follow();
        let Added { item, function, replaced, displaced, moved } = added.map_err(wrong)?;
        if item.aggregator().is_some() {
            // An aggregator that was added again unchanged is no change of the routes, but it has a function now.
            self.shared.collector.ask_again();
        }
        self.note_loaded_again(&origin, moved);
        // A destination that refused for good gets another chance when a script asks for it again.
        webhooks(item.header().actions).for_each(|webhook| self.shared.webhooks.reopen(webhook));
        let (shown, file) = (String::from_utf8_lossy(channel), &origin.file);
        if displaced {
            log::warn!(
                "{name} on `{shown}` in `{file}` replaces the function it added before; give each an id to keep both"
            );
        }
        // Not again for a hook that a new map or an edited file adds unchanged.
        let is_known = |before: &Registered| before.header().fingerprint == item.header().fingerprint;
        let advice = webhooks(item.header().actions).find_map(Webhook::advice);
        if let Some(advice) = advice.filter(|_| !replaced.as_ref().is_some_and(is_known)) {
            log::warn!("{name} on `{shown}` in `{file}`: {advice}");
        }
        let before = replaced.map(|replaced| (replaced, None));
        let mut released = self.forget_all(before.into_iter().collect(), false);
        released.extend(function);
        Ok((Arc::clone(item.header().id), released))
    }

    /// Refuses a hook with one more status message than [`STATUSES_MAX`]. One that is added again is no more.
    fn admit_status(&self, channel: &[u8], id: Option<&[u8]>, spec: &Value) -> Result<(), Refusal> {
        let is_status = spec.get("type").and_then(Value::as_str) == Some("discord_status");
        if !is_status || self.routes.statuses().count() < STATUSES_MAX {
            return Ok(());
        }
        let own = Fingerprint::of(channel, spec).to_string();
        let id = id.unwrap_or(own.as_bytes());
        if self.routes.statuses().any(|hook| hook.topic.name() == channel && *hook.id == *id) {
            return Ok(());
        }
        Err(Refusal::Config(format!("there are {STATUSES_MAX} hooks of type discord_status already")))
    }

    /// Removes every hook or aggregator of this id, on one channel alone if one is given, an aggregator with the events
    /// it collected. Returns their Lua values, to be released; `None` if there was none.
    pub(crate) fn unregister(&mut self, select: Select, channel: Option<&[u8]>, id: &[u8]) -> Option<Vec<CallbackRef>> {
        let removed = select(self).remove(channel, id);
        self.follow();
        (!removed.is_empty()).then(|| self.forget_all(removed, false))
    }

    /// Drops the collected events of removed aggregators. Returns the Lua values of what was removed, to be released:
    /// functions, and the array that was being filled. `forgotten`: a script did not add the aggregators again, as
    /// opposed to removing them; the two are counted apart.
    fn forget_all(&mut self, removed: Vec<Removed>, forgotten: bool) -> Vec<CallbackRef> {
        let mut aggregators = removed.iter().filter_map(|(item, _)| item.aggregator());
        self.shared.collector.remove(&mut aggregators, forgotten);
        let mut released = Vec::new();
        for (item, function) in removed {
            released.extend(function);
            let aggregator = item.aggregator();
            released.extend(aggregator.and_then(|aggregator| self.pump.drop_window(&self.shared, aggregator)));
        }
        released
    }

    // ---- files that are loaded again ------------------------------------------------------------------------

    /// Sets the origin of the next registration; without this call it is unknown.
    pub(crate) fn coming_from(&mut self, origin: Origin) -> &mut Engine {
        self.origin = origin.in_state(self.generation);
        self
    }

    /// Completes the origin of a registration. If this is the first one of a repeated load of a file, the registrations
    /// of the earlier loads are suspended.
    fn loaded(&mut self, origin: Origin) -> Origin {
        let (origin, is_again) = self.loads.of(origin);
        if is_again {
            let suspended = self.hooks.suspend(&origin) + self.aggregators.suspend(&origin);
            self.note_loaded_again(&origin, suspended);
        }
        origin
    }

    /// Adds to the number of suspended registrations of a file, for the log line when the others are gone.
    fn note_loaded_again(&mut self, origin: &Origin, suspended: usize) {
        let files = &mut self.loaded_again.files;
        match files.last_mut() {
            _ if suspended == 0 => {}
            Some((file, count)) if *file == origin.file => *count += suspended,
            _ => files.push((Arc::clone(&origin.file), suspended)),
        }
    }

    /// No file is being loaded any more: drops registrations that were suspended and not added again, `count` of each
    /// kind at most. Returns their Lua values, to be released.
    pub(super) fn end_loads(&mut self, count: usize) -> Vec<CallbackRef> {
        let mut gone = self.hooks.end_runs(count);
        gone.append(&mut self.aggregators.end_runs(count));
        self.loaded_again.lost(&gone);
        if self.hooks.suspends_any() || self.aggregators.suspends_any() {
            // Without attention there is no next tick, which drops further ones.
            self.shared.inbox.raise_attention();
        } else {
            std::mem::take(&mut self.loaded_again).say();
        }
        self.forget_all(gone, true)
    }

    // ---- routes ---------------------------------------------------------------------------------------------

    /// Applies the changes of listeners, hooks and aggregators to the routes.
    pub(super) fn follow(&mut self) {
        let Engine { routes, matched, .. } = self;
        let followers = &mut self.pump.followers;
        let (topics, mut changes) = (self.listeners.take_changes(), self.hooks.take_changes());
        changes.append(&mut self.aggregators.take_changes());
        if topics.is_empty() && changes.is_empty() {
            self.routes_changed |= followers.follow(&self.listeners, routes);
            return;
        }
        for (topic, wanted) in topics {
            routes.listen(&topic, wanted);
            followers.touch(&topic);
        }
        for change in changes {
            if let Some(topic) = change.topic() {
                matched.changed(topic);
                followers.touch(topic);
            }
            replace(routes, change.before.as_ref(), change.after.as_ref());
        }
        followers.follow(&self.listeners, routes);
        (self.routes_changed, self.pump.aside.is_stale) = (true, true);
        self.shared.inbox.raise_attention();
    }

    /// Builds the routes anew under another prefix: every name on the wire has changed.
    pub(super) fn rename_routes(&mut self) {
        self.follow();
        self.routes = Routes::new(&self.config.prefix);
        self.listeners.wanted().for_each(|topic| self.routes.listen(&topic, true));
        let all = self.hooks.all().chain(self.aggregators.all());
        all.for_each(|item| replace(&mut self.routes, None, Some(item)));
        self.pump.followers.touch_all();
        self.pump.followers.follow(&self.listeners, &mut self.routes);
        (self.matched, self.routes_changed) = (ByChannel::default(), true);
    }

    /// Gives the other threads a snapshot of the routes, if they changed.
    pub(super) fn publish_changes(&mut self) {
        if std::mem::take(&mut self.routes_changed) {
            self.routes_version = self.shared.publish_routes(self.routes.clone());
        }
    }
}

/// Replaces one registration by another of the same kind in the routes.
fn replace(routes: &mut Routes, before: Option<&Registered>, after: Option<&Registered>) {
    routes.replace_hook(before.and_then(Registered::hook), after.and_then(Registered::hook));
    routes.replace_aggregator(before.and_then(Registered::aggregator), after.and_then(Registered::aggregator));
}
