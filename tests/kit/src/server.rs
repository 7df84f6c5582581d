//! A whole server without Lua: the engine, and a loop that asks for Calls in place of the game.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use realtime::facade::config::{Config, Sources};
use realtime::facade::engine::requests::{Request, Requests};
use realtime::facade::engine::{Call, CallbackRef, Deliver, Engine, Outcome, Refusal};
use realtime::facade::event::notice::Notice;
use realtime::facade::json::tape::{Reader, TapeItem};
use realtime::facade::redis::answer;
use realtime::facade::stats::Stats;
use realtime::facade::threads::shared::Shared;
use serde_json::{Value, json};

use crate::poster::Folder;
use crate::{PATIENCE, comes_true};

/// Every queue of `Stats()`.
const QUEUES: [&str; 8] = ["outbox", "inbox", "notices", "replies", "actions", "aggregates", "files", "webhooks"];

/// How long a worker at rest may take to count what it has in hand.
const BALANCE_MAX: Duration = Duration::from_secs(10);

/// One server. Every test has a prefix of its own, so that they can share a Redis.
pub struct Server {
    pub engine: Engine,
    /// `callback channel payload` of each delivery; the payload is a number or a text, or an object's first value.
    pub heard: Vec<String>,
    /// News for game hooks.
    pub told: Vec<Notice>,
    /// Answers to callbacks: the callback and what it was told, values as Lua would write them.
    pub answers: Vec<(i32, String)>,
    /// What every condition in Lua answers.
    pub conditions_hold: bool,
    /// Windows that were summed up: the function, and the events as Lua would write them. Each sum is `{"n":count}`.
    pub windows: Vec<(i32, Vec<String>)>,
    gathered: Vec<String>,
    /// Its folder for data.
    pub folder: Folder,
}

fn shown(delivery: &Deliver) -> String {
    let mut tape = Reader::new(delivery.event.tape());
    let payload = loop {
        match tape.next_item() {
            Some(TapeItem::Number(number)) => break number.to_string(),
            Some(TapeItem::Text(text)) => break String::from_utf8_lossy(text).into_owned(),
            // To its first value.
            Some(TapeItem::Object(1..)) => _ = tape.next_item(),
            other => break format!("{other:?}"),
        }
    };
    format!("{} {} {payload}", delivery.callback.0, String::from_utf8_lossy(delivery.event.channel()))
}

/// The values of an answer as Lua would write them, or the reason.
fn shown_outcome(outcome: &answer::AnswerResult) -> String {
    let answer = match outcome {
        Ok(answer) => answer,
        Err(reason) => return reason.clone(),
    };
    let mut tape = Reader::new(&answer.tape);
    (0..answer.values).map(|_| shown_value(&mut tape)).collect::<Vec<_>>().join(" ")
}

fn shown_value(tape: &mut Reader<'_>) -> String {
    match tape.next_item() {
        Some(TapeItem::Nil | TapeItem::Null) => "nil".to_owned(),
        Some(TapeItem::Boolean(value)) => value.to_string(),
        Some(TapeItem::Number(number)) => number.to_string(),
        Some(TapeItem::Text(text)) => format!("'{}'", String::from_utf8_lossy(text)),
        Some(TapeItem::Array(count)) => {
            let values: Vec<String> = (0..count).map(|_| shown_value(tape)).collect();
            format!("{{{}}}", values.join(","))
        }
        Some(TapeItem::Object(count)) => {
            let member = |_| format!("{}={}", shown_value(tape).trim_matches('\''), shown_value(tape));
            let members: Vec<String> = (0..count).map(member).collect();
            format!("{{{}}}", members.join(","))
        }
        None => "the end".to_owned(),
    }
}

/// Of one queue: in, delivered and dropped together, waiting.
fn balance(stats: &Value, queue: &str) -> (u64, u64, u64) {
    let number = |name: &str| stats[queue][name].as_u64().unwrap();
    let dropped: u64 = stats[queue]["dropped"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    (number("in"), number("delivered") + dropped, number("waiting"))
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

    /// With these options, which [`Engine::configure`] can change.
    pub fn with(settings: Value) -> Server {
        let mut sources = Sources::new(Config::defaults("test", 1), None, |_| None);
        sources.configure(&settings.to_string()).unwrap();
        assert_eq!(sources.resolve().1, []);
        Server::from_sources(sources)
    }

    /// With these settings, right or wrong.
    pub fn from_sources(sources: Sources) -> Server {
        let folder = Folder::default();
        std::fs::create_dir_all(folder.path()).expect("a folder for data");
        let (config, _) = sources.resolve();
        let shared =
            Shared::new(config, folder.path().to_owned(), Arc::new(Stats::default()), Arc::new(AtomicBool::new(true)));
        shared.webhooks.keep_files_in(folder.path().join("realtime"));
        let mut engine = Engine::start(shared, sources).unwrap();
        engine.attach();
        Server {
            engine,
            heard: Vec::new(),
            told: Vec::new(),
            answers: Vec::new(),
            conditions_hold: true,
            windows: Vec::new(),
            gathered: Vec::new(),
            folder,
        }
    }

    pub fn on(&mut self, channel: &str, callback: i32) {
        self.engine.on(channel.as_bytes(), None, CallbackRef(callback), false).unwrap();
    }

    pub fn emit(&mut self, channel: &str, payload: &str) -> Result<(), Refusal> {
        self.engine.emit(channel.as_bytes(), payload.as_bytes())
    }

    pub fn hook(&mut self, channel: &str, spec: Value) {
        let condition = (spec["type"] == "conditional").then_some(CallbackRef(1));
        self.engine.add_hook(channel.as_bytes(), None, &spec, condition).unwrap();
    }

    /// An aggregator whose function has that number.
    pub fn aggregator(&mut self, channel: &str, function: i32, spec: &Value) {
        self.engine.add_aggregator(channel.as_bytes(), None, spec, Some(CallbackRef(function))).unwrap();
    }

    /// A command with a callback of that number, or with none.
    pub fn submit(
        &mut self,
        callback: Option<i32>,
        make: impl FnOnce(Requests<'_>) -> Result<Request, Refusal>,
    ) -> Result<(), Refusal> {
        let request = make(self.engine.requests())?;
        self.engine.submit(request, callback.map(CallbackRef))
    }

    /// A reader that waits.
    pub fn read(&mut self, make: impl FnOnce(Requests<'_>) -> Result<Request, Refusal>) -> String {
        let reading = make(self.engine.requests()).and_then(|request| self.engine.begin_read(request));
        match reading {
            Ok(reading) => {
                let outcome = reading.wait();
                shown_outcome(&self.engine.end_read(reading, outcome))
            }
            Err(refusal) => refusal.to_string(),
        }
    }

    pub fn get(&mut self, key: &str) -> String {
        self.read(|requests| requests.get(key.as_bytes()))
    }

    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        self.submit(None, |requests| requests.set(key.as_bytes(), value.as_bytes()))
    }

    pub fn incr(&mut self, key: &str, callback: Option<i32>) -> Result<(), Refusal> {
        self.submit(callback, |requests| requests.incr(key.as_bytes(), 1.0))
    }

    /// Waits for that many answers in all, and returns them.
    #[track_caller]
    pub fn answered(&mut self, count: usize) -> Vec<(i32, String)> {
        self.wait(|server| server.answers.len() >= count);
        assert_eq!(self.answers.len(), count);
        self.answers.clone()
    }

    /// The errors told, as `operation target: reason`.
    pub fn errors(&self) -> Vec<String> {
        let told = self.told.iter().filter_map(|notice| match notice {
            Notice::Error { operation, target, reason } => {
                Some(format!("{operation} {}: {reason}", String::from_utf8_lossy(target)))
            }
            _ => None,
        });
        told.collect()
    }

    /// One tick. Returns how many calls it made.
    pub fn tick(&mut self) -> usize {
        let calls = self.heard.len();
        if self.engine.shared().inbox.take_attention() {
            let mut now = Instant::now();
            self.engine.begin_tick(now);
            while let Some(call) = self.engine.next_call(now) {
                let mut outcome = Outcome::Done;
                match &call {
                    Call::Condition(_) => outcome = Outcome::Holds(self.conditions_hold),
                    // The array is as good a reference as any here: nothing is to be released.
                    Call::Gather(gather) => {
                        let array = gather.array.unwrap_or(CallbackRef(1000));
                        self.gathered.extend(gather.events().iter().map(|event| shown_value(&mut Reader::new(event))));
                        outcome = Outcome::Gathered(array);
                    }
                    Call::Aggregate(aggregate) => {
                        let window = std::mem::take(&mut self.gathered);
                        assert_eq!(window.len(), aggregate.due.window.len());
                        outcome = Outcome::Sum(json!({ "n": window.len() }).to_string().into_bytes());
                        self.windows.push((aggregate.function.0, window));
                    }
                    Call::Deliver(delivery) => self.heard.push(shown(delivery)),
                    Call::Notice(notice) => self.told.push(notice.clone()),
                    Call::Answer(answered) => {
                        self.answers.push((answered.callback.0, shown_outcome(&answered.outcome)));
                    }
                }
                self.engine.complete(call, outcome);
                now = Instant::now();
            }
        }
        self.heard.len() - calls
    }

    /// Ticks until that many deliveries were heard in all.
    #[track_caller]
    pub fn hear(&mut self, count: usize) {
        self.wait(|server| server.heard.len() >= count);
        assert_eq!(self.heard.len(), count);
    }

    /// Ticks until `done` answers true; the test fails after [`PATIENCE`], with all that the server knows.
    #[track_caller]
    pub fn wait(&mut self, mut done: impl FnMut(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {}", self.describe());
            if self.tick() == 0 {
                // No spinning: other threads need the processor more.
                std::thread::park_timeout(Duration::from_micros(200));
            }
        }
    }

    /// What a test that waited in vain says.
    fn describe(&self) -> String {
        let newest = self.heard.iter().rev().take(20).collect::<Vec<_>>();
        format!(
            "status {:?}\nheard {}, the newest {newest:?}\nanswers {:?}\ntold {:?}\nstats {}",
            self.engine.status(),
            self.heard.len(),
            self.answers,
            self.told,
            self.engine.stats()
        )
    }

    #[track_caller]
    pub fn wait_ready(&mut self) {
        self.wait(|server| server.engine.status().0 == "connected");
    }

    /// Until the game hook is told that the connection stands. The status says so a little earlier.
    #[track_caller]
    pub fn wait_told_connected(&mut self) {
        self.wait(|server| server.told.contains(&Notice::Connected));
    }

    /// Ticks until nothing waits in any queue and nobody is at work on what was taken from one: each queue has
    /// in = delivered + dropped, and none of these numbers changes any more.
    #[track_caller]
    pub fn settle(&mut self) {
        let mut before = Vec::new();
        self.wait(|server| {
            let stats = server.engine.stats();
            let now: Vec<_> = QUEUES.iter().map(|queue| balance(&stats, queue)).collect();
            let is_empty = now.iter().all(|(offered, done, waiting)| *waiting == 0 && offered == done);
            let is_same = std::mem::replace(&mut before, now.clone()) == now;
            is_empty && is_same
        });
    }

    pub fn stat(&self, path: &str) -> u64 {
        let stats = self.engine.stats();
        stats.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {stats}"))
    }

    /// For each queue, in = delivered + dropped + waiting. That holds at rest, so a worker gets the time to count what it
    /// has in hand; numbers that are wrong stay wrong.
    #[track_caller]
    pub fn assert_balanced(&self) {
        for queue in QUEUES {
            let is_balanced = || {
                let (offered, done, waiting) = balance(&self.engine.stats(), queue);
                offered == done + waiting
            };
            assert!(comes_true(BALANCE_MAX, is_balanced), "{queue}: {}", self.engine.stats());
        }
    }

    pub fn stop(self) {
        assert!(self.engine.stop(Instant::now() + PATIENCE), "a thread did not end");
    }
}
