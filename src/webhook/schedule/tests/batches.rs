//! Batches: when they go out, what they hold, and what is lost when a receiver refuses them.

use std::collections::BTreeSet;

use super::*;
use crate::hooks::delivery::{Batch, BatchForm};
use crate::webhook::post::Gathering;

/// The settings of one batched post.
#[derive(Clone, Copy)]
struct Kind {
    hook: &'static str,
    max: u32,
    seconds: f64,
    header: &'static str,
    bytes: usize,
}

const KIND: Kind = Kind { hook: "h", max: 3, seconds: 2.0, header: "", bytes: 10 };

impl Clocked {
    /// Offers a post with these settings to `http://a/`.
    fn batched(&mut self, kind: Kind) -> Vec<DeadLetter> {
        let Kind { hook, max, seconds, header, bytes } = kind;
        let url = Url::parse("http://a/").unwrap();
        let hook: Arc<[u8]> = hook.as_bytes().into();
        let address = PostAddress::http(&url.reveal(), &url.to_string(), false).for_batches_of(&hook);
        let headers = vec![("X".into(), crate::config::Secret::new(header.to_owned()))];
        let (body, timeout) = (vec![b'1'; bytes], Duration::from_secs(10));
        let signing = Signing::default();
        let request = Request { url, method: "POST".into(), headers, body, signing, timeout };
        let wait = Duration::from_secs_f64(seconds);
        let batch = Batch { max, wait, form: BatchForm::Array };
        let gathering = Some(Gathering { batch, until: self.now + wait });
        let retries = Retries { attempts: u32::MAX, ..Retries::default() };
        let post = Post { gathering, hook, retries, ..self.post(address, Content::Request(request)) };
        self.schedule.offer(self.now, post)
    }

    /// Offers a post of a batch that gathers for no time, or for some.
    pub(super) fn batch_of_some(&mut self, number: u64) -> Vec<DeadLetter> {
        self.batched(Kind { seconds: (number % 3) as f64, bytes: number as usize % 50, ..KIND })
    }

    /// The numbers of the posts that are in flight for this destination.
    fn sent(&self, at: usize) -> Vec<u64> {
        self.schedule.in_flight(at).map_or(Vec::new(), |post| post.parts().map(|part| part.id.number).collect())
    }

    /// The numbers of the next batch of the only destination; empty if none goes out.
    fn batch(&mut self) -> Vec<u64> {
        if self.next().is_some() { self.sent(0) } else { Vec::new() }
    }
}

#[test]
fn a_batch_waits_for_its_number_or_its_time() {
    let mut clocked = Clocked::new();
    clocked.batched(KIND);
    assert!(clocked.batch().is_empty());
    clocked.schedule.expire(clocked.now);
    clocked.pass(1.5);
    clocked.schedule.expire(clocked.now);
    // The first event decides the time.
    clocked.batched(KIND);
    assert!(clocked.batch().is_empty());
    assert_eq!(clocked.schedule.due(clocked.now), Some(clocked.now + Duration::from_millis(500)));
    clocked.pass(0.5);
    assert_eq!(clocked.batch(), [1, 2]);
    clocked.done(0, Verdict::Delivered);
    // With the third post the batch is complete; the fourth begins another.
    (0..4).for_each(|_| drop(clocked.batched(KIND)));
    assert_eq!(clocked.batch(), [3, 4, 5]);
    clocked.done(0, Verdict::Delivered);
    assert!(clocked.batch().is_empty());
    clocked.pass(2.0);
    assert_eq!(clocked.batch(), [6]);
    clocked.check();
}

#[test]
fn posts_gather_while_a_destination_is_busy_or_paused() {
    let mut clocked = Clocked::new();
    (0..3).for_each(|_| drop(clocked.batched(KIND)));
    assert_eq!(clocked.batch(), [1, 2, 3]);
    (0..2).for_each(|_| drop(clocked.batched(KIND)));
    clocked.pass(10.0);
    clocked.done(0, limited(5.0, false));
    // The limited batch was not delivered, and is full.
    clocked.batched(KIND);
    clocked.pass(5.0);
    assert_eq!(clocked.batch(), [1, 2, 3]);
    clocked.done(0, Verdict::Delivered);
    assert_eq!(clocked.batch(), [4, 5, 6]);
    clocked.check();
}

#[test]
fn only_equal_requests_of_one_hook_share_a_batch() {
    let mut clocked = Clocked::new();
    let other = Kind { header: "other", ..KIND };
    for kind in [KIND, KIND, other, other, KIND] {
        clocked.batched(kind);
    }
    // A post that cannot join completes the batch before it: nothing is gained by waiting.
    for expected in [&[1, 2][..], &[3, 4], &[]] {
        assert_eq!(clocked.batch(), expected);
        clocked.done(0, Verdict::Delivered);
    }
    clocked.pass(2.0);
    assert_eq!(clocked.batch(), [5]);
    // Another hook for the same URL has batches of its own, and shares the rate limit.
    clocked.batched(Kind { hook: "other", ..KIND });
    clocked.pass(2.0);
    assert_eq!(clocked.next(), Some((1, 6)));
    clocked.done(0, limited(10.0, false));
    clocked.done(1, Verdict::Delivered);
    (0..3).for_each(|_| drop(clocked.batched(Kind { hook: "other", ..KIND })));
    assert_eq!(clocked.next(), None);
    // One call opens them all.
    let url = Url::parse("http://a/").unwrap();
    for at in 0..2 {
        clocked.schedule.destinations[at].closed = Some("why".to_owned());
    }
    clocked.schedule.reopen(&PostAddress::http(&url.reveal(), &url.to_string(), false));
    // The rate limit goes on.
    assert_eq!(clocked.next(), None);
    clocked.pass(10.0);
    assert!(clocked.next().is_some() && clocked.next().is_some());
    clocked.check();
}

#[test]
fn the_bytes_of_a_batch_are_bounded() {
    let mut clocked = Clocked::new();
    let half = Kind { max: 100, bytes: 600_000, ..KIND };
    clocked.batched(half);
    assert!(clocked.batch().is_empty());
    clocked.batched(half);
    assert_eq!(clocked.batch(), [1]);
    clocked.done(0, Verdict::Delivered);
    clocked.pass(2.0);
    clocked.batched(Kind { bytes: 10, ..half });
    assert_eq!(clocked.batch(), [2, 3]);
    clocked.done(0, Verdict::Delivered);
    // A single body may be larger.
    clocked.batched(Kind { bytes: 2_000_000, ..half });
    assert_eq!(clocked.batch(), [4]);
    clocked.check();
}

#[test]
fn a_batch_keeps_its_id_over_attempts_and_gets_another_with_other_parts() {
    let mut clocked = Clocked::new();
    let id = |clocked: &Clocked| clocked.schedule.in_flight(0).unwrap().sent_id();
    (0..2).for_each(|_| drop(clocked.batched(KIND)));
    clocked.pass(2.0);
    clocked.batch();
    let two = id(&clocked);
    assert!(two.starts_with("00000000-0000-8001-8010-"), "{two}");
    // A rate limit: nothing arrived, and a third post joins.
    clocked.done(0, limited(1.0, false));
    clocked.batched(KIND);
    clocked.pass(1.0);
    assert_eq!(clocked.batch(), [1, 2, 3]);
    let three = id(&clocked);
    for _ in 0..2 {
        clocked.done(0, AGAIN);
        clocked.batched(KIND);
        clocked.pass(10.0);
        assert_eq!(clocked.batch(), [1, 2, 3]);
        assert_eq!(id(&clocked), three);
    }
    clocked.done(0, Verdict::Never);
    let mut ids = BTreeSet::from([three]);
    for expected in [&[1, 2][..], &[3], &[4, 5]] {
        assert_eq!(clocked.batch(), expected);
        assert!(ids.insert(id(&clocked)));
        clocked.done(0, Verdict::Delivered);
    }
    // The same parts have the same id, and a single post has its own.
    assert!(ids.contains(&two) && ids.contains(&PostId { boot: 1, number: 3 }.to_string()), "{ids:?}");
    clocked.check();
}

#[test]
fn failures_of_a_destination_keep_the_order_of_batches() {
    let mut clocked = Clocked::new();
    (0..4).for_each(|_| drop(clocked.batched(Kind { max: 4, ..KIND })));
    // Each third answered failure divides the batch, and a single post stays first.
    let mut sent = Vec::new();
    for _ in 0..12 {
        sent.push(clocked.batch());
        clocked.done(0, Verdict::Again { after: None, answered: true });
        clocked.batched(KIND);
        clocked.pass(300.0);
    }
    assert_eq!(sent[..3], [[1, 2, 3, 4]; 3]);
    assert_eq!(sent[3..6], [[1, 2]; 3]);
    assert_eq!(sent[6..], [[1]; 6]);
    clocked.check();
}

/// A redirection, or a method that the server does not know: no part of the batch would fare better alone, and all but
/// the oldest may after a rest.
#[test]
fn a_batch_is_not_divided_if_its_url_or_method_is_refused() {
    let mut clocked = Clocked::new();
    (0..5).for_each(|_| drop(clocked.batched(KIND)));
    for (sent, rest) in [([1, 2, 3], 60.0), ([2, 3, 4], 120.0)] {
        assert_eq!(clocked.batch(), sent);
        let dead = clocked.done(0, Verdict::NeverHere);
        let found: Vec<(u64, u64, Cause)> =
            dead.iter().map(|dead| (dead.post.id.number, dead.post.jobs(), dead.cause)).collect();
        assert_eq!(found, [(sent[0], 1, Cause::Refused)]);
        assert_eq!((clocked.batch(), clocked.pause_of(0)), (vec![], rest));
        clocked.check();
        clocked.pass(rest);
    }
    assert_eq!(clocked.batch(), [3, 4, 5]);
    assert!(clocked.done(0, Verdict::Delivered).is_empty());
    assert_eq!(clocked.schedule.rest(clocked.now, 0), None);
    // A single event counts as one without a batch: the next is sent at once.
    clocked.batched(KIND);
    clocked.pass(2.0);
    assert_eq!(clocked.batch(), [6]);
    assert_eq!((clocked.done(0, Verdict::NeverHere).len(), clocked.pause_of(0)), (1, 0.0));
    clocked.check();
}

/// A batch whose request failed comes back to a queue that became full meanwhile.
#[test]
fn a_batch_that_comes_back_to_a_full_queue_is_not_given_up_at_once() {
    let mut clocked = Clocked::new();
    let (kind, full) = (Kind { max: WEBHOOK_JOBS_MAX as u32, ..KIND }, WEBHOOK_JOBS_MAX as u64);
    (0..full).for_each(|_| assert!(clocked.batched(kind).is_empty()));
    assert_eq!(clocked.batch().len() as u64, full);
    (0..full).for_each(|_| assert!(clocked.batched(kind).is_empty()));
    assert!(clocked.done(0, AGAIN).is_empty());
    // Now each further post pushes one out, and the rest stays one batch.
    let dead: Vec<DeadLetter> = (0..2).flat_map(|_| clocked.batched(kind)).collect();
    assert_eq!(
        dead.iter().map(|dead| (dead.post.id.number, dead.cause)).collect::<Vec<_>>(),
        [1, 2].map(|number| (number, Cause::Overflow))
    );
    clocked.pass(1.0);
    assert_eq!(clocked.batch(), (3..=full).collect::<Vec<_>>());
    clocked.check();
    // The next process finds them in the spool: they have room together there, too.
    let mut next = Clocked::new();
    next.now = clocked.now;
    for post in clocked.schedule.posts() {
        let (id, address, hook) = (post.id, post.address.clone(), Arc::clone(&post.hook));
        let content = Content::Request(post.own_request());
        let again = Post { id, hook, gathering: post.gathering, retries: post.retries, ..next.post(address, content) };
        assert!(next.schedule.readmit(next.now, again).is_empty());
    }
    assert_eq!(next.schedule.jobs() as u64, 2 * full);
    assert_eq!(next.batch(), (3..3 + full).collect::<Vec<_>>());
    next.check();
}

/// A revoked token: as without batches, five events show it, and each further attempt costs one.
#[test]
fn a_destination_that_denies_its_batches_rests() {
    let mut clocked = Clocked::new();
    (0..64).for_each(|_| drop(clocked.batched(Kind { max: 64, ..KIND })));
    let (mut dead, mut requests) = (Vec::new(), 0);
    while !clocked.batch().is_empty() {
        requests += 1;
        dead.extend(clocked.done(0, Verdict::Denied));
    }
    assert_eq!(dead.iter().map(|dead| dead.post.id.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(requests < 20 && clocked.schedule.rest(clocked.now, 0).is_some(), "{requests}");
    assert_eq!(clocked.pause_of(0), 60.0);
    clocked.pass(60.0);
    assert_eq!(clocked.batch(), [6]);
    assert_eq!(clocked.done(0, Verdict::Denied).len(), 1);
    assert_eq!(clocked.pause_of(0), 120.0);
    clocked.check();
}

#[test]
fn a_batch_that_makes_room_or_expires_in_part_stays_one() {
    let mut clocked = Clocked::new();
    let kind = Kind { max: 1000, ..KIND };
    clocked.batched(kind);
    clocked.pass(1.0);
    (0..2).for_each(|_| drop(clocked.batched(kind)));
    clocked.pass(2.0);
    assert_eq!(clocked.batch(), [1, 2, 3]);
    clocked.done(0, AGAIN);
    clocked.pass(3597.0);
    let dead = clocked.schedule.expire(clocked.now);
    assert_eq!(dead.iter().map(|dead| (dead.post.id.number, dead.cause)).collect::<Vec<_>>(), [(1, Cause::Expired)]);
    assert_eq!(clocked.batch(), [2, 3]);
    clocked.done(0, AGAIN);
    let mut dead = Vec::new();
    for _ in 0..WEBHOOK_JOBS_MAX - 1 {
        dead.extend(clocked.batched(kind));
    }
    assert_eq!(dead.iter().map(|dead| (dead.post.id.number, dead.cause)).collect::<Vec<_>>(), [(2, Cause::Overflow)]);
    clocked.check();
}

/// What the receiver of a batch does.
#[derive(Debug, Clone)]
enum Reply {
    /// Accepts it, or refuses it if a part is bad.
    Judge,
    Fail {
        answered: bool,
    },
    Limit,
}

#[derive(Debug, Clone)]
enum Step {
    Offer { count: u8, header: bool },
    Pass { tenths: u8 },
    Reply(Reply, u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let reply = prop_oneof![
        3 => Just(Reply::Judge),
        1 => any::<bool>().prop_map(|answered| Reply::Fail { answered }),
        1 => Just(Reply::Limit),
    ];
    prop_oneof![
        2 => (1..9_u8, prop::bool::weighted(0.2)).prop_map(|(count, header)| Step::Offer { count, header }),
        2 => (0..60_u8).prop_map(|tenths| Step::Pass { tenths }),
        3 => (reply, any::<u64>()).prop_map(|(reply, random)| Step::Reply(reply, random)),
    ]
}

proptest! {
    /// Whatever the receiver answers: every good post arrives once and in order, every bad one becomes a dead letter alone,
    /// and no batch exceeds its number or mixes requests.
    #[test]
    fn a_batch_loses_the_refused_posts_alone(
        steps in prop::collection::vec(steps(), 1..120),
        max in 1..8_u32,
        every in 2..9_u64,
    ) {
        let mut clocked = Clocked::new();
        let kind = Kind { max, seconds: 1.0, ..KIND };
        let is_bad = |number: u64| number.is_multiple_of(every);
        let mut others = BTreeSet::new();
        let (mut arrived, mut refused) = (Vec::new(), Vec::new());
        let mut settle = |clocked: &mut Clocked, reply: &Reply, random: u64| {
            let sent = clocked.sent(0);
            let verdict = match reply {
                Reply::Judge if sent.iter().any(|number| is_bad(*number)) => Verdict::Never,
                Reply::Judge => Verdict::Delivered,
                Reply::Fail { answered } => Verdict::Again { after: None, answered: *answered },
                Reply::Limit => limited(0.3, false),
            };
            if verdict == Verdict::Delivered {
                arrived.extend(sent);
            }
            let reason = if verdict == Verdict::Delivered { String::new() } else { "why".to_owned() };
            for dead in clocked.schedule.done(clocked.now, random, 0, PostResult { verdict, reason, pause: None }) {
                assert_eq!((dead.cause, dead.post.jobs()), (Cause::Refused, 1));
                refused.push(dead.post.id.number);
            }
        };
        for step in steps {
            match step {
                Step::Offer { count, header } => for _ in 0..count {
                    let header = if header { "other" } else { "" };
                    let dead = clocked.batched(Kind { header, ..kind });
                    prop_assert!(dead.is_empty());
                    if header == "other" {
                        others.insert(clocked.number);
                    }
                },
                Step::Pass { tenths } => clocked.pass(f64::from(tenths) / 10.0),
                Step::Reply(reply, random) => if clocked.schedule.in_flight(0).is_some() {
                    settle(&mut clocked, &reply, random);
                },
            }
            if clocked.next().is_some() {
                let sent = clocked.sent(0);
                prop_assert!(sent.len() <= max as usize, "{:?}", sent);
                let is_other = others.contains(&sent[0]);
                prop_assert!(sent.iter().all(|number| others.contains(number) == is_other));
            }
            clocked.check();
        }
        // The receiver recovers.
        for _ in 0..100_000 {
            clocked.pass(300.0);
            // The clock runs far, so that no post is to expire.
            let posts = clocked.schedule.destinations.iter_mut().flat_map(|own| own.queue.iter_mut().chain(&mut own.in_flight));
            posts.for_each(|queued| queued.post.expires = clocked.now + Duration::from_secs(3600));
            clocked.next();
            if clocked.schedule.in_flight(0).is_none() {
                break;
            }
            settle(&mut clocked, &Reply::Judge, 0);
        }
        let good: Vec<u64> = (1..=clocked.number).filter(|number| !is_bad(*number)).collect();
        let bad: Vec<u64> = (1..=clocked.number).filter(|number| is_bad(*number)).collect();
        prop_assert_eq!((arrived, refused), (good, bad));
        clocked.check();
    }
}
