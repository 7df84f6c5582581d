//! More events than a queue holds, more work than a tick can do, and a game that sleeps.

use std::time::{Duration, Instant};

use fault_kit::{PATIENCE, Redis, Server, wait_until};
use realtime::facade::config::limits::OUTBOX_JOBS_MAX;
use realtime::facade::engine::{Call, Outcome};
use realtime::facade::event::notice::Notice;
use realtime::facade::threads::subscriber::INBOX_EVENTS_MAX;
use serde_json::json;

/// Publishes `count` objects through a plain client, in one write.
fn flood(redis: &Redis, channel: &str, count: usize) -> std::net::TcpStream {
    let script = "for n = 1, ARGV[2] do redis.call('PUBLISH', ARGV[1], '{\"n\":' .. n .. '}') end";
    redis.begin(&["EVAL", script, "0", channel, &count.to_string()])
}

fn overflows(server: &Server) -> Vec<u64> {
    let told = server.told.iter().filter_map(|notice| match notice {
        Notice::Overflow { queue: "inbox", dropped } => Some(*dropped),
        _ => None,
    });
    told.collect()
}

/// The outbox refuses what it cannot hold, and keeps the rest in order.
#[test]
fn a_hundred_thousand_emits_while_redis_is_away_are_queued_or_refused() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let mut server = Server::with(json!({ "redis": redis.url() }));
    let refused = (0..100_000).filter(|n| server.emit("a", &format!("{{\"n\":{n}}}")).is_err()).count();
    assert_eq!(refused, 100_000 - OUTBOX_JOBS_MAX);
    assert_eq!(server.stat("/outbox/dropped/queue_full"), refused as u64);
    server.assert_balanced();
    redis.start_again();
    // The refused events used no number: the next accepted one follows the last.
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    server.on("a", 1);
    server.wait_ready();
    server.emit("a", "{\"n\":0}").unwrap();
    server.emit("a", "{\"n\":1}").unwrap();
    server.hear(2);
    server.wait(|server| server.stat("/outbox/delivered") == OUTBOX_JOBS_MAX as u64 + 2);
    assert!(!server.told.iter().any(|told| matches!(told, Notice::Gap { .. })));
    server.stop();
}

/// The game runs one call of 20 ms in each tick, then none at all, while many events arrive.
#[test]
fn a_slow_game_keeps_its_budget_and_redis_does_not_disconnect_it() {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.on("a", 1);
    server.wait_ready();
    // The notice about the connection is already taken.
    server.wait(|server| !server.told.is_empty());
    flood(&redis, "a", 2_000);
    wait_until("the first event arrived", || server.stat("/inbox/waiting") > 0);
    let (mut calls, mut told) = (0u32, 0);
    for _ in 0..20 {
        flood(&redis, "a", 2_000);
        let now = Instant::now();
        server.engine.begin_tick(now);
        let mut after = now;
        while let Some(call) = server.engine.next_call(after) {
            after += Duration::from_millis(20);
            calls += 1;
            if let Call::Notice(Notice::Overflow { dropped, .. }) = &call {
                told += dropped;
            }
            server.engine.complete(call, Outcome::Done);
        }
        assert!(after - now <= Duration::from_millis(20), "a second call after the budget was spent");
    }
    wait_until("all events arrived", || server.stat("/inbox/in") == 42_000);
    assert_eq!(calls, 20, "one a tick");
    let client = redis.clients("pubsub").join("");
    assert!(client.contains(" omem=0 "), "{client}");
    assert_eq!(server.stat("/inbox/waiting"), INBOX_EVENTS_MAX as u64);
    // The game wakes: the oldest events are dropped, and overflows report their number.
    server.wait(|server| server.stat("/inbox/waiting") == 0);
    server.wait(|server| overflows(server).iter().sum::<u64>() + told == server.stat("/inbox/dropped/overflow"));
    assert_eq!((server.stat("/reconnects"), server.stat("/missed")), (0, 0));
    server.assert_balanced();
    server.stop();
}

/// The events that a full inbox drops are reported at most once a second, and the reports add up.
#[test]
fn overflows_are_reported_once_a_second_and_add_up() {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.on("a", 1);
    server.wait_ready();
    let began = Instant::now();
    for round in 1..=5 {
        flood(&redis, "a", INBOX_EVENTS_MAX + 100);
        wait_until("the round has arrived", || server.stat("/inbox/in") == round * (INBOX_EVENTS_MAX as u64 + 100));
        server.wait(|server| server.stat("/inbox/waiting") == 0);
    }
    server.wait(|server| overflows(server).iter().sum::<u64>() == server.stat("/inbox/dropped/overflow"));
    assert_eq!(server.stat("/inbox/dropped/overflow"), 500);
    assert!(overflows(&server).len() as u64 <= began.elapsed().as_secs() + 2, "{:?}", overflows(&server));
    server.stop();
}

/// Ten thousand listeners, on one channel and on one channel each.
#[test]
fn ten_thousand_listeners_each_hear_an_event_once() {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    for n in 0..10_000 {
        server.on("one", n);
        server.on(&format!("many:{n}"), n);
    }
    server.wait_ready();
    server.emit("one", "{\"n\":1}").unwrap();
    server.hear(10_000);
    assert!(server.heard.iter().enumerate().all(|(n, line)| *line == format!("{n} one 1")), "in order, each once");
    for n in 0..10_000 {
        let taken = |server: &mut Server| server.emit(&format!("many:{n}"), "{\"n\":2}").is_ok();
        let deadline = Instant::now() + PATIENCE;
        while !taken(&mut server) {
            assert!(Instant::now() < deadline);
            server.tick();
        }
        // The inbox has no room for all of them: it would drop the oldest. So half of its room at most is on the way.
        if n % 1000 == 0 {
            server.wait(|server| server.heard.len() + INBOX_EVENTS_MAX / 2 >= 10_000 + n);
        }
    }
    server.hear(20_000);
    let heard: std::collections::HashSet<&String> = server.heard[10_000..].iter().collect();
    assert!((0..10_000).all(|n| heard.contains(&format!("{n} many:{n} 2"))));
    server.assert_balanced();
    server.stop();
}

/// A new Lua state is told once that the connection stands, and gets no notice from the time before it.
#[test]
fn a_new_state_is_told_that_the_connection_stands() {
    let mut redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.wait(|server| server.told == [Notice::Connected]);
    for _ in 0..3 {
        _ = server.engine.detach();
        server.engine.attach();
        server.told.clear();
        server.wait(|server| server.told == [Notice::Connected]);
    }
    _ = server.engine.detach();
    redis.restart();
    wait_until("both are back", || server.stat("/reconnects") == 2 && redis.clients("normal").len() == 1);
    wait_until("the publisher's link is up", || server.engine.shared().links.publisher.is_ready());
    wait_until("the subscriber's link is up", || server.engine.shared().links.subscriber.is_ready());
    server.engine.attach();
    server.told.clear();
    server.wait(|server| !server.told.is_empty());
    server.tick();
    assert_eq!(server.told, [Notice::Connected]);
    server.assert_balanced();
    server.stop();
}
