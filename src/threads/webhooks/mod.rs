//! The loop of `rt-webhooks`: makes posts from jobs, gives them to senders when the schedule allows it, and settles the
//! results. Everybody else uses the handle, `webhooks/queue.rs`; the requests are made by `webhooks/senders.rs`.
//! The thread owns the dead-letter file and the spool, and never waits for the network. Every job that is not delivered
//! is counted by its cause, written to the dead-letter file and reported by `RealtimeActionFailed`.
//!
//! ```text
//!  one round:  wait            for a job, a result, a request or a due time of the schedule
//!              answer_asks     all posts are written to the spool
//!              intake          jobs become posts in the schedule
//!              settle_reports  results: a post is delivered, put back, or given up (`bury`)
//!              expire          posts that are too old are given up
//!              tend_statuses   status messages that are due become posts
//!              refill          posts come back from the disk (`webhooks/overflow.rs`)
//!              dispatch        posts go to free senders; requests that hold up others are interrupted
//!              tend_files      files that another program held, or that could not be written, are tried again
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::config::Secret;
use crate::event::identity;
use crate::event::notice::Notice;
use crate::io::bounded_file::Written;
use crate::io::fail_point::fail_point;
use crate::io::lock::lock;
use crate::io::sharing::{self, HELD_RETRY};
use crate::io::shown::shown;
use crate::io::text_log::{Causes, escaped};
use crate::stats::Counter;
use crate::threads::shared::Shared;
use crate::threads::webhooks::queue::{Job, SpoolAll, SpoolState, Webhooks, address_of};
use crate::threads::webhooks::senders::{Done, Order};
use crate::threads::webhooks::statuses::{Made, Statuses};
use crate::webhook::answer::{self, PostResult, Verdict};
use crate::webhook::dead_letter::DeadLetters;
use crate::webhook::post::{Content, Post, PostAddress, PostId};
use crate::webhook::redaction;
use crate::webhook::saved::Now;
use crate::webhook::schedule::{Cause, DeadLetter};
use crate::webhook::spool::{Found, Opened, Spool};
use crate::webhook::status::Settled;

mod compose;
pub(crate) mod desk;
mod overflow;
pub(crate) mod queue;
mod senders;
mod statuses;

/// Jobs made into posts in one round, before the senders are served again: a burst of events must not delay the results
/// of requests.
const INTAKE_AT_ONCE: usize = 256;
/// Longest wait while nothing is due. Jobs, results and requests wake the thread.
const IDLE: Duration = Duration::from_secs(60);
/// Pause after a failed attempt to write the spool: all waiting posts are made into lines for each.
const SPOOL_RETRY: Duration = Duration::from_secs(15);
/// Time that the senders get to end at stop, after their sockets were shut down.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// Runs `rt-webhooks` until stop. A panic starts it again, with the schedule and the senders of before.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut worker = Worker::new(shared);
    worker.recover();
    while !shared.is_stopping() {
        fail_point("webhooks");
        worker.wait();
        worker.answer_asks();
        worker.intake();
        worker.settle_reports();
        worker.expire();
        worker.tend_statuses();
        worker.refill();
        worker.dispatch();
        worker.tend_files();
    }
    worker.end();
}

/// The state of the loop. A panic loses it and no post: those are in the schedule, which the handle owns.
struct Worker<'a> {
    shared: &'a Arc<Shared>,
    webhooks: &'a Webhooks,
    dead_letters: Option<DeadLetters>,
    /// When files that another program held are tried again at the earliest.
    tend_at: Instant,
    /// When the disk is asked again at the earliest to take a post, after it failed.
    disk_write_at: Instant,
    /// When the spool is written again at the earliest, after that failed.
    spool_write_at: Instant,
    /// Throttles the log lines about failed posts.
    failures: Causes,
    /// Scratch memory for the tape of one event.
    tape: Vec<u8>,
    statuses: Statuses,
}

impl<'a> Worker<'a> {
    /// Opens no file yet: the spool is opened by [`Worker::recover`], the dead-letter file by its first line.
    fn new(shared: &'a Arc<Shared>) -> Worker<'a> {
        let webhooks = &shared.webhooks;
        let dead_letters = webhooks.directory.get().map(|directory| DeadLetters::new(directory));
        let (now, failures, tape, statuses) = (Instant::now(), Causes::default(), Vec::new(), Statuses::default());
        let [tend_at, disk_write_at, spool_write_at] = [now; 3];
        Worker { shared, webhooks, dead_letters, tend_at, disk_write_at, spool_write_at, failures, tape, statuses }
    }

    /// Takes over the posts in the spools of dead processes, once in this process. After a panic it puts posts back into
    /// the schedule that had not reached a sender.
    fn recover(&mut self) {
        // A job that was being made at a panic is lost, and counted as such.
        self.webhooks.is_making.store(false, Ordering::SeqCst);
        // The senders outlive a panic of this thread: their orders are still in flight.
        lock(&self.webhooks.schedule).recover(&self.webhooks.senders.under_way());
        let is_first = self.prepare_disk();
        self.recover_spool();
        if is_first {
            self.adopt_disk();
        }
        self.dispatch();
    }

    /// The part of [`Worker::recover`] that reads the spools.
    fn recover_spool(&mut self) {
        let Some(directory) = self.webhooks.directory.get() else { return };
        if !matches!(*lock(&self.webhooks.spool), SpoolState::Unopened) {
            return;
        }
        // Should opening panic, the next run of this thread goes on without a spool instead of panicking again.
        *lock(&self.webhooks.spool) = SpoolState::Closed;
        match Spool::open(directory, now()) {
            Ok(Opened { spool, found }) => {
                if spool.wants_retry() {
                    self.shared.stats.files_held.add(1);
                    log::warn!("another program holds a spool in `{}`: it is read later", shown(directory));
                }
                *lock(&self.webhooks.spool) = SpoolState::Open(Box::new(spool));
                self.take_over(found);
                // Before anything is posted: once this process's own file holds all posts, the files of dead processes
                // are removed, and a crash later loses none of them.
                self.write_spool();
            }
            Err(err) => log::error!(
                "cannot use a spool in `{}`, posts that wait when the server ends are lost: {err}",
                shown(directory)
            ),
        }
    }

    /// Puts the posts of dead processes into the schedule.
    fn take_over(&mut self, Found { posts, unreadable, left }: Found) {
        self.shared.stats.spool_unreadable.add((unreadable + left.len()) as u64);
        if !posts.is_empty() || unreadable > 0 {
            let count = posts.len();
            log::info!("{count} posts wait since the last run of the server; {unreadable} could not be read");
        }
        for left in left {
            log::warn!("{left}: the file is left unchanged, move it away if it is not yours");
        }
        for post in posts {
            self.shared.stats.webhooks.offered.add(post.jobs());
            if let Some(post) = self.spill(post) {
                let dead = lock(&self.webhooks.schedule).readmit(Instant::now(), post);
                self.bury(dead);
            }
        }
    }

    /// Whether a file is to be tried again: dead letters, the spool, or posts on the disk.
    fn has_held_files(&self) -> bool {
        let spool_waits = matches!(&*lock(&self.webhooks.spool), SpoolState::Open(spool) if spool.wants_retry());
        spool_waits || self.has_held_disk() || self.dead_letters.as_ref().is_some_and(|file| file.due().is_some())
    }

    /// Tries the files again that another program held, once a second, and a spool that could not be written, less often.
    fn tend_files(&mut self) {
        let instant = Instant::now();
        if instant < self.tend_at || !self.has_held_files() {
            return;
        }
        self.tend_at = instant + HELD_RETRY;
        if let Some(file) = self.dead_letters.as_mut().filter(|file| file.due().is_some()) {
            let written = file.retry(instant);
            self.note_dead_letters(written);
        }
        self.tend_disk();
        let (is_due, (found, result)) = match &mut *lock(&self.webhooks.spool) {
            SpoolState::Open(spool) if spool.wants_retry() => (spool.wants_write(), spool.retry(now())),
            _ => return,
        };
        self.note_spool(result);
        let is_news = !found.posts.is_empty();
        self.take_over(found);
        if is_news || is_due && instant >= self.spool_write_at {
            self.write_spool();
        }
    }

    /// Waits for a job, a result, a request or the next due time.
    fn wait(&mut self) {
        let now = Instant::now();
        let due = {
            let schedule = lock(&self.webhooks.schedule);
            let status = self.statuses.due(now, |address| schedule.is_in_flight(address));
            schedule.due(now).into_iter().chain(status).min()
        };
        // At least a millisecond: a post that is due may be held up, as all senders are busy.
        let patience = due.map_or(IDLE, |due| due.saturating_duration_since(now).max(Duration::from_millis(1)));
        let patience = if self.has_held_files() { patience.min(HELD_RETRY) } else { patience };
        // Items whose ring was heard before, by a round that left them or ended in a panic, wait for no further ring.
        let Webhooks { jobs_rx, asks_rx, senders, desk, bell, .. } = self.webhooks;
        let is_asked = !jobs_rx.is_empty() || !asks_rx.is_empty() || !senders.reports().is_empty();
        if !is_asked && !desk.has_answer() && !self.can_refill() {
            bell.wait(now + patience);
        }
    }

    /// Serves the requests of other threads.
    fn answer_asks(&mut self) {
        while let Some(SpoolAll(reply)) = self.webhooks.asks_rx.try_recv() {
            // Jobs that were queued before the request belong into the spool.
            while self.make_next() {}
            let written = self.write_spool();
            // The caller's deadline may be over.
            let _ = reply.send(written);
        }
    }

    /// Makes posts from queued jobs.
    fn intake(&mut self) {
        for _ in 0..INTAKE_AT_ONCE {
            if !self.make_next() {
                return;
            }
        }
    }

    /// Makes the post of the next job. False if there is none. The job counts as waiting all the time: otherwise a close
    /// that looks in between would find nothing to write to the spool.
    fn make_next(&mut self) -> bool {
        self.webhooks.is_making.store(true, Ordering::SeqCst);
        let job = self.webhooks.jobs_rx.try_recv();
        let is_one = job.is_some();
        job.into_iter().for_each(|job| self.make(job));
        self.webhooks.is_making.store(false, Ordering::SeqCst);
        is_one
    }

    /// Makes the post of one job and gives it to the schedule. A job whose post cannot be made is counted and reported.
    fn make(&mut self, job: Job) {
        self.webhooks.intake_bytes.fetch_sub(job.weight(), Ordering::AcqRel);
        let stats = &self.shared.stats.webhooks;
        let mut left_out = Vec::new();
        let made = {
            let _lost = LostInPanic(&stats.dropped.panic);
            fail_point("webhook");
            compose::post_of(&job, self.webhooks, &mut self.tape, &mut left_out)
        };
        match made {
            Ok(post) => {
                self.note_left_out(&job.hook, &left_out);
                self.offer(post);
            }
            Err(reason) => {
                stats.dropped.unmade.add(1);
                self.tell(&job.hook, job.webhook.kind(), address_of(&job.webhook).name(), &reason);
            }
        }
    }

    /// Counts and reports the parts that a message goes without.
    fn note_left_out(&mut self, hook: &[u8], left_out: &[String]) {
        self.shared.stats.message_parts_left_out.add(left_out.len() as u64);
        for part in left_out {
            let Some(more) = self.failures.pass(cause(&[hook, part.as_bytes()]), Instant::now()) else { continue };
            let hook = escaped(&String::from_utf8_lossy(hook)).to_string();
            log::warn!("a message of hook `{hook}` goes without a part: {}{more}", escaped(part));
        }
    }

    /// Gives a post to the disk or to the schedule, and buries the posts that had to make room.
    fn offer(&mut self, post: Post) {
        let Some(post) = self.spill(post) else { return };
        let dead = lock(&self.webhooks.schedule).offer(Instant::now(), post);
        self.bury(dead);
    }

    /// Makes posts of the status messages that are due.
    fn tend_statuses(&mut self) {
        let now = Instant::now();
        let webhooks = self.webhooks;
        let (mut gone, again) = self.statuses.follow(self.shared, now);
        again.iter().for_each(|address| lock(&webhooks.schedule).reopen(address));
        let in_flight = |address: &PostAddress| lock(&webhooks.schedule).is_in_flight(address);
        let made = self.statuses.tend(self.shared, now, &mut gone, in_flight);
        for address in gone {
            let dead = lock(&webhooks.schedule).withdraw(&address);
            self.bury(dead);
        }
        for Made { address, hook, content, left_out } in made {
            self.shared.stats.webhooks.offered.add(1);
            self.note_left_out(&hook, &left_out);
            match content {
                Ok(content) => self.offer(compose::post(webhooks, address, hook, content, None)),
                Err(reason) => {
                    self.shared.stats.webhooks.dropped.unmade.add(1);
                    self.tell(&hook, address.kind_name(), address.name(), &reason);
                }
            }
        }
    }

    /// Gives posts to senders as long as the schedule and the senders allow it. Then interrupts requests that have used
    /// up their time while other destinations wait for a sender.
    fn dispatch(&mut self) {
        loop {
            // The order is built under the lock, and given to a sender without it: `send` may start a thread.
            let order = {
                let mut schedule = lock(&self.webhooks.schedule);
                let Some((at, post)) = schedule.next(Instant::now(), self.webhooks.senders.free()) else {
                    while let Some(at) = schedule.overdue(Instant::now()) {
                        self.webhooks.senders.cut(at);
                    }
                    return;
                };
                Order { at, id: post.sent_id(), request: post.request() }
            };
            // An order that no sender takes counts as a failed attempt.
            let at = order.at;
            if let Err(reason) = self.webhooks.senders.send(order) {
                self.settle(Done { at, answer: Err(reason.into()) });
            }
        }
    }

    /// Settles all results that have come in.
    fn settle_reports(&mut self) {
        while let Some(done) = self.webhooks.senders.reports().try_recv() {
            self.settle(done);
        }
    }

    /// Settles the result of one request: delivered, to be sent again, or given up.
    fn settle(&mut self, done: Done) {
        let Done { at, answer } = done;
        self.webhooks.senders.settle(at);
        let schedule = lock(&self.webhooks.schedule);
        let Some(post) = schedule.in_flight(at) else { return };
        let (jobs, asked, name) = (post.jobs(), post.address.kind(), post.address.name().to_owned());
        let status_message = post.address.status_key().map(|key| (key, Arc::clone(&post.hook)));
        let is_new = matches!(post.content, Content::Status { is_new: true, .. });
        // A request may carry several merged messages, each with an id of its own in the spool.
        let ids: Vec<PostId> = post.parts().map(|post| post.id).collect();
        // The game thread takes this lock for `Stats()`, and an answer may be long: nothing reads it under the lock.
        drop(schedule);
        let status = answer.as_ref().map_or(0, |response| response.status);
        let message_id = answer.as_ref().ok().filter(|_| is_new).and_then(answer::message_id);
        let mut answer = match answer {
            Ok(response) => answer::read(asked, &response, identity::unix_ms(SystemTime::now()) / 1000),
            Err(trouble) => answer::trouble(trouble),
        };
        // The reason quotes the other end. It goes to the log and to scripts, so secrets are cut out first.
        if !answer.reason.is_empty() {
            // A proxy may have answered in the destination's place. Errors of this module quote no proxy.
            let of_proxies = if status == 0 { Vec::new() } else { self.webhooks.senders.proxy_secrets() };
            let own = lock(&self.webhooks.schedule).in_flight(at).map(Post::own_words).unwrap_or_default();
            let secrets = own.secrets.iter().map(Secret::reveal).chain(of_proxies.iter().map(String::as_str));
            let bodies = own.bodies.iter().map(|(body, event)| (body.as_ref(), event.payload()));
            answer.reason = redaction::redacted(&answer.reason, secrets.collect(), bodies);
        }
        let delivered = answer.verdict == Verdict::Delivered;
        let trouble = self.trouble(&answer, &name);
        let mut schedule = lock(&self.webhooks.schedule);
        schedule.count_status(at, status);
        let denied = matches!(answer.verdict, Verdict::Denied | Verdict::NeverHere);
        let closed = (answer.verdict == Verdict::Closed).then(|| escaped(&answer.reason).to_string());
        let gone = answer.verdict == Verdict::Gone;
        let dead = schedule.done(Instant::now(), self.shared.random(), at, answer);
        let rest = schedule.rest(Instant::now(), at).filter(|_| denied);
        self.shared.stats.message_parts_left_out.add(schedule.take_left_out());
        drop(schedule);
        if let Some(rest) = rest {
            // Not throttled: it comes once for each pause of the destination, and the pause is longer than a throttle's.
            log::warn!("other posts for {name} wait: {rest}");
        }
        if let Some(reason) = closed {
            // Not throttled either: a closed destination gets no further request.
            log::warn!("{name} is closed ({reason}): correct its URL or remove the hook; added again, a hook opens it");
        }
        if delivered {
            self.take_out(&ids);
            self.shared.stats.webhooks.delivered.add(jobs);
        }
        if let Some((key, hook)) = status_message.filter(|_| delivered || gone) {
            if gone {
                let hook = escaped(&String::from_utf8_lossy(&hook));
                log::info!("the status message of hook `{hook}` at {name} was deleted: it is posted again");
            }
            let result = if gone { Settled::Gone } else { Settled::Shown { id: message_id } };
            if let Some(reason) = self.statuses.settled(self.shared, Instant::now(), key, result) {
                self.tell(&hook, "discord_status", &name, reason);
            }
        }
        // If posts were given up, `bury` reports them with the same reason.
        if let Some(trouble) = trouble.filter(|_| dead.is_empty()) {
            log::warn!("{trouble}");
        }
        self.bury(dead);
    }

    /// The log line about a failed attempt that will be repeated, or `None` if it was reported lately.
    fn trouble(&mut self, answer: &PostResult, name: &str) -> Option<String> {
        if !matches!(answer.verdict, Verdict::Again { .. } | Verdict::Unsent | Verdict::Unnamed | Verdict::BadEmbed) {
            return None;
        }
        let more = self.failures.pass(cause(&[name.as_bytes(), answer.reason.as_bytes()]), Instant::now())?;
        Some(format!("cannot post to {name}: {}; trying again{more}", answer.reason))
    }

    /// Gives up the posts that are too old.
    fn expire(&mut self) {
        let dead = lock(&self.webhooks.schedule).expire(Instant::now());
        self.bury(dead);
    }

    /// Counts posts that are given up, writes them to the dead-letter file, reports them, and takes them out of the files.
    fn bury(&mut self, dead: Vec<DeadLetter>) {
        // These posts have left the schedule, so they are counted before any is written: the numbers of `Stats()` add up
        // even while the file is slow.
        let dropped = &self.shared.stats.webhooks.dropped;
        for dead in &dead {
            let counter = match dead.cause {
                Cause::Overflow => &dropped.overflow,
                Cause::Expired => &dropped.expired,
                Cause::Attempts => &dropped.attempts,
                Cause::Refused => &dropped.refused,
                Cause::Closed => &dropped.closed,
                Cause::Crowded => &dropped.crowded,
                Cause::Replaced => &dropped.replaced,
            };
            counter.add(dead.post.jobs());
        }
        let unix_ms = identity::unix_ms(SystemTime::now());
        for dead in &dead {
            if let Some(key) = dead.post.address.status_key() {
                let result = match dead.cause {
                    // A newer text is on its way.
                    Cause::Replaced => continue,
                    Cause::Closed => Settled::Closed,
                    _ => Settled::GivenUp,
                };
                // No dead letter: a text of before is of no use.
                self.statuses.settled(self.shared, Instant::now(), key, result);
                self.tell(&dead.post.hook, dead.post.address.kind_name(), dead.post.address.name(), &dead.reason);
                continue;
            }
            if let Some(written) = self.dead_letters.as_mut().map(|file| file.write(dead, unix_ms, Instant::now())) {
                self.note_dead_letters(written);
            }
            self.tell(&dead.post.hook, dead.post.address.kind_name(), dead.post.address.name(), &dead.reason);
        }
        let ids: Vec<PostId> = dead.iter().map(|dead| dead.post.id).collect();
        self.take_out(&ids);
    }

    /// Counts lost dead letters, and reports trouble with their file.
    fn note_dead_letters(&mut self, Written { trouble, lost }: Written) {
        self.shared.stats.dead_letters_lost.add(lost);
        if let Some(trouble) = trouble {
            self.shared.stats.files_held.add(1);
            if let Some(more) = self.failures.pass(cause(&[b"dead letters"]), Instant::now()) {
                let lost = self.shared.stats.dead_letters_lost.get();
                log::error!("dead letters: {trouble}; it is tried again, {lost} letters are lost so far{more}");
            }
        }
    }

    /// Reports a lost post of this hook in the log and to Lua, throttled by hook and reason.
    fn tell(&mut self, hook: &Arc<[u8]>, kind: &'static str, name: &str, reason: &str) {
        let Some(more) = self.failures.pass(cause(&[hook, reason.as_bytes()]), Instant::now()) else { return };
        let reason = format!("{}{more}", escaped(reason));
        log::error!("lost a post of hook `{}` to {name}: {reason}", String::from_utf8_lossy(hook));
        self.shared.notices.push(Notice::ActionFailed { hook: Arc::clone(hook), kind, reason });
    }

    // ---- the spool ------------------------------------------------------------------------------------------------

    /// Writes all posts that are not delivered to the spool. True if all of them are written.
    fn write_spool(&mut self) -> bool {
        let Some(directory) = self.webhooks.directory.get() else { return false };
        let SpoolState::Open(spool) = &mut *lock(&self.webhooks.spool) else { return false };
        let lines = Spool::lines(lock(&self.webhooks.schedule).posts().into_iter(), now());
        let left_out = lines.left_out;
        if let Err(err) = spool.write(lines) {
            self.spool_write_at = Instant::now() + SPOOL_RETRY;
            if let Some(more) = self.failures.pass(cause(&[b"spool write"]), Instant::now()) {
                let (path, words) = (shown(directory), sharing::words(&err));
                log::error!("cannot write the waiting posts to the spool in `{path}`: {words}{err}{more}");
            }
            return false;
        }
        if left_out > 0 {
            log::error!("{left_out} posts found no room in the spool; a restart now would lose them");
        }
        left_out == 0
    }

    /// Takes settled posts out of the spool and off the disk, so that the next process does not send them again.
    fn take_out(&mut self, ids: &[PostId]) {
        let taken = match &mut *lock(&self.webhooks.spool) {
            SpoolState::Open(spool) => spool.settled(ids),
            SpoolState::Unopened | SpoolState::Closed => Ok(()),
        };
        self.note_spool(taken);
        self.take_out_of_disk(ids);
    }

    /// Reports that the spool still holds settled posts.
    fn note_spool(&mut self, taken: io::Result<()>) {
        let Err(err) = taken else { return };
        self.shared.stats.files_held.add(1);
        if let Some(more) = self.failures.pass(cause(&[b"spool"]), Instant::now()) {
            let words = sharing::words(&err);
            log::warn!("cannot take a post out of the spool, a restart may post it again: {words}{err}{more}");
        }
    }

    /// The end of the loop: interrupts the senders, and writes all posts that are not delivered to the spool.
    fn end(&mut self) {
        let late = self.webhooks.senders.stop(STOP_PATIENCE);
        if !late.is_empty() {
            log::warn!("did not end in time: {}", late.join(", "));
        }
        while let Some(done) = self.webhooks.senders.reports().try_recv() {
            // An interrupted request is no failure of its post: the post stays in flight, and so goes into the spool.
            if done.answer.is_ok() {
                self.settle(done);
            }
        }
        while let Some(job) = self.webhooks.jobs_rx.try_recv() {
            self.make(job);
        }
        self.write_spool();
        if let Some(file) = self.dead_letters.as_mut().filter(|file| file.due().is_some()) {
            // The last attempt waits for no pause.
            let written = file.retry(Instant::now() + HELD_RETRY);
            let lost = file.give_up();
            self.note_dead_letters(Written { lost: written.lost + lost, ..written });
        }
        // Closing it releases its lock: another process may take the posts over from now on.
        *lock(&self.webhooks.spool) = SpoolState::Closed;
        *lock(&self.webhooks.overflow) = None;
    }
}

/// The present moment by both clocks: the spool keeps Unix time, which outlives the process.
fn now() -> Now {
    Now { instant: Instant::now(), unix_ms: identity::unix_ms(SystemTime::now()) }
}

/// Counts a job as lost if making its post panics.
struct LostInPanic<'a>(&'a Counter);

impl Drop for LostInPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.add(1);
        }
    }
}

/// The key of a cause that consists of these parts.
fn cause(parts: &[&[u8]]) -> Box<[u8]> {
    parts.join(&0).into_boxed_slice()
}
