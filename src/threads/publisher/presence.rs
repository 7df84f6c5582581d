//! The presence of this server: it writes its own keys, looks who else is there, and reports servers that come and go.
//! Runs on `rt-publisher`, on its connection, so that it works while the game sleeps. The keys and texts are those of
//! `redis/presence.rs`.
//!
//! ```text
//!  every BEAT    SET server:<own> EX 3 BEATS, ZRANGE index ──▶ members
//!  at its reply  ZADD index <own>  if it is not a member
//!                MGET server:<others>                        ──▶ alive, or gone
//!  at its reply  ZREM index <gone>
//! ```
//! A server is present from the first values that its game tells. A killed server is gone when its key has ended: after
//! [`LIFE_BEATS`] and one look. At the end of a Lua state, which may be the end of the process, the key gets the short life
//! [`LEAVING_MS`], and if the process lives on, the next beat makes it long again before that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use crate::event::identity;
use crate::event::notice::Notice;
use crate::hooks::status::Player;
use crate::redis::presence::{self, Kind};
use crate::redis::reply::Reply;
use crate::threads::links::Limit;
use crate::threads::publisher::in_flight::{OwnCommands, PresenceRequest, Sent};
use crate::threads::publisher::standing::LEAVING_MS;
use crate::threads::shared::Shared;

/// Time between two beats of a server, each with a look at the others.
const BEAT: Duration = Duration::from_secs(10);
/// How long a server stays visible after its last beat, in beats. One may be late by another.
const LIFE_BEATS: u32 = 3;
/// Time between two looks at the own players, if the others see them.
const PLAYERS_BEAT: Duration = Duration::from_secs(2);
/// How long before a beat the game is asked for its values: longer than a tick.
const ASK_BEFORE: Duration = Duration::from_secs(1);
/// Time from the end of a Lua state to the next beat.
const RETURN: Duration = Duration::from_millis(1000);
const _: () = assert!(LIFE_BEATS > 2 && RETURN.as_millis() * 2 < LEAVING_MS as u128);
/// Longest time between two beats: it doubles while Redis refuses them.
const BEAT_MAX: Duration = Duration::from_secs(320);
/// Beats in a row that a busy Redis may refuse until that is reported: by then the key has ended.
const FAILURES_QUIET: u32 = 2;
/// Bound of the number of doublings.
const FAILURES_MAX: u32 = 5;

/// The settings that it follows.
#[derive(Default, PartialEq, Clone)]
struct Follows {
    is_on: bool,
    shows_players: bool,
    thrift: u32,
    prefix: String,
    name: String,
}

#[derive(Default)]
pub(super) struct Presence {
    settings: u64,
    follows: Follows,
    /// Counts the changes of what it follows. A look that was asked for before a change may show the servers of another
    /// prefix.
    era: u64,
    /// The own member of the index, from the first beat on.
    own: Option<Box<str>>,
    /// Counts the own texts.
    beat: u64,
    /// When the next beat is due; `None`: as soon as the game has told its values.
    due: Option<Instant>,
    /// The next look at the own players.
    players_due: Option<Instant>,
    /// The game was asked for the values of the next beat.
    has_asked: bool,
    /// The players in the last text.
    players: Vec<Player>,
    /// When the connection was ready.
    ready: Option<Instant>,
    /// The servers at the last look, each with the number of its text. `None`: there was no look yet.
    known: Option<BTreeMap<Box<str>, u64>>,
    /// Commands that the last replies ask for: members to be removed and looked at, and whether the own is missing.
    remove: Vec<Box<[u8]>>,
    look_at: Option<Vec<Box<str>>>,
    is_missing: bool,
    /// A command failed since the last beat, and so many beats before it failed in a row.
    has_failed: bool,
    failures: u32,
    /// The member of another server that has the own name.
    namesake: Option<Box<str>>,
}

impl Presence {
    /// A new connection.
    pub(super) fn reconnected(&mut self, now: Instant) {
        (self.due, self.players_due, self.look_at, self.ready) = (None, None, None, Some(now));
        (self.has_failed, self.failures) = (false, 0);
        self.remove.clear();
    }

    /// When the next command or question is due.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let due = self.due.filter(|_| self.follows.is_on)?;
        if self.has_to_look() {
            return Some(now);
        }
        let next = self.next(due);
        Some(if self.has_asked { next } else { next - ASK_BEFORE })
    }

    /// The next time at which the values of the game are needed, if the next beat is due then.
    fn next(&self, due: Instant) -> Instant {
        self.players_due.map_or(due, |players| players.min(due))
    }

    /// Whether the last replies ask for commands.
    fn has_to_look(&self) -> bool {
        self.is_missing || self.look_at.is_some() || !self.remove.is_empty()
    }

    /// The commands that are due. The session asks in each round, so nothing is made before it is needed.
    pub(super) fn ask(&mut self, shared: &Shared, now: Instant) -> OwnCommands {
        let mut out = OwnCommands::default();
        if shared.settings.version() != self.settings {
            out = self.follow(shared);
        }
        if !out.sent.is_empty() {
            return out;
        }
        if !self.follows.is_on {
            return out;
        }
        if self.has_to_look() {
            self.look(&mut out);
        }
        if shared.presence.take_leaving() {
            self.due = Some(now + RETURN);
        }
        let next = self.due.map(|due| self.next(due));
        if !self.has_asked && next.is_none_or(|next| next <= now + ASK_BEFORE) {
            self.has_asked = true;
            shared.webhooks.desk.ask_game();
            shared.inbox.raise_attention();
        }
        if next.is_some_and(|next| now < next) {
            return out;
        }
        let Some(game) = shared.webhooks.desk.game() else {
            // The game loads, and has told nothing yet.
            self.has_asked = false;
            return out;
        };
        let is_beat = self.due.is_none_or(|due| now >= due);
        self.has_asked = false;
        self.players_due = self.follows.shows_players.then(|| now + PLAYERS_BEAT * self.follows.thrift);
        if !is_beat && (self.has_failed || self.players == game.values.list) {
            return out;
        }
        if is_beat {
            self.failures = if self.has_failed { (self.failures + 1).min(FAILURES_MAX) } else { 0 };
            self.has_failed = false;
        }
        let Follows { prefix, name, .. } = &self.follows;
        out.key = presence::index(prefix);
        self.beat += 1;
        let (seen, life) = (identity::unix_ms(SystemTime::now()), self.life().as_secs().to_string());
        let own = self.own.get_or_insert_with(|| presence::member(name, shared.boot).into());
        let text = presence::server_text(name, &game.values, shared.webhooks.desk.started_ms, seen, self.beat);
        let key = presence::key(prefix, Kind::Server, own);
        out.add(&[b"SET", &key, text.as_bytes(), b"EX", life.as_bytes()], PresenceRequest::Write);
        shared.presence.set(Some(key.into()));
        if self.follows.shows_players {
            let (key, text) = (presence::key(prefix, Kind::Players, own), presence::players_text(&game.values.list));
            out.add(&[b"SET", &key, text.as_bytes(), b"EX", life.as_bytes()], PresenceRequest::Write);
            self.players = game.values.list;
        }
        if is_beat {
            self.due = Some(now + self.interval());
            presence::encode_index(&mut out.bytes, prefix);
            out.sent.push(Sent::Presence(PresenceRequest::Index(self.era)));
        }
        out
    }

    /// The time between two beats: longer on a Redis that is paid by the command, or that refuses them.
    fn interval(&self) -> Duration {
        (BEAT * (self.follows.thrift.max(1) << self.failures)).min(BEAT_MAX)
    }

    /// How long this server stays visible after its last beat.
    fn life(&self) -> Duration {
        self.interval() * LIFE_BEATS
    }

    /// Adds the commands that the last replies ask for.
    fn look(&mut self, out: &mut OwnCommands) {
        let (prefix, index) = (&self.follows.prefix, presence::index(&self.follows.prefix));
        out.key.clone_from(&index);
        if let Some(own) = self.own.as_ref().filter(|_| self.is_missing) {
            out.add(&[b"ZADD", &index, b"0", own.as_bytes()], PresenceRequest::Write);
        }
        self.is_missing = false;
        if !self.remove.is_empty() {
            let members = std::mem::take(&mut self.remove);
            let words = [&b"ZREM"[..], &index].into_iter().chain(members.iter().map(AsRef::as_ref));
            out.add(&words.collect::<Vec<_>>(), PresenceRequest::Write);
        }
        if let Some(members) = self.look_at.take() {
            presence::encode_values(&mut out.bytes, prefix, Kind::Server, &members);
            out.sent.push(Sent::Presence(PresenceRequest::Values(self.era, members)));
        }
    }

    /// Follows the settings. A server that shows itself no more, or under another name, takes its keys away.
    fn follow(&mut self, shared: &Shared) -> OwnCommands {
        self.settings = shared.settings.version();
        let config = shared.settings.current();
        let follows = Follows {
            is_on: config.presence,
            shows_players: config.presence && config.presence_players,
            thrift: config.thrift(),
            prefix: config.prefix.clone(),
            name: config.server.clone(),
        };
        shared.webhooks.desk.be_present(follows.is_on, follows.shows_players);
        if follows == self.follows {
            return OwnCommands::default();
        }
        let out = self.end(shared);
        // A server that went since the last look is still to be told, unless this one looks elsewhere or looked away.
        let looks_on = self.follows.is_on && self.follows.prefix == follows.prefix;
        let known = self.known.take().filter(|_| looks_on);
        let (settings, era, beat, ready) = (self.settings, self.era + 1, self.beat, self.ready);
        *self = Presence { settings, follows, era, beat, ready, known, ..Presence::default() };
        [Limit::Presence, Limit::Name].into_iter().for_each(|limit| shared.limits.lift(limit));
        out
    }

    /// The commands that take the own keys away: the server ends, or is to be seen no more.
    pub(super) fn end(&mut self, shared: &Shared) -> OwnCommands {
        let mut out = OwnCommands::default();
        let Some(own) = self.own.take() else { return out };
        let prefix = &self.follows.prefix;
        let index = presence::index(prefix);
        let keys = [Kind::Server, Kind::Players].map(|kind| presence::key(prefix, kind, &own));
        out.add(&[b"DEL", &keys[0], &keys[1]], PresenceRequest::Write);
        out.add(&[b"ZREM", &index, own.as_bytes()], PresenceRequest::Write);
        out.key = index;
        shared.presence.set(None);
        out
    }

    /// Another node of the cluster has the keys: the next beat, at this moment, goes there.
    pub(super) fn put_off(&mut self, until: Instant) {
        self.due = Some(until);
    }

    /// Notes that Redis refused a command. True if this is worth a report: an error that passes has to last.
    pub(super) fn note_failure(&mut self, passes: bool) -> bool {
        self.has_failed = true;
        !passes || self.failures >= FAILURES_QUIET
    }

    /// The own name, if another server has it as well.
    pub(super) fn shared_name(&self) -> Option<&str> {
        self.namesake.as_ref().map(|_| self.follows.name.as_str())
    }

    /// Reads a reply that is no error. True: the whole look succeeded. `Err` describes a reply of another kind.
    pub(super) fn answered(
        &mut self,
        request: PresenceRequest,
        reply: Reply<'_>,
        shared: &Shared,
        now: Instant,
    ) -> Result<bool, String> {
        match request {
            PresenceRequest::Write => return Ok(false),
            PresenceRequest::Index(era) | PresenceRequest::Values(era, _) if era != self.era => return Ok(false),
            PresenceRequest::Index(_) => {
                let found = presence::read_index(reply);
                let (mut members, others) =
                    found.ok_or_else(|| format!("expected the reply of ZRANGE, found {}", reply.describe()))?;
                shared.stats.presence_skipped.add(others.len() as u64);
                self.remove = others;
                let Some(own) = &self.own else { return Ok(false) };
                self.is_missing = !members.contains(own);
                if self.is_missing && self.known.is_some() {
                    // Redis has lost its keys: the others write theirs again with their next beats.
                    self.ready = Some(now);
                }
                members.retain(|member| member != own);
                if members.is_empty() {
                    self.compare(BTreeMap::new(), shared, now);
                } else {
                    self.look_at = Some(members);
                    return Ok(false);
                }
            }
            PresenceRequest::Values(_, members) if matches!(reply, Reply::TooLarge(_)) => {
                // Some program wrote values of many megabytes, and one of them would hide all servers for ever. Those that
                // live add themselves again with their next beats.
                shared.stats.presence_skipped.add(members.len() as u64);
                self.remove = members.into_iter().map(str::into_boxed_bytes).collect();
                self.ready = Some(now);
            }
            PresenceRequest::Values(_, members) => {
                let values = reply.array();
                let values = values.ok_or_else(|| format!("expected the reply of MGET, found {}", reply.describe()))?;
                let mut alive = BTreeMap::new();
                for (member, value) in members.into_iter().zip(values.iter()) {
                    match value.text().map(|text| presence::beat_of(&member, text)) {
                        Some(Some(beat)) => _ = alive.insert(member, beat),
                        Some(None) => shared.stats.presence_skipped.add(1),
                        // Its key has ended.
                        None => self.remove.push(Box::from(member.as_bytes())),
                    }
                }
                self.compare(alive, shared, now);
            }
        }
        Ok(!self.has_failed && !self.is_missing && self.remove.is_empty())
    }

    /// Reports the servers that came and went since the last look. The first look reports none.
    fn compare(&mut self, mut alive: BTreeMap<Box<str>, u64>, shared: &Shared, now: Instant) {
        let Some(known) = self.known.take() else {
            self.known = Some(alive);
            return;
        };
        // After a loss of the connection, or of all keys, the others may need as long as this server to come back.
        if self.ready.is_some_and(|ready| now < ready + self.life()) {
            for (member, beat) in &known {
                alive.entry(member.clone()).or_insert(*beat);
            }
        }
        let own = self.follows.name.as_str();
        let names = |of: &BTreeMap<Box<str>, u64>| -> BTreeSet<Box<str>> {
            of.keys()
                .filter_map(|member| presence::name_of(member))
                .filter(|name| *name != own)
                .map(Box::from)
                .collect()
        };
        let (before, after) = (names(&known), names(&alive));
        for name in after.difference(&before) {
            shared.notices.push(Notice::ServerUp { name: name.clone() });
        }
        for name in before.difference(&after) {
            shared.notices.push(Notice::ServerDown { name: name.clone() });
        }
        // A server of this name that was killed before this one began has a key, too, but its text does not change.
        let is_namesake = |member: &str, beat: u64| {
            presence::name_of(member) == Some(own) && known.get(member).is_some_and(|last| *last != beat)
        };
        let still = self.namesake.take().filter(|member| alive.contains_key(member));
        let found =
            || alive.iter().find(|(member, beat)| is_namesake(member, **beat)).map(|(member, _)| member.clone());
        self.namesake = still.or_else(found);
        self.known = Some(alive);
    }
}

#[cfg(test)]
mod tests;
