//! `Get` without callback next to redis-rs's synchronous GET, taking turns on the same Redis: idle, while the same server
//! publishes 10,000 events a second, and while two other processes keep the cores busy.

use std::time::Instant;

use fault_kit::{Redis, Server};
use serde_json::json;

use crate::sample;
use crate::spin::Crowd;

const CALLS: usize = 500;
const EVENT: &str = "{\"killer\":\"John\",\"victim\":\"Alice\",\"weapon\":\"weapon_crossbow\"}";

/// Prints p50 and p99 of [`CALLS`] calls.
fn round(case: &str, who: &str, number: usize, call: &mut dyn FnMut()) {
    let time = |_| {
        let began = Instant::now();
        call();
        began.elapsed().as_secs_f64() * 1e6
    };
    let mut micros: Vec<f64> = (0..CALLS).map(time).collect();
    micros.sort_by(f64::total_cmp);
    sample(&format!("get/{case}/p50"), who, number, micros[CALLS / 2], "us");
    sample(&format!("get/{case}/p99"), who, number, micros[CALLS * 99 / 100], "us");
}

pub fn run(rounds: usize) {
    let redis = Redis::start(&[]);
    let mut server = Server::with(json!({ "redis": redis.url(), "sync_timeout_ms": 1000 }));
    let client = redis::Client::open(redis.url()).unwrap();
    let mut rival = client.get_connection().unwrap();
    server.wait_ready();
    server.set("k", "value").unwrap();
    let mut compare = |case: &str, between: &mut dyn FnMut(&mut Server)| {
        for number in 0..rounds {
            // The round begins with nothing in flight.
            server.settle();
            round(case, "ours", number, &mut || {
                between(&mut server);
                assert_eq!(server.get("k"), "'value'");
            });
            server.settle();
            round(case, "redis-rs", number, &mut || {
                between(&mut server);
                let value: String = redis::cmd("GET").arg("k").query(&mut rival).unwrap();
                assert_eq!(value, "value");
            });
        }
    };
    compare("idle", &mut |_| ());
    // Ten thousand events a second, as a script would publish them: due events are sent before the next read.
    let (began, mut sent) = (Instant::now(), 0);
    compare("publishing", &mut |server| {
        let due = (began.elapsed().as_secs_f64() * 10_000.0) as u64;
        while sent < due {
            let _ = server.emit("a", EVENT);
            sent += 1;
        }
    });
    eprintln!("the publishes went out at {:.0}/s", sent as f64 / began.elapsed().as_secs_f64());
    let _crowd = Crowd::start(2);
    compare("crowded", &mut |_| ());
    server.stop();
}
