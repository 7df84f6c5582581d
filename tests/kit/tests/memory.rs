//! The memory of the process while a server announces huge replies, and while Redis is away. This is a program with one
//! test, because it measures the whole process.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fault_kit::{Redis, Scripted, Server, comes_true};
use realtime::facade::config::limits::PAYLOAD_BYTES_MAX;
use realtime::facade::threads::publisher::OUTBOX_BYTES_MAX;
use serde_json::json;

fn resident_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Announced sizes take no memory; a full outbox takes its bound.
#[test]
fn memory_stays_within_the_bounds() {
    // The first round warms up the allocator and the stacks of the threads.
    let mut grown = Vec::new();
    for _ in 0..2 {
        let before = resident_kb();
        for bytes in ["$2147483647\r\n", "*999999999\r\n", "*1048576\r\n", "$524288\r\n"] {
            let said = Arc::new(AtomicUsize::new(0));
            let saying = Arc::clone(&said);
            let redis = Scripted::start(move |client| {
                while client.question().is_some() {
                    client.send(format!("{bytes}{}", "*1\r\n".repeat(1000)).as_bytes());
                    saying.fetch_add(1, Ordering::SeqCst);
                }
            });
            let mut server = Server::with(json!({ "redis": redis.url() }));
            server.on("a", 1);
            server.wait(|_| said.load(Ordering::SeqCst) > 0);
            // Any reaction to the announcement happens now.
            assert!(!comes_true(Duration::from_millis(200), || resident_kb() > before + 8192));
            server.stop();
        }
        grown.push(resident_kb() - before);
    }
    assert!(grown[1] < 2048, "grown by {grown:?} kB");

    let mut redis = Redis::start(&[]);
    redis.kill();
    let mut server = Server::with(json!({ "redis": redis.url() }));
    let before = resident_kb();
    let payload = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - 2));
    let taken = (0..1000).filter(|_| server.emit("a", &payload).is_ok()).count();
    let grown = resident_kb() - before;
    // Beside the outbox: stacks, and the empty chunks that the queue and its consumer keep, each as large as one payload. If
    // the publisher begins when all are queued, its copies take other memory, and the allocator keeps that of the chunks.
    let bound = (2 * OUTBOX_BYTES_MAX + 8 * PAYLOAD_BYTES_MAX) / 1024 + 4096;
    assert!(taken > 0 && grown < bound as i64, "grown by {grown} kB with {taken} taken");
    server.stop();
}
