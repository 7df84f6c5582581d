//! The same work at a large scale (`ours`) and at a small one, taking turns: the ratio of their costs shows whether a cost
//! grows with the scale. The unit is CPU time of this process, all threads together, for one event, byte, key or
//! registration; time that other processes take does not count. How many events one wake-up of a thread serves changes
//! with the load of the machine: where that matters, `benches/growth-count` counts instructions.

use std::time::Duration;

use fault_kit::{Redis, Server};
use realtime::facade::engine::CallbackRef;
use realtime::facade::engine::requests::Requests;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::sample;

/// Events of one round: fewer than a queue holds.
const EVENTS: usize = 4000;
const EVENT: &str =
    "{\"killer\":\"John\",\"victim\":\"Alice\",\"weapon\":\"weapon_crossbow\",\"timestamp\":1763942400}";

fn cpu(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// CPU time of this process that `work` takes, in nanoseconds.
fn cost(work: impl FnOnce()) -> f64 {
    let began = cpu(ClockId::ProcessCPUTime);
    work();
    cpu(ClockId::ProcessCPUTime) - began
}

/// Ticks until so many events were heard; the game would pause between two ticks.
fn hear(server: &mut Server, count: usize) {
    server.heard.clear();
    while server.heard.len() < count {
        if server.tick() == 0 {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
}

/// Lets `small` and `large` take turns and prints what each returns, the cost of one of `unit`.
fn compare(
    case: &str,
    rounds: usize,
    unit: &str,
    who: &str,
    small: &mut dyn FnMut() -> f64,
    large: &mut dyn FnMut() -> f64,
) {
    for round in 0..=rounds {
        let (few, many) = (small(), large());
        // The first round fills caches and buffers.
        if round > 0 {
            sample(&format!("growth/{case}"), "ours", round, many, unit);
            sample(&format!("growth/{case}"), who, round, few, unit);
        }
    }
}

/// Publishes and hears events on `hot`.
fn work_on_hot(server: &mut Server) {
    for _ in 0..EVENTS {
        server.emit("hot", EVENT).unwrap();
    }
    hear(server, EVENTS);
}

/// The cost of one of them.
fn on_hot(server: &mut Server) -> f64 {
    cost(|| work_on_hot(server)) / EVENTS as f64
}

/// Publishes and hears `count` events, with so many listeners or hooks on other channels. Prints nothing: callgrind counts the
/// instructions of two runs, and the difference belongs to the events.
pub fn count(case: &str, others: usize, count: usize) {
    let redis = Redis::start(&[]);
    let mut server = listening(&redis, "count");
    if case == "hooks" {
        uninvolved_hook(&mut server, "hot");
    }
    for other in 1..others {
        match case {
            "hooks" => uninvolved_hook(&mut server, &format!("other:{other}")),
            "listeners" => server.on(&format!("other:{other}"), 2),
            _ => panic!("no case {case}"),
        }
    }
    server.wait_ready();
    for _ in 0..count / EVENTS {
        work_on_hot(&mut server);
    }
    server.stop();
}

/// A hook that never acts on the events of this bench: so no action hides the cost of finding the hooks.
fn uninvolved_hook(server: &mut Server, channel: &str) {
    server.hook(channel, json!({ "type": "counter", "key": "k", "where": { "weapon": "none" } }));
}

/// A server with a listener on `hot`.
fn listening(redis: &Redis, name: &str) -> Server {
    let mut server = Server::with_prefix(&redis.url(), &format!("{name}:"));
    server.on("hot", 1);
    server
}

fn listeners(redis: &Redis, rounds: usize) {
    let (mut one, mut many) = (listening(redis, "one"), listening(redis, "many"));
    for other in 1..10_000 {
        many.on(&format!("other:{other}"), other);
    }
    one.wait_ready();
    many.wait_ready();
    compare("listeners", rounds, "ns/event", "1 listener", &mut || on_hot(&mut one), &mut || on_hot(&mut many));
    one.stop();
    many.stop();
}

fn hooks(redis: &Redis, rounds: usize) {
    let (mut one, mut many) = (listening(redis, "one"), listening(redis, "many"));
    uninvolved_hook(&mut one, "hot");
    uninvolved_hook(&mut many, "hot");
    for other in 1..1000 {
        uninvolved_hook(&mut many, &format!("other:{other}"));
    }
    one.wait_ready();
    many.wait_ready();
    compare("hooks", rounds, "ns/event", "1 hook", &mut || on_hot(&mut one), &mut || on_hot(&mut many));
    one.stop();
    many.stop();
}

/// Events on one channel, and each on another one of 100,000 that have a listener each.
fn channels(redis: &Redis, rounds: usize) {
    const CHANNELS: usize = 100_000;
    let (mut one, mut many) = (listening(redis, "one"), listening(redis, "many"));
    let names: Vec<String> = (0..CHANNELS).map(|number| format!("channel:{number}")).collect();
    for name in &names {
        many.on(name, 1);
    }
    one.wait_ready();
    many.wait_ready();
    let mut next = 0;
    let mut spread = || {
        cost(|| {
            for _ in 0..EVENTS {
                many.emit(&names[next % CHANNELS], EVENT).unwrap();
                next += 1;
            }
            hear(&mut many, EVENTS);
        }) / EVENTS as f64
    };
    // The first events wait for all subscriptions.
    spread();
    compare("channels", rounds, "ns/event", "1 channel", &mut || on_hot(&mut one), &mut spread);
    one.stop();
    many.stop();
}

/// Payloads of 500 kB and of 5 kB, the same bytes in all; those of 100 bytes are in the case of their own.
fn payload(redis: &Redis, rounds: usize) {
    let mut server = listening(redis, "payload");
    server.wait_ready();
    let mut per_byte = |bytes: usize, count: usize| {
        let rows = bytes / EVENT.len();
        let text = format!("{{\"rows\":[{}]}}", vec![EVENT; rows.max(1)].join(","));
        let spent = cost(|| {
            for _ in 0..count {
                server.emit("hot", &text).unwrap();
            }
            hear(&mut server, count);
        });
        spent / (count * text.len()) as f64
    };
    for round in 0..=rounds {
        let sizes = [("ours", 500_000, 8), ("5 kB", 5_000, 800), ("100 B", 100, 4000)];
        for (who, bytes, count) in sizes {
            let spent = per_byte(bytes, count);
            if round > 0 {
                sample("growth/payload", who, round, spent, "ns/byte");
            }
        }
    }
    server.stop();
}

/// The search through keys, with a callback, for one key of the board. The largest board is just below the module's limit of
/// keys. Then the first ten of a sorted set, the form that has no such limit.
fn leaderboard(rounds: usize) {
    let redis = Redis::start(&[]);
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut server = Server::with_prefix(&redis.url(), "");
    server.wait_ready();
    let boards = [("100 keys", "small", 100), ("10 k keys", "middle", 10_000), ("ours", "large", 250_000)];
    for (_, board, keys) in boards {
        redis::cmd("EVAL")
            .arg("for i = 1, ARGV[2] do redis.call('SET', ARGV[1] .. ':' .. i, i) end")
            .arg(0)
            .arg(board)
            .arg(keys)
            .exec(&mut connection)
            .unwrap();
    }
    // A search reads all keys of the database, so each board gets a database of its own size: others are deleted.
    for (who, board, keys) in boards.into_iter().rev() {
        for round in 0..=rounds.min(3) {
            server.answers.clear();
            let spent = cost(|| {
                let pattern = format!("{board}:*");
                server.submit(Some(1), |requests| requests.leaderboard(pattern.as_bytes(), 10.0)).unwrap();
                server.answered(1);
            });
            assert!(server.answers[0].1.starts_with('{'), "{}", server.answers[0].1);
            if round > 0 {
                sample("growth/leaderboard", who, round, spent / f64::from(keys), "ns/key");
            }
        }
        redis::cmd("EVAL")
            .arg("for i = 1, ARGV[2] do redis.call('DEL', ARGV[1] .. ':' .. i) end")
            .arg(0)
            .arg(board)
            .arg(keys)
            .exec(&mut connection)
            .unwrap();
    }
    sorted_sets(&mut server, &mut connection, rounds);
    server.stop();
}

/// Reads of the first ten of a sorted set, with 100 and with 1,000,000 members, and additions to one member of each. The
/// time is that of this process and of Redis together, as Redis does the part that could grow.
fn sorted_sets(server: &mut Server, connection: &mut redis::Connection, rounds: usize) {
    const READS: u32 = 500;
    for (board, members) in [("short", 100), ("long", 1_000_000)] {
        redis::cmd("EVAL")
            .arg("for i = 1, ARGV[1] do redis.call('ZADD', KEYS[1], i, 'member' .. i) end")
            .arg(1)
            .arg(board)
            .arg(members)
            .exec(connection)
            .unwrap();
    }
    let redis_cpu = |connection: &mut redis::Connection| -> f64 {
        let info: String = redis::cmd("INFO").arg("cpu").query(connection).unwrap();
        let seconds = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.trim().parse().unwrap()
        };
        (seconds("used_cpu_user:") + seconds("used_cpu_sys:")) * 1e9
    };
    for (case, is_read) in [("top-ten", true), ("add-score", false)] {
        let mut of = |board: &str| {
            let before = redis_cpu(connection);
            let ours = cost(|| {
                for _ in 0..READS {
                    server.answers.clear();
                    let made = |requests: Requests<'_>| {
                        if is_read {
                            requests.leaderboard(board.as_bytes(), 10.0)
                        } else {
                            requests.command(&["ZINCRBY", board, "1", "member77"].map(|arg| arg.as_bytes().to_vec()))
                        }
                    };
                    server.submit(Some(1), made).unwrap();
                    server.answered(1);
                }
            });
            (ours + redis_cpu(connection) - before) / f64::from(READS)
        };
        for round in 0..=rounds.min(5) {
            let (few, many) = (of("short"), of("long"));
            if round > 0 {
                sample(&format!("growth/{case}"), "ours", round, many, "ns/request");
                sample(&format!("growth/{case}"), "100 members", round, few, "ns/request");
            }
        }
    }
}

/// Events of 50 senders and of one, with numbers, published by a program that speaks for them. The time for publishing does
/// not count.
fn servers(redis: &Redis, rounds: usize) {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut server = listening(redis, "servers");
    server.wait_ready();
    let checksum = crc32fast::hash(b"servers:hot");
    let mut number = 0;
    let mut of = |senders: usize, server: &mut Server| {
        let mut pipeline = redis::pipe();
        for event in 0..EVENTS {
            // All events of one round have the next numbers of their senders; rounds alternate, so senders differ by case.
            let (sender, number) = (event % senders, number + event / senders + 1);
            let boot = format!("{:08x}{sender:08x}", senders);
            let body = EVENT.trim_end_matches('}');
            let payload = format!("{body},\"_rt\":\"eu-{sender}/{boot}:{number}:1732460000123:{checksum:08x}\"}}");
            pipeline.publish("servers:hot", payload).ignore();
        }
        number += EVENTS;
        let mut spent = cost(|| {
            let began = cpu(ClockId::ThreadCPUTime);
            pipeline.exec(&mut connection).unwrap();
            let published = cpu(ClockId::ThreadCPUTime) - began;
            hear(server, EVENTS);
            PUBLISHED.set(published);
        });
        spent -= PUBLISHED.get();
        spent / EVENTS as f64
    };
    for round in 0..=rounds {
        let (few, many) = (of(1, &mut server), of(50, &mut server));
        if round > 0 {
            sample("growth/servers", "ours", round, many, "ns/event");
            sample("growth/servers", "1 server", round, few, "ns/event");
        }
    }
    server.stop();
}

thread_local! {
    static PUBLISHED: std::cell::Cell<f64> = const { std::cell::Cell::new(0.0) };
}

/// Registrations: of listeners with ids of their own on one channel, in no order; and their removal.
fn registrations(redis: &Redis, rounds: usize) {
    let add = |count: usize| {
        let mut server = Server::with_prefix(&redis.url(), "registrations:");
        let spent = cost(|| {
            for number in 0..count as i32 {
                // A permutation of the numbers.
                let id = format!("{:08x}", (number as u32).wrapping_mul(0x9e37_79b1));
                server.engine.on(b"hot", Some(id.as_bytes()), CallbackRef(number), false).unwrap();
            }
            for number in 0..count as i32 {
                let id = format!("{:08x}", (number as u32).wrapping_mul(0x9e37_79b1));
                server.engine.off(b"hot", Some(id.as_bytes()));
            }
        });
        server.stop();
        spent / count as f64
    };
    compare("registrations", rounds.min(3), "ns/listener", "1,000", &mut || add(1000), &mut || add(100_000));
}

/// Registrations of listeners on as many channels, with the routes for them.
fn topics(redis: &Redis, rounds: usize) {
    let add = |count: i32| {
        let mut server = Server::with_prefix(&redis.url(), "topics:");
        let spent = cost(|| {
            for number in 0..count {
                server.on(&format!("{:08x}", (number as u32).wrapping_mul(0x9e37_79b1)), number);
            }
            server.tick();
        });
        server.stop();
        spent / f64::from(count)
    };
    compare("topics", rounds.min(3), "ns/listener", "1,000", &mut || add(1000), &mut || add(100_000));
}

/// Registrations of hooks on one channel, up to nearly the limit.
fn hooked(redis: &Redis, rounds: usize) {
    let add = |count: usize| {
        let mut server = Server::with_prefix(&redis.url(), "hooked:");
        let spent = cost(|| {
            for number in 0..count {
                server.hook("hot", json!({ "type": "counter", "key": format!("k{number}") }));
            }
        });
        server.stop();
        spent / count as f64
    };
    compare("hooked", rounds.min(3), "ns/hook", "100", &mut || add(100), &mut || add(4000));
}

pub fn run(rounds: usize, only: Option<&str>) {
    let redis = Redis::start(&[]);
    let is_wanted = |case: &str| only.is_none_or(|only| only == case);
    let cases: [(&str, fn(&Redis, usize)); 8] = [
        ("registrations", registrations),
        ("topics", topics),
        ("hooked", hooked),
        ("listeners", listeners),
        ("hooks", hooks),
        ("channels", channels),
        ("payload", payload),
        ("servers", servers),
    ];
    for (name, case) in cases {
        if is_wanted(name) {
            eprintln!("growth/{name}");
            case(&redis, rounds);
        }
    }
    if is_wanted("leaderboard") {
        leaderboard(rounds);
    }
}
