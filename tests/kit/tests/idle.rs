//! The commands that an idle server sends: some hosts are paid by the command.

use std::time::{Duration, Instant};

use fault_kit::{Redis, Server};
use serde_json::json;

/// The calls of each command so far, those in scripts included.
fn calls(redis: &Redis) -> Vec<(String, u64)> {
    let stats = redis.command(&["INFO", "commandstats"]);
    let read = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats
        .lines()
        .filter_map(read)
        .filter(|(name, _)| !name.starts_with("info") && !name.starts_with("config"))
        .collect()
}

/// A server with two hooks, one minute without an event. The README's table has these numbers for 30 days.
#[test]
fn the_commands_of_an_idle_minute() {
    let redis = [false, true].map(|thrifty| (thrifty, Redis::start(&[])));
    let mut servers = redis.each_ref().map(|(thrifty, redis)| {
        let mut server = Server::with(json!({ "redis": redis.url(), "prefix": "p:", "thrifty": thrifty }));
        server.on("chat", 1);
        server.hook("kill", json!({ "type": "counter", "key": "kills" }));
        server.hook("join", json!({ "type": "counter", "key": "joins" }));
        server.wait_ready();
        server.settle();
        server
    });
    let before = redis.each_ref().map(|(_, redis)| calls(redis));
    let (began, minute) = (Instant::now(), Duration::from_secs(60));
    while began.elapsed() < minute {
        servers.iter_mut().for_each(|server| _ = server.tick());
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let after = redis.each_ref().map(|(_, redis)| calls(redis));
    let of = |at: usize, name: &str| {
        let count =
            |calls: &[(String, u64)]| calls.iter().find(|(known, _)| known == name).map_or(0, |(_, calls)| *calls);
        count(&after[at]) - count(&before[at])
    };
    // The name, and the least and the most calls: usual, and thrifty. A lease of this server is renewed by GET and PEXPIRE.
    let rows = [
        ("role", 12..=13, 1..=2),
        ("ping", 12..=13, 1..=2),
        ("eval", 19..=21, 1..=2),
        ("get", 38..=42, 2..=4),
        ("pexpire", 38..=42, 2..=4),
    ];
    let found: Vec<String> = rows.iter().map(|(name, ..)| format!("{name} {} {}", of(0, name), of(1, name))).collect();
    for (name, usual, thrifty) in &rows {
        assert!(usual.contains(&of(0, name)) && thrifty.contains(&of(1, name)), "{found:?}");
    }
    let others: Vec<&String> =
        after.iter().flatten().map(|(name, _)| name).filter(|name| rows.iter().all(|row| row.0 != *name)).collect();
    for name in others {
        assert_eq!((of(0, name), of(1, name)), (0, 0), "{name}");
    }
    // A lease is held all the time.
    for server in &servers {
        let ((_, routes), now) = (server.engine.shared().published.current(), Instant::now());
        assert!(routes.leases().iter().all(|(_, lease)| lease.holds(now)));
        assert_eq!(server.stat("/reconnects"), 0);
    }
    servers.into_iter().for_each(Server::stop);
}
