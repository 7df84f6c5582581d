//! Events that Redis keeps (`Keep`, `History`): on a Redis that runs scripts, refuses them, has no streams, forgets or is
//! killed, and on the embedded server. Listeners hear every event in each case.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fault_kit::{Direction, Fault, Proxy, Redis, Scripted, Server, answer_with, wait_for};
use realtime::facade::redis::kept::{SCRIPT, SCRIPT_SHA};
use serde_json::json;

/// A server that listens to `chat` and has it kept.
fn with(url: &str) -> Server {
    let mut server = Server::with(json!({ "redis": url, "prefix": "p:" }));
    server.on("chat", 7);
    server.tick();
    server.wait_ready();
    keep(&mut server, "chat", "[]");
    server
}

fn keep(server: &mut Server, channel: &str, options: &str) {
    server.engine.keep(channel.as_bytes(), Some(&serde_json::from_str(options).unwrap())).unwrap();
}

/// Emits the events of these numbers on `chat`, and hears them in order.
fn say(server: &mut Server, numbers: std::ops::Range<u32>) {
    let before = server.heard.len();
    numbers.clone().for_each(|n| server.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap());
    server.hear(before + numbers.len());
    // An event may be heard before its sender has the answer.
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    let expected: Vec<String> = numbers.map(|n| format!("7 chat {n}")).collect();
    assert_eq!(server.heard[before..], expected);
}

/// The numbers of the kept events, oldest first.
fn kept(server: &mut Server, count: f64) -> Vec<u32> {
    let answer = server.history("chat", count);
    assert!(answer.starts_with('{'), "{answer}");
    answer.split("data={n=").skip(1).map(|rest| rest.split('}').next().unwrap().parse().unwrap()).collect()
}

fn calls(redis: &Redis, command: &str) -> u32 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let line =
        stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls="))?.split(',').next());
    line.map_or(0, |calls| calls.parse().unwrap())
}

/// How many lines of `realtime_status`, and how many reported errors, contain this text.
fn said(server: &mut Server, part: &str) -> (usize, usize) {
    server.tick();
    let count = |lines: &[String]| lines.iter().filter(|line| line.contains(part)).count();
    (count(&server.engine.report()), count(&server.errors()))
}

fn end(server: Server) {
    server.assert_balanced();
    server.stop();
}

/// The settings may get another prefix while the connection stays.
#[test]
fn events_are_kept_under_the_prefix_that_they_were_emitted_with() {
    let redis = Redis::start(&[]);
    let mut server = with(&redis.url());
    say(&mut server, 0..2);
    server.engine.configure(&json!({ "prefix": "q:" }).to_string()).unwrap();
    say(&mut server, 2..5);
    assert_eq!(kept(&mut server, 10.0), [2, 3, 4]);
    assert_eq!(["p:rt:kept:chat", "q:rt:kept:chat"].map(|key| redis.command(&["XLEN", key])), ["2", "3"]);
    assert_eq!((server.stat("/kept"), server.stat("/reconnects")), (5, 0));
    end(server);
}

#[test]
fn kept_events_are_heard_and_read_in_order_within_their_bounds() {
    let redis = Redis::start(&[]);
    assert_eq!(redis.command(&["SCRIPT", "LOAD", SCRIPT]), SCRIPT_SHA);
    redis.command(&["SCRIPT", "FLUSH"]);
    let mut server = with(&redis.url());
    keep(&mut server, "round:*", r#"{"max_events":1,"max_age":60}"#);
    assert_eq!(server.history("chat", 5.0), "{}");
    say(&mut server, 0..20);
    assert_eq!(kept(&mut server, 5.0), [15, 16, 17, 18, 19]);
    assert_eq!(kept(&mut server, 1000.0), (0..20).collect::<Vec<_>>());
    // One event brings the script.
    assert_eq!((calls(&redis, "eval"), calls(&redis, "evalsha")), (1, 19));
    // Redis forgets the script.
    redis.command(&["SCRIPT", "FLUSH"]);
    say(&mut server, 20..40);
    assert_eq!(kept(&mut server, 1000.0), (0..40).collect::<Vec<_>>());
    let one = server.history("chat", 1.0);
    assert!(one.starts_with("{{data={n=39},channel='chat',time=1") && one.contains(",id='1") && !one.contains("_rt"));
    let seconds: i64 = redis.command(&["TTL", "p:rt:kept:chat"]).parse().unwrap();
    assert!((86_000..=86_400).contains(&seconds), "{seconds}");
    // The bound is about `max_events`: Redis drops whole nodes of 100 entries.
    for n in 0..500 {
        server.emit("round:1", &n.to_string()).unwrap();
    }
    server.emit("other", "1").unwrap();
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    let length: u32 = redis.command(&["XLEN", "p:rt:kept:round:1"]).parse().unwrap();
    assert!((1..=200).contains(&length), "{length}");
    let seconds: i64 = redis.command(&["TTL", "p:rt:kept:round:1"]).parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert!(
        server.history("round:1", 2.0).contains("data=498,") && server.history("round:1", 2.0).contains("data=499,")
    );
    assert_eq!(server.history("other", 5.0), "{}");
    assert_eq!((server.stat("/kept"), server.stat("/not_kept")), (540, 0));
    // The end of it.
    server.engine.keep(b"chat", None).unwrap();
    say(&mut server, 40..42);
    assert_eq!(kept(&mut server, 1000.0), (0..40).collect::<Vec<_>>());
    // Its memory is gone; what comes next is kept again.
    redis.command(&["FLUSHALL"]);
    assert_eq!(server.history("chat", 5.0), "{}");
    keep(&mut server, "chat", "[]");
    say(&mut server, 42..44);
    assert_eq!(kept(&mut server, 1000.0), [42, 43]);
    end(server);
}

/// Payloads that are no objects, no JSON or huge stand in the history as a listener would get them. Entries of others do
/// not disturb.
#[test]
fn history_shows_any_payload_and_leaves_out_repeats_and_foreign_entries() {
    let redis = Redis::start(&[]);
    let mut server = with(&redis.url());
    for payload in [r#"{"a":{"b":[1,null]}}"#, "[]", r#""text""#, "5", "no json", r#"{"_rt":"x"}"#] {
        server.emit("chat", payload).unwrap();
    }
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    let list = redis.command(&["XRANGE", "p:rt:kept:chat", "-", "+", "COUNT", "1"]);
    let first = list.lines().find(|word| word.contains("_rt")).unwrap_or(&list).to_owned();
    // The first one again, as after a lost answer; and another program's entries.
    redis.command(&["XADD", "p:rt:kept:chat", "*", "channel", "chat", "event", &first]);
    redis.command(&["XADD", "p:rt:kept:chat", "*", "some", "thing"]);
    redis.command(&["XADD", "p:rt:kept:chat", "*", "event", "{}"]);
    let all = server.history("chat", 1000.0);
    let data: Vec<&str> = all.split("data=").skip(1).map(|rest| rest.split(",channel=").next().unwrap()).collect();
    assert_eq!(data, ["{a={b={1,nil}}}", "{}", "'text'", "5", "'no json'", "{}"], "{all}");
    assert!(server.read(|requests| requests.history(b"chat", 1.0)).starts_with("{"), "a reader without a callback");
    redis.command(&["SET", "p:rt:kept:x", "no stream"]);
    assert!(server.history("x", 1.0).starts_with("redis: WRONGTYPE"));
    end(server);
}

/// Without scripts plain commands do the same.
#[test]
fn without_scripts_events_are_kept_by_plain_commands() {
    let acl = ["--user", "gmod", "on", ">pw", "~*", "&*", "+@all"];
    let rows: [(&[&str], &str); 3] = [
        (&["-eval", "-evalsha"], "gmod:pw@"),
        (&["-evalsha"], "gmod:pw@"),
        (&["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""], ""),
    ];
    for (settings, login) in rows {
        let settings: Vec<&str> = if login.is_empty() { settings.to_vec() } else { [&acl, settings].concat() };
        let redis = Redis::start(&settings);
        let mut server = with(&redis.url().replace("redis://", &format!("redis://{login}")));
        say(&mut server, 0..50);
        assert_eq!(kept(&mut server, 1000.0), (0..50).collect::<Vec<_>>(), "{settings:?}");
        assert!(redis.command(&["TTL", "p:rt:kept:chat"]).parse::<i64>().unwrap() > 0);
        assert_eq!((server.stat("/kept"), server.stat("/not_kept"), server.errors()), (50, 0, vec![]), "{settings:?}");
        end(server);
    }
}

/// An event that cannot be kept is heard nevertheless, and every failure is counted. A server without streams is
/// reported once.
#[test]
fn events_that_cannot_be_kept_are_heard_and_reported() {
    const NO_STREAMS: &str = "redis has no streams";
    let no_scripts = ["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""];
    let no_streams = ["--rename-command", "XADD", ""];
    let no_right = ["--user", "keydb", "on", ">pw", "~*", "&*", "+@all", "-xadd"];
    for settings in
        [&no_streams[..], &no_right].map(|settings| [settings.to_vec(), [&no_scripts, settings].concat()]).concat()
    {
        let redis = Redis::start(&settings);
        let login = if settings.contains(&"-xadd") { "redis://keydb:pw@" } else { "redis://" };
        let mut server = with(&redis.url().replace("redis://", login));
        say(&mut server, 0..20);
        assert_eq!((server.stat("/kept"), server.stat("/not_kept")), (0, 20), "{settings:?}");
        assert_eq!(said(&mut server, NO_STREAMS), (1, 1), "{:?}", server.errors());
        end(server);
    }
    for wording in ["ERR unsupported command 'XADD'", "ERR Command is not available: 'XADD'"] {
        let redis = Redis::start(&[]);
        let address = redis.address();
        let relay = Scripted::start(move |client| {
            client.relay(address, |command| match command[0].as_str() {
                "EVAL" | "EVALSHA" | "XADD" => answer_with(wording),
                _ => command,
            });
        });
        let mut server = with(&relay.url());
        say(&mut server, 0..20);
        assert_eq!((server.stat("/kept"), server.stat("/not_kept")), (0, 20), "{wording}");
        assert_eq!(said(&mut server, NO_STREAMS), (1, 1), "{:?}", server.errors());
        end(server);
    }
    for settings in [vec![], no_scripts.to_vec()] {
        let redis = Redis::start(&settings);
        redis.command(&["SET", "p:rt:kept:chat", "no stream"]);
        let mut server = with(&redis.url());
        say(&mut server, 0..20);
        assert_eq!((server.stat("/kept"), server.stat("/not_kept")), (0, 20), "{settings:?}");
        let (_, told) = said(&mut server, "keep chat: redis: WRONGTYPE");
        assert_eq!((told, said(&mut server, NO_STREAMS)), (1, (0, 0)), "{:?}", server.errors());
        end(server);
    }
}

/// Redis keeps an event and refuses the rest of the script: the event stands in the stream once, and that is reported.
#[test]
fn an_event_that_is_kept_in_part_is_kept_once() {
    for (command, told) in [("PEXPIRE", "expire rt:kept:chat: redis: "), ("PUBLISH", "publish chat: ")] {
        let redis = Redis::start(&["--rename-command", command, ""]);
        let mut server = with(&redis.url());
        for n in 1..=20 {
            // Such an event has no number by which readers would drop its repeats.
            server.emit("chat", &n.to_string()).unwrap();
            server.wait(|server| server.stat("/outbox/waiting") == 0);
        }
        assert_eq!(redis.command(&["XLEN", "p:rt:kept:chat"]), "20", "{command}");
        assert_eq!((server.stat("/kept"), server.stat("/not_kept")), (20, 0), "{command}");
        assert!(said(&mut server, told).1 > 0, "{command}: {:?}", server.errors());
        if command == "PEXPIRE" {
            server.hear(20);
        }
        end(server);
    }
}

/// A server may publish in no script: each event is published by a command of its own, and kept once.
#[test]
fn a_server_that_publishes_in_no_script_gets_the_command() {
    let redis = Redis::start(&[]);
    let address = redis.address();
    let relay = Scripted::start(move |client| {
        client.relay(address, |mut command| {
            if let Some(script) = command.get_mut(1).filter(|script| script.contains("'PUBLISH'")) {
                *script = script.replace("'PUBLISH'", "'NO_SUCH_COMMAND'");
            }
            command
        });
    });
    let mut server = with(&relay.url());
    for n in 1..=20 {
        server.emit("chat", &n.to_string()).unwrap();
    }
    server.hear(20);
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    assert_eq!(redis.command(&["XLEN", "p:rt:kept:chat"]), "20");
    assert_eq!((server.stat("/kept"), server.stat("/not_kept")), (20, 0));
    end(server);
}

/// The server has become a replica, and no heartbeat has shown it yet: the event is kept and heard where the master is.
#[test]
fn a_replica_that_refuses_an_event_is_left() {
    for settings in [&[][..], &["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]] {
        let (master, old) = (Redis::start(settings), Redis::start(settings));
        let moved = Arc::new(AtomicBool::new(false));
        let (addresses, is_moved) = ([old.address(), master.address()], Arc::clone(&moved));
        let relay = Scripted::start(move |client| {
            client.relay(addresses[usize::from(is_moved.load(Ordering::Relaxed))], |command| command);
        });
        let mut server = with(&relay.url());
        say(&mut server, 0..5);
        old.command(&["REPLICAOF", "127.0.0.1", &master.address().port().to_string()]);
        moved.store(true, Ordering::Relaxed);
        server.emit("chat", r#"{"n":5}"#).unwrap();
        server.wait(|server| server.stat("/outbox/delivered") == 6);
        assert_eq!(master.command(&["XLEN", "p:rt:kept:chat"]), "1", "{settings:?}");
        assert_eq!(server.stat("/not_kept"), 0, "{settings:?}: {:?}", server.errors());
        end(server);
    }
}

/// Redis has no memory left, or cannot write its copy to the disk: it refuses to keep events, and publishes them.
#[test]
fn a_redis_that_refuses_writes_still_publishes() {
    let no_scripts = ["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""];
    for settings in [vec![], no_scripts.to_vec()] {
        let redis = Redis::start(&settings);
        let mut server = with(&redis.url());
        say(&mut server, 0..10);
        for (option, value, code) in [("maxmemory", "1", "OOM"), ("min-replicas-to-write", "1", "NOREPLICAS")] {
            let (kept_before, missed) = (server.stat("/kept"), server.stat("/not_kept"));
            redis.command(&["CONFIG", "SET", option, value]);
            say(&mut server, 10..30);
            let counts = (server.stat("/kept") - kept_before, server.stat("/not_kept") - missed);
            assert_eq!(counts, (0, 20), "{settings:?} {code}: {:?}", server.errors());
            redis.command(&["CONFIG", "SET", option, "0"]);
        }
        assert_eq!(said(&mut server, "keep chat: redis: OOM").1, 1, "{:?}", server.errors());
        say(&mut server, 30..40);
        assert_eq!(kept(&mut server, 1000.0), (0..10).chain(30..40).collect::<Vec<_>>(), "{settings:?}");
        end(server);
    }
}

/// Two servers emit at once: the history has the order in which listeners heard the events. Then one of them is gone from
/// one moment to the next, and its successor reads all that Redis had taken.
#[test]
fn the_history_of_a_fleet_has_the_order_of_the_live_events() {
    let redis = Redis::start(&[]);
    let (mut one, mut two) = (with(&redis.url()), with(&redis.url()));
    for n in 0..400_u32 {
        let server = if n % 2 == 0 { &mut one } else { &mut two };
        server.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap();
        if n % 7 == 0 {
            one.tick();
            two.tick();
        }
    }
    one.hear(400);
    two.hear(400);
    assert_eq!(one.heard, two.heard);
    let heard: Vec<u32> = one.heard.iter().map(|heard| heard.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(kept(&mut one, 1000.0), heard);
    // What waits when the process ends is lost; what Redis took is kept, once each and in order.
    (400..600_u32).for_each(|n| two.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap());
    two.stop();
    let mut successor = with(&redis.url());
    let all = kept(&mut successor, 1000.0);
    let (before, after) = all.split_at(400);
    assert_eq!(before, heard);
    assert_eq!(after, (400..400 + after.len() as u32).collect::<Vec<_>>());
    end(one);
    end(successor);
}

#[test]
fn the_embedded_server_keeps_events_too() {
    let mut server = with("embedded");
    keep(&mut server, "round:*", r#"{"max_events":10,"max_age":60}"#);
    assert_eq!(server.history("chat", 5.0), "{}");
    say(&mut server, 0..40);
    assert_eq!(kept(&mut server, 5.0), [35, 36, 37, 38, 39]);
    assert_eq!(kept(&mut server, 1000.0), (0..40).collect::<Vec<_>>());
    let one = server.history("chat", 1.0);
    assert!(one.starts_with("{{data={n=39},channel='chat',time=1") && one.contains(",id='1") && !one.contains("_rt"));
    (0..500).for_each(|n| server.emit("round:1", &n.to_string()).unwrap());
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    let all = server.history("round:1", 1000.0);
    assert!(all.matches("data=").count() == 10 && all.contains("data=490,") && all.contains("data=499,"), "{all}");
    assert_eq!((server.stat("/kept"), server.stat("/not_kept"), server.errors()), (540, 0, vec![]));
    let words = ["SET", "p:rt:kept:text", "no stream"].map(|word| word.as_bytes().to_vec());
    server.submit(None, |requests| requests.command(&words)).unwrap();
    assert!(server.history("text", 1.0).starts_with("redis: WRONGTYPE"));
    keep(&mut server, "text", "[]");
    server.emit("text", "1").unwrap();
    server.wait(|server| server.stat("/not_kept") == 1);
    assert_eq!(said(&mut server, "keep text: redis: WRONGTYPE").1, 1, "{:?}", server.errors());
    end(server);
}

/// Connections are cut again and again while events flow. Each event is read once and in order, although some were sent
/// twice; those that listeners missed are there, too.
#[test]
fn cut_connections_lose_and_double_nothing_in_the_history() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut server = with(&proxy.url());
    for n in 0..400_u32 {
        server.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap();
        if n % 80 == 40 {
            // Redis gets the events, and their answers are lost.
            proxy.set_now(Direction::ToClient, Fault::SwallowAfter(0));
            let until = Instant::now() + Duration::from_millis(200);
            server.wait(|_| Instant::now() >= until);
            proxy.cut_all();
            proxy.set_now(Direction::ToClient, Fault::None);
        }
        server.tick();
    }
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    assert!(server.stat("/resent") > 0 && server.stat("/reconnects") > 0);
    assert_eq!(kept(&mut server, 1000.0), (0..400).collect::<Vec<_>>());
    assert!(redis.command(&["XLEN", "p:rt:kept:chat"]).parse::<u32>().unwrap() > 400, "some stand there twice");
    end(server);
}

/// Redis dies without a copy on disk and starts again empty: events go on being kept.
#[test]
fn a_redis_that_starts_again_empty_keeps_the_next_events() {
    let mut redis = Redis::start(&[]);
    let mut server = with(&redis.url());
    say(&mut server, 0..10);
    assert_eq!(kept(&mut server, 1000.0).len(), 10);
    redis.restart();
    wait_for("a reconnection", true, || server.stat("/reconnects") > 0);
    server.wait_ready();
    say(&mut server, 10..20);
    assert_eq!(kept(&mut server, 1000.0), (10..20).collect::<Vec<_>>());
    end(server);
}

/// A map change keeps the wish of the old state until the grace period is over.
#[test]
fn a_map_change_ends_only_what_the_new_state_does_not_ask_for_again() {
    let redis = Redis::start(&[]);
    let mut server = with(&redis.url());
    keep(&mut server, "old", "[]");
    let emit = |server: &mut Server, n: u32| {
        ["old", "chat"].iter().for_each(|channel| server.emit(channel, &format!(r#"{{"n":{n}}}"#)).unwrap());
        server.wait(|server| server.stat("/outbox/waiting") == 0);
    };
    emit(&mut server, 1);
    server.engine.detach();
    server.engine.attach();
    keep(&mut server, "chat", "[]");
    let start = Instant::now();
    server.engine.begin_tick(start);
    emit(&mut server, 2);
    server.engine.begin_tick(start + Duration::from_secs(6));
    emit(&mut server, 3);
    let count = |redis: &Redis, channel: &str| redis.command(&["XLEN", &format!("p:rt:kept:{channel}")]);
    assert_eq!((count(&redis, "old").as_str(), count(&redis, "chat").as_str()), ("2", "3"));
    end(server);
}

#[test]
fn more_channels_than_the_bound_are_refused() {
    let redis = Redis::start(&[]);
    let mut server = with(&redis.url());
    for n in 1..1024 {
        keep(&mut server, &format!("c{n}"), "[]");
    }
    let refused = |server: &mut Server, channel: &[u8], options: &str| {
        let options = serde_json::from_str(options).unwrap();
        server.engine.keep(channel, Some(&options)).unwrap_err().to_string()
    };
    let found = refused(&mut server, b"one more", "[]");
    assert!(found.starts_with("config: this server keeps 1024 channels"), "{found}");
    let found = refused(&mut server, b"chat", r#"{"max_event":5}"#);
    assert!(found.starts_with("config: ") && found.contains("did you mean `max_events`?"), "{found}");
    assert!(refused(&mut server, &[b'c'; 1025], "[]").starts_with("too_large: the channel has 1025 bytes"));
    server.engine.keep(b"c5", None).unwrap();
    keep(&mut server, "one more", "[]");
    end(server);
}
