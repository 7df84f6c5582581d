//! Aggregators of one server and of a fleet, without Lua, against a real Redis: which window an event belongs to, which
//! server sums the window up, and what happens at a map change or while Redis is away. Windows take a second here.

use std::time::Instant;

use fault_kit::{Redis, Server, wait_for, wait_until};
use realtime::facade::event::notice::Notice;
use serde_json::{Value, json};

fn at(url: &str, name: &str) -> Server {
    let mut server = Server::with(json!({ "redis": url, "server": name, "prefix": "p:" }));
    server.wait_ready();
    server
}

/// An aggregator whose sums are counted in Redis.
fn spec(more: Value) -> Value {
    let mut spec = json!({
        "interval": 1,
        "aggregate": { "\u{0}function": "x.lua:1" },
        "actions": [{ "type": "counter", "key": "sums" }],
    });
    for (name, value) in more.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

fn add(server: &mut Server, channel: &str, more: Value) {
    server.aggregator(channel, 7, &spec(more));
    server.tick();
    server.wait_ready();
}

fn emit(server: &mut Server, n: u64) {
    let text = json!({ "n": n }).to_string();
    wait_until("there is room", || server.emit("kill", &text).is_ok());
}

fn holds(server: &Server) -> bool {
    let (_, routes) = server.engine.shared().published.current();
    routes.leases().iter().any(|(_, lease)| lease.holds(Instant::now()))
}

/// All events that one of these servers summed up, sorted.
fn summed(servers: &[Server]) -> Vec<String> {
    let windows = servers.iter().flat_map(|server| &server.windows);
    let mut all: Vec<String> = windows.flat_map(|(_, events)| events.clone()).collect();
    all.sort_unstable();
    all
}

fn expected(numbers: std::ops::Range<u64>) -> Vec<String> {
    let mut all: Vec<String> = numbers.map(|n| format!("{{n={n}}}")).collect();
    all.sort_unstable();
    all
}

/// Every server collects all events: its own, those of others, and those without identity. One server sums each window up.
#[test]
fn a_fleet_sums_up_each_event_once() {
    const EVENTS: u64 = 600;
    let redis = Redis::start(&[]);
    let mut servers = ["one", "two", "three"].map(|name| at(&redis.url(), name));
    servers.iter_mut().for_each(|server| add(server, "ki*", json!({})));
    wait_for("servers that hold the lease", 1, || servers.iter().filter(|server| holds(server)).count());
    for n in 0..EVENTS {
        emit(&mut servers[n as usize % 3], n);
        if n % 10 == 0 {
            redis.command(&["PUBLISH", "p:kill", &json!({ "n": EVENTS + n / 10 }).to_string()]);
            servers.iter_mut().for_each(|server| _ = server.tick());
        }
    }
    let all = EVENTS + EVENTS / 10;
    wait_until("all events are summed up", || {
        servers.iter_mut().for_each(|server| _ = server.tick());
        servers.iter().all(|server| server.stat("/aggregates/in") == all && server.stat("/aggregates/waiting") == 0)
    });
    assert_eq!(summed(&servers), expected(0..all));
    let windows: u64 = servers.iter().map(|server| server.stat("/windows")).sum();
    wait_for("sums with a counter action", windows.to_string(), || redis.command(&["GET", "p:sums"]));
    let left: u64 = servers.iter().map(|server| server.stat("/aggregates/dropped/other_server")).sum();
    assert_eq!(left, 2 * all, "the others leave it to the holder");
    for mut server in servers {
        server.settle();
        server.stop();
    }
}

/// Collected events wait for the next Lua state and for its function. An aggregator that is not added again is dropped.
#[test]
fn windows_survive_a_map_change() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    add(&mut server, "kill", json!({}));
    add(&mut server, "other", json!({}));
    server.wait_told_connected();
    wait_until("the leases are held", || {
        let (_, routes) = server.engine.shared().published.current();
        routes.leases().iter().all(|(_, lease)| lease.holds(Instant::now()))
    });
    (0..100).for_each(|n| emit(&mut server, n));
    for n in 0..5 {
        wait_until("there is room", || server.emit("other", &json!({ "n": n }).to_string()).is_ok());
    }
    // Both windows have ended, and one may be half-way into Lua, when the state closes.
    wait_until("both windows have ended", || server.engine.shared().collector.due() >= 2);
    assert!(server.engine.next_call(Instant::now()).is_some_and(|call| {
        let gathered = realtime::facade::engine::Outcome::Gathered(realtime::facade::engine::CallbackRef(1000));
        server.engine.complete(call, gathered);
        true
    }));
    let (released, _) = server.engine.detach();
    assert_eq!(released.len(), 3, "two functions and an array");
    for n in 100..110 {
        redis.command(&["PUBLISH", "p:kill", &json!({ "n": n }).to_string()]);
    }
    wait_for("events collected", 115, || server.stat("/aggregates/in"));
    server.engine.attach();
    // The windows wait while nothing has a function yet.
    server.tick();
    server.aggregator("kill", 8, &spec(json!({})));
    server.wait(|server| server.stat("/aggregates/delivered") == 110);
    assert!(server.windows.iter().all(|(function, _)| *function == 8));
    assert_eq!(summed(std::slice::from_ref(&server)), expected(0..110));
    server.wait(|server| server.stat("/aggregates/dropped/no_function") == 5);
    assert_eq!(server.stat("/aggregators"), 1);
    server.settle();
    let is_told = |notice: &Notice| matches!(notice, Notice::ActionFailed { kind: "aggregate", reason, .. } if reason.ends_with("lost 5 events"));
    assert!(server.told.iter().any(is_told), "{:?}", server.told);
    server.stop();
}

/// While Redis is away no server knows who holds the lease, so windows wait. None is lost or summed up twice.
#[test]
fn windows_wait_while_redis_is_away() {
    let mut redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    redis.kill();
    server.wait(|server| server.engine.status().0 == "connecting");
    server.aggregator("kill", 7, &spec(json!({})));
    server.tick();
    let mut n = 0;
    // The windows of some seconds.
    let began = Instant::now();
    wait_until("time passes", || {
        emit(&mut server, n);
        n += 1;
        server.tick();
        began.elapsed().as_secs() >= 2
    });
    server.wait(|server| server.stat("/aggregates/waiting") == n);
    assert_eq!(server.windows.len(), 0);
    redis.start_again();
    server.wait(|server| server.stat("/aggregates/delivered") == n);
    assert!(server.windows.len() >= 2, "each second has its own window");
    assert_eq!(summed(std::slice::from_ref(&server)), expected(0..n));
    server.settle();
    server.stop();
}

#[test]
fn an_aggregator_keeps_its_bounds_and_can_be_replaced_and_removed() {
    let redis = Redis::start(&[]);
    let mut server = at(&redis.url(), "one");
    let slow = spec(json!({ "interval": 86400, "max_events": 10 }));
    let on = |server: &mut Server, spec: &Value| {
        let function = Some(realtime::facade::engine::CallbackRef(7));
        server.engine.add_aggregator(b"kill", Some(b"x"), spec, function).unwrap();
        server.tick();
    };
    on(&mut server, &slow);
    (0..15).for_each(|n| emit(&mut server, n));
    server.wait(|server| server.stat("/aggregates/in") == 15 && server.stat("/aggregates/dropped/too_many") >= 5);
    assert_eq!((server.stat("/aggregates/dropped/too_many"), server.stat("/aggregates/waiting")), (5, 10));
    server.wait(|server| server.stat("/notices/waiting") == 0);
    let told = |notice: &&Notice| matches!(notice, Notice::ActionFailed { kind: "aggregate", .. });
    assert_eq!(server.told.iter().filter(told).count(), 1, "once a window: {:?}", server.told);
    on(&mut server, &slow);
    assert_eq!(server.stat("/aggregates/waiting"), 10, "the same again goes on");
    on(&mut server, &spec(json!({ "interval": 86400 })));
    assert_eq!(server.stat("/aggregates/dropped/removed"), 10);
    emit(&mut server, 15);
    server.wait(|server| server.stat("/aggregates/waiting") == 1);
    wait_until("the lease is held", || holds(&server));
    assert_eq!(server.engine.remove_aggregator(b"x").map(|released| released.len()), Some(1));
    assert!(server.engine.remove_aggregator(b"x").is_none());
    server.tick();
    assert_eq!(server.stat("/aggregates/dropped/removed"), 11);
    wait_until("its lease is released", || redis.command(&["KEYS", "p:rt:lead:*"]).is_empty());
    for (wrong, expected) in [
        (json!({ "interval": 0 }), "config: interval"),
        (json!({ "max_events": 0 }), "config: max_events"),
        (json!({ "actions": [] }), "config: actions"),
        (json!({ "actions": [{ "type": "conditional" }] }), "config: actions[1].type"),
        (json!({ "intervall": 5 }), "config: intervall"),
    ] {
        let refused = server.engine.add_aggregator(b"kill", None, &spec(wrong.clone()), None).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{wrong}: {refused}");
    }
    let refused = server.engine.add_aggregator(b"kill", None, &slow, None).unwrap_err().to_string();
    assert_eq!(refused, "config: aggregate: expected a function");
    server.settle();
    server.stop();
}
