//! Events live from Redis: one subscribed connection, made again whenever it ends. Blocks its caller's thread; owns the
//! connection and the ledger of numbers, which outlives connections: after a loss, the gap of the numbers shows the
//! events that were missed meanwhile.
//!
//! ```text
//!  connect ──▶ SUBSCRIBE, PSUBSCRIBE ──▶ read, tell, read, tell ... ──▶ lost ──▶ pause ──▶ connect
//! ```
//!
//! Redis sends an event once for each subscription that matches it. Only the frame of the first topic that covers its
//! channel is told, so each event comes once.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use realtime::facade::config::limits::{HEARTBEAT, SILENCE_MAX};
use realtime::facade::event::identity::{Identity, MEMBER};
use realtime::facade::event::ledger::{Ledger, Sight};
use realtime::facade::event::payload::decode_with;
use realtime::facade::event::topic::Topic;
use realtime::facade::json::find::push_without;
use realtime::facade::json::tape::Undecoded;
use realtime::facade::redis::backoff::Backoff;
use realtime::facade::redis::connection::Connection;
use realtime::facade::redis::error_reply::{Class, ErrorReply};
use realtime::facade::redis::push::Push;
use realtime::facade::redis::reply::Decoder;
use realtime::facade::redis::{PUSH_LIMITS, command};

use crate::mask::masked;
use crate::settings::{Settings, words};
use crate::text::{quoted, tamed};
use crate::time::now_ms;

/// Waits in a row without bytes, [`HEARTBEAT`] each, before the connection counts as dead.
const EMPTY_WAITS_MAX: u32 = (SILENCE_MAX.as_millis() / HEARTBEAT.as_millis()) as u32;
/// Memory for decoding that is kept from event to event, in bytes.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// A piece of news from the feed.
pub(crate) enum News<'a> {
    Event(Event<'a>),
    /// An event over the limit of the module was skipped.
    TooLarge {
        channel: &'a [u8],
        bytes: u64,
    },
    /// Redis refused the subscription to this topic, for example by an ACL.
    Refused {
        topic: &'a Topic,
        reason: String,
    },
    /// The connection stands and subscribes. `redis` is the Redis in words.
    Connected {
        redis: &'a str,
    },
    /// There is no connection: it was lost, or cannot be made. The next attempt comes after `pause`.
    Lost {
        reason: &'a str,
        pause: Duration,
    },
    /// All bytes that have come are told.
    Idle,
}

/// One event. Its texts are of others.
pub(crate) struct Event<'a> {
    /// Without the prefix.
    pub(crate) channel: &'a [u8],
    /// As it was published, the member `_rt` included.
    pub(crate) payload: &'a [u8],
    pub(crate) is_json: bool,
    /// `None`: another program published it, or a valid identity is missing for another reason.
    pub(crate) identity: Option<Identity<'a>>,
    /// It has an identity that is not valid for its channel: it was copied from another channel, or is forged.
    pub(crate) is_relayed: bool,
    /// The judgement about its number; without an identity there is none.
    pub(crate) sight: Option<Sight>,
    /// The time of arrival in milliseconds of Unix time.
    pub(crate) unix_ms: u64,
}

impl Event<'_> {
    /// The payload as JSON in one line, without the member `_rt`; text that is no JSON as a string.
    pub(crate) fn data(&self) -> String {
        self.data_with(str::to_owned)
    }

    /// As [`Event::data`], with the addresses of players hidden.
    pub(crate) fn masked_data(&self) -> String {
        self.data_with(masked)
    }

    fn data_with(&self, change: impl Fn(&str) -> String) -> String {
        if !self.is_json {
            // Before it becomes a string, in which quotes have backslashes.
            return quoted(&change(&String::from_utf8_lossy(self.payload)));
        }
        let mut text = Vec::with_capacity(self.payload.len());
        push_without(&mut text, self.payload, MEMBER);
        change(&tamed(&String::from_utf8_lossy(&text)))
    }

    /// Events of this sender and channel that did not arrive before this one, and were not told before.
    pub(crate) fn missed(&self) -> u64 {
        match self.sight {
            Some(Sight::New { missed }) => missed,
            _ => 0,
        }
    }

    /// Whether the sender sent it again, after a lost connection.
    pub(crate) fn is_repeat(&self) -> bool {
        self.sight == Some(Sight::Repeat)
    }
}

/// Takes the news. [`ControlFlow::Break`] ends the feed.
pub(crate) type Tell<'a> = dyn FnMut(News<'_>) -> ControlFlow<()> + 'a;

/// Subscribes to the topics and tells all events until `tell` ends it.
pub(crate) fn run(settings: &Settings, purpose: &str, topics: &[Topic], tell: &mut Tell<'_>) {
    let (mut ledger, mut backoff) = (Ledger::default(), Backoff::default());
    loop {
        let (reason, class) = match settings.open(purpose) {
            Ok((connection, redis)) => {
                if tell(News::Connected { redis: &redis }).is_break() {
                    return;
                }
                let began = Instant::now();
                let mut session = Session::new(settings, topics, &mut ledger);
                let err = match session.serve(&connection, tell) {
                    Ok(()) => return,
                    Err(err) => err,
                };
                backoff.was_ready(began.elapsed());
                (format!("lost the connection to {redis}: {err}"), Class::Reconnect)
            }
            Err(err) => (words(&err), err.class()),
        };
        // The hash of no input is random: its keys come from the system's random source.
        let pause = backoff.next_delay(class, RandomState::new().hash_one(0));
        if tell(News::Lost { reason: &reason, pause }).is_break() {
            return;
        }
        std::thread::sleep(pause);
    }
}

/// A command whose answer has not come: a subscription to the topic of this index, or a PING.
#[derive(Clone, Copy)]
enum Asked {
    Subscription(usize),
    Ping,
}

/// One connection.
struct Session<'a> {
    topics: &'a [Topic],
    prefix: &'a str,
    ledger: &'a mut Ledger,
    decoder: Decoder,
    /// In the order in which Redis answers.
    asked: VecDeque<Asked>,
    /// Whether Redis has refused the topic of this index. A refused topic brings no frame.
    is_refused: Vec<bool>,
    tape: Vec<u8>,
    identity: Vec<u8>,
}

impl<'a> Session<'a> {
    fn new(settings: &'a Settings, topics: &'a [Topic], ledger: &'a mut Ledger) -> Session<'a> {
        Session {
            topics,
            prefix: settings.prefix(),
            ledger,
            decoder: Decoder::new(PUSH_LIMITS),
            asked: VecDeque::new(),
            is_refused: vec![false; topics.len()],
            tape: Vec::new(),
            identity: Vec::new(),
        }
    }

    /// Subscribes and reads. `Ok`: `tell` ended it. The error says why the connection cannot go on.
    fn serve(&mut self, connection: &Connection, tell: &mut Tell<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (at, topic) in self.topics.iter().enumerate() {
            let verb: &[u8] = if topic.is_pattern() { b"PSUBSCRIBE" } else { b"SUBSCRIBE" };
            // One command for each: an ACL that forbids one topic would refuse all of one command.
            command::encode(&mut bytes, &[verb, &topic.wire_name(self.prefix)]);
            self.asked.push_back(Asked::Subscription(at));
        }
        connection.write_all(&bytes)?;
        let mut empty_waits = 0;
        loop {
            if !connection.wait(HEARTBEAT)? {
                empty_waits += 1;
                if empty_waits >= EMPTY_WAITS_MAX {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        format!("no answer for {} s", SILENCE_MAX.as_secs()),
                    ));
                }
                bytes.clear();
                command::encode(&mut bytes, &[b"PING"]);
                self.asked.push_back(Asked::Ping);
                connection.write_all(&bytes)?;
                continue;
            }
            match self.decoder.read_from(&mut connection.reader()) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "closed by redis")),
                Ok(_) => empty_waits = 0,
                // A part of a record of TLS has come.
                Err(err) if err.kind() == ErrorKind::WouldBlock => continue,
                Err(err) => return Err(err),
            }
            if self.take_pushes(tell)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Tells all pushes that are complete.
    fn take_pushes(&mut self, tell: &mut Tell<'_>) -> io::Result<ControlFlow<()>> {
        let now = Instant::now();
        let unix_ms = now_ms();
        // Taken out while a push borrows it.
        let mut decoder = std::mem::replace(&mut self.decoder, Decoder::new(PUSH_LIMITS));
        let outcome = loop {
            let news = match Push::next(&mut decoder) {
                Ok(Some(push)) => self.take(push, now, unix_ms, tell)?,
                Ok(None) => break tell(News::Idle),
                Err(err) => return Err(io::Error::new(ErrorKind::InvalidData, err.to_string())),
            };
            if news.is_break() {
                break news;
            }
        };
        self.decoder = decoder;
        Ok(outcome)
    }

    fn take(&mut self, push: Push<'_>, now: Instant, unix_ms: u64, tell: &mut Tell<'_>) -> io::Result<ControlFlow<()>> {
        Ok(match push {
            Push::Message { channel, payload } => self.event((false, channel), channel, payload, now, unix_ms, tell),
            Push::PatternMessage { pattern, channel, payload } => {
                self.event((true, pattern), channel, payload, now, unix_ms, tell)
            }
            Push::TooLarge { channel, bytes } => {
                let channel = channel.map_or(b"?".as_slice(), |channel| self.unprefixed(channel));
                tell(News::TooLarge { channel, bytes })
            }
            Push::Error(text) => match (self.asked.pop_front(), ErrorReply::new(text)) {
                (Some(Asked::Subscription(at)), refusal) if refusal.class == Class::Never => {
                    self.is_refused.iter_mut().skip(at).take(1).for_each(|is_refused| *is_refused = true);
                    match self.topics.get(at) {
                        Some(topic) => tell(News::Refused { topic, reason: refusal.to_string() }),
                        None => ControlFlow::Continue(()),
                    }
                }
                (Some(Asked::Ping), refusal) if refusal.class == Class::Never => ControlFlow::Continue(()),
                (_, refusal) => return Err(io::Error::other(refusal.to_string())),
            },
            Push::Unexpected(reply) => {
                let found = format!("expected an event, found {reply:?}");
                return Err(io::Error::new(ErrorKind::InvalidData, found));
            }
            Push::Subscribed { .. } | Push::PatternSubscribed { .. } | Push::Pong { .. } => {
                self.asked.pop_front();
                ControlFlow::Continue(())
            }
            Push::Unsubscribed { .. } | Push::PatternUnsubscribed { .. } => ControlFlow::Continue(()),
        })
    }

    /// Tells one frame, unless another topic brings the same event. `subscription` is its kind and its name on the wire.
    fn event(
        &mut self,
        subscription: (bool, &[u8]),
        wire_channel: &[u8],
        payload: &[u8],
        now: Instant,
        unix_ms: u64,
        tell: &mut Tell<'_>,
    ) -> ControlFlow<()> {
        let (is_pattern, name) = subscription;
        let channel = self.unprefixed(wire_channel);
        let first =
            self.topics.iter().zip(&self.is_refused).find(|(topic, refused)| !**refused && topic.covers(channel));
        if first.is_some_and(|(topic, _)| topic.is_pattern() != is_pattern || topic.wire_name(self.prefix) != name) {
            return ControlFlow::Continue(());
        }
        self.tape.clear();
        self.tape.shrink_to(SCRATCH_BYTES_KEPT);
        let decoded = decode_with(payload, &mut self.tape, &mut self.identity);
        let is_json = !matches!(decoded, Err(Undecoded::NotJson { .. }));
        let identity = Identity::parse(&self.identity, wire_channel);
        let sight = identity.as_ref().map(|identity| self.ledger.see(is_pattern, name, wire_channel, identity, now));
        let is_relayed = identity.is_none() && !self.identity.is_empty();
        tell(News::Event(Event { channel, payload, is_json, identity, is_relayed, sight, unix_ms }))
    }

    fn unprefixed<'b>(&self, wire_channel: &'b [u8]) -> &'b [u8] {
        wire_channel.strip_prefix(self.prefix.as_bytes()).unwrap_or(wire_channel)
    }
}
