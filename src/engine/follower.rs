//! One listener with `missed`: where it stands in the stream of its channel, and what it gets next. Game thread; asks no
//! question itself ([`Follower::question`] says which one is next, `followers.rs` sends it).
//!
//! ```text
//!               ┌──────────────── a connection was lost, the inbox overflowed, an event came without an entry ─────────────┐
//!               ▼                                                                                                          │
//!   Waiting ── subscribed ──▶ Asked: its place? the end? what follows? ──▶ Delivers ── all delivered, none ignored ──▶ Live ┘
//!      ▲                                                                      │
//!      └─────────── the reply was full, or live events were ignored ──────────┘
//! ```
//!
//! Guarantees: the subscription stands before the stream is read, so that no event falls between both. Events come in the
//! order of the stream. An event that was delivered is not delivered again by this process: the ledger knows its number.
//! The entry of a live event may be forged: it is a place for good only once the stream was asked for it.
//! Live events are held back while the stream is read. Beyond [`HELD_EVENTS_MAX`] they are ignored, as the stream has
//! them; only events without an entry are lost then, counted and told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::event::identity::{self, Identity};
use crate::event::ledger::{Ledger, Sight};
use crate::event::notice::Notice;
use crate::event::stream_id::StreamId;
use crate::event::topic::Topic;
use crate::event::{Arrival, Arrived, Decoded, Event};
use crate::json::tape::{Reader, TapeItem};
use crate::redis::answer::{Answer, AnswerResult};
use crate::redis::error_reply::{Class, ErrorReply};
use crate::redis::history::{self, EntryKind, ReadEntry};
use crate::threads::publisher::replies::Ticket;
use crate::threads::shared::Shared;

/// Live events that one listener holds back while it reads the stream, and their bytes.
const HELD_EVENTS_MAX: usize = 1024;
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Entries that one reply has at first, and after replies that were too large. The first one is the place itself.
const STEP_ENTRIES: u32 = 200;
const STEP_ENTRIES_MIN: u32 = 2;
/// How many more the next reply has after one that was not too large.
const STEP_ENTRIES_MORE: u32 = 4;
/// Entries of a reply that are passed over in one look, because the listener had their events.
const PASSED_OVER_MAX: u32 = 64;
/// The pause after a question that failed for the moment.
const RETRY: Duration = Duration::from_secs(1);

/// The operation that the game hook `RealtimeError` names.
pub(super) const MISSED: &str = "missed";

/// A question to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The place that was saved.
    Place,
    /// The last entry of the stream.
    End,
    /// So many entries from this one on.
    Read(StreamId, u32),
    /// This entry, which a live event has named. Live events go on meanwhile.
    Confirm(StreamId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For the subscription, or for the end of a pause.
    Waiting,
    /// For the answer to this question.
    Asked(Question),
    /// The entries of a reply, and behind the last ones the events that were held back.
    Delivers {
        is_last: bool,
    },
    Live,
    /// Redis does not let this server read streams: live events only, until the next connection.
    Off,
}

pub(super) struct Follower {
    pub(super) topic: Arc<Topic>,
    pub(super) id: Arc<[u8]>,
    /// The name of its numbers in the ledger.
    pub(super) name: Box<[u8]>,
    /// The Lua state that registered it last.
    pub(super) generation: u64,
    /// The routes whose subscriptions must stand; 0 until they are published.
    pub(super) version: u64,
    /// It reports the gaps in the numbers of live events.
    pub(super) reports_gaps: bool,
    state: State,
    asked: Ticket,
    /// The end of a pause.
    not_before: Option<Instant>,
    /// Lost connections and overflows of the inbox, as last seen.
    upheavals: (u64, u64),
    /// The entry that was delivered last. [`StreamId::NONE`]: the stream had none. `None`: not known yet.
    place: Option<StreamId>,
    /// The last place that the stream has shown or Redis has kept. The place may be beyond it: live events named it.
    confirmed: Option<StreamId>,
    /// The last question whether the stream has the place.
    check: Option<(Ticket, StreamId, Instant)>,
    /// The stream did not have the place that was asked for: it is read again, although no event was lost.
    is_recheck: bool,
    /// The place that Redis has, and when it was sent there.
    saved: Option<(StreamId, Instant)>,
    /// The reply that is being delivered, and the next entry in it.
    step: Vec<u8>,
    at: usize,
    /// The entry that was handed out last, and whether the stream has shown it.
    handed: (StreamId, bool),
    step_entries: u32,
    /// The sender's process and the number of the event that the listener is about to get: the ledger has it already.
    in_hand: Option<(u64, u64)>,
    /// The same for an event that did not reach its listener, because that was gone: it is no repeat.
    owed: Option<(u64, u64)>,
    held: VecDeque<Event>,
    held_bytes: usize,
    /// How many of them came before the last question: the answer has their entries, if they have any.
    held_before: usize,
    /// Live events with an entry were ignored.
    is_behind: bool,
    /// Redis had no place, so nothing was read: events that came meanwhile are those that were held back.
    is_first: bool,
    /// Redis refused the last question for good: the events that were held back come, then live events only.
    is_refused: bool,
    /// The stream did not hold the place, and no number was told.
    has_gap: bool,
    /// Hashes of delivered entries without a number: a live event of the same text is one of them.
    plain: VecDeque<u32>,
    /// An event that came without an entry was not in the stream: such events are delivered at once.
    takes_plain: bool,
    /// That was said.
    said_plain: bool,
}

/// The parts of the engine that a follower needs.
pub(super) struct Around<'a> {
    pub(super) shared: &'a Shared,
    pub(super) ledger: &'a mut Ledger,
    pub(super) prefix: &'a str,
    pub(super) now: Instant,
}

impl Follower {
    pub(super) fn new(topic: Topic, id: &[u8], shared: &Shared) -> Follower {
        Follower {
            name: [topic.name(), b"\0", id].concat().into(),
            topic: Arc::new(topic),
            id: id.into(),
            generation: 0,
            version: 0,
            reports_gaps: false,
            state: State::Waiting,
            asked: 0,
            not_before: None,
            upheavals: upheavals(shared),
            place: None,
            confirmed: None,
            check: None,
            is_recheck: false,
            saved: None,
            step: Vec::new(),
            at: 0,
            handed: (StreamId::NONE, false),
            step_entries: STEP_ENTRIES,
            in_hand: None,
            owed: None,
            held: VecDeque::new(),
            held_bytes: 0,
            held_before: 0,
            is_behind: false,
            is_first: false,
            is_refused: false,
            has_gap: false,
            plain: VecDeque::new(),
            takes_plain: false,
            said_plain: false,
        }
    }

    // ---- states -----------------------------------------------------------------------------------------------------

    /// Looks for a lost connection and for events that the inbox dropped: the stream is read again from the place then.
    pub(super) fn look(&mut self, shared: &Shared) {
        let now = upheavals(shared);
        let before = std::mem::replace(&mut self.upheavals, now);
        if now.0 != before.0 {
            self.takes_plain = false;
            self.pause();
        } else if now != before && self.state == State::Live {
            self.state = State::Waiting;
        }
    }

    /// Begins again at the place. Events that the stream has are not held any longer.
    pub(super) fn pause(&mut self) {
        (self.state, self.not_before) = (State::Waiting, None);
        (self.step, self.at, self.is_recheck) = (Vec::new(), 0, false);
        self.held.retain(|event| entry_of(event).is_none());
        self.held_bytes = self.held.iter().map(Event::bytes).sum();
    }

    /// The listener is gone for now: an event whose value was half built is due again.
    pub(super) fn detach(&mut self) {
        self.owed = self.in_hand.take();
        self.pause();
    }

    /// Bytes of the reply that is being delivered.
    pub(super) fn step_bytes(&self) -> usize {
        self.step.len()
    }

    /// The settings lead to another Redis, or to other names in it.
    pub(super) fn forget(&mut self) {
        self.pause();
        (self.place, self.saved, self.version, self.has_gap) = (None, None, 0, false);
        (self.confirmed, self.check) = (None, None);
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Whether a tick has to look at it although nothing came for it.
    pub(super) fn is_restless(&self) -> bool {
        !matches!(self.state, State::Live | State::Off) || self.unsaved().is_some()
    }

    /// Whether it may have an event for its listener.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Delivers { .. })
    }

    /// The question that is due.
    pub(super) fn question(&self, shared: &Shared, now: Instant) -> Option<Question> {
        let is_ready = self.version > 0
            && shared.links.publisher.is_ready()
            && shared.settled.is_reached(self.version)
            && self.not_before.is_none_or(|at| now >= at);
        if self.state != State::Waiting || !is_ready {
            return None;
        }
        Some(self.place.map_or(Question::Place, |place| Question::Read(place, self.step_entries)))
    }

    /// The question was sent under this ticket.
    pub(super) fn was_asked(&mut self, question: Question, ticket: Ticket, now: Instant) {
        if let Question::Confirm(place) = question {
            self.check = Some((ticket, place, now));
            return;
        }
        (self.state, self.asked, self.not_before) = (State::Asked(question), ticket, None);
        // From here on every live event is held, unless too many come.
        (self.is_behind, self.held_before, self.is_refused) = (false, self.held.len(), false);
    }

    pub(super) fn wait_a_moment(&mut self, now: Instant) {
        (self.state, self.not_before) = (State::Waiting, Some(now + RETRY));
    }

    // ---- answers ----------------------------------------------------------------------------------------------------

    /// Whether this ticket is that of its question.
    pub(super) fn waits_for(&self, ticket: Ticket) -> bool {
        self.asked == ticket && matches!(self.state, State::Asked(_)) || self.checks(ticket)
    }

    /// Whether this ticket is that of [`Question::Confirm`].
    pub(super) fn checks(&self, ticket: Ticket) -> bool {
        self.check.is_some_and(|(asked, ..)| asked == ticket)
    }

    /// Takes the answer to [`Question::Confirm`]. Returns the place if the stream has it. Else the stream is read again
    /// from the confirmed place: what was heard since then moves it on.
    pub(super) fn checked(&mut self, outcome: &AnswerResult) -> Option<StreamId> {
        let ((_, place, _), answer) = (self.check?, outcome.as_ref().ok()?);
        let (_, first) = history::entries(&answer.tape);
        if history::next_entry(&answer.tape, first).is_some() {
            self.confirmed = self.confirmed.max(Some(place));
            self.place = self.place.max(self.confirmed);
            return self.confirmed.filter(|confirmed| *confirmed == place);
        }
        if self.place == Some(place) && self.state == State::Live {
            self.pause();
            (self.place, self.is_recheck) = (self.confirmed, true);
        }
        None
    }

    /// Takes the answer. Returns another question that is to be asked at once.
    pub(super) fn answered(&mut self, outcome: AnswerResult, around: &Around<'_>) -> Option<Question> {
        let State::Asked(question) = self.state else { return None };
        self.state = State::Waiting;
        match (question, outcome) {
            (Question::Place, Ok(answer)) => {
                (self.place, self.confirmed) = places_in(&answer).unzip();
                self.saved = self.place.map(|place| (place, around.now));
                return Some(self.place.map_or(Question::End, |place| Question::Read(place, self.step_entries)));
            }
            (Question::End, Ok(answer)) => {
                let (_, first) = history::entries(&answer.tape);
                let end = history::next_entry(&answer.tape, first).map_or(StreamId::NONE, |(entry, _)| entry.id);
                log::info!(
                    "listener `{}` of `{}` gets events from now on: redis has no place for it",
                    String::from_utf8_lossy(&self.id),
                    self.channel()
                );
                (self.place, self.confirmed) = (Some(end), Some(end));
                (self.state, self.is_first) = (State::Delivers { is_last: true }, true);
            }
            (Question::Read(place, asked), Ok(answer)) => self.begin(place, asked, answer, around.shared),
            (Question::Confirm(_), _) => {}
            (_, Err(reason)) => self.failed(&reason, around),
        }
        None
    }

    /// Begins with the entries of a reply. The first one is the place, unless the stream no longer holds it.
    fn begin(&mut self, place: StreamId, asked: u32, answer: Answer, shared: &Shared) {
        let (count, mut at) = history::entries(&answer.tape);
        self.step_entries = (self.step_entries + STEP_ENTRIES_MORE).min(STEP_ENTRIES);
        match history::next_entry(&answer.tape, at) {
            Some((entry, behind)) if entry.id == place => (at, self.confirmed) = (behind, Some(place)),
            // A live event may have been forged, or a new master does not have it.
            _ if self.confirmed.is_some_and(|confirmed| confirmed != place) => {
                self.place = self.confirmed;
                // Any stream has the place before its first entry: it cannot tell whether events are gone.
                if self.place == Some(StreamId::NONE) {
                    self.lost_its_place(shared);
                }
                return;
            }
            _ if place.is_none() || self.is_recheck => {}
            first => {
                self.lost_its_place(shared);
                // A stream that ends before the place is another one, or is gone: it is read from its beginning.
                if first.is_none() {
                    (self.place, self.confirmed) = (Some(StreamId::NONE), Some(StreamId::NONE));
                    return;
                }
            }
        }
        self.is_recheck = false;
        (self.step, self.at, self.state) = (answer.tape, at, State::Delivers { is_last: count < asked });
    }

    /// Redis does not hold the place any more: events may be lost, and nobody knows how many.
    pub(super) fn lost_its_place(&mut self, shared: &Shared) {
        self.has_gap = true;
        shared.stats.places_lost.add(1);
    }

    fn failed(&mut self, reason: &str, around: &Around<'_>) {
        if reason.starts_with("too_large") && self.step_entries > STEP_ENTRIES_MIN {
            self.step_entries = (self.step_entries / 4).max(STEP_ENTRIES_MIN);
            return;
        }
        let is_for_good = reason.strip_prefix("redis: ").is_some_and(|error| {
            let error = ErrorReply::new(error.as_bytes());
            error.class == Class::Never
        });
        if !is_for_good && !reason.starts_with("too_large") {
            return self.wait_a_moment(around.now);
        }
        let (id, channel) = (String::from_utf8_lossy(&self.id), self.channel());
        log::warn!("listener `{id}` of `{channel}` gets live events only: {reason}");
        let reason = format!("the listener `{id}` gets live events only; {reason}");
        around.shared.notices.push(Notice::Error { operation: MISSED, target: self.topic.name().into(), reason });
        // No stream decides about the events that were held back.
        (self.state, self.is_first, self.is_refused) = (State::Delivers { is_last: true }, true, true);
    }

    // ---- events -----------------------------------------------------------------------------------------------------

    /// A live event has its turn. True: the listener gets it now.
    pub(super) fn takes(&mut self, event: &Event, around: &mut Around<'_>) -> bool {
        self.look(around.shared);
        match self.state {
            State::Off => true,
            State::Live if !self.wants_stream(event, around) => self.is_new(event, self.reports_gaps, around),
            state => {
                if state == State::Live {
                    self.state = State::Waiting;
                }
                self.hold(event, around.shared);
                false
            }
        }
    }

    /// Whether the stream has to be read before this live event: nobody knows its entry, or numbers before it are missing,
    /// as when a link between two nodes of a cluster broke.
    fn wants_stream(&self, event: &Event, around: &mut Around<'_>) -> bool {
        if entry_of(event).is_none() {
            return !self.takes_plain;
        }
        let number = event.origin().map_or((0, 0), |origin| (origin.boot, origin.seq));
        around.ledger.has_gap(false, &self.name, self.topic.name(), number)
    }

    /// Keeps a copy of a live event until the stream is read.
    fn hold(&mut self, event: &Event, shared: &Shared) {
        let has_room = self.held.len() < HELD_EVENTS_MAX && self.held_bytes + event.bytes() <= HELD_BYTES_MAX;
        if has_room && !self.is_behind {
            self.held_bytes += event.bytes();
            self.held.push_back(event.copied());
        } else if entry_of(event).is_none() {
            self.lost(1, shared);
        } else {
            self.is_behind = true;
        }
    }

    /// Counts and reports events that the listener does not get.
    fn lost(&self, count: u64, shared: &Shared) {
        if count > 0 {
            shared.stats.missed_dropped.add(count);
            shared.notices.push(Notice::Overflow { queue: MISSED, dropped: count });
        }
    }

    /// The next event of its own, and whether it comes from the stream.
    pub(super) fn next(&mut self, around: &mut Around<'_>) -> Option<(Event, bool)> {
        let State::Delivers { is_last } = self.state else { return None };
        let step = std::mem::take(&mut self.step);
        let wire = [around.prefix.as_bytes(), self.topic.name()].concat();
        let mut passed_over = 0;
        while let Some((entry, behind)) = history::next_entry(&step, self.at) {
            self.at = behind;
            let identity = Identity::parse(entry.identity, &wire);
            let sender = identity.as_ref().map(|sender| (sender.server.as_bytes(), (sender.boot, sender.seq)));
            // The number comes first: the payload of a repeat, which may be large, is never copied.
            if entry.kind != EntryKind::Foreign && self.is_unseen(sender, true, around) {
                let event = self.event_of(&entry, identity, around);
                if event.origin().is_none() {
                    self.remember(&event);
                }
                self.handed = (entry.id, true);
                self.step = step;
                around.shared.stats.caught_up.add(1);
                return Some((event, true));
            }
            around.shared.stats.caught_up_repeats.add(u64::from(entry.kind != EntryKind::Foreign));
            (self.place, self.confirmed) = (Some(entry.id), Some(entry.id));
            passed_over += 1;
            if passed_over == PASSED_OVER_MAX {
                self.step = step;
                return None; // It is still busy, so the next tick goes on.
            }
        }
        self.at = 0;
        if !is_last {
            self.state = State::Waiting;
            return None;
        }
        while let Some(event) = self.held.pop_front() {
            let is_decided = self.held_before > 0;
            self.held_before = self.held_before.saturating_sub(1);
            if !is_decided && !self.is_first && !self.takes_plain && entry_of(&event).is_none() {
                // The stream may have it by now.
                self.held.push_front(event);
                self.state = State::Waiting;
                return None;
            }
            self.held_bytes -= event.bytes();
            if self.is_remembered(&event) || !self.is_new(&event, true, around) {
                continue;
            }
            if entry_of(&event).is_none() && !self.is_first {
                self.say_plain(&event);
            }
            self.handed = (entry_of(&event), false);
            return Some((event, false));
        }
        self.plain.clear();
        self.is_first = false;
        if std::mem::take(&mut self.has_gap) {
            self.tell_gap("", 0, around.shared);
        }
        self.state = if self.is_refused {
            State::Off
        } else if self.is_behind {
            State::Waiting
        } else {
            State::Live
        };
        None
    }

    /// The listener was called with an event of its own, or with a live one: it is the new place if it has an entry.
    pub(super) fn delivered(&mut self, event: &Event, is_own: bool) {
        let (entry, is_shown) = if is_own { std::mem::take(&mut self.handed) } else { (entry_of(event), false) };
        (self.in_hand, self.owed) = (None, None);
        // Its callback led to another Redis: the entry is no place there.
        if self.place.is_none() && self.state != State::Off && !self.is_refused {
            return;
        }
        // Events that were held back may be older than the end of the stream, and forged ones may name any entry.
        if entry.is_none() || self.confirmed.is_some_and(|confirmed| confirmed >= entry) {
            return;
        }
        self.place = Some(entry);
        if is_shown {
            self.confirmed = self.place;
        }
    }

    /// Makes an event of an entry.
    fn event_of(&self, entry: &ReadEntry<'_>, identity: Option<Identity<'_>>, around: &Around<'_>) -> Event {
        let channel = self.topic.name();
        let identity = identity.map(|identity| identity.at(entry.id));
        let decoded = Decoded { tape: entry.tape, raw: entry.kind == EntryKind::Raw, identity };
        let unix_ms = identity::unix_ms(SystemTime::now());
        let arrival = Arrival { at: around.now, unix_ms, own_boot: around.shared.boot };
        Event::new(Arrived { topic: Arc::clone(&self.topic), channel, decoded, arrival })
    }

    /// Whether the listener has not had the event. Without a number nobody knows, and it counts as new. `tells`: a gap
    /// before it is reported.
    fn is_new(&mut self, event: &Event, tells: bool, around: &mut Around<'_>) -> bool {
        let sender = event.origin().map(|origin| (event.server(), (origin.boot, origin.seq)));
        self.is_unseen(sender, tells, around)
    }

    /// The same, by the name of the sender and the number of the event, if it has an identity.
    fn is_unseen(&mut self, sender: Option<(&[u8], (u64, u64))>, tells: bool, around: &mut Around<'_>) -> bool {
        let Some((server, number)) = sender.filter(|(_, (_, seq))| *seq > 0) else { return true };
        let channel = self.topic.name();
        let is_owed = self.owed == Some(number);
        match around.ledger.see_number(false, &self.name, channel, number, around.now) {
            Sight::Repeat if !is_owed => return false,
            Sight::New { missed } if missed > 0 && tells => {
                self.has_gap = false;
                around.shared.stats.missed.add(missed);
                self.tell_gap(&String::from_utf8_lossy(server), missed, around.shared);
            }
            Sight::Repeat | Sight::New { .. } | Sight::Implausible | Sight::Renewed => {}
        }
        self.in_hand = Some(number);
        true
    }

    fn tell_gap(&self, server: &str, missed: u64, shared: &Shared) {
        let channel = self.topic.name().into();
        if server.is_empty() {
            let id = String::from_utf8_lossy(&self.id);
            log::warn!(
                "redis no longer holds the place of listener `{id}` of `{}`: events may be lost",
                self.channel()
            );
        }
        shared.notices.push(Notice::Gap { channel, server: server.into(), missed });
    }

    /// Notes an entry without a number.
    fn remember(&mut self, event: &Event) {
        if self.plain.len() >= HELD_EVENTS_MAX {
            self.plain.pop_front();
        }
        self.plain.push_back(crc32fast::hash(event.tape()));
    }

    /// Whether a live event without an entry and without a number was read from the stream. Each entry stands for one.
    fn is_remembered(&mut self, event: &Event) -> bool {
        if event.origin().is_some() {
            return false;
        }
        let hash = crc32fast::hash(event.tape());
        let known = self.plain.iter().position(|known| *known == hash);
        known.and_then(|at| self.plain.remove(at)).is_some()
    }

    /// An event came without an entry, and the stream does not have it.
    fn say_plain(&mut self, event: &Event) {
        self.takes_plain = true;
        if !std::mem::replace(&mut self.said_plain, true) {
            let (channel, server) = (self.channel(), String::from_utf8_lossy(event.server()));
            let sender = if server.is_empty() { "another program".into() } else { server };
            log::warn!(
                "`{channel}`: an event of {sender} is not kept, and a listener that was away cannot get it: call \
                 realtime.Keep(\"{channel}\") on the servers that emit"
            );
        }
    }

    // ---- places -----------------------------------------------------------------------------------------------------

    /// The place, if Redis has another one.
    pub(super) fn unsaved(&self) -> Option<StreamId> {
        self.place.filter(|place| self.saved.is_none_or(|(saved, _)| saved != *place))
    }

    /// The same, once `pause` is over since the last time that it was sent or asked for.
    pub(super) fn due(&self, now: Instant, pause: Duration) -> Option<StreamId> {
        let last = [self.saved.map(|(_, at)| at), self.check.map(|(.., at)| at)];
        let is_due = last.iter().flatten().all(|at| now.saturating_duration_since(*at) >= pause);
        self.unsaved().filter(|_| is_due)
    }

    /// Whether the stream has to be asked for this place before it is saved.
    pub(super) fn is_unsure(&self, place: StreamId) -> bool {
        self.state != State::Off && self.confirmed.is_some_and(|confirmed| confirmed != place)
    }

    /// A place as Redis keeps it; behind one that is not confirmed stands the last one that is.
    pub(super) fn text_of(&self, place: StreamId) -> String {
        match self.confirmed.filter(|confirmed| *confirmed != place) {
            Some(confirmed) => format!("{place} {confirmed}"),
            None => place.to_string(),
        }
    }

    pub(super) fn was_saved(&mut self, place: StreamId, now: Instant) {
        self.saved = Some((place, now));
    }

    fn channel(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.topic.name())
    }
}

/// The entry of an event in the stream.
fn entry_of(event: &Event) -> StreamId {
    event.origin().map_or(StreamId::NONE, |origin| origin.kept)
}

/// Lost connections, and events that the inbox dropped.
fn upheavals(shared: &Shared) -> (u64, u64) {
    (shared.settled.losses(), shared.stats.inbox.dropped.overflow.get())
}

/// The place in the answer to GET, and the confirmed one. A stream that had no entry when a place was saved has the
/// place 0-0.
fn places_in(answer: &Answer) -> Option<(StreamId, StreamId)> {
    let Some(TapeItem::Text(text)) = Reader::new(&answer.tape).next_item() else { return None };
    let mut ids = text.split(|byte| *byte == b' ').map(|id| match id {
        b"0-0" => Some(StreamId::NONE),
        id => StreamId::parse(id),
    });
    let place = ids.next()??;
    Some((place, ids.next().unwrap_or(Some(place))?))
}

#[cfg(test)]
mod tests;
