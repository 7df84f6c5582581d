//! Servers that do less than current Redis, or word it differently: Redis 5 and 6, servers that refuse scripts, KeyDB.
//! Only one redis-server is installed here, so the tests play the others: with an ACL, with `rename-command`, and with a
//! relay that gives their answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fault_kit::{Proxy, Redis, Scripted, Server, answer_with, comes_true, wait_until};
use realtime::facade::threads::shared::Shared;
use serde_json::json;

fn with(url: &str, name: &str) -> Server {
    let mut server = Server::with(json!({ "redis": url, "server": name, "prefix": "p:" }));
    // Counters and a leaderboard, with and without a time to live, for events of this server and of others.
    server.hook("kill", json!({ "type": "counter", "key": "kills", "ttl": 86400 }));
    server.hook("kill", json!({ "type": "counter", "key": "blood", "by": 2 }));
    server.hook("kill", json!({ "type": "leaderboard", "board": "day", "member": "{killer}", "ttl": 86400 }));
    server.tick();
    server.wait_ready();
    server
}

fn held(shared: &Shared) -> usize {
    let ((_, routes), now) = (shared.published.current(), Instant::now());
    routes.leases().iter().filter(|(_, lease)| lease.holds(now)).count()
}

fn wait_held(server: &mut Server, count: usize) {
    server.wait(|server| held(server.engine.shared()) == count);
}

fn counts(redis: &Redis, prefix: &str) -> [String; 5] {
    let key = |name: &str| format!("{prefix}{name}");
    // The time runs: some seconds less than the whole day count as all of it.
    let ttl = |name: &str| {
        let seconds = redis.command(&["TTL", &key(name)]);
        let is_fresh = seconds.parse().is_ok_and(|seconds: i64| (86_340..86_400).contains(&seconds));
        if is_fresh { "86400".to_owned() } else { seconds }
    };
    [
        redis.command(&["GET", &key("kills")]),
        redis.command(&["GET", &key("blood")]),
        redis.command(&["ZSCORE", &key("day"), "Jo"]),
        ttl("kills"),
        ttl("day"),
    ]
}

/// Emits one event of this server and one of another program: both are counted, and keys with a time to live expire.
fn counts_two(redis: &Redis, server: &mut Server, what: &str) {
    wait_held(server, 3);
    server.emit("kill", r#"{"killer":"Jo"}"#).unwrap();
    redis.command(&["PUBLISH", "p:kill", r#"{"killer":"Jo"}"#]);
    let expected = ["2", "4", "2", "86400", "86400"];
    wait_until(&format!("{what}: {expected:?}"), || counts(redis, "p:") == expected);
    server.wait(|server| server.stat("/outbox/waiting") == 0);
}

/// How many lines of `realtime_status`, and how many reported errors, contain this text.
fn said(server: &mut Server, part: &str) -> (usize, usize) {
    server.tick();
    let count = |lines: &[String]| lines.iter().filter(|line| line.contains(part)).count();
    (count(&server.engine.report()), count(&server.errors()))
}

const REFUSES_SCRIPTS: &str = "redis refuses scripts (EVAL)";

// ---- scripts are refused ------------------------------------------------------------------------------------------

/// However a server words the refusal, in any letter case: all counts are right, hooks act on events of others, and the
/// refusal is reported once.
#[test]
fn scripts_refused_in_any_words_are_replaced_by_plain_commands() {
    let rows = include_str!("../../../testdata/redis/scripts.txt").lines().filter_map(|row| row.strip_suffix(" | yes"));
    for (at, row) in rows.enumerate() {
        let wording = if at % 2 == 0 { row.to_owned() } else { row.to_uppercase() };
        let redis = Redis::start(&[]);
        let (address, error) = (redis.address(), wording.clone());
        let relay = Scripted::start(move |client| {
            client.relay(address, |command| match command[0].as_str() {
                "EVAL" | "EVALSHA" => answer_with(&error),
                _ => command,
            });
        });
        let mut server = with(&relay.url(), "one");
        counts_two(&redis, &mut server, &wording);
        assert_eq!(said(&mut server, REFUSES_SCRIPTS), (1, 1), "{wording}: {:?}", server.errors());
        assert_eq!(server.errors().len(), 1, "{wording}: {:?}", server.errors());
        server.assert_balanced();
        server.stop();
    }
}

/// The same with a real Redis: an ACL, and renamed commands.
#[test]
fn scripts_refused_by_a_real_redis_are_replaced_by_plain_commands() {
    let acl = ["--user", "gmod", "on", ">pw", "~*", "&*", "+@all"];
    let rows: [(&[&str], &str, usize); 4] = [
        (&["-eval", "-evalsha"], "gmod:pw@", 1),
        (&["-eval"], "gmod:pw@", 1),
        // Here EVAL with the text of the script is allowed.
        (&["-evalsha"], "gmod:pw@", 0),
        (&["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""], "", 1),
    ];
    for (settings, login, told) in rows {
        let settings: Vec<&str> = if login.is_empty() { settings.to_vec() } else { [&acl, settings].concat() };
        let redis = Redis::start(&settings);
        let mut server = with(&redis.url().replace("redis://", &format!("redis://{login}")), "one");
        counts_two(&redis, &mut server, &format!("{settings:?}"));
        (0..20).for_each(|_| server.incr("n", None).unwrap());
        server.wait(|server| server.stat("/outbox/waiting") == 0);
        assert_eq!(redis.command(&["GET", "p:n"]), "20", "{settings:?}");
        assert_eq!(said(&mut server, REFUSES_SCRIPTS), (told, told), "{settings:?}");
        assert_eq!(server.stat("/outbox/dropped/redis") + server.stat("/outbox/dropped/unknown"), 0, "{settings:?}");
        server.assert_balanced();
        server.stop();
    }
}

/// A user who may write the counters but not the keys of their numbers.
#[test]
fn counters_whose_numbers_are_forbidden_are_counted() {
    let acl = ["--user", "gmod", "on", ">pw", "~p:kills", "~p:blood", "~p:day", "~p:rt:lead:*", "&*", "+@all"];
    let redis = Redis::start(&acl);
    let mut server = with(&redis.url().replace("redis://", "redis://gmod:pw@"), "one");
    counts_two(&redis, &mut server, "forbidden numbers");
    assert_eq!(server.stat("/outbox/dropped/redis") + server.stat("/outbox/dropped/unknown"), 0);
    server.assert_balanced();
    server.stop();
}

/// A server repeats the arguments of a command that it does not know, and one of them is a name that a player chose. Only
/// that command fails, whatever the name says.
#[test]
fn a_name_that_a_server_repeats_does_not_end_the_connection() {
    let redis = Redis::start(&["--rename-command", "DEL", ""]);
    let mut server = with(&redis.url(), "one");
    for (at, nick) in ["max number of clients", "invalid password", "operation not permitted"].iter().enumerate() {
        server.submit(Some(1), |requests| requests.del(&[format!("note:{nick}").as_bytes()])).unwrap();
        let (_, answer) = server.answered(at + 1).pop().unwrap();
        assert!(answer.contains("redis: ERR unknown command"), "{nick}: {answer}");
    }
    counts_two(&redis, &mut server, "the same connection");
    assert_eq!(server.stat("/reconnects") + server.stat("/connect_failures"), 0);
    server.assert_balanced();
    server.stop();
}

/// A key that lost its time to live, or never had one, gets it with the next count. A key that has one keeps it.
#[test]
fn without_scripts_keys_still_get_their_time_to_live() {
    let redis = Redis::start(&["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]);
    redis.command(&["SET", "p:kills", "1"]);
    redis.command(&["ZADD", "p:day", "1", "Jo"]);
    redis.command(&["EXPIRE", "p:day", "500"]);
    let mut server = with(&redis.url(), "one");
    server.emit("kill", r#"{"killer":"Jo"}"#).unwrap();
    wait_until("counted", || counts(&redis, "p:")[..4] == ["2", "2", "2", "86400"]);
    let left: i64 = counts(&redis, "p:")[4].parse().unwrap();
    assert!((1..=500).contains(&left), "{left}");
    server.stop();
}

/// Redis refuses to look at a time to live or to set it: each event counts once, and the failure is reported.
#[test]
fn a_refused_time_to_live_is_told_and_nothing_counts_twice() {
    let acl = ["--user", "gmod", "on", ">pw", "~*", "&*", "+@all"];
    let rows: [(&[&str], &str); 4] = [
        (&["--rename-command", "EXPIRE", ""], ""),
        (&["--rename-command", "TTL", ""], ""),
        (&["-expire"], "gmod:pw@"),
        (&["-ttl"], "gmod:pw@"),
    ];
    for (settings, login) in rows {
        let settings: Vec<&str> = if login.is_empty() { settings.to_vec() } else { [&acl, settings].concat() };
        let redis = Redis::start(&settings);
        let proxy = Proxy::start(redis.address());
        let mut server = with(&proxy.url().replace("redis://", &format!("redis://{login}")), "one");
        for n in 1..=3 {
            server.emit("kill", r#"{"killer":"Jo"}"#).unwrap();
            server.wait(|server| server.stat("/outbox/delivered") == 4 * n);
            let [kills, blood, day, ..] = counts(&redis, "p:");
            assert_eq!([kills, blood, day], [n, 2 * n, n].map(|count| count.to_string()), "{settings:?}");
            proxy.cut_all();
            server.wait(|server| server.stat("/reconnects") >= n);
            server.wait_ready();
        }
        let errors = server.errors();
        assert!(errors.iter().any(|error| error.starts_with("counter kills: redis: ")), "{settings:?}: {errors:?}");
        assert_eq!(said(&mut server, REFUSES_SCRIPTS), (0, 0), "{settings:?}");
        server.stop();
    }
}

/// Two servers without scripts: only one of them acts, and the other takes over when the first is gone.
#[test]
fn without_scripts_only_one_server_of_a_fleet_acts() {
    let redis = Redis::start(&["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]);
    let mut first = with(&redis.url(), "one");
    wait_held(&mut first, 3);
    let mut second = with(&redis.url(), "two");
    for n in 1..=50 {
        redis.command(&["PUBLISH", "p:kill", r#"{"killer":"Jo"}"#]);
        wait_until("one counts", || redis.command(&["GET", "p:kills"]) == n.to_string());
    }
    assert!(!comes_true(Duration::from_millis(200), || redis.command(&["GET", "p:kills"]) != "50"), "counted twice");
    assert_eq!((held(first.engine.shared()), held(second.engine.shared())), (3, 0));
    // The holder renews its leases, so their keys do not expire.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!((held(first.engine.shared()), held(second.engine.shared())), (3, 0));
        thread::park_timeout(Duration::from_millis(50));
    }
    let left: i64 = {
        let key = redis.command(&["KEYS", "p:rt:lead:*"]).lines().next().unwrap().to_owned();
        redis.command(&["PTTL", &key]).parse().unwrap()
    };
    assert!(left > 6500, "it was not renewed: {left} ms");
    first.stop();
    wait_held(&mut second, 3);
    redis.command(&["PUBLISH", "p:kill", r#"{"killer":"Jo"}"#]);
    wait_until("the second counts", || redis.command(&["GET", "p:kills"]) == "51");
    second.stop();
}

/// If not even plain commands may touch the leases, the module reports this once and counts each event.
#[test]
fn refused_leases_are_reported_once() {
    for scripts in ["+@all", "-eval"] {
        let rules = ["--user", "gmod", "on", ">pw", "~p:kills", "~p:blood", "~p:day", "~p:rt:done:*", "&*"];
        let redis = Redis::start(&[&rules[..], &["+@all", scripts]].concat());
        let mut server = with(&redis.url().replace("redis://", "redis://gmod:pw@"), "one");
        let refused = "redis refuses the leases of this server";
        server.wait(|server| server.errors().iter().any(|error| error.contains(refused)));
        redis.command(&["PUBLISH", "p:kill", r#"{"killer":"Jo"}"#]);
        server.wait(|server| server.stat("/events_without_lease") == 3);
        // The module asks again every three seconds and does not report it again.
        let refused_calls = || -> u64 {
            let stats = redis.command(&["INFO", "commandstats"]);
            let calls = stats.split([',', '\n', '\r']).filter_map(|part| part.strip_prefix("rejected_calls="));
            calls.map(|count| count.parse::<u64>().unwrap()).sum()
        };
        let before = refused_calls();
        wait_until("they are asked for again", || refused_calls() > before);
        assert_eq!(said(&mut server, refused), (1, 1), "{scripts}: {:?}", server.errors());
        // Events of this server are counted nevertheless.
        server.emit("kill", r#"{"killer":"Jo"}"#).unwrap();
        wait_until("counted", || counts(&redis, "p:") == ["1", "2", "1", "86400", "86400"]);
        // Once leases are allowed, the server acts and reports nothing more.
        redis.command(&["ACL", "SETUSER", "gmod", "~p:rt:lead:*"]);
        wait_held(&mut server, 3);
        server.wait(|server| server.engine.report().iter().all(|line| !line.contains(refused)));
        server.stop();
    }
}

// ---- commands of Redis 5 --------------------------------------------------------------------------------------------

/// Every command and option that the module sends, also in scripts, exists since Redis 5: a table is compared with the
/// output of MONITOR.
#[test]
fn every_command_exists_since_redis_5() {
    let table: BTreeMap<&str, (f64, &str)> = include_str!("../../../testdata/redis/commands.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|row| {
            let parts: Vec<&str> = row.split('|').map(str::trim).collect();
            (parts[0], (parts[1].parse().unwrap(), parts[2]))
        })
        .collect();
    let old = |version: &str| version.parse::<f64>().unwrap() <= 5.0;
    for settings in [&[][..], &["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]] {
        let redis = Redis::start(settings);
        let seen = monitor(&redis);
        let mut server = with(&format!("{}/3", redis.url()), "one");
        wait_held(&mut server, 3);
        server.on("a*", 1);
        server.on("b", 2);
        server.emit("kill", r#"{"killer":"Jo"}"#).unwrap();
        server.submit(Some(1), |requests| requests.set(b"k", b"v")).unwrap();
        server.submit(Some(1), |requests| requests.set_ex(b"k", b"v", 100.0)).unwrap();
        server.submit(Some(1), |requests| requests.get_table(b"k")).unwrap();
        server.submit(Some(1), |requests| requests.expire(b"k", 100.0)).unwrap();
        server.submit(Some(1), |requests| requests.del(&[b"k"])).unwrap();
        server.submit(Some(1), |requests| requests.incr(b"n", 0.5)).unwrap();
        server.submit(Some(1), |requests| requests.incr(b"i", 1.0)).unwrap();
        server.submit(Some(1), |requests| requests.leaderboard(b"day", 5.0)).unwrap();
        server.submit(Some(1), |requests| requests.leaderboard(b"kill*", 5.0)).unwrap();
        server.answered(9);
        wait_until("counted", || server.get("kills") == "'1'");
        server.engine.off(b"a*", None);
        server.engine.off(b"b", None);
        server.wait(|server| server.stat("/outbox/waiting") == 0);
        server.tick();
        server.engine.begin_selftest().unwrap();
        wait_until("the self-test ends", || {
            server.engine.shared().selftest.pop().is_some_and(|line| line.starts_with("self-test "))
        });
        wait_until("a heartbeat", || seen.lock().unwrap().iter().filter(|words| words[0] == "ROLE").count() > 2);
        server.stop();
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen.len() > 40, "{}", seen.len());
        for words in seen {
            let name = words[0].to_uppercase();
            let Some((since, options)) = table.get(name.as_str()) else { panic!("not in the table: {words:?}") };
            assert!(*since <= 5.0, "{words:?} exists since {since}");
            for word in words.iter().skip(1).filter(|word| is_option(word)) {
                let option = options.split(", ").find_map(|option| option.strip_prefix(&format!("{word} ")));
                // Older servers refuse it, which is no harm: it only tells whether SELECT did anything.
                let is_optional = (name.as_str(), word.as_str()) == ("CLIENT", "INFO");
                assert!(is_optional || option.is_some_and(old), "{word} of {words:?}: {option:?}");
            }
        }
    }
}

/// Whether a word looks like an option.
fn is_option(word: &str) -> bool {
    word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The commands that Redis gets from now on, also from scripts, without those of this test.
fn monitor(redis: &Redis) -> Arc<Mutex<Vec<Vec<String>>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (stream, taken) = (redis.begin(&["MONITOR"]), Arc::clone(&seen));
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("+OK"));
    thread::spawn(move || {
        for line in lines {
            // `+1700000000.123456 [3 127.0.0.1:5555] "SET" "p:k" "v"`; the text of a script contains escapes.
            let Some((_, command)) = line.split_once("] ") else { continue };
            let words = command.trim_matches('"').split("\" \"").map(str::to_owned).collect::<Vec<String>>();
            let is_ours = ["ACL", "CONFIG", "MONITOR"].contains(&words[0].to_uppercase().as_str());
            if !is_ours {
                taken.lock().unwrap().push(words);
            }
        }
    });
    seen
}

/// Redis 6 has no `EXPIRE ... NX`, and Redis 5 has no users: the module does not send what they would refuse.
#[test]
fn redis_6_and_5_get_no_option_that_they_do_not_know() {
    for scripts in [true, false] {
        let redis = Redis::start(&[]);
        let address = redis.address();
        let relay = Scripted::start(move |client| {
            client.relay(address, |command| {
                let has = |option: &str| command.iter().any(|word| word.eq_ignore_ascii_case(option));
                match command[0].as_str() {
                    "EXPIRE" | "PEXPIRE" if command.len() > 3 => {
                        answer_with("ERR wrong number of arguments for 'expire' command")
                    }
                    "SET" if has("GET") || has("KEEPTTL") || has("EXAT") => answer_with("ERR syntax error"),
                    "GETEX" | "GETDEL" | "LPOS" | "ACL" | "HELLO" => {
                        answer_with(&format!("ERR unknown command `{}`, with args beginning with: ", command[0]))
                    }
                    "EVAL" | "EVALSHA" if !scripts => {
                        answer_with(&format!("ERR unknown command `{}`, with args beginning with: ", command[0]))
                    }
                    _ => command,
                }
            });
        });
        let mut server = with(&relay.url(), "one");
        counts_two(&redis, &mut server, "redis 6");
        assert_eq!(server.stat("/beside_failures"), 0);
        server.stop();
    }
}

/// ROLE, CLIENT SETNAME and PING are optional.
#[test]
fn optional_commands_may_be_refused() {
    let missing = ["ROLE", "CLIENT", "INFO", "PING", "EVAL", "EVALSHA"];
    let settings: Vec<&str> = missing.iter().flat_map(|name| ["--rename-command", name, ""]).collect();
    let redis = Redis::start(&settings);
    let mut server = with(&redis.url(), "one");
    counts_two(&redis, &mut server, "without them");
    // Longer than a heartbeat.
    assert!(!comes_true(Duration::from_secs(6), || server.stat("/reconnects") + server.stat("/connect_failures") > 0));
    assert_eq!(server.engine.status().0, "connected");
    server.engine.begin_selftest().unwrap();
    wait_until("the self-test ends", || {
        server.engine.shared().selftest.pop().is_some_and(|line| line == "self-test passed")
    });
    server.stop();
}

// ---- roles -----------------------------------------------------------------------------------------------------------

/// A KeyDB with active replication accepts writes. If the word for a role is unknown, a test write decides.
#[test]
fn roles_of_other_servers_are_understood() {
    let rows = [
        ("active-replica", None, "connected"),
        ("Master", None, "connected"),
        ("primary", None, "connected"),
        ("replica", None, "it is a replica"),
        ("SLAVE", None, "it is a replica"),
        ("sentinel", None, "it is a sentinel"),
        ("hunter2", None, "connected"),
        (
            "hunter2",
            Some("readonly You can't write against a read only replica."),
            "it is a server that takes no writes",
        ),
        ("hunter2", Some("NOPERM User default has no permissions to run the 'del' command"), "connected"),
    ];
    for (role, refusal, expected) in rows {
        let scripted = Scripted::start(move |client| {
            while let Some(command) = client.command() {
                match (command[0].as_str(), refusal) {
                    ("ROLE", _) => client.send(format!("*2\r\n${}\r\n{role}\r\n*0\r\n", role.len()).as_bytes()),
                    ("DEL", Some(refusal)) => client.send(format!("-{refusal}\r\n").as_bytes()),
                    ("DEL", None) => client.send(b":0\r\n"),
                    ("PUBLISH", _) => client.send(b":1\r\n"),
                    ("SUBSCRIBE" | "PSUBSCRIBE", _) => client.acknowledge(&command),
                    _ => client.send(b"+OK\r\n"),
                }
            }
        });
        let mut server = Server::with(json!({ "redis": scripted.url() }));
        server.wait(|server| {
            let (state, detail) = server.engine.status();
            state == expected || detail.contains(expected)
        });
        let said = format!("{:?} {:?}", server.engine.status(), server.told);
        assert!(!said.contains("hunter2"), "{said}");
        if expected == "connected" {
            server.emit("a", "{}").unwrap();
            server.wait(|server| server.stat("/outbox/delivered") == 1);
            // The heartbeat asks for the role again.
            let reconnects = server.stat("/reconnects");
            assert!(!comes_true(Duration::from_millis(200), || server.stat("/reconnects") > reconnects));
        }
        server.stop();
    }
}
