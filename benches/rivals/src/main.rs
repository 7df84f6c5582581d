//! `Get` without callback next to redis-rs's synchronous GET, taking turns on the same Redis: idle, and while the same
//! server publishes 10,000 events a second. Prints microseconds; checks nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fault_kit::{Redis, Server};
use serde_json::json;

const ROUNDS: usize = 20;
const CALLS: usize = 500;

/// p50 and p99 of the calls of each round; of these the medians over all rounds.
#[derive(Default)]
struct Times(Vec<(f64, f64)>);

impl Times {
    fn round(&mut self, mut call: impl FnMut()) {
        let mut micros: Vec<f64> = (0..CALLS)
            .map(|_| {
                let began = Instant::now();
                call();
                began.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        micros.sort_by(f64::total_cmp);
        self.0.push((micros[CALLS / 2], micros[CALLS * 99 / 100]));
    }

    fn medians(&self) -> (f64, f64) {
        let median = |mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        (median(self.0.iter().map(|round| round.0).collect()), median(self.0.iter().map(|round| round.1).collect()))
    }
}

fn compare(what: &str, server: &mut Server, rival: &mut redis::Connection, between: &mut dyn FnMut(&mut Server)) {
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        ours.round(|| {
            between(server);
            assert_eq!(server.get("k"), "'value'");
        });
        theirs.round(|| {
            between(server);
            let value: String = redis::cmd("GET").arg("k").query(rival).unwrap();
            assert_eq!(value, "value");
        });
    }
    let ((p50, p99), (rival_p50, rival_p99)) = (ours.medians(), theirs.medians());
    println!(
        "{what:<28} Get p50 {p50:.1} p99 {p99:.1} us; redis-rs p50 {rival_p50:.1} p99 {rival_p99:.1} us; ratios {:.2} {:.2}",
        p50 / rival_p50,
        p99 / rival_p99
    );
}

fn main() {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url(), "sync_timeout_ms": 1000 }));
    let client = redis::Client::open(redis.url()).unwrap();
    let mut rival = client.get_connection().unwrap();
    server.wait_ready();
    server.set("k", "value").unwrap();
    compare("idle", &mut server, &mut rival, &mut |_| ());
    // Ten thousand events a second, as a script would publish them: due events are sent before the next read.
    let (began, mut sent) = (Instant::now(), 0);
    compare("beside 10,000 publishes/s", &mut server, &mut rival, &mut |server| {
        let due = (began.elapsed().as_secs_f64() * 10_000.0) as u64;
        while sent < due {
            let _ = server.emit("a", "{\"killer\":\"John\",\"victim\":\"Alice\",\"weapon\":\"weapon_crossbow\"}");
            sent += 1;
        }
    });
    println!("(the publishes went out at {:.0}/s)", sent as f64 / began.elapsed().as_secs_f64());
    // The same load from another server: Redis is as busy, but this publisher is not.
    let mut other = Server::with(json!({ "redis": redis.url() }));
    other.wait_ready();
    let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (stop, published) = (&stop, &published);
        scope.spawn(move || {
            let began = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * 10_000.0) as u64;
                while published.load(Ordering::Relaxed) < due {
                    let _ = other.emit("a", "{\"killer\":\"John\"}");
                    published.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
            other.stop();
        });
        compare("beside another server's", &mut server, &mut rival, &mut |_| ());
        stop.store(true, Ordering::Relaxed);
    });
    server.stop();
}
