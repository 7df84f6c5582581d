//! The engine: everything that the game thread owns, without Lua. There is one per process; Lua states come and go.
//! Runs on the game thread only. It never calls Lua: the edge asks for the next [`Call`], runs it, and reports back. It
//! waits for two things only: a reader without callback ([`submit::SyncRead`], [`event_log::SyncLogRead`]) and the end
//! of a state ([`Flush`]), each for a bounded time and with the engine not borrowed.
//!
//! Life of a Lua state:
//!
//! ```text
//!  attach ──▶ scripts register and emit ──▶ first tick ──▶ ... ticks ... ──▶ detach ──▶ Flush::wait
//!                                               └─ grace period (grace.rs) ─▶ old registrations are dropped
//! ```
//!
//! Between two states the worker threads go on: events wait in the inbox, and subscriptions and hooks stay in force.
//!
//! | file | question |
//! |---|---|
//! | `call` | Which values pass between the engine and Lua? |
//! | `register`, `registry`, `listeners`, `registrations`, `hooks`, `aggregators`, `loads`, `grace` | Who wants which events, and how long? |
//! | `emit`, `matched`, `keeps` | How does an event leave this server, which hooks act on it, and which does Redis keep? |
//! | `submit`, `requests`, `pending`, `patience`, `event_log` | How does a script ask for values and records, and how long may it wait? |
//! | `pump`, `current`, `gathering` | Which call is next in this tick? |
//! | `aside` | What becomes of events after a map change whose function is not there yet? |
//! | `followers`, `follower`, `known_places` | How does a listener with `missed` get the events that it missed? |
//! | `settings`, `report`, `flush`, `refusal` | How do settings change, which numbers do people see, how does a state end, why was a request refused? |

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, Sources};
use crate::engine::current::Of;
use crate::engine::grace::Grace;
use crate::engine::listeners::Listeners;
use crate::engine::loads::Loads;
use crate::engine::matched::ByChannel;
use crate::engine::patience::Patience;
use crate::engine::pending::Pending;
use crate::engine::pump::Pump;
use crate::engine::registrations::{Origin, Registered, Registrations};
use crate::engine::report::LoadedAgain;
use crate::event::identity::{Numbering, UnixClock};
use crate::event::notice::Notice;
use crate::hooks::lease::Turn;
use crate::hooks::routes::Routes;
use crate::redis::answer::Expect;
use crate::redis::command::Command;
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Again, Run, Work};
use crate::threads::publisher::standing::LEAVING_MS;
use crate::threads::shared::Shared;
use crate::threads::workers::Workers;

pub(crate) mod call;

// Who wants which events.
mod aggregators;
mod follower;
mod followers;
mod grace;
mod hooks;
mod keeps;
mod known_places;
mod listeners;
mod loads;
mod matched;
mod register;
pub(crate) mod registrations;
mod registry;

// Out of this server, and answers.
mod emit;
pub(crate) mod event_log;
mod patience;
mod pending;
pub(crate) mod requests;
mod submit;

// Into Lua.
mod aside;
mod current;
mod gathering;
mod pump;

mod flush;
pub(crate) mod refusal;
mod report;
mod settings;

pub(crate) use call::{Aggregate, Answered, Call, CallbackRef, Condition, Deliver, Gather, Outcome};
pub(crate) use flush::Flush;
pub(crate) use refusal::{Refusal, fits};
pub(crate) use register::Select;

/// Registrations of each kind that one tick drops at most, after a map change or after a file was loaded again. Each costs
/// copies in the routes, as the other threads share them, and a few microseconds.
const DROPPED_PER_TICK: usize = 128;

/// Everything that the game thread owns.
pub struct Engine {
    shared: Arc<Shared>,
    workers: Workers,
    /// The settings by their source, and the result that is in force.
    sources: Sources,
    config: Arc<Config>,
    /// The key under which Redis keeps the number of this process's last counter (`redis/counter.rs`).
    done_key: Arc<[u8]>,
    listeners: Listeners,
    hooks: Registrations,
    aggregators: Registrations,
    grace: Grace,
    /// The newest load of each script file, and the origin of the next registration.
    loads: Loads,
    origin: Origin,
    loaded_again: LoadedAgain,
    /// The current routes. The other threads have a snapshot, of the version `routes_version`.
    routes: Routes,
    routes_version: u64,
    /// The routes changed since that snapshot.
    routes_changed: bool,
    matched: ByChannel,
    pending: Pending,
    patience: Patience,
    pump: Pump,
    numbering: Numbering,
    clock: UnixClock,
    /// The number of the attached Lua state, counted from 1; 0 while no state is attached.
    generation: u64,
    /// The number of the last state that was attached.
    attached_before: u64,
    /// Channels that an earlier state asked Redis to keep, and the grace period is not over.
    has_old_keeps: bool,
}

impl Engine {
    /// Starts the threads under the settings of `sources`, which `shared` has already. The threads connect on their
    /// own, so a Redis that is away delays nothing here.
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
            listeners: Listeners::default(),
            hooks: Registrations::hooks(),
            aggregators: Registrations::aggregators(),
            grace: Grace::default(),
            loads: Loads::default(),
            origin: Origin::default(),
            loaded_again: LoadedAgain::default(),
            routes: Routes::new(&config.prefix),
            routes_version: 0,
            routes_changed: false,
            matched: ByChannel::default(),
            pending: Pending::default(),
            patience: Patience::default(),
            pump: Pump::default(),
            generation: 0,
            attached_before: 0,
            has_old_keeps: false,
            config,
        })
    }

    /// The queues and counters that the worker threads have, too.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Attaches a new Lua state and returns its number. If the previous state was never detached, its callbacks are
    /// forgotten and not released: they are numbers of a Lua registry that no longer exists, and may mean something
    /// else in the new one.
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
        // A status message shows the new map as soon as the first tick tells it.
        self.shared.webhooks.desk.ask_game();
        self.shared.inbox.raise_attention();
        self.generation
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.generation != 0
    }

    /// The check at the head of every request; [`fits`] follows for each argument with a limit. A state that is closing
    /// still runs scripts, in `__gc` functions: nobody would get the answers to their requests.
    fn admit(&self) -> Result<(), Refusal> {
        if self.is_attached() { Ok(()) } else { Err(Refusal::Closed) }
    }

    /// The Lua state ends. Returns its callbacks, which the state must release, and the wait for everything that is
    /// still queued. The registrations stay for the next state.
    pub fn detach(&mut self) -> (Vec<CallbackRef>, Flush) {
        self.generation = 0;
        self.has_old_keeps = self.shared.keeps.is_used();
        self.grace.restart();
        let mut callbacks = self.end_loads(usize::MAX);
        callbacks.extend(self.pump.interrupt(&self.shared));
        self.pump.followers.detach(&self.shared);
        callbacks.append(&mut self.listeners.detach());
        callbacks.append(&mut self.aggregators.detach());
        callbacks.append(&mut self.pending.detach());
        callbacks.append(&mut self.hooks.detach());
        self.shorten_presence();
        (callbacks, Flush::new(Arc::clone(&self.shared)))
    }

    /// Gives this server's key a short life: the end of the state may be the end of the process. If it is not, the next
    /// beat comes before the key ends.
    fn shorten_presence(&self) {
        let key = self.shared.presence.leave().filter(|_| self.shared.links.publisher.is_ready());
        if let Some(key) = key {
            let command = Command::new("PEXPIRE").arg(&key).arg_int(LEAVING_MS as i64);
            let work = Work::Ask { command, expect: Expect::Number, again: Again::Write };
            let run = Run::new(work, "presence", self.shared.unprefixed(&key), ReplyTo::Nobody, Instant::now());
            // A full outbox refuses it and counts that; the key then ends at its usual time.
            let _ = self.shared.outbox.push(Box::new(run));
        }
    }

    /// Ends the threads. True if all of them ended by the deadline.
    pub fn stop(self, deadline: Instant) -> bool {
        self.shared.stop();
        self.workers.join_by(deadline).is_empty()
    }

    /// Starts the work of one tick. Returns the tick's deadline and callbacks to be released. The work ends when
    /// [`Engine::next_call`] returns `None`.
    #[inline(never)]
    pub fn begin_tick(&mut self, now: Instant) -> (Instant, Vec<CallbackRef>) {
        self.pump.begin(&self.shared, now, self.config.tick_budget);
        // The tick runs outside every file, so no file is still being loaded.
        let mut released = self.end_loads(DROPPED_PER_TICK);
        released.append(&mut self.pump.take_orphans());
        self.grace.begin(now);
        let (mut gone, mut lost) = (Vec::new(), 0);
        if self.listeners.keeps_any() || self.hooks.keeps_any() || self.aggregators.keeps_any() || self.has_old_keeps {
            if self.grace.is_over(now) {
                (gone, lost) = self.drop_kept(now);
            }
            // Without attention there is no next tick, which has to look at the clock again or to drop the rest.
            self.shared.inbox.raise_attention();
        }
        self.follow();
        let Engine { shared, listeners, hooks, aggregators, .. } = self;
        lost += self.pump.aside.sort(&Of { shared, listeners, hooks, aggregators });
        report::say_not_added_again(&gone, lost);
        self.publish_changes();
        self.follow_streams(now);
        (now + self.config.tick_budget, released)
    }

    /// The tick of the listeners with `missed`.
    fn follow_streams(&mut self, now: Instant) {
        if self.pump.followers.is_empty() {
            return;
        }
        let Engine { shared, listeners, config, routes_version, generation, .. } = self;
        let (routes_version, generation) = (*routes_version, *generation);
        self.pump.followers.tick(&followers::Moment { shared, listeners, config, routes_version, generation, now });
        // Followers that ended change the routes.
        self.follow();
    }

    /// Drops what the attached state did not register again, [`DROPPED_PER_TICK`] of each kind. Returns the hooks and
    /// aggregators, and the number of events that their windows had.
    fn drop_kept(&mut self, now: Instant) -> (Vec<Registered>, usize) {
        self.listeners.drop_kept(DROPPED_PER_TICK);
        self.shared.keeps.end_others(self.generation);
        self.pump.followers.drop_old(self.generation, &self.shared);
        self.has_old_keeps = false;
        let (mut gone, mut lost) = (self.hooks.drop_kept(DROPPED_PER_TICK), 0);
        // None of their windows is half-way into Lua: they have had no function since the previous state ended.
        let aggregators = self.aggregators.drop_kept(DROPPED_PER_TICK);
        let theirs = aggregators.iter().filter_map(Registered::aggregator);
        let lost_events = self.shared.collector.remove(&mut theirs.clone(), true);
        for aggregator in theirs {
            let events = lost_events.get(&Arc::as_ptr(aggregator)).copied().unwrap_or_default();
            // If another server holds the lease, it sums the same events up.
            if events > 0 && aggregator.lease.turn(now, now) != Turn::Others {
                lost += events;
                let (hook, kind) = (Arc::clone(&aggregator.id), "aggregate");
                let reason =
                    format!("the aggregator was not added again after the map change, which lost {events} events");
                self.shared.notices.push(Notice::ActionFailed { hook, kind, reason });
            }
        }
        gone.extend(aggregators);
        (gone, lost)
    }

    /// The next piece of work for Lua in this tick, if the budget allows one more; at least one per tick.
    pub fn next_call(&mut self, now: Instant) -> Option<Call> {
        let Engine { shared, listeners, hooks, aggregators, pending, .. } = self;
        let call = self.pump.next(&Of { shared, listeners, hooks, aggregators }, pending, now);
        if call.is_none() {
            self.publish_changes();
        }
        call
    }

    /// Takes a call back from the edge, with its outcome.
    pub fn complete(&mut self, call: Call, outcome: Outcome) {
        self.pump.complete(&self.shared, call, outcome);
    }
}
