//! Listeners with `missed`: a server that was away, links that are cut, map changes, streams that forget. Each event comes
//! once and in order, or its loss is told.

#![allow(clippy::print_stdout, reason = "how soon a server has caught up is for people to read")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fault_kit::{Direction, Fault, Folder, Proxy, Redis, Server, wait_until};
use realtime::facade::config::{Config, Sources};
use realtime::facade::engine::{Call, Outcome};
use realtime::facade::event::notice::Notice;
use serde_json::json;

/// A server that emits on `chat` and has it kept.
fn emitter(url: &str, options: &str) -> Server {
    let mut server = Server::with(json!({ "redis": url, "prefix": "p:", "server": "out" }));
    server.wait_ready();
    server.engine.keep(b"chat", Some(&serde_json::from_str(options).unwrap())).unwrap();
    server
}

/// A server of the name `in` whose listener `shop` has registered.
fn receiver(url: &str) -> Server {
    receiver_in(Folder::default(), url)
}

/// The same with the data folder of an earlier process.
fn receiver_in(folder: Folder, url: &str) -> Server {
    let mut sources = Sources::new(Config::defaults("test", 1), None, |_| None);
    sources.configure(&json!({ "redis": url, "prefix": "p:", "server": "in" }).to_string()).unwrap();
    let mut server = Server::in_folder(sources, folder);
    server.on_missed("chat", "shop", 1);
    server.tick();
    server.wait_ready();
    server
}

/// The place of the listener in Redis.
fn place(redis: &Redis) -> String {
    redis.command(&["GET", "p:rt:place:in:4:chat:shop"])
}

/// Waits until the listener stands at the end of its stream.
fn wait_live(redis: &Redis, server: &mut Server) {
    server.wait(|_| redis.command(&["EXISTS", "p:rt:place:in:4:chat:shop"]) == "1");
}

/// Emits these numbers and waits until Redis has them.
fn say(server: &mut Server, numbers: std::ops::Range<u32>) {
    numbers.for_each(|n| server.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap());
    server.wait(|server| server.stat("/outbox/waiting") == 0);
}

fn live(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("1 chat {n}")).collect()
}

fn missed(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("1 chat {n} missed")).collect()
}

/// The numbers that were heard, in their order, whether they came late or not.
fn numbers(heard: &[String]) -> Vec<u32> {
    heard.iter().map(|line| line.split(' ').nth(2).unwrap().parse().unwrap()).collect()
}

/// The gaps that were told, as `server missed`.
fn gaps(server: &Server) -> Vec<String> {
    let told = server.told.iter().filter_map(|notice| match notice {
        Notice::Gap { server, missed, .. } => Some(format!("{server} {missed}")),
        _ => None,
    });
    told.collect()
}

/// Ticks until nothing has come for a while: whatever comes twice has come by then.
fn rest(server: &mut Server) {
    let (mut count, mut since) = (server.heard.len(), Instant::now());
    server.wait(|server| {
        if server.heard.len() != count {
            (count, since) = (server.heard.len(), Instant::now());
        }
        since.elapsed() > Duration::from_millis(300)
    });
}

#[test]
fn a_listener_gets_what_it_missed_in_order_and_then_live_events() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), "[]");
    // The first registration begins with the present.
    say(&mut out, 0..5);
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    say(&mut out, 5..20);
    server.hear(15);
    assert_eq!(server.heard, live(5..20));
    server.leave();
    // More than one reply of Redis has.
    say(&mut out, 20..700);
    let mut server = receiver(&redis.url());
    server.hear(680);
    say(&mut out, 700..710);
    server.hear(690);
    rest(&mut server);
    assert_eq!(server.heard, [missed(20..700), live(700..710)].concat());
    assert_eq!((gaps(&server), server.stat("/caught_up"), server.errors()), (vec![], 680, vec![]));
    // The place follows within a second, and ends by itself one day.
    server.wait(|_| redis.command(&["XREVRANGE", "p:rt:kept:chat", "+", "-", "COUNT", "1"]).contains(&place(&redis)));
    assert!(redis.command(&["TTL", "p:rt:place:in:4:chat:shop"]).parse::<i64>().unwrap() > 89 * 86_400);
    server.assert_balanced();
    server.leave();
    out.stop();
}

/// While it catches up, a flood of live events comes.
#[test]
fn live_events_wait_for_the_missed_ones() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), r#"{"max_events":100000}"#);
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    server.leave();
    say(&mut out, 0..2000);
    let mut server = receiver(&redis.url());
    let mut next = 2000;
    server.wait(|server| {
        if next < 6000 {
            (next..next + 10).for_each(|n| out.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap());
            next += 10;
        }
        server.heard.len() >= 6000
    });
    rest(&mut server);
    assert_eq!(numbers(&server.heard), (0..6000).collect::<Vec<_>>());
    say(&mut out, 6000..6010);
    server.hear(6010);
    assert_eq!(server.heard[6000..], live(6000..6010));
    assert_eq!((gaps(&server), server.stat("/missed_dropped")), (vec![], 0));
    server.leave();
    out.stop();
}

/// The connections of the receiver are cut at random while events come.
#[test]
fn cut_links_cost_no_event() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&proxy.url());
    wait_live(&redis, &mut server);
    for n in 0..4000_u32 {
        out.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap();
        server.tick();
        // Not in step with anything else.
        if n.wrapping_mul(2_654_435_761) >> 24 == 0 {
            proxy.set_now(Direction::ToClient, Fault::SwallowAfter(u64::from(n % 700)));
        }
        if n.wrapping_mul(2_246_822_519) >> 24 == 0 {
            proxy.cut_all();
            proxy.set_now(Direction::ToClient, Fault::None);
        }
        if n % 8 == 0 {
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
    proxy.cut_all();
    proxy.set_now(Direction::ToClient, Fault::None);
    server.wait(|server| server.heard.len() >= 4000);
    rest(&mut server);
    assert_eq!(numbers(&server.heard), (0..4000).collect::<Vec<_>>());
    assert!(server.stat("/caught_up") > 0 && server.stat("/reconnects") > 0, "{}", server.engine.stats());
    assert_eq!(gaps(&server), Vec::<String>::new());
    server.leave();
    out.stop();
}

/// A map change, with events before, between and after.
#[test]
fn a_map_change_costs_no_event() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    for map in 0..5 {
        let start = map * 100;
        say(&mut out, start..start + 40);
        if map % 2 == 0 {
            server.hear((start + 40) as usize);
        }
        server.engine.detach();
        say(&mut out, start + 40..start + 70);
        server.engine.attach();
        server.tick();
        say(&mut out, start + 70..start + 100);
        server.on_missed("chat", "shop", 1);
        server.wait(|server| server.heard.len() >= (start + 100) as usize);
    }
    rest(&mut server);
    assert_eq!(numbers(&server.heard), (0..500).collect::<Vec<_>>());
    assert_eq!(gaps(&server), Vec::<String>::new());
    server.leave();
    out.stop();
}

/// The game does not tick for long: the inbox overflows, and the stream has the events.
#[test]
fn an_overflowing_inbox_costs_no_event() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), r#"{"max_events":100000}"#);
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    for n in 0..20 {
        say(&mut out, n * 1000..(n + 1) * 1000);
    }
    wait_until("the inbox overflows", || server.stat("/inbox/in") >= 20_000);
    assert!(server.stat("/inbox/dropped/overflow") > 0);
    server.wait(|server| server.heard.len() >= 20_000);
    rest(&mut server);
    assert_eq!(numbers(&server.heard), (0..20_000).collect::<Vec<_>>());
    server.leave();
    out.stop();
}

/// The stream was trimmed, Redis forgot everything, or it starts again empty, while the server was away or while its link
/// was down: what is left comes once, and the loss is told.
#[test]
fn a_stream_that_forgot_the_place_is_told() {
    for away in [false, true] {
        for fault in ["trim", "flush", "restart", "delete"] {
            let mut redis = Redis::start(&[]);
            let proxy = Proxy::start(redis.address());
            let mut out = emitter(&redis.url(), "[]");
            let (mut folder, mut server) = (None, Some(receiver(&proxy.url())));
            let current = server.as_mut().unwrap();
            wait_live(&redis, current);
            say(&mut out, 0..10);
            current.hear(10);
            if away {
                folder = Some(server.take().unwrap().leave());
            } else {
                proxy.refuse(true);
                proxy.cut_all();
                current.wait(|server| !matches!(server.engine.status().0, "connected"));
            }
            say(&mut out, 10..30);
            match fault {
                "trim" => _ = redis.command(&["XTRIM", "p:rt:kept:chat", "MAXLEN", "5"]),
                "flush" => _ = redis.command(&["FLUSHALL"]),
                "delete" => _ = redis.command(&["DEL", "p:rt:kept:chat"]),
                _ => {
                    redis.restart();
                    wait_until("a reconnection", || out.stat("/reconnects") > 0);
                    out.wait_ready();
                }
            }
            say(&mut out, 30..40);
            proxy.refuse(false);
            let known = server.is_some();
            let mut server = server.unwrap_or_else(|| receiver_in(folder.unwrap(), &proxy.url()));
            let before = if known { 10 } else { 0 };
            let left = if fault == "trim" { 25..40 } else { 30..40 };
            // A place that went with the stream is unknown: the listener begins with the present.
            let begins_anew = away && matches!(fault, "flush" | "restart");
            let left = if begins_anew { 40..40 } else { left };
            server.wait(|server| server.heard.len() >= before + left.len() && !gaps(server).is_empty());
            rest(&mut server);
            say(&mut out, 40..45);
            server.wait(|server| server.heard.len() >= before + left.len() + 5);
            rest(&mut server);
            let expected = (0..before as u32).chain(left).chain(40..45).collect::<Vec<_>>();
            assert_eq!(numbers(&server.heard), expected, "{fault}, away {away}");
            let told = gaps(&server);
            let number = if known { if fault == "trim" { "out 15" } else { "out 20" } } else { " 0" };
            assert_eq!(told, [number], "{fault}, away {away}");
            server.leave();
            out.stop();
        }
    }
}

/// Without scripts the published events do not tell their entries: every event is read from the stream.
#[test]
fn without_scripts_the_stream_decides() {
    let redis = Redis::start(&["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""]);
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    for n in 0..10 {
        say(&mut out, n * 20..(n + 1) * 20);
        server.hear(((n + 1) * 20) as usize);
    }
    server.leave();
    say(&mut out, 200..250);
    let mut server_again = receiver(&redis.url());
    server_again.wait(|server| server.heard.len() >= 50);
    rest(&mut server_again);
    assert_eq!(numbers(&server_again.heard), (200..250).collect::<Vec<_>>());
    server_again.leave();
    out.stop();
}

/// Whoever may publish can forge the entry of an event. The process ends at once or after the place was due to be saved;
/// the next one gets what came meanwhile, and nothing twice.
#[test]
fn a_forged_entry_brings_nothing_again() {
    for (entry, rests) in [(u64::MAX, false), (u64::MAX, true), (1, false), (1, true)] {
        let redis = Redis::start(&[]);
        let mut out = emitter(&redis.url(), "[]");
        let mut server = receiver(&redis.url());
        wait_live(&redis, &mut server);
        say(&mut out, 0..10);
        server.hear(10);
        let first = place(&redis);
        server.wait(|_| place(&redis) != first);
        let crc = crc32fast::hash(b"p:chat");
        let forged = format!(r#"{{"n":99,"_rt":"x/00000000000000aa:1:1:{crc:08x}:@{entry}-0"}}"#);
        redis.command(&["PUBLISH", "p:chat", &forged]);
        server.hear(11);
        if rests {
            let until = Instant::now() + Duration::from_millis(1500);
            server.wait(|_| Instant::now() > until);
        }
        assert_eq!(server.heard, [live(0..10), live(99..100)].concat());
        server.leave();
        say(&mut out, 10..12);
        let mut server = receiver(&redis.url());
        rest(&mut server);
        assert_eq!(server.heard, missed(10..12), "{entry} {rests}");
        assert_eq!((gaps(&server), server.stat("/places_lost")), (vec![], 0));
        server.stop();
        out.stop();
    }
}

/// Payloads that carry no number, and events of another program, come once.
#[test]
fn events_without_a_number_come_once() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    for n in 0..5 {
        out.emit("chat", &n.to_string()).unwrap();
        out.emit("chat", &format!(r#"{{"n":{n}}}"#)).unwrap();
        out.emit("chat", &format!("\"{n}\"")).unwrap();
    }
    server.wait(|server| server.heard.len() >= 15);
    rest(&mut server);
    assert_eq!(numbers(&server.heard), (0..5).flat_map(|n| [n, n, n]).collect::<Vec<_>>());
    redis.command(&["PUBLISH", "p:chat", r#"{"n":77}"#]);
    server.wait(|server| server.heard.len() >= 16);
    rest(&mut server);
    assert_eq!(server.heard[15], "1 chat 77");
    server.leave();
    out.stop();
}

/// An emitter that does not keep its events: they come live, and the log says so once.
#[test]
fn events_that_nobody_keeps_come_live() {
    let redis = Redis::start(&[]);
    let mut out = Server::with(json!({ "redis": redis.url(), "prefix": "p:", "server": "out" }));
    out.wait_ready();
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    for n in 0..10 {
        say(&mut out, n..n + 1);
        server.hear(n as usize + 1);
    }
    assert_eq!(server.heard, live(0..10));
    assert_eq!(place(&redis), "0-0");
    server.leave();
    out.stop();
}

/// Two listeners of one channel have places of their own; a plain listener beside them hears live events only.
#[test]
fn each_listener_has_its_place() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    server.leave();
    say(&mut out, 0..10);
    let mut server = receiver(&redis.url());
    server.on("chat", 2);
    server.on_missed("chat", "bank", 3);
    server.wait(|_| redis.command(&["EXISTS", "p:rt:place:in:4:chat:bank"]) == "1");
    say(&mut out, 10..20);
    server.wait(|server| server.heard.len() >= 40);
    rest(&mut server);
    let of = |callback: &str| {
        let lines = server.heard.iter().filter(|line| line.starts_with(callback)).cloned().collect::<Vec<_>>();
        (numbers(&lines), lines.iter().filter(|line| line.ends_with("missed")).count())
    };
    assert_eq!(of("1"), ((0..20).collect(), 10));
    assert_eq!(of("2"), ((10..20).collect(), 0));
    assert_eq!(of("3"), ((10..20).collect(), 0));
    server.leave();
    out.stop();
}

/// Replies that would be too large are asked for in smaller steps.
#[test]
fn large_events_come_in_small_steps() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    server.leave();
    let filling = "x".repeat(500_000);
    for n in 0..140 {
        out.emit("chat", &format!(r#"{{"n":{n},"filling":"{filling}"}}"#)).unwrap();
        out.wait(|server| server.stat("/outbox/waiting") == 0);
    }
    let mut server = receiver(&redis.url());
    server.wait(|server| server.heard.len() >= 140);
    rest(&mut server);
    assert_eq!(server.heard, missed(0..140));
    server.leave();
    out.stop();
}

/// A listener that is removed and comes back in the same process; then other names, whose places and streams are others.
#[test]
fn a_listener_that_comes_back_reads_on() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    say(&mut out, 0..10);
    server.hear(10);
    server.engine.off(b"chat", Some(b"shop"));
    server.tick();
    say(&mut out, 10..20);
    server.on_missed("chat", "shop", 1);
    server.wait(|server| server.heard.len() >= 20);
    rest(&mut server);
    assert_eq!(server.heard, [live(0..10), missed(10..20)].concat());
    // Replaced by a listener that wants live events only.
    server.on("other", 2);
    let callback = realtime::facade::engine::CallbackRef(1);
    server.engine.on(b"chat", Some(b"shop"), callback, false).unwrap();
    say(&mut out, 20..25);
    server.hear(25);
    assert_eq!(server.heard[20..], live(20..25));
    server.on_missed("chat", "shop", 1);
    for prefix in ["q:", "p:"] {
        server.engine.configure(&json!({ "prefix": prefix }).to_string()).unwrap();
        let key = format!("{prefix}rt:place:in:4:chat:shop");
        server.wait(|_| redis.command(&["EXISTS", &key]) == "1");
    }
    rest(&mut server);
    let before = server.heard.len();
    say(&mut out, 30..35);
    server.wait(|server| server.heard.len() >= before + 5);
    rest(&mut server);
    assert_eq!(numbers(&server.heard[before..]), (30..35).collect::<Vec<_>>());
    server.leave();
    out.stop();
}

/// The rest of the reply waits for the listener, which is there again before the next tick.
#[test]
fn a_listener_that_is_gone_for_a_part_of_a_tick_misses_nothing() {
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), "[]");
    let mut server = receiver(&redis.url());
    wait_live(&redis, &mut server);
    server.leave();
    say(&mut out, 0..20);
    let mut server = receiver(&redis.url());
    let (mut heard, deadline) = (0, Instant::now() + Duration::from_secs(60));
    while heard == 0 {
        assert!(Instant::now() < deadline, "the first event comes");
        let now = Instant::now();
        server.engine.begin_tick(now);
        while let Some(call) = server.engine.next_call(now) {
            let is_event = matches!(call, Call::Deliver(_));
            server.engine.complete(call, Outcome::Done);
            if is_event {
                heard += 1;
                server.engine.off(b"chat", Some(b"shop"));
            }
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
    server.on_missed("chat", "shop", 1);
    server.hear(19);
    rest(&mut server);
    assert_eq!((heard, server.heard.clone()), (1, missed(1..20)));
    server.leave();
    out.stop();
}

/// Redis lets this user read no streams, or has none: live events come, and it is told once.
#[test]
fn without_streams_live_events_come() {
    for settings in [&["--rename-command", "XREVRANGE", ""][..], &["--rename-command", "XRANGE", ""]] {
        let redis = Redis::start(settings);
        let mut out = emitter(&redis.url(), "[]");
        let mut server = receiver(&redis.url());
        say(&mut out, 0..1);
        server.wait(|server| server.stat("/replies/delivered") >= 2);
        say(&mut out, 1..3);
        server.wait(|server| server.heard.iter().any(|line| line == "1 chat 2"));
        let proxy_like = settings[1] == "XRANGE";
        if !proxy_like {
            let told: Vec<String> =
                server.errors().into_iter().filter(|error| error.starts_with("missed chat")).collect();
            assert!(told.len() == 1 && told[0].contains("live events only"), "{told:?}");
        }
        server.leave();
        out.stop();
    }
}

#[test]
fn a_listener_needs_an_id_and_one_channel() {
    let redis = Redis::start(&[]);
    let mut server = receiver(&redis.url());
    let mut refused = |channel: &[u8], id: Option<&[u8]>| {
        let callback = realtime::facade::engine::CallbackRef(1);
        server.engine.on_missed(channel, id, callback, false).unwrap_err().to_string()
    };
    assert!(refused(b"chat", None).contains("`missed` needs an id"));
    assert!(refused(b"chat:*", Some(b"x")).contains("`chat:*` is a pattern"));
    for n in 1..256 {
        server.on_missed(&format!("c{n}"), "x", 1);
    }
    let callback = realtime::facade::engine::CallbackRef(1);
    let refusal = server.engine.on_missed(b"more", Some(b"x"), callback, false).unwrap_err();
    assert!(refusal.to_string().contains("256 listeners with `missed`"));
    server.leave();
}

// ---- a server that is killed ------------------------------------------------------------------------------------------

/// The file that the server to be killed writes, and its Redis.
const CHILD: &str = "REALTIME_MISSED_CHILD";

/// Is the server to be killed if the variable is set: writes each number that it hears into the file, at once.
#[test]
fn the_server_that_is_killed() {
    let Ok(value) = std::env::var(CHILD) else { return };
    let (url, path) = value.split_once(' ').unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let mut server = receiver(url);
    loop {
        if server.tick() == 0 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let mut lines = String::new();
        server.heard.drain(..).for_each(|line| lines.push_str(&(line + "\n")));
        server.told.drain(..).for_each(|notice| {
            if let Notice::Gap { server, missed, .. } = notice {
                lines.push_str(&format!("gap {server} {missed}\n"));
            }
        });
        file.write_all(lines.as_bytes()).unwrap();
    }
}

/// A process that ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(url: &str, path: &std::path::Path) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_server_that_is_killed", "--nocapture"]);
    Killed(command.env(CHILD, format!("{url} {}", path.display())).spawn().unwrap())
}

/// Emits 200 events a second for so long.
fn emit_for(out: &mut Server, next: &mut u32, duration: Duration) {
    let (start, first) = (Instant::now(), *next);
    while start.elapsed() < duration {
        while f64::from(*next - first) < start.elapsed().as_secs_f64() * 200.0 {
            out.emit("chat", &format!(r#"{{"n":{next}}}"#)).unwrap();
            *next += 1;
        }
        out.tick();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// `REALTIME_AWAY_SECONDS=300` leaves the server dead for five minutes.
#[test]
fn a_killed_server_gets_all_that_was_emitted_while_it_was_dead() {
    let away = std::env::var("REALTIME_AWAY_SECONDS").map_or(5, |seconds| seconds.parse().unwrap());
    let redis = Redis::start(&[]);
    let mut out = emitter(&redis.url(), r#"{"max_events":100000}"#);
    let folder = Folder::default();
    std::fs::create_dir_all(folder.path()).unwrap();
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let mut next = 0;
    let child = start(&redis.url(), &first);
    wait_until("it has its place", || redis.command(&["EXISTS", "p:rt:place:in:4:chat:shop"]) == "1");
    emit_for(&mut out, &mut next, Duration::from_secs(3));
    drop(child);
    let killed_at = next;
    emit_for(&mut out, &mut next, Duration::from_secs(away));
    let (back_at, began) = (next, Instant::now());
    let child = start(&redis.url(), &second);
    // Live events flow meanwhile, until one comes live: it has caught up.
    wait_until("it has caught up", || {
        emit_for(&mut out, &mut next, Duration::from_millis(50));
        read(&second).lines().last().is_some_and(|line| line.starts_with("1 chat") && !line.ends_with("missed"))
    });
    let caught_up = began.elapsed();
    emit_for(&mut out, &mut next, Duration::from_secs(1));
    let end = next;
    wait_until("the last", || read(&second).contains(&format!("1 chat {}\n", end - 1)));
    drop(child);
    let (first, second) = (read(&first), read(&second));
    assert!(!first.contains("gap") && !second.contains("gap"), "nothing was lost");
    let [before, after] = [&first, &second].map(|text| {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        numbers(&lines)
    });
    let mut times = BTreeMap::new();
    before.iter().chain(&after).for_each(|n| *times.entry(*n).or_insert(0) += 1);
    assert_eq!(times.len() as u32, end, "each of them came");
    assert!(
        before.is_sorted_by(|a, b| a < b) && after.is_sorted_by(|a, b| a < b),
        "in order, and once to each process"
    );
    // The place is saved once a second, so the last second before the end may come again.
    let twice: Vec<u32> = times.into_iter().filter(|(_, count)| *count > 1).map(|(n, _)| n).collect();
    let missed = second.lines().filter(|line| line.ends_with("missed")).count();
    println!(
        "away {away} s: {} emitted meanwhile, {missed} read from the stream within {caught_up:.1?}, {} came again after \
         the kill",
        back_at - killed_at,
        twice.len()
    );
    assert!(twice.iter().all(|n| n + 400 > killed_at), "{twice:?}, killed at {killed_at}");
    assert!(missed as u32 >= back_at - killed_at);
    out.stop();
}

/// Two processes of one folder share the embedded server of the first. Its streams and places survive its end.
#[test]
fn the_embedded_server_has_what_was_missed() {
    let folder = Folder::default();
    let sources = |name: &str| {
        let mut sources = Sources::new(Config::defaults("test", 1), None, |_| None);
        sources.configure(&json!({ "redis": "embedded", "prefix": "p:", "server": name }).to_string()).unwrap();
        sources
    };
    let start = || {
        let mut out = Server::in_folder(sources("out"), folder.clone());
        out.wait_ready();
        out.engine.keep(b"chat", Some(&json!({}))).unwrap();
        let mut server = Server::in_folder(sources("in"), folder.clone());
        server.on_missed("chat", "shop", 1);
        server.tick();
        server.wait_ready();
        (out, server)
    };
    let (mut out, mut server) = start();
    wait_until("the listener has a place", || {
        server.tick();
        out.get("rt:place:in:4:chat:shop") != "nil"
    });
    say(&mut out, 0..10);
    server.hear(10);
    server.leave();
    say(&mut out, 10..700);
    out.stop();
    let (mut out, mut server) = start();
    server.hear(690);
    say(&mut out, 700..710);
    server.hear(700);
    rest(&mut server);
    assert_eq!(server.heard, [missed(10..700), live(700..710)].concat());
    assert_eq!((gaps(&server), server.stat("/caught_up"), server.errors()), (vec![], 690, vec![]));
    server.leave();
    out.stop();
}
