//! Whole connections to a redis-server of their own: targets 6 to 9. Ours are the real threads of a server without Lua.
//!
//! For the rates everything is on one core (`taskset`), which is never idle. So the rate is one over the CPU time that all
//! programs need for a message. The thread that stands for the script, which fills the outbox or empties the inbox, is not
//! part of it. `publish/by-clock` and `deliver/by-clock` are the rates by the clock, without that thread's time: they
//! would show a core that idles, but other programs on the machine lower them.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fault_kit::{PATIENCE, Redis, Server};
use peers::{hiredis, redis_rs};
use realtime::facade::engine::{Call, Outcome};
use serde_json::json;

use crate::cpu::{self, Stopwatch};
use crate::{Seed, sample, typical_payloads};

const ROUNDS: usize = 7;
const MESSAGES: usize = 200_000;
/// The script's thread fills the outbox up to here; it holds 8192.
const FILLED: usize = 7000;
/// The pause of the script's thread. Redis takes some 500 messages meanwhile.
const PAUSE: Duration = Duration::from_micros(200);
/// Commands in one pipeline of a peer.
const DEPTH: usize = 128;
/// Two names of one length, so that ours and the peers move the same bytes.
const OURS: &str = "player:killing";
const PEERS: &str = "player:healing";
/// The first number of the events that a foreign publisher counts up.
const FIRST_NUMBER: &str = "1000000000";

/// Targets 6 to 8.
pub(crate) fn rates() {
    let redis = Redis::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let server_id = process_of(&redis);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.wait_ready();
    let text = String::from_utf8(typical_payloads(&mut Seed::default(), 1).remove(0)).expect("JSON");
    let wire = wire_payload(&redis, &mut server, &text);
    publish_rates(&redis, server_id, &mut server, &text, &wire);
    server.stop();
    deliver_rates(&redis, server_id, &wire);
}

/// Prints the rate of MESSAGES messages, which took this CPU time in all and this time by the clock.
fn rate(case: &str, who: &str, round: usize, cpu: Duration, clock: Duration) {
    let per_second = |time: Duration| MESSAGES as f64 / time.as_secs_f64();
    sample(&format!("{case}/rate"), who, round, per_second(cpu), "per second");
    sample(&format!("{case}/by-clock"), who, round, per_second(clock), "per second");
}

/// Prints the CPU time of the client for one message.
fn client(case: &str, who: &str, round: usize, cpu: Duration) {
    sample(&format!("{case}/cpu"), who, round, cpu.as_nanos() as f64 / MESSAGES as f64, "ns");
}

// ---- publishing -------------------------------------------------------------------------------------------------------

fn publish_rates(redis: &Redis, server_id: u32, server: &mut Server, text: &str, wire: &[u8]) {
    let mut c = hiredis::Connection::open(redis.port());
    let mut rs = redis_rs::Connection::open(&redis.url());
    for round in 1..=ROUNDS {
        let (served, published) = (cpu::process(server_id), cpu::thread("rt-publisher"));
        let watch = Stopwatch::start();
        publish(server, text);
        let clock = watch.others();
        let own = cpu::thread("rt-publisher") - published;
        rate("publish", "ours", round, own + cpu::process(server_id) - served, clock);
        client("publish", "ours", round, own);

        let peer = |who: &str, run: &mut dyn FnMut()| {
            let served = cpu::process(server_id);
            let watch = Stopwatch::start();
            run();
            let (own, clock) = (watch.own(), watch.clock());
            rate("publish", who, round, own + cpu::process(server_id) - served, clock);
            client("publish", who, round, own);
        };
        peer("hiredis", &mut || c.publish(PEERS.as_bytes(), &mut wire.to_vec(), None, MESSAGES, DEPTH));
        peer("redis-rs", &mut || rs.publish(PEERS.as_bytes(), wire, MESSAGES, DEPTH));

        let served = cpu::process(server_id);
        let watch = Stopwatch::start();
        let own = redis_benchmark(redis, wire);
        let clock = watch.clock();
        rate("publish", "redis-benchmark", round, own + cpu::process(server_id) - served, clock);
        client("publish", "redis-benchmark", round, own);
    }
}

/// Keeps the outbox full until all messages are answered.
fn publish(server: &mut Server, text: &str) {
    let (mut left, began) = (MESSAGES, Instant::now());
    loop {
        let waiting = server.engine.shared().outbox.waiting();
        if left == 0 && waiting == 0 {
            return;
        }
        for _ in waiting..FILLED {
            if left == 0 {
                break;
            }
            server.emit(OURS, text).expect("the outbox has room");
            left -= 1;
        }
        assert!(began.elapsed() < PATIENCE, "{waiting} messages wait");
        thread::sleep(PAUSE);
    }
}

/// Runs redis-benchmark and returns its CPU time.
fn redis_benchmark(redis: &Redis, wire: &[u8]) -> Duration {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", "127.0.0.1", "-p", &redis.port().to_string(), "-c", "1", "-P", "16", "-q"]);
    command.args(["-n", &MESSAGES.to_string(), "PUBLISH", PEERS, std::str::from_utf8(wire).expect("JSON")]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("redis-benchmark");
    let mut said = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("its output");
    // It has ended, and its counts stand until it is waited for.
    let own = cpu::process(child.id());
    assert!(child.wait().expect("its end").success(), "redis-benchmark failed: {said}");
    assert!(!own.is_zero(), "redis-benchmark left no counts");
    own
}

// ---- delivery ---------------------------------------------------------------------------------------------------------

fn deliver_rates(redis: &Redis, server_id: u32, wire: &[u8]) {
    let mut server = listening(redis);
    let mut c = hiredis::Connection::open(redis.port());
    c.subscribe(PEERS.as_bytes());
    // Each round goes on counting, as a server does: repeats end in the subscriber.
    let (mut for_ours, mut for_peers) = (wire.to_vec(), wire.to_vec());
    for round in 1..=ROUNDS {
        let (served, subscribed) = (cpu::process(server_id), cpu::thread("rt-subscriber"));
        let watch = Stopwatch::start();
        let published = beside_publisher(redis, OURS, &mut for_ours, || hear(&mut server, round * MESSAGES));
        let clock = watch.others();
        let own = cpu::thread("rt-subscriber") - subscribed;
        rate("deliver", "ours", round, own + published + cpu::process(server_id) - served, clock);
        client("deliver", "ours", round, own);

        let served = cpu::process(server_id);
        let watch = Stopwatch::start();
        let mut own = Duration::ZERO;
        let published = beside_publisher(redis, PEERS, &mut for_peers, || {
            let watch = Stopwatch::start();
            c.receive(MESSAGES);
            own = watch.own();
        });
        rate("deliver", "hiredis", round, own + published + cpu::process(server_id) - served, watch.clock());
        client("deliver", "hiredis", round, own);
    }
    let dropped = server.stat("/inbox/dropped/overflow");
    if dropped > 0 {
        eprintln!("{dropped} of {} events were dropped: the script's thread came late", ROUNDS * MESSAGES);
    }
    assert_eq!(server.stat("/inbox/dropped/repeat") + server.stat("/missed"), 0, "{}", server.engine.stats());
    server.stop();
}

/// A server that listens to [`OURS`].
fn listening(redis: &Redis) -> Server {
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.wait_ready();
    server.on(OURS, 1);
    server.tick();
    fault_kit::wait_until("the subscription stands", || redis.command(&["PUBSUB", "NUMSUB", OURS]).ends_with("\n1"));
    server
}

/// Publishes MESSAGES messages flat out on another thread while `receive` runs. Returns that thread's CPU time.
fn beside_publisher(redis: &Redis, channel: &str, wire: &mut [u8], receive: impl FnOnce()) -> Duration {
    let number = number_end(wire);
    let mut c = hiredis::Connection::open(redis.port());
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let watch = Stopwatch::start();
            c.publish(channel.as_bytes(), wire, Some(number), MESSAGES, DEPTH);
            watch.own()
        });
        receive();
        publisher.join().expect("the publisher")
    })
}

/// Delivers events until `count` have arrived in all, those that the inbox dropped included.
fn hear(server: &mut Server, count: usize) {
    let began = Instant::now();
    loop {
        let engine = &mut server.engine;
        if engine.shared().inbox.take_attention() {
            let now = Instant::now();
            engine.begin_tick(now);
            // The clock stands still, so the budget does not end the tick.
            while let Some(call) = engine.next_call(now) {
                let outcome = match &call {
                    Call::Deliver(_) | Call::Notice(_) => Outcome::Done,
                    _ => panic!("nobody asked for this"),
                };
                engine.complete(call, outcome);
            }
        } else if server.stat("/inbox/in") as usize >= count {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "not all events came: {}", server.engine.stats());
        thread::sleep(PAUSE);
    }
}

// ---- latency ----------------------------------------------------------------------------------------------------------

const LATENCY_ROUNDS: usize = 8;
const EVENTS: usize = 500;
const EVERY: Duration = Duration::from_millis(1);

/// Target 9: 1000 events a second, from the call to the return of a foreign subscriber's read.
pub(crate) fn latency() {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url() }));
    server.wait_ready();
    let text = String::from_utf8(typical_payloads(&mut Seed::default(), 1).remove(0)).expect("JSON");
    let mut wire = wire_payload(&redis, &mut server, &text);
    let mut c = hiredis::Connection::open(redis.port());
    let (arrivals_tx, arrivals) = mpsc::channel();
    let mut subscriber = hiredis::Connection::open(redis.port());
    subscriber.subscribe(OURS.as_bytes());
    let receiver = thread::spawn(move || {
        for _ in 0..2 * LATENCY_ROUNDS * EVENTS {
            subscriber.receive(1);
            arrivals_tx.send(Instant::now()).expect("the main thread");
        }
    });
    for round in 1..=LATENCY_ROUNDS {
        let percentiles = |who: &str, send: &mut dyn FnMut()| {
            let mut micros: Vec<f64> = Vec::new();
            let began = Instant::now();
            for event in 0..EVENTS as u32 {
                thread::sleep((EVERY * event).saturating_sub(began.elapsed()));
                let sent = Instant::now();
                send();
                let arrived = arrivals.recv_timeout(PATIENCE).expect("an event");
                micros.push(arrived.duration_since(sent).as_secs_f64() * 1e6);
            }
            micros.sort_by(f64::total_cmp);
            sample("latency/p50", who, round, micros[EVENTS / 2], "us");
            sample("latency/p99", who, round, micros[EVENTS * 99 / 100], "us");
        };
        percentiles("ours", &mut || server.emit(OURS, &text).expect("the outbox has room"));
        percentiles("hiredis", &mut || c.publish(OURS.as_bytes(), &mut wire, None, 1, 1));
    }
    receiver.join().expect("the receiver");
    server.stop();
}

// ---- the bytes on the wire --------------------------------------------------------------------------------------------

/// The payload of one event of ours on the wire, with the identity that Emit adds. Its number has ten digits.
fn wire_payload(redis: &Redis, server: &mut Server, text: &str) -> Vec<u8> {
    let mut subscriber = hiredis::Connection::open(redis.port());
    subscriber.subscribe(OURS.as_bytes());
    server.emit(OURS, text).expect("the outbox has room");
    let mut payload = subscriber.receive(1);
    let end = number_end(&payload);
    payload.splice(end..=end, FIRST_NUMBER.bytes());
    payload
}

/// The position of the last digit of the event's number: `"_rt":"NAME/BOOT:NUMBER:...`.
fn number_end(payload: &[u8]) -> usize {
    let member = payload.windows(7).rposition(|bytes| bytes == b"\"_rt\":\"").expect("an identity");
    let colons = (member + 7..payload.len()).filter(|at| payload[*at] == b':');
    colons.take(2).last().expect("a number") - 1
}

fn process_of(redis: &Redis) -> u32 {
    let info = redis.command(&["INFO", "server"]);
    let line = info.lines().find_map(|line| line.strip_prefix("process_id:"));
    line.and_then(|id| id.parse().ok()).expect("the process of Redis")
}
