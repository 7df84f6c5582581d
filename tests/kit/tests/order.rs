//! The order of commands on a key, and that no command runs twice: with lost answers, a busy or loading Redis, a script that
//! Redis does not know or forbids, and settings that name another Redis. Each row of a table here was a defect once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault_kit::{Direction, Fault, Proxy, Redis, Scripted, Server, wait_until, within};
use serde_json::json;

fn at(url: &str) -> Server {
    let mut server = Server::with(json!({ "redis": url, "prefix": "p:", "sync_timeout_ms": 1000 }));
    server.wait_ready();
    server
}

fn settle(server: &mut Server) {
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    server.assert_balanced();
}

/// A server behind a proxy. Redis already knows the script of counters.
fn behind_a_proxy(redis: &Redis) -> (Proxy, Server) {
    let proxy = Proxy::start(redis.address());
    let mut server = at(&proxy.url());
    server.incr("first", None).unwrap();
    settle(&mut server);
    (proxy, server)
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split('|').map(|word| word.as_bytes().to_vec()).collect()
}

/// From now on the proxy swallows all answers.
fn lose_answers(proxy: &Proxy) {
    proxy.set_now(Direction::ToClient, Fault::SwallowAfter(0));
}

fn reconnect(proxy: &Proxy) {
    proxy.set(Direction::ToClient, Fault::None);
    proxy.cut_all();
}

// ---- lost answers -----------------------------------------------------------------------------------------------

/// A write is not sent again if a counter or a `Command` followed it: the repeat would undo those.
#[test]
fn a_write_is_not_sent_again_if_the_repeat_would_undo_a_later_one() {
    for behind in ["incr", "command"] {
        let redis = Redis::start(&[]);
        let (proxy, mut server) = behind_a_proxy(&redis);
        lose_answers(&proxy);
        server.set("k", "100").unwrap();
        let expected = match behind {
            "incr" => {
                (0..5).for_each(|_| server.incr("k", None).unwrap());
                "105"
            }
            _ => {
                server.submit(None, |requests| requests.command(&words("SET|p:k|new"))).unwrap();
                "new"
            }
        };
        wait_until("redis has done it", || redis.command(&["GET", "p:k"]) == expected);
        reconnect(&proxy);
        settle(&mut server);
        assert_eq!(redis.command(&["GET", "p:k"]), expected, "{behind}");
        server.wait(|server| server.errors().iter().any(|error| error.starts_with("set k: disconnected")));
        server.stop();
    }
}

/// A Redis that takes half a minute to load its data, and answers meanwhile. The test ends the loading.
fn slow_to_load() -> Redis {
    let redis = Redis::start(&["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"]);
    let fill = "for i = 1, 12000 do redis.call('SET', 'fill' .. i, 'x' .. i .. string.rep('xyz' .. i, 200)) end";
    redis.command(&["EVAL", fill, "0"]);
    redis
}

fn load(redis: &Redis) -> std::net::TcpStream {
    redis.command(&["CONFIG", "SET", "key-load-delay", "2500"]);
    let reload = redis.begin(&["DEBUG", "RELOAD"]);
    wait_until("it loads", || redis.command(&["GET", "x"]).starts_with("-LOADING"));
    reload
}

/// Answers are lost, and Redis is loading when the commands are sent again: the refusal says nothing about the first
/// attempt.
#[test]
fn a_refusal_while_loading_does_not_decide_a_lost_answer() {
    let redis = slow_to_load();
    let (proxy, mut server) = behind_a_proxy(&redis);
    lose_answers(&proxy);
    (0..10).for_each(|_| server.incr("n", None).unwrap());
    wait_until("redis has counted", || redis.command(&["GET", "p:n"]) == "10");
    let _reload = load(&redis);
    reconnect(&proxy);
    let resent = server.stat("/resent");
    server.wait(|server| server.stat("/resent") > resent + 10);
    redis.command(&["CONFIG", "SET", "key-load-delay", "0"]);
    settle(&mut server);
    assert_eq!(redis.command(&["GET", "p:n"]), "10");
    server.stop();
}

/// More than one batch never arrives, then Redis is loading: no counter counts as done because of another one's number.
#[test]
fn counters_that_never_arrived_do_not_count_as_done() {
    let redis = slow_to_load();
    let (proxy, mut server) = behind_a_proxy(&redis);
    let key = "k".repeat(1000);
    proxy.set_now(Direction::ToServer, Fault::SwallowAfter(0));
    (0..110).for_each(|_| server.incr(&key, None).unwrap());
    server.wait(|server| server.engine.shared().outbox.waiting() == 110);
    let _reload = load(&redis);
    proxy.set(Direction::ToServer, Fault::None);
    proxy.cut_all();
    let resent = server.stat("/resent");
    server.wait(|server| server.stat("/resent") > resent);
    redis.command(&["CONFIG", "SET", "key-load-delay", "0"]);
    settle(&mut server);
    assert_eq!(redis.command(&["GET", &format!("p:{key}")]), "110");
    server.stop();
}

/// An 8 MiB value over a slow link, where sending takes longer than one write timeout.
#[test]
fn a_big_value_may_take_longer_than_a_write_timeout() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut server = at(&proxy.url());
    proxy.set_now(Direction::ToServer, Fault::Delay(Duration::from_millis(15)));
    server.submit(Some(1), |requests| requests.set(b"big", &vec![b'x'; 8 * 1024 * 1024])).unwrap();
    assert_eq!(server.answered(1)[0].1, "true");
    assert_eq!(server.stat("/resent"), 0);
    server.stop();
}

// ---- a busy Redis -------------------------------------------------------------------------------------------------

#[test]
fn a_busy_redis_keeps_the_order_of_set_and_incr() {
    let redis = Redis::start(&["--busy-reply-threshold", "50"]);
    let mut server = at(&redis.url());
    let _busy = redis.begin(&["EVAL", "while true do end", "0"]);
    wait_until("it is busy", || redis.command(&["GET", "x"]).starts_with("-BUSY"));
    server.set("n", "100").unwrap();
    server.incr("n", Some(1)).unwrap();
    server.wait(|server| server.stat("/resent") > 0);
    // The callback of a read is called in any case.
    server.submit(Some(2), |requests| requests.get(b"k")).unwrap();
    server.wait(|server| server.answers.iter().any(|(callback, _)| *callback == 2));
    assert!(server.answers[0].1.starts_with("redis: BUSY"), "{:?}", server.answers);
    redis.command(&["SCRIPT", "KILL"]);
    settle(&mut server);
    assert_eq!((redis.command(&["GET", "p:n"]).as_str(), server.answered(2)[1].1.as_str()), ("101", "101"));
    server.stop();
}

/// Answers BUSY to the first SET and runs the commands after it, like a Redis whose script ends in between.
fn busy_for_the_first_set() -> (Scripted, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (seen, sets) = (Arc::clone(&log), AtomicUsize::new(0));
    let scripted = Scripted::start(move |client| {
        while let Some(command) = client.question() {
            let first = command[0] == "SET" && sets.fetch_add(1, Ordering::SeqCst) == 0;
            if first {
                let behind = client.command().unwrap();
                seen.lock().unwrap().push(behind[0].clone());
                let answer: &[u8] = if behind[0] == "GET" { b"$3\r\nold\r\n" } else { b":1\r\n" };
                client.send(&[b"-BUSY Redis is busy running a script.\r\n", answer].concat());
                continue;
            }
            if command[0] != "ROLE" {
                seen.lock().unwrap().push(command[0].clone());
            }
            client.send(b"+OK\r\n");
        }
    });
    (scripted, log)
}

/// A write that was refused for the moment is not sent after a later command on one of its keys.
#[test]
fn a_refused_write_is_not_sent_after_a_later_one_but_reported() {
    for behind in ["del", "command"] {
        let (scripted, log) = busy_for_the_first_set();
        let mut server = Server::with(json!({ "redis": scripted.url() }));
        server.wait_ready();
        server.set("b", "new").unwrap();
        match behind {
            "del" => server.submit(None, |requests| requests.del(&[b"a", b"b"])).unwrap(),
            _ => server.submit(None, |requests| requests.command(&words("DEL|b"))).unwrap(),
        }
        settle(&mut server);
        assert_eq!(*log.lock().unwrap(), ["DEL"], "{behind}");
        server.wait(|server| server.errors().iter().any(|error| error.starts_with("set b: redis: it was busy")));
        server.stop();
    }
}

#[test]
fn a_read_does_not_see_the_value_before_a_refused_write() {
    let (scripted, log) = busy_for_the_first_set();
    let mut server = Server::with(json!({ "redis": scripted.url() }));
    server.wait_ready();
    server.set("k", "new").unwrap();
    server.submit(Some(1), |requests| requests.get(b"k")).unwrap();
    assert_eq!(server.answered(1)[0].1, "'OK'");
    assert_eq!(*log.lock().unwrap(), ["GET", "SET", "GET"]);
    server.stop();
}

/// A user's script may return any error word: it runs once, its callback gets the answer, and nothing else waits.
#[test]
fn a_command_runs_once_whatever_error_it_returns() {
    for word in ["BUSY", "LOADING", "DENIED", "READONLY", "NOSCRIPT"] {
        let redis = Redis::start(&[]);
        let mut server = at(&redis.url());
        let script = format!("EVAL|redis.call('INCR', 'side') return redis.error_reply('{word} says the script')|0");
        server.submit(Some(1), |requests| requests.command(&words(&script))).unwrap();
        server.submit(Some(2), |requests| requests.set(b"k", b"v")).unwrap();
        let answers = server.answered(2);
        assert!(answers[0].1.starts_with(&format!("redis: {word} says the script")), "{answers:?}");
        assert_eq!((redis.command(&["GET", "side"]).as_str(), answers[1].1.as_str()), ("1", "true"));
        assert_eq!(server.engine.status().0, "connected");
        server.stop();
    }
}

// ---- the script ---------------------------------------------------------------------------------------------------

const NO_SCRIPTS: [&str; 8] = ["--user", "gmod", "on", ">pw", "~*", "&*", "+@all", "-eval"];

/// No command overtakes a counter whose script Redis forbids or has forgotten.
#[test]
fn no_command_overtakes_a_counter() {
    let settings: Vec<&str> = NO_SCRIPTS.iter().copied().chain(["-evalsha"]).collect();
    let mut redis = Redis::start(&settings);
    let mut server = at(&redis.url().replace("redis://", "redis://gmod:pw@"));
    redis.stop();
    server.incr("n", None).unwrap();
    server.set("n", "50").unwrap();
    server.submit(Some(1), |requests| requests.incr(b"n", 1.0)).unwrap();
    redis.resume();
    assert_eq!(server.answered(1)[0].1, "51");
    assert_eq!(server.get("n"), "'51'");
    settle(&mut server);
    server.stop();
    redis.kill();

    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    server.incr("n", None).unwrap();
    settle(&mut server);
    for n in 2..10 {
        redis.command(&["SCRIPT", "FLUSH"]);
        server.incr("n", None).unwrap();
        assert_eq!(server.get("n"), format!("'{n}'"));
    }
    settle(&mut server);
    server.stop();
}

// ---- other settings -------------------------------------------------------------------------------------------------

/// `Configure` right after `require`, while the first connection is being made: the new connection is made at once.
#[test]
fn configure_while_connecting_connects_to_the_new_redis_at_once() {
    let redis = Redis::start(&[]);
    let open = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&open);
    // A Redis with a slow handshake.
    let slow = Scripted::start(move |client| {
        while !seen.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        client.behave();
    });
    let mut server = Server::with(json!({ "redis": slow.url() }));
    wait_until("both connect", || slow.connections() == 2);
    server.engine.configure(&json!({ "redis": redis.url() }).to_string()).unwrap();
    open.store(true, Ordering::SeqCst);
    server.submit(Some(1), |requests| requests.set(b"k", b"v")).unwrap();
    assert_eq!(server.answered(1)[0].1, "true");
    assert_eq!(redis.command(&["GET", "k"]), "v");
    server.stop();
    for _ in 0..20 {
        within(Duration::from_secs(3), || {
            let mut server = Server::with(json!({ "redis": redis.url() }));
            server.engine.configure("{\"server\":\"eu-1\"}").unwrap();
            server.submit(Some(1), |requests| requests.set(b"k", b"v")).unwrap();
            let began = Instant::now();
            server.answered(1);
            let took = began.elapsed();
            server.stop();
            took
        });
    }
}

/// A doubtful command is not sent to another Redis, and a command that waited under another prefix is not sent either.
#[test]
fn another_redis_gets_no_command_meant_for_the_first() {
    let [first, second] = [Redis::start(&[]), Redis::start(&[])];
    let (proxy, mut server) = behind_a_proxy(&first);
    lose_answers(&proxy);
    (0..10).for_each(|_| server.incr("n", None).unwrap());
    server.set("k", "v").unwrap();
    wait_until("redis has done it", || first.command(&["GET", "p:k"]) == "v");
    server.engine.configure(&json!({ "redis": second.url(), "prefix": "q:" }).to_string()).unwrap();
    server.incr("n", Some(1)).unwrap();
    assert_eq!(server.answered(1)[0].1, "1");
    settle(&mut server);
    assert_eq!(second.command(&["KEYS", "p:*"]), "");
    assert_eq!((first.command(&["GET", "p:n"]).as_str(), second.command(&["GET", "q:n"]).as_str()), ("10", "1"));
    assert_eq!(server.stat("/outbox/dropped/unknown"), 11);
    server.stop();
}

/// Answers and events take turns: callbacks that ask again and again do not delay events.
#[test]
fn answers_and_events_take_turns() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url());
    server.on("a", 1);
    server.wait_ready();
    // The notice about the connection is already taken.
    server.wait_told_connected();
    for n in 0..20 {
        server.emit("a", &format!("{{\"n\":{n}}}")).unwrap();
    }
    (0..200).for_each(|_| server.submit(Some(2), |requests| requests.get(b"k")).unwrap());
    let shared = Arc::clone(server.engine.shared());
    wait_until("all events and answers wait", || shared.inbox.waiting() == 20 && shared.replies.waiting() == 200);
    // One tick, with the number of calls as its budget: every second call is an event.
    let now = Instant::now();
    server.engine.begin_tick(now);
    let mut kinds = Vec::new();
    while kinds.len() < 20 {
        let call = server.engine.next_call(now).expect("much waits");
        kinds.push(matches!(call, realtime::facade::engine::Call::Deliver(_)));
        server.engine.complete(call, realtime::facade::engine::Outcome::Done);
    }
    assert_eq!(kinds.iter().filter(|is_event| **is_event).count(), 10, "{kinds:?}");
    server.wait(|server| server.answers.len() >= 180);
    server.stop();
}
