//! The listeners with `missed` ([`Follower`]): their questions to Redis, their places there, and whose turn it is. Game
//! thread only; never waits. Owned by the pump, which calls the listeners. A follower outlives a map change: it goes on at
//! its place if the new state registers the same channel and id, and ends with the grace period if not.
//!
//! ```text
//!   <prefix>rt:place:<server>:<bytes of the channel>:<channel>:<id>    1732460000123-0, for PLACE_AGE_S
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::engine::call::{Call, Deliver, Follow};
use crate::engine::follower::{Around, Follower, MISSED, Question};
use crate::engine::known_places::KnownPlaces;
use crate::engine::listeners::Listeners;
use crate::event::Event;
use crate::event::ledger::Ledger;
use crate::event::stream_id::StreamId;
use crate::event::topic::Topic;
use crate::hooks::routes::Routes;
use crate::json::build::Build;
use crate::redis::answer::Expect;
use crate::redis::command::Command;
use crate::redis::kept;
use crate::sorted::Sorted;
use crate::threads::publisher::replies::{CallbackAnswer, ReplyTo, Ticket};
use crate::threads::publisher::run::{Again, Run, Work};
use crate::threads::shared::Shared;

/// Listeners with `missed` of one server. Each is looked at in every tick.
pub(super) const FOLLOWERS_MAX: usize = 256;
/// Shortest time between two places of one listener that are sent to Redis.
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// Memory of all replies that are being delivered, in bytes. A reply beyond it is asked for again later.
const STEPS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Listeners without a new event in their reply that are looked through for one Call: such a reply takes its time, too.
const LOOKED_THROUGH_MAX: usize = 8;
/// How long Redis keeps a place after it was saved.
const PLACE_AGE_S: i64 = 90 * 86_400;
/// The bit that the tickets of followers have, and those of callbacks do not.
pub(super) const TICKET: Ticket = 1 << 63;
/// The folder of the module in the game's data folder.
const FOLDER: &str = "realtime";

/// An event whose Lua value is half built.
struct Parked {
    number: u64,
    event: Event,
    is_missed: bool,
    build: Option<Box<Build>>,
}

/// All followers, by number.
#[derive(Default)]
pub(super) struct Followers {
    list: Sorted<u64, Follower>,
    newest: u64,
    /// The numbers of the events that followers had. Apart from that of the subscriber, whose numbers go on while a
    /// follower reads.
    ledger: Ledger,
    /// The follower that had the last turn.
    turn: u64,
    parked: Option<Parked>,
    tickets: Ticket,
    /// Topics whose listeners, hooks or followers changed since [`Followers::follow`].
    touched: Vec<Arc<Topic>>,
    config: Option<Arc<Config>>,
    known_places: KnownPlaces,
}

/// The state of the engine at a tick.
pub(super) struct Moment<'a> {
    pub(super) shared: &'a Shared,
    pub(super) listeners: &'a Listeners,
    pub(super) config: &'a Arc<Config>,
    pub(super) routes_version: u64,
    pub(super) generation: u64,
    pub(super) now: Instant,
}

impl Followers {
    pub(super) fn is_empty(&self) -> bool {
        self.list.len() == 0
    }

    /// The number of the follower of this channel and id, which may be new. `None`: there are too many.
    pub(super) fn add(&mut self, channel: &[u8], id: &[u8], generation: u64, shared: &Shared) -> Option<u64> {
        let is_same = |known: &Follower| known.topic.name() == channel && *known.id == *id;
        let known = self.list.iter().find(|(_, known)| is_same(known)).map(|(number, _)| *number);
        let number = match known {
            Some(number) => number,
            None if self.list.len() >= FOLLOWERS_MAX => return None,
            None => {
                self.newest += 1;
                self.list.set(self.newest, Follower::new(Topic::new(channel), id, shared));
                self.newest
            }
        };
        if let Some(follower) = self.list.get_mut(&number) {
            follower.generation = generation;
            // Its route may be a new one, which `follow` looks at.
            follower.reports_gaps = false;
        }
        self.known_places.read(&shared.data.join(FOLDER));
        shared.inbox.raise_attention();
        Some(number)
    }

    /// The listeners or hooks of this topic changed.
    pub(super) fn touch(&mut self, topic: &Arc<Topic>) {
        // Without followers no route reports gaps.
        if !self.is_empty() {
            self.touched.push(Arc::clone(topic));
        }
    }

    /// The listeners of this channel changed.
    pub(super) fn touch_channel(&mut self, channel: &[u8]) {
        if !self.is_empty() {
            self.touched.push(Arc::new(Topic::new(channel)));
        }
    }

    /// The listeners or routes of all topics changed.
    pub(super) fn touch_all(&mut self) {
        self.touched.extend(self.list.iter().map(|(_, follower)| Arc::clone(&follower.topic)));
    }

    /// Brings the routes of the touched topics to the state in which they report gaps themselves. True if one may have
    /// changed.
    pub(super) fn follow(&mut self, listeners: &Listeners, routes: &mut Routes) -> bool {
        let mut has_changed = false;
        for topic in std::mem::take(&mut self.touched) {
            let (before, reports_gaps) = routes.recovers(&topic, listeners.all_follow(&topic));
            has_changed |= before != reports_gaps;
            // Mostly nobody follows the topic, and looking at all followers for it would cost more than all else.
            if before || reports_gaps {
                let of_topic = self.list.values_mut().filter(|follower| follower.topic == topic);
                of_topic.for_each(|follower| follower.reports_gaps = reports_gaps);
            }
        }
        has_changed
    }

    /// One tick: drops followers whose listener is gone, asks Redis, saves places.
    pub(super) fn tick(&mut self, at: &Moment<'_>) {
        self.config = Some(Arc::clone(at.config));
        let numbers: Vec<u64> = self.list.iter().map(|(number, _)| *number).collect();
        for number in numbers {
            let Some(follower) = self.list.get_mut(&number) else { continue };
            let is_current = follower.generation == at.generation;
            if is_current && at.listeners.follower(follower.topic.name(), &follower.id) != Some(number) {
                self.end(number, at.shared);
                continue;
            }
            follower.look(at.shared);
            if is_current && follower.version == 0 {
                follower.version = at.routes_version;
            }
            if is_current {
                self.drive(number, at.shared, at.now);
            }
            let pause = SAVE_PAUSE * at.config.thrift();
            if at.shared.links.publisher.is_ready()
                && let Some(follower) = self.list.get(&number)
                && let Some(place) = follower.due(at.now, pause)
            {
                if follower.is_unsure(place) {
                    self.ask(number, Question::Confirm(place), at.shared, at.now);
                } else {
                    self.save(number, place, at.shared, at.now);
                }
            }
        }
    }

    /// The grace period is over: followers that the state of this number did not register again end.
    pub(super) fn drop_old(&mut self, generation: u64, shared: &Shared) {
        let old = self.list.iter().filter(|(_, follower)| follower.generation != generation);
        let old: Vec<u64> = old.map(|(number, _)| *number).collect();
        old.into_iter().for_each(|number| self.end(number, shared));
    }

    fn end(&mut self, number: u64, shared: &Shared) {
        if let Some(place) = self.list.get(&number).and_then(Follower::unsaved) {
            self.save(number, place, shared, Instant::now());
        }
        if let Some(follower) = self.list.remove(&number) {
            self.ledger.forget(false, &follower.name);
            self.touched.push(follower.topic);
        }
    }

    /// The Lua state ends: places are saved, and what was read and not delivered is read again.
    pub(super) fn detach(&mut self, shared: &Shared) {
        self.parked = None;
        self.touch_all();
        let unsaved = self.list.iter().filter_map(|(number, follower)| Some((*number, follower.unsaved()?)));
        let unsaved: Vec<(u64, StreamId)> = unsaved.collect();
        unsaved.into_iter().for_each(|(number, place)| self.save(number, place, shared, Instant::now()));
        self.list.values_mut().for_each(Follower::detach);
    }

    /// The settings lead to another Redis, or to other names in it.
    pub(super) fn forget(&mut self) {
        self.list.values_mut().for_each(Follower::forget);
    }

    // ---- questions --------------------------------------------------------------------------------------------------

    /// Sends the question that is due.
    fn drive(&mut self, number: u64, shared: &Shared, now: Instant) {
        if let Some(question) = self.list.get(&number).and_then(|follower| follower.question(shared, now)) {
            self.ask(number, question, shared, now);
        }
    }

    fn ask(&mut self, number: u64, question: Question, shared: &Shared, now: Instant) {
        let Some((follower, config)) = self.list.get_mut(&number).zip(self.config.as_ref()) else { return };
        let channel = follower.topic.name();
        let range = |from: StreamId| {
            Command::new("XRANGE").arg_parts(&kept::key(config.prefix.as_bytes(), channel)).arg(from.to_string())
        };
        let (command, expect) = match question {
            Question::Place => (Command::new("GET").arg(place_key(config, follower)), Expect::Text),
            Question::End => (kept::newest(&config.prefix, channel, 1), Expect::Entries),
            Question::Read(from, count) => {
                (range(from).arg("+").arg("COUNT").arg_int(i64::from(count)), Expect::Entries)
            }
            Question::Confirm(place) => (range(place).arg(place.to_string()), Expect::Entries),
        };
        self.tickets += 1;
        let ticket = TICKET | self.tickets;
        let work = Work::Ask { command, expect, again: Again::Read };
        let run = Run::new(work, MISSED, channel, ReplyTo::Callback(ticket), now);
        if shared.outbox.push(Box::new(run)).is_ok() {
            follower.was_asked(question, ticket, now);
        } else if !matches!(question, Question::Confirm(_)) {
            follower.wait_a_moment(now);
        }
    }

    /// Takes the answer to a question. Gives it back if it is for a callback.
    pub(super) fn answered(&mut self, answer: CallbackAnswer, shared: &Shared, now: Instant) -> Option<CallbackAnswer> {
        if answer.ticket & TICKET == 0 {
            return Some(answer);
        }
        shared.stats.replies.delivered.add(1);
        let prefix = self.config.as_ref().map_or("", |config| &config.prefix);
        let steps: usize = self.list.iter().map(|(_, follower)| follower.step_bytes()).sum();
        let bytes = answer.outcome.as_ref().map_or(0, |answer| answer.tape.len());
        let is_full = steps > 0 && steps + bytes > STEPS_BYTES_MAX;
        let found = self.list.iter().find(|(_, follower)| follower.waits_for(answer.ticket)).map(|(number, _)| *number);
        if let Some((number, follower)) = found.and_then(|number| Some((number, self.list.get_mut(&number)?))) {
            if follower.checks(answer.ticket) {
                if let Some(place) = follower.checked(&answer.outcome) {
                    self.save(number, place, shared, now);
                }
                return None;
            }
            if is_full {
                follower.wait_a_moment(now);
                return None;
            }
            let around = Around { shared, ledger: &mut self.ledger, prefix, now };
            if let Some(question) = follower.answered(answer.outcome, &around) {
                // Redis has no place.
                if question == Question::End
                    && let Some(config) = &self.config
                    && self.known_places.note(&shared.data.join(FOLDER), &place_key(config, follower))
                {
                    follower.lost_its_place(shared);
                }
                self.ask(number, question, shared, now);
            }
        }
        None
    }

    /// Sends a place to Redis.
    fn save(&mut self, number: u64, place: StreamId, shared: &Shared, now: Instant) {
        let Some((follower, config)) = self.list.get_mut(&number).zip(self.config.as_ref()) else { return };
        let command = Command::new("SET").arg(place_key(config, follower)).arg(follower.text_of(place));
        let command = command.arg("EX").arg_int(PLACE_AGE_S);
        let work = Work::Ask { command, expect: Expect::Done, again: Again::Write };
        let run = Run::new(work, MISSED, follower.topic.name(), ReplyTo::Nobody, now);
        // A full outbox: the next tick tries again.
        if shared.outbox.push(Box::new(run)).is_ok() {
            follower.was_saved(place, now);
        }
    }

    // ---- events -----------------------------------------------------------------------------------------------------

    /// A live event has its turn. True: the listener of this follower gets it now.
    pub(super) fn takes(&mut self, number: u64, event: &Event, shared: &Shared, now: Instant) -> bool {
        let prefix = self.config.as_ref().map_or("", |config| &config.prefix);
        let mut around = Around { shared, ledger: &mut self.ledger, prefix, now };
        self.list.get_mut(&number).is_none_or(|follower| follower.takes(event, &mut around))
    }

    /// Whether the next tick has to look at the followers.
    pub(super) fn are_restless(&self) -> bool {
        self.parked.is_some() || self.list.iter().any(|(_, follower)| follower.is_restless())
    }

    /// Whether a follower may have an event of its own for its listener.
    pub(super) fn is_busy(&self) -> bool {
        self.parked.is_some() || self.list.iter().any(|(_, follower)| follower.is_busy())
    }

    /// The next event of a follower's own, of each follower in turn.
    pub(super) fn next(&mut self, shared: &Shared, listeners: &Listeners, now: Instant) -> Option<Call> {
        if let Some(Parked { number, event, is_missed, build }) = self.parked.take() {
            let call = self.call(number, event, is_missed, build, listeners);
            if call.is_some() {
                return call;
            }
            // The listener is gone, and may come back before the next tick.
            self.list.get_mut(&number).into_iter().for_each(Follower::detach);
        }
        // An event that is taken from a follower counts as delivered: nothing is taken for a listener that is gone, as it
        // may come back before the next tick.
        let is_due = |number, follower: &Follower| {
            follower.is_busy() && listeners.follower(follower.topic.name(), &follower.id) == Some(number)
        };
        let busy = self.list.iter().filter(|(number, follower)| is_due(**number, follower)).map(|(number, _)| *number);
        let mut busy: Vec<u64> = busy.collect();
        let after = busy.partition_point(|number| *number <= self.turn);
        busy.rotate_left(after);
        for number in busy.into_iter().take(LOOKED_THROUGH_MAX) {
            let prefix = self.config.as_ref().map_or("", |config| &config.prefix);
            let mut around = Around { shared, ledger: &mut self.ledger, prefix, now };
            let next = self.list.get_mut(&number).and_then(|follower| follower.next(&mut around));
            if let Some((event, is_missed)) = next {
                self.turn = number;
                if let Some(call) = self.call(number, event, is_missed, None, listeners) {
                    return Some(call);
                }
            } else {
                self.drive(number, shared, now);
            }
        }
        None
    }

    fn call(
        &self,
        number: u64,
        event: Event,
        is_missed: bool,
        build: Option<Box<Build>>,
        listeners: &Listeners,
    ) -> Option<Call> {
        let follower = self.list.get(&number)?;
        let (serial, listener) = listeners.get(follower.topic.name(), &follower.id)?;
        Some(Call::Deliver(Deliver {
            event,
            callback: listener.callback,
            wants_meta: listener.wants_meta,
            id: Arc::clone(&listener.id),
            build,
            after: 0,
            serial,
            until: serial,
            is_last: true,
            follow: Some(Follow { number, is_own: true, is_missed }),
        }))
    }

    /// Keeps a half-built event: it is the next one again.
    pub(super) fn park(&mut self, follow: Follow, event: Event, build: Option<Box<Build>>) {
        self.parked = Some(Parked { number: follow.number, event, is_missed: follow.is_missed, build });
    }

    /// The listener was called with the event.
    pub(super) fn delivered(&mut self, follow: Follow, event: &Event) {
        if let Some(follower) = self.list.get_mut(&follow.number) {
            follower.delivered(event, follow.is_own);
        }
    }
}

/// The key of a place. The length tells the end of the channel: channels and ids may have colons.
fn place_key(config: &Config, follower: &Follower) -> Vec<u8> {
    let channel = follower.topic.name();
    let head = format!("{}rt:place:{}:{}:", config.prefix, config.server, channel.len());
    [head.as_bytes(), channel, b":", &follower.id].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::call::CallbackRef;
    use crate::hooks::trie::VISITED;
    use crate::stats::Stats;

    /// Steps on the topic `t0` of the first follower: what a script does, and whether its listeners report gaps then.
    #[test]
    fn registrations_look_at_the_followers_of_their_own_topic_only() {
        let folder = std::env::temp_dir().join("realtime-followers-none");
        let shared = Shared::new(Config::defaults("box", 1), folder, Arc::new(Stats::default()), Arc::default());
        for others in [0, FOLLOWERS_MAX - 1] {
            let (mut followers, mut listeners) = (Followers::default(), Listeners::default());
            let mut routes = Routes::new("p:");
            let mut follow = |followers: &mut Followers, listeners: &mut Listeners, channel: &str| {
                listeners.take_changes().iter().for_each(|(topic, wanted)| routes.listen(topic, *wanted));
                followers.touch_channel(channel.as_bytes());
                VISITED.set(0);
                followers.follow(listeners, &mut routes);
                assert!(VISITED.get() <= 2, "{} routes looked at", VISITED.get());
                let reports = routes.get(false, b"p:t0").is_some_and(|route| route.recovers);
                assert!(followers.list.iter().all(|(number, known)| *number > 1 || known.reports_gaps == reports));
                reports
            };
            let on = |followers: &mut Followers, listeners: &mut Listeners, channel: &str| {
                let number = followers.add(channel.as_bytes(), b"x", 1, &shared).unwrap();
                listeners.add(channel.as_bytes(), Some(b"x"), CallbackRef(1), false);
                listeners.set_follower(channel.as_bytes(), b"x", number);
            };
            for number in 0..=others {
                on(&mut followers, &mut listeners, &format!("t{number}"));
                assert!(follow(&mut followers, &mut listeners, &format!("t{number}")));
            }
            listeners.add(b"plain", None, CallbackRef(2), false);
            assert!(follow(&mut followers, &mut listeners, "plain"));
            // A listener without `missed` beside it, which goes again.
            listeners.add(b"t0", Some(b"y"), CallbackRef(3), false);
            assert!(!follow(&mut followers, &mut listeners, "t0"));
            listeners.remove(b"t0", Some(b"y"));
            assert!(follow(&mut followers, &mut listeners, "t0"));
            // All go, and one without `missed` comes before the other comes again.
            listeners.remove(b"t0", None);
            followers.touch_channel(b"t0");
            listeners.add(b"t0", Some(b"y"), CallbackRef(4), false);
            on(&mut followers, &mut listeners, "t0");
            assert!(!follow(&mut followers, &mut listeners, "t0"));
            followers.detach(&shared);
            assert_eq!(followers.touched.len(), others + 1);
        }
    }
}
