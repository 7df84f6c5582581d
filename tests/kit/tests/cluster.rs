//! A Redis cluster of three masters: events, values, counters and leases work, slots move, nodes die.

use std::collections::HashSet;
use std::time::Duration;

use fault_kit::{Cluster, Redis, Scripted, Server, comes_true, wait_for, wait_until};
use realtime::facade::event::notice::Notice;
use realtime::facade::hooks::status::Player;
use serde_json::json;

/// The slots of these keys are on different nodes, and on those of the keys of numbers.
const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "{tag}:1", "{tag}:2", "odd}key"];

fn at(url: &str, name: &str) -> Server {
    let settings = json!({ "redis": url, "server": name, "prefix": "p:", "sync_timeout_ms": 1000 });
    let mut server = Server::with(settings);
    server.wait_ready();
    server
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn settle(server: &mut Server) {
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    server.assert_balanced();
}

fn lost(server: &Server) -> u64 {
    ["redis", "unknown", "timeout", "expired"].iter().map(|name| server.stat(&format!("/outbox/dropped/{name}"))).sum()
}

/// Keys on all nodes: written, read, counted with and without a time to live, deleted; in the order of each key.
#[test]
fn values_and_counters_work_on_keys_of_all_nodes() {
    for settings in [&[][..], &["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]] {
        let cluster = Cluster::start(settings);
        let mut server = at(&cluster.url(), "one");
        for round in 0..3 {
            for key in KEYS {
                server.set(key, &round.to_string()).unwrap();
                (0..5).for_each(|_| server.incr(key, None).unwrap());
                assert_eq!(server.get(key), format!("'{}'", round + 5), "{key}");
            }
        }
        for key in KEYS {
            server.submit(None, |requests| requests.expire(key.as_bytes(), 100.0)).unwrap();
            let board = format!("board:{key}");
            server
                .submit(None, |requests| requests.command(&words(&["ZADD", &format!("p:{board}"), "7", "Jo"])))
                .unwrap();
            assert_eq!(
                server.read(|requests| requests.leaderboard(board.as_bytes(), 5.0)),
                "{Jo=7} {{rank=1,name='Jo',score=7}}"
            );
        }
        settle(&mut server);
        for key in KEYS {
            let key = format!("p:{key}");
            assert_eq!(cluster.command(&["GET", &key]), "7");
            assert!((90..=100).contains(&cluster.command(&["TTL", &key]).parse::<i64>().unwrap()), "{key}");
        }
        assert_eq!(lost(&server), 0, "{:?}", server.errors());
        // A user's own script names its keys behind their number.
        if settings.is_empty() {
            for key in KEYS {
                let command = words(&["EVAL", "return redis.call('GET', KEYS[1])", "1", &format!("p:{key}")]);
                server.submit(Some(1), |requests| requests.command(&command)).unwrap();
            }
            assert!(server.answered(KEYS.len()).iter().all(|(_, answer)| answer == "'7'"), "{:?}", server.answers);
        }
        // Keys of several slots in one command are refused, and the reason says so.
        server.answers.clear();
        server.submit(Some(2), |requests| requests.del(&[b"a", b"b"])).unwrap();
        server.submit(Some(2), |requests| requests.del(&[b"{tag}:1", b"{tag}:2"])).unwrap();
        let answers = server.answered(2);
        let is_refused = |answer: &str| answer.starts_with("redis: CROSSSLOT") && answer.contains("share a tag");
        // The nodes answer in any order.
        assert_eq!(answers.iter().filter(|(_, answer)| is_refused(answer)).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|(_, answer)| answer == "2").count(), 1, "{answers:?}");
        server.stop();
    }
}

/// The board of `count` counters `kills:NAME`, of which the first `rows` are asked for.
fn board_of(count: usize, rows: usize) -> String {
    let names: Vec<String> = (0..count).rev().take(rows).map(|n| format!("n{n:04}={}", n + 1)).collect();
    let row = |(at, n): (usize, usize)| format!("{{rank={},name='n{n:04}',score={}}}", at + 1, n + 1);
    let ranked: Vec<String> = (0..count).rev().take(rows).enumerate().map(row).collect();
    format!("{{{}}} {{{}}}", names.join(","), ranked.join(","))
}

/// A search goes over all masters, through a slot on its way and to a node that is away; a part is never the answer.
#[test]
fn a_board_of_counters_is_searched_on_all_nodes() {
    const COUNT: usize = 1500;
    let mut cluster = Cluster::start(&["--cluster-require-full-coverage", "no"]);
    for n in 0..COUNT {
        let key = format!("p:kills:n{n:04}");
        assert_eq!(cluster.command(&["SET", &key, &(n + 1).to_string()]), "OK");
    }
    // Values that are no counters, and a key of another board.
    cluster.command(&["SET", "p:kills:text", "x"]);
    cluster.command(&["SET", "p:other:n1", "99999"]);
    let mut server = at(&cluster.url(), "one");
    let ask = |server: &mut Server| {
        server.answers.clear();
        server.submit(Some(1), |requests| requests.leaderboard(b"kills:*", 4.0)).unwrap();
        server.answered(1)[0].1.clone()
    };
    let sorted = |answer: &str| answer.split_once("} {").map(|(_, rows)| rows.to_owned());
    let expected = sorted(&board_of(COUNT, 4));
    // The first command of a connection, and later ones, while others are on their way.
    for _ in 0..3 {
        KEYS.iter().for_each(|key| server.incr(key, None).unwrap());
        let found = ask(&mut server);
        assert_eq!(sorted(&found), expected, "{found}");
    }
    // The slot of the best is on its way: first its keys are on the old node, then on both, then on the new one.
    let best = format!("p:kills:n{:04}", COUNT - 1);
    let slot = cluster.begin_move(&best);
    assert_eq!(sorted(&ask(&mut server)), expected);
    cluster.end_move(&slot, std::slice::from_ref(&best));
    let found = ask(&mut server);
    assert_eq!(sorted(&found), expected, "{found}, {}", cluster.command(&["GET", &best]));
    settle(&mut server);
    assert_eq!(lost(&server), 0, "{:?}", server.errors());
    // A node is away: an error, never a part.
    cluster.0[2].kill();
    wait_until("the search fails", || ask(&mut server).starts_with("disconnected: a node of the cluster is away"));
    cluster.0[2].restart();
    // Without its keys, which it kept in memory only.
    wait_until("the search works", || sorted(&ask(&mut server)).is_some_and(|rows| rows.starts_with("{rank=1,")));
    server.stop();
    // A user who may not know the nodes.
    cluster.0.iter().for_each(|node| assert_eq!(node.command(&["ACL", "SETUSER", "default", "-cluster|slots"]), "OK"));
    let mut server = at(&cluster.url(), "two");
    assert!(ask(&mut server).contains("in a cluster no node knows all keys"), "{:?}", server.answers);
    server.stop();
}

/// Two servers on different nodes hear each other; one of them counts an event of another program, once.
#[test]
fn a_fleet_on_two_nodes_acts_once() {
    let cluster = Cluster::start(&[]);
    let mut fleet = [at(&cluster.0[0].url(), "here"), at(&cluster.0[1].url(), "there")];
    for server in &mut fleet {
        server.on("kill", 1);
        for n in 0..6 {
            let key = format!("kills{n}");
            server.hook("kill", json!({ "type": "counter", "key": key, "ttl": 86400 }));
        }
        server.tick();
        server.wait_ready();
    }
    let held = |server: &Server| {
        let ((_, routes), now) = (server.engine.shared().published.current(), std::time::Instant::now());
        routes.leases().iter().filter(|(_, lease)| lease.holds(now)).count()
    };
    let [here, there] = &mut fleet;
    wait_for("each lease has one holder", 6, || {
        here.tick();
        there.tick();
        held(here) + held(there)
    });
    let mut expected = 0;
    for n in 0..60 {
        match n % 3 {
            0 => here.emit("kill", r#"{"n":1}"#).unwrap(),
            1 => there.emit("kill", r#"{"n":1}"#).unwrap(),
            _ => assert!(!cluster.0[2].command(&["PUBLISH", "p:kill", r#"{"n":1}"#]).starts_with('-')),
        }
        expected += 1;
        here.hear(expected);
        there.hear(expected);
    }
    for n in 0..6 {
        wait_for(&format!("kills{n}"), "60".to_owned(), || cluster.command(&["GET", &format!("p:kills{n}")]));
    }
    assert!(!comes_true(Duration::from_millis(300), || {
        (0..6).any(|n| cluster.command(&["GET", &format!("p:kills{n}")]) != "60")
    }));
    assert_eq!(lost(here) + lost(there), 0);
    // They are renewed.
    let kept = [held(here), held(there)];
    assert!(!comes_true(Duration::from_secs(11), || [held(here), held(there)] != kept), "{kept:?}");
    fleet.into_iter().for_each(Server::stop);
}

/// While a slot is on its way, new keys are asked for at its next node; afterwards all commands go there.
#[test]
fn a_slot_that_moves_loses_and_doubles_nothing() {
    let cluster = Cluster::start(&[]);
    let mut server = at(&cluster.url(), "one");
    let keys: Vec<String> = (0..4).map(|n| format!("{{moving}}:{n}")).collect();
    let on_wire: Vec<String> = keys.iter().map(|key| format!("p:{key}")).collect();
    // In turn: a command of a script's own may change any key of its slot, so a counter that is redirected behind one that
    // was not would be lost.
    let count = |server: &mut Server, keys: &[String]| {
        keys.iter().for_each(|key| server.incr(key, None).unwrap());
        settle(server);
        for key in keys {
            let command = words(&["RPUSH", &format!("p:{key}:list"), "x"]);
            server.submit(None, |requests| requests.command(&command)).unwrap();
        }
        settle(server);
    };
    count(&mut server, &keys[..2]);
    settle(&mut server);
    let slot = cluster.begin_move(&on_wire[0]);
    // These two do not exist yet, so the old node sends them on.
    (0..3).for_each(|_| count(&mut server, &keys[2..]));
    settle(&mut server);
    let (from, _) = cluster.nodes_of(&on_wire[0]);
    let all = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    let mut left: Vec<String> = all.lines().map(str::to_owned).collect();
    // The first key decides which node is the old one.
    left.sort_by_key(|key| *key != on_wire[0]);
    cluster.end_move(&slot, &left);
    (0..3).for_each(|_| count(&mut server, &keys));
    settle(&mut server);
    let found: Vec<String> = on_wire.iter().map(|key| cluster.command(&["GET", key])).collect();
    assert_eq!(found, ["4", "4", "6", "6"]);
    let lists: Vec<String> = on_wire.iter().map(|key| cluster.command(&["LLEN", &format!("{key}:list")])).collect();
    assert_eq!(lists, ["4", "4", "6", "6"]);
    assert_eq!(lost(&server), 0, "{:?}", server.errors());
    server.stop();
}

/// Servers on three nodes see each other: all keys of presence have one slot, which moves.
#[test]
fn servers_on_all_nodes_see_each_other() {
    let cluster = Cluster::start(&[]);
    let start = |node: &Redis, name: &str| {
        let settings = json!({ "redis": node.url(), "server": name, "prefix": "p:", "sync_timeout_ms": 1000,
            "presence": true, "presence_players": true });
        Server::with(settings)
    };
    let names = ["one", "two", "three"];
    let mut fleet: Vec<Server> = cluster.0.iter().zip(names).map(|(node, name)| start(node, name)).collect();
    for (server, name) in fleet.iter_mut().zip(["1", "2", "3"]) {
        server.game.list = vec![Player { steamid64: name.into(), name: name.into() }];
    }
    let all = |fleet: &mut Vec<Server>| {
        fleet.iter_mut().for_each(|server| _ = server.tick());
        fleet.iter_mut().all(|server| server.read(|requests| requests.servers()).matches("{name=").count() == 3)
    };
    wait_until("each lists all", || all(&mut fleet));
    assert_eq!(fleet[2].read(|requests| requests.find_player(b"1")), "{server='one',name='1'}");
    assert_eq!(fleet[0].read(|requests| requests.find_player(b"9")), "nil");

    let index = "p:rt:{servers}:index";
    let slot = cluster.begin_move(index);
    let keys = cluster.nodes_of(index).0.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
    let mut keys: Vec<String> = keys.lines().map(str::to_owned).collect();
    // The index, three servers and their players. The first key decides which node is the old one.
    keys.sort_by_key(|key| key != index);
    assert_eq!(keys.len(), 7, "{keys:?}");
    cluster.end_move(&slot, &keys);
    wait_until("each lists all again", || all(&mut fleet));
    let beat = |cluster: &Cluster| cluster.command(&["PTTL", &keys[1]]).parse::<i64>().unwrap();
    let before = beat(&cluster);
    wait_until("it beats at the new node", || {
        fleet.iter_mut().for_each(|server| _ = server.tick());
        beat(&cluster) > before
    });
    let gone = fleet.pop().unwrap();
    gone.stop();
    assert_eq!(cluster.command(&["ZCARD", index]), "2");
    let is_down = |server: &Server| server.told.contains(&Notice::ServerDown { name: "three".into() });
    wait_until("its end is told", || {
        fleet.iter_mut().for_each(|server| _ = server.tick());
        fleet.iter().all(is_down)
    });
    for server in &fleet {
        assert!(server.errors().is_empty() && server.stat("/reconnects") == 0, "{:?}", server.errors());
    }
    fleet.into_iter().for_each(Server::stop);
}

/// A node dies: events and the keys of other nodes go on, each command for it is reported; when it is back, it is used.
#[test]
fn a_dead_node_costs_its_own_keys_only() {
    let mut cluster = Cluster::start(&["--cluster-require-full-coverage", "no"]);
    let mut server = at(&cluster.url(), "one");
    server.on("chat", 1);
    // The last has no number, so an answer that is lost with the connections leaves it in doubt.
    let keys = &KEYS[..KEYS.len() - 1];
    keys.iter().for_each(|key| server.incr(key, None).unwrap());
    settle(&mut server);
    let of_last: HashSet<&str> = keys
        .iter()
        .copied()
        .filter(|key| !cluster.0[2].command(&["GET", &format!("p:{key}")]).starts_with('-'))
        .collect();
    assert!(!of_last.is_empty() && of_last.len() < keys.len());
    cluster.0[2].kill();
    for n in 1..=20 {
        server.emit("chat", &format!("{{\"n\":{n}}}")).unwrap();
        keys.iter().for_each(|key| server.incr(key, None).unwrap());
        server.hear(n);
    }
    settle(&mut server);
    for key in keys.iter().filter(|key| !of_last.contains(*key)) {
        assert_eq!(
            cluster
                .0
                .iter()
                .take(2)
                .map(|node| node.command(&["GET", &format!("p:{key}")]))
                .find(|found| !found.starts_with('-'))
                .unwrap(),
            "21"
        );
    }
    assert_eq!(lost(&server), 20 * of_last.len() as u64, "{:?}", server.errors());
    assert!(
        server.errors().iter().any(|error| error.contains("a node of the cluster is away")),
        "{:?}",
        server.errors()
    );
    cluster.0[2].restart();
    let back = *of_last.iter().next().unwrap();
    wait_until("the node is used again", || {
        server.set(back, "back").unwrap();
        server.tick();
        server.get(back) == "'back'"
    });
    server.stop();
}

/// A cluster that serves no key while a node is dead, as is the default, passes events on. The commands wait for it.
#[test]
fn a_cluster_that_is_down_passes_events_on() {
    let mut cluster = Cluster::start(&[]);
    let mut server = at(&cluster.url(), "one");
    server.on("chat", 1);
    let alive = KEYS.into_iter().find(|key| cluster.0[0].command(&["GET", &format!("p:{key}")]) == "nil").unwrap();
    cluster.0[2].kill();
    wait_until("the cluster is down", || {
        cluster.0[..2].iter().all(|node| node.command(&["CLUSTER", "INFO"]).contains("cluster_state:fail"))
    });
    for n in 1..=50 {
        server.incr(alive, None).unwrap();
        server.emit("chat", &format!("{{\"n\":{n}}}")).unwrap();
        server.hear(n);
    }
    assert!(server.stat("/outbox/waiting") >= 50 && lost(&server) == 0, "{:?}", server.errors());
    cluster.0[2].restart();
    settle(&mut server);
    assert_eq!((server.get(alive), lost(&server)), ("'50'".to_owned(), 0), "{:?}", server.errors());
    server.stop();
}

/// The replica of a node serves as the Redis of the settings: it passes events on, and says which node serves a key.
#[test]
fn a_replica_of_a_cluster_is_as_good_as_a_master() {
    let cluster = Cluster::start(&[]);
    let replica = Redis::start(&["--cluster-enabled", "yes"]);
    cluster.meet(&replica);
    let id = cluster.0[1].command(&["CLUSTER", "MYID"]);
    wait_until("it follows", || replica.command(&["CLUSTER", "REPLICATE", &id]) == "OK");
    wait_until("it is in step", || {
        replica.command(&["ROLE"]).contains("connected")
            && replica.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    });
    let mut here = at(&replica.url(), "here");
    let mut there = at(&cluster.url(), "there");
    there.on("chat", 1);
    there.tick();
    there.wait_ready();
    here.emit("chat", "{\"n\":1}").unwrap();
    there.hear(1);
    KEYS.iter().for_each(|key| here.incr(key, None).unwrap());
    settle(&mut here);
    assert!(KEYS.iter().all(|key| here.get(key) == "'1'"));
    // Longer than a heartbeat.
    assert!(!comes_true(Duration::from_secs(6), || here.stat("/reconnects") > 0));
    here.engine.begin_selftest().unwrap();
    wait_until("the self-test passes", || {
        here.engine.shared().selftest.pop().is_some_and(|line| line == "self-test passed")
    });
    here.stop();
    there.stop();
}

/// A script of an addon can answer with any error. It makes the module neither log in elsewhere nor run it again.
#[test]
fn a_script_cannot_lead_the_module_to_another_server() {
    let elsewhere = Scripted::start(|client| client.behave());
    let place = elsewhere.url().replace("redis://", "");
    let plain = Redis::start(&[]);
    let cluster = Cluster::start(&[]);
    for url in [plain.url(), cluster.url()] {
        let mut server = at(&url, "one");
        KEYS.iter().for_each(|key| server.incr(key, None).unwrap());
        settle(&mut server);
        for redirect in ["MOVED 1", "ASK 1"] {
            let script = format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{redirect} {place}')");
            let command = words(&["EVAL", &script, "1", "p:{ran}"]);
            server.submit(Some(1), |requests| requests.command(&command)).unwrap();
        }
        let answers = server.answered(2);
        assert!(answers.iter().all(|(_, answer)| answer.contains(&place)), "{answers:?}");
        settle(&mut server);
        server.set("k", "v").unwrap();
        assert_eq!(server.get("k"), "'v'");
        server.stop();
    }
    assert_eq!(plain.command(&["GET", "p:{ran}"]), "2");
    assert_eq!(elsewhere.connections(), 0);
}

/// Streams on all nodes: events are kept there, by the script and without it, while a stream moves, and while a node is
/// dead. Listeners on another node hear each of them in any case.
#[test]
fn events_are_kept_by_the_node_of_their_stream() {
    let channels: Vec<String> = (0..6).map(|n| format!("chat{n}")).collect();
    let say = |here: &mut Server, there: &mut Server, numbers: std::ops::Range<u32>| {
        let before = there.heard.len();
        for n in numbers.clone() {
            channels.iter().for_each(|channel| here.emit(channel, &format!(r#"{{"n":{n}}}"#)).unwrap());
        }
        settle(here);
        assert_eq!(lost(here), 0, "{:?}", here.errors());
        there.hear(before + numbers.len() * channels.len());
        for channel in &channels {
            let prefix = format!("1 {channel} ");
            let heard: Vec<u32> =
                there.heard[before..].iter().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect();
            assert_eq!(heard, numbers.clone().collect::<Vec<_>>(), "{channel}");
        }
    };
    let kept = |server: &mut Server, channel: &str| -> Vec<u32> {
        let answer = server.history(channel, 1000.0);
        answer.split("data={n=").skip(1).map(|rest| rest.split('}').next().unwrap().parse().unwrap()).collect()
    };
    for settings in [&[][..], &["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]] {
        // The nodes drop their links, and the events on them, if a busy machine holds one of them up for longer.
        let patient = ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "30000"];
        let mut cluster = Cluster::start(&[settings, &patient].concat());
        let (mut here, mut there) = (at(&cluster.url(), "here"), at(&cluster.0[1].url(), "there"));
        channels.iter().for_each(|channel| there.on(channel, 1));
        there.tick();
        there.wait_ready();
        channels.iter().for_each(|channel| here.engine.keep(channel.as_bytes(), Some(&json!({}))).unwrap());
        say(&mut here, &mut there, 0..20);
        // Without scripts the events go on while a node names the right one.
        let missed = here.stat("/not_kept");
        let all = (0..20).collect::<Vec<u32>>();
        if settings.is_empty() {
            assert_eq!((missed, here.stat("/kept"), here.errors()), (0, 120, vec![]));
            channels.iter().for_each(|channel| assert_eq!(kept(&mut here, channel), all, "{channel}"));
            // A stream moves while events come.
            let key = "p:rt:kept:chat0";
            let slot = cluster.begin_move(key);
            say(&mut here, &mut there, 20..40);
            cluster.end_move(&slot, &[key.to_owned()]);
            say(&mut here, &mut there, 40..60);
            assert_eq!(kept(&mut here, "chat0"), (0..60).collect::<Vec<_>>());
            // A stream that begins while its slot is on its way begins at the new node.
            let fresh = cluster.begin_move("p:rt:kept:chat1");
            cluster.command(&["DEL", "p:rt:kept:chat1"]);
            say(&mut here, &mut there, 60..80);
            cluster.end_move(&fresh, &["p:rt:kept:chat1".to_owned()]);
            assert_eq!(kept(&mut here, "chat1"), (60..80).collect::<Vec<_>>());
            assert_eq!((here.stat("/not_kept"), here.stat("/kept"), here.errors()), (0, 480, vec![]));
            // A listener reads on, at the nodes of its streams and of its places.
            let follow = |server: &mut Server| {
                channels.iter().for_each(|channel| server.on_missed(channel, "shop", 2));
                server.tick();
                server.wait_ready();
            };
            let mut away = at(&cluster.0[2].url(), "away");
            follow(&mut away);
            for channel in &channels {
                let key = format!("p:rt:place:away:5:{channel}:shop");
                away.wait(|_| cluster.command(&["EXISTS", &key]) == "1");
            }
            away.leave();
            say(&mut here, &mut there, 100..120);
            let mut away = at(&cluster.0[2].url(), "away");
            follow(&mut away);
            away.hear(120);
            for channel in &channels {
                let of = |line: &&String| line.starts_with(&format!("2 {channel} "));
                let expected: Vec<String> = (100..120).map(|n| format!("2 {channel} {n} missed")).collect();
                assert_eq!(away.heard.iter().filter(of).cloned().collect::<Vec<_>>(), expected);
            }
            away.leave();
        } else {
            assert!(missed > 0 && missed + here.stat("/kept") == 120, "{:?}", here.errors());
            let found: usize = channels.iter().map(|channel| kept(&mut here, channel).len()).sum();
            assert_eq!(found as u64, here.stat("/kept"));
            assert!(here.errors().iter().any(|error| error.contains("MOVED")), "{:?}", here.errors());
        }
        // Its streams are away with it; listeners hear all.
        let before = (here.stat("/kept"), here.stat("/not_kept"));
        cluster.0[2].kill();
        say(&mut here, &mut there, 80..100);
        let (kept, missed) = (here.stat("/kept") - before.0, here.stat("/not_kept") - before.1);
        assert!(kept >= 20 && missed >= 20 && kept + missed == 120, "{kept} {missed}: {:?}", here.errors());
        assert_eq!(lost(&here), 0, "{:?}", here.errors());
        here.stop();
        there.stop();
    }
}
