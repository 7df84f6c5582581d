//! A link that breaks silently, in network namespaces of this test. Linux only.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr, reason = "a test that cannot run must report it")]

use std::time::{Duration, Instant};

use fault_kit::Server;
use fault_kit::namespace::{self, Link};
use realtime::facade::config::limits::SILENCE_MAX;
use realtime::facade::event::notice::Notice;
use serde_json::json;

/// The module notices it within 15 s on both connections, subscribes again, and reports one gap.
#[test]
fn a_silent_link_is_noticed() {
    let ran = namespace::run_inside("a_silent_link_is_noticed", || {
        let link = Link::default();
        let redis = link.redis();
        let mut there = Server::with(json!({ "redis": redis.url(), "server": "there" }));
        there.on("a", 1);
        there.wait_ready();
        // The events of a peer whose connection to Redis works all the time.
        let emit = |n: u32| {
            let crc = crc32fast::hash(b"a");
            format!("{{\"n\":{n},\"_rt\":\"peer/00000000000000ab:{}:1:{crc:08x}\"}}", n + 1)
        };
        redis.command(&["PUBLISH", "a", &emit(0)]);
        there.hear(1);
        // Redis keeps running: the server misses the events that it publishes meanwhile.
        let script = "local n = 0 while n < 5 do n = n + 1 redis.call('PUBLISH', 'a', ARGV[n]) end";
        let texts: Vec<String> = (1..=5).map(emit).collect();
        let arguments: Vec<&str> = ["EVAL", script, "0"].into_iter().chain(texts.iter().map(String::as_str)).collect();
        link.cut();
        let cut = Instant::now();
        there.wait(|there| there.stat("/reconnects") == 2);
        // The bound, one second because silence is checked each second, and some seconds for a busy machine.
        assert!(cut.elapsed() < SILENCE_MAX + Duration::from_secs(6), "noticed after {:?}", cut.elapsed());
        assert!(
            cut.elapsed() > Duration::from_secs(5),
            "noticed after {:?}: the link did not die silently",
            cut.elapsed()
        );
        link.mend();
        // The module has not reconnected yet.
        redis.command(&arguments);
        there.wait_ready();
        redis.command(&["PUBLISH", "a", &emit(6)]);
        there.wait(|there| there.heard.last().is_some_and(|line| line == "1 a 6"));
        let missed = 7 - there.heard.len() as u64;
        let expected = (missed > 0).then(|| Notice::Gap { channel: (*b"a").into(), server: "peer".into(), missed });
        there.wait(|there| expected.as_ref().is_none_or(|gap| there.told.contains(gap)));
        let gaps: Vec<&Notice> = there.told.iter().filter(|told| matches!(told, Notice::Gap { .. })).collect();
        assert_eq!(gaps, expected.iter().collect::<Vec<_>>());
        there.stop();
    });
    if let Err(reason) = ran {
        eprintln!("NOT RUN: no network namespaces here: {reason}");
    }
}
