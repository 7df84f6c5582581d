//! Two stand-in servers, a Redis and a proxy, with faults in a random order that a seed repeats: every event is heard once
//! and in order, or reported as missed. Frames stay short; threads, descriptors and memory do not grow.
//! `REALTIME_CHAOS_SECONDS` sets the duration, `REALTIME_TEST_SEED` repeats the order of the faults.

#![allow(clippy::print_stderr, reason = "the figures are for people to read, with --nocapture")]

mod running;

use std::time::{Duration, Instant};

use fault_kit::{Direction, Fault, Proxy, Random, Redis, comes_true};
use running::Host;

/// Makes one fault for a random time and returns its name. The caller pauses after every other fault, so that events get
/// through.
fn one_fault(random: &mut Random, redis: &mut Redis, proxy: &Proxy) -> String {
    let direction = *random.pick(&[Direction::ToServer, Direction::ToClient]);
    let bytes = random.below(20_000);
    let mut fault = None;
    let what = match random.below(14) {
        0 => "cut".to_owned(),
        1 => "reset".to_owned(),
        2 => {
            proxy.refuse(true);
            proxy.cut_all();
            "refuse".to_owned()
        }
        3 => format!("killed {}", redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"])),
        4 => format!("killed {}", redis.command(&["CLIENT", "KILL", "TYPE", "normal"])),
        5 => {
            redis.stop();
            "stop".to_owned()
        }
        6 => {
            redis.restart();
            "restart".to_owned()
        }
        7 => format!("pause {}", redis.command(&["CLIENT", "PAUSE", "1500"])),
        8 => {
            fault = Some(Fault::CutAfter(bytes));
            String::new()
        }
        9 => {
            fault = Some(Fault::ResetAfter(bytes));
            String::new()
        }
        10 => {
            fault = Some(Fault::SwallowAfter(bytes));
            String::new()
        }
        11 => {
            fault = Some(Fault::StallAfter(bytes));
            String::new()
        }
        12 => {
            fault = Some(Fault::Delay(Duration::from_millis(random.below(50))));
            String::new()
        }
        _ => {
            fault = Some(Fault::Slice);
            String::new()
        }
    };
    match what.as_str() {
        "cut" => proxy.cut_all(),
        "reset" => proxy.reset_all(),
        _ => {}
    }
    if let Some(fault) = fault {
        proxy.set_now(direction, fault);
    }
    pause(Duration::from_millis(random.below(2500)));
    match what.as_str() {
        "stop" => redis.resume(),
        "refuse" => proxy.refuse(false),
        _ => {}
    }
    if fault.is_some() {
        proxy.set_now(direction, Fault::None);
        if matches!(fault, Some(Fault::SwallowAfter(_) | Fault::StallAfter(_))) {
            // After swallowed bytes the stream is broken; a stalled one may go on, but here both are cut.
            proxy.cut_all();
        }
        return format!("{fault:?} {direction:?}");
    }
    what
}

fn pause(time: Duration) {
    comes_true(time, || false);
}

#[test]
fn every_event_is_heard_once_or_reported_as_missed() {
    let seconds = std::env::var("REALTIME_CHAOS_SECONDS").map_or(20, |text| text.parse().expect("a number of seconds"));
    let mut random = Random::announced("chaos");
    let mut redis = Redis::start(&[]);
    let proxy = Proxy::start(redis.address());
    let start = |script: &str, url: String, server: &str, options: &[&str]| {
        let environment =
            [("REALTIME_REDIS", url.as_str()), ("REALTIME_SERVER", server), ("REALTIME_PREFIX", "chaos:")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Host::launch(script, seconds + 120, options, environment)
    };
    let set = format!("seconds={seconds}");
    let mut listener = start("chaos_listener", proxy.url(), "listener", &[]);
    listener.line("ready");
    let mut emitter = start("chaos_emitter", proxy.url(), "emitter", &["--set", &set, "--set", "rate=500"]);
    emitter.line("ready");
    let began = Instant::now();
    let mut faults = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        faults.push(one_fault(&mut random, &mut redis, &proxy));
        if random.below(2) == 0 {
            pause(Duration::from_millis(random.below(3000)));
        }
    }
    let emitted = emitter.pass();
    let heard = listener.pass();
    eprintln!("{} faults in {seconds} s, {} connections", faults.len(), proxy.connections());
    for (who, said) in [("emitter", emitted), ("listener", heard)] {
        for line in said.lines().filter(|line| line.starts_with("figures: ")) {
            eprintln!("{who} {line}");
        }
    }
}
