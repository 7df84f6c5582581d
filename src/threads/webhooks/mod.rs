//! The thread `rt-webhooks`: makes posts of jobs, hands them to senders when the schedule says so, and settles what came
//! of them. Owns the dead-letter file and the spool; never waits for the network. Every job that is not delivered is
//! counted under its cause, written to the dead-letter file and told.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::select;

use crate::config::limits::WEBHOOK_AGE_MAX;
use crate::event::identity;
use crate::event::notice::Notice;
use crate::hooks::request::{Body, Webhook};
use crate::hooks::template::Fields;
use crate::io::fail_point::fail_point;
use crate::io::lock::lock;
use crate::io::text_log::escaped;
use crate::json::tape::{self, Undecoded};
use crate::json::text;
use crate::stats::Counter;
use crate::threads::shared::Shared;
use crate::threads::webhooks::failures::Failures;
use crate::threads::webhooks::queue::{Ask, Job, SpoolState, Webhooks, address_of};
use crate::threads::webhooks::senders::{Done, Order};
use crate::webhook::answer::{self, Answer};
use crate::webhook::dead_letter::DeadLetters;
use crate::webhook::discord::Message;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, Post, PostId};
use crate::webhook::schedule::{Cause, Dead};
use crate::webhook::spool::{Now, Opened, Spool};

mod failures;
pub(crate) mod queue;
mod senders;

/// Jobs looked at before the senders are served again.
const INTAKE_AT_ONCE: usize = 256;
/// The longest wait when nothing is due.
const IDLE: Duration = Duration::from_secs(60);
/// Given to senders at the end, when their sockets are shut down.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// The thread's whole life: until stop.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut worker = Worker::new(shared);
    worker.recover();
    while !shared.is_stopping() {
        fail_point("webhooks");
        worker.wait();
        worker.intake();
        worker.settle_reports();
        worker.expire();
        worker.dispatch();
    }
    worker.end();
}

struct Worker<'a> {
    shared: &'a Arc<Shared>,
    webhooks: &'a Webhooks,
    dead_letters: Option<DeadLetters>,
    failures: Failures,
    /// The tape of the event at hand, reused.
    tape: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Arc<Shared>) -> Worker<'a> {
        let webhooks = &shared.webhooks;
        let dead_letters = webhooks.directory.get().map(|directory| DeadLetters::new(directory));
        Worker { shared, webhooks, dead_letters, failures: Failures::default(), tape: Vec::new() }
    }

    /// Takes what the process before left, once; and after a panic what was on its way to a sender.
    fn recover(&mut self) {
        lock(&self.webhooks.schedule).recover(&self.webhooks.senders.under_way());
        let Some(directory) = self.webhooks.directory.get() else { return };
        if !matches!(*lock(&self.webhooks.spool), SpoolState::Unopened) {
            return;
        }
        *lock(&self.webhooks.spool) = SpoolState::Closed;
        match Spool::open(directory, now()) {
            Ok(Opened { spool, posts, unreadable, left }) => {
                *lock(&self.webhooks.spool) = SpoolState::Open(spool);
                self.shared.stats.spool_unreadable.add((unreadable + left.len()) as u64);
                if !posts.is_empty() || unreadable > 0 {
                    let count = posts.len();
                    log::info!("{count} posts wait since the last run of the server; {unreadable} could not be read");
                }
                for left in left {
                    log::warn!("{left}: it is left as it is, move it away if it is not yours");
                }
                for post in posts {
                    self.shared.stats.webhooks.offered.add(post.jobs());
                    self.offer(post);
                }
                // Before anything is posted: a file of its own holds them all.
                self.write_spool();
            }
            Err(err) => log::error!(
                "cannot use a spool in `{}`, what is not posted when the server ends is lost: {err}",
                directory.display()
            ),
        }
        self.dispatch();
    }

    /// Waits until there is something to do.
    fn wait(&mut self) {
        let now = Instant::now();
        let due = lock(&self.webhooks.schedule).due(now);
        // What is due at once may be held up by something else, such as senders that are all busy.
        let patience = due.map_or(IDLE, |due| due.saturating_duration_since(now).max(Duration::from_millis(1)));
        select! {
            recv(self.webhooks.jobs_rx) -> job => job.into_iter().for_each(|job| self.make(job)),
            recv(self.webhooks.senders.reports()) -> done => done.into_iter().for_each(|done| self.settle(done)),
            recv(self.webhooks.asks_rx) -> ask => ask.into_iter().for_each(|ask| self.answer(ask)),
            default(patience) => {}
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Wake => {}
            Ask::Spool(reply) => {
                // What was pushed before belongs into it.
                while let Ok(job) = self.webhooks.jobs_rx.try_recv() {
                    self.make(job);
                }
                let written = self.write_spool();
                // Whoever asked may have stopped waiting.
                let _ = reply.try_send(written);
            }
        }
    }

    /// Makes posts of the jobs that wait.
    fn intake(&mut self) {
        for _ in 0..INTAKE_AT_ONCE {
            let Ok(job) = self.webhooks.jobs_rx.try_recv() else { return };
            self.make(job);
        }
    }

    /// Makes one post and queues it.
    fn make(&mut self, job: Job) {
        self.webhooks.intake_bytes.fetch_sub(job.weight(), Ordering::AcqRel);
        let stats = &self.shared.stats.webhooks;
        let made = {
            let _lost = LostInPanic(&stats.dropped.panic);
            fail_point("webhook");
            self.post_of(&job)
        };
        match made {
            Ok(post) => self.offer(post),
            Err(reason) => {
                stats.dropped.unmade.add(1);
                self.tell(&job.hook, job.webhook.kind(), address_of(&job.webhook).name(), &reason);
            }
        }
    }

    fn post_of(&mut self, job: &Job) -> Result<Post, String> {
        let event = &*job.event;
        self.tape.clear();
        let mut json = Cow::Borrowed(event.payload());
        // Without its identity, which is none of a hook's business.
        let parsed = tape::parse_without(event.payload(), Some(identity::MEMBER), &mut self.tape, &mut Vec::new());
        if parsed.is_err() {
            // For Lua it is a string, and so it is here.
            tape::push_text(&mut self.tape, event.payload());
        }
        if let Err(Undecoded::NotJson { .. }) = parsed {
            let mut string = Vec::new();
            text::push_string(&mut string, event.payload());
            json = Cow::Owned(string);
        }
        let fields = Fields { tape: &self.tape, channel: event.channel(), unix_ms: event.unix_ms };
        let shows_own_text = matches!(&*job.webhook, Webhook::Http(http) if matches!(http.body, Body::Template(_)));
        let content = match &*job.webhook {
            Webhook::Discord(discord) => {
                let message = Message::of(discord, &fields).map_err(|err| err.to_string())?;
                Content::Message { url: answered_url(&discord.url), message }
            }
            Webhook::Http(http) => Content::Request(Request::of(http, &fields, &json).map_err(|err| err.to_string())?),
        };
        let number = self.webhooks.numbers.fetch_add(1, Ordering::Relaxed);
        Ok(Post {
            id: PostId { boot: self.webhooks.boot, number },
            address: address_of(&job.webhook),
            hook: Arc::clone(&job.hook),
            content,
            event: shows_own_text.then(|| Arc::clone(&job.event)),
            expires: Instant::now() + WEBHOOK_AGE_MAX,
            attempts: 0,
            refusals: 0,
            behind: Vec::new(),
        })
    }

    fn offer(&mut self, post: Post) {
        let dead = lock(&self.webhooks.schedule).offer(Instant::now(), post);
        self.bury(dead);
    }

    /// Hands out as much as the schedule and the senders allow, and ends requests that hold up others.
    fn dispatch(&mut self) {
        loop {
            let order = {
                let mut schedule = lock(&self.webhooks.schedule);
                let Some((at, post)) = schedule.next(Instant::now(), self.webhooks.senders.free()) else {
                    while let Some(at) = schedule.overdue(Instant::now()) {
                        self.webhooks.senders.cut(at);
                    }
                    return;
                };
                Order { at, id: post.id.to_string(), request: post.request() }
            };
            let at = order.at;
            if let Err(reason) = self.webhooks.senders.send(order) {
                self.settle(Done { at, answer: Err(reason) });
            }
        }
    }

    fn settle_reports(&mut self) {
        while let Ok(done) = self.webhooks.senders.reports().try_recv() {
            self.settle(done);
        }
    }

    /// What came of one request.
    fn settle(&mut self, done: Done) {
        let Done { at, answer } = done;
        self.webhooks.senders.settle(at);
        let mut schedule = lock(&self.webhooks.schedule);
        let Some(post) = schedule.in_flight(at) else { return };
        let (jobs, asked, name) = (post.jobs(), post.address.asked(), post.address.name().to_owned());
        let status = answer.as_ref().map_or(0, |response| response.status);
        let mut answer = match &answer {
            Ok(response) => answer::read(asked, response, identity::unix_ms(SystemTime::now()) / 1000),
            Err(reason) => answer::trouble(reason.clone()),
        };
        if !answer.reason.is_empty() {
            answer.reason = answer::redacted(&answer.reason, post.secrets().into_iter());
            if let (Some(event), Content::Request(request)) = (&post.event, &post.content) {
                answer.reason = answer::without_own_words(&answer.reason, &request.body, event.payload());
            }
        }
        let delivered = answer.verdict == answer::Verdict::Delivered;
        let ids: Vec<PostId> = post.parts().map(|post| post.id).filter(|_| delivered).collect();
        let trouble = self.trouble(&answer, &name);
        schedule.count_status(at, status);
        let denied = answer.verdict == answer::Verdict::Denied;
        let dead = schedule.done(Instant::now(), self.shared.random(), at, answer);
        let rest = schedule.rest(Instant::now(), at).filter(|_| denied);
        drop(schedule);
        if let Some(rest) = rest {
            // Once for each rest, which lasts longer than a cause is kept quiet.
            log::warn!("others for {name} wait: {rest}");
        }
        if delivered {
            self.take_out(ids.into_iter());
            self.shared.stats.webhooks.delivered.add(jobs);
        }
        if let Some(trouble) = trouble.filter(|_| dead.is_empty()) {
            log::warn!("{trouble}");
        }
        self.bury(dead);
    }

    /// What to say of an attempt that is made again.
    fn trouble(&mut self, answer: &Answer, name: &str) -> Option<String> {
        if !matches!(answer.verdict, answer::Verdict::Again { .. }) {
            return None;
        }
        let more = self.failures.pass(&[name.as_bytes(), answer.reason.as_bytes()], Instant::now())?;
        Some(format!("cannot post to {name}: {}; trying again{more}", answer.reason))
    }

    fn expire(&mut self) {
        let dead = lock(&self.webhooks.schedule).expire(Instant::now());
        self.bury(dead);
    }

    /// Counts, writes down and tells what is given up.
    fn bury(&mut self, dead: Vec<Dead>) {
        let dropped = &self.shared.stats.webhooks.dropped;
        for dead in &dead {
            let counter = match dead.cause {
                Cause::Overflow => &dropped.overflow,
                Cause::Expired => &dropped.expired,
                Cause::Attempts => &dropped.attempts,
                Cause::Refused => &dropped.refused,
                Cause::Closed => &dropped.closed,
                Cause::Crowded => &dropped.crowded,
            };
            counter.add(dead.post.jobs());
        }
        let unix_ms = identity::unix_ms(SystemTime::now());
        for dead in &dead {
            if let Some(Err(err)) = self.dead_letters.as_mut().map(|file| file.write(dead, unix_ms)) {
                self.shared.stats.dead_letters_lost.add(1);
                if let Some(more) = self.failures.pass(&[b"dead letters"], Instant::now()) {
                    log::error!("cannot write to the dead-letter file: {err}{more}");
                }
            }
            self.tell(&dead.post.hook, dead.post.address.kind(), dead.post.address.name(), &dead.reason);
        }
        self.take_out(dead.iter().map(|dead| dead.post.id));
    }

    /// Says that something of this hook is lost, in the log and to Lua.
    fn tell(&mut self, hook: &Arc<[u8]>, kind: &'static str, name: &str, reason: &str) {
        let Some(more) = self.failures.pass(&[hook, reason.as_bytes()], Instant::now()) else { return };
        let reason = format!("{}{more}", escaped(reason));
        log::error!("lost a post of hook `{}` to {name}: {reason}", String::from_utf8_lossy(hook));
        self.shared.notices.push(Notice::ActionFailed { hook: Arc::clone(hook), kind, reason });
    }

    // ---- the spool ------------------------------------------------------------------------------------------------

    /// True unless something waits that could not be written.
    fn write_spool(&mut self) -> bool {
        let Some(directory) = self.webhooks.directory.get() else { return false };
        let SpoolState::Open(spool) = &mut *lock(&self.webhooks.spool) else { return false };
        let lines = Spool::lines(lock(&self.webhooks.schedule).posts(), now());
        let left_out = lines.left_out;
        if left_out > 0 {
            log::error!("{left_out} posts found no room in the spool; a restart now would lose them");
        }
        if let Err(err) = spool.write(lines) {
            log::error!("cannot write what is not posted to `{}`: {err}", directory.display());
            return false;
        }
        left_out == 0
    }

    /// These posts are settled: the next process is not to have them.
    fn take_out(&mut self, ids: impl Iterator<Item = PostId>) {
        let taken = match &mut *lock(&self.webhooks.spool) {
            SpoolState::Open(spool) => spool.settled(ids),
            SpoolState::Unopened | SpoolState::Closed => Ok(()),
        };
        let Err(err) = taken else { return };
        if let Some(more) = self.failures.pass(&[b"spool"], Instant::now()) {
            log::warn!("cannot take a post out of the spool, a restart may post it again: {err}{more}");
        }
    }

    /// Stop: interrupts the senders, and writes down what they did not deliver.
    fn end(&mut self) {
        let late = self.webhooks.senders.stop(STOP_PATIENCE);
        if !late.is_empty() {
            log::warn!("did not end in time: {}", late.join(", "));
        }
        while let Ok(done) = self.webhooks.senders.reports().try_recv() {
            // One that was interrupted is not to blame: it stays in flight, and goes into the spool.
            if done.answer.is_ok() {
                self.settle(done);
            }
        }
        while let Ok(job) = self.webhooks.jobs_rx.try_recv() {
            self.make(job);
        }
        self.write_spool();
        // Another process may have it from now on.
        *lock(&self.webhooks.spool) = SpoolState::Closed;
    }
}

/// Discord answers only if it is asked to; otherwise a refused message would look delivered.
fn answered_url(url: &crate::hooks::url::Url) -> crate::hooks::url::Url {
    let query = url.target().split_once('?').map_or("", |(_, query)| query);
    match query.split('&').any(|member| member.starts_with("wait=")) {
        true => url.clone(),
        false => url.with_query("wait=true"),
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), unix_ms: identity::unix_ms(SystemTime::now()) }
}

/// Counts a job that is lost because making its post panics.
struct LostInPanic<'a>(&'a Counter);

impl Drop for LostInPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.add(1);
        }
    }
}
