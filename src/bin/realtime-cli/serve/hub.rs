//! The state of the fleet for all open pages: the last events, counts, servers, gaps. The feed fills it, and
//! the thread of each page reads it. No thread holds its lock while it writes to a socket, so no page can hold up the
//! feed. Everything in it is bounded.
//!
//! Pages read the last events by number. Each gets at most [`BATCH_MAX`] in a batch; those that it misses are counted for
//! it. Counts, servers and gaps are of all events.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use realtime::facade::event::ledger::Sight;
use realtime::facade::io::lock::lock;
use serde_json::{Value, json};

use crate::feed::{Event, News};
use crate::serve::servers::Servers;
use crate::serve::tally::Tally;
use crate::text::{beginning, quoted};
use crate::time::now_ms;

/// Pages that may be open at once.
pub(super) const PAGES_MAX: usize = 8;
/// Events that a new page finds, and of which slow pages catch up.
const EVENTS_MAX: usize = 256;
/// Longest text of an event that a page gets, in bytes. The page says how long it was.
const TEXT_BYTES_MAX: usize = 4096;
/// Longest name of a channel that a page gets, in bytes.
const CHANNEL_BYTES_MAX: usize = 256;
/// Events of one batch for a page.
const BATCH_MAX: usize = 64;
/// Gaps and losses that are remembered.
const GAPS_MAX: usize = 64;
/// How long a snapshot of all else is used.
const FRESH: Duration = Duration::from_millis(900);

/// The facts that do not change while the program runs.
pub(super) struct Facts {
    pub(super) patterns: Vec<String>,
    pub(super) boards: Vec<String>,
    pub(super) prefix: String,
    pub(super) sources: String,
}

pub(super) struct Hub {
    facts: Facts,
    state: Mutex<State>,
    /// An event came.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The last events as records for a page.
    events: VecDeque<Arc<str>>,
    /// The number of the next event, from 0.
    next: u64,
    tally: Tally,
    servers: Servers,
    gaps: VecDeque<Value>,
    counts: Counts,
    link: Link,
    pages: Pages,
    snapshot: Option<(Instant, Arc<str>)>,
}

/// Counts since the start.
#[derive(Default)]
struct Counts {
    events: u64,
    bytes: u64,
    missed: u64,
    repeats: u64,
    relayed: u64,
    implausible: u64,
    renewed: u64,
    too_large: u64,
    lost: u64,
}

/// The connection of the feed.
#[derive(Default)]
struct Link {
    is_connected: bool,
    /// The Redis in words, or why there is no connection.
    words: String,
    since_ms: u64,
}

#[derive(Default)]
struct Pages {
    open: usize,
    /// Pages that took too long to read, and were dropped.
    slow: u64,
    /// Pages and requests that found no room.
    refused: u64,
    /// Events that passed between two batches of a page.
    skipped: u64,
}

impl Hub {
    pub(super) fn new(facts: Facts) -> Hub {
        Hub { facts, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes one piece of news of the feed.
    pub(super) fn take(&self, news: &News<'_>) {
        let now = now_ms();
        match news {
            News::Event(event) => {
                // Made before the lock is taken: an event may be long.
                let record = (!event.is_repeat()).then(|| record(event));
                lock(&self.state).event(event, record);
            }
            News::TooLarge { channel, bytes } => {
                let mut state = lock(&self.state);
                state.counts.too_large += 1;
                state.gap(json!({ "time": now, "kind": "too large", "channel": name(channel), "bytes": bytes }));
            }
            News::Refused { topic, reason } => {
                let (channel, text) = (name(topic.name()), reason);
                lock(&self.state).gap(json!({ "time": now, "kind": "refused", "channel": channel, "text": text }));
            }
            News::Connected { redis } => {
                lock(&self.state).link = Link { is_connected: true, words: (*redis).to_owned(), since_ms: now };
            }
            News::Lost { reason, .. } => {
                let mut state = lock(&self.state);
                if state.link.is_connected {
                    state.counts.lost += 1;
                    state.gap(json!({ "time": now, "kind": "lost", "text": reason }));
                }
                if state.link.is_connected || state.link.words != *reason {
                    state.link = Link { is_connected: false, words: (*reason).to_owned(), since_ms: now };
                }
            }
            News::Idle => self.changed.notify_all(),
        }
    }

    /// Admits a page. `None`: [`PAGES_MAX`] are open.
    pub(super) fn admit(&self) -> Option<Visit<'_>> {
        let mut state = lock(&self.state);
        if state.pages.open >= PAGES_MAX {
            state.pages.refused += 1;
            return None;
        }
        state.pages.open += 1;
        let next = state.next.saturating_sub(EVENTS_MAX as u64);
        Some(Visit { hub: self, next, skipped: 0, is_new: true })
    }

    /// A connection found no room.
    pub(super) fn refused(&self) {
        lock(&self.state).pages.refused += 1;
    }

    /// Waits until this is true, until the deadline at most.
    fn wait(&self, deadline: Instant, is_due: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if is_due(&state) || left.is_zero() {
                return state;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All but the events, as JSON. Made at most once in [`FRESH`], for all pages.
    fn snapshot(&self) -> Arc<str> {
        let mut state = lock(&self.state);
        if let Some((at, text)) = &state.snapshot
            && at.elapsed() < FRESH
        {
            return Arc::clone(text);
        }
        let text: Arc<str> = state.snapshot(&self.facts, now_ms()).to_string().into();
        state.snapshot = Some((Instant::now(), Arc::clone(&text)));
        text
    }
}

impl State {
    fn event(&mut self, event: &Event<'_>, record: Option<String>) {
        self.counts.bytes += event.payload.len() as u64;
        self.counts.relayed += u64::from(event.is_relayed);
        match event.sight {
            Some(Sight::Repeat) => self.counts.repeats += 1,
            Some(Sight::Implausible) => self.counts.implausible += 1,
            Some(Sight::Renewed) => self.counts.renewed += 1,
            Some(Sight::New { .. }) | None => {}
        }
        let Some(record) = record else { return };
        let (channel, missed) = (name(event.channel), event.missed());
        self.counts.events += 1;
        self.tally.count(&channel, event.unix_ms);
        if let Some(identity) = &event.identity {
            self.servers.heard(identity, missed, event.unix_ms);
            if missed > 0 {
                self.counts.missed += missed;
                let (time, server) = (event.unix_ms, identity.server);
                self.gap(
                    json!({ "time": time, "kind": "missed", "channel": channel, "server": server, "count": missed }),
                );
            }
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(record.into());
        self.next += 1;
    }

    fn gap(&mut self, gap: Value) {
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.pop_front();
        }
        self.gaps.push_back(gap);
    }

    fn snapshot(&self, facts: &Facts, now: u64) -> Value {
        let State { counts, link, pages, .. } = self;
        json!({
            "now": now,
            "link": { "connected": link.is_connected, "words": link.words, "since": link.since_ms },
            "facts": {
                "patterns": facts.patterns, "boards": facts.boards, "prefix": facts.prefix, "sources": facts.sources,
            },
            "counts": {
                "events": counts.events, "bytes": counts.bytes, "missed": counts.missed, "repeats": counts.repeats,
                "relayed": counts.relayed, "implausible": counts.implausible, "renewed": counts.renewed,
                "too_large": counts.too_large, "lost": counts.lost,
            },
            "pages": {
                "open": pages.open, "most": PAGES_MAX, "slow": pages.slow, "refused": pages.refused,
                "skipped": pages.skipped,
            },
            "chart": self.tally.chart(now),
            "servers": self.servers.list(),
            "gaps": self.gaps.iter().rev().collect::<Vec<_>>(),
        })
    }
}

/// An event as JSON for a page: its text is a string, with the addresses in it hidden, and bounded.
fn record(event: &Event<'_>) -> String {
    let text = event.masked_data();
    let shown = beginning(&text, TEXT_BYTES_MAX);
    let mut record = json!({ "time": event.unix_ms, "channel": name(event.channel), "text": shown });
    if let Value::Object(members) = &mut record {
        if shown.len() < text.len() {
            members.insert("bytes".to_owned(), event.payload.len().into());
        }
        if let Some(identity) = &event.identity {
            members.insert("server".to_owned(), identity.server.into());
            members.insert("seq".to_owned(), identity.seq.into());
        }
        if event.missed() > 0 {
            members.insert("missed".to_owned(), event.missed().into());
        }
    }
    record.to_string()
}

/// The name of a channel, bounded.
fn name(channel: &[u8]) -> String {
    beginning(&String::from_utf8_lossy(channel), CHANNEL_BYTES_MAX).to_owned()
}

/// An open page, as long as it lives.
pub(super) struct Visit<'a> {
    hub: &'a Hub,
    /// The number of the next event for this page.
    next: u64,
    /// Events that passed between two batches.
    skipped: u64,
    is_new: bool,
}

impl Visit<'_> {
    /// Waits for events, until the deadline at most, and returns them as records of a stream, with a snapshot behind them.
    /// Stream: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
    pub(super) fn batch(&mut self, deadline: Instant) -> String {
        let mut text = String::new();
        let mut state = self.hub.wait(deadline, |state| self.is_new || state.next != self.next);
        let oldest = state.next - state.events.len() as u64;
        // A new page gets all events that are kept, any other the newest.
        let most = if self.is_new { EVENTS_MAX } else { BATCH_MAX } as u64;
        let from = self.next.max(oldest).max(state.next.saturating_sub(most));
        let skipped = if self.is_new { 0 } else { from - self.next };
        self.skipped += skipped;
        state.pages.skipped += skipped;
        let events: Vec<Arc<str>> = state.events.iter().skip((from - oldest) as usize).map(Arc::clone).collect();
        self.next = state.next;
        self.is_new = false;
        drop(state);
        for event in events {
            text += &format!("event: event\ndata: {event}\n\n");
        }
        let snapshot = self.hub.snapshot();
        text += &format!("event: state\ndata: {snapshot}\n\nevent: skipped\ndata: {}\n\n", self.skipped);
        text
    }

    /// The page takes nothing: it is dropped, and counted.
    pub(super) fn drop_slow(self) {
        lock(&self.hub.state).pages.slow += 1;
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        lock(&self.hub.state).pages.open -= 1;
    }
}

/// A text for a page that is no JSON yet, as a JSON object with one member.
pub(super) fn error(text: &str) -> String {
    format!("{{\"error\":{}}}", quoted(text))
}

#[cfg(test)]
mod tests;
