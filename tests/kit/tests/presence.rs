//! The presence of whole servers without Lua, against a real Redis: who sees whom, through beats, ends and kills.

#![allow(clippy::print_stdout, reason = "the figures of a fleet are for people to read")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fault_kit::{Folder, Redis, Server, comes_true, defaults, wait_until};
use realtime::facade::config::Sources;
use realtime::facade::event::notice::Notice;
use realtime::facade::hooks::status::{GameValues, Player};
use serde_json::{Value, json};

/// A killed server is told after the life of its key, or of a new connection, and one look; a busy machine takes longer.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// A server that has told its values.
fn at(redis: &Redis, name: &str) -> Server {
    let mut sources = Sources::new(defaults(), None, |_| None);
    let settings = json!({ "redis": redis.url(), "server": name, "prefix": "p:", "presence": true, "presence_players": name == "one",
        "sync_timeout_ms": 1000 });
    sources.configure(&settings.to_string()).unwrap();
    let mut server = Server::in_folder(sources, Folder::default());
    let list = vec![Player { steamid64: "76561198000000001".into(), name: "Jo".into() }];
    server.game = GameValues { map: Some(format!("gm_{name}")), players: Some(1), list, ..GameValues::default() };
    server.wait_ready();
    server
}

/// Writes what a server writes, with a key that ends after `life_ms`.
fn pretend(redis: &Redis, name: &str, life_ms: u64) -> String {
    let member = format!("{name}/00000000000000aa");
    let text = json!({ "name": name, "beat": 1, "players": 7 }).to_string();
    redis.command(&["SET", &format!("p:rt:{{servers}}:server:{member}"), &text, "PX", &life_ms.to_string()]);
    redis.command(&["ZADD", "p:rt:{servers}:index", "0", &member]);
    member
}

/// The names of the servers that came and went, in order of the names.
fn news(server: &Server) -> (Vec<&str>, Vec<&str>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for notice in &server.told {
        match notice {
            Notice::ServerUp { name } => up.push(&**name),
            Notice::ServerDown { name } => down.push(&**name),
            _ => {}
        }
    }
    up.sort_unstable();
    down.sort_unstable();
    (up, down)
}

/// Ticks all servers until it is true.
#[track_caller]
fn until(what: &str, servers: &mut [&mut Server], mut done: impl FnMut(&mut [&mut Server]) -> bool) {
    let is_true = comes_true(TOLD_WITHIN, || {
        servers.iter_mut().for_each(|server| _ = server.tick());
        done(servers)
    });
    let told: Vec<_> = servers.iter().map(|server| news(server)).collect();
    assert!(is_true, "{what}: {told:?}");
}

/// The calls of a command since the statistics were reset.
fn calls(redis: &Redis, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// Servers in a process of their own, which can be killed.
struct Fleet {
    child: Child,
    words: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Fleet {
    fn start(redis: &Redis, more: &Value, names: &[&str]) -> Fleet {
        let mut settings = json!({ "redis": redis.url(), "prefix": "p:", "presence": true, "sync_timeout_ms": 1000 });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut child = Command::new(env!("CARGO_BIN_EXE_fleet"))
            .arg(settings.to_string())
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (words, out) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        Fleet { child, words, lines }
    }

    fn say(&mut self, word: &str) {
        writeln!(self.words.as_mut().unwrap(), "{word}").unwrap();
    }

    /// The lines so far that hold this text.
    fn lines(&self, text: &str) -> Vec<String> {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// The newest list of servers of this server, as lines `name`.
    fn list(&mut self, name: &str) -> Vec<String> {
        let head = format!("{name} list ");
        let before = self.lines(&head).len();
        self.say("list");
        wait_until("a list", || self.lines(&head).len() > before);
        let rows = self.lines(&head).pop().unwrap();
        rows.split("{name='").skip(1).filter_map(|row| row.split('\'').next()).map(str::to_owned).collect()
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_long(what: &str, done: impl FnMut() -> bool) {
    assert!(comes_true(TOLD_WITHIN, done), "not within {TOLD_WITHIN:?}: {what}");
}

/// The key of this server, which has only one.
fn key_of(redis: &Redis, name: &str) -> String {
    redis.command(&["KEYS", &format!("p:rt:*:server:{name}/*")])
}

fn number(redis: &Redis, words: &[&str]) -> i64 {
    redis.command(words).lines().next().unwrap_or_default().parse().unwrap()
}

/// Milliseconds by the clock of Redis.
fn time(redis: &Redis) -> i64 {
    let time = redis.command(&["TIME"]);
    let mut parts = time.lines().map(|part| part.parse::<i64>().unwrap());
    parts.next().unwrap() * 1000 + parts.next().unwrap() / 1000
}

/// One of three processes is killed, another one's game sleeps, and the third one changes its map.
#[test]
fn a_killed_server_is_gone_by_the_clock_of_redis_and_told_once() {
    let redis = Redis::start(&[]);
    let none = json!({});
    let mut sleeper = Fleet::start(&redis, &none, &["sleeper"]);
    let mut mapper = Fleet::start(&redis, &none, &["mapper"]);
    let mut victim = Fleet::start(&redis, &none, &["victim"]);
    let index = || number(&redis, &["ZCARD", "p:rt:{servers}:index"]);
    wait_until("three servers", || index() == 3);
    assert_eq!(mapper.list("mapper"), ["mapper", "sleeper", "victim"]);
    sleeper.say("sleep");
    let slept = Instant::now();
    let key = key_of(&redis, "victim");

    victim.kill();
    // The clock first: the key ends `left` after a moment that is not before `now`.
    let now = time(&redis);
    let left = number(&redis, &["PTTL", &key]);
    assert!((10_000..=30_000).contains(&left), "{left}");
    // A kill says nothing to Redis, and a map changes meanwhile.
    mapper.say("map");
    wait_long("the key ends", || number(&redis, &["EXISTS", &key]) == 0);
    let gone = time(&redis);
    assert!(gone >= now + left, "{} ms early", now + left - gone);
    wait_long("the index is clean", || index() == 2);
    wait_long("it is told", || mapper.lines("mapper down ") == ["mapper down victim"]);
    println!("killed: {left} ms left; gone after {} ms, told after {} ms", gone - now, time(&redis) - now);
    assert_eq!(mapper.list("mapper"), ["mapper", "sleeper"]);

    // The sleeping game was visible all the time, and learns it when it wakes.
    wait_until("a long sleep", || slept.elapsed() > Duration::from_secs(31));
    assert!(number(&redis, &["PTTL", &key_of(&redis, "sleeper")]) > 0);
    sleeper.say("wake");
    wait_long("the sleeper is told", || sleeper.lines("sleeper down victim").len() == 1);

    // The next of this name is news.
    let ups = |fleet: &Fleet| fleet.lines(" up victim").len();
    let before = ups(&mapper) + ups(&sleeper);
    let mut next = Fleet::start(&redis, &none, &["victim"]);
    wait_long("the next is told", || ups(&mapper) + ups(&sleeper) == before + 2);
    // The clean end of a process takes its keys away at once.
    next.say("stop");
    wait_until("it stops", || !next.lines("stopped").is_empty());
    assert_eq!((key_of(&redis, "victim").as_str(), index()), ("", 2));
    wait_long("the end is told", || mapper.lines("mapper down victim").len() == 2);
    // Neither the map nor the sleep was news.
    for fleet in [&mapper, &sleeper] {
        assert!(fleet.lines(" down ").iter().all(|line| line.ends_with(" down victim")), "{:?}", fleet.lines(""));
        assert_eq!(fleet.lines(" error "), Vec::<String>::new());
    }
}

/// Two servers of one name: each says so once, with the option to change; and no more once it is alone.
#[test]
fn a_name_that_is_taken_is_told_once_on_both() {
    let redis = Redis::start(&[]);
    let mut servers = [at(&redis, "same"), at(&redis, "same")];
    let status = |server: &Server| server.engine.report().join("\n");
    let is_told = |server: &Server| {
        server.errors().iter().filter(|error| error.contains("another server has the name of this one")).count()
    };
    let [one, two] = &mut servers;
    until("both are told", &mut [one, two], |servers| servers.iter().all(|server| is_told(server) == 1));
    for server in [&*one, &*two] {
        assert!(
            server.errors().concat().contains("option `server`") && server.errors().concat().contains("it is `same`")
        );
        assert!(status(server).contains("another server has the name of this one"), "{}", status(server));
        assert_eq!(news(server), (vec![], vec![]));
    }
    two.engine.configure(&json!({ "server": "other" }).to_string()).unwrap();
    until("the new name", &mut [one, two], |servers| {
        !status(servers[0]).contains("another server") && !status(servers[1]).contains("another server")
    });
    until("is told", &mut [one, two], |servers| news(servers[0]).0 == ["other"]);
    assert!(is_told(one) == 1 && is_told(two) == 1, "{:?} {:?}", one.errors(), two.errors());
    servers.into_iter().for_each(Server::stop);
}

/// Redis forgets everything: nobody is told that a server went.
#[test]
fn lost_keys_are_no_news() {
    let mut redis = Redis::start(&["--save", ""]);
    let (mut one, mut two) = (at(&redis, "one"), at(&redis, "two"));
    let both = |redis: &Redis| redis.command(&["ZCARD", "p:rt:{servers}:index"]) == "2";
    let list = |server: &mut Server| server.read(|requests| requests.servers()).matches("{name=").count();
    until("both", &mut [&mut one, &mut two], |servers| {
        both(&redis) && servers.iter_mut().all(|server| list(server) == 2)
    });
    // One look after which each knows the other.
    redis.command(&["CONFIG", "RESETSTAT"]);
    until("a look", &mut [&mut one, &mut two], |_| calls(&redis, "mget") >= 4);
    redis.command(&["FLUSHALL"]);
    until("they are back", &mut [&mut one, &mut two], |_| both(&redis));
    redis.kill();
    redis.restart();
    until("they are back again", &mut [&mut one, &mut two], |_| both(&redis));
    let began = Instant::now();
    until("the next looks", &mut [&mut one, &mut two], |_| began.elapsed() > Duration::from_secs(12));
    let down = [news(&one).1, news(&two).1].concat();
    assert_eq!(down, Vec::<&str>::new());
    one.stop();
    two.stop();
}

/// Users that may not do a part of it: one clear line, fewer attempts, and events go on.
#[test]
fn a_redis_that_refuses_presence_refuses_nothing_else() {
    for denied in ["-set", "-zadd", "-zrange", "-mget", "-zrem", "~x", "unknown"] {
        let is_unknown = denied == "unknown";
        let redis = Redis::start(if is_unknown { &["--rename-command", "ZADD", ""] } else { &[] });
        let rule = if denied == "~x" { "~kept" } else { "~*" };
        let mut user = vec!["ACL", "SETUSER", "default", "reset", "on", "nopass", "allchannels", "+@all", rule];
        if denied.starts_with('-') {
            user.push(denied);
        }
        assert_eq!(redis.command(&user), "OK");
        let mut server = at(&redis, "one");
        if denied == "-mget" || denied == "-zrem" {
            let member = pretend(&redis, "two", 600_000);
            redis.command(&["DEL", &format!("p:rt:{{servers}}:server:{member}")]);
        }
        until("it is told", &mut [&mut server], |servers| !servers[0].errors().is_empty());
        let errors = server.errors();
        assert!(errors.len() == 1 && errors[0].starts_with("presence rt:{servers}:index: redis refuses"), "{errors:?}");
        assert!(server.engine.report().join("\n").contains("servers do not see each other"), "{denied}");
        // The second beat comes after 10 s, the third one 20 s later.
        redis.command(&["CONFIG", "RESETSTAT"]);
        let began = Instant::now();
        server.on("a", 1);
        until("events go on", &mut [&mut server], |servers| {
            servers[0].emit("a", "{\"n\":1}").unwrap();
            let heard = servers[0].heard.len();
            heard > 10 && began.elapsed() > Duration::from_secs(if denied == "~x" { 25 } else { 5 })
        });
        assert_eq!(server.errors(), errors, "{denied}");
        if denied == "~x" {
            let refused = redis.command(&["INFO", "commandstats"]);
            let line = refused.lines().find(|line| line.starts_with("cmdstat_zrange:")).unwrap().to_owned();
            assert!(line.contains("rejected_calls=1,"), "{line}");
        }
        server.stop();
    }
}

/// How many servers run in the test of a fleet: `REALTIME_TEST_FLEET=50` for the figures of the README.
fn fleet_size() -> usize {
    std::env::var("REALTIME_TEST_FLEET").map_or(10, |size| size.parse().expect("a number of servers"))
}

/// The servers of a fleet, in five processes: the commands of a minute at rest, the list of one of them, and kills.
#[test]
fn a_fleet_at_rest_and_through_kills() {
    let redis = Redis::start(&[]);
    let names: Vec<String> = (0..fleet_size()).map(|number| format!("s{number:02}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let per_process = all.len().div_ceil(5);
    let mut fleets: Vec<Fleet> = all.chunks(per_process).map(|names| Fleet::start(&redis, &json!({}), names)).collect();
    let listed = |redis: &Redis| number(redis, &["ZCARD", "p:rt:{servers}:index"]) as usize;
    wait_long("all are up", || listed(&redis) == all.len());
    wait_long("one lists all", || fleets[0].list("s00") == all);
    // Each has looked once, so that it knows the others.
    redis.command(&["CONFIG", "RESETSTAT"]);
    wait_long("a look of each", || calls(&redis, "zrange") as usize >= 2 * all.len());

    redis.command(&["CONFIG", "RESETSTAT"]);
    let began = Instant::now();
    wait_until("half a minute", || began.elapsed() > Duration::from_secs(30));
    let stats = redis.command(&["INFO", "commandstats"]);
    let seconds = began.elapsed().as_secs_f64();
    let count = |name: &str| -> f64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.map_or(0.0, |line| line.split(',').next().unwrap().parse().unwrap())
    };
    let per_second: Vec<String> = ["set", "zrange", "mget", "role", "ping"]
        .iter()
        .map(|name| format!("{name} {:.1}", count(name) / seconds))
        .collect();
    // A beat of each in 10 s, which are three commands.
    let beats = seconds / 10.0 * all.len() as f64;
    for name in ["set", "zrange", "mget"] {
        assert!((0.6 * beats..=1.4 * beats).contains(&count(name)), "{name} {} {beats}", count(name));
    }
    let memory = number_of(&redis, "memory", "used_memory:");
    let resident: u64 = fleets.iter().map(Fleet::memory).sum();
    println!(
        "{} servers at rest, commands in a second: {}; cpu of redis {:.2} %; memory of redis {} KiB, of a server {} KiB",
        all.len(),
        per_second.join(", "),
        stats
            .lines()
            .filter_map(|line| line.split("usec=").nth(1)?.split(',').next()?.parse::<f64>().ok())
            .sum::<f64>()
            / seconds
            / 10_000.0,
        memory / 1024,
        resident / all.len() as u64
    );

    // The last process is killed, with a fifth of all servers.
    let mut killed = fleets.pop().unwrap();
    let before: Vec<usize> = fleets.iter().map(|fleet| fleet.lines(" down ").len()).collect();
    assert_eq!(before.iter().sum::<usize>(), 0);
    let gone = all.chunks(per_process).next_back().unwrap();
    let left = &all[..all.len() - gone.len()];
    killed.kill();
    let began = Instant::now();
    wait_long("the list is right", || fleets[0].list("s00") == left);
    println!("{} killed, the list is right after {:.1} s", gone.len(), began.elapsed().as_secs_f64());
    assert!(began.elapsed() > Duration::from_secs(15));
    wait_long("each is told", || {
        fleets.iter().map(|fleet| fleet.lines(" down ").len()).sum::<usize>() == left.len() * gone.len()
    });
    println!("each of {} is told after {:.1} s", left.len(), began.elapsed().as_secs_f64());
    for name in left {
        let fleet = fleets.iter().find(|fleet| !fleet.lines(&format!("{name} ")).is_empty()).unwrap();
        let mut down: Vec<String> = fleet.lines(&format!("{name} down "));
        down.sort();
        assert_eq!(down, gone.iter().map(|other| format!("{name} down {other}")).collect::<Vec<_>>());
    }
    for fleet in &mut fleets {
        assert_eq!(fleet.lines(" error "), Vec::<String>::new());
        fleet.say("stop");
    }
    wait_until("all stop", || fleets.iter().all(|fleet| !fleet.lines("stopped").is_empty()));
    assert_eq!(redis.command(&["KEYS", "*"]), "");
}

/// A number of INFO.
fn number_of(redis: &Redis, section: &str, name: &str) -> u64 {
    let info = redis.command(&["INFO", section]);
    info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
}

#[test]
fn fifty_servers_come_and_go_and_each_change_is_told_once() {
    let redis = Redis::start(&[]);
    let (mut one, mut two) = (at(&redis, "one"), at(&redis, "two"));
    until("the first look", &mut [&mut one, &mut two], |_| redis.command(&["ZCARD", "p:rt:{servers}:index"]) == "2");
    redis.command(&["CONFIG", "RESETSTAT"]);
    let began = Instant::now();
    let names: Vec<String> = (0..50).map(|number| format!("s{number:02}")).collect();
    let members: Vec<String> = names.iter().map(|name| pretend(&redis, name, 600_000)).collect();
    redis.command(&["ZADD", "p:rt:{servers}:index", "0", "evil \n/", "0", "zombie/00000000000000aa"]);
    redis.command(&["SET", "p:rt:{servers}:server:liar/00000000000000aa", "[1]"]);
    redis.command(&["ZADD", "p:rt:{servers}:index", "0", "liar/00000000000000aa"]);
    until("all are up", &mut [&mut one, &mut two], |servers| {
        servers.iter().all(|server| news(server).0.iter().filter(|name| name.starts_with('s')).count() == 50)
    });
    // Rows of all servers by their names; the players are shown by one server only.
    let rows = one.read(|requests| requests.servers());
    let shown: Vec<&str> =
        rows.split("name=").filter_map(|row| row.split('\'').nth(1)).filter(|text| !text.is_empty()).collect();
    assert!(rows.contains("{name='one',map='gm_one'") && rows.contains("{name='s49',"), "{rows}");
    assert!(shown.iter().filter(|name| **name == "two").count() == 1 && !rows.contains("liar"), "{rows}");
    assert_eq!(two.read(|requests| requests.find_player(b"76561198000000001")), "{server='one',name='Jo'}");
    assert_eq!(two.read(|requests| requests.find_player(b"1")), "nil");
    assert!(one.stat("/presence_skipped") > 0);
    // Members without a key, and those that no server wrote, are taken out of the index.
    until("a clean index", &mut [&mut one, &mut two], |_| redis.command(&["ZCARD", "p:rt:{servers}:index"]) == "53");

    // Twenty are killed: their keys end. A map change of the second is no news.
    members
        .iter()
        .take(20)
        .for_each(|member| _ = redis.command(&["DEL", &format!("p:rt:{{servers}}:server:{member}")]));
    two.engine.detach();
    let own = redis.command(&["ZRANGE", "p:rt:{servers}:index", "0", "-1"]);
    let own = own.lines().find(|member| member.starts_with("two/")).unwrap().to_owned();
    let left =
        |redis: &Redis| redis.command(&["PTTL", &format!("p:rt:{{servers}}:server:{own}")]).parse::<i64>().unwrap();
    until("a short life", &mut [&mut one], |_| left(&redis) <= 3000);
    until("a long life", &mut [&mut one], |_| left(&redis) > 10_000);
    two.engine.attach();
    until("twenty are down", &mut [&mut one, &mut two], |servers| {
        servers.iter().all(|server| news(server).1.len() == 20)
    });
    // Each server beats six times a minute, with a SET, a ZRANGE and an MGET; the first shows its players, too, which is
    // another SET; and 50 texts were written above.
    let beats = began.elapsed().as_secs() / 10 + 2;
    let (sets, looks) = (calls(&redis, "set"), calls(&redis, "zrange"));
    assert!(
        sets <= 51 + 3 * beats && looks <= 2 * (beats + 2) && calls(&redis, "mget") <= 2 * (beats + 2),
        "{sets} {looks}"
    );
    assert!(looks >= 2 * (beats - 3), "{looks} looks, {beats} beats");

    // A server of the same name: both are listed, and it is no news to anybody.
    let mut again = at(&redis, "two");
    until("both", &mut [&mut one, &mut two, &mut again], |servers| {
        servers[0].read(|requests| requests.servers()).matches("name='two'").count() == 2
    });
    again.stop();
    assert_eq!(redis.command(&["ZRANGE", "p:rt:{servers}:index", "0", "-1"]).matches("two/").count(), 1);
    // The clean end of a server takes its key away at once.
    two.stop();
    assert_eq!(redis.command(&["EXISTS", &format!("p:rt:{{servers}}:server:{own}")]), "0");
    until("the second is down", &mut [&mut one], |servers| news(servers[0]).1.contains(&"two"));
    let (up, down) = news(&one);
    let expected: Vec<&str> = names.iter().take(20).map(String::as_str).chain(["two"]).collect();
    assert_eq!(down, expected);
    assert!(up.iter().filter(|name| **name == "two").count() <= 1 && up.len() <= 51, "{up:?}");

    // Nothing is left of a server that is to be seen no more.
    one.engine.configure(&json!({ "presence": false }).to_string()).unwrap();
    until("out of the index", &mut [&mut one], |_| {
        !redis.command(&["ZRANGE", "p:rt:{servers}:index", "0", "-1"]).contains("one/")
    });
    assert_eq!(redis.command(&["KEYS", "p:rt:*:one/*"]), "");
    one.stop();
}
