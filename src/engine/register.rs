//! On, Off, AddHook, AddAggregator and their like: the registrations of scripts, and how the routes follow them. Game
//! thread only. Every change goes three steps: into its registry, from there into the routes ([`Engine::follow`]), and
//! as a snapshot to the other threads ([`Engine::publish_changes`]) at the next Emit or tick. The last step waits so
//! that a script which registers a thousand listeners costs one snapshot.

use std::sync::Arc;

use serde_json::Value;

use crate::config::limits::NAME_BYTES_MAX;
use crate::engine::call::CallbackRef;
use crate::engine::hooks::webhooks;
use crate::engine::matched::ByChannel;
use crate::engine::registrations::{Added, Origin, Registered, Registrations, Removed};
use crate::engine::{Engine, Refusal, fits, report};
use crate::hooks::aggregator::Aggregator;
use crate::hooks::routes::Routes;

/// Selects the hooks or the aggregators of an engine.
///
/// A function pointer and no trait object: it runs at registrations only, never for an event.
type Select<T> = fn(&mut Engine) -> &mut Registrations<T>;

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
        self.follow();
        Ok(registered)
    }

    /// Removes the listener of this id, or all listeners of the channel. Returns their callbacks, to be released.
    pub fn off(&mut self, channel: &[u8], id: Option<&[u8]>) -> Vec<CallbackRef> {
        let removed = self.listeners.remove(channel, id);
        self.follow();
        removed
    }

    /// Adds a hook. `condition` is the function of a conditional hook. Returns the hook's id, and the function that the
    /// same id on the channel had before, which is to be released.
    pub fn add_hook(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        condition: Option<CallbackRef>,
    ) -> Result<(Arc<[u8]>, Option<CallbackRef>), Refusal> {
        let added = self.register("AddHook", |engine| &mut engine.hooks, channel, id, spec, condition)?;
        Ok((Arc::clone(&added.item.id), added.function))
    }

    /// Adds an aggregator; `function` sums its windows up. Returns the aggregator's id, and the Lua values of the one
    /// that had the same id on the channel before, which are to be released.
    pub fn add_aggregator(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        function: Option<CallbackRef>,
    ) -> Result<(Arc<[u8]>, Vec<CallbackRef>), Refusal> {
        let added = self.register("AddAggregator", |engine| &mut engine.aggregators, channel, id, spec, function)?;
        let array = added.replaced.and_then(|replaced| self.forget(&replaced, false));
        Ok((Arc::clone(&added.item.id), added.function.into_iter().chain(array).collect()))
    }

    /// Adds a hook or an aggregator, for the API function `name`.
    fn register<T: Registered>(
        &mut self,
        name: &str,
        select: Select<T>,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        function: Option<CallbackRef>,
    ) -> Result<Added<T>, Refusal> {
        self.admit_names(channel, id)?;
        let origin = self.take_origin();
        let added = select(self).add_spec(channel, id, spec, function, &origin);
        // Also after an error: taking the origin may have suspended registrations.
        self.follow();
        let added = added.map_err(|err| Refusal::Config(err.to_string()))?;
        self.note_loaded_again(&origin, added.moved);
        // A destination that refused for good gets another chance when a script asks for it again.
        webhooks(added.item.header().actions).for_each(|webhook| self.shared.webhooks.reopen(webhook));
        if added.displaced {
            let (channel, file) = (String::from_utf8_lossy(channel), &origin.file);
            log::warn!(
                "{name} on `{channel}` in `{file}` replaces the function it added before; give each an id to keep both"
            );
        }
        Ok(added)
    }

    /// Removes every hook of this id. Returns their functions, to be released; `None` if there was no such hook.
    pub fn remove_hook(&mut self, id: &[u8]) -> Option<Vec<CallbackRef>> {
        self.remove_hook_of(None, id)
    }

    /// As [`Engine::remove_hook`], on one channel alone if one is given.
    pub(crate) fn remove_hook_of(&mut self, channel: Option<&[u8]>, id: &[u8]) -> Option<Vec<CallbackRef>> {
        let removed = self.unregister(|engine| &mut engine.hooks, channel, id)?;
        Some(removed.into_iter().filter_map(|(_, function)| function).collect())
    }

    /// Removes every aggregator of this id with the events it collected. Returns their Lua values, to be released;
    /// `None` if there was no such aggregator.
    pub fn remove_aggregator(&mut self, id: &[u8]) -> Option<Vec<CallbackRef>> {
        self.remove_aggregator_of(None, id)
    }

    /// As [`Engine::remove_aggregator`], on one channel alone if one is given.
    pub(crate) fn remove_aggregator_of(&mut self, channel: Option<&[u8]>, id: &[u8]) -> Option<Vec<CallbackRef>> {
        let removed = self.unregister(|engine| &mut engine.aggregators, channel, id)?;
        Some(self.forget_all(removed, false))
    }

    fn unregister<T: Registered>(
        &mut self,
        select: Select<T>,
        channel: Option<&[u8]>,
        id: &[u8],
    ) -> Option<Vec<Removed<T>>> {
        let removed = select(self).remove(channel, id);
        self.follow();
        (!removed.is_empty()).then_some(removed)
    }

    /// Drops the collected events of removed aggregators. Returns their Lua values, to be released.
    fn forget_all(&mut self, removed: Vec<Removed<Aggregator>>, forgotten: bool) -> Vec<CallbackRef> {
        let values = removed.into_iter().flat_map(|(aggregator, function)| {
            let array = self.forget(&aggregator, forgotten);
            function.into_iter().chain(array)
        });
        values.collect()
    }

    /// Drops the collected events of a removed aggregator. Returns the array that was being filled. `forgotten`: a
    /// script did not add the aggregator again, as opposed to removing it; the two are counted apart.
    fn forget(&mut self, aggregator: &Arc<Aggregator>, forgotten: bool) -> Option<CallbackRef> {
        self.shared.collector.remove(aggregator, forgotten);
        self.pump.drop_window(&self.shared, aggregator)
    }

    // ---- files that are loaded again ------------------------------------------------------------------------

    /// Sets the origin of the next registration; without this call it is unknown.
    pub(crate) fn coming_from(&mut self, origin: Origin) -> &mut Engine {
        // Each Lua state numbers its loads anew, so the state's number is part of a load's.
        let load = if origin.load == 0 { 0 } else { self.generation << 40 | origin.load };
        self.origin = Origin { load, ..origin };
        self
    }

    /// The origin of the current registration. If this is the first registration of a repeated load of a file, the
    /// registrations of the earlier loads are suspended.
    fn take_origin(&mut self) -> Origin {
        let (origin, is_again) = self.loads.of(std::mem::take(&mut self.origin));
        if is_again {
            let suspended = self.hooks.suspend(&origin) + self.aggregators.suspend(&origin);
            self.note_loaded_again(&origin, suspended);
        }
        origin
    }

    /// Adds to the number of suspended registrations of a file, for the log line at the next tick.
    fn note_loaded_again(&mut self, origin: &Origin, suspended: usize) {
        match self.loaded_again.last_mut() {
            _ if suspended == 0 => {}
            Some((file, count)) if *file == origin.file => *count += suspended,
            _ => self.loaded_again.push((Arc::clone(&origin.file), suspended)),
        }
    }

    /// No file is being loaded any more: drops the registrations that were suspended and not added again. Returns their
    /// Lua values, to be released.
    pub(super) fn end_loads(&mut self) -> Vec<CallbackRef> {
        let (hooks, aggregators) = (self.hooks.end_runs(), self.aggregators.end_runs());
        report::say_loaded_again(&std::mem::take(&mut self.loaded_again), &hooks, &aggregators);
        let mut released: Vec<CallbackRef> = hooks.into_iter().filter_map(|(_, function)| function).collect();
        released.append(&mut self.forget_all(aggregators, true));
        released
    }

    // ---- routes ---------------------------------------------------------------------------------------------

    /// Applies the changes of listeners, hooks and aggregators to the routes.
    pub(super) fn follow(&mut self) {
        let Engine { routes, matched, .. } = self;
        let (topics, hooks) = (self.listeners.take_changes(), self.hooks.take_changes());
        let aggregators = self.aggregators.take_changes();
        if topics.is_empty() && hooks.is_empty() && aggregators.is_empty() {
            return;
        }
        for (topic, wanted) in topics {
            routes.listen(&topic, wanted);
        }
        for change in hooks {
            change.topic().into_iter().for_each(|topic| matched.changed(topic));
            routes.replace_hook(change.before.as_ref(), change.after.as_ref());
        }
        for change in aggregators {
            change.topic().into_iter().for_each(|topic| matched.changed(topic));
            routes.replace_aggregator(change.before.as_ref(), change.after.as_ref());
        }
        self.routes_changed = true;
        self.shared.inbox.raise_attention();
    }

    /// Builds the routes anew under another prefix: every name on the wire has changed.
    pub(super) fn rename_routes(&mut self) {
        self.follow();
        self.routes = Routes::new(&self.config.prefix);
        self.listeners.wanted().for_each(|topic| self.routes.listen(&topic, true));
        self.hooks.all().for_each(|hook| self.routes.replace_hook(None, Some(hook)));
        self.aggregators.all().for_each(|aggregator| self.routes.replace_aggregator(None, Some(aggregator)));
        (self.matched, self.routes_changed) = (ByChannel::default(), true);
    }

    /// Gives the other threads a snapshot of the routes, if they changed.
    pub(super) fn publish_changes(&mut self) {
        if std::mem::take(&mut self.routes_changed) {
            self.routes_version = self.shared.publish_routes(self.routes.clone());
        }
    }
}
