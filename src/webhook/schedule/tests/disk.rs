//! Posts that wait on the disk: which ones go there, when they come back, and that nothing is lost or overtaken. A list
//! for each destination plays the disk.

use std::collections::HashMap;

use super::*;
use crate::config::limits::WEBHOOK_PATIENCE_MAX;

/// A schedule with a disk that takes this many posts.
struct Disked {
    clocked: Clocked,
    disk: HashMap<String, VecDeque<Post>>,
    takes: bool,
    dead: Vec<DeadLetter>,
}

impl Disked {
    fn new() -> Disked {
        Disked { clocked: Clocked::new(), disk: HashMap::new(), takes: true, dead: Vec::new() }
    }

    fn now(&self) -> Instant {
        self.clocked.now
    }

    /// Offers a post of a hook with a long `retry_for`, or of another, as `rt-webhooks` does.
    fn offer(&mut self, host: &str, is_long: bool, bytes: usize) {
        let url = Url::parse(&format!("http://{host}/")).unwrap();
        let address = PostAddress::http(&url.reveal(), &url.to_string(), false);
        let (headers, body, timeout) = (Vec::new(), vec![b'x'; bytes], Duration::from_secs(10));
        let signing = Signing::default();
        let request = Request { url, method: "POST".into(), headers, body, signing, timeout };
        let mut post = self.clocked.post(address, Content::Request(request));
        if is_long {
            post.retries = Retries { retry_for: WEBHOOK_PATIENCE_MAX, attempts: u32::MAX };
            post.expires = self.now() + WEBHOOK_PATIENCE_MAX;
        }
        let (now, schedule) = (self.now(), &mut self.clocked.schedule);
        if schedule.spills(now, &post) {
            if self.takes {
                schedule.spilled(now, &post);
                return self.disk.entry(post.address.reveal().to_owned()).or_default().push_back(post);
            }
            if schedule.gives_up_unwritten(&post) {
                return self.dead.push(DeadLetter { post, cause: Cause::Overflow, reason: "full".to_owned() });
            }
        }
        let dead = schedule.offer(now, post);
        self.dead.extend(dead);
    }

    fn offer_many(&mut self, count: usize, host: &str, is_long: bool) {
        (0..count).for_each(|_| self.offer(host, is_long, 10));
    }

    /// One step back from the disk. False if no destination has room.
    fn refill(&mut self) -> bool {
        let Some((address, posts)) = self.clocked.schedule.refill(self.now()) else { return false };
        self.bring_back(&address, posts, 0);
        true
    }

    fn bring_back(&mut self, address: &PostAddress, posts: usize, lost: u64) {
        let queue = self.disk.get_mut(address.reveal()).unwrap();
        let posts = queue.drain(..posts.min(queue.len())).collect();
        let now = self.now();
        self.dead.extend(self.clocked.schedule.come_back(now, address, posts, lost));
    }

    fn check(&self) {
        let disk: usize = self.disk.values().map(VecDeque::len).sum();
        assert_eq!(self.clocked.schedule.on_disk(), disk as u64);
        let mut waiting = 0;
        for report in self.clocked.schedule.reports(self.now()) {
            let Tally { offered, delivered, dead, .. } = report.tally;
            assert_eq!(offered, delivered + dead + report.waiting, "{report:?}");
            waiting += report.waiting;
        }
        assert_eq!(waiting, (self.clocked.schedule.jobs() + disk) as u64);
    }
}

fn deaths(disked: &Disked) -> Vec<(u64, Cause)> {
    disked.dead.iter().map(|dead| (dead.post.id.number, dead.cause)).collect()
}

#[test]
fn posts_beyond_the_memory_go_to_the_disk_and_come_back_in_order() {
    let mut disked = Disked::new();
    disked.offer_many(WEBHOOK_JOBS_MAX, "a", true);
    assert_eq!(disked.clocked.schedule.on_disk(), 0);
    disked.offer_many(500, "a", true);
    assert_eq!((disked.clocked.schedule.on_disk(), disked.dead.len()), (500, 0));
    // While others wait on the disk, posts of every hook go there.
    disked.offer_many(1, "a", false);
    assert_eq!(disked.clocked.schedule.reports(disked.now())[0].on_disk, 501);
    // Another destination is not concerned.
    disked.offer_many(1, "b", true);
    assert_eq!(disked.clocked.schedule.on_disk(), 501);
    assert!(!disked.refill(), "there is no room");
    let mut sent = Vec::new();
    while let Some((at, number)) = disked.clocked.next() {
        if at == 0 {
            sent.push(number);
        }
        disked.clocked.done(at, Verdict::Delivered);
        while disked.refill() {}
        disked.check();
    }
    assert_eq!(sent, (1..=1501).collect::<Vec<_>>());
    assert_eq!(disked.clocked.schedule.refill(disked.now()), None);
    // Now posts stay in memory again.
    disked.offer_many(1, "a", true);
    assert_eq!(disked.clocked.schedule.on_disk(), 0);
}

/// The files of one destination cannot be read for a while.
#[test]
fn a_file_that_cannot_be_read_delays_its_own_destination_only() {
    let mut disked = Disked::new();
    for host in ["a", "b"] {
        disked.offer_many(WEBHOOK_JOBS_MAX + 1, host, true);
        while disked.clocked.schedule.jobs() > 0 {
            let (at, _) = disked.clocked.next().unwrap();
            disked.clocked.done(at, Verdict::Delivered);
        }
    }
    let address = |at: usize| disked.clocked.schedule.destinations[at].address.clone();
    let (first, second) = (address(0), address(1));
    let until = disked.now() + Duration::from_secs(1);
    disked.clocked.schedule.pause_disk(&first, until);
    let refill = |disked: &Disked| disked.clocked.schedule.refill(disked.now()).map(|(address, _)| address);
    assert_eq!(refill(&disked), Some(second.clone()));
    disked.bring_back(&second, 1, 0);
    assert_eq!(refill(&disked), None);
    disked.clocked.next();
    disked.clocked.done(1, Verdict::Delivered);
    assert_eq!(disked.clocked.schedule.due(disked.now()), Some(until));
    disked.clocked.pass(1.0);
    assert_eq!(refill(&disked), Some(first));
}

#[test]
fn other_hooks_lose_the_oldest_as_before() {
    let mut disked = Disked::new();
    disked.offer_many(WEBHOOK_JOBS_MAX + 2, "a", false);
    assert_eq!(deaths(&disked), [(1, Cause::Overflow), (2, Cause::Overflow)]);
    assert_eq!(disked.clocked.schedule.on_disk(), 0);
    // One post with a long time in the queue keeps its place.
    disked.offer_many(1, "b", true);
    disked.offer_many(WEBHOOK_JOBS_MAX, "b", false);
    assert_eq!((disked.clocked.schedule.on_disk(), disked.dead.len()), (1, 2));
    disked.check();
}

#[test]
fn posts_with_a_long_time_leave_half_of_the_memory_to_others() {
    let mut disked = Disked::new();
    let quarter = WEBHOOK_BYTES_MAX / 4;
    disked.offer("a", true, quarter);
    disked.offer("b", true, quarter);
    assert_eq!(disked.clocked.schedule.on_disk(), 1, "with their overhead two quarters are more than a half");
    for _ in 0..3 {
        disked.offer("c", false, quarter - 10_000);
    }
    assert_eq!(disked.dead.len(), 0);
    // When the memory is full, the oldest of the others makes room.
    disked.offer("d", false, quarter);
    assert_eq!(deaths(&disked), [(3, Cause::Overflow)]);
    disked.check();
    // A destination with nothing in memory gets its next post in any case; that pushes out none of those with a long time.
    assert_eq!(disked.clocked.schedule.refill(disked.now()).map(|(_, posts)| posts), Some(1));
    assert!(disked.refill() && !disked.refill());
    assert!(disked.dead.iter().all(|dead| !dead.post.retries.is_long()));
    disked.check();
}

#[test]
fn the_oldest_in_memory_make_room_for_posts_that_come_back_from_a_full_disk() {
    let mut disked = Disked::new();
    disked.offer_many(WEBHOOK_JOBS_MAX + 10, "a", true);
    let address = disked.clocked.schedule.destinations[0].address.clone();
    (0..3).for_each(|_| disked.bring_back(&address, 1, 0));
    assert_eq!(deaths(&disked), [1, 2, 3].map(|number| (number, Cause::Overflow)));
    disked.check();
    let mut disked = Disked::new();
    (0..8).for_each(|_| disked.offer("a", true, WEBHOOK_BYTES_MAX / 10));
    assert_eq!((disked.clocked.schedule.on_disk(), disked.clocked.schedule.jobs()), (4, 4));
    disked.bring_back(&address, 1, 0);
    assert_eq!(deaths(&disked), [(1, Cause::Overflow)]);
    disked.check();
}

#[test]
fn a_post_that_the_disk_does_not_take_keeps_the_order() {
    let mut disked = Disked::new();
    disked.offer_many(WEBHOOK_JOBS_MAX, "a", true);
    disked.takes = false;
    // Nothing is on the disk: the oldest makes room.
    disked.offer_many(1, "a", true);
    assert_eq!(deaths(&disked), [(1, Cause::Overflow)]);
    disked.takes = true;
    disked.offer_many(1, "a", true);
    disked.takes = false;
    // It would overtake the one on the disk.
    disked.offer_many(1, "a", true);
    assert_eq!(deaths(&disked)[1..], [(1003, Cause::Overflow)]);
    assert_eq!(disked.dead[1].reason, "full");
    disked.check();
}

#[test]
fn posts_come_back_to_be_given_up_if_their_destination_closed_or_their_time_is_over() {
    for is_closed in [true, false] {
        let mut disked = Disked::new();
        disked.offer_many(WEBHOOK_JOBS_MAX + 300, "a", true);
        disked.clocked.next();
        if is_closed {
            let dead = disked.clocked.done(0, Verdict::Closed);
            disked.dead.extend(dead);
        } else {
            disked.clocked.done(0, limited(1.0, false));
            disked.clocked.now += WEBHOOK_PATIENCE_MAX;
            let dead = disked.clocked.schedule.expire(disked.now());
            disked.dead.extend(dead);
        }
        while disked.refill() {}
        let cause = if is_closed { Cause::Closed } else { Cause::Expired };
        assert_eq!(deaths(&disked), (1..=1300).map(|number| (number, cause)).collect::<Vec<_>>());
        disked.check();
    }
}

#[test]
fn lost_posts_are_counted_and_a_destination_with_posts_on_the_disk_is_not_forgotten() {
    let mut disked = Disked::new();
    disked.offer_many(WEBHOOK_JOBS_MAX + 5, "a", true);
    for _ in 0..WEBHOOK_JOBS_MAX {
        disked.clocked.next();
        disked.clocked.done(0, Verdict::Delivered);
    }
    // Only those on the disk are left; so many others come that one has to go.
    for n in 0..DESTINATIONS_MAX - 1 {
        disked.offer(&format!("h{n}"), false, 10);
    }
    disked.offer("one-more", false, 10);
    assert_eq!(disked.dead.pop().map(|dead| dead.cause), Some(Cause::Crowded));
    let address = disked.clocked.schedule.destinations[0].address.clone();
    disked.disk.get_mut("http://a/").unwrap().truncate(2);
    disked.bring_back(&address, 2, 3);
    let report = disked.clocked.schedule.reports(disked.now()).remove(0);
    assert_eq!((report.tally.delivered, report.tally.dead, report.waiting, report.on_disk), (1000, 3, 2, 0));
    // A dead process left more than there are destinations for.
    let url = Url::parse("http://late/").unwrap();
    let post = disked.clocked.post(
        PostAddress::http(&url.reveal(), &url.to_string(), false),
        Content::Request(Request::post_json(url, "{}".to_owned(), Duration::from_secs(1))),
    );
    assert!(!disked.clocked.schedule.found_on_disk(disked.clocked.now, &post, 7));
    // A panic between the disk and its count.
    disked.clocked.schedule.recount_disk([(&address, 9)].into_iter());
    assert_eq!(disked.clocked.schedule.on_disk(), 9);
}

#[derive(Debug, Clone)]
enum Step {
    Offer { host: u8, count: u16, is_long: bool },
    Send,
    Answer { which: usize, verdict: u8, times: u16 },
    Refill,
    Full(bool),
    Pass { hours: u8 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_u8, 1..700_u16, prop::bool::weighted(0.8)).prop_map(|(host, count, is_long)| Step::Offer { host, count, is_long }),
        2 => Just(Step::Send),
        4 => (any::<usize>(), 0..4_u8, 1..600_u16).prop_map(|(which, verdict, times)| Step::Answer { which, verdict, times }),
        3 => Just(Step::Refill),
        1 => prop::bool::weighted(0.3).prop_map(Step::Full),
        1 => (0..4_u8).prop_map(|hours| Step::Pass { hours }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens: what arrives at a destination arrives in order, and what does not is a dead letter or waits.
    #[test]
    fn posts_on_the_disk_are_neither_lost_nor_overtaken(steps in prop::collection::vec(steps(), 1..60)) {
        let mut disked = Disked::new();
        let mut arrived: [Vec<u64>; 2] = Default::default();
        let mut offered = 0;
        for step in steps {
            match step {
                Step::Offer { host, count, is_long } => {
                    offered += u64::from(count);
                    disked.offer_many(usize::from(count), &format!("h{host}"), is_long);
                }
                Step::Send => drop(disked.clocked.next()),
                Step::Answer { which, verdict, times } => for _ in 0..times {
                    let destinations = disked.clocked.schedule.destinations.len();
                    let at = which % destinations.max(1);
                    let Some(number) = disked.clocked.schedule.in_flight(at).map(|post| post.id.number) else { break };
                    let verdict = match verdict {
                        0 | 1 => Verdict::Delivered,
                        2 => AGAIN,
                        _ => limited(1.0, false),
                    };
                    if verdict == Verdict::Delivered {
                        let host = usize::from(disked.clocked.schedule.destinations[at].address.reveal() == "http://h1/");
                        arrived[host].push(number);
                    }
                    let dead = disked.clocked.done(at, verdict);
                    disked.dead.extend(dead);
                    disked.refill();
                    disked.clocked.next();
                },
                Step::Refill => drop(disked.refill()),
                Step::Full(is_full) => disked.takes = !is_full,
                Step::Pass { hours } => {
                    disked.clocked.now += Duration::from_secs(3600) * u32::from(hours);
                    let dead = disked.clocked.schedule.expire(disked.now());
                    disked.dead.extend(dead);
                }
            }
            disked.check();
        }
        let (jobs, on_disk) = (disked.clocked.schedule.jobs() as u64, disked.clocked.schedule.on_disk());
        let delivered: u64 = arrived.iter().map(|arrived| arrived.len() as u64).sum();
        prop_assert_eq!(offered, delivered + disked.dead.len() as u64 + jobs + on_disk);
        for arrived in arrived {
            prop_assert!(arrived.is_sorted_by(|one, next| one < next), "{:?}", arrived);
        }
    }
}
