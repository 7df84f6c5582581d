//! A Redis that answers and refuses: the login, one more client, a channel, everything for the moment, something for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault_kit::{Redis, Scripted, Server, answer_with, comes_true, wait_until};
use realtime::facade::event::notice::Notice;
use serde_json::json;

fn at(url: &str) -> Server {
    Server::with(json!({ "redis": url }))
}

/// `maxclients` is reached.
#[test]
fn a_redis_without_room_for_clients_is_asked_rarely() {
    let redis = Redis::start(&["--maxclients", "3"]);
    let full: Vec<_> = (0..3).map(|_| redis.begin(&["PING"])).collect();
    let mut server = at(&redis.url());
    server.wait(|server| server.engine.status().1.contains("raise maxclients"));
    assert_eq!(server.engine.status().0, "connecting");
    server.wait(|server| !server.errors().is_empty());
    assert!(server.errors()[0].contains("maxclients"), "{:?}", server.errors());
    let attempts = server.stat("/connect_failures");
    // Each of the two connections tries at most once in five seconds.
    assert!(!comes_true(Duration::from_secs(3), || server.stat("/connect_failures") > attempts.max(2)));
    drop(full);
    server.wait_ready();
    server.stop();
}

/// Each way in which a login can fail.
#[test]
fn a_refused_login_is_reported_and_tried_rarely() {
    let rows: [(&[&str], &str, &str); 5] = [
        (&["--requirepass", "right"], "", "NOAUTH"),
        (&["--requirepass", "right"], ":hunter2@", "WRONGPASS"),
        (&[], ":hunter2@", "without any password configured"),
        (&["--user", "gmod", "off", ">hunter2", "+@all"], "gmod:hunter2@", "as `gmod`: WRONGPASS"),
        (&["--user", "gmod", "on", ">right", "+@all"], "gmod:hunter2@", "as `gmod`: WRONGPASS"),
    ];
    for (settings, login, found) in rows {
        let redis = Redis::start(settings);
        let mut server = at(&redis.url().replace("redis://", &format!("redis://{login}")));
        server.wait(|server| server.engine.status().0 == "auth_failed" && !server.told.is_empty());
        let said = format!("{:?} {:?} {}", server.engine.status(), server.told, server.engine.stats());
        assert!(said.contains(found) && !said.contains("hunter2"), "{said}");
        // The next attempt comes after half a minute: a server may lock out clients that keep trying.
        server.wait(|server| server.stat("/connect_failures") == 2);
        assert!(!comes_true(Duration::from_millis(500), || server.stat("/connect_failures") > 2));
        server.stop();
    }
}

#[test]
fn a_login_with_user_and_password_works() {
    let settings = ["--user", "gmod", "on", ">hunter2", "~*", "&*", "+@all", "--requirepass", "p@ss:w/rd"];
    let redis = Redis::start(&settings);
    for login in ["gmod:hunter2@", ":p%40ss%3Aw%2Frd@"] {
        let mut server = at(&format!("{}/3", redis.url().replace("redis://", &format!("redis://{login}"))));
        server.on("a", 1);
        server.emit("a", "{\"n\":1}").unwrap();
        server.hear(1);
        server.stop();
    }
}

/// The channel names are longer than the rule of the ACL, so the pattern `ok:*` does not match the text of the rule `ok*`.
#[test]
fn a_forbidden_channel_is_reported_and_does_not_affect_others() {
    let rules = ["--user", "default", "on", "nopass", "~*", "resetchannels", "&ok*", "+@all"];
    let redis = Redis::start(&rules);
    let mut server = at(&redis.url());
    for (callback, channel) in (1..).zip(["ok:1", "forbidden", "ok:2"]) {
        server.on(channel, callback);
    }
    server.emit("ok:2", "{\"n\":5}").unwrap();
    server.hear(1);
    server.wait(|server| !server.errors().is_empty());
    assert!(server.errors()[0].starts_with("subscribe forbidden: redis: NOPERM"), "{:?}", server.errors());
    server.emit("forbidden", "{\"n\":5}").unwrap();
    server.wait(|server| server.errors().len() == 2);
    assert!(server.errors()[1].starts_with("publish forbidden: redis refused it: NOPERM"), "{:?}", server.errors());
    assert_eq!((server.engine.status().0, server.stat("/outbox/dropped/redis")), ("connected", 1));
    server.assert_balanced();
    server.stop();
}

/// An administrator takes rights away while the module is connected.
#[test]
fn rights_may_be_taken_away_while_connected() {
    let redis = Redis::start(&["--user", "gmod", "on", ">pw", "~*", "&*", "+@all"]);
    let mut server = at(&redis.url().replace("redis://", "redis://gmod:pw@"));
    server.on("a", 1);
    server.on("b", 2);
    server.wait_ready();
    redis.command(&["ACL", "SETUSER", "gmod", "resetchannels", "&b"]);
    server.wait(|server| server.stat("/reconnects") >= 1 && !server.errors().is_empty());
    assert!(
        server.errors().iter().any(|error| error.starts_with("subscribe a: redis: NOPERM")),
        "{:?}",
        server.errors()
    );
    server.wait_ready();
    server.emit("b", "{\"n\":1}").unwrap();
    server.hear(1);
    let reconnects = server.stat("/reconnects");
    assert!(!comes_true(Duration::from_secs(1), || server.stat("/reconnects") > reconnects), "it keeps reconnecting");
    server.stop();
}

/// Redis accepts publishes while it loads, and the module does not flood it.
#[test]
fn a_loading_redis_accepts_publishes_and_is_not_flooded() {
    // Redis takes a millisecond for each key and serves clients in between.
    let slowly = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
    let settings = [&["--enable-debug-command", "yes"], slowly.as_slice()].concat();
    let redis = Redis::start(&settings);
    redis.command(&["DEBUG", "POPULATE", "30000"]);
    let mut server = at(&redis.url());
    server.on("a", 1);
    server.wait_ready();
    let _reload = redis.begin(&["DEBUG", "RELOAD"]);
    wait_until("redis loads", || redis.try_command(&["GET", "k"]).is_ok_and(|said| said.starts_with("-LOADING")));
    let mut late = at(&redis.url());
    late.on("a", 1);
    late.wait_ready();
    server.emit("a", "{\"n\":1}").unwrap();
    server.hear(1);
    late.hear(1);
    assert!(redis.command(&["GET", "k"]).starts_with("-LOADING"), "redis had loaded too soon for this test");
    assert_eq!(server.stat("/reconnects") + late.stat("/connect_failures"), 0);
    server.stop();
    late.stop();
}

/// BUSY while a script runs.
#[test]
fn a_busy_redis_is_asked_again_and_loses_no_order() {
    let redis = Redis::start(&["--busy-reply-threshold", "50"]);
    let mut server = at(&redis.url());
    server.wait_ready();
    let _script = redis.begin(&["EVAL", "while true do end", "0"]);
    wait_until("redis is busy", || redis.try_command(&["GET", "k"]).is_ok_and(|said| said.starts_with("-BUSY")));
    server.on("a", 1);
    for n in 0..20 {
        server.emit("a", &format!("{{\"n\":{n}}}")).unwrap();
    }
    server.tick();
    assert!(
        !comes_true(Duration::from_secs(1), || server.engine.status().0 == "connected"),
        "connected without its subscription"
    );
    assert_eq!(server.stat("/outbox/waiting"), 20);
    redis.command(&["SCRIPT", "KILL"]);
    server.wait(|server| server.stat("/outbox/delivered") == 20);
    server.wait_ready();
    server.emit("a", "{\"n\":20}").unwrap();
    server.wait(|server| server.heard.last().is_some_and(|line| line == "1 a 20"));
    // These events waited longer than a publish waits for its subscription, so the first ones may have been sent before it.
    let first = 21 - server.heard.len();
    assert!(server.heard.iter().zip(first..).all(|(line, n)| *line == format!("1 a {n}")), "{:?}", server.heard);
    server.settle();
    assert_eq!((server.stat("/reconnects"), server.stat("/subscriptions_refused")), (0, 0));
    server.assert_balanced();
    server.stop();
}

/// Many channels and a Redis that is busy for a while: the module subscribes one channel at a time, and all of them in the
/// end, also if Redis forbids some or all of them.
#[test]
fn a_busy_redis_is_not_flooded_with_subscriptions() {
    many_channels_while_busy(false);
    many_channels_while_busy(true);
}

fn many_channels_while_busy(forbidden: bool) {
    let (asked, busy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, is_busy) = (Arc::clone(&asked), Arc::clone(&busy));
    let redis = Scripted::start(move |client| {
        while let Some(command) = client.question() {
            match command[0].as_str() {
                "SUBSCRIBE" => {
                    count.fetch_add(1, Ordering::SeqCst);
                    if is_busy.load(Ordering::SeqCst) {
                        client.send(b"-BUSY a script\r\n");
                    } else if command[1].ends_with('7') || forbidden {
                        client.send(b"-NOPERM No permissions to access a channel\r\n");
                    } else {
                        client.acknowledge(&command);
                    }
                }
                _ => client.send(b":1\r\n"),
            }
        }
    });
    let mut server = at(&redis.url());
    (0..1000).for_each(|n| server.on(&format!("c{n}"), n));
    server.wait(|_| asked.load(Ordering::SeqCst) > 1000);
    assert!(!comes_true(Duration::from_millis(1500), || asked.load(Ordering::SeqCst) > 1020));
    busy.store(false, Ordering::SeqCst);
    server.wait_ready();
    let refused = if forbidden { 1000 } else { 100 };
    assert_eq!(server.stat("/subscriptions_refused"), refused);
    assert!(asked.load(Ordering::SeqCst) <= 2020, "{asked:?}");
    server.stop();
}

/// After Redis was busy, subscriptions are sent before publishes: a script hears the events that it emitted after its
/// `On`.
#[test]
fn after_a_busy_redis_subscriptions_go_before_publishes() {
    for channels in [1, 300] {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let redis = Scripted::start(move |client| {
            while let Some(command) = client.question() {
                let mut seen = seen.lock().unwrap();
                let name = command[0].as_str();
                // Redis is free again right after the fourth publish that it refused.
                let is_busy = seen.iter().filter(|name| *name == "PUBLISH").count() < 4;
                seen.push(name.to_owned());
                match name {
                    _ if is_busy => client.send(b"-BUSY a script\r\n"),
                    "SUBSCRIBE" => client.acknowledge(&command),
                    _ => client.send(b":1\r\n"),
                }
            }
        });
        let mut server = at(&redis.url());
        server.wait_ready();
        (0..channels).for_each(|n| server.on(&format!("c{n}"), n));
        server.emit("c0", "{}").unwrap();
        server.wait(|server| server.stat("/outbox/delivered") == 1);
        let order = order.lock().unwrap();
        let tries = order.split(|name| name == "PUBLISH").map(<[String]>::len).collect::<Vec<_>>();
        // Each time at least one subscription is sent before the publish, and in the end all of them. The first refusal lets the
        // first publish go while Redis still reads the other commands from the other connection.
        let [busy @ .., last, behind] = tries.as_slice() else { panic!("{order:?}") };
        let channels = channels as usize;
        assert!(*last == channels && *behind == 0, "{channels}: {tries:?}");
        assert!(busy.len() == 4 && busy.iter().all(|asked| *asked >= 1), "{channels}: {tries:?}");
        assert_eq!(busy.iter().sum::<usize>(), channels + 3, "one more for each time but the first: {tries:?}");
        drop(order);
        server.stop();
    }
}

/// Redis gets no subscriptions for changes that scripts make while it is away: in the end it gets only the wanted ones.
#[test]
fn changes_while_redis_is_away_are_reduced_to_the_last_state() {
    let (asked, away) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let (names, is_away) = (Arc::clone(&asked), Arc::clone(&away));
    let redis = Scripted::start(move |client| {
        while !is_away.load(Ordering::SeqCst)
            && let Some(command) = client.question()
        {
            match command[0].as_str() {
                "SUBSCRIBE" | "PSUBSCRIBE" => {
                    names.lock().unwrap().push(command[1].clone());
                    client.acknowledge(&command);
                }
                _ => client.send(b":1\r\n"),
            }
        }
    });
    let mut server = at(&redis.url());
    for n in 0..10_000 {
        let name = format!("{}{}", if n % 2 == 0 { "c" } else { "p*" }, n % 500);
        server.on(&name, n);
        if n < 9990 {
            server.engine.off(name.as_bytes(), None);
        }
        if n % 100 == 0 {
            server.tick();
        }
    }
    server.tick();
    away.store(false, Ordering::SeqCst);
    server.wait_ready();
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    let expected = (490..500).map(|n| format!("{}{n}", if n % 2 == 0 { "c" } else { "p*" }));
    let mut expected = expected.collect::<Vec<_>>();
    expected.sort();
    assert_eq!(asked, expected);
    server.stop();
}

/// Of the changes that scripts make while Redis is busy, only the last state is sent.
#[test]
fn changes_while_redis_is_busy_are_reduced_to_the_last_state() {
    let (asked, busy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, is_busy) = (Arc::clone(&asked), Arc::clone(&busy));
    let redis = Scripted::start(move |client| {
        while let Some(command) = client.question() {
            count.fetch_add(usize::from(command[0].ends_with("SUBSCRIBE")), Ordering::SeqCst);
            if is_busy.load(Ordering::SeqCst) {
                client.send(b"-BUSY a script\r\n");
            } else {
                client.acknowledge(&command);
            }
        }
    });
    let mut server = at(&redis.url());
    server.wait_ready();
    server.on("first", 1);
    server.tick();
    server.wait(|_| asked.load(Ordering::SeqCst) > 0);
    for n in 0..10_000 {
        server.on(&format!("c{}", n % 7), n);
        server.tick();
        server.engine.off(format!("c{}", n % 7).as_bytes(), None);
        server.tick();
    }
    server.on("last", 2);
    server.tick();
    busy.store(false, Ordering::SeqCst);
    let before = asked.load(Ordering::SeqCst);
    server.wait_ready();
    let asked = asked.load(Ordering::SeqCst) - before;
    // Both topics; on a busy machine also some commands that were on their way while Redis was busy.
    assert!((2..=30).contains(&asked), "asked for {asked}");
    server.stop();
}

/// A publish that was refused for the moment is never sent after a later one on its channel: it is dropped and counted.
#[test]
fn a_busy_redis_never_reverses_the_order_of_a_channel() {
    let redis = Scripted::start(|client| {
        let mut count = 0;
        while let Some(command) = client.question() {
            match command[0].as_str() {
                "SUBSCRIBE" => client.acknowledge(&command),
                // The first two are refused. By then the next two are already written, and Redis accepts them.
                _ if count < 2 => {}
                _ if count == 3 => client.send(b"-BUSY a script\r\n-BUSY a script\r\n:1\r\n:1\r\n"),
                _ if count > 3 => client.send(b":1\r\n"),
                _ => {}
            }
            count += usize::from(command[0] == "PUBLISH");
        }
    });
    let mut server = at(&redis.url());
    server.wait_ready();
    for channel in ["a", "b", "a", "c"] {
        server.emit(channel, "{}").unwrap();
    }
    server.settle();
    assert_eq!((server.stat("/outbox/dropped/redis"), server.stat("/outbox/delivered")), (1, 3));
    // The report follows the count.
    server.wait(|server| !server.errors().is_empty());
    assert!(server.errors()[0].starts_with("publish a: redis was busy"), "{:?}", server.errors());
    server.assert_balanced();
    server.stop();
}

/// A replica, and a master that becomes one.
#[test]
fn a_replica_is_refused() {
    let master = Redis::start(&[]);
    let redis = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let mut server = at(&redis.url());
    server.wait(|server| server.engine.status().1.contains("it is a replica"));
    server.emit("a", "{}").unwrap();
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    server.wait_ready();
    server.wait(|server| server.stat("/outbox/delivered") == 1);
    // The module leaves a master that becomes a replica.
    redis.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let demoted = Instant::now();
    server.wait(|server| server.engine.status().0 == "connecting");
    // The module asks for the role every 4.8 s. Without asking it would stay with this Redis.
    assert!(demoted.elapsed() < Duration::from_secs(20), "{:?}", demoted.elapsed());
    server.wait(|server| server.told.iter().any(|told| matches!(told, Notice::Disconnected { .. })));
    server.emit("a", "{}").unwrap();
    assert!(!comes_true(Duration::from_secs(1), || server.stat("/outbox/delivered") > 1));
    server.stop();
}

/// A publish that Redis refuses for good is given up, counted, and reported once.
#[test]
fn a_publish_refused_for_good_is_not_tried_again() {
    for (answer, found) in [("-OOM command not allowed", "OOM"), ("-MOVED 1 127.0.0.1:1", "this module cannot follow")]
    {
        let redis = Scripted::start(move |client| {
            while let Some(command) = client.question() {
                match command[0].as_str() {
                    "SUBSCRIBE" => client.acknowledge(&command),
                    _ => client.send(format!("{answer}\r\n").as_bytes()),
                }
            }
        });
        let mut server = at(&redis.url());
        server.wait_ready();
        (0..100).for_each(|_| server.emit("a", "{}").unwrap());
        server.wait(|server| server.stat("/outbox/dropped/redis") == 100 && !server.errors().is_empty());
        assert!(server.errors().len() == 1 && server.errors()[0].contains(found), "{:?}", server.errors());
        assert_eq!((redis.connections(), server.stat("/resent")), (2, 0));
        server.assert_balanced();
        server.stop();
    }
}

/// A node of a cluster: events work there, another database does not, and the reason says so.
#[test]
fn a_cluster_node_carries_events_and_refuses_other_databases() {
    let redis = Redis::start(&["--cluster-enabled", "yes"]);
    let mut server = at(&format!("{}/1", redis.url()));
    server.wait(|server| server.engine.status().1.contains("a cluster has database 0 alone"));
    server.stop();
    let mut server = at(&redis.url());
    server.on("a", 1);
    server.emit("a", "{\"n\":1}").unwrap();
    server.hear(1);
    server.stop();
}

// ---- secrets --------------------------------------------------------------------------------------------------------

/// Everything that the module shows: state, notices, statistics, console.
fn everything_said(server: &Server) -> String {
    let engine = &server.engine;
    format!("{:?} {:?} {:?} {} {:?}", engine.status(), server.told, server.errors(), engine.stats(), engine.report())
}

/// An answer to AUTH may repeat the password whole, in parts, escaped or in another letter case: none of it is shown.
#[test]
fn an_answer_to_a_login_is_never_shown() {
    const PASSWORD: &str = "hunter2%2Fsecret";
    let answers = [
        "-ERR unknown command 'AUTH', with args beginning with: 'hunter2/secret' \r\n",
        "-ERR unknown command `AUTH`, with args beginning with: `gmod`, `hunter2/s`, \r\n",
        "-ERR UNKNOWN COMMAND AUTH HUNTER2/SECRET\r\n",
        "-unsupported command 'auth hunter2%2Fsecret'\r\n",
        "-hunter2/secret is wrong\r\n",
        "-HUNTER2 is wrong\r\n",
        "-LOADING hunter2/secret\r\n",
        "-READONLY hunter2/secret\r\n",
        "-ERR max number of clients reached, hunter2/secret\r\n",
        "hunter2/secret\r\n",
        ":hunter2/secret\r\n",
        "$14\r\nhunter2/secret\r\n",
        "$hunter2\r\n",
        "*2\r\n$4\r\nAUTH\r\n$14\r\nhunter2/secret\r\n",
        "+OK\r\n-ERR hunter2/secret\r\n",
        "+OK\r\n*1\r\n$7\r\nhunter2\r\n",
    ];
    for answer in answers {
        let redis = Scripted::start(move |client| {
            while let Some(command) = client.command() {
                match command[0].as_str() {
                    "AUTH" => client.send(answer.as_bytes()),
                    _ => client.send(b"+OK\r\n"),
                }
            }
        });
        let mut server = at(&redis.url().replace("redis://", &format!("redis://gmod:{PASSWORD}@")));
        server.wait(|server| !server.errors().is_empty());
        server.engine.begin_selftest().unwrap();
        let mut said = String::new();
        wait_until("the self-test ends", || {
            while let Some(line) = server.engine.shared().selftest.pop() {
                said += &line;
            }
            said.contains("self-test failed")
        });
        said += &everything_said(&server);
        assert!(!said.to_lowercase().contains("hunter2"), "{answer:?}: {said}");
        assert!(said.contains("cannot log in at redis"), "{answer:?}: {said}");
        server.stop();
    }
}

/// The same for commands of scripts, in every outcome and every report.
#[test]
fn an_answer_to_a_command_with_a_secret_is_never_shown() {
    // The first Redis lets a password be set.
    let [plain, redis] = [Redis::start(&[]), Redis::start(&[])];
    let address = redis.address();
    // Repeats the command in its answer, as old and managed servers do; Redis itself answers the rest.
    let relay = Scripted::start(move |client| {
        client.relay(address, |command| {
            if command.len() > 2 && command.iter().any(|word| word.contains("hunter2")) {
                return answer_with(&format!("ERR unknown command `{}`, with args: {}", command[0], command.join(" ")));
            }
            command
        });
    });
    let rows = [
        "ACL|SETUSER|gmod|>hunter2!",
        "acl|setuser|gmod|on|>hunter2",
        "CONFIG|SET|requirepass|hunter2",
        "config|set|masterauth|hunter2",
        "CONFIG|SET|nosuch|hunter2",
        "MIGRATE|127.0.0.1|1|k|0|10|AUTH|hunter2",
        "MIGRATE|127.0.0.1|1||0|10|AUTH2|gmod|hunter2|KEYS|k",
        "renamed-acl|SETUSER|gmod|>hunter2",
        "renamed-config|SET|requirepass|hunter2",
        "SENTINEL|SET|mymaster|auth-pass|hunter2",
    ];
    for url in [plain.url(), relay.url()] {
        let mut server = at(&url);
        server.wait_ready();
        for (at, row) in rows.iter().enumerate() {
            let words: Vec<Vec<u8>> = row.split('|').map(|word| word.as_bytes().to_vec()).collect();
            server.submit(None, |requests| requests.command(&words)).unwrap();
            server.submit(Some(at as i32), |requests| requests.command(&words)).unwrap();
        }
        // A refusal by the module itself shows no secret either.
        for row in ["AUTH|hunter2", "HELLO|3|AUTH|gmod|hunter2"] {
            let words: Vec<Vec<u8>> = row.split('|').map(|word| word.as_bytes().to_vec()).collect();
            let refused = server.submit(None, |requests| requests.command(&words)).unwrap_err().to_string();
            assert!(refused.contains("cannot be sent") && !refused.contains("hunter2"), "{refused}");
        }
        // With a misspelt command name the module cannot know that an argument is a secret, but notices show no arguments.
        let misspelt = ["AUHT", "hunter2"].map(|word| word.as_bytes().to_vec());
        server.submit(None, |requests| requests.command(&misspelt)).unwrap();
        let answers = server.answered(rows.len());
        server.wait(|server| server.errors().iter().any(|error| error.contains("AUHT")));
        let said = format!("{answers:?} {}", everything_said(&server));
        assert!(!said.contains("hunter2"), "{said}");
        assert!(
            answers.iter().any(|(_, answer)| answer.starts_with("redis: ERR (its words are not shown")),
            "{answers:?}"
        );
        server.stop();
    }
}
