//! Values, counters and leaderboards with a real Redis: each function, reads after writes, lost answers, refusals, and how
//! long a reader waits.

#![allow(clippy::print_stdout, reason = "how long a big leaderboard takes is for people to read")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use fault_kit::{Direction, Fault, Proxy, Random, Redis, Scripted, Server, comes_true, wait_until, within};
use realtime::facade::config::limits::OUTBOX_JOBS_MAX;
use realtime::facade::redis::counter::{SCRIPT, SCRIPT_SHA};
use realtime::facade::threads::links::SETTLE_MAX;
use realtime::facade::threads::publisher::READ_AGE_MAX;
use serde_json::json;

/// Its readers may wait for the longest allowed time: on a busy machine an answer can take longer than the default.
fn at(url: &str) -> Server {
    with_sync_timeout(url, 1000)
}

fn with_sync_timeout(url: &str, sync_timeout_ms: u32) -> Server {
    let mut server = Server::with(json!({ "redis": url, "prefix": "p:", "sync_timeout_ms": sync_timeout_ms }));
    server.wait_ready();
    server
}

/// The number of calls of one command, as Redis counts them.
fn calls(redis: &Redis, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn each_function_returns_the_documented_answers() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    assert_eq!(server.get("none"), "nil");
    server.set("k", "v\0\r\n").unwrap();
    assert_eq!(server.get("k"), "'v\0\r\n'");
    assert_eq!(redis.command(&["GET", "p:k"]), "v\0\r\n");
    server.submit(Some(1), |requests| requests.set(b"t", b"{\"a\":[1,null]}")).unwrap();
    server.submit(Some(2), |requests| requests.get_table(b"t")).unwrap();
    server.submit(Some(3), |requests| requests.get_table(b"k")).unwrap();
    server.submit(Some(4), |requests| requests.set_ex(b"e", b"v", 100.0)).unwrap();
    server.submit(Some(5), |requests| requests.expire(b"k", 50.0)).unwrap();
    server.submit(Some(6), |requests| requests.del(&[b"k", b"none", b"t"])).unwrap();
    server.submit(Some(7), |requests| requests.incr(b"n", 1.0)).unwrap();
    server.submit(Some(8), |requests| requests.incr(b"n", -3.0)).unwrap();
    server.submit(Some(9), |requests| requests.incr(b"f", 0.5)).unwrap();
    let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    server.submit(Some(10), |requests| requests.command(&words("ZADD p:board 50 John 45 Alice 7 Bob"))).unwrap();
    server.submit(Some(11), |requests| requests.leaderboard(b"board", 2.0)).unwrap();
    server.submit(Some(12), |requests| requests.command(&words("NO SUCH"))).unwrap();
    server.submit(Some(13), |requests| requests.command(&words("MGET p:n p:none"))).unwrap();
    let answers = server.answered(13);
    for (at, (callback, answer)) in answers.iter().enumerate() {
        assert_eq!(*callback as usize, at + 1, "answers come in order: {answers:?}");
        let expected = [
            "true",
            "{a={1,nil}}",
            "decode: the value has 4 bytes and is no JSON from byte 1 on",
            "true",
            "1",
            "2",
            "1",
            "-2",
            "0.5",
            "3",
            "{John=50,Alice=45} {{rank=1,name='John',score=50},{rank=2,name='Alice',score=45}}",
            "redis: ERR unknown command 'NO', with args beginning with: 'SUCH' ",
            "{'-2',nil}",
        ][at];
        assert_eq!(answer, expected, "callback {callback}");
    }
    assert_eq!(redis.command(&["TTL", "p:e"]), "100");
    assert_eq!(server.read(|requests| requests.leaderboard(b"nobody", 5.0)), "{} {}");
    server.assert_balanced();
    server.stop();
}

/// The error of an unknown command names the command and not its first argument. The outbox takes back the bytes that it
/// was charged in spite of that: one byte too many would make it refuse everything from then on.
#[test]
fn unknown_commands_leave_room_in_the_outbox() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    for (at, text) in ["NOSUCHCOMMAND k", "NO such-command", "NOSUCHCOMMAND"].into_iter().enumerate() {
        let words: Vec<Vec<u8>> = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        server.submit(Some(at as i32), |requests| requests.command(&words)).unwrap();
        server.answered(at + 1);
        server.set("k", "v").unwrap();
        server.settle();
    }
    assert_eq!((server.get("k").as_str(), server.stat("/outbox/dropped/queue_full")), ("'v'", 0));
    server.stop();
}

/// On a busy machine a reader may wait in vain: the next one then has a share of the next second.
fn get_in_the_end(server: &mut Server, key: &str) -> String {
    wait_until_some(|| Some(server.get(key)).filter(|said| !said.starts_with("timeout: ")))
}

/// A reader sees all earlier writes, and does not wait for the publishes in the queue.
#[test]
fn a_reader_sees_earlier_writes_and_overtakes_publishes() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(1500));
    let mut most_overtaken = 0;
    for round in 0..30 {
        while server.emit("flood", &payload).is_ok() {}
        // The queue is full until the publisher makes room.
        let value = round.to_string();
        wait_until("there is room", || server.set("k", &value).is_ok());
        let count = wait_until_some(|| server.incr("n", None).ok().map(|()| round + 1));
        let waiting = server.engine.shared().outbox.waiting();
        assert_eq!(get_in_the_end(&mut server, "k"), format!("'{value}'"), "with {waiting} waiting");
        most_overtaken = most_overtaken.max(server.engine.shared().outbox.waiting());
        assert_eq!(get_in_the_end(&mut server, "n"), format!("'{count}'"));
        server.wait(|server| server.stat("/outbox/waiting") == 0);
    }
    // A reader that waited for its turn would leave no publish in the queue. On a busy machine this thread may see the answer
    // only after the publishes are gone, but not thirty times in a row.
    assert!(most_overtaken > OUTBOX_JOBS_MAX / 4, "{most_overtaken} publishes at most were overtaken");
    assert_eq!(server.stat("/reads_timed_out"), 0);
    server.assert_balanced();
    server.stop();
}

/// Writes, counters, publishes and pauses in a random order before each read: the game thread reads on the publisher's
/// connection whenever that sleeps, and must overtake no command.
#[test]
fn a_reader_sees_earlier_writes_whether_the_publisher_sleeps_or_not() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    let mut random = Random::announced("reads behind writes");
    let (mut value, mut count) = (0, 0);
    for _ in 0..3000 {
        for _ in 0..random.below(4) {
            match random.below(5) {
                0 => {
                    value += 1;
                    server.set("k", &value.to_string()).unwrap();
                }
                1 => {
                    count += 1;
                    server.incr("n", None).unwrap();
                }
                2 => server.emit("a", "{}").unwrap(),
                3 => std::thread::yield_now(),
                _ => wait_until("the publisher is idle", || server.engine.shared().outbox.waiting() == 0),
            }
        }
        let shown = |number: u32| if number == 0 { "nil".to_owned() } else { format!("'{number}'") };
        assert_eq!(server.get("k"), shown(value));
        assert_eq!(server.get("n"), shown(count));
    }
    assert_eq!((server.stat("/reads_timed_out"), server.stat("/resent")), (0, 0));
    server.settle();
    server.assert_balanced();
    server.stop();
}

fn wait_until_some<T>(mut get: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    wait_until("there is room", || {
        found = get();
        found.is_some()
    });
    found.unwrap()
}

/// A publish that waits for its subscription (at most half a second) does not delay a reader.
#[test]
fn a_reader_does_not_wait_for_subscriptions() {
    let asked = Arc::new(AtomicI32::new(0));
    let counted = Arc::clone(&asked);
    // This server answers every command but SUBSCRIBE.
    let scripted = Scripted::start(move |client| {
        while let Some(command) = client.question() {
            match command[0].as_str() {
                "SUBSCRIBE" => _ = counted.fetch_add(1, Ordering::SeqCst),
                "GET" => client.send(b"$2\r\nhi\r\n"),
                "PUBLISH" => client.send(b":1\r\n"),
                _ => client.acknowledge(&command),
            }
        }
    });
    let mut server = Server::with(json!({ "redis": scripted.url(), "sync_timeout_ms": 1000 }));
    server.wait_ready();
    let mut number = 0;
    within(SETTLE_MAX / 2, || {
        number += 1;
        let channel = format!("a{number}");
        server.on(&channel, number);
        server.emit(&channel, "1").unwrap();
        // From here on the publish is first in the queue and waits.
        server.wait(|_| asked.load(Ordering::SeqCst) >= number);
        comes_true(Duration::from_millis(50), || false);
        let began = Instant::now();
        assert_eq!(server.get("k"), "'hi'");
        let took = began.elapsed();
        server.wait(|server| server.stat("/outbox/waiting") == 0);
        took
    });
    server.stop();
}

/// Readers wait 50 ms in each second, not at all after a wait in vain, and not at all without a connection.
#[test]
fn a_reader_waits_no_longer_than_its_bound() {
    let mut redis = Redis::start(&[]);
    let mut server = with_sync_timeout(&redis.url(), 50);
    let mut waits = 0;
    within(Duration::from_millis(100), || {
        // Waits until the last late answer has come and its second is over.
        wait_until("it reads", || server.get("k") == "nil");
        // That read may also have waited in vain.
        waits = server.stat("/reads_timed_out") + 1;
        // The reads before have used up the time of this second.
        comes_true(Duration::from_millis(1100), || false);
        redis.stop();
        let began = Instant::now();
        let said = server.get("k");
        let took = began.elapsed();
        assert!(said.starts_with("timeout: redis did not answer within "), "{said}");
        assert!(took >= Duration::from_millis(45), "{took:?}");
        let began = Instant::now();
        for _ in 0..1000 {
            assert_eq!(server.get("k"), "timeout: redis has not answered since the last reader timed out");
        }
        // Each of these readers could have waited 50 ms.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        redis.resume();
        took
    });
    wait_until("it reads again", || server.get("k") == "nil");
    waits = waits.max(server.stat("/reads_timed_out"));
    redis.kill();
    // The other connection may notice it earlier.
    server.wait(|server| !server.engine.shared().links.publisher.is_ready());
    let (began, fast) = (Instant::now(), server.stat("/reads_failed_fast"));
    for _ in 0..1000 {
        let said = server.get("k");
        assert!(said.starts_with("disconnected: "), "{said}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!((server.stat("/reads_timed_out"), server.stat("/reads_failed_fast") - fast), (waits, 1000));
    server.assert_balanced();
    server.stop();
}

/// A reader waits for the connection during the first attempt of the process.
#[test]
fn the_first_read_waits_for_the_connection() {
    let redis = Redis::start(&[]);
    redis.command(&["SET", "p:k", "v"]);
    let mut server = Server::with(json!({ "redis": redis.url(), "prefix": "p:", "sync_timeout_ms": 1000 }));
    assert_eq!(server.get("k"), "'v'");
    server.stop();
}

/// While Redis is away, a read with a callback gets an error, and a write waits.
#[test]
fn callbacks_get_an_error_while_redis_is_away() {
    let mut redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    let began = Instant::now();
    server.submit(Some(1), |requests| requests.get(b"k")).unwrap();
    server.submit(Some(2), |requests| requests.set(b"k", b"v")).unwrap();
    let answers = server.answered(1);
    assert!(answers[0].0 == 1 && answers[0].1.starts_with("disconnected: "), "{answers:?}");
    assert!(began.elapsed() >= READ_AGE_MAX);
    redis.start_again();
    assert_eq!(server.answered(2)[1], (2, "true".to_owned()));
    assert_eq!(redis.command(&["GET", "p:k"]), "v");
    server.assert_balanced();
    server.stop();
}

/// While Redis loads its data, reads fail with Redis' own words and writes wait; the module does not flood Redis.
#[test]
fn reads_fail_and_writes_wait_while_redis_loads() {
    let redis = Redis::start(&["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"]);
    let mut server = with_sync_timeout(&redis.url(), 50);
    // Loading would take far longer than the test; the test ends it.
    for n in 0..200 {
        redis.command(&["SET", &format!("fill{n}"), &"x".repeat(10_000)]);
    }
    redis.command(&["CONFIG", "SET", "key-load-delay", "400000"]);
    let _reload = redis.begin(&["DEBUG", "RELOAD"]);
    wait_until("it loads", || redis.command(&["GET", "x"]).starts_with("-LOADING"));
    let calls = server.stat("/resent");
    let loads = Instant::now();
    server.set("k", "v").unwrap();
    server.wait(|server| server.stat("/resent") > calls);
    within(Duration::from_millis(100), || {
        let (began, said) = (Instant::now(), server.get("k"));
        assert!(said.starts_with("redis: LOADING") || said.starts_with("timeout"), "{said}");
        began.elapsed()
    });
    server.submit(Some(1), |requests| requests.get(b"k")).unwrap();
    let answers = server.answered(1);
    let loaded = answers[0].1 == "'v'";
    assert!(loaded || answers[0].1.starts_with("redis: LOADING"), "{answers:?}");
    redis.command(&["CONFIG", "SET", "key-load-delay", "0"]);
    wait_until("it has loaded", || !redis.command(&["GET", "x"]).starts_with('-'));
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    assert_eq!(redis.command(&["GET", "p:k"]), "v");
    // One command is tried again every quarter of a second, and once more when loading is over.
    let attempts = (loads.elapsed().as_millis() / 250) as u64;
    assert!(server.stat("/resent") - calls <= attempts + 10, "{} of {attempts}", server.stat("/resent") - calls);
    server.assert_balanced();
    server.stop();
}

/// A command that Redis refuses for good is reported with its key and not tried again.
#[test]
fn a_command_refused_for_good_is_reported_and_not_tried_again() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    redis.command(&["LPUSH", "p:list", "x"]);
    redis.command(&["SET", "p:full", "9223372036854775807"]);
    redis.command(&["SET", "p:text", "abc"]);
    for key in ["list", "full", "text"] {
        server.incr(key, None).unwrap();
    }
    server.incr("list", Some(1)).unwrap();
    server.submit(Some(2), |requests| requests.get(b"list")).unwrap();
    let answers = server.answered(2);
    assert!(answers.iter().all(|(_, said)| said.starts_with("redis: WRONGTYPE ")), "{answers:?}");
    server.wait(|server| server.errors().len() == 3);
    let errors = server.errors().join("\n");
    for part in [
        "incr list: redis: WRONGTYPE",
        "incr full: redis: ERR",
        "overflow",
        "incr text: redis: ERR value is not an integer",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    server.incr("n", None).unwrap();
    server.set("k", "v").unwrap();
    server.wait(|server| server.errors().len() == 5);
    assert!(server.errors()[3..].iter().all(|error| error.contains("redis: OOM")), "{:?}", server.errors());
    assert_eq!(server.stat("/outbox/dropped/redis"), 7);
    assert_eq!(server.stat("/resent"), 0);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.incr("n", Some(3)).unwrap();
    assert_eq!(server.answered(3)[2], (3, "1".to_owned()));
    server.assert_balanced();
    server.stop();
}

// ---- counters ---------------------------------------------------------------------------------------------------

/// A hundred answers to INCR are lost, and the counter is exact.
#[test]
fn a_counter_is_exact_when_answers_are_lost() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut server = at(&proxy.url());
    for round in 1..=10 {
        // The first counter of a connection carries the script and is sent alone.
        server.incr("first", None).unwrap();
        server.wait(|server| server.stat("/outbox/waiting") == 0);
        proxy.set_now(Direction::ToClient, Fault::SwallowAfter(0));
        (0..10).for_each(|_| server.incr("kills", None).unwrap());
        wait_until("redis has counted", || redis.command(&["GET", "p:kills"]) == (round * 10).to_string());
        proxy.set(Direction::ToClient, Fault::None);
        proxy.cut_all();
        server.wait(|server| server.stat("/outbox/waiting") == 0);
    }
    assert_eq!(redis.command(&["GET", "p:kills"]), "100");
    assert_eq!((server.stat("/resent"), server.stat("/outbox/delivered")), (100, 110));
    server.incr("kills", Some(1)).unwrap();
    assert_eq!(server.answered(1)[0].1, "101");
    server.assert_balanced();
    server.stop();
}

/// The same with connections that are cut anywhere while many counters are in flight: none is lost or counted twice.
#[test]
fn a_counter_is_exact_when_connections_are_cut_at_random() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut server = at(&proxy.url());
    let mut random = Random::announced("counters behind cuts");
    let mut sent = 0;
    for _ in 0..40 {
        let direction = if random.below(2) == 0 { Direction::ToClient } else { Direction::ToServer };
        proxy.set(direction, Fault::CutAfter(400 + random.below(3000)));
        for _ in 0..random.below(60) {
            if server.incr("kills", None).is_ok() {
                sent += 1;
            }
        }
        let cuts = server.stat("/reconnects");
        proxy.cut_all();
        server.wait(|server| server.stat("/reconnects") > cuts || server.engine.status().0 == "connected");
    }
    [Direction::ToClient, Direction::ToServer].into_iter().for_each(|direction| proxy.set(direction, Fault::None));
    proxy.cut_all();
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    assert_eq!(redis.command(&["GET", "p:kills"]), sent.to_string());
    assert_eq!(server.stat("/outbox/delivered"), sent);
    server.assert_balanced();
    server.stop();
}

/// The promises of the script: one call does everything, the time to live starts with the first count, a number that was
/// applied is not applied again, and an error changes nothing.
#[test]
fn the_script_counts_once_and_never_without_its_time_to_live() {
    let redis = Redis::start(&[]);
    let run = |key: &str, number: u32, ttl: u32, by: &str, member: Option<&str>| {
        let (number, ttl) = (number.to_string(), ttl.to_string());
        let mut words = vec!["EVAL", SCRIPT, "2", "done", key, &number, "1000", &ttl, by];
        words.extend(member);
        redis.command(&words)
    };
    let ttl = |key: &str| redis.command(&["TTL", key]).parse::<i64>().unwrap();
    assert_eq!((run("n", 1, 50, "1", None).as_str(), ttl("n")), ("1", 50));
    redis.command(&["EXPIRE", "n", "20"]);
    assert_eq!((run("n", 2, 50, "5", None).as_str(), ttl("n")), ("6", 20), "not begun again");
    assert_eq!(
        (run("n", 2, 50, "5", None).as_str(), run("n", 1, 50, "5", None).as_str()),
        ("6", "6"),
        "applied already"
    );
    redis.command(&["SET", "old", "7"]);
    assert_eq!((run("old", 3, 50, "1", None).as_str(), ttl("old")), ("8", 50), "one that had none");
    assert_eq!((run("f", 4, 50, "0.5", None).as_str(), ttl("f")), ("0.5", 50));
    assert_eq!((run("z", 5, 50, "2", Some("Jo")).as_str(), ttl("z")), ("2", 50));
    assert_eq!(run("z", 5, 50, "2", Some("Jo")), "2", "applied already");
    assert_eq!((run("plain", 6, 0, "1", None).as_str(), ttl("plain")), ("1", -1));
    assert!(run("z", 7, 50, "1", None).starts_with("-WRONGTYPE"));
    assert_eq!((redis.command(&["GET", "done"]).as_str(), ttl("done")), ("6", 1000), "7 was not applied");
    assert_eq!(run("n", 7, 50, "1", None), "7");
    assert_eq!(run("big", 8, 0, "9007199254740993", None), "9007199254740993", "exact past 2^53");
}

/// The script is sent once for each connection, then by its hash. If Redis has forgotten it, it is sent again.
#[test]
fn the_script_is_sent_once_and_again_when_forgotten() {
    let redis = Redis::start(&[]);
    assert_eq!(redis.command(&["SCRIPT", "LOAD", SCRIPT]), SCRIPT_SHA);
    redis.command(&["SCRIPT", "FLUSH"]);
    let mut server = at(&redis.url());
    for _ in 0..10 {
        server.incr("n", None).unwrap();
    }
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    assert_eq!((calls(&redis, "eval"), calls(&redis, "evalsha")), (1, 9));
    redis.command(&["SCRIPT", "FLUSH"]);
    for n in 0..10 {
        server.incr("n", Some(n)).unwrap();
    }
    let mut answers: Vec<u32> = server.answered(10).iter().map(|(_, value)| value.parse().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (11..=20).collect::<Vec<_>>());
    assert_eq!(redis.command(&["GET", "p:n"]), "20");
    server.assert_balanced();
    server.stop();
}

/// A counter that a busy Redis refused does not count as applied.
#[test]
fn a_busy_redis_loses_no_counter() {
    let redis = Redis::start(&["--busy-reply-threshold", "50"]);
    let mut server = at(&redis.url());
    for n in 0..5 {
        let _busy = redis.begin(&["EVAL", "while true do end", "0"]);
        wait_until("it is busy", || redis.command(&["GET", "x"]).starts_with("-BUSY"));
        let resent = server.stat("/resent");
        for _ in 0..20 {
            server.incr("n", None).unwrap();
        }
        server.wait(|server| server.stat("/resent") > resent);
        let said = server.get("n");
        assert!(said.starts_with("redis: BUSY") || said.starts_with("timeout"), "{said}");
        redis.command(&["SCRIPT", "KILL"]);
        server.wait(|server| server.stat("/outbox/waiting") == 0);
        assert_eq!(redis.command(&["GET", "p:n"]), ((n + 1) * 20).to_string());
    }
    server.assert_balanced();
    server.stop();
}

/// If an ACL forbids scripts, counters use plain commands, which are never sent again; doubtful ones are counted and
/// reported.
#[test]
fn without_scripts_a_counter_with_a_lost_answer_is_reported_as_unknown() {
    let redis = Redis::start(&["--user", "gmod", "on", ">pw", "~*", "&*", "+@all", "-eval", "-evalsha"]);
    let proxy = Proxy::start(redis.address());
    let mut server = at(&proxy.url().replace("redis://", "redis://gmod:pw@"));
    for _ in 0..10 {
        server.incr("n", None).unwrap();
    }
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    assert_eq!(redis.command(&["GET", "p:n"]), "10");
    proxy.set_now(Direction::ToClient, Fault::SwallowAfter(0));
    server.incr("n", None).unwrap();
    server.incr("n", Some(1)).unwrap();
    wait_until("redis has counted", || redis.command(&["GET", "p:n"]) == "12");
    proxy.set(Direction::ToClient, Fault::None);
    proxy.cut_all();
    let told = "disconnected: the connection ended before the answer, redis may have done it or not";
    assert_eq!(server.answered(1), [(1, told.to_owned())]);
    server.wait(|server| server.stat("/outbox/dropped/unknown") == 2);
    server.wait(|server| server.errors().contains(&format!("incr n: {told}")));
    server.wait_ready();
    server.incr("n", Some(2)).unwrap();
    assert_eq!(server.answered(2)[1].1, "13");
    server.assert_balanced();
    server.stop();
}

/// A command that is not safe to repeat is not repeated, and its callback gets an error.
#[test]
fn a_command_is_never_sent_again() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut server = at(&proxy.url());
    proxy.set_now(Direction::ToClient, Fault::SwallowAfter(0));
    let words = ["RPUSH", "list", "x"].map(|word| word.as_bytes().to_vec());
    server.submit(Some(1), |requests| requests.command(&words)).unwrap();
    server.submit(Some(2), |requests| requests.set(b"k", b"v")).unwrap();
    server.submit(Some(3), |requests| requests.get(b"k")).unwrap();
    wait_until("redis has done it", || redis.command(&["LLEN", "list"]) == "1");
    proxy.set(Direction::ToClient, Fault::None);
    proxy.cut_all();
    let answers = server.answered(3);
    assert!(answers[0].1.starts_with("disconnected: ") && answers[0].1.ends_with("done it or not"), "{answers:?}");
    assert_eq!(answers[1..], [(2, "true".to_owned()), (3, "'v'".to_owned())]);
    assert_eq!(redis.command(&["LLEN", "list"]), "1");
    assert_eq!((server.stat("/resent"), server.stat("/outbox/dropped/unknown")), (2, 1));
    server.assert_balanced();
    server.stop();
}

// ---- leaderboards -----------------------------------------------------------------------------------------------

/// A leaderboard of a hundred thousand matching keys among a million.
#[test]
fn a_huge_leaderboard_answers_its_callback_and_delays_no_other_command() {
    let redis = Redis::start(&[]);
    let fill = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', ARGV[2] .. i .. ARGV[3], i) end";
    redis.command(&["EVAL", fill, "0", "100000", "p:kills:", ":daily"]);
    for part in 0..9 {
        redis.command(&["EVAL", fill, "0", "100000", &format!("other:{part}:"), ""]);
    }
    redis.command(&["SET", "p:kills:none:daily", "no number"]);
    redis.command(&["LPUSH", "p:kills:list:daily", "x"]);
    let mut server = with_sync_timeout(&redis.url(), 50);
    within(Duration::from_millis(100), || {
        // The late answer of the last read has come, and its second is over.
        wait_until("it reads", || server.get("none") == "nil");
        comes_true(Duration::from_millis(1100), || false);
        let began = Instant::now();
        let said = server.read(|requests| requests.leaderboard(b"kills:*:daily", 3.0));
        let took = began.elapsed();
        assert!(said.starts_with("timeout: ") && said.ends_with("use a callback, or a leaderboard hook"), "{said}");
        took
    });
    server.submit(Some(1), |requests| requests.leaderboard(b"kills:*:daily", 3.0)).unwrap();
    // Other commands are sent between the steps of the search.
    server.submit(Some(2), |requests| requests.set(b"k", b"v")).unwrap();
    let began = Instant::now();
    let answers = server.answered(2);
    println!("board of 100,000 among 1,000,000 keys: {:?}", began.elapsed());
    assert_eq!(answers[0], (2, "true".to_owned()));
    assert_eq!(
        answers[1].1,
        "{100000=100000,99999=99999,99998=99998} {{rank=1,name='100000',score=100000},\
         {rank=2,name='99999',score=99999},{rank=3,name='99998',score=99998}}"
    );
    server.assert_balanced();
    server.stop();
}

#[test]
fn a_small_leaderboard_is_read_without_a_callback() {
    let redis = Redis::start(&[]);
    for (name, kills) in [("John", "50"), ("Al*ce", "45"), ("Bob", "7")] {
        redis.command(&["SET", &format!("p:kills:{name}:daily"), kills]);
    }
    redis.command(&["SET", "p:kills:John:weekly", "99"]);
    let mut server = at(&redis.url());
    let expected = "{John=50,Al*ce=45} {{rank=1,name='John',score=50},{rank=2,name='Al*ce',score=45}}";
    assert_eq!(server.read(|requests| requests.leaderboard(b"kills:*:daily", 2.0)), expected);
    server.assert_balanced();
    server.stop();
}

// ---- settings ---------------------------------------------------------------------------------------------------

/// Redis, prefix and name change while events flow: the old connection answers first, and nothing is lost or repeated.
#[test]
fn settings_may_change_while_events_flow() {
    let [first, second] = [Redis::start(&[]), Redis::start(&[])];
    let mut server = Server::with(json!({ "redis": first.url(), "server": "one" }));
    server.on("a", 1);
    server.wait_ready();
    for n in 0..100 {
        server.emit("a", &format!("{{\"n\":{n}}}")).unwrap();
        server.incr("n", None).unwrap();
    }
    let other = json!({ "redis": second.url(), "server": "two", "prefix": "q:" });
    server.engine.configure(&other.to_string()).unwrap();
    server.incr("n", None).unwrap();
    server.wait(|server| !second.clients("pubsub").is_empty() && server.engine.status().0 == "connected");
    assert!(second.clients("pubsub")[0].contains("realtime-two-subscriber"), "{:?}", second.clients("pubsub"));
    first.wait_clients("normal", 0);
    first.wait_clients("pubsub", 0);
    server.settle();
    let counted = |redis: &Redis, key: &str| redis.command(&["GET", key]).parse().unwrap_or(0);
    assert_eq!((counted(&first, "n") + counted(&second, "n"), counted(&second, "q:n")), (100, 1));
    let heard = server.heard.len();
    server.emit("a", "{\"n\":1000}").unwrap();
    server.wait(|server| server.heard.last().is_some_and(|last| last == "1 a 1000"));
    assert_eq!(server.heard.len(), heard + 1);
    assert_eq!(server.stat("/inbox/dropped/repeat"), 0);
    // Back under the old prefix the numbers continue.
    server.engine.configure("{\"prefix\":\"\"}").unwrap();
    server.wait_ready();
    server.emit("a", "{\"n\":2000}").unwrap();
    server.wait(|server| server.heard.last().is_some_and(|last| last == "1 a 2000"));
    // Options that need no new connection keep the old one.
    let connects = server.stat("/reconnects");
    server.engine.configure("{\"tick_budget_us\":1000,\"emit_age_max_s\":5,\"identity\":false}").unwrap();
    server.emit("a", "{\"n\":3000}").unwrap();
    server.wait(|server| server.heard.last().is_some_and(|last| last == "1 a 3000"));
    assert_eq!(server.stat("/reconnects"), connects);
    server.assert_balanced();
    server.stop();
}

/// After a refused login another password is tried at once.
#[test]
fn a_new_password_is_tried_at_once() {
    let redis = Redis::start(&["--requirepass", "right"]);
    let with = |password: &str| redis.url().replace("redis://", &format!("redis://:{password}@"));
    let mut server = Server::with(json!({ "redis": with("wrong") }));
    server.wait(|server| server.engine.status().0 == "auth_failed");
    server.engine.configure(&json!({ "redis": with("right") }).to_string()).unwrap();
    let began = Instant::now();
    server.wait_ready();
    // The same password would be tried again after half a minute.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    server.stop();
}

#[test]
fn wrong_settings_change_nothing() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    for (text, expected) in [
        (
            "{\"tick_budget_us\":5,\"server\":\"x\"}",
            "config: cannot use option `tick_budget_us` of Configure: expected",
        ),
        (
            "{\"serber\":\"x\"}",
            "config: cannot use option `serber` of Configure: unknown option, did you mean `server`?",
        ),
        ("{\"redis\":\"redis://:hunter2@:1\"}", "config: cannot use option `redis` of Configure: expected redis://"),
    ] {
        let said = server.engine.configure(text).unwrap_err().to_string();
        assert!(said.starts_with(expected) && !said.contains("hunter2"), "{said}");
    }
    assert!(!comes_true(Duration::from_millis(50), || server.engine.status().0 != "connected"));
    assert_eq!(server.get("k"), "nil");
    server.stop();
}

// ---- bounds -----------------------------------------------------------------------------------------------------

/// As many callbacks may wait as the outbox has places; one more is refused, and its command is not sent.
#[test]
fn callbacks_are_bounded() {
    let mut redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    let taken = (0..OUTBOX_JOBS_MAX + 10).filter(|_| server.incr("n", Some(1)).is_ok()).count();
    assert_eq!((taken, server.stat("/callbacks")), (OUTBOX_JOBS_MAX, OUTBOX_JOBS_MAX as u64));
    assert!(server.incr("n", Some(1)).unwrap_err().to_string().starts_with("queue_full: 8192 "));
    redis.start_again();
    server.wait(|server| server.answers.len() == OUTBOX_JOBS_MAX);
    assert_eq!(redis.command(&["GET", "p:n"]), OUTBOX_JOBS_MAX.to_string());
    assert_eq!(server.stat("/callbacks"), 0);
    server.assert_balanced();
    server.stop();
}

/// The Lua state that asked is closed: its command still runs, and the answer is counted as one without a callback.
#[test]
fn a_map_change_forgets_callbacks_and_keeps_commands() {
    let mut redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    for _ in 0..10 {
        server.incr("n", Some(1)).unwrap();
    }
    let (callbacks, _) = server.engine.detach();
    assert_eq!(callbacks.len(), 10);
    server.engine.attach();
    redis.start_again();
    server.wait(|server| server.stat("/replies/dropped/no_state") == 10);
    assert_eq!((redis.command(&["GET", "p:n"]), server.answers.len()), ("10".to_owned(), 0));
    server.assert_balanced();
    server.stop();
}
