//! Forged events, with a member `_rt` like a server's: none of them silences a server, spoils a number, or costs more than
//! an ordinary event.

use fault_kit::{Redis, Server, wait_until};
use serde_json::json;

fn at(redis: &Redis, name: &str) -> Server {
    let mut server = Server::with(json!({ "redis": redis.url(), "server": name, "prefix": "p:" }));
    server.on("a", 1);
    server.wait_ready();
    server
}

/// Publishes an event on `a` that claims to come from this process.
fn forge(redis: &Redis, boot: u64, number: &str, sent: &str, acted: &str) {
    let crc = crc32fast::hash(b"p:a");
    let event = format!(r#"{{"n":-1,"_rt":"one/{boot:016x}:{number}:{sent}:{crc:08x}{acted}"}}"#);
    redis.command(&["PUBLISH", "p:a", &event]);
}

fn emit(server: &mut Server, numbers: std::ops::Range<u32>) {
    for n in numbers {
        wait_until("there is room", || server.emit("a", &format!("{{\"n\":{n}}}")).is_ok());
    }
    server.wait(|server| server.stat("/outbox/waiting") == 0);
}

/// The number of real events of the sender that were heard.
fn own(server: &Server) -> usize {
    server.heard.iter().filter(|line| !line.ends_with("-1")).count()
}

/// A number that no server reaches costs nothing. A plausible one costs two events, for its sender and for the others.
#[test]
fn a_forged_number_silences_no_server() {
    for (number, lost) in [("9007199254740992", 0), ("9007199254740991", 0), ("35184372088832", 0), ("1010", 2)] {
        let redis = Redis::start(&[]);
        let (mut sender, mut listener) = (at(&redis, "one"), at(&redis, "two"));
        let boot = sender.engine.shared().boot;
        emit(&mut sender, 0..10);
        sender.hear(10);
        listener.hear(10);
        forge(&redis, boot, number, "1", "");
        // Both servers have it, so its repeats and lower numbers cannot come first.
        sender.wait(|server| server.heard.len() == 11);
        listener.wait(|server| server.heard.len() == 11);
        emit(&mut sender, 10..110);
        for server in [&mut sender, &mut listener] {
            server.wait(|server| own(server) == 110 - lost);
            let renewed = u64::from(lost > 0);
            assert_eq!(server.stat("/numbers_renewed"), renewed, "{number}");
            assert_eq!(server.stat("/numbers_implausible"), 1 - renewed, "{number}");
            assert_eq!(server.stat("/inbox/dropped/repeat"), lost as u64, "{number}");
            let told = server
                .told
                .iter()
                .filter(|notice| matches!(notice, realtime::facade::event::notice::Notice::Gap { .. }))
                .count();
            assert_eq!(told, usize::from(lost > 0), "{number}: {:?}", server.told);
            server.assert_balanced();
        }
        sender.stop();
        listener.stop();
    }
}

/// A forged time does not count as a latency.
#[test]
fn a_forged_time_does_not_count_as_a_latency() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis, "one");
    for (boot, sent) in [(1, "0"), (2, "1"), (3, "9007199254740992")] {
        forge(&redis, boot, "1", sent, "");
    }
    server.hear(3);
    let longest = server.engine.stats()["latency"]["max_us"].as_f64().unwrap();
    assert!(longest < 3600.0 * 1e6, "{longest} us");
    server.stop();
}

/// A list of hooks that is longer than any server writes is no identity: the event counts as one without sender, and the
/// hook acts on it.
#[test]
fn a_forged_list_of_hooks_is_not_taken_as_an_identity() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis, "one");
    server.hook("a", json!({ "type": "counter", "key": "n" }));
    server.tick();
    server.wait_ready();
    wait_until("the lease is held", || {
        let (_, routes) = server.engine.shared().published.current();
        routes.leases().iter().all(|(_, lease)| lease.holds(std::time::Instant::now()))
    });
    forge(&redis, 7, "1", "1", &":0123456789abcdef".repeat(20_000));
    server.hear(1);
    wait_until("the hook acts", || redis.command(&["GET", "p:n"]) == "1");
    assert_eq!(server.stat("/relayed"), 1);
    // A list that a server could have written, with `*` for all hooks, is believed.
    forge(&redis, 7, "2", "1", ":*");
    server.hear(2);
    server.wait(|server| server.stat("/outbox/waiting") == 0);
    assert_eq!(redis.command(&["GET", "p:n"]), "1");
    server.stop();
}

/// Very many senders that do not exist: the memory for them is bounded, and the real sender is heard.
#[test]
fn forged_senders_do_not_fill_the_memory() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis, "one");
    let crc = format!("{:08x}", crc32fast::hash(b"p:a"));
    let flood = "for i = 1, 40000 do redis.call('PUBLISH', 'p:a', \
        '{\"n\":-1,\"_rt\":\"x/' .. string.format('%016x', i) .. ':5:1:' .. ARGV[1] .. '\"}') end";
    redis.command(&["EVAL", flood, "0", &crc]);
    server.wait(|server| server.stat("/inbox/in") == 40_000);
    server.heard.clear();
    emit(&mut server, 0..10);
    server.wait(|server| own(server) == 10);
    server.stop();
}
