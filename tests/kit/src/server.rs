//! A whole server without Lua: the engine, and a loop that asks for Calls in place of the game.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use realtime::config::Config;
use realtime::engine::registry::CallbackRef;
use realtime::engine::{Call, Deliver, Engine, Outcome, Refusal};
use realtime::json::tape::{Item, Reader};
use realtime::notice::Notice;
use realtime::stats::Stats;
use realtime::threads::Shared;
use serde_json::{Value, json};

use crate::PATIENCE;

/// One server. Every test has a prefix of its own, so that they can share a Redis.
pub struct Server {
    pub engine: Engine,
    /// `callback channel payload` of each delivery; the payload is a number or a text, or an object's first value.
    pub heard: Vec<String>,
    /// News for game hooks.
    pub told: Vec<Notice>,
}

fn shown(delivery: &Deliver) -> String {
    let mut tape = Reader::new(delivery.event.tape());
    let payload = loop {
        match tape.next_item() {
            Some(Item::Number(number)) => break number.to_string(),
            Some(Item::Text(text)) => break String::from_utf8_lossy(text).into_owned(),
            // To its first value.
            Some(Item::Object(1..)) => _ = tape.next_item(),
            other => break format!("{other:?}"),
        }
    };
    format!("{} {} {payload}", delivery.callback.0, String::from_utf8_lossy(delivery.event.channel()))
}

impl Server {
    /// On the Redis of `REALTIME_TEST_REDIS`, as `scripts/redis-in-docker` sets it.
    pub fn start(prefix: &str) -> Server {
        let redis = std::env::var("REALTIME_TEST_REDIS").expect("run this under scripts/redis-in-docker");
        Server::at(&redis, prefix)
    }

    /// On this Redis, with a prefix of this process's own.
    pub fn at(redis: &str, prefix: &str) -> Server {
        Server::with_prefix(redis, &format!("{prefix}:{}:", std::process::id()))
    }

    pub fn with_prefix(redis: &str, prefix: &str) -> Server {
        Server::with(json!({ "redis": redis, "prefix": prefix }))
    }

    /// With these options.
    pub fn with(settings: Value) -> Server {
        let mut config = Config::defaults("test", 1);
        assert_eq!(config.apply_json("test", &settings.to_string()), []);
        let shared = Shared::new(config, Arc::new(Stats::default()), Arc::new(AtomicBool::new(true)));
        let mut engine = Engine::start(shared).unwrap();
        engine.attach();
        Server { engine, heard: Vec::new(), told: Vec::new() }
    }

    pub fn on(&mut self, channel: &str, callback: i32) {
        self.engine.on(channel.as_bytes(), None, CallbackRef(callback), false).unwrap();
    }

    pub fn emit(&mut self, channel: &str, payload: &str) -> Result<(), Refusal> {
        self.engine.emit(channel.as_bytes(), payload.as_bytes())
    }

    /// One tick. Returns how many calls it made.
    pub fn tick(&mut self) -> usize {
        let calls = self.heard.len();
        if self.engine.shared().inbox.take_attention() {
            let mut now = Instant::now();
            self.engine.begin_tick(now);
            while let Some(call) = self.engine.next_call(now) {
                match &call {
                    Call::Deliver(delivery) => self.heard.push(shown(delivery)),
                    Call::Notice(notice) => self.told.push(notice.clone()),
                }
                self.engine.complete(call, Outcome::Done);
                now = Instant::now();
            }
        }
        self.heard.len() - calls
    }

    /// Ticks until that many deliveries were heard in all.
    pub fn hear(&mut self, count: usize) {
        self.wait(|server| server.heard.len() >= count);
        assert_eq!(self.heard.len(), count);
    }

    pub fn wait(&mut self, mut done: impl FnMut(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "heard {:?}, stats {}", self.heard, self.engine.stats());
            if self.tick() == 0 {
                std::thread::yield_now();
            }
        }
    }

    pub fn wait_ready(&mut self) {
        self.wait(|server| server.engine.status().0 == "connected");
    }

    pub fn stat(&self, path: &str) -> u64 {
        let stats = self.engine.stats();
        stats.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {stats}"))
    }

    /// At rest: for each queue, in = delivered + dropped + waiting.
    pub fn assert_balanced(&self) {
        let stats = self.engine.stats();
        for queue in ["outbox", "inbox", "notices"] {
            let number = |name: &str| stats[queue][name].as_u64().unwrap();
            let dropped: u64 = stats[queue]["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
            assert_eq!(number("in"), number("delivered") + dropped + number("waiting"), "{queue}: {stats}");
        }
    }

    pub fn stop(self) {
        assert!(self.engine.stop(Instant::now() + PATIENCE), "a thread did not end");
    }
}
