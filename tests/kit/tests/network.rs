//! Connections that end, stall, slow down and come back: every lost event is counted, and none arrives twice.

use std::time::{Duration, Instant};

use fault_kit::{Direction, Fault, PATIENCE, Proxy, Random, Redis, Scripted, Server, comes_true, wait_until, within};
use realtime::facade::config::limits::{CLOSE_FLUSH_MAX, OUTBOX_JOBS_MAX, SILENCE_MAX};
use realtime::facade::event::notice::Notice;
use serde_json::json;

/// Two servers on one Redis; the second listens on `a`.
fn pair(url: &str) -> (Server, Server) {
    let [here, mut there] = ["here", "there"].map(|name| Server::with(json!({ "redis": url, "server": name })));
    there.on("a", 1);
    (here, there)
}

/// Checks the numbers heard on `a`: each once and in order, and as many missing as were reported. Returns both counts.
fn audit(there: &mut Server) -> (usize, u64) {
    let heard: Vec<u64> = there.heard.iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "out of order or twice: {heard:?}");
    let missing = heard.last().unwrap_or(&0) + 1 - heard.first().unwrap_or(&0) - heard.len() as u64;
    let told = |there: &Server| -> u64 {
        there.told.iter().map(|notice| if let Notice::Gap { missed, .. } = notice { *missed } else { 0 }).sum()
    };
    there.wait(|there| told(there) >= missing && there.stat("/notices/waiting") == 0);
    assert_eq!(missing, told(there), "of {} heard", heard.len());
    (heard.len(), missing)
}

fn emit(here: &mut Server, n: u64) {
    while here.emit("a", &format!("{{\"n\":{n}}}")).is_err() {
        here.tick();
        std::thread::yield_now(); // The outbox is full for a moment.
    }
}

/// Ticks both servers until the listener has heard number `last`.
fn hear_last(here: &mut Server, there: &mut Server, last: u64) {
    let end = format!(" {last}");
    there.wait(|there| {
        here.tick();
        there.heard.last().is_some_and(|line| line.ends_with(&end))
    });
}

/// Redis is killed again and again under load: both servers are ready again within three seconds.
#[test]
fn servers_recover_when_redis_is_killed_under_load() {
    let mut redis = Redis::start(&[]);
    let (mut here, mut there) = pair(&redis.url());
    there.wait_ready();
    emit(&mut here, 0);
    hear_last(&mut here, &mut there, 0);
    let (mut n, mut waits) = (1, Vec::new());
    for _ in 0..5 {
        for _ in 0..500 {
            emit(&mut here, n);
            n += 1;
            there.tick();
        }
        redis.kill();
        for _ in 0..500 {
            emit(&mut here, n);
            n += 1;
        }
        there.wait(|there| there.engine.status().0 == "connecting");
        redis.start_again();
        let started = Instant::now();
        there.wait_ready();
        waits.push(started.elapsed());
    }
    // The median: on a busy machine a single start of Redis may take long.
    waits.sort();
    assert!(waits[2] < Duration::from_secs(3), "ready after {waits:?}");
    emit(&mut here, n);
    hear_last(&mut here, &mut there, n);
    let (heard, missing) = audit(&mut there);
    assert_eq!(heard as u64 + missing, n + 1, "from the first to the last");
    // Publishes wait for the other server after each outage; on a busy machine it may come too late once or twice.
    assert!(missing < n / 2, "{missing} of {n} were published before the other server was back");
    here.wait(|here| here.stat("/outbox/waiting") == 0);
    assert_eq!(here.stat("/outbox/delivered"), n + 1, "each was written again until it was answered");
    for server in [&here, &there] {
        server.assert_balanced();
    }
    here.stop();
    there.stop();
}

/// Both servers are connected; only the emitter goes through the proxy.
fn emitter_behind_a_proxy() -> (Redis, Proxy, Server, Server) {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut here = Server::with(json!({ "redis": proxy.url() }));
    let mut there = Server::with(json!({ "redis": redis.url() }));
    there.on("a", 1);
    there.wait_ready();
    here.wait_ready();
    (redis, proxy, here, there)
}

/// Redis gets the publishes but their answers are lost: each publish is sent again, and heard once.
#[test]
fn publishes_whose_answers_are_lost_are_resent_and_heard_once() {
    let (_redis, proxy, mut here, mut there) = emitter_behind_a_proxy();
    for n in 0..15 {
        proxy.set_now(Direction::ToClient, Fault::SwallowAfter(0));
        emit(&mut here, n);
        hear_last(&mut here, &mut there, n);
        proxy.set(Direction::ToClient, Fault::None);
        proxy.cut_all();
        here.wait(|here| here.stat("/outbox/waiting") == 0);
    }
    here.wait_ready();
    assert_eq!(here.stat("/resent"), 15);
    assert_eq!(here.stat("/outbox/delivered"), 15);
    emit(&mut here, 15);
    hear_last(&mut here, &mut there, 15);
    assert_eq!((audit(&mut there), there.stat("/inbox/dropped/repeat")), ((16, 0), 15));
    there.assert_balanced();
    here.stop();
    there.stop();
}

/// An event without a number is never sent twice.
#[test]
fn an_event_without_a_number_is_unknown_when_its_answer_is_lost() {
    let (_redis, proxy, mut here, mut there) = emitter_behind_a_proxy();
    proxy.set_now(Direction::ToClient, Fault::SwallowAfter(0));
    here.emit("a", "[1]").unwrap();
    there.hear(1);
    proxy.set(Direction::ToClient, Fault::None);
    proxy.cut_all();
    here.wait(|here| here.stat("/outbox/dropped/unknown") == 1);
    here.wait(|here| here.told.iter().any(|told| matches!(told, Notice::Error { operation: "publish", .. })));
    here.wait_ready();
    assert_eq!((here.stat("/resent"), there.heard.len()), (0, 1));
    here.assert_balanced();
    here.stop();
    there.stop();
}

/// SIGSTOP until the module notices it, then SIGCONT.
#[test]
fn a_stopped_redis_is_noticed_and_no_event_arrives_twice() {
    let redis = Redis::start(&[]);
    let (mut here, mut there) = pair(&redis.url());
    there.wait_ready();
    here.wait_ready();
    emit(&mut here, 0);
    hear_last(&mut here, &mut there, 0);
    redis.stop();
    let stopped = Instant::now();
    for n in 1..=OUTBOX_JOBS_MAX as u64 {
        emit(&mut here, n);
    }
    assert!(here.emit("a", "{}").is_err(), "the queue is bounded");
    // Both connections of each: a publisher that did not notice would publish before the other server listens again.
    there.wait(|there| {
        here.tick();
        [&here, there].iter().all(|server| server.stat("/reconnects") == 2)
    });
    // The bound, one second because silence is checked each second, and some seconds for a busy machine.
    assert!(stopped.elapsed() < SILENCE_MAX + Duration::from_secs(6), "noticed after {:?}", stopped.elapsed());
    redis.resume();
    let last = OUTBOX_JOBS_MAX as u64 + 1;
    // Redis forgets what it gets before the other server has subscribed again.
    there.wait_ready();
    emit(&mut here, last);
    hear_last(&mut here, &mut there, last);
    audit(&mut there);
    here.wait(|here| here.stat("/outbox/waiting") == 0);
    assert_eq!(here.stat("/outbox/delivered"), last + 1);
    here.assert_balanced();
    there.assert_balanced();
    here.stop();
    there.stop();
}

/// Slow commands and `CLIENT PAUSE` do not count as a lost connection.
#[test]
fn a_slow_redis_does_not_count_as_lost() {
    let redis = Redis::start(&["--enable-debug-command", "yes"]);
    let (mut here, mut there) = pair(&redis.url());
    there.wait_ready();
    here.wait_ready();
    for (n, slow) in [["DEBUG", "SLEEP", "5"], ["CLIENT", "PAUSE", "5000"]].iter().enumerate() {
        let _asked = redis.begin(slow);
        // A PING that is not answered at once shows that the slow command has begun.
        let ping = redis.begin(&["PING"]);
        ping.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        assert!(ping.peek(&mut [0]).is_err(), "{slow:?} is quick");
        let began = Instant::now();
        emit(&mut here, n as u64);
        hear_last(&mut here, &mut there, n as u64);
        assert!(began.elapsed() > Duration::from_secs(1), "{slow:?} was quick");
    }
    assert_eq!(here.stat("/reconnects") + there.stat("/reconnects"), 0);
    assert_eq!(redis.clients("pubsub").len(), 1);
    here.stop();
    there.stop();
}

/// `CLIENT KILL` of the subscriber's connection, ten times in a row.
#[test]
fn a_killed_subscriber_gets_its_subscriptions_back() {
    let redis = Redis::start(&[]);
    let (mut here, mut there) = pair(&redis.url());
    there.on("b*", 2);
    there.wait_ready();
    let mut waits = Vec::new();
    for round in 0..10 {
        assert_ne!(redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), "0");
        there.wait(|there| there.stat("/reconnects") == round + 1);
        let lost = Instant::now();
        there.wait_ready();
        waits.push(lost.elapsed());
        emit(&mut here, round);
        here.emit("bc", "{\"n\":1}").unwrap();
        there.hear(2 * (round as usize + 1));
    }
    // The pause does not grow from kill to kill; on a busy machine a single one may take longer.
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(8)), "{waits:?}");
    waits.sort();
    assert!(waits[7] < Duration::from_secs(1), "{waits:?}");
    assert_eq!(redis.command(&["PUBSUB", "CHANNELS"]), "a");
    let connected = |told: &&Notice| **told == Notice::Connected;
    there.wait(|there| there.told.iter().filter(connected).count() >= 11);
    assert_eq!(there.told.iter().filter(connected).count(), 11);
    here.stop();
    there.stop();
}

/// Segments of one byte and other faults that change the time only.
#[test]
fn pieces_of_any_size_give_the_same_events() {
    for fault in [Fault::Slice, Fault::Delay(Duration::from_millis(5))] {
        let redis = Redis::start(&[]);
        let proxy = Proxy::start(redis.address());
        [Direction::ToClient, Direction::ToServer].into_iter().for_each(|to| proxy.set(to, fault));
        let (mut here, mut there) = pair(&proxy.url());
        there.wait_ready();
        (0..200).for_each(|n| emit(&mut here, n));
        hear_last(&mut here, &mut there, 199);
        assert_eq!(audit(&mut there), (200, 0));
        here.stop();
        there.stop();
    }
}

/// A broken middlebox flips or repeats bytes: no wrong number is heard out of order.
#[test]
fn damaged_bytes_end_the_connection_or_are_heard_as_raw() {
    let mut random = Random::announced("spoiled bytes");
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut here = Server::with(json!({ "redis": redis.url() }));
    let mut there = Server::with(json!({ "redis": proxy.url() }));
    there.on("a", 1);
    there.wait_ready();
    for n in 0..60 {
        let at = random.below(250);
        let fault = if random.below(2) == 0 { Fault::FlipAt(at) } else { Fault::TwiceAt(at) };
        proxy.set_now(Direction::ToClient, fault);
        proxy.set(Direction::ToClient, Fault::None);
        emit(&mut here, 2 * n);
        emit(&mut here, 2 * n + 1);
        here.wait(|here| here.stat("/outbox/waiting") == 0);
        there.tick();
    }
    proxy.set_now(Direction::ToClient, Fault::None);
    there.wait_ready();
    let reconnects = there.stat("/reconnects");
    proxy.cut_all();
    // Until then the server does not know that it is not ready.
    there.wait(|there| there.stat("/reconnects") > reconnects);
    there.wait_ready();
    emit(&mut here, 1000);
    let heard = there.heard.len();
    there.wait(|there| there.heard.len() > heard && there.heard.last().unwrap().ends_with(" 1000"));
    there.assert_balanced();
    assert_eq!(there.stat("/panics"), 0);
    here.stop();
    there.stop();
}

/// Listeners change ten thousand times while Redis is away: afterwards exactly the wanted channels are subscribed.
#[test]
fn after_many_changes_exactly_the_wanted_channels_are_subscribed() {
    let mut redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.wait_ready();
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    for n in 0..10_000 {
        let channel = format!("c{}", n % 500);
        match (n * 7 + n / 500) % 3 {
            0 => _ = server.engine.off(channel.as_bytes(), None),
            _ => server.on(&channel, n),
        }
        if n % 100 == 0 {
            server.engine.begin_tick(Instant::now());
        }
    }
    for n in 0..500 {
        server.engine.off(format!("c{n}").as_bytes(), None);
        if n % 5 == 0 {
            server.on(&format!("c{n}"), n);
        }
    }
    redis.start_again();
    server.wait_ready();
    let mut channels: Vec<String> = redis.command(&["PUBSUB", "CHANNELS"]).lines().map(str::to_owned).collect();
    channels.sort();
    let mut expected: Vec<String> = (0..500).step_by(5).map(|n| format!("c{n}")).collect();
    expected.sort();
    assert_eq!(channels, expected);
    server.stop();
}

/// Both idle connections carry bytes in both directions every five seconds.
#[test]
fn idle_connections_send_heartbeats() {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.on("a", 1);
    server.wait_ready();
    let asked = || {
        let last = |kind: &str, word: &str| redis.clients(kind).iter().any(|line| line.contains(word));
        last("normal", " cmd=role ") && last("pubsub", " cmd=ping ")
    };
    assert!(!asked());
    wait_until("both connections sent a heartbeat", asked);
    assert!(comes_true(PATIENCE, || redis.clients("normal").iter().any(|line| line.contains(" idle=4 "))));
    wait_until("the next heartbeat is sent", || redis.clients("normal").iter().any(|line| line.contains(" idle=0 ")));
    assert_eq!(server.stat("/reconnects"), 0);
    server.stop();
}

/// Redis swallows all bytes, at any moment of a connection, and the map changes.
#[test]
fn a_map_change_keeps_its_bound_if_redis_swallows_all_bytes() {
    let hole = Scripted::start(|client| while client.command().is_some() {});
    let redis = Redis::start(&[]);
    let mut answering = Server::with(json!({ "redis": redis.url() }));
    answering.wait_ready();
    redis.stop();
    let bounds = [Duration::from_millis(100), CLOSE_FLUSH_MAX + Duration::from_millis(100)];
    for (mut server, bound) in [Server::with(json!({ "redis": hole.url() })), answering].into_iter().zip(bounds) {
        server.on("a", 1);
        server.emit("a", "{}").unwrap();
        let was_ready = server.engine.shared().links.publisher.is_ready();
        within(bound, || {
            // Once the connection counts as lost, a close no longer waits for it.
            assert_eq!(server.engine.shared().links.publisher.is_ready(), was_ready, "too many tries");
            let began = Instant::now();
            let (_, flush) = server.engine.detach();
            assert!(!flush.wait());
            let took = began.elapsed();
            server.engine.attach();
            took
        });
        server.assert_balanced();
        assert_eq!(server.stat("/outbox/waiting"), 1);
        server.stop();
    }
}

/// Events that wait too long are dropped and reported, oldest first; younger ones are sent.
#[test]
fn events_expire_while_redis_is_away() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let mut here = Server::with(json!({ "redis": redis.url(), "emit_age_max_s": 1 }));
    (0..100).for_each(|n| emit(&mut here, n));
    here.wait(|here| here.stat("/outbox/dropped/expired") == 100);
    here.wait(|here| here.told.iter().any(|told| matches!(told, Notice::Error { operation: "publish", .. })));
    redis.start_again();
    here.wait_ready();
    // This event may wait longer.
    here.engine.configure("{\"emit_age_max_s\":60}").unwrap();
    here.on("a", 1);
    emit(&mut here, 100);
    here.hear(1);
    assert_eq!(here.heard, ["1 a 100"]);
    here.assert_balanced();
    here.stop();
}
