//! The presence of whole servers without Lua, against a real Redis: who sees whom, through beats, ends and kills.

use std::time::{Duration, Instant};

use fault_kit::{Folder, Redis, Server, comes_true};
use realtime::facade::config::{Config, Sources};
use realtime::facade::event::notice::Notice;
use realtime::facade::hooks::status::{GameValues, Player};
use serde_json::json;

/// A killed server is told after the life of its key, or of a new connection, and one look; a busy machine takes longer.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// A server that has told its values.
fn at(redis: &Redis, name: &str) -> Server {
    let mut sources = Sources::new(Config::defaults("test", 1), None, |_| None);
    let settings = json!({ "redis": redis.url(), "server": name, "prefix": "p:", "presence_players": name == "one",
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
    members.iter().take(20).for_each(|member| _ = redis.command(&["DEL", &format!("p:rt:{{servers}}:server:{member}")]));
    two.engine.detach();
    let own = redis.command(&["ZRANGE", "p:rt:{servers}:index", "0", "-1"]);
    let own = own.lines().find(|member| member.starts_with("two/")).unwrap().to_owned();
    let left = |redis: &Redis| redis.command(&["PTTL", &format!("p:rt:{{servers}}:server:{own}")]).parse::<i64>().unwrap();
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
