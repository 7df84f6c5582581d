//! The posts on the disk, as `rt-webhooks` serves them: each step reads or writes a bounded part of them
//! (`webhook/overflow.rs`), and the schedule decides which posts go there and which come back.
//! The lock of the schedule is never held during I/O. A failing disk is tried again once a second: meanwhile posts stay in
//! memory as those of other hooks do, and what is on the disk waits.

use std::collections::HashSet;
use std::io;
use std::time::Instant;

use crate::io::lock::lock;
use crate::io::sharing::{self, HELD_RETRY};
use crate::threads::webhooks::queue::SpoolState;
use crate::threads::webhooks::{Worker, cause, now};
use crate::webhook::overflow::{Adopted, Back, Bounds, Overflow};
use crate::webhook::post::{Post, PostAddress, PostId};
use crate::webhook::schedule::{Cause, DeadLetter};

impl Worker<'_> {
    /// Prepares the disk before the first post is offered. True in the first run of this thread: then the posts that dead
    /// processes left follow ([`Worker::adopt_disk`]). After a panic it corrects the schedule's counts.
    pub(super) fn prepare_disk(&self) -> bool {
        let Some(directory) = self.webhooks.directory.get() else { return false };
        let mut overflow = lock(&self.webhooks.overflow);
        if let Some(overflow) = &*overflow {
            lock(&self.webhooks.schedule).recount_disk(overflow.counts());
            return false;
        }
        *overflow = Some(Overflow::new(directory, Bounds::default()));
        true
    }

    /// Takes over the posts that dead processes left on the disk. They are later than those of the spools.
    pub(super) fn adopt_disk(&mut self) {
        let known = self.spooled();
        let adopted = lock(&self.webhooks.overflow).as_mut().map(|overflow| overflow.adopt(&known, now()));
        if let Some((adopted, result)) = adopted {
            if let Err(err) = result {
                self.note_disk("cannot take over all posts on the disk", &err);
            }
            self.take_over_disk(adopted);
        }
    }

    /// The posts that the spool held: they are in memory, although the disk may have them too.
    fn spooled(&self) -> HashSet<PostId> {
        match &*lock(&self.webhooks.spool) {
            SpoolState::Open(spool) => spool.known().clone(),
            SpoolState::Unopened | SpoolState::Closed => HashSet::new(),
        }
    }

    /// Counts the posts that dead processes left.
    fn take_over_disk(&mut self, Adopted { files, unreadable, left }: Adopted) {
        self.shared.stats.spool_unreadable.add((unreadable + left.len()) as u64);
        let found: u64 = files.iter().map(|(_, count)| count).sum();
        if found > 0 || unreadable > 0 {
            log::info!("{found} posts wait on the disk since the last run; {unreadable} could not be read");
        }
        for left in left {
            log::warn!("{left}: the file is left unchanged, move it away if it is not yours");
        }
        for (first, count) in files {
            if lock(&self.webhooks.schedule).found_on_disk(Instant::now(), &first, count) {
                self.shared.stats.webhooks.offered.add(count);
            } else {
                if let Some(overflow) = &mut *lock(&self.webhooks.overflow) {
                    overflow.leave_alone(&first.address);
                }
                let name = first.address.name();
                log::error!("{count} posts to {name} stay on the disk until the next start: too many destinations");
            }
        }
    }

    /// Writes a post to the disk if it belongs there. Returns it if it does not, or if the disk does not take it and its
    /// order allows it to stay in memory.
    pub(super) fn spill(&mut self, post: Post) -> Option<Post> {
        if lock(&self.webhooks.overflow).is_none() || !lock(&self.webhooks.schedule).spills(Instant::now(), &post) {
            return Some(post);
        }
        match self.append(&post) {
            Ok(()) => {
                lock(&self.webhooks.schedule).spilled(Instant::now(), &post);
                self.make_room_on_disk();
                None
            }
            Err(err) => {
                if !lock(&self.webhooks.schedule).gives_up_unwritten(&post) {
                    return Some(post);
                }
                let reason = format!("too many others waited, and it cannot be written to the disk: {err}");
                self.bury(vec![DeadLetter { post, cause: Cause::Overflow, reason }]);
                None
            }
        }
    }

    fn append(&mut self, post: &Post) -> io::Result<()> {
        if Instant::now() < self.disk_write_at {
            return Err(io::Error::other("the disk took no post a moment ago"));
        }
        let written = match &mut *lock(&self.webhooks.overflow) {
            // Those that are too many cannot be read now, so that none of them can be given up.
            Some(overflow) if overflow.over().is_some() => Err(io::Error::other("too many posts wait there")),
            Some(overflow) => overflow.append(post, now()),
            None => Err(io::Error::other("there is no folder")),
        };
        if let Err(err) = &written {
            self.disk_write_at = Instant::now() + HELD_RETRY;
            self.note_disk("cannot write posts to the disk, further ones are given up", err);
        }
        written
    }

    /// Brings the oldest posts back while more wait on the disk than may. They push the oldest in memory out.
    fn make_room_on_disk(&mut self) {
        loop {
            let over = lock(&self.webhooks.overflow).as_ref().and_then(Overflow::over);
            if !over.is_some_and(|address| self.bring_back(&address, 1)) {
                return;
            }
        }
    }

    /// Whether posts can come back from the disk now.
    pub(super) fn can_refill(&self) -> bool {
        lock(&self.webhooks.schedule).refill(Instant::now()).is_some()
    }

    /// Brings posts of one destination back, a step of them.
    pub(super) fn refill(&mut self) {
        let refill = lock(&self.webhooks.schedule).refill(Instant::now());
        if let Some((address, posts)) = refill {
            self.bring_back(&address, posts);
        }
    }

    /// Reads posts of this destination, at most so many, and queues them. False if their file cannot be read now.
    fn bring_back(&mut self, address: &PostAddress, posts_max: usize) -> bool {
        let taken = match &mut *lock(&self.webhooks.overflow) {
            Some(overflow) => overflow.take(address, posts_max, now()),
            None => Ok(Back::default()),
        };
        let Back { posts, lost } = match taken {
            Ok(back) => back,
            Err(err) => {
                lock(&self.webhooks.schedule).pause_disk(address, Instant::now() + HELD_RETRY);
                self.note_disk("cannot read the posts on the disk", &err);
                return false;
            }
        };
        if lost > 0 {
            self.shared.stats.webhooks.dropped.disk.add(lost);
            log::error!("{lost} posts to {} are lost: another program changed their file", address.name());
        }
        let is_empty = posts.is_empty() && lost == 0;
        let dead = lock(&self.webhooks.schedule).come_back(Instant::now(), address, posts, lost);
        self.bury(dead);
        if is_empty && let Some(overflow) = &*lock(&self.webhooks.overflow) {
            // Nothing was there. With a count that is wrong, it would be looked for again and again.
            lock(&self.webhooks.schedule).recount_disk(overflow.counts());
        }
        true
    }

    /// Whether files on the disk wait until another program lets them go.
    pub(super) fn has_held_disk(&self) -> bool {
        lock(&self.webhooks.overflow).as_ref().is_some_and(Overflow::wants_retry)
    }

    /// Tries again to mark, to remove and to adopt files.
    pub(super) fn tend_disk(&mut self) {
        if !self.has_held_disk() {
            return;
        }
        let known = self.spooled();
        let retried = lock(&self.webhooks.overflow).as_mut().map(|overflow| overflow.retry(&known, now()));
        if let Some((adopted, result)) = retried {
            self.note_marks(result);
            self.take_over_disk(adopted);
        }
    }

    /// Marks settled posts on the disk.
    pub(super) fn take_out_of_disk(&mut self, ids: &[PostId]) {
        let marked = lock(&self.webhooks.overflow).as_mut().map_or(Ok(()), |overflow| overflow.settled(ids));
        self.note_marks(marked);
    }

    fn note_marks(&mut self, marked: io::Result<()>) {
        if let Err(err) = marked {
            self.note_disk("cannot take a post off the disk, a restart may post it again", &err);
        }
    }

    /// Reports that the disk failed; `words` say what for.
    fn note_disk(&mut self, words: &str, err: &io::Error) {
        self.shared.stats.files_held.add(1);
        if let Some(more) = self.failures.pass(cause(&[b"disk", words.as_bytes()]), Instant::now()) {
            log::error!("{words}: {}{err}{more}", sharing::words(err));
        }
    }
}
