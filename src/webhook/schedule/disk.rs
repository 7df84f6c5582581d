//! Which posts go to the disk, and which come back: the part of the schedule that knows how many posts of each destination
//! wait there (`webhook/overflow.rs`). Pure: the caller writes and reads.
//!
//! - A post goes to the disk if it finds no room in memory and its hook wants it repeated for long. Such posts take at most
//!   half of the memory, so that those of other hooks have room.
//! - While posts of a destination wait on the disk, every further post to it goes there too: the order is kept.
//! - Posts come back when the destination has room for a step of them. One comes back in any case if it has none in memory.

use std::time::Instant;

use super::destination::Destination;
use super::report::DeadLetter;
use super::{Schedule, WEBHOOK_BYTES_MAX, WEBHOOK_JOBS_MAX};
use crate::webhook::post::{Post, PostAddress};

/// Posts that come back in one step.
const STEP_POSTS: usize = 128;
/// Memory that posts take until further ones with a long `retry_for` go to the disk.
const LONG_BYTES_MAX: usize = WEBHOOK_BYTES_MAX / 2;
const _: () = assert!(STEP_POSTS * 2 < WEBHOOK_JOBS_MAX);

impl Schedule {
    /// Whether this post belongs on the disk. If so the caller writes it there, and reports that with
    /// [`Schedule::spilled`]; otherwise, and if the disk does not take it, the post is offered as usual.
    pub(crate) fn spills(&mut self, now: Instant, post: &Post) -> bool {
        let is_long = post.retries.is_long();
        self.has_long |= is_long;
        if !self.has_long {
            return false;
        }
        let Some(at) = self.number_of(now, post) else { return false };
        let bytes = self.bytes + post.weight();
        let Some(destination) = self.destinations.get(at).filter(|own| own.refusal(now, post).is_none()) else {
            return false;
        };
        // A spool may bring many posts, each of which asks this: so the answer takes no time in proportion to all of them.
        let is_full =
            destination.queue.len() >= WEBHOOK_JOBS_MAX || destination.queued_jobs() >= WEBHOOK_JOBS_MAX as u64;
        let mut oldest = destination.queue.iter().take(WEBHOOK_JOBS_MAX);
        destination.on_disk > 0
            || is_long && (is_full || bytes > LONG_BYTES_MAX)
            || is_full && oldest.any(|queued| queued.post.retries.is_long())
    }

    /// A new post was written to the disk.
    pub(crate) fn spilled(&mut self, now: Instant, post: &Post) {
        self.found_on_disk(now, post, post.jobs());
    }

    /// So many posts to the destination of this one are on the disk, and were not counted before. False if too many other
    /// destinations have posts.
    pub(crate) fn found_on_disk(&mut self, now: Instant, post: &Post, count: u64) -> bool {
        let Some(at) = self.number_of(now, post) else { return false };
        let Some(destination) = self.destinations.get_mut(at) else { return false };
        destination.tally.offered += count;
        destination.on_disk += count;
        destination.hook.clone_from(&post.hook);
        self.has_long = true;
        true
    }

    /// Corrects the counts after a panic, which may have come between a file and its count.
    pub(crate) fn recount_disk<'a>(&mut self, counts: impl Iterator<Item = (&'a PostAddress, u64)>) {
        self.destinations.iter_mut().for_each(|destination| destination.on_disk = 0);
        for (address, count) in counts {
            if let Some(destination) = self.at_address(address) {
                destination.on_disk = count;
            }
        }
    }

    /// A post cannot be written to the disk. True if it is given up, and counted as such: older ones to the same destination
    /// wait there, and it would overtake them. Otherwise it has its place in memory.
    pub(crate) fn gives_up_unwritten(&mut self, post: &Post) -> bool {
        let Some(destination) = self.at_address(&post.address).filter(|own| own.on_disk > 0) else { return false };
        destination.tally.offered += post.jobs();
        destination.tally.dead += post.jobs();
        true
    }

    /// The destination whose posts are to come back from the disk, and how many of them. `None`: none has room.
    pub(crate) fn refill(&self, now: Instant) -> Option<(PostAddress, usize)> {
        let is_readable = |own: &&Destination| own.on_disk > 0 && own.disk_until <= Some(now);
        let waiting = self.destinations.iter().filter(is_readable);
        let (jobs, destination) = waiting.map(|own| (own.queued_jobs() as usize, own)).min_by_key(|(jobs, _)| *jobs)?;
        let has_room = jobs + STEP_POSTS <= WEBHOOK_JOBS_MAX && self.bytes < LONG_BYTES_MAX;
        match (has_room, jobs) {
            (true, _) => Some((destination.address.clone(), STEP_POSTS)),
            (false, 0) => Some((destination.address.clone(), 1)),
            (false, _) => None,
        }
    }

    /// Queues posts of this destination that came back from the disk, where `lost` others could not be found. Returns the
    /// posts that are too old or not accepted, and those that had to make room: the oldest of the same destination.
    pub(crate) fn come_back(
        &mut self,
        now: Instant,
        address: &PostAddress,
        posts: Vec<Post>,
        lost: u64,
    ) -> Vec<DeadLetter> {
        let mut dead = Vec::new();
        let Some(at) = self.destinations.iter().position(|known| known.address == *address) else { return dead };
        for post in posts {
            self.turn += 1;
            let turn = self.turn;
            let Some(destination) = self.destinations.get_mut(at) else { return dead };
            destination.on_disk = destination.on_disk.saturating_sub(post.jobs());
            if let Some((cause, reason)) = destination.refusal(now, &post) {
                destination.tally.dead += post.jobs();
                dead.push(DeadLetter { post, cause, reason });
                continue;
            }
            self.bytes += post.weight();
            self.jobs += post.jobs() as usize;
            destination.push(post, turn);
            let is_over = self.bytes > LONG_BYTES_MAX;
            let is_over = |own: &Destination| is_over || own.queued_jobs() > WEBHOOK_JOBS_MAX as u64;
            if self.destinations.get(at).is_some_and(|own| own.queue.len() > 1 && is_over(own)) {
                self.bury_oldest_of(at, "too many posts waited on the disk", &mut dead);
            }
        }
        if let Some(destination) = self.destinations.get_mut(at) {
            destination.on_disk = destination.on_disk.saturating_sub(lost);
            destination.tally.dead += lost;
        }
        self.make_room(&mut dead);
        dead
    }

    /// The posts of this destination cannot be read from the disk before this moment. Those of others can.
    pub(crate) fn pause_disk(&mut self, address: &PostAddress, until: Instant) {
        if let Some(destination) = self.at_address(address) {
            destination.disk_until = Some(until);
        }
    }

    /// Posts on the disk.
    pub(crate) fn on_disk(&self) -> u64 {
        self.destinations.iter().map(|destination| destination.on_disk).sum()
    }

    fn at_address(&mut self, address: &PostAddress) -> Option<&mut Destination> {
        self.destinations.iter_mut().find(|known| known.address == *address)
    }
}
