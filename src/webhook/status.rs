//! A status message: when it is created, edited and created again. A pure state machine under the caller's clock, owned
//! by `rt-webhooks`, which does as [`StatusMessage::next`] says and reports the results. Its texts are made in `text`.
//! The id of the message stays in Redis, so that it outlives the process and all servers of a fleet know it.
//!
//! ```text
//!              next: Ask             read                 next: Make(None)
//!  unknown id ──────────▶ asked ─────────────▶ no message ─────────────────▶ created ─┐
//!    ▲                                            ▲    │ read: an id                  │ settled
//!    │ the lease is lost                          │    ▼                              ▼
//!    └────────────────────────────────────────────│── known id ◀──────────────────────┘
//!                                                 │    │ next: Make(Some(id)), at each interval
//!                                                 └────┘ settled: gone
//! ```
//! - A text that is equal to the shown one is sent again after [`LOOK_AFTER`] only: that finds a deleted message.
//! - After a deletion the message is created anew, but not twice within one interval.
//! - A lost answer to a creation makes a second message: nobody knows the id of the first.
//! - A text that Discord refuses is tried again after a delay that doubles up to [`LOOK_AFTER`].

use std::time::{Duration, Instant};

use crate::hooks::url::{Url, is_id};

pub(crate) mod text;

/// The time after which an unchanged text is sent again.
const LOOK_AFTER: Duration = Duration::from_secs(600);
/// Shortest time between two posts, even if a script adds its hook anew at every tick.
const GAP: Duration = Duration::from_secs(5);
/// Longest wait for Redis' answer, and the pause before it is asked again after an error.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// The age at which the id is written to Redis again. So it comes back after somebody emptied Redis.
const STORE_AGAIN: Duration = Duration::from_secs(3600);
/// How long Redis keeps the id of a message that is not edited any more, in seconds: 30 days.
pub(crate) const ID_KEPT_S: i64 = 30 * 86_400;

/// The step that is due for a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Wait,
    /// Ask Redis for the id, and report it to [`StatusMessage::read`].
    Ask,
    /// Take its waiting post out of the schedule: another server edits the message now.
    Withdraw,
    /// Make its text and pass it to [`StatusMessage::offer`]: for the message of this id, or for a new one.
    Make(Option<String>),
}

/// The result of a post.
#[derive(Debug, PartialEq)]
pub(crate) enum Settled {
    /// Discord shows the text. The id is that of a created message; `None` if the answer to the creation has none.
    Shown { id: Option<String> },
    /// The message was deleted.
    Gone,
    /// The text was given up.
    GivenUp,
    /// The webhook accepts nothing any more.
    Closed,
}

/// The consequence of a result for the caller.
#[derive(Debug, PartialEq)]
pub(crate) enum After {
    Nothing,
    /// Write this id to Redis.
    Store(String),
    /// Report that the message cannot be edited, as its id is not known. It is created no more.
    NoId,
}

#[derive(Debug)]
enum Id {
    /// It is asked for from this moment on.
    Unknown(Instant),
    /// Redis was asked. Without an answer until this moment it is asked again.
    Asked(Instant),
    /// `None`: there is no message yet.
    Known(Option<String>),
}

/// A text that was given to the schedule.
#[derive(Debug)]
struct Offered {
    body: String,
    /// It creates the message.
    is_new: bool,
}

/// The state of one status message.
#[derive(Debug)]
pub(crate) struct StatusMessage {
    interval: Duration,
    id: Id,
    /// When its text is made next.
    due: Instant,
    /// No text before this moment, whatever is due.
    not_before: Instant,
    offered: Option<Offered>,
    /// The text that Discord shows, and since when.
    shown: Option<(String, Instant)>,
    /// Texts in a row that were given up.
    given_up: u32,
    /// When the id was written to Redis.
    stored: Option<Instant>,
    /// The webhook is closed, or the id cannot be known.
    is_closed: bool,
}

impl StatusMessage {
    /// A message whose hook was added now.
    pub(crate) fn new(interval: Duration, now: Instant) -> StatusMessage {
        StatusMessage {
            interval,
            id: Id::Unknown(now),
            due: now,
            not_before: now,
            offered: None,
            shown: None,
            given_up: 0,
            stored: None,
            is_closed: false,
        }
    }

    /// Its hook was added again, perhaps with another text: whatever closed it may be repaired.
    pub(crate) fn added_again(&mut self, interval: Duration, now: Instant) {
        if std::mem::take(&mut self.is_closed) {
            self.id = Id::Unknown(now);
        }
        (self.interval, self.given_up) = (interval, 0);
        self.hurry(now);
    }

    /// Something that it shows has changed: the next text is due now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.due = self.due.min(now);
    }

    /// The key of the id has changed, or its right to edit ended: another server may create the message anew.
    pub(crate) fn forget(&mut self, now: Instant) {
        if !matches!(self.id, Id::Unknown(_)) {
            (self.id, self.shown, self.stored) = (Id::Unknown(now), None, None);
            self.hurry(now);
        }
    }

    /// The step that is due. `may_edit`: this server is the one that edits.
    pub(crate) fn next(&mut self, now: Instant, may_edit: bool) -> Step {
        if self.is_closed {
            return Step::Wait;
        }
        if !may_edit {
            self.forget(now);
            return if self.offered.take().is_some() { Step::Withdraw } else { Step::Wait };
        }
        match &self.id {
            Id::Unknown(at) | Id::Asked(at) if *at <= now => {
                self.id = Id::Asked(now + ASK_AGAIN);
                Step::Ask
            }
            Id::Known(id) if self.due.max(self.not_before) <= now => Step::Make(id.clone()),
            Id::Unknown(_) | Id::Asked(_) | Id::Known(_) => Step::Wait,
        }
    }

    /// The moment of the next step. `None`: none comes by itself.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.id {
            _ if self.is_closed => None,
            Id::Unknown(at) | Id::Asked(at) => Some(at),
            Id::Known(_) => Some(self.due.max(self.not_before)),
        }
    }

    /// Redis cannot be asked before this moment.
    pub(crate) fn ask_at(&mut self, at: Instant) {
        if matches!(self.id, Id::Asked(_)) {
            self.id = Id::Unknown(at);
        }
    }

    /// Redis has answered: the id, or none. An error (`None`) means that nobody knows; Redis is asked again later.
    pub(crate) fn read(&mut self, now: Instant, answer: Option<Option<String>>) {
        // An id that was learnt meanwhile, from a creation, is newer.
        if matches!(self.id, Id::Asked(_)) {
            self.id = answer.map_or(Id::Unknown(now + ASK_AGAIN), Id::Known);
        }
    }

    /// A text was made for [`Step::Make`]. True if it is to be sent; it then replaces one that waits.
    pub(crate) fn offer(&mut self, now: Instant, body: &str) -> bool {
        self.due = now + self.interval;
        let is_new = matches!(self.id, Id::Known(None));
        // The text that waits will be shown, not the one that is.
        let newest = match (&self.offered, &self.shown) {
            (Some(offered), _) => Some(&offered.body).filter(|_| offered.is_new == is_new),
            (None, Some((shown, since))) => Some(shown).filter(|_| !is_new && now < *since + LOOK_AFTER),
            (None, None) => None,
        };
        if newest.is_some_and(|newest| newest == body) {
            return false;
        }
        self.offered = Some(Offered { body: body.to_owned(), is_new });
        self.not_before = now + if is_new { self.interval } else { GAP };
        true
    }

    /// A text could not be made, or the last one was given up.
    pub(crate) fn give_up(&mut self, now: Instant) {
        self.offered = None;
        self.given_up = self.given_up.saturating_add(1);
        let delay = self.interval.saturating_mul(1 << self.given_up.min(16)).min(LOOK_AFTER.max(self.interval));
        self.due = now + delay;
    }

    /// The text that was offered last has its result.
    pub(crate) fn settled(&mut self, now: Instant, result: Settled) -> After {
        match result {
            Settled::Shown { id } => {
                self.given_up = 0;
                let offered = self.offered.take();
                // The hook was removed and added again while its text was on its way, or a panic lost the text.
                let is_new = offered.as_ref().map_or(id.is_some(), |offered| offered.is_new);
                if is_new && id.is_none() {
                    self.is_closed = true;
                    return After::NoId;
                }
                self.shown = offered.map(|offered| (offered.body, now));
                if is_new {
                    self.id = Id::Known(id);
                }
                self.store(now, is_new)
            }
            Settled::Gone => {
                // A lease that was lost meanwhile leaves the id unknown.
                if matches!(self.id, Id::Known(_)) {
                    self.id = Id::Known(None);
                }
                (self.offered, self.shown) = (None, None);
                self.hurry(now);
                After::Nothing
            }
            Settled::GivenUp => {
                self.give_up(now);
                After::Nothing
            }
            Settled::Closed => {
                (self.offered, self.is_closed) = (None, true);
                After::Nothing
            }
        }
    }

    fn store(&mut self, now: Instant, is_new: bool) -> After {
        let Id::Known(Some(id)) = &self.id else { return After::Nothing };
        if !is_new && self.stored.is_some_and(|stored| now < stored + STORE_AGAIN) {
            return After::Nothing;
        }
        self.stored = Some(now);
        After::Store(id.clone())
    }
}

/// The URL that creates the message of this webhook. Discord shows the id of a message with `wait=true` only:
/// <https://docs.discord.com/developers/resources/webhook#execute-webhook>.
pub(crate) fn create_url(webhook: &Url) -> Url {
    webhook.below("", "wait").with_query("wait=true")
}

/// The URL that edits the message of this id. Its query names the thread, as for the creation:
/// <https://docs.discord.com/developers/resources/webhook#edit-webhook-message>.
pub(crate) fn edit_url(webhook: &Url, id: &str) -> Url {
    webhook.below(&format!("/messages/{id}"), "wait")
}

/// Reads the stored id. `None`: nothing is stored, or something that is no id.
pub(crate) fn stored_id(text: &[u8]) -> Option<String> {
    std::str::from_utf8(text).ok().filter(|id| is_id(id)).map(str::to_owned)
}

#[cfg(test)]
mod tests;
