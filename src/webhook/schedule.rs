//! The schedule of posts: one queue for each destination, and the rules that delay a post or give it up.
//! A pure state machine, owned by `rt-webhooks`: the caller passes the clock and all randomness, and does the I/O. It
//! takes the next post from [`Schedule::next`], sends it, and reports the result to [`Schedule::done`].
//!
//! ```text
//!            offer                next                    done
//!   post ───────────▶ queue ───────────────▶ in flight ─────────────▶ delivered
//!                    │  ▲ at most one for     │  │
//!      full, too old │  │ each destination    │  └─ never, closed, too often ─▶ dead letter
//!                    ▼  └──── limited, again ─┘
//!               dead letter
//! ```
//! - One post is in flight for a destination. So posts stay in order, and a rate limit is known before the next request.
//! - After a failure the whole destination waits, twice as long each time, less jitter. A post that the destination itself
//!   refused [`STEP_BEHIND_AFTER`] times lets the others pass.
//! - Merged messages that were refused are sent again one by one, a batch in halves: only the refused one is lost.
//! - The first post of a batch waits for others, for the time that its hook names. A batch that waits for the end of a
//!   request or of a pause gathers meanwhile.
//! - The last free sender is kept for destinations that answered their last request soon. When a destination waits for a
//!   sender, the request that exceeds its time most (`SENDER_HOLD`) is ended.
//! - Discord limits the webhook, whatever thread a message goes to: all destinations of one webhook pause together. A
//!   global limit pauses the Discord destinations of that origin (scheme, host and port).
//! - Of the posts of a status message only the newest counts: it replaces one that waits. Their failures pause no other
//!   destination, but their rate limits do.
//! - A destination that denies [`DENIED_MAX`] posts in a row, or takes no request of this kind, rests for a while. Its
//!   other posts wait. The first post after the rest shows whether the destination accepts posts again.
//! - If a destination takes no request of this kind, a merged post loses only its oldest part, and the rest begins at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::limits::{PAYLOAD_BYTES_MAX, SENDERS_KEPT, SENDERS_MAX, TEXT_BYTES_MAX};
use crate::hooks::delivery::BATCH_EVENTS_MAX;
use crate::hooks::template::{BODY_BYTES_MAX, TEMPLATE_BYTES_MAX};
use crate::webhook::answer::{PostResult, Verdict};
use crate::webhook::discord::Message;
use crate::webhook::post::{Post, PostAddress};

use destination::{Destination, Queued};
use origins::OriginPauses;

pub use destination::DENIED_MAX;
pub(crate) use report::{Cause, DeadLetter, OTHERS, Tally};
pub use report::{DestinationReport, DestinationState};

mod destination;
mod disk;
mod origins;
mod report;

/// Most jobs that wait for one destination. A further one drops the oldest. A batch whose request failed may come back to a
/// full queue, so there may be as many again for a while.
pub const WEBHOOK_JOBS_MAX: usize = 1000;
/// Memory that all waiting posts may take, in bytes. Beyond it the oldest are dropped.
pub(crate) const WEBHOOK_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Largest single post, in bytes. A larger one would push out all others.
const WEBHOOK_POST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most destinations that are remembered. A further one takes the place of an idle one.
const DESTINATIONS_MAX: usize = 256;
/// Failures in a row of one post, each answered by the destination, after which the post lets the others pass. Failures
/// without an answer are the destination's and not the post's: they do not count.
const STEP_BEHIND_AFTER: u32 = 3;
/// How often the queues are searched for expired posts.
const EXPIRY_CHECK: Duration = Duration::from_secs(1);
const _: () = assert!(PAYLOAD_BYTES_MAX * 2 < WEBHOOK_POST_BYTES_MAX && WEBHOOK_POST_BYTES_MAX * 2 < WEBHOOK_BYTES_MAX);
const _: () = assert!(TEMPLATE_BYTES_MAX < TEXT_BYTES_MAX && BODY_BYTES_MAX * 2 < WEBHOOK_POST_BYTES_MAX);
/// Longest pause while a proxy asks for another login: when the settings are right again, posts go out soon.
const UNSENT_RETRY_LONGEST: Duration = Duration::from_secs(15);
const _: () = assert!(BATCH_EVENTS_MAX <= WEBHOOK_JOBS_MAX as u64);
// Each sender may hang in a look-up of its own.
const _: () = assert!(SENDERS_MAX > 1 && SENDERS_KEPT > 0);

/// All destinations and their queues. A destination's number is its index in `destinations`; it stays the same while the
/// destination has posts.
#[derive(Default)]
pub(crate) struct Schedule {
    destinations: Vec<Destination>,
    /// Memory of all posts, waiting or in flight.
    bytes: usize,
    /// Jobs waiting or in flight.
    jobs: usize,
    origins: OriginPauses,
    /// A counter that is increased when a post is queued or a destination is served. It orders both by age.
    turn: u64,
    expiry_checked: Option<Instant>,
    /// A hook with a long `retry_for` has posted: posts may go to the disk.
    has_long: bool,
    /// Counts of destinations that made room for others.
    forgotten: Tally,
    /// Messages that go without a refused part, since [`Schedule::take_left_out`].
    left_out: u64,
}

impl Schedule {
    // ---- posts come in --------------------------------------------------------------------------------------------

    /// Queues a post. Returns the posts that had to make room for it, or the post itself if it is not accepted.
    pub(crate) fn offer(&mut self, now: Instant, post: Post) -> Vec<DeadLetter> {
        let mut dead = Vec::new();
        if let Some(at) = self.enter(now, post, &mut dead) {
            // One for one: a batch that came back from its flight may have brought more than there is room for.
            if self.destinations.get(at).is_some_and(|own| own.queued_jobs() > WEBHOOK_JOBS_MAX as u64) {
                self.bury_oldest_of(at, "too many others waited for the same destination", &mut dead);
            }
            self.make_room(&mut dead);
        }
        dead
    }

    /// Queues a post of the spool. Those of one destination were in memory together, in its queue and in a batch in flight,
    /// so they have room together.
    pub(crate) fn readmit(&mut self, now: Instant, post: Post) -> Vec<DeadLetter> {
        let mut dead = Vec::new();
        self.enter(now, post, &mut dead);
        self.make_room(&mut dead);
        dead
    }

    /// Queues a post, or adds it to the dead letters. Returns the number of its destination if it is queued.
    fn enter(&mut self, now: Instant, post: Post, dead: &mut Vec<DeadLetter>) -> Option<usize> {
        let Some(at) = self.number_of(now, &post) else {
            let reason = format!("{DESTINATIONS_MAX} other destinations have posts waiting");
            self.forgotten.offered += post.jobs();
            self.forgotten.dead += post.jobs();
            dead.push(DeadLetter { post, cause: Cause::Crowded, reason });
            return None;
        };
        self.turn += 1;
        let turn = self.turn;
        let destination = self.destinations.get_mut(at)?;
        destination.tally.offered += post.jobs();
        destination.hook.clone_from(&post.hook);
        if let Some((cause, reason)) = destination.refusal(now, &post) {
            destination.tally.dead += post.jobs();
            dead.push(DeadLetter { post, cause, reason });
            return None;
        }
        let replaces = post.address.status_key().is_some();
        let older = if replaces { std::mem::take(&mut destination.queue) } else { VecDeque::new() };
        self.bytes += post.weight();
        self.jobs += post.jobs() as usize;
        destination.push(post, turn);
        for queued in older {
            self.bury(at, queued.post, Cause::Replaced, "a newer text took its place", dead);
        }
        Some(at)
    }

    /// Takes out the posts that wait for this address, as its status message is not to be edited any more. A post in flight
    /// stays there.
    pub(crate) fn withdraw(&mut self, address: &PostAddress) -> Vec<DeadLetter> {
        let mut dead = Vec::new();
        let Some(at) = self.destinations.iter().position(|known| known.address == *address) else { return dead };
        let Some(destination) = self.destinations.get_mut(at) else { return dead };
        for queued in std::mem::take(&mut destination.queue) {
            self.bury(at, queued.post, Cause::Replaced, "its message is not edited any more", &mut dead);
        }
        dead
    }

    /// Whether a post to this address is in flight.
    pub(crate) fn is_in_flight(&self, address: &PostAddress) -> bool {
        self.destinations.iter().any(|known| known.address == *address && known.in_flight.is_some())
    }

    /// Drops the oldest posts of all destinations while they take too much memory.
    fn make_room(&mut self, dead: &mut Vec<DeadLetter>) {
        while self.bytes > WEBHOOK_BYTES_MAX {
            let fronts = self.destinations.iter().enumerate().filter_map(|(at, destination)| {
                // Posts that would have gone to the disk have their share of the memory, and keep it.
                let first = destination.queue.front()?;
                Some((first.post.retries.is_long(), first.turn, at))
            });
            let Some((_, _, at)) = fronts.min() else { break };
            self.bury_oldest_of(at, "the posts of all destinations took too much memory", dead);
        }
    }

    /// The number of the post's destination. With too many destinations a new one takes the place of an idle one; those
    /// without trouble go first, then those served longest ago. `None`: no destination is idle.
    fn number_of(&mut self, now: Instant, post: &Post) -> Option<usize> {
        // They are few, so each is looked at.
        if let Some(at) = self.destinations.iter().position(|known| known.address == post.address) {
            return Some(at);
        }
        let at = self.destinations.len();
        if at < DESTINATIONS_MAX {
            self.destinations.push(self.newcomer(post));
            return Some(at);
        }
        let idle = self.destinations.iter().enumerate().filter(|(_, destination)| destination.is_idle(now));
        let at = idle.min_by_key(|(_, destination)| (destination.is_in_trouble(), destination.served))?.0;
        let newcomer = self.newcomer(post);
        let destination = self.destinations.get_mut(at)?;
        self.forgotten.add(&destination.tally);
        *destination = newcomer;
        Some(at)
    }

    /// The destination of a first post. It is limited as those are that share its rate limit.
    fn newcomer(&self, post: &Post) -> Destination {
        let (limit, mut newcomer) = (post.address.limit(), Destination::new(post));
        let known = self.destinations.iter().filter(|known| known.address.limit() == limit);
        newcomer.limited_until = known.filter_map(|known| known.limited_until).max();
        newcomer
    }

    /// Accepts posts for this address again. A hook with it was added, so somebody may have repaired the destination.
    pub(crate) fn reopen(&mut self, address: &PostAddress) {
        // With batches, several hooks for one URL have a destination each.
        self.destinations.iter_mut().filter(|known| known.address.leads_to(address)).for_each(Destination::reopen);
    }

    // ---- posts go out ---------------------------------------------------------------------------------------------

    /// The next post to send, with the number of its destination; `free` is the number of free senders. Destinations take
    /// turns. The post is in flight until [`Schedule::done`].
    pub(crate) fn next(&mut self, now: Instant, free: usize) -> Option<(usize, &Post)> {
        let ready = self.destinations.iter().enumerate().filter(|(_, destination)| {
            let last_is_kept = free <= SENDERS_KEPT && !destination.answers_soon();
            self.is_ready(destination, now) && !last_is_kept
        });
        let at = ready.min_by_key(|(_, destination)| destination.served).filter(|_| free > 0)?.0;
        self.turn += 1;
        let turn = self.turn;
        self.destinations.get_mut(at)?.send_next(now, turn).map(|post| (at, post))
    }

    /// Whether the destination has a post that may be sent now if a sender is free.
    fn is_ready(&self, destination: &Destination, now: Instant) -> bool {
        !destination.queue.is_empty() && destination.in_flight.is_none() && self.ready_at(destination) <= Some(now)
    }

    /// From when on its first post may be sent: the end of its pause, or of the time in which a batch gathers. It may be
    /// past. `None`: at once.
    fn ready_at(&self, destination: &Destination) -> Option<Instant> {
        self.held_until(destination).max(destination.gathers_until())
    }

    /// The number of a destination whose request has to be ended, so that another destination gets its sender. The caller
    /// asks after [`Schedule::next`] returned `None`, until this returns `None` too. Ends at most as many requests as
    /// destinations wait for a sender.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<usize> {
        let waiting = self.destinations.iter().filter(|destination| self.is_ready(destination, now)).count();
        let is_cut = |destination: &&Destination| destination.flight().is_some_and(|flight| flight.is_cut);
        if self.destinations.iter().filter(is_cut).count() >= waiting {
            return None;
        }
        let flights = self.destinations.iter().enumerate();
        let flights = flights.filter_map(|(at, destination)| Some((destination.cut_at()?, at)));
        let (_, at) = flights.min().filter(|(cut_at, _)| *cut_at <= now)?;
        self.destinations.get_mut(at)?.in_flight.as_mut()?.flight.as_mut()?.is_cut = true;
        Some(at)
    }

    /// The end of the destination's pause, global pauses included. It may be past. `None`: it was never paused.
    fn held_until(&self, destination: &Destination) -> Option<Instant> {
        let address = &destination.address;
        let global = if address.is_discord() { self.origins.until(address.origin()) } else { None };
        destination.held_until().max(global)
    }

    /// The next moment at which the caller has something to do, even if no post and no result comes. `None`: never.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let waits = self.destinations.iter().any(|destination| self.is_ready(destination, now));
        let mut due = None;
        let mut at = |moment: Option<Instant>| due = due.into_iter().chain(moment).min();
        for destination in &self.destinations {
            let has_posts = !destination.queue.is_empty();
            if has_posts && destination.in_flight.is_none() {
                at(self.ready_at(destination).filter(|until| *until > now));
            }
            // If a destination waits for a sender, the next request that exceeds its time can be ended.
            if waits {
                at(destination.cut_at().filter(|at| *at > now));
            }
            if destination.on_disk > 0 {
                at(destination.disk_until.filter(|until| *until > now));
            }
            // Waiting posts expire.
            if has_posts {
                at(Some(self.expiry_checked.map_or(now, |checked| checked + EXPIRY_CHECK)));
            }
        }
        due
    }

    /// The post in flight for this destination.
    pub(crate) fn in_flight(&self, at: usize) -> Option<&Post> {
        self.destinations.get(at)?.in_flight.as_ref().map(|queued| &queued.post)
    }

    /// Queues the posts in flight again, except those of the destinations in `in_flight`. Called after a panic of the
    /// thread: no sender has these posts, so no result will come.
    pub(crate) fn recover(&mut self, in_flight: &[usize]) {
        for (at, destination) in self.destinations.iter_mut().enumerate() {
            if !in_flight.contains(&at)
                && let Some(queued) = destination.in_flight.take()
            {
                destination.queue.push_front(Queued { flight: None, ..queued });
            }
        }
    }

    // ---- results come back ----------------------------------------------------------------------------------------

    /// Takes the result of the post in flight for this destination. `random` is the source of the jitter: any number,
    /// another at each call. Returns the posts that are given up; with [`Cause::Closed`] these are all that waited.
    pub(crate) fn done(&mut self, now: Instant, random: u64, at: usize, result: PostResult) -> Vec<DeadLetter> {
        let PostResult { verdict, reason, pause } = result;
        let mut dead = Vec::new();
        let Some(destination) = self.destinations.get_mut(at) else { return dead };
        let Some(mut queued) = destination.in_flight.take() else { return dead };
        let is_answered = !matches!(verdict, Verdict::Again { answered: false, .. });
        let sent = queued.flight.take().map_or(now, |flight| flight.sent);
        destination.took = is_answered.then(|| now.saturating_duration_since(sent));
        match verdict {
            // A rate limit is no failure, and a closed destination needs no count.
            Verdict::Limited { .. } | Verdict::Closed => {}
            Verdict::Again { .. } | Verdict::Unsent => destination.failures = destination.failures.saturating_add(1),
            Verdict::Delivered
            | Verdict::Unnamed
            | Verdict::BadEmbed
            | Verdict::Never
            | Verdict::NeverHere
            | Verdict::Denied
            | Verdict::Gone => destination.failures = 0,
        }
        if let Some(pause) = pause {
            self.limit(at, now + pause);
        }
        match verdict {
            Verdict::Delivered => self.delivered(at, &queued.post),
            Verdict::Limited { after, global } => {
                // The destination did not accept it, so this is no attempt: only its age ends the post.
                if global {
                    self.pause_origin(now, at, now + after);
                }
                self.limit(at, now + after);
                self.put_back(at, queued, reason, false);
            }
            // As for a rate limit: only its age ends the post.
            Verdict::Unsent => {
                let backoff = self.destinations.get(at).map_or(Duration::ZERO, |own| own.backoff(random));
                self.pause(at, now + backoff.min(UNSENT_RETRY_LONGEST));
                self.put_back(at, queued, reason, false);
            }
            Verdict::Again { after, answered } => {
                // A file may have named any number of them.
                queued.post.attempts = queued.post.attempts.saturating_add(1);
                queued.post.refusals = queued.post.refusals.saturating_add(u32::from(answered));
                let backoff = self.destinations.get(at).map_or(Duration::ZERO, |own| own.backoff(random));
                self.pause(at, now + after.unwrap_or_default().max(backoff));
                let lets_others_pass = answered && queued.post.refusals.is_multiple_of(STEP_BEHIND_AFTER);
                if let Some(queued) = self.bury_tired(at, queued, &reason, &mut dead) {
                    self.put_back(at, queued, reason, lets_others_pass);
                }
            }
            Verdict::Unnamed | Verdict::BadEmbed if self.leave_out(&mut queued.post, &verdict) => {
                queued.post.attempts = queued.post.attempts.saturating_add(1);
                self.put_back(at, queued, reason, false);
            }
            Verdict::Unnamed | Verdict::BadEmbed | Verdict::Never | Verdict::Denied | Verdict::Gone
                if !queued.post.merged.is_empty() =>
            {
                // The answer does not tell which of the merged posts is refused. However often they are divided, that is one
                // attempt at each of them.
                queued.post.attempts = queued.post.attempts.max(1);
                self.put_back(at, queued, reason, true);
            }
            // Its text goes into the message that takes the place of the deleted one.
            Verdict::Gone if queued.post.address.status_key().is_some() => {
                self.bury(at, queued.post, Cause::Replaced, &reason, &mut dead);
            }
            // Another event may have another URL.
            Verdict::NeverHere if queued.post.address.varies() => {
                self.bury(at, queued.post, Cause::Refused, &reason, &mut dead);
            }
            Verdict::Unnamed | Verdict::BadEmbed | Verdict::Never | Verdict::Gone => {
                // The server has looked at the post: it lets this sender in.
                if let Some(destination) = self.destinations.get_mut(at) {
                    destination.forget_denials();
                }
                self.bury(at, queued.post, Cause::Refused, &reason, &mut dead);
            }
            Verdict::Denied | Verdict::NeverHere => {
                let rest = self.destinations.get_mut(at).and_then(|own| own.deny(&queued.post, &reason));
                if let Some(rest) = rest {
                    self.pause(at, now + rest);
                }
                // No part of a merged post would fare better alone now, but each may after the rest.
                let oldest = self.destinations.get_mut(at).and_then(|own| {
                    own.queue.push_front(queued);
                    own.take_oldest()
                });
                if let Some(post) = oldest {
                    self.bury(at, post, Cause::Refused, &reason, &mut dead);
                }
            }
            Verdict::Closed => self.close(at, queued.post, &reason, &mut dead),
        }
        dead
    }

    fn delivered(&mut self, at: usize, post: &Post) {
        self.let_go(post);
        if let Some(destination) = self.destinations.get_mut(at) {
            destination.forget_denials();
            destination.tally.delivered += post.jobs();
            if destination.queue.is_empty() {
                // Gives back the memory that a burst took.
                destination.queue = VecDeque::new();
            }
        }
    }

    /// Takes the parts that this verdict refuses off the post, which becomes smaller. False if it has none of them.
    fn leave_out(&mut self, post: &mut Post, verdict: &Verdict) -> bool {
        let before = post.weight();
        let any = match verdict {
            Verdict::Unnamed => post.change_messages(Message::forget_sender),
            // The answer does not tell which of the merged messages has the embed: they are sent one by one first.
            Verdict::BadEmbed if post.merged.is_empty() => post.change_messages(Message::forget_urls),
            _ => false,
        };
        self.bytes = self.bytes.saturating_sub(before.saturating_sub(post.weight()));
        self.left_out += if any { post.jobs() } else { 0 };
        any
    }

    /// The number of messages that go without a refused part since the last call.
    pub(crate) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn put_back(&mut self, at: usize, queued: Queued, reason: String, lets_others_pass: bool) {
        if let Some(destination) = self.destinations.get_mut(at) {
            destination.put_back(queued, reason, lets_others_pass);
        }
    }

    /// Applies a rate limit to the destination and to those that share it. A longer limit stays.
    fn limit(&mut self, at: usize, until: Instant) {
        let Some(limit) = self.destinations.get(at).map(|own| own.address.limit()) else { return };
        for destination in self.destinations.iter_mut().filter(|other| other.address.limit() == limit) {
            destination.limited_until = destination.limited_until.max(Some(until));
        }
    }

    /// Pauses the destination after a failure, and no other: a locked thread, or a status message that cannot be edited,
    /// does not delay the other messages of its webhook. A longer pause stays.
    fn pause(&mut self, at: usize, until: Instant) {
        if let Some(own) = self.destinations.get_mut(at) {
            own.pause_until = own.pause_until.max(Some(until));
        }
    }

    /// Pauses all Discord destinations on the origin of this one.
    fn pause_origin(&mut self, now: Instant, at: usize, until: Instant) {
        if let Some(destination) = self.destinations.get(at) {
            self.origins.pause(now, destination.address.origin(), until);
        }
    }

    /// Counts the status of a response; 0 stands for no response.
    pub(crate) fn count_status(&mut self, at: usize, status: u16) {
        if let Some(destination) = self.destinations.get_mut(at) {
            destination.tally.count_status(status);
        }
    }

    // ---- posts are given up ---------------------------------------------------------------------------------------

    /// Gives up expired posts. Searches at most once in [`EXPIRY_CHECK`]. A post in flight is left alone until its result
    /// comes.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<DeadLetter> {
        if self.expiry_checked.is_some_and(|checked| now < checked + EXPIRY_CHECK) {
            return Vec::new();
        }
        self.expiry_checked = Some(now);
        let mut dead = Vec::new();
        for at in 0..self.destinations.len() {
            let Some(destination) = self.destinations.get_mut(at) else { continue };
            let expired = destination.take_expired(now);
            if expired.is_empty() {
                continue;
            }
            let reason = destination.age_reason();
            for post in expired {
                self.bury(at, post, Cause::Expired, &reason, &mut dead);
            }
        }
        dead
    }

    /// Gives up the parts of a post that have used up their attempts, and queues the others again: messages of several
    /// hooks may be merged. Returns the post if all of its parts have attempts left.
    fn bury_tired(&mut self, at: usize, queued: Queued, reason: &str, dead: &mut Vec<DeadLetter>) -> Option<Queued> {
        let attempts = queued.post.attempts;
        let is_tired = |part: &Post| part.retries.attempts <= attempts;
        if !queued.post.parts().any(is_tired) {
            return Some(queued);
        }
        let Queued { post, run, turn, .. } = queued;
        let (tired, others): (Vec<Post>, Vec<Post>) = post.split().into_iter().partition(is_tired);
        for post in tired {
            self.bury(at, post, Cause::Attempts, reason, dead);
        }
        if let Some(destination) = self.destinations.get_mut(at) {
            destination.last_trouble = reason.to_owned();
            destination.push_front(Post::regroup(others), run, turn);
        }
        None
    }

    /// Closes the destination and gives up all its posts.
    fn close(&mut self, at: usize, post: Post, reason: &str, dead: &mut Vec<DeadLetter>) {
        let Some(destination) = self.destinations.get_mut(at) else { return };
        destination.closed = Some(reason.to_owned());
        let queue = std::mem::take(&mut destination.queue);
        self.bury(at, post, Cause::Closed, reason, dead);
        for queued in queue {
            self.bury(at, queued.post, Cause::Closed, reason, dead);
        }
    }

    fn bury_oldest_of(&mut self, at: usize, reason: &str, dead: &mut Vec<DeadLetter>) {
        if let Some(post) = self.destinations.get_mut(at).and_then(Destination::take_oldest) {
            self.bury(at, post, Cause::Overflow, reason, dead);
        }
    }

    /// Gives up a post that was queued or in flight. Each of its parts becomes a dead letter of its own.
    fn bury(&mut self, at: usize, post: Post, cause: Cause, reason: &str, dead: &mut Vec<DeadLetter>) {
        self.let_go(&post);
        if let Some(destination) = self.destinations.get_mut(at) {
            let tally = &mut destination.tally;
            let counted = if cause == Cause::Replaced { &mut tally.replaced } else { &mut tally.dead };
            *counted += post.jobs();
        }
        for post in post.split() {
            dead.push(DeadLetter { post, cause, reason: reason.to_owned() });
        }
    }

    /// Takes a post that leaves the schedule off the totals.
    fn let_go(&mut self, post: &Post) {
        self.bytes = self.bytes.saturating_sub(post.weight());
        self.jobs = self.jobs.saturating_sub(post.jobs() as usize);
    }

    // ---- reports --------------------------------------------------------------------------------------------------

    /// Every post that is not delivered, by destination and in order, those in flight first. The parts of a merged post
    /// come one by one. Without those of status messages: the next process makes newer ones.
    pub(crate) fn posts(&self) -> Vec<&Post> {
        let mut posts = Vec::with_capacity(self.jobs);
        for destination in self.destinations.iter().filter(|known| known.address.status_key().is_none()) {
            for queued in destination.in_flight.iter().chain(&destination.queue) {
                posts.push(&queued.post);
                posts.extend(&queued.post.merged);
            }
        }
        posts
    }

    /// Jobs waiting or in flight.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs
    }

    /// The reason for which posts to this destination wait although it answers, and the time left. `None`: it accepts
    /// posts.
    pub(crate) fn rest(&self, now: Instant, at: usize) -> Option<String> {
        self.destinations.get(at)?.rest(now)
    }

    /// The reports of all destinations. The last one, named `others`, sums up those that made room for others, if any.
    pub(crate) fn reports(&self, now: Instant) -> Vec<DestinationReport> {
        let report = |destination: &Destination| destination.report(now, self.held_until(destination));
        let mut reports: Vec<_> = self.destinations.iter().map(report).collect();
        if self.forgotten != Tally::default() {
            let (name, hook, tally) = (OTHERS.to_owned(), String::new(), self.forgotten);
            reports.push(DestinationReport {
                name,
                hook,
                kind: "",
                tally,
                waiting: 0,
                on_disk: 0,
                state: DestinationState::Ok,
            });
        }
        reports
    }
}

#[cfg(test)]
mod tests;
