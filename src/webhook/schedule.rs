//! When what is posted where: one queue for each destination, and the rules that hold one up.
//! A pure state machine, owned by `rt-webhooks`: the clock and all randomness are handed in, and it does no I/O. Its
//! owner asks [`Schedule::next`] for a post to send, and tells [`Schedule::done`] what came of it.
//!
//! ```text
//!            offer                next                    done
//!   post ───────────▶ queue ───────────────▶ in flight ─────────────▶ delivered
//!                    │  ▲ at most one for     │  │
//!      full, too old │  │ each destination    │  └─ never, closed, too often ─▶ dead letter
//!                    ▼  └──── limited, again ─┘
//!               dead letter
//! ```
//! - One post is in flight for a destination: order is kept, and a rate limit is seen before the next one.
//! - After a failure the whole destination waits, twice as long each time, less a random part. Only a post that the
//!   destination itself refused [`STEP_BEHIND_AFTER`] times lets the others pass.
//! - Messages that were merged into one request and refused are sent again one by one: only the refused one dies.
//! - The last free sender is kept for destinations whose last request was answered soon. When a destination waits for a
//!   sender, the request that has passed its time most ([`SENDER_HOLD`]) is ended.
//! - Discord limits the webhook, whatever thread is posted to: destinations of one webhook pause together. A global
//!   limit holds the Discord destinations of that origin (scheme, host and port).
//! - An `http` destination that denies [`DENIED_MAX`] posts in a row rests for a while. Its other posts wait; the one
//!   that is sent after the rest shows whether it takes posts again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::limits::{
    PAYLOAD_BYTES_MAX, REQUEST_TIMEOUT, SENDERS_KEPT, SENDERS_MAX, TEXT_BYTES_MAX, WEBHOOK_AGE_MAX,
};
use crate::hooks::template::{BODY_BYTES_MAX, TEMPLATE_BYTES_MAX};
use crate::hooks::url::Url;
use crate::webhook::answer::{Answer, PAUSE_MAX, Verdict};
use crate::webhook::http::Request;
use crate::webhook::post::{Address, Content, Post};
use crate::webhook::resolve::LOOKUPS_MAX;

/// Posts that may wait for one destination. Past it the oldest is dropped.
pub const WEBHOOK_JOBS_MAX: usize = 1000;
/// Memory that all waiting posts may take, in bytes. Past it the oldest are dropped.
pub(crate) const WEBHOOK_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Largest single post, in bytes. A larger one would push out all others.
const WEBHOOK_POST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Destinations that are remembered. An idle one is forgotten for a new one.
const DESTINATIONS_MAX: usize = 256;
/// A request longer than this is ended when another destination waits for its sender; a destination whose last answer
/// took longer has twice that time. So hung destinations delay a new one by this, and by the connect timeout if a
/// connection is still being made, which nothing can interrupt.
const SENDER_HOLD: Duration = Duration::from_secs(3);
/// Delay before the second attempt. It doubles up to [`RETRY_LONGEST`]; jitter takes off up to a half.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest delay between two attempts.
const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// Attempts after which a post goes to the dead-letter file.
const WEBHOOK_ATTEMPTS_MAX: u32 = 20;
/// Failures in a row that mark a destination as broken: it never gets the last free sender.
const BROKEN_AFTER: u32 = 3;
/// Failures in a row of one post, each answered by the destination, after which the post lets the others pass.
const STEP_BEHIND_AFTER: u32 = 3;
/// Posts in a row that one `http` destination denied (401, 403, 404, 410) before it rests.
pub const DENIED_MAX: u32 = 5;
/// First rest of a destination that denies its posts. It doubles with each further denial, up to [`REST_LONGEST`].
const REST_FIRST: Duration = Duration::from_secs(60);
/// Longest rest of a destination that denies its posts.
const REST_LONGEST: Duration = Duration::from_secs(900);
const _: () = assert!(PAYLOAD_BYTES_MAX * 2 < WEBHOOK_POST_BYTES_MAX && WEBHOOK_POST_BYTES_MAX * 2 < WEBHOOK_BYTES_MAX);
const _: () = assert!(TEMPLATE_BYTES_MAX < TEXT_BYTES_MAX && BODY_BYTES_MAX * 2 < WEBHOOK_POST_BYTES_MAX);
const _: () = assert!(BROKEN_AFTER < WEBHOOK_ATTEMPTS_MAX && SENDERS_MAX > 1 && SENDERS_KEPT > 0);
const _: () = assert!(SENDER_HOLD.as_secs() < REQUEST_TIMEOUT.as_secs() && SENDERS_MAX < LOOKUPS_MAX);
// What waits for a destination that rests is tried before it is too old.
const _: () = assert!(REST_FIRST.as_secs() < REST_LONGEST.as_secs());
const _: () = assert!(REST_LONGEST.as_secs() * 2 < WEBHOOK_AGE_MAX.as_secs());

/// How often posts are looked through for those that are too old.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);

/// All queues.
#[derive(Default)]
pub(crate) struct Schedule {
    places: Vec<Destination>,
    by_address: HashMap<Address, usize>,
    bytes: usize,
    /// Jobs waiting or in flight.
    jobs: usize,
    /// Origins whose Discord destinations all pause until then. At most one for each destination.
    global: HashMap<Box<str>, Instant>,
    /// Counts what was queued and served, for order and fairness.
    turn: u64,
    expiry_checked: Option<Instant>,
    forgotten: Tally,
}

struct Destination {
    address: Address,
    /// Whose post came last: addresses of one host look alike without their secrets.
    hook: Arc<[u8]>,
    queue: VecDeque<Queued>,
    in_flight: Option<Queued>,
    pause_until: Option<Instant>,
    /// In a row.
    failures: u32,
    /// Posts denied in a row. Where the URL is another for each event, those to one URL count once.
    denied: u32,
    /// Those URLs, fewer than [`DENIED_MAX`].
    denied_urls: Vec<Url>,
    /// How long the last request took, if it was answered.
    took: Option<Duration>,
    /// Why nothing is sent there any more.
    closed: Option<String>,
    last_trouble: String,
    served: u64,
    tally: Tally,
}

struct Queued {
    post: Post,
    turn: u64,
    flight: Option<Flight>,
}

/// A request under way.
struct Flight {
    sent: Instant,
    /// Its sender was told to end it.
    is_cut: bool,
}

/// What a destination was given and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs; several may be merged into one request.
    pub offered: u64,
    pub delivered: u64,
    pub dead: u64,
    /// Requests by what came of them.
    pub(crate) status_2xx: u64,
    pub(crate) status_4xx: u64,
    pub status_429: u64,
    pub status_5xx: u64,
    pub no_answer: u64,
}

/// A post that will not be delivered.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) post: Post,
    pub(crate) cause: Cause,
    pub(crate) reason: String,
}

/// Why, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Too much waited: the oldest made room.
    Overflow,
    /// Older than `WEBHOOK_AGE_MAX`.
    Expired,
    /// Tried too often.
    Attempts,
    /// The destination will not have it.
    Refused,
    /// The destination takes nothing any more.
    Closed,
    /// There are too many destinations.
    Crowded,
}

/// How a destination stands, for `Stats()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Without its secrets.
    pub name: String,
    /// The hook whose post came last.
    pub hook: String,
    pub(crate) kind: &'static str,
    pub tally: Tally,
    pub waiting: u64,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq)]
pub enum State {
    Ok,
    /// A rate limit or a failure, for so long.
    Paused(Duration),
    /// Several failures in a row, the last of which was this.
    Broken(String),
    /// Nothing is sent there, for good or (`http`) for the time that the reason tells.
    Closed(String),
}

impl Schedule {
    /// Queues a post. What had to make room for it, or itself if it is not taken.
    pub(crate) fn offer(&mut self, now: Instant, post: Post) -> Vec<Dead> {
        let Some(at) = self.place_of(now, &post) else {
            let reason = format!("{DESTINATIONS_MAX} other destinations have posts waiting");
            self.forgotten.offered += post.jobs();
            self.forgotten.dead += post.jobs();
            return vec![Dead { post, cause: Cause::Crowded, reason }];
        };
        self.turn += 1;
        let turn = self.turn;
        let Some(place) = self.places.get_mut(at) else { return Vec::new() };
        place.tally.offered += post.jobs();
        place.hook.clone_from(&post.hook);
        if let Some(reason) = place.closed.clone() {
            place.tally.dead += post.jobs();
            return vec![Dead { post, cause: Cause::Closed, reason }];
        }
        if post.expires <= now {
            place.tally.dead += post.jobs();
            return vec![Dead { post, cause: Cause::Expired, reason: "it waited too long".to_owned() }];
        }
        if post.weight() > WEBHOOK_POST_BYTES_MAX {
            place.tally.dead += post.jobs();
            let reason = format!("it has {} bytes, {WEBHOOK_POST_BYTES_MAX} are allowed", post.weight());
            return vec![Dead { post, cause: Cause::Overflow, reason }];
        }
        self.bytes += post.weight();
        self.jobs += post.jobs() as usize;
        place.queue.push_back(Queued { post, turn, flight: None });
        let mut dead = Vec::new();
        while self.places.get(at).is_some_and(|place| place.queued_jobs() > WEBHOOK_JOBS_MAX as u64) {
            dead.extend(self.bury_oldest_of(at, "too many others waited for the same destination"));
        }
        while self.bytes > WEBHOOK_BYTES_MAX {
            let oldest = self.places.iter().enumerate().filter_map(|(at, place)| Some((place.queue.front()?.turn, at)));
            let Some((_, at)) = oldest.min() else { break };
            dead.extend(self.bury_oldest_of(at, "the posts of all destinations took too much memory"));
        }
        dead
    }

    /// The destination's number; a new one takes the place of one at rest if there are too many.
    fn place_of(&mut self, now: Instant, post: &Post) -> Option<usize> {
        let address = &post.address;
        if let Some(at) = self.by_address.get(address) {
            return Some(*at);
        }
        let new = Destination {
            address: address.clone(),
            hook: Arc::clone(&post.hook),
            queue: VecDeque::new(),
            in_flight: None,
            pause_until: None,
            failures: 0,
            denied: 0,
            denied_urls: Vec::new(),
            took: None,
            closed: None,
            last_trouble: String::new(),
            served: 0,
            tally: Tally::default(),
        };
        let at = self.places.len();
        if at < DESTINATIONS_MAX {
            self.by_address.insert(address.clone(), at);
            self.places.push(new);
            return Some(at);
        }
        let at_rest = self.places.iter().enumerate().filter(|(_, place)| place.is_at_rest(now));
        let at = at_rest.min_by_key(|(_, place)| (place.is_in_trouble(), place.served))?.0;
        let place = self.places.get_mut(at)?;
        self.forgotten.add(&place.tally);
        self.by_address.remove(&place.address);
        self.by_address.insert(address.clone(), at);
        *place = new;
        Some(at)
    }

    fn bury_oldest_of(&mut self, at: usize, reason: &str) -> Vec<Dead> {
        let Some(place) = self.places.get_mut(at) else { return Vec::new() };
        let Some(oldest) = place.queue.pop_front() else { return Vec::new() };
        let mut posts = oldest.post.split().into_iter();
        let first = posts.next();
        place.push_front(posts, oldest.turn);
        first.map_or_else(Vec::new, |post| self.bury(at, post, Cause::Overflow, reason))
    }

    /// The post was queued or in flight, and is given up with those that were merged with it.
    fn bury(&mut self, at: usize, post: Post, cause: Cause, reason: &str) -> Vec<Dead> {
        self.let_go(&post);
        if let Some(place) = self.places.get_mut(at) {
            place.tally.dead += post.jobs();
        }
        post.split().into_iter().map(|post| Dead { post, cause, reason: reason.to_owned() }).collect()
    }

    fn let_go(&mut self, post: &Post) {
        self.bytes = self.bytes.saturating_sub(post.weight());
        self.jobs = self.jobs.saturating_sub(post.jobs() as usize);
    }

    /// The next post to send, with the number of its destination. `free` senders could take it. It counts as in flight
    /// until [`Schedule::done`].
    pub(crate) fn next(&mut self, now: Instant, free: usize) -> Option<(usize, &Post)> {
        let ready = self.places.iter().enumerate().filter(|(_, place)| {
            let last_is_kept = free <= SENDERS_KEPT && !place.answers_soon();
            self.is_ready(place, now) && !last_is_kept
        });
        // Those served longest ago come first.
        let at = ready.min_by_key(|(_, place)| place.served).filter(|_| free > 0)?.0;
        self.turn += 1;
        let turn = self.turn;
        let place = self.places.get_mut(at)?;
        let mut next = place.queue.pop_front()?;
        place.served = turn;
        if let Some(mut joint) = next.post.joint() {
            while place.queue.front().is_some_and(|waiting| waiting.post.joins(&mut joint)) {
                next.post.behind.extend(place.queue.pop_front().map(|waiting| waiting.post));
            }
        }
        next.flight = Some(Flight { sent: now, is_cut: false });
        place.in_flight = Some(next);
        place.in_flight.as_ref().map(|queued| (at, &queued.post))
    }

    /// Whether a post waits that may be sent as far as its destination is concerned.
    fn is_ready(&self, place: &Destination, now: Instant) -> bool {
        !place.queue.is_empty() && place.in_flight.is_none() && self.held_until(place) <= Some(now)
    }

    /// The destination whose request is to be ended now, so that another gets its sender: its owner asks when
    /// [`Schedule::next`] has given all it could. `None`: nobody waits for a sender, or no request has passed its time.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<usize> {
        let waiting = self.places.iter().filter(|place| self.is_ready(place, now)).count();
        let is_cut = |place: &&Destination| place.flight().is_some_and(|flight| flight.is_cut);
        if self.places.iter().filter(is_cut).count() >= waiting {
            return None;
        }
        let flights = self.places.iter().enumerate().filter_map(|(at, place)| Some((place.cut_at()?, at)));
        let (_, at) = flights.min().filter(|(cut_at, _)| *cut_at <= now)?;
        self.places.get_mut(at)?.in_flight.as_mut()?.flight.as_mut()?.is_cut = true;
        Some(at)
    }

    /// When the destination may be asked again; `None`: any time.
    fn held_until(&self, place: &Destination) -> Option<Instant> {
        let all = if place.address.is_discord() { self.global.get(place.address.origin()).copied() } else { None };
        place.pause_until.max(all)
    }

    /// Pauses all Discord destinations of the origin of this one.
    fn pause_origin(&mut self, now: Instant, at: usize, until: Instant) {
        let Some(origin) = self.places.get(at).map(|place| place.address.origin()) else { return };
        let until = self.global.get(origin).copied().max(Some(until)).unwrap_or(until);
        self.global.insert(origin.into(), until);
        if self.global.len() > DESTINATIONS_MAX {
            self.global.retain(|_, until| *until > now);
            let first = self.global.iter().min_by_key(|(_, until)| **until).map(|(origin, _)| origin.clone());
            first.filter(|_| self.global.len() > DESTINATIONS_MAX).map(|origin| self.global.remove(&origin));
        }
    }

    /// When there may be something to do, although nobody offers or answers anything. `None`: never.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.places.iter().filter(|place| !place.queue.is_empty());
        let pauses = waiting.clone().filter(|place| place.in_flight.is_none());
        let pauses = pauses.filter_map(|place| self.held_until(place)).filter(|until| *until > now);
        // A destination waits for a sender: the next request passes its time.
        let waits = self.places.iter().any(|place| self.is_ready(place, now));
        let cuts = self.places.iter().filter(|_| waits).filter_map(Destination::cut_at).filter(|at| *at > now);
        // Something waits: its age is looked at from time to time.
        let expiry = waiting.map(|_| self.expiry_checked.map_or(now, |checked| checked + EXPIRY_CHECK));
        pauses.chain(cuts).chain(expiry).min()
    }

    /// What came of the post in flight for this destination. `random` is any number, another at each call. Posts that
    /// are given up for it; with [`Cause::Closed`] all that waited.
    pub(crate) fn done(&mut self, now: Instant, random: u64, at: usize, answer: Answer) -> Vec<Dead> {
        let Answer { verdict, reason, pause } = answer;
        let Some(place) = self.places.get_mut(at) else { return Vec::new() };
        let Some(mut queued) = place.in_flight.take() else { return Vec::new() };
        let is_answered = !matches!(verdict, Verdict::Again { answered: false, .. });
        let sent = queued.flight.take().map_or(now, |flight| flight.sent);
        place.took = is_answered.then(|| now.saturating_duration_since(sent));
        if let Some(pause) = pause {
            self.pause(at, now + pause);
        }
        match verdict {
            Verdict::Delivered => self.delivered(at, &queued.post),
            Verdict::Limited { after, global } => {
                // It was not taken, so it is not an attempt: only its age ends it.
                if global {
                    self.pause_origin(now, at, now + after);
                }
                self.pause(at, now + after);
                self.put_back(at, queued, reason, false);
            }
            Verdict::Again { after, answered } => {
                queued.post.attempts += 1;
                queued.post.refusals += u32::from(answered);
                self.set_failures(at, |failures| failures.saturating_add(1));
                self.pause(at, now + after.unwrap_or_default().max(self.backoff(at, random)));
                if queued.post.attempts >= WEBHOOK_ATTEMPTS_MAX {
                    return self.bury(at, queued.post, Cause::Attempts, &reason);
                }
                let steps_behind = answered && queued.post.refusals.is_multiple_of(STEP_BEHIND_AFTER);
                self.put_back(at, queued, reason, steps_behind);
            }
            Verdict::Never | Verdict::Denied if !queued.post.behind.is_empty() => {
                // Nobody knows which of them is not taken.
                self.set_failures(at, |_| 0);
                queued.post.attempts += 1;
                self.put_back(at, queued, reason, true);
            }
            Verdict::Never => {
                self.set_failures(at, |_| 0);
                return self.bury(at, queued.post, Cause::Refused, &reason);
            }
            Verdict::Denied => {
                self.set_failures(at, |_| 0);
                self.denied(now, at, &queued.post, &reason);
                return self.bury(at, queued.post, Cause::Refused, &reason);
            }
            Verdict::Closed => return self.close(at, queued.post, &reason),
        }
        Vec::new()
    }

    fn delivered(&mut self, at: usize, post: &Post) {
        self.let_go(post);
        self.set_failures(at, |_| 0);
        if let Some(place) = self.places.get_mut(at) {
            place.forgive();
            place.tally.delivered += post.jobs();
            if place.queue.is_empty() {
                // What a burst needed is given back.
                place.queue = VecDeque::new();
            }
        }
    }

    fn set_failures(&mut self, at: usize, change: impl FnOnce(u32) -> u32) {
        if let Some(place) = self.places.get_mut(at) {
            place.failures = change(place.failures);
        }
    }

    /// One more post in a row was denied: after [`DENIED_MAX`] of them the destination rests.
    fn denied(&mut self, now: Instant, at: usize, post: &Post, reason: &str) {
        let Some(place) = self.places.get_mut(at) else { return };
        place.last_trouble = reason.to_owned();
        if let Content::Request(Request { url, .. }) = &post.content
            && place.address.varies()
            && !place.rests()
        {
            // One path that is forbidden says nothing of others.
            if place.denied_urls.contains(url) {
                return;
            }
            place.denied_urls.push(url.clone());
        }
        place.denied = place.denied.saturating_add(1);
        if let Some(rests) = place.denied.checked_sub(DENIED_MAX) {
            self.pause(at, now + REST_FIRST.saturating_mul(1 << rests.min(16)).min(REST_LONGEST));
        }
    }

    /// Queues what was in flight again. `steps_behind`: others are to pass it; if it is several messages, each goes on
    /// alone in its place.
    fn put_back(&mut self, at: usize, queued: Queued, reason: String, steps_behind: bool) {
        let Some(place) = self.places.get_mut(at) else { return };
        place.last_trouble = reason;
        if !steps_behind {
            place.queue.push_front(queued);
        } else if queued.post.behind.is_empty() {
            place.queue.push_back(queued);
        } else {
            place.push_front(queued.post.split().into_iter(), queued.turn);
        }
    }

    /// Pauses the destination, and those that share its limit.
    fn pause(&mut self, at: usize, until: Instant) {
        let Some(limit) = self.places.get(at).map(|place| place.address.limit()) else { return };
        for place in self.places.iter_mut().filter(|place| place.address.limit() == limit) {
            place.pause_until = place.pause_until.max(Some(until));
        }
    }

    /// The wait after the failures so far; a random part of up to a half is taken off.
    fn backoff(&self, at: usize, random: u64) -> Duration {
        let failures = self.places.get(at).map_or(0, |place| place.failures);
        let full = RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(RETRY_LONGEST);
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        full.mul_f64(1.0 - share / 2.0).min(PAUSE_MAX)
    }

    fn close(&mut self, at: usize, post: Post, reason: &str) -> Vec<Dead> {
        let Some(place) = self.places.get_mut(at) else { return Vec::new() };
        place.closed = Some(reason.to_owned());
        let mut posts = vec![post];
        posts.extend(place.queue.drain(..).map(|queued| queued.post));
        posts.into_iter().flat_map(|post| self.bury(at, post, Cause::Closed, reason)).collect()
    }

    /// Gives up what is too old. Looks at most once a second.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Dead> {
        if self.expiry_checked.is_some_and(|checked| now < checked + EXPIRY_CHECK) {
            return Vec::new();
        }
        self.expiry_checked = Some(now);
        let mut dead = Vec::new();
        for at in 0..self.places.len() {
            let Some(place) = self.places.get_mut(at) else { continue };
            let is_old = |post: &Post| post.expires <= now;
            if !place.queue.iter().any(|queued| queued.post.parts().any(is_old)) {
                continue;
            }
            let (mut old, mut young) = (Vec::new(), VecDeque::with_capacity(place.queue.len()));
            for queued in std::mem::take(&mut place.queue) {
                let turn = queued.turn;
                if queued.post.parts().any(is_old) {
                    let (dead, alive): (Vec<_>, Vec<_>) = queued.post.split().into_iter().partition(is_old);
                    old.extend(dead);
                    young.extend(alive.into_iter().map(|post| Queued { post, turn, flight: None }));
                } else {
                    young.push_back(queued);
                }
            }
            place.queue = young;
            let reason = match place.last_trouble.as_str() {
                "" => "it waited too long".to_owned(),
                trouble => format!("it waited too long; last: {trouble}"),
            };
            dead.extend(old.into_iter().flat_map(|post| self.bury(at, post, Cause::Expired, &reason)));
        }
        dead
    }

    /// Takes posts for this address again: a hook was added, so somebody may have repaired it.
    pub(crate) fn reopen(&mut self, address: &Address) {
        let place = self.by_address.get(address).and_then(|at| self.places.get_mut(*at));
        if let Some(place) = place.filter(|place| place.closed.is_some() || place.rests()) {
            place.closed = None;
            place.failures = 0;
            place.forgive();
            place.pause_until = None;
        }
    }

    /// Why and for how long posts to this destination wait although it answers; `None`: it takes posts.
    pub(crate) fn rest(&self, now: Instant, at: usize) -> Option<String> {
        let place = self.places.get(at).filter(|place| place.rests())?;
        let seconds = place.pause_until.map_or(0, |until| until.saturating_duration_since(now).as_secs());
        let (trouble, denied) = (&place.last_trouble, place.denied);
        Some(format!("{trouble}; it denied {denied} posts in a row, the next is tried in {seconds} s"))
    }

    /// Counts an answer's status, 0 for none.
    pub(crate) fn count_status(&mut self, at: usize, status: u16) {
        let Some(tally) = self.places.get_mut(at).map(|place| &mut place.tally) else { return };
        match status {
            200..300 => tally.status_2xx += 1,
            429 => tally.status_429 += 1,
            500.. => tally.status_5xx += 1,
            0 => tally.no_answer += 1,
            // Redirections are refused like what is no good at all.
            _ => tally.status_4xx += 1,
        }
    }

    /// Puts back what is in flight but to none of these destinations: whoever sent it is gone.
    pub(crate) fn recover(&mut self, in_flight: &[usize]) {
        for (_, place) in self.places.iter_mut().enumerate().filter(|(at, _)| !in_flight.contains(at)) {
            if let Some(queued) = place.in_flight.take() {
                place.queue.push_front(Queued { flight: None, ..queued });
            }
        }
    }

    /// The post in flight for this destination.
    pub(crate) fn in_flight(&self, at: usize) -> Option<&Post> {
        self.places.get(at)?.in_flight.as_ref().map(|queued| &queued.post)
    }

    /// Everything that is not delivered, destination by destination in order; what is in flight first. Each message of
    /// a merged one for itself.
    pub(crate) fn posts(&self) -> impl Iterator<Item = &Post> {
        let queued = self.places.iter().flat_map(|place| place.in_flight.iter().chain(&place.queue));
        queued.flat_map(|queued| queued.post.parts())
    }

    /// Jobs waiting or in flight.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every destination, and last those that were forgotten, as one without a name.
    pub(crate) fn standings(&self, now: Instant) -> Vec<Standing> {
        let mut standings: Vec<_> = (0..self.places.len()).filter_map(|at| self.standing(at, now)).collect();
        if self.forgotten != Tally::default() {
            let (name, tally) = ("others".to_owned(), self.forgotten);
            standings.push(Standing { name, hook: String::new(), kind: "", tally, waiting: 0, state: State::Ok });
        }
        standings
    }

    fn standing(&self, at: usize, now: Instant) -> Option<Standing> {
        let place = self.places.get(at)?;
        let left = self.held_until(place).map(|until| until.saturating_duration_since(now));
        let closed = place.closed.clone().or_else(|| self.rest(now, at));
        let state = match (closed, left.filter(|left| !left.is_zero())) {
            (Some(reason), _) => State::Closed(reason),
            (None, _) if place.failures >= BROKEN_AFTER => State::Broken(place.last_trouble.clone()),
            (None, Some(left)) => State::Paused(left),
            (None, None) => State::Ok,
        };
        let waiting = place.queued_jobs() + place.in_flight.as_ref().map_or(0, |queued| queued.post.jobs());
        let (name, kind) = (place.address.name().to_owned(), place.address.kind());
        let hook = String::from_utf8_lossy(&place.hook).into_owned();
        Some(Standing { name, hook, kind, tally: place.tally, waiting, state })
    }
}

impl Destination {
    /// Nothing of it would be missed but its numbers, and what is known of its trouble.
    fn is_at_rest(&self, now: Instant) -> bool {
        let is_free = self.pause_until.is_none_or(|until| until <= now);
        self.queue.is_empty() && self.in_flight.is_none() && is_free
    }

    /// Forgotten only when no other place is free.
    fn is_in_trouble(&self) -> bool {
        self.failures > 0 || self.denied > 0 || self.closed.is_some()
    }

    fn forgive(&mut self) {
        self.denied = 0;
        self.denied_urls = Vec::new();
    }

    /// It denied so many posts in a row that others wait.
    fn rests(&self) -> bool {
        self.denied >= DENIED_MAX
    }

    /// Whether the last sender may be given to it.
    fn answers_soon(&self) -> bool {
        self.failures == 0 && self.took.is_some_and(|took| took <= SENDER_HOLD)
    }

    fn flight(&self) -> Option<&Flight> {
        self.in_flight.as_ref()?.flight.as_ref()
    }

    /// When its request may be ended for another destination, unless it is being ended.
    fn cut_at(&self) -> Option<Instant> {
        let flight = self.flight().filter(|flight| !flight.is_cut)?;
        Some(flight.sent + self.took.map_or(SENDER_HOLD, |took| SENDER_HOLD.max(took.saturating_mul(2))))
    }

    /// Queues these before all others, in this order.
    fn push_front(&mut self, posts: impl DoubleEndedIterator<Item = Post>, turn: u64) {
        posts.rev().for_each(|post| self.queue.push_front(Queued { post, turn, flight: None }));
    }

    fn queued_jobs(&self) -> u64 {
        self.queue.iter().map(|queued| queued.post.jobs()).sum()
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.offered += other.offered;
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.status_2xx += other.status_2xx;
        self.status_4xx += other.status_4xx;
        self.status_429 += other.status_429;
        self.status_5xx += other.status_5xx;
        self.no_answer += other.no_answer;
    }
}

impl Cause {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cause::Overflow => "overflow",
            Cause::Expired => "expired",
            Cause::Attempts => "attempts",
            Cause::Refused => "refused",
            Cause::Closed => "closed",
            Cause::Crowded => "crowded",
        }
    }
}

#[cfg(test)]
mod tests;
