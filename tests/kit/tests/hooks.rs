//! Hooks of one server and of a fleet, without Lua, against a real Redis and a web server that plays Discord: which server
//! acts, how often, and that no lease stays behind.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fault_kit::{
    Answer, Direction, Fault, Proxy, Random, Redis, Scripted, Server, Web, comes_true, wait_for, wait_until, within,
};
use realtime::facade::config::limits::CLOSE_FLUSH_MAX;
use realtime::facade::engine::CallbackRef;
use realtime::facade::event::glob;
use realtime::facade::event::notice::Notice;
use serde_json::{Value, json};

fn at(url: &str, name: &str) -> Server {
    let mut server = Server::with(json!({ "redis": url, "server": name, "prefix": "p:" }));
    server.wait_ready();
    server
}

fn counter(key: &str) -> Value {
    json!({ "type": "counter", "key": key, "ttl": 86400 })
}

fn emit(server: &mut Server, channel: &str, event: &Value) {
    let text = event.to_string();
    wait_until("there is room", || server.emit(channel, &text).is_ok());
}

/// Publishes as another program does, without identity.
fn publish(redis: &Redis, channel: &str, payload: &str) {
    redis.command(&["PUBLISH", channel, payload]);
}

/// The holders of all leases in Redis.
fn leases(redis: &Redis) -> Vec<String> {
    let keys = redis.command(&["KEYS", "p:rt:lead:*"]);
    keys.lines().filter(|key| !key.is_empty()).map(|key| redis.command(&["GET", key])).collect()
}

/// The number of leases that this server knows to hold.
fn held(server: &Server) -> usize {
    let (_, routes) = server.engine.shared().published.current();
    let now = Instant::now();
    routes.leases().iter().filter(|(_, lease)| lease.holds(now)).count()
}

fn wait_held(servers: &[Server], count: usize) {
    wait_for("leases that are held", count, || servers.iter().map(held).sum());
}

#[test]
fn patterns_match_as_in_redis() {
    let redis = Redis::start(&[]);
    let mut random = Random::announced("patterns");
    let check = |patterns: &[String], channels: &[String]| {
        let words: Vec<&str> = std::iter::once("SUBSCRIBE").chain(channels.iter().map(String::as_str)).collect();
        let subscribed = redis.begin(&words);
        let wanted = channels.iter().collect::<std::collections::HashSet<_>>().len();
        wait_until("they are subscribed", || redis.command(&["PUBSUB", "CHANNELS"]).lines().count() == wanted);
        for pattern in patterns {
            let found = redis.command(&["PUBSUB", "CHANNELS", pattern]);
            let found: std::collections::HashSet<&str> = found.lines().collect();
            for channel in channels {
                let expected = found.contains(channel.as_str());
                assert_eq!(glob::matches(pattern.as_bytes(), channel.as_bytes()), expected, "{pattern} {channel}");
            }
        }
        drop(subscribed);
        wait_until("they are unsubscribed", || redis.command(&["PUBSUB", "CHANNELS"]).is_empty());
    };
    let rows = include_str!("../../../testdata/glob.txt").lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<Vec<String>> = rows.map(|row| row.split('|').map(|part| part.trim().to_owned()).collect()).collect();
    let of = |at: usize| -> Vec<String> {
        rows.iter().map(|row: &Vec<String>| row[at].clone()).filter(|text| !text.is_empty()).collect()
    };
    check(&of(0), &of(1));
    let mut text = |letters: &[u8], longest: u64| -> String {
        let length = 1 + random.below(longest);
        (0..length).map(|_| char::from(letters[random.below(letters.len() as u64) as usize])).collect()
    };
    let channels: Vec<String> = (0..40).map(|_| text(b"ab-]^\\", 6)).collect();
    let patterns: Vec<String> = (0..3000).map(|_| text(b"ab*?[]^-\\", 7)).collect();
    check(&patterns, &channels);
}

/// Each kind of action for one event of this server while Redis is away: only counters wait for Redis.
#[test]
fn hooks_act_at_emit_without_waiting_for_redis() {
    let mut redis = Redis::start(&[]);
    let discord = Web::start(|_| Answer::Status(204));
    let mut server = at(&redis.url(), "one");
    let url = discord.url("/api/webhooks/1/token");
    server.hook("kill", json!({ "type": "discord", "webhook_url": url, "format": "**{killer}** killed {victim}" }));
    server.hook("kill", json!({ "type": "file", "path": "kills.log", "format": "binary" }));
    server.hook("*", json!({ "type": "counter", "key": "kills:{killer}:daily", "ttl": 86400 }));
    server.hook("kill", json!({ "type": "leaderboard", "board": "top", "member": "{killer}", "by": 2 }));
    server.hook("kill", json!({ "type": "counter", "key": "never", "where": { "weapon": "crowbar" } }));
    server.hook("other", counter("other"));
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    let event = json!({ "killer": "John", "victim": "Al_ice", "weapon": "crossbow" });
    emit(&mut server, "kill", &event);
    wait_until("discord gets the message", || discord.seen().len() == 1);
    assert_eq!(discord.seen()[0].content(), "**John** killed Al\\_ice");
    server.wait(|server| server.stat("/files/delivered") == 1);
    redis.start_again();
    server.settle();
    assert_eq!(redis.command(&["GET", "p:kills:John:daily"]), "1");
    let ttl = redis.command(&["TTL", "p:kills:John:daily"]);
    assert!(ttl.parse().is_ok_and(|seconds: i64| (86_340..=86_400).contains(&seconds)), "{ttl}");
    assert_eq!(redis.command(&["ZSCORE", "p:top", "John"]), "2");
    assert_eq!(redis.command(&["EXISTS", "p:never", "p:other"]), "0");
    server.stop();
}

/// Three servers with the same hooks, one hook that only one of them has, and events of other programs.
#[test]
fn a_fleet_acts_on_each_event_once() {
    const EVENTS: u64 = 1000;
    let redis = Redis::start(&[]);
    let discord = Web::start(|_| Answer::Status(204));
    let mut servers = ["one", "two", "three"].map(|name| at(&redis.url(), name));
    let webhook = discord.url("/api/webhooks/1/token");
    for server in &mut servers {
        server.hook("kill", json!({ "type": "discord", "webhook_url": webhook, "format": "{n}" }));
        server.hook("kill", counter("kills"));
        server.hook("kill", json!({ "type": "file", "path": "kills.log" }));
        server.tick();
    }
    servers[2].hook("kill", counter("only"));
    servers[2].tick();
    servers.iter_mut().for_each(Server::wait_ready);
    wait_held(&servers, 3);
    for n in 0..EVENTS {
        let [one, two, three] = &mut servers;
        emit(
            if n % 3 == 0 {
                one
            } else if n % 3 == 1 {
                two
            } else {
                three
            },
            "kill",
            &json!({ "n": n }),
        );
        if n % 50 == 0 {
            servers.iter_mut().for_each(|server| _ = server.tick());
        }
    }
    let counted = |key: &str| redis.command(&["GET", key]).parse::<u64>().unwrap_or(0);
    let all_delivered = |servers: &[Server], count: u64| {
        servers.iter().map(|server| server.stat("/webhooks/delivered")).sum::<u64>() == count
            && servers.iter().all(|server| server.stat("/files/delivered") == count)
    };
    let all_counted = |count: u64| counted("p:only") >= count && counted("p:kills") >= count;
    wait_until("all actions are done", || all_counted(EVENTS) && all_delivered(&servers, EVENTS));
    let posted = |count: u64| {
        let mut posted: Vec<u64> = Vec::new();
        for seen in discord.seen() {
            posted.extend(seen.content().lines().map(|line| line.parse::<u64>().unwrap()));
        }
        posted.sort_unstable();
        assert_eq!(posted, (0..count).collect::<Vec<_>>(), "each event once");
    };
    posted(EVENTS);
    assert_eq!((counted("p:kills"), counted("p:only")), (EVENTS, EVENTS));
    // As many events of another program, without identity.
    let mut client = TcpStream::connect(redis.address()).unwrap();
    for n in EVENTS..2 * EVENTS {
        let payload = format!("{{\"n\":{n}}}");
        let words = format!("*3\r\n$7\r\nPUBLISH\r\n$6\r\np:kill\r\n${}\r\n{payload}\r\n", payload.len());
        client.write_all(words.as_bytes()).unwrap();
    }
    wait_until("the actions for these are done, too", || {
        all_counted(2 * EVENTS) && all_delivered(&servers, 2 * EVENTS)
    });
    for mut server in servers {
        server.settle();
        server.stop();
    }
    // No server runs any more that could act twice.
    posted(2 * EVENTS);
    assert_eq!((counted("p:kills"), counted("p:only")), (2 * EVENTS, 2 * EVENTS));
}

/// The holder of a lease vanishes silently: another server acts within ten seconds, and no action is done twice.
#[test]
fn another_server_takes_over_a_lease() {
    let redis = Redis::start(&[]);
    let proxies = [Proxy::start(redis.address()), Proxy::start(redis.address())];
    let mut servers: Vec<Server> = proxies.iter().map(|proxy| at(&proxy.url(), "x")).collect();
    for server in &mut servers {
        server.hook("kill", counter("kills"));
        server.tick();
    }
    servers.iter_mut().for_each(Server::wait_ready);
    wait_held(&servers, 1);
    let boots: Vec<String> = servers.iter().map(|server| format!("{:016x}", server.engine.shared().boot)).collect();
    let holder = boots.iter().position(|boot| *boot == leases(&redis)[0]).unwrap();
    let counted = || redis.command(&["GET", "p:kills"]).parse::<u64>().unwrap_or(0);
    let mut sent = 0;
    let mut send = |servers: &mut [Server], count: u64| {
        for _ in 0..count {
            publish(&redis, "p:kill", "{}");
            sent += 1;
        }
        servers.iter_mut().for_each(|server| _ = server.tick());
        sent
    };
    let all = send(&mut servers, 10);
    wait_until("they are counted", || counted() == all);
    // From here on no byte reaches or leaves the holder. It has finished its work, and its own clock ends the lease.
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxies[holder].set_now(direction, Fault::SwallowAfter(0));
    }
    let gone = Instant::now();
    wait_until("another holds the lease", || held(&servers[1 - holder]) == 1);
    assert!(gone.elapsed() < Duration::from_secs(14), "{:?}", gone.elapsed());
    let before = counted();
    let all = send(&mut servers, 10) - all;
    wait_until("the other counts", || counted() == before + all);
    assert!(!comes_true(Duration::from_millis(300), || counted() > before + all), "counted twice");
    // The old holder comes back, and the lease stays with the new one.
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxies[holder].set(direction, Fault::None);
    }
    proxies[holder].cut_all();
    servers.iter_mut().for_each(Server::wait_ready);
    send(&mut servers, 10);
    wait_until("each event is still counted once", || counted() == before + all + 10);
    assert_eq!(leases(&redis), [boots[1 - holder].clone()]);
    for mut server in servers {
        server.settle();
        server.stop();
    }
}

/// A removed hook releases its lease at once. Without scripts it does so too, only slower.
#[test]
fn a_removed_hook_releases_its_lease() {
    let forbidding = ["--user", "gmod", "on", ">pw", "~*", "&*", "+@all", "-eval", "-evalsha"];
    for (settings, login) in [(&[][..], ""), (&forbidding[..], "gmod:pw@")] {
        let redis = Redis::start(settings);
        let url = redis.url().replace("redis://", &format!("redis://{login}"));
        let mut servers = ["one", "two"].map(|name| at(&url, name));
        servers[0].engine.add_hook(b"kill", Some(b"mine"), &counter("kills"), None).unwrap();
        servers[0].tick();
        wait_held(&servers, 1);
        servers[1].engine.add_hook(b"kill", Some(b"mine"), &counter("kills"), None).unwrap();
        servers[1].tick();
        servers.iter_mut().for_each(Server::wait_ready);
        publish(&redis, "p:kill", "{}");
        wait_until("counted once", || redis.command(&["GET", "p:kills"]) == "1");
        assert!(servers[0].engine.remove_hook(b"mine").is_some());
        servers[0].tick();
        wait_until("the second server holds it", || {
            leases(&redis) == [format!("{:016x}", servers[1].engine.shared().boot)] && held(&servers[1]) == 1
        });
        publish(&redis, "p:kill", "{}");
        wait_until("counted by the second", || redis.command(&["GET", "p:kills"]) == "2");
        for mut server in servers {
            server.settle();
            server.stop();
        }
    }
}

/// A server that changes its prefix releases its leases for the other servers and takes leases under the new prefix.
#[test]
fn a_new_prefix_moves_the_leases() {
    let forbidding = ["--user", "gmod", "on", ">pw", "~*", "&*", "+@all", "-eval", "-evalsha"];
    for (settings, login) in [(&[][..], ""), (&forbidding[..], "gmod:pw@")] {
        let redis = Redis::start(settings);
        let url = redis.url().replace("redis://", &format!("redis://{login}"));
        let mut servers = ["one", "two"].map(|name| at(&url, name));
        for server in &mut servers {
            server.engine.add_hook(b"kill", Some(b"mine"), &counter("kills"), None).unwrap();
            server.tick();
            wait_until("one holds it", || leases(&redis).len() == 1);
        }
        wait_held(&servers, 1);
        let holder = servers.iter().position(|server| held(server) == 1).unwrap();
        let boots = servers.iter().map(|server| format!("{:016x}", server.engine.shared().boot)).collect::<Vec<_>>();
        servers[holder].engine.configure("{\"prefix\":\"q:\"}").unwrap();
        servers[holder].tick();
        wait_until("the other server holds the old lease", || leases(&redis) == [boots[1 - holder].clone()]);
        wait_held(&servers, 2);
        let moved = redis.command(&["KEYS", "q:rt:lead:*"]);
        assert_eq!(redis.command(&["GET", &moved]), boots[holder], "{moved}");
        servers.iter_mut().for_each(Server::wait_ready);
        for key in ["p:kill", "q:kill"] {
            publish(&redis, key, "{}");
            wait_until("counted once each", || redis.command(&["GET", &format!("{key}s")]) == "1");
        }
        for mut server in servers {
            server.settle();
            server.stop();
        }
    }
}

/// A server that is configured to another Redis holds no lease there before that Redis has said so: the holder there
/// acts alone.
#[test]
fn another_redis_ends_the_leases() {
    for settings in [&[][..], &["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]] {
        let (first, second) = (Redis::start(settings), Redis::start(settings));
        let mut servers = [(&first, "one"), (&second, "two")].map(|(redis, name)| at(&redis.url(), name));
        for server in &mut servers {
            server.engine.add_hook(b"kill", Some(b"mine"), &counter("kills"), None).unwrap();
            server.tick();
        }
        wait_held(&servers, 2);
        let address = second.address();
        let relay = Scripted::start(move |client| {
            client.relay(address, |command| {
                if command.iter().any(|word| word.contains("rt:lead:")) {
                    thread::sleep(Duration::from_secs(1));
                }
                command
            });
        });
        let [moved, _] = &mut servers;
        moved.engine.configure(&json!({ "redis": relay.url() }).to_string()).unwrap();
        assert_eq!(held(moved), 0, "{settings:?}");
        moved.wait(|_| second.command(&["PUBSUB", "NUMSUB", "p:kill"]).ends_with('2'));
        publish(&second, "p:kill", "{}");
        wait_until("counted", || second.command(&["GET", "p:kills"]) == "1");
        let twice = comes_true(Duration::from_secs(3), || {
            moved.tick();
            held(moved) > 0 || second.command(&["GET", "p:kills"]) != "1"
        });
        assert!(!twice, "{settings:?}: {}", second.command(&["GET", "p:kills"]));
        servers.into_iter().for_each(Server::stop);
    }
}

/// Arrays, texts and numbers carry no identity: hooks act on them when they come back from Redis, each once.
#[test]
fn own_events_without_identity_are_acted_on_when_they_come_back() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    server.hook("archive:*", json!({ "type": "file", "path": "archive.log" }));
    server.hook("archive:*", counter("archived"));
    server.tick();
    server.wait_ready();
    wait_until("the lease is held", || held(&server) == 1);
    for text in ["[{\"killer\":\"John\"}]", "\"text\"", "5"] {
        wait_until("there is room", || server.emit("archive:kills", text).is_ok());
    }
    server.wait(|server| server.stat("/files/delivered") == 3);
    wait_until("counted", || redis.command(&["GET", "p:archived"]) == "3");
    server.settle();
    server.stop();
}

/// The game thread asks a Lua condition, then the actions follow. Only events with such a condition wait for the tick.
#[test]
fn actions_follow_only_if_the_lua_condition_is_true() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    let spec = json!({
        "type": "conditional",
        "condition": { "\u{0}function": "x.lua:1" },
        "where": { "weapon": "crossbow" },
        "actions": [counter("shots"), { "type": "file", "path": "shots.log" }],
    });
    server.hook("kill", spec);
    server.tick();
    server.wait_ready();
    for (weapon, holds) in [("crossbow", true), ("crowbar", true), ("crossbow", false), ("crossbow", true)] {
        server.conditions_hold = holds;
        let conditions = server.stat("/conditions");
        emit(&mut server, "kill", &json!({ "weapon": weapon }));
        server.wait(|server| server.stat("/actions/waiting") == 0 && server.stat("/inbox/waiting") == 0);
        assert_eq!(server.stat("/conditions") - conditions, u64::from(weapon == "crossbow"));
    }
    server.settle();
    assert_eq!((redis.command(&["GET", "p:shots"]).as_str(), server.stat("/files/delivered")), ("2", 2));
    // While no state is attached no function can be asked; hooks without Lua go on.
    server.hook("kill", counter("always"));
    server.tick();
    server.wait_ready();
    wait_until("the leases are held", || held(&server) == 2);
    let (functions, _) = server.engine.detach();
    assert_eq!(functions.len(), 1);
    publish(&redis, "p:kill", "{\"weapon\":\"crossbow\"}");
    wait_until("counted without Lua", || redis.command(&["GET", "p:always"]) == "1");
    assert_eq!(redis.command(&["GET", "p:shots"]), "2");
    server.engine.attach();
    server.settle();
    server.stop();
}

/// The failures of conditional hooks that were reported, each as `hook: reason`.
fn failed(server: &Server) -> Vec<String> {
    let told = server.told.iter().filter_map(|notice| match notice {
        Notice::ActionFailed { hook, kind: "conditional", reason } => {
            Some(format!("{}: {reason}", String::from_utf8_lossy(hook)))
        }
        _ => None,
    });
    told.collect()
}

/// Events whose hook has no function yet after a map change: their sender has announced that the hook acts. They wait
/// until it is added again, or are reported once nobody can add it in time.
#[test]
fn conditions_wait_for_their_hook_to_be_added_again_after_a_map_change() {
    const EVENTS: u64 = 20;
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    let add = |server: &mut Server, id: &str, key: &str| {
        let function = json!({ "\u{0}function": "x.lua" });
        let spec = json!({ "type": "conditional", "condition": function, "actions": [counter(key)] });
        server.engine.add_hook(b"kill", Some(id.as_bytes()), &spec, Some(CallbackRef(1))).unwrap();
    };
    let change_map = |server: &mut Server| {
        (0..EVENTS).for_each(|n| emit(server, "kill", &json!({ "n": n })));
        server.engine.detach();
        wait_until("all events wait for Lua", || server.stat("/actions/waiting") == 0);
        server.engine.attach();
        (0..2).for_each(|_| _ = server.tick());
    };
    add(&mut server, "late", "late");
    server.tick();
    server.wait_ready();
    server.wait_told_connected();
    change_map(&mut server);
    assert_eq!((server.stat("/conditions"), server.stat("/inbox/waiting")), (0, EVENTS));
    add(&mut server, "late", "late");
    server.settle();
    assert_eq!((server.stat("/conditions"), server.stat("/inbox/dropped/undecided")), (EVENTS, 0));
    assert_eq!(redis.command(&["GET", "p:late"]), EVENTS.to_string());
    // Another hook under the same id.
    change_map(&mut server);
    add(&mut server, "late", "other");
    server.settle();
    assert_eq!((server.stat("/conditions"), server.stat("/inbox/dropped/undecided")), (EVENTS, EVENTS));
    let reason = "late: the hook was not added again after the map change";
    assert_eq!(failed(&server), [reason]);
    // No hook at all, until the grace period is over.
    change_map(&mut server);
    assert_eq!((server.stat("/inbox/waiting"), server.stat("/inbox/dropped/undecided")), (EVENTS, EVENTS));
    server.wait(|server| failed(server).len() > 1);
    server.settle();
    assert_eq!((server.stat("/conditions"), server.stat("/inbox/dropped/undecided")), (EVENTS, 2 * EVENTS));
    assert_eq!((failed(&server), server.stat("/hooks")), (vec![reason.to_owned(); 2], 0));
    // A hook that a script removes has nothing to wait for.
    add(&mut server, "removed", "removed");
    emit(&mut server, "kill", &json!({ "n": 1 }));
    wait_until("the event waits for Lua", || server.stat("/actions/waiting") == 0);
    assert!(server.engine.remove_hook(b"removed").is_some());
    server.settle();
    assert_eq!(failed(&server)[2..], ["removed: the hook was removed or replaced before its function was asked"]);
    assert_eq!(server.stat("/inbox/dropped/no_listener"), 0);
    server.stop();
}

/// More hooks than an identity lists with their whole fingerprints, and one that only another server has.
#[test]
fn a_hook_of_one_server_acts_on_events_of_another_that_has_many() {
    let redis = Redis::start(&[]);
    let mut servers = ["one", "two"].map(|name| at(&redis.url(), name));
    // Both have the first of these.
    (0..49).for_each(|n| servers[0].hook("kill", counter(&format!("own:{n}"))));
    servers[1].hook("kill", counter("own:0"));
    servers[1].hook("kill", counter("other"));
    servers.iter_mut().for_each(|server| _ = server.tick());
    servers.iter_mut().for_each(Server::wait_ready);
    wait_held(&servers, 50);
    (0..20).for_each(|n| emit(&mut servers[0], "kill", &json!({ "n": n })));
    wait_for("events on which the other hook acted", "20".to_owned(), || redis.command(&["GET", "p:other"]));
    servers.iter_mut().for_each(Server::settle);
    for key in ["p:own:0", "p:own:48", "p:other"] {
        assert_eq!(redis.command(&["GET", key]), "20", "{key}");
    }
    // With 53 more they are not listed at all.
    (49..102).for_each(|n| servers[0].hook("kill", counter(&format!("own:{n}"))));
    servers[0].tick();
    servers[0].wait_ready();
    emit(&mut servers[0], "kill", &json!({ "n": 20 }));
    let held = u64::try_from(held(&servers[1])).unwrap();
    servers[1].wait(|server| server.stat("/events_without_list") == held);
    servers.iter_mut().for_each(Server::settle);
    assert_eq!(["p:own:0", "p:other"].map(|key| redis.command(&["GET", key])), ["21", "20"]);
    for server in servers {
        server.stop();
    }
}

/// If the event lacks a field of the key, the action fails, is counted and reported.
#[test]
fn an_action_that_cannot_be_made_is_counted_and_reported() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    server.engine.add_hook(b"kill", Some(b"by killer"), &counter("kills:{killer}"), None).unwrap();
    server.tick();
    emit(&mut server, "kill", &json!({ "victim": "Alice" }));
    server.wait(|server| server.told.iter().any(|told| matches!(told, Notice::ActionFailed { .. })));
    let told: Vec<&Notice> = server.told.iter().filter(|told| matches!(told, Notice::ActionFailed { .. })).collect();
    let reason = "the event has no `killer`".to_owned();
    let expected = Notice::ActionFailed { hook: Arc::from(b"by killer".as_slice()), kind: "counter", reason };
    assert_eq!(told, [&expected]);
    assert_eq!(server.stat("/actions_unmade"), 1);
    server.settle();
    server.stop();
}

/// `by` may be a value of the event. A value that is no number fails the action, once reported; 0 changes nothing.
#[test]
fn hooks_add_amounts_of_events() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "amounts");
    for (id, spec) in [
        ("sum", json!({ "type": "counter", "key": "sum:{who}", "by": "{amount}" })),
        ("left", json!({ "type": "counter", "key": "left", "by": "{amount}", "action": "decr" })),
        ("top", json!({ "type": "leaderboard", "board": "top", "member": "{who}", "by": "{amount}" })),
    ] {
        server.engine.add_hook(b"pay", Some(id.as_bytes()), &spec, None).unwrap();
    }
    server.wait_ready();
    for (who, amount) in [
        ("a", json!(5)),
        ("a", json!("9007199254740993")),
        ("b", json!(0)),
        ("c", json!(2.5)),
        ("d", json!("12abc")),
        ("d", json!("1e400")),
        ("d", json!([5])),
    ] {
        emit(&mut server, "pay", &json!({ "who": who, "amount": amount }));
    }
    // Of seven events one has a fraction, which two counters refuse, and three have no number.
    server.wait(|server| server.stat("/actions_unmade") == 2 + 3 * 3);
    server.settle();
    assert_eq!(redis.command(&["GET", "p:sum:a"]), "9007199254740998");
    assert_eq!(redis.command(&["GET", "p:left"]), "-9007199254740998");
    assert_eq!(redis.command(&["EXISTS", "p:sum:b", "p:sum:c", "p:sum:d"]), "0");
    assert_eq!(redis.command(&["ZSCORE", "p:top", "b"]), "0");
    assert_eq!(redis.command(&["ZSCORE", "p:top", "c"]), "2.5");
    assert_eq!(redis.command(&["ZCARD", "p:top"]), "3");
    server.wait(|server| server.stat("/notices/waiting") == 0);
    let failed = |told: &&Notice| matches!(told, Notice::ActionFailed { .. });
    assert_eq!(server.told.iter().filter(failed).count(), 3, "{:?}", server.told);
    server.stop();
}

/// Keys, boards and members have the bound of `Incr`. Each cause is reported once; every action is counted.
#[test]
fn keys_and_members_of_hooks_have_the_bounds_of_incr() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "bounds");
    for (id, spec) in [
        ("key", json!({ "type": "counter", "key": "{long}" })),
        ("board", json!({ "type": "leaderboard", "board": "b:{long}", "member": "m" })),
        ("member", json!({ "type": "leaderboard", "board": "b", "member": "{huge}" })),
        ("fits", json!({ "type": "leaderboard", "board": "{fits}", "member": "{fits}" })),
    ] {
        server.engine.add_hook(b"kill", Some(id.as_bytes()), &spec, None).unwrap();
    }
    server.engine.add_hook(b"long:*", Some(b"log"), &json!({ "type": "file", "path": "long.log" }), None).unwrap();
    server.wait_ready();
    let refused = server.incr(&"k".repeat(1025), None).unwrap_err().to_string();
    assert_eq!(refused, "too_large: the key has 1025 bytes, 1024 are allowed");
    let event = json!({ "long": "k".repeat(1025), "huge": "k".repeat(400_000), "fits": "k".repeat(1024) });
    for _ in 0..3 {
        emit(&mut server, "kill", &event);
    }
    publish(&redis, &format!("p:long:{}", "c".repeat(1020)), "{}");
    publish(&redis, "p:long:c", "{}");
    server.wait(|server| server.stat("/actions_unmade") == 10 && server.stat("/files/delivered") == 1);
    server.settle();
    server.wait(|server| server.stat("/notices/waiting") == 0);
    let mut told: Vec<String> = server
        .told
        .iter()
        .filter_map(|told| match told {
            Notice::ActionFailed { hook, kind, reason } => {
                Some(format!("{} {kind} {reason}", String::from_utf8_lossy(hook)))
            }
            _ => None,
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "board leaderboard too_large: the board cannot be made: it is longer than 1024 bytes",
            "key counter too_large: the key cannot be made: it is longer than 1024 bytes",
            "log file too_large: the channel is longer than 1024 bytes",
            "member leaderboard too_large: the member cannot be made: it is longer than 1024 bytes",
        ]
    );
    assert_eq!(redis.command(&["ZSCORE", &format!("p:{}", "k".repeat(1024)), &"k".repeat(1024)]), "3");
    assert_eq!(redis.command(&["EXISTS", "p:b", &format!("p:{}", "k".repeat(1025))]), "0");
    server.stop();
}

/// A thousand counter actions over connections that are cut at random: the counts are exact.
#[test]
fn counters_of_hooks_are_exact_when_connections_are_cut() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut server = at(&proxy.url(), "one");
    server.hook("kill", counter("kills"));
    server.tick();
    let mut random = Random::announced("counters of hooks");
    for _ in 0..20 {
        let direction = if random.below(2) == 0 { Direction::ToClient } else { Direction::ToServer };
        proxy.set(direction, Fault::CutAfter(600 + random.below(4000)));
        for n in 0..50 {
            emit(&mut server, "kill", &json!({ "n": n }));
        }
        proxy.cut_all();
        server.tick();
    }
    [Direction::ToClient, Direction::ToServer].into_iter().for_each(|direction| proxy.set(direction, Fault::None));
    proxy.cut_all();
    server.settle();
    assert_eq!(redis.command(&["GET", "p:kills"]), "1000");
    server.stop();
}

/// The game sleeps while a channel is busy. Hooks without Lua act; events for Lua are bounded, and their loss is reported.
#[test]
fn hooks_act_while_the_game_sleeps() {
    const EVENTS: u64 = 20_000;
    let redis = Redis::start(&[]);
    let mut sleeping = at(&redis.url(), "asleep");
    sleeping.on("kill", 1);
    sleeping.hook("kill", json!({ "type": "file", "path": "kills.log", "format": "binary" }));
    sleeping.hook("kill", counter("kills"));
    sleeping.tick();
    sleeping.wait_ready();
    wait_until("the lease is held", || held(&sleeping) == 1);
    // From here on no tick runs.
    let mut other = at(&redis.url(), "other");
    for n in 0..EVENTS {
        emit(&mut other, "kill", &json!({ "n": n }));
        // Publish no faster than Redis counts: a full queue refuses the newest.
        if (n + 1) % 4000 == 0 {
            wait_until("each is counted", || redis.command(&["GET", "p:kills"]) == (n + 1).to_string());
        }
    }
    other.settle();
    wait_until("each is on disk", || sleeping.stat("/files/delivered") == EVENTS);
    wait_for("events that arrived", EVENTS, || sleeping.stat("/inbox/in"));
    let inbox = sleeping.engine.shared().inbox.waiting() as u64;
    assert!(inbox <= 8192, "{inbox}");
    assert_eq!(sleeping.stat("/inbox/dropped/overflow"), EVENTS - inbox);
    // The game wakes: one overflow is reported, the newest events are heard.
    sleeping.settle();
    let told = |notice: &&Notice| matches!(notice, Notice::Overflow { .. });
    assert_eq!(sleeping.told.iter().filter(told).count(), 1);
    assert_eq!(sleeping.heard.last().map(String::as_str), Some(format!("1 kill {}", EVENTS - 1).as_str()));
    sleeping.stop();
    other.stop();
}

/// If the hooks of an event have no room for it, Emit refuses it: it is not published, uses no number, and no hook acts.
#[test]
fn emit_refuses_an_event_if_its_hooks_have_no_room() {
    let redis = Redis::start(&[]);
    let (mut server, mut other) = (at(&redis.url(), "one"), at(&redis.url(), "other"));
    server.hook("kill", json!({ "type": "file", "path": "kills.log", "format": "binary" }));
    other.on("kill", 1);
    for server in [&mut server, &mut other] {
        server.tick();
        server.wait_ready();
    }
    // The thread `rt-actions` is blocked.
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    assert!(server.engine.shared().actions.after(move || _ = wait.recv()));
    let mut accepted = 0_u64;
    let reason = loop {
        let event = json!({ "n": accepted }).to_string();
        match server.emit("kill", &event).map_err(|refusal| refusal.to_string()) {
            Ok(()) => accepted += 1,
            // A Redis that is behind for a moment takes no room from the hooks.
            Err(reason) if reason.ends_with("wait for redis") => _ = other.tick(),
            Err(reason) => break reason,
        }
        if accepted.is_multiple_of(500) {
            other.tick();
        }
    };
    assert_eq!(reason, "queue_full: 8192 events wait for their hooks");
    // From here on no event is refused because Redis is behind.
    wait_until("all events are written", || server.stat("/outbox/waiting") == 0);
    let published = server.stat("/outbox/in");
    (0..50).for_each(|_| assert!(server.emit("kill", r#"{"n":-1}"#).is_err()));
    assert_eq!((accepted, server.stat("/outbox/in") - published), (8192, 0));
    assert_eq!(server.stat("/actions/dropped/queue_full"), 51);
    // An event without hooks needs no room.
    server.emit("free", "{}").unwrap();
    go_on.send(()).unwrap();
    server.settle();
    server.emit("kill", r#"{"n":"last"}"#).unwrap();
    server.settle();
    assert_eq!(server.stat("/files/delivered"), accepted + 1);
    other.wait(|other| other.heard.last().is_some_and(|last| last == "1 kill last"));
    // The numbers have no hole. If the other server was too slow for its inbox, it dropped the oldest and counted them.
    let heard = other.heard.len() as u64 + other.stat("/inbox/dropped/overflow");
    assert_eq!((heard, other.stat("/missed")), (accepted + 1, 0));
    server.stop();
    other.stop();
}

/// The game sleeps, and events wait for their conditions. If a full inbox drops them, they are reported apart from the
/// events that listeners lose.
#[test]
fn dropped_conditions_are_reported() {
    const EVENTS: u64 = 9000;
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    let actions = json!([{ "type": "file", "path": "kills.log", "format": "binary" }]);
    let function = json!({ "\u{0}function": "x.lua" });
    server.hook("kill", json!({ "type": "conditional", "condition": function, "actions": actions }));
    server.tick();
    server.wait_ready();
    for n in 0..EVENTS {
        emit(&mut server, "kill", &json!({ "n": n }));
    }
    wait_until("all events wait for Lua", || server.stat("/actions/waiting") == 0);
    let waiting = server.engine.shared().inbox.waiting() as u64;
    assert_eq!(server.stat("/inbox/dropped/undecided"), EVENTS - waiting);
    assert_eq!(server.stat("/inbox/dropped/overflow"), 0);
    server.settle();
    assert_eq!(server.stat("/files/delivered"), waiting);
    let told = |notice: &&Notice| matches!(notice, Notice::ActionFailed { kind: "conditional", reason, .. } if reason.starts_with("queue_full: "));
    assert_eq!(server.told.iter().filter(told).count(), 1, "{:?}", server.told);
    server.stop();
}

/// Redis is away for a while (30 s with `REALTIME_AWAY_SECONDS=30`): Discord gets its messages at once, and the counters
/// are exact later.
#[test]
fn discord_gets_messages_at_once_while_redis_is_away() {
    let seconds = std::env::var("REALTIME_AWAY_SECONDS").map_or(2, |text| text.parse().expect("seconds"));
    let mut redis = Redis::start(&[]);
    let discord = Web::start(|_| Answer::Status(204));
    let mut server = at(&redis.url(), "one");
    let url = discord.url("/api/webhooks/1/token");
    server.hook("kill", json!({ "type": "discord", "webhook_url": url, "format": "{n}" }));
    server.hook("kill", counter("kills"));
    server.tick();
    server.wait_ready();
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    let (began, mut waits, mut sent) = (Instant::now(), Vec::new(), 0);
    let lines = |discord: &Web| discord.seen().iter().map(|seen| seen.content().lines().count() as u64).sum::<u64>();
    while began.elapsed() < Duration::from_secs(seconds) {
        let emitted = Instant::now();
        emit(&mut server, "kill", &json!({ "n": sent }));
        sent += 1;
        wait_until("discord gets the message", || lines(&discord) == sent);
        waits.push(emitted.elapsed());
    }
    // The median: a busy machine delays a single post now and then.
    waits.sort();
    assert!(waits[waits.len() / 2] < Duration::from_secs(1), "{waits:?}");
    redis.start_again();
    server.settle();
    assert_eq!(redis.command(&["GET", "p:kills"]), sent.to_string());
    server.stop();
}

/// Redis is stopped and the webhook's host never answers: a map change takes no longer than its bound, and nothing is
/// lost.
#[test]
fn a_map_change_keeps_its_bound_if_neither_redis_nor_the_web_answers() {
    let redis = Redis::start(&[]);
    let hole = Web::start(|_| Answer::Hang);
    let mut server = at(&redis.url(), "one");
    server.hook("kill", json!({ "type": "discord", "webhook_url": hole.url("/api/webhooks/1/x"), "format": "{n}" }));
    server.hook("kill", json!({ "type": "file", "path": "kills.log" }));
    server.hook("kill", counter("kills"));
    server.tick();
    server.wait_ready();
    redis.stop();
    for n in 0..20 {
        emit(&mut server, "kill", &json!({ "n": n }));
    }
    wait_until("a post hangs", || !hole.seen().is_empty());
    let mut changes = 0;
    within(CLOSE_FLUSH_MAX + Duration::from_millis(200), || {
        // Once the connection counts as lost, a close no longer waits for it.
        assert!(server.engine.shared().links.publisher.is_ready(), "too many tries");
        let began = Instant::now();
        let (_, flush) = server.engine.detach();
        flush.wait();
        let took = began.elapsed();
        assert_eq!(server.stat("/files/delivered"), 20);
        let spool = std::fs::read_to_string(server.folder.path().join("realtime/spool.jsonl")).unwrap();
        assert!(spool.contains("discord"), "{spool}");
        server.engine.attach();
        changes += 1;
        // Three times at least: the second and the third find the posts that the first left.
        if changes < 3 { Duration::MAX } else { took }
    });
    redis.resume();
    wait_until("all kills are counted", || redis.command(&["GET", "p:kills"]) == "20");
    server.stop();
}
