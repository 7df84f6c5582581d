//! One destination: its queue of posts, the post in flight, and its state after successes and failures.
//! Owned by the schedule; pure. It knows nothing of other destinations, of memory and of free senders.
//!
//! | state | since | requests | until |
//! |---|---|---|---|
//! | ok | the start | at once | |
//! | paused | a rate limit or a failure | none | the time has passed |
//! | broken | [`BROKEN_AFTER`] failures in a row | one after each pause, up to [`RETRY_LONGEST`] | a post is delivered or refused |
//! | resting, reported as closed | [`DENIED_MAX`] denied posts in a row | one after each rest | a post is delivered, or its hook is added again |
//! | closed | Discord does not know the webhook, or forbids it; another server says that it is gone | none | its hook is added again |
//!
//! If several states apply, the lowest in the table is reported.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::WEBHOOK_POST_BYTES_MAX;
use super::report::{Cause, DestinationReport, DestinationState, Tally};
use crate::config::limits::{REQUEST_TIMEOUT, WEBHOOK_AGE_MAX, WEBHOOK_ATTEMPTS_MAX};
use crate::hooks::url::Url;
use crate::webhook::answer::PAUSE_MAX;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Post, PostAddress};

/// A request that takes longer than this is ended when another destination waits for its sender. A destination whose last
/// response took longer has twice that time. So hung destinations delay a new one by this time, and by the connect
/// timeout if a connection is still being made, because nothing can interrupt that.
pub(super) const SENDER_HOLD: Duration = Duration::from_secs(3);
/// Delay before the second attempt. It doubles with each failure up to [`RETRY_LONGEST`]; jitter takes off up to a half,
/// so that servers that failed together do not come back together.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest delay between two attempts.
const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// Failures in a row after which a destination is reported as broken.
const BROKEN_AFTER: u32 = 3;
/// Posts in a row that one destination denied (401, 403, 404 of an `http` server, redirections) before it rests. A merged
/// post counts as so many.
pub const DENIED_MAX: u32 = 5;
/// First rest of a destination that denies its posts. It doubles with each further denial, up to [`REST_LONGEST`].
const REST_FIRST: Duration = Duration::from_secs(60);
/// Longest rest of a destination that denies its posts.
const REST_LONGEST: Duration = Duration::from_secs(900);
const _: () = assert!(BROKEN_AFTER < WEBHOOK_ATTEMPTS_MAX);
const _: () = assert!(SENDER_HOLD.as_secs() < REQUEST_TIMEOUT.as_secs());
// A post that waits for a resting destination is tried before it expires.
const _: () = assert!(REST_FIRST.as_secs() < REST_LONGEST.as_secs());
const _: () = assert!(REST_LONGEST.as_secs() * 2 < WEBHOOK_AGE_MAX.as_secs());

/// One destination. Only the schedule changes it.
pub(super) struct Destination {
    pub(super) address: PostAddress,
    /// The hook of the newest post.
    pub(super) hook: Arc<[u8]>,
    /// The posts that wait, in the order in which they are to be sent.
    pub(super) queue: VecDeque<Queued>,
    /// Posts that wait on the disk, all of them later than those in the queue.
    pub(super) on_disk: u64,
    /// No attempt to read them before this moment. It may be past.
    pub(super) disk_until: Option<Instant>,
    /// At most one post is in flight.
    pub(super) in_flight: Option<Queued>,
    /// The end of the pause after a failure of its own. It may be past.
    pub(super) pause_until: Option<Instant>,
    /// The end of a rate limit, its own or that of a destination which shares it. It may be past.
    pub(super) limited_until: Option<Instant>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Posts denied in a row. If the URL has placeholders, several denied posts to one URL count once.
    denied: u32,
    /// The denied URLs of such a destination, fewer than [`DENIED_MAX`].
    denied_urls: Vec<Url>,
    /// Duration of the last request. `None`: it had no response, or there was no request yet.
    pub(super) took: Option<Duration>,
    /// Why the destination accepts no posts any more; `None` while it is open.
    pub(super) closed: Option<String>,
    /// Reason of the last failure, for reports and for the dead letters of expired posts.
    pub(super) last_trouble: String,
    /// The schedule's turn at which it was last served. The destination with the lowest is served next.
    pub(super) served: u64,
    pub(super) tally: Tally,
}

/// A post in the queue or in flight.
pub(super) struct Queued {
    pub(super) post: Post,
    /// Equal for neighbours that can go out in one batch.
    pub(super) run: u64,
    /// The schedule's turn at which it was queued: its age among the posts of all destinations.
    pub(super) turn: u64,
    /// Set while it is in flight.
    pub(super) flight: Option<Flight>,
}

/// A request in flight.
pub(super) struct Flight {
    pub(super) sent: Instant,
    /// Whether the schedule asked its sender to end it.
    pub(super) is_cut: bool,
}

impl Destination {
    pub(super) fn new(first: &Post) -> Destination {
        Destination {
            address: first.address.clone(),
            hook: Arc::clone(&first.hook),
            queue: VecDeque::new(),
            on_disk: 0,
            disk_until: None,
            in_flight: None,
            pause_until: None,
            limited_until: None,
            failures: 0,
            denied: 0,
            denied_urls: Vec::new(),
            took: None,
            closed: None,
            last_trouble: String::new(),
            served: 0,
            tally: Tally::default(),
        }
    }

    // ---- the queue ------------------------------------------------------------------------------------------------

    /// Why this post does not enter the queue. `None`: it does.
    pub(super) fn refusal(&self, now: Instant, post: &Post) -> Option<(Cause, String)> {
        if let Some(reason) = self.closed.clone() {
            return Some((Cause::Closed, reason));
        }
        if post.expires <= now {
            return Some((Cause::Expired, self.age_reason()));
        }
        let weight = post.weight();
        let is_large = weight > WEBHOOK_POST_BYTES_MAX;
        is_large.then(|| (Cause::Overflow, format!("it has {weight} bytes, {WEBHOOK_POST_BYTES_MAX} are allowed")))
    }

    /// The reason to give up posts that are too old.
    pub(super) fn age_reason(&self) -> String {
        match self.last_trouble.as_str() {
            "" => "it waited too long".to_owned(),
            trouble => format!("it waited too long; last: {trouble}"),
        }
    }

    /// Number of jobs in the queue, without those in flight.
    pub(super) fn queued_jobs(&self) -> u64 {
        self.queue.iter().map(|queued| queued.post.jobs()).sum()
    }

    /// Queues these posts before all others, in this order.
    pub(super) fn push_front(&mut self, mut posts: Vec<Post>, run: u64, turn: u64) {
        while let Some(post) = posts.pop() {
            self.queue.push_front(Queued { post, run, turn, flight: None });
        }
    }

    /// Queues a post behind all others.
    pub(super) fn push(&mut self, post: Post, turn: u64) {
        let goes_on = self.queue.back().filter(|last| last.post.batches_with(&post));
        let run = goes_on.map_or(turn, |last| last.run);
        self.queue.push_back(Queued { post, run, turn, flight: None });
    }

    /// The end of the time in which the first post waits for others to go out in one batch. `None`: it is not waiting. A
    /// batch is complete when it has its number of posts or of bytes, or when another post follows that cannot join it.
    pub(super) fn gathers_until(&self) -> Option<Instant> {
        let (first, last) = (self.queue.front()?, self.queue.back()?);
        let gathering = first.post.gathering.filter(|_| first.post.attempts == 0 && first.run == last.run)?;
        let parts = self.queue.iter().flat_map(|queued| queued.post.parts());
        let is_open = first.post.gathers_more(self.queued_jobs(), parts.map(Post::body_bytes).sum());
        is_open.then_some(gathering.until)
    }

    /// Takes the oldest part of the oldest post out of the queue. The parts merged with it stay.
    pub(super) fn take_oldest(&mut self) -> Option<Post> {
        let oldest = self.queue.pop_front()?;
        let mut parts = oldest.post.split();
        let first = parts.remove(0);
        self.push_front(Post::regroup(parts), oldest.run, oldest.turn);
        Some(first)
    }

    /// Takes the parts that expire until `now` out of the queue.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Post> {
        let is_old = |post: &Post| post.expires <= now;
        if !self.queue.iter().any(|queued| queued.post.parts().any(is_old)) {
            return Vec::new();
        }
        let mut old = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            if !queued.post.parts().any(is_old) {
                self.queue.push_back(queued);
                continue;
            }
            let (gone, kept) = queued.post.split().into_iter().partition(is_old);
            old.extend::<Vec<Post>>(gone);
            for post in Post::regroup(kept) {
                self.queue.push_back(Queued { post, flight: None, ..queued });
            }
        }
        old
    }

    /// Moves the first post into flight and merges the posts after it into it, as many as fit.
    pub(super) fn send_next(&mut self, now: Instant, turn: u64) -> Option<&Post> {
        let mut next = self.queue.pop_front()?;
        self.served = turn;
        if let Some(mut joint) = next.post.joint() {
            while self.queue.front().is_some_and(|waiting| waiting.post.joins(&next.post, &mut joint)) {
                next.post.merged.extend(self.queue.pop_front().map(|waiting| waiting.post));
            }
        }
        next.flight = Some(Flight { sent: now, is_cut: false });
        Some(&self.in_flight.insert(next).post)
    }

    /// Queues a post again after its request failed. With `lets_others_pass` a single post goes to the end of the queue,
    /// unless it is of a batch, whose order is kept; a merged one is split, and its parts keep their place.
    pub(super) fn put_back(&mut self, queued: Queued, reason: String, lets_others_pass: bool) {
        self.last_trouble = reason;
        if !lets_others_pass {
            self.queue.push_front(queued);
        } else if !queued.post.merged.is_empty() {
            self.push_front(queued.post.divide(), queued.run, queued.turn);
        } else if queued.post.gathering.is_some() {
            self.queue.push_front(queued);
        } else {
            self.queue.push_back(queued);
        }
    }

    // ---- the request in flight ------------------------------------------------------------------------------------

    pub(super) fn flight(&self) -> Option<&Flight> {
        self.in_flight.as_ref()?.flight.as_ref()
    }

    /// From when on the request may be ended for another destination. `None`: there is none, or it is already being
    /// ended.
    pub(super) fn cut_at(&self) -> Option<Instant> {
        let flight = self.flight().filter(|flight| !flight.is_cut)?;
        Some(flight.sent + self.took.map_or(SENDER_HOLD, |took| SENDER_HOLD.max(took.saturating_mul(2))))
    }

    /// Whether the last free sender may serve it: the last request was answered soon and there is no failure since.
    pub(super) fn answers_soon(&self) -> bool {
        self.failures == 0 && self.took.is_some_and(|took| took <= SENDER_HOLD)
    }

    // ---- the state ------------------------------------------------------------------------------------------------

    /// Whether a new destination may take its place: nothing would be lost but its counts and its state.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let is_free = self.held_until().is_none_or(|until| until <= now);
        self.queue.is_empty() && self.in_flight.is_none() && self.on_disk == 0 && is_free
    }

    /// No request before this moment, as far as this destination knows. It may be past.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.pause_until.max(self.limited_until)
    }

    /// Whether its state is worth keeping: it is forgotten only if no other destination is idle.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.failures > 0 || self.denied > 0 || self.closed.is_some()
    }

    /// The delay before the next attempt after the failures so far. Jitter from `random`, any number, takes off up to a
    /// half.
    pub(super) fn backoff(&self, random: u64) -> Duration {
        let full = RETRY_FIRST.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(RETRY_LONGEST);
        // The upper 53 bits as a share from 0 to 1: an `f64` holds no more.
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        full.mul_f64(1.0 - share / 2.0).min(PAUSE_MAX)
    }

    /// Notes that the destination denied a post. Returns the rest that is due after [`DENIED_MAX`] of them in a row.
    pub(super) fn deny(&mut self, post: &Post, reason: &str) -> Option<Duration> {
        self.last_trouble = reason.to_owned();
        if let Content::Request(Request { url, .. }) = &post.content
            && self.address.varies()
            && !self.is_resting()
        {
            // A forbidden path says nothing about other paths of the same template.
            if self.denied_urls.contains(url) {
                return None;
            }
            self.denied_urls.push(url.clone());
        }
        self.denied = self.denied.saturating_add(1);
        if !post.merged.is_empty() {
            self.denied = self.denied.max(DENIED_MAX);
        }
        let rests = self.denied.checked_sub(DENIED_MAX)?;
        Some(REST_FIRST.saturating_mul(1 << rests.min(16)).min(REST_LONGEST))
    }

    /// Whether it denied so many posts in a row that the others wait for the end of its rest.
    fn is_resting(&self) -> bool {
        self.denied >= DENIED_MAX
    }

    /// Forgets the denied posts: the server accepted a post or refused its content, or the hook was added again.
    pub(super) fn forget_denials(&mut self) {
        self.denied = 0;
        self.denied_urls = Vec::new();
    }

    /// Opens a closed or resting destination.
    pub(super) fn reopen(&mut self) {
        if self.closed.is_some() || self.is_resting() {
            self.closed = None;
            self.failures = 0;
            self.forget_denials();
            self.pause_until = None;
        }
    }

    /// The reason of its rest and the time left. `None`: it does not rest.
    pub(super) fn rest(&self, now: Instant) -> Option<String> {
        if !self.is_resting() {
            return None;
        }
        let seconds = self.pause_until.map_or(0, |until| until.saturating_duration_since(now).as_secs());
        Some(format!("{}; it denied several posts in a row, the next is tried in {seconds} s", self.last_trouble))
    }

    /// Its report. `held_until` is the end of its pause, global pauses included.
    pub(super) fn report(&self, now: Instant, held_until: Option<Instant>) -> DestinationReport {
        let left = held_until.map(|until| until.saturating_duration_since(now));
        let closed = self.closed.clone().or_else(|| self.rest(now));
        let state = match (closed, left.filter(|left| !left.is_zero())) {
            (Some(reason), _) => DestinationState::Closed(reason),
            (None, _) if self.failures >= BROKEN_AFTER => {
                DestinationState::Broken(self.last_trouble.clone(), left.unwrap_or_default())
            }
            (None, Some(left)) => DestinationState::Paused(left),
            (None, None) => DestinationState::Ok,
        };
        let in_flight = self.in_flight.as_ref().map_or(0, |queued| queued.post.jobs());
        let waiting = self.queued_jobs() + in_flight + self.on_disk;
        let (name, kind) = (self.address.name().to_owned(), self.address.kind_name());
        let hook = String::from_utf8_lossy(&self.hook).into_owned();
        DestinationReport { name, hook, kind, tally: self.tally, waiting, on_disk: self.on_disk, state }
    }
}
