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
//! - A destination in trouble never takes the last free sender: those that answer are served.
//! - Discord limits the webhook, whatever thread is posted to: destinations of one webhook pause together.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::config::{
    BROKEN_AFTER, DESTINATIONS_MAX, ITEM_OVERHEAD_BYTES, PAUSE_MAX, RETRY_FIRST, RETRY_LONGEST, STEP_BEHIND_AFTER,
    WEBHOOK_ATTEMPTS_MAX, WEBHOOK_BYTES_MAX, WEBHOOK_JOBS_MAX,
};
use crate::webhook::answer::{Answer, Verdict};
use crate::webhook::post::{Address, Post};

/// How often posts are looked through for those that are too old.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);

/// All queues.
#[derive(Default)]
pub struct Schedule {
    places: Vec<Destination>,
    by_address: HashMap<Address, usize>,
    bytes: usize,
    /// Jobs waiting or in flight.
    jobs: usize,
    /// Discord as a whole pauses until then.
    discord_until: Option<Instant>,
    /// Counts what was queued and served, for order and fairness.
    turn: u64,
    expiry_checked: Option<Instant>,
    forgotten: Tally,
}

struct Destination {
    address: Address,
    queue: VecDeque<Queued>,
    in_flight: Option<Queued>,
    pause_until: Option<Instant>,
    /// In a row.
    failures: u32,
    /// Why nothing is sent there any more.
    closed: Option<String>,
    last_trouble: String,
    served: u64,
    tally: Tally,
}

struct Queued {
    post: Post,
    turn: u64,
}

/// What a destination was given and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs; several may be merged into one request.
    pub offered: u64,
    pub delivered: u64,
    pub dead: u64,
    /// Requests by what came of them.
    pub status_2xx: u64,
    pub status_4xx: u64,
    pub status_429: u64,
    pub status_5xx: u64,
    pub no_answer: u64,
}

/// A post that will not be delivered.
#[derive(Debug)]
pub struct Dead {
    pub post: Post,
    pub cause: Cause,
    pub reason: String,
}

/// Why, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
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
    pub kind: &'static str,
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
    Closed(String),
}

impl Schedule {
    /// Queues a post. What had to make room for it, or itself if it is not taken.
    pub fn offer(&mut self, now: Instant, post: Post) -> Vec<Dead> {
        let Some(at) = self.place_of(now, &post.address) else {
            let reason = format!("{DESTINATIONS_MAX} other destinations have posts waiting");
            self.forgotten.offered += post.jobs();
            self.forgotten.dead += post.jobs();
            return vec![Dead { post, cause: Cause::Crowded, reason }];
        };
        self.turn += 1;
        let turn = self.turn;
        let Some(place) = self.places.get_mut(at) else { return Vec::new() };
        place.tally.offered += post.jobs();
        if let Some(reason) = place.closed.clone() {
            place.tally.dead += post.jobs();
            return vec![Dead { post, cause: Cause::Closed, reason }];
        }
        if post.expires <= now {
            place.tally.dead += post.jobs();
            return vec![Dead { post, cause: Cause::Expired, reason: "it waited too long".to_owned() }];
        }
        self.bytes += weight(&post);
        self.jobs += post.jobs() as usize;
        place.queue.push_back(Queued { post, turn });
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
    fn place_of(&mut self, now: Instant, address: &Address) -> Option<usize> {
        if let Some(at) = self.by_address.get(address) {
            return Some(*at);
        }
        let new = Destination {
            address: address.clone(),
            queue: VecDeque::new(),
            in_flight: None,
            pause_until: None,
            failures: 0,
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
        let at = at_rest.min_by_key(|(_, place)| place.served)?.0;
        let place = self.places.get_mut(at)?;
        self.forgotten.add(&place.tally);
        self.by_address.remove(&place.address);
        self.by_address.insert(address.clone(), at);
        *place = new;
        Some(at)
    }

    fn bury_oldest_of(&mut self, at: usize, reason: &str) -> Option<Dead> {
        let post = self.places.get_mut(at)?.queue.pop_front()?.post;
        Some(self.bury(at, post, Cause::Overflow, reason.to_owned()))
    }

    /// The post was queued or in flight, and is given up.
    fn bury(&mut self, at: usize, post: Post, cause: Cause, reason: String) -> Dead {
        self.let_go(&post);
        if let Some(place) = self.places.get_mut(at) {
            place.tally.dead += post.jobs();
        }
        Dead { post, cause, reason }
    }

    fn let_go(&mut self, post: &Post) {
        self.bytes = self.bytes.saturating_sub(weight(post));
        self.jobs = self.jobs.saturating_sub(post.jobs() as usize);
    }

    /// The next post to send, with the number of its destination. `free` senders could take it. It counts as in flight
    /// until [`Schedule::done`].
    pub fn next(&mut self, now: Instant, free: usize) -> Option<(usize, &Post)> {
        let ready = self.places.iter().enumerate().filter(|(_, place)| {
            let last_is_kept = free < 2 && place.failures > 0;
            !place.queue.is_empty() && place.in_flight.is_none() && !last_is_kept && self.held_until(place) <= Some(now)
        });
        // Those served longest ago come first.
        let at = ready.min_by_key(|(_, place)| place.served).filter(|_| free > 0)?.0;
        self.turn += 1;
        let turn = self.turn;
        let place = self.places.get_mut(at)?;
        let mut next = place.queue.pop_front()?;
        place.served = turn;
        let (mut bytes, mut merged) = (weight(&next.post), 0);
        while let Some(waiting) = place.queue.front() {
            if !next.post.merge(&waiting.post) {
                break;
            }
            bytes += weight(&waiting.post);
            merged += 1;
            place.queue.pop_front();
        }
        if merged > 0 {
            self.bytes = self.bytes.saturating_sub(bytes) + weight(&next.post);
        }
        place.in_flight = Some(next);
        place.in_flight.as_ref().map(|queued| (at, &queued.post))
    }

    /// When the destination may be asked again; `None`: any time.
    fn held_until(&self, place: &Destination) -> Option<Instant> {
        let all = if place.address.is_discord() { self.discord_until } else { None };
        place.pause_until.max(all)
    }

    /// When there may be something to do, although nobody offers or answers anything. `None`: never.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.places.iter().filter(|place| !place.queue.is_empty());
        let pauses = waiting.clone().filter(|place| place.in_flight.is_none());
        let pauses = pauses.filter_map(|place| self.held_until(place)).filter(|until| *until > now);
        // Something waits: its age is looked at from time to time.
        let expiry = waiting.map(|_| self.expiry_checked.map_or(now, |checked| checked + EXPIRY_CHECK));
        pauses.chain(expiry).min()
    }

    /// What came of the post in flight for this destination. `random` is any number, another at each call. Posts that
    /// are given up for it; with [`Cause::Closed`] all that waited.
    pub fn done(&mut self, now: Instant, random: u64, at: usize, answer: Answer) -> Vec<Dead> {
        let Answer { verdict, reason, pause } = answer;
        let Some(place) = self.places.get_mut(at) else { return Vec::new() };
        let Some(mut queued) = place.in_flight.take() else { return Vec::new() };
        if let Some(pause) = pause {
            self.pause(at, now + pause);
        }
        match verdict {
            Verdict::Delivered => self.delivered(at, &queued.post),
            Verdict::Limited { after, global } => {
                // It was not taken, so it is not an attempt: only its age ends it.
                if global {
                    self.discord_until = self.discord_until.max(Some(now + after));
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
                    return vec![self.bury(at, queued.post, Cause::Attempts, reason)];
                }
                let steps_behind = answered && queued.post.refusals.is_multiple_of(STEP_BEHIND_AFTER);
                self.put_back(at, queued, reason, steps_behind);
            }
            Verdict::Never => {
                self.set_failures(at, |_| 0);
                return vec![self.bury(at, queued.post, Cause::Refused, reason)];
            }
            Verdict::Closed => return self.close(at, queued.post, reason),
        }
        Vec::new()
    }

    fn delivered(&mut self, at: usize, post: &Post) {
        self.let_go(post);
        self.set_failures(at, |_| 0);
        if let Some(place) = self.places.get_mut(at) {
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

    fn put_back(&mut self, at: usize, queued: Queued, reason: String, steps_behind: bool) {
        let Some(place) = self.places.get_mut(at) else { return };
        place.last_trouble = reason;
        match steps_behind {
            true => place.queue.push_back(queued),
            false => place.queue.push_front(queued),
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

    fn close(&mut self, at: usize, post: Post, reason: String) -> Vec<Dead> {
        let Some(place) = self.places.get_mut(at) else { return Vec::new() };
        place.closed = Some(reason.clone());
        let mut posts = vec![post];
        posts.extend(place.queue.drain(..).map(|queued| queued.post));
        posts.into_iter().map(|post| self.bury(at, post, Cause::Closed, reason.clone())).collect()
    }

    /// Gives up what is too old. Looks at most once a second.
    pub fn expire(&mut self, now: Instant) -> Vec<Dead> {
        if self.expiry_checked.is_some_and(|checked| now < checked + EXPIRY_CHECK) {
            return Vec::new();
        }
        self.expiry_checked = Some(now);
        let mut dead = Vec::new();
        for at in 0..self.places.len() {
            let Some(place) = self.places.get_mut(at) else { continue };
            let (old, young): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut place.queue).into_iter().partition(|queued| queued.post.expires <= now);
            place.queue = young;
            let reason = match place.last_trouble.as_str() {
                "" => "it waited too long".to_owned(),
                trouble => format!("it waited too long; last: {trouble}"),
            };
            dead.extend(old.into_iter().map(|queued| self.bury(at, queued.post, Cause::Expired, reason.clone())));
        }
        dead
    }

    /// Takes posts for this address again: a hook was added, so somebody may have repaired it.
    pub fn reopen(&mut self, address: &Address) {
        let place = self.by_address.get(address).and_then(|at| self.places.get_mut(*at));
        if let Some(place) = place.filter(|place| place.closed.is_some()) {
            place.closed = None;
            place.failures = 0;
            place.pause_until = None;
        }
    }

    /// Counts an answer's status, 0 for none.
    pub fn count_status(&mut self, at: usize, status: u16) {
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
    pub fn recover(&mut self, in_flight: &[usize]) {
        for (_, place) in self.places.iter_mut().enumerate().filter(|(at, _)| !in_flight.contains(at)) {
            if let Some(queued) = place.in_flight.take() {
                place.queue.push_front(queued);
            }
        }
    }

    /// The post in flight for this destination.
    pub fn in_flight(&self, at: usize) -> Option<&Post> {
        self.places.get(at)?.in_flight.as_ref().map(|queued| &queued.post)
    }

    /// Everything that is not delivered, destination by destination in order; what is in flight first.
    pub fn posts(&self) -> impl Iterator<Item = &Post> {
        let queued = self.places.iter().flat_map(|place| place.in_flight.iter().chain(&place.queue));
        queued.map(|queued| &queued.post)
    }

    /// Jobs waiting or in flight.
    pub fn jobs(&self) -> usize {
        self.jobs
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every destination, and last those that were forgotten, as one without a name.
    pub fn standings(&self, now: Instant) -> Vec<Standing> {
        let mut standings: Vec<_> = self.places.iter().map(|place| self.standing(place, now)).collect();
        if self.forgotten != Tally::default() {
            let (name, tally) = ("others".to_owned(), self.forgotten);
            standings.push(Standing { name, kind: "", tally, waiting: 0, state: State::Ok });
        }
        standings
    }

    fn standing(&self, place: &Destination, now: Instant) -> Standing {
        let left = self.held_until(place).map(|until| until.saturating_duration_since(now));
        let state = match (&place.closed, left.filter(|left| !left.is_zero())) {
            (Some(reason), _) => State::Closed(reason.clone()),
            (None, _) if place.failures >= BROKEN_AFTER => State::Broken(place.last_trouble.clone()),
            (None, Some(left)) => State::Paused(left),
            (None, None) => State::Ok,
        };
        let waiting = place.queued_jobs() + place.in_flight.as_ref().map_or(0, |queued| queued.post.jobs());
        let (name, kind) = (place.address.name().to_owned(), place.address.kind());
        Standing { name, kind, tally: place.tally, waiting, state }
    }
}

impl Destination {
    /// Nothing of it would be missed but its numbers.
    fn is_at_rest(&self, now: Instant) -> bool {
        let is_free = self.failures == 0 && self.pause_until.is_none_or(|until| until <= now);
        self.queue.is_empty() && self.in_flight.is_none() && is_free
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
    pub fn name(self) -> &'static str {
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

fn weight(post: &Post) -> usize {
    post.weight() + ITEM_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;
