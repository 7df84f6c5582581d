//! The schedule under a clock that the test sets: each rule alone, then all rules under random use.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::destination::{RETRY_FIRST, SENDER_HOLD};
use super::*;
use crate::config::limits::{SENDERS_MAX, WEBHOOK_ATTEMPTS_MAX};
use crate::event::fingerprint::Fingerprint;
use crate::hooks::delivery::Retries;
use crate::hooks::signature::Signing;
use crate::hooks::spec::{ActionKind, Spec};
use crate::hooks::template::Fields;
use crate::hooks::url::Url;
use crate::json::tape;
use crate::webhook::answer;
use crate::webhook::http::Request;
use crate::webhook::post::{Content, PostId};

mod batches;
mod disk;

/// A schedule and its clock.
struct Clocked {
    schedule: Schedule,
    now: Instant,
    number: u64,
}

impl Clocked {
    fn new() -> Clocked {
        Clocked { schedule: Schedule::default(), now: Instant::now(), number: 0 }
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn post(&mut self, address: PostAddress, content: Content) -> Post {
        self.number += 1;
        let id = PostId { boot: 1, number: self.number };
        let expires = self.now + crate::config::limits::WEBHOOK_AGE_MAX;
        let (hook, event, merged) = (Arc::from(b"h".as_slice()), None, Vec::new());
        let (retries, gathering) = (Retries::default(), None);
        Post { id, address, hook, content, event, expires, retries, gathering, attempts: 0, refusals: 0, merged }
    }

    /// Offers a request to `http://<host>/`.
    fn http(&mut self, host: &str) -> Vec<DeadLetter> {
        self.http_of(host, 10)
    }

    fn http_of(&mut self, host: &str, bytes: usize) -> Vec<DeadLetter> {
        let url = Url::parse(&format!("http://{host}/")).unwrap();
        let address = PostAddress::http(&url.reveal(), &url.to_string(), false);
        let (headers, body, timeout) = (Vec::new(), vec![b'x'; bytes], Duration::from_secs(10));
        let request = Request { url, method: "POST".into(), headers, body, signing: Signing::default(), timeout };
        let post = self.post(address, Content::Request(request));
        self.schedule.offer(self.now, post)
    }

    /// Offers a message to the Discord webhook of this number; `thread` is the query of its URL, or empty.
    fn discord(&mut self, webhook: u32, thread: &str, text: &str) -> Vec<DeadLetter> {
        self.discord_at(&format!("http://discord/api/webhooks/{webhook}/token{thread}"), text)
    }

    fn discord_at(&mut self, url: &str, text: &str) -> Vec<DeadLetter> {
        let url = Url::parse(url).unwrap();
        let spec = serde_json::json!({ "type": "discord", "webhook": url.reveal(), "message": text });
        let ActionKind::Webhook(hook) = Spec::parse(&spec).unwrap().actions.remove(0).kind else {
            panic!("no webhook")
        };
        let crate::hooks::request::Webhook::Discord(hook) = &*hook else { panic!("not discord") };
        let mut found = Vec::new();
        tape::parse(b"{}", &mut found).unwrap();
        let fields = Fields { tape: &found, json: b"null", channel: b"c", unix_ms: 0, offset_s: 0 };
        let message = Message::of(hook, &fields, &mut Vec::new()).unwrap();
        let post = self.post(PostAddress::discord(&url), Content::Message { url, message });
        self.schedule.offer(self.now, post)
    }

    /// As [`Clocked::discord`], from a sender of this name.
    fn named(&mut self, webhook: u32, text: &str, name: &str) -> Vec<DeadLetter> {
        let url = Url::parse(&format!("http://discord/api/webhooks/{webhook}/token")).unwrap();
        let body = serde_json::json!({
            "content": text, "username": name, "avatar_url": "https://a/", "allowed_mentions": { "parse": [] },
        });
        let message = Message::from_body(&body).unwrap();
        let post = self.post(PostAddress::discord(&url), Content::Message { url, message });
        self.schedule.offer(self.now, post)
    }

    /// As [`Clocked::discord`], with an embed.
    fn embedded(&mut self, embed: &Value, text: &str) {
        let url = Url::parse("http://discord/api/webhooks/1/token").unwrap();
        let body = json!({ "content": text, "embeds": [embed], "allowed_mentions": { "parse": [] } });
        let message = Message::from_body(&body).unwrap();
        let post = self.post(PostAddress::discord(&url), Content::Message { url, message });
        assert!(self.schedule.offer(self.now, post).is_empty());
    }

    /// Offers a text of the status message `key` of this webhook.
    fn status(&mut self, webhook: u32, key: &str, text: &str) -> Vec<DeadLetter> {
        let url = Url::parse(&format!("http://discord/api/webhooks/{webhook}/token")).unwrap();
        let key = Fingerprint::of(key.as_bytes(), &serde_json::Value::Null);
        let body = serde_json::json!({ "content": text, "allowed_mentions": { "parse": [] } });
        let message = Message::from_body(&body).unwrap();
        let post = self.post(PostAddress::status(&url, key), Content::Status { url, message, is_new: false });
        self.schedule.offer(self.now, post)
    }

    /// The next post with four free senders: the number of its destination, and its own.
    fn next(&mut self) -> Option<(usize, u64)> {
        self.next_of(4)
    }

    fn next_of(&mut self, free: usize) -> Option<(usize, u64)> {
        self.schedule.next(self.now, free).map(|(at, post)| (at, post.id.number))
    }

    fn done(&mut self, at: usize, verdict: Verdict) -> Vec<DeadLetter> {
        let reason = if verdict == Verdict::Delivered { String::new() } else { "why".to_owned() };
        self.schedule.done(self.now, 0, at, PostResult { verdict, reason, pause: None })
    }

    /// The seconds until the destination's pause ends.
    fn pause_of(&self, at: usize) -> f64 {
        let until = self.schedule.held_until(&self.schedule.destinations[at]);
        until.map_or(0.0, |until| until.saturating_duration_since(self.now).as_secs_f64())
    }

    /// offered = delivered + dead + waiting for each destination, and the totals match the queues.
    fn check(&self) {
        let mut waiting = 0;
        for report in self.schedule.reports(self.now) {
            let Tally { offered, delivered, dead, replaced, .. } = report.tally;
            assert_eq!(offered, delivered + dead + replaced + report.waiting, "{report:?}");
            waiting += report.waiting;
        }
        assert_eq!(waiting, self.schedule.jobs() as u64);
        let destinations = self.schedule.destinations.iter();
        let queued = destinations.flat_map(|destination| destination.in_flight.iter().chain(&destination.queue));
        let bytes: usize = queued.map(|queued| queued.post.weight()).sum();
        assert_eq!(bytes, self.schedule.bytes);
        assert!(bytes <= WEBHOOK_BYTES_MAX);
    }
}

const AGAIN: Verdict = Verdict::Again { after: None, answered: false };

fn limited(seconds: f64, global: bool) -> Verdict {
    Verdict::Limited { after: Duration::from_secs_f64(seconds), global }
}

/// Of a status message only the newest text counts. It neither waits for other messages of its webhook nor delays them, but
/// for the rate limit that they share.
#[test]
fn the_newest_text_of_a_status_message_replaces_one_that_waits() {
    let mut clocked = Clocked::new();
    assert!(clocked.status(1, "s", "a").is_empty());
    let dead = clocked.status(1, "s", "b");
    assert_eq!((dead.len(), dead[0].cause, dead[0].post.id.number), (1, Cause::Replaced, 1));
    clocked.discord(1, "", "other");
    clocked.status(1, "t", "another");
    let started: Vec<_> = std::iter::from_fn(|| clocked.next()).collect();
    assert_eq!(started, [(0, 2), (1, 3), (2, 4)], "none waits for another");
    // One text in flight, and one that waits.
    assert!(clocked.status(1, "s", "c").is_empty());
    assert_eq!(clocked.status(1, "s", "d").len(), 1);
    clocked.check();
    // A failure of the status message pauses nothing else.
    assert!(clocked.done(0, AGAIN).is_empty());
    clocked.done(1, Verdict::Delivered);
    assert!(clocked.pause_of(0) > 0.0 && clocked.pause_of(1) == 0.0 && clocked.pause_of(2) == 0.0);
    // A failure that is put back goes in front: the text that came later goes out alone.
    clocked.pass(2.0);
    let order = [clocked.next(), {
        clocked.done(0, Verdict::Gone);
        clocked.next()
    }];
    assert_eq!(order, [Some((0, 2)), Some((0, 6))]);
    // A rate limit holds for all destinations of the webhook.
    clocked.done(0, limited(5.0, false));
    clocked.done(2, Verdict::Delivered);
    clocked.discord(1, "", "later");
    assert_eq!((clocked.pause_of(1), clocked.pause_of(2), clocked.next()), (5.0, 5.0, None));
    assert_eq!(clocked.schedule.posts().len(), 1, "texts of a status message do not go into the spool");
    // Its hook is removed.
    let address = clocked.schedule.destinations[0].address.clone();
    assert_eq!((clocked.schedule.withdraw(&address).len(), clocked.schedule.withdraw(&address).len()), (1, 0));
    clocked.check();
    assert_eq!(clocked.schedule.reports(clocked.now)[0].tally.replaced, 4);
    assert_eq!(clocked.schedule.reports(clocked.now)[0].kind, "discord_status");
}

#[test]
fn a_destination_gets_one_post_at_a_time_and_in_order() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    clocked.http("a");
    clocked.http("b");
    assert_eq!(clocked.next(), Some((0, 1)));
    assert_eq!(clocked.next(), Some((1, 3)));
    assert_eq!(clocked.next(), None);
    assert!(clocked.done(0, Verdict::Delivered).is_empty());
    assert_eq!(clocked.next(), Some((0, 2)));
    clocked.check();
}

#[test]
fn nothing_is_sent_without_a_free_sender() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    assert_eq!(clocked.next_of(0), None);
    assert_eq!(clocked.next_of(SENDERS_KEPT), None);
    assert_eq!(clocked.next_of(SENDERS_KEPT + 1), Some((0, 1)));
}

/// The number of the post in flight, and the text of its message.
fn said(clocked: &Clocked, at: usize) -> (u64, String) {
    let post = clocked.schedule.in_flight(at).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&post.request().body).unwrap();
    (post.id.number, body["content"].as_str().unwrap().to_owned())
}

#[test]
fn the_last_sender_is_kept_for_destinations_that_answer_soon() {
    let answers = [
        (Verdict::Delivered, 1.0, true),
        (Verdict::Never, 3.0, true),
        (Verdict::Denied, 1.0, true),
        (Verdict::Delivered, 3.1, false),
        (Verdict::Again { after: None, answered: true }, 1.0, false),
        (AGAIN, 1.0, false),
    ];
    for (verdict, seconds, is_good) in answers {
        let mut clocked = Clocked::new();
        clocked.http("new");
        assert_eq!(clocked.next_of(1), None, "a new destination is unknown");
        clocked.next();
        clocked.pass(seconds);
        clocked.done(0, verdict.clone());
        clocked.pass(60.0);
        clocked.http("new");
        assert_eq!(clocked.next_of(1).is_some(), is_good, "{verdict:?} after {seconds} s");
        if !is_good {
            // A success with another sender makes it good again.
            clocked.next().unwrap();
            clocked.done(0, Verdict::Delivered);
            clocked.http("new");
            assert!(clocked.next_of(1).is_some(), "{verdict:?} after {seconds} s");
        }
    }
}

#[test]
fn an_overdue_request_is_ended_if_another_destination_waits() {
    let mut clocked = Clocked::new();
    for host in ["a", "b"] {
        clocked.http(host);
        clocked.next();
        clocked.pass(1.0);
    }
    clocked.pass(100.0);
    assert_eq!(clocked.schedule.overdue(clocked.now), None, "no destination waits");
    clocked.http("c");
    // The request that began first, and one for each waiting destination.
    assert_eq!(clocked.schedule.overdue(clocked.now), Some(0));
    assert_eq!(clocked.schedule.overdue(clocked.now), None);
    clocked.http("d");
    assert_eq!(clocked.schedule.overdue(clocked.now), Some(1));
    clocked.http("e");
    assert_eq!(clocked.schedule.overdue(clocked.now), None, "no request is left");
    clocked.done(0, AGAIN);
    assert_eq!(clocked.next(), Some((2, 3)));
    clocked.check();
}

#[test]
fn a_request_is_not_ended_before_its_time() {
    let mut clocked = Clocked::new();
    clocked.http("new");
    clocked.next();
    clocked.http("waits");
    let hold = SENDER_HOLD.as_secs_f64();
    clocked.schedule.expire(clocked.now);
    assert!(clocked.schedule.due(clocked.now) <= Some(clocked.now + SENDER_HOLD));
    clocked.pass(hold - 0.001);
    clocked.schedule.expire(clocked.now);
    assert_eq!(clocked.schedule.overdue(clocked.now), None);
    assert_eq!(clocked.schedule.due(clocked.now), Some(clocked.now + Duration::from_millis(1)));
    clocked.pass(0.001);
    assert_eq!(clocked.schedule.overdue(clocked.now), Some(0));
    // A destination that took ten seconds for its last response has twenty.
    let mut clocked = Clocked::new();
    (0..2).for_each(|_| drop(clocked.http("slow")));
    clocked.next();
    clocked.pass(10.0);
    clocked.done(0, Verdict::Delivered);
    clocked.next();
    clocked.http("waits");
    clocked.pass(19.9);
    assert_eq!(clocked.schedule.overdue(clocked.now), None);
    clocked.pass(0.1);
    assert_eq!(clocked.schedule.overdue(clocked.now), Some(0));
}

/// Hung destinations occupy all five senders. A new one waits for [`SENDER_HOLD`] per round; one that answered before is
/// served at once.
#[test]
fn hung_destinations_delay_a_new_one_for_a_bounded_time() {
    let mut clocked = Clocked::new();
    clocked.http("known");
    clocked.next();
    clocked.done(0, Verdict::Delivered);
    (0..20).for_each(|n| drop(clocked.http(&format!("hangs{n}"))));
    let mut free = SENDERS_MAX + SENDERS_KEPT;
    let mut hung = VecDeque::new();
    while let Some((at, _)) = clocked.next_of(free) {
        hung.push_back(at);
        free -= 1;
    }
    assert_eq!((hung.len(), free), (SENDERS_MAX, SENDERS_KEPT));
    clocked.http("known");
    let (known, _) = clocked.next_of(free).unwrap();
    assert_eq!(known, 0);
    clocked.done(known, Verdict::Delivered);
    clocked.http("new");
    let new = clocked.schedule.destinations.len() - 1;
    let mut waited = 0.0;
    'waits: loop {
        clocked.pass(SENDER_HOLD.as_secs_f64());
        waited += SENDER_HOLD.as_secs_f64();
        while let Some(at) = clocked.schedule.overdue(clocked.now) {
            clocked.done(at, AGAIN);
            free += 1;
            match clocked.next_of(free) {
                Some((at, _)) if at == new => break 'waits,
                Some(_) => free -= 1,
                None => {}
            }
        }
    }
    // Fifteen others wait before it, and five of them are served in each round.
    assert_eq!(waited, SENDER_HOLD.as_secs_f64() * 4.0);
    clocked.check();
}

#[test]
fn destinations_take_turns() {
    let mut clocked = Clocked::new();
    for host in ["a", "b", "c"] {
        (0..3).for_each(|_| drop(clocked.http(host)));
    }
    let mut order = Vec::new();
    while let Some((at, _)) = clocked.next_of(2) {
        order.push(at);
        clocked.done(at, Verdict::Delivered);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn failures_double_the_delay() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    let mut waits = Vec::new();
    for _ in 0..11 {
        assert_eq!(clocked.next(), Some((0, 1)));
        clocked.done(0, AGAIN);
        waits.push(clocked.pause_of(0));
        let pause = clocked.pause_of(0);
        clocked.pass(pause - 0.001);
        assert_eq!(clocked.next(), None);
        clocked.pass(0.001);
    }
    assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]);
    // It was the same post each time. A success resets the delay.
    assert_eq!(clocked.next(), Some((0, 1)));
    clocked.done(0, Verdict::Delivered);
    clocked.http("a");
    clocked.next();
    clocked.done(0, AGAIN);
    assert_eq!(clocked.pause_of(0), 1.0);
}

#[test]
fn jitter_takes_up_to_a_half_off_the_delay() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    for random in (0..64).map(|n| u64::MAX / 63 * n) {
        let wait = clocked.schedule.destinations[0].backoff(random);
        assert!((RETRY_FIRST / 2..=RETRY_FIRST).contains(&wait), "{wait:?}");
    }
    // The jitter is linear: nothing, a quarter, three eighths, a half.
    let waits =
        [0, 1 << 63, 3 << 62, u64::MAX].map(|random| clocked.schedule.destinations[0].backoff(random).as_millis());
    assert_eq!(waits, [1000, 750, 625, 500]);
}

#[test]
fn a_post_is_given_up_after_the_last_attempt() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    for attempt in 1..=WEBHOOK_ATTEMPTS_MAX {
        let pause = clocked.pause_of(0);
        clocked.pass(pause);
        // Keeps the post from expiring first.
        let destination = &mut clocked.schedule.destinations[0];
        destination.queue.iter_mut().for_each(|queued| queued.post.expires = clocked.now + Duration::from_secs(9999));
        assert_eq!(clocked.next(), Some((0, 1)), "{attempt}");
        let dead = clocked.done(0, AGAIN);
        assert_eq!(dead.len(), usize::from(attempt == WEBHOOK_ATTEMPTS_MAX));
        assert!(dead.iter().all(|dead| dead.cause == Cause::Attempts && dead.reason == "why"));
    }
    clocked.check();
}

#[test]
fn expired_posts_are_given_up_even_after_a_flight() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    clocked.http("a");
    clocked.next();
    clocked.done(0, AGAIN);
    clocked.pass(10.0);
    clocked.http("a");
    clocked.pass(3590.0);
    let dead = clocked.schedule.expire(clocked.now);
    assert_eq!(dead.iter().map(|dead| dead.post.id.number).collect::<Vec<_>>(), [1, 2]);
    assert!(dead.iter().all(|dead| dead.cause == Cause::Expired && dead.reason == "it waited too long; last: why"));
    // A post that expires in flight is given up at the next search after it came back.
    assert_eq!(clocked.next(), Some((0, 3)));
    clocked.pass(20.0);
    assert!(clocked.schedule.expire(clocked.now).is_empty());
    clocked.done(0, AGAIN);
    clocked.pass(1.0);
    assert_eq!(clocked.schedule.expire(clocked.now).len(), 1);
    clocked.check();
}

#[test]
fn a_post_that_comes_expired_is_given_up_at_once() {
    for (left, is_taken) in [(0, false), (1, true)] {
        let mut clocked = Clocked::new();
        let url = Url::parse("http://a/").unwrap();
        let address = PostAddress::http(&url.reveal(), &url.to_string(), false);
        let request = Request::post_json(url, "{}".to_owned(), Duration::from_secs(10));
        let post = clocked.post(address, Content::Request(request));
        let expires = clocked.now + Duration::from_millis(left);
        let dead = clocked.schedule.offer(clocked.now, Post { expires, ..post });
        assert_eq!(dead.iter().map(|dead| dead.cause).collect::<Vec<_>>(), [Cause::Expired][usize::from(is_taken)..]);
        assert_eq!(clocked.schedule.reports(clocked.now)[0].tally.dead, u64::from(!is_taken));
        assert_eq!(clocked.next().is_some(), is_taken);
        clocked.check();
    }
}

#[test]
fn a_rate_limit_pauses_one_destination_and_is_no_attempt() {
    let mut clocked = Clocked::new();
    clocked.discord(1, "", "a");
    clocked.discord(2, "", "b");
    clocked.http("c");
    clocked.next();
    assert!(clocked.done(0, limited(45.3, false)).is_empty());
    assert_eq!((clocked.next(), clocked.next()), (Some((1, 2)), Some((2, 3))));
    clocked.pass(45.2);
    assert_eq!(clocked.next(), None);
    clocked.pass(0.1);
    assert_eq!(clocked.next(), Some((0, 1)));
    // However many rate limits come, only the age ends the post.
    for _ in 0..WEBHOOK_ATTEMPTS_MAX * 2 {
        assert!(clocked.done(0, limited(1.0, false)).is_empty());
        clocked.pass(1.0);
        assert!(clocked.next().is_some());
    }
    assert_eq!(clocked.schedule.in_flight(0).unwrap().attempts, 0);
    clocked.check();
}

#[test]
fn a_global_limit_pauses_all_discord_destinations_and_no_others() {
    let mut clocked = Clocked::new();
    clocked.discord(1, "", "a");
    clocked.next();
    clocked.done(0, limited(5.0, true));
    clocked.discord(2, "", "b");
    clocked.http("c");
    assert_eq!(clocked.next(), Some((2, 3)));
    assert_eq!(clocked.next(), None);
    assert_eq!(clocked.schedule.reports(clocked.now)[1].state, DestinationState::Paused(Duration::from_secs(5)));
    clocked.pass(5.0);
    assert!(clocked.next().is_some() && clocked.next().is_some());
}

/// Another scheme, host or port is another origin.
#[test]
fn a_global_limit_pauses_its_own_origin_only() {
    let mut clocked = Clocked::new();
    clocked.discord_at("http://discord/api/webhooks/1/t", "a");
    clocked.next();
    clocked.done(0, limited(5.0, true));
    for (url, is_held) in [
        ("http://DISCORD:80/api/webhooks/2/t?thread_id=1", true),
        ("http://discord/x", true),
        ("https://discord/api/webhooks/2/t", false),
        ("http://discord:8080/api/webhooks/2/t", false),
        ("http://discord.example/api/webhooks/2/t", false),
        ("http://evil/http://discord/", false),
    ] {
        clocked.discord_at(url, "b");
        assert_eq!(clocked.next().is_none(), is_held, "{url}");
    }
    // Neither a shorter limit nor a longer one of another origin changes the pause.
    clocked.pass(1.0);
    clocked.done(3, limited(100.0, true));
    clocked.pass(4.0);
    assert!(clocked.next().is_some_and(|(at, _)| at < 3));
}

#[test]
fn the_number_of_paused_origins_is_bounded() {
    let mut clocked = Clocked::new();
    for n in 0..DESTINATIONS_MAX * 2 {
        clocked.discord_at(&format!("http://h{n}/"), "a");
        let (at, _) = clocked.next().unwrap();
        clocked.done(at, limited(86_400.0, true));
        clocked.pass(4000.0);
        clocked.schedule.expire(clocked.now);
        clocked.schedule.destinations.iter_mut().for_each(|destination| destination.limited_until = None);
        assert!(clocked.schedule.origins.0.len() <= DESTINATIONS_MAX);
    }
}

#[test]
fn threads_of_one_webhook_pause_together() {
    let mut clocked = Clocked::new();
    clocked.discord(1, "?thread_id=5", "a");
    clocked.discord(1, "?thread_id=6", "b");
    clocked.discord(2, "", "c");
    clocked.next();
    let answer = PostResult { verdict: Verdict::Delivered, reason: String::new(), pause: Some(Duration::from_secs(2)) };
    clocked.schedule.done(clocked.now, 0, 0, answer);
    assert_eq!(clocked.next(), Some((2, 3)));
    assert_eq!(clocked.next(), None);
    // A thread that gets its first post during the pause waits too.
    clocked.discord(1, "?thread_id=7", "d");
    assert_eq!(clocked.next(), None);
    clocked.pass(2.0);
    assert_eq!(clocked.next(), Some((1, 2)));
    assert_eq!(clocked.next(), Some((3, 4)));
}

/// A locked thread rests, and a status message that cannot be edited pauses. Nothing else of the webhook waits for them.
#[test]
fn a_failure_pauses_no_other_thread_of_the_webhook() {
    let mut clocked = Clocked::new();
    for n in 0..DENIED_MAX {
        clocked.discord(1, "?thread_id=5", &n.to_string());
        clocked.next().unwrap();
        assert_eq!(clocked.done(0, Verdict::Denied).len(), 1);
    }
    clocked.status(1, "s", "text");
    clocked.next().unwrap();
    clocked.done(1, AGAIN);
    // A thread that gets its first post meanwhile does not wait either.
    clocked.discord(1, "", "a");
    assert!(clocked.pause_of(0) > 0.0 && clocked.pause_of(1) > 0.0 && clocked.pause_of(2) == 0.0);
    assert_eq!(clocked.next().map(|(at, _)| at), Some(2));
    clocked.done(2, Verdict::Unsent);
    clocked.discord(1, "?thread_id=6", "b");
    assert_eq!(clocked.next().map(|(at, _)| at), Some(3));
    // A hook that is added again ends the rest, and no rate limit.
    clocked.done(3, limited(5.0, false));
    let address = clocked.schedule.destinations[0].address.clone();
    clocked.schedule.reopen(&address);
    assert_eq!((clocked.pause_of(0), clocked.schedule.rest(clocked.now, 0)), (5.0, None));
    clocked.check();
}

#[test]
fn a_closed_destination_gets_no_more_requests() {
    let mut clocked = Clocked::new();
    (0..3).for_each(|_| drop(clocked.http("a")));
    clocked.next();
    let dead = clocked.done(0, Verdict::Closed);
    assert_eq!(dead.iter().map(|dead| dead.post.id.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(dead.iter().all(|dead| dead.cause == Cause::Closed));
    assert_eq!((clocked.http("a").len(), clocked.next()), (1, None));
    assert_eq!(clocked.schedule.reports(clocked.now)[0].state, DestinationState::Closed("why".to_owned()));
    // Adding its hook again opens it.
    let url = Url::parse("http://a/").unwrap();
    clocked.schedule.reopen(&PostAddress::http(&url.reveal(), &url.to_string(), false));
    assert!(clocked.http("a").is_empty());
    assert_eq!(clocked.next(), Some((0, 5)));
    clocked.check();
}

/// The 403 or 404 of a web server concerns one post.
#[test]
fn denied_posts_do_not_close_a_destination_unless_they_come_in_a_row() {
    let mut clocked = Clocked::new();
    for round in 0..DENIED_MAX * 3 {
        clocked.http("a");
        assert!(clocked.next().is_some(), "{round}");
        // A delivered post in between, or one whose content is refused: there are never enough in a row.
        let verdict = match round % (DENIED_MAX * 2) {
            0 => Verdict::Delivered,
            DENIED_MAX => Verdict::Never,
            _ => Verdict::Denied,
        };
        let dead = clocked.done(0, verdict.clone());
        assert_eq!(
            dead.iter().map(|dead| dead.cause).collect::<Vec<_>>(),
            [Cause::Refused][usize::from(verdict == Verdict::Delivered)..]
        );
    }
    assert_eq!(clocked.schedule.reports(clocked.now)[0].state, DestinationState::Ok);
    clocked.check();
}

#[test]
fn a_destination_that_denies_several_posts_in_a_row_rests() {
    let mut clocked = Clocked::new();
    (0..DENIED_MAX).for_each(|_| drop(clocked.http("a")));
    clocked.http("b");
    for n in 0..DENIED_MAX {
        assert_eq!(clocked.schedule.rest(clocked.now, 0), None, "{n}");
        let (at, _) = clocked.next().unwrap();
        if at == 1 {
            clocked.done(1, Verdict::Delivered);
            clocked.next().unwrap();
        }
        clocked.done(0, Verdict::Denied);
    }
    // Its other posts wait, those of other destinations do not.
    assert!(clocked.http("a").is_empty() && clocked.http("b").is_empty());
    assert_eq!(clocked.next().map(|(at, _)| at), Some(1));
    assert_eq!(clocked.next(), None);
    let reason = "why; it denied several posts in a row, the next is tried in 60 s";
    assert_eq!(clocked.schedule.reports(clocked.now)[0].state, DestinationState::Closed(reason.to_owned()));
    // One post is tried after each rest, and each rest is longer.
    let mut rests = Vec::new();
    for _ in 0..6 {
        rests.push(clocked.pause_of(0));
        let rest = clocked.pause_of(0);
        clocked.pass(rest - 0.001);
        assert_eq!(clocked.next(), None);
        clocked.pass(0.001);
        assert!(clocked.http("a").is_empty());
        assert_eq!(clocked.next().map(|(at, _)| at), Some(0));
        assert_eq!(clocked.done(0, Verdict::Denied).len(), 1);
    }
    assert_eq!(rests, [60.0, 120.0, 240.0, 480.0, 900.0, 900.0]);
    clocked.check();
    // A delivered post resets the count and the rest.
    clocked.pass(900.0);
    clocked.next().unwrap();
    clocked.done(0, Verdict::Delivered);
    assert_eq!(clocked.schedule.reports(clocked.now)[0].state, DestinationState::Ok);
    (1..DENIED_MAX).for_each(|_| {
        clocked.http("a");
        clocked.next().unwrap();
        clocked.done(0, Verdict::Denied);
    });
    clocked.http("a");
    assert!(clocked.next().is_some());
    clocked.check();
}

/// A web site that is being repaired sends all posts to another page.
#[test]
fn a_destination_that_redirects_several_posts_in_a_row_rests() {
    let mut clocked = Clocked::new();
    (0..=DENIED_MAX).for_each(|_| drop(clocked.http("a")));
    for _ in 0..DENIED_MAX {
        clocked.next().unwrap();
        assert_eq!(clocked.done(0, Verdict::NeverHere).len(), 1);
    }
    assert_eq!((clocked.next(), clocked.pause_of(0)), (None, 60.0));
    clocked.check();
}

/// With `http://a/{player}`, a denied post for one player says nothing about the other players.
#[test]
fn a_denied_path_does_not_count_twice_for_a_template() {
    let mut clocked = Clocked::new();
    let mut post = |path: &str, verdict: Verdict| {
        let url = Url::parse(&format!("http://a/{path}")).unwrap();
        let address = PostAddress::http("http://a/{player}", "http://a/{player}", true);
        let request = Request::post_json(url, "{}".to_owned(), Duration::from_secs(10));
        let post = clocked.post(address, Content::Request(request));
        assert!(clocked.schedule.offer(clocked.now, post).is_empty());
        assert!(clocked.next().is_some(), "{path}");
        clocked.done(0, verdict);
        clocked.schedule.rest(clocked.now, 0).is_some()
    };
    for _ in 0..DENIED_MAX * 2 {
        assert!(!post("banned", Verdict::Denied) && !post("banned2", Verdict::Denied));
    }
    assert!(!post("good", Verdict::Delivered));
    // Denied for one player after another: the destination rests.
    for n in 1..DENIED_MAX {
        assert!(!post(&format!("p{n}"), Verdict::Denied), "{n}");
    }
    assert!(post("last", Verdict::Denied));
}

#[test]
fn a_rest_ends_when_the_hook_is_added_again() {
    let mut clocked = Clocked::new();
    for _ in 0..DENIED_MAX {
        clocked.http("a");
        clocked.next();
        clocked.done(0, Verdict::Denied);
    }
    clocked.http("a");
    assert_eq!(clocked.next(), None);
    let url = Url::parse("http://a/").unwrap();
    clocked.schedule.reopen(&PostAddress::http(&url.reveal(), &url.to_string(), false));
    assert!(clocked.next().is_some());
}

#[test]
fn a_refused_post_does_not_delay_the_next() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    clocked.http("a");
    clocked.next();
    assert_eq!(clocked.done(0, Verdict::Never)[0].cause, Cause::Refused);
    assert_eq!(clocked.next(), Some((0, 2)));
}

#[test]
fn a_post_that_fails_repeatedly_lets_the_others_pass() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    clocked.http("a");
    for _ in 0..STEP_BEHIND_AFTER {
        assert_eq!(clocked.next(), Some((0, 1)));
        clocked.done(0, Verdict::Again { after: None, answered: true });
        clocked.pass(300.0);
    }
    assert_eq!(clocked.next(), Some((0, 2)));
}

/// A wrong password of a proxy gives up no post before its age does, and a right one is noticed soon.
#[test]
fn posts_that_a_proxy_holds_back_make_no_attempts() {
    let mut clocked = Clocked::new();
    clocked.discord(1, "", "a");
    for _ in 0..WEBHOOK_ATTEMPTS_MAX * 2 {
        assert_eq!(clocked.next(), Some((0, 1)));
        assert!(clocked.done(0, Verdict::Unsent).is_empty());
        clocked.discord(1, "", "b");
        clocked.pass(UNSENT_RETRY_LONGEST.as_secs_f64());
        clocked.check();
    }
    assert!(matches!(clocked.schedule.reports(clocked.now)[0].state, DestinationState::Broken(..)));
    clocked.next();
    let post = clocked.schedule.in_flight(0).unwrap();
    // Nothing was sent, so further messages were merged into it.
    assert_eq!((post.attempts, post.jobs()), (0, u64::from(WEBHOOK_ATTEMPTS_MAX) * 2 + 1));
}

/// A file of another program may name any number of attempts. The count ends at the largest number, and a post without a
/// bound of attempts stays.
#[test]
fn a_post_with_any_number_of_attempts_is_counted() {
    for answered in [false, true] {
        let mut clocked = Clocked::new();
        let url = Url::parse("http://a/").unwrap();
        let address = PostAddress::http(&url.reveal(), &url.to_string(), false);
        let content = Content::Request(Request::post_json(url, "{}".to_owned(), Duration::from_secs(1)));
        let retries = Retries { attempts: u32::MAX, ..Retries::default() };
        let post = Post { attempts: u32::MAX, refusals: u32::MAX, retries, ..clocked.post(address, content) };
        clocked.schedule.readmit(clocked.now, post);
        clocked.next();
        let dead = clocked.done(0, Verdict::Again { after: None, answered });
        assert_eq!(dead.iter().map(|dead| dead.cause).collect::<Vec<_>>(), [Cause::Attempts]);
        clocked.check();
    }
}

/// Discord refuses the name: all merged messages go again without it, together, and once only.
#[test]
fn a_refused_name_is_taken_off() {
    let mut clocked = Clocked::new();
    for text in ["a", "b"] {
        assert!(clocked.named(1, text, "Bob").is_empty());
    }
    clocked.next();
    assert!(clocked.done(0, Verdict::Unnamed).is_empty());
    assert_eq!(clocked.schedule.take_left_out(), 2);
    clocked.check();
    assert_eq!(clocked.next(), Some((0, 1)));
    assert_eq!(said(&clocked, 0), (1, "a\nb".to_owned()));
    let body = clocked.schedule.in_flight(0).unwrap().request().body;
    assert!(!String::from_utf8(body).unwrap().contains("Bob"));
    // Without a name it is a refusal like others: each message is sent alone, then given up.
    assert!(clocked.done(0, Verdict::Unnamed).is_empty());
    for number in [1, 2] {
        assert_eq!(clocked.next(), Some((0, number)));
        assert_eq!(clocked.done(0, Verdict::Unnamed)[0].cause, Cause::Refused);
        clocked.check();
    }
    assert_eq!(clocked.schedule.take_left_out(), 0);
}

/// Discord refuses an embed: the message that has it goes again without pictures and links, and once only.
#[test]
fn refused_pictures_and_links_are_taken_off() {
    let url = "https://a_b.example/x.png";
    let picture = json!({ "color": 7, "timestamp": "2023-11-14T22:13:20.999Z", "image": { "url": url } });
    let all = json!({
        "title": "t", "url": url, "thumbnail": { "url": url }, "image": { "url": url },
        "author": { "name": "a", "url": url, "icon_url": url }, "footer": { "text": "f", "icon_url": url },
    });
    let none = json!({ "title": "t", "author": { "name": "a" }, "footer": { "text": "f" } });
    let mut clocked = Clocked::new();
    for embed in [&none, &all, &picture] {
        clocked.embedded(embed, "x");
    }
    clocked.next();
    assert!(clocked.done(0, Verdict::BadEmbed).is_empty());
    // One by one, as the answer does not tell which of them is refused.
    assert_eq!((clocked.next(), clocked.schedule.take_left_out()), (Some((0, 1)), 0));
    assert_eq!(clocked.done(0, Verdict::BadEmbed)[0].cause, Cause::Refused);
    for (number, left) in [(2, Some(none)), (3, None)] {
        for verdict in [Verdict::BadEmbed, Verdict::Delivered] {
            assert_eq!(clocked.next(), Some((0, number)));
            if verdict == Verdict::Delivered {
                let body: Value =
                    serde_json::from_slice(&clocked.schedule.in_flight(0).unwrap().request().body).unwrap();
                assert_eq!((body["content"].as_str(), body["embeds"].get(0)), (Some("x"), left.as_ref()));
            }
            assert!(clocked.done(0, verdict).is_empty());
            clocked.check();
        }
        assert_eq!(clocked.schedule.take_left_out(), 1);
    }
    // Nothing else would be visible.
    clocked.embedded(&picture, "");
    clocked.next();
    assert_eq!(clocked.done(0, Verdict::BadEmbed).len(), 1);
    clocked.check();
}

/// The merged messages are sent again one by one, which shows the refused one.
#[test]
fn only_the_refused_one_of_merged_messages_is_lost() {
    [Verdict::Never, Verdict::Gone].into_iter().for_each(only_the_refused_one_is_lost);
}

fn only_the_refused_one_is_lost(refusal: Verdict) {
    let mut clocked = Clocked::new();
    for text in ["a", "bad", "c"] {
        clocked.discord(1, "", text);
    }
    clocked.next();
    assert_eq!(said(&clocked, 0), (1, "a\nbad\nc".to_owned()));
    assert!(clocked.done(0, refusal.clone()).is_empty());
    clocked.check();
    clocked.discord(1, "", "d");
    clocked.discord(1, "", "e");
    let mut seen = Vec::new();
    while clocked.next().is_some() {
        seen.push(said(&clocked, 0));
        // The webhook's rate limit holds between them.
        let verdict = if seen.last().unwrap().1.contains("bad") { refusal.clone() } else { Verdict::Delivered };
        let reason = if verdict == refusal { "why" } else { "" }.to_owned();
        let pause = Some(Duration::from_secs(2));
        let dead = clocked.schedule.done(clocked.now, 0, 0, PostResult { verdict, reason, pause });
        for dead in &dead {
            assert_eq!(
                (dead.post.id.number, dead.cause, dead.reason.as_str(), dead.post.jobs()),
                (2, Cause::Refused, "why", 1)
            );
        }
        assert_eq!(dead.len(), usize::from(seen.len() == 2));
        assert_eq!(clocked.next(), None);
        clocked.pass(2.0);
    }
    let expected = [(1, "a"), (2, "bad"), (3, "c"), (4, "d\ne")].map(|(number, text)| (number, text.to_owned()));
    assert_eq!(seen, expected);
    let Tally { offered, delivered, dead, .. } = clocked.schedule.reports(clocked.now)[0].tally;
    assert_eq!((offered, delivered, dead), (5, 4, 1));
    clocked.check();
}

#[test]
fn merged_messages_that_fail_repeatedly_are_split() {
    let mut clocked = Clocked::new();
    for text in ["a", "b"] {
        clocked.discord(1, "", text);
    }
    for _ in 0..STEP_BEHIND_AFTER {
        clocked.next();
        assert_eq!(said(&clocked, 0).1, "a\nb");
        clocked.done(0, Verdict::Again { after: None, answered: true });
        clocked.pass(300.0);
    }
    clocked.next();
    assert_eq!(said(&clocked, 0), (1, "a".to_owned()));
    assert_eq!(clocked.schedule.in_flight(0).unwrap().attempts, STEP_BEHIND_AFTER);
    clocked.done(0, Verdict::Delivered);
    clocked.next();
    assert_eq!(said(&clocked, 0), (2, "b".to_owned()));
    clocked.check();
}

#[test]
fn only_the_old_ones_of_merged_messages_expire() {
    let mut clocked = Clocked::new();
    clocked.discord(1, "", "a");
    clocked.pass(100.0);
    clocked.discord(1, "", "b");
    clocked.next();
    clocked.done(0, limited(1.0, false));
    clocked.pass(3500.0);
    let dead = clocked.schedule.expire(clocked.now);
    assert_eq!(dead.iter().map(|dead| dead.post.id.number).collect::<Vec<_>>(), [1]);
    clocked.check();
    clocked.next();
    assert_eq!(said(&clocked, 0), (2, "b".to_owned()));
}

#[test]
fn only_the_oldest_of_merged_messages_make_room() {
    let mut clocked = Clocked::new();
    (0..3).for_each(|_| drop(clocked.discord(1, "", "m")));
    clocked.next();
    clocked.done(0, limited(1.0, false));
    let mut dead = Vec::new();
    for _ in 0..WEBHOOK_JOBS_MAX - 1 {
        dead.extend(clocked.discord(1, "", &"x".repeat(1999)));
    }
    assert_eq!(dead.iter().map(|dead| dead.post.id.number).collect::<Vec<_>>(), [1, 2]);
    assert!(dead.iter().all(|dead| dead.cause == Cause::Overflow));
    clocked.check();
}

#[test]
fn merged_messages_are_given_up_one_by_one() {
    let mut clocked = Clocked::new();
    for text in ["a", "b", "c"] {
        clocked.discord(1, "", text);
    }
    clocked.next();
    let dead = clocked.done(0, Verdict::Closed);
    assert_eq!(dead.iter().map(|dead| dead.post.id.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(dead.iter().all(|dead| dead.post.merged.is_empty()));
    clocked.check();
}

#[test]
fn the_oldest_makes_room_for_its_own_destination() {
    let mut clocked = Clocked::new();
    for _ in 0..WEBHOOK_JOBS_MAX {
        assert!(clocked.http("a").is_empty());
    }
    let dead = clocked.http("a");
    assert_eq!((dead.len(), dead[0].post.id.number, dead[0].cause), (1, 1, Cause::Overflow));
    assert!(clocked.http("b").is_empty());
    clocked.check();
}

#[test]
fn the_oldest_of_all_makes_room_in_memory() {
    let mut clocked = Clocked::new();
    let (mut dead, quarter) = (Vec::new(), WEBHOOK_BYTES_MAX / 4);
    for host in ["a", "b", "a", "c", "d"] {
        dead.extend(clocked.http_of(host, quarter));
    }
    // With the overhead of each post, four quarters do not fit.
    assert_eq!(dead.iter().map(|dead| dead.post.id.number).collect::<Vec<_>>(), [1, 2]);
    clocked.check();
}

#[test]
fn a_post_that_is_too_large_drops_no_other() {
    let mut clocked = Clocked::new();
    assert!(clocked.http("a").is_empty());
    assert!(clocked.http_of("b", WEBHOOK_POST_BYTES_MAX - 10_000).is_empty());
    let dead = clocked.http_of("c", WEBHOOK_POST_BYTES_MAX);
    assert_eq!(dead.iter().map(|dead| (dead.post.id.number, dead.cause)).collect::<Vec<_>>(), [(3, Cause::Overflow)]);
    assert!(dead[0].reason.ends_with(" bytes, 4194304 are allowed"), "{}", dead[0].reason);
    clocked.check();
}

#[test]
fn the_text_of_messages_counts_for_the_memory() {
    let mut clocked = Clocked::new();
    let (mut dead, mut offered) = (0, 0);
    while dead == 0 {
        offered += 1;
        dead += clocked.discord(offered / WEBHOOK_JOBS_MAX as u32, "", &"é".repeat(2000)).len();
    }
    // Each message takes at least four thousand bytes.
    assert!((1000..=WEBHOOK_BYTES_MAX / 4000).contains(&(offered as usize)), "{offered}");
    clocked.check();
}

#[test]
fn the_number_of_destinations_is_bounded_and_idle_ones_make_room() {
    let mut clocked = Clocked::new();
    for n in 0..DESTINATIONS_MAX {
        assert!(clocked.http(&format!("h{n}")).is_empty());
    }
    let dead = clocked.http("one-more");
    assert_eq!((dead.len(), dead[0].cause), (1, Cause::Crowded));
    let (at, _) = clocked.next().unwrap();
    clocked.done(at, Verdict::Delivered);
    assert!(clocked.http("one-more").is_empty());
    clocked.check();
    let reports = clocked.schedule.reports(clocked.now);
    assert_eq!(reports.len(), DESTINATIONS_MAX + 1);
    let others = reports.last().unwrap();
    assert_eq!((others.name.as_str(), others.tally.delivered, others.tally.dead), ("others", 1, 1));
}

#[test]
fn destinations_in_trouble_make_room_last_and_not_while_they_pause() {
    let mut clocked = Clocked::new();
    for n in 0..DESTINATIONS_MAX {
        clocked.http(&format!("h{n}"));
    }
    // All but two fail, and their posts expire; the last two deliver.
    for n in 0..DESTINATIONS_MAX {
        let (at, _) = clocked.next().unwrap();
        clocked.done(at, if n < DESTINATIONS_MAX - 2 { AGAIN } else { Verdict::Delivered });
    }
    clocked.schedule.expiry_checked = None;
    let later = clocked.now + crate::config::limits::WEBHOOK_AGE_MAX;
    assert_eq!(clocked.schedule.expire(later).len(), DESTINATIONS_MAX - 2);
    let name = |clocked: &Clocked, at: usize| clocked.schedule.destinations[at].address.name().to_owned();
    let fine = [DESTINATIONS_MAX - 2, DESTINATIONS_MAX - 1];
    // A destination without trouble makes room at once; a busy or paused one does not.
    assert!(clocked.http("new0").is_empty());
    assert_eq!(name(&clocked, fine[0]), "http://new0/");
    clocked.http(&format!("h{}", fine[1]));
    assert_eq!(clocked.http("new1")[0].cause, Cause::Crowded);
    for _ in 0..2 {
        let (at, _) = clocked.next().unwrap();
        clocked.done(at, Verdict::Delivered);
    }
    // Destinations without trouble make room before those in trouble, although they were served later.
    clocked.pass(60.0);
    for (at, new) in [(fine[0], "new1"), (fine[1], "new2"), (0, "new3")] {
        assert!(clocked.http(new).is_empty());
        assert_eq!(name(&clocked, at), format!("http://{new}/"));
    }
    clocked.check();
}

#[test]
fn the_counts_of_forgotten_destinations_are_kept() {
    let mut clocked = Clocked::new();
    // A different count for each status.
    let statuses = [(204, 3), (404, 5), (429, 7), (503, 11), (0, 13), (200, 1), (302, 1)];
    for round in 1..3 {
        clocked.http("first");
        let (at, _) = clocked.next().unwrap();
        statuses
            .iter()
            .for_each(|(status, times)| (0..*times).for_each(|_| clocked.schedule.count_status(at, *status)));
        let tally = clocked.schedule.reports(clocked.now)[at].tally;
        let Tally { status_2xx, status_4xx, status_429, status_5xx, no_answer, .. } = tally;
        assert_eq!([status_2xx, status_4xx, status_429, status_5xx, no_answer], [4, 6, 7, 11, 13]);
        clocked.done(at, Verdict::Delivered);
        // So many others that it makes room.
        (1..=DESTINATIONS_MAX).for_each(|n| assert!(clocked.http(&format!("h{n}")).is_empty()));
        let others = clocked.schedule.reports(clocked.now).pop().unwrap();
        let Tally { offered, delivered, dead, replaced, status_2xx, status_4xx, status_429, status_5xx, no_answer } =
            others.tally;
        assert_eq!((others.name.as_str(), offered, delivered, dead, replaced), ("others", round, round, 0, 0));
        let counts = [status_2xx, status_4xx, status_429, status_5xx, no_answer];
        assert_eq!(counts, [4, 6, 7, 11, 13].map(|count| count * round));
        clocked.schedule = Schedule { forgotten: clocked.schedule.forgotten, ..Schedule::default() };
    }
}

#[test]
fn messages_are_merged_until_their_first_attempt() {
    let mut clocked = Clocked::new();
    for text in ["a", "b", "c"] {
        clocked.discord(1, "", text);
    }
    assert_eq!(clocked.next(), Some((0, 1)));
    let body = |clocked: &Clocked| String::from_utf8(clocked.schedule.in_flight(0).unwrap().request().body).unwrap();
    assert!(body(&clocked).contains(r#""content":"a\nb\nc""#), "{}", body(&clocked));
    clocked.check();
    // A rate limit means that nothing arrived, so a new message can be merged.
    clocked.discord(1, "", "d");
    clocked.done(0, limited(1.0, false));
    clocked.pass(1.0);
    clocked.next();
    assert!(body(&clocked).contains(r#""content":"a\nb\nc\nd""#));
    // Without an answer it may have arrived, so its id must keep this content.
    clocked.discord(1, "", "e");
    clocked.done(0, AGAIN);
    clocked.pass(10.0);
    assert_eq!(clocked.next(), Some((0, 1)));
    assert!(body(&clocked).contains(r#""content":"a\nb\nc\nd""#));
    clocked.done(0, Verdict::Delivered);
    assert_eq!(clocked.next(), Some((0, 5)));
    clocked.done(0, Verdict::Delivered);
    assert_eq!(clocked.schedule.reports(clocked.now)[0].tally.delivered, 5);
    clocked.check();
}

#[test]
fn posts_without_a_sender_are_queued_again() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    clocked.http("b");
    clocked.next();
    clocked.next();
    clocked.schedule.recover(&[1]);
    assert_eq!(clocked.next(), Some((0, 1)));
    assert_eq!(clocked.next(), None);
}

#[test]
fn due_is_the_end_of_a_pause_or_the_next_search() {
    let mut clocked = Clocked::new();
    assert_eq!(clocked.schedule.due(clocked.now), None);
    clocked.http("a");
    clocked.schedule.expire(clocked.now);
    clocked.next();
    assert_eq!(clocked.schedule.due(clocked.now), None);
    clocked.done(0, limited(0.5, false));
    assert_eq!(clocked.schedule.due(clocked.now), Some(clocked.now + Duration::from_millis(500)));
    clocked.pass(0.5);
    // The post is ready, and the search for expired posts is next.
    assert_eq!(clocked.schedule.due(clocked.now), Some(clocked.now + Duration::from_millis(500)));
}

#[test]
fn reports_show_state_and_counts() {
    let mut clocked = Clocked::new();
    clocked.http("a");
    for (status, pause) in [(0, 1.0), (500, 2.0), (429, 4.0)] {
        clocked.next();
        clocked.schedule.count_status(0, status);
        clocked.done(0, AGAIN);
        assert_eq!(clocked.pause_of(0), pause);
        if status == 429 {
            let state = clocked.schedule.reports(clocked.now).remove(0).state;
            assert_eq!(state, DestinationState::Broken("why".to_owned(), Duration::from_secs_f64(pause)));
        }
        clocked.pass(pause);
    }
    let report = clocked.schedule.reports(clocked.now).remove(0);
    assert_eq!((report.name.as_str(), report.kind, report.waiting), ("http://a/", "http", 1));
    assert_eq!(report.state, DestinationState::Broken("why".to_owned(), Duration::ZERO));
    let Tally { status_2xx, status_4xx, status_429, status_5xx, no_answer, .. } = report.tally;
    assert_eq!((status_2xx, status_4xx, status_429, status_5xx, no_answer), (0, 0, 1, 1, 1));
}

#[derive(Debug, Clone)]
enum Use {
    Offer { destination: u8, discord: bool },
    Send { free: usize },
    Answer { which: usize, verdict: u8, random: u64 },
    Pass { seconds: u16 },
}

fn uses() -> impl Strategy<Value = Use> {
    prop_oneof![
        3 => (0..6_u8, any::<bool>()).prop_map(|(destination, discord)| Use::Offer { destination, discord }),
        3 => (0..5_usize).prop_map(|free| Use::Send { free }),
        3 => (any::<usize>(), 0..10_u8, any::<u64>()).prop_map(|(which, verdict, random)| Use::Answer { which, verdict, random }),
        1 => (0..600_u16).prop_map(|seconds| Use::Pass { seconds }),
    ]
}

proptest! {
    /// Every job is counted as delivered, dead or waiting; one post is in flight for a destination; and no post is sent to
    /// a paused one.
    #[test]
    fn every_job_is_accounted_for_under_random_use(uses in prop::collection::vec(uses(), 1..200)) {
        let mut clocked = Clocked::new();
        let (mut offered, mut dead, mut delivered) = (0_u64, 0_u64, 0_u64);
        let mut in_flight: Vec<usize> = Vec::new();
        for step in uses {
            match step {
                Use::Offer { destination, discord } => {
                    offered += 1;
                    let lost = if discord && destination == 5 {
                        clocked.status(0, "s", "m")
                    } else if discord && destination == 4 {
                        clocked.named(4, "m", if offered % 3 == 0 { "Bob" } else { "Eve" })
                    } else if destination == 5 {
                        clocked.batch_of_some(offered)
                    } else if discord {
                        clocked.discord(u32::from(destination), "", "m")
                    } else {
                        clocked.http(&format!("h{destination}"))
                    };
                    dead += lost.iter().map(|dead| dead.post.jobs()).sum::<u64>();
                }
                Use::Send { free } => {
                    let paused: Vec<bool> = (0..clocked.schedule.destinations.len()).map(|at| clocked.pause_of(at) > 0.0).collect();
                    if let Some((at, _)) = clocked.next_of(free) {
                        prop_assert!(free > 0 && !paused[at] && !in_flight.contains(&at));
                        in_flight.push(at);
                    }
                }
                Use::Answer { which, verdict, random } if !in_flight.is_empty() => {
                    let at = in_flight.remove(which % in_flight.len());
                    let jobs = clocked.schedule.in_flight(at).unwrap().jobs();
                    let verdict = match verdict {
                        0..2 => Verdict::Delivered,
                        2 => Verdict::Denied,
                        3 => limited(1.0, random % 2 == 0),
                        4 => AGAIN,
                        5 => Verdict::Again { after: None, answered: true },
                        6 if random % 2 == 0 => Verdict::Gone,
                        6 => Verdict::Never,
                        7 => Verdict::Unsent,
                        8 if random % 2 == 0 => Verdict::BadEmbed,
                        8 => Verdict::Unnamed,
                        9 if random % 2 == 0 => Verdict::NeverHere,
                        _ => Verdict::Closed,
                    };
                    delivered += if verdict == Verdict::Delivered { jobs } else { 0 };
                    let answer = PostResult { verdict, ..answer::trouble("why".to_owned().into()) };
                    let lost = clocked.schedule.done(clocked.now, random, at, answer);
                    dead += lost.iter().map(|dead| dead.post.jobs()).sum::<u64>();
                }
                Use::Answer { .. } => {}
                Use::Pass { seconds } => {
                    clocked.pass(f64::from(seconds));
                    let lost = clocked.schedule.expire(clocked.now);
                    dead += lost.iter().map(|dead| dead.post.jobs()).sum::<u64>();
                }
            }
            clocked.check();
            prop_assert_eq!(offered, delivered + dead + clocked.schedule.jobs() as u64);
        }
    }
}
