//! The whole engine without Lua, against a real Redis. Two servers are two engines.
//! Needs `REALTIME_TEST_REDIS`, which `scripts/redis-in-docker` sets.

use std::time::{Duration, Instant};

use fault_kit::{PATIENCE, Redis, Server, wait_for};
use realtime::facade::config::limits::{OUTBOX_JOBS_MAX, PAYLOAD_BYTES_MAX};
use realtime::facade::engine::{Call, CallbackRef, Outcome, Refusal};
use realtime::facade::threads::subscriber::INBOX_EVENTS_MAX;

#[test]
fn a_forbidden_channel_does_not_affect_others() {
    let redis = Redis::start(&["--user", "default", "on", "nopass", "~*", "resetchannels", "&ok*", "+@all"]);
    let mut server = Server::with_prefix(&redis.url(), "");
    server.on("ok:1", 1);
    server.on("forbidden", 2);
    server.on("ok:*", 3);
    server.on("ok:2", 4);
    server.emit("ok:2", "5").unwrap();
    server.hear(1);
    server.wait(|server| server.stat("/subscriptions_refused") == 2); // `forbidden`, and the pattern `ok:*`: the ACL allows `ok*`, and patterns must match its text.
    // A publish must not wait for the acknowledgement of the refused subscriptions while routes keep changing.
    for n in 0..50 {
        server.on(&format!("ok:more:{n}"), 5);
        server.emit("ok:1", &n.to_string()).unwrap();
    }
    server.hear(51);
    assert_eq!(server.engine.status().0, "connected");
    server.stop();
}

#[test]
fn wake_ups_take_no_room_in_the_outbox() {
    let mut server = Server::at("redis://127.0.0.1:1", "wakes");
    for n in 0..OUTBOX_JOBS_MAX {
        server.on(&format!("channel {n}"), 1);
        server.emit("a", "1").unwrap();
        server.engine.off(format!("channel {n}").as_bytes(), None);
    }
    assert_eq!(server.stat("/outbox/waiting"), OUTBOX_JOBS_MAX as u64);
    assert!(server.emit("a", "1").is_err());
    server.assert_balanced();
    server.stop();
}

#[test]
fn a_listener_hears_the_first_event_after_its_on() {
    let mut server = Server::start("first");
    server.on("a", 1);
    for n in 0..100 {
        server.emit("a", &n.to_string()).unwrap();
    }
    server.on("b", 2);
    server.emit("b", "\"late\"").unwrap();
    server.hear(101);
    let expected: Vec<String> = (0..100).map(|n| format!("1 a {n}")).chain(["2 b late".to_owned()]).collect();
    assert_eq!(server.heard, expected);
    server.assert_balanced();
    server.stop();
}

#[test]
fn each_listener_hears_an_event_once_and_in_order_of_registration() {
    let (mut here, mut there) = (Server::start("once"), Server::start("once"));
    there.on("player:death", 1);
    there.on("player:*", 2);
    there.on("player:death", 3);
    there.on("other", 4);
    there.wait_ready();
    here.emit("player:death", "7").unwrap();
    there.hear(3);
    let mut heard = there.heard.clone();
    // Redis chooses the order in which it sends one publish to the channel and to patterns. Within a topic the order is ours.
    assert_eq!(
        heard.iter().filter(|line| !line.starts_with('2')).collect::<Vec<_>>(),
        ["1 player:death 7", "3 player:death 7"]
    );
    heard.sort();
    assert_eq!(heard, ["1 player:death 7", "2 player:death 7", "3 player:death 7"]);
    there.assert_balanced();
    here.stop();
    there.stop();
}

#[test]
fn a_removed_listener_hears_nothing_more_and_its_subscription_ends() {
    let mut server = Server::start("off");
    server.on("a", 1);
    server.on("b", 2);
    server.emit("a", "1").unwrap();
    server.hear(1);
    assert_eq!(server.engine.off(b"a", None), [CallbackRef(1)]);
    server.emit("a", "2").unwrap();
    server.emit("b", "3").unwrap();
    server.hear(2);
    assert_eq!(server.heard[1], "2 b 3");
    server.stop();
}

#[test]
fn the_prefix_separates_servers_and_listeners_never_see_it() {
    let (mut one, mut two) = (Server::start("[one]*"), Server::start("o1"));
    one.on("*", 1);
    two.on("x", 2);
    one.wait_ready();
    two.wait_ready();
    one.emit("x", "1").unwrap();
    two.emit("x", "2").unwrap();
    one.hear(1);
    two.hear(1);
    assert_eq!((one.heard[0].as_str(), two.heard[0].as_str()), ("1 x 1", "2 x 2"));
    one.stop();
    two.stop();
}

#[test]
fn a_full_outbox_refuses_and_counts() {
    let mut server = Server::at("redis://127.0.0.1:1", "full");
    for n in 0..OUTBOX_JOBS_MAX {
        server.emit("a", &n.to_string()).unwrap();
    }
    let refusal = server.emit("a", "1").unwrap_err();
    assert_eq!(refusal.to_string(), format!("queue_full: {OUTBOX_JOBS_MAX} commands wait for redis"));
    let too_large = server.emit("a", &" ".repeat(PAYLOAD_BYTES_MAX + 1)).unwrap_err();
    assert!(too_large.to_string().starts_with("too_large: the payload has "), "{too_large}");
    assert_eq!(server.stat("/outbox/dropped/queue_full"), 1);
    assert_eq!(server.stat("/outbox/waiting"), OUTBOX_JOBS_MAX as u64);
    server.assert_balanced();
    // A few big ones reach the bound in bytes before the bound in jobs.
    let mut big = Server::at("redis://127.0.0.1:1", "bytes");
    let payload = " ".repeat(PAYLOAD_BYTES_MAX);
    let taken = (0..100).take_while(|_| big.emit("a", &payload).is_ok()).count();
    assert_eq!(taken, 31, "16 MiB less what each costs beside its bytes");
    server.stop();
    big.stop();
}

#[test]
fn a_full_inbox_drops_the_oldest_and_counts() {
    let (mut here, mut there) = (Server::start("inbox"), Server::start("inbox"));
    there.on("a", 1);
    there.wait_ready();
    let extra = 1000;
    let mut sent = 0;
    while sent < INBOX_EVENTS_MAX + extra {
        match here.emit("a", &sent.to_string()) {
            Ok(()) => sent += 1,
            Err(_) => std::thread::yield_now(), // The outbox is full for a moment.
        }
    }
    // The game sleeps: it takes no event until all of them have arrived.
    let arrived = |server: &Server| server.stat("/inbox/in") >= sent as u64;
    let deadline = Instant::now() + PATIENCE;
    while !arrived(&there) {
        assert!(Instant::now() < deadline, "{}", there.engine.stats());
        std::thread::yield_now();
    }
    assert_eq!(there.stat("/inbox/waiting"), INBOX_EVENTS_MAX as u64);
    there.hear(INBOX_EVENTS_MAX);
    assert_eq!(there.heard[0], format!("1 a {extra}"));
    assert_eq!(there.stat("/inbox/dropped/overflow"), extra as u64);
    there.assert_balanced();
    here.stop();
    there.stop();
}

#[test]
fn a_tick_keeps_its_budget_and_every_listener_gets_its_turn() {
    let mut server = Server::start("budget");
    server.on("a", 1);
    (0..50).for_each(|n| server.emit("a", &n.to_string()).unwrap());
    let deadline = Instant::now() + PATIENCE;
    while server.stat("/inbox/waiting") < 50 || server.stat("/notices/waiting") < 1 {
        assert!(Instant::now() < deadline, "{}", server.engine.stats());
        if server.engine.shared().inbox.take_attention() {
            // Sends the subscription and takes no event: the tick begins and ends.
            server.engine.begin_tick(Instant::now());
        }
        std::thread::yield_now();
    }
    // By this clock the budget is spent after the first call of each tick. One further call reports the connection.
    for tick in 0..51 {
        let now = Instant::now();
        server.engine.begin_tick(now);
        let Some(call) = server.engine.next_call(now) else { panic!("tick {tick} made no call") };
        server.engine.complete(call, Outcome::Done);
        assert!(server.engine.next_call(now + Duration::from_millis(1)).is_none(), "tick {tick} made a second call");
    }
    assert_eq!(server.stat("/inbox/delivered"), 50);
    server.assert_balanced();
    server.stop();
}

#[test]
fn events_wait_for_the_next_state() {
    let (mut here, mut there) = (Server::start("maps"), Server::start("maps"));
    there.on("a", 1);
    there.wait_ready();
    for map in 0..20 {
        let (callbacks, flush) = there.engine.detach();
        assert_eq!(callbacks, [CallbackRef(map + 1)]);
        assert!(flush.wait());
        assert_eq!(there.emit("a", "1"), Err(Refusal::Closed));
        here.emit("a", &map.to_string()).unwrap();
        there.engine.attach();
        there.on("a", map + 2);
        there.hear(map as usize + 1);
        assert_eq!(there.heard[map as usize], format!("{} a {map}", map + 2));
    }
    there.assert_balanced();
    here.stop();
    there.stop();
}

#[test]
fn events_emitted_before_redis_starts_arrive_in_order() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let mut server = Server::at(&redis.url(), "later");
    server.on("a", 1);
    for n in 0..500 {
        server.emit("a", &n.to_string()).unwrap();
    }
    server.wait(|server| server.engine.status().1.contains("cannot connect to redis"));
    redis.start_again();
    server.hear(500);
    assert!(server.heard.iter().enumerate().all(|(n, line)| *line == format!("1 a {n}")));
    // Redis goes away for good: the module reports it and keeps running.
    drop(redis);
    server.wait(|server| server.engine.status().0 == "connecting");
    assert!(server.stat("/reconnects") >= 1);
    server.assert_balanced();
    server.stop();
}

/// Events that were published while no listener was registered are no gap, whether Redis knew that or not.
#[test]
fn events_without_a_listener_are_not_reported_as_missed() {
    let (mut here, mut there) = (Server::start("comes"), Server::start("comes"));
    there.on("a", 0);
    there.wait_ready();
    let mut last = 0;
    for round in 1..300 {
        for _ in 0..round % 7 {
            last += 1;
            here.emit("a", &format!("{{\"n\":{last}}}")).unwrap();
        }
        if round % 3 == 0 {
            there.engine.off(b"a", None);
            // Sometimes Redis processes the unsubscription before the listener is back, sometimes not.
            if round % 2 == 0 {
                there.engine.begin_tick(Instant::now());
            }
            if round % 4 == 0 {
                here.wait(|here| here.stat("/outbox/waiting") == 0);
            }
            there.on("a", round);
        }
        there.tick();
    }
    here.wait(|here| here.stat("/outbox/waiting") == 0);
    there.wait_ready();
    here.emit("a", "{\"n\":\"end\"}").unwrap();
    there.wait(|there| there.heard.last().is_some_and(|line| line.ends_with(" end")));
    assert_eq!((there.stat("/missed"), there.stat("/inbox/dropped/repeat")), (0, 0));
    there.assert_balanced();
    here.stop();
    there.stop();
}

/// Waits until this many events and answers have arrived, none of them taken.
fn fill(server: &Server, events: u64, answers: usize) {
    let deadline = Instant::now() + PATIENCE;
    while server.stat("/inbox/waiting") < events || server.engine.shared().replies.waiting() < answers {
        assert!(Instant::now() < deadline, "{}", server.engine.stats());
        std::thread::yield_now();
    }
}

/// The first call of a new tick, as `kind callback`, and the call itself.
fn next(server: &mut Server) -> (String, Call) {
    let now = Instant::now();
    server.engine.begin_tick(now);
    let call = server.engine.next_call(now).expect("a call");
    let shown = match &call {
        Call::Deliver(delivery) => {
            let raw = if delivery.event.is_raw() { " raw" } else { "" };
            format!("event {}{raw}", delivery.callback.0)
        }
        Call::Answer(answered) => match &answered.outcome {
            Ok(_) => format!("answer {}", answered.callback.0),
            Err(reason) => format!("answer {}: {reason}", answered.callback.0),
        },
        Call::Condition(condition) => format!("condition{}", if condition.event.is_raw() { " raw" } else { "" }),
        Call::Notice(_) => "notice".to_owned(),
        Call::Gather(_) | Call::Aggregate(_) => "window".to_owned(),
    };
    (shown, call)
}

/// Completes each call as parked, slow or done, in the order of `outcomes`. Returns the calls in order, without notices.
fn run(server: &mut Server, outcomes: &[&str]) -> Vec<String> {
    let mut called = Vec::new();
    for outcome in outcomes {
        let (shown, call) = loop {
            let (shown, call) = next(server);
            if shown != "notice" {
                break (shown, call);
            }
            server.engine.complete(call, Outcome::Done);
        };
        called.push(shown);
        let outcome = match *outcome {
            "parked" => Outcome::Parked,
            "slow" => Outcome::Slow(b"text".to_vec()),
            "holds" => Outcome::Holds(true),
            _ => Outcome::Done,
        };
        server.engine.complete(call, outcome);
        server.assert_balanced();
    }
    called
}

/// A value that is half-way into Lua goes on in the next tick. Events and answers each keep their order, and neither
/// delays the other.
#[test]
fn parked_values_continue_in_order() {
    let mut server = Server::start("parked");
    for callback in [1, 2] {
        server.on("a", callback);
    }
    server.wait_ready();
    server.emit("a", "{\"n\":1}").unwrap();
    server.emit("a", "{\"n\":2}").unwrap();
    for callback in [7, 8] {
        server.submit(Some(callback), |requests| requests.get(b"k")).unwrap();
    }
    fill(&server, 2, 2);
    let outcomes = ["parked", "parked", "parked", "done", "done", "parked", "done"];
    let expected = ["answer 7", "event 1", "answer 7", "event 1", "answer 7", "event 2", "answer 8"];
    assert_eq!(run(&mut server, &outcomes), expected);
    // Too slow for Lua: this listener and the later ones get text, and each is called once.
    assert_eq!(run(&mut server, &["slow", "done", "done", "done"]), ["event 2", "event 2 raw", "event 1", "event 2"]);
    assert_eq!((server.stat("/raw_slow"), server.stat("/inbox/delivered"), server.stat("/inbox/waiting")), (1, 2, 0));
    server.submit(Some(9), |requests| requests.get(b"k")).unwrap();
    fill(&server, 0, 1);
    assert_eq!(run(&mut server, &["parked", "slow", "done"]), ["answer 9", "answer 9", "answer 9: text"]);
    assert_eq!(server.stat("/replies/delivered"), 3);
    server.stop();
}

/// A listener that is removed while its value is half-way into Lua is not called; a listener that replaces it is.
#[test]
fn a_parked_event_goes_to_the_current_listeners() {
    let mut server = Server::start("parked-off");
    for (id, callback) in [(b"x", 1), (b"y", 2), (b"z", 3)] {
        server.engine.on(b"a", Some(id), CallbackRef(callback), false).unwrap();
    }
    server.wait_ready();
    server.emit("a", "1").unwrap();
    fill(&server, 1, 0);
    assert_eq!(run(&mut server, &["parked"]), ["event 1"]);
    server.engine.off(b"a", Some(b"x"));
    assert_eq!(run(&mut server, &["parked"]), ["event 2"]);
    server.engine.on(b"a", Some(b"y"), CallbackRef(20), false).unwrap();
    assert_eq!(run(&mut server, &["parked", "done"]), ["event 20", "event 20"]);
    assert_eq!(run(&mut server, &["parked"]), ["event 3"]);
    server.engine.off(b"a", None);
    let now = Instant::now();
    server.engine.begin_tick(now);
    assert!(server.engine.next_call(now).is_none());
    assert_eq!((server.stat("/inbox/delivered"), server.stat("/inbox/waiting")), (1, 0));
    server.assert_balanced();
    server.stop();
}

/// At a map change a parked event that no listener got yet goes to the next state. One that some listeners got ends. An
/// answer has no callback any more.
#[test]
fn values_parked_at_a_map_change_are_counted() {
    let mut server = Server::start("parked-map");
    server.on("a", 1);
    server.on("a", 2);
    server.wait_ready();
    for had in [false, true] {
        server.emit("a", "1").unwrap();
        server.submit(Some(9), |requests| requests.get(b"k")).unwrap();
        fill(&server, 1, 1);
        assert_eq!(run(&mut server, &["parked"]), ["answer 9"]);
        let called = if had { run(&mut server, &["done", "parked", "parked"]) } else { run(&mut server, &["parked"]) };
        assert_eq!(called[0], "event 1");
        let (mut released, _) = server.engine.detach();
        released.sort_by_key(|reference| reference.0);
        assert_eq!(released, [1, 2, 9].map(CallbackRef));
        server.assert_balanced();
        server.engine.attach();
        for callback in [1, 2] {
            server.on("a", callback);
        }
        if !had {
            assert_eq!(run(&mut server, &["done", "done"]), ["event 1", "event 2"]);
        }
    }
    assert_eq!((server.stat("/inbox/delivered"), server.stat("/replies/dropped/no_state")), (2, 2));
    server.assert_balanced();
    server.stop();
}

/// A script listens again in a callback, after the first tick of the new state. Newer events do not overtake those that
/// came before.
#[test]
fn events_wait_for_a_listener_of_the_previous_state() {
    let mut server = Server::start("aside");
    server.on("a", 1);
    server.wait_ready();
    server.engine.detach();
    server.engine.attach();
    (0..3).for_each(|n| server.emit("a", &format!("\"{n}\"")).unwrap());
    wait_for("events that wait", 3, || server.stat("/inbox/waiting"));
    (0..2).for_each(|_| assert_eq!(server.tick(), 0));
    assert_eq!(server.stat("/inbox/waiting"), 3);
    server.emit("a", "\"3\"").unwrap();
    wait_for("events that wait", 4, || server.stat("/inbox/waiting"));
    // The callback runs in this tick.
    let now = Instant::now();
    server.engine.begin_tick(now);
    server.on("a", 2);
    while let Some(call) = server.engine.next_call(now) {
        if let Call::Deliver(delivery) = &call {
            server.heard.push(String::from_utf8_lossy(delivery.event.tape()).into_owned());
        }
        server.engine.complete(call, Outcome::Done);
    }
    server.settle();
    assert_eq!((server.heard.len(), server.stat("/inbox/dropped/no_listener")), (4, 0));
    assert!(server.heard.is_sorted(), "{:?}", server.heard);
    server.stop();
}

/// The game opens a Lua state without closing the one before: the engine forgets the old functions and never releases
/// their references.
#[test]
fn the_functions_of_a_state_that_was_never_closed_are_forgotten() {
    let mut server = Server::start("skipped");
    server.on("a", 1);
    server.wait_ready();
    server.emit("a", "1").unwrap();
    server.submit(Some(9), |requests| requests.get(b"k")).unwrap();
    fill(&server, 1, 1);
    let before = server.engine.attach();
    assert!(server.engine.attach() > before);
    server.on("a", 2);
    server.hear(1);
    assert_eq!((server.heard[0].as_str(), server.answers.len()), ("2 a 1", 0));
    assert_eq!(
        (server.stat("/callbacks"), server.stat("/listeners"), server.stat("/replies/dropped/no_state")),
        (0, 1, 1)
    );
    assert_eq!(server.engine.detach().0, [CallbackRef(2)]);
    server.assert_balanced();
    server.stop();
}

/// A condition that got the event as text still decides about the whole event: the actions see its fields.
#[test]
fn a_slow_condition_still_acts_on_the_whole_event() {
    let mut server = Server::start("slow-condition");
    let spec = serde_json::json!({
        "type": "conditional",
        "condition": { "\0function": "test:1" },
        "actions": [{ "type": "counter", "key": "kills:{killer}" }],
    });
    server.hook("a", spec);
    server.wait_ready();
    server.emit("a", "{\"killer\":\"John\"}").unwrap();
    fill(&server, 1, 0);
    assert_eq!(run(&mut server, &["parked", "slow", "holds"]), ["condition", "condition", "condition raw"]);
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    wait_for("the counter", "'1'".to_owned(), || server.get("kills:John"));
    assert_eq!((server.stat("/conditions"), server.stat("/actions_unmade")), (1, 0));
    server.assert_balanced();
    server.stop();
}
