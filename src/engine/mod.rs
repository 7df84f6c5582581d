//! The engine: everything the game thread owns, without Lua. One per process; a Lua state is its guest.
//! Runs on the game thread only. Waits there for bounded times: [`Flush`] at the end of a state, [`Reading`] and
//! [`event_log::LogReading`] for a reader without callback.
//! It calls nobody: the pump asks it for the next [`Call`], runs it, and reports back (`pump.rs`).
//!
//! Life of a state: [`Engine::attach`], then scripts listen and emit, then [`Engine::detach`]. In between, the
//! threads live on: what arrives waits in the inbox, and the subscriptions stay until [`KEEP_SUBSCRIPTIONS`] after the
//! first tick of the next state, when those that nobody asked for again are dropped.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::config::limits::{CALLBACKS_MAX, CLOSE_FLUSH_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::config::{self, Config, Operator, Sources};
use crate::engine::aggregators::Aggregators;
use crate::engine::hooks::Hooks;
use crate::engine::loads::Loads;
use crate::engine::matched::ByChannel;
use crate::engine::patience::{Impatience, Patience};
use crate::engine::pending::Pending;
use crate::engine::pump::Pump;
use crate::engine::registrations::{Added, Change, Origin};
use crate::engine::registry::{CallbackRef, Registry};
use crate::engine::requests::{Request, Requests};
use crate::event::identity::{Numbering, UnixClock};
use crate::event::{EventText, identity};
use crate::hooks::aggregator::Aggregator;
use crate::hooks::routes::{Matched, Routes};
use crate::io::net;
use crate::redis::answer;
use crate::redis::connection::SETTINGS_ADVICE;
use crate::stats::{Counter, Histogram, QueueStats};
use crate::threads::actions::queue::ActionsFull;
use crate::threads::publisher::outbox::{Item, Publish, QueueFull};
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::selftest;
use crate::threads::shared::Shared;
use crate::threads::workers::Workers;

pub(crate) mod aggregators;
pub(crate) mod call;
pub(crate) mod event_log;
pub(crate) mod gathering;
pub(crate) mod hooks;
pub(crate) mod loads;
pub(crate) mod matched;
pub(crate) mod patience;
pub(crate) mod pending;
pub(crate) mod pump;
pub(crate) mod registrations;
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod requests;

pub(crate) use call::{Aggregate, Call, Condition, Deliver, Gather, Outcome};
pub(crate) use pending::Answered;

/// How long after the first tick of a new Lua state the old state's subscriptions stay, unless they are asked for
/// again.
const KEEP_SUBSCRIPTIONS: Duration = Duration::from_secs(5);

/// What the game thread owns.
pub struct Engine {
    shared: Arc<Shared>,
    workers: Workers,
    /// Where the settings come from, and those in force.
    sources: Sources,
    config: Arc<Config>,
    /// The key of the last counter of this process (`redis/counter.rs`).
    done_key: Arc<[u8]>,
    registry: Registry,
    hooks: Hooks,
    aggregators: Aggregators,
    /// Of script files, and what the next registration comes from.
    loads: Loads,
    origin: Origin,
    /// The newest files that were loaded again since the last tick, and how much of what they added before was there.
    loaded_again: Vec<(Arc<str>, usize)>,
    /// What is wanted now; the other threads have a copy, which may be older.
    routes: Routes,
    routes_changed: bool,
    matched: ByChannel,
    pending: Pending,
    patience: Patience,
    pump: Pump,
    numbering: Numbering,
    clock: UnixClock,
    /// Which Lua state is attached, counted from 1; 0 while none is.
    generation: u64,
    attached_before: u64,
    /// The routes that the other threads have.
    routes_version: u64,
}

impl Engine {
    /// Starts the threads under the settings of `sources`, which `shared` has already. They connect on their own: a
    /// Redis that is away delays nothing here.
    pub fn start(shared: Shared, sources: Sources) -> io::Result<Engine> {
        let shared = Arc::new(shared);
        let workers = Workers::start(&shared)?;
        let config = shared.settings.current();
        Ok(Engine {
            numbering: Numbering::new(&config.server, shared.boot),
            clock: UnixClock::default(),
            sources,
            done_key: shared.done_key(&config.prefix),
            shared,
            workers,
            registry: Registry::default(),
            hooks: Hooks::default(),
            aggregators: Aggregators::default(),
            loads: Loads::default(),
            origin: Origin::default(),
            loaded_again: Vec::new(),
            routes: Routes::new(&config.prefix),
            routes_changed: false,
            matched: ByChannel::default(),
            pending: Pending::default(),
            patience: Patience::default(),
            pump: Pump::default(),
            generation: 0,
            attached_before: 0,
            routes_version: 0,
            config,
        })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A new Lua state: its number. If the one before was not detached, its callbacks are forgotten: they are numbers of
    /// a registry that is no more, and mean nothing or something else in the new one.
    pub fn attach(&mut self) -> u64 {
        if self.is_attached() {
            let (callbacks, _) = self.detach();
            let count = callbacks.len();
            if count > 0 {
                log::warn!("a new Lua state began before the last one ended; its {count} functions are forgotten");
            }
        }
        self.attached_before += 1;
        self.generation = self.attached_before;
        self.shared.links.greet();
        self.shared.inbox.raise_attention();
        self.generation
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.generation != 0
    }

    /// The Lua state goes away: forgets its callbacks, which are worthless from now on, and keeps its subscriptions
    /// for the next one. The callbacks are returned for the state to release.
    pub fn detach(&mut self) -> (Vec<CallbackRef>, Flush) {
        self.generation = 0;
        let mut callbacks = self.end_loads();
        callbacks.extend(self.pump.interrupt(&self.shared));
        callbacks.append(&mut self.registry.detach());
        callbacks.append(&mut self.aggregators.detach());
        callbacks.append(&mut self.pending.detach());
        callbacks.append(&mut self.hooks.detach());
        (callbacks, Flush(Arc::clone(&self.shared)))
    }

    /// Ends the threads. True if all of them ended by the deadline.
    pub fn stop(self, deadline: Instant) -> bool {
        self.shared.stop();
        self.workers.join_by(deadline).is_empty()
    }

    // ---- events ---------------------------------------------------------------------------------------------

    /// Queues one event. `payload` is JSON text.
    pub fn emit(&mut self, channel: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        if !self.is_attached() {
            return Err(Refusal::Closed);
        }
        let fit = fits("channel", channel, NAME_BYTES_MAX).and_then(|()| fits("payload", payload, PAYLOAD_BYTES_MAX));
        if let Err(refusal) = fit {
            self.shared.stats.refused_too_large.add(1);
            return Err(refusal);
        }
        self.publish_changes();
        let matched = self.matched(channel);
        let Engine { shared, config, numbering, clock, routes_version, .. } = self;
        let (prefix, now) = (config.prefix.as_bytes(), Instant::now());
        let object = if config.identity { identity::open_object(payload) } else { None };
        let Some((open, comma)) = object else {
            // It cannot say who sent it: hooks act on it when it comes back.
            let publish = Publish::new(prefix, channel, [payload, b"", b""], false, *routes_version, now);
            shared.outbox.push(Item::Publish(publish))?;
            return Ok(());
        };
        let matched = match matched {
            // First the place for its hooks: with it, and with the outbox's, all happens; without one of them, nothing.
            Some(matched) => Some((shared.actions.reserve(EventText::weight_of(channel, payload))?, matched)),
            None => None,
        };
        let unix_ms = clock.ms(now, SystemTime::now);
        let acted = matched.as_ref().map_or(&[][..], |(_, matched)| &matched.acted);
        let next = numbering.next(prefix, channel, unix_ms, acted);
        let pieces = [open, comma, next.member];
        let publish = Publish::new(prefix, channel, pieces, next.is_numbered(), *routes_version, now);
        shared.outbox.push(Item::Publish(publish))?;
        next.taken();
        if let Some((place, matched)) = matched {
            place.fill(Arc::new(EventText::new(channel, &[payload], unix_ms)), matched);
        }
        Ok(())
    }

    /// The hooks and aggregators that act on the events of this channel; `None`: none.
    fn matched(&mut self, channel: &[u8]) -> Option<Arc<Matched>> {
        if self.hooks.is_empty() && self.aggregators.is_empty() {
            return None;
        }
        self.matched.get(&self.routes, channel)
    }

    // ---- hooks ----------------------------------------------------------------------------------------------

    /// Says where the next registration comes from; without it that is not known.
    pub(crate) fn coming_from(&mut self, origin: Origin) -> &mut Engine {
        // Numbers of an older state are others.
        let load = if origin.load == 0 { 0 } else { self.generation << 40 | origin.load };
        self.origin = Origin { load, ..origin };
        self
    }

    /// The origin of the registration at hand. If it is the first of another load of its file, what the loads before
    /// added acts no more.
    fn take_origin(&mut self) -> Origin {
        let (origin, is_again) = self.loads.of(std::mem::take(&mut self.origin));
        if is_again {
            let before = self.hooks.suspend(&origin) + self.aggregators.suspend(&origin);
            self.note_loaded_again(&origin, before);
        }
        origin
    }

    /// So much of what loads before of the file added acts no more.
    fn note_loaded_again(&mut self, origin: &Origin, before: usize) {
        match self.loaded_again.last_mut() {
            _ if before == 0 => {}
            Some((file, count)) if *file == origin.file => *count += before,
            _ => self.loaded_again.push((Arc::clone(&origin.file), before)),
        }
    }

    /// Every load of a file that was under way is over: what was added before and not again is gone. Functions to be
    /// released.
    fn end_loads(&mut self) -> Vec<CallbackRef> {
        let (hooks, aggregators) = (self.hooks.end_runs(), self.aggregators.end_runs());
        report::say_loaded_again(&std::mem::take(&mut self.loaded_again), &hooks, &aggregators);
        let mut released: Vec<CallbackRef> = hooks.into_iter().filter_map(|(_, function)| function).collect();
        for (aggregator, function) in aggregators {
            released.extend(function);
            released.extend(self.forget(&aggregator, true));
        }
        released
    }

    /// Adds a hook, checked whole. `condition` is the function of a conditional. Returns its id, and the function that
    /// the same id on the channel had before.
    pub fn add_hook(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        condition: Option<CallbackRef>,
    ) -> Result<(Arc<[u8]>, Option<CallbackRef>), Refusal> {
        self.can_register(channel, id)?;
        let origin = self.take_origin();
        let added = self.hooks.add_spec(channel, id, spec, condition, &origin);
        self.follow();
        let added = added.map_err(|err| Refusal::Config(err.to_string()))?;
        self.note_loaded_again(&origin, added.moved);
        hooks::webhooks(&added.item.spec.actions).for_each(|webhook| self.shared.webhooks.reopen(webhook));
        warn_if_displaced("AddHook", channel, &origin, added.displaced);
        Ok((Arc::clone(&added.item.id), added.function))
    }

    /// Removes every hook of this id. `None`: there was none; else the functions they had.
    pub fn remove_hook(&mut self, id: &[u8]) -> Option<Vec<CallbackRef>> {
        self.remove_hook_of(None, id)
    }

    /// The same on one channel alone, if there is one.
    pub(crate) fn remove_hook_of(&mut self, channel: Option<&[u8]>, id: &[u8]) -> Option<Vec<CallbackRef>> {
        let removed = self.hooks.remove(channel, id);
        self.follow();
        (!removed.is_empty()).then(|| removed.into_iter().filter_map(|(_, condition)| condition).collect())
    }

    /// Adds an aggregator, checked whole; `function` sums its windows up. Returns its id, and what is to be released of
    /// what the same id on the channel was before.
    pub fn add_aggregator(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        spec: &Value,
        function: Option<CallbackRef>,
    ) -> Result<(Arc<[u8]>, Vec<CallbackRef>), Refusal> {
        self.can_register(channel, id)?;
        let origin = self.take_origin();
        let added = self.aggregators.add_spec(channel, id, spec, function, &origin);
        self.follow();
        let added = added.map_err(|err| Refusal::Config(err.to_string()))?;
        let Added { item: aggregator, function, replaced, displaced, moved } = added;
        self.note_loaded_again(&origin, moved);
        hooks::webhooks(&aggregator.spec.actions).for_each(|webhook| self.shared.webhooks.reopen(webhook));
        warn_if_displaced("AddAggregator", channel, &origin, displaced);
        let array = replaced.and_then(|replaced| self.forget(&replaced, false));
        Ok((Arc::clone(&aggregator.id), function.into_iter().chain(array).collect()))
    }

    /// Removes every aggregator of this id with what it collected. `None`: there was none; else what is to be released.
    pub fn remove_aggregator(&mut self, id: &[u8]) -> Option<Vec<CallbackRef>> {
        self.remove_aggregator_of(None, id)
    }

    /// The same on one channel alone, if there is one.
    pub(crate) fn remove_aggregator_of(&mut self, channel: Option<&[u8]>, id: &[u8]) -> Option<Vec<CallbackRef>> {
        let removed = self.aggregators.remove(channel, id);
        self.follow();
        let is_any = !removed.is_empty();
        let mut released = Vec::new();
        for (aggregator, function) in removed {
            released.extend(function);
            released.extend(self.forget(&aggregator, false));
        }
        is_any.then_some(released)
    }

    /// Whether anything can be registered under these names.
    fn can_register(&self, channel: &[u8], id: Option<&[u8]>) -> Result<(), Refusal> {
        if !self.is_attached() {
            return Err(Refusal::Closed);
        }
        fits("channel", channel, NAME_BYTES_MAX)?;
        fits("id", id.unwrap_or_default(), NAME_BYTES_MAX)
    }

    /// Drops what an aggregator collected; the array that was being filled is returned.
    fn forget(&mut self, aggregator: &Arc<Aggregator>, forgotten: bool) -> Option<CallbackRef> {
        self.shared.collector.remove(aggregator, forgotten);
        self.pump.drop_window(&self.shared, aggregator)
    }

    /// Registers a listener; without an id it gets one of its own. Returns the id, and the callback that the same id
    /// had before.
    pub fn on(
        &mut self,
        channel: &[u8],
        id: Option<&[u8]>,
        callback: CallbackRef,
        wants_meta: bool,
    ) -> Result<(Arc<[u8]>, Option<CallbackRef>), Refusal> {
        self.can_register(channel, id)?;
        let registered = self.registry.add(channel, id, callback, wants_meta);
        self.follow();
        Ok(registered)
    }

    /// Removes the listener of this id, or all of the channel. Returns their callbacks.
    pub fn off(&mut self, channel: &[u8], id: Option<&[u8]>) -> Vec<CallbackRef> {
        let removed = self.registry.remove(channel, id);
        self.follow();
        removed
    }

    /// Takes the changes of listeners, hooks and aggregators over into the routes.
    fn follow(&mut self) {
        let Engine { routes, matched, .. } = self;
        let (topics, hooks) = (self.registry.take_changes(), self.hooks.take_changes());
        let aggregators = self.aggregators.take_changes();
        if topics.is_empty() && hooks.is_empty() && aggregators.is_empty() {
            return;
        }
        for (topic, wanted) in topics {
            routes.listen(&topic, wanted);
        }
        for Change { before, after } in hooks {
            after.iter().chain(&before).take(1).for_each(|hook| matched.changed(&hook.topic));
            routes.replace_hook(before.as_ref(), after.as_ref());
        }
        for Change { before, after } in aggregators {
            after.iter().chain(&before).take(1).for_each(|aggregator| matched.changed(&aggregator.topic));
            routes.replace_aggregator(before.as_ref(), after.as_ref());
        }
        self.routes_changed = true;
        self.shared.inbox.raise_attention();
    }

    /// The names on the wire are others now: everything is wanted under its new one.
    fn rename_routes(&mut self) {
        self.follow();
        self.routes = Routes::new(&self.config.prefix);
        self.registry.wanted().for_each(|topic| self.routes.listen(&topic, true));
        self.hooks.all().for_each(|hook| self.routes.replace_hook(None, Some(hook)));
        self.aggregators.all().for_each(|aggregator| self.routes.replace_aggregator(None, Some(aggregator)));
        (self.matched, self.routes_changed) = (ByChannel::default(), true);
    }

    /// Tells the other threads what is wanted now, if that changed.
    fn publish_changes(&mut self) {
        if std::mem::take(&mut self.routes_changed) {
            self.routes_version = self.shared.publish_routes(self.routes.clone());
        }
    }

    // ---- values ---------------------------------------------------------------------------------------------

    /// Makes requests under the settings of the moment.
    pub fn requests(&self) -> Requests<'_> {
        Requests { prefix: &self.config.prefix, done: &self.done_key }
    }

    /// Queues a command. Its answer goes to the callback, if there is one; a failure that nobody waits for is told.
    pub fn submit(&mut self, request: Request, callback: Option<CallbackRef>) -> Result<(), Refusal> {
        if !self.is_attached() {
            return Err(Refusal::Closed);
        }
        let now = Instant::now();
        let Some(callback) = callback else {
            self.shared.outbox.push(Item::Run(Box::new(request.run(ReplyTo::Nobody, now))))?;
            return Ok(());
        };
        if self.pending.len() >= CALLBACKS_MAX {
            return Err(Refusal::QueueFull { waiting: self.pending.len() });
        }
        let ticket = self.pending.ticket();
        self.pending.add(ticket, callback, request.operation, &request.target);
        let queued = self.shared.outbox.push(Item::Run(Box::new(request.run(ReplyTo::Callback(ticket), now))));
        if queued.is_err() {
            self.pending.remove(ticket);
        }
        Ok(queued?)
    }

    /// Queues a command that the game thread will wait for: [`Reading::wait`], with the engine not borrowed.
    pub fn begin_read(&mut self, request: Request) -> Result<Reading, Refusal> {
        if !self.is_attached() {
            return Err(Refusal::Closed);
        }
        let (now, link, bound) = (Instant::now(), &self.shared.links.publisher, self.config.sync_timeout);
        let granted = match link.is_ready() || link.is_untried() {
            true => self.patience.grant(now, bound, self.shared.replies.heard()),
            false => {
                self.shared.stats.reads_failed_fast.add(1);
                return Err(Refusal::Disconnected(link.trouble().reason));
            }
        };
        let deadline = match granted {
            Ok(granted) => now + granted,
            Err(impatience) => {
                self.shared.stats.reads_failed_fast.add(1);
                return Err(Refusal::Impatient(impatience, bound));
            }
        };
        let advice = request.advice();
        let ticket = self.pending.ticket();
        self.shared.replies.expect(ticket);
        self.shared.outbox.push_reader(request.run(ReplyTo::Reader { ticket, deadline }, now))?;
        self.shared.settled.wake();
        Ok(Reading { shared: Arc::clone(&self.shared), began: now, deadline, bound, advice })
    }

    /// What a reader's wait came to.
    pub fn end_read(&mut self, reading: Reading, outcome: Option<answer::Outcome>) -> answer::Outcome {
        let Reading { shared, began, deadline, bound, advice } = reading;
        let now = Instant::now();
        self.patience.waited(began, now, outcome.is_some(), shared.replies.heard());
        outcome.unwrap_or_else(|| {
            shared.stats.reads_timed_out.add(1);
            let granted = deadline.saturating_duration_since(began);
            let share = if granted < bound { ", all that was left of this second's share" } else { "" };
            Err(format!("timeout: redis did not answer within {} ms{share}; {}", granted.as_millis(), advice))
        })
    }

    /// The game thread made Lua values of a reader's answer from `began` to `now`: of the same share.
    pub(crate) fn charge(&mut self, began: Instant, now: Instant) {
        self.patience.waited(began, now, true, self.shared.replies.heard());
    }

    // ---- settings -------------------------------------------------------------------------------------------

    /// Takes the options of a script, all or none: `text` is a JSON object. The operator's own stay in force.
    pub fn configure(&mut self, text: &str) -> Result<(), Refusal> {
        if !self.is_attached() {
            return Err(Refusal::Closed);
        }
        let mut sources = self.sources.clone();
        let overruled =
            sources.configure(text).map_err(|errors| Refusal::Config(config::sentences(&errors).join("; ")))?;
        // What is wrong with the operator's sources was said when they were read.
        let (config, _) = sources.resolve();
        let webhook_tls = self.check_files(&config, false).map_err(Refusal::Config)?;
        self.sources = sources;
        for (option, source) in overruled {
            log::info!("option `{option}` of Configure has no effect: {source} sets it");
        }
        self.put_in_force(config, webhook_tls);
        Ok(())
    }

    /// Takes what the operator says now; what scripts asked for stays. What to print about it, a line each. When it is
    /// not understood where to connect, or a file of authorities cannot be used, the settings of before stay in force.
    pub fn reload(&mut self, operator: Operator) -> Vec<String> {
        let sources = self.sources.with(operator);
        let (config, _) = sources.resolve();
        let mut lines = config.complaints.clone();
        let leads_nowhere = config.not_understood().is_some();
        let checked = self.check_files(&config, true);
        lines.extend(checked.as_ref().err().cloned());
        // Where nothing is connected, nothing can break: what is right of the settings is taken, as at the start.
        if self.config.not_understood().is_some() || checked.is_ok() && !leads_nowhere {
            self.sources = sources;
            self.put_in_force(config, checked.unwrap_or_default());
            lines.push(if leads_nowhere {
                format!("nothing connects to redis; {SETTINGS_ADVICE}")
            } else {
                format!("settings read: redis at {}", self.config.redis)
            });
        } else {
            lines.push(format!("nothing changed, the settings of before stay in force; {SETTINGS_ADVICE}"));
        }
        lines
    }

    /// Reads the files that these settings name, those that are new or all: what webhooks are to trust from now on, or
    /// why one cannot be used.
    fn check_files(&self, config: &Config, all: bool) -> Result<Option<Arc<ClientConfig>>, String> {
        if all || config.tls_ca_file != self.config.tls_ca_file {
            net::tls_config("tls_ca_file", &config.tls_ca_file)?;
        }
        if all || config.webhook_ca_file != self.config.webhook_ca_file {
            return net::tls_config("webhook_ca_file", &config.webhook_ca_file).map(Some);
        }
        Ok(None)
    }

    fn put_in_force(&mut self, config: Config, webhook_tls: Option<Arc<ClientConfig>>) {
        if webhook_tls.is_some() || config.webhook_ca_file != self.config.webhook_ca_file {
            self.shared.webhooks.trust(&config.webhook_ca_file, webhook_tls);
        }
        if config == *self.config {
            return;
        }
        let prefix_changes = config.prefix != self.config.prefix;
        if prefix_changes || config.server != self.config.server {
            self.numbering.rename(&config.server, config.prefix.as_bytes());
        }
        self.done_key = self.shared.done_key(&config.prefix);
        self.shared.reconfigure(config);
        self.config = self.shared.settings.current();
        if prefix_changes {
            self.rename_routes();
        }
        self.shared.inbox.raise_attention();
    }

    // ---- the pump -------------------------------------------------------------------------------------------

    /// Starts one tick's work: when it has had enough, and functions to be released. [`Engine::next_call`] ends it by
    /// returning `None`.
    pub fn begin_tick(&mut self, now: Instant) -> (Instant, Vec<CallbackRef>) {
        self.pump.begin(&self.shared, now, self.config.tick_budget);
        // The pump runs in no file that is being loaded.
        let mut released = self.end_loads();
        released.append(&mut self.pump.take_orphans());
        if self.registry.keep_until_is_unset() {
            self.registry.keep_until(now + KEEP_SUBSCRIPTIONS);
        }
        if self.registry.drop_kept(now) {
            self.hooks.drop_kept();
            self.drop_kept_aggregators();
        }
        self.follow();
        self.publish_changes();
        if self.registry.keeps_any() || self.hooks.keeps_any() || self.aggregators.keeps_any() {
            self.shared.inbox.raise_attention();
        }
        (now + self.config.tick_budget, released)
    }

    /// Nothing of them is half-way into Lua: they have no function since the state before went away.
    fn drop_kept_aggregators(&mut self) {
        for aggregator in self.aggregators.drop_kept() {
            self.shared.collector.remove(&aggregator, true);
        }
    }

    /// The next thing for Lua to run in this tick, if the budget allows one more. At least one a tick.
    pub fn next_call(&mut self, now: Instant) -> Option<Call> {
        let Engine { shared, registry, hooks, aggregators, pending, .. } = self;
        let call = self.pump.next(&pump::Of { shared, registry, hooks, aggregators }, pending, now);
        if call.is_none() {
            self.publish_changes();
        }
        call
    }

    /// What became of a call.
    pub fn complete(&mut self, call: Call, outcome: Outcome) {
        self.pump.complete(&self.shared, call, outcome);
    }

    // ---- what it tells about itself -------------------------------------------------------------------------

    /// `connected`, `connecting` or `auth_failed`, and a sentence. Connected means that every subscription asked for stands.
    pub fn status(&self) -> (&'static str, String) {
        if !self.is_attached() {
            return ("closed", String::new());
        }
        let links = [&self.shared.links.publisher, &self.shared.links.subscriber];
        match links.iter().find(|link| !link.is_ready()) {
            None if self.routes_changed || !self.shared.settled.is_reached(self.routes_version) => {
                ("connecting", format!("redis at {} has not confirmed every subscription", self.config.redis))
            }
            None => ("connected", format!("redis at {}", self.config.redis)),
            Some(link) => {
                let trouble = link.trouble();
                (if trouble.login { "auth_failed" } else { "connecting" }, trouble.reason)
            }
        }
    }

    /// What `realtime_status` prints.
    pub fn report(&self) -> Vec<String> {
        let (state, detail) = self.status();
        report::lines(state, &detail, &self.config, &self.stats())
    }

    /// Begins `realtime_selftest` on a thread of its own.
    pub fn begin_selftest(&self) -> Result<(), String> {
        selftest::begin(&self.shared)
    }

    /// The numbers of `Stats()`, as a tree of names.
    pub fn stats(&self) -> Value {
        let stats = &self.shared.stats;
        let percentiles = |of: &Histogram| {
            let micros = |duration: Duration| (duration.as_secs_f64() * 1e7).round() / 10.0;
            let (p50, p99) = (micros(of.percentile(0.5)), micros(of.percentile(0.99)));
            json!({ "count": of.count(), "p50_us": p50, "p99_us": p99, "max_us": micros(of.max()) })
        };
        let QueueStats { offered, delivered, dropped } = &stats.outbox;
        let outbox = queue_numbers(offered, delivered, dropped.list(), self.shared.outbox.waiting());
        let QueueStats { offered, delivered, dropped } = &stats.inbox;
        let waiting = self.shared.inbox.waiting() + self.pump.waiting();
        let inbox = queue_numbers(offered, delivered, dropped.list(), waiting);
        let QueueStats { offered, delivered, dropped } = &stats.notices;
        let notices = queue_numbers(offered, delivered, dropped.list(), self.shared.notices.waiting());
        let QueueStats { offered, delivered, dropped } = &stats.replies;
        let waiting = self.shared.replies.waiting() + self.pump.answers_waiting();
        let replies = queue_numbers(offered, delivered, dropped.list(), waiting);
        let QueueStats { offered, delivered, dropped } = &stats.actions;
        let actions = queue_numbers(offered, delivered, dropped.list(), self.shared.actions.waiting());
        let QueueStats { offered, delivered, dropped } = &stats.aggregates;
        let aggregates = queue_numbers(offered, delivered, dropped.list(), self.shared.collector.waiting());
        let QueueStats { offered, delivered, dropped } = &stats.webhooks;
        let webhooks = queue_numbers(offered, delivered, dropped.list(), self.shared.webhooks.waiting());
        let QueueStats { offered, delivered, dropped } = &stats.files;
        let files = queue_numbers(offered, delivered, dropped.list(), self.shared.files.waiting());
        let destinations: Vec<Value> = self.shared.webhooks.standings().iter().map(report::destination).collect();
        json!({
            "outbox": outbox,
            "inbox": inbox,
            "notices": notices,
            "replies": replies,
            "actions": actions,
            "aggregates": aggregates,
            "webhooks": webhooks,
            "destinations": destinations,
            "limits": self.shared.limits.list(),
            "files": files,
            "event_logs": names(stats.file_counts.list()),
            "hooks": self.hooks.len(),
            "aggregators": self.aggregators.len(),
            "windows": stats.windows.get(),
            "aggregate_errors": stats.aggregate_errors.get(),
            "conditions": stats.conditions.get(),
            "condition_errors": stats.condition_errors.get(),
            "actions_unmade": stats.actions_unmade.get(),
            "dead_letters_lost": stats.dead_letters_lost.get(),
            "spool_unreadable": stats.spool_unreadable.get(),
            "callbacks": self.pending.len(),
            "replies_too_large": stats.replies_too_large.get(),
            "reads_timed_out": stats.reads_timed_out.get(),
            "reads_failed_fast": stats.reads_failed_fast.get(),
            "beside_failures": stats.beside_failures.get(),
            "events_without_lease": stats.events_without_lease.get(),
            "numbers_implausible": stats.numbers_implausible.get(),
            "numbers_renewed": stats.numbers_renewed.get(),
            "listeners": self.registry.len(),
            "calls": stats.calls.get(),
            "call_errors": stats.call_errors.get(),
            "reconnects": stats.reconnects.get(),
            "connect_failures": stats.connect_failures.get(),
            "resent": stats.resent.get(),
            "missed": stats.missed.get(),
            "relayed": stats.relayed.get(),
            "refused_too_large": stats.refused_too_large.get(),
            "refused_encode": stats.refused_encode.get(),
            "subscriptions_refused": stats.subscriptions_refused.get(),
            "non_finite": stats.non_finite.get(),
            "raw": stats.raw.get(),
            "raw_over_limits": stats.raw_over_limits.get(),
            "raw_slow": stats.raw_slow.get(),
            "panics": stats.panics.get(),
            "log_lines_held_back": stats.log_lines_held_back.get(),
            "console_lines_dropped": stats.console_lines_dropped.get(),
            "pump": percentiles(self.pump.times()),
            "wait": percentiles(self.pump.waits()),
            "latency": percentiles(self.pump.latencies()),
        })
    }
}

/// One queue's part of [`Engine::stats`].
fn queue_numbers(offered: &Counter, delivered: &Counter, drops: Vec<(&str, u64)>, waiting: usize) -> Value {
    json!({ "in": offered.get(), "delivered": delivered.get(), "dropped": names(drops), "waiting": waiting })
}

/// Says that a function took the place of another: seldom what the script means.
fn warn_if_displaced(name: &str, channel: &[u8], origin: &Origin, displaced: bool) {
    if displaced {
        let (channel, file) = (shown(channel), &origin.file);
        log::warn!("{name} on `{channel}` in `{file}` replaces what it added before; give each an id to keep both");
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Counters by name.
fn names(counters: Vec<(&str, u64)>) -> serde_json::Map<String, Value> {
    counters.into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect()
}

/// Refuses what is over its limit.
pub(crate) fn fits(what: &'static str, bytes: &[u8], max: usize) -> Result<(), Refusal> {
    match bytes.len() > max {
        true => Err(Refusal::TooLarge { what, bytes: bytes.len(), max }),
        false => Ok(()),
    }
}

/// A command whose answer the game thread waits for.
pub struct Reading {
    shared: Arc<Shared>,
    began: Instant,
    deadline: Instant,
    /// The option `sync_timeout_ms`.
    bound: Duration,
    /// What to do about an answer that takes too long.
    advice: &'static str,
}

impl Reading {
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits for the answer, until the deadline at most.
    pub fn wait(&self) -> Option<answer::Outcome> {
        self.shared.replies.wait(self.deadline)
    }
}

/// Waits for what is queued when a state detaches: it may be the end of the process. All waits share one deadline.
pub struct Flush(Arc<Shared>);

impl Flush {
    /// Until everything is where it is to go, at most [`CLOSE_FLUSH_MAX`]. True if it is.
    pub fn wait(self) -> bool {
        let deadline = Instant::now() + CLOSE_FLUSH_MAX;
        // What hooks make of the last events goes into the queues that come after.
        let actions = self.0.actions.flush(deadline);
        // The threads go on while another is waited for.
        let files = self.0.files.flush(deadline);
        let spooled = self.0.webhooks.spool(deadline);
        let outbox = self.outbox(deadline);
        actions && files && spooled && outbox
    }

    /// Until Redis has answered everything. While the link is down it does not wait: the queue outlives the state, and
    /// each map change would cost the full time.
    fn outbox(&self, deadline: Instant) -> bool {
        self.0.outbox.waiting() == 0 || self.0.links.publisher.is_ready() && self.0.outbox.wait_empty(deadline)
    }
}

/// Why a writer did nothing. `Display` starts with the stable code that scripts match on.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    QueueFull {
        waiting: usize,
    },
    TooLarge {
        what: &'static str,
        bytes: usize,
        max: usize,
    },
    /// A value or argument that cannot be sent, and why.
    Encode(String),
    /// There is no connection, and why.
    Disconnected(String),
    /// A reader does not wait, and the bound it has.
    Impatient(Impatience, Duration),
    Config(String),
    /// An event log that cannot be meant, and why.
    File(String),
    /// So many events wait for `rt-actions`.
    ActionsFull {
        waiting: usize,
    },
    Closed,
}

impl From<QueueFull> for Refusal {
    fn from(full: QueueFull) -> Refusal {
        Refusal::QueueFull { waiting: full.waiting }
    }
}

impl From<ActionsFull> for Refusal {
    fn from(full: ActionsFull) -> Refusal {
        Refusal::ActionsFull { waiting: full.waiting }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::QueueFull { waiting } => write!(f, "queue_full: {waiting} commands wait for redis"),
            Refusal::TooLarge { what, bytes, max } => {
                write!(f, "too_large: the {what} has {bytes} bytes, {max} are allowed")
            }
            Refusal::Encode(found) => write!(f, "encode: {found}"),
            Refusal::Disconnected(reason) => write!(f, "disconnected: {reason}"),
            Refusal::Impatient(Impatience::Silent, _) => {
                f.write_str("timeout: redis has not answered since a reader waited in vain")
            }
            Refusal::Impatient(Impatience::Spent, bound) => {
                write!(
                    f,
                    "timeout: readers have waited {} ms of this second already, use a callback",
                    bound.as_millis()
                )
            }
            Refusal::Config(found) => write!(f, "config: {found}"),
            Refusal::File(found) => write!(f, "file: {found}"),
            Refusal::ActionsFull { waiting } => write!(f, "queue_full: {waiting} events wait for their hooks"),
            Refusal::Closed => f.write_str("closed: the Lua state is closing"),
        }
    }
}
