//! The status messages of this server, as `rt-webhooks` keeps them: one for each hook of type `discord_status`. Follows
//! the routes and the settings, asks Redis for ids and the game for values, and makes posts. The rules are in
//! `webhook/status.rs`. Never waits.
//!
//! ```text
//!  routes, settings ─▶ follow ─▶ [Entry] ─▶ tend ─▶ posts for the schedule
//!  StatusDesk: ids of Redis ────────────────▲ │
//!              values of the game ──────────┘ └─▶ questions to Redis and to the game
//! ```
//! A panic of the thread loses the entries. They are made again, and read their ids from Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::event::fingerprint::Fingerprint;
use crate::hooks::hook::Hook;
use crate::hooks::status::{STATUSES_MAX, Status};
use crate::io::lock::lock;
use crate::json::tape::{Reader, TapeItem};
use crate::redis::answer::{AnswerResult, Expect};
use crate::redis::command::Command;
use crate::threads::publisher::replies::ReplyTo;
use crate::threads::publisher::run::{Again, Run, Work};
use crate::threads::shared::Shared;
use crate::threads::webhooks::desk::Told;
use crate::webhook::discord::Message;
use crate::webhook::post::{Content, PostAddress};
use crate::webhook::status::text::{self, Values};
use crate::webhook::status::{self, After, Settled, StatusMessage, Step};

/// How long a text waits for fresh values of the game. A game that sleeps or loads a map tells none: then the text shows
/// the last ones, and `{time}` says how old they are.
const GAME_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks at a lease that another server holds, or at a connection that is down.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// One status message.
pub(super) struct Entry {
    /// Names its id in Redis.
    key: Fingerprint,
    pub(super) hook: Arc<Hook>,
    status: Arc<Status>,
    pub(super) address: PostAddress,
    message: StatusMessage,
}

/// A text that is to be sent.
pub(super) struct Made {
    pub(super) address: PostAddress,
    pub(super) hook: Arc<[u8]>,
    /// The reason, if no message can be made.
    pub(super) content: Result<Content, String>,
    /// A sentence for each part that the message goes without.
    pub(super) left_out: Vec<String>,
}

/// All status messages, and what they follow.
#[derive(Default)]
pub(super) struct Statuses {
    entries: Vec<Entry>,
    /// Versions of the routes and the settings that the entries follow; 0 before the first.
    routes: u64,
    settings: u64,
    prefix: String,
    server: String,
    /// When the game was asked for values that no text has used yet.
    asked: Option<Instant>,
    /// The map of the last values.
    map: Option<String>,
}

impl Statuses {
    /// Follows the routes and the settings. Returns the addresses whose waiting posts are to be withdrawn, and those that
    /// are to be opened again because their hook was added again.
    pub(super) fn follow(&mut self, shared: &Shared, now: Instant) -> (Vec<PostAddress>, Vec<PostAddress>) {
        let (mut gone, mut again) = (Vec::new(), Vec::new());
        let (routes_version, settings_version) = (shared.published.version(), shared.settings.version());
        if (routes_version, settings_version) == (self.routes, self.settings) {
            return (gone, again);
        }
        let ((routes_version, routes), config) = (shared.published.current(), shared.settings.current());
        (self.routes, self.settings) = (routes_version, settings_version);
        if self.prefix != config.prefix {
            self.prefix.clone_from(&config.prefix);
            self.entries.iter_mut().for_each(|entry| entry.message.forget(now));
        }
        self.server.clone_from(&config.server);
        let mut before = std::mem::take(&mut self.entries);
        for hook in routes.statuses().take(STATUSES_MAX) {
            let Some(status) = hook.status() else { continue };
            let key = key_of(hook, status, &self.server);
            let entry = match before.iter().position(|entry| entry.key == key) {
                Some(at) => {
                    let mut entry = before.swap_remove(at);
                    if !Arc::ptr_eq(&entry.hook, hook) {
                        entry.replace(hook, status, now);
                        again.push(entry.address.clone());
                    }
                    entry
                }
                None => Entry {
                    key,
                    hook: Arc::clone(hook),
                    status: Arc::clone(status),
                    address: PostAddress::status(&status.discord.url, key),
                    message: StatusMessage::new(status.interval, now),
                },
            };
            self.entries.push(entry);
        }
        gone.extend(before.into_iter().map(|entry| entry.address));
        shared.webhooks.desk.use_it(!self.entries.is_empty());
        (gone, again)
    }

    /// Does the steps that are due, and returns the texts to be sent. Adds the addresses whose waiting posts are to be
    /// withdrawn to `gone`. `in_flight` says whether a post to an address is in flight: its result decides the next step.
    pub(super) fn tend(
        &mut self,
        shared: &Shared,
        now: Instant,
        gone: &mut Vec<PostAddress>,
        in_flight: impl Fn(&PostAddress) -> bool,
    ) -> Vec<Made> {
        let desk = &shared.webhooks.desk;
        while let Some((key, outcome)) = desk.take_answer() {
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) {
                entry.message.read(now, id_in(outcome));
            }
        }
        if self.entries.is_empty() {
            return Vec::new();
        }
        let game = desk.game();
        if let Some(Told { values, .. }) = game.as_ref().filter(|told| told.values.map != self.map) {
            self.map.clone_from(&values.map);
            self.entries.iter_mut().for_each(|entry| entry.message.hurry(now));
        }
        let mut due = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if in_flight(&entry.address) {
                continue;
            }
            match entry.message.next(now, entry.may_edit(now)) {
                Step::Wait => {}
                Step::Withdraw => gone.push(entry.address.clone()),
                Step::Ask if !shared.links.publisher.is_ready() => entry.message.ask_at(now + LOOK_AGAIN),
                Step::Ask => ask(shared, entry, &self.prefix, now),
                Step::Make(id) => due.push((at, id)),
            }
        }
        if due.is_empty() {
            // The values of an older question would be old when a text is due again.
            self.asked = None;
            return Vec::new();
        }
        let asked = match self.asked {
            Some(asked) if game.is_some() || now < asked + GAME_PATIENCE => asked,
            // Also while there are no values at all: a question whose answer failed is asked again.
            _ => {
                desk.ask_game();
                shared.inbox.raise_attention();
                *self.asked.insert(now)
            }
        };
        // The first message waits for the first tick: without any value it would say nothing.
        let Some(told) = game.filter(|told| told.at >= asked || now >= asked + GAME_PATIENCE) else {
            return Vec::new();
        };
        self.asked = None;
        let (server, game, unix_ms) = (&self.server, &told.values, told.unix_ms);
        let (started_ms, offset_s) = (desk.started_ms, shared.zone.offset_s());
        // Each entry has lines and a channel of its own.
        let values = Values { server, game, unix_ms, started_ms, offset_s, lines: &[], channel: b"" };
        let entries = &mut self.entries;
        due.into_iter().filter_map(|(at, id)| entries.get_mut(at)?.make(id, &values, now)).collect()
    }

    /// When [`Statuses::tend`] has something to do, if nothing rings the bell before. `None`: never.
    pub(super) fn due(&self, now: Instant, in_flight: impl Fn(&PostAddress) -> bool) -> Option<Instant> {
        let due = self
            .entries
            .iter()
            .filter(|entry| !in_flight(&entry.address))
            .filter_map(|entry| if entry.may_edit(now) { entry.message.due() } else { Some(now + LOOK_AGAIN) });
        // A text that is due already waits for values of the game, which ring the bell.
        let patience = self.asked.map(|asked| asked + GAME_PATIENCE).filter(|patience| *patience > now);
        due.filter_map(|due| if due <= now { patience } else { Some(due) }).min()
    }

    /// Takes the result of a post of this message, and writes its id to Redis if there is a new one. Returns a reason if
    /// the message cannot be kept up to date.
    pub(super) fn settled(
        &mut self,
        shared: &Shared,
        now: Instant,
        key: Fingerprint,
        result: Settled,
    ) -> Option<&'static str> {
        let after = match self.entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.message.settled(now, result),
            // Its hook is gone, or a panic lost the entry: the message that was created is still its message.
            None => match result {
                Settled::Shown { id: Some(id) } => After::Store(id),
                _ => After::Nothing,
            },
        };
        match after {
            After::Nothing => None,
            After::NoId => Some("the answer has no id of the message, so it cannot be edited; it is not posted again"),
            After::Store(id) => {
                store(shared, key, &id, &self.prefix, now);
                None
            }
        }
    }
}

impl Entry {
    /// Whether this server edits the message.
    fn may_edit(&self, now: Instant) -> bool {
        !self.status.is_fleet || self.hook.lease.holds(now)
    }

    /// The hook was added again. The lines of its events go on.
    fn replace(&mut self, hook: &Arc<Hook>, status: &Arc<Status>, now: Instant) {
        if let (Some(old), Some(new)) = (&self.status.lines, &status.lines) {
            let older = lock(&old.kept).all();
            lock(&new.kept).continue_from(older);
        }
        (self.hook, self.status) = (Arc::clone(hook), Arc::clone(status));
        self.message.added_again(status.interval, now);
    }

    /// Makes the post with the present text. `None`: the text is shown already, or waits.
    fn make(&mut self, id: Option<String>, values: &Values<'_>, now: Instant) -> Option<Made> {
        let lines = self.status.lines.as_ref().map(|lines| lock(&lines.kept).all()).unwrap_or_default();
        let values = Values { lines: &lines, channel: self.hook.topic.name(), ..*values };
        let mut left_out = Vec::new();
        let message = text::message_of(&self.status, &values, &mut left_out).map_err(|err| err.to_string());
        let content = match message {
            Ok(message) if !self.message.offer(now, &message.edit_body()) => return None,
            Ok(message) => Ok(self.content(message, id)),
            Err(reason) => {
                self.message.give_up(now);
                Err(reason)
            }
        };
        Some(Made { address: self.address.clone(), hook: Arc::clone(&self.hook.id), content, left_out })
    }

    fn content(&self, message: Message, id: Option<String>) -> Content {
        let (webhook, is_new) = (&self.status.discord.url, id.is_none());
        let url = id.map_or_else(|| status::create_url(webhook), |id| status::edit_url(webhook, &id));
        Content::Status { url, message, is_new }
    }
}

/// The key of a status message: equal after a restart, and on every server of a fleet if the message is the fleet's.
fn key_of(hook: &Hook, status: &Status, server: &str) -> Fingerprint {
    let hook_key = Fingerprint::of(hook.topic.name(), &Value::Null).with(&hook.id);
    let key = hook_key.with(status.discord.url.reveal().as_bytes());
    if status.is_fleet { key } else { key.with(server.as_bytes()) }
}

/// The operation of the commands below in reports.
const OPERATION: &str = "status";

/// Asks Redis for the id of a message.
fn ask(shared: &Shared, entry: &mut Entry, prefix: &str, now: Instant) {
    let name = name_of(entry.key);
    let command = Command::new("GET").arg_parts(&[prefix.as_bytes(), name.as_bytes()]);
    let work = Work::Ask { command, expect: Expect::Text, again: Again::Read };
    let run = Run::new(work, OPERATION, name.as_bytes(), ReplyTo::Status(entry.key), now);
    if shared.outbox.push(Box::new(run)).is_err() {
        entry.message.ask_at(now + LOOK_AGAIN);
    }
}

/// Writes the id of a message to Redis. A full queue is no loss: the id is written again later (`webhook/status.rs`).
fn store(shared: &Shared, key: Fingerprint, id: &str, prefix: &str, now: Instant) {
    let name = name_of(key);
    let command = Command::new("SETEX").arg_parts(&[prefix.as_bytes(), name.as_bytes()]);
    let command = command.arg_int(status::ID_KEPT_S).arg(id);
    let work = Work::Ask { command, expect: Expect::Done, again: Again::Write };
    let run = Run::new(work, OPERATION, name.as_bytes(), ReplyTo::Nobody, now);
    if let Err(full) = shared.outbox.push(Box::new(run)) {
        let waiting = full.waiting;
        log::warn!("the id of a status message is not stored: queue_full: {waiting} commands wait for redis");
    }
}

/// The key in Redis, without the prefix.
fn name_of(key: Fingerprint) -> String {
    format!("rt:status:{key}")
}

/// The id in Redis' answer; `Some(None)`: there is none. `None`: Redis could not tell.
fn id_in(outcome: AnswerResult) -> Option<Option<String>> {
    let answer = outcome.ok()?;
    match Reader::new(&answer.tape).next_item()? {
        TapeItem::Text(text) => Some(status::stored_id(text)),
        _ => Some(None),
    }
}
